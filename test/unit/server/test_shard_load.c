/* Rows from a checkpoint: what is answered of former lanes, damage, short
 * memory, plans that change and lives that end in the middle. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/hash.h"
#include "lib/armed.h"
#include "lib/badfile.h"
#include "lib/crashfs.h"
#include "save_stage.h"
#include "server/shard_save.h"

enum { STEPS_MAX = 100000, HEADER_MAX = 1024 };

static struct save_group from;
static struct save_group to;

/* Two shards' checkpoint of cut 2, and an increment of cut 3 on it, each with
 * late frames, whose keys are in no rows. */
static void save_two(struct fs *fs)
{
    save_begin(&from, fs, 2, 7, NULL);
    save_push(&from, 1, 1000, 500, 1.5F);
    save_order(&from, 2, 0, SAVE_OPEN);
    (void)save_step(&from);
    save_push(&from, 1, 4000, 50, 0.25F);
    save_run(&from);
    assert_int_equal(save_finish(&from, fs), PS_OK);
    save_push(&from, 2, 1250, 51, 2);
    save_erase(&from, 1001, 11);
    save_order(&from, 3, 2, SAVE_OPEN);
    (void)save_step(&from);
    save_push(&from, 2, 6001, 10, 0.5F);
    save_run(&from);
    assert_int_equal(save_finish(&from, fs), PS_OK);
}

static bool step_armed(struct save_group *g)
{
    bool more;

    ARMED(more = save_step(g));
    return more;
}

/* Loading fails and says why, or ends: true. */
static bool is_loaded(char *why, size_t size)
{
    if (save_has_failed_to_load(&to, why, size)) {
        return false;
    }
    return !save_is_loading(&to);
}

/* ---- former lanes ------------------------------------------------------- */

static void numbers_of_former_lanes_are_known_through_two_restores(void **state)
{
    struct fs *fs = fs_memory_new();
    uint64_t before[2], after[2];
    uint32_t own[2] = {0, LIMIT_BUCKETS / 2};
    char folder[CKPT_NAME_MAX + 1];

    (void)state;
    save_begin(&from, fs, 2, 7, NULL);
    save_push(&from, 1, 1001, 500, 1);
    save_order(&from, 2, 0, SAVE_OPEN);
    (void)save_step(&from);
    save_push(&from, 1, 4001, 50, 0.25F); /* late, so they are in */
    for (int i = 0; i < 2; i++) {
        before[i] = from.shards[i].seq;
    }
    save_push(&from, 2, 1001, 50, 3); /* not */
    for (int i = 0; i < 2; i++) {
        after[i] = from.shards[i].seq;
        assert_true(after[i] > before[i]);
    }
    save_run(&from);
    assert_int_equal(save_finish(&from, fs), PS_OK);
    memcpy(folder, from.folder, sizeof(folder));
    save_end(&from);
    for (int generation = 0; generation < 3; generation++) {
        struct save_group next;

        /* Lanes 7 and 8, then one lane, then three. */
        save_begin(&next, fs, generation % 2 == 0 ? 1 : 3,
                   20 + 10 * (uint64_t)generation, folder);
        save_run(&next);
        assert_false(save_is_loading(&next));
        for (uint32_t i = 0; i < 2; i++) {
            uint64_t lane = 7 + i;

            assert_int_equal(save_resolve(&next, lane, 1, own[i]), PS_OK);
            assert_int_equal(save_resolve(&next, lane, before[i], own[i]),
                             PS_OK);
            assert_int_equal(save_resolve(&next, lane, after[i], own[i]),
                             PS_ECANCELED);
        }
        save_whole(&next, fs, 3 + (uint64_t)generation, 0);
        memcpy(folder, next.folder, sizeof(folder));
        save_end(&next);
    }
    fs_memory_free(fs);
}

/* ---- what is not in it -------------------------------------------------- */

/* LATER is left out; HASH and SUMS get the same rows with it and without. */
static void push_some(struct save_group *g, bool with_later)
{
    save_push(g, 1, 1000, 500, 1.5F);
    if (with_later) {
        save_push_later(g, 1, 77, 4);
    }
    save_order(g, 2, 0, SAVE_OPEN);
    (void)save_step(g);
    save_push(g, 1, 4000, 50, 0.25F);
    if (with_later) {
        save_push_later(g, 1, 78, 8); /* late */
    }
    save_run(g);
}

