/* What lanes' ends have lost (protocol 11). The holders of a lane's parts are
 * asked how much of its numbers their rows have: none where they began anew,
 * those of the checkpoint and of the log where they were loaded. What this
 * client was told is applied, less that, is reported, once.
 *
 *     acknowledged  1 ........................... max    but for refused ones
 *     kept          1 ....... below - 1                  but for gaps
 *     lost                 [gap]          below .. max
 *
 * What was kept may be lost by the next holder's end, where that has to begin
 * with an older checkpoint. So a lane is remembered, and asked for again of
 * each next holder, until all of it is told, or no checkpoint is left that does
 * not have what was kept: all that there are were begun after the lane's end.
 * Parts keep their ranges until the cluster goes back as a whole, and of what
 * was before that nothing is told here.
 *
 * A part of a variable that is logged can only lose numbers that have written
 * to it: what a holder says of others, which are in no log, is of no meaning.
 */
#include "base/mem.h"
#include "base/probe.h"
#include "client/loss_impl.h"

/* Of more ranges of acknowledged numbers the last goes on over what is between:
 * too much is told then if it is lost. */
enum { ACKED_SPANS_MAX = 4096 };

static int add_number(struct spans *numbers, uint64_t seq)
{
    if (numbers->n < ACKED_SPANS_MAX) {
        return spans_add(numbers, seq, seq);
    }
    numbers->at[numbers->n - 1].last =
        base_max_u64(numbers->at[numbers->n - 1].last, seq);
    return PS_OK;
}

static const struct logged *find_logged(const struct logged *list,
                                        uint32_t variable)
{
    while (list != NULL && list->variable != variable) {
        list = list->next;
    }
    return list;
}

int loss_note(struct acked *acked, const struct flight *f)
{
    int rc = add_number(&acked->numbers, f->seq);

    for (uint32_t i = 0; i < f->n && rc == PS_OK; i++) {
        struct logged *l = acked->logged;

        if (!f->slices[i].is_logged) {
            continue;
        }
        while (l != NULL && l->variable != f->slices[i].variable) {
            l = l->next;
        }
        if (l == NULL) {
            l = mem_try_zero(sizeof(*l));
            if (l == NULL) {
                return PS_ENOMEM;
            }
            l->next = acked->logged;
            l->variable = f->slices[i].variable;
            acked->logged = l;
        }
        rc = add_number(&l->numbers, f->seq);
    }
    return rc;
}

static void free_logged(struct logged *list)
{
    while (list != NULL) {
        struct logged *l = list;

        list = l->next;
        spans_fini(&l->numbers);
        mem_free(l);
    }
}

void loss_forget(struct acked *acked)
{
    spans_fini(&acked->numbers);
    free_logged(acked->logged);
    acked->logged = NULL;
}

static void free_scratch(struct loss_part *p)
{
    spans_fini(&p->fresh);
    spans_fini(&p->so_far);
}

static void free_loss(struct loss *x)
{
    for (uint32_t i = 0; i < x->n_parts; i++) {
        spans_fini(&x->parts[i].never);
        spans_fini(&x->parts[i].lost);
        spans_fini(&x->parts[i].also);
        spans_fini(&x->parts[i].told);
        free_scratch(&x->parts[i]);
    }
    spans_fini(&x->acked);
    free_logged(x->logged);
    spans_fini(&x->counted);
    mem_free(x->parts);
    mem_free(x);
}

static void forget_acked(struct session *s)
{
    for (size_t i = 0; i < s->n_acked; i++) {
        loss_forget(&s->acked[i]);
    }
    s->n_acked = 0;
}

void loss_fini(struct session *s)
{
    while (s->losses != NULL) {
        struct loss *x = s->losses;

        s->losses = x->next;
        free_loss(x);
    }
    forget_acked(s);
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
    forget_acked(s);
}

/* ---- telling ------------------------------------------------------------ */

/* By part, even where all of the lane's are lost: who pushes again cannot know
 * which of a push's rows were on the lane. */
