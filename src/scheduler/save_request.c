/* Who asks for a save, or for its end. A save is shared by those who ask for
 * the same - its name, and whether it is whole - until its sessions have
 * reported; who has gone on beyond its cut wants more than it has. Any other is
 * told to ask again, and begins the next one.
 *
 * An answer may be lost, and the scheduler with it. So each order has a nonce,
 * and who ordered what is in the record before it is answered: whoever is asked
 * again by that nonce knows its ticket, and no second save is made. Clients see
 * the record now and then, so how the save ended stays beside the order when
 * another has begun. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/probe.h"
#include "scheduler/save.h"

PLANT_DECLARE(save_order_forgotten);
PLANT_DECLARE(save_shared_past_its_cut);

/* 0: it is not among the last orders. */
static uint64_t find_ticket(const struct save *v, uint64_t nonce)
{
    for (uint32_t i = 0; i < v->n_asked && nonce != 0; i++) {
        if (v->asked[i].nonce == nonce) {
            return v->asked[i].ticket;
        }
    }
    return 0;
}

static bool is_known(const struct save *v, uint64_t nonce)
{
    return find_ticket(v, nonce) != 0 && !PLANT(save_order_forgotten);
}

/* The order gets the ticket of the save that is under way. */
static void note_order(struct save *v, uint64_t nonce)
{
    v->asks++;
    if (nonce == 0 || find_ticket(v, nonce) != 0) {
        return;
    }
    if (v->n_asked == SAVE_ASKED_MAX) {
        memmove(v->asked, v->asked + 1, --v->n_asked * sizeof(*v->asked));
    }
    v->asked[v->n_asked++] =
        (struct save_order){.nonce = nonce, .ticket = v->ticket};
}

void save_put_orders(struct save *v, struct wire_save *w,
                     struct wire_asked room[SAVE_ASKED_MAX])
{
    for (uint32_t i = 0; i < v->n_asked; i++) {
        struct save_order *o = &v->asked[i];

        if (o->ticket == w->ticket) {
            o->cut = w->cut;
            o->state = w->state;
            o->rows = w->rows;
            snprintf(o->folder, sizeof(o->folder), "%s", w->folder);
            snprintf(o->why, sizeof(o->why), "%s", w->why);
        }
        room[i] = (struct wire_asked){.nonce = o->nonce,
                                      .ticket = o->ticket,
                                      .cut = o->cut,
                                      .state = o->state,
                                      .rows = o->rows,
                                      .folder = o->folder,
                                      .why = o->why};
    }
    w->asked = room;
    w->n_asked = v->n_asked;
}

void save_take_orders(struct save *v, const struct wire_save *w)
{
    v->n_asked = (uint32_t)base_min_u64(w->n_asked, SAVE_ASKED_MAX);
    for (uint32_t i = 0; i < v->n_asked; i++) {
        const struct wire_asked *from = &w->asked[w->n_asked - v->n_asked + i];
        struct save_order *o = &v->asked[i];

        *o = (struct save_order){.nonce = from->nonce,
                                 .ticket = from->ticket,
                                 .cut = from->cut,
                                 .state = from->state,
                                 .rows = from->rows};
        snprintf(o->folder, sizeof(o->folder), "%s", from->folder);
        snprintf(o->why, sizeof(o->why), "%s", from->why);
    }
}

static void answer_ticket(struct scheduler *s, const struct save_waiter *w)
{
    uint64_t ticket = find_ticket(s->save, w->nonce);
    struct wire_ticket m = {.ticket = ticket != 0 ? ticket : s->save->ticket};
    struct buf b;

    buf_init(&b);
    wire_ticket_encode(&m, &b);
    declare_answer_body(s, w->connection, &w->header, PS_OK, &b);
    buf_fini(&b);
}

void save_answer_waiters(struct scheduler *s)
{
    struct save_waiter **at = &s->save->waiters;

    while (*at != NULL) {
        struct save_waiter *w = *at;

        if (w->ask > s->save->asks_written) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        if (map_get(&s->connections, w->connection) != NULL) {
            answer_ticket(s, w);
        }
        mem_free(w);
    }
}

