/* probe_fire.c - workers that are killed, and what they leave behind.
 *
 * As in probe_count.c a push of the integer g to a row adds (1, g, g * g), here
 * in columns that only this worker writes, and whoever bears its number after
 * it. What a worker was told outlives it in its journal: an acknowledgement is
 * taken for one once it is written there. probe_judge.c adds the journals up.
 *
 * Pushes come in bursts of sixteen in flight, so that a kill finds some that
 * are under way and some that were answered and not heard.
 */
#include "probe_fire.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FLIGHT = 16, PAUSE_MS = 8 };

const char *const fire_names[FIRE_VARIABLES] = {"rows", "more"};

struct fire {
    ps_client *client;
    ps_variable *variables[FIRE_VARIABLES];
    size_t keys;
    uint32_t worker;
    uint32_t workers;
    uint64_t random;
    uint64_t n_pushes;
    int journal;
};

struct flight {
    ps_request *request;
    uint64_t push;
};

static void note(const struct fire *a, uint32_t kind, uint32_t n, uint64_t push,
                 const void *what, size_t size)
{
    uint8_t bytes[4096];
    const struct fire_entry entry = {.kind = kind, .n = n, .push = push};

    if (sizeof(entry) + size > sizeof(bytes)) {
        probe_fail("too many frames for one entry", PS_ELIMIT, NULL);
    }
    memcpy(bytes, &entry, sizeof(entry));
    if (size > 0) {
        memcpy(bytes + sizeof(entry), what, size);
    }
    size += sizeof(entry);
    if (write(a->journal, bytes, size) != (ssize_t)size) {
        probe_fail("the journal", PS_EIO, NULL);
    }
}

/* Thread: the library's. An entry is one write at the file's end. */
static void on_loss(void *context, const struct ps_loss *loss)
{
    struct ps_loss copy = *loss;
    uint32_t v = loss->variable == NULL ? FIRE_VARIABLES : 0;

    while (v < FIRE_VARIABLES && strcmp(fire_names[v], loss->variable) != 0) {
        v++;
    }
    copy.variable = NULL; /* the text ends with this call */
    note(context, FIRE_LOSS, 1, v, &copy, sizeof(copy));
}

ps_variable *fire_declare(ps_client *client, uint32_t v, uint32_t workers)
{
    return probe_declare(client, fire_names[v], PS_HASH64, 0,
                         FIRE_SUMS * workers);
}

struct fire_home *fire_read_homes(const char *path, size_t keys)
{
    struct fire_home *homes =
        probe_array(FIRE_VARIABLES * keys, sizeof(*homes));
    FILE *f = fopen(path, "rb");

    if (f == NULL || fread(homes, sizeof(*homes), FIRE_VARIABLES * keys, f) !=
                         FIRE_VARIABLES * keys) {
        probe_fail("the file of homes", PS_EIO, path);
    }
    fclose(f);
    return homes;
}

/* Pushes zeros to one row: the frame says where it lives. */
static struct fire_home learn(ps_client *client, ps_variable *variable,
                              uint64_t key, const float *zeros)
{
    struct ps_op op = {.variable = variable,
                       .kind = PS_PUSH,
                       .keys = &key,
                       .n_keys = 1,
                       .values = zeros};
    struct ps_frame_outcome frame;
    ps_request *r = NULL;

    probe_need("submit", ps_submit(client, &op, 1, &r));
    probe_need("wait", ps_wait(r, PROBE_SETTLE_MS));
    if (ps_request_frames(r) != 1) {
        probe_fail("one row was not one frame", PS_EUNKNOWN, NULL);
    }
    probe_need("frame", ps_request_frame(r, 0, &frame));
    ps_request_free(r);
    return (struct fire_home){frame.server, frame.shard};
}

int probe_homes(int argc, char **argv)
{
    ps_client *client = probe_open(-1, NULL, NULL);
    FILE *f;

    if (argc != 3) {
        probe_fail("homes WORKERS KEYS FILE", PS_EARGUMENT, NULL);
    }
    f = fopen(argv[2], "wb");
    if (f == NULL) {
        probe_fail("the file of homes", PS_EIO, argv[2]);
    }
    for (uint32_t v = 0; v < FIRE_VARIABLES; v++) {
        uint32_t workers = (uint32_t)probe_number(argv[0]);
        ps_variable *variable = fire_declare(client, v, workers);
        float *zeros = probe_array(FIRE_SUMS * workers, sizeof(*zeros));

        for (uint64_t i = 0; i < probe_number(argv[1]); i++) {
            struct fire_home home = learn(client, variable, i, zeros);

            if (fwrite(&home, sizeof(home), 1, f) != 1) {
                probe_fail("the file of homes", PS_EIO, argv[2]);
            }
        }
        free(zeros);
    }
    if (fclose(f) != 0) {
        probe_fail("the file of homes", PS_EIO, argv[2]);
    }
    probe_ready();
    return ps_close(client, PROBE_SETTLE_MS) == PS_OK ? 0 : 1;
}

