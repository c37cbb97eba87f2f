/* A flight is one frame for one lane and what is to become of it. Numbered
 * flights end as applied, refused for good, or - where the lane or the session
 * ended first - resolved: asked for, part by part, at the parts' present
 * holders. Only what is known not to be applied is cut anew (protocol 4.3). */
#include "base/mem.h"
#include "base/probe.h"
#include "client/session_impl.h"

void flight_append(struct flight_list *list, struct flight *f)
{
    f->next = NULL;
    f->prev = list->last;
    f->in = list;
    if (list->last != NULL) {
        list->last->next = f;
    } else {
        list->first = f;
    }
    list->last = f;
}

/* Keeps the order of submission among what has no number yet. */
void flight_insert(struct flight_list *list, struct flight *f)
{
    struct flight *before = list->last;

    while (before != NULL && before->seq == 0 && before->order > f->order) {
        before = before->prev;
    }
    f->in = list;
    f->prev = before;
    f->next = before != NULL ? before->next : list->first;
    if (f->next != NULL) {
        f->next->prev = f;
    } else {
        list->last = f;
    }
    if (before != NULL) {
        before->next = f;
    } else {
        list->first = f;
    }
}

void flight_remove(struct flight *f)
{
    if (f->in == NULL) {
        return;
    }
    if (f->prev != NULL) {
        f->prev->next = f->next;
    } else {
        f->in->first = f->next;
    }
    if (f->next != NULL) {
        f->next->prev = f->prev;
    } else {
        f->in->last = f->prev;
    }
    f->in = NULL;
    f->link = NULL;
}

static void forget_target(struct flight_list *list, const struct flight *f)
{
    for (struct flight *r = list->first; r != NULL; r = r->next) {
        if (r->kind == FLIGHT_RESOLVE && r->target == f) {
            r->target = NULL;
        }
    }
}

void flight_free(struct flight *f)
{
    struct session *s = f->request != NULL ? f->request->session : NULL;

    if (s != NULL && f->n_resolves > 0) {
        struct link *l;
        size_t i = 0;

        forget_target(&s->parked, f);
        while ((l = map_next(&s->links, &i)) != NULL) {
            forget_target(&l->reads, f);
        }
    }
    flight_remove(f);
    frame_put(f->frame);
    mem_free(f);
}

int flight_make_acked_room(struct session *s)
{
    size_t room = (s->n_acked + s->links.n + 8) * 2;
    struct acked *a;

    if (s->n_acked + s->links.n + 4 <= s->acked_room) {
        return PS_OK;
    }
    a = mem_try_resize(s->acked, mem_array(room, sizeof(*a)));
    if (a == NULL) {
        return PS_ENOMEM;
    }
    s->acked = a;
    s->acked_room = room;
    return PS_OK;
}

/* Keeps the acknowledged numbers for the report of losses. Twice is once.
 * PS_ENOMEM: the answer is not to be taken yet. */
static int note_acked(struct session *s, const struct flight *f)
{
    struct acked *a = NULL;

    if (plan_lane(s->plan, f->lane) == NULL) {
        return PS_OK; /* conclude has kept it */
    }
    for (size_t i = s->n_acked; i > 0 && a == NULL; i--) {
        a = &s->acked[i - 1];
        if (a->lane != f->lane || a->session != f->session) {
            a = NULL;
        }
    }
    if (a == NULL) {
        if (flight_make_acked_room(s) != PS_OK) {
            return PS_ENOMEM;
        }
        a = &s->acked[s->n_acked++];
        *a = (struct acked){.session = f->session, .lane = f->lane};
    }
    return loss_note(a, f);
}

/* Tells what became of a number: once for each flight that had one. With
 * `fates`, only of the slices that were found applied. */
