/* dice.h - random numbers that are the same on every machine.
 *
 * dice_mix is the SplitMix64 step. A stream is the steps of a counter; a
 * "pure" number is a function of what it belongs to, so that it can be had
 * again at any time without being kept.
 */
#ifndef DICE_H
#define DICE_H

#include <stdint.h>

struct dice {
    uint64_t state;
};

static inline uint64_t dice_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* One number out of three, such as a seed, a key and a position. */
static inline uint64_t dice_mix3(uint64_t a, uint64_t b, uint64_t c)
{
    return dice_mix(dice_mix(dice_mix(a) ^ b) ^ c);
}

static inline uint64_t dice_next(struct dice *d)
{
    uint64_t x = dice_mix(d->state);

    d->state += 0x9e3779b97f4a7c15u;
    return x;
}

/* 0 < x < 1 out of 64 random bits. */
static inline double dice_unit(uint64_t bits)
{
    return ((double)(bits >> 11) + 0.5) * 0x1p-53;
}

/* Evenly out of 0..n-1, n > 0. */
uint64_t dice_below(struct dice *d, uint64_t n);

/* A standard normal number, a pure function of bits. */
double dice_normal(uint64_t bits);

#endif
