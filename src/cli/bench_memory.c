/* bench_memory.c - rows in this process, and what the memory can do.
 *
 * Two tables hold half of the rows each, as two shards of a server would. One
 * thread takes a batch of the one and of the other in turn; two threads take
 * one table each. So one and two do the same work on the same memory.
 *
 * Times are those of the thread's CPU: nothing here waits, and other processes
 * of the machine should not count. Keys, and the numbers of the rows for what
 * needs them, are made ready before.
 */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/hash.h"
#include "base/mem.h"
#include "cli/bench.h"
#include "server/ahead.h"
#include "udf/chain.h"

enum {
    HALVES = 2,
    KEYS = 1 << 18, /* of a half, for one measurement */
    LIMIT_BATCH = 10000,
    FILL_CALL = 256,
    PACED_CALLS = 8192,
    PACE_US = 400,
    AHEAD = 16
};

struct half {
    struct bench_memory *m;
    struct table_budget budget;
    struct ahead ahead;
    struct table *table;
    struct arena arena;
    uint64_t *keys; /* [KEYS] */
    uint32_t *rows; /* [KEYS] */
    uint8_t **blocks;
    float *values; /* of one batch */
    /* What a thread is to do. */
    void (*run)(struct half *h, size_t at, size_t n);
    const struct chain *chain;
    const struct ps_updater *updater;
};

struct bench_memory {
    const struct kern *kern;
    uint32_t dim;
    enum bench_what layout;
    struct half halves[HALVES];
    struct chain chains[BENCH_ALL];
    size_t batch_room;
    struct loop *loop; /* for what is made ahead, as in a server */
    uint8_t *lines;    /* as large as both indices */
    uint64_t n_lines;
    volatile uint64_t sink;
};

static double thread_ns(void)
{
    struct timespec t = {0};

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static size_t half_of(uint64_t key)
{
    return hash_bucket(hash_key(key)) / (LIMIT_BUCKETS / HALVES);
}

/* KEYS fresh keys for each half. */
static void prepare(struct bench_memory *m, struct bench_draw *draw)
{
    size_t n[HALVES] = {0, 0};

    while (n[0] + n[1] < (size_t)HALVES * KEYS) {
        uint64_t key = bench_key(bench_draw(draw));
        size_t i = half_of(key);

        if (n[i] < KEYS) {
            m->halves[i].keys[n[i]++] = key;
        }
    }
}

static void number_rows(struct bench_memory *m)
{
    for (size_t i = 0; i < HALVES; i++) {
        struct half *h = &m->halves[i];

        table_find(h->table, h->keys, KEYS, h->rows);
    }
}

static void run_chain(struct half *h, size_t at, size_t n)
{
    bool is_push = h->updater->name != NULL;
    struct run_op op = {
        .end = LIMIT_BUCKETS,
        .n_keys = (uint32_t)n,
        .n_params = (uint32_t)h->updater->n_params,
        .dim = h->m->dim,
        .n_values = is_push ? n * h->m->dim : 0,
        .keys = h->keys + at,
        .params = h->updater->params,
        .values = h->values,
    };
    struct udf_call c = {
        .op = &op,
        .table = h->table,
        .kern = h->m->kern,
        .arena = &h->arena,
    };
    int rc = chain_prepare(h->chain, &c, false);

    ASSERT(rc == PS_OK);
    c.answer = h->values;
    chain_apply(h->chain, &c, false);
    arena_reset(&h->arena);
}

static void run_lines(struct half *h, size_t at, size_t n)
{
    const struct bench_memory *m = h->m;
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        size_t ahead = i + AHEAD < n ? at + i + AHEAD : at;

        PREFETCH(m->lines + h->keys[ahead] % m->n_lines * 64);
        sum += m->lines[h->keys[at + i] % m->n_lines * 64];
    }
    h->m->sink = sum;
}

static void run_gather(struct half *h, size_t at, size_t n)
{
    table_address(h->table, h->rows + at, n, h->blocks);
    h->m->kern->copy_rows(h->values, h->blocks, n, h->m->dim);
}

