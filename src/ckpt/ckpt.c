/* ckpt.c - a checkpoint as far as it was read, and where its rows are. */
#include "ckpt/ckpt_impl.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "plan/plan.h"

int ckpt_new(struct ckpt **c, const void *manifest, size_t size, struct err *e)
{
    struct ckpt *p = mem_try_zero(sizeof(*p));
    int rc;

    *c = NULL;
    if (p == NULL) {
        return err_set(e, PS_ENOMEM, "out of memory");
    }
    arena_init(&p->arena);
    rc = ckpt_manifest_decode(manifest, size, &p->arena, &p->manifest, e);
    if (rc == PS_OK) {
        size_t bytes = p->manifest.n_lanes * sizeof(*p->indexes);

        p->indexes = arena_take(&p->arena, bytes);
        if (p->indexes == NULL) {
            rc = err_set(e, PS_ENOMEM, "out of memory");
        } else {
            memset(p->indexes, 0, bytes);
        }
    }
    if (rc != PS_OK) {
        ckpt_free(p);
        return rc;
    }
    *c = p;
    return PS_OK;
}

void ckpt_free(struct ckpt *c)
{
    if (c != NULL) {
        arena_fini(&c->arena);
        mem_free(c);
    }
}

const struct wire_variable *ckpt_variable(const struct ckpt *c,
                                          const char *name)
{
    for (uint32_t i = 0; i < c->manifest.n_variables; i++) {
        if (strcmp(c->manifest.variables[i].name, name) == 0) {
            return &c->manifest.variables[i];
        }
    }
    return NULL;
}

static int compare_variable(const void *a, const void *b)
{
    const uint32_t *id = a;
    const struct wire_variable *v = b;

    return *id == v->id ? 0 : (*id < v->id ? -1 : 1);
}

const struct wire_variable *ckpt_variable_by_id(const struct ckpt *c,
                                                uint32_t id)
{
    return c->manifest.n_variables == 0
               ? NULL
               : bsearch(&id, c->manifest.variables, c->manifest.n_variables,
                         sizeof(*c->manifest.variables), compare_variable);
}

