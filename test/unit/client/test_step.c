/* test_step.c - a client's part in cuts (protocol 8.1), and saves asked for. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "coord/lease.h"
#include "session_stage.h"

enum { FIRST_CUT = 1, TICKET = 3, LOOK_MS = 200, LEASE_PASS_MS = 1500 };

static void put_save_after(uint64_t ticket, uint64_t cut, uint32_t state_of,
                           const struct wire_asked *orders, uint32_t n)
{
    struct wire_save w = {.nonce = 9,
                          .term = 1,
                          .ticket = ticket,
                          .cut = cut,
                          .state = state_of,
                          .plan = PLAN,
                          .name = "monday",
                          .folder = "ckpt-000000000002-1",
                          .why = state_of >= SAVE_FAILED ? "it is full" : "",
                          .rows = 10,
                          .rows_done = 4,
                          .asked = orders,
                          .n_asked = n};

    buf_clear(&stage.record);
    wire_save_encode(&w, &stage.record);
    assert_false(stage.record.failed);
    shelf_put(&stage.shelf, "save", &stage.record);
}

static void put_save(uint64_t ticket, uint64_t cut, uint32_t state_of)
{
    put_save_after(ticket, cut, state_of, NULL, 0);
}

/* A save of this cut is under way, and the client knows. */
static void cut_to(uint64_t cut)
{
    put_save(TICKET, cut, SAVE_OPEN);
    stage_pass(LOOK_MS);
}

/* What the session's lease says: its cut; the position is compared. */
static uint64_t reported(const char *position)
{
    struct wire_lease lease;
    struct wire_guest guest = {.cut = 0};

    stage_pass(LOOK_MS);
    arena_reset(&stage.arena);
    assert_true(shelf_get(&stage.shelf, "session/5") > 0);
    assert_int_equal(wire_lease_decode(stage.shelf.data, stage.shelf.size,
                                       &stage.arena, &lease),
                     PS_OK);
    if (lease.body.size > 0) {
        assert_int_equal(wire_guest_decode(lease.body.data, lease.body.size,
                                           &stage.arena, &guest),
                         PS_OK);
    }
    if (position != NULL) {
        assert_int_equal(guest.position.size, strlen(position));
        assert_memory_equal(guest.position.data, position, strlen(position));
    }
    return guest.cut;
}

static void step(const char *position)
{
    assert_int_equal(step_boundary(stage.session, position, strlen(position)),
                     PS_OK);
}

/* A push that is answered: the session has its number then. */
static void open_session(void)
{
    struct request *r = stage_push(1, 1);

    stage_serve(A, 1, PS_OK);
    stage_done(r, PS_OK);
}

/* The stamp of the next frame, which stays unanswered. */
static uint64_t stamp(uint64_t seq, struct tape_frame **f)
{
    *f = stage_take_run(A, seq);
    return (*f)->h.cut;
}

static void answer(struct tape_frame *f, struct request *r)
{
    stage_answer(f, PS_OK);
    tape_free(f);
    stage_done(r, PS_OK);
}

static void an_idle_client_reports_at_once(void **state)
{
    (void)state;
    open_session();
    cut_to(2);
    assert_int_equal(reported(""), 2);
    cut_to(5);
    assert_int_equal(reported(""), 5);
}

static void
a_client_without_steps_takes_the_cut_between_two_requests(void **state)
{
    struct tape_frame *older, *newer;
    struct request *a, *b;

    (void)state;
    open_session();
    a = stage_push(2, 1);
    assert_int_equal(stamp(2, &older), FIRST_CUT);
    cut_to(2);
    b = stage_push(3, 1);
    assert_int_equal(stamp(3, &newer), 2);
    assert_int_not_equal(reported(NULL), 2);
    answer(older, a);
    /* The newer one is not waited for. */
    assert_int_equal(reported(""), 2);
    answer(newer, b);
}

