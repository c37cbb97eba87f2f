/* ckpt_json.c - JSON into structs, by a table of their members.
 *
 * Structs are in lists of structs; the levels are kept in an array, so that no
 * input can make the stack grow. A list is counted before it is read: then its
 * memory is one piece, and its size can be held against the bytes that it was
 * said in.
 */
#include "ckpt/ckpt_json.h"

#include <math.h>
#include <stdlib.h>

#include "wire/wire.h"

enum {
    LEVELS_MAX = 6,
    SKIP_DEPTH_MAX = 64,
    /* Bytes of memory for a byte of text: a struct's members have names, which
     * are longer than what they become; `0,` becomes 8 bytes. */
    GROWTH_MAX = 16,
    NUMBER_MAX = 40
};

struct level {
    const struct ckpt_json_record *record;
    uint8_t *base;
    uint64_t seen;
    bool first;
    /* The list of structs that the level above is one of. */
    const struct ckpt_json_record *element;
    uint8_t *next;
    uint32_t left;
};

static bool fail(struct ckpt_json *j, int status, const char *why)
{
    if (j->status == PS_OK) {
        j->status = status;
        j->why = why;
    }
    return false;
}

static bool refuse(struct ckpt_json *j, const char *why)
{
    return fail(j, PS_EDATALOSS, why);
}

static void *take(struct ckpt_json *j, size_t bytes)
{
    void *p = arena_take(j->arena, bytes);

    if (p == NULL) {
        (void)fail(j, PS_ENOMEM, "out of memory");
    }
    return p;
}

void ckpt_json_start(struct ckpt_json *j, const void *data, size_t size,
                     struct arena *arena)
{
    *j = (struct ckpt_json){.start = data, .at = data, .arena = arena};
    j->why = "";
    if (size > 0) {
        j->end = j->at + size;
    } else {
        j->start = j->at = j->end = "";
    }
}

/* The next character that is no blank; 0 at the end. */
static char peek(struct ckpt_json *j)
{
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\n' ||
                              *j->at == '\r' || *j->at == '\t')) {
        j->at++;
    }
    return (char)(j->at < j->end ? *j->at : '\0');
}

static bool expect(struct ckpt_json *j, char c, const char *why)
{
    if (j->status != PS_OK || peek(j) != c) {
        return refuse(j, why);
    }
    j->at++;
    return true;
}

/* The bytes between two quotes, as they are. */
static bool read_raw(struct ckpt_json *j, const char **text, size_t *size)
{
    if (!expect(j, '"', "a text is wanted here")) {
        return false;
    }
    *text = j->at;
    while (j->at < j->end && *j->at != '"') {
        j->at += *j->at == '\\' && j->end - j->at > 1 ? 2 : 1;
    }
    if (j->at >= j->end) {
        return refuse(j, "a text without its end");
    }
    *size = (size_t)(j->at - *text);
    j->at++;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four hexadecimal digits at p; -1 where they are not there. */
static int32_t read_unit(const char *p, const char *end)
{
    int32_t unit = 0;

    if (end - p < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);

        if (digit < 0) {
            return -1;
        }
        unit = unit * 16 + digit;
    }
    return unit;
}

static size_t put_char(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* What stands behind \u at *p, a pair of surrogates too; 0 where it is wrong.
 * (U+0000 is no character of a text either.) */
static uint32_t read_escape(const char **p, const char *end)
{
    int32_t high = read_unit(*p, end);
    int32_t low;

    if (high < 0 || (high >= 0xdc00 && high < 0xe000)) {
        return 0;
    }
    *p += 4;
    if (high < 0xd800 || high >= 0xe000) {
        return (uint32_t)high;
    }
    if (end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u') {
        return 0;
    }
    low = read_unit(*p + 2, end);
    if (low < 0xdc00 || low >= 0xe000) {
        return 0;
    }
    *p += 6;
    return 0x10000 + ((uint32_t)(high - 0xd800) << 10) +
           (uint32_t)(low - 0xdc00);
}

/* Takes the escapes out of [p, end); false where one is wrong. An escape is
 * never shorter than what it stands for. */
static bool unescape(const char *p, const char *end, char *out, size_t *size)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    size_t n = 0;

    while (p < end) {
        const char *which;

        if (*p != '\\') {
            out[n++] = *p++;
            continue;
        }
        p++;
        if (p < end && *p == 'u') {
            uint32_t c;

            p++;
            c = read_escape(&p, end);
            if (c == 0) {
                return false;
            }
            n += put_char(out + n, c);
            continue;
        }
        which = p < end && *p != '\0' ? strchr(from, *p) : NULL;
        if (which == NULL) {
            return false;
        }
        out[n++] = to[which - from];
        p++;
    }
    *size = n;
    return true;
}

