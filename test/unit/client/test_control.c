/* test_control.c - what a client asks of the scheduler: DECLARE and DROP. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "coord/lease.h"
#include "session_stage.h"

/* A scheduler holds its lease, at this address. */
static void put_scheduler(const char *address)
{
    struct wire_scheduler m = {.address = address};
    static uint64_t renewal = 1;
    struct buf body;

    buf_init(&body);
    wire_scheduler_encode(&m, &body);
    assert_false(body.failed);
    renewal++;
    draft_lease(&stage.record, 5, renewal, LEASE_TAKEN, &body);
    shelf_put(&stage.shelf, "scheduler", &stage.record);
    buf_fini(&body);
}

static struct request *declare(void)
{
    const struct wire_variable v = {.name = "user",
                                    .kind = PS_HASH64,
                                    .dim = 8,
                                    .updater = "AssignAddUpdater"};
    struct request *r;

    assert_int_equal(session_declare(stage.session, &v, &r), PS_OK);
    return r;
}

static struct tape_frame *take(enum wire_type type)
{
    struct tape_frame *f = stage_take();

    assert_non_null(f);
    assert_int_equal(f->h.type, type);
    return f;
}

static void answer(const struct tape_frame *to, int status, struct buf *body)
{
    struct frame_header h = to->h;
    struct frame *f;

    assert_false(body->failed);
    h.flags = FRAME_ANSWER;
    h.status = status;
    f = draft_frame(&h, body->data, body->size);
    assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
    session_on_frame(stage.session, to->connection, &h, f);
    frame_put(f);
}

static void answer_declared(const struct tape_frame *f, uint32_t id,
                            uint64_t plan)
{
    struct wire_declare_answer m = {.id = id, .plan = plan};
    struct buf b;

    buf_init(&b);
    wire_declare_answer_encode(&m, &b);
    answer(f, PS_OK, &b);
    buf_fini(&b);
}

static void answer_refused(const struct tape_frame *f, int status,
                           const char *text)
{
    struct wire_text m = {.text = text};
    struct buf b;

    buf_init(&b);
    wire_text_encode(&m, &b);
    answer(f, status, &b);
    buf_fini(&b);
}

static void put_user(uint64_t plan)
{
    stage.plan.w.plan = plan;
    draft_variable(&stage.plan, "user", PS_HASH64, 0, 8);
    draft_part(&stage.plan, 4, 0, LIMIT_BUCKETS, A, plan);
    stage_put_plan();
}

/* It settles when the plan is here that has the variable. */
static void a_declaration_waits_for_its_plan(void **state)
{
    struct request *r;
    struct tape_frame *f;

    (void)state;
    put_scheduler("s:1");
    r = declare();
    f = take(WIRE_DECLARE);
    assert_string_equal(stage.net.connects[f->connection - 1].address, "s:1");
    answer_declared(f, 4, PLAN + 1);
    tape_free(f);
    stage_pass(300);
    assert_false(request_has_settled(r));
    put_user(PLAN + 1);
    stage_pass(300);
    assert_true(request_has_settled(r));
    assert_int_equal(request_declared(r)->id, 4);
    assert_int_equal(request_declared(r)->dim, 8);
    stage_done(r, PS_OK);
}

static void a_refusal_comes_with_its_text(void **state)
{
    struct request *r;
    struct tape_frame *f;

    (void)state;
    put_scheduler("s:1");
    r = declare();
    f = take(WIRE_DECLARE);
    answer_refused(f, PS_ECONFLICT, "dim 8 here, dim 16 there");
    tape_free(f);
    stage_run();
    assert_true(request_has_settled(r));
    assert_string_equal(request_text(r), "dim 8 here, dim 16 there");
    stage_done(r, PS_ECONFLICT);
}

static void a_scheduler_that_is_not_ready_is_asked_again(void **state)
{
    struct request *r;
    struct tape_frame *f;

    (void)state;
    put_scheduler("s:1");
    put_user(PLAN + 1);
    r = declare();
    f = take(WIRE_DECLARE);
    answer_refused(f, PS_ENOTREADY, "waits for servers");
    tape_free(f);
    stage_expect_silence();
    stage_pass(2000);
    assert_false(request_has_settled(r));
    f = take(WIRE_DECLARE);
    answer_declared(f, 4, PLAN + 1);
    tape_free(f);
    stage_pass(300);
    stage_done(r, PS_OK);
}

static void without_a_scheduler_it_waits_for_one(void **state)
{
    struct request *r = declare();
    struct tape_frame *f;

    (void)state;
    stage_pass(5000);
    assert_false(request_has_settled(r));
    put_scheduler("s:1");
    put_user(PLAN + 1);
    stage_pass(2000);
    f = take(WIRE_DECLARE);
    answer_declared(f, 4, PLAN + 1);
    tape_free(f);
    stage_pass(300);
    stage_done(r, PS_OK);
}

