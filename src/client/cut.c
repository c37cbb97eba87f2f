/* Cutting: the rows of a request, by the part that holds them, into one frame
 * for each lane. Done when a request comes, and again with what a refusal, a
 * lane's end or a newer plan leaves to do; so it starts from slices, whose keys
 * and values lie in the caller's memory the first time, in the old frame
 * later. */
#include "base/mem.h"
#include "base/probe.h"
#include "client/session_impl.h"
#include "plan/split.h"

/* Some keys of one slice that one part holds; or a part's dense rows. */
struct piece {
    const struct slice *from;
    const struct wire_part *part;
    const uint32_t *order; /* [n] indices into the slice; NULL: dense */
    size_t n;
    uint64_t row_begin;
    bool is_taken;
};

PLANT_DECLARE(recut_restamped);
PLANT_DECLARE(recut_after_rollback);

struct cutter {
    struct session *s;
    struct request *r;
    uint64_t order;
    struct piece *pieces;
    size_t n;
    size_t room;
    struct flight_list done; /* cut, not queued yet */
    uint32_t n_done;
    bool is_short; /* of memory */
};

static bool writes(const struct request *r, const struct slice *slice)
{
    const struct request_op *op = &r->ops[slice->op];

    return !slice->as_pull &&
           (op->kind == PS_PUSH ||
            (op->kind == PS_PULL_CREATE && op->variable.kind == PS_HASH64));
}

static bool pushes(const struct request *r, const struct slice *slice)
{
    return !slice->as_pull && r->ops[slice->op].kind == PS_PUSH;
}

static void add_piece(struct cutter *c, const struct piece *p)
{
    if (c->n == c->room) {
        size_t room = c->room == 0 ? 64 : c->room * 2;
        struct piece *more =
            mem_try_resize(c->pieces, mem_array(room, sizeof(*more)));

        if (more == NULL) {
            c->is_short = true;
            return;
        }
        c->pieces = more;
        c->room = room;
    }
    c->pieces[c->n++] = *p;
}

/* How many keys of this op one frame carries, answer included. */
static size_t keys_max(const struct request_op *op)
{
    size_t n = LIMIT_PIECE_BYTES / (16 + op->variable.dim * sizeof(float));

    return n > 0 ? n : 1;
}

static void take_hash(struct cutter *c, const struct slice *slice,
                      const struct wire_part *parts, uint32_t n_parts)
{
    struct arena *arena = &c->s->arena;
    uint32_t *order = arena_take(arena, (slice->n + 1) * sizeof(*order));
    uint32_t *part_of = arena_take(arena, (slice->n + 1) * sizeof(*part_of));
    size_t *counts = arena_take(arena, (n_parts + 1) * sizeof(*counts));
    size_t max = keys_max(&c->r->ops[slice->op]);
    size_t at = 0;

    if (order == NULL || part_of == NULL || counts == NULL) {
        c->is_short = true;
        return;
    }
    split_keys(parts, n_parts, slice->keys, slice->n, part_of, order, counts);
    for (uint32_t i = 0; i < n_parts; i++) {
        size_t end = at + counts[i];
        /* As many pieces as must be, about equally long. */
        size_t n = (counts[i] + max - 1) / max;
        size_t some = n > 0 ? (counts[i] + n - 1) / n : 0;

        while (at < end) {
            struct piece p = {slice, &parts[i], order + at, end - at, 0, false};

            p.n = p.n > some ? some : p.n;
            at += p.n;
            add_piece(c, &p);
        }
    }
}

static void take_dense(struct cutter *c, const struct slice *slice,
                       const struct wire_part *parts, uint32_t n_parts)
{
    uint64_t rows = c->r->ops[slice->op].variable.rows;

    for (uint32_t i = 0; i < n_parts; i++) {
        uint64_t begin, end;

        plan_dense_rows(rows, parts[i].begin, parts[i].end, &begin, &end);
        if (begin >= slice->row_begin && end <= slice->row_begin + slice->n &&
            begin < end) {
            struct piece p = {slice, &parts[i], NULL, (size_t)(end - begin),
                              begin, false};

            add_piece(c, &p);
        }
    }
}

