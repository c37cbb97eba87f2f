/* test_table.c - rows by key: insert, undo, limits, dense, initial values. */
#include "table/table.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"

enum { DIM = 5 };

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* dim 5 and one slot: 40 bytes, a stride of 48 with 8 unused. */
static struct table_spec hash_spec(struct table_budget *budget)
{
    return (struct table_spec){
        .variable = 3,
        .kind = PS_HASH64,
        .dim = DIM,
        .begin = 0,
        .end = 65536,
        .init = {PS_INIT_UNIFORM, -1.0f, 1.0f, 42, 7},
        .n_slots = 1,
        .slot_init = {0.25f},
        .budget = budget,
    };
}

static struct table *new_table(const struct table_spec *spec)
{
    struct table *t = NULL;

    assert_int_equal(table_new(&t, spec), PS_OK);
    return t;
}

static float *values_of(const struct table *t, uint32_t row)
{
    uint8_t *block;

    table_address(t, &row, 1, &block);
    assert_non_null(block);
    return (float *)(void *)block;
}

static void check_initial(const struct table *t, uint64_t key, uint32_t row)
{
    const float *values = values_of(t, row);
    float expected[DIM];

    init_row(&table_spec(t)->init, key, expected, DIM);
    assert_memory_equal(values, expected, sizeof(expected));
    for (uint32_t i = DIM; i < 2 * DIM; i++) {
        assert_true(values[i] == 0.25f);
    }
    for (uint32_t i = 2 * DIM; i < 12; i++) {
        assert_true(values[i] == 0.0f);
    }
}

static void new_rows_have_their_initial_values(void **state)
{
    struct table_budget budget = {0};
    struct table_spec spec = hash_spec(&budget);
    struct table *t = new_table(&spec);
    uint64_t keys[1000];
    uint32_t rows[1000], places[1000], found[1000];
    struct table_undo undo = {.rows = places};

    (void)state;
    assert_int_equal(table_stride(t), 48);
    for (uint32_t i = 0; i < 1000; i++) {
        keys[i] = i * UINT64_C(0x123456789abcdef1);
    }
    keys[999] = UINT64_MAX;
    table_find(t, keys, 1000, found);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(found[i], TABLE_ABSENT);
    }
    assert_int_equal(table_insert(t, keys, 1000, rows, &undo), PS_OK);
    assert_int_equal(table_rows(t), 1000);
    assert_int_equal(undo.n, 1000);
    assert_int_equal(table_writes(t), 1000);
    table_find(t, keys, 1000, found);
    assert_memory_equal(rows, found, sizeof(rows));
    for (uint32_t i = 0; i < 1000; i++) {
        float initial[DIM];

        check_initial(t, keys[i], rows[i]);
        table_initial(t, keys[i], initial);
        assert_memory_equal(initial, values_of(t, rows[i]), sizeof(initial));
    }
    assert_int_equal(table_bytes(t), budget.used);
    table_free(t);
    assert_int_equal(budget.used, 0);
}

static void a_key_named_twice_is_one_row(void **state)
{
    struct table_budget budget = {0};
    struct table_spec spec = hash_spec(&budget);
    struct table *t = new_table(&spec);
    uint64_t keys[600];
    uint32_t rows[600], places[600];
    struct table_undo undo = {.rows = places};

    (void)state;
    /* Inside one block and across two. */
    for (uint32_t i = 0; i < 600; i++) {
        keys[i] = i % 7;
    }
    assert_int_equal(table_insert(t, keys, 600, rows, &undo), PS_OK);
    assert_int_equal(table_rows(t), 7);
    assert_int_equal(undo.n, 7);
    for (uint32_t i = 0; i < 600; i++) {
        assert_int_equal(rows[i], rows[i % 7]);
    }
    table_uninsert(t, &undo);
    assert_int_equal(table_rows(t), 0);
    table_free(t);
}

