/* disk_work.c - does the requests of a disk on a file system. */
#include "fs/disk_work.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/probe.h"

PLANT_DECLARE(rename_not_synced);
PLANT_DECLARE(whole_file_not_synced);

void disk_work_init(struct disk_work *w, struct fs *fs)
{
    *w = (struct disk_work){.fs = fs};
}

void disk_work_fini(struct disk_work *w)
{
    for (size_t i = 0; i < w->n; i++) {
        (void)w->fs->ops->close(w->fs, w->files[i].file, NULL);
    }
    mem_free(w->files);
    disk_work_init(w, w->fs);
}

static struct disk_work_file *find(struct disk_work *w, uint64_t number)
{
    for (size_t i = 0; i < w->n; i++) {
        if (w->files[i].number == number) {
            return &w->files[i];
        }
    }
    return NULL;
}

/* Ends a number; PS_OK where it names no file. */
static int close_file(struct disk_work *w, uint64_t number, struct err *e)
{
    struct disk_work_file *f = find(w, number);
    int rc = PS_OK;

    if (f != NULL) {
        rc = w->fs->ops->close(w->fs, f->file, e);
        *f = w->files[--w->n];
    }
    return rc;
}

/* The folder that a name is in. */
static void folder_of(const char *path, char folder[DISK_PATH_MAX + 1])
{
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 0 : (size_t)(slash - path);

    if (n == 0) {
        folder[n++] = '.';
    } else {
        memcpy(folder, path, n);
    }
    folder[n] = '\0';
}

static const char *or_root(const char *path)
{
    return path[0] == '\0' ? "." : path;
}

static int make_folder_of(struct disk_work *w, const char *path, struct err *e)
{
    char folder[DISK_PATH_MAX + 1];

    folder_of(path, folder);
    return w->fs->ops->mkdir(w->fs, folder, e);
}

static int sync_folder_of(struct disk_work *w, const char *path, struct err *e)
{
    char folder[DISK_PATH_MAX + 1];

    folder_of(path, folder);
    return w->fs->ops->sync_dir(w->fs, folder, e);
}

static int open_file(struct disk_work *w, const struct disk_request *r,
                     struct err *e)
{
    struct fs_open_file *file = NULL;
    int rc = PS_OK;

    /* Our number is not another file's, but one whose end was lost. */
    (void)close_file(w, r->file, NULL);
    if (w->n == w->room) {
        size_t room = w->room == 0 ? 8 : 2 * w->room;
        struct disk_work_file *files =
            mem_try_resize(w->files, mem_array(room, sizeof(*files)));

        if (files == NULL) {
            return err_set(e, PS_ENOMEM, "open %s: out of memory", r->path);
        }
        w->files = files;
        w->room = room;
    }
    if (r->op == DISK_CREATE) {
        rc = make_folder_of(w, r->path, e);
    }
    if (rc == PS_OK) {
        rc = w->fs->ops->open(w->fs, r->path,
                              r->op == DISK_CREATE ? FS_CREATE : FS_READ, &file,
                              e);
    }
    if (rc == PS_OK) {
        w->files[w->n++] =
            (struct disk_work_file){.number = r->file, .file = file};
    }
    return rc;
}

static int read_part(struct disk_work *w, const struct disk_request *r,
                     struct fs_open_file *file, struct buf *out, struct err *e)
{
    size_t before = out->size;
    size_t got = 0;
    void *data = buf_extend(out, r->size);
    int rc;

    if (data == NULL) {
        return err_set(e, PS_ENOMEM, "read: no memory for %zu bytes", r->size);
    }
    rc = w->fs->ops->read_at(w->fs, file, r->offset, data, r->size, &got, e);
    out->size = before + (rc == PS_OK ? got : 0);
    return rc;
}

static int answer_sum(const void *data, size_t size, struct buf *out,
                      struct err *e)
{
    struct disk_sum sum = {size, hash_bytes(data, size)};

    return buf_append(out, &sum, sizeof(sum)) == PS_OK
               ? PS_OK
               : err_set(e, PS_ENOMEM, "out of memory");
}

static int write_part(struct disk_work *w, const struct disk_request *r,
                      struct fs_open_file *file, struct buf *out, struct err *e)
{
    int rc = w->fs->ops->write_at(w->fs, file, r->offset, r->data, r->size, e);

    return rc == PS_OK && r->wants_sum ? answer_sum(r->data, r->size, out, e)
                                       : rc;
}

