/* shard_load.h - rows from a checkpoint, shared by shard*.c only.
 *
 *     a part of the plan with a load
 *          |
 *          v
 *     MANIFEST --> INDEX of each lane --> ROWS of each part --> STATE of each
 *     and those    that has some of it    block by block        lane: late
 *     of what it   ^                            |               frames, windows
 *     builds on    +-- the next of the chain ---+                   |
 *                                                                   v
 *     any damage: FAILED, said in the server's record           parts serve
 *     other trouble: WAITING, said there too, and all of it again later; what
 *     the disk fails with for a minute, though it is there, is damage
 *
 * Of an increment the chain is loaded from its whole one on, in each what was
 * erased before what is there; late frames and windows are those of the newest
 * only: what an older one's late frames did is among the next one's changes.
 *
 * Nothing is believed before its checksum was right. Until it is loaded a part
 * answers BUSY. What a part's former lanes had done is kept beside it as frozen
 * copies, to answer RESOLVE (protocol 3.2). Thread: the shard's. */
#ifndef SHARD_LOAD_H
#define SHARD_LOAD_H

#include "base/buf.h"
#include "ckpt/ckpt_state.h"
#include "server/shard_impl.h"

enum loading_phase {
    LOADING_MANIFEST,
    LOADING_INDEX,
    LOADING_ROWS,
    LOADING_STATE,
    LOADING_WAITING,
    LOADING_FAILED
};

enum loading_step {
    LOADING_STEP_MANIFEST = 1,
    LOADING_STEP_LIST,
    LOADING_STEP_INDEX,
    LOADING_STEP_OPEN,
    LOADING_STEP_READ,
    LOADING_STEP_CLOSE,
    LOADING_STEP_STATE
};

/* Of a longer chain nothing is made, and none is read. */
enum { LOADING_CHAIN_MAX = 256, LOADING_AGAIN_US = 1000000 };

struct loading_link {
    char folder[CKPT_NAME_MAX + 1];
    struct ckpt *ckpt;
};

struct loading {
    struct shard *shard;
    uint64_t serial; /* in the tags of its requests */
    enum loading_phase phase;
    char folder[CKPT_NAME_MAX + 1];
    struct loading_link *links; /* [0] is the folder, each builds on the next */
    uint32_t n_links;
    uint64_t base_below; /* terms from here on were another cluster's */
    uint32_t link;       /* that is read */
    bool brings_lanes;
    struct ckpt *ckpt;  /* of the link that is read */
    struct arena arena; /* of the sources of one part */
    uint32_t lane;      /* of the manifest: whose index or state is next */
    size_t part;        /* of the shard: whose rows are next */
    bool has_place;     /* ... for which the memory limit does not hold */
    struct ckpt_source *sources;
    uint32_t n_sources;
    uint32_t source;
    uint32_t block;
    bool is_open;   /* the source's file */
    uint32_t piece; /* of the block: the next to be read */
    struct buf pieces[CKPT_PIECES_MAX];
    struct buf picked[CKPT_PIECES_MAX]; /* of a step: the part's rows */
    size_t n;                           /* rows of the block */
    size_t n_in;                        /* of them, that the table has */
    bool is_ready;                      /* the block is here and checked */
    bool has_state;                     /* of a lane: it is gone through */
    struct buf state_file;
    struct ckpt_state state;
    bool state_is_decoded;
    uint32_t check_tensor; /* of that file: whose block is next */
    uint32_t check_block;
    uint32_t late; /* frame that is replayed next */
};

/* Whether `plan` takes rows away that are served here; then the lane ends, and
 * the plan is none of its own. */
bool shard_load_is_given_up(struct shard *s, const struct plan *plan);
/* Before shard_set_plan makes the parts of `plan`: gives up the present load
 * where that plan wants it for other parts than are being loaded. */
void shard_load_before_plan(struct shard *s, const struct plan *plan);
/* The rows that are in this part are kept: it is being loaded, and goes on. */
bool shard_load_keeps(const struct shard *s, const struct shard_part *p);
/* Begins loads, or goes on with the present one, as the plan now says; `old`
 * are the parts of before. */
void shard_load_on_plan(struct shard *s, const struct shard_part *old);
void shard_load_abandon(struct shard *s);
/* False: it is no load's. */
bool shard_load_on_disk(struct shard *s, const struct disk_result *r);
bool shard_load_has_work(const struct shard *s);
void shard_load_work(struct shard *s);
uint64_t shard_load_next(const struct shard *s);
/* Adds what there is to say. */
void shard_load_report(const struct shard *s, struct shard_report *r);

/* Whether this part is loaded by v. */
bool shard_loading_is_of(const struct loading *v, const struct shard_part *p);
/* The variable of a part, as the checkpoint has it; NULL with *why where it is
 * not there, *why NULL where it need not be: it begins with initial values. */
const struct wire_variable *shard_loading_source(const struct loading *v,
                                                 const struct shard_part *p,
                                                 const char **why);

const struct wire_load *shard_loading_load_of(const struct shard *s,
                                              const struct shard_part *p);
void shard_loading_close(struct loading *v);

/* shard_load_again.c: it cannot go on, because of `what`. */
void shard_loading_fail(struct loading *v, int status, const char *what);
/* Before all of it is done again; false: no memory. */
bool shard_loading_renew(struct shard *s) MUST_USE;

/* How many pieces a block of the source has: keys, values, slots. */
uint32_t shard_loading_pieces(const struct loading *v);
/* Tells the part's table how many rows its sources have. */
void shard_loading_expect(const struct loading *v);
/* The next rows of the block that is here. PS_ENOMEM, PS_ELIMIT: nothing has
 * changed, and a later call does them. */
int shard_loading_insert(struct loading *v) MUST_USE;

void shard_loading_submit(struct loading *v, enum loading_step step,
                          struct disk_request *r);
/* path: in the folder that is read */
void shard_loading_read_whole(struct loading *v, enum loading_step step,
                              const char *file, uint64_t size);

/* shard_load_chain.c: the manifests of the chain. 1: all are here, and the
 * oldest is the link that is read; 0: more is asked for; else PS_E*. */
int shard_loading_begin_chain(struct loading *v) MUST_USE;
int shard_loading_on_chain(struct loading *v, const struct disk_result *r,
                           struct err *e) MUST_USE;
void shard_loading_free_chain(struct loading *v);
/* The next link towards the newest; false: that was it. */
bool shard_loading_next_link(struct loading *v) MUST_USE;
/* The memory limit does not hold for the part's rows. */
bool shard_loading_has_place(const struct loading *v,
                             const struct shard_part *p) MUST_USE;

/* Runs the writing UDFs of a chain over the rows of an op that are in a part
 * which serves nobody yet. */
int shard_replay_op(struct shard *s, const struct chain *chain,
                    const struct run_op *op, const struct wire_variable *v,
                    struct shard_part *p) MUST_USE;
/* shard_load_state.c: one lane's state into the parts that are loaded, in
 * pieces. PS_ENOMEM. */
int shard_loading_take_state(struct loading *v,
                             const struct disk_result *r) MUST_USE;
/* One piece. 1: that was the last; 0: there is more; else PS_E*. */
int shard_loading_state_work(struct loading *v, struct err *e) MUST_USE;

#endif
