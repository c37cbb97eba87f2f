/* cluster.c - shards and a scheduler as a session sees them. */
#include "cluster.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include "coord/lease.h"

static const char folder[] = "ckpt-000000000002-1";

struct cluster cluster;

static void put(const char *key)
{
    assert_false(stage.record.failed);
    shelf_put(&stage.shelf, key, &stage.record);
    buf_clear(&stage.record);
}

static void put_scheduler(void)
{
    struct wire_scheduler m = {.address = "sched:1"};
    struct buf body;

    buf_init(&body);
    wire_scheduler_encode(&m, &body);
    draft_lease(&stage.record, 5, 1, LEASE_TAKEN, &body);
    put("scheduler");
    buf_fini(&body);
}

/* Worker 3 stood at "p1" in the checkpoint. */
static void put_readers(const char *key)
{
    const struct wire_reader reader = {
        .session = 1,
        .worker = 4,
        .position = {.data = (const uint8_t *)"p1", .size = 2},
        .size = 2};
    const struct wire_restored w = {.restore = stage.plan.w.restore,
                                    .cut = 2,
                                    .folder = folder,
                                    .readers = &reader,
                                    .n_readers = 1};

    buf_clear(&stage.record);
    wire_restored_encode(&w, &stage.record);
    put(key);
}

void cluster_begin(void)
{
    cluster = (struct cluster){.cut = 1};
    put_scheduler();
    put_readers("readers");
}

/* ---- shards -------------------------------------------------------------- */

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

/* Every value that is pulled is 1. */
static void run(const struct tape_frame *f, struct buf *body)
{
    uint32_t n;
    struct run_op *ops = stage_ops(f, &n);
    struct run_answer answers[4];
    float *places[4];
    bool is_new = f->h.seq > cluster.last[f->h.lane];
    void *data;

    assert_true(n <= ARRAY_LEN(answers));
    if (is_new) {
        assert_int_equal(f->h.seq, cluster.last[f->h.lane] + 1);
        cluster.last[f->h.lane]++;
    }
    for (uint32_t i = 0; i < n; i++) {
        bool reads = ops[i].n_values == 0;

        answers[i] = (struct run_answer){
            PS_OK, reads ? (uint64_t)ops[i].n_keys * ops[i].dim : 0, NULL};
        for (uint64_t k = 0; k < ops[i].n_values && is_new; k++) {
            cluster.sum += (double)ops[i].values[k];
        }
    }
    data = buf_extend(body, run_answer_bytes(answers, n));
    assert_non_null(data);
    run_answer_encode(answers, n, data, places);
    for (uint32_t i = 0; i < n; i++) {
        for (uint64_t k = 0; k < answers[i].n_values; k++) {
            places[i][k] = 1;
        }
    }
}

/* Only of what was applied is asked in this life. */
static void resolve(const struct tape_frame *f, struct buf *body)
{
    struct wire_resolve m = stage_resolve_of(f);
    struct wire_fate fates[4] = {{0}, {0}, {0}, {0}};
    struct wire_resolve_answer a = {.parts = fates, .n_parts = m.n_parts};

    assert_true(m.n_parts <= ARRAY_LEN(fates));
    assert_true(m.seq <= cluster.last[m.lane]);
    wire_resolve_answer_encode(&a, body);
}

static void tell_kept(const struct tape_frame *f, struct buf *body)
{
    struct wire_keep keeps[4];
    struct wire_kept a = {.parts = keeps};
    struct wire_lost m;

    arena_reset(&stage.arena);
    assert_int_equal(wire_lost_decode(frame_body(f->frame), f->h.body_bytes,
                                      &stage.arena, &m),
                     PS_OK);
    assert_true(m.n_parts <= ARRAY_LEN(keeps));
    for (uint32_t i = 0; i < m.n_parts; i++) {
        keeps[i] =
            (struct wire_keep){.below = f->h.lane == SUCCESSOR ? 1
                                        : m.lane == A ? cluster.kept_below
                                                      : UINT64_MAX};
    }
    a.n_parts = m.n_parts;
    wire_kept_encode(&a, body);
}

/* ---- the scheduler ------------------------------------------------------- */

void cluster_put_save(enum wire_save_state state)
{
    const struct wire_save w = {.nonce = 9,
                                .term = 1,
                                .ticket = cluster.ticket,
                                .cut = cluster.cut,
                                .state = state,
                                .plan = stage.plan.w.plan,
                                .name = "monday",
                                .folder = folder,
                                .why = ""};

    buf_clear(&stage.record);
    wire_save_encode(&w, &stage.record);
    put("save");
}

