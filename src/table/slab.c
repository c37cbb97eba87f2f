/* slab.c - the memory of tables, counted against the shard's budget. */
#include "table/slab.h"

#include "base/mem.h"

int slab_take(struct table_budget *b, size_t bytes, void **out)
{
    void *p;

    ASSERT(bytes > 0);
    if (b->limit != 0 && (b->used > b->limit || bytes > b->limit - b->used)) {
        return PS_ELIMIT;
    }
    p = bytes >= SLAB_HUGE_BYTES ? mem_map(bytes, true)
                                 : mem_try_aligned(SLAB_ALIGN, bytes);
    if (p == NULL) {
        return PS_ENOMEM;
    }
    b->used += bytes;
    *out = p;
    return PS_OK;
}

void slab_give(struct table_budget *b, void *p, size_t bytes)
{
    if (p == NULL) {
        return;
    }
    ASSERT(b->used >= bytes);
    b->used -= bytes;
    if (bytes >= SLAB_HUGE_BYTES) {
        mem_unmap(p, bytes);
    } else {
        mem_free(p);
    }
}

int slab_replace(struct table_budget *b, void **p, size_t old_bytes,
                 size_t new_bytes)
{
    void *fresh;
    int rc = slab_take(b, new_bytes, &fresh);

    if (rc != PS_OK) {
        return rc;
    }
    if (old_bytes > 0) {
        memcpy(fresh, *p, old_bytes);
        slab_give(b, *p, old_bytes);
    }
    *p = fresh;
    return PS_OK;
}
