/* ckpt_compact.h - an increment and all that it builds on become one whole
 * checkpoint: of the same cut, under the next term, with the same lanes, rows
 * and state. The others stay; who prunes takes it for theirs. */
#ifndef CKPT_COMPACT_H
#define CKPT_COMPACT_H

#include "ckpt/ckpt_folder.h"

struct ckpt_compacted {
    char folder[CKPT_NAME_MAX + 1];
    uint32_t n_links; /* checkpoints that it is made of */
    uint64_t rows;
};

/* list: of the fs; x: the increment, whole. Every block is checked when it is
 * read. keys_max: of increments that are in memory at once, about; 0: the
 * usual. progress: bytes read of those to be read. PS_EARGUMENT: it is no
 * increment. */
int ckpt_compact(struct fs *fs, const struct ckpt_list *list,
                 const struct ckpt_entry *x, uint64_t keys_max,
                 const struct ckpt_progress *progress,
                 struct ckpt_compacted *out, struct err *e) MUST_USE;

#endif
