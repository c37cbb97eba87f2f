/* log_stage.c - what the tests of a shard's log share. */
#include "log_stage.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/probe.h"
#include "lib/armed.h"
#include "lib/draft.h"
#include "udf/chain.h"

struct logs logs;
const char *const logs_folder = "00000000000000000000000000000000";
static const char *const add = "BuildHashSlice(insert)>AssignAddUpdater";
static const char *const read_rows = "BuildHashSlice>TransSlice";

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
        logs.wants_life = number;
    }
    logs.wants_plan = logs.wants_plan || what == SHARD_WANT_PLAN;
}

static void on_saved(struct shard_owner *owner, uint32_t shard)
{
    (void)owner;
    (void)shard;
}

static struct order *enqueue(void)
{
    assert_true(logs.n < QUEUE);
    logs.n++;
    return &logs.queue[(logs.first + logs.n - 1) % QUEUE];
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
    struct shard_log_record *has = &logs.records[wanted->lane];
    struct shard_log_record out;

    if (wanted->state > has->state) {
        *has = *wanted;
    }
    out = *has;
    out.lane = wanted->lane;
    out.status = PS_OK;
    if (logs.store_fails > 0) {
        logs.store_fails--;
        out.status = PS_EIO;
    }
    ARMED(shard_on_log_record(logs.shard, &out));
}

/* Collects the answers that have been sent. */
static void collect(void)
{
    struct tape_frame *a;

    while ((a = tape_take(&logs.net)) != NULL) {
        if (a->h.type == WIRE_RUN && a->h.seq != 0 && a->h.status == PS_OK &&
            a->h.seq <= PUSHES) {
            logs.n_acked += !logs.acked[a->h.seq];
            logs.acked[a->h.seq] = true;
        }
        tape_free(a);
    }
}

/* Does what the disk or the store was asked first; false: nothing, or dead. */
bool logs_step(void)
{
    struct order o = logs.queue[logs.first % QUEUE];
    struct disk_result r = {.why = ""};
    struct buf data;
    struct err e = {.text = ""};

    if (logs.n == 0 || logs.steps_left == 0) {
        return false;
    }
    logs.first++;
    logs.n--;
    if (o.is_record) {
        answer_record(&o.record);
        return true;
    }
    logs.steps_left--;
    buf_init(&data);
    r.op = o.request.op;
    r.tag = o.request.tag;
    r.status = disk_work_do(&logs.work, &o.request, &data, &e);
    r.why = e.text;
    r.data = data.data;
    r.size = data.size;
    ARMED(shard_on_log(logs.shard, &r));
    buf_fini(&data);
    collect();
    return true;
}

void logs_settle_down(void)
{
    for (;;) {
        while (logs_step()) {
        }
        if (logs.steps_left == 0 || shard_next(logs.shard) > logs.net.now_us) {
            return;
        }
        ARMED(shard_tick(logs.shard));
    }
}

