/* test_buf.c - a growing byte string. */
#include "base/buf.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"

static void what_is_appended_is_there_in_order(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b);
    for (size_t i = 0; i < 10000; i++) {
        uint8_t two[2] = {(uint8_t)i, (uint8_t)(i >> 8)};

        assert_int_equal(buf_append(&b, two, 2), PS_OK);
    }
    assert_int_equal(b.size, 20000);
    assert_true(b.room >= b.size);
    for (size_t i = 0; i < 10000; i++) {
        assert_int_equal(b.data[2 * i], (uint8_t)i);
        assert_int_equal(b.data[2 * i + 1], (uint8_t)(i >> 8));
    }
    buf_fini(&b);
}

static void growing_doubles(void **state)
{
    struct buf b;
    uint64_t before = mem_calls();

    (void)state;
    buf_init(&b);
    for (size_t i = 0; i < 1 << 20; i++) {
        assert_int_equal(buf_append(&b, "x", 1), PS_OK);
    }
    /* 256 bytes doubled 12 times are 1 MiB: 13 allocations. */
    assert_int_equal(mem_calls() - before, 13);
    buf_fini(&b);
}

static void appending_nothing_is_fine(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b);
    assert_int_equal(buf_append(&b, NULL, 0), PS_OK);
    assert_non_null(buf_extend(&b, 0));
    assert_int_equal(b.size, 0);
    assert_false(b.failed);
    buf_fini(&b);
}

static void extending_gives_the_new_bytes(void **state)
{
    struct buf b;
    uint8_t *p;

    (void)state;
    buf_init(&b);
    assert_int_equal(buf_append(&b, "abc", 3), PS_OK);
    p = buf_extend(&b, 1000);
    assert_non_null(p);
    assert_ptr_equal(p, b.data + 3);
    memset(p, 'z', 1000);
    assert_int_equal(b.size, 1003);
    assert_memory_equal(b.data, "abcz", 4);
    buf_fini(&b);
}

static void after_a_failure_nothing_more_is_appended(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b);
    assert_int_equal(buf_append(&b, "abc", 3), PS_OK);
    mem_fail_at(1);
    assert_null(buf_extend(&b, 1000));
    assert_true(b.failed);
    /* There would be room and memory for this one. */
    assert_int_equal(buf_append(&b, "d", 1), PS_ENOMEM);
    assert_null(buf_extend(&b, 0));
    assert_int_equal(b.size, 3);
    assert_memory_equal(b.data, "abc", 3);
    buf_clear(&b);
    assert_int_equal(buf_append(&b, "d", 1), PS_OK);
    assert_int_equal(b.size, 1);
    mem_fail_at(0);
    buf_fini(&b);
}

static void an_impossible_size_is_a_failure(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b);
    assert_int_equal(buf_append(&b, "abc", 3), PS_OK);
    assert_null(buf_extend(&b, SIZE_MAX));
    assert_true(b.failed);
    buf_clear(&b);
    assert_null(buf_extend(&b, SIZE_MAX - 2));
    buf_fini(&b);
}

static void clearing_keeps_the_memory_and_fini_does_not(void **state)
{
    struct buf b;
    size_t room;

    (void)state;
    buf_init(&b);
    assert_non_null(buf_extend(&b, 5000));
    room = b.room;
    buf_clear(&b);
    assert_int_equal(b.size, 0);
    assert_int_equal(b.room, room);
    buf_fini(&b);
    assert_null(b.data);
    assert_int_equal(b.room, 0);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_appended_is_there_in_order),
        cmocka_unit_test(growing_doubles),
        cmocka_unit_test(appending_nothing_is_fine),
        cmocka_unit_test(extending_gives_the_new_bytes),
        cmocka_unit_test(after_a_failure_nothing_more_is_appended),
        cmocka_unit_test(an_impossible_size_is_a_failure),
        cmocka_unit_test(clearing_keeps_the_memory_and_fini_does_not),
    };

    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
