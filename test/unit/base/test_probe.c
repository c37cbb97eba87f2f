/* test_probe.c - probes count, plants are chosen by name. */
#include "base/probe.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

PLANT_DECLARE(test_probe_lose_a_row);

static int pass_the_rare_path(void)
{
    PROBE(test_probe_rare_path);
    return PLANT(test_probe_lose_a_row) ? 1 : 0;
}

#ifdef PS_TEST_HOOKS

/* What the list says of a name; .name is NULL where there is none. */
static struct probe find(const char *name)
{
    size_t n;
    struct probe *all = probe_all(&n);

    for (size_t i = 0; i < n; i++) {
        if (strcmp(all[i].name, name) == 0) {
            return all[i];
        }
    }
    return (struct probe){0};
}

static void a_probe_counts_each_time_it_is_passed(void **state)
{
    const char *name = "test_probe_rare_path";

    (void)state;
    probe_reset();
    assert_non_null(find(name).name);
    assert_int_equal(find(name).is_plant, 0);
    assert_int_equal(find(name).hits, 0);
    pass_the_rare_path();
    pass_the_rare_path();
    assert_int_equal(find(name).hits, 2);
    probe_reset();
    assert_int_equal(find(name).hits, 0);
}

static void a_plant_is_nothing_until_it_is_chosen(void **state)
{
    const char *name = "test_probe_lose_a_row";

    (void)state;
    probe_reset();
    assert_int_equal(find(name).is_plant, 1);
    assert_int_equal(pass_the_rare_path(), 0);
    assert_int_equal(find(name).hits, 0);
    assert_true(probe_plant(name));
    assert_int_equal(pass_the_rare_path(), 1);
    assert_int_equal(find(name).hits, 1);
    probe_reset();
    assert_int_equal(pass_the_rare_path(), 0);
}

static void only_a_plant_can_be_chosen(void **state)
{
    (void)state;
    assert_false(probe_plant("test_probe_rare_path"));
    assert_false(probe_plant("no such plant"));
}

#else

static void without_hooks_both_are_nothing(void **state)
{
    (void)state;
    assert_int_equal(pass_the_rare_path(), 0);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef PS_TEST_HOOKS
        cmocka_unit_test(a_probe_counts_each_time_it_is_passed),
        cmocka_unit_test(a_plant_is_nothing_until_it_is_chosen),
        cmocka_unit_test(only_a_plant_can_be_chosen),
#else
        cmocka_unit_test(without_hooks_both_are_nothing),
#endif
    };

    return cmocka_run_group_tests_name("probe", tests, NULL, NULL);
}
