/* original_part.c - how one file VARIABLE^PART is laid out, and its keys.
 *
 *     i32 slicer | index: u64 first row          | tensor | u64 n | n slots
 *                | hash: i64 n, u64 n, n * items |        |       | str, i32,
 *                                                                   tensor
 *     tensor: i32 dtype, dims, initializer, numbers
 *
 * A hash tensor has more rows than there are keys (whole chunks, free rows): an
 * item says which row is its key's. Of two keys with one row, or two rows of
 * one key, nobody could say what is right.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "ckpt/original_impl.h"

enum { SLOT_BYTES_MIN = 8 + 4 + 4 + 8 + 8 + 8, ITEM64 = 16, ITEM128 = 24 };

/* std::hash of the type names of the initializers; nothing else is read. */
static const struct {
    uint64_t id;
    enum original_init_kind kind;
} inits[] = {
    {UINT64_C(0x034ab8da0d1fbf01), ORIGINAL_INIT_NONE},
    {UINT64_C(0x1705801f037331d8), ORIGINAL_INIT_CONSTANT},
    {UINT64_C(0x481f79334c46199c), ORIGINAL_INIT_TRUNCATED_NORMAL},
    {UINT64_C(0xab9ce69dce6131bc), ORIGINAL_INIT_NORMAL},
    {UINT64_C(0xe7538a190235bb16), ORIGINAL_INIT_ORTHOGONAL},
    {UINT64_C(0x8b54394e2252e0d4), ORIGINAL_INIT_UNIFORM_UNIT_SCALING},
    {UINT64_C(0x943f8d15e6baf29f), ORIGINAL_INIT_VARIANCE_SCALING},
};

uint32_t original_bucket64(uint64_t key)
{
    return (uint32_t)(key % ORIGINAL_BUCKETS);
}

uint32_t original_bucket128(uint64_t a, uint64_t b)
{
    uint32_t p = 0x0319;

    for (int i = 0; i < 8; i++) {
        uint64_t word = (i < 4 ? a : b) >> (16 * (i % 4)) & 0xffff;

        p = ((p ^ (uint32_t)word) * 397) % ORIGINAL_BUCKETS;
    }
    return p;
}

const struct original_slot *original_slot_named(const struct original_part *p,
                                                const char *name)
{
    for (uint32_t i = 0; i < p->n_slots; i++) {
        if (strcmp(p->slots[i].name, name) == 0) {
            return &p->slots[i];
        }
    }
    return NULL;
}

/* The product of all dims but the last. */
static double read_area(struct original_cursor *c)
{
    uint64_t n = original_cursor_count(c, sizeof(uint64_t), "dimensions");
    double area = 1;

    for (uint64_t i = 0; i < n; i++) {
        uint64_t dim = original_cursor_u64(c);

        area *= i + 1 < n ? (double)dim : 1.0;
    }
    return area;
}

static void read_init_body(struct original_cursor *c, struct original_init *x)
{
    switch (x->kind) {
    case ORIGINAL_INIT_NONE:
        break;
    case ORIGINAL_INIT_CONSTANT:
        x->a = original_cursor_f64(c);
        break;
    case ORIGINAL_INIT_TRUNCATED_NORMAL:
    case ORIGINAL_INIT_NORMAL:
        x->seed = (int32_t)original_cursor_u32(c);
        x->a = original_cursor_f32(c);
        x->b = original_cursor_f32(c);
        break;
    case ORIGINAL_INIT_ORTHOGONAL:
        x->seed = (int32_t)original_cursor_u32(c);
        x->a = original_cursor_f32(c);
        (void)original_cursor_u64(c); /* the dimension */
        break;
    case ORIGINAL_INIT_UNIFORM_UNIT_SCALING:
        x->seed = (int32_t)original_cursor_u32(c);
        x->a = original_cursor_f32(c);
        x->area = read_area(c);
        break;
    case ORIGINAL_INIT_VARIANCE_SCALING:
    default:
        x->seed = (int32_t)original_cursor_u32(c);
        x->a = original_cursor_f64(c);
        (void)original_cursor_text(c, false, "mode");
        x->is_normal = strcmp(original_cursor_text(c, false, "distribution"),
                              "normal") == 0;
        (void)read_area(c);
        break;
    }
}

