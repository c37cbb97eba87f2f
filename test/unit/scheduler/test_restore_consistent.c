/* test_restore_consistent.c - when a server dies the whole cluster goes back,
 * once. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/log.h"
#include "scheduler_stage.h"

/* Longer than it takes to see that a server is silent, and to go back. */
enum { A_WHILE_MS = 9000 };

/* Servers run with lanes 11, 12, ..., and "user" and "bias" are declared, as
 * the checkpoints of the stage have them. */
static void run_cluster(uint32_t servers, uint32_t durability)
{
    struct wire_variable user = stage_variable("user", 8);
    struct wire_variable bias = stage_variable("bias", 1);

    stage_close(&stage.a);
    stage_make_root();
    stage.servers = servers;
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(5000);
    for (uint32_t i = 0; i < servers; i++) {
        stage_put_server(i, 11 + i);
    }
    stage_pass(500);
    stage_connect(&stage.a);
    bias.kind = PS_DENSE;
    bias.rows = 5;
    user.durability = durability;
    bias.durability = durability;
    assert_int_equal(stage_declare(&stage.a, &user), PS_OK);
    assert_int_equal(stage_declare(&stage.a, &bias), PS_OK);
}

static void run_consistent(uint32_t servers)
{
    stage.consistent = true;
    run_cluster(servers, PS_MEMORY);
}

static const char *save(uint64_t cut, uint64_t restore)
{
    struct shelf *s = &stage.a.shelf;
    struct ckpt_manifest m = {.cut = cut, .restore = restore};
    struct wire_cluster c;

    arena_reset(&stage.arena);
    assert_true(shelf_get(s, "cluster") > 0);
    assert_int_equal(wire_cluster_decode(s->data, s->size, &stage.arena, &c),
                     PS_OK);
    m.cluster_high = c.id_high;
    m.cluster_low = c.id_low;
    m.plan = stage_plan().plan;
    return stage_checkpoint(&m);
}

static void die(uint32_t id)
{
    stage.actors[id].is_alive = false;
}

/* How many parts are on the lane. */
static uint32_t on_lane(const struct wire_plan *w, uint64_t lane)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < w->n_parts; i++) {
        n += w->parts[i].lane == lane;
    }
    return n;
}

static void expect_all_from(const struct wire_plan *w, const char *folder)
{
    assert_int_not_equal(w->n_loads, 0);
    for (uint32_t i = 0; i < w->n_loads; i++) {
        assert_string_equal(w->loads[i].folder, folder);
        assert_int_equal(w->loads[i].brings_lanes, 1);
    }
    for (uint32_t i = 0; i < w->n_parts; i++) {
        bool has_load = false;

        for (uint32_t k = 0; k < w->n_loads; k++) {
            has_load = has_load || w->loads[k].since == w->parts[i].since;
        }
        assert_true(has_load);
    }
}

static void when_a_server_dies_all_go_back_with_it(void **state)
{
    const char *folder;
    struct wire_plan w;

    (void)state;
    run_consistent(2);
    assert_int_equal(stage_plan().n_parts, 3); /* half the users each */
    (void)save(4, 0);
    folder = save(6, 0);
    die(1);
    stage_pass(A_WHILE_MS);
    w = stage_plan();
    assert_int_equal(w.restore, 1);
    assert_int_equal(w.n_lanes, 0);
    assert_int_equal(w.n_ended, 2);
    assert_non_null(stage_ended(&w, 11));
    assert_non_null(stage_ended(&w, 12));
    /* The one that died has its share again when it is back. */
    assert_int_equal(w.n_parts, 3);
    assert_int_equal(on_lane(&w, 11) + on_lane(&w, 12), 3);
    assert_in_range(on_lane(&w, 12), 1, 2);
    expect_all_from(&w, folder);
    stage_put_server(0, 81);
    stage_pass(500);
    stage_put_server(1, 82);
    stage_pass(500);
    w = stage_plan();
    assert_in_range(on_lane(&w, 81), 1, 2);
    assert_int_equal(on_lane(&w, 81) + on_lane(&w, 82), 3);
    expect_all_from(&w, folder);
    stage_pass(A_WHILE_MS);
    assert_int_equal(stage_plan().restore, 1);
    assert_int_equal(stage_plan().plan, w.plan);
}

