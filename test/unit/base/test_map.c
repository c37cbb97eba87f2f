/* test_map.c - the small map: against a plain list, out of memory, walking. */
#include "base/map.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"

enum { N = 500, KEYS = 97 };

static char things[N];

static void an_empty_map_has_nothing(void **state)
{
    struct map m;
    size_t i = 0;

    (void)state;
    map_init(&m);
    assert_int_equal(m.n, 0);
    assert_null(map_get(&m, 0));
    assert_null(map_get(&m, UINT64_MAX));
    assert_null(map_take(&m, 7));
    assert_null(map_next(&m, &i));
    map_fini(&m);
}

static void a_value_is_set_replaced_and_taken(void **state)
{
    struct map m;

    (void)state;
    map_init(&m);
    assert_int_equal(map_put(&m, 7, &things[0]), PS_OK);
    assert_ptr_equal(map_get(&m, 7), &things[0]);
    assert_int_equal(map_put(&m, 7, &things[1]), PS_OK);
    assert_int_equal(m.n, 1);
    assert_ptr_equal(map_get(&m, 7), &things[1]);
    assert_ptr_equal(map_take(&m, 7), &things[1]);
    assert_null(map_get(&m, 7));
    assert_null(map_take(&m, 7));
    assert_int_equal(m.n, 0);
    map_fini(&m);
}

static void every_number_can_be_a_key(void **state)
{
    static const uint64_t keys[] = {0, 1, UINT64_MAX, UINT64_C(1) << 63,
                                    UINT64_C(1) << 32};
    struct map m;

    (void)state;
    map_init(&m);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        assert_int_equal(map_put(&m, keys[i], &things[i]), PS_OK);
    }
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        assert_ptr_equal(map_get(&m, keys[i]), &things[i]);
    }
    map_fini(&m);
}

static void it_grows_and_keeps_a_quarter_free(void **state)
{
    struct map m;

    (void)state;
    map_init(&m);
    for (uint64_t i = 0; i < N; i++) {
        assert_int_equal(map_put(&m, i * i, &things[i]), PS_OK);
        assert_int_equal(m.n, i + 1);
        assert_true(m.n * 4 <= m.room * 3);
        assert_true((m.room & (m.room - 1)) == 0);
    }
    for (uint64_t i = 0; i < N; i++) {
        assert_ptr_equal(map_get(&m, i * i), &things[i]);
    }
    assert_null(map_get(&m, 2));
    map_fini(&m);
}

/* The keys are few, so each is set and taken hundreds of times, in every
 * state of its neighbours. */
static void it_agrees_with_a_plain_list(void **state)
{
    void *list[KEYS] = {NULL};
    uint64_t x = 1;
    size_t n = 0;
    struct map m;

    (void)state;
    map_init(&m);
    for (size_t step = 0; step < 200000; step++) {
        uint64_t k;

        x = x * 6364136223846793005u + 1442695040888963407u;
        k = (x >> 33) % KEYS;
        if ((x >> 60) < 8) {
            n += list[k] == NULL;
            list[k] = &things[step % N];
            assert_int_equal(map_put(&m, k << 40, list[k]), PS_OK);
        } else {
            n -= list[k] != NULL;
            assert_ptr_equal(map_take(&m, k << 40), list[k]);
            list[k] = NULL;
        }
        assert_int_equal(m.n, n);
        k = (x >> 20) % KEYS;
        assert_ptr_equal(map_get(&m, k << 40), list[k]);
    }
    map_fini(&m);
}

static void a_walk_sees_each_value_once(void **state)
{
    size_t seen[N] = {0};
    size_t i = 0;
    size_t n = 0;
    struct map m;

    (void)state;
    map_init(&m);
    for (uint64_t k = 0; k < N; k++) {
        assert_int_equal(map_put(&m, k * 1000, &things[k]), PS_OK);
    }
    for (uint64_t k = 0; k < N; k += 2) {
        assert_non_null(map_take(&m, k * 1000));
    }
    for (char *p = map_next(&m, &i); p != NULL; p = map_next(&m, &i)) {
        seen[p - things]++;
        n++;
    }
    assert_int_equal(n, N / 2);
    for (size_t k = 0; k < N; k++) {
        assert_int_equal(seen[k], k % 2);
    }
    map_fini(&m);
}

