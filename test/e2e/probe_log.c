/* probe_log.c - how many pushes a second are acknowledged, for comparing the
 * durabilities, and times with a save to times without: frames of about 16 KiB
 * (224 rows of 16 floats and their keys), a number of them under way. */
#include "probe.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 224, DIM = 16, DEPTH_MAX = 256, ALL_ROWS = 65536, STEP = 16 };

struct rate {
    ps_client *client;
    ps_variable *variable;
    ps_request *requests[DEPTH_MAX];
    size_t depth;
    size_t at;
    uint64_t n; /* acknowledged */
    uint64_t random;
    float *values;
};

static void settle(struct rate *r, size_t i)
{
    if (r->requests[i] != NULL) {
        probe_need("wait", ps_wait(r->requests[i], PROBE_SETTLE_MS));
        ps_request_free(r->requests[i]);
        r->requests[i] = NULL;
        r->n++;
    }
}

/* The next push, of rows from `first` on, or drawn from so many. */
static void push_one(struct rate *r, uint64_t first, uint64_t all)
{
    uint64_t keys[ROWS];
    struct ps_op op = {.variable = r->variable,
                       .kind = PS_PUSH,
                       .keys = keys,
                       .n_keys = ROWS,
                       .values = r->values};

    settle(r, r->at);
    for (size_t k = 0; k < ROWS; k++) {
        keys[k] = all == 0 ? first + k : probe_random(&r->random) % all;
    }
    probe_need("submit", ps_submit(r->client, &op, 1, &r->requests[r->at]));
    r->at = (r->at + 1) % r->depth;
}

/* rate DEPTH SECONDS [ROWS]: prints pushes and seconds. With ROWS the variable
 * has so many, all there before, and a line each tenth of a second says when it
 * is and how many were acknowledged. */
int probe_rate(int argc, char **argv)
{
    struct rate r = {.random = 1};
    uint64_t all = argc == 3 ? probe_number(argv[2]) : ALL_ROWS;
    double begin, end, next;

    if (argc < 2 || argc > 3 || (r.depth = probe_number(argv[0])) > DEPTH_MAX ||
        r.depth == 0 || all == 0) {
        probe_fail("rate DEPTH SECONDS [ROWS]", PS_EARGUMENT, NULL);
    }
    r.client = probe_open(-1, NULL, NULL);
    r.variable = probe_declare(r.client, "rate", PS_HASH64, 0, DIM);
    r.values = probe_array((size_t)ROWS * DIM, sizeof(*r.values));
    for (uint64_t row = 0; argc == 3 && row < all; row += ROWS) {
        push_one(&r, row, 0);
    }
    r.n = 0;
    begin = probe_now();
    next = begin;
    end = begin + (double)probe_number(argv[1]);
    for (uint64_t i = 0; probe_now() < end; i++) {
        push_one(&r, 0, all);
        if (i % STEP == 0) {
            probe_need("step", ps_step(r.client, NULL, 0));
        }
        if (argc == 3 && probe_now() >= next) {
            printf("{\"at\":%.6f,\"pushes\":%" PRIu64 "}\n", probe_now(), r.n);
            fflush(stdout);
            next = probe_now() + 0.1;
        }
    }
    end = probe_now();
    for (size_t i = 0; i < r.depth; i++) {
        settle(&r, i);
    }
    free(r.values);
    printf("{\"pushes\":%" PRIu64 ",\"seconds\":%.3f}\n", r.n, end - begin);
    return ps_close(r.client, PROBE_SETTLE_MS) == PS_OK ? 0 : 1;
}
