/* test_snapshot.c - a table as it was at one moment, against a copy of it.
 *
 * The model has for each key of a small universe what its row holds now, and a
 * copy of that from the cut. Batches of pushes, inserts (some taken back),
 * erasures and loads run between the steps of the walker, on both. What the
 * sink gets is compared with the copy, bit for bit, and counted by key. */
#include "table/snapshot.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "table/table_impl.h"

/* Values and two slots: a block of 36 bytes in a stride of 48. */
enum { DIM = 3, FLOATS = 3 * DIM, KEYS = 100000, BATCH = 700 };

struct content {
    float floats[FLOATS];
};

/* The rows of all keys, dense or hash. */
struct model {
    struct snapshot_sink sink; /* first: the sink is the model */
    struct table_budget budget;
    struct table *table;
    uint64_t random;
    uint32_t n_keys;
    bool is_dense;
    uint64_t inserts; /* of 10: the others push, load and erase */
    /* Of now. */
    struct content now[KEYS];
    bool lives[KEYS];
    bool is_changed[KEYS]; /* for the next increment */
    bool is_erased[KEYS];
    /* Of the cut. */
    struct content then[KEYS];
    bool is_owed[KEYS];
    bool was_changed[KEYS];
    bool was_erased[KEYS];
    uint64_t n_owed;
    uint64_t n_got;
};

static struct model *m;

static uint64_t next_random(uint64_t below)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return m->random % below;
}

enum { DENSE_BEGIN = 1000 };

/* Odd, so that it can be undone; the first test checks the inverse. */
static const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15);
static const uint64_t inverse = UINT64_C(0xf1de83e19937733d);

static uint64_t key_of(uint64_t i)
{
    return m->is_dense ? DENSE_BEGIN + i : (i + 1) * factor;
}

static uint64_t place_of(uint64_t key)
{
    uint64_t i = m->is_dense ? key - DENSE_BEGIN : key * inverse - 1;

    assert_true(i < m->n_keys);
    return i;
}

static void take_rows(struct snapshot_sink *sink, const uint64_t *keys,
                      const uint8_t *const *blocks, size_t n)
{
    assert_ptr_equal(sink, &m->sink);
    assert_true(n > 0);
    for (size_t i = 0; i < n; i++) {
        uint64_t key = place_of(keys[i]);

        assert_true(m->is_owed[key]);
        m->is_owed[key] = false;
        assert_memory_equal(blocks[i], &m->then[key], sizeof(struct content));
        m->n_got++;
    }
}

static struct content initial_content(uint64_t i)
{
    struct content c;

    table_initial(m->table, key_of(i), c.floats);
    for (size_t f = DIM; f < FLOATS; f++) {
        c.floats[f] = f < (size_t)2 * DIM ? 0.5f : 0.0f;
    }
    return c;
}

static void start(uint64_t seed, uint32_t kind, uint32_t n_keys)
{
    static struct model model;
    struct table_spec spec = {
        .variable = 1,
        .kind = kind,
        .dim = DIM,
        .end = 65536,
        .n_slots = 2,
        .row_begin = DENSE_BEGIN,
        .row_end = DENSE_BEGIN + (kind == PS_DENSE ? n_keys : 0),
        .tracks_changes = true,
        .init = {PS_INIT_UNIFORM, -1.0f, 1.0f, 42, 7},
        .slot_init = {0.5f},
    };

    m = &model;
    memset(m->lives, 0, n_keys);
    memset(m->is_changed, 0, n_keys);
    memset(m->is_erased, 0, n_keys);
    m->budget = (struct table_budget){0};
    m->sink.rows = take_rows;
    m->random = seed * 0x123456789 + 1;
    m->n_keys = n_keys;
    m->inserts = 3;
    m->is_dense = kind == PS_DENSE;
    spec.budget = &m->budget;
    assert_int_equal(table_new(&m->table, &spec), PS_OK);
    for (uint32_t i = 0; m->is_dense && i < n_keys; i++) {
        m->now[i] = initial_content(i);
        m->lives[i] = true;
        m->is_changed[i] = true;
    }
}

static void stop(void)
{
    assert_int_equal(table_bytes(m->table), m->budget.used);
    table_free(m->table);
    assert_int_equal(m->budget.used, 0);
}

/* A batch of keys, some of them more than once. */
static size_t draw(uint64_t *places, uint64_t *keys, size_t n_max)
{
    size_t n = (size_t)next_random(n_max) + 1;

    for (size_t i = 0; i < n; i++) {
        places[i] = next_random(m->n_keys);
        keys[i] = key_of(places[i]);
    }
    return n;
}

