/* Reading checkpoints of the original: what is right, and every way to be
 * wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "ckpt/import.h"
#include "ckpt/original.h"
#include "import_stage.h"

struct seen {
    const struct original_rows *rows;
    uint64_t n;
    struct original_row row[8];
    double values[8][2];
    double slots[8][2]; /* of the first row slot, -1 where it is not there */
};

static double number(const struct original_tensor *t, const void *p, int i)
{
    double x = 0;
    float f;
    int16_t n;

    switch (t->dtype) {
    case ORIGINAL_F64:
        memcpy(&x, (const char *)p + i * 8, 8);
        break;
    case ORIGINAL_F32:
        memcpy(&f, (const char *)p + i * 4, 4);
        x = (double)f;
        break;
    default:
        memcpy(&n, (const char *)p + i * 2, 2);
        x = n;
        break;
    }
    return x;
}

static int take(void *context, const struct original_row *row, struct err *e)
{
    struct seen *s = context;
    uint64_t width = s->rows->variable->row_elements;

    (void)e;
    assert_true(s->n < 8);
    s->row[s->n] = *row;
    for (int i = 0; i < (int)width; i++) {
        s->values[s->n][i] = number(&s->rows->parts[0].data, row->values, i);
        s->slots[s->n][i] = -1;
        for (uint32_t k = 0; k < s->rows->n_slots && i == 0; k++) {
            const struct original_slot *x = &s->rows->slots[k];

            if (!x->is_any && row->slots[k] != NULL) {
                s->slots[s->n][0] = number(&x->tensor, row->slots[k], 0);
                break;
            }
        }
    }
    s->n++;
    return PS_OK;
}

static void read_all(struct fs *fs, uint32_t variable, struct original **o,
                     struct arena *arena, struct original_rows *rows,
                     struct seen *s)
{
    struct err e;

    arena_init(arena);
    assert_int_equal(original_open(o, fs, &e), PS_OK);
    assert_int_equal(original_scan(*o, fs, &(*o)->variables[variable], arena,
                                   NULL, NULL, rows, &e),
                     PS_OK);
    *s = (struct seen){.rows = rows};
    assert_int_equal(original_read(*o, fs, rows, take, s, &e), PS_OK);
    assert_int_equal(s->n, rows->rows);
}

static void a_checkpoint_says_what_it_has(void **state)
{
    struct fs *fs = stage_old_new();
    struct original *o;
    struct err e;

    (void)state;
    assert_int_equal(original_open(&o, fs, &e), PS_OK);
    assert_string_equal(o->folder, "c1");
    assert_true(o->has_step);
    assert_int_equal(o->step, 77);
    assert_int_equal(o->n_queues, 1);
    assert_string_equal(o->queues[0], "files");
    assert_int_equal(o->n_variables, 4);
    assert_string_equal(o->variables[0].name, "a/b");
    assert_int_equal(o->variables[0].batch_read, 300);
    assert_int_equal(o->variables[0].row_elements, 2);
    assert_int_equal(o->variables[2].dims[0], 3);
    assert_true(o->variables[3].is_not_saved);
    original_free(o);
    fs_memory_free(fs);
}

static void keys_of_64_bits_have_their_rows_from_all_parts(void **state)
{
    static const int64_t keys[] = {39999, 5, -65536, -1};
    struct fs *fs = stage_old_new();
    struct original *o;
    struct original_rows rows;
    struct arena arena;
    struct buf any = {0};
    struct seen s;
    double beta[2];

    (void)state;
    read_all(fs, 0, &o, &arena, &rows, &s);
    assert_int_equal(s.n, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal((int64_t)s.row[i].key, keys[i]);
        assert_true(s.values[i][0] == stage_old(keys[i], 0, 0));
        assert_true(s.values[i][1] == stage_old(keys[i], 0, 1));
        assert_true(s.slots[i][0] == (i < 3 ? stage_old(keys[i], 1, 0) : -1));
    }
    assert_int_equal(rows.n_slots, 2);
    assert_string_equal(rows.slots[0].name, "adagrad_accumulation");
    assert_true(rows.slots[0].tensor.init.a == 0.5);
    assert_true(rows.slots[1].is_any);
    assert_int_equal(original_read_any(o, fs, &rows, 1, &any, NULL), PS_OK);
    assert_int_equal(any.size, sizeof(beta));
    memcpy(beta, any.data, sizeof(beta));
    assert_true(beta[0] == 0.75 && beta[1] == 0.5);
    buf_fini(&any);
    arena_fini(&arena);
    original_free(o);
    fs_memory_free(fs);
}

