/* test_keymap.c - the key map against a plain model, and its own invariants. */
#include "table/keymap.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/mem.h"

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The key with this hash: the SplitMix64 step backwards. */
static uint64_t key_of_hash(uint64_t h)
{
    h = (h ^ h >> 31 ^ h >> 62) * 0x319642b2d24d8ec3u;
    h = (h ^ h >> 27 ^ h >> 54) * 0x96de1b173f119089u;
    h = h ^ h >> 30 ^ h >> 60;
    return h - 0x9e3779b97f4a7c15u;
}

static struct keymap_line *line(const struct keymap_segment *s, uint32_t i)
{
    return &s->chunks[i / 256][i % 256];
}

/* Counts again what the lines and segments say of themselves. */
static void check_segment(const struct keymap_segment *s, uint64_t prefix)
{
    static uint16_t passes[7 * 256];
    uint32_t n = 0;

    memset(passes, 0, sizeof(passes));
    for (uint32_t i = 0; i < s->n_lines; i++) {
        assert_in_range(line(s, i)->mask, 0, 31);
        for (uint32_t k = 0; k < 5; k++) {
            uint64_t hash = hash_key(line(s, i)->keys[k]);
            uint64_t home = ((hash & 0xffffff) * s->n_lines) >> 24;

            if ((line(s, i)->mask >> k & 1) == 0) {
                continue;
            }
            n++;
            assert_true(hash << 16 >> 16 >> (48 - s->depth) == prefix);
            for (; home != i; home = (home + 1) % s->n_lines) {
                passes[home]++;
            }
        }
    }
    assert_int_equal(n, s->n_keys);
    for (uint32_t i = 0; i < s->n_lines; i++) {
        assert_int_equal(line(s, i)->overflow, passes[i]);
    }
}

/* Chunks that the pool has cut, and those of them that lie idle. */
static uint64_t chunks_cut(const struct chunk_pool *p)
{
    uint64_t n = p->used;

    for (uint32_t i = 0; i + 1 < p->n_slabs; i++) {
        n += i < 7 ? 1u << i : 128;
    }
    return n;
}

static uint64_t chunks_idle(const struct chunk_pool *p)
{
    uint64_t n = 0;

    for (const void *chunk = p->free; chunk != NULL; n++) {
        memcpy(&chunk, chunk, sizeof(void *));
    }
    return n;
}

static void check_map(const struct keymap *m)
{
    uint64_t n_keys = 0;
    uint32_t n_segments = 0;
    uint64_t n_chunks = 0;
    size_t entries = (size_t)1 << m->depth;

    for (size_t i = 0; i < entries;) {
        const struct keymap_segment *s = m->directory[i];
        size_t span = (size_t)1 << (m->depth - s->depth);

        assert_int_equal(i % span, 0);
        for (size_t j = 0; j < span; j++) {
            assert_ptr_equal(m->directory[i + j], s);
        }
        check_segment(s, i / span);
        n_keys += s->n_keys;
        n_segments++;
        n_chunks += s->n_lines / 256;
        i += span;
    }
    assert_int_equal(n_keys, m->n_keys);
    assert_int_equal(n_segments, m->n_segments);
    /* Headers: 256 a chunk, the first is in the map. None is lost. */
    n_chunks += (n_segments - 1 + 255) / 256;
    assert_int_equal(n_chunks + chunks_idle(&m->pool), chunks_cut(&m->pool));
    assert_true(m->budget->used == keymap_bytes(m));
}

