/* test_run.c - the data request and its answer. */
#include "wire/run.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"

/* clang-format off */
static const uint8_t request_bytes[] = {
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* n_ops, reserved */
    0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* chain */
    0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* variable, begin */
    0x40, 0x9c, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, /* end, n_keys */
    0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, /* n_params, dim */
    0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* n_values */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* reserved */
    0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* chain */
    0x09, 0x00, 0x00, 0x00, 0x00, 0x80, 0x00, 0x00, /* variable, begin */
    0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, /* end, n_keys */
    0x02, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, /* n_params, dim */
    0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* n_values */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* reserved */
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* key */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, /* key */
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, /* key */
    0x9a, 0x99, 0x99, 0x99, 0x99, 0x99, 0xa9, 0x3f, /* param */
    0x00, 0x00, 0x80, 0x3f, 0x00, 0x00, 0x00, 0xc0, /* values */
    0x00, 0x00, 0x00, 0x3f, 0x00, 0x00, 0x00, 0x00, /* value, padding */
    0x9a, 0x99, 0x99, 0x99, 0x99, 0x99, 0xb9, 0x3f, /* param */
    0xcd, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xec, 0x3f, /* param */
    0x00, 0x00, 0x80, 0x3f, 0x00, 0x00, 0x00, 0x40, /* values */
    0x00, 0x00, 0x40, 0x40, 0x00, 0x00, 0x80, 0x40, /* values */
};

static const uint8_t answer_bytes[] = {
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* n_ops, reserved */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* status, reserved */
    0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* n_values */
    0xd9, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, /* status, reserved */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* n_values */
    0x00, 0x00, 0x80, 0x3f, 0x00, 0x00, 0x00, 0xc0, /* values */
    0x00, 0x00, 0x00, 0x3f, 0x00, 0x00, 0x00, 0x00, /* value, padding */
};
/* clang-format on */

static const uint64_t keys[] = {1, (uint64_t)1 << 63, UINT64_MAX};
static const double param[] = {0.05};
static const double params[] = {0.1, 0.9};
static const float values3[] = {1.0f, -2.0f, 0.5f};
static const float values4[] = {1, 2, 3, 4};

static const struct run_op sample[] = {
    {.chain = 3,
     .variable = 4,
     .begin = 0,
     .end = 40000,
     .n_keys = 3,
     .n_params = 1,
     .dim = 1,
     .n_values = 3,
     .keys = keys,
     .params = param,
     .values = values3},
    {.chain = 8,
     .variable = 9,
     .begin = 32768,
     .end = 65536,
     .n_params = 2,
     .dim = 2,
     .n_values = 4,
     .params = params,
     .values = values4},
};

static const struct run_answer sample_answers[] = {
    {PS_OK, 3, values3},
    {PS_EMOVED, 0, NULL},
};

/* Decodes a copy that ends where the sanitizer sees the byte behind it; what is
 * accepted must encode to the same bytes. */
static int decode(const uint8_t *data, size_t size)
{
    uint8_t *copy = mem_new(size);
    struct arena arena;
    struct run_op *ops;
    uint32_t n;
    int rc;

    if (size > 0) {
        memcpy(copy, data, size);
    }
    arena_init(&arena);
    rc = run_decode(copy, size, &arena, &ops, &n);
    if (rc == PS_OK) {
        uint8_t *again = mem_new(size);

        assert_int_equal(run_bytes(ops, n), size);
        run_encode(ops, n, again, NULL);
        assert_memory_equal(again, data, size);
        mem_free(again);
    }
    arena_fini(&arena);
    mem_free(copy);
    return rc;
}

