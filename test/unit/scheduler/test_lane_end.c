/* test_lane_end.c - when an ended lane is forgotten: each reason to keep it,
 * alone. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "lib/tape.h"
#include "plan/plan.h"
#include "scheduler/lane_end.h"
#include "scheduler/restore.h"
#include "scheduler/save.h"

/* Lane 3 of server 0 has ended by plan 5, when the newest cut was 4; lane 6 of
 * the same server has ended since, and 9 lives. */
enum {
    SPAN = 1000000, /* microseconds */
    OLD = 3,
    LATER = 6,
    LIVE = 9,
    ENDED_BY = 5,
    CUT = 4
};

static struct {
    struct scheduler s;
    struct save save;
    struct restore restore;
    struct plan plan;
    struct tape net;
    struct disk *disk; /* which is only there or not */
    struct wire_ended ended[2];
    struct wire_variable variable;
    struct wire_part part;
} stage;

/* What a session says. */
static void put_guest(uint64_t session, uint64_t settled)
{
    struct guest *g = map_get(&stage.s.guests, session);

    if (g == NULL) {
        g = mem_try_zero(sizeof(*g));
        assert_non_null(g);
        assert_int_equal(map_put(&stage.s.guests, session, g), PS_OK);
    }
    g->session = session;
    g->settled = settled;
}

static void remove_guest(uint64_t session, uint64_t settled)
{
    mem_free(map_take(&stage.s.guests, session));
    lane_end_on_session(&stage.s, settled);
}

static void pass(uint64_t us)
{
    stage.net.now_us += us;
    lane_end_tick(&stage.s);
}

static bool is_over(void)
{
    return lane_end_is_over(&stage.s, &stage.plan.w, 0);
}

static int set_up(void **state)
{
    struct wire_plan *w = &stage.plan.w;

    (void)state;
    memset(&stage, 0, sizeof(stage));
    tape_init(&stage.net);
    map_init(&stage.s.guests);
    stage.s.net = &stage.net.net;
    stage.s.save = &stage.save;
    stage.s.restore = &stage.restore;
    stage.s.plan = &stage.plan;
    stage.s.options.ended_session_ms = SPAN / 1000;
    stage.s.disk = (struct disk *)&stage.disk;
    stage.save.oldest = CUT + 1;
    stage.save.oldest_of_two = CUT + 1;
    stage.ended[0] = (struct wire_ended){
        .lane = OLD, .server = 0, .plan = ENDED_BY, .cut = CUT};
    stage.ended[1] = (struct wire_ended){
        .lane = LATER, .server = 0, .plan = ENDED_BY + 1, .cut = CUT};
    stage.variable = (struct wire_variable){.id = 1, .name = "v"};
    stage.part =
        (struct wire_part){.variable = 1, .end = LIMIT_BUCKETS, .lane = LIVE};
    w->plan = ENDED_BY + 1;
    w->ended = stage.ended;
    w->n_ended = 2;
    w->variables = &stage.variable;
    w->n_variables = 1;
    w->parts = &stage.part;
    w->n_parts = 1;
    put_guest(70, ENDED_BY);
    lane_end_start(&stage.s);
    return 0;
}

static int tear_down(void **state)
{
    struct guest *g;
    size_t i = 0;

    (void)state;
    while ((g = map_next(&stage.s.guests, &i)) != NULL) {
        mem_free(g);
    }
    map_fini(&stage.s.guests);
    tape_fini(&stage.net);
    return 0;
}

static void a_lane_goes_when_nobody_asks_of_it_any_more(void **state)
{
    (void)state;
    pass(SPAN);
    assert_true(is_over());
    /* The last one of its server says that the server was there. */
    put_guest(70, ENDED_BY + 1);
    assert_false(lane_end_is_over(&stage.s, &stage.plan.w, 1));
    stage.ended[1].server = 1;
    assert_false(is_over());
}

static void an_open_session_that_may_ask_keeps_it(void **state)
{
    (void)state;
    pass(SPAN);
    put_guest(71, ENDED_BY - 1);
    assert_false(is_over());
    put_guest(71, ENDED_BY);
    assert_true(is_over());
}

