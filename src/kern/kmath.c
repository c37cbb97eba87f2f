/* kmath_log(x): x = 2^k * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), then
 *
 *     log(x) = k log(2) + log(1 + f)
 *     log(1 + f) = 2 atanh(s),  s = f / (2 + f),  |s| < 0.1716
 *                = 2 s + s R,   R = 2/3 s^2 + 2/5 s^4 + 2/7 s^6 + ...
 *                = f - (f^2/2 - s (f^2/2 + R))
 *
 * The last form, that of Sun's libm (e_log.c), keeps f exact and makes all else
 * a small correction, which is what holds the error under one ulp. The series
 * is plain Taylor: s^2 is under 0.0295, so that the first term left out,
 * 2/25 s^24, is under 2^-64. log(2) is two parts, the first with so few bits
 * that k times it is exact.
 */
#include "kern/kmath.h"

#include "base/base.h"

#define LN2_HIGH 0x1.62e42feep-1
#define LN2_LOW 0x1.a39ef35793c76p-33
#define ONE_BY_LN2 0x1.71547652b82fep+0
/* Of the largest double, and of the smallest that is not denormal. */
#define EXP_MAX 0x1.62e42fefa39efp+9
#define EXP_MIN -0x1.6232bdd7abcd2p+9

static const uint64_t MANTISSA = 0x000fffffffffffffu;
static const uint64_t INFINITE = 0x7ff0000000000000u;
static const uint64_t ONE = 0x3ff0000000000000u;
static const uint64_t SQRT_HALF = 0x3fe6a09e667f3bcdu;

static double from_bits(uint64_t bits)
{
    double x;

    memcpy(&x, &bits, sizeof(x));
    return x;
}

static uint64_t to_bits(double x)
{
    uint64_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

/* R of s^2, by Horner's rule from the smallest term. */
static double series(double s2)
{
    static const double terms[] = {
        2.0 / 23, 2.0 / 21, 2.0 / 19, 2.0 / 17, 2.0 / 15, 2.0 / 13,
        2.0 / 11, 2.0 / 9,  2.0 / 7,  2.0 / 5,  2.0 / 3,
    };
    double sum = 0;

    for (size_t i = 0; i < ARRAY_LEN(terms); i++) {
        sum = (sum + terms[i]) * s2;
    }
    return sum;
}

double kmath_log(double x)
{
    uint64_t bits = to_bits(x);
    int k = 0;
    double f;
    double s;
    double half;

    if (bits << 1 == 0) {
        return from_bits(INFINITE | (uint64_t)1 << 63);
    }
    if (bits > INFINITE) { /* NaN, or the sign is set */
        return from_bits(INFINITE | (uint64_t)1 << 51);
    }
    if (bits == INFINITE) {
        return x;
    }
    if (bits <= MANTISSA) { /* denormal: shift by hand, for DAZ */
        k = 11 - __builtin_clzll(bits);
        bits <<= -k;
    }
    bits += ONE - SQRT_HALF;
    k += (int)(bits >> 52) - 1023;
    f = from_bits((bits & MANTISSA) + SQRT_HALF) - 1.0;
    s = f / (2.0 + f);
    half = 0.5 * f * f;
    return k * LN2_HIGH -
           ((half - (s * (half + series(s * s)) + k * LN2_LOW)) - f);
}

/* 2^k for k that give a normal number. */
static double power_of_two(int k)
{
    return from_bits((uint64_t)(k + 1023) << 52);
}

double kmath_exp(double x)
{
    static const double terms[] = {
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800,
        1.0 / 362880,     1.0 / 40320,     1.0 / 5040,     1.0 / 720,
        1.0 / 120,        1.0 / 24,        1.0 / 6,        1.0 / 2,
    };
    double sum = 0;
    double r;
    int k;

    if (x != x) {
        return x;
    }
    if (x > EXP_MAX) {
        return from_bits(INFINITE);
    }
    if (x < EXP_MIN) {
        return 0;
    }
    k = (int)(x * ONE_BY_LN2 + (x < 0 ? -0.5 : 0.5));
    r = (x - k * LN2_HIGH) - k * LN2_LOW;
    for (size_t i = 0; i < ARRAY_LEN(terms); i++) {
        sum = sum * r + terms[i];
    }
    sum = 1.0 + (r + r * r * sum);
    /* In two steps, as 2^1024 is no double though sum times it may be one. */
    return sum * power_of_two(k / 2) * power_of_two(k - k / 2);
}

float kmath_pow(float x, float p)
{
    if (p == 0.0f) {
        return 1.0f;
    }
    return (float)kmath_exp((double)p * kmath_log((double)x));
}
