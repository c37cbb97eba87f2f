/* batch.h - the rows of one step, the different keys in them, the parameters
 * that were pulled for those keys and the gradients to push.
 *
 * The same key stands in many rows of a batch, so keys are numbered: feature i
 * of the batch is key slots[i], and parameters and gradients lie by that
 * number. All of it is thrown away with the next batch: a worker keeps no
 * parameters.
 */
#ifndef BATCH_H
#define BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "dataset.h"

/* More factors than any published click model uses; bounds a stack buffer. */
#define BATCH_FACTORS_MAX 256

struct batch {
    size_t k; /* factors of a key, 0 for logistic regression */
    size_t rows_max;
    size_t features_max;

    size_t n_rows;
    size_t n_features;
    size_t n_keys;
    size_t *starts;        /* [n_rows + 1] features of each row */
    unsigned char *labels; /* [n_rows] */
    uint32_t *slots;       /* [n_features] which key */
    float *values;         /* [n_features] */
    uint64_t *keys;        /* [n_keys] all different */

    float bias;
    float *weights; /* [n_keys] */
    float *factors; /* [n_keys, k] */

    float bias_grad; /* gradients are sums over the rows, not means */
    float *weight_grads;
    float *factor_grads;

    uint32_t *index; /* [index_mask + 1] key number + 1, 0 is empty */
    size_t index_mask;
};

/* For batches of up to rows_max rows of up to widest features. */
void batch_init(struct batch *b, size_t rows_max, size_t widest, size_t k);
void batch_fini(struct batch *b);

/* Takes the n rows whose numbers are given out of d. */
void batch_fill(struct batch *b, const struct dataset *d, const uint32_t *rows,
                size_t n);

#endif
