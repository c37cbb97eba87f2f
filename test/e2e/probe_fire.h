/* probe_fire.h - the journal of a worker under fire.
 *
 * A worker that may be killed at any moment appends to a file what it is about
 * to push and what it was told. Each entry is one write(2), so that it is there
 * whole or not at all, the last one excepted.
 */
#ifndef E2E_PROBE_FIRE_H
#define E2E_PROBE_FIRE_H

#include "probe.h"

enum {
    FIRE_VARIABLES = 2,
    FIRE_SUMS = 3, /* of each worker in each row: count, sum, squares */
    FIRE_ITEMS = 8,
    FIRE_G_MAX = 7
};

enum fire_kind {
    FIRE_INTENT = 1,  /* n items follow: they are pushed next */
    FIRE_SETTLED = 2, /* n outcomes follow: of all frames of that push */
    FIRE_LOSS = 3,    /* one loss follows; push is the number of its variable,
                         FIRE_VARIABLES for all */
    FIRE_END = 4      /* the worker has ended in order; n is 0 */
};

struct fire_entry {
    uint32_t kind;
    uint32_t n;
    uint64_t push;
};

struct fire_item {
    uint16_t variable;
    uint16_t g;
    uint32_t key;
};

/* Where a row lives, for as long as the cluster does. */
struct fire_home {
    uint32_t server;
    uint32_t shard;
};

extern const char *const fire_names[FIRE_VARIABLES];

/* [FIRE_VARIABLES][keys], from the file that `homes` has written. */
struct fire_home *fire_read_homes(const char *path, size_t keys);
/* Variable v of rows with FIRE_SUMS values for each of the workers. */
ps_variable *fire_declare(ps_client *client, uint32_t v, uint32_t workers);

#endif