static void note_outcome(struct session *s, struct flight *f, int status)
{
    struct request *r = f->request;
    struct ps_frame_outcome o = {.session = f->session,
                                 .lane = f->lane,
                                 .seq = f->seq,
                                 .server = f->server,
                                 .shard = f->shard,
                                 .status = status};
    struct run_op *ops = NULL;
    uint32_t n = 0;

    if (status == PS_OK) {
        s->counters.pushes_acked++;
    } else {
        s->counters.pushes_rejected++;
    }
    if (r->n_outcomes < r->outcomes_room) {
        r->outcomes[r->n_outcomes++] = o;
    }
    if (s->owner->framed != NULL) {
        arena_reset(&s->arena);
        if (run_decode(frame_body(f->frame), f->frame->body_bytes, &s->arena,
                       &ops, &n) == PS_OK) {
            s->owner->framed(s->owner, &o, r, ops, n);
        }
    }
}

static void end_request(struct request *r, int status)
{
    if (r->status == PS_OK) {
        r->status = status;
    }
    ASSERT(r->n_flights > 0);
    r->n_flights--;
    if (r->n_flights == 0) {
        request_settle(r);
    }
}

void flight_settle(struct session *s, struct flight *f, int status)
{
    struct request *r = f->request;

    if (f->seq != 0) {
        note_outcome(s, f, status);
    }
    flight_free(f);
    end_request(r, status);
}

void flight_park(struct session *s, struct flight *f)
{
    flight_remove(f);
    f->seq = 0;
    f->connection = 0;
    flight_insert(&s->parked, f);
}

/* ---- answers ------------------------------------------------------------ */

/* Puts the rows of one slice where the caller wants them. */
static void scatter(const struct request *r, const struct slice *slice,
                    const struct run_answer *a)
{
    const struct request_op *op = &r->ops[slice->op];
    size_t dim = op->variable.dim;

    if (op->out == NULL || r->is_abandoned) {
        return;
    }
    if (slice->place == NULL) {
        memcpy(op->out + slice->row_begin * dim, a->values,
               slice->n * dim * sizeof(float));
        return;
    }
    if (slice_is_run(slice->place, slice->n)) {
        memcpy(op->out + slice->place[0] * dim, a->values,
               slice->n * dim * sizeof(float));
        return;
    }
    for (size_t i = 0; i < slice->n; i++) {
        slice_copy_row(op->out + slice->place[i] * dim, a->values + i * dim,
                       dim);
    }
}

static bool reads(const struct flight *f, const struct slice *slice)
{
    return slice->as_pull || f->request->ops[slice->op].kind != PS_PUSH;
}

/* An answer with rows. PS_EPROTOCOL if it is not what was asked for. */
static int take_rows(struct session *s, struct flight *f, struct frame *frame,
                     bool *must_pull)
{
    struct run_answer *a;
    uint32_t n;
    int rc;

    arena_reset(&s->arena);
    rc = run_answer_decode(frame_body(frame), frame->body_bytes, &s->arena, &a,
                           &n);
    if (rc != PS_OK || n != f->n) {
        return rc != PS_OK ? rc : PS_EPROTOCOL;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct slice *slice = &f->slices[i];
        size_t dim = f->request->ops[slice->op].variable.dim;

        slice->fate = PS_OK;
        if (!reads(f, slice)) {
            continue;
        }
        if (a[i].status != PS_OK) {
            PROBE(flight_reads_pulled_anew);
            slice->as_pull = true;
            slice->fate = a[i].status;
            *must_pull = true;
        } else if (a[i].n_values != slice->n * dim) {
            return PS_EPROTOCOL;
        } else {
            scatter(f->request, slice, &a[i]);
        }
    }
    return PS_OK;
}

static void on_applied(struct session *s, struct flight *f, struct frame *frame,
                       struct link *l)
{
    bool must_pull = false;
    int rc;

