/* test_save_request.c - who gets which save, and learns how it ended. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "scheduler_stage.h"

/* The answer to a SAVE after a while. */
static int ask(const char *name, uint32_t whole)
{
    stage_send_save(0, name, whole);
    stage_pass(200);
    return stage_answer(&stage.a);
}

/* The ticket that the order gets. */
static uint64_t order(uint64_t nonce, const char *name)
{
    struct wire_ticket m;

    stage_send_save(nonce, name, 0);
    stage_pass(200);
    assert_int_equal(stage_answer(&stage.a), PS_OK);
    arena_reset(&stage.arena);
    assert_int_equal(wire_ticket_decode(frame_body(stage.a.answer->frame),
                                        stage.a.answer->h.body_bytes,
                                        &stage.arena, &m),
                     PS_OK);
    return m.ticket;
}

static void a_save_is_shared_by_those_who_ask_for_the_same(void **state)
{
    uint64_t ticket;
    struct wire_save w;
    struct wire_shard said;

    (void)state;
    stage_begin_with_root(7);
    stage_put_session(1); /* which does not report */
    stage_pass(500);
    assert_int_equal(ask("monday", 0), PS_OK);
    w = stage_save_record();
    assert_int_equal(w.state, SAVE_OPEN);
    ticket = w.ticket;
    assert_int_equal(ask("monday", 0), PS_OK);
    assert_int_equal(ask("tuesday", 0), PS_ENOTREADY);
    assert_int_equal(ask("monday", 1), PS_ENOTREADY);
    assert_int_equal(stage_save_record().ticket, ticket);
    assert_int_equal(stage_cancel(ticket + 1), PS_ENOTFOUND);
    assert_int_equal(stage_cancel(ticket), PS_OK);
    stage_pass(500);
    assert_int_equal(stage_save_record().state, SAVE_CANCELED);
    /* Then the other begins; who comes when all have reported waits. */
    stage.actors[ACTORS - 1].is_alive = false;
    stage_pass(2 * LENGTH_MS);
    assert_false(stage_has_session(1));
    assert_int_equal(ask("tuesday", 0), PS_OK);
    w = stage_save_record();
    assert_string_equal(w.name, "tuesday");
    assert_int_equal(w.state, SAVE_CLOSED);
    assert_int_equal(ask("tuesday", 0), PS_ENOTREADY);
    said = stage_saved(0);
    stage_report(0, &said);
    stage_pass(500);
    assert_int_equal(stage_save_record().state, SAVE_DONE);
    assert_int_equal(ask("wednesday", 0), PS_OK);
    assert_string_equal(stage_save_record().name, "wednesday");
}

static void
an_order_asked_again_gets_its_ticket_from_any_scheduler(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    struct wire_shard said;
    struct wire_save w;
    uint64_t ticket;

    (void)state;
    stage_begin_with_root(7);
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK); /* it is no new one */
    stage_put_session(1);
    stage_pass(500);
    ticket = order(91, "monday");
    assert_int_equal(order(91, "monday"), ticket);
    /* Who shares it may have lost the answer as well. */
    assert_int_equal(order(92, "monday"), ticket);
    stage_follow(300);
    assert_int_equal(order(92, "monday"), ticket);
    stage.actors[ACTORS - 1].is_alive = false;
    stage_pass(2 * LENGTH_MS);
    w = stage_save_record();
    assert_int_equal(w.state, SAVE_CLOSED);
    assert_int_equal(w.ticket, ticket);
    said = stage_saved(0);
    stage_report(0, &said);
    stage_pass(500);
    assert_int_equal(stage_save_record().state, SAVE_DONE);
    /* It is done: no second one is made. */
    assert_int_equal(order(91, "monday"), ticket);
    stage_follow(400);
    assert_int_equal(order(92, "monday"), ticket);
    w = stage_save_record();
    assert_int_equal(w.state, SAVE_DONE);
    assert_int_equal(w.ticket, ticket);
    assert_int_equal(w.n_asked, 2);
    assert_int_equal(order(93, "monday"), ticket + 1);
    assert_int_equal(order(91, "monday"), ticket);
}

static void an_order_is_answered_when_the_record_has_it(void **state)
{
    struct desk *d = &stage.a;

    (void)state;
    stage_begin_with_root(7);
    stage_put_session(1);
    stage_pass(500);
    (void)order(91, "");
    stage_send_save(92, "", 0);
    assert_int_equal(stage_answer(d), NO_ANSWER);
    assert_int_equal(stage_save_record().n_asked, 1);
    stage_pass(50);
    assert_int_equal(stage_answer(d), PS_OK);
    assert_int_equal(stage_save_record().n_asked, 2);
    assert_int_equal(stage_save_record().asked[1].nonce, 92);
}

static void the_last_orders_are_kept_and_no_more(void **state)
{
    uint64_t ticket;

    (void)state;
    stage_begin_with_root(7);
    stage_put_session(1);
    stage_pass(500);
    ticket = order(1, "");
    for (uint64_t i = 2; i <= 70; i++) {
        assert_int_equal(order(i, ""), ticket);
    }
    assert_int_equal(stage_save_record().n_asked, 64);
    assert_int_equal(stage_save_record().asked[0].nonce, 7);
    assert_int_equal(stage_save_record().asked[63].nonce, 70);
}

