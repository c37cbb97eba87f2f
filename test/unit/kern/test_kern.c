/* The kernels: worked by hand for every kern of this CPU, then every kern
 * against the definition, bit for bit, over whole memory so that a stray write
 * shows as well. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "kern/kern.h"

enum {
    ROWS_MAX = 40, /* more than twice the prefetch distance */
    DIM_MAX = 129,
    STRIDE = 3 * DIM_MAX + 5, /* floats: a multiple of 16 bytes, with a gap */
    FLOATS = ROWS_MAX * STRIDE
};

enum op {
    COPY_ROWS,
    ASSIGN,
    ASSIGN_ADD,
    SGD,
    ADAGRAD,
    MOMENTUM,
    NESTEROV,
    FTRL,
    FTRL_BARE,
    FTRL_POWER,
    ADD_INTO,
    N_OPS
};

/* Memory that two kerns start from equally. */
struct memory {
    _Alignas(64) float rows[FLOATS];
    float g[ROWS_MAX * DIM_MAX + 1];
    float out[ROWS_MAX * DIM_MAX + 1];
};

static const struct kern *kerns[3];
static size_t n_kerns;
static struct memory expected;
static struct memory actual;
static uint64_t seed = 88172645463325252u;

static uint64_t next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed >> 16;
}

/* Mostly of like size, so that one rounding more or less shows in the bits; and
 * some of all that is odd. */
static float any_float(void)
{
    static const uint32_t odd[] = {
        0x00000000, 0x80000000, /* zeros */
        0x00000001, 0x807fffff, /* denormals */
        0x00800000, 0x80800000, /* the smallest normal numbers */
        0x1fffffff, 0x20000000, /* their squares are about as small */
        0x7f7fffff, 0xff7fffff, /* the largest */
        0x7f800000, 0xff800000, /* infinite */
        0x7fc00000, 0xffc00001, /* NaN */
    };
    float x;

    if (next() % 8 == 0) {
        memcpy(&x, &odd[next() % ARRAY_LEN(odd)], sizeof(x));
        return x;
    }
    return (float)(next() % 16777216) / 4194304.0f - 2.0f;
}

static void fill(struct memory *m)
{
    for (size_t i = 0; i < ARRAY_LEN(m->rows); i++) {
        m->rows[i] = any_float();
    }
    for (size_t i = 0; i < ARRAY_LEN(m->g); i++) {
        m->g[i] = any_float();
        m->out[i] = any_float();
    }
}

/* One bit pattern for all NaNs: which operand's payload survives is not
 * defined. */
static void same_nans(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (x[i] != x[i]) {
            x[i] = __builtin_nanf("");
        }
    }
}

static void run(const struct kern *k, enum op op, struct memory *m,
                uint8_t *const *rows, size_t n, size_t dim)
{
    const float lr = 0.3f;
    const struct kern_ftrl ftrl = {lr, 0.7f, 0.6f, 0.1f};
    const struct kern_ftrl bare = {lr, 0, 0, 0};

    switch (op) {
    case COPY_ROWS:
        k->copy_rows(m->out, rows, n, dim);
        break;
    case ASSIGN:
        k->assign(rows, m->g, n, dim);
        break;
    case ASSIGN_ADD:
        k->assign_add(rows, m->g, n, dim);
        break;
    case SGD:
        k->sgd(rows, m->g, n, dim, lr);
        break;
    case ADAGRAD:
        k->adagrad(rows, m->g, n, dim, lr);
        break;
    case MOMENTUM:
        k->momentum(rows, m->g, n, dim, lr, 0.9f);
        break;
    case NESTEROV:
        k->nesterov(rows, m->g, n, dim, lr, 0.9f);
        break;
    case FTRL:
        k->ftrl(rows, m->g, n, dim, &ftrl);
        break;
    case FTRL_BARE:
        k->ftrl(rows, m->g, n, dim, &bare);
        break;
    case FTRL_POWER:
        k->ftrl_power(rows, m->g, n, dim, &ftrl);
        break;
    case ADD_INTO:
        k->add_into(m->out, m->g, n * dim);
        break;
    case N_OPS:
    default:
        fail();
    }
}

