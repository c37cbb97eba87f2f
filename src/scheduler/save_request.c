/* Who asks for a save, or for its end. A save is shared by those who ask for
 * the same - its name, and whether it is whole - until its sessions have
 * reported; any other is told to ask again, and begins the next one. */
#include <string.h>

#include "base/mem.h"
#include "base/probe.h"
#include "scheduler/save.h"

static void answer_ticket(struct scheduler *s, uint64_t connection,
                          const struct frame_header *h)
{
    struct wire_ticket m = {.ticket = s->save->ticket};
    struct buf b;

    buf_init(&b);
    wire_ticket_encode(&m, &b);
    declare_answer_body(s, connection, h, PS_OK, &b);
    buf_fini(&b);
}

void save_answer_waiters(struct scheduler *s)
{
    struct save *v = s->save;

    while (v->waiters != NULL) {
        struct save_waiter *w = v->waiters;

        v->waiters = w->next;
        if (map_get(&s->connections, w->connection) != NULL) {
            answer_ticket(s, w->connection, &w->header);
        }
        mem_free(w);
    }
}

static bool is_the_same(const struct save *v, const struct wire_save_request *m)
{
    return strcmp(v->name, m->name) == 0 &&
           v->is_whole_asked == (m->whole != 0);
}

void save_on_request(struct scheduler *s, uint64_t connection,
                     const struct frame_header *h, struct frame *frame)
{
    struct save *v = s->save;
    struct wire_save_request m;
    struct save_waiter *w;

    if (wire_save_request_decode(frame_body(frame), frame->body_bytes,
                                 &s->arena, &m) != PS_OK) {
        declare_answer_text(s, connection, h, PS_EPROTOCOL,
                            "a SAVE that cannot be read");
        return;
    }
    if (s->disk == NULL) {
        declare_answer_text(s, connection, h, PS_EARGUMENT,
                            "this cluster has no place for checkpoints: start "
                            "the scheduler with -cp URL");
        return;
    }
    if (strlen(m.name) > LIMIT_NAME_BYTES) {
        declare_answer_text(s, connection, h, PS_EARGUMENT,
                            "a name has at most 255 bytes");
        return;
    }
    if (v->phase == SAVE_PHASE_UNREAD || v->phase > SAVE_PHASE_OPEN) {
        PROBE(save_is_too_late_to_share);
        declare_answer_text(s, connection, h, PS_ENOTREADY, "a save is ending");
        return;
    }
    if (v->phase != SAVE_PHASE_IDLE && !is_the_same(v, &m)) {
        declare_answer_text(s, connection, h, PS_ENOTREADY,
                            "another save is under way");
        return;
    }
    if (v->phase == SAVE_PHASE_RAISING || v->phase == SAVE_PHASE_OPEN) {
        PROBE(save_shares_ticket);
        answer_ticket(s, connection, h);
        return;
    }
    if (v->phase == SAVE_PHASE_IDLE && save_what_is_missing(s) != NULL) {
        declare_answer_text(s, connection, h, PS_ENOTREADY,
                            save_what_is_missing(s));
        return;
    }
    w = mem_try_zero(sizeof(*w));
    if (w == NULL) {
        declare_answer_text(s, connection, h, PS_ENOMEM, "out of memory");
        return;
    }
    *w = (struct save_waiter){v->waiters, connection, *h};
    v->waiters = w;
    if (v->phase == SAVE_PHASE_IDLE) {
        save_begin(s, m.name, m.whole != 0);
    }
}

void save_on_cancel(struct scheduler *s, uint64_t connection,
                    const struct frame_header *h, struct frame *frame)
{
    struct save *v = s->save;
    struct wire_ticket m;

    if (wire_ticket_decode(frame_body(frame), frame->body_bytes, &s->arena,
                           &m) != PS_OK) {
        declare_answer_text(s, connection, h, PS_EPROTOCOL,
                            "a CANCEL that cannot be read");
    } else if (v->phase == SAVE_PHASE_UNREAD) {
        declare_answer_text(s, connection, h, PS_ENOTREADY,
                            "the store is being read");
    } else if (v->phase == SAVE_PHASE_IDLE ||
               (m.ticket != 0 && v->ticket != m.ticket)) {
        declare_answer_text(s, connection, h, PS_ENOTFOUND,
                            "this save is not under way");
    } else if (save_cancel(s) != PS_OK) {
        declare_answer_text(s, connection, h, PS_EEXIST,
                            "it is as good as saved");
    } else {
        declare_answer_text(s, connection, h, PS_OK, "");
    }
}
