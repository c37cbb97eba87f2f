/* test_shard_move.c - a part of HASH goes from the first shard of two to the
 * other, as the plans of a scheduler say. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/hash.h"
#include "lib/armed.h"
#include "save_stage.h"
#include "udf/chain.h"

enum { FROM = 7, TO = 8, KEYS = 400 };

static const char push_hash[] = "BuildHashSlice(insert)>AdagradUpdater";
static const double adagrad[] = {0.5, 0.125};

static struct fs *fs;
static struct save_group g;
static struct wire_moving order;
static struct wire_load load;
static char folder[CKPT_NAME_MAX + 1];

static int set_up(void **state)
{
    (void)state;
    fs = fs_memory_new();
    save_begin(&g, fs, 2, FROM, NULL);
    g.behind = KEYS; /* all numbers may still be asked for */
    save_push(&g, 1, 0, KEYS, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    save_end(&g);
    fs_memory_free(fs);
    return 0;
}

static struct shard *shard_of(uint64_t lane)
{
    return g.shards[lane - FROM].shard;
}

static struct shard_report report_of(uint64_t lane)
{
    struct shard_report r;

    shard_report(shard_of(lane), &r);
    return r;
}

/* A shard without memory for it has the plan before and gets it again. */
static void next_plan(void)
{
    g.plan.w.plan++;
    draft_encode(&g.plan, &g.record);
    for (uint32_t i = 0; i < g.n; i++) {
        struct shard *s = g.shards[i].shard;
        int rc;

        ARMED(rc = shard_set_plan(s, g.record.data, g.record.size));
        if (rc == PS_ENOMEM) {
            rc = shard_set_plan(s, g.record.data, g.record.size);
        }
        assert_int_equal(rc, PS_OK);
    }
}

/* The plan orders it. */
static void begin_move(uint64_t from, uint64_t to)
{
    struct ckpt_move name = {
        .number = g.plan.w.plan + 1, .term = 1, .cluster = 1};

    ckpt_move_name(&name, folder);
    order = (struct wire_moving){.number = name.number,
                                 .variable = HASH,
                                 .begin = 0,
                                 .end = LIMIT_BUCKETS / 2,
                                 .from = from,
                                 .to = to,
                                 .folder = folder};
    g.plan.w.moves = &order;
    g.plan.w.n_moves = 1;
    next_plan();
}

/* The next plan, in which the part is `lane`'s. */
static void give(uint64_t lane)
{
    g.plan.w.n_moves = 0;
    for (uint32_t i = 0; i < g.plan.w.n_parts; i++) {
        struct wire_part *p = &g.plan.parts[i];

        if (p->variable == HASH && p->begin == 0) {
            p->lane = lane;
            p->since = g.plan.w.plan + 1;
        }
    }
    load = (struct wire_load){.variable = HASH,
                              .since = g.plan.w.plan + 1,
                              .folder = folder,
                              .name = "",
                              .brings_lanes = 1};
    g.plan.w.loads = &load;
    g.plan.w.n_loads = 1;
    next_plan();
}

static void move(uint64_t from, uint64_t to)
{
    begin_move(from, to);
    save_run(&g);
    assert_int_equal(report_of(from).moved, order.number);
    assert_int_equal(report_of(from).moved_state, SAVED_DONE);
    give(to);
    save_run(&g);
    assert_false(save_is_loading(&g));
}

/* One row of the part that goes: number `seq` of a lane, by the plan before
 * this, or 0. PS_EBUSY: it is to be sent again. */