static bool is_logged(const struct cutter *c, const struct piece *p)
{
    const struct wire_variable *v =
        plan_variable(c->s->plan, p->from->variable);

    return writes(c->r, p->from) && v->durability != PS_MEMORY;
}

static uint32_t chain_of(const struct request *r, const struct slice *slice)
{
    const struct request_op *op = &r->ops[slice->op];

    return writes(r, slice) ? op->write_chain : op->pull_chain;
}

static void describe(const struct cutter *c, const struct piece *p,
                     struct run_op *op)
{
    const struct request_op *from = &c->r->ops[p->from->op];

    *op = (struct run_op){
        .chain = c->s->chains[chain_of(c->r, p->from)].id,
        .variable = from->variable.id,
        .begin = p->part->begin,
        .end = p->part->end,
        .n_keys = p->order != NULL ? (uint32_t)p->n : 0,
        .dim = from->variable.dim,
    };
    if (pushes(c->r, p->from)) {
        op->n_params = (uint32_t)from->updater.n_params;
        op->params = from->updater.params;
        op->n_values = p->n * from->variable.dim;
    }
}

/* Copies the keys and values of a piece to their place in the frame. */
static void fill(const struct cutter *c, const struct piece *p,
                 const struct run_place *at)
{
    size_t dim = c->r->ops[p->from->op].variable.dim;
    const float *values = at->values != NULL ? p->from->values : NULL;

    if (p->order == NULL) {
        if (values != NULL) {
            memcpy(at->values,
                   values + (p->row_begin - p->from->row_begin) * dim,
                   p->n * dim * sizeof(float));
        }
        return;
    }
    if (slice_is_run(p->order, p->n)) {
        memcpy(at->keys, p->from->keys + p->order[0], p->n * sizeof(uint64_t));
        if (values != NULL) {
            memcpy(at->values, values + p->order[0] * dim,
                   p->n * dim * sizeof(float));
        }
        return;
    }
    for (size_t i = 0; i < p->n; i++) {
        at->keys[i] = p->from->keys[p->order[i]];
    }
    for (size_t i = 0; values != NULL && i < p->n; i++) {
        slice_copy_row(at->values + i * dim, values + p->order[i] * dim, dim);
    }
}

/* Whether its rows of the answer go to places of their own. */
static bool has_places(const struct cutter *c, const struct piece *p)
{
    return p->order != NULL && !pushes(c->r, p->from);
}

/* What the flight remembers of a piece; `place` has room for its places. */
static void remember(const struct cutter *c, const struct piece *p,
                     const struct run_place *at, uint32_t *place,
                     struct slice *slice)
{
    *slice = (struct slice){
        .op = p->from->op,
        .as_pull = p->from->as_pull,
        .is_logged = is_logged(c, p),
        .variable = p->from->variable,
        .begin = p->part->begin,
        .end = p->part->end,
        .n = p->n,
        .row_begin = p->row_begin,
        .keys = p->order != NULL ? at->keys : NULL,
        .values = pushes(c->r, p->from) ? at->values : NULL,
        .fate = PS_ECANCELED,
    };
    if (has_places(c, p)) {
        for (size_t i = 0; i < p->n; i++) {
            uint32_t k = p->order[i];

            place[i] = p->from->place != NULL ? p->from->place[k] : k;
        }
        slice->place = place;
    }
}

/* A flight of n slices, with the places of these pieces behind them: they go
 * with it, however often the rows are cut anew. */
