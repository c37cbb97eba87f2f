/* The bars of height h(i) = i^-s for i = 1..n are covered by the curve h(x)
 * from 1/2 to n + 1/2, as h is convex. A point u under the curve, even in area,
 * is turned into x by the inverse of the area H(x) = integral of h, and x
 * rounded to i. It is taken if it lies over the part of the area as large as
 * bar i, u >= H(i + 1/2) - h(i), which is nearly always.
 */
#include "zipf.h"

#include <math.h>

static double height(const struct zipf *z, double x)
{
    return exp(-z->exponent * log(x));
}

/* H(x) = (x^(1-s) - 1) / (1 - s), which is log(x) at s = 1. */
static double area(const struct zipf *z, double x)
{
    double t = (1.0 - z->exponent) * log(x);

    if (fabs(t) < 1e-8) {
        return log(x) * (1.0 + t / 2.0);
    }
    return log(x) * expm1(t) / t;
}

static double area_inverse(const struct zipf *z, double a)
{
    double t = a * (1.0 - z->exponent);

    if (t <= -1.0) {
        t = -1.0 + 1e-15; /* rounding must not leave the domain of log1p */
    }
    if (fabs(t) < 1e-8) {
        return exp(a * (1.0 - t / 2.0));
    }
    return exp(a * log1p(t) / t);
}

void zipf_init(struct zipf *z, uint64_t n, double exponent)
{
    z->n = n;
    z->exponent = exponent;
    z->area_first = area(z, 1.5) - 1.0;
    z->area_last = area(z, (double)n + 0.5);
    z->squeeze = 2.0 - area_inverse(z, area(z, 2.5) - height(z, 2.0));
}

uint64_t zipf_draw(const struct zipf *z, struct dice *d)
{
    for (;;) {
        double u = z->area_last +
                   dice_unit(dice_next(d)) * (z->area_first - z->area_last);
        double x = area_inverse(z, u);
        double i = floor(x + 0.5);

        i = i < 1.0 ? 1.0 : i;
        i = i > (double)z->n ? (double)z->n : i;
        if (i - x <= z->squeeze || u >= area(z, i + 0.5) - height(z, i)) {
            return (uint64_t)i;
        }
    }
}