static void push(void)
{
    uint64_t places[BATCH], keys[BATCH];
    uint32_t rows[BATCH];
    uint8_t *blocks[BATCH];
    size_t n = draw(places, keys, BATCH);

    if (m->is_dense) {
        for (size_t i = 0; i < n; i++) {
            rows[i] = (uint32_t)places[i];
        }
        table_write_begin(m->table, NULL, rows, n);
    } else {
        table_find(m->table, keys, n, rows);
        table_write_begin(m->table, keys, rows, n);
    }
    table_address(m->table, rows, n, blocks);
    for (size_t i = 0; i < n; i++) {
        struct content *c = &m->now[places[i]];

        assert_int_equal(blocks[i] != NULL, m->lives[places[i]]);
        if (blocks[i] == NULL) {
            continue;
        }
        assert_memory_equal(blocks[i], c, sizeof(*c));
        for (size_t f = 0; f < FLOATS; f++) {
            c->floats[f] = (float)next_random(1u << 24);
        }
        memcpy(blocks[i], c, sizeof(*c));
        m->is_changed[places[i]] = true;
    }
}

static void insert(void)
{
    uint64_t places[BATCH], keys[BATCH];
    uint32_t rows[BATCH], made[BATCH];
    struct table_undo undo = {.rows = made};
    size_t n = draw(places, keys, BATCH);

    assert_int_equal(table_insert(m->table, keys, n, rows, &undo), PS_OK);
    if (next_random(4) == 0) {
        table_uninsert(m->table, &undo);
        return;
    }
    for (size_t i = 0; i < undo.n; i++) {
        uint64_t place = places[made[i]];

        assert_false(m->lives[place]);
        m->lives[place] = true;
        m->is_changed[place] = true;
        m->now[place] = initial_content(place);
    }
}

static void erase(void)
{
    uint64_t places[BATCH], keys[BATCH];
    size_t n = draw(places, keys, BATCH);

    assert_int_equal(table_erase(m->table, keys, n), PS_OK);
    for (size_t i = 0; i < n; i++) {
        uint64_t place = places[i];

        if (m->lives[place]) {
            m->lives[place] = false;
            m->is_changed[place] = false;
            m->was_changed[place] = false;
            m->is_erased[place] = true;
        }
    }
}

static void load(void)
{
    static float values[BATCH * DIM], slots[2][BATCH * DIM];
    const float *const both[2] = {slots[0], slots[1]};
    uint64_t places[BATCH], keys[BATCH];
    size_t n = draw(places, keys, BATCH);

    for (size_t i = 0; m->is_dense && i < n; i++) {
        n = base_min_u64(n, m->n_keys - places[0]);
        places[i] = places[0] + i;
    }
    for (size_t i = 0; i < n; i++) {
        struct content *c = &m->now[places[i]];

        for (size_t f = 0; f < FLOATS; f++) {
            c->floats[f] = (float)next_random(1u << 24);
        }
        memcpy(values + i * DIM, c->floats, sizeof(float) * DIM);
        memcpy(slots[0] + i * DIM, c->floats + DIM, sizeof(float) * DIM);
        memcpy(slots[1] + i * DIM, c->floats + 2 * DIM, sizeof(float) * DIM);
        m->lives[places[i]] = true;
        m->is_changed[places[i]] = true;
    }
    if (m->is_dense) {
        assert_int_equal(table_load_range(m->table, keys[0], n, values, both),
                         PS_OK);
    } else {
        assert_int_equal(table_load(m->table, keys, n, values, both), PS_OK);
    }
}

static void change(void)
{
    uint64_t what = next_random(10);

    if (what < m->inserts && !m->is_dense) {
        insert();
    } else if (what < 7 || m->is_dense) {
        next_random(4) == 0 ? load() : push();
    } else {
        erase();
    }
}

static struct snapshot *cut(bool only_changed)
{
    struct snapshot *s = NULL;

    memcpy(m->then, m->now, m->n_keys * sizeof(m->then[0]));
    memcpy(m->was_changed, m->is_changed, m->n_keys);
    memcpy(m->was_erased, m->is_erased, m->n_keys);
    m->n_owed = 0;
    m->n_got = 0;
    for (uint32_t i = 0; i < m->n_keys; i++) {
        m->is_owed[i] = only_changed ? m->is_changed[i] : m->lives[i];
        m->n_owed += m->is_owed[i];
    }
    memset(m->is_changed, 0, m->n_keys);
    memset(m->is_erased, 0, m->n_keys);
    assert_int_equal(snapshot_begin(&s, m->table, only_changed, &m->sink),
                     PS_OK);
    assert_int_equal(snapshot_rows(s), m->n_owed);
    return s;
}

