/* fs_tree.c - the real file system beneath one folder.
 *
 *     root/ckpt-7-1/lane-3.json      root may be reached through symbolic
 *     |    |        |                links, it is the operator's word; beneath
 *     |    |        the last one     it there are none: whoever may write there
 *     |    the folder                must not be able to lead us elsewhere.
 *     opened anew for every call
 *
 * Every call opens the folder of its name and uses the last part relative to
 * that descriptor, so a link that is put in place of a folder meanwhile changes
 * nothing: either the folder was opened before it or the link is refused.
 * openat2(2) does the walk in one call; where the kernel has none, or a filter
 * of system calls hides it, the same walk goes a part at a time. Both refuse
 * all links, those too that would stay inside, so they cannot differ.
 */
#include "fs/fs_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "fs/fs_at.h"
#include "fs/fs_handle.h"

enum {
    FOLDER = O_PATH | O_DIRECTORY | O_CLOEXEC,
    SHOWN_BYTES = 512 /* a message has less */
};

/* What <linux/openat2.h> says (Linux 5.6). */
struct how {
    uint64_t flags;
    uint64_t mode;
    uint64_t resolve;
};

enum { NO_MAGIC_LINKS = 0x02, NO_LINKS = 0x04, BENEATH = 0x08 };

struct tree {
    struct fs fs;
    char *root;
};

/* The folder of a name, open, and what it is called there. */
struct spot {
    struct fs_place place;
    char shown[SHOWN_BYTES];
};

static struct tree *tree_of(struct fs *fs)
{
    return CONTAINER_OF(fs, struct tree, fs);
}

static int refuse_link(const char *path, struct err *e)
{
    return err_set(e, PS_EARGUMENT,
                   "%s: a symbolic link is in it, and none is followed", path);
}

/* Opens one folder in another without following a link; -1 and errno. */
static int step_into(int dir, const char *name)
{
    int fd = openat(dir, name, FOLDER | O_NOFOLLOW);
    struct stat st;

    /* Together those two flags say ENOTDIR of a link. A folder now: it was one
     * of those until a moment ago. */
    if (fd < 0 && errno == ENOTDIR) {
        bool was_link = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                        (S_ISLNK(st.st_mode) || S_ISDIR(st.st_mode));

        errno = was_link ? ELOOP : ENOTDIR;
    }
    return fd;
}

/* Takes the next part off *path into part; false at the end. */
static bool next_part(const char **path, char part[NAME_MAX + 1])
{
    size_t n = strcspn(*path, "/");

    if (n == 0 || n > NAME_MAX) {
        return false;
    }
    memcpy(part, *path, n);
    part[n] = '\0';
    *path += n;
    *path += **path == '/' ? 1 : 0;
    return true;
}

/* Opens path beneath root part by part; with `makes` creates what is not
 * there. Takes root. -1 and errno. */
static int walk(int root, const char *path, bool makes)
{
    char part[NAME_MAX + 1];
    int fd = root;

    while (fd >= 0 && next_part(&path, part)) {
        int next = -1;
        int error;

        if (!makes || mkdirat(fd, part, 0755) == 0 || errno == EEXIST) {
            next = step_into(fd, part);
        }
        error = errno;
        close(fd);
        errno = error;
        fd = next;
    }
    return fd;
}

/* The same by one system call. */
static int jump(int root, const char *path)
{
    struct how how = {
        .flags = FOLDER,
        .resolve = BENEATH | NO_LINKS | NO_MAGIC_LINKS,
    };
    int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
    int error = errno;

    /* A filter that does not know the call may say EPERM of it; EAGAIN: it
     * could not tell whether it had been led out. */
    if (fd < 0 && (error == ENOSYS || error == EPERM || error == EAGAIN)) {
        return walk(root, path, false);
    }
    close(root);
    errno = error;
    return fd;
}

/* Makes the root and its parents, and each durable in its folder: nobody else
 * can name those. */
