/* actor_server.c - a server process: the control machine on thread 0, a shard
 * on each further one; orders and answers between them are mail. */
#include <stdio.h>

#include "kern/kern.h"
#include "oracle.h"
#include "server/server.h"
#include "server/shard.h"
#include "sim.h"

enum mail_kind {
    MAIL_START_LANE,
    MAIL_SET_LEASE,
    MAIL_SET_PLAN,
    MAIL_SET_SESSIONS,
    MAIL_SET_SAVE,
    MAIL_LOG_RECORD, /* both ways */
    MAIL_PING,
    MAIL_WANT,
    MAIL_PONG,
    MAIL_REPORT
};

struct shard_actor {
    struct shard *shard;
    struct shard_owner owner;
    struct thread *thread;
    uint64_t idle_at; /* its next idle moment, on its clock; 0: not drawn */
};

struct server_actor {
    struct server *server;
    struct server_owner owner;
    struct process *process;
    struct shard_actor shards[SIM_SHARDS_MAX];
    uint32_t n_shards;
};

/* ---- from the control machine to the shards ---------------------------- */

static void to_shard(struct server_owner *o, uint32_t shard,
                     const struct mail *m)
{
    struct server_actor *a = CONTAINER_OF(o, struct server_actor, owner);

    world_mail(&a->process->threads[0], a->shards[shard].thread, m);
}

static void to_all(struct server_owner *o, const struct mail *m)
{
    struct server_actor *a = CONTAINER_OF(o, struct server_actor, owner);

    for (uint32_t i = 0; i < a->n_shards; i++) {
        to_shard(o, i, m);
    }
}

static void start_lane(struct server_owner *o, uint32_t shard, uint64_t lane,
                       uint32_t emptied)
{
    struct mail m = {.kind = MAIL_START_LANE, .a = lane, .b = emptied};

    to_shard(o, shard, &m);
}

static void set_lease(struct server_owner *o, uint32_t shard, uint64_t lane,
                      uint64_t until_us)
{
    struct mail m = {.kind = MAIL_SET_LEASE, .a = lane, .b = until_us};

    to_shard(o, shard, &m);
}

/* Mail borrows its data only until it is copied. */
static void *borrow(const void *data)
{
    return (void *)(uintptr_t)data;
}

static void set_plan(struct server_owner *o, const void *record, size_t size)
{
    struct mail m = {
        .kind = MAIL_SET_PLAN, .data = borrow(record), .size = size};

    to_all(o, &m);
}

static void set_sessions(struct server_owner *o, uint64_t version,
                         const void *record, size_t size)
{
    struct mail m = {.kind = MAIL_SET_SESSIONS,
                     .a = version,
                     .data = borrow(record),
                     .size = size};

    to_all(o, &m);
}

static void set_save(struct server_owner *o, const void *record, size_t size)
{
    struct mail m = {
        .kind = MAIL_SET_SAVE, .data = borrow(record), .size = size};

    to_all(o, &m);
}

static void tell_log_record(struct server_owner *o, uint32_t shard,
                            const struct shard_log_record *record)
{
    struct mail m = {.kind = MAIL_LOG_RECORD,
                     .data = borrow(record),
                     .size = sizeof(*record)};

    to_shard(o, shard, &m);
}

static void ping(struct server_owner *o, uint64_t serial)
{
    struct mail m = {.kind = MAIL_PING, .a = serial};

    to_all(o, &m);
}

/* ---- a shard ----------------------------------------------------------- */

static void want(struct shard_owner *o, uint32_t shard, enum shard_want what,
                 uint64_t number)
{
    struct shard_actor *a = CONTAINER_OF(o, struct shard_actor, owner);
    struct mail m = {
        .kind = MAIL_WANT, .shard = shard, .a = (uint64_t)what, .b = number};

    world_mail(a->thread, &a->thread->process->threads[0], &m);
}

static void saved(struct shard_owner *o, uint32_t shard)
{
    struct shard_actor *a = CONTAINER_OF(o, struct shard_actor, owner);
    struct shard_report report;
    struct mail m = {.kind = MAIL_REPORT,
                     .shard = shard,
                     .a = shard_lane(a->shard),
                     .data = &report,
                     .size = sizeof(report)};

    shard_report(a->shard, &report);
    world_mail(a->thread, &a->thread->process->threads[0], &m);
}

static void log_record(struct shard_owner *o, uint32_t shard,
                       const struct shard_log_record *record)
{
    struct shard_actor *a = CONTAINER_OF(o, struct shard_actor, owner);
    struct mail m = {.kind = MAIL_LOG_RECORD,
                     .shard = shard,
                     .data = borrow(record),
                     .size = sizeof(*record)};

    world_mail(a->thread, &a->thread->process->threads[0], &m);
}

