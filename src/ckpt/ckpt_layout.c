/* ckpt_layout.c - where each byte of a file of rows is, before the first row.
 *
 *     | size of JSON | JSON, blanks | keys of all parts | values, slots |
 *     0              8              header_bytes                     size
 *
 * The number of rows of a part is fixed at the cut, so all of this is known
 * when the save begins. The tensors of 8-byte numbers come first and the header
 * ends at a multiple of 64 bytes: so each number lies where a program that maps
 * the file may use it as it is.
 */
#include "ckpt/ckpt_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"

enum { HEADER_ALIGN = 64, TENSOR_NAME_MAX = WIRE_TEXT_MAX };

void ckpt_folder_name(uint64_t cut, uint64_t term, bool is_new, char *out)
{
    snprintf(out, CKPT_NAME_MAX + 1, "%s-%012" PRIu64 "-%" PRIu64,
             is_new ? ".new" : "ckpt", cut, term);
}

void ckpt_saving_name(uint64_t cut, uint64_t term, uint64_t cluster_high,
                      uint64_t cluster_low, char *out)
{
    /* Both halves are random, and there is no room for more than one. */
    snprintf(out, CKPT_NAME_MAX + 1,
             ".new-%012" PRIu64 "-%" PRIu64 "-%016" PRIx64, cut, term,
             cluster_high ^ cluster_low);
}

/* A number without a sign; *p is behind it then. */
static bool read_number(const char **p, uint64_t *out)
{
    const char *start = *p;

    *out = 0;
    while (**p >= '0' && **p <= '9') {
        uint64_t digit = (uint64_t)(**p - '0');

        if (*out > (UINT64_MAX - digit) / 10) {
            return false;
        }
        *out = *out * 10 + digit;
        ++*p;
    }
    return *p != start;
}

bool ckpt_folder_parse(const char *name, uint64_t *cut, uint64_t *term,
                       bool *is_new)
{
    char again[CKPT_NAME_MAX + 1];
    const char *p = name + 5;

    *is_new = strncmp(name, ".new-", 5) == 0;
    if (!*is_new && strncmp(name, "ckpt-", 5) != 0) {
        return false;
    }
    if (!read_number(&p, cut) || *p++ != '-' || !read_number(&p, term)) {
        return false;
    }
    if (*is_new && *p == '-' && strspn(p + 1, "0123456789abcdef") == 16) {
        ckpt_saving_name(*cut, *term, strtoull(p + 1, NULL, 16), 0, again);
    } else {
        ckpt_folder_name(*cut, *term, *is_new, again);
    }
    return strcmp(name, again) == 0;
}

bool ckpt_is_cut(const char *text, uint64_t cut)
{
    uint64_t n = 0;

    for (const char *p = text; *p != '\0'; p++) {
        if (*p < '0' || *p > '9' || n > UINT64_MAX / 10 - 1) {
            return false;
        }
        n = n * 10 + (uint64_t)(*p - '0');
    }
    return text[0] != '\0' && n == cut;
}

bool ckpt_is_base(const struct ckpt_manifest *base,
                  const struct ckpt_manifest *m)
{
    return base->cut == m->base && base->cut < m->cut &&
           base->cluster_high == m->cluster_high &&
           base->cluster_low == m->cluster_low && base->restore == m->restore;
}

void ckpt_file_name(uint64_t lane, enum ckpt_file_kind kind, char *out)
{
    static const char *const ends[] = {
        [CKPT_FILE_ROWS] = "safetensors",
        [CKPT_FILE_STATE] = "state.safetensors",
        [CKPT_FILE_INDEX] = "json",
        [CKPT_FILE_OTHER] = "other.safetensors",
    };

    snprintf(out, CKPT_NAME_MAX + 1, "lane-%" PRIu64 ".%s", lane, ends[kind]);
}

const char *ckpt_text(struct arena *arena, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = arena_take(arena, size);

    if (copy != NULL) {
        memcpy(copy, text, size);
    }
    return copy;
}

