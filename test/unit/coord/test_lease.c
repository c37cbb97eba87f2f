/* test_lease.c - holding a leased record, and seeing that its holder died. */
#include "coord/lease.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/log.h"
#include "lib/draft.h"
#include "lib/shelf.h"

enum { TAG = 9, MS = 1000, LENGTH = 3000 * MS, EVENTS = LEASE_IS_RELEASED + 1 };

/* One who wants the lease `k`. */
struct holder {
    struct shelf shelf;
    struct lease lease;
    uint32_t events[EVENTS];
};

static struct fs *fs;
static uint64_t now;
static struct holder one;
static struct holder two;

static void ignore_log(enum log_level level, const char *text)
{
    (void)level;
    (void)text;
}

static void deliver(void *context, const struct coord_result *r)
{
    struct holder *h = context;

    assert_int_equal(r->tag, TAG);
    h->events[lease_on_coord(&h->lease, r, now)]++;
}

static void start(struct holder *h, uint64_t nonce)
{
    memset(h->events, 0, sizeof(h->events));
    shelf_init(&h->shelf, fs, nonce, deliver, h);
    lease_init(&h->lease, &h->shelf.coord, "k", nonce, LENGTH, TAG);
}

static void stop(struct holder *h)
{
    lease_fini(&h->lease);
    shelf_fini(&h->shelf);
}

static int set_up(void **state)
{
    (void)state;
    log_set_sink(ignore_log);
    fs = fs_memory_new();
    now = 1000 * MS;
    start(&one, 11);
    start(&two, 22);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    stop(&one);
    stop(&two);
    fs_memory_free(fs);
    return 0;
}

/* A tick if it is due, then what the store has to answer. */
static void step(struct holder *h)
{
    if (lease_next(&h->lease) <= now) {
        lease_tick(&h->lease, now);
    }
    shelf_run(&h->shelf);
}

/* Lets time go by in steps of 10 ms. */
static void pass(struct holder *h, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += 10) {
        now += 10 * MS;
        step(h);
    }
}

static void get_ready(struct holder *h)
{
    lease_claim(&h->lease);
    step(h);
    assert_int_equal(h->events[LEASE_IS_READY], 1);
    assert_int_equal(lease_set_body(&h->lease, "body", 4), PS_OK);
}

static void hold(struct holder *h)
{
    get_ready(h);
    lease_take(&h->lease, now);
    step(h);
    assert_int_equal(h->events[LEASE_IS_HELD], 1);
}

/* The record as it is in the store. */
static struct wire_lease stored(struct holder *h)
{
    struct wire_lease m;
    static struct arena arena;

    assert_true(shelf_get(&h->shelf, "k") > 0);
    arena_init(&arena);
    assert_int_equal(
        wire_lease_decode(h->shelf.data, h->shelf.size, &arena, &m), PS_OK);
    return m;
}

static void end_from_outside(struct holder *h)
{
    struct wire_lease m = stored(h);
    struct buf b;

    buf_init(&b);
    draft_lease(&b, m.nonce, m.renewal, LEASE_ENDED, NULL);
    shelf_put(&h->shelf, "k", &b);
    buf_fini(&b);
}

static void an_ended_record_has_no_holder(void **state)
{
    const struct wire_lease m = {.nonce = 1, .state = LEASE_ENDED};
    struct lease_view v;

    (void)state;
    lease_view_init(&v);
    assert_true(lease_view_look(&v, 3, &m, now, LENGTH));
}

/* A whole length on the observer's own clock; looks every eighth. */
static void a_holder_is_dead_after_a_whole_length_unchanged(void **state)
{
    const struct wire_lease m = {
        .nonce = 1, .renewal = 5, .state = LEASE_TAKEN};
    struct lease_view v;

    (void)state;
    lease_view_init(&v);
    assert_false(lease_view_look(&v, 3, &m, now, LENGTH));
    for (uint64_t i = 1; i < 8; i++) {
        assert_false(lease_view_look(&v, 3, &m, now + i * LENGTH / 8, LENGTH));
    }
    assert_true(lease_view_look(&v, 3, &m, now + LENGTH, LENGTH));
}

static void a_renewal_starts_the_count_anew(void **state)
{
    struct wire_lease m = {.nonce = 1, .renewal = 5, .state = LEASE_TAKEN};
    struct lease_view v;
    uint64_t version = 3;

    (void)state;
    lease_view_init(&v);
    for (uint64_t i = 0; i < 100; i++) {
        if (i % 8 == 7) {
            m.renewal++;
            version++;
        }
        assert_false(
            lease_view_look(&v, version, &m, now + i * LENGTH / 8, LENGTH));
    }
}