/* What the bytes between two quotes say. */
static bool take_text(struct ckpt_json *j, const char *raw, size_t size,
                      const char **text)
{
    char *copy = take(j, size + 1);

    if (copy == NULL) {
        return false;
    }
    if (!unescape(raw, raw + size, copy, &size) || !wire_is_text(copy, size)) {
        return refuse(j, "a text that is no text");
    }
    copy[size] = '\0';
    *text = copy;
    return true;
}

static bool read_text(struct ckpt_json *j, const char **text)
{
    const char *raw;
    size_t size;

    return read_raw(j, &raw, &size) && take_text(j, raw, size, text);
}

static bool read_u64(struct ckpt_json *j, uint64_t max, uint64_t *out)
{
    uint64_t n = 0;
    const char *start;

    (void)peek(j);
    start = j->at;
    while (j->at < j->end && *j->at >= '0' && *j->at <= '9') {
        uint64_t digit = (uint64_t)(*j->at - '0');

        if (n > (max - digit) / 10) {
            return refuse(j, "a number that is too large");
        }
        n = n * 10 + digit;
        j->at++;
    }
    if (j->at == start || (*start == '0' && j->at - start > 1)) {
        return refuse(j, "a whole number is wanted here");
    }
    *out = n;
    return true;
}

static bool is_word(const char *text, size_t size, const char *word)
{
    return size == strlen(word) && memcmp(text, word, size) == 0;
}

static bool read_f64(struct ckpt_json *j, double *out)
{
    char copy[NUMBER_MAX + 1];
    size_t n = 0;
    char *end;

    if (peek(j) == '"') {
        const char *text;
        size_t size;

        if (!read_raw(j, &text, &size)) {
            return false;
        }
        if (is_word(text, size, "nan")) {
            *out = (double)NAN;
        } else if (is_word(text, size, "inf")) {
            *out = HUGE_VAL;
        } else if (is_word(text, size, "-inf")) {
            *out = -HUGE_VAL;
        } else {
            return refuse(j, "a number is wanted here");
        }
        return true;
    }
    while (j->at < j->end && n < NUMBER_MAX && *j->at != '\0' &&
           strchr("0123456789+-.eE", *j->at) != NULL) {
        copy[n++] = *j->at++;
    }
    copy[n] = '\0';
    *out = strtod(copy, &end);
    if (n == 0 || *end != '\0' || !isfinite(*out)) {
        return refuse(j, "a number is wanted here");
    }
    return true;
}

/* A text of hexadecimal digits, two a byte, the first byte's first. */
static bool read_hex(struct ckpt_json *j, const char **text, size_t *size)
{
    if (!read_raw(j, text, size)) {
        return false;
    }
    for (size_t i = 0; i < *size; i++) {
        if (hex_digit((*text)[i]) < 0) {
            return refuse(j, "hexadecimal digits are wanted here");
        }
    }
    return true;
}

static bool read_hex_u64(struct ckpt_json *j, uint64_t *out)
{
    const char *text;
    size_t size;

    if (!read_hex(j, &text, &size) || size != 16) {
        return refuse(j, "16 hexadecimal digits are wanted here");
    }
    *out = 0;
    for (size_t i = 0; i < 16; i++) {
        *out = *out << 4 | (uint64_t)hex_digit(text[i]);
    }
    return true;
}

static bool read_bytes(struct ckpt_json *j, struct wire_bytes *out)
{
    const char *text;
    size_t size;
    uint8_t *copy;

    if (!read_hex(j, &text, &size) || size % 2 != 0 || size / 2 > UINT32_MAX) {
        return refuse(j, "pairs of hexadecimal digits are wanted here");
    }
    copy = take(j, size / 2);
    if (copy == NULL) {
        return false;
    }
    for (size_t i = 0; i < size; i += 2) {
        copy[i / 2] =
            (uint8_t)(hex_digit(text[i]) << 4 | hex_digit(text[i + 1]));
    }
    *out = (struct wire_bytes){.data = copy, .size = (uint32_t)(size / 2)};
    return true;
}

static bool read_bool(struct ckpt_json *j, bool *out)
{
    size_t left;

    (void)peek(j);
    left = (size_t)(j->end - j->at);
    *out = left >= 4 && memcmp(j->at, "true", 4) == 0;
    if (*out) {
        j->at += 4;
        return true;
    }
    if (left < 5 || memcmp(j->at, "false", 5) != 0) {
        return refuse(j, "true or false is wanted here");
    }
    j->at += 5;
    return true;
}

