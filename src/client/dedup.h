/* dedup.h - the distinct keys of a batch, and the sums of their gradients.
 *
 * Duplicate keys in one push are one gradient: added in batch order in
 * float32, or, for an assignment, the last (architecture part 7).
 */
#ifndef DEDUP_H
#define DEDUP_H

#include "base/arena.h"
#include "kern/kern.h"

struct dedup {
    bool has_duplicates;
    size_t n;              /* distinct keys */
    const uint64_t *keys;  /* [n] in order of first appearance */
    const uint32_t *first; /* [n] where each appears first; NULL without
                                duplicates: 0, 1, 2 ... */
    const uint32_t *of;    /* [batch] which distinct key; NULL likewise */
};

/* Results lie in the arena, or are the caller's own keys where there are no
 * duplicates. PS_ENOMEM; PS_EARGUMENT for more than 2^31 keys. */
int dedup_keys(struct arena *arena, const uint64_t *keys, size_t n,
               struct dedup *d) MUST_USE;
/* [d->n, dim] in the arena: sums, or the last of each with `assign`. */
int dedup_values(struct arena *arena, const struct dedup *d, size_t n,
                 const float *values, size_t dim, bool assign,
                 const struct kern *kern, const float **out) MUST_USE;
/* Copies rows of `out` [n, dim] from each key's first place to its others. */
void dedup_spread(const struct dedup *d, size_t n, float *out, size_t dim);

#endif
