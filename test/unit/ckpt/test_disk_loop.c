/* test_disk_loop.c - files asked for from a loop. */
#include "ckpt/disk_loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"
#include "fs/fs.h"

enum { ANSWERS_MAX = 1024, DISKS_MAX = 5 };

/* Ours takes libc's place: where the name of the file says so, it does not
 * come back until it may. */
static atomic_bool hangs;

int fdatasync(int fd)
{
    char link[32], path[256] = {0};

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    if (readlink(link, path, sizeof(path) - 1) <= 0) {
        abort();
    }
    while (atomic_load(&hangs) && strstr(path, "/hangs") != NULL) {
        usleep(1000);
    }
    return fsync(fd);
}

struct answer {
    uint64_t tag;
    enum disk_op op;
    int status;
    size_t size;
    char why[128];
    char data[64];
};

struct one {
    struct fixture *fixture;
    struct disk_loop *disk;
    uint32_t n;
    struct answer answers[ANSWERS_MAX];
};

struct fixture {
    char dir[64];
    struct loop *loop;
    uint32_t n_disks;
    uint32_t n; /* answers of all */
    uint64_t deadline;
    bool is_in_submit;
    bool called_back_in_submit;
    bool asks_more; /* the first answer asks for more */
    struct one one[DISKS_MAX];
};

static void ask(struct one *o, const struct disk_request *r)
{
    struct disk *d = disk_loop_disk(o->disk);

    o->fixture->is_in_submit = true;
    d->submit(d, r);
    o->fixture->is_in_submit = false;
}

static void on_answer(void *context, const struct disk_result *r)
{
    struct one *o = context;
    struct fixture *f = o->fixture;
    struct answer *a = &o->answers[o->n++ % ANSWERS_MAX];

    f->n++;
    f->called_back_in_submit |= f->is_in_submit;
    a->tag = r->tag;
    a->op = r->op;
    a->status = r->status;
    a->size = r->size;
    snprintf(a->why, sizeof(a->why), "%s", r->why);
    if (r->size > 0) {
        memcpy(a->data, r->data, base_min_u64(r->size, sizeof(a->data)));
    }
    if (f->asks_more) {
        f->asks_more = false;
        ask(o, &(struct disk_request){.op = DISK_LIST, .tag = 1000});
    }
}

static void on_tick(void *context)
{
    struct fixture *f = context;

    for (uint32_t i = 0; i < f->n_disks; i++) {
        disk_loop_tick(f->one[i].disk);
    }
}

static uint64_t next_us(void *context)
{
    struct fixture *f = context;
    uint64_t next = f->deadline;

    for (uint32_t i = 0; i < f->n_disks; i++) {
        next = base_min_u64(next, disk_loop_next(f->one[i].disk));
    }
    return next;
}

static const struct loop_handler handler = {
    .on_tick = on_tick,
    .next_us = next_us,
};

static struct fixture *set_up(uint32_t n_disks)
{
    struct fixture *f = mem_new(sizeof(*f));
    struct loop_options options = {.handler = &handler, .context = f};

