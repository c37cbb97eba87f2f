/* probe.c - a client of its own for the tests with real processes.
 *
 *     ps-probe MODE [ARGUMENT...]
 *
 * Sees the public header only. The cluster is the one that the environment
 * names. Speaks JSON, one object a line, and is led by its stdin: a line is an
 * order, the end of stdin is the order to finish and report.
 *
 *     idle                     opens, pulls once, then does nothing
 *     steady                   pulls and pushes in turn, deadline 5 s each;
 *                              reports on each line and at the end
 *     deadline                 a push that is not answered in time
 *     declare NAME             a new variable, pushed and pulled once
 *     dump NAME KEYS DIM       rows 0 to KEYS-1
 *     count WORKER KEYS SEED   probe_count.c: what became of each push
 *     threads N ROUNDS         N threads push and pull through one client
 *     stress SECONDS SEED      probe_stress.c: all calls at once
 *     size CASE                probe_size.c: sizes, refusals, conflicts
 *     open MS                  probe_errors.c: an open that fails
 *     errors                   probe_errors.c: what is late then
 *     rate DEPTH SECONDS          probe_log.c: pushes a second
 *     homes WORKERS KEYS FILE  probe_fire.c: which shard has which row
 *     fire WORKER WORKERS KEYS SEED JOURNAL
 *                              probe_fire.c: pushes until it is killed
 *     judge WORKERS KEYS HOMES LANES JOURNAL...
 *                              probe_judge.c: what the journals say of the rows
 *     train WORKER KEYS HOW    probe_train.c: pushes, and where its reader is
 *     restored WORKER          probe_train.c: where to go on from
 *     fill NAME ROWS DIM       probe_train.c: many rows
 *     watch KEYS               probe_watch.c: whether each server answers
 *     replay WORKER WORKERS KEYS HOW
 *                              probe_replay.c: pushes again what was lost
 */
#include "probe.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STEADY_MS = 5000, STEADY_KEYS = 64, STEADY_DIM = 8, OPEN_MS = 30000 };

void probe_fail(const char *what, int status, const char *text)
{
    fflush(stdout);
    fprintf(stderr, "ps-probe: %s: %s: %s\n", what, ps_status_name(status),
            text != NULL ? text : ps_status_text(status));
    exit(1);
}

void probe_need(const char *what, int status)
{
    if (status != PS_OK) {
        probe_fail(what, status, NULL);
    }
}

void *probe_array(size_t n, size_t size)
{
    void *items = calloc(n + 1, size);

    if (items == NULL) {
        probe_fail("memory", PS_ENOMEM, NULL);
    }
    return items;
}

void probe_grow(void **items, size_t n, size_t *room, size_t size)
{
    if (n < *room) {
        return;
    }
    *room = *room * 2 + 64;
    *items = realloc(*items, *room * size);
    if (*items == NULL) {
        probe_fail("memory", PS_ENOMEM, NULL);
    }
}

uint64_t probe_number(const char *text)
{
    char *end;
    uint64_t n;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || n > INT32_MAX) {
        probe_fail("a number", PS_EARGUMENT, text);
    }
    return n;
}

double probe_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void probe_sleep(double seconds)
{
    struct timespec t = {.tv_sec = (time_t)seconds};

    t.tv_nsec = (int32_t)((seconds - floor(seconds)) * 1e9);
    while (nanosleep(&t, &t) != 0 && errno == EINTR) {
    }
}

uint64_t probe_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545F4914F6CDD1D);
}

ps_client *probe_open(int worker,
                      void (*on_loss)(void *, const struct ps_loss *),
                      void *context)
{
    struct ps_options options;
    struct ps_error e = {0};
    ps_client *client = NULL;
    int rc;

    ps_options_init(&options);
    options.worker = worker;
    options.timeout_ms = OPEN_MS;
    options.quiet = 1;
    options.on_loss = on_loss;
    options.context = context;
    rc = ps_open(&client, &options, &e);
    if (rc != PS_OK) {
        probe_fail("open", rc, e.text);
    }
    return client;
}

ps_variable *probe_declare(ps_client *client, const char *name, int kind,
                           uint64_t rows, uint32_t dim)
{
    const char *left_out = getenv("PS_PROBE_NO_SAVE");
    struct ps_declaration what;
    struct ps_error e = {0};
    ps_variable *variable = NULL;
    int rc;

    ps_declaration_init(&what);
    what.name = name;
    what.kind = kind;
    what.rows = rows;
    what.dim = dim;
    what.updater = (struct ps_updater){.name = "AssignAddUpdater"};
    if (getenv("PS_PROBE_DURABILITY") != NULL) {
        what.durability = (int)probe_number(getenv("PS_PROBE_DURABILITY"));
    }
    if (left_out != NULL && strcmp(left_out, name) == 0) {
        what.no_save = 1;
    }
    rc = ps_declare(client, &what, &variable, OPEN_MS, &e);
    if (rc != PS_OK) {
        probe_fail(name, rc, e.text);
    }
    return variable;
}

