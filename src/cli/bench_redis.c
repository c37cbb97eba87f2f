/* bench_redis.c - the same rows in a Redis: MGET and MSET, pipelined.
 *
 * Keys are the 8 bytes of ours, values the row's float32. RESP over a plain
 * socket: commands are put together and answers taken apart as a client has to,
 * and no more, so what is measured is Redis. Answers have a known size, as all
 * keys exist.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/bench.h"
#include "net/address.h"

enum {
    FILL_BATCH = 1000,
    FILL_DEPTH = 16,
    HEAD_BYTES = 32, /* "*20001\r\n$4\r\nMSET\r\n" and the like */
    KEY_BYTES = 14,  /* "$8\r\n", the key, "\r\n" */
    KEYS_MAX = 1 << 20,
    PATIENCE_MS = 60000
};

struct bench_redis {
    int fd;
    uint32_t dim;
    char value_head[16]; /* "$64\r\n" */
    size_t value_head_size;
    uint64_t *keys;
    uint8_t *out; /* commands that are to be sent */
    size_t out_room;
    size_t out_size;
    size_t out_sent;
    uint8_t *in; /* an answer, so far as it has come */
    size_t in_room;
    size_t in_size;
    float *rows;
    size_t rows_room;
};

int bench_redis_open(struct bench_redis **redis, const char *address,
                     struct err *e)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    char host[ADDRESS_HOST_MAX + 1];
    struct bench_redis *r;
    uint16_t port;
    int one = 1;
    int fd;

    if (address_parse(address, host, &port) != PS_OK ||
        inet_pton(AF_INET, host, &at.sin_addr) != 1) {
        return err_set(e, PS_EARGUMENT,
                       "option --redis wants an address such as "
                       "127.0.0.1:6379, not \"%.64s\"",
                       address);
    }
    at.sin_port = htons(port);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)) != 0) {
        err_set(e, PS_EIO, "no Redis at %s: %s", address, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return PS_EIO;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    r = mem_new(sizeof(*r));
    *r = (struct bench_redis){.fd = fd};
    r->keys = mem_new(KEYS_MAX * sizeof(*r->keys));
    *redis = r;
    return PS_OK;
}

void bench_redis_close(struct bench_redis *r)
{
    if (r == NULL) {
        return;
    }
    close(r->fd);
    mem_free(r->keys);
    mem_free(r->out);
    mem_free(r->in);
    mem_free(r->rows);
    mem_free(r);
}

static size_t value_bytes(const struct bench_redis *r)
{
    return r->dim * sizeof(float);
}

static size_t pair_bytes(const struct bench_redis *r)
{
    return r->value_head_size + value_bytes(r) + 2;
}

/* Buffers for batches of n keys, `depth` under way. */
static void take_buffers(struct bench_redis *r, size_t n, size_t depth)
{
    size_t command = HEAD_BYTES + n * (KEY_BYTES + pair_bytes(r));
    size_t room = command * depth;

    if (r->out_room < room) {
        mem_free(r->out);
        r->out = mem_new(room);
        r->out_room = room;
    }
    if (r->in_room < room) {
        mem_free(r->in);
        r->in = mem_new(room);
        r->in_room = room;
    }
    if (r->rows_room < n * r->dim) {
        mem_free(r->rows);
        r->rows = mem_new(n * value_bytes(r));
        r->rows_room = n * r->dim;
    }
    memset(r->rows, 0, n * value_bytes(r));
    r->out_size = 0;
    r->out_sent = 0;
    r->in_size = 0;
}

static void put(struct bench_redis *r, const void *data, size_t n)
{
    memcpy(r->out + r->out_size, data, n);
    r->out_size += n;
}

static void add_command(struct bench_redis *r, bool is_pull,
                        const uint64_t *keys, size_t n)
{
    char head[HEAD_BYTES];
    int size = snprintf(head, sizeof(head), "*%zu\r\n$4\r\n%s\r\n",
                        (is_pull ? n : 2 * n) + 1, is_pull ? "MGET" : "MSET");

    if (r->out_sent > 0) {
        r->out_size -= r->out_sent;
        memmove(r->out, r->out + r->out_sent, r->out_size);
        r->out_sent = 0;
    }
    put(r, head, (size_t)size);
    for (size_t i = 0; i < n; i++) {
        put(r, "$8\r\n", 4);
        put(r, &keys[i], 8);
        put(r, "\r\n", 2);
        if (!is_pull) {
            put(r, r->value_head, r->value_head_size);
            put(r, r->rows + i * r->dim, value_bytes(r));
            put(r, "\r\n", 2);
        }
    }
}

/* Sends what is to be sent and waits for the next bytes. */
static int exchange(struct bench_redis *r, struct err *e)
{
    struct pollfd fd = {.fd = r->fd, .events = POLLIN};
    ssize_t n;

    if (r->out_sent < r->out_size) {
        fd.events = POLLIN | POLLOUT;
    }
    if (poll(&fd, 1, PATIENCE_MS) <= 0) {
        return err_set(e, PS_ETIMEOUT, "Redis does not answer");
    }
    if ((fd.revents & POLLOUT) != 0) {
        n = send(r->fd, r->out + r->out_sent, r->out_size - r->out_sent,
                 MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            r->out_sent += (size_t)n;
        }
    }
    if ((fd.revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
        n = recv(r->fd, r->in + r->in_size, r->in_room - r->in_size,
                 MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            return err_set(e, PS_EIO, "Redis has hung up");
        }
        r->in_size += n > 0 ? (size_t)n : 0;
    }
    return PS_OK;
}

/* Takes one whole answer off the front, if it is there. */
static int take_answer(struct bench_redis *r, bool is_pull, size_t n,
                       bool *is_there, struct err *e)
{
    char head[HEAD_BYTES];
    size_t head_size = 5; /* "+OK\r\n" */
    size_t whole = 5;

    *is_there = false;
    if (is_pull) {
        head_size = (size_t)snprintf(head, sizeof(head), "*%zu\r\n", n);
        whole = head_size + n * pair_bytes(r);
    }
    if (r->in_size > 0 && r->in[0] != (is_pull ? '*' : '+')) {
        return err_set(e, PS_EPROTOCOL, "Redis says: %.*s",
                       (int)base_min_u64(r->in_size, 100), (char *)r->in);
    }
    if (r->in_size < whole) {
        return PS_OK;
    }
    for (size_t i = 0; is_pull && i < n; i++) {
        const uint8_t *at = r->in + head_size + i * pair_bytes(r);

        if (memcmp(at, r->value_head, r->value_head_size) != 0) {
            return err_set(e, PS_EPROTOCOL, "Redis lacks a row");
        }
        memcpy(r->rows + i * r->dim, at + r->value_head_size, value_bytes(r));
    }
    r->in_size -= whole;
    memmove(r->in, r->in + whole, r->in_size);
    *is_there = true;
    return PS_OK;
}

static int run(struct bench_redis *r, bool is_pull, const uint64_t *keys,
               size_t batch, size_t n_batches, size_t depth, struct err *e)
{
    size_t sent = 0;
    size_t done = 0;
    int rc = PS_OK;

    while (done < n_batches && rc == PS_OK) {
        bool is_there = false;

        if (sent < n_batches && sent - done < depth) {
            add_command(r, is_pull, keys + sent * batch, batch);
            sent++;
            continue;
        }
        rc = exchange(r, e);
        do {
            if (rc == PS_OK) {
                rc = take_answer(r, is_pull, batch, &is_there, e);
            }
            done += rc == PS_OK && is_there;
        } while (rc == PS_OK && is_there && done < sent);
    }
    return rc;
}

static int empty(struct bench_redis *r, struct err *e)
{
    static const char command[] = "*1\r\n$8\r\nFLUSHALL\r\n";
    bool is_there = false;
    int rc = PS_OK;

    take_buffers(r, FILL_BATCH, 1);
    put(r, command, sizeof(command) - 1);
    while (rc == PS_OK && !is_there) {
        rc = exchange(r, e);
        if (rc == PS_OK) {
            rc = take_answer(r, false, 0, &is_there, e);
        }
    }
    return rc;
}

int bench_redis_fill(struct bench_redis *r, uint32_t dim, uint64_t n_rows,
                     struct bench_fill *fill, struct err *e)
{
    size_t some = KEYS_MAX / FILL_BATCH * FILL_BATCH;
    double ns = 0;
    int rc;

    r->dim = dim;
    r->value_head_size = (size_t)snprintf(r->value_head, sizeof(r->value_head),
                                          "$%zu\r\n", value_bytes(r));
    rc = empty(r, e);
    take_buffers(r, FILL_BATCH, FILL_DEPTH);
    /* The last batch is whole: keys beyond n_rows do no harm. */
    for (uint64_t at = 0; at < n_rows && rc == PS_OK; at += some) {
        size_t n = (size_t)base_min_u64(some, (n_rows - at + FILL_BATCH - 1) /
                                                  FILL_BATCH * FILL_BATCH);
        double start;

        for (size_t i = 0; i < n; i++) {
            r->keys[i] = bench_key(at + i);
        }
        start = bench_now_ns();
        rc = run(r, false, r->keys, FILL_BATCH, n / FILL_BATCH, FILL_DEPTH, e);
        ns += bench_now_ns() - start;
    }
    fill->ns = ns / (double)n_rows;
    fill->call = FILL_BATCH;
    return rc;
}

int bench_redis_run(struct bench_redis *r, struct bench_cell *cell,
                    struct bench_draw *draw, double seconds,
                    struct bench_sample *s, struct err *e)
{
    size_t n_batches = cell->depth + 2;
    double wanted = 0;
    double start;
    int rc;

    if (cell->seen > 0) {
        wanted = seconds * 1e9 / cell->seen / (double)cell->batch;
    }
    if (wanted > (double)n_batches) {
        n_batches = (size_t)wanted;
    }
    n_batches = (size_t)base_min_u64(n_batches, KEYS_MAX / cell->batch);
    for (size_t i = 0; i < n_batches * cell->batch; i++) {
        r->keys[i] = bench_key(bench_draw(draw));
    }
    take_buffers(r, cell->batch, cell->depth);
    start = bench_now_ns();
    rc = run(r, cell->what == BENCH_PULL, r->keys, cell->batch, n_batches,
             cell->depth, e);
    s->ns = (bench_now_ns() - start) / (double)(n_batches * cell->batch);
    cell->seen = s->ns;
    return rc;
}
