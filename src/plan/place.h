/* place.h - even placement: a new variable over the shards of a cluster.
 *
 * Hash variables: 65,536 buckets dealt evenly over all shards. Dense ones:
 * even row ranges; one that is small (fewer rows than shards, or under 64 KiB
 * of values) goes whole to the shard with the least dense bytes, so that a step
 * does not touch every shard for a bias. Deterministic: ties go to the lower
 * (server, shard). A dense part is one frame: at most LIMIT_FRAME_TARGET_BYTES
 * of values. Limits are those of the command line, for each server; 0 is none.
 * What the variables of the plan take already counts, that of a lane that
 * ended too where its server has a live one: it will want its parts back.
 */
#ifndef PLACE_H
#define PLACE_H

#include "plan/plan.h"

struct place_limits {
    uint64_t memory_bytes;  /* -smem: what the rows take */
    uint64_t network_bytes; /* -snet: a second; a step a second assumed */
    uint64_t queries;       /* -sqps: likewise; a step asks each part once */
};

/* Bytes that the rows of a variable are expected to take: rows * (values and
 * slots, `slots` of dim floats each, + 16 of index for hash kinds). */
uint64_t place_bytes(const struct wire_variable *v, uint32_t slots);

/* Parts for variable v, which `w` (as plan_new checks it) does not have yet.
 * *parts is taken from the arena, in order of begin, lanes from w->lanes, since
 * the plan after w. slots_of gives the number of slots of any variable's
 * updater. PS_ELIMIT with a line that names the limit, what is needed and what
 * there is; PS_EARGUMENT for a dense variable without rows or an unknown kind;
 * PS_ENOTREADY without lanes; PS_ENOMEM. */
int place_variable(const struct wire_plan *w, const struct wire_variable *v,
                   const struct place_limits *limits,
                   uint32_t (*slots_of)(const struct wire_variable *v),
                   struct arena *arena, struct wire_part **parts,
                   uint32_t *n_parts, struct err *e) MUST_USE;

/* Lanes for parts of w whose server is gone: lanes[i] of each wanted[i], one of
 * the live ones, or 0 where no server has room; others are left alone. Each
 * goes to the server with the least memory taken of those that stay within the
 * limits. PS_ENOTREADY without lanes; PS_ENOMEM. */
int place_parts(const struct wire_plan *w, const bool *wanted,
                const struct place_limits *limits,
                uint32_t (*slots_of)(const struct wire_variable *v),
                struct arena *arena, uint64_t *lanes) MUST_USE;

#endif
