/* test_scheduler.c - who holds what: terms, lanes, sessions, declarations. */
#include "scheduler/scheduler.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/mem.h"
#include "coord/lease.h"
#include "scheduler_stage.h"

/* Server 0 with lane 11 is in the plan, a client is connected. */
static void run_with_one_server(void)
{
    stage_pass(500);
    stage_put_server(0, 11);
    stage_pass(500);
    stage_connect(&stage.a);
}

static void it_makes_the_cluster_in_an_empty_store(void **state)
{
    struct shelf *s = &stage.a.shelf;
    struct wire_cluster c;
    struct wire_scheduler m;
    struct wire_lease l;

    (void)state;
    stage_pass(500);
    assert_true(scheduler_is_running(stage.a.scheduler));
    assert_true(shelf_get(s, "cluster") > 0);
    arena_reset(&stage.arena);
    assert_int_equal(wire_cluster_decode(s->data, s->size, &stage.arena, &c),
                     PS_OK);
    assert_int_equal(c.lease_ms, LENGTH_MS);
    assert_true(c.id_high != 0 || c.id_low != 0);
    l = stage_lease("scheduler");
    assert_int_equal(l.state, LEASE_TAKEN);
    assert_int_equal(
        wire_scheduler_decode(l.body.data, l.body.size, &stage.arena, &m),
        PS_OK);
    assert_string_equal(m.address, "sched:1");
    assert_true(stage_plan().term > 0);
}

static void servers_that_come_are_taken_into_the_plan(void **state)
{
    struct wire_plan w;
    uint64_t before;

    (void)state;
    stage_pass(500);
    before = stage_plan().plan;
    stage_put_server(0, 11);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.n_lanes, 1);
    assert_int_equal(w.lanes[0].lane, 11);
    assert_int_equal(w.lanes[0].server, 0);
    assert_string_equal(w.lanes[0].address, "s0:1");
    assert_int_equal(w.plan, before + 1);
}

static void nothing_changes_while_nothing_happens(void **state)
{
    uint64_t version;

    (void)state;
    run_with_one_server();
    version = shelf_get(&stage.a.shelf, "plan");
    stage_pass(60000);
    assert_int_equal(shelf_get(&stage.a.shelf, "plan"), version);
    assert_true(scheduler_is_running(stage.a.scheduler));
}

static void a_declaration_is_placed_and_answered(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    struct wire_plan w;

    (void)state;
    run_with_one_server();
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    w = stage_plan();
    assert_int_equal(w.n_variables, 1);
    assert_string_equal(w.variables[0].name, "user");
    assert_int_equal(w.variables[0].dim, 8);
    assert_int_equal(w.n_parts, 1);
    assert_int_equal(w.parts[0].lane, 11);
    assert_int_equal(w.parts[0].begin, 0);
    assert_int_equal(w.parts[0].end, LIMIT_BUCKETS);
    assert_int_equal(w.parts[0].since, w.plan);
    assert_int_equal(w.variables[0].id, stage_declared_id(&stage.a));
}

static void answers_have_a_checksum_where_the_client_asks_for_it(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    const struct tape_frame *f;

    (void)state;
    run_with_one_server();
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    assert_true(stage.a.answer->h.body_bytes > 0);
    assert_int_equal(stage.a.answer->h.body_checksum, 0);
    stage.features = WIRE_FEATURE_CHECKSUM;
    stage_connect(&stage.a);
    f = stage.a.answer;
    assert_int_equal(f->h.body_checksum, frame_checksum(f->frame));
    assert_int_not_equal(f->h.body_checksum, 0);
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    f = stage.a.answer;
    assert_int_equal(f->h.body_checksum, frame_checksum(f->frame));
    assert_int_not_equal(f->h.body_checksum, 0);
}

