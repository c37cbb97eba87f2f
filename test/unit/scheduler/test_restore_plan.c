/* test_restore_plan.c - where the rows of a part come from whose lane has
 * ended. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "restore_cluster.h"

static void a_dead_servers_parts_come_from_the_newest(void **state)
{
    const char *folder;
    struct wire_plan w;

    (void)state;
    restore_run_cluster(1);
    (void)restore_save(4);
    folder = restore_save(6);
    stage_follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.parts[0].lane, 21);
    assert_int_equal(w.parts[0].since, w.plan);
    assert_int_equal(w.n_loads, 1);
    assert_string_equal(restore_load_of(&w, 1)->folder, folder);
    assert_int_equal(restore_load_of(&w, 1)->cut, 6);
    assert_int_equal(restore_load_of(&w, 1)->brings_lanes, 1);
    assert_int_equal(w.restore, 0);
}

static void of_this_clusters_present_time_that_is(void **state)
{
    struct ckpt_manifest m;
    const char *folder;
    struct wire_plan w;

    (void)state;
    restore_run_cluster(1);
    folder = restore_save(4);
    m = restore_own(5);
    m.restore = 1; /* it was rolled back since, or is to be */
    (void)stage_checkpoint(&m);
    m = restore_own(6);
    m.cluster_low ^= 1;
    (void)stage_checkpoint(&m);
    stage_follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    w = stage_plan();
    assert_string_equal(restore_load_of(&w, 1)->folder, folder);
}

/* No checkpoint ever had them: there is nothing that it would be unasked for,
 * and each session is told what it lost. */
static void without_a_checkpoint_they_begin_empty(void **state)
{
    struct wire_plan w;

    (void)state;
    restore_run_cluster(1);
    stage_put_server(0, 21);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.parts[0].lane, 21);
    assert_int_equal(w.n_loads, 0);
}

static void what_is_saved_is_the_newest_from_then_on(void **state)
{
    struct wire_shard said;
    struct wire_plan w;

    (void)state;
    restore_run_cluster(1);
    (void)restore_save(4);
    stage_follow(300);
    stage_send_save(0, "", 0);
    stage_pass(500);
    assert_int_equal(stage_answer(&stage.a), PS_OK);
    said = stage_saved(0);
    assert_int_equal(said.cut, 5); /* nobody has raised it to 4 in this store */
    stage_report(0, &said);
    stage_pass(2000);
    stage_put_server(0, 21);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(restore_load_of(&w, 1)->cut, 5);
    stage_report(0, &(struct wire_shard){.loaded = w.plan});
    stage_pass(500);
    for (uint64_t cut = 6; cut <= 8; cut++) {
        tape_clear(&stage.a.net);
        stage_send_save(0, "", 0);
        stage_pass(500);
        assert_int_equal(stage_answer(&stage.a), PS_OK);
        said = stage_saved(0);
        assert_int_equal(said.cut, cut);
        said.loaded = w.plan;
        stage_report(0, &said);
        stage_pass(2000);
    }
    stage_put_server(0, 31);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(restore_load_of(&w, 1)->cut, 8);
    /* The former load is nobody's. */
    assert_int_equal(w.n_loads, 1);
}

static void what_is_not_saved_is_listed_without_parts(void **state)
{
    struct wire_variable v = stage_variable("scratch", 8);
    struct ckpt_manifest m;

    (void)state;
    restore_run_cluster(1);
    v.no_save = 1;
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    v.durability = PS_LOG;
    v.name = "logged";
    assert_int_equal(stage_declare(&stage.a, &v), PS_EARGUMENT);
    v = stage_variable("scratch", 8);
    assert_int_equal(stage_declare(&stage.a, &v), PS_ECONFLICT);
    assert_non_null(strstr(stage_text(&stage.a), "not saved"));
    restore_save_now(2);
    assert_int_equal(stage_save_record().state, SAVE_DONE);
    m = restore_manifest_of(stage_save_record().folder);
    assert_int_equal(m.n_variables, 3);
    assert_string_equal(m.variables[2].name, "scratch");
    assert_int_equal(m.variables[2].no_save, 1);
    assert_int_equal(m.n_parts, 2);
    assert_int_equal(m.parts[1].variable, m.variables[1].id);
    assert_int_equal(m.n_gaps, 0);
}

/* Cuts of another cluster are not to be compared with this one's. */
static void what_was_made_since_is_newer_than_anothers(void **state)
{
    const struct wire_rename renames[] = {{"user", "theirs"}};
    struct ckpt_manifest m = {.cluster_high = 1, .cut = 50, .name = "theirs"};
    struct wire_restore_request ask = {
        .nonce = 5, .name = "theirs", .renames = renames, .n_renames = 1};
    const char *folder;
    struct wire_plan w;
    struct buf b;

    (void)state;
    restore_run_cluster(1);
    (void)stage_checkpoint(&m);
    buf_init(&b);
    wire_restore_request_encode(&ask, &b);
    stage_send(&stage.a, WIRE_RESTORE, &b);
    buf_fini(&b);
    stage_pass(1000);
    w = stage_plan();
    assert_int_equal(restore_load_of(&w, 3)->cut, 50);
    stage_report(0, &(struct wire_shard){.loaded = w.plan});
    stage_pass(500);
    folder = restore_save(9);
    stage_follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    w = stage_plan();
    assert_string_equal(restore_load_of(&w, 3)->folder, folder);
    assert_int_equal(restore_load_of(&w, 3)->brings_lanes, 1);
}