static void another_holder_starts_the_count_anew(void **state)
{
    struct wire_lease m = {.nonce = 1, .renewal = 5, .state = LEASE_TAKEN};
    struct lease_view v;

    (void)state;
    lease_view_init(&v);
    for (uint64_t i = 0; i < 8; i++) {
        assert_false(lease_view_look(&v, 3, &m, now + i * LENGTH / 8, LENGTH));
    }
    m.nonce = 2;
    for (uint64_t i = 8; i < 16; i++) {
        assert_false(lease_view_look(&v, 4, &m, now + i * LENGTH / 8, LENGTH));
    }
    assert_true(lease_view_look(&v, 4, &m, now + 2 * LENGTH, LENGTH));
}

static void an_absent_record_expires_likewise(void **state)
{
    struct lease_view v;

    (void)state;
    lease_view_init(&v);
    for (uint64_t i = 0; i < 8; i++) {
        assert_false(
            lease_view_look(&v, 0, NULL, now + i * LENGTH / 8, LENGTH));
    }
    assert_true(lease_view_look(&v, 0, NULL, now + LENGTH, LENGTH));
}

/* The observer was stopped, not the holder. */
static void an_observers_own_pause_is_not_counted(void **state)
{
    const struct wire_lease m = {
        .nonce = 1, .renewal = 5, .state = LEASE_TAKEN};
    struct lease_view v;

    (void)state;
    lease_view_init(&v);
    assert_false(lease_view_look(&v, 3, &m, now, LENGTH));
    for (uint64_t i = 1; i < 8; i++) {
        now += 100 * (uint64_t)LENGTH;
        assert_false(lease_view_look(&v, 3, &m, now, LENGTH));
    }
    now += 100 * (uint64_t)LENGTH;
    assert_true(lease_view_look(&v, 3, &m, now, LENGTH));
}

static void a_free_record_is_taken(void **state)
{
    struct wire_lease m;

    (void)state;
    assert_int_equal(one.lease.state, LEASE_IDLE);
    assert_int_equal(lease_until(&one.lease), 0);
    hold(&one);
    m = stored(&one);
    assert_int_equal(m.nonce, 11);
    assert_int_equal(m.state, LEASE_TAKEN);
    assert_int_equal(m.body.size, 4);
    assert_memory_equal(m.body.data, "body", 4);
    assert_int_equal(one.events[LEASE_IS_WAITING], 0);
}

/* Protocol 7.1: from the sending, and to 5/6. */
static void it_counts_from_the_sending_not_from_the_answer(void **state)
{
    const uint64_t sent = now;

    (void)state;
    get_ready(&one);
    lease_take(&one.lease, now);
    now += 700 * MS;
    shelf_run(&one.shelf);
    assert_int_equal(one.events[LEASE_IS_HELD], 1);
    assert_int_equal(lease_until(&one.lease), sent + LENGTH / 6 * 5);
}

static void a_confirmed_renewal_counts_from_its_own_sending(void **state)
{
    uint64_t first;
    uint64_t sent;
    struct wire_lease m;

    (void)state;
    hold(&one);
    first = lease_until(&one.lease);
    m = stored(&one);
    now = lease_next(&one.lease);
    assert_true(now < first);
    lease_tick(&one.lease, now);
    sent = now;
    now += 300 * MS;
    assert_int_equal(lease_until(&one.lease), first);
    shelf_run(&one.shelf);
    assert_int_equal(lease_until(&one.lease), sent + LENGTH / 6 * 5);
    assert_int_not_equal(stored(&one).renewal, m.renewal);
    assert_int_equal(stored(&one).nonce, 11);
}

static void renewals_are_not_made_durable(void **state)
{
    (void)state;
    hold(&one);
    now = lease_next(&one.lease);
    lease_tick(&one.lease, now);
    assert_true(shelf_has(&one.shelf, COORD_CAS, "k"));
    assert_int_equal(one.shelf.first->r.flags & COORD_DURABLE, 0);
}

static void it_renews_often_enough_to_hold_for_ever(void **state)
{
    (void)state;
    hold(&one);
    for (int i = 0; i < 6000; i++) {
        now += 10 * MS;
        assert_true(lease_until(&one.lease) > now);
        step(&one);
    }
    assert_int_equal(one.events[LEASE_IS_HELD], 1);
    assert_int_equal(one.events[LEASE_IS_LOST], 0);
    /* and no more often than some eight times a length */
    assert_true(one.shelf.n_cas <= 20 * 10);
}

