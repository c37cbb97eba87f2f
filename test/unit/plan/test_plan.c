/* test_plan.c - the plan record: what is refused, and who holds what. */
#include "plan/plan.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"

/* A record that a test may change before it is made a plan:
 *
 *     2 "b"  hash   lane 10: 0..20000, lane 11: 20000..20001,
 *                   lane 5 (ended): 20001..65536
 *     5 "a"  dense  lane 11: all
 *     9 "c"  hash   lane 10: 0..32768, lane 11: 32768..65536
 */
struct record {
    struct wire_plan w;
    struct wire_variable variables[3];
    struct wire_part parts[6];
    struct wire_lane lanes[2];
    struct wire_ended ended[1];
};

static void make_record(struct record *r)
{
    *r = (struct record){
        .variables = {{.id = 2, .name = "b", .kind = PS_HASH64, .dim = 1},
                      {.id = 5, .name = "a", .rows = 8, .dim = 65536},
                      {.id = 9, .name = "c", .kind = PS_HASH64, .dim = 4}},
        .parts = {{2, 0, 20000, 10, 1},
                  {2, 20000, 20001, 11, 1},
                  {2, 20001, 65536, 5, 1},
                  {5, 0, 65536, 11, 2},
                  {9, 0, 32768, 10, 3},
                  {9, 32768, 65536, 11, 3}},
        .lanes = {{11, 0, 1, "x:2"}, {10, 0, 0, "x:1"}},
        .ended = {{5, 1, 0, 7, 0}},
    };
    r->w = (struct wire_plan){.nonce = 1,
                              .term = 3,
                              .plan = 7,
                              .next_variable = 10,
                              .servers = 2,
                              .n_variables = 3,
                              .n_parts = 6,
                              .n_lanes = 2,
                              .n_ended = 1};
}

static int make_plan(struct plan **p, struct record *r)
{
    struct buf b;
    int rc;

    r->w.variables = r->variables;
    r->w.parts = r->parts;
    r->w.lanes = r->lanes;
    r->w.ended = r->ended;
    buf_init(&b);
    wire_plan_encode(&r->w, &b);
    assert_false(b.failed);
    rc = plan_new(p, b.data, b.size);
    buf_fini(&b); /* the plan has its own copy */
    return rc;
}

static struct plan *sample_plan(void)
{
    struct record r;
    struct plan *p;

    make_record(&r);
    assert_int_equal(make_plan(&p, &r), PS_OK);
    return p;
}

static void variables_are_found_by_id_and_by_name(void **state)
{
    struct plan *p = sample_plan();

    (void)state;
    assert_int_equal(p->w.plan, 7);
    assert_string_equal(plan_variable(p, 2)->name, "b");
    assert_string_equal(plan_variable(p, 5)->name, "a");
    assert_string_equal(plan_variable(p, 9)->name, "c");
    assert_null(plan_variable(p, 0));
    assert_null(plan_variable(p, 3));
    assert_null(plan_variable(p, 10));
    assert_int_equal(plan_variable_named(p, "a")->id, 5);
    assert_int_equal(plan_variable_named(p, "b")->id, 2);
    assert_int_equal(plan_variable_named(p, "c")->id, 9);
    assert_null(plan_variable_named(p, ""));
    assert_null(plan_variable_named(p, "bb"));
    plan_free(p);
}

static void parts_are_found_by_variable_and_bucket(void **state)
{
    static const struct {
        uint32_t variable;
        uint32_t bucket;
        uint64_t lane;
    } cases[] = {
        {2, 0, 10},     {2, 19999, 10}, {2, 20000, 11}, {2, 20001, 5},
        {2, 65535, 5},  {5, 0, 11},     {5, 65535, 11}, {9, 0, 10},
        {9, 32767, 10}, {9, 32768, 11}, {9, 65535, 11},
    };
    struct plan *p = sample_plan();
    const struct wire_part *parts;
    uint32_t n;

    (void)state;
    parts = plan_parts(p, 2, &n);
    assert_int_equal(n, 3);
    assert_int_equal(parts[1].begin, 20000);
    parts = plan_parts(p, 9, &n);
    assert_int_equal(n, 2);
    assert_int_equal(parts[1].end, 65536);
    (void)plan_parts(p, 4, &n);
    assert_int_equal(n, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct wire_part *part =
            plan_part(p, cases[i].variable, cases[i].bucket);

        assert_non_null(part);
        assert_int_equal(part->variable, cases[i].variable);
        assert_int_equal(part->lane, cases[i].lane);
    }
    assert_null(plan_part(p, 4, 0));
    plan_free(p);
}

