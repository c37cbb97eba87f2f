/* import_text.c - rows of a checkpoint as lines of text. */
#include "ckpt/import_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "ckpt/ckpt_folder_impl.h"
#include "ckpt/ckpt_impl.h"
#include "ckpt/ckpt_other.h"
#include "plan/plan.h"

enum {
    DIGITS = 6,
    SHEET_BYTES = 1 << 20,
    PATH_BYTES = 2 * WIRE_TEXT_MAX + 2,
    TENSOR_BYTES = WIRE_TEXT_MAX + 32
};

/* What stands behind the e: a sign and digits. */
static int exponent_of(const char *text)
{
    int n = 0;

    for (const char *p = text + 1; *p >= '0' && *p <= '9'; p++) {
        n = n * 10 + (*p - '0');
    }
    return text[0] == '-' ? -n : n;
}

size_t import_text_number(double x, char *out)
{
    char digits[DIGITS + 1];
    char text[32];
    size_t n = DIGITS;
    size_t size = 0;
    int point; /* where it stands in the digits */

    if (!isfinite(x)) {
        return (size_t)snprintf(out, IMPORT_TEXT_NUMBER, "%s",
                                isnan(x) ? "nan" : (x < 0 ? "-inf" : "inf"));
    }
    snprintf(text, sizeof(text), "%+.*e", DIGITS - 1, x); /* +d.ddddde+xx */
    digits[0] = text[1];
    memcpy(digits + 1, text + 3, DIGITS - 1);
    point = exponent_of(text + 3 + DIGITS) + 1;
    while (n > 1 && digits[n - 1] == '0') {
        n--;
    }
    if (text[0] == '-') {
        out[size++] = '-';
    }
    if (point <= 0) {
        out[size++] = '0';
        out[size++] = '.';
        for (; point < 0; point++) {
            out[size++] = '0';
        }
        point = -1; /* it is there already */
    }
    for (size_t i = 0; i < n || (int)i < point; i++) {
        if ((int)i == point) {
            out[size++] = '.';
        }
        out[size++] = (char)(i < n ? digits[i] : '0');
    }
    out[size] = '\0';
    return size;
}

/* A file of text that is being written. */
struct sheet {
    struct import_text *x;
    struct fs_open_file *open; /* NULL: closed */
    struct buf bytes;
    uint64_t offset;
    bool is_begun; /* something stands before the next number */
    int status;
    struct err *e;
};

static void flush(struct sheet *s)
{
    struct fs *to = s->x->to;

    if (s->status == PS_OK && s->bytes.failed) {
        s->status = err_set(s->e, PS_ENOMEM, "out of memory");
    }
    if (s->status == PS_OK && s->bytes.size > 0) {
        s->status = to->ops->write_at(to, s->open, s->offset, s->bytes.data,
                                      s->bytes.size, s->e);
    }
    s->offset += s->bytes.size;
    buf_clear(&s->bytes);
}

static void put(struct sheet *s, const char *text, size_t size)
{
    (void)buf_append(&s->bytes, text, size); /* bytes.failed says it */
    if (s->bytes.size >= SHEET_BYTES) {
        flush(s);
    }
}

void import_text_init(struct import_text *x)
{
    map_init(&x->names);
    arena_init(&x->arena);
}

void import_text_fini(struct import_text *x)
{
    map_fini(&x->names);
    arena_fini(&x->arena);
}

/* Two names may become that of one file. */
static int take_name(struct import_text *x, const char *path,
                     const char *variable, struct err *e)
{
    uint64_t key = hash_bytes(path, strlen(path));
    const char *other = map_get(&x->names, key);
    size_t size = strlen(variable) + 1;
    char *text;

    if (other != NULL && strcmp(other, variable) != 0) {
        return err_set(e, PS_EEXIST,
                       "\"%.80s\" would replace the file %.80s of \"%.80s\": "
                       "export them one by one (--variable), into two folders",
                       variable, path, other);
    }
    text = other == NULL ? arena_take(&x->arena, size) : NULL;
    if (text != NULL) {
        memcpy(text, variable, size);
    }
    return other != NULL ||
                   (text != NULL && map_put(&x->names, key, text) == PS_OK)
               ? PS_OK
               : err_set(e, PS_ENOMEM, "out of memory");
}

/* The text of a name as that of a file. */
static int sheet_open(struct sheet *s, struct import_text *x,
                      const char *variable, const char *slot, struct err *e)
{
    char path[PATH_BYTES];
    int rc;

    *s = (struct sheet){.x = x, .e = e};
    snprintf(path, sizeof(path), "%s%s%s", variable, slot == NULL ? "" : "&",
             slot == NULL ? "" : slot);
    for (char *p = path; *p != '\0'; p++) {
        *p = (char)(*p == '/' ? '&' : *p);
    }
    rc = take_name(x, path, variable, e);
    if (rc == PS_OK) {
        rc = x->to->ops->unlink(x->to, path, e);
    }
    if (rc == PS_OK || rc == PS_ENOTFOUND) {
        rc = x->to->ops->open(x->to, path, FS_CREATE, &s->open, e);
    }
    if (rc != PS_OK) {
        s->open = NULL;
    }
    return rc;
}

