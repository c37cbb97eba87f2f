/* Initial values against numbers from outside: Philox's published vectors, a
 * second Philox written here, and scipy.stats.norm.ppf (scipy 1.17). */
#include <float.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/hash.h"
#include "kern/init.h"
#include "kern/kern.h"

enum { ROW = 64, ROWS = 1600, DRAWS = ROW * ROWS };

static float draws[DRAWS];

/* Philox 4x32-10 as in the paper, section 3.3. */
static void philox(uint32_t c[4], uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xd2511f53u * c[0];
        uint64_t p1 = (uint64_t)0xcd9e8d57u * c[2];
        uint32_t c1 = c[1];
        uint32_t c3 = c[3];

        c[0] = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c[1] = (uint32_t)p1;
        c[2] = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c[3] = (uint32_t)p0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
}

static uint32_t word_at(const struct init_spec *s, uint64_t id, uint32_t i)
{
    uint64_t mixed = hash_key128(s->seed, s->key);
    uint32_t c[4] = {(uint32_t)id, (uint32_t)(id >> 32), i / 4, 0};

    philox(c, (uint32_t)mixed, (uint32_t)(mixed >> 32));
    return c[i % 4];
}

static void draw(const struct init_spec *s)
{
    for (uint64_t id = 0; id < ROWS; id++) {
        init_row(s, id, draws + id * ROW, ROW);
    }
}

static uint32_t bits_of(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static bool is_near(double x, double y, double margin)
{
    return x > y - margin && x < y + margin;
}

/* At most the neighbouring float: AS 241 and scipy differ by 1e-15. */
static bool is_same_float(float x, float y)
{
    uint32_t a = bits_of(x);
    uint32_t b = bits_of(y);

    return a - b + 1 <= 2;
}

static double mean_of(double power)
{
    double sum = 0;

    for (size_t i = 0; i < DRAWS; i++) {
        double x = (double)draws[i];

        sum += power == 1 ? x : power == 2 ? x * x : x * x * x * x;
    }
    return sum / DRAWS;
}

static void second_philox_gives_the_published_vectors(void **state)
{
    uint32_t zero[4] = {0, 0, 0, 0};
    uint32_t ones[4] = {~0u, ~0u, ~0u, ~0u};
    uint32_t pi[4] = {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344};
    const uint32_t of_zero[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c,
                                 0x9b00dbd8};
    const uint32_t of_ones[4] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6,
                                 0x6d5451fd};
    const uint32_t of_pi[4] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};

    (void)state;
    philox(zero, 0, 0);
    philox(ones, ~0u, ~0u);
    philox(pi, 0xa4093822, 0x299f31d0);
    assert_memory_equal(zero, of_zero, sizeof(zero));
    assert_memory_equal(ones, of_ones, sizeof(ones));
    assert_memory_equal(pi, of_pi, sizeof(pi));
}

/* hash_key(0) is e220a8397b1dcdaf and hash_key(-9e3779b97f4a7c15) is 0, so this
 * init key makes Philox's key 0; id 0 makes the counter 0. */
static void row_of_zeros_is_the_published_vector(void **state)
{
    const struct init_spec s = {.kind = PS_INIT_UNIFORM,
                                .a = 0,
                                .b = 1,
                                .seed = 0,
                                .key =
                                    0xe220a8397b1dcdafu ^ 0x61c8864680b583ebu};
    float row[4];

    (void)state;
    init_row(&s, 0, row, 4);
    assert_true(row[0] == 0x6627e8p-24f);
    assert_true(row[1] == 0xe169c5p-24f);
    assert_true(row[2] == 0xbc57acp-24f);
    assert_true(row[3] == 0x9b00dbp-24f);
}

static void every_element_is_its_own_word(void **state)
{
    const uint64_t values[] = {0, 1, 0xffffffffu, UINT64_C(1) << 32,
                               UINT64_MAX};
    float row[9];

    (void)state;
    for (size_t n = 0; n < 125; n++) {
        const struct init_spec s = {.kind = PS_INIT_UNIFORM,
                                    .b = 1,
                                    .seed = values[n % 5],
                                    .key = values[n / 5 % 5]};
        uint64_t id = values[n / 25];

        init_row(&s, id, row, 9);
        for (uint32_t i = 0; i < 9; i++) {
            uint32_t w = word_at(&s, id, i);

            assert_true(row[i] == (float)(w >> 8) / 16777216.0f);
        }
    }
}

/* Words 5b718fe9 92198f59 907c7490 575e8fb9 b3847189 74c7854c 763007b0
 * 0dd702f7, by numpy. */