static int make_root(const struct tree *t, struct err *e)
{
    struct fs *real = fs_file();
    char part[PATH_MAX];
    size_t size = strlen(t->root);
    size_t parent = 0;
    int rc = PS_OK;

    if (size >= sizeof(part)) {
        return fs_at_fail(e, ENAMETOOLONG, "create folder", t->root);
    }
    memcpy(part, t->root, size + 1);
    for (size_t i = 1; i <= size && rc == PS_OK; i++) {
        if (part[i] != '/' && part[i] != '\0') {
            continue;
        }
        part[i] = '\0';
        if (mkdir(part, 0755) == 0) {
            char saved = part[parent];

            part[parent] = '\0';
            rc = real->ops->sync_dir(
                real, parent > 0 ? part : (saved == '/' ? "/" : "."), e);
            part[parent] = saved;
        } else if (errno != EEXIST) {
            rc = fs_at_fail(e, errno, "create folder", part);
        }
        part[i] = t->root[i];
        parent = i;
    }
    return rc;
}

/* Opens a folder beneath the root, "." for the root itself; with `makes`, it
 * and its parents, the root's too, are made first. */
static int open_folder(const struct tree *t, const char *path, bool makes,
                       int *out, struct err *e)
{
    int fd = open(t->root, FOLDER);

    if (fd < 0 && errno == ENOENT && makes) {
        int rc = make_root(t, e);

        if (rc != PS_OK) {
            return rc;
        }
        fd = open(t->root, FOLDER);
    }
    if (fd < 0) {
        return fs_at_fail(e, errno, "open folder", t->root);
    }
    if (strcmp(path, ".") != 0) {
        fd = makes ? walk(fd, path, true) : jump(fd, path);
    }
    if (fd < 0) {
        int error = errno;
        char shown[SHOWN_BYTES];

        snprintf(shown, sizeof(shown), "%s/%s", t->root, path);
        return error == ELOOP || error == EXDEV
                   ? refuse_link(shown, e)
                   : fs_at_fail(e, error, "open folder", shown);
    }
    *out = fd;
    return PS_OK;
}

/* Opens the folder that a name is in, with `makes` the root if need be. */
static int find(struct fs *fs, const char *path, bool makes, struct spot *s,
                struct err *e)
{
    const struct tree *t = tree_of(fs);
    const char *slash = strrchr(path, '/');
    char folder[PATH_MAX];

    snprintf(s->shown, sizeof(s->shown), "%s/%s", t->root, path);
    s->place = (struct fs_place){
        .dir = -1,
        .name = slash == NULL ? path : slash + 1,
        .path = s->shown,
        .flags = O_NOFOLLOW,
    };
    if (slash != NULL) {
        size_t n = (size_t)(slash - path);

        if (n >= sizeof(folder)) {
            return fs_at_fail(e, ENAMETOOLONG, "open", s->shown);
        }
        memcpy(folder, path, n);
        folder[n] = '\0';
        return open_folder(t, folder, false, &s->place.dir, e);
    }
    return open_folder(t, ".", makes, &s->place.dir, e);
}

/* Opens the folder that the name itself is. */
static int find_folder(struct fs *fs, const char *path, struct spot *s,
                       struct err *e)
{
    const struct tree *t = tree_of(fs);

    snprintf(s->shown, sizeof(s->shown), "%s/%s", t->root, path);
    s->place = (struct fs_place){.dir = -1, .name = ".", .path = s->shown};
    return open_folder(t, path, false, &s->place.dir, e);
}

static void leave(struct spot *s)
{
    if (s->place.dir >= 0) {
        close(s->place.dir);
    }
}

static int write_new(struct fs *fs, const char *path, const void *data,
                     size_t size, bool sync, struct err *e)
{
    struct spot s;
    int rc = find(fs, path, true, &s, e);

    if (rc == PS_OK) {
        rc = fs_at_write_new(&s.place, data, size, sync, e);
    }
    leave(&s);
    return rc;
}

