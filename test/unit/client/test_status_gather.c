/* test_status_gather.c - what `ps-plus status` says, for people and programs,
 * of a cluster of which much is not served: the store is made by hand, and one
 * loop answers for all shards but the silent one. */
#include "client/status.h"

#include <jansson.h>
#include <stdio.h>

#include "store_stage.h"

/* What each shard answers. */
static const struct wire_counter counters[] = {
    {"pulls", 10}, {"pushes_applied", 4}, {"repeats_suppressed", 1}};
static const struct wire_table tables[] = {{1, 5, 400}, {2, 3, 60}};

#define COUNTED                                                                \
    .counters = counters, .n_counters = ARRAY_LEN(counters), .tables = tables, \
    .n_tables = ARRAY_LEN(tables)

static const struct wire_status_answer answers[] = {
    {.lane = 11, .plan = 9, .has_lease = 1, .sessions = 2, .why = "", COUNTED},
    {.lane = 12,
     .plan = 9,
     .has_lease = 1,
     .unserved = 3,
     .why = "ckpt-000000000004-1: its rows are over the memory limit",
     COUNTED},
    {.lane = 13, .plan = 8, .emptied = 2, .unserved = 1, .why = "", COUNTED},
};

static json_t *root;
static struct buf text;

static void on_frame(uint64_t connection, const struct frame_header *h)
{
    struct buf b;

    buf_init(&b);
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        if (answers[i].lane == h->lane) {
            wire_status_answer_encode(&answers[i], &b);
        }
    }
    store_stage_answer(connection, h, PS_OK, &b);
    buf_fini(&b);
}

/* Of four servers the first has two shards, of which one cannot load; the
 * second has one that loads, without a lease, and one that is silent; the third
 * has died and is away; the last was never there. */
static void put_plan(const char *address)
{
    const struct wire_load load = {.variable = 1,
                                   .since = 8,
                                   .folder = "ckpt-000000000004-1",
                                   .cut = 4,
                                   .name = ""};
    struct draft d;

    draft_init(&d, 9);
    d.w.term = 3;
    d.w.servers = 4;
    d.w.checkpoints = "file:///ckpts";
    d.w.loads = &load;
    d.w.n_loads = 1;
    draft_variable(&d, "user", PS_HASH64, 0, 4);
    draft_variable(&d, "bias", PS_DENSE, 100, 1);
    draft_lane(&d, 11, 0, 0, address);
    draft_lane(&d, 12, 0, 1, address);
    draft_lane(&d, 13, 1, 0, address);
    draft_lane(&d, 14, 1, 1, "127.0.0.1:1");
    draft_lane(&d, 15, 2, 0, address);
    draft_part(&d, 1, 0, 16384, 11, 2);
    draft_part(&d, 1, 16384, 32768, 12, 2);
    draft_part(&d, 1, 32768, 49152, 13, 8);
    draft_part(&d, 1, 49152, 65536, 15, 2);
    draft_part(&d, 2, 0, 65536, 15, 2);
    draft_end_lane(&d, 15, 9);
    draft_encode(&d, &store_stage.record);
    store_stage_put("plan");
}

static void put_save(void)
{
    const struct wire_save w = {.ticket = 6,
                                .cut = 7,
                                .state = SAVE_FAILED,
                                .name = "monday",
                                .folder = "ckpt-000000000007-3",
                                .why = "lane 13 has ended",
                                .rows = 90,
                                .rows_done = 40};

    buf_clear(&store_stage.record);
    wire_save_encode(&w, &store_stage.record);
    store_stage_put("save");
}