static uint64_t walk_keys, walk_rows;

static void count_row(void *context, uint64_t key, const float *values)
{
    const struct table *t = context;
    float expected[DIM];

    init_row(&table_spec(t)->init, key, expected, DIM);
    assert_memory_equal(values, expected, sizeof(expected));
    walk_keys += key * key;
    walk_rows++;
}

static void an_insert_taken_back_leaves_no_trace(void **state)
{
    enum { N = 5000 };
    struct table_budget budget = {0};
    struct table_spec spec = hash_spec(&budget);
    struct table *t = new_table(&spec);
    uint64_t *keys = mem_new(N * sizeof(*keys));
    uint32_t *rows = mem_new(N * sizeof(*rows));
    uint32_t *found = mem_new(N * sizeof(*rows));
    struct table_undo undo = {.rows = mem_new(N * sizeof(uint32_t))};
    uint64_t sum = 0;

    (void)state;
    for (uint32_t i = 0; i < N; i++) {
        keys[i] = i * UINT64_C(77777777777);
        sum += i < N / 2 ? keys[i] * keys[i] : 0;
    }
    assert_int_equal(table_insert(t, keys, N / 2, rows, &undo), PS_OK);
    for (uint32_t round = 0; round < 3; round++) {
        assert_int_equal(table_insert(t, keys, N, found, &undo), PS_OK);
        assert_int_equal(undo.n, N - N / 2);
        assert_memory_equal(rows, found, N / 2 * sizeof(*rows));
        /* The same numbers each time. */
        if (round > 0) {
            assert_memory_equal(rows, found, N * sizeof(*rows));
        }
        memcpy(rows, found, N * sizeof(*rows));
        table_uninsert(t, &undo);
        assert_int_equal(table_rows(t), N / 2);
        table_find(t, keys, N, found);
        for (uint32_t i = 0; i < N; i++) {
            assert_int_equal(found[i], i < N / 2 ? rows[i] : TABLE_ABSENT);
        }
        walk_keys = 0;
        walk_rows = 0;
        table_walk(t, count_row, t);
        assert_int_equal(walk_rows, N / 2);
        assert_true(walk_keys == sum);
    }
    table_free(t);
    mem_free(keys);
    mem_free(rows);
    mem_free(found);
    mem_free(undo.rows);
}

/* Batches of random keys against an array that says which exist. */
static void many_batches_agree_with_a_plain_array(void **state)
{
    enum { KEYS = 20000, BATCH = 700 };
    uint32_t *model = mem_new(KEYS * sizeof(*model));

    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct table_budget budget = {0};
        struct table_spec spec = hash_spec(&budget);
        struct table *t = new_table(&spec);
        uint64_t random = seed * 7919;
        uint64_t n = 0;

        memset(model, 0xff, KEYS * sizeof(*model));
        for (uint32_t step = 0; step < 200; step++) {
            uint64_t keys[BATCH];
            uint32_t rows[BATCH], places[BATCH];
            struct table_undo undo = {.rows = places};
            bool taken_back = next_random(&random) % 3 == 0;

            for (uint32_t i = 0; i < BATCH; i++) {
                keys[i] = next_random(&random) % KEYS;
            }
            assert_int_equal(table_insert(t, keys, BATCH, rows, &undo), PS_OK);
            for (uint32_t i = 0; i < BATCH; i++) {
                if (model[keys[i]] != TABLE_ABSENT) {
                    assert_int_equal(model[keys[i]], rows[i]);
                    assert_true(values_of(t, rows[i])[0] == (float)keys[i]);
                }
            }
            if (taken_back) {
                table_uninsert(t, &undo);
                assert_int_equal(table_rows(t), n);
                continue;
            }
            for (uint32_t i = 0; i < undo.n; i++) {
                uint32_t at = places[i];

                assert_int_equal(model[keys[at]], TABLE_ABSENT);
                check_initial(t, keys[at], rows[at]);
                model[keys[at]] = rows[at];
                values_of(t, rows[at])[0] = (float)keys[at];
                n++;
            }
            for (uint32_t i = 0; i < BATCH; i++) {
                assert_int_equal(model[keys[i]], rows[i]);
            }
            assert_int_equal(table_rows(t), n);
        }
        table_free(t);
        assert_int_equal(budget.used, 0);
    }
    mem_free(model);
}

