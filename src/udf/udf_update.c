/* udf_update.c - what a push does to rows. Formulas are those of ps-plus.
 *
 * AssignUpdater                       d = g
 * AssignAddUpdater                    d += g
 * MomentumUpdater lr, m, nesterov     acc = acc * m + g, d -= acc * lr
 *                                     nesterov: d -= g * lr + acc * m * lr
 * AdagradUpdater lr, initial          acc += g * g, d -= lr * g / sqrt(acc)
 * FtrlUpdater lr, lr_power, initial, l1, l2
 *                                     see kern_generic.c
 *
 * A variable declared with m = 0 has no slot for acc: there both forms are
 * d -= lr * g, and a push with another m is refused.
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

static int check_momentum(const struct udf *u, const double *params,
                          const char **why)
{
    int rc = check_finite(params[0], "the learning rate is not finite", why);

    (void)u;
    if (rc != PS_OK) {
        return rc;
    }
    rc = check_finite(params[1], "the momentum is not finite", why);
    if (rc != PS_OK) {
        return rc;
    }
    if (params[2] != 0 && params[2] != 1) {
        *why = "nesterov is neither 0 nor 1";
        return PS_EARGUMENT;
    }
    return PS_OK;
}

static uint32_t momentum_slots(const double *params)
{
    return params[1] != 0 ? 1 : 0;
}

static int check_adagrad(const struct udf *u, const double *params,
                         const char **why)
{
    int rc = check_finite(params[0], "the learning rate is not finite", why);

    (void)u;
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

static int check_not_negative(double x, const char *why_not, const char **why)
{
    if (x >= 0 && x <= (double)FLT_MAX) {
        return PS_OK;
    }
    *why = why_not;
    return PS_EARGUMENT;
}

/* Bounds that the original does not have: beyond them the formula divides by
 * zero, or by what changes its sign with the data. */
static int check_ftrl(const struct udf *u, const double *params,
                      const char **why)
{
    int rc;

    (void)u;
    /* The kernel divides by it, so it must not be flushed. */
    if (!(params[0] >= (double)FLT_MIN && params[0] <= (double)FLT_MAX)) {
        *why = "the learning rate is not positive, or not finite";
        return PS_EARGUMENT;
    }
    rc = check_not_negative(-params[1],
                            "the power of the learning rate is "
                            "positive, or not finite",
                            why);
    if (rc != PS_OK) {
        return rc;
    }
    rc = check_not_negative(params[2],
                            "the initial accumulator is negative, or not "
                            "finite",
                            why);
    if (rc != PS_OK) {
        return rc;
    }
    rc = check_not_negative(params[3], "l1 is negative, or not finite", why);
    if (rc != PS_OK) {
        return rc;
    }
    return check_not_negative(params[4], "l2 is negative, or not finite", why);
}

/* Whether the rows were made with the first n slots of this UDF. */
static bool has_slots(const struct table_spec *spec, const struct udf *u,
                      uint32_t n)
{
    if (spec->n_slots < n) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(spec->slot_names[i], u->slots[i].name) != 0) {
            return false;
        }
    }
    return true;
}

int udf_prepare_update(const struct udf *u, struct udf_call *c)
{
    const struct run_op *op = c->op;
    const struct table_spec *spec = table_spec(c->table);
    double full[LIMIT_PARAMS];
    const char *why;
    int rc;

    if (op->dim != spec->dim ||
        op->n_values != (uint64_t)c->n_rows * spec->dim) {
        return PS_EARGUMENT;
    }
    rc = udf_params(u, op->params, op->n_params, full, &why);
    if (rc != PS_OK) {
        return rc;
    }
    return has_slots(spec, u, udf_slots(u, full)) ? PS_OK : PS_EARGUMENT;
}

static void apply_assign(const struct udf *u, struct udf_call *c)
{
    size_t dim = c->op->dim;
    struct udf_block b;

    (void)u;
    b.at = 0;
    b.n = 0;
    while (udf_write_next(c, &b)) {
        c->kern->assign(b.addresses, c->op->values + b.at * dim, b.n, dim);
    }
}

