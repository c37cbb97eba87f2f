/* test_shard_log.c - what was acknowledged at durability `log` or `fsync` is
 * there after the process or the power has gone, once (protocol 10).
 *
 * One server's only shard lives on lane 7, dies, and comes back as lane 8, 9 ...
 * on the same disk, which is a crashfs. Push i adds 1 to key i, so a row says
 * how often its push was applied. */
#include "server/shard.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/probe.h"
#include "fs/disk_work.h"
#include "lib/crashfs.h"
#include "lib/draft.h"
#include "lib/tape.h"
#include "server/shard_log.h"
#include "udf/chain.h"

enum {
    ROWS = 1,
    PUSHES = 24,
    LANES = 16,
    QUEUE = 256,
    FIRST_LANE = 7,
    PLAIN = 2, /* a variable of durability memory */
    NEVER = 1000000
};

static const char *const add = "BuildHashSlice(insert)>AssignAddUpdater";
static const char *const read_rows = "BuildHashSlice>TransSlice";
static const char *const folder = "00000000000000000000000000000000";

struct order {
    struct disk_request request;
    bool is_record;
    struct shard_log_record record;
};

/* A server and its disk; the disk and the store outlive it. */
static struct {
    struct crashfs *crashfs;
    struct disk_work work;
    struct disk disk;
    struct shard_owner owner;
    struct tape net;
    struct shard *shard;
    uint64_t connection;
    uint64_t lane;
    uint64_t plan;
    uint32_t durability;
    struct order queue[QUEUE];
    size_t first;
    size_t n;
    uint64_t steps_left; /* of the disk; then the process is dead */
    struct shard_log_record records[LANES + FIRST_LANE];
    bool acked[PUSHES + 1];
    uint64_t n_acked;
    uint64_t wants_life;
    bool wants_plan;
    uint64_t store_fails; /* answers of the store */
} w;

static void ignore_log(enum log_level level, const char *text)
{
    (void)level;
    (void)text;
}

static void on_want(struct shard_owner *owner, uint32_t shard,
                    enum shard_want what, uint64_t number)
{
    (void)owner;
    (void)shard;
    if (what == SHARD_WANT_LIFE) {
        w.wants_life = number;
    }
    w.wants_plan = w.wants_plan || what == SHARD_WANT_PLAN;
}

static void on_saved(struct shard_owner *owner, uint32_t shard)
{
    (void)owner;
    (void)shard;
}

static struct order *enqueue(void)
{
    assert_true(w.n < QUEUE);
    w.n++;
    return &w.queue[(w.first + w.n - 1) % QUEUE];
}

static void on_record(struct shard_owner *owner, uint32_t shard,
                      const struct shard_log_record *record)
{
    struct order *o = enqueue();

    (void)owner;
    (void)shard;
    o->is_record = true;
    o->record = *record;
}

static void submit(struct disk *d, const struct disk_request *request)
{
    struct order *o = enqueue();

    (void)d;
    o->is_record = false;
    o->request = *request;
}

/* As log_record.c does it. */
static void answer_record(const struct shard_log_record *wanted)
{
    struct shard_log_record *has = &w.records[wanted->lane];
    struct shard_log_record out;

    if (wanted->state > has->state) {
        *has = *wanted;
    }
    out = *has;
    out.lane = wanted->lane;
    out.status = PS_OK;
    if (w.store_fails > 0) {
        w.store_fails--;
        out.status = PS_EIO;
    }
    shard_on_log_record(w.shard, &out);
}

/* Collects the answers that have been sent. */
static void collect(void)
{
    struct tape_frame *a;

    while ((a = tape_take(&w.net)) != NULL) {
        if (a->h.type == WIRE_RUN && a->h.seq != 0 && a->h.status == PS_OK &&
            a->h.seq <= PUSHES) {
            w.n_acked += !w.acked[a->h.seq];
            w.acked[a->h.seq] = true;
        }
        tape_free(a);
    }
}

