/* store.h - where the parameters are: on ps-plus, or in plain arrays.
 *
 * The trainer knows only this. Both stores do the same arithmetic (Adagrad with
 * an initial accumulator of 0.1, weights from 0, factors from a normal
 * distribution), so the difference in what they learn is what distribution
 * costs: gradients of one worker that come between another's pull and push.
 *
 * How many epochs each worker has finished is kept with the parameters. It
 * makes the meeting place at the end of training, and tells a restarted worker
 * where to go on.
 */
#ifndef STORE_H
#define STORE_H

#include <stdint.h>

#include "batch.h"
#include "psplus.h"

#define STORE_WORKERS_MAX 64
#define STORE_ACCUMULATOR 0.1F

struct store_config {
    const char *scheduler; /* NULL: from the environment */
    const char *name;      /* variables are named <name>.w and so on */
    const char *tally;     /* see store_ps.c; NULL: none */
    size_t k;
    float lr;
    float sd; /* standard deviation of the initial factors */
    uint64_t seed;
    int durability; /* enum ps_durability */
    int count;      /* of pushes, on the servers too */
    int worker;
    int timeout_ms;
};

/* What has happened to the pushes of this worker. */
struct store_counts {
    uint64_t steps;          /* batches pushed */
    uint64_t step_frames;    /* numbered frames acknowledged for them */
    uint64_t frames_acked;   /* and for the finished epochs too */
    uint64_t pushes_dropped; /* ended as not applied, or not whole */
    uint64_t frames_lost;    /* acknowledged, lost with a server that died */
    /* What rows on all shards say that each step has added 1 to. */
    int is_counted;
    uint64_t counted_least;
    uint64_t counted_most;
};

struct store {
    /* Fetches the parameters of the batch's keys. */
    int (*pull)(struct store *s, struct batch *b, struct ps_error *e);
    /* Applies the batch's gradients. */
    int (*push)(struct store *s, const struct batch *b, struct ps_error *e);
    /* Says that this worker has finished so many epochs. */
    int (*finish_epoch)(struct store *s, int epochs, struct ps_error *e);
    /* A boundary between two steps: `position` is where this worker's reader
     * stands, for a checkpoint that is taken now. */
    int (*step)(struct store *s, const char *position, struct ps_error *e);
    /* Has the cluster save a checkpoint. Without `waits` training goes on
     * meanwhile, and one that fails is only told of. */
    int (*save)(struct store *s, const char *name, int waits,
                struct ps_error *e);
    /* How many epochs each worker has finished. */
    int (*finished)(struct store *s, float epochs[STORE_WORKERS_MAX],
                    struct ps_error *e);
    int (*counts)(struct store *s, struct store_counts *counts,
                  struct ps_error *e);
    void (*free)(struct store *s);
};

int store_ps_open(struct store **s, const struct store_config *config,
                  struct ps_error *e);
int store_plain_open(struct store **s, const struct store_config *config,
                     struct ps_error *e);

#endif
