/* test_server.c - a server's lease, lanes, plan and sessions. */
#include "server/server.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/log.h"
#include "coord/lease.h"
#include "lib/draft.h"
#include "lib/shelf.h"
#include "lib/tape.h"

enum { MS = 1000, LENGTH_MS = 3000, LENGTH = LENGTH_MS * MS, SHARDS = 2 };

/* One server, with its shards played by the test. */
struct house {
    struct server_owner owner;
    struct tape net;
    struct shelf shelf;
    struct server *server;
    uint64_t lanes[SHARDS]; /* started last */
    uint32_t emptied;
    uint32_t n_starts;
    uint64_t lease_lane[SHARDS];
    uint64_t until[SHARDS];
    uint64_t plan; /* handed out last */
    uint64_t sessions_version;
    uint32_t n_plans;
    uint64_t serial; /* of the last ping */
    uint32_t n_pings;
    bool is_dumb; /* its shards do not answer */
    bool is_deaf; /* shard 1 gets no orders of lanes */
};

static struct fs *fs;
static struct buf record;
static struct arena arena;
static struct house h0;
static struct house h1;

static void ignore_log(enum log_level level, const char *text)
{
    (void)level;
    (void)text;
}

static struct house *house_of(struct server_owner *o)
{
    return CONTAINER_OF(o, struct house, owner);
}

static void on_start_lane(struct server_owner *o, uint32_t shard, uint64_t lane,
                          uint32_t emptied)
{
    struct house *h = house_of(o);

    assert_in_range(shard, 0, SHARDS - 1);
    h->n_starts++;
    if (h->is_deaf && shard == 1) {
        return;
    }
    h->lanes[shard] = lane;
    h->plan = 0;
    h->sessions_version = 0;
    h->emptied = emptied;
}

static void on_set_lease(struct server_owner *o, uint32_t shard, uint64_t lane,
                         uint64_t until_us)
{
    struct house *h = house_of(o);

    assert_in_range(shard, 0, SHARDS - 1);
    h->lease_lane[shard] = lane;
    h->until[shard] = until_us;
}

static void on_set_plan(struct server_owner *o, const void *data, size_t size)
{
    struct house *h = house_of(o);
    struct wire_plan m;

    arena_reset(&arena);
    assert_int_equal(wire_plan_decode(data, size, &arena, &m), PS_OK);
    h->plan = m.plan;
    h->n_plans++;
}

static void on_set_sessions(struct server_owner *o, uint64_t version,
                            const void *data, size_t size)
{
    struct wire_sessions m;

    arena_reset(&arena);
    assert_int_equal(wire_sessions_decode(data, size, &arena, &m), PS_OK);
    house_of(o)->sessions_version = version;
}

static void on_ping(struct server_owner *o, uint64_t serial)
{
    struct house *h = house_of(o);

    h->serial = serial;
    h->n_pings++;
}

static void deliver(void *context, const struct coord_result *r)
{
    struct house *h = context;

    server_on_coord(h->server, r);
}

static void open_house(struct house *h, uint32_t id, uint64_t nonce)
{
    static const char *const addresses[] = {"a:1", "a:2"};
    const struct server_options options = {
        .id = id, .n_shards = SHARDS, .addresses = addresses};

    *h = (struct house){.owner = {.start_lane = on_start_lane,
                                  .set_lease = on_set_lease,
                                  .set_plan = on_set_plan,
                                  .set_sessions = on_set_sessions,
                                  .ping = on_ping}};
    tape_init(&h->net);
    h->net.random = nonce;
    shelf_init(&h->shelf, fs, nonce, deliver, h);
    assert_int_equal(server_new(&h->server, &options, &h->shelf.coord,
                                &h->net.net, &h->owner),
                     PS_OK);
    server_start(h->server);
}

static void close_house(struct house *h)
{
    if (h->server != NULL) {
        server_free(h->server);
        shelf_fini(&h->shelf);
        tape_fini(&h->net);
        h->server = NULL;
    }
}

static int set_up(void **state)
{
    (void)state;
    log_set_sink(ignore_log);
    fs = fs_memory_new();
    buf_init(&record);
    arena_init(&arena);
    h1.server = NULL;
    open_house(&h0, 0, 100);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close_house(&h0);
    close_house(&h1);
    buf_fini(&record);
    arena_fini(&arena);
    fs_memory_free(fs);
    return 0;
}

