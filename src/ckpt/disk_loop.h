/* disk_loop.h - a disk (fs/disk.h) for logic that lives on a loop.
 *
 * Does the blocking work on worker threads: one job at a time and in the order
 * of submission for one disk_loop, and few at a time for all of a kind in a
 * process. So what waits in a checkpoint's fsync holds up no log, and the
 * store's work, which keeps leases alive, finds a thread that is free. Answers
 * come on the loop.
 *
 * Its owner calls disk_loop_tick when disk_loop_next has come, stops the loop
 * first and closes this afterwards. Thread: the loop's.
 */
#ifndef DISK_LOOP_H
#define DISK_LOOP_H

#include "base/err.h"
#include "fs/disk.h"
#include "net/loop.h"

struct disk_loop;

enum disk_loop_kind { DISK_LOOP_FILES, DISK_LOOP_LOG };

/* Jobs of each kind at once; and how many threads a process should have whose
 * disks are of both kinds (loop_threads), with two that are left for others. */
enum { DISK_LOOP_FILES_MAX = 2, DISK_LOOP_LOG_MAX = 4 };
enum { DISK_LOOP_THREADS = DISK_LOOP_FILES_MAX + DISK_LOOP_LOG_MAX + 2 };

/* url: as in fs_url_open; nothing is made before the first write. answer is
 * called for every request; the result is borrowed for the call. PS_EARGUMENT,
 * PS_ENOMEM. */
int disk_loop_open(struct disk_loop **d, struct loop *loop, const char *url,
                   enum disk_loop_kind kind,
                   void (*answer)(void *context,
                                  const struct disk_result *result),
                   void *context, struct err *e) MUST_USE;
/* After loop_stop; requests that are unanswered are dropped, files that are
 * open are closed. NULL allowed. */
void disk_loop_close(struct disk_loop *d);
struct disk *disk_loop_disk(struct disk_loop *d);
/* NULL allowed. */
void disk_loop_tick(struct disk_loop *d);
uint64_t disk_loop_next(const struct disk_loop *d); /* UINT64_MAX: no need */

#endif
