/* test_flight.c - what a lane or a session that ended leaves behind: losses,
 * resolve, cutting anew only what was not applied. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "session_stage.h"

/* Takes the RESOLVE for one number, with one part. */
static struct tape_frame *take_resolve(uint64_t at_lane, uint64_t of_lane,
                                       uint64_t seq)
{
    struct tape_frame *f = stage_take();
    struct wire_resolve m = stage_resolve_of(f);

    assert_int_equal(f->h.lane, at_lane);
    assert_int_equal(f->h.plan, stage.plan.w.plan);
    assert_int_equal(m.session, SESSION);
    assert_int_equal(m.lane, of_lane);
    assert_int_equal(m.seq, seq);
    assert_int_equal(m.n_parts, 1);
    return f;
}

static void resolve_as(uint64_t at_lane, uint64_t of_lane, uint64_t seq,
                       int fate)
{
    struct tape_frame *f = take_resolve(at_lane, of_lane, seq);

    stage_answer_fate(f, fate);
    tape_free(f);
}

/* Three pushes that were acknowledged on lane A. */
static void push_three(void)
{
    for (uint64_t seq = 1; seq <= 3; seq++) {
        struct request *r = stage_push(seq, 1);

        stage_serve(A, seq, PS_OK);
        stage_done(r, PS_OK);
    }
}

static void an_ended_lane_loses_exactly_what_it_had_acknowledged(void **state)
{
    static const char *const variables[] = {"whole", "split", "dense"};
    static const uint32_t ends[] = {LIMIT_BUCKETS, MIDDLE, LIMIT_BUCKETS};

    (void)state;
    push_three();
    stage_end_lane_a();
    stage_pass(200);
    /* Of each part: who pushes again must know which rows these are. */
    assert_int_equal(stage.n_losses, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct ps_loss *l = &stage.losses[i];

        assert_int_equal(l->session, SESSION);
        assert_int_equal(l->lane, A);
        assert_int_equal(l->first, 1);
        assert_int_equal(l->last, 3);
        assert_int_equal(l->server, 0);
        assert_int_equal(l->shard, 0);
        assert_string_equal(l->variable, variables[i]);
        assert_int_equal(l->begin, 0);
        assert_int_equal(l->end, ends[i]);
    }
    assert_int_equal(stage_counters().losses, 3);
    stage_expect_silence();
    stage.plan.w.plan++;
    stage_put_plan();
    stage_pass(200);
    assert_int_equal(stage.n_losses, 3);
}

/* Of 1, 2, 3 the checkpoint that the rows came back from has 1 and 3. */
static void what_a_checkpoint_has_is_not_lost(void **state)
{
    (void)state;
    stage.kept_below = 4;
    stage.kept_gap = (struct wire_span){2, 2};
    push_three();
    stage_end_lane_a();
    stage_pass(200);
    assert_int_equal(stage.n_losses, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(stage.losses[i].first, 2);
        assert_int_equal(stage.losses[i].last, 2);
    }
    assert_int_equal(stage_counters().losses, 1);
}

static void nothing_is_told_where_all_is_kept(void **state)
{
    (void)state;
    stage.kept_below = 4;
    push_three();
    stage_end_lane_a();
    stage_pass(200);
    assert_int_equal(stage.n_losses, 0);
    assert_int_equal(stage_counters().losses, 0);
}

/* A lane of more parts than one question may name. */
static void a_lane_of_many_parts_is_asked_for_in_pieces(void **state)
{
    struct wire_plan *w = &stage.plan.w;

    (void)state;
    push_three();
    w->n_parts = 0;
    for (uint32_t i = 0; i <= LIMIT_FRAME_OPS; i++) {
        draft_part(&stage.plan, WHOLE, i,
                   i < LIMIT_FRAME_OPS ? i + 1 : LIMIT_BUCKETS, A, 1);
    }
    w->n_variables = 1; /* what moves from a lane that lives may be lost, too */
    w->plan++;
    stage_put_plan();
    stage_pass(200);
    stage_end_lane_a();
    stage_pass(200);
    assert_int_equal(stage.n_losses, LIMIT_FRAME_OPS + 1);
    for (uint32_t i = 0; i < stage.n_losses; i++) {
        assert_int_equal(stage.losses[i].begin, i);
        assert_int_equal(stage.losses[i].first, 1);
        assert_int_equal(stage.losses[i].last, 3);
    }
}