void probe_text(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            putchar('\\');
        }
        putchar((unsigned char)*text < ' ' ? ' ' : *text);
    }
    putchar('"');
}

void probe_ready(void)
{
    puts("{\"ready\":true}");
    fflush(stdout);
}

int probe_line(char *line, size_t size, int timeout_ms)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    size_t n = 0;

    if (poll(&p, 1, timeout_ms) == 0) {
        return 0;
    }
    while (n + 1 < size) {
        ssize_t got = read(STDIN_FILENO, line + n, 1);

        if (got <= 0) {
            return -1;
        }
        if (line[n] == '\n') {
            break;
        }
        n++;
    }
    line[n] = '\0';
    return 1;
}

static int run_idle(void)
{
    const uint64_t key = 1;
    float row[4];
    char line[64];
    ps_client *client = probe_open(-1, NULL, NULL);
    ps_variable *v = probe_declare(client, "idle", PS_HASH64, 0, 4);

    probe_need("pull", ps_pull(v, &key, 1, row, 0));
    probe_ready();
    while (probe_line(line, sizeof(line), -1) > 0) {
    }
    return ps_close(client, STEADY_MS) == PS_OK ? 0 : 1;
}

/* What happened between two reports. */
struct steady {
    double *times;
    size_t n;
    size_t room;
    size_t failed;
    int first_failure;
    char waited_for[160];
};