    memset(f, 0, sizeof(*f));
    f->n_disks = n_disks;
    snprintf(f->dir, sizeof(f->dir), "/tmp/test_disk_loop.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(loop_new(&f->loop, &options, NULL), PS_OK);
    for (uint32_t i = 0; i < n_disks; i++) {
        f->one[i].fixture = f;
        assert_int_equal(disk_loop_open(&f->one[i].disk, f->loop, f->dir,
                                        DISK_LOOP_FILES, on_answer, &f->one[i],
                                        NULL),
                         PS_OK);
    }
    return f;
}

static void tear_down(struct fixture *f)
{
    loop_stop(f->loop);
    for (uint32_t i = 0; i < f->n_disks; i++) {
        disk_loop_close(f->one[i].disk);
    }
    loop_free(f->loop);
    assert_false(f->called_back_in_submit);
    assert_int_equal(fs_remove_tree(fs_file(), f->dir, NULL), PS_OK);
    mem_free(f);
}

/* Until *count, which is f->n or a disk's, is n. */
static void run_until_count(struct fixture *f, const uint32_t *count,
                            uint32_t n)
{
    f->deadline = loop_now() + 20000000;
    loop_turn(f->loop);
    while (*count < n && loop_now() < f->deadline) {
        loop_pause(f->loop, loop_next(f->loop));
        loop_turn(f->loop);
    }
    assert_int_equal(*count, n);
}

static void run_until(struct fixture *f, uint32_t n)
{
    run_until_count(f, &f->n, n);
}

/* A request of the first disk; tags count. */
static void add(struct fixture *f, enum disk_op op, uint64_t file,
                const char *path, const char *data)
{
    static uint64_t tag;
    struct disk_request r = {.op = op, .file = file, .data = data};

    r.tag = ++tag;
    snprintf(r.path, sizeof(r.path), "%s", path);
    r.size = data == NULL ? 100 : strlen(data);
    ask(&f->one[0], &r);
}

static void expect_text(struct fixture *f, const char *name, const char *text)
{
    char path[128];
    struct buf b;

    buf_init(&b);
    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    assert_int_equal(fs_file()->ops->read(fs_file(), path, 100, &b, NULL),
                     PS_OK);
    assert_int_equal(b.size, strlen(text));
    assert_memory_equal(b.data, text, b.size);
    buf_fini(&b);
}

static void all_requests_are_done_in_order(void **state)
{
    struct fixture *f = set_up(1);
    const struct answer *a = f->one[0].answers;
    struct disk_request r = {.op = DISK_RENAME, .path = ".new", .to = "x/done"};

    (void)state;
    add(f, DISK_LIST, 0, "", NULL); /* 0 */
    add(f, DISK_CREATE, 7, ".new/a", NULL);
    add(f, DISK_WRITE, 7, "", "hello");
    add(f, DISK_READ, 7, "", NULL);
    add(f, DISK_SYNC, 7, "", NULL);
    add(f, DISK_CLOSE, 7, "", NULL);
    add(f, DISK_WRITE_WHOLE, 0, ".new/m", "manifest");
    add(f, DISK_SYNC_DIR, 0, ".new", NULL);
    add(f, DISK_WRITE_WHOLE, 0, "x/y", "1");
    ask(&f->one[0], &r); /* 9 */
    add(f, DISK_OPEN, 8, "x/done/a", NULL);
    add(f, DISK_READ, 8, "", NULL);
    add(f, DISK_READ_WHOLE, 0, "x/done/m", NULL);
    add(f, DISK_LIST, 0, "x/done", NULL);
    add(f, DISK_SYNC_DIR, 0, "", NULL);
    add(f, DISK_REMOVE, 0, "x", NULL); /* 15 */
    add(f, DISK_REMOVE, 0, "x", NULL);
    add(f, DISK_LIST, 0, "", NULL);
    run_until(f, 18);
    for (uint32_t i = 0; i < 18; i++) {
        assert_int_equal(a[i].status, PS_OK);
        assert_string_equal(a[i].why, "");
        assert_true(i < 2 || i == 9 || i == 10 || a[i].tag == a[i - 1].tag + 1);
    }
    assert_int_equal(a[3].size, 5);
    assert_memory_equal(a[3].data, "hello", 5);
    assert_int_equal(a[9].op, DISK_RENAME);
    assert_int_equal(a[11].size, 5);
    assert_memory_equal(a[11].data, "hello", 5);
    assert_int_equal(a[12].size, 8);
    assert_memory_equal(a[12].data, "manifest", 8);
    assert_int_equal(a[13].size, 4);
    assert_true(memcmp(a[13].data, "a\0m", 4) == 0 ||
                memcmp(a[13].data, "m\0a", 4) == 0);
    assert_int_equal(a[17].size, 0);
    tear_down(f);
}

static void each_failure_has_its_own_answer(void **state)
{
    struct fixture *f = set_up(1);
    const struct answer *a = f->one[0].answers;

    (void)state;
    add(f, DISK_OPEN, 1, "no", NULL);
    add(f, DISK_READ, 1, "", NULL);
    add(f, DISK_CLOSE, 1, "", NULL);
    add(f, DISK_WRITE_WHOLE, 0, "a", "1");
    add(f, DISK_CREATE, 2, "a", NULL);
    add(f, DISK_WRITE, 2, "", "2");
    add(f, DISK_CREATE, 3, "../b", NULL);
    add(f, DISK_READ_WHOLE, 0, "no", NULL);
    add(f, DISK_LIST, 0, "no", NULL);
    add(f, DISK_OPEN, 4, "a", NULL);
    add(f, DISK_WRITE, 4, "", "2");
    run_until(f, 11);
    assert_int_equal(a[0].status, PS_ENOTFOUND);
    assert_non_null(strstr(a[0].why, "/no: No such file"));
    assert_int_equal(a[1].status, PS_EIO);
    assert_int_equal(a[2].status, PS_EIO);
    assert_int_equal(a[3].status, PS_OK);
    assert_int_equal(a[4].status, PS_EEXIST);
    assert_int_equal(a[5].status, PS_EIO);
    assert_int_equal(a[6].status, PS_EARGUMENT);
    assert_int_equal(a[7].status, PS_ENOTFOUND);
    assert_int_equal(a[8].status, PS_ENOTFOUND);
    assert_int_equal(a[9].status, PS_OK);
    assert_int_equal(a[10].status, PS_EIO);
    for (uint32_t i = 0; i < 11; i++) {
        assert_true((a[i].status == PS_OK) == (a[i].why[0] == '\0'));
        assert_int_equal(a[i].size, 0);
    }
    expect_text(f, "a", "1");
    tear_down(f);
}

static void an_answer_may_ask_for_more(void **state)
{
    struct fixture *f = set_up(1);

    (void)state;
    f->asks_more = true;
    for (uint32_t i = 0; i < 40; i++) {
        add(f, DISK_REMOVE, 0, "x", NULL);
    }
    run_until(f, 41);
    assert_int_equal(f->one[0].answers[40].tag, 1000);
    tear_down(f);
}

static void many_disks_take_turns(void **state)
{
    enum { EACH = 200 };
    struct fixture *f = set_up(DISKS_MAX);

    (void)state;
    for (uint32_t i = 0; i < EACH; i++) {
        for (uint32_t k = 0; k < DISKS_MAX; k++) {
            struct disk_request r = {.op = DISK_WRITE_WHOLE, .tag = i};

            if (i > 0) {
                r.op = DISK_READ_WHOLE;
                r.size = 10;
            }
            snprintf(r.path, sizeof(r.path), "%u", k);
            ask(&f->one[k], &r);
        }
    }
    run_until(f, EACH * DISKS_MAX);
    for (uint32_t k = 0; k < DISKS_MAX; k++) {
        assert_int_equal(f->one[k].n, EACH);
        for (uint32_t i = 0; i < EACH; i++) {
            assert_int_equal(f->one[k].answers[i].tag, i);
            assert_int_equal(f->one[k].answers[i].status, PS_OK);
        }
    }
    tear_down(f);
}

static void sync_file(struct fixture *f, uint32_t disk, const char *name)
{
    struct disk_request r = {.op = DISK_CREATE, .file = 1};

    snprintf(r.path, sizeof(r.path), "%s-%u", name, (unsigned)disk);
    ask(&f->one[disk], &r);
    ask(&f->one[disk], &(struct disk_request){.op = DISK_SYNC, .file = 1});
}

static void a_log_does_not_wait_for_other_files(void **state)
{
    struct fixture *f = set_up(DISKS_MAX);
    struct one *log = &f->one[0];

    (void)state;
    disk_loop_close(log->disk);
    assert_int_equal(disk_loop_open(&log->disk, f->loop, f->dir, DISK_LOOP_LOG,
                                    on_answer, log, NULL),
                     PS_OK);
    atomic_store(&hangs, true);
    for (uint32_t i = 1; i < DISKS_MAX; i++) {
        sync_file(f, i, "hangs");
    }
    sync_file(f, 0, "log");
    run_until_count(f, &log->n, 2);
    assert_int_equal(log->answers[1].op, DISK_SYNC);
    assert_int_equal(log->answers[1].status, PS_OK);
    atomic_store(&hangs, false);
    run_until(f, 2 * DISKS_MAX);
    tear_down(f);
}

/* Whatever allocation fails, every request is answered, in order, and the file
 * is closed. */
static void without_memory_the_answer_comes_nevertheless(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 40; n++) {
        struct fixture *f = set_up(1);
        const struct answer *a = f->one[0].answers;

        mem_fail_at(n);
        add(f, DISK_CREATE, 1, "a", NULL);
        add(f, DISK_WRITE, 1, "", "hello");
        add(f, DISK_SYNC, 1, "", NULL);
        add(f, DISK_CLOSE, 1, "", NULL);
        add(f, DISK_CREATE, 2, "b", NULL);
        run_until(f, 5);
        mem_fail_at(0);
        for (uint32_t i = 0; i < 5; i++) {
            assert_true(i == 0 || a[i].tag == a[i - 1].tag + 1);
            assert_true(a[i].status == PS_OK || a[i].status == PS_ENOMEM ||
                        (a[0].status != PS_OK && a[i].status == PS_EIO));
        }
        /* Closing needs no memory. */
        assert_int_equal(a[3].status, a[0].status == PS_OK ? PS_OK : PS_EIO);
        tear_down(f);
    }
}