static void what_is_left_out_begins_with_initial_values(void **state)
{
    struct fs *fs = fs_memory_new();
    struct fs *other = fs_memory_new();
    struct save_group plain;
    uint64_t sum, count;
    char why[200];

    (void)state;
    save_begin_with_later(&plain, other, 2, 7, NULL);
    push_some(&plain, false);
    sum = save_sum(&plain);
    count = save_count(&plain);
    save_end(&plain);
    save_begin_with_later(&from, fs, 2, 7, NULL);
    from.plan.variables[LATER - 1].no_save = 1;
    save_plan(&from);
    push_some(&from, true);
    assert_int_equal(save_count(&from), count + 2);
    assert_int_equal(save_finish(&from, fs), PS_OK);
    save_begin_with_later(&to, fs, 3, 20, from.folder);
    save_run(&to);
    assert_true(is_loaded(why, sizeof(why)));
    assert_int_equal(save_count(&to), count);
    assert_int_equal(save_sum(&to), sum);
    save_push_later(&to, 1, 77, 1);
    assert_int_equal(save_count(&to), count + 1);
    save_end(&to);
    save_end(&from);
    fs_memory_free(other);
    fs_memory_free(fs);
}

/* ---- damage ------------------------------------------------------------- */

struct names {
    char names[32][CKPT_NAME_MAX + 1];
    size_t n;
};

static bool take_name(void *context, const char *name)
{
    struct names *all = context;

    snprintf(all->names[all->n++], CKPT_NAME_MAX + 1, "%s", name);
    return true;
}

static void damage_is_found_and_its_folder_named(void **state)
{
    static const char *const folders[] = {"ckpt-000000000002-1",
                                          "ckpt-000000000003-1"};
    size_t flips = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        struct names files = {.n = 0};
        struct crashfs *c = crashfs_new();
        struct fs *fs = crashfs_fs(c);
        struct err e;
        uint64_t sum;

        save_two(fs);
        sum = save_sum(&from);
        assert_int_equal(fs->ops->list(fs, folders[i], take_name, &files, &e),
                         PS_OK);
        assert_int_equal(files.n, 7); /* 3 of each lane, and the manifest */
        for (size_t k = 0; k < files.n; k++) {
            char path[2 * CKPT_NAME_MAX];
            uint64_t bit = 3;

            snprintf(path, sizeof(path), "%s/%s", folders[i], files.names[k]);
            while (crashfs_flip(c, path, bit) == PS_OK) {
                char why[256] = "";

                save_begin(&to, fs, 3, 20, from.folder);
                save_run(&to);
                if (is_loaded(why, sizeof(why))) {
                    /* Nothing of the base's state is needed, and nobody reads
                     * what the index says in the header of a file of rows. */
                    assert_non_null(strstr(path, ".safetensors"));
                    assert_true(strstr(path, "state") != NULL
                                    ? i == 0
                                    : bit < 8 * HEADER_MAX);
                    assert_true(save_sum(&to) == sum);
                } else {
                    assert_non_null(strstr(why, folders[i]));
                    assert_true(save_is_loading(&to)); /* it does not serve */
                }
                save_end(&to);
                assert_int_equal(crashfs_flip(c, path, bit), PS_OK);
                bit += 8 * 211 + 1;
                flips++;
            }
        }
        save_end(&from);
        crashfs_free(c);
    }
    assert_true(flips > 100);
}

static void a_file_that_is_not_there_is_named(void **state)
{
    static const char *const paths[] = {
        "ckpt-000000000003-1/manifest.json",
        "ckpt-000000000003-1/lane-8.json",
        "ckpt-000000000003-1/lane-7.safetensors",
        "ckpt-000000000003-1/lane-8.state.safetensors",
        "ckpt-000000000002-1/manifest.json",
        "ckpt-000000000002-1/lane-8.json",
        "ckpt-000000000002-1/lane-7.safetensors",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct fs *fs = fs_memory_new();
        char folder[CKPT_NAME_MAX + 1];
        char why[256] = "";
        struct err e;

        save_two(fs);
        assert_int_equal(fs->ops->unlink(fs, paths[i], &e), PS_OK);
        save_begin(&to, fs, 2, 20, from.folder);
        save_run(&to);
        assert_false(is_loaded(why, sizeof(why)));
        snprintf(folder, sizeof(folder), "%.19s", paths[i]);
        assert_non_null(strstr(why, folder));
        assert_memory_equal(why, from.folder, strlen(from.folder));
        save_end(&to);
        save_end(&from);
        fs_memory_free(fs);
    }
}

/* ---- a disk that fails with a file -------------------------------------- */