static int push_one(uint64_t lane, uint64_t seq, uint64_t plan)
{
    static const float values[] = {1, 1};
    struct save_shard *s = &g.shards[lane - FROM];
    struct frame_header h = {.type = WIRE_RUN,
                             .request = 1,
                             .session = SAVE_SESSION,
                             .lane = lane,
                             .seq = seq,
                             .first = 1,
                             .plan = plan,
                             .cut = 1};
    uint64_t key = 0;
    struct run_op op = {.chain = chain_id(push_hash),
                        .variable = HASH,
                        .end = LIMIT_BUCKETS / 2,
                        .dim = 2,
                        .keys = &key,
                        .n_keys = 1,
                        .values = values,
                        .n_values = 2,
                        .params = adagrad,
                        .n_params = 2};
    struct tape_frame *a;
    struct frame *f;
    int status;

    while (hash_bucket(hash_key(key)) >= LIMIT_BUCKETS / 2) {
        key++;
    }
    f = draft_run(&h, &op, 1);
    assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
    shard_on_frame(s->shard, s->connection, &h, f);
    frame_put(f);
    a = tape_take(&s->net);
    assert_non_null(a);
    status = a->h.status;
    tape_free(a);
    return status;
}

/* Only then is it asked for elsewhere; what else it had begins anew. */
static void end_lane(uint64_t lane)
{
    draft_end_lane(&g.plan, lane, g.plan.w.plan + 1);
    for (uint32_t i = 0; i < g.plan.w.n_parts; i++) {
        if (g.plan.parts[i].lane == lane) {
            g.plan.parts[i].lane = FROM + TO - lane;
            g.plan.parts[i].since = g.plan.w.plan + 1;
        }
    }
    save_plan(&g);
    save_run(&g);
}

static void rows_and_slots_arrive_bit_for_bit(void **state)
{
    uint64_t sum = save_sum(&g), n = save_count(&g);

    (void)state;
    move(FROM, TO);
    assert_null(shard_part(shard_of(FROM), HASH, 0));
    assert_non_null(shard_part(shard_of(TO), HASH, 0));
    assert_true(save_sum(&g) == sum);
    assert_int_equal(save_count(&g), n);
}

/* What the lane had done to the part is known where the part is. */
static void numbers_go_with_the_part(void **state)
{
    uint64_t last = g.shards[0].seq;

    (void)state;
    move(FROM, TO);
    end_lane(FROM);
    for (uint64_t seq = 1; seq <= last; seq++) {
        assert_int_equal(save_resolve(&g, FROM, seq, 0), PS_OK);
    }
    assert_int_equal(save_resolve(&g, FROM, last + 1, 0), PS_ECANCELED);
}

static void a_push_waits_while_the_part_is_written(void **state)
{
    uint64_t plan = g.plan.w.plan, seq = g.shards[0].seq + 1;
    uint64_t sum = save_sum(&g);

    (void)state;
    begin_move(FROM, TO);
    assert_int_equal(push_one(FROM, seq, plan), PS_EBUSY);
    assert_int_equal(report_of(FROM).moved_state, SAVED_WRITING);
    save_run(&g);
    assert_int_equal(push_one(FROM, seq, plan), PS_EBUSY);
    assert_true(save_sum(&g) == sum);
    give(TO);
    save_run(&g);
    assert_true(save_sum(&g) == sum);
    /* Its plan gave the part to another: it is cut anew, and done there. */
    assert_int_equal(push_one(FROM, seq, plan), PS_EPLAN);
    assert_int_equal(push_one(TO, g.shards[1].seq + 1, g.plan.w.plan), PS_OK);
    assert_true(save_sum(&g) != sum);
    end_lane(FROM);
    assert_int_equal(save_resolve(&g, FROM, seq, 0), PS_ECANCELED);
}

static void a_repeat_of_what_was_applied_is_done(void **state)
{
    uint64_t plan = g.plan.w.plan, seq = g.shards[0].seq + 1, sum;

    (void)state;
    assert_int_equal(push_one(FROM, seq, plan), PS_OK);
    sum = save_sum(&g);
    begin_move(FROM, TO);
    assert_int_equal(push_one(FROM, seq, plan), PS_OK);
    save_run(&g); /* from here on nobody reads it, so what is answered waits */
    assert_int_equal(push_one(FROM, seq, plan), PS_EBUSY);
    give(TO);
    save_run(&g);
    assert_int_equal(push_one(FROM, seq, plan), PS_OK);
    assert_true(save_sum(&g) == sum);
    end_lane(FROM);
    assert_int_equal(save_resolve(&g, FROM, seq, 0), PS_OK);
}