static void rows_equal_those_worked_out_by_scipy(void **state)
{
    static const float uniform[8] = {
        0x1.b718f0p-2f, 0x1.48663cp+0f, 0x1.41f1d0p+0f, 0x1.75e8f0p-2f,
        0x1.ce11c4p+0f, 0x1.a63c28p-1f, 0x1.b18038p-1f, -0x1.9147f0p-1f};
    static const float normal[8] = {
        -0x1.76bb54p-2f, 0x1.6ce0b8p-3f,  0x1.4c0bdap-3f,  -0x1.a2c4e2p-2f,
        0x1.0e51fep-1f,  -0x1.c2ec8ep-4f, -0x1.8a24b2p-4f, -0x1.9b4f84p+0f};
    static const float truncated[8] = {
        -0x1.64f484p-2f, 0x1.5c1c6ep-3f,  0x1.3cd066p-3f,  -0x1.8eb21cp-2f,
        0x1.00e734p-1f,  -0x1.ae5454p-4f, -0x1.782874p-4f, -0x1.71b1f8p+0f};
    struct init_spec s = {.seed = 42, .key = 7, .b = 1};
    uint64_t id = (UINT64_C(1) << 40) + 5;
    float row[8];

    (void)state;
    s.kind = PS_INIT_NORMAL;
    init_row(&s, id, row, 8);
    for (size_t i = 0; i < 8; i++) {
        assert_true(is_same_float(row[i], normal[i]));
    }
    s.kind = PS_INIT_TRUNCATED_NORMAL;
    init_row(&s, id, row, 8);
    for (size_t i = 0; i < 8; i++) {
        assert_true(is_same_float(row[i], truncated[i]));
    }
    s.kind = PS_INIT_UNIFORM;
    s.a = -1;
    s.b = 3;
    init_row(&s, id, row, 8);
    for (size_t i = 0; i < 8; i++) {
        assert_true(row[i] == uniform[i]);
    }
}

/* The first element of a row with more digits than a float has: with a centre
 * of minus its float, the row holds the rest. */
static double in_double(struct init_spec s, uint64_t id)
{
    float x;
    float rest;

    init_row(&s, id, &x, 1);
    s.a = -x;
    init_row(&s, id, &rest, 1);
    return (double)x + (double)rest;
}

/* Ids whose first word is far out, near the middle, and on both sides of where
 * the algorithm changes its polynomial; seed 1, key 2. */
static void inverse_normal_equals_that_of_scipy(void **state)
{
    static const struct {
        uint64_t id;
        double normal;
        double truncated;
    } cases[] = {
        {3955177, -5.266565199648813, -1.9999987713203897},   /* w = 0000012a */
        {2374979, -4.717295311926903, -1.9999788741285602},   /* w = 0000140c */
        {1347616, -3.7192290381891522, -1.9982367109697605},  /* w = 00068c4f */
        {1366351, -2.3263494505255635, -1.8480840941334289},  /* w = 028f5b74 */
        {2121476, -1.4402373915541284, -1.3150754071624324},  /* w = 132ca78e */
        {1588365, -1.4388256004930242, -1.3139409755758811},  /* w = 1339c06d */
        {2361656, -0.5244007579990444, -0.49840311345992122}, /* w = 4ccccb5e */
        {3069834, -0.00025058098930389995,
         -0.00023917948794053895}, /* w = 7ff972d3 */
        {487238, 0.00025081093554171172,
         0.00023939897156322257},                          /* w = 80068eb6 */
        {3156489, 1.2815513374878362, 1.1840322736715678}, /* w = e66665ba */
        {1907444, 3.7192973299288652, 1.998237186767251},  /* w = fff97424 */
        {22630, 5.5067377832883562, 1.9999996768796087},   /* w = ffffffb1 */
    };
    struct init_spec s = {.seed = 1, .key = 2, .b = 1};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        s.kind = PS_INIT_NORMAL;
        assert_true(is_near(in_double(s, cases[i].id), cases[i].normal, 1e-14));
        s.kind = PS_INIT_TRUNCATED_NORMAL;
        assert_true(
            is_near(in_double(s, cases[i].id), cases[i].truncated, 1e-14));
    }
}

/* Margins are four standard errors of the mean of 102,400 draws. */
static void uniform_fills_its_range_evenly(void **state)
{
    const struct init_spec s = {
        .kind = PS_INIT_UNIFORM, .a = -1, .b = 3, .seed = 3, .key = 4};
    int tenths[10] = {0};

    (void)state;
    draw(&s);
    for (size_t i = 0; i < DRAWS; i++) {
        assert_true(draws[i] >= -1.0f && draws[i] < 3.0f);
        tenths[(int)((draws[i] + 1.0f) * 2.5f)]++;
    }
    assert_true(is_near(mean_of(1), 1.0, 0.0145));
    assert_true(is_near(mean_of(2), 1.0 + 16.0 / 12, 0.031));
    for (size_t i = 0; i < 10; i++) {
        assert_true(is_near(tenths[i], DRAWS / 10.0, 384));
    }
}

