/* test_restore_failed.c - what a part comes from that cannot be loaded. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "lib/badfile.h"
#include "restore_cluster.h"

static void what_cannot_be_loaded_comes_from_an_older_one(void **state)
{
    const char *first, *second, *third;
    struct wire_plan w;
    uint64_t plan;

    (void)state;
    restore_run_cluster(1);
    first = restore_save(3);
    second = restore_save(4);
    third = restore_save(6);
    stage_damage(second, "manifest.json", 5);
    stage_follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    w = stage_plan();
    assert_string_equal(restore_load_of(&w, 1)->folder, third);
    plan = w.plan;
    restore_say_failed(third);
    w = stage_plan();
    assert_string_equal(restore_load_of(&w, 1)->folder, first);
    assert_int_equal(w.parts[0].lane, 21);
    assert_true(w.parts[0].since > plan);
    plan = w.plan;
    /* It says so still of the former load. */
    restore_say_failed(third);
    assert_int_equal(stage_plan().plan, plan);
    /* Not even then does it begin empty, unless that is asked for. */
    restore_say_failed(first);
    w = stage_plan();
    assert_int_equal(w.plan, plan);
    assert_string_equal(restore_load_of(&w, 1)->folder, first);
    assert_non_null(strstr(scheduler_says(stage.a.scheduler), first));
    stage.accept_empty = true;
    stage_follow(400);
    stage_pass(500);
    w = stage_plan();
    assert_null(restore_load_of(&w, 1));
    assert_int_equal(w.n_loads, 0);
    assert_true(w.parts[0].since > plan);
    assert_non_null(strstr(scheduler_says(stage.a.scheduler), first));
    /* What was told to be lost does not come back later. */
    stage_put_server(0, 31);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.parts[0].lane, 31);
    assert_null(restore_load_of(&w, 1));
}

/* Rows that sessions were told to be lost, and that they have pushed again, are
 * not there twice. */
static void what_parts_gave_up_does_not_come_back(void **state)
{
    const char *first, *second;
    struct ckpt_manifest m;
    struct wire_plan w;

    (void)state;
    restore_run_cluster(1);
    first = restore_save(3);
    second = restore_save(6);
    stage_follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    restore_say_failed(second);
    w = stage_plan();
    assert_string_equal(restore_load_of(&w, 1)->folder, first);
    restore_save_loaded(7);
    m = restore_manifest_of(stage_save_record().folder);
    assert_int_equal(m.n_gaps, 1);
    assert_int_equal(m.gaps[0].after, 3);
    assert_int_equal(m.gaps[0].to, 6);
    stage_follow(400);
    stage_put_server(0, 31);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(restore_load_of(&w, 1)->cut, 7);
    restore_say_failed(stage_save_record().folder);
    w = stage_plan();
    assert_string_equal(restore_load_of(&w, 1)->folder, first);
    restore_say_failed(first);
    assert_int_equal(stage_plan().plan, w.plan);
    assert_non_null(strstr(scheduler_says(stage.a.scheduler), "not served"));
    assert_non_null(
        strstr(scheduler_says(stage.a.scheduler), "ps-plus restore NAME"));
}

static void nor_what_was_given_up_for_nothing(void **state)
{
    const char *first;
    struct wire_plan w;

    (void)state;
    restore_run_cluster(1);
    first = restore_save(3);
    stage.accept_empty = true;
    stage_follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    restore_say_failed(first);
    w = stage_plan();
    assert_null(restore_load_of(&w, 1));
    restore_save_loaded(4);
    stage.accept_empty = false;
    stage_follow(400);
    stage_put_server(0, 31);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(restore_load_of(&w, 1)->cut, 4);
    restore_say_failed(stage_save_record().folder);
    assert_int_equal(stage_plan().plan, w.plan);
    assert_non_null(strstr(scheduler_says(stage.a.scheduler), "not served"));
}

static void declare_late(void)
{
    struct wire_variable late = stage_variable("late", 8);

    assert_int_equal(stage_declare(&stage.a, &late), PS_OK);
    assert_int_equal(stage_declared_id(&stage.a), 3);
}

/* The last two tests' end: only "late" is left behind. */
static void assert_late_is_not_served(const char *first, const char *second)
{
    struct wire_plan w = stage_plan();

    assert_string_equal(restore_load_of(&w, 1)->folder, first);
    assert_string_equal(restore_load_of(&w, 2)->folder, first);
    assert_string_equal(restore_load_of(&w, 3)->folder, second);
    assert_non_null(
        strstr(scheduler_says(stage.a.scheduler), "1 parts are not served"));
}

static void an_older_one_without_the_variable_is_not_one_of_it(void **state)
{
    const char *first, *second;

    (void)state;
    restore_run_cluster(1);
    first = restore_save(3);
    declare_late();
    second = restore_save(6);
    stage_follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    restore_say_failed(second);
    restore_say_failed(second);
    assert_late_is_not_served(first, second);
}

