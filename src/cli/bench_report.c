/* bench_report.c - what a bench found: for people and for programs.
 *
 * A ratio is taken round by round and then the median of these, because the
 * machine of one round is not that of the next.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/bench.h"

struct summary {
    double ns;  /* medians */
    double low; /* the least and the most */
    double high;
    double of_floor; /* floor / time */
    double of_redis; /* time of Redis / time; 0: not measured */
    double cpu_client;
    double cpu_server;
};

static double median(double *x, size_t n)
{
    qsort(x, n, sizeof(*x), bench_compare);
    return bench_percentile(x, n, 50);
}

/* Redis has its best form only: the cell of the same keys. */
static const struct bench_cell *redis_of(const struct bench_report *r,
                                         const struct bench_cell *c)
{
    for (size_t i = 0; i < r->n_cells; i++) {
        const struct bench_cell *other = &r->cells[i];

        if (other->where == BENCH_REDIS && other->n > 0 &&
            other->dim == c->dim && other->batch == c->batch &&
            other->is_zipf == c->is_zipf &&
            (other->what == BENCH_PULL) == (c->what == BENCH_PULL)) {
            return other;
        }
    }
    return NULL;
}

static struct summary summarize(const struct bench_report *r,
                                const struct bench_cell *c)
{
    const struct bench_cell *redis =
        c->where == BENCH_TCP ? redis_of(r, c) : NULL;
    double x[6][BENCH_ROUNDS_MAX];
    size_t n_redis = 0;
    struct summary s = {0};

    for (size_t i = 0; i < c->n; i++) {
        const struct bench_sample *at = &c->samples[i];

        x[0][i] = at->ns;
        x[1][i] = at->floor / at->ns;
        x[2][i] = at->cpu_client;
        x[3][i] = at->cpu_server;
        if (redis != NULL && i < redis->n) {
            x[4][n_redis++] = redis->samples[i].ns / at->ns;
        }
    }
    s.ns = median(x[0], c->n);
    s.low = x[0][0];
    s.high = x[0][c->n - 1];
    s.of_floor = median(x[1], c->n);
    s.cpu_client = median(x[2], c->n);
    s.cpu_server = median(x[3], c->n);
    s.of_redis = n_redis > 0 ? median(x[4], n_redis) : 0;
    return s;
}

static void print_limits(const struct bench_report *r)
{
    printf("\n%-24s %10s %8s %8s %8s %8s %9s %10s\n", "limits (medians)",
           "rows", "L ns", "G ns", "G2 ns", "touch ns", "update", "T ns/KB");
    for (size_t i = 0; i < r->n_limits; i++) {
        double x[6][BENCH_ROUNDS_MAX];
        size_t n = r->limits[i].n;

        if (n == 0) {
            continue;
        }
        for (size_t k = 0; k < n; k++) {
            x[0][k] = r->limits[i].samples[k].line;
            x[1][k] = r->limits[i].samples[k].gather;
            x[2][k] = r->limits[i].samples[k].touch;
            x[3][k] = r->limits[i].samples[k].tcp * 1024;
            x[4][k] = r->limits[i].samples[k].both;
            x[5][k] =
                r->limits[i].samples[k].update / r->limits[i].samples[k].touch;
        }
        printf("%-24s %10" PRIu64 " %8.1f %8.1f %8.1f %8.1f %8.2fx %10.1f\n",
               r->limits[i].name, r->limits[i].n_rows, median(x[0], n),
               median(x[1], n), median(x[4], n), median(x[2], n),
               median(x[5], n), median(x[3], n));
    }
    printf("update: the updater over known rows, its time / touch.\n");
}

static void print_cells(const struct bench_report *r)
{
    printf("\n%-40s %8s %7s %7s %7s %6s %6s %7s %7s\n", "cell", "M keys/s",
           "ns/key", "least", "most", "floor", "Redis", "CPU cl.", "server");
    for (size_t i = 0; i < r->n_cells; i++) {
        const struct bench_cell *c = &r->cells[i];
        struct summary s;

        if (c->n == 0) {
            continue;
        }
        s = summarize(r, c);
        printf("%-40s %8.2f %7.1f %7.1f %7.1f", c->name, 1e3 / s.ns, s.ns,
               s.low, s.high);
        if (c->where == BENCH_REDIS) {
            printf("\n");
            continue;
        }
        printf(" %6.2f", s.of_floor);
        if (s.of_redis > 0) {
            printf(" %5.1fx", s.of_redis);
        } else {
            printf(" %6s", "");
        }
        if (c->where == BENCH_TCP) {
            printf(" %7.3f %7.3f", s.cpu_client, s.cpu_server);
        }
        printf("\n");
    }
    printf("floor: the limits' time / the cell's. Redis: its time / the "
           "cell's.\nCPU: seconds for a million keys.\n");
}

static void print_rest(const struct bench_report *r)
{
    if (r->n_fills > 0) {
        printf("\n%-24s %8s %7s %9s %9s %9s %8s %9s %9s\n", "making rows",
               "ns/key", "a call", "median us", "99.9%", "most us", "slow",
               "bytes/row", "of it row");
    }
    for (size_t i = 0; i < r->n_fills; i++) {
        const struct bench_fill *f = &r->fills[i];

        printf("%-24s %8.1f %7zu %9.0f %9.0f %9.0f %7.2f%% %9.1f %9.0f\n",
               f->name, f->ns, f->call, f->median_us, f->p999_us, f->max_us,
               f->slow * 100, f->bytes, f->row_bytes);
    }
    if (r->n_fills > 0) {
        printf("slow: calls that took 1 ms more than the median.\n");
    }
    if (r->n_latencies > 0) {
        printf("\n%-24s %10s %9s %9s %9s %9s\n", "latency at half load",
               "M keys/s", "requests", "p50 us", "p99 us", "p99.9 us");
    }
    for (size_t i = 0; i < r->n_latencies; i++) {
        const struct bench_latency *l = &r->latencies[i];

        printf("%-24s %10.2f %9zu %9.0f %9.0f %9.0f\n", l->name,
               l->keys_per_s / 1e6, l->requests, l->us[0], l->us[1], l->us[2]);
    }
}

