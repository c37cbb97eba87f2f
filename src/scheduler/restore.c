/* See restore.h for the drawing. What a restore is made of is in other files:
 * restore_find.c which checkpoint, restore_raise.c the store's numbers,
 * restore_plan.c and restore_whole.c the plan, restore_order.c who asked for
 * it, restore_consistent.c that all go back when one dies. Nothing of the
 * cluster is touched before the checkpoint was found and verified whole. */
#include "scheduler/restore.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/probe.h"
#include "scheduler/readers.h"
#include "scheduler/save.h"

enum { LOOK_AGAIN_MS = 1000 };

void restore_init(struct restore *v)
{
    memset(v, 0, sizeof(*v));
    v->retry_us = UINT64_MAX;
    arena_init(&v->order.arena);
}

void restore_fini(struct restore *v)
{
    v->find.is_checking = false; /* the disk may be gone by now */
    restore_find_end(&v->find);
    ckpt_free(v->source);
    arena_fini(&v->order.arena);
}

static void later(struct scheduler *s, uint64_t ms)
{
    s->restore->retry_us = scheduler_now(s) + ms * 1000;
}

static void drop_source(struct restore *v)
{
    ckpt_free(v->source);
    v->source = NULL;
}

void restore_search(struct scheduler *s, enum restore_job job,
                    const struct restore_wish *wish)
{
    struct restore *v = s->restore;
    struct restore_wish w = *wish;

    v->phase = RESTORE_FINDING;
    v->job = job;
    v->retry_us = UINT64_MAX;
    w.cluster_high = s->cluster_high;
    w.cluster_low = s->cluster_low;
    if (w.kind != RESTORE_OLDER) {
        w.restore = s->plan != NULL ? s->plan->w.restore : 0;
    }
    w.gives_up = v->bad_us != 0 &&
                 scheduler_now(s) - v->bad_us >= (uint64_t)LIMIT_DISK_MS * 1000;
    v->heard_us = scheduler_now(s);
    restore_find_begin(&v->find, s->disk, &w);
}

void restore_rest(struct scheduler *s)
{
    s->restore->phase = RESTORE_IDLE;
    s->restore->job = RESTORE_JOB_NONE;
    s->restore->retry_us = UINT64_MAX;
    restore_find_end(&s->restore->find);
    if (s->state == SCHEDULER_RUN) {
        snprintf(s->says, sizeof(s->says), "runs");
    }
}

/* ---- a new store -------------------------------------------------------- */

/* Nothing was ever declared or restored in it. */
static bool is_new_store(const struct scheduler *s)
{
    const struct wire_plan *w = s->plan != NULL ? &s->plan->w : NULL;

    return w == NULL ||
           (w->n_variables == 0 && w->next_variable <= 1 && w->restore == 0);
}

static void look_for_start(struct scheduler *s)
{
    const struct restore_wish wish = {.kind = RESTORE_NEWEST, .verifies = true};

    restore_search(s, RESTORE_JOB_START, &wish);
}

static bool begin_start(struct scheduler *s)
{
    struct restore *v = s->restore;

    if (s->disk == NULL || v->has_looked) {
        return true;
    }
    if (v->job != RESTORE_JOB_START) {
        snprintf(s->says, sizeof(s->says),
                 "looks for a checkpoint to begin with");
        look_for_start(s);
    }
    return false;
}

bool restore_before_cluster(struct scheduler *s)
{
    return begin_start(s);
}

bool restore_cluster_id(const struct scheduler *s, uint64_t *high,
                        uint64_t *low)
{
    const struct restore *v = s->restore;

    if (v->source == NULL) {
        return false;
    }
    *high = v->source->manifest.cluster_high;
    *low = v->source->manifest.cluster_low;
    return true;
}

bool restore_before_run(struct scheduler *s)
{
    if (is_new_store(s)) {
        return begin_start(s);
    }
    drop_source(s->restore); /* another scheduler has begun meanwhile */
    return true;
}