/* Nobody can read of what it is, and so nobody knows that parts are not in
 * it. */
static void one_without_its_manifest_is_not_passed_over(void **state)
{
    const char *first, *second;
    struct wire_plan w;

    (void)state;
    restore_run_cluster(1);
    first = restore_save(3);
    declare_late();
    second = restore_save(6);
    stage_damage(second, CKPT_MANIFEST, 5);
    stage_follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    w = stage_plan();
    assert_string_equal(restore_load_of(&w, 1)->folder, second);
    restore_say_failed(second);
    restore_say_failed(second);
    assert_late_is_not_served(first, second);
    /* What was given up is passed over. */
    stage_follow(400);
    stage_put_server(0, 31);
    stage_pass(500);
    w = stage_plan();
    assert_string_equal(restore_load_of(&w, 1)->folder, first);
}

static void what_is_missing_for_all_comes_from_an_older_one(void **state)
{
    static const char *const files[] = {CKPT_MANIFEST, "lane-7.json",
                                        "lane-7.safetensors"};
    const char *folders[4];

    (void)state;
    restore_run_cluster(1);
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        folders[i] = restore_save(3 + i);
    }
    stage_follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    for (size_t i = 3; i > 0; i--) {
        struct wire_plan w = stage_plan();
        uint64_t plan = w.plan;

        assert_string_equal(restore_load_of(&w, 1)->folder, folders[i]);
        restore_remove_file(folders[i], files[i - 1]);
        restore_say_missing(0, folders[i]);
        w = stage_plan();
        assert_string_equal(restore_load_of(&w, 1)->folder, folders[i - 1]);
        assert_true(w.parts[0].since > plan);
    }
    /* None is left: they are not served, and not emptied. */
    restore_remove_file(folders[0], CKPT_MANIFEST);
    restore_say_missing(0, folders[0]);
    assert_string_equal(stage_plan().loads[0].folder, folders[0]);
    assert_non_null(strstr(scheduler_says(stage.a.scheduler), "not served"));
    assert_non_null(strstr(scheduler_says(stage.a.scheduler), folders[0]));
}

/* Its shards have said so: the manifest of what they gave up is not read, and
 * one that the disk fails with for a minute is lost. */
static void what_the_disk_has_lost_is_passed_over(void **state)
{
    static const char bad_path[] = "ckpt-000000000004-1/manifest.json";
    struct badfile bad = {{&badfile_ops}, NULL, bad_path};
    const char *first, *third;
    struct wire_plan w;

    (void)state;
    restore_run_cluster(1);
    first = restore_save(3);
    (void)restore_save(4);
    third = restore_save(6);
    stage_follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    w = stage_plan();
    assert_string_equal(restore_load_of(&w, 1)->folder, third);
    bad.inner = stage.root;
    stage.a.files.work.fs = &bad.fs;
    restore_say_failed(third);
    stage_pass(50000);
    assert_int_equal(stage_plan().plan, w.plan);
    stage_pass(20000);
    w = stage_plan();
    assert_string_equal(restore_load_of(&w, 1)->folder, first);
    /* A disk that is away is waited for. */
    bad.path = "";
    restore_say_failed(first);
    stage_pass(200000);
    assert_int_equal(stage_plan().plan, w.plan);
    assert_non_null(strstr(scheduler_says(stage.a.scheduler), "cannot look"));
    stage.a.files.work.fs = stage.root;
}

/* The store says that there was one. */
static void checkpoints_that_were_removed_are_missed(void **state)
{
    const char *folder;
    struct wire_plan w;
    char from[256];

    (void)state;
    restore_run_cluster(1);
    restore_save_now(2);
    folder = stage_save_record().folder;
    snprintf(from, sizeof(from), "%s", folder);
    assert_int_equal(stage.root->ops->rename(stage.root, from, "away", NULL),
                     PS_OK);
    stage_follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    w = stage_plan();
    assert_string_equal(restore_load_of(&w, 1)->folder, folder);
    restore_say_missing(0, folder);
    assert_int_equal(stage_plan().plan, w.plan);
    assert_non_null(strstr(scheduler_says(stage.a.scheduler), "not served"));
}

/* Nothing is left of the one that is gone, so the plan says of which time it
 * was. */
static void an_older_one_is_of_the_same_time_as_what_is_missing(void **state)
{
    struct ckpt_manifest m = {.cluster_high = 70, .cut = 3, .restore = 2};
    struct ckpt_gap gap = {3, 4};
    const char *before, *newest;
    struct wire_plan w;

    (void)state;
    stage_close(&stage.a);
    fs_memory_free(stage.fs);
    stage.fs = fs_memory_new();
    stage_make_root();
    before = stage_checkpoint(&m);
    m.cut = 4;
    m.restore = 1; /* another time of this cluster */
    (void)stage_checkpoint(&m);
    m.cut = 5;
    m.restore = 2;
    m.gaps = &gap; /* which this one does not come from */
    m.n_gaps = 1;
    newest = stage_checkpoint(&m);
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(500);
    stage_put_server(0, 80);
    stage_pass(500);
    w = stage_plan();
    assert_string_equal(restore_load_of(&w, 1)->folder, newest);
    assert_int_equal(restore_load_of(&w, 1)->restore, 2);
    assert_int_equal(w.restore, 3);
    restore_remove_file(newest, CKPT_MANIFEST);
    restore_say_missing(0, newest);
    w = stage_plan();
    assert_string_equal(restore_load_of(&w, 1)->folder, before);
    assert_int_equal(restore_load_of(&w, 1)->restore, 2);
}

