/* table_load.c - rows with a content that is given, from a checkpoint. */
#include "table/table_impl.h"

/* Dense rows that are announced together. */
enum { BLOCK = 256 };

/* Row i of the arrays into a block. */
static void set_block(struct table *t, uint32_t row, size_t i,
                      const float *values, const float *const *slots)
{
    uint8_t *block = rows_address(&t->rows, row);
    size_t dim = t->spec.dim;
    size_t bytes = dim * sizeof(float);
    size_t used = bytes * (1 + t->spec.n_slots);

    memcpy(block, values + i * dim, bytes);
    for (uint32_t slot = 0; slot < t->spec.n_slots; slot++) {
        memcpy(block + (1 + slot) * bytes, slots[slot] + i * dim, bytes);
    }
    memset(block + used, 0, t->rows.stride - used);
}

void table_expect(struct table *t, uint64_t n)
{
    ASSERT(!table_is_dense(t));
    keymap_expect(&t->map, n);
}

int table_load(struct table *t, const uint64_t *keys, size_t n,
               const float *values, const float *const *slots)
{
    uint32_t rows[TABLE_LOAD_KEYS], places[TABLE_LOAD_KEYS];
    struct table_undo undo = {.rows = places};
    int rc;

    ASSERT(!table_is_dense(t) && n <= TABLE_LOAD_KEYS);
    rc = table_make_rows(t, keys, n, rows, &undo);
    if (rc != PS_OK) {
        return rc;
    }
    table_write_begin(t, keys, rows, n);
    for (size_t i = 0; i < n; i++) {
        set_block(t, rows[i], i, values, slots);
    }
    return PS_OK;
}

int table_load_range(struct table *t, uint64_t begin, size_t n,
                     const float *values, const float *const *slots)
{
    const struct table_spec *s = &t->spec;

    ASSERT(table_is_dense(t));
    if (begin < s->row_begin || begin > s->row_end || n > s->row_end - begin) {
        return PS_EARGUMENT;
    }
    for (size_t at = 0; at < n; at += BLOCK) {
        size_t some = base_min_u64(n - at, BLOCK);
        uint32_t rows[BLOCK];

        for (size_t i = 0; i < some; i++) {
            rows[i] = (uint32_t)(begin - s->row_begin + at + i);
        }
        table_write_begin(t, NULL, rows, some);
        for (size_t i = 0; i < some; i++) {
            set_block(t, rows[i], at + i, values, slots);
        }
    }
    return PS_OK;
}