static void lanes_are_live_or_ended(void **state)
{
    struct plan *p = sample_plan();

    (void)state;
    assert_string_equal(plan_lane(p, 10)->address, "x:1");
    assert_string_equal(plan_lane(p, 11)->address, "x:2");
    assert_null(plan_lane(p, 5));
    assert_null(plan_lane(p, 6));
    assert_int_equal(plan_ended(p, 5)->plan, 7);
    assert_null(plan_ended(p, 10));
    assert_null(plan_ended(p, 6));
    plan_free(p);
}

static void a_plan_of_nothing_is_a_plan(void **state)
{
    struct record r;
    struct plan *p;
    uint32_t n;

    (void)state;
    make_record(&r);
    r.w.n_variables = 0;
    r.w.n_parts = 0;
    r.w.n_lanes = 0;
    r.w.n_ended = 0;
    assert_int_equal(make_plan(&p, &r), PS_OK);
    assert_null(plan_variable(p, 0));
    assert_null(plan_variable_named(p, "a"));
    assert_null(plan_parts(p, 2, &n));
    assert_int_equal(n, 0);
    assert_null(plan_part(p, 2, 0));
    assert_null(plan_lane(p, 0));
    assert_null(plan_ended(p, 0));
    plan_free(p);
    plan_free(NULL);
}

static void assert_refused(struct record *r)
{
    struct plan *p = NULL;

    assert_int_equal(make_plan(&p, r), PS_EPROTOCOL);
    assert_null(p);
    make_record(r);
}

static void variables_that_cannot_be_are_refused(void **state)
{
    char name[LIMIT_NAME_BYTES + 2];
    struct record r;
    struct plan *p;

    (void)state;
    memset(name, 'n', sizeof(name));
    name[LIMIT_NAME_BYTES + 1] = '\0';
    make_record(&r);
    r.variables[1].name = name;
    assert_refused(&r);
    name[LIMIT_NAME_BYTES] = '\0';
    r.variables[1].name = name;
    assert_int_equal(make_plan(&p, &r), PS_OK);
    plan_free(p);
    r.variables[1].name = "";
    assert_refused(&r);
    r.variables[2].name = "b";
    assert_refused(&r);
    r.variables[1].dim = 0;
    assert_refused(&r);
    r.variables[1].dim = LIMIT_DIM + 1;
    assert_refused(&r);
    r.variables[1].kind = 1;
    assert_refused(&r);
    r.variables[1].n_params = LIMIT_PARAMS + 1;
    assert_refused(&r);
}

static void ids_out_of_order_are_refused(void **state)
{
    struct record r;

    (void)state;
    make_record(&r);
    r.variables[1].id = 2;
    r.parts[3].variable = 2;
    assert_refused(&r);
    r.variables[1].id = 1;
    r.parts[3].variable = 1;
    assert_refused(&r);
}

static void parts_that_do_not_cover_are_refused(void **state)
{
    struct record r;

    (void)state;
    make_record(&r);
    r.parts[0].begin = 1;
    assert_refused(&r);
    r.parts[1].begin = 20001; /* nothing holds 20000 */
    r.parts[1].end = 20002;
    r.parts[2].begin = 20002;
    assert_refused(&r);
    r.parts[1].begin = 19999; /* two hold it */
    assert_refused(&r);
    r.parts[1].end = 20000; /* holds nothing */
    r.parts[2].begin = 20000;
    assert_refused(&r);
    r.parts[2].end = 65535;
    assert_refused(&r);
    r.parts[2].end = 65537;
    assert_refused(&r);
    r.parts[5].end = 65535;
    assert_refused(&r);
    r.w.n_parts = 5; /* the last part of 9 */
    assert_refused(&r);
    r.w.n_parts = 4; /* all parts of 9 */
    assert_refused(&r);
    r.parts[3].variable = 4; /* 5 has none, and 4 is not there */
    assert_refused(&r);
    r.w.n_variables = 2; /* parts of 9 are left over */
    assert_refused(&r);
}

