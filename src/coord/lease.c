/* See lease.h for the drawing and for who counts from when. */
#include "coord/lease.h"

#include "base/mem.h"
#include "base/probe.h"

PLANT_DECLARE(lease_from_receipt);

/* A look adds at most this share of the lease's length to what was seen
 * unchanged: see the essay in lease.h. */
enum { LOOK_SHARE = 8 };

void lease_view_init(struct lease_view *v)
{
    memset(v, 0, sizeof(*v));
}

bool lease_view_look(struct lease_view *v, uint64_t version,
                     const struct wire_lease *record, uint64_t now_us,
                     uint64_t length_us)
{
    uint64_t nonce = record != NULL ? record->nonce : 0;
    uint64_t renewal = record != NULL ? record->renewal : 0;
    uint32_t state = record != NULL ? record->state : LEASE_TAKEN;

    if (!v->is_known || v->nonce != nonce || v->renewal != renewal ||
        v->state != state) {
        v->is_known = true;
        v->nonce = nonce;
        v->renewal = renewal;
        v->state = state;
        v->unchanged_us = 0;
    } else {
        v->unchanged_us +=
            base_min_u64(now_us - v->looked_us, length_us / LOOK_SHARE);
    }
    v->version = version;
    v->looked_us = now_us;
    return state == LEASE_ENDED || v->unchanged_us >= length_us;
}

void lease_init(struct lease *l, struct coord *coord, const char *key,
                uint64_t nonce, uint64_t length_us, uint64_t tag)
{
    memset(l, 0, sizeof(*l));
    ASSERT(strlen(key) <= COORD_KEY_MAX);
    l->coord = coord;
    l->tag = tag;
    memcpy(l->key, key, strlen(key) + 1);
    l->nonce = nonce;
    l->length_us = length_us;
    l->state = LEASE_IDLE;
    l->next_us = UINT64_MAX;
    lease_view_init(&l->view);
    buf_init(&l->body);
    buf_init(&l->old_body);
    buf_init(&l->out);
    arena_init(&l->arena);
}

void lease_fini(struct lease *l)
{
    buf_fini(&l->body);
    buf_fini(&l->old_body);
    buf_fini(&l->out);
    arena_fini(&l->arena);
}

static void read_record(struct lease *l)
{
    struct coord_request r = {.op = COORD_GET, .tag = l->tag};

    memcpy(r.key, l->key, sizeof(r.key));
    l->in_flight = true;
    l->coord->submit(l->coord, &r);
}

/* Writes the next renewal, or the end, over the version that we know. */
static void write_record(struct lease *l, uint32_t state, uint64_t now_us)
{
    struct wire_lease w = {
        .nonce = l->nonce,
        .renewal = l->renewal + 1,
        .state = state,
        .body = {l->body.data, (uint32_t)l->body.size},
    };
    struct coord_request r = {.op = COORD_CAS, .tag = l->tag};

    buf_clear(&l->out);
    wire_lease_encode(&w, &l->out);
    if (l->out.failed) {
        l->out.failed = false;
        l->next_us = now_us + l->length_us / 16;
        return;
    }
    memcpy(r.key, l->key, sizeof(r.key));
    r.version = l->version;
    r.data = l->out.data;
    r.size = l->out.size;
    /* A plain renewal may be forgotten by a power cut; the body may not. */
    if (l->state != LEASE_HELD || l->body_changed) {
        r.flags = COORD_DURABLE;
    }
    l->renewal++;
    l->wrote_end = state == LEASE_ENDED;
    l->sent_us = now_us;
    l->body_changed = false;
    l->in_flight = true;
    l->coord->submit(l->coord, &r);
}

void lease_claim(struct lease *l)
{
    ASSERT(l->state == LEASE_IDLE || l->state == LEASE_LOST);
    ASSERT(!l->in_flight);
    l->state = LEASE_READING;
    l->confirmed_us = 0;
    l->first_hold = true;
    l->must_read = false;
    lease_view_init(&l->view);
    read_record(l);
}