static void the_same_declaration_joins(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    uint64_t plan;
    uint32_t id;

    (void)state;
    run_with_one_server();
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    id = stage_declared_id(&stage.a);
    plan = stage_plan().plan;
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    assert_int_equal(stage_declared_id(&stage.a), id);
    assert_int_equal(stage_plan().plan, plan);
    assert_int_equal(stage_plan().n_variables, 1);
}

static void expect_conflict(const struct wire_variable *v, const char *here,
                            const char *there)
{
    const char *text;

    assert_int_equal(stage_declare(&stage.a, v), PS_ECONFLICT);
    text = stage_text(&stage.a);
    if (strstr(text, "user") == NULL || strstr(text, here) == NULL ||
        strstr(text, there) == NULL) {
        fail_msg("no \"%s\" or no \"%s\": %s", here, there, text);
    }
}

static void a_conflict_shows_both_sides(void **state)
{
    const struct wire_variable v = stage_variable("user", 8);
    struct wire_variable other;

    (void)state;
    run_with_one_server();
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    other = v;
    other.dim = 16;
    expect_conflict(&other, "16", "8");
    other = v;
    other.kind = PS_DENSE;
    other.rows = 10;
    expect_conflict(&other, "dense", "hash64");
    other = v;
    other.updater = "AdagradUpdater";
    other.n_params = 2;
    other.param1 = 0.125;
    expect_conflict(&other, "AdagradUpdater", "MomentumUpdater");
    other = v;
    other.init_kind = PS_INIT_NORMAL;
    other.init_b = 0.25;
    expect_conflict(&other, "0.25", "");
    other = v;
    other.init_seed = 12345;
    expect_conflict(&other, "12345", "");
    other = v;
    other.n_params = 2;
    other.param1 = 0.75; /* rows with a slot */
    expect_conflict(&other, "0.75", "");
    assert_int_equal(stage_plan().n_variables, 1);
    assert_int_equal(stage_plan().variables[0].dim, 8);
}

/* A promise that a server cannot keep is refused. */
static void what_is_to_be_logged_wants_a_log_on_each_server(void **state)
{
    struct wire_variable v = stage_variable("user", 8);

    (void)state;
    run_with_one_server();
    v.durability = PS_FSYNC;
    assert_int_equal(stage_declare(&stage.a, &v), PS_EARGUMENT);
    assert_non_null(strstr(stage_text(&stage.a), "--log_path"));
    assert_int_equal(stage_plan().n_variables, 0);
    v.durability = 3;
    assert_int_equal(stage_declare(&stage.a, &v), PS_EARGUMENT);
    v.durability = PS_MEMORY;
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    v.durability = PS_LOG;
    expect_conflict(&v, "durability log", "");
}

static void without_enough_servers_nothing_is_declared(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    struct wire_plan w;

    (void)state;
    stage_close(&stage.a);
    stage.servers = 2;
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(5000);
    stage_put_server(0, 11);
    stage_pass(500);
    stage_connect(&stage.a);
    assert_int_equal(stage_declare(&stage.a, &v), PS_ENOTREADY);
    assert_true(strlen(stage_text(&stage.a)) > 0);
    assert_int_equal(stage_plan().n_variables, 0);
    stage_put_server(1, 12);
    stage_pass(1000);
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    w = stage_plan();
    assert_int_equal(w.n_parts, 2);
    assert_int_equal(w.parts[0].end, LIMIT_BUCKETS / 2);
    assert_int_not_equal(w.parts[0].lane, w.parts[1].lane);
}

static void what_has_no_room_is_refused_with_the_limit(void **state)
{
    struct wire_variable v = stage_variable("user", 8);

    (void)state;
    stage_close(&stage.a);
    stage.limits.memory_bytes = 1 << 20;
    stage_open(&stage.a, 200, "sched:1");
    run_with_one_server();
    v.rows = 1000000;
    assert_int_equal(stage_declare(&stage.a, &v), PS_ELIMIT);
    assert_true(strlen(stage_text(&stage.a)) > 0);
    assert_int_equal(stage_plan().n_variables, 0);
    v.rows = 1000;
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    assert_int_equal(stage_plan().memory_limit, 1 << 20);
}