/* Loads through `bad` for so long, or until it is said to have failed or it is
 * done. Returns when that was, in seconds. */
static uint64_t load_from_bad(struct badfile *bad, uint64_t seconds)
{
    struct save_shard *s = &to.shards[0];
    uint64_t begin = s->net.now_us;
    char why[200];

    s->disk.work.fs = &bad->fs;
    save_run(&to);
    while (!save_has_failed_to_load(&to, why, sizeof(why)) &&
           save_is_loading(&to) && s->net.now_us - begin < seconds * 1000000) {
        s->net.now_us = base_max_u64(s->net.now_us, shard_next(s->shard));
        shard_tick(s->shard);
        save_run(&to);
    }
    return (s->net.now_us - begin) / 1000000;
}

/* The disk is there, so it is the file: after a minute its rows are taken for
 * lost. Whether a manifest is lost the scheduler looks. */
static void a_file_that_the_disk_has_lost_is_damage(void **state)
{
    static const char *const paths[] = {
        "ckpt-000000000003-1/manifest.json",
        "ckpt-000000000003-1/lane-8.json",
        "ckpt-000000000003-1/lane-7.safetensors",
        "ckpt-000000000003-1/lane-8.state.safetensors",
        "ckpt-000000000002-1/lane-7.safetensors",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct fs *fs = fs_memory_new();
        struct badfile bad = {{&badfile_ops}, fs, paths[i]};
        struct shard_report r;
        uint64_t seconds;

        save_two(fs);
        save_begin(&to, fs, 1, 20, from.folder);
        seconds = load_from_bad(&bad, 1000);
        assert_in_range(seconds, 60, 120);
        shard_report(to.shards[0].shard, &r);
        assert_int_equal(r.load_failed, i == 0 ? LOAD_MISSING : LOAD_DAMAGED);
        assert_memory_equal(r.why, from.folder, strlen(from.folder));
        assert_non_null(strstr(r.why, paths[i]));
        save_end(&to);
        save_end(&from);
        fs_memory_free(fs);
    }
}

/* It says so, and takes the load up again when there is room. */
static void rows_over_the_memory_limit_are_waited_for(void **state)
{
    struct fs *fs = fs_memory_new();
    struct shard_report r;
    char why[200];

    (void)state;
    save_two(fs);
    save_begin(&to, fs, 1, 20, from.folder);
    for (uint32_t i = 0; i < to.plan.w.n_ended; i++) {
        to.plan.ended[i].server = 1; /* its own rows have had their place */
    }
    to.plan.w.memory_limit = 1;
    save_plan(&to);
    save_run(&to);
    assert_true(save_has_failed_to_load(&to, why, sizeof(why)));
    assert_true(save_is_loading(&to));
    shard_report(to.shards[0].shard, &r);
    assert_int_equal(r.load_failed, LOAD_NO_ROOM);
    assert_true(r.loaded < to.plan.w.plan);
    assert_non_null(strstr(r.why, "memory limit"));
    to.plan.w.memory_limit = 0;
    save_plan(&to);
    to.shards[0].net.now_us += 60000000;
    save_run(&to);
    assert_false(save_is_loading(&to));
    shard_report(to.shards[0].shard, &r);
    assert_int_equal(r.load_failed, LOAD_GOES_ON);
    assert_int_equal(r.loaded, to.plan.w.plan);
    save_end(&to);
    save_end(&from);
    fs_memory_free(fs);
}

static void what_had_its_place_before_is_not_over_the_limit(void **state)
{
    struct fs *fs = fs_memory_new();

    (void)state;
    save_begin(&from, fs, 2, 7, NULL);
    save_push(&from, 1, 1000, 10, 1.5F);
    save_order(&from, 2, 0, SAVE_OPEN);
    (void)save_step(&from);
    save_push(&from, 1, 4000, 5000, 0.25F); /* late */
    save_run(&from);
    assert_int_equal(save_finish(&from, fs), PS_OK);
    save_begin(&to, fs, 2, 20, from.folder);
    for (uint32_t i = 0; i < to.plan.w.n_ended; i++) {
        to.plan.ended[i].shard = i; /* lane 7 was shard 0, lane 8 shard 1 */
    }
    to.plan.w.memory_limit = 2; /* a byte for each shard */
    save_plan(&to);
    save_run(&to);
    assert_false(save_is_loading(&to));
    assert_true(save_sum(&to) == save_sum(&from));
    save_end(&to);
    save_end(&from);
    fs_memory_free(fs);
}

