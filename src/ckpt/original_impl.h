/* original_impl.h - what original_*.c share; for no other file. */
#ifndef ORIGINAL_IMPL_H
#define ORIGINAL_IMPL_H

#include "ckpt/original.h"

enum { ORIGINAL_PATH_BYTES = 8192, ORIGINAL_WINDOW = 256 << 10 };

/* A file that is read from its front to its end, with what was wrong first.
 * After a failure each read is 0 and does nothing. */
struct original_cursor {
    struct fs *fs;
    struct fs_open_file *file; /* NULL: closed */
    const char *path;
    uint64_t size;
    uint64_t at;
    struct buf window;
    uint64_t window_at;
    struct arena *arena;
    int status;
    struct err *e;
};

/* PS_ENOTFOUND where there is no such file. path and e must live as long. */
int original_cursor_open(struct original_cursor *c, struct fs *fs,
                         const char *path, struct arena *arena,
                         struct err *e) MUST_USE;
void original_cursor_close(struct original_cursor *c);
/* Says "PATH: at byte AT: ..." unless something failed before; returns the
 * first failure. */
int original_cursor_fail(struct original_cursor *c, int status,
                         const char *format, ...) PRINTF_LIKE(3, 4);
uint64_t original_cursor_left(const struct original_cursor *c);
bool original_cursor_bytes(struct original_cursor *c, void *out, size_t size);
uint32_t original_cursor_u32(struct original_cursor *c);
uint64_t original_cursor_u64(struct original_cursor *c);
double original_cursor_f32(struct original_cursor *c);
double original_cursor_f64(struct original_cursor *c);
/* A count of things of at least so many bytes each: they must fit. */
uint64_t original_cursor_count(struct original_cursor *c, size_t bytes,
                               const char *what);
/* A text in the arena, with a NUL behind; "" after a failure. is_name: it must
 * be one that may be printed and sent. */
const char *original_cursor_text(struct original_cursor *c, bool is_name,
                                 const char *what);
void original_cursor_skip(struct original_cursor *c, uint64_t bytes,
                          const char *what);
void *original_cursor_take(struct original_cursor *c, uint64_t n, size_t size);

/* The path of a file of the checkpoint. PS_EARGUMENT: it is too long. */
int original_path(const struct original *o, const char *file, char *out,
                  struct err *e) MUST_USE;
/* The same of a variable's part. */
int original_part_path(const struct original *o,
                       const struct original_variable *v, uint32_t part,
                       char *out, struct err *e) MUST_USE;
/* The layout of a part, all but its keys. begin and end are set already. */
int original_part_read(struct original_cursor *c,
                       const struct original_variable *v,
                       struct original_part *part) MUST_USE;
/* Which slot of a part has this name; NULL: none. */
const struct original_slot *original_slot_named(const struct original_part *p,
                                                const char *name);

struct original_item {
    uint64_t key;
    uint64_t low;
    uint64_t id;
};
/* The items of a hash part by rising id, checked; for mem_free. */
int original_items(struct original_cursor *c, const struct original_variable *v,
                   const struct original_part *p,
                   struct original_item **items) MUST_USE;

#endif
