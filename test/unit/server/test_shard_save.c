/* What shards save is what others load: whole ones and increments. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include "ckpt/ckpt_compact.h"
#include "lib/armed.h"
#include "lib/crashfs.h"
#include "old_ckpts.h"
#include "save_stage.h"

static struct save_group from;
static struct save_group to;

/* What a group of n shards makes of a folder. */
static uint64_t sum_loaded(struct fs *fs, uint32_t n, const char *folder)
{
    char why[256] = "";
    uint64_t sum;

    save_begin(&to, fs, n, 100, folder);
    assert_true(save_is_loading(&to));
    save_run(&to);
    if (save_has_failed_to_load(&to, why, sizeof(why))) {
        print_message("%s\n", why);
    }
    assert_string_equal(why, "");
    assert_false(save_is_loading(&to));
    sum = save_sum(&to);
    save_end(&to);
    return sum;
}

static void rows_are_those_of_the_cut_with_late_frames(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 3; n++) {
        struct fs *fs = fs_memory_new();
        struct save_group twin;
        uint64_t sum;

        /* The twin gets the frames of before the cut and nothing else. */
        save_begin(&from, fs, n, 7, NULL);
        save_begin(&twin, fs, n, 7, NULL);
        save_push(&from, 1, 1000, 3000, 1.5F);
        save_push(&twin, 1, 1000, 3000, 1.5F);
        save_order(&from, 2, 0, SAVE_OPEN);
        for (int i = 0; i < 5; i++) {
            (void)save_step(&from);
        }
        save_push(&from, 1, 3900, 200, 0.25F); /* late */
        save_push(&twin, 1, 3900, 200, 0.25F);
        (void)save_step(&from);
        save_push(&from, 2, 2000, 1500, 8);
        save_push(&from, 2, 9000, 100, 8);
        save_run(&from);
        assert_int_equal(save_finish(&from, fs), PS_OK);
        sum = save_sum(&twin);
        assert_true(save_sum(&from) != sum);
        for (uint32_t k = 1; k <= 4; k++) {
            assert_true(sum_loaded(fs, k, from.folder) == sum);
        }
        save_end(&from);
        save_end(&twin);
        fs_memory_free(fs);
    }
}

/* ---- increments --------------------------------------------------------- */

/* Base, then changes, erasures, what was erased and came back, late frames of
 * both, a variable that is new: cuts 2, 3 and 4, the last two increments. */
static void save_chain(struct save_group *g, struct fs *fs, uint32_t n)
{
    save_begin(g, fs, n, 7, NULL);
    save_push(g, 1, 1000, 3000, 1.5F);
    save_order(g, 2, 0, SAVE_OPEN);
    (void)save_step(g);
    save_push(g, 1, 3900, 200, 0.25F); /* late: rows of it are in the next */
    save_push(g, 1, 5000, 50, 0.25F);
    save_run(g);
    assert_int_equal(save_finish(g, fs), PS_OK);
    save_declare_later(g);
    save_push_later(g, 2, 77, 1);
    save_erase(g, 1100, 300);
    save_push(g, 2, 1200, 10, 2); /* erased, and there again */
    save_push(g, 2, 7001, 101, 2);
    save_order(g, 3, 2, SAVE_OPEN);
    (void)save_step(g);
    save_push(g, 2, 5040, 21, 0.5F);
    save_push_later(g, 2, 78, 2);
    save_erase(g, 1500, 20);
    save_run(g);
    assert_int_equal(save_finish(g, fs), PS_OK);
    save_push(g, 3, 1500, 5, 4);
    save_erase(g, 7001, 11);
    save_push_later(g, 3, 77, 1);
    save_order(g, 4, 3, SAVE_OPEN);
    (void)save_step(g);
    save_push(g, 3, 8001, 7, 0.5F); /* late: applied at the restore */
    save_run(g);
    assert_int_equal(save_finish(g, fs), PS_OK);
}

static uint64_t sum_of_chain(struct fs *fs, uint32_t n, const char *folder)
{
    char why[256] = "";
    uint64_t sum;

    save_begin_with_later(&to, fs, n, 100, folder);
    save_run(&to);
    (void)save_has_failed_to_load(&to, why, sizeof(why));
    assert_string_equal(why, "");
    assert_false(save_is_loading(&to));
    sum = save_sum(&to);
    save_end(&to);
    return sum;
}

