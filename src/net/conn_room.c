/* conn_room.c - who may hold how much, and for how long.
 *
 * Room. What comes in and what waits to go out is counted over the loop. Where
 * the next body has no room, a connection that came to us waits in line, not
 * read, until the others' frames are served or sent; a body that has been let
 * in is read to its end, so it always ends.
 *
 * Shares. A body gets in, and a queue of answers grows, only as far as a share
 * of the room that is left (dynamic thresholds: Choudhury and Hahne, "Dynamic
 * Queue Length Thresholds for Shared-Memory Packet Switches", IEEE/ACM ToN
 * 1998). So a few that send a byte a second, or never read, take much of the
 * room and never all of it, and there is always some for small frames of
 * others. Small and large bodies wait in lines of their own, so that no small
 * one stands behind a large one; each line is served in order.
 *
 * Patience. Who holds memory while others wait and does not get on is closed
 * after a time: a client connects anew and sends again. To get on is to move a
 * sixteenth of what it holds, so a byte now and then is not enough. A
 * stranger, from whom no frame has come yet, has as long for its first one,
 * which must be small. One that has said HELLO, and holds nothing, may be
 * silent for ever.
 */
#include "net/conn_impl.h"

#include "base/mem.h"

enum {
    SHARE = 8,       /* one may take this part of the room that is left */
    GETTING_ON = 16, /* to move this part of what it holds is to get on */
    CROWD = 1024     /* blocks of memory that are worth returning */
};

/* Room of the loop that nobody holds. */
static uint64_t room_left(const struct loop *l)
{
    return l->bytes_max > l->bytes ? l->bytes_max - l->bytes : 0;
}

uint64_t conn_queue_max(const struct loop *l)
{
    return base_min_u64(LIMIT_SEND_QUEUE_BYTES, room_left(l) / SHARE);
}

uint64_t conn_body(const struct conn *c)
{
    const struct frame_reader *r = &c->reader;

    return r->frame != NULL || r->filled == FRAME_HEADER_BYTES
               ? r->header.body_bytes
               : 0;
}

static struct conn_line *line_of(const struct conn *c)
{
    return &c->loop->lines[conn_body(c) > LIMIT_SMALL_BODY_BYTES];
}

static bool somebody_waits(const struct loop *l)
{
    return l->lines[0].first != NULL || l->lines[1].first != NULL;
}

static void join_line(struct conn *c)
{
    struct conn_line *line = line_of(c);

    c->is_waiting = true;
    c->next_waiting = NULL;
    c->before_waiting = line->last;
    if (line->last == NULL) {
        line->first = c;
    } else {
        line->last->next_waiting = c;
    }
    line->last = c;
}

static void leave_line(struct conn *c)
{
    struct conn_line *line = line_of(c);

    if (c->before_waiting == NULL) {
        line->first = c->next_waiting;
    } else {
        c->before_waiting->next_waiting = c->next_waiting;
    }
    if (c->next_waiting == NULL) {
        line->last = c->before_waiting;
    } else {
        c->next_waiting->before_waiting = c->before_waiting;
    }
    c->is_waiting = false;
}

void conn_uncount(struct conn *c)
{
    struct loop *l = c->loop;

    l->bytes -= c->bytes_read;
    c->bytes_read = 0;
    if (c->is_waiting) {
        leave_line(c);
    }
    if (c->is_accepted) {
        l->n_accepted--;
        l->n_strangers -= !c->is_known;
    }
}

/* An empty loop has room for any frame, and a body that is counted goes on to
 * its end. */
bool conn_must_wait(const struct conn *c)
{
    const struct loop *l = c->loop;

    return c->is_accepted && l->bytes > 0 && c->bytes_read == 0 &&
           (l->bytes > l->bytes_max || conn_body(c) > room_left(l) / SHARE);
}

static void count_body(struct conn *c)
{
    struct loop *l = c->loop;

    l->bytes -= c->bytes_read;
    c->bytes_read = conn_body(c);
    l->bytes += c->bytes_read;
}

void conn_find_room(struct conn *c)
{
    if (!conn_must_wait(c)) {
        count_body(c);
        return;
    }
    join_line(c);
    conn_set_reading(c);
    conn_start_sweep(c->loop);
}

void conn_let_in(struct loop *l)
{
    for (size_t i = 0; i < ARRAY_LEN(l->lines); i++) {
        struct conn *c;

        while ((c = l->lines[i].first) != NULL && !conn_must_wait(c)) {
            leave_line(c);
            count_body(c);
            c->moved_ms = uv_now(&l->uv);
            c->bytes_come = 0;
            conn_set_reading(c);
        }
    }
}

void conn_look_back(struct loop *l)
{
    uint64_t blocks = l->conns.n + l->n_queued;

    if (blocks > l->blocks_max) {
        l->blocks_max = blocks;
    } else if (l->blocks_max >= CROWD && blocks <= l->blocks_max / 8) {
        l->blocks_max = blocks;
        mem_shrunk();
    }
}

void conn_got_on(struct conn *c, size_t n)
{
    c->bytes_come += n;
    /* Who does not read its answers gets on by reading them, and only so. */
    if (c->is_known && c->bytes_queued == 0 &&
        c->bytes_come >= c->bytes_read / GETTING_ON) {
        c->bytes_come = 0;
        c->moved_ms = uv_now(&c->loop->uv);
    }
}

/* Has enough of what it is to read gone to it since the last time? A larger
 * number is a new write: the former one has ended. */
static void look_at_writes(struct conn *c)
{
    size_t now = c->tcp.write_queue_size;

    if (now > c->unwritten || c->unwritten - now > c->unwritten / GETTING_ON) {
        c->unwritten = now;
        c->moved_ms = uv_now(&c->loop->uv);
    }
}

/* Does it hold what others wait for, or has it never said a word? */
static bool wears_patience(const struct conn *c)
{
    return c->state == OPEN && c->is_accepted &&
           (!c->is_known ||
            (somebody_waits(c->loop) && c->bytes_read + c->bytes_queued > 0));
}

static void on_sweep(uv_timer_t *timer)
{
    struct loop *l = timer->data;
    uint64_t now = uv_now(&l->uv);
    size_t i = 0;
    struct conn *c;

    while ((c = map_next(&l->conns, &i)) != NULL) {
        look_at_writes(c);
        if (!wears_patience(c) || now - c->moved_ms < l->patience_ms) {
            continue;
        }
        if (c->is_known) {
            log_limited(&l->still, loop_now(), LOG_WARNING,
                        "the connection from %s ends: it hardly moves and "
                        "holds what others wait for",
                        conn_from(c));
        } else {
            log_limited(&l->mute, loop_now(), LOG_WARNING,
                        "the connection from %s ends: its first frame has not "
                        "come",
                        conn_from(c));
        }
        conn_break_off(c);
    }
    if (l->n_strangers == 0 && !somebody_waits(l)) {
        uv_timer_stop(timer);
    }
}

void conn_start_sweep(struct loop *l)
{
    uint64_t every = l->patience_ms / 8 + 1;

    if (l->patience_ms != 0 && !uv_is_active((uv_handle_t *)&l->sweep)) {
        uv_timer_start(&l->sweep, on_sweep, every, every);
    }
}
