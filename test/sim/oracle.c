/* oracle.c - frames: each number once, in order, and never told wrong. */
#include "oracle.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "wire/wire.h"

typedef unsigned long long ull;

void oracle_init(struct sim *s)
{
    struct oracle *o = world_take(s, sizeof(*o));
    struct err e;

    static const char create[] = "BuildHashSlice(insert)>TransSlice";

    s->oracle = o;
    o->create_chain = hash_bytes(create, sizeof(create) - 1);
    map_init(&o->streams);
    map_init(&o->lanes);
    map_init(&o->sessions);
    map_init(&o->variables);
    map_init(&o->terms);
    map_init(&o->ackers);
    arena_init(&o->arena);
    buf_init(&o->value);
    if (coord_file_open(&o->store, s->memory, "/store", 1, &e) != PS_OK) {
        world_fail(s, "the oracle cannot open the store: %s", e.text);
    }
}

void oracle_fini(struct sim *s)
{
    struct oracle *o = s->oracle;

    for (struct stream *t = o->all_streams; t != NULL; t = t->next) {
        for (size_t i = 0; i < t->n; i++) {
            frame_put(t->numbers[i].frame);
        }
        mem_free(t->numbers);
    }
    map_fini(&o->streams);
    map_fini(&o->lanes);
    map_fini(&o->sessions);
    map_fini(&o->variables);
    map_fini(&o->terms);
    map_fini(&o->ackers);
    arena_fini(&o->arena);
    buf_fini(&o->value);
    plan_free(o->plan);
    if (o->store != NULL) {
        coord_file_close(o->store);
    }
}

static struct stream *find_stream(const struct sim *s, uint64_t session,
                                  uint64_t lane)
{
    return map_get(&s->oracle->streams, session << 32 | lane);
}

struct numbered *oracle_numbered(const struct sim *s, uint64_t session,
                                 uint64_t lane, uint64_t seq)
{
    struct stream *t = find_stream(s, session, lane);

    return t != NULL && seq >= 1 && seq <= t->n ? &t->numbers[seq - 1] : NULL;
}

static struct stream *make_stream(struct sim *s, uint64_t session,
                                  uint64_t lane, struct process *client)
{
    struct oracle *o = s->oracle;
    struct stream *t = find_stream(s, session, lane);
    int rc;

    if (t != NULL) {
        return t;
    }
    t = world_take(s, sizeof(*t));
    t->session = session;
    t->lane = lane;
    t->client = client;
    t->next = o->all_streams;
    o->all_streams = t;
    rc = map_put(&o->streams, session << 32 | lane, t);
    ASSERT(rc == PS_OK);
    return t;
}

static void keep(struct stream *t, const struct frame_header *h,
                 struct frame *f, uint64_t hash)
{
    if (t->n == t->room) {
        t->room = t->room == 0 ? 64 : 2 * t->room;
        t->numbers = mem_try_resize(t->numbers, t->room * sizeof(*t->numbers));
        ASSERT(t->numbers != NULL);
    }
    t->numbers[t->n++] = (struct numbered){.frame = frame_get(f),
                                           .body_hash = hash,
                                           .plan = h->plan,
                                           .cut = h->cut};
}

/* A client sends a numbered frame (protocol 4.1, 4.2). */
static void on_push_sent(struct sim *s, struct thread *from,
                         uint64_t connection, const struct frame_header *h,
                         struct frame *f)
{
    struct stream *t = make_stream(s, h->session, h->lane, from->process);
    uint64_t hash = hash_bytes(frame_body(f), f->body_bytes);
    struct numbered *n;

