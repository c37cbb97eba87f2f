/* test_coord_loop.c - the store asked from a loop. */
#include "coord/coord_loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"

enum { ANSWERS_MAX = 64 };

struct answer {
    uint64_t tag;
    int status;
    uint64_t version;
    char key[COORD_KEY_MAX + 1];
    char data[64];
    uint64_t at_us;
};

struct fixture {
    char dir[64];
    struct loop *loop;
    struct coord_loop *store;
    struct coord *coord;
    struct answer answers[ANSWERS_MAX];
    uint32_t n;
    uint32_t n_wanted;
    uint64_t deadline;
    bool is_in_submit;
    bool called_back_in_submit;
};

static void look(struct fixture *f)
{
    if (f->n >= f->n_wanted || loop_now() >= f->deadline) {
        loop_quit(f->loop);
    }
}

static void on_answer(void *context, const struct coord_result *r)
{
    struct fixture *f = context;
    struct answer *a = &f->answers[f->n++ % ANSWERS_MAX];

    f->called_back_in_submit |= f->is_in_submit;
    a->tag = r->tag;
    a->status = r->status;
    a->version = r->version;
    a->at_us = loop_now();
    snprintf(a->key, sizeof(a->key), "%s", r->key);
    snprintf(a->data, sizeof(a->data), "%.*s", (int)r->size,
             r->size > 0 ? (const char *)r->data : "");
    look(f);
}

static void on_tick(void *context)
{
    struct fixture *f = context;

    coord_loop_tick(f->store);
    look(f);
}

static uint64_t next_us(void *context)
{
    struct fixture *f = context;

    return base_min_u64(coord_loop_next(f->store), f->deadline);
}

static const struct loop_handler handler = {
    .on_tick = on_tick,
    .next_us = next_us,
};

static void set_up(struct fixture *f)
{
    struct loop_options options = {.handler = &handler, .context = f};
    struct coord_loop_options store = {
        .kv_path = f->dir,
        .answer = on_answer,
        .context = f,
    };
    struct err e = {0};

    memset(f, 0, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "/tmp/test_coord_loop.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(loop_new(&f->loop, &options, &e), PS_OK);
    store.loop = f->loop;
    assert_int_equal(coord_loop_open(&f->store, &store, &e), PS_OK);
    f->coord = coord_loop_coord(f->store);
}

static void tear_down(struct fixture *f)
{
    char command[96];

    loop_stop(f->loop);
    coord_loop_close(f->store);
    loop_free(f->loop);
    assert_false(f->called_back_in_submit);
    snprintf(command, sizeof(command), "rm -rf '%s'", f->dir);
    assert_int_equal(system(command), 0);
}

static void run_until(struct fixture *f, uint32_t n)
{
    f->n_wanted = n;
    f->deadline = loop_now() + 20000000;
    loop_run(f->loop);
    assert_int_equal(f->n, n);
}

static void ask(struct fixture *f, enum coord_op op, uint64_t tag,
                const char *key, uint64_t version, const char *data)
{
    struct coord_request r = {.op = op, .tag = tag, .version = version};

    snprintf(r.key, sizeof(r.key), "%s", key);
    r.data = data;
    r.size = data == NULL ? 0 : strlen(data);
    f->is_in_submit = true;
    f->coord->submit(f->coord, &r);
    f->is_in_submit = false;
}

static void answers_come_in_the_order_of_the_requests(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f);
    ask(&f, COORD_GET, 1, "plan", 0, NULL);
    ask(&f, COORD_CAS, 2, "plan", 0, "one");
    ask(&f, COORD_CAS, 3, "plan", 0, "again");
    ask(&f, COORD_CAS, 4, "plan", 1, "two");
    ask(&f, COORD_GET, 5, "plan", 0, NULL);
    ask(&f, COORD_DEL, 6, "server/3", 0, NULL);
    run_until(&f, 6);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(f.answers[i].tag, i + 1);
    }
    assert_int_equal(f.answers[0].status, PS_ENOTFOUND);
    assert_int_equal(f.answers[1].status, PS_OK);
    assert_int_equal(f.answers[1].version, 1);
    assert_int_equal(f.answers[2].status, PS_ECONFLICT);
    assert_int_equal(f.answers[3].status, PS_OK);
    assert_int_equal(f.answers[4].version, 2);
    assert_string_equal(f.answers[4].data, "two");
    assert_string_equal(f.answers[5].key, "server/3");
    tear_down(&f);
}

static void a_watch_answers_only_when_the_version_differs(void **state)
{
    struct fixture f;
    uint64_t start;

    (void)state;
    set_up(&f);
    ask(&f, COORD_WATCH, 7, "plan", 0, NULL);
    ask(&f, COORD_WATCH, 8, "sessions", 0, NULL);
    f.n_wanted = 1;
    f.deadline = loop_now() + (uint64_t)LIMIT_WATCH_MS * 3000;
    loop_run(f.loop);
    assert_int_equal(f.n, 0);
    tear_down(&f);

    set_up(&f);
    start = loop_now();
    ask(&f, COORD_WATCH, 7, "plan", 0, NULL);
    ask(&f, COORD_WATCH, 8, "sessions", 0, NULL);
    ask(&f, COORD_CAS, 9, "plan", 0, "new");
    run_until(&f, 2); /* sessions still waits */
    assert_int_equal(f.answers[0].tag, 9);
    assert_int_equal(f.answers[1].tag, 7);
    assert_int_equal(f.answers[1].version, 1);
    assert_string_equal(f.answers[1].data, "new");
    assert_true(f.answers[1].at_us - start < 5000000);
    tear_down(&f);
}

/* More of them than there are requests that need no memory. */
static void no_request_is_dropped_without_memory(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f);
    for (uint64_t tag = 0; tag < ANSWERS_MAX; tag++) {
        mem_fail_at(1);
        ask(&f, COORD_GET, tag, "plan", 0, NULL);
    }
    mem_fail_at(0);
    run_until(&f, ANSWERS_MAX);
    for (uint64_t tag = 0; tag < ANSWERS_MAX; tag++) {
        assert_int_equal(f.answers[tag].tag, tag);
        assert_int_equal(f.answers[tag].status, PS_ENOTFOUND);
    }
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_in_the_order_of_the_requests),
        cmocka_unit_test(a_watch_answers_only_when_the_version_differs),
        cmocka_unit_test(no_request_is_dropped_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
