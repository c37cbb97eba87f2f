/* udf_plugin.c - a plugin's table of updaters, made into UDFs.
 *
 * The table is checked as what comes from outside is, as far as that goes with
 * something that runs in our process: a mistake in it is found at the start
 * and named, not met as a crash under load.
 */
#include "udf/udf_plugin.h"

#include <dlfcn.h>

#include "psplus_plugin.h"
#include "udf/udf_list.h"
#include "wire/wire.h"

enum {
    /* A name and "BuildHashSlice(insert)>" are a chain's definition. */
    NAME_BYTES = 128
};

_Static_assert(PS_PLUGIN_PARAMS_MAX == LIMIT_PARAMS, "params are passed on");
_Static_assert(PS_PLUGIN_SLOTS_MAX == (int)TABLE_SLOTS_MAX, "so are slots");

/* How many UDFs came, and room for them. */
static struct udf plugged[LIMIT_PLUGIN_UDFS];
static uint32_t n_plugged;

static int check(const struct udf *u, const double *params, const char **why)
{
    const struct ps_plugin_updater *p = u->context;

    *why = p->check != NULL ? p->check(params) : NULL;
    return *why == NULL ? PS_OK : PS_EARGUMENT;
}

static void apply(const struct udf *u, struct udf_call *c)
{
    const struct ps_plugin_updater *p = u->context;
    double params[LIMIT_PARAMS] = {0};
    struct udf_block b;

    for (uint32_t i = 0; i < c->op->n_params && i < u->n_params; i++) {
        params[i] = c->op->params[i];
    }
    b.at = 0;
    b.n = 0;
    while (udf_write_next(c, &b)) {
        float *rows[UDF_BLOCK];
        const struct ps_plugin_rows r = {
            .rows = rows,
            .gradients = c->op->values + b.at * c->op->dim,
            .n = b.n,
            .dim = c->op->dim,
            .params = params,
        };

        for (size_t i = 0; i < b.n; i++) {
            rows[i] = (float *)(void *)b.addresses[i];
        }
        p->apply(&r);
    }
}

static bool is_name(const char *name)
{
    return name != NULL && name[0] != '\0' && strlen(name) < NAME_BYTES &&
           strchr(name, '>') == NULL && wire_is_text(name, strlen(name));
}

/* It becomes the last part of a tensor's name in a checkpoint. */
static bool is_slot_name(const struct ps_plugin_updater *p, uint32_t slot)
{
    const char *name = p->slots[slot].name;

    if (!is_name(name) || strchr(name, '/') != NULL) {
        return false;
    }
    for (uint32_t i = 0; i < slot; i++) {
        if (strcmp(p->slots[i].name, name) == 0) {
            return false;
        }
    }
    return true;
}

static const char *wrong_in(const struct ps_plugin_updater *p)
{
    if (p->n_params > LIMIT_PARAMS || p->n_required > p->n_params) {
        return "its number of parameters is wrong";
    }
    if (p->n_slots > TABLE_SLOTS_MAX) {
        return "its number of slots is wrong";
    }
    for (uint32_t i = 0; i < p->n_slots; i++) {
        if (!is_slot_name(p, i)) {
            return "the name of a slot has to be text without > and /, and no "
                   "other slot's";
        }
        if (p->slots[i].init_param < -1 ||
            p->slots[i].init_param >= (int)p->n_params) {
            return "the initial value of a slot is wrong";
        }
    }
    return p->apply == NULL ? "its apply is missing" : NULL;
}

static int add(const struct ps_plugin_updater *p, const char *path,
               struct err *e)
{
    struct udf *u = &plugged[n_plugged];
    const char *wrong;

    if (n_plugged == LIMIT_PLUGIN_UDFS) {
        return err_set(e, PS_ELIMIT, "plugin %s: more than %d updaters", path,
                       LIMIT_PLUGIN_UDFS);
    }
    if (!is_name(p->name)) {
        return err_set(e, PS_EARGUMENT,
                       "plugin %s: the name of an updater is wrong", path);
    }
    if (udf_find(p->name) != NULL) {
        return err_set(e, PS_EEXIST, "plugin %s: there is a UDF %s already",
                       path, p->name);
    }
    wrong = wrong_in(p);
    if (wrong != NULL) {
        return err_set(e, PS_EARGUMENT, "plugin %s: %s: %s", path, p->name,
                       wrong);
    }
    *u = (struct udf){
        .name = p->name,
        .flags = UDF_WRITES,
        .n_params = p->n_params,
        .n_required = p->n_required,
        .n_slots = p->n_slots,
        .context = p,
        .check = check,
        .prepare = udf_prepare_update,
        .apply = apply,
    };
    for (uint32_t i = 0; i < p->n_slots; i++) {
        u->slots[i] =
            (struct udf_slot){p->slots[i].name, p->slots[i].init_param};
    }
    n_plugged++;
    udf_set_plugged(plugged, n_plugged);
    return PS_OK;
}

static int add_all(const struct ps_plugin *plugin, const char *path,
                   struct err *e)
{
    uint32_t before = n_plugged;

    if (plugin->abi != PS_PLUGIN_ABI) {
        return err_set(e, PS_EVERSION,
                       "plugin %s: it was made for version %u of the plugin "
                       "interface, this is version %d",
                       path, plugin->abi, PS_PLUGIN_ABI);
    }
    if (plugin->n_updaters == 0 || plugin->updaters == NULL) {
        return err_set(e, PS_EARGUMENT, "plugin %s: it has no updaters", path);
    }
    for (uint32_t i = 0; i < plugin->n_updaters; i++) {
        int rc = add(&plugin->updaters[i], path, e);

        if (rc != PS_OK) {
            n_plugged = before;
            udf_set_plugged(plugged, n_plugged);
            return rc;
        }
    }
    return PS_OK;
}

int udf_plugin_load(const char *path, struct err *e)
{
    /* All of its symbols now, so that none is missing later; local, so that two
     * plugins do not take each other's. */
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct ps_plugin *plugin;
    int rc;

    if (library == NULL) {
        return err_set(e, PS_EIO, "plugin %s", dlerror());
    }
    plugin = dlsym(library, "ps_plugin");
    if (plugin == NULL) {
        rc = err_set(e, PS_EARGUMENT,
                     "plugin %s: it is none: it has no symbol ps_plugin", path);
    } else {
        rc = add_all(plugin, path, e);
    }
    if (rc != PS_OK) {
        dlclose(library);
    }
    return rc;
}
