/* client_impl.h - the inside of a ps_client, shared by client*.c and status.c.
 *
 * Every call: client_enter, work on the session, client_wait where it blocks,
 * client_leave.
 */
#ifndef CLIENT_IMPL_H
#define CLIENT_IMPL_H

#include <pthread.h>
#include <signal.h>

#include "client/session.h"
#include "coord/coord_loop.h"
#include "net/loop.h"

struct ps_variable {
    ps_client *client;
    struct ps_variable *next;
    struct session_variable v;
};

struct ps_request {
    ps_client *client;
    struct ps_request *next;
    struct ps_request *prev;
    struct request *request;
    bool is_settled;
};

/* Made once for each name, and freed with the client. */
struct client_word {
    struct client_word *next;
    char text[];
};

/* A caller that waits for something, on its own stack. */
struct client_waiter {
    struct client_waiter *next;
    struct client_waiter *prev;
    pthread_cond_t cond;
    bool (*is_done)(void *context);
    void *context;
};

enum client_io { IO_RUNS, IO_PARKED, IO_PAUSES };

/* How the fields are kept safe:
 *     I   set before there are other threads, never changed
 *     m   lock m; so is all that hangs on loop, store and session
 */
struct ps_client {
    struct session_owner owner; /* [I] */
    pthread_mutex_t turnstile;  /* whoever wants m stands here first, so that a
                                   driver that comes back for it queues too */
    pthread_mutex_t m;
    struct loop *loop;                                          /* [I] */
    struct coord_loop *store;                                   /* [I] */
    struct session *session;                                    /* [I] */
    int timeout_ms;                                             /* [I] */
    int worker;                                                 /* [I] */
    void (*on_loss)(void *context, const struct ps_loss *loss); /* [I] */
    void *context;                                              /* [I] */

    struct client_waiter *waiters; /* [m] */
    bool is_driven;                /* [m] a caller drives the loop */
    bool is_pausing;               /* [m] that caller sleeps in loop_pause */
    uint64_t pause_until;          /* [m] */
    uint64_t driven_us;            /* [m] when a caller drove last */
    uint64_t n_in_flight;          /* [m] requests that have not settled */

    pthread_t thread; /* [I] the I/O thread */
    bool has_thread;  /* [I] */
    pthread_cond_t io_cond;
    enum client_io io; /* [m] what the I/O thread does */
    uint64_t io_until; /* [m] when its pause or its parking ends */
    bool is_ending;    /* [m] */

    struct ps_loss said; /* [m] the last that was logged */

    struct ps_variable *variables; /* [m] */
    struct client_word *words;     /* [m] names of plugins' updaters */
    struct ps_request *requests;   /* [m] */
};

/* What a call changes in the caller's thread, to be put back. */
struct client_guard {
    uint32_t kern;
    sigset_t mask;
};

/* client_drive.c */
void client_enter(ps_client *c, struct client_guard *g);
void client_leave(ps_client *c, struct client_guard *g);
/* Does the I/O, or waits for whoever does, until is_done or the deadline:
 * PS_OK or PS_ETIMEOUT. Within client_enter. */
int client_wait(ps_client *c, bool (*is_done)(void *context), void *context,
                uint64_t deadline_us) MUST_USE;
/* The deadline of a call: 0 is the default, negative is now. */
uint64_t client_deadline(const ps_client *c, int timeout_ms);
int client_start_io(ps_client *c) MUST_USE;
void client_stop_io(ps_client *c); /* outside client_enter */
/* For pthread_cond_timedwait by the clock of uptime. */
int client_cond_init(pthread_cond_t *cond) MUST_USE;

/* client.c: a handle for a request, which is made first: nobody could tell the
 * caller of one that was submitted already. NULL and PS_ENOMEM without
 * memory. */
int client_handle(struct ps_request **handle) MUST_USE;
/* Has the request settle into it, if it has not yet; where it was not submitted
 * (rc), *handle goes and becomes NULL. */
void client_hold(ps_client *c, int rc, struct request *r,
                 struct ps_request **handle);
/* What the scheduler says of one that has ended: why not, or the folder of a
 * restore. `text` has size bytes. */
void client_text(ps_request *request, char *text, size_t size);
/* client_declare.c: client_hold, waits for what the scheduler does, and puts
 * why not into words; `what` begins them. *handle is let go of by the caller.
 * Within client_enter. */
int client_finish(ps_client *c, int rc, struct request *r,
                  struct ps_request **handle, uint64_t deadline,
                  const char *what, struct ps_error *e) MUST_USE;
bool client_has_settled(void *request);
void client_mark_settled(struct ps_request *r);
/* NULL is allowed. Within client_enter. */
void client_let_go(struct ps_request *r);
/* The name of an updater, to stay until ps_close; NULL: out of memory. Within
 * client_enter. */
const char *client_keep(ps_client *c, const char *name);
/* Whether this may be the name of an updater that only servers know. */
bool client_is_foreign(const char *name);
/* Fills e (may be NULL) and returns status. */
int client_error(struct ps_error *e, int status, const char *format, ...)
    PRINTF_LIKE(3, 4);

#endif