/* Row i of the shape: every fifth is absent, the last names row 0 again. */
static void point(struct memory *m, uint8_t **rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        rows[i] = (uint8_t *)(m->rows + i * STRIDE);
        if (i % 5 == 3) {
            rows[i] = NULL;
        }
    }
    if (n > 6) {
        rows[n - 1] = rows[0];
    }
}

static void compare(const struct kern *k, enum op op, size_t n, size_t dim)
{
    uint8_t *rows[ROWS_MAX] = {NULL};

    fill(&expected);
    memcpy(&actual, &expected, sizeof(actual));
    point(&expected, rows, n);
    run(&kern_generic, op, &expected, rows, n, dim);
    point(&actual, rows, n);
    run(k, op, &actual, rows, n, dim);
    same_nans(expected.rows, ARRAY_LEN(expected.rows));
    same_nans(expected.out, ARRAY_LEN(expected.out));
    same_nans(actual.rows, ARRAY_LEN(actual.rows));
    same_nans(actual.out, ARRAY_LEN(actual.out));
    assert_memory_equal(actual.rows, expected.rows, sizeof(actual.rows));
    assert_memory_equal(actual.out, expected.out, sizeof(actual.out));
}

static void every_kern_gives_the_bits_of_the_definition(void **state)
{
    static const size_t large[] = {127, 128, 129};

    (void)state;
    for (size_t k = 0; k < n_kerns; k++) {
        for (int op = 0; op < N_OPS; op++) {
            for (size_t dim = 1; dim <= 70; dim++) {
                compare(kerns[k], (enum op)op, 1 + next() % ROWS_MAX, dim);
            }
            for (size_t i = 0; i < ARRAY_LEN(large); i++) {
                compare(kerns[k], (enum op)op, ROWS_MAX, large[i]);
            }
        }
    }
}

static void no_rows_is_no_work(void **state)
{
    (void)state;
    for (size_t k = 0; k < n_kerns; k++) {
        for (int op = 0; op < N_OPS; op++) {
            compare(kerns[k], (enum op)op, 0, 8);
        }
    }
}

static void updaters_do_what_was_worked_out_by_hand(void **state)
{
    _Alignas(16) float row[4];
    float out[2] = {9, 9};
    const float g[3][2] = {{0.5f, -1}, {0.25f, 2}, {-4, 8}};
    uint8_t *rows[1] = {(uint8_t *)row};

    (void)state;
    for (size_t k = 0; k < n_kerns; k++) {
        row[0] = row[1] = row[2] = row[3] = 100;
        kerns[k]->assign(rows, g[0], 1, 2);
        assert_true(row[0] == 0.5f && row[1] == -1 && row[2] == 100);
        kerns[k]->assign_add(rows, g[1], 1, 2);
        kerns[k]->assign_add(rows, g[2], 1, 2);
        assert_true(row[0] == -3.25f && row[1] == 9 && row[2] == 100);
        kerns[k]->copy_rows(out, rows, 1, 2);
        assert_true(out[0] == -3.25f && out[1] == 9);
        kerns[k]->add_into(out, g[0], 2);
        assert_true(out[0] == -2.75f && out[1] == 8);

        /* sgd, lr 1/4: 1 - 1/8 = 7/8, - 1/16 = 13/16, + 1 = 29/16;
         *              2 + 1/4 = 9/4, - 1/2 = 7/4, - 2 = -1/4 */
        row[0] = 1;
        row[1] = 2;
        kerns[k]->sgd(rows, g[0], 1, 2, 0.25f);
        assert_true(row[0] == 0.875f && row[1] == 2.25f);
        kerns[k]->sgd(rows, g[1], 1, 2, 0.25f);
        assert_true(row[0] == 0.8125f && row[1] == 1.75f);
        kerns[k]->sgd(rows, g[2], 1, 2, 0.25f);
        assert_true(row[0] == 1.8125f && row[1] == -0.25f && row[2] == 100);
    }
}

