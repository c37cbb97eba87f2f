/* fs.h - the seam to a file system.
 *
 * Versions: fs_file (the real one), fs_memory (a map of names to bytes), and
 * fs_url, which gives one of them by its URL, below a root that no name leaves.
 * Calls block. A name has no trailing slash. Every call returns 0 or PS_E*:
 * PS_ENOTFOUND (no such file or folder), PS_EEXIST, PS_EIO with the reason in
 * e (which may be NULL), PS_ENOMEM. An fsync that failed is never tried again
 * on the same descriptor: the file is taken for lost, and every later call on
 * it but close is PS_EIO.
 */
#ifndef FS_H
#define FS_H

#include "base/buf.h"
#include "base/err.h"

struct fs;
struct fs_open_file; /* each version has its own */

enum fs_open_how {
    FS_READ,  /* PS_ENOTFOUND where there is none */
    FS_CREATE /* for writing and reading; PS_EEXIST where there is one */
};

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

    /* A file by pieces. The handle is the caller's until close. */
    int (*open)(struct fs *fs, const char *path, enum fs_open_how how,
                struct fs_open_file **file, struct err *e);
    /* All of it or an error; a gap before `offset` reads as zeros. */
    int (*write_at)(struct fs *fs, struct fs_open_file *file, uint64_t offset,
                    const void *data, size_t size, struct err *e);
    /* *got is less than size only at the end of the file. */
    int (*read_at)(struct fs *fs, struct fs_open_file *file, uint64_t offset,
                   void *data, size_t size, size_t *got, struct err *e);
    int (*file_size)(struct fs *fs, struct fs_open_file *file, uint64_t *size,
                     struct err *e);
    /* Makes what was written durable (fdatasync with the size). */
    int (*sync)(struct fs *fs, struct fs_open_file *file, struct err *e);
    /* Frees the handle whatever it returns. */
    int (*close)(struct fs *fs, struct fs_open_file *file, struct err *e);
};

struct fs {
    const struct fs_ops *ops;
};

/* The real one; it has no state. Threads: any. */
struct fs *fs_file(void);

/* In memory. Threads: one at a time. */
struct fs *fs_memory_new(void);
void fs_memory_free(struct fs *fs);

/* A tree of files by its URL: names are relative to its root, and one that
 * would leave it (absolute, `..`, through a symbolic link) is PS_EARGUMENT, and
 * so is any other with a control character or that is no UTF-8. `.` is the root
 * itself. Beneath the root no symbolic link is followed, wherever it leads.
 *
 *     file://DIR, DIR  a folder, made (with its parents) by the first write
 *     memory://NAME    in this process, by name, until it ends: for tests
 *     none://          nothing: lists are empty, every write is PS_EARGUMENT
 *
 * Any other scheme is PS_EARGUMENT, with what there is. Threads: any. */
int fs_url_open(struct fs **fs, const char *url, struct err *e) MUST_USE;
void fs_url_close(struct fs *fs);
/* Whether it keeps nothing: none://. */
bool fs_url_is_none(const char *url);

/* Removes a folder with all that is in it; no such folder is PS_OK. */
int fs_remove_tree(struct fs *fs, const char *path, struct err *e) MUST_USE;

#endif
