/* test_ckpt_rows.c - rows become blocks, each byte where the layout says. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/mem.h"
#include "ckpt/ckpt_rows.h"

enum { DIM = 3, ROWS = 200000, BLOCK = 87381 }; /* 1 MiB by 12 bytes */

struct stage {
    struct arena arena;
    struct ckpt_part part;
    struct ckpt_file file;
    struct buf bytes; /* the file */
    struct ckpt_rows *rows;
};

static void begin(struct stage *s, uint64_t rows, bool has_keys)
{
    *s = (struct stage){.part = {.variable = "v",
                                 .id = 1,
                                 .end = 65536,
                                 .dim = DIM,
                                 .kind = has_keys ? PS_HASH64 : PS_DENSE,
                                 .rows = rows,
                                 .has_keys = has_keys,
                                 .row_begin = has_keys ? 0 : 10,
                                 .n_slots = 1,
                                 .slots = {"s"}}};
    arena_init(&s->arena);
    assert_int_equal(
        ckpt_layout("f", &s->part, 1, &s->arena, &s->file, &s->bytes), PS_OK);
    assert_non_null(buf_extend(&s->bytes, s->file.size - s->bytes.size));
    assert_int_equal(ckpt_rows_new(&s->rows, &s->part, &s->file), PS_OK);
}

static void end(struct stage *s)
{
    ckpt_rows_free(s->rows);
    buf_fini(&s->bytes);
    arena_fini(&s->arena);
}

static void write_block(struct stage *s, const struct ckpt_filled *b)
{
    for (uint32_t i = 0; i < b->n_pieces; i++) {
        assert_true(b->pieces[i].offset + b->pieces[i].size <= s->bytes.size);
        memcpy(s->bytes.data + b->pieces[i].offset, b->pieces[i].data,
               b->pieces[i].size);
    }
}

static void add(struct stage *s, uint64_t key)
{
    float row[2 * DIM];
    const uint8_t *bytes = (const uint8_t *)row;

    for (size_t i = 0; i < 2 * DIM; i++) {
        row[i] = (float)key + (float)i / 8.0F;
    }
    assert_int_equal(ckpt_rows_reserve(s->rows, 1), PS_OK);
    ckpt_rows_add(s->rows, &key, &bytes, 1);
}

/* Every row of the file and every checksum of the index. */
static void check(const struct stage *s, uint64_t first_key)
{
    const struct ckpt_tensor *t = s->file.tensors;
    uint32_t values = s->part.has_keys;

    for (uint64_t i = 0; i < s->part.rows; i++) {
        uint64_t key = first_key + i;
        float row[2][DIM];
        uint64_t stored = key;

        if (s->part.has_keys) {
            memcpy(&stored, s->bytes.data + t[0].offset + 8 * i, 8);
        }
        assert_true(stored == key);
        for (uint32_t k = 0; k < 2; k++) {
            memcpy(row[k], s->bytes.data + t[values + k].offset + i * 12, 12);
            for (uint32_t m = 0; m < DIM; m++) {
                assert_true(row[k][m] ==
                            (float)key + (float)(k * DIM + m) / 8.0F);
            }
        }
    }
    for (uint32_t i = 0; i < s->file.n_tensors; i++) {
        for (uint32_t k = 0; k < t[i].n_sums; k++) {
            assert_int_equal(
                ckpt_block_check(&s->file, &t[i], k,
                                 s->bytes.data + ckpt_block(&t[i], k).offset,
                                 NULL),
                PS_OK);
        }
    }
}

static void rows_are_where_the_layout_says(void **state)
{
    struct stage s;

    (void)state;
    for (int has_keys = 0; has_keys < 2; has_keys++) {
        uint32_t n = 0;

        begin(&s, ROWS, has_keys != 0);
        for (uint64_t i = 0; i < ROWS; i++) {
            struct ckpt_filled *b;

            assert_false(ckpt_rows_is_done(s.rows));
            add(&s, 10 + i);
            while ((b = ckpt_rows_take(s.rows)) != NULL) {
                assert_int_equal(b->block, n++);
                assert_true((i + 1) % BLOCK == 0 || i + 1 == ROWS);
                write_block(&s, b);
                ckpt_rows_give(s.rows, b);
            }
        }
        assert_int_equal(n, 3);
        assert_true(ckpt_rows_is_done(s.rows));
        check(&s, 10);
        end(&s);
    }
}

