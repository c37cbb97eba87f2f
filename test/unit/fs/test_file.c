/* test_file.c - files written and read by pieces: the same cases on the real
 * file system, in memory and in what is meant to crash, then the real one's
 * own: interrupted and short calls, a disk that is full, an fsync that fails.
 * Those come about because pwrite, pread and fdatasync are this program's own
 * here. */
/* Fortified, unistd.h has inline versions of what is defined anew below. */
#undef _FORTIFY_SOURCE

#include "fs/fs.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "lib/crashfs.h"

struct world {
    struct fs *fs;
    const struct fs_ops *ops;
    struct crashfs *crashfs;
    char dir[256];
    bool is_real;
};

/* What the calls below do next. */
static struct {
    bool stutter; /* every other call EINTR, one byte at a time */
    uint32_t calls;
    int write_error; /* pwrite: fails behind the first 3 bytes */
    int sync_error;  /* fdatasync: fails */
    uint32_t syncs;  /* calls so far */
} fault;

/* True: the call is interrupted. */
static bool stutters(size_t *size)
{
    if (!fault.stutter) {
        return false;
    }
    *size = *size > 1 ? 1 : *size;
    errno = EINTR;
    return fault.calls++ % 2 == 0;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    if (stutters(&size)) {
        return -1;
    }
    if (fault.write_error != 0) {
        if (fault.calls++ > 0) {
            errno = fault.write_error;
            return -1;
        }
        size = 3;
    }
    return syscall(SYS_pwrite64, fd, data, size, offset);
}

ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    return stutters(&size) ? -1 : syscall(SYS_pread64, fd, data, size, offset);
}