/* Does what the disk or the store was asked first; false: nothing, or dead. */
static bool step(void)
{
    struct order o = w.queue[w.first % QUEUE];
    struct disk_result r = {.why = ""};
    struct buf data;
    struct err e = {.text = ""};

    if (w.n == 0 || w.steps_left == 0) {
        return false;
    }
    w.first++;
    w.n--;
    if (o.is_record) {
        answer_record(&o.record);
        return true;
    }
    w.steps_left--;
    buf_init(&data);
    r.op = o.request.op;
    r.tag = o.request.tag;
    r.status = disk_work_do(&w.work, &o.request, &data, &e);
    r.why = e.text;
    r.data = data.data;
    r.size = data.size;
    shard_on_log(w.shard, &r);
    buf_fini(&data);
    collect();
    return true;
}

static void settle_down(void)
{
    for (;;) {
        while (step()) {
        }
        if (w.steps_left == 0 || shard_next(w.shard) > w.net.now_us) {
            return;
        }
        shard_tick(w.shard);
    }
}

static void send_frame(const struct frame_header *h, struct frame *f)
{
    (void)h;
    {
        struct frame_header decoded;

        assert_int_equal(frame_header_decode(f->data, &decoded), PS_OK);
        shard_on_frame(w.shard, w.connection, &decoded, f);
    }
    frame_put(f);
}

static void register_chain(const char *definition)
{
    struct frame_header h = {.type = WIRE_CHAIN, .request = 1};
    struct wire_chain m = {.chain = chain_id(definition),
                           .definition = definition};
    struct buf b;

    buf_init(&b);
    wire_chain_encode(&m, &b);
    send_frame(&h, draft_frame(&h, b.data, b.size));
    buf_fini(&b);
}

static void connect(void)
{
    struct frame_header h = {.type = WIRE_HELLO, .request = 1};
    struct wire_hello m = {.version = WIRE_VERSION, .role = "client"};
    struct buf b;

    w.connection = tape_accept(&w.net);
    shard_on_open(w.shard, w.connection);
    buf_init(&b);
    wire_hello_encode(&m, &b);
    send_frame(&h, draft_frame(&h, b.data, b.size));
    buf_fini(&b);
    register_chain(add);
    register_chain(read_rows);
    tape_clear(&w.net);
}

static void set_plan(void)
{
    struct draft *d = calloc(1, sizeof(*d));
    struct buf b;

    draft_init(d, w.plan);
    for (uint64_t lane = FIRST_LANE; lane < w.lane; lane++) {
        d->ended[d->w.n_ended++] =
            (struct wire_ended){lane, 0, 0, w.plan - (w.lane - lane)};
    }
    d->w.ended = d->ended;
    draft_lane(d, w.lane, 0, 0, "a:1");
    draft_variable(d, "rows", PS_HASH64, 0, 1)->durability = w.durability;
    draft_variable(d, "plain", PS_HASH64, 0, 1);
    draft_part(d, ROWS, 0, LIMIT_BUCKETS, w.lane, w.plan);
    draft_part(d, PLAIN, 0, LIMIT_BUCKETS, w.lane, w.plan);
    buf_init(&b);
    draft_encode(d, &b);
    assert_int_equal(shard_set_plan(w.shard, b.data, b.size), PS_OK);
    buf_fini(&b);
    free(d);
}

/* A process begins: the next lane. */
static void start(void)
{
    static const uint64_t open[] = {5};
    const struct shard_options options = {
        .server = 0, .shard = 0, .kern = &kern_generic, .log = &w.disk};
    struct buf b;

    disk_work_init(&w.work, crashfs_fs(w.crashfs));
    w.disk.submit = submit;
    w.owner = (struct shard_owner){
        .want = on_want, .saved = on_saved, .log_record = on_record};
    tape_init(&w.net);
    w.net.now_us = 1000000;
    w.steps_left = NEVER;
    w.n = 0;
    w.wants_life = 0;
    w.lane = w.lane == 0 ? FIRST_LANE : w.lane + 1;
    w.plan += 2;
    assert_int_equal(shard_new(&w.shard, &options, &w.net.net, NULL, &w.owner),
                     PS_OK);
    shard_start_lane(w.shard, w.lane, 0);
    shard_set_lease(w.shard, w.lane, UINT64_MAX);
    buf_init(&b);
    draft_sessions(&b, 10, open, 1);
    assert_int_equal(shard_set_sessions(w.shard, 1, b.data, b.size), PS_OK);
    buf_fini(&b);
    set_plan();
    connect();
}

