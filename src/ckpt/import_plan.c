/* import_plan.c - what becomes of a variable of the original.
 *
 * Its files have values and slots, but not the updater: that was the trainer's.
 * Slots have the names of their updaters, and ours are the same; where they fit
 * exactly one the variable is declared with it, so that training goes on from
 * its state. Hyper-parameters come with each push: those that are written here
 * only have to be valid, but for the initial value of a slot, which new rows
 * get and which is the constant in the file.
 */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/limits.h"
#include "ckpt/ckpt_impl.h"
#include "ckpt/import.h"
#include "kern/init.h"

enum { INIT_PARAM_NONE = -1 };

static const struct known {
    const char *name;
    uint32_t n_slots;
    const char *slots[TABLE_SLOTS_MAX];
    int init_param; /* which parameter is the first slot's initial value */
    int n_params;
    double params[PS_PARAMS_MAX];
    const char *assumed;
} knowns[] = {
    {"MomentumUpdater",
     1,
     {"accumulation"},
     INIT_PARAM_NONE,
     3,
     {0.01, 0.9},
     "learning rate 0.01, momentum 0.9"},
    {"AdagradUpdater",
     1,
     {"adagrad_accumulation"},
     1,
     2,
     {0.01, 0.1},
     "learning rate 0.01"},
    {"FtrlUpdater",
     2,
     {"accum", "linear"},
     2,
     5,
     {0.01, -0.5, 0.1},
     "learning rate 0.01, its power -0.5, l1 and l2 0"},
};

static const struct known assign = {
    "AssignUpdater", 0, {NULL}, INIT_PARAM_NONE, 0, {0}, ""};

bool import_serves_slot(const struct import_variable *v, uint32_t slot)
{
    for (uint32_t i = 0; i < v->n_slots; i++) {
        if (v->slots[i] == slot) {
            return true;
        }
    }
    return false;
}

/* A slot that can lie in a row of ours; n_slots: there is none. */
static uint32_t find_slot(const struct original_rows *rows, const char *name)
{
    const struct original_variable *v = rows->variable;
    uint32_t i = 0;

    while (i < rows->n_slots && strcmp(rows->slots[i].name, name) != 0) {
        i++;
    }
    if (i < rows->n_slots &&
        (rows->slots[i].is_any || rows->slots[i].tensor.dtype != ORIGINAL_F32 ||
         rows->slots[i].tensor.row_bytes != v->row_elements * sizeof(float))) {
        return rows->n_slots;
    }
    return i;
}

static bool has_slots(const struct original_rows *rows, const struct known *k)
{
    for (uint32_t i = 0; i < k->n_slots; i++) {
        if (find_slot(rows, k->slots[i]) == rows->n_slots) {
            return false;
        }
    }
    return true;
}

static void choose_updater(struct import_variable *v)
{
    const struct known *found = &assign;
    uint32_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(knowns); i++) {
        if (has_slots(&v->rows, &knowns[i])) {
            found = &knowns[i];
            n++;
        }
    }
    found = n == 1 ? found : &assign;
    v->updater.name = found->name;
    v->updater.n_params = found->n_params;
    memcpy(v->updater.params, found->params, sizeof(found->params));
    v->n_slots = found->n_slots;
    for (uint32_t i = 0; i < v->n_slots; i++) {
        v->slots[i] = find_slot(&v->rows, found->slots[i]);
    }
    if (found->init_param != INIT_PARAM_NONE) {
        const struct original_init *x = &v->rows.slots[v->slots[0]].tensor.init;
        double first = x->kind == ORIGINAL_INIT_CONSTANT ? x->a : 0.1;

        if (first >= 0 && first <= (double)FLT_MAX) {
            v->updater.params[found->init_param] = first;
        }
    }
    snprintf(v->assumed, sizeof(v->assumed), "%s", found->assumed);
}

static void assume(struct import_variable *v, const char *text)
{
    size_t n = strlen(v->assumed);

    snprintf(v->assumed + n, sizeof(v->assumed) - n, "%s%s", n > 0 ? ", " : "",
             text);
}