static void a_declaration_that_cannot_be_is_refused(void **state)
{
    const struct wire_variable good = stage_variable("user", 8);
    struct wire_variable v;

    (void)state;
    run_with_one_server();
    v = good;
    v.dim = 0;
    assert_int_equal(stage_declare(&stage.a, &v), PS_EARGUMENT);
    v = good;
    v.dim = LIMIT_DIM + 1;
    assert_int_equal(stage_declare(&stage.a, &v), PS_EARGUMENT);
    v = good;
    v.kind = 7;
    assert_int_not_equal(stage_declare(&stage.a, &v), PS_OK);
    v = good;
    v.name = "";
    assert_int_equal(stage_declare(&stage.a, &v), PS_EARGUMENT);
    v = good;
    v.updater = "NoSuchUpdater";
    assert_int_equal(stage_declare(&stage.a, &v), PS_ENOUDF);
    assert_non_null(strstr(stage_text(&stage.a), "NoSuchUpdater"));
    v = good;
    v.n_params = LIMIT_PARAMS + 1;
    assert_int_not_equal(stage_declare(&stage.a, &v), PS_OK);
    v = good;
    v.kind = PS_DENSE;
    v.rows = 0;
    stage_connect(&stage.a);
    assert_int_equal(stage_declare(&stage.a, &v), PS_EARGUMENT);
    assert_int_equal(stage_plan().n_variables, 0);
    assert_true(scheduler_is_running(stage.a.scheduler));
}

static void
a_dropped_variable_is_gone_and_its_id_is_not_used_again(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    uint32_t id;

    (void)state;
    run_with_one_server();
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    id = stage_declared_id(&stage.a);
    assert_int_equal(stage_drop(&stage.a, "user"), PS_OK);
    assert_int_equal(stage_plan().n_variables, 0);
    assert_int_equal(stage_plan().n_parts, 0);
    assert_int_equal(stage_drop(&stage.a, "user"), PS_ENOTFOUND);
    v.dim = 16;
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    assert_true(stage_declared_id(&stage.a) > id);
}

static void declarations_at_once_are_all_answered(void **state)
{
    struct wire_variable v[20];
    char names[20][16];
    uint32_t n_ok = 0;

    (void)state;
    run_with_one_server();
    for (size_t i = 0; i < 20; i++) {
        snprintf(names[i], sizeof(names[i]), "v%u", (unsigned)(i / 2));
        v[i] = stage_variable(names[i], i == 7 ? 4 : 8);
        stage_send_declare(&stage.a, &v[i]);
    }
    stage_pass(2000);
    for (size_t i = 0; i < 20; i++) {
        int rc = stage_answer(&stage.a);

        assert_int_not_equal(rc, NO_ANSWER);
        n_ok += rc == PS_OK;
    }
    assert_int_equal(stage_answer(&stage.a), NO_ANSWER);
    assert_int_equal(n_ok, 19);
    assert_int_equal(stage_plan().n_variables, 10);
}

/* The write took effect, and the store said that it may not have. */
static void a_plan_of_unknown_outcome_declares_once(void **state)
{
    struct wire_variable v = stage_variable("user", 8);

    (void)state;
    run_with_one_server();
    for (int effect = 0; effect < 2; effect++) {
        v.name = effect == 0 ? "one" : "two";
        stage.a.shelf.fail_status = PS_EUNSURE;
        stage.a.shelf.fail_with_effect = effect == 1;
        stage_send_declare(&stage.a, &v);
        while (!shelf_has(&stage.a.shelf, COORD_CAS, "plan")) {
            stage.a.net.now_us += MS;
            scheduler_tick(stage.a.scheduler);
        }
        stage.a.shelf.fail_count = 1;
        assert_true(shelf_do_key(&stage.a.shelf, "plan"));
        assert_int_equal(stage.a.shelf.fail_count, 0);
        stage_pass(2000);
        assert_int_equal(stage_answer(&stage.a), PS_OK);
        assert_int_equal(stage_answer(&stage.a), NO_ANSWER);
        assert_int_equal(stage_plan().n_variables, effect + 1);
    }
}

