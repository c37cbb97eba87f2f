/* simnet.c - connections between threads, byte by byte.
 *
 *        end 0 (who connected)                        end 1 (who listens)
 *     net->send --> pipes[0]: OPEN, frame, frame, CLOSE --> reader, machine
 *     machine, reader <-- pipes[1]: OPEN, frame, CLOSE <-- net->send
 *
 * What is sent waits in its pipe as a parcel with its time of arrival; parcels
 * of one pipe arrive in order, as bytes in pieces of any size. A close is a
 * parcel too, so what was sent before it may still arrive, seconds after the
 * next connection of the two was opened. A frame's header is copied when it is
 * sent; its body is shared, for it may never be changed (the oracle looks).
 *
 * Connection numbers: 2 * link + 2 for end 0, one more for end 1. */
#include <stdio.h>

#include "base/mem.h"
#include "oracle.h"
#include "sim.h"

enum parcel_kind { PARCEL_OPEN, PARCEL_FRAME, PARCEL_CLOSE };

struct parcel {
    struct parcel *next;
    enum parcel_kind kind;
    uint64_t at;
    struct frame *frame;
    size_t sent;   /* bytes that have arrived */
    size_t cut_at; /* bytes that will */
    struct frame_header header;
    uint8_t head[FRAME_HEADER_BYTES];
};

struct pipe {
    struct parcel *first;
    struct parcel *last;
    uint64_t at; /* of the last parcel */
    uint64_t stalled_until;
    bool has_close; /* nothing more goes in */
};

struct end {
    struct thread *thread; /* NULL: nobody listens */
    bool is_open;
    bool is_closed;
    struct frame_reader reader;
};

struct link {
    struct link *next;
    uint64_t id;
    struct end ends[2];
    struct pipe pipes[2]; /* [i]: from end i */
    char address[SIM_ADDRESS_BYTES];
    bool is_slow;
};

static struct thread *thread_of(struct net *net)
{
    return CONTAINER_OF(net, struct thread, net);
}

static struct link *link_of(struct sim *s, uint64_t connection)
{
    uint64_t i = connection / 2 - 1;

    return connection >= 2 && i < s->n_links ? s->by_number[i] : NULL;
}

static uint64_t latency(struct sim *s)
{
    return world_chance(s, 950000) ? world_between(s, 50, 1500)
                                   : world_between(s, 1500, 20 * SIM_MS);
}

static uint64_t now_in(const struct thread *t)
{
    return t->sim->now + t->inside_us;
}

static struct parcel *put(struct sim *s, struct link *l, uint32_t side,
                          enum parcel_kind kind, uint64_t at)
{
    struct pipe *pipe = &l->pipes[side];
    struct parcel *p = world_take(s, sizeof(*p));

    p->kind = kind;
    p->at = base_max_u64(at, pipe->at);
    p->cut_at = SIZE_MAX;
    pipe->at = p->at;
    if (pipe->first == NULL) {
        pipe->first = p;
    } else {
        pipe->last->next = p;
    }
    pipe->last = p;
    pipe->has_close = kind == PARCEL_CLOSE;
    world_push(s, base_max_u64(p->at, pipe->stalled_until), EVENT_DELIVER, NULL,
               l, side);
    return p;
}

static void take_first(struct pipe *pipe)
{
    struct parcel *p = pipe->first;

    pipe->first = p->next;
    frame_put(p->frame);
    p->frame = NULL;
}

/* What has not arrived never will; the events of these parcels find nothing. */
static void empty(struct pipe *pipe)
{
    while (pipe->first != NULL) {
        take_first(pipe);
    }
}

/* ---- the seam ---------------------------------------------------------- */

static uint64_t net_now(struct net *net)
{
    struct thread *t = thread_of(net);
    struct sim *s = t->sim;

    if (s->running == t && t->looks_left >= 0 && t->looks_left-- == 0) {
        t->inside_us += t->stop_us;
        trace_note(s, "%s/%u is stopped in a handler for %.3f s",
                   world_name(t->process), t->number,
                   (double)t->stop_us / SIM_S);
    }
    return world_clock(t->process, now_in(t));
}

static uint64_t net_random(struct net *net)
{
    return world_random(thread_of(net)->sim);
}