bool restore_misses_place(struct scheduler *s)
{
    const struct wire_plan *w = &s->plan->w;
    char text[640];

    if (s->disk != NULL || w->checkpoints[0] == '\0' || w->n_variables == 0 ||
        s->options.accept_empty) {
        return false;
    }
    snprintf(text, sizeof(text),
             "the checkpoints of this cluster are at %.400s: start the "
             "scheduler with -cp, or with --accept-empty to do without them",
             w->checkpoints);
    scheduler_refuse(s, text);
    return true;
}

static void start_is_over(struct scheduler *s)
{
    s->restore->has_looked = true;
    restore_rest(s);
    if (s->state == SCHEDULER_TERM) {
        plan_owner_begin(s);
    } else if (s->state == SCHEDULER_CLUSTER) {
        scheduler_go_on(s);
    }
}

/* What number the restore gets: above all that this cluster had, those of
 * damaged checkpoints too. */
static void choose_target(struct scheduler *s)
{
    struct restore *v = s->restore;
    const struct ckpt_manifest *m = &v->source->manifest;
    uint64_t now = s->plan != NULL ? s->plan->w.restore : 0;
    bool is_own = s->state == SCHEDULER_CLUSTER || /* it takes that id */
                  (m->cluster_high == s->cluster_high &&
                   m->cluster_low == s->cluster_low);

    if (v->order.n_renames > 0 && v->job == RESTORE_JOB_DEMAND) {
        v->target = now;
    } else {
        v->target = (is_own ? base_max_u64(now, v->marks.restore) : now) + 1;
    }
}

static bool has_answer(const struct restore *v)
{
    return v->find.status == PS_OK || v->find.status == PS_ENOTFOUND ||
           v->find.status == PS_EDATALOSS;
}

/* The disk, or memory: nothing is said of a checkpoint by that. */
static void cannot_look(struct scheduler *s)
{
    const char *why = s->restore->find.why;

    log_limited(&s->bad_log, scheduler_now(s), LOG_ERROR,
                "cannot look for checkpoints: %s", why);
    snprintf(s->says, sizeof(s->says), "cannot look for checkpoints: %.120s",
             why);
    later(s, LOOK_AGAIN_MS);
}

/* The newest good one was found, or none is there, or none is good. */
static void on_start_found(struct scheduler *s)
{
    struct restore *v = s->restore;
    char text[640];

    v->marks = v->find.marks;
    if (!has_answer(v)) {
        cannot_look(s);
        return;
    }
    if (v->find.status != PS_OK && v->find.status != PS_ENOTFOUND &&
        !s->options.accept_empty) {
        snprintf(text, sizeof(text),
                 "no checkpoint is good, and without --accept-empty it does "
                 "not begin empty: %s",
                 v->find.why);
        v->has_looked = true;
        scheduler_refuse(s, text);
        return;
    }
    if (v->find.status == PS_OK) {
        v->source = restore_find_take(&v->find);
        memcpy(v->folder, v->find.folder, sizeof(v->folder));
        choose_target(s);
        log_write(LOG_INFO, "begins with checkpoint %s", v->folder);
    } else if (v->find.status != PS_ENOTFOUND) {
        log_write(LOG_ERROR, "begins empty: %s", v->find.why);
    } else if (v->marks.cut == 0) {
        start_is_over(s);
        return;
    }
    v->phase = RESTORE_RAISING;
    restore_raise_begin(s);
}

/* ---- running ------------------------------------------------------------ */

static void look_for_newest(struct scheduler *s)
{
    const struct restore_wish wish = {.kind = RESTORE_TIMELINE};

    restore_search(s, RESTORE_JOB_LOOK, &wish);
}

static void begin_planning(struct scheduler *s)
{
    struct restore *v = s->restore;

    choose_target(s);
    v->old_restore = s->plan->w.restore;
    v->planned = 0;
    v->phase = RESTORE_PLANNING;
    v->retry_us = UINT64_MAX;
    snprintf(s->says, sizeof(s->says), "restores %s", v->folder);
}

void restore_start(struct scheduler *s)
{
    struct restore *v = s->restore;

    v->knows_newest = s->disk == NULL;
    v->newest = (struct restore_source){.cut = 0};
    v->unread = v->newest;
    if (s->disk == NULL) {
        return;
    }
    if (v->source != NULL) {
        v->knows_newest = true; /* of this timeline there is none yet */
        v->job = RESTORE_JOB_START;
        begin_planning(s);
    } else {
        look_for_newest(s);
    }
}

