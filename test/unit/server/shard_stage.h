/* shard_stage.h - what the tests of a shard share: a shard that serves, and
 * short forms of the frames that are sent to it.
 *
 * The shard has lane 7 and plan 5. Variables:
 *
 *     WHOLE  hash64, dim 2, all here
 *     HALF   hash64, dim 1, buckets [0, 32,768) here; the upper half went to
 *            lane 8 with plan 5
 *     DENSE  4 rows, dim 2, all here
 *     AWAY   hash64, dim 1, all on lane 8
 *
 * All are added to (AssignAddUpdater) and begin as 0. Sessions 5 and 6 are
 * open, the next is 10. Time is 1 s, the lease ends at 10 s.
 */
#ifndef SHARD_STAGE_H
#define SHARD_STAGE_H

#include "lib/draft.h"
#include "lib/tape.h"
#include "server/shard.h"

enum {
    WHOLE = 1,
    HALF,
    DENSE,
    AWAY,
    LANE = 7,
    OTHER_LANE = 8,
    PLAN = 5,
    MIDDLE = 32768,
    LEASE_US = 10000000,
    NO_ANSWER = 1, /* instead of a status */
    OPS_MAX = 8
};

struct shard_stage {
    struct tape net;
    struct shard_owner owner;
    struct shard *shard;
    uint64_t connection;
    struct draft plan;
    struct buf record;
    struct arena arena;
    uint64_t request;
    uint64_t n_applied;
    uint64_t wanted[SHARD_WANT_LIFE +
                    1]; /* the number wanted last, by enum shard_want; 0 */
    /* The last answer. */
    struct tape_frame *answer;
    struct run_answer *parts;
    uint32_t n_parts;
};

extern struct shard_stage stage;
extern const char *const stage_add;      /* chains */
extern const char *const stage_add_read; /* adds, then answers the rows */
extern const char *const stage_read;
extern const char *const stage_add_dense;
extern const char *const stage_read_dense;
extern const char *const stage_momentum;

int stage_set_up(void **state);
int stage_tear_down(void **state);
/* Hands stage.plan to the shard. */
int stage_set_plan(void);
/* Part i goes to another shard in the next plan, and has come back in the one
 * after it, which is still to be set. */
void stage_part_comes_back(uint32_t i);
void stage_set_sessions(uint64_t version, uint64_t next, const uint64_t *open,
                        uint32_t n);
/* Says hello on a new connection and registers the chains; its number. */
uint64_t stage_connect(void);
/* Sends a frame on stage.connection and keeps the answer: its status, or
 * NO_ANSWER. Frees the frame. */
int stage_send(struct frame *f);

/* Session 5, lane 7, plan 5, first unanswered 1. */
struct frame_header stage_header(enum wire_type type, uint64_t seq);
/* One key of WHOLE with the values (v, v) is added. */
struct run_op stage_op(const char *chain, uint32_t variable, uint32_t dim,
                       const uint64_t *key, const float *values);
struct frame *stage_push_frame(const struct frame_header *h, uint64_t key,
                               float v);
int stage_push(uint64_t seq, uint64_t key, float v);
/* The first value of a row of WHOLE, read by a frame without a number. */
float stage_value(uint64_t key);
bool stage_is_repeat(void); /* says the last answer */
/* Asks for numbers of (session, lane); the fate of each part by status. */
int stage_resolve(uint64_t session, uint64_t lane, uint64_t seq,
                  uint32_t variable, uint32_t begin, uint32_t end);

#define STAGED(name) \
    cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)

#endif
