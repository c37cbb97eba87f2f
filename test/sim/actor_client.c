/* actor_client.c - a client process: a session on one thread, and its owner. */
#include "actor_client.h"

#include <stdio.h>

#include "base/hash.h"
#include "wire/wire.h"

typedef unsigned long long ull;

const struct client_variable client_variables[SIM_VARIABLES] = {
    {"a/one", PS_HASH64, 3, 0},   {"b/two", PS_HASH64, 4, 0},
    {"c/three", PS_HASH64, 3, 0}, {"dense", PS_DENSE, 3, 7},
    {"scratch", PS_HASH64, 3, 0}, {"wide", PS_DENSE, 3, 6000},
};

static struct client_actor *actor_of(const struct thread *t)
{
    return t->self;
}

/* ---- declarations ------------------------------------------------------ */

static struct wire_variable wire_of(const struct sim *s, uint32_t variable)
{
    const struct client_variable *v = &client_variables[variable];

    return (struct wire_variable){
        .name = v->name,
        .kind = v->kind,
        .rows = v->rows,
        .dim = v->dim,
        .init_kind = PS_INIT_CONSTANT,
        .init_key = hash_bytes(v->name, strlen(v->name)),
        .updater = "AssignAddUpdater",
        .durability = s->durability[variable],
        .no_save = s->no_save[variable],
    };
}

void client_declare(struct client_actor *a, uint32_t variable)
{
    struct sim *s = a->thread->sim;
    struct wire_variable w = wire_of(s, variable);
    struct wire_variable other = wire_of(s, 0);
    int rc;

    if (a->declaring[variable] != NULL || a->is_declared[variable]) {
        return;
    }
    rc = session_declare(a->session, &w, &a->declaring[variable]);
    if (rc != PS_OK) {
        world_fail(s, "a declare is refused: %s", ps_status_name(rc));
    }
    if (a->conflicting == NULL && a->is_declared[0] &&
        world_chance(s, 100000)) {
        a->refusal = PS_ECONFLICT;
        other.dim += 2;
        if (!s->has_logs && world_chance(s, 500000)) {
            a->refusal = PS_EARGUMENT;
            other.name = "e/logged";
            other.durability = PS_LOG;
            other.no_save = 0;
        }
        rc = session_declare(a->session, &other, &a->conflicting);
        if (rc != PS_OK) {
            world_fail(s, "a declare is refused: %s", ps_status_name(rc));
        }
    }
}

static void declare_all(struct client_actor *a)
{
    for (uint32_t i = 0; i < SIM_VARIABLES; i++) {
        if (i != CLIENT_WIDE || a->work->has_wide) {
            client_declare(a, i);
        }
    }
}

static bool declared_all(const struct client_actor *a)
{
    for (uint32_t i = 0; i < SIM_VARIABLES; i++) {
        if (i != CLIENT_SCRATCH && (i != CLIENT_WIDE || a->work->has_wide) &&
            !a->is_declared[i]) {
            return false;
        }
    }
    return true;
}

/* A settled request that is a declaration or a drop. */
static bool is_declaration(struct client_actor *a, struct request *r)
{
    struct sim *s = a->thread->sim;
    int status = request_status(r);

    for (uint32_t i = 0; i < SIM_VARIABLES; i++) {
        if (a->declaring[i] != r) {
            continue;
        }
        a->declaring[i] = NULL;
        if (status == PS_OK) {
            a->variables[i] = *request_declared(r);
            a->is_declared[i] = true;
        } else if (status == PS_ELIMIT && s->memory_bytes != 0) {
            /* No room: not even the first time, or not again. */
            world_push(s, s->now + SIM_S, EVENT_WORK, a->thread, NULL,
                       (uint64_t)i << 8 | STEP_DECLARE);
        } else {
            world_fail(s, "declaring %s ends as %s: %s",
                       client_variables[i].name, ps_status_name(status),
                       request_text(r));
        }
        return true;
    }
    if (r == a->conflicting) {
        a->conflicting = NULL;
        if (status != a->refusal) {
            world_fail(s, "a declaration that must be refused ends as %s",
                       ps_status_name(status));
        }
        return true;
    }
    if (r == a->dropping) {
        a->dropping = NULL;
        if (status != PS_OK && status != PS_ENOTFOUND) {
            world_fail(s, "a drop ends as %s: %s", ps_status_name(status),
                       request_text(r));
        }
        a->is_declared[CLIENT_SCRATCH] = false;
        world_push(s, s->now + world_below(s, 200 * SIM_MS), EVENT_WORK,
                   a->thread, NULL,
                   (uint64_t)CLIENT_SCRATCH << 8 | STEP_DECLARE);
        return true;
    }
    return false;
}

