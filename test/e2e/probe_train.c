/* probe_train.c - a worker with a reader, whose position a checkpoint keeps.
 *
 *     train WORKER KEYS step|blind
 *     restored WORKER       what ps_restored() tells it, who does no more
 *     fill NAME ROWS DIM
 *
 * Step i of worker w, counted from 0, pushes to four rows of its own and to one
 * that all workers share, in one request:
 *
 *     key w * KEYS + (4 i + j) mod KEYS, j = 0..3     += (1, i mod 8 + 1)
 *     key SHARED + w mod 2                            += (1, w + 1)
 *
 * and then says that its reader is at i + 1, without waiting: eight steps are
 * in flight. So whoever knows the position that a checkpoint has of a worker
 * can work out what its rows must be. `blind` never says where it is. Orders:
 *
 *     pause    settles all steps and stands, at a boundary
 *     stall    the same, but behind a push that belongs to no finished step
 *     save X   ps_save under this name, which is not waited for
 *     go       goes on
 *     look     while it stands: takes note of a rollback, if there was one
 *     restored answered as by the mode of this name
 *
 * Each other is answered with how many steps there were. The stalled push is
 * the first of step i; going on pushes what is left of it.
 *
 * When the cluster has gone back to a checkpoint it goes on from the position
 * that it is given: so the rows are again those of its steps.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"

enum { DIM = 2, OWN = 4, FLIGHT = 8, CHUNK = 8192 };

#define SHARED (UINT64_C(1) << 40)

struct worker {
    ps_client *client;
    ps_variable *variable;
    uint64_t number;
    uint64_t keys;
    uint64_t steps;
    int says_where;
    ps_request *flights[FLIGHT];
    ps_request *save;
    char saved[64];
    int goes_back; /* the cluster did: it must take note */
    uint64_t rollbacks;
    uint64_t cut; /* of the last */
};

static void settle(struct worker *w, ps_request **r)
{
    if (*r != NULL) {
        int rc = ps_wait(*r, PROBE_SETTLE_MS);

        if (rc == PS_ETIMEOUT || rc == PS_EUNSURE) {
            rc = ps_resolve(*r, PROBE_SETTLE_MS);
        }
        w->goes_back |= rc == PS_EROLLEDBACK;
        /* A server that has died lost it: the test knows. */
        if (rc != PS_OK && rc != PS_ECANCELED && rc != PS_ELANE &&
            rc != PS_EDATALOSS && rc != PS_EROLLEDBACK) {
            probe_fail("a step", rc, NULL);
        }
        ps_request_free(*r);
        *r = NULL;
    }
}

static void settle_all(struct worker *w)
{
    for (size_t i = 0; i < FLIGHT; i++) {
        settle(w, &w->flights[i]);
    }
}

/* Whether there was something to take note of. */
static int go_back(struct worker *w)
{
    char position[64] = "";
    size_t size = sizeof(position) - 1;
    struct ps_error e = {0};
    uint64_t worker = w->number;
    int rc;

    settle_all(w);
    rc = ps_rollback(w->client, position, &size, &w->cut, PROBE_SETTLE_MS, &e);
    if (rc == PS_ENOTFOUND && !w->goes_back) {
        return 0;
    }
    if (rc != PS_OK) {
        probe_fail("rollback", rc, e.text);
    }
    w->steps = 0;
    if (size > 0 &&
        (sscanf(position, "%" SCNu64 " %" SCNu64, &worker, &w->steps) != 2 ||
         worker != w->number)) {
        probe_fail("a position", PS_EDATALOSS, position);
    }
    w->goes_back = 0;
    w->rollbacks++;
    return 1;
}

/* Pushes rows [first, n) of the present step. */
static void push(struct worker *w, size_t first, size_t n)
{
    ps_request **r = &w->flights[w->steps % FLIGHT];
    uint64_t keys[OWN + 1];
    float values[(OWN + 1) * DIM];
    struct ps_op op = {.variable = w->variable,
                       .kind = PS_PUSH,
                       .keys = keys + first,
                       .n_keys = n - first,
                       .values = values + first * DIM};
    int rc;

    for (uint64_t j = 0; j < OWN; j++) {
        keys[j] = w->number * w->keys + (OWN * w->steps + j) % w->keys;
        values[j * DIM] = 1;
        values[j * DIM + 1] = (float)(w->steps % 8 + 1);
    }
    keys[OWN] = SHARED + w->number % 2;
    values[OWN * DIM] = 1;
    values[OWN * DIM + 1] = (float)(w->number + 1);
    settle(w, r);
    rc = ps_submit(w->client, &op, 1, r);
    w->goes_back |= rc == PS_EROLLEDBACK;
    probe_need("submit", rc == PS_EROLLEDBACK ? PS_OK : rc);
}

static void end_step(struct worker *w)
{
    char position[64];
    int n;

    if (w->goes_back) {
        return;
    }
    w->steps++;
    n = snprintf(position, sizeof(position), "%" PRIu64 " %" PRIu64, w->number,
                 w->steps);
    if (w->says_where) {
        probe_need("step", ps_step(w->client, position, (size_t)n));
    }
}