static void a_chain_is_the_newest_state_on_any_number_of_shards(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 3; n++) {
        struct fs *fs = fs_memory_new();
        uint64_t sum;
        uint64_t rows;

        save_chain(&from, fs, n);
        sum = save_sum(&from);
        /* 3000 + 100 + 50 - 300 + 10 + 101 + 11 - 20 + 5 - 11 + 7 of HASH,
         * which is by hand: 1000..3999, 4000..4099, 5000..5060, 7001..7101,
         * 8001..8007 without 1100..1199, 1210..1399, 1505..1519, 7001..7011;
         * 3,000 of SUMS, 2 of LATER. */
        rows = 3000 + 100 + 61 + 101 + 7 - 100 - 190 - 15 - 11 + 3000 + 2;
        assert_int_equal(save_count(&from), rows);
        for (uint32_t k = 1; k <= 4; k++) {
            assert_true(sum_of_chain(fs, k, from.folder) == sum);
        }
        save_end(&from);
        fs_memory_free(fs);
    }
}

static uint64_t rows_in(struct save_group *g)
{
    uint64_t rows = 0;

    for (uint32_t i = 0; i < g->n; i++) {
        struct shard_report r;

        shard_report(g->shards[i].shard, &r);
        rows += r.rows;
    }
    return rows;
}

static void an_increment_has_only_what_changed(void **state)
{
    struct fs *fs = fs_memory_new();

    (void)state;
    save_begin(&from, fs, 2, 7, NULL);
    save_push(&from, 1, 1001, 2000, 1);
    save_whole(&from, fs, 2, 0);
    save_push(&from, 2, 1501, 10, 1);
    save_order(&from, 3, 2, SAVE_OPEN);
    save_run(&from);
    assert_int_equal(rows_in(&from), 10);
    assert_int_equal(save_finish(&from, fs), PS_OK);
    save_order(&from, 4, 3, SAVE_OPEN);
    save_run(&from);
    assert_int_equal(rows_in(&from), 0);
    assert_int_equal(save_finish(&from, fs), PS_OK);
    save_end(&from);
    fs_memory_free(fs);
}

/* What failed, was canceled, or never heard to be done counts again. */
static void changes_of_a_save_that_failed_are_in_the_next(void **state)
{
    static const enum wire_save_state ends[] = {SAVE_FAILED, SAVE_CANCELED,
                                                SAVE_OPEN};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        for (int is_done = 0; is_done < 2; is_done++) {
            struct fs *fs = fs_memory_new();

            save_begin(&from, fs, 2, 7, NULL);
            save_push(&from, 1, 1000, 500, 1);
            save_whole(&from, fs, 2, 0);
            save_push(&from, 2, 1100, 101, 1);
            save_erase(&from, 1000, 7);
            save_order(&from, 3, 2, SAVE_OPEN);
            save_run(&from);
            if (is_done) { /* by the shards, not by the scheduler */
                save_order(&from, 3, 2, SAVE_CLOSED);
                save_run(&from);
            }
            save_push(&from, 3, 1200, 51, 1);
            if (ends[i] != SAVE_OPEN) {
                save_order(&from, 3, 2, ends[i]);
                save_run(&from);
            }
            save_order(&from, 4, 2, SAVE_OPEN);
            save_run(&from);
            assert_int_equal(save_finish(&from, fs), PS_OK);
            assert_true(sum_loaded(fs, 3, from.folder) == save_sum(&from));
            save_end(&from);
            fs_memory_free(fs);
        }
    }
}

/* The record DONE was overtaken by that of the next save, which builds on it.
 */
static void a_base_was_done_where_the_next_save_builds_on_it(void **state)
{
    struct fs *fs = fs_memory_new();

    (void)state;
    save_begin(&from, fs, 2, 7, NULL);
    save_push(&from, 1, 1000, 500, 1);
    save_order(&from, 2, 0, SAVE_OPEN);
    save_run(&from);
    assert_int_equal(save_close(&from, fs), PS_OK);
    save_push(&from, 2, 1100, 101, 1);
    save_order(&from, 3, 2, SAVE_OPEN);
    save_run(&from);
    assert_true(rows_in(&from) <= 101 + 3000);
    assert_int_equal(save_finish(&from, fs), PS_OK);
    assert_true(sum_loaded(fs, 3, from.folder) == save_sum(&from));
    save_end(&from);
    fs_memory_free(fs);
}

