/* psplus_plugin.h - updaters of your own, inside the servers of ps-plus.
 *
 * A plugin is a shared object that exports one constant, `ps_plugin`: a table
 * of updaters. It calls nothing of ps-plus and links to nothing of it.
 *
 *     cc -O2 -ffp-contract=off -fPIC -shared mine.c -o mine.so
 *     ps-plus -r scheduler ... --plugin ./mine.so
 *     ps-plus -r server ... --plugin ./mine.so       (each of them)
 *
 * Scheduler and servers all load the same plugins. A client needs none: it
 * names the updater in ps_declaration.updater or ps_op.updater, and its pushes
 * are applied exactly once, as those of every updater.
 *
 * A request has two phases. `check` may refuse it, and then nothing has
 * changed; `apply` cannot fail. So whatever can be wrong is found in `check`.
 *
 * Threads: a server runs a thread for each shard, which all call the plugin at
 * the same time, on rows of their own: no state but the rows. Denormal numbers
 * are flushed to zero in these threads. Where shards are to give the same bits
 * on every machine: + - * / and sqrt, and no fused multiply-add.
 *
 * This header is C99 and C++98 clean.
 */
#ifndef PSPLUS_PLUGIN_H
#define PSPLUS_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rises when one of the structs below changes; a plugin of another number is
 * refused. */
#define PS_PLUGIN_ABI 1

#define PS_PLUGIN_SLOTS_MAX 4
#define PS_PLUGIN_PARAMS_MAX 8

/* State that the updater keeps for each value of a row, such as a momentum. */
struct ps_plugin_slot {
    const char *name; /* no `>` or `/` in it; each slot's its own */
    int init_param;   /* which parameter is its initial value; -1: zero */
};

/* Rows that are to be updated. A row is its `dim` values, then its slots in the
 * order of the updater's table, `dim` floats each. */
struct ps_plugin_rows {
    float *const *rows;     /* [n]; NULL is a row that is not there: pass over
                               it and its gradient */
    const float *gradients; /* [n, dim] */
    size_t n;
    size_t dim;
    const double *params; /* all n_params; those not given are 0 */
};

struct ps_plugin_updater {
    const char *name;    /* by which clients ask for it; no `>` in it */
    uint32_t n_params;   /* at most PS_PLUGIN_PARAMS_MAX */
    uint32_t n_required; /* so many must be given; the others may be 0 */
    uint32_t n_slots;    /* at most PS_PLUGIN_SLOTS_MAX */
    struct ps_plugin_slot slots[PS_PLUGIN_SLOTS_MAX];
    /* 0, or what is wrong with these n_params parameters, in a few words that
     * stay. Called for a declaration and for each request. May be NULL. */
    const char *(*check)(const double *params);
    void (*apply)(const struct ps_plugin_rows *rows);
};

struct ps_plugin {
    uint32_t abi; /* PS_PLUGIN_ABI; first in every version */
    uint32_t n_updaters;
    const struct ps_plugin_updater *updaters;
};

/* What the shared object defines, and all of it that is looked at:
 *
 *     const struct ps_plugin ps_plugin = {PS_PLUGIN_ABI, 1, updaters};
 */
#define PS_PLUGIN_API __attribute__((visibility("default")))
PS_PLUGIN_API extern const struct ps_plugin ps_plugin;

#ifdef __cplusplus
}
#endif
#endif
