/* ckpt_header.c - the header of a safetensors file, taken apart, and blocks.
 *
 * The rules are those of the safetensors package: a size, an object of tensors
 * (and `__metadata__`), whose bytes follow one another without a gap to the end
 * of the file.
 */
#include "ckpt/ckpt_impl.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/hash.h"

/* TENSOR_TEXT_MIN: less than the shortest that a tensor can be said in. */
enum { SIZE_BYTES = 8, TENSOR_TEXT_MIN = 16 };

/* One tensor, as it stands in the header. */
struct entry {
    const char *dtype;
    uint32_t n_shape;
    uint64_t shape[CKPT_SHAPE_MAX];
    uint32_t n_range;
    uint64_t range[2]; /* from the end of the header */
};

static const struct ckpt_json_field entry_fields[] = {
    {.name = "dtype",
     .type = JSON_TEXT,
     .is_required = true,
     .offset = offsetof(struct entry, dtype)},
    {.name = "shape",
     .type = JSON_U64,
     .is_required = true,
     .is_list = true,
     .room = CKPT_SHAPE_MAX,
     .offset = offsetof(struct entry, shape),
     .count = offsetof(struct entry, n_shape)},
    {.name = "data_offsets",
     .type = JSON_U64,
     .is_required = true,
     .is_list = true,
     .room = 2,
     .offset = offsetof(struct entry, range),
     .count = offsetof(struct entry, n_range)},
};

static const struct ckpt_json_record entry_record = {
    .fields = entry_fields,
    .n = ARRAY_LEN(entry_fields),
    .size = sizeof(struct entry),
};

static int compare_offsets(const void *a, const void *b)
{
    const struct ckpt_tensor *x = *(const struct ckpt_tensor *const *)a;
    const struct ckpt_tensor *y = *(const struct ckpt_tensor *const *)b;

    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    return x->bytes == y->bytes ? 0 : (x->bytes < y->bytes ? -1 : 1);
}

static int compare_names(const void *a, const void *b)
{
    const struct ckpt_tensor *x = *(const struct ckpt_tensor *const *)a;
    const struct ckpt_tensor *y = *(const struct ckpt_tensor *const *)b;

    return strcmp(x->name, y->name);
}

int ckpt_file_check(const struct ckpt_file *file, struct arena *arena,
                    struct err *e)
{
    const struct ckpt_tensor **order =
        arena_take(arena, file->n_tensors * sizeof(*order));
    uint64_t next = file->header_bytes;

    if (order == NULL) {
        return err_set(e, PS_ENOMEM, "out of memory");
    }
    for (uint32_t i = 0; i < file->n_tensors; i++) {
        order[i] = &file->tensors[i];
    }
    qsort(order, file->n_tensors, sizeof(*order), compare_offsets);
    for (uint32_t i = 0; i < file->n_tensors; i++) {
        if (order[i]->offset != next || order[i]->bytes > file->size - next) {
            return err_set(e, PS_EDATALOSS,
                           "tensor \"%.100s\" is not where the one before it "
                           "ends",
                           order[i]->name);
        }
        next += order[i]->bytes;
    }
    if (next != file->size) {
        return err_set(e, PS_EDATALOSS,
                       "the tensors end at %" PRIu64 ", the file at %" PRIu64,
                       next, file->size);
    }
    qsort(order, file->n_tensors, sizeof(*order), compare_names);
    for (uint32_t i = 1; i < file->n_tensors; i++) {
        if (strcmp(order[i - 1]->name, order[i]->name) == 0) {
            return err_set(e, PS_EDATALOSS, "two tensors are \"%.100s\"",
                           order[i]->name);
        }
    }
    return PS_OK;
}

static int take_tensor(const struct entry *x, const char *name,
                       struct ckpt_file *file, struct err *e)
{
    struct ckpt_tensor *t = &file->tensors[file->n_tensors];

    *t = (struct ckpt_tensor){
        .name = name, .dtype = x->dtype, .n_shape = x->n_shape};
    memcpy(t->shape, x->shape, sizeof(t->shape));
    if (x->n_shape == 0 || x->n_range != 2 || ckpt_dtype_bytes(t->dtype) == 0 ||
        !ckpt_tensor_size(t)) {
        return err_set(e, PS_EDATALOSS,
                       "tensor \"%.100s\" has no type or shape of ours", name);
    }
    if (x->range[0] > x->range[1] || x->range[1] - x->range[0] != t->bytes ||
        x->range[1] > file->size - file->header_bytes) {
        return err_set(e, PS_EDATALOSS,
                       "tensor \"%.100s\" does not fit its bytes", name);
    }
    t->offset = file->header_bytes + x->range[0];
    file->n_tensors++;
    return PS_OK;
}

/* Reads the tensors; the first pass counts them (tensors is NULL). */
static int read_tensors(const char *json, size_t size, struct arena *arena,
                        struct ckpt_file *file, uint32_t *n, struct err *e)
{
    struct ckpt_json j;
    struct entry x;
    const char *name;
    bool first = true;