static uint64_t net_connect(struct net *net, const char *address)
{
    struct thread *t = thread_of(net);
    struct sim *s = t->sim;
    struct link *l;
    uint64_t at = now_in(t) + latency(s);

    if (t->is_dead || strlen(address) >= SIM_ADDRESS_BYTES) {
        return 0;
    }
    l = world_take(s, sizeof(*l));
    l->id = s->n_links;
    l->next = s->links;
    s->links = l;
    if (s->n_links == s->links_room) {
        s->links_room = s->links_room == 0 ? 256 : 2 * s->links_room;
        s->by_number =
            mem_try_resize(s->by_number, s->links_room * sizeof(*s->by_number));
        ASSERT(s->by_number != NULL);
    }
    s->by_number[s->n_links++] = l;
    l->ends[0].thread = t;
    memcpy(l->address, address, strlen(address) + 1);
    frame_reader_init(&l->ends[0].reader);
    frame_reader_init(&l->ends[1].reader);
    if (faults_draw(s, FAULT_connect_refused)) {
        put(s, l, 1, PARCEL_CLOSE, at);
    } else {
        if (faults_draw(s, FAULT_connect_slow)) {
            at += world_between(s, 50 * SIM_MS, 4 * SIM_S);
        }
        world_push(s, at, EVENT_CONNECT, NULL, l, 0);
    }
    trace_note(s, "%s connects to %s: %llu", world_name(t->process), address,
               (unsigned long long)(2 * l->id + 2));
    return 2 * l->id + 2;
}

void simnet_on_connect(struct sim *s, struct link *l)
{
    struct thread *to = NULL;

    for (uint32_t i = 0; i < s->n_places && to == NULL; i++) {
        struct process *p = s->places[i].process;

        for (uint32_t k = 0; p != NULL && k < p->n_threads; k++) {
            if (strcmp(p->threads[k].address, l->address) == 0) {
                to = &p->threads[k];
            }
        }
    }
    if (l->ends[0].is_closed || l->ends[0].thread->is_dead) {
        return;
    }
    if (to == NULL) {
        put(s, l, 1, PARCEL_CLOSE, s->now + latency(s));
        return;
    }
    /* The kernel accepts, whatever the process does. */
    l->ends[1].thread = to;
    put(s, l, 0, PARCEL_OPEN, s->now);
    put(s, l, 1, PARCEL_OPEN, s->now + latency(s));
}

/* Breaks a connection: nothing more goes in, both ends hear of it at their own
 * time, and what is on the way arrives or not. */
static void cut(struct sim *s, struct link *l, uint64_t at)
{
    for (uint32_t side = 0; side < 2; side++) {
        uint64_t late = world_chance(s, 800000)
                            ? world_between(s, 0, 20 * SIM_MS)
                            : world_between(s, 20 * SIM_MS, 3 * SIM_S);

        if (!l->pipes[side].has_close && l->ends[1].thread != NULL) {
            put(s, l, side, PARCEL_CLOSE, at + late);
        }
    }
}

static void draw_faults(struct sim *s, struct link *l, uint32_t side,
                        const struct frame_header *h, struct parcel *p)
{
    struct pipe *pipe = &l->pipes[side];
    size_t size = FRAME_HEADER_BYTES + (size_t)h->body_bytes;

    if (faults_draw(s, FAULT_frame_delayed)) {
        uint64_t us = world_chance(s, 700000)
                          ? world_between(s, SIM_MS, 300 * SIM_MS)
                          : world_between(s, 300 * SIM_MS, 5 * SIM_S);

        pipe->stalled_until = base_max_u64(pipe->stalled_until, p->at + us);
    }
    if (faults_draw(s, FAULT_stall_one_way)) {
        pipe->stalled_until =
            base_max_u64(pipe->stalled_until,
                         p->at + world_between(s, 500 * SIM_MS, 8 * SIM_S));
    }
    if (faults_draw(s, FAULT_cut_mid_frame)) {
        p->cut_at = world_below(s, size);
        cut(s, l, p->at);
    }
}