static void send_frame(const struct frame_header *h, struct frame *f)
{
    (void)h;
    {
        struct frame_header decoded;

        assert_int_equal(frame_header_decode(f->data, &decoded), PS_OK);
        ARMED(shard_on_frame(logs.shard, logs.connection, &decoded, f));
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

    logs.connection = tape_accept(&logs.net);
    shard_on_open(logs.shard, logs.connection);
    buf_init(&b);
    wire_hello_encode(&m, &b);
    send_frame(&h, draft_frame(&h, b.data, b.size));
    buf_fini(&b);
    register_chain(add);
    register_chain(read_rows);
    tape_clear(&logs.net);
}

void logs_set_plan(void)
{
    struct draft *d = calloc(1, sizeof(*d));
    struct buf b;

    draft_init(d, logs.plan);
    for (uint64_t lane = FIRST_LANE; lane < logs.lane; lane++) {
        d->ended[d->w.n_ended++] =
            (struct wire_ended){lane, 0, 0, logs.plan - (logs.lane - lane), 0};
    }
    if (d->w.n_ended > 0) {
        d->ended[d->w.n_ended - 1].cut = logs.last_end;
    }
    d->w.ended = d->ended;
    draft_lane(d, logs.lane, 0, 0, "a:1");
    draft_variable(d, "rows", PS_HASH64, 0, 1)->durability = logs.durability;
    d->variables[0].born = logs.born;
    draft_variable(d, "plain", PS_HASH64, 0, 1);
    draft_part(d, ROWS, 0, LIMIT_BUCKETS, logs.lane, logs.plan);
    draft_part(d, PLAIN, 0, LIMIT_BUCKETS, logs.lane, logs.plan);
    buf_init(&b);
    draft_encode(d, &b);
    assert_int_equal(shard_set_plan(logs.shard, b.data, b.size), PS_OK);
    buf_fini(&b);
    free(d);
}

/* A process begins: the next lane. */
void logs_start(void)
{
    static const uint64_t open[] = {5};
    const struct shard_options options = {
        .server = 0, .shard = 0, .kern = &kern_generic, .log = &logs.disk};
    struct buf b;

    disk_work_init(&logs.work, crashfs_fs(logs.crashfs));
    logs.disk.submit = submit;
    logs.owner = (struct shard_owner){
        .want = on_want, .saved = on_saved, .log_record = on_record};
    tape_init(&logs.net);
    logs.net.now_us = 1000000;
    logs.steps_left = NEVER;
    logs.n = 0;
    logs.wants_life = 0;
    logs.lane = logs.lane == 0 ? FIRST_LANE : logs.lane + 1;
    logs.plan += 3;
    assert_int_equal(
        shard_new(&logs.shard, &options, &logs.net.net, NULL, &logs.owner),
        PS_OK);
    shard_start_lane(logs.shard, logs.lane, 0);
    shard_set_lease(logs.shard, logs.lane, UINT64_MAX);
    buf_init(&b);
    draft_sessions(&b, 10, open, 1);
    assert_int_equal(shard_set_sessions(logs.shard, 1, b.data, b.size), PS_OK);
    buf_fini(&b);
    logs_set_plan();
    connect();
}

/* The process is gone, with what it had asked for. */
void logs_stop(void)
{
    shard_free(logs.shard);
    logs.shard = NULL;
    disk_work_fini(&logs.work);
    tape_fini(&logs.net);
    logs.n = 0;
}

void logs_set_up(uint32_t durability)
{
    log_set_sink(ignore_log);
    if (logs.crashfs != NULL) {
        crashfs_free(logs.crashfs);
    }
    memset(&logs, 0, sizeof(logs));
    logs.crashfs = crashfs_new();
    logs.durability = durability;
    logs.plan = 10;
    logs_start();
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

void logs_push_to(uint32_t variable, uint64_t seq, uint64_t cut)
{
    const struct frame_header h = {.type = WIRE_RUN,
                                   .request = seq,
                                   .session = 5,
                                   .lane = logs.lane,
                                   .seq = seq,
                                   .first = 1,
                                   .plan = logs.plan,
                                   .cut = cut};
    const uint64_t key = seq;
    const float one = 1;
    const struct run_op op = op_of(add, variable, &key, &one);

    send_frame(&h, draft_run(&h, &op, 1));
    collect();
}

void logs_push(uint64_t seq)
{
    logs_push_to(ROWS, seq, 1);
}

/* How often the push was applied; -1: the row cannot be read. */
int logs_count_of(uint64_t key)
{
    const struct frame_header h = {.type = WIRE_RUN,
                                   .request = 1,
                                   .lane = logs.lane,
                                   .plan = logs.plan,
                                   .cut = 1};
    const struct run_op op = op_of(read_rows, ROWS, &key, NULL);
    struct tape_frame *a;
    struct run_answer *parts;
    struct arena arena;
    uint32_t n;
    int count = -1;

    send_frame(&h, draft_run(&h, &op, 1));
    a = tape_take(&logs.net);
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

int logs_fate_of(uint64_t lane, uint64_t seq)
{
    const struct frame_header h = {.type = WIRE_RESOLVE,
                                   .request = 1,
                                   .session = 5,
                                   .lane = logs.lane,
                                   .plan = logs.plan};
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
    a = tape_take(&logs.net);
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

bool logs_load_has_failed(void)
{
    struct shard_report r;

    shard_report(logs.shard, &r);
    return r.load_failed;
}

/* Every acknowledged push is there, none twice; resolve says the same. */
void logs_check_rows(void)
{
    assert_false(logs_load_has_failed());
    for (uint64_t i = 1; i <= PUSHES; i++) {
        int count = logs_count_of(i);

        assert_in_range(count, 0, 1);
        if (logs.acked[i] && count != 1) {
            fail_msg("push %d was acknowledged and is lost", (int)i);
        }
        if (logs.lane == FIRST_LANE + 1) {
            assert_int_equal(logs_fate_of(FIRST_LANE, i),
                             count == 1 ? PS_OK : PS_ECANCELED);
        }
    }
}

/* Pushes in flights of several, a cut among them. */
void logs_work(void)
{
    logs_settle_down();
    for (uint64_t i = 1; i <= PUSHES; i++) {
        logs_push(i);
        if (i % 3 != 0) {
            (void)logs_step();
        }
        if (i == PUSHES / 2) {
            int rc = shard_log_cut(logs.shard, 4);

            assert_true(rc == PS_OK || rc == PS_ENOTREADY);
        }
        if (i % 8 == 0) {
            logs_settle_down();
        }
    }
    logs_settle_down();
}

size_t logs_read_log(char path[128], struct buf *b)
{
    struct fs *fs = crashfs_fs(logs.crashfs);

    snprintf(path, 128, "%s/lane-7-000000000001.log", logs_folder);
    assert_int_equal(fs->ops->read(fs, path, 1 << 20, b, NULL), PS_OK);
    return b->size;
}

void logs_arm(uint64_t n)
{
    armed_at(n);
}

bool logs_has_failed(void)
{
    return armed.has_failed;
}

int logs_plant(int argc, char **argv)
{
#ifdef PS_TEST_HOOKS
    if (argc > 1 && !probe_plant(argv[1])) {
        fprintf(stderr, "there is no plant %s\n", argv[1]);
        return 1;
    }
#else
    (void)argc;
    (void)argv;
#endif
    return 0;
}