/* The other variable's parts have 1 and 2. */
static void losses_that_differ_are_told_part_by_part(void **state)
{
    uint32_t n_split = 0, n_others = 0;

    (void)state;
    stage.kept_below = 3;
    stage.keeps_nothing_of_split = true;
    push_three();
    stage_end_lane_a();
    stage_pass(200);
    for (uint32_t i = 0; i < stage.n_losses; i++) {
        const struct ps_loss *l = &stage.losses[i];

        assert_int_equal(l->last, 3);
        n_split += l->first == 1;
        n_others += l->first == 3;
        assert_true(l->end > l->begin);
    }
    assert_int_equal(n_split, 1);
    assert_true(n_others >= 1);
    assert_int_equal(stage_counters().losses, 3);
}

/* From now on SPLIT is logged. */
static void log_split(void)
{
    stage.plan.variables[SPLIT - 1].durability = PS_LOG;
    stage.plan.w.plan++;
    stage_put_plan();
    stage_pass(200);
}

static void push_split(uint64_t seq)
{
    const uint64_t low = draft_key_in(0, MIDDLE, 0);
    const float one = 1;
    struct session_op op = stage_push_op(SPLIT, &low, 1, &one);
    struct request *r;

    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_OK);
    stage_serve(A, seq, PS_OK);
    stage_done(r, PS_OK);
}

static void push_whole(uint64_t seq)
{
    struct request *r = stage_push(seq, 1);

    stage_serve(A, seq, PS_OK);
    stage_done(r, PS_OK);
}

/* Numbers 1 and 4 are of SPLIT, and its log has them: so its holder has read of
 * 1 to 4, and of no later one. Of 2, 3, 5 and 6 WHOLE and DENSE have none. */
static void
what_was_not_to_be_logged_is_no_loss_of_a_logged_variable(void **state)
{
    (void)state;
    log_split();
    push_split(1);
    push_whole(2);
    push_whole(3);
    push_split(4);
    push_whole(5);
    push_whole(6);
    stage.kept_below = 5;
    stage.keeps_only_split = true;
    stage_end_lane_a();
    stage_pass(200);
    assert_int_equal(stage.n_losses, 2);
    for (uint32_t i = 0; i < stage.n_losses; i++) {
        assert_non_null(stage.losses[i].variable);
        assert_string_not_equal(stage.losses[i].variable, "split");
        assert_int_equal(stage.losses[i].first, 1);
        assert_int_equal(stage.losses[i].last, 6);
    }
    assert_int_equal(stage_counters().losses, 6);
}

/* The same where no part has anything of what came last: it is not of all. */
static void no_loss_of_a_lane_names_a_logged_variable(void **state)
{
    (void)state;
    log_split();
    push_split(1);
    push_whole(2);
    stage.kept_below = 2;
    stage_end_lane_a();
    stage_pass(200);
    assert_int_equal(stage.n_losses, 2);
    for (uint32_t i = 0; i < stage.n_losses; i++) {
        assert_non_null(stage.losses[i].variable);
        assert_string_not_equal(stage.losses[i].variable, "split");
        assert_int_equal(stage.losses[i].first, 2);
        assert_int_equal(stage.losses[i].last, 2);
    }
}

/* A power cut may cost what was written and not synced: of each variable what
 * wrote to it. WHOLE is logged, too. */
static void what_the_log_has_lost_is_told(void **state)
{
    uint32_t n_logged = 0;

    (void)state;
    stage.plan.variables[WHOLE - 1].durability = PS_LOG;
    log_split();
    push_split(1);
    push_whole(2);
    push_split(3);
    stage.kept_below = 2;
    stage_end_lane_a();
    stage_pass(200);
    for (uint32_t i = 0; i < stage.n_losses; i++) {
        const struct ps_loss *l = &stage.losses[i];
        bool is_split = strcmp(l->variable, "split") == 0;
        bool is_whole = strcmp(l->variable, "whole") == 0;

        assert_int_equal(l->first, is_split ? 3 : 2);
        assert_int_equal(l->last, is_whole ? 2 : 3);
        n_logged += is_split || is_whole;
    }
    assert_int_equal(n_logged, 2);
    assert_int_equal(stage.n_losses, 3);
}

