/* shard_stage.c - what the tests of a shard share. */
#include "shard_stage.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/log.h"
#include "udf/chain.h"

struct shard_stage stage;
const char *const stage_add = "BuildHashSlice(insert)>AssignAddUpdater";
const char *const stage_add_read =
    "BuildHashSlice(insert)>AssignAddUpdater>TransSlice";
const char *const stage_read = "BuildHashSlice>TransSlice";
const char *const stage_add_dense = "BuildDenseSlice>AssignAddUpdater";
const char *const stage_read_dense = "BuildDenseSlice>TransSlice";
const char *const stage_momentum = "BuildHashSlice(insert)>MomentumUpdater";

static void ignore_log(enum log_level level, const char *text)
{
    (void)level;
    (void)text;
}

static void on_want(struct shard_owner *owner, uint32_t shard,
                    enum shard_want what, uint64_t number)
{
    (void)owner;
    assert_int_equal(shard, 0);
    stage.wanted[what] = number;
}

static void on_applied(struct shard_owner *owner, uint32_t shard,
                       uint64_t session, uint64_t lane, uint64_t seq)
{
    (void)owner;
    assert_int_equal(shard, 0);
    assert_int_equal(lane, LANE);
    assert_true(session > 0 && seq > 0);
    stage.n_applied++;
}

int stage_set_plan(void)
{
    draft_encode(&stage.plan, &stage.record);
    return shard_set_plan(stage.shard, stage.record.data, stage.record.size);
}

void stage_part_comes_back(uint32_t i)
{
    stage.plan.w.plan++;
    stage.plan.parts[i].lane = OTHER_LANE;
    assert_int_equal(stage_set_plan(), PS_OK);
    stage.plan.w.plan++;
    stage.plan.parts[i].lane = LANE;
    stage.plan.parts[i].since = stage.plan.w.plan;
}

void stage_set_sessions(uint64_t version, uint64_t next, const uint64_t *open,
                        uint32_t n)
{
    draft_sessions(&stage.record, next, open, n);
    assert_int_equal(shard_set_sessions(stage.shard, version, stage.record.data,
                                        stage.record.size),
                     PS_OK);
}

static void register_chain(const char *definition)
{
    struct frame_header h = stage_header(WIRE_CHAIN, 0);
    struct wire_chain m = {.chain = chain_id(definition),
                           .definition = definition};

    buf_clear(&stage.record);
    wire_chain_encode(&m, &stage.record);
    assert_int_equal(
        stage_send(draft_frame(&h, stage.record.data, stage.record.size)),
        PS_OK);
}

uint64_t stage_connect(void)
{
    struct frame_header h = stage_header(WIRE_HELLO, 0);
    struct wire_hello m = {.version = WIRE_VERSION, .role = "client"};

    stage.connection = tape_accept(&stage.net);
    shard_on_open(stage.shard, stage.connection);
    buf_clear(&stage.record);
    wire_hello_encode(&m, &stage.record);
    assert_int_equal(
        stage_send(draft_frame(&h, stage.record.data, stage.record.size)),
        PS_OK);
    register_chain(stage_add);
    register_chain(stage_add_read);
    register_chain(stage_read);
    register_chain(stage_add_dense);
    register_chain(stage_read_dense);
    register_chain(stage_momentum);
    return stage.connection;
}

static void draft_variables(struct draft *d)
{
    draft_init(d, PLAN);
    draft_lane(d, LANE, 0, 0, "a:1");
    draft_lane(d, OTHER_LANE, 1, 0, "b:1");
    draft_variable(d, "whole", PS_HASH64, 0, 2);
    draft_variable(d, "half", PS_HASH64, 0, 1);
    draft_variable(d, "dense", PS_DENSE, 4, 2);
    draft_variable(d, "away", PS_HASH64, 0, 1);
    draft_part(d, WHOLE, 0, LIMIT_BUCKETS, LANE, 1);
    draft_part(d, HALF, 0, MIDDLE, LANE, 1);
    draft_part(d, HALF, MIDDLE, LIMIT_BUCKETS, OTHER_LANE, PLAN);
    draft_part(d, DENSE, 0, LIMIT_BUCKETS, LANE, 1);
    draft_part(d, AWAY, 0, LIMIT_BUCKETS, OTHER_LANE, 1);
}

int stage_set_up(void **state)
{
    static const uint64_t open[] = {5, 6};
    const struct shard_options options = {
        .server = 0, .shard = 0, .kern = &kern_generic};

    (void)state;
    log_set_sink(ignore_log);
    stage =
        (struct shard_stage){.owner = {.want = on_want, .applied = on_applied}};
    tape_init(&stage.net);
    buf_init(&stage.record);
    arena_init(&stage.arena);
    if (shard_new(&stage.shard, &options, &stage.net.net, NULL, &stage.owner) !=
        PS_OK) {
        return 1;
    }
    shard_start_lane(stage.shard, LANE, 3);
    shard_set_lease(stage.shard, LANE, LEASE_US);
    draft_variables(&stage.plan);
    assert_int_equal(stage_set_plan(), PS_OK);
    stage_set_sessions(1, 10, open, 2);
    stage_connect();
    return 0;
}

