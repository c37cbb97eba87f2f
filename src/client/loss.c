/* What a lane's end has lost (protocol 11). The parts' new holders are asked
 * how much of the lane's numbers their rows have: none where they began anew,
 * those of the checkpoint and of the log where they were loaded. What this
 * client was told is applied, less that, is reported, once.
 *
 *     acknowledged  1 ........................... max
 *     kept          1 ....... below - 1   but for gaps
 *     lost                 [gap]          below .. max
 */
#include "base/mem.h"
#include "base/probe.h"
#include "client/session_impl.h"

enum { PART_TO_ASK, PART_ASKED, PART_TOLD };

/* `below` of a part whose variable was dropped: there is nothing to lose. */
#define GONE UINT64_MAX

struct loss_part {
    uint32_t variable;
    uint32_t begin;
    uint32_t end;
    int state;
    uint64_t below; /* numbers below are kept, but for the gaps */
    struct wire_span *gaps;
    uint32_t n_gaps;
};

struct loss {
    struct loss *next;
    struct acked acked;
    uint32_t server;
    uint32_t shard;
    uint32_t n_parts;
    uint32_t n_flights; /* that ask for it */
    bool is_over;       /* nobody is told of it any more */
    struct loss_part parts[];
};

static void free_loss(struct loss *x)
{
    for (uint32_t i = 0; i < x->n_parts; i++) {
        mem_free(x->parts[i].gaps);
    }
    mem_free(x);
}

void loss_fini(struct session *s)
{
    while (s->losses != NULL) {
        struct loss *x = s->losses;

        s->losses = x->next;
        free_loss(x);
    }
}

static void drop_loss(struct session *s, struct loss *x)
{
    struct loss **at = &s->losses;

    while (*at != x) {
        at = &(*at)->next;
    }
    *at = x->next;
    free_loss(x);
}

void loss_undo_all(struct session *s)
{
    struct loss *next;

    for (struct loss *x = s->losses; x != NULL; x = next) {
        next = x->next;
        x->is_over = true;
        if (x->n_flights == 0) {
            drop_loss(s, x);
        }
    }
}

/* ---- telling ------------------------------------------------------------ */

static bool are_alike(const struct loss_part *a, const struct loss_part *b)
{
    return a->below == b->below && a->n_gaps == b->n_gaps &&
           (a->n_gaps == 0 ||
            memcmp(a->gaps, b->gaps, a->n_gaps * sizeof(*a->gaps)) == 0);
}

/* Ranges of one part, or of all of the lane; returns how many numbers. */
static uint64_t tell(struct session *s, const struct loss *x,
                     const struct loss_part *p, bool is_all)
{
    const struct wire_variable *v =
        is_all ? NULL : plan_variable(s->plan, p->variable);
    struct ps_loss loss = {
        .session = x->acked.session,
        .lane = x->acked.lane,
        .server = x->server,
        .shard = x->shard,
        .variable = v != NULL ? v->name : NULL,
        .begin = is_all ? 0 : p->begin,
        .end = is_all ? LIMIT_BUCKETS : p->end,
    };
    uint64_t n = 0;

    if (!is_all && v == NULL) {
        return 0; /* its variable was dropped meanwhile */
    }
    for (uint32_t i = 0; i <= p->n_gaps; i++) {
        bool is_gap = i < p->n_gaps;

        loss.first = is_gap ? p->gaps[i].first : p->below;
        loss.last = is_gap ? p->gaps[i].last : x->acked.max;
        if (loss.last > x->acked.max) {
            loss.last = x->acked.max;
        }
        if (loss.first <= loss.last) {
            PROBE(loss_is_told);
            n += loss.last - loss.first + 1;
            s->owner->lost(s->owner, &loss);
        }
    }
    return n;
}

