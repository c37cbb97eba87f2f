/* test_stats.c - the rows that describe the counters. */
#include "base/stats.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

static void every_counter_has_a_row_in_order(void **state)
{
    (void)state;
    assert_int_equal(stats_n, sizeof(struct stats) / sizeof(uint64_t));
    assert_string_equal(stats_rows[0].name, "pulls");
    assert_int_equal(offsetof(struct stats, pulls), 0);
    assert_string_equal(
        stats_rows[offsetof(struct stats, gaps) / sizeof(uint64_t)].name,
        "gaps");
    assert_string_equal(stats_rows[stats_n - 1].name, "save_hold_us");
    for (size_t i = 0; i < stats_n; i++) {
        assert_true(strlen(stats_rows[i].unit) > 0);
        assert_true(strlen(stats_rows[i].help) > 0);
    }
}

static void no_name_comes_twice(void **state)
{
    (void)state;
    for (size_t i = 0; i < stats_n; i++) {
        for (size_t j = i + 1; j < stats_n; j++) {
            assert_string_not_equal(stats_rows[i].name, stats_rows[j].name);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_counter_has_a_row_in_order),
        cmocka_unit_test(no_name_comes_twice),
    };

    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
