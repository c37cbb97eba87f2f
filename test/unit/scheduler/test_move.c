/* test_move.c - the scheduler's side of a part that goes to another shard. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "restore_cluster.h"

static struct wire_move move_to(uint32_t server)
{
    return (struct wire_move){.name = "user", .server = server};
}

static void send_move(const struct wire_move *m)
{
    struct buf b;

    buf_init(&b);
    wire_move_encode(m, &b);
    stage_send(&stage.a, WIRE_MOVE, &b);
    buf_fini(&b);
}

/* Two servers: of "user" lane 11 has buckets from 0, lane 12 those from 32768.
 * The first is asked to go to the other. */
static struct wire_moving begin_move(void)
{
    struct wire_move m = move_to(1);
    struct wire_plan w;

    restore_run_cluster(2);
    w = stage_plan();
    assert_int_equal(w.parts[0].lane, 11);
    assert_int_equal(w.parts[0].end, LIMIT_BUCKETS / 2);
    send_move(&m);
    stage_pass(300);
    assert_int_equal(stage_answer(&stage.a), NO_ANSWER);
    w = stage_plan();
    assert_int_equal(w.n_moves, 1);
    return w.moves[0];
}

static void say(uint32_t server, const struct wire_moving *m, uint32_t state)
{
    stage_report(server, &(struct wire_shard){.moved = m->number,
                                              .moved_state = state,
                                              .loaded = stage_plan().plan,
                                              .why = "the disk is broken"});
    stage_pass(500);
}

static void expect_stays(uint64_t lane, int status)
{
    struct wire_plan w = stage_plan();

    assert_int_equal(w.n_moves, 0);
    assert_int_equal(w.parts[0].lane, lane);
    assert_int_equal(stage_answer(&stage.a), status);
}

static void it_is_ordered_written_and_given(void **state)
{
    struct wire_moving m = begin_move();
    struct ckpt_move name;
    struct wire_plan w = stage_plan();
    uint64_t term = w.term;

    (void)state;
    assert_int_equal(m.number, w.plan);
    assert_int_equal(m.variable, 1);
    assert_int_equal(m.begin, 0);
    assert_int_equal(m.end, LIMIT_BUCKETS / 2);
    assert_int_equal(m.from, 11);
    assert_int_equal(m.to, 12);
    assert_true(ckpt_move_parse(m.folder, &name));
    assert_int_equal(name.number, m.number);
    assert_int_equal(w.parts[0].lane, 11);
    say(0, &m, SAVED_WRITING);
    assert_int_equal(stage_plan().n_moves, 1);
    say(0, &m, SAVED_DONE);
    w = stage_plan();
    assert_int_equal(w.n_moves, 0);
    assert_int_equal(w.parts[0].lane, 12);
    assert_int_equal(w.parts[0].since, m.number + 1);
    assert_true(w.term > term);
    assert_int_equal(w.n_loads, 1);
    assert_int_equal(w.loads[0].variable, 1);
    assert_int_equal(w.loads[0].since, w.parts[0].since);
    assert_int_equal(w.loads[0].brings_lanes, 1);
    assert_string_equal(w.loads[0].folder, m.folder);
    assert_int_equal(stage_answer(&stage.a), PS_OK);
}

static void what_another_move_has_written_says_nothing(void **state)
{
    struct wire_moving m = begin_move();

    (void)state;
    m.number--;
    say(0, &m, SAVED_DONE);
    assert_int_equal(stage_plan().n_moves, 1);
    m.number++;
    say(1, &m, SAVED_DONE); /* not the shard that has it */
    assert_int_equal(stage_plan().n_moves, 1);
}

static void who_asks_when_it_is_there_is_answered_at_once(void **state)
{
    struct wire_move m = move_to(0);
    uint64_t plan;

    (void)state;
    restore_run_cluster(2);
    plan = stage_plan().plan;
    send_move(&m);
    stage_pass(300);
    assert_int_equal(stage_answer(&stage.a), PS_OK);
    assert_int_equal(stage_plan().plan, plan);
}

static void expect_refused(const struct wire_move *m, int status,
                           const char *text)
{
    uint64_t plan = stage_plan().plan;

    send_move(m);
    stage_pass(300);
    assert_int_equal(stage_answer(&stage.a), status);
    assert_non_null(strstr(stage_text(&stage.a), text));
    assert_int_equal(stage_plan().plan, plan);
}

