/* test_save.c - a save as the scheduler drives it; the test plays a server of
 * one shard, lane 7, and its files. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/hash.h"
#include "scheduler_stage.h"

/* The answer to a SAVE after a while. */
static int ask(const char *name, uint32_t whole)
{
    stage_send_save(0, name, whole);
    stage_pass(200);
    return stage_answer(&stage.a);
}

static bool is_there(const char *folder, const char *file)
{
    char path[256];
    struct buf b;
    int rc;

    snprintf(path, sizeof(path), "%s/%s", folder, file);
    buf_init(&b);
    rc = stage.root->ops->read(stage.root, path, 1 << 20, &b, NULL);
    buf_fini(&b);
    return rc == PS_OK;
}

static const char *unfinished(const struct wire_save *w)
{
    char *name = arena_take(&stage.plans, CKPT_NAME_MAX + 1);

    stage_saving_name(w->folder, name);
    return name;
}

/* Lane 7's files into the unfinished folder; what its server says of them. */
static struct wire_shard make_files(const struct wire_save *w)
{
    struct ckpt_manifest m = {.cut = w->cut, .term = w->term};
    struct wire_shard said = {.cut = w->cut, .saved = SAVED_DONE, .why = ""};
    const char *from = stage_checkpoint(&m);
    const char *to = unfinished(w);
    char path[256];
    struct buf b;

    assert_int_equal(stage.root->ops->rename(stage.root, from, to, NULL),
                     PS_OK);
    snprintf(path, sizeof(path), "%s/manifest.json", to);
    assert_int_equal(stage.root->ops->unlink(stage.root, path, NULL), PS_OK);
    snprintf(path, sizeof(path), "%s/lane-7.json", to);
    buf_init(&b);
    assert_int_equal(stage.root->ops->read(stage.root, path, 1 << 20, &b, NULL),
                     PS_OK);
    said.index_bytes = b.size;
    said.index_checksum = hash_bytes(b.data, b.size);
    buf_fini(&b);
    return said;
}

static void unlink_file(const char *folder, const char *file)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", folder, file);
    assert_int_equal(stage.root->ops->unlink(stage.root, path, NULL), PS_OK);
}

/* A save from its request to its end; the record then. */
static struct wire_save save_all(const char *name)
{
    struct wire_save w;
    struct wire_shard said;

    assert_int_equal(ask(name, 0), PS_OK);
    w = stage_save_record();
    assert_int_equal(w.state, SAVE_CLOSED); /* no session is open */
    said = make_files(&w);
    stage_report(0, &said);
    stage_pass(500);
    return stage_save_record();
}

/* ---- files -------------------------------------------------------------- */

static void what_the_scheduler_sees_is_saved(void **state)
{
    struct wire_save w;

    (void)state;
    stage_begin_with_root(7);
    w = save_all("monday");
    assert_string_equal(w.why, "");
    assert_int_equal(w.state, SAVE_DONE);
    assert_true(is_there(w.folder, "manifest.json"));
    assert_true(is_there(w.folder, "lane-7.json"));
}

static void a_folder_that_the_scheduler_does_not_see_is_not_saved(void **state)
{
    static const char *const files[] = {"lane-7.json", "lane-7.safetensors",
                                        "lane-7.state.safetensors"};

    (void)state;
    stage_begin_with_root(7);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct wire_shard said;
        struct wire_save w;

        assert_int_equal(ask("", 0), PS_OK);
        w = stage_save_record();
        said = make_files(&w);
        unlink_file(unfinished(&w), files[i]);
        stage_report(0, &said);
        stage_pass(500);
        w = stage_save_record();
        assert_int_equal(w.state, SAVE_FAILED);
        assert_string_equal(
            w.why, "lane 7's files are not in this folder as seen from the "
                   "scheduler: -cp must name one folder that all servers and "
                   "the scheduler share");
        assert_false(is_there(w.folder, "manifest.json"));
        assert_false(is_there(unfinished(&w), "manifest.json"));
    }
}

