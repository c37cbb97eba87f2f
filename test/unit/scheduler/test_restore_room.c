/* test_restore_room.c - parts whose rows do not fit where they were given. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "scheduler_stage.h"

/* Server 0 is back with lane 21, of which the plan says that its half of "user"
 * (id 1, or 2 where `other` is) comes from a checkpoint; server 1 lives lane
 * 12. */
static void come_back(uint32_t durability)
{
    struct wire_variable user = stage_variable("user", 8);
    struct ckpt_manifest m;
    struct wire_cluster c;

    stage_close(&stage.a);
    stage_make_root();
    stage.servers = 2;
    stage.has_log = true;
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(5000);
    stage_put_server(0, 11);
    stage_put_server(1, 12);
    stage_pass(500);
    stage_connect(&stage.a);
    user.durability = durability;
    assert_int_equal(stage_declare(&stage.a, &user), PS_OK);
    c = stage_cluster();
    m = (struct ckpt_manifest){.cluster_high = c.id_high,
                               .cluster_low = c.id_low,
                               .cut = 4,
                               .plan = stage_plan().plan};
    (void)stage_checkpoint(&m);
    stage_close(&stage.a);
    stage_open(&stage.a, 300, "sched:2");
    stage_pass(5000);
    stage_put_server(0, 21);
    stage_pass(500);
    assert_int_equal(stage_plan().parts[0].lane, 21);
    assert_int_equal(stage_plan().parts[1].lane, 12);
}

static void say(uint32_t server, uint32_t load_failed)
{
    struct wire_plan w = stage_plan();

    stage_report(server,
                 &(struct wire_shard){.loaded = w.parts[0].since - 1,
                                      .load_failed = load_failed,
                                      .why = "ckpt: the rows do not fit"});
    stage_pass(500);
}

static const char *says(void)
{
    return scheduler_says(stage.a.scheduler);
}

static void they_go_to_a_server_that_has_room(void **state)
{
    struct wire_plan w, before;

    (void)state;
    come_back(PS_MEMORY);
    before = stage_plan();
    say(0, LOAD_GOES_ON); /* whatever else it is */
    assert_int_equal(stage_plan().plan, before.plan);
    say(0, LOAD_NO_ROOM);
    w = stage_plan();
    assert_int_equal(w.plan, before.plan + 1);
    assert_int_equal(w.parts[0].lane, 12);
    assert_int_equal(w.parts[0].since, w.plan);
    assert_int_equal(w.parts[1].lane, 12);
    assert_int_equal(w.parts[1].since, before.parts[1].since);
    assert_int_equal(w.n_loads, 1);
    assert_int_equal(w.loads[0].since, w.plan);
    assert_int_equal(w.loads[0].cut, 4);
}

static void where_nobody_has_they_wait_and_it_is_said(void **state)
{
    struct wire_plan w;

    (void)state;
    come_back(PS_MEMORY);
    say(0, LOAD_NO_ROOM);
    say(1, LOAD_NO_ROOM);
    w = stage_plan();
    assert_int_equal(w.parts[0].lane, 12);
    assert_non_null(strstr(says(), "1 parts are not served: no server has"));
    stage_pass(20000);
    assert_int_equal(stage_plan().plan, w.plan); /* not to and fro */
    /* Server 0 may have some by now: it was not asked for a minute. */
    stage_report(0, &(struct wire_shard){.loaded = w.plan});
    stage_pass(70000);
    w = stage_plan();
    assert_int_equal(w.parts[0].lane, 21);
    assert_string_equal(says(), "runs");
}

static void room_that_appears_is_seen(void **state)
{
    struct wire_plan w;

    (void)state;
    come_back(PS_MEMORY);
    say(0, LOAD_NO_ROOM);
    say(1, LOAD_NO_ROOM);
    w = stage_plan();
    stage_report(1, &(struct wire_shard){.loaded = w.plan});
    stage_pass(500);
    assert_int_equal(stage_plan().plan, w.plan);
    assert_string_equal(says(), "runs");
}

/* They are not where their log is on any other server. */
static void what_is_logged_stays_and_it_is_said(void **state)
{
    struct wire_plan w;

    (void)state;
    come_back(PS_LOG);
    w = stage_plan();
    say(0, LOAD_NO_ROOM);
    assert_int_equal(stage_plan().plan, w.plan);
    assert_non_null(strstr(says(), "1 parts are not served: no server has"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(they_go_to_a_server_that_has_room),
        STAGED(where_nobody_has_they_wait_and_it_is_said),
        STAGED(room_that_appears_is_seen),
        STAGED(what_is_logged_stays_and_it_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
