/* Unit tests of what comes from outside the click trainer: files, options and
 * the environment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataset.h"
#include "featkey.h"
#include "reader.h"
#include "settings.h"

static void assert_near(double x, double y, double within)
{
    if (!(fabs(x - y) <= within)) {
        fail_msg("%.9g is not within %g of %.9g", x, within, y);
    }
}

struct file {
    char path[64];
};

static void write_text(struct file *f, const char *end, const char *text,
                       size_t size)
{
    (void)snprintf(f->path, sizeof(f->path), "test_ctr-XXXXXX%s", end);

    int fd = mkstemps(f->path, (int)strlen(end));

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), size);
    assert_int_equal(close(fd), 0);
}

static int load(const char *end, const char *text, const char *formula,
                struct reader_share share, struct dataset *d,
                struct ps_error *e)
{
    struct file f;

    write_text(&f, end, text, strlen(text));

    int rc = reader_load(f.path, formula, share, d, e);

    assert_int_equal(unlink(f.path), 0);
    return rc;
}

static const struct reader_share all = {0, 1};

static void libfm_rows_are_read(void **state)
{
    struct ps_error e;
    struct dataset d;

    (void)state;
    dataset_init(&d);
    assert_int_equal(load(".libfm", "1 7:1 9:0.5\n\n-1\t7:1 \r\n0 8:-2e0\n+1\n",
                          NULL, all, &d, &e),
                     PS_OK);
    assert_int_equal(d.n_rows, 4);
    assert_int_equal(d.n_features, 4);
    assert_int_equal(d.labels[0] * 1000 + d.labels[1] * 100 + d.labels[2] * 10 +
                         d.labels[3],
                     1001);
    assert_near((double)d.values[1], 0.5, 0.0);
    assert_near((double)d.values[3], -2.0, 0.0);
    assert_true(d.keys[0] == d.keys[2]);
    assert_true(d.keys[0] != d.keys[1]);
    assert_int_equal(dataset_widest(&d), 2);
    dataset_fini(&d);
}

static void workers_share_the_rows(void **state)
{
    const char *text = "1 0:1\n-1 1:1\n1 2:1\n-1 3:1\n1 4:1\n";
    struct ps_error e;
    struct dataset d;

    (void)state;
    dataset_init(&d);
    assert_int_equal(
        load(".libfm", text, NULL, (struct reader_share){1, 3}, &d, &e), PS_OK);
    assert_int_equal(d.n_rows, 2);
    assert_true(d.keys[0] == featkey_index(1));
    assert_true(d.keys[1] == featkey_index(4));
    assert_int_equal(d.labels[0], 0);
    dataset_fini(&d);
}

static void bad_lines_are_named(void **state)
{
    const struct {
        const char *end;
        const char *formula;
        const char *text;
        const char *says;
    } cases[] = {
        {".libfm", NULL, "1 7:1\n2 7:1\n", ":2: the label must be 1, 0 or -1"},
        {".libfm", NULL, "1 7:1\n1 7:1\n1 x:1\n", ":3: a feature must be"},
        {".libfm", NULL, "1 7\n", ":1: a feature must be"},
        {".libfm", NULL, "1 7:\n", ":1: a feature must be"},
        {".libfm", NULL, "1 -7:1\n", ":1: a feature must be"},
        {".libfm", NULL, "1 7:nan\n", ":1: a feature must be"},
        {".libfm", NULL, "1 7:1x\n", ":1: a feature must be"},
        {".libfm", NULL, "1 99999999999999999999:1\n", ":1: a feature must"},
        {".csv", NULL, "y,a\n1,2\n", "say with --csv"},
        {".csv", "y+a", "y,a\n1,2\n", "no '~' in the formula"},
        {".csv", "y~", "y,a\n1,2\n", "no features in the formula"},
        {".csv", "y~b", "y,a\n1,2\n", "names a column 'b'"},
        {".csv", "z~a", "y,a\n1,2\n", "names a column 'z'"},
        {".csv", "y~a:a:a:a:a", "y,a\n1,2\n", "a cross of more than 4"},
        {".csv", "y~a", "", "no header line"},
        {".csv", "y~a", "y,a\n1,2\n1,2,3\n", ":3: 3 columns, where the header"},
        {".csv", "y~a", "y,a\nno,2\n", ":2: y must be 1, 0 or -1, not 'no'"},
        {".csv", "y~a", "y,a\n1,\"2\n", ":2: column 2: a quote is not closed"},
        {".csv", "y~a", "y,a\n1,\"2\"x\n", ":2: column 2: a quote is not"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ps_error e = {0};
        struct dataset d;

        dataset_init(&d);
        assert_int_equal(
            load(cases[i].end, cases[i].text, cases[i].formula, all, &d, &e),
            PS_EARGUMENT);
        if (strstr(e.text, cases[i].says) == NULL) {
            fail_msg("case %zu says: %s", i, e.text);
        }
        dataset_fini(&d);
    }
}

static void missing_and_binary_files_are_named(void **state)
{
    struct ps_error e = {0};
    struct dataset d;
    struct file f;

    (void)state;
    dataset_init(&d);
    assert_int_equal(reader_load("no-such-file", NULL, all, &d, &e), PS_EIO);
    assert_non_null(strstr(e.text, "open no-such-file: No such file"));
    write_text(&f, ".libfm", "1 7:1\n1\0 8:1\n", 13);
    assert_int_equal(reader_load(f.path, NULL, all, &d, &e), PS_EARGUMENT);
    assert_non_null(strstr(e.text, ":2: a zero byte"));
    assert_int_equal(unlink(f.path), 0);
    dataset_fini(&d);
}

static void csv_cells_and_crosses_become_keys(void **state)
{
    struct ps_error e;
    struct dataset d;

    (void)state;
    dataset_init(&d);
    assert_int_equal(load(".csv",
                          "a,late,b\r\n"
                          "x,1,y\r\n"
                          "\"x\",0,\"say \"\"y\"\", z\"\r\n"
                          "xy,0,\r\n",
                          "late~a+b+a:b", all, &d, &e),
                     PS_OK);
    assert_int_equal(d.n_rows, 3);
    assert_int_equal(d.n_features, 9);
    assert_int_equal(d.labels[0], 1);
    assert_int_equal(d.labels[1], 0);
    assert_true(d.keys[0] == d.keys[3]); /* quoted or not, the same cell */
    for (size_t i = 0; i < 9; i++) {
        for (size_t j = i + 1; j < 9; j++) {
            assert_true(d.keys[i] != d.keys[j] || (i == 0 && j == 3));
        }
    }
    dataset_fini(&d);
}