static void a_disk_that_was_away_costs_nothing(void **state)
{
    static const char *const paths[] = {
        "", "ckpt-000000000003-1/lane-7.safetensors"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct fs *fs = fs_memory_new();
        struct badfile bad = {{&badfile_ops}, fs, paths[i]};
        char why[200];

        save_two(fs);
        save_begin(&to, fs, 1, 20, from.folder);
        (void)load_from_bad(&bad, 30);
        assert_true(save_is_loading(&to));
        assert_false(save_has_failed_to_load(&to, why, sizeof(why)));
        bad.path = NULL;
        (void)load_from_bad(&bad, 1000);
        assert_false(save_is_loading(&to));
        assert_true(save_sum(&to) == save_sum(&from));
        save_end(&to);
        save_end(&from);
        fs_memory_free(fs);
    }
}

static void a_base_is_not_what_another_cluster_calls_the_same_cut(void **state)
{
    struct fs *fs = fs_memory_new();
    struct ckpt *c;
    struct buf b;
    struct err e;
    uint64_t sum;

    (void)state;
    save_two(fs);
    sum = save_sum(&from);
    assert_int_equal(ckpt_open(fs, "ckpt-000000000002-1", &c, &e), PS_OK);
    buf_init(&b);
    c->manifest.cluster_low++;
    c->manifest.term = 2;
    assert_int_equal(ckpt_manifest_encode(&c->manifest, &b), PS_OK);
    assert_int_equal(fs->ops->mkdir(fs, "ckpt-000000000002-2", &e), PS_OK);
    assert_int_equal(fs->ops->write_new(fs,
                                        "ckpt-000000000002-2/" CKPT_MANIFEST,
                                        b.data, b.size, false, &e),
                     PS_OK);
    save_begin(&to, fs, 2, 20, from.folder);
    save_run(&to);
    assert_false(save_is_loading(&to));
    assert_true(save_sum(&to) == sum);
    save_end(&to);
    save_end(&from);
    buf_fini(&b);
    ckpt_free(c);
    fs_memory_free(fs);
}

static void a_base_that_is_not_there_is_named(void **state)
{
    struct fs *fs = fs_memory_new();
    char why[256] = "";
    struct err e;

    (void)state;
    save_two(fs);
    assert_int_equal(fs_remove_tree(fs, "ckpt-000000000002-1", &e), PS_OK);
    save_begin(&to, fs, 2, 20, from.folder);
    save_run(&to);
    assert_false(is_loaded(why, sizeof(why)));
    assert_non_null(strstr(why, "cut 2"));
    save_end(&to);
    save_end(&from);
    fs_memory_free(fs);
}

/* ---- in the middle ------------------------------------------------------ */

/* A plan that changes nothing for the parts, at each step of a load: what a
 * late frame added must not be added twice. */
static void a_plan_in_the_middle_of_a_load_changes_no_row(void **state)
{
    struct fs *fs = fs_memory_new();
    uint64_t sum;
    bool was_in_time = true;

    (void)state;
    save_two(fs);
    sum = save_sum(&from);
    for (uint64_t n = 0; was_in_time; n += n < 50 ? 1 : 7) {
        save_begin(&to, fs, 1, 20, from.folder); /* both lanes */
        for (uint64_t i = 0; i < n; i++) {
            (void)save_step(&to);
        }
        was_in_time = save_is_loading(&to);
        save_plan(&to);
        save_run(&to);
        assert_false(save_is_loading(&to));
        assert_true(save_sum(&to) == sum);
        /* It went on. */
        assert_int_equal(to.shards[0].shard->n_loadings, 1);
        save_end(&to);
        assert_true(n < STEPS_MAX);
    }
    save_end(&from);
    fs_memory_free(fs);
}

static uint64_t life_wanted;

static void note_want(struct shard_owner *owner, uint32_t shard,
                      enum shard_want what, uint64_t number)
{
    (void)owner;
    (void)shard;
    life_wanted = what == SHARD_WANT_LIFE ? number : life_wanted;
}

/* The scheduler's next plan has the parts begin with initial values. */
static void give_up_the_load(void)
{
    for (uint32_t i = 0; i < to.plan.w.n_parts; i++) {
        to.plan.parts[i].since = to.plan.w.plan + 1;
    }
    to.plan.w.n_loads = 0;
    life_wanted = 0;
    save_plan(&to);
    save_run(&to);
}