static void a_client_with_steps_takes_the_cut_at_the_end_of_one(void **state)
{
    struct tape_frame *f;
    struct request *r;

    (void)state;
    open_session();
    step("one");
    r = stage_push(2, 1);
    answer(stage_take_run(A, 2), r);
    cut_to(2);
    /* In the middle of the second step. */
    r = stage_push(3, 1);
    assert_int_equal(stamp(3, &f), FIRST_CUT);
    answer(f, r);
    assert_int_not_equal(reported(NULL), 2);
    step("two");
    assert_int_equal(reported("two"), 2);
    r = stage_push(4, 1);
    assert_int_equal(stamp(4, &f), 2);
    answer(f, r);
}

static void
a_report_waits_for_all_of_before_and_keeps_its_position(void **state)
{
    struct tape_frame *older, *newer;
    struct request *a, *b;

    (void)state;
    open_session();
    step("one");
    a = stage_push(2, 1);
    assert_int_equal(stamp(2, &older), FIRST_CUT);
    cut_to(2);
    step("two");
    b = stage_push(3, 1);
    assert_int_equal(stamp(3, &newer), 2);
    step("three");
    assert_int_not_equal(reported(NULL), 2);
    answer(older, a);
    assert_int_equal(reported("two"), 2);
    answer(newer, b);
    assert_int_equal(reported("two"), 2);
}

static void a_pull_does_not_put_a_cut_off(void **state)
{
    const uint64_t key = 9;
    float out[2];
    struct session_op op = stage_pull_op(WHOLE, &key, 1, out);
    struct request *r;
    struct tape_frame *f;

    (void)state;
    open_session();
    step("one");
    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_OK);
    f = stage_take_run(A, 0);
    cut_to(2);
    assert_int_equal(reported("one"), 2);
    answer(f, r);
}

static void a_session_belongs_to_the_cut_that_it_was_opened_at(void **state)
{
    struct wire_sessions w = {.nonce = 1, .cut = 4, .next = SESSION};
    struct tape_frame *f;
    struct request *r;

    (void)state;
    buf_clear(&stage.record);
    wire_sessions_encode(&w, &stage.record);
    shelf_put(&stage.shelf, "sessions", &stage.record);
    /* It has not heard of that cut when it pushes. */
    r = stage_push(1, 1);
    assert_int_equal(stamp(1, &f), 4);
    answer(f, r);
    /* Nobody waits for its report. */
    assert_int_equal(reported(NULL), 0);
    cut_to(5);
    assert_int_equal(reported(""), 5);
}

static void a_frame_that_is_sent_again_has_its_first_stamp(void **state)
{
    struct tape_frame *f;
    struct request *r;

    (void)state;
    open_session();
    r = stage_push(2, 1);
    assert_int_equal(stamp(2, &f), FIRST_CUT);
    tape_free(f);
    cut_to(2);
    stage_cut_connection("a:1");
    stage_pass(LEASE_PASS_MS);
    assert_int_equal(stamp(2, &f), FIRST_CUT);
    answer(f, r);
    assert_int_equal(reported(""), 2);
}

/* ---- saves -------------------------------------------------------------- */

static void put_scheduler(void)
{
    struct wire_scheduler m = {.address = "s:1"};
    struct buf body;

    buf_init(&body);
    wire_scheduler_encode(&m, &body);
    draft_lease(&stage.record, 5, 1, LEASE_TAKEN, &body);
    shelf_put(&stage.shelf, "scheduler", &stage.record);
    buf_fini(&body);
}

static void answer_order(struct tape_frame *to, int status, uint64_t ticket,
                         const char *text)
{
    struct wire_ticket t = {.ticket = ticket};
    struct wire_text w = {.text = text};
    struct frame_header h;
    struct frame *f;
    struct buf b;

    assert_non_null(to);
    assert_true(to->h.type == WIRE_SAVE || to->h.type == WIRE_CANCEL);
    buf_init(&b);
    if (status == PS_OK) {
        wire_ticket_encode(&t, &b);
    } else {
        wire_text_encode(&w, &b);
    }
    h = to->h;
    h.flags = FRAME_ANSWER;
    h.status = status;
    f = draft_frame(&h, b.data, b.size);
    assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
    session_on_frame(stage.session, to->connection, &h, f);
    frame_put(f);
    buf_fini(&b);
    tape_free(to);
}

static void answer_control(int status, uint64_t ticket, const char *text)
{
    answer_order(stage_take(), status, ticket, text);
}

