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
    MAIL_PING,
    MAIL_WANT,
    MAIL_PONG
};

struct shard_actor {
    struct shard *shard;
    struct shard_owner owner;
    struct thread *thread;
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
    struct mail pong = {.kind = MAIL_PONG, .shard = t->number - 1, .a = m->a};

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
    case MAIL_PING:
        pong.b = shard_plan_number(shard);
        pong.c = shard_sessions_version(shard);
        pong.d = shard_lane(shard);
        world_mail(t, &t->process->threads[0], &pong);
        break;
    case MAIL_WANT:
    case MAIL_PONG:
        break;
    }
}

static void no_tick(struct thread *t)
{
    (void)t;
}

static uint64_t no_next(struct thread *t)
{
    (void)t;
    return UINT64_MAX;
}

static const struct machine shard_machine = {
    .on_open = shard_open,
    .on_frame = shard_frame,
    .on_close = shard_closed,
    .on_mail = shard_mail,
    .tick = no_tick,
    .next = no_next,
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
    } else {
        server_on_pong(actor_of(t)->server, m->shard,
                       &(struct server_pong){m->a, m->d, m->b, m->c});
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

void actor_server_start(struct place *p)
{
    struct sim *s = p->sim;
    struct server_actor *a = world_take(s, sizeof(*a));
    const char *addresses[SIM_SHARDS_MAX];
    struct server_options options = {.id = p->index, .n_shards = s->n_shards};
    uint32_t port = world_chance(s, 500000) ? 7000 : 7000 + 10 * p->lives;
    int rc = PS_OK;

    a->process = world_process(p, s->n_shards + 1);
    a->process->self = a;
    a->n_shards = s->n_shards;
    a->owner = (struct server_owner){start_lane, set_lease, set_plan,
                                     set_sessions, ping};
    for (uint32_t i = 0; i < s->n_shards; i++) {
        struct shard_actor *shard = &a->shards[i];
        struct shard_options so = {p->index, i, &kern_generic};

        shard->thread = &a->process->threads[i + 1];
        shard->owner = (struct shard_owner){want, applied};
        shard->thread->self = shard;
        shard->thread->machine = &shard_machine;
        snprintf(shard->thread->address, SIM_ADDRESS_BYTES, "10.0.0.%u:%u",
                 10 + p->index, port + i);
        addresses[i] = shard->thread->address;
        rc = shard_new(&shard->shard, &so, &shard->thread->net, &shard->owner);
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

struct shard *actor_server_shard(const struct process *p, uint32_t shard)
{
    return ((struct server_actor *)p->self)->shards[shard].shard;
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