static void closing_needs_no_memory(void **state)
{
    struct fixture *f = set_up(1);
    const struct answer *a = f->one[0].answers;

    (void)state;
    add(f, DISK_CREATE, 1, "a", NULL);
    run_until(f, 1);
    mem_fail_at(1);
    add(f, DISK_CLOSE, 1, "", NULL);
    mem_fail_at(0);
    add(f, DISK_SYNC, 1, "", NULL);
    mem_fail_at(1);
    add(f, DISK_LIST, 0, "", NULL);
    mem_fail_at(0);
    run_until(f, 4);
    assert_int_equal(a[1].status, PS_OK);
    assert_int_equal(a[2].status, PS_EIO); /* it is closed */
    assert_int_equal(a[3].status, PS_ENOMEM);
    assert_string_equal(a[3].why, "out of memory");
    tear_down(f);
}

/* More of them than there are answers that need no memory. */
static void no_request_is_dropped_without_memory(void **state)
{
    struct fixture *f = set_up(1);

    (void)state;
    for (uint32_t i = 0; i < 600; i++) {
        mem_fail_at(1);
        add(f, DISK_LIST, 0, "", NULL);
    }
    mem_fail_at(0);
    run_until(f, 600);
    for (uint32_t i = 1; i < 600; i++) {
        const struct answer *a = &f->one[0].answers[i];

        assert_true(a->tag == a[-1].tag + 1);
    }
    tear_down(f);
}

