/* client_declare.c - declaring and dropping variables. */
#include <stdio.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "client/client_impl.h"
#include "kern/init.h"
#include "udf/udf.h"

/* More than any memory holds, and small enough that a size in bytes with slots
 * fits 64 bits whatever the dimension is. */
static const uint64_t rows_max = (uint64_t)1 << 40;

void ps_declaration_init(struct ps_declaration *declaration)
{
    *declaration = (struct ps_declaration){
        .size = sizeof(*declaration),
        .kind = PS_HASH64,
        .init = {.kind = PS_INIT_CONSTANT},
    };
}

/* C1 controls are the characters U+0080 to U+009F. */
static bool is_control(const uint8_t *p)
{
    return *p < 0x20 || *p == 0x7f ||
           (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0);
}

/* NULL, or what is wrong with a name. */
static const char *check_name(const char *name)
{
    const uint8_t *p = (const uint8_t *)name;

    if (name == NULL || name[0] == '\0') {
        return "a variable needs a name";
    }
    if (strlen(name) > LIMIT_NAME_BYTES) {
        return "the name is longer than 255 bytes";
    }
    while (*p != 0) {
        size_t n = base_char_bytes(p, strlen((const char *)p));

        if (n == 0) {
            return is_control(p) ? "the name has a control character in it"
                                 : "the name is not UTF-8";
        }
        p += n;
    }
    return NULL;
}

static int check_shape(const struct ps_declaration *d, struct ps_error *e)
{
    if (d->kind != PS_DENSE && d->kind != PS_HASH64) {
        return client_error(e, PS_EARGUMENT,
                            "%s: kind %d is neither PS_DENSE "
                            "nor PS_HASH64",
                            d->name, d->kind);
    }
    if (d->dim == 0 || d->dim > LIMIT_DIM) {
        return client_error(e, PS_EARGUMENT, "%s: dim is %u, not 1 to %d",
                            d->name, (unsigned)d->dim, (int)LIMIT_DIM);
    }
    if (d->kind == PS_DENSE && d->rows == 0) {
        return client_error(e, PS_EARGUMENT,
                            "%s: a dense variable has at "
                            "least one row",
                            d->name);
    }
    if (d->rows > rows_max) {
        return client_error(e, PS_EARGUMENT, "%s: %llu rows, at most %llu",
                            d->name, (unsigned long long)d->rows,
                            (unsigned long long)rows_max);
    }
    return PS_OK;
}

/* Checks all of a declaration; *udf is its updater's, or NULL where that is one
 * of a plugin, which the scheduler knows. */
static int check(const struct ps_declaration *d, const struct udf **udf,
                 struct ps_error *e)
{
    struct init_spec init;
    struct err err = {0};
    const char *why;
    int rc;

    if (d->size != sizeof(*d)) {
        return client_error(e, PS_EARGUMENT,
                            "the declaration was not set by "
                            "ps_declaration_init() of this version");
    }
    why = check_name(d->name);
    if (why != NULL) {
        return client_error(e, PS_EARGUMENT, "%s", why);
    }
    rc = check_shape(d, e);
    if (rc != PS_OK) {
        return rc;
    }
    /* A negative kind becomes a large one, which is as wrong. */
    init = (struct init_spec){
        .kind = (uint32_t)d->init.kind,
        .a = d->init.a,
        .b = d->init.b,
    };
    why = init_check(&init);
    if (why != NULL) {
        return client_error(e, PS_EARGUMENT, "%s: %s", d->name, why);
    }
    if (d->updater.name == NULL) {
        return client_error(e, PS_EARGUMENT, "%s: no updater is named",
                            d->name);
    }
    if (d->updater.n_params < 0 || d->updater.n_params > PS_PARAMS_MAX) {
        return client_error(e, PS_EARGUMENT,
                            "%s: %d parameters of an "
                            "updater, at most %d",
                            d->name, d->updater.n_params, PS_PARAMS_MAX);
    }
    if (d->durability < PS_MEMORY || d->durability > PS_FSYNC) {
        return client_error(e, PS_EARGUMENT, "%s: durability %d is not known",
                            d->name, d->durability);
    }
    if (d->no_save < 0 || d->no_save > 1 ||
        (d->no_save != 0 && d->durability != PS_MEMORY)) {
        return client_error(e, PS_EARGUMENT,
                            "%s: no_save is 0 or 1, and 1 is for durability "
                            "memory only",
                            d->name);
    }
    *udf = NULL;
    if (client_is_foreign(d->updater.name)) {
        return PS_OK;
    }
    rc = udf_updater(d->updater.name, d->updater.params,
                     (uint32_t)d->updater.n_params, udf, &err);
    if (rc != PS_OK) {
        return client_error(e, rc, "%s: %s", d->name, err.text);
    }
    return PS_OK;
}

/* The declared updater, whole: parameters that were not given are the zeros
 * they mean, so that two ways to say the same are the same. */