static void normal_has_its_moments(void **state)
{
    struct init_spec s = {
        .kind = PS_INIT_NORMAL, .a = 0, .b = 1, .seed = 3, .key = 4};

    (void)state;
    draw(&s);
    assert_true(is_near(mean_of(1), 0, 0.0125));
    assert_true(is_near(mean_of(2), 1, 0.0177));
    assert_true(is_near(mean_of(4), 3, 0.123));
    s.a = 5;
    s.b = 0.5f;
    draw(&s);
    assert_true(is_near(mean_of(1), 5, 0.0063));
    assert_true(is_near(mean_of(2), 25.25, 0.063));
}

/* Deviation of the normal cut at 2: 0.8796 (Johnson, Kotz, Balakrishnan). */
static void truncated_normal_stays_within_two_deviations(void **state)
{
    struct init_spec s = {
        .kind = PS_INIT_TRUNCATED_NORMAL, .a = 0, .b = 1, .seed = 3, .key = 4};
    /* The last ones leave few floats, or one, between a - 2b and a + 2b. */
    static const float pairs[][2] = {{0.1f, 0.01f},
                                     {1, 1e-7f},
                                     {-1, 1e-7f},
                                     {1, 1e-8f},
                                     {1e30f, 1},
                                     {0, FLT_MIN},
                                     {2.5f * FLT_MIN, FLT_MIN}};

    (void)state;
    draw(&s);
    assert_true(is_near(mean_of(1), 0, 0.011));
    assert_true(is_near(mean_of(2), 0.8796 * 0.8796, 0.01));
    for (size_t n = 0; n < ARRAY_LEN(pairs); n++) {
        s.a = pairs[n][0];
        s.b = pairs[n][1];
        draw(&s);
        for (size_t i = 0; i < DRAWS; i++) {
            double apart = (double)draws[i] - (double)s.a;

            assert_true(apart < 2 * (double)s.b && apart > -2 * (double)s.b);
        }
    }
}

static void uniform_never_reaches_its_end(void **state)
{
    static const float pairs[][2] = {{1, 0x1.000002p0f},   {16777215, 16777216},
                                     {-0x1.000002p0f, -1}, {-FLT_MAX, FLT_MAX},
                                     {-4 * FLT_MIN, 0},    {0, FLT_MIN},
                                     {-FLT_MIN, 0}};

    (void)state;
    for (size_t n = 0; n < ARRAY_LEN(pairs); n++) {
        const struct init_spec s = {
            .kind = PS_INIT_UNIFORM, .a = pairs[n][0], .b = pairs[n][1]};

        draw(&s);
        for (size_t i = 0; i < DRAWS; i++) {
            assert_true(draws[i] >= s.a && draws[i] < s.b);
        }
    }
}

static void spread_of_nothing_is_exactly_the_centre(void **state)
{
    struct init_spec s = {.a = 0.1f, .b = 0, .seed = 9};
    float row[5];

    (void)state;
    for (s.kind = PS_INIT_UNIFORM; s.kind <= PS_INIT_TRUNCATED_NORMAL;
         s.kind++) {
        s.b = s.kind == PS_INIT_UNIFORM ? s.a : 0;
        init_row(&s, 11, row, 5);
        for (size_t i = 0; i < 5; i++) {
            assert_true(row[i] == 0.1f);
        }
    }
    s.kind = PS_INIT_CONSTANT;
    init_row(&s, 11, row, 5);
    assert_true(row[0] == 0.1f && row[4] == 0.1f);
}

static void value_depends_on_no_order_and_no_length(void **state)
{
    const struct init_spec s = {
        .kind = PS_INIT_NORMAL, .b = 1, .seed = 8, .key = 1};
    float row[ROW + 1];

    (void)state;
    draw(&s);
    for (uint64_t id = ROWS; id-- > 0;) {
        size_t dim = (size_t)(id % ROW) + 1;

        row[dim] = 77;
        init_row(&s, id, row, dim);
        assert_memory_equal(row, draws + id * ROW, dim * sizeof(float));
        assert_true(row[dim] == 77);
    }
}

