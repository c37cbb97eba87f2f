/* See save.h for the drawing. The record `save` is written by compare-and-swap,
 * one write at a time; a write whose outcome is not known is read again. Only
 * this scheduler's own writes go on: what a former scheduler left open begins
 * anew under the next cut, because nobody knows which sessions have left the
 * table since. */
#include "scheduler/save.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/probe.h"
#include "scheduler/restore.h"

enum {
    TRIES_MAX = 8,
    /* How often the record is read when nothing is under way: a scheduler that
     * does not know yet that it was followed may still have begun a save. */
    IDLE_LOOK_MS = 2000
};

PLANT_DECLARE(cut_number_kept);

void save_init(struct save *v)
{
    memset(v, 0, sizeof(*v));
    v->retry_us = UINT64_MAX;
    buf_init(&v->manifest);
    arena_init(&v->check.arena);
}

static void forget_reporters(struct save *v)
{
    for (uint32_t i = 0; i < v->n_reporters; i++) {
        buf_fini(&v->reporters[i].position);
    }
    mem_free(v->reporters);
    v->reporters = NULL;
    v->n_reporters = 0;
}

static void forget_waiters(struct save *v)
{
    while (v->waiters != NULL) {
        struct save_waiter *w = v->waiters;

        v->waiters = w->next;
        mem_free(w);
    }
}

void save_fini(struct scheduler *s)
{
    struct save *v = s->save;

    forget_reporters(v);
    forget_waiters(v);
    save_prune_end(s);
    save_check_end(s);
    arena_fini(&v->check.arena);
    buf_fini(&v->manifest);
}

bool save_is_open(const struct scheduler *s)
{
    return s->save->phase > SAVE_PHASE_CUT;
}

bool save_holds_plan(const struct scheduler *s)
{
    return s->save->phase > SAVE_PHASE_CUT &&
           s->save->phase < SAVE_PHASE_MANIFEST;
}

/* ---- the record --------------------------------------------------------- */

static void later(struct scheduler *s)
{
    s->save->retry_us = scheduler_now(s) + LIMIT_WATCH_MS * 1000;
}

static void read_record(struct scheduler *s)
{
    s->save->record_is_busy = true;
    s->save->must_read = true;
    scheduler_ask(s, COORD_GET, TAG_SAVE, "save", 0, NULL);
}

void save_write_record(struct scheduler *s)
{
    struct save *v = s->save;
    struct wire_save w = {
        .nonce = s->nonce,
        .term = s->plan->w.term,
        .ticket = v->ticket,
        .cut = v->cut,
        .state = v->state,
        .plan = v->plan,
        .base = v->base,
        .name = v->name,
        .folder = v->folder,
        .why = v->why,
        .rows = v->rows,
        .rows_done = v->rows_done,
        .oldest = v->oldest_of_two,
    };
    struct wire_asked asked[SAVE_ASKED_MAX];
    char none[CKPT_NAME_MAX + 1];
    struct buf b;

    if (v->folder[0] == '\0') {
        ckpt_folder_name(v->cut, 0, false, none); /* of no term */
        w.folder = none;
    }
    if (v->record_is_busy) {
        return; /* its answer writes again what is new */
    }
    if (v->must_read) {
        read_record(s);
        return;
    }
    save_put_orders(v, &w, asked);
    buf_init(&b);
    wire_save_encode(&w, &b);
    if (b.failed) {
        later(s);
    } else {
        v->record_is_busy = true;
        v->written_state = v->state;
        v->written_cut = v->cut;
        v->asks_in_write = v->asks;
        v->told_us = scheduler_now(s);
        scheduler_ask(s, COORD_CAS, TAG_SAVE, "save", v->version, &b);
    }
    buf_fini(&b);
}

/* ---- beginnings and ends ------------------------------------------------ */

