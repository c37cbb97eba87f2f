/* A link is one lane as the client sees it: its connection, which comes and
 * goes, its numbers, and its queue. After a new connection everything
 * unanswered is sent again from the first unanswered number, the same frames
 * in the same order (protocol 4.2). BUSY, GAP and NOT_YET leave a number open:
 * the link holds for a moment and then sends again likewise. */
#include "base/log.h"
#include "base/mem.h"
#include "base/probe.h"
#include "client/session_impl.h"

PLANT_DECLARE(resend_skips_first);
PLANT_DECLARE(window_larger_at_client);

struct link *link_for(struct session *s, uint64_t lane)
{
    struct link *l = map_get(&s->links, lane);
    const struct wire_lane *w = plan_lane(s->plan, lane);
    size_t size;

    if (l != NULL || w == NULL) {
        return l;
    }
    size = strlen(w->address) + 1;
    l = mem_try_zero(sizeof(*l));
    if (l == NULL) {
        return NULL;
    }
    l->address = mem_try(size);
    if (l->address == NULL || map_put(&s->links, lane, l) != PS_OK) {
        mem_free(l->address);
        mem_free(l);
        return NULL;
    }
    memcpy(l->address, w->address, size);
    l->session = s;
    l->lane = lane;
    l->server = w->server;
    l->shard = w->shard;
    l->next_seq = 1;
    l->pause_ms = LIMIT_RETRY_MS;
    l->hold_ms = LIMIT_RETRY_MS;
    l->patience_us = (uint64_t)LIMIT_ANSWER_MS * 1000;
    return l;
}

static void forget_connection(struct link *l)
{
    if (l->connection != 0) {
        (void)map_take(&l->session->by_connection, l->connection);
        l->connection = 0;
    }
    l->state = LINK_DOWN;
    l->chains_sent = 0;
    l->chains_known = 0;
    l->hold_us = 0;
}

static void free_list(struct flight_list *list)
{
    while (list->first != NULL) {
        flight_free(list->first);
    }
}

void link_free(struct link *l)
{
    if (l == NULL) {
        return;
    }
    free_list(&l->writes);
    free_list(&l->reads);
    mem_free(l->refused);
    mem_free(l->address);
    mem_free(l);
}

static bool has_work(const struct link *l)
{
    return l->writes.first != NULL || l->reads.first != NULL;
}

static void dial(struct link *l)
{
    struct session *s = l->session;
    uint64_t now = session_now(s);

    l->retry_us = 0;
    l->connection = s->net->connect(s->net, l->address);
    if (l->connection == 0 ||
        map_put(&s->by_connection, l->connection, l) != PS_OK) {
        if (l->connection != 0) {
            s->net->close(s->net, l->connection);
        }
        l->connection = 0;
        l->retry_us = now + l->pause_ms * 1000;
        return;
    }
    l->state = LINK_CONNECTING;
    l->heard_us = now;
}

void link_add(struct link *l, struct flight *f)
{
    f->link = NULL;
    flight_insert(f->is_write ? &l->writes : &l->reads, f);
    f->link = l;
    if (f->is_write && l->session->number_state == NUMBER_NONE) {
        session_open_begin(l->session);
    }
}

/* Whether all parts of a flight are what they were when it was cut. */
static bool stays_here(const struct link *l, const struct flight *f)
{
    for (uint32_t i = 0; i < f->n; i++) {
        const struct slice *slice = &f->slices[i];
        const struct wire_part *p =
            plan_part(l->session->plan, slice->variable, slice->begin);

        if (p == NULL || p->lane != l->lane || p->begin != slice->begin ||
            p->end != slice->end || p->since > f->plan) {
            return false;
        }
    }
    return true;
}

void link_replan(struct link *l)
{
    struct session *s = l->session;
    struct flight *f = l->writes.first;

    l->plan_seen = s->plan->w.plan;
    while (f != NULL) {
        if (stays_here(l, f)) {
            if (f->seq == 0) {
                f->plan = l->plan_seen;
            }
        } else if (f->seq != 0) {
            l->plan_min = base_max_u64(l->plan_min, l->plan_seen);
        } else {
            cut_again(s, f);
            f = l->writes.first;
            continue;
        }
        f = f->next;
    }
}

