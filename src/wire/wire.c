/* wire.c - the codec of every message, made from the lists of wire.h.
 *
 * Each list is expanded twice: into put_NAME_fields, which appends the fields
 * one after the other, and into take_NAME_fields, which reads them back. A
 * message inside an array is put and taken in place, by its own function; the
 * lists refer only to messages before them, so nesting has a fixed depth and
 * nothing recurses.
 *
 * Taking goes by a cursor. The first thing wrong empties it and sets its
 * status; every later take then gives zeros, so that a message is a plain run
 * of takes and the status is looked at once, by the caller, who gives nothing
 * of a message away that has failed. Loops look at it in every turn.
 */
#include "wire/wire.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "words are copied as they are");

enum { WORD_BYTES = 8 };

struct cursor {
    const uint8_t *at;
    size_t left;
    struct arena *arena;
    int status; /* the first failure */
};

bool wire_is_text(const char *text, size_t size)
{
    const uint8_t *p = (const uint8_t *)text;
    size_t i = 0;

    if (size > WIRE_TEXT_MAX) {
        return false;
    }
    while (i < size) {
        size_t n = base_char_bytes(p + i, size - i);

        if (n == 0) {
            return false;
        }
        i += n;
    }
    return true;
}

static void put_u64(uint64_t value, struct buf *out)
{
    (void)buf_append(out, &value, sizeof(value));
}

static void put_u32(uint32_t value, struct buf *out)
{
    put_u64(value, out);
}

static void put_f64(double value, struct buf *out)
{
    (void)buf_append(out, &value, sizeof(value));
}

/* `size` bytes and zeros up to a whole number of words, of which at least
 * `zeros`. */
static void put_padded(const void *data, size_t size, size_t zeros,
                       struct buf *out)
{
    size_t whole = base_align8(size + zeros);
    uint8_t *p = buf_extend(out, whole);

    if (p != NULL) {
        if (size > 0) {
            memcpy(p, data, size);
        }
        memset(p + size, 0, whole - size);
    }
}

static void put_text(const char *text, struct buf *out)
{
    size_t size = text != NULL ? strnlen(text, WIRE_TEXT_MAX + 1) : 0;

    if (!wire_is_text(text, size)) {
        out->failed = true;
        return;
    }
    put_u64(size, out);
    put_padded(text, size, 1, out);
}

static void put_bytes(const struct wire_bytes *bytes, struct buf *out)
{
    put_u64(bytes->size, out);
    put_padded(bytes->data, bytes->size, 0, out);
}

static void fail(struct cursor *c, int status)
{
    if (c->status == PS_OK) {
        c->status = status;
    }
    c->left = 0;
}

static uint64_t take_u64(struct cursor *c)
{
    uint64_t value;

    if (c->left < sizeof(value)) {
        fail(c, PS_EPROTOCOL);
        return 0;
    }
    memcpy(&value, c->at, sizeof(value));
    c->at += sizeof(value);
    c->left -= sizeof(value);
    return value;
}

static uint32_t take_u32(struct cursor *c)
{
    uint64_t value = take_u64(c);

    if (value > UINT32_MAX) {
        fail(c, PS_EPROTOCOL);
        return 0;
    }
    return (uint32_t)value;
}

