/* rows.h - row blocks by number.
 *
 * rows_take gives a number, rows_address finds its block, rows_give makes the
 * number free again. Whoever changes a row (update, insert, evict, clear) goes
 * through the table, which calls rows_write_begin. Thread: the table's owner.
 */
#ifndef ROWS_H
#define ROWS_H

#include "base/base.h"
#include "table/table.h"

struct rows {
    uint8_t **slabs; /* slab i holds rows i << shift and on */
    uint32_t n_slabs;
    uint32_t room;     /* slab pointers that fit into `slabs` */
    uint32_t stride;   /* bytes of a block, a multiple of 16 */
    uint32_t shift;    /* a full slab has 1 << shift rows */
    uint32_t next;     /* this number and those above were never used, or
                          were the last ones and are free again */
    uint32_t free;     /* first of the free numbers below next */
    uint64_t capacity; /* rows that the slabs have room for */
    uint64_t n;        /* rows in use */
    uint64_t bytes;    /* taken from the budget */
    uint64_t writes;   /* rows that went through rows_write_begin */
    struct table_budget *budget;
};

/* Takes no memory yet. stride: a multiple of 16, at least 16. */
void rows_init(struct rows *r, uint32_t stride, struct table_budget *budget);
void rows_fini(struct rows *r);

/* One more row; its block is not cleared. May move the blocks of a small table.
 * PS_ENOMEM, PS_ELIMIT: nothing has changed. */
int rows_take(struct rows *r, uint32_t *row) MUST_USE;
/* Rows 0..n-1 of a store that has none, in memory of that size exactly. On
 * failure call rows_fini. */
int rows_take_all(struct rows *r, uint64_t n) MUST_USE;
void rows_give(struct rows *r, uint32_t row);

/* Counts the rows that are about to be changed; absent ones in the list are
 * passed over. Only table.c calls it, as a part of table_write_begin. */
void rows_write_begin(struct rows *r, const uint32_t *rows, size_t n);

static inline uint8_t *rows_address(const struct rows *r, uint32_t row)
{
    uint32_t in_slab = row & ((UINT32_C(1) << r->shift) - 1);

    return r->slabs[row >> r->shift] + (size_t)in_slab * r->stride;
}

#endif