static void pong(struct house *h, uint32_t shard, uint64_t serial,
                 uint64_t plan, uint64_t sessions_version)
{
    server_on_pong(h->server, shard,
                   &(struct server_pong){.serial = serial,
                                         .lane = h->lanes[shard],
                                         .plan = plan,
                                         .sessions_version = sessions_version});
}

static void answer_ping(struct house *h)
{
    uint64_t serial = h->serial;

    for (uint32_t i = 0; serial != 0 && i < SHARDS; i++) {
        pong(h, i, serial, h->plan, h->sessions_version);
    }
    h->serial = 0;
}

/* 10 ms: the store answers, the timer, the shards. */
static void step(struct house *h)
{
    h->net.now_us += 10 * MS;
    shelf_run(&h->shelf);
    if (server_next(h->server) <= h->net.now_us) {
        server_tick(h->server);
    }
    shelf_run(&h->shelf);
    if (!h->is_dumb) {
        answer_ping(h);
    }
    shelf_run(&h->shelf);
}

static void pass(struct house *h, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += 10) {
        step(h);
    }
}

static void put_cluster(struct house *h)
{
    draft_cluster(&record, LENGTH_MS);
    shelf_put(&h->shelf, "cluster", &record);
    draft_sessions(&record, 1, NULL, 0);
    shelf_put(&h->shelf, "sessions", &record);
}

static void put_plan(struct house *h, uint64_t number)
{
    struct draft *d = test_malloc(sizeof(*d));

    draft_init(d, number);
    for (uint32_t i = 0; i < SHARDS; i++) {
        draft_lane(d, h->lanes[i], 0, i, "a:1");
    }
    draft_encode(d, &record);
    shelf_put(&h->shelf, "plan", &record);
    test_free(d);
}

/* The server's record in the store, its lease in *lease (may be NULL). */
static struct wire_server stored(struct house *h, const char *key,
                                 struct wire_lease *lease)
{
    struct wire_server m;
    struct wire_lease l;

    assert_true(shelf_get(&h->shelf, key) > 0);
    arena_reset(&arena);
    assert_int_equal(
        wire_lease_decode(h->shelf.data, h->shelf.size, &arena, &l), PS_OK);
    assert_int_equal(wire_server_decode(l.body.data, l.body.size, &arena, &m),
                     PS_OK);
    if (lease != NULL) {
        *lease = l;
    }
    return m;
}

static void serve(struct house *h)
{
    put_cluster(h);
    pass(h, 1000);
    assert_int_equal(h->n_starts, SHARDS);
    put_plan(h, 5);
    pass(h, 1000);
    assert_true(server_is_serving(h->server));
}

/* As a scheduler does that takes the server for dead. */
static void end_from_outside(struct house *h)
{
    struct wire_lease l;
    struct buf out;

    (void)stored(h, "server/0", &l);
    l.state = LEASE_ENDED;
    buf_init(&out);
    wire_lease_encode(&l, &out);
    shelf_put(&h->shelf, "server/0", &out);
    buf_fini(&out);
}

static void it_waits_until_a_scheduler_has_made_the_cluster(void **state)
{
    (void)state;
    pass(&h0, 60000);
    assert_int_equal(h0.n_starts, 0);
    assert_false(server_is_serving(h0.server));
    assert_true(strlen(server_says(h0.server)) > 0);
    assert_int_equal(shelf_get(&h0.shelf, "server/0"), 0);
    serve(&h0);
}

static void it_takes_lanes_and_writes_its_record(void **state)
{
    struct wire_lease l;
    struct wire_server m;

    (void)state;
    put_cluster(&h0);
    pass(&h0, 1000);
    m = stored(&h0, "server/0", &l);
    assert_int_equal(l.state, LEASE_TAKEN);
    assert_int_equal(m.id, 0);
    assert_int_equal(m.emptied, 0);
    assert_int_equal(m.n_shards, SHARDS);
    assert_string_equal(m.shards[0].address, "a:1");
    assert_string_equal(m.shards[1].address, "a:2");
    for (uint32_t i = 0; i < SHARDS; i++) {
        assert_true(m.shards[i].lane > 0);
        assert_int_equal(h0.lanes[i], m.shards[i].lane);
    }
    assert_int_not_equal(h0.lanes[0], h0.lanes[1]);
    assert_int_equal(h0.n_starts, SHARDS);
    assert_false(server_is_serving(h0.server));
}

