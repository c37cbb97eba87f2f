/* fs_file.c - the real file system, by paths as the process sees them. */
#include "fs/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "fs/fs_at.h"
#include "fs/fs_handle.h"

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

static struct fs_place place(const char *path)
{
    return (struct fs_place){.dir = AT_FDCWD, .name = path, .path = path};
}

static int write_new(struct fs *fs, const char *path, const void *data,
                     size_t size, bool sync, struct err *e)
{
    struct fs_place p = place(path);

    (void)fs;
    return fs_at_write_new(&p, data, size, sync, e);
}

static int read_file(struct fs *fs, const char *path, size_t limit,
                     struct buf *out, struct err *e)
{
    struct fs_place p = place(path);

    (void)fs;
    return fs_at_read(&p, limit, out, e);
}

static int link_file(struct fs *fs, const char *from, const char *to,
                     struct err *e)
{
    struct fs_place p = place(from);
    struct fs_place q = place(to);

    (void)fs;
    return fs_at_link(&p, &q, e);
}

static int rename_file(struct fs *fs, const char *from, const char *to,
                       struct err *e)
{
    struct fs_place p = place(from);
    struct fs_place q = place(to);

    (void)fs;
    return fs_at_rename(&p, &q, e);
}

static int unlink_file(struct fs *fs, const char *path, struct err *e)
{
    struct fs_place p = place(path);

    (void)fs;
    return fs_at_unlink(&p, e);
}

static int make_folders(struct fs *fs, const char *path, struct err *e)
{
    char part[PATH_MAX];
    size_t size = strlen(path);
    struct stat st;

    (void)fs;
    if (size >= sizeof(part)) {
        return fs_at_fail(e, ENAMETOOLONG, "create folder", path);
    }
    memcpy(part, path, size + 1);
    for (size_t i = 1; i <= size; i++) {
        if (part[i] != '/' && part[i] != '\0') {
            continue;
        }
        part[i] = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST) {
            return fs_at_fail(e, errno, "create folder", part);
        }
        part[i] = path[i];
    }
    if (stat(path, &st) != 0) {
        return fs_at_fail(e, errno, "create folder", path);
    }
    if (!S_ISDIR(st.st_mode)) {
        return err_set(e, PS_EIO, "create folder %s: a file has that name",
                       path);
    }
    return PS_OK;
}

static int remove_folder(struct fs *fs, const char *path, struct err *e)
{
    struct fs_place p = place(path);

    (void)fs;
    return fs_at_rmdir(&p, e);
}

static int sync_folder(struct fs *fs, const char *path, struct err *e)
{
    struct fs_place p = place(path);

    (void)fs;
    return fs_at_sync_dir(&p, e);
}

static int list_folder(struct fs *fs, const char *path,
                       bool (*fn)(void *context, const char *name),
                       void *context, struct err *e)
{
    struct fs_place p = place(path);

    (void)fs;
    return fs_at_list(&p, fn, context, e);
}

static int open_file(struct fs *fs, const char *path, enum fs_open_how how,
                     struct fs_open_file **file, struct err *e)
{
    struct fs_place p = place(path);

    (void)fs;
    return fs_handle_open(&p, how, file, e);
}

static int check_local(struct fs *fs, const char *path, struct err *e)
{
    struct statfs st;

    (void)fs;
    while (statfs(path, &st) != 0) {
        if (errno != EINTR) {
            return fs_at_fail(e, errno, "look at", path);
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
        .open = open_file,
        .write_at = fs_handle_write,
        .read_at = fs_handle_read,
        .file_size = fs_handle_size,
        .sync = fs_handle_sync,
        .close = fs_handle_close,
    };
    static struct fs fs = {.ops = &ops};

    return &fs;
}
