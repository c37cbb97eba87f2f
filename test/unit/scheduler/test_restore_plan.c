/* test_restore_plan.c - where the rows of a part come from whose lane has
 * ended, or that cannot be loaded. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "scheduler_stage.h"

/* The root is there, servers run with lanes 11, 12, ..., and "user" and "bias"
 * are declared, as the checkpoints of the stage have them. */
static void run_cluster(uint32_t servers)
{
    struct wire_variable user = stage_variable("user", 8);
    struct wire_variable bias = stage_variable("bias", 1);

    stage_close(&stage.a);
    stage_make_root();
    stage.servers = servers;
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(5000);
    for (uint32_t i = 0; i < servers; i++) {
        stage_put_server(i, 11 + i);
    }
    stage_pass(500);
    stage_connect(&stage.a);
    bias.kind = PS_DENSE;
    bias.rows = 5;
    assert_int_equal(stage_declare(&stage.a, &user), PS_OK);
    assert_int_equal(stage_declare(&stage.a, &bias), PS_OK);
}

/* Made by this cluster now. */
static struct ckpt_manifest own(uint64_t cut)
{
    struct shelf *s = &stage.a.shelf;
    struct wire_cluster c;

    arena_reset(&stage.arena);
    assert_true(shelf_get(s, "cluster") > 0);
    assert_int_equal(wire_cluster_decode(s->data, s->size, &stage.arena, &c),
                     PS_OK);
    return (struct ckpt_manifest){.cluster_high = c.id_high,
                                  .cluster_low = c.id_low,
                                  .cut = cut,
                                  .plan = stage_plan().plan};
}

static const char *save(uint64_t cut)
{
    const struct ckpt_manifest m = own(cut);

    return stage_checkpoint(&m);
}

/* A scheduler that is started anew finds what is there. */
static void follow(uint64_t nonce)
{
    stage_close(&stage.a);
    stage_open(&stage.a, nonce, "sched:2");
    stage_pass(5000);
    assert_true(scheduler_is_running(stage.a.scheduler));
    stage_connect(&stage.a);
}

/* The load of the variable's first part; NULL. */
static const struct wire_load *load_of(const struct wire_plan *w,
                                       uint32_t variable)
{
    const struct wire_part *p = w->parts;
    const struct wire_load *found = NULL;

    while (p->variable != variable) {
        p++;
    }
    for (uint32_t i = 0; i < w->n_loads; i++) {
        if (w->loads[i].since == p->since &&
            (w->loads[i].variable == 0 || w->loads[i].variable == variable)) {
            found = &w->loads[i];
        }
    }
    return found;
}

static void a_dead_servers_parts_come_from_the_newest(void **state)
{
    const char *folder;
    struct wire_plan w;

    (void)state;
    run_cluster(1);
    (void)save(4);
    folder = save(6);
    follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.parts[0].lane, 21);
    assert_int_equal(w.parts[0].since, w.plan);
    assert_int_equal(w.n_loads, 1);
    assert_string_equal(load_of(&w, 1)->folder, folder);
    assert_int_equal(load_of(&w, 1)->cut, 6);
    assert_int_equal(load_of(&w, 1)->brings_lanes, 1);
    assert_int_equal(w.restore, 0);
}

static void of_this_clusters_present_time_that_is(void **state)
{
    struct ckpt_manifest m;
    const char *folder;
    struct wire_plan w;

    (void)state;
    run_cluster(1);
    folder = save(4);
    m = own(5);
    m.restore = 1; /* it was rolled back since, or is to be */
    (void)stage_checkpoint(&m);
    m = own(6);
    m.cluster_low ^= 1;
    (void)stage_checkpoint(&m);
    follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    w = stage_plan();
    assert_string_equal(load_of(&w, 1)->folder, folder);
}

static void without_a_checkpoint_they_begin_empty(void **state)
{
    struct wire_plan w;

    (void)state;
    run_cluster(1);
    stage_put_server(0, 21);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.parts[0].lane, 21);
    assert_int_equal(w.n_loads, 0);
}

