#include "meeting.h"

#include "clockwork.h"
#include "trouble.h"

#define POLL_MS 50

int meeting_wait(struct store *store, int n, int epochs, int timeout_ms,
                 struct ps_error *e)
{
    float done[STORE_WORKERS_MAX];
    float seen[STORE_WORKERS_MAX] = {0};
    double before = -1.0;
    double deadline = 0.0;

    for (;;) {
        double now = clockwork_now();
        double sum = 0.0;
        int missing = -1;
        int rc = store->finished(store, done, e);

        if (rc != PS_OK) {
            return rc;
        }
        for (int i = 0; i < n; i++) {
            /* Who has said so and left cannot say it again when a server that
             * had it without a log has died. */
            done[i] = done[i] > seen[i] ? done[i] : seen[i];
            seen[i] = done[i];
            sum += (double)done[i];
            if (done[i] < (float)epochs && missing < 0) {
                missing = i;
            }
        }
        if (missing < 0) {
            return PS_OK;
        }
        if (sum > before) {
            before = sum;
            deadline = now + timeout_ms / 1000.0;
        }
        if (now > deadline) {
            return trouble_set(e, PS_ETIMEOUT,
                               "worker %d has finished %.0f of %d epochs, and "
                               "no worker another one for %d s",
                               missing, (double)done[missing], epochs,
                               timeout_ms / 1000);
        }
        clockwork_sleep_ms(POLL_MS);
    }
}
