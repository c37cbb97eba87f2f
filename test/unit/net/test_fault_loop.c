/* test_fault_loop.c - a loop that talks to itself over a socket, with its nth
 * allocation failing, for every n: a connection brings all its frames or ends,
 * and the next one is served. */
#include "net/loop.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "lib/armed.h"

enum { FRAMES = 3, WAIT_US = 20000000, TIMES_MAX = 100 };

static const size_t sizes[FRAMES] = {8, 300000, 40};

/* A loop, and what became of the connection that it made itself last. */
static struct {
    struct loop *loop;
    uint16_t port;
    uint64_t ours;
    uint32_t n_came;
    bool is_closed;
} world;

static struct frame *echo_of[FRAMES];

static void on_frame(void *context, uint64_t connection,
                     const struct frame_header *header, struct frame *frame)
{
    struct net *net = loop_net(world.loop);

    (void)context;
    (void)header;
    if (connection != world.ours) {
        net->send(net, connection, frame);
        return;
    }
    assert_int_equal(frame_bytes(frame), frame_bytes(echo_of[world.n_came]));
    assert_memory_equal(frame->data, echo_of[world.n_came]->data,
                        frame_bytes(frame));
    world.n_came++;
}

static void on_close(void *context, uint64_t connection)
{
    (void)context;
    world.is_closed |= connection == world.ours;
}

/* An owner looks at its affairs now and then. */
static uint64_t next_us(void *context)
{
    (void)context;
    return loop_now() + 1000;
}

static void set_up_loop(uint32_t accepted_max)
{
    static const struct loop_handler handler = {
        .on_frame = on_frame, .on_close = on_close, .next_us = next_us};
    const struct loop_options options = {.handler = &handler,
                                         .accepted_max = accepted_max};
    struct err e;

    assert_int_equal(loop_new(&world.loop, &options, &e), PS_OK);
    assert_int_equal(loop_listen(world.loop, "127.0.0.1", 0, &world.port, &e),
                     PS_OK);
}

static void end_loop(void)
{
    loop_stop(world.loop);
    loop_free(world.loop);
}

/* Connects and sends, as far as that goes. */
static void talk(void)
{
    struct net *net = loop_net(world.loop);
    char address[32];

    snprintf(address, sizeof(address), "127.0.0.1:%u", (unsigned)world.port);
    world.n_came = 0;
    world.ours = net->connect(net, address);
    world.is_closed = world.ours == 0;
    for (size_t i = 0; i < FRAMES && world.ours != 0; i++) {
        net->send(net, world.ours, echo_of[i]);
    }
}

static void turn_until_it_has_ended(void)
{
    uint64_t deadline = loop_now() + WAIT_US;

    while (world.n_came < FRAMES && !world.is_closed) {
        assert_true(loop_now() < deadline);
        ARMED(loop_turn(world.loop));
        loop_pause(world.loop, loop_next(world.loop));
    }
}

static void a_connection_brings_all_its_frames_or_ends(void **state)
{
    uint32_t n_ended = 0;

    (void)state;
    for (uint64_t n = 1; armed.has_failed && n < TIMES_MAX; n++) {
        set_up_loop(0);
        armed_at(n);
        ARMED(talk());
        turn_until_it_has_ended();
        armed.left = 0;
        n_ended += world.is_closed;
        talk();
        turn_until_it_has_ended();
        assert_int_equal(world.n_came, FRAMES);
        end_loop();
    }
    assert_false(armed.has_failed);
    assert_true(n_ended > 5);
}

/* As nobody can be told then, it is tried again. */
static void
one_that_cannot_be_refused_for_want_of_memory_is_so_later(void **state)
{
    uint64_t first;

    (void)state;
    set_up_loop(1);
    talk();
    turn_until_it_has_ended();
    first = world.ours;
    for (uint64_t n = 1; n < 8; n++) {
        armed_at(n);
        ARMED(talk());
        turn_until_it_has_ended();
        armed.left = 0;
        assert_true(world.is_closed);
    }
    loop_net(world.loop)->close(loop_net(world.loop), first);
    end_loop();
}

static int set_up(void **state)
{
    (void)state;
    log_set_level(LOG_NONE);
    signal(SIGPIPE, SIG_IGN); /* as the roles do */
    for (uint32_t i = 0; i < FRAMES; i++) {
        struct frame_header h = {.type = 3, .request = i};

        echo_of[i] = frame_new(sizes[i]);
        if (echo_of[i] == NULL) {
            return -1;
        }
        memset(frame_body(echo_of[i]), (int)i + 1, sizes[i]);
        frame_seal(echo_of[i], &h);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < FRAMES; i++) {
        frame_put(echo_of[i]);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_brings_all_its_frames_or_ends),
        cmocka_unit_test(
            one_that_cannot_be_refused_for_want_of_memory_is_so_later),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