static int decode_answer(const uint8_t *data, size_t size)
{
    uint8_t *copy = mem_new(size);
    struct arena arena;
    struct run_answer *answers;
    uint32_t n;
    int rc;

    if (size > 0) {
        memcpy(copy, data, size);
    }
    arena_init(&arena);
    rc = run_answer_decode(copy, size, &arena, &answers, &n);
    if (rc == PS_OK) {
        uint8_t *again = mem_new(size);

        assert_int_equal(run_answer_bytes(answers, n), size);
        run_answer_encode(answers, n, again, NULL);
        assert_memory_equal(again, data, size);
        mem_free(again);
    }
    arena_fini(&arena);
    mem_free(copy);
    return rc;
}

static void a_request_has_the_bytes_of_the_specification(void **state)
{
    uint8_t *out = mem_new(sizeof(request_bytes));
    struct run_place places[2];

    (void)state;
    assert_int_equal(run_bytes(sample, 2), sizeof(request_bytes));
    memset(out, 0xaa, sizeof(request_bytes));
    run_encode(sample, 2, out, places);
    assert_memory_equal(out, request_bytes, sizeof(request_bytes));
    assert_null(places[0].keys);
    assert_null(places[0].params);
    assert_null(places[0].values);
    assert_null(places[1].keys);
    mem_free(out);
}

static void a_request_is_read_from_the_bytes_of_the_specification(void **state)
{
    uint8_t *body = mem_new(sizeof(request_bytes));
    struct arena arena;
    struct run_op *ops;
    uint32_t n;

    (void)state;
    arena_init(&arena);
    memcpy(body, request_bytes, sizeof(request_bytes));
    assert_int_equal(run_decode(body, sizeof(request_bytes), &arena, &ops, &n),
                     PS_OK);
    assert_int_equal(n, 2);
    assert_int_equal(ops[0].chain, 3);
    assert_int_equal(ops[0].variable, 4);
    assert_int_equal(ops[0].begin, 0);
    assert_int_equal(ops[0].end, 40000);
    assert_int_equal(ops[0].n_keys, 3);
    assert_int_equal(ops[0].n_params, 1);
    assert_int_equal(ops[0].dim, 1);
    assert_int_equal(ops[0].n_values, 3);
    assert_ptr_equal(ops[0].keys, body + 104);
    assert_memory_equal(ops[0].keys, keys, sizeof(keys));
    assert_true(ops[0].params[0] == 0.05);
    assert_memory_equal(ops[0].values, values3, sizeof(values3));
    assert_int_equal(ops[1].begin, 32768);
    assert_int_equal(ops[1].n_keys, 0);
    assert_null(ops[1].keys);
    assert_true(ops[1].params[1] == 0.9);
    assert_memory_equal(ops[1].values, values4, sizeof(values4));
    arena_fini(&arena);
    mem_free(body);
}

static void what_is_left_out_is_filled_in_by_the_caller(void **state)
{
    uint8_t *out = mem_new(sizeof(request_bytes));
    struct run_op ops[2] = {sample[0], sample[1]};
    struct run_place places[2];

    (void)state;
    ops[0].keys = NULL;
    ops[0].values = NULL;
    ops[1].params = NULL;
    memset(out, 0xaa, sizeof(request_bytes));
    run_encode(ops, 2, out, places);
    assert_ptr_equal(places[0].keys, out + 104);
    assert_null(places[0].params);
    assert_ptr_equal(places[0].values, out + 136);
    assert_null(places[1].keys);
    assert_ptr_equal(places[1].params, out + 152);
    assert_null(places[1].values);
    memcpy(places[0].keys, keys, sizeof(keys));
    memcpy(places[0].values, values3, sizeof(values3));
    memcpy(places[1].params, params, sizeof(params));
    assert_memory_equal(out, request_bytes, sizeof(request_bytes));
    mem_free(out);
}

