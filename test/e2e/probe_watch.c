/* probe_watch.c - whether each server answers, and since when not.
 *
 *     watch KEYS
 *
 * One thread for each server pushes to and pulls rows of keys that live there,
 * one request after the other, each with a deadline. A line of stdin is
 * answered with what each has seen since the line before: calls, those that
 * failed or were late, and the longest time between two acknowledged pushes,
 * with its begin and its end on the clock CLOCK_MONOTONIC.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "probe.h"

enum { SERVERS = 16, ROWS = 16, DIM = 2, DEADLINE_MS = 1000, PAUSE_US = 2000 };

struct seen {
    uint64_t calls;
    uint64_t failed;
    double slowest;
    double gap_begin;
    double gap_end;
};

struct watcher {
    pthread_t id;
    ps_client *client;
    ps_variable *variable;
    uint64_t keys[ROWS];
    size_t n;
    double last; /* acknowledgement */
    struct seen seen;
    pthread_mutex_t lock; /* of seen */
    atomic_int ends;
};

static void note(struct watcher *w, double begin, int rc, int is_push)
{
    double now = probe_now();

    pthread_mutex_lock(&w->lock);
    w->seen.calls++;
    w->seen.failed += rc != PS_OK;
    if (now - begin > w->seen.slowest) {
        w->seen.slowest = now - begin;
    }
    if (rc == PS_OK && is_push) {
        if (w->seen.gap_end == 0 ||
            now - w->last > w->seen.gap_end - w->seen.gap_begin) {
            w->seen.gap_begin = w->last;
            w->seen.gap_end = now;
        }
        w->last = now;
    }
    pthread_mutex_unlock(&w->lock);
}

static void *watch(void *context)
{
    struct watcher *w = context;
    float values[ROWS * DIM];

    for (size_t i = 0; i < ROWS * DIM; i++) {
        values[i] = 1;
    }
    while (!w->ends) {
        double begin = probe_now();
        float rows[ROWS * DIM];

        note(w, begin, ps_push(w->variable, w->keys, w->n, values, DEADLINE_MS),
             1);
        begin = probe_now();
        note(w, begin, ps_pull(w->variable, w->keys, w->n, rows, DEADLINE_MS),
             0);
        probe_sleep(PAUSE_US * 1e-6);
    }
    return NULL;
}

/* Pushes one row: its frame says which server has it. */
static uint32_t home_of(ps_client *client, ps_variable *variable, uint64_t key)
{
    const float zeros[DIM] = {0};
    struct ps_op op = {.variable = variable,
                       .kind = PS_PUSH,
                       .keys = &key,
                       .n_keys = 1,
                       .values = zeros};
    struct ps_frame_outcome frame;
    ps_request *r = NULL;

    probe_need("submit", ps_submit(client, &op, 1, &r));
    probe_need("wait", ps_wait(r, PROBE_SETTLE_MS));
    probe_need("frame", ps_request_frame(r, 0, &frame));
    ps_request_free(r);
    if (frame.server >= SERVERS) {
        probe_fail("more servers than this has room for", PS_ELIMIT, NULL);
    }
    return frame.server;
}

static void report(struct watcher *all)
{
    const char *between = "";

    printf("{");
    for (size_t i = 0; i < SERVERS; i++) {
        struct watcher *w = &all[i];
        struct seen s;

        if (w->n == 0) {
            continue;
        }
        pthread_mutex_lock(&w->lock);
        s = w->seen;
        w->seen = (struct seen){0};
        pthread_mutex_unlock(&w->lock);
        printf("%s\"%zu\":{\"calls\":%" PRIu64 ",\"failed\":%" PRIu64
               ",\"slowest\":%.4f,\"begin\":%.4f,\"end\":%.4f}",
               between, i, s.calls, s.failed, s.slowest, s.gap_begin,
               s.gap_end);
        between = ",";
    }
    printf("}\n");
    fflush(stdout);
}

int probe_watch(int argc, char **argv)
{
    ps_client *client = probe_open(-1, NULL, NULL);
    static struct watcher all[SERVERS];
    char line[64];
    ps_variable *v = probe_declare(client, "watch", PS_HASH64, 0, DIM);

    if (argc != 1) {
        probe_fail("watch KEYS", PS_EARGUMENT, NULL);
    }
    for (uint64_t key = 0; key < probe_number(argv[0]); key++) {
        struct watcher *w = &all[home_of(client, v, key)];

        if (w->n < ROWS) {
            w->keys[w->n] = key;
            w->n++;
        }
    }
    for (size_t i = 0; i < SERVERS; i++) {
        all[i].client = client;
        all[i].variable = v;
        all[i].last = probe_now();
        pthread_mutex_init(&all[i].lock, NULL);
        if (all[i].n > 0 &&
            pthread_create(&all[i].id, NULL, watch, &all[i]) != 0) {
            probe_fail("a thread", PS_ENOMEM, NULL);
        }
    }
    probe_ready();
    while (probe_line(line, sizeof(line), -1) > 0) {
        report(all);
    }
    for (size_t i = 0; i < SERVERS; i++) {
        all[i].ends = 1;
        if (all[i].n > 0) {
            pthread_join(all[i].id, NULL);
        }
    }
    return ps_close(client, PROBE_SETTLE_MS) == PS_OK ? 0 : 1;
}
