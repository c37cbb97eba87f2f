/* bench_table.c - pull and push in process, against what the memory can do.
 *
 *     bench_table [GiB] [dim] [batch]        (3, 16, 10000)
 *
 * Fills a hash table to that size, then times, in the same run and in turns:
 *     L      one random cache line of memory as large as the index
 *     G      one row copied whose number is known
 *     touch  one float changed in each line of a row whose number is known
 *     pull   BuildHashSlice>TransSlice
 *     push   BuildHashSlice(insert)>AdagradUpdater, on keys that exist
 * Keys are fresh in every batch. A floor is what the memory asks for: L + G for
 * a pull, L + touch for a push. Only ratios of one run mean anything.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "udf/chain.h"

enum { ROUNDS = 9, FILL_BATCH = 256, PAUSES = 1 << 22 };

struct bench {
    struct table_budget budget;
    struct table *table;
    const struct kern *kern;
    struct arena arena;
    struct chain pull, push;
    uint64_t n_rows;
    size_t dim, batch, batches;
    uint64_t random;
    bool zipf;
    uint64_t *keys; /* of all batches of a round */
    uint32_t *rows; /* random numbers, likewise */
    uint8_t **blocks;
    float *values;
    uint8_t *lines; /* as large as the index */
    uint64_t n_lines;
};

static double now_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint64_t next_random(struct bench *b)
{
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return b->random;
}

