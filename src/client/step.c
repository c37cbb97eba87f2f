/* Cuts as a client takes part in them (protocol 8.1).
 *
 *     steps     |---- 1 ----|---- 2 ----|---- 3 ----|
 *     `save` says cut 8           ^
 *     frames    stamped 7 ....... 7 ....|8 .........
 *     reports                                 ^ (8, position after step 2),
 *                                               when all stamped 7 are answered
 *
 * A cut is taken at a boundary only, step_boundary, or at once where nothing
 * was pushed since the last one. A client that never calls it has no reader and
 * no steps: each of its requests is one. The report is the body of
 * the session's lease.
 *
 * A cut of after a rollback must not be taken with a position of before it. So
 * none is taken until the plan that it is of is known here, and, where that
 * goes back, until the checkpoint's position is. */
#include "base/mem.h"
#include "base/probe.h"
#include "client/session_impl.h"

PLANT_DECLARE(report_before_answers);
PLANT_DECLARE(cut_within_step);
PLANT_DECLARE(position_of_now);

static bool writes(const struct request *r)
{
    for (uint32_t i = 0; r->kind == REQUEST_RUN && i < r->n_ops; i++) {
        if (r->ops[i].kind != PS_PULL) {
            return true;
        }
    }
    return false;
}

static bool all_are_answered(const struct session *s)
{
    for (const struct request *r = s->first; r != NULL; r = r->next) {
        if (r->cut < s->step.cut && writes(r)) {
            return false;
        }
    }
    return true;
}

/* What is said of ended lanes, where there are any that it was not said of. */
static uint64_t settled_now(const struct session *s)
{
    const struct wire_plan *w = s->plan != NULL ? &s->plan->w : NULL;

    return w != NULL && w->n_ended > 0 &&
                   w->ended[w->n_ended - 1].plan > s->step.settled
               ? loss_settled(s)
               : s->step.settled;
}

void step_report(struct session *s)
{
    struct step *p = &s->step;
    uint64_t settled = settled_now(s);
    struct wire_guest m = {.settled = settled};
    struct buf b;

    if ((p->reported >= p->cut && settled == p->settled) || !s->has_lease ||
        (s->number_state != NUMBER_LEASING && s->number_state != NUMBER_OPEN) ||
        (!all_are_answered(s) && !PLANT(report_before_answers))) {
        return;
    }
    if (p->cut > p->opened) {
        m.cut = p->cut;
        m.position.data = p->at_cut.data;
        m.position.size = (uint32_t)p->at_cut.size;
    }
    if (PLANT(position_of_now)) {
        m.position.data = p->position.data;
        m.position.size = (uint32_t)p->position.size;
    }
    buf_init(&b);
    wire_guest_encode(&m, &b);
    if (!b.failed && lease_set_body(&s->lease, b.data, b.size) == PS_OK) {
        PROBE(step_reports);
        p->reported = p->cut;
        p->settled = settled;
    } else {
        s->recut_us = session_now(s) + LIMIT_RETRY_MS * 1000;
    }
    buf_fini(&b);
}

/* Takes the wanted cut, if this is a boundary. */
static void take(struct session *s)
{
    struct step *p = &s->step;
    struct buf copy;

    if (p->wanted <= p->cut || s->plan == NULL || s->plan->w.plan < p->plan ||
        (s->rollback.is_on && !s->rollback.is_known) ||
        (p->has_steps && !p->is_clean && !PLANT(cut_within_step))) {
        return;
    }
    buf_init(&copy);
    if (buf_append(&copy, p->position.data, p->position.size) != PS_OK) {
        /* It is one until the next push. */
        p->retry_us = session_now(s) + LIMIT_WATCH_MS * 1000;
        buf_fini(&copy);
        return;
    }
    buf_fini(&p->at_cut);
    p->at_cut = copy;
    p->cut = p->wanted;
    step_report(s);
}

void step_on_opened(struct session *s, uint64_t cut)
{
    s->step.opened = cut;
    if (s->step.cut < cut) {
        s->step.cut = cut;
    }
    /* The table has it: a session need not report the cut it was opened at. */
    s->step.reported = cut;
    s->step.settled = 0;
}

