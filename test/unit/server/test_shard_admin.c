/* test_shard_admin.c - what is not a push: hello, chains, resolve, and bytes
 * that no honest client sends. */
#include "server/shard.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "server/shard_load.h"
#include "shard_stage.h"
#include "udf/chain.h"

static int say_hello(uint32_t version)
{
    struct frame_header h = stage_header(WIRE_HELLO, 0);
    struct wire_hello m = {.version = version, .role = "client"};

    stage.connection = tape_accept(&stage.net);
    shard_on_open(stage.shard, stage.connection);
    buf_clear(&stage.record);
    wire_hello_encode(&m, &stage.record);
    return stage_send(draft_frame(&h, stage.record.data, stage.record.size));
}

static void hello_is_answered_with_who_it_is(void **state)
{
    struct wire_hello_answer m;

    (void)state;
    assert_int_equal(say_hello(WIRE_VERSION), PS_OK);
    assert_int_equal(wire_hello_answer_decode(frame_body(stage.answer->frame),
                                              stage.answer->h.body_bytes,
                                              &stage.arena, &m),
                     PS_OK);
    assert_int_equal(m.version, WIRE_VERSION);
    assert_int_equal(m.server, 0);
    assert_int_equal(m.shard, 0);
    assert_int_equal(m.lane, LANE);
}

/* Says HELLO with these features; the answer's. */
static uint64_t offer(uint64_t features)
{
    struct frame_header h = stage_header(WIRE_HELLO, 0);
    struct wire_hello m = {
        .version = WIRE_VERSION, .features = features, .role = "client"};
    struct wire_hello_answer a;

    stage.connection = tape_accept(&stage.net);
    shard_on_open(stage.shard, stage.connection);
    buf_clear(&stage.record);
    wire_hello_encode(&m, &stage.record);
    assert_int_equal(
        stage_send(draft_frame(&h, stage.record.data, stage.record.size)),
        PS_OK);
    assert_int_equal(wire_hello_answer_decode(frame_body(stage.answer->frame),
                                              stage.answer->h.body_bytes,
                                              &stage.arena, &a),
                     PS_OK);
    return a.features;
}

static bool answer_is_summed(void)
{
    const struct tape_frame *a = stage.answer;

    assert_true(a->h.body_bytes > 0);
    return a->h.body_checksum ==
           hash_bytes(frame_body(a->frame), a->h.body_bytes);
}

static void answers_have_a_checksum_where_the_client_asks_for_it(void **state)
{
    struct frame_header h = stage_header(WIRE_STATUS, 0);

    (void)state;
    assert_int_equal(offer(0), 0);
    assert_int_equal(stage.answer->h.body_checksum, 0);
    assert_int_equal(stage_send(draft_frame(&h, NULL, 0)), PS_OK);
    assert_int_equal(stage.answer->h.body_checksum, 0);
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    assert_int_equal(stage.answer->h.body_checksum, 0);
    /* What this version does not know is not in force. */
    assert_int_equal(offer(WIRE_FEATURE_CHECKSUM | 64), WIRE_FEATURE_CHECKSUM);
    assert_true(answer_is_summed());
    assert_int_equal(stage_send(draft_frame(&h, NULL, 0)), PS_OK);
    assert_true(answer_is_summed());
    assert_int_equal(stage_push(2, 77, 1), PS_OK);
    assert_true(answer_is_summed());
    assert_int_equal(stage_push(2, 77, 1), PS_OK);
    assert_true(answer_is_summed());
}

static void another_version_is_refused(void **state)
{
    (void)state;
    assert_int_not_equal(say_hello(WIRE_VERSION + 1), PS_OK);
}

static void hello_comes_first(void **state)
{
    (void)state;
    stage.connection = tape_accept(&stage.net);
    shard_on_open(stage.shard, stage.connection);
    assert_int_equal(stage_push(1, 77, 1), NO_ANSWER);
    assert_true(tape_is_closed(&stage.net, stage.connection));
    stage_connect();
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    assert_false(stage_is_repeat());
}

