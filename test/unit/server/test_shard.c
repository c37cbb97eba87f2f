/* test_shard.c - what a shard does with a numbered frame, and in which order
 * (protocol part 5). */
#include "server/shard.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>

#include "base/mem.h"
#include "shard_stage.h"
#include "udf/chain.h"

static void a_push_is_applied_and_answered(void **state)
{
    (void)state;
    assert_int_equal(stage_push(1, 77, 3), PS_OK);
    assert_false(stage_is_repeat());
    assert_int_equal(stage.answer->h.session, 5);
    assert_int_equal(stage.answer->h.lane, LANE);
    assert_int_equal(stage.answer->h.seq, 1);
    assert_int_equal(stage.n_applied, 1);
    assert_true(stage_value(77) == 3);
    assert_int_equal(shard_stats(stage.shard)->pushes_applied, 1);
    assert_int_equal(shard_stats(stage.shard)->push_keys, 1);
}

static void
an_absent_key_answers_its_initial_value_and_is_not_made(void **state)
{
    (void)state;
    stage.plan.variables[0].init_a = 2.5;
    stage.plan.w.plan++;
    shard_start_lane(stage.shard, 0, 3);
    shard_start_lane(stage.shard, LANE, 3);
    shard_set_lease(stage.shard, LANE, LEASE_US);
    assert_int_equal(stage_set_plan(), PS_OK);
    assert_true(stage_value(77) == 2.5f);
    assert_int_equal(stage.n_applied, 0);
    assert_int_equal(shard_stats(stage.shard)->pulls, 1);
}

static void a_repeat_is_answered_and_not_applied_again(void **state)
{
    (void)state;
    assert_int_equal(stage_push(1, 77, 3), PS_OK);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(stage_push(1, 77, 3), PS_OK);
        assert_true(stage_is_repeat());
    }
    assert_int_equal(stage.n_applied, 1);
    assert_true(stage_value(77) == 3);
    assert_int_equal(shard_stats(stage.shard)->repeats_suppressed, 5);
    assert_int_equal(shard_stats(stage.shard)->pushes_applied, 1);
}

static void a_repeat_on_another_connection_is_one_too(void **state)
{
    (void)state;
    assert_int_equal(stage_push(1, 77, 3), PS_OK);
    shard_on_close(stage.shard, stage.connection);
    stage_connect();
    assert_int_equal(stage_push(1, 77, 3), PS_OK);
    assert_true(stage_is_repeat());
    assert_int_equal(stage_push(2, 77, 3), PS_OK);
    assert_true(stage_value(77) == 6);
}

static int add_and_read(uint64_t seq, uint64_t key, float v)
{
    const float values[] = {v, v};
    struct run_op op = stage_op(stage_add_read, WHOLE, 2, &key, values);
    struct frame_header h = stage_header(WIRE_RUN, seq);

    return stage_send(draft_run(&h, &op, 1));
}

/* Its writing UDFs are skipped, its reading ones run again. */
static void a_repeat_that_writes_and_reads_reads_again(void **state)
{
    (void)state;
    assert_int_equal(add_and_read(1, 77, 3), PS_OK);
    assert_int_equal(stage.n_parts, 1);
    assert_true(stage.parts[0].values[0] == 3);
    assert_int_equal(stage_push(2, 77, 10), PS_OK);
    assert_int_equal(add_and_read(1, 77, 3), PS_OK);
    assert_true(stage_is_repeat());
    assert_int_equal(stage.n_parts, 1);
    assert_int_equal(stage.parts[0].n_values, 2);
    assert_true(stage.parts[0].values[0] == 13);
    assert_true(stage_value(77) == 13);
}

/* 5.3: DONE even if its parts have gone; its reads answer MOVED. */
static void a_repeat_whose_part_has_gone_is_done(void **state)
{
    const uint64_t key = draft_key_in(0, MIDDLE, 0);
    const float one = 1;
    struct run_op op = stage_op(stage_add_read, HALF, 1, &key, &one);
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    op.end = MIDDLE;
    assert_int_equal(stage_send(draft_run(&h, &op, 1)), PS_OK);
    stage.plan.w.plan = PLAN + 1;
    stage.plan.parts[1].lane = OTHER_LANE;
    stage.plan.parts[1].since = PLAN + 1;
    assert_int_equal(stage_set_plan(), PS_OK);
    assert_int_equal(stage_send(draft_run(&h, &op, 1)), PS_OK);
    assert_true(stage_is_repeat());
    assert_int_equal(stage.n_parts, 1);
    assert_int_equal(stage.parts[0].status, PS_EMOVED);
    h = stage_header(WIRE_RUN, 2);
    assert_int_equal(stage_send(draft_run(&h, &op, 1)), PS_EPLAN);
    assert_int_equal(stage.n_applied, 1);
}

