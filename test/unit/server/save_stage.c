/* save_stage.c - a few shards on one disk: they save, others load. */
#include "save_stage.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/log.h"
#include "udf/chain.h"

static const char *const push_hash = "BuildHashSlice(insert)>AdagradUpdater";
static const char *const push_sums = "BuildDenseSlice>AssignAddUpdater";
static const char *const push_later = "BuildHashSlice(insert)>AssignAddUpdater";
static const double adagrad[] = {0.5, 0.125};

enum { BATCH = 512, LANES = 512 };

/* What the store has of logs. */
static struct shard_log_record records[LANES];

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
    (void)what;
    (void)number;
}

static void on_saved(struct shard_owner *owner, uint32_t shard)
{
    (void)owner;
    (void)shard;
}

/* As log_record.c does it, but at once: what is asked is answered by the log's
 * queue, in its turn. */
static void on_log_record(struct shard_owner *owner, uint32_t shard,
                          const struct shard_log_record *wanted)
{
    struct save_shard *s = CONTAINER_OF(owner, struct save_shard, owner);

    (void)shard;
    assert_true(wanted->lane < LANES);
    if (wanted->state > records[wanted->lane].state) {
        records[wanted->lane] = *wanted;
    }
    s->asked_lane = wanted->lane;
    s->has_asked = true;
}

static void submit(struct disk *disk, const struct disk_request *r)
{
    struct save_disk *d = CONTAINER_OF(disk, struct save_disk, disk);

    assert_true(d->n < SAVE_QUEUE);
    d->queue[d->n++] = *r;
}

/* ---- frames ------------------------------------------------------------- */

static struct frame_header header_of(struct save_shard *s, enum wire_type type)
{
    return (struct frame_header){
        .type = (uint16_t)type, .request = 1, .lane = s->lane, .cut = 1};
}

static bool has_failed(const struct save_group *g)
{
    return g->power != NULL && crashfs_has_failed(g->power);
}

/* The status of its answer; PS_EUNSURE: none, for the power has gone. */
static int hand_in(struct save_group *g, struct save_shard *s, struct frame *f)
{
    struct frame_header h;
    struct tape_frame *a;
    int status;

    assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
    shard_on_frame(s->shard, s->connection, &h, f);
    frame_put(f);
    a = tape_take(&s->net);
    while (a == NULL && save_step(g)) {
        a = tape_take(&s->net);
    }
    if (a == NULL) {
        assert_true(has_failed(g));
        return PS_EUNSURE;
    }
    status = a->h.status;
    tape_free(a);
    return status;
}

static void register_chain(struct save_group *g, struct save_shard *s,
                           const char *definition)
{
    struct frame_header h = header_of(s, WIRE_CHAIN);
    struct wire_chain m = {chain_id(definition), definition};

    buf_clear(&g->record);
    wire_chain_encode(&m, &g->record);
    assert_int_equal(
        hand_in(g, s, draft_frame(&h, g->record.data, g->record.size)), PS_OK);
}

/* One op to the shard, as its next number; whether it was acknowledged. */
static bool push_op(struct save_group *g, struct save_shard *s, uint64_t cut,
                    const struct run_op *op)
{
    struct frame_header h = header_of(s, WIRE_RUN);
    int status = PS_EBUSY;

    h.session = g->session;
    h.seq = ++s->seq;
    h.first = h.seq - base_min_u64(g->behind, h.seq - 1);
    h.plan = g->plan.w.plan;
    h.cut = cut;
    for (int i = 0; i < 100 && status == PS_EBUSY; i++) {
        status = hand_in(g, s, draft_run(&h, op, 1));
        if (status == PS_EBUSY) {
            (void)save_step(g);
        }
    }
    if (!has_failed(g)) {
        assert_int_equal(status, PS_OK);
    }
    return status == PS_OK;
}

static uint32_t bucket_at(const struct save_group *g, uint32_t i)
{
    return LIMIT_BUCKETS / g->n * i + (i == g->n ? LIMIT_BUCKETS % g->n : 0);
}

