/* A scheduler as a whole: from the store to the lease, the term and the run.
 * What it writes into the plan is in plan_owner.c. */
#include "scheduler/scheduler.h"

#include <stdio.h>

#include "base/mem.h"
#include "scheduler/readers.h"
#include "scheduler/restore.h"
#include "scheduler/save.h"

uint64_t scheduler_now(const struct scheduler *s)
{
    return s->net->now_us(s->net);
}

void scheduler_ask(struct scheduler *s, enum coord_op op, uint64_t tag,
                   const char *key, uint64_t version, const struct buf *data)
{
    struct coord_request r = {.op = op, .tag = tag, .version = version};

    ASSERT(strlen(key) <= COORD_KEY_MAX);
    memcpy(r.key, key, strlen(key) + 1);
    if (data != NULL) {
        r.data = data->data;
        r.size = data->size;
        r.flags = COORD_DURABLE;
    }
    s->coord->submit(s->coord, &r);
}

int scheduler_new(struct scheduler **scheduler,
                  const struct scheduler_options *options, struct coord *coord,
                  struct net *net, struct disk *disk)
{
    struct scheduler *s = mem_try_zero(sizeof(*s));
    size_t size = strlen(options->address) + 1;

    ASSERT(options->servers > 0 && options->servers <= LIMIT_SERVERS);
    if (s == NULL) {
        return PS_ENOMEM;
    }
    s->options = *options;
    s->address = mem_try(size);
    s->members = mem_try_zero(mem_array(options->servers, sizeof(*s->members)));
    s->save = mem_try(sizeof(*s->save));
    s->restore = mem_try(sizeof(*s->restore));
    if (s->save != NULL) {
        save_init(s->save);
    }
    if (s->restore != NULL) {
        restore_init(s->restore);
    }
    if (s->address == NULL || s->members == NULL || s->save == NULL ||
        s->restore == NULL) {
        scheduler_free(s);
        return PS_ENOMEM;
    }
    memcpy(s->address, options->address, size);
    s->coord = coord;
    s->net = net;
    s->disk = disk;
    s->retry_us = UINT64_MAX;
    s->look_us = UINT64_MAX;
    map_init(&s->guests);
    map_init(&s->connections);
    arena_init(&s->arena);
    *scheduler = s;
    return PS_OK;
}

void scheduler_free(struct scheduler *s)
{
    void *p;
    size_t i = 0;

    if (s == NULL) {
        return;
    }
    declare_drop_all(s);
    member_free(s);
    if (s->save != NULL) {
        save_fini(s);
        mem_free(s->save);
    }
    if (s->restore != NULL) {
        restore_fini(s->restore);
        mem_free(s->restore);
    }
    mem_free(s->members);
    while ((p = map_next(&s->connections, &i)) != NULL) {
        mem_free(p);
    }
    map_fini(&s->connections);
    if (s->has_lease) {
        lease_fini(&s->lease);
    }
    plan_free(s->plan);
    arena_fini(&s->arena);
    buf_fini(&s->readers);
    mem_free(s->address);
    mem_free(s);
}

void scheduler_start(struct scheduler *s)
{
    s->state = SCHEDULER_CLUSTER;
    s->nonce = s->net->random(s->net);
    snprintf(s->says, sizeof(s->says), "reads the store");
    scheduler_ask(s, COORD_GET, TAG_CLUSTER, "cluster", 0, NULL);
}

static void create_cluster(struct scheduler *s)
{
    struct wire_cluster w = {.format = 1, .lease_ms = s->options.lease_ms};
    struct buf b;

    if (!restore_cluster_id(s, &w.id_high, &w.id_low)) {
        w.id_high = s->net->random(s->net);
        w.id_low = s->net->random(s->net);
    }
    buf_init(&b);
    wire_cluster_encode(&w, &b);
    if (b.failed) {
        s->retry_us = scheduler_now(s) + LIMIT_WATCH_MS * 1000;
    } else {
        scheduler_ask(s, COORD_CAS, TAG_CLUSTER, "cluster", 0, &b);
    }
    buf_fini(&b);
}

