/* This file is the definition of the kernels: what the documents quote, and
 * what every other kern must equal bit for bit. So it is written to be read.
 *
 * The rules that make equality possible: float32 only; + - * / and sqrt only,
 * which IEEE 754 rounds in one way (a power is kmath.c's, made of these too);
 * one order, the one written here; no fused multiply-add (-ffp-contract=off);
 * no element depends on another, so the number of lanes does not matter;
 * denormals are zero (kern_enter()).
 *
 *     assign      d = g
 *     assign_add  d = d + g
 *     sgd         d = d - lr * g
 *     adagrad     acc = acc + g * g
 *                 d = d - (g * lr) / sqrt(acc)      where acc is not 0
 *     momentum    acc = acc * m + g
 *                 d = d - acc * lr
 *     nesterov    acc = acc * m + g
 *                 d = d - (g * lr + (acc * m) * lr)
 *     ftrl        n = accum + g * g
 *                 linear = linear + (g - ((p(n) - p(accum)) / lr) * d)
 *                 x = sign(linear) * l1 - linear
 *                 y = p(n) / lr + 2 * l2
 *                 d = x / y    where |linear| > l1 and y is not 0
 *                 d = 0        where not |linear| > l1
 *                 accum = n
 *                 with p(x) = sqrt(x); ftrl_power: p(x) = x ^ power
 *
 * assign and assign_add are AssignUpdater and AssignAddUpdater of ps-plus. sgd
 * is its MomentumUpdater with momentum 0 and without a slot, momentum and
 * nesterov are the same with one: Sutskever, Martens, Dahl and Hinton, "On the
 * importance of initialization and momentum in deep learning", ICML 2013, in
 * the form that keeps the values at the point looked ahead to. adagrad is its
 * AdagradUpdater, which is algorithm 1 of Duchi, Hazan and Singer, "Adaptive
 * Subgradient Methods for Online Learning and Stochastic Optimization", JMLR 12
 * (2011), the diagonal form without epsilon; g * lr is rounded before the
 * division, as there. One deviation: where acc is still 0 after the sum (both
 * it and g * g are 0), the original computes 0 / 0 and loses the element to
 * NaN; here d is left alone. A NaN is not 0: it spreads to acc and to d.
 *
 * ftrl is its FtrlUpdater, which is algorithm 1 of McMahan et al., "Ad Click
 * Prediction: a View from the Trenches", KDD 2013, with n for the sum of
 * squares, linear for z and 1 / lr for 1 / alpha; beta is the root of the
 * initial accumulator, and l2 counts twice, as there. The deviation is the same
 * as above: where y is 0 (accum and l2 are) the original divides by it; here d
 * is left alone. As in the original a NaN in linear makes d 0, for good: NaN is
 * not greater than l1.
 */
#include "kern/kern.h"

#include "base/base.h"
#include "kern/kern_ahead.h"
#include "kern/kmath.h"

static float *row_values(uint8_t *row)
{
    return (float *)(void *)row;
}

static void add_row(float *restrict d, const float *restrict g, size_t dim)
{
    for (size_t i = 0; i < dim; i++) {
        d[i] = d[i] + g[i];
    }
}

static void sgd_row(float *restrict d, const float *restrict g, float lr,
                    size_t dim)
{
    for (size_t i = 0; i < dim; i++) {
        d[i] = d[i] - lr * g[i];
    }
}

static void adagrad_row(float *restrict d, float *restrict acc,
                        const float *restrict g, float lr, size_t dim)
{
    for (size_t i = 0; i < dim; i++) {
        acc[i] = acc[i] + g[i] * g[i];
        if (acc[i] != 0.0f) {
            d[i] = d[i] - (g[i] * lr) / __builtin_sqrtf(acc[i]);
        }
    }
}

static void momentum_row(float *restrict d, float *restrict acc,
                         const float *restrict g, float lr, float m, size_t dim)
{
    for (size_t i = 0; i < dim; i++) {
        acc[i] = acc[i] * m + g[i];
        d[i] = d[i] - acc[i] * lr;
    }
}

static void nesterov_row(float *restrict d, float *restrict acc,
                         const float *restrict g, float lr, float m, size_t dim)
{
    for (size_t i = 0; i < dim; i++) {
        acc[i] = acc[i] * m + g[i];
        d[i] = d[i] - (g[i] * lr + (acc[i] * m) * lr);
    }
}

/* What d becomes, from the new linear and p(n). */
static float ftrl_value(float d, float linear, float root,
                        const struct kern_ftrl *f)
{
    float x = (linear < 0.0f ? -f->l1 : f->l1) - linear;
    float y = root / f->lr + 2.0f * f->l2;

    if (!(__builtin_fabsf(linear) > f->l1)) {
        return 0.0f;
    }
    return y != 0.0f ? x / y : d;
}

static void ftrl_row(float *restrict d, float *restrict accum,
                     float *restrict linear, const float *restrict g,
                     const struct kern_ftrl *f, size_t dim)
{
    for (size_t i = 0; i < dim; i++) {
        float n = accum[i] + g[i] * g[i];
        float root = __builtin_sqrtf(n);
        float rise = root - __builtin_sqrtf(accum[i]);

        linear[i] = linear[i] + (g[i] - (rise / f->lr) * d[i]);
        d[i] = ftrl_value(d[i], linear[i], root, f);
        accum[i] = n;
    }
}

