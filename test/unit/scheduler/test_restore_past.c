/* test_restore_past.c - intervals of cuts that a part has given up. */
#include "scheduler/restore_past.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

static void expect(const struct restore_past *past, uint32_t n,
                   const uint64_t *ends)
{
    assert_int_equal(past->n, n);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(past->gaps[i].after, ends[2 * i]);
        assert_int_equal(past->gaps[i].to, ends[2 * i + 1]);
    }
}

static void cuts_in_a_gap_are_not_of_the_past(void **state)
{
    struct restore_past past = {.n = 0};

    (void)state;
    assert_true(restore_past_has(&past, 1));
    restore_past_give_up(&past, 3, 6);
    assert_true(restore_past_has(&past, 3));
    assert_false(restore_past_has(&past, 4));
    assert_false(restore_past_has(&past, 6));
    assert_true(restore_past_has(&past, 7));
    assert_true(restore_past_is_below(&past, 3));
    assert_false(restore_past_is_below(&past, 4));
    /* To what it went back to nothing was newer: no cut is in it. */
    restore_past_give_up(&past, 9, 9);
    assert_true(restore_past_has(&past, 9));
    assert_true(restore_past_is_below(&past, 9));
    assert_false(restore_past_is_below(&past, 10));
}

static void what_meets_is_one_gap_and_they_rise(void **state)
{
    struct restore_past past = {.n = 0};
    struct restore_past same = {.n = 0};

    (void)state;
    restore_past_give_up(&past, 20, 25);
    restore_past_give_up(&past, 3, 6);
    restore_past_give_up(&past, 9, 12);
    expect(&past, 3, (const uint64_t[]){3, 6, 9, 12, 20, 25});
    restore_past_give_up(&past, 10, 11);
    expect(&past, 3, (const uint64_t[]){3, 6, 9, 12, 20, 25});
    restore_past_give_up(&past, 5, 9);
    expect(&past, 2, (const uint64_t[]){3, 12, 20, 25});
    restore_past_give_up(&same, 3, 12);
    assert_false(restore_past_is_same(&past, &same));
    restore_past_give_up(&same, 20, 25);
    assert_true(restore_past_is_same(&past, &same));
    restore_past_give_up(&past, 0, 30);
    expect(&past, 1, (const uint64_t[]){0, 30});
    assert_false(restore_past_is_same(&past, &same));
}

static void too_many_give_up_more_and_never_less(void **state)
{
    struct restore_past past = {.n = 0};
    uint64_t ends[2 * RESTORE_GAPS_MAX] = {10, 25};

    (void)state;
    for (uint64_t i = 1; i <= RESTORE_GAPS_MAX + 1; i++) {
        restore_past_give_up(&past, 10 * i, 10 * i + 5);
    }
    for (uint32_t i = 1; i < RESTORE_GAPS_MAX; i++) {
        ends[2 * i] = 10 * (i + 2);
        ends[2 * i + 1] = 10 * (i + 2) + 5;
    }
    expect(&past, RESTORE_GAPS_MAX, ends);
}

static void each_plan_number_has_its_own(void **state)
{
    const struct wire_gap gaps[] = {{4, 1, 2}, {6, 1, 2}, {6, 5, 8}};
    struct wire_plan w = {.gaps = gaps, .n_gaps = 3};
    struct restore_past past;
    struct arena arena;

    (void)state;
    arena_init(&arena);
    restore_past_of(&w, 4, &past);
    expect(&past, 1, (const uint64_t[]){1, 2});
    restore_past_of(&w, 5, &past);
    assert_int_equal(past.n, 0);
    restore_past_of(&w, 6, &past);
    expect(&past, 2, (const uint64_t[]){1, 2, 5, 8});
    restore_past_give_up(&past, 3, 9);
    assert_int_equal(restore_past_write(&past, 7, &arena, &w), PS_OK);
    assert_int_equal(w.n_gaps, 5);
    restore_past_of(&w, 6, &past);
    expect(&past, 2, (const uint64_t[]){1, 2, 5, 8});
    restore_past_of(&w, 7, &past);
    expect(&past, 2, (const uint64_t[]){1, 2, 3, 9});
    restore_past_of(&w, RESTORE_PAST_ALL, &past);
    expect(&past, 2, (const uint64_t[]){1, 2, 3, 9});
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_in_a_gap_are_not_of_the_past),
        cmocka_unit_test(what_meets_is_one_gap_and_they_rise),
        cmocka_unit_test(too_many_give_up_more_and_never_less),
        cmocka_unit_test(each_plan_number_has_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
