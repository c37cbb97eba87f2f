/* test_session_open.c - a session's number: taking it, holding it, giving it
 * back. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "coord/lease.h"
#include "session_stage.h"

static struct wire_sessions table(void)
{
    struct wire_sessions m;

    assert_true(shelf_get(&stage.shelf, "sessions") > 0);
    arena_reset(&stage.arena);
    assert_int_equal(wire_sessions_decode(stage.shelf.data, stage.shelf.size,
                                          &stage.arena, &m),
                     PS_OK);
    return m;
}

static struct wire_lease lease_of(const char *key)
{
    struct wire_lease m = {.state = LEASE_ENDED};

    if (shelf_get(&stage.shelf, key) > 0) {
        arena_reset(&stage.arena);
        assert_int_equal(wire_lease_decode(stage.shelf.data, stage.shelf.size,
                                           &stage.arena, &m),
                         PS_OK);
    }
    return m;
}

/* A new client in the place of the present one, which does not say goodbye. */
static void open_anew(int worker)
{
    session_free(stage.session);
    shelf_forget(&stage.shelf);
    stage.n_opened = stage.net.n_connects;
    stage_open(worker);
}

static void the_first_push_opens_it(void **state)
{
    struct wire_sessions m;
    struct request *r;

    (void)state;
    assert_int_equal(table().next, SESSION);
    r = stage_push(77, 1);
    stage_serve(A, 1, PS_OK);
    stage_done(r, PS_OK);
    m = table();
    assert_int_equal(m.next, SESSION + 1);
    assert_int_equal(m.n_open, 1);
    assert_int_equal(m.open[0].session, SESSION);
    assert_int_equal(m.open[0].cut, m.cut);
    assert_int_equal(lease_of("session/5").state, LEASE_TAKEN);
}

static void it_renews_for_as_long_as_it_lives(void **state)
{
    uint64_t renewal = 0;
    struct request *r = stage_push(77, 1);

    (void)state;
    stage_serve(A, 1, PS_OK);
    stage_done(r, PS_OK);
    for (int i = 0; i < 20; i++) {
        struct wire_lease m;

        stage_pass(2500); /* less than 5/6 of a lease */
        m = lease_of("session/5");
        assert_int_equal(m.state, LEASE_TAKEN);
        assert_int_not_equal(m.renewal, renewal);
        renewal = m.renewal;
    }
    stage_expect_silence();
}

static void two_clients_have_two_numbers(void **state)
{
    struct request *r = stage_push(77, 1);

    (void)state;
    stage_serve(A, 1, PS_OK);
    stage_done(r, PS_OK);
    open_anew(-1);
    r = stage_push(77, 1);
    {
        struct tape_frame *f = stage_take_run(A, 1);

        assert_int_equal(f->h.session, SESSION + 1);
        stage_answer(f, PS_OK);
        tape_free(f);
    }
    stage_done(r, PS_OK);
    assert_int_equal(table().n_open, 2);
}

/* 2.3: a worker that opens again first ends its former session. */
static void the_same_worker_first_ends_its_former_session(void **state)
{
    struct wire_sessions m;
    struct request *r;

    (void)state;
    open_anew(3);
    r = stage_push(77, 1);
    stage_serve(A, 1, PS_OK);
    stage_done(r, PS_OK);
    open_anew(3);
    r = stage_push(77, 1);
    stage_pass(200);
    m = table();
    assert_int_equal(m.n_open, 1);
    assert_int_equal(m.open[0].session, SESSION + 1);
    stage_serve(A, 1, PS_OK);
    stage_done(r, PS_OK);
}

/* The write took effect, and the answer said that it may not have: no second
 * session is left behind, and no number is used by two. */
static void a_write_of_unknown_outcome_opens_one(void **state)
{
    (void)state;
    for (int effect = 0; effect < 2; effect++) {
        struct wire_sessions m;
        struct request *r;

        open_anew(-1);
        m = table();
        r = stage_push(77, 1);
        for (int i = 0; i < 100; i++) {
            if (shelf_has(&stage.shelf, COORD_CAS, "sessions")) {
                break;
            }
            (void)shelf_do_key(&stage.shelf, "sessions");
        }
        stage.shelf.fail_status = PS_EUNSURE;
        stage.shelf.fail_with_effect = effect == 1;
        stage.shelf.fail_count = 1;
        assert_true(shelf_do_key(&stage.shelf, "sessions"));
        assert_int_equal(stage.shelf.fail_count, 0);
        stage_pass(2000);
        stage_serve(A, 1, PS_OK);
        stage_done(r, PS_OK);
        assert_int_equal(table().n_open, m.n_open + 1);
        assert_int_equal(table().next, m.next + 1);
    }
}

