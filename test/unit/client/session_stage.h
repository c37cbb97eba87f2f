/* session_stage.h - what the tests of a client session share: a session, its
 * store, and shards that the test plays.
 *
 * The plan has number 5, lane A (7) at "a:1" and lane B (8) at "b:1", and
 *
 *     WHOLE  hash64, dim 2, all on A
 *     SPLIT  hash64, dim 1, buckets [0, 32,768) on A, the rest on B
 *     DENSE  4 rows, dim 2, on A
 *
 * The next session is 5. Shards greet and take chains by themselves (not
 * those with a NoSuchUpdater); all else that the session sends is handed to
 * the test, oldest first.
 */
#ifndef SESSION_STAGE_H
#define SESSION_STAGE_H

#include "client/session.h"
#include "lib/draft.h"
#include "lib/shelf.h"
#include "lib/tape.h"

enum {
    WHOLE = 1,
    SPLIT,
    DENSE,
    A = 7,
    B = 8,
    PLAN = 5,
    SESSION = 5,
    MIDDLE = 32768,
    MS = 1000,
    LOSSES_MAX = LIMIT_FRAME_OPS + 1
};

struct session_stage {
    struct fs *fs;
    struct tape net;
    struct shelf shelf;
    struct session *session;
    struct session_owner owner;
    struct draft plan;
    struct buf record;
    struct arena arena;
    uint32_t n_settled; /* calls of the owner */
    uint32_t n_losses;
    struct ps_loss losses[LOSSES_MAX];
    struct tape_frame *first; /* for the test, not taken yet */
    struct tape_frame *last;
    size_t n_opened;     /* connections that were answered */
    bool refuse;         /* connections fail */
    bool is_foreign;     /* shards speak another version of the protocol */
    bool no_checksums;   /* of the next session */
    uint64_t no_udfs_at; /* the shard of this lane takes no chain */
    /* What shards say is kept of a lane that has ended. */
    uint64_t kept_below; /* numbers below, 0 is 1: nothing; but for the gap */
    struct wire_span kept_gap;   /* 0..0: none */
    bool keeps_nothing_of_split; /* of that variable's parts nothing is kept */
    bool keeps_only_split;
};

extern struct session_stage stage;

int stage_set_up(void **state);
int stage_tear_down(void **state);
void stage_open(int worker);
void stage_put_plan(void); /* stage.plan into the store */
/* Lets the store, the connections and the timer do what is to be done now. */
void stage_run(void);
void stage_pass(uint64_t ms); /* in steps of 5 ms */
/* Lane A ends with plan 6; its server lives on as lane 9, at "a:1". */
void stage_end_lane_a(void);

/* The next frame that the session sent, or NULL; the caller frees it. */
struct tape_frame *stage_take(void);
/* The same; a RUN for a lane with this number. */
struct tape_frame *stage_take_run(uint64_t lane, uint64_t seq);
void stage_expect_silence(void);
/* Of a RUN frame; in the stage's arena. */
struct run_op *stage_ops(const struct tape_frame *f, uint32_t *n);
struct wire_resolve stage_resolve_of(const struct tape_frame *f);
/* Answers a frame. RUN with PS_OK: the ops are answered PS_OK, and those that
 * read get key + 0.5 for every value. */
void stage_answer(const struct tape_frame *f, int status);
/* Answers a RESOLVE with this fate for all of its parts. */
void stage_answer_fate(const struct tape_frame *f, int fate);
/* Takes and answers; frees. */
void stage_serve(uint64_t lane, uint64_t seq, int status);
void stage_cut_connection(const char *address);

struct session_op stage_push_op(uint32_t variable, const uint64_t *keys,
                                size_t n, const float *values);
struct session_op stage_pull_op(uint32_t variable, const uint64_t *keys,
                                size_t n, float *out);
/* Submits a push of one key of WHOLE with the values (v, v). */
struct request *stage_push(uint64_t key, float v);
/* It must have settled with this status; frees it. */
void stage_done(struct request *r, int status);
struct ps_client_counters stage_counters(void);

#define STAGED(name) \
    cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)

#endif
