/* test_cores.c - which CPUs shards are bound to, on machines made up here. */
#include "cli/cores.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#define ASSERT_CPUS(got, n, ...)                           \
    do {                                                   \
        const uint32_t want_[] = {__VA_ARGS__};            \
                                                           \
        assert_int_equal(ARRAY_LEN(want_), n);             \
        for (size_t i_ = 0; i_ < ARRAY_LEN(want_); i_++) { \
            assert_int_equal((got)[i_], want_[i_]);        \
        }                                                  \
    } while (false)

/* Four cores of two threads each, counted as Linux does on most machines. */
static const struct cores_cpu smt[] = {{0, 0}, {4, 0}, {1, 1}, {5, 1},
                                       {2, 2}, {6, 2}, {3, 3}, {7, 3}};

/* What servers of other processes have taken, a bit for each CPU. */
struct taken {
    uint64_t bits;
};

static bool take(void *context, uint32_t cpu)
{
    struct taken *t = context;
    uint64_t bit = (uint64_t)1 << cpu;
    bool is_free = (t->bits & bit) == 0;

    t->bits |= bit;
    return is_free;
}

/* A server as role_server does it. */
static uint32_t start_server(const struct cores_cpu *cpus, size_t n,
                             uint32_t id, uint32_t shards, struct taken *t,
                             uint32_t *chosen)
{
    uint32_t order[16];

    assert_true(n <= ARRAY_LEN(order));
    cores_order(cpus, n, id * shards, order);
    return cores_choose(order, n, shards, take, t, chosen);
}

static void one_thread_of_each_core_comes_before_the_second(void **state)
{
    uint32_t order[8];

    (void)state;
    cores_order(smt, 8, 0, order);
    ASSERT_CPUS(order, 8, 0, 1, 2, 3, 4, 5, 6, 7);
}

static void the_order_begins_where_it_is_told_and_goes_round(void **state)
{
    uint32_t order[8];

    (void)state;
    cores_order(smt, 8, 2, order);
    ASSERT_CPUS(order, 8, 2, 3, 0, 1, 6, 7, 4, 5);
    cores_order(smt, 8, 6, order);
    ASSERT_CPUS(order, 8, 2, 3, 0, 1, 6, 7, 4, 5);
}

static void cores_may_have_lost_a_thread_to_the_cpuset(void **state)
{
    /* taskset -c 1,3,4,7: core 0 has its second thread only. */
    static const struct cores_cpu cpus[] = {{4, 0}, {1, 1}, {3, 2}, {7, 2}};
    uint32_t order[4];

    (void)state;
    cores_order(cpus, 4, 0, order);
    ASSERT_CPUS(order, 4, 4, 1, 3, 7);
    cores_order(cpus, 4, 2, order);
    ASSERT_CPUS(order, 4, 3, 4, 1, 7);
}

static void a_shard_has_a_core_of_its_own_while_there_are_cores(void **state)
{
    struct taken t = {0};
    uint32_t cpus[8];

    (void)state;
    assert_int_equal(start_server(smt, 8, 0, 4, &t, cpus), 0);
    ASSERT_CPUS(cpus, 4, 0, 1, 2, 3);
    t.bits = 0;
    assert_int_equal(start_server(smt, 8, 0, 6, &t, cpus), 0);
    ASSERT_CPUS(cpus, 6, 0, 1, 2, 3, 4, 5);
}

static void servers_of_one_machine_follow_each_other(void **state)
{
    struct taken t = {0};
    uint32_t cpus[8];

    (void)state;
    assert_int_equal(start_server(smt, 8, 1, 2, &t, cpus), 0);
    ASSERT_CPUS(cpus, 2, 2, 3);
    assert_int_equal(start_server(smt, 8, 0, 2, &t, cpus), 0);
    ASSERT_CPUS(cpus, 2, 0, 1);
    /* The cores have one each: now their second threads. */
    assert_int_equal(start_server(smt, 8, 2, 2, &t, cpus), 0);
    ASSERT_CPUS(cpus, 2, 4, 5);
}

/* Servers 0, 2 and 4 are here, the others elsewhere: 0 and 2 would begin with
 * the same core, for 2 x 2 is a whole round. */
