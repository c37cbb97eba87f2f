/* table.c - the rows of one part of one variable: a key map over a row store.
 *
 *     hash    key -> [keymap] -> row number -> [rows] -> values | slots
 *     dense   row id - row_begin = row number -> [rows] -> values | slots
 *
 * An insert works in blocks: it looks a block up with prefetch, then makes what
 * is absent. The lines of the block are in the cache by then, and stay there
 * whatever the size of the batch. The budget is asked for each piece of memory
 * before it is taken; when it, or the memory, ends in the middle of a batch,
 * what the batch has made is taken back, newest first.
 */
#include "table/table.h"

#include "base/limits.h"
#include "table/keymap.h"
#include "table/rows.h"
#include "table/slab.h"

/* Keys of a block: its lines are 16 KiB. */
enum { BLOCK = 256 };

struct table {
    struct table_spec spec;
    struct rows rows;
    struct keymap map; /* not of a dense table */
};

static bool is_dense(const struct table *t)
{
    return t->spec.kind == PS_DENSE;
}

static bool spec_is_possible(const struct table_spec *s)
{
    return (s->kind == PS_DENSE || s->kind == PS_HASH64) && s->dim > 0 &&
           s->dim <= LIMIT_DIM && s->n_slots <= TABLE_SLOTS_MAX &&
           s->begin <= s->end && s->end <= LIMIT_BUCKETS &&
           s->row_begin <= s->row_end && init_check(&s->init) == NULL;
}

/* Sets a new row to its initial values. */
static void init_block(struct table *t, uint32_t row, uint64_t key)
{
    const struct table_spec *s = &t->spec;
    uint8_t *block = rows_address(&t->rows, row);
    float *values = (float *)(void *)block;
    size_t used = (size_t)s->dim * (1 + s->n_slots) * sizeof(float);

    init_row(&s->init, key, values, s->dim);
    for (uint32_t slot = 0; slot < s->n_slots; slot++) {
        values += s->dim;
        for (uint32_t i = 0; i < s->dim; i++) {
            values[i] = s->slot_init[slot];
        }
    }
    memset(block + used, 0, t->rows.stride - used);
}

static int make_dense(struct table *t)
{
    int rc = rows_take_all(&t->rows, t->spec.row_end - t->spec.row_begin);

    if (rc != PS_OK) {
        return rc;
    }
    for (uint32_t row = 0; row < t->rows.next; row++) {
        rows_write_begin(&t->rows, &row, 1);
        init_block(t, row, t->spec.row_begin + row);
    }
    return PS_OK;
}

int table_new(struct table **table, const struct table_spec *spec)
{
    size_t stride;
    struct table *t;
    void *p;
    int rc;

    ASSERT(spec->budget != NULL);
    if (!spec_is_possible(spec)) {
        return PS_EARGUMENT;
    }
    rc = slab_take(spec->budget, sizeof(*t), &p);
    if (rc != PS_OK) {
        return rc;
    }
    t = memset(p, 0, sizeof(*t));
    t->spec = *spec;
    stride = (size_t)spec->dim * (1 + spec->n_slots) * sizeof(float);
    rows_init(&t->rows, (uint32_t)((stride + 15) & ~(size_t)15), spec->budget);
    rc = is_dense(t) ? make_dense(t) : keymap_init(&t->map, spec->budget);
    if (rc != PS_OK) {
        rows_fini(&t->rows);
        slab_give(spec->budget, t, sizeof(*t));
        return rc;
    }
    *table = t;
    return PS_OK;
}

void table_free(struct table *t)
{
    if (t == NULL) {
        return;
    }
    if (!is_dense(t)) {
        keymap_fini(&t->map);
    }
    rows_fini(&t->rows);
    slab_give(t->spec.budget, t, sizeof(*t));
}

const struct table_spec *table_spec(const struct table *t)
{
    return &t->spec;
}

uint64_t table_rows(const struct table *t)
{
    return t == NULL ? 0 : t->rows.n;
}

uint64_t table_bytes(const struct table *t)
{
    uint64_t index;

    if (t == NULL) {
        return 0;
    }
    index = is_dense(t) ? 0 : keymap_bytes(&t->map);
    return sizeof(*t) + index + t->rows.bytes;
}

uint32_t table_stride(const struct table *t)
{
    return t->rows.stride;
}

void table_find(const struct table *t, const uint64_t *keys, size_t n,
                uint32_t *rows)
{
    ASSERT(!is_dense(t));
    keymap_find(&t->map, keys, n, rows);
}

