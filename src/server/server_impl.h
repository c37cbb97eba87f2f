/* server_impl.h - the inside of a server, shared by its .c files only. */
#ifndef SERVER_IMPL_H
#define SERVER_IMPL_H

#include "base/arena.h"
#include "coord/lease.h"
#include "server/log_record.h"
#include "server/server.h"

enum server_state {
    SERVER_CLUSTER,
    SERVER_CLAIM,
    SERVER_LANES,
    SERVER_TAKE,
    SERVER_SERVE,
    SERVER_EMPTYING,
    SERVER_STOPPING,
    SERVER_STOPPED
};

/* Tags of what is asked of the store. */
enum server_tag {
    TAG_CLUSTER = 1,
    TAG_LEASE,
    TAG_COUNTERS,
    TAG_PLAN,
    TAG_SESSIONS,
    TAG_SAVE,
    TAG_LOG /* with the shard in the next bits, see log_record.h */
};

/* A record that the shards are kept up to date with. */
struct watched {
    enum server_tag tag;
    const char *key;
    uint64_t version; /* what the shards were given */
    bool is_watching; /* a WATCH is unanswered */
    bool is_reading;  /* a GET is unanswered: somebody cannot wait */
    bool must_read;   /* the last answer was an error */
};

struct server_shard {
    char *address;
    uint64_t lane;
    uint64_t ending; /* the ping that it is to answer without a lane; 0 */
    bool has_ended;  /* ... and has: it gets another one */
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
    enum server_state state;
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

static inline uint64_t server_now(const struct server *s)
{
    return s->net->now_us(s->net);
}

/* data: NULL for none. */
void server_ask(struct server *s, enum coord_op op, enum server_tag tag,
                const char *key, uint64_t version, const struct buf *data);
void server_begin_anew(struct server *s);
/* Of one shard; the others notice nothing. */
void server_end_lane(struct server *s, uint32_t shard);

/* server_records.c: what the shards are told of the store */
void server_watch(struct server *s, struct watched *w);
void server_on_watched(struct server *s, struct watched *w,
                       const struct coord_result *r);
void server_on_log(struct server *s, const struct coord_result *r);

#endif