/* 30,000 keys in batches of 1,000; call fail_at of mem fails. */
static bool insert_with_one_failure(uint64_t fail_at)
{
    enum { BATCH = 1000, BATCHES = 30 };
    struct table_budget budget = {0};
    struct table_spec spec = hash_spec(&budget);
    struct table *t = NULL;
    uint64_t keys[BATCH];
    uint32_t rows[BATCH], places[BATCH];
    struct table_undo undo = {.rows = places};
    bool failed = false;
    int rc;

    mem_fail_at(fail_at);
    rc = table_new(&t, &spec);
    if (rc != PS_OK) {
        assert_int_equal(rc, PS_ENOMEM);
        assert_null(t);
        assert_int_equal(budget.used, 0);
        return true;
    }
    for (uint32_t b = 0; b < BATCHES; b++) {
        for (uint32_t i = 0; i < BATCH; i++) {
            keys[i] = (uint64_t)b * BATCH + i;
        }
        rc = table_insert(t, keys, BATCH, rows, &undo);
        if (rc != PS_OK) {
            assert_int_equal(rc, PS_ENOMEM);
            assert_false(failed);
            failed = true;
            assert_int_equal(undo.n, 0);
            assert_int_equal(table_rows(t), b * BATCH);
            assert_int_equal(table_bytes(t), budget.used);
            table_find(t, keys, BATCH, rows);
            for (uint32_t i = 0; i < BATCH; i++) {
                assert_int_equal(rows[i], TABLE_ABSENT);
            }
            walk_rows = 0;
            table_walk(t, count_row, t);
            assert_int_equal(walk_rows, b * BATCH);
            rc = table_insert(t, keys, BATCH, rows, &undo);
        }
        assert_int_equal(rc, PS_OK);
        check_initial(t, keys[BATCH - 1], rows[BATCH - 1]);
    }
    mem_fail_at(0);
    table_free(t);
    assert_int_equal(budget.used, 0);
    return failed;
}

static void whichever_allocation_fails_nothing_has_changed(void **state)
{
    uint64_t n = 0;

    (void)state;
    do {
        n++;
    } while (insert_with_one_failure(n));
    assert_true(n > 25);
}

static void at_the_limit_a_batch_is_refused_whole(void **state)
{
    enum { BATCH = 400 };
    struct table_budget budget = {.limit = 1 << 20};
    struct table_spec spec = hash_spec(&budget);
    struct table *t = new_table(&spec);
    uint64_t keys[BATCH];
    uint32_t rows[BATCH], places[BATCH];
    struct table_undo undo = {.rows = places};
    uint64_t n = 0;
    int rc;

    (void)state;
    for (;;) {
        for (uint32_t i = 0; i < BATCH; i++) {
            keys[i] = n + i;
        }
        rc = table_insert(t, keys, BATCH, rows, &undo);
        assert_true(budget.used <= budget.limit);
        if (rc != PS_OK) {
            break;
        }
        n += BATCH;
    }
    assert_int_equal(rc, PS_ELIMIT);
    assert_int_equal(table_rows(t), n);
    assert_int_equal(table_insert(t, keys, BATCH, rows, &undo), PS_ELIMIT);
    table_find(t, keys, BATCH, rows);
    assert_int_equal(rows[0], TABLE_ABSENT);
    assert_int_equal(rows[BATCH - 1], TABLE_ABSENT);
    /* Old keys are no growth. */
    keys[0] = 0;
    assert_int_equal(table_insert(t, keys, 1, rows, &undo), PS_OK);
    assert_int_equal(undo.n, 0);
    table_free(t);
    assert_int_equal(budget.used, 0);
    budget.limit = 100;
    assert_int_equal(table_new(&t, &spec), PS_ELIMIT);
    assert_int_equal(budget.used, 0);
}

