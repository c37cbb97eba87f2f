/* loop.c - the loop itself: turns, timer, mailbox, jobs, spin.
 *
 * A batch is one call of uv_run. After it the owner hears of connections that
 * broke inside its own calls, is ticked when its time has come, and says when
 * it wants to be called next.
 *
 * The spin. To sleep and be woken costs more than to serve a small request, so
 * after a frame the loop polls on for a while. Whether that pays depends on
 * whether the next frame comes in time, which each frame that comes tells: one
 * within the time is a credit, a later one a debit, and without credit there is
 * no spin. So a loop that is idle, or asked once a second, never spins, and one
 * that sleeps still learns that its requests have become frequent. Between two
 * looks it yields: where more threads spin than there are CPUs, the one whose
 * frame has come would wait for the others to have spun their time.
 */
#include "net/loop.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/address.h"
#include "net/conn.h"
#include "net/workers.h"

enum {
    LISTEN_BACKLOG = 511,
    /* Its epoll, event, signal, listener and spare handles, rounded up. */
    LOOP_FILES = 8,
    SPIN_US = 100,
    SPIN_CREDIT_MAX = 8,
    /* A frame that finds the loop asleep is late by the waking-up, about 60
     * us, and by the timer's grain. */
    WAKE_UP_US = 100,
    /* Turns that a driver does at most before it looks at its own affairs. */
    TURNS_MAX = 8
};

