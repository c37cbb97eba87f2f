/* test_url.c - trees of files by their URL, and names that try to leave them.
 * All is run twice: with openat2, and as on a kernel that has none: syscall is
 * this program's own here, as fsync is. */
#include "fs/fs.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct world {
    char dir[64];  /* of the test */
    char root[96]; /* in it, with a folder beside it */
    struct fs *fs;
};

static uint32_t n_fsyncs;
static bool has_no_openat2;

/* Those that this program makes have up to five arguments. */
long syscall(long number, ...)
{
    static long (*real)(long number, ...);
    va_list args;
    long a[5] = {0};
    size_t n = number == SYS_fsync ? 1 : number == SYS_openat2 ? 4 : 5;

    if (real == NULL) {
        void *found = dlsym(RTLD_NEXT, "syscall");

        memcpy(&real, &found, sizeof(real));
    }
    va_start(args, number);
    for (size_t i = 0; i < n; i++) {
        a[i] = va_arg(args, long);
    }
    va_end(args);
    if (number == SYS_openat2 && has_no_openat2) {
        errno = ENOSYS;
        return -1;
    }
    return real(number, a[0], a[1], a[2], a[3], a[4]);
}

int fsync(int fd)
{
    n_fsyncs++;
    return (int)syscall(SYS_fsync, fd);
}

static int set_up(void **state)
{
    static struct world w;
    char path[128];

    snprintf(w.dir, sizeof(w.dir), "/tmp/test_url.XXXXXX");
    if (mkdtemp(w.dir) == NULL) {
        return -1;
    }
    snprintf(path, sizeof(path), "%s/outside", w.dir);
    if (mkdir(path, 0700) != 0) {
        return -1;
    }
    snprintf(path, sizeof(path), "%s/outside/secret", w.dir);
    if (fs_file()->ops->write_new(fs_file(), path, "s", 1, false, NULL) !=
        PS_OK) {
        return -1;
    }
    snprintf(w.root, sizeof(w.root), "%s/made/root", w.dir);
    *state = &w;
    return fs_url_open(&w.fs, w.root, NULL);
}

static int tear_down(void **state)
{
    struct world *w = *state;

    fs_url_close(w->fs);
    return fs_remove_tree(fs_file(), w->dir, NULL);
}

static int put(struct fs *fs, const char *path, const char *text)
{
    return fs->ops->write_new(fs, path, text, strlen(text), true, NULL);
}

static int get(struct fs *fs, const char *path, char text[16])
{
    struct buf b;
    int rc;

    buf_init(&b);
    rc = fs->ops->read(fs, path, 15, &b, NULL);
    memset(text, 0, 16);
    if (rc == PS_OK && b.size > 0) {
        memcpy(text, b.data, b.size);
    }
    buf_fini(&b);
    return rc;
}

static bool count(void *context, const char *name)
{
    uint32_t *n = context;

    (void)name;
    (*n)++;
    return true;
}

static uint32_t count_names(struct fs *fs, const char *path)
{
    uint32_t n = 0;

    assert_int_equal(fs->ops->list(fs, path, count, &n, NULL), PS_OK);
    return n;
}

static void use_all(struct fs *fs)
{
    struct fs_open_file *f;
    char text[16];
    size_t got;
    uint64_t size;

    assert_int_equal(fs->ops->mkdir(fs, "a/b", NULL), PS_OK);
    assert_int_equal(put(fs, "a/b/one", "1"), PS_OK);
    assert_int_equal(put(fs, "a/b/one", "2"), PS_EEXIST);
    assert_int_equal(put(fs, "no/one", "1"), PS_ENOTFOUND);
    assert_int_equal(fs->ops->link(fs, "a/b/one", "a/two", NULL), PS_OK);
    assert_int_equal(fs->ops->rename(fs, "a/b", "c", NULL), PS_OK);
    assert_int_equal(get(fs, "c/one", text), PS_OK);
    assert_string_equal(text, "1");
    assert_int_equal(get(fs, "a/b/one", text), PS_ENOTFOUND);
    assert_int_equal(fs->ops->sync_dir(fs, "c", NULL), PS_OK);
    assert_int_equal(fs->ops->sync_dir(fs, ".", NULL), PS_OK);
    assert_int_equal(fs->ops->is_local(fs, ".", NULL), PS_OK);
    assert_int_equal(fs->ops->open(fs, "c/f", FS_CREATE, &f, NULL), PS_OK);
    assert_int_equal(fs->ops->write_at(fs, f, 1, "x", 1, NULL), PS_OK);
    assert_int_equal(fs->ops->sync(fs, f, NULL), PS_OK);
    assert_int_equal(fs->ops->read_at(fs, f, 1, text, 9, &got, NULL), PS_OK);
    assert_int_equal(got, 1);
    assert_int_equal(fs->ops->file_size(fs, f, &size, NULL), PS_OK);
    assert_int_equal(size, 2);
    assert_int_equal(fs->ops->close(fs, f, NULL), PS_OK);
    assert_int_equal(count_names(fs, "."), 2);
    assert_int_equal(count_names(fs, "c"), 2);
    assert_int_equal(fs->ops->rmdir(fs, "c", NULL), PS_EEXIST);
    assert_int_equal(fs->ops->unlink(fs, "c/one", NULL), PS_OK);
    assert_int_equal(fs->ops->unlink(fs, "c/f", NULL), PS_OK);
    assert_int_equal(fs->ops->rmdir(fs, "c", NULL), PS_OK);
    assert_int_equal(count_names(fs, "."), 1);
}