static void run_touch(struct half *h, size_t at, size_t n)
{
    size_t stride = table_stride(h->table);

    table_address(h->table, h->rows + at, n, h->blocks);
    for (size_t i = 0; i < n; i++) {
        size_t ahead = i + AHEAD < n ? i + AHEAD : i;

        for (size_t line = 0; line < stride; line += 64) {
            PREFETCH(h->blocks[ahead] + line);
        }
        for (size_t line = 0; line < stride; line += 64) {
            *(float *)(void *)(h->blocks[i] + line) += 0x1p-20F;
        }
    }
}

static void run_update(struct half *h, size_t at, size_t n)
{
    const struct bench_memory *m = h->m;
    const struct kern_ftrl f = {.lr = 0.05F, .power = 0.5F, .l1 = 0.01F};

    table_address(h->table, h->rows + at, n, h->blocks);
    if (m->layout == BENCH_FTRL) {
        m->kern->ftrl(h->blocks, h->values, n, m->dim, &f);
    } else {
        m->kern->adagrad(h->blocks, h->values, n, m->dim, 0.05F);
    }
}

/* What one thread does: its halves in turn, a batch each. */
struct work {
    struct half *first;
    size_t n_halves;
    size_t batch;
    double ns;
};

static void *run_work(void *argument)
{
    struct work *w = argument;
    double start;

    kern_enter();
    start = thread_ns();
    for (size_t at = 0; at < KEYS; at += w->batch) {
        for (size_t i = 0; i < w->n_halves; i++) {
            struct half *h = &w->first[i];

            h->run(h, at, base_min_u64(w->batch, KEYS - at));
        }
    }
    w->ns = thread_ns() - start;
    return NULL;
}

/* ns a key over all halves. */
static double run_threads(struct bench_memory *m, uint32_t threads,
                          size_t batch)
{
    struct work works[HALVES];
    pthread_t ids[HALVES];
    double ns = 0;

    ASSERT(threads == 1 || threads == HALVES);
    for (uint32_t i = 0; i < threads; i++) {
        works[i] = (struct work){&m->halves[i], HALVES / threads, batch, 0};
        if (pthread_create(&ids[i], NULL, run_work, &works[i]) != 0) {
            abort();
        }
    }
    for (uint32_t i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        ns = works[i].ns > ns ? works[i].ns : ns;
    }
    return ns / (HALVES * (double)KEYS);
}

static double run_limit(struct bench_memory *m, uint32_t threads,
                        void (*run)(struct half *h, size_t at, size_t n))
{
    for (size_t i = 0; i < HALVES; i++) {
        m->halves[i].run = run;
    }
    return run_threads(m, threads, LIMIT_BATCH);
}

static void clear_values(struct bench_memory *m)
{
    for (size_t i = 0; i < HALVES; i++) {
        memset(m->halves[i].values, 0, m->batch_room * m->dim * sizeof(float));
    }
}

void bench_memory_limits(struct bench_memory *m, struct bench_draw *draw,
                         struct bench_limits *out)
{
    prepare(m, draw);
    out->line = run_limit(m, 1, run_lines);
    prepare(m, draw);
    number_rows(m);
    out->gather = run_limit(m, 1, run_gather);
    prepare(m, draw);
    number_rows(m);
    out->both = run_limit(m, HALVES, run_gather);
    prepare(m, draw);
    number_rows(m);
    out->touch = run_limit(m, 1, run_touch);
    prepare(m, draw);
    number_rows(m);
    clear_values(m);
    out->update = run_limit(m, 1, run_update);
}

double bench_memory_run(struct bench_memory *m, const struct bench_cell *cell,
                        struct bench_draw *draw)
{
    struct ps_updater updater = bench_updater(cell->what);

