/* test_restore.c - a new store begins with a checkpoint; a client has the
 * cluster go back to one. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "scheduler_stage.h"

/* The newest good one is of cut 5; cluster ids 70 and 71, restored twice. */
static const struct ckpt_manifest good = {.cluster_high = 70,
                                          .cluster_low = 71,
                                          .cut = 5,
                                          .plan = 9,
                                          .restore = 2,
                                          .name = "monday"};

static void open_again(void)
{
    stage_close(&stage.a);
    stage_open(&stage.a, 200, "sched:1");
}

/* An empty store, and a root. */
static void begin_with_root(void)
{
    stage_close(&stage.a);
    fs_memory_free(stage.fs);
    stage.fs = fs_memory_new();
    if (stage.root == NULL) {
        stage_make_root();
    }
}

static struct wire_sessions sessions(void)
{
    struct wire_sessions w = {.nonce = 0};
    struct shelf *s = &stage.a.shelf;

    arena_reset(&stage.arena);
    assert_true(shelf_get(s, "sessions") > 0);
    assert_int_equal(wire_sessions_decode(s->data, s->size, &stage.arena, &w),
                     PS_OK);
    return w;
}

static struct wire_cluster cluster(void)
{
    struct wire_cluster w = {.format = 0};
    struct shelf *s = &stage.a.shelf;

    arena_reset(&stage.arena);
    assert_true(shelf_get(s, "cluster") > 0);
    assert_int_equal(wire_cluster_decode(s->data, s->size, &stage.arena, &w),
                     PS_OK);
    return w;
}

static uint64_t next_lane(void)
{
    struct wire_counters w = {.nonce = 0};
    struct shelf *s = &stage.a.shelf;

    arena_reset(&stage.arena);
    assert_true(shelf_get(s, "counters") > 0);
    assert_int_equal(wire_counters_decode(s->data, s->size, &stage.arena, &w),
                     PS_OK);
    return w.next_lane;
}

static void expect_load(const struct wire_plan *w, uint64_t since,
                        const char *folder, uint32_t brings_lanes)
{
    assert_int_equal(w->n_loads, 1);
    assert_int_equal(w->loads[0].variable, 0);
    assert_int_equal(w->loads[0].since, since);
    assert_string_equal(w->loads[0].folder, folder);
    assert_string_equal(w->loads[0].name, "");
    assert_int_equal(w->loads[0].brings_lanes, brings_lanes);
}

/* ---- a new store -------------------------------------------------------- */

static void a_new_store_begins_with_the_newest_good_checkpoint(void **state)
{
    struct ckpt_manifest newer = good;
    const char *folder;
    struct wire_plan w;

    (void)state;
    begin_with_root();
    newer.cut = 8;
    newer.restore = 3;
    folder = stage_checkpoint(&good);
    stage_damage(stage_checkpoint(&newer), "lane-7.safetensors", 3);
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(500);
    assert_true(scheduler_is_running(stage.a.scheduler));
    assert_int_equal(stage_plan().n_variables, 0);
    stage_put_server(0, 80);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.n_variables, 2);
    assert_string_equal(w.variables[0].name, "user");
    assert_int_equal(w.variables[0].id, 1);
    assert_int_equal(w.variables[1].id, 2);
    assert_int_equal(w.next_variable, 3);
    /* Above the damaged one's, too. */
    assert_int_equal(w.restore, 4);
    assert_int_equal(w.n_parts, 2);
    assert_int_equal(w.parts[0].lane, 80);
    assert_int_equal(w.parts[0].since, w.plan);
    expect_load(&w, w.plan, folder, 1);
    assert_int_equal(w.loads[0].cut, 5);
    assert_int_equal(cluster().id_high, 70);
    assert_int_equal(cluster().id_low, 71);
}

static void the_counters_are_raised_before_anybody_can_serve(void **state)
{
    struct ckpt_manifest newer = good;
    uint32_t n = 0;

    (void)state;
    begin_with_root();
    (void)stage_checkpoint(&good);
    newer.cut = 8;
    stage_damage(stage_checkpoint(&newer), "manifest.json", 3);
    stage_open(&stage.a, 200, "sched:1");
    while (!shelf_has(&stage.a.shelf, COORD_CAS, "cluster") && n < 100) {
        n++;
        if (!shelf_do_key(&stage.a.shelf, NULL)) {
            stage_pass(10);
        }
        if (shelf_get(&stage.a.shelf, "cluster") > 0) {
            break;
        }
    }
    assert_in_range(n, 1, 99);
    assert_int_equal(sessions().next, 90);
    assert_int_equal(sessions().cut, 8);
    assert_int_equal(next_lane(), 80);
    assert_int_equal(stage_save_record().cut, 8);
    assert_int_equal(stage_save_record().state, SAVE_DONE);
}