int fdatasync(int fd)
{
    fault.syncs++;
    if (fault.sync_error != 0) {
        errno = fault.sync_error;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static struct world *new_world(void)
{
    struct world *w = mem_new(sizeof(*w));

    memset(&fault, 0, sizeof(fault));
    *w = (struct world){.dir = "/d"};
    return w;
}

static int set_up(struct world *w, void **state)
{
    w->ops = w->fs->ops;
    *state = w;
    return w->is_real ? 0 : w->ops->mkdir(w->fs, w->dir, NULL);
}

static int set_up_file(void **state)
{
    struct world *w = new_world();

    w->fs = fs_file();
    w->is_real = true;
    snprintf(w->dir, sizeof(w->dir), "/tmp/test_file.XXXXXX");
    return mkdtemp(w->dir) == NULL ? -1 : set_up(w, state);
}

static int set_up_memory(void **state)
{
    struct world *w = new_world();

    w->fs = fs_memory_new();
    return set_up(w, state);
}

static int set_up_crashfs(void **state)
{
    struct world *w = new_world();

    w->crashfs = crashfs_new();
    w->fs = crashfs_fs(w->crashfs);
    return set_up(w, state);
}

static int tear_down(void **state)
{
    struct world *w = *state;
    int rc = 0;

    memset(&fault, 0, sizeof(fault));
    if (w->is_real) {
        rc = fs_remove_tree(w->fs, w->dir, NULL);
    } else if (w->crashfs != NULL) {
        crashfs_free(w->crashfs);
    } else {
        fs_memory_free(w->fs);
    }
    mem_free(w);
    return rc;
}

/* A path in the test's folder; four may be in use at a time. */
static const char *in(const struct world *w, const char *name)
{
    static char paths[4][512];
    static size_t next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", w->dir, name);
    return path;
}

static struct fs_open_file *create(struct world *w, const char *name)
{
    struct fs_open_file *f = NULL;

    assert_int_equal(w->ops->open(w->fs, in(w, name), FS_CREATE, &f, NULL),
                     PS_OK);
    assert_non_null(f);
    return f;
}

static void write_text(struct world *w, struct fs_open_file *f, uint64_t offset,
                       const char *text)
{
    assert_int_equal(
        w->ops->write_at(w->fs, f, offset, text, strlen(text), NULL), PS_OK);
}

static void expect(struct world *w, struct fs_open_file *f, uint64_t offset,
                   size_t size, const char *bytes, size_t n)
{
    char got[64];
    size_t n_got = 99;

    assert_int_equal(w->ops->read_at(w->fs, f, offset, got, size, &n_got, NULL),
                     PS_OK);
    assert_int_equal(n_got, n);
    assert_memory_equal(got, bytes, n);
}

static void expect_size(struct world *w, struct fs_open_file *f, uint64_t size)
{
    uint64_t got = 999;

    assert_int_equal(w->ops->file_size(w->fs, f, &got, NULL), PS_OK);
    assert_int_equal(got, size);
}

static void pieces_in_any_order_make_the_file(void **state)
{
    struct world *w = *state;
    struct fs_open_file *f = create(w, "a");

    expect_size(w, f, 0);
    write_text(w, f, 5, "world");
    write_text(w, f, 0, "hello");
    write_text(w, f, 3, "LOW");
    expect_size(w, f, 10);
    expect(w, f, 0, 10, "helLOWorld", 10);
    assert_int_equal(w->ops->sync(w->fs, f, NULL), PS_OK);
    assert_int_equal(w->ops->close(w->fs, f, NULL), PS_OK);
    assert_int_equal(w->ops->open(w->fs, in(w, "a"), FS_READ, &f, NULL), PS_OK);
    expect(w, f, 6, 4, "orld", 4);
    assert_int_equal(w->ops->close(w->fs, f, NULL), PS_OK);
}

static void a_gap_reads_as_zeros(void **state)
{
    struct world *w = *state;
    struct fs_open_file *f = create(w, "a");

    write_text(w, f, 4, "x");
    expect(w, f, 0, 9, "\0\0\0\0x", 5);
    expect_size(w, f, 5);
    assert_int_equal(w->ops->close(w->fs, f, NULL), PS_OK);
}

static void a_read_is_short_only_at_the_end(void **state)
{
    struct world *w = *state;
    struct fs_open_file *f = create(w, "a");

    write_text(w, f, 0, "12345");
    expect(w, f, 3, 10, "45", 2);
    expect(w, f, 5, 10, "", 0);
    expect(w, f, 1000, 10, "", 0);
    assert_int_equal(w->ops->close(w->fs, f, NULL), PS_OK);
}

static void create_refuses_a_name_that_is_there(void **state)
{
    struct world *w = *state;
    struct fs_open_file *f = create(w, "a");

    write_text(w, f, 0, "one");
    assert_int_equal(w->ops->close(w->fs, f, NULL), PS_OK);
    assert_int_equal(w->ops->open(w->fs, in(w, "a"), FS_CREATE, &f, NULL),
                     PS_EEXIST);
    assert_int_equal(w->ops->open(w->fs, in(w, "a"), FS_READ, &f, NULL), PS_OK);
    expect(w, f, 0, 10, "one", 3);
    assert_int_equal(w->ops->close(w->fs, f, NULL), PS_OK);
}

static void what_cannot_be_opened_is_said(void **state)
{
    struct world *w = *state;
    struct fs_open_file *f;

    assert_int_equal(w->ops->open(w->fs, in(w, "no"), FS_READ, &f, NULL),
                     PS_ENOTFOUND);
    assert_int_equal(w->ops->open(w->fs, in(w, "no/a"), FS_CREATE, &f, NULL),
                     PS_ENOTFOUND);
    assert_int_equal(w->ops->open(w->fs, w->dir, FS_READ, &f, NULL), PS_EIO);
    assert_int_equal(w->ops->open(w->fs, w->dir, FS_CREATE, &f, NULL),
                     PS_EEXIST);
}

static void a_file_for_reading_takes_no_writes(void **state)
{
    struct world *w = *state;
    struct fs_open_file *f = create(w, "a");

    write_text(w, f, 0, "one");
    assert_int_equal(w->ops->close(w->fs, f, NULL), PS_OK);
    assert_int_equal(w->ops->open(w->fs, in(w, "a"), FS_READ, &f, NULL), PS_OK);
    assert_int_equal(w->ops->write_at(w->fs, f, 0, "x", 1, NULL), PS_EIO);
    assert_int_equal(w->ops->close(w->fs, f, NULL), PS_OK);
}

static void a_file_without_a_name_lives_until_it_is_closed(void **state)
{
    struct world *w = *state;
    struct fs_open_file *f = create(w, "a");

    write_text(w, f, 0, "one");
    assert_int_equal(w->ops->unlink(w->fs, in(w, "a"), NULL), PS_OK);
    write_text(w, f, 3, "two");
    expect(w, f, 0, 10, "onetwo", 6);
    assert_int_equal(w->ops->close(w->fs, f, NULL), PS_OK);
    assert_int_equal(w->ops->open(w->fs, in(w, "a"), FS_READ, &f, NULL),
                     PS_ENOTFOUND);
}

/* The real one. */

static void interrupted_and_short_calls_go_on(void **state)
{
    struct world *w = *state;
    struct fs_open_file *f = create(w, "a");

    fault.stutter = true;
    write_text(w, f, 2, "hello");
    assert_int_equal(fault.calls, 10);
    expect(w, f, 2, 5, "hello", 5);
    assert_int_equal(fault.calls, 20);
    fault.stutter = false;
    expect(w, f, 0, 9, "\0\0hello", 7);
    assert_int_equal(w->ops->close(w->fs, f, NULL), PS_OK);
}

/* Every call says that the file is lost, which one, and why. */
static void expect_lost(struct world *w, struct fs_open_file *f,
                        const char *why)
{
    char byte;
    size_t got;
    uint64_t size;
    struct err e[4] = {{0}};

    assert_int_equal(w->ops->write_at(w->fs, f, 0, "x", 1, &e[0]), PS_EIO);
    assert_int_equal(w->ops->read_at(w->fs, f, 0, &byte, 1, &got, &e[1]),
                     PS_EIO);
    assert_int_equal(w->ops->file_size(w->fs, f, &size, &e[2]), PS_EIO);
    assert_int_equal(w->ops->sync(w->fs, f, &e[3]), PS_EIO);
    for (size_t i = 0; i < ARRAY_LEN(e); i++) {
        assert_non_null(strstr(e[i].text, in(w, "a")));
        assert_non_null(strstr(e[i].text, why));
    }
    assert_int_equal(w->ops->close(w->fs, f, NULL), PS_OK);
}

static void a_file_whose_write_failed_is_lost(void **state)
{
    static const struct {
        int error;
        const char *says;
    } cases[] = {
        {ENOSPC, "the disk is full"},
        {EDQUOT, "the disk is full"},
        {EIO, "Input/output error"},
    };
    struct world *w = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fs_open_file *f = create(w, "a");
        struct err e = {0};

        fault.write_error = cases[i].error;
        fault.calls = 0;
        assert_int_equal(w->ops->write_at(w->fs, f, 0, "hello", 5, &e), PS_EIO);
        assert_int_equal(e.status, PS_EIO);
        assert_non_null(strstr(e.text, in(w, "a")));
        assert_non_null(strstr(e.text, cases[i].says));
        fault.write_error = 0;
        expect_lost(w, f, cases[i].says);
        assert_int_equal(fault.syncs, 0);
        assert_int_equal(w->ops->unlink(w->fs, in(w, "a"), NULL), PS_OK);
    }
}

static void an_fsync_that_failed_is_never_tried_again(void **state)
{
    struct world *w = *state;
    struct fs_open_file *f = create(w, "a");
    struct err e = {0};

    write_text(w, f, 0, "hello");
    fault.sync_error = EIO;
    assert_int_equal(w->ops->sync(w->fs, f, &e), PS_EIO);
    assert_non_null(strstr(e.text, "fsync"));
    assert_non_null(strstr(e.text, in(w, "a")));
    fault.sync_error = 0;
    expect_lost(w, f, "fsync: Input/output error");
    assert_int_equal(fault.syncs, 1);
}

static void only_sync_syncs(void **state)
{
    struct world *w = *state;
    struct fs_open_file *f = create(w, "a");

    write_text(w, f, 0, "hello");
    assert_int_equal(fault.syncs, 0);
    assert_int_equal(w->ops->sync(w->fs, f, NULL), PS_OK);
    assert_int_equal(fault.syncs, 1);
    assert_int_equal(w->ops->close(w->fs, f, NULL), PS_OK);
    assert_int_equal(fault.syncs, 1);
}

static void offsets_that_no_file_has_are_refused(void **state)
{
    struct world *w = *state;
    struct fs_open_file *f = create(w, "a");
    char byte;
    size_t got;

    assert_int_equal(
        w->ops->read_at(w->fs, f, UINT64_MAX, &byte, 1, &got, NULL), PS_EIO);
    assert_int_equal(w->ops->write_at(w->fs, f, INT64_MAX, "xy", 2, NULL),
                     PS_EIO);
    assert_int_equal(w->ops->close(w->fs, f, NULL), PS_OK);
}

static void an_open_file_is_closed_on_exec(void **state)
{
    struct world *w = *state;
    struct fs_open_file *a = create(w, "a");
    struct fs_open_file *b;
    int last = open("/dev/null", O_RDONLY | O_CLOEXEC);
    uint32_t n = 0;

    assert_int_equal(w->ops->open(w->fs, in(w, "a"), FS_READ, &b, NULL), PS_OK);
    for (int fd = 3; fd <= last + 1; fd++) {
        struct stat st;
        struct stat file;

        assert_int_equal(stat(in(w, "a"), &file), 0);
        if (fstat(fd, &st) == 0 && st.st_ino == file.st_ino) {
            n++;
            assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        }
    }
    assert_int_equal(n, 2);
    close(last);
    assert_int_equal(w->ops->close(w->fs, a, NULL), PS_OK);
    assert_int_equal(w->ops->close(w->fs, b, NULL), PS_OK);
}

static void a_pipe_in_place_of_a_file_is_refused_at_once(void **state)
{
    struct world *w = *state;
    struct fs_open_file *f;
    struct buf b;

    buf_init(&b);
    assert_int_equal(mkfifo(in(w, "a"), 0600), 0);
    assert_int_equal(w->ops->open(w->fs, in(w, "a"), FS_READ, &f, NULL),
                     PS_EIO);
    assert_int_equal(w->ops->read(w->fs, in(w, "a"), 10, &b, NULL), PS_EIO);
    buf_fini(&b);
}

#define ON(test, which) \
    cmocka_unit_test_setup_teardown(test, set_up_##which, tear_down)
#define ON_ALL(test) ON(test, file), ON(test, memory), ON(test, crashfs)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(pieces_in_any_order_make_the_file),
        ON_ALL(a_gap_reads_as_zeros),
        ON_ALL(a_read_is_short_only_at_the_end),
        ON_ALL(create_refuses_a_name_that_is_there),
        ON_ALL(what_cannot_be_opened_is_said),
        ON_ALL(a_file_for_reading_takes_no_writes),
        ON_ALL(a_file_without_a_name_lives_until_it_is_closed),
        ON(interrupted_and_short_calls_go_on, file),
        ON(a_file_whose_write_failed_is_lost, file),
        ON(an_fsync_that_failed_is_never_tried_again, file),
        ON(only_sync_syncs, file),
        ON(offsets_that_no_file_has_are_refused, file),
        ON(an_open_file_is_closed_on_exec, file),
        ON(a_pipe_in_place_of_a_file_is_refused_at_once, file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
