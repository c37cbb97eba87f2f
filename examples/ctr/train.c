#include "train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clockwork.h"
#include "dice.h"
#include "meeting.h"
#include "model.h"
#include "need.h"
#include "progress.h"
#include "result.h"

struct training {
    const struct settings *s;
    struct store *store;
    const struct train_data *data;
    struct batch batch;
    struct progress progress;
    uint32_t *order; /* [rows] the shuffled rows of an epoch */
    uint64_t steps;  /* of this life */
};

static void shuffle(struct training *t, int epoch)
{
    size_t n = t->data->train.n_rows;
    struct dice d = {
        dice_mix3(t->s->seed, (uint64_t)t->s->worker, (uint64_t)epoch)};

    for (size_t i = 0; i < n; i++) {
        t->order[i] = (uint32_t)i;
    }
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)dice_below(&d, i);
        uint32_t row = t->order[i - 1];

        t->order[i - 1] = t->order[j];
        t->order[j] = row;
    }
}

static int step(struct training *t, const uint32_t *rows, size_t n,
                double *loss, struct ps_error *e)
{
    batch_fill(&t->batch, &t->data->train, rows, n);

    int rc = t->store->pull(t->store, &t->batch, e);

    if (rc == PS_OK) {
        *loss += model_gradient(&t->batch, (float)t->s->l2);
        rc = t->store->push(t->store, &t->batch, e);
    }
    return rc;
}

/* Everything pushed so far belongs to this row of this epoch: who goes on from
 * a checkpoint shuffles the same and begins there. */
static int say_where(struct training *t, int epoch, size_t row,
                     struct ps_error *e)
{
    const struct settings *s = t->s;
    char position[512];

    (void)snprintf(position, sizeof(position),
                   "epoch %d row %zu of %zu, seed %llu, %s", epoch, row,
                   t->data->train.n_rows, (unsigned long long)s->seed,
                   s->train != NULL ? s->train : "");
    return t->store->step(t->store, position, e);
}

static int save_now_and_then(struct training *t, struct ps_error *e)
{
    const struct settings *s = t->s;
    int is_due;

    t->steps++;
    is_due =
        s->worker == 0 && s->save_every != 0 && t->steps % s->save_every == 0;
    return is_due
               ? t->store->save(t->store, s->save != NULL ? s->save : "", 0, e)
               : PS_OK;
}

static int run_epoch(struct training *t, int epoch, double *loss,
                     struct ps_error *e)
{
    size_t rows = t->data->train.n_rows;
    double sum = 0.0;

    shuffle(t, epoch);
    for (size_t at = 0; at < rows; at += t->batch.n_rows) {
        size_t n = rows - at < t->s->batch ? rows - at : (size_t)t->s->batch;
        int rc = step(t, t->order + at, n, &sum, e);

        if (rc == PS_OK) {
            rc = say_where(t, epoch, at + n, e);
        }
        if (rc == PS_OK) {
            rc = save_now_and_then(t, e);
        }
        if (rc != PS_OK) {
            return rc;
        }
        progress_step(&t->progress, epoch, n, sum / (double)(at + n));
    }
    *loss = rows == 0 ? (double)NAN : sum / (double)rows;

    int rc = t->store->finish_epoch(t->store, epoch + 1, e);

    return rc == PS_OK ? say_where(t, epoch + 1, 0, e) : rc;
}

static int first_epoch(const struct settings *s, struct store *store,
                       int *epoch, struct ps_error *e)
{
    float done[STORE_WORKERS_MAX];
    int rc = PS_OK;

    *epoch = (int)s->start_epoch;
    if (s->eval_only) {
        *epoch = (int)s->epochs;
    } else if (s->start_epoch == SETTINGS_START_STORED) {
        rc = store->finished(store, done, e);
        if (rc == PS_OK) {
            *epoch = (int)done[s->worker];
        }
    }
    return rc;
}

static int evaluate_epoch(struct training *t, int epoch,
                          struct train_result *result, struct ps_error *e)
{
    const struct train_data *data = t->data;
    const struct dataset *held_out =
        data->valid.n_rows != 0 ? &data->valid : &data->test;
    struct quality *q = &result->curve[epoch];

    if (t->s->worker != 0) {
        return PS_OK;
    }

    int rc = evaluate_rows(t->store, held_out, t->s->k, q, e);

    if (rc == PS_OK) {
        progress_clear(&t->progress);
        result_epoch(t->s, epoch, result->loss, q);
    }
    return rc;
}

/* When all workers are done. Only worker 0 has rows to evaluate on. */
static int evaluate_end(struct training *t, struct train_result *result,
                        struct ps_error *e)
{
    const struct settings *s = t->s;
    const struct train_data *data = t->data;
    int rc = PS_OK;

    if (s->worker != 0) {
        return PS_OK;
    }
    if (!s->eval_only) {
        rc = meeting_wait(t->store, s->workers, (int)s->epochs,
                          (int)s->meet_s * 1000, e);
    }
    if (rc == PS_OK && data->valid.n_rows != 0) {
        result->has_valid = 1;
        rc = evaluate_rows(t->store, &data->valid, s->k, &result->valid, e);
    }
    if (rc == PS_OK && data->test.n_rows != 0) {
        result->has_test = 1;
        rc = evaluate_rows(t->store, &data->test, s->k, &result->test, e);
    }
    return rc;
}

int train_run(const struct settings *s, struct store *store,
              const struct train_data *data, struct train_result *result,
              struct ps_error *e)
{
    struct training t = {.s = s, .store = store, .data = data};
    size_t rows = data->train.n_rows;
    double started = clockwork_now();
    int speaks = s->worker == 0 && !s->quiet;

    memset(result, 0, sizeof(*result));
    result->rows = rows;
    result->loss = (double)NAN;

    int rc = first_epoch(s, store, &result->first_epoch, e);

    if (rc != PS_OK) {
        return rc;
    }
    t.order = need_array(rows, sizeof(*t.order));
    batch_init(&t.batch, s->batch, dataset_widest(&data->train), s->k);
    progress_init(&t.progress, speaks ? stderr : NULL, isatty(STDERR_FILENO),
                  rows, result->first_epoch, (int)s->epochs);
    for (int i = result->first_epoch; i < (int)s->epochs && rc == PS_OK; i++) {
        rc = run_epoch(&t, i, &result->loss, e);
        if (rc == PS_OK) {
            result->n_epochs++;
            rc = evaluate_epoch(&t, i, result, e);
        }
    }
    progress_clear(&t.progress);
    if (rc == PS_OK) {
        rc = evaluate_end(&t, result, e);
    }
    if (rc == PS_OK && s->worker == 0 && s->save != NULL) {
        rc = store->save(store, s->save, 1, e);
    }
    result->seconds = clockwork_now() - started;
    batch_fini(&t.batch);
    free(t.order);
    return rc;
}