static void connections_are_counted(void **state)
{
    (void)state;
    assert_int_equal(shard_stats(stage.shard)->connections, 1);
    stage_connect();
    assert_int_equal(shard_stats(stage.shard)->connections, 2);
    shard_on_close(stage.shard, stage.connection);
    assert_int_equal(shard_stats(stage.shard)->connections, 1);
}

static int send_chain(uint64_t id, const char *definition)
{
    struct frame_header h = stage_header(WIRE_CHAIN, 0);
    struct wire_chain m = {.chain = id, .definition = definition};

    buf_clear(&stage.record);
    wire_chain_encode(&m, &stage.record);
    return stage_send(draft_frame(&h, stage.record.data, stage.record.size));
}

static void a_chain_that_it_cannot_run_is_refused_with_the_reason(void **state)
{
    const char *bad = "BuildHashSlice(insert)>NoSuchUpdater";
    struct wire_text m;

    (void)state;
    assert_int_equal(send_chain(chain_id(bad), bad), PS_ENOUDF);
    assert_int_equal(wire_text_decode(frame_body(stage.answer->frame),
                                      stage.answer->h.body_bytes, &stage.arena,
                                      &m),
                     PS_OK);
    assert_non_null(strstr(m.text, "NoSuchUpdater"));
    assert_int_equal(send_chain(chain_id(""), ""), PS_EARGUMENT);
    assert_false(tape_is_closed(&stage.net, stage.connection));
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
}

/* Any sequence is a chain: with three kinds of two more, as many as wanted. */
static int send_nonsense(uint32_t n)
{
    static const char *const more[] = {"TransSlice", "AdagradUpdater",
                                       "AssignAddUpdater"};
    char text[256] = "BuildHashSlice";
    size_t size = strlen(text);

    for (int i = 0; i < 7; i++, n /= 3) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, ">%s",
                                 more[n % 3]);
    }
    return send_chain(chain_id(text), text);
}

static void chains_that_never_run_take_no_place_for_good(void **state)
{
    (void)state;
    assert_int_equal(stage_push(1, 77, 1), PS_OK); /* stage_add has run */
    for (uint32_t i = 0; i < 2 * LIMIT_CHAINS; i++) {
        assert_int_equal(send_nonsense(i), PS_OK);
    }
    assert_int_equal(stage_push(2, 77, 1), PS_OK);
    assert_false(tape_is_closed(&stage.net, stage.connection));
    assert_int_equal(send_chain(chain_id(stage_add), stage_add), PS_OK);
}

static void an_id_that_is_not_its_definitions_is_refused(void **state)
{
    (void)state;
    assert_int_not_equal(send_chain(12345, stage_add), PS_OK);
}

static void a_chain_can_be_registered_again(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(send_chain(chain_id(stage_add), stage_add), PS_OK);
    }
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
}

static int resolve(uint64_t session, uint64_t seq)
{
    return stage_resolve(session, LANE, seq, WHOLE, 0, LIMIT_BUCKETS);
}

/* This server was started anew without the plugin. */
static void without_its_updater_nobody_knows_what_rows_have(void **state)
{
    struct frame_header h = stage_header(WIRE_LOST, 0);
    const struct wire_range part = {WHOLE, 0, LIMIT_BUCKETS};
    const struct wire_lost l = {
        .session = 5, .lane = 3, .parts = &part, .n_parts = 1};
    struct shard_report report = {.why = ""};

    (void)state;
    stage.plan.variables[0].updater = "OfAPluginUpdater";
    stage.plan.variables[0].durability = PS_LOG;
    stage_part_comes_back(0);
    stage.plan.ended[stage.plan.w.n_ended++] =
        (struct wire_ended){.lane = 3, .plan = PLAN + 1};
    stage.plan.w.ended = stage.plan.ended;
    assert_int_equal(stage_set_plan(), PS_OK);
    assert_int_equal(stage_resolve(5, 3, 1, WHOLE, 0, LIMIT_BUCKETS), PS_EBUSY);
    buf_clear(&stage.record);
    wire_lost_encode(&l, &stage.record);
    assert_int_equal(
        stage_send(draft_frame(&h, stage.record.data, stage.record.size)),
        PS_EBUSY);
    assert_int_equal(shard_stats(stage.shard)->parts_unserved, 1);
    shard_load_report(stage.shard, &report);
    assert_int_equal(report.loaded, PLAN + 1);
    stage.plan.w.plan++; /* and it is so in the next plan */
    assert_int_equal(stage_set_plan(), PS_OK);
    assert_int_equal(shard_plan_number(stage.shard), stage.plan.w.plan);
    assert_int_equal(shard_stats(stage.shard)->parts_unserved, 1);
}

