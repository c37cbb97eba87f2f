/* serve.c - the server process.
 *
 *     main thread                              shard threads
 *     +--------------------------------+       +-----------------------------+
 *     | loop: store, signals, timer    |orders | loop: connections of clients|
 *     |   struct server                |------>|   struct shard              |
 *     |                                |<------|                             |
 *     +--------------------------------+ wants,+-----------------------------+
 *                                        pongs
 *
 * Nothing is shared but the mailboxes. A server that stops releases its record
 * first and ends its shards afterwards: they answer until somebody else may.
 */
#include "server/serve.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "coord/coord_loop.h"
#include "coord/patience.h"
#include "net/address.h"
#include "net/loop.h"
#include "server/ahead.h"
#include "server/places.h"
#include "server/server.h"

/* A store that does not answer must not keep a process that was told to end. */
enum { STOP_US = 10000000 };

enum mail_kind {
    /* to a shard */
    MAIL_START_LANE,
    MAIL_SET_LEASE,
    MAIL_SET_PLAN,
    MAIL_SET_SESSIONS,
    MAIL_SET_SAVE,
    MAIL_LOG_RECORD, /* and back */
    MAIL_PING,
    MAIL_QUIT,
    /* from a shard */
    MAIL_WANT,
    MAIL_PONG,
    MAIL_REPORT
};

struct order {
    struct loop_mail mail;
    uint64_t lane;
    uint64_t number; /* lease's end, version of a record, serial of a ping */
    uint32_t emptied;
    size_t size;
    uint8_t record[];
};

struct reply {
    struct loop_mail mail;
    uint32_t shard;
    enum shard_want what;
    uint64_t number; /* wanted, or serial of the ping */
    uint64_t plan;
    uint64_t lane;
    uint64_t sessions_version;
    struct shard_report report;
    struct shard_log_record log;
};

struct process;

/* How the fields are kept safe: all are set before the thread starts and belong
 * to it from then on, until it was joined. */
struct unit {
    struct shard_owner owner;
    struct process *process;
    uint32_t number;
    pthread_t thread;
    bool is_started;
    struct loop *loop; /* loop_post from any thread */
    struct ahead ahead;
    struct places files;
    struct disk_loop *log; /* NULL: none */
    struct shard *shard;
    char address[ADDRESS_MAX + 1];
};

/* The main thread's. */
struct process {
    struct server_owner owner;
    const struct serve_options *options;
    struct loop *loop;
    struct coord_loop *store;
    struct server *server;
    struct unit *units;
    uint32_t n_units;
    struct patience patience;
    uint64_t stop_us; /* when an orderly stop is given up; 0: not stopping */
    int rc;
    struct err err;
};

static void post_reply(struct unit *u, const struct reply *reply)
{
    struct reply *r = mem_try(sizeof(*r));

    if (r == NULL) {
        /* A want is asked again, and so is a pong. */
        log_write(LOG_ERROR, "out of memory: a shard cannot answer");
        return;
    }
    *r = *reply;
    loop_post(u->process->loop, &r->mail);
}

static void want(struct shard_owner *o, uint32_t shard, enum shard_want what,
                 uint64_t number)
{
    struct reply r = {
        .mail.kind = MAIL_WANT,
        .shard = shard,
        .what = what,
        .number = number,
    };

    post_reply(CONTAINER_OF(o, struct unit, owner), &r);
}

static void saved(struct shard_owner *o, uint32_t shard)
{
    struct unit *u = CONTAINER_OF(o, struct unit, owner);
    struct reply r = {
        .mail.kind = MAIL_REPORT,
        .shard = shard,
        .lane = shard_lane(u->shard),
    };

    shard_report(u->shard, &r.report);
    post_reply(u, &r);
}

static void log_record(struct shard_owner *o, uint32_t shard,
                       const struct shard_log_record *record)
{
    struct reply r = {
        .mail.kind = MAIL_LOG_RECORD,
        .shard = shard,
        .log = *record,
    };

    post_reply(CONTAINER_OF(o, struct unit, owner), &r);
}

static int set_place(struct shard_owner *o, const char *url, struct err *e)
{
    return places_set(&CONTAINER_OF(o, struct unit, owner)->files, url, e);
}

static void unit_log(void *context, const struct disk_result *result)
{
    struct unit *u = context;

    shard_on_log(u->shard, result);
}

