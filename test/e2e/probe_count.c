/* probe_count.c - pushes, and keeps account of what became of each.
 *
 * Two variables with rows of three: a push of the integer g to a row adds
 * (1, g, g * g). So a row tells how many pushes it has had, and two sums over
 * them: a push that is applied twice, not at all, or in half shows.
 *
 * A push is one frame for each shard that it touches. Which row lives on which
 * shard is learned first, by pushes of zeros to single rows; parts stay where
 * they are, whatever dies. What a frame was told (its outcome) then says for
 * each row of the push whether it was applied, and a loss that the library
 * reports takes back the frames whose numbers it names. What is left is what
 * the rows must show; the test adds up the accounts of several probes and
 * compares.
 *
 * Sixteen pushes are in flight. Between them rows are pulled, which must be
 * whole: sum and sum of squares fit the count.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"

enum { VARIABLES = 2, DIM = 3, ITEMS = 8, FLIGHT = 16, G_MAX = 7 };

static const char *const names[VARIABLES] = {"rows", "more"};

struct home {
    uint32_t server;
    uint32_t shard;
};

struct item {
    uint32_t variable;
    uint32_t key;
    float g;
};

enum { NO_PUSH = -1 };

/* What one numbered frame was told. */
struct told {
    struct ps_frame_outcome frame;
    int64_t push; /* of which this was a frame; NO_PUSH: it learned a home */
};

struct account {
    ps_client *client;
    ps_variable *variables[VARIABLES];
    size_t keys;
    uint64_t random;
    struct home *homes;  /* [VARIABLES][keys] */
    struct item *pushes; /* [n_pushes][ITEMS], g 0 where there is none */
    size_t n_pushes;
    size_t room_pushes;
    struct told *told;
    size_t n_told;
    size_t room_told;
    size_t n_resolved; /* pushes that had to be resolved */
    size_t n_torn;
    size_t n_pulls;
    size_t n_taken_twice;
    pthread_mutex_t m;
    struct ps_loss *losses; /* under m */
    size_t n_losses;
    size_t room_losses;
};

struct flight {
    ps_request *request;
    size_t push;
};

/* Thread: the library's. */
static void on_loss(void *context, const struct ps_loss *loss)
{
    struct account *a = context;
    void *items;

    pthread_mutex_lock(&a->m);
    items = a->losses;
    probe_grow(&items, a->n_losses, &a->room_losses, sizeof(*loss));
    a->losses = items;
    a->losses[a->n_losses] = *loss;
    a->losses[a->n_losses].variable = names[0];
    for (size_t v = 1; v < VARIABLES; v++) {
        if (strcmp(names[v], loss->variable) == 0) {
            a->losses[a->n_losses].variable = names[v];
        }
    }
    a->n_losses++;
    pthread_mutex_unlock(&a->m);
}

/* Writes down what the frames of a settled request were told. */
static void note_frames(struct account *a, const ps_request *r, int64_t push)
{
    for (size_t i = 0; i < ps_request_frames(r); i++) {
        void *items = a->told;

        probe_grow(&items, a->n_told, &a->room_told, sizeof(*a->told));
        a->told = items;
        a->told[a->n_told].push = push;
        probe_need("frame", ps_request_frame(r, i, &a->told[a->n_told].frame));
        a->n_told++;
    }
}

static struct home *home_of(struct account *a, uint32_t variable, size_t key)
{
    return &a->homes[variable * a->keys + key];
}

/* Nothing fails while this runs: one frame for one row. */
static void learn(struct account *a, uint32_t variable, size_t key)
{
    const float zeros[DIM] = {0};
    const uint64_t id = key;
    struct ps_op op = {.variable = a->variables[variable],
                       .kind = PS_PUSH,
                       .keys = &id,
                       .n_keys = 1,
                       .values = zeros};
    const struct ps_frame_outcome *frame;
    ps_request *r = NULL;

    probe_need("submit", ps_submit(a->client, &op, 1, &r));
    probe_need("wait", ps_wait(r, PROBE_SETTLE_MS));
    note_frames(a, r, NO_PUSH);
    frame = &a->told[a->n_told - 1].frame;
    if (ps_request_frames(r) != 1 || frame->status != PS_OK) {
        probe_fail("one row was not one frame", PS_EUNKNOWN, NULL);
    }
    *home_of(a, variable, key) = (struct home){frame->server, frame->shard};
    ps_request_free(r);
}

