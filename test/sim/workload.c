/* workload.c - what a client asks for: pushes of (1, x, x * x) to rows of
 * several variables, pulls that are checked, a variable that is dropped, a
 * burst beyond the window, deadlines, requests that are given up. */
#include <stdio.h>

#include "actor_client.h"
#include "base/hash.h"

typedef unsigned long long ull;

/* ---- making a request -------------------------------------------------- */

static uint64_t draw_key(struct client_actor *a)
{
    struct sim *s = a->thread->sim;
    uint64_t k =
        world_chance(s, 150000) ? 0 : world_below(s, a->work->key_space);

    if (k == 1) {
        return UINT64_MAX;
    }
    return (k & 1) != 0 ? k : k == 0 ? 0 : hash_key(k);
}

static size_t draw_count(struct sim *s)
{
    uint64_t way = world_below(s, 100);

    if (way < 3) {
        return 0;
    }
    if (way < 33) {
        return 1;
    }
    return world_between(s, 2, way < 93 ? 12 : CLIENT_KEYS_MAX);
}

static void draw_values(struct client_actor *a, struct client_job *j,
                        uint32_t i, float *values)
{
    struct sim *s = a->thread->sim;
    struct session_op *op = &j->ops[i];

    for (size_t k = 0; k < j->n_rows[i]; k++) {
        float *v = values + k * op->variable.dim;
        double x = (double)world_between(s, 1, 30);
        struct pushed *p = &j->asked.pushed[j->asked.n_pushed];

        if (op->variable.kind == PS_DENSE && world_chance(s, 300000)) {
            x = 0;
        }
        v[0] = x > 0 ? 1.0F : 0.0F;
        v[1] = (float)x;
        v[2] = (float)(x * x);
        for (uint32_t d = ORACLE_DIM; d < op->variable.dim; d++) {
            v[d] = (float)x;
        }
        if (x > 0) {
            *p = (struct pushed){
                .variable = op->variable.id,
                .key = op->variable.kind == PS_DENSE ? k : op->keys[k],
                .sum = {1, x, x * x}};
            j->asked.n_pushed++;
        }
    }
}

/* Sets op i of the job; the keys are there already. */
static void finish_op(struct client_actor *a, struct client_job *j, uint32_t i,
                      int kind)
{
    struct sim *s = a->thread->sim;
    struct session_op *op = &j->ops[i];
    size_t n = j->n_rows[i];
    size_t values = n * op->variable.dim;
    float *data = world_take(s, (values + 1) * sizeof(float));

    op->kind = kind;
    op->updater = (struct ps_updater){.name = "AssignAddUpdater"};
    if (kind == PS_PUSH) {
        struct pushed *room =
            world_take(s, (j->asked.n_pushed + n + 1) * sizeof(*room));

        if (j->asked.n_pushed > 0) {
            memcpy(room, j->asked.pushed, j->asked.n_pushed * sizeof(*room));
        }
        j->asked.pushed = room;
        draw_values(a, j, i, data);
        op->values = data;
        j->asked.is_push = true;
        return;
    }
    op->out = data;
    j->bounds[i] = world_take(s, (n + 1) * sizeof(*j->bounds[i]));
}

static void draw_op(struct client_actor *a, struct client_job *j,
                    uint32_t variable, int kind)
{
    struct sim *s = a->thread->sim;
    uint32_t i = j->n_ops++;
    struct session_op *op = &j->ops[i];
    uint64_t *keys;

    op->variable = a->variables[variable];
    j->variables[i] = variable;
    j->has_scratch = j->has_scratch || variable == CLIENT_SCRATCH;
    if (op->variable.kind == PS_DENSE) {
        j->n_rows[i] = op->variable.rows;
    } else {
        op->n_keys = draw_count(s);
        j->n_rows[i] = op->n_keys;
        keys = world_take(s, (op->n_keys + 1) * sizeof(*keys));
        for (size_t k = 0; k < op->n_keys; k++) {
            keys[k] = k > 0 && world_chance(s, 80000) ? keys[world_below(s, k)]
                                                      : draw_key(a);
        }
        op->keys = keys;
    }
    finish_op(a, j, i, kind);
}

static struct client_job *new_job(struct client_actor *a)
{
    struct client_job *j = world_take(a->thread->sim, sizeof(*j));

    j->number = ++a->next_job;
    j->asked.client = a->process;
    j->asked.step = a->steps;
    return j;
}

static void forget_job(struct client_actor *a, struct client_job *j)
{
    if (j->prev != NULL) {
        j->prev->next = j->next;
    } else {
        a->jobs = j->next;
    }
    if (j->next != NULL) {
        j->next->prev = j->prev;
    }
    a->n_jobs--;
}

static void keep_job(struct client_actor *a, struct client_job *j)
{
    j->next = a->jobs;
    if (a->jobs != NULL) {
        a->jobs->prev = j;
    }
    a->jobs = j;
    a->n_jobs++;
}