static void a_dense_variable_is_pushed_and_read_whole(void **state)
{
    const float values[] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct run_op op = stage_op(stage_add_dense, DENSE, 2, NULL, values);
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    op.n_values = 8;
    assert_int_equal(stage_send(draft_run(&h, &op, 1)), PS_OK);
    assert_int_equal(stage_send(draft_run(&h, &op, 1)), PS_OK);
    h = stage_header(WIRE_RUN, 2);
    assert_int_equal(stage_send(draft_run(&h, &op, 1)), PS_OK);
    op = stage_op(stage_read_dense, DENSE, 2, NULL, NULL);
    h = stage_header(WIRE_RUN, 0);
    assert_int_equal(stage_send(draft_run(&h, &op, 1)), PS_OK);
    assert_int_equal(stage.n_parts, 1);
    assert_int_equal(stage.parts[0].n_values, 8);
    for (size_t i = 0; i < 8; i++) {
        assert_true(stage.parts[0].values[i] == 2 * values[i]);
    }
}

static void sessions_have_windows_of_their_own(void **state)
{
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    h.session = 6;
    assert_int_equal(stage_send(stage_push_frame(&h, 77, 10)), PS_OK);
    assert_false(stage_is_repeat());
    assert_int_equal(stage_send(stage_push_frame(&h, 77, 10)), PS_OK);
    assert_true(stage_is_repeat());
    assert_true(stage_value(77) == 11);
}

static void many_frames_in_turn_are_each_applied_once(void **state)
{
    (void)state;
    for (uint64_t seq = 1; seq <= 2000; seq++) {
        struct frame_header h = stage_header(WIRE_RUN, seq);

        h.first = seq > 200 ? seq - 200 : 1;
        assert_int_equal(stage_send(stage_push_frame(&h, 77, 1)), PS_OK);
        if (seq % 7 == 0) {
            h.seq = seq - seq % 100;
            h.seq = base_max_u64(h.seq, h.first);
            assert_int_equal(stage_send(stage_push_frame(&h, 77, 1)), PS_OK);
            assert_true(stage_is_repeat());
        }
    }
    assert_true(stage_value(77) == 2000);
}

static void a_number_beyond_the_next_is_a_gap_and_stays_open(void **state)
{
    (void)state;
    assert_int_equal(stage_push(2, 77, 10), PS_EGAP);
    assert_int_equal(stage_push(256, 77, 10), PS_EGAP);
    assert_int_equal(stage.n_applied, 0);
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    assert_int_equal(stage_push(2, 77, 10), PS_OK);
    assert_false(stage_is_repeat());
    assert_true(stage_value(77) == 11);
    assert_int_equal(shard_stats(stage.shard)->gaps, 2);
}

static void a_number_outside_the_window_is_not_applied(void **state)
{
    (void)state;
    assert_int_not_equal(stage_push(257, 77, 10), PS_OK);
    assert_true(tape_is_closed(&stage.net, stage.connection));
    stage_connect();
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    assert_true(stage_value(77) == 1);
}

static void a_session_above_the_newest_waits_for_the_store(void **state)
{
    static const uint64_t open[] = {5, 6, 10};
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    h.session = 10;
    assert_int_equal(stage_send(stage_push_frame(&h, 77, 1)), PS_EBUSY);
    assert_int_equal(stage.wanted[SHARD_WANT_SESSIONS], 10);
    assert_true(stage_value(77) == 0);
    stage_set_sessions(2, 11, open, 3);
    assert_int_equal(stage_send(stage_push_frame(&h, 77, 1)), PS_OK);
    assert_false(stage_is_repeat());
    assert_true(stage_value(77) == 1);
}

static void a_session_below_and_not_in_the_table_has_ended(void **state)
{
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    h.session = 9;
    assert_int_equal(stage_send(stage_push_frame(&h, 77, 1)), PS_EEXPIRED);
    h.session = 4;
    assert_int_equal(stage_send(stage_push_frame(&h, 77, 1)), PS_EEXPIRED);
    assert_int_equal(stage.n_applied, 0);
    assert_int_equal(shard_stats(stage.shard)->expired, 2);
}

