/* The session's number: taken by compare-and-swap from the record `sessions`
 * when the first numbered frame needs it, kept by the lease session/<n>, given
 * back at close. Opening again as the same worker ends the former session in
 * the same write (protocol 2.3). */
#include <stdio.h>

#include "base/mem.h"
#include "base/probe.h"
#include "client/session_impl.h"

PLANT_DECLARE(session_number_reused);

/* Nobody renews or looks at the lease of a session that has ended. */
static void forget_lease(struct session *s)
{
    char key[COORD_KEY_MAX + 1];

    if (s->number != 0) {
        snprintf(key, sizeof(key), "session/%llu",
                 (unsigned long long)s->number);
        session_ask(s, COORD_DEL, TAG_FORGET, key, 0, NULL);
    }
}

static void read_sessions(struct session *s)
{
    s->number_retry_us = UINT64_MAX;
    session_ask(s, COORD_GET, TAG_SESSIONS, "sessions", 0, NULL);
}

static void later(struct session *s)
{
    s->number_retry_us = session_now(s) + LIMIT_RETRY_MS * 2000;
}

void session_open_begin(struct session *s)
{
    if (s->number_state != NUMBER_NONE || s->length_us == 0) {
        return;
    }
    if (s->has_lease) {
        if (s->lease.in_flight) {
            /* Its answer is for the former number: wait for it. */
            later(s);
            return;
        }
        lease_fini(&s->lease);
        s->has_lease = false;
    }
    forget_lease(s);
    s->number_state = NUMBER_READING;
    s->nonce = s->net->random(s->net);
    read_sessions(s);
}

static bool is_same_worker(const struct session *s,
                           const struct wire_session *w)
{
    return s->options.worker >= 0 &&
           w->worker == (uint32_t)s->options.worker + 1;
}

static void hold_lease(struct session *s, uint64_t number, uint64_t cut)
{
    char key[COORD_KEY_MAX + 1];

    s->number = number;
    s->number_state = NUMBER_LEASING;
    snprintf(key, sizeof(key), "session/%llu", (unsigned long long)number);
    lease_init(&s->lease, s->coord, key, s->nonce, s->length_us, TAG_LEASE);
    s->has_lease = true;
    step_on_opened(s, cut);
    lease_claim(&s->lease);
}

/* The record as it is to become: without this worker's former session, with
 * the new one; or, closing, without ours. */
static int write_sessions(struct session *s, const struct wire_sessions *old,
                          uint64_t version)
{
    struct wire_sessions w = *old;
    struct wire_session *open =
        arena_take(&s->arena, ((size_t)old->n_open + 2) * sizeof(*open));
    bool closing = s->number_state == NUMBER_CLOSING;
    struct buf b;
    int rc = PS_OK;

    if (open == NULL) {
        return PS_ENOMEM;
    }
    w.n_open = 0;
    for (uint32_t i = 0; i < old->n_open; i++) {
        bool goes = closing ? old->open[i].nonce == s->nonce
                            : is_same_worker(s, &old->open[i]);

        if (!goes) {
            open[w.n_open++] = old->open[i];
        }
    }
    if (!closing) {
        open[w.n_open++] = (struct wire_session){
            .session = old->next,
            .worker = (uint32_t)(s->options.worker + 1),
            .nonce = s->nonce,
            .cut = old->cut,
        };
        if (!PLANT(session_number_reused)) {
            w.next = old->next + 1;
        } else if (w.next == 1) {
            w.next = 2;
        } else {
            open[w.n_open - 1].session = old->next - 1;
        }
    }
    w.open = open;
    w.nonce = s->nonce;
    buf_init(&b);
    wire_sessions_encode(&w, &b);
    if (b.failed) {
        rc = PS_ENOMEM;
    } else {
        s->number_state = closing ? NUMBER_CLOSING : NUMBER_WRITING;
        session_ask(s, COORD_CAS, TAG_SESSIONS, "sessions", version, &b);
    }
    buf_fini(&b);
    return rc;
}

