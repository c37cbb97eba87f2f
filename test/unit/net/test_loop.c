/* test_loop.c - the loop over real sockets of this host. */
#include "net/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/mem.h"

enum { CONNECTIONS_MAX = 64, TIMES_MAX = 16, SENDERS = 4, MAILS = 1000 };

/* What the handlers of a test see and do. */
struct fixture {
    struct loop *loop;
    struct net *net;
    uint16_t port;
    uint64_t opened[CONNECTIONS_MAX];
    uint32_t n_opened;
    uint64_t closed[CONNECTIONS_MAX];
    uint32_t n_closed;
    uint32_t n_frames;
    uint64_t frame_bytes;
    bool is_in_call; /* a call of struct net is under way */
    bool called_back_in_call;

    uint64_t client; /* our own connection to ourselves; others are accepted */
    const size_t *sizes;
    uint32_t n_sizes;
    uint32_t n_right;
    struct frame *answer; /* sent for each frame instead of an echo */

    uint64_t times[TIMES_MAX]; /* rising; those before n_done have come */
    uint32_t n_times;
    uint32_t n_done;
    uint64_t came[TIMES_MAX];

    uint32_t last_mail[SENDERS];
    uint32_t n_mails;
    bool mail_out_of_order;

    uint64_t deadline;
    bool (*is_enough)(const struct fixture *f);
};

struct numbered_mail {
    struct loop_mail mail;
    uint32_t sender;
    uint32_t number;
};

static void look(struct fixture *f)
{
    if (f->is_enough(f) || loop_now() >= f->deadline) {
        loop_quit(f->loop);
    }
}

static void on_open(void *context, uint64_t connection)
{
    struct fixture *f = context;

    f->called_back_in_call |= f->is_in_call;
    f->opened[f->n_opened++ % CONNECTIONS_MAX] = connection;
    look(f);
}

static void on_close(void *context, uint64_t connection)
{
    struct fixture *f = context;

    f->called_back_in_call |= f->is_in_call;
    f->closed[f->n_closed++ % CONNECTIONS_MAX] = connection;
    look(f);
}

static uint8_t expected_byte(size_t frame, size_t i)
{
    return (uint8_t)(i * 7 + i / 251 + frame);
}

/* Did frame i of the echo come back whole? */
static bool is_right(const struct fixture *f, uint32_t i,
                     const struct frame_header *h, struct frame *frame)
{
    const uint8_t *body = frame_body(frame);

    if (h->request != 1000u + i || h->body_bytes != f->sizes[i] ||
        frame->body_bytes != f->sizes[i]) {
        return false;
    }
    for (size_t k = 0; k < frame->body_bytes; k++) {
        if (body[k] != expected_byte(i, k)) {
            return false;
        }
    }
    return true;
}

static void on_frame(void *context, uint64_t connection,
                     const struct frame_header *header, struct frame *frame)
{
    struct fixture *f = context;

    f->called_back_in_call |= f->is_in_call;
    if (connection != f->client) {
        f->n_frames++;
        f->frame_bytes += frame_bytes(frame);
        f->net->send(f->net, connection, f->answer == NULL ? frame : f->answer);
    } else if (f->sizes != NULL) {
        f->n_right += is_right(f, f->n_right, header, frame);
    }
    look(f);
}

static uint64_t next_us(void *context)
{
    struct fixture *f = context;
    uint64_t next = f->n_done < f->n_times ? f->times[f->n_done] : UINT64_MAX;

    return base_min_u64(next, f->deadline);
}

static void on_tick(void *context)
{
    struct fixture *f = context;

    if (f->n_done < f->n_times) {
        f->came[f->n_done++] = loop_now();
    }
    look(f);
}

static void on_mail(void *context, struct loop_mail *mail)
{
    struct fixture *f = context;
    struct numbered_mail *m = CONTAINER_OF(mail, struct numbered_mail, mail);

    f->mail_out_of_order |= m->number != f->last_mail[m->sender] + 1;
    f->last_mail[m->sender] = m->number;
    f->n_mails++;
    look(f);
}