/* Keys of [first, first + n) that are in the shard's buckets. */
static uint32_t pick(const struct save_group *g, uint32_t shard, uint64_t first,
                     size_t n, uint64_t *keys)
{
    uint32_t k = 0;

    for (uint64_t key = first; key < first + n; key++) {
        uint32_t bucket = hash_bucket(hash_key(key));

        if (bucket >= bucket_at(g, shard) && bucket < bucket_at(g, shard + 1)) {
            keys[k++] = key;
        }
    }
    return k;
}

static void push_hash_rows(struct save_group *g, uint32_t i, uint64_t cut,
                           uint64_t first, size_t n, float v)
{
    uint64_t keys[BATCH];
    float values[2 * BATCH];
    struct run_op op = {.chain = chain_id(push_hash),
                        .variable = HASH,
                        .begin = bucket_at(g, i),
                        .end = bucket_at(g, i + 1),
                        .dim = 2,
                        .keys = keys,
                        .values = values,
                        .params = adagrad,
                        .n_params = 2};

    op.n_keys = pick(g, i, first, n, keys);
    op.n_values = 2 * op.n_keys;
    for (uint32_t k = 0; k < op.n_keys; k++) {
        values[2 * k] = v + (float)(keys[k] % 7);
        values[2 * k + 1] = -v;
    }
    if (op.n_keys > 0) {
        (void)push_op(g, &g->shards[i], cut, &op);
    }
}

static void push_sums_rows(struct save_group *g, uint32_t i, uint64_t cut,
                           float v)
{
    static float values[3 * SUMS_ROWS];
    struct run_op op = {.chain = chain_id(push_sums),
                        .variable = SUMS,
                        .begin = bucket_at(g, i),
                        .end = bucket_at(g, i + 1),
                        .dim = 3,
                        .values = values};
    uint64_t begin, end;

    plan_dense_rows(SUMS_ROWS, op.begin, op.end, &begin, &end);
    for (uint64_t k = 0; k < 3 * (end - begin); k++) {
        values[k] = v + (float)k;
    }
    op.n_values = (uint32_t)(3 * (end - begin));
    if (end > begin) {
        (void)push_op(g, &g->shards[i], cut, &op);
    }
}

void save_push(struct save_group *g, uint64_t cut, uint64_t first, size_t n,
               float v)
{
    while (n > 0) {
        size_t some = base_min_u64(n, BATCH);

        for (uint32_t i = 0; i < g->n; i++) {
            push_hash_rows(g, i, cut, first, some, v);
        }
        first += some;
        n -= some;
    }
    for (uint32_t i = 0; i < g->n && first % 2 == 0; i++) {
        push_sums_rows(g, i, cut, v);
    }
}

bool save_push_later(struct save_group *g, uint64_t cut, uint64_t key, float v)
{
    bool is_acked = false;

    for (uint32_t i = 0; i < g->n; i++) {
        struct run_op op = {.chain = chain_id(push_later),
                            .variable = LATER,
                            .begin = bucket_at(g, i),
                            .end = bucket_at(g, i + 1),
                            .dim = 1,
                            .keys = &key,
                            .values = &v,
                            .n_values = 1};
        uint64_t found[1];

        op.n_keys = pick(g, i, key, 1, found);
        if (op.n_keys > 0) {
            is_acked = push_op(g, &g->shards[i], cut, &op);
        }
    }
    return is_acked;
}

void save_erase(struct save_group *g, uint64_t first, size_t n)
{
    for (uint64_t key = first; key < first + n; key++) {
        uint32_t bucket = hash_bucket(hash_key(key));

        for (uint32_t i = 0; i < g->n; i++) {
            struct shard_part *p = shard_part(g->shards[i].shard, HASH, bucket);

            if (p != NULL) {
                assert_int_equal(table_erase(p->table, &key, 1), PS_OK);
            }
        }
    }
}

/* ---- plans -------------------------------------------------------------- */

static void give_parts(struct save_group *g, uint32_t variable)
{
    for (uint32_t i = 0; i < g->n; i++) {
        draft_part(&g->plan, variable, bucket_at(g, i), bucket_at(g, i + 1),
                   g->shards[i].lane, g->plan.w.plan);
    }
}

