#include "dice.h"

#include <math.h>

uint64_t dice_below(struct dice *d, uint64_t n)
{
    /* Numbers under 2^64 mod n would make small results likelier. */
    uint64_t unfair = (0 - n) % n;
    uint64_t x = dice_next(d);

    while (x < unfair) {
        x = dice_next(d);
    }
    return x % n;
}

double dice_normal(uint64_t bits)
{
    double radius = sqrt(-2.0 * log(dice_unit(bits)));
    double angle = 6.283185307179586 * dice_unit(dice_mix(bits));

    return radius * cos(angle);
}
