/* coord_store.c - paths and temporary files of the file:// store. */
#include "coord/coord_store.h"

#include <inttypes.h>
#include <stdio.h>

void coord_store_path(const struct coord_file *c, const char *name,
                      uint64_t version, char path[COORD_PATH_BYTES])
{
    size_t start = strlen(c->dir) + 1;
    int n = version == 0
                ? snprintf(path, COORD_PATH_BYTES, "%s/%s", c->dir, name)
                : snprintf(path, COORD_PATH_BYTES, "%s/%s/v.%" PRIu64, c->dir,
                           name, version);

    ASSERT(n > 0 && n < COORD_PATH_BYTES);
    for (size_t i = start; i < start + strlen(name); i++) {
        if (path[i] == '/') {
            path[i] = ',';
        }
    }
}

void coord_store_temporary(struct coord_file *c, char path[COORD_PATH_BYTES])
{
    int n = snprintf(path, COORD_PATH_BYTES, "%s/tmp/%016" PRIx64 "-%" PRIu64,
                     c->dir, c->nonce, c->count++);

    ASSERT(n > 0 && n < COORD_PATH_BYTES);
}

int coord_store_write(struct coord_file *c, const struct buf *file,
                      bool is_durable, char path[COORD_PATH_BYTES],
                      struct err *e)
{
    int rc = PS_EEXIST;

    /* A name that is there is a former life's with the same nonce. */
    for (size_t i = 0; i < COORD_TRIES && rc == PS_EEXIST; i++) {
        coord_store_temporary(c, path);
        rc = c->fs->ops->write_new(c->fs, path, file->data, file->size,
                                   is_durable, e);
    }
    if (rc != PS_OK) {
        (void)c->fs->ops->unlink(c->fs, path, NULL);
        return rc == PS_ENOMEM ? rc : PS_EIO;
    }
    return PS_OK;
}

bool coord_store_add_name(void *context, const char *name)
{
    return buf_append(context, name, strlen(name) + 1) == PS_OK;
}

void coord_store_discard(struct coord_file *c, const char *path)
{
    const struct fs_ops *ops = c->fs->ops;
    struct buf names;

    if (ops->unlink(c->fs, path, NULL) == PS_OK) {
        return;
    }
    buf_init(&names);
    if (ops->list(c->fs, path, coord_store_add_name, &names, NULL) == PS_OK) {
        const char *name;

        for (size_t i = 0; i < names.size; i += strlen(name) + 1) {
            char inside[COORD_PATH_BYTES];
            int n;

            name = (const char *)names.data + i;
            n = snprintf(inside, sizeof(inside), "%s/%s", path, name);
            if (n > 0 && n < COORD_PATH_BYTES) {
                (void)ops->unlink(c->fs, inside, NULL);
            }
        }
        (void)ops->rmdir(c->fs, path, NULL);
    }
    buf_fini(&names);
}