static void draft_group(struct save_group *g, const char *folder,
                        bool with_later, bool with_logs)
{
    struct wire_variable *v;

    draft_init(&g->plan, with_logs ? g->shards[0].lane : 1);
    g->plan.w.tracks_changes = 1;
    for (uint32_t i = 0; i < g->n; i++) {
        draft_lane(&g->plan, g->shards[i].lane, 0, i, "a:1");
    }
    v = draft_variable(&g->plan, "hash", PS_HASH64, 0, 2);
    v->updater = "AdagradUpdater";
    v->n_params = 2;
    v->param0 = adagrad[0];
    v->param1 = adagrad[1];
    draft_variable(&g->plan, "sums", PS_DENSE, SUMS_ROWS, 3);
    give_parts(g, HASH);
    give_parts(g, SUMS);
    if (with_later) {
        v = draft_variable(&g->plan, "later", PS_HASH64, 0, 1);
        v->durability = with_logs ? PS_FSYNC : PS_MEMORY;
        give_parts(g, LATER);
    }
    for (uint64_t lane = 7; lane < g->shards[0].lane && with_logs; lane++) {
        if (records[lane].state != SHARD_LOG_NONE) {
            g->plan.ended[g->plan.w.n_ended++] =
                (struct wire_ended){.lane = lane, .plan = lane + 50};
        }
    }
    if (folder != NULL) {
        for (uint64_t lane = 7;
             lane < g->shards[0].lane && lane < 7 + SAVE_SHARDS && !with_logs;
             lane++) {
            g->plan.ended[g->plan.w.n_ended++] =
                (struct wire_ended){.lane = lane, .plan = 1};
        }
        g->load = (struct wire_load){.since = g->plan.w.plan,
                                     .folder = folder,
                                     .name = "",
                                     .brings_lanes = 1};
        g->plan.w.loads = &g->load;
        g->plan.w.n_loads = 1;
    }
}

static void set_plan(struct save_group *g)
{
    draft_encode(&g->plan, &g->record);
    for (uint32_t i = 0; i < g->n; i++) {
        assert_int_equal(
            shard_set_plan(g->shards[i].shard, g->record.data, g->record.size),
            PS_OK);
    }
}

void save_plan(struct save_group *g)
{
    g->plan.w.plan++;
    set_plan(g);
}

void save_declare_later(struct save_group *g)
{
    g->plan.w.plan++;
    draft_variable(&g->plan, "later", PS_HASH64, 0, 1);
    give_parts(g, LATER);
    set_plan(g);
}

static void begin_shard(struct save_group *g, struct fs *fs, uint32_t i,
                        bool with_logs)
{
    static const uint64_t open[] = {SAVE_SESSION};
    struct save_shard *s = &g->shards[i];
    const struct shard_options options = {.shard = i,
                                          .kern = &kern_generic,
                                          .save_bytes = 4096,
                                          .log =
                                              with_logs ? &s->log.disk : NULL};
    struct frame_header h = header_of(s, WIRE_HELLO);
    struct wire_hello m = {.version = WIRE_VERSION, .role = "client"};

    tape_init(&s->net);
    s->owner = (struct shard_owner){
        .want = on_want, .saved = on_saved, .log_record = on_log_record};
    s->disk.disk.submit = submit;
    disk_work_init(&s->disk.work, fs);
    s->log.disk.submit = submit;
    disk_work_init(&s->log.work, fs);
    assert_int_equal(
        shard_new(&s->shard, &options, &s->net.net, &s->disk.disk, &s->owner),
        PS_OK);
    shard_start_lane(s->shard, s->lane, 0);
    shard_set_lease(s->shard, s->lane, UINT64_MAX);
    draft_sessions(&g->record, SAVE_SESSION + 1, open, 1);
    assert_int_equal(
        shard_set_sessions(s->shard, 1, g->record.data, g->record.size), PS_OK);
    s->connection = tape_accept(&s->net);
    shard_on_open(s->shard, s->connection);
    buf_clear(&g->record);
    wire_hello_encode(&m, &g->record);
    assert_int_equal(
        hand_in(g, s, draft_frame(&h, g->record.data, g->record.size)), PS_OK);
    register_chain(g, s, push_hash);
    register_chain(g, s, push_sums);
    register_chain(g, s, push_later);
}

