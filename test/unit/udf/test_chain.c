/* test_chain.c - chains: what parses, what a repeat skips, what undo undoes. */
#include "udf/chain.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"

static void a_good_definition_becomes_a_chain(void **state)
{
    const char *text = "BuildHashSlice(insert)>AdagradUpdater>TransSlice";
    struct chain c;

    (void)state;
    assert_int_equal(chain_parse(text, &c, NULL), PS_OK);
    assert_int_equal(c.n, 3);
    assert_ptr_equal(c.udfs[0], udf_find("BuildHashSlice(insert)"));
    assert_ptr_equal(c.udfs[1], udf_find("AdagradUpdater"));
    assert_ptr_equal(c.udfs[2], udf_find("TransSlice"));
    assert_int_equal(c.flags, UDF_SLICES | UDF_WRITES | UDF_ANSWERS);
    assert_string_equal(c.definition, text);
    assert_true(c.id == chain_id(text));
    assert_int_equal(chain_parse("BuildDenseSlice", &c, NULL), PS_OK);
    assert_int_equal(c.n, 1);
    assert_int_equal(c.flags, UDF_SLICES);
}

/* Worked out with the xxHash library's own XXH3_64bits. */
static void the_id_is_the_xxh3_of_the_text(void **state)
{
    (void)state;
    assert_true(chain_id("BuildHashSlice>TransSlice") ==
                UINT64_C(0x1adb84af4e1d0a2d));
}

static void bad_definitions_are_refused_with_the_reason(void **state)
{
    char long_text[400];
    const struct {
        const char *text;
        int status;
        const char *why;
    } cases[] = {
        {"", PS_EARGUMENT, "1 to 255 bytes"},
        {long_text, PS_EARGUMENT, "not 256"},
        {">", PS_EARGUMENT, "UDF 1 has no name"},
        {"BuildHashSlice>", PS_EARGUMENT, "UDF 2 has no name"},
        {"BuildHashSlice>>TransSlice", PS_EARGUMENT, "UDF 2 has no name"},
        {"TransSlice", PS_EARGUMENT, "TransSlice is first"},
        {"AdagradUpdater>BuildHashSlice", PS_EARGUMENT, "first"},
        {"BuildHashSlice>BuildHashSlice", PS_EARGUMENT, "second"},
        {"BuildHashSlice>BuildDenseSlice", PS_EARGUMENT, "second"},
        {"BuildHashSlice>transslice", PS_ENOUDF, "transslice"},
        {"BuildHashSlice >TransSlice", PS_ENOUDF, "BuildHashSlice "},
        {"BuildHashSlice>A\nB", PS_ENOUDF, "A?B"},
        {"BuildHashSlice>TransSlice>TransSlice>TransSlice>TransSlice>"
         "TransSlice>TransSlice>TransSlice>TransSlice",
         PS_EARGUMENT, "more than 8"},
    };

    (void)state;
    memset(long_text, 'x', sizeof(long_text));
    long_text[256] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct chain c = {.id = 77};
        struct err e = {0};

        assert_int_equal(chain_parse(cases[i].text, &c, &e), cases[i].status);
        assert_int_equal(e.status, cases[i].status);
        if (strstr(e.text, cases[i].why) == NULL) {
            fail_msg("case %zu: %s", i, e.text);
        }
        assert_int_equal(c.id, 77);
    }
    long_text[255] = '\0';
    {
        struct chain c;

        assert_int_equal(chain_parse(long_text, &c, NULL), PS_ENOUDF);
    }
}

enum { DIM = 2 };

struct world {
    struct table_budget budget;
    struct table *table;
    struct arena arena;
    struct run_op op;
    struct udf_call call;
    struct chain chain;
};

static void world_init(struct world *w, const char *definition)
{
    struct table_spec spec = {
        .kind = PS_HASH64,
        .dim = DIM,
        .end = 65536,
        .init = {PS_INIT_CONSTANT, 5.0f, 0.0f, 0, 0},
    };

    memset(w, 0, sizeof(*w));
    spec.budget = &w->budget;
    arena_init(&w->arena);
    assert_int_equal(table_new(&w->table, &spec), PS_OK);
    assert_int_equal(chain_parse(definition, &w->chain, NULL), PS_OK);
    w->op.end = 65536;
    w->op.dim = DIM;
    w->call.op = &w->op;
    w->call.table = w->table;
    w->call.kern = &kern_generic;
    w->call.arena = &w->arena;
}

