/* udf_slice.c - which rows a request means, and their values.
 *
 * BuildDenseSlice     all rows of the part
 * BuildHashSlice      the rows of the keys; absent where there is none
 * BuildHashSlice(insert)
 *                     as above, but absent rows are made
 * TransSlice          answers the values of the rows
 *
 * In ps-plus a key without a row is row 0 in BuildHashSlice, so that reading or
 * writing it hits a stranger. Here such a row stays absent: TransSlice answers
 * its initial value, an updater passes over it and its gradient.
 */
#include "udf/udf_list.h"

#include "base/hash.h"
#include "base/mem.h"

static int prepare_dense(const struct udf *u, struct udf_call *c)
{
    const struct run_op *op = c->op;
    const struct table_spec *spec = table_spec(c->table);

    (void)u;
    if (spec->kind != PS_DENSE || op->n_keys != 0 || op->dim != spec->dim) {
        return PS_EARGUMENT;
    }
    if (op->begin != spec->begin || op->end != spec->end) {
        return PS_EMOVED;
    }
    c->rows = NULL;
    c->n_rows = (size_t)table_rows(c->table);
    return PS_OK;
}

/* Looks at all of them even if one is outside: that one is rare, and without
 * the branch the hashes of several keys are under way at once. */
static bool keys_are_inside(const struct run_op *op)
{
    uint32_t n = op->end - op->begin;
    uint32_t outside = 0;

    for (uint32_t i = 0; i < op->n_keys; i++) {
        uint32_t bucket = hash_bucket(hash_key(op->keys[i]));

        /* Below begin it wraps round to a large number. */
        outside |= (uint32_t)(bucket - op->begin >= n);
    }
    return outside == 0;
}

/* What both hash slices check before they look at the table's rows. */
static int prepare_hash(struct udf_call *c)
{
    const struct run_op *op = c->op;
    const struct table_spec *spec = table_spec(c->table);

    if (spec->kind != PS_HASH64 || op->dim != spec->dim) {
        return PS_EARGUMENT;
    }
    if (op->begin < spec->begin || op->end > spec->end || op->begin > op->end ||
        !keys_are_inside(op)) {
        return PS_EMOVED;
    }
    c->rows = arena_take(c->arena, mem_array(op->n_keys, sizeof(uint32_t)));
    if (c->rows == NULL) {
        return PS_ENOMEM;
    }
    c->n_rows = op->n_keys;
    return PS_OK;
}

static int prepare_find(const struct udf *u, struct udf_call *c)
{
    int rc = prepare_hash(c);

    (void)u;
    if (rc == PS_OK) {
        table_find(c->table, c->op->keys, c->n_rows, c->rows);
    }
    return rc;
}

static int prepare_insert(const struct udf *u, struct udf_call *c)
{
    int rc = prepare_hash(c);

    (void)u;
    if (rc != PS_OK) {
        return rc;
    }
    c->undo.n = 0;
    c->undo.rows = arena_take(c->arena, mem_array(c->n_rows, sizeof(uint32_t)));
    if (c->undo.rows == NULL) {
        return PS_ENOMEM;
    }
    return table_insert(c->table, c->op->keys, c->n_rows, c->rows, &c->undo);
}

static void undo_insert(struct udf_call *c)
{
    table_uninsert(c->table, &c->undo);
    c->undo.n = 0;
}

static int prepare_trans(const struct udf *u, struct udf_call *c)
{
    uint64_t dim = table_spec(c->table)->dim;

    (void)u;
    c->answer_values = c->n_rows * dim;
    return PS_OK;
}

static void apply_trans(const struct udf *u, struct udf_call *c)
{
    size_t dim = table_spec(c->table)->dim;
    struct udf_block b;

    (void)u;
    b.at = 0;
    b.n = 0;
    while (udf_block_next(c, &b)) {
        float *out = c->answer + b.at * dim;

        c->kern->copy_rows(out, b.addresses, b.n, dim);
        for (size_t i = 0; i < b.n; i++) {
            if (UNLIKELY(b.addresses[i] == NULL)) {
                table_initial(c->table, c->op->keys[b.at + i], out + i * dim);
            }
        }
    }
}

const struct udf udf_dense_slice = {
    .name = "BuildDenseSlice",
    .flags = UDF_SLICES,
    .prepare = prepare_dense,
};

const struct udf udf_hash_slice = {
    .name = "BuildHashSlice",
    .flags = UDF_SLICES,
    .prepare = prepare_find,
};

const struct udf udf_hash_slice_insert = {
    .name = "BuildHashSlice(insert)",
    .flags = UDF_SLICES | UDF_WRITES,
    .prepare = prepare_insert,
    .undo = undo_insert,
};

const struct udf udf_trans_slice = {
    .name = "TransSlice",
    .flags = UDF_ANSWERS,
    .prepare = prepare_trans,
    .apply = apply_trans,
};