/* Gives up a file that is open, or ends it. rc: of all before. */
static int sheet_close(struct sheet *s, int rc)
{
    struct fs *to = s->x->to;
    int end;

    if (s->open == NULL) {
        return rc;
    }
    if (rc == PS_OK) {
        flush(s);
        rc = s->status;
    }
    end = to->ops->close(to, s->open, rc == PS_OK ? s->e : NULL);
    s->open = NULL;
    buf_fini(&s->bytes);
    if (rc == PS_OK && end == PS_OK) {
        s->x->n_files++;
        s->x->n_bytes += s->offset;
    }
    return rc == PS_OK ? end : rc;
}

static void put_integer(struct sheet *s, int64_t n)
{
    char text[32];

    put(s, text, (size_t)snprintf(text, sizeof(text), "%" PRId64, n));
}

static int64_t integer_at(const uint8_t *p, size_t bytes)
{
    uint64_t n = 0;
    unsigned unused = 64 - 8 * (unsigned)bytes;

    memcpy(&n, p, bytes);
    return (int64_t)(n << unused) >> unused; /* takes the sign along */
}

/* n numbers with a comma between; before the first too, where something stands
 * before it. */
static void put_numbers(struct sheet *s, const char *dtype, const uint8_t *p,
                        uint64_t n)
{
    size_t bytes = ckpt_dtype_bytes(dtype);

    for (uint64_t i = 0; i < n && s->status == PS_OK; i++, p += bytes) {
        char text[IMPORT_TEXT_NUMBER];

        if (s->is_begun) {
            put(s, ",", 1);
        }
        s->is_begun = true;
        if (strcmp(dtype, "F32") == 0) {
            float x;

            memcpy(&x, p, sizeof(x));
            put(s, text, import_text_number((double)x, text));
        } else if (strcmp(dtype, "F64") == 0) {
            double x;

            memcpy(&x, p, sizeof(x));
            put(s, text, import_text_number(x, text));
        } else {
            put_integer(s, integer_at(p, bytes));
        }
    }
}

static void end_line(struct sheet *s)
{
    put(s, "\n", 1);
    s->is_begun = false;
}

static void put_keyed_row(struct sheet *s, const uint64_t *keys,
                          uint32_t n_keys, const char *dtype,
                          const uint8_t *row, uint64_t n)
{
    for (uint32_t i = 0; i < n_keys; i++) {
        if (i > 0) {
            put(s, ",", 1);
        }
        put_integer(s, (int64_t)keys[i]);
    }
    s->is_begun = true;
    put_numbers(s, dtype, row, n);
    end_line(s);
}

/* Rows of a dense variable go on where the last ended. */
static void put_plain_row(struct sheet *s, const char *dtype,
                          const uint8_t *row, uint64_t n)
{
    if (s->is_begun && s->x->with_lines) {
        end_line(s);
    }
    put_numbers(s, dtype, row, n);
}

/* A variable that servers load: sheets[0] values, then the slots. */
struct served {
    struct import_text *x;
    const struct wire_variable *v;
    uint32_t n_sheets;
    struct sheet sheets[1 + TABLE_SLOTS_MAX];
    /* Dense rows that come in any order are gathered first. */
    uint64_t row_begin;
    uint64_t row_end;
    uint64_t n_gathered;
    float *gathered[1 + TABLE_SLOTS_MAX];
};

static const float *column(const struct ckpt_batch *b, uint32_t i)
{
    return i == 0 ? b->values : b->slots[i - 1];
}

static bool gather(struct served *s, const struct ckpt_batch *b)
{
    uint32_t dim = s->v->dim;
    uint64_t rows = s->row_end - s->row_begin;

    for (uint32_t i = 0; i < s->n_sheets; i++) {
        if (s->gathered[i] == NULL) {
            s->gathered[i] = mem_try(mem_array(rows, dim * sizeof(float)));
        }
        if (s->gathered[i] == NULL) {
            return false;
        }
        for (uint64_t k = 0; k < b->n; k++) {
            memcpy(s->gathered[i] + (b->keys[k] - s->row_begin) * dim,
                   column(b, i) + k * dim, dim * sizeof(float));
        }
    }
    s->n_gathered += b->n;
    return true;
}