/* A new life of this save: everything of the former cut is void. */
static void begin(struct scheduler *s)
{
    struct save *v = s->save;

    forget_reporters(v);
    v->phase = SAVE_PHASE_CUT;
    v->state = SAVE_OPEN;
    v->folder[0] = '\0'; /* the next cut's, when it has one */
    v->renaming = SAVE_NOT_RENAMED;
    v->disk_tag++;
    save_check_end(s);
    v->retry_us = scheduler_now(s);
    save_base_look(s);
}

/* Ends it as `state`; the record says so. */
static void end(struct scheduler *s, uint32_t state, const char *why)
{
    struct save *v = s->save;

    v->phase = SAVE_PHASE_ENDING;
    v->state = state;
    v->disk_tag++;
    save_check_end(s);
    snprintf(v->why, sizeof(v->why), "%s", why);
    base_one_line(v->why);
    v->has_leftovers = state != SAVE_DONE;
    if (state != SAVE_DONE) {
        save_files_remove(s);
    }
    save_write_record(s);
}

void save_fail(struct scheduler *s, const char *why)
{
    log_write(LOG_WARNING, "the save under cut %llu has failed: %s",
              (unsigned long long)s->save->cut, why);
    end(s, SAVE_FAILED, why);
}

void save_begin_again(struct scheduler *s, bool counts, const char *why)
{
    struct save *v = s->save;

    if (!save_is_open(s) || v->phase == SAVE_PHASE_ENDING) {
        return;
    }
    PROBE(save_begins_again);
    v->tries += counts;
    if (v->tries >= TRIES_MAX) {
        save_fail(s, why);
        return;
    }
    log_write(LOG_INFO, "the save under cut %llu begins again: %s",
              (unsigned long long)v->cut, why);
    /* The record goes on saying what it says until the next cut is in it. */
    save_files_remove(s);
    begin(s);
}

void save_abort(struct scheduler *s, const char *why)
{
    enum save_phase phase = s->save->phase;

    if (phase >= SAVE_PHASE_CUT && phase != SAVE_PHASE_ENDING) {
        save_fail(s, why);
    }
}

void save_begin(struct scheduler *s, const char *name, bool whole)
{
    struct save *v = s->save;

    v->ticket++;
    v->tries = 0;
    v->open_us = 0;
    v->is_whole_asked = whole;
    v->is_whole_wanted = whole;
    snprintf(v->name, sizeof(v->name), "%s", name);
    begin(s);
    save_tick(s);
}

int save_cancel(struct scheduler *s)
{
    struct save *v = s->save;

    if (v->phase == SAVE_PHASE_ENDING ? v->state == SAVE_DONE
                                      : v->renaming != SAVE_NOT_RENAMED) {
        return PS_EEXIST;
    }
    PROBE(save_is_canceled);
    if (v->phase != SAVE_PHASE_ENDING) {
        end(s, SAVE_CANCELED, "canceled on request");
    }
    return PS_OK;
}

bool save_pause(struct scheduler *s)
{
    struct save *v = s->save;

    if (v->phase != SAVE_PHASE_IDLE || v->record_is_busy || v->must_read) {
        return false;
    }
    v->phase = SAVE_PHASE_UNREAD;
    v->retry_us = UINT64_MAX;
    return true;
}

void save_start(struct scheduler *s)
{
    s->save->phase = SAVE_PHASE_UNREAD;
    s->save->disk_tag++;
    save_prune_stop(s);
    save_check_end(s);
    forget_reporters(s->save);
    if (!s->save->record_is_busy) {
        read_record(s);
    }
}

void save_stop(struct scheduler *s)
{
    s->save->phase = SAVE_PHASE_UNREAD;
    s->save->retry_us = UINT64_MAX;
    s->save->disk_tag++;
    save_prune_stop(s);
    save_check_end(s);
    s->save->last.cut = 0;
    forget_reporters(s->save);
    forget_waiters(s->save);
}

