/* simfs.c - the store's files, with steps that go wrong.
 *
 * One step of an operation (a change of a file or folder) can fail before it
 * did anything, or after; be the last that a dying process does; or, for a
 * link, be given up and land later all the same. */
#include <stdio.h>

#include "base/mem.h"
#include "oracle.h"
#include "sim.h"

struct simfs {
    struct fs fs;
    struct fs *under;
    struct sim *sim;
    bool is_armed;
    bool has_struck;
    bool is_dying; /* no step happens any more */
    enum simfs_fault fault;
    uint32_t steps_left;
};

/* A link that lands later: the bytes, for the name they had is gone by then. */
struct late {
    struct simfs *f;
    char *to;
    void *data;
    size_t size;
};

static struct simfs *simfs_of(struct fs *fs)
{
    return CONTAINER_OF(fs, struct simfs, fs);
}

enum step { STEP_GOES, STEP_FAILS, STEP_LIES };

static enum step step_of(struct simfs *f)
{
    if (f->is_dying) {
        return STEP_FAILS;
    }
    if (!f->is_armed || f->has_struck || f->fault == SIMFS_LINKS_LATE ||
        f->steps_left-- > 0) {
        return STEP_GOES;
    }
    f->has_struck = true;
    if (f->fault == SIMFS_DIES) {
        f->is_dying = true;
    }
    return f->fault == SIMFS_LIES ? STEP_LIES : STEP_FAILS;
}

static int failed(struct err *e)
{
    return err_set(e, PS_EIO, "the simulated file system fails");
}

static int finish(enum step step, int rc, struct err *e)
{
    return step == STEP_LIES ? failed(e) : rc;
}

static int do_write_new(struct fs *fs, const char *path, const void *data,
                        size_t size, bool sync, struct err *e)
{
    struct simfs *f = simfs_of(fs);
    enum step step = step_of(f);
    int rc;

    if (step == STEP_FAILS) {
        return failed(e);
    }
    rc = f->under->ops->write_new(f->under, path, data, size, sync, e);
    if (step == STEP_LIES && rc == PS_OK) {
        /* "On failure no file is left." */
        (void)f->under->ops->unlink(f->under, path, NULL);
    }
    return finish(step, rc, e);
}

static int do_read(struct fs *fs, const char *path, size_t limit,
                   struct buf *out, struct err *e)
{
    struct simfs *f = simfs_of(fs);

    return f->is_dying ? failed(e)
                       : f->under->ops->read(f->under, path, limit, out, e);
}

static void keep_link(struct simfs *f, const char *from, const char *to)
{
    struct late *l = world_take(f->sim, sizeof(*l));
    struct buf b;

    l->f = f;
    l->to = world_take(f->sim, strlen(to) + 1);
    memcpy(l->to, to, strlen(to) + 1);
    buf_init(&b);
    if (f->under->ops->read(f->under, from, COORD_VALUE_MAX, &b, NULL) ==
        PS_OK) {
        l->data = world_take(f->sim, b.size);
        l->size = b.size;
        memcpy(l->data, b.data, b.size);
        world_push(f->sim,
                   f->sim->now +
                       (world_chance(f->sim, 700000)
                            ? world_between(f->sim, 100, 40 * SIM_MS)
                            : world_between(f->sim, 40 * SIM_MS, 4 * SIM_S)),
                   EVENT_LINK, NULL, l, 0);
    }
    buf_fini(&b);
}

void simfs_on_link(struct sim *s, void *late)
{
    struct late *l = late;
    struct fs *under = l->f->under;

    if (under->ops->write_new(under, l->to, l->data, l->size, true, NULL) ==
        PS_OK) {
        faults_count(s, FAULT_store_link_late);
        trace_note(s, "a late link to %s lands", l->to);
        oracle_on_stored_all(s);
    }
}

static int do_link(struct fs *fs, const char *from, const char *to,
                   struct err *e)
{
    struct simfs *f = simfs_of(fs);
    enum step step;

    if (f->is_armed && !f->has_struck && f->fault == SIMFS_LINKS_LATE) {
        f->has_struck = true;
        keep_link(f, from, to);
        return failed(e);
    }
    step = step_of(f);
    return step == STEP_FAILS
               ? failed(e)
               : finish(step, f->under->ops->link(f->under, from, to, e), e);
}

static int do_rename(struct fs *fs, const char *from, const char *to,
                     struct err *e)
{
    struct simfs *f = simfs_of(fs);
    enum step step = step_of(f);

    return step == STEP_FAILS
               ? failed(e)
               : finish(step, f->under->ops->rename(f->under, from, to, e), e);
}

