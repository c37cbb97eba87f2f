/* ckpt_stage.h - a small checkpoint whose every number can be worked out.
 *
 * Two lanes, 7 and 9, and three variables:
 *     1  STAGE_USER  hash64, dim 3, slots "acc" and "m"; a part of half of the
 *                    buckets on each lane; keys 1..n, each where its hash says
 *     2  "bias"      dense, dim 1, STAGE_BIAS rows in order, all on lane 7
 *     5  "table"     dense, dim 2, STAGE_TABLE rows with their numbers, in
 *                    falling order; half of the buckets on each lane
 * Number i of a row is stage_value(key, tensor, i), tensor 0 the values, 1 and
 * 2 the slots. One late frame, one chain, two windows on lane 7.
 */
#ifndef CKPT_STAGE_H
#define CKPT_STAGE_H

#include "ckpt/ckpt_folder.h"

#define STAGE_USER "user/\"\xc3\xa4\\"
enum { STAGE_BIAS = 5, STAGE_TABLE = 131072 + 3 };

float stage_value(uint64_t key, uint32_t tensor, uint32_t i);
/* Writes a checkpoint with n users; `table` rows of the third variable or, 0,
 * none of it. PS_OK, or what went wrong. folder: CKPT_NAME_MAX + 1 bytes. */
int stage_write(struct fs *fs, uint64_t cut, uint64_t base, const char *name,
                uint64_t n, uint64_t table, char *folder, struct err *e);

#endif