static const struct loop_handler handler = {
    .on_open = on_open,
    .on_frame = on_frame,
    .on_close = on_close,
    .on_tick = on_tick,
    .next_us = next_us,
    .on_mail = on_mail,
};

static void set_up(struct fixture *f)
{
    struct loop_options options = {.handler = &handler, .context = f};
    struct err e = {0};

    memset(f, 0, sizeof(*f));
    assert_int_equal(loop_new(&f->loop, &options, &e), PS_OK);
    f->net = loop_net(f->loop);
    assert_int_equal(loop_listen(f->loop, "127.0.0.1", 0, &f->port, &e), PS_OK);
    assert_int_not_equal(f->port, 0);
    f->deadline = UINT64_MAX;
}

/* Turns until it is enough: as a driver does, who has a lock to let go of. */
static void drive_until(struct fixture *f,
                        bool (*is_enough)(const struct fixture *f))
{
    f->is_enough = is_enough;
    f->deadline = loop_now() + 20000000;
    while (!is_enough(f) && loop_now() < f->deadline) {
        loop_turn(f->loop);
        if (!is_enough(f)) {
            loop_pause(f->loop, loop_next(f->loop));
        }
    }
    assert_true(is_enough(f));
    assert_false(f->called_back_in_call);
}

static void run_until(struct fixture *f,
                      bool (*is_enough)(const struct fixture *f))
{
    f->is_enough = is_enough;
    f->deadline = loop_now() + 20000000;
    loop_run(f->loop);
    assert_true(is_enough(f));
    assert_false(f->called_back_in_call);
}

static void tear_down(struct fixture *f)
{
    loop_stop(f->loop);
    loop_free(f->loop);
}

static uint64_t connect_to_self(struct fixture *f, const char *host)
{
    char address[64];
    uint64_t connection;

    snprintf(address, sizeof(address), "%s:%u", host, (unsigned)f->port);
    f->is_in_call = true;
    connection = f->net->connect(f->net, address);
    f->is_in_call = false;
    return connection;
}

static const size_t sizes[] = {0,     8,     0,     96,       4000, 16288,
                               16384, 16392, 65536, 33554432, 0,    8};

static bool all_came_back(const struct fixture *f)
{
    return f->n_right == f->n_sizes;
}

static void frames_of_many_sizes_come_back_whole_and_in_order(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f);
    f.sizes = sizes;
    f.n_sizes = ARRAY_LEN(sizes);
    f.client = connect_to_self(&f, "127.0.0.1");
    assert_int_not_equal(f.client, 0);
    /* Before the connection is open: they wait for it. */
    for (uint32_t i = 0; i < f.n_sizes; i++) {
        struct frame *frame = frame_new(sizes[i]);
        struct frame_header h = {.type = 3, .request = 1000u + i};

        assert_non_null(frame);
        for (size_t k = 0; k < sizes[i]; k++) {
            frame_body(frame)[k] = expected_byte(i, k);
        }
        frame_seal(frame, &h);
        f.is_in_call = true;
        f.net->send(f.net, f.client, frame);
        f.is_in_call = false;
        frame_put(frame);
    }
    run_until(&f, all_came_back);
    assert_int_equal(f.n_opened, 2);
    assert_int_equal(f.n_closed, 0);
    tear_down(&f);
}

struct raw {
    uint16_t port;
    int rc; /* what the thread found; the test's thread checks it */
    uint64_t bytes;
    atomic_bool may_read;
};

