/* train.h - the training loop of one worker.
 *
 * A worker goes through its share of the rows in an order of its own for each
 * epoch, drawn from (seed, worker, epoch), batch by batch: pull, gradient,
 * push. Workers do not wait for each other until the end. Worker 0 evaluates
 * after each of its epochs, while the others may be behind or ahead; only the
 * last evaluation waits for them all.
 *
 * An epoch that a worker was killed in is done again from its start: the
 * parameters are on the servers, and a share of the rows seen one time more is
 * what asynchronous training bears well.
 */
#ifndef TRAIN_H
#define TRAIN_H

#include "dataset.h"
#include "evaluate.h"
#include "settings.h"
#include "store.h"

struct train_result {
    int first_epoch;
    int n_epochs;   /* that were trained by this life of the worker */
    uint64_t rows;  /* of this worker's share */
    double loss;    /* mean of the last epoch's training rows */
    double seconds; /* training and evaluation, without reading files */
    int has_valid;
    int has_test;
    struct quality valid; /* after the last epoch of all workers */
    struct quality test;
    struct quality curve[SETTINGS_EPOCHS_MAX]; /* by epoch, worker 0 only */
};

struct train_data {
    struct dataset train; /* this worker's share */
    struct dataset valid; /* worker 0 only, as test */
    struct dataset test;
};

int train_run(const struct settings *s, struct store *store,
              const struct train_data *data, struct train_result *result,
              struct ps_error *e);

#endif