static void a_lane_without_acknowledged_pushes_loses_nothing(void **state)
{
    const uint64_t high = draft_key_in(MIDDLE, LIMIT_BUCKETS, 0);
    const float one = 1;
    struct session_op op = stage_push_op(SPLIT, &high, 1, &one);
    struct request *r;

    (void)state;
    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_OK);
    stage_serve(B, 1, PS_OK);
    stage_done(r, PS_OK);
    stage_end_lane_a();
    stage_pass(200);
    assert_int_equal(stage.n_losses, 0);
}

static void what_was_not_applied_is_cut_anew_for_the_new_lane(void **state)
{
    struct request *r;
    struct tape_frame *f;
    uint32_t n;
    struct run_op *ops;

    (void)state;
    push_three();
    r = stage_push(77, 5);
    tape_free(stage_take_run(A, 4));
    stage_end_lane_a();
    stage_pass(200);
    resolve_as(9, A, 4, PS_ECANCELED);
    f = stage_take_run(9, 1);
    assert_int_equal(f->h.session, SESSION);
    assert_int_equal(f->h.first, 1);
    assert_int_equal(f->h.plan, PLAN + 1);
    ops = stage_ops(f, &n);
    assert_int_equal(n, 1);
    assert_true(ops[0].keys[0] == 77 && ops[0].values[0] == 5);
    stage_answer(f, PS_OK);
    tape_free(f);
    assert_int_equal(stage.losses[0].last, 3);
    stage_done(r, PS_OK);
}

/* A copy of the lane's state may know more than the client. */
static void what_was_applied_is_not_sent_again(void **state)
{
    struct request *r = stage_push(77, 5);

    (void)state;
    tape_free(stage_take_run(A, 1));
    stage_end_lane_a();
    stage_pass(200);
    resolve_as(9, A, 1, PS_OK);
    stage_done(r, PS_OK);
    stage_expect_silence();
}

static void what_nobody_knows_ends_as_unsure(void **state)
{
    struct request *r = stage_push(77, 5);

    (void)state;
    tape_free(stage_take_run(A, 1));
    stage_end_lane_a();
    stage_pass(200);
    resolve_as(9, A, 1, PS_EUNSURE);
    stage_done(r, PS_EUNSURE);
    stage_expect_silence();
}

/* No honest shard says so: -2 is no status and 2^31 has no negative. */
static void a_fate_that_is_no_status_is_not_known(void **state)
{
    static const int fates[] = {2, INT32_MIN, 1, -128};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(fates); i++) {
        struct request *r = stage_push(77, 5);
        struct tape_frame *f = stage_take_run(A, 1 + i);

        session_resolve(stage.session, r);
        tape_free(f);
        resolve_as(A, A, 1 + i, fates[i]);
        stage_done(r, PS_EUNSURE);
        stage_expect_silence();
    }
}

/* The two parts of one frame have different fates: only the rows of the one
 * that was not applied go again. */
static void a_frame_is_cut_anew_part_by_part(void **state)
{
    const uint64_t low = draft_key_in(0, MIDDLE, 0);
    const float values[] = {1, 1};
    struct session_op ops[2];
    struct request *r;
    struct tape_frame *f;
    struct wire_resolve m;
    uint32_t n;

    (void)state;
    ops[0] = stage_push_op(WHOLE, &low, 1, values);
    ops[1] = stage_push_op(SPLIT, &low, 1, values);
    assert_int_equal(session_submit(stage.session, ops, 2, &r), PS_OK);
    tape_free(stage_take_run(A, 1));
    stage_end_lane_a();
    stage.plan.w.plan++;
    stage.plan.parts[1].lane = B; /* SPLIT's lower half goes on there */
    stage_put_plan();
    stage_pass(200);
    for (int i = 0; i < 2; i++) {
        f = stage_take();
        m = stage_resolve_of(f);
        assert_int_equal(m.n_parts, 1);
        assert_int_equal(m.parts[0].variable, f->h.lane == B ? SPLIT : WHOLE);
        stage_answer_fate(f, f->h.lane == B ? PS_OK : PS_ECANCELED);
        tape_free(f);
    }
    f = stage_take_run(9, 1);
    assert_int_equal(stage_ops(f, &n)->variable, WHOLE);
    assert_int_equal(n, 1);
    stage_answer(f, PS_OK);
    tape_free(f);
    stage_done(r, PS_OK);
    stage_expect_silence();
}

