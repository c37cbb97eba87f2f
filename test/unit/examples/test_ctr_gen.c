/* Unit tests of the generator of click logs, against the definitions of its
 * distributions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "dice.h"
#include "planted.h"
#include "zipf.h"

static void assert_near(double x, double y, double within)
{
    if (!(fabs(x - y) <= within)) {
        fail_msg("%.9g is not within %g of %.9g", x, within, y);
    }
}

static void ids_follow_the_power_law(void **state)
{
    const double exponents[] = {0.0, 0.5, 1.0, 1.1, 2.5};
    const int draws = 200000;

    (void)state;
    for (size_t e = 0; e < 5; e++) {
        struct dice d = {e + 1};
        struct zipf z;
        int counts[11] = {0};
        double sum = 0.0;

        zipf_init(&z, 10, exponents[e]);
        for (int i = 0; i < draws; i++) {
            uint64_t id = zipf_draw(&z, &d);

            assert_true(id >= 1 && id <= 10);
            counts[id]++;
        }
        for (int i = 1; i <= 10; i++) {
            sum += pow(i, -exponents[e]);
        }
        for (int i = 1; i <= 10; i++) {
            double p = pow(i, -exponents[e]) / sum;
            double spread = sqrt(p * (1.0 - p) / draws);

            assert_near((double)counts[i] / draws, p, 5.0 * spread);
        }
    }
}

static void ids_may_be_one_or_very_many(void **state)
{
    struct dice d = {1};
    struct zipf z;

    (void)state;
    zipf_init(&z, 1, 1.1);
    assert_int_equal(zipf_draw(&z, &d), 1);
    zipf_init(&z, 1000000000000, 1.0);
    for (int i = 0; i < 1000; i++) {
        uint64_t id = zipf_draw(&z, &d);

        assert_true(id >= 1 && id <= 1000000000000);
    }
}

static void planted_scores_have_the_spread_asked_for(void **state)
{
    struct planted p = {.seed = 3,
                        .fields = 10,
                        .k = 4,
                        .bias = -1.0,
                        .linear = 1.0,
                        .cross = 0.5};
    double sum = 0.0;
    double squares = 0.0;
    const int n = 20000;

    (void)state;
    for (int i = 0; i < n; i++) {
        uint64_t ids[10];

        for (uint64_t f = 0; f < 10; f++) {
            ids[f] = dice_mix((uint64_t)i * 10 + f);
        }

        double score = planted_score(&p, ids);

        assert_near(planted_score(&p, ids), score, 0.0);
        sum += score;
        squares += score * score;
    }

    double mean = sum / n;

    assert_near(mean, -1.0, 0.05);
    assert_near(squares / n - mean * mean, 1.0 + 0.25, 0.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_follow_the_power_law),
        cmocka_unit_test(ids_may_be_one_or_very_many),
        cmocka_unit_test(planted_scores_have_the_spread_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
