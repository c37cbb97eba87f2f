/* test_shard_save_errors.c - whatever the disk does in the course of a save:
 * nothing is called saved that is not, pushes go on, and the next save is as
 * good as if nothing had been. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/probe.h"
#include "lib/crashfs.h"
#include "save_stage.h"

static struct save_group from;
static struct save_group to;
static struct crashfs *crashfs;
static struct fs *fs;

static uint64_t sum_loaded(const char *folder)
{
    char why[256] = "";
    uint64_t sum;

    save_begin(&to, fs, 3, 100, folder);
    save_run(&to);
    (void)save_has_failed_to_load(&to, why, sizeof(why));
    assert_string_equal(why, "");
    sum = save_sum(&to);
    save_end(&to);
    return sum;
}

static uint64_t sum_of_newest(void)
{
    struct ckpt_list list;
    const struct ckpt_entry *x;
    char folder[CKPT_NAME_MAX + 1];
    struct err e;

    assert_int_equal(ckpt_list(fs, &list, &e), PS_OK);
    x = ckpt_list_find(&list, NULL);
    assert_non_null(x);
    snprintf(folder, sizeof(folder), "%s", x->folder);
    ckpt_list_free(&list);
    return sum_loaded(folder);
}

/* A whole one of cut 2, and changes. Its sum. */
static uint64_t begin(void)
{
    uint64_t sum;

    crashfs = crashfs_new();
    fs = crashfs_fs(crashfs);
    save_begin(&from, fs, 2, 7, NULL);
    save_push(&from, 1, 1000, 300, 1);
    save_whole(&from, fs, 2, 0);
    sum = save_sum(&from);
    save_push(&from, 2, 1251, 100, 1);
    save_erase(&from, 1001, 9);
    return sum;
}

static void end(void)
{
    save_end(&from);
    crashfs_free(crashfs);
}

/* The save of cut 3 with a late frame and others, all answered. *sum: of what
 * it must have. */
static int save_amid_pushes(uint64_t base, uint64_t *sum)
{
    save_order(&from, 3, base, SAVE_OPEN);
    (void)save_step(&from);
    save_push(&from, 2, 1100, 21, 2);
    *sum = save_sum(&from);
    for (uint64_t i = 0; i < 5; i++) {
        (void)save_step(&from);
        save_push(&from, 3, 1001 + 50 * i, 40, 3);
    }
    save_run(&from);
    return save_finish(&from, fs);
}

static void check_next_save(uint64_t cut, uint64_t base)
{
    save_push(&from, cut - 1, 1301, 30, 1);
    save_whole(&from, fs, cut, base);
    assert_true(sum_loaded(from.folder) == save_sum(&from));
}

/* One operation goes wrong, or all from it on until somebody has repaired the
 * disk. False: there was no such operation. */
static bool err_at(uint64_t n, uint64_t base, enum crashfs_reason reason,
                   enum crashfs_effect effect, bool is_sticky)
{
    uint64_t old = begin();
    uint64_t new;
    bool has_failed;
    int rc;

    crashfs_fail(crashfs, n, reason, effect, is_sticky);
    rc = save_amid_pushes(base, &new);
    has_failed = crashfs_has_failed(crashfs);
    crashfs_fail(crashfs, 0, reason, effect, false);
    if (is_sticky && has_failed) {
        assert_true(rc != PS_OK);
    }
    if (n % 2 == 0) {
        check_next_save(4, rc == PS_OK ? 3 : 2);
    } else {
        uint64_t now;

        crashfs_crash(crashfs, CRASHFS_LOST, n);
        now = sum_of_newest();
        assert_true(now == new || (now == old && rc != PS_OK));
    }
    end();
    return has_failed;
}

static void no_error_of_the_disk_is_called_saved(void **state)
{
    static const enum crashfs_reason reasons[] = {CRASHFS_EIO, CRASHFS_ENOSPC};
    size_t points = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
        for (int effect = CRASHFS_NOT_DONE; effect <= CRASHFS_DONE; effect++) {
            for (uint64_t n = 1;; n++, points++) {
                /* In turn: an increment or a whole one, once or for long. */
                if (!err_at(n, n / 2 % 2 == 0 ? 2 : 0, reasons[i],
                            (enum crashfs_effect)effect, n / 4 % 2 == 0)) {
                    break;
                }
            }
        }
    }
    print_message("%zu errors\n", points);
    assert_true(points > 500);
}

static void a_disk_that_hangs_anywhere_holds_nobody_up(void **state)
{
    bool goes_on = true;
    uint64_t n;

    (void)state;
    for (n = 0; goes_on; n++) {
        bool is_closed = false;

        (void)begin();
        save_order(&from, 3, n % 2 == 0 ? 2 : 0, SAVE_OPEN);
        for (uint64_t i = 0; i < n && goes_on; i++) {
            goes_on = save_step(&from);
            if (!goes_on && !is_closed) {
                save_order(&from, 3, from.base, SAVE_CLOSED);
                is_closed = true;
                goes_on = save_step(&from);
            }
        }
        from.disk_hangs = true;
        save_push(&from, 3, 1000, 400, 1); /* all of it is answered */
        save_order(&from, 3, from.base, SAVE_FAILED);
        save_push(&from, 3, 1001, 400, 1);
        from.disk_hangs = false;
        save_run(&from);
        check_next_save(4, 2);
        end();
    }
    print_message("%zu places\n", (size_t)n);
    assert_true(n > 50);
}

/* With the name of a planted fault: then a test must fail. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_error_of_the_disk_is_called_saved),
        cmocka_unit_test(a_disk_that_hangs_anywhere_holds_nobody_up),
    };

#ifdef PS_TEST_HOOKS
    if (argc > 1 && !probe_plant(argv[1])) {
        return 0; /* not found, then */
    }
#else
    (void)argc;
    (void)argv;
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