static void apply_assign_add(const struct udf *u, struct udf_call *c)
{
    size_t dim = c->op->dim;
    struct udf_block b;

    (void)u;
    b.at = 0;
    b.n = 0;
    while (udf_write_next(c, &b)) {
        c->kern->assign_add(b.addresses, c->op->values + b.at * dim, b.n, dim);
    }
}

/* Rows without the slot: m is 0, and acc would be g. */
static void apply_sgd(struct udf_call *c)
{
    size_t dim = c->op->dim;
    float lr = (float)c->op->params[0];
    struct udf_block b;

    b.at = 0;
    b.n = 0;
    while (udf_write_next(c, &b)) {
        c->kern->sgd(b.addresses, c->op->values + b.at * dim, b.n, dim, lr);
    }
}

static void apply_momentum(const struct udf *u, struct udf_call *c)
{
    const struct run_op *op = c->op;
    size_t dim = op->dim;
    float lr = (float)op->params[0];
    float m = op->n_params > 1 ? (float)op->params[1] : 0.0f;
    bool nesterov = op->n_params > 2 && op->params[2] != 0;
    struct udf_block b;

    if (!has_slots(table_spec(c->table), u, 1)) {
        apply_sgd(c);
        return;
    }
    b.at = 0;
    b.n = 0;
    while (udf_write_next(c, &b)) {
        const float *g = op->values + b.at * dim;

        if (nesterov) {
            c->kern->nesterov(b.addresses, g, b.n, dim, lr, m);
        } else {
            c->kern->momentum(b.addresses, g, b.n, dim, lr, m);
        }
    }
}

static void apply_adagrad(const struct udf *u, struct udf_call *c)
{
    size_t dim = c->op->dim;
    float lr = (float)c->op->params[0];
    struct udf_block b;

    (void)u;
    b.at = 0;
    b.n = 0;
    while (udf_write_next(c, &b)) {
        c->kern->adagrad(b.addresses, c->op->values + b.at * dim, b.n, dim, lr);
    }
}

/* Whether lr_power means the square root, by the original's measure. */
static bool is_root(double lr_power)
{
    return fabs(lr_power + 0.5) < 1e-6;
}

static void apply_ftrl(const struct udf *u, struct udf_call *c)
{
    const double *params = c->op->params;
    const struct kern_ftrl f = {
        .lr = (float)params[0],
        .power = (float)-params[1],
        .l1 = (float)params[3],
        .l2 = (float)params[4],
    };
    size_t dim = c->op->dim;
    struct udf_block b;

    (void)u;
    b.at = 0;
    b.n = 0;
    while (udf_write_next(c, &b)) {
        const float *g = c->op->values + b.at * dim;

        if (is_root(params[1])) {
            c->kern->ftrl(b.addresses, g, b.n, dim, &f);
        } else {
            c->kern->ftrl_power(b.addresses, g, b.n, dim, &f);
        }
    }
}

const struct udf udf_assign = {
    .name = "AssignUpdater",
    .flags = UDF_WRITES,
    .prepare = udf_prepare_update,
    .apply = apply_assign,
};

const struct udf udf_assign_add = {
    .name = "AssignAddUpdater",
    .flags = UDF_WRITES,
    .prepare = udf_prepare_update,
    .apply = apply_assign_add,
};

const struct udf udf_momentum = {
    .name = "MomentumUpdater",
    .flags = UDF_WRITES,
    .n_params = 3,
    .n_required = 1,
    .n_slots = 1,
    .slots = {{"accumulation", -1}},
    .slots_used = momentum_slots,
    .check = check_momentum,
    .prepare = udf_prepare_update,
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
    .prepare = udf_prepare_update,
    .apply = apply_adagrad,
};

const struct udf udf_ftrl = {
    .name = "FtrlUpdater",
    .flags = UDF_WRITES,
    .n_params = 5,
    .n_required = 5,
    .n_slots = 2,
    .slots = {{"accum", 2}, {"linear", -1}},
    .check = check_ftrl,
    .prepare = udf_prepare_update,
    .apply = apply_ftrl,
};