static void seed_key_and_id_each_change_the_row(void **state)
{
    const struct init_spec s = {
        .kind = PS_INIT_UNIFORM, .b = 1, .seed = 8, .key = 1};
    struct init_spec t = s;
    float row[3][8];
    float base[8];

    (void)state;
    init_row(&s, 5, base, 8);
    t.seed ^= UINT64_C(1) << 63;
    init_row(&t, 5, row[0], 8);
    t = s;
    t.key ^= UINT64_C(1) << 63;
    init_row(&t, 5, row[1], 8);
    init_row(&s, 5 ^ UINT64_C(1) << 63, row[2], 8);
    for (size_t n = 0; n < 3; n++) {
        for (size_t i = 0; i < 8; i++) {
            assert_true(row[n][i] != base[i]);
        }
    }
}

/* The whole range is denormal or near it, so a result that the mode could touch
 * would show. */
static void flushing_of_denormals_changes_nothing(void **state)
{
    struct init_spec s = {.a = 0, .b = 2 * FLT_MIN, .seed = 6};
    float plain[ROW];
    float flushed[ROW];

    (void)state;
    for (s.kind = 0; s.kind <= PS_INIT_TRUNCATED_NORMAL; s.kind++) {
        for (uint64_t id = 0; id < ROWS; id++) {
            uint32_t saved;

            init_row(&s, id, plain, ROW);
            saved = kern_save();
            init_row(&s, id, flushed, ROW);
            kern_restore(saved);
            assert_memory_equal(plain, flushed, sizeof(plain));
        }
    }
}

static void far_results_end_at_the_largest_float(void **state)
{
    const struct init_spec s = {.kind = PS_INIT_NORMAL, .b = FLT_MAX};
    int ends = 0;

    (void)state;
    draw(&s);
    for (size_t i = 0; i < DRAWS; i++) {
        assert_true(draws[i] >= -FLT_MAX && draws[i] <= FLT_MAX);
        ends += draws[i] == FLT_MAX || draws[i] == -FLT_MAX;
    }
    assert_true(is_near(ends, DRAWS * 0.3173, 596)); /* P(|z| > 1) */
}

static void wrong_specs_are_named(void **state)
{
    const float nan = __builtin_nanf("");
    const float inf = __builtin_inff();
    const struct init_spec wrong[] = {
        {.kind = 4},
        {.kind = UINT32_MAX},
        {.kind = PS_INIT_CONSTANT, .a = nan},
        {.kind = PS_INIT_CONSTANT, .a = -inf},
        {.kind = PS_INIT_NORMAL, .b = nan},
        {.kind = PS_INIT_NORMAL, .b = inf},
        {.kind = PS_INIT_NORMAL, .b = -1},
        {.kind = PS_INIT_TRUNCATED_NORMAL, .b = -FLT_MIN},
        {.kind = PS_INIT_UNIFORM, .a = 1, .b = 0},
        {.kind = PS_INIT_UNIFORM, .a = 0, .b = 1e-40f},
    };
    const struct init_spec right[] = {
        {.kind = PS_INIT_CONSTANT, .a = -3},
        {.kind = PS_INIT_CONSTANT, .a = 1, .b = -1},
        {.kind = PS_INIT_UNIFORM, .a = -FLT_MAX, .b = FLT_MAX},
        {.kind = PS_INIT_UNIFORM, .a = 1, .b = 1},
        {.kind = PS_INIT_NORMAL, .a = -0.0f, .b = -0.0f},
        {.kind = PS_INIT_TRUNCATED_NORMAL, .b = FLT_MIN},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_non_null(init_check(&wrong[i]));
    }
    for (size_t i = 0; i < ARRAY_LEN(right); i++) {
        assert_null(init_check(&right[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(second_philox_gives_the_published_vectors),
        cmocka_unit_test(row_of_zeros_is_the_published_vector),
        cmocka_unit_test(every_element_is_its_own_word),
        cmocka_unit_test(rows_equal_those_worked_out_by_scipy),
        cmocka_unit_test(inverse_normal_equals_that_of_scipy),
        cmocka_unit_test(uniform_fills_its_range_evenly),
        cmocka_unit_test(normal_has_its_moments),
        cmocka_unit_test(truncated_normal_stays_within_two_deviations),
        cmocka_unit_test(uniform_never_reaches_its_end),
        cmocka_unit_test(spread_of_nothing_is_exactly_the_centre),
        cmocka_unit_test(value_depends_on_no_order_and_no_length),
        cmocka_unit_test(seed_key_and_id_each_change_the_row),
        cmocka_unit_test(flushing_of_denormals_changes_nothing),
        cmocka_unit_test(far_results_end_at_the_largest_float),
        cmocka_unit_test(wrong_specs_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