/* Of a lane that nobody knows, and of no variable. */
static bool takes_parts(enum wire_type type, uint32_t n)
{
    static struct wire_range parts[LIMIT_FRAME_OPS + 1];
    struct frame_header h = stage_header(type, 0);
    const struct wire_resolve r = {
        .session = 5, .lane = 999, .seq = 1, .parts = parts, .n_parts = n};
    const struct wire_lost l = {
        .session = 5, .lane = 999, .parts = parts, .n_parts = n};

    stage_connect();
    buf_clear(&stage.record);
    if (type == WIRE_RESOLVE) {
        wire_resolve_encode(&r, &stage.record);
    } else {
        wire_lost_encode(&l, &stage.record);
    }
    (void)stage_send(draft_frame(&h, stage.record.data, stage.record.size));
    return !tape_is_closed(&stage.net, stage.connection);
}

static void a_question_names_as_many_parts_as_a_frame(void **state)
{
    (void)state;
    assert_true(takes_parts(WIRE_RESOLVE, LIMIT_FRAME_OPS));
    assert_false(takes_parts(WIRE_RESOLVE, LIMIT_FRAME_OPS + 1));
    assert_true(takes_parts(WIRE_LOST, LIMIT_FRAME_OPS));
    assert_false(takes_parts(WIRE_LOST, LIMIT_FRAME_OPS + 1));
}

static void an_applied_number_is_applied(void **state)
{
    (void)state;
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    assert_int_equal(resolve(5, 1), PS_OK);
    assert_int_equal(shard_stats(stage.shard)->resolves, 1);
}

static void a_refused_number_keeps_its_reason(void **state)
{
    const uint64_t key = 3;
    const float one = 1;
    struct run_op op = stage_op(stage_add, HALF, 1, &key, &one);
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    h.plan = PLAN - 1;
    assert_int_equal(stage_send(draft_run(&h, &op, 1)), PS_EPLAN);
    assert_int_equal(resolve(5, 1), PS_EPLAN);
}

static void the_next_number_is_canceled_in_the_same_step(void **state)
{
    (void)state;
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    assert_int_equal(resolve(5, 2), PS_ECANCELED);
    assert_int_equal(stage_push(2, 77, 10), PS_ECANCELED);
    assert_int_equal(resolve(5, 2), PS_ECANCELED);
    assert_int_equal(stage_push(3, 77, 100), PS_OK);
    assert_true(stage_value(77) == 101);
}

static void a_number_ahead_is_canceled_before_its_turn(void **state)
{
    (void)state;
    assert_int_equal(resolve(5, 3), PS_ECANCELED);
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    assert_int_equal(stage_push(2, 77, 10), PS_OK);
    assert_int_equal(stage_push(3, 77, 100), PS_ECANCELED);
    assert_int_equal(stage_push(4, 77, 1000), PS_OK);
    assert_true(stage_value(77) == 1011);
}

static void a_session_without_frames_here_can_be_canceled(void **state)
{
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    assert_int_equal(resolve(6, 1), PS_ECANCELED);
    h.session = 6;
    assert_int_equal(stage_send(stage_push_frame(&h, 77, 1)), PS_ECANCELED);
    assert_int_equal(stage.n_applied, 0);
}

