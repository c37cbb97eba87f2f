/* fs.h - the seam to a file system, as small as the coordination store needs.
 *
 * Two versions: fs_file (the real one) and fs_memory (a map of names to bytes,
 * for tests and the simulator). Calls block. Paths are absolute or relative to
 * the process; a name has no trailing slash. Every call returns 0 or PS_E*:
 * PS_ENOTFOUND (no such file or folder), PS_EEXIST, PS_EIO with the reason in
 * e (which may be NULL), PS_ENOMEM. An fsync that failed is never tried again
 * on the same descriptor: the caller must take the file for lost.
 */
#ifndef FS_H
#define FS_H

#include "base/buf.h"
#include "base/err.h"

struct fs;

struct fs_ops {
    /* Creates a file that must not exist, writes all bytes, and with `sync`
     * makes them durable before it returns. On failure no file is left. */
    int (*write_new)(struct fs *fs, const char *path, const void *data,
                     size_t size, bool sync, struct err *e);
    /* Appends the whole file to out; more than `limit` bytes is PS_EIO. */
    int (*read)(struct fs *fs, const char *path, size_t limit, struct buf *out,
                struct err *e);
    /* A second name for a file; PS_EEXIST if `to` is there. Atomic. */
    int (*link)(struct fs *fs, const char *from, const char *to, struct err *e);
    int (*rename)(struct fs *fs, const char *from, const char *to,
                  struct err *e);
    int (*unlink)(struct fs *fs, const char *path, struct err *e);
    /* Creates a folder and its parents; there already is fine. */
    int (*mkdir)(struct fs *fs, const char *path, struct err *e);
    int (*rmdir)(struct fs *fs, const char *path, struct err *e);
    /* Makes the names of a folder durable. */
    int (*sync_dir)(struct fs *fs, const char *path, struct err *e);
    /* Calls fn for each name in a folder but . and .., in any order; stops
     * when fn returns false. */
    int (*list)(struct fs *fs, const char *path,
                bool (*fn)(void *context, const char *name), void *context,
                struct err *e);
    /* PS_OK if the folder is on a local file system; PS_EARGUMENT and the
     * reason where it is on a network one. */
    int (*is_local)(struct fs *fs, const char *path, struct err *e);
};

struct fs {
    const struct fs_ops *ops;
};

/* The real one; it has no state. Threads: any. */
struct fs *fs_file(void);

/* In memory. Threads: one at a time. */
struct fs *fs_memory_new(void);
void fs_memory_free(struct fs *fs);

#endif