    if (f->seq != 0 && note_acked(s, f) != PS_OK) {
        f->connection = 0;
        link_hold(l); /* a repeat is answered again */
        return;
    }
    rc = take_rows(s, f, frame, &must_pull);
    if (rc != PS_OK) {
        if (f->seq != 0 && frame->body_bytes == 0) {
            flight_settle(s, f, PS_OK);
        } else if (f->seq != 0 || rc == PS_ENOMEM) {
            /* Applied it is: a repeat is answered again. */
            f->connection = 0;
            link_hold(l);
        } else {
            flight_settle(s, f, PS_ECLIENTDEC);
        }
        return;
    }
    if (f->seq == 0) {
        s->counters.pulls++;
    }
    if (!must_pull) {
        flight_settle(s, f, PS_OK);
        return;
    }
    if (f->seq != 0) {
        note_outcome(s, f, PS_OK);
    }
    f->seq = 0;
    session_want_plan(s);
    cut_again(s, f);
}

void flight_on_run(struct session *s, struct flight *f,
                   const struct frame_header *h, struct frame *frame)
{
    struct link *l = f->link;

    switch (h->status) {
    case PS_OK:
        on_applied(s, f, frame, l);
        break;
    case PS_EBUSY:
    case PS_EGAP:
    case PS_ENOTYET:
        if (f->seq == 0) {
            f->connection = 0;
        }
        link_hold(l);
        break;
    case PS_EPLAN:
    case PS_EMOVED:
        PROBE(flight_refused_for_plan);
        if (f->seq != 0) {
            note_outcome(s, f, PS_EPLAN);
            l->plan_min = base_max_u64(l->plan_min, h->plan);
        }
        for (uint32_t i = 0; i < f->n; i++) {
            f->slices[i].fate = PS_EPLAN;
        }
        session_want_plan(s);
        if (h->plan > s->plan->w.plan) {
            flight_park(s, f);
        } else {
            cut_again(s, f);
        }
        break;
    case PS_ELANE:
        /* The plan will say so too; until then nothing goes there. */
        f->connection = 0;
        session_want_plan(s);
        link_hold(l);
        break;
    case PS_EEXPIRED:
        session_expire(s, f->session);
        break;
    default:
        flight_settle(s, f, h->status < 0 ? h->status : PS_EPROTOCOL);
        break;
    }
}

void flight_on_status(struct session *s, struct flight *f,
                      const struct frame_header *h, struct frame *frame)
{
    struct request *r = f->request;
    int status = h->status;

    if (status == PS_OK && frame->body_bytes > 0) {
        r->answer = mem_try(frame->body_bytes);
        if (r->answer != NULL) {
            memcpy(r->answer, frame_body(frame), frame->body_bytes);
            r->answer_size = frame->body_bytes;
        } else {
            status = PS_ENOMEM;
        }
    }
    flight_settle(s, f, status);
}

/* ---- resolve ------------------------------------------------------------ */

/* A RESOLVE flight for the slices of f that `lane` is to be asked for. */
static struct flight *make_resolve(struct session *s, struct flight *f,
                                   uint64_t lane)
{
    struct flight *r = mem_try_zero(sizeof(*r) + f->n * sizeof(struct slice));

    if (r == NULL) {
        return NULL;
    }
    r->kind = FLIGHT_RESOLVE;
    r->target = f;
    r->by_user = f->by_user;
    r->order = f->order;
    r->id = s->next_id++;
    r->session = f->session;
    r->lane = lane;
    r->plan = s->plan->w.plan;
    return r;
}

static void encode_resolve(struct session *s, struct flight *r)
{
    struct flight *f = r->target;
    struct wire_range *parts;
    struct wire_resolve m = {
        .session = f->session, .lane = f->lane, .seq = f->seq, .n_parts = r->n};
    struct buf b;

    frame_put(r->frame);
    r->frame = NULL;
    arena_reset(&s->arena);
    parts = arena_take(&s->arena, (r->n + 1) * sizeof(*parts));
    if (parts == NULL) {
        return;
    }
    for (uint32_t i = 0; i < r->n; i++) {
        parts[i] = (struct wire_range){r->slices[i].variable,
                                       r->slices[i].begin, r->slices[i].end};
    }
    m.parts = parts;
    buf_init(&b);
    wire_resolve_encode(&m, &b);
    if (!b.failed) {
        r->frame = frame_new(b.size);
    }
    if (r->frame != NULL) {
        memcpy(frame_body(r->frame), b.data, b.size);
    }
    buf_fini(&b);
}