static bool read_scalar(struct ckpt_json *j, enum ckpt_json_type type,
                        void *out)
{
    uint64_t n;
    bool is_good;

    switch (type) {
    case JSON_BOOL:
        return read_bool(j, out);
    case JSON_U8:
        is_good = read_u64(j, UINT8_MAX, &n);
        if (is_good) {
            *(uint8_t *)out = (uint8_t)n;
        }
        return is_good;
    case JSON_U32:
        is_good = read_u64(j, UINT32_MAX, &n);
        if (is_good) {
            *(uint32_t *)out = (uint32_t)n;
        }
        return is_good;
    case JSON_U64:
        return read_u64(j, UINT64_MAX, out);
    case JSON_F64:
        return read_f64(j, out);
    case JSON_HEX:
        return read_hex_u64(j, out);
    case JSON_TEXT:
        return read_text(j, out);
    case JSON_BYTES:
        return read_bytes(j, out);
    case JSON_RECORD:
        break;
    }
    return refuse(j, "a list is wanted here");
}

/* Passes one value by, brackets and texts balanced. */
void ckpt_json_skip(struct ckpt_json *j)
{
    uint32_t depth = 0;

    do {
        char c = peek(j);
        const char *raw;
        size_t size;

        if (c == '"') {
            if (!read_raw(j, &raw, &size)) {
                return;
            }
        } else if (c == '{' || c == '[') {
            j->at++;
            if (++depth > SKIP_DEPTH_MAX) {
                (void)refuse(j, "lists in lists, too deep");
                return;
            }
        } else if ((c == '}' || c == ']') && depth > 0) {
            j->at++;
            depth--;
        } else if (depth > 0 && (c == ',' || c == ':')) {
            j->at++;
        } else {
            const char *start = j->at;

            while (j->at < j->end && *j->at != '\0' &&
                   strchr(",:]}[{\" \t\r\n", *j->at) == NULL) {
                j->at++;
            }
            if (j->at == start) {
                (void)refuse(j, "a value is wanted here");
                return;
            }
        }
    } while (depth > 0 && j->status == PS_OK);
}

/* Elements of the list whose bracket was passed; nothing moves. */
static bool count_list(struct ckpt_json *j, uint32_t *n, size_t *bytes)
{
    struct ckpt_json look = *j;
    uint64_t commas = 0;
    uint32_t depth = 0;

    *n = 0;
    *bytes = 0;
    if (peek(&look) == ']') {
        return true;
    }
    for (;;) {
        char c = peek(&look);
        const char *raw;
        size_t size;

        if (c == '\0') {
            return refuse(j, "a list without its end");
        }
        if (c == '"') {
            if (!read_raw(&look, &raw, &size)) {
                return refuse(j, "a text without its end");
            }
            continue;
        }
        if (c == ']' && depth == 0) {
            break;
        }
        commas += c == ',' && depth == 0;
        depth += c == '{' || c == '[';
        depth -= depth > 0 && (c == '}' || c == ']');
        look.at++;
    }
    if (commas >= UINT32_MAX) {
        return refuse(j, "a list that is too long");
    }
    *n = (uint32_t)commas + 1;
    *bytes = (size_t)(look.at - j->at);
    return true;
}

/* Room for the elements of a list; false: refused. */
static bool begin_list(struct ckpt_json *j, const struct ckpt_json_field *f,
                       uint8_t *base, uint8_t **items, uint32_t *n)
{
    size_t size = f->record != NULL ? f->record->size : ckpt_json_size(f->type);
    size_t bytes;

    if (!expect(j, '[', "a list is wanted here") || !count_list(j, n, &bytes)) {
        return false;
    }
    *items = base + f->offset;
    if (f->room > 0) {
        if (*n > f->room) {
            return refuse(j, "a list that is too long");
        }
    } else {
        if (*n > bytes || size * *n / GROWTH_MAX > bytes) {
            return refuse(j, "a list of nearly nothing");
        }
        *items = take(j, size * *n);
        if (*items == NULL) {
            return false;
        }
        memcpy(base + f->offset, items, sizeof(*items));
    }
    memcpy(base + f->count, n, sizeof(*n));
    return true;
}

static bool read_scalars(struct ckpt_json *j, const struct ckpt_json_field *f,
                         uint8_t *base)
{
    size_t size = ckpt_json_size(f->type);
    uint8_t *items;
    uint32_t n;

    if (!begin_list(j, f, base, &items, &n)) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        if ((i > 0 && !expect(j, ',', "a comma is wanted here")) ||
            !read_scalar(j, f->type, items + size * i)) {
            return false;
        }
    }
    return expect(j, ']', "the end of a list is wanted here");
}