int lease_set_body(struct lease *l, const void *data, size_t size)
{
    struct buf fresh;

    if (l->body.size == size &&
        (size == 0 || memcmp(l->body.data, data, size) == 0)) {
        return PS_OK;
    }
    buf_init(&fresh);
    if (buf_append(&fresh, data, size) != PS_OK) {
        buf_fini(&fresh);
        return PS_ENOMEM;
    }
    buf_fini(&l->body);
    l->body = fresh;
    l->body_changed = true;
    if (l->state == LEASE_HELD) {
        l->next_us = 0;
    }
    return PS_OK;
}

void lease_take(struct lease *l, uint64_t now_us)
{
    ASSERT(l->state == LEASE_READY);
    l->state = LEASE_TAKING;
    write_record(l, LEASE_TAKEN, now_us);
}

void lease_release(struct lease *l, uint64_t now_us)
{
    if (l->state != LEASE_HELD) {
        return;
    }
    l->state = LEASE_ENDING;
    l->confirmed_us = 0;
    l->next_us = now_us;
}

void lease_tick(struct lease *l, uint64_t now_us)
{
    if (l->in_flight || now_us < l->next_us) {
        return;
    }
    l->next_us = now_us + l->length_us / 4;
    switch (l->state) {
    case LEASE_WAITING:
        l->next_us = UINT64_MAX;
        read_record(l);
        break;
    case LEASE_TAKING:
        /* Only after a write that could not be encoded or was refused. */
        read_record(l);
        break;
    case LEASE_HELD:
        if (l->must_read) {
            read_record(l);
        } else {
            write_record(l, LEASE_TAKEN, now_us);
        }
        break;
    case LEASE_ENDING:
        if (l->must_read) {
            read_record(l);
        } else {
            write_record(l, LEASE_ENDED, now_us);
        }
        break;
    case LEASE_IDLE:
    case LEASE_READING:
    case LEASE_READY:
    case LEASE_LOST:
        break;
    }
}

static enum lease_event
become_ready(struct lease *l, const struct wire_lease *w, uint64_t version)
{
    buf_clear(&l->old_body);
    if (w != NULL) {
        (void)buf_append(&l->old_body, w->body.data, w->body.size);
        if (l->renewal < w->renewal) {
            l->renewal = w->renewal;
        }
    }
    l->version = version;
    l->state = LEASE_READY;
    l->next_us = UINT64_MAX;
    return LEASE_IS_READY;
}

static enum lease_event lose(struct lease *l)
{
    l->state = LEASE_LOST;
    l->confirmed_us = 0;
    l->next_us = UINT64_MAX;
    return LEASE_IS_LOST;
}

/* The record before us while we want it. */
static enum lease_event look_at_other(struct lease *l,
                                      const struct wire_lease *w,
                                      uint64_t version, uint64_t now_us)
{
    bool was_waiting = l->state == LEASE_WAITING;

    if (w == NULL || w->nonce == l->nonce || w->state == LEASE_ENDED) {
        return become_ready(l, w, version);
    }
    if (lease_view_look(&l->view, version, w, now_us, l->length_us)) {
        PROBE(lease_taken_over);
        return become_ready(l, w, version);
    }
    l->state = LEASE_WAITING;
    l->next_us = now_us + l->length_us / (2 * LOOK_SHARE);
    return was_waiting ? LEASE_NOTHING : LEASE_IS_WAITING;
}

static enum lease_event hold(struct lease *l, uint64_t sent_us, uint64_t now_us)
{
    bool first = l->first_hold;

    l->confirmed_us = PLANT(lease_from_receipt) ? now_us : sent_us;
    l->must_read = false;
    l->state = LEASE_HELD;
    l->first_hold = false;
    l->next_us = l->body_changed ? 0 : sent_us + l->length_us / 4;
    return first ? LEASE_IS_HELD : LEASE_NOTHING;
}

