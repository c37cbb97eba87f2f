/* test_role.c - what the roles make of -sn, --bind and values not built yet. */
#include "cli/role.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

static void a_number_of_servers_is_read(void **state)
{
    static const struct {
        const char *text;
        uint32_t servers;
    } cases[] = {{"1", 1},   {"4", 4},   {"4096", 4096},
                 {"007", 7}, {"4,0", 4}, {"4,0,0", 4}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint32_t servers = 0;
        struct err e;

        assert_int_equal(role_server_count(cases[i].text, &servers, &e), PS_OK);
        assert_int_equal(servers, cases[i].servers);
    }
}

static void what_is_no_number_of_servers_is_refused(void **state)
{
    static const char *const cases[] = {"",
                                        "0",
                                        "4097",
                                        "-1",
                                        "+4",
                                        "4x",
                                        "x",
                                        " 4",
                                        "4,",
                                        ",4",
                                        "4,x",
                                        "4;2",
                                        "4,,2",
                                        "4,-1",
                                        "4, 2",
                                        "4 ",
                                        "18446744073709551617"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint32_t servers = 77;
        struct err e;

        assert_int_equal(role_server_count(cases[i], &servers, &e),
                         PS_EARGUMENT);
        assert_int_equal(servers, 77);
        assert_non_null(strstr(e.text, "wants a number from 1 to 4096"));
    }
}

static void model_servers_are_refused_with_their_list(void **state)
{
    static const char *const cases[] = {"4,2", "4,0,1", "4,1,0"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint32_t servers = 77;
        struct err e;

        assert_int_equal(role_server_count(cases[i], &servers, &e),
                         PS_EARGUMENT);
        assert_non_null(strstr(e.text, "model servers"));
        assert_non_null(strstr(e.text, cases[i]));
        assert_non_null(strstr(e.text, "not built yet; give 4"));
    }
}

static void all_but_loopback_is_exposed(void **state)
{
    static const char *const hidden[] = {"127.0.0.1", "127.9.9.9", "::1",
                                         "localhost"};
    static const char *const exposed[] = {
        "0.0.0.0",   "::",          "8.8.8.8", "126.255.255.255",
        "128.0.0.1", "10.0.0.1",    "::2",     "fd12:3456::1",
        "fe80::1",   "192.168.1.1", "host",    "localhost.example"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hidden); i++) {
        if (role_is_exposed(hidden[i])) {
            fail_msg("%s is taken for exposed", hidden[i]);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(exposed); i++) {
        if (!role_is_exposed(exposed[i])) {
            fail_msg("%s is taken for hidden", exposed[i]);
        }
    }
}

static void a_text_that_asks_for_nothing_is_accepted(void **state)
{
    struct err e;

    (void)state;
    assert_int_equal(role_refuse_text(NULL, "-x", "X is", "give y", &e), PS_OK);
    assert_int_equal(role_refuse_text("", "-x", "X is", "give y", &e), PS_OK);
    assert_int_equal(role_refuse_text("z", "-x", "X is", "give y", &e),
                     PS_EARGUMENT);
    assert_string_equal(e.text,
                        "option -x: X is not built yet; give y, not \"z\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_of_servers_is_read),
        cmocka_unit_test(what_is_no_number_of_servers_is_refused),
        cmocka_unit_test(model_servers_are_refused_with_their_list),
        cmocka_unit_test(all_but_loopback_is_exposed),
        cmocka_unit_test(a_text_that_asks_for_nothing_is_accepted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
