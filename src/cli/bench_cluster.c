/* bench_cluster.c - rows behind TCP: a cluster of this machine, one client.
 *
 * Scheduler and server are processes of their own, started as ps-plus local
 * does; the client is this thread and the public interface. Batches have keys
 * of their own, drawn before the clock starts.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/bench.h"

enum {
    TCP_WRITE_BYTES = 1 << 20,
    TCP_WRITES = 128,
    WAIT_MS = 60000,
    FILL_BATCH = 10000,
    FILL_DEPTH = 4,
    LATENCY_DEPTH = 64,
    KEYS_MAX = 1 << 22 /* drawn for one measurement */
};

/* ---- T ------------------------------------------------------------------ */

static void *send_stream(void *argument)
{
    int fd = *(int *)argument;
    uint8_t *data = mem_new(TCP_WRITE_BYTES);

    memset(data, 1, TCP_WRITE_BYTES);
    for (int i = 0; i < TCP_WRITES; i++) {
        for (size_t at = 0; at < TCP_WRITE_BYTES;) {
            ssize_t n = send(fd, data + at, TCP_WRITE_BYTES - at, MSG_NOSIGNAL);

            if (n <= 0) {
                break;
            }
            at += (size_t)n;
        }
    }
    shutdown(fd, SHUT_WR);
    mem_free(data);
    return NULL;
}

