/* fs_at.h - the real file system's calls on one name in one folder.
 *
 * What fs_file and fs_tree have in common: they differ in how they find the
 * folder. Threads: any.
 */
#ifndef FS_AT_H
#define FS_AT_H

#include "fs/fs.h"

struct fs_place {
    int dir;          /* a descriptor of the folder, or AT_FDCWD */
    const char *name; /* in it */
    const char *path; /* what messages say */
    int flags;        /* of open(2) besides: O_NOFOLLOW or 0 */
};

/* The status of errno `error`, and its words. */
int fs_at_status(int error);
const char *fs_at_why(int error);
/* Says which call failed with errno `error`. */
int fs_at_fail(struct err *e, int error, const char *what, const char *path);

/* Opens for reading what must be a plain file: never waits for the other end
 * of a pipe that somebody has put in its place. */
int fs_at_open(const struct fs_place *p, int *fd, struct err *e) MUST_USE;

int fs_at_write_new(const struct fs_place *p, const void *data, size_t size,
                    bool sync, struct err *e) MUST_USE;
int fs_at_read(const struct fs_place *p, size_t limit, struct buf *out,
               struct err *e) MUST_USE;
int fs_at_link(const struct fs_place *from, const struct fs_place *to,
               struct err *e) MUST_USE;
int fs_at_rename(const struct fs_place *from, const struct fs_place *to,
                 struct err *e) MUST_USE;
int fs_at_unlink(const struct fs_place *p, struct err *e) MUST_USE;
int fs_at_rmdir(const struct fs_place *p, struct err *e) MUST_USE;
int fs_at_sync_dir(const struct fs_place *p, struct err *e) MUST_USE;
int fs_at_list(const struct fs_place *p,
               bool (*fn)(void *context, const char *name), void *context,
               struct err *e) MUST_USE;

#endif
