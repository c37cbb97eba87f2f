/* scheduler_stage.c - what the tests of the scheduler share. */
#include "scheduler_stage.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "coord/lease.h"

struct scheduler_stage stage;

static void ignore_log(enum log_level level, const char *text)
{
    (void)level;
    (void)text;
}

static void deliver(void *context, const struct coord_result *r)
{
    struct desk *d = context;

    scheduler_on_coord(d->scheduler, r);
}

static void submit(struct disk *disk, const struct disk_request *r)
{
    struct stage_disk *f = (struct stage_disk *)(void *)disk;

    if (f->n == f->room) {
        f->room = 2 * f->room + 8;
        f->requests = mem_try_resize(f->requests, f->room * sizeof(*r));
        assert_non_null(f->requests);
    }
    f->requests[f->n++] = *r;
}

bool stage_do_request(struct desk *d)
{
    struct stage_disk *f = &d->files;
    struct disk_request r;
    struct disk_result result;
    struct buf out;
    struct err e;

    if (f->n == 0 || f->hangs) {
        return false;
    }
    r = f->requests[0];
    memmove(f->requests, f->requests + 1, --f->n * sizeof(r));
    e.text[0] = '\0';
    buf_init(&out);
    result = (struct disk_result){.op = r.op, .tag = r.tag};
    result.status = disk_work_do(&f->work, &r, &out, &e);
    result.why = result.status == PS_OK ? "" : e.text;
    result.data = out.data;
    result.size = out.size;
    scheduler_on_disk(d->scheduler, &result);
    buf_fini(&out);
    return true;
}

void stage_open(struct desk *d, uint64_t nonce, const char *address)
{
    struct scheduler_options options = {.servers = stage.servers,
                                        .limits = stage.limits,
                                        .address = address,
                                        .lease_ms = LENGTH_MS,
                                        .keep =
                                            stage.keep != 0 ? stage.keep : 3,
                                        .full_every = stage.full_every,
                                        .accept_empty = stage.accept_empty,
                                        .successor_ms = stage.successor_ms,
                                        .save_wait_ms = stage.save_wait_ms,
                                        .consistent = stage.consistent};
    uint64_t now = stage.a.net.now_us;

    *d = (struct desk){.scheduler = NULL};
    if (stage.root != NULL) {
        options.checkpoints = "file:///checkpoints";
        disk_work_init(&d->files.work, stage.root);
        d->files.disk.submit = submit;
    }
    tape_init(&d->net);
    d->net.random = nonce;
    d->net.now_us = base_max_u64(now, d->net.now_us);
    shelf_init(&d->shelf, stage.fs, nonce, deliver, d);
    assert_int_equal(scheduler_new(&d->scheduler, &options, &d->shelf.coord,
                                   &d->net.net,
                                   stage.root != NULL ? &d->files.disk : NULL),
                     PS_OK);
    scheduler_start(d->scheduler);
}

void stage_close(struct desk *d)
{
    if (d->scheduler != NULL) {
        tape_free(d->answer);
        d->answer = NULL;
        scheduler_free(d->scheduler);
        d->scheduler = NULL;
        mem_free(d->files.requests);
        if (d->files.disk.submit != NULL) {
            disk_work_fini(&d->files.work);
        }
        shelf_fini(&d->shelf);
        tape_fini(&d->net);
    }
}

int stage_set_up(void **state)
{
    (void)state;
    log_set_sink(ignore_log);
    memset(&stage, 0, sizeof(stage));
    stage.fs = fs_memory_new();
    buf_init(&stage.record);
    arena_init(&stage.arena);
    arena_init(&stage.plans);
    for (size_t i = 0; i < ACTORS; i++) {
        buf_init(&stage.actors[i].body);
    }
    stage.servers = 1;
    stage_open(&stage.a, 100, "sched:1");
    return 0;
}

int stage_tear_down(void **state)
{
    (void)state;
    stage_close(&stage.a);
    stage_close(&stage.b);
    for (size_t i = 0; i < ACTORS; i++) {
        buf_fini(&stage.actors[i].body);
    }
    buf_fini(&stage.record);
    arena_fini(&stage.arena);
    arena_fini(&stage.plans);
    fs_memory_free(stage.fs);
    if (stage.root != NULL) {
        fs_memory_free(stage.root);
    }
    return 0;
}