uint64_t loop_now(void)
{
    struct timespec now = {0};

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t now_us(struct net *net)
{
    (void)net;
    return loop_now();
}

static uint64_t thread_us(struct net *net)
{
    struct timespec now = {0};

    (void)net;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t random_number(struct net *net)
{
    uint64_t number = 0;
    ssize_t n;

    (void)net;
    do {
        n = getrandom(&number, sizeof(number), 0);
    } while (n < 0 && errno == EINTR);
    ASSERT(n == (ssize_t)sizeof(number)); /* up to 256 bytes cannot fail */
    return number;
}

uint32_t loop_cpus(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0) {
        return 1;
    }
    return (uint32_t)CPU_COUNT(&set);
}

uint64_t loop_spin_us(uint32_t n_loops)
{
    uint32_t cpus = loop_cpus();

    return cpus > 1 && n_loops <= cpus ? SPIN_US : 0;
}

uint32_t loop_accepted_max(uint32_t n_loops)
{
    struct rlimit files;
    uint64_t share;

    if (getrlimit(RLIMIT_NOFILE, &files) != 0 ||
        files.rlim_cur <= LIMIT_OTHER_FILES) {
        return 1;
    }
    share = (files.rlim_cur - LIMIT_OTHER_FILES) / base_max_u64(n_loops, 1);
    share = share > LOOP_FILES ? share - LOOP_FILES : 1;
    return (uint32_t)base_min_u64(share, LIMIT_CONNECTIONS);
}

void loop_frame_came(struct loop *l)
{
    uint64_t now;

    if (l->spin_us == 0) {
        return;
    }
    now = loop_now();
    if (now - l->active_us <= l->spin_us + WAKE_UP_US) {
        l->spin_credit += l->spin_credit < SPIN_CREDIT_MAX;
    } else {
        l->spin_credit -= l->spin_credit > 0;
    }
    l->active_us = now;
}

void loop_frame_went(struct loop *l)
{
    if (l->spin_us > 0) {
        l->active_us = loop_now();
    }
}

bool loop_is_spinning(struct loop *l)
{
    return l->spin_credit > 0 && loop_now() - l->active_us < l->spin_us;
}

void loop_post(struct loop *l, struct loop_mail *mail)
{
    bool is_first;

    mail->next = NULL;
    pthread_mutex_lock(&l->m);
    is_first = l->first == NULL;
    if (is_first) {
        l->first = mail;
    } else {
        l->last->next = mail;
    }
    l->last = mail;
    pthread_mutex_unlock(&l->m);
    if (is_first) {
        uv_async_send(&l->async);
    }
}

static struct loop_mail *take_mail(struct loop *l)
{
    struct loop_mail *mail;

    pthread_mutex_lock(&l->m);
    mail = l->first;
    l->first = NULL;
    l->last = NULL;
    pthread_mutex_unlock(&l->m);
    return mail;
}

static void on_async(uv_async_t *async)
{
    struct loop *l = async->data;
    struct loop_mail *mail = take_mail(l);

    while (mail != NULL) {
        struct loop_mail *next = mail->next;

        if (l->handler->on_mail != NULL) {
            l->handler->on_mail(l->context, mail);
        }
        mem_free(mail);
        mail = next;
    }
}

void loop_wake(struct loop *l)
{
    uv_async_send(&l->async);
}

static void work(uv_work_t *req)
{
    struct loop_job *job = req->data;

    job->work(job);
}

static void work_done(uv_work_t *req, int status)
{
    struct loop_job *job = req->data;

    (void)status; /* nothing here cancels */
    mem_free(req);
    if (!job->loop->is_stopped) {
        job->done(job);
    }
}

void loop_threads(uint32_t n)
{
    char text[16];

    snprintf(text, sizeof(text), "%u", (unsigned)n);
    (void)setenv("UV_THREADPOOL_SIZE", text, 1); /* libuv reads it there */
}

int loop_work(struct loop *l, struct loop_job *job)
{
    uv_work_t *req;
    int rc;

    if (l->is_stopped) {
        return PS_ECLOSED;
    }
    req = mem_try_zero(sizeof(*req));
    if (req == NULL) {
        return PS_ENOMEM;
    }
    req->data = job;
    job->loop = l;
    if (!workers_enter()) {
        mem_free(req);
        return PS_ECLOSED;
    }
    rc = uv_queue_work(&l->uv, req, work, work_done) == 0 ? PS_OK : PS_ENOMEM;
    workers_leave();
    if (rc != PS_OK) {
        mem_free(req);
    }
    return rc;
}

static void on_timer(uv_timer_t *timer)
{
    (void)timer; /* settle, after the batch, looks at the clock */
}

/* Milliseconds is what libuv's timers count in; one early is one turn more. */
static void arm(struct loop *l, uint64_t next, uint64_t now)
{
    uint64_t ms;

    if (next == UINT64_MAX) {
        uv_timer_stop(&l->timer);
        return;
    }
    if (next == l->armed_us && uv_is_active((uv_handle_t *)&l->timer)) {
        return;
    }
    /* An owner that always wants to be called is called each millisecond. */
    ms = next <= now ? 1 : (next - now + 999) / 1000;
    l->armed_us = next;
    uv_update_time(&l->uv);
    uv_timer_start(&l->timer, on_timer, ms, 0);
}

static uint64_t ask_next(struct loop *l)
{
    return l->handler->next_us == NULL ? UINT64_MAX
                                       : l->handler->next_us(l->context);
}

static void settle(struct loop *l)
{
    uint64_t now;
    uint64_t next;

    conn_settle(l);
    l->is_busy = false;
    next = ask_next(l);
    if (next == UINT64_MAX) {
        arm(l, next, 0);
        return;
    }
    now = loop_now();
    if (next <= now) {
        mem_tidy(now);
        if (l->handler->on_tick != NULL) {
            l->handler->on_tick(l->context);
        }
        next = ask_next(l);
    }
    l->is_busy = next == LOOP_BUSY;
    arm(l, next, now);
}

static void turn(struct loop *l, uv_run_mode mode)
{
    l->turns++;
    l->is_dirty = false;
    uv_run(&l->uv, mode);
    settle(l);
}

void loop_run(struct loop *l)
{
    settle(l);
    while (!l->is_quitting) {
        bool is_spinning = loop_is_spinning(l);
        bool must_poll = l->broken != NULL || is_spinning || l->is_busy;

        turn(l, must_poll ? UV_RUN_NOWAIT : UV_RUN_ONCE);
        if (is_spinning && !l->is_dirty) {
            (void)sched_yield(); /* to one that has work, if there is one */
        }
    }
}

void loop_quit(struct loop *l)
{
    l->is_quitting = true;
}

void loop_turn(struct loop *l)
{
    for (int i = 0; i < TURNS_MAX; i++) {
        turn(l, UV_RUN_NOWAIT);
        if (!l->is_dirty) {
            return;
        }
    }
}

uint64_t loop_next(struct loop *l)
{
    return l->is_dirty ? 0 : ask_next(l);
}

void loop_pause(struct loop *l, uint64_t until_us)
{
    struct pollfd fd = {.fd = uv_backend_fd(&l->uv), .events = POLLIN};
    struct timespec rest = {0};
    uint64_t now;

    if (until_us == UINT64_MAX) {
        (void)ppoll(&fd, 1, NULL, NULL);
        return;
    }
    now = loop_now();
    if (until_us > now) {
        rest.tv_sec = (time_t)((until_us - now) / 1000000);
        rest.tv_nsec = (int32_t)((until_us - now) % 1000000 * 1000);
    }
    (void)ppoll(&fd, 1, &rest, NULL);
}

uint64_t loop_turns(const struct loop *l)
{
    return l->turns;
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct loop *l = listener->data;

    if (status < 0) {
        log_limited(&l->refused, loop_now(), LOG_WARNING,
                    "a connection could not be accepted: %s",
                    uv_strerror(status));
        return;
    }
    conn_accept(l);
}

static int resolve_here(const char *host, uint16_t port,
                        struct sockaddr_storage *out, struct err *e)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
    };
    struct addrinfo *found = NULL;
    char service[8];
    int rc;

    snprintf(service, sizeof(service), "%u", (unsigned)port);
    rc = getaddrinfo(host, service, &hints, &found);
    if (rc != 0) {
        return err_set(e, PS_EARGUMENT, "address %s: %s", host,
                       gai_strerror(rc));
    }
    memset(out, 0, sizeof(*out));
    memcpy(out, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return PS_OK;
}

