/* test_fault_net.c - a client, a server and a scheduler over real sockets, of
 * one of which the nth call to the network fails, for every n, in six manners:
 * errors, parts of what was asked for, signals, a socket that cannot be had.
 * Every call of the client is done all the same, pushes exactly once, and
 * nothing is left open. A process that begins with too few files says so. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/netfault.h"
#include "live.h"

#include "base/log.h"

/* Rows of 512 KiB, which neither go nor come with one call. */
enum { KEYS = 8192, DIM = 16, TIMES_MAX = 500 };

static struct {
    uint64_t keys[KEYS];
    float ones[KEYS * DIM];
    float out[KEYS * DIM];
    float sum; /* of what was pushed, in each value */
} data;

static void rest(void)
{
    const struct timespec ms = {.tv_nsec = 1000000};

    nanosleep(&ms, NULL);
}

static void push(ps_client *client, ps_variable *v)
{
    const struct ps_op op = {.variable = v,
                             .kind = PS_PUSH,
                             .keys = data.keys,
                             .n_keys = KEYS,
                             .values = data.ones};
    ps_request *request;

    assert_int_equal(ps_submit(client, &op, 1, &request), PS_OK);
    assert_int_equal(ps_wait(request, LIVE_WAIT_MS), PS_OK);
    ps_request_free(request);
    data.sum += 1;
}

static void expect_sums(ps_variable *v)
{
    assert_int_equal(ps_pull(v, data.keys, KEYS, data.out, LIVE_WAIT_MS),
                     PS_OK);
    for (size_t i = 0; i < KEYS * DIM; i++) {
        assert_true(data.out[i] == data.sum);
    }
}

static void live_once(void)
{
    ps_client *client;
    ps_variable *v;

    assert_int_equal(live_open(&client), PS_OK);
    assert_int_equal(live_declare(client, "sum", DIM, &v), PS_OK);
    push(client, v);
    push(client, v);
    expect_sums(v);
    assert_int_equal(ps_close(client, LIVE_WAIT_MS), PS_OK);
}

/* A connection that ends here does so there soon after. */
static void expect_files(pid_t process, size_t n)
{
    for (int i = 0; live_files(process) != n && i < 10000; i++) {
        rest();
    }
    assert_int_equal(live_files(process), n);
}

/* Once those that have ended are gone. */
static size_t quiet_files(pid_t process)
{
    size_t n;

    do {
        n = live_files(process);
        for (int i = 0; i < 200; i++) {
            rest();
        }
    } while (live_files(process) != n);
    return n;
}

static void sweep(int who)
{
    size_t scheduler;
    size_t server;
    size_t client;

    live_once();
    client = live_files(getpid());
    scheduler = quiet_files(live.scheduler);
    server = quiet_files(live.server);
    for (unsigned manner = 0; manner < NETFAULT_MANNERS; manner++) {
        bool has_failed = true;
        uint64_t n;

        for (n = 1; has_failed && n < TIMES_MAX; n++) {
            netfault_arm(who, manner, n);
            live_once();
            has_failed = netfault_disarm();
            assert_int_equal(live_files(getpid()), client);
        }
        assert_true(n > 10 && n < TIMES_MAX);
        expect_files(live.scheduler, scheduler);
        expect_files(live.server, server);
    }
    live_once();
}

static void expect_seen(int who, const enum netfault_call *calls, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert_int_not_equal(netfault_seen(who, calls[i]), 0);
    }
}

static void a_client_outlives_the_failure_of_any_call(void **state)
{
    static const enum netfault_call calls[] = {
        NETFAULT_READ,    NETFAULT_WRITE,     NETFAULT_SOCKET,
        NETFAULT_CONNECT, NETFAULT_CONNECTED, NETFAULT_OPTION};

    (void)state;
    sweep(LIVE_CLIENT);
    expect_seen(LIVE_CLIENT, calls, ARRAY_LEN(calls));
}

static void a_server_outlives_the_failure_of_any_call(void **state)
{
    static const enum netfault_call calls[] = {NETFAULT_READ, NETFAULT_WRITE,
                                               NETFAULT_ACCEPT, NETFAULT_NAME,
                                               NETFAULT_OPTION};

    (void)state;
    sweep(LIVE_SERVER);
    expect_seen(LIVE_SERVER, calls, ARRAY_LEN(calls));
}

static void a_scheduler_outlives_the_failure_of_any_call(void **state)
{
    static const enum netfault_call calls[] = {NETFAULT_READ, NETFAULT_WRITE,
                                               NETFAULT_ACCEPT, NETFAULT_NAME,
                                               NETFAULT_OPTION};

    (void)state;
    sweep(LIVE_SCHEDULER);
    expect_seen(LIVE_SCHEDULER, calls, ARRAY_LEN(calls));
}

static int open_nothing(const char *store)
{
    struct ps_options options;
    struct ps_error error = {0};
    ps_client *client;
    int rc;

    ps_options_init(&options);
    options.scheduler = store;
    options.timeout_ms = 100;
    options.quiet = 1;
    rc = ps_open(&client, &options, &error);
    return error.text[0] != '\0' ? rc : PS_EUNKNOWN;
}

static int serve_nothing(const char *store)
{
    return live_run(LIVE_SERVER, store, 1);
}

/* What it returns in a process of its own, which may have so many files open.
 * libuv keeps two for good. */
static int child_of(int (*begin)(const char *store), rlim_t limit)
{
    struct rlimit files;
    char store[300];
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        size_t before = live_files(getpid());
        rlim_t former;
        int rc;

        snprintf(store, sizeof(store), "%s/%u", live.dir, (unsigned)limit);
        getrlimit(RLIMIT_NOFILE, &files);
        former = files.rlim_cur;
        files.rlim_cur = limit;
        setrlimit(RLIMIT_NOFILE, &files);
        rc = begin(store);
        files.rlim_cur = former;
        setrlimit(RLIMIT_NOFILE, &files);
        exit(live_files(getpid()) <= before + 2 ? -rc : -PS_EUNKNOWN);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_true(WIFEXITED(status));
    return -WEXITSTATUS(status);
}

/* Nobody answers: where there are files enough it waits for that in vain. */
static void expect_to_say_why_not(int (*begin)(const char *store))
{
    rlim_t limit = 3;
    int rc = child_of(begin, limit);

    assert_int_equal(rc, PS_EIO);
    while (rc == PS_EIO && limit < 100) {
        limit++;
        rc = child_of(begin, limit);
    }
    assert_int_equal(rc, PS_ETIMEOUT);
}

static void who_may_open_no_more_files_says_so(void **state)
{
    (void)state;
    expect_to_say_why_not(open_nothing);
    expect_to_say_why_not(serve_nothing);
}

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        data.keys[i] = i;
    }
    for (size_t i = 0; i < KEYS * DIM; i++) {
        data.ones[i] = 1;
    }
    if (!netfault_open() || live_prepare() != 0) {
        return -1;
    }
    live_start(netfault_i_am);
    netfault_i_am(LIVE_CLIENT);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    live_stop();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_may_open_no_more_files_says_so),
        cmocka_unit_test(a_client_outlives_the_failure_of_any_call),
        cmocka_unit_test(a_server_outlives_the_failure_of_any_call),
        cmocka_unit_test(a_scheduler_outlives_the_failure_of_any_call),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
