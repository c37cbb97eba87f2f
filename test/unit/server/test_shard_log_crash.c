/* test_shard_log_crash.c - what was acknowledged at durability `log` or `fsync`
 * is there, once, after the process or the power has gone at any step, after
 * errors of the disk, and damage is found (protocol 10). */
#include "server/shard_log.h"

#include "log_stage.h"

/* ---- crashes ------------------------------------------------------------ */

static void die_at_every_step(uint32_t durability, enum crashfs_how how,
                              bool is_power)
{
    uint64_t most = 0;

    for (uint64_t n = 0;; n++) {
        bool is_over;

        logs_set_up(durability);
        logs.steps_left = n;
        logs_work();
        is_over = logs.steps_left > 0;
        most = base_max_u64(most, logs.n_acked);
        logs_stop();
        if (is_power) {
            crashfs_crash(logs.crashfs, how, n);
        }
        logs_start();
        /* Dies again while it reads, now and then. */
        logs.steps_left = n % 7 < 4 ? n % 5 + 1 : NEVER;
        logs_settle_down();
        logs_stop();
        logs.lane--;
        logs.plan -= 3;
        logs_start();
        logs_settle_down();
        logs_check_rows();
        logs_stop();
        if (is_over) {
            break;
        }
    }
    assert_int_equal(most, PUSHES);
}

static void a_killed_process_loses_nothing_at_log(void **state)
{
    (void)state;
    die_at_every_step(PS_LOG, CRASHFS_KEPT, false);
}

static void a_killed_process_loses_nothing_at_fsync(void **state)
{
    (void)state;
    die_at_every_step(PS_FSYNC, CRASHFS_KEPT, false);
}

static void a_power_cut_loses_nothing_at_fsync(void **state)
{
    static const enum crashfs_how hows[] = {CRASHFS_LOST, CRASHFS_KEPT,
                                            CRASHFS_RANDOM, CRASHFS_TORN};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hows); i++) {
        die_at_every_step(PS_FSYNC, hows[i], true);
    }
}

/* The lane ends where the log fails; what was acknowledged is there. */
static void fail_at_every_step(uint32_t durability, enum crashfs_reason reason,
                               enum crashfs_effect effect, bool is_sticky)
{
    for (uint64_t n = 1;; n++) {
        bool has_failed;

        logs_set_up(durability);
        crashfs_fail(logs.crashfs, n, reason, effect, is_sticky);
        logs_work();
        has_failed = crashfs_has_failed(logs.crashfs);
        if (logs.wants_life != 0) {
            uint64_t acked = logs.n_acked;

            assert_int_equal(logs.wants_life, FIRST_LANE);
            for (uint64_t i = 1; i <= PUSHES; i++) {
                logs_push(i);
            }
            logs_settle_down();
            assert_int_equal(logs.n_acked, acked);
        }
        logs_stop();
        crashfs_fail(logs.crashfs, 0, reason, effect, false);
        if (durability == PS_FSYNC && n % 2 == 0) {
            crashfs_crash(logs.crashfs, CRASHFS_RANDOM, n);
        }
        logs_start();
        logs_settle_down();
        logs_check_rows();
        logs_stop();
        if (!has_failed) {
            break;
        }
    }
}

static void an_error_of_the_disk_is_never_an_acknowledgement(void **state)
{
    (void)state;
    for (uint32_t d = PS_LOG; d <= PS_FSYNC; d++) {
        for (int effect = CRASHFS_NOT_DONE; effect <= CRASHFS_DONE; effect++) {
            fail_at_every_step(d, CRASHFS_EIO, (enum crashfs_effect)effect,
                               false);
            fail_at_every_step(d, CRASHFS_ENOSPC, (enum crashfs_effect)effect,
                               true);
        }
    }
}

/* Memory that is short costs time, no push: frames that were put off or not
 * answered are sent again. */
