/* crashfs.c - the operations of a file system whose power can be cut. */
#include "lib/crashfs.h"

#include "base/mem.h"
#include "lib/crashfs_disk.h"

static struct crashfs *crashfs_of(struct fs *fs)
{
    return CONTAINER_OF(fs, struct crashfs, fs);
}

static int fail(struct err *e, int status, const char *path, const char *why)
{
    return err_set(e, status, "%s: %s", path, why);
}

enum need { READS, CHANGES, TAKES_ROOM };

static bool strikes(const struct crashfs *c, enum need need)
{
    switch (c->reason) {
    case CRASHFS_ENOSPC:
        return need == TAKES_ROOM;
    case CRASHFS_POWER:
        return need != READS || c->has_failed;
    case CRASHFS_EIO:
        break;
    }
    return true;
}

/* Whether this operation fails; *effect says what it does nevertheless. */
static bool begin(struct crashfs *c, enum need need,
                  enum crashfs_effect *effect)
{
    c->ops++;
    *effect = CRASHFS_DONE;
    if (c->fail_at == 0 || c->ops < c->fail_at || !strikes(c, need)) {
        return false;
    }
    *effect = c->effect;
    if (!c->has_failed) {
        c->failed_at = c->ops;
    }
    c->has_failed = true;
    if (!c->is_sticky) {
        c->fail_at = 0;
    }
    return true;
}

static int failed(const struct crashfs *c, const char *path, struct err *e)
{
    return fail(e, PS_EIO, path,
                c->reason == CRASHFS_ENOSPC ? "the disk is full"
                                            : "Input/output error");
}

/* The end of an operation: its own status unless it was to fail. */
static int finish(const struct crashfs *c, bool fails, int rc, const char *path,
                  struct err *e)
{
    return fails ? failed(c, path, e) : rc;
}

/* Finds the folder and the last part of a path; an empty name: the root. */
static int find(struct crashfs *c, const char *path, struct slot *at,
                struct err *e)
{
    const char *p = path;

    *at = (struct slot){.folder = ROOT};
    for (;;) {
        size_t n;
        const struct entry *entry;

        p += strspn(p, "/");
        n = strcspn(p, "/");
        if (n == 0) {
            return PS_OK;
        }
        if (n >= NAME_BYTES) {
            return fail(e, PS_EIO, path, "a name is too long");
        }
        if (n != 1 || p[0] != '.') {
            if (at->name[0] != '\0') {
                entry = crashfs_find(c, at);
                if (entry == NULL) {
                    return fail(e, PS_ENOTFOUND, path, "no such folder");
                }
                if (!c->nodes[entry->node].is_folder) {
                    return fail(e, PS_EIO, path, "not a folder");
                }
                at->folder = entry->node;
            }
            memset(at->name, 0, sizeof(at->name));
            memcpy(at->name, p, n);
        }
        p += n;
    }
}

/* Finds what a path names. */
static int look_up(struct crashfs *c, const char *path, struct slot *at,
                   int32_t *node, struct err *e)
{
    int rc = find(c, path, at, e);
    const struct entry *entry;

    if (rc != PS_OK) {
        return rc;
    }
    if (at->name[0] == '\0') {
        *node = ROOT;
        return PS_OK;
    }
    entry = crashfs_find(c, at);
    if (entry == NULL) {
        return fail(e, PS_ENOTFOUND, path, "no such file or folder");
    }
    *node = entry->node;
    return PS_OK;
}

static int look_up_kind(struct crashfs *c, const char *path, bool is_folder,
                        struct slot *at, int32_t *node, struct err *e)
{
    int rc = look_up(c, path, at, node, e);

    if (rc == PS_OK && c->nodes[*node].is_folder != is_folder) {
        rc = fail(e, PS_EIO, path, is_folder ? "not a folder" : "not a file");
    }
    return rc;
}

/* Finds where a new name is to be. */
static int find_free(struct crashfs *c, const char *path, struct slot *at,
                     struct err *e)
{
    int rc = find(c, path, at, e);

    if (rc == PS_OK && (at->name[0] == '\0' || crashfs_find(c, at))) {
        rc = fail(e, PS_EEXIST, path, "it is there already");
    }
    return rc;
}

static bool has_names(const struct crashfs *c, int32_t folder)
{
    for (size_t i = 0; i < c->seen.n; i++) {
        if (c->seen.all[i].at.folder == folder) {
            return true;
        }
    }
    return false;
}