static void tell(struct session *s, const struct loss *x,
                 const struct loss_part *p)
{
    const struct wire_variable *v = plan_variable(s->plan, p->variable);
    struct ps_loss loss = {
        .session = x->session,
        .lane = x->lane,
        .server = x->server,
        .shard = x->shard,
        .variable = v->name,
        .begin = p->begin,
        .end = p->end,
    };

    for (uint32_t i = 0; i < p->fresh.n; i++) {
        PROBE(loss_is_told);
        loss.first = p->fresh.at[i].first;
        loss.last = p->fresh.at[i].last;
        s->owner->lost(s->owner, &loss);
    }
}

/* What of the lane's numbers the part may have lost. Of a lane that lives they
 * are still being noted. */
static const struct spans *acked_in(const struct session *s,
                                    const struct loss *x,
                                    const struct loss_part *p)
{
    static const struct spans none = {NULL, 0, 0};
    const struct wire_variable *v = plan_variable(s->plan, p->variable);
    const struct spans *numbers = &x->acked;
    const struct logged *logged = x->logged;

    for (size_t i = 0; i < s->n_acked; i++) {
        if (s->acked[i].lane == x->lane && s->acked[i].session == x->session) {
            numbers = &s->acked[i].numbers;
            logged = s->acked[i].logged;
        }
    }
    if (v->durability == PS_MEMORY) {
        return numbers;
    }
    logged = find_logged(logged, p->variable);
    return logged != NULL ? &logged->numbers : &none;
}

/* What of the part's numbers was told, or is to be now: fresh and so_far. */
static int find_fresh(const struct session *s, const struct loss *x,
                      struct loss_part *p)
{
    struct spans all = {NULL, 0, 0}, gone = {NULL, 0, 0};
    int rc = spans_combine(acked_in(s, x, p), SPANS_EITHER, &p->also, &all);

    if (rc == PS_OK) {
        rc = spans_combine(&all, SPANS_BOTH, &p->lost, &gone);
    }
    if (rc == PS_OK) {
        rc = spans_combine(&gone, SPANS_WITHOUT, &p->told, &p->fresh);
    }
    if (rc == PS_OK) {
        rc = spans_combine(&p->told, SPANS_EITHER, &gone, &p->so_far);
    }
    spans_fini(&all);
    spans_fini(&gone);
    return rc;
}

/* Whether the part had more of them than it was told to have lost. */
static bool has_more(const struct spans *acked, const struct loss_part *p)
{
    struct spans had = {NULL, 0, 0}, rest = {NULL, 0, 0};
    bool has = p->also.n > 0 ||
               spans_combine(acked, SPANS_WITHOUT, &p->never, &had) != PS_OK ||
               spans_combine(&had, SPANS_WITHOUT, &p->told, &rest) != PS_OK ||
               rest.n > 0;

    spans_fini(&had);
    spans_fini(&rest);
    return has;
}

/* Whether there is nothing left in it that could still be lost. */
static bool is_settled(const struct session *s, const struct loss *x)
{
    const struct wire_ended *e = plan_ended(s->plan, x->lane);

    if (plan_lane(s->plan, x->lane) != NULL) {
        return false; /* parts of it have moved */
    }
    if (e == NULL || e->cut < s->step.oldest) {
        return true;
    }
    for (uint32_t i = 0; i < x->n_parts; i++) {
        const struct loss_part *p = &x->parts[i];

        if (p->state != PART_GONE && has_more(acked_in(s, x, p), p)) {
            return false;
        }
    }
    return true;
}

static int find_all_fresh(const struct session *s, struct loss *x)
{
    int rc = PS_OK;

    for (uint32_t i = 0; i < x->n_parts && rc == PS_OK; i++) {
        struct loss_part *p = &x->parts[i];

        if (p->state == PART_GONE) {
            continue;
        }
        rc = find_fresh(s, x, p);
        if (rc == PS_OK) {
            rc = spans_join(&x->counted, &p->fresh);
        }
    }
    return rc;
}