/* A save that has its ticket. */
static struct request *save(void)
{
    struct request *r;

    put_scheduler();
    assert_int_equal(session_save(stage.session, "monday", &r), PS_OK);
    stage_pass(LOOK_MS);
    answer_control(PS_OK, TICKET, "");
    stage_pass(LOOK_MS);
    assert_false(request_has_settled(r));
    assert_int_equal(request_ticket(r), TICKET);
    return r;
}

static void a_save_ends_as_its_ticket_does(void **state)
{
    static const struct {
        uint32_t state;
        uint64_t ticket;
        int status;
    } ends[] = {{SAVE_DONE, TICKET, PS_OK},
                {SAVE_FAILED, TICKET, PS_EIO},
                {SAVE_CANCELED, TICKET, PS_ECANCELED},
                /* Nothing says what became of ours. */
                {SAVE_DONE, TICKET + 1, PS_EUNSURE}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        struct ps_save_state now;
        struct request *r;

        put_save(TICKET, 2, SAVE_OPEN);
        r = save();
        put_save(TICKET, 3, SAVE_CLOSED); /* it began again */
        stage_pass(LOOK_MS);
        assert_false(request_has_settled(r));
        step_save_state(stage.session, &now);
        assert_int_equal(now.state, PS_SAVE_CLOSED);
        assert_int_equal(now.cut, 3);
        assert_int_equal(now.rows_done, 4);
        assert_string_equal(now.name, "monday");
        put_save(ends[i].ticket, 3, ends[i].state);
        stage_pass(LOOK_MS);
        stage_done(r, ends[i].status);
        stage_tear_down(NULL);
        stage_set_up(NULL);
    }
}

/* The end was in the store before the ticket was here. */
static void a_save_may_end_before_its_ticket_comes(void **state)
{
    struct request *r;

    (void)state;
    put_scheduler();
    assert_int_equal(session_save(stage.session, "", &r), PS_OK);
    stage_pass(LOOK_MS);
    put_save(TICKET, 2, SAVE_DONE);
    stage_pass(LOOK_MS);
    assert_false(request_has_settled(r));
    answer_control(PS_OK, TICKET, "");
    stage_done(r, PS_OK);
}

/* The next save, after ours has ended so. */
static void put_next_save(uint32_t end)
{
    const struct wire_asked orders[] = {
        {.nonce = 1,
         .ticket = TICKET - 1,
         .state = SAVE_DONE,
         .cut = 2,
         .folder = "ckpt-000000000002-1",
         .why = ""},
        {.nonce = 2,
         .ticket = TICKET,
         .state = end,
         .cut = 3,
         .rows = 70,
         .folder = "ckpt-000000000003-1",
         .why = end == SAVE_DONE ? "" : "so it is"},
        {.nonce = 3,
         .ticket = TICKET + 1,
         .state = SAVE_CLOSED,
         .cut = 4,
         .folder = "ckpt-000000000004-1",
         .why = ""}};

    put_save_after(TICKET + 1, 4, SAVE_CLOSED, orders, ARRAY_LEN(orders));
}

/* Another has begun, or even ended, before this client looked. */
static void how_a_save_ended_is_known_when_others_have_followed(void **state)
{
    static const struct {
        uint32_t state;
        int status;
    } ends[] = {{SAVE_DONE, PS_OK},
                {SAVE_FAILED, PS_EIO},
                {SAVE_CANCELED, PS_ECANCELED},
                {SAVE_OPEN, PS_EUNSURE}}; /* never so, by its scheduler */

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(ends); i++) {
        bool is_late = i >= ARRAY_LEN(ends); /* the ticket */
        uint32_t end = ends[i % ARRAY_LEN(ends)].state;
        struct ps_save_state now;
        struct request *r;

        put_save(TICKET, 2, SAVE_OPEN);
        if (is_late) {
            put_scheduler();
            assert_int_equal(session_save(stage.session, "monday", &r), PS_OK);
            stage_pass(LOOK_MS);
        } else {
            r = save();
        }
        put_next_save(end);
        stage_pass(LOOK_MS);
        if (is_late) {
            answer_control(PS_OK, TICKET, "");
        }
        stage_run();
        assert_true(request_has_settled(r));
        assert_int_equal(step_save_of(r, &now), PS_OK);
        assert_int_equal(now.state, end);
        assert_int_equal(now.ticket, TICKET);
        assert_int_equal(now.cut, 3);
        assert_int_equal(now.rows, 70);
        assert_string_equal(now.name, "monday");
        assert_string_equal(now.folder, "ckpt-000000000003-1");
        if (end == SAVE_FAILED) {
            assert_string_equal(now.why, "so it is");
            assert_string_equal(request_text(r), "so it is");
        }
        stage_done(r, ends[i % ARRAY_LEN(ends)].status);
        stage_tear_down(NULL);
        stage_set_up(NULL);
    }
}