static int do_write_new(struct fs *fs, const char *path, const void *data,
                        size_t size, bool sync, struct err *e)
{
    struct crashfs *c = crashfs_of(fs);
    enum crashfs_effect effect;
    bool fails = begin(c, TAKES_ROOM, &effect);
    struct slot at;
    int32_t node;
    int rc = find_free(c, path, &at, e);

    if (rc != PS_OK) {
        return rc;
    }
    if (effect != CRASHFS_NOT_DONE) {
        node = crashfs_new_node(c, false);
        crashfs_change(c, NULL, &at, node);
        crashfs_write(c, node, 0, data,
                      effect == CRASHFS_HALF_DONE ? size / 2 : size);
        if (fails) {
            crashfs_change(c, &at, NULL, node); /* "no file is left" */
        } else if (sync) {
            crashfs_sync(&c->nodes[node]);
        }
    }
    return finish(c, fails, rc, path, e);
}

static int do_read(struct fs *fs, const char *path, size_t limit,
                   struct buf *out, struct err *e)
{
    struct crashfs *c = crashfs_of(fs);
    enum crashfs_effect effect;
    bool fails = begin(c, READS, &effect);
    struct slot at;
    int32_t n = ROOT;
    int rc = look_up_kind(c, path, false, &at, &n, e);

    if (fails || rc != PS_OK) {
        return finish(c, fails, rc, path, e);
    }
    if (c->nodes[n].seen.size > limit) {
        return fail(e, PS_EIO, path, "it is larger than that");
    }
    return buf_append(out, c->nodes[n].seen.data, c->nodes[n].seen.size);
}

static int do_link(struct fs *fs, const char *from, const char *to,
                   struct err *e)
{
    struct crashfs *c = crashfs_of(fs);
    enum crashfs_effect effect;
    bool fails = begin(c, TAKES_ROOM, &effect);
    struct slot a;
    struct slot b;
    int32_t node = ROOT;
    int rc = look_up_kind(c, from, false, &a, &node, e);

    if (rc == PS_OK) {
        rc = find_free(c, to, &b, e);
    }
    if (rc == PS_OK && effect == CRASHFS_DONE) {
        crashfs_change(c, NULL, &b, node);
    }
    return finish(c, fails, rc, to, e);
}

/* Whether `node` is the folder `inside` or above it. */
static bool is_above(const struct crashfs *c, int32_t node, int32_t inside)
{
    while (inside != node && inside != ROOT) {
        int32_t above = ROOT;

        for (size_t i = 0; i < c->seen.n; i++) {
            if (c->seen.all[i].node == inside) {
                above = c->seen.all[i].at.folder;
            }
        }
        inside = above;
    }
    return inside == node;
}

static int check_rename(struct crashfs *c, int32_t node, const struct slot *to,
                        const char *path, struct err *e)
{
    const struct entry *old = crashfs_find(c, to);

    if (to->name[0] == '\0' || node == ROOT) {
        return fail(e, PS_EIO, path, "it is the root");
    }
    if (c->nodes[node].is_folder && is_above(c, node, to->folder)) {
        return fail(e, PS_EIO, path, "it is inside of itself");
    }
    if (old == NULL) {
        return PS_OK;
    }
    if (c->nodes[old->node].is_folder != c->nodes[node].is_folder) {
        return fail(e, PS_EIO, path, "a file and a folder");
    }
    return has_names(c, old->node) && old->node != node
               ? fail(e, PS_EEXIST, path, "the folder is not empty")
               : PS_OK;
}

static int do_rename(struct fs *fs, const char *from, const char *to,
                     struct err *e)
{
    struct crashfs *c = crashfs_of(fs);
    enum crashfs_effect effect;
    bool fails = begin(c, TAKES_ROOM, &effect);
    struct slot a;
    struct slot b;
    int32_t node = ROOT;
    const struct entry *old;
    int rc = look_up(c, from, &a, &node, e);

    if (rc == PS_OK) {
        rc = find(c, to, &b, e);
    }
    if (rc == PS_OK) {
        old = crashfs_find(c, &b);
        if (old != NULL && old->node == node) {
            return finish(c, fails, PS_OK, to, e); /* two names of one file */
        }
        rc = check_rename(c, node, &b, to, e);
    }
    if (rc == PS_OK && effect == CRASHFS_DONE) {
        crashfs_change(c, &a, &b, node);
    }
    return finish(c, fails, rc, to, e);
}

static int do_unlink(struct fs *fs, const char *path, struct err *e)
{
    struct crashfs *c = crashfs_of(fs);
    enum crashfs_effect effect;
    bool fails = begin(c, CHANGES, &effect);
    struct slot at;
    int32_t node = ROOT;
    int rc = look_up_kind(c, path, false, &at, &node, e);

    if (rc == PS_OK && effect == CRASHFS_DONE) {
        crashfs_change(c, &at, NULL, node);
    }
    return finish(c, fails, rc, path, e);
}

