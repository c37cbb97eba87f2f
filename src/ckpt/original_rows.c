/* original_rows.c - all parts of a variable together, and its rows.
 *
 * Rows are read in the order in which they lie in the file: the keys of a part
 * are sorted by their row, and each tensor is read through a window that moves
 * forward. So the disk reads on, whatever order the items have.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "ckpt/original_impl.h"

/* A piece of a tensor in memory. */
struct lens {
    const struct original_tensor *tensor; /* NULL: the part has none */
    uint64_t first;                       /* row */
    uint64_t n;
    struct buf bytes;
};

struct reading {
    struct original_cursor *c;
    const struct original_rows *rows;
    const struct original_part *part;
    struct lens data;
    struct lens slots[ORIGINAL_SLOTS_MAX];
};

static void out_of_memory(struct original_cursor *c)
{
    (void)original_cursor_fail(c, PS_ENOMEM, "out of memory");
}

/* The bytes of a row; NULL: it failed. */
static const void *row_of(struct original_cursor *c, struct lens *l,
                          uint64_t row)
{
    const struct original_tensor *t = l->tensor;
    uint64_t bytes = t->row_bytes;
    size_t got = 0;
    void *data;
    int rc;

    if (bytes == 0) {
        return "";
    }
    if (row < l->first || row - l->first >= l->n) {
        l->first = row;
        l->n = base_min_u64(base_max_u64(ORIGINAL_WINDOW / bytes, 1),
                            t->rows - row);
        buf_clear(&l->bytes);
        data = buf_extend(&l->bytes, (size_t)(l->n * bytes));
        if (data == NULL) {
            out_of_memory(c);
            return NULL;
        }
        c->at = t->offset + row * bytes;
        rc = c->fs->ops->read_at(c->fs, c->file, c->at, data,
                                 (size_t)(l->n * bytes), &got, c->e);
        if (rc != PS_OK) {
            c->status = rc;
            return NULL;
        }
        if (got != l->n * bytes) {
            (void)original_cursor_fail(c, PS_EDATALOSS,
                                       "it became shorter while it was read");
            return NULL;
        }
    }
    return l->bytes.data + (row - l->first) * bytes;
}

static int read_row(struct reading *r, const struct original_item *item,
                    original_row_fn *fn, void *context, struct err *e)
{
    struct original_row row = {.key = item->key, .low = item->low};

    if (r->rows->variable->kind == ORIGINAL_INDEX) {
        row.key += r->part->begin;
    }
    row.values = row_of(r->c, &r->data, item->id);
    for (uint32_t i = 0; i < r->rows->n_slots && r->c->status == PS_OK; i++) {
        if (r->slots[i].tensor != NULL) {
            row.slots[i] = row_of(r->c, &r->slots[i], item->id);
        }
    }
    return r->c->status == PS_OK ? fn(context, &row, e) : r->c->status;
}

static int read_part(struct original_cursor *c,
                     const struct original_rows *rows,
                     const struct original_part *p, original_row_fn *fn,
                     void *context)
{
    struct reading r = {.c = c, .rows = rows, .part = p};
    bool is_index = rows->variable->kind == ORIGINAL_INDEX;
    struct original_item *items = NULL;
    int rc = PS_OK;

    r.data.tensor = &p->data;
    for (uint32_t i = 0; i < rows->n_slots; i++) {
        const struct original_slot *s =
            original_slot_named(p, rows->slots[i].name);

        r.slots[i].tensor = s == NULL || s->is_any ? NULL : &s->tensor;
    }
    if (!is_index) {
        rc = original_items(c, rows->variable, p, &items);
    }
    for (uint64_t i = 0; i < p->n_items && rc == PS_OK; i++) {
        struct original_item item = {.key = i, .id = i};

        rc = read_row(&r, is_index ? &item : &items[i], fn, context, c->e);
    }
    mem_free(items);
    buf_fini(&r.data.bytes);
    for (uint32_t i = 0; i < rows->n_slots; i++) {
        buf_fini(&r.slots[i].bytes);
    }
    return rc;
}

int original_read(const struct original *o, struct fs *fs,
                  const struct original_rows *rows, original_row_fn *fn,
                  void *context, struct err *e)
{
    int rc = PS_OK;

    for (uint32_t i = 0; i < rows->n_parts && rc == PS_OK; i++) {
        char path[ORIGINAL_PATH_BYTES];
        struct original_cursor c;

        rc = original_part_path(o, rows->variable, i, path, e);
        if (rc == PS_OK) {
            rc = original_cursor_open(&c, fs, path, NULL, e);
        }
        if (rc != PS_OK) {
            return rc;
        }
        if (c.size != rows->parts[i].size) {
            rc = original_cursor_fail(&c, PS_EDATALOSS,
                                      "it has changed while it was read");
        } else {
            rc = read_part(&c, rows, &rows->parts[i], fn, context);
        }
        original_cursor_close(&c);
    }
    return rc;
}

int original_read_any(const struct original *o, struct fs *fs,
                      const struct original_rows *rows, uint32_t slot,
                      struct buf *out, struct err *e)
{
    const char *name = rows->slots[slot].name;

