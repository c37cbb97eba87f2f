/* test_rows.c - row blocks by number: space, reuse, failure. */
#include "table/rows.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void fill(struct rows *r, uint32_t row, uint32_t mark)
{
    uint32_t *block = (uint32_t *)(void *)rows_address(r, row);

    for (uint32_t i = 0; i < r->stride / 4; i++) {
        block[i] = mark + i;
    }
}

static void check(const struct rows *r, uint32_t row, uint32_t mark)
{
    const uint32_t *block = (const uint32_t *)(void *)rows_address(r, row);

    assert_int_equal((uintptr_t)block % 16, 0);
    for (uint32_t i = 0; i < r->stride / 4; i++) {
        assert_int_equal(block[i], mark + i);
    }
}

/* Random taking and giving; every block keeps what was written to it. Strides
 * that are powers of two, that are not, and that are over a slab's half. */
static void blocks_do_not_overlap(void **state)
{
    static const uint32_t strides[] = {16, 80, 128, 4112, 1310720};
    static const uint32_t most[] = {300000, 60000, 40000, 1500, 9};

    (void)state;
    for (size_t s = 0; s < ARRAY_LEN(strides); s++) {
        struct table_budget budget = {0};
        struct rows r;
        uint32_t *held = mem_new(most[s] * sizeof(*held));
        uint32_t n = 0;
        uint64_t random = s + 1;

        rows_init(&r, strides[s], &budget);
        assert_int_equal(budget.used, 0);
        while (n < most[s]) {
            if (n > 0 && next_random(&random) % 4 == 0) {
                uint32_t i = (uint32_t)(next_random(&random) % n);

                check(&r, held[i], held[i]);
                rows_give(&r, held[i]);
                n--;
                held[i] = held[n];
            } else {
                assert_int_equal(rows_take(&r, &held[n]), PS_OK);
                fill(&r, held[n], held[n]);
                n++;
            }
            assert_int_equal(r.n, n);
            assert_int_equal(budget.used, r.bytes);
        }
        for (uint32_t i = 0; i < n; i++) {
            check(&r, held[i], held[i]);
        }
        /* Given numbers are used again before new ones. */
        assert_true(r.next < n + n / 2 + 8);
        rows_fini(&r);
        assert_int_equal(budget.used, 0);
        mem_free(held);
    }
}

static void
giving_back_in_opposite_order_leaves_the_store_as_it_was(void **state)
{
    struct table_budget budget = {0};
    struct rows r, before;
    uint32_t rows[20], again[20];

    (void)state;
    rows_init(&r, 32, &budget);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(rows_take(&r, &rows[i]), PS_OK);
        assert_int_equal(rows[i], i);
    }
    rows_give(&r, 3);
    rows_give(&r, 5);
    before = r;
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(rows_take(&r, &rows[i]), PS_OK);
    }
    assert_int_equal(rows[0], 5);
    assert_int_equal(rows[1], 3);
    assert_int_equal(rows[2], 10);
    for (uint32_t i = 20; i > 0; i--) {
        rows_give(&r, rows[i - 1]);
    }
    assert_int_equal(r.next, before.next);
    assert_int_equal(r.free, before.free);
    assert_int_equal(r.n, before.n);
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(rows_take(&r, &again[i]), PS_OK);
    }
    assert_memory_equal(rows, again, sizeof(rows));
    rows_fini(&r);
}

