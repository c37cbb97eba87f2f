/* ckpt_other.h - tensors of a checkpoint that no server reads.
 *
 * lane-<lane>.other.safetensors, the third file of an index: what was imported
 * and cannot be served, or has no place in our rows. Any dtype that we know,
 * up to CKPT_SHAPE_MAX dimensions. Its checksums are in the index as those of
 * the other files. Blocking.
 */
#ifndef CKPT_OTHER_H
#define CKPT_OTHER_H

#include "ckpt/ckpt_folder.h"

struct ckpt_other;

/* tensors[n]: names, dtypes, shapes, block_rows (0: as many as make a block);
 * they are copied. file has its name; it is completed here and by the writing,
 * and must live as long. PS_ELIMIT where a row is larger than a block may be,
 * and as ckpt_layout. */
int ckpt_other_new(struct ckpt_other **o, struct fs *fs, const char *folder,
                   struct ckpt_file *file, const struct ckpt_tensor *tensors,
                   uint32_t n, struct arena *arena, struct err *e) MUST_USE;
/* The next bytes of a tensor. More than it has is asserted. */
int ckpt_other_put(struct ckpt_other *o, uint32_t tensor, const void *data,
                   size_t size, struct err *e) MUST_USE;
/* All bytes must have come (PS_EARGUMENT); syncs. */
int ckpt_other_end(struct ckpt_other *o, struct err *e) MUST_USE;
void ckpt_other_free(struct ckpt_other *o);

/* The file of manifest.lanes[i]; NULL: it has none. */
const struct ckpt_file *ckpt_other_file(const struct ckpt *c, uint32_t i);
/* A tensor by its name in whichever lane; NULL: there is none. */
const struct ckpt_tensor *ckpt_other_find(const struct ckpt *c,
                                          const char *name,
                                          const struct ckpt_file **file);

#endif
