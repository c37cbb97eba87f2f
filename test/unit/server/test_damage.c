/* test_damage.c - no damage of a checkpoint goes unseen, whichever file it is
 * in: of a whole one with copies of former lanes, and of an increment of it
 * with rows, erased keys and late frames. Shards have written both.
 *
 *     test_damage           each 11th byte and length
 *     test_damage all
 *     test_damage write URL nothing but to write the checkpoints there, and to
 *                           say what rows they have, for other readers
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include "lib/crashfs.h"
#include "lib/slow.h"
#include "save_stage.h"

enum { FILES = 7, LOAD_EVERY = 97, ROOM = 1 << 20 };

static const char *const names[FILES] = {
    "manifest.json",
    "lane-20.json",
    "lane-20.safetensors",
    "lane-20.state.safetensors",
    "lane-21.json",
    "lane-21.safetensors",
    "lane-21.state.safetensors",
};
static const char *const folders[] = {"ckpt-000000000005-1",
                                      "ckpt-000000000006-1"};

static struct crashfs *crashfs;
static struct fs *fs;
static struct save_group group;
static size_t stride = 11 * SLOW_STRIDE;
static uint64_t good; /* the sum of what loads */

static void tell_row(void *context, uint32_t variable, uint64_t key,
                     const float *values, uint32_t dim)
{
    uint32_t floats = variable == HASH ? 2 * dim : dim; /* with its slot */

    (void)context;
    printf("%u %llu", variable, (unsigned long long)key);
    for (uint32_t i = 0; i < floats; i++) {
        printf(" %a", (double)values[i]);
    }
    printf("\n");
}

/* tells: of all rows that the increment must have. */
static void make(bool tells)
{
    save_begin(&group, fs, 2, 7, NULL);
    save_push(&group, 1, 1001, 40, 1);
    save_whole(&group, fs, 2, 0);
    save_end(&group);
    save_begin(&group, fs, 2, 20, "ckpt-000000000002-1");
    save_run(&group);
    assert_false(save_is_loading(&group));
    save_whole(&group, fs, 5, 0);
    save_push(&group, 5, 1011, 15, 2);
    save_erase(&group, 1031, 8);
    save_order(&group, 6, 5, SAVE_OPEN);
    (void)save_step(&group);
    save_push(&group, 5, 1001, 10, 2); /* late */
    if (tells) {
        save_walk(&group, tell_row, NULL);
    }
    save_run(&group);
    assert_int_equal(save_finish(&group, fs), PS_OK);
    save_end(&group);
}

static int set_up(void **state)
{
    (void)state;
    crashfs = crashfs_new();
    fs = crashfs_fs(crashfs);
    make(false);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    crashfs_free(crashfs);
    return 0;
}

static void path_of(char out[200], const char *folder, const char *name)
{
    snprintf(out, 200, "%s/%s", folder, name);
}

static size_t size_of(const char *path, struct buf *b)
{
    buf_clear(b);
    assert_int_equal(fs->ops->read(fs, path, ROOM, b, NULL), PS_OK);
    return b->size;
}

/* What a look at every byte says. */
static int verify(const char *folder, struct err *e)
{
    struct ckpt *c;
    int rc = ckpt_open(fs, folder, &c, e);

    if (rc == PS_OK) {
        rc = ckpt_verify(fs, folder, c, NULL, e);
        ckpt_free(c);
    }
    return rc;
}

static void must_be_found(const char *folder, const char *name, size_t at)
{
    struct err e = {.text = ""};
    int rc = verify(folder, &e);

    if (rc != PS_EDATALOSS || strstr(e.text, name) == NULL) {
        fail_msg("%s/%s at %zu: %d, \"%s\"", folder, name, at, rc, e.text);
    }
}

/* Why shards cannot load the increment; "": they can, and this is what. */
static uint64_t load(char why[256])
{
    uint64_t sum = 0;

    why[0] = '\0';
    save_begin(&group, fs, 2, 100, folders[1]);
    save_run(&group);
    (void)save_has_failed_to_load(&group, why, 256);
    assert_true(save_is_loading(&group) == (why[0] != '\0'));
    if (why[0] == '\0') {
        sum = save_sum(&group);
    }
    save_end(&group);
    return sum;
}