static void a_small_store_is_small_and_a_large_one_is_slabs(void **state)
{
    struct table_budget budget = {0};
    struct rows r;
    uint32_t row;

    (void)state;
    rows_init(&r, 128, &budget);
    assert_int_equal(rows_take(&r, &row), PS_OK);
    assert_true(budget.used <= 4096 + 64);
    /* 2 MiB / 128 = 16,384 rows a slab. */
    for (uint32_t i = 1; i < 16384; i++) {
        assert_int_equal(rows_take(&r, &row), PS_OK);
    }
    assert_int_equal(r.n_slabs, 1);
    assert_int_equal(r.capacity, 16384);
    assert_int_equal((uintptr_t)r.slabs[0] % (2 << 20), 0);
    for (uint32_t i = 0; i < 9 * 16384; i++) {
        assert_int_equal(rows_take(&r, &row), PS_OK);
    }
    assert_int_equal(r.n_slabs, 10);
    assert_true(budget.used <= (10 * 2 << 20) + 1024);
    rows_fini(&r);
    assert_int_equal(budget.used, 0);
}

static void all_rows_at_once_take_no_more_than_they_need(void **state)
{
    struct table_budget budget = {0};
    struct rows r;

    (void)state;
    rows_init(&r, 64, &budget);
    assert_int_equal(rows_take_all(&r, 100000), PS_OK);
    assert_int_equal(r.n, 100000);
    assert_true(budget.used <= 6400000 + 1024);
    for (uint32_t i = 0; i < 100000; i++) {
        fill(&r, i, 3 * i);
    }
    for (uint32_t i = 0; i < 100000; i++) {
        check(&r, i, 3 * i);
    }
    rows_fini(&r);
    assert_int_equal(budget.used, 0);
    assert_int_equal(rows_take_all(&r, 0), PS_OK);
    rows_fini(&r);
    assert_int_equal(rows_take_all(&r, UINT32_MAX), PS_ELIMIT);
    budget.limit = 4 << 20;
    assert_int_equal(rows_take_all(&r, 100000), PS_ELIMIT);
    rows_fini(&r);
    assert_int_equal(budget.used, 0);
}

static void whichever_allocation_fails_nothing_has_changed(void **state)
{
    uint64_t fail_at = 0;
    bool failed;

    (void)state;
    do {
        struct table_budget budget = {0};
        struct rows r;

        failed = false;
        rows_init(&r, 256, &budget);
        fail_at++;
        mem_fail_at(fail_at);
        for (uint32_t i = 0; i < 90000; i++) {
            uint32_t row = 0;
            int rc = rows_take(&r, &row);

            if (rc != PS_OK) {
                assert_int_equal(rc, PS_ENOMEM);
                failed = true;
                assert_int_equal(r.n, i);
                assert_int_equal(r.bytes, budget.used);
                rc = rows_take(&r, &row);
            }
            assert_int_equal(rc, PS_OK);
            assert_int_equal(row, i);
            fill(&r, row, i);
        }
        for (uint32_t i = 0; i < 90000; i++) {
            check(&r, i, i);
        }
        mem_fail_at(0);
        rows_fini(&r);
        assert_int_equal(budget.used, 0);
    } while (failed);
    /* 9 doublings to 2 MiB, 10 slabs, the list of slabs twice. */
    assert_true(fail_at > 20);
}

static void writes_are_counted_without_the_absent(void **state)
{
    struct table_budget budget = {0};
    struct rows r;
    uint32_t rows[3];

    (void)state;
    rows_init(&r, 16, &budget);
    assert_int_equal(rows_take(&r, &rows[0]), PS_OK);
    assert_int_equal(rows_take(&r, &rows[1]), PS_OK);
    rows[2] = TABLE_ABSENT;
    rows_write_begin(&r, rows, 3);
    rows_write_begin(&r, rows, 1);
    rows_write_begin(&r, rows, 0);
    assert_int_equal(r.writes, 3);
    rows_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_do_not_overlap),
        cmocka_unit_test(
            giving_back_in_opposite_order_leaves_the_store_as_it_was),
        cmocka_unit_test(a_small_store_is_small_and_a_large_one_is_slabs),
        cmocka_unit_test(all_rows_at_once_take_no_more_than_they_need),
        cmocka_unit_test(whichever_allocation_fails_nothing_has_changed),
        cmocka_unit_test(writes_are_counted_without_the_absent),
    };

    return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
