/* buf.h - a growing byte string.
 *
 * A failed append sets `failed` and later appends do nothing, so that a writer
 * of many fields checks once, at the end.
 */
#ifndef BUF_H
#define BUF_H

#include "base.h"

struct buf {
    uint8_t *data;
    size_t size;
    size_t room;
    bool failed;
};

void buf_init(struct buf *b);
void buf_fini(struct buf *b);  /* leaves it reusable by buf_init */
void buf_clear(struct buf *b); /* keeps the memory */
int buf_append(struct buf *b, const void *data, size_t size);
/* Makes `size` more bytes and returns them, or NULL. Not cleared. */
void *buf_extend(struct buf *b, size_t size) MUST_USE;

#endif
