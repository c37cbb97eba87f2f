/* test_ckpt_layout.c - where the bytes of a file of rows are; names. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/mem.h"
#include "ckpt/ckpt.h"

static void folders_have_one_spelling(void **state)
{
    static const struct {
        const char *name;
        bool is_good;
        bool is_new;
        uint64_t cut;
        uint64_t term;
    } cases[] = {
        {"ckpt-000000000012-3", true, false, 12, 3},
        {".new-000000000012-3", true, true, 12, 3},
        {".new-000000000012-3-", false, false, 0, 0},
        {".new-000000000012-3-0123456789abcde", false, false, 0, 0},
        {".new-000000000012-3-0123456789abcdef0", false, false, 0, 0},
        {".new-000000000012-3-0123456789abcdeF", false, false, 0, 0},
        {"ckpt-000000000012-3-0123456789abcdef", false, false, 0, 0},
        {"ckpt-1000000000000-18446744073709551615", true, false, 1000000000000,
         UINT64_MAX},
        {"ckpt-18446744073709551615-0", true, false, UINT64_MAX, 0},
        {"ckpt-000000000012-03", false, false, 0, 0},
        {"ckpt-12-3", false, false, 0, 0},
        {"ckpt-0000000000012-3", false, false, 0, 0},
        {"ckpt-000000000012", false, false, 0, 0},
        {"ckpt-000000000012-", false, false, 0, 0},
        {"ckpt-000000000012-3x", false, false, 0, 0},
        {"ckpt-18446744073709551616-3", false, false, 0, 0},
        {"ckpt--3", false, false, 0, 0},
        {"ckpt", false, false, 0, 0},
        {"", false, false, 0, 0},
        {"..", false, false, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char again[CKPT_NAME_MAX + 1];
        uint64_t cut;
        uint64_t term;
        bool is_new;

        assert_int_equal(ckpt_folder_parse(cases[i].name, &cut, &term, &is_new),
                         cases[i].is_good);
        if (cases[i].is_good) {
            assert_true(cut == cases[i].cut && term == cases[i].term &&
                        is_new == cases[i].is_new);
            ckpt_folder_name(cut, term, is_new, again);
            assert_string_equal(again, cases[i].name);
        }
    }
}

static void a_saves_folder_has_its_cluster(void **state)
{
    char name[CKPT_NAME_MAX + 1];
    uint64_t cut, term;
    bool is_new;

    (void)state;
    ckpt_saving_name(12, 3, 0x1122334455667788u, 0x00000000000000ffu, name);
    assert_string_equal(name, ".new-000000000012-3-1122334455667777");
    assert_true(ckpt_folder_parse(name, &cut, &term, &is_new));
    assert_true(cut == 12 && term == 3 && is_new);
    ckpt_saving_name(UINT64_MAX, UINT64_MAX, UINT64_MAX, 0, name);
    assert_int_equal(strlen(name), CKPT_NAME_MAX);
    assert_true(ckpt_folder_parse(name, &cut, &term, &is_new));
    assert_true(cut == UINT64_MAX && term == UINT64_MAX && is_new);
}

/* The file of the test below: a block of it, and its header read again. */
static void check_file(const struct ckpt_file *file, const struct buf *header,
                       struct arena *arena)
{
    struct ckpt_file again;
    struct ckpt_block b;

    b = ckpt_block(&file->tensors[1], 1);
    assert_int_equal(b.offset, file->header_bytes + 800032 + 87381 * 12);
    assert_int_equal(b.bytes, (100001 - 87381) * 12);
    assert_int_equal(b.first_row, 87381);
    assert_int_equal(ckpt_header_check(file, header->data, NULL), PS_OK);
    assert_int_equal(ckpt_header_decode(header->data, header->size, file->size,
                                        arena, &again, NULL),
                     PS_OK);
    assert_int_equal(again.n_tensors, 5);
    assert_int_equal(ckpt_header_decode(header->data, header->size,
                                        file->size - 1, arena, &again, NULL),
                     PS_EDATALOSS);
}

