/* shelf.h - the coordination store as one process under test sees it.
 *
 * The store is the real coord_file, over a file system that several shelves
 * may share. A request waits on the shelf until the test has it executed, so
 * the test decides in which order, when, and how it fails.
 */
#ifndef SHELF_H
#define SHELF_H

#include "coord/coord.h"
#include "fs/fs.h"

struct shelf_request {
    struct shelf_request *next;
    struct coord_request r;
};

struct shelf {
    struct coord coord;
    struct coord_file *file;
    void (*deliver)(void *context, const struct coord_result *result);
    void *context;
    struct shelf_request *first; /* oldest first */
    uint64_t n_cas;              /* executed, whatever came of it */
    int fail_status;             /* the next ones end with this; PS_OK: none */
    uint64_t fail_count;         /* how many */
    bool fail_with_effect;       /* they are done all the same */
    bool is_away;                /* all end with PS_EIO */
    bool is_full;                /* those that write do */
    struct buf value;            /* of shelf_get, with a header in front */
    const void *data;            /* the value itself */
    size_t size;
};

void shelf_init(struct shelf *s, struct fs *fs, uint64_t nonce,
                void (*deliver)(void *context, const struct coord_result *r),
                void *context);
void shelf_fini(struct shelf *s);
/* Is such a request waiting? key NULL: any. */
bool shelf_has(const struct shelf *s, enum coord_op op, const char *key);
/* Executes the oldest such request and delivers its answer; false if there is
 * none (a watch of what has not changed waits on). key NULL: any. */
bool shelf_do_key(struct shelf *s, const char *key);
/* Executes all, with what follows from them. */
void shelf_run(struct shelf *s);
/* The process died: nothing that waits is executed any more. */
void shelf_forget(struct shelf *s);

/* From outside, past the machine. shelf_get returns the version (0: absent)
 * and leaves the value in s->data and s->size. */
uint64_t shelf_get(struct shelf *s, const char *key);
/* Writes, whatever is there. */
void shelf_put(struct shelf *s, const char *key, struct buf *value);

#endif
