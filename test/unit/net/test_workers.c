/* A process that ends by exit() while a loop of it runs on another thread. */
#include "net/workers.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "net/loop.h"

static struct loop *loop;
static struct loop_job job;
static bool is_busy;
static uint64_t tick_us;

static void work(struct loop_job *j)
{
    (void)j;
}

static void done(struct loop_job *j)
{
    (void)j;
    is_busy = false;
}

static void on_tick(void *context)
{
    (void)context;
    tick_us = loop_now() + 1000;
    if (!is_busy) {
        is_busy = loop_work(loop, &job) == PS_OK;
    }
}

static uint64_t next_us(void *context)
{
    (void)context;
    return tick_us;
}

static void *run(void *unused)
{
    (void)unused;
    loop_run(loop);
    return NULL;
}

/* The last that exit() does is to write what stdout still has, into a pipe that
 * is full: the loop's thread lives that long, and libuv's do not. */
static _Noreturn void end_amidst_work(int full)
{
    static const struct loop_handler handler = {.on_tick = on_tick,
                                                .next_us = next_us};
    const struct loop_options options = {.handler = &handler};
    const struct timespec wait = {.tv_nsec = 20 * 1000 * 1000};
    pthread_t thread;
    struct err e;

    job = (struct loop_job){.work = work, .done = done};
    if (loop_new(&loop, &options, &e) != PS_OK ||
        pthread_create(&thread, NULL, run, NULL) != 0 || dup2(full, 1) < 0) {
        _exit(2);
    }
    nanosleep(&wait, NULL);
    (void)setvbuf(stdout, NULL, _IOFBF, 1024);
    printf("so far\n");
    exit(0);
}

static void who_ends_amidst_work_does_not_abort(void **state)
{
    static char bytes[65536];
    const struct timespec wait = {.tv_nsec = 200 * 1000 * 1000};
    int pipes[2], status;
    pid_t child;

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(fcntl(pipes[1], F_SETFL, O_NONBLOCK), 0);
    while (write(pipes[1], bytes, sizeof(bytes)) > 0) {
    }
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(fcntl(pipes[1], F_SETFL, 0), 0);
    fflush(NULL);
    child = fork();
    if (child == 0) {
        end_amidst_work(pipes[1]);
    }
    assert_true(child > 0);
    (void)close(pipes[1]);
    nanosleep(&wait, NULL);
    while (read(pipes[0], bytes, sizeof(bytes)) > 0) {
    }
    (void)close(pipes[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_ends_amidst_work_does_not_abort),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