/* 1 MiB by 12 bytes of a row is 87,381 rows; by 8 bytes of a key 131,072. */
static void offsets_are_those_worked_out_by_hand(void **state)
{
    struct ckpt_part parts[3] = {
        {.variable = "a/b",
         .id = 1,
         .kind = PS_HASH64,
         .end = 65536,
         .dim = 3,
         .rows = 100001,
         .has_keys = true,
         .n_slots = 1,
         .slots = {"acc"}},
        {.variable = "d",
         .id = 2,
         .kind = PS_DENSE,
         .begin = 5,
         .end = 6,
         .dim = 1,
         .rows = 7},
        {.variable = "a/b",
         .id = 1,
         .kind = PS_HASH64,
         .end = 65536,
         .dim = 3,
         .rows = 3,
         .has_keys = true,
         .content = CKPT_ERASED},
    };
    struct ckpt_file file;
    struct buf header = {0};
    struct arena arena;
    uint64_t h;

    (void)state;
    arena_init(&arena);
    assert_int_equal(ckpt_layout("f", parts, 3, &arena, &file, &header), PS_OK);
    h = file.header_bytes;
    assert_int_equal(h % 64, 0);
    assert_int_equal(header.size, h);
    assert_int_equal(header.data[0] + 256 * header.data[1], h - 8);
    assert_int_equal(header.data[8], '{');
    assert_true(file.header_sum == hash_bytes(header.data, header.size));
    assert_int_equal(file.n_tensors, 5);
    assert_string_equal(file.tensors[0].name, "a/b/0-65536/keys");
    assert_int_equal(file.tensors[0].offset, h);
    assert_string_equal(file.tensors[1].name, "a/b/0-65536/values");
    assert_int_equal(file.tensors[1].offset, h + 800008 + 24);
    assert_string_equal(file.tensors[2].name, "a/b/0-65536/slot/acc");
    assert_int_equal(file.tensors[2].offset, h + 800032 + 1200012);
    assert_string_equal(file.tensors[3].name, "d/5-6/values");
    assert_int_equal(file.tensors[3].offset, h + 800032 + 2400024);
    assert_int_equal(file.tensors[3].block_rows, 131072);
    assert_string_equal(file.tensors[4].name, "a/b/0-65536/erased");
    assert_int_equal(file.tensors[4].offset, h + 800008);
    assert_int_equal(file.size, h + 800032 + 2400024 + 28);
    assert_int_equal(parts[1].first_tensor, 3);
    assert_int_equal(parts[0].block_rows, 87381);
    assert_int_equal(file.tensors[0].n_sums, 2);
    check_file(&file, &header, &arena);
    buf_fini(&header);
    arena_fini(&arena);
}

static int lay_out(const char *variable, const char *one, const char *two,
                   uint64_t rows)
{
    struct ckpt_part p = {.variable = variable,
                          .id = 1,
                          .kind = PS_HASH64,
                          .end = 65536,
                          .dim = 65536,
                          .rows = rows,
                          .has_keys = true,
                          .n_slots = 2,
                          .slots = {one, two}};
    struct ckpt_file file;
    struct buf header = {0};
    struct arena arena;
    int rc;

    arena_init(&arena);
    rc = ckpt_layout("f", &p, 1, &arena, &file, &header);
    buf_fini(&header);
    arena_fini(&arena);
    return rc;
}

static void what_cannot_be_named_or_counted_is_refused(void **state)
{
    (void)state;
    assert_int_equal(lay_out("v", "a", "b", 1), PS_OK);
    assert_int_equal(lay_out("v", "a", "a", 1), PS_EARGUMENT);
    assert_int_equal(lay_out("v", "a/b", "a", 1), PS_EARGUMENT);
    assert_int_equal(lay_out("v", "", "a", 1), PS_EARGUMENT);
    assert_int_equal(lay_out("v\n", "a", "b", 1), PS_EARGUMENT);
    assert_int_equal(lay_out("v", "a", "b", UINT64_MAX), PS_ELIMIT);
    assert_int_equal(lay_out("v", "a", "b", UINT64_C(1) << 46), PS_ELIMIT);
}

static void no_part_and_no_row_are_files_too(void **state)
{
    struct ckpt_part p = {.variable = "v",
                          .id = 1,
                          .kind = PS_HASH64,
                          .end = 65536,
                          .dim = 2,
                          .has_keys = true};
    struct ckpt_file file;
    struct buf header = {0};
    struct arena arena;

    (void)state;
    arena_init(&arena);
    assert_int_equal(ckpt_layout("f", NULL, 0, &arena, &file, &header), PS_OK);
    assert_int_equal(file.size, header.size);
    assert_int_equal(ckpt_header_check(&file, header.data, NULL), PS_OK);
    buf_clear(&header);
    assert_int_equal(ckpt_layout("f", &p, 1, &arena, &file, &header), PS_OK);
    assert_int_equal(file.n_tensors, 2);
    assert_int_equal(file.tensors[0].n_sums, 0);
    assert_int_equal(file.size, header.size);
    assert_int_equal(ckpt_header_check(&file, header.data, NULL), PS_OK);
    buf_fini(&header);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_have_one_spelling),
        cmocka_unit_test(a_saves_folder_has_its_cluster),
        cmocka_unit_test(offsets_are_those_worked_out_by_hand),
        cmocka_unit_test(what_cannot_be_named_or_counted_is_refused),
        cmocka_unit_test(no_part_and_no_row_are_files_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
