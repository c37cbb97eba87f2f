/* test_session_submit.c - requests without memory, ones that cannot be, and
 * pulls that wait behind a push. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "client/session_impl.h"
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

static struct request *pull(uint32_t variable, uint64_t key, float *out)
{
    struct session_op op = stage_pull_op(variable, &key, 1, out);
    struct request *r = NULL;

    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_OK);
    return r;
}

static struct request *push(uint32_t variable, uint64_t key)
{
    const float one = 1;
    struct session_op op = stage_push_op(variable, &key, 1, &one);
    struct request *r = NULL;

    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_OK);
    return r;
}

/* Else a client would not see its own push. */
static void a_pull_does_not_settle_before_a_push_that_is_put_off(void **state)
{
    float out[2] = {0};
    struct request *w = stage_push(3, 1);
    struct request *r = pull(WHOLE, 3, out);
    struct tape_frame *pushed = stage_take_run(A, 1);
    struct tape_frame *stale = stage_take_run(A, 0);
    struct tape_frame *f;

    (void)state;
    stage_answer(pushed, PS_EBUSY);
    stage_answer(stale, PS_OK);
    stage_expect_silence();
    assert_false(request_has_settled(r));
    stage_pass(1000);
    stage_serve(A, 1, PS_OK);
    stage_done(w, PS_OK);
    f = stage_take_run(A, 0);
    assert_true(f->h.request != stale->h.request);
    stage_answer(stale, PS_OK);
    assert_false(request_has_settled(r));
    assert_true(out[0] == 0);
    stage_answer(f, PS_OK);
    stage_done(r, PS_OK);
    assert_true(out[0] == 3.5f && out[1] == 3.5f);
    stage_expect_silence();
    tape_free(pushed);
    tape_free(stale);
    tape_free(f);
}

static void a_pull_that_is_cut_anew_takes_no_more_memory(void **state)
{
    uint64_t keys[100];
    float out[200] = {0};
    struct session_op op;
    struct request *r = NULL;
    const struct arena_block *block;
    size_t used;

    (void)state;
    for (uint64_t i = 0; i < 100; i++) {
        keys[i] = 1000 - i;
    }
    op = stage_pull_op(WHOLE, keys, 100, out);
    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_OK);
    block = r->arena.blocks;
    used = r->arena.used;
    for (int i = 0; i < 20; i++) {
        uint64_t from = stage.plan.parts[0].lane;

        stage.plan.w.plan++;
        stage.plan.parts[0].lane = from == A ? B : A;
        stage.plan.parts[0].since = stage.plan.w.plan;
        stage_put_plan();
        stage_serve(from, 0, PS_EPLAN);
        stage_pass(200);
    }
    assert_true(r->arena.blocks == block && r->arena.used == used);
    stage_serve(A, 0, PS_OK);
    stage_done(r, PS_OK);
    for (size_t i = 0; i < 200; i++) {
        assert_true(out[i] == 1000.5F - (float)(i / 2));
    }
}

/* One that was submitted before the push has nothing to wait for. */
static void a_pull_before_a_push_that_is_put_off_settles(void **state)
{
    float out[2] = {0};
    struct request *r = pull(WHOLE, 3, out);
    struct tape_frame *pulled = stage_take_run(A, 0);
    struct request *w = stage_push(3, 1);

    (void)state;
    stage_serve(A, 1, PS_EBUSY);
    stage_answer(pulled, PS_OK);
    stage_done(r, PS_OK);
    stage_pass(1000);
    stage_serve(A, 1, PS_OK);
    stage_done(w, PS_OK);
    stage_expect_silence();
    tape_free(pulled);
}

/* Server B has not the plugin that A has. */
static void what_one_shard_does_not_know_is_refused_there_only(void **state)
{
    const uint64_t low = draft_key_in(0, MIDDLE, 0);
    const uint64_t high = draft_key_in(MIDDLE, LIMIT_BUCKETS, 0);
    float out = 0;
    struct request *r;
    size_t n;

    (void)state;
    stage.no_udfs_at = B;
    r = push(SPLIT, low);
    stage_serve(A, 1, PS_OK);
    stage_done(r, PS_OK);
    stage_done(push(SPLIT, high), PS_ENOUDF);
    stage_done(pull(SPLIT, high, &out), PS_ENOUDF);
    stage_expect_silence();
    n = stage.net.n_connects;
    stage_pass(20000);
    assert_int_equal(stage.net.n_connects, n);
    r = pull(SPLIT, low, &out);
    stage_serve(A, 0, PS_OK);
    stage_done(r, PS_OK);
    r = push(SPLIT, low);
    stage_serve(A, 2, PS_OK);
    stage_done(r, PS_OK);
    /* It has it after a restart. */
    stage.no_udfs_at = 0;
    stage_cut_connection("b:1");
    stage_pass(1000);
    r = push(SPLIT, high);
    stage_serve(B, 1, PS_OK);
    stage_done(r, PS_OK);
}