static int connect_raw(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool read_all(int fd, uint8_t *data, size_t n)
{
    while (n > 0) {
        ssize_t got = read(fd, data, n);

        if (got <= 0) {
            return false;
        }
        data += got;
        n -= (size_t)got;
    }
    return true;
}

static struct frame *small_frame(size_t body_bytes)
{
    struct frame *frame = frame_new(body_bytes);
    struct frame_header h = {.type = 3, .request = 5};

    if (frame != NULL) {
        memset(frame_body(frame), 0x5a, body_bytes);
        frame_seal(frame, &h);
    }
    return frame;
}

static void *write_by_the_byte(void *argument)
{
    struct raw *raw = argument;
    struct frame *frame = small_frame(200);
    uint8_t back[FRAME_HEADER_BYTES + 200];
    int fd = connect_raw(raw->port);

    raw->rc = -1;
    for (size_t i = 0; i < frame_bytes(frame); i++) {
        if (write(fd, frame->data + i, 1) != 1) {
            break;
        }
        usleep(20);
    }
    if (read_all(fd, back, sizeof(back)) &&
        memcmp(back, frame->data, sizeof(back)) == 0) {
        raw->rc = 0;
    }
    close(fd);
    frame_put(frame);
    return NULL;
}

static bool one_has_closed(const struct fixture *f)
{
    return f->n_closed == 1;
}

static void a_frame_that_comes_byte_by_byte_is_one_frame(void **state)
{
    struct fixture f;
    struct raw raw = {0};
    pthread_t thread;

    (void)state;
    set_up(&f);
    raw.port = f.port;
    pthread_create(&thread, NULL, write_by_the_byte, &raw);
    run_until(&f, one_has_closed);
    pthread_join(thread, NULL);
    assert_int_equal(raw.rc, 0);
    assert_int_equal(f.n_frames, 1);
    tear_down(&f);
}

static void *write_garbage(void *argument)
{
    struct raw *raw = argument;
    uint8_t garbage[FRAME_HEADER_BYTES];
    uint8_t byte;
    int fd = connect_raw(raw->port);

    memset(garbage, 'x', sizeof(garbage));
    raw->rc = -1;
    if (write(fd, garbage, sizeof(garbage)) == (ssize_t)sizeof(garbage) &&
        read(fd, &byte, 1) <= 0) {
        raw->rc = 0;
    }
    close(fd);
    return NULL;
}

static void garbage_ends_the_connection_and_nothing_else(void **state)
{
    struct fixture f;
    struct raw raw = {0};
    pthread_t thread;

    (void)state;
    set_up(&f);
    raw.port = f.port;
    log_set_level(LOG_NONE);
    pthread_create(&thread, NULL, write_garbage, &raw);
    run_until(&f, one_has_closed);
    pthread_join(thread, NULL);
    log_set_level(LOG_INFO);
    assert_int_equal(raw.rc, 0);
    assert_int_equal(f.n_frames, 0);
    assert_int_equal(f.closed[0], f.opened[0]);
    tear_down(&f);
}

/* 64 requests whose answers are 8 MiB each: 512 MiB, where 128 may wait. */
enum { GREEDY = 64, GREEDY_BODY = 8 << 20 };

static void *ask_without_reading(void *argument)
{
    struct raw *raw = argument;
    struct frame *frame = small_frame(65536);
    uint8_t *back = mem_new(FRAME_HEADER_BYTES + GREEDY_BODY);
    int fd = connect_raw(raw->port);
    size_t done = 0;
    size_t total = GREEDY * frame_bytes(frame);

    raw->rc = -1;
    while (done < total) {
        size_t at = done % frame_bytes(frame);
        ssize_t n = send(fd, frame->data + at, frame_bytes(frame) - at,
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n > 0) {
            done += (size_t)n;
        } else if (!atomic_load(&raw->may_read)) {
            usleep(1000);
        } else if (read_all(fd, back, FRAME_HEADER_BYTES + GREEDY_BODY)) {
            raw->bytes += FRAME_HEADER_BYTES + GREEDY_BODY;
        } else {
            break;
        }
    }
    while (!atomic_load(&raw->may_read)) {
        usleep(1000);
    }
    while (raw->bytes < (uint64_t)GREEDY * (FRAME_HEADER_BYTES + GREEDY_BODY) &&
           read_all(fd, back, FRAME_HEADER_BYTES + GREEDY_BODY)) {
        raw->bytes += FRAME_HEADER_BYTES + GREEDY_BODY;
    }
    raw->rc = done == total ? 0 : -1;
    close(fd);
    mem_free(back);
    frame_put(frame);
    return NULL;
}

static bool a_while_has_passed(const struct fixture *f)
{
    return f->n_done == f->n_times;
}

static void a_peer_that_does_not_read_is_not_read_from(void **state)
{
    struct fixture f;
    struct raw raw = {0};
    pthread_t thread;

    (void)state;
    set_up(&f);
    raw.port = f.port;
    f.answer = small_frame(GREEDY_BODY);
    pthread_create(&thread, NULL, ask_without_reading, &raw);
    f.times[0] = loop_now() + 500000;
    f.n_times = 1;
    f.is_enough = a_while_has_passed;
    loop_run(f.loop);
    /* An eighth of what is left of 1 GiB may wait: 15 answers of 8 MiB pass
     * that (120 > (1024 - 120) / 8); a few are in the kernel's hands. */
    assert_in_range(f.n_frames, 15, 19);
    atomic_store(&raw.may_read, true);
    drive_until(&f, one_has_closed);
    pthread_join(thread, NULL);
    assert_int_equal(raw.rc, 0);
    assert_int_equal(f.n_frames, GREEDY);
    assert_int_equal(raw.bytes,
                     (uint64_t)GREEDY * (FRAME_HEADER_BYTES + GREEDY_BODY));
    frame_put(f.answer);
    tear_down(&f);
}

static bool two_are_open(const struct fixture *f)
{
    return f->n_opened == 2;
}

static void a_name_is_looked_up(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f);
    f.client = connect_to_self(&f, "localhost");
    assert_int_not_equal(f.client, 0);
    run_until(&f, two_are_open);
    tear_down(&f);
}