static void on_cluster(struct scheduler *s, const struct coord_result *r)
{
    struct wire_cluster w;

    if (r->op == COORD_GET && r->status == PS_ENOTFOUND) {
        if (restore_before_cluster(s)) {
            create_cluster(s);
        }
        return;
    }
    arena_reset(&s->arena);
    if (r->op != COORD_GET || r->status != PS_OK ||
        wire_cluster_decode(r->data, r->size, &s->arena, &w) != PS_OK) {
        /* Written by us or by another, or not readable now: look again. */
        s->retry_us = scheduler_now(s) + LIMIT_RETRY_MS * 1000;
        return;
    }
    s->length_us = w.lease_ms * 1000;
    s->cluster_high = w.id_high;
    s->cluster_low = w.id_low;
    lease_init(&s->lease, s->coord, "scheduler", s->nonce, s->length_us,
               TAG_LEASE);
    s->has_lease = true;
    s->state = SCHEDULER_CLAIM;
    lease_claim(&s->lease);
}

void scheduler_go_on(struct scheduler *s)
{
    scheduler_ask(s, COORD_GET, TAG_CLUSTER, "cluster", 0, NULL);
}

void scheduler_refuse(struct scheduler *s, const char *why)
{
    snprintf(s->refusal, sizeof(s->refusal), "%s", why);
    base_one_line(s->refusal);
    snprintf(s->says, sizeof(s->says), "cannot run: %.140s", s->refusal);
    scheduler_stop(s);
}

const char *scheduler_refusal(const struct scheduler *s)
{
    return s->refusal[0] != '\0' ? s->refusal : NULL;
}

void scheduler_step_down(struct scheduler *s)
{
    log_write(LOG_WARNING, "another scheduler has taken over; stands by");
    declare_drop_all(s);
    member_free(s);
    save_stop(s);
    restore_stop(s);
    buf_clear(&s->readers);
    s->state = SCHEDULER_CLAIM;
    s->look_us = UINT64_MAX;
    snprintf(s->says, sizeof(s->says), "stands by: another scheduler runs");
    if (s->lease.state == LEASE_HELD) {
        lease_release(&s->lease, scheduler_now(s));
    }
}

static void take(struct scheduler *s)
{
    struct wire_scheduler w = {.address = s->address};
    struct buf b;

    buf_init(&b);
    wire_scheduler_encode(&w, &b);
    if (b.failed || lease_set_body(&s->lease, b.data, b.size) != PS_OK) {
        s->retry_us = scheduler_now(s) + LIMIT_WATCH_MS * 1000;
    } else {
        lease_take(&s->lease, scheduler_now(s));
    }
    buf_fini(&b);
}

static void on_lease_event(struct scheduler *s, enum lease_event event)
{
    switch (event) {
    case LEASE_NOTHING:
        break;
    case LEASE_IS_WAITING:
        snprintf(s->says, sizeof(s->says), "stands by: another scheduler runs");
        break;
    case LEASE_IS_READY:
        take(s);
        break;
    case LEASE_IS_HELD:
        s->state = SCHEDULER_TERM;
        snprintf(s->says, sizeof(s->says), "takes the plan over");
        plan_owner_start(s);
        break;
    case LEASE_IS_LOST:
        if (s->state == SCHEDULER_RUN || s->state == SCHEDULER_TERM) {
            scheduler_step_down(s);
        }
        lease_claim(&s->lease);
        break;
    case LEASE_IS_RELEASED:
        if (s->state == SCHEDULER_STOPPING) {
            s->state = SCHEDULER_STOPPED;
        } else {
            lease_claim(&s->lease);
        }
        break;
    }
}

void scheduler_on_coord(struct scheduler *s, const struct coord_result *r)
{
    if (s->state == SCHEDULER_STOPPED) {
        return;
    }
    switch ((enum scheduler_tag)(r->tag & 0xff)) {
    case TAG_CLUSTER:
        on_cluster(s, r);
        break;
    case TAG_LEASE:
        on_lease_event(s, lease_on_coord(&s->lease, r, scheduler_now(s)));
        break;
    case TAG_PLAN:
        plan_owner_on_coord(s, r);
        break;
    case TAG_SERVER:
        member_on_server(s, r);
        break;
    case TAG_SESSIONS:
        member_on_sessions(s, r);
        break;
    case TAG_SESSION:
        member_on_session(s, r);
        break;
    case TAG_SAVE:
        save_on_record(s, r);
        break;
    case TAG_SAVE_CUT:
        save_on_cut(s, r);
        break;
    case TAG_RESTORE:
        restore_on_coord(s, r);
        break;
    case TAG_READERS:
        readers_on_coord(s, r);
        break;
    case TAG_FORGET:
        break;
    }
}