/* Of each width, over the end of a block. */
static void rows_come_many_at_once(void **state)
{
    enum { N = 100, WIDE = 16 };
    static const uint32_t dims[] = {3, 8, WIDE};
    float rows[N][2 * WIDE];
    const uint8_t *at[N];
    uint64_t keys[N];

    (void)state;
    for (uint32_t i = 0; i < N; i++) {
        keys[i] = 1000 - i;
        at[i] = (const uint8_t *)rows[i];
        for (uint32_t k = 0; k < 2 * WIDE; k++) {
            rows[i][k] = (float)(i * 2 * WIDE + k);
        }
    }
    for (size_t d = 0; d < ARRAY_LEN(dims); d++) {
        size_t dim = dims[d], n_rows = 0;
        struct stage s = {.part = {.variable = "v",
                                   .id = 1,
                                   .end = 65536,
                                   .dim = dims[d],
                                   .kind = PS_HASH64,
                                   .rows = N,
                                   .has_keys = true,
                                   .block_rows = 40,
                                   .n_slots = 1,
                                   .slots = {"s"}}};
        struct ckpt_filled *b;

        arena_init(&s.arena);
        assert_int_equal(
            ckpt_layout("f", &s.part, 1, &s.arena, &s.file, &s.bytes), PS_OK);
        assert_int_equal(ckpt_rows_new(&s.rows, &s.part, &s.file), PS_OK);
        assert_int_equal(ckpt_rows_reserve(s.rows, N), PS_OK);
        ckpt_rows_add(s.rows, keys, at, 33);
        ckpt_rows_add(s.rows, keys + 33, at + 33, N - 33);
        while ((b = ckpt_rows_take(s.rows)) != NULL) {
            assert_memory_equal(b->pieces[0].data, keys + n_rows, 8 * b->rows);
            for (size_t i = 0; i < b->rows; i++) {
                for (size_t k = 0; k < 2; k++) {
                    const float *got = b->pieces[1 + k].data;

                    assert_memory_equal(got + dim * i,
                                        rows[n_rows + i] + dim * k, 4 * dim);
                }
            }
            n_rows += b->rows;
            ckpt_rows_give(s.rows, b);
        }
        assert_int_equal(n_rows, N);
        end(&s);
    }
}

static void blocks_may_be_given_back_late_and_in_any_order(void **state)
{
    struct stage s;
    struct ckpt_filled *b[3];

    (void)state;
    begin(&s, ROWS, true);
    assert_int_equal(ckpt_rows_reserve(s.rows, UINT64_MAX), PS_OK);
    assert_int_equal(ckpt_rows_room(s.rows), ROWS);
    for (uint64_t i = 0; i < ROWS; i++) {
        add(&s, i);
    }
    assert_int_equal(ckpt_rows_room(s.rows), 0);
    for (size_t i = 0; i < 3; i++) {
        b[i] = ckpt_rows_take(s.rows);
        assert_non_null(b[i]);
    }
    assert_null(ckpt_rows_take(s.rows));
    for (size_t i = 0; i < 3; i++) {
        write_block(&s, b[(i + 1) % 3]);
        ckpt_rows_give(s.rows, b[(i + 1) % 3]);
    }
    check(&s, 0);
    end(&s);
}

static void room_is_what_was_reserved_and_a_failure_keeps_it(void **state)
{
    struct stage s;

    (void)state;
    begin(&s, ROWS, true);
    assert_int_equal(ckpt_rows_room(s.rows), 0);
    mem_fail_at(2);
    assert_int_equal(ckpt_rows_reserve(s.rows, BLOCK + 1), PS_ENOMEM);
    mem_fail_at(0);
    assert_int_equal(ckpt_rows_room(s.rows), BLOCK);
    assert_int_equal(ckpt_rows_reserve(s.rows, BLOCK + 1), PS_OK);
    assert_int_equal(ckpt_rows_room(s.rows), 2 * BLOCK);
    assert_true(ckpt_rows_bytes(s.rows) > 2 * BLOCK * 32);
    end(&s);
}

static void a_part_without_rows_is_done_at_once(void **state)
{
    struct stage s;

    (void)state;
    begin(&s, 0, true);
    assert_int_equal(ckpt_rows_reserve(s.rows, 5), PS_OK);
    assert_null(ckpt_rows_take(s.rows));
    assert_true(ckpt_rows_is_done(s.rows));
    end(&s);
}

static void erased_keys_have_no_values(void **state)
{
    struct stage s = {.part = {.variable = "v",
                               .id = 1,
                               .end = 65536,
                               .dim = DIM,
                               .kind = PS_HASH64,
                               .rows = 2,
                               .has_keys = true,
                               .content = CKPT_ERASED}};
    struct ckpt_filled *b;
    uint64_t keys[2] = {UINT64_MAX, 0};

    (void)state;
    arena_init(&s.arena);
    assert_int_equal(ckpt_layout("f", &s.part, 1, &s.arena, &s.file, &s.bytes),
                     PS_OK);
    assert_int_equal(ckpt_rows_new(&s.rows, &s.part, &s.file), PS_OK);
    assert_int_equal(ckpt_rows_reserve(s.rows, 2), PS_OK);
    ckpt_rows_add(s.rows, &keys[0], NULL, 1);
    assert_null(ckpt_rows_take(s.rows));
    ckpt_rows_add(s.rows, &keys[1], NULL, 1);
    b = ckpt_rows_take(s.rows);
    assert_non_null(b);
    assert_int_equal(b->n_pieces, 1);
    assert_int_equal(b->pieces[0].size, 16);
    assert_memory_equal(b->pieces[0].data, keys, 16);
    assert_true(s.file.tensors[0].sums[0] == hash_bytes(keys, 16));
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_where_the_layout_says),
        cmocka_unit_test(rows_come_many_at_once),
        cmocka_unit_test(blocks_may_be_given_back_late_and_in_any_order),
        cmocka_unit_test(room_is_what_was_reserved_and_a_failure_keeps_it),
        cmocka_unit_test(a_part_without_rows_is_done_at_once),
        cmocka_unit_test(erased_keys_have_no_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
