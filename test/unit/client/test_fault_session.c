/* test_fault_session.c - a client session whose nth allocation fails, for every
 * n of a whole life: it opens, declares, pushes and pulls on two lanes, loses a
 * connection, asks for what became of a push, and closes. Each call ends with
 * PS_OK or PS_ENOMEM; what was taken ends well. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "coord/lease.h"
#include "lib/armed.h"
#include "session_stage.h"

enum { TIMES_MAX = 5000, TURNS_MAX = 4000 };

/* Hands an answer in; what the test needs for it does not fail. */
static void answer(const struct tape_frame *to, int status, const void *body,
                   size_t size)
{
    struct frame_header h = to->h;
    struct frame *f;

    h.flags = FRAME_ANSWER;
    h.status = status;
    h.plan = stage.plan.w.plan;
    f = draft_frame(&h, body, size);
    assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
    ARMED(session_on_frame(stage.session, to->connection, &h, f));
    frame_put(f);
}

static void answer_buf(const struct tape_frame *to, struct buf *b)
{
    assert_false(b->failed);
    answer(to, PS_OK, b->data, b->size);
    buf_fini(b);
}

/* Every value that is pulled is 1. */
static void answer_run(const struct tape_frame *to)
{
    uint32_t n;
    struct run_op *ops = stage_ops(to, &n);
    struct run_answer answers[4];
    float *places[4];
    uint8_t *body;
    size_t size;

    assert_true(n <= ARRAY_LEN(answers));
    for (uint32_t i = 0; i < n; i++) {
        bool reads = ops[i].n_values == 0;

        answers[i] = (struct run_answer){
            PS_OK, reads ? (uint64_t)ops[i].n_keys * ops[i].dim : 0, NULL};
    }
    size = run_answer_bytes(answers, n);
    body = mem_new(size);
    run_answer_encode(answers, n, body, places);
    for (uint32_t i = 0; i < n; i++) {
        for (uint64_t k = 0; k < answers[i].n_values; k++) {
            places[i][k] = 1;
        }
    }
    answer(to, PS_OK, body, size);
    mem_free(body);
}

/* The scheduler's and the shards' part. */
static void serve(const struct tape_frame *f)
{
    const char *address = stage.net.connects[f->connection - 1].address;
    struct wire_hello_answer hello = {.version = WIRE_VERSION,
                                      .lane = strcmp(address, "a:1") == 0 ? A
                                              : strcmp(address, "b:1") == 0
                                                  ? B
                                                  : 0};
    struct wire_declare_answer declared = {.id = WHOLE, .plan = PLAN};
    struct wire_fate fates[4] = {{0}, {0}, {0}, {0}};
    struct wire_resolve_answer resolved = {.parts = fates};
    struct buf b;

    buf_init(&b);
    if (f->h.type == WIRE_HELLO) {
        wire_hello_answer_encode(&hello, &b);
        answer_buf(f, &b);
    } else if (f->h.type == WIRE_CHAIN) {
        answer(f, PS_OK, NULL, 0);
    } else if (f->h.type == WIRE_RUN) {
        answer_run(f);
    } else if (f->h.type == WIRE_RESOLVE) {
        resolved.n_parts = stage_resolve_of(f).n_parts;
        wire_resolve_answer_encode(&resolved, &b);
        answer_buf(f, &b);
    } else {
        assert_int_equal(f->h.type, WIRE_DECLARE);
        wire_declare_answer_encode(&declared, &b);
        answer_buf(f, &b);
    }
}

/* One thing happens, or 20 ms go by. */
static void turn(void)
{
    struct tape_frame *f = tape_take(&stage.net);
    bool was_active = true;

    if (f != NULL) {
        if (!tape_is_closed(&stage.net, f->connection)) {
            serve(f);
        }
        tape_free(f);
        return;
    }
    if (stage.n_opened < stage.net.n_connects) {
        stage.n_opened++;
        if (!tape_is_closed(&stage.net, stage.n_opened)) {
            ARMED(session_on_open(stage.session, stage.n_opened));
        }
        return;
    }
    ARMED(was_active = shelf_do_key(&stage.shelf, NULL));
    if (!was_active) {
        stage.net.now_us += 20 * MS;
        if (session_next(stage.session) <= stage.net.now_us) {
            ARMED(session_tick(stage.session));
        }
    }
}