static double take_f64(struct cursor *c)
{
    uint64_t bits = take_u64(c);
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* `size` bytes and the zeros that pad them; NULL where they are not there. */
static const uint8_t *take_padded(struct cursor *c, uint64_t size)
{
    const uint8_t *data = c->at;
    size_t whole;

    if (size > c->left || base_align8((size_t)size) > c->left) {
        fail(c, PS_EPROTOCOL);
        return NULL;
    }
    whole = base_align8((size_t)size);
    for (size_t i = (size_t)size; i < whole; i++) {
        if (data[i] != 0) {
            fail(c, PS_EPROTOCOL);
            return NULL;
        }
    }
    c->at += whole;
    c->left -= whole;
    return data;
}

static const char *take_text(struct cursor *c)
{
    uint64_t size = take_u64(c);
    const char *text;

    if (size > WIRE_TEXT_MAX) {
        fail(c, PS_EPROTOCOL);
        return "";
    }
    text = (const char *)take_padded(c, size + 1);
    if (text == NULL) {
        return "";
    }
    if (text[size] != '\0' || !wire_is_text(text, (size_t)size)) {
        fail(c, PS_EPROTOCOL);
        return "";
    }
    return text;
}

static struct wire_bytes take_bytes(struct cursor *c)
{
    struct wire_bytes bytes = {NULL, take_u32(c)};

    bytes.data = take_padded(c, bytes.size);
    if (bytes.data == NULL) {
        bytes.size = 0;
    }
    return bytes;
}

/* Room for the elements of an array; NULL where it has none. On the wire an
 * element takes a word or more, and never less than half of its struct: only a
 * pointer with its count takes more room in memory, twice its word. So a count
 * that passes here costs memory in proportion to bytes that did arrive. */
static void *take_array(struct cursor *c, size_t element_bytes, uint32_t *n)
{
    uint64_t least = base_max_u64(WORD_BYTES, element_bytes / 2);
    uint64_t count = take_u64(c);
    void *array;

    *n = 0;
    if (count > UINT32_MAX || count > c->left / least) {
        fail(c, PS_EPROTOCOL);
        return NULL;
    }
    if (count == 0) {
        return NULL;
    }
    array = arena_take(c->arena, (size_t)count * element_bytes);
    if (array == NULL) {
        fail(c, PS_ENOMEM);
        return NULL;
    }
    *n = (uint32_t)count;
    return array;
}

/* clang-format off */
#define PUT_F(type, field) put_##type(m->field, out);
#define PUT_S(field) put_text(m->field, out);
#define PUT_B(field) put_bytes(&m->field, out);
#define PUT_A(type, field)                                                    \
    put_u64(m->n_##field, out);                                               \
    for (uint32_t i = 0; i < m->n_##field && !out->failed; i++) {             \
        put_##type##_fields(&m->field[i], out);                               \
    }
#define DEFINE_PUT(name, NAME)                                                \
    static void put_##name##_fields(const struct wire_##name *m,              \
                                    struct buf *out)                          \
    {                                                                         \
        WIRE_##NAME##_FIELDS(PUT_F, PUT_S, PUT_B, PUT_A)                      \
    }
WIRE_MESSAGES(DEFINE_PUT)

#define TAKE_F(type, field) m->field = take_##type(c);
#define TAKE_S(field) m->field = take_text(c);
#define TAKE_B(field) m->field = take_bytes(c);
#define TAKE_A(type, field)                                                   \
    {                                                                         \
        struct wire_##type *array =                                           \
            take_array(c, sizeof(*array), &m->n_##field);                     \
                                                                              \
        for (uint32_t i = 0;                                                  \
             array != NULL && i < m->n_##field && c->status == PS_OK; i++) {  \
            take_##type##_fields(c, &array[i]);                               \
        }                                                                     \
        m->field = array;                                                     \
    }
#define DEFINE_TAKE(name, NAME)                                               \
    static void take_##name##_fields(struct cursor *c,                        \
                                     struct wire_##name *m)                   \
    {                                                                         \
        WIRE_##NAME##_FIELDS(TAKE_F, TAKE_S, TAKE_B, TAKE_A)                  \
    }
WIRE_MESSAGES(DEFINE_TAKE)

#define DEFINE_CODEC(name, NAME)                                              \
    void wire_##name##_encode(const struct wire_##name *m, struct buf *out)   \
    {                                                                         \
        put_##name##_fields(m, out);                                          \
    }                                                                         \
                                                                              \
    int wire_##name##_decode(const void *data, size_t size,                   \
                             struct arena *arena, struct wire_##name *m)      \
    {                                                                         \
        struct cursor c = { data, size, arena, PS_OK };                       \
        struct wire_##name taken;                                             \
                                                                              \
        take_##name##_fields(&c, &taken);                                     \
        if (c.left > 0) {                                                     \
            fail(&c, PS_EPROTOCOL);                                           \
        }                                                                     \
        if (c.status == PS_OK) {                                              \
            *m = taken;                                                       \
        }                                                                     \
        return c.status;                                                      \
    }
WIRE_MESSAGES(DEFINE_CODEC)
/* clang-format on */
