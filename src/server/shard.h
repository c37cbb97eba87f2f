/* shard.h - one thread of a server: its tables, windows and connections.
 *
 * A deterministic state machine: frames and orders come in, frames go out
 * through struct net; no socket, clock, thread or file inside. What a shard
 * does with a numbered frame, and in which order, is protocol part 5.
 *
 * Thread: the shard's own, for every call.
 */
#ifndef SHARD_H
#define SHARD_H

#include "base/err.h"
#include "base/stats.h"
#include "fs/disk.h"
#include "kern/kern.h"
#include "net/net.h"

struct shard;
struct slab_ahead;

/* What the shard asks of its server; answered by shard_set_*, or not. */
enum shard_want {
    SHARD_WANT_PLAN,     /* number: a plan at least this new */
    SHARD_WANT_SESSIONS, /* number: a session that it does not know */
    SHARD_WANT_SAVE,     /* number: a cut that it does not know */
    SHARD_WANT_LIFE      /* number: its lane, which is to end: it has failed */
};

/* The record log/<lane> of the store, enum shard_log_state. */
struct shard_log_record {
    uint64_t lane;
    uint32_t state;
    int status; /* of an answer */
    uint64_t segment;
    uint64_t end;
};

enum shard_log_state {
    SHARD_LOG_NONE = 0, /* asked: what is there? answered: nothing */
    SHARD_LOG_BEGUN = 1,
    SHARD_LOG_ENDED = 2
};

struct shard_owner {
    void (*want)(struct shard_owner *owner, uint32_t shard,
                 enum shard_want what, uint64_t number);
    /* Asks for log/<lane>, or writes it, unless it says ENDED already: either
     * way shard_on_log_record tells what it says then. One at a time; may be
     * NULL where there is no log. */
    void (*log_record)(struct shard_owner *owner, uint32_t shard,
                       const struct shard_log_record *record);
    /* What shard_save_report says has changed. */
    void (*saved)(struct shard_owner *owner, uint32_t shard);
    /* Checkpoints are at this URL from now on; with the plan that says so.
     * PS_ENOMEM: the plan is not taken; another status: nothing can be saved,
     * for the reason in e. May be NULL. */
    int (*set_place)(struct shard_owner *owner, const char *url, struct err *e);
    /* Each numbered frame that changed rows, right after it did; may be NULL.
     * For the simulator's oracle. */
    void (*applied)(struct shard_owner *owner, uint32_t shard, uint64_t session,
                    uint64_t lane, uint64_t seq);
};

struct shard_options {
    uint32_t server;
    uint32_t shard;
    const struct kern *kern;
    struct slab_ahead *ahead; /* of its thread; outlives it. NULL: none */
    uint32_t save_bytes;      /* of rows in one idle moment; 0: the usual */
    uint32_t save_room;       /* bytes of rows on their way; 0: the usual */
    struct disk *log;    /* for logs, on the server's own disk; NULL: none */
    uint64_t block_rows; /* of a checkpoint's blocks; 0: the usual */
    /* How long an ended session may still ask; 0: LIMIT_ENDED_SESSION_MS. */
    uint64_t ended_session_ms;
};

/* What its server says of it in the store. */
struct shard_report {
    uint64_t cut;
    uint32_t saved; /* enum wire_saved_state */
    uint64_t rows;
    uint64_t rows_done;
    uint64_t index_bytes;
    uint64_t index_checksum;
    uint64_t loaded;          /* the plan whose loads are all done */
    uint64_t loaded_unlogged; /* ... of parts of durability memory */
    uint32_t load_failed;     /* enum wire_load_state */
    uint64_t moved;           /* the number of a move; 0: none */
    uint32_t moved_state;     /* enum wire_saved_state */
    uint64_t moved_rows;
    uint64_t moved_done;
    uint64_t moved_steps; /* what the disk has done for it */
    char why[200];
};

/* disk: of checkpoints. */
int shard_new(struct shard **shard, const struct shard_options *options,
              struct net *net, struct disk *disk,
              struct shard_owner *owner) MUST_USE;
void shard_free(struct shard *s);

void shard_on_open(struct shard *s, uint64_t connection);
/* The frame is borrowed; header is its decoded header. */
void shard_on_frame(struct shard *s, uint64_t connection,
                    const struct frame_header *header, struct frame *frame);
void shard_on_close(struct shard *s, uint64_t connection);

/* A new life: drops all tables, windows and the plan. Lane 0: no life. The
 * lane that it lives already: nothing happens. */
void shard_start_lane(struct shard *s, uint64_t lane, uint32_t emptied);
/* Until when lane `lane` may acknowledge; ignored for another lane. */
void shard_set_lease(struct shard *s, uint64_t lane, uint64_t until_us);
/* The `plan` record; an older one than the present is ignored. Tables of parts
 * that came are made, of parts that went are dropped. PS_EPROTOCOL; PS_ENOMEM
 * (the shard keeps its former plan). */
int shard_set_plan(struct shard *s, const void *record, size_t size) MUST_USE;
/* The `sessions` record with its version in the store. */
int shard_set_sessions(struct shard *s, uint64_t version, const void *record,
                       size_t size) MUST_USE;

/* The record `save`. */
int shard_set_save(struct shard *s, const void *record, size_t size) MUST_USE;
/* Why the place of checkpoints cannot be reached, so that saves fail, rather
 * than go on to where the disk was before; "": it can. */
void shard_set_no_place(struct shard *s, const char *why);
void shard_on_disk(struct shard *s, const struct disk_result *r);
/* Of options.log, and of owner->log_record. */
void shard_on_log(struct shard *s, const struct disk_result *r);
void shard_on_log_record(struct shard *s,
                         const struct shard_log_record *record);
/* Work for idle moments, some 50 us each time: a save goes on. */
void shard_tick(struct shard *s);
/* When shard_tick wants to be called: 0 at once, UINT64_MAX: no need. */
uint64_t shard_next(const struct shard *s);
void shard_report(const struct shard *s, struct shard_report *report);

uint64_t shard_lane(const struct shard *s);
uint64_t shard_plan_number(const struct shard *s);
uint64_t shard_sessions_version(const struct shard *s);
const struct stats *shard_stats(const struct shard *s);

/* Every row the shard holds: for the simulator's oracle. */
void shard_walk(struct shard *s,
                void (*fn)(void *context, uint32_t variable, uint64_t key,
                           const float *values, uint32_t dim),
                void *context);

#endif
