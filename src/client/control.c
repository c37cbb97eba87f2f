/* The connection to the scheduler: DECLARE, DROP and others, asked again until
 * they are answered. Where the scheduler is, the store says; a scheduler that
 * stands by or waits for servers answers NOT_READY, with the reason. */
#include <stdio.h>

#include "base/mem.h"
#include "base/probe.h"
#include "client/session_impl.h"

/* Waits for an answer of the scheduler. */
static bool is_ours(const struct request *r)
{
    return r->kind == REQUEST_DECLARE || r->kind == REQUEST_DROP ||
           r->kind == REQUEST_MOVE || r->kind == REQUEST_CANCEL ||
           r->kind == REQUEST_RESTORE || r->kind == REQUEST_READERS ||
           (r->kind == REQUEST_SAVE && r->ticket == 0);
}

static struct request *oldest(const struct session *s)
{
    struct request *r = s->first;

    while (r != NULL && !is_ours(r)) {
        r = r->next;
    }
    return r;
}

static void send_requests(struct session *s)
{
    uint64_t now = session_now(s);

    for (struct request *r = s->first; r != NULL; r = r->next) {
        if (is_ours(r) && !r->is_sent && r->plan_wanted == 0 &&
            now >= r->retry_us) {
            r->is_sent = true;
            r->n_sent++;
            s->control.sent_us = now;
            s->net->send(s->net, s->control.connection, r->frame);
        }
    }
}

static void hang_up(struct session *s)
{
    uint64_t connection = s->control.connection;

    control_on_close(s);
    if (connection != 0) {
        s->net->close(s->net, connection);
    }
}

void control_on_close(struct session *s)
{
    struct control *c = &s->control;

    c->state = LINK_DOWN;
    c->connection = 0;
    c->retry_us = session_now(s) + LIMIT_WATCH_MS * 1000;
    for (struct request *r = s->first; r != NULL; r = r->next) {
        r->is_sent = false;
    }
}

void control_tick(struct session *s)
{
    struct control *c = &s->control;
    const struct request *first = oldest(s);
    uint64_t now = session_now(s);

    if (first == NULL || s->length_us == 0) {
        return;
    }
    if (c->state == LINK_UP) {
        send_requests(s);
    }
    if (c->state != LINK_DOWN) {
        if (now >= c->sent_us + (uint64_t)LIMIT_ANSWER_MS * 1000 &&
            (c->state != LINK_UP || first->is_sent)) {
            PROBE(control_silent);
            hang_up(s);
        }
        return;
    }
    if (!c->is_reading && (c->retry_us == UINT64_MAX || now >= c->retry_us)) {
        c->is_reading = true;
        session_ask(s, COORD_GET, TAG_SCHEDULER, "scheduler", 0, NULL);
    }
}

uint64_t control_next(const struct session *s)
{
    const struct control *c = &s->control;
    uint64_t next = UINT64_MAX;

    if (oldest(s) == NULL || s->length_us == 0) {
        return UINT64_MAX;
    }
    if (c->state == LINK_DOWN) {
        if (c->is_reading) {
            return UINT64_MAX;
        }
        return c->retry_us == UINT64_MAX ? 0 : c->retry_us;
    }
    for (const struct request *r = s->first; r != NULL; r = r->next) {
        if (!is_ours(r) || r->plan_wanted != 0) {
            continue;
        }
        next = base_min_u64(next,
                            r->is_sent || c->state != LINK_UP
                                ? c->sent_us + (uint64_t)LIMIT_ANSWER_MS * 1000
                                : r->retry_us);
    }
    return next;
}

void control_on_scheduler(struct session *s, const struct coord_result *r)
{
    struct control *c = &s->control;
    struct wire_lease lease;
    struct wire_scheduler w;
    size_t size;

    c->is_reading = false;
    c->retry_us = session_now(s) + LIMIT_WATCH_MS * 1000;
    arena_reset(&s->arena);
    if (r->status != PS_OK ||
        wire_lease_decode(r->data, r->size, &s->arena, &lease) != PS_OK ||
        lease.state != LEASE_TAKEN ||
        wire_scheduler_decode(lease.body.data, lease.body.size, &s->arena,
                              &w) != PS_OK) {
        return;
    }
    size = strlen(w.address) + 1;
    if (size > sizeof(c->address)) {
        return;
    }
    if (c->state != LINK_DOWN) {
        if (strcmp(w.address, c->address) != 0) {
            PROBE(control_other_scheduler);
            hang_up(s);
            c->retry_us = session_now(s);
        }
        return;
    }
    memcpy(c->address, w.address, size);
    c->connection = s->net->connect(s->net, c->address);
    if (c->connection != 0) {
        c->state = LINK_CONNECTING;
        c->sent_us = session_now(s);
    }
}