/* ---- what the session tells its owner ---------------------------------- */

static bool is_status(struct client_actor *a, struct request *r)
{
    size_t size;

    for (struct client_status *c = a->asking; c != NULL; c = c->next) {
        if (c->request == r) {
            const uint8_t *data = request_answer(r, &size);

            if (request_status(r) != PS_OK) {
                world_fail(a->thread->sim, "asking for status ends as %s",
                           ps_status_name(request_status(r)));
            } else {
                oracle_status(a->thread->sim, c->lane, data, size);
            }
            c->request = NULL;
            a->n_asking--;
            return true;
        }
    }
    return false;
}

static void settled(struct session_owner *o, struct request *r)
{
    struct client_actor *a = CONTAINER_OF(o, struct client_actor, owner);
    struct client_job *j = request_owner(r);
    struct sim *s = a->thread->sim;
    int status = request_status(r);

    if (j == NULL && !is_declaration(a, r) && !is_status(a, r) &&
        !workload_save_settled(a, r)) {
        return; /* within submit */
    }
    if (j != NULL && j->is_abandoned) {
        world_fail(s, "an abandoned request settles");
        return;
    }
    if (a->n_to_free < ARRAY_LEN(a->to_free) && world_chance(s, 300000)) {
        a->to_free[a->n_to_free++] = r;
    } else {
        request_free(r);
    }
    if (j != NULL) {
        workload_settled(a, j, status);
    }
}

static void lost(struct session_owner *o, const struct ps_loss *loss)
{
    struct client_actor *a = CONTAINER_OF(o, struct client_actor, owner);

    oracle_on_lost(a->thread->sim, a->process, loss);
}

static void framed(struct session_owner *o, const struct ps_frame_outcome *f,
                   const struct request *r, const void *ops, uint32_t n_ops)
{
    struct client_actor *a = CONTAINER_OF(o, struct client_actor, owner);
    struct client_job *j = r != NULL ? request_owner(r) : NULL;

    oracle_on_framed(a->thread->sim, a->process, f,
                     j != NULL ? &j->asked : NULL, ops, n_ops);
}

/* ---- the machine ------------------------------------------------------- */

static void on_open(struct thread *t, uint64_t connection)
{
    session_on_open(actor_of(t)->session, connection);
}

static void on_frame(struct thread *t, uint64_t connection,
                     const struct frame_header *h, struct frame *f)
{
    session_on_frame(actor_of(t)->session, connection, h, f);
}

static void on_close(struct thread *t, uint64_t connection)
{
    session_on_close(actor_of(t)->session, connection);
}

static void on_coord(struct thread *t, const struct coord_result *r)
{
    session_on_coord(actor_of(t)->session, r);
}

static void on_work(struct thread *t, uint64_t value)
{
    workload_step(actor_of(t), value);
}

static void tick(struct thread *t)
{
    session_tick(actor_of(t)->session);
}

static uint64_t next(struct thread *t)
{
    return session_next(actor_of(t)->session);
}