/* The erased keys of an increment are those of the model; of a full one none
 * are handed out. */
static void check_erased(const struct snapshot *s, bool only_changed)
{
    static bool is_listed[KEYS];
    const struct erased_block *b = snapshot_erased(s);
    uint64_t n = 0;

    memset(is_listed, 0, m->n_keys);
    for (; b != NULL; b = b->next) {
        for (uint64_t i = 0; i < b->n; i++) {
            is_listed[place_of(b->keys[i])] = true;
        }
        n += b->n;
    }
    assert_int_equal(snapshot_erased_keys(s), n);
    for (uint32_t i = 0; i < m->n_keys; i++) {
        assert_int_equal(is_listed[i], only_changed && m->was_erased[i]);
    }
}

static void tidy(void)
{
    while (snapshot_tidy(m->table, 1 << 20)) {
    }
}

static void end(struct snapshot *s, bool kept)
{
    snapshot_end(s, kept);
    for (uint32_t i = 0; !kept && i < m->n_keys; i++) {
        m->is_changed[i] = m->is_changed[i] || m->was_changed[i];
        m->is_erased[i] = m->is_erased[i] || m->was_erased[i];
    }
    while (snapshot_tidy(m->table, 64)) {
        if (next_random(8) == 0) {
            change();
        }
    }
    assert_int_equal(table_bytes(m->table), m->budget.used);
}

static void check_all_came(const struct snapshot *s)
{
    assert_int_equal(m->n_got, m->n_owed);
    assert_int_equal(snapshot_sent(s), m->n_owed);
    for (uint32_t i = 0; i < m->n_keys; i++) {
        assert_false(m->is_owed[i]);
    }
}

/* One snapshot with `changes` batches for each step, and some after it. */
static void save(bool only_changed, uint64_t changes, size_t max_rows)
{
    struct snapshot *s = cut(only_changed);
    bool gives_up = next_random(4) == 0;
    uint64_t left = gives_up ? next_random(20) : UINT64_MAX;
    bool more = true;

    check_erased(s, only_changed);
    for (; more && left > 0; left--) {
        for (uint64_t i = next_random(2 * changes + 1); i > 0; i--) {
            change();
        }
        more = snapshot_step(s, (size_t)next_random(max_rows) + 1);
    }
    for (uint64_t i = 0; i < changes; i++) {
        change();
    }
    check_erased(s, only_changed);
    if (!more) {
        check_all_came(s);
        assert_false(snapshot_step(s, 1));
    }
    end(s, !more && next_random(2) == 0);
}

static void keys_of_the_model_can_be_told_apart(void **state)
{
    (void)state;
    assert_true(factor * inverse == 1);
}

static void a_changing_table_is_saved_as_it_was(void **state)
{
    uint32_t n_splits = 0, n_doublings = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        start(seed, PS_HASH64, KEYS);
        for (int i = 0; i < 8; i++) {
            uint32_t segments, depth;

            /* A walk, growth, and then saves of what is large. */
            m->inserts = i == 0 ? 10 : i < 4 ? 6 : 3;
            for (int j = 0; i == 0 && j < 20; j++) {
                insert();
            }
            segments = m->table->map.n_segments;
            depth = m->table->map.depth;
            save(next_random(2) == 0, i < 4 ? 6 : next_random(5),
                 next_random(3) == 0 ? 10000 : 300);
            n_splits += m->table->map.n_segments - segments;
            n_doublings += m->table->map.depth - depth;
        }
        stop();
    }
    /* Or the seeds do not show what they are for. */
    assert_true(n_splits > 20 && n_doublings > 6);
}

static void small_tables_grow_under_a_snapshot(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        start(seed, PS_HASH64, 1 + (uint32_t)(seed * seed % 3000));
        for (int i = 0; i < 12; i++) {
            save(next_random(2) == 0, next_random(3), 200);
        }
        stop();
    }
}

static void dense_tables_are_saved_as_they_were(void **state)
{
    static const uint32_t sizes[] = {1, 2, 255, 256, 257, 4096, 4097, 30000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        start(i + 1, PS_DENSE, sizes[i]);
        for (int j = 0; j < 10; j++) {
            save(next_random(2) == 0, next_random(3), 900);
        }
        stop();
    }
}

