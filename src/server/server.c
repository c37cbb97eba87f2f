/* See server.h. Everything here answers one event and returns; what must wait
 * for the store or for a shard is a state. */
#include "server/server.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/probe.h"
#include "server/server_impl.h"

PLANT_DECLARE(lane_number_reused);

void server_ask(struct server *s, enum coord_op op, enum server_tag tag,
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

static void say(struct server *s, const char *text)
{
    snprintf(s->says, sizeof(s->says), "%s", text);
}

int server_new(struct server **server, const struct server_options *options,
               struct coord *coord, struct net *net, struct server_owner *owner)
{
    struct server *s = mem_try_zero(sizeof(*s));

    ASSERT(options->n_shards > 0 && options->n_shards <= LIMIT_SHARDS);
    if (s == NULL) {
        return PS_ENOMEM;
    }
    s->shards = mem_try_zero(mem_array(options->n_shards, sizeof(*s->shards)));
    if (s->shards == NULL) {
        server_free(s);
        return PS_ENOMEM;
    }
    s->id = options->id;
    s->n_shards = options->n_shards;
    s->has_log = options->has_log;
    for (uint32_t i = 0; i < s->n_shards; i++) {
        size_t size = strlen(options->addresses[i]) + 1;

        s->shards[i].address = mem_try(size);
        if (s->shards[i].address == NULL) {
            server_free(s);
            return PS_ENOMEM;
        }
        memcpy(s->shards[i].address, options->addresses[i], size);
    }
    s->coord = coord;
    s->net = net;
    s->owner = owner;
    s->retry_us = UINT64_MAX;
    s->plan = (struct watched){.tag = TAG_PLAN, .key = "plan"};
    s->sessions = (struct watched){.tag = TAG_SESSIONS, .key = "sessions"};
    s->save = (struct watched){.tag = TAG_SAVE, .key = "save"};
    arena_init(&s->arena);
    *server = s;
    return PS_OK;
}

void server_free(struct server *s)
{
    if (s == NULL) {
        return;
    }
    for (uint32_t i = 0; s->shards != NULL && i < s->n_shards; i++) {
        mem_free(s->shards[i].address);
    }
    mem_free(s->shards);
    if (s->has_lease) {
        lease_fini(&s->lease);
    }
    arena_fini(&s->arena);
    mem_free(s);
}

void server_start(struct server *s)
{
    s->state = SERVER_CLUSTER;
    s->nonce = s->net->random(s->net);
    say(s, "waits for a scheduler to create the cluster in the store");
    server_ask(s, COORD_WATCH, TAG_CLUSTER, "cluster", 0, NULL);
}

static void on_cluster(struct server *s, const struct coord_result *r)
{
    struct wire_cluster w;
    char key[COORD_KEY_MAX + 1];

    arena_reset(&s->arena);
    if (r->status != PS_OK ||
        wire_cluster_decode(r->data, r->size, &s->arena, &w) != PS_OK) {
        s->retry_us = server_now(s) + LIMIT_WATCH_MS * 1000;
        return;
    }
    snprintf(key, sizeof(key), "server/%u", s->id);
    lease_init(&s->lease, s->coord, key, s->nonce, w.lease_ms * 1000,
               TAG_LEASE);
    s->has_lease = true;
    s->state = SERVER_CLAIM;
    say(s, "reads its record in the store");
    lease_claim(&s->lease);
}

/* New numbers, one for each shard; a number that may have been taken is never
 * used, so an outcome that is not known just costs numbers. */
static void ask_numbers(struct server *s)
{
    if (!s->asks_lanes) {
        s->asks_lanes = true; /* once: s->first_lane is of the last answer */
        server_ask(s, COORD_GET, TAG_COUNTERS, "counters", 0, NULL);
    }
}

static void ask_lanes(struct server *s)
{
    s->state = SERVER_LANES;
    say(s, "takes lane numbers from the store");
    ask_numbers(s);
}

static void on_ready(struct server *s)
{
    struct wire_server old;

    arena_reset(&s->arena);
    if (s->lease.old_body.size > 0 &&
        wire_server_decode(s->lease.old_body.data, s->lease.old_body.size,
                           &s->arena, &old) == PS_OK) {
        if (s->incarnation <= old.incarnation) {
            s->incarnation = old.incarnation + 1;
        }
        s->emptied = old.emptied + 1;
    }
    ask_lanes(s);
}

static int set_body(struct server *s)
{
    struct wire_shard *shards;
    struct wire_server w = {
        .id = s->id,
        .incarnation = s->incarnation,
        .sessions_seen = UINT64_MAX,
        .plan_seen = UINT64_MAX,
        .emptied = s->emptied,
        .n_shards = s->n_shards,
        .has_log = s->has_log,
    };
    struct buf b;
    int rc;

    arena_reset(&s->arena);
    shards = arena_take(&s->arena, s->n_shards * sizeof(*shards));
    if (shards == NULL) {
        return PS_ENOMEM;
    }
    for (uint32_t i = 0; i < s->n_shards; i++) {
        const struct shard_report *r = &s->shards[i].report;

        shards[i] = (struct wire_shard){
            .lane = s->shards[i].lane,
            .address = s->shards[i].address,
            .cut = r->cut,
            .saved = r->saved,
            .rows = r->rows,
            .rows_done = r->rows_done,
            .index_bytes = r->index_bytes,
            .index_checksum = r->index_checksum,
            .loaded = r->loaded,
            .loaded_unlogged = r->loaded_unlogged,
            .load_failed = r->load_failed,
            .moved = r->moved,
            .moved_state = r->moved_state,
            .moved_rows = r->moved_rows,
            .moved_done = r->moved_done,
            .moved_steps = r->moved_steps,
            .why = r->why,
        };
        w.sessions_seen = base_min_u64(w.sessions_seen, s->shards[i].sessions);
        w.plan_seen = base_min_u64(w.plan_seen, s->shards[i].plan);
    }
    w.shards = shards;
    buf_init(&b);
    wire_server_encode(&w, &b);
    rc = b.failed ? PS_ENOMEM : lease_set_body(&s->lease, b.data, b.size);
    buf_fini(&b);
    return rc;
}

static void on_counters_read(struct server *s, const struct coord_result *r)
{
    struct wire_counters w = {.next_lane = 1};
    struct buf b;

    arena_reset(&s->arena);
    if (r->status == PS_OK &&
        wire_counters_decode(r->data, r->size, &s->arena, &w) != PS_OK) {
        s->retry_us = server_now(s) + LIMIT_WATCH_MS * 1000;
        return;
    }
    if (r->status != PS_OK && r->status != PS_ENOTFOUND) {
        s->retry_us = server_now(s) + LIMIT_WATCH_MS * 1000;
        return;
    }
    s->first_lane = w.next_lane;
    if (!PLANT(lane_number_reused)) {
        w.next_lane += s->n_shards;
    }
    w.nonce = s->nonce;
    buf_init(&b);
    wire_counters_encode(&w, &b);
    if (b.failed) {
        s->retry_us = server_now(s) + LIMIT_WATCH_MS * 1000;
    } else {
        s->asks_lanes = true;
        server_ask(s, COORD_CAS, TAG_COUNTERS, "counters", r->version, &b);
    }
    buf_fini(&b);
}

static void serve(struct server *s);

static void renew_shard(struct server *s, uint32_t i)
{
    s->shards[i] = (struct server_shard){
        .address = s->shards[i].address,
        .lane = s->first_lane + i,
        .log.serial = s->shards[i].log.serial + 1,
    };
}

static void take(struct server *s)
{
    for (uint32_t i = 0; i < s->n_shards; i++) {
        renew_shard(s, i);
    }
    if (set_body(s) != PS_OK) {
        s->retry_us = server_now(s) + LIMIT_WATCH_MS * 1000;
        return;
    }
    if (s->lease.state == LEASE_HELD) {
        serve(s); /* the next renewal tells of the new lanes */
        return;
    }
    s->state = SERVER_TAKE;
    say(s, "takes its record in the store");
    lease_take(&s->lease, server_now(s));
}

static void start_shard(struct server *s, uint32_t i)
{
    s->owner->start_lane(s->owner, i, s->shards[i].lane, s->emptied);
    s->owner->set_lease(s->owner, i, s->shards[i].lane, lease_until(&s->lease));
    s->shards[i].pong = s->ping;
}

static bool wants_lane(const struct server *s)
{
    bool any = false;

    for (uint32_t i = 0; i < s->n_shards; i++) {
        any = any || s->shards[i].has_ended;
    }
    return any && s->state == SERVER_SERVE;
}

/* Lanes in the place of those that have ended. The next renewal tells of them:
 * no shard acknowledges in an old one when it does. */
static void take_instead(struct server *s)
{
    for (uint32_t i = 0; i < s->n_shards; i++) {
        if (s->shards[i].has_ended) {
            renew_shard(s, i);
            start_shard(s, i);
            log_write(LOG_INFO, "shard %u goes on with lane %llu", (unsigned)i,
                      (unsigned long long)s->shards[i].lane);
        }
    }
    s->is_in_plan = false;
    s->plan_with_us = 0;
    say(s, "waits for the scheduler to take a lane into the plan");
    (void)set_body(s);
    server_on_want(s, SHARD_WANT_PLAN, 0);
    server_on_want(s, SHARD_WANT_SESSIONS, 0);
    server_on_want(s, SHARD_WANT_SAVE, 0);
}

static void on_counters(struct server *s, const struct coord_result *r)
{
    s->asks_lanes = false;
    if (s->state != SERVER_LANES && !wants_lane(s)) {
        return;
    }
    if (r->op == COORD_GET) {
        on_counters_read(s, r);
    } else if (r->status == PS_OK && s->state == SERVER_LANES) {
        take(s);
    } else if (r->status == PS_OK) {
        take_instead(s);
    } else {
        PROBE(server_lane_numbers_contended);
        s->retry_us = server_now(s) + LIMIT_RETRY_MS * 1000;
    }
}

static void serve(struct server *s)
{
    s->state = SERVER_SERVE;
    s->is_in_plan = false;
    s->is_due = false;
    s->plan_number = 0;
    s->plan_with_us = 0;
    s->plan.version = 0;
    s->sessions.version = 0;
    s->save.version = 0;
    say(s, "waits for the scheduler to take its lanes into the plan");
    log_write(LOG_INFO, "serves with lanes %llu to %llu%s",
              (unsigned long long)s->first_lane,
              (unsigned long long)s->first_lane + s->n_shards - 1,
              s->emptied > 0 ? "; its former rows are lost" : "");
    for (uint32_t i = 0; i < s->n_shards; i++) {
        start_shard(s, i);
    }
    s->plan.must_read = true;
    s->sessions.must_read = true;
    s->save.must_read = true;
    server_watch(s, &s->plan);
    server_watch(s, &s->sessions);
    server_watch(s, &s->save);
}

static void come_back(struct server *s)
{
    log_write(LOG_WARNING,
              "its lanes were ended while it was away: it comes back empty");
    PROBE(server_came_back_empty);
    for (uint32_t i = 0; i < s->n_shards; i++) {
        s->owner->start_lane(s->owner, i, 0, s->emptied);
    }
    s->state = SERVER_CLAIM;
    say(s, "reads its record in the store");
    lease_claim(&s->lease);
}

static void on_lease_event(struct server *s, enum lease_event event)
{
    switch (event) {
    case LEASE_NOTHING:
        break;
    case LEASE_IS_WAITING:
        say(s, "waits: another process holds this server's id");
        log_write(LOG_WARNING,
                  "server %u is held by another process; waits until its "
                  "lease ends",
                  s->id);
        break;
    case LEASE_IS_READY:
        on_ready(s);
        break;
    case LEASE_IS_HELD:
        serve(s);
        break;
    case LEASE_IS_LOST:
        if (s->state == SERVER_STOPPING) {
            s->state = SERVER_STOPPED;
        } else {
            come_back(s);
        }
        break;
    case LEASE_IS_RELEASED:
        s->state = SERVER_STOPPED;
        break;
    }
}

static void on_lease(struct server *s, const struct coord_result *r)
{
    on_lease_event(s, lease_on_coord(&s->lease, r, server_now(s)));
    if (s->state == SERVER_SERVE) {
        for (uint32_t i = 0; i < s->n_shards; i++) {
            s->owner->set_lease(s->owner, i, s->shards[i].lane,
                                lease_until(&s->lease));
        }
    }
}

static void ping_shards(struct server *s)
{
    s->ping_us = server_now(s) + s->lease.length_us / 8;
    s->owner->ping(s->owner, s->ping);
}

/* They are to acknowledge nothing more, and to say so (server_on_pong). */
static void stop_shards(struct server *s, enum server_state state)
{
    s->state = state;
    for (uint32_t i = 0; i < s->n_shards; i++) {
        s->owner->start_lane(s->owner, i, 0, s->emptied);
    }
    s->ping++;
    ping_shards(s);
}

/* New lanes while we hold the lease: the cluster goes back to a checkpoint, and
 * everybody begins a new life in it (protocol 9). Before the new ones are in
 * the store no shard acknowledges in its old one: what that has logged is read
 * by the others. */
void server_begin_anew(struct server *s)
{
    PROBE(server_lanes_rolled_back);
    log_write(LOG_WARNING, "the cluster goes back to a checkpoint: its lanes "
                           "have ended, it takes others");
    say(s, "waits for its shards to end their lanes");
    stop_shards(s, SERVER_EMPTYING);
}

/* The same of one that cannot write its log, or that served what the plan has
 * given up. */
void server_end_lane(struct server *s, uint32_t shard)
{
    struct server_shard *h = &s->shards[shard];

    if (h->ending != 0) {
        return;
    }
    PROBE(log_failed_shard_begins_anew);
    log_write(LOG_WARNING, "the lane of shard %u has ended, it takes another",
              (unsigned)shard);
    snprintf(s->says, sizeof(s->says), "waits for shard %u to end its lane",
             (unsigned)shard);
    h->ending = ++s->ping;
    s->owner->start_lane(s->owner, shard, 0, s->emptied);
    ping_shards(s);
}

void server_on_coord(struct server *s, const struct coord_result *r)
{
    if (s->state == SERVER_STOPPED) {
        return;
    }
    switch ((enum server_tag)(r->tag & 0xff)) {
    case TAG_LOG:
        server_on_log(s, r);
        break;
    case TAG_CLUSTER:
        on_cluster(s, r);
        break;
    case TAG_LEASE:
        on_lease(s, r);
        break;
    case TAG_COUNTERS:
        on_counters(s, r);
        break;
    case TAG_PLAN:
        server_on_watched(s, &s->plan, r);
        break;
    case TAG_SESSIONS:
        server_on_watched(s, &s->sessions, r);
        break;
    case TAG_SAVE:
        server_on_watched(s, &s->save, r);
        break;
    }
}

static bool all_answered(const struct server *s)
{
    for (uint32_t i = 0; i < s->n_shards; i++) {
        if (s->shards[i].pong != s->ping) {
            return false;
        }
    }
    return true;
}

/* Renews, if every shard has answered since the last time (protocol 7.1). A
 * ping or its answer may have been lost: it is sent again meanwhile. */
static void renew(struct server *s)
{
    uint64_t now = server_now(s);

    if (now < lease_next(&s->lease)) {
        return;
    }
    s->is_due = (s->state == SERVER_SERVE || s->state == SERVER_EMPTYING) &&
                !all_answered(s);
    if (s->is_due) {
        if (now >= s->ping_us) {
            ping_shards(s);
        }
        return;
    }
    if (s->state == SERVER_SERVE) {
        (void)set_body(s);
    }
    lease_tick(&s->lease, now);
    if (s->state == SERVER_SERVE) {
        s->ping++;
        ping_shards(s);
    }
}

static bool is_stopping(const struct server *s)
{
    return s->state == SERVER_STOPPING || s->state == SERVER_EMPTYING;
}

/* True if the shard lives the lane that it was told to; else tells it again. */
static bool has_its_lane(struct server *s, uint32_t shard, uint64_t lane)
{
    const struct server_shard *h = &s->shards[shard];
    uint64_t wanted = s->state == SERVER_SERVE && h->ending == 0 ? h->lane : 0;

    if (lane == wanted || (s->state != SERVER_SERVE && !is_stopping(s))) {
        return true;
    }
    s->owner->start_lane(s->owner, shard, wanted, s->emptied);
    if (wanted != 0) {
        s->owner->set_lease(s->owner, shard, wanted, lease_until(&s->lease));
        server_on_want(s, SHARD_WANT_PLAN, 0);
        server_on_want(s, SHARD_WANT_SESSIONS, 0);
        server_on_want(s, SHARD_WANT_SAVE, 0);
    }
    return false;
}

/* All shards have a plan with our lanes. */
static void look_whether_in_plan(struct server *s)
{
    bool in_plan = s->plan_with_us != 0;

    for (uint32_t i = 0; i < s->n_shards; i++) {
        in_plan = in_plan && s->shards[i].plan >= s->plan_with_us;
    }
    if (in_plan && !s->is_in_plan && s->state == SERVER_SERVE) {
        s->is_in_plan = true;
        say(s, "serves");
    }
}

static void look_at_shard(struct server *s, struct server_shard *h,
                          const struct server_pong *pong)
{
    h->plan = pong->plan;
    h->sessions = pong->sessions_version;
    h->report = pong->report;
    look_whether_in_plan(s);
    /* Mostly the record is still on its way to the shard. */
    if (h->plan < s->plan_number) {
        server_on_want(s, SHARD_WANT_PLAN, s->plan_number);
    }
    if (h->sessions < s->sessions.version) {
        server_on_want(s, SHARD_WANT_SESSIONS, 0);
    }
}

void server_on_pong(struct server *s, uint32_t shard,
                    const struct server_pong *pong)
{
    struct server_shard *h = &s->shards[shard];

    if (!has_its_lane(s, shard, pong->lane)) {
        return;
    }
    h->pong = pong->serial;
    if (h->ending == 0) {
        look_at_shard(s, h, pong);
    } else if (h->pong >= h->ending && s->state == SERVER_SERVE) {
        h->has_ended = true;
        ask_numbers(s);
    }
    if (s->is_due) {
        renew(s);
    }
    if (s->state == SERVER_STOPPING && all_answered(s)) {
        say(s, "gives its record back");
        lease_release(&s->lease, server_now(s));
    } else if (s->state == SERVER_EMPTYING && all_answered(s)) {
        ask_lanes(s);
    }
}

void server_on_report(struct server *s, uint32_t shard, uint64_t lane,
                      const struct shard_report *report)
{
    struct server_shard *h = &s->shards[shard];

    if (s->state != SERVER_SERVE || lane != h->lane) {
        return;
    }
    h->report = *report;
    /* Written at once, as soon as all shards have answered a ping. */
    (void)set_body(s);
}

static void retry(struct server *s)
{
    s->retry_us = UINT64_MAX;
    if (s->state == SERVER_CLUSTER) {
        server_ask(s, COORD_WATCH, TAG_CLUSTER, "cluster", 0, NULL);
    } else if (s->state == SERVER_LANES) {
        ask_lanes(s);
    } else if (s->state == SERVER_SERVE) {
        if (wants_lane(s)) {
            ask_numbers(s);
        }
        server_watch(s, &s->plan);
        server_watch(s, &s->sessions);
        server_watch(s, &s->save);
    }
}

void server_tick(struct server *s)
{
    if (server_now(s) >= s->retry_us) {
        retry(s);
    }
    if (s->has_lease) {
        renew(s);
    }
    if (is_stopping(s) && !all_answered(s) && server_now(s) >= s->ping_us) {
        ping_shards(s);
    }
}

uint64_t server_next(const struct server *s)
{
    uint64_t next = s->retry_us;

    if (s->has_lease) {
        next =
            base_min_u64(next, s->is_due ? s->ping_us : lease_next(&s->lease));
    }
    if (is_stopping(s) && !all_answered(s)) {
        next = base_min_u64(next, s->ping_us);
    }
    return next;
}

/* The shards stop acknowledging first; the record is given back when all of
 * them have said so (server_on_pong). */
void server_stop(struct server *s)
{
    if (s->state == SERVER_SERVE) {
        say(s, "waits for its shards to stop");
        stop_shards(s, SERVER_STOPPING);
    } else if (s->state != SERVER_STOPPING) {
        s->state = SERVER_STOPPED;
    }
}

bool server_has_stopped(const struct server *s)
{
    return s->state == SERVER_STOPPED;
}

int server_refusal(const struct server *s, struct err *e)
{
    return s->refused_by == 0
               ? PS_OK
               : err_set(e, PS_EARGUMENT,
                         "the cluster has -sn %u: -si is at most %u",
                         s->refused_by, s->refused_by - 1);
}

bool server_is_serving(const struct server *s)
{
    return s->state == SERVER_SERVE && s->is_in_plan;
}

const char *server_says(const struct server *s)
{
    return s->says;
}