/* Gradients 3, 4, 12 make acc 9, 25, 169 = 3^2, 5^2, 13^2; with lr 65 the steps
 * are 195/3 = 65, 260/5 = 52, 780/13 = 60. The second element begins at acc 16
 * with gradients -3, 12, 0: 25, 169, 169 and steps -39, 60, 0. */
static void adagrad_does_what_was_worked_out_by_hand(void **state)
{
    const float g[3][2] = {{3, -3}, {4, 12}, {12, 0}};
    const float after[3][4] = {
        {135, 39, 9, 25}, {83, -21, 25, 169}, {23, -21, 169, 169}};

    (void)state;
    for (size_t k = 0; k < n_kerns; k++) {
        _Alignas(16) float row[4] = {200, 0, 0, 16};
        uint8_t *rows[1] = {(uint8_t *)row};

        for (size_t i = 0; i < 3; i++) {
            kerns[k]->adagrad(rows, g[i], 1, 2, 65);
            assert_memory_equal(row, after[i], sizeof(row));
        }
    }
}

/* lr 0.1, acc 0.1, d 0.5 and gradients 0.1, 0.2, 0.3 in numpy float32: each
 * operation rounds, so the order of g * lr and the division shows. */
static void adagrad_rounds_as_defined(void **state)
{
    static const float g[3] = {0.1f, 0.2f, 0.3f};
    static const float after[3][2] = {
        {0x1.e12010p-2f, 0x1.c28f5cp-4f},
        {0x1.ac3f00p-2f, 0x1.333334p-3f},
        {0x1.6d8a06p-2f, 0x1.eb8520p-3f},
    };

    (void)state;
    for (size_t k = 0; k < n_kerns; k++) {
        _Alignas(16) float row[2] = {0.5f, 0.1f};
        uint8_t *rows[1] = {(uint8_t *)row};

        for (size_t i = 0; i < 3; i++) {
            kerns[k]->adagrad(rows, &g[i], 1, 1, 0.1f);
            assert_memory_equal(row, after[i], sizeof(row));
        }
    }
}

static void adagrad_leaves_an_element_alone_at_zero(void **state)
{
    (void)state;
    for (size_t k = 0; k < n_kerns; k++) {
        /* 0 gradient; one whose square is flushed; an old denormal acc; and
         * NaN, which is not 0. */
        _Alignas(16) float row[8] = {1, 2, 3, 4, 0, 0, 1e-40f, 0};
        const float g[4] = {0, 1e-30f, 0, __builtin_nanf("")};
        uint8_t *rows[1] = {(uint8_t *)row};

        kerns[k]->adagrad(rows, g, 1, 4, 0.1f);
        assert_true(row[0] == 1 && row[1] == 2 && row[2] == 3);
        assert_true(row[4] == 0 && row[5] == 0 && row[6] == 0);
        assert_true(row[3] != row[3] && row[7] != row[7]);
    }
}

/* m 1/2, lr 1/4, from d 1, acc 0, gradients 2, -4, 0:
 *     momentum  acc 2, -3, -3/2   d 1 - 1/2 = 1/2, + 3/4 = 5/4, + 3/8 = 13/8
 *     nesterov  acc the same      d 1 - (1/2 + 1/4) = 1/4,
 *                                   + (1 + 3/8) = 13/8, + 3/16 = 29/16 */
static void momentum_does_what_was_worked_out_by_hand(void **state)
{
    const float g[3] = {2, -4, 0};
    const float plain[3][2] = {{0.5f, 2}, {1.25f, -3}, {1.625f, -1.5f}};
    const float ahead[3][2] = {{0.25f, 2}, {1.625f, -3}, {1.8125f, -1.5f}};

    (void)state;
    for (size_t k = 0; k < n_kerns; k++) {
        _Alignas(16) float row[2][4] = {{1, 0}, {1, 0}};
        uint8_t *rows[2] = {(uint8_t *)row[0], (uint8_t *)row[1]};

        for (size_t i = 0; i < 3; i++) {
            kerns[k]->momentum(&rows[0], &g[i], 1, 1, 0.25f, 0.5f);
            assert_memory_equal(row[0], plain[i], sizeof(plain[i]));
            kerns[k]->nesterov(&rows[1], &g[i], 1, 1, 0.25f, 0.5f);
            assert_memory_equal(row[1], ahead[i], sizeof(ahead[i]));
        }
    }
}