static void what_is_saved_is_the_newest_from_then_on(void **state)
{
    struct wire_shard said;
    struct wire_plan w;

    (void)state;
    run_cluster(1);
    (void)save(4);
    follow(300);
    stage_send_save(0, "", 0);
    stage_pass(500);
    assert_int_equal(stage_answer(&stage.a), PS_OK);
    said = stage_saved(0);
    assert_int_equal(said.cut, 5); /* nobody has raised it to 4 in this store */
    stage_report(0, &said);
    stage_pass(2000);
    stage_put_server(0, 21);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(load_of(&w, 1)->cut, 5);
    stage_report(0, &(struct wire_shard){.loaded = w.plan});
    stage_pass(500);
    for (uint64_t cut = 6; cut <= 8; cut++) {
        tape_clear(&stage.a.net);
        stage_send_save(0, "", 0);
        stage_pass(500);
        assert_int_equal(stage_answer(&stage.a), PS_OK);
        said = stage_saved(0);
        assert_int_equal(said.cut, cut);
        said.loaded = w.plan;
        stage_report(0, &said);
        stage_pass(2000);
    }
    stage_put_server(0, 31);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(load_of(&w, 1)->cut, 8);
    /* The former load is nobody's. */
    assert_int_equal(w.n_loads, 1);
}

/* A save is asked for, and its shard says that it is done. */
static void save_now(uint64_t cut)
{
    struct wire_shard said;

    tape_clear(&stage.a.net);
    stage_send_save(0, "", 0);
    stage_pass(500);
    assert_int_equal(stage_answer(&stage.a), PS_OK);
    said = stage_saved(0);
    assert_int_equal(said.cut, cut);
    stage_report(0, &said);
    stage_pass(2000);
}

static void what_is_not_saved_is_listed_without_parts(void **state)
{
    struct wire_variable v = stage_variable("scratch", 8);
    struct shelf *s = &stage.a.shelf;
    struct ckpt_manifest m;
    struct wire_save saved;
    char path[256];
    struct buf text;
    struct err e;

    (void)state;
    run_cluster(1);
    v.no_save = 1;
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    v.durability = PS_LOG;
    v.name = "logged";
    assert_int_equal(stage_declare(&stage.a, &v), PS_EARGUMENT);
    v = stage_variable("scratch", 8);
    assert_int_equal(stage_declare(&stage.a, &v), PS_ECONFLICT);
    assert_non_null(strstr(stage_text(&stage.a), "not saved"));
    save_now(2);
    buf_init(&text);
    assert_true(shelf_get(s, "save") > 0);
    assert_int_equal(wire_save_decode(s->data, s->size, &stage.plans, &saved),
                     PS_OK);
    assert_int_equal(saved.state, SAVE_DONE);
    snprintf(path, sizeof(path), "%s/%s", saved.folder, CKPT_MANIFEST);
    assert_int_equal(
        stage.root->ops->read(stage.root, path, 1 << 20, &text, NULL), PS_OK);
    assert_int_equal(
        ckpt_manifest_decode(text.data, text.size, &stage.plans, &m, &e),
        PS_OK);
    assert_int_equal(m.n_variables, 3);
    assert_string_equal(m.variables[2].name, "scratch");
    assert_int_equal(m.variables[2].no_save, 1);
    assert_int_equal(m.n_parts, 2);
    assert_int_equal(m.parts[1].variable, m.variables[1].id);
    buf_fini(&text);
}

static void say_failed(const char *folder)
{
    char why[128];

    snprintf(why, sizeof(why), "%s: lane-7.safetensors: it is damaged", folder);
    stage_report(0, &(struct wire_shard){.load_failed = 1, .why = why});
    stage_pass(500);
}