static void a_root_is_made_by_the_first_write(void **state)
{
    struct world *w = *state;
    uint32_t n = 0;
    char text[16];
    struct stat st;

    assert_int_equal(get(w->fs, "a", text), PS_ENOTFOUND);
    assert_int_equal(w->fs->ops->list(w->fs, ".", count, &n, NULL),
                     PS_ENOTFOUND);
    assert_int_equal(fs_remove_tree(w->fs, "a", NULL), PS_OK);
    assert_int_not_equal(stat(w->root, &st), 0);
    n_fsyncs = 0;
    assert_int_equal(put(w->fs, "a", "1"), PS_OK);
    /* The file; `made` in the test's folder, `root` in `made`. */
    assert_int_equal(n_fsyncs, 3);
    assert_int_equal(put(w->fs, "b", "1"), PS_OK);
    assert_int_equal(n_fsyncs, 4);
    assert_int_equal(stat(w->root, &st), 0);
    assert_int_equal(get(w->fs, "a", text), PS_OK);
    assert_string_equal(text, "1");
}

static void every_kind_does_all_that_a_file_system_does(void **state)
{
    struct world *w = *state;
    char url[128];
    struct fs *fs;

    use_all(w->fs);
    assert_int_equal(fs_remove_tree(w->fs, "a", NULL), PS_OK);
    snprintf(url, sizeof(url), "file://%s", w->root);
    assert_int_equal(fs_url_open(&fs, url, NULL), PS_OK);
    use_all(fs);
    fs_url_close(fs);
    assert_int_equal(fs_url_open(&fs, "memory://all", NULL), PS_OK);
    use_all(fs);
    assert_int_equal(fs_remove_tree(fs, "a", NULL), PS_OK);
    fs_url_close(fs);
}

static void memory_is_shared_by_name_and_outlives_its_handles(void **state)
{
    struct fs *a;
    struct fs *b;
    struct fs *other;
    char text[16];

    (void)state;
    assert_int_equal(fs_url_open(&a, "memory://shared", NULL), PS_OK);
    assert_int_equal(fs_url_open(&b, "memory://shared", NULL), PS_OK);
    assert_int_equal(fs_url_open(&other, "memory://other", NULL), PS_OK);
    assert_int_equal(put(a, "x", "1"), PS_OK);
    assert_int_equal(get(b, "x", text), PS_OK);
    assert_int_equal(get(other, "x", text), PS_ENOTFOUND);
    fs_url_close(a);
    fs_url_close(b);
    assert_int_equal(fs_url_open(&a, "memory://shared", NULL), PS_OK);
    assert_int_equal(get(a, "x", text), PS_OK);
    assert_string_equal(text, "1");
    assert_int_equal(a->ops->unlink(a, "x", NULL), PS_OK);
    fs_url_close(a);
    fs_url_close(other);
}

enum { THREADS = 4, FILES = 200 };

static void *write_many(void *arg)
{
    const uint32_t *me = arg;
    struct fs *fs;
    char name[32];
    intptr_t failures = 0;

    if (fs_url_open(&fs, "memory://threads", NULL) != PS_OK) {
        return (void *)1;
    }
    for (uint32_t i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "%u-%u", *me, i);
        failures += put(fs, name, "x") == PS_OK ? 0 : 1;
    }
    fs_url_close(fs);
    return (void *)failures;
}

