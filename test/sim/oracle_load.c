/* oracle_load.c - which frames are in the rows of a part.
 *
 * A lane that got a part with a load has what the checkpoint has of it and what
 * it applied itself; the checkpoint has what its lane had at the cut, which may
 * have begun with a load, too. So a frame is followed back from the lane that
 * holds the part now until its own lane is met, or nothing is left. */
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
        if (strcmp(old != NULL ? old->folder : "",
                   w != NULL ? w->folder : "") == 0 &&
            (old == NULL || old->since == part->since)) {
            continue;
        }
        if (old != NULL && old->folder[0] != '\0') {
            trace_note(s, "%s is given up", old->folder);
            o->has_fallen_back = true;
        }
        l = world_take(s, sizeof(*l));
        *l = (struct part_load){.next = o->loads,
                                .lane = part->lane,
                                .since = part->since,
                                .variable = part->variable,
                                .begin = part->begin,
                                .end = part->end};
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

bool oracle_load_has(const struct sim *s, uint64_t lane, uint64_t cut,
                     uint32_t variable, uint32_t bucket, const struct stream *t,
                     const struct numbered *n)
{
    for (uint32_t i = 0; i < DEEPEST; i++) {
        const struct part_load *l;
        const struct saved *f;

        if (lane == t->lane) {
            return n->is_applied && n->cut < cut;
        }
        l = find_load(s, lane, variable, bucket);
        f = l != NULL ? oracle_saved(s, l->folder) : NULL;
        if (f == NULL) {
            return false;
        }
        lane = oracle_load_saver(f, variable, bucket);
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

    return l != NULL && !l->has_ended &&
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
    bool is_lost = oracle_load_is_lost(n, op);
    const char *what = NULL;

    if (plan_variable(s->oracle->plan, op->variable) == NULL ||
        oracle_lane(s, t->lane)->restore < s->oracle->plan->w.restore) {
        return; /* dropped; or rolled back, of which it is told as a whole */
    }
    if (n->told == PS_OK && is_in == is_lost && s->oracle->has_fallen_back) {
        /* A client asks once, when a lane ends, what is left of its numbers.
         * Where that was in a checkpoint that cannot be read when the next
         * lane ends, nobody asks again; and where a part was given up, the
         * next lane may read it all the same. */
        s->totals.losses_untold++;
    } else if (n->told == PS_OK && is_in && is_lost) {
        what = "was told to be lost, and is there";
    } else if (n->told == PS_OK && !is_in && !is_lost) {
        what = "was acknowledged by a lane that ended, is gone, and nobody "
               "was told";
    } else if (n->told != PS_OK && is_in && !is_kept(n, op)) {
        what = "was told not to be applied, and is there";
    }
    if (what != NULL) {
        world_fail(s, "(%llu, %llu, %zu) of %s: variable %u from bucket %u %s",
                   (ull)t->session, (ull)t->lane, i + 1, world_name(t->client),
                   op->variable, op->begin, what);
    }
}