/* Session before window: a repeat of an ended session is EXPIRED too. */
static void a_session_that_ends_is_refused_from_then_on(void **state)
{
    static const uint64_t open[] = {6};

    (void)state;
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    stage_set_sessions(2, 10, open, 1);
    assert_int_equal(stage_push(2, 77, 1), PS_EEXPIRED);
    assert_int_equal(stage_push(1, 77, 1), PS_EEXPIRED);
    assert_true(stage_value(77) == 1);
}

static void before_the_session_table_is_here_nothing_is_applied(void **state)
{
    static const uint64_t open[] = {5, 6};
    const struct shard_options options = {.kern = &kern_generic};

    (void)state;
    shard_free(stage.shard);
    assert_int_equal(
        shard_new(&stage.shard, &options, &stage.net.net, NULL, &stage.owner),
        PS_OK);
    shard_start_lane(stage.shard, LANE, 0);
    shard_set_lease(stage.shard, LANE, LEASE_US);
    assert_int_equal(stage_set_plan(), PS_OK);
    stage_connect();
    assert_int_equal(stage_push(1, 77, 1), PS_EBUSY);
    assert_int_equal(stage.n_applied, 0);
    stage_set_sessions(1, 10, open, 2);
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    assert_false(stage_is_repeat());
}

static void a_plan_ahead_of_the_shards_leaves_the_number_open(void **state)
{
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    h.plan = PLAN + 3;
    assert_int_equal(stage_send(stage_push_frame(&h, 77, 1)), PS_ENOTYET);
    assert_int_equal(stage.wanted[SHARD_WANT_PLAN], PLAN + 3);
    assert_true(stage_value(77) == 0);
    stage.plan.w.plan = PLAN + 3;
    assert_int_equal(stage_set_plan(), PS_OK);
    assert_int_equal(stage_send(stage_push_frame(&h, 77, 1)), PS_OK);
    assert_false(stage_is_repeat());
    assert_true(stage_value(77) == 1);
}

/* 5.3: the window comes before the plan. */
static void a_repeat_with_any_plan_is_done(void **state)
{
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    h.plan = PLAN + 3;
    assert_int_equal(stage_send(stage_push_frame(&h, 77, 1)), PS_OK);
    assert_true(stage_is_repeat());
    h.plan = 1;
    assert_int_equal(stage_send(stage_push_frame(&h, 77, 1)), PS_OK);
    assert_true(stage_is_repeat());
    assert_true(stage_value(77) == 1);
}

static int push_half(uint64_t seq, uint64_t plan, uint32_t begin, uint32_t end,
                     uint64_t key)
{
    const float one = 1;
    struct run_op op = stage_op(stage_add, HALF, 1, &key, &one);
    struct frame_header h = stage_header(WIRE_RUN, seq);

    op.begin = begin;
    op.end = end;
    h.plan = plan;
    return stage_send(draft_run(&h, &op, 1));
}

static int push_of_plan(uint64_t seq, uint64_t plan)
{
    struct frame_header h = stage_header(WIRE_RUN, seq);

    h.plan = plan;
    return stage_send(stage_push_frame(&h, 77, 1));
}

static void a_part_that_stayed_takes_frames_of_older_plans(void **state)
{
    (void)state;
    assert_int_equal(push_of_plan(1, 3), PS_OK);
    assert_int_equal(push_half(2, 4, 0, MIDDLE, draft_key_in(0, MIDDLE, 0)),
                     PS_OK);
    assert_int_equal(push_of_plan(3, 1), PS_OK);
    assert_int_equal(stage.n_applied, 3);
}

static void a_part_that_went_is_refused_and_burns_the_number(void **state)
{
    const uint64_t high = draft_key_in(MIDDLE, LIMIT_BUCKETS, 0);

    (void)state;
    assert_int_equal(push_half(1, 4, MIDDLE, LIMIT_BUCKETS, high), PS_EPLAN);
    assert_int_equal(stage.n_applied, 0);
    assert_int_equal(push_half(1, 4, MIDDLE, LIMIT_BUCKETS, high), PS_EPLAN);
    assert_int_equal(push_of_plan(1, PLAN), PS_EPLAN);
    assert_int_equal(stage_push(2, 77, 1), PS_OK);
    assert_int_equal(shard_stats(stage.shard)->pushes_rejected, 1);
}