static void keys_of_128_bits_are_two_words(void **state)
{
    struct fs *fs = stage_old_new();
    struct original *o;
    struct original_rows rows;
    struct arena arena;
    struct seen s;

    (void)state;
    read_all(fs, 1, &o, &arena, &rows, &s);
    assert_int_equal(s.n, 2);
    assert_int_equal(s.row[0].key, 1);
    assert_int_equal(s.row[0].low, 2);
    assert_int_equal(s.row[1].key, 3);
    assert_true(s.row[1].low == UINT64_MAX);
    assert_true(s.values[1][0] == stage_old(3, 0, 0));
    assert_true(s.slots[1][0] == 4); /* 3 + 4 / 4, an int16 */
    arena_fini(&arena);
    original_free(o);
    fs_memory_free(fs);
}

static void rows_by_number_come_in_their_order(void **state)
{
    struct fs *fs = stage_old_new();
    struct original *o;
    struct original_rows rows;
    struct arena arena;
    struct seen s;

    (void)state;
    read_all(fs, 2, &o, &arena, &rows, &s);
    assert_int_equal(s.n, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(s.row[i].key, i);
        assert_true(s.values[i][1] == stage_old(i, 0, 1));
        assert_true(s.slots[i][0] == stage_old(i, 1, 0)); /* "accum" */
    }
    arena_fini(&arena);
    original_free(o);
    fs_memory_free(fs);
}

/* Worked out with Python:
 *     p = 0x319
 *     for w in words: p = ((p ^ w) * 397) % 65536 */
static void buckets_are_those_of_the_original(void **state)
{
    (void)state;
    assert_int_equal(original_bucket64(65537), 1);
    assert_int_equal(original_bucket64((uint64_t)-1), 65535);
    assert_int_equal(original_bucket64((uint64_t)-65536), 0);
    assert_int_equal(original_bucket128(0, 0), 21049);
    assert_int_equal(original_bucket128(1, 2), 24890);
    assert_int_equal(original_bucket128(0x123456789abcdef0, (uint64_t)-5),
                     33349);
}

/* Opens, scans and imports whatever is there. */
static int read_whole(struct fs *fs, struct err *e)
{
    char folder[CKPT_NAME_MAX + 1];
    struct fs *to = fs_memory_new();
    struct import *x;
    int rc = import_new(&x, fs, e);

    if (rc == PS_OK) {
        rc = import_write(x, to, "", 1, NULL, folder, e);
        import_free(x);
    }
    fs_memory_free(to);
    return rc;
}

static void no_file_may_be_shorter_or_longer(void **state)
{
    struct fs *fs = stage_old_new();
    struct err e;

    (void)state;
    for (int i = 0; i < STAGE_FILES; i++) {
        struct buf b = {0};

        stage_old_file(i, &b);
        for (size_t size = 0; size < b.size; size++) {
            stage_old_put(fs, i, b.data, size);
            e.text[0] = '\0';
            if (i == 7) { /* .meta is only told of */
                assert_int_equal(read_whole(fs, &e), PS_OK);
                continue;
            }
            assert_int_equal(read_whole(fs, &e), PS_EDATALOSS);
            assert_non_null(strstr(e.text, stage_files[i]));
            assert_non_null(strstr(e.text, "at byte"));
        }
        assert_int_equal(buf_append(&b, "", 1), PS_OK);
        stage_old_put(fs, i, b.data, b.size);
        assert_int_equal(read_whole(fs, &e), i == 7 ? PS_OK : PS_EDATALOSS);
        stage_old_put(fs, i, b.data, b.size - 1);
        assert_int_equal(read_whole(fs, &e), PS_OK);
        buf_fini(&b);
    }
    fs_memory_free(fs);
}

