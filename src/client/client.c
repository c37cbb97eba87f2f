/* client.c - the public calls on clients and requests. */
#include "client/client_impl.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "udf/udf.h"

enum {
    DEFAULT_TIMEOUT_MS = 30000,
    /* How long an open waits before it says so, and between two times. */
    SAY_FIRST_US = 1000000,
    SAY_AGAIN_US = 10000000,
    /* Operations that need no memory of their own to be handed over. */
    FEW_OPS = 16
};

/* Clients of this process: as many loops may want to spin. */
static atomic_uint n_clients;

int client_error(struct ps_error *e, int status, const char *format, ...)
{
    va_list args;

    if (e == NULL) {
        return status;
    }
    va_start(args, format);
    vsnprintf(e->text, sizeof(e->text), format, args);
    va_end(args);
    base_one_line(e->text);
    e->status = status;
    return status;
}

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

static void mark_settled(struct ps_request *r)
{
    r->is_settled = true;
    r->client->n_in_flight--;
}

static void settled(struct session_owner *o, struct request *request)
{
    struct ps_request *r = request_owner(request);

    (void)o;
    if (r != NULL) {
        mark_settled(r);
    }
}

static void lost(struct session_owner *o, const struct ps_loss *loss)
{
    ps_client *c = CONTAINER_OF(o, struct ps_client, owner);

    log_write(LOG_WARNING,
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

static int open_parts(ps_client *c, const struct ps_options *options,
                      struct ps_error *e)
{
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
    struct coord_loop_options store = {
        .kv_path = options->scheduler,
        .answer = on_coord,
        .context = c,
    };
    struct err err = {0};
    int rc;

    rc = loop_new(&c->loop, &loop, &err);
    if (rc != PS_OK) {
        return client_error(e, rc, "%s", err.text);
    }
    store.loop = c->loop;
    rc = coord_loop_open(&c->store, &store, &err);
    if (rc != PS_OK) {
        return client_error(e, rc, "%s", err.text);
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

static int wait_ready(ps_client *c, const struct ps_options *options,
                      struct ps_error *e)
{
    uint64_t start = loop_now();
    uint64_t deadline = client_deadline(c, 0);
    uint64_t say = start + SAY_FIRST_US;
    struct client_guard g;
    int rc;

    client_enter(c, &g);
    session_start(c->session);
    do {
        rc = client_wait(c, is_ready, c, base_min_u64(deadline, say));
        if (rc == PS_ETIMEOUT && loop_now() >= say && !options->quiet) {
            log_write(LOG_INFO, "waits for a scheduler at %s (%llu s of %d s)",
                      options->scheduler,
                      (unsigned long long)(loop_now() - start) / 1000000,
                      c->timeout_ms / 1000);
            say = loop_now() + SAY_AGAIN_US;
        }
    } while (rc == PS_ETIMEOUT && loop_now() < deadline);
    client_leave(c, &g);
    if (rc == PS_ETIMEOUT) {
        return client_error(e, rc,
                            "no scheduler has come up at %s within "
                            "%d ms",
                            options->scheduler, c->timeout_ms);
    }
    return rc == PS_OK ? rc : client_error(e, rc, "out of memory");
}

bool client_is_foreign(const char *name)
{
    return udf_find(name) == NULL && name[0] != '\0' &&
           strlen(name) <= LIMIT_NAME_BYTES && strchr(name, '>') == NULL;
}

const char *client_keep(ps_client *c, const char *name)
{
    size_t size = strlen(name) + 1;
    struct client_word *w = c->words;

    while (w != NULL && strcmp(w->text, name) != 0) {
        w = w->next;
    }
    if (w != NULL) {
        return w->text;
    }
    w = mem_try(sizeof(*w) + size);
    if (w == NULL) {
        return NULL;
    }
    memcpy(w->text, name, size);
    w->next = c->words;
    c->words = w;
    return w->text;
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
    rc = open_parts(c, &o, error);
    if (rc == PS_OK) {
        rc = wait_ready(c, &o, error);
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

bool client_has_settled(void *request)
{
    return ((struct ps_request *)request)->is_settled;
}

int client_hold(ps_client *c, struct request *r, struct ps_request **handle)
{
    struct ps_request *h = mem_try_zero(sizeof(*h));

    if (h == NULL) {
        if (request_has_settled(r)) {
            request_free(r);
        } else {
            session_abandon(c->session, r);
        }
        return PS_ENOMEM;
    }
    h->client = c;
    h->request = r;
    h->next = c->requests;
    if (h->next != NULL) {
        h->next->prev = h;
    }
    c->requests = h;
    c->n_in_flight++;
    request_set_owner(r, h);
    if (request_has_settled(r)) {
        mark_settled(h);
    }
    *handle = h;
    return PS_OK;
}

void client_let_go(struct ps_request *r)
{
    ps_client *c = r->client;

    if (r->prev != NULL) {
        r->prev->next = r->next;
    } else {
        c->requests = r->next;
    }
    if (r->next != NULL) {
        r->next->prev = r->prev;
    }
    if (r->is_settled) {
        request_free(r->request);
    } else {
        c->n_in_flight--;
        c->driven_us = 0; /* the I/O thread is to go on with it */
        session_abandon(c->session, r->request);
    }
    mem_free(r);
}

static int fill_updater(ps_client *c, const struct ps_updater *in,
                        struct ps_updater *out)
{
    const struct udf *udf;

    if (in->name == NULL || in->n_params < 0 || in->n_params > PS_PARAMS_MAX) {
        return PS_EARGUMENT;
    }
    *out = *in;
    if (client_is_foreign(in->name)) {
        out->name = client_keep(c, in->name);
        return out->name != NULL ? PS_OK : PS_ENOMEM;
    }
    if (udf_updater(in->name, in->params, (uint32_t)in->n_params, &udf, NULL) !=
        PS_OK) {
        return PS_EARGUMENT;
    }
    out->name = udf->name; /* lives as long as the program */
    return PS_OK;
}

static int fill_op(ps_client *c, const struct ps_op *in, struct session_op *out)
{
    const struct ps_variable *v = in->variable;
    bool reads = in->kind == PS_PULL || in->kind == PS_PULL_CREATE;

    if (v == NULL || v->client != c || (!reads && in->kind != PS_PUSH)) {
        return PS_EARGUMENT;
    }
    if (v->v.kind == PS_DENSE ? in->keys != NULL || in->n_keys != 0
                              : in->keys == NULL && in->n_keys != 0) {
        return PS_EARGUMENT;
    }
    if ((v->v.kind == PS_DENSE || in->n_keys != 0) &&
        (reads ? in->out == NULL : in->values == NULL)) {
        return PS_EARGUMENT;
    }
    if (in->n_keys > SIZE_MAX / sizeof(float) / LIMIT_DIM) {
        return PS_EARGUMENT;
    }
    *out = (struct session_op){
        .variable = v->v,
        .kind = in->kind,
        .keys = in->keys,
        .n_keys = in->n_keys,
        .values = in->values,
        .out = in->out,
        .updater = v->v.updater,
    };
    if (in->kind == PS_PUSH && in->updater != NULL) {
        return fill_updater(c, in->updater, &out->updater);
    }
    return PS_OK;
}

/* Within client_enter. */
static int submit(ps_client *c, const struct ps_op *ops, size_t n,
                  struct ps_request **handle)
{
    struct session_op few[FEW_OPS];
    struct session_op *all = few;
    struct request *r = NULL;
    int rc = PS_OK;

    if (n > FEW_OPS) {
        all = mem_try(mem_array(n, sizeof(*all)));
        if (all == NULL) {
            return PS_ENOMEM;
        }
    }
    for (size_t i = 0; i < n && rc == PS_OK; i++) {
        rc = fill_op(c, &ops[i], &all[i]);
    }
    if (rc == PS_OK) {
        rc = session_submit(c->session, all, n, &r);
    }
    if (rc == PS_OK) {
        rc = client_hold(c, r, handle);
    }
    if (all != few) {
        mem_free(all);
    }
    return rc;
}

int ps_submit(ps_client *client, const struct ps_op *ops, size_t n,
              ps_request **request)
{
    struct client_guard g;
    int rc;

    if (client == NULL || ops == NULL || n == 0 || request == NULL) {
        return PS_EARGUMENT;
    }
    client_enter(client, &g);
    rc = submit(client, ops, n, request);
    client_leave(client, &g);
    return rc;
}

/* Within client_enter. */
static int wait_for(struct ps_request *r, int timeout_ms)
{
    ps_client *c = r->client;
    int rc =
        client_wait(c, client_has_settled, r, client_deadline(c, timeout_ms));

    return rc == PS_OK ? request_status(r->request) : rc;
}

int ps_wait(ps_request *request, int timeout_ms)
{
    struct client_guard g;
    int rc;

    if (request == NULL) {
        return PS_EARGUMENT;
    }
    client_enter(request->client, &g);
    rc = wait_for(request, timeout_ms);
    client_leave(request->client, &g);
    return rc;
}

int ps_resolve(ps_request *request, int timeout_ms)
{
    struct client_guard g;
    int rc;

    if (request == NULL) {
        return PS_EARGUMENT;
    }
    client_enter(request->client, &g);
    if (!request->is_settled) {
        session_resolve(request->client->session, request->request);
    }
    rc = wait_for(request, timeout_ms);
    client_leave(request->client, &g);
    return rc;
}

void ps_request_free(ps_request *request)
{
    struct client_guard g;
    ps_client *c;

    if (request == NULL) {
        return;
    }
    c = request->client;
    client_enter(c, &g);
    client_let_go(request);
    client_leave(c, &g);
}

size_t ps_request_frames(const ps_request *request)
{
    struct client_guard g;
    size_t n = 0;

    if (request == NULL) {
        return 0;
    }
    client_enter(request->client, &g);
    if (request->is_settled) {
        n = request_frames(request->request);
    }
    client_leave(request->client, &g);
    return n;
}

int ps_request_frame(const ps_request *request, size_t i,
                     struct ps_frame_outcome *outcome)
{
    struct client_guard g;
    int rc = PS_OK;

    if (request == NULL || outcome == NULL) {
        return PS_EARGUMENT;
    }
    client_enter(request->client, &g);
    if (!request->is_settled) {
        rc = PS_ENOTREADY;
    } else if (i >= request_frames(request->request)) {
        rc = PS_EINDEX;
    } else {
        *outcome = *request_frame(request->request, i);
    }
    client_leave(request->client, &g);
    return rc;
}

static int run_one(struct ps_op *op, int timeout_ms)
{
    struct client_guard g;
    struct ps_request *r;
    ps_client *c;
    int rc;

    if (op->variable == NULL) {
        return PS_EARGUMENT;
    }
    c = op->variable->client;
    client_enter(c, &g);
    rc = submit(c, op, 1, &r);
    if (rc == PS_OK) {
        rc = wait_for(r, timeout_ms);
        client_let_go(r);
    }
    client_leave(c, &g);
    return rc;
}

int ps_pull(ps_variable *variable, const uint64_t *keys, size_t n_keys,
            float *out, int timeout_ms)
{
    struct ps_op op = {
        .variable = variable,
        .kind = PS_PULL,
        .keys = keys,
        .n_keys = n_keys,
        .out = out,
    };

    return run_one(&op, timeout_ms);
}

int ps_push(ps_variable *variable, const uint64_t *keys, size_t n_keys,
            const float *gradients, int timeout_ms)
{
    struct ps_op op = {
        .variable = variable,
        .kind = PS_PUSH,
        .keys = keys,
        .n_keys = n_keys,
        .values = gradients,
    };

    return run_one(&op, timeout_ms);
}

void ps_client_counters(ps_client *client, struct ps_client_counters *counters)
{
    struct client_guard g;

    if (counters == NULL) {
        return;
    }
    *counters = (struct ps_client_counters){0};
    if (client == NULL) {
        return;
    }
    client_enter(client, &g);
    session_counters(client->session, counters);
    client_leave(client, &g);
}

void ps_client_waits_for(ps_client *client, char *text, size_t size)
{
    struct client_guard g;

    if (text == NULL || size == 0) {
        return;
    }
    text[0] = '\0';
    if (client == NULL) {
        return;
    }
    client_enter(client, &g);
    session_waits_for(client->session, text, size);
    client_leave(client, &g);
}

void ps_text_free(char *text)
{
    mem_free(text);
}
