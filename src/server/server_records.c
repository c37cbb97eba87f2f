/* The records of the store that the shards are kept up to date with (the plan,
 * the sessions, what is to be saved) and those of their logs. A newer one is
 * handed out when the store tells of it; a shard that misses one asks. */
#include "server/server.h"

#include "base/probe.h"
#include "server/server_impl.h"

void server_watch(struct server *s, struct watched *w)
{
    if (!w->is_watching) {
        w->is_watching = true;
        server_ask(s, COORD_WATCH, w->tag, w->key, w->version, NULL);
    }
}

/* Whose it is of our shards; n_shards: none's. */
static uint32_t shard_of(const struct server *s, uint64_t lane)
{
    uint32_t i = 0;

    while (i < s->n_shards && s->shards[i].lane != lane) {
        i++;
    }
    return i;
}

static bool is_ours(const struct server *s, uint64_t lane)
{
    return shard_of(s, lane) < s->n_shards;
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
        server_begin_anew(s);
        return false;
    }
    if (n == 0 && w.servers != 0 && s->id >= w.servers) {
        s->refused_by = w.servers;
        server_stop(s);
        return false;
    }
    s->plan_number = w.plan;
    if (s->plan_with_us == 0 && n == s->n_shards) {
        s->plan_with_us = w.plan;
    }
    return true;
}

/* Hands a newer record to the shards and waits for the next. One that was
 * asked for is handed out again: a shard may have had no memory for it. */
void server_on_watched(struct server *s, struct watched *w,
                       const struct coord_result *r)
{
    if (r->op == COORD_WATCH) {
        w->is_watching = false;
    } else {
        w->is_reading = false;
    }
    if (s->state != SERVER_SERVE) {
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
        server_watch(s, w);
    } else {
        s->retry_us = server_now(s) + LIMIT_WATCH_MS * 1000;
    }
}

static uint64_t log_tag(uint32_t shard)
{
    return TAG_LOG | (uint64_t)shard << 8;
}

void server_on_log_record(struct server *s, uint32_t shard,
                          const struct shard_log_record *wanted)
{
    if (s->state == SERVER_SERVE) {
        log_record_ask(&s->shards[shard].log, s->coord, log_tag(shard), wanted);
    }
}

void server_on_log(struct server *s, const struct coord_result *r)
{
    uint32_t shard = (uint32_t)(r->tag >> 8 & 0xffff);
    struct shard_log_record record;

    if (log_record_on_coord(&s->shards[shard].log, s->coord, log_tag(shard), r,
                            &record)) {
        s->owner->log_record(s->owner, shard, &record);
    }
}

void server_on_want(struct server *s, enum shard_want what, uint64_t number)
{
    struct watched *w = what == SHARD_WANT_PLAN       ? &s->plan
                        : what == SHARD_WANT_SESSIONS ? &s->sessions
                                                      : &s->save;

    if (what == SHARD_WANT_LIFE) {
        if (s->state == SERVER_SERVE && is_ours(s, number)) {
            server_end_lane(s, shard_of(s, number));
        }
        return;
    }
    if (s->state != SERVER_SERVE || w->is_reading) {
        return;
    }
    w->is_reading = true;
    server_ask(s, COORD_GET, w->tag, w->key, 0, NULL);
}