static void files_that_are_others_or_short_are_not_saved(void **state)
{
    struct wire_shard said;
    struct wire_save w;
    char path[256];

    (void)state;
    stage_begin_with_root(7);
    assert_int_equal(ask("", 0), PS_OK);
    w = stage_save_record();
    said = make_files(&w);
    said.index_checksum ^= 1;
    stage_report(0, &said);
    stage_pass(500);
    w = stage_save_record();
    assert_int_equal(w.state, SAVE_FAILED);
    assert_non_null(strstr(w.why, "not the one that its server has written"));
    assert_int_equal(ask("", 0), PS_OK);
    w = stage_save_record();
    said = make_files(&w);
    said.index_bytes--;
    stage_report(0, &said);
    stage_pass(500);
    assert_int_equal(stage_save_record().state, SAVE_FAILED);
    /* Its rows end within their header. */
    assert_int_equal(ask("", 0), PS_OK);
    w = stage_save_record();
    said = make_files(&w);
    unlink_file(unfinished(&w), "lane-7.safetensors");
    snprintf(path, sizeof(path), "%s/lane-7.safetensors", unfinished(&w));
    assert_int_equal(
        stage.root->ops->write_new(stage.root, path, "x", 1, false, NULL),
        PS_OK);
    stage_report(0, &said);
    stage_pass(500);
    w = stage_save_record();
    assert_int_equal(w.state, SAVE_FAILED);
    assert_non_null(strstr(w.why, "lane-7.safetensors is short"));
}

/* ---- ends ---------------------------------------------------------------- */

static void a_save_that_waits_for_its_cut_can_be_canceled(void **state)
{
    (void)state;
    stage_begin_with_root(7);
    assert_int_equal(stage_cancel(0), PS_ENOTFOUND);
    /* It waits for the store: nothing of it is in the record yet. */
    stage.actors[0].is_alive = false;
    stage_send_save(0, "x", 0);
    assert_int_equal(stage_answer(&stage.a), NO_ANSWER);
    assert_int_equal(stage_cancel(0), PS_OK);
    stage_pass(500);
    assert_int_equal(stage_save_record().state, SAVE_CANCELED);
}

/* The record's cut is that of the one before, which is whole. */
static void what_ends_before_it_has_a_cut_has_no_folder(void **state)
{
    struct wire_save w;

    (void)state;
    stage_begin_with_root(7);
    w = save_all("");
    assert_int_equal(w.state, SAVE_DONE);
    stage_send_save(91, "", 0);
    assert_int_equal(stage_cancel(0), PS_OK);
    stage_pass(500);
    assert_int_equal(stage_save_record().state, SAVE_CANCELED);
    assert_int_equal(stage_save_record().ticket, w.ticket + 1);
    assert_int_equal(stage_save_record().cut, w.cut);
    assert_string_equal(stage_save_record().folder, "ckpt-000000000002-0");
    assert_true(is_there(w.folder, "manifest.json"));
}

/* Lets time go on until `op` is the next request of the disk. */
static bool wait_for(enum disk_op op)
{
    struct desk *d = &stage.a;

    for (int i = 0; i < 1000; i++) {
        d->net.now_us += 10 * MS;
        shelf_run(&d->shelf);
        scheduler_tick(d->scheduler);
        shelf_run(&d->shelf);
        while (d->files.n > 0) {
            if (d->files.requests[0].op == op) {
                return true;
            }
            assert_true(stage_do_request(d));
        }
    }
    return false;
}

static void what_is_renamed_is_as_good_as_saved(void **state)
{
    struct wire_shard said;
    struct wire_save w;

    (void)state;
    stage_begin_with_root(7);
    assert_int_equal(ask("", 0), PS_OK);
    w = stage_save_record();
    said = make_files(&w);
    stage_report(0, &said);
    assert_true(wait_for(DISK_RENAME));
    assert_int_equal(stage_cancel(w.ticket), PS_EEXIST);
    assert_true(stage_do_request(&stage.a));
    assert_int_equal(stage_cancel(w.ticket), PS_EEXIST);
    stage_pass(500);
    assert_int_equal(stage_save_record().state, SAVE_DONE);
    assert_true(is_there(w.folder, "manifest.json"));
}

