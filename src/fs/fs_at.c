/* fs_at.c - one system call after the other.
 *
 * Every descriptor is closed on exec, every call that a signal may interrupt
 * goes on, and a write is repeated until all of it is written. A file whose
 * write, fsync or close failed is removed: the kernel may have dropped the
 * dirty pages and marked them clean, so a second fsync would say "durable" of
 * bytes that are lost (Rebello et al., "Can Applications Recover from fsync
 * Failures?", USENIX ATC 2020).
 */
#include "fs/fs_at.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 16 << 10 };

int fs_at_status(int error)
{
    switch (error) {
    case ENOENT:
        return PS_ENOTFOUND;
    case EEXIST:
    case ENOTEMPTY:
        return PS_EEXIST;
    case ENOMEM:
        return PS_ENOMEM;
    default:
        return PS_EIO;
    }
}

const char *fs_at_why(int error)
{
    switch (error) {
    case ENOSPC:
        return "the disk is full (No space left on device)";
    case EDQUOT:
        return "the disk is full (Disk quota exceeded)";
    default:
        return strerror(error);
    }
}

int fs_at_fail(struct err *e, int error, const char *what, const char *path)
{
    return err_set(e, fs_at_status(error), "%s %s: %s", what, path,
                   fs_at_why(error));
}

/* An open that failed with errno `error`. */
static int fail_open(const struct fs_place *p, int error, const char *what,
                     struct err *e)
{
    if (error == ELOOP && (p->flags & O_NOFOLLOW) != 0) {
        return err_set(e, PS_EARGUMENT, "%s %s: it is a symbolic link", what,
                       p->path);
    }
    return fs_at_fail(e, error, what, p->path);
}

/* 0 or errno. */
static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);

        if (n > 0) {
            data += n;
            size -= (size_t)n;
        } else if (n == 0) {
            return ENOSPC; /* no progress and no reason: never wait for it */
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

int fs_at_write_new(const struct fs_place *p, const void *data, size_t size,
                    bool sync, struct err *e)
{
    const char *what = "write";
    int error;
    int fd;

    do {
        fd = openat(p->dir, p->name,
                    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | p->flags, 0644);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return fail_open(p, errno, "create", e);
    }
    error = write_all(fd, data, size);
    if (error == 0 && sync && fsync(fd) != 0) {
        error = errno;
        what = "fsync";
    }
    /* Linux has closed the descriptor whatever close says. */
    if (close(fd) != 0 && errno != EINTR && error == 0) {
        error = errno;
        what = "close";
    }
    if (error != 0) {
        (void)unlinkat(p->dir, p->name, 0);
        /* The path was there to be created: ENOENT would mislead. */
        return err_set(e, error == ENOMEM ? PS_ENOMEM : PS_EIO, "%s %s: %s",
                       what, p->path, fs_at_why(error));
    }
    return PS_OK;
}

int fs_at_open(const struct fs_place *p, int *out, struct err *e)
{
    struct stat st;
    int fd;

    do {
        fd = openat(p->dir, p->name,
                    O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | p->flags);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return fail_open(p, errno, "open", e);
    }
    if (fstat(fd, &st) != 0) {
        int error = errno;

        close(fd);
        return fs_at_fail(e, error, "open", p->path);
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return err_set(e, PS_EIO, "open %s: it is not a file", p->path);
    }
    *out = fd;
    return PS_OK;
}

/* Reads to the end; *error is errno, or 0 where the status says it all. */
static int read_all(int fd, size_t limit, struct buf *out, int *error)
{
    char part[READ_BYTES];
    size_t size = 0;

    *error = 0;
    for (;;) {
        ssize_t n = read(fd, part, sizeof(part));

        if (n == 0) {
            return PS_OK;
        }
        if (n > 0) {
            size += (size_t)n;
            if (size > limit) {
                return PS_EIO;
            }
            if (buf_append(out, part, (size_t)n) != PS_OK) {
                return PS_ENOMEM;
            }
        } else if (errno != EINTR) {
            *error = errno;
            return fs_at_status(errno);
        }
    }
}

int fs_at_read(const struct fs_place *p, size_t limit, struct buf *out,
               struct err *e)
{
    size_t before = out->size;
    int error;
    int fd;
    int rc = fs_at_open(p, &fd, e);

    if (rc != PS_OK) {
        return rc;
    }
    rc = read_all(fd, limit, out, &error);
    close(fd);
    if (rc == PS_OK) {
        return PS_OK;
    }
    out->size = before;
    if (error != 0) {
        return fs_at_fail(e, error, "read", p->path);
    }
    if (rc == PS_ENOMEM) {
        return err_set(e, rc, "read %s: out of memory", p->path);
    }
    return err_set(e, rc, "read %s: it has more than %zu bytes", p->path,
                   limit);
}

int fs_at_link(const struct fs_place *from, const struct fs_place *to,
               struct err *e)
{
    if (linkat(from->dir, from->name, to->dir, to->name, 0) != 0) {
        int error = errno;

        return err_set(e, fs_at_status(error), "link %s to %s: %s", from->path,
                       to->path, fs_at_why(error));
    }
    return PS_OK;
}

int fs_at_rename(const struct fs_place *from, const struct fs_place *to,
                 struct err *e)
{
    if (renameat(from->dir, from->name, to->dir, to->name) != 0) {
        int error = errno;

        return err_set(e, fs_at_status(error), "rename %s to %s: %s",
                       from->path, to->path, fs_at_why(error));
    }
    return PS_OK;
}

int fs_at_unlink(const struct fs_place *p, struct err *e)
{
    return unlinkat(p->dir, p->name, 0) == 0
               ? PS_OK
               : fs_at_fail(e, errno, "remove", p->path);
}

int fs_at_rmdir(const struct fs_place *p, struct err *e)
{
    return unlinkat(p->dir, p->name, AT_REMOVEDIR) == 0
               ? PS_OK
               : fs_at_fail(e, errno, "remove folder", p->path);
}

static int open_folder(const struct fs_place *p, int *out, struct err *e)
{
    int fd;

    do {
        fd = openat(p->dir, p->name,
                    O_RDONLY | O_DIRECTORY | O_CLOEXEC | p->flags);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return fail_open(p, errno, "open folder", e);
    }
    *out = fd;
    return PS_OK;
}

int fs_at_sync_dir(const struct fs_place *p, struct err *e)
{
    int error = 0;
    int fd;
    int rc = open_folder(p, &fd, e);

    if (rc != PS_OK) {
        return rc;
    }
    if (fsync(fd) != 0) {
        error = errno;
    }
    close(fd);
    return error == 0 ? PS_OK : fs_at_fail(e, error, "fsync folder", p->path);
}

int fs_at_list(const struct fs_place *p,
               bool (*fn)(void *context, const char *name), void *context,
               struct err *e)
{
    DIR *folder;
    int error;
    int fd;
    int rc = open_folder(p, &fd, e);

    if (rc != PS_OK) {
        return rc;
    }
    folder = fdopendir(fd); /* it has the descriptor now */
    if (folder == NULL) {
        error = errno;
        close(fd);
        return fs_at_fail(e, error, "open folder", p->path);
    }
    for (;;) {
        const struct dirent *entry;

        errno = 0;
        entry = readdir(folder);
        error = errno;
        if (entry == NULL) {
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 &&
            strcmp(entry->d_name, "..") != 0 && !fn(context, entry->d_name)) {
            error = 0;
            break;
        }
    }
    closedir(folder);
    return error == 0 ? PS_OK : fs_at_fail(e, error, "list folder", p->path);
}