/* 4.5: it may be a zombie that answers. */
static void answers_of_an_ended_lane_are_ignored(void **state)
{
    struct request *r = stage_push(77, 5);
    struct tape_frame *f = stage_take_run(A, 1);

    (void)state;
    stage_end_lane_a();
    stage_pass(200);
    assert_true(tape_is_closed(&stage.net, f->connection));
    stage_answer(f, PS_OK);
    stage_run();
    assert_false(request_has_settled(r));
    resolve_as(9, A, 1, PS_ECANCELED);
    stage_serve(9, 1, PS_OK);
    stage_done(r, PS_OK);
    assert_int_equal(stage_counters().pushes_acked, 1);
    tape_free(f);
}

static void what_was_not_sent_yet_goes_to_the_new_lane_at_once(void **state)
{
    struct request *r;

    (void)state;
    stage.refuse = true;
    r = stage_push(77, 5);
    stage_pass(100);
    stage_end_lane_a();
    stage.refuse = false;
    stage_pass(1000);
    stage_serve(9, 1, PS_OK);
    stage_done(r, PS_OK);
    assert_int_equal(stage.n_losses, 0);
}

/* No new number before what was there first is resolved. */
static void a_later_push_does_not_overtake_a_resolved_one(void **state)
{
    struct request *r[2];
    struct tape_frame *f;
    uint32_t n;

    (void)state;
    r[0] = stage_push(1, 1);
    tape_free(stage_take_run(A, 1));
    stage_end_lane_a();
    stage_pass(200);
    r[1] = stage_push(2, 1);
    resolve_as(9, A, 1, PS_ECANCELED);
    for (uint64_t i = 0; i < 2; i++) {
        f = stage_take_run(9, 1 + i);
        assert_true(stage_ops(f, &n)->keys[0] == 1 + i);
        stage_answer(f, PS_OK);
        tape_free(f);
        stage_done(r[i], PS_OK);
    }
}

static void while_no_lane_has_the_part_a_push_waits(void **state)
{
    struct request *r = stage_push(77, 5);

    (void)state;
    tape_free(stage_take_run(A, 1));
    stage.plan.w.plan++;
    draft_end_lane(&stage.plan, A, PLAN + 1);
    stage_put_plan();
    stage_pass(60000);
    assert_false(request_has_settled(r));
    stage_expect_silence();
    stage.plan.w.plan++;
    draft_lane(&stage.plan, 9, 0, 0, "a:1");
    stage.plan.parts[0].lane = 9;
    stage.plan.parts[0].since = PLAN + 2;
    stage_put_plan();
    stage_pass(200);
    resolve_as(9, A, 1, PS_ECANCELED);
    stage_serve(9, 1, PS_OK);
    stage_done(r, PS_OK);
}

/* The shard says so before the plan does. */
static void an_answer_that_the_lane_has_ended_waits_for_the_plan(void **state)
{
    struct request *r = stage_push(77, 5);
    struct tape_frame *f = stage_take_run(A, 1);

    (void)state;
    stage_answer(f, PS_ELANE);
    tape_free(f);
    stage_run();
    assert_false(request_has_settled(r));
    stage_end_lane_a();
    stage_pass(200);
    for (f = stage_take(); f != NULL && f->h.type == WIRE_RUN;
         f = stage_take()) {
        /* What it sent again to lane A meanwhile. */
        assert_int_equal(f->h.lane, A);
        tape_free(f);
    }
    stage_answer_fate(f, PS_ECANCELED);
    tape_free(f);
    stage_serve(9, 1, PS_OK);
    stage_done(r, PS_OK);
}

static void a_resolve_that_is_put_off_is_asked_again(void **state)
{
    static const int statuses[] = {PS_EBUSY, PS_ENOTYET};
    struct request *r = stage_push(77, 5);
    struct tape_frame *f;

    (void)state;
    tape_free(stage_take_run(A, 1));
    stage_end_lane_a();
    stage_pass(200);
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        f = take_resolve(9, A, 1);
        stage_answer(f, statuses[i]);
        tape_free(f);
        stage_pass(2000);
        assert_false(request_has_settled(r));
    }
    f = take_resolve(9, A, 1);
    stage_cut_connection("a:1");
    tape_free(f);
    stage_pass(1000);
    resolve_as(9, A, 1, PS_OK);
    stage_done(r, PS_OK);
}