static void unit_disk(void *context, const struct disk_result *result)
{
    struct unit *u = context;

    shard_on_disk(u->shard, result);
}

static void unit_tick(void *context)
{
    struct unit *u = context;

    places_tick(&u->files);
    disk_loop_tick(u->log);
    shard_tick(u->shard);
}

static uint64_t unit_next(void *context)
{
    struct unit *u = context;
    uint64_t next =
        base_min_u64(places_next(&u->files), disk_loop_next(u->log));

    /* 0: rows are being loaded, or a log's records applied. */
    return base_min_u64(next, base_max_u64(shard_next(u->shard), LOOP_BUSY));
}

static void unit_open(void *context, uint64_t connection)
{
    struct unit *u = context;

    shard_on_open(u->shard, connection);
}

static void unit_frame(void *context, uint64_t connection,
                       const struct frame_header *header, struct frame *frame)
{
    struct unit *u = context;

    shard_on_frame(u->shard, connection, header, frame);
}

static void unit_close(void *context, uint64_t connection)
{
    struct unit *u = context;

    shard_on_close(u->shard, connection);
}

/* A record that a shard did not take shows in its next pong. */
static void check_record(const struct unit *u, int rc, const char *name)
{
    if (rc != PS_OK) {
        log_write(LOG_ERROR, "shard %u: the record `%s`: %s",
                  (unsigned)u->number, name, ps_status_text(rc));
    }
}

static void unit_mail(void *context, struct loop_mail *mail)
{
    struct unit *u = context;
    struct order *order = CONTAINER_OF(mail, struct order, mail);
    struct reply pong;

    switch ((enum mail_kind)mail->kind) {
    case MAIL_START_LANE:
        shard_start_lane(u->shard, order->lane, order->emptied);
        break;
    case MAIL_SET_LEASE:
        shard_set_lease(u->shard, order->lane, order->number);
        break;
    case MAIL_SET_PLAN:
        check_record(u, shard_set_plan(u->shard, order->record, order->size),
                     "plan");
        break;
    case MAIL_SET_SESSIONS:
        check_record(u,
                     shard_set_sessions(u->shard, order->number, order->record,
                                        order->size),
                     "sessions");
        break;
    case MAIL_SET_SAVE:
        check_record(u, shard_set_save(u->shard, order->record, order->size),
                     "save");
        break;
    case MAIL_LOG_RECORD:
        shard_on_log_record(
            u->shard, (const struct shard_log_record *)(void *)order->record);
        break;
    case MAIL_PING:
        pong = (struct reply){
            .mail.kind = MAIL_PONG,
            .shard = u->number,
            .number = order->number,
            .lane = shard_lane(u->shard),
            .plan = shard_plan_number(u->shard),
            .sessions_version = shard_sessions_version(u->shard),
        };
        shard_report(u->shard, &pong.report);
        post_reply(u, &pong);
        break;
    case MAIL_QUIT:
        loop_quit(u->loop);
        break;
    case MAIL_WANT:
    case MAIL_PONG:
    case MAIL_REPORT:
        ASSERT(false); /* for the main loop */
    }
}

static const struct loop_handler unit_handler = {
    .on_open = unit_open,
    .on_frame = unit_frame,
    .on_close = unit_close,
    .on_mail = unit_mail,
    .on_tick = unit_tick,
    .next_us = unit_next,
};

static void *run_unit(void *argument)
{
    struct unit *u = argument;

    kern_enter();
    loop_run(u->loop);
    return NULL;
}

static void post_order(struct unit *u, const struct order *head,
                       const void *record, size_t size)
{
    struct order *o = mem_try(sizeof(*o) + size);

    if (o == NULL) {
        /* Its leases are not renewed then, or its pongs tell what it has. */
        log_write(LOG_ERROR, "out of memory: an order to shard %u is lost",
                  (unsigned)u->number);
        return;
    }
    *o = *head;
    o->size = size;
    if (size > 0) {
        memcpy(o->record, record, size);
    }
    loop_post(u->loop, &o->mail);
}

static struct process *process_of(struct server_owner *o)
{
    return CONTAINER_OF(o, struct process, owner);
}