    prepare(m, draw);
    for (size_t i = 0; i < HALVES; i++) {
        struct half *h = &m->halves[i];

        h->run = run_chain;
        h->chain = &m->chains[cell->what];
        h->updater = &updater;
    }
    clear_values(m);
    return run_threads(m, cell->shards, cell->batch);
}

static int init_half(struct half *h, enum bench_what layout, struct err *e)
{
    struct ps_updater updater = bench_updater(layout);
    struct table_spec spec = {
        .kind = PS_HASH64,
        .dim = h->m->dim,
        .end = LIMIT_BUCKETS,
        .init = {PS_INIT_UNIFORM, -0.1F, 0.1F, 1, 2},
        .budget = &h->budget,
    };
    const struct udf *udf = NULL;
    int rc = udf_updater(updater.name, updater.params,
                         (uint32_t)updater.n_params, &udf, e);

    if (rc != PS_OK) {
        return rc;
    }
    spec.n_slots = udf_slots(udf, updater.params);
    for (uint32_t i = 0; i < spec.n_slots; i++) {
        int param = udf->slots[i].init_param;

        spec.slot_names[i] = udf->slots[i].name;
        spec.slot_init[i] = param < 0 ? 0.0F : (float)updater.params[param];
    }
    h->keys = mem_new(KEYS * sizeof(*h->keys));
    h->rows = mem_new(KEYS * sizeof(*h->rows));
    h->blocks = mem_new(h->m->batch_room * sizeof(*h->blocks));
    h->values = mem_new(h->m->batch_room * h->m->dim * sizeof(*h->values));
    arena_init(&h->arena);
    ahead_init(&h->ahead, h->m->loop);
    h->budget.ahead = &h->ahead.stock;
    rc = table_new(&h->table, &spec);
    return rc == PS_OK ? PS_OK : err_set(e, rc, "cannot make a table");
}

/* Inserts some keys; returns how long that took. */
static double insert(struct half *h, const uint64_t *keys, size_t n,
                     struct err *e)
{
    uint32_t rows[FILL_CALL];
    uint32_t places[FILL_CALL];
    struct table_undo undo = {.rows = places};
    double start = thread_ns();

    if (table_insert(h->table, keys, n, rows, &undo) != PS_OK) {
        err_set(e, PS_ENOMEM, "no memory for the rows; see --rows");
        return -1;
    }
    return thread_ns() - start;
}

/* Rows first..n_rows, some microseconds between two calls. */
static int fill(struct bench_memory *m, uint64_t first, uint64_t n_rows,
                int32_t pause_us, struct bench_fill *out, struct err *e)
{
    const struct timespec pause = {0, pause_us * 1000};
    double *calls =
        mem_new(((n_rows - first) / FILL_CALL + 1) * sizeof(*calls));
    uint64_t keys[HALVES][FILL_CALL];
    size_t n[HALVES] = {0, 0};
    size_t n_calls = 0;
    double total = 0;
    int rc = PS_OK;

    for (uint64_t i = first; i < n_rows && rc == PS_OK; i++) {
        uint64_t key = bench_key(i);
        size_t at = half_of(key);

        keys[at][n[at]++] = key;
        if (n[at] == FILL_CALL) {
            double ns = insert(&m->halves[at], keys[at], FILL_CALL, e);

            rc = ns < 0 ? PS_ENOMEM : PS_OK;
            total += ns;
            calls[n_calls++] = ns / 1e3;
            n[at] = 0;
            loop_turn(m->loop); /* as between two frames */
            if (pause_us > 0) {
                nanosleep(&pause, NULL);
            }
        }
    }
    for (size_t at = 0; at < HALVES && rc == PS_OK; at++) {
        rc = insert(&m->halves[at], keys[at], n[at], e) < 0 ? PS_ENOMEM : PS_OK;
    }
    if (n_calls > 0) {
        out->call = FILL_CALL;
        out->ns = total / (double)(n_calls * FILL_CALL);
        bench_pauses(out, calls, n_calls);
    }
    mem_free(calls);
    return rc;
}

