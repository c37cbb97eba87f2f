/* store_stage.h - a client of the public header on a store that is made by
 * hand, and one loop in a thread of its own that answers it, for scheduler and
 * shards.
 */
#ifndef STORE_STAGE_H
#define STORE_STAGE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "lib/draft.h"
#include "net/loop.h"
#include "psplus.h"

struct store_stage {
    char root[64];
    struct buf record;
    char address[32]; /* where the loop listens */
};

extern struct store_stage store_stage;

/* A store with a cluster, and the loop; on_frame gets all but HELLO. */
int store_stage_begin(void (*on_frame)(uint64_t connection,
                                       const struct frame_header *header));
int store_stage_end(void);
/* The value of this key is store_stage.record now. */
void store_stage_put(const char *key);
/* From within on_frame. */
void store_stage_answer(uint64_t connection, const struct frame_header *to,
                        int status, const struct buf *body);
ps_client *store_stage_open(int worker);

#endif
