/* test_crashfs.c - what is left when the power is cut, worked out by hand. */
#include "lib/crashfs.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"

enum { SEEDS = 200 };

/* What `text` says of a file, in a set of things seen. */
static void put(struct fs *fs, const char *path, const char *text, bool sync)
{
    assert_int_equal(
        fs->ops->write_new(fs, path, text, strlen(text), sync, NULL), PS_OK);
}

/* The bytes of a file, zeros shown as '.'; "-" where there is none. */
static const char *get(struct fs *fs, const char *path)
{
    static char text[64];
    struct buf b;
    int rc;

    buf_init(&b);
    rc = fs->ops->read(fs, path, sizeof(text) - 1, &b, NULL);
    memset(text, 0, sizeof(text));
    for (size_t i = 0; i < b.size; i++) {
        text[i] = b.data[i] == 0 ? '.' : (char)b.data[i];
    }
    buf_fini(&b);
    if (rc == PS_ENOTFOUND) {
        return "-";
    }
    assert_int_equal(rc, PS_OK);
    return text;
}

static struct fs_open_file *create(struct fs *fs, const char *path)
{
    struct fs_open_file *f;

    assert_int_equal(fs->ops->open(fs, path, FS_CREATE, &f, NULL), PS_OK);
    return f;
}

static void write_text(struct fs *fs, struct fs_open_file *f, uint64_t offset,
                       const char *text)
{
    assert_int_equal(fs->ops->write_at(fs, f, offset, text, strlen(text), NULL),
                     PS_OK);
}

static void what_is_synced_with_its_name_is_always_kept(void **state)
{
    (void)state;
    for (int how = CRASHFS_LOST; how <= CRASHFS_TORN; how++) {
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            struct crashfs *c = crashfs_new();
            struct fs *fs = crashfs_fs(c);

            assert_int_equal(fs->ops->mkdir(fs, "d/e", NULL), PS_OK);
            put(fs, "d/e/a", "hello", true);
            assert_int_equal(fs->ops->sync_dir(fs, "d/e", NULL), PS_OK);
            assert_int_equal(fs->ops->sync_dir(fs, "d", NULL), PS_OK);
            assert_int_equal(fs->ops->sync_dir(fs, ".", NULL), PS_OK);
            crashfs_crash(c, (enum crashfs_how)how, seed);
            assert_string_equal(get(fs, "d/e/a"), "hello");
            crashfs_free(c);
        }
    }
}

static void a_file_without_its_folders_name_is_lost(void **state)
{
    struct crashfs *c = crashfs_new();
    struct fs *fs = crashfs_fs(c);

    (void)state;
    assert_int_equal(fs->ops->mkdir(fs, "d", NULL), PS_OK);
    put(fs, "d/a", "hello", true);
    assert_int_equal(fs->ops->sync_dir(fs, "d", NULL), PS_OK);
    crashfs_crash(c, CRASHFS_LOST, 0);
    assert_string_equal(get(fs, "d/a"), "-");
    put(fs, "b", "hello", true);
    crashfs_crash(c, CRASHFS_LOST, 0);
    assert_string_equal(get(fs, "b"), "-");
    put(fs, "b", "hello", false);
    assert_int_equal(fs->ops->sync_dir(fs, ".", NULL), PS_OK);
    crashfs_crash(c, CRASHFS_LOST, 0);
    assert_string_equal(get(fs, "b"), "");
    put(fs, "c", "hello", false);
    crashfs_crash(c, CRASHFS_KEPT, 0);
    assert_string_equal(get(fs, "c"), "hello");
    crashfs_free(c);
}

/* Which of the texts came out, by bit; none other may. */
static uint32_t seen_in(const char *text, const char *const *texts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(text, texts[i]) == 0) {
            return 1U << i;
        }
    }
    print_message("unexpected: \"%s\"\n", text);
    assert_true(false);
    return 0;
}

