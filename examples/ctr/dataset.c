#include "dataset.h"

#include <stdlib.h>
#include <string.h>

#include "need.h"

void dataset_init(struct dataset *d)
{
    memset(d, 0, sizeof(*d));
    d->starts = need_more(NULL, 0, sizeof(*d->starts), &d->starts_room);
    d->starts[0] = 0;
}

void dataset_fini(struct dataset *d)
{
    free(d->keys);
    free(d->values);
    free(d->starts);
    free(d->labels);
    memset(d, 0, sizeof(*d));
}

void dataset_add_feature(struct dataset *d, uint64_t key, float value)
{
    size_t n = d->n_features;

    d->keys = need_more(d->keys, n, sizeof(*d->keys), &d->keys_room);
    d->values = need_more(d->values, n, sizeof(*d->values), &d->values_room);
    d->keys[n] = key;
    d->values[n] = value;
    d->n_features = n + 1;
}

void dataset_end_row(struct dataset *d, int label)
{
    size_t n = d->n_rows;

    d->labels = need_more(d->labels, n, sizeof(*d->labels), &d->labels_room);
    d->starts =
        need_more(d->starts, n + 1, sizeof(*d->starts), &d->starts_room);
    d->labels[n] = label != 0 ? 1 : 0;
    d->starts[n + 1] = d->n_features;
    d->n_rows = n + 1;
}

size_t dataset_widest(const struct dataset *d)
{
    size_t widest = 0;

    for (size_t r = 0; r < d->n_rows; r++) {
        size_t n = d->starts[r + 1] - d->starts[r];

        widest = n > widest ? n : widest;
    }
    return widest;
}