/* All holders have answered. */
static void conclude(struct session *s, struct loss *x)
{
    int rc = find_all_fresh(s, x);

    for (uint32_t i = 0; i < x->n_parts; i++) {
        struct loss_part *p = &x->parts[i];
        struct spans told = p->told;

        if (rc == PS_OK && p->state != PART_GONE) {
            if (p->fresh.n > 0 && p->told.n > 0) {
                PROBE(loss_of_what_was_kept);
            }
            tell(s, x, p);
            p->told = p->so_far;
            p->so_far = told;
        }
        free_scratch(p);
    }
    if (rc != PS_OK) {
        s->recut_us = session_now(s) + LIMIT_RETRY_MS * 1000;
        return;
    }
    s->counters.losses += spans_count(&x->counted) - x->n_counted;
    x->n_counted = spans_count(&x->counted);
    if (is_settled(s, x)) {
        drop_loss(s, x);
    }
}

/* ---- asking ------------------------------------------------------------- */

static struct frame *encode(struct session *s, const struct flight *f)
{
    const struct loss *x = f->loss;
    struct wire_lost m = {
        .session = x->session, .lane = x->lane, .n_parts = f->n};
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

static const struct wire_part *holder_of(const struct session *s,
                                         const struct loss_part *p)
{
    return plan_part(s->plan, p->variable, p->begin);
}

/* One question for all parts that `lane` holds, or as many as go into one. */
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
    for (uint32_t i = 0; i < x->n_parts && f->n < LIMIT_FRAME_OPS; i++) {
        struct loss_part *p = &x->parts[i];
        const struct wire_part *w = holder_of(s, p);

        if (p->state == PART_TO_ASK && w != NULL && w->lane == lane) {
            p->lane = lane;
            p->since = w->since;
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

/* Asks who was not asked yet; parts whose lane has ended wait for the next
 * plan. */
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
        const struct wire_part *w = holder_of(s, p);

        if (w == NULL) {
            p->state = PART_GONE; /* its variable was dropped */
            continue;
        }
        if (p->state == PART_TOLD &&
            (p->lane != w->lane || p->since != w->since)) {
            PROBE(loss_asks_next_holder);
            p->state = PART_TO_ASK;
        }
        if (p->state == PART_TO_ASK && ask(s, x, w->lane) != PS_OK) {
            s->recut_us = session_now(s) + LIMIT_RETRY_MS * 1000;
            return;
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

/* ---- what is asked for --------------------------------------------------- */

struct loss *loss_find(const struct session *s, uint64_t session, uint64_t lane)
{
    struct loss *x = s->losses;

    while (x != NULL &&
           (x->session != session || x->lane != lane || x->is_over)) {
        x = x->next;
    }
    return x;
}

struct loss *loss_make(struct session *s, uint64_t session, uint64_t lane,
                       uint32_t server, uint32_t shard)
{
    struct loss *x = mem_try_zero(sizeof(*x));

    if (x != NULL) {
        x->session = session;
        x->lane = lane;
        x->server = server;
        x->shard = shard;
        x->next = s->losses;
        s->losses = x;
    }
    return x;
}

/* The part, made if absent; NULL without memory. */
struct loss_part *loss_part_of(struct loss *x, uint32_t variable,
                               uint32_t begin, uint32_t end)
{
    struct loss_part *p;

    for (uint32_t i = 0; i < x->n_parts; i++) {
        p = &x->parts[i];
        if (p->variable == variable && p->begin == begin && p->end == end) {
            return p;
        }
    }
    if (x->n_parts == x->room) {
        p = mem_try_resize(x->parts,
                           mem_array(2 * (size_t)x->room + 2, sizeof(*p)));
        if (p == NULL) {
            return NULL;
        }
        x->parts = p;
        x->room = 2 * x->room + 2;
    }
    p = &x->parts[x->n_parts++];
    *p = (struct loss_part){
        .variable = variable, .begin = begin, .end = end, .last = SPANS_END};
    return p;
}

int loss_make_parts(const struct session *s, struct loss *x)
{
    const struct wire_plan *w = &s->former->w;

    for (uint32_t i = 0; i < w->n_parts; i++) {
        const struct wire_part *p = &w->parts[i];

        if (p->lane == x->lane &&
            loss_part_of(x, p->variable, p->begin, p->end) == NULL) {
            return PS_ENOMEM;
        }
    }
    return PS_OK;
}

void loss_add(struct session *s, struct acked *acked)
{
    const struct wire_plan *w = &s->former->w;
    struct loss *x = loss_find(s, acked->session, acked->lane);

    ASSERT(x != NULL);
    for (uint32_t i = 0; i < w->n_parts; i++) {
        const struct wire_part *p = &w->parts[i];
        struct loss_part *ours;

        if (p->lane != acked->lane) {
            continue;
        }
        ours = loss_part_of(x, p->variable, p->begin, p->end);
        ASSERT(ours != NULL);
        ours->last = SPANS_END;
        ours->moved_in = 0;
        ours->state = PART_TO_ASK;
    }
    x->acked = acked->numbers;
    x->logged = acked->logged;
    acked->numbers = (struct spans){NULL, 0, 0};
    acked->logged = NULL;
}

int loss_keep(struct session *s, const struct flight *f)
{
    struct loss *x = loss_find(s, f->session, f->lane);

    for (uint32_t i = 0; i < f->n; i++) {
        const struct slice *slice = &f->slices[i];
        struct loss_part *p;

        if (slice->fate != PS_OK) {
            continue;
        }
        if (x == NULL) {
            x = loss_make(s, f->session, f->lane, f->server, f->shard);
        }
        p = x != NULL
                ? loss_part_of(x, slice->variable, slice->begin, slice->end)
                : NULL;
        if (p == NULL || spans_add(&p->also, f->seq, f->seq) != PS_OK) {
            return PS_ENOMEM;
        }
    }
    if (x != NULL) {
        go_on(s, x);
    }
    return PS_OK;
}

uint64_t loss_settled(const struct session *s)
{
    uint64_t settled = s->plan->w.plan;

    for (const struct loss *x = s->losses; x != NULL; x = x->next) {
        const struct wire_ended *e = plan_ended(s->plan, x->lane);

        settled = e != NULL ? base_min_u64(settled, e->plan - 1) : settled;
    }
    for (const struct flight *f = s->resolving.first; f != NULL; f = f->next) {
        const struct wire_ended *e = plan_ended(s->plan, f->lane);

        settled = e != NULL ? base_min_u64(settled, e->plan - 1) : settled;
    }
    return settled;
}

static int keep(struct loss_part *p, const struct wire_keep *k)
{
    struct spans lost = {NULL, 0, 0};
    int rc = PS_OK;

    if (k->below <= p->last) {
        rc = spans_add(&lost, k->below, p->last);
    }
    for (uint32_t i = 0; i < k->n_gaps && rc == PS_OK; i++) {
        if (k->gaps[i].first <= k->gaps[i].last &&
            k->gaps[i].last <= SPANS_END) {
            rc = spans_add(&lost, k->gaps[i].first, k->gaps[i].last);
        }
    }
    if (rc != PS_OK) {
        spans_fini(&lost);
        return rc;
    }
    /* The lane went on without the part: what is not in the copy that went with
     * it was never in it. */
    if (p->moved_in != 0 && p->since == p->moved_in) {
        rc = spans_join(&p->never, &lost);
    }
    spans_fini(&p->lost);
    if (rc == PS_OK) {
        rc = spans_combine(&lost, SPANS_WITHOUT, &p->never, &p->lost);
    }
    spans_fini(&lost);
    p->state = rc == PS_OK ? PART_TOLD : p->state;
    return rc;
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
