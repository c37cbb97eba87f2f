/* test_shard_log.c - answers wait for the log, and the next life has what they
 * acknowledged (protocol 10). */
#include "server/shard_log.h"

#include "log_stage.h"

/* ---- answers ------------------------------------------------------------ */

static void an_answer_waits_for_the_write(void **state)
{
    (void)state;
    logs_set_up(PS_LOG);
    logs_settle_down();
    logs_push(1);
    assert_false(logs.acked[1]);
    assert_true(logs_step());
    assert_true(logs.acked[1]);
    logs_stop();
}

static void an_answer_waits_for_the_sync(void **state)
{
    (void)state;
    logs_set_up(PS_FSYNC);
    logs_settle_down();
    logs_push(1);
    assert_true(logs_step()); /* written */
    assert_false(logs.acked[1]);
    assert_true(logs_step());
    assert_true(logs.acked[1]);
    logs_stop();
}

static void a_push_to_memory_does_not_wait(void **state)
{
    (void)state;
    logs_set_up(PS_FSYNC);
    logs_settle_down();
    logs_push(1);
    logs_push_to(PLAIN, 2, 1);
    assert_false(logs.acked[1]);
    assert_true(logs.acked[2]);
    logs_stop();
}

static void
what_comes_while_the_disk_is_busy_is_one_write_and_one_sync(void **state)
{
    uint64_t before;

    (void)state;
    logs_set_up(PS_FSYNC);
    logs_settle_down();
    logs_push(1);
    before = crashfs_ops(logs.crashfs);
    for (uint64_t i = 2; i <= 20; i++) {
        logs_push(i);
    }
    logs_settle_down();
    assert_int_equal(logs.n_acked, 20);
    /* Two writes and two syncs: of the first, of all others. */
    assert_int_equal(crashfs_ops(logs.crashfs) - before, 4);
    logs_stop();
}

/* 5.3: a repeat is answered no earlier than the original's commit. */
static void a_repeat_waits_like_its_original(void **state)
{
    (void)state;
    logs_set_up(PS_FSYNC);
    logs_settle_down();
    logs_push(1);
    logs_push(1);
    logs_push(1);
    assert_false(logs.acked[1]);
    logs_settle_down();
    assert_true(logs.acked[1]);
    assert_int_equal(logs_count_of(1), 1);
    assert_int_equal(shard_stats(logs.shard)->repeats_suppressed, 2);
    logs_stop();
}

/* 6: resolve reports nothing before its commit. */
static void resolve_waits_for_the_commit_of_what_it_reports(void **state)
{
    (void)state;
    logs_set_up(PS_FSYNC);
    logs_settle_down();
    logs_push(1);
    assert_int_equal(logs_fate_of(logs.lane, 1), 1);
    logs_settle_down();
    assert_int_equal(logs_fate_of(logs.lane, 1), PS_OK);
    logs_stop();
}

static void before_the_log_is_there_pushes_are_put_off(void **state)
{
    (void)state;
    logs_set_up(PS_LOG);
    logs_push(1);
    assert_int_equal(shard_stats(logs.shard)->pushes_applied, 0);
    logs_push_to(PLAIN, 1, 1);
    assert_true(logs.acked[1]);
    logs_settle_down();
    logs_push(2);
    logs_settle_down();
    assert_true(logs.acked[2]);
    logs_stop();
}

/* The store is told of the log before a frame is taken. */
static void a_log_that_the_store_does_not_know_takes_nothing(void **state)
{
    (void)state;
    logs_set_up(PS_LOG);
    logs.store_fails = 2;
    logs_settle_down();
    logs_push(1);
    assert_int_equal(shard_stats(logs.shard)->pushes_applied, 0);
    for (int i = 0; i < 3; i++) {
        logs.net.now_us += 1000000;
        shard_tick(logs.shard);
        logs_settle_down();
    }
    logs_push(1);
    logs_settle_down();
    assert_true(logs.acked[1]);
    logs_stop();
}

/* ---- lives -------------------------------------------------------------- */

