/* oracle_load.c - which frames are in the rows of a part, and which are told to
 * be lost.
 *
 * A lane that got a part with a load has what the checkpoint has of it and what
 * it applied itself; the checkpoint has what its lane had at the cut, which may
 * have begun with a load, too. So a frame is followed back from the lane that
 * holds the part now until its own lane is met, or nothing is left. A lane that
 * got a part of a variable that is logged has what former lanes of its server
 * have in their logs as well. */
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "oracle.h"

typedef unsigned long long ull;

enum { DEEPEST = 64 };

/* The newest of these. */
static const struct part_load *find_load(const struct part_load *p,
                                         uint64_t lane, uint32_t variable,
                                         uint32_t bucket)
{
    while (p != NULL && (p->lane != lane || p->variable != variable ||
                         bucket < p->begin || bucket >= p->end)) {
        p = p->next;
    }
    return p;
}

static struct saved *find_move(const struct sim *s, const char *folder)
{
    struct saved *f = s->oracle->moves;

    while (f != NULL && strcmp(f->folder, folder) != 0) {
        f = f->next;
    }
    return f;
}

/* Parts that are on their way: what their lane has goes into a folder. */
static void note_moves(struct sim *s, const struct plan *p)
{
    for (uint32_t i = 0; i < p->w.n_moves; i++) {
        const struct wire_moving *m = &p->w.moves[i];
        struct saved *f;

        if (find_move(s, m->folder) != NULL) {
            continue;
        }
        f = world_take(s, sizeof(*f));
        f->next = s->oracle->moves;
        s->oracle->moves = f;
        snprintf(f->folder, sizeof(f->folder), "%s", m->folder);
        f->cut = UINT64_MAX;
        f->places = world_take(s, sizeof(*f->places));
        f->places[0] =
            (struct saved_place){m->variable, m->begin, m->end, m->from};
        f->n_places = 1;
        s->totals.moves++;
        trace_note(s, "variable %u from bucket %u moves from lane %llu to %llu",
                   m->variable, m->begin, (ull)m->from, (ull)m->to);
    }
}

/* Another lane has had the part since. */
static bool has_been_elsewhere(const struct sim *s, const struct part_load *old)
{
    for (const struct part_load *l = s->oracle->loads; l != old; l = l->next) {
        if (l->variable == old->variable && l->begin == old->begin) {
            return true;
        }
    }
    return false;
}

/* A plan is in the store: its newest loads are found first. A load that is no
 * more, as it could not be done, is one of nothing. */
void oracle_load_on_plan(struct sim *s, const struct plan *p)
{
    struct oracle *o = s->oracle;

    note_moves(s, p);
    for (uint32_t i = 0; i < p->w.n_parts; i++) {
        const struct wire_part *part = &p->w.parts[i];
        const struct wire_load *w = plan_load(p, part);
        const struct part_load *old =
            find_load(o->loads, part->lane, part->variable, part->begin);
        struct saved *move;
        struct part_load *l;

        if (plan_ended(p, part->lane) != NULL) {
            continue; /* a place for the part's next lane: it loads nothing */
        }
        if (old != NULL && old->since == part->since &&
            strcmp(old->folder, w != NULL ? w->folder : "") == 0) {
            continue;
        }
        if (w == NULL && old != NULL && old->since == part->since &&
            find_move(s, old->folder) != NULL) {
            continue; /* a checkpoint has it by now */
        }
        move = w != NULL ? find_move(s, w->folder) : NULL;
        if (move != NULL && move->given_in == 0) {
            move->given_in = part->since;
            oracle_save_on_moved(s, move);
        } else if (old != NULL && old->folder[0] != '\0' &&
                   !has_been_elsewhere(s, old)) {
            trace_note(s, "%s is given up", old->folder);
            if (oracle_save_is_good(s, old->folder)) {
                world_fail(s, "%s is given up, and it is whole", old->folder);
            }
        }
        l = world_take(s, sizeof(*l));
        *l = (struct part_load){.next = o->loads,
                                .lane = part->lane,
                                .since = part->since,
                                .variable = part->variable,
                                .begin = part->begin,
                                .end = part->end,
                                .log_from = w != NULL ? w->log_from : 0,
                                .born = plan_variable(p, part->variable)->born};
        snprintf(l->folder, sizeof(l->folder), "%s",
                 w != NULL ? w->folder : "");
        o->loads = l;
        s->totals.loads += w != NULL;
        trace_note(s, "lane %llu loads variable %u from bucket %u from %s",
                   (ull)l->lane, l->variable, l->begin, l->folder);
    }
}