static void a_connect_that_fails_ends_in_one_close(void **state)
{
    struct fixture f;
    uint16_t free_port;

    (void)state;
    set_up(&f);
    free_port = f.port;
    tear_down(&f);
    set_up(&f); /* another port: nobody listens on the first any more */
    assert_int_not_equal(f.port, free_port);
    f.port = free_port;
    f.client = connect_to_self(&f, "127.0.0.1");
    assert_int_not_equal(f.client, 0);
    run_until(&f, one_has_closed);
    assert_int_equal(f.closed[0], f.client);
    assert_int_equal(f.n_opened, 0);
    assert_int_equal(f.net->connect(f.net, "no port here"), 0);
    assert_int_equal(f.net->connect(f.net, "127.0.0.1:0"), 0);
    assert_int_equal(f.net->connect(f.net, "127.0.0.1:65536"), 0);
    assert_int_equal(f.net->connect(f.net, "::1:80"), 0);
    tear_down(&f);
}

static void nothing_is_heard_of_what_was_closed(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f);
    f.client = connect_to_self(&f, "127.0.0.1");
    f.net->close(f.net, f.client);
    f.times[0] = loop_now() + 50000;
    f.n_times = 1;
    run_until(&f, a_while_has_passed);
    for (uint32_t i = 0; i < f.n_opened; i++) {
        assert_int_not_equal(f.opened[i], f.client);
    }
    for (uint32_t i = 0; i < f.n_closed; i++) {
        assert_int_not_equal(f.closed[i], f.client);
    }
    tear_down(&f);
}

static void the_timer_comes_in_order_and_never_early(void **state)
{
    static const uint64_t after_ms[] = {1, 2, 3, 10, 30, 31, 60};
    struct fixture f;
    uint64_t start = loop_now();

    (void)state;
    set_up(&f);
    f.n_times = ARRAY_LEN(after_ms);
    for (uint32_t i = 0; i < f.n_times; i++) {
        f.times[i] = start + after_ms[i] * 1000;
    }
    run_until(&f, a_while_has_passed);
    for (uint32_t i = 0; i < f.n_times; i++) {
        assert_true(f.came[i] >= f.times[i]);
        assert_true(f.came[i] < f.times[i] + 2000000);
    }
    tear_down(&f);
}

static void an_idle_loop_sleeps(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f);
    f.times[0] = loop_now() + 1000000;
    f.n_times = 1;
    run_until(&f, a_while_has_passed);
    assert_in_range(loop_turns(f.loop), 1, 4);
    tear_down(&f);
}

enum { WORKS = 200 };

struct worker {
    struct loop *loop;
    uint32_t n;
    int64_t sleeps[2]; /* of the thread, at the first turn and the last */
};

