/* draft.h - records of the store and frames, made by hand. */
#ifndef DRAFT_H
#define DRAFT_H

#include "net/frame.h"
#include "wire/run.h"
#include "wire/wire.h"

enum { DRAFT_VARIABLES = 160, DRAFT_LANES = 8, DRAFT_PARTS = 4200 };

/* A plan to be filled in. Variables get the ids 1, 2, 3 ... */
struct draft {
    struct wire_plan w;
    struct wire_variable variables[DRAFT_VARIABLES];
    char names[DRAFT_VARIABLES][16];
    struct wire_lane lanes[DRAFT_LANES];
    struct wire_part parts[DRAFT_PARTS];
    struct wire_ended ended[DRAFT_LANES];
};

void draft_init(struct draft *d, uint64_t plan);
/* AssignAddUpdater, initial values 0. */
struct wire_variable *draft_variable(struct draft *d, const char *name,
                                     uint32_t kind, uint64_t rows,
                                     uint32_t dim);
void draft_lane(struct draft *d, uint64_t lane, uint32_t server, uint32_t shard,
                const char *address);
/* In order of (variable, begin). */
void draft_part(struct draft *d, uint32_t variable, uint32_t begin,
                uint32_t end, uint64_t lane, uint64_t since);
/* A live lane has ended with this plan. */
void draft_end_lane(struct draft *d, uint64_t lane, uint64_t plan);
/* Clears out first. */
void draft_encode(const struct draft *d, struct buf *out);
/* The `sessions` record, clearing out first. */
void draft_sessions(struct buf *out, uint64_t next, const uint64_t *open,
                    uint32_t n);
/* The `cluster` record. */
void draft_cluster(struct buf *out, uint64_t lease_ms);
/* A leased record. */
void draft_lease(struct buf *out, uint64_t nonce, uint64_t renewal,
                 uint32_t state, const struct buf *body);

/* Frames of one reference, sealed, with a checksum over the body. */
struct frame *draft_frame(const struct frame_header *h, const void *body,
                          size_t size);
struct frame *draft_run(const struct frame_header *h, const struct run_op *ops,
                        size_t n);

/* One of a hash variable's keys in a bucket: the (i + 1)th found counting up
 * from 1. */
uint64_t draft_key_in(uint32_t begin, uint32_t end, size_t i);

#endif