/* The process is gone, with what it had asked for. */
static void stop(void)
{
    shard_free(w.shard);
    w.shard = NULL;
    disk_work_fini(&w.work);
    tape_fini(&w.net);
    w.n = 0;
}

static void set_up(uint32_t durability)
{
    log_set_sink(ignore_log);
    if (w.crashfs != NULL) {
        crashfs_free(w.crashfs);
    }
    memset(&w, 0, sizeof(w));
    w.crashfs = crashfs_new();
    w.durability = durability;
    w.plan = 10;
    start();
}

static struct run_op op_of(const char *chain, uint32_t variable,
                           const uint64_t *key, const float *value)
{
    return (struct run_op){.chain = chain_id(chain),
                           .variable = variable,
                           .end = LIMIT_BUCKETS,
                           .n_keys = 1,
                           .dim = 1,
                           .n_values = value != NULL,
                           .keys = key,
                           .values = value};
}

static void push_to(uint32_t variable, uint64_t seq, uint64_t cut)
{
    const struct frame_header h = {.type = WIRE_RUN,
                                   .request = seq,
                                   .session = 5,
                                   .lane = w.lane,
                                   .seq = seq,
                                   .first = 1,
                                   .plan = w.plan,
                                   .cut = cut};
    const uint64_t key = seq;
    const float one = 1;
    const struct run_op op = op_of(add, variable, &key, &one);

    send_frame(&h, draft_run(&h, &op, 1));
    collect();
}

static void push(uint64_t seq)
{
    push_to(ROWS, seq, 1);
}

/* How often the push was applied; -1: the row cannot be read. */
static int count_of(uint64_t key)
{
    const struct frame_header h = {
        .type = WIRE_RUN, .request = 1, .lane = w.lane, .plan = w.plan,
        .cut = 1};
    const struct run_op op = op_of(read_rows, ROWS, &key, NULL);
    struct tape_frame *a;
    struct run_answer *parts;
    struct arena arena;
    uint32_t n;
    int count = -1;

    send_frame(&h, draft_run(&h, &op, 1));
    a = tape_take(&w.net);
    assert_non_null(a);
    arena_init(&arena);
    if (a->h.status == PS_OK) {
        assert_int_equal(run_answer_decode(frame_body(a->frame),
                                           a->h.body_bytes, &arena, &parts, &n),
                         PS_OK);
        count = (int)parts[0].values[0];
    }
    arena_fini(&arena);
    tape_free(a);
    return count;
}

static int fate_of(uint64_t lane, uint64_t seq)
{
    const struct frame_header h = {.type = WIRE_RESOLVE,
                                   .request = 1,
                                   .session = 5,
                                   .lane = w.lane,
                                   .plan = w.plan};
    const struct wire_range part = {ROWS, 0, LIMIT_BUCKETS};
    const struct wire_resolve m = {
        .session = 5, .lane = lane, .seq = seq, .parts = &part, .n_parts = 1};
    struct wire_resolve_answer answer;
    struct tape_frame *a;
    struct arena arena;
    struct buf b;
    int fate;

    buf_init(&b);
    wire_resolve_encode(&m, &b);
    send_frame(&h, draft_frame(&h, b.data, b.size));
    buf_fini(&b);
    a = tape_take(&w.net);
    if (a == NULL) {
        return 1; /* it waits */
    }
    arena_init(&arena);
    fate = a->h.status;
    if (fate == PS_OK) {
        assert_int_equal(wire_resolve_answer_decode(frame_body(a->frame),
                                                    a->h.body_bytes, &arena,
                                                    &answer),
                         PS_OK);
        fate = -(int)answer.parts[0].status_negated;
    }
    arena_fini(&arena);
    tape_free(a);
    return fate;
}

