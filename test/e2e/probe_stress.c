/* probe_stress.c - eight threads do all that the header lets them do at once.
 *
 * Three clients, shared by 4, 3 and 1 of the threads. Each thread draws what to
 * do next: pushes that it waits for, that it forgets at once, that it settles
 * with a resolve; pulls; declares and drops of a variable of its own and of one
 * that all of them fight for; a client of its own, opened and closed again; and
 * the calls that only look.
 *
 * No server dies here, so every push is applied, but those whose resolve says
 * that they were canceled. Each thread keeps what it has added to which row; at
 * the end the rows are the sums, exactly, and while it runs no row may be less
 * than what the thread that looks has been told of its own pushes.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "probe.h"

enum {
    THREADS = 8,
    CLIENTS = 3,
    KEYS = 64, /* of `rows`; all threads add to row 0 all the time */
    DIM = 2,
    DENSE_ROWS = 3,
    BATCH = 16,
    DROPPED_S = 30, /* until all shards know that a variable is gone */
    TEXT_BYTES = 160
};

static const size_t client_of[THREADS] = {0, 0, 0, 0, 1, 1, 1, 2};

/* A client and its handles. [I] */
struct desk {
    ps_client *client;
    ps_variable *rows;
    ps_variable *dense;
};

enum act { ADD, SPREAD, FORGET, RESOLVE, LOOK, OWN, FIGHT, REOPEN, ASK, ACTS };

static const struct {
    const char *name;
    uint32_t share; /* of 100 */
} acts[ACTS] = {
    [ADD] = {"add", 30},       [SPREAD] = {"spread", 20},
    [FORGET] = {"forget", 15}, [RESOLVE] = {"resolve", 12},
    [LOOK] = {"look", 15},     [OWN] = {"own", 2},
    [FIGHT] = {"fight", 2},    [REOPEN] = {"reopen", 1},
    [ASK] = {"ask", 3},
};

/* One thread. [o] until it was joined. */
struct worker {
    pthread_t id;
    size_t number;
    struct desk *desk;
    double until;
    uint64_t random;
    uint64_t added[KEYS];     /* by all its pushes but the canceled */
    uint64_t forgotten[KEYS]; /* of these, those that nobody waited for */
    uint64_t dense;           /* pushes of the dense variable */
    uint64_t n_canceled;
    uint64_t n[ACTS];
};

static uint64_t draw(struct worker *w, uint64_t n)
{
    return probe_random(&w->random) % n;
}

static struct desk open_desk(void)
{
    struct desk d = {.client = probe_open(-1, NULL, NULL)};

    d.rows = probe_declare(d.client, "rows", PS_HASH64, 0, DIM);
    d.dense = probe_declare(d.client, "dense", PS_DENSE, DENSE_ROWS, 1);
    return d;
}

/* A push of whole numbers to n rows drawn, row 0 among them; each number goes
 * to both columns. */
struct batch {
    uint64_t keys[BATCH];
    float values[BATCH * DIM];
    size_t n;
};

static void fill(struct worker *w, struct batch *b, size_t n)
{
    b->n = n;
    for (size_t i = 0; i < n; i++) {
        float value = (float)(draw(w, 3) + 1);

        b->keys[i] = i == 0 ? 0 : draw(w, KEYS);
        b->values[i * DIM] = value;
        b->values[i * DIM + 1] = value;
    }
}

static void account(const struct batch *b, uint64_t *sums)
{
    for (size_t i = 0; i < b->n; i++) {
        sums[b->keys[i]] += (uint64_t)b->values[i * DIM];
    }
}

static struct ps_op op_of(const struct desk *d, const struct batch *b)
{
    return (struct ps_op){.variable = d->rows,
                          .kind = PS_PUSH,
                          .keys = b->keys,
                          .n_keys = b->n,
                          .values = b->values};
}

static void add(struct worker *w)
{
    struct batch b;

    fill(w, &b, draw(w, 3) + 1);
    for (size_t i = 0; i < b.n; i++) {
        b.keys[i] = 0;
    }
    probe_need("add",
               ps_push(w->desk->rows, b.keys, b.n, b.values, PROBE_SETTLE_MS));
    account(&b, w->added);
}

static void spread(struct worker *w)
{
    const float ones[DENSE_ROWS] = {1, 1, 1};
    struct batch b;
    struct ps_op ops[2];
    ps_request *r = NULL;

    fill(w, &b, draw(w, BATCH) + 1);
    ops[0] = op_of(w->desk, &b);
    ops[1] = (struct ps_op){
        .variable = w->desk->dense, .kind = PS_PUSH, .values = ones};
    probe_need("submit", ps_submit(w->desk->client, ops, 2, &r));
    probe_need("spread", ps_wait(r, PROBE_SETTLE_MS));
    if (ps_request_frames(r) == 0) {
        probe_fail("a push without a frame", PS_EUNKNOWN, NULL);
    }
    ps_request_free(r);
    account(&b, w->added);
    w->dense++;
}