static void it_is_restored_when_all_servers_are_there(void **state)
{
    struct wire_variable v = stage_variable("more", 8);
    struct wire_plan w;

    (void)state;
    begin_with_root();
    (void)stage_checkpoint(&good);
    stage.servers = 2;
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(500);
    stage_put_server(0, 80);
    stage_pass(500);
    assert_int_equal(stage_plan().n_variables, 0);
    stage_connect(&stage.a);
    stage_send_declare(&stage.a, &v);
    stage_pass(100);
    assert_int_equal(stage_answer(&stage.a), PS_ENOTREADY);
    stage_put_server(1, 81);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.n_variables, 2);
    assert_int_equal(w.n_parts, 3); /* both have half of the users */
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    assert_int_equal(stage_declared_id(&stage.a), 3);
}

static void
without_a_good_one_it_refuses_and_names_what_is_damaged(void **state)
{
    const char *why, *folder;

    (void)state;
    begin_with_root();
    folder = stage_checkpoint(&good);
    stage_damage(folder, "lane-7.json", 20);
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(500);
    assert_false(scheduler_is_running(stage.a.scheduler));
    assert_true(scheduler_has_stopped(stage.a.scheduler));
    why = scheduler_refusal(stage.a.scheduler);
    assert_non_null(why);
    assert_non_null(strstr(why, folder));
    assert_non_null(strstr(why, "lane-7.json"));
    assert_int_equal(shelf_get(&stage.a.shelf, "cluster"), 0);
    stage.accept_empty = true;
    open_again();
    stage_pass(500);
    assert_true(scheduler_is_running(stage.a.scheduler));
    assert_null(scheduler_refusal(stage.a.scheduler));
    assert_int_not_equal(cluster().id_high, 70);
    /* Its own checkpoints will be newer than those that are there. */
    assert_int_equal(sessions().cut, 5);
}

static void a_root_without_checkpoints_begins_empty(void **state)
{
    struct wire_variable v = stage_variable("user", 8);

    (void)state;
    begin_with_root();
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(500);
    stage_put_server(0, 11);
    stage_pass(500);
    stage_connect(&stage.a);
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    assert_int_equal(stage_plan().n_loads, 0);
    assert_int_equal(stage_plan().restore, 0);
}

static void a_store_that_has_been_used_goes_on(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    struct wire_plan w;

    (void)state;
    stage_pass(500);
    stage_put_server(0, 11);
    stage_pass(500);
    stage_connect(&stage.a);
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    assert_int_equal(stage_drop(&stage.a, "user"), PS_OK);
    stage_make_root();
    (void)stage_checkpoint(&good);
    open_again();
    stage_pass(5000);
    assert_true(scheduler_is_running(stage.a.scheduler));
    w = stage_plan();
    assert_int_equal(w.n_variables, 0);
    assert_int_equal(w.restore, 0);
}

static void one_that_dies_in_between_is_followed_by_another(void **state)
{
    struct wire_plan w;

    (void)state;
    begin_with_root();
    (void)stage_checkpoint(&good);
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(500); /* runs, and waits for its server */
    stage_close(&stage.a);
    stage_open(&stage.a, 300, "sched:2");
    stage_pass(5000);
    stage_put_server(0, 80);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.n_variables, 2);
    assert_int_equal(w.restore, 3);
    assert_int_equal(w.loads[0].brings_lanes, 1);
}

/* ---- on demand ---------------------------------------------------------- */

static void ask(uint64_t nonce, const char *name, const struct wire_rename *r,
                uint32_t n)
{
    struct wire_restore_request m = {
        .nonce = nonce, .name = name, .renames = r, .n_renames = n};
    struct buf b;

    buf_init(&b);
    wire_restore_request_encode(&m, &b);
    stage_send(&stage.a, WIRE_RESTORE, &b);
    buf_fini(&b);
}

/* Asks again and again, as a client does, for up to a second. */
static int restore(uint64_t nonce, const char *name)
{
    int rc = PS_ENOTREADY;

    for (int i = 0; i < 20 && rc == PS_ENOTREADY; i++) {
        ask(nonce, name, NULL, 0);
        rc = stage_answer(&stage.a);
        stage_pass(50);
    }
    return rc;
}

