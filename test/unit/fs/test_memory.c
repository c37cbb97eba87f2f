/* test_memory.c - what is the memory's own: it runs out. The cases that it has
 * in common with the others are in test_fs.c and test_file.c. */
#include "fs/fs.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"

enum { BIG = 100000 };

static int run_script(struct fs *fs, const char *big)
{
    struct fs_open_file *f;
    int rc = fs->ops->open(fs, "a", FS_CREATE, &f, NULL);
    int end;

    if (rc != PS_OK) {
        return rc;
    }
    rc = fs->ops->write_at(fs, f, 0, "one", 3, NULL);
    if (rc == PS_OK) {
        rc = fs->ops->write_at(fs, f, 10, big, BIG, NULL);
    }
    end = fs->ops->close(fs, f, NULL);
    assert_int_equal(end, PS_OK);
    return rc;
}

static void memory_that_runs_out_leaves_what_was_written(void **state)
{
    char *big = mem_new(BIG);
    uint64_t n = 0;
    int rc;

    (void)state;
    memset(big, 'x', BIG);
    do {
        struct fs *fs = fs_memory_new();
        struct buf b;

        buf_init(&b);
        mem_fail_at(++n);
        rc = run_script(fs, big);
        mem_fail_at(0);
        assert_true(rc == PS_OK || rc == PS_ENOMEM);
        if (fs->ops->read(fs, "a", BIG + 10, &b, NULL) == PS_OK) {
            assert_true(b.size == 0 || b.size == 3 || b.size == BIG + 10);
            assert_true(rc != PS_OK || b.size == BIG + 10);
            assert_true(b.size < 3 || memcmp(b.data, "one", 3) == 0);
        }
        buf_fini(&b);
        fs_memory_free(fs);
    } while (rc != PS_OK);
    assert_true(n > 4);
    mem_free(big);
}

static void a_write_beyond_all_memory_is_refused(void **state)
{
    struct fs *fs = fs_memory_new();
    struct fs_open_file *f;
    uint64_t size;

    (void)state;
    assert_int_equal(fs->ops->open(fs, "a", FS_CREATE, &f, NULL), PS_OK);
    assert_int_equal(fs->ops->write_at(fs, f, UINT64_MAX - 1, "xy", 2, NULL),
                     PS_ENOMEM);
    assert_int_equal(fs->ops->write_at(fs, f, UINT64_MAX / 2, "xy", 2, NULL),
                     PS_ENOMEM);
    assert_int_equal(fs->ops->file_size(fs, f, &size, NULL), PS_OK);
    assert_int_equal(size, 0);
    assert_int_equal(fs->ops->close(fs, f, NULL), PS_OK);
    fs_memory_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_that_runs_out_leaves_what_was_written),
        cmocka_unit_test(a_write_beyond_all_memory_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
