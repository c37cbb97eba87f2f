/* test_loop_limit.c - what a loop takes from connections that came to it, and
 * for how long. The peers are plain sockets of the test's own thread. */
#include "net/loop.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/mem.h"

struct fixture {
    struct loop *loop;
    uint16_t port;
    uint32_t n_opened;
    uint32_t n_closed;
    uint32_t n_frames;
    struct frame *answer; /* NULL: none */
};

static void on_open(void *context, uint64_t connection)
{
    struct fixture *f = context;

    (void)connection;
    f->n_opened++;
}

static void on_close(void *context, uint64_t connection)
{
    struct fixture *f = context;

    (void)connection;
    f->n_closed++;
}

static void on_frame(void *context, uint64_t connection,
                     const struct frame_header *header, struct frame *frame)
{
    struct fixture *f = context;
    struct net *net = loop_net(f->loop);

    (void)header;
    (void)frame;
    f->n_frames++;
    if (f->answer != NULL) {
        net->send(net, connection, f->answer);
    }
}

static const struct loop_handler handler = {
    .on_open = on_open,
    .on_frame = on_frame,
    .on_close = on_close,
};

static void set_up(struct fixture *f, struct loop_options options)
{
    struct err e = {0};

    log_set_level(LOG_NONE);
    *f = (struct fixture){.loop = NULL};
    options.handler = &handler;
    options.context = f;
    assert_int_equal(loop_new(&f->loop, &options, &e), PS_OK);
    assert_int_equal(loop_listen(f->loop, "127.0.0.1", 0, &f->port, &e), PS_OK);
}

static void tear_down(struct fixture *f)
{
    frame_put(f->answer);
    loop_stop(f->loop);
    loop_free(f->loop);
}

static void run_for(struct fixture *f, uint32_t ms)
{
    uint64_t until = loop_now() + ms * 1000;

    while (loop_now() < until) {
        loop_turn(f->loop);
        loop_pause(f->loop, base_min_u64(until, loop_now() + 1000));
    }
}

static int connect_to(struct fixture *f)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(f->port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static struct frame *new_frame(size_t body_bytes)
{
    struct frame *frame = frame_new(body_bytes);
    struct frame_header h = {.type = 3};

    assert_non_null(frame);
    memset(frame_body(frame), 0x5a, body_bytes);
    frame_seal(frame, &h);
    return frame;
}

/* Bytes [begin, end) of a frame with that body. */
static void send_part(int fd, size_t body_bytes, size_t begin, size_t end)
{
    struct frame *frame = new_frame(body_bytes);

    assert_int_equal(send(fd, frame->data + begin, end - begin, MSG_NOSIGNAL),
                     end - begin);
    frame_put(frame);
}

static void send_frame(int fd, size_t body_bytes)
{
    send_part(fd, body_bytes, 0, FRAME_HEADER_BYTES + body_bytes);
}

static bool is_closed(int fd)
{
    uint8_t byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

    /* What had come and was not read makes it a reset. */
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

static void connections_beyond_the_limit_are_ended(void **state)
{
    const struct loop_options options = {.accepted_max = 2};
    struct fixture f;
    int fd[4];

    (void)state;
    set_up(&f, options);
    for (int i = 0; i < 3; i++) {
        fd[i] = connect_to(&f);
    }
    run_for(&f, 100);
    assert_int_equal(f.n_opened, 2);
    assert_int_equal(f.n_closed, 0);
    assert_true(is_closed(fd[2]));
    assert_false(is_closed(fd[0]));
    close(fd[0]);
    run_for(&f, 100);
    assert_int_equal(f.n_closed, 1);
    fd[3] = connect_to(&f);
    run_for(&f, 100);
    assert_int_equal(f.n_opened, 3);
    assert_false(is_closed(fd[3]));
    for (int i = 1; i < 4; i++) {
        close(fd[i]);
    }
    tear_down(&f);
}

/* Of 256 files 128 are for other things; each of 2 loops takes 8 for itself. */
static void a_loops_share_of_the_files_is_left_for_connections(void **state)
{
    struct rlimit former;
    struct rlimit few;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &former), 0);
    few = former;
    few.rlim_cur = 256;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(loop_accepted_max(2), 56);
    assert_int_equal(loop_accepted_max(1), 120);
    assert_int_equal(loop_accepted_max(100), 1);
    few.rlim_cur = 100;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(loop_accepted_max(1), 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &former), 0);
}