static struct flight *make_flight(const struct cutter *c, const size_t *idx,
                                  uint32_t n)
{
    size_t head = sizeof(struct flight) + n * sizeof(struct slice);
    size_t n_places = 0;
    struct flight *f;

    for (uint32_t i = 0; i < n; i++) {
        const struct piece *p = &c->pieces[idx[i]];

        n_places += has_places(c, p) ? p->n : 0;
    }
    f = mem_try(head + n_places * sizeof(uint32_t));
    if (f != NULL) {
        memset(f, 0, head);
    }
    return f;
}

/* One flight of the pieces at idx[0..n). */
static void build(struct cutter *c, const size_t *idx, uint32_t n)
{
    struct arena *arena = &c->s->arena;
    struct run_op *ops = arena_take(arena, (n + 1) * sizeof(*ops));
    struct run_place *places = arena_take(arena, (n + 1) * sizeof(*places));
    struct flight *f = make_flight(c, idx, n);
    uint32_t *place;

    if (ops == NULL || places == NULL || f == NULL) {
        c->is_short = true;
        mem_free(f);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        describe(c, &c->pieces[idx[i]], &ops[i]);
    }
    f->frame = frame_new(run_bytes(ops, n));
    if (f->frame == NULL) {
        c->is_short = true;
        mem_free(f);
        return;
    }
    run_encode(ops, n, frame_body(f->frame), places);
    place = (uint32_t *)&f->slices[n];
    for (uint32_t i = 0; i < n; i++) {
        const struct piece *p = &c->pieces[idx[i]];
        uint32_t chain = chain_of(c->r, p->from);

        fill(c, p, &places[i]);
        remember(c, p, &places[i], place, &f->slices[i]);
        place += has_places(c, p) ? p->n : 0;
        f->is_write = f->is_write || writes(c->r, p->from);
        f->chain = chain > f->chain ? chain : f->chain;
    }
    f->kind = FLIGHT_RUN;
    f->n = n;
    f->request = c->r;
    f->order = c->order;
    f->lane = c->pieces[idx[0]].part->lane;
    f->plan = c->s->plan->w.plan;
    f->id = c->s->next_id++;
    flight_append(&c->done, f);
    c->n_done++;
}

/* Groups pieces by lane, in order, into frames of bounded size. */
static void group(struct cutter *c)
{
    size_t *idx = arena_take(&c->s->arena, (c->n + 1) * sizeof(*idx));

    if (idx == NULL) {
        c->is_short = true;
        return;
    }
    for (size_t i = 0; i < c->n && !c->is_short; i++) {
        size_t bytes = 0;
        uint32_t n = 0;

        if (c->pieces[i].is_taken) {
            continue;
        }
        for (size_t k = i; k < c->n; k++) {
            struct piece *p = &c->pieces[k];
            size_t dim = c->r->ops[p->from->op].variable.dim;
            size_t more = 64 + p->n * (16 + dim * sizeof(float));

            if (p->is_taken || p->part->lane != c->pieces[i].part->lane) {
                continue;
            }
            if (n > 0 &&
                (bytes + more > LIMIT_PIECE_BYTES || n >= LIMIT_FRAME_OPS)) {
                break;
            }
            p->is_taken = true;
            idx[n++] = k;
            bytes += more;
        }
        build(c, idx, n);
    }
}

static void drop_done(struct cutter *c)
{
    while (c->done.first != NULL) {
        flight_free(c->done.first);
    }
}

/* Room for the outcomes of all numbered flights, so that noting one cannot
 * fail later. */
static int make_room(struct request *r, uint32_t more)
{
    size_t need = r->n_outcomes + r->n_flights + more;
    struct ps_frame_outcome *o;

    if (need <= r->outcomes_room) {
        return PS_OK;
    }
    o = mem_try_resize(r->outcomes, mem_array(need * 2, sizeof(*o)));
    if (o == NULL) {
        return PS_ENOMEM;
    }
    r->outcomes = o;
    r->outcomes_room = need * 2;
    return PS_OK;
}

