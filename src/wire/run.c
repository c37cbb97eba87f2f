/* run.c - the data request and its answer.
 *
 *     | n_ops | op 0 | op 1 | ... | keys 0 | params 0 | values 0 | keys 1 ...
 *       8 B     48 B   48 B         each a multiple of 8 B
 *
 * All headers stand in front, so that a shard sees every count of the frame
 * before it touches a row. The arrays are used where they lie: keys go from the
 * client's split straight into the frame, and values from the socket's buffer
 * into the kernel.
 */
#include "wire/run.h"

#include "base/limits.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "arrays are used as they are on the wire");

struct counts_wire {
    uint32_t n;
    uint32_t reserved; /* 0 */
};

struct run_op_wire {
    uint64_t chain;
    uint32_t variable;
    uint32_t begin;
    uint32_t end;
    uint32_t n_keys;
    uint32_t n_params;
    uint32_t dim;
    uint64_t n_values;
    uint64_t reserved; /* 0 */
};

struct run_answer_wire {
    int32_t status;
    uint32_t reserved; /* 0 */
    uint64_t n_values;
};

_Static_assert(sizeof(struct counts_wire) == 8, "protocol");
_Static_assert(sizeof(struct run_op_wire) == 48, "protocol");
_Static_assert(sizeof(struct run_answer_wire) == 16, "protocol");

static bool is_aligned8(const void *p)
{
    return ((uintptr_t)p & 7) == 0;
}

static size_t values_bytes(uint64_t n_values)
{
    /* The caller's own count: a request is split long before this. */
    ASSERT(n_values <= PTRDIFF_MAX / sizeof(float) / 2);
    return base_align8((size_t)n_values * sizeof(float));
}

size_t run_bytes(const struct run_op *ops, size_t n)
{
    size_t bytes = sizeof(struct counts_wire) + n * sizeof(struct run_op_wire);

    for (size_t i = 0; i < n; i++) {
        bytes += ops[i].n_keys * sizeof(uint64_t) +
                 ops[i].n_params * sizeof(double) +
                 values_bytes(ops[i].n_values);
    }
    return bytes;
}

/* Writes an array, or leaves its room, whose place is then *place. Moves *at
 * behind it. */
static void put_array(uint8_t **at, const void *from, size_t bytes,
                      void **place)
{
    size_t whole = base_align8(bytes);

    *place = NULL;
    memset(*at + bytes, 0, whole - bytes);
    if (from != NULL && bytes > 0) {
        memcpy(*at, from, bytes);
    } else if (bytes > 0) {
        *place = *at;
    }
    *at += whole;
}

static void put_counts(uint8_t **at, size_t n)
{
    struct counts_wire counts = {(uint32_t)n, 0};

    ASSERT(is_aligned8(*at));
    ASSERT(n <= LIMIT_FRAME_OPS);
    memcpy(*at, &counts, sizeof(counts));
    *at += sizeof(counts);
}

static void put_op(uint8_t **at, const struct run_op *op)
{
    struct run_op_wire w = {.chain = op->chain,
                            .variable = op->variable,
                            .begin = op->begin,
                            .end = op->end,
                            .n_keys = op->n_keys,
                            .n_params = op->n_params,
                            .dim = op->dim,
                            .n_values = op->n_values};

    memcpy(*at, &w, sizeof(w));
    *at += sizeof(w);
}

void run_encode(const struct run_op *ops, size_t n, uint8_t *out,
                struct run_place *places)
{
    uint8_t *at = out;

    put_counts(&at, n);
    for (size_t i = 0; i < n; i++) {
        put_op(&at, &ops[i]);
    }
    for (size_t i = 0; i < n; i++) {
        const struct run_op *op = &ops[i];
        void *keys;
        void *params;
        void *values;

        put_array(&at, op->keys, op->n_keys * sizeof(uint64_t), &keys);
        put_array(&at, op->params, op->n_params * sizeof(double), &params);
        put_array(&at, op->values, (size_t)op->n_values * sizeof(float),
                  &values);
        if (places != NULL) {
            places[i] = (struct run_place){keys, params, values};
        } else {
            ASSERT(keys == NULL && params == NULL && values == NULL);
        }
    }
    ASSERT((size_t)(at - out) == run_bytes(ops, n));
}

size_t run_answer_bytes(const struct run_answer *answers, size_t n)
{
    size_t bytes =
        sizeof(struct counts_wire) + n * sizeof(struct run_answer_wire);

    for (size_t i = 0; i < n; i++) {
        bytes += values_bytes(answers[i].n_values);
    }
    return bytes;
}

void run_answer_encode(const struct run_answer *answers, size_t n, uint8_t *out,
                       float **places)
{
    uint8_t *at = out;

    put_counts(&at, n);
    for (size_t i = 0; i < n; i++) {
        struct run_answer_wire w = {.status = answers[i].status,
                                    .n_values = answers[i].n_values};

        memcpy(at, &w, sizeof(w));
        at += sizeof(w);
    }
    for (size_t i = 0; i < n; i++) {
        void *values;

        put_array(&at, answers[i].values,
                  (size_t)answers[i].n_values * sizeof(float), &values);
        if (places != NULL) {
            places[i] = values;
        } else {
            ASSERT(values == NULL);
        }
    }
    ASSERT((size_t)(at - out) == run_answer_bytes(answers, n));
}