    *n = 0;
    ckpt_json_start(&j, json, size, arena);
    if (!ckpt_json_open(&j)) {
        return ckpt_json_end(&j, e);
    }
    while (ckpt_json_name(&j, &first, &name)) {
        int rc;

        if (file->tensors == NULL || strcmp(name, "__metadata__") == 0) {
            ckpt_json_skip(&j);
            *n += 1;
        } else if (ckpt_json_read(&j, &entry_record, &x)) {
            rc = take_tensor(&x, name, file, e);
            if (rc != PS_OK) {
                return rc;
            }
        }
    }
    return ckpt_json_end(&j, e);
}

int ckpt_header_decode(const void *data, size_t size, uint64_t file_size,
                       struct arena *arena, struct ckpt_file *file,
                       struct err *e)
{
    const uint8_t *p = data;
    uint64_t json = 0;
    uint32_t n;
    int rc;

    *file = (struct ckpt_file){.name = "", .size = file_size};
    for (int i = 0; i < SIZE_BYTES && size >= SIZE_BYTES; i++) {
        json |= (uint64_t)p[i] << (8 * i);
    }
    if (size < SIZE_BYTES || file_size < size || json > CKPT_HEADER_MAX ||
        json > size - SIZE_BYTES || json < 2) {
        return err_set(e, PS_EDATALOSS, "it has no header of safetensors");
    }
    file->header_bytes = json + SIZE_BYTES;
    file->header_sum = hash_bytes(p, file->header_bytes);
    p += SIZE_BYTES;
    if (*p != '{') {
        return err_set(e, PS_EDATALOSS, "the header is no JSON object");
    }
    rc = read_tensors((const char *)p, json, arena, file, &n, e);
    if (rc != PS_OK) {
        return rc;
    }
    if (n > json / TENSOR_TEXT_MIN) {
        return err_set(e, PS_EDATALOSS, "tensors of nearly nothing");
    }
    file->tensors = arena_take(arena, n * sizeof(*file->tensors));
    if (file->tensors == NULL) {
        return err_set(e, PS_ENOMEM, "out of memory");
    }
    rc = read_tensors((const char *)p, json, arena, file, &n, e);
    return rc == PS_OK ? ckpt_file_check(file, arena, e) : rc;
}

static int compare_tensors(const struct ckpt_tensor *a,
                           const struct ckpt_tensor *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->dtype, b->dtype) == 0 &&
                   a->n_shape == b->n_shape &&
                   memcmp(a->shape, b->shape,
                          a->n_shape * sizeof(a->shape[0])) == 0 &&
                   a->offset == b->offset
               ? PS_OK
               : PS_EDATALOSS;
}

static int check_header(const struct ckpt_file *file, const void *data,
                        struct arena *arena, struct err *e)
{
    struct ckpt_file found;
    int rc;

    if (hash_bytes(data, file->header_bytes) != file->header_sum) {
        return err_set(e, PS_EDATALOSS, "the header is damaged");
    }
    rc = ckpt_header_decode(data, file->header_bytes, file->size, arena, &found,
                            e);
    if (rc != PS_OK) {
        return rc;
    }
    if (found.header_bytes != file->header_bytes ||
        found.n_tensors != file->n_tensors) {
        return err_set(e, PS_EDATALOSS, "the header is not that of the index");
    }
    for (uint32_t i = 0; i < file->n_tensors; i++) {
        if (compare_tensors(&found.tensors[i], &file->tensors[i]) != PS_OK) {
            return err_set(e, PS_EDATALOSS,
                           "tensor \"%.100s\" is not that of the index",
                           file->tensors[i].name);
        }
    }
    return PS_OK;
}

int ckpt_header_check(const struct ckpt_file *file, const void *data,
                      struct err *e)
{
    struct arena arena;
    int rc;

    arena_init(&arena);
    rc = check_header(file, data, &arena, e);
    if (rc != PS_OK) {
        err_wrap(e, "%s", file->name);
    }
    arena_fini(&arena);
    return rc;
}

struct ckpt_block ckpt_block(const struct ckpt_tensor *t, uint32_t block)
{
    uint64_t first;
    uint64_t rows;
    uint64_t row_bytes;

    ASSERT(block < t->n_sums);
    first = block * t->block_rows;
    rows = base_min_u64(t->block_rows, t->shape[0] - first);
    row_bytes = t->bytes / t->shape[0];
    return (struct ckpt_block){.offset = t->offset + first * row_bytes,
                               .bytes = rows * row_bytes,
                               .first_row = first,
                               .rows = rows};
}

int ckpt_block_check(const struct ckpt_file *file, const struct ckpt_tensor *t,
                     uint32_t block, const void *data, struct err *e)
{
    struct ckpt_block b = ckpt_block(t, block);

    if (hash_bytes(data, b.bytes) == t->sums[block]) {
        return PS_OK;
    }
    return err_set(e, PS_EDATALOSS,
                   "%s: tensor \"%.80s\" is damaged in bytes %" PRIu64
                   " to %" PRIu64,
                   file->name, t->name, b.offset, b.offset + b.bytes - 1);
}