static void what_fails_after_it_was_renamed_is_removed(void **state)
{
    struct wire_shard said;
    struct wire_save w;

    (void)state;
    stage_begin_with_root(7);
    assert_int_equal(ask("", 0), PS_OK);
    w = stage_save_record();
    said = make_files(&w);
    stage_report(0, &said);
    assert_true(wait_for(DISK_RENAME));
    assert_true(stage_do_request(&stage.a));
    assert_true(is_there(w.folder, "manifest.json"));
    stage_damage(w.folder, "manifest.json", 3);
    stage_pass(500);
    w = stage_save_record();
    assert_int_equal(w.state, SAVE_FAILED);
    assert_non_null(strstr(w.why, "reads back as something else"));
    assert_false(is_there(w.folder, "manifest.json"));
    assert_false(is_there(w.folder, "lane-7.json"));
}

/* The scheduler has removed the folder when a server that has not heard of the
 * end makes it again. */
static void what_a_server_makes_after_the_end_goes_too(void **state)
{
    struct wire_shard said = {.saved = SAVED_WRITING, .why = ""};
    struct wire_save w;

    (void)state;
    stage_begin_with_root(7);
    assert_int_equal(ask("", 0), PS_OK);
    w = stage_save_record();
    assert_int_equal(stage_cancel(w.ticket), PS_OK);
    stage_pass(500);
    assert_int_equal(stage_save_record().state, SAVE_CANCELED);
    (void)make_files(&w);
    for (uint64_t i = 0; i < 2; i++) {
        said.cut = w.cut - i; /* of a new life, that knows of none */
        stage_report(0, &said);
        stage_pass(2000);
        assert_true(is_there(unfinished(&w), "lane-7.json"));
        said.saved = SAVED_NONE;
    }
    said.cut = w.cut;
    stage_report(0, &said);
    stage_pass(2000);
    assert_false(is_there(unfinished(&w), "lane-7.json"));
    /* Who follows does not know what there was. */
    (void)make_files(&w);
    stage_follow(300);
    stage_pass(2000);
    assert_false(is_there(unfinished(&w), "lane-7.json"));
}

/* ---- who is waited for -------------------------------------------------- */

static void a_session_that_never_reports_is_named(void **state)
{
    struct wire_save w;

    (void)state;
    stage.save_wait_ms = 5000;
    stage_begin_with_root(7);
    stage_put_session(41);
    stage_pass(500);
    assert_int_equal(ask("", 0), PS_OK);
    stage_pass(4000);
    assert_int_equal(stage_save_record().state, SAVE_OPEN);
    stage_pass(1500);
    w = stage_save_record();
    assert_int_equal(w.state, SAVE_FAILED);
    assert_string_equal(w.why, "after 5 s these have not reached the cut: "
                               "session 41");
}

/* Takes all sessions out of the table, as those do that close in order. */
static void close_sessions(void)
{
    struct shelf *s = &stage.a.shelf;
    struct wire_sessions m;

    arena_reset(&stage.arena);
    assert_true(shelf_get(s, "sessions") > 0);
    assert_int_equal(wire_sessions_decode(s->data, s->size, &stage.arena, &m),
                     PS_OK);
    m.n_open = 0;
    buf_clear(&stage.record);
    wire_sessions_encode(&m, &stage.record);
    shelf_put(s, "sessions", &stage.record);
}

static void sessions_that_close_in_order_do_not_make_it_fail(void **state)
{
    uint64_t cut = 0;

    (void)state;
    stage_begin_with_root(7);
    stage_put_session(1);
    stage_pass(500);
    assert_int_equal(ask("", 0), PS_OK);
    for (uint64_t i = 2; i < 20; i++) {
        assert_int_equal(stage_save_record().state, SAVE_OPEN);
        assert_true(stage_save_record().cut > cut);
        cut = stage_save_record().cut;
        close_sessions();
        stage_put_session(i);
        stage_pass(500);
    }
    close_sessions();
    stage_pass(500);
    assert_int_equal(stage_save_record().state, SAVE_CLOSED);
}