static void an_empty_table_has_nothing_to_save(void **state)
{
    (void)state;
    for (uint32_t only_changed = 0; only_changed < 2; only_changed++) {
        struct snapshot *s;

        start(1, PS_HASH64, 5000);
        s = cut(only_changed == 1);
        insert(); /* after the cut */
        assert_false(snapshot_step(s, 100));
        check_all_came(s);
        end(s, true);
        s = cut(only_changed == 1);
        while (snapshot_step(s, 100)) {
        }
        check_all_came(s);
        end(s, true);
        stop();

        start(1, PS_DENSE, 0);
        s = cut(only_changed == 1);
        assert_false(snapshot_step(s, 100));
        end(s, true);
        stop();
    }
}

static void a_kept_snapshot_leaves_nothing_for_the_next_increment(void **state)
{
    struct snapshot *s;

    (void)state;
    start(3, PS_HASH64, 5000);
    for (int i = 0; i < 10; i++) {
        insert();
        erase();
    }
    s = cut(false);
    while (snapshot_step(s, 1000)) {
    }
    end(s, true);
    s = cut(true);
    assert_int_equal(snapshot_rows(s), 0);
    assert_int_equal(snapshot_erased_keys(s), 0);
    assert_false(snapshot_step(s, 1));
    end(s, true);
    stop();
}

static void an_erased_row_comes_before_its_number_is_used_again(void **state)
{
    uint64_t keys[2] = {0, 0};
    uint32_t rows[2], place, old;
    struct table_undo undo = {.rows = &place};
    struct snapshot *s;

    (void)state;
    start(4, PS_HASH64, 100);
    for (uint64_t i = 0; i < 2; i++) {
        keys[i] = key_of(i);
        assert_int_equal(table_insert(m->table, &keys[i], 1, &rows[i], &undo),
                         PS_OK);
        m->lives[i] = true;
        m->is_changed[i] = true;
        m->now[i] = initial_content(i);
    }
    old = rows[0];
    s = cut(false);
    assert_int_equal(table_erase(m->table, keys, 1), PS_OK);
    assert_int_equal(m->n_got, 1);
    assert_false(m->is_owed[0]);
    keys[0] = key_of(2);
    assert_int_equal(table_insert(m->table, keys, 1, rows, &undo), PS_OK);
    assert_int_equal(rows[0], old);
    while (snapshot_step(s, 1)) {
    }
    check_all_came(s);
    snapshot_end(s, true);
    tidy();
    stop();
}

/* Runs it with each of its allocations failing in turn, then lets it succeed. A
 * failure of the memory and one of the budget are alike. */
static void begin_in_spite_of(bool only_changed)
{
    struct snapshot *s = NULL;
    uint64_t used = m->budget.used;
    int rc = PS_ENOMEM;

    for (uint64_t n = 1; rc != PS_OK; n++) {
        mem_fail_at(n);
        rc = snapshot_begin(&s, m->table, only_changed, &m->sink);
        mem_fail_at(0);
        if (rc == PS_OK) {
            assert_true(n > 5);
            break;
        }
        assert_int_equal(rc, PS_ENOMEM);
        assert_null(s);
        assert_int_equal(m->budget.used, used);
        assert_int_equal(table_bytes(m->table), used);
    }
    used = m->budget.used - used;
    snapshot_end(s, false);
    tidy();
    for (uint64_t room = 1; room < used; room += 97) {
        m->budget.limit = m->budget.used + room;
        assert_int_equal(snapshot_begin(&s, m->table, only_changed, &m->sink),
                         PS_ELIMIT);
        assert_int_equal(table_bytes(m->table), m->budget.used);
    }
    m->budget.limit = 0;
}

static void a_cut_that_fails_changes_nothing(void **state)
{
    (void)state;
    start(5, PS_HASH64, 20000);
    for (int i = 0; i < 60; i++) {
        insert();
        erase();
        if (i % 10 == 0) {
            begin_in_spite_of(i % 20 == 0);
            save(true, 1, 1000);
        }
    }
    stop();
}