void step_on_submit(struct session *s, struct request *r)
{
    take(s);
    r->cut = s->step.cut;
}

void step_on_taken(struct session *s, const struct request *r)
{
    /* Pulls leave nothing behind that would belong to a step. */
    if (writes(r)) {
        s->step.is_clean = false;
        s->step.has_gone_on = true;
        s->step.gone_on = r->cut;
    }
}

uint64_t step_gone_on(const struct session *s)
{
    const struct step *p = &s->step;

    if (!p->has_gone_on) {
        return 0;
    }
    return s->number_state == NUMBER_OPEN ? base_max_u64(p->gone_on, p->opened)
                                          : UINT64_MAX;
}

static int stand_at(struct session *s, const void *position, size_t size)
{
    struct step *p = &s->step;
    struct buf copy;

    buf_init(&copy);
    if (buf_append(&copy, position, size) != PS_OK) {
        buf_fini(&copy);
        return PS_ENOMEM;
    }
    buf_fini(&p->position);
    p->position = copy;
    p->is_clean = true;
    return PS_OK;
}

int step_boundary(struct session *s, const void *position, size_t size)
{
    int rc;

    if (s->rollback.is_on) {
        PROBE(step_of_before_rollback);
        s->step.has_steps = true;
        return PS_OK; /* of steps that are gone, as its next push will say */
    }
    rc = stand_at(s, position, size);
    if (rc == PS_OK) {
        s->step.has_steps = true;
        s->step.has_gone_on = true;
        s->step.gone_on = s->step.cut;
        take(s);
    }
    return rc;
}

int step_on_rollback(struct session *s, const void *position, size_t size)
{
    return stand_at(s, position, size);
}

void step_on_plan(struct session *s)
{
    take(s);
}

/* ---- the record `save` -------------------------------------------------- */

static void watch(struct session *s)
{
    if (!s->step.is_watching) {
        s->step.is_watching = true;
        session_ask(s, COORD_WATCH, TAG_SAVE, "save", s->step.version, NULL);
    }
}

/* A watch of what is not there has no answer, and any is late by the time
 * between two looks. */
void step_save_look(struct session *s)
{
    s->step.is_known = false;
    s->step.n_reads++;
    session_ask(s, COORD_GET, TAG_SAVE, "save", 0, NULL);
}

void step_start(struct session *s)
{
    step_save_look(s);
}

static void copy_words(char *to, size_t size, const char *from)
{
    size_t n = base_min_u64(strlen(from), size - 1);

    memcpy(to, from, n);
    to[n] = '\0';
}

/* How the save of a ticket ended that others have followed. PS_ENOMEM. */
static int look_back(struct session *s, uint64_t ticket,
                     struct ps_save_state *out)
{
    struct wire_save w;
    int rc;

    arena_reset(&s->arena);
    rc = wire_save_decode(s->step.record.data, s->step.record.size, &s->arena,
                          &w);
    for (uint32_t i = 0; rc == PS_OK && i < w.n_asked; i++) {
        const struct wire_asked *a = &w.asked[i];

        if (a->ticket == ticket) {
            out->state = (int)a->state;
            out->cut = a->cut;
            out->rows = a->rows;
            out->rows_done = a->state == SAVE_DONE ? a->rows : 0;
            copy_words(out->folder, sizeof(out->folder), a->folder);
            copy_words(out->why, sizeof(out->why), a->why);
        }
    }
    return rc;
}

