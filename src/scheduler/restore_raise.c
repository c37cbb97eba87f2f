/* What a checkpoint has numbered is not numbered again (protocol 1, 9): before
 * anything of it is served, the store's counters are raised above its own, one
 * record after another, each by compare-and-swap and only upwards.
 *
 *     save      first: shards take frames of a cut only when it says so
 *     sessions  the cut, and the next session
 *     counters  the next lane
 *     restored  where the readers of the cut stood, for clients that learn from
 *               the plan that they were rolled back
 */
#include "base/log.h"
#include "base/probe.h"
#include "scheduler/readers.h"
#include "scheduler/restore.h"

PLANT_DECLARE(counters_of_checkpoint);
PLANT_DECLARE(sessions_of_checkpoint);

enum raising {
    RAISING_SAVE,
    RAISING_SESSIONS,
    RAISING_COUNTERS,
    RAISING_RESTORED,
    RAISING_DONE
};

static const char *const keys[] = {"save", "sessions", "counters", "restored"};

/* Answers to a former restore are not taken for this one's. */
static uint64_t tag_of(const struct restore *v)
{
    return TAG_RESTORE | (uint64_t)v->raising << 8 | v->raise_serial << 16;
}

static void read_record(struct scheduler *s)
{
    struct restore *v = s->restore;

    if (v->raising == RAISING_DONE) {
        restore_is_raised(s);
        return;
    }
    scheduler_ask(s, COORD_GET, tag_of(v), keys[v->raising], 0, NULL);
}

void restore_raise_begin(struct scheduler *s)
{
    s->restore->raising = RAISING_SAVE;
    s->restore->raise_serial++;
    read_record(s);
}

void restore_raise_again(struct scheduler *s)
{
    read_record(s);
}

static void next(struct scheduler *s)
{
    s->restore->raising++;
    read_record(s);
}

/* What `now` is raised to; the planted fault takes the checkpoint's number. */
static uint64_t above(uint64_t now, uint64_t then)
{
    return PLANT(counters_of_checkpoint) ? then : base_max_u64(now, then);
}

/* The sessions that were open at the cut, which are not open now. */
static void plant_sessions(struct scheduler *s, struct wire_sessions *w)
{
    const struct ckpt *c = s->restore->source;
    uint32_t n = c != NULL ? c->manifest.n_sessions : 0;
    struct wire_session *open =
        arena_take(&s->arena, ((size_t)n + 1) * sizeof(*open));

    for (uint32_t i = 0; i < n && open != NULL; i++) {
        open[i] =
            (struct wire_session){.session = c->manifest.sessions[i].session,
                                  .worker = c->manifest.sessions[i].worker,
                                  .cut = c->manifest.cut};
        w->open = open;
        w->n_open = i + 1;
    }
}

/* The save that is said to be the last one: this checkpoint. A root where none
 * is good has only its numbers. */
static bool raise_save(struct scheduler *s, const void *data, size_t size,
                       struct buf *b)
{
    const struct restore *v = s->restore;
    struct wire_save w = {.nonce = 0};
    char folder[CKPT_NAME_MAX + 1];

    if (data != NULL && wire_save_decode(data, size, &s->arena, &w) != PS_OK) {
        b->failed = true;
        return true;
    }
    if (w.cut >= v->marks.cut) {
        return false;
    }
    ckpt_folder_name(v->marks.cut, 0, false, folder);
    w.nonce = s->nonce;
    w.ticket++;
    w.cut = v->marks.cut;
    w.state = v->source != NULL ? SAVE_DONE : SAVE_CANCELED;
    w.plan = 0;
    w.name = v->source != NULL ? v->source->manifest.name : "";
    w.folder = v->source != NULL ? v->folder : folder;
    w.why = v->source != NULL ? "" : "the folder has no good checkpoint";
    w.rows = 0;
    w.rows_done = 0;
    wire_save_encode(&w, b);
    return true;
}

static bool raise_sessions(struct scheduler *s, const void *data, size_t size,
                           struct buf *b)
{
    const struct restore_marks *m = &s->restore->marks;
    struct wire_sessions w = {.cut = 1, .next = 1};