static void start_lane(struct server_owner *o, uint32_t shard, uint64_t lane,
                       uint32_t emptied)
{
    struct order order = {
        .mail.kind = MAIL_START_LANE,
        .lane = lane,
        .emptied = emptied,
    };

    post_order(&process_of(o)->units[shard], &order, NULL, 0);
}

static void set_lease(struct server_owner *o, uint32_t shard, uint64_t lane,
                      uint64_t until_us)
{
    struct order order = {
        .mail.kind = MAIL_SET_LEASE,
        .lane = lane,
        .number = until_us,
    };

    post_order(&process_of(o)->units[shard], &order, NULL, 0);
}

static void post_all(struct process *p, const struct order *order,
                     const void *record, size_t size)
{
    for (uint32_t i = 0; i < p->n_units; i++) {
        post_order(&p->units[i], order, record, size);
    }
}

static void set_plan(struct server_owner *o, const void *record, size_t size)
{
    struct order order = {.mail.kind = MAIL_SET_PLAN};

    post_all(process_of(o), &order, record, size);
}

static void set_sessions(struct server_owner *o, uint64_t version,
                         const void *record, size_t size)
{
    struct order order = {.mail.kind = MAIL_SET_SESSIONS, .number = version};

    post_all(process_of(o), &order, record, size);
}

static void set_save(struct server_owner *o, const void *record, size_t size)
{
    struct order order = {.mail.kind = MAIL_SET_SAVE};

    post_all(process_of(o), &order, record, size);
}

static void tell_log_record(struct server_owner *o, uint32_t shard,
                            const struct shard_log_record *record)
{
    struct order order = {.mail.kind = MAIL_LOG_RECORD};

    post_order(&process_of(o)->units[shard], &order, record, sizeof(*record));
}

static void ping(struct server_owner *o, uint64_t serial)
{
    struct order order = {.mail.kind = MAIL_PING, .number = serial};

    post_all(process_of(o), &order, NULL, 0);
}

static void on_coord(void *context, const struct coord_result *result)
{
    struct process *p = context;

    server_on_coord(p->server, result);
}

static void main_mail(void *context, struct loop_mail *mail)
{
    struct process *p = context;
    struct reply *r = CONTAINER_OF(mail, struct reply, mail);

    if (mail->kind == MAIL_WANT) {
        server_on_want(p->server, r->what, r->number);
    } else if (mail->kind == MAIL_LOG_RECORD) {
        server_on_log_record(p->server, r->shard, &r->log);
    } else if (mail->kind == MAIL_REPORT) {
        server_on_report(p->server, r->shard, r->lane, &r->report);
    } else {
        ASSERT(mail->kind == MAIL_PONG);
        server_on_pong(p->server, r->shard,
                       &(struct server_pong){r->number, r->lane, r->plan,
                                             r->sessions_version, r->report});
    }
}

static void main_tick(void *context)
{
    struct process *p = context;
    uint64_t now = loop_now();

    coord_loop_tick(p->store);
    if (now >= server_next(p->server)) {
        server_tick(p->server);
    }
    if (server_has_stopped(p->server)) {
        p->rc = server_refusal(p->server, &p->err);
        loop_quit(p->loop);
    } else if (p->stop_us != 0 && now >= p->stop_us) {
        log_write(LOG_WARNING, "ends without having said so in the store");
        loop_quit(p->loop);
    } else if (p->stop_us == 0) {
        p->rc = patience_look(&p->patience, now, server_is_serving(p->server),
                              server_says(p->server), &p->err);
        if (p->rc != PS_OK) {
            loop_quit(p->loop);
        }
    }
}

static uint64_t main_next(void *context)
{
    struct process *p = context;
    uint64_t next =
        base_min_u64(server_next(p->server), coord_loop_next(p->store));

    if (server_has_stopped(p->server) || p->stop_us != 0) {
        return server_has_stopped(p->server) ? 0
                                             : base_min_u64(next, p->stop_us);
    }
    if (server_is_serving(p->server) != p->patience.is_ready) {
        return 0;
    }
    return base_min_u64(next, patience_next(&p->patience, loop_now()));
}

static void main_signal(void *context, int number)
{
    struct process *p = context;

    log_write(LOG_INFO, "signal %d: ends", number);
    if (p->stop_us != 0) {
        loop_quit(p->loop); /* the second time at once */
        return;
    }
    p->stop_us = loop_now() + STOP_US;
    server_stop(p->server);
}

