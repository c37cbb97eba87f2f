/* test_remove_tree.c - a folder with all in it, removed from every kind of file
 * system. */
#include "fs/fs.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/crashfs.h"

static void put(struct fs *fs, const char *path)
{
    assert_int_equal(fs->ops->write_new(fs, path, "x", 1, false, NULL), PS_OK);
}

static bool is_there(struct fs *fs, const char *path)
{
    struct buf b;
    int rc;

    buf_init(&b);
    rc = fs->ops->read(fs, path, 10, &b, NULL);
    buf_fini(&b);
    return rc == PS_OK;
}

static bool count(void *context, const char *name)
{
    uint32_t *n = context;

    (void)name;
    (*n)++;
    return true;
}

static void make_tree(struct fs *fs)
{
    assert_int_equal(fs->ops->mkdir(fs, "t/a/b/c", NULL), PS_OK);
    assert_int_equal(fs->ops->mkdir(fs, "t/empty", NULL), PS_OK);
    put(fs, "t/1");
    put(fs, "t/a/2");
    put(fs, "t/a/b/3");
    put(fs, "t/a/b/c/4");
    put(fs, "t/a/b/c/5");
    put(fs, "t2");
}

static void remove_all(struct fs *fs)
{
    uint32_t n = 0;

    make_tree(fs);
    assert_int_equal(fs_remove_tree(fs, "t", NULL), PS_OK);
    assert_int_equal(fs->ops->list(fs, "t", count, &n, NULL), PS_ENOTFOUND);
    assert_true(is_there(fs, "t2"));
    assert_int_equal(fs_remove_tree(fs, "t", NULL), PS_OK);
    assert_int_equal(fs_remove_tree(fs, "t2", NULL), PS_OK);
    assert_false(is_there(fs, "t2"));
    assert_int_equal(fs->ops->list(fs, ".", count, &n, NULL), PS_OK);
    assert_int_equal(n, 0);
}

static void a_tree_is_removed_and_its_neighbours_stay(void **state)
{
    char dir[] = "/tmp/test_remove.XXXXXX";
    struct crashfs *c = crashfs_new();
    struct fs *memory;
    struct fs *tree;

    (void)state;
    remove_all(crashfs_fs(c));
    crashfs_free(c);
    assert_int_equal(fs_url_open(&memory, "memory://remove", NULL), PS_OK);
    remove_all(memory);
    fs_url_close(memory);
    assert_non_null(mkdtemp(dir));
    assert_int_equal(fs_url_open(&tree, dir, NULL), PS_OK);
    remove_all(tree);
    fs_url_close(tree);
    assert_int_equal(rmdir(dir), 0);
}

static void links_in_it_go_and_what_they_lead_to_stays(void **state)
{
    char dir[] = "/tmp/test_remove.XXXXXX";
    char path[128];
    struct stat st;
    struct fs *fs = fs_file();

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/precious", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/precious/file", dir);
    put(fs, path);
    snprintf(path, sizeof(path), "%s/t", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/t/link", dir);
    assert_int_equal(symlink("../precious", path), 0);
    snprintf(path, sizeof(path), "%s/t/nowhere", dir);
    assert_int_equal(symlink("/no/such", path), 0);
    snprintf(path, sizeof(path), "%s/t", dir);
    assert_int_equal(fs_remove_tree(fs, path, NULL), PS_OK);
    assert_int_not_equal(stat(path, &st), 0);
    snprintf(path, sizeof(path), "%s/precious/file", dir);
    assert_int_equal(stat(path, &st), 0);
    /* A link in place of the tree itself. */
    snprintf(path, sizeof(path), "%s/t", dir);
    assert_int_equal(symlink("precious", path), 0);
    assert_int_equal(fs_remove_tree(fs, path, NULL), PS_OK);
    assert_int_not_equal(lstat(path, &st), 0);
    snprintf(path, sizeof(path), "%s/precious/file", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(fs_remove_tree(fs, dir, NULL), PS_OK);
}

static void each_failure_is_said_and_a_second_try_ends_it(void **state)
{
    uint64_t n = 0;
    bool has_failed;

    (void)state;
    do {
        struct crashfs *c = crashfs_new();
        struct fs *fs = crashfs_fs(c);
        int rc;

        make_tree(fs);
        crashfs_fail(c, ++n, CRASHFS_EIO, CRASHFS_NOT_DONE, true);
        rc = fs_remove_tree(fs, "t", NULL);
        has_failed = crashfs_has_failed(c);
        assert_int_equal(rc, has_failed ? PS_EIO : PS_OK);
        crashfs_fail(c, 0, CRASHFS_EIO, CRASHFS_NOT_DONE, false);
        assert_int_equal(fs_remove_tree(fs, "t", NULL), PS_OK);
        assert_true(is_there(fs, "t2"));
        crashfs_free(c);
    } while (has_failed);
    assert_true(n > 10);
}

static void a_path_that_is_too_long_is_said(void **state)
{
    enum { DEEP = 20 };
    struct crashfs *c = crashfs_new();
    struct fs *fs = crashfs_fs(c);
    char part[252];
    char path[DEEP * sizeof(part) + 1];

    (void)state;
    memset(part, 'p', sizeof(part));
    part[sizeof(part) - 1] = '\0';
    path[0] = '\0';
    for (size_t i = 0; i < DEEP; i++) {
        snprintf(path + strlen(path), sizeof(path) - strlen(path), "%s%s",
                 i == 0 ? "" : "/", part);
    }
    assert_int_equal(fs->ops->mkdir(fs, path, NULL), PS_OK);
    assert_int_equal(fs_remove_tree(fs, part, NULL), PS_EIO);
    assert_int_equal(fs_remove_tree(fs, path, NULL), PS_EARGUMENT);
    assert_int_equal(fs_remove_tree(fs, "", NULL), PS_EARGUMENT);
    crashfs_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_is_removed_and_its_neighbours_stay),
        cmocka_unit_test(links_in_it_go_and_what_they_lead_to_stays),
        cmocka_unit_test(each_failure_is_said_and_a_second_try_ends_it),
        cmocka_unit_test(a_path_that_is_too_long_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
