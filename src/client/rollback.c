/* The cluster went back to a checkpoint (protocol 9): all lanes have ended.
 * What their saved windows have is done; everything else is over, and never cut
 * anew: the rows that it was computed from are gone. Until the caller has taken
 * note nothing more is accepted, so that no gradient of the old time reaches
 * the new one. Where its reader stood the record `restored` says. */
#include "base/log.h"
#include "base/probe.h"
#include "client/session_impl.h"

static void read_position(struct session *s)
{
    s->rollback.is_reading = true;
    s->rollback.retry_us = 0;
    session_ask(s, COORD_GET, TAG_RESTORED, "restored", 0, NULL);
}

void rollback_begin(struct session *s, uint64_t restore)
{
    PROBE(rollback_begins);
    log_write(LOG_WARNING, "the cluster has gone back to a checkpoint");
    s->rollback.is_on = true;
    s->rollback.is_known = false;
    s->rollback.restore = restore;
    /* What of it is lost is not told number by number, nor what a server lost
     * that took all back with it. */
    loss_undo_all(s);
    if (!s->rollback.is_reading) {
        read_position(s);
    }
}

void rollback_settle(struct session *s)
{
    struct flight *f = s->parked.first;

    while (f != NULL) {
        if (f->kind == FLIGHT_RUN) {
            flight_settle(s, f, PS_EROLLEDBACK);
            f = s->parked.first;
        } else {
            f = f->next;
        }
    }
}

static const struct wire_reader *find_ours(const struct session *s,
                                           const struct wire_restored *w)
{
    const struct wire_reader *found = NULL;

    for (uint32_t i = 0; i < w->n_readers; i++) {
        const struct wire_reader *r = &w->readers[i];

        if (s->number != 0 && r->session == s->number) {
            return r;
        }
        if (s->options.worker >= 0 &&
            r->worker == (uint32_t)s->options.worker + 1) {
            found = r;
        }
    }
    return found;
}

void rollback_on_restored(struct session *s, const struct coord_result *r)
{
    struct rollback *b = &s->rollback;
    const struct wire_reader *ours;
    struct wire_restored w;

    b->is_reading = false;
    if (!b->is_on || b->is_known) {
        return;
    }
    arena_reset(&s->arena);
    if (r->status != PS_OK ||
        wire_restored_decode(r->data, r->size, &s->arena, &w) != PS_OK ||
        w.restore != b->restore) {
        /* Of a later restore it is only after its plan that this counts. */
        b->retry_us = session_now(s) + LIMIT_WATCH_MS * 1000;
        return;
    }
    ours = find_ours(s, &w);
    buf_clear(&b->position);
    if ((ours != NULL && buf_append(&b->position, ours->position.data,
                                    ours->position.size) != PS_OK) ||
        step_on_rollback(s, b->position.data, b->position.size) != PS_OK) {
        buf_fini(&b->position);
        buf_init(&b->position);
        b->retry_us = session_now(s) + LIMIT_WATCH_MS * 1000;
        return;
    }
    b->cut = w.cut;
    b->size = ours != NULL ? ours->size : 0;
    b->is_known = true;
    step_on_plan(s);
}

void rollback_tick(struct session *s)
{
    struct rollback *b = &s->rollback;

    if (b->retry_us != 0 && session_now(s) >= b->retry_us && !b->is_reading) {
        read_position(s);
    }
}

uint64_t rollback_next(const struct session *s)
{
    return s->rollback.retry_us != 0 ? s->rollback.retry_us : UINT64_MAX;
}

bool rollback_is_on(const struct session *s)
{
    return s->rollback.is_on;
}

bool rollback_knows_position(const struct session *s)
{
    return s->rollback.is_known;
}

const struct buf *rollback_position(const struct session *s, uint64_t *cut,
                                    uint64_t *size)
{
    *cut = s->rollback.cut;
    *size = s->rollback.size;
    return &s->rollback.position;
}

void rollback_take_note(struct session *s)
{
    s->rollback.is_on = false;
    s->rollback.retry_us = 0;
}

/* ---- a worker that begins anew ------------------------------------------ */

void rollback_look(struct session *s)
{
    if (!s->began.is_reading) {
        s->began.is_reading = true;
        s->began.status = PS_EBUSY;
        session_ask(s, COORD_GET, TAG_READERS, "readers", 0, NULL);
    }
}

void rollback_on_readers(struct session *s, const struct coord_result *r)
{
    struct began *b = &s->began;
    const struct wire_reader *ours = NULL;
    struct wire_restored w;
    int rc = r->status;

    b->is_reading = false;
    arena_reset(&s->arena);
    if (rc == PS_OK) {
        rc = wire_restored_decode(r->data, r->size, &s->arena, &w);
    }
    if (rc == PS_OK) {
        ours = find_ours(s, &w);
        rc = ours != NULL ? PS_OK : PS_ENOTFOUND;
    }
    if (rc == PS_OK) {
        buf_clear(&b->position);
        b->cut = w.cut;
        b->size = ours->size;
        rc = buf_append(&b->position, ours->position.data, ours->position.size);
    }
    b->status = rc;
}

int rollback_began(const struct session *s, const struct buf **position,
                   uint64_t *cut, uint64_t *size)
{
    *position = &s->began.position;
    *cut = s->began.cut;
    *size = s->began.size;
    return s->began.status;
}