static void a_dense_table_has_all_its_rows_from_the_start(void **state)
{
    struct table_budget budget = {0};
    struct table_spec spec = hash_spec(&budget);
    struct table *t;

    (void)state;
    spec.kind = PS_DENSE;
    spec.row_begin = 1000;
    spec.row_end = 101000;
    t = new_table(&spec);
    assert_int_equal(table_rows(t), 100000);
    assert_int_equal(table_bytes(t), budget.used);
    /* 100,000 rows of 48 bytes and little else. */
    assert_true(budget.used < 4800000 + 2048);
    for (uint32_t row = 0; row < 100000; row += 777) {
        check_initial(t, 1000 + row, row);
    }
    check_initial(t, 100999, 99999);
    walk_keys = 0;
    walk_rows = 0;
    table_walk(t, count_row, t);
    assert_int_equal(walk_rows, 100000);
    table_free(t);
    assert_int_equal(budget.used, 0);
    for (uint64_t n = 1; n <= 4; n++) {
        mem_fail_at(n);
        assert_int_equal(table_new(&t, &spec), PS_ENOMEM);
        assert_int_equal(budget.used, 0);
    }
    mem_fail_at(0);
    budget.limit = 4800000;
    assert_int_equal(table_new(&t, &spec), PS_ELIMIT);
    assert_int_equal(budget.used, 0);
    budget.limit = 0;
    spec.row_end = spec.row_begin;
    t = new_table(&spec);
    assert_int_equal(table_rows(t), 0);
    table_free(t);
}

static void a_spec_that_cannot_be_is_refused(void **state)
{
    struct table_budget budget = {0};
    struct table_spec good = hash_spec(&budget);
    struct table_spec bad[7];
    struct table *t = NULL;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        bad[i] = good;
    }
    bad[0].kind = 1;
    bad[1].dim = 0;
    bad[2].dim = 65537;
    bad[3].n_slots = TABLE_SLOTS_MAX + 1;
    bad[4].end = 65537;
    bad[5].row_begin = 1;
    bad[6].init.kind = 99;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(table_new(&t, &bad[i]), PS_EARGUMENT);
    }
    assert_null(t);
    table_free(NULL);
}

static void absent_rows_have_no_address(void **state)
{
    struct table_budget budget = {0};
    struct table_spec spec = hash_spec(&budget);
    struct table *t = new_table(&spec);
    uint64_t keys[2] = {5, 6};
    uint32_t rows[2], place;
    struct table_undo undo = {.rows = &place};
    uint8_t *blocks[2];

    (void)state;
    assert_int_equal(table_insert(t, keys, 1, rows, &undo), PS_OK);
    rows[1] = TABLE_ABSENT;
    table_address(t, rows, 2, blocks);
    assert_non_null(blocks[0]);
    assert_null(blocks[1]);
    table_write_begin(t, keys, rows, 2);
    assert_int_equal(table_writes(t), 2);
    table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_rows_have_their_initial_values),
        cmocka_unit_test(a_key_named_twice_is_one_row),
        cmocka_unit_test(an_insert_taken_back_leaves_no_trace),
        cmocka_unit_test(many_batches_agree_with_a_plain_array),
        cmocka_unit_test(whichever_allocation_fails_nothing_has_changed),
        cmocka_unit_test(at_the_limit_a_batch_is_refused_whole),
        cmocka_unit_test(a_dense_table_has_all_its_rows_from_the_start),
        cmocka_unit_test(a_spec_that_cannot_be_is_refused),
        cmocka_unit_test(absent_rows_have_no_address),
    };

    return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
