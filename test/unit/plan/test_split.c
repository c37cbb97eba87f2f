/* test_split.c - keys by the part that holds them. */
#include "plan/split.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"

static void keys_go_where_their_bucket_is_held(void **state)
{
    /* Buckets from the vectors of the frozen hash: e220 = 57,888 for key 0,
     * 910a = 37,130 for key 1, 481e = 18,462 for key 2^63. */
    static const uint64_t keys[] = {0, 1, (uint64_t)1 << 63, 1, 0};
    static const struct wire_part parts[] = {
        {.begin = 0, .end = 18463},
        {.begin = 18463, .end = 37130},
        {.begin = 37130, .end = 57888},
        {.begin = 57888, .end = 65536},
    };
    static const uint32_t want_order[] = {2, 1, 3, 0, 4};
    static const size_t want_counts[] = {1, 0, 2, 2};
    uint32_t part_of[5];
    uint32_t order[5];
    size_t counts[4];

    (void)state;
    split_keys(parts, 4, keys, 5, part_of, order, counts);
    assert_memory_equal(order, want_order, sizeof(order));
    assert_memory_equal(counts, want_counts, sizeof(counts));
}

static void one_part_gets_all_in_batch_order(void **state)
{
    static const uint64_t keys[] = {9, 8, 7};
    static const struct wire_part parts[] = {{.begin = 0, .end = 65536}};
    static const uint32_t want_order[] = {0, 1, 2};
    uint32_t part_of[3];
    uint32_t order[3];
    size_t count = 99;

    (void)state;
    split_keys(parts, 1, keys, 3, part_of, order, &count);
    assert_memory_equal(order, want_order, sizeof(order));
    assert_int_equal(count, 3);
    split_keys(parts, 1, keys, 0, part_of, order, &count);
    assert_int_equal(count, 0);
}

/* For each part in turn, all keys of the batch that it holds. */
static void assert_split(const struct wire_part *parts, uint32_t n_parts,
                         const uint64_t *keys, size_t n)
{
    uint32_t *part_of = mem_new(n * sizeof(*part_of));
    uint32_t *order = mem_new(n * sizeof(*order));
    size_t *counts = mem_new(n_parts * sizeof(*counts));
    size_t done = 0;

    split_keys(parts, n_parts, keys, n, part_of, order, counts);
    for (uint32_t p = 0; p < n_parts; p++) {
        size_t count = 0;

        for (size_t i = 0; i < n; i++) {
            uint64_t bucket = hash_key(keys[i]) >> 48;

            if (parts[p].begin <= bucket && bucket < parts[p].end) {
                assert_int_equal(order[done + count], i);
                count++;
            }
        }
        assert_int_equal(counts[p], count);
        done += count;
    }
    assert_int_equal(done, n);
    mem_free(part_of);
    mem_free(order);
    mem_free(counts);
}

static void any_cut_of_the_buckets_agrees_with_a_naive_split(void **state)
{
    enum { N = 500 };
    uint64_t keys[N];
    struct wire_part parts[40];
    uint64_t random = 0;

    (void)state;
    for (int round = 0; round < 200; round++) {
        uint32_t n_parts = 0;
        uint32_t begin = 0;

        while (begin < LIMIT_BUCKETS && n_parts < ARRAY_LEN(parts)) {
            /* Mostly small parts, so that the rest is one large one. */
            uint32_t most = round % 2 == 0 ? 100 : 20000;
            uint32_t size = 1 + (uint32_t)(hash_key(random++) % most);
            uint32_t end = begin + size;

            if (end > LIMIT_BUCKETS || n_parts == ARRAY_LEN(parts) - 1) {
                end = LIMIT_BUCKETS;
            }
            parts[n_parts++] = (struct wire_part){.begin = begin, .end = end};
            begin = end;
        }
        for (size_t i = 0; i < N; i++) {
            keys[i] = hash_key(random++) % (round % 3 == 0 ? 50 : UINT64_MAX);
        }
        assert_split(parts, n_parts, keys, N);
    }
}

static void every_bucket_may_be_a_part_of_its_own(void **state)
{
    struct wire_part *parts = mem_new(LIMIT_BUCKETS * sizeof(*parts));
    uint64_t keys[20];

    (void)state;
    for (uint32_t i = 0; i < LIMIT_BUCKETS; i++) {
        parts[i] = (struct wire_part){.begin = i, .end = i + 1};
    }
    for (uint64_t i = 0; i < ARRAY_LEN(keys); i++) {
        keys[i] = i / 2;
    }
    assert_split(parts, LIMIT_BUCKETS, keys, ARRAY_LEN(keys));
    mem_free(parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_go_where_their_bucket_is_held),
        cmocka_unit_test(one_part_gets_all_in_batch_order),
        cmocka_unit_test(any_cut_of_the_buckets_agrees_with_a_naive_split),
        cmocka_unit_test(every_bucket_may_be_a_part_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