static void memory_may_be_used_by_any_thread(void **state)
{
    pthread_t threads[THREADS];
    uint32_t numbers[THREADS];
    struct fs *fs;

    (void)state;
    for (uint32_t i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(
            pthread_create(&threads[i], NULL, write_many, &numbers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        void *failures;

        pthread_join(threads[i], &failures);
        assert_null(failures);
    }
    assert_int_equal(fs_url_open(&fs, "memory://threads", NULL), PS_OK);
    assert_int_equal(count_names(fs, "."), THREADS * FILES);
    for (uint32_t i = 0; i < THREADS * FILES; i++) {
        char name[32];

        snprintf(name, sizeof(name), "%u-%u", i / FILES, i % FILES);
        assert_int_equal(fs->ops->unlink(fs, name, NULL), PS_OK);
    }
    fs_url_close(fs);
}

static void none_keeps_nothing(void **state)
{
    struct fs *fs;
    struct fs_open_file *f;
    char text[16];

    (void)state;
    assert_true(fs_url_is_none("none://"));
    assert_false(fs_url_is_none("none"));
    assert_int_equal(fs_url_open(&fs, "none://", NULL), PS_OK);
    assert_int_equal(count_names(fs, "."), 0);
    assert_int_equal(count_names(fs, "a"), 0);
    assert_int_equal(get(fs, "a", text), PS_ENOTFOUND);
    assert_int_equal(fs->ops->open(fs, "a", FS_READ, &f, NULL), PS_ENOTFOUND);
    assert_int_equal(fs_remove_tree(fs, "a", NULL), PS_OK);
    assert_int_equal(put(fs, "a", "1"), PS_EARGUMENT);
    assert_int_equal(fs->ops->open(fs, "a", FS_CREATE, &f, NULL), PS_EARGUMENT);
    assert_int_equal(fs->ops->mkdir(fs, "a", NULL), PS_EARGUMENT);
    assert_int_equal(fs->ops->rename(fs, "a", "b", NULL), PS_EARGUMENT);
    assert_int_equal(fs->ops->link(fs, "a", "b", NULL), PS_EARGUMENT);
    fs_url_close(fs);
}

static void other_schemes_are_refused_with_what_there_is(void **state)
{
    static const char *const urls[] = {
        "hdfs://host/dir",
        "s3://bucket/dir",
        "gs://bucket",
        "FILE:///tmp",
        "://",
        "",
        "file://",
        "memory://",
        "none://x",
        "/tmp/a\nb",
        "/tmp/\xff",
    };
    struct fs *fs;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct err e = {0};

        assert_int_equal(fs_url_open(&fs, urls[i], &e), PS_EARGUMENT);
        if (i < 9) {
            assert_non_null(strstr(e.text, "file://DIR"));
            assert_non_null(strstr(e.text, "memory://NAME"));
            assert_non_null(strstr(e.text, "none://"));
        }
    }
}

/* Every call refuses the name, and so does memory. */
static void expect_refused(struct fs *fs, const char *name)
{
    struct fs_open_file *f;
    char text[16];
    uint32_t n = 0;
    struct err e = {0};

    assert_int_equal(fs->ops->write_new(fs, name, "x", 1, false, &e),
                     PS_EARGUMENT);
    for (const char *c = e.text; *c != '\0'; c++) {
        assert_true((uint8_t)*c >= 0x20);
    }
    assert_int_equal(get(fs, name, text), PS_EARGUMENT);
    assert_int_equal(fs->ops->open(fs, name, FS_READ, &f, NULL), PS_EARGUMENT);
    assert_int_equal(fs->ops->open(fs, name, FS_CREATE, &f, NULL),
                     PS_EARGUMENT);
    assert_int_equal(fs->ops->mkdir(fs, name, NULL), PS_EARGUMENT);
    assert_int_equal(fs->ops->unlink(fs, name, NULL), PS_EARGUMENT);
    assert_int_equal(fs->ops->rmdir(fs, name, NULL), PS_EARGUMENT);
    assert_int_equal(fs->ops->sync_dir(fs, name, NULL), PS_EARGUMENT);
    assert_int_equal(fs->ops->list(fs, name, count, &n, NULL), PS_EARGUMENT);
    assert_int_equal(fs->ops->link(fs, "ok", name, NULL), PS_EARGUMENT);
    assert_int_equal(fs->ops->link(fs, name, "ok2", NULL), PS_EARGUMENT);
    assert_int_equal(fs->ops->rename(fs, "ok", name, NULL), PS_EARGUMENT);
    assert_int_equal(fs->ops->rename(fs, name, "ok2", NULL), PS_EARGUMENT);
    assert_int_equal(fs_remove_tree(fs, name, NULL), PS_EARGUMENT);
    assert_int_equal(n, 0);
}

static void names_that_would_leave_the_root_are_refused(void **state)
{
    static const char *const names[] = {
        "../x",      "..",        "/etc/passwd", "/",
        "a/../../b", "a/../b",    "a/..",        "../outside/secret",
        "",          "a//b",      "a/",          "./a",
        "a/./b",     "a\nb",      "a\x1b[2J",    "a/b\x7f",
        "\x01",      "a\xc2\x85", "\xff\xfe",
    };
    struct world *w = *state;
    struct fs *memory;
    char part[300];
    char path[5000];

    assert_int_equal(put(w->fs, "ok", "1"), PS_OK);
    assert_int_equal(w->fs->ops->mkdir(w->fs, "a", NULL), PS_OK);
    assert_int_equal(fs_url_open(&memory, "memory://names", NULL), PS_OK);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        expect_refused(w->fs, names[i]);
        expect_refused(memory, names[i]);
    }
    memset(part, 'p', sizeof(part));
    part[256] = '\0';
    expect_refused(w->fs, part);
    part[255] = '\0';
    assert_int_equal(put(w->fs, part, "1"), PS_OK);
    assert_int_equal(w->fs->ops->unlink(w->fs, part, NULL), PS_OK);
    for (size_t i = 0; i < sizeof(path) - 1; i++) {
        path[i] = i % 2 == 0 ? 'a' : '/';
    }
    path[sizeof(path) - 1] = '\0';
    expect_refused(w->fs, path);
    assert_int_equal(put(w->fs, "...", "1"), PS_OK);
    assert_int_equal(put(w->fs, "..a", "1"), PS_OK);
    assert_int_equal(put(w->fs, "\xc3\xa4 b", "1"), PS_OK);
    assert_int_equal(count_names(w->fs, "."), 5);
    fs_url_close(memory);
}

