/* test_fault_shard.c - a shard whose nth allocation fails, for every n: each
 * type of frame, and what its server tells it. What is refused has changed
 * nothing, and the same again is done. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/hash.h"
#include "lib/armed.h"
#include "shard_stage.h"
#include "udf/chain.h"

enum { TIMES_MAX = 300, KEYS = 3 };

/* Of all rows, in any order. */
static void add_row(void *context, uint32_t variable, uint64_t key,
                    const float *values, uint32_t dim)
{
    uint64_t *sum = context;

    *sum += hash_bytes(values, dim * sizeof(*values)) ^ (key + variable);
}

static uint64_t sum_rows(void)
{
    uint64_t sum = 0;

    shard_walk(stage.shard, add_row, &sum);
    return sum;
}

/* Hands a frame in with the next allocation armed; its answer's status, or
 * NO_ANSWER. The connection is made anew where the shard ended it. */
static int send_armed(struct frame *f)
{
    struct frame_header h;
    int status = NO_ANSWER;

    assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
    ARMED(shard_on_frame(stage.shard, stage.connection, &h, f));
    frame_put(f);
    tape_free(stage.answer);
    stage.answer = tape_take(&stage.net);
    if (stage.answer != NULL) {
        status = stage.answer->h.status;
    }
    assert_null(stage.net.first);
    if (tape_is_closed(&stage.net, stage.connection)) {
        stage_connect();
    }
    return status;
}

/* A frame with the body that is in stage.record. */
static struct frame *frame_of(enum wire_type type)
{
    struct frame_header h = stage_header(type, 0);

    return draft_frame(&h, stage.record.data, stage.record.size);
}

static struct frame *hello(void)
{
    struct wire_hello m = {.version = WIRE_VERSION, .role = "client"};

    buf_clear(&stage.record);
    wire_hello_encode(&m, &stage.record);
    return frame_of(WIRE_HELLO);
}

static struct frame *chain(void)
{
    static const char *const definition = "BuildHashSlice(insert)>TransSlice";
    struct wire_chain m = {.chain = chain_id(definition),
                           .definition = definition};

    buf_clear(&stage.record);
    wire_chain_encode(&m, &stage.record);
    return frame_of(WIRE_CHAIN);
}

static struct frame *resolve(void)
{
    const struct wire_range part = {WHOLE, 0, LIMIT_BUCKETS};
    const struct wire_resolve m = {
        .session = 6, .lane = LANE, .seq = 1, .parts = &part, .n_parts = 1};

    buf_clear(&stage.record);
    wire_resolve_encode(&m, &stage.record);
    return frame_of(WIRE_RESOLVE);
}

static struct frame *status(void)
{
    buf_clear(&stage.record);
    return frame_of(WIRE_STATUS);
}

static struct frame *read(void)
{
    static const uint64_t keys[KEYS] = {77, 78, 79};
    struct frame_header h = stage_header(WIRE_RUN, 0);
    struct run_op ops[2] = {stage_op(stage_read, WHOLE, 2, keys, NULL),
                            stage_op(stage_read_dense, DENSE, 2, NULL, NULL)};

    ops[0].n_keys = KEYS;
    return draft_run(&h, ops, 2);
}

static void each_frame_is_answered_or_asked_for_again(void **state)
{
    struct frame *(*const frames[])(void) = {hello, chain, resolve, status,
                                             read};

    (void)state;
    assert_int_equal(stage_push(1, 77, 1), PS_OK);
    for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
        uint64_t sum = sum_rows();
        uint64_t n = 0;
        int rc = NO_ANSWER;

        armed.has_failed = true;
        while (armed.has_failed) {
            n++;
            assert_true(n < TIMES_MAX);
            armed_at(n);
            rc = send_armed(frames[i]());
            assert_true(rc == PS_OK || rc == NO_ANSWER || rc == PS_ENOMEM ||
                        rc == PS_EBUSY);
            assert_int_equal(sum_rows(), sum);
            assert_int_equal(stage.n_applied, 1);
        }
        assert_int_equal(rc, PS_OK);
        assert_true(n > 1);
    }
}