static void what_is_held_is_what_a_plain_array_says(void **state)
{
    enum { KEYS = 60000, STEPS = 300000, BATCH = 1000 };
    uint64_t *keys = mem_new(KEYS * sizeof(*keys));
    uint32_t *model = mem_new(KEYS * sizeof(*model));
    uint32_t *found = mem_new(KEYS * sizeof(*found));

    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct table_budget budget = {0};
        struct keymap m;
        uint64_t random = seed * 0x9e3779b97f4a7c15u;
        uint64_t n = 0;

        assert_int_equal(keymap_init(&m, &budget), PS_OK);
        for (uint32_t i = 0; i < KEYS; i++) {
            /* Seed 2: consecutive ids, as people have them. */
            keys[i] = seed == 2 ? i : next_random(&random);
            model[i] = TABLE_ABSENT;
        }
        keys[0] = 0;
        keys[KEYS - 1] = UINT64_MAX;
        for (uint32_t step = 0; step < STEPS; step++) {
            uint32_t i = (uint32_t)(next_random(&random) % KEYS);
            bool erases = next_random(&random) % 8 < (step / 50000) % 2 * 5;

            if (model[i] == TABLE_ABSENT && !erases) {
                assert_int_equal(keymap_insert(&m, keys[i], step), PS_OK);
                model[i] = step;
                n++;
            } else if (erases) {
                assert_int_equal(keymap_erase(&m, keys[i]), model[i]);
                n -= model[i] != TABLE_ABSENT;
                model[i] = TABLE_ABSENT;
            }
            assert_int_equal(m.n_keys, n);
            if (step % 60000 == 59999) {
                check_map(&m);
                keymap_find(&m, keys, KEYS, found);
                assert_memory_equal(found, model, KEYS * sizeof(*found));
            }
        }
        assert_true(m.n_segments > 4);
        for (uint32_t i = 0; i < KEYS; i++) {
            assert_int_equal(keymap_find_one(&m, keys[i]), model[i]);
        }
        keymap_fini(&m);
        assert_int_equal(budget.used, 0);
    }
    mem_free(keys);
    mem_free(model);
    mem_free(found);
}

static void the_first_and_the_last_key_are_keys_like_others(void **state)
{
    struct table_budget budget = {0};
    struct keymap m;
    uint64_t keys[] = {0, UINT64_MAX, 1};
    uint32_t rows[3];

    (void)state;
    assert_int_equal(keymap_init(&m, &budget), PS_OK);
    keymap_find(&m, keys, 3, rows);
    assert_int_equal(rows[0], TABLE_ABSENT);
    assert_int_equal(rows[1], TABLE_ABSENT);
    assert_int_equal(keymap_erase(&m, 0), TABLE_ABSENT);
    assert_int_equal(keymap_insert(&m, 0, 7), PS_OK);
    assert_int_equal(keymap_insert(&m, UINT64_MAX, 0), PS_OK);
    keymap_find(&m, keys, 3, rows);
    assert_int_equal(rows[0], 7);
    assert_int_equal(rows[1], 0);
    assert_int_equal(rows[2], TABLE_ABSENT);
    assert_int_equal(keymap_erase(&m, 0), 7);
    keymap_find(&m, keys, 3, rows);
    assert_int_equal(rows[0], TABLE_ABSENT);
    assert_int_equal(rows[1], 0);
    keymap_fini(&m);
}

/* 1,000 keys whose hashes differ in no bit that the map looks at. */
static void keys_of_one_home_line_are_found_and_deleted(void **state)
{
    enum { N = 1000 };
    struct table_budget budget = {0};
    struct keymap m;

    (void)state;
    assert_int_equal(keymap_init(&m, &budget), PS_OK);
    for (uint32_t i = 0; i < N; i++) {
        uint64_t key = key_of_hash((uint64_t)i << 48 | 0xabcdef123456);

        assert_true(hash_key(key) == ((uint64_t)i << 48 | 0xabcdef123456));
        assert_int_equal(keymap_insert(&m, key, i), PS_OK);
    }
    check_map(&m);
    for (uint32_t i = 0; i < N; i += 2) {
        uint64_t key = key_of_hash((uint64_t)i << 48 | 0xabcdef123456);

        assert_int_equal(keymap_erase(&m, key), i);
    }
    check_map(&m);
    for (uint32_t i = 0; i < N; i++) {
        uint64_t key = key_of_hash((uint64_t)i << 48 | 0xabcdef123456);

        assert_int_equal(keymap_find_one(&m, key),
                         i % 2 == 0 ? TABLE_ABSENT : i);
    }
    keymap_fini(&m);
}