static void a_first_frame_is_small_and_later_ones_need_not_be(void **state)
{
    const struct loop_options options = {.patience_ms = 10000};
    struct fixture f;
    int large;
    int small;

    (void)state;
    set_up(&f, options);
    large = connect_to(&f);
    small = connect_to(&f);
    send_part(large, 4097, 0, FRAME_HEADER_BYTES);
    send_frame(small, 4096);
    send_frame(small, 100000);
    run_for(&f, 100);
    assert_true(is_closed(large));
    assert_int_equal(f.n_closed, 1);
    assert_int_equal(f.n_frames, 2);
    assert_false(is_closed(small));
    close(large);
    close(small);
    tear_down(&f);
}

static void who_says_nothing_whole_in_time_is_ended(void **state)
{
    const struct loop_options options = {.patience_ms = 200};
    struct fixture f;
    int mute;
    int slow;
    int known;

    (void)state;
    set_up(&f, options);
    mute = connect_to(&f);
    slow = connect_to(&f);
    known = connect_to(&f);
    send_frame(known, 8);
    for (size_t i = 0; i < 5; i++) {
        send_part(slow, 8, i, i + 1);
        run_for(&f, 20);
    }
    assert_int_equal(f.n_closed, 0);
    send_part(slow, 8, 5, 6);
    run_for(&f, 400);
    assert_int_equal(f.n_closed, 2);
    assert_true(is_closed(mute));
    assert_true(is_closed(slow));
    assert_false(is_closed(known));
    close(mute);
    close(slow);
    close(known);
    tear_down(&f);
}

/* 80,000 bytes are under way; 50,000 more would pass 100,000, 8 do not. */
static void a_frame_waits_until_there_is_room_for_it(void **state)
{
    const struct loop_options options = {.bytes_max = 100000};
    struct fixture f;
    int first;
    int second;
    int third;

    (void)state;
    set_up(&f, options);
    first = connect_to(&f);
    second = connect_to(&f);
    third = connect_to(&f);
    send_part(first, 80000, 0, 40000);
    run_for(&f, 100);
    send_frame(second, 50000);
    run_for(&f, 100);
    assert_int_equal(f.n_frames, 0);
    send_frame(third, 8);
    run_for(&f, 100);
    assert_int_equal(f.n_frames, 1);
    send_part(first, 80000, 40000, FRAME_HEADER_BYTES + 80000);
    run_for(&f, 100);
    assert_int_equal(f.n_frames, 3);
    assert_int_equal(f.n_closed, 0);
    send_frame(first, 1000000); /* alone it may be larger than all room */
    run_for(&f, 100);
    assert_int_equal(f.n_frames, 4);
    close(first);
    close(second);
    close(third);
    tear_down(&f);
}

/* An answer of 32 MiB, more than the kernel takes, where 1 MiB may wait. */
static void while_answers_fill_the_room_nobody_is_read_from(void **state)
{
    enum { ANSWER = 32 << 20 };
    const struct loop_options options = {.bytes_max = 1 << 20};
    struct fixture f;
    uint8_t *data = mem_new(ANSWER);
    size_t left = FRAME_HEADER_BYTES + ANSWER;
    int greedy;
    int other;

    (void)state;
    set_up(&f, options);
    f.answer = new_frame(ANSWER);
    greedy = connect_to(&f);
    other = connect_to(&f);
    send_frame(greedy, 8);
    run_for(&f, 200);
    assert_int_equal(f.n_frames, 1);
    send_frame(other, 8);
    run_for(&f, 100);
    assert_int_equal(f.n_frames, 1);
    for (int i = 0; i < 10000 && left > 0; i++) {
        ssize_t n =
            recv(greedy, data, left < ANSWER ? left : ANSWER, MSG_DONTWAIT);

        left -= n > 0 ? (size_t)n : 0;
        run_for(&f, 1);
    }
    assert_int_equal(left, 0);
    run_for(&f, 50);
    assert_int_equal(f.n_frames, 2);
    assert_int_equal(f.n_closed, 0);
    close(greedy);
    close(other);
    mem_free(data);
    tear_down(&f);
}