static int do_unlink(struct fs *fs, const char *path, struct err *e)
{
    struct simfs *f = simfs_of(fs);
    enum step step = step_of(f);

    return step == STEP_FAILS
               ? failed(e)
               : finish(step, f->under->ops->unlink(f->under, path, e), e);
}

static int do_mkdir(struct fs *fs, const char *path, struct err *e)
{
    struct simfs *f = simfs_of(fs);
    enum step step = step_of(f);

    return step == STEP_FAILS
               ? failed(e)
               : finish(step, f->under->ops->mkdir(f->under, path, e), e);
}

static int do_rmdir(struct fs *fs, const char *path, struct err *e)
{
    struct simfs *f = simfs_of(fs);
    enum step step = step_of(f);

    return step == STEP_FAILS
               ? failed(e)
               : finish(step, f->under->ops->rmdir(f->under, path, e), e);
}

static int do_sync_dir(struct fs *fs, const char *path, struct err *e)
{
    struct simfs *f = simfs_of(fs);
    enum step step = step_of(f);

    return step == STEP_FAILS
               ? failed(e)
               : finish(step, f->under->ops->sync_dir(f->under, path, e), e);
}

static int do_list(struct fs *fs, const char *path,
                   bool (*fn)(void *context, const char *name), void *context,
                   struct err *e)
{
    struct simfs *f = simfs_of(fs);

    return f->is_dying ? failed(e)
                       : f->under->ops->list(f->under, path, fn, context, e);
}

static int do_is_local(struct fs *fs, const char *path, struct err *e)
{
    struct simfs *f = simfs_of(fs);

    return f->under->ops->is_local(f->under, path, e);
}

static int do_open(struct fs *fs, const char *path, enum fs_open_how how,
                   struct fs_open_file **file, struct err *e)
{
    struct simfs *f = simfs_of(fs);
    const struct fs_ops *under = f->under->ops;
    enum step step = how == FS_CREATE ? step_of(f) : STEP_GOES;
    int rc;

    if (step == STEP_FAILS || f->is_dying) {
        return failed(e);
    }
    rc = under->open(f->under, path, how, file, e);
    if (step == STEP_LIES && rc == PS_OK) {
        (void)under->close(f->under, *file, NULL);
    }
    return finish(step, rc, e);
}

static int do_write_at(struct fs *fs, struct fs_open_file *file,
                       uint64_t offset, const void *data, size_t size,
                       struct err *e)
{
    struct simfs *f = simfs_of(fs);
    enum step step = step_of(f);
    int rc;

    if (step == STEP_FAILS) {
        return failed(e);
    }
    rc = f->under->ops->write_at(f->under, file, offset, data, size, e);
    return finish(step, rc, e);
}

static int do_read_at(struct fs *fs, struct fs_open_file *file, uint64_t offset,
                      void *data, size_t size, size_t *got, struct err *e)
{
    struct simfs *f = simfs_of(fs);

    return f->is_dying ? failed(e)
                       : f->under->ops->read_at(f->under, file, offset, data,
                                                size, got, e);
}

static int do_file_size(struct fs *fs, struct fs_open_file *file,
                        uint64_t *size, struct err *e)
{
    struct simfs *f = simfs_of(fs);

    return f->is_dying ? failed(e)
                       : f->under->ops->file_size(f->under, file, size, e);
}

static int do_sync(struct fs *fs, struct fs_open_file *file, struct err *e)
{
    struct simfs *f = simfs_of(fs);
    enum step step = step_of(f);

    return step == STEP_FAILS
               ? failed(e)
               : finish(step, f->under->ops->sync(f->under, file, e), e);
}

/* Never a step of its own: the handle goes in any case. */
static int do_close(struct fs *fs, struct fs_open_file *file, struct err *e)
{
    struct simfs *f = simfs_of(fs);
    int rc = f->under->ops->close(f->under, file, e);

    return f->is_dying ? failed(e) : rc;
}

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

struct simfs *simfs_new(struct sim *s, struct fs *under)
{
    struct simfs *f = world_take(s, sizeof(*f));

    f->fs.ops = &ops;
    f->under = under;
    f->sim = s;
    return f;
}

struct fs *simfs_fs(struct simfs *f)
{
    return &f->fs;
}

void simfs_arm(struct simfs *f, enum simfs_fault fault, uint32_t step)
{
    f->is_armed = true;
    f->has_struck = false;
    f->is_dying = false;
    f->fault = fault;
    f->steps_left = step;
}

bool simfs_disarm(struct simfs *f)
{
    bool struck = f->has_struck;

    f->is_armed = false;
    f->has_struck = false;
    f->is_dying = false;
    return struck;
}
