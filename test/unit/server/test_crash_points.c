/* test_crash_points.c - the power is cut at each operation of the disk in a
 * life with everything in it.
 *
 * Two shards save a whole checkpoint and three increments of it while pushes go
 * on, some of them late; the second increment is compacted, old ones are
 * removed, logs are trimmed behind them. HASH and SUMS are of durability
 * `memory`, LATER is of `fsync` with its log on the same disk. A life is a
 * function of its seed. It is lived once for each operation and each way in
 * which what was not synced may end, and stops there. Then three shards of new
 * lanes load the newest whole checkpoint and read the logs. Always:
 *
 *     it is the last one that was said to be saved, or the one under way;
 *     HASH and SUMS, slots too, are bit for bit those of its cut;
 *     numbers of before the cut are settled, those after it are canceled;
 *     it has the reader's position of this cut;
 *     LATER has each push that was acknowledged, once;
 *     every other checkpoint that the list calls whole is whole in every byte;
 *     the next save works, and what comes of it is the same again.
 *
 *     test_crash_points [POINTS | PLANT]
 *
 * goes through whole lives until there were so many points. With the name of a
 * planted fault it must fail. With neither it looks at some points of a life.
 * Operations that change nothing are not counted: a crash there is one at the
 * next that does.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/probe.h"
#include "ckpt/ckpt_compact.h"
#include "lib/crashfs.h"
#include "lib/slow.h"
#include "old_ckpts.h"
#include "save_stage.h"

enum { LATERS = 40, CUTS = 8, NEXT_CUT = 100 };

static const enum crashfs_how hows[] = {CRASHFS_LOST, CRASHFS_KEPT,
                                        CRASHFS_RANDOM, CRASHFS_TORN};
static uint64_t wanted;
static uint64_t points;
static uint64_t stride = 7 * SLOW_STRIDE; /* of operations */

/* What a checkpoint of a cut must have. */
struct expected {
    bool is_saved; /* somebody was told so */
    uint64_t sum;
    uint64_t seq[2];
};

struct life {
    struct crashfs *crashfs;
    struct fs *fs;
    uint64_t random;
    uint64_t newest; /* cut of the last save that began */
    struct expected cuts[CUTS];
    uint64_t n_laters;
    bool acked[LATERS];
};

static struct life life;
static struct save_group group;
static struct save_group after;

static uint64_t draw(uint64_t below)
{
    life.random = hash_key(life.random + 1);
    return life.random % below;
}

static bool is_over(void)
{
    return crashfs_has_failed(life.crashfs);
}

/* ---- what there is ------------------------------------------------------ */

struct rows {
    uint64_t sum; /* of all but LATER */
    float laters[LATERS];
};

static void add_row(void *context, uint32_t variable, uint64_t key,
                    const float *values, uint32_t dim)
{
    struct rows *r = context;
    uint32_t floats = variable == HASH ? 2 * dim : dim; /* with its slot */

    if (variable == LATER) {
        assert_true(key < LATERS);
        r->laters[key] = values[0];
    } else {
        r->sum += hash_key(hash_bytes(values, floats * sizeof(*values)) ^
                           hash_key(key + variable));
    }
}

static struct rows rows_of(struct save_group *g)
{
    struct rows r = {0};

    save_walk(g, add_row, &r);
    return r;
}

/* ---- a life ------------------------------------------------------------- */

/* Each adds 1 to a row of its own. */
static void push_laters(uint64_t cut, uint64_t n)
{
    for (uint64_t i = 0; i < n && !is_over(); i++) {
        uint64_t key = life.n_laters++;

        assert_true(key < LATERS);
        life.acked[key] = save_push_later(&group, cut, key, 1);
    }
}

/* Rows, erasures of some, and pushes that are logged. */
static void change(uint64_t cut)
{
    for (uint64_t n = 1 + draw(3); n > 0 && !is_over(); n--) {
        save_push(&group, cut, 1000 + draw(400), 1 + draw(90),
                  0.25F * (float)draw(50));
    }
    if (draw(2) == 0 && !is_over()) {
        save_erase(&group, 1000 + draw(400), draw(30));
    }
    push_laters(cut, draw(3));
}

static void step_some(uint64_t n)
{
    for (uint64_t i = draw(n); i > 0; i--) {
        (void)save_step(&group);
    }
}

