/* local_guard.h - who cleans up after `ps-plus local`, however that ends.
 *
 * The guard is a process of its own that holds one end of a pipe. It learns
 * there which children run; when the other end closes, because local_guard_stop
 * was called or because this process was killed, it kills those that are left
 * with all they have started, and removes the folder.
 */
#ifndef LOCAL_GUARD_H
#define LOCAL_GUARD_H

#include <sys/types.h>

#include "base/err.h"

struct local_guard {
    pid_t pid;
    int pipe; /* -1: there is none */
};

/* folder: what to remove at the end, or NULL; at most n_max children at a
 * time. Before any thread is started. */
int local_guard_start(struct local_guard *g, const char *folder, size_t n_max,
                      struct err *e) MUST_USE;
/* A child runs, in a process group of its own or in ours; it has ended. */
void local_guard_add(struct local_guard *g, pid_t pid, bool has_group);
void local_guard_remove(struct local_guard *g, pid_t pid);
/* Waits until all is cleaned up. */
void local_guard_stop(struct local_guard *g);

#endif
