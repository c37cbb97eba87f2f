/* test_fault_session.c - a client session of which one thing fails, the nth, in
 * a whole life, for every n. It has all that a session can be asked for: it
 * opens, declares, pushes and pulls on two lanes, loses a connection, asks for
 * what became of a push, takes a cut, saves twice, cancels, asks for the state
 * of shards, has a part go and a lane end, drops, goes back to a checkpoint and
 * closes. What fails is an allocation, a connection, a request to the store.
 * Each call ends with PS_OK, or PS_ENOMEM and has done nothing; what was taken
 * is done once, and what is lost is told exactly. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "cluster.h"
#include "lib/armed.h"

enum { TIMES_MAX = 5000, TURNS_MAX = 4000 };

/* What fails beside allocations, which armed.h counts. */
enum fault {
    NOTHING,
    REQUEST_IS_LOST, /* a frame, and its connection closes */
    ANSWER_IS_LOST,
    STORE_REFUSES,
    STORE_IS_UNSURE, /* it was done, and says EIO */
    STORE_IS_AWAY    /* for one request, which may be a watch */
};

static struct {
    enum fault fault;
    uint64_t left;
    bool has_failed;
    bool withholds; /* shards do what they are asked, and nobody hears of it */
} world;

static bool is_time_for(enum fault fault)
{
    if (world.fault != fault || world.left == 0 || --world.left > 0) {
        return false;
    }
    world.has_failed = true;
    return true;
}

/* Hands an answer in; what the test needs for it does not fail. */
static void answer(const struct tape_frame *to, const struct buf *body)
{
    struct frame_header h = to->h;
    struct frame *f;

    h.flags = FRAME_ANSWER;
    h.plan = stage.plan.w.plan;
    f = draft_frame(&h, body->data, body->size);
    assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
    ARMED(session_on_frame(stage.session, to->connection, &h, f));
    frame_put(f);
}

static void cut(uint64_t connection)
{
    stage.net.connects[connection - 1].is_closed = true;
    ARMED(session_on_close(stage.session, connection));
}

static void serve(const struct tape_frame *f)
{
    struct buf body;

    if (is_time_for(REQUEST_IS_LOST)) {
        cut(f->connection);
        return;
    }
    buf_init(&body);
    cluster_serve(f, &body);
    if (is_time_for(ANSWER_IS_LOST)) {
        cut(f->connection);
    } else if (!world.withholds || f->h.type != WIRE_RUN) {
        answer(f, &body);
    }
    buf_fini(&body);
}

/* The shelf counts requests that are done, so all before the one that fails
 * are. */
static void arm_store(void)
{
    struct shelf *s = &stage.shelf;

    if (world.left == 0 || s->fail_count > 0 ||
        (world.fault != STORE_REFUSES && world.fault != STORE_IS_UNSURE)) {
        return;
    }
    if (world.left > 1) {
        s->fail_count = world.left - 1;
        s->fail_status = PS_OK;
        s->fail_with_effect = true;
        world.left = 1;
    } else {
        s->fail_count = 1;
        s->fail_status = PS_EIO;
        s->fail_with_effect = world.fault == STORE_IS_UNSURE;
        world.left = 0;
    }
}

static bool ask_store(void)
{
    bool was_active;

    arm_store();
    stage.shelf.is_away = is_time_for(STORE_IS_AWAY);
    ARMED(was_active = shelf_do_key(&stage.shelf, NULL));
    stage.shelf.is_away = false;
    if (stage.shelf.fail_status == PS_EIO && stage.shelf.fail_count == 0) {
        world.has_failed = true;
    }
    return was_active;
}

/* One thing happens, or 20 ms go by. */
static void turn(void)
{
    struct tape_frame *f = tape_take(&stage.net);

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
    if (!ask_store()) {
        stage.net.now_us += 20 * MS;
        if (session_next(stage.session) <= stage.net.now_us) {
            ARMED(session_tick(stage.session));
        }
    }
}