static struct shelf *any_shelf(void)
{
    return stage.a.scheduler != NULL ? &stage.a.shelf : &stage.b.shelf;
}

struct wire_lease stage_lease(const char *key)
{
    struct wire_lease l = {.state = LEASE_ENDED};
    struct shelf *s = any_shelf();

    if (shelf_get(s, key) > 0) {
        arena_reset(&stage.arena);
        assert_int_equal(wire_lease_decode(s->data, s->size, &stage.arena, &l),
                         PS_OK);
    }
    return l;
}

/* Ended by somebody, or taken by another process: then it does not renew. */
static void renew(struct actor *a)
{
    struct wire_lease l = stage_lease(a->key);

    if (l.state == LEASE_TAKEN && l.nonce == a->nonce) {
        a->renewal++;
        draft_lease(&stage.record, a->nonce, a->renewal, LEASE_TAKEN, &a->body);
        shelf_put(any_shelf(), a->key, &stage.record);
    }
}

void stage_renew(void)
{
    for (size_t k = 0; k < ACTORS; k++) {
        if (stage.actors[k].is_alive) {
            renew(&stage.actors[k]);
        }
    }
}

static void step(struct desk *d)
{
    if (d->scheduler == NULL) {
        return;
    }
    d->net.now_us += 10 * MS;
    shelf_run(&d->shelf);
    if (scheduler_next(d->scheduler) <= d->net.now_us) {
        scheduler_tick(d->scheduler);
    }
    do {
        shelf_run(&d->shelf);
    } while (stage_do_request(d));
}

void stage_pass(uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += 10) {
        if (i % 500 == 0) {
            stage_renew();
        }
        step(&stage.a);
        step(&stage.b);
    }
}

static void put_actor(struct actor *a, const char *key)
{
    snprintf(a->key, sizeof(a->key), "%s", key);
    a->is_alive = true;
    a->nonce += 7000;
    a->renewal++;
    draft_lease(&stage.record, a->nonce, a->renewal, LEASE_TAKEN, &a->body);
    shelf_put(any_shelf(), a->key, &stage.record);
}

void stage_put_server(uint32_t id, uint64_t lane)
{
    static const char *const addresses[] = {"s0:1", "s1:1", "s2:1"};
    struct actor *a = &stage.actors[id];
    struct wire_shard shard = {.lane = lane, .address = addresses[id]};
    struct wire_server m = {.id = id,
                            .incarnation = lane,
                            .sessions_seen = 1,
                            .shards = &shard,
                            .n_shards = 1,
                            .has_log = stage.has_log};
    char key[COORD_KEY_MAX + 1];

    buf_clear(&a->body);
    wire_server_encode(&m, &a->body);
    snprintf(key, sizeof(key), "server/%u", id);
    put_actor(a, key);
}

void stage_report(uint32_t id, const struct wire_shard *shard)
{
    struct actor *a = &stage.actors[id];
    struct wire_shard said = *shard;
    struct wire_server m;

    arena_reset(&stage.arena);
    assert_int_equal(
        wire_server_decode(a->body.data, a->body.size, &stage.arena, &m),
        PS_OK);
    said.lane = m.shards[0].lane;
    said.address = m.shards[0].address;
    m.shards = &said;
    buf_clear(&stage.record);
    wire_server_encode(&m, &stage.record);
    buf_clear(&a->body);
    assert_int_equal(buf_append(&a->body, stage.record.data, stage.record.size),
                     PS_OK);
    renew(a);
}