/* ---- sending ------------------------------------------------------------ */

static void send_frame(struct link *l, struct flight *f)
{
    struct session *s = l->session;

    f->connection = l->connection;
    s->net->send(s->net, l->connection, f->frame);
}

static bool is_idle(const struct link *l)
{
    const struct flight_list *lists[2] = {&l->writes, &l->reads};

    for (int i = 0; i < 2; i++) {
        for (struct flight *f = lists[i]->first; f != NULL; f = f->next) {
            if (f->connection == l->connection) {
                return false;
            }
            if (f->is_write && f->seq == 0) {
                break;
            }
        }
    }
    return true;
}

static void send_chains(struct link *l)
{
    struct session *s = l->session;

    while (l->chains_sent < s->n_chains) {
        const struct chain_entry *e = &s->chains[l->chains_sent];
        struct wire_chain m = {.chain = e->id, .definition = e->definition};
        struct frame_header h = {
            .type = WIRE_CHAIN, .request = 0, .lane = l->lane};
        struct frame *f = NULL;
        struct buf b;

        buf_init(&b);
        wire_chain_encode(&m, &b);
        if (!b.failed) {
            f = frame_new(b.size);
        }
        if (f == NULL) {
            buf_fini(&b);
            link_hold(l);
            return;
        }
        memcpy(frame_body(f), b.data, b.size);
        buf_fini(&b);
        h.request = l->chains_sent;
        session_seal(s, f, &h);
        s->net->send(s->net, l->connection, f);
        frame_put(f);
        l->chains_sent++;
    }
}

static uint64_t first_unanswered(const struct link *l)
{
    const struct flight *f = l->writes.first;

    return f != NULL && f->seq != 0 ? f->seq : l->next_seq;
}

/* May another frame take a number now? */
static bool may_number(struct link *l)
{
    struct session *s = l->session;
    uint64_t window = LIMIT_WINDOW;

    if (PLANT(window_larger_at_client)) {
        window *= 2;
    }
    if (s->number_state != NUMBER_OPEN || l->n_resolves > 0) {
        return false;
    }
    if (l->number_session != s->number) {
        if (flight_make_acked_room(s) != PS_OK) {
            s->recut_us = session_now(s) + LIMIT_RETRY_MS * 1000;
            return false;
        }
        l->number_session = s->number;
        l->next_seq = 1;
    }
    if (l->next_seq >= first_unanswered(l) + window) {
        PROBE(link_window_full);
        return false;
    }
    if (l->plan_min > s->plan->w.plan) {
        return false;
    }
    for (struct flight *f = l->writes.first;
         l->plan_min != 0 && f != NULL && f->seq != 0; f = f->next) {
        if (f->plan < l->plan_min) {
            PROBE(link_waits_for_older_plans);
            return false;
        }
    }
    l->plan_min = 0;
    return true;
}

static void seal(struct link *l, struct flight *f)
{
    struct frame_header h = {
        .type = WIRE_RUN,
        .request = f->id,
        .session = f->session,
        .lane = f->lane,
        .seq = f->seq,
        .first = first_unanswered(l),
        .plan = f->plan,
        .cut = f->seq != 0 ? f->request->cut : 0,
    };

    if (f->kind == FLIGHT_RESOLVE) {
        h.type = WIRE_RESOLVE;
        h.session = l->session->number;
    } else if (f->kind == FLIGHT_STATUS) {
        h.type = WIRE_STATUS;
    } else if (f->kind == FLIGHT_LOST) {
        h.type = WIRE_LOST;
        h.session = l->session->number;
    }
    session_seal(l->session, f->frame, &h);
}

/* A frame that a connection may still be writing is not sealed anew: then the
 * flight gets a copy, and its slices point into that. */