static void a_plan_without_the_move_has_it_served_again(void **state)
{
    uint64_t seq = g.shards[0].seq + 1;

    (void)state;
    begin_move(FROM, TO);
    save_run(&g);
    assert_int_equal(push_one(FROM, seq, g.plan.w.plan), PS_EBUSY);
    g.plan.w.n_moves = 0;
    save_plan(&g);
    assert_int_equal(report_of(FROM).moved, 0);
    assert_int_equal(push_one(FROM, seq, g.plan.w.plan), PS_OK);
}

/* The lane lives, and its own windows say more than what came back with it. */
static void a_part_that_comes_back_is_whole(void **state)
{
    uint64_t seq = g.shards[0].seq + 1;
    uint64_t n = save_count(&g), sum;

    (void)state;
    assert_int_equal(push_one(FROM, seq, g.plan.w.plan), PS_OK);
    move(FROM, TO);
    assert_int_equal(push_one(TO, g.shards[1].seq + 1, g.plan.w.plan), PS_OK);
    sum = save_sum(&g);
    move(TO, FROM);
    assert_true(save_sum(&g) == sum);
    assert_int_equal(save_count(&g), n);
    assert_int_equal(save_resolve(&g, FROM, seq, 0), PS_OK);
    assert_int_equal(push_one(FROM, seq + 1, g.plan.w.plan), PS_OK);
    move(FROM, TO);
    end_lane(FROM);
    assert_int_equal(save_resolve(&g, FROM, seq + 1, 0), PS_OK);
    assert_int_equal(save_resolve(&g, FROM, seq + 2, 0), PS_ECANCELED);
}

