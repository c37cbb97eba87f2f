/* test_patience.c - how long a role waits, and what it says meanwhile. */
#include "coord/patience.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/log.h"

static char lines[512];

static void sink(enum log_level level, const char *text)
{
    (void)level;
    strncat(lines, text, sizeof(lines) - strlen(lines) - 2);
    strncat(lines, "|", sizeof(lines) - strlen(lines) - 1);
}

static const uint64_t second = 1000000;

static void it_says_each_change_once_and_the_same_every_10_s(void **state)
{
    struct patience p;

    (void)state;
    lines[0] = '\0';
    log_set_sink(sink);
    patience_init(&p, 0, 0);
    for (uint64_t t = 0; t <= 25; t++) {
        assert_int_equal(patience_look(&p, t * second, false,
                                       t < 3 ? "waits for a" : "waits for b",
                                       NULL),
                         PS_OK);
    }
    /* a at 0, b at 3, and again at 13 and 23 */
    assert_string_equal(lines,
                        "waits for a|waits for b|waits for b|waits for b|");
    assert_int_equal(patience_look(&p, 26 * second, true, "serves", NULL),
                     PS_OK);
    assert_int_equal(patience_look(&p, 50 * second, true, "serves", NULL),
                     PS_OK);
    assert_string_equal(
        lines, "waits for a|waits for b|waits for b|waits for b|serves|");
    log_set_sink(NULL);
}

static void it_gives_up_with_the_sentence_unless_it_was_ready(void **state)
{
    struct patience p;
    struct err e = {0};

    (void)state;
    lines[0] = '\0';
    log_set_sink(sink);
    patience_init(&p, 5 * second, 7);
    assert_int_equal(patience_look(&p, 12 * second - 1, false, "waits", &e),
                     PS_OK);
    assert_int_equal(patience_look(&p, 12 * second, false, "waits", &e),
                     PS_ETIMEOUT);
    assert_int_equal(e.status, PS_ETIMEOUT);
    assert_string_equal(e.text, "gave up after 7 s: waits");

    patience_init(&p, 5 * second, 7);
    assert_int_equal(patience_look(&p, 6 * second, true, "serves", &e), PS_OK);
    assert_int_equal(patience_look(&p, 60 * second, false, "waits", &e), PS_OK);
    log_set_sink(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_each_change_once_and_the_same_every_10_s),
        cmocka_unit_test(it_gives_up_with_the_sentence_unless_it_was_ready),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
