/* map.h - a small hash map from a u64 to a pointer, for things that are counted
 * in thousands: connections, sessions, chains. Not for rows.
 *
 * Open addressing, linear probing, at most 3/4 full, a large one at least 1/8.
 * Iteration order depends only on the keys and the history of calls. One
 * thread.
 */
#ifndef MAP_H
#define MAP_H

#include "base.h"

struct map_slot {
    uint64_t key;
    void *value; /* NULL: free */
};

struct map {
    struct map_slot *slots;
    size_t room; /* 0 or a power of two */
    size_t n;
};

void map_init(struct map *m);
void map_fini(struct map *m); /* values are the caller's */
void *map_get(const struct map *m, uint64_t key);
/* Sets or replaces; value must not be NULL. PS_ENOMEM. */
int map_put(struct map *m, uint64_t key, void *value) MUST_USE;
/* Takes a key out and returns its value, or NULL. */
void *map_take(struct map *m, uint64_t key);
/* Walks: start with *i = 0; NULL at the end. No changes while walking. */
void *map_next(const struct map *m, size_t *i);

#endif
