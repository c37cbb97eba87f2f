#include "cli/local_child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_FOUND = 127, NOT_STARTED = 126, SIGNALED = 128 };

/* In the child: what a shell would do, and the end with the parent. The parent
 * may have died before prctl; then nobody would tell us. */
static NORETURN void run(const struct local_spawn *how, pid_t parent)
{
    int failed;

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) {
        _exit(NOT_STARTED);
    }
    if (how->has_group) {
        setpgid(0, 0);
    }
    if (!how->keeps_stdin) {
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

        if (null < 0 || dup2(null, STDIN_FILENO) < 0) {
            _exit(NOT_STARTED);
        }
    }
    if (!how->keeps_stdout) {
        dup2(STDERR_FILENO, STDOUT_FILENO);
    }
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, how->mask, NULL);
    /* exec wants pointers to what it does not change */
    execvpe(how->file, (char *const *)(uintptr_t)how->argv,
            (char *const *)(uintptr_t)how->envp);
    failed = errno;
    dprintf(STDERR_FILENO, "ps-plus: cannot run %s: %s\n", how->file,
            strerror(failed));
    _exit(failed == ENOENT ? NOT_FOUND : NOT_STARTED);
}

int local_child_start(struct local_child *c, const struct local_spawn *how,
                      struct local_guard *guard, struct err *e)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid < 0) {
        return err_set(e, PS_EIO, "cannot start %s: %s", c->name,
                       strerror(errno));
    }
    if (pid == 0) {
        run(how, parent);
    }
    if (how->has_group) {
        setpgid(pid, pid); /* whoever of the two comes first */
    }
    c->pid = pid;
    c->has_group = how->has_group;
    c->status = 0;
    local_guard_add(guard, pid, how->has_group);
    return PS_OK;
}

bool local_child_collect(struct local_child *c, struct local_guard *guard)
{
    siginfo_t info = {0};

    if (c->pid == 0 ||
        waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid == 0) {
        return false;
    }
    /* Until it was waited for its number cannot be another's. */
    if (c->has_group) {
        kill(-c->pid, SIGKILL);
    }
    local_guard_remove(guard, c->pid);
    while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    c->pid = 0;
    c->status =
        info.si_code == CLD_EXITED ? info.si_status : SIGNALED + info.si_status;
    return true;
}

void local_child_signal(const struct local_child *c, int number)
{
    if (c->pid != 0) {
        kill(c->has_group ? -c->pid : c->pid, number);
    }
}

void local_child_describe(const struct local_child *c, char *text, size_t size)
{
    if (c->status > SIGNALED) {
        snprintf(text, size, "was killed by signal %d (%s)",
                 c->status - SIGNALED, strsignal(c->status - SIGNALED));
    } else {
        snprintf(text, size, "exited with status %d", c->status);
    }
}