void restore_stop(struct scheduler *s)
{
    struct restore *v = s->restore;

    restore_rest(s);
    drop_source(v);
    v->is_paused = false;
    restore_failed_forget(v);
    v->order.n = 0;
    v->order.is_open = false;
    v->order.is_loading = false;
    v->accepted = 0;
    v->bad_us = 0;
    /* Whoever runs next looks again. */
    v->has_looked = false;
}

const char *restore_is_under_way(const struct scheduler *s)
{
    switch (s->restore->phase) {
    case RESTORE_IDLE:
    case RESTORE_FINDING:
        return NULL;
    case RESTORE_SETTLING:
    case RESTORE_RAISING:
    case RESTORE_PLANNING:
        break;
    }
    return s->restore->job == RESTORE_JOB_START
               ? "a checkpoint is restored when all servers are there"
               : "a checkpoint is being restored";
}

bool restore_needs(const struct scheduler *s, const char *folder)
{
    const struct restore *v = s->restore;

    for (uint32_t i = 0; i < v->n_failures; i++) {
        if (strcmp(v->failures[i].instead.folder, folder) == 0) {
            return true;
        }
    }
    return (v->find.is_active && strcmp(v->find.folder, folder) == 0) ||
           (v->source != NULL && strcmp(v->folder, folder) == 0);
}

void restore_on_saved(struct scheduler *s, const struct restore_source *x)
{
    struct restore_source *newest = &s->restore->newest;

    if (newest->folder[0] == '\0' || x->cut >= newest->cut) {
        *newest = *x;
        s->restore->unread.cut = 0;
    }
}

static struct restore_source take_found(const struct restore *v)
{
    struct restore_source x = {.cut = 0};

    if (v->find.status == PS_OK) {
        memcpy(x.folder, v->find.folder, sizeof(x.folder));
        x.cut = v->find.c->manifest.cut;
        x.plan = v->find.c->manifest.plan;
        x.restore = v->find.c->manifest.restore;
        x.next_variable = v->find.c->manifest.next_variable;
    }
    return x;
}

static void on_look_found(struct scheduler *s)
{
    struct restore *v = s->restore;
    const struct restore_source x = take_found(v);

    if (!has_answer(v)) {
        cannot_look(s);
        return;
    }
    if (x.folder[0] != '\0') {
        readers_note(s, &v->find.c->manifest, x.cut, s->plan->w.restore,
                     x.folder);
        restore_on_saved(s, &x);
    }
    if (v->find.damaged_cut > v->newest.cut) {
        v->unread.cut = v->find.damaged_cut;
        memcpy(v->unread.folder, v->find.damaged, sizeof(v->find.damaged));
    }
    v->knows_newest = true;
    restore_rest(s);
    plan_owner_update(s);
}

static void on_failed_looked(struct scheduler *s)
{
    struct restore *v = s->restore;
    const struct restore_source x = take_found(v);

    if (!has_answer(v)) {
        cannot_look(s);
    } else if (v->job == RESTORE_JOB_CONFIRM) {
        restore_failed_confirmed(s);
    } else {
        restore_failed_found(s, &x);
    }
}

/* ---- the order of a client ---------------------------------------------- */

static void end_order(struct scheduler *s, int status, const char *text)
{
    struct restore_order *o = &s->restore->order;

    if (o->is_open) {
        o->is_open = false;
        o->is_loading = false;
        o->status = status;
        if (status == PS_ENOMEM) {
            o->n = 0; /* whoever asks again begins anew */
        }
        snprintf(o->text, sizeof(o->text), "%s", text);
        base_one_line(o->text);
    }
}

void restore_begin_order(struct scheduler *s)
{
    struct restore_wish wish = {.kind = RESTORE_NAMED, .verifies = true};
    const struct restore_order *o = &s->restore->order;

    log_write(LOG_WARNING, "asked to restore \"%s\"", o->name);
    memcpy(wish.name, o->name, sizeof(wish.name));
    restore_search(s, RESTORE_JOB_DEMAND, &wish);
}

