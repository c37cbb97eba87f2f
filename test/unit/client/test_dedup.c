/* test_dedup.c - the distinct keys of a batch, and the sums of gradients. */
#include "client/dedup.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"

enum { BIG = 1000000 };

static struct arena arena;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static void distinct_keys_are_the_callers_own(void **state)
{
    static const uint64_t keys[] = {0, UINT64_MAX, 5, 6, UINT64_C(1) << 63};
    static const float values[] = {1, 2, 3, 4, 5};
    const float *out;
    struct dedup d;

    (void)state;
    assert_int_equal(dedup_keys(&arena, keys, 5, &d), PS_OK);
    assert_false(d.has_duplicates);
    assert_int_equal(d.n, 5);
    assert_ptr_equal(d.keys, keys);
    assert_null(d.first);
    assert_null(d.of);
    assert_int_equal(
        dedup_values(&arena, &d, 5, values, 1, false, &kern_generic, &out),
        PS_OK);
    assert_memory_equal(out, values, sizeof(values));
}

static void an_empty_batch_has_no_keys(void **state)
{
    struct dedup d;

    (void)state;
    assert_int_equal(dedup_keys(&arena, NULL, 0, &d), PS_OK);
    assert_false(d.has_duplicates);
    assert_int_equal(d.n, 0);
}

static void keys_come_in_order_of_first_appearance(void **state)
{
    static const uint64_t keys[] = {9, 4, 9, 0, 4, 4, 7};
    static const uint64_t distinct[] = {9, 4, 0, 7};
    static const uint32_t first[] = {0, 1, 3, 6};
    static const uint32_t of[] = {0, 1, 0, 2, 1, 1, 3};
    struct dedup d;

    (void)state;
    assert_int_equal(dedup_keys(&arena, keys, 7, &d), PS_OK);
    assert_true(d.has_duplicates);
    assert_int_equal(d.n, 4);
    assert_memory_equal(d.keys, distinct, sizeof(distinct));
    assert_memory_equal(d.first, first, sizeof(first));
    assert_memory_equal(d.of, of, sizeof(of));
}

static void gradients_of_a_key_are_summed(void **state)
{
    static const uint64_t keys[] = {9, 4, 9, 4, 9};
    static const float values[] = {1, 10, 2, 20, 3, 30, 4, 40, 5, 50};
    static const float sums[] = {1 + 3 + 5, 10 + 30 + 50, 2 + 4, 20 + 40};
    const float *out;
    struct dedup d;

    (void)state;
    assert_int_equal(dedup_keys(&arena, keys, 5, &d), PS_OK);
    assert_int_equal(
        dedup_values(&arena, &d, 5, values, 2, false, &kern_generic, &out),
        PS_OK);
    assert_memory_equal(out, sums, sizeof(sums));
}

/* In float32, 2^24 + 1 is 2^24: so (2^24 + 1) + 1 is 2^24, while 1 + 1 first
 * would give 2^24 + 2. And 2^24 + 1 - 2^24 is 0, not 1. */
static void the_sum_is_taken_in_batch_order_in_float32(void **state)
{
    static const uint64_t keys[] = {1, 2, 1, 2, 1, 2};
    static const float values[] = {16777216, 16777216, 1, 1, 1, -16777216};
    const float *out;
    struct dedup d;

    (void)state;
    assert_int_equal(dedup_keys(&arena, keys, 6, &d), PS_OK);
    assert_int_equal(
        dedup_values(&arena, &d, 6, values, 1, false, &kern_generic, &out),
        PS_OK);
    assert_true(out[0] == 16777216.0f);
    assert_true(out[1] == 0.0f);
}

static void of_assignments_the_last_wins(void **state)
{
    static const uint64_t keys[] = {9, 4, 9, 4, 9};
    static const float values[] = {1, 10, 2, 20, 3, 30, 4, 40, 5, 50};
    static const float last[] = {5, 50, 4, 40};
    const float *out;
    struct dedup d;

    (void)state;
    assert_int_equal(dedup_keys(&arena, keys, 5, &d), PS_OK);
    assert_int_equal(
        dedup_values(&arena, &d, 5, values, 2, true, &kern_generic, &out),
        PS_OK);
    assert_memory_equal(out, last, sizeof(last));
}