/* Splitting never parts them: 7 * 256 * 5 fit into a segment. */
static void
a_flood_of_colliding_keys_is_refused_and_harms_no_other(void **state)
{
    enum { FIT = 7 * 256 * 5 };
    struct table_budget budget = {0};
    struct keymap m;
    uint64_t random = 99;
    uint32_t others = 0;

    (void)state;
    assert_int_equal(keymap_init(&m, &budget), PS_OK);
    for (uint32_t i = 0; i < FIT; i++) {
        assert_int_equal(keymap_insert(&m, key_of_hash((uint64_t)i << 48), i),
                         PS_OK);
    }
    for (uint32_t i = FIT; i < FIT + 10; i++) {
        uint64_t key = key_of_hash((uint64_t)i << 48);

        assert_int_equal(keymap_insert(&m, key, i), PS_ELIMIT);
        assert_int_equal(keymap_find_one(&m, key), TABLE_ABSENT);
    }
    assert_int_equal(m.n_keys, FIT);
    check_map(&m);
    assert_true(budget.used < 2 << 20);
    while (others < 100000) {
        uint64_t key = next_random(&random);
        int rc = keymap_insert(&m, key, others);

        /* Fewer than 1 in 8 share the segment, while there are few. */
        assert_true(rc == PS_OK || rc == PS_ELIMIT);
        others++;
    }
    assert_true(m.n_keys > FIT + 87500);
    check_map(&m);
    for (uint32_t i = 0; i < FIT; i += 97) {
        assert_int_equal(keymap_find_one(&m, key_of_hash((uint64_t)i << 48)),
                         i);
    }
    keymap_fini(&m);
    assert_int_equal(budget.used, 0);
}

/* Of the 48 bits that a map goes by, as a checkpoint has its rows: the first of
 * two millions, all of which agree in five bits. */
static void keys_in_the_order_of_their_hash_all_find_room(void **state)
{
    enum { KEYS = 1 << 16 };
    struct table_budget budget = {0};
    struct keymap m;

    (void)state;
    assert_int_equal(keymap_init(&m, &budget), PS_OK);
    for (uint32_t i = 0; i < KEYS; i++) {
        uint64_t key = key_of_hash((uint64_t)i << 27);

        assert_int_equal(keymap_insert(&m, key, i), PS_OK);
    }
    check_map(&m);
    keymap_fini(&m);
    assert_int_equal(budget.used, 0);
}

/* Half of 100,000 keys in the order of their hash. A segment is to have at most
 * 5,800, so they are 32 of 3,125; a part in 32 more is 3,222, for which there
 * are four chunks of 256 lines, 1,024 keys each. */
static void what_is_expected_is_laid_out_at_once(void **state)
{
    enum { KEYS = 100000, DEPTH = 5, LINES = 4 * KEYMAP_CHUNK_LINES };
    struct table_budget budget = {0};
    struct keymap m;

    (void)state;
    assert_int_equal(keymap_init(&m, &budget), PS_OK);
    keymap_expect(&m, KEYS);
    for (uint32_t i = 0; i < KEYS / 2; i++) {
        uint64_t hash = KEYMAP_HASH_END / KEYS * i + i % 1000;

        assert_int_equal(keymap_insert(&m, key_of_hash(hash), i), PS_OK);
    }
    check_map(&m);
    assert_int_equal(m.depth, DEPTH);
    for (size_t i = 0; i < 1 << DEPTH; i++) {
        if (m.directory[i]->n_keys > 0) {
            assert_int_equal(m.directory[i]->depth, DEPTH);
            assert_int_equal(m.directory[i]->n_lines, LINES);
        }
    }
    keymap_fini(&m);
    assert_int_equal(budget.used, 0);
}

static uint64_t nth_key(uint32_t i)
{
    return (i + 1) * 0x9e3779b97f4a7c15u;
}

/* Inserts 0..n-1 in order; what fails once must succeed at the second try. */
static void fill_with_one_failure(uint32_t n, uint64_t fail_at, bool *failed)
{
    struct table_budget budget = {0};
    struct keymap m;
    int rc;

    *failed = false;
    mem_fail_at(fail_at);
    rc = keymap_init(&m, &budget);
    if (rc != PS_OK) {
        assert_int_equal(rc, PS_ENOMEM);
        assert_int_equal(budget.used, 0);
        *failed = true;
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        rc = keymap_insert(&m, nth_key(i), i);
        if (rc != PS_OK) {
            assert_int_equal(rc, PS_ENOMEM);
            assert_false(*failed);
            *failed = true;
            check_map(&m);
            assert_int_equal(m.n_keys, i);
            assert_int_equal(keymap_find_one(&m, nth_key(i)), TABLE_ABSENT);
            for (uint32_t j = 0; j < i; j++) {
                assert_int_equal(keymap_find_one(&m, nth_key(j)), j);
            }
            assert_int_equal(keymap_insert(&m, nth_key(i), i), PS_OK);
        }
    }
    mem_fail_at(0);
    check_map(&m);
    keymap_fini(&m);
    assert_int_equal(budget.used, 0);
}

