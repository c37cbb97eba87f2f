/* test_udf_plugin.c - plugins that are taken and plugins that are not.
 *
 * argv: examples/plugin/signum.so, then wrong_plugin.so for WRONG 0, 1, ... */
#include "udf/udf_plugin.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "udf/chain.h"

enum { DIM = 2 };

static char **paths;
static int n_paths;

static void each_mistake_is_named_and_nothing_stays(void **state)
{
    static const struct {
        int status;
        const char *text;
    } wrong[] = {
        {PS_OK, ""},
        {PS_EVERSION, "version 2"},
        {PS_EARGUMENT, "no updaters"},
        {PS_EARGUMENT, "name of an updater"},
        {PS_EEXIST, "AdagradUpdater already"},
        {PS_EARGUMENT, "number of parameters"},
        {PS_EARGUMENT, "number of slots"},
        {PS_EARGUMENT, "initial value"},
        {PS_EARGUMENT, "its apply"},
        {PS_EEXIST, "GoodUpdater already"},
        {PS_EARGUMENT, "the name of a slot"},
        {PS_EARGUMENT, "the name of a slot"},
    };

    (void)state;
    assert_int_equal(n_paths, 1 + (int)ARRAY_LEN(wrong));
    for (size_t i = 1; i < ARRAY_LEN(wrong); i++) {
        struct err e = {0};

        assert_int_equal(udf_plugin_load(paths[1 + i], &e), wrong[i].status);
        assert_non_null(strstr(e.text, wrong[i].text));
        assert_non_null(strstr(e.text, "wrong_plugin"));
        assert_null(udf_find("GoodUpdater"));
        assert_null(udf_find("BetterUpdater"));
    }
    assert_int_equal(udf_plugin_load(paths[1], NULL), PS_OK);
    assert_non_null(udf_find("GoodUpdater"));
    assert_non_null(udf_find("BetterUpdater"));
    assert_string_equal(udf_find("AdagradUpdater")->slots[0].name,
                        "adagrad_accumulation");
}

static void what_is_no_plugin_says_so(void **state)
{
    struct err e = {0};

    (void)state;
    assert_int_equal(udf_plugin_load("/nowhere/a.so", &e), PS_EIO);
    assert_non_null(strstr(e.text, "/nowhere/a.so"));
    assert_int_equal(udf_plugin_load("libm.so.6", &e), PS_EARGUMENT);
    assert_non_null(strstr(e.text, "no symbol ps_plugin"));
}

static int update(struct table *t, const double *params, uint32_t n_params,
                  const uint64_t *keys, const float *g, float *answer)
{
    struct chain chain;
    struct arena arena;
    struct run_op op = {.end = LIMIT_BUCKETS,
                        .dim = DIM,
                        .keys = keys,
                        .n_keys = 2,
                        .params = params,
                        .n_params = n_params,
                        .values = g,
                        .n_values = 2 * DIM};
    struct udf_call call = {
        .op = &op, .table = t, .kern = &kern_generic, .arena = &arena};
    int rc;

    arena_init(&arena);
    assert_int_equal(
        chain_parse("BuildHashSlice>SignumUpdater>TransSlice", &chain, NULL),
        PS_OK);
    rc = chain_prepare(&chain, &call, false);
    if (rc == PS_OK) {
        call.answer = answer;
        chain_apply(&chain, &call, false);
    }
    arena_fini(&arena);
    return rc;
}

/* lr 1/4, beta 1/2, d from 1. Gradients 2, 0; -1, -3; -1, 3 give the mean
 * 1, 0; 0, -3/2; -1/2, 3/4 and d 3/4, 1; 3/4, 5/4; 1, 1. The second key has no
 * row: its gradient is passed over, and it answers what it would begin as. */
static void an_updater_of_a_plugin_does_its_formula(void **state)
{
    static const float g[3][2 * DIM] = {
        {2, 0, 9, 9}, {-1, -3, 9, 9}, {-1, 3, 9, 9}};
    static const float after[3][2 * DIM] = {
        {0.75f, 1, 1, 1}, {0.75f, 1.25f, 1, 1}, {1, 1, 1, 1}};
    const double params[2] = {0.25, 0.5};
    const double bad[2] = {0.25, 1};
    const uint64_t keys[2] = {3, 4};
    const struct udf *u = NULL;
    struct table_budget budget = {0};
    struct table_undo undo = {0};
    struct table_spec spec = {.kind = PS_HASH64,
                              .dim = DIM,
                              .end = LIMIT_BUCKETS,
                              .init = {PS_INIT_CONSTANT, 1, 0, 0, 0},
                              .budget = &budget};
    struct table *t;
    struct err e = {0};
    float answer[2 * DIM];
    uint32_t rows[2];
    uint32_t made[2];

    (void)state;
    assert_int_equal(udf_plugin_load(paths[0], &e), PS_OK);
    assert_int_equal(udf_updater("SignumUpdater", bad, 2, &u, &e),
                     PS_EARGUMENT);
    assert_non_null(strstr(e.text, "beta is not in [0, 1)"));
    assert_int_equal(udf_updater("SignumUpdater", params, 2, &u, &e), PS_OK);
    spec.n_slots = udf_slots(u, params);
    assert_int_equal(spec.n_slots, 1);
    spec.slot_names[0] = u->slots[0].name;
    assert_string_equal(spec.slot_names[0], "signum_mean");
    assert_int_equal(table_new(&t, &spec), PS_OK);
    undo.rows = made;
    assert_int_equal(table_insert(t, keys, 1, rows, &undo), PS_OK);
    assert_int_equal(update(t, bad, 2, keys, g[0], answer), PS_EARGUMENT);
    assert_int_equal(update(t, params, 1, keys, g[0], answer), PS_EARGUMENT);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(update(t, params, 2, keys, g[i], answer), PS_OK);
        assert_memory_equal(answer, after[i], sizeof(answer));
    }
    assert_int_equal(table_rows(t), 1);
    /* One row made, one row updated three times. */
    assert_int_equal(table_writes(t), 1 + 3);
    table_free(t);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_plugin_says_so),
        cmocka_unit_test(each_mistake_is_named_and_nothing_stays),
        cmocka_unit_test(an_updater_of_a_plugin_does_its_formula),
    };

    paths = argv + 1;
    n_paths = argc - 1;
    return cmocka_run_group_tests_name("udf_plugin", tests, NULL, NULL);
}
