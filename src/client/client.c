/* client.c - the public calls on requests and counters. */
#include "client/client_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "udf/udf.h"

enum {
    /* Operations that need no memory of their own to be handed over. */
    FEW_OPS = 16
};

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

void client_mark_settled(struct ps_request *r)
{
    r->is_settled = true;
    r->client->n_in_flight--;
}

bool client_has_settled(void *request)
{
    return ((struct ps_request *)request)->is_settled;
}

int client_handle(struct ps_request **handle)
{
    *handle = mem_try_zero(sizeof(**handle));
    return *handle != NULL ? PS_OK : PS_ENOMEM;
}

void client_hold(ps_client *c, int rc, struct request *r,
                 struct ps_request **handle)
{
    struct ps_request *h = *handle;

    if (rc != PS_OK) {
        mem_free(h);
        *handle = NULL;
        return;
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
        client_mark_settled(h);
    }
}

void client_text(ps_request *request, char *text, size_t size)
{
    struct client_guard g;

    client_enter(request->client, &g);
    snprintf(text, size, "%s", request_text(request->request));
    client_leave(request->client, &g);
}

void client_let_go(struct ps_request *r)
{
    ps_client *c;

    if (r == NULL) {
        return;
    }
    c = r->client;
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
        session_abandon(r->request);
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
    int rc = client_handle(handle);

    if (n > FEW_OPS) {
        all = mem_try(mem_array(n, sizeof(*all)));
        rc = all != NULL ? rc : PS_ENOMEM;
    }
    for (size_t i = 0; i < n && rc == PS_OK; i++) {
        rc = fill_op(c, &ops[i], &all[i]);
    }
    if (rc == PS_OK) {
        rc = session_submit(c->session, all, n, &r);
    }
    client_hold(c, rc, r, handle);
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

uint32_t ps_bucket(uint64_t key)
{
    return hash_bucket(hash_key(key));
}

void ps_text_free(char *text)
{
    mem_free(text);
}