static void who_stands_still_while_others_wait_is_ended(void **state)
{
    const struct loop_options options = {.bytes_max = 100000,
                                         .patience_ms = 200};
    struct fixture f;
    int still;
    int other;

    (void)state;
    set_up(&f, options);
    still = connect_to(&f);
    other = connect_to(&f);
    send_frame(still, 8);
    send_frame(other, 8);
    send_part(still, 80000, 0, 40000);
    run_for(&f, 600);
    assert_int_equal(f.n_closed, 0); /* nobody waits for what it holds */
    send_frame(other, 50000);
    run_for(&f, 600);
    assert_int_equal(f.n_closed, 1);
    assert_true(is_closed(still));
    assert_int_equal(f.n_frames, 3);
    close(still);
    close(other);
    tear_down(&f);
}

/* The same, but a byte comes every now and then: 80,000 would take hours. */
static void a_byte_now_and_then_is_not_to_get_on(void **state)
{
    const struct loop_options options = {.bytes_max = 100000,
                                         .patience_ms = 200};
    struct fixture f;
    int slow;
    int other;

    (void)state;
    set_up(&f, options);
    slow = connect_to(&f);
    other = connect_to(&f);
    send_frame(slow, 8);
    send_frame(other, 8);
    send_part(slow, 80000, 0, 40000);
    run_for(&f, 50);
    send_frame(other, 50000);
    for (size_t i = 0; i < 30 && f.n_closed == 0; i++) {
        send_part(slow, 80000, 40000 + i, 40001 + i);
        run_for(&f, 20);
    }
    assert_int_equal(f.n_closed, 1);
    run_for(&f, 50);
    assert_true(is_closed(slow));
    assert_int_equal(f.n_frames, 3);
    close(slow);
    close(other);
    tear_down(&f);
}

/* Likewise, but a sixteenth of it comes each time: that is let be. */
static void who_gets_on_is_waited_for(void **state)
{
    const struct loop_options options = {.bytes_max = 100000,
                                         .patience_ms = 300};
    const size_t whole = FRAME_HEADER_BYTES + 80000;
    struct fixture f;
    int slow;
    int other;

    (void)state;
    set_up(&f, options);
    slow = connect_to(&f);
    other = connect_to(&f);
    send_frame(slow, 8);
    send_frame(other, 8);
    send_part(slow, 80000, 0, FRAME_HEADER_BYTES);
    run_for(&f, 50);
    send_frame(other, 50000);
    for (size_t at = FRAME_HEADER_BYTES; at < whole; at += 5000) {
        assert_int_equal(f.n_frames, 2);
        send_part(slow, 80000, at, at + 5000);
        run_for(&f, 60);
    }
    run_for(&f, 50);
    assert_int_equal(f.n_closed, 0);
    assert_int_equal(f.n_frames, 4);
    close(slow);
    close(other);
    tear_down(&f);
}

/* Ten want 12,000 each of 100,000: the first is let in, an eighth of what it
 * leaves is 11,000, so the others wait and there is room for smaller frames. */
static void many_that_are_slow_leave_room_for_others(void **state)
{
    enum { SLOW = 10 };
    const struct loop_options options = {.bytes_max = 100000};
    struct fixture f;
    int slow[SLOW];
    int other;

    (void)state;
    set_up(&f, options);
    for (size_t i = 0; i < SLOW; i++) {
        slow[i] = connect_to(&f);
        send_part(slow[i], 12000, 0, 200);
        run_for(&f, 20);
    }
    other = connect_to(&f);
    for (uint32_t i = 1; i <= 20; i++) {
        send_part(other, 10000, 0, FRAME_HEADER_BYTES);
        run_for(&f, 5);
        send_part(other, 10000, FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + 10000);
        run_for(&f, 5);
    }
    run_for(&f, 50);
    assert_int_equal(f.n_frames, 20);
    for (size_t i = 0; i < SLOW; i++) {
        send_part(slow[i], 12000, 200, FRAME_HEADER_BYTES + 12000);
    }
    run_for(&f, 100);
    assert_int_equal(f.n_frames, 30);
    assert_int_equal(f.n_closed, 0);
    for (size_t i = 0; i < SLOW; i++) {
        close(slow[i]);
    }
    close(other);
    tear_down(&f);
}

/* Of 12 MiB the first holds 8, so an eighth of the rest is 512 KiB: 400 KiB are
 * let in, 2 MiB and then 768 KiB wait. When the first has ended, an eighth is
 * 1.45 MiB. */