/* So does one with a plan in between, as far as its tables stay. */
static void a_plan_before_the_record_done_loses_no_base(void **state)
{
    struct fs *fs = fs_memory_new();

    (void)state;
    save_begin(&from, fs, 2, 7, NULL);
    save_push(&from, 1, 1001, 500, 1);
    save_order(&from, 2, 0, SAVE_OPEN);
    save_run(&from);
    assert_int_equal(save_close(&from, fs), PS_OK);
    save_declare_later(&from);
    save_push_later(&from, 2, 77, 1);
    save_order(&from, 2, 0, SAVE_DONE);
    save_push(&from, 2, 1101, 100, 1);
    save_order(&from, 3, 2, SAVE_OPEN);
    save_run(&from);
    assert_int_equal(rows_in(&from), 101);
    assert_int_equal(save_finish(&from, fs), PS_OK);
    assert_true(sum_of_chain(fs, 3, from.folder) == save_sum(&from));
    save_end(&from);
    fs_memory_free(fs);
}

static void a_lane_without_the_base_asks_for_a_whole_one(void **state)
{
    struct fs *fs = fs_memory_new();

    (void)state;
    save_begin(&from, fs, 2, 7, NULL);
    save_push(&from, 1, 1000, 500, 1);
    save_order(&from, 2, 1, SAVE_OPEN); /* no save of 1 was there */
    save_run(&from);
    assert_int_equal(save_finish(&from, fs), PS_EPLAN);
    save_whole(&from, fs, 3, 0);
    save_order(&from, 4, 2, SAVE_OPEN);
    save_run(&from);
    assert_int_equal(save_finish(&from, fs), PS_EPLAN);
    save_whole(&from, fs, 5, 3);
    assert_true(sum_loaded(fs, 2, from.folder) == save_sum(&from));
    save_end(&from);
    /* Rows from a checkpoint: whether it is the base nobody knows here. */
    save_begin(&to, fs, 2, 20, "ckpt-000000000005-1");
    save_run(&to);
    assert_false(save_is_loading(&to));
    save_order(&to, 6, 5, SAVE_OPEN);
    save_run(&to);
    assert_int_equal(save_finish(&to, fs), PS_EPLAN);
    save_end(&to);
    fs_memory_free(fs);
}

/* ---- the disk ----------------------------------------------------------- */

static void a_disk_that_hangs_fails_the_save_and_not_the_pushes(void **state)
{
    struct fs *fs = fs_memory_new();
    struct shard_report r;
    struct shard *s;

    (void)state;
    save_begin(&from, fs, 1, 7, NULL);
    s = from.shards[0].shard;
    s->options.block_rows = 64;
    s->options.save_room = 30000;
    save_push(&from, 1, 1000, 3000, 1.5F);
    save_order(&from, 2, 0, SAVE_OPEN);
    from.disk_hangs = true;
    save_push(&from, 2, 1000, 3000, 1); /* 3,000 rows of 24 bytes */
    shard_report(s, &r);
    assert_int_equal(r.saved, SAVED_FAILED);
    assert_string_equal(r.why, "the disk of the checkpoints does not keep up");
    from.disk_hangs = false;
    save_run(&from);
    assert_int_equal(save_finish(&from, fs), PS_ENOTREADY);
    save_whole(&from, fs, 3, 0);
    assert_true(sum_loaded(fs, 2, from.folder) == save_sum(&from));
    save_end(&from);
    fs_memory_free(fs);
}

/* Without memory for it the plan comes again; the server sees that it is
 * missing. */
static int set_place(struct shard_owner *o, const char *url, struct err *e)
{
    static int n;

    (void)o;
    assert_string_equal(url, "s3://b");
    return n++ == 0 ? err_set(e, PS_ENOMEM, "no memory")
                    : err_set(e, PS_EARGUMENT, "no such place");
}

static void a_plan_is_taken_with_its_place_or_not_at_all(void **state)
{
    struct fs *fs = fs_memory_new();
    struct shard_report r;
    struct shard *s;
    uint64_t plan;

    (void)state;
    save_begin(&from, fs, 1, 7, NULL);
    s = from.shards[0].shard;
    plan = shard_plan_number(s);
    from.shards[0].owner.set_place = set_place;
    from.plan.w.plan++;
    from.plan.w.checkpoints = "s3://b";
    draft_encode(&from.plan, &from.record);
    assert_int_equal(shard_set_plan(s, from.record.data, from.record.size),
                     PS_ENOMEM);
    assert_int_equal(shard_plan_number(s), plan);
    assert_int_equal(shard_set_plan(s, from.record.data, from.record.size),
                     PS_OK);
    assert_int_equal(shard_plan_number(s), plan + 1);
    save_order(&from, 2, 0, SAVE_OPEN);
    shard_report(s, &r);
    assert_int_equal(r.saved, SAVED_FAILED);
    assert_string_equal(r.why, "no such place");
    save_end(&from);
    fs_memory_free(fs);
}

