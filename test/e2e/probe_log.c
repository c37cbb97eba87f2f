/* probe_log.c - how many pushes a second are acknowledged, for comparing the
 * durabilities: frames of about 16 KiB (224 rows of 16 floats and their keys),
 * a number of them under way. */
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 224, DIM = 16, DEPTH_MAX = 256, ALL_ROWS = 65536 };

/* rate DEPTH SECONDS: prints pushes and seconds. */
int probe_rate(int argc, char **argv)
{
    ps_client *client = probe_open(-1, NULL, NULL);
    ps_variable *variable = probe_declare(client, "rate", PS_HASH64, 0, DIM);
    ps_request *requests[DEPTH_MAX] = {NULL};
    uint64_t keys[ROWS];
    float *values = probe_array((size_t)ROWS * DIM, sizeof(*values));
    uint64_t random = 1;
    uint64_t n = 0;
    size_t depth;
    double begin, end;

    if (argc != 2 || (depth = probe_number(argv[0])) > DEPTH_MAX ||
        depth == 0) {
        probe_fail("rate DEPTH SECONDS", PS_EARGUMENT, NULL);
    }
    begin = probe_now();
    end = begin + (double)probe_number(argv[1]);
    for (size_t i = 0; probe_now() < end; i = (i + 1) % depth) {
        struct ps_op op = {.variable = variable,
                           .kind = PS_PUSH,
                           .keys = keys,
                           .n_keys = ROWS,
                           .values = values};

        if (requests[i] != NULL) {
            probe_need("wait", ps_wait(requests[i], PROBE_SETTLE_MS));
            ps_request_free(requests[i]);
            n++;
        }
        for (size_t k = 0; k < ROWS; k++) {
            keys[k] = probe_random(&random) % ALL_ROWS;
        }
        probe_need("submit", ps_submit(client, &op, 1, &requests[i]));
    }
    end = probe_now();
    for (size_t i = 0; i < depth; i++) {
        if (requests[i] != NULL) {
            probe_need("wait", ps_wait(requests[i], PROBE_SETTLE_MS));
            ps_request_free(requests[i]);
        }
    }
    free(values);
    printf("{\"pushes\":%llu,\"seconds\":%.3f}\n", (unsigned long long)n,
           end - begin);
    return ps_close(client, PROBE_SETTLE_MS) == PS_OK ? 0 : 1;
}