static void a_load_that_is_not_done_may_be_given_up(void **state)
{
    struct fs *fs = fs_memory_new();

    (void)state;
    save_two(fs);
    save_begin(&to, fs, 1, 20, from.folder);
    to.shards[0].owner.want = note_want;
    give_up_the_load();
    assert_int_equal(life_wanted, 0);
    assert_false(save_is_loading(&to));
    assert_int_equal(save_count(&to), SUMS_ROWS);
    assert_true(shard_has_lease(to.shards[0].shard));
    save_end(&to);
    save_end(&from);
    fs_memory_free(fs);
}

/* Who has pushed to it learns by the end of the lane what is lost. */
static void a_lane_that_has_served_what_is_given_up_ends(void **state)
{
    struct fs *fs = fs_memory_new();
    const struct shard *s;

    (void)state;
    save_two(fs);
    save_begin(&to, fs, 1, 20, from.folder);
    s = to.shards[0].shard;
    to.shards[0].owner.want = note_want;
    save_run(&to);
    assert_false(save_is_loading(&to));
    for (int i = 0; i < 2; i++) { /* what it wants may not be heard */
        give_up_the_load();
        assert_int_equal(life_wanted, 20);
        assert_false(shard_has_lease(s));
        assert_int_equal(shard_plan_number(s), 1);
        assert_true(save_sum(&to) == save_sum(&from));
    }
    shard_start_lane(to.shards[0].shard, 30, 0);
    shard_set_lease(to.shards[0].shard, 30, UINT64_MAX);
    assert_true(shard_has_lease(s));
    save_end(&to);
    save_end(&from);
    fs_memory_free(fs);
}

static void a_life_may_end_at_each_step_of_a_load(void **state)
{
    struct fs *fs = fs_memory_new();
    bool was_in_time = true;

    (void)state;
    save_two(fs);
    for (uint64_t n = 0; was_in_time; n += n < 50 ? 1 : 7) {
        save_begin(&to, fs, 1, 20, from.folder);
        for (uint64_t i = 0; i < n; i++) {
            (void)save_step(&to);
        }
        was_in_time = save_is_loading(&to);
        shard_start_lane(to.shards[0].shard, 30, 1);
        save_run(&to); /* what the disk still answers */
        assert_int_equal(save_count(&to), 0);
        save_end(&to);
    }
    save_end(&from);
    fs_memory_free(fs);
}

static void a_life_may_end_at_each_step_of_a_save(void **state)
{
    (void)state;
    for (uint64_t n = 0; n < 120; n++) {
        struct fs *fs = fs_memory_new();

        save_begin(&from, fs, 1, 7, NULL);
        save_push(&from, 1, 1000, 500, 1.5F);
        save_order(&from, 2, 0, SAVE_OPEN);
        for (uint64_t i = 0; i < n / 2; i++) {
            (void)save_step(&from);
        }
        save_order(&from, 2, 0, SAVE_CLOSED);
        for (uint64_t i = 0; i < n / 2; i++) {
            (void)save_step(&from);
        }
        if (n % 2 == 0) {
            shard_start_lane(from.shards[0].shard, 30, 1);
        } else {
            save_plan(&from);
        }
        save_run(&from);
        save_end(&from);
        fs_memory_free(fs);
    }
}

/* ---- memory ------------------------------------------------------------- */

static void a_load_without_memory_fails_or_is_right(void **state)
{
    struct fs *fs = fs_memory_new();
    uint64_t sum;
    size_t failed = 0;

    (void)state;
    save_two(fs);
    sum = save_sum(&from);
    armed.has_failed = true;
    for (uint64_t n = 1; armed.has_failed; n++) {
        char why[256] = "";

        save_begin(&to, fs, 2, 20, from.folder);
        armed_at(n);
        while (step_armed(&to)) {
        }
        if (is_loaded(why, sizeof(why))) {
            assert_true(save_sum(&to) == sum);
        } else {
            failed++;
            save_plan(&to); /* again */
            save_run(&to);
            assert_true(is_loaded(why, sizeof(why)));
            assert_true(save_sum(&to) == sum);
        }
        save_end(&to);
    }
    assert_true(failed > 20);
    save_end(&from);
    fs_memory_free(fs);
}

