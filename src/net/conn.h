/* conn.h - the connections of a loop, and the loop's inside. For src/net only.
 *
 *     RESOLVING -> CONNECTING -> OPEN --------> CLOSING -> freed
 *          |            |          |               ^
 *          +------------+----------+--> BROKEN ----+
 *
 * BROKEN: something failed inside a call of struct net, which must not call
 * back; conn_settle tells the owner after the batch and closes it. CLOSING is
 * not in the table any more: it only waits for libuv to let go of it.
 */
#ifndef CONN_H
#define CONN_H

#include <pthread.h>
#include <uv.h>

#include "base/log.h"
#include "base/map.h"
#include "net/address.h"
#include "net/loop.h"

enum {
    /* Where the start of each frame is read to: small frames come whole, with
     * one read, and only what lies here is copied. */
    CONN_STAGING_BYTES = 16 << 10,
    CONN_SIGNALS = 4
};

struct conn;

/* Connections that are not read, in order: there is no room for their
 * frames. */
struct conn_line {
    struct conn *first;
    struct conn *last;
};

struct loop {
    struct net net;
    const struct loop_handler *handler;
    void *context;
    uv_loop_t uv;
    uv_async_t async;
    uv_timer_t timer;
    uv_tcp_t listener;
    uv_signal_t signals[CONN_SIGNALS];
    uint32_t n_signals;
    bool is_listening;
    bool is_behind; /* one has come that could be neither taken nor refused */
    bool is_quitting;
    bool is_stopped;
    bool is_dirty; /* libuv has changes that only a turn tells the kernel */
    bool is_busy;  /* its owner has work: no waiting */
    uint64_t armed_us;
    uint64_t turns;

    uint64_t spin_us;
    uint64_t active_us; /* the last frame, in or out */
    uint32_t spin_credit;

    struct map conns; /* struct conn by number */
    uint64_t serial;  /* the last number */
    struct conn *broken;
    struct conn_line lines[2]; /* small bodies, large ones */
    uv_timer_t sweep;          /* runs while somebody may be out of patience */
    uint32_t accepted_max;
    uint32_t n_accepted;
    uint32_t n_strangers; /* accepted, and no frame has come yet */
    uint64_t patience_ms;
    uint64_t bytes_max;
    uint64_t bytes;      /* of frames that come in or wait to go out */
    uint64_t n_queued;   /* frames that wait to go out */
    uint64_t blocks_max; /* of memory, for connections and those, lately */
    struct log_limit refused;
    struct log_limit malformed;
    struct log_limit mute;
    struct log_limit still;
    char from[ADDRESS_MAX + 1]; /* of conn_from */

    pthread_mutex_t m;
    struct loop_mail *first; /* [m] */
    struct loop_mail *last;  /* [m] */

    uint8_t staging[CONN_STAGING_BYTES];
};

/* The loop's counting of frames, for its spin. */
void loop_frame_came(struct loop *l);
void loop_frame_went(struct loop *l);

uint64_t conn_connect(struct net *net, const char *address);
void conn_send(struct net *net, uint64_t connection, struct frame *frame);
void conn_close(struct net *net, uint64_t connection);
const char *conn_peer(struct net *net, uint64_t connection);
void conn_accept(struct loop *l);
/* Tells the owner of what broke inside its own calls, and reads again from
 * those for whom there is room now. */
void conn_settle(struct loop *l);
/* Closes all without a word. */
void conn_close_all(struct loop *l);

#endif
