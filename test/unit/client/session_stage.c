/* session_stage.c - what the tests of a client session share. */
#include "session_stage.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"

enum { TURNS_MAX = 100000 };

struct session_stage stage;

static void ignore_log(enum log_level level, const char *text)
{
    (void)level;
    (void)text;
}

static void deliver(void *context, const struct coord_result *r)
{
    (void)context;
    session_on_coord(stage.session, r);
}

static void on_settled(struct session_owner *o, struct request *r)
{
    (void)o;
    assert_true(request_has_settled(r));
    stage.n_settled++;
}

static void on_lost(struct session_owner *o, const struct ps_loss *loss)
{
    (void)o;
    assert_true(stage.n_losses < LOSSES_MAX);
    stage.losses[stage.n_losses] = *loss;
    stage.n_losses++;
}

void stage_put_plan(void)
{
    draft_encode(&stage.plan, &stage.record);
    shelf_put(&stage.shelf, "plan", &stage.record);
}

void stage_open(int worker)
{
    const struct session_options options = {.worker = worker,
                                            .no_checksums = stage.no_checksums};

    assert_int_equal(session_new(&stage.session, &options, &stage.shelf.coord,
                                 &stage.net.net, &stage.owner),
                     PS_OK);
    session_start(stage.session);
    stage_run();
    assert_true(session_is_ready(stage.session));
}

int stage_set_up(void **state)
{
    (void)state;
    log_set_sink(ignore_log);
    memset(&stage, 0, sizeof(stage));
    stage.owner =
        (struct session_owner){.settled = on_settled, .lost = on_lost};
    stage.fs = fs_memory_new();
    buf_init(&stage.record);
    arena_init(&stage.arena);
    tape_init(&stage.net);
    shelf_init(&stage.shelf, stage.fs, 77, deliver, NULL);
    draft_init(&stage.plan, PLAN);
    draft_lane(&stage.plan, A, 0, 0, "a:1");
    draft_lane(&stage.plan, B, 1, 0, "b:1");
    draft_variable(&stage.plan, "whole", PS_HASH64, 0, 2);
    draft_variable(&stage.plan, "split", PS_HASH64, 0, 1);
    draft_variable(&stage.plan, "dense", PS_DENSE, 4, 2);
    draft_part(&stage.plan, WHOLE, 0, LIMIT_BUCKETS, A, 1);
    draft_part(&stage.plan, SPLIT, 0, MIDDLE, A, 1);
    draft_part(&stage.plan, SPLIT, MIDDLE, LIMIT_BUCKETS, B, 1);
    draft_part(&stage.plan, DENSE, 0, LIMIT_BUCKETS, A, 1);
    draft_cluster(&stage.record, 3000);
    shelf_put(&stage.shelf, "cluster", &stage.record);
    draft_sessions(&stage.record, SESSION, NULL, 0);
    shelf_put(&stage.shelf, "sessions", &stage.record);
    stage_put_plan();
    stage_open(-1);
    return 0;
}

int stage_tear_down(void **state)
{
    (void)state;
    session_free(stage.session);
    for (struct tape_frame *f = stage.first; f != NULL; f = stage.first) {
        stage.first = f->next;
        tape_free(f);
    }
    tape_fini(&stage.net);
    shelf_fini(&stage.shelf);
    fs_memory_free(stage.fs);
    buf_fini(&stage.record);
    arena_fini(&stage.arena);
    return 0;
}

static void hand_in(const struct tape_frame *to, int status, const void *body,
                    size_t size)
{
    struct frame_header h = to->h;
    struct frame *f;

    h.flags = FRAME_ANSWER;
    h.status = status;
    h.plan = stage.plan.w.plan;
    f = draft_frame(&h, body, size);
    assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
    session_on_frame(stage.session, to->connection, &h, f);
    frame_put(f);
}

static uint64_t lane_at(uint64_t connection)
{
    const char *address = stage.net.connects[connection - 1].address;

    for (uint32_t i = 0; i < stage.plan.w.n_lanes; i++) {
        if (strcmp(stage.plan.lanes[i].address, address) == 0) {
            return stage.plan.lanes[i].lane;
        }
    }
    return 0;
}

static void greet(const struct tape_frame *f)
{
    struct wire_hello_answer m = {.version = WIRE_VERSION + stage.is_foreign,
                                  .lane = lane_at(f->connection)};
    struct buf b;

    buf_init(&b);
    wire_hello_answer_encode(&m, &b);
    assert_false(b.failed);
    hand_in(f, PS_OK, b.data, b.size);
    buf_fini(&b);
}

/* As a shard that does not know some of its UDFs, or none at all. */
static void take_chain(const struct tape_frame *f)
{
    struct wire_chain m;
    bool takes = lane_at(f->connection) != stage.no_udfs_at;

    arena_reset(&stage.arena);
    assert_int_equal(wire_chain_decode(frame_body(f->frame), f->h.body_bytes,
                                       &stage.arena, &m),
                     PS_OK);
    takes = takes && strstr(m.definition, "NoSuch") == NULL;
    hand_in(f, takes ? PS_OK : PS_ENOUDF, NULL, 0);
}

