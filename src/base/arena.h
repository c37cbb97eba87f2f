/* arena.h - memory of one request: taken in pieces, given back all at once.
 *
 * arena_take returns 16-byte aligned memory valid until arena_reset. Blocks are
 * kept for the next request up to 1 MiB. Under ASan freed space is poisoned.
 */
#ifndef ARENA_H
#define ARENA_H

#include "base.h"

struct arena_block;
struct arena {
    struct arena_block *blocks;
    size_t used; /* of the newest block */
};

void arena_init(struct arena *a);
void arena_fini(struct arena *a);
void *arena_take(struct arena *a, size_t bytes) MUST_USE;
void arena_reset(struct arena *a);

#endif