/* Closes when nothing is in flight, then another opens as its worker. */
static void go_on_closing(struct client_actor *a)
{
    struct sim *s = a->thread->sim;

    if (!a->has_asked_close) {
        if (a->n_jobs == 0 && !session_has_writes(a->session)) {
            a->has_asked_close = true;
            world_push(s, s->now, EVENT_WORK, a->thread, NULL, STEP_CLOSE);
        }
    } else if (session_has_closed(a->session)) {
        trace_note(s, "%s has closed", world_name(a->process));
        world_kill(a->process);
        faults_restart(a->process->place);
    }
}

static void after(struct thread *t)
{
    struct client_actor *a = actor_of(t);

    while (a->n_to_free > 0) {
        request_free(a->to_free[--a->n_to_free]);
    }
    if (!a->is_working && session_is_ready(a->session) && declared_all(a)) {
        a->is_working = true;
        world_push(t->sim, t->sim->now, EVENT_WORK, t, NULL, STEP_NEXT);
        workload_save_start(a);
    }
    if (a->is_closing) {
        go_on_closing(a);
    }
}

static const struct machine machine = {
    .on_open = on_open,
    .on_frame = on_frame,
    .on_close = on_close,
    .on_coord = on_coord,
    .on_work = on_work,
    .tick = tick,
    .next = next,
    .after = after,
};

void actor_client_start(struct place *p)
{
    struct sim *s = p->sim;
    struct client_actor *a = world_take(s, sizeof(*a));
    struct session_options options = {.worker = (int)p->index};
    int rc;

    a->process = world_process(p, 1);
    a->process->self = a;
    a->thread = &a->process->threads[0];
    a->work = p->work;
    a->owner = (struct session_owner){settled, lost, framed};
    a->thread->self = a;
    a->thread->machine = &machine;
    rc = session_new(&a->session, &options, &a->process->coord, &a->thread->net,
                     &a->owner);
    ASSERT(rc == PS_OK);
    world_enter(a->thread);
    session_start(a->session);
    declare_all(a);
    world_leave(a->thread);
}

void actor_client_kill(struct process *p)
{
    struct client_actor *a = p->self;

    session_free(a->session);
}

/* Draws the work of all clients. */
void actor_client_init(struct sim *s)
{
    bool has_wide = s->memory_bytes == 0 && world_chance(s, 80000);
    uint64_t key_space = s->memory_bytes != 0 ? world_between(s, 1000, 3000)
                                              : world_between(s, 20, 1500);
    uint64_t pace_us = world_between(s, 60 * SIM_MS, 160 * SIM_MS);
    uint64_t total = world_between(s, 520, 640);

    for (uint32_t i = 0; i < s->n_places; i++) {
        struct client_work *w;

        if (s->places[i].kind != PLACE_CLIENT) {
            continue;
        }
        w = world_take(s, sizeof(*w));
        w->target = total / s->n_clients + 1;
        w->key_space = key_space;
        w->pace_us = pace_us;
        w->has_wide = has_wide;
        workload_save_init(s, w);
        w->burst_at = UINT64_MAX;
        w->close_at = UINT64_MAX;
        if (world_chance(s, 60000)) {
            w->burst_at = world_below(s, w->target);
            w->target += CLIENT_BURST;
        }
        if (world_chance(s, 150000)) {
            w->close_at = world_below(s, w->target);
        }
        s->places[i].work = w;
    }
}

bool actor_client_work_is_done(const struct sim *s)
{
    for (uint32_t i = 0; i < s->n_places; i++) {
        const struct client_work *w = s->places[i].work;

        if (s->places[i].kind == PLACE_CLIENT && w->done < w->target) {
            return false;
        }
    }
    return true;
}

uint64_t actor_client_in_flight(const struct process *p)
{
    return ((const struct client_actor *)p->self)->n_jobs;
}

static bool is_declaring(const struct client_actor *a)
{
    for (uint32_t i = 0; i < SIM_VARIABLES; i++) {
        if (a->declaring[i] != NULL) {
            return true;
        }
    }
    return a->conflicting != NULL || a->dropping != NULL;
}