/* ---- what goes on meanwhile --------------------------------------------- */

static void a_server_that_dies_under_the_manifest_is_repaired(void **state)
{
    struct wire_shard said;
    struct wire_plan plan;
    struct wire_save w;

    (void)state;
    stage_begin_with_root(7);
    assert_int_equal(ask("", 0), PS_OK);
    w = stage_save_record();
    said = make_files(&w);
    stage_report(0, &said);
    assert_true(wait_for(DISK_RENAME));
    /* The disk hangs; another process of the server comes meanwhile. */
    stage_put_server(0, 8);
    for (int i = 0; i < 100; i++) {
        stage.a.net.now_us += 10 * MS;
        shelf_run(&stage.a.shelf);
        scheduler_tick(stage.a.scheduler);
        shelf_run(&stage.a.shelf);
    }
    plan = stage_plan();
    assert_non_null(stage_live(&plan, 8));
    assert_non_null(stage_ended(&plan, 7));
    stage_pass(500);
    assert_int_equal(stage_save_record().state, SAVE_DONE);
}

static void a_disk_that_hangs_under_the_manifest_ends_the_save(void **state)
{
    static const enum disk_op ops[] = {DISK_OPEN, DISK_WRITE_WHOLE,
                                       DISK_RENAME};
    struct wire_variable v = stage_variable("meanwhile", 8);
    struct stage_disk *files = &stage.a.files;

    (void)state;
    stage_begin_with_root(7);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        struct wire_shard said;
        struct wire_save w;

        assert_int_equal(ask("", 0), PS_OK);
        w = stage_save_record();
        said = make_files(&w);
        stage_report(0, &said);
        assert_true(wait_for(ops[i]));
        files->hangs = true;
        stage_pass(55000);
        assert_int_equal(stage_save_record().state, SAVE_CLOSED);
        /* The plan does not stand still for it. */
        assert_int_equal(i == 0 ? stage_declare(&stage.a, &v) : PS_OK, PS_OK);
        stage_pass(6000);
        w = stage_save_record();
        assert_int_equal(w.state, SAVE_FAILED);
        assert_string_equal(w.why,
                            "the disk of the checkpoints has not answered the "
                            "scheduler for 60 s");
        files->hangs = false;
        stage_pass(500);
        assert_false(is_there(w.folder, "manifest.json"));
    }
    /* The next one is made. */
    assert_int_equal(save_all("again").state, SAVE_DONE);
}

/* The manifest of the save before is still being written. */
static void a_save_behind_a_disk_that_hangs_ends_too(void **state)
{
    struct wire_shard said;
    struct wire_save w;

    (void)state;
    stage_begin_with_root(7);
    assert_int_equal(ask("", 0), PS_OK);
    w = stage_save_record();
    said = make_files(&w);
    stage_report(0, &said);
    assert_true(wait_for(DISK_WRITE_WHOLE));
    stage.a.files.hangs = true;
    stage_pass(61000);
    assert_int_equal(stage_save_record().state, SAVE_FAILED);
    /* It does not wait for ever to know what the root has. */
    assert_int_equal(ask("", 0), NO_ANSWER);
    stage_pass(61000);
    assert_int_equal(stage_answer(&stage.a), PS_OK);
    w = stage_save_record();
    said = make_files(&w);
    stage_report(0, &said);
    stage_pass(55000);
    assert_int_equal(stage_save_record().state, SAVE_CLOSED);
    stage_pass(6000);
    w = stage_save_record();
    assert_int_equal(w.state, SAVE_FAILED);
    assert_non_null(strstr(w.why, "has not answered"));
}