static void net_send(struct net *net, uint64_t connection, struct frame *frame)
{
    struct thread *t = thread_of(net);
    struct sim *s = t->sim;
    struct link *l = link_of(s, connection);
    uint32_t side = (uint32_t)(connection & 1);
    struct parcel *p;
    struct frame_header h;
    bool is_ack;

    if (l == NULL || l->ends[side].thread != t) {
        world_fail(s, "%s sends on connection %llu, which is not its own",
                   world_name(t->process), (unsigned long long)connection);
        return;
    }
    if (frame_header_decode(frame->data, &h) != PS_OK ||
        h.body_bytes != frame->body_bytes || h.body_bytes % 8 != 0) {
        world_fail(s, "%s sends a frame that is malformed",
                   world_name(t->process));
        return;
    }
    if (t->is_dead) {
        return;
    }
    trace_frame(s, t, connection, &h, frame, "sends");
    s->totals.frames++;
    oracle_on_sent(s, t, l->ends[1 - side].thread, connection, &h, frame);
    if (l->ends[side].is_closed || l->pipes[side].has_close) {
        return; /* it is cut, or closed; the sender may not know yet */
    }
    is_ack = side == 1 && h.seq != 0;
    if (faults_draw(s, is_ack ? FAULT_ack_lost : FAULT_frame_lost)) {
        trace_note(s, "that frame is lost");
        return;
    }
    p = put(s, l, side, PARCEL_FRAME, now_in(t) + latency(s));
    p->frame = frame_get(frame);
    p->header = h;
    memcpy(p->head, frame->data, FRAME_HEADER_BYTES);
    draw_faults(s, l, side, &h, p);
}

static void net_close(struct net *net, uint64_t connection)
{
    struct thread *t = thread_of(net);
    struct sim *s = t->sim;
    struct link *l = link_of(s, connection);
    uint32_t side = (uint32_t)(connection & 1);
    struct pipe *pipe;

    if (l == NULL || l->ends[side].thread != t) {
        world_fail(s, "%s closes connection %llu, which is not its own",
                   world_name(t->process), (unsigned long long)connection);
        return;
    }
    pipe = &l->pipes[side];
    l->ends[side].is_closed = true;
    empty(&l->pipes[1 - side]);
    trace_note(s, "%s closes %llu", world_name(t->process),
               (unsigned long long)connection);
    if (pipe->has_close || l->ends[1].thread == NULL) {
        return;
    }
    if (pipe->first != NULL && faults_draw(s, FAULT_old_bytes_late)) {
        pipe->stalled_until =
            base_max_u64(pipe->stalled_until,
                         s->now + world_between(s, 200 * SIM_MS, 8 * SIM_S));
    } else if (world_chance(s, 300000)) {
        empty(pipe);
    }
    put(s, l, side, PARCEL_CLOSE, now_in(t) + latency(s));
}

void simnet_init(struct thread *t)
{
    t->net = (struct net){
        net_connect, net_send, net_close, net_now, net_random, NULL, NULL,
    };
}

/* ---- arrival ----------------------------------------------------------- */

/* Moves n bytes of a parcel into the reader, in pieces. */
static int feed(struct sim *s, struct parcel *p, struct frame_reader *r,
                size_t n)
{
    int rc = PS_OK;

    while (n > 0) {
        size_t room, piece;
        uint8_t *to = frame_reader_want(r, &room);

        ASSERT(to != NULL && room > 0);
        piece = base_min_u64(n, room);
        if (piece > 1 && world_chance(s, 100000)) {
            piece = world_between(s, 1, piece);
        }
        for (size_t done = 0; done < piece;) {
            size_t at = p->sent + done;
            size_t part =
                at < FRAME_HEADER_BYTES
                    ? base_min_u64(FRAME_HEADER_BYTES - at, piece - done)
                    : piece - done;
            const uint8_t *from =
                at < FRAME_HEADER_BYTES ? p->head : p->frame->data;

            memcpy(to + done, from + at, part);
            done += part;
        }
        p->sent += piece;
        n -= piece;
        rc = frame_reader_got(r, piece);
        if (rc < 0 ||
            (rc == 1) != (p->sent ==
                          FRAME_HEADER_BYTES + (size_t)p->frame->body_bytes)) {
            world_fail(s, "the frame reader answers %d at byte %zu of %u", rc,
                       p->sent, p->frame->body_bytes + FRAME_HEADER_BYTES);
            return PS_EPROTOCOL;
        }
    }
    return rc;
}