/* Protocol 7.2: memory stays, and who was not ended resumes. */
static void a_store_that_is_down_for_a_minute_ends_nothing(void **state)
{
    (void)state;
    hold(&one);
    one.shelf.is_away = true;
    pass(&one, 60000);
    assert_true(lease_until(&one.lease) < now);
    one.shelf.is_away = false;
    pass(&one, 2000);
    assert_true(lease_until(&one.lease) > now);
    assert_int_equal(one.events[LEASE_IS_LOST], 0);
    assert_int_equal(stored(&one).nonce, 11);
}

/* The write took effect, the answer said it may not have. */
static void a_renewal_of_unknown_outcome_is_read_back(void **state)
{
    uint64_t first;

    (void)state;
    hold(&one);
    first = lease_until(&one.lease);
    one.shelf.fail_status = PS_EUNSURE;
    one.shelf.fail_count = 1;
    one.shelf.fail_with_effect = true;
    now = lease_next(&one.lease);
    lease_tick(&one.lease, now);
    assert_true(shelf_do_key(&one.shelf, "k"));
    assert_int_equal(one.shelf.fail_count, 0);
    assert_int_equal(lease_until(&one.lease), first);
    pass(&one, 1000);
    assert_int_equal(one.events[LEASE_IS_LOST], 0);
    assert_true(lease_until(&one.lease) > first);
}

static void a_take_of_unknown_outcome_ends_in_holding(void **state)
{
    (void)state;
    for (int effect = 0; effect < 2; effect++) {
        struct holder *h = effect == 0 ? &one : &two;

        if (effect == 1) {
            end_from_outside(&one);
        }
        get_ready(h);
        h->shelf.fail_status = PS_EIO;
        h->shelf.fail_count = 1;
        h->shelf.fail_with_effect = effect == 1;
        lease_take(&h->lease, now);
        shelf_run(&h->shelf);
        for (int i = 0; i < 300 && h->events[LEASE_IS_HELD] == 0; i++) {
            now += 10 * MS;
            step(h);
            if (h->events[LEASE_IS_READY] == 2) {
                h->events[LEASE_IS_READY]++;
                lease_take(&h->lease, now);
            }
        }
        assert_int_equal(h->events[LEASE_IS_HELD], 1);
        assert_true(lease_until(&h->lease) > now);
        assert_int_equal(stored(h).nonce, h->lease.nonce);
    }
}

static void whoever_was_ended_sees_it_with_its_next_renewal(void **state)
{
    (void)state;
    hold(&one);
    end_from_outside(&one);
    pass(&one, 3000);
    assert_int_equal(one.events[LEASE_IS_LOST], 1);
    assert_int_equal(one.lease.state, LEASE_LOST);
    assert_int_equal(lease_until(&one.lease), 0);
    assert_int_equal(stored(&one).state, LEASE_ENDED);
    pass(&one, 5000);
    assert_int_equal(one.events[LEASE_IS_LOST], 1);
    assert_int_equal(stored(&one).state, LEASE_ENDED);
}

/* Renewing and ending are swaps on one record: the late renewal fails. */
static void a_renewal_that_lost_the_race_does_not_count(void **state)
{
    uint64_t until;

    (void)state;
    hold(&one);
    until = lease_until(&one.lease);
    now = lease_next(&one.lease);
    lease_tick(&one.lease, now);
    end_from_outside(&one);
    shelf_run(&one.shelf);
    pass(&one, 1000);
    assert_true(lease_until(&one.lease) <= until);
    assert_int_equal(one.events[LEASE_IS_LOST], 1);
    assert_int_equal(stored(&one).state, LEASE_ENDED);
}

static void who_lost_it_can_claim_again(void **state)
{
    (void)state;
    hold(&one);
    end_from_outside(&one);
    pass(&one, 3000);
    memset(one.events, 0, sizeof(one.events));
    hold(&one);
    assert_true(lease_until(&one.lease) > now);
}

static void a_changed_body_is_written_at_the_next_tick(void **state)
{
    (void)state;
    hold(&one);
    assert_int_equal(lease_set_body(&one.lease, "other!", 6), PS_OK);
    assert_true(lease_next(&one.lease) <= now);
    step(&one);
    assert_int_equal(stored(&one).body.size, 6);
    assert_memory_equal(stored(&one).body.data, "other!", 6);
    assert_int_equal(one.events[LEASE_IS_HELD], 1);
}

static void
a_body_changed_while_a_write_is_under_way_is_not_forgotten(void **state)
{
    (void)state;
    hold(&one);
    now = lease_next(&one.lease);
    lease_tick(&one.lease, now);
    assert_int_equal(lease_set_body(&one.lease, "other!", 6), PS_OK);
    shelf_run(&one.shelf);
    assert_true(lease_next(&one.lease) <= now);
    step(&one);
    assert_memory_equal(stored(&one).body.data, "other!", 6);
}

