/* probe_replay.c - a worker that pushes again what a dead server lost, by the
 * recipe of psplus.h (struct ps_loss), or accepts that it is gone.
 *
 *     replay WORKER WORKERS KEYS again|accept
 *
 * It keeps keys, gradients and frames of all its pushes. SGD with a rate of 1
 * and whole gradients: column WORKER of a row is the sum of what this worker
 * has pushed there, to the bit, less what is lost. One that replays wants each
 * push there once; one that accepts wants there what it was not told to be
 * lost. A line of stdin is answered by how far it is; after the end of stdin it
 * goes on until the rows are as it wants them, and says what it wants. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"

enum { BATCH = 12, FRAMES = 8, PAUSE_MS = 2, SETTLED_S = 40, OPEN_MS = 30000 };

/* A push that was acknowledged. */
struct kept {
    uint64_t keys[BATCH];
    uint64_t units[BATCH]; /* gradient i is minus this */
    size_t n;
    struct ps_frame_outcome frames[FRAMES];
    size_t n_frames;
};

struct worker {
    ps_client *client;
    ps_variable *rows;
    uint64_t number;
    uint64_t columns;
    uint64_t n_keys;
    int replays;
    uint64_t random;
    uint64_t *wanted; /* [n_keys] in our column */
    struct kept *kept;
    size_t n_kept;
    size_t kept_room;
    uint64_t pushes; /* without those that were replayed */
    uint64_t lost_rows;

    pthread_mutex_t lock;
    struct ps_loss *losses; /* told, and not looked at yet */
    size_t n_losses;
    size_t losses_room;
    uint64_t told; /* frames */
};

/* Thread: the library's. */
static void note_loss(void *context, const struct ps_loss *loss)
{
    struct worker *w = context;
    void *losses;

    (void)pthread_mutex_lock(&w->lock);
    losses = w->losses;
    probe_grow(&losses, w->n_losses, &w->losses_room, sizeof(*w->losses));
    w->losses = losses;
    w->losses[w->n_losses++] = *loss;
    w->told += loss->last - loss->first + 1;
    (void)pthread_mutex_unlock(&w->lock);
}

static int take_loss(struct worker *w, struct ps_loss *loss)
{
    int is_there;

    (void)pthread_mutex_lock(&w->lock);
    is_there = w->n_losses > 0;
    if (is_there) {
        *loss = w->losses[--w->n_losses];
    }
    (void)pthread_mutex_unlock(&w->lock);
    return is_there;
}

/* Waits for it, and keeps it. */
static void push(struct worker *w, struct kept *k)
{
    static const struct ps_updater sgd = {
        .name = "MomentumUpdater", .params = {1}, .n_params = 1};
    float *gradients = probe_array(k->n * w->columns, sizeof(float));
    struct ps_op op = {.variable = w->rows,
                       .kind = PS_PUSH,
                       .keys = k->keys,
                       .n_keys = k->n,
                       .values = gradients,
                       .updater = &sgd};
    ps_request *r = NULL;
    void *kept = w->kept;

    for (size_t i = 0; i < k->n; i++) {
        gradients[i * w->columns + w->number] = -(float)k->units[i];
    }
    probe_need("submit", ps_submit(w->client, &op, 1, &r));
    probe_need("push", ps_wait(r, PROBE_SETTLE_MS));
    free(gradients);
    k->n_frames = 0;
    for (size_t i = 0; i < ps_request_frames(r); i++) {
        struct ps_frame_outcome f;

        probe_need("frame", ps_request_frame(r, i, &f));
        if (f.status == PS_OK && k->n_frames == FRAMES) {
            probe_fail("frames of a push", PS_ELIMIT, NULL);
        }
        if (f.status == PS_OK) {
            k->frames[k->n_frames++] = f;
        }
    }
    ps_request_free(r);
    probe_grow(&kept, w->n_kept, &w->kept_room, sizeof(*w->kept));
    w->kept = kept;
    w->kept[w->n_kept++] = *k;
}

static void push_new(struct worker *w)
{
    struct kept k = {.n = BATCH};

    for (size_t i = 0; i < BATCH; i++) {
        k.keys[i] = probe_random(&w->random) % w->n_keys;
        k.units[i] = probe_random(&w->random) % 3 + 1;
        w->wanted[k.keys[i]] += k.units[i];
    }
    push(w, &k);
    w->pushes++;
}