static void save(const struct tape_frame *f, struct buf *body)
{
    struct wire_save_request m;
    struct wire_ticket ticket;

    arena_reset(&stage.arena);
    assert_int_equal(wire_save_request_decode(frame_body(f->frame),
                                              f->h.body_bytes, &stage.arena,
                                              &m),
                     PS_OK);
    assert_string_equal(m.name, "monday");
    if (m.nonce != cluster.nonce) {
        cluster.nonce = m.nonce;
        cluster.ticket++;
        cluster.cut++;
        cluster_put_save(SAVE_OPEN);
    }
    ticket.ticket = cluster.ticket;
    wire_ticket_encode(&ticket, body);
}

static void move_parts(uint32_t variable, uint64_t from, uint64_t to)
{
    for (uint32_t i = 0; i < stage.plan.w.n_parts; i++) {
        struct wire_part *p = &stage.plan.parts[i];

        if ((variable == 0 || p->variable == variable) && p->lane == from) {
            p->lane = to;
            p->since = stage.plan.w.plan;
        }
    }
}

static void end_lane(uint64_t lane, uint64_t next, uint32_t server,
                     const char *address)
{
    draft_end_lane(&stage.plan, lane, stage.plan.w.plan);
    draft_lane(&stage.plan, next, server, 0, address);
    move_parts(0, lane, next);
}

void cluster_move(void)
{
    static struct wire_load load = {.variable = SPLIT,
                                    .folder =
                                        "move-000000000006-1-0000000000000001",
                                    .name = "",
                                    .brings_lanes = 1};

    stage.plan.w.plan++;
    load.since = stage.plan.w.plan;
    stage.plan.w.loads = &load;
    stage.plan.w.n_loads = 1;
    move_parts(SPLIT, A, B);
    cluster.kept_below = cluster.last[A] + 1;
    stage_put_plan();
}

void cluster_end_b(void)
{
    stage.plan.w.plan++;
    stage.plan.w.n_loads = 0;
    end_lane(B, SUCCESSOR, 1, "b:1");
    stage_put_plan();
}

static void restore(const struct tape_frame *f, struct buf *body)
{
    struct wire_restore_answer answer = {.folder = folder};
    struct wire_restore_request m;

    arena_reset(&stage.arena);
    assert_int_equal(wire_restore_request_decode(frame_body(f->frame),
                                                 f->h.body_bytes, &stage.arena,
                                                 &m),
                     PS_OK);
    if (m.nonce != cluster.restore) {
        assert_int_equal(cluster.restore, 0);
        cluster.restore = m.nonce;
        stage.plan.w.plan++;
        stage.plan.w.restore++;
        put_readers("restored");
        end_lane(A, AFTER_A, 0, "a:1");
        end_lane(SUCCESSOR, AFTER_B, 1, "b:1");
        stage_put_plan();
    }
    answer.restore = stage.plan.w.restore;
    answer.plan = stage.plan.w.plan;
    wire_restore_answer_encode(&answer, body);
}

bool cluster_has_report(const char *position)
{
    struct ps_client_counters c = stage_counters();
    struct wire_guest guest;
    struct wire_lease lease;
    char key[COORD_KEY_MAX + 1];

    (void)snprintf(key, sizeof(key), "session/%u", (unsigned)c.session);
    if (shelf_get(&stage.shelf, key) == 0) {
        return false;
    }
    arena_reset(&stage.arena);
    assert_int_equal(wire_lease_decode(stage.shelf.data, stage.shelf.size,
                                       &stage.arena, &lease),
                     PS_OK);
    if (lease.body.size == 0) {
        return false;
    }
    assert_int_equal(wire_guest_decode(lease.body.data, lease.body.size,
                                       &stage.arena, &guest),
                     PS_OK);
    if (guest.cut < cluster.cut) {
        return false;
    }
    assert_int_equal(guest.cut, cluster.cut);
    assert_int_equal(guest.position.size, strlen(position));
    assert_memory_equal(guest.position.data, position, strlen(position));
    return true;
}

void cluster_serve(const struct tape_frame *f, struct buf *body)
{
    const struct wire_hello_answer hello = {.version = WIRE_VERSION,
                                            .lane = lane_at(f->connection)};
    const struct wire_declare_answer declared = {.id = WHOLE, .plan = PLAN};
    const struct wire_status_answer status = {.lane = f->h.lane, .why = ""};

    switch (f->h.type) {
    case WIRE_HELLO:
        wire_hello_answer_encode(&hello, body);
        break;
    case WIRE_RUN:
        run(f, body);
        break;
    case WIRE_RESOLVE:
        resolve(f, body);
        break;
    case WIRE_LOST:
        tell_kept(f, body);
        break;
    case WIRE_STATUS:
        wire_status_answer_encode(&status, body);
        break;
    case WIRE_DECLARE:
        wire_declare_answer_encode(&declared, body);
        break;
    case WIRE_SAVE:
        save(f, body);
        break;
    case WIRE_CANCEL:
        cluster_put_save(SAVE_CANCELED);
        break;
    case WIRE_RESTORE:
        restore(f, body);
        break;
    default:
        assert_true(f->h.type == WIRE_CHAIN || f->h.type == WIRE_DROP);
    }
    assert_false(body->failed);
}