static bool load_has_failed(void)
{
    struct shard_report r;

    shard_report(w.shard, &r);
    return r.load_failed;
}

/* Every acknowledged push is there, none twice; resolve says the same. */
static void check_rows(void)
{
    assert_false(load_has_failed());
    for (uint64_t i = 1; i <= PUSHES; i++) {
        int count = count_of(i);

        assert_in_range(count, 0, 1);
        if (w.acked[i] && count != 1) {
            fail_msg("push %d was acknowledged and is lost", (int)i);
        }
        if (w.lane == FIRST_LANE + 1) {
            assert_int_equal(fate_of(FIRST_LANE, i),
                             count == 1 ? PS_OK : PS_ECANCELED);
        }
    }
}

/* Pushes in flights of several, a cut among them. */
static void work(void)
{
    settle_down();
    for (uint64_t i = 1; i <= PUSHES; i++) {
        push(i);
        if (i % 3 != 0) {
            (void)step();
        }
        if (i == PUSHES / 2) {
            int rc = shard_log_cut(w.shard, 4);

            assert_true(rc == PS_OK || rc == PS_ENOTREADY);
        }
        if (i % 8 == 0) {
            settle_down();
        }
    }
    settle_down();
}

/* ---- answers ------------------------------------------------------------ */

static void an_answer_waits_for_the_write(void **state)
{
    (void)state;
    set_up(PS_LOG);
    settle_down();
    push(1);
    assert_false(w.acked[1]);
    assert_true(step());
    assert_true(w.acked[1]);
    stop();
}

static void an_answer_waits_for_the_sync(void **state)
{
    (void)state;
    set_up(PS_FSYNC);
    settle_down();
    push(1);
    assert_true(step()); /* written */
    assert_false(w.acked[1]);
    assert_true(step());
    assert_true(w.acked[1]);
    stop();
}

static void a_push_to_memory_does_not_wait(void **state)
{
    (void)state;
    set_up(PS_FSYNC);
    settle_down();
    push(1);
    push_to(PLAIN, 2, 1);
    assert_false(w.acked[1]);
    assert_true(w.acked[2]);
    stop();
}

static void what_comes_while_the_disk_is_busy_is_one_write_and_one_sync(
    void **state)
{
    uint64_t before;

    (void)state;
    set_up(PS_FSYNC);
    settle_down();
    push(1);
    before = crashfs_ops(w.crashfs);
    for (uint64_t i = 2; i <= 20; i++) {
        push(i);
    }
    settle_down();
    assert_int_equal(w.n_acked, 20);
    /* Two writes and two syncs: of the first, of all others. */
    assert_int_equal(crashfs_ops(w.crashfs) - before, 4);
    stop();
}

/* 5.3: a repeat is answered no earlier than the original's commit. */
static void a_repeat_waits_like_its_original(void **state)
{
    (void)state;
    set_up(PS_FSYNC);
    settle_down();
    push(1);
    push(1);
    push(1);
    assert_false(w.acked[1]);
    settle_down();
    assert_true(w.acked[1]);
    assert_int_equal(count_of(1), 1);
    assert_int_equal(shard_stats(w.shard)->repeats_suppressed, 2);
    stop();
}

/* 6: resolve reports nothing before its commit. */
static void resolve_waits_for_the_commit_of_what_it_reports(void **state)
{
    (void)state;
    set_up(PS_FSYNC);
    settle_down();
    push(1);
    assert_int_equal(fate_of(w.lane, 1), 1);
    settle_down();
    assert_int_equal(fate_of(w.lane, 1), PS_OK);
    stop();
}

