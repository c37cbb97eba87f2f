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

/* U+00E9, U+20AC and U+1F600 are of 2, 3 and 4 bytes. */
static void a_text_cut_within_a_character_ends_before_it(void **state)
{
    static const struct {
        const char *cut;
        const char *whole;
    } cases[] = {
        {"a\xc3\xa9", "a\xc3\xa9"},
        {"a\xc3", "a"},
        {"a\xe2\x82\xac", "a\xe2\x82\xac"},
        {"a\xe2\x82", "a"},
        {"a\xe2", "a"},
        {"a\xf0\x9f\x98\x80", "a\xf0\x9f\x98\x80"},
        {"a\xf0\x9f\x98", "a"},
        {"a\xf0\x9f", "a"},
        {"a\xf0", "a"},
        {"\xe2", ""},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[16];

        memcpy(text, cases[i].cut, strlen(cases[i].cut) + 1);
        base_one_line(text);
        assert_string_equal(text, cases[i].whole);
    }
}

static void what_is_no_character_becomes_a_question_mark(void **state)
{
    /* Cut by a %.5s within a longer text; a tail without its head; a long
     * form; a surrogate; over U+10FFFF; the control character U+009B, which
     * some terminals take for ESC [. */
    char text[] = "\"abc\xe2\x82\" \x82 \xc0\xaf \xed\xa0\x80 "
                  "\xf4\x90\x80\x80 \xc2\x9b"
                  "2J \xff\xc2\xa0\x80";

    (void)state;
    base_one_line(text);
    assert_string_equal(text, "\"abc??\" ? ?? ??? ???? ??2J ?\xc2\xa0?");
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
        cmocka_unit_test(a_text_cut_within_a_character_ends_before_it),
        cmocka_unit_test(what_is_no_character_becomes_a_question_mark),
        cmocka_unit_test(sizes_are_rounded_up_to_8),
    };

    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