static void it_serves_once_its_lanes_are_in_the_plan(void **state)
{
    (void)state;
    serve(&h0);
    assert_int_equal(h0.plan, 5);
    assert_int_equal(h0.sessions_version, 1);
    for (uint32_t i = 0; i < SHARDS; i++) {
        assert_int_equal(h0.lease_lane[i], h0.lanes[i]);
        assert_true(h0.until[i] > h0.net.now_us);
    }
}

static void two_servers_never_share_a_lane(void **state)
{
    (void)state;
    put_cluster(&h0);
    open_house(&h1, 1, 200);
    for (int i = 0; i < 200; i++) {
        step(&h0);
        step(&h1);
    }
    assert_int_equal(h0.n_starts, SHARDS);
    assert_int_equal(h1.n_starts, SHARDS);
    for (uint32_t i = 0; i < SHARDS; i++) {
        for (uint32_t j = 0; j < SHARDS; j++) {
            assert_int_not_equal(h0.lanes[i], h1.lanes[j]);
        }
    }
}

/* The write of `counters` took effect and said that it may not have. */
static void lanes_of_unknown_outcome_are_not_used_twice(void **state)
{
    (void)state;
    put_cluster(&h0);
    open_house(&h1, 1, 200);
    h0.shelf.is_away = false;
    for (int i = 0; i < 500 && h0.n_starts == 0; i++) {
        if (shelf_has(&h0.shelf, COORD_CAS, "counters")) {
            h0.shelf.fail_status = PS_EUNSURE;
            h0.shelf.fail_count = 1;
            h0.shelf.fail_with_effect = true;
        }
        h0.net.now_us += 10 * MS;
        (void)shelf_do_key(&h0.shelf, NULL);
        if (server_next(h0.server) <= h0.net.now_us) {
            server_tick(h0.server);
        }
    }
    pass(&h1, 1000);
    pass(&h0, 1000);
    assert_int_equal(h1.n_starts, SHARDS);
    for (uint32_t i = 0; i < SHARDS && h0.n_starts > 0; i++) {
        assert_int_not_equal(h0.lanes[i], h1.lanes[0]);
        assert_int_not_equal(h0.lanes[i], h1.lanes[1]);
    }
}

static void a_second_server_of_the_same_id_waits(void **state)
{
    (void)state;
    serve(&h0);
    open_house(&h1, 0, 200);
    for (int i = 0; i < 2000; i++) {
        step(&h0);
        step(&h1);
    }
    assert_int_equal(h1.n_starts, 0);
    assert_true(server_is_serving(h0.server));
    assert_false(server_is_serving(h1.server));
}

static void it_takes_over_what_a_dead_server_of_its_id_left(void **state)
{
    uint64_t died;

    (void)state;
    serve(&h0);
    open_house(&h1, 0, 200);
    h1.net.now_us = h0.net.now_us;
    died = h0.net.now_us;
    while (h1.n_starts == 0 && h1.net.now_us < died + 60000 * MS) {
        step(&h1);
    }
    assert_int_equal(h1.n_starts, SHARDS);
    assert_true(h1.net.now_us >= died + LENGTH - LENGTH / 4);
    assert_int_not_equal(h1.lanes[0], h0.lanes[0]);
    assert_int_not_equal(h1.lanes[0], h0.lanes[1]);
    assert_int_equal(stored(&h1, "server/0", NULL).emptied, 1);
}

/* 7.1: 5/6 of the length from the sending. */
static void shards_get_the_lease_from_its_sending(void **state)
{
    uint64_t sent = 0;

    (void)state;
    serve(&h0);
    while (!shelf_has(&h0.shelf, COORD_CAS, "server/0")) {
        h0.net.now_us += 10 * MS;
        if (server_next(h0.server) <= h0.net.now_us) {
            server_tick(h0.server);
        }
        sent = h0.net.now_us;
        answer_ping(&h0);
    }
    h0.net.now_us += 500 * MS;
    shelf_run(&h0.shelf);
    for (uint32_t i = 0; i < SHARDS; i++) {
        assert_int_equal(h0.until[i], sent + LENGTH / 6 * 5);
    }
}

static void it_holds_its_lease_for_ever(void **state)
{
    (void)state;
    serve(&h0);
    for (int i = 0; i < 6000; i++) {
        step(&h0);
        assert_true(h0.until[0] > h0.net.now_us);
        assert_true(h0.until[1] > h0.net.now_us);
    }
    assert_int_equal(h0.n_starts, SHARDS);
}

