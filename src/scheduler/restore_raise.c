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
#include "scheduler/restore.h"

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
    if (data != NULL && w.cut >= m->cut && w.next >= m->next_session) {
        return false;
    }
    w.nonce = s->nonce;
    w.cut = base_max_u64(w.cut, m->cut);
    w.next = base_max_u64(w.next, m->next_session);
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
    if (w.next_lane >= m->next_lane) {
        return false;
    }
    w.nonce = s->nonce;
    w.next_lane = m->next_lane;
    wire_counters_encode(&w, b);
    return true;
}

static bool raise_restored(struct scheduler *s, const void *data, size_t size,
                           struct buf *b)
{
    const struct restore *v = s->restore;
    struct wire_restored w = {.restore = 0};
    const struct ckpt_manifest *m;
    struct wire_reader *readers;
    bool is_ours;

    /* Nobody is rolled back by what comes from elsewhere. */
    if (v->source == NULL ||
        (s->plan != NULL && v->target <= s->plan->w.restore)) {
        return false;
    }
    if (data != NULL &&
        wire_restored_decode(data, size, &s->arena, &w) == PS_OK &&
        w.restore >= v->target && strcmp(w.folder, v->folder) == 0) {
        return false;
    }
    m = &v->source->manifest;
    /* Readers of another cluster have the same worker numbers, not the same
     * data. A new store takes the checkpoint's id. */
    is_ours =
        s->state == SCHEDULER_CLUSTER || (m->cluster_high == s->cluster_high &&
                                          m->cluster_low == s->cluster_low);
    readers = arena_take(&s->arena, (m->n_sessions + 1) * sizeof(*readers));
    if (readers == NULL) {
        b->failed = true;
        return true;
    }
    for (uint32_t i = 0; i < m->n_sessions; i++) {
        readers[i] =
            (struct wire_reader){m->sessions[i].session, m->sessions[i].worker,
                                 m->sessions[i].position};
    }
    w = (struct wire_restored){.restore = v->target,
                               .cut = m->cut,
                               .folder = v->folder,
                               .readers = readers,
                               .n_readers = is_ours ? m->n_sessions : 0};
    wire_restored_encode(&w, b);
    if (!b->failed && b->size > COORD_VALUE_MAX) {
        log_write(LOG_ERROR,
                  "the positions of the readers in %s are too many "
                  "for the store: they are not told",
                  v->folder);
        buf_clear(b);
        w.n_readers = 0;
        wire_restored_encode(&w, b);
    }
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
