/* test_session.c - numbering, the window, sending again, cutting anew. */
#include "client/session.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "session_stage.h"

static void a_push_is_one_numbered_frame(void **state)
{
    struct request *r = stage_push(77, 3);
    struct tape_frame *f = stage_take_run(A, 1);
    uint32_t n;
    struct run_op *ops = stage_ops(f, &n);

    (void)state;
    assert_int_equal(f->h.session, SESSION);
    assert_int_equal(f->h.first, 1);
    assert_int_equal(f->h.plan, PLAN);
    assert_int_equal(n, 1);
    assert_int_equal(ops[0].variable, WHOLE);
    assert_int_equal(ops[0].begin, 0);
    assert_int_equal(ops[0].end, LIMIT_BUCKETS);
    assert_int_equal(ops[0].n_keys, 1);
    assert_true(ops[0].keys[0] == 77);
    assert_int_equal(ops[0].n_values, 2);
    assert_true(ops[0].values[0] == 3 && ops[0].values[1] == 3);
    assert_false(request_has_settled(r));
    stage_answer(f, PS_OK);
    tape_free(f);
    stage_run();
    assert_true(request_has_settled(r));
    assert_int_equal(request_status(r), PS_OK);
    assert_int_equal(stage.n_settled, 1);
    stage_expect_silence();
    request_free(r);
}

/* The stage looks at each frame. */
static void a_session_can_do_without_checksums(void **state)
{
    struct request *r;

    (void)state;
    session_free(stage.session);
    stage.no_checksums = true;
    stage_open(-1);
    r = stage_push(77, 3);
    stage_serve(A, 1, PS_OK);
    stage_done(r, PS_OK);
}

static void what_became_of_a_frame_is_told(void **state)
{
    struct request *r = stage_push(77, 3);
    const struct ps_frame_outcome *o;

    (void)state;
    stage_serve(A, 1, PS_OK);
    assert_int_equal(request_frames(r), 1);
    o = request_frame(r, 0);
    assert_int_equal(o->session, SESSION);
    assert_int_equal(o->lane, A);
    assert_int_equal(o->seq, 1);
    assert_int_equal(o->server, 0);
    assert_int_equal(o->shard, 0);
    assert_int_equal(o->status, PS_OK);
    assert_int_equal(stage_counters().pushes_acked, 1);
    assert_int_equal(stage_counters().session, SESSION);
    assert_int_equal(stage_counters().resends, 0);
    request_free(r);
}

static void a_refused_push_has_the_reason(void **state)
{
    struct request *r = stage_push(77, 3);

    (void)state;
    stage_serve(A, 1, PS_ELIMIT);
    assert_true(request_has_settled(r));
    assert_int_equal(request_status(r), PS_ELIMIT);
    assert_int_equal(request_frame(r, 0)->status, PS_ELIMIT);
    assert_int_equal(stage_counters().pushes_rejected, 1);
    assert_int_equal(stage_counters().pushes_acked, 0);
    request_free(r);
    r = stage_push(77, 3);
    stage_serve(A, 2, PS_OK);
    stage_done(r, PS_OK);
}

static void a_pull_opens_no_session_and_has_no_number(void **state)
{
    static const uint64_t keys[] = {9, 4, 9};
    float out[6] = {0};
    struct session_op op = stage_pull_op(WHOLE, keys, 3, out);
    struct request *r;
    struct tape_frame *f;

    (void)state;
    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_OK);
    f = stage_take_run(A, 0);
    assert_int_equal(f->h.session, 0);
    stage_answer(f, PS_OK);
    tape_free(f);
    assert_int_equal(request_status(r), PS_OK);
    for (size_t i = 0; i < 6; i++) {
        assert_true(out[i] == (float)keys[i / 2] + 0.5f);
    }
    assert_int_equal(shelf_get(&stage.shelf, "sessions"), 1);
    assert_int_equal(request_frames(r), 0);
    assert_int_equal(stage_counters().pulls, 1);
    request_free(r);
}

