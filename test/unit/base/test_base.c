/* test_base.c - assertions, and one-line texts. */
#include "base/base.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs a failing assertion in a child with stderr in a pipe. */
static int run_failing(char *text, size_t room)
{
    int ends[2];
    int status = 0;
    size_t n = 0;
    ssize_t got;
    pid_t child;

    assert_int_equal(pipe(ends), 0);
    child = fork();
    if (child == 0) {
        /* cmocka catches signals to go on with the next test. */
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        ASSERT(room == 0);
        _exit(0);
    }
    close(ends[1]);
    while (n < room - 1 && (got = read(ends[0], text + n, room - 1 - n)) > 0) {
        n += (size_t)got;
    }
    text[n] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void a_failed_assertion_says_what_and_where_and_aborts(void **state)
{
    char text[512];
    int status = run_failing(text, sizeof(text));

    (void)state;
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, "room == 0"));
    assert_non_null(strstr(text, "test_base.c:"));
}

static void an_assertion_that_holds_does_nothing(void **state)
{
    int n = 1;

    (void)state;
    ASSERT(n == 1);
    DEBUG_ASSERT(n == 1);
}

static void control_characters_do_not_survive(void **state)
{
    char text[] = "a\tb\nc\r\x1b[0m \x7f~\xc3\xa9";

    (void)state;
    base_one_line(text);
    assert_string_equal(text, "a?b?c??[0m ?~\xc3\xa9");
}

static void sizes_are_rounded_up_to_8(void **state)
{
    (void)state;
    assert_int_equal(base_align8(0), 0);
    assert_int_equal(base_align8(1), 8);
    assert_int_equal(base_align8(8), 8);
    assert_int_equal(base_align8(9), 16);
    assert_int_equal(base_min_u64(3, 2), 2);
    assert_int_equal(base_max_u64(3, 2), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_assertion_says_what_and_where_and_aborts),
        cmocka_unit_test(an_assertion_that_holds_does_nothing),
        cmocka_unit_test(control_characters_do_not_survive),
        cmocka_unit_test(sizes_are_rounded_up_to_8),
    };

    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
