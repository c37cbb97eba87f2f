/* shelf.c - requests to the store that wait until a test wants them done. */
#include "lib/shelf.h"

#include <stdio.h>

#include "base/mem.h"

enum { TURNS_MAX = 10000 };

static void submit(struct coord *c, const struct coord_request *request)
{
    struct shelf *s = CONTAINER_OF(c, struct shelf, coord);
    struct shelf_request *q = mem_new(sizeof(*q));
    struct shelf_request **at = &s->first;
    void *data = NULL;

    *q = (struct shelf_request){.r = *request};
    if (request->size > 0) {
        data = mem_new(request->size);
        memcpy(data, request->data, request->size);
    }
    q->r.data = data;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = q;
}

static void free_request(struct shelf_request *q)
{
    union {
        const void *constant;
        void *plain;
    } data = {.constant = q->r.data};

    mem_free(data.plain);
    mem_free(q);
}

void shelf_init(struct shelf *s, struct fs *fs, uint64_t nonce,
                void (*deliver)(void *context, const struct coord_result *r),
                void *context)
{
    struct err e = {.text = ""};

    *s = (struct shelf){
        .coord = {.submit = submit}, .deliver = deliver, .context = context};
    buf_init(&s->value);
    if (coord_file_open(&s->file, fs, "/run/ps", nonce, &e) != PS_OK) {
        fprintf(stderr, "%s\n", e.text);
        ASSERT(s->file != NULL);
    }
}

void shelf_forget(struct shelf *s)
{
    while (s->first != NULL) {
        struct shelf_request *q = s->first;

        s->first = q->next;
        free_request(q);
    }
}

void shelf_fini(struct shelf *s)
{
    shelf_forget(s);
    coord_file_close(s->file);
    buf_fini(&s->value);
}

bool shelf_has(const struct shelf *s, enum coord_op op, const char *key)
{
    for (const struct shelf_request *q = s->first; q != NULL; q = q->next) {
        if (q->r.op == op && (key == NULL || strcmp(q->r.key, key) == 0)) {
            return true;
        }
    }
    return false;
}

/* Fails a result as the test asked. True if the request is not to be done. */
static bool plant(struct shelf *s, enum coord_op op, int *status)
{
    *status = PS_OK;
    if (s->is_away || (s->is_full && op == COORD_CAS)) {
        *status = PS_EIO;
        return true;
    }
    if (s->fail_count > 0) {
        s->fail_count--;
        *status = s->fail_status;
        return !s->fail_with_effect;
    }
    return false;
}

/* Executes one request; false if it waits on. */
static bool execute(struct shelf *s, struct shelf_request **at)
{
    struct shelf_request *q = *at;
    struct coord_result result = {.op = q->r.op, .tag = q->r.tag};
    struct buf value;
    int status = PS_OK;

    buf_init(&value);
    if (q->r.op == COORD_WATCH && !s->is_away) {
        coord_file_do(s->file, &q->r, &value, &result);
        if (result.status == PS_EBUSY) {
            buf_fini(&value);
            return false;
        }
    } else if (!plant(s, q->r.op, &status)) {
        coord_file_do(s->file, &q->r, &value, &result);
    }
    if (status != PS_OK) {
        result.status = status;
        result.version = 0;
        result.data = NULL;
        result.size = 0;
    }
    s->n_cas += q->r.op == COORD_CAS;
    result.key = q->r.key;
    *at = q->next;
    s->deliver(s->context, &result);
    free_request(q);
    buf_fini(&value);
    return true;
}

bool shelf_do_key(struct shelf *s, const char *key)
{
    struct shelf_request **at = &s->first;

    while (*at != NULL) {
        if ((key == NULL || strcmp((*at)->r.key, key) == 0) && execute(s, at)) {
            return true;
        }
        at = &(*at)->next;
    }
    return false;
}

void shelf_run(struct shelf *s)
{
    size_t turns = 0;

    while (shelf_do_key(s, NULL)) {
        turns++;
        ASSERT(turns < TURNS_MAX);
    }
}

uint64_t shelf_get(struct shelf *s, const char *key)
{
    struct coord_request r = {.op = COORD_GET};
    struct coord_result result;

    snprintf(r.key, sizeof(r.key), "%s", key);
    coord_file_do(s->file, &r, &s->value, &result);
    ASSERT(result.status == PS_OK || result.status == PS_ENOTFOUND);
    s->data = result.data;
    s->size = result.size;
    return result.version;
}

void shelf_put(struct shelf *s, const char *key, struct buf *value)
{
    struct coord_request r = {
        .op = COORD_CAS, .data = value->data, .size = value->size};
    struct coord_result result;
    struct buf out;

    ASSERT(!value->failed);
    snprintf(r.key, sizeof(r.key), "%s", key);
    r.version = shelf_get(s, key);
    buf_init(&out);
    coord_file_do(s->file, &r, &out, &result);
    buf_fini(&out);
    ASSERT(result.status == PS_OK);
}
