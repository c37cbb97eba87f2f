/* See server.h. Everything here answers one event and returns; what must wait
 * for the store or for a shard is a state. */
#include "server/server.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/probe.h"
#include "coord/lease.h"
#include "server/log_record.h"

PLANT_DECLARE(lane_number_reused);

enum state { CLUSTER, CLAIM, LANES, TAKE, SERVE, EMPTYING, STOPPING, STOPPED };

/* Tags of what is asked of the store. */
enum tag {
    TAG_CLUSTER = 1,
    TAG_LEASE,
    TAG_COUNTERS,
    TAG_PLAN,
    TAG_SESSIONS,
    TAG_SAVE,
    TAG_LOG /* with the shard in the next bits, see log_record.h */
};

/* A record that the shards are kept up to date with. */
/* A record that the shards are kept up to date with. */
struct watched {
    enum tag tag;
    const char *key;
    uint64_t version; /* what the shards were given */
    bool is_watching; /* a WATCH is unanswered */
    bool is_reading;  /* a GET is unanswered: somebody cannot wait */
    bool must_read;   /* the last answer was an error */
};

struct server_shard {
    char *address;
    uint64_t lane;
    uint64_t pong;
    uint64_t plan;
    uint64_t sessions;
    struct shard_report report;
    struct log_record log;
};

struct server {
    uint32_t id;
    uint32_t n_shards;
    bool has_log;
    struct server_shard *shards;
    struct coord *coord;
    struct net *net;
    struct server_owner *owner;
    enum state state;
    uint64_t nonce;
    bool has_lease; /* lease_init was called */
    struct lease lease;
    uint64_t incarnation;
    uint32_t emptied;
    uint64_t first_lane; /* of this life */
    bool asks_lanes;     /* `counters` is asked for, or written */
    uint64_t retry_us;   /* try what failed again; UINT64_MAX: nothing */
    uint64_t ping;
    uint64_t ping_us; /* when it is sent again, unanswered */
    bool is_due;      /* a renewal waits for the shards' answers */
    bool is_in_plan;
    uint32_t refused_by;   /* -sn of a cluster without this id; 0: it has it */
    uint64_t plan_number;  /* of the plan that the shards were given */
    uint64_t plan_with_us; /* the first one that has all our lanes; 0 */
    struct watched plan;
    struct watched sessions;
    struct watched save;
    struct arena arena;
    char says[128];
};

static uint64_t now_of(const struct server *s)
{
    return s->net->now_us(s->net);
}

static void ask(struct server *s, enum coord_op op, enum tag tag,
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
    s->state = CLUSTER;
    s->nonce = s->net->random(s->net);
    say(s, "waits for a scheduler to create the cluster in the store");
    ask(s, COORD_WATCH, TAG_CLUSTER, "cluster", 0, NULL);
}

static void on_cluster(struct server *s, const struct coord_result *r)
{
    struct wire_cluster w;
    char key[COORD_KEY_MAX + 1];

    arena_reset(&s->arena);
    if (r->status != PS_OK ||
        wire_cluster_decode(r->data, r->size, &s->arena, &w) != PS_OK) {
        s->retry_us = now_of(s) + LIMIT_WATCH_MS * 1000;
        return;
    }
    snprintf(key, sizeof(key), "server/%u", s->id);
    lease_init(&s->lease, s->coord, key, s->nonce, w.lease_ms * 1000,
               TAG_LEASE);
    s->has_lease = true;
    s->state = CLAIM;
    say(s, "reads its record in the store");
    lease_claim(&s->lease, now_of(s));
}

/* New numbers for a new life; a number that may have been taken is never
 * used, so an outcome that is not known just costs numbers. */