static void whichever_allocation_fails_nothing_has_changed(void **state)
{
    uint64_t n = 0;
    bool failed;

    (void)state;
    do {
        n++;
        fill_with_one_failure(40000, n, &failed);
    } while (failed);
    /* Start 2, lines 3, slabs 8, directory 4: at least that many. */
    assert_true(n > 15);
}

static void at_the_limit_new_keys_are_refused_and_old_ones_stay(void **state)
{
    struct table_budget budget = {.limit = 300000};
    struct keymap m;
    uint32_t n = 0;

    (void)state;
    assert_int_equal(keymap_init(&m, &budget), PS_OK);
    while (keymap_insert(&m, nth_key(n), n) == PS_OK) {
        n++;
        assert_true(budget.used <= budget.limit);
    }
    assert_int_equal(keymap_insert(&m, nth_key(n), n), PS_ELIMIT);
    assert_true(n > 4000);
    check_map(&m);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(keymap_find_one(&m, nth_key(i)), i);
    }
    budget.limit = 0;
    assert_int_equal(keymap_insert(&m, nth_key(n), n), PS_OK);
    keymap_fini(&m);
}

static void a_small_map_is_small_and_a_large_one_dense(void **state)
{
    struct table_budget budget = {0};
    struct keymap m;
    uint32_t i;

    (void)state;
    assert_int_equal(keymap_init(&m, &budget), PS_OK);
    assert_true(budget.used <= 1100);
    for (i = 0; i < 100; i++) {
        assert_int_equal(keymap_insert(&m, nth_key(i), i), PS_OK);
    }
    assert_true(budget.used <= 2200);
    for (; i < 2000000; i++) {
        assert_int_equal(keymap_insert(&m, nth_key(i), i), PS_OK);
        if (i > 500000 && i % 1000 == 0) {
            /* 12.8 bytes a key, load 0.8 to 0.64, a slab begun. */
            assert_true(budget.used < i * UINT64_C(43) / 2 + (2 << 20));
        }
    }
    check_map(&m);
    keymap_fini(&m);
    assert_int_equal(budget.used, 0);
}

/* 4 * 7,168 keys: some segments of depth 2 have split, others not. */
static void a_walk_sees_every_key_once(void **state)
{
    enum { N = 4 * 7168 };
    struct table_budget budget = {0};
    struct keymap m;
    struct keymap_cursor at = {0, 0};
    uint8_t *seen = mem_new(N);
    uint64_t keys[7];
    uint32_t rows[7];
    uint32_t total = 0;
    size_t n;

    (void)state;
    memset(seen, 0, N);
    assert_int_equal(keymap_init(&m, &budget), PS_OK);
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(keymap_insert(&m, nth_key(i), i), PS_OK);
    }
    assert_int_equal(m.depth, 3);
    assert_in_range(m.n_segments, 5, 7);
    while ((n = keymap_next(&m, &at, keys, rows, 7)) > 0) {
        for (size_t i = 0; i < n; i++) {
            assert_true(rows[i] < N && keys[i] == nth_key(rows[i]));
            assert_int_equal(seen[rows[i]], 0);
            seen[rows[i]] = 1;
            total++;
        }
    }
    assert_int_equal(total, N);
    mem_free(seen);
    keymap_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_held_is_what_a_plain_array_says),
        cmocka_unit_test(the_first_and_the_last_key_are_keys_like_others),
        cmocka_unit_test(keys_of_one_home_line_are_found_and_deleted),
        cmocka_unit_test(
            a_flood_of_colliding_keys_is_refused_and_harms_no_other),
        cmocka_unit_test(keys_in_the_order_of_their_hash_all_find_room),
        cmocka_unit_test(what_is_expected_is_laid_out_at_once),
        cmocka_unit_test(whichever_allocation_fails_nothing_has_changed),
        cmocka_unit_test(at_the_limit_new_keys_are_refused_and_old_ones_stay),
        cmocka_unit_test(a_small_map_is_small_and_a_large_one_dense),
        cmocka_unit_test(a_walk_sees_every_key_once),
    };

    return cmocka_run_group_tests_name("keymap", tests, NULL, NULL);
}