/* A read after a write of ours whose outcome was not known. */
static enum lease_event look_at_ours(struct lease *l,
                                     const struct wire_lease *w,
                                     uint64_t version, uint64_t now_us)
{
    l->must_read = false;
    if (w == NULL || w->nonce != l->nonce) {
        if (l->state == LEASE_TAKING) {
            return look_at_other(l, w, version, now_us);
        }
        if (l->state == LEASE_ENDING) {
            l->state = LEASE_IDLE;
            l->next_us = UINT64_MAX;
            return LEASE_IS_RELEASED;
        }
        return lose(l);
    }
    l->version = version;
    if (w->state == LEASE_ENDED) {
        if (l->state == LEASE_ENDING) {
            l->state = LEASE_IDLE;
            l->next_us = UINT64_MAX;
            return LEASE_IS_RELEASED;
        }
        if (l->state == LEASE_TAKING) {
            return look_at_other(l, w, version, now_us);
        }
        return lose(l);
    }
    if (l->state == LEASE_ENDING) {
        l->next_us = now_us;
        return LEASE_NOTHING;
    }
    if (w->renewal == l->renewal) {
        PROBE(lease_write_found_done);
        return hold(l, l->sent_us, now_us);
    }
    /* Our last write did not happen (yet): write again over what is there. If
     * it still lands, the version has moved and one of the two fails. */
    if (l->state == LEASE_TAKING) {
        return become_ready(l, w, version);
    }
    l->next_us = now_us;
    return LEASE_NOTHING;
}

static enum lease_event on_read(struct lease *l, const struct coord_result *r,
                                uint64_t now_us)
{
    struct wire_lease w;
    const struct wire_lease *record = NULL;
    enum lease_event event;

    if (r->status == PS_OK) {
        arena_reset(&l->arena);
        if (wire_lease_decode(r->data, r->size, &l->arena, &w) != PS_OK) {
            /* Not ours to repair; the next write of its owner will. */
            l->next_us = now_us + l->length_us / 8;
            l->state = l->state == LEASE_READING ? LEASE_WAITING : l->state;
            return LEASE_NOTHING;
        }
        record = &w;
    } else if (r->status != PS_ENOTFOUND) {
        l->next_us = now_us + l->length_us / 16;
        l->state = l->state == LEASE_READING ? LEASE_WAITING : l->state;
        return LEASE_NOTHING;
    }
    if (l->state == LEASE_READING || l->state == LEASE_WAITING) {
        event = look_at_other(l, record, r->version, now_us);
    } else {
        event = look_at_ours(l, record, r->version, now_us);
    }
    return event;
}

static enum lease_event
on_written(struct lease *l, const struct coord_result *r, uint64_t now_us)
{
    if (r->status != PS_OK) {
        l->must_read = true;
        l->body_changed = true;
        l->next_us = now_us + l->length_us / 64;
        return LEASE_NOTHING;
    }
    l->version = r->version;
    if (l->state == LEASE_ENDING) {
        if (!l->wrote_end) {
            l->next_us = now_us;
            return LEASE_NOTHING;
        }
        l->state = LEASE_IDLE;
        l->next_us = UINT64_MAX;
        return LEASE_IS_RELEASED;
    }
    return hold(l, l->sent_us, now_us);
}

enum lease_event lease_on_coord(struct lease *l, const struct coord_result *r,
                                uint64_t now_us)
{
    ASSERT(r->tag == l->tag);
    l->in_flight = false;
    if (r->op == COORD_GET) {
        return on_read(l, r, now_us);
    }
    return on_written(l, r, now_us);
}

uint64_t lease_next(const struct lease *l)
{
    return l->in_flight ? UINT64_MAX : l->next_us;
}

uint64_t lease_until(const struct lease *l)
{
    if (l->state != LEASE_HELD || l->confirmed_us == 0) {
        return 0;
    }
    return l->confirmed_us + l->length_us / 6 * 5;
}