/* What new rows begin with. */
static void choose_init(struct import_variable *v)
{
    const struct original_init *x = &v->rows.parts[0].data.init;
    struct ps_init init = {.kind = PS_INIT_CONSTANT};
    struct init_spec spec;
    double a = x->a;
    double b = x->b;

    init.seed = (uint64_t)(uint32_t)x->seed;
    switch (x->kind) {
    case ORIGINAL_INIT_CONSTANT:
        b = 0;
        break;
    case ORIGINAL_INIT_TRUNCATED_NORMAL:
        init.kind = PS_INIT_TRUNCATED_NORMAL;
        break;
    case ORIGINAL_INIT_NORMAL:
        init.kind = PS_INIT_NORMAL;
        break;
    case ORIGINAL_INIT_UNIFORM_UNIT_SCALING:
        init.kind = PS_INIT_UNIFORM;
        b = sqrt(3 / x->area) * x->a;
        a = -b;
        break;
    case ORIGINAL_INIT_VARIANCE_SCALING:
        init.kind = x->is_normal ? PS_INIT_TRUNCATED_NORMAL : PS_INIT_UNIFORM;
        a = x->is_normal ? 0 : -sqrt(3 * x->a);
        b = x->is_normal ? sqrt(x->a) : sqrt(3 * x->a);
        break;
    case ORIGINAL_INIT_NONE:
        a = b = 0;
        break;
    case ORIGINAL_INIT_ORTHOGONAL:
    default:
        a = b = 0;
        assume(v, "new rows begin with 0 (there is no orthogonal initializer)");
        break;
    }
    if (!(fabs(a) <= (double)FLT_MAX && fabs(b) <= (double)FLT_MAX)) {
        a = (double)NAN;
        b = 0;
    }
    init.a = (float)a;
    init.b = (float)b;
    spec =
        (struct init_spec){(uint32_t)init.kind, init.a, init.b, init.seed, 0};
    if (init_check(&spec) != NULL) {
        init = (struct ps_init){.kind = PS_INIT_CONSTANT};
        assume(v, "new rows begin with 0 (its initializer cannot be)");
    }
    v->init = init;
}

static bool refuse(struct import_variable *v, const char *why)
{
    snprintf(v->why, sizeof(v->why), "%s", why);
    return false;
}

static bool is_servable(struct import_variable *v)
{
    const struct original_variable *o = v->rows.variable;

    if (o->kind == ORIGINAL_HASH128) {
        return refuse(v, "keys of 128 bits");
    }
    if (o->dtype != ORIGINAL_F32) {
        snprintf(v->why, sizeof(v->why), "values of type %s",
                 original_dtype_name(o->dtype));
        return false;
    }
    if (strlen(o->name) > LIMIT_NAME_BYTES) {
        return refuse(v, "its name is longer than 255 bytes");
    }
    if (v->dim == 0 || v->dim > LIMIT_DIM) {
        return refuse(v, "rows of no or of more than 65,536 numbers");
    }
    if (o->kind == ORIGINAL_INDEX && v->n_rows == 0) {
        return refuse(v, "it has no rows");
    }
    return true;
}

/* The tensors of our other file must be ones that our index takes. */
static int check_tensors(const struct import_variable *v, struct err *e)
{
    const struct original_variable *o = v->rows.variable;

    for (uint32_t k = 0; k < v->n_tensors; k++) {
        struct ckpt_tensor t;
        uint64_t row;
        int slot;
        int rc = import_tensor(v, k, NULL, &t, &slot);

        if (rc != PS_OK) {
            return err_set(e, rc, "\"%.80s\": it cannot be kept", o->name);
        }
        if (!ckpt_tensor_size(&t)) {
            return err_set(e, PS_ENOTIMPL, "\"%.80s\": it is too large",
                           o->name);
        }
        row = t.bytes / base_max_u64(t.shape[0], 1);
        if ((row == 0 && t.shape[0] > 0) || row > CKPT_BLOCK_MAX) {
            return err_set(e, PS_ENOTIMPL,
                           "\"%.80s\": rows of no bytes, or of more than 16 "
                           "MiB",
                           o->name);
        }
        if (strlen(o->name) +
                (slot >= 0 ? strlen(v->rows.slots[slot].name) : 0) >
            WIRE_TEXT_MAX - 32) {
            return err_set(e, PS_ENOTIMPL,
                           "\"%.80s\": names of more than 4,000 bytes",
                           o->name);
        }
    }
    return PS_OK;
}