static void a_dense_variable_is_pulled_and_pushed_whole(void **state)
{
    const float values[] = {1, 2, 3, 4, 5, 6, 7, 8};
    float out[8] = {0};
    struct session_op ops[2];
    struct request *r;

    (void)state;
    ops[0] = stage_push_op(DENSE, NULL, 0, values);
    assert_int_equal(session_submit(stage.session, ops, 1, &r), PS_OK);
    {
        struct tape_frame *f = stage_take_run(A, 1);
        uint32_t n;
        struct run_op *o = stage_ops(f, &n);

        assert_int_equal(n, 1);
        assert_int_equal(o[0].n_keys, 0);
        assert_int_equal(o[0].n_values, 8);
        assert_memory_equal(o[0].values, values, sizeof(values));
        stage_answer(f, PS_OK);
        tape_free(f);
    }
    stage_done(r, PS_OK);

    ops[0] = stage_pull_op(DENSE, NULL, 0, out);
    assert_int_equal(session_submit(stage.session, ops, 1, &r), PS_OK);
    stage_serve(A, 0, PS_OK);
    assert_int_equal(request_status(r), PS_OK);
    for (size_t i = 0; i < 8; i++) {
        assert_true(out[i] == (float)(i / 2) + 0.5f);
    }
    request_free(r);
}

static void an_empty_batch_is_done_at_once(void **state)
{
    static const uint64_t no_keys[1];
    static const float no_values[1];
    float out[1];
    struct session_op ops[2];
    struct request *r;

    (void)state;
    ops[0] = stage_push_op(WHOLE, no_keys, 0, no_values);
    ops[1] = stage_pull_op(SPLIT, no_keys, 0, out);
    assert_int_equal(session_submit(stage.session, ops, 2, &r), PS_OK);
    stage_run();
    assert_true(request_has_settled(r));
    assert_int_equal(request_status(r), PS_OK);
    assert_int_equal(request_frames(r), 0);
    stage_expect_silence();
    request_free(r);
}

static void duplicate_keys_are_one_gradient(void **state)
{
    static const uint64_t keys[] = {9, 4, 9};
    static const float values[] = {1, 10, 2, 20, 3, 30};
    struct session_op op = stage_push_op(WHOLE, keys, 3, values);
    struct request *r;
    struct tape_frame *f;
    uint32_t n;
    struct run_op *ops;

    (void)state;
    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_OK);
    f = stage_take_run(A, 1);
    ops = stage_ops(f, &n);
    assert_int_equal(n, 1);
    assert_int_equal(ops[0].n_keys, 2);
    assert_true(ops[0].keys[0] == 9 && ops[0].keys[1] == 4);
    assert_true(ops[0].values[0] == 4 && ops[0].values[1] == 40);
    assert_true(ops[0].values[2] == 2 && ops[0].values[3] == 20);
    stage_answer(f, PS_OK);
    tape_free(f);
    stage_done(r, PS_OK);
}

static void one_key_a_million_times_is_one_key_in_the_frame(void **state)
{
    enum { N = 1000000 };
    uint64_t *keys = mem_new(N * sizeof(*keys));
    float *values = mem_new(N * sizeof(*values));
    struct session_op op = stage_push_op(SPLIT, keys, N, values);
    struct request *r;
    struct tape_frame *f;
    uint32_t n;

    (void)state;
    for (size_t i = 0; i < N; i++) {
        keys[i] = draft_key_in(0, MIDDLE, 0);
        values[i] = 1;
    }
    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_OK);
    mem_free(keys);
    mem_free(values);
    f = stage_take_run(A, 1);
    assert_int_equal(stage_ops(f, &n)->n_keys, 1);
    assert_true(stage_ops(f, &n)->values[0] == (float)N);
    stage_answer(f, PS_OK);
    tape_free(f);
    stage_expect_silence();
    stage_done(r, PS_OK);
}