static void a_cancel_asked_again_is_done(void **state)
{
    uint64_t ticket;

    (void)state;
    stage_begin_with_root(7);
    stage_put_session(1);
    stage_pass(500);
    ticket = order(91, "");
    assert_int_equal(stage_cancel(ticket), PS_OK);
    stage_pass(500);
    assert_int_equal(stage_save_record().state, SAVE_CANCELED);
    assert_int_equal(stage_cancel(ticket), PS_OK);
    assert_int_equal(stage_cancel(0), PS_ENOTFOUND);
}

/* ---- how it ended ------------------------------------------------------- */

static void expect_order(uint32_t i, uint64_t nonce, uint32_t state_of,
                         const struct wire_save *then, const char *why)
{
    struct wire_save w = stage_save_record();

    assert_true(i < w.n_asked);
    assert_int_equal(w.asked[i].nonce, nonce);
    assert_int_equal(w.asked[i].ticket, then->ticket);
    assert_int_equal(w.asked[i].state, state_of);
    assert_int_equal(w.asked[i].cut, then->cut);
    assert_string_equal(w.asked[i].folder, then->folder);
    assert_string_equal(w.asked[i].why, why);
}

static void how_a_save_ended_stays_beside_its_order(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    struct wire_shard said;
    struct wire_save done, failed, canceled;

    (void)state;
    stage_begin_with_root(7);
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK); /* it is no new one */
    (void)order(91, "");
    expect_order(0, 91, SAVE_CLOSED,
                 &(struct wire_save){.ticket = 1,
                                     .cut = 2,
                                     .folder = stage_save_record().folder},
                 "");
    said = stage_saved(0);
    said.rows = 3;
    stage_report(0, &said);
    stage_pass(500);
    done = stage_save_record();
    assert_int_equal(done.state, SAVE_DONE);
    (void)order(92, "");
    failed = stage_save_record();
    said = (struct wire_shard){
        .cut = failed.cut, .saved = SAVED_FAILED, .why = "it is full"};
    stage_report(0, &said);
    stage_pass(500);
    assert_int_equal(stage_save_record().state, SAVE_FAILED);
    (void)order(93, "");
    canceled = stage_save_record();
    assert_int_equal(stage_cancel(canceled.ticket), PS_OK);
    stage_pass(500);
    (void)order(94, "");
    for (uint64_t i = 0; i < 2; i++) {
        expect_order(0, 91, SAVE_DONE, &done, "");
        assert_int_equal(stage_save_record().asked[0].rows, 3);
        expect_order(1, 92, SAVE_FAILED, &failed, "lane 7: it is full");
        expect_order(2, 93, SAVE_CANCELED, &canceled, "canceled on request");
        assert_int_equal(stage_save_record().asked[3].ticket,
                         canceled.ticket + 1);
        stage_follow(300 + 100 * i); /* and it knows */
    }
}

/* ---- who wants more than it has ----------------------------------------- */

static int order_after_step(uint64_t nonce, uint64_t cut)
{
    struct wire_save_request m = {.nonce = nonce, .name = "", .cut = cut};
    struct buf b;

    buf_init(&b);
    wire_save_request_encode(&m, &b);
    stage_send(&stage.a, WIRE_SAVE, &b);
    buf_fini(&b);
    stage_pass(200);
    return stage_answer(&stage.a);
}

static void who_has_gone_on_beyond_its_cut_does_not_share_a_save(void **state)
{
    struct wire_save w;
    uint64_t ticket;

    (void)state;
    stage_begin_with_root(7);
    stage_put_session(1); /* which does not report */
    stage_pass(500);
    ticket = order(91, "");
    w = stage_save_record();
    assert_int_equal(w.state, SAVE_OPEN);
    assert_int_equal(order_after_step(92, w.cut - 1), PS_OK);
    assert_int_equal(order_after_step(93, w.cut), PS_ENOTREADY);
    assert_int_equal(stage_save_record().n_asked, 2);
    /* It has its ticket: what it has done since is another matter. */
    assert_int_equal(order_after_step(92, w.cut), PS_OK);
    /* Begun again it is of the next cut, which all that is in. */
    stage_put_server(0, 8);
    stage_pass(1000);
    assert_true(stage_save_record().cut > w.cut);
    assert_int_equal(order_after_step(93, w.cut), PS_OK);
    assert_int_equal(stage_save_record().ticket, ticket);
    assert_int_equal(stage_save_record().n_asked, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(a_save_is_shared_by_those_who_ask_for_the_same),
        STAGED(an_order_asked_again_gets_its_ticket_from_any_scheduler),
        STAGED(an_order_is_answered_when_the_record_has_it),
        STAGED(the_last_orders_are_kept_and_no_more),
        STAGED(a_cancel_asked_again_is_done),
        STAGED(how_a_save_ended_stays_beside_its_order),
        STAGED(who_has_gone_on_beyond_its_cut_does_not_share_a_save),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
