/* What a part knows of its former lanes: each copy speaks for its buckets and
 * its lane alone. */
#include "server/history.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/probe.h"

enum { SESSION = 5, HALF = 32768 };

static struct shard shard;
static struct shard_part part, other;

static int set_up(void **state)
{
    (void)state;
    memset(&shard, 0, sizeof(shard));
    part = (struct shard_part){.variable = 1, .end = LIMIT_BUCKETS};
    other = (struct shard_part){.variable = 2, .end = LIMIT_BUCKETS};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    history_free(part.histories);
    history_free(other.histories);
    assert_null(shard.copies);
#ifdef PS_TEST_HOOKS
    probe_reset();
#endif
    return 0;
}

/* Of this lane all numbers below next are there. */
static void put(struct shard_part *p, uint64_t lane, uint32_t begin,
                uint32_t end, uint64_t next)
{
    const struct ckpt_window window = {.session = SESSION, .next = next};
    const struct ckpt_history all = {
        .lane = lane, .n_windows = 1, .windows = &window};
    struct history_copy *c = history_copy_new(&all);

    assert_non_null(c);
    assert_int_equal(history_put(&shard, p, begin, end, &c), PS_OK);
    assert_ptr_equal(c, p->histories->copy);
}

static int fate(uint64_t lane, uint32_t begin, uint32_t end, uint64_t seq)
{
    struct wire_range range = {1, begin, end};
    struct wire_resolve m = {.session = SESSION, .lane = lane, .seq = seq};

    return history_fate(&shard, &part, &range, &m);
}

static void a_copy_speaks_for_its_buckets(void **state)
{
    (void)state;
    put(&part, 7, 0, HALF, 10);
    put(&part, 7, HALF, LIMIT_BUCKETS, 20);
    assert_int_equal(fate(7, 0, HALF, 9), PS_OK);
    assert_int_equal(fate(7, 0, HALF, 15), PS_ECANCELED);
    assert_int_equal(fate(7, HALF, LIMIT_BUCKETS, 15), PS_OK);
    assert_int_equal(fate(7, 0, LIMIT_BUCKETS, 9), PS_OK);
    assert_int_equal(fate(7, 0, LIMIT_BUCKETS, 15), PS_EUNSURE);
    assert_int_equal(fate(7, 0, LIMIT_BUCKETS, 25), PS_ECANCELED);
}

static void where_no_copy_is_nothing_is_applied(void **state)
{
    (void)state;
    put(&part, 7, 0, HALF, 10);
    assert_int_equal(fate(7, HALF, LIMIT_BUCKETS, 5), PS_ECANCELED);
    assert_int_equal(fate(8, 0, HALF, 5), PS_ECANCELED);
    assert_int_equal(fate(7, 0, LIMIT_BUCKETS, 5), PS_EUNSURE);
}

static void what_is_the_same_is_kept_once(void **state)
{
    (void)state;
    put(&part, 7, 0, HALF, 10);
    put(&part, 7, HALF, LIMIT_BUCKETS, 10);
    put(&other, 7, 0, LIMIT_BUCKETS, 10);
    assert_null(part.histories->next); /* the halves are one again */
    assert_int_equal(part.histories->begin, 0);
    assert_int_equal(part.histories->end, LIMIT_BUCKETS);
    assert_ptr_equal(part.histories->copy, other.histories->copy);
    assert_int_equal(shard.copies->refs, 2);
    assert_null(shard.copies->next);
    put(&other, 8, 0, LIMIT_BUCKETS, 10); /* another lane is another copy */
    assert_non_null(shard.copies->next);
}

static void lanes_are_not_mixed_up(void **state)
{
    (void)state;
    put(&part, 7, 0, LIMIT_BUCKETS, 10);
    put(&part, 8, 0, LIMIT_BUCKETS, 20);
    assert_int_equal(fate(7, 0, HALF, 15), PS_ECANCELED);
    assert_int_equal(fate(8, 0, HALF, 15), PS_OK);
}

#ifdef PS_TEST_HOOKS
/* The planted faults are found by what the test above expects. */
static void copies_that_are_merged_are_found(void **state)
{
    (void)state;
    put(&part, 7, 0, LIMIT_BUCKETS, 10);
    put(&part, 8, 0, LIMIT_BUCKETS, 20);
    assert_true(probe_plant("copies_merged_by_max"));
    assert_int_equal(fate(7, 0, HALF, 15), PS_OK);
    probe_reset();
    assert_true(probe_plant("copies_merged_by_min"));
    assert_int_equal(fate(8, 0, HALF, 15), PS_ECANCELED);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_copy_speaks_for_its_buckets, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(where_no_copy_is_nothing_is_applied,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_the_same_is_kept_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(lanes_are_not_mixed_up, set_up,
                                        tear_down),
#ifdef PS_TEST_HOOKS
        cmocka_unit_test_setup_teardown(copies_that_are_merged_are_found,
                                        set_up, tear_down),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