int import_plan(struct import_variable *v, struct err *e)
{
    const struct original_variable *o = v->rows.variable;
    uint32_t n_kept = 0;

    v->fate = IMPORT_ABSENT;
    if (v->rows.is_absent) {
        return PS_OK;
    }
    v->kind = o->kind == ORIGINAL_INDEX ? PS_DENSE : PS_HASH64;
    v->n_rows = v->rows.rows;
    v->dim = o->row_elements > LIMIT_DIM ? 0 : (uint32_t)o->row_elements;
    v->fate = is_servable(v) ? IMPORT_SERVED : IMPORT_KEPT;
    if (v->fate == IMPORT_SERVED) {
        choose_updater(v);
        choose_init(v);
    }
    for (uint32_t i = 0; i < v->rows.n_slots; i++) {
        n_kept += import_serves_slot(v, i) ? 0 : 1;
    }
    v->n_tensors = n_kept + (v->fate == IMPORT_KEPT ? 1 : 0);
    if (v->n_tensors > 0 && o->kind != ORIGINAL_INDEX) {
        v->n_tensors++; /* whose rows they are */
    }
    return check_tensors(v, e);
}

/* Rows of all parts with the other dims of one. */
static void shape_rows(const struct import_variable *v,
                       const struct original_tensor *from,
                       struct ckpt_tensor *t)
{
    t->n_shape = from->n_dims > 0 ? from->n_dims : 1;
    memcpy(t->shape, from->dims, sizeof(from->dims));
    t->shape[0] = v->rows.rows;
}

/* What all rows share, as it is; flat where a row of it were too large. */
static void shape_any(const struct original_tensor *from, struct ckpt_tensor *t)
{
    t->n_shape = from->n_dims > 0 ? from->n_dims : 1;
    memcpy(t->shape, from->dims, sizeof(from->dims));
    t->shape[0] = from->rows;
    if (from->row_bytes > CKPT_BLOCK_MAX) {
        t->n_shape = 1;
        t->shape[0] =
            from->rows * from->row_bytes / original_dtype_bytes(from->dtype);
    }
}

/* Rows of a block: the same for all tensors that go by rows, so that block i of
 * each has the same rows. */
static uint64_t block_rows(const struct import_variable *v)
{
    uint64_t bytes = 2 * sizeof(uint64_t);

    if (v->fate == IMPORT_KEPT) {
        bytes = base_max_u64(bytes, v->rows.parts[0].data.row_bytes);
    }
    for (uint32_t i = 0; i < v->rows.n_slots; i++) {
        if (!v->rows.slots[i].is_any) {
            bytes = base_max_u64(bytes, v->rows.slots[i].tensor.row_bytes);
        }
    }
    return ckpt_block_rows(bytes);
}

/* Which slot is the n-th that is kept. */
static int kept_slot(const struct import_variable *v, uint32_t n)
{
    for (uint32_t i = 0; i < v->rows.n_slots; i++) {
        if (!import_serves_slot(v, i) && n-- == 0) {
            return (int)i;
        }
    }
    ASSERT(false);
    return 0;
}

int import_tensor(const struct import_variable *v, uint32_t k,
                  struct arena *arena, struct ckpt_tensor *t, int *slot)
{
    const struct original_variable *o = v->rows.variable;
    bool has_keys = o->kind != ORIGINAL_INDEX;
    uint32_t before = (has_keys ? 1u : 0u) + (v->fate == IMPORT_KEPT ? 1u : 0u);
    char text[2 * WIRE_TEXT_MAX + 32];
    const char *what = "keys";

    *t = (struct ckpt_tensor){.dtype = "I64", .block_rows = block_rows(v)};
    if (has_keys && k == 0) {
        *slot = IMPORT_KEYS;
        t->n_shape = o->kind == ORIGINAL_HASH128 ? 2 : 1;
        t->shape[0] = v->rows.rows;
        t->shape[1] = t->n_shape == 2 ? 2 : 0;
    } else if (k < before) {
        *slot = IMPORT_VALUES;
        what = "values";
        t->dtype = original_dtype_name(o->dtype);
        shape_rows(v, &v->rows.parts[0].data, t);
    } else {
        const struct original_slot *s;

        *slot = kept_slot(v, k - before);
        s = &v->rows.slots[*slot];
        what = s->is_any ? "any/" : "slot/";
        t->dtype = original_dtype_name(s->tensor.dtype);
        if (s->is_any) {
            shape_any(&s->tensor, t);
            t->block_rows = 0;
        } else {
            shape_rows(v, &s->tensor, t);
        }
    }
    if (arena == NULL) {
        return PS_OK;
    }
    snprintf(text, sizeof(text), "%s/other/%s%s", o->name, what,
             *slot >= 0 ? v->rows.slots[*slot].name : "");
    t->name = ckpt_text(arena, text);
    return t->name == NULL ? PS_ENOMEM : PS_OK;
}
