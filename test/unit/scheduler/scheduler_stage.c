/* scheduler_stage.c - what the tests of the scheduler share. */
#include "scheduler_stage.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/log.h"
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

void stage_open(struct desk *d, uint64_t nonce, const char *address)
{
    struct scheduler_options options = {.servers = stage.servers,
                                        .limits = stage.limits,
                                        .address = address,
                                        .lease_ms = LENGTH_MS};
    uint64_t now = stage.a.net.now_us;

    *d = (struct desk){.scheduler = NULL};
    tape_init(&d->net);
    d->net.random = nonce;
    d->net.now_us = base_max_u64(now, d->net.now_us);
    shelf_init(&d->shelf, stage.fs, nonce, deliver, d);
    assert_int_equal(
        scheduler_new(&d->scheduler, &options, &d->shelf.coord, &d->net.net,
                      NULL),
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
    shelf_run(&d->shelf);
}

void stage_pass(uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += 10) {
        for (size_t k = 0; k < ACTORS && i % 500 == 0; k++) {
            if (stage.actors[k].is_alive) {
                renew(&stage.actors[k]);
            }
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
                            .n_shards = 1};
    char key[COORD_KEY_MAX + 1];

    buf_clear(&a->body);
    wire_server_encode(&m, &a->body);
    snprintf(key, sizeof(key), "server/%u", id);
    put_actor(a, key);
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