/* Requests that wait for the end of a save. */
static void settle_saves(struct session *s)
{
    const struct ps_save_state *now = &s->step.save;
    struct request *next;

    for (struct request *r = s->first; r != NULL; r = next) {
        bool is_now = now->ticket == r->ticket;

        next = r->next;
        if (r->kind != REQUEST_SAVE || r->ticket == 0 ||
            now->ticket < r->ticket) {
            continue;
        }
        if (is_now) {
            *r->save = *now;
        } else if (look_back(s, r->ticket, r->save) != PS_OK) {
            s->step.retry_us = session_now(s) + LIMIT_WATCH_MS * 1000;
            return;
        }
        if (r->save->state == PS_SAVE_FAILED) {
            r->status = PS_EIO;
        } else if (r->save->state == PS_SAVE_CANCELED) {
            r->status = PS_ECANCELED;
        } else if (r->save->state != PS_SAVE_DONE) {
            if (is_now) {
                continue;
            }
            r->status = PS_EUNSURE;
            copy_words(r->save->why, sizeof(r->save->why),
                       "many saves have followed: look at the checkpoints");
        }
        if (!is_now) {
            PROBE(step_learns_the_end_late);
        }
        copy_words(r->text, sizeof(r->text), r->save->why);
        request_settle(r);
    }
}

void step_on_save(struct session *s, const struct coord_result *r)
{
    struct step *p = &s->step;
    struct wire_save w;

    if (r->op == COORD_WATCH) {
        p->is_watching = false;
    } else {
        p->n_reads--;
    }
    if (r->status == PS_OK && r->version > p->version) {
        arena_reset(&s->arena);
        buf_clear(&p->record);
        if (wire_save_decode(r->data, r->size, &s->arena, &w) != PS_OK ||
            buf_append(&p->record, r->data, r->size) != PS_OK) {
            p->retry_us = session_now(s) + LIMIT_WATCH_MS * 1000;
            return;
        }
        p->version = r->version;
        p->wanted = base_max_u64(p->wanted, w.cut);
        if (w.oldest > p->oldest) {
            p->oldest = w.oldest;
            loss_ask_all(s); /* some of it can be lost no more */
        }
        p->plan = w.plan;
        if (s->plan != NULL && s->plan->w.plan < w.plan) {
            PROBE(step_waits_for_plan);
            session_want_plan(s);
        }
        p->save.ticket = w.ticket;
        p->save.cut = w.cut;
        p->save.state = (int)w.state;
        p->save.rows = w.rows;
        p->save.rows_done = w.rows_done;
        copy_words(p->save.name, sizeof(p->save.name), w.name);
        copy_words(p->save.folder, sizeof(p->save.folder), w.folder);
        copy_words(p->save.why, sizeof(p->save.why), w.why);
        take(s);
        settle_saves(s);
    }
    if (r->status == PS_OK || r->status == PS_ENOTFOUND) {
        p->is_known = p->is_known || (r->op == COORD_GET && p->n_reads == 0);
        watch(s);
    } else {
        p->retry_us = session_now(s) + LIMIT_WATCH_MS * 1000;
    }
}

void step_tick(struct session *s)
{
    struct step *p = &s->step;

    if (p->retry_us != 0 && session_now(s) >= p->retry_us) {
        p->retry_us = 0;
        take(s);
        settle_saves(s);
        watch(s);
        if (!p->is_known && p->n_reads == 0) {
            step_save_look(s);
        }
    }
}

uint64_t step_next(const struct session *s)
{
    return s->step.retry_us != 0 ? s->step.retry_us : UINT64_MAX;
}

void step_on_refusal(struct session *s, struct request *r)
{
    copy_words(r->save->why, sizeof(r->save->why), r->text);
    copy_words(s->step.save.why, sizeof(s->step.save.why), r->text);
}

void step_on_ticket(struct session *s, struct request *r, uint64_t ticket)
{
    r->ticket = ticket;
    r->save->ticket = ticket;
    settle_saves(s);
}

bool step_save_is_known(const struct session *s)
{
    return s->step.is_known;
}

void step_save_state(const struct session *s, struct ps_save_state *out)
{
    *out = s->step.save;
}

int step_save_of(const struct request *r, struct ps_save_state *out)
{
    const struct ps_save_state *now = &r->session->step.save;

    if (r->kind != REQUEST_SAVE) {
        return PS_EARGUMENT;
    }
    *out = !r->has_settled && r->ticket != 0 && now->ticket == r->ticket
               ? *now
               : *r->save;
    return PS_OK;
}