static const struct loop_handler main_handler = {
    .on_tick = main_tick,
    .next_us = main_next,
    .on_mail = main_mail,
    .on_signal = main_signal,
};

static int open_unit(struct unit *u, struct process *p, const char *bind,
                     const char *host, struct err *e)
{
    const struct serve_options *o = p->options;
    struct loop_options options = {
        .handler = &unit_handler,
        .context = u,
        .spin_us = loop_spin_us(p->n_units),
        .accepted_max = loop_accepted_max(p->n_units),
        .patience_ms = LIMIT_GREETING_MS,
    };
    struct shard_options shard = {
        .server = o->id,
        .shard = u->number,
        .kern = o->kern != NULL ? o->kern : kern_choose(),
        /* A shard that is bound touches its memory itself: it is near then. */
        .ahead = o->cpus == NULL ? &u->ahead.stock : NULL,
    };
    uint16_t port = 0;
    int rc;

    u->process = p;
    u->owner.want = want;
    u->owner.saved = saved;
    u->owner.log_record = log_record;
    u->owner.set_place = set_place;
    rc = loop_new(&u->loop, &options, e);
    if (rc != PS_OK) {
        return rc;
    }
    ahead_init(&u->ahead, u->loop);
    rc = loop_listen(u->loop, bind,
                     o->port == 0 ? 0 : (uint16_t)(o->port + u->number), &port,
                     e);
    if (rc != PS_OK) {
        return rc;
    }
    address_format(host, port, u->address);
    places_init(&u->files, u->loop, unit_disk, u);
    rc = places_set(&u->files, "", e);
    if (rc == PS_OK && o->log_path != NULL) {
        rc = disk_loop_open(&u->log, u->loop, o->log_path, DISK_LOOP_LOG,
                            unit_log, u, e);
        shard.log = rc == PS_OK ? disk_loop_disk(u->log) : NULL;
    }
    if (rc != PS_OK) {
        return rc;
    }
    rc = shard_new(&u->shard, &shard, loop_net(u->loop), &u->files.disk,
                   &u->owner);
    if (rc != PS_OK) {
        return err_set(e, rc, "shard %u: %s", (unsigned)u->number,
                       ps_status_text(rc));
    }
    return PS_OK;
}

static int open_units(struct process *p, struct err *e)
{
    const struct serve_options *o = p->options;
    const char *bind = o->bind != NULL ? o->bind : "127.0.0.1";
    char host[ADDRESS_HOST_MAX + 1];
    uint32_t n = o->n_shards != 0 ? o->n_shards : loop_cpus();
    int rc;

    if (n > LIMIT_SHARDS) {
        return err_set(e, PS_EARGUMENT, "%u shards: at most %d", (unsigned)n,
                       (int)LIMIT_SHARDS);
    }
    if (o->port != 0 && o->port + n - 1 > UINT16_MAX) {
        return err_set(e, PS_EARGUMENT,
                       "%u shards from port %u on: the last "
                       "port is 65535",
                       (unsigned)n, (unsigned)o->port);
    }
    rc = address_host(bind, o->advertise, host, e);
    if (rc != PS_OK) {
        return rc;
    }
    p->units = mem_try_zero(mem_array(n, sizeof(*p->units)));
    if (p->units == NULL) {
        return err_set(e, PS_ENOMEM, "no memory for %u shards", (unsigned)n);
    }
    p->n_units = n;
    for (uint32_t i = 0; i < n; i++) {
        p->units[i].number = i;
        rc = open_unit(&p->units[i], p, bind, host, e);
        if (rc != PS_OK) {
            return rc;
        }
    }
    return PS_OK;
}

static int open_server(struct process *p, struct err *e)
{
    const char *addresses[LIMIT_SHARDS];
    struct server_options options = {
        .id = p->options->id,
        .n_shards = p->n_units,
        .addresses = addresses,
        .has_log = p->options->log_path != NULL,
    };
    struct coord_loop_options store = {
        .kv_path = p->options->kv_path,
        .loop = p->loop,
        .answer = on_coord,
        .context = p,
    };
    int rc;

    rc = coord_loop_open(&p->store, &store, e);
    if (rc != PS_OK) {
        return rc;
    }
    for (uint32_t i = 0; i < p->n_units; i++) {
        addresses[i] = p->units[i].address;
    }
    rc = server_new(&p->server, &options, coord_loop_coord(p->store),
                    loop_net(p->loop), &p->owner);
    if (rc != PS_OK) {
        return err_set(e, rc, "server: %s", ps_status_text(rc));
    }
    return PS_OK;
}