static void a_client_that_left_is_not_answered(void **state)
{
    struct wire_variable v = stage_variable("user", 8);

    (void)state;
    run_with_one_server();
    stage_send_declare(&stage.a, &v);
    scheduler_on_close(stage.a.scheduler, stage.a.connection);
    stage_pass(1000);
    assert_int_equal(stage_answer(&stage.a), NO_ANSWER);
    assert_true(scheduler_is_running(stage.a.scheduler));
}

static void malformed_frames_are_refused(void **state)
{
    static const uint16_t types[] = {WIRE_DECLARE, WIRE_DROP, WIRE_HELLO,
                                     WIRE_RUN, 77};
    struct frame_header h = {.request = 1};

    (void)state;
    run_with_one_server();
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct frame *f;

        stage_connect(&stage.a);
        h.type = types[i];
        f = draft_frame(&h, "0123456", 8);
        assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
        scheduler_on_frame(stage.a.scheduler, stage.a.connection, &h, f);
        frame_put(f);
        stage_pass(100);
        if (!tape_is_closed(&stage.a.net, stage.a.connection)) {
            assert_true(stage_answer(&stage.a) < 0);
        }
    }
    stage.a.connection = tape_accept(&stage.a.net);
    scheduler_on_open(stage.a.scheduler, stage.a.connection);
    stage_send_drop(&stage.a, "user");
    assert_true(tape_is_closed(&stage.a.net, stage.a.connection));
    assert_int_equal(stage_answer(&stage.a), NO_ANSWER);
}

static void a_server_that_renews_keeps_its_lanes(void **state)
{
    (void)state;
    run_with_one_server();
    stage_pass(120000);
    assert_int_equal(stage_lease("server/0").state, LEASE_TAKEN);
    assert_int_equal(stage_plan().n_ended, 0);
}

/* An observer counts a whole length (7.1), and the record itself is ended by
 * compare-and-swap, so a late renewal fails (7.2). */
static void a_dead_servers_lane_ends_after_a_whole_length(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    struct wire_plan w;

    (void)state;
    run_with_one_server();
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    stage_pass(10); /* with a renewal */
    stage.actors[0].is_alive = false;
    stage_pass(LENGTH_MS - 40);
    assert_int_equal(stage_lease("server/0").state, LEASE_TAKEN);
    assert_int_equal(stage_plan().n_ended, 0);
    stage_pass(LENGTH_MS);
    assert_int_equal(stage_lease("server/0").state, LEASE_ENDED);
    w = stage_plan();
    assert_null(stage_live(&w, 11));
    assert_non_null(stage_ended(&w, 11));
    assert_int_equal(stage_ended(&w, 11)->plan, w.plan);
    assert_int_equal(w.n_parts, 1);
    assert_int_equal(w.parts[0].lane, 11);
}

static void a_server_that_comes_back_gets_its_parts_with_new_lanes(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    struct wire_plan w;

    (void)state;
    run_with_one_server();
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    stage.actors[0].is_alive = false;
    stage_pass(3 * LENGTH_MS);
    stage_put_server(0, 21);
    stage_pass(1000);
    w = stage_plan();
    assert_non_null(stage_live(&w, 21));
    assert_non_null(stage_ended(&w, 11));
    assert_int_equal(w.n_parts, 1);
    assert_int_equal(w.parts[0].lane, 21);
    assert_int_equal(w.parts[0].since, w.plan);
    assert_int_equal(w.n_variables, 1);
}

