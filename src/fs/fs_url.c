/* fs_url.c - a tree of files by its URL.
 *
 *     caller --> names are looked at --> lock, where it is memory --> file://
 *                                                                     memory://
 *                                                                     (none)
 *
 * Memory is kept by name from its first opening until the process ends, like a
 * disk: what one cluster of this process has saved another may load.
 */
#include <pthread.h>
#include <stdio.h>

#include "base/mem.h"
#include "fs/fs.h"
#include "fs/fs_tree.h"

enum {
    PATH_BYTES = 4095, /* what Linux takes, without its NUL */
    PART_BYTES = 255
};

/* How the fields are kept safe:
 *     I   set before others see it, never changed
 *     m   lock m
 */
struct shared {
    struct shared *next; /* [I] */
    char *name;          /* [I] */
    struct fs *fs;       /* [m] */
    pthread_mutex_t m;   /* held across calls of fs, which never block */
};

static struct {
    pthread_mutex_t m;
    struct shared *first; /* [m] */
} all_shared = {.m = PTHREAD_MUTEX_INITIALIZER};

struct url {
    struct fs fs;
    struct fs *under; /* NULL: none:// */
    struct shared *shared;
};

static struct url *url_of(struct fs *fs)
{
    return CONTAINER_OF(fs, struct url, fs);
}

static int refuse(struct err *e, const char *path, const char *why)
{
    return err_set(e, PS_EARGUMENT, "the name %s: %s", path, why);
}

/* Whether all its characters are ones that a terminal only shows. */
static bool is_plain(const char *text)
{
    const uint8_t *p = (const uint8_t *)text;
    size_t left = strlen(text);

    while (left > 0) {
        size_t n = base_char_bytes(p, left);

        if (n == 0) {
            return false;
        }
        p += n;
        left -= n;
    }
    return true;
}

/* A name beneath the root; a folder's may be "." */
static int check_name(const char *path, bool is_folder, struct err *e)
{
    const char *p = path;
    size_t size = strlen(path);

    if (is_folder && strcmp(path, ".") == 0) {
        return PS_OK;
    }
    if (size > PATH_BYTES) {
        return refuse(e, path, "it is too long");
    }
    if (path[0] == '/') {
        return refuse(e, path, "it must be relative");
    }
    if (!is_plain(path)) {
        return refuse(e, path, "it has a control character or is not UTF-8");
    }
    for (;;) {
        size_t n = strcspn(p, "/");

        if (n == 0 || (n == 1 && p[0] == '.')) {
            return refuse(e, path, "a part of it is empty");
        }
        if (n == 2 && p[0] == '.' && p[1] == '.') {
            return refuse(e, path, "it must not go up");
        }
        if (n > PART_BYTES) {
            return refuse(e, path, "a part of it is too long");
        }
        if (p[n] == '\0') {
            return PS_OK;
        }
        p += n + 1;
    }
}

static int none_takes(const char *path, struct err *e)
{
    return err_set(e, PS_EARGUMENT, "%s: none:// takes nothing", path);
}

/* What a call answers without asking what is under: a name that is refused, and
 * none://, which keeps nothing and takes nothing. Else PS_OK. */
static int check_file(const struct url *u, const char *path, bool writes,
                      struct err *e)
{
    int rc = check_name(path, false, e);

    if (rc != PS_OK || u->under != NULL) {
        return rc;
    }
    return writes ? none_takes(path, e)
                  : err_set(e, PS_ENOTFOUND, "%s: none:// keeps nothing", path);
}

static struct fs *enter(struct url *u)
{
    if (u->shared != NULL) {
        pthread_mutex_lock(&u->shared->m);
    }
    return u->under;
}

static int leave(struct url *u, int rc)
{
    if (u->shared != NULL) {
        pthread_mutex_unlock(&u->shared->m);
    }
    return rc;
}

/* The call of what is under. */
#define CALL(u, call, ...) \
    leave(u, enter(u)->ops->call((u)->under, __VA_ARGS__))

static int write_new(struct fs *fs, const char *path, const void *data,
                     size_t size, bool sync, struct err *e)
{
    struct url *u = url_of(fs);
    int rc = check_file(u, path, true, e);

    return rc == PS_OK ? CALL(u, write_new, path, data, size, sync, e) : rc;
}

