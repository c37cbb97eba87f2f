/* tape.c - a network that only keeps what was done. */
#include "lib/tape.h"

#include <stdio.h>

#include "base/mem.h"

static struct tape *tape_of(struct net *net)
{
    return CONTAINER_OF(net, struct tape, net);
}

static uint64_t add_connect(struct tape *t, const char *address)
{
    struct tape_connect *c = &t->connects[t->n_connects];

    ASSERT(t->n_connects < TAPE_CONNECTS_MAX);
    *c = (struct tape_connect){.is_closed = false};
    snprintf(c->address, sizeof(c->address), "%s", address);
    t->n_connects++;
    return t->n_connects;
}

static uint64_t net_connect(struct net *net, const char *address)
{
    struct tape *t = tape_of(net);

    return t->is_unreachable ? 0 : add_connect(t, address);
}

static void net_send(struct net *net, uint64_t connection, struct frame *frame)
{
    struct tape *t = tape_of(net);
    struct tape_frame *f;
    size_t size = sizeof(*frame) + frame_bytes(frame);

    if (tape_is_closed(t, connection)) {
        return;
    }
    f = mem_new(sizeof(*f));
    *f = (struct tape_frame){.connection = connection};
    f->frame = mem_new(size);
    memcpy(f->frame, frame, size);
    f->frame->refs = 1;
    ASSERT(frame_header_decode(frame->data, &f->h) == PS_OK);
    ASSERT(f->h.body_bytes == frame->body_bytes);
    if (t->last == NULL) {
        t->first = f;
    } else {
        t->last->next = f;
    }
    t->last = f;
    t->n_sent++;
}

static void net_close(struct net *net, uint64_t connection)
{
    struct tape *t = tape_of(net);

    ASSERT(connection > 0 && connection <= t->n_connects);
    t->connects[connection - 1].is_closed = true;
}

static uint64_t net_now_us(struct net *net)
{
    struct tape *t = tape_of(net);

    t->looks++;
    if (t->jump_at != 0 && t->looks >= t->jump_at) {
        t->now_us += t->jump_us;
        t->jump_at = 0;
    }
    return t->now_us;
}

static uint64_t net_random(struct net *net)
{
    struct tape *t = tape_of(net);

    t->random = t->random * 6364136223846793005u + 1442695040888963407u;
    return t->random;
}

void tape_init(struct tape *t)
{
    *t = (struct tape){
        .net = {.connect = net_connect,
                .send = net_send,
                .close = net_close,
                .now_us = net_now_us,
                .random = net_random},
        .now_us = 1000000,
        .random = 42,
    };
}

void tape_fini(struct tape *t)
{
    tape_clear(t);
}

struct tape_frame *tape_take(struct tape *t)
{
    struct tape_frame *f = t->first;

    if (f != NULL) {
        t->first = f->next;
        if (t->first == NULL) {
            t->last = NULL;
        }
        f->next = NULL;
    }
    return f;
}

void tape_free(struct tape_frame *f)
{
    if (f != NULL) {
        mem_free(f->frame);
        mem_free(f);
    }
}

void tape_clear(struct tape *t)
{
    while (t->first != NULL) {
        tape_free(tape_take(t));
    }
}

uint64_t tape_accept(struct tape *t)
{
    return add_connect(t, "");
}

uint64_t tape_connected(const struct tape *t, const char *address)
{
    for (size_t i = t->n_connects; i > 0; i--) {
        const struct tape_connect *c = &t->connects[i - 1];

        if (!c->is_closed && strcmp(c->address, address) == 0) {
            return i;
        }
    }
    return 0;
}

bool tape_is_closed(const struct tape *t, uint64_t connection)
{
    ASSERT(connection > 0 && connection <= t->n_connects);
    return t->connects[connection - 1].is_closed;
}
