/* WIRE_RESTORE: a restore takes minutes, so it is asked for again and again,
 * by the same nonce, and each answer but the last says NOT_READY and how far it
 * is. Whoever asks for the same meanwhile shares it.
 *
 * One whose rows do not come, as a log is damaged or a server is away, gives
 * way to the next: nothing else would end that.
 *
 * The plan that does an order has its nonce, so it is done once: by whatever
 * scheduler it is asked for again, and whatever was ordered since. Of an order
 * that failed nothing is kept but the last one's reason: nothing was done. */
#include <stdio.h>

#include "base/probe.h"
#include "scheduler/restore.h"

PLANT_DECLARE(restore_order_forgotten);

static const struct wire_order *find_done(const struct wire_plan *w,
                                          uint64_t nonce)
{
    for (uint32_t i = 0; i < w->n_orders; i++) {
        if (w->orders[i].nonce == nonce) {
            return &w->orders[i];
        }
    }
    return NULL;
}

uint32_t restore_order_noted(const struct scheduler *s)
{
    const struct restore_order *o = &s->restore->order;
    uint32_t n = 0;

    while (n < o->n && find_done(&s->plan->w, o->nonces[n]) != NULL) {
        n++;
    }
    return n;
}

int restore_order_note(struct scheduler *s, struct wire_plan *w, bool *changed)
{
    const struct restore_order *o = &s->restore->order;
    uint32_t n = w->n_orders, drop = 0;
    struct wire_order *orders = arena_take(
        &s->arena, ((size_t)n + RESTORE_ORDERS_MAX) * sizeof(*orders));

    if (orders == NULL) {
        return PS_ENOMEM;
    }
    if (n > 0) {
        memcpy(orders, w->orders, n * sizeof(*orders));
    }
    for (uint32_t i = 0; i < o->n; i++) {
        if (find_done(w, o->nonces[i]) == NULL) {
            orders[n++] = (struct wire_order){
                .nonce = o->nonces[i],
                .restore = o->is_loading ? o->restore : w->restore,
                .plan = o->is_loading ? o->plan : s->plan->w.plan + 1,
                .folder = o->folder};
        }
    }
    *changed = n > w->n_orders;
    if (*changed) {
        drop = n > RESTORE_DONE_MAX ? n - RESTORE_DONE_MAX : 0;
        w->orders = orders + drop;
        w->n_orders = n - drop;
    }
    return PS_OK;
}

static void answer_done(struct scheduler *s, uint64_t connection,
                        const struct frame_header *h,
                        const struct wire_order *o)
{
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
    char text[256];

    if (v->phase == RESTORE_FINDING && v->find.is_checking) {
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

/* It is in the plan, and its rows may be on their way. */
static void answer_planned(struct scheduler *s, uint64_t connection,
                           const struct frame_header *h,
                           const struct wire_order *o)
{
    const char *moves = plan_owner_what_moves(s);
    char text[256];

    if (moves == NULL) {
        answer_done(s, connection, h, o);
    } else {
        snprintf(text, sizeof(text), "%.100s: %s", o->folder, moves);
        declare_answer_text(s, connection, h, PS_ENOTREADY, text);
    }
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

/* The order is in the plan, for all who share it, and rows do not come. */
static bool is_stuck(const struct scheduler *s)
{
    const struct restore_order *o = &s->restore->order;
    const struct wire_plan *w = &s->plan->w;

    if (!o->is_loading || restore_order_noted(s) < o->n) {
        return false;
    }
    for (uint32_t i = 0; i < w->n_parts; i++) {
        const struct wire_ended *e = restore_plan_ended(w, w->parts[i].lane);
        const struct wire_shard *h = member_shard(s, w->parts[i].lane);

        if ((e != NULL && member_is_given_up(s, e->server)) ||
            (h != NULL && h->load_failed != LOAD_GOES_ON)) {
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
    const struct wire_order *done;
    struct wire_restore_request m;
    bool is_open;

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
    done = find_done(&s->plan->w, m.nonce);
    if (done != NULL && !is_known(o, m.nonce)) {
        PROBE(restore_order_of_before);
        done = PLANT(restore_order_forgotten) ? NULL : done;
    }
    if (done != NULL) {
        answer_planned(s, connection, h, done);
        return;
    }
    is_open = o->is_open && !is_stuck(s);
    if (is_open && is_same(o, &m) && !is_known(o, m.nonce) &&
        o->n < RESTORE_ORDERS_MAX) {
        o->nonces[o->n++] = m.nonce;
    }
    if (is_known(o, m.nonce) && !o->is_open && o->status != PS_OK) {
        declare_answer_text(s, connection, h, o->status, o->text);
        return;
    }
    if (!is_known(o, m.nonce)) {
        if (is_open || v->phase != RESTORE_IDLE || !v->knows_newest) {
            declare_answer_text(s, connection, h, PS_ENOTREADY,
                                is_open ? "another restore is under way"
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