static void no_flipped_byte_is_more_than_an_error(void **state)
{
    static const uint8_t flips[] = {0x01, 0x80, 0xff, 0x10};
    struct fs *fs = stage_old_new();
    uint32_t n_read = 0;
    uint32_t n_refused = 0;

    (void)state;
    for (int i = 0; i < STAGE_FILES; i++) {
        struct buf b = {0};

        stage_old_file(i, &b);
        for (size_t at = 0; at < b.size * ARRAY_LEN(flips); at++) {
            uint8_t *byte = &b.data[at / ARRAY_LEN(flips)];
            struct err e = {0};
            int rc;

            *byte ^= flips[at % ARRAY_LEN(flips)];
            stage_old_put(fs, i, b.data, b.size);
            rc = read_whole(fs, &e);
            *byte ^= flips[at % ARRAY_LEN(flips)];
            if (rc == PS_OK) {
                n_read++; /* another number, name or step */
            } else {
                n_refused++;
                assert_true(rc == PS_EDATALOSS || rc == PS_ENOTIMPL ||
                            rc == PS_ENOTFOUND || rc == PS_EARGUMENT);
                assert_true(e.text[0] != '\0');
            }
        }
        stage_old_put(fs, i, b.data, b.size);
        buf_fini(&b);
    }
    assert_true(n_refused > 2000 && n_read > 1000);
    fs_memory_free(fs);
}

/* A lie in one file, and what is said of it. */
static void is_refused(int file, size_t at, const void *bytes, size_t size,
                       int status, const char *why)
{
    struct fs *fs = stage_old_new();
    struct buf b = {0};
    struct err e = {0};
    int rc;

    stage_old_file(file, &b);
    assert_true(at + size <= b.size);
    memcpy(b.data + at, bytes, size);
    stage_old_put(fs, file, b.data, b.size);
    rc = read_whole(fs, &e);
    if (rc != status || strstr(e.text, why) == NULL) {
        print_error("wanted %d and \"%s\", got %d: %s\n", status, why, rc,
                    e.text);
    }
    assert_int_equal(rc, status);
    assert_non_null(strstr(e.text, why));
    buf_fini(&b);
    fs_memory_free(fs);
}

static void u64_is_refused(int file, size_t at, uint64_t n, int status,
                           const char *why)
{
    is_refused(file, at, &n, sizeof(n), status, why);
}

static void each_lie_is_named_with_its_place(void **state)
{
    const uint64_t huge = UINT64_C(1) << 61;
    uint32_t n;

    (void)state;
    /* __meta__: servers, type, blob; count; kind, name, parts ... */
    u64_is_refused(1, 8, 5, PS_ENOTIMPL,
                   "at byte 8: the type 0000000000000005");
    u64_is_refused(1, 16, huge, PS_EDATALOSS, "bytes should follow");
    u64_is_refused(1, 24, huge, PS_EDATALOSS, "variables do not fit");
    n = 3;
    is_refused(1, 32, &n, 4, PS_ENOTIMPL, "at byte 32: a variable of kind 3");
    u64_is_refused(1, 36, huge, PS_EDATALOSS, "the name of a variable");
    is_refused(1, 44, "a\nb", 3, PS_EDATALOSS, "control characters");
    is_refused(1, 44, "a\xff/", 3, PS_EDATALOSS, "no UTF-8");
    u64_is_refused(1, 47, 0, PS_EDATALOSS, "has no parts");
    u64_is_refused(1, 63, 39999, PS_EDATALOSS, "hold 65535 buckets instead of");
    u64_is_refused(1, 63, UINT64_MAX, PS_EDATALOSS, "instead of 65536");
    u64_is_refused(1, 87, 9, PS_ENOTIMPL, "9 dimensions");
    u64_is_refused(1, 103, huge * 2, PS_EDATALOSS, "a$b^0: at byte 68: its");
    u64_is_refused(1, 103, UINT64_MAX, PS_EDATALOSS, "the shape of \"a/b\"");
    n = 6;
    is_refused(1, 111, &n, 4, PS_ENOTIMPL, "has data type 6");
    /* a$b^0: kind; count, count; items of 16; tensor at 68 */
    n = 1;
    is_refused(2, 0, &n, 4, PS_EDATALOSS, "it is of kind 1, __meta__ says 2");
    u64_is_refused(2, 12, huge, PS_EDATALOSS,
                   "at byte 12: 2305843009213693952 "
                   "keys do not fit");
    u64_is_refused(2, 28, 4, PS_EDATALOSS,
                   "at byte 20: key 5 has row 4, there "
                   "are 4");
    u64_is_refused(2, 36, 5, PS_EDATALOSS, "key 5 is there twice");
    u64_is_refused(2, 44, 1, PS_EDATALOSS, "row 1 is that of two keys");
    u64_is_refused(2, 36, 40000, PS_EDATALOSS,
                   "at byte 36: key 40000 belongs to bucket 40000");
    u64_is_refused(2, 72, huge, PS_EDATALOSS, "dimensions do not fit");
    u64_is_refused(2, 80, huge, PS_EDATALOSS, "more than 64 bits");
    u64_is_refused(2, 80, huge / 16, PS_EDATALOSS,
                   "bytes of a tensor, and only");
    u64_is_refused(2, 96, 1, PS_ENOTIMPL,
                   "at byte 96: initializer 0000000000000001 is not known");
    u64_is_refused(2, 104, 7, PS_EDATALOSS, "of another length");
    u64_is_refused(2, 152, huge, PS_EDATALOSS, "slots do not fit");
    n = 2;
    is_refused(2, 172, &n, 4, PS_ENOTIMPL, "slot \"beta\" has joiner 2");
    /* w^1: kind, first row */
    u64_is_refused(6, 4, 2, PS_EDATALOSS, "its first row is 2, by __meta__ 1");
    u64_is_refused(8, 8, huge, PS_EDATALOSS, "queues do not fit");
    is_refused(0, 29, "..", 2, PS_EDATALOSS, "\"..\" is no name of a folder");
    is_refused(0, 29, "a/", 2, PS_EDATALOSS, "is no name of a folder");
}

