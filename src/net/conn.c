/* conn.c - connections: reading in place, writing at once, closing once.
 *
 * Reading. libuv asks where the next bytes go. A body that is under way names
 * its own place in its frame, so bulk data is never copied. The start of a
 * frame goes to the loop's staging room, so that a small frame takes one read
 * instead of three (header, body, and the one that finds nothing).
 *
 * Writing. A frame is first offered to the kernel as it is. What does not fit
 * waits in a queue, whose head is given to libuv, several frames in one call;
 * the queue keeps references, not copies. A peer that does not read its answers
 * fills that queue: then we stop reading from it, so it cannot ask for more.
 * That holds for connections that came to us only. If a client stopped reading
 * as well, both would wait for each other for ever.
 *
 * Room. What comes in and what waits to go out is counted over the loop. Where
 * the next body has no room, or there is none at all, a connection that came to
 * us waits in line, not read, until the others' frames are served or sent; a
 * body that has been let in is read to its end, so it always ends. Who holds
 * memory meanwhile and stands still is closed after a time: a client connects
 * anew and sends again. A stranger, from whom no frame has come yet, has as
 * long for its first one, which must be small.
 *
 * Closing. A connection is in the map while its owner may hear of it. Taking it
 * out, and nothing else, decides who said the last word.
 */
#include "net/conn.h"

#include <netinet/in.h>

#include "base/mem.h"
#include "net/address.h"

enum {
    WRITE_BUFS = 16,
    KEEPALIVE_S = 30 /* of silence, before the kernel asks for the peer */
};

enum conn_state { RESOLVING, CONNECTING, OPEN, BROKEN, CLOSING };

struct conn {
    uv_tcp_t tcp;
    struct loop *loop;
    uint64_t number;
    enum conn_state state;
    bool is_accepted;
    bool is_reading;
    bool is_paused;  /* not read: its answers wait */
    bool is_waiting; /* not read: no room in the loop; in its list */
    bool is_known;   /* a frame has come */
    bool is_resolving;
    bool is_closed; /* libuv has let go of tcp */
    uint16_t port;
    struct conn *next_broken;
    struct conn *next_waiting;
    struct frame_reader reader;
    uint64_t bytes_read; /* of the body under way, where it is counted */
    uint64_t moved_ms;   /* when bytes came or went last, or it came to us */
    size_t unwritten;    /* by libuv, at the last sweep */

    /* A ring of frames to be written; the first n_writing are libuv's. */
    struct frame **queue;
    size_t room; /* 0 or a power of two */
    size_t head;
    size_t n_queued;
    size_t n_writing;
    size_t head_done; /* bytes of the first frame that are gone already */
    uint64_t bytes_queued;

    uv_connect_t connect;
    uv_getaddrinfo_t resolve;
    uv_write_t write;
};

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf);
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);
static void start_write(struct conn *c);

static struct loop *loop_of(struct net *net)
{
    return CONTAINER_OF(net, struct loop, net);
}

static uv_stream_t *stream_of(struct conn *c)
{
    return (uv_stream_t *)&c->tcp;
}

static void free_queue(struct conn *c)
{
    for (size_t i = 0; i < c->n_queued; i++) {
        frame_put(c->queue[(c->head + i) & (c->room - 1)]);
    }
    mem_free(c->queue);
    c->loop->bytes -= c->bytes_queued;
}

/* Frees once neither the socket nor the look-up of its name needs it. */
static void free_if_quiet(struct conn *c)
{
    if (!c->is_closed || c->is_resolving) {
        return;
    }
    free_queue(c);
    frame_reader_fini(&c->reader);
    mem_free(c);
}

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;

    c->is_closed = true;
    free_if_quiet(c);
}

/* A new connection, in the map; NULL when out of memory. */
static struct conn *new_conn(struct loop *l)
{
    struct conn *c = mem_try_zero(sizeof(*c));

    if (c == NULL) {
        return NULL;
    }
    c->loop = l;
    c->number = l->serial + 1;
    frame_reader_init(&c->reader);
    if (map_put(&l->conns, c->number, c) != PS_OK) {
        mem_free(c);
        return NULL;
    }
    if (uv_tcp_init(&l->uv, &c->tcp) != 0) {
        map_take(&l->conns, c->number);
        mem_free(c);
        return NULL;
    }
    l->serial++;
    c->tcp.data = c;
    c->connect.data = c;
    c->resolve.data = c;
    c->write.data = c;
    return c;
}

