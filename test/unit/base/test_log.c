/* test_log.c - lines on stderr, and in the sink. */
#include "base/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"

static size_t n_lines;
static enum log_level last_level;
static char last_text[LIMIT_LOG_BYTES * 2];

static void keep(enum log_level level, const char *text)
{
    n_lines++;
    last_level = level;
    snprintf(last_text, sizeof(last_text), "%s", text);
}

static int start(void **state)
{
    (void)state;
    n_lines = 0;
    last_text[0] = '\0';
    log_set_level(LOG_INFO);
    log_set_name("");
    log_set_sink(keep);
    return 0;
}

static void words_of_levels_are_known(void **state)
{
    (void)state;
    assert_int_equal(log_level_parse("debug"), LOG_DEBUG);
    assert_int_equal(log_level_parse("info"), LOG_INFO);
    assert_int_equal(log_level_parse("warning"), LOG_WARNING);
    assert_int_equal(log_level_parse("error"), LOG_ERROR);
    assert_int_equal(log_level_parse("none"), LOG_NONE);
    assert_int_equal(log_level_parse("warn"), -1);
    assert_int_equal(log_level_parse(""), -1);
}

static void only_the_level_and_above_is_written(void **state)
{
    (void)state;
    log_set_level(LOG_WARNING);
    log_write(LOG_DEBUG, "a");
    log_write(LOG_INFO, "b");
    assert_int_equal(n_lines, 0);
    log_write(LOG_WARNING, "c %d", 1);
    assert_string_equal(last_text, "c 1");
    assert_int_equal(last_level, LOG_WARNING);
    log_write(LOG_ERROR, "d");
    assert_int_equal(n_lines, 2);
    log_set_level(LOG_NONE);
    log_write(LOG_ERROR, "e");
    assert_int_equal(n_lines, 2);
}

/* Sends what write_it writes to a file instead of stderr and reads it. */
static size_t catch_stderr(void (*write_it)(void), char *text, size_t room)
{
    FILE *file = tmpfile();
    int old = dup(STDERR_FILENO);
    size_t n;

    assert_non_null(file);
    assert_true(old >= 0);
    log_set_sink(NULL);
    dup2(fileno(file), STDERR_FILENO);
    write_it();
    dup2(old, STDERR_FILENO);
    close(old);
    rewind(file);
    n = fread(text, 1, room - 1, file);
    text[n] = '\0';
    fclose(file);
    return n;
}

/* Checks that text begins like form, in which a 0 stands for any digit, and
 * returns what follows. */
static const char *skip_form(const char *text, const char *form)
{
    for (size_t i = 0; form[i] != '\0'; i++) {
        bool is_like = form[i] == '0' ? text[i] >= '0' && text[i] <= '9'
                                      : text[i] == form[i];

        if (!is_like) {
            fail_msg("\"%s\" does not begin like %s", text, form);
        }
    }
    return text + strlen(form);
}

static void write_two(void)
{
    log_write(LOG_INFO, "listens on port %d", 7000);
    log_set_name("server 0");
    log_write(LOG_ERROR, "gone");
}

static void a_line_has_time_level_name_and_text(void **state)
{
    static const char form[] = "2000-00-00T00:00:00.000000Z ";
    char text[4096];
    const char *at;

    (void)state;
    catch_stderr(write_two, text, sizeof(text));
    at = skip_form(text, form);
    at = skip_form(at, "I listens on port 7000\n");
    at = skip_form(at, form);
    assert_string_equal(at, "E server 0: gone\n");
}

static void write_one(void)
{
    log_write(LOG_INFO, "x");
}

/* The two clocks are read within a minute of each other. */
static void the_time_is_utc_now(void **state)
{
    char text[4096];
    char want[2][32];
    time_t now = time(NULL);

    (void)state;
    setenv("TZ", "AWAY-5", 1);
    tzset();
    catch_stderr(write_one, text, sizeof(text));
    for (int i = 0; i < 2; i++) {
        time_t then = now + i * 60;
        struct tm day;

        gmtime_r(&then, &day);
        strftime(want[i], sizeof(want[i]), "%Y-%m-%dT%H:%M", &day);
    }
    assert_true(memcmp(text, want[0], 16) == 0 ||
                memcmp(text, want[1], 16) == 0);
}

