/* test_places.c - a disk that comes to be elsewhere. */
#include "server/places.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fs/fs.h"

enum { ANSWERS_MAX = 64 };

struct fixture {
    char a[64];
    char b[64];
    struct loop *loop;
    struct places places;
    uint64_t deadline;
    uint32_t n; /* answers */
    int status[ANSWERS_MAX];
};

static void on_answer(void *context, const struct disk_result *r)
{
    struct fixture *f = context;

    assert_in_range(f->n, 0, ANSWERS_MAX - 1);
    assert_in_range(r->tag, 0, ANSWERS_MAX - 1);
    f->status[r->tag] = r->status;
    f->n++;
}

static void on_tick(void *context)
{
    places_tick(&((struct fixture *)context)->places);
}

static uint64_t next_us(void *context)
{
    struct fixture *f = context;

    return base_min_u64(f->deadline, places_next(&f->places));
}

static int set_up(void **state)
{
    static const struct loop_handler handler = {.on_tick = on_tick,
                                                .next_us = next_us};
    struct fixture *f = mem_new(sizeof(*f));
    const struct loop_options options = {.handler = &handler, .context = f};

    memset(f, 0, sizeof(*f));
    snprintf(f->a, sizeof(f->a), "/tmp/test_places_a.XXXXXX");
    snprintf(f->b, sizeof(f->b), "/tmp/test_places_b.XXXXXX");
    assert_non_null(mkdtemp(f->a));
    assert_non_null(mkdtemp(f->b));
    assert_int_equal(loop_new(&f->loop, &options, NULL), PS_OK);
    places_init(&f->places, f->loop, on_answer, f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    loop_stop(f->loop);
    places_fini(&f->places);
    loop_free(f->loop);
    assert_int_equal(fs_remove_tree(fs_file(), f->a, NULL), PS_OK);
    assert_int_equal(fs_remove_tree(fs_file(), f->b, NULL), PS_OK);
    mem_free(f);
    return 0;
}

static void go(struct fixture *f, const char *url)
{
    assert_int_equal(places_set(&f->places, url, NULL), PS_OK);
}

/* What it is answered. */
static int ask(struct fixture *f, enum disk_op op, uint64_t file,
               const char *path)
{
    struct disk_request r = {
        .op = op, .tag = f->n, .file = file, .data = "12345", .size = 5};
    uint32_t n = f->n;

    snprintf(r.path, sizeof(r.path), "%s", path);
    f->places.disk.submit(&f->places.disk, &r);
    f->deadline = loop_now() + 20000000;
    loop_turn(f->loop);
    while (f->n == n && loop_now() < f->deadline) {
        loop_pause(f->loop, loop_next(f->loop));
        loop_turn(f->loop);
    }
    assert_int_equal(f->n, n + 1);
    return f->status[n];
}

/* -1: there is no such file. */
static int size_of(const char *dir, const char *name)
{
    char path[128];
    struct buf b;
    int size;

    buf_init(&b);
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    size = fs_file()->ops->read(fs_file(), path, 100, &b, NULL) == PS_OK
               ? (int)b.size
               : -1;
    buf_fini(&b);
    return size;
}

static void an_open_file_stays_where_it_was_opened(void **state)
{
    struct fixture *f = *state;

    go(f, f->a);
    assert_int_equal(ask(f, DISK_CREATE, 7, "x"), PS_OK);
    go(f, f->b);
    assert_int_equal(ask(f, DISK_WRITE, 7, ""), PS_OK);
    assert_int_equal(ask(f, DISK_SYNC, 7, ""), PS_OK);
    assert_int_equal(ask(f, DISK_CLOSE, 7, ""), PS_OK);
    assert_int_equal(size_of(f->a, "x"), 5);
    assert_int_equal(size_of(f->b, "x"), -1);
    /* The number is free: whoever opens it now does so at the new place. */
    assert_int_equal(ask(f, DISK_CLOSE, 7, ""), PS_EIO);
    assert_int_equal(ask(f, DISK_OPEN, 7, "x"), PS_ENOTFOUND);
    assert_int_equal(ask(f, DISK_CREATE, 7, "y"), PS_OK);
    assert_int_equal(size_of(f->b, "y"), 0);
}

static void what_has_a_name_is_at_the_newest_place(void **state)
{
    struct fixture *f = *state;

    go(f, f->a);
    assert_int_equal(ask(f, DISK_WRITE_WHOLE, 0, "in_a"), PS_OK);
    go(f, f->b);
    assert_int_equal(ask(f, DISK_READ_WHOLE, 0, "in_a"), PS_ENOTFOUND);
    assert_int_equal(ask(f, DISK_WRITE_WHOLE, 0, "in_b"), PS_OK);
    assert_int_equal(size_of(f->a, "in_b"), -1);
    assert_int_equal(size_of(f->b, "in_b"), 5);
    go(f, "");
    assert_int_not_equal(ask(f, DISK_READ_WHOLE, 0, "in_b"), PS_OK);
}

static void a_place_that_was_there_before_is_taken_up_again(void **state)
{
    struct fixture *f = *state;
    char url[32];
    struct err e;

    for (uint32_t i = 0; i < 100; i++) {
        go(f, i % 2 == 0 ? f->a : f->b);
    }
    assert_int_equal(ask(f, DISK_WRITE_WHOLE, 0, "x"), PS_OK);
    assert_int_equal(size_of(f->b, "x"), 5);
    for (uint32_t i = 2; i < PLACES_MAX; i++) {
        snprintf(url, sizeof(url), "/tmp/test_places/%u", (unsigned)i);
        go(f, url);
    }
    assert_int_equal(places_set(&f->places, "/tmp/one/more", &e), PS_ELIMIT);
    assert_int_equal(places_set(&f->places, "s3://b", &e), PS_ELIMIT);
    go(f, f->a);
    assert_int_equal(ask(f, DISK_WRITE_WHOLE, 0, "y"), PS_OK);
    assert_int_equal(size_of(f->a, "y"), 5);
}

int main(void)
{
#define PLACED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        PLACED(an_open_file_stays_where_it_was_opened),
        PLACED(what_has_a_name_is_at_the_newest_place),
        PLACED(a_place_that_was_there_before_is_taken_up_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