static bool take_batch(void *context, const struct ckpt_batch *b)
{
    struct served *s = context;
    uint32_t dim = s->v->dim;
    bool is_good = true;

    if (b->values == NULL) {
        return true;
    }
    if (s->v->kind == PS_DENSE && b->part->has_keys) {
        return gather(s, b);
    }
    for (uint32_t i = 0; i < s->n_sheets; i++) {
        const float *values = column(b, i);

        for (uint64_t k = 0; k < b->n; k++) {
            const void *row = values + k * dim;

            if (s->v->kind == PS_DENSE) {
                put_plain_row(&s->sheets[i], "F32", row, dim);
            } else {
                put_keyed_row(&s->sheets[i], &b->keys[k], 1, "F32", row, dim);
            }
        }
        is_good = is_good && s->sheets[i].status == PS_OK;
    }
    return is_good;
}

static int put_gathered(struct served *s, struct err *e)
{
    uint64_t rows = s->row_end - s->row_begin;
    uint32_t dim = s->v->dim;

    if (s->n_gathered != rows) {
        return err_set(e, PS_EDATALOSS,
                       "rows %" PRIu64 " to %" PRIu64
                       " of \"%.80s\" are not all there",
                       s->row_begin, s->row_end, s->v->name);
    }
    for (uint32_t i = 0; i < s->n_sheets; i++) {
        for (uint64_t k = 0; k < rows; k++) {
            put_plain_row(&s->sheets[i], "F32",
                          (const void *)(s->gathered[i] + k * dim), dim);
        }
    }
    return PS_OK;
}

static int put_part(struct served *s, const struct ckpt_place *p, struct err *e)
{
    const struct import_text *x = s->x;
    int rc;

    s->n_gathered = 0;
    plan_dense_rows(s->v->rows, p->begin, p->end, &s->row_begin, &s->row_end);
    rc = ckpt_read_rows(x->fs, x->folder, x->ckpt, s->v->id, p->begin, p->end,
                        take_batch, s, e);
    if (rc == PS_OK && s->n_gathered > 0) {
        rc = put_gathered(s, e);
    }
    for (uint32_t i = 0; i < s->n_sheets; i++) {
        mem_free(s->gathered[i]);
        s->gathered[i] = NULL;
        if (rc == PS_ECANCELED && s->sheets[i].status != PS_OK) {
            rc = s->sheets[i].status;
        }
    }
    return rc == PS_ECANCELED ? err_set(e, PS_ENOMEM, "out of memory") : rc;
}

/* Any part of a variable; NULL: it has none. */
static const struct ckpt_part *any_part(const struct ckpt *c, uint32_t id)
{
    for (uint32_t i = 0; i < c->manifest.n_lanes; i++) {
        for (uint32_t k = 0; k < c->indexes[i].n_parts; k++) {
            if (c->indexes[i].parts[k].id == id) {
                return &c->indexes[i].parts[k];
            }
        }
    }
    return NULL;
}

static int write_served(struct import_text *x, const struct wire_variable *v,
                        struct err *e)
{
    const struct ckpt_manifest *m = &x->ckpt->manifest;
    const struct ckpt_part *part = any_part(x->ckpt, v->id);
    struct served s = {.x = x, .v = v};
    int rc = PS_OK;

    for (uint32_t i = 0; rc == PS_OK && part != NULL &&
                         i < 1 + (x->with_slots ? part->n_slots : 0);
         i++) {
        rc = sheet_open(&s.sheets[i], x, v->name,
                        i == 0 ? NULL : part->slots[i - 1], e);
        s.n_sheets += rc == PS_OK;
    }
    for (uint32_t i = 0; i < m->n_parts && rc == PS_OK; i++) {
        if (m->parts[i].variable == v->id) {
            rc = put_part(&s, &m->parts[i], e);
        }
    }
    for (uint32_t i = 0; i < s.n_sheets; i++) {
        if (rc == PS_OK && v->kind == PS_DENSE) {
            end_line(&s.sheets[i]);
        }
        rc = sheet_close(&s.sheets[i], rc);
    }
    return rc;
}

/* One tensor that no server reads, with keys or without. */
struct other {
    const struct ckpt_file *file;
    const struct ckpt_tensor *keys; /* NULL: none */
    const struct ckpt_tensor *values;
    struct ckpt_reader reader;
    struct buf key_bytes;
    struct buf bytes;
};

static int put_block(struct other *o, uint32_t block, struct sheet *s,
                     struct err *e)
{
    uint64_t rows = ckpt_block(o->values, block).rows;
    uint64_t n = o->values->bytes / o->values->shape[0] /
                 ckpt_dtype_bytes(o->values->dtype);
    uint32_t n_keys = o->keys != NULL && o->keys->n_shape == 2 ? 2 : 1;
    int rc = ckpt_reader_block(&o->reader, o->values, block, &o->bytes, e);

