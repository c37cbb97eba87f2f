/* test_server_log.c - a server whose shards have logs: what it says of itself,
 * records of logs, and a shard that cannot write its log any more. */
#include "server/server.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/log.h"
#include "lib/draft.h"
#include "lib/shelf.h"
#include "lib/tape.h"

static struct {
    struct server_owner owner;
    struct server *server;
    struct shelf shelf;
    struct tape net;
    struct fs *fs;
    struct buf record;
    uint64_t lane; /* that the shard was told last */
    uint64_t serial;
    uint32_t n_told;
    struct shard_log_record told;
} h;

static void ignore_log(enum log_level level, const char *text)
{
    (void)level;
    (void)text;
}

static void deliver(void *context, const struct coord_result *r)
{
    (void)context;
    server_on_coord(h.server, r);
}

static void on_start_lane(struct server_owner *o, uint32_t shard, uint64_t lane,
                          uint32_t emptied)
{
    (void)o;
    (void)emptied;
    assert_int_equal(shard, 0);
    h.lane = lane;
}

static void on_set_lease(struct server_owner *o, uint32_t shard, uint64_t lane,
                         uint64_t until_us)
{
    (void)o;
    (void)shard;
    (void)lane;
    (void)until_us;
}

static void on_plan(struct server_owner *o, const void *data, size_t size)
{
    (void)o;
    (void)data;
    (void)size;
}

static void on_sessions(struct server_owner *o, uint64_t version,
                        const void *data, size_t size)
{
    (void)o;
    (void)version;
    (void)data;
    (void)size;
}

static void on_log_record(struct server_owner *o, uint32_t shard,
                          const struct shard_log_record *record)
{
    (void)o;
    assert_int_equal(shard, 0);
    h.told = *record;
    h.n_told++;
}

static void on_ping(struct server_owner *o, uint64_t serial)
{
    (void)o;
    h.serial = serial;
}

static void pass(uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += 10) {
        h.net.now_us += 10000;
        shelf_run(&h.shelf);
        if (server_next(h.server) <= h.net.now_us) {
            server_tick(h.server);
        }
        shelf_run(&h.shelf);
        server_on_pong(
            h.server, 0,
            &(struct server_pong){.serial = h.serial, .lane = h.lane});
    }
}

static int set_up(void **state)
{
    static const char *const addresses[] = {"a:1"};
    const struct server_options options = {
        .n_shards = 1, .addresses = addresses, .has_log = true};

    (void)state;
    log_set_sink(ignore_log);
    memset(&h, 0, sizeof(h));
    h.owner = (struct server_owner){.start_lane = on_start_lane,
                                    .set_lease = on_set_lease,
                                    .set_plan = on_plan,
                                    .set_sessions = on_sessions,
                                    .log_record = on_log_record,
                                    .ping = on_ping};
    h.fs = fs_memory_new();
    buf_init(&h.record);
    tape_init(&h.net);
    shelf_init(&h.shelf, h.fs, 1, deliver, NULL);
    assert_int_equal(
        server_new(&h.server, &options, &h.shelf.coord, &h.net.net, &h.owner),
        PS_OK);
    server_start(h.server);
    draft_cluster(&h.record, 3000);
    shelf_put(&h.shelf, "cluster", &h.record);
    pass(1000);
    assert_true(h.lane > 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    server_free(h.server);
    shelf_fini(&h.shelf);
    tape_fini(&h.net);
    buf_fini(&h.record);
    fs_memory_free(h.fs);
    return 0;
}

static void its_record_says_that_it_has_a_place_for_logs(void **state)
{
    struct wire_lease l;
    struct wire_server w;
    struct arena arena;

    (void)state;
    arena_init(&arena);
    assert_true(shelf_get(&h.shelf, "server/0") > 0);
    assert_int_equal(wire_lease_decode(h.shelf.data, h.shelf.size, &arena, &l),
                     PS_OK);
    assert_int_equal(wire_server_decode(l.body.data, l.body.size, &arena, &w),
                     PS_OK);
    assert_int_equal(w.has_log, 1);
    arena_fini(&arena);
}

static void a_shard_is_told_what_the_record_of_a_log_says(void **state)
{
    const struct shard_log_record wanted = {
        .lane = h.lane, .state = SHARD_LOG_ENDED, .segment = 3, .end = 800};

    (void)state;
    server_on_log_record(h.server, 0, &wanted);
    pass(50);
    assert_int_equal(h.n_told, 1);
    assert_int_equal(h.told.lane, h.lane);
    assert_int_equal(h.told.state, SHARD_LOG_ENDED);
    assert_int_equal(h.told.segment, 3);
    assert_int_equal(h.told.end, 800);
}

/* Protocol 5.6: an error of the log after the apply ends the lane. */
static void a_shard_that_has_failed_gets_another_lane(void **state)
{
    uint64_t former = h.lane;

    (void)state;
    server_on_want(h.server, SHARD_WANT_LIFE, former + 7);
    pass(500);
    assert_int_equal(h.lane, former); /* of another's lane, or a former one */
    server_on_want(h.server, SHARD_WANT_LIFE, former);
    assert_int_equal(h.lane, 0);
    pass(500);
    assert_true(h.lane > former);
}

/* What it has logged is read by the others: it must not acknowledge any more,
 * and it says so in its answer to a ping. */
static void no_lane_is_taken_before_the_old_one_has_ended(void **state)
{
    uint64_t former = h.lane;

    (void)state;
    server_on_want(h.server, SHARD_WANT_LIFE, former);
    for (uint32_t i = 0; i < 20; i++) {
        h.net.now_us += 10000;
        shelf_run(&h.shelf);
        server_on_pong(
            h.server, 0,
            &(struct server_pong){.serial = h.serial, .lane = former});
    }
    assert_int_equal(h.lane, 0);
    pass(500);
    assert_true(h.lane > former);
}

#define STAGED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(its_record_says_that_it_has_a_place_for_logs),
        STAGED(a_shard_is_told_what_the_record_of_a_log_says),
        STAGED(a_shard_that_has_failed_gets_another_lane),
        STAGED(no_lane_is_taken_before_the_old_one_has_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