static void ftrl_power_row(float *restrict d, float *restrict accum,
                           float *restrict linear, const float *restrict g,
                           const struct kern_ftrl *f, size_t dim)
{
    for (size_t i = 0; i < dim; i++) {
        float n = accum[i] + g[i] * g[i];
        float root = kmath_pow(n, f->power);
        float rise = root - kmath_pow(accum[i], f->power);

        linear[i] = linear[i] + (g[i] - (rise / f->lr) * d[i]);
        d[i] = ftrl_value(d[i], linear[i], root, f);
        accum[i] = n;
    }
}

static void copy_rows(float *out, uint8_t *const *rows, size_t n, size_t dim)
{
    size_t bytes = dim * sizeof(float);

    kern_ahead_start(rows, n, bytes);
    for (size_t i = 0; i < n; i++) {
        kern_ahead(rows, i, n, bytes);
        if (rows[i] != NULL) {
            memcpy(out + i * dim, rows[i], bytes);
        }
    }
}

static void assign(uint8_t *const *rows, const float *g, size_t n, size_t dim)
{
    size_t bytes = dim * sizeof(float);

    kern_ahead_start(rows, n, bytes);
    for (size_t i = 0; i < n; i++) {
        kern_ahead(rows, i, n, bytes);
        if (rows[i] != NULL) {
            memcpy(rows[i], g + i * dim, bytes);
        }
    }
}

static void assign_add(uint8_t *const *rows, const float *g, size_t n,
                       size_t dim)
{
    size_t bytes = dim * sizeof(float);

    kern_ahead_start(rows, n, bytes);
    for (size_t i = 0; i < n; i++) {
        kern_ahead(rows, i, n, bytes);
        if (rows[i] != NULL) {
            add_row(row_values(rows[i]), g + i * dim, dim);
        }
    }
}

static void sgd(uint8_t *const *rows, const float *g, size_t n, size_t dim,
                float lr)
{
    size_t bytes = dim * sizeof(float);

    kern_ahead_start(rows, n, bytes);
    for (size_t i = 0; i < n; i++) {
        kern_ahead(rows, i, n, bytes);
        if (rows[i] != NULL) {
            sgd_row(row_values(rows[i]), g + i * dim, lr, dim);
        }
    }
}

static void adagrad(uint8_t *const *rows, const float *g, size_t n, size_t dim,
                    float lr)
{
    size_t bytes = 2 * dim * sizeof(float);

    kern_ahead_start(rows, n, bytes);
    for (size_t i = 0; i < n; i++) {
        kern_ahead(rows, i, n, bytes);
        if (rows[i] != NULL) {
            float *d = row_values(rows[i]);

            adagrad_row(d, d + dim, g + i * dim, lr, dim);
        }
    }
}

static void momentum(uint8_t *const *rows, const float *g, size_t n, size_t dim,
                     float lr, float m)
{
    size_t bytes = 2 * dim * sizeof(float);

    kern_ahead_start(rows, n, bytes);
    for (size_t i = 0; i < n; i++) {
        kern_ahead(rows, i, n, bytes);
        if (rows[i] != NULL) {
            float *d = row_values(rows[i]);

            momentum_row(d, d + dim, g + i * dim, lr, m, dim);
        }
    }
}

static void nesterov(uint8_t *const *rows, const float *g, size_t n, size_t dim,
                     float lr, float m)
{
    size_t bytes = 2 * dim * sizeof(float);

    kern_ahead_start(rows, n, bytes);
    for (size_t i = 0; i < n; i++) {
        kern_ahead(rows, i, n, bytes);
        if (rows[i] != NULL) {
            float *d = row_values(rows[i]);

            nesterov_row(d, d + dim, g + i * dim, lr, m, dim);
        }
    }
}

static void ftrl(uint8_t *const *rows, const float *g, size_t n, size_t dim,
                 const struct kern_ftrl *f)
{
    size_t bytes = 3 * dim * sizeof(float);

    kern_ahead_start(rows, n, bytes);
    for (size_t i = 0; i < n; i++) {
        kern_ahead(rows, i, n, bytes);
        if (rows[i] != NULL) {
            float *d = row_values(rows[i]);

            ftrl_row(d, d + dim, d + 2 * dim, g + i * dim, f, dim);
        }
    }
}

static void ftrl_power(uint8_t *const *rows, const float *g, size_t n,
                       size_t dim, const struct kern_ftrl *f)
{
    size_t bytes = 3 * dim * sizeof(float);

    kern_ahead_start(rows, n, bytes);
    for (size_t i = 0; i < n; i++) {
        kern_ahead(rows, i, n, bytes);
        if (rows[i] != NULL) {
            float *d = row_values(rows[i]);

            ftrl_power_row(d, d + dim, d + 2 * dim, g + i * dim, f, dim);
        }
    }
}

const struct kern kern_generic = {
    .name = "generic",
    .copy_rows = copy_rows,
    .assign = assign,
    .assign_add = assign_add,
    .sgd = sgd,
    .adagrad = adagrad,
    .momentum = momentum,
    .nesterov = nesterov,
    .ftrl = ftrl,
    .ftrl_power = ftrl_power,
    .add_into = add_row,
};