static void ask_lanes(struct server *s)
{
    s->state = LANES;
    say(s, "takes lane numbers from the store");
    if (!s->asks_lanes) {
        s->asks_lanes = true; /* once: s->first_lane is of the last answer */
        ask(s, COORD_GET, TAG_COUNTERS, "counters", 0, NULL);
    }
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
            .load_failed = r->load_failed,
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
        s->retry_us = now_of(s) + LIMIT_WATCH_MS * 1000;
        return;
    }
    if (r->status != PS_OK && r->status != PS_ENOTFOUND) {
        s->retry_us = now_of(s) + LIMIT_WATCH_MS * 1000;
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
        s->retry_us = now_of(s) + LIMIT_WATCH_MS * 1000;
    } else {
        s->asks_lanes = true;
        ask(s, COORD_CAS, TAG_COUNTERS, "counters", r->version, &b);
    }
    buf_fini(&b);
}

static void serve(struct server *s);

static void take(struct server *s)
{
    for (uint32_t i = 0; i < s->n_shards; i++) {
        s->shards[i] = (struct server_shard){
            .address = s->shards[i].address,
            .lane = s->first_lane + i,
            .log.serial = s->shards[i].log.serial + 1,
        };
    }
    if (set_body(s) != PS_OK) {
        s->retry_us = now_of(s) + LIMIT_WATCH_MS * 1000;
        return;
    }
    if (s->lease.state == LEASE_HELD) {
        serve(s); /* the next renewal tells of the new lanes */
        return;
    }
    s->state = TAKE;
    say(s, "takes its record in the store");
    lease_take(&s->lease, now_of(s));
}

static void on_counters(struct server *s, const struct coord_result *r)
{
    s->asks_lanes = false;
    if (s->state != LANES) {
        return;
    }
    if (r->op == COORD_GET) {
        on_counters_read(s, r);
    } else if (r->status == PS_OK) {
        take(s);
    } else {
        PROBE(server_lane_numbers_contended);
        s->retry_us = now_of(s) + LIMIT_RETRY_MS * 1000;
    }
}

static void watch(struct server *s, struct watched *w)
{
    if (!w->is_watching) {
        w->is_watching = true;
        ask(s, COORD_WATCH, w->tag, w->key, w->version, NULL);
    }
}

static void serve(struct server *s)
{
    s->state = SERVE;
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
        s->owner->start_lane(s->owner, i, s->shards[i].lane, s->emptied);
        s->owner->set_lease(s->owner, i, s->shards[i].lane,
                            lease_until(&s->lease));
        s->shards[i].pong = s->ping;
    }
    s->plan.must_read = true;
    s->sessions.must_read = true;
    s->save.must_read = true;
    watch(s, &s->plan);
    watch(s, &s->sessions);
    watch(s, &s->save);
}

static void come_back(struct server *s)
{
    log_write(LOG_WARNING,
              "its lanes were ended while it was away: it comes back empty");
    PROBE(server_came_back_empty);
    for (uint32_t i = 0; i < s->n_shards; i++) {
        s->owner->start_lane(s->owner, i, 0, s->emptied);
    }
    s->state = CLAIM;
    say(s, "reads its record in the store");
    lease_claim(&s->lease, now_of(s));
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
        if (s->state == STOPPING) {
            s->state = STOPPED;
        } else {
            come_back(s);
        }
        break;
    case LEASE_IS_RELEASED:
        s->state = STOPPED;
        break;
    }
}

static void on_lease(struct server *s, const struct coord_result *r)
{
    on_lease_event(s, lease_on_coord(&s->lease, r, now_of(s)));
    if (s->state == SERVE) {
        for (uint32_t i = 0; i < s->n_shards; i++) {
            s->owner->set_lease(s->owner, i, s->shards[i].lane,
                                lease_until(&s->lease));
        }
    }
}

static void ping_shards(struct server *s)
{
    s->ping_us = now_of(s) + s->lease.length_us / 8;
    s->owner->ping(s->owner, s->ping);
}

/* They are to acknowledge nothing more, and to say so (server_on_pong). */
static void stop_shards(struct server *s, enum state state)
{
    s->state = state;
    for (uint32_t i = 0; i < s->n_shards; i++) {
        s->owner->start_lane(s->owner, i, 0, s->emptied);
    }
    s->ping++;
    ping_shards(s);
}