static int is_lost(const struct kept *k, const struct ps_loss *loss)
{
    for (size_t i = 0; i < k->n_frames; i++) {
        if (k->frames[i].session == loss->session &&
            k->frames[i].lane == loss->lane &&
            k->frames[i].seq >= loss->first && k->frames[i].seq <= loss->last) {
            return 1;
        }
    }
    return 0;
}

/* The rows of a push that are in the part. */
static void take_lost(const struct kept *k, const struct ps_loss *loss,
                      struct kept *out)
{
    out->n = 0;
    for (size_t i = 0; i < k->n; i++) {
        uint32_t bucket = ps_bucket(k->keys[i]);

        if (bucket >= loss->begin && bucket < loss->end) {
            out->keys[out->n] = k->keys[i];
            out->units[out->n++] = k->units[i];
        }
    }
}

static void do_losses(struct worker *w)
{
    struct ps_loss loss;

    while (take_loss(w, &loss)) {
        /* What is pushed again now is of another lane. */
        size_t n = w->n_kept;

        for (size_t i = 0; i < n; i++) {
            struct kept lost;

            if (!is_lost(&w->kept[i], &loss)) {
                continue;
            }
            take_lost(&w->kept[i], &loss, &lost);
            w->lost_rows += lost.n;
            if (w->replays && lost.n > 0) {
                push(w, &lost);
            }
            for (size_t j = 0; j < lost.n && !w->replays; j++) {
                w->wanted[lost.keys[j]] -= lost.units[j];
            }
        }
    }
}

static uint64_t count_wrong(struct worker *w)
{
    uint64_t *keys = probe_array(w->n_keys, sizeof(*keys));
    float *rows = probe_array(w->n_keys * w->columns, sizeof(*rows));
    uint64_t wrong = 0;

    for (uint64_t i = 0; i < w->n_keys; i++) {
        keys[i] = i;
    }
    probe_need("pull",
               ps_pull(w->rows, keys, w->n_keys, rows, PROBE_SETTLE_MS));
    for (uint64_t i = 0; i < w->n_keys; i++) {
        float wanted = (float)w->wanted[i];

        wrong += memcmp(&rows[i * w->columns + w->number], &wanted,
                        sizeof(wanted)) != 0;
    }
    free(keys);
    free(rows);
    return wrong;
}

static void report(struct worker *w)
{
    (void)pthread_mutex_lock(&w->lock);
    printf("{\"pushes\":%" PRIu64 ",\"told\":%" PRIu64 ",\"lost_rows\":%" PRIu64
           "}\n",
           w->pushes, w->told, w->lost_rows);
    (void)pthread_mutex_unlock(&w->lock);
    fflush(stdout);
}

/* Losses may still come: each is told when the part has its next holder. */
static int finish(struct worker *w)
{
    double until = probe_now() + SETTLED_S;
    uint64_t wrong;

    do {
        do_losses(w);
        wrong = count_wrong(w);
        probe_sleep(0.05);
    } while (wrong > 0 && probe_now() < until);
    printf("{\"wrong\":%" PRIu64 ",\"pushes\":%" PRIu64
           ",\"lost_rows\":%" PRIu64 ",\"wanted\":[",
           wrong, w->pushes, w->lost_rows);
    for (uint64_t i = 0; i < w->n_keys; i++) {
        printf("%s%" PRIu64, i == 0 ? "" : ",", w->wanted[i]);
    }
    puts("]}");
    fflush(stdout);
    return ps_close(w->client, OPEN_MS) == PS_OK ? 0 : 1;
}

int probe_replay(int argc, char **argv)
{
    struct worker w = {.lock = PTHREAD_MUTEX_INITIALIZER};
    char line[64];
    int order;
    int rc;

    if (argc != 4) {
        probe_fail("replay WORKER WORKERS KEYS again|accept", PS_EARGUMENT, "");
    }
    w.number = probe_number(argv[0]);
    w.columns = probe_number(argv[1]);
    w.n_keys = probe_number(argv[2]);
    w.replays = strcmp(argv[3], "again") == 0;
    w.random = w.number + 1;
    w.wanted = probe_array(w.n_keys, sizeof(*w.wanted));
    w.client = probe_open((int)w.number, note_loss, &w);
    w.rows =
        probe_declare(w.client, "replay", PS_HASH64, 0, (uint32_t)w.columns);
    probe_ready();
    while ((order = probe_line(line, sizeof(line), PAUSE_MS)) >= 0) {
        if (order > 0) {
            report(&w);
        }
        do_losses(&w);
        push_new(&w);
    }
    rc = finish(&w);
    free(w.wanted);
    free(w.kept);
    free(w.losses);
    return rc;
}
