/* client_drive.c - who does the I/O of a client.
 *
 * A hand-over between an application's thread and an I/O thread costs more than
 * a small request. So whoever has to wait for an answer turns the client's loop
 * itself, and the I/O thread is there for the times when nobody waits.
 *
 *     a caller drives      the I/O thread is parked on a condition variable;
 *                          other callers wait on theirs, and are told when
 *                          what they wait for has come
 *     that caller leaves   another waiting caller is told to drive; if there is
 *                          none and something is in flight, the I/O thread is
 *     nobody waits         the I/O thread sleeps in the loop's poll
 *
 * After callers have driven, the I/O thread stays parked for a while although
 * nobody drives: a worker in its steps comes back at once. Where nothing is in
 * flight only the loop's timers and connections that end wait that long. Where
 * something is, the while is short: a worker that keeps several requests under
 * way is between two calls for microseconds, and to wake the I/O thread in each
 * gap costs more than the requests; one that computes meanwhile has its answers
 * read by the I/O thread after HANDOVER_US. For that the thread looks by itself
 * that often while callers drive, and some time after.
 *
 * The lock is held while the loop turns and let go while a thread sleeps in
 * loop_pause, so a caller can submit in between; it wakes the sleeper if what
 * it did cannot wait until then.
 */
#include "client/client_impl.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "kern/kern.h"

enum { LINGER_US = 100000, HANDOVER_US = 2000 };

static void lock(ps_client *c)
{
    pthread_mutex_lock(&c->turnstile);
    pthread_mutex_lock(&c->m);
    pthread_mutex_unlock(&c->turnstile);
}

static void unlock(ps_client *c)
{
    pthread_mutex_unlock(&c->m);
}

int client_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t how;
    int rc;

    pthread_condattr_init(&how);
    pthread_condattr_setclock(&how, CLOCK_MONOTONIC);
    rc = pthread_cond_init(cond, &how);
    pthread_condattr_destroy(&how);
    return rc == 0 ? PS_OK : PS_ENOMEM;
}

/* Waits for a signal, at most until `until_us` of loop_now. */
static void sleep_on(ps_client *c, pthread_cond_t *cond, uint64_t until_us)
{
    struct timespec until = {0};
    uint64_t now = loop_now();
    uint64_t rest = until_us > now ? until_us - now : 0;
    uint64_t ns;

    if (until_us == UINT64_MAX) {
        pthread_cond_wait(cond, &c->m);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    ns = (uint64_t)until.tv_nsec + rest % 1000000 * 1000;
    until.tv_sec += (time_t)(rest / 1000000 + ns / 1000000000);
    until.tv_nsec = (int32_t)(ns % 1000000000);
    (void)pthread_cond_timedwait(cond, &c->m, &until);
}

/* A write to a connection that has gone raises SIGPIPE; that is no business of
 * the application's. */
static void block_sigpipe(sigset_t *former)
{
    sigset_t pipe;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, former);
}

static void unblock_sigpipe(const sigset_t *former)
{
    const struct timespec at_once = {0};
    sigset_t pipe;

    if (sigismember(former, SIGPIPE) != 0) {
        return;
    }
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    while (sigtimedwait(&pipe, NULL, &at_once) < 0 && errno == EINTR) {
    }
    pthread_sigmask(SIG_SETMASK, former, NULL);
}

void client_enter(ps_client *c, struct client_guard *g)
{
    g->kern = kern_save();
    block_sigpipe(&g->mask);
    lock(c);
}

/* Wakes whoever sleeps and should know what has changed. */
static void nudge(ps_client *c)
{
    uint64_t next;

    if (!c->is_driven && c->io == IO_PARKED && c->n_in_flight > 0) {
        uint64_t now = loop_now();

        /* It takes over, or lies down again for less long. */
        if (now >= c->driven_us + HANDOVER_US ||
            c->io_until > now + HANDOVER_US) {
            pthread_cond_signal(&c->io_cond);
        }
        return;
    }
    next = loop_next(c->loop);
    if ((c->is_pausing && next < c->pause_until) ||
        (!c->is_driven && c->io == IO_PAUSES && next < c->io_until)) {
        loop_wake(c->loop);
    }
}

void client_leave(ps_client *c, struct client_guard *g)
{
    nudge(c);
    unlock(c);
    unblock_sigpipe(&g->mask);
    kern_restore(g->kern);
}

uint64_t client_deadline(const ps_client *c, int timeout_ms)
{
    int ms = timeout_ms == 0 ? c->timeout_ms : timeout_ms;

    return loop_now() + (ms > 0 ? (uint64_t)ms * 1000 : 0);
}

