/* buf.c - a growing byte string. */
#include "buf.h"

#include "mem.h"

enum { BUF_FIRST_BYTES = 256 };

void buf_init(struct buf *b)
{
    *b = (struct buf){0};
}

void buf_fini(struct buf *b)
{
    mem_free(b->data);
    buf_init(b);
}

void buf_clear(struct buf *b)
{
    b->size = 0;
    b->failed = false;
}

/* Makes room for `more` bytes behind size; false: no memory. */
static bool make_room(struct buf *b, size_t more)
{
    size_t room;
    uint8_t *data;

    if (more <= b->room - b->size && b->data != NULL) {
        return true;
    }
    if (more > PTRDIFF_MAX - b->size) {
        return false;
    }
    /* room is at most PTRDIFF_MAX, so twice of it does not overflow. */
    room = base_max_u64(b->room * 2, BUF_FIRST_BYTES);
    room = base_max_u64(room, b->size + more);
    data = mem_try_resize(b->data, room);
    if (data == NULL) {
        return false;
    }
    b->data = data;
    b->room = room;
    return true;
}

void *buf_extend(struct buf *b, size_t size)
{
    void *p;

    if (b->failed || !make_room(b, size)) {
        b->failed = true;
        return NULL;
    }
    p = b->data + b->size;
    b->size += size;
    return p;
}

int buf_append(struct buf *b, const void *data, size_t size)
{
    void *p = buf_extend(b, size);

    if (p == NULL) {
        return PS_ENOMEM;
    }
    if (size > 0) {
        memcpy(p, data, size);
    }
    return PS_OK;
}