/* Protocol 2.4: 10 minutes. */
static void an_ended_session_is_resolvable_for_a_stated_time(void **state)
{
    static const uint64_t open[] = {6};
    uint64_t version = 2;

    (void)state;
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    stage_set_sessions(version, 10, open, 1);
    assert_int_equal(resolve(5, 1), PS_OK);
    assert_int_equal(resolve(5, 2), PS_ECANCELED);
    stage.net.now_us += 599 * (uint64_t)1000000;
    shard_set_lease(stage.shard, LANE, stage.net.now_us + LEASE_US);
    version++;
    stage_set_sessions(version, 10, open, 1);
    assert_int_equal(resolve(5, 1), PS_OK);
    stage.net.now_us += 2 * (uint64_t)1000000;
    shard_set_lease(stage.shard, LANE, stage.net.now_us + LEASE_US);
    version++;
    stage_set_sessions(version, 10, open, 1);
    assert_int_equal(resolve(5, 1), PS_EUNSURE);
    assert_int_equal(resolve(5, 2), PS_EUNSURE);
    assert_int_equal(resolve(6, 1), PS_ECANCELED);
}

/* That a younger session is forgotten says nothing of one that is open. */
static void
an_open_session_is_judged_after_a_younger_was_forgotten(void **state)
{
    static const uint64_t open[] = {5};
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    h.session = 6;
    assert_int_equal(stage_send(stage_push_frame(&h, 77, 1)), PS_OK);
    stage_set_sessions(2, 10, open, 1);
    stage.net.now_us += 601 * (uint64_t)1000000;
    shard_set_lease(stage.shard, LANE, stage.net.now_us + LEASE_US);
    stage_set_sessions(3, 10, open, 1);
    assert_int_equal(resolve(6, 1), PS_EUNSURE);
    assert_int_equal(resolve(5, 1), PS_ECANCELED);
    assert_int_equal(stage_push(1, 77, 10), PS_ECANCELED);
    assert_int_equal(stage_push(2, 77, 100), PS_OK);
    assert_true(stage_value(77) == 101);
}

static void a_session_above_the_newest_is_not_judged(void **state)
{
    int rc;

    (void)state;
    rc = resolve(10, 1);
    assert_true(rc == PS_EBUSY || rc == PS_ECANCELED);
    if (rc == PS_ECANCELED) {
        static const uint64_t open[] = {5, 6, 10};
        struct frame_header h = stage_header(WIRE_RUN, 1);

        h.session = 10;
        stage_set_sessions(2, 11, open, 3);
        assert_int_not_equal(stage_send(stage_push_frame(&h, 77, 1)), PS_OK);
    }
}

/* A frame is applied whole, so the lane's own shard knows for all of its
 * parts, wherever they are now. */
static void a_live_lanes_own_shard_is_asked_for_any_part(void **state)
{
    (void)state;
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    assert_int_equal(stage_resolve(5, LANE, 1, AWAY, 0, LIMIT_BUCKETS), PS_OK);
    assert_int_equal(stage_resolve(5, LANE, 2, HALF, MIDDLE, LIMIT_BUCKETS),
                     PS_ECANCELED);
    assert_int_equal(stage_push(2, 77, 1), PS_ECANCELED);
}

/* Not "not applied": nobody knows (3.3). */
static void a_lane_that_is_not_known_is_not_judged(void **state)
{
    (void)state;
    assert_int_equal(stage_resolve(5, 3, 1, WHOLE, 0, LIMIT_BUCKETS),
                     PS_EUNSURE);
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
}

/* A new life on lane 9, whose plan knows that lane 7 has ended. */
static void live_again(void)
{
    shard_start_lane(stage.shard, 9, 4);
    shard_set_lease(stage.shard, 9, LEASE_US);
    stage.plan.w.plan = PLAN + 1;
    draft_end_lane(&stage.plan, LANE, PLAN + 1);
    draft_lane(&stage.plan, 9, 0, 0, "a:1");
    stage.plan.parts[0].lane = 9;
    stage.plan.parts[0].since = PLAN + 1;
}