/* Two ends of a connection over loopback. */
static int connect_pair(int fds[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int rc = PS_EIO;

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fds[0] = -1;
    fds[1] = -1;
    if (listener >= 0 &&
        bind(listener, (struct sockaddr *)&at, sizeof(at)) == 0 &&
        listen(listener, 1) == 0 &&
        getsockname(listener, (struct sockaddr *)&at, &size) == 0) {
        fds[0] = socket(AF_INET, SOCK_STREAM, 0);
        if (fds[0] >= 0 &&
            connect(fds[0], (struct sockaddr *)&at, sizeof(at)) == 0) {
            fds[1] = accept(listener, NULL, NULL);
            rc = fds[1] >= 0 ? PS_OK : PS_EIO;
        }
    }
    if (listener >= 0) {
        close(listener);
    }
    return rc;
}

double bench_cluster_tcp(void)
{
    int fds[2];
    double ns = -1;
    pthread_t sender;

    if (connect_pair(fds) == PS_OK) {
        uint8_t *data = mem_new(TCP_WRITE_BYTES);
        double start;
        double bytes = 0;
        ssize_t n;

        memset(data, 0, TCP_WRITE_BYTES);
        start = bench_now_ns();
        if (pthread_create(&sender, NULL, send_stream, &fds[0]) == 0) {
            while ((n = recv(fds[1], data, TCP_WRITE_BYTES, 0)) > 0) {
                bytes += (double)n;
            }
            ns = bytes > 0 ? (bench_now_ns() - start) / bytes : -1;
            pthread_join(sender, NULL);
        }
        mem_free(data);
    }
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    return ns;
}

/* ---- the cluster -------------------------------------------------------- */

/* A client as bench_cluster says; its variable is declared later. */
static int open_client(struct bench_cluster *c, struct err *e)
{
    struct ps_options options;
    struct ps_error error = {0};
    int rc;

    ps_options_init(&options);
    options.scheduler = c->url;
    options.worker = -1;
    options.quiet = 1;
    options.timeout_ms = WAIT_MS;
    options.no_checksums = c->is_unsummed;
    rc = ps_open(&c->clients[c->is_unsummed], &options, &error);
    return rc == PS_OK ? PS_OK : err_set(e, rc, "%s", error.text);
}

int bench_cluster_start(struct bench_cluster *c, uint32_t shards, struct err *e)
{
    int rc;

    *c = (struct bench_cluster){
        .options = {.servers = 1,
                    .shards = shards,
                    .wait_s = 60,
                    .log_level = "warning"},
        .folder = "/tmp/ps-plus-bench-XXXXXX",
    };
    if (mkdtemp(c->folder) == NULL) {
        return err_set(e, PS_EIO, "cannot make a folder in /tmp");
    }
    snprintf(c->url, sizeof(c->url), "file://%s", c->folder);
    c->has_local = true;
    rc = local_cluster_init(&c->local, &c->options, c->url, c->folder, e);
    if (rc == PS_OK) {
        rc = local_cluster_start_roles(&c->local, e);
    }
    if (rc == PS_OK) {
        rc = local_cluster_wait_ready(&c->local, e);
    }
    return rc == PS_OK ? open_client(c, e) : rc;
}

void bench_cluster_stop(struct bench_cluster *c)
{
    for (size_t i = 0; i < ARRAY_LEN(c->clients); i++) {
        (void)ps_close(c->clients[i], 1000);
    }
    if (c->has_local) {
        local_cluster_fini(&c->local);
    }
    mem_free(c->keys);
    mem_free(c->values);
    mem_free(c->out);
    *c = (struct bench_cluster){.has_local = false};
}

bool bench_cluster_is_interrupted(struct bench_cluster *c)
{
    local_cluster_look(&c->local, 0);
    return c->local.signal != 0 || c->local.dead != NULL;
}

static pid_t server_pid(const struct bench_cluster *c)
{
    return c->local.n_roles > 1 ? c->local.roles[1].pid : 0;
}

static double process_cpu_s(pid_t pid)
{
    struct timespec t = {0};
    clockid_t clock;

    if (clock_getcpuclockid(pid, &clock) != 0 ||
        clock_gettime(clock, &t) != 0) {
        return 0;
    }
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double server_rss(const struct bench_cluster *c)
{
    char path[64], line[128] = "";
    unsigned long long pages = 0;
    char *second;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/statm", (int)server_pid(c));
    f = fopen(path, "re");
    if (f != NULL) {
        if (fgets(line, sizeof(line), f) != NULL &&
            (second = strchr(line, ' ')) != NULL) {
            pages = strtoull(second, NULL, 10);
        }
        fclose(f);
    }
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* ---- requests ----------------------------------------------------------- */

/* Requests under way, oldest first. */
struct pipe {
    ps_request *requests[LATENCY_DEPTH];
    double starts[LATENCY_DEPTH];
    size_t head;
    size_t n;
};

static int submit(struct bench_cluster *c, struct pipe *p, struct ps_op *op,
                  size_t dim, double start)
{
    size_t at = (p->head + p->n) % LATENCY_DEPTH;
    size_t room = c->batch_max * dim;
    int rc;

    ASSERT(p->n < LATENCY_DEPTH);
    op->variable = c->variables[c->is_unsummed];
    op->values = c->values;
    op->out = c->out + at % c->depth_max * room;
    rc = ps_submit(c->clients[c->is_unsummed], op, 1, &p->requests[at]);
    if (rc == PS_OK) {
        p->starts[at] = start;
        p->n++;
    }
    return rc;
}

/* The oldest request's end. PS_ETIMEOUT with a negative timeout: not yet. */
static int reap(struct pipe *p, int timeout_ms)
{
    int rc = ps_wait(p->requests[p->head], timeout_ms);

    if (rc == PS_ETIMEOUT && timeout_ms < 0) {
        return rc;
    }
    ps_request_free(p->requests[p->head]);
    p->head = (p->head + 1) % LATENCY_DEPTH;
    p->n--;
    return rc;
}

/* Batches of op->n_keys keys of `keys`, `depth` at a time; pause_us may take
 * how long each took. */
static int run(struct bench_cluster *c, struct ps_op *op, size_t dim,
               const uint64_t *keys, size_t n_batches, size_t depth,
               double *took_us)
{
    struct pipe p = {.n = 0};
    size_t sent = 0;
    size_t done = 0;
    int rc = PS_OK;

    while (rc == PS_OK && done < n_batches) {
        if (sent < n_batches && p.n < depth) {
            op->keys = keys + sent * op->n_keys;
            rc = submit(c, &p, op, dim, bench_now_ns());
            sent++;
            continue;
        }
        if (took_us != NULL) {
            double start = p.starts[p.head];

            rc = reap(&p, 0);
            took_us[done] = (bench_now_ns() - start) / 1e3;
        } else {
            rc = reap(&p, 0);
        }
        done++;
    }
    while (p.n > 0) {
        (void)reap(&p, 0);
    }
    return rc;
}

static int declare(struct bench_cluster *c, struct err *e)
{
    struct ps_declaration what;
    struct ps_error error = {0};
    int rc;

    ps_declaration_init(&what);
    what.name = "bench";
    what.kind = PS_HASH64;
    what.dim = c->dim;
    what.init = (struct ps_init){PS_INIT_UNIFORM, -0.1F, 0.1F, 1};
    what.updater = bench_updater(c->layout);
    rc = ps_declare(c->clients[c->is_unsummed], &what,
                    &c->variables[c->is_unsummed], WAIT_MS, &error);
    return rc == PS_OK ? PS_OK : err_set(e, rc, "%s", error.text);
}

/* Has the client of that kind do what comes. */
static int use_client(struct bench_cluster *c, bool is_unsummed, struct err *e)
{
    int rc = PS_OK;

    c->is_unsummed = is_unsummed;
    if (c->clients[is_unsummed] == NULL) {
        rc = open_client(c, e);
        rc = rc == PS_OK ? declare(c, e) : rc;
    }
    return rc;
}

static void take_buffers(struct bench_cluster *c, uint32_t dim,
                         size_t batch_max)
{
    size_t n = base_max_u64(batch_max, FILL_BATCH);

    c->batch_max = n;
    c->depth_max = FILL_DEPTH;
    c->keys = mem_new(KEYS_MAX * sizeof(*c->keys));
    c->values = mem_new(n * dim * sizeof(*c->values));
    c->out = mem_new(n * dim * FILL_DEPTH * sizeof(*c->out));
    memset(c->keys, 0, KEYS_MAX * sizeof(*c->keys));
    memset(c->values, 0, n * dim * sizeof(*c->values));
    memset(c->out, 0, n * dim * FILL_DEPTH * sizeof(*c->out));
}

int bench_cluster_fill(struct bench_cluster *c, uint32_t dim,
                       enum bench_what layout, uint64_t n_rows,
                       size_t batch_max, struct bench_fill *fill, struct err *e)
{
    struct ps_op op = {.kind = PS_PUSH, .n_keys = FILL_BATCH};
    size_t n_batches = (size_t)((n_rows + FILL_BATCH - 1) / FILL_BATCH);
    size_t some = KEYS_MAX / FILL_BATCH;
    double *took = mem_new(n_batches * sizeof(*took));
    double empty = server_rss(c);
    double ns = 0;
    int rc;

    c->dim = dim;
    c->layout = layout;
    rc = declare(c, e);
    take_buffers(c, dim, batch_max);
    for (size_t at = 0; at < n_batches && rc == PS_OK; at += some) {
        size_t n = base_min_u64(some, n_batches - at);
        double start;

        for (size_t i = 0; i < n * FILL_BATCH; i++) {
            c->keys[i] = bench_key(at * FILL_BATCH + i);
        }
        start = bench_now_ns();
        rc = run(c, &op, dim, c->keys, n, FILL_DEPTH, took + at);
        ns += bench_now_ns() - start;
        if (rc != PS_OK) {
            err_set(e, rc, "filling the table: %s", ps_status_text(rc));
        }
    }
    if (rc == PS_OK) {
        double n = (double)n_batches * FILL_BATCH;

        fill->ns = ns / n;
        fill->call = FILL_BATCH;
        bench_pauses(fill, took, n_batches);
        fill->bytes = (server_rss(c) - empty) / n;
    }
    mem_free(took);
    return rc;
}

int bench_cluster_touch(struct bench_cluster *c, uint32_t dim, uint64_t n_rows,
                        struct err *e)
{
    struct ps_op op = {.kind = PS_PULL, .n_keys = FILL_BATCH};
    uint64_t some = KEYS_MAX / FILL_BATCH;
    uint64_t n_batches = n_rows / FILL_BATCH;
    int rc = PS_OK;

    for (uint64_t at = 0; at < n_batches && rc == PS_OK; at += some) {
        size_t n = (size_t)base_min_u64(some, n_batches - at);

        for (size_t i = 0; i < n * FILL_BATCH; i++) {
            c->keys[i] = bench_key(at * FILL_BATCH + i);
        }
        rc = run(c, &op, dim, c->keys, n, FILL_DEPTH, NULL);
    }
    return rc == PS_OK
               ? PS_OK
               : err_set(e, rc, "reading the table: %s", ps_status_text(rc));
}

/* Draws keys for about so many seconds; returns how many batches. */
static size_t draw_batches(struct bench_cluster *c,
                           const struct bench_cell *cell,
                           struct bench_draw *draw, double seconds)
{
    size_t max = KEYS_MAX / cell->batch;
    size_t min = cell->depth + 2;
    double wanted = 0;

    if (cell->seen > 0) {
        wanted = seconds * 1e9 / cell->seen / (double)cell->batch;
    }
    if (wanted < (double)min) {
        wanted = (double)min;
    }
    if (wanted < (double)max) {
        max = (size_t)wanted;
    }
    for (size_t i = 0; i < max * cell->batch; i++) {
        c->keys[i] = bench_key(bench_draw(draw));
    }
    return max;
}

int bench_cluster_run(struct bench_cluster *c, struct bench_cell *cell,
                      struct bench_draw *draw, double seconds,
                      struct bench_sample *s, struct err *e)
{
    struct ps_updater updater = bench_updater(cell->what);
    struct ps_op op = {
        .kind = cell->what == BENCH_PULL ? PS_PULL : PS_PUSH,
        .n_keys = cell->batch,
        .updater = cell->what == BENCH_PULL ? NULL : &updater,
    };
    size_t n_batches = draw_batches(c, cell, draw, seconds);
    double millions = (double)(n_batches * cell->batch) / 1e6;
    double client, server, start;
    int rc = use_client(c, cell->is_unsummed, e);

    if (rc != PS_OK) {
        return rc;
    }
    client = process_cpu_s(getpid());
    server = process_cpu_s(server_pid(c));
    start = bench_now_ns();
    rc = run(c, &op, cell->dim, c->keys, n_batches, cell->depth, NULL);
    s->ns = (bench_now_ns() - start) / millions / 1e6;
    s->cpu_client = (process_cpu_s(getpid()) - client) / millions;
    s->cpu_server = (process_cpu_s(server_pid(c)) - server) / millions;
    cell->seen = s->ns;
    return rc == PS_OK
               ? PS_OK
               : err_set(e, rc, "%s: %s", cell->name, ps_status_text(rc));
}

/* ---- latency ------------------------------------------------------------ */

static void sleep_until(double ns)
{
    double rest = ns - bench_now_ns();

    if (rest > 0) {
        struct timespec t = {
            (time_t)(rest / 1e9),
            (int32_t)(rest - (double)(time_t)(rest / 1e9) * 1e9)};

        nanosleep(&t, NULL);
    }
}

int bench_cluster_latency(struct bench_cluster *c, uint32_t dim, size_t batch,
                          struct bench_draw *draw, double seconds,
                          struct bench_latency *l, struct err *e)
{
    double gap = 1e9 * (double)batch / l->keys_per_s;
    size_t n = (size_t)base_min_u64((uint64_t)(seconds * 1e9 / gap) + 1,
                                    KEYS_MAX / batch);
    double *us = mem_new(n * sizeof(*us));
    struct ps_op op = {.kind = PS_PULL, .n_keys = batch};
    struct pipe p = {.n = 0};
    size_t sent = 0;
    size_t done = 0;
    double begin;
    int rc = PS_OK;

    c->is_unsummed = false;
    for (size_t i = 0; i < n * batch; i++) {
        c->keys[i] = bench_key(bench_draw(draw));
    }
    begin = bench_now_ns();
    while (rc == PS_OK && done < n) {
        double due = begin + gap * (double)sent;

        if (sent < n && p.n < LATENCY_DEPTH && bench_now_ns() >= due) {
            op.keys = c->keys + sent * batch;
            rc = submit(c, &p, &op, dim, due);
            sent++;
        } else if (p.n == 0) {
            sleep_until(due);
        } else {
            double start = p.starts[p.head];

            rc = reap(&p, -1);
            if (rc == PS_OK) {
                us[done++] = (bench_now_ns() - start) / 1e3;
            } else if (rc == PS_ETIMEOUT) {
                rc = PS_OK;
            }
        }
    }
    while (p.n > 0) {
        (void)reap(&p, 0);
    }
    if (rc == PS_OK) {
        static const double percents[BENCH_PERCENTILES] = {50, 99, 99.9};

        qsort(us, n, sizeof(*us), bench_compare);
        l->requests = n;
        for (size_t i = 0; i < BENCH_PERCENTILES; i++) {
            l->us[i] = bench_percentile(us, n, percents[i]);
        }
    } else {
        err_set(e, rc, "%s: %s", l->name, ps_status_text(rc));
    }
    mem_free(us);
    return rc;
}