static void report(const struct worker *w)
{
    struct ps_client_counters c;

    ps_client_counters(w->client, &c);
    printf("{\"steps\":%" PRIu64 ",\"session\":%" PRIu64 ",\"losses\":%" PRIu64
           ",\"acked\":%" PRIu64 ",\"rollbacks\":%" PRIu64 ",\"cut\":%" PRIu64
           "}\n",
           w->steps, c.session, c.losses, c.pushes_acked, w->rollbacks, w->cut);
    fflush(stdout);
}

static void tell_restored(ps_client *client)
{
    char position[64] = "";
    size_t size = sizeof(position) - 1;
    uint64_t cut = 0;
    int rc = ps_restored(client, position, &size, &cut, PROBE_SETTLE_MS, NULL);

    printf("{\"status\":\"%s\",\"position\":", ps_status_name(rc));
    probe_text(position);
    printf(",\"cut\":%" PRIu64 "}\n", cut);
    fflush(stdout);
}

int probe_restored(int argc, char **argv)
{
    ps_client *client;

    if (argc != 1) {
        probe_fail("restored WORKER", PS_EARGUMENT, NULL);
    }
    client = probe_open((int)probe_number(argv[0]), NULL, NULL);
    tell_restored(client);
    return ps_close(client, PROBE_SETTLE_MS) == PS_OK ? 0 : 1;
}

/* Stands until it may go on; -1: the end. */
static int stand(struct worker *w, int is_stalled)
{
    char line[64];
    int order;

    settle_all(w);
    if (is_stalled) {
        push(w, 0, 1);
        settle_all(w);
    }
    report(w);
    do {
        order = probe_line(line, sizeof(line), -1);
        if (order > 0 && strcmp(line, "look") == 0) {
            (void)go_back(w);
            report(w);
        }
    } while (order > 0 && strcmp(line, "go") != 0);
    if (is_stalled) {
        push(w, 1, OWN + 1);
        end_step(w);
    }
    if (order > 0) {
        report(w);
    }
    return order;
}

static int obey(struct worker *w, const char *line)
{
    struct ps_error e = {0};

    if (strcmp(line, "pause") == 0) {
        return stand(w, 0);
    }
    if (strcmp(line, "stall") == 0) {
        return stand(w, 1);
    }
    if (strcmp(line, "restored") == 0) {
        tell_restored(w->client);
        return 1;
    }
    if (strncmp(line, "save ", 5) == 0) {
        ps_request_free(w->save);
        probe_need("save", ps_save(w->client, line + 5, &w->save, &e));
    }
    report(w);
    return 1;
}

int probe_train(int argc, char **argv)
{
    struct worker w = {0};
    char line[64];
    int order = 1;
    int rc;

    if (argc != 3) {
        probe_fail("train WORKER KEYS step|blind", PS_EARGUMENT, NULL);
    }
    w.number = probe_number(argv[0]);
    w.keys = probe_number(argv[1]);
    w.says_where = strcmp(argv[2], "step") == 0;
    w.client = probe_open((int)w.number, NULL, NULL);
    w.variable = probe_declare(w.client, "train", PS_HASH64, 0, DIM);
    probe_ready();
    while (order >= 0) {
        push(&w, 0, OWN + 1);
        end_step(&w);
        if (w.goes_back) {
            (void)go_back(&w);
        }
        order = probe_line(line, sizeof(line), 0);
        if (order > 0) {
            order = obey(&w, line);
        }
    }
    settle_all(&w);
    if (w.goes_back) {
        (void)go_back(&w);
    }
    if (w.save != NULL) {
        snprintf(w.saved, sizeof(w.saved), "%s",
                 ps_status_name(ps_wait(w.save, PROBE_SETTLE_MS)));
        ps_request_free(w.save);
        printf("{\"saved\":\"%s\"}\n", w.saved);
    }
    report(&w);
    rc = ps_close(w.client, PROBE_SETTLE_MS);
    return rc == PS_OK ? 0 : 1;
}

int probe_fill(int argc, char **argv)
{
    ps_client *client = probe_open(-1, NULL, NULL);
    ps_variable *v;
    uint64_t rows, dim;
    uint64_t *keys;
    float *values;

    if (argc != 3) {
        probe_fail("fill NAME ROWS DIM", PS_EARGUMENT, NULL);
    }
    rows = probe_number(argv[1]);
    dim = probe_number(argv[2]);
    v = probe_declare(client, argv[0], PS_HASH64, rows, (uint32_t)dim);
    keys = probe_array(CHUNK, sizeof(*keys));
    values = probe_array(CHUNK * dim, sizeof(*values));
    for (uint64_t at = 0; at < rows; at += CHUNK) {
        uint64_t n = rows - at < CHUNK ? rows - at : CHUNK;

        for (uint64_t i = 0; i < n; i++) {
            keys[i] = at + i;
            for (uint64_t d = 0; d < dim; d++) {
                values[i * dim + d] = (float)((at + i) % 1000 + d);
            }
        }
        probe_need("push", ps_push(v, keys, n, values, PROBE_SETTLE_MS));
    }
    free(keys);
    free(values);
    printf("{\"rows\":%" PRIu64 "}\n", rows);
    return ps_close(client, PROBE_SETTLE_MS) == PS_OK ? 0 : 1;
}