static void what_cannot_be_is_refused_by_name(void **state)
{
    struct wire_variable v = stage_variable("logged", 8);
    struct wire_move m = move_to(1);

    (void)state;
    stage.has_log = true;
    restore_run_cluster(2);
    v.durability = PS_LOG;
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    m.name = "logged";
    expect_refused(&m, PS_EARGUMENT, "\"logged\"");
    m.name = "nobody";
    expect_refused(&m, PS_ENOTFOUND, "no variable");
    m = move_to(1);
    m.bucket = LIMIT_BUCKETS;
    expect_refused(&m, PS_ENOTFOUND, "65536");
    m = move_to(2);
    expect_refused(&m, PS_ENOTFOUND, "no such shard");
    m = move_to(1);
    m.shard = 1;
    expect_refused(&m, PS_ENOTFOUND, "no such shard");
}

static void without_a_place_for_checkpoints_it_is_refused(void **state)
{
    struct wire_variable v = stage_variable("user", 8);
    struct wire_move m = move_to(1);

    (void)state;
    stage_close(&stage.a);
    stage.servers = 2;
    stage_open(&stage.a, 200, "sched:1");
    stage_pass(5000);
    stage_put_server(0, 11);
    stage_put_server(1, 12);
    stage_pass(500);
    stage_connect(&stage.a);
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    expect_refused(&m, PS_EARGUMENT, "-cp");
}

/* 2^20 rows of 32 bytes and 16 of the index are 24 MiB a part; the other server
 * has 24 of 40. */
static void a_server_without_room_does_not_get_it(void **state)
{
    struct wire_variable v = stage_variable("large", 8);
    struct wire_move m = move_to(1);

    (void)state;
    stage.limits.memory_bytes = 40 << 20;
    restore_run_cluster(2);
    v.rows = 1 << 20;
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    m.name = "large";
    expect_refused(&m, PS_ELIMIT, "server 1 has no room");
}

static void it_ends_with_the_shard_that_has_it(void **state)
{
    (void)state;
    (void)begin_move();
    stage_put_server(0, 21);
    stage_pass(500);
    expect_stays(21, PS_EIO);
    assert_non_null(strstr(stage_text(&stage.a), "gone"));
}

static void it_ends_with_the_shard_that_is_to_get_it(void **state)
{
    uint64_t since;

    (void)state;
    (void)begin_move();
    since = stage_plan().parts[0].since;
    stage_put_server(1, 22);
    stage_pass(500);
    expect_stays(11, PS_EIO);
    assert_int_equal(stage_plan().parts[0].since, since);
}

static void it_ends_if_it_cannot_be_written(void **state)
{
    struct wire_moving m = begin_move();

    (void)state;
    say(0, &m, SAVED_FAILED);
    expect_stays(11, PS_EIO);
    assert_string_equal(stage_text(&stage.a), "the disk is broken");
}

static void a_disk_that_hangs_does_not_hold_the_part_for_ever(void **state)
{
    (void)state;
    (void)begin_move();
    stage_pass(28000);
    assert_int_equal(stage_plan().n_moves, 1);
    stage_pass(3000);
    expect_stays(11, PS_EIO);
}

static void one_is_under_way_at_a_time(void **state)
{
    struct wire_moving m = begin_move();
    struct wire_move other = {
        .name = "user", .bucket = LIMIT_BUCKETS - 1, .server = 0};
    struct wire_plan w;

    (void)state;
    send_move(&other);
    stage_pass(300);
    w = stage_plan();
    assert_int_equal(w.n_moves, 1);
    assert_int_equal(w.moves[0].number, m.number);
    say(0, &m, SAVED_DONE);
    assert_int_equal(stage_plan().n_moves, 0); /* the first is being loaded */
    stage_report(1, &(struct wire_shard){.loaded = stage_plan().plan});
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.n_moves, 1);
    assert_int_equal(w.moves[0].begin, LIMIT_BUCKETS / 2);
    assert_int_equal(w.moves[0].from, 12);
    assert_int_equal(w.moves[0].to, 11);
}