    if (data != NULL &&
        wire_sessions_decode(data, size, &s->arena, &w) != PS_OK) {
        b->failed = true;
        return true;
    }
    if (PLANT(sessions_of_checkpoint)) {
        plant_sessions(s, &w);
    } else if (data != NULL && w.cut == above(w.cut, m->cut) &&
               w.next == above(w.next, m->next_session)) {
        return false;
    }
    w.nonce = s->nonce;
    w.cut = above(w.cut, m->cut);
    w.next = above(w.next, m->next_session);
    wire_sessions_encode(&w, b);
    return true;
}

static bool raise_counters(struct scheduler *s, const void *data, size_t size,
                           struct buf *b)
{
    const struct restore_marks *m = &s->restore->marks;
    struct wire_counters w = {.next_lane = 1};

    if (data != NULL &&
        wire_counters_decode(data, size, &s->arena, &w) != PS_OK) {
        b->failed = true;
        return true;
    }
    if (w.next_lane == above(w.next_lane, m->next_lane)) {
        return false;
    }
    w.nonce = s->nonce;
    w.next_lane = above(w.next_lane, m->next_lane);
    wire_counters_encode(&w, b);
    return true;
}

static bool raise_restored(struct scheduler *s, const void *data, size_t size,
                           struct buf *b)
{
    const struct restore *v = s->restore;
    struct wire_restored w = {.restore = 0};
    const struct ckpt_manifest *m;
    bool is_ours;

    /* Nobody is rolled back by what comes from elsewhere. */
    if (v->source == NULL ||
        (s->plan != NULL && v->target <= s->plan->w.restore)) {
        return false;
    }
    m = &v->source->manifest;
    /* Readers of another cluster have the same worker numbers, not the same
     * data. A new store takes the checkpoint's id. */
    is_ours =
        s->state == SCHEDULER_CLUSTER || (m->cluster_high == s->cluster_high &&
                                          m->cluster_low == s->cluster_low);
    readers_note(s, is_ours ? m : NULL, m->cut, v->target, v->folder);
    if (data != NULL &&
        wire_restored_decode(data, size, &s->arena, &w) == PS_OK &&
        w.restore >= v->target && strcmp(w.folder, v->folder) == 0) {
        return false;
    }
    readers_encode(s, is_ours ? m : NULL, m->cut, v->target, v->folder, b);
    return true;
}

static bool raise(struct scheduler *s, const void *data, size_t size,
                  struct buf *b)
{
    switch ((enum raising)s->restore->raising) {
    case RAISING_SAVE:
        return raise_save(s, data, size, b);
    case RAISING_SESSIONS:
        return raise_sessions(s, data, size, b);
    case RAISING_COUNTERS:
        return raise_counters(s, data, size, b);
    case RAISING_RESTORED:
        return raise_restored(s, data, size, b);
    case RAISING_DONE:
        break;
    }
    return false;
}

static void on_read(struct scheduler *s, const struct coord_result *r)
{
    struct restore *v = s->restore;
    bool is_there = r->status == PS_OK;
    struct buf b;

    arena_reset(&s->arena);
    buf_init(&b);
    if (!raise(s, is_there ? r->data : NULL, is_there ? r->size : 0, &b)) {
        next(s);
    } else if (b.failed) {
        v->retry_us = scheduler_now(s) + LIMIT_WATCH_MS * 1000;
    } else {
        scheduler_ask(s, COORD_CAS, tag_of(v), keys[v->raising],
                      is_there ? r->version : 0, &b);
    }
    buf_fini(&b);
}

void restore_raise_on_coord(struct scheduler *s, const struct coord_result *r)
{
    struct restore *v = s->restore;

    if (v->phase != RESTORE_RAISING || r->tag != tag_of(v)) {
        return;
    }
    if (r->op == COORD_GET &&
        (r->status == PS_OK || r->status == PS_ENOTFOUND)) {
        on_read(s, r);
    } else if (r->op == COORD_CAS && r->status == PS_OK) {
        next(s);
    } else {
        /* Another's write came first, or nobody knows: it is read again. */
        v->retry_us = scheduler_now(s) +
                      (r->status == PS_ECONFLICT ? 0 : LIMIT_WATCH_MS * 1000);
    }
}