static void each_write_is_kept_or_not_by_itself(void **state)
{
    /* "AA" at 0, "BB" at 2 over synced "abcd": each kept, lost, or, as a size
     * that is there already, zeros that change nothing. */
    static const char *const over[] = {"abcd", "AAcd", "abBB", "AABB"};
    /* "AA" at 0, "BB" at 2 of an empty file. */
    static const char *const new[] = {"",   "AA",   "..BB", "AABB",
                                      "..", "....", "AA.."};
    uint32_t seen[2] = {0, 0};

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct crashfs *c = crashfs_new();
        struct fs *fs = crashfs_fs(c);
        struct fs_open_file *f = create(fs, "a");
        struct fs_open_file *g = create(fs, "b");

        write_text(fs, f, 0, "abcd");
        assert_int_equal(fs->ops->sync(fs, f, NULL), PS_OK);
        assert_int_equal(fs->ops->sync_dir(fs, ".", NULL), PS_OK);
        write_text(fs, f, 0, "AA");
        write_text(fs, f, 2, "BB");
        write_text(fs, g, 0, "AA");
        write_text(fs, g, 2, "BB");
        crashfs_crash(c, CRASHFS_RANDOM, seed);
        seen[0] |= seen_in(get(fs, "a"), over, ARRAY_LEN(over));
        seen[1] |= seen_in(get(fs, "b"), new, ARRAY_LEN(new));
        crashfs_free(c);
    }
    assert_int_equal(seen[0], 0xf);
    assert_int_equal(seen[1], 0x7f);
}

static void a_rename_is_all_or_nothing(void **state)
{
    uint32_t seen = 0;

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct crashfs *c = crashfs_new();
        struct fs *fs = crashfs_fs(c);
        bool is_old;
        bool is_new;

        assert_int_equal(fs->ops->mkdir(fs, "new", NULL), PS_OK);
        put(fs, "new/a", "1", true);
        put(fs, "x", "old", true);
        put(fs, "y", "new", true);
        assert_int_equal(fs->ops->sync_dir(fs, "new", NULL), PS_OK);
        assert_int_equal(fs->ops->sync_dir(fs, ".", NULL), PS_OK);
        assert_int_equal(fs->ops->rename(fs, "new", "done", NULL), PS_OK);
        assert_int_equal(fs->ops->rename(fs, "y", "x", NULL), PS_OK);
        crashfs_crash(c, CRASHFS_RANDOM, seed);
        is_old = strcmp(get(fs, "new/a"), "1") == 0;
        is_new = strcmp(get(fs, "done/a"), "1") == 0;
        assert_true(is_old != is_new);
        is_old = strcmp(get(fs, "x"), "old") == 0;
        assert_string_equal(get(fs, "x"), is_old ? "old" : "new");
        assert_string_equal(get(fs, "y"), is_old ? "new" : "-");
        seen |= 1U << ((is_old ? 1 : 0) + (is_new ? 2 : 0));
        crashfs_free(c);
    }
    assert_int_equal(seen, 0xf);
}

static void a_sync_of_either_folder_keeps_a_rename_whole(void **state)
{
    static const char *const first[] = {"a", "b", "b"};
    static const char *const second[] = {"b", "a", NULL};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(first); i++) {
        struct crashfs *c = crashfs_new();
        struct fs *fs = crashfs_fs(c);

        assert_int_equal(fs->ops->mkdir(fs, "a", NULL), PS_OK);
        assert_int_equal(fs->ops->mkdir(fs, "b", NULL), PS_OK);
        assert_int_equal(fs->ops->sync_dir(fs, ".", NULL), PS_OK);
        put(fs, "a/x", "1", true);
        assert_int_equal(fs->ops->rename(fs, "a/x", "b/y", NULL), PS_OK);
        assert_int_equal(fs->ops->sync_dir(fs, first[i], NULL), PS_OK);
        if (second[i] != NULL) {
            assert_int_equal(fs->ops->sync_dir(fs, second[i], NULL), PS_OK);
        }
        crashfs_crash(c, CRASHFS_KEPT, 0);
        assert_string_equal(get(fs, "a/x"), "-");
        assert_string_equal(get(fs, "b/y"), "1");
        crashfs_free(c);
    }
}