    if (h->session == 0 || h->lane == 0 ||
        oracle_session(s, h->session) == NULL) {
        world_fail(s, "%s pushes in session %llu, which is not in the store",
                   world_name(from->process), (ull)h->session);
        return;
    }
    if (t->client != from->process) {
        world_fail(s, "session %llu is used by %s and by %s", (ull)h->session,
                   world_name(t->client), world_name(from->process));
        return;
    }
    if (h->first == 0 || h->seq < h->first ||
        h->seq - h->first >= LIMIT_WINDOW) {
        world_fail(s,
                   "%s sends (%llu, %llu, %llu) with %llu unanswered: more "
                   "than the window",
                   world_name(from->process), (ull)h->session, (ull)h->lane,
                   (ull)h->seq, (ull)h->first);
        return;
    }
    if (h->cut > base_max_u64(s->oracle->save_cut, 1)) {
        world_fail(s, "%s stamps a frame with cut %llu, which never was",
                   world_name(from->process), (ull)h->cut);
        return;
    }
    if (h->seq > t->n + 1) {
        world_fail(s, "%s sends (%llu, %llu, %llu) after number %zu",
                   world_name(from->process), (ull)h->session, (ull)h->lane,
                   (ull)h->seq, t->n);
        return;
    }
    if (h->seq == t->n + 1) {
        keep(t, h, f, hash);
    }
    n = &t->numbers[h->seq - 1];
    if (n->body_hash != hash || n->plan != h->plan || n->cut != h->cut) {
        world_fail(s, "%s sends (%llu, %llu, %llu) again, but changed",
                   world_name(from->process), (ull)h->session, (ull)h->lane,
                   (ull)h->seq);
    }
    n->connection = connection;
}

/* Counts a lane as the one that acknowledges these parts in this term. */
/* Protocol 5.4: a later frame never overtakes an earlier one. */
static void refuse_older(struct sim *s, const struct frame_header *asked,
                         uint64_t plan)
{
    struct stream *t = find_stream(s, asked->session, asked->lane);

    if (t != NULL) {
        t->refused_plan = base_max_u64(t->refused_plan, plan);
    }
}

static void note_acker(struct sim *s, uint64_t lane, uint64_t plan,
                       const struct numbered *n)
{
    struct oracle *o = s->oracle;
    const void *term = map_get(&o->terms, plan);
    struct run_op *ops;
    uint32_t n_ops;

    arena_reset(&o->arena);
    if (run_decode(frame_body(n->frame), n->frame->body_bytes, &o->arena, &ops,
                   &n_ops) != PS_OK) {
        return;
    }
    for (uint32_t i = 0; i < n_ops; i++) {
        uint64_t words[3] = {(uint64_t)(uintptr_t)term, ops[i].variable,
                             ops[i].begin};
        uint64_t key = hash_bytes(words, sizeof(words));
        const void *other = map_get(&o->ackers, key);
        int rc;

        if (other != NULL && (uint64_t)(uintptr_t)other != lane) {
            world_fail(s,
                       "lanes %llu and %llu both acknowledge for variable "
                       "%u from bucket %u in one term",
                       (ull)(uintptr_t)other, (ull)lane, ops[i].variable,
                       ops[i].begin);
        }
        rc = map_put(&o->ackers, key, (void *)(uintptr_t)lane);
        ASSERT(rc == PS_OK);
    }
}

void oracle_on_ack(struct sim *s, void *lane)
{
    const struct lane *l = lane;

    /* Whoever hears from one that was rolled back is told so later. */
    if (l->has_ended && !l->was_rolled_back) {
        world_fail(s,
                   "lane %llu answers, though it ended in the store "
                   "%.3f s ago",
                   (ull)l->number, (double)(s->now - l->ended_at) / SIM_S);
    }
}

static bool leaves_number_open(int status)
{
    return status == PS_EBUSY || status == PS_EGAP || status == PS_ENOTYET ||
           status == PS_ELANE || status == PS_EEXPIRED;
}