static void read_init(struct original_cursor *c, struct original_init *x)
{
    uint64_t start = c->at;
    uint64_t id = original_cursor_u64(c);
    uint64_t n = original_cursor_count(c, 1, "bytes of an initializer");
    uint64_t body = c->at;

    *x = (struct original_init){.kind = ORIGINAL_INIT_NONE};
    for (size_t i = 0; i < ARRAY_LEN(inits) && c->status == PS_OK; i++) {
        if (inits[i].id == id) {
            x->kind = inits[i].kind;
            read_init_body(c, x);
            if (c->status == PS_OK && c->at - body != n) {
                c->at = body - sizeof(n);
                (void)original_cursor_fail(c, PS_EDATALOSS,
                                           "%" PRIu64
                                           " bytes of an initializer of "
                                           "another length",
                                           n);
            }
            return;
        }
    }
    c->at = c->status == PS_OK ? start : c->at;
    (void)original_cursor_fail(c, PS_ENOTIMPL,
                               "initializer %016" PRIx64 " is not known", id);
}

static void read_tensor(struct original_cursor *c, struct original_tensor *t)
{
    uint64_t start = c->at;
    uint64_t n;
    uint64_t bytes = 0;
    bool is_good = true;

    *t = (struct original_tensor){.dtype = original_cursor_u32(c)};
    if (t->dtype > ORIGINAL_F64) {
        c->at = start;
        (void)original_cursor_fail(c, PS_ENOTIMPL,
                                   "data type %" PRIu32 "; known are 0 to 5",
                                   t->dtype);
        return;
    }
    n = original_cursor_count(c, sizeof(uint64_t), "dimensions");
    if (n > ORIGINAL_DIMS_MAX) {
        c->at -= sizeof(n);
        (void)original_cursor_fail(c, PS_ENOTIMPL,
                                   "%" PRIu64 " dimensions; read are up to %d",
                                   n, ORIGINAL_DIMS_MAX);
        return;
    }
    t->n_dims = (uint32_t)n;
    t->rows = 1;
    t->row_bytes = original_dtype_bytes(t->dtype);
    for (uint32_t i = 0; i < t->n_dims; i++) {
        t->dims[i] = original_cursor_u64(c);
        if (i == 0) {
            t->rows = t->dims[0];
        } else if (__builtin_mul_overflow(t->row_bytes, t->dims[i],
                                          &t->row_bytes)) {
            is_good = false;
        }
    }
    if (!is_good || __builtin_mul_overflow(t->rows, t->row_bytes, &bytes)) {
        (void)original_cursor_fail(c, PS_EDATALOSS,
                                   "a shape of more than 64 bits");
    }
    read_init(c, &t->init);
    t->offset = c->at;
    if (c->status == PS_OK) {
        original_cursor_skip(c, bytes, "a tensor");
    }
}

/* The slicer, up to its keys. */
static void read_slicer(struct original_cursor *c,
                        const struct original_variable *v,
                        struct original_part *p)
{
    uint32_t kind = original_cursor_u32(c);
    uint64_t n;

    if (c->status == PS_OK && kind != v->kind) {
        c->at = 0;
        (void)original_cursor_fail(
            c, PS_EDATALOSS,
            "it is of kind %" PRIu32 ", __meta__ says %" PRIu32, kind, v->kind);
        return;
    }
    n = original_cursor_u64(c);
    if (v->kind == ORIGINAL_INDEX) {
        if (c->status == PS_OK && n != p->begin) {
            c->at -= sizeof(n);
            (void)original_cursor_fail(c, PS_EDATALOSS,
                                       "its first row is %" PRIu64
                                       ", by __meta__ %" PRIu64,
                                       n, p->begin);
        }
        p->n_items = p->end - p->begin;
        return;
    }
    p->n_items = original_cursor_count(
        c, v->kind == ORIGINAL_HASH64 ? ITEM64 : ITEM128, "keys");
    /* The number before is the map's high-water mark or the same: of no use
     * but to tell damage. */
    if (c->status == PS_OK && n > INT64_MAX) {
        c->at -= 2 * sizeof(n);
        (void)original_cursor_fail(c, PS_EDATALOSS,
                                   "a count that is less than 0");
    }
    p->items_offset = c->at;
    original_cursor_skip(
        c, p->n_items * (v->kind == ORIGINAL_HASH64 ? ITEM64 : ITEM128),
        "keys");
}

