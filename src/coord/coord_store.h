/* coord_store.h - inside of the file:// store: its paths and temporary files.
 *
 * For coord_open.c and coord_file.c only; the latter tells how it all works.
 */
#ifndef COORD_STORE_H
#define COORD_STORE_H

#include "coord/coord.h"
#include "fs/fs.h"

enum {
    COORD_PATH_BYTES = 4096,
    /* Room in a path behind the folder: a key or a temporary, and v.<n>. */
    COORD_PATH_TAIL_BYTES = 128,
    /* How often one request starts again because somebody else was quicker;
     * each time takes a step of theirs just within one of ours. */
    COORD_TRIES = 16
};

struct coord_file {
    struct fs *fs;
    uint64_t nonce;
    uint64_t count;       /* temporaries so far */
    struct buf versions;  /* uint64_t, rising: the key last listed */
    uint64_t torn;        /* last torn version told in the log */
    uint64_t failures[2]; /* in a row: of reading, of writing */
    char dir[];
};

/* A path in the store: its folder, `name`, and v.<version> if that is not 0.
 * There is always room. */
void coord_store_path(const struct coord_file *c, const char *name,
                      uint64_t version, char path[COORD_PATH_BYTES]);
/* The path of a new temporary file or folder. */
void coord_store_temporary(struct coord_file *c, char path[COORD_PATH_BYTES]);
/* Writes a new temporary file and sets its path. PS_EIO or PS_ENOMEM. */
int coord_store_write(struct coord_file *c, const struct buf *file,
                      bool is_durable, char path[COORD_PATH_BYTES],
                      struct err *e) MUST_USE;
/* For fs->list: appends the name and its NUL to the struct buf `context`. */
bool coord_store_add_name(void *context, const char *name);
/* Removes a temporary file, or a folder of files; nobody needs to know if that
 * fails. */
void coord_store_discard(struct coord_file *c, const char *path);

#endif