static int read_file(struct fs *fs, const char *path, size_t limit,
                     struct buf *out, struct err *e)
{
    struct url *u = url_of(fs);
    int rc = check_file(u, path, false, e);

    return rc == PS_OK ? CALL(u, read, path, limit, out, e) : rc;
}

static int link_file(struct fs *fs, const char *from, const char *to,
                     struct err *e)
{
    struct url *u = url_of(fs);
    int rc = check_name(from, false, e);

    if (rc == PS_OK) {
        rc = check_file(u, to, true, e);
    }
    return rc == PS_OK ? CALL(u, link, from, to, e) : rc;
}

static int rename_file(struct fs *fs, const char *from, const char *to,
                       struct err *e)
{
    struct url *u = url_of(fs);
    int rc = check_name(from, false, e);

    if (rc == PS_OK) {
        rc = check_file(u, to, true, e);
    }
    return rc == PS_OK ? CALL(u, rename, from, to, e) : rc;
}

static int unlink_file(struct fs *fs, const char *path, struct err *e)
{
    struct url *u = url_of(fs);
    int rc = check_file(u, path, false, e);

    return rc == PS_OK ? CALL(u, unlink, path, e) : rc;
}

static int make_folders(struct fs *fs, const char *path, struct err *e)
{
    struct url *u = url_of(fs);
    int rc = check_name(path, true, e);

    if (rc == PS_OK && u->under == NULL) {
        return none_takes(path, e);
    }
    return rc == PS_OK ? CALL(u, mkdir, path, e) : rc;
}

static int remove_folder(struct fs *fs, const char *path, struct err *e)
{
    struct url *u = url_of(fs);
    int rc = check_file(u, path, false, e);

    return rc == PS_OK ? CALL(u, rmdir, path, e) : rc;
}

static int sync_folder(struct fs *fs, const char *path, struct err *e)
{
    struct url *u = url_of(fs);
    int rc = check_name(path, true, e);

    return rc == PS_OK && u->under != NULL ? CALL(u, sync_dir, path, e) : rc;
}

static bool gather(void *context, const char *name)
{
    struct buf *names = context;

    return buf_append(names, name, strlen(name) + 1) == PS_OK;
}

/* The names are gathered first: fn may use this fs. */
static int list_folder(struct fs *fs, const char *path,
                       bool (*fn)(void *context, const char *name),
                       void *context, struct err *e)
{
    struct url *u = url_of(fs);
    struct buf names;
    int rc = check_name(path, true, e);

    if (rc != PS_OK || u->under == NULL) {
        return rc;
    }
    buf_init(&names);
    rc = CALL(u, list, path, gather, &names, e);
    if (rc == PS_OK && names.failed) {
        rc = err_set(e, PS_ENOMEM, "list %s: out of memory", path);
    }
    for (size_t i = 0; rc == PS_OK && i < names.size;) {
        const char *name = (const char *)names.data + i;

        if (!fn(context, name)) {
            break;
        }
        i += strlen(name) + 1;
    }
    buf_fini(&names);
    return rc;
}

static int check_local(struct fs *fs, const char *path, struct err *e)
{
    struct url *u = url_of(fs);
    int rc = check_name(path, true, e);

    return rc == PS_OK && u->under != NULL ? CALL(u, is_local, path, e) : rc;
}

static int open_file(struct fs *fs, const char *path, enum fs_open_how how,
                     struct fs_open_file **file, struct err *e)
{
    struct url *u = url_of(fs);
    int rc = check_file(u, path, how != FS_READ, e);

    return rc == PS_OK ? CALL(u, open, path, how, file, e) : rc;
}

static int write_at(struct fs *fs, struct fs_open_file *file, uint64_t offset,
                    const void *data, size_t size, struct err *e)
{
    return CALL(url_of(fs), write_at, file, offset, data, size, e);
}

static int read_at(struct fs *fs, struct fs_open_file *file, uint64_t offset,
                   void *data, size_t size, size_t *got, struct err *e)
{
    return CALL(url_of(fs), read_at, file, offset, data, size, got, e);
}

