/* init.h - the initial values of rows.
 *
 * Element i of row id is a pure function of (seed, key, id, i), with the kind
 * and its two parameters: no state, no order, no thread, and no CPU enters. So
 * an absent key can be answered without creating it, and a row that is created
 * twice, here or on another server, is the same row.
 */
#ifndef INIT_H
#define INIT_H

#include "base/base.h"

struct init_spec {
    uint32_t kind; /* enum ps_init_kind */
    float a;
    float b;
    uint64_t seed;
    uint64_t key; /* the variable's init key; a rename does not change it */
};

/* NULL, or what is wrong with a spec, in a few words. */
MUST_USE const char *init_check(const struct init_spec *s);

/* Writes elements 0..dim-1 of row id. The spec has passed init_check(). */
void init_row(const struct init_spec *s, uint64_t id, float *out, size_t dim);

#endif
