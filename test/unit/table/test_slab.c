/* test_slab.c - pieces that are made ahead: who gets them, and how many. */
#include "table/slab.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"

enum { MIB = 1 << 20 };

/* Counts what is wanted; the test itself brings the pieces. */
static int n_wants;

static void count_want(struct slab_ahead *a)
{
    (void)a;
    n_wants++;
}

static void *take(struct table_budget *b, size_t bytes)
{
    void *p;

    assert_int_equal(slab_take(b, bytes, &p), PS_OK);
    return p;
}

/* Brings what is short until nothing is; returns how many that were. */
static int bring_all(struct slab_ahead *a)
{
    size_t bytes;
    int n = 0;

    while ((bytes = slab_ahead_short(a)) != 0) {
        void *p = mem_map(bytes, true);

        assert_non_null(p);
        mem_populate(p, bytes);
        slab_ahead_put(a, p, bytes);
        n++;
    }
    return n;
}

static void a_piece_made_ahead_is_what_the_next_take_gets(void **state)
{
    struct slab_ahead a = {.want = count_want};
    struct table_budget b = {.ahead = &a};
    uint8_t *made = mem_map(2 * MIB, true);
    void *first;

    (void)state;
    n_wants = 0;
    assert_int_equal(slab_ahead_short(&a), 0);
    first = take(&b, 2 * MIB);
    assert_int_equal(n_wants, 1);
    assert_int_equal(slab_ahead_short(&a), 2 * MIB);
    mem_populate(made, 2 * MIB);
    assert_int_equal(made[0], 0);
    assert_int_equal(made[2 * MIB - 1], 0);
    slab_ahead_put(&a, made, 2 * MIB);
    /* Counted once it is taken. */
    assert_int_equal(b.used, 2 * MIB);
    assert_ptr_equal(take(&b, 2 * MIB), made);
    assert_int_equal(b.used, 4 * MIB);
    assert_int_equal(n_wants, 2);
    slab_give(&b, made, 2 * MIB);
    slab_give(&b, first, 2 * MIB);
    assert_int_equal(b.used, 0);
    slab_ahead_clear(&a);
}

static void a_small_piece_is_not_made_ahead(void **state)
{
    struct slab_ahead a = {.want = count_want};
    struct table_budget b = {.ahead = &a};
    void *p;

    (void)state;
    n_wants = 0;
    p = take(&b, 2 * MIB - 64);
    assert_int_equal(n_wants, 0);
    assert_int_equal(slab_ahead_short(&a), 0);
    slab_give(&b, p, 2 * MIB - 64);
}

static void four_pieces_of_a_size_are_enough(void **state)
{
    struct slab_ahead a = {.want = count_want};
    struct table_budget b = {.ahead = &a};
    void *p = take(&b, 2 * MIB);
    void *fifth = mem_map(2 * MIB, true);

    (void)state;
    assert_int_equal(bring_all(&a), 4);
    slab_ahead_put(&a, fifth, 2 * MIB); /* goes back */
    slab_give(&b, p, 2 * MIB);
    p = take(&b, 2 * MIB);
    assert_ptr_not_equal(p, fifth);
    assert_int_equal(bring_all(&a), 1);
    slab_give(&b, p, 2 * MIB);
    slab_ahead_clear(&a);
}

static void
a_fifth_size_takes_the_place_of_the_one_asked_for_longest_ago(void **state)
{
    struct slab_ahead a = {.want = count_want};
    struct table_budget b = {.ahead = &a};

    (void)state;
    for (size_t mib = 2; mib <= 6; mib++) {
        slab_give(&b, take(&b, mib * MIB), mib * MIB);
        assert_int_equal(slab_ahead_short(&a), mib * MIB);
        assert_int_equal(bring_all(&a), 4);
        /* 2 is asked for again and so is not the oldest. */
        slab_give(&b, take(&b, 2 * MIB), 2 * MIB);
        assert_int_equal(bring_all(&a), 1);
    }
    for (size_t i = 0; i < SLAB_AHEAD_SIZES; i++) {
        assert_int_equal(a.stocks[i].n, 4);
        assert_true(a.stocks[i].bytes != 3 * MIB);
    }
    assert_int_equal(a.stocks[0].bytes, 2 * MIB);
    slab_ahead_clear(&a);
    assert_int_equal(slab_ahead_short(&a), 0);
}

static void what_the_budget_refuses_is_not_asked_for(void **state)
{
    struct slab_ahead a = {.want = count_want};
    struct table_budget b = {.limit = 2 * MIB - 1, .ahead = &a};
    void *p;

    (void)state;
    n_wants = 0;
    assert_int_equal(slab_take(&b, 2 * MIB, &p), PS_ELIMIT);
    assert_int_equal(n_wants, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_piece_made_ahead_is_what_the_next_take_gets),
        cmocka_unit_test(a_small_piece_is_not_made_ahead),
        cmocka_unit_test(four_pieces_of_a_size_are_enough),
        cmocka_unit_test(
            a_fifth_size_takes_the_place_of_the_one_asked_for_longest_ago),
        cmocka_unit_test(what_the_budget_refuses_is_not_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