static struct wire_restore_answer answer(void)
{
    struct wire_restore_answer m;
    const struct tape_frame *f = stage.a.answer;

    arena_reset(&stage.arena);
    assert_int_equal(wire_restore_answer_decode(frame_body(f->frame),
                                                f->h.body_bytes, &stage.arena,
                                                &m),
                     PS_OK);
    return m;
}

/* A cluster with a variable "own", server 0 on lane 11. */
static void run_cluster(void)
{
    struct wire_variable v = stage_variable("own", 8);

    begin_with_root();
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(500);
    stage_put_server(0, 11);
    stage_pass(500);
    stage_connect(&stage.a);
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
}

/* A checkpoint that this cluster made. */
static struct ckpt_manifest own(uint64_t cut, const char *name)
{
    const struct wire_cluster c = cluster();

    return (struct ckpt_manifest){.cluster_high = c.id_high,
                                  .cluster_low = c.id_low,
                                  .cut = cut,
                                  .plan = 2,
                                  .name = name};
}

static void the_whole_cluster_goes_back(void **state)
{
    struct ckpt_manifest m;
    const char *folder;
    struct wire_plan before, w;

    (void)state;
    run_cluster();
    m = own(1, "monday");
    folder = stage_checkpoint(&m);
    before = stage_plan();
    assert_int_equal(restore(1, "monday"), PS_ENOTREADY);
    w = stage_plan();
    assert_int_equal(w.restore, before.restore + 1);
    assert_int_equal(w.n_lanes, 0);
    assert_non_null(stage_ended(&w, 11));
    assert_int_equal(w.n_variables, 2);
    assert_string_equal(w.variables[0].name, "user");
    assert_int_equal(w.n_parts, 2);
    assert_int_equal(w.parts[0].lane, 11);
    expect_load(&w, w.parts[0].since, folder, 1);
    assert_int_equal(w.loads[0].log_from, 80);
    /* The lane does not come back; the server's next one gets the parts. */
    stage_pass(2000);
    assert_int_equal(stage_plan().plan, w.plan);
    stage_put_server(0, 81);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.n_lanes, 1);
    assert_int_equal(w.parts[0].lane, 81);
    assert_int_equal(w.parts[0].since, w.plan);
    expect_load(&w, w.plan, folder, 1);
    assert_int_equal(w.loads[0].log_from, 80);
    assert_int_equal(restore(1, "monday"), PS_ENOTREADY);
    assert_non_null(strstr(stage_text(&stage.a), "loaded"));
    stage_report(0, &(struct wire_shard){.loaded = w.plan});
    stage_pass(500);
    assert_int_equal(restore(1, "monday"), PS_OK);
    assert_int_equal(answer().restore, before.restore + 1);
    assert_string_equal(answer().folder, folder);
    /* The same order again is the same restore. */
    assert_int_equal(restore(1, "monday"), PS_OK);
    assert_int_equal(stage_plan().restore, before.restore + 1);
}

/* What the checkpoint's parts had given up they had still, and of what was made
 * after it there is nothing in them. */
static void the_past_is_that_of_what_it_went_back_to(void **state)
{
    struct ckpt_gap gap = {0, 1};
    struct ckpt_manifest m;
    const char *third, *fifth;
    struct wire_plan w;
    char why[128];

    (void)state;
    run_cluster();
    m = own(1, "given up");
    (void)stage_checkpoint(&m);
    m = own(3, "monday");
    m.gaps = &gap;
    m.n_gaps = 1;
    third = stage_checkpoint(&m);
    m = own(4, "tuesday");
    (void)stage_checkpoint(&m);
    assert_int_equal(restore(1, "monday"), PS_ENOTREADY);
    assert_int_equal(stage_plan().n_gaps, 2);
    stage_put_server(0, 81);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.n_gaps, 2);
    assert_int_equal(w.gaps[0].since, w.parts[0].since);
    assert_int_equal(w.gaps[0].after, 0);
    assert_int_equal(w.gaps[0].to, 1);
    assert_int_equal(w.gaps[1].since, w.parts[0].since);
    assert_int_equal(w.gaps[1].after, 3);
    assert_int_equal(w.gaps[1].to, 4);
    stage_report(0, &(struct wire_shard){.loaded = w.plan});
    stage_pass(500);
    m = own(5, "");
    m.restore = 1;
    m.plan = w.plan;
    fifth = stage_checkpoint(&m);
    open_again();
    stage_put_server(0, 91);
    stage_pass(500);
    w = stage_plan();
    expect_load(&w, w.plan, fifth, 1);
    snprintf(why, sizeof(why), "%s: it is damaged", fifth);
    stage_report(0, &(struct wire_shard){.load_failed = 1, .why = why});
    stage_pass(500);
    w = stage_plan();
    expect_load(&w, w.plan, third, 1);
    snprintf(why, sizeof(why), "%s: it is damaged", third);
    stage_report(0, &(struct wire_shard){.load_failed = 1, .why = why});
    stage_pass(500);
    assert_int_equal(stage_plan().plan, w.plan);
}