static int own_frame(struct flight *f)
{
    struct frame *copy;
    const uint8_t *old;
    uint8_t *body;

    if (f->frame->refs == 1) {
        return PS_OK;
    }
    copy = frame_new(f->frame->body_bytes);
    if (copy == NULL) {
        return PS_ENOMEM;
    }
    PROBE(link_copies_frame);
    old = frame_body(f->frame);
    body = frame_body(copy);
    memcpy(body, old, copy->body_bytes);
    for (uint32_t i = 0; i < f->n && f->kind == FLIGHT_RUN; i++) {
        struct slice *slice = &f->slices[i];

        if (slice->keys != NULL) {
            slice->keys =
                (const uint64_t *)(const void *)(body +
                                                 ((const uint8_t *)slice->keys -
                                                  old));
        }
        if (slice->values != NULL) {
            slice->values =
                (const float *)(const void *)(body +
                                              ((const uint8_t *)slice->values -
                                               old));
        }
    }
    frame_put(f->frame);
    f->frame = copy;
    return PS_OK;
}

/* The chain is known to the shard; settles what it has refused. */
static bool chain_is_there(struct link *l, struct flight *f)
{
    return f->kind != FLIGHT_RUN || f->chain < l->chains_known;
}

/* What the shard said of the chains that a flight needs. */
static int refusal_of(const struct link *l, const struct flight *f)
{
    const struct request *r = f->request;

    for (uint32_t i = 0; i < f->n; i++) {
        const struct request_op *op = &r->ops[f->slices[i].op];
        bool writes = f->is_write && !f->slices[i].as_pull &&
                      op->write_chain != UINT32_MAX;
        uint32_t chain = writes ? op->write_chain : op->pull_chain;

        if (chain < l->chains_known && l->refused[chain] != PS_OK) {
            return l->refused[chain];
        }
    }
    return PS_OK;
}

static void send_writes(struct link *l)
{
    struct session *s = l->session;
    struct flight *next;
    bool skipped = false;

    for (struct flight *f = l->writes.first; f != NULL; f = next) {
        int refused;

        next = f->next;
        if (f->connection == l->connection) {
            continue;
        }
        if (!chain_is_there(l, f)) {
            return;
        }
        if (f->seq == 0) {
            refused = refusal_of(l, f);
            if (refused != PS_OK) {
                flight_settle(s, f, refused);
                /* The lists may have changed under us. */
                next = l->writes.first;
                continue;
            }
            if (!may_number(l)) {
                return;
            }
            if (f->request->cut < s->step.opened) {
                /* A number opened later has nothing of before. */
                f->request->cut = s->step.opened;
            }
            f->session = s->number;
            f->seq = l->next_seq++;
            f->server = l->server;
            f->shard = l->shard;
            seal(l, f);
        } else {
            s->counters.resends++;
            if (!skipped && PLANT(resend_skips_first)) {
                skipped = true;
                f->connection = l->connection;
                continue;
            }
        }
        send_frame(l, f);
    }
}

/* A read does not overtake a write that was submitted before it, nor one that
 * is being asked for. */
static void send_reads(struct link *l)
{
    const struct flight *unsent = l->writes.first;
    struct flight *next;

    while (unsent != NULL && unsent->connection == l->connection) {
        unsent = unsent->next;
    }
    for (struct flight *f = l->reads.first; f != NULL; f = next) {
        next = f->next;
        if (f->connection == l->connection || !chain_is_there(l, f)) {
            continue;
        }
        if (f->kind == FLIGHT_RUN &&
            ((unsent != NULL && unsent->order < f->order) ||
             l->n_resolves > 0)) {
            continue;
        }
        if (f->kind == FLIGHT_RUN && refusal_of(l, f) != PS_OK) {
            flight_settle(l->session, f, refusal_of(l, f));
            next = l->reads.first;
            continue;
        }
        if (own_frame(f) != PS_OK) {
            link_hold(l);
            return;
        }
        seal(l, f);
        send_frame(l, f);
    }
}

void link_pump(struct link *l)
{
    uint64_t now = session_now(l->session);

    if (l->state == LINK_DOWN && has_work(l) && now >= l->retry_us) {
        dial(l);
    }
    if (l->state != LINK_UP || now < l->hold_us || l->session->plan == NULL) {
        return;
    }
    l->hold_us = 0;
    if (is_idle(l) && l->chains_known == l->chains_sent) {
        l->heard_us = now;
    }
    send_chains(l);
    if (l->hold_us == 0) {
        send_writes(l);
        send_reads(l);
    }
}

