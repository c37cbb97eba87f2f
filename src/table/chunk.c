/* chunk.c - pieces of 16 KiB for the key map. */
#include "table/chunk.h"

#include "table/slab.h"

enum { SLAB_SHIFT_MAX = 7, FIRST_ROOM = 8 };

_Static_assert(CHUNK_BYTES << SLAB_SHIFT_MAX == SLAB_HUGE_BYTES,
               "a full slab is a huge page");

static size_t slab_chunks(uint32_t slab)
{
    return (size_t)1 << base_min_u64(slab, SLAB_SHIFT_MAX);
}

void chunk_init(struct chunk_pool *p, struct table_budget *budget)
{
    *p = (struct chunk_pool){.budget = budget};
}

void chunk_fini(struct chunk_pool *p)
{
    for (uint32_t i = 0; i < p->n_slabs; i++) {
        slab_give(p->budget, p->slabs[i], slab_chunks(i) * CHUNK_BYTES);
    }
    slab_give(p->budget, p->slabs, p->room * sizeof(*p->slabs));
    chunk_init(p, p->budget);
}

static int reserve_pointer(struct chunk_pool *p)
{
    uint32_t room = p->room == 0 ? FIRST_ROOM : 2 * p->room;
    void *slabs = p->slabs;
    int rc;

    if (p->n_slabs < p->room) {
        return PS_OK;
    }
    rc = slab_replace(p->budget, &slabs, p->room * sizeof(*p->slabs),
                      room * sizeof(*p->slabs));
    if (rc != PS_OK) {
        return rc;
    }
    p->bytes += (room - p->room) * sizeof(*p->slabs);
    p->slabs = slabs;
    p->room = room;
    return PS_OK;
}

static int add_slab(struct chunk_pool *p)
{
    size_t bytes = slab_chunks(p->n_slabs) * CHUNK_BYTES;
    void *slab;
    int rc = reserve_pointer(p);

    if (rc != PS_OK) {
        return rc;
    }
    rc = slab_take(p->budget, bytes, &slab);
    if (rc != PS_OK) {
        return rc;
    }
    p->slabs[p->n_slabs] = slab;
    p->n_slabs++;
    p->used = 0;
    p->bytes += bytes;
    return PS_OK;
}

int chunk_take(struct chunk_pool *p, void **chunk)
{
    if (p->free != NULL) {
        *chunk = p->free;
        memcpy(&p->free, *chunk, sizeof(p->free));
        return PS_OK;
    }
    if (p->n_slabs == 0 || p->used == slab_chunks(p->n_slabs - 1)) {
        int rc = add_slab(p);

        if (rc != PS_OK) {
            return rc;
        }
    }
    *chunk = p->slabs[p->n_slabs - 1] + (size_t)p->used * CHUNK_BYTES;
    p->used++;
    return PS_OK;
}

void chunk_give(struct chunk_pool *p, void *chunk)
{
    memcpy(chunk, &p->free, sizeof(p->free));
    p->free = chunk;
}
