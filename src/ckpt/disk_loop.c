/* disk_loop.c - blocking work on files, away from the loop.
 *
 *     submit --> queue --> one job of a few requests --> answers, on the loop
 *                            ^
 *                            | if fewer than so many disk_loops of this
 *                            | kind are at work, else a little later
 *
 * A job is small and there are few, because the worker threads of libuv are
 * few, and for the whole process: were all of them in an fsync of seconds, no
 * lease would be renewed meanwhile. Who is refused asks again; who has just had
 * a turn while another of its kind was refused lets it go first. Logs have
 * turns of their own: clients wait for them.
 *
 * A request for which there is no memory keeps its place in the queue and is
 * answered PS_ENOMEM; closing needs no memory and is done even then. When not
 * even that much is left the loop waits for memory: a request that is dropped
 * would be waited for without end.
 */
#include "ckpt/disk_loop.h"

#include <stdatomic.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "fs/disk_work.h"

enum {
    JOB_ITEMS = 16,
    SPARE_ITEMS = 256 /* answers that come without memory */
};

/* Of all disk_loops of this process that are of one kind. */
static struct turns {
    atomic_uint n_jobs;
    atomic_bool is_wanted; /* one was refused since */
} turns[] = {[DISK_LOOP_FILES] = {0}, [DISK_LOOP_LOG] = {0}};

struct item {
    struct item *next;
    bool is_spare; /* and then it is no struct full */
    enum disk_op op;
    uint64_t tag;
    uint64_t file;
    int status;
};

struct full {
    struct item item;
    struct disk_request request;
    struct buf data;
    struct err e;
};

struct list {
    struct item *first;
    struct item *last;
};

