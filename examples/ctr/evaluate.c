#include "evaluate.h"

#include <stdlib.h>

#include "metric.h"
#include "model.h"
#include "need.h"

/* Larger than a training batch: no gradients, so only the round trips count. */
#define EVALUATE_ROWS 2048

int evaluate_rows(struct store *store, const struct dataset *d, size_t k,
                  struct quality *q, struct ps_error *e)
{
    float *scores = need_array(d->n_rows, sizeof(*scores));
    uint32_t rows[EVALUATE_ROWS];
    struct batch b;
    int rc = PS_OK;

    batch_init(&b, EVALUATE_ROWS, dataset_widest(d), k);
    for (size_t at = 0; at < d->n_rows && rc == PS_OK; at += b.n_rows) {
        size_t n = d->n_rows - at;

        n = n < EVALUATE_ROWS ? n : EVALUATE_ROWS;
        for (size_t i = 0; i < n; i++) {
            rows[i] = (uint32_t)(at + i);
        }
        batch_fill(&b, d, rows, n);
        rc = store->pull(store, &b, e);
        if (rc == PS_OK) {
            model_score(&b, scores + at);
        }
    }
    if (rc == PS_OK) {
        q->auc = metric_auc(scores, d->labels, d->n_rows);
        q->log_loss = metric_log_loss(scores, d->labels, d->n_rows);
    }
    batch_fini(&b);
    free(scores);
    return rc;
}
