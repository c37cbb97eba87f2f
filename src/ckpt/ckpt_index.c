/* ckpt_index.c - lane-<lane>.json: a lane's files and their checksums. */
#include "ckpt/ckpt_impl.h"

#include <inttypes.h>

#include "base/limits.h"

/* clang-format off */
#define MEMBER(kind, what, owner)                                             \
    {.name = #what, .type = JSON_##kind, .is_required = true,                 \
     .offset = offsetof(struct owner, what)}
#define SCALARS(kind, what, counter, most, owner)                             \
    {.name = #what, .type = JSON_##kind, .is_required = true,                 \
     .is_list = true, .room = (most), .offset = offsetof(struct owner, what), \
     .count = offsetof(struct owner, counter)}
#define RECORDS(what, element, owner)                                         \
    {.name = #what, .type = JSON_RECORD, .is_required = true,                 \
     .is_list = true, .offset = offsetof(struct owner, what),                 \
     .count = offsetof(struct owner, n_##what), .record = &(element)}
#define RECORD(table, owner)                                                  \
    {.fields = (table), .n = ARRAY_LEN(table), .size = sizeof(struct owner)}

static const struct ckpt_json_field part_fields[] = {
    MEMBER(TEXT, variable, ckpt_part),
    MEMBER(U32, id, ckpt_part),
    MEMBER(U32, kind, ckpt_part),
    MEMBER(U32, begin, ckpt_part),
    MEMBER(U32, end, ckpt_part),
    MEMBER(U32, content, ckpt_part),
    MEMBER(BOOL, has_keys, ckpt_part),
    MEMBER(U64, row_begin, ckpt_part),
    MEMBER(U64, rows, ckpt_part),
    MEMBER(U32, dim, ckpt_part),
    SCALARS(TEXT, slots, n_slots, TABLE_SLOTS_MAX, ckpt_part),
};
static const struct ckpt_json_record part_record =
    RECORD(part_fields, ckpt_part);

static const struct ckpt_json_field tensor_fields[] = {
    MEMBER(TEXT, name, ckpt_tensor),
    MEMBER(TEXT, dtype, ckpt_tensor),
    SCALARS(U64, shape, n_shape, CKPT_SHAPE_MAX, ckpt_tensor),
    MEMBER(U64, offset, ckpt_tensor),
    MEMBER(U64, block_rows, ckpt_tensor),
    {.name = "xxh3", .type = JSON_HEX, .is_required = true, .is_list = true,
     .offset = offsetof(struct ckpt_tensor, sums),
     .count = offsetof(struct ckpt_tensor, n_sums)},
};
static const struct ckpt_json_record tensor_record =
    RECORD(tensor_fields, ckpt_tensor);

static const struct ckpt_json_field file_fields[] = {
    MEMBER(TEXT, name, ckpt_file),
    MEMBER(U64, size, ckpt_file),
    MEMBER(U64, header_bytes, ckpt_file),
    {.name = "header_xxh3", .type = JSON_HEX, .is_required = true,
     .offset = offsetof(struct ckpt_file, header_sum)},
    RECORDS(tensors, tensor_record, ckpt_file),
};
static const struct ckpt_json_record file_record =
    RECORD(file_fields, ckpt_file);

static const struct ckpt_json_field index_fields[] = {
    MEMBER(U64, cut, ckpt_index),
    MEMBER(U64, term, ckpt_index),
    MEMBER(U64, lane, ckpt_index),
    RECORDS(parts, part_record, ckpt_index),
    RECORDS(files, file_record, ckpt_index),
};
static const struct ckpt_json_record index_record =
    RECORD(index_fields, ckpt_index);
/* clang-format on */

int ckpt_index_encode(const struct ckpt_index *x, struct buf *out)
{
    int rc = ckpt_json_write(&index_record, x, out);

    if (rc == PS_OK) {
        rc = buf_append(out, "\n", 1);
    }
    return rc;
}

static int check_part(const struct ckpt_part *p, struct err *e)
{
    if (p->kind != PS_DENSE && p->kind != PS_HASH64) {
        return err_set(e, PS_EVERSION,
                       "variable \"%.100s\" is of kind %" PRIu32
                       ", which this program does not know",
                       p->variable, p->kind);
    }
    if (p->content != CKPT_CHANGED && p->content != CKPT_ERASED) {
        return err_set(e, PS_EVERSION,
                       "a part of \"%.100s\" has content %" PRIu32
                       ", which this program does not know",
                       p->variable, p->content);
    }
    if (p->variable[0] == '\0' || p->begin >= p->end ||
        p->end > LIMIT_BUCKETS || p->dim == 0 || p->dim > LIMIT_DIM ||
        p->row_begin > UINT64_MAX - p->rows ||
        (p->kind != PS_DENSE && !p->has_keys) ||
        (p->content == CKPT_ERASED && p->n_slots > 0)) {
        return err_set(e, PS_EDATALOSS, "a part of \"%.100s\" cannot be",
                       p->variable);
    }
    return PS_OK;
}

/* What can be wrong with a tensor by itself. */
static int check_tensor(struct ckpt_tensor *t, const struct ckpt_file *file,
                        struct err *e)
{
    uint64_t n;
    uint64_t row_bytes;

    if (t->n_shape == 0 || ckpt_dtype_bytes(t->dtype) == 0 ||
        !ckpt_tensor_size(t)) {
        return err_set(e, PS_EDATALOSS,
                       "tensor \"%.100s\" has no type or shape of ours",
                       t->name);
    }
    n = t->block_rows == 0
            ? 0
            : t->shape[0] / t->block_rows + (t->shape[0] % t->block_rows > 0);
    row_bytes = t->shape[0] == 0 ? 1 : t->bytes / t->shape[0];
    if (t->block_rows == 0 || n != t->n_sums || row_bytes == 0 ||
        base_min_u64(t->block_rows, t->shape[0]) > CKPT_BLOCK_MAX / row_bytes) {
        return err_set(e, PS_EDATALOSS,
                       "tensor \"%.100s\" has blocks that cannot be", t->name);
    }
    if (t->offset < file->header_bytes || t->offset > file->size ||
        t->bytes > file->size - t->offset) {
        return err_set(e, PS_EDATALOSS,
                       "tensor \"%.100s\" is outside of its file", t->name);
    }
    return PS_OK;
}

/* Finds the tensors of each part: they come in its order. */
static int match_parts(struct ckpt_index *x, struct arena *arena, struct err *e)
{
    const struct ckpt_file *file = &x->files[0];
    uint32_t next = 0;

    for (uint32_t i = 0; i < x->n_parts; i++) {
        struct ckpt_part *p = &x->parts[i];
        int rc = check_part(p, e);

        p->first_tensor = next;
        p->n_tensors = ckpt_part_tensors(p);
        if (rc != PS_OK) {
            return rc;
        }
        if (p->n_tensors > file->n_tensors - next) {
            return err_set(e, PS_EDATALOSS, "tensors of \"%.100s\" are missing",
                           p->variable);
        }
        p->block_rows = file->tensors[next].block_rows;
        for (uint32_t k = 0; k < p->n_tensors; k++) {
            const struct ckpt_tensor *t = &file->tensors[next++];
            struct ckpt_tensor want;

            rc = ckpt_part_tensor(p, k, arena, &want);
            if (rc == PS_ENOMEM) {
                return err_set(e, rc, "out of memory");
            }
            if (rc != PS_OK || strcmp(t->name, want.name) != 0 ||
                strcmp(t->dtype, want.dtype) != 0 ||
                t->n_shape != want.n_shape || t->shape[0] != want.shape[0] ||
                (t->n_shape > 1 && t->shape[1] != want.shape[1]) ||
                t->block_rows != p->block_rows) {
                return err_set(e, PS_EDATALOSS,
                               "tensor \"%.100s\" is not that of its part",
                               t->name);
            }
        }
    }
    return next == file->n_tensors
               ? PS_OK
               : err_set(e, PS_EDATALOSS, "there are tensors of no part");
}

static int check_file(const struct ckpt_index *x, uint32_t i,
                      struct arena *arena, struct err *e)
{
    static const enum ckpt_file_kind kinds[] = {CKPT_FILE_ROWS, CKPT_FILE_STATE,
                                                CKPT_FILE_OTHER};
    struct ckpt_file *file = &x->files[i];
    char name[CKPT_NAME_MAX + 1];
    int rc = PS_OK;

    ckpt_file_name(x->lane, kinds[i], name);
    if (strcmp(file->name, name) != 0) {
        return err_set(e, PS_EDATALOSS, "file \"%.80s\" should be %s",
                       file->name, name);
    }
    if (file->header_bytes < 8 || file->header_bytes > 8 + CKPT_HEADER_MAX ||
        file->header_bytes > file->size) {
        return err_set(e, PS_EDATALOSS, "%s has sizes that cannot be", name);
    }
    for (uint32_t k = 0; k < file->n_tensors && rc == PS_OK; k++) {
        rc = check_tensor(&file->tensors[k], file, e);
    }
    return rc == PS_OK ? ckpt_file_check(file, arena, e) : rc;
}

int ckpt_index_decode(const void *data, size_t size, struct arena *arena,
                      struct ckpt_index *x, struct err *e)
{
    struct ckpt_json j;
    int rc;

    ckpt_json_start(&j, data, size, arena);
    if (!ckpt_json_read(&j, &index_record, x)) {
        return ckpt_json_end(&j, e);
    }
    rc = ckpt_json_end(&j, e);
    if (rc == PS_OK && x->n_files != 2 && x->n_files != 3) {
        rc = err_set(e, PS_EDATALOSS, "it is not of two files or three");
    }
    for (uint32_t i = 0; i < x->n_files && rc == PS_OK; i++) {
        rc = check_file(x, i, arena, e);
    }
    return rc == PS_OK ? match_parts(x, arena, e) : rc;
}
