#include "batch.h"

#include <stdlib.h>
#include <string.h>

#include "dice.h"
#include "need.h"

void batch_init(struct batch *b, size_t rows_max, size_t widest, size_t k)
{
    size_t n = rows_max * widest;
    size_t index_size = 16;

    while (index_size < n * 2) {
        index_size *= 2;
    }
    memset(b, 0, sizeof(*b));
    b->k = k;
    b->rows_max = rows_max;
    b->features_max = n;
    b->starts = need_array(rows_max + 1, sizeof(*b->starts));
    b->labels = need_array(rows_max, sizeof(*b->labels));
    b->slots = need_array(n, sizeof(*b->slots));
    b->values = need_array(n, sizeof(*b->values));
    b->keys = need_array(n, sizeof(*b->keys));
    b->weights = need_array(n, sizeof(*b->weights));
    b->weight_grads = need_array(n, sizeof(*b->weight_grads));
    b->factors = need_array(n, k * sizeof(*b->factors));
    b->factor_grads = need_array(n, k * sizeof(*b->factor_grads));
    b->index = need_array(index_size, sizeof(*b->index));
    b->index_mask = index_size - 1;
}

void batch_fini(struct batch *b)
{
    free(b->starts);
    free(b->labels);
    free(b->slots);
    free(b->values);
    free(b->keys);
    free(b->weights);
    free(b->weight_grads);
    free(b->factors);
    free(b->factor_grads);
    free(b->index);
    memset(b, 0, sizeof(*b));
}

/* The number of a key, a new one if the batch has not had it. The index is at
 * most half full, so the search ends. */
static uint32_t number_key(struct batch *b, uint64_t key)
{
    size_t at = (size_t)dice_mix(key) & b->index_mask;

    while (b->index[at] != 0) {
        uint32_t number = b->index[at] - 1;

        if (b->keys[number] == key) {
            return number;
        }
        at = (at + 1) & b->index_mask;
    }
    b->keys[b->n_keys] = key;
    b->index[at] = (uint32_t)++b->n_keys;
    return b->index[at] - 1;
}

void batch_fill(struct batch *b, const struct dataset *d, const uint32_t *rows,
                size_t n)
{
    memset(b->index, 0, (b->index_mask + 1) * sizeof(*b->index));
    b->n_rows = n;
    b->n_features = 0;
    b->n_keys = 0;
    b->starts[0] = 0;
    for (size_t i = 0; i < n; i++) {
        size_t row = rows[i];

        for (size_t f = d->starts[row]; f < d->starts[row + 1]; f++) {
            b->slots[b->n_features] = number_key(b, d->keys[f]);
            b->values[b->n_features] = d->values[f];
            b->n_features++;
        }
        b->starts[i + 1] = b->n_features;
        b->labels[i] = d->labels[row];
    }
}
