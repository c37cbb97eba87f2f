/* Loads that cannot be done: what parts come from instead.
 *
 *     damaged --------------------------------> OLDER --> instead, or none left
 *     missing --> CONFIRM --> missing here too --^
 *                    |
 *                    v
 *                 it is here: that server's mount, which is waited for
 *
 * A shard that finds damage has read it: another checkpoint is looked for at
 * once. One that does not find a file may only look in the wrong place, and
 * rows are not given up for that: the scheduler looks itself, at every byte.
 * What is known of a folder is kept, so that each that fails has its turn. */
#include <stdio.h>

#include "base/probe.h"
#include "scheduler/restore.h"

enum { LOOK_AGAIN_US = 60000000 };

PLANT_DECLARE(load_missing_believed);

static struct restore_failure *find_failure(struct restore *v,
                                            const struct restore_failing *x)
{
    for (uint32_t i = 0; i < v->n_failures; i++) {
        struct restore_failure *f = &v->failures[i];

        if (f->is_missing == x->is_missing &&
            strcmp(f->folder, x->folder) == 0 &&
            restore_past_is_same(&f->past, &x->past)) {
            return f;
        }
    }
    return NULL;
}

/* Of the one that is looked at now. What is known longest makes room. */
static struct restore_failure *take_failure(struct restore *v)
{
    const struct restore_failing *x = &v->failing;
    struct restore_failure *f = find_failure(v, x);

    if (f != NULL) {
        return f;
    }
    if (v->n_failures == RESTORE_FAILURES_MAX) {
        memmove(v->failures, v->failures + 1,
                --v->n_failures * sizeof(*v->failures));
    }
    f = &v->failures[v->n_failures++];
    *f = (struct restore_failure){.is_missing = x->is_missing, .past = x->past};
    memcpy(f->folder, x->folder, sizeof(x->folder));
    return f;
}

void restore_failed_forget(struct restore *v)
{
    v->n_failures = 0;
}

const struct wire_load *restore_failed_load(const struct scheduler *s,
                                            const struct wire_part *part,
                                            bool *is_missing)
{
    const struct wire_load *l = plan_load(s->plan, part);
    const struct wire_shard *h = l != NULL ? member_shard(s, part->lane) : NULL;
    size_t n;

    if (h == NULL || member_has_loaded(s, part) ||
        (h->load_failed != LOAD_DAMAGED && h->load_failed != LOAD_MISSING)) {
        return NULL;
    }
    n = strlen(l->folder);
    *is_missing = h->load_failed == LOAD_MISSING;
    return strncmp(h->why, l->folder, n) == 0 && h->why[n] == ':' ? l : NULL;
}

static void look_for_older(struct scheduler *s)
{
    struct restore *v = s->restore;
    struct restore_wish wish = {.kind = RESTORE_OLDER,
                                .restore = v->failing.restore,
                                .past = v->failing.past};

    if (v->failing.is_foreign) {
        /* Another cluster's: there is no timeline to go back on. */
        take_failure(v)->has_instead = true;
        restore_rest(s);
        plan_owner_update(s);
        return;
    }
    memcpy(wish.name, v->failing.folder, sizeof(v->failing.folder));
    restore_search(s, RESTORE_JOB_OLDER, &wish);
}

static void begin(struct scheduler *s, const struct restore_failing *x)
{
    struct restore *v = s->restore;
    struct restore_wish wish = {.kind = RESTORE_NAMED, .verifies = true};

    v->failing = *x;
    if (x->is_missing && !PLANT(load_missing_believed)) {
        memcpy(wish.name, x->folder, sizeof(x->folder));
        restore_search(s, RESTORE_JOB_CONFIRM, &wish);
    } else {
        look_for_older(s);
    }
}

void restore_failed_look(struct scheduler *s)
{
    struct restore *v = s->restore;

    for (uint32_t i = 0; i < s->plan->w.n_parts; i++) {
        const struct wire_part *p = &s->plan->w.parts[i];
        struct restore_failing x = {.restore = 0};
        const struct wire_load *l = restore_failed_load(s, p, &x.is_missing);
        const struct restore_failure *f;
        struct ckpt_move move;

        if (l == NULL || strlen(l->folder) > CKPT_NAME_MAX) {
            continue;
        }
        if (ckpt_move_parse(l->folder, &move)) {
            /* What an older checkpoint lacks was acknowledged by a lane that
             * lives: nobody would ask for it. */
            log_limited(&s->bad_log, scheduler_now(s), LOG_ERROR,
                        "a part that has moved cannot be loaded, and is not "
                        "served: %s; is -cp one folder that all servers "
                        "share? Else `ps-plus restore` goes back",
                        member_shard(s, s->plan->w.parts[i].lane)->why);
            continue;
        }
        memcpy(x.folder, l->folder, strlen(l->folder) + 1);
        x.is_foreign = l->brings_lanes == 0;
        x.restore = l->restore;
        restore_past_of(&s->plan->w, p->since, &x.past);
        f = find_failure(v, &x);
        if (f == NULL || (!f->has_instead && scheduler_now(s) >= f->again_us)) {
            begin(s, &x);
            return;
        }
    }
}

void restore_failed_confirmed(struct scheduler *s)
{
    struct restore *v = s->restore;

    /* A user may have called another one by that name. */
    if (v->find.status != PS_OK ||
        strcmp(v->find.folder, v->failing.folder) != 0) {
        PROBE(restore_missing_is_missing);
        log_write(LOG_ERROR, "%s is not whole any more: %s", v->failing.folder,
                  v->find.status == PS_EDATALOSS ? v->find.why
                                                 : "the folder is gone");
        look_for_older(s);
        return;
    }
    PROBE(restore_missing_is_here);
    log_write(LOG_ERROR,
              "a server does not find files of %s, and the scheduler does: -cp "
              "must name one folder that all servers and the scheduler share; "
              "its parts are not served until then",
              v->failing.folder);
    take_failure(v)->again_us = scheduler_now(s) + LOOK_AGAIN_US;
    restore_rest(s);
}

void restore_failed_found(struct scheduler *s, const struct restore_source *x)
{
    struct restore *v = s->restore;
    struct restore_failure *f = take_failure(v);

    f->has_instead = true;
    f->instead = *x;
    restore_rest(s);
    plan_owner_update(s);
}