static void make_link(const struct world *w, const char *name, const char *to)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", w->root, name);
    assert_int_equal(symlink(to, path), 0);
}

static void links_are_not_followed(void **state)
{
    static const char *const names[] = {
        "out/secret", "up/outside/secret", "in/secret", "deep/out/secret",
        "file",       "deep/file",         "self",      "proc/root/etc/passwd",
    };
    static const char *const folders[] = {"out", "up", "in", "deep/out"};
    struct world *w = *state;
    struct fs_open_file *f;
    char path[160];
    char text[16];
    uint32_t n = 0;

    assert_int_equal(w->fs->ops->mkdir(w->fs, "deep", NULL), PS_OK);
    assert_int_equal(w->fs->ops->mkdir(w->fs, "real", NULL), PS_OK);
    assert_int_equal(put(w->fs, "real/secret", "1"), PS_OK);
    snprintf(path, sizeof(path), "%s/outside", w->dir);
    make_link(w, "out", path);
    make_link(w, "deep/out", path);
    make_link(w, "up", "../..");
    make_link(w, "in", "real");
    make_link(w, "proc", "/proc/self");
    make_link(w, "self", "self");
    snprintf(path, sizeof(path), "%s/outside/secret", w->dir);
    make_link(w, "file", path);
    make_link(w, "deep/file", path);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_int_equal(get(w->fs, names[i], text), PS_EARGUMENT);
        assert_int_equal(w->fs->ops->open(w->fs, names[i], FS_READ, &f, NULL),
                         PS_EARGUMENT);
    }
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        snprintf(path, sizeof(path), "%s/new", folders[i]);
        assert_int_equal(put(w->fs, path, "x"), PS_EARGUMENT);
        assert_int_equal(w->fs->ops->mkdir(w->fs, path, NULL), PS_EARGUMENT);
        assert_int_equal(w->fs->ops->rename(w->fs, "real", path, NULL),
                         PS_EARGUMENT);
        assert_int_equal(w->fs->ops->mkdir(w->fs, folders[i], NULL),
                         PS_EARGUMENT);
        assert_int_equal(w->fs->ops->list(w->fs, folders[i], count, &n, NULL),
                         PS_EARGUMENT);
        assert_int_equal(w->fs->ops->sync_dir(w->fs, folders[i], NULL),
                         PS_EARGUMENT);
    }
    assert_int_equal(put(w->fs, "file", "x"), PS_EEXIST);
    assert_int_equal(n, 0);
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        assert_int_equal(fs_remove_tree(w->fs, folders[i], NULL), PS_OK);
    }
    snprintf(path, sizeof(path), "%s/outside", w->dir);
    fs_file()->ops->list(fs_file(), path, count, &n, NULL);
    assert_int_equal(n, 1);
}

