/* test_status.c - words and names of the statuses. */
#include "base/base.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

static void every_status_has_its_value_name_and_words(void **state)
{
    /* Written out from the table of the protocol, not from PS_STATUS_MAP. */
    static const struct {
        int value;
        const char *name;
        const char *words;
    } some[] = {
        {0, "PS_OK", "ok"},
        {-1, "PS_EARGUMENT", "wrong argument"},
        {-3, "PS_ENOTFOUND", "not found"},
        {-12, "PS_ETIMEOUT", "deadline reached"},
        {-19, "PS_EUNKNOWN", "unknown error"},
        {-32, "PS_ENOMEM", "out of memory"},
        {-36, "PS_EGAP", "number out of order"},
        {-46, "PS_ECLOSED", "closed"},
        {-47, "PS_EROLLEDBACK", "the cluster went back to a checkpoint"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(some); i++) {
        assert_string_equal(ps_status_name(some[i].value), some[i].name);
        assert_string_equal(ps_status_text(some[i].value), some[i].words);
    }
}

static void no_two_statuses_share_a_name_or_words(void **state)
{
    (void)state;
    for (int a = -60; a <= 0; a++) {
        for (int b = a + 1; b <= 0; b++) {
            if (strcmp(ps_status_name(b), "PS_?") != 0) {
                assert_string_not_equal(ps_status_name(a), ps_status_name(b));
                assert_string_not_equal(ps_status_text(a), ps_status_text(b));
            }
        }
    }
}

static void a_status_of_a_later_version_has_words_too(void **state)
{
    const int strange[] = {1, -20, -31, -48, INT32_MIN, INT32_MAX};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(strange); i++) {
        assert_string_equal(ps_status_name(strange[i]), "PS_?");
        assert_non_null(ps_status_text(strange[i]));
    }
}

static void the_version_is_three_numbers(void **state)
{
    const char *v = ps_version();
    size_t dots = 0;

    (void)state;
    assert_true(strlen(v) >= 5);
    for (; *v != '\0'; v++) {
        dots += *v == '.';
        assert_true(*v == '.' || (*v >= '0' && *v <= '9'));
    }
    assert_int_equal(dots, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_value_name_and_words),
        cmocka_unit_test(no_two_statuses_share_a_name_or_words),
        cmocka_unit_test(a_status_of_a_later_version_has_words_too),
        cmocka_unit_test(the_version_is_three_numbers),
    };

    return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
