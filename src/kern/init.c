/* The values are a promise. A row that nobody has pushed to is not stored: it
 * is computed when it is read, today by this program and in a year by another,
 * beside rows that were stored in between. So nothing here may ever change a
 * bit of what it returns; another method is another kind.
 *
 * One 32-bit word w for each element, from a counter-based generator, Philox
 * 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as
 * 1, 2, 3", SC 2011; the constants are Random123's):
 *
 *     philox key      hash_key128(seed, init key), low word first
 *     philox counter  (id's low word, id's high word, i / 4, 0)
 *     w of element i  word i % 4 of the block
 *
 * and one value from each word, without rejection, so that element i needs no
 * other element. All steps are in double with + - * / and sqrt only, and our
 * own logarithm; the last step rounds to float32:
 *
 *     constant   a, its bits copied
 *     uniform    a + (b - a) (w >> 8) / 2^24, held below b
 *     normal     a + b Z(u),  u = (w + 1/2) / 2^32
 *     truncated  a + b Z(v),  v = u brought from (0, 1) to (Phi(-2), Phi(2)),
 *                held strictly within 2 b of a
 *
 * Z is the inverse of Phi, the normal distribution function: algorithm AS 241,
 * PPND16, of M. J. Wichura, Applied Statistics 37 (1988), to about 1 in 10^16.
 * The inverse keeps the order of the words, and its tails end at 6.3.
 *
 * Whether the thread flushes denormals makes no difference: a denormal result
 * is 0, a denormal parameter is refused, and no step in between is that small.
 * A result beyond the largest float is the largest float.
 */
#include "kern/init.h"

#include <float.h>

#include <Random123/philox.h>

#include "base/hash.h"
#include "kern/kmath.h"

/* Elements are made in groups, whatever a row's length: a group's are apart
 * from each other, so the compiler can put them side by side. */
enum { BLOCKS = 4, GROUP = 4 * BLOCKS };

/* Phi(2) - Phi(-2) */
#define WITHIN_TWO 0.95449973610364158560

/* A polynomial of degree 7 over another, both lowest power first. */
struct ratio {
    double above[8];
    double below[8];
};

/* AS 241's A and B: |p - 1/2| <= 0.425, in 0.425^2 - (p - 1/2)^2. */
static const struct ratio CENTRE = {
    {3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
     1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
     3.3430575583588128105e4, 2.5090809287301226727e3},
    {1.0, 4.2313330701600911252e1, 6.8718700749205790830e2,
     5.3941960214247511077e3, 2.1213794301586595867e4, 3.9307895800092710610e4,
     2.8729085735721942674e4, 5.2264952788528545610e3},
};

/* AS 241's C and D, in r - 1.6 with r = sqrt(-log(tail)) <= 5. There is a third
 * pair for r > 5, tails under 1.4e-11; ours end at 2^-33, r = 4.8. */
static const struct ratio TAIL = {
    {1.42343711074968357734e0, 4.63033784615654529590e0,
     5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1,
     2.27238449892691845833e-2, 7.74545014278341407640e-4},
    {1.0, 2.05319162663775882187e0, 1.67638483018380384940e0,
     6.89767334985100004550e-1, 1.48103976427480074590e-1,
     1.51986665636164571966e-2, 5.47593808499534494600e-4,
     1.05075007164441684324e-9},
};

static double divide(const struct ratio *f, double x)
{
    double above = f->above[7];
    double below = f->below[7];

    for (size_t i = 7; i-- > 0;) {
        above = above * x + f->above[i];
        below = below * x + f->below[i];
    }
    return above / below;
}

/* Z(1/2 + q[i]), for |q| < 1/2. Taking q keeps both tails equally exact. Most
 * are in the centre: first all as if they were. */
static void inverse_normal(const double *q, double *z)
{
    double x[GROUP];
    double below[GROUP];

    for (size_t i = 0; i < GROUP; i++) {
        x[i] = 0.180625 - q[i] * q[i];
        z[i] = CENTRE.above[7];
        below[i] = CENTRE.below[7];
    }
    for (size_t k = 7; k-- > 0;) {
        for (size_t i = 0; i < GROUP; i++) {
            z[i] = z[i] * x[i] + CENTRE.above[k];
            below[i] = below[i] * x[i] + CENTRE.below[k];
        }
    }
    for (size_t i = 0; i < GROUP; i++) {
        z[i] = q[i] * (z[i] / below[i]);
    }
    for (size_t i = 0; i < GROUP; i++) {
        double size = q[i] < 0 ? -q[i] : q[i];

        if (size > 0.425) {
            double tail =
                divide(&TAIL, __builtin_sqrt(-kmath_log(0.5 - size)) - 1.6);

            z[i] = q[i] < 0 ? -tail : tail;
        }
    }
}

/* u - 1/2 of a word, exactly. */
static double centred(uint32_t w)
{
    return ((double)w - 0x1p31 + 0.5) * 0x1p-32;
}

static float narrow(double x)
{
    if (x > -(double)FLT_MIN && x < (double)FLT_MIN) {
        return 0.0f;
    }
    if (x > (double)FLT_MAX) {
        return FLT_MAX;
    }
    if (x < -(double)FLT_MAX) {
        return -FLT_MAX;
    }
    return (float)x;
}