static void has_ended(struct scheduler *s)
{
    struct save *v = s->save;
    struct restore_source saved;

    v->phase = SAVE_PHASE_IDLE;
    forget_reporters(v);
    if (v->state == SAVE_DONE) {
        PROBE(save_is_done);
        log_write(LOG_INFO, "saved %s: cut %llu, %llu rows", v->folder,
                  (unsigned long long)v->cut, (unsigned long long)v->rows);
        saved = (struct restore_source){
            .cut = v->cut, .plan = v->plan, .restore = s->plan->w.restore};
        memcpy(saved.folder, v->folder, sizeof(saved.folder));
        restore_on_saved(s, &saved);
        save_base_done(s);
        save_prune_begin(s);
    }
}

/* ---- the cut ------------------------------------------------------------ */

const char *save_what_is_missing(const struct scheduler *s)
{
    if (s->state != SCHEDULER_RUN || s->plan == NULL || s->plan_in_flight ||
        s->plan_must_read) {
        return "the plan is being written";
    }
    if (restore_is_under_way(s) != NULL) {
        return restore_is_under_way(s);
    }
    return plan_owner_what_moves(s);
}

static void read_cut(struct scheduler *s)
{
    s->save->cut_is_busy = true;
    scheduler_ask(s, COORD_GET, TAG_SAVE_CUT, "sessions", 0, NULL);
}

/* Raises the cut, and notes who must report: those that are open now. */
static void raise_cut(struct scheduler *s, const struct wire_sessions *old,
                      uint64_t version)
{
    struct save *v = s->save;
    struct wire_sessions w = *old;
    struct buf b;

    forget_reporters(v);
    v->reporters =
        mem_try_zero(((size_t)old->n_open + 1) * sizeof(*v->reporters));
    if (v->reporters == NULL) {
        later(s);
        return;
    }
    for (uint32_t i = 0; i < old->n_open; i++) {
        struct save_reporter *r = &v->reporters[i];

        r->session = old->open[i].session;
        r->worker = old->open[i].worker;
        buf_init(&r->position);
    }
    v->n_reporters = old->n_open;
    v->next_session = old->next;
    w.nonce = s->nonce;
    w.cut = v->cut;
    buf_init(&b);
    wire_sessions_encode(&w, &b);
    if (b.failed) {
        later(s);
    } else {
        v->cut_is_busy = true;
        scheduler_ask(s, COORD_CAS, TAG_SAVE_CUT, "sessions", version, &b);
    }
    buf_fini(&b);
}

static void on_cut_read(struct scheduler *s, const struct coord_result *r)
{
    struct save *v = s->save;
    struct wire_sessions w;

    arena_reset(&s->arena);
    if (r->status != PS_OK ||
        wire_sessions_decode(r->data, r->size, &s->arena, &w) != PS_OK) {
        later(s); /* member.c makes the record if there is none */
        return;
    }
    if (v->phase == SAVE_PHASE_RAISING) {
        if (w.cut < v->cut) {
            raise_cut(s, &w, r->version);
        } else {
            /* Ours, with an outcome that was not known: whoever has left the
             * table since is not known either. */
            PROBE(save_cut_outcome_unsure);
            save_begin_again(s, true, "the cut was raised and nobody knew");
        }
        return;
    }
    if (save_what_is_missing(s) != NULL) {
        later(s);
        return;
    }
    if (v->cut < w.cut || !PLANT(cut_number_kept)) {
        v->cut = base_max_u64(base_max_u64(w.cut, v->cut), v->root_cut) + 1;
    }
    v->phase = SAVE_PHASE_OPENING;
    v->state = SAVE_OPEN;
    v->plan = s->plan->w.plan;
    v->rows = 0;
    v->rows_done = 0;
    v->why[0] = '\0';
    ckpt_folder_name(v->cut, s->plan->w.term, false, v->folder);
    save_write_record(s);
}

void save_on_cut(struct scheduler *s, const struct coord_result *r)
{
    struct save *v = s->save;

    v->cut_is_busy = false;
    if (s->state != SCHEDULER_RUN ||
        (v->phase != SAVE_PHASE_CUT && v->phase != SAVE_PHASE_RAISING)) {
        return;
    }
    if (r->op == COORD_GET) {
        on_cut_read(s, r);
    } else if (r->status == PS_OK && v->phase == SAVE_PHASE_RAISING) {
        v->phase = SAVE_PHASE_OPEN;
        v->open_us = scheduler_now(s);
        log_write(LOG_INFO, "saves %s: cut %llu, %u sessions are to report",
                  v->folder, (unsigned long long)v->cut,
                  (unsigned)v->n_reporters);
        s->look_us = scheduler_now(s);
    } else {
        later(s);
    }
}