static void begin(struct save_group *g, struct fs *fs, uint32_t n,
                  uint64_t first_lane, const char *folder, bool with_later,
                  bool with_logs)
{
    log_set_sink(ignore_log);
    memset(g, 0, sizeof(*g));
    buf_init(&g->record);
    g->n = n;
    g->cut = 1;
    g->session = SAVE_SESSION;
    for (uint32_t i = 0; i < n; i++) {
        g->shards[i].lane = first_lane + i;
        begin_shard(g, fs, i, with_logs);
    }
    draft_group(g, folder, with_later, with_logs);
    set_plan(g);
}

void save_begin(struct save_group *g, struct fs *fs, uint32_t n,
                uint64_t first_lane, const char *folder)
{
    begin(g, fs, n, first_lane, folder, false, false);
}

void save_begin_with_later(struct save_group *g, struct fs *fs, uint32_t n,
                           uint64_t first_lane, const char *folder)
{
    begin(g, fs, n, first_lane, folder, true, false);
}

void save_begin_with_logs(struct save_group *g, struct fs *fs, uint32_t n,
                          uint64_t first_lane, const char *folder)
{
    begin(g, fs, n, first_lane, folder, true, true);
}

void save_forget_logs(void)
{
    memset(records, 0, sizeof(records));
}

void save_end(struct save_group *g)
{
    for (uint32_t i = 0; i < g->n; i++) {
        struct save_shard *s = &g->shards[i];

        shard_free(s->shard);
        disk_work_fini(&s->disk.work);
        disk_work_fini(&s->log.work);
        tape_fini(&s->net);
    }
    buf_fini(&g->record);
}

/* ---- the disk ----------------------------------------------------------- */

static bool answer_record(struct save_shard *s)
{
    struct shard_log_record r = records[s->asked_lane];

    if (!s->has_asked) {
        return false;
    }
    s->has_asked = false;
    r.lane = s->asked_lane;
    r.status = PS_OK;
    shard_on_log_record(s->shard, &r);
    return true;
}

static bool do_request(struct save_shard *s, struct save_disk *d)
{
    struct disk_request r;
    struct disk_result a;
    struct buf out;
    struct err e;

    if (d->n == 0) {
        return false;
    }
    r = d->queue[0];
    d->n--;
    memmove(d->queue, d->queue + 1, d->n * sizeof(d->queue[0]));
    buf_init(&out);
    e.text[0] = '\0';
    a = (struct disk_result){.op = r.op, .tag = r.tag};
    a.status = disk_work_do(&d->work, &r, &out, &e);
    a.why = a.status == PS_OK ? "" : e.text;
    a.data = out.data;
    a.size = out.size;
    (d == &s->log ? shard_on_log : shard_on_disk)(s->shard, &a);
    buf_fini(&out);
    return true;
}

/* A load that is to be tried again would be for ever. */
static bool is_stuck(const struct shard *s)
{
    struct shard_report r;

    shard_report(s, &r);
    return s->load_why[0] != '\0' || r.load_failed != 0;
}

bool save_step(struct save_group *g)
{
    for (uint32_t i = 0; i < g->n; i++) {
        struct save_shard *s = &g->shards[i];

        uint64_t next = shard_next(s->shard);

        if (g->disk_hangs) {
            s->net.now_us += 50000;
            shard_tick(s->shard);
            continue;
        }
        if (has_failed(g)) {
            return false;
        }
        if (next <= s->net.now_us || answer_record(s) ||
            do_request(s, &s->log) || do_request(s, &s->disk)) {
            shard_tick(s->shard);
            return true;
        }
        if (next != UINT64_MAX && !is_stuck(s->shard)) {
            s->net.now_us = next;
            return true;
        }
    }
    return false;
}

void save_run(struct save_group *g)
{
    while (save_step(g)) {
    }
}

