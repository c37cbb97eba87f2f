/* test_fault_client.c - the public API over a real loop, against a scheduler
 * and a server in processes of their own, with the nth allocation of this
 * process failing, for every n: a call ends with PS_OK or PS_ENOMEM, and what
 * was taken is applied exactly once. */
#include "psplus.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "kern/kern.h"
#include "scheduler/schedule.h"
#include "server/serve.h"

enum { WAIT_S = 20, WAIT_MS = WAIT_S * 1000, TIMES_MAX = 400 };

static struct {
    char dir[256];
    pid_t scheduler;
    pid_t server;
} world;

static pid_t start(bool is_server)
{
    const struct schedule_options schedule = {
        .kv_path = world.dir,
        .servers = 1,
        .limits = {.memory_bytes = 64 << 20},
        .bind = "127.0.0.1",
        .wait_s = WAIT_S};
    const struct serve_options serve = {.kv_path = world.dir,
                                        .n_shards = 1,
                                        .bind = "127.0.0.1",
                                        .wait_s = WAIT_S,
                                        .kern = &kern_generic};
    struct err e;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        log_set_level(LOG_NONE);
        _exit(is_server ? serve_run(&serve, &e) : schedule_run(&schedule, &e));
    }
    return child;
}

static int set_up(void **state)
{
    const char *root = getenv("TMPDIR");

    (void)state;
    log_set_level(LOG_NONE);
    snprintf(world.dir, sizeof(world.dir), "%s/test_fault.XXXXXX",
             root == NULL ? "/tmp" : root);
    if (mkdtemp(world.dir) == NULL) {
        return -1;
    }
    world.scheduler = start(false);
    world.server = start(true);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static int tear_down(void **state)
{
    const pid_t children[] = {world.server, world.scheduler};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(children); i++) {
        kill(children[i], SIGTERM);
        waitpid(children[i], NULL, 0);
    }
    nftw(world.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}

static int open_client(ps_client **client)
{
    struct ps_options options;
    struct ps_error error = {0};
    int rc;

    ps_options_init(&options);
    options.scheduler = world.dir;
    options.worker = -1;
    options.timeout_ms = WAIT_MS;
    options.quiet = 1;
    *client = NULL;
    rc = ps_open(client, &options, &error);
    assert_true(rc == PS_OK || error.text[0] != '\0');
    return rc;
}

static int declare(ps_client *client, ps_variable **variable)
{
    struct ps_declaration what;
    struct ps_error error = {0};
    int rc;

    ps_declaration_init(&what);
    what.name = "sum";
    what.kind = PS_HASH64;
    what.dim = 1;
    what.updater = (struct ps_updater){.name = "AssignAddUpdater"};
    *variable = NULL;
    rc = ps_declare(client, &what, variable, WAIT_MS, &error);
    assert_true(rc == PS_OK || error.text[0] != '\0');
    return rc;
}

static int submit(ps_client *client, ps_variable *variable, float out[2],
                  ps_request **request)
{
    static const uint64_t keys[2] = {7, 7};
    static const float halves[2] = {0.5F, 0.5F};
    const struct ps_op ops[] = {{.variable = variable,
                                 .kind = PS_PUSH,
                                 .keys = keys,
                                 .n_keys = 2,
                                 .values = halves},
                                {.variable = variable,
                                 .kind = PS_PULL,
                                 .keys = keys,
                                 .n_keys = 2,
                                 .out = out}};

    *request = NULL;
    return ps_submit(client, ops, 2, request);
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

static void a_client_opens_declares_and_closes_or_says_why_not(void **state)
{
    bool has_failed = true;

    (void)state;
    for (uint64_t n = 1; has_failed && n < TIMES_MAX; n++) {
        ps_client *client;
        ps_variable *variable;
        int rc;

        arm(n);
        rc = open_client(&client);
        if (rc == PS_OK) {
            rc = declare(client, &variable);
        }
        assert_int_equal(ps_close(client, WAIT_MS), PS_OK);
        has_failed = disarm(n);
        assert_true(rc == PS_OK || (has_failed && rc == PS_ENOMEM));
    }
}

static void what_was_taken_is_applied_exactly_once(void **state)
{
    ps_client *client;
    ps_variable *variable;
    bool has_failed = true;
    float sum = 0;

    (void)state;
    assert_int_equal(open_client(&client), PS_OK);
    assert_int_equal(declare(client, &variable), PS_OK);
    for (uint64_t n = 1; (has_failed || n < 5) && n < TIMES_MAX; n++) {
        ps_request *request;
        float out[2];
        int rc;

        arm(n);
        rc = submit(client, variable, out, &request);
        assert_true(rc == PS_OK || rc == PS_ENOMEM);
        if (rc == PS_OK) {
            assert_int_equal(ps_wait(request, WAIT_MS), PS_OK);
            sum += 1;
        }
        ps_request_free(request);
        has_failed = disarm(n);
        assert_int_equal(ps_pull(variable, (const uint64_t[]){7}, 1, out, 0),
                         PS_OK);
        assert_true(out[0] == sum);
    }
    assert_true(sum > 0);
    assert_int_equal(ps_close(client, WAIT_MS), PS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_opens_declares_and_closes_or_says_why_not),
        cmocka_unit_test(what_was_taken_is_applied_exactly_once),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