static void the_next_life_has_what_was_acknowledged(void **state)
{
    (void)state;
    logs_set_up(PS_LOG);
    logs_work();
    assert_int_equal(logs.n_acked, PUSHES);
    logs_stop();
    logs_start();
    assert_int_equal(logs_count_of(1), -1); /* not before the log is read */
    logs_settle_down();
    logs_check_rows();
    assert_int_equal(logs.records[FIRST_LANE].state, SHARD_LOG_ENDED);
    assert_int_equal(logs.records[FIRST_LANE].segment, 4);
    logs_stop();
}

static void a_third_life_has_the_pushes_of_both(void **state)
{
    (void)state;
    logs_set_up(PS_LOG);
    logs_settle_down();
    for (uint64_t i = 1; i <= 4; i++) {
        logs_push(i);
    }
    logs_settle_down();
    logs_stop();
    logs_start();
    logs_settle_down();
    /* Its own numbers begin at 1: key 5 is its first. */
    for (uint64_t i = 1; i <= 6; i++) {
        logs_push(i);
    }
    logs_settle_down();
    logs_stop();
    logs_start();
    logs_settle_down();
    for (uint64_t i = 1; i <= 6; i++) {
        assert_int_equal(logs_count_of(i), i <= 4 ? 2 : 1);
        assert_int_equal(logs_fate_of(FIRST_LANE + 1, i), PS_OK);
        assert_int_equal(logs_fate_of(FIRST_LANE, i),
                         i <= 4 ? PS_OK : PS_ECANCELED);
    }
    logs_stop();
}

/* 10.1: no later reading goes beyond the end that was read. */
static void nothing_behind_the_recorded_end_is_read(void **state)
{
    (void)state;
    logs_set_up(PS_LOG);
    logs_settle_down();
    logs_push(1);
    logs_settle_down();
    logs.records[FIRST_LANE].state = SHARD_LOG_ENDED;
    logs.records[FIRST_LANE].segment = 1;
    /* BEGIN, CHAIN and FRAME: where the log is now. */
    logs.records[FIRST_LANE].end = 0;
    {
        struct fs *fs = crashfs_fs(logs.crashfs);
        struct buf b;
        char path[128];

        snprintf(path, sizeof(path), "%s/lane-7-000000000001.log", logs_folder);
        buf_init(&b);
        assert_int_equal(fs->ops->read(fs, path, 1 << 20, &b, NULL), PS_OK);
        logs.records[FIRST_LANE].end = b.size;
        buf_fini(&b);
    }
    logs_push(2); /* of a process that is taken for dead already */
    logs_settle_down();
    logs_stop();
    logs_start();
    logs_settle_down();
    assert_false(logs_load_has_failed());
    assert_int_equal(logs_count_of(1), 1);
    assert_int_equal(logs_count_of(2), 0);
    logs_stop();
}

static void a_log_that_is_gone_is_an_error(void **state)
{
    struct fs *fs;

    (void)state;
    logs_set_up(PS_LOG);
    logs_work();
    logs_stop();
    fs = crashfs_fs(logs.crashfs);
    {
        char path[128];

        snprintf(path, sizeof(path), "%s/lane-7-000000000001.log", logs_folder);
        assert_int_equal(fs->ops->unlink(fs, path, NULL), PS_OK);
    }
    logs_start();
    logs_settle_down();
    assert_true(logs_load_has_failed());
    assert_int_equal(logs_count_of(1), -1);
    logs_stop();
}

static bool has_segment(uint64_t lane, uint64_t segment)
{
    struct fs *fs = crashfs_fs(logs.crashfs);
    char path[128];
    struct buf b;
    int rc;

    snprintf(path, sizeof(path), "%s/lane-%d-%012d.log", logs_folder, (int)lane,
             (int)segment);
    buf_init(&b);
    rc = fs->ops->read(fs, path, 1 << 20, &b, NULL);
    buf_fini(&b);
    return rc == PS_OK;
}

static void cut(uint64_t number)
{
    assert_int_equal(shard_log_cut(logs.shard, number), PS_OK);
    logs_settle_down();
}