static void applied(struct shard_owner *o, uint32_t shard, uint64_t session,
                    uint64_t lane, uint64_t seq)
{
    struct shard_actor *a = CONTAINER_OF(o, struct shard_actor, owner);

    (void)shard;
    oracle_on_applied(a->thread->sim, a->thread, session, lane, seq);
}

static struct shard *shard_of(const struct thread *t)
{
    return ((struct shard_actor *)t->self)->shard;
}

static void shard_open(struct thread *t, uint64_t connection)
{
    shard_on_open(shard_of(t), connection);
}

static void shard_frame(struct thread *t, uint64_t connection,
                        const struct frame_header *h, struct frame *f)
{
    shard_on_frame(shard_of(t), connection, h, f);
}

static void shard_closed(struct thread *t, uint64_t connection)
{
    shard_on_close(shard_of(t), connection);
}

static void must_be_ok(struct sim *s, int rc, const char *what)
{
    if (rc != PS_OK) {
        world_fail(s, "a shard does not take %s: %s", what, ps_status_name(rc));
    }
}

static void shard_mail(struct thread *t, const struct mail *m)
{
    struct shard *shard = shard_of(t);
    struct server_pong has = {.serial = m->a};
    struct mail pong = {.kind = MAIL_PONG,
                        .shard = t->number - 1,
                        .data = &has,
                        .size = sizeof(has)};

    switch ((enum mail_kind)m->kind) {
    case MAIL_START_LANE:
        shard_start_lane(shard, m->a, (uint32_t)m->b);
        break;
    case MAIL_SET_LEASE:
        shard_set_lease(shard, m->a, m->b);
        break;
    case MAIL_SET_PLAN:
        must_be_ok(t->sim, shard_set_plan(shard, m->data, m->size), "a plan");
        break;
    case MAIL_SET_SESSIONS:
        must_be_ok(t->sim, shard_set_sessions(shard, m->a, m->data, m->size),
                   "the sessions");
        break;
    case MAIL_SET_SAVE:
        must_be_ok(t->sim, shard_set_save(shard, m->data, m->size), "a save");
        break;
    case MAIL_LOG_RECORD:
        shard_on_log_record(shard, m->data);
        break;
    case MAIL_PING:
        has.plan = shard_plan_number(shard);
        has.sessions_version = shard_sessions_version(shard);
        has.lane = shard_lane(shard);
        shard_report(shard, &has.report);
        world_mail(t, &t->process->threads[0], &pong);
        break;
    case MAIL_WANT:
    case MAIL_PONG:
    case MAIL_REPORT:
        break;
    }
}

static void shard_disk(struct thread *t, const struct disk_result *r)
{
    shard_on_disk(shard_of(t), r);
}

static void shard_log(struct thread *t, const struct disk_result *r)
{
    shard_on_log(shard_of(t), r);
}

static void shard_idle(struct thread *t)
{
    ((struct shard_actor *)t->self)->idle_at = 0;
    shard_tick(shard_of(t));
}

/* What is to be done at once is done in an idle moment: pushes come between. */
static uint64_t shard_idle_next(struct thread *t)
{
    struct shard_actor *a = t->self;
    uint64_t next = shard_next(a->shard);

    if (next != 0) {
        return next;
    }
    if (a->idle_at == 0) {
        a->idle_at = world_clock(t->process, t->sim->now) +
                     world_below(t->sim, t->sim->idle_us);
    }
    return a->idle_at;
}

static const struct machine shard_machine = {
    .on_open = shard_open,
    .on_frame = shard_frame,
    .on_close = shard_closed,
    .on_mail = shard_mail,
    .on_disk = shard_disk,
    .on_log = shard_log,
    .tick = shard_idle,
    .next = shard_idle_next,
};

/* ---- the control machine ----------------------------------------------- */

static struct server_actor *actor_of(const struct thread *t)
{
    return t->self;
}

static void control_coord(struct thread *t, const struct coord_result *r)
{
    server_on_coord(actor_of(t)->server, r);
}

static void control_mail(struct thread *t, const struct mail *m)
{
    if (m->kind == MAIL_WANT) {
        server_on_want(actor_of(t)->server, (enum shard_want)m->a, m->b);
    } else if (m->kind == MAIL_PONG) {
        server_on_pong(actor_of(t)->server, m->shard, m->data);
    } else if (m->kind == MAIL_LOG_RECORD) {
        server_on_log_record(actor_of(t)->server, m->shard, m->data);
    } else {
        server_on_report(actor_of(t)->server, m->shard, m->a, m->data);
    }
}

