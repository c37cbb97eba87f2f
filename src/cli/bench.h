/* bench.h - what the files of ps-plus bench share.
 *
 *     bench.c          options, cells, rounds
 *     bench_memory.c   rows in this process: limits of the memory, cells
 *     bench_cluster.c  rows behind TCP: cells, latency; the limit of TCP
 *     bench_redis.c    the same rows in a Redis
 *     bench_report.c   what came out: a table, JSON
 *
 * A cell is one thing that is measured again in each round, in turns with the
 * limits, so that its ratio to them is of the same moments.
 */
#ifndef BENCH_H
#define BENCH_H

#include "cli/local_cluster.h"

enum bench_where { BENCH_MEMORY, BENCH_TCP, BENCH_REDIS };
enum bench_what { BENCH_PULL, BENCH_SGD, BENCH_ADAGRAD, BENCH_FTRL, BENCH_ALL };

extern const char *const bench_where_names[3];
extern const char *const bench_what_names[BENCH_ALL];

enum { BENCH_ROUNDS_MAX = 99, BENCH_NAME_BYTES = 64, BENCH_PERCENTILES = 3 };

/* The limits of the machine in one round, ns. */
struct bench_limits {
    double line;   /* L: one random line of memory as large as the index */
    double gather; /* G: one row copied whose number is known */
    double both;   /* G with two threads, ns of all rows: how far they scale */
    double touch;  /* one float changed in each line of a row, likewise */
    double update; /* the updater that fixes the rows, over known ones: no
                      limit, but what is compared with touch */
    double tcp;    /* T: a byte of a TCP stream, writes of 1 MB */
};

struct bench_sample {
    double ns;         /* a key */
    double floor;      /* ns a key, of the limits of the same round */
    double cpu_client; /* s for a million keys */
    double cpu_server;
};

struct bench_cell {
    char name[BENCH_NAME_BYTES];
    enum bench_where where;
    enum bench_what what;
    uint32_t dim;
    uint32_t shards; /* of the server; in this process: threads */
    uint32_t depth;  /* requests under way */
    bool is_zipf;
    bool is_unsummed; /* TCP: bodies have no checksum, either way */
    size_t batch;
    double seen; /* ns a key of the last measurement; sets the next length */
    size_t n;
    struct bench_sample samples[BENCH_ROUNDS_MAX];
};

/* How fast rows were made, and how long the slowest call took. */
struct bench_fill {
    char name[BENCH_NAME_BYTES];
    double ns; /* a key */
    double median_us;
    double p999_us;
    double max_us;
    double slow;        /* of all calls: what took 1 ms more than the median */
    size_t call;        /* keys */
    double row_bytes;   /* values and state */
    double bytes;       /* a row, all told: counted here; RSS of others */
    double index_bytes; /* of these, in this process only */
};

struct bench_latency {
    char name[BENCH_NAME_BYTES];
    double keys_per_s; /* asked for: half of what is possible */
    size_t requests;
    double us[BENCH_PERCENTILES]; /* 50, 99, 99.9 % */
};

/* Keys are drawn from the rows there are, uniform or Zipf(1). */
struct bench_draw {
    uint64_t state;
    uint64_t n_rows;
    bool is_zipf;
};

