/* test_anew.c - the store's folder is removed and made again. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "client/session.h"
#include "session_stage.h"

static void check_is_over(struct request *pending, struct request *declared)
{
    const float one[2] = {1, 1};
    const uint64_t key = 77;
    struct session_op op = stage_push_op(WHOLE, &key, 1, one);
    struct request *r;

    stage_done(pending, PS_ECLOSED);
    stage_done(declared, PS_ECLOSED);
    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_ECLOSED);
    assert_int_equal(session_drop(stage.session, "x", &r), PS_ECLOSED);
    stage_pass(3000);
    stage_expect_silence();
}

static void another_cluster_ends_the_session(void **state)
{
    struct request *pushed = stage_push(77, 1);
    struct request *dropped;

    (void)state;
    tape_free(stage_take_run(A, 1));
    assert_int_equal(session_drop(stage.session, "x", &dropped), PS_OK);
    stage.plan.w.cluster_low = 9;
    stage_put_plan();
    stage_pass(1000);
    check_is_over(pushed, dropped);
}

/* It began with a checkpoint of ours, so it has our id. */
static void a_new_life_of_the_cluster_does_too(void **state)
{
    struct request *pushed, *dropped;
    uint64_t version;

    (void)state;
    stage.plan.w.plan++;
    stage_put_plan();
    stage_pass(1000);
    version = shelf_get(&stage.shelf, "plan");
    pushed = stage_push(77, 1);
    tape_free(stage_take_run(A, 1));
    assert_int_equal(session_drop(stage.session, "x", &dropped), PS_OK);
    assert_int_equal(fs_remove_tree(stage.fs, "/run/ps/plan", NULL), PS_OK);
    stage.plan.w.restore++;
    stage_put_plan();
    assert_true(shelf_get(&stage.shelf, "plan") < version);
    stage_pass(1000);
    check_is_over(pushed, dropped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(another_cluster_ends_the_session),
        STAGED(a_new_life_of_the_cluster_does_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