static int make_folder(struct crashfs *c, const char *path, struct err *e)
{
    struct slot at;
    int32_t node;
    int rc = find(c, path, &at, e);

    if (rc != PS_OK || at.name[0] == '\0') {
        return rc;
    }
    if (crashfs_find(c, &at) == NULL) {
        crashfs_change(c, NULL, &at, crashfs_new_node(c, true));
    }
    return look_up_kind(c, path, true, &at, &node, e);
}

static int do_mkdir(struct fs *fs, const char *path, struct err *e)
{
    struct crashfs *c = crashfs_of(fs);
    enum crashfs_effect effect;
    bool fails = begin(c, TAKES_ROOM, &effect);
    size_t size = strlen(path);
    char *part = mem_text(path);
    int rc = PS_OK;

    for (size_t i = 1; i <= size && rc == PS_OK && effect == CRASHFS_DONE;
         i++) {
        if (part[i] == '/' || part[i] == '\0') {
            part[i] = '\0';
            rc = make_folder(c, part, e);
            part[i] = path[i];
        }
    }
    mem_free(part);
    return finish(c, fails, rc, path, e);
}

static int do_rmdir(struct fs *fs, const char *path, struct err *e)
{
    struct crashfs *c = crashfs_of(fs);
    enum crashfs_effect effect;
    bool fails = begin(c, CHANGES, &effect);
    struct slot at;
    int32_t node = ROOT;
    int rc = look_up_kind(c, path, true, &at, &node, e);

    if (rc == PS_OK && (node == ROOT || has_names(c, node))) {
        rc = fail(e, PS_EEXIST, path, "it is not empty");
    }
    if (rc == PS_OK && effect == CRASHFS_DONE) {
        crashfs_change(c, &at, NULL, node);
    }
    return finish(c, fails, rc, path, e);
}

static int do_sync_dir(struct fs *fs, const char *path, struct err *e)
{
    struct crashfs *c = crashfs_of(fs);
    enum crashfs_effect effect;
    bool fails = begin(c, TAKES_ROOM, &effect);
    struct slot at;
    int32_t node = ROOT;
    int rc = look_up_kind(c, path, true, &at, &node, e);

    if (rc == PS_OK && effect == CRASHFS_DONE) {
        crashfs_sync_folder(c, node);
    }
    return finish(c, fails, rc, path, e);
}

static int do_list(struct fs *fs, const char *path,
                   bool (*fn)(void *context, const char *name), void *context,
                   struct err *e)
{
    struct crashfs *c = crashfs_of(fs);
    enum crashfs_effect effect;
    bool fails = begin(c, READS, &effect);
    struct slot at;
    int32_t node = ROOT;
    int rc = look_up_kind(c, path, true, &at, &node, e);

    for (size_t i = 0; i < c->seen.n && rc == PS_OK && !fails; i++) {
        if (c->seen.all[i].at.folder == node &&
            !fn(context, c->seen.all[i].at.name)) {
            break;
        }
    }
    return finish(c, fails, rc, path, e);
}

static int do_is_local(struct fs *fs, const char *path, struct err *e)
{
    struct slot at;
    int32_t node;

    return look_up(crashfs_of(fs), path, &at, &node, e);
}

static int do_open(struct fs *fs, const char *path, enum fs_open_how how,
                   struct fs_open_file **file, struct err *e)
{
    struct crashfs *c = crashfs_of(fs);
    enum crashfs_effect effect;
    bool fails = begin(c, how == FS_CREATE ? TAKES_ROOM : READS, &effect);
    struct slot at;
    int32_t node = ROOT;
    int rc = how == FS_CREATE ? find_free(c, path, &at, e)
                              : look_up_kind(c, path, false, &at, &node, e);

    if (rc == PS_OK && how == FS_CREATE && effect == CRASHFS_DONE) {
        node = crashfs_new_node(c, false);
        crashfs_change(c, NULL, &at, node);
    }
    if (rc == PS_OK && !fails) {
        struct fs_open_file *f = mem_new(sizeof(*f));

        *f = (struct fs_open_file){
            .next = c->files,
            .node = node,
            .life = c->life,
            .may_write = how == FS_CREATE,
        };
        c->files = f;
        *file = f;
    }
    return finish(c, fails, rc, path, e);
}

static int check_file(const struct crashfs *c, const struct fs_open_file *f,
                      struct err *e)
{
    if (f->life != c->life) {
        return fail(e, PS_EIO, "file", "the power was cut since");
    }
    if (f->is_lost) {
        return fail(e, PS_EIO, "file", "lost since an earlier failure");
    }
    return PS_OK;
}

static int do_write_at(struct fs *fs, struct fs_open_file *file,
                       uint64_t offset, const void *data, size_t size,
                       struct err *e)
{
    struct crashfs *c = crashfs_of(fs);
    enum crashfs_effect effect;
    bool fails = begin(c, TAKES_ROOM, &effect);
    int rc = check_file(c, file, e);