static void without_the_option_the_others_go_on(void **state)
{
    struct wire_plan w;

    (void)state;
    run_cluster(2, PS_MEMORY);
    (void)save(6, 0);
    die(1);
    stage_pass(A_WHILE_MS);
    stage_put_server(1, 82);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.restore, 0);
    assert_non_null(stage_live(&w, 11));
}

static void a_server_that_comes_back_at_once_is_a_death_too(void **state)
{
    const char *folder;
    struct wire_plan w;

    (void)state;
    run_consistent(2);
    folder = save(6, 0);
    stage_put_server(1, 82); /* its former process' lane has ended */
    stage_pass(1000);
    w = stage_plan();
    assert_int_equal(w.restore, 1);
    assert_non_null(stage_ended(&w, 82));
    expect_all_from(&w, folder);
    stage_put_server(0, 83);
    stage_put_server(1, 84);
    stage_pass(500);
    w = stage_plan();
    assert_in_range(on_lane(&w, 84), 1, 2);
    assert_int_equal(on_lane(&w, 83) + on_lane(&w, 84), 3);
}

static void several_that_die_at_once_are_one_way_back(void **state)
{
    struct wire_plan w;

    (void)state;
    run_consistent(3);
    (void)save(6, 0);
    die(1);
    stage_pass(500);
    die(2);
    stage_pass(A_WHILE_MS);
    assert_int_equal(stage_plan().restore, 1);
    die(0); /* it has not taken a new lane yet */
    stage_pass(A_WHILE_MS);
    for (uint32_t i = 0; i < 3; i++) {
        stage_put_server(i, 81 + i);
        stage_pass(1000);
    }
    w = stage_plan();
    assert_int_equal(w.restore, 1);
    assert_int_equal(w.n_lanes, 3);
    assert_int_equal(on_lane(&w, 81) + on_lane(&w, 82) + on_lane(&w, 83),
                     w.n_parts);
}

/* A lane of after it may have acknowledged something. */
static void a_death_on_the_way_back_is_one_more_and_no_more(void **state)
{
    const char *folder;
    struct wire_plan w;

    (void)state;
    run_consistent(2);
    (void)save(4, 0);
    folder = save(6, 0);
    die(1);
    stage_pass(A_WHILE_MS);
    stage_put_server(0, 81);
    stage_put_server(1, 82);
    stage_pass(500);
    assert_int_equal(stage_plan().restore, 1);
    die(1); /* nothing is loaded, nothing saved since */
    stage_pass(A_WHILE_MS);
    w = stage_plan();
    assert_int_equal(w.restore, 2);
    expect_all_from(&w, folder);
    stage_put_server(0, 83);
    stage_put_server(1, 84);
    stage_pass(500);
    stage_report(0, &(struct wire_shard){.loaded = stage_plan().plan});
    stage_report(1, &(struct wire_shard){.loaded = stage_plan().plan});
    w = stage_plan();
    stage_pass(3 * A_WHILE_MS);
    assert_int_equal(stage_plan().restore, 2);
    assert_int_equal(stage_plan().plan, w.plan);
}

static void a_damaged_one_is_passed_over(void **state)
{
    const char *folder;
    struct wire_plan w;

    (void)state;
    run_consistent(2);
    folder = save(4, 0);
    stage_damage(save(6, 0), "lane-7.safetensors", 3);
    (void)save(7, 5); /* of no time of this cluster */
    die(1);
    stage_pass(A_WHILE_MS);
    w = stage_plan();
    assert_int_equal(w.restore, 6);
    expect_all_from(&w, folder);
}