static void a_pull_from_an_ended_lane_goes_to_the_new_one(void **state)
{
    const uint64_t key = 3;
    float out[2] = {0};
    struct session_op op = stage_pull_op(WHOLE, &key, 1, out);
    struct request *r;

    (void)state;
    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_OK);
    tape_free(stage_take_run(A, 0));
    stage_end_lane_a();
    stage_pass(200);
    stage_serve(9, 0, PS_OK);
    stage_done(r, PS_OK);
    assert_true(out[0] == 3.5f);
}

static void an_expired_session_is_resolved_and_replaced(void **state)
{
    struct request *r = stage_push(77, 5);
    struct tape_frame *f = stage_take_run(A, 1);

    (void)state;
    stage_answer(f, PS_EEXPIRED);
    tape_free(f);
    stage_pass(200);
    resolve_as(A, A, 1, PS_ECANCELED);
    stage_pass(200);
    f = stage_take_run(A, 1);
    assert_int_equal(f->h.session, SESSION + 1);
    assert_int_equal(f->h.first, 1);
    stage_answer(f, PS_OK);
    tape_free(f);
    assert_int_equal(request_frame(r, request_frames(r) - 1)->session,
                     SESSION + 1);
    stage_done(r, PS_OK);
    assert_int_equal(stage_counters().session, SESSION + 1);
    assert_int_equal(stage.n_losses, 0);
}

static void what_an_expired_session_had_applied_stays_applied(void **state)
{
    struct request *r = stage_push(77, 5);
    struct tape_frame *f = stage_take_run(A, 1);

    (void)state;
    stage_answer(f, PS_EEXPIRED);
    tape_free(f);
    stage_pass(200);
    resolve_as(A, A, 1, PS_OK);
    stage_done(r, PS_OK);
    stage_expect_silence();
    r = stage_push(78, 5);
    f = stage_take_run(A, 1);
    assert_int_equal(f->h.session, SESSION + 1);
    stage_answer(f, PS_OK);
    tape_free(f);
    stage_done(r, PS_OK);
}

static void the_user_cancels_what_was_not_applied(void **state)
{
    struct request *r = stage_push(77, 5);
    struct tape_frame *f = stage_take_run(A, 1);

    (void)state;
    session_resolve(stage.session, r);
    resolve_as(A, A, 1, PS_ECANCELED);
    stage_done(r, PS_ECANCELED);
    /* The shard's answer to the canceled frame comes late. */
    stage_answer(f, PS_ECANCELED);
    stage_expect_silence();
    tape_free(f);
    r = stage_push(78, 5);
    stage_serve(A, 2, PS_OK);
    stage_done(r, PS_OK);
}

static void the_user_learns_that_it_was_applied(void **state)
{
    struct request *r = stage_push(77, 5);

    (void)state;
    tape_free(stage_take_run(A, 1));
    session_resolve(stage.session, r);
    resolve_as(A, A, 1, PS_OK);
    stage_done(r, PS_OK);
    stage_expect_silence();
}

static void the_answer_comes_before_that_of_the_resolve(void **state)
{
    struct request *r = stage_push(77, 5);
    struct tape_frame *f = stage_take_run(A, 1);
    struct tape_frame *q;

    (void)state;
    session_resolve(stage.session, r);
    q = take_resolve(A, A, 1);
    stage_answer(f, PS_OK);
    stage_done(r, PS_OK);
    stage_answer_fate(q, PS_OK);
    stage_expect_silence();
    tape_free(f);
    tape_free(q);
    assert_int_equal(stage_counters().pushes_acked, 1);
    assert_int_equal(stage.n_settled, 1);
}

static void what_never_left_is_canceled_at_once(void **state)
{
    struct request *r;

    (void)state;
    stage.refuse = true;
    r = stage_push(77, 5);
    stage_pass(100);
    session_resolve(stage.session, r);
    stage_done(r, PS_ECANCELED);
    stage.refuse = false;
    stage_pass(2000);
    stage_expect_silence();
}

