/* planted.h - the factorization machine that decides the clicks of a generated
 * log.
 *
 * Its parameters are pure functions of (seed, field, id): nothing is stored,
 * however many ids there are. They scale so that fields beyond a few do not
 * drown the labels in certainty.
 */
#ifndef PLANTED_H
#define PLANTED_H

#include <stddef.h>
#include <stdint.h>

#define PLANTED_FIELDS_MAX 1024
#define PLANTED_FACTORS_MAX 64

struct planted {
    uint64_t seed;
    size_t fields;
    size_t k;
    double bias;
    double linear; /* standard deviation of the sum of weights */
    double cross;  /* standard deviation of the sum of factor products */
};

/* The score of a row of ids, one of each field; its logistic function is the
 * probability of a click. */
double planted_score(const struct planted *p, const uint64_t *ids);

#endif
