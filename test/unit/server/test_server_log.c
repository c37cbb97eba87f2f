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

enum { N_SHARDS = 2 };

static struct {
    struct server_owner owner;
    struct server *server;
    struct shelf shelf;
    struct tape net;
    struct fs *fs;
    struct buf record;
    uint64_t lanes[N_SHARDS]; /* that the shards were told last */
    uint32_t n_orders[N_SHARDS];
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
    h.lanes[shard] = lane;
    h.n_orders[shard]++;
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

static void pong(uint32_t shard, uint64_t lane)
{
    server_on_pong(h.server, shard,
                   &(struct server_pong){.serial = h.serial, .lane = lane});
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
        pong(0, h.lanes[0]);
        pong(1, h.lanes[1]);
    }
}

static int set_up(void **state)
{
    static const char *const addresses[] = {"a:1", "a:2"};
    const struct server_options options = {
        .n_shards = N_SHARDS, .addresses = addresses, .has_log = true};

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
    assert_true(h.lanes[0] > 0);
    assert_int_equal(h.lanes[1], h.lanes[0] + 1);
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

/* What its record in the store says of the lanes. */
static void read_lanes(uint64_t lanes[N_SHARDS])
{
    struct wire_lease l;
    struct wire_server w;
    struct arena arena;

    arena_init(&arena);
    assert_true(shelf_get(&h.shelf, "server/0") > 0);
    assert_int_equal(wire_lease_decode(h.shelf.data, h.shelf.size, &arena, &l),
                     PS_OK);
    assert_int_equal(wire_server_decode(l.body.data, l.body.size, &arena, &w),
                     PS_OK);
    assert_int_equal(w.has_log, 1);
    assert_int_equal(w.n_shards, N_SHARDS);
    for (uint32_t i = 0; i < N_SHARDS; i++) {
        lanes[i] = w.shards[i].lane;
    }
    arena_fini(&arena);
}

static void its_record_says_that_it_has_a_place_for_logs(void **state)
{
    uint64_t lanes[N_SHARDS];

    (void)state;
    read_lanes(lanes);
    assert_memory_equal(lanes, h.lanes, sizeof(lanes));
}

static void a_shard_is_told_what_the_record_of_a_log_says(void **state)
{
    const struct shard_log_record wanted = {
        .lane = h.lanes[0], .state = SHARD_LOG_ENDED, .segment = 3, .end = 800};

    (void)state;
    server_on_log_record(h.server, 0, &wanted);
    pass(50);
    assert_int_equal(h.n_told, 1);
    assert_int_equal(h.told.lane, h.lanes[0]);
    assert_int_equal(h.told.state, SHARD_LOG_ENDED);
    assert_int_equal(h.told.segment, 3);
    assert_int_equal(h.told.end, 800);
}

/* Protocol 5.6: an error of the log after the apply ends the lane. It is that
 * shard's alone: the other one goes on in its lane, and is told nothing. */
static void a_shard_that_has_failed_gets_another_lane(void **state)
{
    uint64_t former = h.lanes[0];
    uint64_t other = h.lanes[1];
    uint64_t lanes[N_SHARDS];

    (void)state;
    server_on_want(h.server, SHARD_WANT_LIFE, former + 7);
    pass(500);
    assert_int_equal(h.lanes[0], former); /* it was nobody's lane */
    server_on_want(h.server, SHARD_WANT_LIFE, former);
    assert_int_equal(h.lanes[0], 0);
    pass(500);
    assert_true(h.lanes[0] > other);
    assert_int_equal(h.n_orders[0], 3);
    assert_int_equal(h.lanes[1], other);
    assert_int_equal(h.n_orders[1], 1);
    read_lanes(lanes);
    assert_memory_equal(lanes, h.lanes, sizeof(lanes));
    server_on_want(h.server, SHARD_WANT_LIFE, former);
    pass(500);
    assert_int_equal(h.n_orders[0], 3); /* of its former lane */
}

static void two_shards_that_have_failed_get_two_lanes(void **state)
{
    uint64_t other = h.lanes[1];
    uint64_t lanes[N_SHARDS];

    (void)state;
    server_on_want(h.server, SHARD_WANT_LIFE, h.lanes[0]);
    server_on_want(h.server, SHARD_WANT_LIFE, h.lanes[1]);
    pass(500);
    assert_true(h.lanes[0] > other);
    assert_true(h.lanes[1] > other);
    assert_int_not_equal(h.lanes[0], h.lanes[1]);
    read_lanes(lanes);
    assert_memory_equal(lanes, h.lanes, sizeof(lanes));
}

/* What it has logged is read by the others: it must not acknowledge any more,
 * and it says so in its answer to a ping. The lease is held meanwhile. */
static void no_lane_is_taken_before_the_old_one_has_ended(void **state)
{
    uint64_t former = h.lanes[0];
    uint64_t lanes[N_SHARDS];

    (void)state;
    server_on_want(h.server, SHARD_WANT_LIFE, former);
    for (uint32_t i = 0; i < 1000; i++) {
        h.net.now_us += 10000;
        shelf_run(&h.shelf);
        if (server_next(h.server) <= h.net.now_us) {
            server_tick(h.server);
        }
        pong(0, i < 100 ? former : 0);
        pong(1, h.lanes[1]);
        if (i < 100) {
            read_lanes(lanes);
            assert_int_equal(lanes[0], former);
            assert_int_equal(h.lanes[0], 0);
        }
    }
    assert_true(h.lanes[0] > former);
    read_lanes(lanes);
    assert_memory_equal(lanes, h.lanes, sizeof(lanes));
}

/* It may come while the new number is on its way. */
static void who_stops_meanwhile_takes_no_lane(void **state)
{
    uint64_t former = h.lanes[0];

    (void)state;
    server_on_want(h.server, SHARD_WANT_LIFE, former);
    pong(0, 0);
    server_stop(h.server);
    pass(500);
    assert_true(server_has_stopped(h.server));
    assert_int_equal(h.lanes[0], 0);
    assert_int_equal(h.lanes[1], 0);
}

#define STAGED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(its_record_says_that_it_has_a_place_for_logs),
        STAGED(a_shard_is_told_what_the_record_of_a_log_says),
        STAGED(a_shard_that_has_failed_gets_another_lane),
        STAGED(two_shards_that_have_failed_get_two_lanes),
        STAGED(who_stops_meanwhile_takes_no_lane),
        STAGED(no_lane_is_taken_before_the_old_one_has_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
