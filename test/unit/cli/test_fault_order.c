/* test_fault_order.c - a save and a restore that the nth allocation fails of,
 * for every n: who is told PS_ENOMEM has ordered nothing, now or later.
 * In a process of its own, as ps-plus has what it does next hang on that. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "live.h"

#include "base/mem.h"
#include "client/client_restore.h"

enum { TIMES_MAX = 100 };

static ps_client *client;
static ps_variable *sum;

static int set_up(void **state)
{
    (void)state;
    if (live_prepare() != 0) {
        return -1;
    }
    live_start(NULL);
    assert_int_equal(live_open(&client), PS_OK);
    assert_int_equal(live_declare(client, "sum", 1, &sum), PS_OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(ps_close(client, LIVE_WAIT_MS), PS_OK);
    live_stop();
    return 0;
}

/* Whether the nth allocation is made while `call` is. */
#define FAILS_AT(n, rc, call)                                            \
    (begin = mem_calls(), mem_fail_at(n), (rc) = (call), mem_fail_at(0), \
     mem_calls() - begin >= (n))

static uint64_t begin;

/* The ticket of the last save, once the scheduler has seen to all that it was
 * sent before: a cancel asks it. */
static uint64_t last_save(void)
{
    struct ps_save_state state;
    struct ps_error error;

    assert_int_equal(ps_save_cancel(client, LIVE_WAIT_MS, &error),
                     PS_ENOTFOUND);
    assert_int_equal(ps_save_get(client, &state), PS_OK);
    return state.ticket;
}

static void a_save_that_wants_memory_is_none(void **state)
{
    bool has_failed = true;
    uint64_t saves = 0;

    (void)state;
    for (uint64_t n = 1; has_failed && n < TIMES_MAX; n++) {
        struct ps_error error;
        ps_request *request;
        int rc;

        has_failed = FAILS_AT(n, rc, ps_save(client, "all", &request, &error));
        if (rc == PS_OK) {
            saves++;
            assert_int_equal(ps_wait(request, LIVE_WAIT_MS), PS_OK);
            ps_request_free(request);
        } else {
            assert_int_equal(rc, PS_ENOMEM);
        }
        assert_int_equal(last_save(), saves);
    }
    assert_false(has_failed);
}

static void a_restore_that_wants_memory_is_none(void **state)
{
    const uint64_t key = 7;
    const float one = 1;
    bool has_failed = true;

    (void)state;
    for (uint64_t n = 1; has_failed && n < TIMES_MAX; n++) {
        struct ps_error error;
        ps_request *request;
        size_t size = 0;
        int rc;

        has_failed = FAILS_AT(
            n, rc, client_restore(client, "all", NULL, 0, &request, &error));
        if (rc == PS_OK) {
            assert_int_equal(ps_wait(request, LIVE_WAIT_MS), PS_OK);
            ps_request_free(request);
            assert_int_equal(
                ps_rollback(client, NULL, &size, NULL, LIVE_WAIT_MS, &error),
                PS_OK);
        } else {
            assert_int_equal(rc, PS_ENOMEM);
            /* One that was ordered would be done first. */
            assert_int_equal(ps_restore(client, "none", LIVE_WAIT_MS, &error),
                             PS_ENOTFOUND);
        }
        assert_int_equal(ps_push(sum, &key, 1, &one, 0), PS_OK);
    }
    assert_false(has_failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_save_that_wants_memory_is_none),
        cmocka_unit_test(a_restore_that_wants_memory_is_none),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
