/* shard_load.h - rows from a checkpoint, shared by shard*.c only.
 *
 *     a part of the plan with a load
 *          |
 *          v
 *     MANIFEST --> INDEX of each lane --> ROWS of each part --> STATE of each
 *                  that has some of it    block by block        lane: late
 *                                                               frames, windows
 *                                                                   |
 *     any damage: FAILED, said in the server's record               v
 *                                                               parts serve
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
    LOADING_FAILED
};

struct loading {
    struct shard *shard;
    uint64_t serial; /* in the tags of its requests */
    enum loading_phase phase;
    char folder[CKPT_NAME_MAX + 1];
    uint64_t plan; /* the parts are of */
    bool brings_lanes;
    char why[200];
    struct ckpt *ckpt;
    struct arena arena; /* of the sources of one part */
    uint32_t lane;      /* of the manifest: whose index or state is next */
    size_t part;        /* of the shard: whose rows are next */
    struct ckpt_source *sources;
    uint32_t n_sources;
    uint32_t source;
    uint32_t block;
    bool is_open;   /* the source's file */
    uint32_t piece; /* of the block: the next to be read */
    struct buf pieces[CKPT_PIECES_MAX];
    size_t at;     /* row of the block that is inserted next */
    size_t n;      /* rows of the block that are ours */
    bool is_ready; /* the block is here and checked */
};

/* Begins, goes on with, or gives up loads, as the plan now says. */
void shard_load_on_plan(struct shard *s);
void shard_load_abandon(struct shard *s);
/* False: it is no load's. */
bool shard_load_on_disk(struct shard *s, const struct disk_result *r);
bool shard_load_has_work(const struct shard *s);
void shard_load_work(struct shard *s);
/* Adds what there is to say. */
void shard_load_report(const struct shard *s, struct shard_report *r);

/* Frozen copies: what a former lane of a part had done, as far as the part's
 * rows have it. One for each lane and range that was loaded. */
struct shard_history {
    struct shard_history *next;
    uint64_t lane;
    uint32_t begin;
    uint32_t end;
    uint64_t forgotten;
    size_t n;
    struct ckpt_window windows[]; /* by rising session */
};

void shard_history_free(struct shard_history *list);
/* What became of a number of a former lane in this part: as window_resolve,
 * and PS_ECANCELED where nothing of it is in the rows. */
int shard_history_fate(const struct shard_part *p, uint64_t lane,
                       uint64_t session, uint64_t seq);

/* Whether this part is loaded by v. */
bool loading_is_of(const struct loading *v, const struct shard_part *p);
/* The variable of a part, as the checkpoint has it; NULL with *why where it is
 * not there, *why NULL where it need not be. */
const struct wire_variable *loading_source(const struct loading *v,
                                           const struct shard_part *p,
                                           const char **why);

/* shard_load_state.c: one lane's state into the parts that are loaded. */
int loading_take_state(struct loading *v, const void *data, size_t size,
                       struct err *e) MUST_USE;

#endif