static void keys_go_to_the_shard_that_holds_them(void **state)
{
    const uint64_t keys[] = {draft_key_in(MIDDLE, LIMIT_BUCKETS, 0),
                             draft_key_in(0, MIDDLE, 0),
                             draft_key_in(MIDDLE, LIMIT_BUCKETS, 1)};
    static const float values[] = {1, 2, 3};
    struct session_op op = stage_push_op(SPLIT, keys, 3, values);
    struct request *r;

    (void)state;
    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_OK);
    for (int i = 0; i < 2; i++) {
        struct tape_frame *f = stage_take();
        uint32_t n;
        struct run_op *ops;

        assert_non_null(f);
        ops = stage_ops(f, &n);
        assert_int_equal(n, 1);
        assert_int_equal(f->h.seq, 1);
        if (f->h.lane == A) {
            assert_int_equal(ops[0].n_keys, 1);
            assert_true(ops[0].keys[0] == keys[1] && ops[0].values[0] == 2);
        } else {
            assert_int_equal(f->h.lane, B);
            assert_int_equal(ops[0].begin, MIDDLE);
            assert_int_equal(ops[0].n_keys, 2);
            assert_true(ops[0].keys[0] == keys[0] && ops[0].values[0] == 1);
            assert_true(ops[0].keys[1] == keys[2] && ops[0].values[1] == 3);
        }
        stage_answer(f, f->h.lane == A ? PS_OK : PS_ELIMIT);
        tape_free(f);
    }
    assert_true(request_has_settled(r));
    assert_int_equal(request_status(r), PS_ELIMIT);
    assert_int_equal(request_frames(r), 2);
    request_free(r);
}

/* Pulls and pushes of a step together, one round trip. */
static void a_step_is_one_frame_for_each_shard(void **state)
{
    enum { N = 64 };
    struct session_op ops[2 * N];
    const uint64_t key = 5;
    const float one[] = {1, 1};
    float out[N][2];
    struct request *r;
    struct tape_frame *f;
    uint32_t n;

    (void)state;
    for (uint32_t i = 4; i <= 2 * N; i++) {
        char name[16] = {'v', (char)('a' + i / 26), (char)('a' + i % 26), 0};

        draft_variable(&stage.plan, name, PS_HASH64, 0, 2);
        draft_part(&stage.plan, i, 0, LIMIT_BUCKETS, A, PLAN + 1);
    }
    stage.plan.w.plan++;
    stage_put_plan();
    stage_pass(200);
    stage.plan.variables[1].dim = 2;
    for (uint32_t i = 0; i < N; i++) {
        ops[i] = stage_push_op(i < 3 ? WHOLE : i + 1, &key, 1, one);
        ops[N + i] = stage_pull_op(i + 1 + N, &key, 1, out[i]);
    }
    assert_int_equal(session_submit(stage.session, ops, 2 * N, &r), PS_OK);
    f = stage_take_run(A, 1);
    (void)stage_ops(f, &n);
    assert_int_equal(n, 2 * N);
    stage_answer(f, PS_OK);
    tape_free(f);
    stage_expect_silence();
    assert_int_equal(request_status(r), PS_OK);
    for (size_t i = 0; i < N; i++) {
        assert_true(out[i][0] == 5.5f && out[i][1] == 5.5f);
    }
    request_free(r);
}

static void wide_plan(uint32_t dim)
{
    draft_variable(&stage.plan, "wide", PS_HASH64, 0, dim);
    draft_part(&stage.plan, 4, 0, LIMIT_BUCKETS, A, PLAN + 1);
    stage.plan.w.plan++;
    stage_put_plan();
    stage_pass(200);
}