/* The order cannot be done; all is as it was. */
static void give_up(struct scheduler *s, int status, const char *text)
{
    struct restore *v = s->restore;

    log_write(LOG_ERROR, "cannot restore: %s", text);
    drop_source(v);
    if (v->job == RESTORE_JOB_START) {
        scheduler_refuse(s, text);
        return;
    }
    if (v->job == RESTORE_JOB_CONSISTENT) {
        restore_consistent_accept(s, text);
    } else {
        end_order(s, status, text);
    }
    if (v->is_paused) {
        v->is_paused = false;
        save_start(s);
    }
    restore_rest(s);
}

bool restore_refuse(struct scheduler *s, int status, const char *text)
{
    if (s->restore->phase != RESTORE_PLANNING) {
        return false;
    }
    give_up(s, status, text);
    return true;
}

void restore_settle(struct scheduler *s)
{
    struct restore *v = s->restore;

    v->source = restore_find_take(&v->find);
    memcpy(v->folder, v->find.folder, sizeof(v->folder));
    v->marks = v->find.marks;
    v->phase = RESTORE_SETTLING;
    v->retry_us = 0;
}

static void on_demand_found(struct scheduler *s)
{
    struct restore *v = s->restore;
    struct restore_wish wish = {.kind = RESTORE_NEWEST, .verifies = true};
    struct restore_order *o = &v->order;

    if (v->find.status == PS_OK) {
        memcpy(o->folder, v->find.folder, sizeof(o->folder));
        restore_settle(s);
    } else if (o->name[0] != '\0' && (v->find.status == PS_EDATALOSS ||
                                      v->find.status == PS_ENOTFOUND)) {
        o->status = v->find.status;
        if (o->status == PS_EDATALOSS) {
            snprintf(o->text, sizeof(o->text), "%s", v->find.why);
        } else {
            snprintf(o->text, sizeof(o->text), "no checkpoint is \"%s\"",
                     o->name);
        }
        restore_search(s, RESTORE_JOB_BEST, &wish);
    } else {
        give_up(s, v->find.status,
                v->find.why[0] != '\0' ? v->find.why
                                       : "there is no checkpoint");
    }
}

static void on_best_found(struct scheduler *s)
{
    struct restore *v = s->restore;
    char text[640];

    if (v->find.status == PS_OK) {
        snprintf(text, sizeof(text), "%.500s; the newest good one is %s",
                 v->order.text, v->find.folder);
    } else {
        snprintf(text, sizeof(text), "%.500s; %s is good", v->order.text,
                 v->order.status == PS_EDATALOSS ? "no other one" : "none");
    }
    give_up(s, v->order.status, text);
}

/* Goes on when no save is open; the save machine waits then until the store's
 * numbers are raised. */
static void settle(struct scheduler *s)
{
    struct restore *v = s->restore;

    save_abort(s, "a checkpoint is being restored");
    if (!save_pause(s)) {
        later(s, LIMIT_SAVE_LOOK_MS);
        return;
    }
    v->is_paused = true;
    v->retry_us = UINT64_MAX;
    choose_target(s);
    v->phase = RESTORE_RAISING;
    restore_raise_begin(s);
}

void restore_is_raised(struct scheduler *s)
{
    struct restore *v = s->restore;

    if (v->job == RESTORE_JOB_START) {
        start_is_over(s);
        return;
    }
    v->is_paused = false;
    save_start(s);
    begin_planning(s);
    plan_owner_update(s);
}

/* Did the plan that has it come to be? */
static bool is_in_plan(const struct scheduler *s)
{
    const struct restore *v = s->restore;
    const struct wire_plan *w = &s->plan->w;

    if (v->planned == 0 || w->plan < v->planned) {
        return false;
    }
    return v->job == RESTORE_JOB_DEMAND ? restore_order_noted(s) > 0
                                        : w->restore >= v->target;
}

