/* erased.h - the keys that were erased since the last snapshot, in blocks.
 *
 * Room is reserved where that may fail, and then keys are added where nothing
 * may. Counted in the table's budget. Thread: the table's owner.
 */
#ifndef ERASED_H
#define ERASED_H

#include "base/base.h"
#include "table/table.h"

enum { ERASED_BLOCK_KEYS = 1022 };

struct erased_block {
    struct erased_block *next;
    uint64_t n; /* 0: so have those behind it */
    uint64_t keys[ERASED_BLOCK_KEYS];
};

struct erased {
    struct erased_block *first;
    struct erased_block *tail; /* being filled; those behind it are empty */
    struct erased_block *last;
    uint64_t n;     /* keys */
    uint64_t room;  /* for so many more */
    uint64_t bytes; /* taken from the budget */
    struct table_budget *budget;
};

/* Takes no memory yet. */
void erased_init(struct erased *e, struct table_budget *budget);
void erased_fini(struct erased *e);
/* Room for n more keys. PS_ENOMEM, PS_ELIMIT: memory taken on the way is kept
 * for the next time. */
int erased_reserve(struct erased *e, uint64_t n) MUST_USE;
/* There is room. */
void erased_add(struct erased *e, uint64_t key);
/* Moves keys of `from` to `to`, those of up to n blocks; takes no memory.
 * False: none are left. */
bool erased_merge(struct erased *to, struct erased *from, uint64_t n) MUST_USE;
/* Gives up to n blocks back, the list being of no use from the first call on;
 * false: none is left, and erased_fini has nothing to do. */
bool erased_give(struct erased *e, uint64_t n) MUST_USE;

#endif