static uint64_t work_next(void *context)
{
    const struct worker *w = context;

    return w->n < WORKS ? LOOP_BUSY : UINT64_MAX;
}

static void work_tick(void *context)
{
    struct worker *w = context;
    struct rusage used;

    assert_int_equal(getrusage(RUSAGE_THREAD, &used), 0);
    w->sleeps[w->n > 0] = used.ru_nvcsw;
    w->n++;
    if (w->n == WORKS) {
        loop_quit(w->loop);
    }
}

static void who_has_work_is_called_without_a_sleep_between(void **state)
{
    static const struct loop_handler working = {.on_tick = work_tick,
                                                .next_us = work_next};
    struct worker w = {.n = 0};
    const struct loop_options options = {.handler = &working, .context = &w};
    struct err e;

    (void)state;
    assert_int_equal(loop_new(&w.loop, &options, &e), PS_OK);
    loop_run(w.loop);
    assert_int_equal(w.n, WORKS);
    assert_true(w.sleeps[1] - w.sleeps[0] < WORKS / 4);
    loop_stop(w.loop);
    loop_free(w.loop);
}

struct sender {
    struct loop *loop;
    uint32_t number;
};

static void *post_mails(void *argument)
{
    struct sender *s = argument;

    for (uint32_t i = 1; i <= MAILS; i++) {
        struct numbered_mail *m = mem_new(sizeof(*m));

        m->sender = s->number;
        m->number = i;
        loop_post(s->loop, &m->mail);
    }
    return NULL;
}

static bool all_mail_came(const struct fixture *f)
{
    return f->n_mails == SENDERS * MAILS;
}

static void mail_of_four_threads_comes_all_and_in_order(void **state)
{
    struct fixture f;
    pthread_t threads[SENDERS];
    struct sender senders[SENDERS];

    (void)state;
    set_up(&f);
    for (uint32_t i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.loop = f.loop, .number = i};
        pthread_create(&threads[i], NULL, post_mails, &senders[i]);
    }
    run_until(&f, all_mail_came);
    for (uint32_t i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_false(f.mail_out_of_order);
    tear_down(&f);
}

struct counted_job {
    struct loop_job job;
    struct fixture *f;
    pthread_t worked_on;
    pthread_t done_on;
};

static void work(struct loop_job *job)
{
    CONTAINER_OF(job, struct counted_job, job)->worked_on = pthread_self();
}

static void work_done(struct loop_job *job)
{
    struct counted_job *c = CONTAINER_OF(job, struct counted_job, job);

    c->done_on = pthread_self();
    c->f->n_mails++;
    look(c->f);
}

static bool a_job_is_done(const struct fixture *f)
{
    return f->n_mails == 1;
}

static void a_job_works_elsewhere_and_is_done_here(void **state)
{
    struct fixture f;
    struct counted_job c = {.job = {.work = work, .done = work_done}};

    (void)state;
    set_up(&f);
    c.f = &f;
    assert_int_equal(loop_work(f.loop, &c.job), PS_OK);
    run_until(&f, a_job_is_done);
    assert_false(pthread_equal(c.worked_on, pthread_self()));
    assert_true(pthread_equal(c.done_on, pthread_self()));
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_of_many_sizes_come_back_whole_and_in_order),
        cmocka_unit_test(a_frame_that_comes_byte_by_byte_is_one_frame),
        cmocka_unit_test(garbage_ends_the_connection_and_nothing_else),
        cmocka_unit_test(a_peer_that_does_not_read_is_not_read_from),
        cmocka_unit_test(a_name_is_looked_up),
        cmocka_unit_test(a_connect_that_fails_ends_in_one_close),
        cmocka_unit_test(nothing_is_heard_of_what_was_closed),
        cmocka_unit_test(the_timer_comes_in_order_and_never_early),
        cmocka_unit_test(who_has_work_is_called_without_a_sleep_between),
        cmocka_unit_test(an_idle_loop_sleeps),
        cmocka_unit_test(mail_of_four_threads_comes_all_and_in_order),
        cmocka_unit_test(a_job_works_elsewhere_and_is_done_here),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