/* Key i of a table: neighbours in making are none in the hash. */
static inline uint64_t bench_key(uint64_t i)
{
    return (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
}
uint64_t bench_draw(struct bench_draw *d);
double bench_now_ns(void);
int bench_compare(const void *a, const void *b); /* doubles, for qsort */
/* Of sorted numbers. */
double bench_percentile(const double *sorted, size_t n, double percent);
/* Sets what a fill says of its calls; sorts them. */
void bench_pauses(struct bench_fill *f, double *us, size_t n);
/* The updater that fixes the rows, and that a push of `what` runs. */
struct ps_updater bench_updater(enum bench_what what);

/* bench_memory.c */
struct bench_memory;
/* fills: of most rows, made without a pause, and of the last ones, made with
 * pauses in between, as where a server is not asked for more than it can do. */
int bench_memory_new(struct bench_memory **m, uint32_t dim,
                     enum bench_what layout, uint64_t n_rows,
                     struct bench_fill *fills[2], struct err *e) MUST_USE;
void bench_memory_free(struct bench_memory *m);
/* Reads all rows once: memory that lay idle while something else was filled may
 * have been taken by the host of a virtual machine. */
void bench_memory_touch(struct bench_memory *m);
/* All but T. */
void bench_memory_limits(struct bench_memory *m, struct bench_draw *draw,
                         struct bench_limits *out);
/* ns a key. */
double bench_memory_run(struct bench_memory *m, const struct bench_cell *cell,
                        struct bench_draw *draw);

/* bench_cluster.c */
struct bench_cluster {
    struct local_cluster local;
    struct local_options options;
    char folder[64];
    char url[80];
    bool has_local;
    ps_client *clients[2]; /* with checksums and, once needed, without */
    ps_variable *variables[2];
    bool is_unsummed; /* which of them is used */
    uint32_t dim;
    enum bench_what layout;
    size_t batch_max; /* keys and requests that the buffers are for */
    size_t depth_max;
    uint64_t *keys;
    float *values;
    float *out;
};

/* T: ns a byte; negative when there is no loopback. */
double bench_cluster_tcp(void);
int bench_cluster_start(struct bench_cluster *c, uint32_t shards,
                        struct err *e) MUST_USE;
int bench_cluster_fill(struct bench_cluster *c, uint32_t dim,
                       enum bench_what layout, uint64_t n_rows,
                       size_t batch_max, struct bench_fill *fill,
                       struct err *e) MUST_USE;
int bench_cluster_touch(struct bench_cluster *c, uint32_t dim, uint64_t n_rows,
                        struct err *e) MUST_USE;
/* Runs a cell for about so long. */
int bench_cluster_run(struct bench_cluster *c, struct bench_cell *cell,
                      struct bench_draw *draw, double seconds,
                      struct bench_sample *s, struct err *e) MUST_USE;
/* Requests at fixed times, keys_per_s in all; from when each was due. */
int bench_cluster_latency(struct bench_cluster *c, uint32_t dim, size_t batch,
                          struct bench_draw *draw, double seconds,
                          struct bench_latency *l, struct err *e) MUST_USE;
bool bench_cluster_is_interrupted(struct bench_cluster *c);
void bench_cluster_stop(struct bench_cluster *c);

/* bench_redis.c */
struct bench_redis;
int bench_redis_open(struct bench_redis **r, const char *address,
                     struct err *e) MUST_USE;
void bench_redis_close(struct bench_redis *r);
/* Empties the database first. */
int bench_redis_fill(struct bench_redis *r, uint32_t dim, uint64_t n_rows,
                     struct bench_fill *fill, struct err *e) MUST_USE;
int bench_redis_run(struct bench_redis *r, struct bench_cell *cell,
                    struct bench_draw *draw, double seconds,
                    struct bench_sample *s, struct err *e) MUST_USE;

/* bench_report.c */
struct bench_report {
    const char *commit;
    const char *save; /* the JSON, to this file as well; NULL */
    const char *kernel;
    double load; /* average before it began */
    uint64_t seed;
    double gib;
    bool is_json;
    struct bench_cell *cells;
    size_t n_cells;
    struct bench_fill fills[32];
    size_t n_fills;
    struct bench_latency latencies[16];
    size_t n_latencies;
    /* The limits, one of these for each set of rows and round. */
    struct bench_limits_of {
        char name[BENCH_NAME_BYTES];
        uint64_t n_rows;
        size_t n;
        struct bench_limits samples[BENCH_ROUNDS_MAX];
    } limits[16];
    size_t n_limits;
};

int bench_report_write(const struct bench_report *r, struct err *e) MUST_USE;

#endif