static void a_part_may_be_missing_only_where_nothing_was_saved(void **state)
{
    struct fs *fs = stage_old_new();
    struct err e;

    (void)state;
    assert_int_equal(fs->ops->unlink(fs, stage_files[3], NULL), PS_OK);
    assert_int_equal(read_whole(fs, &e), PS_EDATALOSS);
    assert_string_equal(e.text, "c1/a$b^1: it is missing");
    fs_memory_free(fs);
}

static void without_a_list_the_folder_itself_is_read(void **state)
{
    struct fs *fs = fs_memory_new();
    struct buf b = {0};
    struct original *o;
    struct err e;

    (void)state;
    assert_int_equal(original_open(&o, fs, &e), PS_ENOTFOUND);
    assert_non_null(strstr(e.text, "no checkpoint of the original"));
    stage_old_file(1, &b);
    assert_int_equal(
        fs->ops->write_new(fs, "__meta__", b.data, b.size, false, NULL), PS_OK);
    assert_int_equal(original_open(&o, fs, &e), PS_OK);
    assert_int_equal(o->n_variables, 4);
    assert_false(o->has_step);
    original_free(o);
    buf_fini(&b);
    fs_memory_free(fs);
}

static void memory_may_end_anywhere(void **state)
{
    struct fs *fs = stage_old_new();
    uint64_t n = 1;
    int rc;

    (void)state;
    do {
        struct original *o;
        struct arena arena;
        struct err e = {0};

        arena_init(&arena);
        mem_fail_at(n++);
        rc = original_open(&o, fs, &e);
        for (uint32_t i = 0; rc == PS_OK && i < o->n_variables; i++) {
            struct original_rows rows;
            struct seen s = {.rows = &rows};

            rc = original_scan(o, fs, &o->variables[i], &arena, NULL, NULL,
                               &rows, &e);
            if (rc == PS_OK) {
                rc = original_read(o, fs, &rows, take, &s, &e);
            }
        }
        mem_fail_at(0);
        assert_true(rc == PS_OK || rc == PS_ENOMEM);
        original_free(o);
        arena_fini(&arena);
    } while (rc != PS_OK);
    assert_true(n > 20);
    fs_memory_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_checkpoint_says_what_it_has),
        cmocka_unit_test(keys_of_64_bits_have_their_rows_from_all_parts),
        cmocka_unit_test(keys_of_128_bits_are_two_words),
        cmocka_unit_test(rows_by_number_come_in_their_order),
        cmocka_unit_test(buckets_are_those_of_the_original),
        cmocka_unit_test(no_file_may_be_shorter_or_longer),
        cmocka_unit_test(no_flipped_byte_is_more_than_an_error),
        cmocka_unit_test(each_lie_is_named_with_its_place),
        cmocka_unit_test(a_part_may_be_missing_only_where_nothing_was_saved),
        cmocka_unit_test(without_a_list_the_folder_itself_is_read),
        cmocka_unit_test(memory_may_end_anywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
