/* ckpt_rows.h - rows of one part become blocks of its tensors.
 *
 * Rows are added in any order (dense without keys: in order, asserted) and fill
 * blocks one after another; a block that is full is taken, written, and given
 * back:
 *
 *     ckpt_rows_reserve(w, n)          may fail: before n rows may come
 *     ckpt_rows_add(w, key, floats)    n times; no memory, no failure
 *     while ((b = ckpt_rows_take(w)) != NULL) {
 *         write b->pieces[0..b->n_pieces); when all are written:
 *         ckpt_rows_give(w, b);
 *     }
 *
 * The last block is full when the row count that was fixed is reached; more
 * rows than that are an assertion. A block of no rows does not exist. Taking a
 * block puts the checksums of its pieces into the tensors of the file.
 *
 * Memory: one block holds CKPT_BLOCK_BYTES or less of each tensor. Blocks that
 * were given back are used again; ckpt_rows_bytes says what is held. One
 * thread.
 */
#ifndef CKPT_ROWS_H
#define CKPT_ROWS_H

#include "ckpt/ckpt.h"

struct ckpt_piece {
    uint64_t offset; /* in the file of rows */
    const void *data;
    size_t size;
};

struct ckpt_filled {
    struct ckpt_filled *next;
    struct ckpt_rows *of;
    uint64_t rows;
    uint32_t block; /* of the part's tensors */
    uint32_t n_pieces;
    struct ckpt_piece pieces[CKPT_PIECES_MAX];
};

/* part: of the file, after ckpt_layout; both outlive it. PS_ENOMEM. */
int ckpt_rows_new(struct ckpt_rows **w, const struct ckpt_part *part,
                  struct ckpt_file *file) MUST_USE;
/* Blocks that were taken and not given back die with it. */
void ckpt_rows_free(struct ckpt_rows *w);
/* Frees one block that is not in use any more, of one that is done; false:
 * there is none. */
bool ckpt_rows_trim(struct ckpt_rows *w);
/* The first part of ckpt_rows_free: one block of any kind; false: there is
 * none. */
bool ckpt_rows_drop(struct ckpt_rows *w);
/* Rows that may be added now. */
uint64_t ckpt_rows_room(const struct ckpt_rows *w);
/* Makes room for n rows, or for all that are still to come if these are fewer.
 * PS_ENOMEM: what was there is there still. */
int ckpt_rows_reserve(struct ckpt_rows *w, uint64_t n) MUST_USE;
/* rows: of each, dim values, then dim floats of each slot; NULL of erased ones.
 * There is room for them. Dense rows come in order. */
void ckpt_rows_add(struct ckpt_rows *w, const uint64_t *keys,
                   const uint8_t *const *rows, size_t n);
struct ckpt_filled *ckpt_rows_take(struct ckpt_rows *w);
/* The same without the checksums: ckpt_rows_sum brings them before the block is
 * given back. */
struct ckpt_filled *ckpt_rows_take_unsummed(struct ckpt_rows *w);
void ckpt_rows_sum(const struct ckpt_filled *b, uint32_t piece, uint64_t sum);
void ckpt_rows_give(struct ckpt_rows *w, struct ckpt_filled *b);
/* Rows added so far, and whether all came and all blocks were taken. */
uint64_t ckpt_rows_added(const struct ckpt_rows *w);
bool ckpt_rows_is_done(const struct ckpt_rows *w);
/* Memory that it holds, taken blocks with it. */
uint64_t ckpt_rows_bytes(const struct ckpt_rows *w);
/* What ckpt_rows_reserve would take for n rows. */
uint64_t ckpt_rows_lacks(const struct ckpt_rows *w, uint64_t n);

#endif
