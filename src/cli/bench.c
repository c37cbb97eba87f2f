/* bench.c - ps-plus bench: cells, and the rounds in which they are measured.
 *
 * Cells of the same rows (dim, updater) and the same server (shards) are a set.
 * A set's rows are made once; then each round measures the limits and every
 * cell of the set, one after the other. A cell's floor in a round is of that
 * round's limits:
 *
 *     pull   L + G            and T x (8 + 4 dim) over TCP
 *     push   L + touch        and T x (8 + 4 dim)
 *
 * for one thread of one server; half of the first term for two threads here.
 * Two shards of a server share the connection's machine, so there the floor is
 * that of one, and may be passed.
 */
#include "cli/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/limits.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "kern/kern.h"

enum { GIB_MAX = 1024, CELLS_MAX = 1024 };

const char *const bench_where_names[3] = {"memory", "tcp", "redis"};
const char *const bench_what_names[BENCH_ALL] = {"pull", "push-sgd",
                                                 "push-adagrad", "push-ftrl"};

struct options {
    struct cli_options cli;
    const char *only;
    int64_t gib;
    int64_t rows;
    int64_t milliseconds;
    int64_t repeat;
    int64_t seed;
    const char *redis;
    const char *commit;
    const char *save;
    bool is_json;
    bool is_list;
};
_Static_assert(offsetof(struct options, cli) == 0, "rows of cli.h");

#define AT(field) offsetof(struct options, field)

static const struct opt table[] = {
    {.name = "only",
     .type = OPT_TEXT,
     .offset = AT(only),
     .value = "WORDS",
     .help = "Which cells: words of their names between slashes, such as "
             "pull/d16/tcp; several choices between commas. Left out: all."},
    {.name = "list",
     .type = OPT_FLAG,
     .offset = AT(is_list),
     .help = "Prints the names of the cells, and ends."},
    {.name = "gib",
     .type = OPT_INT,
     .offset = AT(gib),
     .min = 1,
     .max = GIB_MAX,
     .fallback = "3",
     .value = "N",
     .help = "How large the tables are, all told; smaller ones show what the "
             "cache does. The bench holds such a table, a server too, and "
             "Redis more."},
    {.name = "rows",
     .type = OPT_INT,
     .offset = AT(rows),
     .min = 1000,
     .max = INT32_MAX,
     .value = "N",
     .help = "How many rows, in place of --gib."},
    {.name = "milliseconds",
     .type = OPT_INT,
     .offset = AT(milliseconds),
     .min = 1,
     .max = 60000,
     .fallback = "300",
     .value = "MS",
     .help = "How long one measurement over TCP takes, about."},
    {.name = "repeat",
     .type = OPT_INT,
     .offset = AT(repeat),
     .min = 1,
     .max = BENCH_ROUNDS_MAX,
     .fallback = "7",
     .value = "N",
     .help = "How many rounds; what is shown is the median."},
    {.name = "seed",
     .type = OPT_INT,
     .offset = AT(seed),
     .min = 1,
     .max = INT64_MAX,
     .value = "N",
     .help = "Which keys are drawn. Left out: by the clock, and shown."},
    {.name = "redis",
     .type = OPT_TEXT,
     .offset = AT(redis),
     .value = "HOST:PORT",
     .help = "A Redis to compare with. All that it holds is erased."},
    {.name = "commit",
     .type = OPT_TEXT,
     .offset = AT(commit),
     .value = "NAME",
     .help = "What is measured, to be shown with the figures."},
    {.name = "save",
     .type = OPT_TEXT,
     .offset = AT(save),
     .value = "FILE",
     .help = "Writes the JSON there, beside what is printed."},
    {.name = "json",
     .type = OPT_FLAG,
     .offset = AT(is_json),
     .help = "One object of JSON with all samples, for programs."},
    CLI_OPTIONS("warning"),
};

