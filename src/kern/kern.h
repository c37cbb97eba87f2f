/* kern.h - the arithmetic over rows, once for each kind of CPU.
 *
 * A kern is a table of functions over pointers, lengths and scalars: it knows
 * no table, no key and no error. All kerns give the same bits on the same
 * numbers (the payload of a NaN excepted), so it does not matter which server
 * of a cluster runs which; kern_generic.c is the definition.
 *
 * rows[i] is the block of row i, aligned to 16 bytes and otherwise anywhere.
 * A NULL row is skipped, but row i + 1 still takes gradient i + 1. A block may
 * be named twice: rows are taken in order. Gradients and results are packed,
 * [n, dim], need no more than the alignment of a float, and do not overlap the
 * rows or each other.
 *
 * The bits agree only where denormal numbers are flushed: every thread that
 * calls a kern, plain definition included, calls kern_enter() first.
 */
#ifndef KERN_H
#define KERN_H

#include <stddef.h>
#include <stdint.h>

/* What FTRL is told, each rounded to float once for a request. */
struct kern_ftrl {
    float lr;
    float power; /* -lr_power; only ftrl_power looks at it */
    float l1;
    float l2;
};

struct kern {
    const char *name;
    /* out[i] = the first dim values of row i; the place of a NULL row is left
     * as it is. */
    void (*copy_rows)(float *out, uint8_t *const *rows, size_t n, size_t dim);
    /* d = g */
    void (*assign)(uint8_t *const *rows, const float *g, size_t n, size_t dim);
    /* d += g */
    void (*assign_add)(uint8_t *const *rows, const float *g, size_t n,
                       size_t dim);
    /* d -= lr * g */
    void (*sgd)(uint8_t *const *rows, const float *g, size_t n, size_t dim,
                float lr);
    /* A block is [d: dim | acc: dim]: acc += g * g, d -= g * lr / sqrt(acc). */
    void (*adagrad)(uint8_t *const *rows, const float *g, size_t n, size_t dim,
                    float lr);
    /* A block is [d: dim | acc: dim]: acc = acc * m + g, d -= acc * lr. */
    void (*momentum)(uint8_t *const *rows, const float *g, size_t n, size_t dim,
                     float lr, float m);
    /* As momentum, but d -= g * lr + acc * m * lr. */
    void (*nesterov)(uint8_t *const *rows, const float *g, size_t n, size_t dim,
                     float lr, float m);
    /* A block is [d: dim | accum: dim | linear: dim]; the formula is in
     * kern_generic.c. ftrl is the square root, power 1/2. */
    void (*ftrl)(uint8_t *const *rows, const float *g, size_t n, size_t dim,
                 const struct kern_ftrl *f);
    void (*ftrl_power)(uint8_t *const *rows, const float *g, size_t n,
                       size_t dim, const struct kern_ftrl *f);
    /* dst += src; the client sums duplicate keys with it, in batch order. */
    void (*add_into)(float *dst, const float *src, size_t dim);
};

extern const struct kern kern_generic;
extern const struct kern kern_avx2;
extern const struct kern kern_avx512;

/* The best for this CPU. Called once, at start. */
const struct kern *kern_choose(void);

/* "generic", "avx2" or "avx512"; NULL if there is no such kern or this CPU
 * cannot run it. */
const struct kern *kern_named(const char *name);

/* Makes this thread flush denormal numbers to zero, as operands and as
 * results. For threads that are ours. */
void kern_enter(void);

/* For a thread that is the caller's: kern_save() is kern_enter() and returns
 * the thread's former mode, kern_restore() brings that back. */
uint32_t kern_save(void);
void kern_restore(uint32_t saved);

#endif