/* A row for a key that has none; its block is not yet set. */
static int make_row(struct table *t, uint64_t key, uint32_t *row)
{
    int rc = rows_take(&t->rows, row);

    if (rc != PS_OK) {
        return rc;
    }
    rc = keymap_insert(&t->map, key, *row);
    if (rc != PS_OK) {
        rows_give(&t->rows, *row);
    }
    return rc;
}

/* Keys at..at + n of the batch, n <= BLOCK. */
static int insert_block(struct table *t, const uint64_t *keys, size_t at,
                        size_t n, uint32_t *rows, struct table_undo *undo)
{
    uint32_t made[BLOCK];
    size_t first = undo->n;
    size_t n_made = 0;

    keymap_find(&t->map, keys + at, n, rows + at);
    for (size_t i = at; i < at + n; i++) {
        int rc;

        if (rows[i] != TABLE_ABSENT) {
            continue;
        }
        /* Its twin may have been made since the block was looked up. */
        rows[i] = n_made > 0 ? keymap_find_one(&t->map, keys[i]) : TABLE_ABSENT;
        if (rows[i] != TABLE_ABSENT) {
            continue;
        }
        rc = make_row(t, keys[i], &rows[i]);
        if (rc != PS_OK) {
            return rc;
        }
        made[n_made] = rows[i];
        n_made++;
        undo->rows[undo->n] = (uint32_t)i;
        undo->n++;
    }
    rows_write_begin(&t->rows, made, n_made);
    for (size_t i = 0; i < n_made; i++) {
        init_block(t, made[i], keys[undo->rows[first + i]]);
    }
    return PS_OK;
}

int table_insert(struct table *t, const uint64_t *keys, size_t n,
                 uint32_t *rows, struct table_undo *undo)
{
    ASSERT(!is_dense(t) && n < UINT32_MAX);
    undo->keys = keys;
    undo->n = 0;
    for (size_t at = 0; at < n; at += BLOCK) {
        size_t some = base_min_u64(n - at, BLOCK);
        int rc = insert_block(t, keys, at, some, rows, undo);

        if (rc != PS_OK) {
            table_uninsert(t, undo);
            undo->n = 0;
            return rc;
        }
    }
    return PS_OK;
}

void table_uninsert(struct table *t, const struct table_undo *undo)
{
    for (size_t i = undo->n; i > 0; i--) {
        uint32_t row = keymap_erase(&t->map, undo->keys[undo->rows[i - 1]]);

        ASSERT(row != TABLE_ABSENT);
        rows_write_begin(&t->rows, &row, 1);
        rows_give(&t->rows, row);
    }
}

void table_write_begin(struct table *t, const uint32_t *rows, size_t n)
{
    rows_write_begin(&t->rows, rows, n);
}

uint64_t table_writes(const struct table *t)
{
    return t->rows.writes;
}

void table_address(const struct table *t, const uint32_t *rows, size_t n,
                   uint8_t **out)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = NULL;
        if (LIKELY(rows[i] != TABLE_ABSENT)) {
            DEBUG_ASSERT(rows[i] < t->rows.next);
            out[i] = rows_address(&t->rows, rows[i]);
        }
    }
}

void table_initial(const struct table *t, uint64_t key, float *out)
{
    init_row(&t->spec.init, key, out, t->spec.dim);
}

static void walk_dense(const struct table *t,
                       void (*fn)(void *context, uint64_t key,
                                  const float *values),
                       void *context)
{
    for (uint32_t row = 0; row < t->rows.next; row++) {
        const void *block = rows_address(&t->rows, row);

        fn(context, t->spec.row_begin + row, block);
    }
}

void table_walk(const struct table *t,
                void (*fn)(void *context, uint64_t key, const float *values),
                void *context)
{
    struct keymap_cursor at = {0, 0};
    uint64_t keys[BLOCK];
    uint32_t rows[BLOCK];
    uint8_t *blocks[BLOCK];
    size_t n;

    if (is_dense(t)) {
        walk_dense(t, fn, context);
        return;
    }
    while ((n = keymap_next(&t->map, &at, keys, rows, BLOCK)) > 0) {
        table_address(t, rows, n, blocks);
        for (size_t i = 0; i < n; i++) {
            PREFETCH(blocks[i]);
        }
        for (size_t i = 0; i < n; i++) {
            fn(context, keys[i], (const float *)(void *)blocks[i]);
        }
    }
}