static void a_small_frame_does_not_wait_behind_a_large_one(void **state)
{
    enum { FIRST = 8 << 20, LARGE = 2 << 20, SMALL = 768 << 10, BIT = 400000 };
    const struct loop_options options = {.bytes_max = 12 << 20};
    struct fixture f;
    int fd[4];

    (void)state;
    set_up(&f, options);
    for (size_t i = 0; i < 4; i++) {
        fd[i] = connect_to(&f);
    }
    send_part(fd[0], FIRST, 0, 96);
    run_for(&f, 30);
    send_part(fd[1], BIT, 0, 96);
    run_for(&f, 30);
    send_part(fd[2], LARGE, 0, 96);
    run_for(&f, 30);
    send_part(fd[3], SMALL, 0, 96);
    run_for(&f, 30);
    for (size_t at = 96; at < FRAME_HEADER_BYTES + SMALL; at += 32 << 10) {
        send_part(fd[3], SMALL, at,
                  base_min_u64(at + (32 << 10), FRAME_HEADER_BYTES + SMALL));
        run_for(&f, 1);
    }
    assert_int_equal(f.n_frames, 0);
    for (size_t at = 96; at < FRAME_HEADER_BYTES + FIRST; at += 32 << 10) {
        send_part(fd[0], FIRST, at,
                  base_min_u64(at + (32 << 10), FRAME_HEADER_BYTES + FIRST));
        run_for(&f, 1);
    }
    run_for(&f, 50);
    assert_int_equal(f.n_frames, 2); /* the first and the small one */
    send_part(fd[1], BIT, 96, FRAME_HEADER_BYTES + BIT);
    run_for(&f, 50);
    assert_int_equal(f.n_frames, 3);
    for (size_t at = 96; at < FRAME_HEADER_BYTES + LARGE; at += 32 << 10) {
        send_part(fd[2], LARGE, at,
                  base_min_u64(at + (32 << 10), FRAME_HEADER_BYTES + LARGE));
        run_for(&f, 1);
    }
    run_for(&f, 50);
    assert_int_equal(f.n_frames, 4);
    for (size_t i = 0; i < 4; i++) {
        close(fd[i]);
    }
    tear_down(&f);
}

static char said[512];
static uint32_t n_said;

static void keep_said(enum log_level level, const char *text)
{
    (void)level;
    snprintf(said, sizeof(said), "%s", text);
    n_said++;
}

/* The first of 50 is told of with the port that it has here; the others of that
 * second are counted only, so the next line, which comes later, says 49. */
static void the_log_says_from_where_and_not_too_often(void **state)
{
    const struct loop_options options = {.bytes_max = 0};
    struct fixture f;
    struct sockaddr_in me = {.sin_port = 0};
    socklen_t size = sizeof(me);
    char wanted[64] = "";

    (void)state;
    set_up(&f, options);
    log_set_level(LOG_WARNING);
    log_set_sink(keep_said);
    for (int i = 0; i < 51; i++) {
        int fd;

        if (i == 50) {
            run_for(&f, 1100);
        }
        fd = connect_to(&f);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&me, &size), 0);
        assert_int_equal(send(fd, wanted, 64, MSG_NOSIGNAL), 64);
        assert_int_equal(send(fd, wanted, 64, MSG_NOSIGNAL), 64);
        run_for(&f, 5);
        close(fd);
        if (i == 0 || i == 50) {
            snprintf(wanted, sizeof(wanted),
                     "from 127.0.0.1:%u ends: ", (unsigned)ntohs(me.sin_port));
            assert_non_null(strstr(said, wanted));
        }
    }
    log_set_sink(NULL);
    log_set_level(LOG_NONE);
    assert_int_equal(n_said, 2);
    assert_non_null(strstr(said, "49 more like this"));
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_beyond_the_limit_are_ended),
        cmocka_unit_test(a_loops_share_of_the_files_is_left_for_connections),
        cmocka_unit_test(a_first_frame_is_small_and_later_ones_need_not_be),
        cmocka_unit_test(who_says_nothing_whole_in_time_is_ended),
        cmocka_unit_test(a_frame_waits_until_there_is_room_for_it),
        cmocka_unit_test(while_answers_fill_the_room_nobody_is_read_from),
        cmocka_unit_test(who_stands_still_while_others_wait_is_ended),
        cmocka_unit_test(a_byte_now_and_then_is_not_to_get_on),
        cmocka_unit_test(who_gets_on_is_waited_for),
        cmocka_unit_test(many_that_are_slow_leave_room_for_others),
        cmocka_unit_test(a_small_frame_does_not_wait_behind_a_large_one),
        cmocka_unit_test(the_log_says_from_where_and_not_too_often),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