size_t ckpt_dtype_bytes(const char *dtype)
{
    static const struct {
        const char *name;
        size_t bytes;
    } dtypes[] = {{"U64", 8}, {"F32", 4}, {"U8", 1},  {"I8", 1},
                  {"F64", 8}, {"I64", 8}, {"I32", 4}, {"I16", 2}};

    for (size_t i = 0; i < ARRAY_LEN(dtypes); i++) {
        if (strcmp(dtypes[i].name, dtype) == 0) {
            return dtypes[i].bytes;
        }
    }
    return 0;
}

bool ckpt_tensor_size(struct ckpt_tensor *t)
{
    t->bytes = ckpt_dtype_bytes(t->dtype);
    for (uint32_t i = 0; i < t->n_shape; i++) {
        if (__builtin_mul_overflow(t->bytes, t->shape[i], &t->bytes)) {
            return false;
        }
    }
    return true;
}

uint64_t ckpt_block_rows(uint64_t row_bytes)
{
    return base_max_u64(CKPT_BLOCK_BYTES / row_bytes, 1);
}

int ckpt_tensor_sums(struct ckpt_tensor *t, uint64_t block_rows,
                     struct arena *arena)
{
    uint64_t n = t->shape[0] / block_rows + (t->shape[0] % block_rows > 0);

    if (n > UINT32_MAX) {
        return PS_ELIMIT;
    }
    t->block_rows = block_rows;
    t->n_sums = (uint32_t)n;
    t->sums = arena_take(arena, n * sizeof(*t->sums));
    if (t->sums == NULL) {
        return PS_ENOMEM;
    }
    memset(t->sums, 0, n * sizeof(*t->sums));
    return PS_OK;
}

static void put(struct buf *out, const char *text)
{
    (void)buf_append(out, text, strlen(text)); /* out->failed says it */
}

int ckpt_header_encode(struct ckpt_file *file, struct buf *out)
{
    size_t start = out->size;
    uint8_t bytes[8];
    uint64_t json;

    (void)buf_append(out, "\0\0\0\0\0\0\0", 8);
    put(out, "{\"__metadata__\":{\"format\":\"ps-plus checkpoint\"}");
    for (uint32_t i = 0; i < file->n_tensors; i++) {
        const struct ckpt_tensor *t = &file->tensors[i];

        put(out, ",\n");
        ckpt_json_write_text(t->name, out);
        ckpt_json_format(out, ":{\"dtype\":\"%s\",\"shape\":[", t->dtype);
        for (uint32_t k = 0; k < t->n_shape; k++) {
            ckpt_json_format(out, "%s%" PRIu64, k > 0 ? "," : "", t->shape[k]);
        }
        ckpt_json_format(out, "],\"data_offsets\":[%" PRIu64 ",", t->offset);
        ckpt_json_format(out, "%" PRIu64 "]}", t->offset + t->bytes);
    }
    put(out, "}");
    while (!out->failed && (out->size - start < file->header_bytes ||
                            (out->size - start) % HEADER_ALIGN > 0)) {
        put(out, " ");
    }
    if (out->failed) {
        return PS_ENOMEM;
    }
    json = out->size - start - 8;
    if (json > CKPT_HEADER_MAX) {
        return PS_ELIMIT;
    }
    for (int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(json >> (8 * i));
    }
    memcpy(out->data + start, bytes, sizeof(bytes));
    file->header_bytes = json + 8;
    file->header_sum = hash_bytes(out->data + start, json + 8);
    for (uint32_t i = 0; i < file->n_tensors; i++) {
        file->tensors[i].offset += file->header_bytes;
    }
    file->size += file->header_bytes;
    return PS_OK;
}

uint32_t ckpt_part_tensors(const struct ckpt_part *p)
{
    return p->content == CKPT_ERASED ? 1 : p->has_keys + 1u + p->n_slots;
}

int ckpt_part_tensor(const struct ckpt_part *p, uint32_t which,
                     struct arena *arena, struct ckpt_tensor *t)
{
    bool is_keys = p->content == CKPT_ERASED || (p->has_keys && which == 0);
    uint32_t slot = which - p->has_keys - 1;
    char text[TENSOR_NAME_MAX + 1];
    const char *kind = p->content == CKPT_ERASED ? "erased" : "keys";
    int n;

