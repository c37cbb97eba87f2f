/* meeting.h - waits until every worker has finished its epochs.
 *
 * The last evaluation must see every gradient of every worker, and workers
 * know nothing of each other but what is on the servers: how many epochs
 * each has finished. Worker 0 reads that until all are there.
 */
#ifndef MEETING_H
#define MEETING_H

#include "store.h"

/* Waits until workers 0..n-1 have each finished the given number of epochs.
 * The deadline is for the next epoch that anybody finishes, so that it need
 * not know how long training takes. PS_ETIMEOUT names who is missing. */
int meeting_wait(struct store *store, int n, int epochs, int timeout_ms,
                 struct ps_error *e);

#endif