/* lr 0.1, m 0.9, d 0.5 and gradients 0.1, -0.2, 0.3 in numpy float32. */
static void momentum_rounds_as_defined(void **state)
{
    static const float g[3] = {0.1f, -0.2f, 0.3f};
    static const float plain[3][2] = {
        {0x1.f5c290p-2f, 0x1.99999ap-4f},
        {0x1.008312p-1f, -0x1.c28f5ep-4f},
        {0x1.ec710cp-2f, 0x1.9ba5e4p-3f},
    };
    static const float ahead[3][2] = {
        {0x1.ec8b44p-2f, 0x1.99999ap-4f},
        {0x1.0594b0p-1f, -0x1.c28f5ep-4f},
        {0x1.d9eadep-2f, 0x1.9ba5e4p-3f},
    };

    (void)state;
    for (size_t k = 0; k < n_kerns; k++) {
        _Alignas(16) float row[2][4] = {{0.5f, 0}, {0.5f, 0}};
        uint8_t *rows[2] = {(uint8_t *)row[0], (uint8_t *)row[1]};

        for (size_t i = 0; i < 3; i++) {
            kerns[k]->momentum(&rows[0], &g[i], 1, 1, 0.1f, 0.9f);
            assert_memory_equal(row[0], plain[i], sizeof(plain[i]));
            kerns[k]->nesterov(&rows[1], &g[i], 1, 1, 0.1f, 0.9f);
            assert_memory_equal(row[1], ahead[i], sizeof(ahead[i]));
        }
    }
}

/* lr 1, l1 1, l2 3/2. First element, d 1, accum 9:
 *     g 4   n 25, roots 5 - 3; linear 4 - 2 * 1 = 2; (1 - 2) / (5 + 3) = -1/8
 *     g 12  n 169, 13 - 5; 2 + 12 + 8/8 = 15; (1 - 15) / (13 + 3) = -7/8
 *     g 0   the same again
 * second, d 3, accum 0: without a gradient linear is 0 and d becomes 0; then
 *     g -3  n 9, 3 - 0; linear -3 - 3 * 0; (-1 + 3) / (3 + 3) = 1/3
 *     g 4   n 25, 5 - 3; -3 + (4 - 2/3) = 1/3, not above l1: d 0 */
static void ftrl_does_what_was_worked_out_by_hand(void **state)
{
    const struct kern_ftrl f = {1, 0.5f, 1, 1.5f};
    const float third = 1.0f / 3;
    const float g[3][2] = {{4, 0}, {12, -3}, {0, 4}};
    const float after[3][6] = {
        {-0.125f, 0, 25, 0, 2, 0},
        {-0.875f, third, 169, 9, 15, -3},
        {-0.875f, 0, 169, 25, 15, -3 + (4 - 2 * third)},
    };

    (void)state;
    for (size_t k = 0; k < n_kerns; k++) {
        _Alignas(16) float row[2][8] = {{1, 3, 9, 0, 0, 0}, {1, 3, 9, 0, 0, 0}};
        uint8_t *rows[2] = {(uint8_t *)row[0], (uint8_t *)row[1]};

        for (size_t i = 0; i < 3; i++) {
            kerns[k]->ftrl(&rows[0], g[i], 1, 2, &f);
            assert_memory_equal(row[0], after[i], sizeof(after[i]));
            kerns[k]->ftrl_power(&rows[1], g[i], 1, 2, &f);
            assert_memory_equal(row[1], after[i], sizeof(after[i]));
        }
    }
}

/* lr 0.1, l1 0.05, l2 0.01, d 0.5, accum 0.1 and gradients 0.7, -0.2, 0.3 in
 * numpy float32, the power of 0.7 in double. */
