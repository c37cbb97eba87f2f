/* test_wire_print.c - messages as text. */
#include "wire/wire.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"

static void fields_are_printed_by_name(void **state)
{
    struct wire_part m = {.variable = 1,
                          .begin = 0,
                          .end = 32768,
                          .lane = UINT64_MAX,
                          .since = 3};
    struct buf b;

    (void)state;
    buf_init(&b);
    wire_part_print(&m, &b);
    assert_string_equal(b.data, "variable=1 begin=0 end=32768 "
                                "lane=18446744073709551615 since=3");
    assert_int_equal(b.size, strlen((const char *)b.data));
    buf_fini(&b);
}

static void arrays_texts_and_bytes_are_printed(void **state)
{
    struct wire_ended ended[] = {{7, 1, 2, 3, 9}, {8, 0, 0, 4, 0}};
    struct wire_plan p = {.ended = ended, .n_ended = 2};
    struct wire_shard shards[] = {{.lane = 8, .address = "say \"\\\""}};
    struct wire_server s = {.id = 1, .shards = shards, .n_shards = 1};
    struct wire_lease l = {.nonce = 4, .body = {(const uint8_t *)"ab", 2}};
    struct wire_sessions none = {.nonce = 1};
    struct buf b;

    (void)state;
    buf_init(&b);
    wire_server_print(&s, &b);
    assert_string_equal(b.data,
                        "id=1 incarnation=0 sessions_seen=0 plan_seen=0 "
                        "emptied=0 shards=[{lane=8 "
                        "address=\"say \\\"\\\\\\\"\" cut=0 saved=0 "
                        "rows=0 rows_done=0 index_bytes=0 index_checksum=0 "
                        "loaded=0 loaded_unlogged=0 load_failed=0 "
                        "why=\"\" moved=0 "
                        "moved_state=0 moved_rows=0 moved_done=0 "
                        "moved_steps=0}] has_log=0");
    buf_clear(&b);
    wire_plan_print(&p, &b);
    assert_non_null(strstr((const char *)b.data,
                           "ended=[{lane=7 server=1 shard=2 plan=3 cut=9} "
                           "{lane=8 server=0 shard=0 plan=4 cut=0}]"));
    buf_clear(&b);
    wire_lease_print(&l, &b);
    assert_string_equal(b.data, "nonce=4 renewal=0 state=0 body=<2 bytes>");
    buf_clear(&b);
    wire_sessions_print(&none, &b);
    assert_string_equal(b.data, "nonce=1 cut=0 next=0 open=[]");
    buf_fini(&b);
}

static void printing_appends_to_what_is_there(void **state)
{
    struct wire_drop m = {.name = NULL};
    struct buf b;

    (void)state;
    buf_init(&b);
    assert_int_equal(buf_append(&b, "drop ", 5), PS_OK);
    wire_drop_print(&m, &b);
    assert_string_equal(b.data, "drop name=\"\"");
    buf_fini(&b);
}

static void doubles_are_printed_short(void **state)
{
    struct wire_variable m = {.init_a = 0.05, .init_b = -2};
    struct buf b;

    (void)state;
    buf_init(&b);
    wire_variable_print(&m, &b);
    assert_non_null(strstr((const char *)b.data, " init_a=0.05 init_b=-2 "));
    buf_fini(&b);
}

static void without_memory_the_buffer_says_so(void **state)
{
    struct wire_drop m = {.name = "x"};
    struct buf b;

    (void)state;
    buf_init(&b);
    mem_fail_at(1);
    wire_drop_print(&m, &b);
    mem_fail_at(0);
    assert_true(b.failed);
    assert_int_equal(b.size, 0);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_printed_by_name),
        cmocka_unit_test(arrays_texts_and_bytes_are_printed),
        cmocka_unit_test(printing_appends_to_what_is_there),
        cmocka_unit_test(doubles_are_printed_short),
        cmocka_unit_test(without_memory_the_buffer_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