uint64_t oracle_load_saver(const struct saved *f, uint32_t variable,
                           uint32_t bucket)
{
    for (uint32_t i = 0; i < f->n_places; i++) {
        const struct saved_place *p = &f->places[i];

        if (p->variable == variable && p->begin <= bucket && bucket < p->end) {
            return p->lane;
        }
    }
    return 0;
}

/* Whether `lane` replays what `former` has logged over a part that it gets with
 * this load, or with none. */
static bool replays(const struct sim *s, uint64_t lane, uint64_t former,
                    const struct part_load *l)
{
    const struct lane *a = oracle_lane(s, lane);
    const struct lane *b = oracle_lane(s, former);

    return a != NULL && b != NULL && a->server == b->server && former < lane &&
           b->ended_plan != 0 &&
           (l == NULL || (former >= l->log_from && b->ended_plan > l->born));
}

bool oracle_load_has(const struct sim *s, uint64_t lane, uint64_t cut,
                     uint32_t variable, uint32_t bucket, const struct stream *t,
                     const struct numbered *n)
{
    const struct variable_life *v = oracle_variable(s, variable);
    bool is_logged = v != NULL && v->durability != PS_MEMORY;
    uint64_t skipped = 0; /* frames that are late for this cut are */
    const struct part_load *l = s->oracle->loads;
    uint64_t before = UINT64_MAX; /* this plan */

    for (uint32_t i = 0; i < DEEPEST; i++) {
        const struct saved *f;
        uint64_t saver;

        l = find_load(l, lane, variable, bucket);
        if (lane == t->lane &&
            (l == NULL || !n->is_applied || n->applied_in >= l->since)) {
            return n->is_applied && n->cut < cut && n->applied_in < before &&
                   (skipped == 0 || n->late_cut != skipped);
        }
        if (is_logged && n->is_logged && replays(s, lane, t->lane, l)) {
            return true;
        }
        if (l == NULL) {
            return false;
        }
        f = find_move(s, l->folder);
        before = f != NULL ? base_min_u64(before, f->given_in) : before;
        f = f != NULL ? f : oracle_saved(s, l->folder);
        if (f == NULL) {
            return false;
        }
        saver = oracle_load_saver(f, variable, bucket);
        skipped = is_logged && replays(s, lane, saver, l) ? f->cut : 0;
        lane = saver;
        cut = base_min_u64(cut, f->cut);
        if (lane == 0) {
            return false;
        }
        l = l->next; /* what was loaded before that */
    }
    return false;
}

/* ---- what of a frame is in one place ------------------------------------ */

/* The first bucket behind `begin` where a part of the variable ever began. */
static uint32_t next_begin(const struct sim *s, const struct run_op *op,
                           uint32_t begin)
{
    uint32_t next = op->end;

    for (const struct part_load *l = s->oracle->loads; l != NULL; l = l->next) {
        if (l->variable == op->variable && l->begin > begin &&
            l->begin < next) {
            next = l->begin;
        }
    }
    return next;
}

static struct run_op piece_of(const struct sim *s, struct arena *arena,
                              const struct run_op *op, uint32_t begin,
                              uint32_t end)
{
    const struct variable_life *v = oracle_variable(s, op->variable);
    struct run_op piece = *op;
    uint64_t *keys;
    float *values;

    piece.begin = begin;
    piece.end = end;
    if (v->kind == PS_DENSE) {
        uint64_t all, first, last;

        plan_dense_rows(v->rows, op->begin, op->end, &all, &last);
        plan_dense_rows(v->rows, begin, end, &first, &last);
        if (op->n_values != 0) {
            piece.values += (first - all) * op->dim;
            piece.n_values = (last - first) * op->dim;
        }
        return piece;
    }
    keys = arena_take(arena, (op->n_keys + 1) * sizeof(*keys));
    values = arena_take(arena, (op->n_values + 1) * sizeof(*values));
    ASSERT(keys != NULL && values != NULL);
    piece.n_keys = 0;
    piece.n_values = 0;
    for (uint32_t i = 0; i < op->n_keys; i++) {
        uint32_t bucket = hash_bucket(hash_key(op->keys[i]));

        if (bucket < begin || bucket >= end) {
            continue;
        }
        keys[piece.n_keys++] = op->keys[i];
        if (op->n_values != 0) {
            memcpy(values + piece.n_values, op->values + i * op->dim,
                   op->dim * sizeof(*values));
            piece.n_values += op->dim;
        }
    }
    piece.keys = keys;
    piece.values = values;
    return piece;
}