/* Goes on until it is so. */
#define AWAIT(condition)                        \
    do {                                        \
        for (int i_ = 0; !(condition); i_++) {  \
            if (i_ == TURNS_MAX) {              \
                fail_msg("never: " #condition); \
            }                                   \
            turn();                             \
        }                                       \
    } while (0)

/* A call that may be short of memory once. */
#define AGAIN(rc, call)              \
    do {                             \
        ARMED((rc) = (call));        \
        if ((rc) == PS_ENOMEM) {     \
            ARMED((rc) = (call));    \
        }                            \
        assert_int_equal(rc, PS_OK); \
    } while (0)

static void settle(struct request *r, int status)
{
    AWAIT(request_has_settled(r));
    assert_int_equal(request_status(r), status);
    request_free(r);
}

/* Push and pull of both lanes. */
static struct request *submit(float out[3])
{
    static uint64_t keys[3];
    static const float ones[6] = {1, 1, 1, 1, 1, 1};
    struct session_op ops[3];
    struct request *r = NULL;
    int rc;

    keys[0] = draft_key_in(0, MIDDLE, 0);
    keys[1] = draft_key_in(MIDDLE, LIMIT_BUCKETS, 0);
    keys[2] = keys[0];
    ops[0] = stage_push_op(SPLIT, keys, 3, ones);
    ops[1] = stage_push_op(WHOLE, keys, 3, ones);
    ops[2] = stage_pull_op(SPLIT, keys, 3, out);
    AGAIN(rc, session_submit(stage.session, ops, 3, &r));
    return r;
}

/* Each push adds 9. */
static void push(double sum)
{
    float out[3] = {0};

    settle(submit(out), PS_OK);
    assert_true(out[0] == 1 && out[1] == 1 && out[2] == 1);
    assert_true(cluster.sum == sum);
}

static void open_and_declare(void)
{
    const struct wire_variable v = {.name = "whole",
                                    .kind = PS_HASH64,
                                    .dim = 2,
                                    .updater = "AssignAddUpdater"};
    const struct buf *position = NULL;
    struct request *r = NULL;
    uint64_t at = 0, size = 0;
    int rc = PS_EBUSY;

    ARMED(session_start(stage.session));
    AWAIT(session_is_ready(stage.session));
    for (int i = 0; i < 2 && rc != PS_OK; i++) {
        assert_true(i == 0 || rc == PS_ENOMEM || rc == PS_EIO);
        ARMED(rollback_look(stage.session));
        AWAIT((rc = rollback_began(stage.session, &position, &at, &size)) !=
              PS_EBUSY);
    }
    assert_int_equal(rc, PS_OK);
    assert_int_equal(at, 2);
    assert_int_equal(position->size, 2);
    assert_memory_equal(position->data, "p1", 2);
    AGAIN(rc, session_declare(stage.session, &v, &r));
    settle(r, PS_OK);
}

/* Applied, but its answers are lost with a connection. */
static void push_and_resolve(double sum)
{
    float out[3];
    struct request *r;
    uint64_t connection;

    world.withholds = true;
    r = submit(out);
    AWAIT(cluster.sum == sum);
    world.withholds = false;
    connection = tape_connected(&stage.net, "a:1");
    if (connection != 0) {
        cut(connection);
    }
    ARMED(session_resolve(stage.session, r));
    settle(r, PS_OK);
    assert_true(cluster.sum == sum);
}

static void save_and_cancel(void)
{
    struct ps_save_state now;
    struct request *r = NULL, *cancel = NULL;
    int rc;

    AGAIN(rc, step_boundary(stage.session, "p1", 2));
    AGAIN(rc, session_save(stage.session, "monday", &r));
    AWAIT(cluster.ticket == 1 && cluster_has_report("p1"));
    cluster_put_save(SAVE_CLOSED);
    AWAIT(request_ticket(r) == 1);
    assert_int_equal(step_save_of(r, &now), PS_OK);
    assert_string_equal(now.name, "monday");
    cluster_put_save(SAVE_DONE);
    settle(r, PS_OK);
    AGAIN(rc, session_save(stage.session, "monday", &r));
    AWAIT(request_ticket(r) == 2);
    AGAIN(rc, session_cancel_save(stage.session, 2, &cancel));
    settle(cancel, PS_OK);
    settle(r, PS_ECANCELED);
}

static void ask_shards(void)
{
    for (uint64_t lane = A; lane <= B; lane++) {
        struct request *r = NULL;
        struct wire_status_answer m;
        const uint8_t *body;
        size_t size;
        int rc;

        AGAIN(rc, session_status(stage.session, lane, &r));
        AWAIT(request_has_settled(r));
        if (request_status(r) == PS_ENOMEM) {
            request_free(r);
            AGAIN(rc, session_status(stage.session, lane, &r));
            AWAIT(request_has_settled(r));
        }
        body = request_answer(r, &size);
        assert_non_null(body);
        arena_reset(&stage.arena);
        assert_int_equal(
            wire_status_answer_decode(body, size, &stage.arena, &m), PS_OK);
        assert_int_equal(m.lane, lane);
        settle(r, PS_OK);
    }
}

static void await_plan(void)
{
    AWAIT(session_plan(stage.session)->w.plan == stage.plan.w.plan);
}

static bool has_loss(uint64_t lane, uint32_t begin, uint64_t first,
                     uint64_t last)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < stage.n_losses; i++) {
        const struct ps_loss *l = &stage.losses[i];

        n += l->lane == lane && l->begin == begin && l->first == first &&
             l->last == last && strcmp(l->variable, "split") == 0;
    }
    return n == 1;
}

