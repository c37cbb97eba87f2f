/* test_scheduler_full.c - a plan or a store that takes no more. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/mem.h"
#include "scheduler_stage.h"

static void run_with_one_server(void)
{
    stage_pass(500);
    stage_put_server(0, 11);
    stage_pass(500);
    stage_connect(&stage.a);
}

/* 10 ms in which each write of the plan fails, and all else is done; how often
 * it was tried, or 100. */
static uint32_t pass_without_room(void)
{
    uint32_t n = 0;

    stage.a.net.now_us += 10 * MS;
    if (scheduler_next(stage.a.scheduler) <= stage.a.net.now_us) {
        scheduler_tick(stage.a.scheduler);
    }
    while (n < 100) {
        if (shelf_has(&stage.a.shelf, COORD_CAS, "plan")) {
            stage.a.shelf.fail_count = 1;
            assert_true(shelf_do_key(&stage.a.shelf, "plan"));
            assert_int_equal(stage.a.shelf.fail_count, 0);
            n++;
        } else if (!shelf_do_key(&stage.a.shelf, NULL)) {
            break;
        }
    }
    return n;
}

/* A disk that is full: it is asked ten times a second, not without end. */
static void a_write_that_fails_is_tried_again_after_a_pause(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    uint32_t n = 0;

    (void)state;
    run_with_one_server();
    stage.a.shelf.fail_status = PS_EIO;
    stage_send_declare(&stage.a, &v);
    for (int i = 0; i < 50; i++) {
        n += pass_without_room();
    }
    assert_in_range(n, 3, 5);
    assert_int_equal(stage_answer(&stage.a), NO_ANSWER);
    stage_pass(500);
    assert_int_equal(stage_answer(&stage.a), PS_OK);
    assert_int_equal(stage_plan().n_variables, 1);
}

/* The plan as it is, with n variables named by a number of `digits`, all on
 * lane 11. Returns its bytes, and writes it where it is asked to. */
static size_t put_variables(uint32_t n, int digits, bool writes)
{
    struct wire_plan w = stage_plan();
    struct wire_variable *v = mem_new(n * sizeof(*v));
    struct wire_part *parts = mem_new(n * sizeof(*parts));
    char *names = mem_new((size_t)n * LIMIT_NAME_BYTES);
    size_t size;

    for (uint32_t i = 0; i < n; i++) {
        char *name = names + (size_t)i * LIMIT_NAME_BYTES;

        snprintf(name, LIMIT_NAME_BYTES, "%0*u", digits, i);
        v[i] = stage_variable(name, 8);
        v[i].id = i + 1;
        parts[i] = (struct wire_part){.variable = i + 1,
                                      .end = LIMIT_BUCKETS,
                                      .lane = 11,
                                      .since = w.plan};
    }
    w.variables = v;
    w.n_variables = n;
    w.parts = parts;
    w.n_parts = n;
    w.next_variable = n + 1;
    buf_clear(&stage.record);
    wire_plan_encode(&w, &stage.record);
    assert_false(stage.record.failed);
    size = stage.record.size;
    if (writes) {
        shelf_put(&stage.a.shelf, "plan", &stage.record);
    }
    mem_free(v);
    mem_free(parts);
    mem_free(names);
    return size;
}

/* 16 MiB, of which one is for lanes. */
static void a_plan_that_is_full_takes_no_more_and_works_on(void **state)
{
    enum { ROOM = 15 << 20, DIGITS = 200 };
    char name[DIGITS + 1] = "";
    struct wire_variable more = stage_variable(name, 8);
    struct wire_variable after = stage_variable("after", 8);
    struct wire_plan w;
    size_t each;
    uint32_t n = 20000;

    (void)state;
    memset(name, 'x', DIGITS);
    name[DIGITS] = '\0';
    run_with_one_server();
    each =
        put_variables(n + 1, DIGITS, false) - put_variables(n, DIGITS, false);
    n += (uint32_t)((ROOM - put_variables(n, DIGITS, false)) / each);
    assert_in_range(put_variables(n, DIGITS, false), ROOM - 2 * each, ROOM);
    put_variables(n - 1, DIGITS, true);
    stage_send_declare(&stage.a, &more);
    stage_pass(500);
    assert_int_equal(stage_answer(&stage.a), PS_OK);
    more.name =
        "another of 200 letters, as the others are: "
        "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
        "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy";
    stage_send_declare(&stage.a, &more);
    stage_pass(500);
    assert_int_equal(stage_answer(&stage.a), PS_ELIMIT);
    assert_non_null(strstr(stage_text(&stage.a), "variable \"another of 200"));
    assert_non_null(strstr(stage_text(&stage.a), "the store takes 16777216"));
    assert_int_equal(stage_plan().n_variables, n);
    stage_put_server(0, 12);
    stage_pass(500);
    w = stage_plan();
    assert_non_null(stage_live(&w, 12));
    assert_int_equal(stage_drop(&stage.a, name), PS_OK);
    assert_int_equal(stage_declare(&stage.a, &after), PS_OK);
}

static void there_are_as_many_variables_as_may_be(void **state)
{
    struct wire_variable v = stage_variable("more", 8);

    (void)state;
    run_with_one_server();
    put_variables(LIMIT_VARIABLES, 1, true);
    stage_send_declare(&stage.a, &v);
    stage_pass(500);
    assert_int_equal(stage_answer(&stage.a), PS_ELIMIT);
    assert_string_equal(stage_text(&stage.a),
                        "variable \"more\": there are 49152, as many as may "
                        "be; drop one first");
    assert_int_equal(stage_drop(&stage.a, "7"), PS_OK);
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(a_write_that_fails_is_tried_again_after_a_pause),
        STAGED(a_plan_that_is_full_takes_no_more_and_works_on),
        STAGED(there_are_as_many_variables_as_may_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