/* 0 or errno. A thread that is bound is so from its first moment, before it
 * touches a row: what it allocates is near its CPU. */
static int start_thread(struct unit *u, const uint32_t *cpus)
{
    pthread_attr_t attributes;
    int rc = pthread_attr_init(&attributes);

    if (rc != 0) {
        return rc;
    }
    if (cpus != NULL) {
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(cpus[u->number], &set);
        rc = pthread_attr_setaffinity_np(&attributes, sizeof(set), &set);
    }
    if (rc == 0) {
        rc = pthread_create(&u->thread, &attributes, run_unit, u);
    }
    u->is_started = rc == 0;
    pthread_attr_destroy(&attributes);
    return rc;
}

/* Signals are for the main loop: the shards' threads block them all. */
static int start_threads(struct process *p, struct err *e)
{
    const uint32_t *cpus = p->options->cpus;
    sigset_t all;
    sigset_t former;
    uint32_t i = 0;
    int rc = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    while (i < p->n_units && rc == 0) {
        rc = start_thread(&p->units[i], cpus);
        i += rc == 0 ? 1 : 0;
    }
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    if (rc == 0) {
        return PS_OK;
    }
    if (rc == EINVAL && cpus != NULL) {
        return err_set(e, PS_EIO, "shard %u cannot be bound to CPU %u: %s",
                       (unsigned)i, (unsigned)cpus[i], strerror(rc));
    }
    return err_set(e, PS_ENOMEM, "thread: %s", strerror(rc));
}

static void close_units(struct process *p)
{
    struct order quit = {.mail.kind = MAIL_QUIT};

    for (uint32_t i = 0; i < p->n_units; i++) {
        struct unit *u = &p->units[i];

        if (u->is_started) {
            struct order *o = mem_new(sizeof(*o));

            *o = quit;
            loop_post(u->loop, &o->mail);
            pthread_join(u->thread, NULL);
        }
        if (u->loop != NULL) {
            loop_stop(u->loop);
        }
        places_fini(&u->files);
        disk_loop_close(u->log);
        shard_free(u->shard);
        ahead_fini(&u->ahead);
        loop_free(u->loop);
    }
    mem_free(p->units);
}

static int run(struct process *p, struct err *e)
{
    struct loop_options options = {.handler = &main_handler, .context = p};
    int rc;

    rc = loop_new(&p->loop, &options, e);
    if (rc == PS_OK) {
        rc = loop_signal(p->loop, SIGTERM, e);
    }
    if (rc == PS_OK) {
        rc = loop_signal(p->loop, SIGINT, e);
    }
    if (rc == PS_OK) {
        rc = open_units(p, e);
    }
    if (rc == PS_OK) {
        rc = open_server(p, e);
    }
    if (rc == PS_OK) {
        rc = start_threads(p, e);
    }
    if (rc != PS_OK) {
        return rc;
    }
    for (uint32_t i = 0; i < p->n_units; i++) {
        log_write(LOG_INFO, "shard %u listens as %s", (unsigned)i,
                  p->units[i].address);
    }
    server_start(p->server);
    loop_run(p->loop);
    if (p->rc != PS_OK && e != NULL) {
        *e = p->err;
    }
    return p->rc;
}

int serve_run(const struct serve_options *options, struct err *e)
{
    struct process p = {
        .owner =
            {
                .start_lane = start_lane,
                .set_lease = set_lease,
                .set_plan = set_plan,
                .set_sessions = set_sessions,
                .set_save = set_save,
                .log_record = tell_log_record,
                .ping = ping,
            },
        .options = options,
    };
    char name[32];
    int rc;

    snprintf(name, sizeof(name), "server %u", (unsigned)options->id);
    log_set_name(name);
    signal(SIGPIPE, SIG_IGN);
    patience_init(&p.patience, loop_now(), options->wait_s);
    rc = run(&p, e);
    close_units(&p);
    if (p.loop != NULL) {
        loop_stop(p.loop);
    }
    server_free(p.server);
    coord_loop_close(p.store);
    loop_free(p.loop);
    return rc;
}