/* What was made before it in the same time is in the past of it as well. */
static void behind_one_it_went_back_to_the_older_ones_are_there(void **state)
{
    const char *older, *newer;
    struct wire_plan w;

    (void)state;
    run_consistent(2);
    older = save(4, 0);
    newer = save(6, 0);
    die(1);
    stage_pass(A_WHILE_MS);
    stage_put_server(0, 81);
    stage_put_server(1, 82);
    stage_pass(500);
    stage_damage(newer, "lane-7.safetensors", 3);
    die(1);
    stage_pass(A_WHILE_MS);
    w = stage_plan();
    assert_int_equal(w.restore, 2);
    expect_all_from(&w, older);
}

static char said[256];

static void keep_error(enum log_level level, const char *text)
{
    if (level == LOG_ERROR) {
        snprintf(said, sizeof(said), "%.250s", text);
    }
}

static void without_a_checkpoint_only_the_dead_one_begins_anew(void **state)
{
    struct wire_plan w;

    (void)state;
    run_consistent(2);
    said[0] = '\0';
    log_set_sink(keep_error);
    die(1);
    stage_pass(A_WHILE_MS);
    assert_non_null(strstr(said, "there is no checkpoint yet"));
    stage_put_server(1, 82);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.restore, 0);
    assert_non_null(stage_live(&w, 11));
    assert_int_equal(on_lane(&w, 82), 1);
    assert_int_equal(w.n_loads, 0);
    /* From the first one on it is another matter. */
    (void)save(6, 0);
    die(1);
    stage_pass(A_WHILE_MS);
    assert_int_equal(stage_plan().restore, 1);
}

static void what_is_in_logs_takes_nobody_back(void **state)
{
    struct wire_plan w;

    (void)state;
    stage.consistent = true;
    stage.has_log = true;
    run_cluster(2, PS_LOG);
    (void)save(6, 0);
    die(1);
    stage_pass(A_WHILE_MS);
    stage_put_server(1, 82);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.restore, 0);
    assert_non_null(stage_live(&w, 11));
    assert_int_equal(on_lane(&w, 82), 1);
}

/* The plan says whose rows are gone. */
static void a_scheduler_that_follows_sees_what_is_lost(void **state)
{
    const char *folder;
    struct wire_plan w;

    (void)state;
    run_cluster(2, PS_MEMORY);
    folder = save(6, 0);
    die(1);
    stage_pass(A_WHILE_MS);
    w = stage_plan();
    assert_non_null(stage_ended(&w, 12));
    assert_int_equal(w.restore, 0);
    stage_close(&stage.a);
    stage.consistent = true;
    stage_open(&stage.a, 300, "sched:2");
    stage_pass(A_WHILE_MS);
    w = stage_plan();
    assert_int_equal(w.restore, 1);
    assert_non_null(stage_ended(&w, 11));
    expect_all_from(&w, folder);
}

static void the_share_of_one_that_is_given_up_goes_to_others(void **state)
{
    struct wire_plan w;

    (void)state;
    stage.successor_ms = 10000;
    run_consistent(2);
    (void)save(6, 0);
    die(1);
    stage_pass(A_WHILE_MS);
    stage_put_server(0, 81);
    stage_pass(500);
    w = stage_plan();
    assert_in_range(on_lane(&w, 12), 1, 2);
    stage_pass(10000);
    w = stage_plan();
    assert_int_equal(w.restore, 1);
    assert_int_equal(on_lane(&w, 81), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(when_a_server_dies_all_go_back_with_it),
        STAGED(without_the_option_the_others_go_on),
        STAGED(a_server_that_comes_back_at_once_is_a_death_too),
        STAGED(several_that_die_at_once_are_one_way_back),
        STAGED(a_death_on_the_way_back_is_one_more_and_no_more),
        STAGED(a_damaged_one_is_passed_over),
        STAGED(behind_one_it_went_back_to_the_older_ones_are_there),
        STAGED(without_a_checkpoint_only_the_dead_one_begins_anew),
        STAGED(what_is_in_logs_takes_nobody_back),
        STAGED(a_scheduler_that_follows_sees_what_is_lost),
        STAGED(the_share_of_one_that_is_given_up_goes_to_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
