/* marks.h - a bit for each row number, in memory that grows without a copy.
 *
 * All bits are clear at first. The memory is counted in the table's budget.
 * Thread: the table's owner.
 */
#ifndef MARKS_H
#define MARKS_H

#include "base/base.h"
#include "table/table.h"

enum { MARKS_FIRST_ROWS = 4096, MARKS_PARTS = 21 };

struct marks {
    uint64_t *parts[MARKS_PARTS]; /* part 0 is for the first 4,096 rows, each
                                     other one for as many as all before it */
    uint32_t n_parts;
    uint64_t room;  /* for the rows below it */
    uint64_t n;     /* bits that are set */
    uint64_t bytes; /* taken from the budget */
    size_t given;   /* of the last part's: marks_give */
    struct table_budget *budget;
};

/* Takes no memory yet. */
void marks_init(struct marks *m, struct table_budget *budget);
void marks_fini(struct marks *m);
/* Counts its memory in another budget from now on. */
void marks_charge(struct marks *m, struct table_budget *budget);
/* Room for rows 0..n-1. PS_ENOMEM, PS_ELIMIT: the marks are as before (memory
 * taken on the way may be kept). Costs a few system calls whatever n is. */
int marks_reserve(struct marks *m, uint64_t n) MUST_USE;
/* Sets in `to`, which has as much room, what is set in `from`: the next `words`
 * words of it, from *at on, 0 at first. False: that was the last of them. */
bool marks_merge(struct marks *to, const struct marks *from, uint64_t *at,
                 uint64_t words) MUST_USE;
/* Gives some memory back, the marks being of no use from the first call on;
 * false: there is no more, and marks_fini has nothing to do. */
bool marks_give(struct marks *m, size_t bytes) MUST_USE;

/* The part that a row's bit is in, and its first row. */
static inline uint32_t marks_part(uint32_t row)
{
    uint32_t firsts = row / MARKS_FIRST_ROWS;

    return 63 - (uint32_t)__builtin_clzll(2 * (uint64_t)firsts + 1);
}

static inline uint32_t marks_before(uint32_t part)
{
    return (UINT32_C(1) << part >> 1) * MARKS_FIRST_ROWS;
}

/* The word of a row's bit; the row is below the room. */
static inline uint64_t *marks_word(const struct marks *m, uint32_t row)
{
    uint32_t part = marks_part(row);

    return &m->parts[part][(row - marks_before(part)) / 64];
}

static inline bool marks_get(const struct marks *m, uint32_t row)
{
    DEBUG_ASSERT(row < m->room);
    return (*marks_word(m, row) >> row % 64 & 1) != 0;
}

static inline void marks_set(struct marks *m, uint32_t row)
{
    uint64_t *word = marks_word(m, row);
    uint64_t old = *word;

    DEBUG_ASSERT(row < m->room);
    *word = old | UINT64_C(1) << row % 64;
    m->n += 1 - (old >> row % 64 & 1);
}

/* Rows beyond the room are clear. */
static inline void marks_clear(struct marks *m, uint32_t row)
{
    if (row < m->room && marks_get(m, row)) {
        *marks_word(m, row) &= ~(UINT64_C(1) << row % 64);
        m->n--;
    }
}

#endif