static void closed(struct session *s)
{
    s->number_state = NUMBER_CLOSED;
    s->number_retry_us = UINT64_MAX;
    forget_lease(s);
}

static const struct wire_session *find_ours(const struct session *s,
                                            const struct wire_sessions *w)
{
    for (uint32_t i = 0; i < w->n_open; i++) {
        if (w->open[i].nonce == s->nonce) {
            return &w->open[i];
        }
    }
    return NULL;
}

static void on_read(struct session *s, const struct coord_result *r)
{
    struct wire_sessions w;
    const struct wire_session *ours;

    arena_reset(&s->arena);
    if (r->status != PS_OK ||
        wire_sessions_decode(r->data, r->size, &s->arena, &w) != PS_OK) {
        later(s);
        return;
    }
    ours = find_ours(s, &w);
    if (s->number_state == NUMBER_CLOSING && ours != NULL) {
        s->number = ours->session;
    }
    if (s->number_state == NUMBER_CLOSING && ours == NULL) {
        closed(s);
    } else if (s->number_state != NUMBER_CLOSING && ours != NULL) {
        PROBE(session_open_found_done);
        hold_lease(s, ours->session, ours->cut);
    } else if (write_sessions(s, &w, r->version) != PS_OK) {
        later(s);
    }
}

void session_open_on_sessions(struct session *s, const struct coord_result *r)
{
    if (s->number_state != NUMBER_READING &&
        s->number_state != NUMBER_WRITING &&
        s->number_state != NUMBER_CLOSING) {
        return;
    }
    if (r->op == COORD_GET) {
        on_read(s, r);
    } else {
        /* Read again in any case: the record says what number it became. */
        if (s->number_state == NUMBER_WRITING) {
            s->number_state = NUMBER_READING;
        }
        if (r->status == PS_OK) {
            read_sessions(s);
        } else {
            later(s);
        }
    }
}

void session_open_on_lease(struct session *s, const struct coord_result *r)
{
    struct link *l;
    size_t i = 0;

    if (!s->has_lease) {
        return;
    }
    if (s->number_state != NUMBER_LEASING && s->number_state != NUMBER_OPEN) {
        s->lease.in_flight = false;
        return;
    }
    switch (lease_on_coord(&s->lease, r, session_now(s))) {
    case LEASE_IS_READY:
        lease_take(&s->lease, session_now(s));
        break;
    case LEASE_IS_HELD:
        s->number_state = NUMBER_OPEN;
        while ((l = map_next(&s->links, &i)) != NULL) {
            link_pump(l);
        }
        break;
    case LEASE_IS_LOST:
        PROBE(session_lease_lost);
        session_expire(s, s->number);
        break;
    case LEASE_IS_WAITING:
    case LEASE_IS_RELEASED:
    case LEASE_NOTHING:
        break;
    }
}

void session_open_tick(struct session *s)
{
    uint64_t now = session_now(s);

    if (now >= s->number_retry_us) {
        s->number_retry_us = UINT64_MAX;
        if (s->number_state == NUMBER_NONE) {
            session_open_begin(s);
        } else {
            read_sessions(s);
        }
    }
    if (s->has_lease &&
        (s->number_state == NUMBER_LEASING || s->number_state == NUMBER_OPEN)) {
        lease_tick(&s->lease, now);
    }
}

uint64_t session_open_next(const struct session *s)
{
    uint64_t next = s->number_retry_us;

    if (s->has_lease &&
        (s->number_state == NUMBER_LEASING || s->number_state == NUMBER_OPEN)) {
        next = base_min_u64(next, lease_next(&s->lease));
    }
    return next;
}

void session_close(struct session *s)
{
    if (s->number_state == NUMBER_CLOSING || s->number_state == NUMBER_CLOSED) {
        return;
    }
    if (s->number_state == NUMBER_NONE) {
        s->number_state = NUMBER_CLOSED;
        s->number_retry_us = UINT64_MAX;
        return;
    }
    s->number_state = NUMBER_CLOSING;
    read_sessions(s);
}

bool session_has_closed(const struct session *s)
{
    return s->number_state == NUMBER_CLOSED;
}
