/* featkey.h - the 64-bit key of a feature, from its field and its value.
 *
 * Keys are all the servers know of a feature: there is no dictionary, so a new
 * value of a field needs nobody's leave. Two features get the same key with a
 * chance of n * n / 2^65: one in 37,000 for 30 million features.
 */
#ifndef FEATKEY_H
#define FEATKEY_H

#include <stdint.h>

#include "dice.h"

/* A libFM feature: its index names field and value at once, so the field is
 * nothing and no two indexes share a key. */
static inline uint64_t featkey_index(uint64_t index)
{
    return dice_mix(index);
}

/* A feature of a table: start, then column name and cell of each column that
 * is crossed, then end. FNV-1a over the texts, each with the zero byte that
 * ends it, so that "ab", "c" is not "a", "bc"; SplitMix64 at the end, because
 * the high bits of FNV are weak. */
#define FEATKEY_START 0xcbf29ce484222325u
#define FEATKEY_PRIME 0x100000001b3u

static inline uint64_t featkey_text(uint64_t key, const char *text)
{
    for (; *text != '\0'; text++) {
        key = (key ^ (unsigned char)*text) * FEATKEY_PRIME;
    }
    return key * FEATKEY_PRIME;
}

static inline uint64_t featkey_end(uint64_t key)
{
    return dice_mix(key);
}

#endif
