/* test_restored.c - where a worker that begins anew goes on: ps_restored, by
 * what the store says of the readers. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "coord/lease.h"
#include "store_stage.h"

enum { CUT = 4, LARGE = 65000 };

static ps_client *client;
static atomic_bool knows; /* the scheduler, what the cluster comes back from */

static void on_frame(uint64_t connection, const struct frame_header *h)
{
    const struct wire_text why = {.text = "it looks"};
    struct buf b;

    buf_init(&b);
    wire_text_encode(&why, &b);
    store_stage_answer(connection, h,
                       h->type == WIRE_READERS && knows ? PS_OK : PS_ENOTREADY,
                       &b);
    buf_fini(&b);
}

static void put_readers(uint64_t cut, const char *of_three)
{
    /* By the worker's number plus one; 0: it has none. */
    const struct wire_reader readers[] = {
        {.session = 40,
         .worker = 0,
         .position = {(const uint8_t *)"x", 1},
         .size = 1},
        {.session = 41,
         .worker = 4,
         .position = {(const uint8_t *)of_three, (uint32_t)strlen(of_three)},
         .size = strlen(of_three)},
        {.session = 42, .worker = 6, .position = {NULL, 0}, .size = 0},
        {.session = 43, .worker = 7, .position = {NULL, 0}, .size = LARGE}};
    const struct wire_restored w = {.cut = cut,
                                    .folder = "ckpt-000000000004-1",
                                    .readers = readers,
                                    .n_readers = ARRAY_LEN(readers)};

    buf_clear(&store_stage.record);
    wire_restored_encode(&w, &store_stage.record);
    store_stage_put("readers");
}

static int set_up(void **state)
{
    struct wire_scheduler scheduler = {.address = store_stage.address};
    struct draft plan;
    struct buf body;

    (void)state;
    knows = true;
    if (store_stage_begin(on_frame) != 0) {
        return -1;
    }
    draft_init(&plan, 1);
    draft_encode(&plan, &store_stage.record);
    store_stage_put("plan");
    buf_init(&body);
    wire_scheduler_encode(&scheduler, &body);
    draft_lease(&store_stage.record, 1, 1, LEASE_TAKEN, &body);
    store_stage_put("scheduler");
    buf_fini(&body);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return store_stage_end();
}

static int restored_as(int worker, void *position, size_t *size, uint64_t *cut,
                       struct ps_error *e)
{
    int rc;

    client = store_stage_open(worker);
    rc = ps_restored(client, position, size, cut, 0, e);
    assert_int_equal(ps_close(client, 1000), PS_OK);
    return rc;
}

static void a_worker_is_told_where_its_reader_stood(void **state)
{
    char position[8] = "";
    size_t size = sizeof(position);
    uint64_t cut = 0;

    (void)state;
    put_readers(CUT, "line 90");
    assert_int_equal(restored_as(3, position, &size, &cut, NULL), PS_OK);
    assert_int_equal(size, 7);
    assert_memory_equal(position, "line 90", 7);
    assert_int_equal(cut, CUT);
    size = sizeof(position); /* it stood at nothing, which is an answer */
    assert_int_equal(restored_as(5, position, &size, NULL, NULL), PS_OK);
    assert_int_equal(size, 0);
}

static void too_small_a_room_is_told_what_there_is(void **state)
{
    char position[7] = "------";
    struct ps_error e = {0};
    size_t size = 6;

    (void)state;
    put_readers(CUT, "line 90");
    client = store_stage_open(3);
    assert_int_equal(ps_restored(client, position, &size, NULL, 0, &e),
                     PS_EINDEX);
    assert_int_equal(size, 7);
    assert_string_equal(e.text, "the position has 7 bytes");
    assert_string_equal(position, "------");
    assert_int_equal(ps_restored(client, position, &size, NULL, 0, &e), PS_OK);
    assert_memory_equal(position, "line 90", 7);
    size = 0;
    assert_int_equal(ps_restored(client, NULL, &size, NULL, 0, &e), PS_EINDEX);
    assert_int_equal(size, 7);
    size = 1;
    assert_int_equal(ps_restored(client, NULL, &size, NULL, 0, &e),
                     PS_EARGUMENT);
    assert_int_equal(ps_close(client, 1000), PS_OK);
}

static void a_position_that_the_store_had_no_room_for_is_told_so(void **state)
{
    char *position = calloc(1, 2 * LARGE);
    struct ps_error e = {0};
    uint64_t cut = 0;

    (void)state;
    assert_non_null(position);
    put_readers(CUT, "line 90");
    for (size_t room = 0; room <= 2 * LARGE; room += LARGE) {
        size_t size = room;

        assert_int_equal(restored_as(6, position, &size, &cut, &e), PS_ELIMIT);
        assert_int_equal(size, LARGE);
        assert_int_equal(cut, CUT);
        assert_non_null(strstr(e.text, "manifest"));
    }
    free(position);
}

static void who_is_not_in_it_begins_at_the_beginning(void **state)
{
    char position[8];
    size_t size = sizeof(position);
    uint64_t cut = 0;

    (void)state;
    /* There is no checkpoint. */
    assert_int_equal(restored_as(3, position, &size, &cut, NULL), PS_ENOTFOUND);
    put_readers(CUT, "line 90");
    assert_int_equal(restored_as(4, position, &size, &cut, NULL), PS_ENOTFOUND);
    /* One without a number is nobody's successor. */
    assert_int_equal(restored_as(-1, position, &size, &cut, NULL),
                     PS_ENOTFOUND);
}

static void what_was_restored_since_is_told_instead(void **state)
{
    char position[8];
    size_t size = sizeof(position);
    uint64_t cut = 0;

    (void)state;
    put_readers(CUT, "line 90");
    client = store_stage_open(3);
    assert_int_equal(ps_restored(client, position, &size, &cut, 0, NULL),
                     PS_OK);
    put_readers(2, "line 4");
    size = sizeof(position);
    assert_int_equal(ps_restored(client, position, &size, &cut, 0, NULL),
                     PS_OK);
    assert_int_equal(size, 6);
    assert_memory_equal(position, "line 4", 6);
    assert_int_equal(cut, 2);
    assert_int_equal(ps_close(client, 1000), PS_OK);
}

/* A worker that comes before the scheduler knows better is not told of what was
 * before. */
static void until_the_scheduler_knows_nothing_is_told(void **state)
{
    char position[8];
    size_t size = sizeof(position);
    struct ps_error e = {0};

    (void)state;
    put_readers(CUT, "line 90");
    knows = false;
    client = store_stage_open(3);
    assert_int_equal(ps_restored(client, position, &size, NULL, 400, &e),
                     PS_ETIMEOUT);
    assert_non_null(strstr(e.text, "it looks"));
    knows = true;
    assert_int_equal(ps_restored(client, position, &size, NULL, 0, &e), PS_OK);
    assert_memory_equal(position, "line 90", 7);
    assert_int_equal(ps_close(client, 1000), PS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_worker_is_told_where_its_reader_stood,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_small_a_room_is_told_what_there_is,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_position_that_the_store_had_no_room_for_is_told_so, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(
            who_is_not_in_it_begins_at_the_beginning, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_restored_since_is_told_instead,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            until_the_scheduler_knows_nothing_is_told, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("restored", tests, NULL, NULL);
}
