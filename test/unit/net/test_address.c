/* test_address.c - "host:port" taken apart and put together. */
#include "net/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void what_is_formatted_is_parsed_back(void **state)
{
    static const struct {
        const char *host;
        uint16_t port;
        const char *address;
    } cases[] = {
        {"127.0.0.1", 7000, "127.0.0.1:7000"},
        {"::1", 65535, "[::1]:65535"},
        {"node-3.example", 1, "node-3.example:1"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char address[ADDRESS_MAX + 1];
        char host[ADDRESS_HOST_MAX + 1];
        uint16_t port = 0;

        address_format(cases[i].host, cases[i].port, address);
        assert_string_equal(address, cases[i].address);
        assert_int_equal(address_parse(address, host, &port), PS_OK);
        assert_string_equal(host, cases[i].host);
        assert_int_equal(port, cases[i].port);
    }
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const cases[] = {
        "",       "host",     ":80",     "host:",  "host:0", "host:65536",
        "host:x", "host:80x", "host:-1", "::1:80", "[]:80",  "host:99999999",
    };
    char long_host[ADDRESS_HOST_MAX + 8];
    char host[ADDRESS_HOST_MAX + 1];
    uint16_t port;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(address_parse(cases[i], host, &port), PS_EARGUMENT);
    }
    memset(long_host, 'a', sizeof(long_host));
    memcpy(long_host + ADDRESS_HOST_MAX + 1, ":80", 4);
    assert_int_equal(address_parse(long_host, host, &port), PS_EARGUMENT);
    assert_int_equal(address_parse(long_host + 1, host, &port), PS_OK);
}

static void a_host_that_binds_everywhere_is_advertised_by_name(void **state)
{
    char host[ADDRESS_HOST_MAX + 1];
    struct err e = {0};

    (void)state;
    assert_int_equal(address_host("127.0.0.1", NULL, host, &e), PS_OK);
    assert_string_equal(host, "127.0.0.1");
    assert_int_equal(address_host("0.0.0.0", "gpu7", host, &e), PS_OK);
    assert_string_equal(host, "gpu7");
    assert_int_equal(address_host("::", NULL, host, &e), PS_OK);
    assert_string_not_equal(host, "::");
    assert_int_not_equal(host[0], '\0');
    assert_int_equal(address_host("0.0.0.0", "", host, &e), PS_EARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_formatted_is_parsed_back),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(a_host_that_binds_everywhere_is_advertised_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
