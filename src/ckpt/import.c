/* import.c - a checkpoint of the original written as one of ours.
 *
 *     scan: layouts and keys, rows counted by our buckets
 *       |         (a file of ours has its sizes in front)
 *       v
 *     write: each variable once more, with its numbers, row by row
 *
 * What was counted may have changed in between: a row too many is noticed here,
 * one too few by the writer.
 */
#include "ckpt/import.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"

enum { LANE = 1, PROGRESS_ROWS = 4096 };

static uint32_t part_of(uint32_t n_parts, uint64_t key)
{
    return hash_bucket(hash_key(key)) / (LIMIT_BUCKETS / n_parts);
}

static int count_key(void *context, const struct original_row *row,
                     struct err *e)
{
    struct import_variable *v = context;

    (void)e;
    v->counts[part_of(IMPORT_PARTS, row->key)]++;
    return PS_OK;
}

static int look_at(struct import *x, struct import_variable *v,
                   const struct original_variable *o, struct err *e)
{
    int rc;

    *v = (struct import_variable){.fate = IMPORT_ABSENT};
    rc = original_scan(x->original, x->fs, o, &x->arena, count_key, v, &v->rows,
                       e);
    if (rc == PS_OK) {
        rc = import_plan(v, e);
    }
    v->n_parts = IMPORT_PARTS;
    if (v->kind == PS_DENSE || v->n_rows < IMPORT_SPLIT_ROWS) {
        v->n_parts = 1;
        v->counts[0] = v->n_rows;
    }
    return rc;
}

int import_new(struct import **import, struct fs *fs, struct err *e)
{
    struct import *x = mem_try_zero(sizeof(*x));
    int rc;

    *import = x;
    if (x == NULL) {
        return err_set(e, PS_ENOMEM, "out of memory");
    }
    x->fs = fs;
    arena_init(&x->arena);
    rc = original_open(&x->original, fs, e);
    if (rc == PS_OK) {
        x->n = x->original->n_variables;
        x->variables =
            arena_take(&x->arena, mem_array(x->n, sizeof(*x->variables)));
        rc = x->variables == NULL ? err_set(e, PS_ENOMEM, "out of memory")
                                  : PS_OK;
    }
    for (uint32_t i = 0; i < x->n && rc == PS_OK; i++) {
        rc = look_at(x, &x->variables[i], &x->original->variables[i], e);
    }
    if (rc != PS_OK) {
        import_free(x);
        *import = NULL;
    }
    return rc;
}

void import_free(struct import *x)
{
    if (x != NULL) {
        original_free(x->original);
        arena_fini(&x->arena);
        mem_free(x);
    }
}

/* One import on its way. */
struct writing {
    const struct import *x;
    struct ckpt_writer *w;
    const struct ckpt_progress *progress;
    uint64_t done;
    uint64_t total;
    const struct import_variable *v;
    uint32_t first_part;   /* of v, in the lane */
    uint32_t first_tensor; /* of v, in the other file */
    uint64_t rows;         /* of v, so far */
    uint64_t counts[IMPORT_PARTS];
    int tensors[IMPORT_TENSORS_MAX]; /* what each tensor of v is */
    float *row;                      /* values and slots of v */
    struct buf blank;                /* what a slot is that a part lacks */
};

static int put_blank(struct writing *w, uint32_t slot, uint32_t tensor,
                     struct err *e)
{
    const struct original_tensor *t = &w->v->rows.slots[slot].tensor;
    double a = t->init.kind == ORIGINAL_INIT_CONSTANT ? t->init.a : 0;
    uint8_t number[sizeof(double)] = {0};
    size_t size = original_dtype_bytes(t->dtype);