void control_on_open(struct session *s)
{
    struct wire_hello m = {.version = WIRE_VERSION,
                           .features = session_features(s),
                           .role = "client"};
    struct frame_header h = {.type = WIRE_HELLO};
    struct frame *f = NULL;
    struct buf b;

    buf_init(&b);
    wire_hello_encode(&m, &b);
    if (!b.failed) {
        f = frame_new(b.size);
    }
    if (f == NULL) {
        hang_up(s);
    } else {
        memcpy(frame_body(f), b.data, b.size);
        session_seal(s, f, &h);
        s->net->send(s->net, s->control.connection, f);
        frame_put(f);
        s->control.state = LINK_GREETING;
        s->control.sent_us = session_now(s);
    }
    buf_fini(&b);
}

static struct request *find(const struct session *s, uint64_t id)
{
    struct request *r = s->first;

    while (r != NULL && (!is_ours(r) || r->id != id)) {
        r = r->next;
    }
    return r;
}

static void keep_text(struct session *s, struct request *r, struct frame *frame)
{
    struct wire_text m;
    size_t size;

    arena_reset(&s->arena);
    if (frame->body_bytes == 0 ||
        wire_text_decode(frame_body(frame), frame->body_bytes, &s->arena, &m) !=
            PS_OK) {
        return;
    }
    size = base_min_u64(strlen(m.text), sizeof(r->text) - 1);
    memcpy(r->text, m.text, size);
    r->text[size] = '\0';
}

static int take_restored(struct session *s, struct request *r,
                         struct frame *frame, uint64_t *plan)
{
    struct wire_restore_answer m;

    if (wire_restore_answer_decode(frame_body(frame), frame->body_bytes,
                                   &s->arena, &m) != PS_OK) {
        return PS_ECLIENTDEC;
    }
    snprintf(r->text, sizeof(r->text), "%.100s", m.folder);
    *plan = m.plan;
    return PS_OK;
}

/* Done at the scheduler; settled when its plan is here too. */
static void on_done(struct session *s, struct request *r,
                    const struct frame_header *h, struct frame *frame)
{
    struct wire_declare_answer m = {.plan = h->plan};
    struct wire_ticket ticket;

    arena_reset(&s->arena);
    if (r->kind == REQUEST_SAVE &&
        wire_ticket_decode(frame_body(frame), frame->body_bytes, &s->arena,
                           &ticket) == PS_OK) {
        step_on_ticket(s, r, ticket.ticket);
        return;
    }
    if (r->kind == REQUEST_SAVE || r->kind == REQUEST_CANCEL ||
        r->kind == REQUEST_READERS) {
        r->status = r->kind == REQUEST_SAVE ? PS_ECLIENTDEC : PS_OK;
        request_settle(r);
        return;
    }
    if ((r->kind == REQUEST_RESTORE &&
         take_restored(s, r, frame, &m.plan) != PS_OK) ||
        (r->kind == REQUEST_DECLARE &&
         wire_declare_answer_decode(frame_body(frame), frame->body_bytes,
                                    &s->arena, &m) != PS_OK)) {
        r->status = PS_ECLIENTDEC;
        request_settle(r);
        return;
    }
    r->declared.id = m.id;
    r->plan_wanted = base_max_u64(m.plan, 1);
    if (s->plan != NULL && s->plan->w.plan >= r->plan_wanted) {
        request_settle(r);
    } else {
        session_want_plan(s);
    }
}

void control_on_frame(struct session *s, const struct frame_header *h,
                      struct frame *frame)
{
    struct request *r;

    if (s->control.state == LINK_GREETING && h->type == WIRE_HELLO) {
        if (h->status != PS_OK) {
            hang_up(s);
            return;
        }
        s->control.state = LINK_UP;
        send_requests(s);
        return;
    }
    r = find(s, h->request);
    if (r == NULL || !r->is_sent || r->plan_wanted != 0) {
        return;
    }
    if (h->status == PS_OK) {
        on_done(s, r, h, frame);
        return;
    }
    if (h->status == PS_ENOTFOUND && r->kind == REQUEST_DROP && r->n_sent > 1) {
        PROBE(control_drop_was_done);
        on_done(s, r, h, frame); /* the first answer was lost */
        return;
    }
    keep_text(s, r, frame);
    if (h->status == PS_ENOTREADY || h->status == PS_ENOMEM) {
        r->is_sent = false;
        r->n_sent--; /* this one did nothing; one before may have */
        r->retry_us = session_now(s) + LIMIT_WATCH_MS * 1000;
        if (!s->control.is_reading) {
            /* It may stand by, and another run by now. */
            s->control.is_reading = true;
            session_ask(s, COORD_GET, TAG_SCHEDULER, "scheduler", 0, NULL);
        }
    } else {
        if (r->kind == REQUEST_SAVE) {
            step_on_refusal(s, r);
        }
        r->status = h->status < 0 ? h->status : PS_EPROTOCOL;
        request_settle(r);
    }
}

void control_on_plan(struct session *s)
{
    struct request *next;

    for (struct request *r = s->first; r != NULL; r = next) {
        next = r->next;
        if (is_ours(r) && r->plan_wanted != 0 &&
            s->plan->w.plan >= r->plan_wanted) {
            request_settle(r);
        }
    }
}
