/* zipf.h - ids with a power law: id i of 1..n is drawn with a chance in
 * proportion to 1 / i^exponent.
 *
 * Needs no table, so n may be a billion: rejection-inversion, W. Hoermann and
 * G. Derflinger, "Rejection-inversion to generate variates from monotone
 * discrete distributions", ACM TOMACS 6 (1996). Exponent 0 is even.
 */
#ifndef ZIPF_H
#define ZIPF_H

#include <stdint.h>

#include "dice.h"

struct zipf {
    uint64_t n;
    double exponent;
    double area_first; /* H(1.5) - 1 */
    double area_last;  /* H(n + 0.5) */
    double squeeze;    /* within this distance under i nothing is rejected */
};

/* n >= 1, exponent >= 0. */
void zipf_init(struct zipf *z, uint64_t n, double exponent);

/* An id from 1 to n. */
uint64_t zipf_draw(const struct zipf *z, struct dice *d);

#endif