static void parts_on_unknown_lanes_are_refused(void **state)
{
    struct record r;

    (void)state;
    make_record(&r);
    r.parts[3].lane = 12;
    assert_refused(&r);
    r.w.n_ended = 0;
    assert_refused(&r);
    r.w.n_lanes = 1;
    assert_refused(&r);
}

static void a_lane_twice_is_refused(void **state)
{
    struct record r;

    (void)state;
    make_record(&r);
    r.lanes[0].lane = 10;
    r.parts[1].lane = 10;
    r.parts[3].lane = 10;
    r.parts[5].lane = 10;
    assert_refused(&r);
    r.ended[0].lane = 10;
    r.parts[2].lane = 10;
    assert_refused(&r);
}

static void bytes_that_are_no_plan_are_refused(void **state)
{
    struct plan *p = NULL;

    (void)state;
    assert_int_equal(plan_new(&p, NULL, 0), PS_EPROTOCOL);
    assert_int_equal(plan_new(&p, "12345678", 8), PS_EPROTOCOL);
    assert_null(p);
}

static void without_memory_there_is_no_plan(void **state)
{
    struct record r;
    struct plan *p;
    struct buf b;
    uint64_t calls;

    (void)state;
    make_record(&r);
    r.w.variables = r.variables;
    r.w.parts = r.parts;
    r.w.lanes = r.lanes;
    r.w.ended = r.ended;
    buf_init(&b);
    wire_plan_encode(&r.w, &b);
    calls = mem_calls();
    assert_int_equal(plan_new(&p, b.data, b.size), PS_OK);
    calls = mem_calls() - calls;
    plan_free(p);
    assert_true(calls >= 3);
    for (uint64_t i = 1; i <= calls; i++) {
        mem_fail_at(i);
        assert_int_equal(plan_new(&p, b.data, b.size), PS_ENOMEM);
    }
    mem_fail_at(0);
    buf_fini(&b);
}

static void dense_rows_lie_in_buckets_of_equal_size(void **state)
{
    static const struct {
        uint64_t rows;
        uint32_t begin;
        uint32_t end;
        uint64_t row_begin;
        uint64_t row_end;
    } cases[] = {
        {0, 0, 65536, 0, 0},
        {1, 0, 1, 0, 1},
        {1, 1, 65536, 1, 1},
        {100, 34, 67, 34, 67},
        {100, 67, 65536, 67, 100},
        {65536, 65535, 65536, 65535, 65536},
        /* two rows a bucket, the last of 32,769 buckets has one */
        {65537, 0, 32768, 0, 65536},
        {65537, 32768, 32769, 65536, 65537},
        {65537, 32769, 65536, 65537, 65537},
        {100000, 12500, 25000, 25000, 50000},
        {100000, 50000, 65536, 100000, 100000},
        /* ceil of (2^64 - 1) / 2^16 is 2^48 */
        {UINT64_MAX, 65535, 65536, (uint64_t)65535 << 48, UINT64_MAX},
        /* 2^64 - 2^16 is 2^16 buckets of 2^48 - 1 */
        {UINT64_MAX - 65535, 65535, 65536, 65535 * (((uint64_t)1 << 48) - 1),
         UINT64_MAX - 65535},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t row_begin;
        uint64_t row_end;

        plan_dense_rows(cases[i].rows, cases[i].begin, cases[i].end, &row_begin,
                        &row_end);
        assert_int_equal(row_begin, cases[i].row_begin);
        assert_int_equal(row_end, cases[i].row_end);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variables_are_found_by_id_and_by_name),
        cmocka_unit_test(parts_are_found_by_variable_and_bucket),
        cmocka_unit_test(lanes_are_live_or_ended),
        cmocka_unit_test(a_plan_of_nothing_is_a_plan),
        cmocka_unit_test(variables_that_cannot_be_are_refused),
        cmocka_unit_test(ids_out_of_order_are_refused),
        cmocka_unit_test(parts_that_do_not_cover_are_refused),
        cmocka_unit_test(parts_on_unknown_lanes_are_refused),
        cmocka_unit_test(a_lane_twice_is_refused),
        cmocka_unit_test(bytes_that_are_no_plan_are_refused),
        cmocka_unit_test(without_memory_there_is_no_plan),
        cmocka_unit_test(dense_rows_lie_in_buckets_of_equal_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