/* Adds it to the table, as a client does when it opens. */
void stage_put_session(uint64_t session)
{
    struct shelf *s = any_shelf();
    struct wire_sessions m = {.nonce = 1, .cut = 1, .next = 1};
    struct wire_session open[8];
    char key[COORD_KEY_MAX + 1];

    arena_reset(&stage.arena);
    if (shelf_get(s, "sessions") > 0) {
        assert_int_equal(
            wire_sessions_decode(s->data, s->size, &stage.arena, &m), PS_OK);
    }
    assert_true(m.n_open < ARRAY_LEN(open));
    for (uint32_t i = 0; i < m.n_open; i++) {
        open[i] = m.open[i];
    }
    open[m.n_open] = (struct wire_session){
        .session = session, .worker = UINT32_MAX, .nonce = session, .cut = 1};
    m.n_open++;
    m.open = open;
    m.next = session + 1;
    buf_clear(&stage.record);
    wire_sessions_encode(&m, &stage.record);
    shelf_put(s, "sessions", &stage.record);
    snprintf(key, sizeof(key), "session/%u", (unsigned)session);
    put_actor(&stage.actors[ACTORS - 1], key);
}

bool stage_has_session(uint64_t session)
{
    struct shelf *s = any_shelf();
    struct wire_sessions m;

    arena_reset(&stage.arena);
    assert_true(shelf_get(s, "sessions") > 0);
    assert_int_equal(wire_sessions_decode(s->data, s->size, &stage.arena, &m),
                     PS_OK);
    for (uint32_t i = 0; i < m.n_open; i++) {
        if (m.open[i].session == session) {
            return true;
        }
    }
    return false;
}

struct wire_plan stage_plan(void)
{
    struct shelf *s = any_shelf();
    struct wire_plan w;
    void *copy;

    assert_true(shelf_get(s, "plan") > 0);
    copy = arena_take(&stage.plans, s->size);
    memcpy(copy, s->data, s->size);
    assert_int_equal(wire_plan_decode(copy, s->size, &stage.plans, &w), PS_OK);
    return w;
}

const struct wire_lane *stage_live(const struct wire_plan *w, uint64_t lane)
{
    for (uint32_t i = 0; i < w->n_lanes; i++) {
        if (w->lanes[i].lane == lane) {
            return &w->lanes[i];
        }
    }
    return NULL;
}

const struct wire_ended *stage_ended(const struct wire_plan *w, uint64_t lane)
{
    for (uint32_t i = 0; i < w->n_ended; i++) {
        if (w->ended[i].lane == lane) {
            return &w->ended[i];
        }
    }
    return NULL;
}

static void send(struct desk *d, enum wire_type type)
{
    struct frame_header h = {.type = (uint16_t)type, .request = 1};
    struct frame *f = draft_frame(&h, stage.record.data, stage.record.size);

    assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
    scheduler_on_frame(d->scheduler, d->connection, &h, f);
    frame_put(f);
}

void stage_send(struct desk *d, enum wire_type type, const struct buf *body)
{
    buf_clear(&stage.record);
    assert_int_equal(buf_append(&stage.record, body->data, body->size), PS_OK);
    send(d, type);
}

void stage_connect(struct desk *d)
{
    struct wire_hello m = {
        .version = WIRE_VERSION, .features = stage.features, .role = "client"};

    d->connection = tape_accept(&d->net);
    scheduler_on_open(d->scheduler, d->connection);
    buf_clear(&stage.record);
    wire_hello_encode(&m, &stage.record);
    send(d, WIRE_HELLO);
    assert_int_equal(stage_answer(d), PS_OK);
}

struct wire_variable stage_variable(const char *name, uint32_t dim)
{
    return (struct wire_variable){.name = name,
                                  .kind = PS_HASH64,
                                  .dim = dim,
                                  .updater = "MomentumUpdater",
                                  .n_params = 1,
                                  .param0 = 0.5};
}

void stage_send_declare(struct desk *d, const struct wire_variable *v)
{
    struct wire_declare m = {.variables = v, .n_variables = 1};

    buf_clear(&stage.record);
    wire_declare_encode(&m, &stage.record);
    send(d, WIRE_DECLARE);
}

void stage_send_drop(struct desk *d, const char *name)
{
    struct wire_drop m = {.name = name};

    buf_clear(&stage.record);
    wire_drop_encode(&m, &stage.record);
    send(d, WIRE_DROP);
}

int stage_answer(struct desk *d)
{
    tape_free(d->answer);
    d->answer = tape_take(&d->net);
    return d->answer == NULL ? NO_ANSWER : d->answer->h.status;
}