static void a_request_larger_than_a_frame_is_several_frames(void **state)
{
    enum { N = 20000, DIM = 1024 };
    uint64_t *keys = mem_new(N * sizeof(*keys));
    float *values = mem_new((size_t)N * DIM * sizeof(*values));
    struct session_op op;
    struct request *r;
    size_t sum = 0;
    uint64_t seq = 1;

    (void)state;
    memset(values, 0, (size_t)N * DIM * sizeof(*values));
    for (size_t i = 0; i < N; i++) {
        keys[i] = i;
    }
    wide_plan(DIM);
    op = stage_push_op(4, keys, N, values);
    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_OK);
    mem_free(keys);
    mem_free(values);
    while (!request_has_settled(r)) {
        struct tape_frame *f = stage_take_run(A, seq);
        uint32_t n;

        assert_true(f->h.body_bytes <= LIMIT_FRAME_BYTES);
        sum += stage_ops(f, &n)->n_keys;
        stage_answer(f, PS_OK);
        tape_free(f);
        seq++;
    }
    assert_int_equal(sum, N);
    assert_true(seq > 2);
    stage_done(r, PS_OK);
}

/* The request is small, its answer is not. */
static void a_pull_whose_answer_is_larger_than_a_frame_is_several(void **state)
{
    enum { N = 20000, DIM = 1024 };
    uint64_t *keys = mem_new(N * sizeof(*keys));
    float *out = mem_new((size_t)N * DIM * sizeof(*out));
    struct session_op op;
    struct request *r;
    uint32_t n_frames = 0;

    (void)state;
    for (size_t i = 0; i < N; i++) {
        keys[i] = i;
    }
    wide_plan(DIM);
    op = stage_pull_op(4, keys, N, out);
    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_OK);
    while (!request_has_settled(r)) {
        stage_serve(A, 0, PS_OK);
        n_frames++;
    }
    assert_true(n_frames > 1);
    assert_int_equal(request_status(r), PS_OK);
    for (size_t i = 0; i < N; i += 97) {
        assert_true(out[i * DIM] == (float)i + 0.5f);
        assert_true(out[i * DIM + DIM - 1] == (float)i + 0.5f);
    }
    request_free(r);
    mem_free(keys);
    mem_free(out);
}

static void at_most_256_numbers_are_in_flight(void **state)
{
    enum { N = 300 };
    struct request *r[N];
    struct tape_frame *f[N] = {NULL};

    (void)state;
    for (size_t i = 0; i < N; i++) {
        r[i] = stage_push(i, 1);
    }
    for (size_t i = 0; i < 256; i++) {
        f[i] = stage_take_run(A, i + 1);
        assert_int_equal(f[i]->h.first, 1);
    }
    stage_expect_silence();
    stage_answer(f[0], PS_OK);
    f[256] = stage_take_run(A, 257);
    assert_int_equal(f[256]->h.first, 2);
    stage_expect_silence();
    for (size_t i = 1; i < N; i++) {
        if (f[i] == NULL) {
            f[i] = stage_take_run(A, i + 1);
        }
        assert_true(f[i]->h.seq < f[i]->h.first + LIMIT_WINDOW);
        stage_answer(f[i], PS_OK);
    }
    for (size_t i = 0; i < N; i++) {
        stage_done(r[i], PS_OK);

        tape_free(f[i]);
    }
}

static void lanes_have_numbers_of_their_own(void **state)
{
    const uint64_t high = draft_key_in(MIDDLE, LIMIT_BUCKETS, 0);
    const float one = 1;
    struct session_op op = stage_push_op(SPLIT, &high, 1, &one);
    struct request *r[2];

    (void)state;
    r[0] = stage_push(77, 1);
    stage_serve(A, 1, PS_OK);
    assert_int_equal(session_submit(stage.session, &op, 1, &r[1]), PS_OK);
    stage_serve(B, 1, PS_OK);
    stage_done(r[0], PS_OK);
    stage_done(r[1], PS_OK);
    r[0] = stage_push(77, 1);
    stage_serve(A, 2, PS_OK);
    stage_done(r[0], PS_OK);
}

static void expect_same(const struct tape_frame *first,
                        const struct tape_frame *again)
{
    assert_int_equal(again->h.body_bytes, first->h.body_bytes);
    assert_memory_equal(again->frame->data, first->frame->data,
                        frame_bytes(first->frame));
}