static void ftrl_rounds_as_defined(void **state)
{
    const struct kern_ftrl f = {0.1f, 0.7f, 0.05f, 0.01f};
    static const float g[3] = {0.7f, -0.2f, 0.3f};
    static const float root[3][3] = {
        {0x1.916918p-3f, 0x1.2e147ap-1f, -0x1.8f3710p+0f},
        {0x1.c4e2b6p-3f, 0x1.428f5cp-1f, -0x1.cf4402p+0f},
        {0x1.7ca5eap-3f, 0x1.70a3d8p-1f, -0x1.a17d6ap+0f},
    };
    static const float power[3][3] = {
        {0x1.f8b6d2p-3f, 0x1.2e147ap-1f, -0x1.c220a0p+0f},
        {0x1.189456p-2f, 0x1.428f5cp-1f, -0x1.04e8a8p+1f},
        {0x1.e4073cp-3f, 0x1.70a3d8p-1f, -0x1.eec0f0p+0f},
    };

    (void)state;
    for (size_t k = 0; k < n_kerns; k++) {
        _Alignas(16) float row[2][4] = {{0.5f, 0.1f, 0}, {0.5f, 0.1f, 0}};
        uint8_t *rows[2] = {(uint8_t *)row[0], (uint8_t *)row[1]};

        for (size_t i = 0; i < 3; i++) {
            kerns[k]->ftrl(&rows[0], &g[i], 1, 1, &f);
            assert_memory_equal(row[0], root[i], sizeof(root[i]));
            kerns[k]->ftrl_power(&rows[1], &g[i], 1, 1, &f);
            assert_memory_equal(row[1], power[i], sizeof(power[i]));
        }
    }
}

/* A gradient whose square is flushed moves linear and leaves accum 0: with no
 * l2 there is nothing to divide by. NaN is not greater than l1. */
static void ftrl_divides_by_no_zero(void **state)
{
    const struct kern_ftrl f = {0.1f, 0.5f, 0, 0};

    (void)state;
    for (size_t k = 0; k < n_kerns; k++) {
        _Alignas(16) float row[12] = {1, 2, 3, 0};
        const float g[3] = {1e-30f, 0, __builtin_nanf("")};
        uint8_t *rows[1] = {(uint8_t *)row};

        kerns[k]->ftrl(rows, g, 1, 3, &f);
        assert_true(row[0] == 1 && row[3] == 0 && row[6] == 1e-30f);
        assert_true(row[1] == 0 && row[4] == 0 && row[7] == 0);
        assert_true(row[2] == 0 && row[5] != row[5] && row[8] != row[8]);
    }
}

static void absent_row_consumes_its_gradient(void **state)
{
    const float g[3] = {1, 2, 4};

    (void)state;
    for (size_t k = 0; k < n_kerns; k++) {
        _Alignas(16) float row[2][4] = {{10, 0, 0, 0}, {20, 0, 0, 0}};
        uint8_t *rows[3] = {(uint8_t *)row[0], NULL, (uint8_t *)row[1]};
        float out[3] = {7, 7, 7};

        kerns[k]->assign_add(rows, g, 3, 1);
        assert_true(row[0][0] == 11 && row[1][0] == 24);
        kerns[k]->sgd(rows, g, 3, 1, 2);
        assert_true(row[0][0] == 9 && row[1][0] == 16);
        kerns[k]->adagrad(rows, g, 3, 1, 2);
        assert_true(row[0][0] == 7 && row[1][0] == 14);
        assert_true(row[0][1] == 1 && row[1][1] == 16);
        kerns[k]->copy_rows(out, rows, 3, 1);
        assert_true(out[0] == 7 && out[1] == 7 && out[2] == 14);
        kerns[k]->assign(rows, g, 3, 1);
        assert_true(row[0][0] == 1 && row[1][0] == 4);
    }
}

/* A page that ends where nothing is mapped: floats that end with it. */
static float *page_new(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(p != MAP_FAILED);
    assert_int_equal(mprotect(p + page, page, PROT_NONE), 0);
    return (float *)(void *)(p + page);
}

