/* ctr - trains a click model on ps-plus.
 *
 * Where to read on: store_ps.c is the use of the library, train.c the loop,
 * model.c the arithmetic.
 */
#include <stdio.h>
#include <stdlib.h>

#include "need.h"
#include "reader.h"
#include "result.h"
#include "settings.h"
#include "store.h"
#include "train.h"

/* One write for the JSON line: workers share their stdout. */
#define STDOUT_SIZE (1 << 17)

static int load(const struct settings *s, struct train_data *data,
                struct ps_error *e)
{
    struct reader_share mine = {(uint64_t)s->worker, (uint64_t)s->workers};
    struct reader_share all = {0, 1};
    int rc = PS_OK;

    if (!s->eval_only) {
        rc = reader_load(s->train, s->csv, mine, &data->train, e);
    }
    if (rc == PS_OK && s->worker == 0 && s->valid != NULL) {
        rc = reader_load(s->valid, s->csv, all, &data->valid, e);
    }
    if (rc == PS_OK && s->worker == 0 && s->test != NULL) {
        rc = reader_load(s->test, s->csv, all, &data->test, e);
    }
    return rc;
}

static int run(const struct settings *s, struct train_data *data,
               struct train_result *result, struct ps_error *e)
{
    struct store_config config = {.scheduler = s->scheduler,
                                  .name = s->name,
                                  .tally = s->tally,
                                  .k = s->k,
                                  .lr = (float)s->lr,
                                  .sd = (float)s->sd,
                                  .seed = s->seed,
                                  .durability = s->durability,
                                  .count = s->count,
                                  .worker = s->worker,
                                  .timeout_ms = (int)s->timeout_s * 1000};
    struct store *store = NULL;
    struct store_counts counts;
    int rc = load(s, data, e);

    if (rc == PS_OK && s->plain) {
        rc = store_plain_open(&store, &config, e);
    } else if (rc == PS_OK) {
        rc = store_ps_open(&store, &config, e);
    }
    if (rc == PS_OK) {
        rc = train_run(s, store, data, result, e);
    }
    if (rc == PS_OK) {
        rc = store->counts(store, &counts, e);
    }
    if (rc == PS_OK) {
        result_end(s, result, &counts);
    }
    if (store != NULL) {
        store->free(store);
    }
    return rc;
}

int main(int argc, char **argv)
{
    struct settings s;
    struct ps_error e = {0};
    struct train_data data;
    int rc = settings_read(&s, argc, argv, &e);

    if (rc == 1) {
        return 0;
    }
    if (rc != PS_OK) {
        (void)fprintf(stderr, "ctr: %s\n", e.text);
        return 2;
    }
    if (s.json) {
        (void)setvbuf(stdout, NULL, _IOFBF, STDOUT_SIZE);
    }

    struct train_result *result = need_array(1, sizeof(*result));

    dataset_init(&data.train);
    dataset_init(&data.valid);
    dataset_init(&data.test);
    rc = run(&s, &data, result, &e);
    if (rc != PS_OK) {
        (void)fprintf(stderr, "ctr: worker %d: %s\n", s.worker, e.text);
    }
    dataset_fini(&data.train);
    dataset_fini(&data.valid);
    dataset_fini(&data.test);
    free(result);
    return rc == PS_OK ? 0 : 1;
}
