/* test_err.c - a failure that a person reads. */
#include "base/err.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

static void setting_returns_the_status_and_keeps_the_text(void **state)
{
    struct err e;

    (void)state;
    assert_int_equal(err_set(&e, PS_EIO, "open %s: %d", "/x", 7), PS_EIO);
    assert_int_equal(e.status, PS_EIO);
    assert_string_equal(e.text, "open /x: 7");
    assert_int_equal(err_set(NULL, PS_EIO, "open %s", "/x"), PS_EIO);
}

static void wrapping_puts_what_is_known_in_front(void **state)
{
    struct err e;

    (void)state;
    (void)err_set(&e, PS_EIO, "open /x: no");
    assert_int_equal(err_wrap(&e, "load shard %d", 3), PS_EIO);
    assert_string_equal(e.text, "load shard 3: open /x: no");
    assert_int_equal(e.status, PS_EIO);
    assert_int_equal(err_wrap(NULL, "load"), PS_EUNKNOWN);
}

static void a_text_too_long_is_cut(void **state)
{
    struct err e;
    char text[1000];

    (void)state;
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void)err_set(&e, PS_EIO, "%s", text);
    assert_int_equal(strlen(e.text), 255);
    (void)err_wrap(&e, "front");
    assert_int_equal(strlen(e.text), 255);
    assert_memory_equal(e.text, "front: aaa", 10);
    (void)err_wrap(&e, "%s", text);
    assert_int_equal(strlen(e.text), 255);
    assert_memory_equal(e.text, text, 255);
}

/* 254 bytes of ASCII leave one for a character of two. */
static void it_is_never_cut_within_a_character(void **state)
{
    struct err e;
    char text[257];

    (void)state;
    memset(text, 'a', 254);
    memcpy(text + 254, "\xc3\xa9", 3);
    (void)err_set(&e, PS_EIO, "%s", text);
    assert_int_equal(strlen(e.text), 254);
    memcpy(text + 253, "\xc3\xa9", 3);
    (void)err_set(&e, PS_EIO, "%s", text);
    assert_int_equal(strlen(e.text), 255);
    (void)err_wrap(&e, "b");
    assert_int_equal(strlen(e.text), 255);
    (void)err_set(&e, PS_EIO, "%s", text + 2);
    assert_int_equal(strlen(e.text), 253);
    (void)err_wrap(&e, "b");
    assert_int_equal(strlen(e.text), 254);
    assert_memory_equal(e.text, "b: aaa", 6);
}

static void the_arguments_may_be_its_own_text(void **state)
{
    struct err e;

    (void)state;
    (void)err_set(&e, PS_EIO, "inner");
    (void)err_set(&e, PS_ENOTREADY, "outer and %s and %s", e.text, e.text);
    assert_string_equal(e.text, "outer and inner and inner");
    (void)err_wrap(&e, "again %s", e.text);
    assert_string_equal(e.text, "again outer and inner and inner: "
                                "outer and inner and inner");
}

static void it_is_always_one_line(void **state)
{
    struct err e;

    (void)state;
    (void)err_set(&e, PS_EIO, "no \"%s\"", "a\nb\033[2J\x7f\xc3\xa9");
    assert_string_equal(e.text, "no \"a?b?[2J?\xc3\xa9\"");
    (void)err_wrap(&e, "x\ny");
    assert_string_equal(e.text, "x?y: no \"a?b?[2J?\xc3\xa9\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(setting_returns_the_status_and_keeps_the_text),
        cmocka_unit_test(wrapping_puts_what_is_known_in_front),
        cmocka_unit_test(a_text_too_long_is_cut),
        cmocka_unit_test(it_is_never_cut_within_a_character),
        cmocka_unit_test(the_arguments_may_be_its_own_text),
        cmocka_unit_test(it_is_always_one_line),
    };

    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
