/* This file is the definition of the kernels: what the documents quote, and
 * what every other kern must equal bit for bit. So it is written to be read.
 *
 * The rules that make equality possible: float32 only; + - * / and sqrt only,
 * which IEEE 754 rounds in one way; one order, the one written here; no fused
 * multiply-add (-ffp-contract=off); no element depends on another, so the
 * number of lanes does not matter; denormals are zero (kern_enter()).
 *
 *     assign      d = g
 *     assign_add  d = d + g
 *     sgd         d = d - lr * g
 *     adagrad     acc = acc + g * g
 *                 d = d - (g * lr) / sqrt(acc)      where acc is not 0
 *
 * assign and assign_add are AssignUpdater and AssignAddUpdater of ps-plus. sgd
 * is its MomentumUpdater with momentum 0. adagrad is its AdagradUpdater, which
 * is algorithm 1 of Duchi, Hazan and Singer, "Adaptive Subgradient Methods for
 * Online Learning and Stochastic Optimization", JMLR 12 (2011), the diagonal
 * form without epsilon; g * lr is rounded before the division, as there.
 * One deviation: where acc is still 0 after the sum (both it and g * g are 0),
 * the original computes 0 / 0 and loses the element to NaN; here d is left
 * alone. A NaN is not 0: it spreads to acc and to d.
 */
#include "kern/kern.h"

#include "base/base.h"
#include "kern/kern_ahead.h"

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

const struct kern kern_generic = {
    .name = "generic",
    .copy_rows = copy_rows,
    .assign = assign,
    .assign_add = assign_add,
    .sgd = sgd,
    .adagrad = adagrad,
    .add_into = add_row,
};