/* Its new process took the record over before the scheduler looked. */
static void a_server_that_comes_back_at_once_has_a_new_life_too(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    struct wire_plan w;

    (void)state;
    run_with_one_server();
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    stage_put_server(0, 21);
    stage_pass(1000);
    w = stage_plan();
    assert_null(stage_live(&w, 11));
    assert_non_null(stage_ended(&w, 11));
    assert_non_null(stage_live(&w, 21));
    assert_int_equal(w.parts[0].lane, 21);
    assert_int_equal(w.parts[0].since, w.plan);
}

static void only_the_dead_servers_parts_suffer(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    struct wire_plan w;
    uint64_t since;

    (void)state;
    stage_close(&stage.a);
    stage.servers = 2;
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(5000);
    stage_put_server(0, 11);
    stage_put_server(1, 12);
    stage_pass(1000);
    stage_connect(&stage.a);
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    since = stage_plan().plan;
    stage.actors[0].is_alive = false;
    stage_pass(3 * LENGTH_MS);
    stage_put_server(0, 21);
    stage_pass(1000);
    w = stage_plan();
    assert_int_equal(w.n_parts, 2);
    for (uint32_t i = 0; i < 2; i++) {
        if (w.parts[i].lane == 12) {
            assert_int_equal(w.parts[i].since, since);
        } else {
            assert_int_equal(w.parts[i].lane, 21);
            assert_int_equal(w.parts[i].since, w.plan);
        }
    }
    assert_non_null(stage_live(&w, 12));
}

/* 7.2: who regains the store waits one whole length. */
static void a_scheduler_that_regains_the_store_ends_nobody_at_once(void **state)
{
    (void)state;
    run_with_one_server();
    stage.a.shelf.is_away = true;
    stage.actors[0].is_alive = false;
    stage_pass(60000);
    stage.a.shelf.is_away = false;
    stage_pass(1000);
    stage.actors[0].is_alive = true;
    stage_pass(10000);
    assert_int_equal(stage_lease("server/0").state, LEASE_TAKEN);
    assert_int_equal(stage_plan().n_ended, 0);
    assert_true(scheduler_is_running(stage.a.scheduler));
}

/* A full disk can be read: the servers' records stand still, for they cannot
 * renew either. Nobody is ended then, nor at once when there is room again. */
static void on_a_full_store_nobody_is_ended(void **state)
{
    uint64_t n_cas;

    (void)state;
    run_with_one_server();
    stage.a.shelf.is_full = true;
    stage.actors[0].is_alive = false;
    n_cas = stage.a.shelf.n_cas;
    stage_pass(60000);
    assert_int_equal(stage_lease("server/0").state, LEASE_TAKEN);
    /* Its own lease: a write and a read every 64th of a length, no more. */
    assert_true(stage.a.shelf.n_cas - n_cas < 60000 / (LENGTH_MS / 64));
    stage.a.shelf.is_full = false;
    stage_pass(2500);
    stage.actors[0].is_alive = true;
    stage_pass(10000);
    assert_int_equal(stage_lease("server/0").state, LEASE_TAKEN);
    assert_int_equal(stage_plan().n_ended, 0);
    assert_true(scheduler_is_running(stage.a.scheduler));
    stage.actors[0].is_alive = false;
    stage_pass(5000);
    assert_int_equal(stage_plan().n_ended, 1); /* and the dead are found */
}

/* Its clock jumps a minute within one step, the servers' do not. */
static void a_scheduler_that_was_stopped_ends_nobody_at_once(void **state)
{
    (void)state;
    run_with_one_server();
    for (int i = 0; i < 10; i++) {
        stage.a.net.now_us += 60000 * (uint64_t)MS;
        stage_pass(1000);
    }
    assert_int_equal(stage_lease("server/0").state, LEASE_TAKEN);
    assert_int_equal(stage_plan().n_ended, 0);
}