static void forget(struct worker *w, const struct desk *d)
{
    struct batch b;
    struct ps_op op;
    ps_request *r = NULL;

    fill(w, &b, draw(w, BATCH) + 1);
    op = op_of(d, &b);
    probe_need("submit", ps_submit(d->client, &op, 1, &r));
    ps_request_free(r);
    account(&b, w->added);
    account(&b, w->forgotten);
}

/* One row is one frame, so that the request is canceled whole or not. */
static void resolve(struct worker *w)
{
    struct batch b;
    struct ps_op op;
    ps_request *r = NULL;
    int rc;

    fill(w, &b, 1);
    op = op_of(w->desk, &b);
    probe_need("submit", ps_submit(w->desk->client, &op, 1, &r));
    rc = ps_wait(r, -1);
    if (rc != PS_OK) {
        rc = ps_resolve(r, PROBE_SETTLE_MS);
    }
    ps_request_free(r);
    if (rc == PS_ECANCELED) {
        w->n_canceled++;
    } else {
        probe_need("resolve", rc);
        account(&b, w->added);
    }
}

/* Also with the `out` of a pull that is given up, which is of this stack. */
static void look(struct worker *w)
{
    struct batch b;
    float rows[BATCH * DIM];
    struct ps_op op;
    ps_request *r = NULL;

    fill(w, &b, BATCH);
    if (draw(w, 4) == 0) {
        op = op_of(w->desk, &b);
        op.kind = PS_PULL;
        op.values = NULL;
        op.out = rows;
        probe_need("submit", ps_submit(w->desk->client, &op, 1, &r));
        ps_request_free(r);
    }
    probe_need("pull",
               ps_pull(w->desk->rows, b.keys, b.n, rows, PROBE_SETTLE_MS));
    for (size_t i = 0; i < b.n; i++) {
        uint64_t least = w->added[b.keys[i]] - w->forgotten[b.keys[i]];

        if (rows[i * DIM] != rows[i * DIM + 1]) {
            probe_fail("a torn row", PS_EDATALOSS, NULL);
        }
        if (rows[i * DIM] < (float)least) {
            probe_fail("a push that was told is not there", PS_EDATALOSS, NULL);
        }
    }
}

/* A variable of its own from its first push to what its handle says when it
 * was dropped. */
static void own(struct worker *w)
{
    const uint64_t keys[2] = {7, UINT64_MAX};
    const float values[2] = {3, 4};
    float rows[2] = {0};
    char name[32];
    struct ps_error e = {0};
    ps_variable *v;
    double until;
    int rc;

    snprintf(name, sizeof(name), "own-%zu-%" PRIu64, w->number, w->n[OWN] % 4);
    v = probe_declare(w->desk->client, name, PS_HASH64, 0, 1);
    probe_need("push", ps_push(v, keys, 2, values, PROBE_SETTLE_MS));
    probe_need("pull", ps_pull(v, keys, 2, rows, PROBE_SETTLE_MS));
    if (rows[0] != values[0] || rows[1] != values[1]) {
        probe_fail(name, PS_EDATALOSS, "not the rows that were pushed");
    }
    rc = ps_drop(w->desk->client, name, PROBE_SETTLE_MS, &e);
    until = probe_now() + DROPPED_S;
    if (rc != PS_OK) {
        probe_fail("drop", rc, e.text);
    }
    /* A shard that has not heard of it yet still takes the push. */
    while ((rc = ps_push(v, keys, 2, values, PROBE_SETTLE_MS)) == PS_OK &&
           probe_now() < until) {
    }
    if (rc != PS_ENOTFOUND) {
        probe_fail("push to what was dropped", rc, NULL);
    }
}

static void need_either(const char *what, int rc)
{
    if (rc != PS_ENOTFOUND) {
        probe_need(what, rc);
    }
}

/* What all declare, use and drop without asking each other. */
static void fight(struct worker *w)
{
    const uint64_t key = draw(w, KEYS);
    const float one = 1;
    float row;
    ps_variable *v =
        probe_declare(w->desk->client, "fought-for", PS_HASH64, 0, 1);

    need_either("push", ps_push(v, &key, 1, &one, PROBE_SETTLE_MS));
    need_either("pull", ps_pull(v, &key, 1, &row, PROBE_SETTLE_MS));
    if (draw(w, 2) == 0) {
        need_either("drop", ps_drop(w->desk->client, "fought-for",
                                    PROBE_SETTLE_MS, NULL));
    }
}