struct disk_loop {
    struct disk disk;
    struct loop *loop;
    struct fs *fs;
    enum disk_loop_kind kind;
    struct disk_work work; /* the job's while one is under way */
    void (*answer)(void *context, const struct disk_result *result);
    void *context;
    struct loop_job job;
    bool is_working;
    uint64_t again_us; /* not before that, where the last try was in vain */
    struct list queue;
    struct list at_work; /* the job's while one is under way */
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

static struct full *full_of(struct item *item)
{
    return CONTAINER_OF(item, struct full, item);
}

/* On the worker. */
static void do_item(struct disk_loop *d, struct item *item)
{
    struct disk_request close = {.op = DISK_CLOSE, .file = item->file};
    struct full *f = full_of(item);

    if (!item->is_spare) {
        item->status = disk_work_do(&d->work, &f->request, &f->data, &f->e);
    } else if (item->op == DISK_CLOSE) {
        item->status = disk_work_do(&d->work, &close, NULL, NULL);
    }
}

static void do_job(struct loop_job *job)
{
    struct disk_loop *d = CONTAINER_OF(job, struct disk_loop, job);

    for (struct item *i = d->at_work.first; i != NULL; i = i->next) {
        do_item(d, i);
    }
    atomic_fetch_sub(&turns[d->kind].n_jobs, 1);
}

static void release(struct disk_loop *d, struct item *item)
{
    if (item->is_spare) {
        append(&d->spare, item);
    } else {
        buf_fini(&full_of(item)->data);
        mem_free(full_of(item));
    }
}

static void give_answer(struct disk_loop *d, struct item *item)
{
    struct disk_result result = {
        .op = item->op,
        .tag = item->tag,
        .status = item->status,
        .why = "",
    };

    if (item->is_spare) {
        result.why = item->status == PS_OK ? "" : "out of memory";
    } else if (item->status != PS_OK) {
        result.why = full_of(item)->e.text;
    } else {
        result.data = full_of(item)->data.data;
        result.size = full_of(item)->data.size;
        result.memory = &full_of(item)->data;
    }
    d->answer(d->context, &result);
    release(d, item);
}

static void wait_a_little(struct disk_loop *d)
{
    d->again_us = loop_now() + (uint64_t)LIMIT_RETRY_MS * 1000;
}

/* Takes one of the kind's jobs; it is given back by do_job. */
static bool take_turn(enum disk_loop_kind kind)
{
    struct turns *t = &turns[kind];

    if (atomic_fetch_add(&t->n_jobs, 1) <
        (kind == DISK_LOOP_LOG ? DISK_LOOP_LOG_MAX : DISK_LOOP_FILES_MAX)) {
        return true;
    }
    atomic_fetch_sub(&t->n_jobs, 1);
    atomic_store(&t->is_wanted, true);
    return false;
}

/* Moves up to n items. */
static void move(struct list *to, struct list *from, size_t n)
{
    for (; n > 0 && from->first != NULL; n--) {
        append(to, take_first(from));
    }
}

/* Starts a job if there is work and none is under way. */
static void start_job(struct disk_loop *d)
{
    if (d->is_working || d->queue.first == NULL || loop_now() < d->again_us) {
        return;
    }
    if (!take_turn(d->kind)) {
        wait_a_little(d);
        return;
    }
    move(&d->at_work, &d->queue, JOB_ITEMS);
    d->is_working = true;
    if (loop_work(d->loop, &d->job) != PS_OK) {
        /* No memory, or the loop has stopped: back to the front. */
        d->is_working = false;
        move(&d->at_work, &d->queue, SIZE_MAX);
        d->queue = d->at_work;
        d->at_work = (struct list){.first = NULL};
        atomic_fetch_sub(&turns[d->kind].n_jobs, 1);
        wait_a_little(d);
    }
}

static void job_done(struct loop_job *job)
{
    struct disk_loop *d = CONTAINER_OF(job, struct disk_loop, job);
    struct list done = d->at_work;

    d->at_work = (struct list){.first = NULL};
    d->is_working = false;
    if (atomic_exchange(&turns[d->kind].is_wanted, false)) {
        wait_a_little(d);
    }
    for (struct item *i = take_first(&done); i != NULL; i = take_first(&done)) {
        give_answer(d, i);
    }
    start_job(d);
}

static struct item *new_item(struct disk_loop *d,
                             const struct disk_request *request)
{
    struct full *f = mem_try_zero(sizeof(*f));

    if (f == NULL) {
        struct item *item = take_first(&d->spare);

        if (item != NULL) {
            *item = (struct item){.is_spare = true, .status = PS_ENOMEM};
            return item;
        }
        log_limited(&d->waits, loop_now(), LOG_ERROR,
                    "out of memory: a request to the disk waits for some");
        f = mem_wait_zero(sizeof(*f));
    }
    f->request = *request;
    buf_init(&f->data);
    return &f->item;
}

static void submit(struct disk *disk, const struct disk_request *request)
{
    struct disk_loop *d = CONTAINER_OF(disk, struct disk_loop, disk);
    struct item *item = new_item(d, request);

    item->op = request->op;
    item->tag = request->tag;
    item->file = request->file;
    append(&d->queue, item);
    start_job(d);
}

struct disk *disk_loop_disk(struct disk_loop *d)
{
    return &d->disk;
}

void disk_loop_tick(struct disk_loop *d)
{
    if (d != NULL) {
        start_job(d);
    }
}

uint64_t disk_loop_next(const struct disk_loop *d)
{
    return d == NULL || d->is_working || d->queue.first == NULL ? UINT64_MAX
                                                                : d->again_us;
}

int disk_loop_open(struct disk_loop **out, struct loop *loop, const char *url,
                   enum disk_loop_kind kind,
                   void (*answer)(void *context,
                                  const struct disk_result *result),
                   void *context, struct err *e)
{
    struct disk_loop *d = mem_try_zero(sizeof(*d));
    int rc;

    if (d == NULL) {
        return err_set(e, PS_ENOMEM, "no memory for the disk");
    }
    rc = fs_url_open(&d->fs, url, e);
    if (rc != PS_OK) {
        mem_free(d);
        return rc;
    }
    d->disk.submit = submit;
    d->loop = loop;
    d->kind = kind;
    d->answer = answer;
    d->context = context;
    d->job = (struct loop_job){.work = do_job, .done = job_done};
    disk_work_init(&d->work, d->fs);
    for (size_t i = 0; i < SPARE_ITEMS; i++) {
        d->spare_items[i].is_spare = true;
        append(&d->spare, &d->spare_items[i]);
    }
    *out = d;
    return PS_OK;
}

static void release_all(struct disk_loop *d, struct list *list)
{
    for (struct item *i = take_first(list); i != NULL; i = take_first(list)) {
        release(d, i);
    }
}

void disk_loop_close(struct disk_loop *d)
{
    if (d == NULL) {
        return;
    }
    release_all(d, &d->queue);
    release_all(d, &d->at_work);
    disk_work_fini(&d->work);
    fs_url_close(d->fs);
    mem_free(d);
}
