/* The plan of a restore. Of the whole cluster: the variables become those of
 * the checkpoint, dealt anew over the shards that are here now, and every lane
 * ends; the servers take new ones, which get the parts. Of some variables: they
 * are declared, and the rest of the plan stays. */
#include <stdio.h>

#include "scheduler/lane_end.h"
#include "scheduler/restore.h"
#include "scheduler/save.h"

/* Variables and parts under construction; w is the plan with those so far. */
struct building {
    struct scheduler *s;
    struct wire_plan w;
    struct wire_variable *variables;
    struct wire_part *parts;
    size_t room;
    struct err e;
};

static bool is_same_name(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static bool is_own(const struct scheduler *s)
{
    const struct ckpt_manifest *m = &s->restore->source->manifest;

    return m->cluster_high == s->cluster_high &&
           m->cluster_low == s->cluster_low;
}

static int reserve_parts(struct building *b, uint32_t n)
{
    size_t room = b->room;
    struct wire_part *parts;

    if (b->w.n_parts + (size_t)n <= room) {
        return PS_OK;
    }
    while (room < b->w.n_parts + (size_t)n) {
        room = 2 * room + 64;
    }
    parts = arena_take(&b->s->arena, room * sizeof(*parts));
    if (parts == NULL) {
        return err_set(&b->e, PS_ENOMEM, "out of memory");
    }
    if (b->w.n_parts > 0) {
        memcpy(parts, b->w.parts, b->w.n_parts * sizeof(*parts));
    }
    b->parts = parts;
    b->w.parts = parts;
    b->room = room;
    return PS_OK;
}

static int add_variable(struct building *b, const struct wire_variable *v)
{
    struct scheduler *s = b->s;
    struct wire_part *placed;
    uint32_t n = 0;
    int rc = declare_check(v, &b->e);

    if (rc != PS_OK) {
        char why[256];

        snprintf(why, sizeof(why), "%s", b->e.text);
        return err_set(&b->e, rc, "variable \"%.80s\": %s", v->name, why);
    }
    rc = place_variable(&b->w, v, &s->options.limits, declare_slots_of,
                        &s->arena, &placed, &n, &b->e);
    if (rc == PS_OK) {
        rc = reserve_parts(b, n);
    }
    if (rc != PS_OK) {
        return rc;
    }
    for (uint32_t i = 0; i < n; i++) {
        placed[i].variable = v->id;
        placed[i].since = s->plan->w.plan + 1;
        b->parts[b->w.n_parts++] = placed[i];
    }
    b->variables[b->w.n_variables] = *v;
    b->variables[b->w.n_variables++].born = s->plan->w.plan + 1;
    b->w.next_variable =
        (uint32_t)base_max_u64(b->w.next_variable, (uint64_t)v->id + 1);
    return PS_OK;
}

/* All live lanes end with the next plan. */
static int end_lanes(struct scheduler *s, struct wire_plan *w)
{
    struct wire_ended *ended = arena_take(
        &s->arena, ((size_t)w->n_ended + w->n_lanes + 1) * sizeof(*ended));

    if (ended == NULL) {
        return PS_ENOMEM;
    }
    if (w->n_ended > 0) {
        memcpy(ended, w->ended, w->n_ended * sizeof(*ended));
    }
    for (uint32_t i = 0; i < w->n_lanes; i++) {
        const struct wire_lane *l = &w->lanes[i];

        ended[w->n_ended + i] = (struct wire_ended){
            l->lane, l->server, l->shard, s->plan->w.plan + 1, lane_end_cut(s)};
    }
    w->ended = ended;
    w->n_ended += w->n_lanes;
    w->n_lanes = 0;
    return PS_OK;
}

/* Lanes from this number on begin after the restore. */
static uint64_t next_lane(const struct scheduler *s, const struct wire_plan *w)
{
    uint64_t next = s->restore->marks.next_lane;

    for (uint32_t i = 0; i < w->n_lanes; i++) {
        next = base_max_u64(next, w->lanes[i].lane + 1);
    }
    for (uint32_t i = 0; i < w->n_ended; i++) {
        next = base_max_u64(next, w->ended[i].lane + 1);
    }
    return next;
}

/* What a part of the checkpoint had given up, and all that was made since it:
 * of what is another cluster's nothing is older. */
static int take_past(struct building *b)
{
    struct scheduler *s = b->s;
    const struct restore *v = s->restore;
    const struct ckpt_manifest *m = &v->source->manifest;
    uint64_t to = base_max_u64(v->marks.cut, s->save->cut);
    struct restore_past past = {.n = 0};

    for (uint32_t i = 0; i < m->n_gaps && is_own(s); i++) {
        restore_past_give_up(&past, m->gaps[i].after, m->gaps[i].to);
    }
    restore_past_give_up(&past, is_own(s) ? m->cut : 0, to);
    b->w.n_gaps = 0;
    return restore_past_write(&past, s->plan->w.plan + 1, &s->arena, &b->w);
}

static int take_all(struct building *b)
{
    struct scheduler *s = b->s;
    const struct restore *v = s->restore;
    const struct ckpt_manifest *m = &v->source->manifest;
    bool keeps_ids = v->job == RESTORE_JOB_START || is_own(s);
    struct wire_load *load = arena_take(&s->arena, sizeof(*load));
    const struct wire_plan now = b->w;
    int rc = load != NULL ? PS_OK : PS_ENOMEM;

    if (rc == PS_OK && v->job == RESTORE_JOB_CONSISTENT) {
        rc = restore_consistent_lanes(s, &s->arena, &b->w);
    }
    b->w.n_variables = 0;
    b->w.n_parts = 0;
    b->w.variables = b->variables;
    for (uint32_t i = 0; i < m->n_variables && rc == PS_OK; i++) {
        struct wire_variable x = m->variables[i];

        if (!keeps_ids) {
            x.id = b->w.next_variable;
        }
        rc = add_variable(b, &x);
    }
    if (rc != PS_OK) {
        return rc;
    }
    if (keeps_ids) {
        b->w.next_variable = (uint32_t)base_min_u64(
            UINT32_MAX, base_max_u64(b->w.next_variable, m->next_variable));
    }
    *load = (struct wire_load){.since = s->plan->w.plan + 1,
                               .folder = v->folder,
                               .cut = m->cut,
                               .name = "",
                               .brings_lanes = is_own(s),
                               .restore = m->restore,
                               .log_from = next_lane(s, &b->w)};
    b->w.loads = load;
    b->w.n_loads = 1;
    b->w.restore = v->target;
    b->w.n_moves = 0;
    b->w.lanes = now.lanes;
    b->w.n_lanes = now.n_lanes;
    rc = take_past(b);
    return rc != PS_OK || v->job == RESTORE_JOB_START ? rc
                                                      : end_lanes(s, &b->w);
}

/* ---- some variables ----------------------------------------------------- */

/* What `name` becomes under r; false: it is not meant. An exact name, or all
 * that begin with what stands before a `*`, or with a `/`. */
static bool rename_one(const struct wire_rename *r, const char *name,
                       char out[2 * LIMIT_NAME_BYTES + 2])
{
    size_t from = strlen(r->from);
    size_t to = strlen(r->to);
    bool is_star = from > 0 && r->from[from - 1] == '*';

    if (from == 0 || to > LIMIT_NAME_BYTES) {
        return false;
    }
    if (!is_star && r->from[from - 1] != '/') {
        memcpy(out, r->to, to + 1);
        return is_same_name(r->from, name);
    }
    from -= is_star;
    to -= is_star && to > 0 && r->to[to - 1] == '*';
    if (strncmp(name, r->from, from) != 0) {
        return false;
    }
    snprintf(out, 2 * LIMIT_NAME_BYTES + 2, "%.*s%s", (int)to, r->to,
             name + from);
    return true;
}

static int add_load(struct building *b, struct wire_load *loads,
                    const struct wire_variable *old, const char *name)
{
    struct scheduler *s = b->s;
    struct wire_variable x = *old;
    size_t size = strlen(name) + 1;
    char *copy = arena_take(&s->arena, size);

    if (copy == NULL) {
        return err_set(&b->e, PS_ENOMEM, "out of memory");
    }
    memcpy(copy, name, size);
    for (uint32_t i = 0; i < b->w.n_variables; i++) {
        if (is_same_name(b->w.variables[i].name, name)) {
            return err_set(&b->e, PS_ECONFLICT,
                           "a variable \"%.80s\" is there already: drop it "
                           "first, or give another name",
                           name);
        }
    }
    x.name = copy;
    x.id = b->w.next_variable;
    loads[b->w.n_loads++] =
        (struct wire_load){.variable = x.id,
                           .since = s->plan->w.plan + 1,
                           .folder = s->restore->folder,
                           .cut = s->restore->source->manifest.cut,
                           .name = old->name,
                           .brings_lanes = 0,
                           .restore = s->restore->source->manifest.restore};
    return add_variable(b, &x);
}

static int take_some(struct building *b)
{
    struct scheduler *s = b->s;
    const struct restore_order *o = &s->restore->order;
    const struct ckpt_manifest *m = &s->restore->source->manifest;
    struct wire_load *loads =
        arena_take(&s->arena, ((size_t)b->w.n_loads +
                               (size_t)m->n_variables * o->n_renames + 1) *
                                  sizeof(*loads));
    int rc = loads != NULL ? PS_OK : PS_ENOMEM;

    if (rc == PS_OK && b->w.n_loads > 0) {
        memcpy(loads, b->w.loads, b->w.n_loads * sizeof(*loads));
    }
    for (uint32_t k = 0; k < o->n_renames && rc == PS_OK; k++) {
        uint32_t n = b->w.n_variables;

        for (uint32_t i = 0; i < m->n_variables && rc == PS_OK; i++) {
            char name[2 * LIMIT_NAME_BYTES + 2];

            if (rename_one(&o->renames[k], m->variables[i].name, name)) {
                rc = add_load(b, loads, &m->variables[i], name);
            }
        }
        if (rc == PS_OK && b->w.n_variables == n) {
            rc = err_set(&b->e, PS_ENOTFOUND, "no variable of %s is \"%.80s\"",
                         s->restore->folder, o->renames[k].from);
        }
    }
    b->w.loads = loads;
    return rc;
}

static int begin_building(struct building *b, const struct wire_plan *w)
{
    const struct restore *v = b->s->restore;
    size_t n = w->n_variables;

    n += (size_t)v->source->manifest.n_variables *
         (v->order.n_renames > 0 ? v->order.n_renames : 1);
    b->w = *w;
    b->e.text[0] = '\0';
    b->variables = arena_take(&b->s->arena, (n + 1) * sizeof(*b->variables));
    if (b->variables == NULL) {
        return PS_ENOMEM;
    }
    if (w->n_variables > 0) {
        memcpy(b->variables, w->variables,
               w->n_variables * sizeof(*b->variables));
    }
    b->w.variables = b->variables;
    return PS_OK;
}

bool restore_plan_whole(struct scheduler *s, struct wire_plan *w)
{
    struct restore *v = s->restore;
    struct building b = {.s = s};
    bool is_some = v->job == RESTORE_JOB_DEMAND && v->order.n_renames > 0;
    bool is_new;
    int rc;

    /* A new cluster begins on all of its servers. */
    if (v->phase != RESTORE_PLANNING || w->n_lanes == 0 ||
        (v->job == RESTORE_JOB_START && member_count(s) < s->options.servers)) {
        return false;
    }
    rc = begin_building(&b, w);
    if (rc == PS_OK) {
        rc = is_some ? take_some(&b) : take_all(&b);
    }
    if (rc == PS_OK && v->job == RESTORE_JOB_DEMAND) {
        rc = restore_order_note(s, &b.w, &is_new);
    }
    if (rc == PS_ENOMEM) {
        return false; /* the next update tries again */
    }
    if (rc != PS_OK) {
        (void)restore_refuse(
            s, rc, b.e.text[0] != '\0' ? b.e.text : ps_status_text(rc));
        return false;
    }
    v->planned = s->plan->w.plan + 1;
    b.w.term += !is_some;
    *w = b.w;
    return true;
}
