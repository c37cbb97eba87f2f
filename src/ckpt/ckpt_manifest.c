/* ckpt_manifest.c - manifest.json: what a checkpoint is, and whose lanes.
 *
 * It is written last and everything hangs on it, so it ends with a checksum of
 * all bytes before it:
 *
 *     {"format":1, ... "sessions":[...],
 *     "xxh3":"0123456789abcdef"}
 *
 * That end has one form and is compared as bytes: no other spelling of the same
 * number is right.
 */
#include "ckpt/ckpt_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/limits.h"

enum { TAIL_BYTES = 29 };

/* clang-format off */
#define MEMBER(kind, what, owner)                                             \
    {.name = #what, .type = JSON_##kind, .is_required = true,                 \
     .offset = offsetof(struct owner, what)}
#define RECORDS(what, element, owner)                                         \
    {.name = #what, .type = JSON_RECORD, .is_required = true,                 \
     .is_list = true, .offset = offsetof(struct owner, what),                 \
     .count = offsetof(struct owner, n_##what), .record = &(element)}
#define RECORD(table, owner)                                                  \
    {.fields = (table), .n = ARRAY_LEN(table), .size = sizeof(struct owner)}

/* A variable is the message: what is declared there is kept here. A field that
 * is added to the message later is 0 in what was written before. */
#define JSON_FROM_u32 JSON_U32
#define JSON_FROM_u64 JSON_U64
#define JSON_FROM_f64 JSON_F64
#define VARIABLE_F(kind, what)                                                \
    {.name = #what, .type = JSON_FROM_##kind,                                 \
     .offset = offsetof(struct wire_variable, what)},
#define VARIABLE_S(what)                                                      \
    {.name = #what, .type = JSON_TEXT,                                        \
     .offset = offsetof(struct wire_variable, what)},
#define VARIABLE_B(what)                                                      \
    {.name = #what, .type = JSON_BYTES,                                       \
     .offset = offsetof(struct wire_variable, what)},
#define VARIABLE_A(kind, what)                                                \
    _Static_assert(0, "a variable has no lists");

static const struct ckpt_json_field variable_fields[] = {
    WIRE_VARIABLE_FIELDS(VARIABLE_F, VARIABLE_S, VARIABLE_B, VARIABLE_A)
};
static const struct ckpt_json_record variable_record =
    RECORD(variable_fields, wire_variable);

static const struct ckpt_json_field place_fields[] = {
    MEMBER(U32, variable, ckpt_place),
    MEMBER(U32, begin, ckpt_place),
    MEMBER(U32, end, ckpt_place),
    MEMBER(U64, lane, ckpt_place),
};
static const struct ckpt_json_record place_record =
    RECORD(place_fields, ckpt_place);

static const struct ckpt_json_field lane_fields[] = {
    MEMBER(U64, lane, ckpt_lane),
    MEMBER(U64, index_bytes, ckpt_lane),
    {.name = "index_xxh3", .type = JSON_HEX, .is_required = true,
     .offset = offsetof(struct ckpt_lane, index_sum)},
    MEMBER(U64, rows, ckpt_lane),
};
static const struct ckpt_json_record lane_record =
    RECORD(lane_fields, ckpt_lane);

static const struct ckpt_json_field session_fields[] = {
    MEMBER(U64, session, ckpt_session),
    MEMBER(U32, worker, ckpt_session),
    MEMBER(BYTES, position, ckpt_session),
};
static const struct ckpt_json_record session_record =
    RECORD(session_fields, ckpt_session);

static const struct ckpt_json_field gap_fields[] = {
    MEMBER(U64, after, ckpt_gap),
    MEMBER(U64, to, ckpt_gap),
};
static const struct ckpt_json_record gap_record =
    RECORD(gap_fields, ckpt_gap);

static const struct ckpt_json_field manifest_fields[] = {
    MEMBER(U64, format, ckpt_manifest),
    MEMBER(HEX, cluster_high, ckpt_manifest),
    MEMBER(HEX, cluster_low, ckpt_manifest),
    MEMBER(U64, cut, ckpt_manifest),
    MEMBER(U64, term, ckpt_manifest),
    MEMBER(U64, base, ckpt_manifest),
    MEMBER(U64, plan, ckpt_manifest),
    MEMBER(U64, restore, ckpt_manifest),
    MEMBER(TEXT, name, ckpt_manifest),
    MEMBER(U64, time_ms, ckpt_manifest),
    MEMBER(U64, next_session, ckpt_manifest),
    MEMBER(U64, next_lane, ckpt_manifest),
    MEMBER(U64, next_variable, ckpt_manifest),
    RECORDS(variables, variable_record, ckpt_manifest),
    RECORDS(parts, place_record, ckpt_manifest),
    RECORDS(lanes, lane_record, ckpt_manifest),
    RECORDS(sessions, session_record, ckpt_manifest),
    RECORDS(gaps, gap_record, ckpt_manifest),
};
static const struct ckpt_json_record manifest_record =
    RECORD(manifest_fields, ckpt_manifest);

/* Only this is looked at where the format may be another. */
static const struct ckpt_json_field format_fields[] = {
    MEMBER(U64, format, ckpt_manifest),
};
static const struct ckpt_json_record format_record =
    RECORD(format_fields, ckpt_manifest);
/* clang-format on */

static void write_tail(const void *data, size_t size, char *tail)
{
    int n = snprintf(tail, TAIL_BYTES + 1, ",\n\"xxh3\":\"%016" PRIx64 "\"}\n",
                     hash_bytes(data, size));

    ASSERT(n == TAIL_BYTES);
}

int ckpt_manifest_encode(const struct ckpt_manifest *m, struct buf *out)
{
    char tail[TAIL_BYTES + 1];
    size_t start = out->size;
    int rc = ckpt_json_write(&manifest_record, m, out);

    if (rc != PS_OK) {
        return rc;
    }
    out->size--; /* its closing brace is in the tail */
    write_tail(out->data + start, out->size - start, tail);
    return buf_append(out, tail, TAIL_BYTES);
}

/* The parts of one variable from parts[i] on: all buckets, no gap. */
static int check_cover(const struct ckpt_manifest *m, uint32_t *i,
                       struct err *e)
{
    uint32_t variable = m->parts[*i].variable;
    uint32_t next = 0;

    while (*i < m->n_parts && m->parts[*i].variable == variable) {
        const struct ckpt_place *p = &m->parts[*i];

        if (p->begin != next || p->end <= p->begin || p->end > LIMIT_BUCKETS) {
            break;
        }
        next = p->end;
        ++*i;
    }
    if (m->format == CKPT_FORMAT_MOVE && m->n_parts == 1) {
        const struct ckpt_place *p = &m->parts[0];

        *i = 1;
        next = p->begin < p->end && p->end <= LIMIT_BUCKETS ? LIMIT_BUCKETS : 0;
    }
    if (next != LIMIT_BUCKETS) {
        return err_set(e, PS_EDATALOSS,
                       "the parts of variable %" PRIu32
                       " do not cover its buckets",
                       variable);
    }
    return PS_OK;
}

static int compare_lane(const void *a, const void *b)
{
    const uint64_t *lane = a;
    const struct ckpt_lane *l = b;

    return *lane == l->lane ? 0 : (*lane < l->lane ? -1 : 1);
}

static int check_parts(const struct ckpt_manifest *m, struct err *e)
{
    uint32_t v = 0;
    uint32_t i = 0;

    for (uint32_t k = 0; k < m->n_lanes; k++) {
        if (m->lanes[k].lane <= (k > 0 ? m->lanes[k - 1].lane : 0)) {
            return err_set(e, PS_EDATALOSS, "its lanes do not rise");
        }
    }
    while (i < m->n_parts) {
        uint32_t first = i;
        int rc;

        while (v < m->n_variables &&
               m->variables[v].id < m->parts[i].variable) {
            v++;
        }
        if (v == m->n_variables || m->variables[v].id != m->parts[i].variable) {
            return err_set(e, PS_EDATALOSS,
                           "parts of variable %" PRIu32
                           ", which is not listed or out of order",
                           m->parts[i].variable);
        }
        v++;
        rc = check_cover(m, &i, e);
        if (rc != PS_OK) {
            return rc;
        }
        for (uint32_t k = first; k < i; k++) {
            if (m->n_lanes == 0 ||
                bsearch(&m->parts[k].lane, m->lanes, m->n_lanes,
                        sizeof(*m->lanes), compare_lane) == NULL) {
                return err_set(e, PS_EDATALOSS,
                               "lane %" PRIu64 " has a part and is not listed",
                               m->parts[k].lane);
            }
        }
    }
    return PS_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_variables(const struct ckpt_manifest *m, struct arena *arena,
                           struct err *e)
{
    const char **names = arena_take(arena, m->n_variables * sizeof(*names));

    if (names == NULL) {
        return err_set(e, PS_ENOMEM, "out of memory");
    }
    for (uint32_t i = 0; i < m->n_variables; i++) {
        const struct wire_variable *v = &m->variables[i];

        if ((i > 0 && v[-1].id >= v->id) || v->name[0] == '\0' ||
            strlen(v->name) > LIMIT_NAME_BYTES || v->dim == 0 ||
            v->dim > LIMIT_DIM || v->n_params > LIMIT_PARAMS) {
            return err_set(e, PS_EDATALOSS, "variable \"%.100s\" cannot be",
                           v->name);
        }
        if (v->kind != PS_DENSE && v->kind != PS_HASH64) {
            return err_set(e, PS_EVERSION,
                           "variable \"%.100s\" is of kind %" PRIu32
                           ", which this program does not know",
                           v->name, v->kind);
        }
        names[i] = v->name;
    }
    qsort(names, m->n_variables, sizeof(*names), compare_names);
    for (uint32_t i = 1; i < m->n_variables; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            return err_set(e, PS_EDATALOSS, "two variables are \"%.100s\"",
                           names[i]);
        }
    }
    return PS_OK;
}

static int decode(const char *text, size_t size, struct arena *arena,
                  struct ckpt_manifest *m, struct err *e)
{
    char tail[TAIL_BYTES + 1];
    struct ckpt_json j;
    int rc;

    if (size < TAIL_BYTES) {
        return err_set(e, PS_EDATALOSS, "it has no end");
    }
    write_tail(text, size - TAIL_BYTES, tail);
    if (memcmp(text + size - TAIL_BYTES, tail, TAIL_BYTES) != 0) {
        return err_set(e, PS_EDATALOSS, "it is damaged or cut off");
    }
    ckpt_json_start(&j, text, size, arena);
    if (!ckpt_json_read(&j, &format_record, m)) {
        return ckpt_json_end(&j, e);
    }
    if (m->format != CKPT_FORMAT && m->format != CKPT_FORMAT_MOVE) {
        return err_set(e, PS_EVERSION,
                       "its format is %" PRIu64 ", this program's is %d",
                       m->format, CKPT_FORMAT);
    }
    ckpt_json_start(&j, text, size, arena);
    if (!ckpt_json_read(&j, &manifest_record, m)) {
        return ckpt_json_end(&j, e);
    }
    rc = ckpt_json_end(&j, e);
    if (rc == PS_OK) {
        rc = check_variables(m, arena, e);
    }
    return rc == PS_OK ? check_parts(m, e) : rc;
}

int ckpt_manifest_decode(const void *data, size_t size, struct arena *arena,
                         struct ckpt_manifest *m, struct err *e)
{
    int rc = decode(data, size, arena, m, e);

    if (rc != PS_OK) {
        err_wrap(e, CKPT_MANIFEST);
    }
    return rc;
}
