/* disk.h - the seam between logic and files: requests that are answered later.
 *
 * Logic names its open files by numbers of its own (unique among those it has
 * open). Requests of one disk are done one after another in the order in which
 * they were submitted, and answered in that order; so a write, a sync and a
 * rename may be submitted together, but each must be judged by its own answer.
 * submit never calls back before it has returned, and the answer always comes,
 * with PS_EIO or PS_ENOMEM if need be. After an error logic gives the file up:
 * an fsync is never tried again (fs.h).
 *
 * The runtime (ckpt/disk_loop.h, or the simulator) does the work.
 */
#ifndef DISK_H
#define DISK_H

#include "base/buf.h"

enum { DISK_PATH_MAX = 255 };

enum disk_op {
    DISK_CREATE,     /* opens a new file as number `file`; makes its folder */
    DISK_OPEN,       /* opens a file for reading as number `file` */
    DISK_WRITE,      /* data[size] at offset */
    DISK_READ,       /* up to `size` bytes from offset; fewer at the end only */
    DISK_SUM,        /* the same, but the answer is their struct disk_sum */
    DISK_SYNC,       /* makes an open file durable */
    DISK_CLOSE,      /* an answer of any status ends the number */
    DISK_RENAME,     /* path to `to`, then syncs the folders of both */
    DISK_SYNC_DIR,   /* makes the names of a folder durable */
    DISK_REMOVE,     /* a file, or a folder with all in it; none is PS_OK */
    DISK_LIST,       /* data: the names in a folder, each with its NUL */
    DISK_READ_WHOLE, /* data: a whole file of at most `size` bytes */
    DISK_WRITE_WHOLE /* a new file with data[size]: makes its folder, syncs
                      * the file and the folder */
};

/* What was read or written: how many bytes, and their XXH3-64. So the loop need
 * not touch the bytes again. */
struct disk_sum {
    uint64_t size;
    uint64_t sum;
};

struct disk_request {
    enum disk_op op;
    uint64_t tag; /* the caller's, comes back in the result */
    uint64_t file;
    uint64_t offset;
    char path[DISK_PATH_MAX + 1]; /* relative to the root; "": the root */
    char to[DISK_PATH_MAX + 1];
    /* Of writes: borrowed until the answer (not copied). */
    const void *data;
    size_t size;
    bool wants_sum; /* of DISK_WRITE and DISK_WRITE_WHOLE: as of DISK_SUM */
    /* Of DISK_WRITE_WHOLE, instead of data: makes it, where the work is done;
     * `context` is borrowed until the answer. */
    int (*make)(const void *context, struct buf *out);
    const void *context;
};

struct disk_result {
    enum disk_op op;
    uint64_t tag;
    int status;
    const char *why;  /* a sentence where status is not PS_OK; else "" */
    const void *data; /* of reads and lists; valid during the call only */
    size_t size;
    struct buf *memory; /* where data is: who moves it away keeps it; NULL: it
                         * is lent only */
};

struct disk {
    void (*submit)(struct disk *d, const struct disk_request *request);
};

#endif