static void after_a_reconnect_it_resends_from_the_first_unanswered(void **state)
{
    struct request *r[5];
    struct tape_frame *f[5];

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        r[i] = stage_push(i, (float)i);
    }
    for (size_t i = 0; i < 5; i++) {
        f[i] = stage_take_run(A, i + 1);
    }
    stage_answer(f[0], PS_OK);
    stage_answer(f[1], PS_OK);
    stage_cut_connection("a:1");
    stage_pass(1000);
    for (size_t i = 2; i < 5; i++) {
        struct tape_frame *again = stage_take_run(A, i + 1);

        assert_int_not_equal(again->connection, f[i]->connection);
        expect_same(f[i], again);
        stage_answer(again, PS_OK);
        tape_free(again);
    }
    stage_expect_silence();
    assert_int_equal(stage_counters().resends, 3);
    assert_int_equal(stage_counters().reconnects, 1);
    assert_int_equal(stage_counters().pushes_acked, 5);
    for (size_t i = 0; i < 5; i++) {
        stage_done(r[i], PS_OK);

        tape_free(f[i]);
    }
}

static void an_answer_on_the_old_connection_is_not_heard(void **state)
{
    struct request *r = stage_push(77, 1);
    struct tape_frame *f = stage_take_run(A, 1);
    struct tape_frame *again;

    (void)state;
    stage_cut_connection("a:1");
    stage_answer(f, PS_ELIMIT);
    stage_pass(1000);
    assert_false(request_has_settled(r));
    again = stage_take_run(A, 1);
    stage_answer(again, PS_OK);
    assert_int_equal(request_status(r), PS_OK);
    stage_answer(again, PS_ELIMIT);
    assert_int_equal(request_status(r), PS_OK);
    assert_int_equal(stage_counters().pushes_acked, 1);
    tape_free(f);
    tape_free(again);
    request_free(r);
}

static void a_shard_that_does_not_answer_is_connected_anew(void **state)
{
    struct request *r = stage_push(77, 1);
    struct tape_frame *f = stage_take_run(A, 1);
    struct tape_frame *again;

    (void)state;
    stage_pass(LIMIT_ANSWER_MS - 100);
    assert_false(tape_is_closed(&stage.net, f->connection));
    stage_pass(500);
    assert_true(tape_is_closed(&stage.net, f->connection));
    again = stage_take_run(A, 1);
    expect_same(f, again);
    stage_answer(again, PS_OK);
    stage_done(r, PS_OK);
    tape_free(f);
    tape_free(again);
}

static void connections_that_are_refused_are_tried_again(void **state)
{
    struct request *r;

    (void)state;
    stage.refuse = true;
    r = stage_push(77, 1);
    stage_pass(5000);
    assert_false(request_has_settled(r));
    assert_true(stage.net.n_connects >= 5 && stage.net.n_connects < 60);
    stage.refuse = false;
    stage_pass(1000);
    stage_serve(A, 1, PS_OK);
    stage_done(r, PS_OK);
}

static void what_leaves_the_number_open_is_sent_again_unchanged(void **state)
{
    static const int statuses[] = {PS_EBUSY, PS_ENOTYET, PS_EGAP};
    uint64_t seq = 1;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        struct request *r = stage_push(77, 1);
        struct tape_frame *f = stage_take_run(A, seq);
        struct tape_frame *again;

        stage_answer(f, statuses[i]);
        stage_expect_silence();
        stage_pass(1000);
        assert_false(request_has_settled(r));
        again = stage_take_run(A, seq);
        expect_same(f, again);
        stage_answer(again, PS_OK);
        stage_done(r, PS_OK);
        tape_free(f);
        tape_free(again);

        seq++;
    }
    assert_int_equal(stage_counters().pushes_rejected, 0);
}