/* Three variables, absent keys: all of it or nothing, and once. */
static struct frame *write(uint64_t seq)
{
    static uint64_t keys[KEYS];
    static const float ones[2 * KEYS] = {1, 1, 1, 1, 1, 1};
    static const float dense[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    struct frame_header h = stage_header(WIRE_RUN, seq);
    struct run_op ops[3] = {stage_op(stage_add_read, WHOLE, 2, keys, ones),
                            stage_op(stage_add_dense, DENSE, 2, NULL, dense),
                            stage_op(stage_add, HALF, 1, keys, ones)};

    for (size_t i = 0; i < KEYS; i++) {
        keys[i] = draft_key_in(0, MIDDLE, KEYS * (size_t)seq + i);
    }
    h.first = seq;
    ops[0].n_keys = ops[2].n_keys = KEYS;
    ops[0].n_values = 2 * KEYS;
    ops[1].n_values = 8;
    ops[2].n_values = KEYS;
    ops[2].end = MIDDLE;
    return draft_run(&h, ops, 3);
}

/* Writes number 1 with the nth allocation failing, until it is done; then
 * again, which is a repeat and reads. True if an allocation failed. */
static bool write_with(uint64_t n)
{
    uint64_t sum = sum_rows();
    bool has_failed;
    int rc;

    armed_at(n);
    rc = send_armed(write(1));
    has_failed = armed.has_failed;
    if (rc != PS_OK) {
        assert_true(rc == PS_EBUSY || rc == NO_ANSWER);
        assert_int_equal(stage.n_applied, 0);
        assert_int_equal(sum_rows(), sum);
        assert_int_equal(send_armed(write(1)), PS_OK);
    }
    assert_int_equal(stage.n_applied, 1);
    assert_int_not_equal(sum_rows(), sum);
    sum = sum_rows();
    armed_at(n);
    rc = send_armed(write(1));
    assert_true(rc == PS_OK || rc == PS_EBUSY || rc == NO_ANSWER);
    assert_int_equal(stage.n_applied, 1);
    assert_int_equal(sum_rows(), sum);
    return has_failed || armed.has_failed;
}

static void a_write_is_whole_or_nothing_and_once(void **state)
{
    uint64_t n = 1;

    while (write_with(n)) {
        n++;
        assert_true(n < TIMES_MAX);
        stage_tear_down(state);
        assert_int_equal(stage_set_up(state), 0);
    }
    assert_true(n > 3);
}

static void a_connection_without_memory_for_it_is_closed(void **state)
{
    uint64_t n = 0;

    (void)state;
    armed.has_failed = true;
    while (armed.has_failed) {
        uint64_t before = shard_stats(stage.shard)->connections;
        uint64_t connection = tape_accept(&stage.net);

        n++;
        assert_true(n < TIMES_MAX);
        armed_at(n);
        ARMED(shard_on_open(stage.shard, connection));
        assert_int_equal(tape_is_closed(&stage.net, connection),
                         armed.has_failed);
        assert_int_equal(shard_stats(stage.shard)->connections,
                         before + !armed.has_failed);
    }
}

static void sessions_without_memory_for_them_stay_as_they_were(void **state)
{
    static const uint64_t open[] = {5, 6, 7};
    uint64_t n = 0;
    int rc = PS_ENOMEM;

    (void)state;
    draft_sessions(&stage.record, 10, open, 3);
    while (rc != PS_OK) {
        n++;
        assert_true(n < TIMES_MAX);
        armed_at(n);
        ARMED(rc = shard_set_sessions(stage.shard, 2, stage.record.data,
                                      stage.record.size));
        assert_true(rc == PS_OK || rc == PS_ENOMEM);
        assert_int_equal(shard_sessions_version(stage.shard),
                         rc == PS_OK ? 2 : 1);
    }
    assert_true(n > 1);
}

static void a_shard_is_made_whole_or_not_at_all(void **state)
{
    const struct shard_options options = {.kern = &kern_generic};
    struct shard *s = NULL;
    uint64_t n = 0;
    int rc = PS_ENOMEM;

    (void)state;
    while (rc != PS_OK) {
        n++;
        assert_true(n < TIMES_MAX);
        armed_at(n);
        ARMED(rc = shard_new(&s, &options, &stage.net.net, NULL, &stage.owner));
        assert_true(rc == PS_OK || rc == PS_ENOMEM);
    }
    shard_free(s);
    assert_true(n > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(each_frame_is_answered_or_asked_for_again),
        STAGED(a_write_is_whole_or_nothing_and_once),
        STAGED(a_connection_without_memory_for_it_is_closed),
        STAGED(sessions_without_memory_for_them_stay_as_they_were),
        STAGED(a_shard_is_made_whole_or_not_at_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