/* Checked by bucket: the lower half is still here, the frame names both. */
static void a_part_that_was_divided_is_refused_whole(void **state)
{
    const uint64_t low = draft_key_in(0, MIDDLE, 0);

    (void)state;
    assert_int_equal(push_half(1, 4, 0, LIMIT_BUCKETS, low), PS_EPLAN);
    assert_int_equal(stage.n_applied, 0);
}

/* So a later frame never overtakes an earlier one. */
static void
after_that_frames_of_older_plans_are_refused_until_a_newer_comes(void **state)
{
    const uint64_t high = draft_key_in(MIDDLE, LIMIT_BUCKETS, 0);

    (void)state;
    assert_int_equal(push_half(1, 4, MIDDLE, LIMIT_BUCKETS, high), PS_EPLAN);
    assert_int_equal(push_of_plan(2, 4), PS_EPLAN);
    assert_int_equal(push_of_plan(3, 3), PS_EPLAN);
    assert_true(stage_value(77) == 0);
    assert_int_equal(push_of_plan(4, PLAN), PS_OK);
    assert_int_equal(push_of_plan(2, 4), PS_EPLAN);
    assert_true(stage_value(77) == 1);
}

static void that_refusal_is_for_its_own_session_only(void **state)
{
    const uint64_t high = draft_key_in(MIDDLE, LIMIT_BUCKETS, 0);
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    assert_int_equal(push_half(1, 4, MIDDLE, LIMIT_BUCKETS, high), PS_EPLAN);
    h.session = 6;
    h.plan = 4;
    assert_int_equal(stage_send(stage_push_frame(&h, 77, 1)), PS_OK);
}

/* It went and came back: what the frame's plan knew is another life of it. */
static void a_part_that_came_after_the_frames_plan_is_refused(void **state)
{
    (void)state;
    stage_part_comes_back(0);
    assert_int_equal(stage_set_plan(), PS_OK);
    assert_int_equal(push_of_plan(1, PLAN + 1), PS_EPLAN);
    assert_int_equal(push_of_plan(2, PLAN + 2), PS_OK);
}

static void a_frame_for_a_dropped_variable_is_refused(void **state)
{
    (void)state;
    stage.plan.w.plan = 6;
    stage.plan.w.variables++;
    stage.plan.w.n_variables--;
    stage.plan.w.parts++;
    stage.plan.w.n_parts--;
    assert_int_equal(stage_set_plan(), PS_OK);
    assert_int_equal(push_of_plan(1, 5), PS_EPLAN);
    assert_int_equal(stage.n_applied, 0);
}

static void a_key_outside_its_range_is_never_applied(void **state)
{
    const uint64_t high = draft_key_in(MIDDLE, LIMIT_BUCKETS, 0);

    (void)state;
    assert_int_not_equal(push_half(1, PLAN, 0, MIDDLE, high), PS_OK);
    assert_int_equal(stage.n_applied, 0);
}

static void a_part_that_was_never_here_is_never_applied(void **state)
{
    const float one = 1;
    const uint64_t key = 3;
    struct run_op op = stage_op(stage_add, AWAY, 1, &key, &one);
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    assert_int_not_equal(stage_send(draft_run(&h, &op, 1)), PS_OK);
    assert_int_equal(stage.n_applied, 0);
}

/* Op 0 would be fine; op 1 asks for a momentum that the rows have no slot for.
 */
static struct frame *half_bad_frame(const struct frame_header *h)
{
    static const uint64_t key = 77;
    static const float values[] = {1, 1};
    static const double bad[] = {(double)INFINITY, 0.0, 0.0};
    struct run_op ops[2];

    ops[0] = stage_op(stage_add, WHOLE, 2, &key, values);
    ops[1] = stage_op(stage_momentum, WHOLE, 2, &key, values);
    ops[1].n_params = 3;
    ops[1].params = bad;
    return draft_run(h, ops, 2);
}