/* After a sync of a folder it holds what was seen in it, whatever was done. */
static void a_synced_folder_is_what_was_seen(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct crashfs *c = crashfs_new();
        struct fs *fs = crashfs_fs(c);
        uint64_t r = seed * 0x9e3779b97f4a7c15;
        char seen[3];
        char path[2][8];

        for (char f = 'a'; f < 'd'; f++) {
            path[0][0] = f;
            path[0][1] = '\0';
            assert_int_equal(fs->ops->mkdir(fs, path[0], NULL), PS_OK);
        }
        assert_int_equal(fs->ops->sync_dir(fs, ".", NULL), PS_OK);
        for (uint32_t i = 0; i < 40; i++) {
            uint32_t what;

            r = r * 6364136223846793005 + 1442695040888963407;
            what = (uint32_t)(r >> 40);
            for (size_t k = 0; k < 2; k++) {
                path[k][0] = (char)('a' + what % 3);
                path[k][1] = '/';
                path[k][2] = (char)('x' + what / 3 % 3);
                path[k][3] = '\0';
                what /= 9;
            }
            if (what % 8 < 3) {
                (void)fs->ops->write_new(fs, path[0], path[1], 3, true, NULL);
            } else if (what % 8 < 6) {
                (void)fs->ops->rename(fs, path[0], path[1], NULL);
            } else if (what % 8 < 7) {
                (void)fs->ops->unlink(fs, path[0], NULL);
            } else {
                path[0][1] = '\0';
                (void)fs->ops->sync_dir(fs, path[0], NULL);
            }
        }
        /* One folder is synced; of the others anything may be left. */
        for (char x = 'x'; x <= 'z'; x++) {
            char at[4] = {'b', '/', x, '\0'};

            seen[x - 'x'] = get(fs, at)[0];
        }
        assert_int_equal(fs->ops->sync_dir(fs, "b", NULL), PS_OK);
        crashfs_crash(c, CRASHFS_RANDOM, seed);
        for (char x = 'x'; x <= 'z'; x++) {
            char at[4] = {'b', '/', x, '\0'};
            /* A name that a rename took away from a folder that is not synced
             * may come back there, never here. */
            assert_int_equal(seen[x - 'x'], get(fs, at)[0]);
        }
        crashfs_free(c);
    }
}

static void the_last_write_is_torn_at_a_sector(void **state)
{
    uint32_t seen = 0;
    uint8_t data[2000];

    (void)state;
    memset(data, 'x', sizeof(data));
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct crashfs *c = crashfs_new();
        struct fs *fs = crashfs_fs(c);
        struct fs_open_file *f = create(fs, "a");
        uint64_t size;

        put(fs, "b", "whole", false);
        write_text(fs, f, 0, "12345");
        /* 100 .. 2100: borders at 512, 1024, 1536, 2048 */
        assert_int_equal(
            fs->ops->write_at(fs, f, 100, data, sizeof(data), NULL), PS_OK);
        crashfs_crash(c, CRASHFS_TORN, seed);
        assert_string_equal(get(fs, "b"), "whole");
        assert_int_equal(fs->ops->open(fs, "a", FS_READ, &f, NULL), PS_OK);
        assert_int_equal(fs->ops->file_size(fs, f, &size, NULL), PS_OK);
        assert_true(size == 5 || (size % 512 == 0 && size <= 2048));
        seen |= 1U << (size / 512);
        crashfs_free(c);
    }
    assert_int_equal(seen, 0x1f);
}

static void what_a_failed_fsync_had_to_write_is_never_written(void **state)
{
    static const enum crashfs_how hows[] = {CRASHFS_KEPT, CRASHFS_RANDOM};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hows); i++) {
        for (uint64_t seed = 0; seed < 20; seed++) {
            struct crashfs *c = crashfs_new();
            struct fs *fs = crashfs_fs(c);
            struct fs_open_file *f = create(fs, "a");

            assert_int_equal(fs->ops->sync_dir(fs, ".", NULL), PS_OK);
            write_text(fs, f, 0, "one");
            crashfs_fail(c, 1, CRASHFS_EIO, CRASHFS_NOT_DONE, false);
            assert_int_equal(fs->ops->sync(fs, f, NULL), PS_EIO);
            assert_int_equal(fs->ops->sync(fs, f, NULL), PS_EIO);
            assert_int_equal(fs->ops->write_at(fs, f, 0, "x", 1, NULL), PS_EIO);
            assert_int_equal(fs->ops->close(fs, f, NULL), PS_OK);
            assert_string_equal(get(fs, "a"), "one");
            crashfs_crash(c, hows[i], seed);
            assert_string_equal(get(fs, "a"), "");
            crashfs_free(c);
        }
    }
}