static void what_cannot_be_loaded_comes_from_an_older_one(void **state)
{
    const char *first, *second, *third;
    struct wire_plan w;
    uint64_t plan;

    (void)state;
    run_cluster(1);
    first = save(3);
    second = save(4);
    third = save(6);
    stage_damage(second, "manifest.json", 5);
    follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    w = stage_plan();
    assert_string_equal(load_of(&w, 1)->folder, third);
    plan = w.plan;
    say_failed(third);
    w = stage_plan();
    assert_string_equal(load_of(&w, 1)->folder, first);
    assert_int_equal(w.parts[0].lane, 21);
    assert_true(w.parts[0].since > plan);
    plan = w.plan;
    /* It says so still of the former load. */
    say_failed(third);
    assert_int_equal(stage_plan().plan, plan);
    /* Not even then does it begin empty, unless that is asked for. */
    say_failed(first);
    w = stage_plan();
    assert_int_equal(w.plan, plan);
    assert_string_equal(load_of(&w, 1)->folder, first);
    assert_non_null(strstr(scheduler_says(stage.a.scheduler), first));
    stage.accept_empty = true;
    follow(400);
    stage_pass(500);
    w = stage_plan();
    assert_null(load_of(&w, 1));
    assert_int_equal(w.n_loads, 0);
    assert_true(w.parts[0].since > plan);
    assert_non_null(strstr(scheduler_says(stage.a.scheduler), first));
    /* What was told to be lost does not come back later. */
    stage_put_server(0, 31);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.parts[0].lane, 31);
    assert_null(load_of(&w, 1));
}

static void say_missing(uint32_t server, const char *folder)
{
    char why[128];

    snprintf(why, sizeof(why), "%s: lane-7.safetensors: no such file", folder);
    stage_report(server,
                 &(struct wire_shard){.load_failed = LOAD_MISSING, .why = why});
    stage_pass(500);
}

static void remove_file(const char *folder, const char *file)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", folder, file);
    assert_int_equal(stage.root->ops->unlink(stage.root, path, NULL), PS_OK);
}

static void what_is_missing_for_all_comes_from_an_older_one(void **state)
{
    static const char *const files[] = {CKPT_MANIFEST, "lane-7.json",
                                        "lane-7.safetensors"};
    const char *folders[4];

    (void)state;
    run_cluster(1);
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        folders[i] = save(3 + i);
    }
    follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    for (size_t i = 3; i > 0; i--) {
        struct wire_plan w = stage_plan();
        uint64_t plan = w.plan;

        assert_string_equal(load_of(&w, 1)->folder, folders[i]);
        remove_file(folders[i], files[i - 1]);
        say_missing(0, folders[i]);
        w = stage_plan();
        assert_string_equal(load_of(&w, 1)->folder, folders[i - 1]);
        assert_true(w.parts[0].since > plan);
    }
    /* None is left: they are not served, and not emptied. */
    remove_file(folders[0], CKPT_MANIFEST);
    say_missing(0, folders[0]);
    assert_string_equal(stage_plan().loads[0].folder, folders[0]);
    assert_non_null(strstr(scheduler_says(stage.a.scheduler), "not served"));
    assert_non_null(strstr(scheduler_says(stage.a.scheduler), folders[0]));
}

/* Nothing is left of the one that is gone, so the plan says of which time it
 * was. */
static void an_older_one_is_of_the_same_time_as_what_is_missing(void **state)
{
    struct ckpt_manifest m = {.cluster_high = 70, .cut = 3, .restore = 2};
    const char *before, *newest;
    struct wire_plan w;

    (void)state;
    stage_close(&stage.a);
    fs_memory_free(stage.fs);
    stage.fs = fs_memory_new();
    stage_make_root();
    before = stage_checkpoint(&m);
    m.cut = 4;
    m.restore = 1; /* another time of this cluster */
    (void)stage_checkpoint(&m);
    m.cut = 5;
    m.restore = 2;
    newest = stage_checkpoint(&m);
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(500);
    stage_put_server(0, 80);
    stage_pass(500);
    w = stage_plan();
    assert_string_equal(load_of(&w, 1)->folder, newest);
    assert_int_equal(load_of(&w, 1)->restore, 2);
    assert_int_equal(w.restore, 3);
    remove_file(newest, CKPT_MANIFEST);
    say_missing(0, newest);
    w = stage_plan();
    assert_string_equal(load_of(&w, 1)->folder, before);
    assert_int_equal(load_of(&w, 1)->restore, 2);
}

