/* net.h - the seam between logic and the network.
 *
 * Logic (shard, scheduler, client session) names connections by number and
 * deals in whole frames. Its owner - the libuv loop or the simulator - calls
 * the logic's x_on_open, x_on_frame, x_on_close when something happens. None
 * of the calls below ever calls back before it has returned.
 *
 * A connection number is never used twice by one process. connect always ends
 * in x_on_open or x_on_close. After close() nothing more is heard of it.
 */
#ifndef NET_H
#define NET_H

#include "net/frame.h"

struct net {
    /* Starts to connect to "host:port"; 0 when that is impossible at once. */
    uint64_t (*connect)(struct net *net, const char *address);
    /* Queues a frame; takes its own reference where it needs one. Sending on a
     * connection that has ended does nothing. */
    void (*send)(struct net *net, uint64_t connection, struct frame *frame);
    void (*close)(struct net *net, uint64_t connection);
    /* CLOCK_BOOTTIME in microseconds. */
    uint64_t (*now_us)(struct net *net);
    /* An unpredictable number, for nonces. */
    uint64_t (*random)(struct net *net);
    /* Where a connection that came to it is from, "host:port", for people to
     * read; lasts until the next call. NULL: this one does not know. */
    const char *(*peer)(struct net *net, uint64_t connection);
    /* What this thread has run so far, in microseconds. NULL: nobody knows. */
    uint64_t (*thread_us)(struct net *net);
};

static inline const char *net_peer(struct net *net, uint64_t connection)
{
    return net->peer != NULL ? net->peer(net, connection) : "somewhere";
}

#endif