static int compare_times(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static void report_steady(struct steady *s)
{
    double p99 = 0;
    double max = 0;

    if (s->n > 0) {
        qsort(s->times, s->n, sizeof(*s->times), compare_times);
        p99 = s->times[(s->n - 1) * 99 / 100];
        max = s->times[s->n - 1];
    }
    printf("{\"calls\":%zu,\"failed\":%zu,\"failure\":\"%s\",\"waited_for\":",
           s->n, s->failed, ps_status_name(s->first_failure));
    probe_text(s->waited_for);
    printf(",\"p99\":%.6f,\"max\":%.6f}\n", p99, max);
    fflush(stdout);
    s->n = 0;
    s->failed = 0;
    s->first_failure = PS_OK;
}

static void note_steady(struct steady *s, ps_client *client, double start,
                        int rc)
{
    void *times = s->times;

    probe_grow(&times, s->n, &s->room, sizeof(*s->times));
    s->times = times;
    s->times[s->n] = probe_now() - start;
    s->n++;
    if (rc != PS_OK) {
        if (s->failed == 0) {
            s->first_failure = rc;
            ps_client_waits_for(client, s->waited_for, sizeof(s->waited_for));
        }
        s->failed++;
    }
}

static int run_steady(void)
{
    ps_client *client = probe_open(-1, NULL, NULL);
    ps_variable *v = probe_declare(client, "steady", PS_HASH64, 0, STEADY_DIM);
    struct steady s = {0};
    float rows[STEADY_KEYS * STEADY_DIM];
    float ones[STEADY_KEYS * STEADY_DIM];
    uint64_t keys[STEADY_KEYS];
    uint64_t random = 7;
    char line[64];
    int order;
    int rc;

    for (size_t i = 0; i < STEADY_KEYS * STEADY_DIM; i++) {
        ones[i] = 1;
    }
    for (size_t i = 0; i < STEADY_KEYS; i++) {
        keys[i] = i; /* some for each shard */
    }
    rc = ps_pull(v, keys, STEADY_KEYS, rows, STEADY_MS);
    if (rc != PS_OK) {
        ps_client_waits_for(client, s.waited_for, sizeof(s.waited_for));
        probe_fail("pull", rc, s.waited_for);
    }
    probe_ready();
    while ((order = probe_line(line, sizeof(line), 1)) >= 0) {
        double start;

        if (order > 0) {
            report_steady(&s);
        }
        for (size_t i = 0; i < STEADY_KEYS; i++) {
            keys[i] = probe_random(&random) % 4096;
        }
        start = probe_now();
        note_steady(&s, client, start,
                    ps_pull(v, keys, STEADY_KEYS, rows, STEADY_MS));
        start = probe_now();
        note_steady(&s, client, start,
                    ps_push(v, keys, STEADY_KEYS, ones, STEADY_MS));
    }
    report_steady(&s);
    free(s.times);
    return ps_close(client, STEADY_MS) == PS_OK ? 0 : 1;
}

/* A push whose deadline passes while the servers are stopped by the test, a
 * second deadline, and the resolve that settles it. */
static int run_deadline(void)
{
    const uint64_t key = 5;
    const float one = 1;
    float row = -1;
    char line[160];
    ps_request *r = NULL;
    ps_client *client = probe_open(-1, NULL, NULL);
    ps_variable *v = probe_declare(client, "deadline", PS_HASH64, 0, 1);
    struct ps_op op = {.variable = v,
                       .kind = PS_PUSH,
                       .keys = &key,
                       .n_keys = 1,
                       .values = &one};
    int rc;

    probe_need("push", ps_push(v, &key, 1, &one, 0));
    probe_need("pull", ps_pull(v, &key, 1, &row, 0));
    printf("{\"row\":%g}\n", (double)row);
    fflush(stdout);
    if (probe_line(line, sizeof(line), -1) <= 0) {
        return 1;
    }
    probe_need("submit", ps_submit(client, &op, 1, &r));
    rc = ps_wait(r, 200);
    ps_client_waits_for(client, line, sizeof(line));
    printf("{\"wait\":\"%s\",\"waits_for\":", ps_status_name(rc));
    probe_text(line);
    printf("}\n");
    rc = ps_resolve(r, 200);
    printf("{\"resolve\":\"%s\"}\n", ps_status_name(rc));
    fflush(stdout);
    if (probe_line(line, sizeof(line), -1) <= 0) {
        return 1;
    }
    rc = ps_resolve(r, PROBE_SETTLE_MS);
    ps_request_free(r);
    probe_need("pull", ps_pull(v, &key, 1, &row, PROBE_SETTLE_MS));
    printf("{\"resolve\":\"%s\",\"row\":%g}\n", ps_status_name(rc),
           (double)row);
    return ps_close(client, STEADY_MS) == PS_OK ? 0 : 1;
}

static int run_declare(const char *name)
{
    const uint64_t keys[] = {0, UINT64_MAX, 77};
    const float values[] = {1, 2, 3};
    float rows[3] = {0};
    ps_client *client = probe_open(-1, NULL, NULL);
    ps_variable *v = probe_declare(client, name, PS_HASH64, 0, 1);

    probe_need("push", ps_push(v, keys, 3, values, 0));
    probe_need("pull", ps_pull(v, keys, 3, rows, 0));
    printf("{\"rows\":[%g,%g,%g]}\n", (double)rows[0], (double)rows[1],
           (double)rows[2]);
    return ps_close(client, STEADY_MS) == PS_OK ? 0 : 1;
}

static int run_dump(const char *name, size_t n, uint32_t dim)
{
    ps_client *client = probe_open(-1, NULL, NULL);
    ps_variable *v = probe_declare(client, name, PS_HASH64, 0, dim);
    uint64_t *keys = probe_array(n, sizeof(*keys));
    float *rows = probe_array(n * dim, sizeof(*rows));

    for (size_t i = 0; i < n; i++) {
        keys[i] = i;
    }
    probe_need("pull", ps_pull(v, keys, n, rows, PROBE_SETTLE_MS));
    printf("{\"rows\":[");
    for (size_t i = 0; i < n; i++) {
        printf(i == 0 ? "[" : ",[");
        for (size_t d = 0; d < dim; d++) {
            printf("%s%.9g", d == 0 ? "" : ",", (double)rows[i * dim + d]);
        }
        printf("]");
    }
    printf("]}\n");
    free(keys);
    free(rows);
    return ps_close(client, STEADY_MS) == PS_OK ? 0 : 1;
}

enum { THREAD_KEYS = 100, THREAD_HASH_DIM = 2, THREAD_DENSE_ROWS = 3 };

struct thread {
    pthread_t id;
    ps_client *client;
    ps_variable *hash;
    ps_variable *dense;
    size_t rounds;
    uint64_t random;
    double sum; /* of what it added to the hash variable's first column */
};

/* Every push adds small integers, every pull must see whole rows: both columns
 * of a row are always equal. */
static void *run_thread(void *context)
{
    struct thread *t = context;
    uint64_t keys[16];
    float values[16 * THREAD_HASH_DIM];
    float rows[16 * THREAD_HASH_DIM];
    const float ones[THREAD_DENSE_ROWS] = {1, 2, 3};

    for (size_t k = 0; k < t->rounds; k++) {
        struct ps_op ops[] = {
            {.variable = t->hash,
             .kind = PS_PUSH,
             .keys = keys,
             .n_keys = 16,
             .values = values},
            {.variable = t->dense, .kind = PS_PUSH, .values = ones},
        };
        ps_request *r = NULL;

        for (size_t i = 0; i < 16; i++) {
            keys[i] = probe_random(&t->random) % THREAD_KEYS;
            values[2 * i] = (float)(probe_random(&t->random) % 4 + 1);
            values[2 * i + 1] = values[2 * i];
            t->sum += (double)values[2 * i];
        }
        probe_need("submit", ps_submit(t->client, ops, 2, &r));
        probe_need("wait", ps_wait(r, PROBE_SETTLE_MS));
        ps_request_free(r);
        probe_need("pull", ps_pull(t->hash, keys, 16, rows, PROBE_SETTLE_MS));
        for (size_t i = 0; i < 16; i++) {
            if (rows[2 * i] != rows[2 * i + 1] || rows[2 * i] <= 0) {
                probe_fail("a torn row", PS_EDATALOSS, NULL);
            }
        }
    }
    return NULL;
}

static int run_threads(size_t n, size_t rounds)
{
    ps_client *client = probe_open(-1, NULL, NULL);
    ps_variable *hash =
        probe_declare(client, "h", PS_HASH64, 0, THREAD_HASH_DIM);
    ps_variable *dense =
        probe_declare(client, "d", PS_DENSE, THREAD_DENSE_ROWS, 1);
    struct thread *threads = probe_array(n, sizeof(*threads));
    uint64_t keys[THREAD_KEYS];
    float rows[THREAD_KEYS * THREAD_HASH_DIM];
    float last[THREAD_DENSE_ROWS];
    double told = 0;
    double found = 0;

    for (size_t i = 0; i < n; i++) {
        threads[i] = (struct thread){.client = client,
                                     .hash = hash,
                                     .dense = dense,
                                     .rounds = rounds,
                                     .random = i + 1};
        if (pthread_create(&threads[i].id, NULL, run_thread, &threads[i])) {
            probe_fail("a thread", PS_ENOMEM, NULL);
        }
    }
    for (size_t i = 0; i < n; i++) {
        pthread_join(threads[i].id, NULL);
        told += threads[i].sum;
    }
    for (size_t i = 0; i < THREAD_KEYS; i++) {
        keys[i] = i;
    }
    probe_need("pull", ps_pull(hash, keys, THREAD_KEYS, rows, 0));
    probe_need("pull", ps_pull(dense, NULL, 0, last, 0));
    for (size_t i = 0; i < THREAD_KEYS; i++) {
        found += (double)rows[2 * i];
    }
    printf("{\"told\":%.0f,\"found\":%.0f,\"dense\":[%g,%g,%g]}\n", told, found,
           (double)last[0], (double)last[1], (double)last[2]);
    free(threads);
    return ps_close(client, STEADY_MS) == PS_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";

    if (strcmp(mode, "idle") == 0) {
        return run_idle();
    }
    if (strcmp(mode, "steady") == 0) {
        return run_steady();
    }
    if (strcmp(mode, "deadline") == 0) {
        return run_deadline();
    }
    if (strcmp(mode, "declare") == 0 && argc == 3) {
        return run_declare(argv[2]);
    }
    if (strcmp(mode, "dump") == 0 && argc == 5) {
        return run_dump(argv[2], probe_number(argv[3]),
                        (uint32_t)probe_number(argv[4]));
    }
    if (strcmp(mode, "threads") == 0 && argc == 4) {
        return run_threads(probe_number(argv[2]), probe_number(argv[3]));
    }
    if (strcmp(mode, "count") == 0) {
        return probe_count(argc - 2, argv + 2);
    }
    if (strcmp(mode, "stress") == 0) {
        return probe_stress(argc - 2, argv + 2);
    }
    if (strcmp(mode, "size") == 0) {
        return probe_size(argc - 2, argv + 2);
    }
    if (strcmp(mode, "open") == 0) {
        return probe_open_late(argc - 2, argv + 2);
    }
    if (strcmp(mode, "errors") == 0) {
        return probe_errors();
    }
    if (strcmp(mode, "homes") == 0) {
        return probe_homes(argc - 2, argv + 2);
    }
    if (strcmp(mode, "rate") == 0) {
        return probe_rate(argc - 2, argv + 2);
    }
    if (strcmp(mode, "fire") == 0) {
        return probe_fire(argc - 2, argv + 2);
    }
    if (strcmp(mode, "judge") == 0) {
        return probe_judge(argc - 2, argv + 2);
    }
    if (strcmp(mode, "train") == 0) {
        return probe_train(argc - 2, argv + 2);
    }
    if (strcmp(mode, "restored") == 0) {
        return probe_restored(argc - 2, argv + 2);
    }
    if (strcmp(mode, "fill") == 0) {
        return probe_fill(argc - 2, argv + 2);
    }
    if (strcmp(mode, "watch") == 0) {
        return probe_watch(argc - 2, argv + 2);
    }
    if (strcmp(mode, "replay") == 0) {
        return probe_replay(argc - 2, argv + 2);
    }
    fprintf(stderr, "ps-probe: the modes are in test/e2e/probe.c\n");
    return 2;
}