static void before_the_log_is_there_pushes_are_put_off(void **state)
{
    (void)state;
    set_up(PS_LOG);
    push(1);
    assert_int_equal(shard_stats(w.shard)->pushes_applied, 0);
    push_to(PLAIN, 1, 1);
    assert_true(w.acked[1]);
    settle_down();
    push(2);
    settle_down();
    assert_true(w.acked[2]);
    stop();
}

/* The store is told of the log before a frame is taken. */
static void a_log_that_the_store_does_not_know_takes_nothing(void **state)
{
    (void)state;
    set_up(PS_LOG);
    w.store_fails = 2;
    settle_down();
    push(1);
    assert_int_equal(shard_stats(w.shard)->pushes_applied, 0);
    for (int i = 0; i < 3; i++) {
        w.net.now_us += 1000000;
        shard_tick(w.shard);
        settle_down();
    }
    push(1);
    settle_down();
    assert_true(w.acked[1]);
    stop();
}

/* ---- lives -------------------------------------------------------------- */

static void the_next_life_has_what_was_acknowledged(void **state)
{
    (void)state;
    set_up(PS_LOG);
    work();
    assert_int_equal(w.n_acked, PUSHES);
    stop();
    start();
    assert_int_equal(count_of(1), -1); /* not before the log is read */
    settle_down();
    check_rows();
    assert_int_equal(w.records[FIRST_LANE].state, SHARD_LOG_ENDED);
    assert_int_equal(w.records[FIRST_LANE].segment, 4);
    stop();
}

static void a_third_life_has_the_pushes_of_both(void **state)
{
    (void)state;
    set_up(PS_LOG);
    settle_down();
    for (uint64_t i = 1; i <= 4; i++) {
        push(i);
    }
    settle_down();
    stop();
    start();
    settle_down();
    /* Its own numbers begin at 1: key 5 is its first. */
    for (uint64_t i = 1; i <= 6; i++) {
        push(i);
    }
    settle_down();
    stop();
    start();
    settle_down();
    for (uint64_t i = 1; i <= 6; i++) {
        assert_int_equal(count_of(i), i <= 4 ? 2 : 1);
        assert_int_equal(fate_of(FIRST_LANE + 1, i), PS_OK);
        assert_int_equal(fate_of(FIRST_LANE, i),
                         i <= 4 ? PS_OK : PS_ECANCELED);
    }
    stop();
}

/* 10.1: no later reading goes beyond the end that was read. */
static void nothing_behind_the_recorded_end_is_read(void **state)
{
    (void)state;
    set_up(PS_LOG);
    settle_down();
    push(1);
    settle_down();
    w.records[FIRST_LANE].state = SHARD_LOG_ENDED;
    w.records[FIRST_LANE].segment = 1;
    /* BEGIN, CHAIN and FRAME: where the log is now. */
    w.records[FIRST_LANE].end = 0;
    {
        struct fs *fs = crashfs_fs(w.crashfs);
        struct buf b;
        char path[128];

        snprintf(path, sizeof(path), "%s/lane-7-000000000001.log", folder);
        buf_init(&b);
        assert_int_equal(fs->ops->read(fs, path, 1 << 20, &b, NULL), PS_OK);
        w.records[FIRST_LANE].end = b.size;
        buf_fini(&b);
    }
    push(2); /* of a process that is taken for dead already */
    settle_down();
    stop();
    start();
    settle_down();
    assert_false(load_has_failed());
    assert_int_equal(count_of(1), 1);
    assert_int_equal(count_of(2), 0);
    stop();
}

static void a_log_that_is_gone_is_an_error(void **state)
{
    struct fs *fs;

    (void)state;
    set_up(PS_LOG);
    work();
    stop();
    fs = crashfs_fs(w.crashfs);
    {
        char path[128];

        snprintf(path, sizeof(path), "%s/lane-7-000000000001.log", folder);
        assert_int_equal(fs->ops->unlink(fs, path, NULL), PS_OK);
    }
    start();
    settle_down();
    assert_true(load_has_failed());
    assert_int_equal(count_of(1), -1);
    stop();
}