/* At the next member's value; at_end: the object ended instead. */
static bool next_member(struct ckpt_json *j, bool *first, const char **name,
                        size_t *size, bool *at_end)
{
    *at_end = peek(j) == '}';
    if (*at_end) {
        j->at++;
        return j->status == PS_OK;
    }
    if (!*first && !expect(j, ',', "a comma is wanted here")) {
        return false;
    }
    *first = false;
    return read_raw(j, name, size) && expect(j, ':', "a colon is wanted here");
}

static bool begin_record(struct ckpt_json *j, struct level *l,
                         const struct ckpt_json_record *record, void *base)
{
    ASSERT(record->n <= 64);
    *l = (struct level){.record = record, .base = base, .first = true};
    memset(base, 0, record->size);
    return expect(j, '{', "an object is wanted here");
}

static bool end_record(struct ckpt_json *j, const struct level *l)
{
    static const char *const empty = "";

    for (uint32_t i = 0; i < l->record->n; i++) {
        const struct ckpt_json_field *f = &l->record->fields[i];

        if ((l->seen >> i & 1) != 0) {
            continue;
        }
        if (f->is_required) {
            return refuse(j, "a member is missing in the object before this");
        }
        if (f->type == JSON_TEXT && !f->is_list) {
            memcpy(l->base + f->offset, &empty, sizeof(empty));
        }
    }
    return true;
}

/* Reads one member of l's struct. Where it is a list of structs, l->left says
 * how many of them come now. */
static bool read_member(struct ckpt_json *j, struct level *l, const char *name,
                        size_t size)
{
    const struct ckpt_json_record *r = l->record;
    const struct ckpt_json_field *f;
    uint32_t i = 0;

    while (i < r->n && !is_word(name, size, r->fields[i].name)) {
        i++;
    }
    if (i == r->n) {
        ckpt_json_skip(j);
        return j->status == PS_OK;
    }
    if ((l->seen >> i & 1) != 0) {
        return refuse(j, "a member that is there twice");
    }
    l->seen |= UINT64_C(1) << i;
    f = &r->fields[i];
    if (!f->is_list) {
        return read_scalar(j, f->type, l->base + f->offset);
    }
    if (f->record == NULL) {
        return read_scalars(j, f, l->base);
    }
    if (!begin_list(j, f, l->base, &l->next, &l->left)) {
        return false;
    }
    l->element = f->record;
    return l->left > 0 || expect(j, ']', "the end of a list is wanted here");
}

bool ckpt_json_read(struct ckpt_json *j, const struct ckpt_json_record *record,
                    void *out)
{
    struct level levels[LEVELS_MAX];
    size_t depth = 0;

    if (!begin_record(j, &levels[0], record, out)) {
        return false;
    }
    for (;;) {
        struct level *l = &levels[depth];
        const char *name;
        size_t size;
        bool at_end;

        if (!next_member(j, &l->first, &name, &size, &at_end)) {
            return false;
        }
        if (!at_end) {
            if (!read_member(j, l, name, size)) {
                return false;
            }
        } else {
            if (!end_record(j, l)) {
                return false;
            }
            if (depth == 0) {
                return true;
            }
            l = &levels[--depth];
            l->next += l->element->size;
            l->left--;
            if (!expect(j, l->left > 0 ? ',' : ']',
                        "the next of a list or its end is wanted here")) {
                return false;
            }
        }
        if (l->left > 0) {
            ASSERT(depth + 1 < LEVELS_MAX);
            depth++;
            if (!begin_record(j, &levels[depth], l->element, l->next)) {
                return false;
            }
        }
    }
}

bool ckpt_json_open(struct ckpt_json *j)
{
    return expect(j, '{', "an object is wanted here");
}

bool ckpt_json_name(struct ckpt_json *j, bool *first, const char **name)
{
    const char *raw;
    size_t size;
    bool at_end;

    return j->status == PS_OK && next_member(j, first, &raw, &size, &at_end) &&
           !at_end && take_text(j, raw, size, name);
}

int ckpt_json_end(struct ckpt_json *j, struct err *e)
{
    (void)peek(j);
    if (j->status == PS_OK && j->at != j->end) {
        (void)refuse(j, "more behind the end");
    }
    if (j->status == PS_OK) {
        return PS_OK;
    }
    return err_set(e, j->status, "at byte %zu: %s", (size_t)(j->at - j->start),
                   j->why);
}
