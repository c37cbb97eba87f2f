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
 *     size_of(x)                    |x|
 *     signed_as(x, y)               |x| with the sign bit of y
 *     zero_unless_above(a, b, x)    x where a > b, else 0
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
#include "kern/kmath.h"

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

static inline void momentum_row(float *restrict d, float *restrict acc,
                                const float *restrict g, vec lr, vec m,
                                size_t dim)
{
    size_t i = 0;

    for (; i + LANES <= dim; i += LANES) {
        vec sum = add(mul(load(acc + i), m), load(g + i));

        store(acc + i, sum);
        store(d + i, sub(load(d + i), mul(sum, lr)));
    }
    if (i < dim) {
        lanes l = first_lanes(dim - i);
        vec sum = add(mul(load_part(acc + i, l), m), load_part(g + i, l));

        store_part(acc + i, l, sum);
        store_part(d + i, l, sub(load_part(d + i, l), mul(sum, lr)));
    }
}

static inline vec nesterov_step(vec d, vec acc, vec g, vec lr, vec m)
{
    return sub(d, add(mul(g, lr), mul(mul(acc, m), lr)));
}

static inline void nesterov_row(float *restrict d, float *restrict acc,
                                const float *restrict g, vec lr, vec m,
                                size_t dim)
{
    size_t i = 0;

    for (; i + LANES <= dim; i += LANES) {
        vec gi = load(g + i);
        vec sum = add(mul(load(acc + i), m), gi);

        store(acc + i, sum);
        store(d + i, nesterov_step(load(d + i), sum, gi, lr, m));
    }
    if (i < dim) {
        lanes l = first_lanes(dim - i);
        vec gi = load_part(g + i, l);
        vec sum = add(mul(load_part(acc + i, l), m), gi);

        store_part(acc + i, l, sum);
        store_part(d + i, l,
                   nesterov_step(load_part(d + i, l), sum, gi, lr, m));
    }
}

/* The scalars of FTRL in every lane. */
struct ftrl_all {
    vec lr;
    vec l1;
    vec l2_twice;
    float power;
};

static inline struct ftrl_all ftrl_spread(const struct kern_ftrl *f)
{
    return (struct ftrl_all){spread(f->lr), spread(f->l1), spread(2.0f * f->l2),
                             f->power};
}

/* The three of an element. */
struct ftrl_lanes {
    vec d;
    vec accum;
    vec linear;
};

/* From p(accum) to p(n), with n the sum after this step's g * g. */
static inline struct ftrl_lanes ftrl_step(struct ftrl_lanes e, vec g, vec n,
                                          vec before, vec after,
                                          const struct ftrl_all *f)
{
    vec rise = quotient(sub(after, before), f->lr);
    vec linear = add(e.linear, sub(g, mul(rise, e.d)));
    vec x = sub(signed_as(f->l1, linear), linear);
    vec y = add(quotient(after, f->lr), f->l2_twice);
    vec d = where_nonzero(y, quotient(x, y), e.d);

    return (struct ftrl_lanes){zero_unless_above(size_of(linear), f->l1, d), n,
                               linear};
}

static inline struct ftrl_lanes ftrl_root_step(struct ftrl_lanes e, vec g,
                                               const struct ftrl_all *f)
{
    vec n = add(e.accum, mul(g, g));

    return ftrl_step(e, g, n, root(e.accum), root(n), f);
}

/* No vector has a power: an element at a time. */
static inline vec power(vec x, float p)
{
    float a[LANES];

    store(a, x);
    for (size_t i = 0; i < LANES; i++) {
        a[i] = kmath_pow(a[i], p);
    }
    return load(a);
}

static inline struct ftrl_lanes ftrl_power_step(struct ftrl_lanes e, vec g,
                                                const struct ftrl_all *f)
{
    vec n = add(e.accum, mul(g, g));

    return ftrl_step(e, g, n, power(e.accum, f->power), power(n, f->power), f);
}

static inline struct ftrl_lanes ftrl_load(const float *d, const float *accum,
                                          const float *linear)
{
    return (struct ftrl_lanes){load(d), load(accum), load(linear)};
}

static inline struct ftrl_lanes
ftrl_load_part(const float *d, const float *accum, const float *linear, lanes l)
{
    return (struct ftrl_lanes){load_part(d, l), load_part(accum, l),
                               load_part(linear, l)};
}