/* 10.2: logs are kept back to the oldest kept checkpoint. */
static void segments_behind_the_oldest_kept_cut_are_removed(void **state)
{
    (void)state;
    logs_set_up(PS_LOG);
    logs_settle_down();
    logs_push(1);
    logs_settle_down();
    logs_stop();
    logs_start(); /* lane 8 */
    logs_settle_down();
    cut(4);
    cut(6);
    cut(9);
    shard_log_trim(logs.shard, 3);
    logs_settle_down();
    assert_true(has_segment(FIRST_LANE, 1));
    assert_true(has_segment(FIRST_LANE + 1, 1));
    shard_log_trim(logs.shard, 7);
    logs_settle_down();
    assert_false(has_segment(FIRST_LANE, 1));
    assert_false(has_segment(FIRST_LANE + 1, 1));
    assert_false(has_segment(FIRST_LANE + 1, 4));
    assert_true(has_segment(FIRST_LANE + 1, 6));
    assert_true(has_segment(FIRST_LANE + 1, 9));
    logs_stop();
    logs_start();
    logs_settle_down();
    /* Without the checkpoint these logs are of no use, and say so. */
    assert_true(logs_load_has_failed());
    logs_stop();
}

/* A variable that came after the cut has lost nothing with them. */
static void a_variable_that_is_newer_needs_no_older_segment(void **state)
{
    (void)state;
    logs_set_up(PS_LOG);
    logs_settle_down();
    cut(4);
    cut(6);
    logs_push(1);
    logs_settle_down();
    shard_log_trim(logs.shard, 7);
    logs_settle_down();
    assert_false(has_segment(FIRST_LANE, 1));
    logs_stop();
    logs.born = logs.plan + 1; /* after the cuts, before the end */
    logs_start();
    logs_settle_down();
    logs_check_rows();
    logs_stop();
}

/* A cut that was over before this life has not put the former lanes' pushes
 * into a checkpoint. */
static void logs_of_former_lanes_stay_until_this_lane_has_cut(void **state)
{
    (void)state;
    logs_set_up(PS_LOG);
    logs_settle_down();
    logs_push(1);
    logs_settle_down();
    logs_stop();
    logs_start();
    logs_settle_down();
    shard_log_trim(logs.shard, 5);
    logs_settle_down();
    assert_true(has_segment(FIRST_LANE, 1));
    logs_stop();
    logs_start();
    logs_settle_down();
    logs_check_rows();
    logs_stop();
}

/* Another shard of the server has begun anew since: no kept checkpoint has its
 * parts, so that they would be made of all these logs again. */
static void logs_stay_while_a_later_end_is_in_no_checkpoint(void **state)
{
    (void)state;
    logs_set_up(PS_LOG);
    logs_settle_down();
    logs_push(1);
    logs_settle_down();
    logs_stop();
    logs.last_end = 7;
    logs_start();
    logs_settle_down();
    cut(4);
    cut(6);
    cut(9);
    shard_log_trim(logs.shard, 7);
    logs_settle_down();
    assert_true(has_segment(FIRST_LANE, 1));
    assert_false(has_segment(FIRST_LANE + 1, 1)); /* its own go */
    shard_log_trim(logs.shard, 9);
    logs_settle_down();
    assert_false(has_segment(FIRST_LANE, 1));
    logs_stop();
}

/* An error in a segment that is not the last is no end of the log. */
static void a_segment_that_is_short_is_an_error(void **state)
{
    struct fs *fs;
    char path[128];
    struct buf b;

    (void)state;
    logs_set_up(PS_LOG);
    logs_work();
    logs_stop();
    fs = crashfs_fs(logs.crashfs);
    buf_init(&b);
    (void)logs_read_log(path, &b);
    assert_int_equal(fs->ops->unlink(fs, path, NULL), PS_OK);
    assert_int_equal(fs->ops->write_new(fs, path, b.data,
                                        b.size - LOGFILE_HEADER_BYTES, true,
                                        NULL),
                     PS_OK);
    buf_fini(&b);
    logs_start();
    logs_settle_down();
    assert_true(logs_load_has_failed());
    logs_stop();
}

/* An error while the logs are read is over after a while, and so is the
 * failure. */