static void a_pulled_row_is_copied_to_all_places_of_its_key(void **state)
{
    static const uint64_t keys[] = {9, 4, 9, 0, 4};
    float out[10] = {90, 91, 40, 41, -1, -1, 1, 2, -1, -1};
    static const float spread[] = {90, 91, 40, 41, 90, 91, 1, 2, 40, 41};
    struct dedup d;

    (void)state;
    assert_int_equal(dedup_keys(&arena, keys, 5, &d), PS_OK);
    dedup_spread(&d, 5, out, 2);
    assert_memory_equal(out, spread, sizeof(spread));
}

static void keys_that_share_low_or_high_bits_stay_apart(void **state)
{
    uint64_t *keys = mem_new(4096 * sizeof(*keys));
    struct dedup d;

    (void)state;
    for (uint64_t i = 0; i < 2048; i++) {
        keys[i] = i << 52;
        keys[2048 + i] = i << 20;
    }
    /* The zeros are twice there, so are i << 52 for i of 0 only. */
    assert_int_equal(dedup_keys(&arena, keys, 4096, &d), PS_OK);
    assert_int_equal(d.n, 4095);
    for (size_t i = 0; i < 4096; i++) {
        assert_true(d.keys[d.of[i]] == keys[i]);
    }
    mem_free(keys);
}

static void one_key_a_million_times_is_one_key(void **state)
{
    uint64_t *keys = mem_new(BIG * sizeof(*keys));
    float *values = mem_new(BIG * sizeof(*values));
    const float *out;
    struct dedup d;

    (void)state;
    for (size_t i = 0; i < BIG; i++) {
        keys[i] = 77;
        values[i] = 1;
    }
    assert_int_equal(dedup_keys(&arena, keys, BIG, &d), PS_OK);
    assert_int_equal(d.n, 1);
    assert_int_equal(
        dedup_values(&arena, &d, BIG, values, 1, false, &kern_generic, &out),
        PS_OK);
    assert_true(out[0] == (float)BIG);
    mem_free(keys);
    mem_free(values);
}

static void a_large_batch_agrees_with_counting(void **state)
{
    enum { DISTINCT = 5000 };
    uint64_t *keys = mem_new(BIG * sizeof(*keys));
    uint32_t *count = mem_new(DISTINCT * sizeof(*count));
    uint64_t x = 3;
    struct dedup d;

    (void)state;
    memset(count, 0, DISTINCT * sizeof(*count));
    for (size_t i = 0; i < BIG; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        keys[i] = (x >> 40) % DISTINCT;
        count[keys[i]]++;
    }
    assert_int_equal(dedup_keys(&arena, keys, BIG, &d), PS_OK);
    assert_int_equal(d.n, DISTINCT);
    for (size_t i = 0; i < BIG; i++) {
        assert_true(d.keys[d.of[i]] == keys[i]);
        assert_true(d.first[d.of[i]] <= i);
        count[keys[i]]--;
    }
    for (size_t i = 0; i < DISTINCT; i++) {
        assert_int_equal(count[i], 0);
        assert_true(keys[d.first[i]] == d.keys[i]);
    }
    mem_free(keys);
    mem_free(count);
}

static void too_many_keys_are_refused(void **state)
{
    static const uint64_t keys[1];
    struct dedup d;

    (void)state;
    assert_int_equal(dedup_keys(&arena, keys, ((size_t)1 << 31) + 1, &d),
                     PS_EARGUMENT);
}

static void without_memory_it_says_so(void **state)
{
    static const uint64_t keys[] = {9, 4, 9};
    size_t n_failed = 0;
    struct dedup d;

    (void)state;
    for (uint64_t n = 1; n < 10; n++) {
        int rc;

        arena_fini(&arena);
        arena_init(&arena);
        mem_fail_at(n);
        rc = dedup_keys(&arena, keys, 3, &d);
        mem_fail_at(0);
        assert_true(rc == PS_OK || rc == PS_ENOMEM);
        n_failed += rc == PS_ENOMEM;
    }
    assert_true(n_failed > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(distinct_keys_are_the_callers_own),
        TEST(an_empty_batch_has_no_keys),
        TEST(keys_come_in_order_of_first_appearance),
        TEST(gradients_of_a_key_are_summed),
        TEST(the_sum_is_taken_in_batch_order_in_float32),
        TEST(of_assignments_the_last_wins),
        TEST(a_pulled_row_is_copied_to_all_places_of_its_key),
        TEST(keys_that_share_low_or_high_bits_stay_apart),
        TEST(one_key_a_million_times_is_one_key),
        TEST(a_large_batch_agrees_with_counting),
        TEST(too_many_keys_are_refused),
        TEST(without_memory_it_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
