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

#include "base/mem.h"
#include "oracle.h"

typedef unsigned long long ull;

enum { DEEPEST = 64 };

static const struct part_load *find_load(const struct sim *s, uint64_t lane,
                                         uint32_t variable, uint32_t bucket)
{
    const struct part_load *p = s->oracle->loads;

    while (p != NULL && (p->lane != lane || p->variable != variable ||
                         bucket < p->begin || bucket >= p->end)) {
        p = p->next;
    }
    return p;
}

/* A plan is in the store: its newest loads are found first. A load that is no
 * more, as it could not be done, is one of nothing. */
void oracle_load_on_plan(struct sim *s, const struct plan *p)
{
    struct oracle *o = s->oracle;

    for (uint32_t i = 0; i < p->w.n_parts; i++) {
        const struct wire_part *part = &p->w.parts[i];
        const struct wire_load *w = plan_load(p, part);
        const struct part_load *old =
            find_load(s, part->lane, part->variable, part->begin);
        struct part_load *l;

        if (plan_ended(p, part->lane) != NULL) {
            continue; /* a place for the part's next lane: it loads nothing */
        }
        if (old != NULL && old->since == part->since &&
            strcmp(old->folder, w != NULL ? w->folder : "") == 0) {
            continue;
        }
        if (old != NULL && old->folder[0] != '\0') {
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

    for (uint32_t i = 0; i < DEEPEST; i++) {
        const struct part_load *l;
        const struct saved *f;
        uint64_t saver;

        if (lane == t->lane) {
            return n->is_applied && n->cut < cut &&
                   (skipped == 0 || n->late_cut != skipped);
        }
        l = find_load(s, lane, variable, bucket);
        if (is_logged && n->is_logged && replays(s, lane, t->lane, l)) {
            return true;
        }
        f = l != NULL ? oracle_saved(s, l->folder) : NULL;
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
