/* udf.h - functions that a shard runs over rows, and chains of them.
 *
 * A UDF has two phases. prepare may refuse, and then has changed nothing:
 * it looks rows up, reserves and inserts what is absent, checks sizes and
 * parameters. apply cannot fail. undo takes back what prepare reserved, when
 * another op of the same frame was refused. A frame runs prepare for all of
 * its ops before it runs any apply.
 *
 * Names are those of ps-plus: BuildDenseSlice, BuildHashSlice,
 * BuildHashSlice(insert), TransSlice, AssignUpdater, AssignAddUpdater,
 * MomentumUpdater, AdagradUpdater, FtrlUpdater. Parameters come with each
 * request, in the order of ps-plus.
 *
 * The parameters of the declaration fix the layout of the rows: which slots
 * there are (udf_slots) and their initial values. A request whose updater needs
 * a slot that the declared one did not make is refused.
 */
#ifndef UDF_H
#define UDF_H

#include "base/arena.h"
#include "base/err.h"
#include "base/limits.h"
#include "kern/kern.h"
#include "table/table.h"
#include "wire/run.h"

struct udf;

/* One op of a frame on its way through its chain. */
struct udf_call {
    const struct run_op *op;
    struct table *table;
    const struct kern *kern;
    struct arena *arena;
    uint32_t *rows; /* set by the slice builder's prepare; dense: NULL */
    size_t n_rows;
    struct table_undo undo;
    uint64_t answer_values; /* set in prepare: what apply will answer */
    float *answer;          /* where, set before apply; NULL: a repeat of a
                               writing UDF is skipped, never called */
};

enum udf_flags {
    UDF_WRITES = 1,  /* changes rows: skipped when a frame is a repeat */
    UDF_ANSWERS = 2, /* fills call->answer */
    UDF_SLICES = 4   /* a slice builder: first of its chain */
};

struct udf_slot {
    const char *name; /* as in ps-plus: "adagrad_accumulation" */
    int init_param;   /* which parameter is its initial value; -1: zero */
};

struct udf {
    const char *name;
    uint32_t flags;
    uint32_t n_params;
    uint32_t n_required; /* params that must be given; the others may be 0 */
    uint32_t n_slots;
    struct udf_slot slots[TABLE_SLOTS_MAX];
    const void *context; /* a plugin's */
    /* How many of the slots these n_params parameters need; NULL: all. */
    uint32_t (*slots_used)(const double *params);
    /* PS_OK, or a status and what is wrong with these n_params parameters.
     * May be NULL. */
    int (*check)(const struct udf *u, const double *params, const char **why);
    int (*prepare)(const struct udf *u, struct udf_call *c);
    void (*undo)(struct udf_call *c); /* may be NULL */
    /* May be NULL. */
    void (*apply)(const struct udf *u, struct udf_call *c);
};

/* NULL where there is none of that name. */
const struct udf *udf_find(const char *name);
/* An updater by name with its parameters checked: PS_ENOUDF, PS_EARGUMENT,
 * PS_ENOTIMPL, with the reason. Parameters not given are 0 only where the UDF
 * allows it. */
int udf_updater(const char *name, const double *params, uint32_t n_params,
                const struct udf **udf, struct err *e) MUST_USE;
/* The slots that rows have with these n_params parameters: the first so many of
 * u->slots. */
uint32_t udf_slots(const struct udf *u, const double *params);
/* Those that are built in, for tests. */
const struct udf *const *udf_all(size_t *n);

#endif