static void a_number_taken_again_names_the_new_file(void **state)
{
    struct fixture *f = set_up(1);

    (void)state;
    add(f, DISK_CREATE, 1, "a", NULL);
    add(f, DISK_CREATE, 1, "b", NULL);
    add(f, DISK_WRITE, 1, "", "new");
    run_until(f, 3);
    expect_text(f, "a", "");
    expect_text(f, "b", "new");
    tear_down(f);
}

static void what_is_under_way_is_dropped_with_the_loop(void **state)
{
    struct fixture *f = set_up(1);

    (void)state;
    add(f, DISK_CREATE, 1, "a", NULL);
    run_until(f, 1);
    for (uint32_t i = 0; i < 50; i++) {
        add(f, DISK_WRITE, 1, "", "hello");
    }
    tear_down(f);
    f = set_up(1);
    add(f, DISK_CREATE, 1, "a", NULL); /* the turn was given back */
    run_until(f, 1);
    tear_down(f);
}

static void a_url_that_is_none_is_refused(void **state)
{
    struct disk_loop *d;
    struct err e = {0};

    (void)state;
    assert_int_equal(disk_loop_open(&d, NULL, "s3://b", DISK_LOOP_FILES,
                                    on_answer, NULL, &e),
                     PS_EARGUMENT);
    assert_non_null(strstr(e.text, "s3://b"));
    disk_loop_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_requests_are_done_in_order),
        cmocka_unit_test(each_failure_has_its_own_answer),
        cmocka_unit_test(an_answer_may_ask_for_more),
        cmocka_unit_test(many_disks_take_turns),
        cmocka_unit_test(a_log_does_not_wait_for_other_files),
        cmocka_unit_test(without_memory_the_answer_comes_nevertheless),
        cmocka_unit_test(closing_needs_no_memory),
        cmocka_unit_test(no_request_is_dropped_without_memory),
        cmocka_unit_test(a_number_taken_again_names_the_new_file),
        cmocka_unit_test(what_is_under_way_is_dropped_with_the_loop),
        cmocka_unit_test(a_url_that_is_none_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