/* Whether the dims behind the first are those of the variable. */
static bool has_shape(const struct original_tensor *t,
                      const struct original_variable *v)
{
    bool is_same = t->n_dims == v->n_dims;

    for (uint32_t i = 1; i < v->n_dims && is_same; i++) {
        is_same = t->dims[i] == v->dims[i];
    }
    return is_same;
}

static void read_slot(struct original_cursor *c,
                      const struct original_variable *v,
                      const struct original_part *p, struct original_slot *s)
{
    uint64_t start;
    uint32_t joiner;

    s->name = original_cursor_text(c, true, "the name of a slot");
    start = c->at;
    joiner = original_cursor_u32(c);
    if (joiner > 1) {
        c->at = start;
        (void)original_cursor_fail(c, PS_ENOTIMPL,
                                   "slot \"%.40s\" has joiner %" PRIu32
                                   "; known are 0 and 1",
                                   s->name, joiner);
        return;
    }
    s->is_any = joiner == 1;
    start = c->at;
    read_tensor(c, &s->tensor);
    if (c->status == PS_OK && !s->is_any && v->kind == ORIGINAL_INDEX &&
        s->tensor.rows != p->n_items) {
        c->at = start;
        (void)original_cursor_fail(c, PS_EDATALOSS,
                                   "slot \"%.40s\" has %" PRIu64
                                   " rows, the part has %" PRIu64,
                                   s->name, s->tensor.rows, p->n_items);
    }
}

static int compare_slots(const void *a, const void *b)
{
    const struct original_slot *x = a;
    const struct original_slot *y = b;

    return strcmp(x->name, y->name);
}

static void read_slots(struct original_cursor *c,
                       const struct original_variable *v,
                       struct original_part *p)
{
    uint64_t n = original_cursor_count(c, SLOT_BYTES_MIN, "slots");

    if (n > ORIGINAL_SLOTS_MAX) {
        (void)original_cursor_fail(c, PS_ENOTIMPL,
                                   "%" PRIu64 " slots; read are up to %d", n,
                                   ORIGINAL_SLOTS_MAX);
        return;
    }
    p->slots = original_cursor_take(c, n, sizeof(*p->slots));
    for (uint64_t i = 0; i < n && c->status == PS_OK; i++) {
        read_slot(c, v, p, &p->slots[i]);
    }
    if (c->status != PS_OK || n == 0) {
        return;
    }
    p->n_slots = (uint32_t)n;
    qsort(p->slots, n, sizeof(*p->slots), compare_slots);
    for (uint64_t i = 1; i < n; i++) {
        if (strcmp(p->slots[i - 1].name, p->slots[i].name) == 0) {
            (void)original_cursor_fail(
                c, PS_EDATALOSS, "two slots are \"%.60s\"", p->slots[i].name);
        }
    }
}

int original_part_read(struct original_cursor *c,
                       const struct original_variable *v,
                       struct original_part *p)
{
    uint64_t start;

    p->size = c->size;
    read_slicer(c, v, p);
    start = c->at;
    read_tensor(c, &p->data);
    if (c->status == PS_OK &&
        (p->data.dtype != v->dtype || !has_shape(&p->data, v) ||
         (v->kind == ORIGINAL_INDEX && p->data.rows != p->n_items))) {
        c->at = start;
        (void)original_cursor_fail(c, PS_EDATALOSS,
                                   "its data type or shape is not that of "
                                   "__meta__");
    }
    read_slots(c, v, p);
    if (c->status == PS_OK && original_cursor_left(c) > 0) {
        (void)original_cursor_fail(c, PS_EDATALOSS,
                                   "%" PRIu64 " bytes are left over",
                                   original_cursor_left(c));
    }
    return c->status;
}