static struct ps_updater updater_of(const struct ps_declaration *d,
                                    const struct udf *udf)
{
    struct ps_updater u = {
        .name = udf != NULL ? udf->name : d->updater.name,
        .n_params = udf != NULL ? (int)udf->n_params : d->updater.n_params,
    };

    for (int i = 0; i < d->updater.n_params; i++) {
        u.params[i] = d->updater.params[i];
    }
    return u;
}

static struct wire_variable wire_of(const struct ps_declaration *d,
                                    const struct ps_updater *u)
{
    return (struct wire_variable){
        .name = d->name,
        .kind = (uint32_t)d->kind,
        .rows = d->rows,
        .dim = d->dim,
        .init_kind = (uint32_t)d->init.kind,
        .init_a = (double)d->init.a,
        .init_b = (double)d->init.b,
        .init_seed = d->init.seed,
        .init_key = hash_bytes(d->name, strlen(d->name)),
        .updater = u->name,
        .n_params = (uint32_t)u->n_params,
        .param0 = u->params[0],
        .param1 = u->params[1],
        .param2 = u->params[2],
        .param3 = u->params[3],
        .param4 = u->params[4],
        .param5 = u->params[5],
        .param6 = u->params[6],
        .param7 = u->params[7],
        .batch_read = d->batch_read,
        .durability = (uint32_t)d->durability,
        .no_save = (uint32_t)d->no_save,
    };
}

/* The handle of a declared variable, one for each id. */
static struct ps_variable *variable_for(ps_client *c,
                                        const struct session_variable *v,
                                        const struct ps_updater *updater)
{
    struct ps_variable *h = c->variables;
    const char *name;

    while (h != NULL && h->v.id != v->id) {
        h = h->next;
    }
    if (h != NULL) {
        return h;
    }
    h = mem_try_zero(sizeof(*h));
    name = h != NULL ? client_keep(c, updater->name) : NULL;
    if (name == NULL) {
        mem_free(h);
        return NULL;
    }
    h->client = c;
    h->v = *v;
    h->v.updater = *updater;
    h->v.updater.name = name;
    h->next = c->variables;
    c->variables = h;
    return h;
}

int client_finish(ps_client *c, int rc, struct request *r,
                  struct ps_request **handle, uint64_t deadline,
                  const char *what, struct ps_error *e)
{
    char waits[160];

    client_hold(c, rc, r, handle);
    if (rc != PS_OK) {
        return client_error(e, rc, "%.80s: %s", what, ps_status_text(rc));
    }
    rc = client_wait(c, client_has_settled, *handle, deadline);
    if (rc == PS_ETIMEOUT) {
        session_request_waits_for(c->session, r, waits, sizeof(waits));
        return client_error(e, rc, "%.80s: deadline reached: %s", what, waits);
    }
    if (rc == PS_OK) {
        rc = request_status(r);
    }
    if (rc != PS_OK) {
        const char *text = request_text(r);

        return client_error(e, rc, "%.80s: %s", what,
                            text[0] != '\0' ? text : ps_status_text(rc));
    }
    return PS_OK;
}

int ps_declare(ps_client *client, const struct ps_declaration *what,
               ps_variable **variable, int timeout_ms, struct ps_error *error)
{
    const struct udf *udf = NULL;
    struct ps_updater updater;
    struct wire_variable w;
    struct request *r = NULL;
    struct ps_request *handle = NULL;
    struct client_guard g;
    int rc;

    if (client == NULL || what == NULL || variable == NULL) {
        return client_error(error, PS_EARGUMENT, "a NULL argument");
    }
    rc = check(what, &udf, error);
    if (rc != PS_OK) {
        return rc;
    }
    updater = updater_of(what, udf);
    w = wire_of(what, &updater);
    client_enter(client, &g);
    rc = client_handle(&handle);
    if (rc == PS_OK) {
        rc = session_declare(client->session, &w, &r);
    }
    rc = client_finish(client, rc, r, &handle,
                       client_deadline(client, timeout_ms), what->name, error);
    if (rc == PS_OK) {
        *variable = variable_for(client, request_declared(r), &updater);
        if (*variable == NULL) {
            rc = client_error(error, PS_ENOMEM, "%.80s: out of memory",
                              what->name);
        }
    }
    client_let_go(handle);
    client_leave(client, &g);
    return rc;
}

int ps_drop(ps_client *client, const char *name, int timeout_ms,
            struct ps_error *error)
{
    struct request *r = NULL;
    struct ps_request *handle = NULL;
    struct client_guard g;
    const char *why;
    int rc;

    if (client == NULL) {
        return client_error(error, PS_EARGUMENT, "a NULL argument");
    }
    why = check_name(name);
    if (why != NULL) {
        return client_error(error, PS_EARGUMENT, "%s", why);
    }
    client_enter(client, &g);
    rc = client_handle(&handle);
    if (rc == PS_OK) {
        rc = session_drop(client->session, name, &r);
    }
    rc = client_finish(client, rc, r, &handle,
                       client_deadline(client, timeout_ms), name, error);
    client_let_go(handle);
    client_leave(client, &g);
    return rc;
}
