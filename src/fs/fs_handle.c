/* fs_handle.c - an open file of the real file system. */
#include "fs/fs_handle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

struct fs_open_file {
    int fd;
    bool is_lost;
    char why[64]; /* the first failure, where it is lost */
    char path[];
};

int fs_handle_open(const struct fs_place *p, enum fs_open_how how,
                   struct fs_open_file **out, struct err *e)
{
    size_t bytes = strlen(p->path) + 1;
    struct fs_open_file *file = mem_try_zero(sizeof(*file) + bytes);
    int fd = -1;

    if (file == NULL) {
        return err_set(e, PS_ENOMEM, "open %s: out of memory", p->path);
    }
    if (how == FS_READ) {
        int rc = fs_at_open(p, &fd, e);

        if (rc != PS_OK) {
            mem_free(file);
            return rc;
        }
    } else {
        do {
            fd = openat(p->dir, p->name,
                        O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | p->flags, 0644);
        } while (fd < 0 && errno == EINTR);
        if (fd < 0) {
            int error = errno;

            mem_free(file);
            return fs_at_fail(e, error, "create", p->path);
        }
    }
    file->fd = fd;
    memcpy(file->path, p->path, bytes);
    *out = file;
    return PS_OK;
}

/* The first failure: from now on the file is lost. */
static int lose(struct fs_open_file *file, int error, const char *what,
                struct err *e)
{
    file->is_lost = true;
    snprintf(file->why, sizeof(file->why), "%s: %s", what, fs_at_why(error));
    /* The file was there, and ENOMEM is no matter of trying again. */
    return err_set(e, PS_EIO, "%s %s: %s", what, file->path, fs_at_why(error));
}

static int check(const struct fs_open_file *file, const char *what,
                 struct err *e)
{
    if (!file->is_lost) {
        return PS_OK;
    }
    return err_set(e, PS_EIO, "%s %s: the file is lost since an earlier %s",
                   what, file->path, file->why);
}

int fs_handle_write(struct fs *fs, struct fs_open_file *file, uint64_t offset,
                    const void *data, size_t size, struct err *e)
{
    const uint8_t *p = data;
    int rc = check(file, "write", e);

    (void)fs;
    if (rc != PS_OK) {
        return rc;
    }
    if (offset > INT64_MAX || size > (uint64_t)INT64_MAX - offset) {
        return lose(file, EFBIG, "write", e);
    }
    while (size > 0) {
        ssize_t n = pwrite(file->fd, p, size, (off_t)offset);

        if (n > 0) {
            p += n;
            offset += (uint64_t)n;
            size -= (size_t)n;
        } else if (n == 0) {
            return lose(file, ENOSPC, "write", e); /* as in fs_at.c */
        } else if (errno != EINTR) {
            return lose(file, errno, "write", e);
        }
    }
    return PS_OK;
}

int fs_handle_read(struct fs *fs, struct fs_open_file *file, uint64_t offset,
                   void *data, size_t size, size_t *got, struct err *e)
{
    uint8_t *p = data;
    size_t done = 0;
    int rc = check(file, "read", e);

    (void)fs;
    if (rc != PS_OK) {
        return rc;
    }
    if (offset > INT64_MAX || size > (uint64_t)INT64_MAX - offset) {
        return fs_at_fail(e, EFBIG, "read", file->path);
    }
    while (done < size) {
        ssize_t n =
            pread(file->fd, p + done, size - done, (off_t)(offset + done));

        if (n == 0) {
            break;
        }
        if (n > 0) {
            done += (size_t)n;
        } else if (errno != EINTR) {
            return fs_at_fail(e, errno, "read", file->path);
        }
    }
    *got = done;
    return PS_OK;
}

int fs_handle_size(struct fs *fs, struct fs_open_file *file, uint64_t *size,
                   struct err *e)
{
    struct stat st;
    int rc = check(file, "look at", e);

    (void)fs;
    if (rc != PS_OK) {
        return rc;
    }
    if (fstat(file->fd, &st) != 0) {
        return fs_at_fail(e, errno, "look at", file->path);
    }
    *size = (uint64_t)st.st_size;
    return PS_OK;
}

int fs_handle_sync(struct fs *fs, struct fs_open_file *file, struct err *e)
{
    int rc = check(file, "fsync", e);

    (void)fs;
    if (rc != PS_OK) {
        return rc;
    }
    /* The size and where the blocks are go with it (fdatasync(2)). */
    return fdatasync(file->fd) == 0 ? PS_OK : lose(file, errno, "fsync", e);
}

int fs_handle_close(struct fs *fs, struct fs_open_file *file, struct err *e)
{
    int rc = PS_OK;

    (void)fs;
    /* Linux has closed the descriptor whatever close says. */
    if (close(file->fd) != 0 && errno != EINTR) {
        int error = errno;

        rc = err_set(e, PS_EIO, "close %s: %s", file->path, fs_at_why(error));
    }
    mem_free(file);
    return rc;
}