/* New lanes while we hold the lease: the cluster goes back to a checkpoint, and
 * everybody begins a new life in it (protocol 9); or a lane has failed. Before
 * the new ones are in the store no shard acknowledges in its old one: what that
 * has logged is read by the others. */
static void begin_anew(struct server *s, const char *why)
{
    PROBE(server_lanes_rolled_back);
    log_write(LOG_WARNING, "%s: its lanes have ended, it takes others", why);
    say(s, "waits for its shards to end their lanes");
    stop_shards(s, EMPTYING);
}

static bool is_ours(const struct server *s, uint64_t lane)
{
    return lane >= s->first_lane && lane < s->first_lane + s->n_shards;
}

/* Takes note of a plan's number, and whether it has all our lanes. False: it
 * has ended them, or never will have any of ours. */
static bool look_at_plan(struct server *s, const struct coord_result *r)
{
    struct wire_plan w;
    uint32_t n = 0;
    uint32_t n_ended = 0;

    arena_reset(&s->arena);
    if (wire_plan_decode(r->data, r->size, &s->arena, &w) != PS_OK) {
        return true;
    }
    for (uint32_t i = 0; i < w.n_ended; i++) {
        n_ended += is_ours(s, w.ended[i].lane);
    }
    for (uint32_t i = 0; i < w.n_lanes; i++) {
        n += is_ours(s, w.lanes[i].lane);
    }
    if (n_ended > 0) {
        begin_anew(s, "the cluster goes back to a checkpoint");
        return false;
    }
    if (n == 0 && w.servers != 0 && s->id >= w.servers) {
        s->refused_by = w.servers;
        server_stop(s);
        return false;
    }
    s->plan_number = w.plan;
    if (s->owner->set_place != NULL) {
        s->owner->set_place(s->owner, w.checkpoints);
    }
    if (s->plan_with_us == 0 && n == s->n_shards) {
        s->plan_with_us = w.plan;
    }
    return true;
}

/* Hands a newer record to the shards and waits for the next. One that was
 * asked for is handed out again: a shard may have had no memory for it. */
static void on_watched(struct server *s, struct watched *w,
                       const struct coord_result *r)
{
    if (r->op == COORD_WATCH) {
        w->is_watching = false;
    } else {
        w->is_reading = false;
    }
    if (s->state != SERVE) {
        return;
    }
    if (r->status == PS_OK &&
        (r->version > w->version || w->must_read ||
         (r->op == COORD_GET && r->version == w->version))) {
        w->version = r->version;
        w->must_read = false;
        if (w == &s->plan) {
            if (!look_at_plan(s, r)) {
                return;
            }
            s->owner->set_plan(s->owner, r->data, r->size);
        } else if (w == &s->sessions) {
            s->owner->set_sessions(s->owner, r->version, r->data, r->size);
        } else if (s->owner->set_save != NULL) {
            s->owner->set_save(s->owner, r->data, r->size);
        }
    }
    if (r->status == PS_OK || r->status == PS_ENOTFOUND) {
        watch(s, w);
    } else {
        s->retry_us = now_of(s) + LIMIT_WATCH_MS * 1000;
    }
}

static uint64_t log_tag(uint32_t shard)
{
    return TAG_LOG | (uint64_t)shard << 8;
}

void server_on_log_record(struct server *s, uint32_t shard,
                          const struct shard_log_record *wanted)
{
    if (s->state == SERVE) {
        log_record_ask(&s->shards[shard].log, s->coord, log_tag(shard), wanted);
    }
}

static void on_log(struct server *s, const struct coord_result *r)
{
    uint32_t shard = (uint32_t)(r->tag >> 8 & 0xffff);
    struct shard_log_record record;

    if (log_record_on_coord(&s->shards[shard].log, s->coord, log_tag(shard), r,
                            &record)) {
        s->owner->log_record(s->owner, shard, &record);
    }
}

