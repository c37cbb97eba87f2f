/* See dedup.h. One pass over an open-addressed table in the arena. */
#include "client/dedup.h"

#include "base/hash.h"

int dedup_keys(struct arena *arena, const uint64_t *keys, size_t n,
               struct dedup *d)
{
    size_t room = 16;
    uint32_t *slots, *first, *of;
    uint64_t *distinct;
    size_t n_distinct = 0;

    *d = (struct dedup){.n = n, .keys = keys};
    if (n > INT32_MAX) {
        return PS_EARGUMENT;
    }
    if (n < 2) {
        return PS_OK;
    }
    while (room < n * 2) {
        room *= 2;
    }
    slots = arena_take(arena, room * sizeof(*slots));
    first = arena_take(arena, n * sizeof(*first));
    of = arena_take(arena, n * sizeof(*of));
    distinct = arena_take(arena, n * sizeof(*distinct));
    if (slots == NULL || first == NULL || of == NULL || distinct == NULL) {
        return PS_ENOMEM;
    }
    memset(slots, 0xff, room * sizeof(*slots));
    for (size_t i = 0; i < n; i++) {
        size_t at = (size_t)hash_key(keys[i]) & (room - 1);

        while (slots[at] != UINT32_MAX && distinct[slots[at]] != keys[i]) {
            at = (at + 1) & (room - 1);
        }
        if (slots[at] == UINT32_MAX) {
            slots[at] = (uint32_t)n_distinct;
            distinct[n_distinct] = keys[i];
            first[n_distinct] = (uint32_t)i;
            n_distinct++;
        }
        of[i] = slots[at];
    }
    if (n_distinct < n) {
        *d = (struct dedup){true, n_distinct, distinct, first, of};
    }
    return PS_OK;
}

int dedup_values(struct arena *arena, const struct dedup *d, size_t n,
                 const float *values, size_t dim, bool assign,
                 const struct kern *kern, const float **out)
{
    float *sums;

    if (!d->has_duplicates) {
        *out = values;
        return PS_OK;
    }
    sums = arena_take(arena, d->n * dim * sizeof(*sums));
    if (sums == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        float *to = sums + (size_t)d->of[i] * dim;

        if (assign || d->first[d->of[i]] == i) {
            memcpy(to, values + i * dim, dim * sizeof(*to));
        } else {
            kern->add_into(to, values + i * dim, dim);
        }
    }
    *out = sums;
    return PS_OK;
}

void dedup_spread(const struct dedup *d, size_t n, float *out, size_t dim)
{
    if (!d->has_duplicates) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        size_t from = d->first[d->of[i]];

        if (from != i) {
            memcpy(out + i * dim, out + from * dim, dim * sizeof(*out));
        }
    }
}
