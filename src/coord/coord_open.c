/* coord_open.c - opens the file:// store; for a role that makes it, too.
 *
 * FORMAT is written as a temporary file and linked, like everything here: of
 * two processes that make the store at once, both find it whole.
 */
#include "coord/coord_store.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "coord/coord_record.h"

enum { FORMAT_FILE_MAX = 256 };

static const char format_words[] = "ps-plus coordination store, format ";

/* True for what coord_store_temporary names: nothing else in tmp is touched. */
static bool is_temporary(const char *name)
{
    size_t digits = strspn(name, "0123456789abcdef");
    size_t counts;

    if (digits != 16 || name[16] != '-') {
        return false;
    }
    counts = strspn(name + 17, "0123456789");
    return counts > 0 && name[17 + counts] == '\0';
}

/* Removes what dead processes left in tmp. A living one that loses its file to
 * this writes it again. */
static void discard_leftovers(struct coord_file *c)
{
    char folder[COORD_PATH_BYTES];
    char path[COORD_PATH_BYTES];
    struct buf names;

    coord_store_path(c, "tmp", 0, folder);
    buf_init(&names);
    if (c->fs->ops->list(c->fs, folder, coord_store_add_name, &names, NULL) ==
        PS_OK) {
        const char *name;

        for (size_t i = 0; i < names.size; i += strlen(name) + 1) {
            int n;

            name = (const char *)names.data + i;
            n = snprintf(path, sizeof(path), "%s/%s", folder, name);
            if (is_temporary(name) && n > 0 && n < COORD_PATH_BYTES) {
                coord_store_discard(c, path);
            }
        }
    }
    buf_fini(&names);
}

/* Reads FORMAT; PS_ENOTFOUND if the store is new. */
static int check_format(struct coord_file *c, struct err *e)
{
    char path[COORD_PATH_BYTES];
    const char *number;
    struct buf text;
    size_t digits;
    int rc;

    coord_store_path(c, "FORMAT", 0, path);
    buf_init(&text);
    rc = c->fs->ops->read(c->fs, path, FORMAT_FILE_MAX, &text, e);
    if (rc == PS_OK) {
        rc = buf_append(&text, "", 1);
    }
    if (rc != PS_OK) {
        goto out;
    }
    number = (const char *)text.data;
    if (strncmp(number, format_words, sizeof(format_words) - 1) == 0) {
        number += sizeof(format_words) - 1;
        digits = strspn(number, "0123456789");
    } else {
        digits = 0;
    }
    if (digits == 0 || digits > 9 || strcmp(number + digits, "\n") != 0) {
        rc = err_set(e, PS_EVERSION,
                     "%s is not that of a ps-plus store: choose another "
                     "folder, or an empty one",
                     path);
    } else if (strtol(number, NULL, 10) != COORD_FORMAT) {
        rc = err_set(e, PS_EVERSION,
                     "%s has format %.*s, this program knows %d: use the "
                     "version of ps-plus that made it, or another folder",
                     c->dir, (int)digits, number, COORD_FORMAT);
    }
out:
    buf_fini(&text);
    return rc;
}

/* Makes FORMAT, whole from its first moment, in a new store. */
static int make_format(struct coord_file *c, struct err *e)
{
    const struct fs_ops *ops = c->fs->ops;
    char parent[COORD_PATH_BYTES];
    char temporary[COORD_PATH_BYTES];
    char path[COORD_PATH_BYTES];
    char text[FORMAT_FILE_MAX];
    struct buf file = {.data = (uint8_t *)text};
    char *slash;
    int rc;

    file.size = (size_t)snprintf(text, sizeof(text), "%s%d\n", format_words,
                                 COORD_FORMAT);
    coord_store_path(c, "FORMAT", 0, path);
    memcpy(parent, c->dir, strlen(c->dir) + 1);
    slash = strrchr(parent, '/');
    if (slash == NULL) {
        memcpy(parent, ".", 2);
    } else {
        slash[slash == parent ? 1 : 0] = '\0';
    }
    rc = coord_store_write(c, &file, true, temporary, e);
    if (rc != PS_OK) {
        return rc;
    }
    rc = ops->link(c->fs, temporary, path, e);
    if (rc == PS_EEXIST) {
        rc = PS_OK; /* somebody else starts here as well */
    }
    (void)ops->unlink(c->fs, temporary, NULL);
    if (rc == PS_OK) {
        rc = ops->sync_dir(c->fs, c->dir, e);
    }
    if (rc == PS_OK) {
        rc = ops->sync_dir(c->fs, parent, e);
    }
    return rc;
}

static int prepare(struct coord_file *c, bool makes, struct err *e)
{
    const struct fs_ops *ops = c->fs->ops;
    char path[COORD_PATH_BYTES];
    int rc = makes ? ops->mkdir(c->fs, c->dir, e) : PS_OK;

    if (rc == PS_OK) {
        rc = ops->is_local(c->fs, c->dir, e);
    }
    if (rc == PS_OK) {
        rc = check_format(c, e);
    }
    coord_store_path(c, "tmp", 0, path);
    if (rc == PS_OK) {
        rc = ops->mkdir(c->fs, path, e);
        if (rc == PS_OK) {
            discard_leftovers(c); /* only here: it is a store, and not /var */
        }
        return rc;
    }
    if (!makes) {
        return rc != PS_ENOTFOUND
                   ? rc
                   : err_set(e, rc, "no cluster was ever started in %s",
                             c->dir);
    }
    for (size_t i = 0; i < COORD_TRIES && rc == PS_ENOTFOUND; i++) {
        rc = ops->mkdir(c->fs, path, e);
        if (rc == PS_OK) {
            rc = make_format(c, e);
        }
        if (rc == PS_OK) {
            rc = check_format(c, e);
        }
    }
    return rc;
}

static int open_store(struct coord_file **c, struct fs *fs, const char *dir,
                      uint64_t nonce, bool makes, struct err *e)
{
    size_t n = strlen(dir);
    struct coord_file *made;
    /* e is for a failure only, not for what was missing in a new store. */
    struct err failure = {.text = "out of memory"};
    int rc;

    while (n > 1 && dir[n - 1] == '/') {
        n--;
    }
    if (n == 0 || n >= COORD_PATH_BYTES - COORD_PATH_TAIL_BYTES) {
        return err_set(e, PS_EARGUMENT,
                       "the store's folder has a name of %zu bytes, 1 to %d "
                       "can be used",
                       n, COORD_PATH_BYTES - COORD_PATH_TAIL_BYTES - 1);
    }
    made = mem_try(sizeof(*made) + n + 1);
    if (made == NULL) {
        return err_set(e, PS_ENOMEM, "store %s: out of memory", dir);
    }
    *made = (struct coord_file){.fs = fs, .nonce = nonce};
    memcpy(made->dir, dir, n);
    made->dir[n] = '\0';
    buf_init(&made->versions);
    rc = prepare(made, makes, &failure);
    if (rc != PS_OK) {
        coord_file_close(made);
        return err_set(e, rc, "%s", failure.text);
    }
    *c = made;
    return PS_OK;
}

int coord_file_open(struct coord_file **c, struct fs *fs, const char *dir,
                    uint64_t nonce, struct err *e)
{
    return open_store(c, fs, dir, nonce, true, e);
}

int coord_file_join(struct coord_file **c, struct fs *fs, const char *dir,
                    uint64_t nonce, struct err *e)
{
    return open_store(c, fs, dir, nonce, false, e);
}

void coord_file_close(struct coord_file *c)
{
    if (c != NULL) {
        buf_fini(&c->versions);
        mem_free(c);
    }
}
