/* test_restore_check.c - a checkpoint is good only if every byte of it is. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "scheduler/restore_find.h"
#include "scheduler_stage.h"

/* A disk that does what it is asked at once, in find(). */
struct desk_disk {
    struct disk disk;
    struct disk_request requests[8];
    size_t n;
};

static void submit(struct disk *d, const struct disk_request *r)
{
    struct desk_disk *x = (struct desk_disk *)(void *)d;

    assert_true(x->n < ARRAY_LEN(x->requests));
    x->requests[x->n++] = *r;
}

static struct restore_find found;
static uint32_t n_open;

static int find(const struct restore_wish *wish)
{
    struct desk_disk d = {.disk = {submit}};
    struct disk_work work;
    bool is_over = false;
    struct buf out;
    struct err e;

    disk_work_init(&work, stage.root);
    restore_find_begin(&found, &d.disk, wish);
    while (d.n > 0) {
        struct disk_request r = d.requests[0];
        struct disk_result result = {.op = r.op, .tag = r.tag, .why = ""};

        memmove(d.requests, d.requests + 1, --d.n * sizeof(r));
        buf_init(&out);
        e.text[0] = '\0';
        result.status = disk_work_do(&work, &r, &out, &e);
        result.why = e.text;
        result.data = out.data;
        result.size = out.size;
        is_over = restore_find_on_disk(&found, &result) || is_over;
        buf_fini(&out);
    }
    assert_true(is_over);
    n_open = (uint32_t)work.n;
    disk_work_fini(&work);
    return found.status;
}

static int set_up(void **state)
{
    int rc = stage_set_up(state);

    stage_make_root();
    return rc;
}

static int tear_down(void **state)
{
    restore_find_end(&found);
    return stage_tear_down(state);
}

static const struct ckpt_manifest first = {.cut = 5, .plan = 9};
static const struct restore_wish newest = {.kind = RESTORE_NEWEST,
                                           .verifies = true};

static void a_good_one_is_found(void **state)
{
    const char *folder = stage_checkpoint(&first);

    (void)state;
    assert_int_equal(find(&newest), PS_OK);
    assert_string_equal(found.folder, folder);
    assert_int_equal(found.c->manifest.cut, 5);
    assert_true(found.check.done > 0);
    assert_int_equal(found.check.done, found.check.total);
    assert_int_equal(n_open, 0);
}

/* Each bit counts: one of each byte of each file. */
static void no_flipped_byte_is_overlooked(void **state)
{
    static const char *const files[] = {CKPT_MANIFEST, "lane-7.json",
                                        "lane-7.safetensors",
                                        "lane-7.state.safetensors"};
    const char *folder = stage_checkpoint(&first);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char path[256];
        struct buf b;

        snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
        buf_init(&b);
        assert_int_equal(
            stage.root->ops->read(stage.root, path, 1 << 20, &b, NULL), PS_OK);
        for (size_t at = 0; at < b.size; at++) {
            stage_damage(folder, files[i], at);
            assert_int_equal(find(&newest), PS_EDATALOSS);
            assert_non_null(strstr(found.why, files[i]));
            assert_int_equal(n_open, 0);
            stage_damage(folder, files[i], at);
        }
        buf_fini(&b);
    }
    assert_int_equal(find(&newest), PS_OK);
}

/* A file that is not there, too short or too long. */
static void files_of_another_length_are_damage(void **state)
{
    static const char *const files[] = {CKPT_MANIFEST, "lane-7.json",
                                        "lane-7.safetensors",
                                        "lane-7.state.safetensors"};
    const struct fs_ops *ops = stage.root->ops;
    const char *folder = stage_checkpoint(&first);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char path[256];
        struct buf b;

        snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
        buf_init(&b);
        assert_int_equal(ops->read(stage.root, path, 1 << 20, &b, NULL), PS_OK);
        assert_int_equal(buf_append(&b, "x", 1), PS_OK);
        for (size_t size = b.size - 2; size <= b.size; size += 2) {
            assert_int_equal(ops->unlink(stage.root, path, NULL), PS_OK);
            assert_int_equal(
                ops->write_new(stage.root, path, b.data, size, false, NULL),
                PS_OK);
            assert_int_equal(find(&newest), PS_EDATALOSS);
            assert_non_null(strstr(found.why, files[i]));
        }
        assert_int_equal(ops->unlink(stage.root, path, NULL), PS_OK);
        assert_int_equal(find(&newest), PS_EDATALOSS);
        assert_non_null(strstr(found.why, files[i]));
        assert_int_equal(
            ops->write_new(stage.root, path, b.data, b.size - 1, false, NULL),
            PS_OK);
        buf_fini(&b);
    }
    assert_int_equal(find(&newest), PS_OK);
}

static void an_increment_is_as_good_as_what_it_builds_on(void **state)
{
    struct ckpt_manifest m = first;
    const char *base = stage_checkpoint(&first);
    const char *middle, *top;

    (void)state;
    m.cut = 6;
    m.base = 5;
    middle = stage_checkpoint(&m);
    m.cut = 7;
    m.base = 6;
    top = stage_checkpoint(&m);
    assert_int_equal(find(&newest), PS_OK);
    assert_string_equal(found.folder, top);
    stage_damage(middle, "lane-7.safetensors", 0);
    assert_int_equal(find(&newest), PS_OK);
    assert_string_equal(found.folder, base);
    stage_damage(middle, "lane-7.safetensors", 0);
    stage_damage(base, "lane-7.safetensors", 0);
    assert_int_equal(find(&newest), PS_EDATALOSS);
    assert_non_null(strstr(found.why, top));
    assert_non_null(strstr(found.why, base));
}

static void what_another_cluster_calls_the_same_cut_is_passed_over(void **state)
{
    struct ckpt_manifest m = first;
    const char *top;

    (void)state;
    (void)stage_checkpoint(&first);
    m.cluster_low++;
    m.term = 2;
    (void)stage_checkpoint(&m);
    m = first;
    m.cut = 6;
    m.base = 5;
    top = stage_checkpoint(&m);
    assert_int_equal(find(&newest), PS_OK);
    assert_string_equal(found.folder, top);
    assert_string_equal(found.why, "");
}

static void an_unfinished_one_is_none(void **state)
{
    const char *folder = stage_checkpoint(&first);

    (void)state;
    assert_int_equal(stage.root->ops->rename(stage.root, folder,
                                             ".new-000000000005-1", NULL),
                     PS_OK);
    assert_int_equal(find(&newest), PS_ENOTFOUND);
    assert_int_equal(found.marks.cut, 5);
}

#define FOUND(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FOUND(a_good_one_is_found),
        FOUND(no_flipped_byte_is_overlooked),
        FOUND(files_of_another_length_are_damage),
        FOUND(an_increment_is_as_good_as_what_it_builds_on),
        FOUND(what_another_cluster_calls_the_same_cut_is_passed_over),
        FOUND(an_unfinished_one_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
