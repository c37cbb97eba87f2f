/* local_child.h - a child process that cannot outlive this one.
 *
 * It is killed by the kernel when this process dies, and what it has started by
 * the guard. Signals are taken in turn by local_child_wait, so the caller
 * blocks what it wants to see, SIGCHLD above all; a child begins with the mask
 * that it is given.
 */
#ifndef LOCAL_CHILD_H
#define LOCAL_CHILD_H

#include <signal.h>

#include "cli/local_guard.h"

struct local_child {
    char name[32]; /* such as "server 1" */
    pid_t pid;     /* 0: does not run */
    bool has_group;
    int status; /* once it has ended: what it exited with, or 128 + signal */
};

struct local_spawn {
    const char *file; /* looked for as execvp does */
    const char *const *argv;
    const char *const *envp;
    const sigset_t *mask;
    bool keeps_stdin;  /* else it reads nothing */
    bool keeps_stdout; /* else it is our stderr */
    bool has_group;    /* of its own; else Ctrl-C reaches it as it does us */
};

/* The name is set before. A command that cannot be run ends with 127, and says
 * so on stderr. */
int local_child_start(struct local_child *c, const struct local_spawn *how,
                      struct local_guard *guard, struct err *e) MUST_USE;
/* True if it has ended since: its status is set then, and what it has left in
 * its group is killed. */
bool local_child_collect(struct local_child *c,
                         struct local_guard *guard) MUST_USE;
/* To it and its group, if it runs. */
void local_child_signal(const struct local_child *c, int number);
/* "exited with status 3", "was killed by signal 9 (Killed)". */
void local_child_describe(const struct local_child *c, char *text, size_t size);

#endif
