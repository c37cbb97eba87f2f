/* plan.c - which lane holds which part.
 *
 *     variables  [ id 2 ][ id 5 ][ id 9 ]        by id
 *     first_part    0       2       3    4
 *     parts      [2: 0..][2: ..65536][5: 0..65536][9: 0..65536]
 *
 * The record is checked once, when the plan is made; after that every look-up
 * relies on what was checked, above all that the parts of a variable leave no
 * bucket out.
 */
#include "plan/plan.h"

#include <stdlib.h>

#include "base/limits.h"
#include "base/mem.h"

static bool is_variable(const struct wire_variable *v)
{
    size_t name_bytes = strlen(v->name);

    return name_bytes >= 1 && name_bytes <= LIMIT_NAME_BYTES &&
           (v->kind == PS_DENSE || v->kind == PS_HASH64) && v->dim >= 1 &&
           v->dim <= LIMIT_DIM && v->n_params <= LIMIT_PARAMS;
}

static int check_variables(const struct wire_plan *w)
{
    for (uint32_t i = 0; i < w->n_variables; i++) {
        if (!is_variable(&w->variables[i])) {
            return PS_EPROTOCOL;
        }
        if (i > 0 && w->variables[i].id <= w->variables[i - 1].id) {
            return PS_EPROTOCOL;
        }
    }
    return PS_OK;
}

static int compare_names(const void *a, const void *b)
{
    const struct plan_name *x = a;
    const struct plan_name *y = b;

    return strcmp(x->name, y->name);
}

static int index_names(struct plan *p)
{
    uint32_t n = p->w.n_variables;

    p->by_name = arena_take(&p->arena, mem_array(n, sizeof(*p->by_name)));
    if (p->by_name == NULL) {
        return PS_ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        p->by_name[i] =
            (struct plan_name){p->w.variables[i].name, &p->w.variables[i]};
    }
    qsort(p->by_name, n, sizeof(*p->by_name), compare_names);
    for (uint32_t i = 1; i < n; i++) {
        if (compare_names(&p->by_name[i - 1], &p->by_name[i]) == 0) {
            return PS_EPROTOCOL;
        }
    }
    return PS_OK;
}

static int compare_lanes(const void *a, const void *b)
{
    const struct plan_holder *x = a;
    const struct plan_holder *y = b;

    return x->lane < y->lane ? -1 : x->lane > y->lane;
}

static int index_lanes(struct plan *p)
{
    const struct wire_plan *w = &p->w;
    size_t n = (size_t)w->n_lanes + w->n_ended;

    p->by_lane = arena_take(&p->arena, mem_array(n, sizeof(*p->by_lane)));
    if (p->by_lane == NULL) {
        return PS_ENOMEM;
    }
    for (uint32_t i = 0; i < w->n_lanes; i++) {
        p->by_lane[i] = (struct plan_holder){.lane = w->lanes[i].lane,
                                             .live = &w->lanes[i]};
    }
    for (uint32_t i = 0; i < w->n_ended; i++) {
        p->by_lane[w->n_lanes + i] = (struct plan_holder){
            .lane = w->ended[i].lane, .ended = &w->ended[i]};
    }
    qsort(p->by_lane, n, sizeof(*p->by_lane), compare_lanes);
    for (size_t i = 1; i < n; i++) {
        if (p->by_lane[i].lane == p->by_lane[i - 1].lane) {
            return PS_EPROTOCOL;
        }
    }
    p->n_holders = n;
    return PS_OK;
}

static const struct plan_holder *find_holder(const struct plan *p,
                                             uint64_t lane)
{
    struct plan_holder key = {.lane = lane};

    return bsearch(&key, p->by_lane, p->n_holders, sizeof(key), compare_lanes);
}

/* Moves *next over the parts of one variable, which cover all buckets. */
static int check_parts(const struct plan *p, uint32_t variable, uint32_t *next)
{
    uint32_t covered = 0;

    while (covered < LIMIT_BUCKETS) {
        const struct wire_part *part;

        if (*next == p->w.n_parts) {
            return PS_EPROTOCOL;
        }
        part = &p->w.parts[*next];
        if (part->variable != variable || part->begin != covered ||
            part->end <= covered || part->end > LIMIT_BUCKETS ||
            find_holder(p, part->lane) == NULL) {
            return PS_EPROTOCOL;
        }
        covered = part->end;
        (*next)++;
    }
    return PS_OK;
}

static int index_parts(struct plan *p)
{
    uint32_t n = p->w.n_variables;
    uint32_t next = 0;

    p->first_part =
        arena_take(&p->arena, mem_array((size_t)n + 1, sizeof(uint32_t)));
    if (p->first_part == NULL) {
        return PS_ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        p->first_part[i] = next;
        if (check_parts(p, p->w.variables[i].id, &next) != PS_OK) {
            return PS_EPROTOCOL;
        }
    }
    p->first_part[n] = next;
    return next == p->w.n_parts ? PS_OK : PS_EPROTOCOL;
}