static void the_same_history_is_walked_in_the_same_order(void **state)
{
    struct map a;
    struct map b;
    size_t i = 0;
    size_t j = 0;
    void *p;

    (void)state;
    map_init(&a);
    map_init(&b);
    for (uint64_t k = 0; k < N; k++) {
        assert_int_equal(map_put(&a, k * k, &things[k]), PS_OK);
        assert_int_equal(map_put(&b, k * k, &things[k]), PS_OK);
    }
    do {
        p = map_next(&a, &i);
        assert_ptr_equal(p, map_next(&b, &j));
    } while (p != NULL);
    map_fini(&a);
    map_fini(&b);
}

/* What a crowd has made large becomes small with it, and loses nothing: 2,000
 * keys want 4,096 slots, 100 of them are an eighth of 1,024 at most. */
static void a_map_that_was_large_becomes_small(void **state)
{
    enum { CROWD = 2000, LEFT = 100 };
    struct map m;
    int value;

    (void)state;
    map_init(&m);
    for (uint64_t k = 0; k < CROWD; k++) {
        assert_int_equal(map_put(&m, k * k, &value), PS_OK);
    }
    assert_int_equal(m.room, 4096);
    for (uint64_t k = CROWD; k > LEFT; k--) {
        assert_ptr_equal(map_take(&m, (k - 1) * (k - 1)), &value);
        assert_int_equal(m.n, k - 1);
    }
    assert_in_range(m.room, 128, 1023);
    for (uint64_t k = 0; k < LEFT; k++) {
        assert_ptr_equal(map_get(&m, k * k), &value);
    }
    assert_null(map_get(&m, LEFT * LEFT));
    map_fini(&m);
}

static void without_memory_it_stays_large(void **state)
{
    enum { CROWD = 2000 };
    struct map m;
    int value;

    (void)state;
    map_init(&m);
    for (uint64_t k = 0; k < CROWD; k++) {
        assert_int_equal(map_put(&m, k, &value), PS_OK);
    }
    for (uint64_t k = CROWD; k > 1; k--) {
        mem_fail_at(1);
        assert_ptr_equal(map_take(&m, k - 1), &value);
        mem_fail_at(0);
    }
    assert_int_equal(m.room, 4096);
    assert_ptr_equal(map_get(&m, 0), &value);
    map_fini(&m);
}

static void without_memory_a_put_changes_nothing(void **state)
{
    struct map m;
    size_t n_failed = 0;

    (void)state;
    map_init(&m);
    for (uint64_t k = 0; k < N; k++) {
        int rc;

        mem_fail_at(1);
        rc = map_put(&m, k, &things[k]);
        mem_fail_at(0);
        if (rc != PS_OK) {
            assert_int_equal(rc, PS_ENOMEM);
            n_failed++;
            assert_int_equal(m.n, k);
            assert_null(map_get(&m, k));
            assert_int_equal(map_put(&m, k, &things[k]), PS_OK);
        }
        for (uint64_t before = 0; before <= k; before += 37) {
            assert_ptr_equal(map_get(&m, before), &things[before]);
        }
    }
    assert_true(n_failed >= 3);
    map_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_has_nothing),
        cmocka_unit_test(a_value_is_set_replaced_and_taken),
        cmocka_unit_test(every_number_can_be_a_key),
        cmocka_unit_test(it_grows_and_keeps_a_quarter_free),
        cmocka_unit_test(it_agrees_with_a_plain_list),
        cmocka_unit_test(a_walk_sees_each_value_once),
        cmocka_unit_test(the_same_history_is_walked_in_the_same_order),
        cmocka_unit_test(a_map_that_was_large_becomes_small),
        cmocka_unit_test(without_memory_it_stays_large),
        cmocka_unit_test(without_memory_a_put_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
