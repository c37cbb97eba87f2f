/* conn_read.c - reading in place.
 *
 * libuv asks where the next bytes go. A body that is under way names its own
 * place in its frame, so bulk data is never copied. The start of a frame goes
 * to the loop's staging room, so that a small frame takes one read instead of
 * three (header, body, and the one that finds nothing).
 */
#include "net/conn_impl.h"

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct conn *c = handle->data;
    struct frame_reader *r = &c->reader;
    size_t room = 0;
    uint8_t *p;

    (void)suggested;
    if (conn_must_wait(c)) {
        *buf = uv_buf_init(NULL, 0); /* on_read is told UV_ENOBUFS */
        return;
    }
    *buf = uv_buf_init((char *)c->loop->staging, CONN_STAGING_BYTES);
    if (r->frame == NULL && r->filled < FRAME_HEADER_BYTES) {
        return;
    }
    p = frame_reader_want(r, &room);
    if (p == NULL) {
        *buf = uv_buf_init(NULL, 0); /* likewise */
    } else if (room >= CONN_STAGING_BYTES / 2) {
        *buf = uv_buf_init((char *)p, (unsigned)room);
    }
}

/* Hands out a whole frame. False when the connection is no more. */
static bool deliver(struct conn *c)
{
    struct loop *l = c->loop;
    struct frame_header header = c->reader.header;
    struct frame *f = frame_reader_take(&c->reader);

    if (!c->is_known) {
        c->is_known = true;
        l->n_strangers -= c->is_accepted;
        if (c->is_accepted && l->patience_ms != 0) {
            conn_set_up_socket(c);
        }
    }
    loop_frame_came(l);
    if (l->handler->on_frame != NULL) {
        l->handler->on_frame(l->context, c->number, &header, f);
    }
    frame_put(f);
    l->bytes -= c->bytes_read; /* 0 of one that was closed meanwhile */
    c->bytes_read = 0;
    return c->state == OPEN;
}

/* n bytes have come to where the reader wanted them. */
static bool take(struct conn *c, size_t n)
{
    int rc = frame_reader_got(&c->reader, n);
    const char *wrong;

    if (rc > 0) {
        return deliver(c);
    }
    if (rc < 0) {
        wrong = rc == PS_ENOMEM ? "no memory for its frame"
                                : "what came is no frame, or was changed on "
                                  "its way";
    } else if (!c->is_known && c->is_accepted && c->loop->patience_ms != 0 &&
               conn_body(c) > LIMIT_GREETING_BYTES) {
        wrong = "its first frame is too large";
    } else {
        return true;
    }
    log_limited(&c->loop->malformed, loop_now(), LOG_WARNING,
                "the connection from %s ends: %s", conn_from(c), wrong);
    conn_end(c);
    return false;
}

static bool take_staged(struct conn *c, const uint8_t *data, size_t n)
{
    while (n > 0) {
        size_t room = 0;
        uint8_t *p = frame_reader_want(&c->reader, &room);
        size_t part = (size_t)base_min_u64(room, n);

        if (p == NULL) {
            conn_end(c);
            return false;
        }
        memcpy(p, data, part);
        data += part;
        n -= part;
        if (!take(c, part)) {
            return false;
        }
    }
    return true;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = stream->data;
    bool is_open;

    if (c->state != OPEN || n == 0) {
        return; /* broken: conn_settle will end it */
    }
    if (n == UV_ENOBUFS && conn_must_wait(c)) {
        conn_find_room(c);
        return;
    }
    if (n < 0) {
        conn_end(c);
        return;
    }
    if (buf->base == (char *)c->loop->staging) {
        is_open = take_staged(c, c->loop->staging, (size_t)n);
    } else {
        is_open = take(c, (size_t)n);
    }
    if (is_open) {
        conn_got_on(c, (size_t)n);
        conn_find_room(c);
    }
}

/* Reads from it, or does not, as its state says. */
void conn_set_reading(struct conn *c)
{
    bool must = c->state == OPEN && !c->is_paused && !c->is_waiting;

    if (must == c->is_reading) {
        return;
    }
    c->is_reading = must;
    c->loop->is_dirty = true;
    if (!must) {
        uv_read_stop(conn_stream(c));
    } else if (uv_read_start(conn_stream(c), on_alloc, on_read) != 0) {
        conn_break_off(c);
    }
}