/* Cut, late frames, frames of the cut, all under way. */
static void save(uint64_t cut, uint64_t base)
{
    struct expected *e = &life.cuts[cut];

    if (is_over()) {
        return;
    }
    life.newest = cut;
    save_order(&group, cut, base, SAVE_OPEN);
    step_some(4);
    if (draw(2) == 0) {
        save_push(&group, cut - 1, 1000 + draw(400), 1 + draw(20), 0.5F);
        push_laters(cut - 1, 1);
    }
    /* LATER's pushes have numbers too, settled or not. */
    e->sum = rows_of(&group).sum;
    e->seq[0] = group.shards[0].seq;
    e->seq[1] = group.shards[1].seq;
    step_some(12);
    change(cut);
    save_run(&group);
    if (!is_over() && save_finish(&group, life.fs) == PS_OK) {
        e->is_saved = true;
    }
    assert_true(e->is_saved || is_over());
    change(cut);
}

static void compact(void)
{
    struct ckpt_list list;
    const struct ckpt_entry *x;
    struct ckpt_compacted done;
    struct err e;
    int rc;

    if (is_over()) {
        return;
    }
    rc = ckpt_list(life.fs, &list, &e);
    if (rc == PS_OK) {
        x = ckpt_list_find(&list, NULL);
        rc = x == NULL ? PS_ENOTFOUND
                       : ckpt_compact(life.fs, &list, x, draw(2) * 4000, NULL,
                                      &done, &e);
        ckpt_list_free(&list);
    }
    assert_true(rc == PS_OK || is_over());
}

/* Two stay; logs behind the older one may go. */
static void prune(uint64_t oldest)
{
    uint32_t n;
    struct err e;

    if (is_over()) {
        return;
    }
    if (old_ckpts_remove(life.fs, 2, &n, &e) != PS_OK) {
        assert_true(is_over());
        return;
    }
    group.oldest = oldest;
    save_order(&group, group.cut, group.base, SAVE_DONE);
    save_run(&group);
}

static void live(uint64_t seed)
{
    life.random = seed;
    save_forget_logs();
    save_begin_with_logs(&group, life.fs, 2, 7, NULL);
    group.power = life.crashfs;
    for (uint32_t i = 0; i < 2; i++) {
        group.shards[i].shard->options.block_rows = UINT64_C(64) << draw(8);
    }
    save_run(&group);
    change(1);
    change(1);
    save(2, 0);
    save(3, 2);
    save(4, 3);
    compact();
    prune(3);
    save(5, 4);
    prune(4);
    save_end(&group);
}

/* ---- what is left ------------------------------------------------------- */

static void check_every_byte(const struct ckpt_entry *x)
{
    struct ckpt *c;
    struct err e = {.text = ""};

    if (ckpt_open(life.fs, x->folder, &c, &e) != PS_OK ||
        ckpt_verify(life.fs, x->folder, c, NULL, &e) != PS_OK) {
        fail_msg("%s is listed as whole: %s", x->folder, e.text);
    }
    assert_int_equal(c->manifest.n_sessions, 1);
    assert_int_equal(c->manifest.sessions[0].session, SAVE_SESSION);
    assert_int_equal(c->manifest.sessions[0].worker, 3);
    /* The stage's position names the folder, which the compacted one keeps. */
    assert_memory_equal(c->manifest.sessions[0].position.data, x->folder,
                        strlen("ckpt-000000000000"));
    ckpt_free(c);
}

/* The newest whole one, its cut; 0: there is none. */
static uint64_t find_newest(char folder[CKPT_NAME_MAX + 1])
{
    struct ckpt_list list;
    const struct ckpt_entry *x;
    struct err e;
    uint64_t cut = 0;

    assert_int_equal(ckpt_list(life.fs, &list, &e), PS_OK);
    x = ckpt_list_find(&list, NULL);
    for (uint32_t i = 0; i < list.n; i++) {
        if (list.entries[i].is_whole) {
            check_every_byte(&list.entries[i]);
        }
    }
    if (x != NULL) {
        snprintf(folder, CKPT_NAME_MAX + 1, "%s", x->folder);
        cut = x->cut;
    }
    ckpt_list_free(&list);
    return cut;
}

static void load(uint64_t lane, const char *folder)
{
    char why[256] = "";

    save_begin_with_logs(&after, life.fs, 3, lane, folder);
    save_run(&after);
    (void)save_has_failed_to_load(&after, why, sizeof(why));
    assert_string_equal(why, "");
    assert_false(save_is_loading(&after));
}