static void an_erasure_without_memory_erases_nothing(void **state)
{
    uint64_t places[BATCH], keys[BATCH];
    size_t n;

    (void)state;
    start(6, PS_HASH64, 3000);
    insert();
    mem_fail_at(1);
    n = draw(places, keys, BATCH);
    assert_int_equal(table_erase(m->table, keys, n), PS_ENOMEM);
    mem_fail_at(0);
    m->budget.limit = m->budget.used + 100;
    assert_int_equal(table_erase(m->table, keys, n), PS_ELIMIT);
    m->budget.limit = 0;
    push(); /* compares */
    save(true, 1, 100);
    stop();
}

static void a_load_without_memory_changes_nothing(void **state)
{
    static float values[TABLE_LOAD_KEYS * DIM];
    static uint64_t keys[TABLE_LOAD_KEYS];
    static uint32_t rows[TABLE_LOAD_KEYS];
    const float *const slots[2] = {values, values};
    uint64_t n_failed = 0;

    (void)state;
    start(7, PS_HASH64, KEYS);
    insert();
    insert();
    for (uint64_t n = 1; n < 2000; n++) {
        uint64_t n_rows = table_rows(m->table);
        int rc;

        for (size_t i = 0; i < TABLE_LOAD_KEYS; i++) {
            keys[i] = key_of(next_random(KEYS));
        }
        mem_fail_at(n_failed % 5 + 1);
        rc = table_load(m->table, keys, TABLE_LOAD_KEYS, values, slots);
        mem_fail_at(0);
        if (rc == PS_OK) {
            break; /* what is missing fits into what there is */
        }
        n_failed++;
        assert_int_equal(rc, PS_ENOMEM);
        assert_int_equal(table_rows(m->table), n_rows);
        push(); /* compares */
        insert();
    }
    assert_true(n_failed >= 2);
    assert_int_equal(table_load(m->table, keys, 5, values, slots), PS_OK);
    table_find(m->table, keys, 5, rows);
    for (size_t i = 0; i < 5; i++) {
        const float *block;

        assert_true(rows[i] != TABLE_ABSENT);
        block =
            (const float *)(const void *)rows_address(&m->table->rows, rows[i]);
        assert_memory_equal(block, values, FLOATS * sizeof(float));
    }
    stop();
}

static void a_load_outside_of_the_part_is_refused(void **state)
{
    static const float values[20 * DIM];
    const float *const slots[2] = {values, values};

    (void)state;
    start(8, PS_DENSE, 10);
    assert_int_equal(
        table_load_range(m->table, DENSE_BEGIN - 1, 2, values, slots),
        PS_EARGUMENT);
    assert_int_equal(
        table_load_range(m->table, DENSE_BEGIN + 9, 2, values, slots),
        PS_EARGUMENT);
    assert_int_equal(
        table_load_range(m->table, DENSE_BEGIN + 11, 0, values, slots),
        PS_EARGUMENT);
    assert_int_equal(table_load_range(m->table, UINT64_MAX, 2, values, slots),
                     PS_EARGUMENT);
    assert_int_equal(table_writes(m->table), 10);
    assert_int_equal(
        table_load_range(m->table, DENSE_BEGIN + 10, 0, values, slots), PS_OK);
    assert_int_equal(
        table_load_range(m->table, DENSE_BEGIN + 8, 2, values, slots), PS_OK);
    assert_int_equal(table_writes(m->table), 12);
    stop();
}

static void a_table_that_does_not_track_can_be_saved_whole(void **state)
{
    (void)state;
    start(9, PS_HASH64, 20000);
    m->table->spec.tracks_changes = false;
    for (int i = 0; i < 12; i++) {
        save(false, next_random(4), 500);
    }
    assert_int_equal(m->table->changed.bytes, 0);
    assert_int_equal(m->table->erased.bytes, 0);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_the_model_can_be_told_apart),
        cmocka_unit_test(a_changing_table_is_saved_as_it_was),
        cmocka_unit_test(small_tables_grow_under_a_snapshot),
        cmocka_unit_test(dense_tables_are_saved_as_they_were),
        cmocka_unit_test(an_empty_table_has_nothing_to_save),
        cmocka_unit_test(a_kept_snapshot_leaves_nothing_for_the_next_increment),
        cmocka_unit_test(an_erased_row_comes_before_its_number_is_used_again),
        cmocka_unit_test(a_cut_that_fails_changes_nothing),
        cmocka_unit_test(an_erasure_without_memory_erases_nothing),
        cmocka_unit_test(a_load_without_memory_changes_nothing),
        cmocka_unit_test(a_load_outside_of_the_part_is_refused),
        cmocka_unit_test(a_table_that_does_not_track_can_be_saved_whole),
    };

    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