static void where_the_place_cannot_be_reached_nothing_is_saved(void **state)
{
    struct fs *fs = fs_memory_new();
    struct shard_report r;
    struct shard *s;

    (void)state;
    save_begin(&from, fs, 1, 7, NULL);
    s = from.shards[0].shard;
    save_push(&from, 1, 1000, 300, 1.5F);
    for (uint64_t cut = 2; cut < 4; cut++) { /* before, and in its course */
        if (cut == 2) {
            shard_set_no_place(s, "nowhere");
        }
        save_order(&from, cut, 0, SAVE_OPEN);
        (void)save_step(&from);
        if (cut == 3) {
            shard_set_no_place(s, "nowhere");
        }
        save_run(&from);
        shard_report(s, &r);
        assert_int_equal(r.saved, SAVED_FAILED);
        assert_string_equal(r.why, "nowhere");
        assert_int_equal(save_finish(&from, fs), PS_ENOTREADY);
        shard_set_no_place(s, "");
    }
    save_whole(&from, fs, 4, 0);
    assert_true(sum_loaded(fs, 2, from.folder) == save_sum(&from));
    save_end(&from);
    fs_memory_free(fs);
}

/* ---- what a crash leaves ------------------------------------------------ */

static const enum crashfs_how hows[] = {CRASHFS_LOST, CRASHFS_KEPT,
                                        CRASHFS_RANDOM, CRASHFS_TORN};

/* The newest whole checkpoint, as shards load it. */
static uint64_t sum_of_newest(struct fs *fs)
{
    struct ckpt_list list;
    const struct ckpt_entry *x;
    struct err e;
    char folder[CKPT_NAME_MAX + 1];

    assert_int_equal(ckpt_list(fs, &list, &e), PS_OK);
    x = ckpt_list_find(&list, NULL);
    assert_non_null(x);
    snprintf(folder, sizeof(folder), "%s", x->folder);
    ckpt_list_free(&list);
    return sum_loaded(fs, 3, folder);
}

/* A base of cut 2, and changes. */
static void begin_crash(struct crashfs *c)
{
    save_begin(&from, crashfs_fs(c), 2, 7, NULL);
    save_push(&from, 1, 1000, 300, 1);
    save_whole(&from, crashfs_fs(c), 2, 0);
    save_push(&from, 2, 1251, 102, 1);
    save_erase(&from, 1001, 9);
}

static void a_crash_in_an_increment_leaves_the_old_or_the_new(void **state)
{
    size_t points = 0;

    (void)state;
    for (size_t how = 0; how < ARRAY_LEN(hows); how++) {
        bool has_failed = true;

        for (uint64_t n = 1; has_failed; n++) {
            struct crashfs *c = crashfs_new();
            struct fs *fs = crashfs_fs(c);
            uint64_t old, new, now;
            int rc;

            begin_crash(c);
            old = sum_of_newest(fs);
            new = save_sum(&from);
            assert_true(old != new);
            crashfs_fail(c, n, CRASHFS_EIO, CRASHFS_HALF_DONE, true);
            save_order(&from, 3, 2, SAVE_OPEN);
            save_run(&from);
            rc = save_finish(&from, fs);
            has_failed = crashfs_has_failed(c);
            crashfs_crash(c, hows[how], n);
            now = sum_of_newest(fs);
            assert_true(now == new || (rc != PS_OK && now == old));
            save_end(&from);
            crashfs_free(c);
            points++;
        }
    }
    print_message("%zu points\n", points);
    assert_true(points > 100);
}

/* ---- compacted ---------------------------------------------------------- */

static int compact(struct fs *fs, uint64_t keys_max, struct ckpt_compacted *out)
{
    struct ckpt_list list;
    const struct ckpt_entry *x;
    struct err e;
    int rc;

    rc = ckpt_list(fs, &list, &e);
    if (rc == PS_OK) {
        x = ckpt_list_find(&list, NULL);
        rc = x == NULL ? PS_ENOTFOUND
                       : ckpt_compact(fs, &list, x, keys_max, NULL, out, &e);
        ckpt_list_free(&list);
    }
    return rc;
}