static void tell_kept(const struct tape_frame *f)
{
    struct wire_lost m;
    static struct wire_keep keeps[LIMIT_FRAME_OPS];
    struct wire_kept a = {.parts = keeps};
    struct buf b;

    arena_reset(&stage.arena);
    assert_int_equal(wire_lost_decode(frame_body(f->frame), f->h.body_bytes,
                                      &stage.arena, &m),
                     PS_OK);
    assert_true(m.n_parts <= ARRAY_LEN(keeps));
    for (uint32_t i = 0; i < m.n_parts; i++) {
        bool none = m.parts[i].variable == SPLIT ? stage.keeps_nothing_of_split
                                                 : stage.keeps_only_split;

        keeps[i] = (struct wire_keep){.below = 1};
        if (stage.kept_below != 0 && !none) {
            keeps[i].below = stage.kept_below;
            keeps[i].gaps = &stage.kept_gap;
            keeps[i].n_gaps = stage.kept_gap.first != 0;
        }
    }
    a.n_parts = m.n_parts;
    buf_init(&b);
    wire_kept_encode(&a, &b);
    assert_false(b.failed);
    hand_in(f, PS_OK, b.data, b.size);
    buf_fini(&b);
}

/* Moves what was sent from the tape to the test; greets. */
static bool pump(void)
{
    struct tape_frame *f = tape_take(&stage.net);

    if (f == NULL) {
        return false;
    }
    assert_int_equal(f->h.body_checksum,
                     stage.no_checksums ? 0 : frame_checksum(f->frame));
    if (f->h.type == WIRE_HELLO) {
        greet(f);
        tape_free(f);
    } else if (f->h.type == WIRE_CHAIN) {
        take_chain(f);
        tape_free(f);
    } else if (f->h.type == WIRE_LOST) {
        tell_kept(f);
        tape_free(f);
    } else {
        if (stage.first == NULL) {
            stage.first = f;
        } else {
            stage.last->next = f;
        }
        stage.last = f;
    }
    return true;
}

static bool open_connection(void)
{
    uint64_t connection;

    if (stage.n_opened == stage.net.n_connects) {
        return false;
    }
    stage.n_opened++;
    connection = stage.n_opened;
    if (tape_is_closed(&stage.net, connection)) {
        return true;
    }
    if (stage.refuse) {
        stage.net.connects[connection - 1].is_closed = true;
        session_on_close(stage.session, connection);
    } else {
        session_on_open(stage.session, connection);
    }
    return true;
}

void stage_run(void)
{
    for (uint32_t turns = 0; turns < TURNS_MAX; turns++) {
        bool was_active =
            pump() || open_connection() || shelf_do_key(&stage.shelf, NULL);

        if (!was_active && session_next(stage.session) > stage.net.now_us) {
            return;
        }
        if (!was_active) {
            session_tick(stage.session);
        }
    }
    fail_msg("it turns in a circle");
}

void stage_pass(uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += 5) {
        stage.net.now_us += 5 * MS;
        stage_run();
    }
}

void stage_end_lane_a(void)
{
    stage.plan.w.plan++;
    draft_end_lane(&stage.plan, A, stage.plan.w.plan);
    draft_lane(&stage.plan, 9, 0, 0, "a:1");
    for (uint32_t i = 0; i < stage.plan.w.n_parts; i++) {
        if (stage.plan.parts[i].lane == A) {
            stage.plan.parts[i].lane = 9;
            stage.plan.parts[i].since = stage.plan.w.plan;
        }
    }
    stage_put_plan();
}

void stage_cut_connection(const char *address)
{
    uint64_t connection = tape_connected(&stage.net, address);

    assert_true(connection != 0);
    stage.net.connects[connection - 1].is_closed = true;
    session_on_close(stage.session, connection);
}

struct tape_frame *stage_take(void)
{
    struct tape_frame *f;

    stage_run();
    f = stage.first;
    if (f != NULL) {
        stage.first = f->next;
        f->next = NULL;
    }
    return f;
}

struct tape_frame *stage_take_run(uint64_t lane, uint64_t seq)
{
    struct tape_frame *f = stage_take();

    if (f == NULL) {
        fail_msg("no frame for lane %u, number %u", (unsigned)lane,
                 (unsigned)seq);
        return NULL;
    }
    assert_int_equal(f->h.type, WIRE_RUN);
    assert_int_equal(f->h.lane, lane);
    assert_int_equal(f->h.seq, seq);
    return f;
}

void stage_expect_silence(void)
{
    const struct tape_frame *f = stage.first;

    stage_run();
    f = stage.first;
    if (f != NULL) {
        fail_msg("a frame of type %u for lane %u, number %u", f->h.type,
                 (unsigned)f->h.lane, (unsigned)f->h.seq);
    }
}

