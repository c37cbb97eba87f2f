/* test_session_submit.c - requests without memory, and ones that cannot be. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "session_stage.h"

enum { TIMES = 400 };

/* Answers whatever comes until all is settled. */
static void serve_all(struct request *r)
{
    for (int i = 0; i < 400 && !request_has_settled(r); i++) {
        struct tape_frame *f = stage_take();

        if (f == NULL) {
            stage_pass(20);
        } else {
            stage_answer(f, PS_OK);
            tape_free(f);
        }
    }
    if (!request_has_settled(r)) {
        char text[256];

        session_waits_for(stage.session, text, sizeof(text));
        fail_msg("%s", text);
    }
}

/* A push and a pull over both lanes, with duplicates. */
static int submit_step(struct request **r, float out[4])
{
    static uint64_t keys[4];
    static const float values[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    struct session_op ops[3];

    keys[0] = draft_key_in(0, MIDDLE, 0);
    keys[1] = draft_key_in(MIDDLE, LIMIT_BUCKETS, 0);
    keys[2] = keys[0];
    keys[3] = draft_key_in(0, MIDDLE, 1);
    ops[0] = stage_push_op(SPLIT, keys, 4, values);
    ops[1] = stage_push_op(WHOLE, keys, 4, values);
    ops[2] = stage_pull_op(SPLIT, keys, 4, out);
    return session_submit(stage.session, ops, 3, r);
}

/* Each allocation of a submit fails in turn. What was refused has left
 * nothing behind: the numbers of what follows have no hole. */
static void a_submit_without_memory_is_refused_whole(void **state)
{
    size_t n_failed = 0;
    uint64_t seq = 0;

    (void)state;
    for (uint64_t n = 1; n < TIMES; n++) {
        struct request *r = NULL;
        float out[4] = {0};
        int rc;

        mem_fail_at(n);
        rc = submit_step(&r, out);
        mem_fail_at(0);
        if (rc != PS_OK) {
            assert_int_equal(rc, PS_ENOMEM);
            n_failed++;
            stage_expect_silence();
            continue;
        }
        serve_all(r);
        assert_int_equal(request_status(r), PS_OK);
        seq++;
        assert_int_equal(request_frame(r, 0)->seq, seq);
        assert_true(out[0] == out[2] && out[0] > 0);
        request_free(r);
        if (n > n_failed + 3) {
            break; /* no more allocations to fail */
        }
    }
    assert_true(n_failed > 5);
}

/* The same for all that follows: connecting, opening the session, sending,
 * answers. Everything ends well once there is memory again. */
static void whatever_fails_for_want_of_memory_is_made_up_for(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < TIMES; n++) {
        struct request *r = NULL;
        float out[4] = {0};

        assert_int_equal(submit_step(&r, out), PS_OK);
        if (n % 10 == 0 && tape_connected(&stage.net, "a:1") != 0) {
            stage_cut_connection("a:1");
        }
        stage.net.now_us += 700 * MS;
        for (uint64_t k = 0; k < 8; k++) {
            mem_fail_at(n % 40 + 1);
            if (session_next(stage.session) <= stage.net.now_us) {
                session_tick(stage.session);
            }
            mem_fail_at(0);
            stage_run();
        }
        serve_all(r);
        assert_int_equal(request_status(r), PS_OK);
        assert_true(out[0] == out[2] && out[0] > 0);
        request_free(r);
        /* The tape has room for so many connections only. */
        if (stage.net.n_connects > TAPE_CONNECTS_MAX - 10) {
            break;
        }
    }
}

static void a_plan_without_memory_for_it_is_read_again(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 40; n++) {
        struct request *r = stage_push(n, 1);
        struct tape_frame *f = stage_take_run(A, n);

        stage.plan.w.plan++;
        stage_put_plan();
        mem_fail_at(n);
        stage.net.now_us += 100 * MS;
        (void)shelf_do_key(&stage.shelf, "plan");
        mem_fail_at(0);
        stage_pass(500);
        assert_int_equal(session_plan(stage.session)->w.plan,
                         stage.plan.w.plan);
        stage_answer(f, PS_OK);
        tape_free(f);
        stage_done(r, PS_OK);
    }
}

static void a_request_that_cannot_be_is_refused(void **state)
{
    const uint64_t key = 3;
    const float values[] = {1, 1};
    float out[2];
    struct session_op op = stage_push_op(WHOLE, &key, 1, values);
    struct request *r = NULL;

    (void)state;
    op.updater.name = "NoSuchUpdater";
    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_OK);
    stage_expect_silence();
    stage_done(r, PS_ENOUDF);
    op = stage_pull_op(WHOLE, &key, 1, out);
    op.kind = 77;
    assert_true(session_submit(stage.session, &op, 1, &r) < 0);
    stage_expect_silence();
}

static void an_unknown_variable_is_not_found(void **state)
{
    const uint64_t key = 3;
    const float values[] = {1, 1};
    struct session_op op = stage_push_op(WHOLE, &key, 1, values);
    struct request *r = NULL;
    int rc;

    (void)state;
    op.variable.id = 99;
    rc = session_submit(stage.session, &op, 1, &r);
    if (rc == PS_OK) {
        stage_done(r, PS_ENOTFOUND);
    } else {
        assert_int_equal(rc, PS_ENOTFOUND);
    }
    stage_expect_silence();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(a_submit_without_memory_is_refused_whole),
        STAGED(whatever_fails_for_want_of_memory_is_made_up_for),
        STAGED(a_plan_without_memory_for_it_is_read_again),
        STAGED(a_request_that_cannot_be_is_refused),
        STAGED(an_unknown_variable_is_not_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