static void what_the_scheduler_sees_is_waited_for(void **state)
{
    const char *newest;
    struct wire_plan w;
    uint64_t plan;

    (void)state;
    restore_run_cluster(1);
    (void)restore_save(3);
    newest = restore_save(4);
    stage_follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    plan = stage_plan().plan;
    restore_say_missing(0, newest);
    stage_pass(30000);
    assert_int_equal(stage_plan().plan, plan);
    /* Whatever it was, it is looked at again. */
    restore_remove_file(newest, "lane-7.json");
    stage_pass(40000);
    w = stage_plan();
    assert_true(w.plan > plan);
    assert_int_equal(restore_load_of(&w, 1)->cut, 3);
}

static void each_folder_that_fails_has_its_turn(void **state)
{
    const char *older, *newer;
    struct wire_plan w;
    uint64_t plan;

    (void)state;
    restore_run_cluster(2);
    older = restore_save(3);
    newer = restore_save(6);
    stage_follow(300);
    /* Server 0 is on the older one, server 1 on the newer. */
    stage_put_server(0, 21);
    stage_pass(500);
    restore_say_failed(newer);
    stage_report(0, &(struct wire_shard){.loaded = stage_plan().plan});
    stage_put_server(1, 22);
    stage_pass(500);
    /* Again for server 0; behind the older one there is none. */
    stage_put_server(0, 31);
    stage_pass(500);
    plan = stage_plan().plan;
    restore_say_failed(older);
    assert_int_equal(stage_plan().plan, plan);
    restore_say_missing(1,
                        newer); /* of which the scheduler sees nothing wrong */
    assert_int_equal(stage_plan().plan, plan);
    restore_remove_file(newer, "lane-7.json");
    stage_pass(61000);
    w = stage_plan();
    for (uint32_t i = 0; i < w.n_parts; i++) {
        if (w.parts[i].lane == 22) {
            assert_true(w.parts[i].since > plan);
        }
    }
    assert_string_equal(w.loads[0].folder, older);
}

/* A part of durability memory serves while one that is logged is loaded once
 * more: what that one fails with does not take the other's rows away. */
static void what_serves_is_not_given_up_for_a_neighbour(void **state)
{
    struct wire_variable logged = stage_variable("logged", 8);
    const char *newer, *older;
    struct ckpt_manifest m;
    struct wire_plan was, is;
    char why[128];

    (void)state;
    stage.has_log = true;
    restore_run_cluster(1);
    logged.durability = PS_LOG;
    assert_int_equal(stage_declare(&stage.a, &logged), PS_OK);
    m = restore_own(3);
    m.next_variable = 4;
    older = stage_checkpoint(&m);
    m.cut = 4;
    newer = stage_checkpoint(&m);
    stage_follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    was = stage_plan();
    assert_int_equal(was.n_parts, 3);
    assert_string_equal(restore_load_of(&was, 3)->folder, newer);
    snprintf(why, sizeof(why), "%s: lane-7.json: it is damaged", newer);
    stage_report(0, &(struct wire_shard){.load_failed = LOAD_DAMAGED,
                                         .loaded = was.parts[2].since - 1,
                                         .loaded_unlogged = was.plan,
                                         .why = why});
    stage_pass(500);
    is = stage_plan();
    for (uint32_t i = 0; i < 3; i++) {
        bool is_logged = was.parts[i].variable == 3;

        assert_true((is.parts[i].since > was.parts[i].since) == is_logged);
    }
    assert_string_equal(restore_load_of(&is, 3)->folder, older);
    assert_string_equal(restore_load_of(&is, 1)->folder, newer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(what_cannot_be_loaded_comes_from_an_older_one),
        STAGED(what_parts_gave_up_does_not_come_back),
        STAGED(nor_what_was_given_up_for_nothing),
        STAGED(an_older_one_without_the_variable_is_not_one_of_it),
        STAGED(one_without_its_manifest_is_not_passed_over),
        STAGED(what_is_missing_for_all_comes_from_an_older_one),
        STAGED(what_the_disk_has_lost_is_passed_over),
        STAGED(checkpoints_that_were_removed_are_missed),
        STAGED(an_older_one_is_of_the_same_time_as_what_is_missing),
        STAGED(what_the_scheduler_sees_is_waited_for),
        STAGED(each_folder_that_fails_has_its_turn),
        STAGED(what_serves_is_not_given_up_for_a_neighbour),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