/* A shard answers a numbered frame: `asked` is the frame's own header. */
static void on_push_answered(struct sim *s, struct thread *from,
                             const struct frame_header *asked,
                             const struct frame_header *h)
{
    struct numbered *n =
        oracle_numbered(s, asked->session, asked->lane, asked->seq);
    struct lane *l = oracle_lane(s, asked->lane);
    const char *what = NULL;

    if (n == NULL) {
        world_fail(s, "%s answers (%llu, %llu, %llu), which nobody sent",
                   world_name(from->process), (ull)asked->session,
                   (ull)asked->lane, (ull)asked->seq);
        return;
    }
    if (h->status == PS_EEXPIRED) {
        const struct session_life *life = oracle_session(s, asked->session);

        if (life != NULL && life->ended_version == 0) {
            what = "says EXPIRED of an open session:";
        }
    } else if (h->status == PS_OK) {
        n->is_acked = true;
        if (!n->is_applied) {
            what = "acknowledges, but has not applied";
        } else if (oracle_log_on_acked(s, asked->lane, n) != NULL) {
            what = oracle_log_on_acked(s, asked->lane, n);
        } else if (n->is_refused || n->is_canceled) {
            what = "acknowledges, but refused or canceled before,";
        } else if (l == NULL) {
            what = "acknowledges in a lane that the store does not know";
        } else if (from->inside_us > 0) {
            world_push(s, s->now + from->inside_us, EVENT_ACK, NULL, l, 0);
        } else {
            oracle_on_ack(s, l);
        }
        if ((h->flags & FRAME_REPEAT) == 0) {
            note_acker(s, asked->lane, h->plan, n);
        }
    } else if (h->status == PS_EUNSURE) {
        /* A late copy of what its client has an answer to: forgotten. */
        if (!n->is_told) {
            what = "does not know, though nobody was told,";
        }
    } else if (!leaves_number_open(h->status)) {
        if (h->status == PS_EPLAN && !n->is_refused) {
            refuse_older(s, asked, h->plan);
        }
        n->is_refused = true;
        if (n->is_applied) {
            what = "refuses what it has applied:";
        }
    }
    if (what != NULL) {
        world_fail(s, "%s %s (%llu, %llu, %llu), status %s",
                   world_name(from->process), what, (ull)asked->session,
                   (ull)asked->lane, (ull)asked->seq,
                   ps_status_name(h->status));
    }
}

static bool read_resolve(struct oracle *o, struct frame *answer,
                         struct wire_resolve *asked,
                         struct wire_resolve_answer *a)
{
    arena_reset(&o->arena);
    return wire_resolve_decode(frame_body(o->frame), o->frame->body_bytes,
                               &o->arena, asked) == PS_OK &&
           wire_resolve_answer_decode(frame_body(answer), answer->body_bytes,
                                      &o->arena, a) == PS_OK &&
           a->n_parts == asked->n_parts;
}

/* A shard answers RESOLVE (protocol 6). */
static void on_resolve_answered(struct sim *s, struct thread *from,
                                const struct frame_header *h, struct frame *f)
{
    struct oracle *o = s->oracle;
    struct wire_resolve asked;
    struct wire_resolve_answer a;
    const struct stream *stream;
    struct numbered *n;
    const struct lane *l;
    bool is_own;

    if (h->status != PS_OK || o->handling != from) {
        return;
    }
    if (!read_resolve(o, f, &asked, &a)) {
        world_fail(s, "%s answers RESOLVE with what cannot be read",
                   world_name(from->process));
        return;
    }
    n = oracle_numbered(s, asked.session, asked.lane, asked.seq);
    stream = find_stream(s, asked.session, asked.lane);
    l = oracle_lane(s, asked.lane);
    is_own = h->lane == asked.lane;
    for (uint32_t i = 0; i < a.n_parts && n != NULL && l != NULL; i++) {
        int fate = -(int)a.parts[i].status_negated;

        if (plan_variable(o->plan, asked.parts[i].variable) == NULL) {
            /* Dropped; but a lane cancels a number, not a part of it. */
            n->is_canceled = n->is_canceled ||
                             (is_own && !n->is_applied && fate == PS_ECANCELED);
            continue;
        }
        if (!is_own && (fate == PS_ECANCELED || fate == PS_OK) &&
            (fate == PS_OK) !=
                oracle_load_has(s, h->lane, UINT64_MAX, asked.parts[i].variable,
                                asked.parts[i].begin, stream, n)) {
            world_fail(s,
                       "%s says of (%llu, %llu, %llu) in variable %u from "
                       "bucket %u %s",
                       world_name(from->process), (ull)asked.session,
                       (ull)asked.lane, (ull)asked.seq, asked.parts[i].variable,
                       asked.parts[i].begin,
                       fate == PS_OK ? "that it is there, and it is not"
                                     : "that it is not there, but it is");
        } else if (!is_own && fate == PS_ECANCELED && !l->has_ended) {
            world_fail(s,
                       "%s says of lane %llu, which lives, that it has not "
                       "applied",
                       world_name(from->process), (ull)asked.lane);
        } else if (is_own && fate == PS_OK && !n->is_applied) {
            world_fail(s,
                       "%s resolves (%llu, %llu, %llu) as applied, which it "
                       "is not",
                       world_name(from->process), (ull)asked.session,
                       (ull)asked.lane, (ull)asked.seq);
        } else if (is_own && fate != PS_OK && fate != PS_EUNSURE &&
                   fate != PS_EMOVED) {
            n->is_canceled = n->is_canceled || fate == PS_ECANCELED;
            if (n->is_applied) {
                world_fail(s,
                           "%s resolves (%llu, %llu, %llu) as not applied, "
                           "but it is",
                           world_name(from->process), (ull)asked.session,
                           (ull)asked.lane, (ull)asked.seq);
            }
        }
    }
}

