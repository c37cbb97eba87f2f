/* test_save_root.c - saves into a root that others write to, too, and what of
 * it is kept; the test plays a server of one shard. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "scheduler_stage.h"

static void run_cluster(uint32_t keep, uint32_t full_every)
{
    stage.keep = keep;
    stage.full_every = full_every;
    stage_begin_with_root(7);
}

static void ask(void)
{
    stage_send_save(0, "", 0);
    stage_pass(200);
    assert_int_equal(stage_answer(&stage.a), PS_OK);
}

/* The shard says that it is done. */
static void report(void)
{
    struct wire_shard said = stage_saved(0);

    stage_report(0, &said);
}

static struct wire_save save(void)
{
    ask();
    report();
    stage_pass(1000);
    return stage_save_record();
}

static bool is_there(const char *name)
{
    char path[256];
    struct buf b;
    int rc;

    snprintf(path, sizeof(path), "%s/manifest.json", name);
    buf_init(&b);
    rc = stage.root->ops->read(stage.root, path, 1 << 20, &b, NULL);
    buf_fini(&b);
    return rc == PS_OK;
}

/* Some unfinished one. */
static void put(const char *folder)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/manifest.json", folder);
    assert_int_equal(stage.root->ops->mkdir(stage.root, folder, NULL), PS_OK);
    assert_int_equal(
        stage.root->ops->write_new(stage.root, path, "", 0, false, NULL),
        PS_OK);
}

/* A checkpoint of another cluster, or of nobody's. */
static const char *put_foreign(uint64_t cut, uint64_t term)
{
    const struct ckpt_manifest m = {
        .cluster_high = 1, .cut = cut, .term = term, .name = "theirs"};

    return stage_checkpoint(&m);
}

static bool wait_for(enum disk_op op)
{
    struct stage_disk *f = &stage.a.files;

    for (int i = 0; i < 100; i++) {
        f->hangs = true;
        stage_pass(10);
        if (f->n > 0 && f->requests[0].op == op) {
            return true;
        }
        f->hangs = false;
        (void)stage_do_request(&stage.a);
    }
    return false;
}

/* ---- what is kept ------------------------------------------------------- */

static void increments_are_no_whole_checkpoints(void **state)
{
    struct wire_save w[10];

    (void)state;
    run_cluster(2, 4);
    for (size_t i = 1; i <= 9; i++) {
        w[i] = save();
        assert_int_equal(w[i].state, SAVE_DONE);
        assert_int_equal(w[i].base == 0, i % 4 == 1);
        /* 1 and 5 are all the whole ones there are until 9 comes. */
        for (size_t k = 1; k <= i; k++) {
            assert_int_equal(is_there(w[k].folder), i < 9 || k > 4);
        }
    }
}

static void what_is_being_compacted_stays(void **state)
{
    struct wire_save w[4];
    char folder[CKPT_NAME_MAX + 1];

    (void)state;
    run_cluster(2, 1);
    w[0] = save();
    ckpt_folder_name(w[0].cut, 99, true, folder);
    put(folder);
    for (size_t i = 1; i < ARRAY_LEN(w); i++) {
        w[i] = save();
        assert_true(is_there(w[0].folder));
        assert_true(is_there(folder));
    }
    assert_false(is_there(w[1].folder));
    assert_int_equal(fs_remove_tree(stage.root, folder, NULL), PS_OK);
    (void)save();
    assert_false(is_there(w[0].folder));
}

static void what_is_not_ours_is_neither_counted_nor_removed(void **state)
{
    const char *theirs[2];
    struct wire_save w[4];
    char making[CKPT_NAME_MAX + 1], own[CKPT_NAME_MAX + 1];
    struct wire_cluster c;

    (void)state;
    run_cluster(2, 1);
    w[0] = save();
    /* Of the same cut and a larger term: ours was not compacted to it. */
    theirs[0] = put_foreign(w[0].cut, 50);
    ckpt_saving_name(3, 1, 8, 9, making);
    put(making);
    arena_reset(&stage.arena);
    c = stage_cluster();
    ckpt_saving_name(1, 1, c.id_high, c.id_low, own);
    put(own);
    w[1] = save();
    assert_true(is_there(w[0].folder));
    assert_false(is_there(own));
    theirs[1] = put_foreign(w[1].cut + 7, 1);
    for (size_t i = 2; i < ARRAY_LEN(w); i++) {
        w[i] = save();
    }
    assert_false(is_there(w[0].folder));
    assert_false(is_there(w[1].folder));
    assert_true(is_there(w[2].folder));
    assert_true(is_there(w[3].folder));
    assert_true(is_there(theirs[0]));
    assert_true(is_there(theirs[1]));
    assert_true(is_there(making));
}

/* What is half removed would look damaged. */
static void what_goes_is_an_unfinished_one_first(void **state)
{
    char name[CKPT_NAME_MAX + 1];
    struct wire_save w;

    (void)state;
    run_cluster(2, 1);
    w = save();
    (void)save();
    ask();
    report();
    assert_true(wait_for(DISK_REMOVE));
    stage_saving_name(w.folder, name);
    assert_false(is_there(w.folder));
    assert_true(is_there(name));
    stage.a.files.hangs = false;
    stage_pass(100);
    assert_false(is_there(name));
}

/* ---- whose names -------------------------------------------------------- */

static void a_cut_is_above_all_that_are_there(void **state)
{
    (void)state;
    run_cluster(2, 1);
    (void)put_foreign(6, 3);
    assert_int_equal(save().cut, 7);
    put(".new-000000000010-3");
    assert_int_equal(save().cut, 11);
    put("ckpt-18446744073709551615-1"); /* of no use as a number */
    assert_int_equal(save().cut, 12);
}

static void a_name_that_is_taken_stays_anothers(void **state)
{
    const char *theirs;
    struct wire_save w;
    uint64_t cut, term;
    bool is_new;

    (void)state;
    run_cluster(2, 1);
    ask();
    w = stage_save_record();
    assert_int_equal(w.state, SAVE_CLOSED);
    assert_true(ckpt_folder_parse(w.folder, &cut, &term, &is_new));
    theirs = put_foreign(cut, term);
    assert_string_equal(theirs, w.folder);
    report();
    stage_pass(500);
    /* It has begun again, under another name. */
    assert_int_equal(stage_save_record().cut, cut + 1);
    assert_int_equal(stage_save_record().state, SAVE_CLOSED);
    report();
    stage_pass(500);
    assert_int_equal(stage_save_record().state, SAVE_DONE);
    assert_true(is_there(theirs));
    assert_true(is_there(stage_save_record().folder));
}

/* Nobody knows whether it was renamed: the disk hangs. */
static void what_may_be_anothers_is_looked_at(void **state)
{
    (void)state;
    run_cluster(2, 1);
    for (int taken = 0; taken < 2; taken++) {
        struct wire_save w;

        ask();
        report();
        assert_true(wait_for(DISK_RENAME));
        stage_pass(61000);
        w = stage_save_record();
        assert_int_equal(w.state, SAVE_FAILED);
        if (taken) {
            put(w.folder);
        }
        stage.a.files.hangs = false;
        stage_pass(500);
        assert_int_equal(is_there(w.folder), taken);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(increments_are_no_whole_checkpoints),
        STAGED(what_is_being_compacted_stays),
        STAGED(what_is_not_ours_is_neither_counted_nor_removed),
        STAGED(what_goes_is_an_unfinished_one_first),
        STAGED(a_cut_is_above_all_that_are_there),
        STAGED(a_name_that_is_taken_stays_anothers),
        STAGED(what_may_be_anothers_is_looked_at),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
