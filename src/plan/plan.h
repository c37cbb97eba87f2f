/* plan.h - which lane holds which part: the plan record, indexed.
 *
 * A plan is made from the bytes of the store's `plan` record and never changed
 * afterwards. Client, shard and scheduler share this code, so they cannot
 * disagree about who holds a key. Pure: no clock, no I/O.
 */
#ifndef PLAN_H
#define PLAN_H

#include "base/arena.h"
#include "base/err.h"
#include "wire/wire.h"

struct plan_name {
    const char *name;
    const struct wire_variable *variable;
};

/* A lane is one of the two. */
struct plan_holder {
    uint64_t lane;
    const struct wire_lane *live;
    const struct wire_ended *ended;
};

struct plan {
    struct wire_plan w; /* variables by rising id, parts by (variable, begin) */
    struct arena arena;
    uint8_t *bytes;              /* our copy of the record */
    uint32_t *first_part;        /* of variable i; n_variables + 1 entries */
    struct plan_name *by_name;   /* n_variables, sorted */
    struct plan_holder *by_lane; /* n_holders, sorted */
    size_t n_holders;
};

/* Checks what the record says: ids rising, parts of a variable covering
 * 0..65,536 without overlap, every part's lane a live or an ended one, names
 * unique, lanes too; and a variable's kind, dim, name and number of parameters
 * within their limits. PS_EPROTOCOL, PS_ENOMEM. */
int plan_new(struct plan **plan, const void *record, size_t size) MUST_USE;
void plan_free(struct plan *p);

/* NULL where there is none. */
const struct wire_variable *plan_variable(const struct plan *p, uint32_t id);
const struct wire_variable *plan_variable_named(const struct plan *p,
                                                const char *name);
/* The parts of a variable, by rising begin; *n is 0 where there is none. */
const struct wire_part *plan_parts(const struct plan *p, uint32_t variable,
                                   uint32_t *n);
/* The part that holds a bucket; NULL for an unknown variable. */
const struct wire_part *plan_part(const struct plan *p, uint32_t variable,
                                  uint32_t bucket);
const struct wire_lane *plan_lane(const struct plan *p, uint64_t lane);
const struct wire_ended *plan_ended(const struct plan *p, uint64_t lane);

/* Where a part's rows come from; NULL: they begin with initial values. */
const struct wire_load *plan_load(const struct plan *p,
                                  const struct wire_part *part);

/* Rows [*row_begin, *row_end) of a dense variable of `rows` rows that lie in
 * buckets [begin, end): a bucket has ceil(rows / 65,536) rows. */
void plan_dense_rows(uint64_t rows, uint32_t begin, uint32_t end,
                     uint64_t *row_begin, uint64_t *row_end);

#endif