/* ---- a save ------------------------------------------------------------- */

void save_order(struct save_group *g, uint64_t cut, uint64_t base,
                enum wire_save_state state)
{
    struct wire_save w = {.nonce = 1,
                          .term = 1,
                          .ticket = cut,
                          .cut = cut,
                          .state = state,
                          .plan = g->plan.w.plan,
                          .base = base,
                          .oldest = g->oldest,
                          .name = "",
                          .why = ""};

    ckpt_folder_name(cut, 1, false, g->folder);
    w.folder = g->folder;
    g->cut = cut;
    g->base = base;
    buf_clear(&g->record);
    wire_save_encode(&w, &g->record);
    for (uint32_t i = 0; i < g->n; i++) {
        assert_int_equal(
            shard_set_save(g->shards[i].shard, g->record.data, g->record.size),
            PS_OK);
    }
}

static int make_manifest(struct save_group *g, struct buf *out)
{
    struct ckpt_lane lanes[SAVE_SHARDS];
    struct ckpt_place parts[3 * SAVE_SHARDS];
    struct ckpt_session session = {
        SAVE_SESSION,
        3,
        {(const uint8_t *)g->folder, (uint32_t)strlen(g->folder)}};
    struct ckpt_manifest m = {.format = CKPT_FORMAT,
                              .cluster_high = 1,
                              .cluster_low = 2,
                              .cut = g->cut,
                              .term = 1,
                              .base = g->base,
                              .plan = g->plan.w.plan,
                              .name = "",
                              .next_session = SAVE_SESSION + 1,
                              .next_lane = g->shards[g->n - 1].lane + 1,
                              .next_variable = g->plan.w.next_variable,
                              .n_variables = g->plan.w.n_variables,
                              .variables = g->plan.variables,
                              .parts = parts,
                              .n_lanes = g->n,
                              .lanes = lanes,
                              .n_sessions = 1,
                              .sessions = &session};

    for (uint32_t i = 0; i < g->plan.w.n_parts; i++) {
        const struct wire_part *p = &g->plan.parts[i];

        if (g->plan.variables[p->variable - 1].no_save == 0) {
            parts[m.n_parts++] =
                (struct ckpt_place){p->variable, p->begin, p->end, p->lane};
        }
    }
    for (uint32_t i = 0; i < g->n; i++) {
        struct shard_report r;

        shard_report(g->shards[i].shard, &r);
        if (r.saved != SAVED_DONE || r.cut != g->cut) {
            snprintf(g->why, sizeof(g->why), "%.150s", r.why);
            return r.saved == SAVED_NEEDS_WHOLE ? PS_EPLAN : PS_ENOTREADY;
        }
        lanes[i] = (struct ckpt_lane){g->shards[i].lane, r.index_bytes,
                                      r.index_checksum, r.rows};
    }
    return ckpt_manifest_encode(&m, out);
}

int save_close(struct save_group *g, struct fs *fs)
{
    struct disk_request write = {.op = DISK_WRITE_WHOLE};
    struct disk_request rename = {.op = DISK_RENAME};
    char from[CKPT_NAME_MAX + 1];
    struct disk_work work;
    struct buf text, none;
    struct err e;
    int rc;

    buf_init(&none);
    save_order(g, g->cut, g->base, SAVE_CLOSED);
    save_run(g);
    buf_init(&text);
    rc = make_manifest(g, &text);
    ckpt_saving_name(g->cut, 1, g->plan.w.cluster_high, g->plan.w.cluster_low,
                     from);
    memcpy(rename.path, from, sizeof(from));
    snprintf(rename.to, sizeof(rename.to), "%s", g->folder);
    snprintf(write.path, sizeof(write.path), "%s/%s", from, CKPT_MANIFEST);
    write.data = text.data;
    write.size = text.size;
    disk_work_init(&work, fs);
    if (rc == PS_OK) {
        rc = disk_work_do(&work, &write, &none, &e);
    }
    if (rc == PS_OK) {
        rc = disk_work_do(&work, &rename, &none, &e);
    }
    disk_work_fini(&work);
    buf_fini(&text);
    return rc;
}