static uint16_t port_of(const uv_tcp_t *tcp)
{
    struct sockaddr_storage name = {0};
    int size = sizeof(name);

    if (uv_tcp_getsockname(tcp, (struct sockaddr *)&name, &size) != 0) {
        return 0;
    }
    return ntohs(name.ss_family == AF_INET6
                     ? ((struct sockaddr_in6 *)&name)->sin6_port
                     : ((struct sockaddr_in *)&name)->sin_port);
}

int loop_listen(struct loop *l, const char *host, uint16_t port,
                uint16_t *bound, struct err *e)
{
    struct sockaddr_storage at;
    char name[ADDRESS_MAX + 1];
    int rc;

    ASSERT(!l->is_listening);
    rc = resolve_here(host, port, &at, e);
    if (rc != PS_OK) {
        return rc;
    }
    address_format(host, port, name);
    rc = uv_tcp_init(&l->uv, &l->listener);
    if (rc != 0) {
        return err_set(e, PS_EIO, "listen on %s: %s", name, uv_strerror(rc));
    }
    l->listener.data = l;
    l->is_listening = true; /* loop_stop closes it, whatever comes now */
    rc = uv_tcp_bind(&l->listener, (struct sockaddr *)&at, 0);
    if (rc == 0) {
        rc = uv_listen((uv_stream_t *)&l->listener, LISTEN_BACKLOG,
                       on_connection);
    }
    if (rc != 0) {
        return err_set(e, PS_EIO, "listen on %s: %s", name, uv_strerror(rc));
    }
    *bound = port_of(&l->listener);
    return PS_OK;
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct loop *l = handle->data;

    if (l->handler->on_signal != NULL) {
        l->handler->on_signal(l->context, number);
    }
}