static void a_second_waits_as_long_as_the_first_renews(void **state)
{
    (void)state;
    hold(&one);
    lease_claim(&two.lease);
    for (int i = 0; i < 6000; i++) {
        now += 10 * MS;
        step(&one);
        step(&two);
    }
    assert_int_equal(two.events[LEASE_IS_WAITING], 1);
    assert_int_equal(two.events[LEASE_IS_READY], 0);
    assert_int_equal(two.lease.state, LEASE_WAITING);
}

static void a_second_gets_what_the_first_left_after_a_whole_length(void **state)
{
    uint64_t last;

    (void)state;
    hold(&one);
    last = now;
    now += 1 * MS;
    lease_claim(&two.lease);
    while (two.events[LEASE_IS_READY] == 0) {
        now += 10 * MS;
        step(&two);
        assert_true(now < last + 3 * (uint64_t)LENGTH);
    }
    assert_true(now >= last + LENGTH);
    assert_int_equal(two.lease.old_body.size, 4);
    assert_memory_equal(two.lease.old_body.data, "body", 4);
    lease_take(&two.lease, now);
    step(&two);
    assert_int_equal(two.events[LEASE_IS_HELD], 1);
    step(&one);
    pass(&one, 1000);
    assert_int_equal(one.events[LEASE_IS_LOST], 1);
    assert_int_equal(lease_until(&one.lease), 0);
    assert_int_equal(stored(&two).nonce, 22);
}

static void a_released_record_is_free_at_once(void **state)
{
    (void)state;
    hold(&one);
    lease_release(&one.lease, now);
    step(&one);
    assert_int_equal(one.events[LEASE_IS_RELEASED], 1);
    assert_int_equal(one.lease.state, LEASE_IDLE);
    assert_int_equal(lease_until(&one.lease), 0);
    assert_int_equal(stored(&one).state, LEASE_ENDED);
    hold(&two);
    assert_int_equal(two.events[LEASE_IS_WAITING], 0);
}

static void a_release_waits_for_the_write_that_is_under_way(void **state)
{
    (void)state;
    hold(&one);
    now = lease_next(&one.lease);
    lease_tick(&one.lease, now);
    lease_release(&one.lease, now);
    pass(&one, 1000);
    assert_int_equal(one.events[LEASE_IS_RELEASED], 1);
    assert_int_equal(stored(&one).state, LEASE_ENDED);
}

static void of_two_takers_one_wins(void **state)
{
    (void)state;
    get_ready(&one);
    get_ready(&two);
    lease_take(&one.lease, now);
    lease_take(&two.lease, now);
    step(&one);
    step(&two);
    assert_int_equal(one.events[LEASE_IS_HELD], 1);
    assert_int_equal(two.events[LEASE_IS_HELD], 0);
    assert_int_equal(lease_until(&two.lease), 0);
    pass(&two, 1000);
    assert_int_equal(two.events[LEASE_IS_HELD], 0);
    assert_int_equal(two.events[LEASE_IS_WAITING], 1);
    assert_int_equal(stored(&one).nonce, 11);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_ended_record_has_no_holder),
        TEST(a_holder_is_dead_after_a_whole_length_unchanged),
        TEST(a_renewal_starts_the_count_anew),
        TEST(another_holder_starts_the_count_anew),
        TEST(an_absent_record_expires_likewise),
        TEST(an_observers_own_pause_is_not_counted),
        TEST(a_free_record_is_taken),
        TEST(it_counts_from_the_sending_not_from_the_answer),
        TEST(a_confirmed_renewal_counts_from_its_own_sending),
        TEST(renewals_are_not_made_durable),
        TEST(it_renews_often_enough_to_hold_for_ever),
        TEST(a_store_that_is_down_for_a_minute_ends_nothing),
        TEST(a_renewal_of_unknown_outcome_is_read_back),
        TEST(a_take_of_unknown_outcome_ends_in_holding),
        TEST(whoever_was_ended_sees_it_with_its_next_renewal),
        TEST(a_renewal_that_lost_the_race_does_not_count),
        TEST(who_lost_it_can_claim_again),
        TEST(a_changed_body_is_written_at_the_next_tick),
        TEST(a_body_changed_while_a_write_is_under_way_is_not_forgotten),
        TEST(a_second_waits_as_long_as_the_first_renews),
        TEST(a_second_gets_what_the_first_left_after_a_whole_length),
        TEST(a_released_record_is_free_at_once),
        TEST(a_release_waits_for_the_write_that_is_under_way),
        TEST(of_two_takers_one_wins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