static void write_long(void)
{
    char text[3000];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_set_name("a name that is far too long for this");
    log_write(LOG_INFO, "%s", text);
}

static void a_line_over_1_kib_is_cut_and_still_ends(void **state)
{
    char text[4096];
    size_t n = catch_stderr(write_long, text, sizeof(text));

    (void)state;
    assert_int_equal(n, 1024);
    assert_int_equal(text[n - 1], '\n');
    assert_int_equal(text[n - 2], 'x');
    /* 31 bytes of the name. */
    assert_non_null(strstr(text, " I a name that is far too long for: x"));
}

static void a_text_cannot_forge_a_second_line(void **state)
{
    (void)state;
    log_write(LOG_INFO, "variable \"%s\"", "a\n2026 E forged\033");
    assert_string_equal(last_text, "variable \"a?2026 E forged?\"");
}

static void errno_survives_a_full_disk(void **state)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    int old = dup(STDERR_FILENO);
    int left;

    (void)state;
    assert_true(full >= 0);
    assert_true(old >= 0);
    log_set_sink(NULL);
    dup2(full, STDERR_FILENO);
    errno = EXDEV;
    log_write(LOG_INFO, "nobody reads this");
    left = errno;
    dup2(old, STDERR_FILENO);
    close(old);
    close(full);
    assert_int_equal(left, EXDEV);
}

static void a_limited_line_comes_once_a_second_and_counts(void **state)
{
    struct log_limit limit = {0};
    uint64_t now = 5000000;

    (void)state;
    log_limited(&limit, now, LOG_WARNING, "busy %d", 1);
    assert_string_equal(last_text, "busy 1");
    log_limited(&limit, now, LOG_WARNING, "busy %d", 2);
    log_limited(&limit, now + 500000, LOG_WARNING, "busy %d", 3);
    log_limited(&limit, now + 999999, LOG_WARNING, "busy %d", 4);
    assert_int_equal(n_lines, 1);
    log_limited(&limit, now + 1000000, LOG_WARNING, "busy %d", 5);
    assert_int_equal(n_lines, 2);
    assert_string_equal(last_text, "busy 5 (3 more like this were left out)");
    log_limited(&limit, now + 2000000, LOG_WARNING, "busy %d", 6);
    assert_string_equal(last_text, "busy 6");
    assert_int_equal(n_lines, 3);
}

static void the_first_limited_line_comes_at_time_0_too(void **state)
{
    struct log_limit limit = {0};

    (void)state;
    log_limited(&limit, 0, LOG_INFO, "first");
    assert_int_equal(n_lines, 1);
}

static void a_limited_line_below_the_level_is_not_counted(void **state)
{
    struct log_limit limit = {0};

    (void)state;
    log_limited(&limit, 0, LOG_DEBUG, "quiet");
    log_limited(&limit, 1, LOG_DEBUG, "quiet");
    assert_int_equal(n_lines, 0);
    assert_int_equal(limit.left_out, 0);
}

static struct log_limit long_limit;

static void write_long_limited(void)
{
    char text[3000];

    memset(text, 'y', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_set_name("a name of thirty-one bytes here");
    for (int i = 0; i < 3; i++) {
        log_limited(&long_limit, i < 2 ? 0 : 1000000, LOG_INFO, "%s", text);
    }
}

static void a_long_line_does_not_cut_off_the_count(void **state)
{
    char text[4096];

    (void)state;
    catch_stderr(write_long_limited, text, sizeof(text));
    assert_non_null(strstr(text, "y (1 more like this were left out)\n"));
}

#define TEST(name) cmocka_unit_test_setup(name, start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(words_of_levels_are_known),
        TEST(only_the_level_and_above_is_written),
        TEST(a_line_has_time_level_name_and_text),
        TEST(the_time_is_utc_now),
        TEST(a_line_over_1_kib_is_cut_and_still_ends),
        TEST(a_text_cannot_forge_a_second_line),
        TEST(errno_survives_a_full_disk),
        TEST(a_limited_line_comes_once_a_second_and_counts),
        TEST(the_first_limited_line_comes_at_time_0_too),
        TEST(a_limited_line_below_the_level_is_not_counted),
        TEST(a_long_line_does_not_cut_off_the_count),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