/* What the next SAVE says of the pushes before it. */
static uint64_t cut_of_order(void)
{
    struct wire_save_request m = {.nonce = 0};
    struct tape_frame *to;
    struct request *r;

    put_scheduler();
    assert_int_equal(session_save(stage.session, "", &r), PS_OK);
    stage_pass(LOOK_MS);
    to = stage_take();
    assert_non_null(to);
    assert_int_equal(to->h.type, WIRE_SAVE);
    arena_reset(&stage.arena);
    assert_int_equal(wire_save_request_decode(frame_body(to->frame),
                                              to->h.body_bytes, &stage.arena,
                                              &m),
                     PS_OK);
    answer_order(to, PS_EARGUMENT, 0, "no");
    stage_done(r, PS_EARGUMENT);
    return m.cut;
}

static void an_order_says_after_which_cut_its_client_has_gone_on(void **state)
{
    struct request *r;

    (void)state;
    assert_int_equal(cut_of_order(), 0);
    open_session();
    assert_int_equal(cut_of_order(), FIRST_CUT);
    /* It takes the cut, and pushes nothing more. */
    cut_to(2);
    assert_int_equal(reported(""), 2);
    assert_int_equal(cut_of_order(), FIRST_CUT);
    r = stage_push(2, 1);
    answer(stage_take_run(A, 2), r);
    assert_int_equal(cut_of_order(), 2);
    cut_to(3);
    assert_int_equal(cut_of_order(), 2);
    step("one"); /* nothing was pushed, but the reader has gone on */
    assert_int_equal(cut_of_order(), 3);
}

static void a_save_is_a_boundary_with_the_last_position(void **state)
{
    struct request *save_request, *r;

    (void)state;
    open_session();
    step("one");
    r = stage_push(2, 1);
    answer(stage_take_run(A, 2), r);
    save_request = save();
    cut_to(2);
    assert_int_equal(reported("one"), 2);
    put_save(TICKET, 2, SAVE_DONE);
    stage_pass(LOOK_MS);
    stage_done(save_request, PS_OK);
}

static void a_refused_save_has_the_reason(void **state)
{
    struct ps_save_state now;
    struct request *r;

    (void)state;
    put_scheduler();
    assert_int_equal(session_save(stage.session, "monday", &r), PS_OK);
    stage_pass(LOOK_MS);
    answer_control(PS_EARGUMENT, 0, "there is no place for it");
    stage_done(r, PS_EARGUMENT);
    step_save_state(stage.session, &now);
    assert_int_equal(now.state, PS_SAVE_NONE);
    assert_string_equal(now.why, "there is no place for it");
}

static void a_look_at_the_store_is_newer_than_the_call(void **state)
{
    struct ps_save_state now;

    (void)state;
    stage_run();
    assert_true(step_save_is_known(stage.session)); /* there is none */
    put_save(TICKET, 2, SAVE_OPEN);
    step_save_look(stage.session);
    step_save_look(stage.session);
    assert_false(step_save_is_known(stage.session));
    stage_run(); /* no time passes */
    assert_true(step_save_is_known(stage.session));
    step_save_state(stage.session, &now);
    assert_int_equal(now.ticket, TICKET);
}

static void a_look_that_fails_is_done_again(void **state)
{
    (void)state;
    stage.shelf.is_away = true;
    step_save_look(stage.session);
    stage_pass(LOOK_MS);
    assert_false(step_save_is_known(stage.session));
    stage.shelf.is_away = false;
    stage_pass(LOOK_MS);
    assert_true(step_save_is_known(stage.session));
    cut_to(2); /* and it is watched again */
    open_session();
    assert_int_equal(reported(""), 2); /* it was opened at 1 */
}

