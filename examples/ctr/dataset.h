/* dataset.h - the rows of a click log in memory: labels and hashed features.
 *
 * Features of all rows lie one after the other; row r has those from starts[r]
 * to starts[r + 1]. A reader adds the features of a row, then ends the row.
 */
#ifndef DATASET_H
#define DATASET_H

#include <stddef.h>
#include <stdint.h>

struct dataset {
    size_t n_rows;
    size_t n_features;
    uint64_t *keys;        /* [n_features] */
    float *values;         /* [n_features] */
    size_t *starts;        /* [n_rows + 1] */
    unsigned char *labels; /* [n_rows] 1 clicked, 0 not */
    size_t keys_room;
    size_t values_room;
    size_t starts_room;
    size_t labels_room;
};

/* A batch counts rows in 32 bits. */
#define DATASET_ROWS_MAX UINT32_MAX

void dataset_init(struct dataset *d);
void dataset_fini(struct dataset *d);

void dataset_add_feature(struct dataset *d, uint64_t key, float value);
void dataset_end_row(struct dataset *d, int label);

/* The most features that any row has. */
size_t dataset_widest(const struct dataset *d);

#endif
