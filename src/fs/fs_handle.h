/* fs_handle.h - an open file of the real file system.
 *
 * The functions but the first are operations of struct fs_ops as they are;
 * their fs is not used. A write or fsync that failed is the last: the file is
 * lost, and every later call but close says so, and why (fs.h). Threads: one
 * at a time.
 */
#ifndef FS_HANDLE_H
#define FS_HANDLE_H

#include "fs/fs_at.h"

int fs_handle_open(const struct fs_place *p, enum fs_open_how how,
                   struct fs_open_file **file, struct err *e) MUST_USE;
int fs_handle_write(struct fs *fs, struct fs_open_file *file, uint64_t offset,
                    const void *data, size_t size, struct err *e) MUST_USE;
int fs_handle_read(struct fs *fs, struct fs_open_file *file, uint64_t offset,
                   void *data, size_t size, size_t *got,
                   struct err *e) MUST_USE;
int fs_handle_size(struct fs *fs, struct fs_open_file *file, uint64_t *size,
                   struct err *e) MUST_USE;
int fs_handle_sync(struct fs *fs, struct fs_open_file *file,
                   struct err *e) MUST_USE;
int fs_handle_close(struct fs *fs, struct fs_open_file *file,
                    struct err *e) MUST_USE;

#endif