static void what_the_scheduler_sees_is_waited_for(void **state)
{
    const char *newest;
    struct wire_plan w;
    uint64_t plan;

    (void)state;
    run_cluster(1);
    (void)save(3);
    newest = save(4);
    follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    plan = stage_plan().plan;
    say_missing(0, newest);
    stage_pass(30000);
    assert_int_equal(stage_plan().plan, plan);
    /* Whatever it was, it is looked at again. */
    remove_file(newest, "lane-7.json");
    stage_pass(40000);
    w = stage_plan();
    assert_true(w.plan > plan);
    assert_int_equal(load_of(&w, 1)->cut, 3);
}

static void each_folder_that_fails_has_its_turn(void **state)
{
    const char *older, *newer;
    struct wire_plan w;
    uint64_t plan;

    (void)state;
    run_cluster(2);
    older = save(3);
    newer = save(6);
    follow(300);
    /* Server 0 is on the older one, server 1 on the newer. */
    stage_put_server(0, 21);
    stage_pass(500);
    say_failed(newer);
    stage_report(0, &(struct wire_shard){.loaded = stage_plan().plan});
    stage_put_server(1, 22);
    stage_pass(500);
    /* Again for server 0; behind the older one there is none. */
    stage_put_server(0, 31);
    stage_pass(500);
    plan = stage_plan().plan;
    say_failed(older);
    assert_int_equal(stage_plan().plan, plan);
    say_missing(1, newer); /* of which the scheduler sees nothing wrong */
    assert_int_equal(stage_plan().plan, plan);
    remove_file(newer, "lane-7.json");
    stage_pass(61000);
    w = stage_plan();
    for (uint32_t i = 0; i < w.n_parts; i++) {
        if (w.parts[i].lane == 22) {
            assert_true(w.parts[i].since > plan);
        }
    }
    assert_string_equal(w.loads[0].folder, older);
}

/* Cuts of another cluster are not to be compared with this one's. */
static void what_was_made_since_is_newer_than_anothers(void **state)
{
    const struct wire_rename renames[] = {{"user", "theirs"}};
    struct ckpt_manifest m = {.cluster_high = 1, .cut = 50, .name = "theirs"};
    struct wire_restore_request ask = {
        .nonce = 5, .name = "theirs", .renames = renames, .n_renames = 1};
    const char *folder;
    struct wire_plan w;
    struct buf b;

    (void)state;
    run_cluster(1);
    (void)stage_checkpoint(&m);
    buf_init(&b);
    wire_restore_request_encode(&ask, &b);
    stage_send(&stage.a, WIRE_RESTORE, &b);
    buf_fini(&b);
    stage_pass(1000);
    w = stage_plan();
    assert_int_equal(load_of(&w, 3)->cut, 50);
    stage_report(0, &(struct wire_shard){.loaded = w.plan});
    stage_pass(500);
    folder = save(9);
    follow(300);
    stage_put_server(0, 21);
    stage_pass(500);
    w = stage_plan();
    assert_string_equal(load_of(&w, 3)->folder, folder);
    assert_int_equal(load_of(&w, 3)->brings_lanes, 1);
}

static void
parts_that_come_from_different_ones_move_one_after_another(void **state)
{
    const char *older, *newer;
    struct wire_plan w;

    (void)state;
    run_cluster(2);
    older = save(3);
    newer = save(6);
    follow(300);
    /* Server 0 cannot load the newest one. */
    stage_put_server(0, 21);
    stage_pass(500);
    say_failed(newer);
    stage_report(0, &(struct wire_shard){.loaded = stage_plan().plan});
    stage_put_server(1, 22);
    stage_pass(500);
    /* Both end at once. */
    stage.actors[0].is_alive = false;
    stage.actors[1].is_alive = false;
    stage_pass(8000);
    stage_put_server(0, 31);
    stage_put_server(1, 32);
    stage_pass(500);
    w = stage_plan();
    for (uint32_t i = 0; i < w.n_parts; i++) {
        const char *folder = NULL;

        for (uint32_t k = 0; k < w.n_loads; k++) {
            if (w.loads[k].since == w.parts[i].since) {
                folder = w.loads[k].folder;
            }
        }
        assert_non_null(folder);
        assert_string_equal(folder, w.parts[i].lane == 31 ? older : newer);
    }
}

