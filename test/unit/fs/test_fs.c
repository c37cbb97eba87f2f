/* test_fs.c - the same cases on both file systems, then the real one's own:
 * interrupted and short writes, a failing fsync, folders on a network. Those
 * come about because write, fsync and statfs are this program's own here. */
#include "fs/fs.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/mem.h"

struct world {
    struct fs *fs;
    char dir[256];
    bool is_real;
};

/* What the calls below do next. */
static struct {
    bool stutter;     /* write: every other call EINTR, one byte at a time */
    uint32_t calls;   /* of write while it stutters */
    int write_error;  /* write: fails behind the first 3 bytes */
    int fsync_error;  /* fsync: fails */
    uint32_t fsyncs;  /* calls so far */
    uint32_t fs_type; /* statfs: not 0, the answer */
} fault;

ssize_t write(int fd, const void *data, size_t size)
{
    if (fd > 2 && fault.stutter) {
        fault.calls++;
        if (fault.calls % 2 == 1) {
            errno = EINTR;
            return -1;
        }
        size = 1;
    }
    if (fd > 2 && fault.write_error != 0) {
        if (fault.calls++ > 0) {
            errno = fault.write_error;
            return -1;
        }
        size = 3;
    }
    return syscall(SYS_write, fd, data, size);
}