static void a_frame_is_applied_whole_or_not_at_all(void **state)
{
    struct frame_header h = stage_header(WIRE_RUN, 1);
    int why;

    (void)state;
    why = stage_send(half_bad_frame(&h));
    assert_int_equal(why, PS_EARGUMENT);
    assert_int_equal(stage.n_applied, 0);
    assert_true(stage_value(77) == 0);
    /* Its number is burned: whatever comes under it gets the same. */
    assert_int_equal(stage_send(half_bad_frame(&h)), why);
    assert_int_equal(stage_push(1, 77, 1), why);
    assert_int_equal(stage_push(2, 77, 1), PS_OK);
    assert_true(stage_value(77) == 1);
    assert_int_equal(shard_stats(stage.shard)->pushes_rejected, 1);
}

static void a_row_made_by_a_refused_frame_is_gone(void **state)
{
    struct frame_header h = stage_header(WIRE_RUN, 1);
    struct wire_status_answer m;

    (void)state;
    assert_int_equal(stage_send(half_bad_frame(&h)), PS_EARGUMENT);
    h = stage_header(WIRE_STATUS, 0);
    assert_int_equal(stage_send(draft_frame(&h, NULL, 0)), PS_OK);
    assert_int_equal(wire_status_answer_decode(frame_body(stage.answer->frame),
                                               stage.answer->h.body_bytes,
                                               &stage.arena, &m),
                     PS_OK);
    assert_true(m.n_tables > 0);
    for (uint32_t i = 0; i < m.n_tables; i++) {
        if (m.tables[i].variable == WHOLE) {
            assert_int_equal(m.tables[i].rows, 0);
        }
    }
}

/* The limit is of one server; here it has one shard. */
static void new_keys_beyond_the_memory_limit_are_refused(void **state)
{
    enum { KEYS = 100000 };
    uint64_t *keys = mem_new(KEYS * sizeof(*keys));
    float *values = mem_new(2 * KEYS * sizeof(*values));
    struct run_op op = stage_op(stage_add, WHOLE, 2, keys, values);
    struct frame_header h = stage_header(WIRE_RUN, 2);

    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        keys[i] = i + 1000;
        values[2 * i] = values[2 * i + 1] = 1;
    }
    op.n_keys = KEYS;
    op.n_values = 2 * KEYS;
    stage.plan.w.plan++;
    stage.plan.w.memory_limit = 1 << 20;
    assert_int_equal(stage_set_plan(), PS_OK);
    assert_int_equal(stage_push(1, 77, 3), PS_OK);
    assert_int_equal(stage_send(draft_run(&h, &op, 1)), PS_ELIMIT);
    assert_int_equal(stage.n_applied, 1);
    assert_true(stage_value(77) == 3);
    assert_true(stage_value(1000) == 0);
    assert_true(shard_stats(stage.shard)->keys_refused > 0);
    assert_int_equal(stage_send(draft_run(&h, &op, 1)), PS_ELIMIT);
    /* Rows that are there still train. */
    assert_int_equal(stage_push(3, 77, 3), PS_OK);
    assert_true(stage_value(77) == 6);
    mem_free(keys);
    mem_free(values);
}

/* Each allocation in turn fails once; the same frame is sent until it is
 * settled, as a client does. */
static void without_memory_a_frame_is_put_off_not_lost(void **state)
{
    uint64_t seq = 1;
    size_t n_failed = 0;

    (void)state;
    for (uint64_t n = 1; n < 25; n++) {
        struct frame_header h = stage_header(WIRE_RUN, seq);
        struct frame *f = stage_push_frame(&h, 1000 + n, 1);
        int rc;

        h.first = seq;
        frame_get(f);
        mem_fail_at(n);
        rc = stage_send(f);
        mem_fail_at(0);
        if (rc != PS_OK) {
            n_failed++;
            assert_true(rc == PS_EBUSY || rc == NO_ANSWER);
            if (tape_is_closed(&stage.net, stage.connection)) {
                stage_connect();
            }
            assert_int_equal(stage_send(frame_get(f)), PS_OK);
        }
        frame_put(f);
        assert_int_equal(stage.n_applied, seq);
        assert_true(stage_value(1000 + n) == 1);
        seq++;
    }
    assert_true(n_failed > 0);
}

static void without_a_lease_nothing_is_acknowledged(void **state)
{
    (void)state;
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    stage.net.now_us = LEASE_US + 1;
    assert_int_not_equal(stage_push(2, 77, 1), PS_OK);
    assert_int_not_equal(stage_push(1, 77, 1), PS_OK);
    assert_int_not_equal(stage_resolve(5, LANE, 1, WHOLE, 0, LIMIT_BUCKETS),
                         PS_OK);
    assert_int_not_equal(stage_resolve(5, LANE, 3, WHOLE, 0, LIMIT_BUCKETS),
                         PS_ECANCELED);
    /* Memory stays: who was not ended resumes (7.2). */
    shard_set_lease(stage.shard, LANE, 2 * LEASE_US);
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    assert_int_equal(stage_push(2, 77, 1), PS_OK);
    assert_int_equal(stage_push(3, 77, 1), PS_OK);
    assert_true(stage_value(77) == 3);
}

