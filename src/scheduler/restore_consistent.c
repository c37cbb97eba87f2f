/* --on-failure consistent: when a server dies, all go back with it, so that the
 * model is that of one cut again. That is the restore that a client may ask
 * for, of the newest good checkpoint of the cluster's timeline.
 *
 * Whose rows are gone is read from the plan, so that a scheduler which starts
 * in between knows it as well: a part that stands on a lane which ended in a
 * later plan than the one it got the part in. A restore deals all parts in the
 * very plan that ends all lanes, so it is not the cause of another one, and
 * however many die before that plan is written, it heals them all. Parts stay
 * where they are until then: their rows would be those of a checkpoint among
 * newer ones.
 *
 * Where there is nothing to go back to each part comes back as it can, which is
 * --on-failure accept. */
#include <stdio.h>

#include "base/probe.h"
#include "scheduler/restore.h"

enum { LOOK_AGAIN_US = 1000000 };

void restore_consistent_wish(const struct scheduler *s,
                             struct restore_wish *wish)
{
    wish->n_also = 0;
    for (uint32_t i = 0;
         i < s->plan->w.n_loads && wish->n_also < RESTORE_ALSO_MAX; i++) {
        const struct wire_load *l = &s->plan->w.loads[i];
        struct ckpt_move m;
        bool is_new = !ckpt_move_parse(l->folder, &m);

        for (uint32_t k = 0; k < wish->n_also && is_new; k++) {
            is_new = strcmp(wish->also[k], l->folder) != 0;
        }
        if (is_new && l->brings_lanes != 0 &&
            strlen(l->folder) <= CKPT_NAME_MAX) {
            memcpy(wish->also[wish->n_also++], l->folder,
                   strlen(l->folder) + 1);
        }
    }
}

/* A lane whose end took rows with it that no other place has; NULL: none. */
static const struct wire_ended *find_lost(const struct scheduler *s,
                                          const struct wire_plan *w)
{
    for (uint32_t i = 0; i < w->n_parts; i++) {
        const struct wire_part *p = &w->parts[i];
        const struct wire_ended *e = restore_plan_ended(w, p->lane);

        if (e != NULL && e->plan > p->since && e->plan > s->restore->accepted &&
            !restore_plan_is_logged(w, p->variable)) {
            return e;
        }
    }
    return NULL;
}

bool restore_consistent_holds(const struct scheduler *s,
                              const struct wire_plan *w)
{
    return s->options.consistent && s->disk != NULL && find_lost(s, w) != NULL;
}

bool restore_consistent_look(struct scheduler *s)
{
    struct restore_wish wish = {.kind = RESTORE_TIMELINE, .verifies = true};

    if (!restore_consistent_holds(s, &s->plan->w)) {
        return false;
    }
    snprintf(s->says, sizeof(s->says),
             "looks for a checkpoint to go back to as a whole");
    restore_consistent_wish(s, &wish);
    restore_search(s, RESTORE_JOB_CONSISTENT, &wish);
    return true;
}

void restore_consistent_accept(struct scheduler *s, const char *why)
{
    PROBE(restore_consistent_accepts);
    log_write(LOG_ERROR,
              "cannot go back as a whole, so only what a server lost comes "
              "back: %s",
              why);
    s->restore->accepted = s->plan->w.plan;
}

void restore_consistent_found(struct scheduler *s)
{
    struct restore *v = s->restore;
    const struct wire_ended *e = find_lost(s, &s->plan->w);

    switch (v->find.status) {
    case PS_OK:
        PROBE(restore_consistent_begins);
        if (e != NULL) {
            log_write(LOG_WARNING,
                      "rows were lost with server %u: the whole cluster goes "
                      "back to %s",
                      (unsigned)e->server, v->find.folder);
        }
        restore_settle(s);
        break;
    case PS_ENOTFOUND:
    case PS_EDATALOSS:
        restore_consistent_accept(s, v->find.status == PS_EDATALOSS
                                         ? v->find.why
                                         : "there is no checkpoint yet");
        restore_rest(s);
        plan_owner_update(s);
        break;
    default:
        log_limited(&s->bad_log, scheduler_now(s), LOG_ERROR,
                    "cannot look for checkpoints: %s", v->find.why);
        v->retry_us = scheduler_now(s) + LOOK_AGAIN_US;
        break;
    }
}

/* Parts are dealt over the lanes of all servers that had some, one that has
 * died included: it is to have its share again. If it does not come back that
 * goes to others. */
int restore_consistent_lanes(const struct scheduler *s, struct arena *arena,
                             struct wire_plan *w)
{
    size_t room = (size_t)w->n_lanes + w->n_parts + 1;
    struct wire_lane *lanes = arena_take(arena, room * sizeof(*lanes));
    uint32_t n = w->n_lanes;

    if (lanes == NULL) {
        return PS_ENOMEM;
    }
    if (n > 0) {
        memcpy(lanes, w->lanes, n * sizeof(*lanes));
    }
    for (uint32_t i = 0; i < w->n_parts; i++) {
        const struct wire_ended *e = restore_plan_ended(w, w->parts[i].lane);
        bool is_there = e == NULL || e->server >= s->options.servers ||
                        s->members[e->server].has_lanes;

        for (uint32_t k = 0; k < n && !is_there; k++) {
            is_there =
                lanes[k].server == e->server && lanes[k].shard == e->shard;
        }
        if (!is_there) {
            lanes[n++] = (struct wire_lane){e->lane, e->server, e->shard, ""};
        }
    }
    w->lanes = lanes;
    w->n_lanes = n;
    return PS_OK;
}