static int file_size(struct fs *fs, struct fs_open_file *file, uint64_t *size,
                     struct err *e)
{
    return CALL(url_of(fs), file_size, file, size, e);
}

static int sync_file(struct fs *fs, struct fs_open_file *file, struct err *e)
{
    return CALL(url_of(fs), sync, file, e);
}

static int close_file(struct fs *fs, struct fs_open_file *file, struct err *e)
{
    return CALL(url_of(fs), close, file, e);
}

/* NULL: no memory. */
static struct shared *make_shared(const char *name)
{
    size_t bytes = strlen(name) + 1;
    struct shared *s = mem_try_zero(sizeof(*s));
    char *copy = mem_try(bytes);

    if (s == NULL || copy == NULL) {
        mem_free(s);
        mem_free(copy);
        return NULL;
    }
    memcpy(copy, name, bytes);
    s->name = copy;
    s->fs = fs_memory_new();
    if (s->fs == NULL || pthread_mutex_init(&s->m, NULL) != 0) {
        fs_memory_free(s->fs);
        mem_free(copy);
        mem_free(s);
        return NULL;
    }
    return s;
}

static struct shared *find_shared(const char *name)
{
    struct shared *s;

    pthread_mutex_lock(&all_shared.m);
    for (s = all_shared.first; s != NULL; s = s->next) {
        if (strcmp(s->name, name) == 0) {
            break;
        }
    }
    if (s == NULL) {
        s = make_shared(name);
        if (s != NULL) {
            s->next = all_shared.first;
            all_shared.first = s;
        }
    }
    pthread_mutex_unlock(&all_shared.m);
    return s;
}

/* What is behind the scheme, or NULL where url has another one. */
static const char *behind(const char *url, const char *scheme)
{
    size_t n = strlen(scheme);

    return strncmp(url, scheme, n) == 0 ? url + n : NULL;
}

bool fs_url_is_none(const char *url)
{
    return strcmp(url, "none://") == 0;
}

/* Finds what the URL means; PS_EARGUMENT, PS_ENOMEM. */
static int open_under(struct url *u, const char *url, struct err *e)
{
    const char *dir = behind(url, "file://");
    const char *memory = behind(url, "memory://");

    if (!is_plain(url)) {
        return err_set(e, PS_EARGUMENT,
                       "%s: it has a control character or is not UTF-8", url);
    }
    if (fs_url_is_none(url)) {
        return PS_OK;
    }
    if (memory != NULL && memory[0] != '\0') {
        u->shared = find_shared(memory);
        u->under = u->shared == NULL ? NULL : u->shared->fs;
        return u->shared == NULL
                   ? err_set(e, PS_ENOMEM, "%s: out of memory", url)
                   : PS_OK;
    }
    if (dir == NULL && strstr(url, "://") == NULL) {
        dir = url;
    }
    if (dir == NULL || dir[0] == '\0') {
        return err_set(e, PS_EARGUMENT,
                       "\"%s\" is no place for files: there is file://DIR (or "
                       "DIR alone), memory://NAME and none://; mount a remote "
                       "store as a folder to use it",
                       url);
    }
    if (strlen(dir) > PATH_BYTES) {
        return err_set(e, PS_EARGUMENT, "%.40s...: it is too long", url);
    }
    return fs_tree_new(&u->under, dir, e);
}

int fs_url_open(struct fs **fs, const char *url, struct err *e)
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
        .write_at = write_at,
        .read_at = read_at,
        .file_size = file_size,
        .sync = sync_file,
        .close = close_file,
    };
    struct url *u = mem_try_zero(sizeof(*u));
    int rc;

    if (u == NULL) {
        return err_set(e, PS_ENOMEM, "%s: out of memory", url);
    }
    u->fs.ops = &ops;
    rc = open_under(u, url, e);
    if (rc != PS_OK) {
        mem_free(u);
        return rc;
    }
    *fs = &u->fs;
    return PS_OK;
}

void fs_url_close(struct fs *fs)
{
    struct url *u;

    if (fs == NULL) {
        return;
    }
    u = url_of(fs);
    if (u->shared == NULL) {
        fs_tree_free(u->under);
    }
    mem_free(u);
}
