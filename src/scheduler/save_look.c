/* What a save waits for, as members and guests say it: the reports of the
 * sessions that were open at the cut, then the files of all lanes. */
#include <stdio.h>

#include "base/mem.h"
#include "base/probe.h"
#include "scheduler/save.h"

/* How often the record says how far it is. */
enum { TELL_MS = 500 };

PLANT_DECLARE(save_done_without_sessions);
PLANT_DECLARE(manifest_before_shards);
PLANT_DECLARE(save_forgets_session);

void save_on_table(struct scheduler *s, const struct wire_sessions *w)
{
    struct save *v = s->save;

    if (v->phase != SAVE_PHASE_OPEN) {
        return;
    }
    for (uint32_t i = 0; i < v->n_reporters; i++) {
        bool is_open = v->reporters[i].has_reported;

        for (uint32_t k = 0; k < w->n_open && !is_open; k++) {
            is_open = w->open[k].session == v->reporters[i].session;
        }
        if (!is_open && PLANT(save_forgets_session)) {
            v->reporters[i].has_reported = true;
        } else if (!is_open) {
            PROBE(save_session_gone);
            /* Of those that are closed in order there may be any number; how
             * long it may take is bounded all the same. */
            save_begin_again(s, v->reporters[i].is_dead,
                             "a session ended before it had reported");
            return;
        }
    }
}

/* Takes reports over; true when all are there. */
static bool all_have_reported(struct scheduler *s)
{
    struct save *v = s->save;
    bool all = true;

    for (uint32_t i = 0; i < v->n_reporters; i++) {
        struct save_reporter *r = &v->reporters[i];
        const struct guest *g = map_get(&s->guests, r->session);

        r->is_dead = r->is_dead || (g != NULL && g->is_dead);
        if (!r->has_reported && g != NULL && g->cut >= v->cut) {
            buf_clear(&r->position);
            r->has_reported = buf_append(&r->position, g->position.data,
                                         g->position.size) == PS_OK;
        }
        all = all && r->has_reported;
    }
    return all || PLANT(save_done_without_sessions);
}

/* Rows of all shards; true when all of them have finished. *failed is the
 * record of one that has not made it. */
static bool look_at_shards(struct scheduler *s,
                           const struct wire_shard **failed)
{
    struct save *v = s->save;
    bool all = true;

    uint64_t n_done = 0;

    v->rows = 0;
    v->rows_done = 0;
    *failed = NULL;
    for (uint32_t i = 0; i < s->plan->w.n_lanes; i++) {
        const struct wire_shard *h = member_shard(s, s->plan->w.lanes[i].lane);

        if (h == NULL || h->cut != v->cut) {
            all = false;
            continue;
        }
        v->rows += h->rows;
        v->rows_done += h->rows_done;
        n_done += h->saved == SAVED_DONE;
        all = all && h->saved == SAVED_DONE;
        if (h->saved == SAVED_FAILED || h->saved == SAVED_NEEDS_WHOLE) {
            *failed = h;
        }
    }
    if (v->progress != v->rows_done + n_done) {
        v->progress = v->rows_done + n_done;
        v->heard_us = scheduler_now(s);
    }
    return all;
}

static bool is_silent(const struct scheduler *s, uint64_t ms)
{
    return scheduler_now(s) >= s->save->heard_us + ms * 1000;
}

static bool has_waited(const struct scheduler *s)
{
    return s->options.save_wait_ms != 0 &&
           scheduler_now(s) >=
               s->save->open_us + s->options.save_wait_ms * 1000;
}

/* Who has not reported, as far as there is room. */
static void name_silent(const struct scheduler *s, char *out, size_t size)
{
    const struct save *v = s->save;
    size_t n = (size_t)snprintf(
        out, size, "after %llu s these have not reached the cut:",
        (unsigned long long)(s->options.save_wait_ms / 1000));
    uint32_t more = 0;

    PROBE(save_waited_long);
    for (uint32_t i = 0; i < v->n_reporters; i++) {
        const struct save_reporter *r = &v->reporters[i];

        if (r->has_reported) {
            continue;
        }
        if (n + 64 > size) {
            more++;
        } else if (r->worker == UINT32_MAX || r->worker == 0) {
            n += (size_t)snprintf(out + n, size - n, " session %llu",
                                  (unsigned long long)r->session);
        } else {
            n += (size_t)snprintf(
                out + n, size - n, " session %llu (worker %u)",
                (unsigned long long)r->session, (unsigned)(r->worker - 1));
        }
    }
    if (more > 0) {
        snprintf(out + n, size - n, " and %u more", (unsigned)more);
    }
}

/* All lanes are done, and the disk still has the manifest of the save before;
 * or a server's disk hangs. True when that has ended it. */
static bool stands_still(struct scheduler *s, bool all)
{
    char why[120];

    if (s->save->phase != SAVE_PHASE_CLOSED) {
        return false;
    }
    if (all && is_silent(s, LIMIT_DISK_MS)) {
        save_fail_silent(s);
        return true;
    }
    if (is_silent(s, LIMIT_SAVE_STILL_MS)) {
        snprintf(why, sizeof(why),
                 "for %d minutes no server has got on with its files",
                 LIMIT_SAVE_STILL_MS / 60000);
        save_fail(s, why);
        return true;
    }
    return false;
}

void save_look(struct scheduler *s)
{
    struct save *v = s->save;
    const struct wire_shard *failed;
    char why[200];
    bool all;

    save_prune_look(s);
    if (v->phase != SAVE_PHASE_OPEN && v->phase != SAVE_PHASE_CLOSED) {
        return;
    }
    if (plan_owner_lanes_differ(s)) {
        PROBE(save_lane_gone);
        save_begin_again(s, true, "a server has ended, or came");
        return;
    }
    all = look_at_shards(s, &failed) || PLANT(manifest_before_shards);
    if (failed != NULL) {
        snprintf(why, sizeof(why), "lane %llu: %.150s",
                 (unsigned long long)failed->lane, failed->why);
        if (failed->saved == SAVED_NEEDS_WHOLE) {
            save_base_refused(s);
            save_begin_again(s, true, why);
        } else {
            save_fail(s, why);
        }
    } else if (v->phase == SAVE_PHASE_OPEN && all_have_reported(s)) {
        v->phase = SAVE_PHASE_CLOSING;
        v->state = SAVE_CLOSED;
        save_write_record(s);
    } else if (v->phase == SAVE_PHASE_CLOSED && all && !v->manifest_is_lent) {
        v->phase = SAVE_PHASE_MANIFEST;
        save_files_write(s, PLANT(manifest_before_shards));
    } else if (v->phase == SAVE_PHASE_OPEN && has_waited(s)) {
        name_silent(s, why, sizeof(why));
        save_fail(s, why);
    } else if (!stands_still(s, all) &&
               scheduler_now(s) >= v->told_us + TELL_MS * 1000) {
        save_write_record(s);
    }
}
