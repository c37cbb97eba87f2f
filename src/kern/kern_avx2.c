/* The 256-bit kern: names for the instructions, and kern_simd.h. */
#include "kern/kern.h"

#include <immintrin.h>

enum { LANES = 8 };

typedef __m256 vec;
typedef __m256i lanes;

static inline lanes first_lanes(size_t n)
{
    static const int32_t window[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1};

    return _mm256_loadu_si256((const __m256i_u *)(window + LANES - n));
}

static inline vec spread(float x)
{
    return _mm256_set1_ps(x);
}

static inline vec load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline void store(float *p, vec v)
{
    _mm256_storeu_ps(p, v);
}

static inline vec load_part(const float *p, lanes m)
{
    return _mm256_maskload_ps(p, m);
}

static inline void store_part(float *p, lanes m, vec v)
{
    _mm256_maskstore_ps(p, m, v);
}

static inline vec add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

static inline vec sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}

static inline vec mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

static inline vec quotient(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}

static inline vec root(vec a)
{
    return _mm256_sqrt_ps(a);
}

static inline vec where_nonzero(vec x, vec yes, vec no)
{
    vec chosen = _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_NEQ_UQ);

    __asm__("" : "+x"(yes));
    return _mm256_blendv_ps(no, yes, chosen);
}

static inline vec size_of(vec x)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

static inline vec signed_as(vec x, vec y)
{
    vec sign = _mm256_and_ps(_mm256_set1_ps(-0.0f), y);

    return _mm256_or_ps(size_of(x), sign);
}

static inline vec zero_unless_above(vec a, vec b, vec x)
{
    return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ), x);
}

#include "kern/kern_simd.h"

const struct kern kern_avx2 = {
    .name = "avx2",
    .copy_rows = copy_rows,
    .assign = assign,
    .assign_add = assign_add,
    .sgd = sgd,
    .adagrad = adagrad,
    .momentum = momentum,
    .nesterov = nesterov,
    .ftrl = ftrl,
    .ftrl_power = ftrl_power,
    .add_into = add_into,
};