static void settle(struct request *r, int status)
{
    for (int i = 0; i < TURNS_MAX && !request_has_settled(r); i++) {
        turn();
    }
    if (!request_has_settled(r)) {
        char text[256];

        session_waits_for(stage.session, text, sizeof(text));
        fail_msg("%s", text);
    }
    assert_int_equal(request_status(r), status);
    request_free(r);
}

/* Push and pull of both lanes; submitted until there is memory for it. */
static struct request *submit(float out[3])
{
    static uint64_t keys[3];
    static const float ones[6] = {1, 1, 1, 1, 1, 1};
    struct session_op ops[3];
    struct request *r = NULL;
    int rc = PS_ENOMEM;

    keys[0] = draft_key_in(0, MIDDLE, 0);
    keys[1] = draft_key_in(MIDDLE, LIMIT_BUCKETS, 0);
    keys[2] = keys[0];
    ops[0] = stage_push_op(SPLIT, keys, 3, ones);
    ops[1] = stage_push_op(WHOLE, keys, 3, ones);
    ops[2] = stage_pull_op(SPLIT, keys, 3, out);
    for (int i = 0; i < 2 && rc == PS_ENOMEM; i++) {
        ARMED(rc = session_submit(stage.session, ops, 3, &r));
    }
    assert_int_equal(rc, PS_OK);
    return r;
}

static void declare(void)
{
    const struct wire_variable v = {.name = "whole",
                                    .kind = PS_HASH64,
                                    .dim = 2,
                                    .updater = "AssignAddUpdater"};
    struct request *r = NULL;
    int rc = PS_ENOMEM;

    for (int i = 0; i < 2 && rc == PS_ENOMEM; i++) {
        ARMED(rc = session_declare(stage.session, &v, &r));
    }
    assert_int_equal(rc, PS_OK);
    settle(r, PS_OK);
}

static void put_scheduler(void)
{
    struct wire_scheduler m = {.address = "sched:1"};
    struct buf body;

    buf_init(&body);
    wire_scheduler_encode(&m, &body);
    draft_lease(&stage.record, 5, 1, LEASE_TAKEN, &body);
    shelf_put(&stage.shelf, "scheduler", &stage.record);
    buf_fini(&body);
}

/* False where there was no memory for a session at all. */
static bool live(void)
{
    const struct session_options options = {.worker = 3};
    float out[3] = {0};
    struct request *r;
    int rc;

    stage.session = NULL;
    ARMED(rc = session_new(&stage.session, &options, &stage.shelf.coord,
                           &stage.net.net, &stage.owner));
    if (rc != PS_OK) {
        assert_int_equal(rc, PS_ENOMEM);
        return false;
    }
    ARMED(session_start(stage.session));
    for (int i = 0; i < TURNS_MAX && !session_is_ready(stage.session); i++) {
        turn();
    }
    assert_true(session_is_ready(stage.session));
    declare();
    settle(submit(out), PS_OK);
    assert_true(out[0] == 1 && out[1] == 1 && out[2] == 1);
    r = submit(out);
    for (int i = 0; i < 3; i++) {
        turn();
    }
    if (tape_connected(&stage.net, "a:1") != 0) {
        stage_cut_connection("a:1");
    }
    ARMED(session_resolve(stage.session, r));
    settle(r, PS_OK);
    ARMED(session_close(stage.session));
    for (int i = 0; i < TURNS_MAX && !session_has_closed(stage.session); i++) {
        turn();
    }
    assert_true(session_has_closed(stage.session));
    return true;
}

static void each_allocation_of_a_life_may_fail(void **state)
{
    uint64_t n = 0;
    bool has_lived = false;

    armed.has_failed = true;
    while (armed.has_failed) {
        n++;
        assert_true(n < TIMES_MAX);
        stage_tear_down(state);
        assert_int_equal(stage_set_up(state), 0);
        put_scheduler();
        session_free(stage.session);
        shelf_forget(&stage.shelf);
        tape_clear(&stage.net);
        stage.n_opened = stage.net.n_connects;
        armed_at(n);
        has_lived = live();
    }
    assert_true(has_lived);
    assert_true(n > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(each_allocation_of_a_life_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
