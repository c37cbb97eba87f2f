/* The functions against values worked out with 60 decimal digits, and against
 * those of libm in long double over the whole range. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/base.h"
#include "kern/kern.h"
#include "kern/kmath.h"

static const struct {
    double x;
    double log;
} known[] = {
    {0x1.0000000000000p-1, -0x1.62e42fefa39efp-1},
    {0x1.6a09e667f3bccp-1, -0x1.62e42fefa39f1p-2}, /* sqrt(1/2), below */
    {0x1.6a09e667f3bcdp-1, -0x1.62e42fefa39eep-2}, /* and above */
    {0x1.fffffffffffffp-1, -0x1.0000000000000p-53},
    {0x1.0000000000001p+0, 0x1.fffffffffffffp-53},
    {0x1.199999999999ap+0, 0x1.8663f793c46ccp-4},
    {0x1.6a09e667f3bcdp+0, 0x1.62e42fefa39f0p-2},
    {0x1.0000000000000p+1, 0x1.62e42fefa39efp-1},
    {0x1.8000000000000p+1, 0x1.193ea7aad030bp+0},
    {0x1.4000000000000p+3, 0x1.26bb1bbb55516p+1},
    {0x1.b7cdfd9d7bdbbp-34, -0x1.7069e2aa2aa5bp+4},
    {0x1.0000000000000p-33, -0x1.6dfb516f20bbfp+4},
    {0x1.7e43c8800759cp+996, 0x1.5963447f87fb5p+9},
    {0x1.fffffffffffffp+1023, 0x1.62e42fefa39efp+9},
    {0x1.0000000000000p-1022, -0x1.6232bdd7abcd2p+9},
    {0x0.0000000000001p-1022, -0x1.74385446d71c3p+9},
    {0x0.012688b70e62bp-1022, -0x1.64e69394d9508p+9},
};

static const struct {
    double x;
    double exp;
} powers[] = {
    {0x1.0000000000000p-1, 0x1.a61298e1e069cp+0},
    {-0x1.0000000000000p-1, 0x1.368b2fc6f960ap-1},
    {0x1.0000000000000p+0, 0x1.5bf0a8b145769p+1},
    {-0x1.0000000000000p+0, 0x1.78b56362cef38p-2},
    {0x1.62e42fefa39efp-1, 0x1.0000000000000p+1},
    {0x1.62e42fefa39efp-2, 0x1.6a09e667f3bccp+0}, /* k 0, and 1 */
    {0x1.62e42fefa39f0p-2, 0x1.6a09e667f3bcdp+0},
    {-0x1.62e42fefa39efp-2, 0x1.6a09e667f3bcdp-1},
    {0x1.4000000000000p+3, 0x1.5829dcf950560p+14},
    {-0x1.4000000000000p+3, 0x1.7cd79b5647c9bp-15},
    {0x1.0000000000000p-53, 0x1.0000000000001p+0},
    {0x1.0000000000000p-30, 0x1.0000000400000p+0},
    {0x1.921fb54442d18p+1, 0x1.724046eb09339p+4},
    {0x1.9000000000000p+8, 0x1.0e398d7d01704p+577},
    {0x1.62e42fefa39efp+9, 0x1.fffffffffff2ap+1023},
    {-0x1.6232bdd7abcd2p+9, 0x1.000000000007cp-1022},
};

static uint64_t bits_of(double x)
{
    uint64_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

/* How many doubles lie between two of the same sign. */
static uint64_t apart(double x, double y)
{
    uint64_t a = bits_of(x);
    uint64_t b = bits_of(y);

    return a > b ? a - b : b - a;
}

static void known_logarithms_are_within_one_ulp(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        assert_true(apart(kmath_log(known[i].x), known[i].log) <= 1);
    }
}

static void denormals_count_though_the_thread_flushes_them(void **state)
{
    uint32_t saved = kern_save();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        double flushed = kmath_log(known[i].x);
        double plain;

        kern_restore(saved);
        plain = kmath_log(known[i].x);
        (void)kern_save();
        assert_true(bits_of(plain) == bits_of(flushed));
        assert_true(apart(plain, known[i].log) <= 1);
    }
    kern_restore(saved);
}

static void ends_of_the_range_are_answered(void **state)
{
    (void)state;
    assert_true(bits_of(kmath_log(1.0)) == 0);
    assert_true(bits_of(kmath_log(0.0)) == bits_of(-(double)INFINITY));
    assert_true(bits_of(kmath_log(-0.0)) == bits_of(-(double)INFINITY));
    assert_true(bits_of(kmath_log((double)INFINITY)) ==
                bits_of((double)INFINITY));
    assert_true(isnan(kmath_log(-1.0)));
    assert_true(isnan(kmath_log(-(double)INFINITY)));
    assert_true(isnan(kmath_log((double)NAN)));
    assert_true(isnan(kmath_log(-(double)NAN)));
}

static uint64_t next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* The error in ulps of the double nearest to the result. */
static double error_at(double x)
{
    long double exact = logl((long double)x);
    int exponent;
    long double ulp;

    (void)frexp((double)exact, &exponent);
    ulp = ldexpl(1.0L, exponent - 53);
    return (double)(fabsl((long double)kmath_log(x) - exact) / ulp);
}