static void submit(struct account *a, struct flight *f)
{
    uint64_t keys[VARIABLES][ITEMS];
    float values[VARIABLES][ITEMS * DIM];
    struct ps_op ops[VARIABLES] = {0};
    size_t n = probe_random(&a->random) % ITEMS + 1;
    void *pushes = a->pushes;
    struct item *items;

    probe_grow(&pushes, a->n_pushes, &a->room_pushes,
               ITEMS * sizeof(struct item));
    a->pushes = pushes;
    items = a->pushes + a->n_pushes * ITEMS;
    memset(items, 0, ITEMS * sizeof(*items));
    for (uint32_t v = 0; v < VARIABLES; v++) {
        ops[v] = (struct ps_op){.variable = a->variables[v],
                                .kind = PS_PUSH,
                                .keys = keys[v],
                                .values = values[v]};
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t v = (uint32_t)(probe_random(&a->random) % VARIABLES);
        float g = (float)(probe_random(&a->random) % G_MAX + 1);
        float row[DIM] = {1, g, g * g};

        items[i].variable = v;
        items[i].key = (uint32_t)(probe_random(&a->random) % a->keys);
        items[i].g = g;
        keys[v][ops[v].n_keys] = items[i].key;
        memcpy(values[v] + ops[v].n_keys * DIM, row, sizeof(row));
        ops[v].n_keys++;
    }
    f->push = a->n_pushes;
    a->n_pushes++;
    probe_need("submit", ps_submit(a->client, ops, VARIABLES, &f->request));
}

/* Waits for a push and writes down what its frames were told. */
static void settle(struct account *a, struct flight *f)
{
    int rc = ps_wait(f->request, PROBE_SETTLE_MS);

    if (rc == PS_ETIMEOUT || rc == PS_EUNSURE) {
        a->n_resolved++;
        rc = ps_resolve(f->request, PROBE_SETTLE_MS);
    }
    if (rc == PS_ETIMEOUT || rc == PS_EUNSURE) {
        char text[256];

        ps_client_waits_for(a->client, text, sizeof(text));
        probe_fail("a push was never settled", rc, text);
    }
    note_frames(a, f->request, (int64_t)f->push);
    ps_request_free(f->request);
    f->request = NULL;
}

/* A row of g between 1 and G_MAX: count <= sum <= squares <= G_MAX * sum, and
 * sum * sum <= count * squares. */
static void look(struct account *a)
{
    const uint64_t key = probe_random(&a->random) % a->keys;
    uint64_t v = probe_random(&a->random) % VARIABLES;
    float row[DIM];
    int rc = ps_pull(a->variables[v], &key, 1, row, PROBE_SETTLE_MS);

    probe_need("pull", rc);
    a->n_pulls++;
    if (row[0] > row[1] || row[1] > row[2] || row[2] > G_MAX * row[1] ||
        row[1] * row[1] > row[0] * row[2] * 1.0001F) {
        a->n_torn++;
    }
}

static int is_in(const struct ps_loss *loss, const struct ps_frame_outcome *f)
{
    return loss->session == f->session && loss->lane == f->lane &&
           loss->first <= f->seq && f->seq <= loss->last;
}

static int is_lost(const struct account *a, const struct ps_frame_outcome *f)
{
    for (size_t i = 0; i < a->n_losses; i++) {
        if (is_in(&a->losses[i], f)) {
            return 1;
        }
    }
    return 0;
}

/* How many numbers the losses name that no frame has had. */
static uint64_t count_unheard(const struct account *a)
{
    uint64_t n = 0;

    for (size_t i = 0; i < a->n_losses; i++) {
        n += a->losses[i].last - a->losses[i].first + 1;
        for (size_t k = 0; k < a->n_told; k++) {
            n -= is_in(&a->losses[i], &a->told[k].frame) ? 1 : 0;
        }
    }
    return n;
}

/* Adds what the frame applied to the rows; each item of a push is applied by
 * one frame only. */
static void add_frame(struct account *a, const struct told *told, float *rows)
{
    struct item *items = a->pushes + told->push * ITEMS;

    for (size_t i = 0; i < ITEMS; i++) {
        struct item *item = &items[i];
        const struct home *home = home_of(a, item->variable, item->key);
        float *row = rows + (item->variable * a->keys + item->key) * DIM;
        float g = item->g;

        if (g == 0 || home->server != told->frame.server ||
            home->shard != told->frame.shard) {
            continue;
        }
        if (g < 0) {
            a->n_taken_twice++;
            continue;
        }
        item->g = -1;
        row[0] += 1;
        row[1] += g;
        row[2] += g * g;
    }
}

static void print_rows(const struct account *a, const float *rows)
{
    printf(",\"expected\":{");
    for (size_t v = 0; v < VARIABLES; v++) {
        printf("%s\"%s\":[", v == 0 ? "" : ",", names[v]);
        for (size_t i = 0; i < a->keys; i++) {
            const float *row = rows + (v * a->keys + i) * DIM;

            printf("%s[%g,%g,%g]", i == 0 ? "" : ",", (double)row[0],
                   (double)row[1], (double)row[2]);
        }
        printf("]");
    }
    printf("}");
}