static void an_answer_has_the_bytes_of_the_specification(void **state)
{
    uint8_t *out = mem_new(sizeof(answer_bytes));
    struct run_answer left[2] = {sample_answers[0], sample_answers[1]};
    struct run_answer *back;
    struct arena arena;
    float *places[2];
    uint32_t n;

    (void)state;
    arena_init(&arena);
    assert_int_equal(run_answer_bytes(sample_answers, 2), sizeof(answer_bytes));
    memset(out, 0xaa, sizeof(answer_bytes));
    run_answer_encode(sample_answers, 2, out, NULL);
    assert_memory_equal(out, answer_bytes, sizeof(answer_bytes));
    left[0].values = NULL;
    memset(out, 0xaa, sizeof(answer_bytes));
    run_answer_encode(left, 2, out, places);
    assert_ptr_equal(places[0], out + 40);
    assert_null(places[1]);
    memcpy(places[0], values3, sizeof(values3));
    assert_memory_equal(out, answer_bytes, sizeof(answer_bytes));

    assert_int_equal(
        run_answer_decode(out, sizeof(answer_bytes), &arena, &back, &n), PS_OK);
    assert_int_equal(n, 2);
    assert_int_equal(back[0].status, PS_OK);
    assert_int_equal(back[0].n_values, 3);
    assert_ptr_equal(back[0].values, out + 40);
    assert_int_equal(back[1].status, PS_EMOVED);
    assert_null(back[1].values);
    arena_fini(&arena);
    mem_free(out);
}

static void cut_short_anywhere_both_are_refused(void **state)
{
    (void)state;
    for (size_t size = 0; size < sizeof(request_bytes); size++) {
        assert_int_equal(decode(request_bytes, size), PS_EPROTOCOL);
    }
    for (size_t size = 0; size < sizeof(answer_bytes); size++) {
        assert_int_equal(decode_answer(answer_bytes, size), PS_EPROTOCOL);
    }
}

static void something_behind_them_is_refused(void **state)
{
    uint8_t longer[sizeof(request_bytes) + 8] = {0};

    (void)state;
    for (size_t more = 1; more <= 8; more++) {
        memcpy(longer, request_bytes, sizeof(request_bytes));
        assert_int_equal(decode(longer, sizeof(request_bytes) + more),
                         PS_EPROTOCOL);
        memset(longer, 0, sizeof(longer));
        memcpy(longer, answer_bytes, sizeof(answer_bytes));
        assert_int_equal(decode_answer(longer, sizeof(answer_bytes) + more),
                         PS_EPROTOCOL);
    }
}

static void any_byte_changed_is_refused_or_meant(void **state)
{
    uint8_t bytes[sizeof(request_bytes)];

    (void)state;
    memcpy(bytes, request_bytes, sizeof(request_bytes));
    for (size_t i = 0; i < sizeof(request_bytes); i++) {
        for (uint32_t mask = 1; mask < 256; mask++) {
            bytes[i] ^= (uint8_t)mask;
            (void)decode(bytes, sizeof(request_bytes));
            bytes[i] ^= (uint8_t)mask;
        }
    }
    memcpy(bytes, answer_bytes, sizeof(answer_bytes));
    for (size_t i = 0; i < sizeof(answer_bytes); i++) {
        for (uint32_t mask = 1; mask < 256; mask++) {
            bytes[i] ^= (uint8_t)mask;
            (void)decode_answer(bytes, sizeof(answer_bytes));
            bytes[i] ^= (uint8_t)mask;
        }
    }
}

/* Puts a number of 4 or 8 bytes at an offset of the sample. */
static int decode_with(size_t offset, uint64_t value, size_t bytes)
{
    uint8_t copy[sizeof(request_bytes)];

    memcpy(copy, request_bytes, sizeof(copy));
    memcpy(copy + offset, &value, bytes);
    return decode(copy, sizeof(copy));
}

static int decode_answer_with(size_t offset, uint64_t value, size_t bytes)
{
    uint8_t copy[sizeof(answer_bytes)];

    memcpy(copy, answer_bytes, sizeof(copy));
    memcpy(copy + offset, &value, bytes);
    return decode_answer(copy, sizeof(copy));
}

