/* signum.c - a plugin: steps of one size, in the direction of a mean gradient.
 *
 * SignumUpdater lr, beta     m = m * beta + g * (1 - beta)
 *                            d = d - lr * sign(m)
 *
 * This is Signum of Bernstein, Wang, Azizzadenesheli and Anandkumar, "signSGD:
 * Compressed Optimisation for Non-Convex Problems", ICML 2018. sign(0) is 0.
 *
 *     cc -O2 -ffp-contract=off -fPIC -shared signum.c -o signum.so
 *     ps-plus local --plugin ./signum.so -- ./train
 */
#include <psplus_plugin.h>

static const char *check(const double *params)
{
    /* Written so that NaN fails. */
    if (!(params[0] >= -1e30 && params[0] <= 1e30)) {
        return "the learning rate is not finite";
    }
    if (!(params[1] >= 0 && params[1] < 1)) {
        return "beta is not in [0, 1)";
    }
    return NULL;
}

static void update(float *d, float *m, const float *g, size_t dim, float lr,
                   float beta)
{
    for (size_t i = 0; i < dim; i++) {
        m[i] = m[i] * beta + g[i] * (1.0F - beta);
        if (m[i] > 0) {
            d[i] = d[i] - lr;
        } else if (m[i] < 0) {
            d[i] = d[i] + lr;
        }
    }
}

static void apply(const struct ps_plugin_rows *r)
{
    for (size_t i = 0; i < r->n; i++) {
        if (r->rows[i] != NULL) {
            update(r->rows[i], r->rows[i] + r->dim, r->gradients + i * r->dim,
                   r->dim, (float)r->params[0], (float)r->params[1]);
        }
    }
}

static const struct ps_plugin_updater updaters[] = {
    {
        .name = "SignumUpdater",
        .n_params = 2,
        .n_required = 2,
        .n_slots = 1,
        .slots = {{"signum_mean", -1}},
        .check = check,
        .apply = apply,
    },
};

const struct ps_plugin ps_plugin = {
    .abi = PS_PLUGIN_ABI,
    .n_updaters = 1,
    .updaters = updaters,
};
