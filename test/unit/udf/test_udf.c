/* test_udf.c - slices and updaters: what they do, and what they refuse. */
#include "udf/udf.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>

#include "base/mem.h"
#include "udf/chain.h"

enum { DIM = 3 };

/* A table with one slot (7), initial values 1, and a request for it. */
struct world {
    struct table_budget budget;
    struct table *table;
    struct arena arena;
    struct run_op op;
    struct udf_call call;
    struct chain chain;
};

static struct table_spec spec_of(struct table_budget *budget, uint32_t kind)
{
    return (struct table_spec){
        .kind = kind,
        .dim = DIM,
        .begin = 0,
        .end = 65536,
        .row_begin = 0,
        .row_end = kind == PS_DENSE ? 1500 : 0,
        .init = {PS_INIT_CONSTANT, 1.0f, 0.0f, 0, 0},
        .n_slots = 1,
        .slot_init = {7.0f},
        .slot_names = {"adagrad_accumulation"},
        .budget = budget,
    };
}

static void world_init(struct world *w, const struct table_spec *spec)
{
    struct table_spec own = *spec;

    memset(w, 0, sizeof(*w));
    own.budget = &w->budget;
    arena_init(&w->arena);
    assert_int_equal(table_new(&w->table, &own), PS_OK);
    w->op.begin = own.begin;
    w->op.end = own.end;
    w->op.dim = DIM;
}

static void world_fini(struct world *w)
{
    table_free(w->table);
    arena_fini(&w->arena);
    assert_int_equal(w->budget.used, 0);
}

static int prepare(struct world *w, const char *definition)
{
    w->call = (struct udf_call){
        .op = &w->op,
        .table = w->table,
        .kern = &kern_generic,
        .arena = &w->arena,
    };
    assert_int_equal(chain_parse(definition, &w->chain, NULL), PS_OK);
    return chain_prepare(&w->chain, &w->call, false);
}

static void run(struct world *w, const char *definition, float *answer)
{
    assert_int_equal(prepare(w, definition), PS_OK);
    w->call.answer = answer;
    chain_apply(&w->chain, &w->call, false);
    arena_reset(&w->arena);
}

static void set_keys(struct world *w, const uint64_t *keys, uint32_t n)
{
    w->op.keys = keys;
    w->op.n_keys = n;
}

static void set_update(struct world *w, const double *params, uint32_t n_params,
                       const float *values, uint64_t n_values)
{
    w->op.params = params;
    w->op.n_params = n_params;
    w->op.values = values;
    w->op.n_values = n_values;
}

static void every_udf_is_found_by_its_name(void **state)
{
    static const char *const names[] = {
        "BuildDenseSlice", "BuildHashSlice", "BuildHashSlice(insert)",
        "TransSlice",      "AssignUpdater",  "AssignAddUpdater",
        "MomentumUpdater", "AdagradUpdater", "FtrlUpdater",
    };
    size_t n;
    const struct udf *const *all = udf_all(&n);

    (void)state;
    assert_int_equal(n, ARRAY_LEN(names));
    for (size_t i = 0; i < n; i++) {
        const struct udf *u = udf_find(names[i]);

        assert_non_null(u);
        assert_string_equal(u->name, names[i]);
        assert_non_null(u->prepare);
        assert_true(u->n_params <= LIMIT_PARAMS);
        assert_true(u->n_required <= u->n_params);
        assert_string_equal(all[i]->name, udf_find(all[i]->name)->name);
    }
    assert_null(udf_find("AdamUpdater"));
    assert_null(udf_find(""));
    assert_string_equal(udf_find("AdagradUpdater")->slots[0].name,
                        "adagrad_accumulation");
    assert_int_equal(udf_find("AdagradUpdater")->slots[0].init_param, 1);
}