/* It renews only if every one of its loops answered since the last time. */
static void it_does_not_renew_for_a_shard_that_is_stuck(void **state)
{
    (void)state;
    serve(&h0);
    h0.is_dumb = true;
    for (int i = 0; i < 1000; i++) {
        step(&h0);
        if (h0.serial != 0) {
            pong(&h0, 0, h0.serial, h0.plan, h0.sessions_version);
        }
    }
    assert_true(h0.until[0] < h0.net.now_us);
    assert_true(h0.until[1] < h0.net.now_us);
    assert_int_equal(h0.n_starts, SHARDS);
    h0.is_dumb = false;
    pass(&h0, 2000);
    assert_true(h0.until[1] > h0.net.now_us);
    assert_int_equal(h0.n_starts, SHARDS);
}

static void a_pong_of_an_old_ping_does_not_count(void **state)
{
    uint64_t old;

    (void)state;
    serve(&h0);
    h0.is_dumb = true;
    while (h0.serial == 0) {
        step(&h0);
    }
    old = h0.serial;
    for (int i = 0; i < 1000; i++) {
        step(&h0);
        if (h0.serial != old) {
            pong(&h0, 0, old, h0.plan, h0.sessions_version);
            pong(&h0, 1, old, h0.plan, h0.sessions_version);
        }
    }
    assert_true(h0.until[0] < h0.net.now_us);
}

/* Each ping is lost twice: once on its way, once with the answer of shard 1. */
static void a_ping_that_was_lost_is_sent_again_and_renewals_go_on(void **state)
{
    uint64_t last = 0;
    uint32_t times = 0;

    (void)state;
    serve(&h0);
    h0.is_dumb = true;
    for (int i = 0; i < 3000; i++) {
        step(&h0);
        if (h0.serial != 0) {
            times = h0.serial == last ? times + 1 : 1;
            last = h0.serial;
            if (times == 2) {
                pong(&h0, 0, last, h0.plan, h0.sessions_version);
            } else if (times == 3) {
                answer_ping(&h0);
            }
            h0.serial = 0;
        }
        assert_true(h0.until[0] > h0.net.now_us);
        assert_true(h0.until[1] > h0.net.now_us);
    }
    /* 30 s, and a lease is renewed at least every 2.5 s. */
    assert_true(last > 10);
    assert_int_equal(h0.n_starts, SHARDS);
}

/* What it says does not count before it lives its lane. */
static void a_shard_that_missed_its_lane_is_told_again(void **state)
{
    (void)state;
    put_cluster(&h0);
    h0.is_deaf = true;
    pass(&h0, 10000);
    assert_int_equal(h0.lanes[1], 0);
    assert_true(h0.n_starts > SHARDS + 1);
    assert_true(h0.until[0] < h0.net.now_us);
    h0.is_deaf = false;
    pass(&h0, 2000);
    assert_int_equal(h0.lanes[1], stored(&h0, "server/0", NULL).shards[1].lane);
    assert_int_equal(h0.lease_lane[1], h0.lanes[1]);
    assert_true(h0.until[0] > h0.net.now_us);
    put_plan(&h0, 5);
    pass(&h0, 1000);
    assert_true(server_is_serving(h0.server));
}

/* A pong of before the order: the order comes twice, and with it all that a
 * shard that has only now heard of its lane needs. */
static void a_pong_that_is_older_than_the_lane_repeats_the_order(void **state)
{
    uint64_t lane;

    (void)state;
    serve(&h0);
    lane = h0.lanes[1];
    h0.until[1] = 0;
    server_on_pong(h0.server, 1, &(struct server_pong){.serial = 1});
    assert_int_equal(h0.n_starts, SHARDS + 1);
    assert_int_equal(h0.lanes[1], lane);
    assert_true(h0.until[1] > h0.net.now_us);
    shelf_run(&h0.shelf);
    assert_int_equal(h0.plan, 5);
    assert_int_equal(h0.sessions_version, 1);
    assert_true(server_is_serving(h0.server));
    pass(&h0, 10000);
    assert_int_equal(h0.n_starts, SHARDS + 1);
}

/* 7.2: a store that is down for a minute loses nothing. */
static void the_store_is_down_for_a_minute(void **state)
{
    uint64_t lanes[] = {0, 0};

    (void)state;
    serve(&h0);
    memcpy(lanes, h0.lanes, sizeof(lanes));
    h0.shelf.is_away = true;
    pass(&h0, 60000);
    assert_true(h0.until[0] < h0.net.now_us);
    h0.shelf.is_away = false;
    pass(&h0, 3000);
    assert_true(h0.until[0] > h0.net.now_us);
    assert_int_equal(h0.n_starts, SHARDS);
    assert_memory_equal(h0.lanes, lanes, sizeof(lanes));
    assert_true(server_is_serving(h0.server));
}

