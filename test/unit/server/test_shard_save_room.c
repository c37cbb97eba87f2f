/* Saves where something runs short: memory, the disk's time, the loop's. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "save_stage.h"
#include "server/history.h"
#include "server/shard_save.h"

static struct save_group from;
static struct save_group to;

static uint64_t sum_loaded(struct fs *fs, const char *folder)
{
    uint64_t sum;

    save_begin(&to, fs, 2, 100, folder);
    save_run(&to);
    assert_false(save_is_loading(&to));
    sum = save_sum(&to);
    save_end(&to);
    return sum;
}

/* 512 rows and their keys are 8 KiB of a frame. */
static void push_frames(struct save_group *g, uint64_t cut, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        save_push(g, cut, 1001, 512, 1);
    }
}

static void late_frames_may_be_more_than_any_block(void **state)
{
    struct fs *fs = fs_memory_new();
    const struct saving *v;
    uint64_t sum;

    (void)state;
    save_begin(&from, fs, 1, 7, NULL);
    push_frames(&from, 1, 1);
    save_order(&from, 2, 0, SAVE_OPEN);
    push_frames(&from, 1, 300);
    sum = save_sum(&from); /* those of the older cut, all of them late */
    v = from.shards[0].shard->saving;
    assert_int_equal(v->n_lates, 300);
    /* 300 frames of 8 headers, keys and values: 8 + 48 + 512 * 16 + 16. */
    assert_int_equal(v->late_bytes, 300 * 8264);
    assert_int_equal(v->n_late_blocks, 3);
    save_push(&from, 2, 1001, 100, 5);
    save_run(&from);
    assert_int_equal(v->n_late_blocks, 1);
    assert_int_equal(save_finish(&from, fs), PS_OK);
    assert_true(save_sum(&from) != sum);
    assert_true(sum_loaded(fs, from.folder) == sum);
    save_end(&from);
    fs_memory_free(fs);
}

static void late_frames_that_the_disk_does_not_take_end_the_save(void **state)
{
    struct fs *fs = fs_memory_new();
    struct shard_report r;

    (void)state;
    save_begin(&from, fs, 1, 7, NULL);
    push_frames(&from, 1, 1);
    save_order(&from, 2, 0, SAVE_OPEN);
    from.disk_hangs = true;
    push_frames(&from, 1, 16 * 1048576 / 8264);
    shard_report(from.shards[0].shard, &r);
    assert_int_equal(r.saved, SAVED_WRITING);
    push_frames(&from, 1, 1); /* put off, but not for ever */
    shard_report(from.shards[0].shard, &r);
    assert_int_equal(r.saved, SAVED_FAILED);
    assert_string_equal(r.why, "the disk of the checkpoints does not keep up");
    save_order(&from, 2, 0, SAVE_FAILED);
    shard_report(from.shards[0].shard, &r); /* it may make a file still */
    assert_int_equal(r.saved, SAVED_WRITING);
    from.disk_hangs = false;
    save_run(&from);
    assert_null(from.shards[0].shard->remainders);
    shard_report(from.shards[0].shard, &r);
    assert_int_equal(r.cut, 2);
    assert_int_equal(r.saved, SAVED_NONE);
    save_whole(&from, fs, 3, 0);
    assert_true(sum_loaded(fs, from.folder) == save_sum(&from));
    save_end(&from);
    fs_memory_free(fs);
}

static void a_full_table_is_saved(void **state)
{
    struct fs *fs = fs_memory_new();
    struct table_budget *budget;
    uint64_t used, sum;

    (void)state;
    save_begin(&from, fs, 1, 7, NULL);
    budget = &from.shards[0].shard->budget;
    save_push(&from, 1, 1001, 9000, 1.5F);
    used = budget->used;
    budget->limit = used;
    sum = save_sum(&from);
    save_order(&from, 2, 0, SAVE_OPEN);
    save_push(&from, 2, 1001, 9000, 8);
    assert_true(from.shards[0].shard->snapshots.used > 0);
    save_run(&from);
    assert_int_equal(save_finish(&from, fs), PS_OK);
    assert_int_equal(budget->used, used);
    assert_int_equal(from.shards[0].shard->snapshots.used, 0);
    assert_true(sum_loaded(fs, from.folder) == sum);
    /* An increment, whose marks are another's memory. */
    save_push(&from, 2, 1001, 500, 1);
    budget->limit = budget->used;
    sum = save_sum(&from);
    save_whole(&from, fs, 3, 2);
    assert_true(sum_loaded(fs, from.folder) == sum);
    assert_int_equal(budget->used, budget->limit);
    save_end(&from);
    fs_memory_free(fs);
}

/* Each look at the clock is 100 us later, and a piece has two. */
static uint64_t thread_us(struct net *net)
{
    static uint64_t us;

    (void)net;
    us += 100;
    return us;
}

static void a_busy_shard_gives_a_save_a_twentieth_of_its_time(void **state)
{
    struct fs *fs = fs_memory_new();
    struct save_shard *s = &from.shards[0];

    (void)state;
    save_begin(&from, fs, 1, 7, NULL);
    save_push(&from, 1, 1001, 9000, 1.5F);
    save_order(&from, 2, 0, SAVE_OPEN);
    s->net.net.thread_us = thread_us;
    shard_tick(s->shard);
    s->net.now_us = shard_next(s->shard);
    shard_tick(s->shard);
    assert_int_equal(shard_next(s->shard), s->net.now_us + 200);
    s->net.now_us = shard_next(s->shard);
    save_push(&from, 2, 1001, 1, 1); /* somebody asks */
    shard_tick(s->shard);
    assert_int_equal(shard_next(s->shard), s->net.now_us + 2000);
    assert_int_equal(s->shard->stats.save_hold_us, 100);
    save_run(&from);
    assert_int_equal(save_finish(&from, fs), PS_OK);
    save_end(&from);
    fs_memory_free(fs);
}