bool actor_client_is_done(const struct process *p)
{
    const struct client_actor *a = p->self;
    const struct plan *newest = p->place->sim->oracle->plan;
    const struct plan *plan = session_plan(a->session);

    /* One that is stopped may have to ask what it has lost. */
    return a->work->done >= a->work->target && a->n_jobs == 0 &&
           a->thread->busy_until <= p->place->sim->now &&
           (a->saves == NULL || p->place->sim->asked_save) &&
           !session_has_writes(a->session) && !is_declaring(a) &&
           !a->is_closing && plan != NULL && newest != NULL &&
           plan->w.plan == newest->w.plan;
}

void actor_client_says(const struct process *p, char *text, size_t size)
{
    const struct client_actor *a = p->self;
    char waits[192];

    session_waits_for(a->session, waits, sizeof(waits));
    snprintf(text, size,
             "%s: %llu of %llu pushes, %llu requests in flight%s, "
             "waits for %s",
             world_name(p), (ull)a->work->done, (ull)a->work->target,
             (ull)a->n_jobs, a->saves != NULL ? ", a save" : "", waits);
}

/* ---- the end ----------------------------------------------------------- */

static void check_canaries(struct client_actor *a)
{
    for (struct client_job *j = a->abandoned; j != NULL; j = j->next) {
        for (uint32_t i = 0; i < j->n_ops; i++) {
            size_t values = j->n_rows[i] * j->ops[i].variable.dim;

            for (size_t k = 0; j->ops[i].out != NULL && k < values; k++) {
                if (j->ops[i].out[k] < CLIENT_CANARY ||
                    j->ops[i].out[k] > CLIENT_CANARY) {
                    world_fail(a->thread->sim, "an abandoned request wrote "
                                               "into its buffer");
                    return;
                }
            }
        }
    }
}

static void ask_lane(struct client_actor *a, uint64_t lane)
{
    struct sim *s = a->thread->sim;
    struct client_status *c = world_take(s, sizeof(*c));
    int rc;

    c->lane = lane;
    c->next = a->asking;
    a->asking = c;
    a->n_asking++;
    world_enter(a->thread);
    rc = session_status(a->session, lane, &c->request);
    world_leave(a->thread);
    if (rc != PS_OK) {
        world_fail(s, "asking lane %llu for its status is refused: %s",
                   (ull)lane, ps_status_name(rc));
    }
}

static struct client_actor *first_client(const struct sim *s)
{
    const struct place *p = &s->places[s->n_places - s->n_clients];

    return p->process->self;
}

void actor_client_ask_status(struct sim *s)
{
    struct oracle *o = s->oracle;

    for (uint32_t i = 0; i < s->n_places; i++) {
        if (s->places[i].kind == PLACE_CLIENT) {
            check_canaries(s->places[i].process->self);
        }
    }
    for (uint32_t i = 0; i < s->n_servers; i++) {
        for (uint32_t k = 0; k < SIM_SHARDS_MAX && o->live[i][k] != 0; k++) {
            ask_lane(first_client(s), o->live[i][k]);
        }
    }
}

void actor_client_ask_save(struct sim *s)
{
    workload_save_last(first_client(s));
}

void actor_client_ask_restore(struct sim *s)
{
    for (uint32_t i = 0; i < s->n_places; i++) {
        struct process *p = s->places[i].process;
        struct client_actor *a;

        if (s->places[i].kind != PLACE_CLIENT || p == NULL) {
            continue;
        }
        a = p->self;
        if (a->is_working && !a->is_closing &&
            a->thread->busy_until <= s->now) {
            world_enter(a->thread);
            workload_save_restore(a, true);
            world_leave(a->thread);
            return;
        }
    }
}

bool actor_client_has_saved(const struct sim *s)
{
    return first_client(s)->has_saved;
}

bool actor_client_has_status(const struct sim *s)
{
    return first_client(s)->n_asking == 0;
}