static void control_tick(struct thread *t)
{
    server_tick(actor_of(t)->server);
}

static uint64_t control_next(struct thread *t)
{
    return server_next(actor_of(t)->server);
}

static const struct machine control_machine = {
    .on_coord = control_coord,
    .on_mail = control_mail,
    .tick = control_tick,
    .next = control_next,
};

/* How many it has in this life. */
static uint32_t draw_shards(struct sim *s)
{
    return s->shards_vary ? (uint32_t)world_between(s, 1, SIM_SHARDS_MAX)
                          : s->n_shards;
}

void actor_server_start(struct place *p)
{
    struct sim *s = p->sim;
    struct server_actor *a = world_take(s, sizeof(*a));
    const char *addresses[SIM_SHARDS_MAX];
    uint32_t n_shards = draw_shards(s);
    struct server_options options = {
        .id = p->index, .n_shards = n_shards, .has_log = s->has_logs};
    uint32_t port = world_chance(s, 500000) ? 7000 : 7000 + 10 * p->lives;
    int rc = PS_OK;

    a->process = world_process(p, n_shards + 1);
    a->process->self = a;
    a->n_shards = n_shards;
    a->owner = (struct server_owner){
        .start_lane = start_lane,
        .set_lease = set_lease,
        .set_plan = set_plan,
        .set_sessions = set_sessions,
        .set_save = set_save,
        .log_record = tell_log_record,
        .ping = ping,
    };
    for (uint32_t i = 0; i < n_shards; i++) {
        struct shard_actor *shard = &a->shards[i];
        struct shard_options so = {.server = p->index,
                                   .shard = i,
                                   .kern = &kern_generic,
                                   .save_bytes = s->save_bytes,
                                   .save_room = 4 * s->save_bytes,
                                   .block_rows = s->block_rows,
                                   .ended_session_ms =
                                       world_ended_session_ms(s)};

        shard->thread = &a->process->threads[i + 1];
        so.log = s->has_logs ? simdisk_new_log(shard->thread) : NULL;
        shard->owner = (struct shard_owner){.want = want,
                                            .log_record = log_record,
                                            .saved = saved,
                                            .applied = applied};
        shard->thread->self = shard;
        shard->thread->machine = &shard_machine;
        snprintf(shard->thread->address, SIM_ADDRESS_BYTES, "10.0.0.%u:%u",
                 10 + p->index, port + i);
        addresses[i] = shard->thread->address;
        rc = shard_new(&shard->shard, &so, &shard->thread->net,
                       simdisk_new(shard->thread), &shard->owner);
        ASSERT(rc == PS_OK);
        world_thread_start(shard->thread);
    }
    options.addresses = addresses;
    a->process->threads[0].self = a;
    a->process->threads[0].machine = &control_machine;
    rc = server_new(&a->server, &options, &a->process->coord,
                    &a->process->threads[0].net, &a->owner);
    ASSERT(rc == PS_OK);
    world_enter(&a->process->threads[0]);
    server_start(a->server);
    world_leave(&a->process->threads[0]);
}

void actor_server_kill(struct process *p)
{
    struct server_actor *a = p->self;

    server_free(a->server);
    for (uint32_t i = 0; i < a->n_shards; i++) {
        shard_free(a->shards[i].shard);
    }
}

uint32_t actor_server_shards(const struct process *p)
{
    return ((struct server_actor *)p->self)->n_shards;
}

struct shard *actor_server_shard(const struct process *p, uint32_t shard)
{
    return ((struct server_actor *)p->self)->shards[shard].shard;
}

const char *actor_server_refuses(const struct process *p)
{
    static struct shard_report r;
    const struct server_actor *a = p->self;

    for (uint32_t i = 0; i < a->n_shards; i++) {
        shard_report(a->shards[i].shard, &r);
        if (r.load_failed != 0 && strncmp(r.why, "the log of lane ", 16) == 0) {
            return r.why;
        }
    }
    return NULL;
}

/* Serves, with the newest plan and sessions of the store at every shard. */
bool actor_server_is_done(const struct process *p)
{
    const struct server_actor *a = p->self;
    const struct plan *plan = p->place->sim->oracle->plan;

    for (uint32_t i = 0; i < a->n_shards; i++) {
        if (plan == NULL ||
            shard_plan_number(a->shards[i].shard) != plan->w.plan ||
            a->shards[i].thread->mail != NULL) {
            return false;
        }
    }
    return server_is_serving(a->server);
}

const char *actor_server_says(const struct process *p)
{
    return server_says(((const struct server_actor *)p->self)->server);
}