static void giant_counts_are_refused_before_any_arithmetic(void **state)
{
    static const uint64_t giants[] = {
        ((uint64_t)1 << 32) - 1, (uint64_t)1 << 32, ((uint64_t)1 << 62) + 3,
        ((uint64_t)1 << 62) + 1, (uint64_t)1 << 61, (uint64_t)1 << 63,
        UINT64_MAX - 1,          UINT64_MAX,
    };

    (void)state;
    assert_int_equal(decode_with(0, UINT32_MAX, 4), PS_EPROTOCOL);
    assert_int_equal(decode_with(0, LIMIT_FRAME_OPS + 1, 4), PS_EPROTOCOL);
    assert_int_equal(decode_with(28, UINT32_MAX, 4), PS_EPROTOCOL);
    assert_int_equal(decode_with(28, 1u << 29, 4), PS_EPROTOCOL);
    assert_int_equal(decode_with(32, UINT32_MAX, 4), PS_EPROTOCOL);
    assert_int_equal(decode_with(32, (1u << 29) + 1, 4), PS_EPROTOCOL);
    assert_int_equal(decode_answer_with(0, UINT32_MAX, 4), PS_EPROTOCOL);
    for (size_t i = 0; i < ARRAY_LEN(giants); i++) {
        assert_int_equal(decode_with(40, giants[i], 8), PS_EPROTOCOL);
        /* Without keys only what is left limits the values. */
        assert_int_equal(decode_with(88, giants[i], 8), PS_EPROTOCOL);
        assert_int_equal(decode_answer_with(16, giants[i], 8), PS_EPROTOCOL);
    }
}

static void headers_that_mean_nothing_are_refused(void **state)
{
    (void)state;
    assert_int_equal(decode_with(4, 1, 4), PS_EPROTOCOL);  /* reserved */
    assert_int_equal(decode_with(48, 1, 8), PS_EPROTOCOL); /* reserved */
    assert_int_equal(decode_with(20, 39999, 4), PS_OK);    /* begin */
    assert_int_equal(decode_with(20, 40000, 4), PS_EPROTOCOL);
    assert_int_equal(decode_with(24, 65536, 4), PS_OK); /* end */
    assert_int_equal(decode_with(24, 65537, 4), PS_EPROTOCOL);
    assert_int_equal(decode_with(36, 0, 4), PS_EPROTOCOL); /* dim */
    assert_int_equal(decode_with(36, 2, 4), PS_EPROTOCOL);
    assert_int_equal(decode_with(84, 4, 4), PS_OK);
    assert_int_equal(decode_with(84, 3, 4), PS_EPROTOCOL);
    assert_int_equal(decode_with(84, 65537, 4), PS_EPROTOCOL);
    assert_int_equal(decode_with(148, 1, 1), PS_EPROTOCOL); /* padding */
    assert_int_equal(decode_answer_with(4, 1, 4), PS_EPROTOCOL);
    assert_int_equal(decode_answer_with(8, 1, 4), PS_EPROTOCOL); /* status */
    assert_int_equal(decode_answer_with(12, 1, 4), PS_EPROTOCOL);
    assert_int_equal(decode_answer_with(52, 1, 1), PS_EPROTOCOL);
}

static void an_empty_request_is_a_request(void **state)
{
    static const uint8_t none[8] = {0};

    (void)state;
    assert_int_equal(run_bytes(NULL, 0), 8);
    assert_int_equal(decode(none, 8), PS_OK);
    assert_int_equal(decode_answer(none, 8), PS_OK);
    assert_int_equal(decode(none, 4), PS_EPROTOCOL);
}

static uint64_t random_state;

static uint64_t draw(uint64_t below)
{
    random_state++;
    return hash_key(random_state) % below;
}

