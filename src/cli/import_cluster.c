/* import_cluster.c - rows of the original into a running cluster.
 *
 * By way of a checkpoint, where the cluster has a place for them
 * (import_load.c). Else they are pushed with AssignUpdater, which needs no
 * state: a batch that is sent again after a lost answer is the same batch. The
 * variable is declared with the updater whose slots the files had; these begin
 * anew, as no push can set them, so the user has to say that they may.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "cli/import_command.h"
#include "fs/fs.h"
#include "psplus.h"

enum { CLOSE_MS = 5000, BATCH_BYTES = 4 << 20, WAITS_BYTES = 160 };

struct pushing {
    ps_client *client;
    const struct import_variable *v;
    ps_variable *variable;
    struct progress progress;
    uint64_t done;
    uint64_t total;
    uint64_t room; /* rows of a batch */
    uint64_t n;
    uint64_t *keys;
    float *values;
};

/* Sends what is there. */
static int push(struct pushing *p, struct err *e)
{
    static const struct ps_updater assign = {.name = "AssignUpdater"};
    const char *name = p->v->rows.variable->name;
    struct ps_op op = {.variable = p->variable,
                       .kind = PS_PUSH,
                       .values = p->values,
                       .updater = &assign};
    ps_request *request = NULL;
    int rc;

    if (p->n == 0) {
        return PS_OK;
    }
    if (p->v->kind != PS_DENSE) {
        op.keys = p->keys;
        op.n_keys = (size_t)p->n;
    }
    rc = ps_submit(p->client, &op, 1, &request);
    if (rc == PS_OK) {
        rc = ps_wait(request, IMPORT_ANSWER_MS);
    }
    if (rc == PS_ETIMEOUT) {
        char waits[WAITS_BYTES];

        ps_client_waits_for(p->client, waits, sizeof(waits));
        (void)err_set(e, rc, "\"%.60s\": %s", name, waits);
    } else if (rc != PS_OK) {
        (void)err_set(e, rc, "\"%.80s\": %s", name, ps_status_text(rc));
    }
    ps_request_free(request);
    p->done += p->n;
    p->n = 0;
    (void)import_progress_show(&p->progress, p->done, p->total);
    return rc;
}

static int take_row(void *context, const struct original_row *row,
                    struct err *e)
{
    struct pushing *p = context;
    size_t dim = p->v->dim;

    /* A dense variable is one batch: more than its rows cannot come, as the
     * reader counts them. */
    p->keys[p->n] = row->key;
    memcpy(p->values + p->n * dim, row->values, dim * sizeof(float));
    p->n++;
    return p->n == p->room && p->v->kind != PS_DENSE ? push(p, e) : PS_OK;
}

static int declare(struct pushing *p, struct err *e)
{
    const struct import_variable *v = p->v;
    struct ps_declaration d;
    struct ps_error error = {0};
    int rc;

    ps_declaration_init(&d);
    d.name = v->rows.variable->name;
    d.kind = (int)v->kind;
    d.rows = v->n_rows;
    d.dim = v->dim;
    d.init = v->init;
    d.updater = v->updater;
    d.batch_read = v->rows.variable->batch_read;
    rc = ps_declare(p->client, &d, &p->variable, IMPORT_ANSWER_MS, &error);
    return rc == PS_OK ? rc : err_set(e, rc, "%s", error.text);
}

static int push_variable(struct pushing *p, const struct import *x,
                         const struct import_variable *v, struct err *e)
{
    uint64_t row_bytes = v->dim * sizeof(float);
    int rc;

    p->v = v;
    p->n = 0;
    p->room = v->kind == PS_DENSE ? v->n_rows
                                  : base_max_u64(BATCH_BYTES / row_bytes, 1);
    rc = declare(p, e);
    if (rc != PS_OK) {
        return rc;
    }
    p->keys = mem_try(mem_array((size_t)p->room, sizeof(*p->keys)));
    p->values = mem_try(mem_array((size_t)p->room, (size_t)row_bytes));
    if (p->keys == NULL || p->values == NULL) {
        rc = err_set(e, PS_ENOMEM, "out of memory for \"%.80s\"",
                     v->rows.variable->name);
    } else {
        rc = original_read(x->original, x->fs, &v->rows, take_row, p, e);
    }
    if (rc == PS_OK) {
        rc = push(p, e);
    }
    mem_free(p->keys);
    mem_free(p->values);
    return rc;
}