static void submit(struct fire *a, struct flight *f)
{
    struct fire_item items[FIRE_ITEMS];
    uint64_t keys[FIRE_VARIABLES][FIRE_ITEMS];
    size_t dim = FIRE_SUMS * (size_t)a->workers;
    float *values =
        probe_array(FIRE_VARIABLES * FIRE_ITEMS * dim, sizeof(*values));
    struct ps_op ops[FIRE_VARIABLES] = {0};
    uint32_t n = (uint32_t)(probe_random(&a->random) % FIRE_ITEMS) + 1;

    for (uint32_t v = 0; v < FIRE_VARIABLES; v++) {
        ops[v] = (struct ps_op){.variable = a->variables[v],
                                .kind = PS_PUSH,
                                .keys = keys[v],
                                .values = values + v * FIRE_ITEMS * dim};
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t v = (uint16_t)(probe_random(&a->random) % FIRE_VARIABLES);
        uint16_t g = (uint16_t)(probe_random(&a->random) % FIRE_G_MAX + 1);
        float *row = values + (v * (size_t)FIRE_ITEMS + ops[v].n_keys) * dim +
                     FIRE_SUMS * (size_t)a->worker;

        items[i] = (struct fire_item){
            v, g, (uint32_t)(probe_random(&a->random) % a->keys)};
        keys[v][ops[v].n_keys] = items[i].key;
        ops[v].n_keys++;
        row[0] = 1;
        row[1] = (float)g;
        row[2] = (float)(g * g);
    }
    f->push = a->n_pushes;
    a->n_pushes++;
    note(a, FIRE_INTENT, n, f->push, items, n * sizeof(*items));
    probe_need("submit",
               ps_submit(a->client, ops, FIRE_VARIABLES, &f->request));
    free(values);
}

/* Waits for a push and writes down what its frames were told. */
static void settle(const struct fire *a, struct flight *f)
{
    struct ps_frame_outcome frames[64];
    int rc = ps_wait(f->request, PROBE_SETTLE_MS);
    size_t n;

    if (rc == PS_ETIMEOUT || rc == PS_EUNSURE) {
        rc = ps_resolve(f->request, PROBE_SETTLE_MS);
    }
    if (rc == PS_ETIMEOUT || rc == PS_EUNSURE) {
        char text[256];

        ps_client_waits_for(a->client, text, sizeof(text));
        probe_fail("a push was never settled", rc, text);
    }
    n = ps_request_frames(f->request);
    if (n > sizeof(frames) / sizeof(frames[0])) {
        probe_fail("too many frames for one push", PS_ELIMIT, NULL);
    }
    for (size_t i = 0; i < n; i++) {
        probe_need("frame", ps_request_frame(f->request, i, &frames[i]));
    }
    note(a, FIRE_SETTLED, (uint32_t)n, f->push, frames, n * sizeof(frames[0]));
    ps_request_free(f->request);
    f->request = NULL;
}

/* In every worker's columns: count <= sum <= squares <= G_MAX * sum, and
 * sum * sum <= count * squares. */
static void check_row(const float *row, uint32_t workers)
{
    for (uint32_t w = 0; w < workers; w++) {
        const float *s = row + FIRE_SUMS * (size_t)w;
        double square = (double)s[1] * (double)s[1];

        if (s[0] > s[1] || s[1] > s[2] || s[2] > FIRE_G_MAX * s[1] ||
            square > (double)s[0] * (double)s[2]) {
            probe_fail("a torn row", PS_EDATALOSS, NULL);
        }
    }
}

/* Looks at n rows from `key` on. Who has pulled from every part has heard of
 * every part's former lanes. */
static void look(const struct fire *a, uint32_t v, uint64_t key, size_t n)
{
    size_t dim = FIRE_SUMS * (size_t)a->workers;
    uint64_t *keys = probe_array(n, sizeof(*keys));
    float *rows = probe_array(n * dim, sizeof(*rows));

    for (size_t i = 0; i < n; i++) {
        keys[i] = key + i;
    }
    probe_need("pull",
               ps_pull(a->variables[v], keys, n, rows, PROBE_SETTLE_MS));
    for (size_t i = 0; i < n; i++) {
        check_row(rows + i * dim, a->workers);
    }
    free(keys);
    free(rows);
}

static void start(struct fire *a, int argc, char **argv)
{
    if (argc != 5) {
        probe_fail("fire WORKER WORKERS KEYS SEED JOURNAL", PS_EARGUMENT, NULL);
    }
    a->worker = (uint32_t)probe_number(argv[0]);
    a->workers = (uint32_t)probe_number(argv[1]);
    a->keys = probe_number(argv[2]);
    a->random = probe_number(argv[3]) * 2 + 1;
    a->journal = open(argv[4], O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0600);
    if (a->journal < 0) {
        probe_fail("the journal", PS_EIO, argv[4]);
    }
    a->client = probe_open((int)a->worker, on_loss, a);
    for (uint32_t v = 0; v < FIRE_VARIABLES; v++) {
        a->variables[v] = fire_declare(a->client, v, a->workers);
    }
}

int probe_fire(int argc, char **argv)
{
    struct fire a = {0};
    struct flight flights[FLIGHT] = {{0}};
    size_t at = 0;
    char line[64];
    int rc;

    start(&a, argc, argv);
    while (at % FLIGHT != 0 || probe_line(line, sizeof(line), PAUSE_MS) >= 0) {
        struct flight *f = &flights[at % FLIGHT];

        if (f->request != NULL) {
            settle(&a, f);
        }
        if (at % FLIGHT == 0) {
            look(&a, (uint32_t)(probe_random(&a.random) % FIRE_VARIABLES),
                 probe_random(&a.random) % a.keys, 1);
        }
        submit(&a, f);
        at++;
    }
    for (size_t i = 0; i < FLIGHT; i++) {
        if (flights[i].request != NULL) {
            settle(&a, &flights[i]);
        }
    }
    for (uint32_t v = 0; v < FIRE_VARIABLES; v++) {
        look(&a, v, 0, a.keys);
    }
    rc = ps_close(a.client, PROBE_SETTLE_MS);
    note(&a, FIRE_END, 0, 0, NULL, 0);
    close(a.journal);
    return rc == PS_OK ? 0 : 1;
}