static int resolve_at(uint64_t at_lane, uint64_t plan, uint64_t of_lane,
                      uint32_t variable)
{
    struct frame_header h = stage_header(WIRE_RESOLVE, 0);
    const struct wire_range part = {variable, 0, LIMIT_BUCKETS};
    const struct wire_resolve m = {
        .session = 5, .lane = of_lane, .seq = 1, .parts = &part, .n_parts = 1};
    struct wire_resolve_answer answer;
    int rc;

    h.lane = at_lane;
    h.plan = plan;
    buf_clear(&stage.record);
    wire_resolve_encode(&m, &stage.record);
    rc = stage_send(draft_frame(&h, stage.record.data, stage.record.size));
    if (rc != PS_OK) {
        return rc;
    }
    assert_int_equal(wire_resolve_answer_decode(frame_body(stage.answer->frame),
                                                stage.answer->h.body_bytes,
                                                &stage.arena, &answer),
                     PS_OK);
    assert_int_equal(answer.n_parts, 1);
    return -(int)answer.parts[0].status_negated;
}

/* With durability `memory` nothing of the former life was kept, and no frame
 * of it can come any more. */
static void a_former_lane_is_judged_by_the_present_holder(void **state)
{
    (void)state;
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    live_again();
    assert_int_equal(resolve_at(9, PLAN + 1, LANE, WHOLE), PS_EBUSY);
    assert_int_equal(stage_set_plan(), PS_OK);
    assert_int_equal(resolve_at(9, PLAN + 1, LANE, WHOLE), PS_ECANCELED);
    assert_int_equal(resolve_at(9, PLAN + 2, LANE, WHOLE), PS_EBUSY);
    assert_int_equal(resolve_at(9, PLAN + 1, LANE, AWAY), PS_EMOVED);
    assert_int_equal(resolve_at(9, PLAN + 1, LANE, 99), PS_ECANCELED);
    assert_int_equal(resolve_at(9, PLAN + 1, 3, WHOLE), PS_EUNSURE);
}

/* It was meant for another life of the server: nothing is canceled here. */
static void a_resolve_for_another_lane_is_not_answered(void **state)
{
    (void)state;
    assert_int_equal(resolve_at(OTHER_LANE, PLAN, LANE, WHOLE), PS_ELANE);
    assert_int_equal(resolve_at(OTHER_LANE, PLAN, OTHER_LANE, WHOLE), PS_ELANE);
    assert_int_equal(shard_stats(stage.shard)->resolves, 0);
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    shard_start_lane(stage.shard, 0, 3);
    assert_int_equal(resolve_at(LANE, PLAN, LANE, WHOLE), PS_EBUSY);
    live_again();
    assert_int_equal(stage_set_plan(), PS_OK);
    assert_int_equal(resolve_at(LANE, PLAN, LANE, WHOLE), PS_ELANE);
}

static void count_row(void *context, uint32_t variable, uint64_t key,
                      const float *values, uint32_t dim)
{
    uint32_t *n = context;

    n[variable]++;
    if (variable == WHOLE) {
        assert_int_equal(dim, 2);
        assert_true(key == 77 || key == 78);
        assert_true(values[0] == (float)key);
    }
}

static void a_walk_sees_every_row(void **state)
{
    uint32_t n[5] = {0};

    (void)state;
    assert_int_equal(stage_push(1, 77, 77), PS_OK);
    assert_int_equal(stage_push(2, 78, 78), PS_OK);
    shard_walk(stage.shard, count_row, n);
    assert_int_equal(n[WHOLE], 2);
    assert_int_equal(n[HALF], 0);
    assert_int_equal(n[DENSE], 4);
}

static void an_older_plan_is_ignored(void **state)
{
    (void)state;
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    stage.plan.w.plan = PLAN - 1;
    stage.plan.parts[0].lane = OTHER_LANE;
    assert_int_equal(stage_set_plan(), PS_OK);
    assert_int_equal(shard_plan_number(stage.shard), PLAN);
    assert_int_equal(stage_push(2, 77, 1), PS_OK);
}

static void a_record_that_makes_no_sense_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(shard_set_plan(stage.shard, "12345678", 8), PS_EPROTOCOL);
    assert_int_equal(shard_set_sessions(stage.shard, 9, "12345678", 8),
                     PS_EPROTOCOL);
    assert_int_equal(shard_sessions_version(stage.shard), 1);
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
}