static void want_of_memory_ends_nobody(void **state)
{
    struct wire_variable v = stage_variable("user", 8);

    (void)state;
    run_with_one_server();
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    for (uint64_t n = 1; n < 80; n++) {
        scheduler_stop(stage.a.scheduler);
        stage_pass(100);
        assert_true(scheduler_has_stopped(stage.a.scheduler));
        stage_close(&stage.a);
        stage_open(&stage.a, 300 + n, "sched:1");
        stage.actors[0].is_alive = false; /* it needs memory too */
        mem_fail_at(n);
        stage_pass(300);
        mem_fail_at(0);
        stage.actors[0].is_alive = true;
        stage_pass(600);
        assert_int_equal(stage_plan().n_ended, 0);
        assert_true(scheduler_is_running(stage.a.scheduler));
    }
    stage_connect(&stage.a);
    assert_int_equal(stage_lease("server/0").state, LEASE_TAKEN);
    v.name = "item";
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
}

static void a_session_that_does_not_renew_is_ended(void **state)
{
    (void)state;
    run_with_one_server();
    stage_put_session(1);
    stage_pass(60000);
    assert_true(stage_has_session(1));
    stage.actors[ACTORS - 1].is_alive = false;
    stage_pass(LENGTH_MS - 600);
    assert_true(stage_has_session(1));
    stage_pass(2 * LENGTH_MS);
    assert_false(stage_has_session(1));
}

static void a_second_scheduler_stands_by(void **state)
{
    (void)state;
    run_with_one_server();
    stage_open(&stage.b, 200, "sched:2");
    stage_pass(60000);
    assert_true(scheduler_is_running(stage.a.scheduler));
    assert_false(scheduler_is_running(stage.b.scheduler));
    assert_true(strlen(scheduler_says(stage.b.scheduler)) > 0);
}

static void a_standby_goes_on_where_the_first_was(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    struct wire_plan w;
    uint64_t term;

    (void)state;
    run_with_one_server();
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    term = stage_plan().term;
    stage_open(&stage.b, 200, "sched:2");
    stage_pass(1000);
    stage_close(&stage.a);
    stage_pass(3 * LENGTH_MS);
    assert_true(scheduler_is_running(stage.b.scheduler));
    w = stage_plan();
    assert_true(w.term > term);
    assert_int_equal(w.n_variables, 1);
    assert_int_equal(w.n_ended, 0);
    assert_int_equal(w.parts[0].lane, 11);
    stage_connect(&stage.b);
    v.name = "item";
    assert_int_equal(stage_declare(&stage.b, &v), PS_OK);
    assert_int_equal(stage_declared_id(&stage.b), w.variables[0].id + 1);
}

static void an_older_schedulers_write_fails(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    uint64_t term;

    (void)state;
    run_with_one_server();
    term = stage_plan().term;
    stage_open(&stage.b, 200, "sched:2");
    stage_pass(1000);
    /* It is about to write the plan, and is stopped for a while. */
    stage_send_declare(&stage.a, &v);
    while (!shelf_has(&stage.a.shelf, COORD_CAS, "plan")) {
        stage.a.net.now_us += MS;
        scheduler_tick(stage.a.scheduler);
    }
    {
        struct desk a = stage.a;

        stage.a.scheduler = NULL;
        for (int i = 0; i < 10; i++) {
            /* The shelf of b is looked through, so a's is untouched. */
            stage_pass(LENGTH_MS / 5 * 2);
        }
        stage.a = a;
    }
    assert_true(scheduler_is_running(stage.b.scheduler));
    assert_int_equal(stage_plan().term, term + 1);
    stage_pass(5000);
    assert_int_equal(stage_plan().term, term + 1);
    assert_int_equal(stage_plan().n_variables, 0);
    assert_false(scheduler_is_running(stage.a.scheduler));
    assert_int_not_equal(stage_answer(&stage.a), PS_OK);
    assert_true(scheduler_is_running(stage.b.scheduler));
}