/* 1 is put off, so 2 and 3 meet a gap: all are sent again, in order. */
static void a_busy_shard_gets_all_of_them_again_in_order(void **state)
{
    struct request *r[3];
    struct tape_frame *f[3];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        r[i] = stage_push(i, 1);
    }
    for (size_t i = 0; i < 3; i++) {
        f[i] = stage_take_run(A, i + 1);
    }
    stage_answer(f[0], PS_EBUSY);
    stage_answer(f[1], PS_EGAP);
    stage_answer(f[2], PS_EGAP);
    stage_pass(1000);
    for (size_t i = 0; i < 3; i++) {
        struct tape_frame *again = stage_take_run(A, i + 1);

        expect_same(f[i], again);
        stage_answer(again, PS_OK);
        tape_free(again);
    }
    for (size_t i = 0; i < 3; i++) {
        stage_done(r[i], PS_OK);

        tape_free(f[i]);
    }
}

/* It says PS_OK, so the push may not end as anything else: the shard is asked
 * again. */
static void a_malformed_answer_does_not_end_the_push(void **state)
{
    struct request *r;
    struct tape_frame *f;
    struct frame_header h;
    struct frame *bad;

    (void)state;
    r = stage_push(77, 1);
    f = stage_take_run(A, 1);
    h = f->h;
    h.flags = FRAME_ANSWER;
    bad = draft_frame(&h, "0123456789abcde", 16);
    assert_int_equal(frame_header_decode(bad->data, &h), PS_OK);
    session_on_frame(stage.session, f->connection, &h, bad);
    frame_put(bad);
    stage_pass(1000);
    assert_false(request_has_settled(r));
    stage_serve(A, 1, PS_OK);
    stage_done(r, PS_OK);
    tape_free(f);
}

static void a_frame_refused_for_the_plan_is_cut_anew(void **state)
{
    struct request *r = stage_push(77, 3);
    struct tape_frame *f = stage_take_run(A, 1);
    uint32_t n;
    struct run_op *ops;

    (void)state;
    stage.plan.w.plan = PLAN + 1;
    stage.plan.parts[0].lane = B;
    stage.plan.parts[0].since = PLAN + 1;
    stage_put_plan();
    stage_answer(f, PS_EPLAN);
    tape_free(f);
    stage_pass(200);
    f = stage_take_run(B, 1);
    assert_int_equal(f->h.plan, PLAN + 1);
    assert_int_equal(f->h.session, SESSION);
    ops = stage_ops(f, &n);
    assert_int_equal(n, 1);
    assert_true(ops[0].keys[0] == 77 && ops[0].values[0] == 3);
    stage_answer(f, PS_OK);
    tape_free(f);
    stage_done(r, PS_OK);
    stage_expect_silence();
}

/* The order of submission is kept, and no number is used again. */
static void frames_refused_for_the_plan_keep_their_order(void **state)
{
    struct request *r[4];
    struct tape_frame *f[3];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        r[i] = stage_push(i, 1);
    }
    for (size_t i = 0; i < 3; i++) {
        f[i] = stage_take_run(A, i + 1);
    }
    stage_answer(f[0], PS_OK);
    stage.plan.w.plan = PLAN + 1;
    stage.plan.parts[0].since = PLAN + 1;
    stage_put_plan();
    stage_answer(f[1], PS_EPLAN);
    r[3] = stage_push(3, 1);
    stage_run();
    stage_answer(f[2], PS_EPLAN);
    stage_pass(200);
    for (size_t i = 1; i < 4; i++) {
        struct tape_frame *again = stage_take_run(A, i + 3);
        uint32_t n;

        assert_true(stage_ops(again, &n)->keys[0] == i);
        assert_int_equal(again->h.plan, PLAN + 1);
        stage_answer(again, PS_OK);
        tape_free(again);
    }
    stage_expect_silence();
    for (size_t i = 0; i < 3; i++) {
        tape_free(f[i]);
    }
    for (size_t i = 0; i < 4; i++) {
        stage_done(r[i], PS_OK);
    }
}