static void put_save_of(uint64_t cut, uint64_t plan)
{
    struct wire_save w = {.nonce = 9,
                          .term = 1,
                          .ticket = TICKET,
                          .cut = cut,
                          .state = SAVE_OPEN,
                          .plan = plan,
                          .name = "",
                          .folder = "ckpt-000000000002-1",
                          .why = ""};

    buf_clear(&stage.record);
    wire_save_encode(&w, &stage.record);
    shelf_put(&stage.shelf, "save", &stage.record);
    stage_pass(LOOK_MS);
}

/* The plan goes back to a checkpoint. */
static void go_back(void)
{
    stage.plan.w.plan++;
    stage.plan.w.restore++;
    draft_end_lane(&stage.plan, A, PLAN + 1);
    stage_put_plan();
}

static void say_where(const char *position)
{
    struct wire_reader reader = {
        .session = SESSION,
        .position = {.data = (const uint8_t *)position,
                     .size = (uint32_t)strlen(position)},
        .size = strlen(position)};
    struct wire_restored w = {.restore = stage.plan.w.restore,
                              .cut = 1,
                              .folder = "ckpt-000000000001-1",
                              .readers = &reader,
                              .n_readers = 1};

    buf_clear(&stage.record);
    wire_restored_encode(&w, &stage.record);
    assert_false(stage.record.failed);
    shelf_put(&stage.shelf, "restored", &stage.record);
}

static void a_cut_of_a_plan_that_is_not_known_waits_for_it(void **state)
{
    (void)state;
    open_session();
    step("one");
    put_save_of(2, PLAN + 1);
    assert_int_not_equal(reported(NULL), 2);
    step("two");
    assert_int_not_equal(reported(NULL), 2);
    stage.plan.w.plan++;
    stage_put_plan();
    stage_pass(LOOK_MS);
    assert_int_equal(reported("two"), 2);
}

static void
after_a_rollback_the_reader_stands_where_it_was_told_to(void **state)
{
    uint64_t cut, size;

    (void)state;
    open_session();
    step("one");
    step("nine");
    say_where("one"); /* of an older restore: it is no answer */
    go_back();
    put_save_of(2, PLAN + 1);
    assert_true(rollback_is_on(stage.session));
    assert_int_not_equal(reported(NULL), 2);
    say_where("three");
    stage_pass(1000);
    assert_true(rollback_knows_position(stage.session));
    assert_int_equal(reported("three"), 2);
    /* A step of the old time that ends now. */
    step("ten");
    assert_int_equal(rollback_position(stage.session, &cut, &size)->size, 5);
    assert_int_equal(size, 5);
    rollback_take_note(stage.session);
    put_save_of(3, PLAN + 1);
    assert_int_equal(reported("three"), 3);
    step("four");
    put_save_of(4, PLAN + 1);
    assert_int_equal(reported("four"), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(an_idle_client_reports_at_once),
        STAGED(a_client_without_steps_takes_the_cut_between_two_requests),
        STAGED(a_client_with_steps_takes_the_cut_at_the_end_of_one),
        STAGED(a_report_waits_for_all_of_before_and_keeps_its_position),
        STAGED(a_pull_does_not_put_a_cut_off),
        STAGED(a_session_belongs_to_the_cut_that_it_was_opened_at),
        STAGED(a_frame_that_is_sent_again_has_its_first_stamp),
        STAGED(a_save_ends_as_its_ticket_does),
        STAGED(a_save_may_end_before_its_ticket_comes),
        STAGED(how_a_save_ended_is_known_when_others_have_followed),
        STAGED(an_order_says_after_which_cut_its_client_has_gone_on),
        STAGED(a_save_is_a_boundary_with_the_last_position),
        STAGED(a_refused_save_has_the_reason),
        STAGED(a_look_at_the_store_is_newer_than_the_call),
        STAGED(a_look_that_fails_is_done_again),
        STAGED(a_cut_of_a_plan_that_is_not_known_waits_for_it),
        STAGED(after_a_rollback_the_reader_stands_where_it_was_told_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