static void nothing_behind_the_last_element_is_touched(void **state)
{
    float *row_end = page_new();
    float *g_end = page_new();
    const struct kern_ftrl f = {1, 0.7f, 1, 1};

    (void)state;
    for (size_t k = 0; k < n_kerns; k++) {
        for (size_t dim = 1; dim <= 40; dim++) {
            uint8_t *row = (uint8_t *)(row_end - dim);
            uint8_t *block = (uint8_t *)(row_end - 2 * dim);
            uint8_t *block3 = (uint8_t *)(row_end - 3 * dim);
            float *g = g_end - dim;

            kerns[k]->copy_rows(g, &row, 1, dim);
            kerns[k]->assign(&row, g, 1, dim);
            kerns[k]->assign_add(&row, g, 1, dim);
            kerns[k]->sgd(&row, g, 1, dim, 1);
            kerns[k]->adagrad(&block, g, 1, dim, 1);
            kerns[k]->momentum(&block, g, 1, dim, 1, 1);
            kerns[k]->nesterov(&block, g, 1, dim, 1, 1);
            kerns[k]->ftrl(&block3, g, 1, dim, &f);
            kerns[k]->ftrl_power(&block3, g, 1, dim, &f);
            kerns[k]->add_into(row_end - dim, g, dim);
        }
    }
}

/* Whether the thread makes zero of a denormal result, and of a denormal
 * operand. Bits are compared: under DAZ a denormal equals 0. */
static void look_at_mode(bool *results, bool *operands)
{
    volatile float normal = 1e-30f;
    volatile float denormal = 1e-40f;
    volatile float product = normal * 1e-10f;
    volatile float large = denormal * 1e20f;
    float x = product;
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    *results = bits == 0;
    *operands = large == 0;
}

static void assert_flushing(bool yes)
{
    bool results;
    bool operands;

    look_at_mode(&results, &operands);
    assert_int_equal(results, yes);
    assert_int_equal(operands, yes);
}

static void mode_is_brought_back(void **state)
{
    const uint32_t as_a_thread_begins = 0x1f80;
    uint32_t saved;

    (void)state;
    kern_restore(as_a_thread_begins);
    assert_flushing(false);
    saved = kern_save();
    assert_flushing(true);
    kern_enter();
    assert_flushing(true);
    kern_restore(saved);
    assert_flushing(false);
    kern_enter();
    assert_flushing(true);
}

static void kerns_are_found_by_name(void **state)
{
    const char *names[] = {"generic", "avx2", "avx512"};

    (void)state;
    assert_ptr_equal(kern_named("generic"), &kern_generic);
    assert_null(kern_named(""));
    assert_null(kern_named("neon"));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct kern *k = kern_named(names[i]);

        if (k == NULL) {
            print_message("%s: not on this CPU\n", names[i]);
        } else {
            assert_string_equal(k->name, names[i]);
        }
    }
    assert_ptr_equal(kern_choose(), kern_named(kern_choose()->name));
    assert_ptr_equal(kern_choose(), kerns[n_kerns - 1]);
}

static int find_kerns(void **state)
{
    const char *names[] = {"generic", "avx2", "avx512"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct kern *k = kern_named(names[i]);

        if (k != NULL) {
            kerns[n_kerns++] = k;
        }
    }
    kern_enter();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kerns_are_found_by_name),
        cmocka_unit_test(updaters_do_what_was_worked_out_by_hand),
        cmocka_unit_test(adagrad_does_what_was_worked_out_by_hand),
        cmocka_unit_test(adagrad_rounds_as_defined),
        cmocka_unit_test(adagrad_leaves_an_element_alone_at_zero),
        cmocka_unit_test(momentum_does_what_was_worked_out_by_hand),
        cmocka_unit_test(momentum_rounds_as_defined),
        cmocka_unit_test(ftrl_does_what_was_worked_out_by_hand),
        cmocka_unit_test(ftrl_rounds_as_defined),
        cmocka_unit_test(ftrl_divides_by_no_zero),
        cmocka_unit_test(absent_row_consumes_its_gradient),
        cmocka_unit_test(every_kern_gives_the_bits_of_the_definition),
        cmocka_unit_test(no_rows_is_no_work),
        cmocka_unit_test(nothing_behind_the_last_element_is_touched),
        cmocka_unit_test(mode_is_brought_back),
    };

    return cmocka_run_group_tests(tests, find_kerns, NULL);
}
