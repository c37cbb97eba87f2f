/* hash.h - where a key lives (frozen) and checksums.
 *
 * hash_key is the SplitMix64 step (architecture 7); it is in plans and files
 * and never changes. bucket = hash >> 48; the key map uses the low 48 bits.
 */
#ifndef HASH_H
#define HASH_H

#include "base.h"

static inline uint64_t hash_key(uint64_t key)
{
    uint64_t x = key + 0x9e3779b97f4a7c15u;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t hash_key128(uint64_t a, uint64_t b)
{
    return hash_key(hash_key(a) ^ b);
}

static inline uint32_t hash_bucket(uint64_t hash)
{
    return (uint32_t)(hash >> 48);
}

/* XXH3-64 of the bytes, seed 0. */
uint64_t hash_bytes(const void *data, size_t size);

#endif