void save_files_done(struct scheduler *s, int status, const char *why)
{
    if (s->save->phase != SAVE_PHASE_MANIFEST) {
        return;
    }
    if (status == PS_OK) {
        end(s, SAVE_DONE, "");
    } else {
        save_fail(s, why);
    }
}

/* ---- what the store says ------------------------------------------------ */

/* The record is as the fields say. */
static void is_written(struct scheduler *s)
{
    struct save *v = s->save;

    v->asks_written = v->asks;
    save_answer_waiters(s);
    if (v->phase == SAVE_PHASE_OPENING) {
        v->phase = SAVE_PHASE_RAISING;
        read_cut(s);
    } else if (v->phase == SAVE_PHASE_CLOSING) {
        v->phase = SAVE_PHASE_CLOSED;
        v->heard_us = scheduler_now(s);
        s->look_us = scheduler_now(s);
    } else if (v->phase == SAVE_PHASE_ENDING) {
        has_ended(s);
    }
}

static void take_over(struct scheduler *s, const struct wire_save *w)
{
    struct save *v = s->save;

    v->phase = SAVE_PHASE_IDLE;
    v->retry_us = scheduler_now(s) + IDLE_LOOK_MS * 1000;
    v->ticket = w->ticket;
    v->cut = w->cut;
    v->state = w->state;
    snprintf(v->name, sizeof(v->name), "%s", w->name);
    snprintf(v->folder, sizeof(v->folder), "%s", w->folder);
    snprintf(v->why, sizeof(v->why), "%s", w->why);
    v->plan = w->plan;
    v->rows = w->rows;
    v->rows_done = w->rows_done;
    save_take_orders(v, w);
    v->asks_written = v->asks;
    v->has_leftovers = w->state == SAVE_FAILED || w->state == SAVE_CANCELED;
    if (w->state == SAVE_OPEN || w->state == SAVE_CLOSED) {
        PROBE(save_of_former_scheduler);
        v->tries = 0;
        v->open_us = 0;
        v->renaming = SAVE_NOT_RENAMED;
        v->is_whole_asked = false;
        save_files_remove(s);
        begin(s);
    }
}

/* The former scheduler has written once more after we read: what it says has
 * happened, and those who wait for a save of ours get the next one. */
static void take_over_again(struct scheduler *s, const struct wire_save *w)
{
    struct save *v = s->save;
    char name[sizeof(v->name)];

    PROBE(save_former_writes_once_more);
    memcpy(name, v->name, sizeof(name));
    take_over(s, w);
    if (v->phase == SAVE_PHASE_IDLE && save_has_new_order(s)) {
        v->ticket++;
        v->tries = 0;
        v->open_us = 0;
        memcpy(v->name, name, sizeof(name));
        begin(s);
    }
    save_ask_anew(s);
}

static bool has_asked(const struct save *v, const struct wire_save *w)
{
    uint32_t n = w->n_asked;

    return n == v->n_asked &&
           (n == 0 || w->asked[n - 1].nonce == v->asked[n - 1].nonce);
}

