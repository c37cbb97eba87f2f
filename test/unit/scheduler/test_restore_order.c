/* test_restore_order.c - what a client orders is done once, whoever is asked
 * again; and it ends when the disk hangs. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "scheduler_stage.h"

/* Server 0 on lane 11, and the checkpoints "monday" and "tuesday". */
static void run_cluster(void)
{
    struct wire_variable v = stage_variable("own", 8);
    struct shelf *s = &stage.a.shelf;
    struct ckpt_manifest m = {.cut = 3, .plan = 2, .name = "monday"};
    struct wire_cluster c;

    stage_begin_with_root(11);
    assert_int_equal(stage_declare(&stage.a, &v), PS_OK);
    arena_reset(&stage.arena);
    assert_true(shelf_get(s, "cluster") > 0);
    assert_int_equal(wire_cluster_decode(s->data, s->size, &stage.arena, &c),
                     PS_OK);
    m.cluster_high = c.id_high;
    m.cluster_low = c.id_low;
    (void)stage_checkpoint(&m);
    m.cut = 4;
    m.name = "tuesday";
    (void)stage_checkpoint(&m);
}

static int ask(uint64_t nonce, const char *name)
{
    struct wire_restore_request m = {.nonce = nonce, .name = name};
    struct buf b;

    buf_init(&b);
    wire_restore_request_encode(&m, &b);
    stage_send(&stage.a, WIRE_RESTORE, &b);
    buf_fini(&b);
    return stage_answer(&stage.a);
}

/* Asks again and again, as a client does, for up to a second. */
static int restore(uint64_t nonce, const char *name)
{
    int rc = PS_ENOTREADY;

    for (int i = 0; i < 20 && rc == PS_ENOTREADY; i++) {
        rc = ask(nonce, name);
        stage_pass(50);
    }
    return rc;
}

/* The number of the restore that was done. */
static uint64_t answer(void)
{
    struct wire_restore_answer m;
    const struct tape_frame *f = stage.a.answer;

    arena_reset(&stage.arena);
    assert_int_equal(wire_restore_answer_decode(frame_body(f->frame),
                                                f->h.body_bytes, &stage.arena,
                                                &m),
                     PS_OK);
    assert_true(m.plan <= stage_plan().plan);
    return m.restore;
}

/* The server takes new lanes and has loaded. */
static void load(uint64_t lane)
{
    stage_put_server(0, lane);
    stage_pass(500);
    stage_report(0, &(struct wire_shard){.loaded = stage_plan().plan});
    stage_pass(500);
}

static void the_next_scheduler_knows_an_order_that_was_done(void **state)
{
    (void)state;
    run_cluster();
    assert_int_equal(restore(1, "monday"), PS_ENOTREADY);
    load(81);
    assert_int_equal(stage_plan().restore, 1);
    /* The scheduler ends before it is asked again. */
    stage_follow(300);
    assert_int_equal(restore(1, "monday"), PS_OK);
    assert_int_equal(answer(), 1);
    assert_int_equal(stage_plan().restore, 1);
    assert_int_equal(restore(2, "monday"), PS_ENOTREADY);
    assert_int_equal(stage_plan().restore, 2);
}

static void one_that_follows_while_it_loads_waits_for_that(void **state)
{
    (void)state;
    run_cluster();
    assert_int_equal(restore(1, "monday"), PS_ENOTREADY);
    stage_follow(300);
    assert_int_equal(restore(1, "monday"), PS_ENOTREADY);
    assert_int_equal(stage_plan().restore, 1);
    load(81);
    assert_int_equal(restore(1, "monday"), PS_OK);
    assert_int_equal(answer(), 1);
    assert_int_equal(stage_plan().restore, 1);
}

static void an_order_is_done_once_whatever_was_ordered_since(void **state)
{
    (void)state;
    run_cluster();
    assert_int_equal(restore(1, "monday"), PS_ENOTREADY);
    load(81);
    /* Its answer was lost, and another client was first. */
    assert_int_equal(restore(2, "tuesday"), PS_ENOTREADY);
    assert_int_equal(stage_plan().restore, 2);
    assert_int_equal(ask(1, "monday"), PS_ENOTREADY);
    load(82);
    assert_int_equal(restore(2, "tuesday"), PS_OK);
    assert_int_equal(answer(), 2);
    assert_int_equal(restore(1, "monday"), PS_OK);
    assert_int_equal(answer(), 1);
    assert_int_equal(stage_plan().restore, 2);
}

