/* ahead.c - one piece at a time: a worker maps and touches it, then it is put
 * in stock. */
#include "server/ahead.h"

#include "base/mem.h"

static void work(struct loop_job *job)
{
    struct ahead *a = CONTAINER_OF(job, struct ahead, job);

    a->piece = mem_map(a->bytes, true);
    if (a->piece != NULL) {
        mem_populate(a->piece, a->bytes);
    }
}

static void start(struct ahead *a)
{
    a->bytes = slab_ahead_short(&a->stock);
    if (a->bytes > 0) {
        /* Without it the shard touches its memory itself. */
        a->is_busy = loop_work(a->loop, &a->job) == PS_OK;
    }
}

static void done(struct loop_job *job)
{
    struct ahead *a = CONTAINER_OF(job, struct ahead, job);
    void *p = a->piece;

    a->is_busy = false;
    a->piece = NULL;
    if (p != NULL) {
        slab_ahead_put(&a->stock, p, a->bytes);
        start(a);
    }
}

static void want(struct slab_ahead *stock)
{
    struct ahead *a = CONTAINER_OF(stock, struct ahead, stock);

    if (!a->is_busy) {
        start(a);
    }
}

void ahead_init(struct ahead *a, struct loop *loop)
{
    *a = (struct ahead){.stock.want = want, .loop = loop};
    a->job.work = work;
    a->job.done = done;
}

void ahead_fini(struct ahead *a)
{
    /* The loop has waited for the worker, and told nobody. */
    mem_unmap(a->piece, a->bytes);
    slab_ahead_clear(&a->stock);
}