struct run_op *stage_ops(const struct tape_frame *f, uint32_t *n)
{
    struct run_op *ops;

    arena_reset(&stage.arena);
    assert_int_equal(f->h.type, WIRE_RUN);
    assert_int_equal(run_decode(frame_body(f->frame), f->h.body_bytes,
                                &stage.arena, &ops, n),
                     PS_OK);
    return ops;
}

struct wire_resolve stage_resolve_of(const struct tape_frame *f)
{
    struct wire_resolve m;

    assert_non_null(f);
    assert_int_equal(f->h.type, WIRE_RESOLVE);
    arena_reset(&stage.arena);
    assert_int_equal(wire_resolve_decode(frame_body(f->frame), f->h.body_bytes,
                                         &stage.arena, &m),
                     PS_OK);
    return m;
}

/* Whether an op reads: without values it does nothing else. */
static size_t rows_read(const struct run_op *op)
{
    return op->n_values > 0 ? 0 : op->n_keys > 0 ? op->n_keys : 4;
}

static void answer_run(const struct tape_frame *f)
{
    uint32_t n;
    struct run_op *ops = stage_ops(f, &n);
    struct run_answer *answers = arena_take(&stage.arena, n * sizeof(*answers));
    float **places = arena_take(&stage.arena, n * sizeof(*places));
    uint8_t *body;

    for (uint32_t i = 0; i < n; i++) {
        answers[i] = (struct run_answer){
            PS_OK, (uint64_t)rows_read(&ops[i]) * ops[i].dim, NULL};
    }
    body = mem_new(run_answer_bytes(answers, n));
    run_answer_encode(answers, n, body, places);
    for (uint32_t i = 0; i < n; i++) {
        for (uint64_t k = 0; k < answers[i].n_values; k++) {
            uint64_t row = k / ops[i].dim;

            places[i][k] = (float)(ops[i].n_keys > 0 ? ops[i].keys[row] : row);
            places[i][k] += 0.5f;
        }
    }
    hand_in(f, PS_OK, body, run_answer_bytes(answers, n));
    mem_free(body);
}

void stage_answer(const struct tape_frame *f, int status)
{
    if (f->h.type == WIRE_RUN && status == PS_OK) {
        answer_run(f);
    } else {
        hand_in(f, status, NULL, 0);
    }
}

void stage_answer_fate(const struct tape_frame *f, int fate)
{
    struct wire_resolve m = stage_resolve_of(f);
    struct wire_fate fates[8];
    struct wire_resolve_answer a = {.parts = fates, .n_parts = m.n_parts};
    struct buf b;

    assert_true(m.n_parts <= ARRAY_LEN(fates));
    for (uint32_t i = 0; i < m.n_parts; i++) {
        fates[i].status_negated = 0 - (uint32_t)fate;
    }
    buf_init(&b);
    wire_resolve_answer_encode(&a, &b);
    assert_false(b.failed);
    hand_in(f, PS_OK, b.data, b.size);
    buf_fini(&b);
}

void stage_serve(uint64_t lane, uint64_t seq, int status)
{
    struct tape_frame *f = stage_take_run(lane, seq);

    stage_answer(f, status);
    tape_free(f);
}

static struct session_variable variable(uint32_t id)
{
    const struct wire_variable *v = &stage.plan.variables[id - 1];

    return (struct session_variable){.id = v->id,
                                     .kind = v->kind,
                                     .dim = v->dim,
                                     .rows = v->rows,
                                     .updater = {.name = v->updater}};
}

struct session_op stage_push_op(uint32_t id, const uint64_t *keys, size_t n,
                                const float *values)
{
    return (struct session_op){.variable = variable(id),
                               .kind = PS_PUSH,
                               .keys = keys,
                               .n_keys = n,
                               .values = values,
                               .updater = {.name = "AssignAddUpdater"}};
}

struct session_op stage_pull_op(uint32_t id, const uint64_t *keys, size_t n,
                                float *out)
{
    return (struct session_op){.variable = variable(id),
                               .kind = PS_PULL,
                               .keys = keys,
                               .n_keys = n,
                               .out = out};
}

struct request *stage_push(uint64_t key, float v)
{
    const float values[] = {v, v};
    struct session_op op = stage_push_op(WHOLE, &key, 1, values);
    struct request *r = NULL;

    assert_int_equal(session_submit(stage.session, &op, 1, &r), PS_OK);
    assert_non_null(r);
    return r;
}

void stage_done(struct request *r, int status)
{
    stage_run();
    assert_true(request_has_settled(r));
    assert_int_equal(request_status(r), status);
    request_free(r);
}

struct ps_client_counters stage_counters(void)
{
    struct ps_client_counters c;

    session_counters(stage.session, &c);
    return c;
}