    if (rc == PS_OK && !file->may_write) {
        rc = fail(e, PS_EIO, "file", "open for reading");
    }
    if (rc != PS_OK) {
        return rc;
    }
    if (c->misdirect != 0) {
        int64_t place = (int64_t)offset + c->misdirect;

        offset = place < 0 ? 0 : (uint64_t)place;
        c->misdirect = 0;
    }
    if (effect != CRASHFS_NOT_DONE && size > 0) {
        crashfs_write(c, file->node, offset, data,
                      effect == CRASHFS_HALF_DONE ? size / 2 : size);
    }
    file->is_lost = fails;
    return finish(c, fails, rc, "write", e);
}

static int do_read_at(struct fs *fs, struct fs_open_file *file, uint64_t offset,
                      void *data, size_t size, size_t *got, struct err *e)
{
    struct crashfs *c = crashfs_of(fs);
    enum crashfs_effect effect;
    bool fails = begin(c, READS, &effect);
    int rc = check_file(c, file, e);

    if (rc == PS_OK && !fails) {
        const struct bytes *b = &c->nodes[file->node].seen;

        *got =
            offset < b->size ? (size_t)base_min_u64(size, b->size - offset) : 0;
        if (*got > 0) {
            memcpy(data, b->data + offset, *got);
        }
    }
    return finish(c, fails, rc, "read", e);
}

static int do_file_size(struct fs *fs, struct fs_open_file *file,
                        uint64_t *size, struct err *e)
{
    struct crashfs *c = crashfs_of(fs);
    enum crashfs_effect effect;
    bool fails = begin(c, READS, &effect);
    int rc = check_file(c, file, e);

    if (rc == PS_OK && !fails) {
        *size = c->nodes[file->node].seen.size;
    }
    return finish(c, fails, rc, "look at", e);
}

static int do_sync(struct fs *fs, struct fs_open_file *file, struct err *e)
{
    struct crashfs *c = crashfs_of(fs);
    enum crashfs_effect effect;
    bool fails = begin(c, TAKES_ROOM, &effect);
    int rc = check_file(c, file, e);

    if (rc != PS_OK) {
        return rc;
    }
    if (effect == CRASHFS_DONE) {
        crashfs_sync(&c->nodes[file->node]);
    } else {
        crashfs_lose(&c->nodes[file->node]);
    }
    file->is_lost = fails;
    return finish(c, fails, rc, "fsync", e);
}

static int do_close(struct fs *fs, struct fs_open_file *file, struct err *e)
{
    struct crashfs *c = crashfs_of(fs);
    enum crashfs_effect effect;
    bool fails = begin(c, TAKES_ROOM, &effect);
    struct fs_open_file **f = &c->files;

    while (*f != file) {
        ASSERT(*f != NULL);
        f = &(*f)->next;
    }
    *f = file->next;
    mem_free(file);
    return finish(c, fails, PS_OK, "close", e);
}

struct crashfs *crashfs_new(void)
{
    static const struct fs_ops ops = {
        .write_new = do_write_new,
        .read = do_read,
        .link = do_link,
        .rename = do_rename,
        .unlink = do_unlink,
        .mkdir = do_mkdir,
        .rmdir = do_rmdir,
        .sync_dir = do_sync_dir,
        .list = do_list,
        .is_local = do_is_local,
        .open = do_open,
        .write_at = do_write_at,
        .read_at = do_read_at,
        .file_size = do_file_size,
        .sync = do_sync,
        .close = do_close,
    };
    struct crashfs *c = mem_new(sizeof(*c));

    *c = (struct crashfs){.fs = {.ops = &ops}};
    (void)crashfs_new_node(c, true); /* ROOT */
    return c;
}

struct fs *crashfs_fs(struct crashfs *c)
{
    return &c->fs;
}

uint64_t crashfs_ops(const struct crashfs *c)
{
    return c->ops;
}

void crashfs_fail(struct crashfs *c, uint64_t n, enum crashfs_reason reason,
                  enum crashfs_effect effect, bool is_sticky)
{
    c->fail_at = n == 0 ? 0 : c->ops + n;
    c->reason = reason;
    c->effect = effect;
    c->is_sticky = is_sticky;
    c->has_failed = false;
}

uint64_t crashfs_failed_at(const struct crashfs *c)
{
    return c->has_failed ? c->failed_at : 0;
}

bool crashfs_has_failed(const struct crashfs *c)
{
    return c->has_failed;
}

int crashfs_flip(struct crashfs *c, const char *path, uint64_t bit)
{
    struct slot at;
    int32_t n = ROOT;
    int rc = look_up_kind(c, path, false, &at, &n, NULL);

    return rc == PS_OK ? crashfs_flip_node(&c->nodes[n], bit) : rc;
}

void crashfs_misdirect(struct crashfs *c, int64_t by)
{
    c->misdirect = by;
}
