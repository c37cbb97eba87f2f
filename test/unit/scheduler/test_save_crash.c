/* test_save_crash.c - the scheduler's part of a save (manifest, name, what is
 * removed behind it) while the disk fails or the power goes at any step: what
 * the record calls done is whole, so are the ones before it, and the next save
 * works. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/hash.h"
#include "base/probe.h"
#include "lib/crashfs.h"
#include "scheduler_stage.h"

enum { KEPT = 3, SAVES = 4 };

static struct crashfs *crashfs;

static void begin(void)
{
    (void)stage_set_up(NULL);
    stage_close(&stage.a);
    fs_memory_free(stage.fs);
    stage.fs = fs_memory_new();
    crashfs = crashfs_new();
    stage.root = crashfs_fs(crashfs);
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(500);
    stage_put_server(0, 7);
    stage_pass(500);
    stage_connect(&stage.a);
}

static void end(void)
{
    stage_close(&stage.a);
    stage.root = NULL;
    (void)stage_tear_down(NULL);
    crashfs_free(crashfs);
}

/* Lane 7's files, durable, as its server has made them; what it says then. */
static struct wire_shard make_files(const struct wire_save *w)
{
    struct ckpt_manifest m = {
        .format = CKPT_FORMAT, .cut = w->cut, .term = w->term, .name = ""};
    struct wire_shard said = {.cut = w->cut, .saved = SAVED_DONE, .why = ""};
    struct fs *fs = stage.root;
    char from[CKPT_NAME_MAX + 1];
    char to[CKPT_NAME_MAX + 1];
    char path[256];
    struct ckpt_writer *writer;
    struct buf b;
    struct err e;

    /* Without variables, as the plan is. */
    assert_int_equal(ckpt_writer_begin(&writer, fs, &m, &e), PS_OK);
    assert_int_equal(ckpt_writer_lane(writer, 7, NULL, 0, &e), PS_OK);
    assert_int_equal(ckpt_writer_lane_end(writer, NULL, &e), PS_OK);
    assert_int_equal(ckpt_writer_end(writer, from, &e), PS_OK);
    stage_saving_name(w->folder, to);
    assert_int_equal(fs->ops->rename(fs, from, to, NULL), PS_OK);
    snprintf(path, sizeof(path), "%s/manifest.json", to);
    assert_int_equal(fs->ops->unlink(fs, path, NULL), PS_OK);
    assert_int_equal(fs->ops->sync_dir(fs, to, NULL), PS_OK);
    assert_int_equal(fs->ops->sync_dir(fs, ".", NULL), PS_OK);
    snprintf(path, sizeof(path), "%s/lane-7.json", to);
    buf_init(&b);
    assert_int_equal(fs->ops->read(fs, path, 1 << 20, &b, NULL), PS_OK);
    said.index_bytes = b.size;
    said.index_checksum = hash_bytes(b.data, b.size);
    buf_fini(&b);
    return said;
}

/* Up to where the scheduler's work on files begins. */
static struct wire_shard begin_save(void)
{
    struct wire_save w;

    stage_send_save(0, "", 0);
    stage_pass(200);
    assert_int_equal(stage_answer(&stage.a), PS_OK);
    w = stage_save_record();
    assert_int_equal(w.state, SAVE_CLOSED);
    return make_files(&w);
}

static struct wire_save save(void)
{
    struct wire_shard said = begin_save();

    stage_report(0, &said);
    stage_pass(500);
    return stage_save_record();
}

/* The newest; all that have a final name are whole in every byte. */
static uint64_t look(uint32_t *n)
{
    struct ckpt_list list;
    uint64_t newest = 0;
    struct err e;

    *n = 0;
    assert_int_equal(ckpt_list(stage.root, &list, &e), PS_OK);
    for (uint32_t i = 0; i < list.n; i++) {
        const struct ckpt_entry *x = &list.entries[i];
        struct ckpt *c;

        if (x->is_new || !x->is_whole) {
            continue; /* one of those that were being removed */
        }
        assert_int_equal(ckpt_open(stage.root, x->folder, &c, &e), PS_OK);
        assert_int_equal(ckpt_verify(stage.root, x->folder, c, NULL, &e),
                         PS_OK);
        ckpt_free(c);
        newest = base_max_u64(newest, x->cut);
        (*n)++;
    }
    ckpt_list_free(&list);
    return newest;
}

/* how < 0: no power cut, the disk is repaired. False: no such operation. */
static bool fail_at(uint64_t n, enum crashfs_reason reason,
                    enum crashfs_effect effect, bool is_sticky, int how)
{
    struct wire_shard said;
    struct wire_save w;
    uint64_t before, newest;
    uint32_t n_whole;
    bool has_failed;

    begin();
    for (int i = 1; i < SAVES; i++) {
        assert_int_equal(save().state, SAVE_DONE);
    }
    before = look(&n_whole);
    assert_int_equal(n_whole, KEPT);
    said = begin_save();
    crashfs_fail(crashfs, n, reason, effect, is_sticky);
    stage_report(0, &said);
    stage_pass(500);
    w = stage_save_record();
    has_failed = crashfs_has_failed(crashfs);
    crashfs_fail(crashfs, 0, reason, effect, false);
    if (how >= 0) {
        crashfs_crash(crashfs, (enum crashfs_how)how, n);
    }
    newest = look(&n_whole);
    assert_true(n_whole >= KEPT - 1 + (w.state == SAVE_DONE));
    assert_true(newest >= before);
    if (w.state == SAVE_DONE) {
        assert_int_equal(newest, w.cut);
    }
    stage_pass(1000);
    w = save();
    assert_int_equal(w.state, SAVE_DONE);
    assert_int_equal(look(&n_whole), w.cut);
    assert_true(n_whole >= KEPT);
    end();
    return has_failed;
}

static void what_is_done_is_whole_wherever_the_power_goes(void **state)
{
    size_t points = 0;

    (void)state;
    for (int how = CRASHFS_LOST; how <= CRASHFS_TORN; how++) {
        for (uint64_t n = 1;
             fail_at(n, CRASHFS_EIO, CRASHFS_HALF_DONE, true, how); n++) {
            points++;
        }
    }
    print_message("%zu points\n", points);
    assert_true(points > 60);
}

static void no_error_of_the_disk_is_called_done(void **state)
{
    size_t points = 0;

    (void)state;
    for (int effect = CRASHFS_NOT_DONE; effect <= CRASHFS_DONE; effect++) {
        for (int sticky = 0; sticky < 2; sticky++) {
            for (uint64_t n = 1;
                 fail_at(n, n % 2 == 0 ? CRASHFS_EIO : CRASHFS_ENOSPC,
                         (enum crashfs_effect)effect, sticky != 0, -1);
                 n++) {
                points++;
            }
        }
    }
    print_message("%zu errors\n", points);
    assert_true(points > 60);
}

/* With the name of a planted fault: then a test must fail. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_done_is_whole_wherever_the_power_goes),
        cmocka_unit_test(no_error_of_the_disk_is_called_done),
    };

#ifdef PS_TEST_HOOKS
    if (argc > 1 && !probe_plant(argv[1])) {
        return 0; /* not found, then */
    }
#else
    (void)argc;
    (void)argv;
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