void restore_on_plan(struct scheduler *s)
{
    struct restore *v = s->restore;
    struct restore_order *o = &v->order;

    if (v->phase != RESTORE_PLANNING || !is_in_plan(s)) {
        return;
    }
    PROBE(restore_is_planned);
    log_write(LOG_WARNING, "restores %s: plan %llu, restore %llu", v->folder,
              (unsigned long long)s->plan->w.plan,
              (unsigned long long)s->plan->w.restore);
    if (v->target > v->old_restore) {
        v->newest = (struct restore_source){.cut = 0};
        v->unread = v->newest;
    }
    restore_failed_forget(v);
    if (v->job == RESTORE_JOB_DEMAND) {
        o->is_loading = true;
        o->plan = s->plan->w.plan;
        o->restore = s->plan->w.restore;
    }
    drop_source(v);
    restore_rest(s);
}

void restore_look(struct scheduler *s)
{
    struct restore *v = s->restore;

    if (s->state != SCHEDULER_RUN || s->plan == NULL || s->plan_in_flight ||
        s->plan_must_read) {
        return;
    }
    if (v->order.is_loading && plan_owner_what_moves(s) == NULL &&
        restore_order_noted(s) == v->order.n) {
        log_write(LOG_INFO, "restored %s", v->order.folder);
        end_order(s, PS_OK, "");
    }
    if (v->phase == RESTORE_IDLE && v->knows_newest && s->disk != NULL &&
        !restore_consistent_look(s)) {
        restore_failed_look(s);
    }
}

/* ---- answers and time --------------------------------------------------- */

void restore_on_coord(struct scheduler *s, const struct coord_result *r)
{
    restore_raise_on_coord(s, r);
}

/* Searches that are tried again until they end: a file that fails for so long
 * is lost (shard_load_again.c). Not of an order, whose user is told. */
static void note_trouble(struct scheduler *s)
{
    struct restore *v = s->restore;

    if (v->find.status != PS_EIO || v->find.folders == NULL ||
        v->job == RESTORE_JOB_DEMAND || v->job == RESTORE_JOB_BEST) {
        v->bad_us = 0;
    } else if (v->bad_us == 0) {
        v->bad_us = scheduler_now(s);
    }
}

static void has_found(struct scheduler *s)
{
    struct restore *v = s->restore;

    note_trouble(s);
    switch (v->job) {
    case RESTORE_JOB_START:
        on_start_found(s);
        break;
    case RESTORE_JOB_LOOK:
        on_look_found(s);
        break;
    case RESTORE_JOB_DEMAND:
        on_demand_found(s);
        break;
    case RESTORE_JOB_BEST:
        on_best_found(s);
        break;
    case RESTORE_JOB_CONFIRM:
    case RESTORE_JOB_OLDER:
        on_failed_looked(s);
        break;
    case RESTORE_JOB_CONSISTENT:
        restore_consistent_found(s);
        break;
    case RESTORE_JOB_NONE:
        break;
    }
}

void restore_on_disk(struct scheduler *s, const struct disk_result *r)
{
    struct restore *v = s->restore;

    if (r->tag >> 8 == v->find.serial) {
        v->heard_us = scheduler_now(s);
    }
    if (restore_find_on_disk(&v->find, r) && v->phase == RESTORE_FINDING) {
        has_found(s);
    }
}

static uint64_t disk_deadline(const struct restore *v)
{
    return v->phase == RESTORE_FINDING && v->find.is_active
               ? v->heard_us + (uint64_t)LIMIT_DISK_MS * 1000
               : UINT64_MAX;
}

void restore_tick(struct scheduler *s)
{
    struct restore *v = s->restore;

    if (scheduler_now(s) >= disk_deadline(v)) {
        restore_find_give_up(&v->find);
        has_found(s);
    }
    if (scheduler_now(s) < v->retry_us) {
        return;
    }
    v->retry_us = UINT64_MAX;
    switch (v->phase) {
    case RESTORE_FINDING:
        if (v->job == RESTORE_JOB_LOOK) {
            look_for_newest(s);
        } else if (v->job == RESTORE_JOB_START) {
            look_for_start(s);
        } else {
            restore_rest(s);
        }
        break;
    case RESTORE_SETTLING:
        settle(s);
        break;
    case RESTORE_RAISING:
        restore_raise_again(s);
        break;
    case RESTORE_PLANNING:
    case RESTORE_IDLE:
        break;
    }
}

uint64_t restore_next(const struct scheduler *s)
{
    return base_min_u64(s->restore->retry_us, disk_deadline(s->restore));
}