static size_t read_log(char path[128], struct buf *b)
{
    struct fs *fs = crashfs_fs(w.crashfs);

    snprintf(path, 128, "%s/lane-7-000000000001.log", folder);
    assert_int_equal(fs->ops->read(fs, path, 1 << 20, b, NULL), PS_OK);
    return b->size;
}

static bool has_segment(uint64_t lane, uint64_t segment)
{
    struct fs *fs = crashfs_fs(w.crashfs);
    char path[128];
    struct buf b;
    int rc;

    snprintf(path, sizeof(path), "%s/lane-%d-%012d.log", folder, (int)lane,
             (int)segment);
    buf_init(&b);
    rc = fs->ops->read(fs, path, 1 << 20, &b, NULL);
    buf_fini(&b);
    return rc == PS_OK;
}

static void cut(uint64_t number)
{
    assert_int_equal(shard_log_cut(w.shard, number), PS_OK);
    settle_down();
}

/* 10.2: logs are kept back to the oldest kept checkpoint. */
static void segments_behind_the_oldest_kept_cut_are_removed(void **state)
{
    (void)state;
    set_up(PS_LOG);
    settle_down();
    push(1);
    settle_down();
    stop();
    start(); /* lane 8 */
    settle_down();
    cut(4);
    cut(6);
    cut(9);
    shard_log_trim(w.shard, 3);
    settle_down();
    assert_true(has_segment(FIRST_LANE, 1));
    assert_true(has_segment(FIRST_LANE + 1, 1));
    shard_log_trim(w.shard, 7);
    settle_down();
    assert_false(has_segment(FIRST_LANE, 1));
    assert_false(has_segment(FIRST_LANE + 1, 1));
    assert_false(has_segment(FIRST_LANE + 1, 4));
    assert_true(has_segment(FIRST_LANE + 1, 6));
    assert_true(has_segment(FIRST_LANE + 1, 9));
    stop();
    start();
    settle_down();
    /* Without the checkpoint these logs are of no use, and say so. */
    assert_true(load_has_failed());
    stop();
}

/* A cut that was over before this life has not put the former lanes' pushes
 * into a checkpoint. */
static void logs_of_former_lanes_stay_until_this_lane_has_cut(void **state)
{
    (void)state;
    set_up(PS_LOG);
    settle_down();
    push(1);
    settle_down();
    stop();
    start();
    settle_down();
    shard_log_trim(w.shard, 5);
    settle_down();
    assert_true(has_segment(FIRST_LANE, 1));
    stop();
    start();
    settle_down();
    check_rows();
    stop();
}

/* An error in a segment that is not the last is no end of the log. */
static void a_segment_that_is_short_is_an_error(void **state)
{
    struct fs *fs;
    char path[128];
    struct buf b;

    (void)state;
    set_up(PS_LOG);
    work();
    stop();
    fs = crashfs_fs(w.crashfs);
    buf_init(&b);
    (void)read_log(path, &b);
    assert_int_equal(fs->ops->unlink(fs, path, NULL), PS_OK);
    assert_int_equal(
        fs->ops->write_new(fs, path, b.data, b.size - LOGFILE_HEADER_BYTES,
                           true, NULL),
        PS_OK);
    buf_fini(&b);
    start();
    settle_down();
    assert_true(load_has_failed());
    stop();
}

/* An error while the logs are read is over after a while, and so is the
 * failure. */
static void a_reading_that_failed_is_tried_again(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 12; n++) {
        set_up(PS_LOG);
        work();
        stop();
        start();
        crashfs_fail(w.crashfs, n, CRASHFS_EIO, CRASHFS_NOT_DONE, false);
        settle_down();
        while (load_has_failed()) {
            w.net.now_us += 6000000;
            settle_down();
            assert_true(w.wants_plan);
            set_plan();
            settle_down();
        }
        w.net.now_us += 6000000;
        settle_down();
        check_rows();
        stop();
    }
}