static int push_all(struct pushing *p, const struct import *x, struct err *e)
{
    int rc = PS_OK;

    for (uint32_t i = 0; i < x->n; i++) {
        p->total +=
            x->variables[i].fate == IMPORT_SERVED ? x->variables[i].n_rows : 0;
    }
    progress_begin(&p->progress, IMPORT_PLAIN_MS);
    for (uint32_t i = 0; i < x->n && rc == PS_OK; i++) {
        if (x->variables[i].fate == IMPORT_SERVED) {
            rc = push_variable(p, x, &x->variables[i], e);
        }
    }
    progress_end(&p->progress);
    return rc;
}

/* Where the cluster keeps checkpoints: mem_free; "" if nowhere. */
static int find_place(ps_client *client, char **place, struct err *e)
{
    struct ps_error error = {0};
    const char *url;
    json_t *root;
    char *text;
    int rc = ps_status_json(client, &text, IMPORT_ANSWER_MS, &error);

    if (rc != PS_OK) {
        return err_set(e, rc, "%s", error.text);
    }
    root = json_loads(text, 0, NULL);
    ps_text_free(text);
    url = json_string_value(json_object_get(root, "checkpoints"));
    *place = url != NULL ? mem_try(strlen(url) + 1) : NULL;
    if (*place != NULL) {
        memcpy(*place, url, strlen(url) + 1);
    }
    json_decref(root);
    return *place != NULL ? PS_OK : err_set(e, PS_ENOMEM, "out of memory");
}

/* Whether other processes find there what this one writes. */
static bool is_on_disk(const char *place)
{
    return place[0] != '\0' && !fs_url_is_none(place) &&
           strncmp(place, "memory:", strlen("memory:")) != 0;
}

/* The first slot that a push would leave out. */
static int refuse_slots(const struct import *x, const char *place,
                        struct err *e)
{
    for (uint32_t i = 0; i < x->n; i++) {
        const struct import_variable *v = &x->variables[i];

        for (uint32_t k = 0; k < v->rows.n_slots; k++) {
            if (v->fate == IMPORT_SERVED && import_serves_slot(v, k)) {
                return err_set(
                    e, PS_EARGUMENT,
                    "\"%.80s\" has the slot \"%.60s\", which cannot be "
                    "pushed, and %s. Give the scheduler -cp, or leave slots "
                    "out with --without-slots",
                    v->rows.variable->name, v->rows.slots[k].name,
                    place[0] == '\0' ? "the cluster has no place for "
                                       "checkpoints"
                                     : "its checkpoints are not on a disk");
            }
        }
    }
    return PS_OK;
}

/* By the way that there is. */
static int bring(struct pushing *p, const struct import_options *o,
                 const struct import *x, char *folder, struct err *e)
{
    const char *name = o->name != NULL ? o->name : x->original->folder;
    char *place = NULL;
    int rc = PS_OK;

    if (!o->without_slots) {
        rc = find_place(p->client, &place, e);
    }
    if (rc == PS_OK && place != NULL && is_on_disk(place)) {
        rc = import_load(x, p->client, place, name, folder, e);
    } else if (rc == PS_OK) {
        rc = place != NULL ? refuse_slots(x, place, e) : PS_OK;
        rc = rc == PS_OK ? push_all(p, x, e) : rc;
    }
    mem_free(place);
    return rc;
}

int import_cluster(const struct import_options *o, const struct import *x,
                   char *folder, struct err *e)
{
    uint32_t n_kept = import_count(x, IMPORT_KEPT);
    struct pushing p = {.client = NULL};
    int rc = cli_open(&p.client, o->kv_path, IMPORT_ANSWER_MS, e);

    if (rc != PS_OK) {
        return rc;
    }
    rc = bring(&p, o, x, folder, e);
    (void)ps_close(p.client, CLOSE_MS); /* nothing else is in flight */
    if (rc == PS_OK && n_kept > 0) {
        return err_set(e, PS_ENOTIMPL,
                       "%" PRIu32 " variables were refused: the servers cannot "
                       "serve them",
                       n_kept);
    }
    return rc == PS_ENOTIMPL ? PS_EUNKNOWN : rc;
}