void server_on_coord(struct server *s, const struct coord_result *r)
{
    if (s->state == STOPPED) {
        return;
    }
    switch ((enum tag)(r->tag & 0xff)) {
    case TAG_LOG:
        on_log(s, r);
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
        on_watched(s, &s->plan, r);
        break;
    case TAG_SESSIONS:
        on_watched(s, &s->sessions, r);
        break;
    case TAG_SAVE:
        on_watched(s, &s->save, r);
        break;
    }
}

void server_on_want(struct server *s, enum shard_want what, uint64_t number)
{
    struct watched *w = what == SHARD_WANT_PLAN       ? &s->plan
                        : what == SHARD_WANT_SESSIONS ? &s->sessions
                                                      : &s->save;

    if (what == SHARD_WANT_LIFE) {
        if (s->state == SERVE && is_ours(s, number)) {
            PROBE(log_failed_server_begins_anew);
            begin_anew(s, "a shard cannot write its log");
        }
        return;
    }
    if (s->state != SERVE || w->is_reading) {
        return;
    }
    w->is_reading = true;
    ask(s, COORD_GET, w->tag, w->key, 0, NULL);
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
    uint64_t now = now_of(s);

    if (now < lease_next(&s->lease)) {
        return;
    }
    s->is_due = (s->state == SERVE || s->state == EMPTYING) && !all_answered(s);
    if (s->is_due) {
        if (now >= s->ping_us) {
            ping_shards(s);
        }
        return;
    }
    if (s->state == SERVE) {
        (void)set_body(s);
    }
    lease_tick(&s->lease, now);
    if (s->state == SERVE) {
        s->ping++;
        ping_shards(s);
    }
}

static bool is_stopping(const struct server *s)
{
    return s->state == STOPPING || s->state == EMPTYING;
}

/* True if the shard lives the lane that it was told to; else tells it again. */
static bool has_its_lane(struct server *s, uint32_t shard, uint64_t lane)
{
    uint64_t wanted = s->state == SERVE ? s->shards[shard].lane : 0;

    if (lane == wanted || (s->state != SERVE && !is_stopping(s))) {
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
    if (in_plan && !s->is_in_plan && s->state == SERVE) {
        s->is_in_plan = true;
        say(s, "serves");
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
    if (s->is_due) {
        renew(s);
    }
    if (s->state == STOPPING && all_answered(s)) {
        say(s, "gives its record back");
        lease_release(&s->lease, now_of(s));
    } else if (s->state == EMPTYING && all_answered(s)) {
        ask_lanes(s);
    }
}

void server_on_report(struct server *s, uint32_t shard, uint64_t lane,
                      const struct shard_report *report)
{
    struct server_shard *h = &s->shards[shard];

    if (s->state != SERVE || lane != h->lane) {
        return;
    }
    h->report = *report;
    /* Written at once, as soon as all shards have answered a ping. */
    (void)set_body(s);
}

static void retry(struct server *s)
{
    s->retry_us = UINT64_MAX;
    if (s->state == CLUSTER) {
        ask(s, COORD_WATCH, TAG_CLUSTER, "cluster", 0, NULL);
    } else if (s->state == LANES) {
        ask_lanes(s);
    } else if (s->state == SERVE) {
        watch(s, &s->plan);
        watch(s, &s->sessions);
        watch(s, &s->save);
    }
}

void server_tick(struct server *s)
{
    if (now_of(s) >= s->retry_us) {
        retry(s);
    }
    if (s->has_lease) {
        renew(s);
    }
    if (is_stopping(s) && !all_answered(s) && now_of(s) >= s->ping_us) {
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
    if (s->state == SERVE) {
        say(s, "waits for its shards to stop");
        stop_shards(s, STOPPING);
    } else if (s->state != STOPPING) {
        s->state = STOPPED;
    }
}

bool server_has_stopped(const struct server *s)
{
    return s->state == STOPPED;
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
    return s->state == SERVE && s->is_in_plan;
}

const char *server_says(const struct server *s)
{
    return s->says;
}