static void who_shares_it_is_known_to_the_next_one_too(void **state)
{
    (void)state;
    run_cluster();
    assert_int_equal(ask(1, "monday"), PS_ENOTREADY);
    assert_int_equal(ask(2, "monday"), PS_ENOTREADY);
    stage_pass(1000);
    assert_int_equal(stage_plan().restore, 1);
    assert_int_equal(stage_plan().n_orders, 2);
    /* While it loads. */
    assert_int_equal(ask(3, "monday"), PS_ENOTREADY);
    stage_pass(500);
    assert_int_equal(stage_plan().n_orders, 3);
    load(81);
    stage_follow(300);
    for (uint64_t nonce = 1; nonce <= 3; nonce++) {
        assert_int_equal(restore(nonce, "monday"), PS_OK);
        assert_int_equal(answer(), 1);
    }
    assert_int_equal(stage_plan().restore, 1);
}

/* A log that is damaged: the way out is a restore, of the same one, too. */
static void one_whose_rows_do_not_come_gives_way_to_the_next(void **state)
{
    (void)state;
    run_cluster();
    assert_int_equal(restore(1, "monday"), PS_ENOTREADY);
    stage_put_server(0, 81);
    stage_pass(500);
    assert_int_equal(restore(2, "tuesday"), PS_ENOTREADY);
    assert_string_equal(stage_text(&stage.a), "another restore is under way");
    stage_report(0, &(struct wire_shard){.load_failed = LOAD_DAMAGED,
                                         .why = "the log of lane 11: gone"});
    stage_pass(500);
    assert_int_equal(restore(2, "tuesday"), PS_ENOTREADY);
    assert_int_equal(stage_plan().restore, 2);
    stage_put_server(0, 82);
    stage_report(0, &(struct wire_shard){.load_failed = LOAD_DAMAGED,
                                         .why = "the log of lane 11: gone"});
    stage_pass(500);
    assert_int_equal(restore(3, "tuesday"), PS_ENOTREADY);
    assert_int_equal(stage_plan().restore, 3);
    load(83);
    for (uint64_t nonce = 1; nonce <= 3; nonce++) {
        assert_int_equal(restore(nonce, "tuesday"), PS_OK);
        assert_int_equal(answer(), nonce);
    }
    assert_int_equal(stage_plan().restore, 3);
}

static void so_does_one_whose_server_is_given_up(void **state)
{
    (void)state;
    stage.successor_ms = 10000;
    run_cluster();
    assert_int_equal(restore(1, "monday"), PS_ENOTREADY);
    stage.actors[0].is_alive = false;
    stage_pass(30000);
    assert_int_equal(restore(2, "tuesday"), PS_ENOTREADY);
    stage_put_server(0, 81);
    stage_pass(500);
    assert_int_equal(stage_plan().restore, 2);
}

static void the_last_orders_are_kept_and_no_more(void **state)
{
    struct wire_plan w;

    (void)state;
    run_cluster();
    for (uint64_t i = 1; i <= 66; i++) {
        assert_int_equal(restore(i, "monday"), PS_ENOTREADY);
        load(80 + i);
    }
    w = stage_plan();
    assert_int_equal(w.restore, 66);
    assert_int_equal(w.n_orders, 64);
    assert_int_equal(w.orders[0].nonce, 3);
    assert_int_equal(w.orders[0].restore, 3);
    assert_int_equal(w.orders[63].nonce, 66);
}

static void a_disk_that_hangs_ends_the_order(void **state)
{
    (void)state;
    run_cluster();
    stage.a.files.hangs = true;
    assert_int_equal(restore(1, "monday"), PS_ENOTREADY);
    stage_pass(58000);
    assert_int_equal(ask(1, "monday"), PS_ENOTREADY);
    stage_pass(3000);
    assert_int_equal(ask(1, "monday"), PS_EIO);
    assert_non_null(strstr(stage_text(&stage.a), "has not answered"));
    assert_int_equal(stage_plan().restore, 0);
    stage.a.files.hangs = false;
    stage_pass(500);
    assert_int_equal(restore(2, "monday"), PS_ENOTREADY);
    assert_int_equal(stage_plan().restore, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(the_next_scheduler_knows_an_order_that_was_done),
        STAGED(one_that_follows_while_it_loads_waits_for_that),
        STAGED(an_order_is_done_once_whatever_was_ordered_since),
        STAGED(who_shares_it_is_known_to_the_next_one_too),
        STAGED(one_whose_rows_do_not_come_gives_way_to_the_next),
        STAGED(so_does_one_whose_server_is_given_up),
        STAGED(the_last_orders_are_kept_and_no_more),
        STAGED(a_disk_that_hangs_ends_the_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
