/* slab.h - the memory of tables, counted against the shard's budget.
 *
 * Every piece is 64-byte aligned and not cleared; pieces of 2 MiB and more are
 * huge pages. All that a table holds was taken here, so `used` of the budget is
 * the truth. Thread: the owner of the budget.
 */
#ifndef SLAB_H
#define SLAB_H

#include "base/base.h"
#include "table/table.h"

enum { SLAB_ALIGN = 64, SLAB_HUGE_BYTES = 2 << 20 };

/* Large pieces whose pages are there already. The first touch of a piece takes
 * the kernel 0.3 ms, and several where a virtual machine's host has to find the
 * memory; here somebody else has waited for that. The stock is not in `used`: a
 * few pieces of each of the sizes asked for last. Thread: the budget's. */
enum { SLAB_AHEAD_SIZES = 4, SLAB_AHEAD_PIECES = 4 };
struct slab_ahead {
    /* Something has become short: to be made with mem_map, touched, and brought
     * with slab_ahead_put. */
    void (*want)(struct slab_ahead *a);
    struct slab_stock {
        size_t bytes; /* of a piece; 0: unused */
        uint32_t n;
        void *pieces[SLAB_AHEAD_PIECES];
    } stocks[SLAB_AHEAD_SIZES]; /* that asked for last first */
};

/* The size of a piece that is wanted; 0: none. */
size_t slab_ahead_short(const struct slab_ahead *a);
/* Takes over a piece of mem_map; where it has no place it goes back. */
void slab_ahead_put(struct slab_ahead *a, void *p, size_t bytes);
/* Gives all back and forgets the sizes. */
void slab_ahead_clear(struct slab_ahead *a);

/* PS_ELIMIT where the budget has no room for it, PS_ENOMEM. */
int slab_take(struct table_budget *b, size_t bytes, void **out) MUST_USE;
/* With the size it was taken with; NULL is allowed. */
void slab_give(struct table_budget *b, void *p, size_t bytes);
/* Takes a piece of new_bytes, moves the first old_bytes of *p into it, gives
 * *p back and sets it. On failure *p is as it was. */
int slab_replace(struct table_budget *b, void **p, size_t old_bytes,
                 size_t new_bytes) MUST_USE;

#endif
