/* schedule.c - the scheduler process: one thread, one loop. */
#include "scheduler/schedule.h"

#include <signal.h>
#include <time.h>

#include "base/limits.h"
#include "base/log.h"
#include "ckpt/disk_loop.h"
#include "coord/coord_loop.h"
#include "coord/patience.h"
#include "kern/kern.h"
#include "net/address.h"
#include "net/loop.h"
#include "scheduler/scheduler.h"

/* A store that does not answer must not keep a process that was told to end. */
enum { STOP_US = 10000000 };

struct process {
    const struct schedule_options *options;
    struct loop *loop;
    struct coord_loop *store;
    struct disk_loop *files; /* NULL: no checkpoints */
    struct scheduler *scheduler;
    struct patience patience;
    uint64_t stop_us; /* when an orderly stop is given up; 0: not stopping */
    int rc;
    struct err err;
};

static void on_open(void *context, uint64_t connection)
{
    struct process *p = context;

    scheduler_on_open(p->scheduler, connection);
}

static void on_frame(void *context, uint64_t connection,
                     const struct frame_header *header, struct frame *frame)
{
    struct process *p = context;

    scheduler_on_frame(p->scheduler, connection, header, frame);
}

static void on_close(void *context, uint64_t connection)
{
    struct process *p = context;

    scheduler_on_close(p->scheduler, connection);
}

static void on_coord(void *context, const struct coord_result *result)
{
    struct process *p = context;

    scheduler_on_coord(p->scheduler, result);
}

static void on_disk(void *context, const struct disk_result *result)
{
    struct process *p = context;

    scheduler_on_disk(p->scheduler, result);
}

static uint64_t wall_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* A standby has nothing to give up: it is there for the day it is needed. */
static bool is_in_place(const struct process *p)
{
    return scheduler_is_running(p->scheduler) ||
           scheduler_stands_by(p->scheduler);
}

static void on_tick(void *context)
{
    struct process *p = context;
    uint64_t now = loop_now();

    coord_loop_tick(p->store);
    if (p->files != NULL) {
        disk_loop_tick(p->files);
    }
    if (now >= scheduler_next(p->scheduler)) {
        scheduler_tick(p->scheduler);
    }
    if (p->stop_us == 0 && scheduler_refusal(p->scheduler) != NULL) {
        p->rc = err_set(&p->err, PS_EDATALOSS, "%s",
                        scheduler_refusal(p->scheduler));
        p->stop_us = now + STOP_US;
    }
    if (p->stop_us != 0) {
        if (scheduler_has_stopped(p->scheduler)) {
            loop_quit(p->loop);
        } else if (now >= p->stop_us) {
            log_write(LOG_WARNING, "ends without having said so in the store");
            loop_quit(p->loop);
        }
        return;
    }
    p->rc = patience_look(&p->patience, now, is_in_place(p),
                          scheduler_says(p->scheduler), &p->err);
    if (p->rc != PS_OK) {
        loop_quit(p->loop);
    }
}

static uint64_t next_us(void *context)
{
    struct process *p = context;
    uint64_t next =
        base_min_u64(scheduler_next(p->scheduler), coord_loop_next(p->store));

    if (p->files != NULL) {
        next = base_min_u64(next, disk_loop_next(p->files));
    }
    if (p->stop_us == 0 && scheduler_refusal(p->scheduler) != NULL) {
        return 0;
    }
    if (p->stop_us != 0) {
        return scheduler_has_stopped(p->scheduler)
                   ? 0
                   : base_min_u64(next, p->stop_us);
    }
    if (is_in_place(p) != p->patience.is_ready) {
        return 0;
    }
    return base_min_u64(next, patience_next(&p->patience, loop_now()));
}

static void on_signal(void *context, int number)
{
    struct process *p = context;

    log_write(LOG_INFO, "signal %d: ends", number);
    if (p->stop_us != 0) {
        loop_quit(p->loop); /* the second time at once */
        return;
    }
    p->stop_us = loop_now() + STOP_US;
    scheduler_stop(p->scheduler);
}

static const struct loop_handler handler = {
    .on_open = on_open,
    .on_frame = on_frame,
    .on_close = on_close,
    .on_tick = on_tick,
    .next_us = next_us,
    .on_signal = on_signal,
};

static int open_scheduler(struct process *p, struct err *e)
{
    const struct schedule_options *o = p->options;
    const char *bind = o->bind != NULL ? o->bind : "127.0.0.1";
    char host[ADDRESS_HOST_MAX + 1];
    char address[ADDRESS_MAX + 1];
    uint16_t port = 0;
    struct coord_loop_options store = {
        .kv_path = o->kv_path,
        .loop = p->loop,
        .answer = on_coord,
        .context = p,
    };
    struct scheduler_options options = {
        .servers = o->servers,
        .limits = o->limits,
        .address = address,
        .lease_ms = o->lease_ms != 0 ? o->lease_ms : LIMIT_LEASE_MS,
        .checkpoints = o->checkpoints,
        .keep = o->keep,
        .full_every = o->full_every,
        .wall_ms = wall_ms,
        .accept_empty = o->accept_empty,
        .successor_ms = (uint64_t)o->give_up_s * 1000,
        .save_wait_ms = (uint64_t)o->save_wait_s * 1000,
        .consistent = o->consistent,
    };
    int rc;

    rc = address_host(bind, o->advertise, host, e);
    if (rc == PS_OK) {
        rc = loop_listen(p->loop, bind, o->port, &port, e);
    }
    if (rc == PS_OK) {
        rc = coord_loop_open(&p->store, &store, e);
    }
    if (rc == PS_OK && o->checkpoints != NULL) {
        rc = disk_loop_open(&p->files, p->loop, o->checkpoints, DISK_LOOP_FILES,
                            on_disk, p, e);
    }
    if (rc != PS_OK) {
        return rc;
    }
    address_format(host, port, address);
    rc = scheduler_new(&p->scheduler, &options, coord_loop_coord(p->store),
                       loop_net(p->loop),
                       p->files != NULL ? disk_loop_disk(p->files) : NULL);
    if (rc != PS_OK) {
        return err_set(e, rc, "scheduler: %s", ps_status_text(rc));
    }
    log_write(LOG_INFO, "listens as %s", address);
    return PS_OK;
}

static int run(struct process *p, struct err *e)
{
    struct loop_options options = {
        .handler = &handler,
        .context = p,
        .accepted_max = loop_accepted_max(1),
        .patience_ms = LIMIT_GREETING_MS,
    };
    int rc;

    rc = loop_new(&p->loop, &options, e);
    if (rc == PS_OK) {
        rc = loop_signal(p->loop, SIGTERM, e);
    }
    if (rc == PS_OK) {
        rc = loop_signal(p->loop, SIGINT, e);
    }
    if (rc == PS_OK) {
        rc = open_scheduler(p, e);
    }
    if (rc != PS_OK) {
        return rc;
    }
    scheduler_start(p->scheduler);
    loop_run(p->loop);
    if (p->rc != PS_OK && e != NULL) {
        *e = p->err;
    }
    return p->rc;
}

int schedule_run(const struct schedule_options *options, struct err *e)
{
    struct process p = {.options = options};
    int rc;

    log_set_name("scheduler");
    signal(SIGPIPE, SIG_IGN);
    kern_enter();
    patience_init(&p.patience, loop_now(), options->wait_s);
    rc = run(&p, e);
    if (p.loop != NULL) {
        loop_stop(p.loop);
    }
    disk_loop_close(p.files);
    scheduler_free(p.scheduler);
    coord_loop_close(p.store);
    loop_free(p.loop);
    return rc;
}