/* The lease ends at every look at the clock in turn. What is answered OK was
 * answered while it was held; whatever happened, it is applied once. */
static void a_lease_that_ends_within_a_frame_takes_the_answer_away(void **state)
{
    uint64_t until = LEASE_US;
    size_t n_late = 0;

    (void)state;
    for (uint64_t look = 1; look <= 8; look++) {
        uint64_t applied = stage.n_applied;
        int rc;

        stage.net.jump_at = stage.net.looks + look;
        stage.net.jump_us = LEASE_US;
        rc = stage_push(look, 77, 1);
        if (stage.net.now_us >= until) {
            assert_int_not_equal(rc, PS_OK);
            n_late += stage.n_applied > applied;
        } else {
            assert_int_equal(rc, PS_OK);
        }
        stage.net.jump_at = 0;
        until = stage.net.now_us + LEASE_US;
        shard_set_lease(stage.shard, LANE, until);
        if (tape_is_closed(&stage.net, stage.connection)) {
            stage_connect();
        }
        assert_int_equal(stage_push(look, 77, 1), PS_OK);
        assert_int_equal(stage.n_applied, look);
    }
    assert_true(n_late > 0);
    assert_true(stage_value(77) == 8);
}

static void the_lease_of_another_lane_is_none(void **state)
{
    (void)state;
    stage.net.now_us = LEASE_US + 1;
    shard_set_lease(stage.shard, LANE + 1, 2 * LEASE_US);
    assert_int_not_equal(stage_push(1, 77, 1), PS_OK);
    assert_int_equal(stage.n_applied, 0);
}

static void a_frame_for_another_lane_says_so(void **state)
{
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    h.lane = LANE - 1;
    assert_int_equal(stage_send(stage_push_frame(&h, 77, 1)), PS_ELANE);
    assert_int_equal(stage.n_applied, 0);
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
}

static void a_new_life_begins_with_nothing(void **state)
{
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    shard_start_lane(stage.shard, LANE + 2, 4);
    assert_int_equal(shard_lane(stage.shard), LANE + 2);
    assert_int_equal(shard_plan_number(stage.shard), 0);
    assert_int_equal(stage_push(2, 77, 1), PS_ELANE);
    h.lane = LANE + 2;
    assert_int_not_equal(stage_send(stage_push_frame(&h, 77, 1)), PS_OK);
    stage.plan.w.plan++;
    draft_end_lane(&stage.plan, LANE, PLAN + 1);
    draft_lane(&stage.plan, LANE + 2, 0, 0, "a:1");
    stage.plan.parts[0].lane = LANE + 2;
    stage.plan.parts[0].since = PLAN + 1;
    assert_int_equal(stage_set_plan(), PS_OK);
    shard_set_lease(stage.shard, LANE + 2, LEASE_US);
    h.plan = PLAN + 1;
    stage.owner.applied = NULL;
    assert_int_equal(stage_send(stage_push_frame(&h, 77, 5)), PS_OK);
    assert_false(stage_is_repeat());
}

/* The order may come twice, when the first seemed lost. */
static void the_same_life_ordered_again_keeps_all(void **state)
{
    (void)state;
    assert_int_equal(stage_push(1, 77, 3), PS_OK);
    shard_start_lane(stage.shard, LANE, 3);
    assert_int_equal(shard_lane(stage.shard), LANE);
    assert_int_equal(shard_plan_number(stage.shard), PLAN);
    assert_true(stage_value(77) == 3);
    assert_int_equal(stage_push(1, 77, 3), PS_OK);
    assert_true(stage_is_repeat());
    assert_int_equal(stage_push(2, 77, 3), PS_OK);
    assert_true(stage_value(77) == 6);
}

static int ask_half(uint64_t seq, uint64_t key)
{
    const float one = 1;
    struct frame_header h = stage_header(WIRE_RUN, seq);
    struct run_op op = stage_op(seq != 0 ? stage_add : stage_read, HALF, 1,
                                &key, seq != 0 ? &one : NULL);

    h.plan = PLAN + 2;
    op.end = MIDDLE;
    return stage_send(draft_run(&h, &op, 1));
}

