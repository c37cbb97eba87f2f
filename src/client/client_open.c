/* client_open.c - a client from its options to its end. */
#include "client/client_impl.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"

enum {
    DEFAULT_TIMEOUT_MS = 30000,
    /* How long an open waits before it says so, and between two times. */
    SAY_FIRST_US = 1000000,
    SAY_AGAIN_US = 10000000
};

/* Clients of this process: as many loops may want to spin. */
static atomic_uint n_clients;

static void on_open(void *context, uint64_t connection)
{
    ps_client *c = context;

    session_on_open(c->session, connection);
}

static void on_frame(void *context, uint64_t connection,
                     const struct frame_header *header, struct frame *frame)
{
    ps_client *c = context;

    session_on_frame(c->session, connection, header, frame);
}

static void on_close(void *context, uint64_t connection)
{
    ps_client *c = context;

    session_on_close(c->session, connection);
}

static void on_tick(void *context)
{
    ps_client *c = context;

    coord_loop_tick(c->store);
    if (loop_now() >= session_next(c->session)) {
        session_tick(c->session);
    }
}

static uint64_t next_us(void *context)
{
    ps_client *c = context;

    return base_min_u64(session_next(c->session), coord_loop_next(c->store));
}

static const struct loop_handler handler = {
    .on_open = on_open,
    .on_frame = on_frame,
    .on_close = on_close,
    .on_tick = on_tick,
    .next_us = next_us,
};

static void on_coord(void *context, const struct coord_result *result)
{
    ps_client *c = context;

    session_on_coord(c->session, result);
}

static void settled(struct session_owner *o, struct request *request)
{
    struct ps_request *r = request_owner(request);

    (void)o;
    if (r != NULL) {
        client_mark_settled(r);
    }
}

static void lost(struct session_owner *o, const struct ps_loss *loss)
{
    ps_client *c = CONTAINER_OF(o, struct ps_client, owner);
    bool is_said = c->said.lane == loss->lane && c->said.last == loss->last &&
                   c->said.first == loss->first &&
                   c->said.session == loss->session;

    c->said = *loss; /* once for all parts */
    log_write(is_said ? LOG_DEBUG : LOG_WARNING,
              "server %u lost acknowledged pushes: session %llu, lane %llu, "
              "numbers %llu to %llu",
              (unsigned)loss->server, (unsigned long long)loss->session,
              (unsigned long long)loss->lane, (unsigned long long)loss->first,
              (unsigned long long)loss->last);
    if (c->on_loss != NULL) {
        c->on_loss(c->context, loss);
    }
}

static int worker_from_environment(void)
{
    const char *text = getenv("PS_WORKER_ID");
    char *end;
    int64_t worker;

    if (text == NULL || text[0] == '\0') {
        return -1;
    }
    worker = strtoll(text, &end, 10);
    return *end != '\0' || worker < 0 || worker > INT32_MAX ? -1 : (int)worker;
}

void ps_options_init(struct ps_options *options)
{
    *options = (struct ps_options){
        .size = sizeof(*options),
        .worker = worker_from_environment(),
        .timeout_ms = DEFAULT_TIMEOUT_MS,
    };
}

static int check_options(const struct ps_options *in, struct ps_options *out,
                         struct ps_error *e)
{
    ps_options_init(out);
    if (in != NULL) {
        if (in->size != sizeof(*in)) {
            return client_error(e, PS_EARGUMENT,
                                "the options were not set by "
                                "ps_options_init() of this version");
        }
        *out = *in;
    }
    if (out->scheduler == NULL) {
        out->scheduler = getenv("PS_SCHEDULER_KV_PATH");
    }
    if (out->scheduler == NULL || out->scheduler[0] == '\0') {
        return client_error(e, PS_EARGUMENT,
                            "no cluster is named: set `scheduler`, or "
                            "PS_SCHEDULER_KV_PATH in the environment, to its "
                            "store, such as file:///run/ps");
    }
    if (out->timeout_ms < 0 || out->worker < -1) {
        return client_error(e, PS_EARGUMENT,
                            "timeout_ms %d or worker %d is out of range",
                            out->timeout_ms, out->worker);
    }
    if (out->timeout_ms == 0) {
        out->timeout_ms = DEFAULT_TIMEOUT_MS;
    }
    return PS_OK;
}

/* An open that waits, and says so. */
struct opening {
    const struct ps_options *options;
    uint64_t start;
    uint64_t deadline;
    uint64_t say; /* UINT64_MAX: never */
};

static void say_waiting(struct opening *w)
{
    uint64_t now = loop_now();

    if (now >= w->say) {
        log_write(LOG_INFO, "waits for a scheduler at %s (%llu s of %d s)",
                  w->options->scheduler,
                  (unsigned long long)(now - w->start) / 1000000,
                  w->options->timeout_ms / 1000);
        w->say = now + SAY_AGAIN_US;
    }
}

/* A worker may be there before the first role of its cluster, which makes the
 * store: nobody else uses this client yet, so it just looks again. */
static int join_store(ps_client *c, struct opening *w, struct ps_error *e)
{
    struct coord_loop_options store = {
        .kv_path = w->options->scheduler,
        .loop = c->loop,
        .answer = on_coord,
        .context = c,
        .joins = true,
    };
    struct err err = {0};
    int rc = coord_loop_open(&c->store, &store, &err);

    while (rc == PS_ENOTFOUND && loop_now() < w->deadline) {
        say_waiting(w);
        loop_pause(c->loop,
                   base_min_u64(loop_now() + (uint64_t)LIMIT_WATCH_MS * 1000,
                                w->deadline));
        rc = coord_loop_open(&c->store, &store, &err);
    }
    if (rc == PS_ENOTFOUND) {
        return client_error(e, PS_ETIMEOUT, "%s, and none within %d ms",
                            err.text, c->timeout_ms);
    }
    return rc == PS_OK ? rc : client_error(e, rc, "%s", err.text);
}

