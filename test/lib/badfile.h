/* badfile.h - a file system that reads, and fails with one file for good. */
#ifndef TEST_BADFILE_H
#define TEST_BADFILE_H

#include "fs/fs.h"

struct badfile {
    struct fs fs;
    struct fs *inner;
    const char *path; /* "": all of them; NULL: none any more */
};

static bool badfile_is(struct fs *fs, const char *path, struct err *e)
{
    const struct badfile *b = (const struct badfile *)(const void *)fs;

    if (b->path == NULL || (b->path[0] != '\0' && strcmp(b->path, path) != 0)) {
        return false;
    }
    (void)err_set(e, PS_EIO, "%s: Input/output error", path);
    return true;
}

static struct fs *badfile_inner(struct fs *fs)
{
    return ((struct badfile *)(void *)fs)->inner;
}

static int badfile_read(struct fs *fs, const char *path, size_t limit,
                        struct buf *out, struct err *e)
{
    struct fs *in = badfile_inner(fs);

    return badfile_is(fs, path, e) ? PS_EIO
                                   : in->ops->read(in, path, limit, out, e);
}

static int badfile_list(struct fs *fs, const char *path,
                        bool (*fn)(void *context, const char *name),
                        void *context, struct err *e)
{
    struct fs *in = badfile_inner(fs);

    return badfile_is(fs, "", e) ? PS_EIO
                                 : in->ops->list(in, path, fn, context, e);
}

static int badfile_open(struct fs *fs, const char *path, enum fs_open_how how,
                        struct fs_open_file **file, struct err *e)
{
    struct fs *in = badfile_inner(fs);

    return badfile_is(fs, path, e) ? PS_EIO
                                   : in->ops->open(in, path, how, file, e);
}

static int badfile_read_at(struct fs *fs, struct fs_open_file *file,
                           uint64_t offset, void *data, size_t size,
                           size_t *got, struct err *e)
{
    struct fs *in = badfile_inner(fs);

    return in->ops->read_at(in, file, offset, data, size, got, e);
}

static int badfile_close(struct fs *fs, struct fs_open_file *file,
                         struct err *e)
{
    struct fs *in = badfile_inner(fs);

    return in->ops->close(in, file, e);
}

static const struct fs_ops badfile_ops = {.read = badfile_read,
                                          .list = badfile_list,
                                          .open = badfile_open,
                                          .read_at = badfile_read_at,
                                          .close = badfile_close};

#endif