static void check_numbers(const struct expected *x)
{
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t bucket = LIMIT_BUCKETS / 2 * i + 9;

        for (uint64_t seq = 1; seq < x->seq[i] + 3; seq++) {
            assert_int_equal(save_resolve(&after, 7 + i, seq, bucket),
                             seq <= x->seq[i] ? PS_OK : PS_ECANCELED);
        }
    }
}

static void check_laters(const struct rows *rows)
{
    uint64_t unsure = 0;

    for (uint64_t i = 0; i < LATERS; i++) {
        float n = rows->laters[i];

        assert_true(n == 0 || n == 1);
        if (life.acked[i]) {
            assert_true(n == 1);
        }
        unsure += n == 1 && !life.acked[i];
    }
    assert_true(unsure <= 1); /* the one that the power has cut off */
}

static void check_next_save(const struct rows *rows)
{
    struct rows then;

    save_push(&after, 1, 1100, 50, 2);
    save_push(&after, 1, 5001, 3, 2);
    save_whole(&after, life.fs, NEXT_CUT, 0);
    then = rows_of(&after);
    assert_true(then.sum != rows->sum);
    assert_memory_equal(then.laters, rows->laters, sizeof(then.laters));
    {
        char folder[CKPT_NAME_MAX + 1];
        struct rows last;

        snprintf(folder, sizeof(folder), "%s", after.folder);
        save_end(&after);
        load(200, folder);
        last = rows_of(&after);
        assert_memory_equal(&last, &then, sizeof(last));
    }
}

static void check_what_is_left(void)
{
    char folder[CKPT_NAME_MAX + 1];
    uint64_t cut = find_newest(folder);
    uint64_t saved = 0;
    struct rows rows;

    for (uint64_t i = 0; i < CUTS; i++) {
        saved = life.cuts[i].is_saved ? i : saved;
    }
    assert_true(cut == saved || (cut == life.newest && cut > saved));
    load(100, cut != 0 ? folder : NULL);
    rows = rows_of(&after);
    if (cut != 0) {
        assert_true(rows.sum == life.cuts[cut].sum);
        check_numbers(&life.cuts[cut]);
    }
    check_laters(&rows);
    check_next_save(&rows);
    save_end(&after);
}

/* ---- all points --------------------------------------------------------- */

/* At the first operation from n on that changes something: its number, or 0
 * where there is none. */
static uint64_t crash_at(uint64_t seed, uint64_t n, size_t how)
{
    uint64_t at;

    memset(&life, 0, sizeof(life));
    life.crashfs = crashfs_new();
    life.fs = crashfs_fs(life.crashfs);
    crashfs_fail(life.crashfs, n, CRASHFS_POWER, CRASHFS_HALF_DONE, true);
    live(seed);
    at = crashfs_failed_at(life.crashfs);
    crashfs_crash(life.crashfs, hows[how], seed << 32 | n);
    check_what_is_left();
    crashfs_free(life.crashfs);
    return at;
}

static void a_crash_leaves_the_old_or_the_new_and_no_push_is_lost(void **state)
{
    uint64_t lives = 0;
    uint64_t n = 1;

    (void)state;
    while (points < wanted || lives == 0 || n > 1) {
        uint64_t at = 0;

        for (size_t how = 0; how < ARRAY_LEN(hows); how++) {
            at = crash_at(lives, n, how);
        }
        points += at != 0 ? ARRAY_LEN(hows) : 0;
        n = at == 0 ? 1 : at + stride;
        lives += at == 0;
    }
    print_message("%llu points of %llu lives\n", (unsigned long long)points,
                  (unsigned long long)lives);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_leaves_the_old_or_the_new_and_no_push_is_lost),
    };
    int rc;

    if (argc > 1) {
        stride = 1;
        wanted = strtoull(argv[1], NULL, 10);
    }
#ifdef PS_TEST_HOOKS
    if (wanted == 0 && argc > 1 && !probe_plant(argv[1])) {
        fprintf(stderr, "there is no plant %s\n", argv[1]);
        return 0; /* not found, then */
    }
#endif
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    if (wanted > 0) {
        printf("%llu passed, %d failed\n", (unsigned long long)points, rc);
    }
    return rc;
}