static int work(struct fs *fs)
{
    struct fs_open_file *f = NULL;
    int rc = fs->ops->mkdir(fs, "new", NULL);
    int end;

    if (rc == PS_OK) {
        rc = fs->ops->open(fs, "new/a", FS_CREATE, &f, NULL);
    }
    if (rc == PS_OK) {
        rc = fs->ops->write_at(fs, f, 0, "half", 4, NULL);
    }
    if (rc == PS_OK) {
        rc = fs->ops->sync(fs, f, NULL);
    }
    if (f != NULL) {
        end = fs->ops->close(fs, f, NULL);
        rc = rc == PS_OK ? end : rc;
    }
    if (rc == PS_OK) {
        rc = fs->ops->sync_dir(fs, "new", NULL);
    }
    if (rc == PS_OK) {
        rc = fs->ops->rename(fs, "new", "done", NULL);
    }
    if (rc == PS_OK) {
        rc = fs->ops->sync_dir(fs, ".", NULL);
    }
    return rc;
}

/* The rule that all this is for: what was answered is there, and what is there
 * under its last name is whole. */
static void run_work(uint64_t n, enum crashfs_reason reason,
                     enum crashfs_effect effect, bool is_sticky, bool *struck)
{
    for (int how = CRASHFS_LOST; how <= CRASHFS_TORN; how++) {
        struct crashfs *c = crashfs_new();
        struct fs *fs = crashfs_fs(c);
        int rc;

        crashfs_fail(c, n, reason, effect, is_sticky);
        rc = work(fs);
        *struck = crashfs_has_failed(c);
        assert_int_equal(rc, *struck ? PS_EIO : PS_OK);
        assert_true(*struck || crashfs_ops(c) == 8);
        crashfs_crash(c, (enum crashfs_how)how, n);
        if (rc == PS_OK) {
            assert_string_equal(get(fs, "done/a"), "half");
        } else {
            assert_true(strcmp(get(fs, "done/a"), "-") == 0 ||
                        strcmp(get(fs, "done/a"), "half") == 0);
        }
        crashfs_free(c);
    }
}

static void each_of_eight_operations_can_fail(void **state)
{
    (void)state;
    for (int effect = CRASHFS_NOT_DONE; effect <= CRASHFS_DONE; effect++) {
        for (int sticky = 0; sticky < 2; sticky++) {
            for (uint64_t n = 1; n <= 9; n++) {
                bool struck;

                run_work(n, CRASHFS_EIO, (enum crashfs_effect)effect,
                         sticky == 1, &struck);
                assert_int_equal(struck, n <= 8);
                run_work(n, CRASHFS_ENOSPC, (enum crashfs_effect)effect,
                         sticky == 1, &struck);
                assert_int_equal(struck, n <= 8);
            }
        }
    }
}

static void a_failure_does_nothing_half_or_all(void **state)
{
    static const char *const texts[] = {"", "ab", "abcd"};
    struct err e = {0};

    (void)state;
    for (int effect = CRASHFS_NOT_DONE; effect <= CRASHFS_DONE; effect++) {
        struct crashfs *c = crashfs_new();
        struct fs *fs = crashfs_fs(c);
        struct fs_open_file *f = create(fs, "a");

        crashfs_fail(c, 1, CRASHFS_ENOSPC, (enum crashfs_effect)effect, false);
        assert_string_equal(get(fs, "a"), ""); /* takes no room */
        assert_int_equal(fs->ops->write_at(fs, f, 0, "abcd", 4, &e), PS_EIO);
        assert_non_null(strstr(e.text, "the disk is full"));
        assert_string_equal(get(fs, "a"), texts[effect]);
        crashfs_fail(c, 1, CRASHFS_EIO, (enum crashfs_effect)effect, false);
        assert_int_equal(fs->ops->write_new(fs, "b", "x", 1, true, NULL),
                         PS_EIO);
        assert_string_equal(get(fs, "b"), "-");
        crashfs_fail(c, 1, CRASHFS_EIO, (enum crashfs_effect)effect, false);
        assert_int_equal(fs->ops->rename(fs, "a", "b", NULL), PS_EIO);
        assert_string_equal(get(fs, "b"),
                            effect == CRASHFS_DONE ? "abcd" : "-");
        crashfs_free(c);
    }
}