static void a_late_declaration_names_the_scheduler_not_a_late_push(void **state)
{
    struct request *push;
    struct request *r;
    struct tape_frame *f;
    char text[256] = "";

    (void)state;
    stage.refuse = true;
    push = stage_push(77, 1);
    r = declare();
    stage_pass(500);
    session_waits_for(stage.session, text, sizeof(text));
    assert_non_null(strstr(text, "server 0"));
    session_request_waits_for(stage.session, r, text, sizeof(text));
    assert_string_equal(text, "the scheduler");
    stage.refuse = false;
    stage_pass(1000);
    stage_serve(A, 1, PS_OK);
    stage_done(push, PS_OK);
    put_scheduler("s:1");
    put_user(PLAN + 1);
    stage_pass(2000);
    f = take(WIRE_DECLARE);
    answer_declared(f, 4, PLAN + 1);
    tape_free(f);
    stage_pass(300);
    stage_done(r, PS_OK);
}

static void after_a_failover_the_new_scheduler_is_asked(void **state)
{
    struct request *r;
    struct tape_frame *f;

    (void)state;
    put_scheduler("s:1");
    put_user(PLAN + 1);
    r = declare();
    tape_free(take(WIRE_DECLARE));
    put_scheduler("s:2");
    stage_cut_connection("s:1");
    stage_pass(1000);
    f = take(WIRE_DECLARE);
    assert_string_equal(stage.net.connects[f->connection - 1].address, "s:2");
    answer_declared(f, 4, PLAN + 1);
    tape_free(f);
    stage_pass(300);
    stage_done(r, PS_OK);
}

static void a_scheduler_that_is_silent_is_given_up(void **state)
{
    struct request *r;
    struct tape_frame *f;

    (void)state;
    put_scheduler("s:1");
    put_user(PLAN + 1);
    r = declare();
    tape_free(take(WIRE_DECLARE));
    put_scheduler("s:2");
    stage_pass(15000);
    f = take(WIRE_DECLARE);
    while (strcmp(stage.net.connects[f->connection - 1].address, "s:2") != 0) {
        tape_free(f);
        f = take(WIRE_DECLARE);
    }
    tape_free(f);
    stage_pass(100);
    session_abandon(r);
}

static void refuse_drop(int status, const char *text)
{
    struct tape_frame *f = take(WIRE_DROP);

    answer_refused(f, status, text);
    tape_free(f);
    stage_pass(300);
}

static void a_drop_is_answered(void **state)
{
    struct request *r;
    struct tape_frame *f;
    struct buf b;

    (void)state;
    put_scheduler("s:1");
    assert_int_equal(session_drop(stage.session, "whole", &r), PS_OK);
    f = take(WIRE_DROP);
    buf_init(&b);
    answer(f, PS_OK, &b);
    buf_fini(&b);
    tape_free(f);
    stage_pass(300);
    stage_done(r, PS_OK);
    assert_int_equal(session_drop(stage.session, "none", &r), PS_OK);
    refuse_drop(PS_ENOTFOUND, "no variable none");
    stage_done(r, PS_ENOTFOUND);
}

/* The answer to the first was lost: what is not there any more was dropped. */
static void a_drop_that_was_done_and_is_asked_again_is_done(void **state)
{
    struct request *r;

    (void)state;
    put_scheduler("s:1");
    assert_int_equal(session_drop(stage.session, "whole", &r), PS_OK);
    tape_free(take(WIRE_DROP));
    stage_cut_connection("s:1");
    stage_pass(1000);
    refuse_drop(PS_ENOTFOUND, "no variable whole");
    stage_done(r, PS_OK);
}

/* The next one stands by at first: the lost one may still have done it. */
static void a_drop_that_was_done_and_then_put_off_is_done(void **state)
{
    struct request *r;

    (void)state;
    put_scheduler("s:1");
    assert_int_equal(session_drop(stage.session, "whole", &r), PS_OK);
    tape_free(take(WIRE_DROP));
    put_scheduler("s:2");
    stage_cut_connection("s:1");
    stage_pass(1000);
    refuse_drop(PS_ENOTREADY, "stands by");
    stage_pass(500);
    refuse_drop(PS_ENOTFOUND, "no variable whole");
    stage_done(r, PS_OK);
}

/* Then the first did nothing. */
static void a_drop_that_was_refused_and_is_asked_again_is_not(void **state)
{
    struct request *r;

    (void)state;
    put_scheduler("s:1");
    assert_int_equal(session_drop(stage.session, "none", &r), PS_OK);
    refuse_drop(PS_ENOTREADY, "waits for servers");
    stage_pass(500);
    refuse_drop(PS_ENOTFOUND, "no variable none");
    stage_done(r, PS_ENOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(a_declaration_waits_for_its_plan),
        STAGED(a_refusal_comes_with_its_text),
        STAGED(a_scheduler_that_is_not_ready_is_asked_again),
        STAGED(without_a_scheduler_it_waits_for_one),
        STAGED(a_late_declaration_names_the_scheduler_not_a_late_push),
        STAGED(after_a_failover_the_new_scheduler_is_asked),
        STAGED(a_scheduler_that_is_silent_is_given_up),
        STAGED(a_drop_is_answered),
        STAGED(a_drop_that_was_done_and_is_asked_again_is_done),
        STAGED(a_drop_that_was_done_and_then_put_off_is_done),
        STAGED(a_drop_that_was_refused_and_is_asked_again_is_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
