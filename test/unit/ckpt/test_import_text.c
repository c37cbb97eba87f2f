/* Numbers as the original's text has them; files are in test_import.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "base/base.h"
#include "ckpt/ckpt_folder.h"
#include "ckpt/import_text.h"
#include "ckpt_stage.h"

static void a_number_has_6_digits_and_no_exponent(void **state)
{
    static const struct {
        double x;
        const char *text;
    } cases[] = {
        {0, "0"},
        {1, "1"},
        {-1, "-1"},
        {0.5, "0.5"},
        {10, "10"},
        {5.93432e-05, "0.0000593432"},
        {-1e-7, "-0.0000001"},
        {0.1, "0.1"},
        {1.0 / 3, "0.333333"},
        {200.0 / 3, "66.6667"},
        {999999.5, "1000000"},
        {123456, "123456"},
        {123456.7, "123457"},
        {1234567, "1234570"},
        {12345.67, "12345.7"},
        {1e20, "100000000000000000000"},
        {1.5e-10, "0.00000000015"},
        {(double)INFINITY, "inf"},
        {-(double)INFINITY, "-inf"},
        {(double)NAN, "nan"},
    };
    char text[IMPORT_TEXT_NUMBER];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t n = import_text_number(cases[i].x, text);

        assert_string_equal(text, cases[i].text);
        assert_int_equal(n, strlen(text));
    }
}

static void the_largest_and_the_smallest_fit(void **state)
{
    char text[IMPORT_TEXT_NUMBER];

    (void)state;
    assert_int_equal(import_text_number(-1.7976931348623157e308, text), 310);
    assert_memory_equal(text, "-1797690", 8);
    /* 0. and 323 zeros, then 494066 */
    assert_int_equal(import_text_number(-5e-324, text), 1 + 2 + 323 + 6);
    assert_string_equal(text + 1 + 2 + 323, "494066");
}

/* The numbers of ckpt_stage.h: rows of "table" are there in falling order on
 * two lanes. */
static void rows_by_number_are_put_into_their_order(void **state)
{
    struct fs *fs = fs_memory_new();
    struct fs *to = fs_memory_new();
    char folder[CKPT_NAME_MAX + 1];
    struct import_text x = {
        .fs = fs, .folder = folder, .to = to, .with_lines = true};
    struct buf b = {0};
    struct ckpt *c;
    struct err e;
    const char *at;

    (void)state;
    assert_int_equal(stage_write(fs, 5, 0, "", 10, STAGE_TABLE, folder, &e),
                     PS_OK);
    assert_int_equal(ckpt_open(fs, folder, &c, &e), PS_OK);
    x.ckpt = c;
    import_text_init(&x);
    assert_int_equal(import_text_write(&x, "nobody", &e), PS_ENOTFOUND);
    assert_int_equal(import_text_write(&x, "table", &e), PS_OK);
    assert_int_equal(x.n_files, 1);
    assert_int_equal(to->ops->read(to, "table", 1 << 24, &b, NULL), PS_OK);
    assert_int_equal(buf_append(&b, "", 1), PS_OK);
    at = (const char *)b.data;
    for (uint64_t i = 0; i < STAGE_TABLE; i++) {
        char want[2 * IMPORT_TEXT_NUMBER];
        size_t n = import_text_number((double)stage_value(i, 0, 0), want);

        want[n++] = ',';
        n += import_text_number((double)stage_value(i, 0, 1), want + n);
        want[n++] = '\n';
        assert_memory_equal(at, want, n);
        at += n;
    }
    assert_true(*at == '\0');
    buf_fini(&b);
    import_text_fini(&x);
    ckpt_free(c);
    fs_memory_free(fs);
    fs_memory_free(to);
}

static void an_increment_is_refused(void **state)
{
    struct fs *fs = fs_memory_new();
    char folder[CKPT_NAME_MAX + 1];
    struct import_text x = {.fs = fs, .folder = folder, .to = fs};
    struct ckpt *c;
    struct err e;

    (void)state;
    assert_int_equal(stage_write(fs, 5, 4, "", 10, 0, folder, &e), PS_OK);
    assert_int_equal(ckpt_open(fs, folder, &c, &e), PS_OK);
    x.ckpt = c;
    import_text_init(&x);
    assert_int_equal(import_text_write(&x, "bias", &e), PS_ENOTIMPL);
    assert_non_null(strstr(e.text, "ps-plus compact"));
    import_text_fini(&x);
    ckpt_free(c);
    fs_memory_free(fs);
}

static void no_file_is_of_two_variables(void **state)
{
    struct fs *fs = fs_memory_new();
    char folder[CKPT_NAME_MAX + 1];
    struct import_text x = {
        .fs = fs, .folder = folder, .to = fs, .with_slots = true};
    struct ckpt *c;
    struct err e;

    (void)state;
    assert_int_equal(stage_write(fs, 5, 0, "", 10, 0, folder, &e), PS_OK);
    assert_int_equal(ckpt_open(fs, folder, &c, &e), PS_OK);
    x.ckpt = c;
    import_text_init(&x);
    assert_int_equal(import_text_write(&x, STAGE_USER, &e), PS_OK);
    assert_int_equal(import_text_write(&x, STAGE_USER, &e), PS_OK);
    assert_string_equal(c->manifest.variables[1].name, "bias");
    c->manifest.variables[1].name = STAGE_USER "/acc"; /* as its slot's file */
    assert_int_equal(import_text_write(&x, STAGE_USER "/acc", &e), PS_EEXIST);
    assert_non_null(strstr(e.text, "would replace the file user&"));
    import_text_fini(&x);
    ckpt_free(c);
    fs_memory_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_has_6_digits_and_no_exponent),
        cmocka_unit_test(the_largest_and_the_smallest_fit),
        cmocka_unit_test(rows_by_number_are_put_into_their_order),
        cmocka_unit_test(an_increment_is_refused),
        cmocka_unit_test(no_file_is_of_two_variables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