static void readers_positions_are_told_before_the_plan(void **state)
{
    struct ckpt_session reader = {40, 3, {(const uint8_t *)"pos", 3}};
    struct shelf *s = &stage.a.shelf;
    struct ckpt_manifest m;
    struct wire_restored w;

    (void)state;
    run_cluster();
    m = own(1, "");
    m.sessions = &reader;
    m.n_sessions = 1;
    (void)stage_checkpoint(&m);
    assert_int_equal(restore(1, "1"), PS_ENOTREADY);
    assert_true(shelf_get(s, "restored") > 0);
    arena_reset(&stage.arena);
    assert_int_equal(wire_restored_decode(s->data, s->size, &stage.arena, &w),
                     PS_OK);
    assert_int_equal(w.restore, 1);
    assert_int_equal(w.cut, 1);
    assert_int_equal(w.n_readers, 1);
    assert_int_equal(w.readers[0].session, 40);
    assert_int_equal(w.readers[0].worker, 3);
    assert_memory_equal(w.readers[0].position.data, "pos", 3);
}

static void a_name_that_is_not_there_changes_nothing(void **state)
{
    struct ckpt_manifest m;
    const char *best;
    uint64_t plan, save;

    (void)state;
    run_cluster();
    m = own(4, "monday");
    stage_damage(stage_checkpoint(&m), "manifest.json", 3);
    assert_int_equal(restore(3, "sunday"), PS_ENOTFOUND);
    assert_string_equal(stage_text(&stage.a),
                        "no checkpoint is \"sunday\"; none is good");
    m = own(2, "friday");
    best = stage_checkpoint(&m);
    plan = shelf_get(&stage.a.shelf, "plan");
    save = shelf_get(&stage.a.shelf, "save");
    assert_int_equal(restore(1, "sunday"), PS_ENOTFOUND);
    assert_non_null(strstr(stage_text(&stage.a),
                           "no checkpoint is \"sunday\"; the newest good one "
                           "is "));
    assert_non_null(strstr(stage_text(&stage.a), best));
    assert_int_equal(restore(2, "5"), PS_ENOTFOUND);
    assert_int_equal(shelf_get(&stage.a.shelf, "plan"), plan);
    assert_int_equal(shelf_get(&stage.a.shelf, "save"), save);
}

static void a_damaged_one_is_refused_with_its_file_and_a_good_one(void **state)
{
    struct ckpt_manifest m;
    const char *best, *bad;
    uint64_t plan;

    (void)state;
    run_cluster();
    m = own(4, "monday");
    best = stage_checkpoint(&m);
    m = own(6, "tuesday");
    bad = stage_checkpoint(&m);
    stage_damage(bad, "lane-7.safetensors", 3);
    plan = shelf_get(&stage.a.shelf, "plan");
    assert_int_equal(restore(1, bad), PS_EDATALOSS);
    assert_non_null(strstr(stage_text(&stage.a), bad));
    assert_non_null(strstr(stage_text(&stage.a), "lane-7.safetensors"));
    assert_non_null(strstr(stage_text(&stage.a), best));
    assert_int_equal(restore(2, "tuesday"), PS_EDATALOSS);
    assert_int_equal(restore(3, "6"), PS_EDATALOSS);
    assert_int_equal(shelf_get(&stage.a.shelf, "plan"), plan);
    /* Without a name the newest that is good. */
    assert_int_equal(restore(4, ""), PS_ENOTREADY);
    assert_string_equal(stage_plan().loads[0].folder, best);
}