/* What is left of a body. */
struct rest {
    const uint8_t *at;
    size_t left;
};

/* Takes n elements and the zeros that pad them to words. *array is NULL where
 * n is 0. */
static int take_array(struct rest *r, uint64_t n, size_t element_bytes,
                      const void **array)
{
    size_t bytes;
    size_t whole;

    *array = NULL;
    if (n == 0) {
        return PS_OK;
    }
    if (n > r->left / element_bytes) {
        return PS_EPROTOCOL;
    }
    bytes = (size_t)n * element_bytes;
    whole = base_align8(bytes);
    if (whole > r->left) {
        return PS_EPROTOCOL;
    }
    for (size_t i = bytes; i < whole; i++) {
        if (r->at[i] != 0) {
            return PS_EPROTOCOL;
        }
    }
    *array = r->at;
    r->at += whole;
    r->left -= whole;
    return PS_OK;
}

/* The number of headers, and the headers themselves. */
static int take_headers(struct rest *r, size_t header_bytes, uint32_t *n,
                        const void **headers)
{
    struct counts_wire counts;
    const void *p;

    ASSERT(is_aligned8(r->at));
    if (take_array(r, 1, sizeof(counts), &p) != PS_OK) {
        return PS_EPROTOCOL;
    }
    memcpy(&counts, p, sizeof(counts));
    if (counts.reserved != 0 || counts.n > LIMIT_FRAME_OPS) {
        return PS_EPROTOCOL;
    }
    *n = counts.n;
    return take_array(r, counts.n, header_bytes, headers);
}

static bool is_op(const struct run_op_wire *w)
{
    if (w->reserved != 0 || w->begin >= w->end || w->end > LIMIT_BUCKETS ||
        w->dim == 0 || w->dim > LIMIT_DIM) {
        return false;
    }
    if (w->n_keys > 0) {
        return w->n_values == 0 || w->n_values == (uint64_t)w->n_keys * w->dim;
    }
    return w->n_values % w->dim == 0;
}

static int take_op(struct rest *r, const struct run_op_wire *w,
                   struct run_op *op)
{
    const void *keys;
    const void *params;
    const void *values;

    if (!is_op(w) ||
        take_array(r, w->n_keys, sizeof(uint64_t), &keys) != PS_OK ||
        take_array(r, w->n_params, sizeof(double), &params) != PS_OK ||
        take_array(r, w->n_values, sizeof(float), &values) != PS_OK) {
        return PS_EPROTOCOL;
    }
    *op = (struct run_op){.chain = w->chain,
                          .variable = w->variable,
                          .begin = w->begin,
                          .end = w->end,
                          .n_keys = w->n_keys,
                          .n_params = w->n_params,
                          .dim = w->dim,
                          .n_values = w->n_values,
                          .keys = keys,
                          .params = params,
                          .values = values};
    return PS_OK;
}

int run_decode(const uint8_t *body, size_t size, struct arena *arena,
               struct run_op **ops, uint32_t *n)
{
    struct rest r = {body, size};
    const struct run_op_wire *headers;
    const void *p;
    struct run_op *taken;
    uint32_t count;

    if (take_headers(&r, sizeof(*headers), &count, &p) != PS_OK) {
        return PS_EPROTOCOL;
    }
    headers = p;
    taken = arena_take(arena, count * sizeof(*taken));
    if (taken == NULL) {
        return PS_ENOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (take_op(&r, &headers[i], &taken[i]) != PS_OK) {
            return PS_EPROTOCOL;
        }
    }
    if (r.left > 0) {
        return PS_EPROTOCOL;
    }
    *ops = taken;
    *n = count;
    return PS_OK;
}

int run_answer_decode(const uint8_t *body, size_t size, struct arena *arena,
                      struct run_answer **answers, uint32_t *n)
{
    struct rest r = {body, size};
    const struct run_answer_wire *headers;
    const void *p;
    struct run_answer *taken;
    uint32_t count;

    if (take_headers(&r, sizeof(*headers), &count, &p) != PS_OK) {
        return PS_EPROTOCOL;
    }
    headers = p;
    taken = arena_take(arena, count * sizeof(*taken));
    if (taken == NULL) {
        return PS_ENOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct run_answer_wire *w = &headers[i];

        if (w->reserved != 0 || w->status > 0 ||
            take_array(&r, w->n_values, sizeof(float), &p) != PS_OK) {
            return PS_EPROTOCOL;
        }
        taken[i] = (struct run_answer){w->status, w->n_values, p};
    }
    if (r.left > 0) {
        return PS_EPROTOCOL;
    }
    *answers = taken;
    *n = count;
    return PS_OK;
}
