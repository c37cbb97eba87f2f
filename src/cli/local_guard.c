/* local_guard.c - kills what is left, and removes the folder.
 *
 * Each child asks the kernel to be killed when its parent dies, which is enough
 * for itself but not for what it has started: `sh -c "a; b"` is killed and `a`
 * goes on. Nor can a process that was killed remove its folder. The guard can
 * do both. It has a session of its own and blocks all signals, so that neither
 * the keyboard nor a careless kill of everything ends it too early.
 *
 * A number of a process may be used again once it was waited for. Children are
 * therefore taken back before that, see local_child.c.
 */
#include "cli/local_guard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

/* What is killed may need a moment to let go of the folder. */
enum { REMOVE_TRIES = 100, REMOVE_PAUSE_NS = 20000000 };

/* One message; smaller than PIPE_BUF, so that it arrives whole. */
struct note {
    int32_t pid;
    uint8_t is_end;
    uint8_t has_group;
    uint8_t zero[2];
};

static void take_note(struct note *list, size_t *n, size_t n_max,
                      const struct note *note)
{
    if (!note->is_end) {
        if (*n < n_max) {
            list[*n] = *note;
            (*n)++;
        }
        return;
    }
    for (size_t i = 0; i < *n; i++) {
        if (list[i].pid == note->pid) {
            (*n)--;
            list[i] = list[*n];
            return;
        }
    }
}

/* Removes the files of a folder; its folders are left and stay in the way. */
static void remove_files(int at, const char *folder)
{
    int fd =
        openat(at, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (dir == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        unlinkat(fd, entry->d_name, 0);
    }
    closedir(dir);
}

/* A store has files and folders, and in these files only. */
static bool remove_store(const char *folder)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;

    if (dir == NULL) {
        return errno == ENOENT;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 ||
            strcmp(entry->d_name, "..") == 0 ||
            unlinkat(dirfd(dir), entry->d_name, 0) == 0) {
            continue;
        }
        remove_files(dirfd(dir), entry->d_name);
        unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
    }
    closedir(dir);
    return rmdir(folder) == 0;
}

static void clean_up(const struct note *list, size_t n, const char *folder)
{
    static const struct timespec pause = {.tv_nsec = REMOVE_PAUSE_NS};

    for (size_t i = 0; i < n; i++) {
        kill(list[i].has_group ? -list[i].pid : list[i].pid, SIGKILL);
    }
    if (folder == NULL) {
        return;
    }
    for (int i = 0; i < REMOVE_TRIES; i++) {
        if (remove_store(folder)) {
            return;
        }
        nanosleep(&pause, NULL);
    }
    log_write(LOG_WARNING, "cannot remove the folder %s", folder);
}

static NORETURN void guard(int pipe, const char *folder, struct note *list,
                           size_t n_max)
{
    struct note note;
    sigset_t all;
    size_t n = 0;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    setsid();
    while (read(pipe, &note, sizeof(note)) == (ssize_t)sizeof(note)) {
        take_note(list, &n, n_max, &note);
    }
    clean_up(list, n, folder);
    _exit(0);
}

int local_guard_start(struct local_guard *g, const char *folder, size_t n_max,
                      struct err *e)
{
    struct note *list = mem_new(mem_array(n_max, sizeof(*list)));
    int ends[2];

    g->pipe = -1;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        mem_free(list);
        return err_set(e, PS_EIO, "cannot make a pipe: %s", strerror(errno));
    }
    g->pid = fork();
    if (g->pid == 0) {
        close(ends[1]);
        guard(ends[0], folder, list, n_max);
    }
    mem_free(list);
    close(ends[0]);
    if (g->pid < 0) {
        close(ends[1]);
        return err_set(e, PS_EIO, "cannot start a process: %s",
                       strerror(errno));
    }
    g->pipe = ends[1];
    return PS_OK;
}

static void send_note(struct local_guard *g, pid_t pid, bool is_end,
                      bool has_group)
{
    struct note note = {.pid = pid, .is_end = is_end, .has_group = has_group};

    if (g->pipe >= 0 && write(g->pipe, &note, sizeof(note)) < 0) {
        log_write(LOG_WARNING, "the process that cleans up has gone: %s",
                  strerror(errno));
        close(g->pipe);
        g->pipe = -1;
    }
}

void local_guard_add(struct local_guard *g, pid_t pid, bool has_group)
{
    send_note(g, pid, false, has_group);
}

void local_guard_remove(struct local_guard *g, pid_t pid)
{
    send_note(g, pid, true, false);
}

void local_guard_stop(struct local_guard *g)
{
    if (g->pipe >= 0) {
        close(g->pipe);
        g->pipe = -1;
    }
    while (g->pid > 0 && waitpid(g->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    g->pid = 0;
}