static void conclude(struct session *s, struct loss *x)
{
    const struct loss_part *first = NULL;
    uint64_t most = 0;
    bool is_all = true;

    for (uint32_t i = 0; i < x->n_parts; i++) {
        const struct loss_part *p = &x->parts[i];

        if (p->below == GONE) {
            continue;
        }
        is_all = is_all && (first == NULL || are_alike(first, p));
        first = first == NULL ? p : first;
    }
    for (uint32_t i = 0; i < x->n_parts && first != NULL; i++) {
        const struct loss_part *p = &x->parts[i];

        if (is_all ? p == first : p->below != GONE) {
            most = base_max_u64(most, tell(s, x, p, is_all));
        }
    }
    s->counters.losses += base_min_u64(most, x->acked.n);
    drop_loss(s, x);
}

/* ---- asking ------------------------------------------------------------- */

static struct frame *encode(struct session *s, const struct flight *f)
{
    const struct loss *x = f->loss;
    struct wire_lost m = {
        .session = x->acked.session, .lane = x->acked.lane, .n_parts = f->n};
    struct wire_range *parts;
    struct frame *frame = NULL;
    struct buf b;

    arena_reset(&s->arena);
    parts = arena_take(&s->arena, (f->n + 1) * sizeof(*parts));
    if (parts == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < f->n; i++) {
        parts[i] = (struct wire_range){f->slices[i].variable,
                                       f->slices[i].begin, f->slices[i].end};
    }
    m.parts = parts;
    buf_init(&b);
    wire_lost_encode(&m, &b);
    if (!b.failed) {
        frame = frame_new(b.size);
    }
    if (frame != NULL) {
        memcpy(frame_body(frame), b.data, b.size);
    }
    buf_fini(&b);
    return frame;
}

static uint64_t holder_of(const struct session *s, const struct loss_part *p)
{
    const struct wire_part *w = plan_part(s->plan, p->variable, p->begin);

    return w != NULL ? w->lane : 0;
}

/* One question for all parts that `lane` holds. */
static int ask(struct session *s, struct loss *x, uint64_t lane)
{
    struct link *l = link_for(s, lane);
    struct flight *f =
        mem_try_zero(sizeof(*f) + x->n_parts * sizeof(f->slices[0]));

    if (l == NULL || f == NULL) {
        mem_free(f);
        return plan_lane(s->plan, lane) != NULL ? PS_ENOMEM : PS_OK;
    }
    f->kind = FLIGHT_LOST;
    f->loss = x;
    f->order = s->next_order;
    f->id = s->next_id++;
    f->lane = lane;
    f->plan = s->plan->w.plan;
    for (uint32_t i = 0; i < x->n_parts; i++) {
        struct loss_part *p = &x->parts[i];

        if (p->state == PART_TO_ASK && holder_of(s, p) == lane) {
            f->slices[f->n++] = (struct slice){
                .op = i,
                .variable = p->variable,
                .begin = p->begin,
                .end = p->end,
            };
        }
    }
    f->frame = encode(s, f);
    if (f->frame == NULL) {
        mem_free(f);
        return PS_ENOMEM;
    }
    for (uint32_t i = 0; i < f->n; i++) {
        x->parts[f->slices[i].op].state = PART_ASKED;
    }
    x->n_flights++;
    flight_append(&l->reads, f);
    f->link = l;
    return PS_OK;
}

/* Asks for what nobody was asked for yet; parts whose lane has ended wait for
 * the next plan. */
static void go_on(struct session *s, struct loss *x)
{
    bool all = true;

    if (x->is_over) {
        if (x->n_flights == 0) {
            drop_loss(s, x);
        }
        return;
    }
    for (uint32_t i = 0; i < x->n_parts; i++) {
        struct loss_part *p = &x->parts[i];
        uint64_t lane;

        if (p->state == PART_TO_ASK) {
            lane = holder_of(s, p);
            if (lane == 0) {
                p->state = PART_TOLD;
                p->below = GONE;
            } else if (ask(s, x, lane) != PS_OK) {
                s->recut_us = session_now(s) + LIMIT_RETRY_MS * 1000;
                return;
            }
        }
        all = all && p->state == PART_TOLD;
    }
    if (all && x->n_flights == 0) {
        conclude(s, x);
    }
}

