/* actor_scheduler.c - a scheduler process: one machine on one thread. */
#include <stdio.h>

#include "scheduler/scheduler.h"
#include "sim.h"

static struct scheduler *scheduler_of(const struct thread *t)
{
    return t->self;
}

static void on_open(struct thread *t, uint64_t connection)
{
    scheduler_on_open(scheduler_of(t), connection);
}

static void on_frame(struct thread *t, uint64_t connection,
                     const struct frame_header *h, struct frame *f)
{
    scheduler_on_frame(scheduler_of(t), connection, h, f);
}

static void on_close(struct thread *t, uint64_t connection)
{
    scheduler_on_close(scheduler_of(t), connection);
}

static void on_coord(struct thread *t, const struct coord_result *r)
{
    scheduler_on_coord(scheduler_of(t), r);
}

static void on_disk(struct thread *t, const struct disk_result *r)
{
    scheduler_on_disk(scheduler_of(t), r);
}

static void tick(struct thread *t)
{
    scheduler_tick(scheduler_of(t));
}

static uint64_t next(struct thread *t)
{
    return scheduler_next(scheduler_of(t));
}

static const struct machine machine = {
    .on_open = on_open,
    .on_frame = on_frame,
    .on_close = on_close,
    .on_coord = on_coord,
    .on_disk = on_disk,
    .tick = tick,
    .next = next,
};

void actor_scheduler_start(struct place *p)
{
    struct sim *s = p->sim;
    struct process *process = world_process(p, 1);
    struct thread *t = &process->threads[0];
    struct scheduler_options options = {
        .servers = s->n_servers,
        .limits = {.memory_bytes = s->memory_bytes},
        .lease_ms = LIMIT_LEASE_MS,
        .checkpoints = "sim://",
        .keep = 2,
        .accept_empty = true, /* a root may be damaged beyond use */
        .full_every = s->full_every,
        .successor_ms = s->successor_ms,
        .save_wait_ms = s->seed % 4 == 1 ? 2000 : 60000,
        .consistent = s->is_consistent,
        .ended_session_ms = world_ended_session_ms(s),
    };
    struct scheduler *scheduler;
    int rc;

    snprintf(t->address, sizeof(t->address), "10.0.0.1:%u",
             6000 + 100 * p->index +
                 (world_chance(s, 500000) ? 0 : process->life));
    options.address = t->address;
    rc = scheduler_new(&scheduler, &options, &process->coord, &t->net,
                       simdisk_new(t));
    ASSERT(rc == PS_OK);
    process->self = scheduler;
    t->self = scheduler;
    t->machine = &machine;
    world_enter(t);
    scheduler_start(scheduler);
    world_leave(t);
}

void actor_scheduler_kill(struct process *p)
{
    scheduler_free(p->self);
}

/* One runs; the others stand by. */
bool actor_scheduler_is_done(const struct process *p)
{
    const struct sim *s = p->place->sim;
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->n_schedulers; i++) {
        const struct process *other = s->places[i].process;

        n += other != NULL && scheduler_is_running(other->self);
    }
    return n == 1;
}

const char *actor_scheduler_says(const struct process *p)
{
    return scheduler_says(p->self);
}