int save_finish(struct save_group *g, struct fs *fs)
{
    int rc = save_close(g, fs);

    save_order(g, g->cut, g->base, rc == PS_OK ? SAVE_DONE : SAVE_FAILED);
    save_run(g);
    return rc;
}

void save_whole(struct save_group *g, struct fs *fs, uint64_t cut,
                uint64_t base)
{
    save_order(g, cut, base, SAVE_OPEN);
    save_run(g);
    assert_int_equal(save_finish(g, fs), PS_OK);
}

/* ---- what there is ------------------------------------------------------ */

bool save_is_loading(const struct save_group *g)
{
    for (uint32_t i = 0; i < g->n; i++) {
        const struct shard *s = g->shards[i].shard;

        for (size_t k = 0; k < s->n_parts; k++) {
            if (s->parts[k].is_loading) {
                return true;
            }
        }
    }
    return false;
}

bool save_has_failed_to_load(struct save_group *g, char *why, size_t size)
{
    for (uint32_t i = 0; i < g->n; i++) {
        struct shard_report r;

        shard_report(g->shards[i].shard, &r);
        if (r.load_failed) {
            snprintf(why, size, "%s", r.why);
            return true;
        }
    }
    return false;
}

struct sum {
    uint64_t sum;
    uint64_t n;
};

static void add_row(void *context, uint32_t variable, uint64_t key,
                    const float *values, uint32_t dim)
{
    struct sum *s = context;
    /* With the slot of HASH, which stands behind the values. */
    uint32_t floats = variable == HASH ? 2 * dim : dim;

    s->sum += hash_key(hash_bytes(values, floats * sizeof(*values)) ^
                       hash_key(key + variable));
    s->n++;
}

void save_walk(struct save_group *g,
               void (*fn)(void *context, uint32_t variable, uint64_t key,
                          const float *values, uint32_t dim),
               void *context)
{
    for (uint32_t i = 0; i < g->n; i++) {
        shard_walk(g->shards[i].shard, fn, context);
    }
}

static struct sum sum_of(struct save_group *g)
{
    struct sum s = {0};

    save_walk(g, add_row, &s);
    return s;
}

uint64_t save_sum(struct save_group *g)
{
    return sum_of(g).sum;
}

uint64_t save_count(struct save_group *g)
{
    return sum_of(g).n;
}

int save_resolve(struct save_group *g, uint64_t lane, uint64_t seq,
                 uint32_t bucket)
{
    return save_resolve_for(g, HASH, lane, seq, bucket);
}

int save_resolve_for(struct save_group *g, uint32_t variable, uint64_t lane,
                     uint64_t seq, uint32_t bucket)
{
    for (uint32_t i = 0; i < g->n; i++) {
        struct save_shard *s = &g->shards[i];
        struct frame_header h = header_of(s, WIRE_RESOLVE);
        const struct wire_range part = {variable, bucket, bucket + 1};
        const struct wire_resolve m = {.session = g->session,
                                       .lane = lane,
                                       .seq = seq,
                                       .parts = &part,
                                       .n_parts = 1};
        struct wire_resolve_answer answer;
        struct frame *f;
        struct tape_frame *a;
        struct arena arena;
        int fate;

        if (shard_part(s->shard, variable, bucket) == NULL) {
            continue;
        }
        h.plan = g->plan.w.plan;
        buf_clear(&g->record);
        wire_resolve_encode(&m, &g->record);
        f = draft_frame(&h, g->record.data, g->record.size);
        assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
        shard_on_frame(s->shard, s->connection, &h, f);
        frame_put(f);
        a = tape_take(&s->net);
        assert_non_null(a);
        assert_int_equal(a->h.status, PS_OK);
        arena_init(&arena);
        assert_int_equal(wire_resolve_answer_decode(frame_body(a->frame),
                                                    a->h.body_bytes, &arena,
                                                    &answer),
                         PS_OK);
        fate = -(int)answer.parts[0].status_negated;
        arena_fini(&arena);
        tape_free(a);
        return fate;
    }
    return PS_ENOTFOUND;
}
