/* split.c - the keys of a batch, by the part that holds them.
 *
 * A counting sort: the first pass finds each key's part and counts, the second
 * writes each key's number where its part's run has come to. The runs' ends
 * stand in counts[] during the second pass, so that nothing is allocated.
 *
 * Parts dealt evenly by place_variable begin at ceil(65,536 * i / n), so that
 * bucket * n / 65,536 is the part; after a move it is only where to begin.
 */
#include "plan/split.h"

#include "base/hash.h"
#include "base/limits.h"

static bool holds(const struct wire_part *part, uint32_t bucket)
{
    return part->begin <= bucket && bucket < part->end;
}

static uint32_t find_part(const struct wire_part *parts, uint32_t n,
                          uint32_t bucket)
{
    uint32_t low = (uint32_t)((uint64_t)bucket * n / LIMIT_BUCKETS);
    uint32_t high = n;

    if (LIKELY(holds(&parts[low], bucket))) {
        return low;
    }
    low = 0;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (parts[middle].begin <= bucket) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

void split_keys(const struct wire_part *parts, uint32_t n_parts,
                const uint64_t *keys, size_t n, uint32_t *part_of,
                uint32_t *order, size_t *counts)
{
    size_t begin = 0;

    ASSERT(n_parts > 0 && n_parts <= LIMIT_BUCKETS);
    ASSERT(n <= UINT32_MAX);
    if (n_parts == 1) {
        for (size_t i = 0; i < n; i++) {
            order[i] = (uint32_t)i;
        }
        counts[0] = n;
        return;
    }
    memset(counts, 0, n_parts * sizeof(*counts));
    for (size_t i = 0; i < n; i++) {
        part_of[i] = find_part(parts, n_parts, hash_bucket(hash_key(keys[i])));
        counts[part_of[i]]++;
    }
    for (uint32_t p = 0; p < n_parts; p++) {
        size_t count = counts[p];

        counts[p] = begin;
        begin += count;
    }
    for (size_t i = 0; i < n; i++) {
        order[counts[part_of[i]]++] = (uint32_t)i;
    }
    /* Each run has come to its end, which is where the next one began. */
    for (uint32_t p = n_parts - 1; p > 0; p--) {
        counts[p] -= counts[p - 1];
    }
}