/* Room for one block of 64 rows of HASH, not for the two that 100 need. */
static void what_is_given_back_goes_first_to_the_push_that_waits(void **state)
{
    struct fs *fs = fs_memory_new();
    struct save_shard *s = &from.shards[0];
    const struct table *t;
    struct saving *v;

    (void)state;
    save_begin(&from, fs, 1, 7, NULL);
    s->shard->options.block_rows = 64;
    s->shard->options.save_room = 2000;
    save_push(&from, 1, 1001, 1000, 1.5F);
    t = shard_part(s->shard, HASH, 0)->table;
    save_order(&from, 2, 0, SAVE_OPEN);
    v = s->shard->saving;
    for (int i = 0; i < 2; i++) { /* one comes again, one has given up */
        uint64_t asked_us;

        while (v->blocks[0].block == NULL) {
            assert_true(save_step(&from));
        }
        asked_us = s->net.now_us;
        assert_int_equal(shard_save_reserve(s->shard, t, 100), PS_EBUSY);
        while (v->n_busy > 0) {
            assert_true(save_step(&from));
        }
        assert_int_equal(shard_next(s->shard), asked_us + 1000000);
        if (i == 0) {
            s->net.now_us += 500000;
            shard_tick(s->shard);
            assert_int_equal(v->n_busy, 0);
            assert_int_equal(shard_save_reserve(s->shard, t, 100), PS_OK);
            assert_true(shard_next(s->shard) <= s->net.now_us);
        }
    }
    save_run(&from);
    assert_int_equal(save_finish(&from, fs), PS_OK);
    assert_true(sum_loaded(fs, from.folder) == save_sum(&from));
    save_end(&from);
    fs_memory_free(fs);
}

/* Part of HASH: of lane 8, which has ended, sessions 100 to 5099. */
static struct shard_part *put_history(struct shard *s)
{
    struct shard_part *p = shard_part(s, HASH, 0);
    static struct ckpt_window windows[5000];
    const struct ckpt_history all = {
        .lane = 8, .n_windows = ARRAY_LEN(windows), .windows = windows};
    struct history_copy *c;

    for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
        windows[i] = (struct ckpt_window){.session = 100 + i, .next = 1000 + i};
    }
    c = history_copy_new(&all);
    assert_non_null(c);
    assert_int_equal(history_put(s, p, 0, LIMIT_BUCKETS, &c), PS_OK);
    return p;
}

/* All but session 5000 of them ended, and then the time to remember them. */
static void forget_sessions(struct save_shard *s, uint64_t version)
{
    struct buf record;
    uint64_t open[] = {SAVE_SESSION, 5000};

    buf_init(&record);
    draft_sessions(&record, 6000, open, 2);
    assert_int_equal(
        shard_set_sessions(s->shard, version, record.data, record.size), PS_OK);
    s->net.now_us += shard_ended_session_us(s->shard) + 1;
    assert_int_equal(
        shard_set_sessions(s->shard, version + 1, record.data, record.size),
        PS_OK);
    buf_fini(&record);
}

static void sessions_may_be_forgotten_while_the_state_is_made(void **state)
{
    struct fs *fs = fs_memory_new();
    struct save_shard *s = &from.shards[0];
    const struct history_copy *c;
    struct shard_part *p;

    (void)state;
    save_begin(&from, fs, 1, 9, NULL);
    p = put_history(s->shard);
    save_order(&from, 2, 0, SAVE_OPEN);
    save_run(&from);
    save_order(&from, 2, 0, SAVE_CLOSED);
    while (!shard_saving_makes_state(s->shard->saving)) {
        assert_true(save_step(&from));
    }
    assert_true(save_step(&from));
    assert_true(shard_saving_makes_state(s->shard->saving)); /* some of it */
    forget_sessions(s, 2);
    assert_int_equal(history_of(p, 8)->n, 1);
    history_drop_lane(p, 8);
    assert_int_equal(save_finish(&from, fs), PS_OK);
    save_begin(&to, fs, 1, 100, from.folder);
    save_run(&to);
    c = history_of(shard_part(to.shards[0].shard, HASH, 0), 8);
    assert_non_null(c);
    assert_int_equal(c->n, 5000);
    for (size_t i = 0; i < c->n; i++) {
        assert_int_equal(c->windows[i].session, 100 + i);
        assert_int_equal(c->windows[i].next, 1000 + i);
    }
    save_end(&to);
    save_end(&from);
    fs_memory_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(late_frames_may_be_more_than_any_block),
        cmocka_unit_test(late_frames_that_the_disk_does_not_take_end_the_save),
        cmocka_unit_test(a_full_table_is_saved),
        cmocka_unit_test(a_busy_shard_gives_a_save_a_twentieth_of_its_time),
        cmocka_unit_test(what_is_given_back_goes_first_to_the_push_that_waits),
        cmocka_unit_test(sessions_may_be_forgotten_while_the_state_is_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