/* The float that follows x towards `to`, denormals left out; x != to. */
static float next_towards(float x, float to)
{
    uint32_t bits;
    bool away_from_zero;

    if (x == 0.0f) {
        return to > 0.0f ? FLT_MIN : -FLT_MIN;
    }
    away_from_zero = x > 0.0f ? to > x : to < x;
    if (!away_from_zero && (x == FLT_MIN || x == -FLT_MIN)) {
        return 0.0f;
    }
    memcpy(&bits, &x, sizeof(bits));
    bits = away_from_zero ? bits + 1 : bits - 1;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* A result lies between a and b: it is not too large for a float. */
static void uniform(float a, float b, const uint32_t *w, float *out)
{
    double width = (double)b - (double)a;
    bool is_high = false;

    for (size_t i = 0; i < GROUP; i++) {
        double x = (double)a + width * ((double)(int32_t)(w[i] >> 8) * 0x1p-24);

        x = __builtin_fabs(x) < (double)FLT_MIN ? 0.0 : x;
        out[i] = (float)x;
    }
    for (size_t i = 0; i < GROUP; i++) {
        is_high |= out[i] >= b;
    }
    /* Near b the step of the sum can be finer than that of float32. */
    for (size_t i = 0; is_high && i < GROUP && a < b; i++) {
        out[i] = out[i] >= b ? next_towards(b, a) : out[i];
    }
}

static float truncated(float a, float b, double z)
{
    float x = narrow((double)a + (double)b * z);
    double apart = (double)x - (double)a;

    /* |z| < 2, but rounding to float32 can reach the end, or pass it. */
    if (x != a && (apart >= 2.0 * (double)b || apart <= -2.0 * (double)b)) {
        x = next_towards(x, a);
    }
    return x;
}

static void normal(const struct init_spec *s, const uint32_t *w, float *out)
{
    bool is_truncated = s->kind == PS_INIT_TRUNCATED_NORMAL;
    double q[GROUP];
    double z[GROUP];

    for (size_t i = 0; i < GROUP; i++) {
        q[i] = centred(w[i]) * (is_truncated ? WITHIN_TWO : 1.0);
    }
    inverse_normal(q, z);
    for (size_t i = 0; i < GROUP; i++) {
        out[i] = is_truncated ? truncated(s->a, s->b, z[i])
                              : narrow((double)s->a + (double)s->b * z[i]);
    }
}

/* The words of elements 4 * block and on. Ten rounds of Philox 4x32 on four
 * counters side by side, so that a vector of each CPU does them at once. */
static void draw(uint64_t mixed, uint64_t id, uint32_t block, uint32_t *w)
{
    uint32_t k0 = (uint32_t)mixed;
    uint32_t k1 = (uint32_t)(mixed >> 32);
    uint32_t c[4][BLOCKS];

    for (uint32_t i = 0; i < BLOCKS; i++) {
        c[0][i] = (uint32_t)id;
        c[1][i] = (uint32_t)(id >> 32);
        c[2][i] = block + i;
        c[3][i] = 0;
    }
    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            uint64_t p0 = (uint64_t)c[0][i] * PHILOX_M4x32_0;
            uint64_t p1 = (uint64_t)c[2][i] * PHILOX_M4x32_1;

            c[0][i] = (uint32_t)(p1 >> 32) ^ c[1][i] ^ k0;
            c[1][i] = (uint32_t)p1;
            c[2][i] = (uint32_t)(p0 >> 32) ^ c[3][i] ^ k1;
            c[3][i] = (uint32_t)p0;
        }
        k0 += PHILOX_W32_0;
        k1 += PHILOX_W32_1;
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        for (size_t j = 0; j < 4; j++) {
            w[4 * i + j] = c[j][i];
        }
    }
}

/* Zero or normal: not NaN, not infinite, not denormal. */
static bool is_plain(float x)
{
    uint32_t bits;
    uint32_t exponent;

    memcpy(&bits, &x, sizeof(bits));
    exponent = bits >> 23 & 0xff;
    return exponent == 0 ? bits << 1 == 0 : exponent != 0xff;
}

const char *init_check(const struct init_spec *s)
{
    if (s->kind > PS_INIT_TRUNCATED_NORMAL) {
        return "unknown kind of initializer";
    }
    if (!is_plain(s->a) || !is_plain(s->b)) {
        return "a parameter of the initializer is NaN, infinite or denormal";
    }
    if (s->kind == PS_INIT_UNIFORM && s->a > s->b) {
        return "the uniform initializer's range ends before it begins";
    }
    if ((s->kind == PS_INIT_NORMAL || s->kind == PS_INIT_TRUNCATED_NORMAL) &&
        s->b < 0.0f) {
        return "the initializer's standard deviation is negative";
    }
    return NULL;
}

void init_row(const struct init_spec *s, uint64_t id, float *out, size_t dim)
{
    uint64_t mixed = hash_key128(s->seed, s->key);

    if (s->kind == PS_INIT_CONSTANT) {
        for (size_t i = 0; i < dim; i++) {
            out[i] = s->a;
        }
        return;
    }
    for (size_t i = 0; i < dim; i += GROUP) {
        size_t n = dim - i < GROUP ? dim - i : GROUP;
        uint32_t words[GROUP];
        float values[GROUP];

        draw(mixed, id, (uint32_t)(i / 4), words);
        if (s->kind == PS_INIT_UNIFORM) {
            uniform(s->a, s->b, words, values);
        } else {
            normal(s, words, values);
        }
        memcpy(out + i, values, n * sizeof(*values));
    }
}