static void leave_line(struct conn *c)
{
    struct loop *l = c->loop;
    struct conn *before = NULL;

    for (struct conn *w = l->first_waiting; w != c; w = w->next_waiting) {
        before = w;
    }
    if (before == NULL) {
        l->first_waiting = c->next_waiting;
    } else {
        before->next_waiting = c->next_waiting;
    }
    if (l->last_waiting == c) {
        l->last_waiting = before;
    }
    c->next_waiting = NULL;
    c->is_waiting = false;
}

/* What the loop counts of it is gone with it; what it has queued, when that is
 * freed. */
static void uncount(struct conn *c)
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

/* Takes it out of the map; from now on nothing is said of it. */
static void retire(struct conn *c)
{
    struct loop *l = c->loop;

    ASSERT(c->state != CLOSING);
    map_take(&l->conns, c->number);
    uncount(c);
    if (c->state == BROKEN) {
        struct conn **p = &l->broken;

        while (*p != c) {
            p = &(*p)->next_broken;
        }
        *p = c->next_broken;
    }
    c->state = CLOSING;
    l->is_dirty = true;
    if (c->is_resolving) {
        uv_cancel((uv_req_t *)&c->resolve);
    }
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

/* Ends it from within an event: the owner may be told at once. */
static void end(struct conn *c)
{
    struct loop *l = c->loop;
    uint64_t number = c->number;

    retire(c);
    if (l->handler->on_close != NULL) {
        l->handler->on_close(l->context, number);
    }
}

/* Marks it from within a call of struct net: conn_settle does the rest. */
static void break_off(struct conn *c)
{
    ASSERT(c->state != BROKEN && c->state != CLOSING);
    c->state = BROKEN;
    c->next_broken = c->loop->broken;
    c->loop->broken = c;
    c->loop->is_dirty = true;
}

/* Reads from it, or does not, as its state says. */
static void set_reading(struct conn *c)
{
    bool must = c->state == OPEN && !c->is_paused && !c->is_waiting;

    if (must == c->is_reading) {
        return;
    }
    c->is_reading = must;
    c->loop->is_dirty = true;
    if (!must) {
        uv_read_stop(stream_of(c));
    } else if (uv_read_start(stream_of(c), on_alloc, on_read) != 0) {
        break_off(c);
    }
}

/* The body that is to come next, or is under way; 0: none is known of. */
static uint64_t body_under_way(const struct conn *c)
{
    const struct frame_reader *r = &c->reader;

    return r->frame != NULL || r->filled == FRAME_HEADER_BYTES
               ? r->header.body_bytes
               : 0;
}

/* Is there no room to read on? An empty loop has room for any frame, and a body
 * that is counted goes on to its end. */
static bool must_wait(const struct conn *c)
{
    const struct loop *l = c->loop;

    return c->is_accepted && l->bytes > 0 && c->bytes_read == 0 &&
           (l->bytes > l->bytes_max ||
            body_under_way(c) > l->bytes_max - l->bytes);
}

static void count_body(struct conn *c)
{
    c->loop->bytes -= c->bytes_read;
    c->bytes_read = body_under_way(c);
    c->loop->bytes += c->bytes_read;
}

static void let_in(struct loop *l)
{
    struct conn *c;

    while ((c = l->first_waiting) != NULL && !must_wait(c)) {
        leave_line(c);
        count_body(c);
        c->moved_ms = uv_now(&l->uv);
        set_reading(c);
    }
}

void conn_settle(struct loop *l)
{
    /* What breaks meanwhile waits for the next batch, so that an owner that
     * connects anew at each on_close does not keep us here. */
    uint64_t last = l->serial;
    struct conn *c = l->broken;

    while (c != NULL) {
        if (c->number <= last) {
            end(c);
            c = l->broken; /* the owner may have closed any of the others */
        } else {
            c = c->next_broken;
        }
    }
    let_in(l);
}

/* Does it hold what others wait for, or has it never said a word? */
static bool wears_patience(const struct conn *c)
{
    return c->state == OPEN && c->is_accepted &&
           (!c->is_known || (c->loop->first_waiting != NULL &&
                             c->bytes_read + c->bytes_queued > 0));
}

static void on_sweep(uv_timer_t *timer)
{
    struct loop *l = timer->data;
    uint64_t now = uv_now(&l->uv);
    size_t i = 0;
    struct conn *c;

    while ((c = map_next(&l->conns, &i)) != NULL) {
        if (c->unwritten != c->tcp.write_queue_size) {
            c->unwritten = c->tcp.write_queue_size;
            c->moved_ms = now;
        }
        if (wears_patience(c) && now - c->moved_ms >= l->patience_ms) {
            log_limited(&l->impatient, loop_now(), LOG_WARNING,
                        "a connection ends: %s",
                        c->is_known ? "it stands still and holds what others "
                                      "wait for"
                                    : "its first frame has not come");
            break_off(c);
        }
    }
    if (l->n_strangers == 0 && l->first_waiting == NULL) {
        uv_timer_stop(timer);
    }
}

static void start_sweep(struct loop *l)
{
    uint64_t every = l->patience_ms / 8 + 1;

    if (l->patience_ms != 0 && !uv_is_active((uv_handle_t *)&l->sweep)) {
        uv_timer_start(&l->sweep, on_sweep, every, every);
    }
}

/* Counts a body that has begun, or has it wait in line for room. */
static void find_room(struct conn *c)
{
    struct loop *l = c->loop;

    if (!must_wait(c)) {
        count_body(c);
        return;
    }
    c->is_waiting = true;
    if (l->last_waiting == NULL) {
        l->first_waiting = c;
    } else {
        l->last_waiting->next_waiting = c;
    }
    l->last_waiting = c;
    set_reading(c);
    start_sweep(l);
}

static void set_up_socket(struct conn *c)
{
    uv_tcp_nodelay(&c->tcp, 1);
    uv_tcp_keepalive(&c->tcp, 1, KEEPALIVE_S);
}

static void become_open(struct conn *c)
{
    struct loop *l = c->loop;

    c->state = OPEN;
    set_up_socket(c);
    set_reading(c);
    if (c->state == OPEN && c->n_queued > 0) {
        start_write(c);
    }
    if (l->handler->on_open != NULL) {
        l->handler->on_open(l->context, c->number);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct conn *c = handle->data;
    struct frame_reader *r = &c->reader;
    size_t room = 0;
    uint8_t *p;

    (void)suggested;
    if (must_wait(c)) {
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
               body_under_way(c) > LIMIT_GREETING_BYTES) {
        wrong = "its first frame is too large";
    } else {
        return true;
    }
    log_limited(&c->loop->malformed, loop_now(), LOG_WARNING,
                "a connection ends: %s", wrong);
    end(c);
    return false;
}

static bool take_staged(struct conn *c, const uint8_t *data, size_t n)
{
    while (n > 0) {
        size_t room = 0;
        uint8_t *p = frame_reader_want(&c->reader, &room);
        size_t part = (size_t)base_min_u64(room, n);

        if (p == NULL) {
            end(c);
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
    if (n == UV_ENOBUFS && must_wait(c)) {
        find_room(c);
        return;
    }
    if (n < 0) {
        end(c);
        return;
    }
    if (buf->base == (char *)c->loop->staging) {
        is_open = take_staged(c, c->loop->staging, (size_t)n);
    } else {
        is_open = take(c, (size_t)n);
    }
    if (is_open) {
        c->moved_ms = c->is_known ? uv_now(&c->loop->uv) : c->moved_ms;
        find_room(c);
    }
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
    set_reading(c);
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
    return true;
}

static void drop_written(struct conn *c)
{
    for (; c->n_writing > 0; c->n_writing--) {
        struct frame *f = c->queue[c->head];

        c->bytes_queued -= frame_bytes(f);
        c->loop->bytes -= frame_bytes(f);
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
        end(c);
        return;
    }
    if (c->is_paused && c->bytes_queued <= LIMIT_SEND_QUEUE_BYTES / 2) {
        set_paused(c, false);
    }
    if (c->state == OPEN && c->n_queued > 0) {
        start_write(c);
    }
}

static void start_write(struct conn *c)
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
    if (uv_write(&c->write, stream_of(c), bufs, (unsigned)n, on_written) != 0) {
        break_off(c);
        return;
    }
    c->n_writing = n;
}

/* Offers the frame to the kernel; the bytes taken, or negative. */
static ssize_t try_write(struct conn *c, struct frame *f)
{
    uv_buf_t buf = uv_buf_init((char *)f->data, (unsigned)frame_bytes(f));
    int n = uv_try_write(stream_of(c), &buf, 1);

    return n == UV_EAGAIN ? 0 : n;
}

void conn_send(struct net *net, uint64_t connection, struct frame *frame)
{
    struct loop *l = loop_of(net);
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
        break_off(c);
        return;
    }
    if (c->state == OPEN && c->n_writing == 0) {
        start_write(c);
    }
    if (c->state == OPEN && c->is_accepted &&
        c->bytes_queued > LIMIT_SEND_QUEUE_BYTES) {
        set_paused(c, true);
    }
}

static void on_connected(uv_connect_t *req, int status)
{
    struct conn *c = req->data;

    if (c->state != CONNECTING) {
        return;
    }
    if (status < 0) {
        end(c);
        return;
    }
    become_open(c);
}

static void start_connect(struct conn *c, const struct sockaddr *to)
{
    c->state = CONNECTING;
    c->loop->is_dirty = true;
    if (uv_tcp_connect(&c->connect, &c->tcp, to, on_connected) != 0) {
        break_off(c);
    }
}

/* A name's first IPv4 address, or its first of any kind: a server that was
 * given no address listens on IPv4. */
static void on_resolved(uv_getaddrinfo_t *req, int status,
                        struct addrinfo *found)
{
    struct conn *c = req->data;
    struct addrinfo *best = found;

    c->is_resolving = false;
    if (c->state != RESOLVING) {
        uv_freeaddrinfo(found);
        free_if_quiet(c);
        return;
    }
    if (status < 0 || found == NULL) {
        uv_freeaddrinfo(found);
        end(c);
        return;
    }
    for (struct addrinfo *a = found; a != NULL; a = a->ai_next) {
        if (a->ai_family == AF_INET) {
            best = a;
            break;
        }
    }
    start_connect(c, best->ai_addr);
    uv_freeaddrinfo(found);
}

static void start_resolve(struct conn *c, const char *host, uint16_t port)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV,
    };
    char service[8];

    snprintf(service, sizeof(service), "%u", (unsigned)port);
    c->state = RESOLVING;
    if (uv_getaddrinfo(&c->loop->uv, &c->resolve, on_resolved, host, service,
                       &hints) != 0) {
        break_off(c);
        return;
    }
    c->is_resolving = true;
}