/* A shard answers a pull: likewise only while its lane lives. */
static void on_pull_answered(struct sim *s, struct thread *from,
                             const struct frame_header *h)
{
    struct lane *l = oracle_lane(s, h->lane);

    if (h->status != PS_OK || l == NULL) {
        return;
    }
    if (from->inside_us > 0) {
        world_push(s, s->now + from->inside_us, EVENT_ACK, NULL, l, 0);
    } else {
        oracle_on_ack(s, l);
    }
}

void oracle_on_sent(struct sim *s, struct thread *from, struct thread *to,
                    uint64_t connection, const struct frame_header *h,
                    struct frame *f)
{
    struct oracle *o = s->oracle;

    (void)to;
    if (from->process->place->kind == PLACE_CLIENT && h->type == WIRE_RUN &&
        h->seq != 0) {
        on_push_sent(s, from, connection, h, f);
    } else if (from->process->place->kind == PLACE_SERVER &&
               h->type == WIRE_RUN && h->seq != 0) {
        /* That a push is done may be said later, when it is in the log. */
        if (h->status == PS_OK) {
            on_push_answered(s, from, h, h);
        } else if (o->handling == from) {
            on_push_answered(s, from, o->header, h);
        } else {
            world_fail(s, "%s answers a push that it is not handling",
                       world_name(from->process));
        }
    } else if (from->process->place->kind == PLACE_SERVER &&
               h->type == WIRE_RUN) {
        on_pull_answered(s, from, h);
    } else if (from->process->place->kind == PLACE_SERVER &&
               h->type == WIRE_RESOLVE) {
        on_resolve_answered(s, from, h, f);
    }
}

void oracle_on_handling(struct sim *s, struct thread *to, struct thread *from,
                        const struct frame_header *h, struct frame *f)
{
    struct oracle *o = s->oracle;

    (void)from;
    o->handling = to;
    o->header = h;
    o->frame = f;
}

void oracle_on_handled(struct sim *s)
{
    s->oracle->handling = NULL;
}

/* A shard has applied a frame: once, in order (protocol 4.2), and not for a
 * session whose end this lane has said it knows (protocol 2.3). */
void oracle_on_applied(struct sim *s, struct thread *t, uint64_t session,
                       uint64_t lane, uint64_t seq)
{
    struct oracle *o = s->oracle;
    struct stream *stream = find_stream(s, session, lane);
    struct numbered *n = oracle_numbered(s, session, lane, seq);
    const struct session_life *life = oracle_session(s, session);
    const struct lane *l = oracle_lane(s, lane);
    uint32_t server = t->process->place->index;
    const char *what = NULL;

    s->totals.applied++;
    if (o->applied_life[server] != t->process->life) {
        o->applied_life[server] = t->process->life;
        memset(o->applied[server], 0, sizeof(o->applied[server]));
    }
    o->applied[server][t->number - 1]++;
    trace_mix(s, session << 32 | lane, seq);
    trace_note(s, "%s/%u applies (%llu, %llu, %llu)", world_name(t->process),
               t->number, (ull)session, (ull)lane, (ull)seq);
    if (stream == NULL || n == NULL) {
        world_fail(s, "%s applies (%llu, %llu, %llu), which nobody sent",
                   world_name(t->process), (ull)session, (ull)lane, (ull)seq);
        return;
    }
    while (stream->settled < stream->n &&
           (stream->numbers[stream->settled].is_refused ||
            stream->numbers[stream->settled].is_canceled)) {
        stream->settled++;
    }
    if (n->plan < stream->refused_plan) {
        what = "of an older plan than a frame before was refused for";
    } else if (n->is_applied) {
        what = "a second time";
    } else if (n->is_refused) {
        what = "after it was refused";
    } else if (n->is_canceled) {
        what = "after it was canceled";
    } else if (seq != stream->settled + 1) {
        what = "out of order";
    } else if (life == NULL || l == NULL) {
        what = "of a session or lane that the store does not know";
    } else if (life->ended_version != 0 &&
               l->sessions_seen >= life->ended_version) {
        what = "after it said that it knows the session's end";
    }
    if (what != NULL) {
        world_fail(s, "%s applies (%llu, %llu, %llu) %s",
                   world_name(t->process), (ull)session, (ull)lane, (ull)seq,
                   what);
        return;
    }
    n->is_applied = true;
    n->applied_in = o->plan != NULL ? o->plan->w.plan : 0;
    stream->settled = seq;
    oracle_save_on_applied(s, stream, n, seq);
}