void scheduler_on_disk(struct scheduler *s, const struct disk_result *r)
{
    if ((r->tag & RESTORE_TAG) != 0) {
        restore_on_disk(s, r);
    } else {
        save_on_disk(s, r);
    }
}

static void retry(struct scheduler *s)
{
    s->retry_us = UINT64_MAX;
    switch (s->state) {
    case SCHEDULER_CLUSTER:
        scheduler_ask(s, COORD_GET, TAG_CLUSTER, "cluster", 0, NULL);
        break;
    case SCHEDULER_CLAIM:
        if (s->lease.state == LEASE_READY) {
            take(s);
        }
        break;
    case SCHEDULER_TERM:
    case SCHEDULER_RUN:
        plan_owner_start(s);
        break;
    case SCHEDULER_STOPPING:
    case SCHEDULER_STOPPED:
        break;
    }
}

void scheduler_tick(struct scheduler *s)
{
    uint64_t now = scheduler_now(s);

    if (now >= s->retry_us) {
        retry(s);
    }
    if (s->has_lease) {
        lease_tick(&s->lease, now);
    }
    save_tick(s);
    restore_tick(s);
    if (s->state == SCHEDULER_RUN && now >= s->look_us) {
        s->look_us = now + (save_is_open(s) || s->plan->w.n_moves > 0
                                ? LIMIT_SAVE_LOOK_MS * 1000
                                : s->length_us / 16);
        member_look(s);
    }
}

uint64_t scheduler_next(const struct scheduler *s)
{
    uint64_t next = base_min_u64(s->retry_us, restore_next(s));

    if (s->has_lease) {
        next = base_min_u64(next, lease_next(&s->lease));
    }
    if (s->state == SCHEDULER_RUN) {
        next = base_min_u64(next, save_next(s));
        next = base_min_u64(next, s->look_us);
    }
    return next;
}

void scheduler_on_open(struct scheduler *s, uint64_t connection)
{
    struct scheduler_connection *c = mem_try_zero(sizeof(*c));

    if (c == NULL || map_put(&s->connections, connection, c) != PS_OK) {
        mem_free(c);
        s->net->close(s->net, connection);
    }
}

void scheduler_on_close(struct scheduler *s, uint64_t connection)
{
    mem_free(map_take(&s->connections, connection));
    for (struct pending *p = s->first; p != NULL; p = p->next) {
        if (p->connection == connection) {
            p->connection = 0;
        }
    }
}

void scheduler_on_frame(struct scheduler *s, uint64_t connection,
                        const struct frame_header *header, struct frame *frame)
{
    if (map_get(&s->connections, connection) != NULL) {
        declare_on_frame(s, connection, header, frame);
    }
}

void scheduler_stop(struct scheduler *s)
{
    if (s->state == SCHEDULER_RUN || s->state == SCHEDULER_TERM) {
        s->state = SCHEDULER_STOPPING;
        save_stop(s);
        restore_stop(s);
        declare_drop_all(s);
        lease_release(&s->lease, scheduler_now(s));
    } else if (s->state != SCHEDULER_STOPPING) {
        s->state = SCHEDULER_STOPPED;
    }
}

bool scheduler_has_stopped(const struct scheduler *s)
{
    return s->state == SCHEDULER_STOPPED;
}

bool scheduler_is_running(const struct scheduler *s)
{
    return s->state == SCHEDULER_RUN;
}

bool scheduler_stands_by(const struct scheduler *s)
{
    return s->state == SCHEDULER_CLAIM && s->has_lease &&
           s->lease.state == LEASE_WAITING;
}

const char *scheduler_says(const struct scheduler *s)
{
    return s->says;
}