/* The lane that knows about a slice of f now: f's own while it lives, else the
 * part's holder; 0 if there is none (the variable has gone). */
static uint64_t holder_of(const struct session *s, const struct flight *f,
                          const struct slice *slice)
{
    const struct wire_part *p;

    if (plan_lane(s->plan, f->lane) != NULL) {
        return f->lane;
    }
    p = plan_part(s->plan, slice->variable, slice->begin);
    return p != NULL ? p->lane : 0;
}

/* Queues it where it goes by the present plan; parks it without memory. */
static void route_resolve(struct session *s, struct flight *r)
{
    struct link *l = link_for(s, r->lane);

    flight_remove(r);
    r->connection = 0;
    r->plan = s->plan->w.plan;
    if (l != NULL) {
        encode_resolve(s, r);
    }
    if (l == NULL || r->frame == NULL) {
        flight_append(&s->parked, r);
        if (plan_lane(s->plan, r->lane) != NULL) {
            s->recut_us = session_now(s) + LIMIT_RETRY_MS * 1000;
        }
        return;
    }
    if (!r->by_user) {
        l->n_resolves++;
    }
    flight_append(&l->reads, r);
    r->link = l;
}

/* Of what a restore of the whole left nothing is told number by number. */
static bool is_of_ended_lane(const struct session *s, const struct flight *f)
{
    return plan_lane(s->plan, f->lane) == NULL &&
           f->request->restore >= s->plan->w.restore;
}

/* Every slice has its fate: applied, or cut anew. */
static void conclude(struct session *s, struct flight *f)
{
    uint32_t n_applied = 0;
    int refused = PS_OK;
    bool unsure = false;

    for (uint32_t i = 0; i < f->n; i++) {
        int fate = f->slices[i].fate;

        n_applied += fate == PS_OK;
        unsure = unsure || fate == PS_EUNSURE;
        if (fate != PS_OK && fate != PS_ECANCELED && fate != PS_EUNSURE) {
            refused = fate;
        }
    }
    if ((n_applied > 0 && is_of_ended_lane(s, f) && loss_keep(s, f) != PS_OK) ||
        (n_applied == f->n && note_acked(s, f) != PS_OK)) {
        s->recut_us = session_now(s) + LIMIT_RETRY_MS * 1000;
        return;
    }
    if (n_applied == f->n) {
        bool must_pull = false;

        PROBE(flight_resolved_applied);
        note_outcome(s, f, PS_OK);
        for (uint32_t i = 0; i < f->n; i++) {
            if (reads(f, &f->slices[i])) {
                f->slices[i].as_pull = true;
                f->slices[i].fate = PS_EMOVED;
                must_pull = true;
            }
        }
        f->seq = 0;
        if (must_pull) {
            cut_again(s, f);
        } else {
            flight_settle(s, f, PS_OK);
        }
    } else if (unsure) {
        flight_settle(s, f, PS_EUNSURE);
    } else if (refused != PS_OK && refused != PS_EPLAN) {
        flight_settle(s, f, refused);
    } else if (f->by_user) {
        PROBE(flight_canceled_by_user);
        flight_settle(s, f, PS_ECANCELED);
    } else {
        PROBE(flight_resolved_not_applied);
        note_outcome(s, f, PS_ECANCELED);
        f->seq = 0;
        cut_again(s, f);
    }
}

static void mark(struct flight *f, const struct flight *r, uint32_t i, int fate)
{
    f->slices[r->slices[i].op].fate = fate;
}

