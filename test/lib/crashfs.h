/* crashfs.h - a file system in memory whose power can be cut.
 *
 * Of each file it has what is durable and the writes that are not synced yet,
 * of each folder the names that are durable and the changes of names that are
 * not. What a program sees is all of it; what is left after crashfs_crash is
 * the durable part and as much of the rest as `how` says. It is as unkind as
 * POSIX allows: syncing a file does not make its name durable, nor does syncing
 * a folder those of its parents, and what an fsync that failed had to write is
 * never written (the kernel has marked it clean), though it still reads back.
 *
 * A process that is killed needs no call: what it has written stays. Handles
 * that it had are crashfs's to free. Memory never runs out here. Threads: one
 * at a time.
 *
 * To go through all that can fail in a piece of work:
 *
 *     for (n = 1;; n++) {
 *         c = crashfs_new();
 *         crashfs_fail(c, n, CRASHFS_EIO, CRASHFS_NOT_DONE, true);
 *         work(crashfs_fs(c));
 *         if (!crashfs_has_failed(c)) break;
 *         crashfs_crash(c, CRASHFS_RANDOM, n); check(crashfs_fs(c));
 *     }
 */
#ifndef CRASHFS_H
#define CRASHFS_H

#include "fs/fs.h"

struct crashfs;

enum crashfs_how {
    CRASHFS_LOST,   /* nothing that was not synced */
    CRASHFS_KEPT,   /* all of it */
    CRASHFS_RANDOM, /* each write and each change of a name or not; of a write
                     * that was lost, zeros may have been left */
    CRASHFS_TORN    /* all, but of the last write only some sectors in front */
};

enum crashfs_reason {
    CRASHFS_EIO,
    CRASHFS_ENOSPC, /* strikes only what may need room */
    CRASHFS_POWER   /* strikes first what changes something; to be sticky */
};

/* What an operation that fails has done. */
enum crashfs_effect {
    CRASHFS_NOT_DONE,
    CRASHFS_HALF_DONE, /* of a write half of the bytes; else nothing */
    CRASHFS_DONE
};

struct crashfs *crashfs_new(void);
void crashfs_free(struct crashfs *c); /* NULL allowed */
struct fs *crashfs_fs(struct crashfs *c);

/* Operations so far, those that failed too. */
uint64_t crashfs_ops(const struct crashfs *c);
/* The nth operation from now (1: the next) fails, and with `is_sticky` all that
 * follow; 0: none does any more. */
void crashfs_fail(struct crashfs *c, uint64_t n, enum crashfs_reason reason,
                  enum crashfs_effect effect, bool is_sticky);
bool crashfs_has_failed(const struct crashfs *c);
/* The operation that was the first to fail, counted as by crashfs_ops; 0: none.
 */
uint64_t crashfs_failed_at(const struct crashfs *c);

/* The power is cut and comes back: handles are dead, no failure is planned. */
void crashfs_crash(struct crashfs *c, enum crashfs_how how, uint64_t seed);

/* Turns one bit of a file over, on the disk and in memory. PS_ENOTFOUND,
 * PS_EARGUMENT behind its end. */
int crashfs_flip(struct crashfs *c, const char *path, uint64_t bit) MUST_USE;
/* The next write_at lands `by` bytes from its place (not before the start of
 * the file), and is answered as done. */
void crashfs_misdirect(struct crashfs *c, int64_t by);

#endif