/* Tells those whose wait is over. */
static void wake_done(ps_client *c, const struct client_waiter *self)
{
    for (struct client_waiter *w = c->waiters; w != NULL; w = w->next) {
        if (w != self && w->is_done(w->context)) {
            pthread_cond_signal(&w->cond);
        }
    }
}

/* Sleeps without the lock until there is something to do. */
static void pause_driver(ps_client *c, uint64_t deadline_us)
{
    uint64_t until = base_min_u64(loop_next(c->loop), deadline_us);
    bool is_spinning = loop_is_spinning(c->loop);

    if (!is_spinning) {
        c->is_pausing = true;
        c->pause_until = until;
    }
    unlock(c);
    if (is_spinning) {
        (void)sched_yield();
    } else {
        loop_pause(c->loop, until);
    }
    lock(c);
    c->is_pausing = false;
}

static void drive(ps_client *c, const struct client_waiter *self,
                  uint64_t deadline_us)
{
    c->is_driven = true;
    for (;;) {
        loop_turn(c->loop);
        wake_done(c, self);
        if (self->is_done(self->context) || loop_now() >= deadline_us) {
            break;
        }
        pause_driver(c, deadline_us);
    }
    c->is_driven = false;
    c->driven_us = loop_now();
}

static void join(ps_client *c, struct client_waiter *w)
{
    w->prev = NULL;
    w->next = c->waiters;
    if (w->next != NULL) {
        w->next->prev = w;
    }
    c->waiters = w;
}

static void part(ps_client *c, struct client_waiter *w)
{
    if (w->prev != NULL) {
        w->prev->next = w->next;
    } else {
        c->waiters = w->next;
    }
    if (w->next != NULL) {
        w->next->prev = w->prev;
    }
}

int client_wait(ps_client *c, bool (*is_done)(void *context), void *context,
                uint64_t deadline_us)
{
    struct client_waiter w = {.is_done = is_done, .context = context};
    int rc = PS_OK;

    if (is_done(context)) {
        return PS_OK;
    }
    if (client_cond_init(&w.cond) != PS_OK) {
        return PS_ENOMEM;
    }
    join(c, &w);
    do {
        if (!c->is_driven) {
            drive(c, &w, deadline_us);
        } else {
            sleep_on(c, &w.cond, deadline_us);
        }
        rc = is_done(context) ? PS_OK : PS_ETIMEOUT;
    } while (rc != PS_OK && loop_now() < deadline_us);
    part(c, &w);
    pthread_cond_destroy(&w.cond);
    if (!c->is_driven && c->waiters != NULL) {
        pthread_cond_signal(&c->waiters->cond); /* to drive in our place */
    }
    return rc;
}

/* A submit soon after a caller has driven does not wake us: so we look. */
static void park(ps_client *c)
{
    uint64_t now = loop_now();
    bool is_soon = c->is_driven || now < c->driven_us + 2 * HANDOVER_US;

    c->io = IO_PARKED;
    c->io_until = now + (is_soon ? HANDOVER_US : LINGER_US);
    sleep_on(c, &c->io_cond, c->io_until);
    c->io = IO_RUNS;
}

static bool must_park(const ps_client *c)
{
    uint64_t grace = c->n_in_flight == 0 ? LINGER_US : HANDOVER_US;

    return c->is_driven || loop_now() < c->driven_us + grace;
}

static void *run_io(void *argument)
{
    ps_client *c = argument;

    kern_enter();
    lock(c);
    while (!c->is_ending) {
        if (must_park(c)) {
            park(c);
            continue;
        }
        loop_turn(c->loop);
        wake_done(c, NULL);
        c->io = IO_PAUSES;
        c->io_until = loop_next(c->loop);
        unlock(c);
        loop_pause(c->loop, c->io_until);
        lock(c);
        c->io = IO_RUNS;
    }
    unlock(c);
    return NULL;
}

int client_start_io(ps_client *c)
{
    sigset_t all;
    sigset_t former;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    rc = pthread_create(&c->thread, NULL, run_io, c);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    c->has_thread = rc == 0;
    return rc == 0 ? PS_OK : PS_ENOMEM;
}

void client_stop_io(ps_client *c)
{
    if (!c->has_thread) {
        return;
    }
    lock(c);
    c->is_ending = true;
    pthread_cond_signal(&c->io_cond);
    loop_wake(c->loop);
    unlock(c);
    pthread_join(c->thread, NULL);
    c->has_thread = false;
}
