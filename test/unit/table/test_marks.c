/* test_marks.c - bits by row number: growth, counts, merging, failures. */
#include "table/marks.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"

/* At both ends of each of the first nine parts, the last of them mapped. */
static const uint32_t edges[] = {
    0,      1,      63,     64,     4095,   4096,   8191,    8192,
    16383,  16384,  32767,  32768,  65535,  65536,  131071,  131072,
    262143, 262144, 524287, 524288, 524351, 777777, 1048575,
};

static void a_bit_is_where_it_was_set_and_nowhere_else(void **state)
{
    struct table_budget budget = {0};
    struct marks m;

    (void)state;
    marks_init(&m, &budget);
    assert_int_equal(marks_reserve(&m, 1048576), PS_OK);
    assert_int_equal(m.room, 1048576);
    assert_int_equal(m.bytes, 1048576 / 8);
    assert_int_equal(budget.used, m.bytes);
    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        marks_set(&m, edges[i]);
        marks_set(&m, edges[i]);
        assert_int_equal(m.n, i + 1);
    }
    for (uint32_t row = 0, i = 0; row < 1048576; row++) {
        bool is_edge = i < ARRAY_LEN(edges) && row == edges[i];

        assert_int_equal(marks_get(&m, row), is_edge);
        i += is_edge;
    }
    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        marks_clear(&m, edges[i]);
        marks_clear(&m, edges[i]);
        assert_int_equal(m.n, ARRAY_LEN(edges) - 1 - i);
        assert_false(marks_get(&m, edges[i]));
    }
    marks_clear(&m, 1048576); /* beyond the room */
    marks_clear(&m, UINT32_MAX);
    marks_fini(&m);
    assert_int_equal(budget.used, 0);
}

static void growing_keeps_the_bits(void **state)
{
    struct table_budget budget = {0};
    struct marks m;

    (void)state;
    marks_init(&m, &budget);
    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        assert_int_equal(marks_reserve(&m, (uint64_t)edges[i] + 1), PS_OK);
        assert_true(m.room > edges[i]);
        assert_true(m.room <= base_max_u64(4096, 2 * (uint64_t)edges[i]));
        marks_set(&m, edges[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        assert_true(marks_get(&m, edges[i]));
    }
    marks_fini(&m);
}

static void merged_marks_are_those_of_both(void **state)
{
    struct table_budget budget = {0};
    struct marks to, from;
    uint64_t at = 0;
    uint32_t n_slices = 0;

    (void)state;
    marks_init(&to, &budget);
    marks_init(&from, &budget);
    assert_int_equal(marks_reserve(&to, 100000), PS_OK);
    assert_int_equal(marks_reserve(&from, 9000), PS_OK);
    /* Multiples of 3, and of 5 below 9,000: 33,334 + 1,800 - 600. */
    for (uint32_t row = 0; row < 100000; row += 3) {
        marks_set(&to, row);
    }
    for (uint32_t row = 0; row < 9000; row += 5) {
        marks_set(&from, row);
    }
    /* 4,096, 4,096 and 8,192 rows: 256 words; 64 + 64 + 128 of them. */
    while (marks_merge(&to, &from, &at, 50)) {
        n_slices++;
    }
    assert_int_equal(at, 256);
    assert_int_equal(n_slices, 5);
    assert_int_equal(to.n, 34534);
    for (uint32_t row = 0; row < 100000; row++) {
        bool is_set = row % 3 == 0 || (row < 9000 && row % 5 == 0);

        assert_int_equal(marks_get(&to, row), is_set);
    }
    marks_fini(&from);
    marks_fini(&to);
    assert_int_equal(budget.used, 0);
}

static void marks_are_given_back_in_slices(void **state)
{
    struct table_budget budget = {0};
    struct marks m;
    uint32_t n_slices = 1;

    (void)state;
    marks_init(&m, &budget);
    /* Bits of 2^24 rows: 2 MiB, of which the last part is the half. */
    assert_int_equal(marks_reserve(&m, 1 << 24), PS_OK);
    for (uint32_t row = 0; row < 1 << 24; row += 4096) {
        marks_set(&m, row);
    }
    assert_int_equal(budget.used, 2 << 20);
    while (marks_give(&m, 256 << 10)) {
        assert_int_equal(budget.used, (2 << 20) - n_slices * (256 << 10));
        n_slices++;
    }
    assert_int_equal(n_slices, 8);
    assert_int_equal(budget.used, 0);
    marks_fini(&m);
}

static void without_memory_the_marks_stay_as_they_are(void **state)
{
    struct table_budget budget = {0};
    struct marks m;

    (void)state;
    marks_init(&m, &budget);
    assert_int_equal(marks_reserve(&m, 4096), PS_OK);
    marks_set(&m, 77);
    for (uint64_t n = 1; n <= 8; n++) {
        mem_fail_at(1);
        assert_int_equal(marks_reserve(&m, m.room + 1), PS_ENOMEM);
        mem_fail_at(0);
        budget.limit = budget.used + m.room / 8 - 1;
        assert_int_equal(marks_reserve(&m, m.room + 1), PS_ELIMIT);
        budget.limit++;
        assert_int_equal(marks_reserve(&m, m.room + 1), PS_OK);
        budget.limit = 0;
        assert_int_equal(budget.used, m.bytes);
        assert_int_equal(m.n, 1);
        assert_true(marks_get(&m, 77));
    }
    marks_fini(&m);
    assert_int_equal(budget.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bit_is_where_it_was_set_and_nowhere_else),
        cmocka_unit_test(growing_keeps_the_bits),
        cmocka_unit_test(merged_marks_are_those_of_both),
        cmocka_unit_test(marks_are_given_back_in_slices),
        cmocka_unit_test(without_memory_the_marks_stay_as_they_are),
    };

    return cmocka_run_group_tests_name("marks", tests, NULL, NULL);
}