/* Sends again from the first unanswered, a moment from now. */
void link_hold(struct link *l)
{
    uint64_t now = session_now(l->session);

    for (struct flight *f = l->writes.first; f != NULL; f = f->next) {
        f->connection = 0;
    }
    /* Reads behind them wait too; an answer that is on its way is stale. */
    for (struct flight *f = l->reads.first; f != NULL; f = f->next) {
        if (f->kind == FLIGHT_RUN && l->writes.first != NULL &&
            f->order > l->writes.first->order) {
            f->connection = 0;
            f->id = l->session->next_id++;
        }
    }
    if (l->hold_us > now) {
        return;
    }
    l->hold_us = now + l->hold_ms * 1000;
    l->hold_ms = base_min_u64(l->hold_ms * 2, LIMIT_RETRY_MAX_MS);
}

/* ---- what the network says ---------------------------------------------- */

void link_on_open(struct link *l)
{
    struct session *s = l->session;
    struct wire_hello m = {.version = WIRE_VERSION,
                           .features = session_features(s),
                           .role = "client"};
    struct frame_header h = {.type = WIRE_HELLO, .lane = l->lane};
    struct frame *f = NULL;
    struct buf b;

    buf_init(&b);
    wire_hello_encode(&m, &b);
    if (!b.failed) {
        f = frame_new(b.size);
    }
    if (f != NULL) {
        memcpy(frame_body(f), b.data, b.size);
        session_seal(s, f, &h);
        s->net->send(s->net, l->connection, f);
        frame_put(f);
        l->state = LINK_GREETING;
        l->heard_us = session_now(s);
    }
    buf_fini(&b);
}

void link_on_close(struct link *l)
{
    uint64_t now = session_now(l->session);

    forget_connection(l);
    l->session->counters.reconnects++;
    l->retry_us = now + l->pause_ms * 1000;
    l->pause_ms = base_min_u64(l->pause_ms * 2, LIMIT_RETRY_MAX_MS);
}

static void give_up_connection(struct link *l)
{
    uint64_t connection = l->connection;

    link_on_close(l);
    l->session->net->close(l->session->net, connection);
}

static void on_hello(struct link *l, const struct frame_header *h,
                     struct frame *frame)
{
    struct session *s = l->session;
    struct wire_hello_answer m;

    arena_reset(&s->arena);
    if (h->status != PS_OK ||
        wire_hello_answer_decode(frame_body(frame), frame->body_bytes,
                                 &s->arena, &m) != PS_OK ||
        m.version != WIRE_VERSION) {
        log_limited(&l->hello_log, session_now(s), LOG_WARNING,
                    "server %u shard %u at %s does not speak this protocol",
                    l->server, l->shard, l->address);
        give_up_connection(l);
        return;
    }
    l->state = LINK_UP;
    l->pause_ms = LIMIT_RETRY_MS;
}

static int make_refused_room(struct link *l)
{
    uint32_t room = l->refused_room == 0 ? 8 : l->refused_room * 2;
    int *refused;

    if (l->chains_known < l->refused_room) {
        return PS_OK;
    }
    refused = mem_try_resize(l->refused, mem_array(room, sizeof(*refused)));
    if (refused == NULL) {
        return PS_ENOMEM;
    }
    l->refused = refused;
    l->refused_room = room;
    return PS_OK;
}

static void on_chain(struct link *l, const struct frame_header *h)
{
    struct session *s = l->session;

    if (h->request != l->chains_known || h->request >= s->n_chains) {
        return;
    }
    if (h->status == PS_ENOMEM || make_refused_room(l) != PS_OK) {
        give_up_connection(l);
        return;
    }
    l->refused[l->chains_known++] = h->status;
}

static struct flight *find(const struct flight_list *list, uint64_t id)
{
    struct flight *f = list->first;

    while (f != NULL && f->id != id) {
        f = f->next;
    }
    return f;
}

static void on_answer(struct link *l, const struct frame_header *h,
                      struct frame *frame)
{
    struct session *s = l->session;
    struct flight *f = find(&l->writes, h->request);

