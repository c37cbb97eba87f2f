/* loop.h - one libuv loop, which is one thread: the real struct net.
 *
 * A loop owns connections, at most one listening socket, one timer, jobs on
 * libuv's worker threads, signals and a mailbox. Its owner gives it a table of
 * handlers and either
 *
 *     calls loop_run, which serves until loop_quit; or
 *     drives it itself: loop_turn does what is ready, loop_pause waits without
 *     touching the loop, so that a lock can be let go meanwhile:
 *
 *         lock; loop_turn(l); t = loop_next(l); unlock; loop_pause(l, t)
 *
 * Handlers are called from within loop_run and loop_turn only, never from a
 * call of struct net. A frame is read where it will stay; it is borrowed by
 * on_frame, which takes its own reference to keep it.
 *
 * Threads: one at a time (the loop's thread, or whoever holds the owner's
 * lock), but for loop_post, loop_wake and loop_pause: any.
 */
#ifndef LOOP_H
#define LOOP_H

#include "base/err.h"
#include "net/net.h"

struct loop;

/* The head of a message to a loop: one block of mem_try, which the loop frees
 * after on_mail. */
struct loop_mail {
    struct loop_mail *next;
    uint32_t kind; /* the owner's */
};

/* Work for another thread; the memory is the caller's until done. */
struct loop_job {
    void (*work)(struct loop_job *job); /* on a worker thread; may block */
    void (*done)(struct loop_job *job); /* on the loop */
    struct loop *loop;                  /* the loop's own */
};

/* Of next_us: there is work that needs nothing but this thread. */
#define LOOP_BUSY UINT64_C(1)

/* Any may be NULL. */
struct loop_handler {
    void (*on_open)(void *context, uint64_t connection);
    void (*on_frame)(void *context, uint64_t connection,
                     const struct frame_header *header, struct frame *frame);
    void (*on_close)(void *context, uint64_t connection);
    /* Called when next_us has come. next_us is asked after every batch of
     * events; UINT64_MAX: no need. LOOP_BUSY: at once, after a look for
     * events; a time that has passed: within a millisecond. */
    void (*on_tick)(void *context);
    uint64_t (*next_us)(void *context);
    void (*on_mail)(void *context, struct loop_mail *mail);
    void (*on_signal)(void *context, int number);
};

struct loop_options {
    const struct loop_handler *handler;
    void *context;
    /* Polls for this long after the last frame before it sleeps, as long as
     * that keeps paying; 0: never. See loop_spin_us. */
    uint64_t spin_us;

    /* For a loop that listens, and is run by loop_run. */

    /* Connections that came to it and are open; 0: LIMIT_CONNECTIONS. */
    uint32_t accepted_max;
    /* Bytes of frames that come in or wait to go out, beyond which it does not
     * read from connections that came to it; 0: LIMIT_LOOP_BYTES. */
    uint64_t bytes_max;
    /* How long a connection that came to it has for its first frame, which is
     * of LIMIT_GREETING_BYTES at most; and how long one may stand still that
     * holds what others wait for. 0: no such limits. */
    uint32_t patience_ms;
};

int loop_new(struct loop **loop, const struct loop_options *options,
             struct err *e) MUST_USE;
/* Closes all, waits for jobs under way (their done is not called), drops mail.
 * No handler is called any more; calls of struct net do nothing. */
void loop_stop(struct loop *l);
void loop_free(struct loop *l); /* loop_stop first; NULL allowed */

struct net *loop_net(struct loop *l);
uint64_t loop_now(void); /* CLOCK_BOOTTIME in microseconds */

/* Listens on a numeric address or a name of this host. Port 0: any free one.
 * *bound is the port. PS_EIO with the reason. */
int loop_listen(struct loop *l, const char *host, uint16_t port,
                uint16_t *bound, struct err *e) MUST_USE;
/* Has on_signal called for SIGTERM and the like. */
int loop_signal(struct loop *l, int number, struct err *e) MUST_USE;
/* How many worker threads all loops of this process share; before the first
 * job, where no other thread looks at the environment. Not called: four. */
void loop_threads(uint32_t n);
/* PS_ENOMEM, PS_ECLOSED: the loop has stopped, or the process ends. */
int loop_work(struct loop *l, struct loop_job *job) MUST_USE;
/* Takes the mail; those of one thread arrive in order. Threads: any. */
void loop_post(struct loop *l, struct loop_mail *mail);

void loop_run(struct loop *l);
void loop_quit(struct loop *l); /* loop_run returns after this batch */

/* Does what is ready, and no more. */
void loop_turn(struct loop *l);
/* When it needs a turn at the latest; 0: at once. */
uint64_t loop_next(struct loop *l);
/* True while a driver should take turns without a pause. */
bool loop_is_spinning(struct loop *l);
/* Waits until something is ready or the time has come. Threads: any. */
void loop_pause(struct loop *l, uint64_t until_us);
/* Ends a loop_pause, or brings about a turn of loop_run. Threads: any. */
void loop_wake(struct loop *l);

/* How often it has gone round, for the tests of idleness. */
uint64_t loop_turns(const struct loop *l);
/* CPUs that this process may use. */
uint32_t loop_cpus(void);
/* What accepted_max should be where n_loops of this process listen: their
 * share of the files that it may have open. */
uint32_t loop_accepted_max(uint32_t n_loops);
/* What spin_us should be where n_loops of this process do the same work: 0
 * where they outnumber the CPUs. */
uint64_t loop_spin_us(uint32_t n_loops);

#endif
