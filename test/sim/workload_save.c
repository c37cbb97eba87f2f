/* workload_save.c - boundaries between a client's steps, and the saves that it
 * asks for: now and then, sometimes two at once, sometimes taken back. */
#include "actor_client.h"
#include "wire/wire.h"

typedef unsigned long long ull;

static void later(struct client_actor *a, uint64_t low_us, uint64_t high_us,
                  uint64_t value)
{
    struct sim *s = a->thread->sim;

    world_push(s, s->now + world_between(s, low_us, high_us), EVENT_WORK,
               a->thread, NULL, value);
}

void workload_save_start(struct client_actor *a)
{
    if (a->work->step_us != 0) {
        later(a, 0, a->work->step_us, STEP_BOUNDARY);
    }
    later(a, SIM_S, a->work->save_us, STEP_SAVE);
    later(a, SIM_S, 2 * a->work->save_us, STEP_MOVE);
    if (a->thread->sim->has_restores && world_chance(a->thread->sim, 300000)) {
        later(a, SIM_S, 40 * SIM_S, STEP_RESTORE);
    }
}

static void come_to_boundary(struct client_actor *a)
{
    struct sim *s = a->thread->sim;
    struct place_in_work at = {.client = a->process->place->index,
                               .life = a->process->life,
                               .steps = ++a->steps};
    int rc = step_boundary(a->session, &at, sizeof(at));

    if (a->process->stepped_at == 0) {
        a->process->stepped_at = s->now;
    }
    trace_note(s, "%s comes to boundary %llu", world_name(a->process),
               (ull)a->steps);
    if (rc != PS_OK) {
        world_fail(s, "a boundary is refused: %s", ps_status_name(rc));
    }
}

void workload_save_boundary(struct client_actor *a)
{
    come_to_boundary(a);
    later(a, SIM_MS, 2 * a->work->step_us, STEP_BOUNDARY);
}

/* ---- saves ------------------------------------------------------------- */

static struct client_save *keep(struct client_actor *a, enum save_request what)
{
    struct client_save *v = world_take(a->thread->sim, sizeof(*v));

    v->what = what;
    v->next = a->saves;
    a->saves = v;
    return v;
}

static void ask(struct client_actor *a, enum save_request what)
{
    struct client_save *v = keep(a, what);
    struct ps_client_counters c;
    int rc;

    if (a->steps > 0) {
        oracle_content_on_asked(a->thread->sim, a->process, a->steps);
        session_counters(a->session, &c);
        if (session_plan(a->session) != NULL && !rollback_is_on(a->session)) {
            v->session = c.session;
            v->step = a->steps;
            v->restore = session_plan(a->session)->w.restore;
        }
    }
    rc = session_save(a->session, what == ASK_LAST_SAVE ? "last" : "",
                      &v->request);

    trace_note(a->thread->sim, "%s asks for a save", world_name(a->process));
    if (rc != PS_OK) {
        world_fail(a->thread->sim, "a save is refused: %s", ps_status_name(rc));
    }
}

void workload_save_ask(struct client_actor *a)
{
    struct sim *s = a->thread->sim;

    if (a->is_closing || !s->faults_on) {
        return;
    }
    if (a->steps > 0 && world_chance(s, 600000)) {
        come_to_boundary(a);
    }
    ask(a, ASK_SAVE);
    if (world_chance(s, 200000)) {
        ask(a, ASK_SAVE);
    }
    if (world_chance(s, 150000)) {
        later(a, SIM_MS, 3 * SIM_S, STEP_CANCEL);
    }
    later(a, 2 * SIM_S, 2 * a->work->save_us, STEP_SAVE);
}

/* Of the save that is under way, as far as this client knows. */
void workload_save_cancel(struct client_actor *a)
{
    struct ps_save_state now;
    struct client_save *v;
    int rc;

    if (a->is_closing || !a->thread->sim->faults_on) {
        return;
    }
    step_save_state(a->session, &now);
    v = keep(a, ASK_CANCEL);
    rc = session_cancel_save(a->session, now.ticket, &v->request);
    if (rc != PS_OK) {
        world_fail(a->thread->sim, "a cancel is refused: %s",
                   ps_status_name(rc));
    }
}

void workload_save_restore(struct client_actor *a, bool must)
{
    struct client_save *v;
    int rc;

    if (!must && (a->is_closing || !a->thread->sim->faults_on)) {
        return;
    }
    trace_note(a->thread->sim, "%s asks for a restore", world_name(a->process));
    v = keep(a, ASK_RESTORE);
    if (world_chance(a->thread->sim, 800000)) {
        world_push(a->thread->sim,
                   a->thread->sim->now +
                       world_between(a->thread->sim, 100 * SIM_MS, SIM_S),
                   EVENT_KILL, NULL, NULL, 0);
    }
    rc = session_restore(a->session, "", NULL, 0, &v->request);
    if (rc != PS_OK) {
        world_fail(a->thread->sim, "a restore is refused: %s",
                   ps_status_name(rc));
    }
}

