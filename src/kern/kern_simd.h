/* kern_simd.h - the kernels over vectors, compiled once for each width.
 *
 * One body, two compilations. The file that includes this has defined before:
 *     LANES                         floats in a vector
 *     vec, lanes                    a vector; a choice of its lanes
 *     first_lanes(n)                the first n lanes, 0 < n < LANES
 *     spread(x)                     x in every lane
 *     load(p), store(p, v)          all lanes, no alignment asked
 *     load_part(p, m), store_part(p, m, v)
 *                                   the lanes m; touches no other memory
 *     add, sub, mul, quotient, root of vectors
 *     where_nonzero(x, yes, no)     yes where x != 0 or NaN, else no; `yes`
 *                                   passes through an empty asm, see below
 * and takes the address of the functions below for its table.
 *
 * Each function is its name's definition in kern_generic.c, LANES elements at
 * a time and the last dim % LANES at once. The lanes that are not chosen hold
 * zeros and are thrown away, whatever comes out of them.
 */
#ifndef KERN_SIMD_H
#define KERN_SIMD_H

#include "base/base.h"
#include "kern/kern_ahead.h"

static inline float *row_values(uint8_t *row)
{
    return (float *)(void *)row;
}

static inline void copy_row(float *restrict to, const float *restrict from,
                            size_t dim)
{
    size_t i = 0;

    for (; i + LANES <= dim; i += LANES) {
        store(to + i, load(from + i));
    }
    if (i < dim) {
        lanes m = first_lanes(dim - i);

        store_part(to + i, m, load_part(from + i, m));
    }
}

static inline void add_row(float *restrict d, const float *restrict g,
                           size_t dim)
{
    size_t i = 0;

    for (; i + LANES <= dim; i += LANES) {
        store(d + i, add(load(d + i), load(g + i)));
    }
    if (i < dim) {
        lanes m = first_lanes(dim - i);

        store_part(d + i, m, add(load_part(d + i, m), load_part(g + i, m)));
    }
}

static inline vec sgd_step(vec d, vec g, vec lr)
{
    return sub(d, mul(lr, g));
}

static inline void sgd_row(float *restrict d, const float *restrict g, vec lr,
                           size_t dim)
{
    size_t i = 0;

    for (; i + LANES <= dim; i += LANES) {
        store(d + i, sgd_step(load(d + i), load(g + i), lr));
    }
    if (i < dim) {
        lanes m = first_lanes(dim - i);

        store_part(d + i, m,
                   sgd_step(load_part(d + i, m), load_part(g + i, m), lr));
    }
}

/* acc is the sum after this step's g * g. A compiler that knows no flushing may
 * make `d - (acc != 0 ? step : 0)` of this (clang 14 does), which flushes a
 * denormal d that is to be left alone; the empty asm hides what `yes` is. */
static inline vec adagrad_step(vec d, vec acc, vec g, vec lr)
{
    return where_nonzero(acc, sub(d, quotient(mul(g, lr), root(acc))), d);
}

static inline void adagrad_row(float *restrict d, float *restrict acc,
                               const float *restrict g, vec lr, size_t dim)
{
    size_t i = 0;

    for (; i + LANES <= dim; i += LANES) {
        vec gi = load(g + i);
        vec sum = add(load(acc + i), mul(gi, gi));

        store(acc + i, sum);
        store(d + i, adagrad_step(load(d + i), sum, gi, lr));
    }
    if (i < dim) {
        lanes m = first_lanes(dim - i);
        vec gi = load_part(g + i, m);
        vec sum = add(load_part(acc + i, m), mul(gi, gi));

        store_part(acc + i, m, sum);
        store_part(d + i, m, adagrad_step(load_part(d + i, m), sum, gi, lr));
    }
}

static void copy_rows(float *out, uint8_t *const *rows, size_t n, size_t dim)
{
    size_t bytes = dim * sizeof(float);

    kern_ahead_start(rows, n, bytes);
    for (size_t i = 0; i < n; i++) {
        kern_ahead(rows, i, n, bytes);
        if (rows[i] != NULL) {
            copy_row(out + i * dim, row_values(rows[i]), dim);
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
            copy_row(row_values(rows[i]), g + i * dim, dim);
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
    vec lr_all = spread(lr);

    kern_ahead_start(rows, n, bytes);
    for (size_t i = 0; i < n; i++) {
        kern_ahead(rows, i, n, bytes);
        if (rows[i] != NULL) {
            sgd_row(row_values(rows[i]), g + i * dim, lr_all, dim);
        }
    }
}

static void adagrad(uint8_t *const *rows, const float *g, size_t n, size_t dim,
                    float lr)
{
    size_t bytes = 2 * dim * sizeof(float);
    vec lr_all = spread(lr);

    kern_ahead_start(rows, n, bytes);
    for (size_t i = 0; i < n; i++) {
        kern_ahead(rows, i, n, bytes);
        if (rows[i] != NULL) {
            float *d = row_values(rows[i]);

            adagrad_row(d, d + dim, g + i * dim, lr_all, dim);
        }
    }
}

static void add_into(float *dst, const float *src, size_t dim)
{
    add_row(dst, src, dim);
}

#endif