static void error_stays_under_one_ulp(void **state)
{
    uint64_t seed = 88172645463325252u;
    double worst = 0;

    (void)state;
    for (int i = 0; i < 1000000; i++) {
        uint64_t r = next(&seed);
        uint64_t bits = r & 0x000fffffffffffffu;
        double x;
        double error;

        /* In turn: any exponent, [1/2, 2), and within 2^-20 of 1. */
        if (i % 3 == 0) {
            bits |= (r >> 52) % 2047 << 52;
        } else if (i % 3 == 1) {
            bits |= (0x3fe + (r >> 63)) << 52;
        } else {
            bits = 0x3ff0000000000000u - (UINT64_C(1) << 32) + (bits >> 19);
        }
        if (bits == 0) {
            continue;
        }
        memcpy(&x, &bits, sizeof(x));
        error = x == 1.0 ? 0 : error_at(x);
        worst = error > worst ? error : worst;
    }
    print_message("worst error %.3f ulp\n", worst);
    assert_true(worst < 1.0);
}

static void known_powers_of_e_are_within_one_ulp(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(powers); i++) {
        assert_true(apart(kmath_exp(powers[i].x), powers[i].exp) <= 1);
    }
    assert_true(kmath_exp(0.0) == 1.0);
    assert_true(kmath_exp(0x1.62e42fefa39f0p+9) == (double)INFINITY);
    assert_true(kmath_exp((double)INFINITY) == (double)INFINITY);
    assert_true(bits_of(kmath_exp(-0x1.6232bdd7abcd3p+9)) == 0);
    assert_true(bits_of(kmath_exp(-(double)INFINITY)) == 0);
    assert_true(isnan(kmath_exp((double)NAN)));
}

static void error_of_exp_stays_under_one_ulp(void **state)
{
    uint64_t seed = 88172645463325252u;
    double worst = 0;

    (void)state;
    for (int i = 0; i < 300000; i++) {
        double x = (double)(next(&seed) >> 11) * 0x1p-53; /* [0, 1) */
        long double exact;
        double error;
        int exponent;

        x = i % 2 == 0 ? 1416 * x - 707 : 2 * x - 1;
        exact = expl((long double)x);
        (void)frexp((double)exact, &exponent);
        error = (double)(fabsl((long double)kmath_exp(x) - exact) /
                         ldexpl(1.0L, exponent - 53));
        worst = error > worst ? error : worst;
    }
    print_message("worst error %.3f ulp\n", worst);
    assert_true(worst < 1.0);
}

static uint32_t bits_of_float(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static void powers_are_those_of_long_double(void **state)
{
    uint64_t seed = 88172645463325252u;
    int other = 0;

    (void)state;
    for (int i = 0; i < 300000; i++) {
        uint64_t r = next(&seed);
        uint32_t bits = (uint32_t)(r >> 32) % 0x7f000000u + 0x00800000u;
        float p = (float)(r % 4096) / 2048.0f - 0.5f;
        float x;
        float exact;
        float mine;

        memcpy(&x, &bits, sizeof(x));
        exact = (float)powl((long double)x, (long double)p);
        if (fabsf(exact) < 0x1p-126f) {
            continue;
        }
        mine = kmath_pow(x, p);
        assert_in_range(bits_of_float(mine) - bits_of_float(exact) + 1, 0, 2);
        other += mine != exact;
    }
    print_message("%d of 300000 are not the nearest\n", other);
    assert_in_range(other, 0, 10);
}

static void ends_of_powers_are_answered(void **state)
{
    (void)state;
    assert_true(kmath_pow(0.0f, 0.0f) == 1.0f);
    assert_true(kmath_pow(INFINITY, -0.0f) == 1.0f);
    assert_true(kmath_pow(0.0f, 0.5f) == 0.0f);
    assert_true(kmath_pow(-0.0f, 0.5f) == 0.0f);
    assert_true(kmath_pow(0.0f, -0.5f) == INFINITY);
    assert_true(kmath_pow(INFINITY, 0.5f) == INFINITY);
    assert_true(kmath_pow(INFINITY, -0.5f) == 0.0f);
    assert_true(kmath_pow(1.0f, 3e38f) == 1.0f);
    assert_true(kmath_pow(9.0f, 0.5f) == 3.0f);
    assert_true(kmath_pow(10.0f, 38.0f) == 1e38f);
    assert_true(kmath_pow(10.0f, 39.0f) == INFINITY);
    assert_true(isnan(kmath_pow(-1.0f, 0.5f)));
    assert_true(isnan(kmath_pow(NAN, 0.5f)));
    assert_true(isnan(kmath_pow(2.0f, NAN)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_logarithms_are_within_one_ulp),
        cmocka_unit_test(denormals_count_though_the_thread_flushes_them),
        cmocka_unit_test(ends_of_the_range_are_answered),
        cmocka_unit_test(error_stays_under_one_ulp),
        cmocka_unit_test(known_powers_of_e_are_within_one_ulp),
        cmocka_unit_test(error_of_exp_stays_under_one_ulp),
        cmocka_unit_test(powers_are_those_of_long_double),
        cmocka_unit_test(ends_of_powers_are_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
