/* coord_loop.c - blocking work of the store, away from the loop.
 *
 *     submit --> queue --+               +--> answers, on the loop
 *                        +--> one job ---+
 *     watches, when due -+               +--> watches that saw no change go
 *                                             back to their list
 *
 * A job takes all that waits, so the store is used by one thread at a time and
 * in order, and a burst costs one hand-over. The worker sees the items of its
 * job and the store, nothing else here.
 */
#include "coord/coord_loop.h"

#include <stdio.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "fs/fs.h"

enum {
    /* Requests that are there when memory is not, so that leases are renewed
     * nevertheless. Logic has a handful in flight at a time; for more of them
     * the loop waits for memory: an answer must come. */
    SPARE_ITEMS = 32
};

struct item {
    struct item *next;
    bool is_spare;
    struct coord_request request;
    void *data; /* our copy of request.data */
    struct buf value;
    struct coord_result result;
};

struct list {
    struct item *first;
    struct item *last;
};

struct coord_loop {
    struct coord coord;
    struct loop *loop;
    struct coord_file *file; /* the job's while one is under way */
    void (*answer)(void *context, const struct coord_result *result);
    void *context;
    struct loop_job job;
    bool is_working;
    struct list queue;
    struct list watches;
    struct list at_work; /* the job's while one is under way */
    uint64_t look_us;    /* when the watches are due */
    struct log_limit waits;
    struct list spare;
    struct item spare_items[SPARE_ITEMS];
};

static void append(struct list *list, struct item *item)
{
    item->next = NULL;
    if (list->first == NULL) {
        list->first = item;
    } else {
        list->last->next = item;
    }
    list->last = item;
}

static struct item *take_first(struct list *list)
{
    struct item *item = list->first;

    if (item != NULL) {
        list->first = item->next;
    }
    return item;
}

static void append_all(struct list *to, struct list *from)
{
    for (struct item *i = take_first(from); i != NULL; i = take_first(from)) {
        append(to, i);
    }
}

/* On the worker. */
static void work(struct loop_job *job)
{
    struct coord_loop *c = CONTAINER_OF(job, struct coord_loop, job);

    for (struct item *i = c->at_work.first; i != NULL; i = i->next) {
        if (i->result.status == PS_OK) {
            coord_file_do(c->file, &i->request, &i->value, &i->result);
        }
    }
}

static void release(struct coord_loop *c, struct item *item)
{
    mem_free(item->data);
    buf_fini(&item->value);
    if (item->is_spare) {
        append(&c->spare, item);
    } else {
        mem_free(item);
    }
}

static void start_job(struct coord_loop *c);

static void give_answer(struct coord_loop *c, struct item *item)
{
    /* A result that carries nothing else still says whose it is. */
    item->result.op = item->request.op;
    item->result.tag = item->request.tag;
    item->result.key = item->request.key;
    c->answer(c->context, &item->result);
    release(c, item);
}

static void work_done(struct loop_job *job)
{
    struct coord_loop *c = CONTAINER_OF(job, struct coord_loop, job);
    struct list done = c->at_work;

    c->at_work = (struct list){.first = NULL};
    c->is_working = false;
    for (struct item *i = take_first(&done); i != NULL; i = take_first(&done)) {
        if (i->request.op == COORD_WATCH && i->result.status == PS_EBUSY) {
            i->result.status = PS_OK;
            append(&c->watches, i);
        } else {
            give_answer(c, i);
        }
    }
    start_job(c);
}

/* Starts a job if there is work and none is under way. */
static void start_job(struct coord_loop *c)
{
    uint64_t now = loop_now();

    if (c->is_working) {
        return;
    }
    if (c->watches.first != NULL && c->look_us <= now) {
        append_all(&c->at_work, &c->watches);
        c->look_us = now + (uint64_t)LIMIT_WATCH_MS * 1000;
    }
    append_all(&c->at_work, &c->queue);
    if (c->at_work.first == NULL) {
        return;
    }
    c->is_working = true;
    if (loop_work(c->loop, &c->job) != PS_OK) {
        /* No memory, or the loop has stopped: tried again at the next tick. */
        c->is_working = false;
        append_all(&c->queue, &c->at_work);
        c->look_us = now + (uint64_t)LIMIT_RETRY_MS * 1000;
    }
}

static struct item *new_item(struct coord_loop *c)
{
    struct item *item = mem_try_zero(sizeof(*item));

    if (item != NULL) {
        return item;
    }
    item = take_first(&c->spare);
    if (item != NULL) {
        *item = (struct item){.is_spare = true};
        return item;
    }
    log_limited(&c->waits, loop_now(), LOG_ERROR,
                "out of memory: a request to the store waits for some");
    return mem_wait_zero(sizeof(*item));
}

static void submit(struct coord *coord, const struct coord_request *request)
{
    struct coord_loop *c = CONTAINER_OF(coord, struct coord_loop, coord);
    struct item *item = new_item(c);

    item->request = *request;
    buf_init(&item->value);
    if (request->size > 0) {
        item->data = mem_try(request->size);
        if (item->data == NULL) {
            item->result.status = PS_EIO; /* answered without being done */
            item->request.size = 0;
        } else {
            memcpy(item->data, request->data, request->size);
        }
    }
    item->request.data = item->data;
    append(&c->queue, item); /* a watch has its first look at once */
    start_job(c);
}

struct coord *coord_loop_coord(struct coord_loop *c)
{
    return &c->coord;
}

void coord_loop_tick(struct coord_loop *c)
{
    start_job(c);
}

uint64_t coord_loop_next(const struct coord_loop *c)
{
    if (c->is_working || (c->watches.first == NULL && c->queue.first == NULL)) {
        return UINT64_MAX;
    }
    return c->look_us;
}

int coord_loop_open(struct coord_loop **out,
                    const struct coord_loop_options *options, struct err *e)
{
    char dir[4096];
    struct net *net = loop_net(options->loop);
    struct coord_loop *c;
    uint64_t nonce;
    int rc;

    rc = coord_path_parse(options->kv_path, dir, sizeof(dir), e);
    if (rc != PS_OK) {
        return rc;
    }
    c = mem_try_zero(sizeof(*c));
    if (c == NULL) {
        return err_set(e, PS_ENOMEM, "no memory for the store");
    }
    nonce = net->random(net);
    rc = options->joins ? coord_file_join(&c->file, fs_file(), dir, nonce, e)
                        : coord_file_open(&c->file, fs_file(), dir, nonce, e);
    if (rc != PS_OK) {
        mem_free(c);
        return rc;
    }
    c->coord.submit = submit;
    c->loop = options->loop;
    c->answer = options->answer;
    c->context = options->context;
    c->job = (struct loop_job){.work = work, .done = work_done};
    for (size_t i = 0; i < SPARE_ITEMS; i++) {
        c->spare_items[i].is_spare = true;
        append(&c->spare, &c->spare_items[i]);
    }
    *out = c;
    return PS_OK;
}

static void release_all(struct coord_loop *c, struct list *list)
{
    for (struct item *i = take_first(list); i != NULL; i = take_first(list)) {
        release(c, i);
    }
}

void coord_loop_close(struct coord_loop *c)
{
    if (c == NULL) {
        return;
    }
    release_all(c, &c->queue);
    release_all(c, &c->watches);
    release_all(c, &c->at_work);
    coord_file_close(c->file);
    mem_free(c);
}
