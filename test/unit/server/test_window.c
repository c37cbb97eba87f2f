/* test_window.c - which numbers are settled: in turn, ahead, canceled, old. */
#include "server/windows.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"

#define LIMIT_ENDED_US ((uint64_t)LIMIT_ENDED_SESSION_MS * 1000)

enum { NOT_YET_SETTLED = 1, MODEL = 4000 };

static struct windows ws;

static int set_up(void **state)
{
    windows_init(&ws);
    *state = windows_make(&ws, 5);
    if (*state == NULL) {
        return 1;
    }
    window_floor(*state, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    windows_fini(&ws);
    return 0;
}

static enum window_verdict judge(const struct window *w, uint64_t seq)
{
    int fate = 99;

    return window_judge(w, seq, &fate);
}

/* The fate of a number that must be settled. */
static int fate_of(const struct window *w, uint64_t seq)
{
    int fate = 99;

    assert_int_equal(window_judge(w, seq, &fate), WINDOW_REPEAT);
    return fate;
}

static void the_first_number_is_one(void **state)
{
    const struct window *w = *state;

    assert_int_equal(w->session, 5);
    assert_int_equal(w->next, 1);
    assert_int_equal(judge(w, 1), WINDOW_NEXT);
    assert_int_equal(judge(w, 2), WINDOW_GAP);
    assert_int_equal(judge(w, 0), WINDOW_BAD);
    assert_int_equal(judge(w, UINT64_MAX), WINDOW_BAD);
}

static void
numbers_are_settled_in_turn_and_repeats_keep_their_fate(void **state)
{
    struct window *w = *state;

    window_settle(w, 1, PS_OK);
    window_settle(w, 2, PS_ELIMIT);
    window_settle(w, 3, PS_EPLAN);
    assert_int_equal(fate_of(w, 1), PS_OK);
    assert_int_equal(fate_of(w, 2), PS_ELIMIT);
    assert_int_equal(fate_of(w, 3), PS_EPLAN);
    assert_int_equal(judge(w, 4), WINDOW_NEXT);
    assert_int_equal(judge(w, 5), WINDOW_GAP);
}

static void judging_changes_nothing(void **state)
{
    struct window *w = *state;
    struct window before = *w;

    for (uint64_t seq = 0; seq < 600; seq++) {
        (void)judge(w, seq);
    }
    assert_memory_equal(w, &before, sizeof(before));
}

/* In flight means seq < first unanswered + 256 (protocol 4.1). */
static void a_number_is_at_most_256_ahead_of_the_first_unanswered(void **state)
{
    struct window *w = *state;

    assert_int_equal(judge(w, 256), WINDOW_GAP);
    assert_int_equal(judge(w, 257), WINDOW_BAD);
    for (uint64_t seq = 1; seq <= 256; seq++) {
        window_settle(w, seq, PS_OK);
    }
    assert_int_equal(fate_of(w, 1), PS_OK);
    assert_int_equal(judge(w, 257), WINDOW_BAD);
    window_floor(w, 2);
    assert_int_equal(judge(w, 257), WINDOW_NEXT);
    assert_int_equal(judge(w, 258), WINDOW_BAD);
}

static void the_first_unanswered_never_falls(void **state)
{
    struct window *w = *state;

    for (uint64_t seq = 1; seq <= 100; seq++) {
        window_settle(w, seq, PS_OK);
    }
    window_floor(w, 80);
    window_floor(w, 3);
    assert_int_equal(w->floor, 80);
    assert_int_equal(judge(w, 335), WINDOW_GAP);
    assert_int_equal(judge(w, 336), WINDOW_BAD);
}

/* All that the client may still ask about: 256 numbers back. */
static void fates_are_kept_for_256_numbers(void **state)
{
    struct window *w = *state;

    for (uint64_t seq = 1; seq <= 1000; seq++) {
        window_floor(w, seq);
        window_settle(w, seq, seq % 3 == 0 ? PS_ELIMIT : PS_OK);
    }
    for (uint64_t seq = 1001 - 256; seq <= 1000; seq++) {
        assert_int_equal(fate_of(w, seq), seq % 3 == 0 ? PS_ELIMIT : PS_OK);
    }
    assert_int_equal(fate_of(w, 1000 - 256), PS_EUNSURE);
    assert_int_equal(window_resolve(w, 1000 - 256), PS_EUNSURE);
}

/* It says that number 3 was answered: nobody ever answered it. */
static void a_first_unanswered_above_the_next_is_not_believed(void **state)
{
    struct window *w = *state;

    window_settle(w, 1, PS_OK);
    window_floor(w, 4);
    assert_int_equal(judge(w, 2), WINDOW_NEXT);
    assert_int_equal(judge(w, 3), WINDOW_GAP);
    assert_int_equal(judge(w, 257), WINDOW_BAD);
    window_floor(w, 2);
    assert_int_equal(judge(w, 257), WINDOW_GAP);
}

static void resolving_what_is_settled_tells_its_fate(void **state)
{
    struct window *w = *state;

    window_settle(w, 1, PS_OK);
    window_settle(w, 2, PS_ELIMIT);
    assert_int_equal(window_resolve(w, 1), PS_OK);
    assert_int_equal(window_resolve(w, 2), PS_ELIMIT);
    assert_int_equal(w->next, 3);
}

static void resolving_the_next_number_cancels_it_at_once(void **state)
{
    struct window *w = *state;

    assert_int_equal(window_resolve(w, 1), PS_ECANCELED);
    assert_int_equal(window_resolve(w, 1), PS_ECANCELED);
    assert_int_equal(fate_of(w, 1), PS_ECANCELED);
    assert_int_equal(judge(w, 2), WINDOW_NEXT);
}

static void a_number_canceled_ahead_is_skipped_when_its_turn_comes(void **state)
{
    struct window *w = *state;

    assert_int_equal(window_resolve(w, 2), PS_ECANCELED);
    assert_int_equal(window_resolve(w, 3), PS_ECANCELED);
    assert_int_equal(window_resolve(w, 5), PS_ECANCELED);
    assert_int_equal(judge(w, 1), WINDOW_NEXT);
    assert_int_not_equal(judge(w, 2), WINDOW_NEXT);
    window_settle(w, 1, PS_OK);
    assert_int_equal(w->next, 4);
    assert_int_equal(fate_of(w, 2), PS_ECANCELED);
    assert_int_equal(fate_of(w, 3), PS_ECANCELED);
    assert_int_equal(judge(w, 4), WINDOW_NEXT);
    window_settle(w, 4, PS_OK);
    assert_int_equal(fate_of(w, 5), PS_ECANCELED);
    assert_int_equal(judge(w, 6), WINDOW_NEXT);
    assert_int_equal(window_resolve(w, 2), PS_ECANCELED);
}

static void canceling_the_next_number_skips_those_canceled_ahead(void **state)
{
    struct window *w = *state;

    assert_int_equal(window_resolve(w, 2), PS_ECANCELED);
    assert_int_equal(window_resolve(w, 1), PS_ECANCELED);
    assert_int_equal(judge(w, 3), WINDOW_NEXT);
}

/* The last number that may be in flight shares its place with the first. */
static void the_farthest_number_can_be_canceled(void **state)
{
    struct window *w = *state;

    assert_int_equal(window_resolve(w, 256), PS_ECANCELED);
    for (uint64_t seq = 1; seq <= 255; seq++) {
        assert_int_equal(judge(w, seq), WINDOW_NEXT);
        window_settle(w, seq, PS_OK);
    }
    assert_int_equal(fate_of(w, 256), PS_ECANCELED);
    assert_int_equal(fate_of(w, 1), PS_OK);
    window_floor(w, 257);
    assert_int_equal(judge(w, 257), WINDOW_NEXT);
    assert_int_equal(judge(w, 512), WINDOW_GAP);
    window_settle(w, 257, PS_OK);
    for (uint64_t seq = 258; seq <= 600; seq++) {
        window_floor(w, seq);
        assert_int_equal(judge(w, seq), WINDOW_NEXT);
        window_settle(w, seq, PS_OK);
    }
}

static void resolving_what_no_client_can_ask_changes_nothing(void **state)
{
    struct window *w = *state;

    assert_int_equal(window_resolve(w, 0), PS_EUNSURE);
    assert_int_equal(window_resolve(w, 100000), PS_EUNSURE);
    assert_int_equal(window_resolve(w, UINT64_MAX), PS_EUNSURE);
    for (uint64_t seq = 1; seq <= 256; seq++) {
        assert_int_equal(judge(w, seq), WINDOW_NEXT);
        window_settle(w, seq, PS_OK);
    }
}

/* Every fate in a plain array, never forgotten. */
static void it_agrees_with_a_plain_list(void **state)
{
    static int model[MODEL + 300];
    struct window *w = *state;
    uint64_t next = 1;
    uint64_t first = 1;
    uint64_t x = 7;

    for (size_t i = 0; i < ARRAY_LEN(model); i++) {
        model[i] = NOT_YET_SETTLED;
    }
    while (next < MODEL) {
        uint64_t seq;

        x = x * 6364136223846793005u + 1442695040888963407u;
        seq = first + (x >> 40) % 256;
        if ((x >> 33) % 8 == 0) {
            if (model[seq] == NOT_YET_SETTLED) {
                model[seq] = PS_ECANCELED;
            }
            assert_int_equal(window_resolve(w, seq), model[seq]);
        } else if (next < first + 256) {
            model[next] = (x >> 35) % 4 == 0 ? PS_EPLAN : PS_OK;
            window_settle(w, next, model[next]);
        }
        while (model[next] != NOT_YET_SETTLED) {
            next++;
        }
        assert_int_equal(w->next, next);
        if ((x >> 50) % 3 == 0 && first < next) {
            first += (x >> 53) % (next - first) + 1;
            window_floor(w, first);
        }
        for (seq = first; seq < next; seq += 17) {
            assert_int_equal(fate_of(w, seq), model[seq]);
        }
        if (next < first + 256) {
            assert_int_equal(judge(w, next), WINDOW_NEXT);
        }
    }
}

static void a_session_has_one_window(void **state)
{
    struct window *w = *state;

    assert_ptr_equal(windows_get(&ws, 5), w);
    assert_ptr_equal(windows_make(&ws, 5), w);
    assert_null(windows_get(&ws, 6));
    assert_non_null(windows_make(&ws, 6));
    window_settle(w, 1, PS_OK);
    assert_int_equal(windows_get(&ws, 6)->next, 1);
}

/* Protocol 2.4: resolvable for 10 minutes after the end. */
static void an_ended_session_is_forgotten_after_ten_minutes(void **state)
{
    static const uint64_t open[] = {6};
    const uint64_t end = 1000000;
    const uint64_t minutes10 = 600000000;

    (void)state;
    assert_non_null(windows_make(&ws, 6));
    assert_non_null(windows_make(&ws, 9));
    windows_end(&ws, open, 1, 9, end, LIMIT_ENDED_US);
    assert_true(windows_get(&ws, 5)->has_ended);
    assert_false(windows_get(&ws, 6)->has_ended);
    assert_false(windows_get(&ws, 9)->has_ended);
    windows_end(&ws, open, 1, 9, end + minutes10 - 1, LIMIT_ENDED_US);
    assert_non_null(windows_get(&ws, 5));
    assert_true(ws.forgotten < 5);
    windows_end(&ws, open, 1, 9, end + minutes10 + 1, LIMIT_ENDED_US);
    assert_null(windows_get(&ws, 5));
    assert_int_equal(ws.forgotten, 5);
    assert_non_null(windows_get(&ws, 6));
    assert_non_null(windows_get(&ws, 9));
}

/* As when a whole job has ended: the next look takes all of them. */
static void many_ended_sessions_are_forgotten_at_once(void **state)
{
    const uint64_t later = (uint64_t)LIMIT_ENDED_SESSION_MS * 1000 + 2;

    (void)state;
    for (uint64_t session = 6; session < 45; session++) {
        assert_non_null(windows_make(&ws, session));
    }
    windows_end(&ws, NULL, 0, 45, 1, LIMIT_ENDED_US);
    windows_end(&ws, NULL, 0, 45, later, LIMIT_ENDED_US);
    assert_int_equal(ws.map.n, 0);
    assert_int_equal(ws.forgotten, 44);
    /* However many: no look leaves all of them. */
    for (uint64_t session = 100; session < 400; session++) {
        assert_non_null(windows_make(&ws, session));
    }
    windows_end(&ws, NULL, 0, 400, later, LIMIT_ENDED_US);
    for (int i = 0; i < 6; i++) {
        windows_end(&ws, NULL, 0, 400, 2 * later, LIMIT_ENDED_US);
    }
    assert_int_equal(ws.map.n, 0);
    assert_int_equal(ws.forgotten, 399);
}

static void without_memory_there_is_no_window(void **state)
{
    size_t n_failed = 0;

    (void)state;
    for (uint64_t n = 1; n < 20; n++) {
        struct window *w;

        mem_fail_at(n);
        w = windows_make(&ws, 100 + n);
        mem_fail_at(0);
        n_failed += w == NULL;
        assert_ptr_equal(windows_get(&ws, 100 + n), w);
        assert_non_null(windows_get(&ws, 5));
    }
    assert_true(n_failed > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_number_is_one),
        TEST(numbers_are_settled_in_turn_and_repeats_keep_their_fate),
        TEST(judging_changes_nothing),
        TEST(a_number_is_at_most_256_ahead_of_the_first_unanswered),
        TEST(the_first_unanswered_never_falls),
        TEST(fates_are_kept_for_256_numbers),
        TEST(a_first_unanswered_above_the_next_is_not_believed),
        TEST(resolving_what_is_settled_tells_its_fate),
        TEST(resolving_the_next_number_cancels_it_at_once),
        TEST(a_number_canceled_ahead_is_skipped_when_its_turn_comes),
        TEST(canceling_the_next_number_skips_those_canceled_ahead),
        TEST(the_farthest_number_can_be_canceled),
        TEST(resolving_what_no_client_can_ask_changes_nothing),
        TEST(it_agrees_with_a_plain_list),
        TEST(a_session_has_one_window),
        TEST(an_ended_session_is_forgotten_after_ten_minutes),
        TEST(many_ended_sessions_are_forgotten_at_once),
        TEST(without_memory_there_is_no_window),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