static int wait_for_answer(struct desk *d)
{
    int rc = stage_answer(d);

    for (int i = 0; i < 200 && rc == NO_ANSWER; i++) {
        stage_pass(10);
        rc = stage_answer(d);
    }
    return rc;
}

int stage_declare(struct desk *d, const struct wire_variable *v)
{
    stage_send_declare(d, v);
    return wait_for_answer(d);
}

int stage_drop(struct desk *d, const char *name)
{
    stage_send_drop(d, name);
    return wait_for_answer(d);
}

uint32_t stage_declared_id(const struct desk *d)
{
    struct wire_declare_answer m;

    assert_non_null(d->answer);
    arena_reset(&stage.arena);
    assert_int_equal(wire_declare_answer_decode(frame_body(d->answer->frame),
                                                d->answer->h.body_bytes,
                                                &stage.arena, &m),
                     PS_OK);
    assert_true(m.plan <= stage_plan().plan);
    return m.id;
}

const char *stage_text(const struct desk *d)
{
    struct wire_text m;

    assert_non_null(d->answer);
    assert_true(d->answer->h.body_bytes > 0);
    arena_reset(&stage.arena);
    assert_int_equal(wire_text_decode(frame_body(d->answer->frame),
                                      d->answer->h.body_bytes, &stage.arena,
                                      &m),
                     PS_OK);
    return m.text;
}

void stage_make_root(void)
{
    stage.root = fs_memory_new();
}

void stage_begin_with_root(uint64_t lane)
{
    stage_close(&stage.a);
    fs_memory_free(stage.fs);
    stage.fs = fs_memory_new();
    stage_make_root();
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(500);
    stage_put_server(0, lane);
    stage_pass(500);
    stage_connect(&stage.a);
}

void stage_send_save(uint64_t nonce, const char *name, uint32_t whole)
{
    struct wire_save_request m = {.nonce = nonce, .name = name, .whole = whole};
    struct buf b;

    buf_init(&b);
    wire_save_request_encode(&m, &b);
    stage_send(&stage.a, WIRE_SAVE, &b);
    buf_fini(&b);
}

struct wire_save stage_save_record(void)
{
    struct wire_save w = {.nonce = 0};
    struct shelf *s = any_shelf();
    void *copy;

    assert_true(shelf_get(s, "save") > 0);
    copy = arena_take(&stage.plans, s->size);
    memcpy(copy, s->data, s->size);
    assert_int_equal(wire_save_decode(copy, s->size, &stage.plans, &w), PS_OK);
    return w;
}

const char *stage_checkpoint(const struct ckpt_manifest *manifest)
{
    struct wire_variable variables[2] = {stage_variable("user", 8),
                                         stage_variable("bias", 1)};
    struct ckpt_part parts[2] = {
        {.variable = "user",
         .id = 1,
         .kind = PS_HASH64,
         .end = LIMIT_BUCKETS,
         .has_keys = true,
         .rows = 3,
         .dim = 8},
        {.variable = "bias",
         .id = 2,
         .kind = PS_DENSE,
         .end = LIMIT_BUCKETS,
         .rows = 5,
         .dim = 1},
    };
    const float row[8] = {1, 2, 3};
    struct ckpt_manifest m = *manifest;
    char *folder = arena_take(&stage.plans, CKPT_NAME_MAX + 1);
    struct ckpt_writer *w;
    struct err e;

    variables[0].id = 1;
    variables[1].id = 2;
    variables[1].kind = PS_DENSE;
    variables[1].rows = 5;
    m.format = CKPT_FORMAT;
    m.term = m.term != 0 ? m.term : 1;
    m.name = m.name != NULL ? m.name : "";
    m.variables = variables;
    m.n_variables = 2;
    m.next_session = 90;
    m.next_lane = 80;
    m.next_variable = m.next_variable != 0 ? m.next_variable : 3;
    assert_int_equal(ckpt_writer_begin(&w, stage.root, &m, &e), PS_OK);
    assert_int_equal(ckpt_writer_lane(w, 7, parts, 2, &e), PS_OK);
    for (uint64_t key = 1; key <= 3; key++) {
        assert_int_equal(ckpt_writer_row(w, 0, key, row, &e), PS_OK);
    }
    for (uint64_t key = 0; key < 5; key++) {
        assert_int_equal(ckpt_writer_row(w, 1, key, row, &e), PS_OK);
    }
    assert_int_equal(ckpt_writer_lane_end(w, NULL, &e), PS_OK);
    assert_int_equal(ckpt_writer_end(w, folder, &e), PS_OK);
    return folder;
}

