/* test_move.c - the scheduler's side of a part that goes to another shard. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "coord/lease.h"
#include "restore_cluster.h"

static struct wire_move asked; /* last */

static struct wire_move move_to(uint32_t server)
{
    return (struct wire_move){.name = "user", .server = server};
}

static void send_move(const struct wire_move *m)
{
    struct buf b;

    asked = *m;
    buf_init(&b);
    wire_move_encode(m, &b);
    stage_send(&stage.a, WIRE_MOVE, &b);
    buf_fini(&b);
}

/* As a client waits, who asks again when it is told that it is too early. */
static int wait_for_end(uint64_t ms)
{
    int rc = stage_answer(&stage.a);

    for (uint64_t i = 0; i < ms && (rc == NO_ANSWER || rc == PS_ENOTREADY);
         i += 100) {
        struct wire_move again = asked;

        if (rc == PS_ENOTREADY) {
            send_move(&again);
        }
        stage_pass(100);
        rc = stage_answer(&stage.a);
    }
    return rc;
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

static void report(uint32_t server, const struct wire_moving *m, uint32_t state,
                   uint64_t steps)
{
    stage_report(server, &(struct wire_shard){.moved = m->number,
                                              .moved_state = state,
                                              .moved_rows = 1000,
                                              .moved_done = steps,
                                              .moved_steps = steps,
                                              .loaded = stage_plan().plan,
                                              .why = "the disk is broken"});
}

static void say(uint32_t server, const struct wire_moving *m, uint32_t state)
{
    report(server, m, state, 0);
    stage_pass(500);
}

static void expect_stays(uint64_t lane, int status)
{
    struct wire_plan w = stage_plan();

    assert_int_equal(w.n_moves, 0);
    assert_int_equal(w.parts[0].lane, lane);
    assert_int_equal(wait_for_end(500), status);
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
    assert_int_equal(wait_for_end(500), PS_OK);
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

static void it_ends_with_the_shard_that_has_it(void **state)
{
    (void)state;
    (void)begin_move();
    stage_put_server(0, 21);
    stage_pass(500);
    expect_stays(21, PS_EIO);
    assert_string_equal(
        stage_text(&stage.a),
        "did not move \"user\" buckets 0 to 32767 from server 0 "
        "shard 0 to server 1 shard 0: the part or one of the "
        "two shards has gone: ask again when they are there");
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
    assert_non_null(
        strstr(stage_text(&stage.a), " to server 1 shard 0: the part"));
    assert_int_equal(stage_plan().parts[0].since, since);
}

static void it_ends_if_it_cannot_be_written(void **state)
{
    struct wire_moving m = begin_move();

    (void)state;
    say(0, &m, SAVED_FAILED);
    expect_stays(11, PS_EIO);
    assert_string_equal(
        stage_text(&stage.a),
        "did not move \"user\" buckets 0 to 32767 from server 0 "
        "shard 0 to server 1 shard 0: the disk is broken");
}

/* One step, which is less than a row a second, each 20 s. */
static void it_may_take_long_if_it_gets_on(void **state)
{
    struct wire_moving m = begin_move();

    (void)state;
    for (uint64_t i = 1; i <= 30; i++) {
        report(0, &m, SAVED_WRITING, i);
        assert_int_equal(wait_for_end(20000), NO_ANSWER);
        assert_int_equal(stage_plan().n_moves, 1);
    }
    say(0, &m, SAVED_DONE);
    assert_int_equal(wait_for_end(500), PS_OK);
    assert_int_equal(stage_plan().parts[0].lane, 12);
}

static void what_stands_still_for_30_s_is_given_up(void **state)
{
    struct wire_moving m = begin_move();

    (void)state;
    assert_int_equal(wait_for_end(25000), NO_ANSWER);
    report(0, &m, SAVED_WRITING, 7);
    assert_int_equal(wait_for_end(29000), NO_ANSWER);
    assert_int_equal(stage_plan().n_moves, 1);
    assert_int_equal(wait_for_end(2000), PS_EIO);
    assert_string_equal(
        stage_text(&stage.a),
        "did not move \"user\" buckets 0 to 32767 from server 0 "
        "shard 0 to server 1 shard 0: for 30 s nothing of it "
        "was written: see to the disk of -cp, and ask again");
    expect_stays(11, NO_ANSWER);
}

static void who_waits_is_told_how_far_it_is(void **state)
{
    struct wire_moving m = begin_move();
    struct wire_move again = asked;

    (void)state;
    stage_pass(1000);
    assert_int_equal(stage_answer(&stage.a), PS_ENOTREADY);
    assert_string_equal(stage_text(&stage.a),
                        "server 0 shard 0 is to write it");
    send_move(&again);
    report(0, &m, SAVED_WRITING, 120);
    stage_pass(1200);
    assert_int_equal(stage_answer(&stage.a), PS_ENOTREADY);
    assert_string_equal(stage_text(&stage.a),
                        "server 0 shard 0 writes it: 120 of 1000 rows");
    /* It had not asked again when it ended. */
    say(0, &m, SAVED_FAILED);
    assert_int_equal(stage_answer(&stage.a), NO_ANSWER);
    send_move(&again);
    stage_pass(300);
    expect_stays(11, PS_EIO);
}

/* A client that has gone, and one that comes again and again. */
static void who_asks_again_does_not_ask_twice(void **state)
{
    struct wire_moving m = begin_move();
    struct wire_move again = asked;

    (void)state;
    for (int i = 0; i < 3; i++) {
        scheduler_on_close(stage.a.scheduler, stage.a.connection);
        stage_connect(&stage.a);
        send_move(&again);
        stage_pass(300);
    }
    say(0, &m, SAVED_FAILED);
    assert_int_equal(wait_for_end(500), PS_EIO);
    expect_stays(11, NO_ANSWER);
}

static void one_is_under_way_at_a_time(void **state)
{
    struct wire_moving m = begin_move();
    struct wire_move other = {
        .name = "user", .bucket = LIMIT_BUCKETS - 1, .server = 0};
    struct wire_plan w;

    (void)state;
    send_move(&other);
    stage_pass(1200);
    assert_int_equal(stage_answer(&stage.a), PS_ENOTREADY); /* of the first */
    assert_int_equal(stage_answer(&stage.a), PS_ENOTREADY);
    assert_string_equal(stage_text(&stage.a),
                        "another part moves: \"user\" buckets 0 to 32767 from "
                        "server 0 shard 0 to server 1 shard 0");
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

/* A write of the plan that the store has not done, nor answered, yet. */
struct late {
    struct coord_request r;
    struct buf data;
};

/* Time goes on until the scheduler writes the plan. */
static void take_write(struct late *late)
{
    struct shelf *shelf = &stage.a.shelf;
    const struct shelf_request *q;

    for (int i = 0; !shelf_has(shelf, COORD_CAS, "plan"); i++) {
        assert_true(i < 1000);
        stage_renew();
        stage.a.net.now_us += 10 * MS;
        scheduler_tick(stage.a.scheduler);
        while (!shelf_has(shelf, COORD_CAS, "plan") &&
               shelf_do_key(shelf, NULL)) {
        }
    }
    for (q = shelf->first; strcmp(q->r.key, "plan") != 0; q = q->next) {
    }
    late->r = q->r;
    buf_init(&late->data);
    assert_int_equal(buf_append(&late->data, q->r.data, q->r.size), PS_OK);
    late->r.data = late->data.data;
}

/* It is answered: nobody knows what comes of it. */
static void lose_answer(void)
{
    stage.a.shelf.fail_status = PS_EUNSURE;
    stage.a.shelf.fail_with_effect = false;
    stage.a.shelf.fail_count = 1;
    assert_true(shelf_do_key(&stage.a.shelf, "plan"));
    assert_int_equal(stage.a.shelf.fail_count, 0);
}

/* The store does it now. */
static int land(struct late *late)
{
    struct coord_result result;
    struct buf out;

    buf_init(&out);
    coord_file_do(stage.a.shelf.file, &late->r, &out, &result);
    buf_fini(&out);
    buf_fini(&late->data);
    return result.status;
}

/* The scheduler does, while its write is unanswered. */
static void look_at(const char *server)
{
    for (int i = 0; i < 50; i++) {
        stage.a.net.now_us += 10 * MS;
        scheduler_tick(stage.a.scheduler);
        while (shelf_do_key(&stage.a.shelf, server)) {
        }
    }
}

static struct wire_plan plan_of(const struct late *late)
{
    struct wire_plan w;

    assert_int_equal(
        wire_plan_decode(late->data.data, late->data.size, &stage.plans, &w),
        PS_OK);
    return w;
}

/* What was lost comes before what was written after it, or too late. */
static void end(struct late *lost, struct late *after, bool is_too_late)
{
    if (is_too_late) {
        stage_pass(500);
    }
    assert_int_equal(land(lost), is_too_late ? PS_ECONFLICT : PS_OK);
    buf_fini(&after->data);
    stage_pass(500);
}

static void lose_order(bool is_too_late)
{
    struct wire_move m = move_to(1);
    struct late order, again;
    struct wire_plan w;

    restore_run_cluster(2);
    send_move(&m);
    take_write(&order);
    assert_int_equal(plan_of(&order).n_moves, 1);
    lose_answer();
    take_write(&again);
    end(&order, &again, is_too_late);
    w = stage_plan();
    assert_int_equal(w.n_moves, 1);
    assert_int_equal(w.moves[0].number, w.plan);
    assert_int_equal(wait_for_end(500), NO_ANSWER);
    say(0, &w.moves[0], SAVED_DONE);
    assert_int_equal(wait_for_end(500), PS_OK);
    assert_int_equal(stage_plan().parts[0].lane, 12);
}

static void an_order_that_lands_late_is_given_once(void **state)
{
    (void)state;
    lose_order(false);
}

static void an_order_that_lands_too_late_is_given_once(void **state)
{
    (void)state;
    lose_order(true);
}

/* The part is given away, or so the store will say; the shard that is to get it
 * ends, and the scheduler gives the move up. */
static void lose_hand_over(bool is_too_late)
{
    struct wire_moving m = begin_move();
    struct late given, given_up;
    struct wire_plan w;

    make_folder(m.folder);
    report(0, &m, SAVED_DONE, 1);
    take_write(&given);
    assert_int_equal(plan_of(&given).parts[0].lane, 12);
    stage_put_server(1, 22);
    look_at("server/1");
    lose_answer();
    take_write(&given_up);
    w = plan_of(&given_up);
    assert_int_equal(w.n_moves, 0);
    assert_int_equal(w.parts[0].lane, 11);
    end(&given, &given_up, is_too_late);
    w = stage_plan();
    assert_int_equal(w.n_moves, 0);
    assert_int_equal(w.parts[0].lane, is_too_late ? 11 : 22);
    assert_int_equal(is_there(m.folder), !is_too_late);
    assert_int_equal(wait_for_end(1000), is_too_late ? PS_EIO : PS_OK);
    if (!is_too_late) {
        assert_string_equal(restore_load_of(&w, 1)->folder, m.folder);
    }
}

static void what_was_given_away_late_is_not_given_up(void **state)
{
    (void)state;
    lose_hand_over(false);
}

static void what_was_given_up_is_not_given_away_late(void **state)
{
    (void)state;
    lose_hand_over(true);
}

/* It stands still and is given up; the shard says then that all is written. */
static void lose_end(bool is_too_late)
{
    struct wire_moving m = begin_move();
    struct late given_up, given;
    struct wire_plan w;

    make_folder(m.folder);
    assert_int_equal(wait_for_end(29000), NO_ANSWER);
    take_write(&given_up);
    assert_int_equal(plan_of(&given_up).n_moves, 0);
    report(0, &m, SAVED_DONE, 1);
    look_at("server/0");
    lose_answer();
    take_write(&given);
    assert_int_equal(plan_of(&given).parts[0].lane, 12);
    end(&given_up, &given, is_too_late);
    w = stage_plan();
    assert_int_equal(w.n_moves, 0);
    assert_int_equal(w.parts[0].lane, is_too_late ? 12 : 11);
    assert_int_equal(is_there(m.folder), is_too_late);
    assert_int_equal(wait_for_end(1000), is_too_late ? PS_OK : PS_EIO);
    if (!is_too_late) {
        assert_non_null(strstr(stage_text(&stage.a), "for 30 s"));
    }
}

static void an_end_that_lands_late_is_the_end(void **state)
{
    (void)state;
    lose_end(false);
}

static void an_end_that_lands_too_late_ends_nothing(void **state)
{
    (void)state;
    lose_end(true);
}

/* It gets on again: nothing is to be written, but that it was not given up. */
static void an_end_that_may_yet_land_is_written_over(void **state)
{
    struct wire_moving m = begin_move();
    struct late given_up, again;

    (void)state;
    assert_int_equal(wait_for_end(29000), NO_ANSWER);
    take_write(&given_up);
    report(0, &m, SAVED_WRITING, 5);
    look_at("server/0");
    lose_answer();
    take_write(&again);
    assert_int_equal(plan_of(&again).n_moves, 1);
    end(&given_up, &again, true);
    say(0, &m, SAVED_DONE);
    assert_int_equal(wait_for_end(500), PS_OK);
    assert_int_equal(stage_plan().parts[0].lane, 12);
}

/* Another scheduler has read the plan, and writes that it is its own. */
static void lose_in_a_new_term(bool is_too_late)
{
    struct wire_moving m = begin_move();
    struct wire_move again = asked;
    struct late given, taken;
    struct wire_plan w;

    make_folder(m.folder);
    report(0, &m, SAVED_DONE, 1);
    take_write(&given);
    stage_close(&stage.a);
    stage_open(&stage.a, 300, "sched:2");
    take_write(&taken);
    assert_int_equal(plan_of(&taken).n_moves, 1);
    report(0, &m, SAVED_WRITING, 1); /* that is what it had said before */
    end(&given, &taken, is_too_late);
    assert_true(scheduler_is_running(stage.a.scheduler));
    stage_connect(&stage.a);
    send_move(&again);
    w = stage_plan();
    assert_int_equal(w.n_moves, is_too_late);
    assert_int_equal(w.parts[0].lane, is_too_late ? 11 : 12);
    if (is_too_late) {
        assert_int_equal(w.moves[0].number, m.number);
        say(0, &m, SAVED_DONE);
    }
    assert_int_equal(wait_for_end(1000), PS_OK);
    w = stage_plan();
    assert_int_equal(w.parts[0].lane, 12);
    assert_string_equal(restore_load_of(&w, 1)->folder, m.folder);
    assert_true(is_there(m.folder));
}

static void
what_a_former_scheduler_gives_away_is_known_to_the_next(void **state)
{
    (void)state;
    lose_in_a_new_term(false);
}

static void a_former_scheduler_gives_nothing_away_in_a_new_term(void **state)
{
    (void)state;
    lose_in_a_new_term(true);
}

/* Nobody can say then that it gets on. */
static void while_the_store_is_away_nothing_stands_still(void **state)
{
    (void)state;
    (void)begin_move();
    assert_int_equal(wait_for_end(20000), NO_ANSWER);
    stage.a.shelf.is_away = true;
    stage_pass(60000);
    stage.a.shelf.is_away = false;
    stage_pass(8000);
    assert_int_equal(stage_plan().n_moves, 1);
    stage_pass(5000);
    assert_int_equal(stage_plan().n_moves, 0);
}

/* Another one ran for a while: what this one knew is old. */
static void a_scheduler_that_runs_again_waits_anew(void **state)
{
    struct buf none;

    (void)state;
    (void)begin_move();
    assert_int_equal(wait_for_end(25000), NO_ANSWER);
    buf_init(&none);
    draft_lease(&stage.record, 999, 1, LEASE_TAKEN, &none);
    shelf_put(&stage.a.shelf, "scheduler", &stage.record);
    stage_pass(1000);
    assert_false(scheduler_is_running(stage.a.scheduler));
    stage_pass(5000);
    assert_true(scheduler_is_running(stage.a.scheduler));
    stage_pass(20000);
    assert_int_equal(stage_plan().n_moves, 1);
    stage_pass(12000);
    assert_int_equal(stage_plan().n_moves, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(it_is_ordered_written_and_given),
        STAGED(what_another_move_has_written_says_nothing),
        STAGED(who_asks_when_it_is_there_is_answered_at_once),
        STAGED(it_ends_with_the_shard_that_has_it),
        STAGED(it_ends_with_the_shard_that_is_to_get_it),
        STAGED(it_ends_if_it_cannot_be_written),
        STAGED(it_may_take_long_if_it_gets_on),
        STAGED(what_stands_still_for_30_s_is_given_up),
        STAGED(who_waits_is_told_how_far_it_is),
        STAGED(who_asks_again_does_not_ask_twice),
        STAGED(one_is_under_way_at_a_time),
        STAGED(it_waits_for_a_save),
        STAGED(a_save_waits_for_it),
        STAGED(a_new_scheduler_goes_on_with_it),
        STAGED(what_was_not_given_is_removed),
        STAGED(the_folder_stays_until_a_later_checkpoint_is_whole),
        STAGED(an_order_that_lands_late_is_given_once),
        STAGED(an_order_that_lands_too_late_is_given_once),
        STAGED(what_was_given_away_late_is_not_given_up),
        STAGED(what_was_given_up_is_not_given_away_late),
        STAGED(an_end_that_lands_late_is_the_end),
        STAGED(an_end_that_lands_too_late_ends_nothing),
        STAGED(an_end_that_may_yet_land_is_written_over),
        STAGED(what_a_former_scheduler_gives_away_is_known_to_the_next),
        STAGED(a_former_scheduler_gives_nothing_away_in_a_new_term),
        STAGED(while_the_store_is_away_nothing_stands_still),
        STAGED(a_scheduler_that_runs_again_waits_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
