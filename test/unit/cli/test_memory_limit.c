/* test_memory_limit.c - the share of memory, and where the limit is read. */
#include "cli/memory_limit.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 512 };

static const uint64_t GIB = 1073741824;

/* A tree as of the kernel, below a folder of its own. */
struct tree {
    char root[64];
    char files[8][PATH_BYTES];
    size_t n_files;
    char folders[32][PATH_BYTES];
    size_t n_folders;
};

static int plant(void **state)
{
    static struct tree tree;

    tree = (struct tree){.root = "/tmp/ps-plus-test-XXXXXX"};
    *state = &tree;
    return mkdtemp(tree.root) == NULL ? -1 : 0;
}

static int fell(void **state)
{
    struct tree *t = *state;

    for (size_t i = t->n_files; i > 0; i--) {
        unlink(t->files[i - 1]);
    }
    for (size_t i = t->n_folders; i > 0; i--) {
        rmdir(t->folders[i - 1]);
    }
    return rmdir(t->root);
}

/* Writes a file and the folders above it. */
static void put(struct tree *t, const char *name, const char *text)
{
    char path[PATH_BYTES];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", t->root, name);
    for (char *at = path + strlen(t->root) + 1; *at != '\0'; at++) {
        if (*at != '/') {
            continue;
        }
        *at = '\0';
        if (mkdir(path, 0755) == 0) {
            assert_true(t->n_folders < 32);
            memcpy(t->folders[t->n_folders], path, sizeof(path));
            t->n_folders++;
        }
        *at = '/';
    }
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_true(t->n_files < 8);
    memcpy(t->files[t->n_files], path, sizeof(path));
    t->n_files++;
}

static void the_share_is_four_fifths_of_the_smaller(void **state)
{
    (void)state;
    /* 0.8 * 1000 = 800; 0.8 * 999 = 799.2; 0.8 * 1000 / 3 = 266.7 */
    assert_int_equal(memory_limit_share(1000, 2000, 1), 800);
    assert_int_equal(memory_limit_share(2000, 1000, 1), 800);
    assert_int_equal(memory_limit_share(999, 2000, 1), 799);
    assert_int_equal(memory_limit_share(1000, 2000, 3), 266);
    assert_int_equal(memory_limit_share(1000, 2000, 4), 200);
}

static void a_limit_that_is_not_known_does_not_count(void **state)
{
    (void)state;
    assert_int_equal(memory_limit_share(0, 1000, 2), 400);
    assert_int_equal(memory_limit_share(1000, 0, 2), 400);
    assert_int_equal(memory_limit_share(0, 0, 2), 0);
}

static void the_share_of_everything_does_not_overflow(void **state)
{
    (void)state;
    /* (2^64 - 1) / 5 = 3689348814741910323, times 4 */
    assert_true(memory_limit_share(UINT64_MAX, 0, 1) ==
                UINT64_C(14757395258967641292));
}

static void without_files_there_is_no_limit(void **state)
{
    struct tree *t = *state;

    assert_int_equal(memory_limit_cgroup(t->root), 0);
    assert_int_equal(memory_limit_machine(t->root), 0);
}

static void version_two_is_read_up_to_the_root(void **state)
{
    struct tree *t = *state;

    put(t, "proc/self/cgroup", "0::/a/b/c\n");
    put(t, "sys/fs/cgroup/a/b/c/memory.max", "max\n");
    put(t, "sys/fs/cgroup/a/b/memory.max", "4294967296\n");
    put(t, "sys/fs/cgroup/a/memory.max", "2147483648\n");
    assert_true(memory_limit_cgroup(t->root) == 2 * GIB);
    put(t, "sys/fs/cgroup/memory.max", "1073741824\n");
    assert_true(memory_limit_cgroup(t->root) == GIB);
}

static void version_one_is_read_where_memory_is(void **state)
{
    struct tree *t = *state;

    put(t, "proc/self/cgroup",
        "9:name=systemd:/\n5:cpu,cpuacct:/x\n4:hugetlb,memory:/job/1\n0::/\n");
    put(t, "sys/fs/cgroup/memory/job/1/memory.limit_in_bytes",
        "9223372036854771712\n");
    put(t, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", "3221225472\n");
    put(t, "sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1\n");
    assert_true(memory_limit_cgroup(t->root) == 3 * GIB);
}

static void a_group_of_another_namespace_leaves_those_above(void **state)
{
    struct tree *t = *state;

    put(t, "proc/self/cgroup", "4:memory:/docker/0123\n");
    put(t, "sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
    assert_true(memory_limit_cgroup(t->root) == GIB);
}

static void a_controller_of_a_similar_name_is_another(void **state)
{
    struct tree *t = *state;

    put(t, "proc/self/cgroup", "4:memory2,xmemory:/a\nnonsense\n7\n");
    put(t, "sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1073741824\n");
    assert_int_equal(memory_limit_cgroup(t->root), 0);
}

static void memory_of_the_machine_is_in_kib(void **state)
{
    struct tree *t = *state;

    put(t, "proc/meminfo", "MemTotal:       25165824 kB\nMemFree: 1 kB\n");
    assert_true(memory_limit_machine(t->root) == 24 * GIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_share_is_four_fifths_of_the_smaller),
        cmocka_unit_test(a_limit_that_is_not_known_does_not_count),
        cmocka_unit_test(the_share_of_everything_does_not_overflow),
        cmocka_unit_test_setup_teardown(without_files_there_is_no_limit, plant,
                                        fell),
        cmocka_unit_test_setup_teardown(version_two_is_read_up_to_the_root,
                                        plant, fell),
        cmocka_unit_test_setup_teardown(version_one_is_read_where_memory_is,
                                        plant, fell),
        cmocka_unit_test_setup_teardown(
            a_group_of_another_namespace_leaves_those_above, plant, fell),
        cmocka_unit_test_setup_teardown(
            a_controller_of_a_similar_name_is_another, plant, fell),
        cmocka_unit_test_setup_teardown(memory_of_the_machine_is_in_kib, plant,
                                        fell),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