static int compare_keys(const void *a, const void *b)
{
    const struct original_item *x = a;
    const struct original_item *y = b;

    if (x->key != y->key) {
        return x->key < y->key ? -1 : 1;
    }
    return x->low == y->low ? 0 : (x->low < y->low ? -1 : 1);
}

static int compare_ids(const void *a, const void *b)
{
    const struct original_item *x = a;
    const struct original_item *y = b;

    return x->id == y->id ? 0 : (x->id < y->id ? -1 : 1);
}

/* Rows that each tensor of the part has. */
static uint64_t capacity_of(const struct original_part *p)
{
    uint64_t rows = p->data.rows;

    for (uint32_t i = 0; i < p->n_slots; i++) {
        if (!p->slots[i].is_any) {
            rows = base_min_u64(rows, p->slots[i].tensor.rows);
        }
    }
    return rows;
}

static void read_items(struct original_cursor *c,
                       const struct original_variable *v,
                       const struct original_part *p,
                       struct original_item *items)
{
    bool is_128 = v->kind == ORIGINAL_HASH128;
    uint64_t capacity = capacity_of(p);

    c->at = p->items_offset;
    for (uint64_t i = 0; i < p->n_items && c->status == PS_OK; i++) {
        struct original_item *x = &items[i];
        uint64_t at = c->at;
        uint32_t bucket;

        x->key = original_cursor_u64(c);
        x->low = is_128 ? original_cursor_u64(c) : 0;
        x->id = original_cursor_u64(c);
        bucket = is_128 ? original_bucket128(x->key, x->low)
                        : original_bucket64(x->key);
        if (c->status != PS_OK) {
            return;
        }
        if (x->id >= capacity) {
            c->at = at;
            (void)original_cursor_fail(c, PS_EDATALOSS,
                                       "key %" PRId64 " has row %" PRIu64
                                       ", there are %" PRIu64,
                                       (int64_t)x->key, x->id, capacity);
        } else if (bucket < p->begin || bucket >= p->end) {
            c->at = at;
            (void)original_cursor_fail(c, PS_EDATALOSS,
                                       "key %" PRId64 " belongs to bucket "
                                       "%" PRIu32 ", which is another part's",
                                       (int64_t)x->key, bucket);
        }
    }
}

int original_items(struct original_cursor *c, const struct original_variable *v,
                   const struct original_part *p, struct original_item **items)
{
    uint64_t n = p->n_items;
    struct original_item *x = mem_try(mem_array(n, sizeof(*x)));

    *items = NULL;
    if (x == NULL) {
        return n == 0
                   ? PS_OK
                   : original_cursor_fail(
                         c, PS_ENOMEM, "out of memory for %" PRIu64 " keys", n);
    }
    read_items(c, v, p, x);
    if (c->status == PS_OK && n > 0) {
        c->at = p->items_offset;
        qsort(x, n, sizeof(*x), compare_keys);
        for (uint64_t i = 1; i < n && c->status == PS_OK; i++) {
            if (compare_keys(&x[i - 1], &x[i]) == 0) {
                (void)original_cursor_fail(c, PS_EDATALOSS,
                                           "key %" PRId64 " is there twice",
                                           (int64_t)x[i].key);
            }
        }
        qsort(x, n, sizeof(*x), compare_ids);
        for (uint64_t i = 1; i < n && c->status == PS_OK; i++) {
            if (x[i - 1].id == x[i].id) {
                (void)original_cursor_fail(c, PS_EDATALOSS,
                                           "row %" PRIu64
                                           " is that of two keys,"
                                           " one of them %" PRId64,
                                           x[i].id, (int64_t)x[i].key);
            }
        }
    }
    if (c->status != PS_OK) {
        mem_free(x);
        return c->status;
    }
    *items = x;
    return PS_OK;
}
