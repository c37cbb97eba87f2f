/* erased.c - the keys that were erased since the last snapshot, in blocks. */
#include "table/erased.h"

#include "table/slab.h"

void erased_init(struct erased *e, struct table_budget *budget)
{
    *e = (struct erased){.budget = budget};
}

bool erased_give(struct erased *e, uint64_t n)
{
    for (; n > 0 && e->first != NULL; n--) {
        struct erased_block *b = e->first;

        e->first = b->next;
        e->bytes -= sizeof(*b);
        slab_give(e->budget, b, sizeof(*b));
    }
    return e->first != NULL;
}

void erased_fini(struct erased *e)
{
    while (erased_give(e, UINT64_MAX)) {
    }
    ASSERT(e->bytes == 0);
    erased_init(e, e->budget);
}

int erased_reserve(struct erased *e, uint64_t n)
{
    while (e->room < n) {
        struct erased_block *b;
        void *p;
        int rc = slab_take(e->budget, sizeof(*b), &p);

        if (rc != PS_OK) {
            return rc;
        }
        b = p;
        b->next = NULL;
        b->n = 0;
        if (e->last == NULL) {
            e->first = b;
            e->tail = b;
        } else {
            e->last->next = b;
        }
        e->last = b;
        e->room += ERASED_BLOCK_KEYS;
        e->bytes += sizeof(*b);
    }
    return PS_OK;
}

void erased_add(struct erased *e, uint64_t key)
{
    ASSERT(e->room > 0);
    if (e->tail->n == ERASED_BLOCK_KEYS) {
        e->tail = e->tail->next;
    }
    e->tail->keys[e->tail->n] = key;
    e->tail->n++;
    e->n++;
    e->room--;
}

/* Takes over a block with keys: in front, so that the tail goes on. */
static void link_block(struct erased *e, struct erased_block *b)
{
    if (e->last == NULL) {
        e->last = b;
        e->tail = b;
        e->room = ERASED_BLOCK_KEYS - b->n;
    }
    b->next = e->first;
    e->first = b;
    e->n += b->n;
    e->bytes += sizeof(*b);
}

/* A block that is less than half full is poured into those of `to`, or saves
 * that fail again and again would leave one for each. */
bool erased_merge(struct erased *to, struct erased *from, uint64_t n)
{
    struct erased_block *b = from->first;

    for (; n > 0 && b != NULL && b->n > 0; n--) {
        struct erased_block *next = b->next;

        from->first = next;
        from->bytes -= sizeof(*b);
        if (b->n < ERASED_BLOCK_KEYS / 2 && b->n <= to->room) {
            for (uint64_t i = 0; i < b->n; i++) {
                erased_add(to, b->keys[i]);
            }
            slab_give(from->budget, b, sizeof(*b));
        } else {
            link_block(to, b);
        }
        b = next;
    }
    return b != NULL && b->n > 0;
}
