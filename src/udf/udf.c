/* udf.c - the UDFs by name. */
#include "udf/udf.h"

#include "udf/udf_list.h"

static const struct udf *const all[] = {
    &udf_dense_slice, &udf_hash_slice, &udf_hash_slice_insert,
    &udf_trans_slice, &udf_assign,     &udf_assign_add,
    &udf_momentum,    &udf_adagrad,    &udf_ftrl,
};

/* Set while there is one thread. */
static const struct udf *plugged;
static uint32_t n_plugged;

const struct udf *const *udf_all(size_t *n)
{
    *n = ARRAY_LEN(all);
    return all;
}

const struct udf *udf_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (strcmp(all[i]->name, name) == 0) {
            return all[i];
        }
    }
    for (uint32_t i = 0; i < n_plugged; i++) {
        if (strcmp(plugged[i].name, name) == 0) {
            return &plugged[i];
        }
    }
    return NULL;
}

void udf_set_plugged(const struct udf *list, uint32_t n)
{
    plugged = list;
    n_plugged = n;
}

int udf_params(const struct udf *u, const double *params, uint32_t n,
               double *full, const char **why)
{
    *why = NULL;
    if (n < u->n_required) {
        *why = "a parameter is missing";
        return PS_EARGUMENT;
    }
    for (uint32_t i = 0; i < u->n_params; i++) {
        full[i] = i < n ? params[i] : 0;
    }
    return u->check == NULL ? PS_OK : u->check(u, full, why);
}

uint32_t udf_slots(const struct udf *u, const double *params)
{
    return u->slots_used == NULL ? u->n_slots : u->slots_used(params);
}

int udf_updater(const char *name, const double *params, uint32_t n_params,
                const struct udf **udf, struct err *e)
{
    const struct udf *u = udf_find(name);
    double full[LIMIT_PARAMS];
    const char *why;
    int rc;

    if (u == NULL || (u->flags & UDF_WRITES) == 0 ||
        (u->flags & UDF_SLICES) != 0) {
        return err_set(e, PS_ENOUDF, "there is no updater named %s", name);
    }
    if (n_params > u->n_params) {
        return err_set(e, PS_EARGUMENT, "%s has %u parameters, not %u", name,
                       u->n_params, n_params);
    }
    rc = udf_params(u, params, n_params, full, &why);
    if (rc != PS_OK) {
        return err_set(e, rc, "%s: %s", name, why);
    }
    *udf = u;
    return PS_OK;
}

bool udf_block_next(const struct udf_call *c, struct udf_block *b)
{
    b->at += b->n;
    b->n = base_min_u64(c->n_rows - b->at, UDF_BLOCK);
    if (b->n == 0) {
        return false;
    }
    if (c->rows != NULL) {
        b->rows = c->rows + b->at;
    } else {
        for (size_t i = 0; i < b->n; i++) {
            b->numbers[i] = (uint32_t)(b->at + i);
        }
        b->rows = b->numbers;
    }
    table_address(c->table, b->rows, b->n, b->addresses);
    return true;
}

bool udf_write_next(struct udf_call *c, struct udf_block *b)
{
    if (!udf_block_next(c, b)) {
        return false;
    }
    table_write_begin(c->table, c->rows == NULL ? NULL : c->op->keys + b->at,
                      b->rows, b->n);
    return true;
}
