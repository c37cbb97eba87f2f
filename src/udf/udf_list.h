/* udf_list.h - the UDFs that come with ps-plus, and what they share.
 *
 * Only files of this folder include it. A new UDF is one struct here and one
 * row of the table in udf.c.
 */
#ifndef UDF_LIST_H
#define UDF_LIST_H

#include "udf/udf.h"

extern const struct udf udf_dense_slice;
extern const struct udf udf_hash_slice;
extern const struct udf udf_hash_slice_insert;
extern const struct udf udf_trans_slice;
extern const struct udf udf_assign;
extern const struct udf udf_assign_add;
extern const struct udf udf_momentum;
extern const struct udf udf_adagrad;
extern const struct udf udf_ftrl;

/* Rows of a block: its addresses are 4 KiB of the stack, and what a kernel
 * waits for its first row is spread over all of them. */
enum { UDF_BLOCK = 512 };

/* The rows of a call, a block at a time: clear it, then call udf_block_next
 * until it is false. */
struct udf_block {
    size_t at; /* the first row's place in the call */
    size_t n;
    const uint32_t *rows;
    uint8_t *addresses[UDF_BLOCK]; /* NULL where the row is absent */
    uint32_t numbers[UDF_BLOCK];   /* `rows` of a dense table */
};
bool udf_block_next(const struct udf_call *c, struct udf_block *b);

/* The same, and the rows are announced as about to be written. */
bool udf_write_next(struct udf_call *c, struct udf_block *b);

/* prepare of every updater: sizes, slots, parameters. */
int udf_prepare_update(const struct udf *u, struct udf_call *c) MUST_USE;

/* What udf_find finds beside those that are built in; before there are threads.
 * Borrowed for good. */
void udf_set_plugged(const struct udf *list, uint32_t n);

/* The n given parameters, the others 0, in full[u->n_params]; then checked. */
int udf_params(const struct udf *u, const double *params, uint32_t n,
               double *full, const char **why) MUST_USE;

#endif