static int read_file(struct fs *fs, const char *path, size_t limit,
                     struct buf *out, struct err *e)
{
    struct spot s;
    int rc = find(fs, path, false, &s, e);

    if (rc == PS_OK) {
        rc = fs_at_read(&s.place, limit, out, e);
    }
    leave(&s);
    return rc;
}

static int do_both(struct fs *fs, const char *from, const char *to,
                   int (*call)(const struct fs_place *from,
                               const struct fs_place *to, struct err *e),
                   struct err *e)
{
    struct spot a;
    struct spot b = {.place = {.dir = -1}};
    int rc = find(fs, from, false, &a, e);

    if (rc == PS_OK) {
        rc = find(fs, to, false, &b, e);
    }
    if (rc == PS_OK) {
        rc = call(&a.place, &b.place, e);
    }
    leave(&b);
    leave(&a);
    return rc;
}

static int link_file(struct fs *fs, const char *from, const char *to,
                     struct err *e)
{
    return do_both(fs, from, to, fs_at_link, e);
}

static int rename_file(struct fs *fs, const char *from, const char *to,
                       struct err *e)
{
    return do_both(fs, from, to, fs_at_rename, e);
}

static int unlink_file(struct fs *fs, const char *path, struct err *e)
{
    struct spot s;
    int rc = find(fs, path, false, &s, e);

    if (rc == PS_OK) {
        rc = fs_at_unlink(&s.place, e);
    }
    leave(&s);
    return rc;
}

static int make_folders(struct fs *fs, const char *path, struct err *e)
{
    int fd;
    int rc = open_folder(tree_of(fs), path, true, &fd, e);

    if (rc == PS_OK) {
        close(fd);
    }
    return rc;
}

static int remove_folder(struct fs *fs, const char *path, struct err *e)
{
    struct spot s;
    int rc = find(fs, path, false, &s, e);

    if (rc == PS_OK) {
        rc = fs_at_rmdir(&s.place, e);
    }
    leave(&s);
    return rc;
}

static int sync_folder(struct fs *fs, const char *path, struct err *e)
{
    struct spot s;
    int rc = find_folder(fs, path, &s, e);

    if (rc == PS_OK) {
        rc = fs_at_sync_dir(&s.place, e);
    }
    leave(&s);
    return rc;
}

static int list_folder(struct fs *fs, const char *path,
                       bool (*fn)(void *context, const char *name),
                       void *context, struct err *e)
{
    struct spot s;
    int rc = find_folder(fs, path, &s, e);

    if (rc == PS_OK) {
        rc = fs_at_list(&s.place, fn, context, e);
    }
    leave(&s);
    return rc;
}

static int check_local(struct fs *fs, const char *path, struct err *e)
{
    const struct tree *t = tree_of(fs);
    struct fs *real = fs_file();

    (void)path; /* what is beneath is taken to be where the root is */
    return real->ops->is_local(real, t->root, e);
}

static int open_file(struct fs *fs, const char *path, enum fs_open_how how,
                     struct fs_open_file **file, struct err *e)
{
    struct spot s;
    int rc = find(fs, path, how == FS_CREATE, &s, e);

    if (rc == PS_OK) {
        rc = fs_handle_open(&s.place, how, file, e);
    }
    leave(&s);
    return rc;
}

int fs_tree_new(struct fs **fs, const char *root, struct err *e)
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
    size_t bytes = strlen(root) + 1;
    struct tree *t = mem_try(sizeof(*t));
    char *copy = mem_try(bytes);

    if (t == NULL || copy == NULL) {
        mem_free(t);
        mem_free(copy);
        return err_set(e, PS_ENOMEM, "%s: out of memory", root);
    }
    memcpy(copy, root, bytes);
    *t = (struct tree){.fs = {.ops = &ops}, .root = copy};
    *fs = &t->fs;
    return PS_OK;
}

void fs_tree_free(struct fs *fs)
{
    struct tree *t;

    if (fs == NULL) {
        return;
    }
    t = tree_of(fs);
    mem_free(t->root);
    mem_free(t);
}
