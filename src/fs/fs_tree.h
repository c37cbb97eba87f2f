/* fs_tree.h - the real file system beneath one folder, which no name leaves.
 *
 * Names have been looked at by fs_url: they are relative and have no `..`.
 * Threads: any.
 */
#ifndef FS_TREE_H
#define FS_TREE_H

#include "fs/fs.h"

/* root: as the process sees it; copied. PS_ENOMEM. */
int fs_tree_new(struct fs **fs, const char *root, struct err *e) MUST_USE;
void fs_tree_free(struct fs *fs);

#endif
