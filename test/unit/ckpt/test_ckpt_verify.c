/* test_ckpt_verify.c - no damage of a checkpoint goes unseen. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>

#include "base/mem.h"
#include "lib/slow.h"
#include "unit/ckpt/ckpt_stage.h"

enum { FILES = 7, USERS = 40, TABLE = 6 };

static const char *const names[FILES] = {
    "manifest.json",
    "lane-7.json",
    "lane-7.safetensors",
    "lane-7.state.safetensors",
    "lane-9.json",
    "lane-9.safetensors",
    "lane-9.state.safetensors",
};

struct stage {
    struct fs *fs;
    char folder[CKPT_NAME_MAX + 1];
};

static int set_up(void **state)
{
    struct stage *s = mem_new(sizeof(*s));
    struct err e;

    s->fs = fs_memory_new();
    *state = s;
    return stage_write(s->fs, 12, 0, "monday", USERS, TABLE, s->folder, &e);
}

static int tear_down(void **state)
{
    struct stage *s = *state;

    fs_memory_free(s->fs);
    mem_free(s);
    return 0;
}

/* Opens and verifies it. */
static int judge(struct stage *s, struct err *e)
{
    struct ckpt *c;
    int rc = ckpt_open(s->fs, s->folder, &c, e);

    if (rc == PS_OK) {
        rc = ckpt_verify(s->fs, s->folder, c, NULL, e);
        ckpt_free(c);
    }
    return rc;
}

/* Puts a file's bytes in place of what is there. */
static void put(struct stage *s, const char *name, const void *data,
                size_t size)
{
    char path[200];

    snprintf(path, sizeof(path), "%s/%s", s->folder, name);
    assert_int_equal(s->fs->ops->unlink(s->fs, path, NULL), PS_OK);
    assert_int_equal(
        s->fs->ops->write_new(s->fs, path, data, size, false, NULL), PS_OK);
}

static void take(struct stage *s, const char *name, struct buf *b)
{
    char path[200];

    snprintf(path, sizeof(path), "%s/%s", s->folder, name);
    buf_clear(b);
    assert_int_equal(s->fs->ops->read(s->fs, path, 1 << 30, b, NULL), PS_OK);
}

static void a_good_one_is_good(void **state)
{
    struct stage *s = *state;
    struct err e = {0};

    assert_int_equal(judge(s, &e), PS_OK);
    assert_string_equal(s->folder, "ckpt-000000000012-3");
}

static void every_flipped_byte_is_found_and_its_file_named(void **state)
{
    struct stage *s = *state;
    struct buf b = {0};
    uint64_t n = 0;

    for (int f = 0; f < FILES; f++) {
        take(s, names[f], &b);
        for (size_t i = 0; i < b.size; i += SLOW_STRIDE) {
            /* Also the one bit that is the case of a letter. */
            static const uint8_t flips[] = {0xff, 0x20};

            for (size_t k = 0; k < sizeof(flips); k++) {
                struct err e = {0};
                int rc;

                b.data[i] ^= flips[k];
                put(s, names[f], b.data, b.size);
                rc = judge(s, &e);
                if (rc != PS_EDATALOSS || strstr(e.text, names[f]) == NULL) {
                    fail_msg("%s, byte %zu: %d, \"%s\"", names[f], i, rc,
                             e.text);
                }
                b.data[i] ^= flips[k];
                n++;
            }
        }
        put(s, names[f], b.data, b.size);
    }
    print_message("%zu flips\n", (size_t)n);
    buf_fini(&b);
}

static void every_other_length_is_found_and_its_file_named(void **state)
{
    struct stage *s = *state;
    struct buf b = {0};

    for (int f = 0; f < FILES; f++) {
        size_t size;

        take(s, names[f], &b);
        size = b.size;
        assert_int_equal(buf_append(&b, "\n ", 2), PS_OK);
        for (size_t i = 0; i <= size + 2; i += SLOW_STRIDE) {
            struct err e = {0};
            int rc;

            if (i == size) {
                continue;
            }
            put(s, names[f], b.data, i);
            rc = judge(s, &e);
            if (rc != PS_EDATALOSS || strstr(e.text, names[f]) == NULL) {
                fail_msg("%s, %zu bytes: %d, \"%s\"", names[f], i, rc, e.text);
            }
        }
        put(s, names[f], b.data, size);
    }
    buf_fini(&b);
}

static void a_missing_file_and_swapped_files_are_found(void **state)
{
    struct stage *s = *state;
    struct buf a = {0};
    struct buf b = {0};

    for (int f = 0; f < FILES; f++) {
        char path[200];
        struct err e = {0};

        take(s, names[f], &a);
        snprintf(path, sizeof(path), "%s/%s", s->folder, names[f]);
        assert_int_equal(s->fs->ops->unlink(s->fs, path, NULL), PS_OK);
        assert_int_equal(judge(s, &e), PS_EDATALOSS);
        assert_non_null(strstr(e.text, names[f]));
        assert_int_equal(
            s->fs->ops->write_new(s->fs, path, a.data, a.size, false, NULL),
            PS_OK);
    }
    for (int f = 1; f < 4; f++) {
        struct err e = {0};

        take(s, names[f], &a);
        take(s, names[f + 3], &b);
        put(s, names[f], b.data, b.size);
        put(s, names[f + 3], a.data, a.size);
        assert_int_equal(judge(s, &e), PS_EDATALOSS);
        put(s, names[f], a.data, a.size);
        put(s, names[f + 3], b.data, b.size);
    }
    buf_fini(&a);
    buf_fini(&b);
}

static void a_folder_with_anothers_name_is_found(void **state)
{
    struct stage *s = *state;
    struct err e = {0};

    assert_int_equal(
        s->fs->ops->rename(s->fs, s->folder, "ckpt-000000000013-3", NULL),
        PS_OK);
    memcpy(s->folder, "ckpt-000000000013-3", 20);
    assert_int_equal(judge(s, &e), PS_EDATALOSS);
    assert_non_null(strstr(e.text, "manifest.json"));
}

static bool stop_late(void *context, uint64_t done, uint64_t total)
{
    uint64_t *last = context;

    assert_true(done > *last && done <= total);
    *last = done;
    return done < total;
}

static void progress_ends_at_the_total_and_may_stop(void **state)
{
    struct stage *s = *state;
    uint64_t last = 0;
    struct ckpt_progress p = {.fn = stop_late, .context = &last};
    struct ckpt *c;
    struct err e = {0};

    assert_int_equal(ckpt_open(s->fs, s->folder, &c, &e), PS_OK);
    assert_int_equal(ckpt_verify(s->fs, s->folder, c, &p, &e), PS_ECANCELED);
    ckpt_free(c);
}

static void each_failed_allocation_is_said_and_none_is_damage(void **state)
{
    struct stage *s = *state;
    uint64_t start = mem_calls();
    uint64_t n;

    assert_int_equal(judge(s, NULL), PS_OK);
    n = mem_calls() - start;
    for (uint64_t i = 1; i <= n; i++) {
        int rc;

        mem_fail_at(i);
        rc = judge(s, NULL);
        mem_fail_at(0);
        assert_int_equal(rc, PS_ENOMEM);
    }
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_good_one_is_good, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            every_flipped_byte_is_found_and_its_file_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            every_other_length_is_found_and_its_file_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_missing_file_and_swapped_files_are_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_with_anothers_name_is_found,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(progress_ends_at_the_total_and_may_stop,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            each_failed_allocation_is_said_and_none_is_damage, set_up,
            tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
