/* test_erased.c - the list of erased keys: room, merging, failures. */
#include "table/erased.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"

enum { KEYS = 20000 };

/* Each key below n is in the list once, and nothing else. */
static void check_keys(const struct erased *e, uint64_t n)
{
    static bool is_there[KEYS];
    uint64_t n_seen = 0;

    memset(is_there, 0, sizeof(is_there));
    for (const struct erased_block *b = e->first; b != NULL; b = b->next) {
        for (uint64_t i = 0; i < b->n; i++) {
            assert_true(b->keys[i] < n);
            assert_false(is_there[b->keys[i]]);
            is_there[b->keys[i]] = true;
            n_seen++;
        }
    }
    assert_int_equal(n_seen, n);
    assert_int_equal(e->n, n);
    assert_int_equal(e->budget->used, e->bytes);
}

static void keys_that_were_added_are_in_the_list(void **state)
{
    struct table_budget budget = {0};
    struct erased e;

    (void)state;
    erased_init(&e, &budget);
    assert_int_equal(erased_reserve(&e, 0), PS_OK);
    check_keys(&e, 0);
    for (uint64_t at = 0; at < KEYS; at += 100) {
        assert_int_equal(erased_reserve(&e, at % 300 + 100), PS_OK);
        for (uint64_t i = at; i < at + 100; i++) {
            erased_add(&e, i);
        }
    }
    check_keys(&e, KEYS);
    erased_fini(&e);
    assert_int_equal(budget.used, 0);
}

static void merged_lists_are_one_list(void **state)
{
    static const uint64_t sizes[] = {0, 1, 500, 600, 1022, 1023, 1500, 5000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes) * ARRAY_LEN(sizes); i++) {
        struct table_budget budget = {0};
        uint64_t a = sizes[i / ARRAY_LEN(sizes)];
        uint64_t b = sizes[i % ARRAY_LEN(sizes)];
        struct erased to, from;

        erased_init(&to, &budget);
        erased_init(&from, &budget);
        assert_int_equal(erased_reserve(&to, a + i % 3 * 700), PS_OK);
        assert_int_equal(erased_reserve(&from, b + i % 2 * 3000), PS_OK);
        for (uint64_t key = 0; key < a + b; key++) {
            erased_add(key < a ? &to : &from, key);
        }
        while (erased_merge(&to, &from, 1 + i % 3)) {
        }
        erased_fini(&from);
        check_keys(&to, a + b);
        assert_int_equal(from.n, 0);
        /* It goes on as before. */
        assert_int_equal(erased_reserve(&to, 2000), PS_OK);
        for (uint64_t key = a + b; key < a + b + 2000; key++) {
            erased_add(&to, key);
        }
        check_keys(&to, a + b + 2000);
        erased_fini(&to);
        assert_int_equal(budget.used, 0);
    }
}

static void merging_again_and_again_does_not_waste_memory(void **state)
{
    struct table_budget budget = {0};
    struct erased kept;
    struct erased newer;

    (void)state;
    erased_init(&kept, &budget);
    for (uint64_t i = 0; i < KEYS; i += 10) {
        erased_init(&newer, &budget);
        assert_int_equal(erased_reserve(&newer, 10), PS_OK);
        for (uint64_t key = i; key < i + 10; key++) {
            erased_add(&newer, key);
        }
        assert_false(erased_merge(&newer, &kept, UINT64_MAX));
        erased_fini(&kept);
        kept = newer;
        check_keys(&kept, i + 10);
    }
    /* 20,000 keys are 160,000 bytes; half empty at the worst. */
    assert_true(budget.used < 350000);
    erased_fini(&kept);
    assert_int_equal(budget.used, 0);
}

static void without_memory_the_list_stays_as_it_is(void **state)
{
    struct table_budget budget = {0};
    struct erased e;

    (void)state;
    erased_init(&e, &budget);
    mem_fail_at(1);
    assert_int_equal(erased_reserve(&e, 1), PS_ENOMEM);
    mem_fail_at(0);
    budget.limit = 1;
    assert_int_equal(erased_reserve(&e, 1), PS_ELIMIT);
    budget.limit = 0;
    assert_int_equal(budget.used, 0);
    assert_int_equal(erased_reserve(&e, 1), PS_OK);
    erased_add(&e, 0);
    mem_fail_at(2);
    assert_int_equal(erased_reserve(&e, 5000), PS_ENOMEM);
    mem_fail_at(0);
    check_keys(&e, 1);
    erased_fini(&e);
    assert_int_equal(budget.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_that_were_added_are_in_the_list),
        cmocka_unit_test(merged_lists_are_one_list),
        cmocka_unit_test(merging_again_and_again_does_not_waste_memory),
        cmocka_unit_test(without_memory_the_list_stays_as_it_is),
    };

    return cmocka_run_group_tests_name("erased", tests, NULL, NULL);
}