/* Key i: the order of insertion is not the order of keys. */
static uint64_t nth_key(uint64_t i)
{
    return (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

/* Uniform, or Zipf(1): its distribution function is log(i) / log(n). */
static uint64_t pick(struct bench *b)
{
    double u = (double)(next_random(b) >> 11) * 0x1p-53;

    if (b->zipf) {
        uint64_t i = (uint64_t)exp(u * log((double)b->n_rows));

        /* Popular keys are not the oldest rows. */
        return (i * 7919) % b->n_rows;
    }
    return (uint64_t)(u * (double)b->n_rows);
}

static void prepare_round(struct bench *b)
{
    for (size_t i = 0; i < b->batch * b->batches; i++) {
        uint64_t at = pick(b);

        b->keys[i] = nth_key(at);
        b->rows[i] = (uint32_t)at;
    }
}

static void run_chain(struct bench *b, const struct chain *chain, size_t at)
{
    static const double params[] = {0.05, 0.1};
    struct run_op op = {
        .end = 65536,
        .n_keys = (uint32_t)b->batch,
        .n_params = 2,
        .dim = (uint32_t)b->dim,
        .n_values = chain == &b->push ? b->batch * b->dim : 0,
        .keys = b->keys + at,
        .params = params,
        .values = b->values,
    };
    struct udf_call c = {
        .op = &op, .table = b->table, .kern = b->kern, .arena = &b->arena};

    if (chain_prepare(chain, &c, false) != PS_OK) {
        abort();
    }
    c.answer = b->values;
    chain_apply(chain, &c, false);
    arena_reset(&b->arena);
}

static void run_pull(struct bench *b, size_t at)
{
    run_chain(b, &b->pull, at);
}

static void run_push(struct bench *b, size_t at)
{
    run_chain(b, &b->push, at);
}

static void run_lines(struct bench *b, size_t at)
{
    volatile uint64_t sink;
    uint64_t sum = 0;

    for (size_t i = 0; i < b->batch; i++) {
        size_t ahead = i + 16 < b->batch ? at + i + 16 : at;

        PREFETCH(b->lines + b->keys[ahead] % b->n_lines * 64);
        sum += b->lines[b->keys[at + i] % b->n_lines * 64];
    }
    sink = sum;
    (void)sink;
}

static void run_gather(struct bench *b, size_t at)
{
    table_address(b->table, b->rows + at, b->batch, b->blocks);
    b->kern->copy_rows(b->values, b->blocks, b->batch, b->dim);
}

static void run_touch(struct bench *b, size_t at)
{
    size_t stride = table_stride(b->table);

    table_address(b->table, b->rows + at, b->batch, b->blocks);
    for (size_t i = 0; i < b->batch; i++) {
        size_t ahead = i + 16 < b->batch ? i + 16 : i;

        for (size_t line = 0; line < stride; line += 64) {
            PREFETCH(b->blocks[ahead] + line);
        }
        for (size_t line = 0; line < stride; line += 64) {
            *(float *)(void *)(b->blocks[i] + line) += 0x1p-20f;
        }
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Medians of ns a key of the five, taken in turns. */
static void measure(struct bench *b, const char *what)
{
    static void (*const runs[])(struct bench *, size_t) = {
        run_lines, run_gather, run_touch, run_pull, run_push};
    double ns[ARRAY_LEN(runs)][ROUNDS];
    double m[ARRAY_LEN(runs)];

    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t r = 0; r < ARRAY_LEN(runs); r++) {
            double start;

            prepare_round(b);
            start = now_ns(CLOCK_MONOTONIC);
            for (size_t i = 0; i < b->batches; i++) {
                runs[r](b, i * b->batch);
            }
            ns[r][round] = (now_ns(CLOCK_MONOTONIC) - start) /
                           (double)(b->batch * b->batches);
        }
    }
    for (size_t r = 0; r < ARRAY_LEN(runs); r++) {
        qsort(ns[r], ROUNDS, sizeof(double), compare);
        m[r] = ns[r][ROUNDS / 2];
    }
    printf("%-8s L %5.1f  G %5.1f  touch %5.1f  pull %5.1f  push %5.1f ns;  "
           "(L+G)/pull %.2f  push/touch %.2f  push/(L+touch) %.2f\n",
           what, m[0], m[1], m[2], m[3], m[4], (m[0] + m[1]) / m[3],
           m[4] / m[2], m[4] / (m[0] + m[2]));
}

/* Inserts all keys; says how long a call of 256 took: time of the CPU, so that
 * the turns of other processes are no pauses of ours. */
static void fill(struct bench *b)
{
    static double pauses[PAUSES];
    uint64_t keys[FILL_BATCH];
    uint32_t rows[FILL_BATCH], places[FILL_BATCH];
    struct table_undo undo = {.rows = places};
    size_t n = 0;
    double total = 0;
    uint64_t index;

    for (uint64_t at = 0; at + FILL_BATCH <= b->n_rows; at += FILL_BATCH) {
        double start;

        for (uint64_t i = 0; i < FILL_BATCH; i++) {
            keys[i] = nth_key(at + i);
        }
        start = now_ns(CLOCK_THREAD_CPUTIME_ID);
        if (table_insert(b->table, keys, FILL_BATCH, rows, &undo) != PS_OK) {
            abort();
        }
        pauses[n % PAUSES] = now_ns(CLOCK_THREAD_CPUTIME_ID) - start;
        total += pauses[n % PAUSES];
        n++;
    }
    b->n_rows = table_rows(b->table);
    n = base_min_u64(n, PAUSES);
    qsort(pauses, n, sizeof(double), compare);
    index = table_bytes(b->table) - b->n_rows * table_stride(b->table);
    printf("insert   %.1f ns a key; a call of %d: median %.0f us, 99.9%% %.0f "
           "us, max %.0f us; index %.1f bytes a key\n",
           total / (double)b->n_rows, FILL_BATCH, pauses[n / 2] / 1e3,
           pauses[n - 1 - n / 1000] / 1e3, pauses[n - 1] / 1e3,
           (double)index / (double)b->n_rows);
    b->n_lines = index / 64;
    b->lines = mem_map(b->n_lines * 64, true);
    memset(b->lines, 1, b->n_lines * 64);
}

int main(int argc, char **argv)
{
    double gib = argc > 1 ? strtod(argv[1], NULL) : 3;
    struct bench b = {
        .dim = argc > 2 ? strtoul(argv[2], NULL, 10) : 16,
        .batch = argc > 3 ? strtoul(argv[3], NULL, 10) : 10000,
        .random = 88172645463325252u,
        .kern = kern_choose(),
    };
    struct table_spec spec = {
        .kind = PS_HASH64,
        .dim = (uint32_t)b.dim,
        .end = 65536,
        .init = {PS_INIT_UNIFORM, -0.1f, 0.1f, 1, 2},
        .n_slots = 1,
        .slot_init = {0.1f},
        .budget = &b.budget,
    };

    if (!(gib > 0) || b.dim == 0 || b.dim > LIMIT_DIM || b.batch == 0) {
        fprintf(stderr, "usage: bench_table [GiB] [dim] [batch]\n");
        return 1;
    }
    kern_enter();
    b.n_rows = (uint64_t)(gib * 0x1p30 / (double)(b.dim * 8 + 18));
    b.batches = 1000000 / b.batch + 1;
    b.keys = mem_new(b.batch * b.batches * sizeof(*b.keys));
    b.rows = mem_new(b.batch * b.batches * sizeof(*b.rows));
    b.blocks = mem_new(b.batch * sizeof(*b.blocks));
    b.values = mem_new(b.batch * b.dim * sizeof(*b.values));
    memset(b.values, 0, b.batch * b.dim * sizeof(*b.values));
    arena_init(&b.arena);
    if (table_new(&b.table, &spec) != PS_OK ||
        chain_parse("BuildHashSlice>TransSlice", &b.pull, NULL) != PS_OK ||
        chain_parse("BuildHashSlice(insert)>AdagradUpdater", &b.push, NULL) !=
            PS_OK) {
        return 1;
    }
    printf("%s kernel, dim %zu and Adagrad, batch %zu, %.1f million rows\n",
           b.kern->name, b.dim, b.batch, (double)b.n_rows / 1e6);
    fill(&b);
    measure(&b, "uniform");
    b.zipf = true;
    measure(&b, "zipf(1)");
    return 0;
}
