/* conn_write.c - writing at once.
 *
 * A frame is first offered to the kernel as it is. What does not fit waits in
 * a queue, whose head is given to libuv, several frames in one call; the queue
 * keeps references, not copies. A peer that does not read its answers fills
 * that queue: then we stop reading from it, so it cannot ask for more. That
 * holds for connections that came to us only. If a client stopped reading as
 * well, both would wait for each other for ever.
 */
#include "net/conn_impl.h"

#include "base/mem.h"

enum { WRITE_BUFS = 16 };

void conn_free_queue(struct conn *c)
{
    for (size_t i = 0; i < c->n_queued; i++) {
        frame_put(c->queue[(c->head + i) & (c->room - 1)]);
    }
    mem_free(c->queue);
    c->loop->bytes -= c->bytes_queued;
    c->loop->n_queued -= c->n_queued;
}

static bool grow_queue(struct conn *c)
{
    size_t room = c->room == 0 ? 16 : c->room * 2;
    struct frame **queue = mem_try(mem_array(room, sizeof(struct frame *)));

    if (queue == NULL) {
        return false;
    }
    for (size_t i = 0; i < c->n_queued; i++) {
        queue[i] = c->queue[(c->head + i) & (c->room - 1)];
    }
    mem_free(c->queue);
    c->queue = queue;
    c->room = room;
    c->head = 0;
    return true;
}

static void set_paused(struct conn *c, bool is_paused)
{
    c->is_paused = is_paused;
    conn_set_reading(c);
}

static bool enqueue(struct conn *c, struct frame *f, size_t done)
{
    if (c->n_queued == c->room && !grow_queue(c)) {
        return false;
    }
    if (c->n_queued == 0) {
        c->head_done = done;
    }
    c->queue[(c->head + c->n_queued) & (c->room - 1)] = frame_get(f);
    c->n_queued++;
    c->bytes_queued += frame_bytes(f);
    c->loop->bytes += frame_bytes(f);
    c->loop->n_queued++;
    return true;
}

static void drop_written(struct conn *c)
{
    for (; c->n_writing > 0; c->n_writing--) {
        struct frame *f = c->queue[c->head];

        c->bytes_queued -= frame_bytes(f);
        c->loop->bytes -= frame_bytes(f);
        c->loop->n_queued--;
        frame_put(f);
        c->head = (c->head + 1) & (c->room - 1);
        c->n_queued--;
    }
    c->head_done = 0;
}

static void on_written(uv_write_t *req, int status)
{
    struct conn *c = req->data;

    drop_written(c);
    if (c->state != OPEN) {
        return;
    }
    if (status < 0) {
        conn_end(c);
        return;
    }
    if (c->is_paused && c->bytes_queued <= conn_queue_max(c->loop) / 2) {
        set_paused(c, false);
    }
    if (c->state == OPEN && c->n_queued > 0) {
        conn_start_write(c);
    }
}

void conn_start_write(struct conn *c)
{
    uv_buf_t bufs[WRITE_BUFS];
    size_t n = (size_t)base_min_u64(c->n_queued, WRITE_BUFS);

    ASSERT(c->n_writing == 0 && n > 0);
    for (size_t i = 0; i < n; i++) {
        struct frame *f = c->queue[(c->head + i) & (c->room - 1)];
        size_t skip = i == 0 ? c->head_done : 0;

        bufs[i] = uv_buf_init((char *)f->data + skip,
                              (unsigned)(frame_bytes(f) - skip));
    }
    c->loop->is_dirty = true;
    if (uv_write(&c->write, conn_stream(c), bufs, (unsigned)n, on_written) !=
        0) {
        conn_break_off(c);
        return;
    }
    c->n_writing = n;
}

/* Offers the frame to the kernel; the bytes taken, or negative. */
static ssize_t try_write(struct conn *c, struct frame *f)
{
    uv_buf_t buf = uv_buf_init((char *)f->data, (unsigned)frame_bytes(f));
    int n = uv_try_write(conn_stream(c), &buf, 1);

    return n == UV_EAGAIN ? 0 : n;
}

void conn_send(struct net *net, uint64_t connection, struct frame *frame)
{
    struct loop *l = conn_loop(net);
    struct conn *c = map_get(&l->conns, connection);
    ssize_t done = 0;

    if (c == NULL || c->state == BROKEN) {
        return;
    }
    loop_frame_went(l);
    if (c->state == OPEN && c->n_queued == 0) {
        done = try_write(c, frame);
        if (done == (ssize_t)frame_bytes(frame)) {
            return;
        }
    }
    if (done < 0 || !enqueue(c, frame, (size_t)done)) {
        conn_break_off(c);
        return;
    }
    if (c->state == OPEN && c->n_writing == 0) {
        conn_start_write(c);
    }
    if (c->state == OPEN && c->is_accepted &&
        c->bytes_queued > conn_queue_max(l)) {
        set_paused(c, true);
    }
}