/* What a load does not need (the headers, for the index says the same; what a
 * base knew beside its rows) it does not read: then it is as good as ever. */
static bool load_finds_it(const char *name, size_t at)
{
    char why[256];
    uint64_t sum = load(why);

    if (why[0] == '\0' ? sum != good : strstr(why, name) == NULL) {
        fail_msg("%s at %zu loads: \"%s\"", name, at, why);
    }
    return why[0] != '\0';
}

static void what_is_damaged_here_is_there_in_the_first_place(void **state)
{
    static const char *const needed[] = {"/erased\"", "/slot/", "late/body",
                                         "chains/definition"};
    char why[256], path[200];
    struct buf b, all;

    (void)state;
    buf_init(&b);
    buf_init(&all);
    good = load(why);
    assert_string_equal(why, "");
    for (size_t f = 0; f < ARRAY_LEN(folders); f++) {
        struct err e = {.text = ""};

        assert_int_equal(verify(folders[f], &e), PS_OK);
        for (size_t i = 0; i < FILES; i++) {
            path_of(path, folders[f], names[i]);
            (void)size_of(path, &b);
            assert_int_equal(buf_append(&all, b.data, b.size), PS_OK);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        assert_non_null(
            memmem(all.data, all.size, needed[i], strlen(needed[i])));
    }
    buf_fini(&b);
    buf_fini(&all);
}

static void every_flipped_byte_is_found_and_its_file_named(void **state)
{
    size_t n = 0, n_loads = 0;
    char path[200];
    struct buf b;

    (void)state;
    buf_init(&b);
    for (size_t f = 0; f < ARRAY_LEN(folders); f++) {
        for (size_t i = 0; i < FILES; i++) {
            size_t size;

            path_of(path, folders[f], names[i]);
            size = size_of(path, &b);
            for (size_t at = n % stride; at < size; at += stride, n++) {
                uint64_t bit = 8 * at + n % 8;

                assert_int_equal(crashfs_flip(crashfs, path, bit), PS_OK);
                must_be_found(folders[f], names[i], at);
                n_loads += n % LOAD_EVERY == 0 && load_finds_it(names[i], at);
                assert_int_equal(crashfs_flip(crashfs, path, bit), PS_OK);
            }
        }
    }
    print_message("%zu bytes; %zu of %zu loads found it\n", n, n_loads,
                  n / LOAD_EVERY + 1);
    assert_true(n_loads > n / LOAD_EVERY / 2);
    buf_fini(&b);
}

static void put(const char *path, const struct buf *b, size_t size)
{
    assert_int_equal(fs->ops->unlink(fs, path, NULL), PS_OK);
    assert_int_equal(fs->ops->write_new(fs, path, b->data, size, false, NULL),
                     PS_OK);
}

static void every_other_length_is_found_and_its_file_named(void **state)
{
    size_t n = 0;
    char path[200];
    struct buf b;

    (void)state;
    buf_init(&b);
    for (size_t f = 0; f < ARRAY_LEN(folders); f++) {
        for (size_t i = 0; i < FILES; i++) {
            size_t size;

            path_of(path, folders[f], names[i]);
            size = size_of(path, &b);
            assert_int_equal(buf_append(&b, "\n ", 2), PS_OK);
            for (size_t k = n % stride; k <= size + 2; k += stride, n++) {
                if (k != size) {
                    put(path, &b, k);
                    must_be_found(folders[f], names[i], k);
                }
            }
            put(path, &b, size);
        }
    }
    print_message("%zu lengths\n", n);
    buf_fini(&b);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_damaged_here_is_there_in_the_first_place),
        cmocka_unit_test(every_flipped_byte_is_found_and_its_file_named),
        cmocka_unit_test(every_other_length_is_found_and_its_file_named),
    };

    if (argc > 2) {
        struct err e;

        if (fs_url_open(&fs, argv[2], &e) != PS_OK) {
            return 1;
        }
        make(true);
        fs_url_close(fs);
        return 0;
    }
    stride = argc > 1 ? 1 : stride;
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