static const struct cli_page page = {
    .usage = "ps-plus bench [OPTION...]",
    .about =
        "Measures pulls and pushes on this machine: rows in this process, "
        "rows\n"
        "of a server over loopback (which it starts and ends), and the same\n"
        "rows in Redis where one is named. Machines differ and drift, so each\n"
        "round measures the limits of this one too, and cells are compared\n"
        "with them:\n"
        "    L      one random line of memory as large as the index\n"
        "    G      one row copied whose number is known; G2: two threads\n"
        "    touch  one float changed in each line of a row, likewise;\n"
        "           update: the updater in place of that\n"
        "    T      a byte of a TCP stream, writes of 1 MB\n"
        "A pull cannot be faster than L + G, over TCP L + G + T x bytes; the\n"
        "column floor is that divided by the cell's time: 1 is perfect.\n"
        "\n"
        "A cell is named where/what/dim/batch/depth/shards/keys:\n"
        "    tcp/pull/d16/b10000/q4/s1/uniform\n"
        "keys are fresh in each batch, uniform or Zipf(1.0); `unsummed` at\n"
        "the end: without checksums of what is sent. Let nothing else run\n"
        "meanwhile.\n"
        "\n"
        "One cell, well measured; and a few on small tables, fast:\n"
        "    ps-plus bench --only tcp/pull/d16/b10000/q4/s1/uniform "
        "--repeat 15\n"
        "    ps-plus bench --rows 100000 --milliseconds 20 --repeat 5 "
        "--only q1/b1000/d16/uniform/s1/pull\n",
    .table = table,
    .n = ARRAY_LEN(table),
};