/* ---- crashes ------------------------------------------------------------ */

static void die_at_every_step(uint32_t durability, enum crashfs_how how,
                              bool is_power)
{
    uint64_t most = 0;

    for (uint64_t n = 0;; n++) {
        bool is_over;

        set_up(durability);
        w.steps_left = n;
        work();
        is_over = w.steps_left > 0;
        most = base_max_u64(most, w.n_acked);
        stop();
        if (is_power) {
            crashfs_crash(w.crashfs, how, n);
        }
        start();
        /* Dies again while it reads, now and then. */
        w.steps_left = n % 7 < 4 ? n % 5 + 1 : NEVER;
        settle_down();
        stop();
        w.lane--;
        w.plan -= 2;
        start();
        settle_down();
        check_rows();
        stop();
        if (is_over) {
            break;
        }
    }
    assert_int_equal(most, PUSHES);
}

static void a_killed_process_loses_nothing_at_log(void **state)
{
    (void)state;
    die_at_every_step(PS_LOG, CRASHFS_KEPT, false);
}

static void a_killed_process_loses_nothing_at_fsync(void **state)
{
    (void)state;
    die_at_every_step(PS_FSYNC, CRASHFS_KEPT, false);
}

static void a_power_cut_loses_nothing_at_fsync(void **state)
{
    static const enum crashfs_how hows[] = {CRASHFS_LOST, CRASHFS_KEPT,
                                            CRASHFS_RANDOM, CRASHFS_TORN};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hows); i++) {
        die_at_every_step(PS_FSYNC, hows[i], true);
    }
}

/* The lane ends where the log fails; what was acknowledged is there. */
static void fail_at_every_step(uint32_t durability, enum crashfs_reason reason,
                               enum crashfs_effect effect, bool is_sticky)
{
    for (uint64_t n = 1;; n++) {
        bool has_failed;

        set_up(durability);
        crashfs_fail(w.crashfs, n, reason, effect, is_sticky);
        work();
        has_failed = crashfs_has_failed(w.crashfs);
        if (w.wants_life != 0) {
            uint64_t acked = w.n_acked;

            assert_int_equal(w.wants_life, FIRST_LANE);
            for (uint64_t i = 1; i <= PUSHES; i++) {
                push(i);
            }
            settle_down();
            assert_int_equal(w.n_acked, acked);
        }
        stop();
        crashfs_fail(w.crashfs, 0, reason, effect, false);
        if (durability == PS_FSYNC && n % 2 == 0) {
            crashfs_crash(w.crashfs, CRASHFS_RANDOM, n);
        }
        start();
        settle_down();
        check_rows();
        stop();
        if (!has_failed) {
            break;
        }
    }
}

static void an_error_of_the_disk_is_never_an_acknowledgement(void **state)
{
    (void)state;
    for (uint32_t d = PS_LOG; d <= PS_FSYNC; d++) {
        for (int effect = CRASHFS_NOT_DONE; effect <= CRASHFS_DONE; effect++) {
            fail_at_every_step(d, CRASHFS_EIO, (enum crashfs_effect)effect,
                               false);
            fail_at_every_step(d, CRASHFS_ENOSPC, (enum crashfs_effect)effect,
                               true);
        }
    }
}

/* ---- damage ------------------------------------------------------------- */

enum { FEW = 5 };

static void few_pushes(void)
{
    set_up(PS_LOG);
    settle_down();
    for (uint64_t i = 1; i <= FEW; i++) {
        push(i);
        settle_down();
    }
    /* A while later: what is settled is said behind it. */
    w.net.now_us += 2000000;
    settle_down();
    stop();
}

/* Behind the last frame there is a record that settles it: so damage to any
 * byte of any of them is found. Of that record itself, and of nothing else, it
 * is taken for the end. */