static uint64_t key_of(const struct client_job *j, uint32_t i, size_t k)
{
    return j->ops[i].variable.kind == PS_DENSE ? k : j->ops[i].keys[k];
}

static void submit(struct client_actor *a, struct client_job *j)
{
    struct sim *s = a->thread->sim;
    int rc;

    j->asked.restore = session_plan(a->session)->w.restore;
    oracle_asked(s, &j->asked);
    for (uint32_t i = 0; i < j->n_ops; i++) {
        for (size_t k = 0; j->bounds[i] != NULL && k < j->n_rows[i]; k++) {
            oracle_pull_begin(s, j->ops[i].variable.id, key_of(j, i, k),
                              &j->bounds[i][k]);
        }
    }
    rc = session_submit(a->session, j->ops, j->n_ops, &j->request);
    if (rc == PS_EROLLEDBACK && rollback_is_on(a->session)) {
        return;
    }
    if (rc != PS_OK) {
        world_fail(s, "a submit is refused: %s", ps_status_name(rc));
        return;
    }
    if (j->asked.is_push) {
        a->work->done++;
        s->totals.pushes++;
        s->last_push_at = s->now;
    }
    keep_job(a, j);
    request_set_owner(j->request, j);
    if (request_has_settled(j->request)) {
        /* Nothing to send: settled within the call. */
        int status = request_status(j->request);

        request_free(j->request);
        workload_settled(a, j, status);
    }
}

static uint32_t draw_variable(struct client_actor *a)
{
    struct sim *s = a->thread->sim;
    static const uint32_t often[] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4};

    for (;;) {
        uint32_t v = often[world_below(s, ARRAY_LEN(often))];

        if (a->work->has_wide && world_chance(s, 15000)) {
            v = CLIENT_WIDE;
        }
        if (a->is_declared[v]) {
            return v;
        }
    }
}

static void ask_something(struct client_actor *a)
{
    struct sim *s = a->thread->sim;
    struct client_job *j = new_job(a);
    uint64_t way = world_below(s, 100);
    uint32_t n = way < 40 ? 1 : way < 70 ? 2 : way < 90 ? 3 : 4;
    bool is_push = world_chance(s, 700000);
    uint64_t step_us;

    for (uint32_t i = 0; i < n; i++) {
        int kind = PS_PULL;

        if (is_push && (i == 0 || world_chance(s, 650000))) {
            kind = PS_PUSH;
        } else if (world_chance(s, 150000)) {
            kind = PS_PULL_CREATE;
        }
        draw_op(a, j, draw_variable(a), kind);
    }
    submit(a, j);
    if (j->asked.is_settled || s->has_failed || !s->faults_on) {
        return;
    }
    step_us = world_between(s, 5 * SIM_MS, 1500 * SIM_MS);
    if (world_chance(s, 15000)) {
        world_push(s, s->now + step_us, EVENT_WORK, a->thread, NULL,
                   j->number << 8 | STEP_RESOLVE);
    } else if (world_chance(s, 10000)) {
        world_push(s, s->now + step_us, EVENT_WORK, a->thread, NULL,
                   j->number << 8 | STEP_ABANDON);
    }
}

/* More than a window of pushes at once, all to one lane. */
static void ask_burst(struct client_actor *a)
{
    uint64_t key = draw_key(a);

    a->work->burst_at = UINT64_MAX;
    for (uint32_t i = 0; i < CLIENT_BURST; i++) {
        struct client_job *j = new_job(a);
        uint64_t *keys = world_take(a->thread->sim, sizeof(*keys));

        keys[0] = key;
        j->n_ops = 1;
        j->ops[0].variable = a->variables[0];
        j->ops[0].keys = keys;
        j->ops[0].n_keys = 1;
        j->n_rows[0] = 1;
        finish_op(a, j, 0, PS_PUSH);
        submit(a, j);
    }
}

/* ---- steps ------------------------------------------------------------- */

static struct client_job *find_job(struct client_actor *a, uint64_t number)
{
    struct client_job *j = a->jobs;

    while (j != NULL && j->number != number) {
        j = j->next;
    }
    return j;
}

static void abandon(struct client_actor *a, struct client_job *j)
{
    forget_job(a, j);
    j->is_abandoned = true;
    a->thread->sim->totals.pushes_given_up += j->asked.is_push;
    j->asked.is_abandoned = true;
    session_abandon(j->request);
    /* From here on nobody may write there. */
    for (uint32_t i = 0; i < j->n_ops; i++) {
        size_t values = j->n_rows[i] * j->ops[i].variable.dim;

        for (size_t k = 0; j->ops[i].out != NULL && k < values; k++) {
            j->ops[i].out[k] = CLIENT_CANARY;
        }
    }
    j->next = a->abandoned;
    a->abandoned = j;
}

