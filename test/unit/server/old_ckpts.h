/* old_ckpts.h - what the scheduler does at the end of a save: old ones go */
#ifndef OLD_CKPTS_H
#define OLD_CKPTS_H

#include "ckpt/ckpt_folder.h"

/* Removes all but the newest `keep` that have no base, the increments on them,
 * and what older ones left unfinished. Of one cut only the largest term's
 * stays: it was compacted to that. */
int old_ckpts_remove(struct fs *fs, uint32_t keep, uint32_t *n_removed,
                     struct err *e) MUST_USE;

#endif
