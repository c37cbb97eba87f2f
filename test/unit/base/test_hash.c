/* test_hash.c - the frozen hash: these numbers may never change. */
#include "base/hash.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

/* From the definition of SplitMix64, computed apart from this program. */
static void keys_hash_to_their_frozen_values(void **state)
{
    (void)state;
    assert_true(hash_key(0) == 0xe220a8397b1dcdafu);
    assert_true(hash_key(1) == 0x910a2dec89025cc1u);
    assert_true(hash_key((uint64_t)1 << 63) == 0x481ec0a212a9f3dbu);
    assert_true(hash_key(12345) == 0x22118258a9d111a0u);
    assert_true(hash_key(UINT64_MAX) == 0xe4d971771b652c20u);
}

static void pairs_hash_to_their_frozen_values_in_order(void **state)
{
    (void)state;
    assert_true(hash_key128(1, 2) == 0xbcd9dbb49673066bu);
    assert_true(hash_key128(2, 1) == 0xe06dd043328bd285u);
}

static void a_bucket_is_the_high_16_bits(void **state)
{
    (void)state;
    assert_int_equal(hash_bucket(0x0001ffffffffffffu), 1);
    assert_int_equal(hash_bucket(UINT64_MAX), 65535);
    assert_int_equal(hash_bucket(hash_key(0)), 0xe220);
    assert_int_equal(hash_bucket(hash_key(1)), 0x910a);
}

static void keys_in_a_row_spread_over_the_buckets(void **state)
{
    enum { N = 65536, PARTS = 64 };
    size_t counts[PARTS] = {0};

    (void)state;
    for (uint64_t key = 0; key < N; key++) {
        counts[hash_bucket(hash_key(key)) / (65536 / PARTS)]++;
    }
    /* 1024 each, standard deviation 32: five of them either way. */
    for (size_t i = 0; i < PARTS; i++) {
        assert_in_range(counts[i], 1024 - 160, 1024 + 160);
    }
}

/* From the published XXH3-64: nothing, and the shared library's answers. */
static void bytes_hash_as_xxh3_64(void **state)
{
    uint8_t bytes[1000];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)i;
    }
    assert_true(hash_bytes("", 0) == 0x2d06800538d394c2u);
    assert_true(hash_bytes(NULL, 0) == 0x2d06800538d394c2u);
    assert_true(hash_bytes("abc", 3) == 0x78af5f94892f3950u);
    assert_true(hash_bytes(bytes, sizeof(bytes)) == 0xd33dd80b46f60e50u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_hash_to_their_frozen_values),
        cmocka_unit_test(pairs_hash_to_their_frozen_values_in_order),
        cmocka_unit_test(a_bucket_is_the_high_16_bits),
        cmocka_unit_test(keys_in_a_row_spread_over_the_buckets),
        cmocka_unit_test(bytes_hash_as_xxh3_64),
    };

    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