static void a_restart_continues(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    struct wire_plan before;
    struct wire_plan after;

    (void)state;
    run_with_one_server();
    stage_put_session(1);
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    before = stage_plan();
    scheduler_stop(stage.a.scheduler);
    stage_pass(500);
    assert_true(scheduler_has_stopped(stage.a.scheduler));
    assert_int_equal(stage_lease("scheduler").state, LEASE_ENDED);
    stage_close(&stage.a);
    stage_open(&stage.a, 300, "sched:1");
    stage_pass(1000);
    assert_true(scheduler_is_running(stage.a.scheduler));
    after = stage_plan();
    assert_true(after.term > before.term);
    assert_int_equal(after.n_variables, 1);
    assert_int_equal(after.n_parts, 1);
    assert_int_equal(after.parts[0].lane, 11);
    assert_int_equal(after.n_ended, 0);
    assert_int_equal(after.restore, before.restore);
    stage_pass(20000);
    assert_int_equal(stage_plan().n_ended, 0);
    assert_true(stage_has_session(1));
    stage_connect(&stage.a);
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    assert_int_equal(stage_declared_id(&stage.a), after.variables[0].id);
}

static void two_that_start_at_once_make_one_cluster(void **state)
{
    uint32_t n = 0;

    (void)state;
    stage_open(&stage.b, 200, "sched:2");
    stage_pass(20000);
    n += scheduler_is_running(stage.a.scheduler);
    n += scheduler_is_running(stage.b.scheduler);
    assert_int_equal(n, 1);
    assert_int_equal(shelf_get(&stage.a.shelf, "cluster"), 1);
}

static void a_stop_while_standing_by_is_quick(void **state)
{
    (void)state;
    run_with_one_server();
    stage_open(&stage.b, 200, "sched:2");
    stage_pass(1000);
    scheduler_stop(stage.b.scheduler);
    stage_pass(1000);
    assert_true(scheduler_has_stopped(stage.b.scheduler));
    assert_true(scheduler_is_running(stage.a.scheduler));
    assert_int_equal(stage_lease("scheduler").state, LEASE_TAKEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(it_makes_the_cluster_in_an_empty_store),
        STAGED(servers_that_come_are_taken_into_the_plan),
        STAGED(nothing_changes_while_nothing_happens),
        STAGED(a_declaration_is_placed_and_answered),
        STAGED(answers_have_a_checksum_where_the_client_asks_for_it),
        STAGED(the_same_declaration_joins),
        STAGED(a_conflict_shows_both_sides),
        STAGED(what_is_to_be_logged_wants_a_log_on_each_server),
        STAGED(without_enough_servers_nothing_is_declared),
        STAGED(what_has_no_room_is_refused_with_the_limit),
        STAGED(a_declaration_that_cannot_be_is_refused),
        STAGED(a_dropped_variable_is_gone_and_its_id_is_not_used_again),
        STAGED(declarations_at_once_are_all_answered),
        STAGED(a_plan_of_unknown_outcome_declares_once),
        STAGED(a_client_that_left_is_not_answered),
        STAGED(malformed_frames_are_refused),
        STAGED(a_server_that_renews_keeps_its_lanes),
        STAGED(a_dead_servers_lane_ends_after_a_whole_length),
        STAGED(a_server_that_comes_back_gets_its_parts_with_new_lanes),
        STAGED(a_server_that_comes_back_at_once_has_a_new_life_too),
        STAGED(only_the_dead_servers_parts_suffer),
        STAGED(a_scheduler_that_regains_the_store_ends_nobody_at_once),
        STAGED(on_a_full_store_nobody_is_ended),
        STAGED(a_scheduler_that_was_stopped_ends_nobody_at_once),
        STAGED(want_of_memory_ends_nobody),
        STAGED(a_session_that_does_not_renew_is_ended),
        STAGED(a_second_scheduler_stands_by),
        STAGED(a_standby_goes_on_where_the_first_was),
        STAGED(an_older_schedulers_write_fails),
        STAGED(a_restart_continues),
        STAGED(two_that_start_at_once_make_one_cluster),
        STAGED(a_stop_while_standing_by_is_quick),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