static void wrong_updaters_are_refused_with_the_reason(void **state)
{
    static const struct {
        const char *name;
        double params[5];
        uint32_t n;
        int status;
        const char *text;
    } cases[] = {
        {"AssignUpdater", {0}, 0, PS_OK, ""},
        {"AssignAddUpdater", {0}, 0, PS_OK, ""},
        {"AssignUpdater", {1}, 1, PS_EARGUMENT, "0 parameters, not 1"},
        {"MomentumUpdater", {0.1}, 1, PS_OK, ""},
        {"MomentumUpdater", {0.1, 0, 0}, 3, PS_OK, ""},
        {"MomentumUpdater", {0.1, 0.9}, 2, PS_OK, ""},
        {"MomentumUpdater", {0.1, -0.5, 1}, 3, PS_OK, ""},
        {"MomentumUpdater", {0.1, 0, 2}, 3, PS_EARGUMENT, "nesterov"},
        {"MomentumUpdater", {0.1, 0, (double)NAN}, 3, PS_EARGUMENT, "nesterov"},
        {"MomentumUpdater", {0.1, (double)NAN}, 2, PS_EARGUMENT, "momentum is"},
        {"MomentumUpdater", {0}, 0, PS_EARGUMENT, "missing"},
        {"MomentumUpdater", {(double)INFINITY}, 1, PS_EARGUMENT, "rate"},
        {"MomentumUpdater", {1e39}, 1, PS_EARGUMENT, "rate"},
        {"AdagradUpdater", {0.1, 0.1}, 2, PS_OK, ""},
        {"AdagradUpdater", {-0.1, 0}, 2, PS_OK, ""},
        {"AdagradUpdater", {0.1}, 1, PS_EARGUMENT, "missing"},
        {"AdagradUpdater", {0.1, -1}, 2, PS_EARGUMENT, "negative"},
        {"AdagradUpdater", {(double)NAN, 1}, 2, PS_EARGUMENT, "rate"},
        {"AdagradUpdater", {0.1, (double)NAN}, 2, PS_EARGUMENT, "accumulator"},
        {"AdagradUpdater", {1, 1, 1}, 3, PS_EARGUMENT, "2 parameters"},
        {"FtrlUpdater", {0.1, -0.5, 0.1, 0, 0}, 5, PS_OK, ""},
        {"FtrlUpdater", {0.1, 0, 0, 1, 1}, 5, PS_OK, ""},
        {"FtrlUpdater", {0.1, -0.5, 0.1, 0}, 4, PS_EARGUMENT, "missing"},
        {"FtrlUpdater", {0, -0.5, 0.1, 0, 0}, 5, PS_EARGUMENT, "rate is not"},
        {"FtrlUpdater", {1e-39, -0.5, 0, 0, 0}, 5, PS_EARGUMENT, "rate is not"},
        {"FtrlUpdater", {1, 0.5, 0.1, 0, 0}, 5, PS_EARGUMENT, "power"},
        {"FtrlUpdater", {1, -1, -0.1, 0, 0}, 5, PS_EARGUMENT, "accumulator"},
        {"FtrlUpdater", {1, -1, 1, (double)NAN, 0}, 5, PS_EARGUMENT, "l1"},
        {"FtrlUpdater", {1, -1, 1, 0, 1e39}, 5, PS_EARGUMENT, "l2"},
        {"TransSlice", {0}, 0, PS_ENOUDF, "TransSlice"},
        {"BuildHashSlice(insert)", {0}, 0, PS_ENOUDF, "insert"},
        {"NoUpdater", {0}, 0, PS_ENOUDF, "NoUpdater"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct udf *u = NULL;
        struct err e = {0};
        int rc =
            udf_updater(cases[i].name, cases[i].params, cases[i].n, &u, &e);

        assert_int_equal(rc, cases[i].status);
        assert_int_equal(u != NULL, rc == PS_OK);
        if (rc != PS_OK) {
            assert_non_null(strstr(e.text, cases[i].text));
        }
    }
}

static void
absent_keys_answer_their_initial_values_and_stay_absent(void **state)
{
    enum { N = 1300 };
    struct table_budget unused = {0};
    struct table_spec spec = spec_of(&unused, PS_HASH64);
    struct world w;
    uint64_t keys[N];
    static float answer[N * DIM], expected[N * DIM];
    uint64_t some[2] = {4, 1024};
    float values[2 * DIM] = {10, 20, 30, 40, 50, 60};

    (void)state;
    spec.init = (struct init_spec){PS_INIT_NORMAL, 0.0f, 1.0f, 5, 6};
    world_init(&w, &spec);
    set_keys(&w, some, 2);
    set_update(&w, NULL, 0, values, 2 * DIM);
    run(&w, "BuildHashSlice(insert)>AssignUpdater", NULL);
    for (uint32_t i = 0; i < N; i++) {
        keys[i] = i;
        init_row(&spec.init, i, &expected[i * DIM], DIM);
    }
    memcpy(&expected[4 * DIM], &values[0], DIM * sizeof(float));
    memcpy(&expected[1024 * DIM], &values[DIM], DIM * sizeof(float));
    set_keys(&w, keys, N);
    set_update(&w, NULL, 0, NULL, 0);
    assert_int_equal(prepare(&w, "BuildHashSlice>TransSlice"), PS_OK);
    assert_int_equal(w.call.answer_values, N * DIM);
    w.call.answer = answer;
    chain_apply(&w.chain, &w.call, false);
    assert_memory_equal(answer, expected, sizeof(answer));
    assert_int_equal(table_rows(w.table), 2);
    /* With (insert) the rows are made, and the answer is the same. */
    memset(answer, 0, sizeof(answer));
    run(&w, "BuildHashSlice(insert)>TransSlice", answer);
    assert_memory_equal(answer, expected, sizeof(answer));
    assert_int_equal(table_rows(w.table), N);
    world_fini(&w);
}

/* acc starts at 7. 7 + 9 = 16, so 1 - 0.5 * 3 / 4 = 0.625; then 16 + 9 = 25
 * and 0.625 - 1.5 / 5. */
static void adagrad_takes_two_steps_as_worked_out_by_hand(void **state)
{
    struct table_budget unused = {0};
    struct table_spec spec = spec_of(&unused, PS_HASH64);
    struct world w;
    uint64_t keys[2] = {0, UINT64_MAX};
    double params[2] = {0.5, 7};
    float g1[] = {3, -3, 0, 0, 0, 0};
    float g2[] = {3, 0, 3, 0, 3, 0};
    float d1[] = {0.625f, 1.375f, 1, 1, 1, 1};
    float d2[] = {0.625f - 1.5f / 5, 1.375f, 0.625f, 1, 0.625f, 1};
    float acc2[] = {25, 16, 16, 7, 16, 7};
    float answer[2 * DIM];
    uint32_t rows[2];
    uint8_t *blocks[2];

    (void)state;
    world_init(&w, &spec);
    set_keys(&w, keys, 2);
    set_update(&w, params, 2, g1, 2 * DIM);
    run(&w, "BuildHashSlice(insert)>AdagradUpdater>TransSlice", answer);
    assert_memory_equal(answer, d1, sizeof(d1));
    set_update(&w, params, 2, g2, 2 * DIM);
    run(&w, "BuildHashSlice(insert)>AdagradUpdater>TransSlice", answer);
    assert_memory_equal(answer, d2, sizeof(d2));
    table_find(w.table, keys, 2, rows);
    table_address(w.table, rows, 2, blocks);
    for (uint32_t i = 0; i < 2; i++) {
        assert_memory_equal(blocks[i] + DIM * sizeof(float), &acc2[i * DIM],
                            DIM * sizeof(float));
    }
    /* Two rows made, two rows updated, twice. */
    assert_int_equal(table_writes(w.table), 2 + 4);
    world_fini(&w);
}

static void the_other_updaters_do_their_formula(void **state)
{
    struct table_budget unused = {0};
    struct table_spec spec = spec_of(&unused, PS_HASH64);
    struct world w;
    uint64_t key = 12;
    double lr = 0.25;
    float g[DIM] = {4, -8, 0.5f};
    float nan_g[DIM] = {1, NAN, 1};
    float answer[DIM];

    (void)state;
    world_init(&w, &spec);
    set_keys(&w, &key, 1);
    set_update(&w, &lr, 1, g, DIM);
    run(&w, "BuildHashSlice(insert)>MomentumUpdater>TransSlice", answer);
    assert_memory_equal(answer, ((float[]){0, 3, 0.875f}), sizeof(answer));
    run(&w, "BuildHashSlice>AssignAddUpdater>TransSlice", answer);
    assert_memory_equal(answer, ((float[]){4, -5, 1.375f}), sizeof(answer));
    run(&w, "BuildHashSlice>AssignUpdater>TransSlice", answer);
    assert_memory_equal(answer, g, sizeof(answer));
    set_update(&w, &lr, 1, nan_g, DIM);
    run(&w, "BuildHashSlice>MomentumUpdater>TransSlice", answer);
    assert_true(answer[0] == 3.75f && isnan(answer[1]) && answer[2] == 0.25f);
    world_fini(&w);
}

static void an_updater_passes_over_absent_rows_and_their_gradients(void **state)
{
    struct table_budget unused = {0};
    struct table_spec spec = spec_of(&unused, PS_HASH64);
    struct world w;
    uint64_t keys[3] = {1, 2, 3};
    float values[3 * DIM] = {1, 1, 1, 2, 2, 2, 3, 3, 3};
    float answer[3 * DIM];

    (void)state;
    world_init(&w, &spec);
    set_keys(&w, &keys[2], 1);
    set_update(&w, NULL, 0, values, DIM);
    run(&w, "BuildHashSlice(insert)>AssignUpdater", NULL);
    assert_int_equal(table_writes(w.table), 2);
    set_keys(&w, keys, 3);
    set_update(&w, NULL, 0, values, 3 * DIM);
    run(&w, "BuildHashSlice>AssignAddUpdater>TransSlice", answer);
    assert_memory_equal(answer, ((float[]){1, 1, 1, 1, 1, 1, 4, 4, 4}),
                        sizeof(answer));
    assert_int_equal(table_rows(w.table), 1);
    assert_int_equal(table_writes(w.table), 3);
    world_fini(&w);
}

static void a_dense_part_is_read_and_written_whole(void **state)
{
    enum { N = 1500 };
    struct table_budget unused = {0};
    struct table_spec spec = spec_of(&unused, PS_DENSE);
    struct world w;
    static float values[N * DIM], answer[N * DIM];

    (void)state;
    for (uint32_t i = 0; i < N * DIM; i++) {
        values[i] = (float)i;
    }
    world_init(&w, &spec);
    set_update(&w, NULL, 0, values, N * DIM);
    run(&w, "BuildDenseSlice>AssignAddUpdater>TransSlice", answer);
    for (uint32_t i = 0; i < N * DIM; i++) {
        assert_true(answer[i] == (float)(i + 1));
    }
    /* Made, then written. */
    assert_int_equal(table_writes(w.table), 2 * N);
    world_fini(&w);
}

static void a_refused_dense_request_says_why(void **state)
{
    struct table_budget unused = {0};
    struct table_spec spec = spec_of(&unused, PS_DENSE);
    struct world w;
    uint64_t key = 1;

    (void)state;
    world_init(&w, &spec);
    w.op.begin = 1;
    assert_int_equal(prepare(&w, "BuildDenseSlice>TransSlice"), PS_EMOVED);
    w.op.begin = 0;
    w.op.end = 65535;
    assert_int_equal(prepare(&w, "BuildDenseSlice>TransSlice"), PS_EMOVED);
    w.op.end = 65536;
    assert_int_equal(prepare(&w, "BuildHashSlice>TransSlice"), PS_EARGUMENT);
    set_keys(&w, &key, 1);
    assert_int_equal(prepare(&w, "BuildDenseSlice>TransSlice"), PS_EARGUMENT);
    set_keys(&w, NULL, 0);
    w.op.dim = DIM + 1;
    assert_int_equal(prepare(&w, "BuildDenseSlice>TransSlice"), PS_EARGUMENT);
    world_fini(&w);
}

/* Bucket of key 0 is 0xe220, of key 1 0x910a (architecture 7). */
static void keys_outside_of_the_range_have_moved(void **state)
{
    struct table_budget unused = {0};
    struct table_spec spec = spec_of(&unused, PS_HASH64);
    struct world w;
    uint64_t keys[2] = {0, 1};

    (void)state;
    spec.begin = 0x9000;
    spec.end = 0xe221;
    world_init(&w, &spec);
    set_keys(&w, keys, 2);
    assert_int_equal(prepare(&w, "BuildHashSlice(insert)"), PS_OK);
    assert_int_equal(table_rows(w.table), 2);
    chain_undo(&w.chain, &w.call);
    assert_int_equal(table_rows(w.table), 0);
    w.op.end = 0xe220;
    assert_int_equal(prepare(&w, "BuildHashSlice(insert)"), PS_EMOVED);
    assert_int_equal(prepare(&w, "BuildHashSlice>TransSlice"), PS_EMOVED);
    w.op.end = 0xe221;
    w.op.begin = 0x910b;
    assert_int_equal(prepare(&w, "BuildHashSlice(insert)"), PS_EMOVED);
    w.op.begin = 0x8fff;
    assert_int_equal(prepare(&w, "BuildHashSlice(insert)"), PS_EMOVED);
    w.op.begin = 0x9000;
    w.op.end = 0xe222;
    assert_int_equal(prepare(&w, "BuildHashSlice(insert)"), PS_EMOVED);
    assert_int_equal(table_rows(w.table), 0);
    world_fini(&w);
}

static void a_refused_update_changes_nothing(void **state)
{
    enum { N = 1000 };
    struct table_budget unused = {0};
    struct table_spec spec = spec_of(&unused, PS_HASH64);
    struct world w;
    uint64_t keys[N];
    static float values[N * DIM];
    double good[2] = {0.1, 1};
    double bad[3] = {(double)NAN, 1, 0};
    double heavy[3] = {0.1, 0.9, 0};
    const char *adagrad = "BuildHashSlice(insert)>AdagradUpdater";
    const char *momentum = "BuildHashSlice(insert)>MomentumUpdater";
    uint64_t bytes;

    (void)state;
    for (uint32_t i = 0; i < N; i++) {
        keys[i] = i;
    }
    world_init(&w, &spec);
    bytes = table_bytes(w.table);
    set_keys(&w, keys, N);
    set_update(&w, good, 2, values, N * DIM - 1);
    assert_int_equal(prepare(&w, adagrad), PS_EARGUMENT);
    assert_int_equal(table_rows(w.table), 0);
    set_update(&w, good, 2, values, 0);
    assert_int_equal(prepare(&w, adagrad), PS_EARGUMENT);
    set_update(&w, good, 1, values, N * DIM);
    assert_int_equal(prepare(&w, adagrad), PS_EARGUMENT);
    set_update(&w, bad, 2, values, N * DIM);
    assert_int_equal(prepare(&w, adagrad), PS_EARGUMENT);
    assert_int_equal(prepare(&w, momentum), PS_EARGUMENT);
    set_update(&w, heavy, 3, values, N * DIM);
    assert_int_equal(prepare(&w, momentum), PS_EARGUMENT);
    set_update(&w, good, 2, values, N * DIM);
    w.op.dim = DIM - 1;
    assert_int_equal(prepare(&w, adagrad), PS_EARGUMENT);
    w.op.dim = DIM;
    assert_int_equal(table_rows(w.table), 0);
    /* Whatever fails: the arena's two pieces, slabs, the index. */
    for (uint64_t n = 1; n <= 12; n++) {
        arena_fini(&w.arena);
        table_free(w.table);
        spec.budget = &w.budget;
        assert_int_equal(table_new(&w.table, &spec), PS_OK);
        mem_fail_at(n);
        assert_int_equal(prepare(&w, adagrad), PS_ENOMEM);
        mem_fail_at(0);
        assert_int_equal(table_rows(w.table), 0);
    }
    table_free(w.table);
    assert_int_equal(table_new(&w.table, &spec), PS_OK);
    w.budget.limit = w.budget.used + 20000;
    assert_int_equal(prepare(&w, adagrad), PS_ELIMIT);
    assert_int_equal(table_rows(w.table), 0);
    w.budget.limit = 0;
    assert_int_equal(prepare(&w, adagrad), PS_OK);
    assert_int_equal(table_rows(w.table), N);
    assert_true(table_bytes(w.table) > bytes);
    world_fini(&w);
}

/* m 1/2, lr 1/4 from d 1: what test_kern works out, step by step. The second
 * part is the same with nesterov, and a push with m = 0 on the same rows: acc
 * becomes g. */
static void momentum_keeps_its_slot(void **state)
{
    struct table_budget unused = {0};
    struct table_spec spec = spec_of(&unused, PS_HASH64);
    const char *chain = "BuildHashSlice(insert)>MomentumUpdater>TransSlice";
    struct world w;
    uint64_t key = 3;
    double params[3] = {0.25, 0.5, 0};
    float g[3][DIM] = {{2, 2, 0}, {-4, 0, 8}, {0, 0, 0}};
    float answer[DIM];

    (void)state;
    spec.slot_names[0] = "accumulation";
    spec.slot_init[0] = 0;
    world_init(&w, &spec);
    set_keys(&w, &key, 1);
    set_update(&w, params, 2, g[0], DIM);
    run(&w, chain, answer);
    assert_memory_equal(answer, ((float[]){0.5f, 0.5f, 1}), sizeof(answer));
    set_update(&w, params, 3, g[1], DIM);
    run(&w, chain, answer);
    assert_memory_equal(answer, ((float[]){1.25f, 0.25f, -1}), sizeof(answer));
    set_update(&w, params, 3, g[2], DIM);
    run(&w, chain, answer);
    assert_memory_equal(answer, ((float[]){1.625f, 0.125f, -2}),
                        sizeof(answer));
    /* acc is -3/2, 1/2, 4; d falls by g * lr + acc / 2 * lr. */
    params[2] = 1;
    run(&w, chain, answer);
    assert_memory_equal(
        answer, ((float[]){1.625f + 0.09375f, 0.125f - 0.03125f, -2.25f}),
        sizeof(answer));
    params[2] = 0;
    params[1] = 0;
    set_update(&w, params, 1, g[1], DIM);
    run(&w, chain, answer);
    params[1] = 0.5;
    set_update(&w, params, 2, g[2], DIM);
    run(&w, chain, answer);
    /* 1.71875 + 1 + 1/2; no change; -2.25 - 2 - 1 */
    assert_memory_equal(answer, ((float[]){3.21875f, 0.09375f, -5.25f}),
                        sizeof(answer));
    world_fini(&w);
}

/* lr 1, l1 1, l2 3/2 as in test_kern; there d begins at 1 and accum at 9. A
 * power of 1 makes p(x) = x: from accum 9, g 4: n 25, linear 4 - 16 = -12,
 * (-1 + 12) / (25 + 3). */
static void ftrl_keeps_its_slots(void **state)
{
    struct table_budget unused = {0};
    struct table_spec spec = spec_of(&unused, PS_HASH64);
    const char *chain = "BuildHashSlice(insert)>FtrlUpdater>TransSlice";
    struct world w;
    uint64_t keys[2] = {3, 4};
    double params[5] = {1, -0.5, 9, 1, 1.5};
    float g[2][DIM] = {{4, 0, 4}, {12, 0, 12}};
    float answer[DIM];

    (void)state;
    spec.n_slots = 2;
    spec.slot_names[0] = "accum";
    spec.slot_names[1] = "linear";
    spec.slot_init[0] = 9;
    spec.slot_init[1] = 0;
    world_init(&w, &spec);
    set_keys(&w, keys, 1);
    set_update(&w, params, 5, g[0], DIM);
    run(&w, chain, answer);
    assert_memory_equal(answer, ((float[]){-0.125f, 0, -0.125f}),
                        sizeof(answer));
    params[1] = -0.5000009; /* nearer to the root than 1e-6 */
    set_update(&w, params, 5, g[1], DIM);
    run(&w, chain, answer);
    assert_memory_equal(answer, ((float[]){-0.875f, 0, -0.875f}),
                        sizeof(answer));
    params[1] = -1;
    set_keys(&w, &keys[1], 1);
    set_update(&w, params, 5, g[0], DIM);
    run(&w, chain, answer);
    assert_memory_equal(answer, ((float[]){11.0f / 28, 0, 11.0f / 28}),
                        sizeof(answer));
    world_fini(&w);
}

static void the_parameters_say_how_many_slots_there_are(void **state)
{
    const struct udf *momentum = udf_find("MomentumUpdater");

    (void)state;
    assert_int_equal(udf_slots(momentum, (double[]){0.1, 0, 1}), 0);
    assert_int_equal(udf_slots(momentum, (double[]){0.1, 0.9, 0}), 1);
    assert_string_equal(momentum->slots[0].name, "accumulation");
    assert_int_equal(udf_slots(udf_find("AssignUpdater"), NULL), 0);
    assert_int_equal(udf_slots(udf_find("AdagradUpdater"), NULL), 1);
    assert_int_equal(udf_slots(udf_find("FtrlUpdater"), NULL), 2);
    assert_int_equal(udf_find("FtrlUpdater")->slots[0].init_param, 2);
    assert_int_equal(udf_find("FtrlUpdater")->slots[1].init_param, -1);
}

static void an_updater_without_its_slot_is_refused(void **state)
{
    struct table_budget unused = {0};
    struct table_spec spec = spec_of(&unused, PS_HASH64);
    struct world w;
    uint64_t key = 1;
    double params[3] = {0.1, 1, 0};
    float g[DIM] = {0};

    (void)state;
    /* The slot that is there is another's. */
    world_init(&w, &spec);
    set_keys(&w, &key, 1);
    set_update(&w, params, 2, g, DIM);
    assert_int_equal(prepare(&w, "BuildHashSlice(insert)>MomentumUpdater"),
                     PS_EARGUMENT);
    set_update(&w, params, 1, g, DIM);
    run(&w, "BuildHashSlice(insert)>MomentumUpdater", NULL);
    world_fini(&w);
    spec.n_slots = 0;
    world_init(&w, &spec);
    set_keys(&w, &key, 1);
    set_update(&w, params, 2, g, DIM);
    assert_int_equal(prepare(&w, "BuildHashSlice(insert)>AdagradUpdater"),
                     PS_EARGUMENT);
    assert_int_equal(table_rows(w.table), 0);
    set_update(&w, params, 1, g, DIM);
    assert_int_equal(prepare(&w, "BuildHashSlice(insert)>MomentumUpdater"),
                     PS_OK);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_udf_is_found_by_its_name),
        cmocka_unit_test(wrong_updaters_are_refused_with_the_reason),
        cmocka_unit_test(
            absent_keys_answer_their_initial_values_and_stay_absent),
        cmocka_unit_test(adagrad_takes_two_steps_as_worked_out_by_hand),
        cmocka_unit_test(the_other_updaters_do_their_formula),
        cmocka_unit_test(
            an_updater_passes_over_absent_rows_and_their_gradients),
        cmocka_unit_test(a_dense_part_is_read_and_written_whole),
        cmocka_unit_test(a_refused_dense_request_says_why),
        cmocka_unit_test(keys_outside_of_the_range_have_moved),
        cmocka_unit_test(a_refused_update_changes_nothing),
        cmocka_unit_test(momentum_keeps_its_slot),
        cmocka_unit_test(ftrl_keeps_its_slots),
        cmocka_unit_test(the_parameters_say_how_many_slots_there_are),
        cmocka_unit_test(an_updater_without_its_slot_is_refused),
    };

    return cmocka_run_group_tests_name("udf", tests, NULL, NULL);
}