/* ---- what a client's owner is told ------------------------------------- */

struct told {
    struct sim *s;
    struct asked *asked;
    uint64_t lane;
};

static void tell_row(void *context, uint32_t variable, uint64_t key,
                     const float *values)
{
    struct told *t = context;
    struct row *r = oracle_row(t->s, variable, key);
    struct asked *a = t->asked;
    struct pushed *p;

    if (values == NULL) {
        return;
    }
    if (oracle_holder(t->s, variable, key) == t->lane &&
        (r->acked_lane != t->lane ||
         r->acked_since != oracle_held_since(t->s, variable, key))) {
        r->acked_lane = t->lane;
        r->acked_since = oracle_held_since(t->s, variable, key);
        r->acked = 0;
    }
    if (r->acked_lane == t->lane) {
        r->acked += (uint64_t)values[0];
    }
    p = a != NULL ? oracle_pushed(a, variable, key) : NULL;
    if (p != NULL) {
        for (uint32_t k = 0; k < ORACLE_DIM; k++) {
            p->done[k] += (double)values[k];
        }
    } else if (values[0] != 0.0F && a != NULL) {
        world_fail(t->s,
                   "a frame pushes to variable %u key %llu, which its "
                   "request does not name",
                   variable, (ull)key);
    }
}

static void note_had_row(void *context, uint32_t variable, uint64_t key,
                         const float *values)
{
    struct pushed *p = oracle_pushed(context, variable, key);

    for (uint32_t k = 0; k < ORACLE_DIM && p != NULL && values != NULL; k++) {
        p->had[k] += (double)values[k];
    }
}

static void note_had(struct sim *s, struct asked *a, struct numbered *n,
                     const struct run_op *op)
{
    struct had *h = world_take(s, sizeof(*h));

    *h = (struct had){.next = a->had, .n = n, .op = *op};
    a->had = h;
    oracle_each_row(s, op, 1, note_had_row, a);
}

static bool same_ops(struct sim *s, const struct numbered *n,
                     const struct run_op *ops, uint32_t n_ops)
{
    struct run_op *sent;
    uint32_t n_sent;

    arena_reset(&s->oracle->arena);
    if (run_decode(frame_body(n->frame), n->frame->body_bytes,
                   &s->oracle->arena, &sent, &n_sent) != PS_OK ||
        n_sent != n_ops) {
        return false;
    }
    for (uint32_t i = 0; i < n_ops; i++) {
        const struct run_op *a = &sent[i];
        const struct run_op *b = &ops[i];

        if (a->variable != b->variable || a->n_keys != b->n_keys ||
            a->begin != b->begin || a->n_values != b->n_values ||
            (a->n_keys > 0 &&
             memcmp(a->keys, b->keys, a->n_keys * sizeof(*a->keys)) != 0) ||
            (a->n_values > 0 &&
             memcmp(a->values, b->values, a->n_values * sizeof(*a->values)) !=
                 0)) {
            return false;
        }
    }
    return true;
}

