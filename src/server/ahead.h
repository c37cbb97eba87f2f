/* ahead.h - large pieces of memory, touched by another thread ahead of need.
 *
 * The stock belongs to the thread of the loop, as do all calls here; pages are
 * touched by one of the loop's workers.
 */
#ifndef AHEAD_H
#define AHEAD_H

#include "net/loop.h"
#include "table/slab.h"

struct ahead {
    struct slab_ahead stock;
    struct loop *loop;
    struct loop_job job;
    bool is_busy;
    size_t bytes; /* of the piece that is being made */
    void *piece;
};

void ahead_init(struct ahead *a, struct loop *loop);
/* After loop_stop. */
void ahead_fini(struct ahead *a);

#endif