static void queue_done(struct cutter *c)
{
    struct flight *f;

    while ((f = c->done.first) != NULL) {
        struct link *l = link_for(c->s, f->lane);

        flight_remove(f);
        c->r->n_flights++;
        if (l != NULL) {
            link_add(l, f);
        } else {
            PROBE(cut_without_live_lane);
            if (plan_lane(c->s->plan, f->lane) != NULL) {
                /* It lives: there was no memory for a link. */
                c->s->recut_us = session_now(c->s) + LIMIT_RETRY_MS * 1000;
            }
            flight_insert(&c->s->parked, f);
        }
    }
}

int cut_slices(struct session *s, struct request *r, const struct slice *slices,
               uint32_t n, uint64_t order)
{
    struct cutter c = {.s = s, .r = r, .order = order};
    bool has_gone = false;
    int rc = PS_OK;

    arena_reset(&s->arena);
    for (uint32_t i = 0; i < n && !c.is_short; i++) {
        uint32_t n_parts;
        const struct wire_part *parts =
            plan_parts(s->plan, slices[i].variable, &n_parts);

        if (n_parts == 0) {
            PROBE(cut_variable_has_gone);
            has_gone = true;
        } else if (r->ops[slices[i].op].variable.kind == PS_DENSE) {
            take_dense(&c, &slices[i], parts, n_parts);
        } else {
            take_hash(&c, &slices[i], parts, n_parts);
        }
    }
    if (!c.is_short) {
        group(&c);
    }
    if (c.is_short || make_room(r, c.n_done) != PS_OK ||
        flight_make_acked_room(s) != PS_OK) {
        drop_done(&c);
        rc = PS_ENOMEM;
    } else {
        if (has_gone && r->status == PS_OK) {
            r->status = PS_ENOTFOUND;
        }
        queue_done(&c);
    }
    mem_free(c.pieces);
    return rc;
}

static bool is_left(const struct flight *f, uint32_t i)
{
    return f->slices[i].fate != PS_OK;
}

void cut_again(struct session *s, struct flight *f)
{
    struct request *r = f->request;
    struct slice *left;
    uint32_t n = 0;

    flight_remove(f);
    f->seq = 0;
    f->connection = 0;
    if (r->restore < s->plan->w.restore && !PLANT(recut_after_rollback)) {
        PROBE(cut_rolled_back);
        flight_settle(s, f, PS_EROLLEDBACK);
        return;
    }
    PROBE(cut_anew);
    if (PLANT(recut_restamped)) {
        r->cut = s->step.cut;
    }
    left = mem_try(mem_array(f->n + 1, sizeof(*left)));
    for (uint32_t i = 0; left != NULL && i < f->n; i++) {
        if (is_left(f, i)) {
            left[n++] = f->slices[i];
        }
    }
    if (left == NULL || cut_slices(s, r, left, n, f->order) != PS_OK) {
        flight_insert(&s->parked, f);
        s->recut_us = session_now(s) + LIMIT_RETRY_MS * 1000;
    } else {
        /* The new flights count; this one no longer does. */
        flight_free(f);
        r->n_flights--;
        if (r->n_flights == 0) {
            request_settle(r);
        }
    }
    mem_free(left);
}

/* A newer plan is here, or memory may be: everything parked is tried again,
 * oldest first. */
void cut_parked(struct session *s)
{
    struct flight_list old = s->parked;
    struct flight *f;

    s->parked = (struct flight_list){NULL, NULL};
    s->recut_us = 0;
    for (f = old.first; f != NULL; f = f->next) {
        f->in = &old;
    }
    while ((f = old.first) != NULL) {
        flight_remove(f);
        if (f->kind == FLIGHT_RESOLVE) {
            flight_ask_again(s, f);
        } else if (f->kind == FLIGHT_LOST) {
            loss_ask_again(s, f);
        } else {
            cut_again(s, f);
        }
    }
    flight_ask_pending(s);
    loss_ask_all(s);
}