    if (!is_keys) {
        kind = which == p->has_keys ? "values" : p->slots[slot];
    }
    n = snprintf(text, sizeof(text), "%s/%" PRIu32 "-%" PRIu32 "/%s%s",
                 p->variable, p->begin, p->end,
                 !is_keys && which > p->has_keys ? "slot/" : "", kind);
    if (n < 0 || n > TENSOR_NAME_MAX) {
        return PS_EARGUMENT;
    }
    *t = (struct ckpt_tensor){.name = ckpt_text(arena, text),
                              .dtype = is_keys ? "U64" : "F32",
                              .n_shape = is_keys ? 1 : 2,
                              .shape = {p->rows, is_keys ? 0 : p->dim}};
    return t->name == NULL ? PS_ENOMEM : PS_OK;
}

/* Names come from plugins: two tensors must not have one name. */
static bool has_good_names(const struct ckpt_part *p)
{
    if (!wire_is_text(p->variable, strlen(p->variable))) {
        return false;
    }
    for (uint32_t i = 0; i < p->n_slots; i++) {
        if (strchr(p->slots[i], '/') != NULL || p->slots[i][0] == '\0' ||
            !wire_is_text(p->slots[i], strlen(p->slots[i]))) {
            return false;
        }
        for (uint32_t k = 0; k < i; k++) {
            if (strcmp(p->slots[i], p->slots[k]) == 0) {
                return false;
            }
        }
    }
    return true;
}

/* The tensors of one part, without offsets. */
static int lay_out_part(struct ckpt_part *p, struct ckpt_file *file,
                        struct arena *arena)
{
    uint64_t row_bytes = sizeof(uint64_t);

    if (!has_good_names(p)) {
        return PS_EARGUMENT;
    }
    if (p->content == CKPT_CHANGED) {
        row_bytes = base_max_u64(row_bytes, p->dim * sizeof(float));
    }
    if (p->block_rows == 0) {
        p->block_rows = ckpt_block_rows(row_bytes);
    }
    p->first_tensor = file->n_tensors;
    p->n_tensors = ckpt_part_tensors(p);
    for (uint32_t i = 0; i < p->n_tensors; i++) {
        struct ckpt_tensor *t = &file->tensors[file->n_tensors];
        int rc = ckpt_part_tensor(p, i, arena, t);

        if (rc == PS_OK && !ckpt_tensor_size(t)) {
            rc = PS_ELIMIT;
        }
        if (rc == PS_OK) {
            rc = ckpt_tensor_sums(t, p->block_rows, arena);
        }
        if (rc != PS_OK) {
            return rc;
        }
        file->n_tensors++;
    }
    return PS_OK;
}

/* Gives the tensors of one dtype their places, from the end of the header. */
static bool place(struct ckpt_file *file, const char *dtype)
{
    for (uint32_t i = 0; i < file->n_tensors; i++) {
        struct ckpt_tensor *t = &file->tensors[i];

        if (strcmp(t->dtype, dtype) == 0) {
            t->offset = file->size;
            if (__builtin_add_overflow(file->size, t->bytes, &file->size) ||
                file->size > INT64_MAX - 8 - CKPT_HEADER_MAX) {
                return false;
            }
        }
    }
    return true;
}

int ckpt_layout(const char *name, struct ckpt_part *parts, uint32_t n,
                struct arena *arena, struct ckpt_file *file, struct buf *header)
{
    uint64_t n_tensors = 0;

    for (uint32_t i = 0; i < n; i++) {
        n_tensors += ckpt_part_tensors(&parts[i]);
    }
    *file = (struct ckpt_file){.name = name};
    file->tensors = arena_take(arena, n_tensors * sizeof(*file->tensors));
    if (file->tensors == NULL) {
        return PS_ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        int rc = lay_out_part(&parts[i], file, arena);

        if (rc != PS_OK) {
            return rc;
        }
    }
    if (!place(file, "U64") || !place(file, "F32")) {
        return PS_ELIMIT;
    }
    return ckpt_header_encode(file, header);
}