/* What it weighs, and memory as large as the indices. */
static int weigh(struct bench_memory *m, struct bench_fill *fills[2],
                 struct err *e)
{
    struct bench_fill *out = fills[0];
    uint64_t bytes = 0;
    uint64_t n = 0;
    uint64_t stride = table_stride(m->halves[0].table);

    for (size_t i = 0; i < HALVES; i++) {
        bytes += table_bytes(m->halves[i].table);
        n += table_rows(m->halves[i].table);
    }
    out->row_bytes = (double)stride;
    out->bytes = (double)bytes / (double)n;
    m->n_lines = base_max_u64((bytes - n * stride) / 64, 1);
    out->index_bytes = out->bytes - (double)stride;
    fills[1]->row_bytes = out->row_bytes;
    fills[1]->bytes = out->bytes;
    fills[1]->index_bytes = out->index_bytes;
    m->lines = mem_map(m->n_lines * 64, true);
    if (m->lines == NULL) {
        return err_set(e, PS_ENOMEM, "no memory for the lines");
    }
    memset(m->lines, 1, m->n_lines * 64);
    return PS_OK;
}

int bench_memory_new(struct bench_memory **memory, uint32_t dim,
                     enum bench_what layout, uint64_t n_rows,
                     struct bench_fill *fills[2], struct err *e)
{
    static const char *const pushes[BENCH_ALL] = {
        "BuildHashSlice>TransSlice",
        "BuildHashSlice(insert)>MomentumUpdater",
        "BuildHashSlice(insert)>AdagradUpdater",
        "BuildHashSlice(insert)>FtrlUpdater",
    };
    static const struct loop_handler handler = {.on_tick = NULL};
    struct loop_options options = {.handler = &handler};
    struct bench_memory *m = mem_new(sizeof(*m));
    uint64_t n_paced = base_min_u64(n_rows / 8, PACED_CALLS * FILL_CALL);
    int rc;

    *m = (struct bench_memory){.kern = kern_choose(),
                               .dim = dim,
                               .layout = layout,
                               .batch_room = 100000};
    for (size_t i = 0; i < HALVES; i++) {
        m->halves[i].m = m;
    }
    rc = loop_new(&m->loop, &options, e);
    for (size_t i = 0; i < HALVES && rc == PS_OK; i++) {
        rc = init_half(&m->halves[i], layout, e);
    }
    for (size_t i = 0; i < BENCH_ALL && rc == PS_OK; i++) {
        rc = chain_parse(pushes[i], &m->chains[i], e);
    }
    if (rc == PS_OK) {
        rc = fill(m, 0, n_rows - n_paced, 0, fills[0], e);
    }
    if (rc == PS_OK) {
        rc = fill(m, n_rows - n_paced, n_rows, PACE_US, fills[1], e);
    }
    if (rc == PS_OK) {
        rc = weigh(m, fills, e);
    }
    if (rc != PS_OK) {
        bench_memory_free(m);
        return rc;
    }
    *memory = m;
    return PS_OK;
}

static void look(void *context, uint64_t key, const float *values)
{
    struct bench_memory *m = context;

    m->sink = key + (uint64_t)(values[0] != 0);
}

void bench_memory_touch(struct bench_memory *m)
{
    for (size_t i = 0; i < HALVES; i++) {
        table_walk(m->halves[i].table, look, m);
    }
}

void bench_memory_free(struct bench_memory *m)
{
    if (m == NULL) {
        return;
    }
    if (m->loop != NULL) {
        loop_stop(m->loop);
    }
    for (size_t i = 0; i < HALVES; i++) {
        struct half *h = &m->halves[i];

        table_free(h->table);
        ahead_fini(&h->ahead);
        arena_fini(&h->arena);
        mem_free(h->keys);
        mem_free(h->rows);
        mem_free(h->blocks);
        mem_free(h->values);
    }
    mem_unmap(m->lines, m->n_lines * 64);
    loop_free(m->loop);
    mem_free(m);
}
