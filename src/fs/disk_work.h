/* disk_work.h - does the requests of a disk (disk.h) on a file system.
 *
 * It has the numbers of the open files and blocks for each request; whoever
 * carries a struct disk (ckpt/disk_loop.h, or the simulator) calls it, one
 * request at a time and in order. Threads: one at a time.
 */
#ifndef DISK_WORK_H
#define DISK_WORK_H

#include "base/buf.h"
#include "base/err.h"
#include "fs/disk.h"
#include "fs/fs.h"

struct disk_work_file {
    uint64_t number;
    struct fs_open_file *file;
};

struct disk_work {
    struct fs *fs; /* borrowed */
    struct disk_work_file *files;
    size_t n;
    size_t room;
};

void disk_work_init(struct disk_work *w, struct fs *fs);
/* Closes what is open. */
void disk_work_fini(struct disk_work *w);
/* Returns the answer's status, with its sentence in e; what was read or listed
 * is appended to out, nothing where it failed. */
int disk_work_do(struct disk_work *w, const struct disk_request *r,
                 struct buf *out, struct err *e) MUST_USE;

#endif
