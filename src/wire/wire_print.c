/* wire_print.c - every message as text, made from the lists of wire.h.
 *
 *     variable=1 begin=0 end=32768 lane=7 since=3
 *     address="10.0.0.1:7070" term=4
 *     lane=7 shards=[{lane=7 address="a"} {lane=8 address="b"}]
 *     nonce=1 body=<16 bytes>
 */
#include "wire/wire.h"

#include <inttypes.h>
#include <stdio.h>

static void put_string(const char *text, struct buf *out)
{
    (void)buf_append(out, text, strlen(text));
}

/* `name=`, with a space before all but the first of a message. */
static void put_name(const char *name, size_t start, struct buf *out)
{
    if (out->size > start) {
        put_string(" ", out);
    }
    put_string(name, out);
    put_string("=", out);
}

static void print_u64(uint64_t value, struct buf *out)
{
    char text[32];

    snprintf(text, sizeof(text), "%" PRIu64, value);
    put_string(text, out);
}

static void print_u32(uint32_t value, struct buf *out)
{
    print_u64(value, out);
}

static void print_f64(double value, struct buf *out)
{
    char text[32];

    snprintf(text, sizeof(text), "%.9g", value);
    put_string(text, out);
}

/* In quotes, with a backslash before those inside. */
static void print_text(const char *text, struct buf *out)
{
    put_string("\"", out);
    for (const char *p = text != NULL ? text : ""; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\') {
            put_string("\\", out);
        }
        (void)buf_append(out, p, 1);
    }
    put_string("\"", out);
}

static void print_bytes(const struct wire_bytes *bytes, struct buf *out)
{
    put_string("<", out);
    print_u64(bytes->size, out);
    put_string(" bytes>", out);
}

/* clang-format off */
#define PRINT_F(type, field)                                                  \
    put_name(#field, start, out);                                             \
    print_##type(m->field, out);
#define PRINT_S(field)                                                        \
    put_name(#field, start, out);                                             \
    print_text(m->field, out);
#define PRINT_B(field)                                                        \
    put_name(#field, start, out);                                             \
    print_bytes(&m->field, out);
#define PRINT_A(type, field)                                                  \
    put_name(#field, start, out);                                             \
    put_string("[", out);                                                     \
    for (uint32_t i = 0; i < m->n_##field && !out->failed; i++) {             \
        put_string(i == 0 ? "{" : " {", out);                                 \
        print_##type##_fields(&m->field[i], out);                             \
        put_string("}", out);                                                 \
    }                                                                         \
    put_string("]", out);
#define DEFINE_PRINT(name, NAME)                                              \
    static void print_##name##_fields(const struct wire_##name *m,            \
                                      struct buf *out)                        \
    {                                                                         \
        size_t start = out->size;                                             \
                                                                              \
        WIRE_##NAME##_FIELDS(PRINT_F, PRINT_S, PRINT_B, PRINT_A)              \
    }                                                                         \
                                                                              \
    void wire_##name##_print(const struct wire_##name *m, struct buf *out)    \
    {                                                                         \
        print_##name##_fields(m, out);                                        \
        (void)buf_append(out, "", 1);                                         \
        if (!out->failed) {                                                   \
            out->size--; /* the NUL stays behind what is counted */           \
        }                                                                     \
    }
WIRE_MESSAGES(DEFINE_PRINT)
/* clang-format on */