static void without_memory_it_keeps_its_former_plan(void **state)
{
    bool has_failed = false;

    (void)state;
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    stage.plan.w.plan = PLAN + 1;
    draft_variable(&stage.plan, "new", PS_HASH64, 0, 4);
    draft_part(&stage.plan, 5, 0, LIMIT_BUCKETS, LANE, PLAN + 1);
    for (uint64_t n = 1; n < 200; n++) {
        int rc;

        mem_fail_at(n);
        rc = stage_set_plan();
        mem_fail_at(0);
        if (rc == PS_OK) {
            assert_int_equal(shard_plan_number(stage.shard), PLAN + 1);
            break;
        }
        has_failed = true;
        assert_int_equal(rc, PS_ENOMEM);
        assert_int_equal(shard_plan_number(stage.shard), PLAN);
        assert_true(stage_value(77) == 1);
    }
    assert_true(has_failed);
    assert_int_equal(shard_plan_number(stage.shard), PLAN + 1);
    assert_true(stage_value(77) == 1);
}

/* The connection ends and no number is touched (5.1). */
static void expect_refused(struct frame *f)
{
    uint64_t errors = shard_stats(stage.shard)->protocol_errors;

    assert_int_equal(stage_send(f), NO_ANSWER);
    assert_true(tape_is_closed(&stage.net, stage.connection));
    assert_int_equal(shard_stats(stage.shard)->protocol_errors, errors + 1);
    assert_int_equal(stage.n_applied, 0);
    stage_connect();
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    assert_false(stage_is_repeat());
}

static void a_body_that_is_no_run_ends_the_connection(void **state)
{
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    expect_refused(draft_frame(&h, "0123456789abcdef", 16));
}

static void a_body_that_is_missing_ends_the_connection(void **state)
{
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    expect_refused(draft_frame(&h, NULL, 0));
}

static void an_unknown_chain_ends_the_connection(void **state)
{
    const uint64_t key = 77;
    const float values[] = {1, 1};
    struct run_op op = stage_op("never registered", WHOLE, 2, &key, values);
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    expect_refused(draft_run(&h, &op, 1));
}

static void an_unknown_type_ends_the_connection(void **state)
{
    struct frame_header h = stage_header(WIRE_RUN, 0);

    (void)state;
    h.type = 77;
    expect_refused(draft_frame(&h, NULL, 0));
}

static void a_message_for_the_scheduler_ends_the_connection(void **state)
{
    struct frame_header h = stage_header(WIRE_DROP, 0);
    const struct wire_drop m = {.name = "whole"};

    (void)state;
    buf_clear(&stage.record);
    wire_drop_encode(&m, &stage.record);
    expect_refused(draft_frame(&h, stage.record.data, stage.record.size));
}

static void an_answer_ends_the_connection(void **state)
{
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    h.flags = FRAME_ANSWER;
    expect_refused(stage_push_frame(&h, 77, 1));
}

static void a_first_unanswered_that_cannot_be_is_not_believed(void **state)
{
    static const uint64_t firsts[] = {2, 100, UINT64_MAX, 0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(firsts); i++) {
        struct frame_header h = stage_header(WIRE_RUN, 1);

        h.first = firsts[i];
        (void)stage_send(stage_push_frame(&h, 77, 1));
        if (tape_is_closed(&stage.net, stage.connection)) {
            stage_connect();
        }
    }
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    assert_int_equal(stage_push(2, 77, 1), PS_OK);
    assert_true(stage_value(77) == 2);
}

static void a_write_without_a_number_is_never_applied(void **state)
{
    struct frame_header h = stage_header(WIRE_RUN, 0);

    (void)state;
    assert_int_not_equal(stage_send(stage_push_frame(&h, 77, 1)), PS_OK);
    stage.n_applied = 0;
    if (tape_is_closed(&stage.net, stage.connection)) {
        stage_connect();
    }
    assert_true(stage_value(77) == 0);
}

static void a_wrong_dim_is_never_applied(void **state)
{
    const uint64_t key = 77;
    const float values[] = {1, 1, 1, 1};
    struct run_op op = stage_op(stage_add, WHOLE, 4, &key, values);
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    assert_int_not_equal(stage_send(draft_run(&h, &op, 1)), PS_OK);
    assert_int_equal(stage.n_applied, 0);
}

