/* ckpt_state.h - what a lane's shard knew at the cut beside its rows.
 *
 * One safetensors file, lane-<lane>.state.safetensors: the dedup windows of the
 * lane, frozen copies of former lanes that its parts carry, and the late frames
 * (RUN bodies of an older cut that were applied after it) with the chains that
 * they name. Read whole; made whole in memory, or in pieces: the bodies of late
 * frames come first in the file, at a place that is known before there are any,
 * so a shard can write them as they come.
 */
#ifndef CKPT_STATE_H
#define CKPT_STATE_H

#include "base/limits.h"
#include "ckpt/ckpt.h"

/* As struct window of the shard. */
struct ckpt_window {
    uint64_t session;
    uint64_t next;
    uint64_t floor;
    uint64_t refuse_below;
    uint8_t has_ended;
    int8_t fate[LIMIT_WINDOW];
    uint64_t canceled[LIMIT_WINDOW / 64];
};

/* Numbers of a session. */
struct ckpt_numbers {
    uint64_t session;
    uint64_t first;
    uint64_t last;
};

/* The windows of one lane. The first of a state is the lane itself, of variable
 * 0 and buckets [0, 65,536); the others are former lanes of the range. Most
 * parts of a shard know the same of one: it is in the file once, and those that
 * follow point to it. */
struct ckpt_history {
    uint64_t lane;
    uint64_t variable;
    uint64_t begin;
    uint64_t end;
    uint64_t forgotten; /* ended sessions up to this one are not known */
    uint64_t same;      /* 0, or all of the same-th history but the range */
    uint64_t n_windows;
    const struct ckpt_window *windows;
    uint64_t n_gaps;
    const struct ckpt_numbers
        *gaps; /* numbers below `next` that are not there */
};

struct ckpt_late {
    uint64_t session;
    uint64_t seq;
    uint64_t cut; /* its stamp */
    const uint8_t *body;
    uint64_t n_body; /* bytes */
};

struct ckpt_chain {
    uint64_t id;
    const char *definition;
};

struct ckpt_state {
    uint32_t n_histories;
    const struct ckpt_history *histories;
    uint32_t n_lates;
    const struct ckpt_late *lates; /* in the order in which they were applied */
    uint32_t n_chains;
    const struct ckpt_chain *chains;
};

/* Appends the whole file to out and describes it, with its sums, in *file.
 * PS_ENOMEM, PS_ELIMIT. */
int ckpt_state_encode(const struct ckpt_state *s, const char *name,
                      struct arena *arena, struct ckpt_file *file,
                      struct buf *out) MUST_USE;
/* The bodies begin at CKPT_STATE_BODIES of the file. */
enum { CKPT_STATE_BODIES = 4096 };
struct ckpt_state_encoder {
    const struct ckpt_state *state;
    struct buf *out;
    uint32_t column;
    uint32_t history;
    uint64_t row;
};
/* In pieces: appends what is before the bodies, CKPT_STATE_BODIES bytes, and
 * then, with ckpt_state_more until it says false, some n rows each time, what
 * is behind them: out has all of the file but the bodies. The sums in *file are
 * to be filled in. */
int ckpt_state_begin(struct ckpt_state_encoder *x, const struct ckpt_state *s,
                     const char *name, struct arena *arena,
                     struct ckpt_file *file, struct buf *out) MUST_USE;
bool ckpt_state_more(struct ckpt_state_encoder *x, uint64_t n) MUST_USE;
/* data: the whole file; bodies of late frames point into it, the rest is in the
 * arena. `file`, from the index, may be NULL: then no checksum is looked at. */
int ckpt_state_decode(const void *data, size_t size,
                      const struct ckpt_file *file, struct arena *arena,
                      struct ckpt_state *s, struct err *e) MUST_USE;

#endif