int fsync(int fd)
{
    fault.fsyncs++;
    if (fault.fsync_error != 0) {
        errno = fault.fsync_error;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

int statfs(const char *path, struct statfs *st)
{
    int rc = (int)syscall(SYS_statfs, path, st);

    if (rc == 0 && fault.fs_type != 0) {
        st->f_type = fault.fs_type;
    }
    return rc;
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static int set_up(void **state, bool is_real)
{
    struct world *w = mem_new(sizeof(*w));
    const char *root = getenv("TMPDIR");

    memset(&fault, 0, sizeof(fault));
    *w = (struct world){.is_real = is_real};
    if (is_real) {
        w->fs = fs_file();
        snprintf(w->dir, sizeof(w->dir), "%s/test_fs.XXXXXX",
                 root == NULL ? "/tmp" : root);
        if (mkdtemp(w->dir) == NULL) {
            return -1;
        }
    } else {
        w->fs = fs_memory_new();
        snprintf(w->dir, sizeof(w->dir), "/d");
        if (w->fs->ops->mkdir(w->fs, w->dir, NULL) != PS_OK) {
            return -1;
        }
    }
    *state = w;
    return 0;
}

static int set_up_file(void **state)
{
    return set_up(state, true);
}

static int set_up_memory(void **state)
{
    return set_up(state, false);
}

static int tear_down(void **state)
{
    struct world *w = *state;

    memset(&fault, 0, sizeof(fault));
    if (w->is_real) {
        nftw(w->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    } else {
        fs_memory_free(w->fs);
    }
    mem_free(w);
    return 0;
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

static int put(struct world *w, const char *name, const char *text)
{
    return w->fs->ops->write_new(w->fs, in(w, name), text, strlen(text), true,
                                 NULL);
}

static void expect_text(struct world *w, const char *name, const char *text)
{
    struct buf b;

    buf_init(&b);
    assert_int_equal(w->fs->ops->read(w->fs, in(w, name), 100, &b, NULL),
                     PS_OK);
    assert_int_equal(b.size, strlen(text));
    assert_memory_equal(b.data, text, b.size);
    buf_fini(&b);
}

static int read_status(struct world *w, const char *name)
{
    struct buf b;
    int rc;

    buf_init(&b);
    rc = w->fs->ops->read(w->fs, in(w, name), 100, &b, NULL);
    assert_true(rc == PS_OK || b.size == 0);
    buf_fini(&b);
    return rc;
}

struct seen {
    uint32_t n;
    uint32_t stop_after;
    char names[8][16];
};

static bool see(void *context, const char *name)
{
    struct seen *seen = context;

    if (seen->n < 8) {
        snprintf(seen->names[seen->n], 16, "%.15s", name);
    }
    seen->n++;
    return seen->n != seen->stop_after;
}

static bool was_seen(const struct seen *seen, const char *name)
{
    for (size_t i = 0; i < seen->n && i < 8; i++) {
        if (strcmp(seen->names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void a_written_file_reads_back(void **state)
{
    struct world *w = *state;

    assert_int_equal(put(w, "a", "hello"), PS_OK);
    expect_text(w, "a", "hello");
    assert_int_equal(put(w, "empty", ""), PS_OK);
    expect_text(w, "empty", "");
}

static void a_large_file_reads_back(void **state)
{
    struct world *w = *state;
    size_t size = 100000;
    uint8_t *bytes = mem_new(size);
    struct buf b;

    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(i * 7 + (i >> 8));
    }
    assert_int_equal(
        w->fs->ops->write_new(w->fs, in(w, "a"), bytes, size, false, NULL),
        PS_OK);
    buf_init(&b);
    assert_int_equal(buf_append(&b, "xy", 2), PS_OK);
    assert_int_equal(w->fs->ops->read(w->fs, in(w, "a"), size, &b, NULL),
                     PS_OK);
    assert_int_equal(b.size, size + 2);
    assert_memory_equal(b.data, "xy", 2);
    assert_memory_equal(b.data + 2, bytes, size);
    buf_fini(&b);
    mem_free(bytes);
}

static void write_new_refuses_a_name_that_is_there(void **state)
{
    struct world *w = *state;

    assert_int_equal(put(w, "a", "one"), PS_OK);
    assert_int_equal(put(w, "a", "two"), PS_EEXIST);
    expect_text(w, "a", "one");
    assert_int_equal(w->fs->ops->mkdir(w->fs, in(w, "f"), NULL), PS_OK);
    assert_int_equal(put(w, "f", "two"), PS_EEXIST);
}

static void a_missing_folder_or_file_is_not_found(void **state)
{
    struct world *w = *state;
    const struct fs_ops *ops = w->fs->ops;
    struct seen seen = {0};
    struct err e = {0};

    assert_int_equal(put(w, "no/a", "x"), PS_ENOTFOUND);
    assert_int_equal(read_status(w, "a"), PS_ENOTFOUND);
    assert_int_equal(ops->unlink(w->fs, in(w, "a"), NULL), PS_ENOTFOUND);
    assert_int_equal(ops->rmdir(w->fs, in(w, "a"), NULL), PS_ENOTFOUND);
    assert_int_equal(ops->sync_dir(w->fs, in(w, "a"), NULL), PS_ENOTFOUND);
    assert_int_equal(ops->list(w->fs, in(w, "a"), see, &seen, NULL),
                     PS_ENOTFOUND);
    assert_int_equal(ops->is_local(w->fs, in(w, "a"), NULL), PS_ENOTFOUND);
    assert_int_equal(ops->link(w->fs, in(w, "a"), in(w, "b"), NULL),
                     PS_ENOTFOUND);
    assert_int_equal(ops->rename(w->fs, in(w, "a"), in(w, "b"), NULL),
                     PS_ENOTFOUND);
    assert_int_equal(put(w, "a", "x"), PS_OK);
    assert_int_equal(ops->link(w->fs, in(w, "a"), in(w, "no/b"), NULL),
                     PS_ENOTFOUND);
    assert_int_equal(ops->rename(w->fs, in(w, "a"), in(w, "no/b"), &e),
                     PS_ENOTFOUND);
    assert_int_equal(e.status, PS_ENOTFOUND);
    assert_non_null(strstr(e.text, "no/b"));
    assert_int_equal(seen.n, 0);
}

static void a_file_used_as_a_folder_is_an_error(void **state)
{
    struct world *w = *state;
    const struct fs_ops *ops = w->fs->ops;
    struct seen seen = {0};

    assert_int_equal(put(w, "a", "x"), PS_OK);
    assert_int_equal(put(w, "a/b", "x"), PS_EIO);
    assert_int_equal(ops->list(w->fs, in(w, "a"), see, &seen, NULL), PS_EIO);
    assert_int_equal(ops->sync_dir(w->fs, in(w, "a"), NULL), PS_EIO);
    assert_int_equal(ops->rmdir(w->fs, in(w, "a"), NULL), PS_EIO);
    assert_int_equal(ops->mkdir(w->fs, in(w, "a"), NULL), PS_EIO);
    assert_int_equal(ops->mkdir(w->fs, in(w, "a/b"), NULL), PS_EIO);
}

static void a_folder_used_as_a_file_is_an_error(void **state)
{
    struct world *w = *state;
    const struct fs_ops *ops = w->fs->ops;

    assert_int_equal(ops->mkdir(w->fs, in(w, "f"), NULL), PS_OK);
    assert_int_equal(read_status(w, "f"), PS_EIO);
    assert_int_equal(ops->unlink(w->fs, in(w, "f"), NULL), PS_EIO);
    assert_int_equal(ops->link(w->fs, in(w, "f"), in(w, "g"), NULL), PS_EIO);
}

static void more_bytes_than_the_limit_are_refused(void **state)
{
    struct world *w = *state;
    struct buf b;

    buf_init(&b);
    assert_int_equal(put(w, "a", "12345"), PS_OK);
    assert_int_equal(w->fs->ops->read(w->fs, in(w, "a"), 4, &b, NULL), PS_EIO);
    assert_int_equal(b.size, 0);
    assert_int_equal(w->fs->ops->read(w->fs, in(w, "a"), 5, &b, NULL), PS_OK);
    assert_int_equal(b.size, 5);
    buf_fini(&b);
}

static void a_linked_file_lives_until_its_last_name(void **state)
{
    struct world *w = *state;
    const struct fs_ops *ops = w->fs->ops;

    assert_int_equal(put(w, "a", "one"), PS_OK);
    assert_int_equal(ops->link(w->fs, in(w, "a"), in(w, "b"), NULL), PS_OK);
    assert_int_equal(ops->link(w->fs, in(w, "a"), in(w, "b"), NULL), PS_EEXIST);
    assert_int_equal(ops->unlink(w->fs, in(w, "a"), NULL), PS_OK);
    assert_int_equal(read_status(w, "a"), PS_ENOTFOUND);
    expect_text(w, "b", "one");
    assert_int_equal(ops->unlink(w->fs, in(w, "b"), NULL), PS_OK);
    assert_int_equal(read_status(w, "b"), PS_ENOTFOUND);
}

static void rename_replaces_a_file(void **state)
{
    struct world *w = *state;
    const struct fs_ops *ops = w->fs->ops;

    assert_int_equal(put(w, "a", "one"), PS_OK);
    assert_int_equal(put(w, "b", "two"), PS_OK);
    assert_int_equal(ops->rename(w->fs, in(w, "a"), in(w, "b"), NULL), PS_OK);
    assert_int_equal(read_status(w, "a"), PS_ENOTFOUND);
    expect_text(w, "b", "one");
    assert_int_equal(ops->rename(w->fs, in(w, "b"), in(w, "a"), NULL), PS_OK);
    expect_text(w, "a", "one");
    assert_int_equal(read_status(w, "b"), PS_ENOTFOUND);
}

static void rename_between_names_of_one_file_does_nothing(void **state)
{
    struct world *w = *state;
    const struct fs_ops *ops = w->fs->ops;

    assert_int_equal(put(w, "a", "one"), PS_OK);
    assert_int_equal(ops->link(w->fs, in(w, "a"), in(w, "b"), NULL), PS_OK);
    assert_int_equal(ops->rename(w->fs, in(w, "a"), in(w, "b"), NULL), PS_OK);
    expect_text(w, "a", "one");
    expect_text(w, "b", "one");
}

static void a_renamed_folder_takes_its_files_along(void **state)
{
    struct world *w = *state;
    const struct fs_ops *ops = w->fs->ops;

    assert_int_equal(ops->mkdir(w->fs, in(w, "f/g"), NULL), PS_OK);
    assert_int_equal(put(w, "f/a", "one"), PS_OK);
    assert_int_equal(put(w, "f/g/b", "two"), PS_OK);
    assert_int_equal(put(w, "f-a", "not inside"), PS_OK);
    assert_int_equal(ops->mkdir(w->fs, in(w, "h"), NULL), PS_OK);
    assert_int_equal(ops->rename(w->fs, in(w, "f"), in(w, "h"), NULL), PS_OK);
    expect_text(w, "h/a", "one");
    expect_text(w, "h/g/b", "two");
    expect_text(w, "f-a", "not inside");
    assert_int_equal(read_status(w, "f/a"), PS_ENOTFOUND);
    assert_int_equal(ops->sync_dir(w->fs, in(w, "f"), NULL), PS_ENOTFOUND);
    assert_int_equal(ops->rename(w->fs, in(w, "h"), in(w, "h/g/x"), NULL),
                     PS_EIO);
}

static void rename_never_replaces_a_folder_with_names_in_it(void **state)
{
    struct world *w = *state;
    const struct fs_ops *ops = w->fs->ops;

    assert_int_equal(ops->mkdir(w->fs, in(w, "f"), NULL), PS_OK);
    assert_int_equal(ops->mkdir(w->fs, in(w, "g"), NULL), PS_OK);
    assert_int_equal(put(w, "g/a", "one"), PS_OK);
    assert_int_equal(put(w, "b", "two"), PS_OK);
    assert_int_equal(ops->rename(w->fs, in(w, "f"), in(w, "g"), NULL),
                     PS_EEXIST);
    assert_int_equal(ops->rename(w->fs, in(w, "b"), in(w, "g"), NULL), PS_EIO);
    assert_int_equal(ops->rename(w->fs, in(w, "g"), in(w, "b"), NULL), PS_EIO);
    expect_text(w, "g/a", "one");
    expect_text(w, "b", "two");
}

static void mkdir_makes_parents_and_accepts_what_is_there(void **state)
{
    struct world *w = *state;
    const struct fs_ops *ops = w->fs->ops;

    assert_int_equal(ops->mkdir(w->fs, in(w, "p/q/r"), NULL), PS_OK);
    assert_int_equal(ops->mkdir(w->fs, in(w, "p/q/r"), NULL), PS_OK);
    assert_int_equal(put(w, "p/q/r/a", "x"), PS_OK);
    assert_int_equal(ops->sync_dir(w->fs, in(w, "p/q"), NULL), PS_OK);
    assert_int_equal(ops->is_local(w->fs, in(w, "p"), NULL), PS_OK);
}

static void rmdir_removes_only_an_empty_folder(void **state)
{
    struct world *w = *state;
    const struct fs_ops *ops = w->fs->ops;

    assert_int_equal(ops->mkdir(w->fs, in(w, "f"), NULL), PS_OK);
    assert_int_equal(put(w, "f/a", "x"), PS_OK);
    assert_int_equal(ops->rmdir(w->fs, in(w, "f"), NULL), PS_EEXIST);
    assert_int_equal(ops->unlink(w->fs, in(w, "f/a"), NULL), PS_OK);
    assert_int_equal(ops->rmdir(w->fs, in(w, "f"), NULL), PS_OK);
    assert_int_equal(ops->rmdir(w->fs, in(w, "f"), NULL), PS_ENOTFOUND);
}

static void list_names_what_is_directly_inside(void **state)
{
    struct world *w = *state;
    const struct fs_ops *ops = w->fs->ops;
    struct seen seen = {0};
    struct seen one = {.stop_after = 1};

    assert_int_equal(ops->mkdir(w->fs, in(w, "f/g"), NULL), PS_OK);
    assert_int_equal(put(w, "f/a", "x"), PS_OK);
    assert_int_equal(put(w, "f/.b", "x"), PS_OK);
    assert_int_equal(put(w, "f/g/c", "x"), PS_OK);
    assert_int_equal(put(w, "f-d", "x"), PS_OK);
    assert_int_equal(ops->list(w->fs, in(w, "f"), see, &seen, NULL), PS_OK);
    assert_int_equal(seen.n, 3);
    assert_true(was_seen(&seen, "a"));
    assert_true(was_seen(&seen, ".b"));
    assert_true(was_seen(&seen, "g"));
    assert_int_equal(ops->list(w->fs, in(w, "f"), see, &one, NULL), PS_OK);
    assert_int_equal(one.n, 1);
}

/* The real one. */

static void interrupted_and_short_writes_go_on(void **state)
{
    struct world *w = *state;

    fault.stutter = true;
    assert_int_equal(put(w, "a", "hello"), PS_OK);
    fault.stutter = false;
    assert_int_equal(fault.calls, 10);
    expect_text(w, "a", "hello");
}

static void a_full_disk_leaves_no_file(void **state)
{
    struct world *w = *state;
    struct err e = {0};

    fault.write_error = ENOSPC;
    assert_int_equal(
        w->fs->ops->write_new(w->fs, in(w, "a"), "hello", 5, true, &e), PS_EIO);
    assert_int_equal(e.status, PS_EIO);
    assert_non_null(strstr(e.text, "/a: the disk is full (No space left"));
    assert_int_equal(read_status(w, "a"), PS_ENOTFOUND);
}

static void a_failed_fsync_leaves_no_file_and_is_not_repeated(void **state)
{
    struct world *w = *state;
    struct err e = {0};

    fault.fsync_error = EIO;
    assert_int_equal(
        w->fs->ops->write_new(w->fs, in(w, "a"), "hello", 5, true, &e), PS_EIO);
    assert_int_equal(fault.fsyncs, 1);
    assert_non_null(strstr(e.text, "fsync "));
    assert_int_equal(read_status(w, "a"), PS_ENOTFOUND);
    assert_int_equal(w->fs->ops->sync_dir(w->fs, w->dir, &e), PS_EIO);
    assert_int_equal(fault.fsyncs, 2);
}

static void only_sync_calls_fsync(void **state)
{
    struct world *w = *state;
    const struct fs_ops *ops = w->fs->ops;

    assert_int_equal(ops->write_new(w->fs, in(w, "a"), "x", 1, false, NULL),
                     PS_OK);
    assert_int_equal(fault.fsyncs, 0);
    assert_int_equal(ops->write_new(w->fs, in(w, "b"), "x", 1, true, NULL),
                     PS_OK);
    assert_int_equal(fault.fsyncs, 1);
    assert_int_equal(ops->sync_dir(w->fs, w->dir, NULL), PS_OK);
    assert_int_equal(fault.fsyncs, 2);
}

static void network_folders_are_refused_by_name(void **state)
{
    /* Numbers from statfs(2). */
    static const struct {
        uint32_t type;
        const char *name;
    } cases[] = {
        {0x6969, "NFS"},      {0x517b, "SMB"},        {0xff534d42, "CIFS"},
        {0xfe534d42, "SMB2"}, {0x65735546, "FUSE"},   {0x00c36400, "Ceph"},
        {0x01021997, "9p"},   {0x5346414f, "AFS"},    {0x7461636f, "OCFS2"},
        {0x01161970, "GFS2"}, {0x0bd00bd0, "Lustre"},
    };
    /* ext4, xfs, btrfs, tmpfs, overlayfs */
    static const uint32_t local[] = {0xef53, 0x58465342, 0x9123683e, 0x01021994,
                                     0x794c7630};
    struct world *w = *state;
    struct err e;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        fault.fs_type = cases[i].type;
        e = (struct err){0};
        assert_int_equal(w->fs->ops->is_local(w->fs, w->dir, &e), PS_EARGUMENT);
        assert_non_null(strstr(e.text, cases[i].name));
        assert_non_null(strstr(e.text, w->dir));
    }
    for (size_t i = 0; i < ARRAY_LEN(local); i++) {
        fault.fs_type = local[i];
        assert_int_equal(w->fs->ops->is_local(w->fs, w->dir, NULL), PS_OK);
    }
}

static bool count_inherited(void *context, const char *name)
{
    uint32_t *n = context;

    (void)name;
    for (int fd = 3; fd < 64; fd++) {
        int flags = fcntl(fd, F_GETFD);

        if (flags >= 0 && (flags & FD_CLOEXEC) == 0) {
            (*n)++;
        }
    }
    return true;
}

static void a_folder_being_listed_is_closed_on_exec(void **state)
{
    struct world *w = *state;
    uint32_t before = 0;
    uint32_t during = 0;

    (void)count_inherited(&before, "");
    assert_int_equal(put(w, "a", "x"), PS_OK);
    assert_int_equal(
        w->fs->ops->list(w->fs, w->dir, count_inherited, &during, NULL), PS_OK);
    assert_int_equal(during, before);
}

/* In memory. */

static int run_script(struct fs *fs)
{
    const struct fs_ops *ops = fs->ops;
    struct buf b;
    int rc = ops->mkdir(fs, "/d/f/g", NULL);

    buf_init(&b);
    if (rc == PS_OK) {
        rc = ops->write_new(fs, "/d/f/a", "one", 3, true, NULL);
    }
    if (rc == PS_OK) {
        rc = ops->link(fs, "/d/f/a", "/d/f/b", NULL);
    }
    if (rc == PS_OK) {
        rc = ops->rename(fs, "/d/f", "/d/h", NULL);
    }
    if (rc == PS_OK) {
        rc = ops->read(fs, "/d/h/b", 100, &b, NULL);
    }
    buf_fini(&b);
    return rc;
}

static void memory_that_runs_out_changes_nothing(void **state)
{
    struct world *w = *state;
    uint64_t n = 0;
    int rc;

    (void)w;
    do {
        struct fs *fs = fs_memory_new();

        assert_int_equal(fs->ops->mkdir(fs, "/d", NULL), PS_OK);
        mem_fail_at(++n);
        rc = run_script(fs);
        mem_fail_at(0);
        assert_true(rc == PS_OK || rc == PS_ENOMEM);
        if (rc == PS_ENOMEM) {
            /* Whatever was not done can be done now. */
            struct err e = {0};

            rc = fs->ops->rename(fs, "/d/f", "/d/x", &e);
            assert_true(rc == PS_OK || rc == PS_ENOTFOUND);
            fs->ops->unlink(fs, "/d/h/a", NULL);
            fs->ops->unlink(fs, "/d/h/b", NULL);
            fs->ops->rmdir(fs, "/d/h/g", NULL);
            fs->ops->rmdir(fs, "/d/h", NULL);
            assert_int_equal(run_script(fs), PS_OK);
            rc = PS_ENOMEM;
        }
        fs_memory_free(fs);
    } while (rc != PS_OK);
    assert_true(n > 10);
}

static void relative_names_are_in_the_dot_folder(void **state)
{
    struct world *w = *state;
    struct seen seen = {0};

    assert_int_equal(w->fs->ops->mkdir(w->fs, "rel/sub", NULL), PS_OK);
    assert_int_equal(w->fs->ops->sync_dir(w->fs, ".", NULL), PS_OK);
    assert_int_equal(w->fs->ops->list(w->fs, ".", see, &seen, NULL), PS_OK);
    assert_int_equal(seen.n, 1);
    assert_true(was_seen(&seen, "rel"));
}

#define ON(test, which) \
    cmocka_unit_test_setup_teardown(test, set_up_##which, tear_down)
#define ON_BOTH(test) ON(test, file), ON(test, memory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(a_written_file_reads_back),
        ON_BOTH(a_large_file_reads_back),
        ON_BOTH(write_new_refuses_a_name_that_is_there),
        ON_BOTH(a_missing_folder_or_file_is_not_found),
        ON_BOTH(a_file_used_as_a_folder_is_an_error),
        ON_BOTH(a_folder_used_as_a_file_is_an_error),
        ON_BOTH(more_bytes_than_the_limit_are_refused),
        ON_BOTH(a_linked_file_lives_until_its_last_name),
        ON_BOTH(rename_replaces_a_file),
        ON_BOTH(rename_between_names_of_one_file_does_nothing),
        ON_BOTH(a_renamed_folder_takes_its_files_along),
        ON_BOTH(rename_never_replaces_a_folder_with_names_in_it),
        ON_BOTH(mkdir_makes_parents_and_accepts_what_is_there),
        ON_BOTH(rmdir_removes_only_an_empty_folder),
        ON_BOTH(list_names_what_is_directly_inside),
        ON(interrupted_and_short_writes_go_on, file),
        ON(a_full_disk_leaves_no_file, file),
        ON(a_failed_fsync_leaves_no_file_and_is_not_repeated, file),
        ON(only_sync_calls_fsync, file),
        ON(network_folders_are_refused_by_name, file),
        ON(a_folder_being_listed_is_closed_on_exec, file),
        ON(memory_that_runs_out_changes_nothing, memory),
        ON(relative_names_are_in_the_dot_folder, memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