static void a_push_without_values_is_never_applied(void **state)
{
    const uint64_t key = 77;
    struct run_op op = stage_op(stage_add, WHOLE, 2, &key, NULL);
    struct frame_header h = stage_header(WIRE_RUN, 1);

    (void)state;
    assert_int_not_equal(stage_send(draft_run(&h, &op, 1)), PS_OK);
    assert_int_equal(stage.n_applied, 0);
}

/* Every byte of a push set to something else, its checksum right. */
static void no_byte_of_a_frame_is_trusted(void **state)
{
    struct frame_header h = stage_header(WIRE_RUN, 1);
    struct frame *good = stage_push_frame(&h, 77, 1);
    static const uint8_t masks[] = {0x01, 0x80, 0xff};

    (void)state;
    for (size_t i = 0; i < good->body_bytes; i++) {
        for (size_t m = 0; m < ARRAY_LEN(masks); m++) {
            uint8_t *body = frame_body(good);

            body[i] ^= masks[m];
            h.seq = 1 + stage.n_applied;
            (void)stage_send(draft_frame(&h, body, good->body_bytes));
            body[i] ^= masks[m];
            if (tape_is_closed(&stage.net, stage.connection)) {
                stage_connect();
            }
            shard_start_lane(stage.shard, 0, 3);
            shard_start_lane(stage.shard, LANE, 3);
            shard_set_lease(stage.shard, LANE, LEASE_US);
            assert_int_equal(stage_set_plan(), PS_OK);
            stage.n_applied = 0;
            stage.net.n_connects = base_min_u64(stage.net.n_connects, 200);
        }
    }
    frame_put(good);
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(hello_is_answered_with_who_it_is),
        STAGED(answers_have_a_checksum_where_the_client_asks_for_it),
        STAGED(another_version_is_refused),
        STAGED(hello_comes_first),
        STAGED(connections_are_counted),
        STAGED(a_chain_that_it_cannot_run_is_refused_with_the_reason),
        STAGED(an_id_that_is_not_its_definitions_is_refused),
        STAGED(chains_that_never_run_take_no_place_for_good),
        STAGED(a_chain_can_be_registered_again),
        STAGED(without_its_updater_nobody_knows_what_rows_have),
        STAGED(a_question_names_as_many_parts_as_a_frame),
        STAGED(an_applied_number_is_applied),
        STAGED(a_refused_number_keeps_its_reason),
        STAGED(the_next_number_is_canceled_in_the_same_step),
        STAGED(a_number_ahead_is_canceled_before_its_turn),
        STAGED(a_session_without_frames_here_can_be_canceled),
        STAGED(an_ended_session_is_resolvable_for_a_stated_time),
        STAGED(an_open_session_is_judged_after_a_younger_was_forgotten),
        STAGED(a_session_above_the_newest_is_not_judged),
        STAGED(a_live_lanes_own_shard_is_asked_for_any_part),
        STAGED(a_lane_that_is_not_known_is_not_judged),
        STAGED(a_former_lane_is_judged_by_the_present_holder),
        STAGED(a_resolve_for_another_lane_is_not_answered),
        STAGED(a_walk_sees_every_row),
        STAGED(an_older_plan_is_ignored),
        STAGED(a_record_that_makes_no_sense_changes_nothing),
        STAGED(without_memory_it_keeps_its_former_plan),
        STAGED(a_body_that_is_no_run_ends_the_connection),
        STAGED(a_body_that_is_missing_ends_the_connection),
        STAGED(an_unknown_chain_ends_the_connection),
        STAGED(an_unknown_type_ends_the_connection),
        STAGED(a_message_for_the_scheduler_ends_the_connection),
        STAGED(an_answer_ends_the_connection),
        STAGED(a_first_unanswered_that_cannot_be_is_not_believed),
        STAGED(a_write_without_a_number_is_never_applied),
        STAGED(a_wrong_dim_is_never_applied),
        STAGED(a_push_without_values_is_never_applied),
        STAGED(no_byte_of_a_frame_is_trusted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
