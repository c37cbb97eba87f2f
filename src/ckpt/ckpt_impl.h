/* ckpt_impl.h - what the files of this folder share; for no other folder. */
#ifndef CKPT_IMPL_H
#define CKPT_IMPL_H

#include "ckpt/ckpt.h"
#include "ckpt/ckpt_json.h"

/* Bytes of one number of a dtype; 0 where we know none of that name. */
size_t ckpt_dtype_bytes(const char *dtype);
/* Fills in `bytes` of a tensor from its shape; false: more than 64 bits. */
bool ckpt_tensor_size(struct ckpt_tensor *t) MUST_USE;
/* Rows of a block for rows of so many bytes. */
uint64_t ckpt_block_rows(uint64_t row_bytes);
/* Sets block_rows and makes room for the sums, all 0. PS_ENOMEM, PS_ELIMIT. */
int ckpt_tensor_sums(struct ckpt_tensor *t, uint64_t block_rows,
                     struct arena *arena) MUST_USE;
/* Given the tensors with their offsets from the end of the header, and in
 * header_bytes how long it is at least: appends the header to out, completes
 * the file and moves the offsets. PS_ELIMIT, PS_ENOMEM. */
int ckpt_header_encode(struct ckpt_file *file, struct buf *out) MUST_USE;
/* Whether the tensors fill [header_bytes, size) without a gap. PS_EDATALOSS,
 * PS_ENOMEM. */
int ckpt_file_check(const struct ckpt_file *file, struct arena *arena,
                    struct err *e) MUST_USE;

/* Tensors of a part, and the name, dtype and shape of its which-th, the name in
 * the arena. */
uint32_t ckpt_part_tensors(const struct ckpt_part *p);
int ckpt_part_tensor(const struct ckpt_part *p, uint32_t which,
                     struct arena *arena, struct ckpt_tensor *t) MUST_USE;

/* A copy of a text in the arena; NULL: out of memory. */
const char *ckpt_text(struct arena *arena, const char *text) MUST_USE;

#endif