static int set_up(void **state)
{
    struct status *s = NULL;
    ps_client *client;
    struct buf json;

    (void)state;
    if (store_stage_begin(on_frame) != 0) {
        return -1;
    }
    put_plan(store_stage.address);
    put_save();
    client = store_stage_open(-1);
    assert_int_equal(status_gather(client, 10000, &s, NULL), PS_OK);
    buf_init(&json);
    buf_init(&text);
    status_json(s, &json);
    status_table(s, &text);
    status_free(s);
    assert_false(json.failed);
    root = json_loadb((const char *)json.data, json.size, 0, NULL);
    assert_non_null(root);
    assert_int_equal(buf_append(&text, "", 1), PS_OK);
    buf_fini(&json);
    assert_int_equal(ps_close(client, 1000), PS_OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(root);
    buf_fini(&text);
    return store_stage_end();
}

static const json_t *server(size_t i)
{
    return json_array_get(json_object_get(root, "servers"), i);
}

static const json_t *shard(size_t i, size_t k)
{
    return json_array_get(json_object_get(server(i), "shards"), k);
}

static void check_text(const json_t *object, const char *name,
                       const char *wanted)
{
    const char *found = json_string_value(json_object_get(object, name));

    assert_non_null(found);
    assert_string_equal(found, wanted);
}

static void check_number(const json_t *object, const char *name,
                         json_int_t wanted)
{
    const json_t *found = json_object_get(object, name);

    assert_true(json_is_integer(found));
    assert_int_equal(json_integer_value(found), wanted);
}

/* Whether a whole line of the text is this one. */
static bool has_line(const char *line)
{
    const char *at = (const char *)text.data;
    size_t size = strlen(line);

    while ((at = strstr(at, line)) != NULL) {
        if ((at == (const char *)text.data || at[-1] == '\n') &&
            at[size] == '\n') {
            return true;
        }
        at += size;
    }
    return false;
}

static void each_part_that_is_not_served_is_told_with_the_reason(void **state)
{
    const char *at = (const char *)text.data;
    size_t n = 0;

    (void)state;
    assert_true(has_line("2 parts are not served: they wait for server 2, or "
                         "for room on another one"));
    assert_true(has_line("3 parts are not served by server 0 shard 1: "
                         "ckpt-000000000004-1: its rows are over the memory "
                         "limit"));
    assert_true(has_line("1 parts are not served by server 1 shard 0: they "
                         "are being loaded"));
    while ((at = strstr(at, "not served")) != NULL) {
        at++;
        n++;
    }
    assert_int_equal(n, 3); /* and of the others nothing is said */
}

static void programs_are_told_the_same(void **state)
{
    (void)state;
    check_number(server(2), "waiting", 2);
    check_number(server(0), "waiting", 0);
    check_number(shard(0, 0), "unserved", 0);
    check_text(shard(0, 0), "why", "");
    check_number(shard(0, 1), "unserved", 3);
    check_text(shard(0, 1), "why",
               "ckpt-000000000004-1: its rows are over the memory limit");
    check_number(shard(1, 0), "unserved", 1);
    check_text(shard(1, 0), "why", "");
    assert_null(json_object_get(shard(1, 1), "unserved")); /* who knows? */
}

static void servers_are_as_good_as_their_shards(void **state)
{
    const char *states[] = {"serving", "degraded", "missing", "missing"};

    (void)state;
    assert_int_equal(json_array_size(json_object_get(root, "servers")), 4);
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        check_number(server(i), "id", (json_int_t)i);
        check_text(server(i), "state", states[i]);
    }
    check_text(shard(0, 0), "state", "serving");
    check_text(shard(1, 0), "state", "without a lease");
    check_text(shard(1, 1), "state", "silent");
    check_number(server(1), "emptied", 2);
    check_text(server(1), "from", "ckpt-000000000004-1");
    check_text(server(0), "from", "");
    assert_non_null(strstr((const char *)text.data,
                           "without a lease (came back 2 times, from "
                           "ckpt-000000000004-1)\n"));
    assert_true(has_line("3      -     -                     -               -"
                         "            -            -  missing"));
}

static void sums_and_the_last_save_are_told(void **state)
{
    const json_t *save = json_object_get(root, "save");
    const json_t *v = json_array_get(json_object_get(root, "variables"), 0);

    (void)state;
    assert_true(has_line("term 3, plan 9, 4 servers wanted"));
    assert_true(has_line("checkpoints file:///ckpts"));
    assert_true(has_line("last save ckpt-000000000007-3 \"monday\": failed, 40 "
                         "of 90 rows: lane 13 has ended"));
    /* Three shards have answered. */
    assert_true(has_line("pulls 30, pushes applied 12, repeats suppressed 3, "
                         "rows 24, bytes 1380"));
    check_text(v, "name", "user");
    check_number(v, "rows", 15);
    check_number(v, "bytes", 1200);
    check_number(v, "parts", 4);
    check_text(save, "state", "failed");
    check_text(save, "why", "lane 13 has ended");
    check_number(save, "rows_done", 40);
    check_number(json_object_get(root, "totals"), "pushes_applied", 12);
}

int main(void)
{
    /* One look for all: a silent shard is waited for. */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_part_that_is_not_served_is_told_with_the_reason),
        cmocka_unit_test(programs_are_told_the_same),
        cmocka_unit_test(servers_are_as_good_as_their_shards),
        cmocka_unit_test(sums_and_the_last_save_are_told),
    };

    return cmocka_run_group_tests_name("status_gather", tests, set_up,
                                       tear_down);
}