    /* Integers of such slots begin with 0 in all cases that are known. */
    if (t->dtype == ORIGINAL_F64) {
        memcpy(number, &a, sizeof(a));
    } else if (t->dtype == ORIGINAL_F32) {
        float f = (float)a;

        memcpy(number, &f, sizeof(f));
    }
    buf_clear(&w->blank);
    for (uint64_t i = 0; i < t->row_bytes; i += size) {
        (void)buf_append(&w->blank, number, size);
    }
    if (w->blank.failed) {
        return err_set(e, PS_ENOMEM, "out of memory");
    }
    return ckpt_writer_other_put(w->w, tensor, w->blank.data,
                                 (size_t)t->row_bytes, e);
}

/* The tensors that are kept get their row. */
static int put_others(struct writing *w, const struct original_row *row,
                      struct err *e)
{
    const struct import_variable *v = w->v;
    const uint64_t keys[2] = {row->key, row->low};
    int rc = PS_OK;

    for (uint32_t k = 0; k < v->n_tensors && rc == PS_OK; k++) {
        uint32_t tensor = w->first_tensor + k;
        int what = w->tensors[k];

        if (what == IMPORT_KEYS) {
            rc = ckpt_writer_other_put(
                w->w, tensor, keys,
                v->rows.variable->kind == ORIGINAL_HASH128 ? 16 : 8, e);
        } else if (what == IMPORT_VALUES) {
            rc = ckpt_writer_other_put(w->w, tensor, row->values,
                                       (size_t)v->rows.parts[0].data.row_bytes,
                                       e);
        } else if (row->slots[what] != NULL) {
            rc = ckpt_writer_other_put(
                w->w, tensor, row->slots[what],
                (size_t)v->rows.slots[what].tensor.row_bytes, e);
        } else if (!v->rows.slots[what].is_any) {
            rc = put_blank(w, (uint32_t)what, tensor, e);
        }
    }
    return rc;
}

static int put_row(struct writing *w, const struct original_row *row,
                   struct err *e)
{
    const struct import_variable *v = w->v;
    size_t bytes = v->dim * sizeof(float);
    uint32_t part = v->n_parts == 1 ? 0 : part_of(v->n_parts, row->key);

    if (w->counts[part]++ == v->counts[part]) {
        return err_set(e, PS_EDATALOSS,
                       "\"%.80s\" has changed while it was read",
                       v->rows.variable->name);
    }
    memcpy(w->row, row->values, bytes);
    for (uint32_t i = 0; i < v->n_slots; i++) {
        float *to = w->row + (i + 1) * (size_t)v->dim;
        const struct original_init *init =
            &v->rows.slots[v->slots[i]].tensor.init;
        float first = init->kind == ORIGINAL_INIT_CONSTANT ? (float)init->a : 0;

        if (row->slots[v->slots[i]] != NULL) {
            memcpy(to, row->slots[v->slots[i]], bytes);
            continue;
        }
        for (uint32_t k = 0; k < v->dim; k++) {
            to[k] = first;
        }
    }
    return ckpt_writer_row(w->w, w->first_part + part, row->key, w->row, e);
}

static int take_row(void *context, const struct original_row *row,
                    struct err *e)
{
    struct writing *w = context;
    int rc = PS_OK;

    if (w->rows++ == w->v->rows.rows) {
        return err_set(e, PS_EDATALOSS,
                       "\"%.80s\" has changed while it was read",
                       w->v->rows.variable->name);
    }
    if (w->v->fate == IMPORT_SERVED) {
        rc = put_row(w, row, e);
    }
    if (rc == PS_OK) {
        rc = put_others(w, row, e);
    }
    w->done++;
    if (rc == PS_OK && w->progress != NULL && w->done % PROGRESS_ROWS == 0 &&
        !w->progress->fn(w->progress->context, w->done, w->total)) {
        rc = err_set(e, PS_ECANCELED, "stopped");
    }
    return rc;
}

