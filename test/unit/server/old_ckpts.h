/* old_ckpts.h - the scheduler's part of a save's end, for tests without one: old
 * checkpoints go */
#ifndef OLD_CKPTS_H
#define OLD_CKPTS_H

#include "ckpt/ckpt_folder.h"

/* Removes all but the newest `keep` that have no base, the increments on them,
 * and what older ones left unfinished. Of one cut only the largest term's
 * stays: it was compacted to that. */
int old_ckpts_remove(struct fs *fs, uint32_t keep, uint32_t *n_removed,
                     struct err *e) MUST_USE;

#endif