void loss_ask_all(struct session *s)
{
    struct loss *next;

    for (struct loss *x = s->losses; x != NULL; x = next) {
        next = x->next;
        go_on(s, x);
    }
}

static void take_back(struct flight *f)
{
    struct loss *x = f->loss;

    for (uint32_t i = 0; i < f->n; i++) {
        x->parts[f->slices[i].op].state = PART_TO_ASK;
    }
    x->n_flights--;
    flight_free(f);
}

void loss_ask_again(struct session *s, struct flight *f)
{
    struct loss *x = f->loss;

    take_back(f);
    go_on(s, x);
}

/* An answer that was of no use: the next one may be, some time or with the next
 * plan. */
static void ask_later(struct session *s)
{
    session_want_plan(s);
    s->recut_us = session_now(s) + LIMIT_WATCH_MS * 1000;
}

/* The parts that the lane had, by the plan of before its end. */
int loss_add(struct session *s, const struct acked *acked, const struct link *l)
{
    const struct wire_plan *w = &s->former->w;
    struct loss *x;
    uint32_t n = 0;

    for (uint32_t i = 0; i < w->n_parts; i++) {
        n += w->parts[i].lane == l->lane;
    }
    x = mem_try_zero(sizeof(*x) + (n + 1) * sizeof(x->parts[0]));
    if (x == NULL) {
        return PS_ENOMEM;
    }
    x->acked = *acked;
    x->server = l->server;
    x->shard = l->shard;
    for (uint32_t i = 0; i < w->n_parts; i++) {
        const struct wire_part *p = &w->parts[i];

        if (p->lane == l->lane) {
            x->parts[x->n_parts++] = (struct loss_part){
                .variable = p->variable, .begin = p->begin, .end = p->end};
        }
    }
    if (n == 0) {
        mem_free(x);
        return PS_OK;
    }
    x->next = s->losses;
    s->losses = x;
    return PS_OK;
}

static int keep(struct loss_part *p, const struct wire_keep *k)
{
    struct wire_span *gaps = NULL;

    if (k->n_gaps > 0) {
        gaps = mem_try(k->n_gaps * sizeof(*gaps));
        if (gaps == NULL) {
            return PS_ENOMEM;
        }
        memcpy(gaps, k->gaps, k->n_gaps * sizeof(*gaps));
    }
    mem_free(p->gaps);
    p->gaps = gaps;
    p->n_gaps = k->n_gaps;
    p->below = k->below;
    p->state = PART_TOLD;
    return PS_OK;
}

void loss_on_answer(struct session *s, struct flight *f,
                    const struct frame_header *h, struct frame *frame)
{
    struct loss *x = f->loss;
    struct wire_kept m;
    bool all = true;

    if (h->status == PS_EBUSY || h->status == PS_ENOTYET ||
        h->status == PS_ELANE) {
        struct link *l = f->link;

        f->connection = 0;
        session_want_plan(s);
        link_hold(l);
        return;
    }
    arena_reset(&s->arena);
    if (h->status != PS_OK ||
        wire_kept_decode(frame_body(frame), frame->body_bytes, &s->arena, &m) !=
            PS_OK ||
        m.n_parts != f->n) {
        take_back(f);
        ask_later(s);
        return;
    }
    for (uint32_t i = 0; i < f->n; i++) {
        struct loss_part *p = &x->parts[f->slices[i].op];

        if (m.parts[i].has_moved || keep(p, &m.parts[i]) != PS_OK) {
            p->state = PART_TO_ASK;
            all = false;
        }
    }
    x->n_flights--;
    flight_free(f);
    if (all) {
        go_on(s, x);
    } else {
        ask_later(s);
    }
}