int stage_tear_down(void **state)
{
    (void)state;
    tape_free(stage.answer);
    shard_free(stage.shard);
    tape_fini(&stage.net);
    buf_fini(&stage.record);
    arena_fini(&stage.arena);
    return 0;
}

int stage_send(struct frame *f)
{
    struct frame_header h;
    const struct tape_frame *a;

    assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
    tape_free(stage.answer);
    arena_reset(&stage.arena);
    stage.n_parts = 0;
    shard_on_frame(stage.shard, stage.connection, &h, f);
    frame_put(f);
    stage.answer = tape_take(&stage.net);
    a = stage.answer;
    if (a == NULL) {
        return NO_ANSWER;
    }
    assert_null(stage.net.first);
    assert_int_equal(a->connection, stage.connection);
    assert_int_equal(a->h.type, h.type);
    assert_int_equal(a->h.flags & FRAME_ANSWER, FRAME_ANSWER);
    assert_int_equal(a->h.request, h.request);
    if (h.type == WIRE_RUN && a->h.status == PS_OK && a->h.body_bytes > 0) {
        assert_int_equal(run_answer_decode(frame_body(a->frame),
                                           a->h.body_bytes, &stage.arena,
                                           &stage.parts, &stage.n_parts),
                         PS_OK);
    }
    return a->h.status;
}

struct frame_header stage_header(enum wire_type type, uint64_t seq)
{
    stage.request++;
    return (struct frame_header){.type = (uint16_t)type,
                                 .request = stage.request,
                                 .session = seq == 0 ? 0 : 5,
                                 .lane = LANE,
                                 .seq = seq,
                                 .first = seq == 0 ? 0 : 1,
                                 .plan = PLAN,
                                 .cut = 1};
}

struct run_op stage_op(const char *chain, uint32_t variable, uint32_t dim,
                       const uint64_t *key, const float *values)
{
    return (struct run_op){.chain = chain_id(chain),
                           .variable = variable,
                           .begin = 0,
                           .end = LIMIT_BUCKETS,
                           .n_keys = key == NULL ? 0 : 1,
                           .dim = dim,
                           .n_values = values == NULL ? 0 : dim,
                           .keys = key,
                           .values = values};
}

struct frame *stage_push_frame(const struct frame_header *h, uint64_t key,
                               float v)
{
    const float values[] = {v, v};
    struct run_op op = stage_op(stage_add, WHOLE, 2, &key, values);

    return draft_run(h, &op, 1);
}

int stage_push(uint64_t seq, uint64_t key, float v)
{
    struct frame_header h = stage_header(WIRE_RUN, seq);

    return stage_send(stage_push_frame(&h, key, v));
}

float stage_value(uint64_t key)
{
    struct frame_header h = stage_header(WIRE_RUN, 0);
    struct run_op op = stage_op(stage_read, WHOLE, 2, &key, NULL);

    assert_int_equal(stage_send(draft_run(&h, &op, 1)), PS_OK);
    assert_int_equal(stage.n_parts, 1);
    assert_int_equal(stage.parts[0].status, PS_OK);
    assert_int_equal(stage.parts[0].n_values, 2);
    assert_true(stage.parts[0].values[0] == stage.parts[0].values[1]);
    return stage.parts[0].values[0];
}

bool stage_is_repeat(void)
{
    assert_non_null(stage.answer);
    return (stage.answer->h.flags & FRAME_REPEAT) != 0;
}

int stage_resolve(uint64_t session, uint64_t lane, uint64_t seq,
                  uint32_t variable, uint32_t begin, uint32_t end)
{
    struct frame_header h = stage_header(WIRE_RESOLVE, 0);
    const struct wire_range part = {variable, begin, end};
    const struct wire_resolve m = {.session = session,
                                   .lane = lane,
                                   .seq = seq,
                                   .parts = &part,
                                   .n_parts = 1};
    struct wire_resolve_answer answer;
    int rc;

    buf_clear(&stage.record);
    wire_resolve_encode(&m, &stage.record);
    rc = stage_send(draft_frame(&h, stage.record.data, stage.record.size));
    if (rc != PS_OK) {
        return rc;
    }
    assert_int_equal(wire_resolve_answer_decode(frame_body(stage.answer->frame),
                                                stage.answer->h.body_bytes,
                                                &stage.arena, &answer),
                     PS_OK);
    assert_int_equal(answer.n_parts, 1);
    return -(int)answer.parts[0].status_negated;
}
