/* Sets of numbers, against a set of bits. */
#include "client/spans.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

enum { TOP = 40 };

static uint64_t bits_of(const struct spans *s)
{
    uint64_t bits = 0;

    for (uint32_t i = 0; i < s->n; i++) {
        assert_true(s->at[i].first <= s->at[i].last);
        assert_true(i == 0 || s->at[i - 1].last + 1 < s->at[i].first);
        for (uint64_t k = s->at[i].first; k <= s->at[i].last; k++) {
            bits |= (uint64_t)1 << k;
        }
    }
    return bits;
}

static uint64_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static void fill(struct spans *s, uint64_t *bits, uint64_t *state)
{
    uint64_t n = draw(state) % 6;

    *s = (struct spans){NULL, 0, 0};
    *bits = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t first = draw(state) % TOP;
        uint64_t last = first + draw(state) % 5;

        assert_int_equal(spans_add(s, first, last), PS_OK);
        for (uint64_t k = first; k <= last; k++) {
            *bits |= (uint64_t)1 << k;
        }
        assert_true(bits_of(s) == *bits);
    }
}

static void combining_two_sets_is_what_their_bits_say(void **state)
{
    uint64_t seed = 7;

    (void)state;
    for (int i = 0; i < 3000; i++) {
        struct spans a, b, out = {NULL, 0, 0};
        uint64_t x, y, want[3];

        fill(&a, &x, &seed);
        fill(&b, &y, &seed);
        want[SPANS_EITHER] = x | y;
        want[SPANS_BOTH] = x & y;
        want[SPANS_WITHOUT] = x & ~y;
        for (int op = 0; op < 3; op++) {
            assert_int_equal(spans_combine(&a, (enum spans_op)op, &b, &out),
                             PS_OK);
            assert_true(bits_of(&out) == want[op]);
            spans_fini(&out);
        }
        assert_int_equal(spans_count(&a), __builtin_popcountll(x));
        spans_fini(&a);
        spans_fini(&b);
    }
}

static void a_range_may_have_no_end(void **state)
{
    struct spans lost = {NULL, 0, 0}, acked = {NULL, 0, 0};
    struct spans out = {NULL, 0, 0};

    (void)state;
    assert_int_equal(spans_add(&lost, 5, SPANS_END), PS_OK);
    assert_int_equal(spans_add(&lost, 3, 3), PS_OK);
    assert_int_equal(spans_add(&acked, 1, 9), PS_OK);
    assert_int_equal(spans_combine(&acked, SPANS_BOTH, &lost, &out), PS_OK);
    assert_int_equal(out.n, 2);
    assert_int_equal(out.at[0].first, 3);
    assert_int_equal(out.at[0].last, 3);
    assert_int_equal(out.at[1].first, 5);
    assert_int_equal(out.at[1].last, 9);
    spans_fini(&out);
    assert_int_equal(spans_combine(&lost, SPANS_WITHOUT, &acked, &out), PS_OK);
    assert_int_equal(out.n, 1);
    assert_int_equal(out.at[0].first, 10);
    assert_true(out.at[0].last == SPANS_END);
    spans_fini(&out);
    spans_fini(&lost);
    spans_fini(&acked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(combining_two_sets_is_what_their_bits_say),
        cmocka_unit_test(a_range_may_have_no_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