static void drop_scratch(struct client_actor *a)
{
    struct sim *s = a->thread->sim;
    int rc;

    if (a->dropping != NULL || a->declaring[CLIENT_SCRATCH] != NULL) {
        return;
    }
    trace_note(s, "%s drops", world_name(a->process));
    rc = session_drop(a->session, client_variables[CLIENT_SCRATCH].name,
                      &a->dropping);
    if (rc != PS_OK) {
        world_fail(s, "a drop is refused: %s", ps_status_name(rc));
    }
}

static void next_step(struct client_actor *a)
{
    struct sim *s = a->thread->sim;
    struct client_work *w = a->work;

    if (a->is_closing) {
        return;
    }
    if (w->done >= w->target || s->has_failed) {
        return;
    }
    if (w->done >= w->close_at) {
        w->close_at = UINT64_MAX;
        a->is_closing = true;
        return;
    }
    if (rollback_is_on(a->session)) {
        workload_save_note(a);
    } else if (a->n_jobs < CLIENT_IN_FLIGHT) {
        if (w->done >= w->burst_at) {
            ask_burst(a);
        } else {
            ask_something(a);
        }
        if (world_chance(s, 4500)) {
            drop_scratch(a);
        }
    }
    world_push(s, s->now + world_between(s, SIM_MS, w->pace_us), EVENT_WORK,
               a->thread, NULL, STEP_NEXT);
}

void workload_step(struct client_actor *a, uint64_t value)
{
    struct client_job *j = find_job(a, value >> 8);

    switch ((enum client_step)(value & 0xff)) {
    case STEP_NEXT:
        next_step(a);
        break;
    case STEP_RESOLVE:
        if (j != NULL) {
            j->may_cancel = true;
            session_resolve(a->session, j->request);
        }
        break;
    case STEP_ABANDON:
        if (j != NULL) {
            abandon(a, j);
        }
        break;
    case STEP_DECLARE:
        client_declare(a, (uint32_t)(value >> 8));
        break;
    case STEP_CLOSE:
        session_close(a->session);
        break;
    case STEP_BOUNDARY:
        workload_save_boundary(a);
        break;
    case STEP_SAVE:
        workload_save_ask(a);
        break;
    case STEP_CANCEL:
        workload_save_cancel(a);
        break;
    case STEP_LAST_SAVE:
        workload_save_again(a);
        break;
    case STEP_RESTORE:
        workload_save_restore(a, false);
        break;
    case STEP_MOVE:
        workload_save_move(a);
        break;
    }
}

/* ---- answers ----------------------------------------------------------- */

static bool may_end_as(const struct sim *s, const struct client_job *j,
                       int status)
{
    switch (status) {
    case PS_OK:
        return true;
    case PS_ECANCELED:
        return j->may_cancel;
    case PS_ENOTFOUND:
        return j->has_scratch;
    case PS_ELIMIT:
        return s->memory_bytes != 0;
    case PS_EUNSURE:
        return world_ended_session_ms(s) != 0; /* the frames' outcomes tell */
    case PS_EROLLEDBACK:
        return s->oracle->plan != NULL && s->oracle->plan->w.restore > 0;
    default:
        return false;
    }
}

void workload_settled(struct client_actor *a, struct client_job *j, int status)
{
    struct sim *s = a->thread->sim;

    forget_job(a, j);
    if (!may_end_as(s, j, status)) {
        world_fail(s,
                   "a request of %s settles as %s, for no reason that there "
                   "is",
                   world_name(a->process), ps_status_name(status));
        return;
    }
    oracle_settled(s, &j->asked, status);
    if (status == PS_ENOTFOUND) {
        a->is_declared[CLIENT_SCRATCH] = false;
        if (a->declaring[CLIENT_SCRATCH] == NULL && a->dropping == NULL) {
            world_push(s, s->now, EVENT_WORK, a->thread, NULL,
                       (uint64_t)CLIENT_SCRATCH << 8 | STEP_DECLARE);
        }
    }
    if (status != PS_OK) {
        s->totals.pushes_canceled += j->asked.is_push && status == PS_ECANCELED;
        s->totals.pushes_gone += j->asked.is_push && status == PS_ENOTFOUND;
        s->totals.pushes_limited += j->asked.is_push && status == PS_ELIMIT;
        s->totals.pushes_rolled_back +=
            j->asked.is_push && status == PS_EROLLEDBACK;
        return;
    }
    s->totals.pushes_acked += j->asked.is_push;
    for (uint32_t i = 0; i < j->n_ops && !s->has_failed; i++) {
        for (size_t k = 0; j->bounds[i] != NULL && k < j->n_rows[i]; k++) {
            oracle_pull_end(s, j->ops[i].variable.id, key_of(j, i, k),
                            &j->bounds[i][k],
                            j->ops[i].out + k * j->ops[i].variable.dim);
        }
    }
}