static void what_another_server_has_taken_is_passed_over(void **state)
{
    struct taken t = {0};
    uint32_t cpus[8];

    (void)state;
    assert_int_equal(start_server(smt, 8, 0, 2, &t, cpus), 0);
    ASSERT_CPUS(cpus, 2, 0, 1);
    assert_int_equal(start_server(smt, 8, 2, 2, &t, cpus), 0);
    ASSERT_CPUS(cpus, 2, 2, 3);
    assert_int_equal(start_server(smt, 8, 4, 2, &t, cpus), 0);
    ASSERT_CPUS(cpus, 2, 4, 5);
}

/* In other network namespaces nobody's names are seen. */
static void
without_the_names_the_numbers_of_the_servers_still_differ(void **state)
{
    uint32_t cpus[8];

    (void)state;
    for (uint32_t id = 0; id < 4; id++) {
        struct taken t = {0};

        assert_int_equal(start_server(smt, 8, id, 1, &t, cpus), 0);
        assert_int_equal(cpus[0], id);
    }
}

static void too_many_shards_go_round(void **state)
{
    static const struct cores_cpu two[] = {{3, 0}, {9, 1}};
    struct taken t = {0};
    uint32_t cpus[8];

    (void)state;
    assert_int_equal(start_server(two, 2, 0, 5, &t, cpus), 3);
    ASSERT_CPUS(cpus, 5, 3, 9, 3, 9, 3);
    /* The next finds nothing free, and does not pile up on one. */
    assert_int_equal(start_server(two, 2, 1, 2, &t, cpus), 2);
    ASSERT_CPUS(cpus, 2, 3, 9);
}

static void what_is_shared_is_what_we_use_least(void **state)
{
    static const struct cores_cpu three[] = {{0, 0}, {1, 1}, {2, 2}};
    struct taken t = {.bits = 1 << 0 | 1 << 1};
    uint32_t cpus[8];

    (void)state;
    assert_int_equal(start_server(three, 3, 0, 3, &t, cpus), 2);
    ASSERT_CPUS(cpus, 3, 2, 0, 1);
}

static void one_cpu_takes_all(void **state)
{
    static const struct cores_cpu one[] = {{1, 0}};
    struct taken t = {0};
    uint32_t cpus[8];

    (void)state;
    assert_int_equal(start_server(one, 1, 3, 2, &t, cpus), 1);
    ASSERT_CPUS(cpus, 2, 1, 1);
}

static void the_words_name_each_shard(void **state)
{
    static const uint32_t cpus[] = {4, 5, 6, 1, 9, 8};
    char text[200];
    uint32_t at = 0;

    (void)state;
    cores_describe(cpus, 6, &at, text, sizeof(text));
    assert_string_equal(text, "shards 0-2 on CPUs 4-6, shard 3 on CPU 1, "
                              "shard 4 on CPU 9, shard 5 on CPU 8");
    assert_int_equal(at, 6);
    /* In lines: "shards 0-2 on CPUs 4-6" has 22 bytes. */
    at = 0;
    cores_describe(cpus, 6, &at, text, 23);
    assert_string_equal(text, "shards 0-2 on CPUs 4-6");
    assert_int_equal(at, 3);
    cores_describe(cpus, 6, &at, text, sizeof(text));
    assert_string_equal(text, "shard 3 on CPU 1, shard 4 on CPU 9, "
                              "shard 5 on CPU 8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_thread_of_each_core_comes_before_the_second),
        cmocka_unit_test(the_order_begins_where_it_is_told_and_goes_round),
        cmocka_unit_test(cores_may_have_lost_a_thread_to_the_cpuset),
        cmocka_unit_test(a_shard_has_a_core_of_its_own_while_there_are_cores),
        cmocka_unit_test(servers_of_one_machine_follow_each_other),
        cmocka_unit_test(what_another_server_has_taken_is_passed_over),
        cmocka_unit_test(
            without_the_names_the_numbers_of_the_servers_still_differ),
        cmocka_unit_test(too_many_shards_go_round),
        cmocka_unit_test(what_is_shared_is_what_we_use_least),
        cmocka_unit_test(one_cpu_takes_all),
        cmocka_unit_test(the_words_name_each_shard),
    };

    return cmocka_run_group_tests_name("cores", tests, NULL, NULL);
}