static int put_any(struct writing *w, struct err *e)
{
    const struct import_variable *v = w->v;
    struct buf bytes = {0};
    int rc = PS_OK;

    for (uint32_t k = 0; k < v->n_tensors && rc == PS_OK; k++) {
        int what = w->tensors[k];

        if (what < 0 || !v->rows.slots[what].is_any) {
            continue;
        }
        buf_clear(&bytes);
        rc = original_read_any(w->x->original, w->x->fs, &v->rows,
                               (uint32_t)what, &bytes, e);
        if (rc == PS_OK && bytes.size > 0) {
            rc = ckpt_writer_other_put(w->w, w->first_tensor + k, bytes.data,
                                       bytes.size, e);
        }
    }
    buf_fini(&bytes);
    return rc;
}

static int write_variable(struct writing *w, const struct import_variable *v,
                          struct err *e)
{
    int rc = PS_OK;

    w->v = v;
    w->rows = 0;
    memset(w->counts, 0, sizeof(w->counts));
    for (uint32_t k = 0; k < v->n_tensors && rc == PS_OK; k++) {
        struct ckpt_tensor t;

        rc = import_tensor(v, k, NULL, &t, &w->tensors[k]);
    }
    w->row = mem_try((1 + (size_t)v->n_slots) * (v->dim + 1) * sizeof(float));
    if (rc != PS_OK || w->row == NULL) {
        mem_free(w->row);
        return err_set(e, PS_ENOMEM, "out of memory");
    }
    rc = original_read(w->x->original, w->x->fs, &v->rows, take_row, w, e);
    if (rc == PS_OK) {
        rc = put_any(w, e);
    }
    mem_free(w->row);
    if (v->fate == IMPORT_SERVED) {
        w->first_part += v->n_parts;
    }
    w->first_tensor += v->n_tensors;
    return rc;
}

static void describe(const struct import_variable *v, uint32_t id,
                     struct wire_variable *w)
{
    const char *name = v->rows.variable->name;
    const double *p = v->updater.params;

    *w = (struct wire_variable){
        .id = id,
        .name = name,
        .kind = v->kind,
        .dim = v->dim,
        .rows = v->kind == PS_DENSE ? v->n_rows : 0,
        .init_kind = (uint32_t)v->init.kind,
        .init_a = (double)v->init.a,
        .init_b = (double)v->init.b,
        .init_seed = v->init.seed,
        .init_key = hash_bytes(name, strlen(name)),
        .updater = v->updater.name,
        .n_params = (uint32_t)v->updater.n_params,
        .param0 = p[0],
        .param1 = p[1],
        .param2 = p[2],
        .param3 = p[3],
        .param4 = p[4],
        .param5 = p[5],
        .param6 = p[6],
        .param7 = p[7],
        .batch_read = v->rows.variable->batch_read,
    };
}

static void describe_parts(const struct import_variable *v, uint32_t id,
                           struct ckpt_part *parts)
{
    uint32_t width = LIMIT_BUCKETS / v->n_parts;

    for (uint32_t i = 0; i < v->n_parts; i++) {
        parts[i] = (struct ckpt_part){.variable = v->rows.variable->name,
                                      .id = id,
                                      .kind = v->kind,
                                      .begin = i * width,
                                      .end = (i + 1) * width,
                                      .content = CKPT_CHANGED,
                                      .has_keys = v->kind != PS_DENSE,
                                      .rows = v->counts[i],
                                      .dim = v->dim,
                                      .n_slots = v->n_slots};
        for (uint32_t k = 0; k < v->n_slots; k++) {
            parts[i].slots[k] = v->rows.slots[v->slots[k]].name;
        }
    }
}

/* Variables, parts and tensors of the whole import. */
struct layout {
    struct arena arena;
    uint32_t n_variables;
    struct wire_variable *variables;
    uint32_t n_parts;
    struct ckpt_part *parts;
    uint32_t n_tensors;
    struct ckpt_tensor *tensors;
};

