/* test_fault_scheduler.c - a scheduler whose nth allocation fails, for every n
 * of a whole life: it comes up, takes a server in, declares, drops, ends. And
 * one whose clients ask without end. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "coord/lease.h"
#include "lib/armed.h"
#include "scheduler_stage.h"

enum { TIMES_MAX = 3000, TRIES_MAX = 500 };

/* 10 ms go by, with the store's answers; its failures count too. */
static void turn(void)
{
    struct desk *d = &stage.a;
    bool is_busy = true;

    d->net.now_us += 10 * MS;
    if (scheduler_next(d->scheduler) <= d->net.now_us) {
        ARMED(scheduler_tick(d->scheduler));
    }
    while (is_busy) {
        ARMED(is_busy = shelf_do_key(&d->shelf, NULL));
    }
}

static void turn_until_running(void)
{
    for (int i = 0; i < TRIES_MAX; i++) {
        turn();
        if (scheduler_is_running(stage.a.scheduler)) {
            return;
        }
    }
    fail_msg("%s", scheduler_says(stage.a.scheduler));
}

static void turn_until_lanes(uint32_t n)
{
    for (int i = 0; i < TRIES_MAX; i++) {
        turn();
        if (stage_plan().n_lanes == n) {
            return;
        }
    }
    fail_msg("the plan has not %u lanes", n);
}

/* A new connection with its hello; false where memory ended it. */
static bool connect(void)
{
    struct wire_hello m = {.version = WIRE_VERSION, .role = "client"};
    struct frame_header h = {.type = WIRE_HELLO, .request = 1};
    struct desk *d = &stage.a;
    struct frame *f;

    buf_clear(&stage.record);
    wire_hello_encode(&m, &stage.record);
    f = draft_frame(&h, stage.record.data, stage.record.size);
    assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
    d->connection = tape_accept(&d->net);
    ARMED(scheduler_on_open(d->scheduler, d->connection));
    if (!tape_is_closed(&d->net, d->connection)) {
        ARMED(scheduler_on_frame(d->scheduler, d->connection, &h, f));
    }
    frame_put(f);
    return stage_answer(d) == PS_OK && !tape_is_closed(&d->net, d->connection);
}

/* Asks as a client does: again where there was no answer, or one that says to
 * come back. The final status. */
static int ask(enum wire_type type)
{
    static uint64_t request = 1;
    struct frame_header h = {.type = (uint16_t)type};
    struct desk *d = &stage.a;
    struct frame *f;
    int rc = NO_ANSWER;

    request++;
    h.request = request;
    f = draft_frame(&h, stage.record.data, stage.record.size);
    assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
    for (int i = 0; i < 20 && rc == NO_ANSWER; i++) {
        if (!tape_is_closed(&d->net, d->connection)) {
            ARMED(scheduler_on_frame(d->scheduler, d->connection, &h, f));
        }
        for (int k = 0; k < 50 && rc == NO_ANSWER; k++) {
            turn();
            rc = stage_answer(d);
            if (rc != NO_ANSWER && d->answer->h.request != request) {
                rc = NO_ANSWER; /* to what was asked twice */
            }
        }
        rc = rc == PS_ENOMEM || rc == PS_ENOTREADY ? NO_ANSWER : rc;
        if (tape_is_closed(&d->net, d->connection)) {
            assert_true(connect());
        }
    }
    frame_put(f);
    return rc;
}

static int declare(const char *name)
{
    struct wire_variable v = stage_variable(name, 8);
    struct wire_declare m = {.variables = &v, .n_variables = 1};
    struct buf b;
    int rc;

    buf_init(&b);
    wire_declare_encode(&m, &b);
    buf_clear(&stage.record);
    assert_int_equal(buf_append(&stage.record, b.data, b.size), PS_OK);
    buf_fini(&b);
    rc = ask(WIRE_DECLARE);
    return rc;
}

static int drop(const char *name)
{
    struct wire_drop m = {.name = name};

    buf_clear(&stage.record);
    wire_drop_encode(&m, &stage.record);
    return ask(WIRE_DROP);
}

static void live(void)
{
    int rc;

    turn_until_running();
    stage_put_server(0, 11);
    turn_until_lanes(1);
    if (!connect()) {
        assert_true(connect());
    }
    assert_int_equal(declare("user"), PS_OK);
    assert_int_equal(declare("item"), PS_OK);
    assert_int_equal(declare("user"), PS_OK);
    rc = drop("item");
    assert_true(rc == PS_OK || (armed.has_failed && rc == PS_ENOTFOUND));
    buf_clear(&stage.record);
    assert_int_equal(ask(WIRE_STATUS), PS_OK);
    assert_int_equal(stage_plan().n_variables, 1);
    assert_int_equal(stage_plan().n_ended, 0);
    assert_true(scheduler_is_running(stage.a.scheduler));
}

static void each_allocation_of_a_life_may_fail(void **state)
{
    struct scheduler_options options = {
        .servers = 1, .address = "sched:1", .lease_ms = LENGTH_MS};
    uint64_t n = 0;

    armed.has_failed = true;
    while (armed.has_failed) {
        struct scheduler *s = NULL;
        int rc;

        n++;
        assert_true(n < TIMES_MAX);
        stage_tear_down(state);
        assert_int_equal(stage_set_up(state), 0);
        shelf_forget(&stage.a.shelf);
        armed_at(n);
        ARMED(rc = scheduler_new(&s, &options, &stage.a.shelf.coord,
                                 &stage.a.net.net, NULL));
        if (rc != PS_OK) {
            assert_int_equal(rc, PS_ENOMEM);
            continue;
        }
        scheduler_free(stage.a.scheduler);
        stage.a.scheduler = s;
        ARMED(scheduler_start(s));
        live();
    }
    assert_true(n > 100);
}

/* While the store does not answer nothing is settled: what waits is bounded,
 * and so is the body of each. */
static void clients_that_ask_without_end_do_not_fill_the_memory(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    struct frame_header h = {.type = WIRE_DECLARE, .request = 3};
    struct frame *f;
    uint8_t *long_body = mem_new(LIMIT_DECLARE_BYTES + 8);
    int rc = NO_ANSWER;
    int n = 0;

    (void)state;
    stage_pass(500);
    stage_put_server(0, 11);
    stage_pass(500);
    stage_connect(&stage.a);
    while (rc == NO_ANSWER) {
        assert_true(n <= LIMIT_DECLARES);
        stage_send_declare(&stage.a, &v);
        rc = stage_answer(&stage.a);
        n++;
    }
    assert_int_equal(rc, PS_ENOTREADY);
    assert_int_equal(n, LIMIT_DECLARES + 1);
    memset(long_body, 0, LIMIT_DECLARE_BYTES + 8);
    f = draft_frame(&h, long_body, LIMIT_DECLARE_BYTES + 8);
    mem_free(long_body);
    assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
    scheduler_on_frame(stage.a.scheduler, stage.a.connection, &h, f);
    frame_put(f);
    assert_true(tape_is_closed(&stage.a.net, stage.a.connection));
    stage_pass(1000);
    tape_clear(&stage.a.net);
    stage_connect(&stage.a);
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(each_allocation_of_a_life_may_fail),
        STAGED(clients_that_ask_without_end_do_not_fill_the_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
