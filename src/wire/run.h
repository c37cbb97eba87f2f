/* run.h - the data request: chains over rows of many variables in one frame.
 *
 * Body of WIRE_RUN:
 *
 *     u32 n_ops, u32 reserved (0)
 *     n_ops headers of 48 bytes: u64 chain, u32 variable, begin, end, n_keys,
 *         n_params, dim, u64 n_values, u64 reserved (0)
 *     then for each op, each padded to 8 bytes:
 *         n_keys  u64 keys
 *         n_params f64 parameters
 *         n_values f32 values
 *
 * Each op is one chain over the rows of one part: n_keys rows by key (hash) or
 * all rows of the part's range (dense, n_keys = 0). n_values is 0 or
 * rows * dim; without keys the decoder knows only that it is a multiple of dim.
 * 0 <= begin < end <= 65,536, dim and n_ops within their limits.
 *
 * Body of the answer, when its status is PS_OK:
 *
 *     u32 n_ops, u32 reserved (0)
 *     n_ops headers of 16 bytes: i32 status, u32 reserved, u64 n_values
 *     then for each op n_values f32, padded to 8 bytes
 *
 * Padding is zeros. Sizes are checked against what is left before any
 * arithmetic. A decoded run points into the frame; what has no elements is
 * NULL.
 */
#ifndef RUN_H
#define RUN_H

#include "base/arena.h"
#include "base/base.h"

struct run_op {
    uint64_t chain; /* id of a registered chain */
    uint32_t variable;
    uint32_t begin; /* bucket range of the part */
    uint32_t end;
    uint32_t n_keys;
    uint32_t n_params;
    uint32_t dim;
    uint64_t n_values;
    const uint64_t *keys;
    const double *params;
    const float *values;
};

struct run_answer {
    int32_t status;
    uint64_t n_values;
    const float *values;
};

/* Bytes of a run body with these ops (keys, params, values by count only). */
size_t run_bytes(const struct run_op *ops, size_t n);
/* Writes the body into out, which has run_bytes and is 8-byte aligned. Where an
 * op's keys, params or values pointer is NULL with a count above 0 the space is
 * left for the caller and its place is stored in places[i] (NULL for what was
 * copied); places may be NULL where nothing is left. */
struct run_place {
    uint64_t *keys;
    double *params;
    float *values;
};
void run_encode(const struct run_op *ops, size_t n, uint8_t *out,
                struct run_place *places);
/* *ops is taken from the arena. PS_EPROTOCOL, PS_ENOMEM. `body` must be
 * 8-byte aligned. */
int run_decode(const uint8_t *body, size_t size, struct arena *arena,
               struct run_op **ops, uint32_t *n) MUST_USE;

size_t run_answer_bytes(const struct run_answer *answers, size_t n);
/* Writes headers; values are copied where not NULL, otherwise left for the
 * caller and the place stored in places[i] (may be NULL if none is left). */
void run_answer_encode(const struct run_answer *answers, size_t n, uint8_t *out,
                       float **places);
int run_answer_decode(const uint8_t *body, size_t size, struct arena *arena,
                      struct run_answer **answers, uint32_t *n) MUST_USE;

#endif