    if (rc == PS_OK && o->keys != NULL) {
        rc = ckpt_reader_block(&o->reader, o->keys, block, &o->key_bytes, e);
    }
    for (uint64_t i = 0; i < rows && rc == PS_OK; i++) {
        const uint8_t *row =
            o->bytes.data + i * n * ckpt_dtype_bytes(o->values->dtype);
        uint64_t keys[2];

        if (o->keys == NULL) {
            put_plain_row(s, o->values->dtype, row, n);
        } else {
            memcpy(keys, o->key_bytes.data + i * n_keys * sizeof(keys[0]),
                   n_keys * sizeof(keys[0]));
            put_keyed_row(s, keys, n_keys, o->values->dtype, row, n);
        }
        rc = s->status;
    }
    return rc;
}

/* Whether rows of the two go side by side. */
static bool fits(const struct ckpt_tensor *keys,
                 const struct ckpt_tensor *values)
{
    return keys->shape[0] == values->shape[0] &&
           keys->block_rows == values->block_rows &&
           ckpt_dtype_bytes(keys->dtype) == sizeof(uint64_t) &&
           (keys->n_shape == 1 || (keys->n_shape == 2 && keys->shape[1] == 2));
}

static int write_tensor(struct import_text *x, const char *variable,
                        const char *slot, struct other *o, struct err *e)
{
    struct sheet s;
    int rc;

    if (o->keys != NULL && !fits(o->keys, o->values)) {
        return err_set(e, PS_EDATALOSS, "%s: keys and rows of \"%.80s\" differ",
                       o->file->name, o->values->name);
    }
    rc = sheet_open(&s, x, variable, slot, e);
    if (rc == PS_OK) {
        rc = ckpt_reader_open(&o->reader, x->fs, x->folder, o->file, e);
    }
    for (uint32_t i = 0; i < o->values->n_sums && rc == PS_OK; i++) {
        rc = put_block(o, i, &s, e);
    }
    if (rc == PS_OK && o->keys == NULL) {
        end_line(&s);
    }
    ckpt_reader_close(&o->reader);
    buf_fini(&o->key_bytes);
    buf_fini(&o->bytes);
    return sheet_close(&s, rc);
}

/* What stands behind VARIABLE/other/ in a tensor's name; NULL: it is not of
 * this variable. */
static const char *rest_of(const char *name, const char *variable)
{
    size_t n = strlen(variable);

    return strncmp(name, variable, n) == 0 &&
                   strncmp(name + n, "/other/", 7) == 0
               ? name + n + 7
               : NULL;
}

static int write_others(struct import_text *x, const char *variable,
                        bool *is_found, struct err *e)
{
    char name[TENSOR_BYTES];
    int rc = PS_OK;

    snprintf(name, sizeof(name), "%s/other/keys", variable);
    for (uint32_t i = 0; i < x->ckpt->manifest.n_lanes; i++) {
        const struct ckpt_file *file = ckpt_other_file(x->ckpt, i);

        for (uint32_t k = 0; file != NULL && k < file->n_tensors; k++) {
            struct other o = {.file = file, .values = &file->tensors[k]};
            const char *rest = rest_of(o.values->name, variable);
            const char *slot = NULL;
            const struct ckpt_file *of;

            if (rest == NULL || strcmp(rest, "keys") == 0) {
                continue;
            }
            *is_found = true;
            if (strcmp(rest, "values") != 0) {
                slot = strchr(rest, '/');
                slot = slot == NULL ? rest : slot + 1;
                if (!x->with_slots) {
                    continue;
                }
            }
            if (strncmp(rest, "any/", 4) != 0) {
                o.keys = ckpt_other_find(x->ckpt, name, &of);
            }
            rc = write_tensor(x, variable, slot, &o, e);
            if (rc != PS_OK) {
                return rc;
            }
        }
    }
    return rc;
}

int import_text_write(struct import_text *x, const char *variable,
                      struct err *e)
{
    const struct wire_variable *v = ckpt_variable(x->ckpt, variable);
    bool is_found = v != NULL;
    int rc = PS_OK;

    if (x->ckpt->manifest.base != 0) {
        return err_set(e, PS_ENOTIMPL,
                       "%s is an increment: it has only what changed; ps-plus "
                       "compact makes a whole checkpoint of it",
                       x->folder);
    }
    if (strlen(variable) > WIRE_TEXT_MAX) {
        return err_set(e, PS_ENOTFOUND, "no variable has so long a name");
    }
    if (v != NULL) {
        rc = write_served(x, v, e);
    }
    if (rc == PS_OK) {
        rc = write_others(x, variable, &is_found, e);
    }
    if (rc == PS_OK && !is_found) {
        return err_set(e, PS_ENOTFOUND, "there is no variable \"%.100s\"",
                       variable);
    }
    return rc;
}