static void world_fini(struct world *w)
{
    table_free(w->table);
    arena_fini(&w->arena);
}

static void a_repeat_only_reads(void **state)
{
    struct world w;
    uint64_t keys[2] = {1, 2};
    float values[2 * DIM] = {1, 2, 3, 4};
    float answer[2 * DIM];

    (void)state;
    world_init(&w, "BuildHashSlice(insert)>AssignAddUpdater>TransSlice");
    w.op.keys = keys;
    w.op.n_keys = 1;
    w.op.values = values;
    w.op.n_values = DIM;
    assert_int_equal(chain_prepare(&w.chain, &w.call, false), PS_OK);
    assert_int_equal(w.call.answer_values, DIM);
    w.call.answer = answer;
    chain_apply(&w.chain, &w.call, false);
    assert_memory_equal(answer, ((float[]){6, 7}), DIM * sizeof(float));
    assert_int_equal(table_writes(w.table), 2);
    w.op.n_keys = 2;
    w.op.n_values = 2 * DIM;
    assert_int_equal(chain_prepare(&w.chain, &w.call, true), PS_OK);
    assert_int_equal(w.call.undo.n, 0);
    assert_int_equal(w.call.answer_values, 2 * DIM);
    w.call.answer = answer;
    chain_apply(&w.chain, &w.call, true);
    assert_memory_equal(answer, ((float[]){6, 7, 5, 5}), sizeof(answer));
    assert_int_equal(table_rows(w.table), 1);
    assert_int_equal(table_writes(w.table), 2);
    chain_undo(&w.chain, &w.call);
    assert_int_equal(table_rows(w.table), 1);
    world_fini(&w);
}

/* Two ops of a frame on one table: the second is refused, the first undone. */
static void undo_takes_back_what_prepare_inserted(void **state)
{
    struct world w;
    struct udf_call second;
    struct run_op bad;
    uint64_t keys[3] = {1, 2, 3};
    float values[3 * DIM] = {0};
    uint32_t rows[3];

    (void)state;
    world_init(&w, "BuildHashSlice(insert)>AssignUpdater");
    w.op.keys = keys;
    w.op.n_keys = 1;
    w.op.values = values;
    w.op.n_values = DIM;
    assert_int_equal(chain_prepare(&w.chain, &w.call, false), PS_OK);
    chain_apply(&w.chain, &w.call, false);
    w.op.n_keys = 2;
    w.op.n_values = 2 * DIM;
    assert_int_equal(chain_prepare(&w.chain, &w.call, false), PS_OK);
    assert_int_equal(table_rows(w.table), 2);
    bad = w.op;
    bad.n_keys = 3;
    second = w.call;
    second.op = &bad;
    assert_int_equal(chain_prepare(&w.chain, &second, false), PS_EARGUMENT);
    assert_int_equal(table_rows(w.table), 2);
    chain_undo(&w.chain, &w.call);
    assert_int_equal(table_rows(w.table), 1);
    table_find(w.table, keys, 3, rows);
    assert_int_not_equal(rows[0], TABLE_ABSENT);
    assert_int_equal(rows[1], TABLE_ABSENT);
    assert_int_equal(rows[2], TABLE_ABSENT);
    world_fini(&w);
}

static void a_request_without_keys_is_no_failure(void **state)
{
    struct world w;
    float answer[1];

    (void)state;
    world_init(&w, "BuildHashSlice(insert)>AssignUpdater>TransSlice");
    assert_int_equal(chain_prepare(&w.chain, &w.call, false), PS_OK);
    assert_int_equal(w.call.answer_values, 0);
    w.call.answer = answer;
    chain_apply(&w.chain, &w.call, false);
    chain_undo(&w.chain, &w.call);
    assert_int_equal(table_rows(w.table), 0);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_definition_becomes_a_chain),
        cmocka_unit_test(the_id_is_the_xxh3_of_the_text),
        cmocka_unit_test(bad_definitions_are_refused_with_the_reason),
        cmocka_unit_test(a_repeat_only_reads),
        cmocka_unit_test(undo_takes_back_what_prepare_inserted),
        cmocka_unit_test(a_request_without_keys_is_no_failure),
    };

    return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