static void draw_op(struct run_op *op, struct arena *arena)
{
    uint32_t rows = (uint32_t)draw(9);
    uint32_t dim = 1 + (uint32_t)draw(5);
    uint32_t begin = (uint32_t)draw(65536);
    uint64_t n_values = draw(2) * rows * dim;
    uint64_t *some_keys = arena_take(arena, 9 * sizeof(*some_keys));
    float *values = arena_take(arena, 45 * sizeof(*values));

    assert_non_null(some_keys);
    assert_non_null(values);
    for (size_t i = 0; i < 9; i++) {
        some_keys[i] = hash_key(random_state + i);
    }
    for (size_t i = 0; i < 45; i++) {
        values[i] = (float)i;
    }
    *op = (struct run_op){.chain = draw(UINT64_MAX),
                          .variable = (uint32_t)draw(UINT32_MAX),
                          .begin = begin,
                          .end = begin + 1 + (uint32_t)draw(65536 - begin),
                          .n_keys = draw(2) ? rows : 0,
                          .n_params = (uint32_t)draw(3),
                          .dim = dim,
                          .n_values = n_values,
                          .keys = some_keys,
                          .params = params,
                          .values = values};
}

static void every_request_comes_back_as_it_went(void **state)
{
    enum { OPS = 5 };

    (void)state;
    for (random_state = 0; random_state < 500000; random_state += 1000) {
        struct run_op ops[OPS];
        struct run_op *back;
        struct arena arena;
        uint32_t n = (uint32_t)draw(OPS + 1);
        uint32_t n_back;
        uint8_t *out;
        size_t size;

        arena_init(&arena);
        for (uint32_t i = 0; i < n; i++) {
            draw_op(&ops[i], &arena);
        }
        size = run_bytes(ops, n);
        assert_int_equal(size % 8, 0);
        out = mem_new(size);
        run_encode(ops, n, out, NULL);
        assert_int_equal(run_decode(out, size, &arena, &back, &n_back), PS_OK);
        assert_int_equal(n_back, n);
        for (uint32_t i = 0; i < n; i++) {
            assert_memory_equal(&back[i], &ops[i],
                                offsetof(struct run_op, keys));
            assert_memory_equal(back[i].keys, ops[i].keys,
                                ops[i].n_keys * sizeof(uint64_t));
            assert_memory_equal(back[i].params, ops[i].params,
                                ops[i].n_params * sizeof(double));
            assert_memory_equal(back[i].values, ops[i].values,
                                ops[i].n_values * sizeof(float));
        }
        mem_free(out);
        arena_fini(&arena);
    }
}

static void without_memory_decoding_says_so(void **state)
{
    struct arena arena;
    struct run_op *ops;
    struct run_answer *answers;
    uint8_t *body = mem_new(sizeof(request_bytes));
    uint32_t n;

    (void)state;
    arena_init(&arena);
    memcpy(body, request_bytes, sizeof(request_bytes));
    mem_fail_at(1);
    assert_int_equal(run_decode(body, sizeof(request_bytes), &arena, &ops, &n),
                     PS_ENOMEM);
    memcpy(body, answer_bytes, sizeof(answer_bytes));
    mem_fail_at(1);
    assert_int_equal(
        run_answer_decode(body, sizeof(answer_bytes), &arena, &answers, &n),
        PS_ENOMEM);
    mem_fail_at(0);
    arena_fini(&arena);
    mem_free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_has_the_bytes_of_the_specification),
        cmocka_unit_test(a_request_is_read_from_the_bytes_of_the_specification),
        cmocka_unit_test(what_is_left_out_is_filled_in_by_the_caller),
        cmocka_unit_test(an_answer_has_the_bytes_of_the_specification),
        cmocka_unit_test(cut_short_anywhere_both_are_refused),
        cmocka_unit_test(something_behind_them_is_refused),
        cmocka_unit_test(any_byte_changed_is_refused_or_meant),
        cmocka_unit_test(giant_counts_are_refused_before_any_arithmetic),
        cmocka_unit_test(headers_that_mean_nothing_are_refused),
        cmocka_unit_test(an_empty_request_is_a_request),
        cmocka_unit_test(every_request_comes_back_as_it_went),
        cmocka_unit_test(without_memory_decoding_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
