/* ckpt_json.h - structs to JSON and back, by a table of their members.
 *
 * The table is the format: it is written once, for both directions. A member
 * that the reader does not know is passed over; one that is missing is an error
 * if it is required, else 0 or "". Numbers are unsigned and exact to 64 bits.
 * The reader is for bytes that nobody vouches for: no recursion, no memory but
 * the arena's, and of that no more than a constant times the input.
 */
#ifndef CKPT_JSON_H
#define CKPT_JSON_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum ckpt_json_type {
    JSON_BOOL, /* bool; true, false */
    JSON_U8,   /* uint8_t */
    JSON_U32,
    JSON_U64,
    JSON_F64,   /* double; "inf", "-inf" and "nan" as texts */
    JSON_HEX,   /* uint64_t as a text of 16 hexadecimal digits */
    JSON_TEXT,  /* const char *, as wire_is_text */
    JSON_BYTES, /* struct wire_bytes as a text of hexadecimal digits */
    JSON_RECORD /* a struct; only in lists */
};

struct ckpt_json_record;

struct ckpt_json_field {
    const char *name;
    enum ckpt_json_type type;
    bool is_required;
    bool is_list;
    size_t offset; /* in the struct; of a list: of its pointer or its array */
    /* Of lists. */
    size_t count;  /* offset of its uint32_t */
    uint32_t room; /* 0: a pointer; else an array of so many, in the struct */
    const struct ckpt_json_record *record;
};

struct ckpt_json_record {
    const struct ckpt_json_field *fields;
    uint32_t n; /* at most 64 */
    size_t size;
};

/* A place in a text that is read. */
struct ckpt_json {
    const char *start;
    const char *at;
    const char *end;
    struct arena *arena;
    int status;      /* the first failure */
    const char *why; /* and what it was */
};

void ckpt_json_start(struct ckpt_json *j, const void *data, size_t size,
                     struct arena *arena);
/* Reads a struct; false where that failed (status). */
bool ckpt_json_read(struct ckpt_json *j, const struct ckpt_json_record *record,
                    void *out) MUST_USE;
/* Objects whose members have names of their own:
 *     if (ckpt_json_open(j)) { while (ckpt_json_name(j, &first, &name)) {
 *         read or skip the value } }
 * first: true before the first call. */
bool ckpt_json_open(struct ckpt_json *j) MUST_USE;
bool ckpt_json_name(struct ckpt_json *j, bool *first,
                    const char **name) MUST_USE;
void ckpt_json_skip(struct ckpt_json *j);
/* Only blanks are left: PS_OK, else the first failure, with where and what:
 * PS_EDATALOSS, PS_ENOMEM. */
int ckpt_json_end(struct ckpt_json *j, struct err *e) MUST_USE;

/* Appends a struct. A text that wire_is_text refuses is PS_EARGUMENT. */
int ckpt_json_write(const struct ckpt_json_record *record, const void *in,
                    struct buf *out) MUST_USE;
/* Bytes of one element of a list of scalars. */
size_t ckpt_json_size(enum ckpt_json_type type);
/* Appends a text with its quotes. */
void ckpt_json_write_text(const char *text, struct buf *out);
void ckpt_json_format(struct buf *out, const char *format, ...)
    PRINTF_LIKE(2, 3);

#endif
