/* fs_file.c - the real file system, one system call after the other.
 *
 * Every descriptor is closed on exec, every call that a signal may interrupt
 * goes on, and a write is repeated until all of it is written. A file whose
 * write, fsync or close failed is removed: the kernel may have dropped the
 * dirty pages and marked them clean, so a second fsync would say "durable" of
 * bytes that are lost (Rebello et al., "Can Applications Recover from fsync
 * Failures?", USENIX ATC 2020).
 */
#include "fs/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { READ_BYTES = 16 << 10 };

/* File systems that other hosts, or a program in user space, may serve: there
 * link(2) may be done twice or answer wrongly, and what one host has made
 * another may see late. Numbers of statfs(2). */
static const struct {
    uint32_t type;
    const char *name;
} remote_types[] = {
    {0x00006969, "NFS"},
    {0x0000517b, "SMB"},
    {0xff534d42, "CIFS"},
    {0xfe534d42, "SMB2"},
    {0x00c36400, "Ceph"},
    {0x65735546, "FUSE"},
    {0x01021997, "9p"},
    {0x5346414f, "AFS"},
    {0x6b414653, "kAFS"},
    {0x73757245, "Coda"},
    {0x0000564c, "NCP"},
    {0x01161970, "GFS2"},
    {0x7461636f, "OCFS2"},
    {0x0bd00bd0, "Lustre"},
    {0x47504653, "GPFS"},
    {0xaad7aaea, "PanFS"},
    {0x20030528, "OrangeFS"},
    {0x19830326, "BeeGFS"},
    {0xbeefdead, "StorNext"},
    {0x786f4256, "VirtualBox's shared folder"},
    {0xbacbacbc, "VMware's shared folder"},
};

static int status_of(int error)
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

/* Says which call failed with errno `error`. */
static int fail(struct err *e, int error, const char *what, const char *path)
{
    return err_set(e, status_of(error), "%s %s: %s", what, path,
                   strerror(error));
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

static int write_new(struct fs *fs, const char *path, const void *data,
                     size_t size, bool sync, struct err *e)
{
    const char *what = "write";
    int error;
    int fd;

    (void)fs;
    do {
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return fail(e, errno, "create", path);
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
        (void)unlink(path);
        /* The path was there to be created: ENOENT would mislead. */
        return err_set(e, error == ENOMEM ? PS_ENOMEM : PS_EIO, "%s %s: %s",
                       what, path, strerror(error));
    }
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
            return status_of(errno);
        }
    }
}

static int read_file(struct fs *fs, const char *path, size_t limit,
                     struct buf *out, struct err *e)
{
    size_t before = out->size;
    int error;
    int rc;
    int fd;

    (void)fs;
    do {
        fd = open(path, O_RDONLY | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return fail(e, errno, "open", path);
    }
    rc = read_all(fd, limit, out, &error);
    close(fd);
    if (rc == PS_OK) {
        return PS_OK;
    }
    out->size = before;
    if (error != 0) {
        return fail(e, error, "read", path);
    }
    if (rc == PS_ENOMEM) {
        return err_set(e, rc, "read %s: out of memory", path);
    }
    return err_set(e, rc, "read %s: it has more than %zu bytes", path, limit);
}

static int link_file(struct fs *fs, const char *from, const char *to,
                     struct err *e)
{
    (void)fs;
    if (link(from, to) != 0) {
        return err_set(e, status_of(errno), "link %s to %s: %s", from, to,
                       strerror(errno));
    }
    return PS_OK;
}

static int rename_file(struct fs *fs, const char *from, const char *to,
                       struct err *e)
{
    (void)fs;
    if (rename(from, to) != 0) {
        return err_set(e, status_of(errno), "rename %s to %s: %s", from, to,
                       strerror(errno));
    }
    return PS_OK;
}

static int unlink_file(struct fs *fs, const char *path, struct err *e)
{
    (void)fs;
    return unlink(path) == 0 ? PS_OK : fail(e, errno, "remove", path);
}

static int make_folders(struct fs *fs, const char *path, struct err *e)
{
    char part[PATH_MAX];
    size_t size = strlen(path);
    struct stat st;

    (void)fs;
    if (size >= sizeof(part)) {
        return fail(e, ENAMETOOLONG, "create folder", path);
    }
    memcpy(part, path, size + 1);
    for (size_t i = 1; i <= size; i++) {
        if (part[i] != '/' && part[i] != '\0') {
            continue;
        }
        part[i] = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST) {
            return fail(e, errno, "create folder", part);
        }
        part[i] = path[i];
    }
    if (stat(path, &st) != 0) {
        return fail(e, errno, "create folder", path);
    }
    if (!S_ISDIR(st.st_mode)) {
        return err_set(e, PS_EIO, "create folder %s: a file has that name",
                       path);
    }
    return PS_OK;
}

static int remove_folder(struct fs *fs, const char *path, struct err *e)
{
    (void)fs;
    return rmdir(path) == 0 ? PS_OK : fail(e, errno, "remove folder", path);
}

static int sync_folder(struct fs *fs, const char *path, struct err *e)
{
    int error = 0;
    int fd;

    (void)fs;
    do {
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return fail(e, errno, "open folder", path);
    }
    if (fsync(fd) != 0) {
        error = errno;
    }
    close(fd);
    return error == 0 ? PS_OK : fail(e, error, "fsync folder", path);
}

static int list_folder(struct fs *fs, const char *path,
                       bool (*fn)(void *context, const char *name),
                       void *context, struct err *e)
{
    DIR *folder = opendir(path); /* closed on exec */
    int error;

    (void)fs;
    if (folder == NULL) {
        return fail(e, errno, "open folder", path);
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
    return error == 0 ? PS_OK : fail(e, error, "list folder", path);
}

static int check_local(struct fs *fs, const char *path, struct err *e)
{
    struct statfs st;

    (void)fs;
    while (statfs(path, &st) != 0) {
        if (errno != EINTR) {
            return fail(e, errno, "look at", path);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(remote_types); i++) {
        if ((uint32_t)st.f_type == remote_types[i].type) {
            return err_set(e, PS_EARGUMENT,
                           "%s is on %s, not on a local disk: choose a folder "
                           "on a local file system of this host",
                           path, remote_types[i].name);
        }
    }
    return PS_OK;
}

struct fs *fs_file(void)
{
    static const struct fs_ops ops = {
        .write_new = write_new,
        .read = read_file,
        .link = link_file,
        .rename = rename_file,
        .unlink = unlink_file,
        .mkdir = make_folders,
        .rmdir = remove_folder,
        .sync_dir = sync_folder,
        .list = list_folder,
        .is_local = check_local,
    };
    static struct fs fs = {.ops = &ops};

    return &fs;
}