bool oracle_load_piece(const struct sim *s, struct arena *arena,
                       const struct run_op *op, uint32_t *begin,
                       struct run_op *piece)
{
    while (*begin < op->end) {
        uint32_t end = next_begin(s, op, *begin);

        *piece = end - *begin == op->end - op->begin
                     ? *op
                     : piece_of(s, arena, op, *begin, end);
        *begin = end;
        if (piece->n_keys > 0 || op->n_keys == 0) {
            return true;
        }
    }
    return false;
}

static uint64_t lane_now(const struct sim *s, uint32_t variable,
                         uint32_t bucket)
{
    const struct wire_part *p =
        s->oracle->plan == NULL ? NULL
                                : plan_part(s->oracle->plan, variable, bucket);

    return p != NULL ? p->lane : 0;
}

bool oracle_load_has_now(const struct sim *s, const struct run_op *op,
                         const struct stream *t, const struct numbered *n)
{
    uint64_t lane = lane_now(s, op->variable, op->begin);
    const struct lane *l = oracle_lane(s, lane);
    const struct variable_life *v = oracle_variable(s, op->variable);

    /* A log is there for the next lane as well. */
    return l != NULL && (!l->has_ended || v->durability != PS_MEMORY) &&
           oracle_load_has(s, lane, UINT64_MAX, op->variable, op->begin, t, n);
}

bool oracle_load_had(const struct sim *s, const struct run_op *op,
                     const struct stream *t, const struct numbered *n)
{
    for (const struct part_load *l = s->oracle->loads; l != NULL; l = l->next) {
        if (l->lane != t->lane && l->variable == op->variable &&
            l->begin <= op->begin && op->begin < l->end &&
            oracle_load_has(s, l->lane, UINT64_MAX, op->variable, op->begin, t,
                            n)) {
            return true;
        }
    }
    return false;
}

/* ---- losses ------------------------------------------------------------ */

static bool names(const struct lost_range *r, uint32_t variable, uint32_t begin,
                  uint32_t end)
{
    return (r->variable == 0 || variable == 0 || r->variable == variable) &&
           r->begin < end && begin < r->end;
}

bool oracle_load_is_lost(const struct numbered *n, const struct run_op *op)
{
    for (const struct lost_range *r = n->lost; r != NULL; r = r->next) {
        if (names(r, op->variable, op->begin, op->end)) {
            return true;
        }
    }
    return false;
}

/* Whether a frame has anything of the part. */
static bool has_part(const struct numbered *n, uint32_t variable,
                     const struct ps_loss *loss)
{
    struct arena arena;
    struct run_op *ops;
    uint32_t n_ops = 0;
    bool has = false;

    arena_init(&arena);
    if (n->frame != NULL &&
        run_decode(frame_body(n->frame), n->frame->body_bytes, &arena, &ops,
                   &n_ops) == PS_OK) {
        for (uint32_t i = 0; i < n_ops && !has; i++) {
            has = ops[i].variable == variable && ops[i].begin < loss->end &&
                  loss->begin < ops[i].end;
        }
    }
    arena_fini(&arena);
    return has;
}

/* False: it was told before. */
bool oracle_load_lose(struct sim *s, struct numbered *n,
                      const struct ps_loss *loss)
{
    const struct wire_variable *v =
        loss->variable == NULL
            ? NULL
            : plan_variable_named(s->oracle->plan, loss->variable);
    uint32_t variable = v != NULL ? v->id : 0;
    struct lost_range *r;

    if (loss->variable != NULL && v == NULL) {
        return true; /* dropped meanwhile */
    }
    if (variable != 0 && !has_part(n, variable, loss)) {
        return true; /* or one of its name has gone meanwhile */
    }
    for (r = n->lost; r != NULL; r = r->next) {
        if (names(r, variable, loss->begin, loss->end)) {
            return false;
        }
    }
    r = world_take(s, sizeof(*r));
    *r = (struct lost_range){n->lost, variable, loss->begin, loss->end};
    n->lost = r;
    return true;
}