static void a_part_that_waits_on_it_keeps_it(void **state)
{
    (void)state;
    pass(SPAN);
    stage.part.lane = OLD;
    assert_false(is_over());
}

static void a_checkpoint_begun_before_its_end_keeps_it(void **state)
{
    (void)state;
    pass(SPAN);
    stage.save.oldest = CUT;
    assert_false(is_over());
    stage.save.oldest = 0; /* not known */
    assert_false(is_over());
    stage.s.disk = NULL; /* there are none: nothing of it can come back */
    assert_true(is_over());
    stage.save.oldest_of_two = 0;
    stage.variable.durability = PS_LOG; /* but from its log */
    assert_false(is_over());
}

/* That one's parts are of no such checkpoint yet. */
static void a_later_end_on_its_server_keeps_what_is_logged(void **state)
{
    (void)state;
    pass(SPAN);
    stage.ended[1].cut = CUT + 1;
    assert_true(is_over());
    stage.variable.durability = PS_LOG;
    assert_false(is_over());
    stage.save.oldest = CUT + 2; /* and is the only one that is whole */
    assert_false(is_over());
    stage.save.oldest_of_two = CUT + 2;
    assert_true(is_over());
}

/* It may have had sessions, which ended before this scheduler came. */
static void a_new_scheduler_forgets_nothing_for_a_span(void **state)
{
    (void)state;
    assert_false(is_over());
    pass(SPAN - 1);
    assert_false(is_over());
    pass(1);
    assert_true(is_over());
    lane_end_start(&stage.s); /* it comes back after another one */
    assert_false(is_over());
    pass(SPAN);
    assert_true(is_over());
}

static void
a_session_that_ended_without_a_word_keeps_it_for_a_span(void **state)
{
    (void)state;
    pass(SPAN);
    put_guest(71, ENDED_BY - 1);
    pass(SPAN / 2);
    remove_guest(71, ENDED_BY - 1);
    assert_false(is_over());
    pass(SPAN / 2);
    assert_false(is_over());
    pass(SPAN / 2); /* a span after its end */
    assert_false(is_over());
    pass(SPAN / 2);
    assert_true(is_over());
    /* One that had said so keeps nothing. */
    put_guest(71, ENDED_BY);
    remove_guest(71, ENDED_BY);
    assert_true(is_over());
}

static void a_lane_that_ends_now_stays_for_a_span(void **state)
{
    (void)state;
    pass(SPAN);
    pass(SPAN / 2);
    stage.ended[0].plan = ++stage.plan.w.plan;
    put_guest(70, stage.plan.w.plan);
    assert_false(is_over());
    pass(SPAN / 2);
    assert_false(is_over());
    pass(SPAN / 2); /* a span after its end */
    assert_false(is_over());
    pass(SPAN / 2);
    assert_true(is_over());
}

/* Of a lane that ends now: all checkpoints of later cuts were begun after. */
static void what_ends_has_the_newest_cut_that_may_have_been_begun(void **state)
{
    (void)state;
    stage.save.phase = SAVE_PHASE_UNREAD;
    assert_int_equal(lane_end_cut(&stage.s), UINT64_MAX);
    stage.save.phase = SAVE_PHASE_IDLE; /* there never was a save */
    assert_int_equal(lane_end_cut(&stage.s), 1);
    stage.save.cut = 7;
    assert_int_equal(lane_end_cut(&stage.s), 7);
    stage.restore.marks.cut = 12; /* a checkpoint that was looked at has it */
    assert_int_equal(lane_end_cut(&stage.s), 12);
}

#define STAGED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(a_lane_goes_when_nobody_asks_of_it_any_more),
        STAGED(an_open_session_that_may_ask_keeps_it),
        STAGED(a_part_that_waits_on_it_keeps_it),
        STAGED(a_checkpoint_begun_before_its_end_keeps_it),
        STAGED(a_later_end_on_its_server_keeps_what_is_logged),
        STAGED(a_new_scheduler_forgets_nothing_for_a_span),
        STAGED(a_session_that_ended_without_a_word_keeps_it_for_a_span),
        STAGED(a_lane_that_ends_now_stays_for_a_span),
        STAGED(what_ends_has_the_newest_cut_that_may_have_been_begun),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