static unsigned n_lines;

static void count_line(enum log_level level, const char *text)
{
    (void)level;
    n_lines += strstr(text, "does not speak this protocol") != NULL;
}

/* It is greeted every half a second. */
static void a_shard_of_another_version_does_not_fill_the_log(void **state)
{
    const uint64_t key = 3;
    float out[2];
    struct session_op op = stage_pull_op(WHOLE, &key, 1, out);
    struct request *r = NULL;

    (void)state;
    n_lines = 0;
    log_set_sink(count_line);
    stage.is_foreign = true;
    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_OK);
    stage_pass(3000);
    log_set_sink(NULL);
    assert_in_range(n_lines, 1, 4);
    stage.is_foreign = false;
    stage_pass(1000);
    stage_serve(A, 0, PS_OK);
    stage_done(r, PS_OK);
}

/* A connection that has not written its frames out yet. */
static struct {
    void (*send)(struct net *net, uint64_t connection, struct frame *frame);
    struct frame *frames[8];
    uint8_t *as_sent[8];
    size_t n;
} slow;

static void send_slowly(struct net *net, uint64_t connection, struct frame *f)
{
    size_t n = slow.n++;

    assert_true(n < ARRAY_LEN(slow.frames));
    slow.frames[n] = frame_get(f);
    slow.as_sent[n] = mem_new(frame_bytes(f));
    memcpy(slow.as_sent[n], f->data, frame_bytes(f));
    slow.send(net, connection, f);
}

static void a_frame_that_is_being_written_is_not_changed(void **state)
{
    float out[2] = {0};
    struct request *w, *r;
    struct tape_frame *f, *again;
    uint32_t n;

    (void)state;
    w = stage_push(3, 1);
    stage_serve(A, 1, PS_OK);
    stage_done(w, PS_OK);
    r = pull(WHOLE, 3, out);
    stage_serve(A, 0, PS_OK);
    stage_done(r, PS_OK);
    slow.n = 0;
    slow.send = stage.net.net.send;
    stage.net.net.send = send_slowly;
    w = stage_push(3, 1);
    r = pull(WHOLE, 4, out);
    f = stage_take_run(A, 2);
    stage_answer(f, PS_EBUSY);
    tape_free(f);
    f = stage_take_run(A, 0);
    stage_pass(1000);
    stage_serve(A, 2, PS_OK);
    stage_done(w, PS_OK);
    again = stage_take_run(A, 0);
    assert_true(again->h.request != f->h.request);
    assert_int_equal(slow.n, 4);
    stage.net.net.send = slow.send;
    for (size_t i = 0; i < slow.n; i++) {
        assert_memory_equal(slow.frames[i]->data, slow.as_sent[i],
                            frame_bytes(slow.frames[i]));
        mem_free(slow.as_sent[i]);
        frame_put(slow.frames[i]);
    }
    tape_free(f);
    tape_free(again);
    /* Its keys are those of the copy now: the former frame is gone. */
    stage_end_lane_a();
    stage_pass(200);
    f = stage_take_run(9, 0);
    assert_true(stage_ops(f, &n)->keys[0] == 4);
    assert_int_equal(n, 1);
    stage_answer(f, PS_OK);
    tape_free(f);
    stage_done(r, PS_OK);
    assert_true(out[0] == 4.5f && out[1] == 4.5f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(a_submit_without_memory_is_refused_whole),
        STAGED(whatever_fails_for_want_of_memory_is_made_up_for),
        STAGED(a_plan_without_memory_for_it_is_read_again),
        STAGED(a_request_that_cannot_be_is_refused),
        STAGED(an_unknown_variable_is_not_found),
        STAGED(a_pull_does_not_settle_before_a_push_that_is_put_off),
        STAGED(a_pull_that_is_cut_anew_takes_no_more_memory),
        STAGED(a_pull_before_a_push_that_is_put_off_settles),
        STAGED(a_shard_of_another_version_does_not_fill_the_log),
        STAGED(what_one_shard_does_not_know_is_refused_there_only),
        STAGED(a_frame_that_is_being_written_is_not_changed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