static void it_waits_for_a_save(void **state)
{
    struct wire_move m = move_to(1);

    (void)state;
    restore_run_cluster(2);
    stage_put_session(1);
    stage_send_save(1, "", 0);
    stage_pass(500);
    assert_int_equal(stage_answer(&stage.a), PS_OK);
    assert_int_equal(stage_save_record().state, SAVE_OPEN);
    send_move(&m);
    stage_pass(500);
    assert_int_equal(stage_answer(&stage.a), NO_ANSWER);
    assert_int_equal(stage_plan().n_moves, 0);
}

static void a_save_waits_for_it(void **state)
{
    struct wire_moving m = begin_move();

    (void)state;
    stage_send_save(1, "", 0);
    stage_pass(500);
    assert_int_equal(stage_answer(&stage.a), PS_ENOTREADY);
    assert_non_null(strstr(stage_text(&stage.a), "moves to another shard"));
    say(0, &m, SAVED_FAILED);
    assert_int_equal(stage_answer(&stage.a), PS_EIO);
    stage_send_save(1, "", 0);
    stage_pass(500);
    assert_int_equal(stage_answer(&stage.a), PS_OK);
    assert_int_equal(stage_save_record().plan, stage_plan().plan);
}

static void a_new_scheduler_goes_on_with_it(void **state)
{
    struct wire_moving m = begin_move();
    struct wire_plan w;

    (void)state;
    stage_follow(300);
    w = stage_plan();
    assert_int_equal(w.n_moves, 1);
    assert_int_equal(w.moves[0].number, m.number);
    say(0, &m, SAVED_DONE);
    w = stage_plan();
    assert_int_equal(w.parts[0].lane, 12);
    assert_string_equal(restore_load_of(&w, 1)->folder, m.folder);
}

static bool is_there(const char *folder)
{
    struct buf b;
    char path[160];
    int rc;

    buf_init(&b);
    snprintf(path, sizeof(path), "%s/manifest.json", folder);
    rc = stage.root->ops->read(stage.root, path, 100, &b, NULL);
    buf_fini(&b);
    return rc == PS_OK;
}

static void make_folder(const char *folder)
{
    const struct fs_ops *ops = stage.root->ops;
    char path[160];

    snprintf(path, sizeof(path), "%s/manifest.json", folder);
    assert_int_equal(ops->mkdir(stage.root, folder, NULL), PS_OK);
    assert_int_equal(ops->write_new(stage.root, path, "{}", 2, false, NULL),
                     PS_OK);
    assert_true(is_there(folder));
}

static void what_was_not_given_is_removed(void **state)
{
    struct wire_moving m = begin_move();

    (void)state;
    make_folder(m.folder);
    say(0, &m, SAVED_FAILED);
    assert_false(is_there(m.folder));
}

/* The folder is all there is of what the old shard acknowledged. */
static void the_folder_stays_until_a_later_checkpoint_is_whole(void **state)
{
    struct wire_moving m = begin_move();
    struct wire_plan w;

    (void)state;
    make_folder(m.folder);
    say(0, &m, SAVED_DONE);
    stage_put_server(1, 22);
    stage_pass(500);
    w = stage_plan();
    assert_int_equal(w.parts[0].lane, 22);
    assert_string_equal(restore_load_of(&w, 1)->folder, m.folder);
    assert_true(is_there(m.folder));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(it_is_ordered_written_and_given),
        STAGED(what_another_move_has_written_says_nothing),
        STAGED(who_asks_when_it_is_there_is_answered_at_once),
        STAGED(what_cannot_be_is_refused_by_name),
        STAGED(without_a_place_for_checkpoints_it_is_refused),
        STAGED(a_server_without_room_does_not_get_it),
        STAGED(it_ends_with_the_shard_that_has_it),
        STAGED(it_ends_with_the_shard_that_is_to_get_it),
        STAGED(it_ends_if_it_cannot_be_written),
        STAGED(a_disk_that_hangs_does_not_hold_the_part_for_ever),
        STAGED(one_is_under_way_at_a_time),
        STAGED(it_waits_for_a_save),
        STAGED(a_save_waits_for_it),
        STAGED(a_new_scheduler_goes_on_with_it),
        STAGED(what_was_not_given_is_removed),
        STAGED(the_folder_stays_until_a_later_checkpoint_is_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
