/* ckpt_json_write.c - structs into JSON, by a table of their members.
 *
 * The members of the outermost object and the elements of lists of structs have
 * a line each, so that people can look at the file.
 */
#include "ckpt/ckpt_json.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "wire/wire.h"

enum { LEVELS_MAX = 6, NUMBER_BYTES = 64 };

/* A struct that is being written, and how far. */
struct level {
    const struct ckpt_json_record *record;
    const uint8_t *base;
    uint32_t field;
    uint32_t left; /* of the list that `field` is, elements to come */
    const uint8_t *next;
};

static void put(struct buf *out, const char *text)
{
    (void)buf_append(out, text, strlen(text)); /* out->failed says it */
}

void ckpt_json_format(struct buf *out, const char *format, ...)
{
    char text[NUMBER_BYTES];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ASSERT(n >= 0 && n < (int)sizeof(text));
    put(out, text);
}

void ckpt_json_write_text(const char *text, struct buf *out)
{
    put(out, "\"");
    for (const char *p = text; *p != '\0'; p++) {
        size_t plain = strcspn(p, "\"\\");

        (void)buf_append(out, p, plain);
        p += plain;
        if (*p == '\0') {
            break;
        }
        put(out, *p == '"' ? "\\\"" : "\\\\");
    }
    put(out, "\"");
}

static void write_f64(double x, struct buf *out)
{
    if (isnan(x)) {
        put(out, "\"nan\"");
    } else if (isinf(x)) {
        put(out, x < 0 ? "\"-inf\"" : "\"inf\"");
    } else {
        ckpt_json_format(out, "%.17g", x);
    }
}

static void write_bytes(const struct wire_bytes *b, struct buf *out)
{
    put(out, "\"");
    for (uint32_t i = 0; i < b->size; i++) {
        ckpt_json_format(out, "%02x", b->data[i]);
    }
    put(out, "\"");
}

static int write_scalar(enum ckpt_json_type type, const uint8_t *at,
                        struct buf *out)
{
    const char *text;

    switch (type) {
    case JSON_BOOL:
        put(out, *(const bool *)at ? "true" : "false");
        break;
    case JSON_U8:
        ckpt_json_format(out, "%u", *at);
        break;
    case JSON_U32:
        ckpt_json_format(out, "%" PRIu32, *(const uint32_t *)(const void *)at);
        break;
    case JSON_U64:
        ckpt_json_format(out, "%" PRIu64, *(const uint64_t *)(const void *)at);
        break;
    case JSON_HEX:
        ckpt_json_format(out, "\"%016" PRIx64 "\"",
                         *(const uint64_t *)(const void *)at);
        break;
    case JSON_F64:
        write_f64(*(const double *)(const void *)at, out);
        break;
    case JSON_BYTES:
        write_bytes((const struct wire_bytes *)(const void *)at, out);
        break;
    case JSON_TEXT:
        memcpy(&text, at, sizeof(text));
        text = text == NULL ? "" : text;
        if (!wire_is_text(text, strlen(text))) {
            return PS_EARGUMENT;
        }
        ckpt_json_write_text(text, out);
        break;
    case JSON_RECORD:
        ASSERT(type != JSON_RECORD);
        break;
    }
    return PS_OK;
}

size_t ckpt_json_size(enum ckpt_json_type type)
{
    static const size_t sizes[] = {
        [JSON_BOOL] = sizeof(bool),
        [JSON_U8] = sizeof(uint8_t),
        [JSON_U32] = sizeof(uint32_t),
        [JSON_U64] = sizeof(uint64_t),
        [JSON_F64] = sizeof(double),
        [JSON_HEX] = sizeof(uint64_t),
        [JSON_TEXT] = sizeof(char *),
        [JSON_BYTES] = sizeof(struct wire_bytes),
        [JSON_RECORD] = sizeof(uint8_t),
    };

    return sizes[type];
}

static const uint8_t *items_of(const struct ckpt_json_field *f,
                               const uint8_t *base, uint32_t *n)
{
    const uint8_t *items = base + f->offset;

    memcpy(n, base + f->count, sizeof(*n));
    if (f->room > 0) {
        ASSERT(*n <= f->room);
    } else {
        memcpy(&items, base + f->offset, sizeof(items));
    }
    return items;
}

static int write_scalars(const struct ckpt_json_field *f, const uint8_t *base,
                         struct buf *out)
{
    size_t size = ckpt_json_size(f->type);
    uint32_t n;
    const uint8_t *items = items_of(f, base, &n);
    int rc = PS_OK;

    put(out, "[");
    for (uint32_t i = 0; i < n && rc == PS_OK; i++) {
        put(out, i > 0 ? "," : "");
        rc = write_scalar(f->type, items + size * i, out);
    }
    put(out, "]");
    return rc;
}

/* One member; of a list of structs, its beginning. */
static int write_member(struct level *l, bool is_outermost, struct buf *out)
{
    const struct ckpt_json_field *f = &l->record->fields[l->field];

    if (l->field > 0) {
        put(out, is_outermost ? ",\n" : ",");
    }
    ckpt_json_write_text(f->name, out);
    put(out, ":");
    if (!f->is_list) {
        return write_scalar(f->type, l->base + f->offset, out);
    }
    if (f->record == NULL) {
        return write_scalars(f, l->base, out);
    }
    l->next = items_of(f, l->base, &l->left);
    put(out, l->left > 0 ? "[\n" : "[]");
    return PS_OK;
}

int ckpt_json_write(const struct ckpt_json_record *record, const void *in,
                    struct buf *out)
{
    struct level levels[LEVELS_MAX];
    size_t depth = 0;
    int rc = PS_OK;

    levels[0] = (struct level){.record = record, .base = in};
    put(out, "{");
    for (;;) {
        struct level *l = &levels[depth];

        if (l->field < l->record->n) {
            rc = write_member(l, depth == 0, out);
            if (rc != PS_OK) {
                return rc;
            }
        } else {
            put(out, "}");
            if (depth == 0) {
                return out->failed ? PS_ENOMEM : PS_OK;
            }
            l = &levels[--depth];
            l->left--;
            put(out, l->left > 0 ? ",\n" : "]");
        }
        if (l->left > 0) {
            const struct ckpt_json_record *element =
                l->record->fields[l->field].record;

            ASSERT(depth + 1 < LEVELS_MAX);
            levels[++depth] =
                (struct level){.record = element, .base = l->next};
            l->next += element->size;
            put(out, "{");
        } else {
            l->field++;
        }
    }
}