static void a_cross_knows_where_one_cell_ends(void **state)
{
    struct ps_error e;
    struct dataset d;

    (void)state;
    dataset_init(&d);
    /* Names and cells written one after the other are axbby in both rows. */
    assert_int_equal(
        load(".csv", "y,a,b\n1,xb,y\n1,x,by\n", "y~a:b", all, &d, &e), PS_OK);
    assert_true(d.keys[0] != d.keys[1]);
    dataset_fini(&d);
}

static void options_are_read_and_wrong_ones_named(void **state)
{
    const struct {
        const char *words[6];
        const char *says; /* NULL: it is right */
    } cases[] = {
        {{"--train", "a", "--test=b", "--lr", "0.5"}, NULL},
        {{"--train", "a"}, "--test FILE or --valid FILE is missing"},
        {{"--test", "a"}, "--train FILE is missing"},
        {{"--test", "a", "--eval-only"}, NULL},
        {{"--train"}, "--train needs a value"},
        {{"--trian", "a"}, "no option '--trian'"},
        {{"train"}, "'train' is not an option"},
        {{"--quiet=1"}, "--quiet takes no value"},
        {{"--batch", "0"}, "--batch must be a whole number from 1 to 65536"},
        {{"--batch", "9x"}, "--batch must be a whole number"},
        {{"--lr", "fast"}, "--lr must be a number"},
        {{"--lr", "nan"}, "--lr must be a number"},
        {{"--train", "a", "--test", "b", "--model", "ffm"},
         "--model must be lr or fm"},
        {{"--train", "a", "--test", "b", "--k", "0"}, "--k must be 1 or more"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *argv[8] = {(char *)(uintptr_t) "ctr"};
        struct settings s;
        struct ps_error e = {0};
        int argc = 1;

        for (size_t j = 0; j < 6 && cases[i].words[j] != NULL; j++) {
            argv[argc++] = (char *)(uintptr_t)cases[i].words[j];
        }

        int rc = settings_read(&s, argc, argv, &e);

        assert_int_equal(rc, cases[i].says == NULL ? PS_OK : PS_EARGUMENT);
        if (cases[i].says != NULL && strstr(e.text, cases[i].says) == NULL) {
            fail_msg("case %zu says: %s", i, e.text);
        }
        if (i == 0) {
            assert_string_equal(s.train, "a");
            assert_string_equal(s.test, "b");
            assert_near(s.lr, 0.5, 0.0);
        }
    }
}

static void worker_number_comes_from_the_environment(void **state)
{
    const char *words[] = {"ctr", "--train=a", "--test=b"};
    char *argv[3];
    struct settings s;
    struct ps_error e = {0};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        argv[i] = (char *)(uintptr_t)words[i];
    }
    assert_int_equal(setenv("PS_WORKER_ID", "3", 1), 0);
    assert_int_equal(setenv("PS_WORKER_NUM", "4", 1), 0);
    assert_int_equal(settings_read(&s, 3, argv, &e), PS_OK);
    assert_int_equal(s.worker, 3);
    assert_int_equal(s.workers, 4);
    assert_int_equal(setenv("PS_WORKER_NUM", "3", 1), 0);
    assert_int_equal(settings_read(&s, 3, argv, &e), PS_EARGUMENT);
    assert_non_null(strstr(e.text, "must be less than"));
    assert_int_equal(setenv("PS_WORKER_NUM", "many", 1), 0);
    assert_int_equal(settings_read(&s, 3, argv, &e), PS_EARGUMENT);
    assert_non_null(strstr(e.text, "PS_WORKER_NUM must be a number"));
    assert_int_equal(unsetenv("PS_WORKER_ID"), 0);
    assert_int_equal(unsetenv("PS_WORKER_NUM"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(libfm_rows_are_read),
        cmocka_unit_test(workers_share_the_rows),
        cmocka_unit_test(bad_lines_are_named),
        cmocka_unit_test(missing_and_binary_files_are_named),
        cmocka_unit_test(csv_cells_and_crosses_become_keys),
        cmocka_unit_test(a_cross_knows_where_one_cell_ends),
        cmocka_unit_test(options_are_read_and_wrong_ones_named),
        cmocka_unit_test(worker_number_comes_from_the_environment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