/* Number 1 may be refused for the newer plan, so nothing may overtake it. */
static void
no_number_is_taken_while_one_may_be_refused_for_the_plan(void **state)
{
    struct request *r[2];
    struct tape_frame *f;
    uint32_t n;

    (void)state;
    r[0] = stage_push(1, 1);
    f = stage_take_run(A, 1);
    stage.plan.w.plan++;
    stage.plan.parts[0].since = PLAN + 1;
    stage_put_plan();
    stage_pass(200);
    r[1] = stage_push(2, 1);
    stage_expect_silence();
    stage_answer(f, PS_EPLAN);
    tape_free(f);
    for (uint64_t i = 0; i < 2; i++) {
        f = stage_take_run(A, 2 + i);
        assert_true(stage_ops(f, &n)->keys[0] == 1 + i);
        assert_int_equal(f->h.plan, PLAN + 1);
        stage_answer(f, PS_OK);
        tape_free(f);
        stage_done(r[i], PS_OK);
    }
}

/* A plan that leaves their parts alone does not hold anything up. */
static void a_newer_plan_of_other_parts_changes_nothing(void **state)
{
    struct request *r[2];
    struct tape_frame *f[2];

    (void)state;
    r[0] = stage_push(1, 1);
    f[0] = stage_take_run(A, 1);
    stage.plan.w.plan++;
    stage.plan.parts[2].since = PLAN + 1; /* B's half of SPLIT */
    stage_put_plan();
    stage_pass(200);
    r[1] = stage_push(2, 1);
    f[1] = stage_take_run(A, 2);
    assert_int_equal(f[1]->h.plan, PLAN + 1);
    for (size_t i = 0; i < 2; i++) {
        stage_answer(f[i], PS_OK);
        tape_free(f[i]);
        stage_done(r[i], PS_OK);
    }
}

static void a_push_to_a_dropped_variable_is_not_found(void **state)
{
    struct request *r = stage_push(77, 3);
    struct tape_frame *f = stage_take_run(A, 1);

    (void)state;
    stage.plan.w.plan++;
    stage.plan.w.variables++;
    stage.plan.w.n_variables--;
    stage.plan.w.parts++;
    stage.plan.w.n_parts--;
    stage_put_plan();
    stage_answer(f, PS_EPLAN);
    tape_free(f);
    stage_pass(200);
    assert_true(request_has_settled(r));
    stage_done(r, PS_ENOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(a_push_is_one_numbered_frame),
        STAGED(a_session_can_do_without_checksums),
        STAGED(what_became_of_a_frame_is_told),
        STAGED(a_refused_push_has_the_reason),
        STAGED(a_pull_opens_no_session_and_has_no_number),
        STAGED(a_dense_variable_is_pulled_and_pushed_whole),
        STAGED(an_empty_batch_is_done_at_once),
        STAGED(duplicate_keys_are_one_gradient),
        STAGED(one_key_a_million_times_is_one_key_in_the_frame),
        STAGED(keys_go_to_the_shard_that_holds_them),
        STAGED(a_step_is_one_frame_for_each_shard),
        STAGED(a_request_larger_than_a_frame_is_several_frames),
        STAGED(a_pull_whose_answer_is_larger_than_a_frame_is_several),
        STAGED(at_most_256_numbers_are_in_flight),
        STAGED(lanes_have_numbers_of_their_own),
        STAGED(after_a_reconnect_it_resends_from_the_first_unanswered),
        STAGED(an_answer_on_the_old_connection_is_not_heard),
        STAGED(a_shard_that_does_not_answer_is_connected_anew),
        STAGED(connections_that_are_refused_are_tried_again),
        STAGED(what_leaves_the_number_open_is_sent_again_unchanged),
        STAGED(a_busy_shard_gets_all_of_them_again_in_order),
        STAGED(a_malformed_answer_does_not_end_the_push),
        STAGED(a_frame_refused_for_the_plan_is_cut_anew),
        STAGED(frames_refused_for_the_plan_keep_their_order),
        STAGED(no_number_is_taken_while_one_may_be_refused_for_the_plan),
        STAGED(a_newer_plan_of_other_parts_changes_nothing),
        STAGED(a_push_to_a_dropped_variable_is_not_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