static int take_record(struct plan *p, const void *record, size_t size)
{
    int rc;

    p->bytes = mem_try(size);
    if (p->bytes == NULL) {
        return PS_ENOMEM;
    }
    if (size > 0) {
        memcpy(p->bytes, record, size);
    }
    rc = wire_plan_decode(p->bytes, size, &p->arena, &p->w);
    if (rc != PS_OK) {
        return rc;
    }
    rc = check_variables(&p->w);
    if (rc != PS_OK) {
        return rc;
    }
    rc = index_names(p);
    if (rc != PS_OK) {
        return rc;
    }
    rc = index_lanes(p);
    if (rc != PS_OK) {
        return rc;
    }
    return index_parts(p);
}

int plan_new(struct plan **plan, const void *record, size_t size)
{
    struct plan *p = mem_try_zero(sizeof(*p));
    int rc;

    if (p == NULL) {
        return PS_ENOMEM;
    }
    arena_init(&p->arena);
    rc = take_record(p, record, size);
    if (rc != PS_OK) {
        plan_free(p);
        return rc;
    }
    *plan = p;
    return PS_OK;
}

void plan_free(struct plan *p)
{
    if (p != NULL) {
        arena_fini(&p->arena);
        mem_free(p->bytes);
        mem_free(p);
    }
}

static int compare_ids(const void *a, const void *b)
{
    const struct wire_variable *x = a;
    const struct wire_variable *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

const struct wire_variable *plan_variable(const struct plan *p, uint32_t id)
{
    struct wire_variable key = {.id = id};

    if (p->w.n_variables == 0) {
        return NULL;
    }
    return bsearch(&key, p->w.variables, p->w.n_variables, sizeof(key),
                   compare_ids);
}

const struct wire_variable *plan_variable_named(const struct plan *p,
                                                const char *name)
{
    struct plan_name key = {.name = name};
    const struct plan_name *found =
        bsearch(&key, p->by_name, p->w.n_variables, sizeof(key), compare_names);

    return found != NULL ? found->variable : NULL;
}

const struct wire_part *plan_parts(const struct plan *p, uint32_t variable,
                                   uint32_t *n)
{
    const struct wire_variable *v = plan_variable(p, variable);
    size_t i;

    *n = 0;
    if (v == NULL) {
        return NULL;
    }
    i = (size_t)(v - p->w.variables);
    *n = p->first_part[i + 1] - p->first_part[i];
    return &p->w.parts[p->first_part[i]];
}

const struct wire_part *plan_part(const struct plan *p, uint32_t variable,
                                  uint32_t bucket)
{
    uint32_t n;
    const struct wire_part *parts = plan_parts(p, variable, &n);
    uint32_t low = 0;

    ASSERT(bucket < LIMIT_BUCKETS);
    if (parts == NULL) {
        return NULL;
    }
    /* The last part that begins at or before the bucket: between low and n. */
    while (n - low > 1) {
        uint32_t middle = low + (n - low) / 2;

        if (parts[middle].begin <= bucket) {
            low = middle;
        } else {
            n = middle;
        }
    }
    return &parts[low];
}

const struct wire_lane *plan_lane(const struct plan *p, uint64_t lane)
{
    const struct plan_holder *h = find_holder(p, lane);

    return h != NULL ? h->live : NULL;
}

const struct wire_ended *plan_ended(const struct plan *p, uint64_t lane)
{
    const struct plan_holder *h = find_holder(p, lane);

    return h != NULL ? h->ended : NULL;
}

const struct wire_load *plan_load(const struct plan *p,
                                  const struct wire_part *part)
{
    const struct wire_load *found = NULL;

    for (uint32_t i = 0; i < p->w.n_loads; i++) {
        const struct wire_load *l = &p->w.loads[i];

        if (l->since == part->since && (l->variable == part->variable ||
                                        (l->variable == 0 && found == NULL))) {
            found = l;
        }
    }
    return found;
}

/* The first row of a bucket, `rows` where it lies behind the last row. */
static uint64_t first_row(uint64_t rows, uint32_t bucket)
{
    uint64_t per = rows / LIMIT_BUCKETS + (rows % LIMIT_BUCKETS != 0);

    /* Compared by division: the product may pass 2^64. */
    return per == 0 || bucket > rows / per ? rows : bucket * per;
}

void plan_dense_rows(uint64_t rows, uint32_t begin, uint32_t end,
                     uint64_t *row_begin, uint64_t *row_end)
{
    ASSERT(begin <= end && end <= LIMIT_BUCKETS);
    *row_begin = first_row(rows, begin);
    *row_end = first_row(rows, end);
}