static int lay_out(const struct import *x, struct layout *l)
{
    uint64_t n_parts = 0;
    uint64_t n_tensors = 0;

    for (uint32_t i = 0; i < x->n; i++) {
        const struct import_variable *v = &x->variables[i];

        n_parts += v->fate == IMPORT_SERVED ? v->n_parts : 0;
        n_tensors += v->n_tensors;
    }
    l->variables = arena_take(&l->arena, x->n * sizeof(*l->variables));
    l->parts = arena_take(&l->arena, n_parts * sizeof(*l->parts));
    l->tensors = arena_take(&l->arena, n_tensors * sizeof(*l->tensors));
    if (l->variables == NULL || l->parts == NULL || l->tensors == NULL) {
        return PS_ENOMEM;
    }
    for (uint32_t i = 0; i < x->n; i++) {
        const struct import_variable *v = &x->variables[i];

        for (uint32_t k = 0; k < v->n_tensors; k++) {
            int slot;

            if (import_tensor(v, k, &l->arena, &l->tensors[l->n_tensors++],
                              &slot) != PS_OK) {
                return PS_ENOMEM;
            }
        }
        if (v->fate == IMPORT_SERVED) {
            describe(v, l->n_variables + 1, &l->variables[l->n_variables]);
            describe_parts(v, l->n_variables + 1, l->parts + l->n_parts);
            l->n_variables++;
            l->n_parts += v->n_parts;
        }
    }
    return PS_OK;
}

/* The newest of all that are there, so that a start finds it. */
static int next_cut(struct fs *to, struct ckpt_manifest *m, struct err *e)
{
    struct ckpt_list list;
    int rc = ckpt_list(to, &list, e);

    m->cut = 1;
    m->term = 1;
    if (rc == PS_OK && list.n > 0) {
        m->cut = list.entries[0].cut + 1;
        m->term = base_max_u64(list.entries[0].term, 1);
    }
    if (rc == PS_OK) {
        ckpt_list_free(&list);
    }
    return rc;
}

static int write_lane(struct writing *w, const struct layout *l, char *folder,
                      struct err *e)
{
    const struct import *x = w->x;
    int rc = ckpt_writer_lane(w->w, LANE, l->parts, l->n_parts, e);

    if (rc == PS_OK && l->n_tensors > 0) {
        rc = ckpt_writer_other(w->w, l->tensors, l->n_tensors, e);
    }
    for (uint32_t i = 0; i < x->n && rc == PS_OK; i++) {
        rc = write_variable(w, &x->variables[i], e);
    }
    if (rc == PS_OK) {
        rc = ckpt_writer_lane_end(w->w, NULL, e);
    }
    if (rc != PS_OK) {
        ckpt_writer_free(w->w);
        return rc;
    }
    return ckpt_writer_end(w->w, folder, e);
}

int import_write(const struct import *x, struct fs *to, const char *name,
                 uint64_t time_ms, const struct ckpt_progress *progress,
                 char *folder, struct err *e)
{
    struct writing w = {.x = x, .progress = progress};
    struct layout l = {.n_variables = 0};
    /* An id of its own: who begins with it is another cluster than those that
     * begin with others. */
    struct ckpt_manifest m = {.cluster_high = hash_key(time_ms),
                              .cluster_low = hash_bytes(name, strlen(name)),
                              .name = name,
                              .time_ms = time_ms,
                              .next_session = 1,
                              .next_lane = LANE + 1};
    int rc;

    for (uint32_t i = 0; i < x->n; i++) {
        w.total += x->variables[i].rows.rows;
    }
    arena_init(&l.arena);
    rc = lay_out(x, &l);
    if (rc != PS_OK) {
        (void)err_set(e, rc, "out of memory");
    } else {
        rc = next_cut(to, &m, e);
    }
    if (rc == PS_OK) {
        m.next_variable = l.n_variables + 1;
        m.n_variables = l.n_variables;
        m.variables = l.variables;
        rc = ckpt_writer_begin(&w.w, to, &m, e);
    }
    if (rc == PS_OK) {
        rc = write_lane(&w, &l, folder, e);
    }
    buf_fini(&w.blank);
    arena_fini(&l.arena);
    return rc;
}