static void the_root_itself_may_be_a_link(void **state)
{
    struct world *w = *state;
    char path[128];
    struct fs *fs;
    char text[16];

    snprintf(path, sizeof(path), "%s/alias", w->dir);
    assert_int_equal(symlink("outside", path), 0);
    assert_int_equal(fs_url_open(&fs, path, NULL), PS_OK);
    assert_int_equal(get(fs, "secret", text), PS_OK);
    assert_string_equal(text, "s");
    fs_url_close(fs);
}

struct swapper {
    char link[128];
    char folder[128];
    atomic_bool ends;
    atomic_uint swaps;
};

/* Puts a link that leads out in place of the folder, and the folder back. */
static void *swap(void *arg)
{
    struct swapper *s = arg;

    while (!atomic_load(&s->ends)) {
        (void)syscall(SYS_renameat2, -100, s->folder, -100, s->link, 2);
        atomic_fetch_add(&s->swaps, 1);
    }
    return NULL;
}

static void a_link_swapped_in_meanwhile_never_leads_out(void **state)
{
    struct world *w = *state;
    struct swapper s = {.ends = false};
    char outside[128];
    pthread_t thread;
    char text[16];
    uint32_t n = 0;
    uint32_t reads[2] = {0, 0};
    uint32_t wrong = 0;

    assert_int_equal(w->fs->ops->mkdir(w->fs, "f", NULL), PS_OK);
    assert_int_equal(put(w->fs, "f/secret", "1"), PS_OK);
    make_link(w, "l", "../../outside");
    snprintf(s.folder, sizeof(s.folder), "%s/f", w->root);
    snprintf(s.link, sizeof(s.link), "%s/l", w->root);
    assert_int_equal(pthread_create(&thread, NULL, swap, &s), 0);
    for (uint32_t i = 0;
         i < 200000 && (i < 2000 || reads[0] < 100 || reads[1] < 100); i++) {
        int rc = get(w->fs, "f/secret", text);

        wrong += rc == PS_OK ? strcmp(text, "1") != 0 : rc != PS_EARGUMENT;
        reads[rc == PS_OK ? 0 : 1]++;
        rc = w->fs->ops->write_new(w->fs, "f/new", "x", 1, false, NULL);
        wrong += rc != PS_OK && rc != PS_EEXIST && rc != PS_EARGUMENT;
        rc = w->fs->ops->unlink(w->fs, "f/new", NULL);
        wrong += rc != PS_OK && rc != PS_ENOTFOUND && rc != PS_EARGUMENT;
        rc = w->fs->ops->mkdir(w->fs, "f/deep/er", NULL);
        wrong += rc != PS_OK && rc != PS_EARGUMENT;
        rc = fs_remove_tree(w->fs, "f/deep", NULL);
        /* PS_EIO: a folder when it was unlinked, out of sight when listed. */
        wrong += rc != PS_OK && rc != PS_EARGUMENT && rc != PS_EIO;
    }
    atomic_store(&s.ends, true);
    pthread_join(thread, NULL);
    assert_int_equal(wrong, 0);
    assert_true(reads[0] >= 100);
    assert_true(reads[1] >= 100);
    snprintf(outside, sizeof(outside), "%s/outside", w->dir);
    fs_file()->ops->list(fs_file(), outside, count, &n, NULL);
    assert_int_equal(n, 1);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(a_root_is_made_by_the_first_write),
        IN_WORLD(every_kind_does_all_that_a_file_system_does),
        cmocka_unit_test(memory_is_shared_by_name_and_outlives_its_handles),
        cmocka_unit_test(memory_may_be_used_by_any_thread),
        cmocka_unit_test(none_keeps_nothing),
        cmocka_unit_test(other_schemes_are_refused_with_what_there_is),
        IN_WORLD(names_that_would_leave_the_root_are_refused),
        IN_WORLD(links_are_not_followed),
        IN_WORLD(the_root_itself_may_be_a_link),
        IN_WORLD(a_link_swapped_in_meanwhile_never_leads_out),
    };
    const struct CMUnitTest again[] = {
        IN_WORLD(a_root_is_made_by_the_first_write),
        IN_WORLD(every_kind_does_all_that_a_file_system_does),
        IN_WORLD(names_that_would_leave_the_root_are_refused),
        IN_WORLD(links_are_not_followed),
        IN_WORLD(the_root_itself_may_be_a_link),
        IN_WORLD(a_link_swapped_in_meanwhile_never_leads_out),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);

    has_no_openat2 = true;
    rc += cmocka_run_group_tests_name("without_openat2", again, NULL, NULL);
    return rc;
}