static void a_compacted_chain_is_the_same_rows(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 3; n++) {
        struct fs *fs = fs_memory_new();
        struct ckpt_compacted done;
        uint64_t sum, rows;
        uint32_t n_removed;
        struct err e;

        save_chain(&from, fs, n);
        sum = save_sum(&from);
        rows = save_count(&from);
        /* In one range of buckets, then in some. */
        assert_int_equal(compact(fs, (n - 1) * 100, &done), PS_OK);
        assert_string_equal(done.folder, "ckpt-000000000004-2");
        assert_int_equal(done.n_links, 3);
        assert_int_equal(done.rows, rows - 7); /* of a late frame */
        assert_true(sum_of_chain(fs, 3, done.folder) == sum);
        assert_int_equal(compact(fs, 0, &done), PS_EARGUMENT);
        /* The next increment builds on it, and the old one may go. */
        save_push(&from, 4, 1701, 10, 3);
        save_order(&from, 5, 4, SAVE_OPEN);
        save_run(&from);
        assert_int_equal(save_finish(&from, fs), PS_OK);
        assert_int_equal(old_ckpts_remove(fs, 2, &n_removed, &e), PS_OK);
        assert_int_equal(n_removed, 1);
        sum = save_sum(&from);
        assert_true(sum_of_chain(fs, 2, from.folder) == sum);
        save_end(&from);
        fs_memory_free(fs);
    }
}

static void a_compaction_without_memory_leaves_nothing(void **state)
{
    struct fs *fs = fs_memory_new();
    size_t failed = 0;

    (void)state;
    save_chain(&from, fs, 1);
    armed.has_failed = true;
    for (uint64_t n = 1; armed.has_failed; n++) {
        struct ckpt_compacted done;
        struct ckpt_list list;
        struct err e;
        int rc;

        armed_at(n);
        ARMED(rc = compact(fs, 0, &done));
        assert_int_equal(ckpt_list(fs, &list, &e), PS_OK);
        assert_int_equal(list.n, rc == PS_OK ? 4 : 3);
        assert_int_equal(rc, rc == PS_OK ? PS_OK : PS_ENOMEM);
        ckpt_list_free(&list);
        failed += rc != PS_OK;
    }
    assert_true(failed > 50);
    save_end(&from);
    fs_memory_free(fs);
}

static void a_crash_in_a_compaction_leaves_all_as_it_was(void **state)
{
    size_t points = 0;

    (void)state;
    for (size_t how = 0; how < ARRAY_LEN(hows); how++) {
        bool has_failed = true;

        for (uint64_t n = 1; has_failed; n++) {
            struct crashfs *c = crashfs_new();
            struct fs *fs = crashfs_fs(c);
            struct ckpt_compacted done;
            uint64_t sum;
            int rc;

            begin_crash(c);
            save_order(&from, 3, 2, SAVE_OPEN);
            save_run(&from);
            assert_int_equal(save_finish(&from, fs), PS_OK);
            sum = save_sum(&from);
            crashfs_fail(c, n, CRASHFS_EIO, CRASHFS_HALF_DONE, true);
            rc = compact(fs, 0, &done);
            has_failed = crashfs_has_failed(c);
            crashfs_crash(c, hows[how], n);
            assert_true(sum_of_newest(fs) == sum);
            assert_true(sum_loaded(fs, 2, "ckpt-000000000003-1") == sum);
            if (rc == PS_OK) {
                assert_true(sum_loaded(fs, 2, done.folder) == sum);
            }
            save_end(&from);
            crashfs_free(c);
            points++;
        }
    }
    print_message("%zu points\n", points);
    assert_true(points > 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_those_of_the_cut_with_late_frames),
        cmocka_unit_test(a_chain_is_the_newest_state_on_any_number_of_shards),
        cmocka_unit_test(an_increment_has_only_what_changed),
        cmocka_unit_test(changes_of_a_save_that_failed_are_in_the_next),
        cmocka_unit_test(a_base_was_done_where_the_next_save_builds_on_it),
        cmocka_unit_test(a_plan_before_the_record_done_loses_no_base),
        cmocka_unit_test(a_lane_without_the_base_asks_for_a_whole_one),
        cmocka_unit_test(a_disk_that_hangs_fails_the_save_and_not_the_pushes),
        cmocka_unit_test(a_plan_is_taken_with_its_place_or_not_at_all),
        cmocka_unit_test(where_the_place_cannot_be_reached_nothing_is_saved),
        cmocka_unit_test(a_crash_in_an_increment_leaves_the_old_or_the_new),
        cmocka_unit_test(a_compacted_chain_is_the_same_rows),
        cmocka_unit_test(a_compaction_without_memory_leaves_nothing),
        cmocka_unit_test(a_crash_in_a_compaction_leaves_all_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
