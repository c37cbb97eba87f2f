/* test_log_record.c - the end of a log is decided once (protocol 10.1). */
#include "server/log_record.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "lib/shelf.h"

enum { TAG = 0x4207, LANE = 12 };

/* Two servers' processes at one store. */
struct side {
    struct shelf shelf;
    struct log_record q;
    struct shard_log_record told;
    int n_told;
};

static struct fs *fs;
static struct side sides[2];

static void deliver(void *context, const struct coord_result *r)
{
    struct side *s = context;
    struct shard_log_record out;

    assert_int_equal(r->tag & UINT32_MAX, TAG);
    if (log_record_on_coord(&s->q, &s->shelf.coord, TAG, r, &out)) {
        s->told = out;
        s->n_told++;
    }
}

static int set_up(void **state)
{
    (void)state;
    fs = fs_memory_new();
    for (uint64_t i = 0; i < 2; i++) {
        memset(&sides[i], 0, sizeof(sides[i]));
        shelf_init(&sides[i].shelf, fs, i + 1, deliver, &sides[i]);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        shelf_fini(&sides[i].shelf);
    }
    fs_memory_free(fs);
    return 0;
}

static void ask(struct side *s, uint32_t state, uint64_t segment, uint64_t end)
{
    const struct shard_log_record wanted = {
        .lane = LANE, .state = state, .segment = segment, .end = end};

    s->n_told = 0;
    log_record_ask(&s->q, &s->shelf.coord, TAG, &wanted);
}

static void is_told(const struct side *s, uint32_t state, uint64_t segment,
                    uint64_t end)
{
    assert_int_equal(s->n_told, 1);
    assert_int_equal(s->told.status, PS_OK);
    assert_int_equal(s->told.lane, LANE);
    assert_int_equal(s->told.state, state);
    assert_int_equal(s->told.segment, segment);
    assert_int_equal(s->told.end, end);
}

static void a_lane_without_a_record_has_no_log(void **state)
{
    (void)state;
    ask(&sides[0], SHARD_LOG_NONE, 0, 0);
    shelf_run(&sides[0].shelf);
    is_told(&sides[0], SHARD_LOG_NONE, 0, 0);
}

static void what_was_begun_and_ended_is_read_by_others(void **state)
{
    (void)state;
    ask(&sides[0], SHARD_LOG_BEGUN, 0, 0);
    shelf_run(&sides[0].shelf);
    is_told(&sides[0], SHARD_LOG_BEGUN, 0, 0);
    ask(&sides[1], SHARD_LOG_NONE, 0, 0);
    shelf_run(&sides[1].shelf);
    is_told(&sides[1], SHARD_LOG_BEGUN, 0, 0);
    ask(&sides[1], SHARD_LOG_ENDED, 4, 1000);
    shelf_run(&sides[1].shelf);
    is_told(&sides[1], SHARD_LOG_ENDED, 4, 1000);
    ask(&sides[0], SHARD_LOG_NONE, 0, 0);
    shelf_run(&sides[0].shelf);
    is_told(&sides[0], SHARD_LOG_ENDED, 4, 1000);
}

static void the_first_end_stays(void **state)
{
    (void)state;
    ask(&sides[0], SHARD_LOG_ENDED, 4, 1000);
    shelf_run(&sides[0].shelf);
    ask(&sides[1], SHARD_LOG_ENDED, 5, 2000);
    shelf_run(&sides[1].shelf);
    is_told(&sides[1], SHARD_LOG_ENDED, 4, 1000);
    ask(&sides[1], SHARD_LOG_BEGUN, 0, 0);
    shelf_run(&sides[1].shelf);
    is_told(&sides[1], SHARD_LOG_ENDED, 4, 1000);
}

/* Both read that there is none, then both write. */
static void of_two_ends_at_once_one_is_told_to_both(void **state)
{
    (void)state;
    ask(&sides[0], SHARD_LOG_ENDED, 4, 1000);
    ask(&sides[1], SHARD_LOG_ENDED, 5, 2000);
    assert_true(shelf_do_key(&sides[0].shelf, NULL));
    assert_true(shelf_do_key(&sides[1].shelf, NULL));
    shelf_run(&sides[0].shelf);
    shelf_run(&sides[1].shelf);
    is_told(&sides[0], SHARD_LOG_ENDED, 4, 1000);
    is_told(&sides[1], SHARD_LOG_ENDED, 4, 1000);
}

/* A write of which it is not known whether it was done is looked at. */
static void an_outcome_that_is_not_known_is_read(void **state)
{
    (void)state;
    for (int done = 0; done < 2; done++) {
        ask(&sides[0], SHARD_LOG_ENDED, 4, 1000);
        assert_true(shelf_do_key(&sides[0].shelf, NULL));
        sides[0].shelf.fail_status = PS_EUNSURE;
        sides[0].shelf.fail_count = 1;
        sides[0].shelf.fail_with_effect = done != 0;
        shelf_run(&sides[0].shelf);
        is_told(&sides[0], SHARD_LOG_ENDED, 4, 1000);
    }
}

static void an_error_of_the_store_is_told(void **state)
{
    (void)state;
    sides[0].shelf.is_away = true;
    ask(&sides[0], SHARD_LOG_NONE, 0, 0);
    shelf_run(&sides[0].shelf);
    assert_int_equal(sides[0].n_told, 1);
    assert_int_equal(sides[0].told.status, PS_EIO);
    sides[0].shelf.is_away = false;
    ask(&sides[0], SHARD_LOG_ENDED, 4, 1000);
    assert_true(shelf_do_key(&sides[0].shelf, NULL));
    sides[0].shelf.is_full = true;
    shelf_run(&sides[0].shelf);
    assert_int_equal(sides[0].n_told, 1);
    assert_int_not_equal(sides[0].told.status, PS_OK);
}

static void an_older_question_is_not_answered(void **state)
{
    (void)state;
    ask(&sides[0], SHARD_LOG_ENDED, 4, 1000);
    ask(&sides[0], SHARD_LOG_NONE, 0, 0);
    shelf_run(&sides[0].shelf);
    assert_int_equal(sides[0].n_told, 1);
    assert_int_equal(sides[0].told.state, SHARD_LOG_NONE);
}

#define STAGED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(a_lane_without_a_record_has_no_log),
        STAGED(what_was_begun_and_ended_is_read_by_others),
        STAGED(the_first_end_stays),
        STAGED(of_two_ends_at_once_one_is_told_to_both),
        STAGED(an_outcome_that_is_not_known_is_read),
        STAGED(an_error_of_the_store_is_told),
        STAGED(an_older_question_is_not_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
