/* test_shard_status.c - what a shard says of itself. */
#include "server/shard.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "shard_stage.h"

static struct wire_status_answer ask(void)
{
    struct frame_header h = stage_header(WIRE_STATUS, 0);
    struct wire_status_answer m;

    assert_int_equal(stage_send(draft_frame(&h, NULL, 0)), PS_OK);
    assert_int_equal(wire_status_answer_decode(frame_body(stage.answer->frame),
                                               stage.answer->h.body_bytes,
                                               &stage.arena, &m),
                     PS_OK);
    return m;
}

static void status_tells_what_it_holds(void **state)
{
    struct wire_status_answer m;
    uint32_t seen = 0;

    (void)state;
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    assert_int_equal(stage_push(2, 78, 1), PS_OK);
    m = ask();
    assert_int_equal(m.server, 0);
    assert_int_equal(m.lane, LANE);
    assert_int_equal(m.plan, PLAN);
    assert_int_equal(m.term, 1);
    assert_int_equal(m.has_lease, 1);
    assert_int_equal(m.emptied, 3);
    assert_int_equal(m.n_counters, stats_n);
    for (uint32_t i = 0; i < m.n_counters; i++) {
        assert_string_equal(m.counters[i].name, stats_rows[i].name);
        if (strcmp(m.counters[i].name, "pushes_applied") == 0) {
            assert_int_equal(m.counters[i].value, 2);
        }
    }
    for (uint32_t i = 0; i < m.n_tables; i++) {
        seen |= (uint32_t)1 << m.tables[i].variable;
        if (m.tables[i].variable == WHOLE) {
            assert_int_equal(m.tables[i].rows, 2);
            assert_true(m.tables[i].bytes >= 2 * 8);
        }
    }
    assert_int_equal(seen, 1 << WHOLE | 1 << HALF | 1 << DENSE);
    assert_int_equal(m.unserved, 0);
    assert_string_equal(m.why, "");
}

static void status_tells_that_the_lease_is_over(void **state)
{
    (void)state;
    stage.net.now_us = LEASE_US + 1;
    assert_int_equal(ask().has_lease, 0);
}

static void status_tells_that_an_updater_is_missing(void **state)
{
    struct wire_status_answer m;

    (void)state;
    stage.plan.variables[0].updater = "OfAPluginUpdater";
    stage_part_comes_back(0);
    assert_int_equal(stage_set_plan(), PS_OK);
    m = ask();
    assert_int_equal(m.unserved, 1);
    assert_non_null(strstr(m.why, "--plugin"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(status_tells_what_it_holds),
        STAGED(status_tells_that_the_lease_is_over),
        STAGED(status_tells_that_an_updater_is_missing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