void stage_damage(const char *folder, const char *file, size_t from_end)
{
    char path[256];
    struct buf b;

    snprintf(path, sizeof(path), "%s/%s", folder, file);
    buf_init(&b);
    assert_int_equal(stage.root->ops->read(stage.root, path, 1 << 20, &b, NULL),
                     PS_OK);
    assert_true(from_end < b.size);
    b.data[b.size - 1 - from_end] ^= 1;
    assert_int_equal(stage.root->ops->unlink(stage.root, path, NULL), PS_OK);
    assert_int_equal(stage.root->ops->write_new(stage.root, path, b.data,
                                                b.size, false, NULL),
                     PS_OK);
    buf_fini(&b);
}

struct wire_cluster stage_cluster(void)
{
    struct wire_cluster c;

    assert_true(shelf_get(any_shelf(), "cluster") > 0);
    assert_int_equal(wire_cluster_decode(any_shelf()->data, any_shelf()->size,
                                         &stage.arena, &c),
                     PS_OK);
    return c;
}

void stage_saving_name(const char *folder, char out[CKPT_NAME_MAX + 1])
{
    const struct wire_cluster c = stage_cluster();
    uint64_t cut, term;
    bool is_new;

    assert_true(ckpt_folder_parse(folder, &cut, &term, &is_new));
    ckpt_saving_name(cut, term, c.id_high, c.id_low, out);
}

struct wire_shard stage_saved(uint32_t id)
{
    struct wire_shard said = {.saved = SAVED_DONE, .why = ""};
    struct ckpt_manifest m = {.cluster_high = 1};
    struct fs *fs = stage.root;
    char to[CKPT_NAME_MAX + 1], old[160], path[160];
    struct wire_server server;
    struct wire_save w;
    const char *from;
    uint64_t lane;
    struct buf b;

    arena_reset(&stage.arena);
    assert_int_equal(wire_server_decode(stage.actors[id].body.data,
                                        stage.actors[id].body.size,
                                        &stage.arena, &server),
                     PS_OK);
    lane = server.shards[0].lane;
    w = stage_save_record();
    stage_saving_name(w.folder, to);
    m.cut = w.cut + 1000; /* not one that is there */
    from = stage_checkpoint(&m);
    assert_int_equal(fs->ops->rename(fs, from, to, NULL), PS_OK);
    snprintf(old, sizeof(old), "%s/manifest.json", to);
    assert_int_equal(fs->ops->unlink(fs, old, NULL), PS_OK);
    snprintf(old, sizeof(old), "%s/lane-7.json", to);
    snprintf(path, sizeof(path), "%s/lane-%llu.json", to,
             (unsigned long long)lane);
    assert_int_equal(lane == 7 ? PS_OK : fs->ops->rename(fs, old, path, NULL),
                     PS_OK);
    buf_init(&b);
    assert_int_equal(fs->ops->read(fs, path, 1 << 20, &b, NULL), PS_OK);
    said.cut = w.cut;
    said.index_bytes = b.size;
    said.index_checksum = hash_bytes(b.data, b.size);
    buf_fini(&b);
    return said;
}

void stage_follow(uint64_t nonce)
{
    stage_close(&stage.a);
    stage_open(&stage.a, nonce, "sched:2");
    stage_pass(5000);
    assert_true(scheduler_is_running(stage.a.scheduler));
    stage_connect(&stage.a);
}

int stage_cancel(uint64_t ticket)
{
    struct wire_ticket m = {.ticket = ticket};
    struct buf b;

    buf_init(&b);
    wire_ticket_encode(&m, &b);
    stage_send(&stage.a, WIRE_CANCEL, &b);
    buf_fini(&b);
    return stage_answer(&stage.a);
}