static void once_ended_it_comes_back_empty_with_new_lanes(void **state)
{
    uint64_t lanes[] = {0, 0};

    (void)state;
    serve(&h0);
    memcpy(lanes, h0.lanes, sizeof(lanes));
    end_from_outside(&h0);
    pass(&h0, 3000);
    assert_int_equal(h0.n_starts >= 2 * SHARDS, 1);
    for (uint32_t i = 0; i < SHARDS; i++) {
        assert_true(h0.lanes[i] > lanes[0] && h0.lanes[i] > lanes[1]);
        assert_int_equal(h0.lease_lane[i], h0.lanes[i]);
    }
    assert_int_equal(h0.emptied, 1);
    assert_int_equal(stored(&h0, "server/0", NULL).emptied, 1);
    assert_int_equal(stored(&h0, "server/0", NULL).shards[0].lane, h0.lanes[0]);
    assert_false(server_is_serving(h0.server));
    put_plan(&h0, 6);
    pass(&h0, 1000);
    assert_true(server_is_serving(h0.server));
}

static void it_acknowledges_nothing_between_two_lives(void **state)
{
    uint64_t old;

    (void)state;
    serve(&h0);
    old = h0.until[0];
    end_from_outside(&h0);
    h0.shelf.is_away = true;
    pass(&h0, 10000);
    assert_true(h0.until[0] <= old || h0.until[0] <= h0.net.now_us);
    h0.shelf.is_away = false;
    pass(&h0, 5000);
    assert_int_equal(stored(&h0, "server/0", NULL).emptied, 1);
}

static void it_tells_which_plan_and_sessions_every_shard_has(void **state)
{
    struct wire_server m;
    static const uint64_t open[] = {1};

    (void)state;
    serve(&h0);
    pass(&h0, 2000);
    m = stored(&h0, "server/0", NULL);
    assert_int_equal(m.plan_seen, 5);
    assert_int_equal(m.sessions_seen, 1);
    h0.is_dumb = true;
    draft_sessions(&record, 2, open, 1);
    shelf_put(&h0.shelf, "sessions", &record);
    put_plan(&h0, 6);
    for (int i = 0; i < 100; i++) {
        step(&h0);
        if (h0.serial != 0) {
            pong(&h0, 0, h0.serial, 6, 2);
            pong(&h0, 1, h0.serial, 5, 1);
        }
    }
    assert_int_equal(h0.plan, 6);
    assert_int_equal(h0.sessions_version, 2);
    m = stored(&h0, "server/0", NULL);
    assert_int_equal(m.plan_seen, 5);
    assert_int_equal(m.sessions_seen, 1);
    h0.is_dumb = false;
    pass(&h0, 2000);
    m = stored(&h0, "server/0", NULL);
    assert_int_equal(m.plan_seen, 6);
    assert_int_equal(m.sessions_seen, 2);
}

static void what_a_shard_wants_is_read_at_once(void **state)
{
    static const uint64_t open[] = {1};

    (void)state;
    serve(&h0);
    draft_sessions(&record, 2, open, 1);
    shelf_put(&h0.shelf, "sessions", &record);
    server_on_want(h0.server, SHARD_WANT_SESSIONS, 1);
    shelf_run(&h0.shelf);
    assert_int_equal(h0.sessions_version, 2);
    put_plan(&h0, 9);
    server_on_want(h0.server, SHARD_WANT_PLAN, 9);
    shelf_run(&h0.shelf);
    assert_int_equal(h0.plan, 9);
}

/* As it is with a shard that had no memory for it. */
static void a_shard_that_lacks_what_it_was_given_gets_it_again(void **state)
{
    uint32_t n;

    (void)state;
    serve(&h0);
    pass(&h0, 1000);
    n = h0.n_plans;
    pass(&h0, 5000);
    assert_int_equal(h0.n_plans, n);
    h0.is_dumb = true;
    while (h0.serial == 0) {
        step(&h0);
    }
    pong(&h0, 0, h0.serial, 4, 0);
    h0.sessions_version = 0;
    shelf_run(&h0.shelf);
    assert_true(h0.n_plans > n);
    assert_int_equal(h0.plan, 5);
    assert_int_equal(h0.sessions_version, 1);
    n = h0.n_plans;
    server_on_want(h0.server, SHARD_WANT_PLAN, 5);
    shelf_run(&h0.shelf);
    assert_int_equal(h0.n_plans, n + 1);
}

