/* chunk.h - pieces of 16 KiB for the key map.
 *
 * They are cut from slabs that double from one piece to 2 MiB, so that a small
 * map is small and a large one lies in huge pages. A piece given back is the
 * next one taken; the slabs go back at the end, all together.
 */
#ifndef CHUNK_H
#define CHUNK_H

#include "base/base.h"
#include "table/table.h"

enum { CHUNK_BYTES = 16384 };

struct chunk_pool {
    uint8_t **slabs; /* slab i has 1 << min(i, 7) pieces */
    uint32_t n_slabs;
    uint32_t room;  /* pointers that fit into `slabs` */
    uint32_t used;  /* pieces cut from the newest slab */
    void *free;     /* list through the first 8 bytes of the pieces */
    uint64_t bytes; /* taken from the budget */
    struct table_budget *budget;
};

void chunk_init(struct chunk_pool *p, struct table_budget *budget);
void chunk_fini(struct chunk_pool *p);
/* Aligned to 64 bytes, not cleared. PS_ENOMEM, PS_ELIMIT. */
int chunk_take(struct chunk_pool *p, void **chunk) MUST_USE;
void chunk_give(struct chunk_pool *p, void *chunk);

#endif