int loop_signal(struct loop *l, int number, struct err *e)
{
    uv_signal_t *s = &l->signals[l->n_signals];
    int rc;

    ASSERT(l->n_signals < CONN_SIGNALS);
    rc = uv_signal_init(&l->uv, s);
    if (rc == 0) {
        l->n_signals++;
        s->data = l;
        rc = uv_signal_start(s, on_signal, number);
    }
    if (rc != 0) {
        return err_set(e, PS_EIO, "signal %d: %s", number, uv_strerror(rc));
    }
    return PS_OK;
}

/* 0, or errno where a loop's files cannot be had: libuv would abort then, or
 * keep one for good. */
static int try_files(void)
{
    int files[LOOP_FILES];
    size_t n = 0;
    int rc = 0;

    while (n < LOOP_FILES && rc == 0) {
        files[n] = eventfd(0, EFD_CLOEXEC);
        rc = files[n] < 0 ? errno : 0;
        n += rc == 0;
    }
    while (n > 0) {
        close(files[--n]);
    }
    return rc;
}

int loop_new(struct loop **loop, const struct loop_options *options,
             struct err *e)
{
    struct loop *l = mem_try_zero(sizeof(*l));
    int rc;

    if (l == NULL) {
        return err_set(e, PS_ENOMEM, "no memory for an event loop");
    }
    l->net = (struct net){
        .connect = conn_connect,
        .send = conn_send,
        .close = conn_close,
        .now_us = now_us,
        .thread_us = thread_us,
        .random = random_number,
        .peer = conn_peer,
    };
    l->handler = options->handler;
    l->context = options->context;
    l->spin_us = options->spin_us;
    l->accepted_max =
        options->accepted_max != 0 ? options->accepted_max : LIMIT_CONNECTIONS;
    l->bytes_max =
        options->bytes_max != 0 ? options->bytes_max : LIMIT_LOOP_BYTES;
    l->patience_ms = options->patience_ms;
    map_init(&l->conns);
    rc = -try_files(); /* as libuv has its errors */
    if (rc == 0) {
        rc = uv_loop_init(&l->uv);
    }
    if (rc != 0) {
        mem_free(l);
        return err_set(e, PS_EIO, "event loop: %s", uv_strerror(rc));
    }
    rc = uv_async_init(&l->uv, &l->async, on_async);
    if (rc != 0) {
        uv_loop_close(&l->uv);
        mem_free(l);
        return err_set(e, PS_EIO, "event loop: %s", uv_strerror(rc));
    }
    uv_timer_init(&l->uv, &l->timer); /* cannot fail */
    uv_timer_init(&l->uv, &l->sweep);
    l->async.data = l;
    l->timer.data = l;
    l->sweep.data = l;
    pthread_mutex_init(&l->m, NULL);
    *loop = l;
    return PS_OK;
}

struct net *loop_net(struct loop *l)
{
    return &l->net;
}

static void close_handle(uv_handle_t *handle)
{
    uv_close(handle, NULL);
}

void loop_stop(struct loop *l)
{
    struct loop_mail *mail;

    ASSERT(!l->is_stopped);
    l->is_stopped = true;
    conn_close_all(l);
    close_handle((uv_handle_t *)&l->timer);
    close_handle((uv_handle_t *)&l->sweep);
    close_handle((uv_handle_t *)&l->async);
    if (l->is_listening) {
        close_handle((uv_handle_t *)&l->listener);
    }
    for (uint32_t i = 0; i < l->n_signals; i++) {
        close_handle((uv_handle_t *)&l->signals[i]);
    }
    /* Returns when nothing is open and no job is under way. */
    uv_run(&l->uv, UV_RUN_DEFAULT);
    mail = take_mail(l);
    while (mail != NULL) {
        struct loop_mail *next = mail->next;

        mem_free(mail);
        mail = next;
    }
}

void loop_free(struct loop *l)
{
    int rc;

    if (l == NULL) {
        return;
    }
    ASSERT(l->is_stopped);
    rc = uv_loop_close(&l->uv);
    ASSERT(rc == 0);
    pthread_mutex_destroy(&l->m);
    mem_free(l);
}