static void of_one_name_the_newest_good_one_is_meant(void **state)
{
    struct ckpt_manifest m;
    const char *folder;

    (void)state;
    run_cluster();
    m = own(3, "daily");
    (void)stage_checkpoint(&m);
    m = own(4, "daily");
    folder = stage_checkpoint(&m);
    m = own(5, "daily");
    stage_damage(stage_checkpoint(&m), "lane-7.state.safetensors", 1);
    m = own(6, "other");
    (void)stage_checkpoint(&m);
    assert_int_equal(restore(1, "daily"), PS_ENOTREADY);
    assert_string_equal(stage_plan().loads[0].folder, folder);
}

static void another_clusters_brings_rows_but_no_lanes(void **state)
{
    struct wire_plan w;

    (void)state;
    run_cluster();
    (void)stage_checkpoint(&good);
    assert_int_equal(restore(1, "5"), PS_ENOTREADY);
    w = stage_plan();
    assert_int_equal(w.n_variables, 2);
    assert_int_equal(w.variables[0].id, 2); /* 1 was "own" */
    assert_int_equal(w.variables[1].id, 3);
    assert_int_equal(w.restore, 1);
    assert_int_equal(w.loads[0].brings_lanes, 0);
    /* What is saved next counts as newer than it. */
    assert_int_equal(sessions().cut, 5);
    assert_int_equal(stage_save_record().cut, 5);
}

static void two_orders_for_the_same_share_one_restore(void **state)
{
    struct ckpt_manifest m;
    uint64_t restored;

    (void)state;
    run_cluster();
    m = own(4, "monday");
    (void)stage_checkpoint(&m);
    m = own(5, "tuesday");
    (void)stage_checkpoint(&m);
    ask(1, "monday", NULL, 0);
    assert_int_equal(stage_answer(&stage.a), PS_ENOTREADY);
    ask(2, "monday", NULL, 0);
    assert_int_equal(stage_answer(&stage.a), PS_ENOTREADY);
    ask(3, "tuesday", NULL, 0);
    assert_int_equal(stage_answer(&stage.a), PS_ENOTREADY);
    assert_non_null(strstr(stage_text(&stage.a), "another restore"));
    stage_pass(1000);
    restored = stage_plan().restore;
    stage_put_server(0, 81);
    stage_pass(500);
    stage_report(0, &(struct wire_shard){.loaded = stage_plan().plan});
    stage_pass(500);
    assert_int_equal(restore(1, "monday"), PS_OK);
    assert_int_equal(restore(2, "monday"), PS_OK);
    assert_int_equal(stage_plan().restore, restored);
    assert_int_equal(restore(3, "tuesday"), PS_ENOTREADY);
    assert_int_equal(stage_plan().restore, restored + 1);
}

static void a_save_that_is_open_fails_first(void **state)
{
    struct ckpt_manifest m;

    (void)state;
    run_cluster();
    m = own(1, "monday");
    (void)stage_checkpoint(&m);
    stage_send_save(0, "x", 0);
    stage_pass(200);
    assert_int_equal(stage_answer(&stage.a), PS_OK);
    assert_int_equal(stage_save_record().state, SAVE_CLOSED);
    assert_int_equal(restore(1, "monday"), PS_ENOTREADY);
    assert_int_equal(stage_save_record().state, SAVE_FAILED);
    assert_non_null(strstr(stage_save_record().why, "restored"));
    assert_int_equal(stage_plan().restore, 1);
    /* No save before all is loaded. */
    stage_send_save(0, "x", 0);
    assert_int_equal(stage_answer(&stage.a), PS_ENOTREADY);
}

static void some_variables_come_under_other_names(void **state)
{
    const struct wire_rename renames[] = {{"us*", "old/us*"}, {"bias", "b"}};
    struct wire_plan w;

    (void)state;
    run_cluster();
    (void)stage_checkpoint(&good);
    ask(1, "monday", renames, 2);
    assert_int_equal(stage_answer(&stage.a), PS_ENOTREADY);
    stage_pass(1000);
    w = stage_plan();
    assert_int_equal(w.restore, 0);
    assert_int_equal(w.n_lanes, 1);
    assert_int_equal(w.n_variables, 3);
    assert_string_equal(w.variables[0].name, "own");
    assert_string_equal(w.variables[1].name, "old/user");
    assert_string_equal(w.variables[2].name, "b");
    assert_int_equal(w.n_loads, 2);
    assert_int_equal(w.loads[0].variable, w.variables[1].id);
    assert_string_equal(w.loads[0].name, "user");
    assert_int_equal(w.loads[0].brings_lanes, 0);
    assert_string_equal(w.loads[1].name, "bias");
    assert_int_equal(w.parts[0].since < w.plan, 1);
    stage_report(0, &(struct wire_shard){.loaded = w.plan});
    stage_pass(500);
    ask(1, "monday", renames, 2);
    assert_int_equal(stage_answer(&stage.a), PS_OK);
    /* The names are taken now. */
    ask(2, "monday", renames, 2);
    stage_pass(1000);
    tape_clear(&stage.a.net);
    ask(2, "monday", renames, 2);
    assert_int_equal(stage_answer(&stage.a), PS_ECONFLICT);
    assert_int_equal(stage_plan().plan, w.plan);
}