static void a_plan_without_its_lanes_is_not_serving(void **state)
{
    (void)state;
    put_cluster(&h0);
    pass(&h0, 1000);
    h0.lanes[1] += 50;
    put_plan(&h0, 5);
    h0.lanes[1] -= 50;
    pass(&h0, 3000);
    assert_int_equal(h0.plan, 5);
    assert_false(server_is_serving(h0.server));
    put_plan(&h0, 6);
    pass(&h0, 3000);
    assert_true(server_is_serving(h0.server));
}

static void wanting_what_does_not_come_does_not_turn_in_a_circle(void **state)
{
    uint64_t turns = 0;

    (void)state;
    serve(&h0);
    for (int i = 0; i < 1000; i++) {
        server_on_want(h0.server, SHARD_WANT_PLAN, 99);
        server_on_want(h0.server, SHARD_WANT_SESSIONS, 99);
        while (shelf_do_key(&h0.shelf, NULL)) {
            turns++;
        }
    }
    /* One look for each want at most, and mostly fewer. */
    assert_true(turns <= 3000);
}

static void a_stop_frees_the_record(void **state)
{
    struct wire_lease l;

    (void)state;
    serve(&h0);
    server_stop(h0.server);
    for (int i = 0; i < 500 && !server_has_stopped(h0.server); i++) {
        step(&h0);
    }
    assert_true(server_has_stopped(h0.server));
    assert_int_equal(h0.lanes[0], 0);
    assert_int_equal(h0.lanes[1], 0);
    (void)stored(&h0, "server/0", &l);
    assert_int_equal(l.state, LEASE_ENDED);
    open_house(&h1, 0, 200);
    pass(&h1, 500);
    assert_int_equal(h1.n_starts, SHARDS);
}

/* Neither a lost ping nor a shard that lives on lets it stop. */
static void a_stop_waits_until_every_shard_has_no_lane(void **state)
{
    (void)state;
    serve(&h0);
    h0.is_deaf = true;
    server_stop(h0.server);
    h0.serial = 0; /* lost */
    pass(&h0, 1500);
    assert_false(server_has_stopped(h0.server));
    assert_int_equal(h0.lanes[0], 0);
    assert_int_not_equal(h0.lanes[1], 0);
    h0.is_deaf = false;
    pass(&h0, 900);
    assert_true(server_has_stopped(h0.server));
    assert_int_equal(h0.lanes[1], 0);
}

static void a_stop_before_there_is_a_cluster_is_quick(void **state)
{
    (void)state;
    pass(&h0, 100);
    server_stop(h0.server);
    for (int i = 0; i < 100 && !server_has_stopped(h0.server); i++) {
        step(&h0);
    }
    assert_true(server_has_stopped(h0.server));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_waits_until_a_scheduler_has_made_the_cluster),
        TEST(it_takes_lanes_and_writes_its_record),
        TEST(it_serves_once_its_lanes_are_in_the_plan),
        TEST(two_servers_never_share_a_lane),
        TEST(lanes_of_unknown_outcome_are_not_used_twice),
        TEST(a_second_server_of_the_same_id_waits),
        TEST(it_takes_over_what_a_dead_server_of_its_id_left),
        TEST(shards_get_the_lease_from_its_sending),
        TEST(it_holds_its_lease_for_ever),
        TEST(it_does_not_renew_for_a_shard_that_is_stuck),
        TEST(a_pong_of_an_old_ping_does_not_count),
        TEST(a_ping_that_was_lost_is_sent_again_and_renewals_go_on),
        TEST(a_shard_that_missed_its_lane_is_told_again),
        TEST(a_pong_that_is_older_than_the_lane_repeats_the_order),
        TEST(the_store_is_down_for_a_minute),
        TEST(once_ended_it_comes_back_empty_with_new_lanes),
        TEST(it_acknowledges_nothing_between_two_lives),
        TEST(it_tells_which_plan_and_sessions_every_shard_has),
        TEST(what_a_shard_wants_is_read_at_once),
        TEST(a_shard_that_lacks_what_it_was_given_gets_it_again),
        TEST(a_plan_without_its_lanes_is_not_serving),
        TEST(wanting_what_does_not_come_does_not_turn_in_a_circle),
        TEST(a_stop_frees_the_record),
        TEST(a_stop_waits_until_every_shard_has_no_lane),
        TEST(a_stop_before_there_is_a_cluster_is_quick),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