static void resolving_a_settled_request_changes_nothing(void **state)
{
    struct request *r = stage_push(77, 5);

    (void)state;
    stage_serve(A, 1, PS_OK);
    session_resolve(stage.session, r);
    stage_expect_silence();
    stage_done(r, PS_OK);
}

/* Its lane ends while the user's question is under way. */
static void the_users_resolve_outlives_the_lane(void **state)
{
    struct request *r = stage_push(77, 5);
    struct tape_frame *f;

    (void)state;
    tape_free(stage_take_run(A, 1));
    session_resolve(stage.session, r);
    tape_free(take_resolve(A, A, 1));
    stage_end_lane_a();
    stage_pass(200);
    f = take_resolve(9, A, 1);
    stage_answer_fate(f, PS_ECANCELED);
    tape_free(f);
    stage_done(r, PS_ECANCELED);
    stage_expect_silence();
}

/* A deadline ends the wait, not the frame (4.4). */
static void an_abandoned_push_goes_on(void **state)
{
    struct request *r = stage_push(77, 5);
    struct tape_frame *f = stage_take_run(A, 1);

    (void)state;
    session_abandon(r);
    stage_cut_connection("a:1");
    tape_free(f);
    stage_pass(1000);
    stage_serve(A, 1, PS_OK);
    stage_expect_silence();
    assert_int_equal(stage.n_settled, 0);
    assert_int_equal(stage_counters().pushes_acked, 1);
    r = stage_push(78, 5);
    stage_serve(A, 2, PS_OK);
    stage_done(r, PS_OK);
}

static void an_abandoned_pulls_buffer_is_not_touched(void **state)
{
    const uint64_t key = 3;
    float *out = mem_new(2 * sizeof(*out));
    struct session_op op = stage_pull_op(WHOLE, &key, 1, out);
    struct request *r;
    struct tape_frame *f;

    (void)state;
    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_OK);
    f = stage_take_run(A, 0);
    session_abandon(r);
    mem_free(out);
    stage_answer(f, PS_OK);
    tape_free(f);
    stage_pass(100);
    assert_int_equal(stage.n_settled, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(an_ended_lane_loses_exactly_what_it_had_acknowledged),
        STAGED(what_a_checkpoint_has_is_not_lost),
        STAGED(a_lane_of_many_parts_is_asked_for_in_pieces),
        STAGED(nothing_is_told_where_all_is_kept),
        STAGED(losses_that_differ_are_told_part_by_part),
        STAGED(what_was_not_to_be_logged_is_no_loss_of_a_logged_variable),
        STAGED(no_loss_of_a_lane_names_a_logged_variable),
        STAGED(what_the_log_has_lost_is_told),
        STAGED(a_lane_without_acknowledged_pushes_loses_nothing),
        STAGED(what_was_not_applied_is_cut_anew_for_the_new_lane),
        STAGED(what_was_applied_is_not_sent_again),
        STAGED(what_nobody_knows_ends_as_unsure),
        STAGED(a_fate_that_is_no_status_is_not_known),
        STAGED(a_frame_is_cut_anew_part_by_part),
        STAGED(answers_of_an_ended_lane_are_ignored),
        STAGED(what_was_not_sent_yet_goes_to_the_new_lane_at_once),
        STAGED(a_later_push_does_not_overtake_a_resolved_one),
        STAGED(while_no_lane_has_the_part_a_push_waits),
        STAGED(an_answer_that_the_lane_has_ended_waits_for_the_plan),
        STAGED(a_resolve_that_is_put_off_is_asked_again),
        STAGED(a_pull_from_an_ended_lane_goes_to_the_new_one),
        STAGED(an_expired_session_is_resolved_and_replaced),
        STAGED(what_an_expired_session_had_applied_stays_applied),
        STAGED(the_user_cancels_what_was_not_applied),
        STAGED(the_user_learns_that_it_was_applied),
        STAGED(the_answer_comes_before_that_of_the_resolve),
        STAGED(what_never_left_is_canceled_at_once),
        STAGED(resolving_a_settled_request_changes_nothing),
        STAGED(the_users_resolve_outlives_the_lane),
        STAGED(an_abandoned_push_goes_on),
        STAGED(an_abandoned_pulls_buffer_is_not_touched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
