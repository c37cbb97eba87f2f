/* WIRE_RESTORE: a restore takes minutes, so it is asked for again and again,
 * by the same nonce, and each answer but the last says NOT_READY and how far it
 * is. Whoever asks for the same meanwhile shares it. */
#include <stdio.h>

#include "scheduler/restore.h"

static void answer_done(struct scheduler *s, uint64_t connection,
                        const struct frame_header *h)
{
    const struct restore_order *o = &s->restore->order;
    struct wire_restore_answer a = {
        .restore = o->restore, .plan = o->plan, .folder = o->folder};
    struct buf b;

    buf_init(&b);
    wire_restore_answer_encode(&a, &b);
    declare_answer_body(s, connection, h, PS_OK, &b);
    buf_fini(&b);
}

static void answer_progress(struct scheduler *s, uint64_t connection,
                            const struct frame_header *h)
{
    const struct restore *v = s->restore;
    const char *moves;
    char text[256];

    if (v->order.is_loading) {
        moves = plan_owner_what_moves(s);
        snprintf(text, sizeof(text), "%s: %s", v->order.folder,
                 moves != NULL ? moves : "loaded");
    } else if (v->phase == RESTORE_FINDING && v->find.is_checking) {
        const struct restore_check *k = &v->find.check;

        snprintf(text, sizeof(text), "%s: %.0f %% verified", v->find.folder,
                 k->total == 0 ? 0.0
                               : 100.0 * (double)k->done / (double)k->total);
    } else {
        snprintf(text, sizeof(text), "%s",
                 v->phase == RESTORE_FINDING ? "looks at the checkpoints"
                                             : s->says);
    }
    declare_answer_text(s, connection, h, PS_ENOTREADY, text);
}

static bool is_known(const struct restore_order *o, uint64_t nonce)
{
    for (uint32_t i = 0; i < o->n; i++) {
        if (o->nonces[i] == nonce) {
            return true;
        }
    }
    return false;
}

static bool is_same(const struct restore_order *o,
                    const struct wire_restore_request *m)
{
    bool same = o->n_renames == m->n_renames && strcmp(o->name, m->name) == 0;

    for (uint32_t i = 0; i < m->n_renames && same; i++) {
        same = strcmp(o->renames[i].from, m->renames[i].from) == 0 &&
               strcmp(o->renames[i].to, m->renames[i].to) == 0;
    }
    return same;
}

/* Keeps what is asked for: the frame goes. */
static int keep_order(struct restore *v, const struct wire_restore_request *m,
                      struct frame *frame)
{
    struct restore_order *o = &v->order;
    struct wire_restore_request copy;
    void *bytes;

    arena_reset(&o->arena);
    o->n = 0;
    bytes = arena_take(&o->arena, frame->body_bytes + 1);
    if (bytes == NULL) {
        return PS_ENOMEM;
    }
    memcpy(bytes, frame_body(frame), frame->body_bytes);
    if (wire_restore_request_decode(bytes, frame->body_bytes, &o->arena,
                                    &copy) != PS_OK) {
        return PS_ENOMEM;
    }
    memcpy(o->name, m->name, strlen(m->name) + 1);
    o->renames = copy.renames;
    o->n_renames = copy.n_renames;
    o->nonces[o->n++] = m->nonce;
    o->is_open = true;
    o->is_loading = false;
    o->folder[0] = '\0';
    o->text[0] = '\0';
    return PS_OK;
}

/* NULL, or why it cannot be taken at all. */
static const char *refusal(const struct scheduler *s,
                           const struct wire_restore_request *m)
{
    if (s->disk == NULL) {
        return "this cluster has no place for checkpoints: start the "
               "scheduler with -cp URL";
    }
    if (strlen(m->name) > LIMIT_NAME_BYTES) {
        return "a name has at most 255 bytes";
    }
    return NULL;
}

void restore_on_request(struct scheduler *s, uint64_t connection,
                        const struct frame_header *h, struct frame *frame)
{
    struct restore *v = s->restore;
    struct restore_order *o = &v->order;
    struct wire_restore_request m;

    if (frame->body_bytes > LIMIT_DECLARE_BYTES ||
        wire_restore_request_decode(frame_body(frame), frame->body_bytes,
                                    &s->arena, &m) != PS_OK) {
        declare_answer_text(s, connection, h, PS_EPROTOCOL,
                            "a RESTORE that cannot be read");
        return;
    }
    if (refusal(s, &m) != NULL) {
        declare_answer_text(s, connection, h, PS_EARGUMENT, refusal(s, &m));
        return;
    }
    if (o->is_open && is_same(o, &m) && !is_known(o, m.nonce) &&
        o->n < RESTORE_ORDERS_MAX) {
        o->nonces[o->n++] = m.nonce;
    }
    if (is_known(o, m.nonce) && !o->is_open) {
        if (o->status == PS_OK) {
            answer_done(s, connection, h);
        } else {
            declare_answer_text(s, connection, h, o->status, o->text);
        }
        return;
    }
    if (!is_known(o, m.nonce)) {
        if (o->is_open || v->phase != RESTORE_IDLE || !v->knows_newest) {
            declare_answer_text(s, connection, h, PS_ENOTREADY,
                                o->is_open ? "another restore is under way"
                                           : "the checkpoints are looked at");
            return;
        }
        if (keep_order(v, &m, frame) != PS_OK) {
            declare_answer_text(s, connection, h, PS_ENOMEM, "out of memory");
            return;
        }
        restore_begin_order(s);
    }
    answer_progress(s, connection, h);
}