/* "own" has nowhere to come from; the others come from another cluster's, each
 * under the name that it has there. */
static void what_came_from_elsewhere_does_so_again(void **state)
{
    const struct wire_rename renames[] = {{"*", "old/"}};
    const char *folder;
    struct wire_plan w;

    (void)state;
    run_cluster();
    folder = stage_checkpoint(&good);
    ask(1, "monday", renames, 1);
    assert_int_equal(stage_answer(&stage.a), PS_ENOTREADY);
    stage_pass(1000);
    stage_report(0, &(struct wire_shard){.loaded = stage_plan().plan});
    stage_pass(500);
    stage_put_server(0, 81);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.n_parts, 3);
    assert_int_equal(w.parts[0].lane, 81);
    assert_int_equal(w.parts[1].lane, 81);
    assert_int_equal(w.parts[2].lane, 81);
    assert_int_not_equal(w.parts[0].since, w.parts[1].since);
    assert_int_equal(w.parts[1].since, w.parts[2].since);
    assert_int_equal(w.n_loads, 2);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(w.loads[i].since, w.parts[1].since);
        assert_int_equal(w.loads[i].variable, w.parts[1 + i].variable);
        assert_string_equal(w.loads[i].folder, folder);
        assert_string_equal(w.loads[i].name, i == 0 ? "user" : "bias");
        assert_int_equal(w.loads[i].brings_lanes, 0);
    }
}

static void a_cluster_is_not_run_without_the_checkpoints_it_has(void **state)
{
    struct fs *root;

    (void)state;
    run_cluster();
    root = stage.root;
    stage.root = NULL;
    open_again();
    stage_pass(5000);
    assert_false(scheduler_is_running(stage.a.scheduler));
    assert_non_null(scheduler_refusal(stage.a.scheduler));
    assert_non_null(strstr(scheduler_refusal(stage.a.scheduler),
                           "file:///checkpoints: start the scheduler with "
                           "-cp"));
    /* It is done without them for good. */
    stage.accept_empty = true;
    stage_close(&stage.a);
    stage_open(&stage.a, 300, "sched:1");
    stage_pass(5000);
    assert_true(scheduler_is_running(stage.a.scheduler));
    stage.accept_empty = false;
    stage_close(&stage.a);
    stage_open(&stage.a, 400, "sched:1");
    stage_pass(5000);
    assert_true(scheduler_is_running(stage.a.scheduler));
    stage.root = root;
}

static void without_a_root_there_is_nothing_to_restore(void **state)
{
    (void)state;
    stage_pass(500);
    stage_connect(&stage.a);
    assert_int_equal(restore(1, ""), PS_EARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(a_new_store_begins_with_the_newest_good_checkpoint),
        STAGED(the_counters_are_raised_before_anybody_can_serve),
        STAGED(it_is_restored_when_all_servers_are_there),
        STAGED(without_a_good_one_it_refuses_and_names_what_is_damaged),
        STAGED(a_root_without_checkpoints_begins_empty),
        STAGED(a_store_that_has_been_used_goes_on),
        STAGED(one_that_dies_in_between_is_followed_by_another),
        STAGED(the_whole_cluster_goes_back),
        STAGED(the_past_is_that_of_what_it_went_back_to),
        STAGED(readers_positions_are_told_before_the_plan),
        STAGED(a_name_that_is_not_there_changes_nothing),
        STAGED(a_damaged_one_is_refused_with_its_file_and_a_good_one),
        STAGED(of_one_name_the_newest_good_one_is_meant),
        STAGED(another_clusters_brings_rows_but_no_lanes),
        STAGED(two_orders_for_the_same_share_one_restore),
        STAGED(a_save_that_is_open_fails_first),
        STAGED(some_variables_come_under_other_names),
        STAGED(what_came_from_elsewhere_does_so_again),
        STAGED(a_cluster_is_not_run_without_the_checkpoints_it_has),
        STAGED(without_a_root_there_is_nothing_to_restore),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