/* The places of a variable begin here, or would. */
static uint32_t first_place(const struct ckpt_manifest *m, uint32_t variable)
{
    uint32_t low = 0;
    uint32_t high = m->n_parts;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (m->parts[middle].variable < variable) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool ckpt_needs(const struct ckpt *c, uint32_t i, uint32_t variable,
                uint32_t begin, uint32_t end)
{
    const struct ckpt_manifest *m = &c->manifest;

    for (uint32_t k = first_place(m, variable);
         k < m->n_parts && m->parts[k].variable == variable; k++) {
        const struct ckpt_place *p = &m->parts[k];

        if (p->lane == m->lanes[i].lane && p->begin < end && begin < p->end) {
            return true;
        }
    }
    return false;
}

/* By variable and bucket; what was erased before what is there. */
static int compare_parts(const void *a, const void *b)
{
    const struct ckpt_part *x = a;
    const struct ckpt_part *y = b;

    if (x->id != y->id) {
        return x->id < y->id ? -1 : 1;
    }
    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    return x->content == y->content ? 0 : (x->content > y->content ? -1 : 1);
}

/* A part against the declaration of its variable. */
static int check_variable(const struct ckpt *c, const struct ckpt_part *p,
                          struct err *e)
{
    const struct wire_variable *v = ckpt_variable_by_id(c, p->id);
    uint64_t begin;
    uint64_t end;

    if (v == NULL || strcmp(v->name, p->variable) != 0 || v->kind != p->kind ||
        v->dim != p->dim) {
        return err_set(e, PS_EDATALOSS,
                       "variable \"%.100s\" is not that of the manifest",
                       p->variable);
    }
    if (p->kind != PS_DENSE) {
        return PS_OK;
    }
    plan_dense_rows(v->rows, p->begin, p->end, &begin, &end);
    if (p->row_begin != begin || p->rows > end - begin ||
        (!p->has_keys && p->content == CKPT_CHANGED &&
         p->rows != end - begin)) {
        return err_set(e, PS_EDATALOSS,
                       "\"%.100s\" has other rows than its part has room for",
                       p->variable);
    }
    return PS_OK;
}

/* Which of the lane's places a part is of; NULL: none. */
static const struct ckpt_place *
find_place(const struct ckpt *c, const struct ckpt_part *p, uint64_t lane)
{
    const struct ckpt_manifest *m = &c->manifest;

    for (uint32_t k = first_place(m, p->id);
         k < m->n_parts && m->parts[k].variable == p->id; k++) {
        const struct ckpt_place *place = &m->parts[k];

        if (place->begin == p->begin) {
            return place->end == p->end && place->lane == lane ? place : NULL;
        }
    }
    return NULL;
}

/* Parts of the index are those that the manifest gives to the lane: each of
 * them is one, none is twice, and there are as many. */
static int check_index(const struct ckpt *c, const struct ckpt_index *x,
                       uint64_t lane, struct err *e)
{
    const struct ckpt_manifest *m = &c->manifest;
    uint32_t n_want = 0;
    uint32_t n = 0;

    if (x->cut != m->cut || x->term != m->term || x->lane != lane) {
        return err_set(e, PS_EDATALOSS, "it is of another checkpoint or lane");
    }
    for (uint32_t i = 0; i < m->n_parts; i++) {
        n_want += m->parts[i].lane == lane;
    }
    for (uint32_t i = 0; i < x->n_parts; i++) {
        const struct ckpt_part *p = &x->parts[i];
        int rc = check_variable(c, p, e);

        if (rc != PS_OK) {
            return rc;
        }
        n += p->content == CKPT_CHANGED;
        if (find_place(c, p, lane) == NULL ||
            (i > 0 && compare_parts(p - 1, p) == 0)) {
            return err_set(e, PS_EDATALOSS,
                           "a part of \"%.100s\" is not in the manifest, or "
                           "here twice",
                           p->variable);
        }
    }
    return n == n_want
               ? PS_OK
               : err_set(e, PS_EDATALOSS,
                         "it has %" PRIu32 " parts, the manifest says %" PRIu32,
                         n, n_want);
}

static int add_index(struct ckpt *c, uint32_t i, const void *data, size_t size,
                     struct err *e)
{
    const struct ckpt_lane *lane = &c->manifest.lanes[i];
    struct ckpt_index x;
    int rc;

    if (size != lane->index_bytes) {
        return err_set(e, PS_EDATALOSS,
                       "it has %zu bytes, the manifest says %" PRIu64, size,
                       lane->index_bytes);
    }
    if (hash_bytes(data, size) != lane->index_sum) {
        return err_set(e, PS_EDATALOSS, "it is damaged");
    }
    rc = ckpt_index_decode(data, size, &c->arena, &x, e);
    if (rc != PS_OK) {
        return rc;
    }
    qsort(x.parts, x.n_parts, sizeof(*x.parts), compare_parts);
    rc = check_index(c, &x, lane->lane, e);
    if (rc == PS_OK) {
        c->indexes[i] = x;
    }
    return rc;
}

int ckpt_add_index(struct ckpt *c, uint32_t i, const void *data, size_t size,
                   struct err *e)
{
    int rc;

    ASSERT(i < c->manifest.n_lanes);
    rc = add_index(c, i, data, size, e);
    if (rc != PS_OK) {
        char name[CKPT_NAME_MAX + 1];

        ckpt_file_name(c->manifest.lanes[i].lane, CKPT_FILE_INDEX, name);
        err_wrap(e, "%s", name);
    }
    return rc;
}

/* Blocks of a dense part without keys in which buckets [begin, end) lie. */
static void narrow(const struct ckpt *c, struct ckpt_source *s, uint32_t begin,
                   uint32_t end)
{
    const struct ckpt_part *p = s->part;
    const struct wire_variable *v = ckpt_variable_by_id(c, p->id);
    uint64_t row_begin;
    uint64_t row_end;

    ASSERT(v != NULL);
    begin = begin > p->begin ? begin : p->begin;
    end = end < p->end ? end : p->end;
    plan_dense_rows(v->rows, begin, end, &row_begin, &row_end);
    if (row_begin >= row_end) {
        s->end_block = 0;
        return;
    }
    s->first_block = (uint32_t)((row_begin - p->row_begin) / p->block_rows);
    s->end_block = (uint32_t)((row_end - 1 - p->row_begin) / p->block_rows) + 1;
}

static void make_source(const struct ckpt *c, uint32_t lane,
                        const struct ckpt_part *p, uint32_t begin, uint32_t end,
                        struct ckpt_source *s)
{
    const struct ckpt_file *file = &c->indexes[lane].files[0];
    const struct ckpt_tensor *t = &file->tensors[p->first_tensor];

    *s = (struct ckpt_source){.lane = lane, .file = file, .part = p};
    s->end_block = t->n_sums;
    if (p->content == CKPT_ERASED) {
        s->keys = t;
    } else {
        s->keys = p->has_keys ? t : NULL;
        s->values = t + p->has_keys;
        for (uint32_t i = 0; i < p->n_slots; i++) {
            s->slots[i] = s->values + 1 + i;
        }
        if (!p->has_keys) {
            narrow(c, s, begin, end);
        }
    }
    for (uint32_t i = s->first_block; i < s->end_block; i++) {
        s->rows += ckpt_block(t, i).rows;
    }
}

/* The parts of an index that overlap, from the first of the variable on. */
static uint32_t first_part(const struct ckpt_index *x, uint32_t variable)
{
    uint32_t low = 0;
    uint32_t high = x->n_parts;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (x->parts[middle].id < variable) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

int ckpt_sources(const struct ckpt *c, uint32_t variable, uint32_t begin,
                 uint32_t end, struct arena *arena,
                 struct ckpt_source **sources, uint32_t *n)
{
    static const uint32_t order[] = {CKPT_ERASED, CKPT_CHANGED};
    size_t room = 0;

    *n = 0;
    for (uint32_t i = 0; i < c->manifest.n_lanes; i++) {
        const struct ckpt_index *x = &c->indexes[i];

        ASSERT(x->lane != 0 || !ckpt_needs(c, i, variable, begin, end));
        for (uint32_t k = first_part(x, variable);
             k < x->n_parts && x->parts[k].id == variable; k++) {
            room++;
        }
    }
    *sources = arena_take(arena, room * sizeof(**sources));
    if (*sources == NULL) {
        return PS_ENOMEM;
    }
    for (size_t o = 0; o < ARRAY_LEN(order); o++) {
        for (uint32_t i = 0; i < c->manifest.n_lanes; i++) {
            const struct ckpt_index *x = &c->indexes[i];

            for (uint32_t k = first_part(x, variable);
                 k < x->n_parts && x->parts[k].id == variable; k++) {
                const struct ckpt_part *p = &x->parts[k];

                if (p->content == order[o] && p->begin < end &&
                    begin < p->end) {
                    make_source(c, i, p, begin, end, &(*sources)[*n]);
                    *n += 1;
                }
            }
        }
    }
    return PS_OK;
}