static void a_save_without_memory_fails_or_is_right(void **state)
{
    size_t failed = 0;

    (void)state;
    armed.has_failed = true;
    for (uint64_t n = 1; armed.has_failed; n++) {
        struct fs *fs = fs_memory_new();

        save_begin(&from, fs, 2, 7, NULL);
        save_push(&from, 1, 1000, 500, 1.5F);
        save_whole(&from, fs, 2, 0);
        save_push(&from, 2, 1250, 51, 2);
        save_erase(&from, 1001, 11);
        armed_at(n);
        ARMED(save_order(&from, 3, 2, SAVE_OPEN));
        while (step_armed(&from)) {
        }
        ARMED(save_order(&from, 3, 2, SAVE_CLOSED));
        while (step_armed(&from)) {
        }
        if (save_finish(&from, fs) != PS_OK) {
            failed++;
            save_order(&from, 4, 2, SAVE_OPEN);
            save_run(&from);
            assert_int_equal(save_finish(&from, fs), PS_OK);
        }
        save_begin(&to, fs, 2, 20, from.folder);
        save_run(&to);
        assert_true(save_sum(&to) == save_sum(&from));
        save_end(&to);
        save_end(&from);
        fs_memory_free(fs);
    }
    assert_true(failed > 20);
}

/* ---- a disk that is slow ------------------------------------------------ */

static uint64_t held_bytes(const struct saving *v)
{
    uint64_t bytes = 0;

    for (uint32_t k = 0; k < v->index.n_parts; k++) {
        bytes += ckpt_rows_bytes(v->writers[k]);
    }
    return bytes;
}

/* Rows that wait for the disk are a bounded number of blocks, however many are
 * pushed meanwhile: a push that would need more is put off. */
static void what_waits_for_the_disk_is_bounded(void **state)
{
    struct fs *fs = fs_memory_new();
    const struct saving *v;
    uint64_t most = 0;

    (void)state;
    save_begin(&from, fs, 1, 7, NULL);
    for (uint64_t i = 0; i < 4600; i++) {
        save_push(&from, 1, 100001 + 512 * i, 512, 1);
    }
    save_order(&from, 2, 0, SAVE_OPEN);
    v = from.shards[0].shard->saving;
    for (size_t i = 0; i < 100000; i++) {
        struct save_shard *s = &from.shards[0];
        uint64_t next = shard_next(s->shard);

        if (next == UINT64_MAX) {
            break;
        }
        s->net.now_us = base_max_u64(s->net.now_us, next);
        shard_tick(s->shard);
        most = base_max_u64(most, held_bytes(v));
    }
    assert_int_equal(shard_next(from.shards[0].shard), UINT64_MAX);
    print_message("%llu KB are held\n", (unsigned long long)most >> 10);
    /* 2,355,200 rows of 24 bytes in blocks of 3 MiB, that is 18. The tables
     * have less than 128 MiB, so 16 MiB are for such blocks: 12 for the walk,
     * the rest for who pushes meanwhile. */
    assert_in_range(most >> 20, 3 * 3, 12);
    for (uint64_t i = 0; held_bytes(v) < 5 * (3 << 20) && i < 4600; i++) {
        save_push(&from, 1, 100001 + 512 * i, 512, 1);
    }
    assert_in_range(held_bytes(v) >> 20, 5 * 3, 15);
    save_run(&from);
    assert_int_equal(save_finish(&from, fs), PS_OK);
    save_end(&from);
    fs_memory_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            numbers_of_former_lanes_are_known_through_two_restores),
        cmocka_unit_test(what_is_left_out_begins_with_initial_values),
        cmocka_unit_test(damage_is_found_and_its_folder_named),
        cmocka_unit_test(a_file_that_is_not_there_is_named),
        cmocka_unit_test(a_file_that_the_disk_has_lost_is_damage),
        cmocka_unit_test(rows_over_the_memory_limit_are_waited_for),
        cmocka_unit_test(what_had_its_place_before_is_not_over_the_limit),
        cmocka_unit_test(a_disk_that_was_away_costs_nothing),
        cmocka_unit_test(a_base_is_not_what_another_cluster_calls_the_same_cut),
        cmocka_unit_test(a_base_that_is_not_there_is_named),
        cmocka_unit_test(a_plan_in_the_middle_of_a_load_changes_no_row),
        cmocka_unit_test(a_load_that_is_not_done_may_be_given_up),
        cmocka_unit_test(a_lane_that_has_served_what_is_given_up_ends),
        cmocka_unit_test(a_life_may_end_at_each_step_of_a_load),
        cmocka_unit_test(a_life_may_end_at_each_step_of_a_save),
        cmocka_unit_test(a_load_without_memory_fails_or_is_right),
        cmocka_unit_test(a_save_without_memory_fails_or_is_right),
        cmocka_unit_test(what_waits_for_the_disk_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
