/* slab.c - the memory of tables, counted against the shard's budget. */
#include "table/slab.h"

#include "base/mem.h"

static void empty(struct slab_stock *s)
{
    while (s->n > 0) {
        s->n--;
        mem_unmap(s->pieces[s->n], s->bytes);
    }
    s->bytes = 0;
}

/* Puts the stock of a size in front; that asked for longest ago goes. */
static struct slab_stock *stock_of(struct slab_ahead *a, size_t bytes)
{
    struct slab_stock found;
    size_t at = 0;

    while (at < SLAB_AHEAD_SIZES - 1 && a->stocks[at].bytes != bytes) {
        at++;
    }
    if (a->stocks[at].bytes != bytes) {
        empty(&a->stocks[at]);
    }
    found = a->stocks[at];
    found.bytes = bytes;
    memmove(&a->stocks[1], &a->stocks[0], at * sizeof(found));
    a->stocks[0] = found;
    return &a->stocks[0];
}

/* A piece from the stock, or NULL; and asks for the next. */
static void *take_ahead(struct slab_ahead *a, size_t bytes)
{
    struct slab_stock *s = stock_of(a, bytes);
    void *p = NULL;

    if (s->n > 0) {
        s->n--;
        p = s->pieces[s->n];
    }
    a->want(a);
    return p;
}

size_t slab_ahead_short(const struct slab_ahead *a)
{
    for (size_t i = 0; i < SLAB_AHEAD_SIZES; i++) {
        const struct slab_stock *s = &a->stocks[i];

        if (s->bytes > 0 && s->n < SLAB_AHEAD_PIECES) {
            return s->bytes;
        }
    }
    return 0;
}

void slab_ahead_put(struct slab_ahead *a, void *p, size_t bytes)
{
    for (size_t i = 0; i < SLAB_AHEAD_SIZES; i++) {
        struct slab_stock *s = &a->stocks[i];

        if (s->bytes == bytes && s->n < SLAB_AHEAD_PIECES) {
            s->pieces[s->n] = p;
            s->n++;
            return;
        }
    }
    mem_unmap(p, bytes);
}

void slab_ahead_clear(struct slab_ahead *a)
{
    for (size_t i = 0; i < SLAB_AHEAD_SIZES; i++) {
        empty(&a->stocks[i]);
    }
}

static void *take_large(struct table_budget *b, size_t bytes)
{
    void *p = b->ahead != NULL ? take_ahead(b->ahead, bytes) : NULL;

    return p != NULL ? p : mem_map(bytes, true);
}

int slab_take(struct table_budget *b, size_t bytes, void **out)
{
    void *p;

    ASSERT(bytes > 0);
    if (b->limit != 0 && (b->used > b->limit || bytes > b->limit - b->used)) {
        return PS_ELIMIT;
    }
    p = bytes >= SLAB_HUGE_BYTES ? take_large(b, bytes)
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
