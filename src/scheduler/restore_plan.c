/* What the plan says of checkpoints: a load for parts whose rows come from one
 * (WIRE_LOAD). Loads are found by the plan number in which a part got its lane,
 * so all parts of one plan number that have no load of their own variable share
 * one. Parts that want different ones therefore move in different plans, a
 * group at a time; the next update takes the next group. */
#include <stdio.h>

#include "base/probe.h"
#include "scheduler/lane_end.h"
#include "scheduler/move.h"
#include "scheduler/restore.h"
#include "scheduler/save.h"

static bool is_same_text(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* ---- loads of parts that get another lane ------------------------------- */

/* The parts that this plan gives a lane, and what they all come from. */
struct group {
    struct wire_plan *w;
    struct wire_part *parts;
    struct wire_load *loads;
    uint32_t n_loads;
    uint64_t since;
    uint32_t n; /* parts */
    bool has_load;
    struct wire_load load;
    struct restore_past past;
    uint64_t begun; /* no cut above this one has */
};

static bool begin_group(struct scheduler *s, struct group *g,
                        struct wire_plan *w)
{
    *g = (struct group){
        .w = w, .since = s->plan->w.plan + 1, .begun = lane_end_cut(s)};
    g->parts =
        arena_take(&s->arena, ((size_t)w->n_parts + 1) * sizeof(*g->parts));
    g->loads = arena_take(&s->arena, ((size_t)w->n_loads + w->n_parts + 1) *
                                         sizeof(*g->loads));
    if (g->parts == NULL || g->loads == NULL || g->begun == UINT64_MAX) {
        return false;
    }
    if (w->n_parts > 0) {
        memcpy(g->parts, w->parts, w->n_parts * sizeof(*g->parts));
    }
    if (w->n_loads > 0) {
        memcpy(g->loads, w->loads, w->n_loads * sizeof(*g->loads));
    }
    g->n_loads = w->n_loads;
    return true;
}

/* Parts of another cluster's checkpoint name it by variable: another part of
 * this plan may be of a variable that is not in there. */
static bool is_for_all(const struct wire_load *l)
{
    return l->brings_lanes != 0 && l->name[0] == '\0';
}

static bool has_specific(const struct group *g, uint32_t variable)
{
    for (uint32_t i = 0; i < g->n_loads; i++) {
        if (g->loads[i].since == g->since && g->loads[i].variable == variable) {
            return true;
        }
    }
    return false;
}

/* l: NULL for none. False: in another plan. */
static bool join_group(struct group *g, uint32_t i, uint64_t lane,
                       const struct wire_load *l)
{
    struct wire_part *p = &g->parts[i];
    struct restore_past past;

    restore_past_of(g->w, p->since, &past);
    if (g->n > 0 &&
        (g->has_load != (l != NULL) || !restore_past_is_same(&past, &g->past) ||
         (l != NULL && (!is_same_text(g->load.folder, l->folder) ||
                        is_for_all(&g->load) != is_for_all(l))))) {
        return false;
    }
    if (l != NULL && ((g->n == 0 && is_for_all(l)) ||
                      (!is_for_all(l) && !has_specific(g, p->variable)))) {
        g->loads[g->n_loads] = *l;
        g->loads[g->n_loads].variable = is_for_all(l) ? 0 : p->variable;
        g->loads[g->n_loads].since = g->since;
        g->n_loads++;
    }
    if (g->n == 0 && l != NULL) {
        g->load = *l;
    }
    g->past = past;
    g->has_load = l != NULL;
    g->n++;
    p->lane = lane;
    p->since = g->since;
    return true;
}

static bool end_group(struct scheduler *s, struct group *g)
{
    uint64_t after = g->has_load && g->load.brings_lanes != 0 ? g->load.cut : 0;

    if (g->n == 0) {
        return false;
    }
    if (s->disk != NULL && g->begun > after) {
        restore_past_give_up(&g->past, after, g->begun);
    }
    if (restore_past_write(&g->past, g->since, &s->arena, g->w) != PS_OK) {
        return false;
    }
    g->w->parts = g->parts;
    g->w->loads = g->loads;
    g->w->n_loads = g->n_loads;
    return true;
}

/* The newest checkpoint, or what the part came from if that is newer: another
 * one was restored since, or it is all there is. Cuts are those of one cluster:
 * a part that came from another one's checkpoint is in those that were made
 * since, whatever their numbers. A part that began with initial values after
 * the newest was made does so again: no checkpoint has it, or it could not be
 * loaded and that was accepted, and clients are told of the loss. */
static bool choose_readable(const struct scheduler *s,
                            const struct wire_part *part, struct wire_load *l)
{
    const struct restore_source *newest = &s->restore->newest;
    const struct wire_load *old = plan_load(s->plan, part);

    if (newest->folder[0] != '\0' &&
        (old == NULL
             ? part->since <= newest->plan
             : old->since <= newest->plan &&
                   (old->brings_lanes == 0 || old->cut < newest->cut))) {
        *l = (struct wire_load){.folder = newest->folder,
                                .cut = newest->cut,
                                .name = "",
                                .brings_lanes = 1,
                                .restore = newest->restore,
                                .log_from = old != NULL ? old->log_from : 0};
        return true;
    }
    if (old != NULL) {
        *l = *old;
    }
    return old != NULL;
}

/* What the part may be in for all that is known, but was not found: its shard
 * tries that first. If it cannot, an older one is looked for, and where there
 * is none the part does not begin empty unasked. */
static bool choose_load(const struct scheduler *s, const struct wire_part *part,
                        struct wire_load *l)
{
    const struct restore_source *unread = &s->restore->unread;
    const struct save *saved = s->save;
    bool is_found = choose_readable(s, part, l);
    uint64_t cut = is_found ? l->cut : 0;
    const char *folder = NULL;
    struct restore_past past;

    restore_past_of(&s->plan->w, part->since, &past);
    if (is_found && l->brings_lanes == 0) {
        return true;
    }
    if (unread->cut > cut && restore_past_has(&past, unread->cut)) {
        folder = unread->folder;
        cut = unread->cut;
    } else if (saved->state == SAVE_DONE && saved->cut > cut &&
               saved->plan >= part->since &&
               restore_past_has(&past, saved->cut)) {
        folder = saved->folder;
        cut = saved->cut;
    }
    if (folder != NULL) {
        PROBE(restore_plan_unread);
        *l = (struct wire_load){.folder = folder,
                                .cut = cut,
                                .name = "",
                                .brings_lanes = 1,
                                .restore = s->plan->w.restore,
                                .log_from = is_found ? l->log_from : 0};
    }
    return is_found || folder != NULL;
}

const struct wire_ended *restore_plan_ended(const struct wire_plan *w,
                                            uint64_t lane)
{
    for (uint32_t i = 0; i < w->n_ended; i++) {
        if (w->ended[i].lane == lane) {
            return &w->ended[i];
        }
    }
    return NULL;
}

/* Where a part of an ended lane goes: 0 for nowhere yet, with *is_orphan where
 * its server is not waited for. */
static uint64_t heir_of(const struct scheduler *s, const struct wire_ended *e,
                        bool *is_orphan)
{
    const struct member *m;

    *is_orphan = member_is_given_up(s, e->server);
    if (e->server >= s->options.servers) {
        return 0;
    }
    m = &s->members[e->server];
    return m->has_lanes && m->record.n_shards > 0
               ? m->record.shards[e->shard % m->record.n_shards].lane
               : 0;
}

bool restore_plan_is_logged(const struct wire_plan *w, uint32_t variable)
{
    for (uint32_t i = 0; i < w->n_variables; i++) {
        if (w->variables[i].id == variable) {
            return w->variables[i].durability != PS_MEMORY;
        }
    }
    return false;
}

/* lanes[i]: where part i goes; 0: it stays. False: all stay. */
static bool choose_lanes(struct scheduler *s, const struct wire_plan *w,
                         uint64_t *lanes)
{
    bool *wanted = arena_take(&s->arena, (size_t)w->n_parts + 1);
    uint32_t n = 0;

    if (wanted == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < w->n_parts; i++) {
        const struct wire_ended *e = restore_plan_ended(w, w->parts[i].lane);
        bool is_orphan = false;

        lanes[i] = e != NULL ? heir_of(s, e, &is_orphan) : 0;
        /* What was logged is on that server's disk: it is waited for. */
        wanted[i] = lanes[i] == 0 && is_orphan &&
                    !restore_plan_is_logged(w, w->parts[i].variable);
        n += lanes[i] != 0;
    }
    return restore_room_place(s, w, wanted, lanes) + n > 0;
}

bool restore_plan_move(struct scheduler *s, struct wire_plan *w)
{
    uint64_t *lanes;
    struct group g;

    /* From where is not known yet. */
    if (!s->restore->knows_newest || restore_consistent_holds(s, w)) {
        return false;
    }
    lanes = arena_take(&s->arena, ((size_t)w->n_parts + 1) * sizeof(*lanes));
    if (lanes == NULL || !choose_lanes(s, w, lanes) || !begin_group(s, &g, w)) {
        return false;
    }
    for (uint32_t i = 0; i < w->n_parts; i++) {
        struct wire_load l;

        if (lanes[i] != 0) {
            bool has_load = choose_load(s, &w->parts[i], &l);

            (void)join_group(&g, i, lanes[i], has_load ? &l : NULL);
        }
    }
    PROBE(plan_owner_part_to_new_lane);
    return end_group(s, &g);
}

/* ---- loads that failed -------------------------------------------------- */

/* A model is not emptied for that: its parts stay as they are. */
static void say_not_served(struct scheduler *s, const struct restore_failure *f,
                           uint32_t n)
{
    log_limited(&s->bad_log, scheduler_now(s), LOG_ERROR,
                "%u parts are not served: %s cannot be loaded, and no older "
                "checkpoint is of their past; `ps-plus restore NAME` takes the "
                "whole cluster to another one",
                (unsigned)n, f->folder);
    snprintf(s->says, sizeof(s->says),
             "runs; %u parts are not served: %s cannot be loaded: ps-plus "
             "restore NAME",
             (unsigned)n, f->folder);
}

static void say_instead(struct scheduler *s, const struct restore_failure *f,
                        const struct group *g)
{
    if (g->has_load) {
        log_write(LOG_ERROR, "%u parts come from %s: %s cannot be loaded",
                  (unsigned)g->n, f->instead.folder, f->folder);
        return;
    }
    log_write(LOG_ERROR,
              "%u parts begin with initial values, as --accept-empty says: %s "
              "cannot be loaded, and no older checkpoint is of their past",
              (unsigned)g->n, f->folder);
    snprintf(s->says, sizeof(s->says),
             "runs; %u parts were lost: %s cannot be loaded", (unsigned)g->n,
             f->folder);
}

static bool take_instead(struct scheduler *s, struct wire_plan *w,
                         const struct restore_failure *f)
{
    struct wire_load l = {.folder = f->instead.folder,
                          .cut = f->instead.cut,
                          .name = "",
                          .brings_lanes = 1,
                          .restore = f->instead.restore};
    uint32_t n_left = 0;
    struct group g;

    if (!f->has_instead || !begin_group(s, &g, w)) {
        return false;
    }
    for (uint32_t i = 0; i < w->n_parts; i++) {
        const struct wire_part *p = &w->parts[i];
        /* A variable that was declared later is not in it. */
        bool has_load = p->variable < f->instead.next_variable;
        bool is_missing = false;
        const struct wire_load *failed = restore_failed_load(s, p, &is_missing);
        struct restore_past past;

        restore_past_of(w, p->since, &past);
        if (failed == NULL || is_missing != f->is_missing ||
            !is_same_text(failed->folder, f->folder) ||
            !restore_past_is_same(&past, &f->past)) {
            continue;
        }
        if (has_load || s->options.accept_empty) {
            l.log_from = failed->log_from;
            g.begun = base_max_u64(g.begun,
                                   failed->brings_lanes != 0 ? failed->cut : 0);
            (void)join_group(&g, i, p->lane, has_load ? &l : NULL);
        } else {
            n_left++;
        }
    }
    if (n_left > 0) {
        say_not_served(s, f, n_left);
    }
    if (!end_group(s, &g)) {
        return false;
    }
    say_instead(s, f, &g);
    return true;
}

bool restore_plan_instead(struct scheduler *s, struct wire_plan *w)
{
    const struct restore *v = s->restore;

    for (uint32_t i = 0; v->phase != RESTORE_PLANNING && i < v->n_failures;
         i++) {
        if (take_instead(s, w, &v->failures[i])) {
            return true;
        }
    }
    return false;
}

void restore_plan_prune(struct scheduler *s, struct wire_plan *w)
{
    struct wire_load *loads =
        arena_take(&s->arena, ((size_t)w->n_loads + 1) * sizeof(*loads));
    struct wire_gap *gaps =
        arena_take(&s->arena, ((size_t)w->n_gaps + 1) * sizeof(*gaps));
    uint32_t n = 0, n_gaps = 0;

    if (loads == NULL || gaps == NULL) {
        return; /* another time */
    }
    for (uint32_t i = 0; i < w->n_loads; i++) {
        const struct wire_load *l = &w->loads[i];
        bool is_used = false;

        for (uint32_t k = 0; k < w->n_parts && !is_used; k++) {
            is_used = w->parts[k].since == l->since &&
                      (l->variable == 0 || l->variable == w->parts[k].variable);
        }
        if (is_used && !move_is_saved(s, w, l)) {
            loads[n++] = *l;
        }
    }
    for (uint32_t i = 0; i < w->n_gaps; i++) {
        bool is_used = false;

        for (uint32_t k = 0; k < w->n_parts && !is_used; k++) {
            is_used = w->parts[k].since == w->gaps[i].since;
        }
        if (is_used) {
            gaps[n_gaps++] = w->gaps[i];
        }
    }
    w->loads = loads;
    w->n_loads = n;
    w->gaps = gaps;
    w->n_gaps = n_gaps;
}