static void
parts_that_come_from_different_ones_move_one_after_another(void **state)
{
    const char *older, *newer;
    struct wire_plan w;

    (void)state;
    restore_run_cluster(2);
    older = restore_save(3);
    newer = restore_save(6);
    stage_follow(300);
    /* Server 0 cannot load the newest one. */
    stage_put_server(0, 21);
    stage_pass(500);
    restore_say_failed(newer);
    stage_report(0, &(struct wire_shard){.loaded = stage_plan().plan});
    stage_put_server(1, 22);
    stage_pass(500);
    /* Both end at once. */
    stage.actors[0].is_alive = false;
    stage.actors[1].is_alive = false;
    stage_pass(8000);
    stage_put_server(0, 31);
    stage_put_server(1, 32);
    stage_pass(500);
    w = stage_plan();
    for (uint32_t i = 0; i < w.n_parts; i++) {
        const char *folder = NULL;

        for (uint32_t k = 0; k < w.n_loads; k++) {
            if (w.loads[k].since == w.parts[i].since) {
                folder = w.loads[k].folder;
            }
        }
        assert_non_null(folder);
        assert_string_equal(folder, w.parts[i].lane == 31 ? older : newer);
    }
}

/* ---- servers that do not come back -------------------------------------- */

static void after_a_while_others_take_a_dead_servers_parts(void **state)
{
    struct wire_variable v = stage_variable("more", 8);
    const char *folder;
    struct wire_plan w;

    (void)state;
    stage.successor_ms = 10000;
    restore_run_cluster(2);
    folder = restore_save(6);
    stage_follow(300);
    stage.actors[1].is_alive = false;
    stage_pass(9000);
    w = stage_plan();
    assert_non_null(stage_ended(&w, 12));
    assert_int_equal(w.parts[0].lane, 11);
    assert_int_equal(w.parts[1].lane, 12);
    assert_int_equal(stage_declare(&stage.a, &v), PS_ENOTREADY);
    stage_pass(8000);
    w = stage_plan();
    for (uint32_t i = 0; i < w.n_parts; i++) {
        assert_int_equal(w.parts[i].lane, 11);
    }
    assert_string_equal(w.loads[0].folder, folder);
    assert_int_equal(w.loads[0].since, w.parts[1].since);
    assert_true(w.parts[0].since < w.parts[1].since);
    /* The cluster goes on. */
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    /* It may come back, with nothing. */
    stage_put_server(1, 22);
    stage_pass(500);
    w = stage_plan();
    assert_non_null(stage_live(&w, 22));
    assert_int_equal(w.parts[1].lane, 11);
}

static void a_server_is_waited_for_where_no_other_has_room(void **state)
{
    struct wire_variable v = stage_variable("large", 8);
    struct wire_plan w;

    (void)state;
    stage.successor_ms = 10000;
    stage.limits.memory_bytes = 60 << 20;
    restore_run_cluster(2);
    /* 2^20 rows of 32 bytes and 16 of the index are 48 MiB, half of it each;
     * with another such variable a server has 48 of 60. */
    v.rows = 1 << 20;
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    v.name = "large too";
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    stage.actors[1].is_alive = false;
    stage_pass(30000);
    w = stage_plan();
    for (uint32_t i = 0; i < w.n_parts; i++) {
        bool is_large = w.parts[i].variable >= 3;

        assert_int_equal(w.parts[i].lane,
                         w.parts[i].begin > 0 && is_large ? 12 : 11);
    }
}

static void a_server_is_waited_for_ever_where_that_is_asked_for(void **state)
{
    struct wire_plan w;

    (void)state;
    restore_run_cluster(2);
    stage.actors[1].is_alive = false;
    stage_pass(200000);
    w = stage_plan();
    assert_int_equal(w.parts[1].lane, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(a_dead_servers_parts_come_from_the_newest),
        STAGED(of_this_clusters_present_time_that_is),
        STAGED(without_a_checkpoint_they_begin_empty),
        STAGED(what_is_saved_is_the_newest_from_then_on),
        STAGED(what_is_not_saved_is_listed_without_parts),
        STAGED(what_was_made_since_is_newer_than_anothers),
        STAGED(parts_that_come_from_different_ones_move_one_after_another),
        STAGED(after_a_while_others_take_a_dead_servers_parts),
        STAGED(a_server_is_waited_for_where_no_other_has_room),
        STAGED(a_server_is_waited_for_ever_where_that_is_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
