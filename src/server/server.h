/* server.h - the control part of a server: its lease, lanes, plan, sessions.
 *
 * A deterministic state machine, like the shards it drives. It lives on the
 * server's main loop; orders for shards leave through struct server_owner,
 * which carries them to the shards' threads (or straight to the shards, in the
 * simulator).
 *
 *     CLUSTER  reads `cluster`; waits until a scheduler has made it
 *     CLAIM    waits until the record server/<id> is free
 *     LANES    takes new lane numbers from `counters`
 *     TAKE     writes server/<id> with the lanes
 *     SERVE    renews; hands plan and sessions to the shards; one that cannot
 *              write its log ends its lane and gets another one
 *     (ended by the scheduler -> LANES: comes back empty)
 *     EMPTYING all go back: its shards end their lanes; then LANES
 *     STOPPING releases the record, then STOPPED
 */
#ifndef SERVER_H
#define SERVER_H

#include "coord/coord.h"
#include "net/net.h"
#include "server/shard.h"

struct server;

struct server_owner {
    void (*start_lane)(struct server_owner *o, uint32_t shard, uint64_t lane,
                       uint32_t emptied);
    void (*set_lease)(struct server_owner *o, uint32_t shard, uint64_t lane,
                      uint64_t until_us);
    /* To every shard. The bytes are borrowed for the call. */
    void (*set_plan)(struct server_owner *o, const void *record, size_t size);
    void (*set_sessions)(struct server_owner *o, uint64_t version,
                         const void *record, size_t size);
    /* May be NULL. */
    void (*set_save)(struct server_owner *o, const void *record, size_t size);
    /* What the record of a log says: shard_on_log_record. May be NULL. */
    void (*log_record)(struct server_owner *o, uint32_t shard,
                       const struct shard_log_record *record);
    /* Every shard is to answer with server_on_pong. */
    void (*ping)(struct server_owner *o, uint64_t serial);
};

/* What a shard has when it answers a ping. An order may have been lost on its
 * way for want of memory: what the pong shows missing is ordered again. */
struct server_pong {
    uint64_t serial; /* of the ping */
    uint64_t lane;
    uint64_t plan;
    uint64_t sessions_version;
    struct shard_report report;
};

struct server_options {
    uint32_t id;
    uint32_t n_shards;
    const char *const *addresses; /* [n_shards] "host:port", copied */
    bool has_log;                 /* its shards have a place for logs */
};

int server_new(struct server **server, const struct server_options *options,
               struct coord *coord, struct net *net,
               struct server_owner *owner) MUST_USE;
void server_free(struct server *s);
void server_start(struct server *s);
void server_on_coord(struct server *s, const struct coord_result *result);
/* From a shard: it wants something, or it answers a ping with what it has. */
void server_on_want(struct server *s, enum shard_want what, uint64_t number);
void server_on_pong(struct server *s, uint32_t shard,
                    const struct server_pong *pong);
/* A shard asks for the record of a log, or writes it. */
void server_on_log_record(struct server *s, uint32_t shard,
                          const struct shard_log_record *wanted);
/* What a shard has to say has changed. */
void server_on_report(struct server *s, uint32_t shard, uint64_t lane,
                      const struct shard_report *report);
void server_tick(struct server *s);
/* When server_tick wants to be called; UINT64_MAX: no need. */
uint64_t server_next(const struct server *s);
/* Begins an orderly stop; server_has_stopped says when it is done. */
void server_stop(struct server *s);
bool server_has_stopped(const struct server *s);
/* PS_EARGUMENT with the reason if it stops because its id is none of the
 * cluster's (-sn). */
int server_refusal(const struct server *s, struct err *e) MUST_USE;
/* True once its lanes are in the plan and the shards serve. */
bool server_is_serving(const struct server *s);
/* One line: what it does or waits for. */
const char *server_says(const struct server *s);

#endif
