/* Two records have the positions of a checkpoint's readers: `restored`, for
 * clients that a restore of the whole takes back, and `readers`, for workers
 * that are started anew: of the newest checkpoint when the scheduler came up,
 * or of the one that was restored since. A position is up to 64 KiB, and a
 * record has a limit; where all do not fit the largest stay out, but for their
 * sizes. */
#include "scheduler/readers.h"

#include "base/log.h"
#include "base/probe.h"
#include "scheduler/restore.h"

/* Of each reader the position, if it has at most `most` bytes. */
static void fill(struct wire_reader *readers, const struct ckpt_manifest *m,
                 uint32_t most)
{
    for (uint32_t i = 0; i < m->n_sessions; i++) {
        const struct ckpt_session *from = &m->sessions[i];

        readers[i] = (struct wire_reader){.session = from->session,
                                          .worker = from->worker,
                                          .size = from->position.size};
        if (from->position.size <= most) {
            readers[i].position = from->position;
        }
    }
}

void readers_encode(struct scheduler *s, const struct ckpt_manifest *m,
                    uint64_t cut, uint64_t restore, const char *folder,
                    struct buf *out)
{
    uint32_t n = m != NULL ? m->n_sessions : 0;
    struct wire_reader *readers =
        arena_take(&s->arena, ((size_t)n + 1) * sizeof(*readers));
    struct wire_restored w = {.restore = restore,
                              .cut = cut,
                              .folder = folder,
                              .readers = readers,
                              .n_readers = n};
    uint32_t most = UINT32_MAX;

    if (readers == NULL) {
        out->failed = true;
        return;
    }
    for (;;) {
        if (m != NULL) {
            fill(readers, m, most);
        }
        wire_restored_encode(&w, out);
        if (out->failed || out->size <= COORD_VALUE_MAX || most == 0) {
            return;
        }
        most = (uint32_t)base_min_u64(most, LIMIT_POSITION_BYTES) / 2;
        log_write(LOG_WARNING,
                  "the readers of %s are too many for the store: positions of "
                  "more than %u bytes are not told",
                  folder, (unsigned)most);
        buf_clear(out);
    }
}

void readers_note(struct scheduler *s, const struct ckpt_manifest *m,
                  uint64_t cut, uint64_t restore, const char *folder)
{
    buf_clear(&s->readers);
    s->readers_are_new = true;
    readers_encode(s, m, cut, restore, folder, &s->readers);
    if (s->readers.failed) {
        buf_fini(&s->readers);
        buf_init(&s->readers);
        log_write(LOG_ERROR, "out of memory: the readers of %s are not told",
                  folder);
    }
    readers_go_on(s);
}

void readers_go_on(struct scheduler *s)
{
    if (s->readers.size > 0 && !s->readers_in_flight) {
        s->readers_in_flight = true;
        scheduler_ask(s, COORD_GET, TAG_READERS, "readers", 0, NULL);
    }
}

/* A worker that begins with the cluster would otherwise be told of what was
 * before, and go on from there over rows of another time. */
int readers_are_told(const struct scheduler *s, const char **why)
{
    const char *restores = restore_is_under_way(s);

    if (s->state == SCHEDULER_RUN && restores == NULL &&
        s->restore->knows_newest && s->readers.size == 0) {
        *why = "";
        return PS_OK;
    }
    *why = s->state != SCHEDULER_RUN ? s->says
           : restores != NULL        ? restores
                              : "it looks which checkpoint the cluster is of";
    return PS_ENOTREADY;
}

void readers_on_coord(struct scheduler *s, const struct coord_result *r)
{
    s->readers_in_flight = false;
    if (s->readers.size == 0) {
        return;
    }
    if (r->op == COORD_CAS ||
        (r->status == PS_OK && r->size == s->readers.size &&
         memcmp(r->data, s->readers.data, r->size) == 0)) {
        if (r->status == PS_OK && (r->op == COORD_GET || !s->readers_are_new)) {
            buf_clear(&s->readers);
        }
        return; /* else it is tried again at the next look at the store */
    }
    if (r->status == PS_OK || r->status == PS_ENOTFOUND) {
        PROBE(readers_are_written);
        s->readers_in_flight = true;
        s->readers_are_new = false;
        scheduler_ask(s, COORD_CAS, TAG_READERS, "readers",
                      r->status == PS_OK ? r->version : 0, &s->readers);
    }
}