static void without_memory_pushes_wait_and_are_not_lost(void **state)
{
    bool has_failed = true;

    (void)state;
    for (uint64_t n = 1; has_failed; n++) {
        logs_set_up(PS_FSYNC);
        logs_arm(n);
        logs_settle_down();
        for (int again = 0; again < 3; again++) {
            for (uint64_t i = 1; i <= 6; i++) {
                logs_push(i);
            }
            logs.net.now_us += 2000000;
            logs_settle_down();
        }
        has_failed = logs_has_failed();
        logs_arm(0);
        assert_int_equal(logs.n_acked, 6);
        logs_stop();
        logs_start();
        logs_arm(has_failed ? n : 0);
        logs_settle_down();
        logs_arm(0);
        for (int again = 0; again < 4 && logs_count_of(1) < 0; again++) {
            logs.net.now_us += 6000000;
            logs_settle_down();
            if (logs_load_has_failed()) {
                logs_set_plan();
                logs_settle_down();
            }
        }
        logs_check_rows();
        logs_stop();
    }
}

/* ---- damage ------------------------------------------------------------- */

enum { FEW = 5 };

static void few_pushes(void)
{
    logs_set_up(PS_LOG);
    logs_settle_down();
    for (uint64_t i = 1; i <= FEW; i++) {
        logs_push(i);
        logs_settle_down();
    }
    /* A while later: what is settled is said behind it. */
    logs.net.now_us += 2000000;
    logs_settle_down();
    logs_stop();
}

/* Behind the last frame there is a record that settles it: so damage to any
 * byte of any of them is found. Of that record itself, and of nothing else, it
 * is taken for the end. */
static void every_byte_that_is_flipped_is_found(void **state)
{
    size_t size = 1;
    uint64_t n_found = 0;
    char path[128];
    struct buf b;

    (void)state;
    for (size_t at = 0; at < size; at++) {
        few_pushes();
        buf_init(&b);
        size = logs_read_log(path, &b);
        buf_fini(&b);
        assert_int_equal(crashfs_flip(logs.crashfs, path, 8 * at + at % 8),
                         PS_OK);
        logs_start();
        logs_settle_down();
        if (at < size - LOGFILE_HEADER_BYTES) {
            assert_true(logs_load_has_failed());
            assert_int_equal(logs_count_of(1), -1);
            n_found++;
        } else {
            logs_check_rows();
        }
        logs_stop();
    }
    assert_true(n_found > 1000);
}

/* A log cut short anywhere is that of a shorter life: no push of before the
 * cut is missing, none is there in part. */
static void every_length_is_read_as_far_as_it_goes(void **state)
{
    size_t size = 1;
    char path[128];

    (void)state;
    for (size_t at = LOGFILE_HEADER_BYTES; at < size || size == 1; at++) {
        struct fs *fs;
        struct buf b;
        int last = 1;
        uint64_t n = 0;

        few_pushes();
        buf_init(&b);
        size = logs_read_log(path, &b);
        fs = crashfs_fs(logs.crashfs);
        assert_int_equal(fs->ops->unlink(fs, path, NULL), PS_OK);
        assert_int_equal(fs->ops->write_new(fs, path, b.data, at, true, NULL),
                         PS_OK);
        buf_fini(&b);
        logs_start();
        logs_settle_down();
        assert_false(logs_load_has_failed());
        for (uint64_t i = 1; i <= FEW; i++) {
            int count = logs_count_of(i);

            assert_true(count <= last && count >= 0);
            last = count;
            n += (uint64_t)count;
        }
        if (at == size - LOGFILE_HEADER_BYTES) {
            assert_int_equal(n, FEW);
        }
        logs_stop();
    }
}

/* With the name of a planted fault: then some test must fail. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_process_loses_nothing_at_log),
        cmocka_unit_test(a_killed_process_loses_nothing_at_fsync),
        cmocka_unit_test(a_power_cut_loses_nothing_at_fsync),
        cmocka_unit_test(an_error_of_the_disk_is_never_an_acknowledgement),
        cmocka_unit_test(without_memory_pushes_wait_and_are_not_lost),
        cmocka_unit_test(every_byte_that_is_flipped_is_found),
        cmocka_unit_test(every_length_is_read_as_far_as_it_goes),
    };
    int rc;

    if (logs_plant(argc, argv) != 0) {
        return 0; /* not found, then */
    }
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    crashfs_free(logs.crashfs);
    return rc;
}