static json_t *cell_json(const struct bench_report *r,
                         const struct bench_cell *c)
{
    struct summary s = summarize(r, c);
    json_t *samples = json_array();
    json_t *o;

    for (size_t i = 0; i < c->n; i++) {
        const struct bench_sample *at = &c->samples[i];

        json_array_append_new(
            samples, json_pack("{s:f, s:f, s:f, s:f}", "ns", at->ns, "floor_ns",
                               at->floor, "cpu_client_s", at->cpu_client,
                               "cpu_server_s", at->cpu_server));
    }
    o = json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:b}", "name", c->name,
                  "where", bench_where_names[c->where], "what",
                  bench_what_names[c->what], "dim", (int)c->dim, "batch",
                  (int)c->batch, "depth", (int)c->depth, "shards",
                  (int)c->shards, "zipf", c->is_zipf);
    json_object_set_new(o, "ns_per_key", json_real(s.ns));
    json_object_set_new(o, "keys_per_s", json_real(1e9 / s.ns));
    if (c->where != BENCH_REDIS) {
        json_object_set_new(o, "of_floor", json_real(s.of_floor));
    }
    if (s.of_redis > 0) {
        json_object_set_new(o, "of_redis", json_real(s.of_redis));
    }
    json_object_set_new(o, "samples", samples);
    return o;
}

static json_t *limits_json(const struct bench_report *r)
{
    json_t *all = json_array();

    for (size_t i = 0; i < r->n_limits; i++) {
        json_t *samples = json_array();

        for (size_t k = 0; k < r->limits[i].n; k++) {
            const struct bench_limits *l = &r->limits[i].samples[k];

            json_array_append_new(
                samples,
                json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "line_ns", l->line,
                          "gather_ns", l->gather, "gather2_ns", l->both,
                          "touch_ns", l->touch, "update_ns", l->update,
                          "tcp_ns_per_byte", l->tcp));
        }
        json_array_append_new(all, json_pack("{s:s, s:I, s:o}", "name",
                                             r->limits[i].name, "rows",
                                             (json_int_t)r->limits[i].n_rows,
                                             "samples", samples));
    }
    return all;
}

static json_t *fill_json(const struct bench_fill *f)
{
    return json_pack("{s:s, s:f, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f}",
                     "name", f->name, "ns_per_key", f->ns, "keys_per_call",
                     (json_int_t)f->call, "median_us", f->median_us, "p999_us",
                     f->p999_us, "max_us", f->max_us, "slow", f->slow,
                     "bytes_per_row", f->bytes, "row_bytes", f->row_bytes,
                     "index_bytes", f->index_bytes);
}

static void print_json(const struct bench_report *r, FILE *out)
{
    json_t *root = json_object();
    json_t *cells = json_array();
    json_t *fills = json_array();
    json_t *latencies = json_array();

    for (size_t i = 0; i < r->n_cells; i++) {
        if (r->cells[i].n > 0) {
            json_array_append_new(cells, cell_json(r, &r->cells[i]));
        }
    }
    for (size_t i = 0; i < r->n_fills; i++) {
        json_array_append_new(fills, fill_json(&r->fills[i]));
    }
    for (size_t i = 0; i < r->n_latencies; i++) {
        const struct bench_latency *l = &r->latencies[i];

        json_array_append_new(
            latencies,
            json_pack("{s:s, s:f, s:I, s:f, s:f, s:f}", "name", l->name,
                      "keys_per_s", l->keys_per_s, "requests",
                      (json_int_t)l->requests, "p50_us", l->us[0], "p99_us",
                      l->us[1], "p999_us", l->us[2]));
    }
    json_object_set_new(root, "format", json_integer(1));
    json_object_set_new(root, "version", json_string(ps_version()));
    json_object_set_new(root, "commit",
                        r->commit == NULL ? json_null()
                                          : json_string(r->commit));
    json_object_set_new(root, "seed", json_integer((json_int_t)r->seed));
    json_object_set_new(root, "kernel", json_string(r->kernel));
    json_object_set_new(root, "gib", json_real(r->gib));
    json_object_set_new(root, "load", json_real(r->load));
    json_object_set_new(root, "limits", limits_json(r));
    json_object_set_new(root, "cells", cells);
    json_object_set_new(root, "fills", fills);
    json_object_set_new(root, "latencies", latencies);
    (void)json_dumpf(root, out, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    fprintf(out, "\n");
    json_decref(root);
}

int bench_report_write(const struct bench_report *r, struct err *e)
{
    if (r->save != NULL) {
        FILE *f = fopen(r->save, "we");
        bool is_bad = f == NULL;

        if (f != NULL) {
            print_json(r, f);
            is_bad = ferror(f) != 0;
            is_bad = fclose(f) != 0 || is_bad;
        }
        if (is_bad) {
            return err_set(e, PS_EIO, "cannot write to %s", r->save);
        }
    }
    if (r->is_json) {
        print_json(r, stdout);
        return PS_OK;
    }
    printf("ps-plus %s, commit %s, %s kernel, seed %" PRIu64 ", tables of %.2f "
           "GiB, load %.1f before\n",
           ps_version(), r->commit == NULL ? "not told" : r->commit, r->kernel,
           r->seed, r->gib, r->load);
    print_limits(r);
    print_cells(r);
    print_rest(r);
    return PS_OK;
}