/* Closing waits for what was forgotten. */
static void reopen(struct worker *w)
{
    struct desk d = open_desk();
    uint64_t n = draw(w, 5);

    for (uint64_t i = 0; i < n; i++) {
        forget(w, &d);
    }
    probe_need("close", ps_close(d.client, PROBE_SETTLE_MS));
}

static void ask(struct worker *w)
{
    struct ps_client_counters counters;
    char text[TEXT_BYTES];
    char *json = NULL;

    ps_client_counters(w->desk->client, &counters);
    ps_client_waits_for(w->desk->client, text, sizeof(text));
    if (draw(w, 4) == 0) {
        probe_need("status", ps_status_json(w->desk->client, &json,
                                            PROBE_SETTLE_MS, NULL));
        ps_text_free(json);
    }
}

static void do_act(struct worker *w, enum act act)
{
    switch (act) {
    case ADD:
        add(w);
        break;
    case SPREAD:
        spread(w);
        break;
    case FORGET:
        forget(w, w->desk);
        break;
    case RESOLVE:
        resolve(w);
        break;
    case LOOK:
        look(w);
        break;
    case OWN:
        own(w);
        break;
    case FIGHT:
        fight(w);
        break;
    case REOPEN:
        reopen(w);
        break;
    case ASK:
        ask(w);
        break;
    case ACTS:
        break;
    }
}

static void *run_worker(void *context)
{
    struct worker *w = context;

    while (probe_now() < w->until) {
        uint64_t at = draw(w, 100);
        enum act act = ADD;

        while (at >= acts[act].share) {
            at -= acts[act].share;
            act++;
        }
        w->n[act]++;
        do_act(w, act);
    }
    return NULL;
}

/* Compares, and says what was done how often. */
static void report(const struct worker *workers)
{
    struct desk d = open_desk();
    uint64_t keys[KEYS];
    float rows[KEYS * DIM];
    float dense[DENSE_ROWS];
    uint64_t sum = 0;
    uint64_t dense_told = 0;
    uint64_t n_canceled = 0;
    size_t n_wrong = 0;

    for (size_t i = 0; i < KEYS; i++) {
        keys[i] = i;
    }
    probe_need("pull", ps_pull(d.rows, keys, KEYS, rows, PROBE_SETTLE_MS));
    probe_need("pull", ps_pull(d.dense, NULL, 0, dense, PROBE_SETTLE_MS));
    for (size_t i = 0; i < KEYS; i++) {
        uint64_t told = 0;

        for (size_t t = 0; t < THREADS; t++) {
            told += workers[t].added[i];
        }
        sum += told;
        n_wrong +=
            rows[i * DIM] != (float)told || rows[i * DIM + 1] != (float)told;
    }
    for (size_t t = 0; t < THREADS; t++) {
        dense_told += workers[t].dense;
        n_canceled += workers[t].n_canceled;
    }
    for (size_t i = 0; i < DENSE_ROWS; i++) {
        n_wrong += dense[i] != (float)dense_told;
    }
    printf("{\"wrong\":%zu,\"sum\":%" PRIu64 ",\"hot\":%.0f,\"dense\":%" PRIu64
           ",\"canceled\":%" PRIu64 ",\"acts\":{",
           n_wrong, sum, (double)rows[0], dense_told, n_canceled);
    for (size_t a = 0; a < ACTS; a++) {
        uint64_t n = 0;

        for (size_t t = 0; t < THREADS; t++) {
            n += workers[t].n[a];
        }
        printf("%s\"%s\":%" PRIu64, a == 0 ? "" : ",", acts[a].name, n);
    }
    printf("}}\n");
    probe_need("close", ps_close(d.client, PROBE_SETTLE_MS));
}

int probe_stress(int argc, char **argv)
{
    struct worker *workers = probe_array(THREADS, sizeof(*workers));
    struct desk desks[CLIENTS];
    double until;

    if (argc != 2) {
        probe_fail("stress SECONDS SEED", PS_EARGUMENT, NULL);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        desks[i] = open_desk();
    }
    until = probe_now() + (double)probe_number(argv[0]);
    for (size_t i = 0; i < THREADS; i++) {
        workers[i].number = i;
        workers[i].desk = &desks[client_of[i]];
        workers[i].until = until;
        workers[i].random = probe_number(argv[1]) * THREADS + i + 1;
        if (pthread_create(&workers[i].id, NULL, run_worker, &workers[i])) {
            probe_fail("a thread", PS_ENOMEM, NULL);
        }
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(workers[i].id, NULL);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        probe_need("close", ps_close(desks[i].client, PROBE_SETTLE_MS));
    }
    report(workers);
    free(workers);
    return 0;
}
