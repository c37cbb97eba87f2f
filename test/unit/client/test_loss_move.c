/* test_loss_move.c - what a client is told to be lost of parts that have gone
 * from one lane to another. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "session_stage.h"

static const char folder[] = "move-000000000006-1-0000000000000001";

static void push(uint64_t seq)
{
    struct request *r = stage_push(seq, 1);

    stage_serve(A, seq, PS_OK);
    stage_done(r, PS_OK);
}

/* The parts of `variable` that `from` has go to `to`, out of that folder. */
static void move(uint32_t variable, uint64_t from, uint64_t to)
{
    static struct wire_load load;

    stage.plan.w.plan++;
    load = (struct wire_load){.variable = variable,
                              .since = stage.plan.w.plan,
                              .folder = folder,
                              .name = "",
                              .brings_lanes = 1};
    for (uint32_t i = 0; i < stage.plan.w.n_parts; i++) {
        struct wire_part *p = &stage.plan.parts[i];

        if (p->variable == variable && p->lane == from) {
            p->lane = to;
            p->since = stage.plan.w.plan;
        }
    }
    stage.plan.w.loads = &load;
    stage.plan.w.n_loads = 1;
    stage_put_plan();
    stage_pass(200);
}

/* Lane B ends, and its parts begin with nothing. */
static void end_lane_b(void)
{
    stage.plan.w.plan++;
    draft_end_lane(&stage.plan, B, stage.plan.w.plan);
    draft_lane(&stage.plan, 9, 1, 0, "b:1");
    for (uint32_t i = 0; i < stage.plan.w.n_parts; i++) {
        if (stage.plan.parts[i].lane == B) {
            stage.plan.parts[i].lane = 9;
            stage.plan.parts[i].since = stage.plan.w.plan;
        }
    }
    stage.plan.w.n_loads = 0;
    stage.kept_below = 0;
    stage_put_plan();
    stage_pass(200);
}

/* The copy that went with the part has number 1; 2 and 3 the lane acknowledged
 * of other parts before the client knew. */
static void a_part_that_goes_loses_nothing(void **state)
{
    (void)state;
    push(1);
    push(2);
    push(3);
    stage.kept_below = 2;
    move(SPLIT, A, B);
    assert_int_equal(stage.n_losses, 0);
}

static void what_went_with_it_may_be_lost_by_who_has_it(void **state)
{
    a_part_that_goes_loses_nothing(state);
    end_lane_b();
    assert_int_equal(stage.n_losses, 1);
    assert_int_equal(stage.losses[0].lane, A);
    assert_int_equal(stage.losses[0].first, 1);
    assert_int_equal(stage.losses[0].last, 1);
    assert_string_equal(stage.losses[0].variable, "split");
    assert_int_equal(stage.losses[0].begin, 0);
    assert_int_equal(stage.losses[0].end, MIDDLE);
}

/* What the lane gave before is of other parts alone: who pushed that again
 * would do it twice. */
static void a_part_that_comes_loses_what_came_after_it(void **state)
{
    uint32_t n = 0;

    (void)state;
    push(1);
    push(2);
    push(3);
    move(SPLIT, B, A);
    push(4);
    stage_end_lane_a();
    stage_pass(200);
    for (uint32_t i = 0; i < stage.n_losses; i++) {
        const struct ps_loss *l = &stage.losses[i];
        bool came = l->begin == MIDDLE;

        n += came;
        assert_int_equal(l->first, came ? 4 : 1);
        assert_int_equal(l->last, 4);
    }
    assert_int_equal(n, 1);
    assert_int_equal(stage.n_losses, 4);
}

/* Numbers 1 and 4 of it; 2 and 3 the lane gave while it was away. */
static void a_part_that_comes_back_has_what_it_had(void **state)
{
    uint64_t n = 0;

    (void)state;
    push(1);
    stage.kept_below = 2;
    move(SPLIT, A, B);
    push(2);
    push(3);
    stage.kept_below = UINT64_MAX;
    move(SPLIT, B, A);
    push(4);
    stage.kept_below = 0;
    stage.plan.w.n_loads = 0;
    stage_end_lane_a();
    stage_pass(200);
    for (uint32_t i = 0; i < stage.n_losses; i++) {
        const struct ps_loss *l = &stage.losses[i];

        if (strcmp(l->variable, "split") == 0 && l->begin == 0) {
            assert_int_equal(l->first, n == 0 ? 1 : 4);
            assert_int_equal(l->last, l->first);
            n++;
        }
    }
    assert_int_equal(n, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(a_part_that_goes_loses_nothing),
        STAGED(what_went_with_it_may_be_lost_by_who_has_it),
        STAGED(a_part_that_comes_loses_what_came_after_it),
        STAGED(a_part_that_comes_back_has_what_it_had),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