/* Numbers 1 and 2 of A go with the part that B gets, which then gives its third
 * number to both parts. */
static void move_and_lose(double sum)
{
    cluster_move();
    await_plan();
    push(sum);
    assert_int_equal(cluster.last[A], 3);
    assert_int_equal(cluster.last[B], 3);
    assert_int_equal(stage.n_losses, 0);
    cluster_end_b();
    await_plan();
    AWAIT(stage.n_losses >= 3);
    for (int i = 0; i < 50; i++) {
        turn();
    }
    assert_int_equal(stage.n_losses, 3);
    assert_true(has_loss(A, 0, 1, 2));
    assert_true(has_loss(B, MIDDLE, 1, 3));
    assert_true(has_loss(B, 0, 3, 3));
    assert_int_equal(stage_counters().losses, 5);
}

static void drop_and_go_back(void)
{
    const struct buf *position;
    struct request *r = NULL;
    uint64_t at, size;
    int rc;

    AGAIN(rc, session_drop(stage.session, "dense", &r));
    settle(r, PS_OK);
    AGAIN(rc, session_restore(stage.session, "monday", NULL, 0, &r));
    AWAIT(request_has_settled(r));
    assert_string_equal(request_text(r), "ckpt-000000000002-1");
    settle(r, PS_OK);
    assert_true(rollback_is_on(stage.session));
    AWAIT(rollback_knows_position(stage.session));
    position = rollback_position(stage.session, &at, &size);
    assert_int_equal(at, 2);
    assert_int_equal(position->size, 2);
    assert_memory_equal(position->data, "p1", 2);
    rollback_take_note(stage.session);
}

/* False where there was no memory for a session at all. */
static bool live(void)
{
    const struct session_options options = {.worker = 3};
    int rc;

    stage.session = NULL;
    ARMED(rc = session_new(&stage.session, &options, &stage.shelf.coord,
                           &stage.net.net, &stage.owner));
    if (rc != PS_OK) {
        assert_int_equal(rc, PS_ENOMEM);
        return false;
    }
    open_and_declare();
    push(9);
    push_and_resolve(18);
    save_and_cancel();
    ask_shards();
    move_and_lose(27);
    drop_and_go_back();
    push(36);
    assert_int_equal(cluster.last[AFTER_A], 1);
    assert_int_equal(cluster.last[AFTER_B], 1);
    ARMED(session_close(stage.session));
    AWAIT(session_has_closed(stage.session));
    assert_int_equal(stage.n_losses, 3);
    return true;
}

static bool live_anew(void **state)
{
    stage_tear_down(state);
    assert_int_equal(stage_set_up(state), 0);
    cluster_begin();
    session_free(stage.session);
    shelf_forget(&stage.shelf);
    tape_clear(&stage.net);
    stage.n_opened = stage.net.n_connects;
    return live();
}

static void each_allocation_of_a_life_may_fail(void **state)
{
    uint64_t n = 0;
    bool has_lived = false;

    world.fault = NOTHING;
    armed.has_failed = true;
    while (armed.has_failed) {
        n++;
        assert_true(n < TIMES_MAX);
        armed_at(n);
        has_lived = live_anew(state);
    }
    assert_true(has_lived);
    assert_true(n > 200);
}

static void sweep(void **state, enum fault fault)
{
    uint64_t n = 0;

    armed_at(0);
    world.has_failed = true;
    while (world.has_failed) {
        n++;
        assert_true(n < TIMES_MAX);
        world.fault = fault;
        world.left = n;
        world.has_failed = false;
        assert_true(live_anew(state));
    }
    world.fault = NOTHING;
    assert_true(n > 10);
}

static void each_frame_of_a_life_may_be_lost(void **state)
{
    sweep(state, REQUEST_IS_LOST);
}

static void each_answer_of_a_life_may_be_lost(void **state)
{
    sweep(state, ANSWER_IS_LOST);
}

static void each_request_to_the_store_may_be_refused(void **state)
{
    sweep(state, STORE_REFUSES);
}

static void each_request_to_the_store_may_be_done_and_fail(void **state)
{
    sweep(state, STORE_IS_UNSURE);
}

static void the_store_may_be_away_at_each_moment(void **state)
{
    sweep(state, STORE_IS_AWAY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(each_allocation_of_a_life_may_fail),
        STAGED(each_frame_of_a_life_may_be_lost),
        STAGED(each_answer_of_a_life_may_be_lost),
        STAGED(each_request_to_the_store_may_be_refused),
        STAGED(each_request_to_the_store_may_be_done_and_fail),
        STAGED(the_store_may_be_away_at_each_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