static void on_record_read(struct scheduler *s, const struct coord_result *r)
{
    struct save *v = s->save;
    struct wire_save w = {.nonce = 0};
    bool is_news;

    arena_reset(&s->arena);
    if ((r->status != PS_OK && r->status != PS_ENOTFOUND) ||
        (r->status == PS_OK &&
         wire_save_decode(r->data, r->size, &s->arena, &w) != PS_OK)) {
        later(s);
        return;
    }
    if (s->plan == NULL || w.term > s->plan->w.term) {
        PROBE(save_record_of_later_scheduler);
        later(s); /* ours is a term of the past: it is for us to find out */
        return;
    }
    is_news = r->version > v->version && w.nonce != s->nonce;
    v->must_read = false;
    v->version = r->version;
    if (v->phase == SAVE_PHASE_UNREAD) {
        take_over(s, &w);
    } else if (is_news) {
        take_over_again(s, &w);
    } else if (w.nonce == s->nonce && w.ticket == v->ticket &&
               w.cut == v->cut && w.state == v->state && has_asked(v, &w)) {
        PROBE(save_record_found_written);
        is_written(s);
    } else if (v->phase != SAVE_PHASE_IDLE && v->phase != SAVE_PHASE_CUT) {
        save_write_record(s);
    }
}

void save_on_record(struct scheduler *s, const struct coord_result *r)
{
    struct save *v = s->save;

    v->record_is_busy = false;
    if (s->state != SCHEDULER_RUN) {
        return;
    }
    if (r->op == COORD_GET) {
        on_record_read(s, r);
        return;
    }
    if (r->status != PS_OK) {
        v->must_read = true;
        later(s);
        return;
    }
    v->version = r->version;
    if (v->phase == SAVE_PHASE_UNREAD) {
        read_record(s); /* written by us in a former run of this process */
        return;
    }
    v->asks_written = v->asks_in_write;
    save_answer_waiters(s);
    if (v->phase == SAVE_PHASE_CUT) {
        /* Under the next cut, then: the record stays as it is until it is
         * known. */
        PROBE(save_told_and_begun_again);
    } else if (v->written_state != v->state || v->written_cut != v->cut ||
               v->asks_written != v->asks) {
        save_write_record(s); /* it went on meanwhile */
    } else {
        is_written(s);
    }
}

/* ---- time --------------------------------------------------------------- */

/* Where nothing but the scheduler's disk is waited for. */
static uint64_t disk_deadline(const struct save *v)
{
    return v->phase == SAVE_PHASE_MANIFEST ||
                   (v->phase == SAVE_PHASE_CUT && v->base_is_asked)
               ? v->heard_us + (uint64_t)LIMIT_DISK_MS * 1000
               : UINT64_MAX;
}

void save_fail_silent(struct scheduler *s)
{
    char why[120];

    snprintf(why, sizeof(why),
             "the disk of the checkpoints has not answered the scheduler for "
             "%d s",
             LIMIT_DISK_MS / 1000);
    if (s->save->phase == SAVE_PHASE_CUT) {
        save_base_unknown(s, why);
    } else {
        save_fail(s, why);
    }
}

void save_tick(struct scheduler *s)
{
    struct save *v = s->save;

    if (s->state == SCHEDULER_RUN && scheduler_now(s) >= disk_deadline(v)) {
        save_fail_silent(s);
    }
    if (s->state != SCHEDULER_RUN || scheduler_now(s) < v->retry_us) {
        return;
    }
    v->retry_us = UINT64_MAX;
    switch (v->phase) {
    case SAVE_PHASE_UNREAD:
        if (!v->record_is_busy) {
            read_record(s);
        }
        break;
    case SAVE_PHASE_CUT:
    case SAVE_PHASE_RAISING:
        if (!v->cut_is_busy && !v->base_is_asked) {
            read_cut(s);
        }
        break;
    case SAVE_PHASE_OPENING:
    case SAVE_PHASE_CLOSING:
    case SAVE_PHASE_ENDING:
        save_write_record(s);
        break;
    case SAVE_PHASE_IDLE:
        if (s->disk != NULL && !v->record_is_busy) {
            v->retry_us = scheduler_now(s) + IDLE_LOOK_MS * 1000;
            read_record(s);
        }
        break;
    case SAVE_PHASE_OPEN:
    case SAVE_PHASE_CLOSED:
    case SAVE_PHASE_MANIFEST:
        if (v->must_read && !v->record_is_busy) {
            read_record(s);
        }
        break;
    }
}

uint64_t save_next(const struct scheduler *s)
{
    return base_min_u64(s->save->retry_us, disk_deadline(s->save));
}