void workload_save_move(struct client_actor *a)
{
    struct sim *s = a->thread->sim;
    const struct plan *p = session_plan(a->session);
    const struct wire_part *part;
    const struct wire_lane *to;
    struct client_save *v;
    int rc;

    if (a->is_closing || !s->faults_on) {
        return;
    }
    later(a, SIM_MS, 2 * a->work->save_us, STEP_MOVE);
    for (v = a->saves; v != NULL && v->what != ASK_MOVE; v = v->next) {
    }
    if (p == NULL || p->w.n_parts == 0 || p->w.n_lanes < 2 || v != NULL) {
        return;
    }
    part = &p->w.parts[world_below(s, p->w.n_parts)];
    to = &p->w.lanes[world_below(s, p->w.n_lanes)];
    trace_note(s, "%s asks for a move", world_name(a->process));
    v = keep(a, ASK_MOVE);
    rc = session_move(a->session, plan_variable(p, part->variable)->name,
                      part->begin, to->server, to->shard, &v->request);
    if (rc != PS_OK) {
        world_fail(s, "a move is refused: %s", ps_status_name(rc));
    }
}

void workload_save_note(struct client_actor *a)
{
    struct sim *s = a->thread->sim;
    struct place_in_work at;
    const struct buf *position;
    uint64_t cut, size;

    if (!rollback_knows_position(a->session)) {
        return;
    }
    position = rollback_position(a->session, &cut, &size);
    trace_note(s, "%s takes note of the rollback to cut %llu",
               world_name(a->process), (ull)cut);
    if (position->size == sizeof(at)) {
        memcpy(&at, position->data, sizeof(at));
    }
    if ((position->size != 0 && position->size != sizeof(at)) ||
        (position->size != 0 &&
         (at.client != a->process->place->index || at.life > a->process->life ||
          (at.life == a->process->life && at.steps > a->steps)))) {
        world_fail(s, "%s is told of a reader's position that it never gave",
                   world_name(a->process));
    }
    s->totals.rollbacks++;
    rollback_take_note(a->session);
}

void workload_save_last(struct client_actor *a)
{
    world_enter(a->thread);
    ask(a, ASK_LAST_SAVE);
    world_leave(a->thread);
}

static void ended(struct client_actor *a, const struct client_save *v,
                  int status, uint64_t ticket)
{
    struct sim *s = a->thread->sim;
    struct ps_save_state as;

    trace_note(s, "the save %llu of %s ends as %s", (ull)ticket,
               world_name(a->process), ps_status_name(status));
    if (a->is_closing) {
        return;
    }
    if (v->what == ASK_SAVE && status == PS_OK && s->has_restores &&
        world_chance(s, 200000)) {
        later(a, SIM_MS, 2 * SIM_S, STEP_RESTORE); /* there is one to find */
    }
    if (v->what == ASK_RESTORE) {
        if (status != PS_OK && status != PS_ENOTFOUND && status != PS_EIO &&
            status != PS_EDATALOSS && status != PS_ELIMIT) {
            world_fail(s, "a restore ends as %s: %s", ps_status_name(status),
                       request_text(v->request));
        }
        s->cannot_restore = status == PS_ENOTFOUND || status == PS_EDATALOSS;
        return;
    }
    if (v->what == ASK_MOVE) {
        s->totals.moves_done += status == PS_OK;
        if (status != PS_OK && status != PS_ENOTFOUND && status != PS_EIO &&
            status != PS_ELIMIT && status != PS_EARGUMENT) {
            world_fail(s, "a move ends as %s: %s", ps_status_name(status),
                       request_text(v->request));
        }
        return;
    }
    if (v->what == ASK_CANCEL) {
        if (status != PS_OK && status != PS_ENOTFOUND && status != PS_EEXIST) {
            world_fail(s, "a cancel ends as %s", ps_status_name(status));
        }
        return;
    }
    if (v->session != 0 && status == PS_OK &&
        step_save_of(v->request, &as) == PS_OK) {
        oracle_content_on_saved(s, v->session, as.cut, v->step, v->restore);
    }
    if (!oracle_save_may_end(s, ticket, status)) {
        world_fail(s, "the save %llu of %s ends as %s: %s", (ull)ticket,
                   world_name(a->process), ps_status_name(status),
                   request_text(v->request));
    } else if (v->what == ASK_LAST_SAVE && status != PS_OK) {
        if (status == PS_EIO && oracle_save_has_no_room(s)) {
            a->has_saved = true;
        } else if (ticket > s->oracle->healed_ticket &&
                   !oracle_save_may_fail(s, request_text(v->request))) {
            world_fail(s, "the last save ends as %s", ps_status_name(status));
        } else {
            /* It was one of before, or an order of before came between. */
            later(a, 0, SIM_MS, STEP_LAST_SAVE);
        }
    } else if (v->what == ASK_LAST_SAVE) {
        a->has_saved = true;
    }
}

bool workload_save_settled(struct client_actor *a, struct request *r)
{
    for (struct client_save **at = &a->saves; *at != NULL; at = &(*at)->next) {
        struct client_save *v = *at;

        if (v->request == r) {
            *at = v->next;
            ended(a, v, request_status(r), request_ticket(r));
            return true;
        }
    }
    return false;
}

void workload_save_again(struct client_actor *a)
{
    ask(a, ASK_LAST_SAVE);
}

void workload_save_init(struct sim *s, struct client_work *w)
{
    w->step_us =
        world_chance(s, 650000) ? world_between(s, 50 * SIM_MS, 2 * SIM_S) : 0;
    w->save_us = world_between(s, 4 * SIM_S, 40 * SIM_S);
}