static void print_losses(const struct account *a)
{
    printf(",\"losses\":[");
    for (size_t i = 0; i < a->n_losses; i++) {
        const struct ps_loss *l = &a->losses[i];

        printf("%s{\"session\":%" PRIu64 ",\"lane\":%" PRIu64
               ",\"first\":%" PRIu64 ",\"last\":%" PRIu64 ",\"server\":%" PRIu32
               ",\"shard\":%" PRIu32 ",\"variable\":\"%s\",\"begin\":%" PRIu32
               "}",
               i == 0 ? "" : ",", l->session, l->lane, l->first, l->last,
               l->server, l->shard, l->variable, l->begin);
    }
    printf("]");
}

static void report(struct account *a)
{
    float *rows = probe_array(VARIABLES * a->keys * DIM, sizeof(*rows));
    struct ps_client_counters c;
    size_t n_acked = 0;
    size_t n_lost = 0;

    ps_client_counters(a->client, &c);
    pthread_mutex_lock(&a->m);
    for (size_t i = 0; i < a->n_told; i++) {
        const struct told *told = &a->told[i];

        if (told->frame.status != PS_OK) {
            continue;
        }
        n_acked++;
        if (is_lost(a, &told->frame)) {
            n_lost++;
        } else if (told->push != NO_PUSH) {
            add_frame(a, told, rows);
        }
    }
    printf("{\"pushes\":%zu,\"frames_acked\":%zu,\"frames_lost\":%zu,"
           "\"frames_refused\":%zu,\"resolved\":%zu,\"pulls\":%zu,"
           "\"torn\":%zu,\"taken_twice\":%zu,\"unheard\":%" PRIu64,
           a->n_pushes, n_acked, n_lost, a->n_told - n_acked, a->n_resolved,
           a->n_pulls, a->n_torn, a->n_taken_twice, count_unheard(a));
    printf(",\"session\":%" PRIu64 ",\"counted_acked\":%" PRIu64
           ",\"counted_losses\":%" PRIu64 ",\"resends\":%" PRIu64
           ",\"reconnects\":%" PRIu64,
           c.session, c.pushes_acked, c.losses, c.resends, c.reconnects);
    print_losses(a);
    print_rows(a, rows);
    printf("}\n");
    fflush(stdout);
    pthread_mutex_unlock(&a->m);
    free(rows);
}

static void start(struct account *a, int argc, char **argv)
{
    if (argc != 3) {
        probe_fail("count WORKER KEYS SEED", PS_EARGUMENT, NULL);
    }
    pthread_mutex_init(&a->m, NULL);
    a->keys = probe_number(argv[1]);
    a->random = probe_number(argv[2]) * 2 + 1;
    a->client = probe_open((int)probe_number(argv[0]), on_loss, a);
    a->homes = probe_array(VARIABLES * a->keys, sizeof(*a->homes));
    for (uint32_t v = 0; v < VARIABLES; v++) {
        a->variables[v] = probe_declare(a->client, names[v], PS_HASH64, 0, DIM);
        for (size_t i = 0; i < a->keys; i++) {
            learn(a, v, i);
        }
    }
}

/* Who has pulled from every part has heard of every part's former lanes. */
static void hear_of_losses(struct account *a)
{
    uint64_t *keys = probe_array(a->keys, sizeof(*keys));
    float *rows = probe_array(a->keys * DIM, sizeof(*rows));

    for (size_t i = 0; i < a->keys; i++) {
        keys[i] = i;
    }
    for (size_t v = 0; v < VARIABLES; v++) {
        probe_need("pull", ps_pull(a->variables[v], keys, a->keys, rows,
                                   PROBE_SETTLE_MS));
    }
    free(keys);
    free(rows);
}

int probe_count(int argc, char **argv)
{
    struct account a = {0};
    struct flight flights[FLIGHT] = {{0}};
    size_t at = 0;
    char line[64];
    int rc;

    start(&a, argc, argv);
    probe_ready();
    while (probe_line(line, sizeof(line), at % 4 == 0) >= 0) {
        struct flight *f = &flights[at % FLIGHT];

        if (f->request != NULL) {
            settle(&a, f);
        }
        if (at % 16 == 0) {
            look(&a);
        }
        submit(&a, f);
        at++;
    }
    for (size_t i = 0; i < FLIGHT; i++) {
        struct flight *f = &flights[(at + i) % FLIGHT];

        if (f->request != NULL) {
            settle(&a, f);
        }
    }
    hear_of_losses(&a);
    report(&a);
    rc = ps_close(a.client, PROBE_SETTLE_MS);
    free(a.homes);
    free(a.pushes);
    free(a.told);
    free(a.losses);
    return rc == PS_OK ? 0 : 1;
}