static void servers_that_never_finish_end_it(void **state)
{
    struct wire_save w;

    (void)state;
    stage_begin_with_root(7);
    assert_int_equal(ask("", 0), PS_OK);
    w = stage_save_record();
    stage_pass(1000000);
    stage_report(0, &(struct wire_shard){
                        .cut = w.cut, .saved = SAVED_WRITING, .rows_done = 5});
    stage_pass(1500000);
    assert_int_equal(stage_save_record().state, SAVE_CLOSED);
    stage_pass(400000);
    w = stage_save_record();
    assert_int_equal(w.state, SAVE_FAILED);
    assert_string_equal(w.why,
                        "for 30 minutes no server has got on with its files");
}

static void variables_come_and_go_after_the_save(void **state)
{
    struct wire_variable a = stage_variable("a", 8);
    struct wire_variable b = stage_variable("b", 8);
    struct wire_shard said;
    struct wire_save w;
    uint64_t plan;

    (void)state;
    stage_begin_with_root(7);
    assert_int_equal(stage_declare(&stage.a, &a), PS_OK);
    plan = stage_plan().plan;
    assert_int_equal(ask("", 0), PS_OK);
    w = stage_save_record();
    assert_int_equal(w.state, SAVE_CLOSED);
    assert_int_equal(stage_declare(&stage.a, &b), PS_ENOTREADY);
    assert_non_null(strstr(stage_text(&stage.a), "is being saved"));
    assert_int_equal(stage_drop(&stage.a, "a"), PS_ENOTREADY);
    /* What changes nothing need not wait. */
    assert_int_equal(stage_declare(&stage.a, &a), PS_OK);
    assert_int_equal(stage_drop(&stage.a, "b"), PS_ENOTFOUND);
    assert_int_equal(stage_plan().plan, plan);
    said = make_files(&w);
    stage_report(0, &said);
    stage_pass(500);
    assert_int_equal(stage_save_record().state, SAVE_DONE);
    assert_int_equal(stage_declare(&stage.a, &b), PS_OK);
    assert_int_equal(stage_drop(&stage.a, "a"), PS_OK);
}

static void saves_one_after_another_leave_as_many_as_are_kept(void **state)
{
    const char *folders[6];

    (void)state;
    stage_begin_with_root(7);
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        struct wire_shard said;
        struct wire_save w;

        /* The last but one's prune has not begun when the last is asked for. */
        assert_int_equal(ask("", 0), PS_OK);
        w = stage_save_record();
        folders[i] = w.folder;
        said = make_files(&w);
        stage_report(0, &said);
        if (i + 2 == ARRAY_LEN(folders)) {
            assert_true(wait_for(DISK_LIST));
            assert_int_equal(stage_save_record().state, SAVE_DONE);
            stage_send_save(0, "", 0);
            stage_pass(200);
            assert_int_equal(stage_answer(&stage.a), PS_OK);
            break;
        }
        stage_pass(500);
        assert_int_equal(stage_save_record().state, SAVE_DONE);
    }
    assert_int_equal(stage_save_record().state, SAVE_CLOSED);
    assert_false(is_there(folders[0], "manifest.json"));
    assert_false(is_there(folders[1], "manifest.json")); /* 5 - 3 */
    assert_true(is_there(folders[2], "manifest.json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(what_the_scheduler_sees_is_saved),
        STAGED(a_folder_that_the_scheduler_does_not_see_is_not_saved),
        STAGED(files_that_are_others_or_short_are_not_saved),
        STAGED(a_save_that_waits_for_its_cut_can_be_canceled),
        STAGED(what_ends_before_it_has_a_cut_has_no_folder),
        STAGED(what_is_renamed_is_as_good_as_saved),
        STAGED(what_fails_after_it_was_renamed_is_removed),
        STAGED(what_a_server_makes_after_the_end_goes_too),
        STAGED(a_session_that_never_reports_is_named),
        STAGED(sessions_that_close_in_order_do_not_make_it_fail),
        STAGED(a_server_that_dies_under_the_manifest_is_repaired),
        STAGED(a_disk_that_hangs_under_the_manifest_ends_the_save),
        STAGED(a_save_behind_a_disk_that_hangs_ends_too),
        STAGED(servers_that_never_finish_end_it),
        STAGED(variables_come_and_go_after_the_save),
        STAGED(saves_one_after_another_leave_as_many_as_are_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