static void count_row(void *context, uint32_t variable, uint64_t key,
                      const float *values, uint32_t dim)
{
    size_t *n = context;

    (void)key;
    (void)values;
    (void)dim;
    assert_int_not_equal(variable, HALF);
    ++*n;
}

/* Its updater is one of a plugin that was not given to this server. */
static void one_variable_that_cannot_be_served_leaves_the_others(void **state)
{
    uint64_t key = draft_key_in(0, MIDDLE, 0);
    struct frame_header status = stage_header(WIRE_STATUS, 0);
    size_t n = 0;

    (void)state;
    stage.plan.variables[1].updater = "OfAPluginUpdater";
    stage_part_comes_back(1);
    assert_int_equal(stage_set_plan(), PS_OK);
    assert_int_equal(shard_plan_number(stage.shard), PLAN + 2);
    assert_int_equal(stage_push(1, 77, 3), PS_OK);
    assert_int_equal(ask_half(2, key), PS_ENOUDF);
    assert_int_equal(ask_half(2, key), PS_ENOUDF);
    assert_int_equal(ask_half(0, key), PS_ENOUDF);
    stage.plan.w.plan = PLAN + 3;
    assert_int_equal(stage_set_plan(), PS_OK);
    assert_int_equal(ask_half(3, key), PS_ENOUDF);
    assert_int_equal(stage_push(4, 77, 3), PS_OK);
    assert_true(stage_value(77) == 6);
    assert_int_equal(stage_send(draft_frame(&status, NULL, 0)), PS_OK);
    shard_walk(stage.shard, count_row, &n);
    assert_int_equal(n, 1 + 4); /* of WHOLE, and DENSE's */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(a_push_is_applied_and_answered),
        STAGED(an_absent_key_answers_its_initial_value_and_is_not_made),
        STAGED(a_repeat_is_answered_and_not_applied_again),
        STAGED(a_repeat_on_another_connection_is_one_too),
        STAGED(a_repeat_that_writes_and_reads_reads_again),
        STAGED(a_repeat_whose_part_has_gone_is_done),
        STAGED(a_dense_variable_is_pushed_and_read_whole),
        STAGED(sessions_have_windows_of_their_own),
        STAGED(many_frames_in_turn_are_each_applied_once),
        STAGED(a_number_beyond_the_next_is_a_gap_and_stays_open),
        STAGED(a_number_outside_the_window_is_not_applied),
        STAGED(a_session_above_the_newest_waits_for_the_store),
        STAGED(a_session_below_and_not_in_the_table_has_ended),
        STAGED(a_session_that_ends_is_refused_from_then_on),
        STAGED(before_the_session_table_is_here_nothing_is_applied),
        STAGED(a_plan_ahead_of_the_shards_leaves_the_number_open),
        STAGED(a_repeat_with_any_plan_is_done),
        STAGED(a_part_that_stayed_takes_frames_of_older_plans),
        STAGED(a_part_that_went_is_refused_and_burns_the_number),
        STAGED(a_part_that_was_divided_is_refused_whole),
        STAGED(
            after_that_frames_of_older_plans_are_refused_until_a_newer_comes),
        STAGED(that_refusal_is_for_its_own_session_only),
        STAGED(a_part_that_came_after_the_frames_plan_is_refused),
        STAGED(a_frame_for_a_dropped_variable_is_refused),
        STAGED(a_key_outside_its_range_is_never_applied),
        STAGED(a_part_that_was_never_here_is_never_applied),
        STAGED(a_frame_is_applied_whole_or_not_at_all),
        STAGED(a_row_made_by_a_refused_frame_is_gone),
        STAGED(new_keys_beyond_the_memory_limit_are_refused),
        STAGED(without_memory_a_frame_is_put_off_not_lost),
        STAGED(without_a_lease_nothing_is_acknowledged),
        STAGED(a_lease_that_ends_within_a_frame_takes_the_answer_away),
        STAGED(the_lease_of_another_lane_is_none),
        STAGED(a_frame_for_another_lane_says_so),
        STAGED(a_new_life_begins_with_nothing),
        STAGED(the_same_life_ordered_again_keeps_all),
        STAGED(one_variable_that_cannot_be_served_leaves_the_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