/* Asks for every slice of f without a fate: one question for each holder. */
static void ask_holders(struct session *s, struct flight *f)
{
    for (uint32_t i = 0; i < f->n; i++) {
        uint64_t lane;
        struct flight *r;

        if (f->slices[i].fate != FATE_TO_ASK) {
            continue;
        }
        lane = holder_of(s, f, &f->slices[i]);
        if (lane == 0) {
            f->slices[i].fate = PS_ECANCELED;
            continue;
        }
        r = make_resolve(s, f, lane);
        if (r == NULL) {
            s->recut_us = session_now(s) + LIMIT_RETRY_MS * 1000;
            return;
        }
        for (uint32_t k = i; k < f->n; k++) {
            if (f->slices[k].fate == FATE_TO_ASK &&
                holder_of(s, f, &f->slices[k]) == lane) {
                r->slices[r->n] = f->slices[k];
                r->slices[r->n++].op = k;
                f->slices[k].fate = FATE_ASKED;
            }
        }
        f->n_resolves++;
        route_resolve(s, r);
    }
}

static void ask_or_conclude(struct session *s, struct flight *f)
{
    ask_holders(s, f);
    for (uint32_t i = 0; i < f->n; i++) {
        if (f->slices[i].fate > 0) {
            return;
        }
    }
    conclude(s, f);
}

void flight_resolve(struct session *s, struct flight *f)
{
    ASSERT(f->seq != 0);
    if (f->n_resolves > 0) {
        return;
    }
    for (uint32_t i = 0; i < f->n; i++) {
        f->slices[i].fate = FATE_TO_ASK;
    }
    ask_or_conclude(s, f);
}

void flight_ask_again(struct session *s, struct flight *r)
{
    struct flight *f = r->target;

    r->target = NULL;
    if (f != NULL) {
        for (uint32_t i = 0; i < r->n; i++) {
            mark(f, r, i, FATE_TO_ASK);
        }
        f->n_resolves--;
    }
    flight_free(r);
    if (f != NULL) {
        ask_or_conclude(s, f);
    }
}

/* A user's question that could not be asked; true when one was found. */
static bool ask_for_user(struct session *s)
{
    struct link *l;
    size_t i = 0;

    while ((l = map_next(&s->links, &i)) != NULL) {
        for (struct flight *f = l->writes.first; f != NULL; f = f->next) {
            if (f->by_user && f->seq != 0 && f->n_resolves == 0) {
                flight_resolve(s, f);
                return true;
            }
        }
    }
    return false;
}

void flight_ask_pending(struct session *s)
{
    struct flight *next;

    for (struct flight *f = s->resolving.first; f != NULL; f = next) {
        next = f->next;
        ask_or_conclude(s, f);
    }
    /* Without memory again, the time for the next try is set. */
    while (s->recut_us == 0 && ask_for_user(s)) {
    }
}

void flight_on_resolve(struct session *s, struct flight *r,
                       const struct frame_header *h, struct frame *frame)
{
    struct flight *f = r->target;
    struct link *l = r->link;
    struct wire_resolve_answer m;

    if (h->status == PS_EBUSY || h->status == PS_ENOTYET ||
        h->status == PS_ELANE) {
        r->connection = 0;
        session_want_plan(s);
        link_hold(l);
        return;
    }
    if (l->n_resolves > 0 && !r->by_user) {
        l->n_resolves--;
    }
    if (f == NULL) {
        flight_free(r);
        return;
    }
    arena_reset(&s->arena);
    if (h->status != PS_OK ||
        wire_resolve_answer_decode(frame_body(frame), frame->body_bytes,
                                   &s->arena, &m) != PS_OK ||
        m.n_parts != r->n) {
        flight_ask_again(s, r);
        return;
    }
    for (uint32_t i = 0; i < r->n; i++) {
        uint32_t negated = m.parts[i].status_negated;
        int fate = negated <= INT8_MAX ? -(int)negated : PS_EUNSURE;

        if (fate == PS_EMOVED) {
            session_want_plan(s);
            fate = FATE_TO_ASK;
        }
        mark(f, r, i, fate);
    }
    r->target = NULL;
    f->n_resolves--;
    flight_free(r);
    ask_or_conclude(s, f);
}