static void a_reading_that_failed_is_tried_again(void **state)
{
    uint64_t n_failed = 0;

    (void)state;
    for (uint64_t n = 1; n < 30; n++) {
        logs_set_up(PS_LOG);
        logs_work();
        logs_stop();
        logs_start();
        crashfs_fail(logs.crashfs, n, CRASHFS_EIO, CRASHFS_NOT_DONE, false);
        logs_settle_down();
        while (logs_load_has_failed()) {
            n_failed++;
            logs.net.now_us += 6000000;
            logs_settle_down();
            assert_true(logs.wants_plan);
            logs_set_plan();
            logs_settle_down();
        }
        logs.net.now_us += 6000000;
        logs_settle_down();
        logs_check_rows();
        logs_stop();
    }
    assert_true(n_failed >= 5); /* list, open and read of two, sync */
}

/* With the name of a planted fault: then some test must fail. */
static uint32_t n_told;

static void count_trouble(enum log_level level, const char *text)
{
    (void)level;
    n_told += strstr(text, "cannot begin its log") != NULL;
}

/* Once, by the error that the others follow from. */
static void a_log_that_cannot_begin_is_told_and_tried_again(void **state)
{
    (void)state;
    logs_set_up(PS_LOG);
    log_set_sink(count_trouble);
    n_told = 0;
    crashfs_fail(logs.crashfs, 1, CRASHFS_ENOSPC, CRASHFS_NOT_DONE, true);
    for (uint32_t i = 0; i < 5; i++) {
        logs_settle_down();
        assert_non_null(strstr(shard_log_trouble(logs.shard), "full"));
        logs.net.now_us += 1000000;
    }
    assert_int_equal(n_told, 1);
    crashfs_fail(logs.crashfs, 0, CRASHFS_ENOSPC, CRASHFS_NOT_DONE, false);
    logs_settle_down();
    assert_null(shard_log_trouble(logs.shard));
    logs_push(1);
    logs_settle_down();
    assert_true(logs.acked[1]);
    logs_stop();
}

static void with_room_again_the_next_try_is_a_good_one(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 7; n++) {
        logs_set_up(PS_LOG);
        crashfs_fail(logs.crashfs, n, CRASHFS_EIO, CRASHFS_NOT_DONE, false);
        logs_settle_down();
        logs.net.now_us += 1000000;
        logs_settle_down();
        assert_null(shard_log_trouble(logs.shard));
        logs_stop();
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_waits_for_the_write),
        cmocka_unit_test(an_answer_waits_for_the_sync),
        cmocka_unit_test(a_push_to_memory_does_not_wait),
        cmocka_unit_test(
            what_comes_while_the_disk_is_busy_is_one_write_and_one_sync),
        cmocka_unit_test(a_repeat_waits_like_its_original),
        cmocka_unit_test(resolve_waits_for_the_commit_of_what_it_reports),
        cmocka_unit_test(before_the_log_is_there_pushes_are_put_off),
        cmocka_unit_test(a_log_that_the_store_does_not_know_takes_nothing),
        cmocka_unit_test(the_next_life_has_what_was_acknowledged),
        cmocka_unit_test(a_third_life_has_the_pushes_of_both),
        cmocka_unit_test(nothing_behind_the_recorded_end_is_read),
        cmocka_unit_test(a_log_that_is_gone_is_an_error),
        cmocka_unit_test(segments_behind_the_oldest_kept_cut_are_removed),
        cmocka_unit_test(a_variable_that_is_newer_needs_no_older_segment),
        cmocka_unit_test(logs_of_former_lanes_stay_until_this_lane_has_cut),
        cmocka_unit_test(logs_stay_while_a_later_end_is_in_no_checkpoint),
        cmocka_unit_test(a_segment_that_is_short_is_an_error),
        cmocka_unit_test(a_reading_that_failed_is_tried_again),
        cmocka_unit_test(a_log_that_cannot_begin_is_told_and_tried_again),
        cmocka_unit_test(with_room_again_the_next_try_is_a_good_one),
    };
    int rc;

    if (logs_plant(argc, argv) != 0) {
        return 0; /* not found, then */
    }
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    crashfs_free(logs.crashfs);
    return rc;
}