static inline void ftrl_row(float *restrict d, float *restrict accum,
                            float *restrict linear, const float *restrict g,
                            const struct ftrl_all *f, size_t dim)
{
    size_t i = 0;

    for (; i + LANES <= dim; i += LANES) {
        struct ftrl_lanes e = ftrl_load(d + i, accum + i, linear + i);

        e = ftrl_root_step(e, load(g + i), f);
        store(d + i, e.d);
        store(accum + i, e.accum);
        store(linear + i, e.linear);
    }
    if (i < dim) {
        lanes l = first_lanes(dim - i);
        struct ftrl_lanes e = ftrl_load_part(d + i, accum + i, linear + i, l);

        e = ftrl_root_step(e, load_part(g + i, l), f);
        store_part(d + i, l, e.d);
        store_part(accum + i, l, e.accum);
        store_part(linear + i, l, e.linear);
    }
}

static inline void ftrl_power_row(float *restrict d, float *restrict accum,
                                  float *restrict linear,
                                  const float *restrict g,
                                  const struct ftrl_all *f, size_t dim)
{
    size_t i = 0;

    for (; i + LANES <= dim; i += LANES) {
        struct ftrl_lanes e = ftrl_load(d + i, accum + i, linear + i);

        e = ftrl_power_step(e, load(g + i), f);
        store(d + i, e.d);
        store(accum + i, e.accum);
        store(linear + i, e.linear);
    }
    if (i < dim) {
        lanes l = first_lanes(dim - i);
        struct ftrl_lanes e = ftrl_load_part(d + i, accum + i, linear + i, l);

        e = ftrl_power_step(e, load_part(g + i, l), f);
        store_part(d + i, l, e.d);
        store_part(accum + i, l, e.accum);
        store_part(linear + i, l, e.linear);
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

static void momentum(uint8_t *const *rows, const float *g, size_t n, size_t dim,
                     float lr, float m)
{
    size_t bytes = 2 * dim * sizeof(float);
    vec lr_all = spread(lr);
    vec m_all = spread(m);

    kern_ahead_start(rows, n, bytes);
    for (size_t i = 0; i < n; i++) {
        kern_ahead(rows, i, n, bytes);
        if (rows[i] != NULL) {
            float *d = row_values(rows[i]);

            momentum_row(d, d + dim, g + i * dim, lr_all, m_all, dim);
        }
    }
}

static void nesterov(uint8_t *const *rows, const float *g, size_t n, size_t dim,
                     float lr, float m)
{
    size_t bytes = 2 * dim * sizeof(float);
    vec lr_all = spread(lr);
    vec m_all = spread(m);

    kern_ahead_start(rows, n, bytes);
    for (size_t i = 0; i < n; i++) {
        kern_ahead(rows, i, n, bytes);
        if (rows[i] != NULL) {
            float *d = row_values(rows[i]);

            nesterov_row(d, d + dim, g + i * dim, lr_all, m_all, dim);
        }
    }
}

static void ftrl(uint8_t *const *rows, const float *g, size_t n, size_t dim,
                 const struct kern_ftrl *f)
{
    size_t bytes = 3 * dim * sizeof(float);
    struct ftrl_all all = ftrl_spread(f);

    kern_ahead_start(rows, n, bytes);
    for (size_t i = 0; i < n; i++) {
        kern_ahead(rows, i, n, bytes);
        if (rows[i] != NULL) {
            float *d = row_values(rows[i]);

            ftrl_row(d, d + dim, d + 2 * dim, g + i * dim, &all, dim);
        }
    }
}

static void ftrl_power(uint8_t *const *rows, const float *g, size_t n,
                       size_t dim, const struct kern_ftrl *f)
{
    size_t bytes = 3 * dim * sizeof(float);
    struct ftrl_all all = ftrl_spread(f);

    kern_ahead_start(rows, n, bytes);
    for (size_t i = 0; i < n; i++) {
        kern_ahead(rows, i, n, bytes);
        if (rows[i] != NULL) {
            float *d = row_values(rows[i]);

            ftrl_power_row(d, d + dim, d + 2 * dim, g + i * dim, &all, dim);
        }
    }
}

static void add_into(float *dst, const float *src, size_t dim)
{
    add_row(dst, src, dim);
}

#endif