double bench_now_ns(void)
{
    struct timespec t = {0};

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_percentile(const double *sorted, size_t n, double percent)
{
    size_t at = (size_t)(percent / 100 * (double)n);

    return sorted[at < n ? at : n - 1];
}

void bench_pauses(struct bench_fill *f, double *us, size_t n)
{
    size_t n_slow = 0;

    qsort(us, n, sizeof(*us), bench_compare);
    f->median_us = bench_percentile(us, n, 50);
    f->p999_us = bench_percentile(us, n, 99.9);
    f->max_us = us[n - 1];
    while (n_slow < n && us[n - 1 - n_slow] > f->median_us + 1000) {
        n_slow++;
    }
    f->slow = (double)n_slow / (double)n;
}

/* Uniform, or Zipf(1): its distribution function is log(i) / log(n). */
uint64_t bench_draw(struct bench_draw *d)
{
    double u;

    d->state ^= d->state << 13;
    d->state ^= d->state >> 7;
    d->state ^= d->state << 17;
    u = (double)(d->state >> 11) * 0x1p-53;
    if (d->is_zipf) {
        uint64_t i = (uint64_t)exp(u * log((double)d->n_rows));

        /* Popular keys are not the oldest rows. */
        return i * 7919 % d->n_rows;
    }
    return (uint64_t)(u * (double)d->n_rows);
}

struct ps_updater bench_updater(enum bench_what what)
{
    switch (what) {
    case BENCH_SGD:
        return (struct ps_updater){"MomentumUpdater", {0.05, 0, 0}, 3};
    case BENCH_ADAGRAD:
        return (struct ps_updater){"AdagradUpdater", {0.05, 0.1}, 2};
    case BENCH_FTRL:
        return (struct ps_updater){
            "FtrlUpdater", {0.05, -0.5, 0.1, 0.01, 0.01}, 5};
    case BENCH_PULL:
    case BENCH_ALL:
        break;
    }
    return (struct ps_updater){.name = NULL};
}

/* ---- cells -------------------------------------------------------------- */

static bool has_word(const char *name, const char *word, size_t size)
{
    while (*name != '\0') {
        size_t n = strcspn(name, "/");

        if (n == size && memcmp(name, word, n) == 0) {
            return true;
        }
        name += n + (name[n] == '/');
    }
    return false;
}

/* Whether all words of one of the choices are in the name. */
static bool is_wanted(const char *name, const char *only)
{
    bool is_all = true;

    while (only != NULL && *only != '\0') {
        size_t n = strcspn(only, "/,");

        is_all = is_all && (n == 0 || has_word(name, only, n));
        only += n;
        if (*only == ',' || *only == '\0') {
            if (is_all) {
                return true;
            }
            is_all = true;
        }
        only += *only != '\0';
    }
    return only == NULL;
}

static void add_cell(struct bench_report *r, const char *only,
                     struct bench_cell cell)
{
    int n = snprintf(cell.name, sizeof(cell.name), "%s/%s/d%u/b%zu",
                     bench_where_names[cell.where], bench_what_names[cell.what],
                     cell.dim, cell.batch);

    if (cell.depth > 0) {
        n += snprintf(cell.name + n, sizeof(cell.name) - (size_t)n, "/q%u",
                      cell.depth);
    }
    if (cell.shards > 0) {
        n += snprintf(cell.name + n, sizeof(cell.name) - (size_t)n, "/s%u",
                      cell.shards);
    }
    snprintf(cell.name + n, sizeof(cell.name) - (size_t)n, "/%s%s",
             cell.is_zipf ? "zipf" : "uniform",
             cell.is_unsummed ? "/unsummed" : "");
    if (is_wanted(cell.name, only)) {
        ASSERT(r->n_cells < CELLS_MAX);
        r->cells[r->n_cells++] = cell;
    }
}

static void add_cells(struct bench_report *r, const struct options *o,
                      struct bench_cell like)
{
    static const size_t batches[] = {1000, 10000, 100000};

    for (size_t b = 0; b < ARRAY_LEN(batches); b++) {
        like.batch = batches[b];
        for (uint32_t shards = 1; shards <= 2; shards++) {
            like.shards = shards;
            like.where = BENCH_MEMORY;
            like.depth = 0;
            add_cell(r, o->only, like);
            like.where = BENCH_TCP;
            like.depth = 1;
            add_cell(r, o->only, like);
            like.depth = 4;
            add_cell(r, o->only, like);
            like.is_unsummed = like.batch == 10000 && !like.is_zipf;
            if (like.is_unsummed) {
                add_cell(r, o->only, like);
            }
            like.is_unsummed = false;
        }
        if (o->redis != NULL && like.batch <= 10000 && like.what <= BENCH_SGD &&
            !like.is_zipf) {
            like.where = BENCH_REDIS;
            like.shards = 0;
            like.depth = 4;
            add_cell(r, o->only, like);
        }
    }
}

static void make_cells(struct bench_report *r, const struct options *o)
{
    r->cells = mem_new(CELLS_MAX * sizeof(*r->cells));
    for (uint32_t dim = 16; dim <= 64; dim *= 4) {
        for (int zipf = 0; zipf <= 1; zipf++) {
            for (int what = BENCH_PULL; what < BENCH_ALL; what++) {
                add_cells(r, o,
                          (struct bench_cell){.what = (enum bench_what)what,
                                              .dim = dim,
                                              .is_zipf = zipf != 0});
            }
        }
    }
}

/* ---- sets --------------------------------------------------------------- */

/* Cells that share rows: those of FTRL have another layout. */
struct set {
    uint32_t dim;
    uint32_t shards;
    enum bench_what layout;
    uint64_t n_rows;
    size_t batch_max;
};

struct bench {
    const struct options *o;
    struct bench_report report;
    struct bench_draw draw;
    struct bench_memory *memory; /* of memory_set */
    struct set memory_set;
    struct bench_redis *redis;
    uint32_t redis_dim;
    struct bench_cluster cluster;
    bool has_cluster;
};

static enum bench_what layout_of(const struct bench_cell *c)
{
    return c->what == BENCH_FTRL ? BENCH_FTRL : BENCH_ADAGRAD;
}

static bool is_in(const struct bench_cell *c, const struct set *s)
{
    uint32_t shards = c->where == BENCH_TCP ? c->shards : 1;

    return c->dim == s->dim && layout_of(c) == s->layout && shards == s->shards;
}

static bool has_cell(const struct bench_report *r, const struct set *s,
                     enum bench_where where)
{
    for (size_t i = 0; i < r->n_cells; i++) {
        if (is_in(&r->cells[i], s) && r->cells[i].where == where) {
            return true;
        }
    }
    return false;
}

static void say(const struct bench *b, const char *what, const struct set *s)
{
    if (!b->o->is_json) {
        fprintf(stderr,
                "bench: %s: dim %u, %s, %u shard%s, %.1f million rows\n", what,
                s->dim, bench_what_names[s->layout], s->shards,
                s->shards == 1 ? "" : "s", (double)s->n_rows / 1e6);
    }
}

static struct bench_fill *next_fill(struct bench *b, const char *where,
                                    const struct set *s)
{
    struct bench_fill *f = &b->report.fills[b->report.n_fills];

    ASSERT(b->report.n_fills < ARRAY_LEN(b->report.fills));
    b->report.n_fills++;
    *f = (struct bench_fill){.ns = 0};
    snprintf(f->name, sizeof(f->name), "%s/d%u/%s/s%u", where, s->dim,
             s->layout == BENCH_FTRL ? "ftrl" : "adagrad", s->shards);
    return f;
}

static int need_memory(struct bench *b, const struct set *s, struct err *e)
{
    struct bench_fill *fills[2];

    if (b->memory != NULL && b->memory_set.dim == s->dim &&
        b->memory_set.layout == s->layout) {
        return PS_OK;
    }
    say(b, "making rows here", s);
    bench_memory_free(b->memory);
    b->memory = NULL;
    b->memory_set = *s;
    fills[0] = next_fill(b, "memory", s);
    fills[1] = next_fill(b, "paced", s);
    return bench_memory_new(&b->memory, s->dim, s->layout, s->n_rows, fills, e);
}

static int need_cluster(struct bench *b, const struct set *s, struct err *e)
{
    int rc;

    if (!has_cell(&b->report, s, BENCH_TCP)) {
        return PS_OK;
    }
    say(b, "making rows in a server", s);
    b->has_cluster = true;
    rc = bench_cluster_start(&b->cluster, s->shards, e);
    if (rc == PS_OK) {
        struct bench_fill *f = next_fill(b, "tcp", s);

        rc = bench_cluster_fill(&b->cluster, s->dim, s->layout, s->n_rows,
                                s->batch_max, f, e);
        f->row_bytes = s->dim * 4.0 * (s->layout == BENCH_FTRL ? 3 : 2);
    }
    return rc;
}

static int need_redis(struct bench *b, const struct set *s, struct err *e)
{
    int rc = PS_OK;

    if (!has_cell(&b->report, s, BENCH_REDIS) || b->redis_dim == s->dim) {
        return PS_OK;
    }
    if (b->redis == NULL) {
        rc = bench_redis_open(&b->redis, b->o->redis, e);
    }
    if (rc == PS_OK) {
        say(b, "making rows in Redis", s);
        b->redis_dim = s->dim;
        rc = bench_redis_fill(b->redis, s->dim, s->n_rows,
                              next_fill(b, "redis", s), e);
    }
    return rc;
}

static double floor_of(const struct bench_cell *c, const struct bench_limits *l)
{
    double ns = l->line + (c->what == BENCH_PULL ? l->gather : l->touch);

    if (c->where == BENCH_MEMORY) {
        return ns / c->shards;
    }
    return ns + l->tcp * (8 + 4.0 * c->dim);
}

static int measure(struct bench *b, struct bench_cell *c,
                   const struct bench_limits *l, struct err *e)
{
    struct bench_sample s = {.floor = floor_of(c, l)};
    double seconds = (double)b->o->milliseconds / 1e3;
    int rc = PS_OK;

    b->draw.is_zipf = c->is_zipf;
    switch (c->where) {
    case BENCH_MEMORY:
        s.ns = bench_memory_run(b->memory, c, &b->draw);
        break;
    case BENCH_TCP:
        rc = bench_cluster_run(&b->cluster, c, &b->draw, seconds, &s, e);
        break;
    case BENCH_REDIS:
        rc = bench_redis_run(b->redis, c, &b->draw, seconds, &s, e);
        break;
    }
    c->samples[c->n] = s;
    return rc;
}

/* Round -1 warms up and tells how long a measurement must be. */
static int run_round(struct bench *b, const struct set *s, int64_t round,
                     struct bench_limits *l, struct err *e)
{
    int rc = PS_OK;

    b->draw.is_zipf = false;
    bench_memory_limits(b->memory, &b->draw, l);
    l->tcp = bench_cluster_tcp();
    if (l->tcp < 0) {
        return err_set(e, PS_EIO, "no TCP over loopback");
    }
    for (size_t i = 0; i < b->report.n_cells && rc == PS_OK; i++) {
        struct bench_cell *c = &b->report.cells[i];

        if (!is_in(c, s) || (round < 0 && c->where == BENCH_MEMORY)) {
            continue;
        }
        rc = measure(b, c, l, e);
        c->n += rc == PS_OK && round >= 0;
        if (rc == PS_OK && b->has_cluster &&
            bench_cluster_is_interrupted(&b->cluster)) {
            rc = err_set(e, PS_ECANCELED, "interrupted");
        }
    }
    return rc;
}

/* At half of what the cell has reached, for the smaller batches of a pull. */
static int measure_latency(struct bench *b, const struct bench_cell *c,
                           struct err *e)
{
    struct bench_report *r = &b->report;
    struct bench_latency *l = &r->latencies[r->n_latencies];
    double seconds = (double)b->o->milliseconds / 1e3 * 10;

    if (r->n_latencies == ARRAY_LEN(r->latencies) || c->seen <= 0) {
        return PS_OK;
    }
    b->draw.is_zipf = c->is_zipf;
    snprintf(l->name, sizeof(l->name), "pull/d%u/b%zu/s%u", c->dim, c->batch,
             c->shards);
    l->keys_per_s = 0.5e9 / c->seen;
    r->n_latencies++;
    return bench_cluster_latency(&b->cluster, c->dim, c->batch, &b->draw,
                                 seconds, l, e);
}

static int run_latencies(struct bench *b, const struct set *s, struct err *e)
{
    int rc = PS_OK;

    for (size_t i = 0; i < b->report.n_cells && rc == PS_OK; i++) {
        const struct bench_cell *c = &b->report.cells[i];

        if (is_in(c, s) && c->where == BENCH_TCP && c->what == BENCH_PULL &&
            c->depth == 4 && c->batch <= 10000 && !c->is_zipf &&
            !c->is_unsummed) {
            rc = measure_latency(b, c, e);
        }
    }
    return rc;
}

static int run_set(struct bench *b, const struct set *s, struct err *e)
{
    struct bench_limits_of *limits = &b->report.limits[b->report.n_limits];
    struct bench_limits l = {0};
    int rc = need_redis(b, s, e);

    if (rc == PS_OK) {
        rc = need_memory(b, s, e);
    }
    if (rc == PS_OK) {
        rc = need_cluster(b, s, e);
    }
    if (rc == PS_OK) {
        bench_memory_touch(b->memory);
    }
    if (rc == PS_OK && b->has_cluster) {
        rc = bench_cluster_touch(&b->cluster, s->dim, s->n_rows, e);
    }
    if (rc == PS_OK) {
        ASSERT(b->report.n_limits < ARRAY_LEN(b->report.limits));
        b->report.n_limits++;
        *limits = (struct bench_limits_of){.n_rows = s->n_rows};
        snprintf(limits->name, sizeof(limits->name), "d%u/%s/s%u", s->dim,
                 s->layout == BENCH_FTRL ? "ftrl" : "adagrad", s->shards);
        say(b, "measuring", s);
    }
    for (int64_t round = -1; round < b->o->repeat && rc == PS_OK; round++) {
        rc = run_round(b, s, round, &l, e);
        if (round >= 0 && rc == PS_OK) {
            limits->samples[limits->n++] = l;
        }
    }
    if (rc == PS_OK && b->has_cluster) {
        rc = run_latencies(b, s, e);
    }
    if (b->has_cluster) {
        bench_cluster_stop(&b->cluster);
        b->has_cluster = false;
    }
    return rc;
}

static struct set set_of(const struct options *o, uint32_t dim,
                         enum bench_what layout, uint32_t shards)
{
    /* Values and state, and what the index takes. */
    double row = dim * 4.0 * (layout == BENCH_FTRL ? 3 : 2) + 18;

    return (struct set){
        .dim = dim,
        .shards = shards,
        .layout = layout,
        .n_rows = o->rows > 0 ? (uint64_t)o->rows
                              : (uint64_t)((double)o->gib * 0x1p30 / row),
    };
}

static int run_all(struct bench *b, struct err *e)
{
    static const enum bench_what layouts[] = {BENCH_ADAGRAD, BENCH_FTRL};
    int rc = PS_OK;

    for (uint32_t dim = 16; dim <= 64; dim *= 4) {
        for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
            for (uint32_t shards = 1; shards <= 2 && rc == PS_OK; shards++) {
                struct set s = set_of(b->o, dim, layouts[i], shards);
                bool is_empty = true;

                for (size_t k = 0; k < b->report.n_cells; k++) {
                    if (is_in(&b->report.cells[k], &s)) {
                        is_empty = false;
                        s.batch_max = (size_t)base_max_u64(
                            s.batch_max, b->report.cells[k].batch);
                    }
                }
                b->draw.n_rows = s.n_rows;
                rc = is_empty ? PS_OK : run_set(b, &s, e);
            }
        }
    }
    return rc;
}