uint64_t conn_connect(struct net *net, const char *address)
{
    struct loop *l = loop_of(net);
    char host[ADDRESS_HOST_MAX + 1];
    uint16_t port;
    struct sockaddr_storage to;
    struct conn *c;

    if (l->is_stopped || l->conns.n >= LIMIT_CONNECTIONS ||
        address_parse(address, host, &port) != PS_OK) {
        return 0;
    }
    c = new_conn(l);
    if (c == NULL) {
        return 0;
    }
    memset(&to, 0, sizeof(to));
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)&to) == 0 ||
        uv_ip6_addr(host, port, (struct sockaddr_in6 *)&to) == 0) {
        start_connect(c, (struct sockaddr *)&to);
    } else {
        start_resolve(c, host, port);
    }
    return c->number;
}

void conn_close(struct net *net, uint64_t connection)
{
    struct loop *l = loop_of(net);
    struct conn *c = map_get(&l->conns, connection);

    if (c != NULL) {
        retire(c);
    }
}

static void on_refused(uv_handle_t *handle)
{
    mem_free(handle);
}

/* Takes a connection only to end it: left alone it would wait for ever. */
static void refuse(struct loop *l)
{
    uv_tcp_t *tcp = mem_try_zero(sizeof(*tcp));

    log_limited(&l->refused, loop_now(), LOG_WARNING,
                "a connection is refused: %u are open, the limit is %u",
                l->n_accepted, l->accepted_max);
    if (tcp == NULL) {
        return;
    }
    if (uv_tcp_init(&l->uv, tcp) != 0) {
        mem_free(tcp);
        return;
    }
    (void)uv_accept((uv_stream_t *)&l->listener, (uv_stream_t *)tcp);
    uv_close((uv_handle_t *)tcp, on_refused);
}

void conn_accept(struct loop *l)
{
    struct conn *c = l->n_accepted < l->accepted_max ? new_conn(l) : NULL;

    if (c == NULL) {
        refuse(l);
        return;
    }
    c->is_accepted = true;
    c->moved_ms = uv_now(&l->uv);
    l->n_accepted++;
    l->n_strangers++;
    start_sweep(l);
    c->state = CONNECTING;
    if (uv_accept((uv_stream_t *)&l->listener, stream_of(c)) != 0) {
        retire(c); /* gone already: nobody has heard of it */
        return;
    }
    become_open(c);
}

void conn_close_all(struct loop *l)
{
    size_t i = 0;
    struct conn *c = map_next(&l->conns, &i);

    while (c != NULL) {
        retire(c);
        i = 0; /* retiring changes the map */
        c = map_next(&l->conns, &i);
    }
    map_fini(&l->conns);
}