    if (f == NULL) {
        f = find(&l->reads, h->request);
    }
    if (f == NULL || (f->seq != h->seq && f->kind == FLIGHT_RUN)) {
        /* Settled meanwhile; or numbered anew. */
        PROBE(link_answer_not_awaited);
        return;
    }
    if (h->status == PS_OK) {
        l->hold_ms = LIMIT_RETRY_MS;
    }
    switch (f->kind) {
    case FLIGHT_RUN:
        flight_on_run(s, f, h, frame);
        break;
    case FLIGHT_RESOLVE:
        flight_on_resolve(s, f, h, frame);
        break;
    case FLIGHT_STATUS:
        flight_on_status(s, f, h, frame);
        break;
    case FLIGHT_LOST:
        loss_on_answer(s, f, h, frame);
        break;
    }
}

void link_on_frame(struct link *l, const struct frame_header *h,
                   struct frame *frame)
{
    if ((h->flags & FRAME_ANSWER) == 0) {
        give_up_connection(l);
        return;
    }
    l->heard_us = session_now(l->session);
    l->patience_us = (uint64_t)LIMIT_ANSWER_MS * 1000;
    if (h->type == WIRE_HELLO) {
        on_hello(l, h, frame);
    } else if (h->type == WIRE_CHAIN) {
        on_chain(l, h);
    } else {
        on_answer(l, h, frame);
    }
}

/* ---- ends ---------------------------------------------------------------- */

/* Moves numbered flights away to be resolved; false for the others. */
static bool take_numbered(struct session *s, struct flight *f)
{
    if (f->seq == 0) {
        return false;
    }
    flight_remove(f);
    f->connection = 0;
    for (uint32_t i = 0; i < f->n && f->n_resolves == 0; i++) {
        f->slices[i].fate = FATE_TO_ASK;
    }
    flight_append(&s->resolving, f);
    return true;
}

void link_end(struct link *l)
{
    struct session *s = l->session;
    struct flight_list writes = l->writes, reads = l->reads;
    uint64_t connection = l->connection;
    struct flight *f;

    PROBE(link_lane_ended);
    l->writes = (struct flight_list){NULL, NULL};
    l->reads = (struct flight_list){NULL, NULL};
    for (f = writes.first; f != NULL; f = f->next) {
        f->in = &writes;
        f->link = NULL;
    }
    for (f = reads.first; f != NULL; f = f->next) {
        f->in = &reads;
        f->link = NULL;
    }
    forget_connection(l);
    if (connection != 0) {
        s->net->close(s->net, connection);
    }
    (void)map_take(&s->links, l->lane);
    link_free(l);
    while ((f = writes.first) != NULL) {
        f->by_user = f->by_user && f->n_resolves > 0;
        if (!take_numbered(s, f)) {
            cut_again(s, f);
        }
    }
    while ((f = reads.first) != NULL) {
        flight_remove(f);
        if (f->kind == FLIGHT_RESOLVE) {
            flight_ask_again(s, f);
        } else if (f->kind == FLIGHT_LOST) {
            loss_ask_again(s, f);
        } else if (f->kind == FLIGHT_STATUS) {
            flight_settle(s, f, PS_ELANE);
        } else {
            cut_again(s, f);
        }
    }
}

void link_expire(struct link *l, uint64_t number)
{
    struct flight *next;

    for (struct flight *f = l->writes.first; f != NULL; f = next) {
        next = f->next;
        if (f->seq != 0 && f->session == number) {
            (void)take_numbered(l->session, f);
        }
    }
}

/* ---- time ---------------------------------------------------------------- */

void link_tick(struct link *l)
{
    uint64_t now = session_now(l->session);
    bool waits = l->state == LINK_CONNECTING || l->state == LINK_GREETING ||
                 (l->state == LINK_UP &&
                  (!is_idle(l) || l->chains_known < l->chains_sent));

    if (waits && now >= l->heard_us + l->patience_us) {
        PROBE(link_silent);
        l->patience_us =
            base_min_u64(l->patience_us * 2, (uint64_t)30 * 1000 * 1000);
        give_up_connection(l);
    }
    link_pump(l);
}

uint64_t link_next(const struct link *l)
{
    if (l->state == LINK_DOWN) {
        return has_work(l) ? l->retry_us : UINT64_MAX;
    }
    if (l->state == LINK_UP && l->hold_us != 0) {
        return l->hold_us;
    }
    if (l->state == LINK_UP && is_idle(l) &&
        l->chains_known == l->chains_sent) {
        return UINT64_MAX;
    }
    return l->heard_us + l->patience_us;
}