static void while_the_store_is_away_pushes_wait(void **state)
{
    struct request *r;
    uint64_t key = 3;
    float out[2];
    struct session_op op = stage_pull_op(WHOLE, &key, 1, out);
    struct request *pull;

    (void)state;
    stage.shelf.is_away = true;
    r = stage_push(77, 1);
    stage_pass(5000);
    stage_expect_silence();
    assert_int_equal(session_submit(stage.session, &op, 1, &pull), PS_OK);
    stage_run();
    stage.shelf.is_away = false;
    stage_pass(3000);
    for (int i = 0;
         i < 8 && !(request_has_settled(r) && request_has_settled(pull)); i++) {
        struct tape_frame *f = stage_take();

        if (f != NULL) {
            stage_answer(f, PS_OK);
            tape_free(f);
        }
        stage_pass(500);
    }
    stage_done(r, PS_OK);
    stage_done(pull, PS_OK);
}

static void frames_go_on_while_the_store_is_away(void **state)
{
    struct request *r = stage_push(77, 1);

    (void)state;
    stage_serve(A, 1, PS_OK);
    stage_done(r, PS_OK);
    stage.shelf.is_away = true;
    for (uint64_t i = 0; i < 20; i++) {
        r = stage_push(77, 1);
        stage_serve(A, 2 + i, PS_OK);
        stage_done(r, PS_OK);
        stage_pass(500);
    }
}

static void a_close_takes_it_out_of_the_table(void **state)
{
    struct request *r = stage_push(77, 1);

    (void)state;
    stage_serve(A, 1, PS_OK);
    stage_done(r, PS_OK);
    session_close(stage.session);
    for (int i = 0; i < 100 && !session_has_closed(stage.session); i++) {
        stage_pass(20);
    }
    assert_true(session_has_closed(stage.session));
    assert_int_equal(table().n_open, 0);
    assert_int_equal(table().next, SESSION + 1);
}

static void a_close_without_a_session_is_quick(void **state)
{
    (void)state;
    session_close(stage.session);
    stage_run();
    assert_true(session_has_closed(stage.session));
    assert_int_equal(shelf_get(&stage.shelf, "sessions"), 1);
}

static void a_close_waits_for_the_store(void **state)
{
    struct request *r = stage_push(77, 1);

    (void)state;
    stage_serve(A, 1, PS_OK);
    stage_done(r, PS_OK);
    stage.shelf.is_away = true;
    session_close(stage.session);
    stage_pass(10000);
    assert_false(session_has_closed(stage.session));
    stage.shelf.is_away = false;
    stage_pass(2000);
    assert_true(session_has_closed(stage.session));
    assert_int_equal(table().n_open, 0);
}

/* The write is under way and its number is not known yet: whatever comes of
 * it, the close ends, and nothing of ours stays in the table. */
static void a_close_while_the_number_is_written_takes_it_out(void **state)
{
    static const int statuses[] = {PS_OK, PS_EUNSURE, PS_EUNSURE};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        if (i > 0) {
            open_anew(-1);
        }
        (void)stage_push(77, 1);
        while (!shelf_has(&stage.shelf, COORD_CAS, "sessions")) {
            assert_true(shelf_do_key(&stage.shelf, "sessions"));
        }
        stage.shelf.fail_status = statuses[i];
        stage.shelf.fail_with_effect = i == 1;
        stage.shelf.fail_count = statuses[i] != PS_OK;
        session_close(stage.session);
        stage_pass(2000);
        assert_true(session_has_closed(stage.session));
        assert_int_equal(stage.shelf.fail_count, 0);
        assert_int_equal(table().n_open, 0);
        assert_int_equal(table().next, SESSION + (i == 0 ? 1 : 2));
        stage_expect_silence();
    }
}

static void what_it_waits_for_has_a_name(void **state)
{
    char text[256] = "";
    struct request *r;

    (void)state;
    stage.refuse = true;
    r = stage_push(77, 1);
    stage_pass(500);
    session_waits_for(stage.session, text, sizeof(text));
    assert_non_null(strstr(text, "server 0"));
    stage.refuse = false;
    stage_pass(1000);
    stage_serve(A, 1, PS_OK);
    stage_done(r, PS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(the_first_push_opens_it),
        STAGED(it_renews_for_as_long_as_it_lives),
        STAGED(two_clients_have_two_numbers),
        STAGED(the_same_worker_first_ends_its_former_session),
        STAGED(a_write_of_unknown_outcome_opens_one),
        STAGED(while_the_store_is_away_pushes_wait),
        STAGED(frames_go_on_while_the_store_is_away),
        STAGED(a_close_takes_it_out_of_the_table),
        STAGED(a_close_without_a_session_is_quick),
        STAGED(a_close_waits_for_the_store),
        STAGED(a_close_while_the_number_is_written_takes_it_out),
        STAGED(what_it_waits_for_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
