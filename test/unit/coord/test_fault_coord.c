/* test_fault_coord.c - opening the store and each kind of request, with the
 * nth allocation failing and with the nth call of the file system failing, for
 * every n: the answer says so, a fresh try finds the store as it was. */
#include "coord/coord.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "lib/armed.h"
#include "stage.h"

enum { TIMES_MAX = 300 };

/* Opens with the nth allocation, or the nth call, failing. */
static int open_with(struct stage *w, uint64_t n, bool is_io,
                     struct coord_file **c, struct err *e)
{
    int rc;

    *c = NULL;
    e->text[0] = '\0';
    w->fault.calls = 0;
    w->fault.fail_from = is_io ? n : 0;
    w->fault.fail_count = 1;
    armed_at(is_io ? 0 : n);
    ARMED(rc = coord_file_open(c, &w->fault.fs, w->dir, w->nonce++, e));
    armed.has_failed = armed.has_failed || (is_io && w->fault.calls >= n);
    w->fault.fail_from = 0;
    return rc;
}

static void an_open_that_fails_says_why_and_harms_nothing(void **state)
{
    struct stage *w = *state;
    struct coord_file *c = stage_open_store(w);
    struct err e;

    assert_int_equal(stage_cas_durable(w, c, 0, "one"), PS_OK);
    coord_file_close(c);
    for (int is_io = 0; is_io < 2; is_io++) {
        uint64_t n = 0;

        armed.has_failed = true;
        while (armed.has_failed) {
            int rc = open_with(w, ++n, is_io == 1, &c, &e);

            assert_true(n < TIMES_MAX);
            if (rc == PS_OK) {
                stage_expect_stored(w, c, 1, "one");
                coord_file_close(c);
                continue;
            }
            assert_true(armed.has_failed);
            assert_true(rc == PS_EIO || rc == PS_ENOMEM);
            assert_true(e.text[0] != '\0');
            c = stage_open_store(w);
            stage_expect_stored(w, c, 1, "one");
            coord_file_close(c);
        }
        assert_true(n > 2);
    }
}

static void an_open_of_an_empty_folder_can_be_tried_again(void **state)
{
    struct stage *w = *state;
    struct coord_file *c;
    struct err e;

    for (int is_io = 0; is_io < 2; is_io++) {
        uint64_t n = 0;

        armed.has_failed = true;
        while (armed.has_failed) {
            int rc;

            stage_clear(w);
            rc = open_with(w, ++n, is_io == 1, &c, &e);
            assert_true(n < TIMES_MAX);
            if (rc != PS_OK) {
                assert_true(rc == PS_EIO || rc == PS_ENOMEM);
                assert_true(e.text[0] != '\0');
                c = stage_open_store(w);
            }
            assert_int_equal(stage_cas(w, c, 0, "one"), PS_OK);
            stage_expect_stored(w, c, 1, "one");
            coord_file_close(c);
        }
    }
}

/* Requests that only read. */
static void a_read_that_fails_is_an_error_and_the_next_is_right(void **state)
{
    static const enum coord_op ops[] = {COORD_GET, COORD_WATCH};
    struct stage *w = *state;
    struct coord_file *c = stage_open_store(w);

    assert_int_equal(stage_cas_durable(w, c, 0, "one"), PS_OK);
    assert_int_equal(stage_cas(w, c, 1, "two"), PS_OK);
    for (size_t i = 0; i < 2 * ARRAY_LEN(ops); i++) {
        bool is_io = i % 2 == 1;
        uint64_t n = 0;

        armed.has_failed = true;
        while (armed.has_failed) {
            int rc;

            n++;
            assert_true(n < TIMES_MAX);
            w->fault.calls = 0;
            w->fault.fail_from = is_io ? n : 0;
            w->fault.fail_count = 1;
            armed_at(is_io ? 0 : n);
            ARMED(rc = stage_request(w, c, ops[i / 2], "k", 1, NULL, 0));
            armed.has_failed =
                armed.has_failed || (is_io && w->fault.calls >= n);
            w->fault.fail_from = 0;
            assert_true(rc == PS_OK || (armed.has_failed && rc == PS_EIO));
            stage_expect_stored(w, c, 2, "two");
        }
    }
    coord_file_close(c);
}

static void a_delete_without_memory_deletes_or_does_not(void **state)
{
    struct stage *w = *state;
    uint64_t n = 0;

    armed.has_failed = true;
    while (armed.has_failed) {
        struct coord_file *c;
        int rc;

        n++;
        assert_true(n < TIMES_MAX);
        stage_clear(w);
        c = stage_open_store(w);
        assert_int_equal(stage_cas_durable(w, c, 0, "one"), PS_OK);
        armed_at(n);
        ARMED(rc = stage_request(w, c, COORD_DEL, "k", 0, NULL, 0));
        assert_true(rc == PS_OK || (armed.has_failed && rc == PS_EIO));
        if (stage_get(w, c) != PS_ENOTFOUND) {
            stage_expect_stored(w, c, 1, "one");
            assert_int_equal(rc, PS_EIO);
            assert_int_equal(stage_request(w, c, COORD_DEL, "k", 0, NULL, 0),
                             PS_OK);
        }
        stage_expect_absent(w, c);
        coord_file_close(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(an_open_that_fails_says_why_and_harms_nothing),
        ON_BOTH(an_open_of_an_empty_folder_can_be_tried_again),
        ON_BOTH(a_read_that_fails_is_an_error_and_the_next_is_right),
        ON_BOTH(a_delete_without_memory_deletes_or_does_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