/* ---- servers that do not come back -------------------------------------- */

static void after_a_while_others_take_a_dead_servers_parts(void **state)
{
    struct wire_variable v = stage_variable("more", 8);
    const char *folder;
    struct wire_plan w;

    (void)state;
    stage.successor_ms = 10000;
    run_cluster(2);
    folder = save(6);
    follow(300);
    stage.actors[1].is_alive = false;
    stage_pass(9000);
    w = stage_plan();
    assert_non_null(stage_ended(&w, 12));
    assert_int_equal(w.parts[0].lane, 11);
    assert_int_equal(w.parts[1].lane, 12);
    assert_int_equal(stage_declare(&stage.a, &v), PS_ENOTREADY);
    stage_pass(8000);
    w = stage_plan();
    for (uint32_t i = 0; i < w.n_parts; i++) {
        assert_int_equal(w.parts[i].lane, 11);
    }
    assert_string_equal(w.loads[0].folder, folder);
    assert_int_equal(w.loads[0].since, w.parts[1].since);
    assert_true(w.parts[0].since < w.parts[1].since);
    /* The cluster goes on. */
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    /* It may come back, with nothing. */
    stage_put_server(1, 22);
    stage_pass(500);
    w = stage_plan();
    assert_non_null(stage_live(&w, 22));
    assert_int_equal(w.parts[1].lane, 11);
}

static void a_server_is_waited_for_where_no_other_has_room(void **state)
{
    struct wire_variable v = stage_variable("large", 8);
    struct wire_plan w;

    (void)state;
    stage.successor_ms = 10000;
    stage.limits.memory_bytes = 60 << 20;
    run_cluster(2);
    /* 2^20 rows of 32 bytes and 16 of the index are 48 MiB, half of it each;
     * with another such variable a server has 48 of 60. */
    v.rows = 1 << 20;
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    v.name = "large too";
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    stage.actors[1].is_alive = false;
    stage_pass(30000);
    w = stage_plan();
    for (uint32_t i = 0; i < w.n_parts; i++) {
        bool is_large = w.parts[i].variable >= 3;

        assert_int_equal(w.parts[i].lane,
                         w.parts[i].begin > 0 && is_large ? 12 : 11);
    }
}

static void a_server_is_waited_for_ever_where_that_is_asked_for(void **state)
{
    struct wire_plan w;

    (void)state;
    run_cluster(2);
    stage.actors[1].is_alive = false;
    stage_pass(200000);
    w = stage_plan();
    assert_int_equal(w.parts[1].lane, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(a_dead_servers_parts_come_from_the_newest),
        STAGED(of_this_clusters_present_time_that_is),
        STAGED(without_a_checkpoint_they_begin_empty),
        STAGED(what_is_saved_is_the_newest_from_then_on),
        STAGED(what_is_not_saved_is_listed_without_parts),
        STAGED(what_cannot_be_loaded_comes_from_an_older_one),
        STAGED(what_is_missing_for_all_comes_from_an_older_one),
        STAGED(an_older_one_is_of_the_same_time_as_what_is_missing),
        STAGED(what_the_scheduler_sees_is_waited_for),
        STAGED(each_folder_that_fails_has_its_turn),
        STAGED(what_was_made_since_is_newer_than_anothers),
        STAGED(parts_that_come_from_different_ones_move_one_after_another),
        STAGED(after_a_while_others_take_a_dead_servers_parts),
        STAGED(a_server_is_waited_for_where_no_other_has_room),
        STAGED(a_server_is_waited_for_ever_where_that_is_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