static void every_byte_that_is_flipped_is_found(void **state)
{
    size_t size = 1;
    uint64_t n_found = 0;
    char path[128];
    struct buf b;

    (void)state;
    for (size_t at = 0; at < size; at++) {
        few_pushes();
        buf_init(&b);
        size = read_log(path, &b);
        buf_fini(&b);
        assert_int_equal(
            crashfs_flip(w.crashfs, path, 8 * at + at % 8), PS_OK);
        start();
        settle_down();
        if (at < size - LOGFILE_HEADER_BYTES) {
            assert_true(load_has_failed());
            assert_int_equal(count_of(1), -1);
            n_found++;
        } else {
            check_rows();
        }
        stop();
    }
    assert_true(n_found > 1000);
}

/* A log cut short anywhere is that of a shorter life: no push of before the
 * cut is missing, none is there in part. */
static void every_length_is_read_as_far_as_it_goes(void **state)
{
    size_t size = 1;
    char path[128];

    (void)state;
    for (size_t at = LOGFILE_HEADER_BYTES; at < size || size == 1; at++) {
        struct fs *fs;
        struct buf b;
        int last = 1;
        uint64_t n = 0;

        few_pushes();
        buf_init(&b);
        size = read_log(path, &b);
        fs = crashfs_fs(w.crashfs);
        assert_int_equal(fs->ops->unlink(fs, path, NULL), PS_OK);
        assert_int_equal(
            fs->ops->write_new(fs, path, b.data, at, true, NULL), PS_OK);
        buf_fini(&b);
        start();
        settle_down();
        assert_false(load_has_failed());
        for (uint64_t i = 1; i <= FEW; i++) {
            int count = count_of(i);

            assert_true(count <= last && count >= 0);
            last = count;
            n += (uint64_t)count;
        }
        if (at == size - LOGFILE_HEADER_BYTES) {
            assert_int_equal(n, FEW);
        }
        stop();
    }
}

/* With the name of a planted fault: then some test must fail. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_waits_for_the_write),
        cmocka_unit_test(an_answer_waits_for_the_sync),
        cmocka_unit_test(a_push_to_memory_does_not_wait),
        cmocka_unit_test(
            what_comes_while_the_disk_is_busy_is_one_write_and_one_sync),
        cmocka_unit_test(a_repeat_waits_like_its_original),
        cmocka_unit_test(resolve_waits_for_the_commit_of_what_it_reports),
        cmocka_unit_test(before_the_log_is_there_pushes_are_put_off),
        cmocka_unit_test(a_log_that_the_store_does_not_know_takes_nothing),
        cmocka_unit_test(the_next_life_has_what_was_acknowledged),
        cmocka_unit_test(a_third_life_has_the_pushes_of_both),
        cmocka_unit_test(nothing_behind_the_recorded_end_is_read),
        cmocka_unit_test(a_log_that_is_gone_is_an_error),
        cmocka_unit_test(segments_behind_the_oldest_kept_cut_are_removed),
        cmocka_unit_test(logs_of_former_lanes_stay_until_this_lane_has_cut),
        cmocka_unit_test(a_segment_that_is_short_is_an_error),
        cmocka_unit_test(a_reading_that_failed_is_tried_again),
        cmocka_unit_test(a_killed_process_loses_nothing_at_log),
        cmocka_unit_test(a_killed_process_loses_nothing_at_fsync),
        cmocka_unit_test(a_power_cut_loses_nothing_at_fsync),
        cmocka_unit_test(an_error_of_the_disk_is_never_an_acknowledgement),
        cmocka_unit_test(every_byte_that_is_flipped_is_found),
        cmocka_unit_test(every_length_is_read_as_far_as_it_goes),
    };
    int rc;

#ifdef PS_TEST_HOOKS
    if (argc > 1 && !probe_plant(argv[1])) {
        return 0; /* there is none of that name: it was not found */
    }
#else
    (void)argc;
    (void)argv;
#endif
    rc = cmocka_run_group_tests(tests, NULL, NULL);

    crashfs_free(w.crashfs);
    return rc;
}
