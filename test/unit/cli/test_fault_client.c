/* test_fault_client.c - the public API over a real loop, against a scheduler
 * and a server in processes of their own, with the nth allocation of this
 * process failing, for every n: a call ends with PS_OK or PS_ENOMEM, what was
 * taken is applied exactly once, and what was not is done when it is asked for
 * again. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "live.h"

#include "base/mem.h"

/* A save and a restore take half a second, so not each n has its own here: it
 * has in client/test_fault_session.c. */
enum { TIMES_MAX = 1000, STRIDE = 7 };

static const uint64_t keys[2] = {7, 7};
static const float halves[2] = {0.5F, 0.5F};

/* The client of a test, and what was pushed to its variable. */
static struct {
    ps_client *client;
    ps_variable *sum;
    float pushed;
} mine;

static int set_up(void **state)
{
    (void)state;
    if (live_prepare() != 0) {
        return -1;
    }
    live_start(NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    live_stop();
    return 0;
}

static int open_mine(void **state)
{
    (void)state;
    assert_int_equal(live_open(&mine.client), PS_OK);
    assert_int_equal(live_declare(mine.client, "sum", 1, &mine.sum), PS_OK);
    return 0;
}

static int close_mine(void **state)
{
    (void)state;
    assert_int_equal(ps_close(mine.client, LIVE_WAIT_MS), PS_OK);
    return 0;
}

/* The sweeps: is the nth allocation of all that was done since? */
static uint64_t begin;

static void arm(uint64_t n)
{
    begin = mem_calls();
    mem_fail_at(n);
}

static bool disarm(uint64_t n)
{
    mem_fail_at(0);
    return mem_calls() - begin >= n;
}

/* There is memory the second time. */
#define AGAIN(call)                   \
    do {                              \
        int rc_ = (call);             \
                                      \
        if (rc_ == PS_ENOMEM) {       \
            rc_ = (call);             \
        }                             \
        assert_int_equal(rc_, PS_OK); \
    } while (0)

static void a_client_opens_declares_and_closes_or_says_why_not(void **state)
{
    bool has_failed = true;
    size_t files = 0;

    (void)state;
    for (uint64_t n = 1; has_failed && n < TIMES_MAX; n++) {
        ps_client *client;
        ps_variable *variable;
        int rc;

        arm(n);
        rc = live_open(&client);
        if (rc == PS_OK) {
            rc = live_declare(client, "sum", 1, &variable);
        }
        assert_int_equal(ps_close(client, LIVE_WAIT_MS), PS_OK);
        has_failed = disarm(n);
        assert_true(rc == PS_OK || (has_failed && rc == PS_ENOMEM));
        /* libuv keeps a few of its first loop. */
        assert_true(n < 10 || live_files(getpid()) == files);
        files = live_files(getpid());
    }
    assert_false(has_failed);
}

static int submit(float out[2], ps_request **request)
{
    const struct ps_op ops[] = {{.variable = mine.sum,
                                 .kind = PS_PUSH,
                                 .keys = keys,
                                 .n_keys = 2,
                                 .values = halves},
                                {.variable = mine.sum,
                                 .kind = PS_PULL_CREATE,
                                 .keys = keys,
                                 .n_keys = 2,
                                 .out = out}};

    *request = NULL;
    return ps_submit(mine.client, ops, 2, request);
}

static void expect_sum(void)
{
    float out[2];

    AGAIN(ps_pull(mine.sum, keys, 2, out, 0));
    assert_true(out[0] == mine.pushed && out[1] == mine.pushed);
}

static void what_was_taken_is_applied_exactly_once(void **state)
{
    bool has_failed = true;

    (void)state;
    for (uint64_t n = 1; (has_failed || n < 5) && n < TIMES_MAX; n++) {
        ps_request *request;
        float out[2];
        int rc;

        arm(n);
        rc = submit(out, &request);
        assert_true(rc == PS_OK || rc == PS_ENOMEM);
        if (rc == PS_OK) {
            assert_int_equal(ps_wait(request, LIVE_WAIT_MS), PS_OK);
            mine.pushed += 1;
        }
        ps_request_free(request);
        has_failed = disarm(n);
        expect_sum();
    }
    assert_true(mine.pushed > 0);
}

/* A push that is under way, or it may be not, is made one or the other. */
static void resolve_a_push(void)
{
    struct ps_frame_outcome outcome = {0};
    ps_request *request;
    float out[2];
    int rc;

    AGAIN(submit(out, &request));
    rc = ps_resolve(request, LIVE_WAIT_MS);
    if (rc == PS_ENOMEM) {
        rc = ps_resolve(request, LIVE_WAIT_MS);
    }
    assert_true(rc == PS_OK || rc == PS_ECANCELED);
    if (ps_request_frames(request) > 0) { /* it had a number */
        assert_int_equal(ps_request_frame(request, 0, &outcome), PS_OK);
        assert_int_equal(outcome.status, rc);
    }
    mine.pushed += rc == PS_OK ? 1 : 0;
    ps_request_free(request);
}

static void make_and_drop_another(void)
{
    struct ps_error error;
    ps_variable *other;
    float out;
    int rc;

    AGAIN(live_declare(mine.client, "other", 1, &other));
    AGAIN(ps_push(other, keys, 1, halves, LIVE_WAIT_MS));
    AGAIN(ps_pull(other, keys, 1, &out, LIVE_WAIT_MS));
    assert_true(out == 0.5F);
    rc = ps_drop(mine.client, "other", LIVE_WAIT_MS, &error);
    if (rc == PS_ENOMEM) { /* which may have been on its way */
        rc = ps_drop(mine.client, "other", LIVE_WAIT_MS, &error);
        rc = rc == PS_ENOTFOUND ? PS_OK : rc;
    }
    assert_int_equal(rc, PS_OK);
}

/* Of a plugin, by its name, which no server has loaded. */
static int push_by_stranger(void)
{
    const struct ps_updater updater = {.name = "StrangeUpdater"};
    const struct ps_op op = {.variable = mine.sum,
                             .kind = PS_PUSH,
                             .keys = keys,
                             .n_keys = 1,
                             .values = halves,
                             .updater = &updater};
    ps_request *request;
    int rc = ps_submit(mine.client, &op, 1, &request);

    if (rc == PS_OK) {
        rc = ps_wait(request, LIVE_WAIT_MS);
        ps_request_free(request);
    }
    return rc == PS_ENOUDF ? PS_OK : rc;
}

static void look_at_the_cluster(void)
{
    struct ps_client_counters counters;
    struct ps_error error;
    char text[100];
    char *json;

    AGAIN(ps_status_json(mine.client, &json, LIVE_WAIT_MS, &error));
    assert_non_null(strstr(json, "\"sum\""));
    ps_text_free(json);
    ps_client_waits_for(mine.client, text, sizeof(text));
    ps_client_counters(mine.client, &counters);
    assert_true(counters.pushes_acked > 0);
}

static void what_a_worker_asks_for_is_done_once_or_not_at_all(void **state)
{
    bool has_failed = true;
    uint64_t n;

    (void)state;
    for (n = 1; has_failed && n < TIMES_MAX; n++) {
        arm(n);
        AGAIN(ps_step(mine.client, &n, sizeof(n)));
        AGAIN(ps_push(mine.sum, keys, 2, halves, LIVE_WAIT_MS));
        mine.pushed += 1;
        expect_sum();
        resolve_a_push();
        make_and_drop_another();
        AGAIN(push_by_stranger());
        look_at_the_cluster();
        has_failed = disarm(n);
        expect_sum();
    }
    assert_false(has_failed);
}

static void save_as(const char *name)
{
    struct ps_save_state save;
    struct ps_error error;
    ps_request *request;

    AGAIN(ps_save(mine.client, name, &request, &error));
    AGAIN(ps_wait(request, LIVE_WAIT_MS));
    AGAIN(ps_request_save(request, &save));
    assert_int_equal(save.state, PS_SAVE_DONE);
    assert_string_equal(save.name, name);
    AGAIN(ps_save_get(mine.client, &save));
    ps_request_free(request);
}

static int cancel_nothing(void)
{
    struct ps_error error;
    int rc = ps_save_cancel(mine.client, LIVE_WAIT_MS, &error);

    return rc == PS_ENOTFOUND || rc == PS_EEXIST ? PS_OK : rc;
}

/* Its record of the store is read, which may say EIO for want of memory. */
static int ask_where_it_stood(void)
{
    struct ps_error error;
    uint64_t position;
    uint64_t cut;
    size_t size = sizeof(position);
    int rc =
        ps_restored(mine.client, &position, &size, &cut, LIVE_WAIT_MS, &error);

    return rc == PS_EIO ? PS_ENOMEM : rc;
}

/* Nothing is pushed on top of what it does not know yet. */
static int be_refused(void)
{
    int rc = ps_push(mine.sum, keys, 2, halves, LIVE_WAIT_MS);

    return rc == PS_EROLLEDBACK ? PS_OK : rc;
}

/* All of it, and where it stood then. */
static void go_back_to(const char *name, uint64_t stood)
{
    struct ps_error error;
    uint64_t position = 0;
    uint64_t cut;
    size_t size = sizeof(position);

    AGAIN(ps_restore(mine.client, name, LIVE_WAIT_MS, &error));
    AGAIN(be_refused());
    AGAIN(
        ps_rollback(mine.client, &position, &size, &cut, LIVE_WAIT_MS, &error));
    assert_true(size == sizeof(position) && position == stood);
}

static void a_cluster_is_saved_and_goes_back_once(void **state)
{
    bool has_failed = true;
    uint64_t n;

    (void)state;
    /* Who has never pushed has no session, and a checkpoint no position. */
    assert_int_equal(ps_push(mine.sum, keys, 2, halves, LIVE_WAIT_MS), PS_OK);
    mine.pushed += 1;
    for (n = 1; has_failed && n < TIMES_MAX; n += STRIDE) {
        char name[32];

        snprintf(name, sizeof(name), "n%u", (unsigned)n);
        arm(n);
        AGAIN(ps_step(mine.client, &n, sizeof(n)));
        save_as(name);
        AGAIN(cancel_nothing());
        AGAIN(ps_push(mine.sum, keys, 2, halves, LIVE_WAIT_MS));
        go_back_to(name, n);
        AGAIN(ask_where_it_stood());
        has_failed = disarm(n);
        expect_sum();
    }
    assert_false(has_failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_opens_declares_and_closes_or_says_why_not),
        cmocka_unit_test_setup_teardown(what_was_taken_is_applied_exactly_once,
                                        open_mine, close_mine),
        cmocka_unit_test_setup_teardown(
            what_a_worker_asks_for_is_done_once_or_not_at_all, open_mine,
            close_mine),
        cmocka_unit_test_setup_teardown(a_cluster_is_saved_and_goes_back_once,
                                        open_mine, close_mine),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
