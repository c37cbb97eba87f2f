/* The 512-bit kern: names for the instructions, and kern_simd.h. It needs no
 * more than AVX-512F. */
#include "kern/kern.h"

#include <immintrin.h>

enum { LANES = 16 };

typedef __m512 vec;
typedef __mmask16 lanes;

static inline lanes first_lanes(size_t n)
{
    return (lanes)((1u << n) - 1);
}

static inline vec spread(float x)
{
    return _mm512_set1_ps(x);
}

static inline vec load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline void store(float *p, vec v)
{
    _mm512_storeu_ps(p, v);
}

static inline vec load_part(const float *p, lanes m)
{
    return _mm512_maskz_loadu_ps(m, p);
}

static inline void store_part(float *p, lanes m, vec v)
{
    _mm512_mask_storeu_ps(p, m, v);
}

static inline vec add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

static inline vec sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

static inline vec mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

static inline vec quotient(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}

static inline vec root(vec a)
{
    return _mm512_sqrt_ps(a);
}

static inline vec where_nonzero(vec x, vec yes, vec no)
{
    lanes chosen = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_NEQ_UQ);

    __asm__("" : "+v"(yes));
    return _mm512_mask_mov_ps(no, chosen, yes);
}

/* The bits of a float but its sign; AVX-512F has no `and` of floats. */
static inline vec size_of(vec x)
{
    __m512i bits = _mm512_set1_epi32(INT32_MAX);

    return _mm512_castsi512_ps(_mm512_and_epi32(_mm512_castps_si512(x), bits));
}

static inline vec signed_as(vec x, vec y)
{
    __m512i bit = _mm512_set1_epi32(INT32_MIN);
    __m512i sign = _mm512_and_epi32(_mm512_castps_si512(y), bit);
    __m512i size = _mm512_castps_si512(size_of(x));

    return _mm512_castsi512_ps(_mm512_or_epi32(size, sign));
}

static inline vec zero_unless_above(vec a, vec b, vec x)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), x);
}

#include "kern/kern_simd.h"

const struct kern kern_avx512 = {
    .name = "avx512",
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
