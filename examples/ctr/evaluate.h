/* evaluate.h - scores rows that were held out, with the parameters as they are
 * on the servers at that moment. */
#ifndef EVALUATE_H
#define EVALUATE_H

#include "dataset.h"
#include "store.h"

struct quality {
    double auc;      /* NAN where it is not defined */
    double log_loss; /* mean over the rows */
};

int evaluate_rows(struct store *store, const struct dataset *d, size_t k,
                  struct quality *q, struct ps_error *e);

#endif
