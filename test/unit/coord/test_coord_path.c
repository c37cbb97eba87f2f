/* test_coord_path.c - kv paths: what gives a folder, and what is refused. */
#include "coord/coord.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

static void file_paths_give_the_folder(void **state)
{
    static const char *const cases[][2] = {
        {"file:///run/ps", "/run/ps"},    {"/run/ps", "/run/ps"},
        {"file:///run/ps///", "/run/ps"}, {"/a", "/a"},
        {"/run/x://y", "/run/x://y"},
    };
    char dir[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(coord_path_parse(cases[i][0], dir, sizeof(dir), NULL),
                         PS_OK);
        assert_string_equal(dir, cases[i][1]);
    }
}

static void other_paths_are_refused_with_what_is_wrong(void **state)
{
    static const char *const cases[][2] = {
        {"zfs://h:2181/ps", "ZooKeeper"},
        {"hdfs://h/ps", "hdfs:// is not a store"},
        {"memory://x", "memory:// is not a store"},
        {"file://run/ps", "begin with a slash"},
        {"run/ps", "begin with a slash"},
        {"file:/run/ps", "begin with a slash"},
        {"file://", "begin with a slash"},
        {"file:///", "folder of its own"},
        {"//", "folder of its own"},
        {"", "no path"},
        {NULL, "no path"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char dir[64] = "untouched";
        struct err e = {0};

        assert_int_equal(coord_path_parse(cases[i][0], dir, sizeof(dir), &e),
                         PS_EARGUMENT);
        assert_non_null(strstr(e.text, cases[i][1]));
        assert_string_equal(dir, "untouched");
    }
}

static void a_folder_that_does_not_fit_is_refused(void **state)
{
    char dir[8];
    struct err e = {0};

    (void)state;
    assert_int_equal(coord_path_parse("/234567", dir, sizeof(dir), &e), PS_OK);
    assert_string_equal(dir, "/234567");
    assert_int_equal(coord_path_parse("/2345678", dir, sizeof(dir), &e),
                     PS_EARGUMENT);
    assert_non_null(strstr(e.text, "8 bytes, at most 7"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_paths_give_the_folder),
        cmocka_unit_test(other_paths_are_refused_with_what_is_wrong),
        cmocka_unit_test(a_folder_that_does_not_fit_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