void oracle_on_framed(struct sim *s, struct process *client,
                      const struct ps_frame_outcome *f, struct asked *a,
                      const struct run_op *ops, uint32_t n_ops)
{
    struct stream *stream = find_stream(s, f->session, f->lane);
    struct numbered *n = oracle_numbered(s, f->session, f->lane, f->seq);
    const struct lane *l = oracle_lane(s, f->lane);
    struct told t = {s, a, f->lane};
    const char *what = NULL;

    trace_note(s, "%s is told of (%llu, %llu, %llu): %s", world_name(client),
               (ull)f->session, (ull)f->lane, (ull)f->seq,
               ps_status_name(f->status));
    if (n == NULL) {
        /* Never sent: numbered, and given up before. */
        if (f->status == PS_OK) {
            world_fail(s,
                       "%s is told that (%llu, %llu, %llu) was applied, "
                       "which was never sent",
                       world_name(client), (ull)f->session, (ull)f->lane,
                       (ull)f->seq);
        }
        return;
    }
    if (stream->client != client) {
        what = "which is another's";
    } else if (n->is_told) {
        what = "for the second time";
    } else if (f->status == PS_OK && !n->is_applied) {
        what = "which no shard has applied";
    } else if (f->status == PS_EUNSURE && (world_ended_session_ms(s) == 0 ||
                                           !oracle_has_ended(s, f->session))) {
        what = "though nothing here ended long ago";
    } else if (f->status != PS_OK && f->status != PS_EUNSURE && n->is_applied &&
               (l == NULL || !l->has_ended)) {
        what = "which was applied";
    } else if (f->status == PS_OK && l != NULL && a->restore < l->restore) {
        what = "which was submitted before the cluster went back";
    } else if (f->status == PS_OK && !same_ops(s, n, ops, n_ops)) {
        what = "with other rows than were sent";
    }
    if (what != NULL) {
        world_fail(s, "%s is told %s of (%llu, %llu, %llu), %s",
                   world_name(client), ps_status_name(f->status),
                   (ull)f->session, (ull)f->lane, (ull)f->seq, what);
        return;
    }
    n->is_told = true;
    n->told = f->status;
    if (a != NULL) {
        n->step = a->step;
        n->has_step = true;
        oracle_content_on_framed(s, stream, n);
    }
    if (f->status == PS_OK) {
        oracle_each_row(s, ops, n_ops, tell_row, &t);
    } else if (l != NULL && l->has_ended) {
        for (uint32_t i = 0; i < n_ops; i++) {
            if (oracle_load_has_now(s, &ops[i], stream, n)) {
                s->totals.kept++;
                oracle_load_keep(s, n, &ops[i]);
                oracle_each_row(s, &ops[i], 1, tell_row, &t);
            } else if (a != NULL && oracle_load_had(s, &ops[i], stream, n)) {
                note_had(s, a, n, &ops[i]);
            }
        }
    }
}

void oracle_on_lost(struct sim *s, struct process *client,
                    const struct ps_loss *loss)
{
    struct stream *t = find_stream(s, loss->session, loss->lane);
    const struct lane *l = oracle_lane(s, loss->lane);

    trace_note(s,
               "%s is told of the loss of (%llu, %llu, %llu..%llu), %s %u..%u",
               world_name(client), (ull)loss->session, (ull)loss->lane,
               (ull)loss->first, (ull)loss->last,
               loss->variable != NULL ? loss->variable : "all", loss->begin,
               loss->end);
    if (l == NULL || (!l->has_ended && loss->variable == NULL)) {
        world_fail(s, "a loss on lane %llu, which has not ended",
                   (ull)loss->lane);
        return;
    }
    if (t == NULL || t->client != client || loss->first == 0 ||
        loss->first > loss->last || loss->last > t->n ||
        l->server != loss->server || l->shard != loss->shard) {
        world_fail(s,
                   "%s is told of a loss (%llu, %llu, %llu..%llu) of server "
                   "%u shard %u, which cannot be",
                   world_name(client), (ull)loss->session, (ull)loss->lane,
                   (ull)loss->first, (ull)loss->last, loss->server,
                   loss->shard);
        return;
    }
    for (uint64_t seq = loss->first; seq <= loss->last; seq++) {
        struct numbered *n = &t->numbers[seq - 1];

        if (!oracle_load_lose(s, n, loss)) {
            world_fail(s, "the loss of (%llu, %llu, %llu) is told twice",
                       (ull)loss->session, (ull)loss->lane, (ull)seq);
            return;
        }
        if (!oracle_load_may_lose(s, l, n, loss)) {
            world_fail(s,
                       "the loss of (%llu, %llu, %llu) is told of %s, which is "
                       "logged",
                       (ull)loss->session, (ull)loss->lane, (ull)seq,
                       loss->variable);
            return;
        }
        s->totals.losses += n->is_told && n->told == PS_OK && n->lost != NULL &&
                            n->lost->next == NULL;
    }
}