    for (uint32_t i = 0; i < rows->n_parts; i++) {
        const struct original_slot *s =
            original_slot_named(&rows->parts[i], name);
        char path[ORIGINAL_PATH_BYTES];
        struct original_cursor c;
        void *data;
        size_t size;
        int rc;

        if (s == NULL) {
            continue;
        }
        rc = original_part_path(o, rows->variable, i, path, e);
        if (rc == PS_OK) {
            rc = original_cursor_open(&c, fs, path, NULL, e);
        }
        if (rc != PS_OK) {
            return rc;
        }
        size = (size_t)(s->tensor.rows * s->tensor.row_bytes);
        data = buf_extend(out, size);
        c.at = s->tensor.offset;
        if (data == NULL) {
            out_of_memory(&c);
        } else if (size > 0) {
            (void)original_cursor_bytes(&c, data, size);
        }
        rc = c.status;
        original_cursor_close(&c);
        return rc;
    }
    return err_set(e, PS_ENOTFOUND, "no part has slot \"%.80s\"", name);
}

static bool same_slots(const struct original_slot *a,
                       const struct original_slot *b)
{
    bool is_same = a->is_any == b->is_any &&
                   a->tensor.dtype == b->tensor.dtype &&
                   a->tensor.n_dims == b->tensor.n_dims;

    for (uint32_t i = 1; i < a->tensor.n_dims && is_same && !a->is_any; i++) {
        is_same = a->tensor.dims[i] == b->tensor.dims[i];
    }
    return is_same;
}

/* Adds the slots of a part to those of the variable. */
static void merge_slots(struct original_cursor *c, struct original_rows *rows,
                        const struct original_part *p)
{
    for (uint32_t i = 0; i < p->n_slots && c->status == PS_OK; i++) {
        const struct original_slot *s = &p->slots[i];
        uint32_t k = 0;

        while (k < rows->n_slots && strcmp(rows->slots[k].name, s->name) != 0) {
            k++;
        }
        if (k == ORIGINAL_SLOTS_MAX) {
            (void)original_cursor_fail(c, PS_ENOTIMPL, "more than %d slots",
                                       ORIGINAL_SLOTS_MAX);
        } else if (k == rows->n_slots) {
            rows->slots[rows->n_slots++] = *s;
        } else if (!same_slots(&rows->slots[k], s)) {
            (void)original_cursor_fail(c, PS_EDATALOSS,
                                       "slot \"%.60s\" is another one than in "
                                       "the parts before",
                                       s->name);
        }
    }
}

static int give_keys(struct original_cursor *c,
                     const struct original_variable *v,
                     const struct original_part *p, original_row_fn *fn,
                     void *context)
{
    struct original_item *items;
    int rc = PS_OK;

    if (v->kind != ORIGINAL_INDEX) {
        rc = original_items(c, v, p, &items);
        for (uint64_t i = 0; i < p->n_items && rc == PS_OK && fn != NULL; i++) {
            struct original_row row = {.key = items[i].key,
                                       .low = items[i].low};

            rc = fn(context, &row, c->e);
        }
        mem_free(items);
    }
    return rc;
}

static int scan_part(const struct original *o, struct fs *fs,
                     struct original_rows *rows, uint32_t i,
                     struct arena *arena, original_row_fn *fn, void *context,
                     struct err *e)
{
    struct original_part *p = &rows->parts[i];
    char path[ORIGINAL_PATH_BYTES];
    struct original_cursor c;
    int rc = original_part_path(o, rows->variable, i, path, e);

    if (rc == PS_OK) {
        rc = original_cursor_open(&c, fs, path, arena, e);
    }
    if (rc == PS_ENOTFOUND) {
        return rows->variable->is_not_saved && i == 0
                   ? rc
                   : err_set(e, PS_EDATALOSS, "%.100s: it is missing", path);
    }
    if (rc != PS_OK) {
        return rc;
    }
    rc = original_part_read(&c, rows->variable, p);
    if (rc == PS_OK) {
        merge_slots(&c, rows, p);
        rc = c.status;
    }
    if (rc == PS_OK) {
        rc = give_keys(&c, rows->variable, p, fn, context);
    }
    rows->rows += p->n_items;
    rows->bytes += p->size;
    original_cursor_close(&c);
    return rc;
}

int original_scan(const struct original *o, struct fs *fs,
                  const struct original_variable *v, struct arena *arena,
                  original_row_fn *fn, void *context,
                  struct original_rows *rows, struct err *e)
{
    bool is_scalar = v->kind == ORIGINAL_INDEX && v->n_dims == 0;
    uint64_t next = 0;

    *rows = (struct original_rows){.variable = v, .n_parts = v->n_parts};
    rows->parts = arena_take(arena, v->n_parts * sizeof(*rows->parts));
    rows->slots = arena_take(arena, ORIGINAL_SLOTS_MAX * sizeof(*rows->slots));
    if (rows->parts == NULL || rows->slots == NULL) {
        return err_set(e, PS_ENOMEM, "out of memory");
    }
    memset(rows->parts, 0, v->n_parts * sizeof(*rows->parts));
    for (uint32_t i = 0; i < v->n_parts; i++) {
        int rc;

        rows->parts[i].begin = next;
        next += is_scalar ? 1 : v->sizes[i];
        rows->parts[i].end = next;
        rc = scan_part(o, fs, rows, i, arena, fn, context, e);
        if (rc == PS_ENOTFOUND) {
            rows->is_absent = true;
            rows->n_parts = 0;
            return PS_OK;
        }
        if (rc != PS_OK) {
            return rc;
        }
    }
    return PS_OK;
}