bool save_has_new_order(const struct scheduler *s)
{
    const struct save_waiter *w = s->save->waiters;

    while (w != NULL && find_ticket(s->save, w->nonce) != 0) {
        w = w->next;
    }
    return w != NULL;
}

void save_ask_anew(struct scheduler *s)
{
    for (struct save_waiter *w = s->save->waiters; w != NULL; w = w->next) {
        if (find_ticket(s->save, w->nonce) != 0) {
            w->ask = 0;
        } else {
            note_order(s->save, w->nonce);
            w->ask = s->save->asks;
        }
    }
    save_answer_waiters(s);
}

static bool is_the_same(const struct save *v, const struct wire_save_request *m)
{
    return strcmp(v->name, m->name) == 0 &&
           v->is_whole_asked == (m->whole != 0);
}

/* NULL, or why it cannot be asked for at all. */
static const char *refusal(const struct scheduler *s,
                           const struct wire_save_request *m)
{
    if (s->disk == NULL) {
        return "this cluster has no place for checkpoints: start the scheduler "
               "with -cp URL";
    }
    if (strlen(m->name) > LIMIT_NAME_BYTES) {
        return "a name has at most 255 bytes";
    }
    return NULL;
}

/* NULL, or why the order is to be asked again. */
static const char *what_comes_first(const struct scheduler *s,
                                    const struct wire_save_request *m)
{
    const struct save *v = s->save;

    if (v->phase == SAVE_PHASE_UNREAD) {
        return "the store is being read";
    }
    if (is_known(v, m->nonce)) {
        return NULL;
    }
    if (v->phase > SAVE_PHASE_OPEN) {
        PROBE(save_is_too_late_to_share);
        return "a save is ending";
    }
    if (v->phase == SAVE_PHASE_IDLE) {
        return save_what_is_missing(s);
    }
    if (v->phase > SAVE_PHASE_CUT && m->cut >= v->cut &&
        !PLANT(save_shared_past_its_cut)) {
        PROBE(save_is_without_the_last_step);
        return "a save of before this client's last step is under way";
    }
    return is_the_same(v, m) ? NULL : "another save is under way";
}

static void take_order(struct scheduler *s, const struct wire_save_request *m,
                       struct save_waiter *w)
{
    struct save *v = s->save;

    w->next = v->waiters;
    v->waiters = w;
    if (is_known(v, m->nonce)) {
        PROBE(save_asked_again);
    } else {
        if (v->phase == SAVE_PHASE_IDLE) {
            save_begin(s, m->name, m->whole != 0);
        } else {
            PROBE(save_shares_ticket);
        }
        note_order(v, m->nonce);
    }
    w->ask = v->asks;
    if (v->phase > SAVE_PHASE_CUT && v->asks > v->asks_in_write) {
        save_write_record(s);
    }
    save_answer_waiters(s);
}

void save_on_request(struct scheduler *s, uint64_t connection,
                     const struct frame_header *h, struct frame *frame)
{
    struct wire_save_request m;
    struct save_waiter *w;
    const char *first;

    if (wire_save_request_decode(frame_body(frame), frame->body_bytes,
                                 &s->arena, &m) != PS_OK) {
        declare_answer_text(s, connection, h, PS_EPROTOCOL,
                            "a SAVE that cannot be read");
        return;
    }
    if (refusal(s, &m) != NULL) {
        declare_answer_text(s, connection, h, PS_EARGUMENT, refusal(s, &m));
        return;
    }
    first = what_comes_first(s, &m);
    if (first != NULL) {
        declare_answer_text(s, connection, h, PS_ENOTREADY, first);
        return;
    }
    w = mem_try_zero(sizeof(*w));
    if (w == NULL) {
        declare_answer_text(s, connection, h, PS_ENOMEM, "out of memory");
        return;
    }
    *w = (struct save_waiter){
        .nonce = m.nonce, .connection = connection, .header = *h};
    take_order(s, &m, w);
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
    } else if (m.ticket != 0 && v->ticket == m.ticket &&
               v->phase == SAVE_PHASE_IDLE && v->state == SAVE_CANCELED) {
        declare_answer_text(s, connection, h, PS_OK, ""); /* asked again */
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