/* What is written reads back as something else. */
static void a_manifest_that_is_not_what_was_written_is_said(void **state)
{
    (void)state;
    begin_move(FROM, TO);
    while (report_of(FROM).moved_state == SAVED_WRITING && save_step(&g)) {
        struct buf b;
        char path[DISK_PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s/manifest.json", folder);
        buf_init(&b);
        if (fs->ops->read(fs, path, 1 << 20, &b, NULL) == PS_OK) {
            ((char *)b.data)[b.size - 2] = '!';
            assert_int_equal(fs->ops->unlink(fs, path, NULL), PS_OK);
            assert_int_equal(
                fs->ops->write_new(fs, path, b.data, b.size, false, NULL),
                PS_OK);
        }
        buf_fini(&b);
    }
    assert_int_equal(report_of(FROM).moved_state, SAVED_FAILED);
    assert_non_null(strstr(report_of(FROM).why, "something else"));
}

/* Its first files are not where its last one would be. */
static void a_move_fails_when_the_place_changes(void **state)
{
    (void)state;
    begin_move(FROM, TO);
    next_plan();
    assert_int_not_equal(report_of(FROM).moved_state, SAVED_FAILED);
    g.plan.w.checkpoints = "elsewhere";
    next_plan();
    save_run(&g);
    assert_int_equal(report_of(FROM).moved_state, SAVED_FAILED);
    assert_string_equal(report_of(FROM).why,
                        "the place of checkpoints has changed");
}

/* Keys, values and a slot in blocks of two rows: all are written and read back,
 * and each answer of the disk counts. The sync at the end is not the only one,
 * so that it is a short one. */
static void what_the_disk_has_done_is_told_all_the_way(void **state)
{
    struct save_disk *disk = &g.shards[0].disk;
    uint64_t rows = 0, syncs = 0, steps = 0;
    struct shard_report r;

    (void)state;
    for (uint64_t key = 0; key < KEYS; key++) {
        rows += hash_bucket(hash_key(key)) < LIMIT_BUCKETS / 2;
    }
    shard_of(FROM)->options.block_rows = 2;
    begin_move(FROM, TO);
    r = report_of(FROM);
    assert_int_equal(r.moved_state, SAVED_WRITING);
    assert_int_equal(r.moved_rows, rows);
    assert_int_equal(r.moved_done, 0);
    assert_int_equal(r.moved_steps, 0);
    while (r.moved_state == SAVED_WRITING) {
        bool is_sync = disk->n > 0 && disk->queue[0].op == DISK_SYNC;

        assert_true(save_step(&g));
        r = report_of(FROM);
        assert_true(r.moved_steps >= steps);
        syncs += is_sync && r.moved_steps > steps;
        steps = r.moved_steps;
    }
    assert_int_equal(r.moved_state, SAVED_DONE);
    assert_int_equal(r.moved_done, rows);
    assert_true(steps > 2 * 3 * (rows / 2));
    assert_true(syncs >= 2 + 3 * (rows / 2) / 64);
    give(TO);
    save_run(&g);
    assert_int_equal(report_of(FROM).moved_steps, 0);
    assert_false(save_is_loading(&g));
}

static void run_armed(void)
{
    bool more = true;

    while (more) {
        ARMED(more = save_step(&g));
    }
}

/* Of one that could not be written the part is served again where it is, and
 * the next one is; of one that could not be read the plan is given again. */
static bool move_with_faults(uint64_t sum)
{
    uint64_t seq = g.shards[0].seq;
    bool has_failed = false;
    char why[256];

    begin_move(FROM, TO);
    run_armed();
    assert_int_equal(push_one(FROM, seq + 1, g.plan.w.plan), PS_EBUSY);
    assert_int_equal(report_of(FROM).moved, order.number);
    if (report_of(FROM).moved_state != SAVED_DONE) {
        has_failed = true;
        assert_int_equal(report_of(FROM).moved_state, SAVED_FAILED);
        assert_true(report_of(FROM).why[0] != '\0');
        assert_true(save_sum(&g) == sum);
        g.plan.w.n_moves = 0;
        next_plan();
        assert_int_equal(push_one(FROM, seq, g.plan.w.plan), PS_OK);
        begin_move(FROM, TO);
        save_run(&g);
        assert_int_equal(report_of(FROM).moved_state, SAVED_DONE);
    }
    give(TO);
    run_armed();
    if (save_has_failed_to_load(&g, why, sizeof(why)) || save_is_loading(&g)) {
        has_failed = true;
        next_plan();
        save_run(&g);
    }
    assert_false(save_is_loading(&g));
    return has_failed;
}

static void each_allocation_of_a_move_may_fail(void **state)
{
    size_t failed = 0;

    armed.has_failed = true;
    for (uint64_t n = 1; armed.has_failed; n++) {
        uint64_t seq = g.shards[0].seq, sum;

        assert_int_equal(push_one(FROM, ++seq, g.plan.w.plan), PS_OK);
        g.shards[0].seq = seq;
        sum = save_sum(&g);
        armed_at(n);
        failed += move_with_faults(sum);
        assert_null(shard_part(shard_of(FROM), HASH, 0));
        assert_true(save_sum(&g) == sum);
        end_lane(FROM);
        for (uint64_t i = 1; i <= seq; i++) {
            assert_int_equal(save_resolve(&g, FROM, i, 0), PS_OK);
        }
        assert_int_equal(save_resolve(&g, FROM, seq + 1, 0), PS_ECANCELED);
        tear_down(state);
        set_up(state);
    }
    armed_at(0);
    assert_true(failed > 20);
}

#define MOVED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MOVED(rows_and_slots_arrive_bit_for_bit),
        MOVED(numbers_go_with_the_part),
        MOVED(a_push_waits_while_the_part_is_written),
        MOVED(a_repeat_of_what_was_applied_is_done),
        MOVED(a_plan_without_the_move_has_it_served_again),
        MOVED(a_part_that_comes_back_is_whole),
        MOVED(a_manifest_that_is_not_what_was_written_is_said),
        MOVED(a_move_fails_when_the_place_changes),
        MOVED(each_allocation_of_a_move_may_fail),
        MOVED(what_the_disk_has_done_is_told_all_the_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
