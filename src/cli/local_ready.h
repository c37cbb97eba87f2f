/* local_ready.h - whether a cluster serves, asked as any client would. */
#ifndef LOCAL_READY_H
#define LOCAL_READY_H

#include "base/base.h"

struct local_ready {
    const char *store;
    uint32_t servers;
    uint32_t shards;
    char waits_for[256]; /* one line */
    ps_client *client;   /* its own; zero at first */
};

/* True once each shard of each server answers and has its lease. Takes at most
 * a second or so. */
bool local_ready_look(struct local_ready *r) MUST_USE;
/* Ends the client with its thread. */
void local_ready_end(struct local_ready *r);

#endif
