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
#include "table/slab.h"
#include "table/table_impl.h"

/* Keys of a block: its lines are 16 KiB. */
enum { BLOCK = 256 };

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

/* What table_write_begin does apart from the open snapshot. */
static void note_writes(struct table *t, const uint32_t *rows, size_t n)
{
    rows_write_begin(&t->rows, rows, n);
    if (!t->spec.tracks_changes) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (LIKELY(rows[i] != TABLE_ABSENT)) {
            marks_set(&t->changed, rows[i]);
        }
    }
}

static int make_dense(struct table *t)
{
    int rc = rows_take_all(&t->rows, t->spec.row_end - t->spec.row_begin);

    if (rc == PS_OK && t->spec.tracks_changes) {
        rc = marks_reserve(&t->changed, t->rows.next);
    }
    if (rc != PS_OK) {
        return rc;
    }
    for (uint32_t row = 0; row < t->rows.next; row++) {
        note_writes(t, &row, 1);
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
    marks_init(&t->changed, spec->budget);
    erased_init(&t->erased, spec->budget);
    rc = table_is_dense(t) ? make_dense(t) : keymap_init(&t->map, spec->budget);
    if (rc != PS_OK) {
        marks_fini(&t->changed);
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
    while (snapshot_tidy(t, SIZE_MAX / 2)) {
    }
    ASSERT(t->snapshot == NULL);
    if (!table_is_dense(t)) {
        keymap_fini(&t->map);
    }
    marks_fini(&t->changed);
    erased_fini(&t->erased);
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
    index = table_is_dense(t) ? 0 : keymap_bytes(&t->map);
    return sizeof(*t) + index + t->rows.bytes + t->changed.bytes +
           t->erased.bytes + snapshot_bytes(t->snapshot);
}

uint32_t table_stride(const struct table *t)
{
    return t->rows.stride;
}

void table_find(const struct table *t, const uint64_t *keys, size_t n,
                uint32_t *rows)
{
    ASSERT(!table_is_dense(t));
    keymap_find(&t->map, keys, n, rows);
}

/* A row for a key that has none; its block is not yet set. */
static int make_row(struct table *t, uint64_t key, uint32_t *row)
{
    int rc = rows_take(&t->rows, row);

    if (rc != PS_OK) {
        return rc;
    }
    if (t->spec.tracks_changes) {
        rc = marks_reserve(&t->changed, (uint64_t)*row + 1);
    }
    if (rc == PS_OK) {
        rc = keymap_insert(&t->map, key, *row);
    }
    if (rc != PS_OK) {
        rows_give(&t->rows, *row);
    } else if (UNLIKELY(t->snapshot != NULL)) {
        snapshot_skip(t->snapshot, *row);
    }
    return rc;
}

/* Keys at..at + n of the batch, n <= BLOCK. */
static int make_block(struct table *t, const uint64_t *keys, size_t at,
                      size_t n, uint32_t *rows, struct table_undo *undo)
{
    size_t first = undo->n;

    keymap_find(&t->map, keys + at, n, rows + at);
    for (size_t i = at; i < at + n; i++) {
        int rc;

        if (rows[i] != TABLE_ABSENT) {
            continue;
        }
        /* Its twin may have been made since the block was looked up. */
        rows[i] =
            undo->n > first ? keymap_find_one(&t->map, keys[i]) : TABLE_ABSENT;
        if (rows[i] != TABLE_ABSENT) {
            continue;
        }
        rc = make_row(t, keys[i], &rows[i]);
        if (rc != PS_OK) {
            return rc;
        }
        undo->rows[undo->n] = (uint32_t)i;
        undo->n++;
    }
    return PS_OK;
}

/* Gives the rows made from place `first` of the undo on their content. */
static void init_made(struct table *t, const uint32_t *rows,
                      const struct table_undo *undo, size_t first)
{
    uint32_t made[BLOCK];
    size_t n = undo->n - first;

    if (n == 0) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        made[i] = rows[undo->rows[first + i]];
    }
    note_writes(t, made, n);
    for (size_t i = 0; i < n; i++) {
        init_block(t, made[i], undo->keys[undo->rows[first + i]]);
    }
}

static int make_rows(struct table *t, const uint64_t *keys, size_t n,
                     uint32_t *rows, struct table_undo *undo, bool with_content)
{
    ASSERT(!table_is_dense(t) && n < UINT32_MAX);
    undo->keys = keys;
    undo->n = 0;
    for (size_t at = 0; at < n; at += BLOCK) {
        size_t some = base_min_u64(n - at, BLOCK);
        size_t first = undo->n;
        int rc = make_block(t, keys, at, some, rows, undo);

        if (rc != PS_OK) {
            table_uninsert(t, undo);
            undo->n = 0;
            return rc;
        }
        if (with_content) {
            init_made(t, rows, undo, first);
        }
    }
    return PS_OK;
}

int table_insert(struct table *t, const uint64_t *keys, size_t n,
                 uint32_t *rows, struct table_undo *undo)
{
    return make_rows(t, keys, n, rows, undo, true);
}

int table_make_rows(struct table *t, const uint64_t *keys, size_t n,
                    uint32_t *rows, struct table_undo *undo)
{
    return make_rows(t, keys, n, rows, undo, false);
}

/* A row that the index no longer knows. */
static void give_row(struct table *t, uint32_t row)
{
    if (t->spec.tracks_changes) {
        marks_clear(&t->changed, row);
    }
    if (UNLIKELY(t->snapshot != NULL)) {
        snapshot_forget(t->snapshot, row);
    }
    rows_give(&t->rows, row);
}

void table_uninsert(struct table *t, const struct table_undo *undo)
{
    for (size_t i = undo->n; i > 0; i--) {
        uint32_t row = keymap_erase(&t->map, undo->keys[undo->rows[i - 1]]);

        ASSERT(row != TABLE_ABSENT);
        rows_write_begin(&t->rows, &row, 1);
        give_row(t, row);
    }
}

/* n <= BLOCK. A key named twice is absent the second time. */
static void erase_block(struct table *t, const uint64_t *keys, size_t n)
{
    uint64_t gone[BLOCK];
    uint32_t rows[BLOCK];
    size_t n_gone = 0;

    keymap_find(&t->map, keys, n, rows);
    for (size_t i = 0; i < n; i++) {
        uint32_t row = rows[i] == TABLE_ABSENT ? TABLE_ABSENT
                                               : keymap_erase(&t->map, keys[i]);

        if (row != TABLE_ABSENT) {
            gone[n_gone] = keys[i];
            rows[n_gone] = row;
            n_gone++;
        }
    }
    table_write_begin(t, gone, rows, n_gone);
    for (size_t i = 0; i < n_gone; i++) {
        if (t->spec.tracks_changes) {
            erased_add(&t->erased, gone[i]);
        }
        give_row(t, rows[i]);
    }
}

int table_erase(struct table *t, const uint64_t *keys, size_t n)
{
    int rc;

    ASSERT(!table_is_dense(t));
    if (t->spec.tracks_changes) {
        rc = erased_reserve(&t->erased, n);
        if (rc != PS_OK) {
            return rc;
        }
    }
    for (size_t at = 0; at < n; at += BLOCK) {
        erase_block(t, keys + at, base_min_u64(n - at, BLOCK));
    }
    return PS_OK;
}

void table_write_begin(struct table *t, const uint64_t *keys,
                       const uint32_t *rows, size_t n)
{
    note_writes(t, rows, n);
    if (UNLIKELY(t->snapshot != NULL)) {
        snapshot_save(t->snapshot, table_is_dense(t) ? NULL : keys, rows, n);
    }
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

    if (table_is_dense(t)) {
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