static int run(const struct options *o)
{
    struct bench b = {
        .o = o,
        .report = {.commit = o->commit,
                   .save = o->save,
                   .kernel = kern_choose()->name,
                   .is_json = o->is_json,
                   .gib = o->rows > 0 ? 0 : (double)o->gib},
    };
    int status = CLI_OK;
    struct err e;

    b.report.seed = o->seed > 0 ? (uint64_t)o->seed : (uint64_t)time(NULL);
    b.draw.state = b.report.seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    (void)getloadavg(&b.report.load, 1);
    make_cells(&b.report, o);
    if (b.report.n_cells == 0) {
        err_set(&e, PS_EARGUMENT,
                "no cell is named by --only \"%.64s\"; see --list", o->only);
        status = cli_refuse(&e);
    } else if (o->is_list) {
        for (size_t i = 0; i < b.report.n_cells; i++) {
            printf("%s\n", b.report.cells[i].name);
        }
    } else if (run_all(&b, &e) != PS_OK) {
        status = cli_fail(&e);
    } else if (bench_report_write(&b.report, &e) != PS_OK) {
        status = cli_fail(&e);
    }
    bench_memory_free(b.memory);
    bench_redis_close(b.redis);
    mem_free(b.report.cells);
    return status;
}

int bench_main(int argc, char **argv)
{
    struct options o;
    int status;

    if (!cli_parse(&page, argc, argv, &o, NULL, &status)) {
        return status;
    }
    return cli_shows_config(&page, &o) ? CLI_OK : run(&o);
}