static bool writes_to(const struct sim *s, const struct numbered *n,
                      uint32_t variable)
{
    struct arena arena;
    struct run_op *ops;
    uint32_t n_ops = 0;
    bool any = false;

    arena_init(&arena);
    if (run_decode(frame_body(n->frame), n->frame->body_bytes, &arena, &ops,
                   &n_ops) == PS_OK) {
        for (uint32_t i = 0; i < n_ops; i++) {
            any = any ||
                  (ops[i].variable == variable && oracle_writes(s, &ops[i]));
        }
    }
    arena_fini(&arena);
    return any;
}

bool oracle_load_may_lose(const struct sim *s, const struct lane *l,
                          const struct numbered *n, const struct ps_loss *loss)
{
    const struct wire_variable *v =
        loss->variable == NULL
            ? NULL
            : plan_variable_named(s->oracle->plan, loss->variable);

    return v == NULL || v->durability == PS_MEMORY ||
           (oracle_log_may_lose(s, l, n) && writes_to(s, n, v->id));
}

/* ---- what is told ------------------------------------------------------- */

static bool is_kept(const struct numbered *n, const struct run_op *op)
{
    for (const struct lost_range *r = n->kept; r != NULL; r = r->next) {
        if (names(r, op->variable, op->begin, op->end)) {
            return true;
        }
    }
    return false;
}

/* A part of a frame that is cut anew was found applied: it stays. */
void oracle_load_keep(struct sim *s, struct numbered *n,
                      const struct run_op *op)
{
    struct lost_range *r = world_take(s, sizeof(*r));

    *r = (struct lost_range){n->kept, op->variable, op->begin, op->end};
    n->kept = r;
}

/* A frame of an ended lane, of which its client was told: what is in the rows
 * of now must be what it was told, less the losses. */
void oracle_load_check(struct sim *s, const struct stream *t, size_t i,
                       const struct run_op *op, bool is_in)
{
    const struct numbered *n = &t->numbers[i];
    const struct variable_life *v = oracle_variable(s, op->variable);
    bool is_lost = oracle_load_is_lost(n, op);
    bool is_logged = v->durability != PS_MEMORY;
    const char *what = NULL;

    if (n->told == PS_EUNSURE ||
        plan_variable(s->oracle->plan, op->variable) == NULL ||
        oracle_lane(s, t->lane)->restore < s->oracle->plan->w.restore) {
        return; /* not known; dropped; or rolled back, of which it is told as
                   a whole */
    }
    if (is_logged && !oracle_writes(s, op)) {
        return; /* its frame need not be in the log */
    }
    if (is_logged && n->told == PS_OK && is_lost && !is_in &&
        !oracle_log_may_lose(s, oracle_lane(s, t->lane), n)) {
        what = "was acknowledged when it was logged, and was told to be lost";
    } else if (n->told == PS_OK && is_in && is_lost) {
        what = "was told to be lost, and is there";
    } else if (n->told == PS_OK && !is_in && !is_lost &&
               (world_ended_session_ms(s) == 0 ||
                !oracle_has_ended(s, t->session))) {
        /* Of a session that ended long before nobody may know any more. */
        what = "was acknowledged by a lane that ended, is gone, and nobody "
               "was told";
    } else if (n->told != PS_OK && is_in && !is_kept(n, op)) {
        what = "was told not to be applied, and is there";
    } else if (n->told != PS_OK && !is_in && is_kept(n, op) && !is_lost) {
        what = "was kept of a frame that was cut anew, is gone, and nobody was "
               "told";
    }
    if (what != NULL) {
        world_fail(s, "(%llu, %llu, %zu) of %s: variable %u from bucket %u %s",
                   (ull)t->session, (ull)t->lane, i + 1, world_name(t->client),
                   op->variable, op->begin, what);
    }
}
