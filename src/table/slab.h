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

/* PS_ELIMIT where the budget has no room for it, PS_ENOMEM. */
int slab_take(struct table_budget *b, size_t bytes, void **out) MUST_USE;
/* With the size it was taken with; NULL is allowed. */
void slab_give(struct table_budget *b, void *p, size_t bytes);
/* Takes a piece of new_bytes, moves the first old_bytes of *p into it, gives
 * *p back and sets it. On failure *p is as it was. */
int slab_replace(struct table_budget *b, void **p, size_t old_bytes,
                 size_t new_bytes) MUST_USE;

#endif
