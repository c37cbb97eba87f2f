/* test_client.c - calls of psplus.h that need no cluster. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "psplus.h"

/* By the vectors of the key's hash: 0 -> e220a8397b1dcdaf,
 * 1 -> 910a2dec89025cc1, 2^63 -> 481ec0a212a9f3db. */
static void a_bucket_is_the_high_16_bits_of_the_keys_hash(void **state)
{
    (void)state;
    assert_int_equal(ps_bucket(0), 0xe220);
    assert_int_equal(ps_bucket(1), 0x910a);
    assert_int_equal(ps_bucket((uint64_t)1 << 63), 0x481e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_is_the_high_16_bits_of_the_keys_hash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