static void arrive(struct sim *s, struct link *l, uint32_t side)
{
    struct pipe *pipe = &l->pipes[side];
    struct parcel *p = pipe->first;
    struct end *to = &l->ends[1 - side];
    struct frame *f;
    size_t all = FRAME_HEADER_BYTES + (size_t)p->frame->body_bytes;
    size_t n = base_min_u64(all, p->cut_at) - p->sent;
    int rc;

    if (n > 1 && world_chance(s, 50000)) {
        n = world_between(s, 1, n - 1);
        (void)feed(s, p, &to->reader, n);
        world_push(s, s->now + latency(s), EVENT_DELIVER, NULL, l, side);
        return;
    }
    rc = feed(s, p, &to->reader, n);
    if (p->sent < all) {
        take_first(pipe); /* cut: the close is behind it */
        return;
    }
    if (rc != 1) {
        return;
    }
    f = frame_reader_take(&to->reader);
    world_enter(to->thread);
    oracle_on_handling(s, to->thread, l->ends[side].thread, &p->header, f);
    to->thread->machine->on_frame(to->thread, 2 * l->id + 2 + (1 - side),
                                  &p->header, f);
    oracle_on_handled(s);
    world_leave(to->thread);
    frame_put(f);
    if (pipe->first == p) {
        take_first(pipe); /* unless the handler closed */
    }
}

void simnet_on_deliver(struct sim *s, struct link *l, uint32_t side)
{
    struct pipe *pipe = &l->pipes[side];
    struct parcel *p = pipe->first;
    struct end *to = &l->ends[1 - side];
    uint64_t number = 2 * l->id + 2 + (1 - side);
    uint64_t wait;

    if (p == NULL) {
        return;
    }
    if (to->is_closed || to->thread == NULL || to->thread->is_dead) {
        empty(pipe);
        return;
    }
    wait = base_max_u64(base_max_u64(p->at, pipe->stalled_until),
                        to->thread->busy_until);
    if (wait > s->now) {
        world_push(s, wait, EVENT_DELIVER, NULL, l, side);
        return;
    }
    if (p->kind == PARCEL_FRAME) {
        arrive(s, l, side);
        return;
    }
    take_first(pipe);
    world_enter(to->thread);
    if (p->kind == PARCEL_OPEN) {
        to->is_open = true;
        trace_note(s, "%s/%u hears open %llu", world_name(to->thread->process),
                   to->thread->number, (unsigned long long)number);
        to->thread->machine->on_open(to->thread, number);
    } else {
        to->is_closed = true;
        /* Who never heard of the connection hears nothing of its end. */
        if (to->is_open || side == 1) {
            trace_note(s, "%s/%u hears close %llu",
                       world_name(to->thread->process), to->thread->number,
                       (unsigned long long)number);
            to->thread->machine->on_close(to->thread, number);
        }
    }
    world_leave(to->thread);
}

/* ---- ends -------------------------------------------------------------- */

/* One end's process has died. */
static void orphan(struct sim *s, struct link *l, uint32_t side)
{
    struct pipe *pipe = &l->pipes[side];

    empty(&l->pipes[1 - side]);
    l->ends[side].is_closed = true;
    if (pipe->has_close || l->ends[1].thread == NULL) {
        return;
    }
    if (faults_draw(s, FAULT_old_bytes_late)) {
        pipe->stalled_until =
            base_max_u64(pipe->stalled_until,
                         s->now + world_between(s, 200 * SIM_MS, 8 * SIM_S));
    } else if (world_chance(s, 400000)) {
        empty(pipe);
    }
    /* Most peers hear of it at once, some much later. */
    put(s, l, side, PARCEL_CLOSE,
        s->now + (world_chance(s, 800000)
                      ? latency(s)
                      : world_between(s, SIM_S, 8 * SIM_S)));
}

void simnet_on_kill(struct process *p)
{
    struct sim *s = p->place->sim;

    for (struct link *l = s->links; l != NULL; l = l->next) {
        for (uint32_t side = 0; side < 2; side++) {
            struct thread *t = l->ends[side].thread;

            if (t != NULL && t->process == p && !l->ends[side].is_closed) {
                orphan(s, l, side);
            }
        }
    }
}

void simnet_heal(struct sim *s)
{
    for (struct link *l = s->links; l != NULL; l = l->next) {
        for (uint32_t side = 0; side < 2; side++) {
            struct pipe *pipe = &l->pipes[side];

            if (pipe->stalled_until > s->now && pipe->first != NULL) {
                pipe->stalled_until = s->now;
                world_push(s, s->now, EVENT_DELIVER, NULL, l, side);
            }
        }
    }
}

void simnet_fini(struct sim *s)
{
    for (struct link *l = s->links; l != NULL; l = l->next) {
        for (uint32_t side = 0; side < 2; side++) {
            empty(&l->pipes[side]);
            frame_reader_fini(&l->ends[side].reader);
        }
    }
    mem_free(s->by_number);
}
