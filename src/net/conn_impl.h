/* conn_impl.h - a connection's inside, for conn*.c.
 *
 * Who calls whom: conn.c opens and ends, conn_read.c and conn_write.c move
 * bytes, conn_room.c is asked by both whether there is room.
 */
#ifndef CONN_IMPL_H
#define CONN_IMPL_H

#include <netinet/in.h>

#include "net/conn.h"

union conn_name {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

enum conn_state { RESOLVING, CONNECTING, OPEN, BROKEN, CLOSING };

struct conn {
    uv_tcp_t tcp;
    struct loop *loop;
    uint64_t number;
    enum conn_state state;
    bool is_accepted;
    bool is_reading;
    bool is_paused;  /* not read: its answers wait */
    bool is_waiting; /* not read: no room in the loop; in its list */
    bool is_known;   /* a frame has come */
    bool is_resolving;
    bool is_closed;       /* libuv has let go of tcp */
    union conn_name peer; /* of one that came to us */
    struct conn *next_broken;
    struct conn *before_waiting;
    struct conn *next_waiting;
    struct frame_reader reader;
    uint64_t bytes_read; /* of the body under way, where it is counted */
    uint64_t moved_ms;   /* when it came to us, or got on, last */
    uint64_t bytes_come; /* since it got on, of the body under way */
    size_t unwritten;    /* by libuv, when it got on */

    /* A ring of frames to be written; the first n_writing are libuv's. */
    struct frame **queue;
    size_t room; /* 0 or a power of two */
    size_t head;
    size_t n_queued;
    size_t n_writing;
    size_t head_done; /* bytes of the first frame that are gone already */
    uint64_t bytes_queued;

    uv_connect_t connect;
    uv_getaddrinfo_t resolve;
    uv_write_t write;
};

static inline struct loop *conn_loop(struct net *net)
{
    return CONTAINER_OF(net, struct loop, net);
}

static inline uv_stream_t *conn_stream(struct conn *c)
{
    return (uv_stream_t *)&c->tcp;
}

/* conn.c */

/* Takes it out of the map; from now on nothing is said of it. */
void conn_retire(struct conn *c);
/* Ends it from within an event: the owner may be told at once. */
void conn_end(struct conn *c);
/* Marks it from within a call of struct net: conn_settle does the rest. */
void conn_break_off(struct conn *c);
/* Options of the socket. A stranger gets them with its first frame: many never
 * send one, and who is silent is ended without them. */
void conn_set_up_socket(struct conn *c);
/* Where it is from, "host:port", until the next call for this loop. */
const char *conn_from(const struct conn *c);

/* conn_read.c: reads from it, or does not, as its state says. */
void conn_set_reading(struct conn *c);

/* conn_write.c */
void conn_start_write(struct conn *c);
void conn_free_queue(struct conn *c);

/* conn_room.c */

/* The body that is to come next, or is under way; 0: none is known of. */
uint64_t conn_body(const struct conn *c);
/* Is there no room to read on? */
bool conn_must_wait(const struct conn *c);
/* Bytes of answers that it may have waiting before it is not read from. */
uint64_t conn_queue_max(const struct loop *l);
/* Counts a body that has begun, or has it wait in line for room. */
void conn_find_room(struct conn *c);
/* n bytes have come of what it sends. */
void conn_got_on(struct conn *c, size_t n);
/* Reads again from those for whom there is room now. */
void conn_let_in(struct loop *l);
/* Has memory returned after a crowd. */
void conn_look_back(struct loop *l);
/* What the loop counts of it is gone with it; what it has queued, when that is
 * freed. */
void conn_uncount(struct conn *c);
void conn_start_sweep(struct loop *l);

#endif
