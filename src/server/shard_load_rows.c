/* shard_load_rows.c - the rows of a block that was read into a part's table, a
 * step at a time, so that a shard which loads still serves its other parts. */
#include "base/hash.h"
#include "server/shard_load.h"

enum { STEP_ROWS = 512, STEP_BYTES = 128 << 10 };

uint32_t shard_loading_pieces(const struct loading *v)
{
    const struct table *t = v->shard->parts[v->part].table;

    return v->sources[v->source].values == NULL ? 1
                                                : 2 + table_spec(t)->n_slots;
}

void shard_loading_expect(const struct loading *v)
{
    const struct shard_part *p = &v->shard->parts[v->part];
    uint64_t n = 0;

    if (table_spec(p->table)->kind == PS_DENSE) {
        return;
    }
    for (uint32_t i = 0; i < v->n_sources; i++) {
        const struct ckpt_source *src = &v->sources[i];
        uint64_t begin = base_max_u64(src->part->begin, p->begin);
        uint64_t end = base_min_u64(src->part->end, p->end);

        if (src->values != NULL && begin < end) {
            n += (uint64_t)((double)src->rows * (double)(end - begin) /
                            (double)(src->part->end - src->part->begin));
        }
    }
    table_expect(p->table, n);
}

static bool is_ours(const struct shard_part *p, uint64_t key)
{
    uint32_t bucket = hash_bucket(hash_key(key));

    return bucket >= p->begin && bucket < p->end;
}

/* Rows at.. of the block, those of the part, as tensor k has them; *n says how
 * many. They are copied only where other parts' rows are between them. */
static int pick(struct loading *v, size_t at, size_t *n, uint32_t k,
                const uint8_t **rows)
{
    const struct shard_part *p = &v->shard->parts[v->part];
    const uint64_t *keys = (const uint64_t *)(const void *)v->pieces[0].data;
    size_t bytes =
        k == 0 ? sizeof(*keys) : table_spec(p->table)->dim * sizeof(float);
    size_t picked = 0;

    *rows = v->pieces[k].data + at * bytes;
    buf_clear(&v->picked[k]);
    for (size_t i = 0; i < *n; i++) {
        if (is_ours(p, keys[at + i])) {
            picked++;
        }
    }
    for (size_t i = 0; i < *n && picked < *n; i++) {
        if (is_ours(p, keys[at + i])) {
            (void)buf_append(&v->picked[k], *rows + i * bytes, bytes);
        }
    }
    if (picked < *n) {
        *rows = v->picked[k].data;
        *n = picked;
    }
    return v->picked[k].failed ? PS_ENOMEM : PS_OK;
}

static int insert_hashed(struct loading *v, size_t at, size_t n)
{
    struct table *t = v->shard->parts[v->part].table;
    const uint8_t *rows[CKPT_PIECES_MAX];
    const float *slots[TABLE_SLOTS_MAX];
    const uint64_t *keys;
    size_t n_ours = n;

    for (uint32_t k = 0; k < shard_loading_pieces(v); k++) {
        int rc;

        n_ours = n;
        rc = pick(v, at, &n_ours, k, &rows[k]);
        if (rc != PS_OK) {
            return rc;
        }
    }
    if (n_ours == 0) {
        return PS_OK;
    }
    keys = (const uint64_t *)(const void *)rows[0];
    if (v->sources[v->source].values == NULL) {
        return table_erase(t, keys, n_ours);
    }
    for (uint32_t k = 0; k < table_spec(t)->n_slots; k++) {
        slots[k] = (const float *)(const void *)rows[2 + k];
    }
    return table_load(t, keys, n_ours, (const float *)(const void *)rows[1],
                      slots);
}

/* Rows of a dense part: runs of rows that follow each other. */
static int insert_dense(struct loading *v, size_t at, size_t n)
{
    const struct ckpt_source *src = &v->sources[v->source];
    struct table *t = v->shard->parts[v->part].table;
    const struct table_spec *spec = table_spec(t);
    const uint64_t *keys = (const uint64_t *)(const void *)v->pieces[0].data;
    const float *slots[TABLE_SLOTS_MAX];
    uint64_t first_row =
        src->part->row_begin + v->block * src->part->block_rows;

    for (size_t i = at, run; i < at + n; i += run) {
        uint64_t row = src->keys != NULL ? keys[i] : first_row + i;
        const float *values =
            (const float *)(const void *)v->pieces[1].data + i * spec->dim;
        int rc;

        run = 1;
        while (i + run < at + n &&
               (src->keys == NULL || keys[i + run] == row + run)) {
            run++;
        }
        if (row < spec->row_begin || row + run > spec->row_end) {
            run = 1; /* part of the block is another's */
            if (row < spec->row_begin || row >= spec->row_end) {
                continue;
            }
        }
        for (uint32_t k = 0; k < spec->n_slots; k++) {
            slots[k] = (const float *)(const void *)v->pieces[2 + k].data +
                       i * spec->dim;
        }
        rc = table_load_range(t, row, run, values, slots);
        if (rc != PS_OK) {
            return rc;
        }
    }
    return PS_OK;
}

int shard_loading_insert(struct loading *v)
{
    struct table *t = v->shard->parts[v->part].table;
    size_t step = base_min_u64(STEP_ROWS, STEP_BYTES / table_stride(t) + 1);
    size_t n = base_min_u64(v->n - v->n_in, step);
    int rc;

    if (table_spec(t)->kind == PS_DENSE) {
        rc = insert_dense(v, v->n_in, n);
    } else {
        rc = insert_hashed(v, v->n_in, n);
    }
    if (rc == PS_OK) {
        v->n_in += n;
    }
    return rc;
}