static int sum_part(struct disk_work *w, const struct disk_request *r,
                    struct fs_open_file *file, struct buf *out, struct err *e)
{
    struct buf read;
    int rc;

    buf_init(&read);
    rc = read_part(w, r, file, &read, e);
    if (rc == PS_OK) {
        rc = answer_sum(read.data, read.size, out, e);
    }
    buf_fini(&read);
    return rc;
}

static int do_open_file(struct disk_work *w, const struct disk_request *r,
                        struct buf *out, struct err *e)
{
    struct disk_work_file *f = find(w, r->file);

    if (f == NULL) {
        return err_set(e, PS_EIO, "the file is not open");
    }
    if (r->op == DISK_WRITE) {
        return write_part(w, r, f->file, out, e);
    }
    if (r->op == DISK_READ) {
        return read_part(w, r, f->file, out, e);
    }
    if (r->op == DISK_SUM) {
        return sum_part(w, r, f->file, out, e);
    }
    return w->fs->ops->sync(w->fs, f->file, e);
}

static int rename_path(struct disk_work *w, const struct disk_request *r,
                       struct err *e)
{
    char from[DISK_PATH_MAX + 1];
    char to[DISK_PATH_MAX + 1];
    int rc = w->fs->ops->rename(w->fs, r->path, r->to, e);

    folder_of(r->path, from);
    folder_of(r->to, to);
    if (rc == PS_OK && !PLANT(rename_not_synced)) {
        rc = w->fs->ops->sync_dir(w->fs, to, e);
    }
    if (rc == PS_OK && strcmp(from, to) != 0) {
        rc = w->fs->ops->sync_dir(w->fs, from, e);
    }
    return rc;
}

static bool add_name(void *context, const char *name)
{
    struct buf *out = context;

    return buf_append(out, name, strlen(name) + 1) == PS_OK;
}

static int list_folder(struct disk_work *w, const struct disk_request *r,
                       struct buf *out, struct err *e)
{
    size_t before = out->size;
    int rc = w->fs->ops->list(w->fs, or_root(r->path), add_name, out, e);

    if (rc == PS_OK && out->failed) {
        rc = err_set(e, PS_ENOMEM, "list %s: out of memory", r->path);
    }
    if (rc != PS_OK) {
        out->size = before;
    }
    return rc;
}

static int write_whole(struct disk_work *w, const struct disk_request *r,
                       struct buf *out, struct err *e)
{
    const void *data = r->data;
    size_t size = r->size;
    struct buf made;
    int rc = PS_OK;

    buf_init(&made);
    if (r->make != NULL) {
        rc = r->make(r->context, &made);
        if (rc != PS_OK) {
            err_set(e, rc, "write %s: %s", r->path, ps_status_text(rc));
        }
        data = made.data;
        size = made.size;
    }
    if (rc == PS_OK) {
        rc = make_folder_of(w, r->path, e);
    }
    if (rc == PS_OK) {
        rc = w->fs->ops->write_new(w->fs, r->path, data, size,
                                   !PLANT(whole_file_not_synced), e);
    }
    if (rc == PS_OK) {
        rc = sync_folder_of(w, r->path, e);
    }
    if (rc == PS_OK && r->wants_sum) {
        rc = answer_sum(data, size, out, e);
    }
    buf_fini(&made);
    return rc;
}

int disk_work_do(struct disk_work *w, const struct disk_request *r,
                 struct buf *out, struct err *e)
{
    switch (r->op) {
    case DISK_CREATE:
    case DISK_OPEN:
        return open_file(w, r, e);
    case DISK_WRITE:
    case DISK_READ:
    case DISK_SUM:
    case DISK_SYNC:
        return do_open_file(w, r, out, e);
    case DISK_CLOSE:
        return find(w, r->file) == NULL
                   ? err_set(e, PS_EIO, "the file is not open")
                   : close_file(w, r->file, e);
    case DISK_RENAME:
        return rename_path(w, r, e);
    case DISK_SYNC_DIR:
        return w->fs->ops->sync_dir(w->fs, or_root(r->path), e);
    case DISK_REMOVE:
        return fs_remove_tree(w->fs, r->path, e);
    case DISK_LIST:
        return list_folder(w, r, out, e);
    case DISK_READ_WHOLE:
        return w->fs->ops->read(w->fs, r->path, r->size, out, e);
    case DISK_WRITE_WHOLE:
        return write_whole(w, r, out, e);
    default:
        return err_set(e, PS_EARGUMENT, "no such request");
    }
}