static int open_parts(ps_client *c, struct opening *w, struct ps_error *e)
{
    const struct ps_options *options = w->options;
    struct session_options session = {
        .worker = options->worker,
        .no_checksums = options->no_checksums != 0,
    };
    struct loop_options loop = {
        .handler = &handler,
        .context = c,
        .spin_us = loop_spin_us(
            atomic_fetch_add_explicit(&n_clients, 1, memory_order_relaxed) + 1),
    };
    struct err err = {0};
    int rc;

    rc = loop_new(&c->loop, &loop, &err);
    if (rc != PS_OK) {
        return client_error(e, rc, "%s", err.text);
    }
    rc = join_store(c, w, e);
    if (rc != PS_OK) {
        return rc;
    }
    rc = session_new(&c->session, &session, coord_loop_coord(c->store),
                     loop_net(c->loop), &c->owner);
    if (rc != PS_OK) {
        return client_error(e, rc, "session: %s", ps_status_text(rc));
    }
    return PS_OK;
}

static bool is_ready(void *context)
{
    return session_is_ready(((ps_client *)context)->session);
}

static int wait_ready(ps_client *c, struct opening *w, struct ps_error *e)
{
    struct client_guard g;
    int rc;

    client_enter(c, &g);
    session_start(c->session);
    do {
        rc = client_wait(c, is_ready, c, base_min_u64(w->deadline, w->say));
        if (rc == PS_ETIMEOUT) {
            say_waiting(w);
        }
    } while (rc == PS_ETIMEOUT && loop_now() < w->deadline);
    client_leave(c, &g);
    if (rc == PS_ETIMEOUT) {
        return client_error(e, rc,
                            "no scheduler has come up at %s within "
                            "%d ms",
                            w->options->scheduler, c->timeout_ms);
    }
    return rc == PS_OK ? rc : client_error(e, rc, "out of memory");
}

static void free_words(ps_client *c)
{
    while (c->words != NULL) {
        struct client_word *w = c->words;

        c->words = w->next;
        mem_free(w);
    }
}

/* Frees everything, whether or not it was opened. */
static void close_parts(ps_client *c)
{
    client_stop_io(c);
    atomic_fetch_sub_explicit(&n_clients, 1, memory_order_relaxed);
    if (c->loop != NULL) {
        loop_stop(c->loop);
    }
    while (c->requests != NULL) {
        client_let_go(c->requests);
    }
    free_words(c);
    while (c->variables != NULL) {
        struct ps_variable *v = c->variables;

        c->variables = v->next;
        mem_free(v);
    }
    session_free(c->session);
    coord_loop_close(c->store);
    loop_free(c->loop);
    pthread_cond_destroy(&c->io_cond);
    pthread_mutex_destroy(&c->m);
    pthread_mutex_destroy(&c->turnstile);
    mem_free(c);
}

int ps_open(ps_client **client, const struct ps_options *options,
            struct ps_error *error)
{
    struct ps_options o;
    struct opening w = {.options = &o, .start = loop_now()};
    ps_client *c;
    int rc;

    rc = check_options(options, &o, error);
    if (rc != PS_OK) {
        return rc;
    }
    c = mem_try_zero(sizeof(*c));
    if (c == NULL || client_cond_init(&c->io_cond) != PS_OK) {
        mem_free(c);
        return client_error(error, PS_ENOMEM, "no memory for a client");
    }
    pthread_mutex_init(&c->turnstile, NULL);
    pthread_mutex_init(&c->m, NULL);
    c->owner = (struct session_owner){.settled = settled, .lost = lost};
    c->timeout_ms = o.timeout_ms;
    c->worker = o.worker;
    c->on_loss = o.on_loss;
    c->context = o.context;
    w.deadline = client_deadline(c, 0);
    w.say = o.quiet ? UINT64_MAX : w.start + SAY_FIRST_US;
    rc = open_parts(c, &w, error);
    if (rc == PS_OK) {
        rc = wait_ready(c, &w, error);
    }
    if (rc == PS_OK && client_start_io(c) != PS_OK) {
        rc = client_error(error, PS_ENOMEM, "no thread for the client");
    }
    if (rc != PS_OK) {
        close_parts(c);
        return rc;
    }
    *client = c;
    return PS_OK;
}

static bool is_quiet(void *context)
{
    const ps_client *c = context;

    return c->n_in_flight == 0 && !session_has_writes(c->session);
}

static bool has_closed(void *context)
{
    return session_has_closed(((ps_client *)context)->session);
}

int ps_close(ps_client *client, int timeout_ms)
{
    struct client_guard g;
    uint64_t deadline;
    int rc;

    if (client == NULL) {
        return PS_OK;
    }
    deadline = client_deadline(client, timeout_ms);
    client_enter(client, &g);
    rc = client_wait(client, is_quiet, client, deadline);
    session_close(client->session);
    if (client_wait(client, has_closed, client, deadline) != PS_OK) {
        log_write(LOG_DEBUG, "the session is left to end with its lease");
    }
    client_leave(client, &g);
    close_parts(client);
    return rc;
}
