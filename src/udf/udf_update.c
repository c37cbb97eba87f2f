/* udf_update.c - what a push does to rows. Formulas are those of ps-plus.
 *
 * AssignUpdater                       d = g
 * AssignAddUpdater                    d += g
 * MomentumUpdater lr, m, nesterov     d -= lr * g          (m and nesterov 0)
 * AdagradUpdater lr, initial          acc += g * g, d -= lr * g / sqrt(acc)
 *
 * Values are not judged: a gradient may hold NaN. What a request gets wrong is
 * found in prepare; apply announces the rows and runs the kernel.
 */
#include "udf/udf_list.h"

#include <float.h>
#include <math.h>

static int check_finite(double x, const char *why_not, const char **why)
{
    /* Also in float: a cast of more than that is undefined. NaN fails. */
    if (fabs(x) <= (double)FLT_MAX) {
        return PS_OK;
    }
    *why = why_not;
    return PS_EARGUMENT;
}

static int check_momentum(const double *params, const char **why)
{
    int rc = check_finite(params[0], "the learning rate is not finite", why);

    if (rc != PS_OK) {
        return rc;
    }
    /* NaN is not 0 either. */
    if (params[1] != 0 || params[2] != 0) {
        *why = "momentum and nesterov other than 0 come with the full engine";
        return PS_ENOTIMPL;
    }
    return PS_OK;
}

static int check_adagrad(const double *params, const char **why)
{
    int rc = check_finite(params[0], "the learning rate is not finite", why);

    if (rc != PS_OK) {
        return rc;
    }
    rc = check_finite(params[1], "the initial accumulator is not finite", why);
    if (rc != PS_OK) {
        return rc;
    }
    if (params[1] < 0) {
        *why = "the initial accumulator is negative";
        return PS_EARGUMENT;
    }
    return PS_OK;
}

/* What every updater asks of a request. */
static int prepare_update(const struct udf_call *c, const struct udf *u)
{
    const struct run_op *op = c->op;
    const struct table_spec *spec = table_spec(c->table);
    double full[LIMIT_PARAMS];
    const char *why;

    if (op->dim != spec->dim || spec->n_slots < u->n_slots ||
        op->n_values != (uint64_t)c->n_rows * spec->dim) {
        return PS_EARGUMENT;
    }
    return udf_params(u, op->params, op->n_params, full, &why);
}

static int prepare_assign(struct udf_call *c)
{
    return prepare_update(c, &udf_assign);
}

static int prepare_assign_add(struct udf_call *c)
{
    return prepare_update(c, &udf_assign_add);
}

static int prepare_momentum(struct udf_call *c)
{
    return prepare_update(c, &udf_momentum);
}

static int prepare_adagrad(struct udf_call *c)
{
    return prepare_update(c, &udf_adagrad);
}

/* The next block of rows, announced as about to be written. */
static bool write_next(struct udf_call *c, struct udf_block *b)
{
    if (!udf_block_next(c, b)) {
        return false;
    }
    table_write_begin(c->table, b->rows, b->n);
    return true;
}

static void apply_assign(struct udf_call *c)
{
    size_t dim = c->op->dim;
    struct udf_block b;

    b.at = 0;
    b.n = 0;
    while (write_next(c, &b)) {
        c->kern->assign(b.addresses, c->op->values + b.at * dim, b.n, dim);
    }
}

static void apply_assign_add(struct udf_call *c)
{
    size_t dim = c->op->dim;
    struct udf_block b;

    b.at = 0;
    b.n = 0;
    while (write_next(c, &b)) {
        c->kern->assign_add(b.addresses, c->op->values + b.at * dim, b.n, dim);
    }
}

static void apply_momentum(struct udf_call *c)
{
    size_t dim = c->op->dim;
    float lr = (float)c->op->params[0];
    struct udf_block b;

    b.at = 0;
    b.n = 0;
    while (write_next(c, &b)) {
        c->kern->sgd(b.addresses, c->op->values + b.at * dim, b.n, dim, lr);
    }
}

static void apply_adagrad(struct udf_call *c)
{
    size_t dim = c->op->dim;
    float lr = (float)c->op->params[0];
    struct udf_block b;

    b.at = 0;
    b.n = 0;
    while (write_next(c, &b)) {
        c->kern->adagrad(b.addresses, c->op->values + b.at * dim, b.n, dim, lr);
    }
}

const struct udf udf_assign = {
    .name = "AssignUpdater",
    .flags = UDF_WRITES,
    .prepare = prepare_assign,
    .apply = apply_assign,
};

const struct udf udf_assign_add = {
    .name = "AssignAddUpdater",
    .flags = UDF_WRITES,
    .prepare = prepare_assign_add,
    .apply = apply_assign_add,
};

const struct udf udf_momentum = {
    .name = "MomentumUpdater",
    .flags = UDF_WRITES,
    .n_params = 3,
    .n_required = 1,
    .check = check_momentum,
    .prepare = prepare_momentum,
    .apply = apply_momentum,
};

/* The slot's initial value is fixed when the variable is declared; the one in
 * a later request is checked and has no effect, as in ps-plus. */
const struct udf udf_adagrad = {
    .name = "AdagradUpdater",
    .flags = UDF_WRITES,
    .n_params = 2,
    .n_required = 2,
    .n_slots = 1,
    .slots = {{"adagrad_accumulation", 1}},
    .check = check_adagrad,
    .prepare = prepare_adagrad,
    .apply = apply_adagrad,
};