static void bits_flip_and_writes_go_astray(void **state)
{
    struct crashfs *c = crashfs_new();
    struct fs *fs = crashfs_fs(c);
    struct fs_open_file *f = create(fs, "a");

    (void)state;
    write_text(fs, f, 0, "abc");
    assert_int_equal(fs->ops->sync(fs, f, NULL), PS_OK);
    assert_int_equal(fs->ops->sync_dir(fs, ".", NULL), PS_OK);
    /* 'b' is 0x62; its bit 1 makes it 0x60, '`'. */
    assert_int_equal(crashfs_flip(c, "a", 9), PS_OK);
    assert_string_equal(get(fs, "a"), "a`c");
    assert_int_equal(crashfs_flip(c, "a", 24), PS_EARGUMENT);
    assert_int_equal(crashfs_flip(c, "x", 0), PS_ENOTFOUND);
    crashfs_crash(c, CRASHFS_LOST, 0);
    assert_string_equal(get(fs, "a"), "a`c");
    assert_int_equal(fs->ops->write_at(fs, f, 0, "x", 1, NULL), PS_EIO);
    f = create(fs, "b");
    write_text(fs, f, 0, "abcdef");
    crashfs_misdirect(c, 2);
    write_text(fs, f, 1, "X");
    assert_string_equal(get(fs, "b"), "abcXef");
    write_text(fs, f, 1, "Y");
    crashfs_misdirect(c, -100);
    write_text(fs, f, 5, "Z");
    assert_string_equal(get(fs, "b"), "ZYcXef");
    assert_int_equal(crashfs_flip(c, "b", 0), PS_OK); /* not synced yet */
    crashfs_crash(c, CRASHFS_KEPT, 0);
    assert_string_equal(get(fs, "b"), "[YcXef");
    crashfs_free(c);
}

/* What reads is spared until something was struck, and nothing after that. */
static void the_power_strikes_what_changes_something(void **state)
{
    struct crashfs *c = crashfs_new();
    struct fs *fs = crashfs_fs(c);
    struct buf b;

    (void)state;
    buf_init(&b);
    assert_int_equal(fs->ops->write_new(fs, "a", "x", 1, true, NULL), PS_OK);
    assert_int_equal(crashfs_ops(c), 1);
    crashfs_fail(c, 1, CRASHFS_POWER, CRASHFS_NOT_DONE, true);
    assert_int_equal(fs->ops->read(fs, "a", 9, &b, NULL), PS_OK);
    assert_int_equal(crashfs_failed_at(c), 0);
    assert_int_equal(fs->ops->unlink(fs, "a", NULL), PS_EIO);
    assert_int_equal(crashfs_failed_at(c), 3);
    assert_int_equal(fs->ops->read(fs, "a", 9, &b, NULL), PS_EIO);
    assert_int_equal(crashfs_failed_at(c), 3);
    buf_fini(&b);
    crashfs_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_synced_with_its_name_is_always_kept),
        cmocka_unit_test(a_file_without_its_folders_name_is_lost),
        cmocka_unit_test(each_write_is_kept_or_not_by_itself),
        cmocka_unit_test(a_rename_is_all_or_nothing),
        cmocka_unit_test(a_sync_of_either_folder_keeps_a_rename_whole),
        cmocka_unit_test(a_synced_folder_is_what_was_seen),
        cmocka_unit_test(the_last_write_is_torn_at_a_sector),
        cmocka_unit_test(what_a_failed_fsync_had_to_write_is_never_written),
        cmocka_unit_test(each_of_eight_operations_can_fail),
        cmocka_unit_test(a_failure_does_nothing_half_or_all),
        cmocka_unit_test(the_power_strikes_what_changes_something),
        cmocka_unit_test(bits_flip_and_writes_go_astray),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
