#include "feed.h"

#include <malloc.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/mem.h"
#include "wire/run.h"
#include "wire/wire.h"

/* How a frame is sent, by bits. */
enum {
    HOW_CHECKSUM = 1,
    HOW_WRONG_CHECKSUM = 2,
    HOW_ANSWER = 4,
    HOW_LONG = 8, /* says more bytes than come */
    HOW_PIECE = 4 /* shift: the pieces' size, as a power of 4; 0: at once */
};

/* Of clang's and gcc's sanitizers, which do not fill in mallinfo. */
extern size_t __sanitizer_get_current_allocated_bytes(void)
    __attribute__((weak));

size_t heap_bytes(void)
{
    struct mallinfo2 info;

    if (__sanitizer_get_current_allocated_bytes != NULL) {
        return __sanitizer_get_current_allocated_bytes();
    }
    info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

uint8_t feed_u8(struct feed *f)
{
    if (f->left == 0) {
        return 0;
    }
    f->left--;
    return *f->data++;
}

uint64_t feed_number(struct feed *f)
{
    static const uint64_t edges[] = {
        UINT64_MAX, (uint64_t)1 << 63, UINT32_MAX, 65536, 256, 257};
    uint8_t b = feed_u8(f);

    return b < 256 - ARRAY_LEN(edges) ? b : edges[255 - b];
}

const uint8_t *feed_bytes(struct feed *f, size_t *size)
{
    const uint8_t *data;
    size_t n = feed_u8(f);

    n += (size_t)feed_u8(f) << 8;
    *size = base_min_u64(n, f->left);
    data = f->data;
    f->data += *size;
    f->left -= *size;
    return data;
}

static struct peers *peers_of(struct net *net)
{
    return CONTAINER_OF(net, struct peers, net);
}

static int decode_answer(const struct frame_header *h, struct frame *f)
{
    const uint8_t *body = frame_body(f);
    struct arena arena;
    struct run_answer *run;
    uint32_t n;
    union {
        struct wire_text text;
        struct wire_hello_answer hello;
        struct wire_resolve_answer resolve;
        struct wire_declare_answer declare;
        struct wire_status_answer status;
    } m;
    size_t size = f->body_bytes;
    int rc = size == 0 ? PS_OK : PS_EPROTOCOL;

    arena_init(&arena);
    if (size > 0 && wire_text_decode(body, size, &arena, &m.text) == PS_OK &&
        (h->status != PS_OK || h->type == WIRE_DROP ||
         h->type == WIRE_STATUS)) {
        rc = PS_OK; /* a scheduler's status is a sentence */
    } else if (h->status == PS_OK && h->type == WIRE_HELLO) {
        rc = wire_hello_answer_decode(body, size, &arena, &m.hello);
    } else if (h->status == PS_OK && h->type == WIRE_RUN) {
        rc = run_answer_decode(body, size, &arena, &run, &n);
    } else if (h->status == PS_OK && h->type == WIRE_RESOLVE) {
        rc = wire_resolve_answer_decode(body, size, &arena, &m.resolve);
    } else if (h->status == PS_OK &&
               (h->type == WIRE_DECLARE || h->type == WIRE_DROP)) {
        rc = wire_declare_answer_decode(body, size, &arena, &m.declare);
    } else if (h->status == PS_OK && h->type == WIRE_STATUS) {
        rc = wire_status_answer_decode(body, size, &arena, &m.status);
    }
    arena_fini(&arena);
    return rc;
}

static void net_send(struct net *net, uint64_t connection, struct frame *frame)
{
    struct peers *p = peers_of(net);
    struct frame_header h;

    ASSERT(connection > 0 && connection <= p->opened);
    ASSERT(frame_header_decode(frame->data, &h) == PS_OK);
    ASSERT(h.body_bytes == frame->body_bytes);
    ASSERT((h.flags & FRAME_ANSWER) != 0);
    ASSERT(h.body_checksum == 0 ||
           h.body_checksum == hash_bytes(frame_body(frame), h.body_bytes));
    ASSERT(decode_answer(&h, frame) == PS_OK);
    p->answers++;
    ASSERT(p->answers <= p->asked);
}

static void forget(struct peers *p, size_t i)
{
    p->connections[i] = 0;
    frame_reader_fini(&p->readers[i]);
}

static void net_close(struct net *net, uint64_t connection)
{
    struct peers *p = peers_of(net);

    for (size_t i = 0; i < FEED_PEERS; i++) {
        if (p->connections[i] == connection) {
            forget(p, i);
        }
    }
}

static uint64_t net_connect(struct net *net, const char *address)
{
    (void)net;
    (void)address;
    return 0;
}

static uint64_t net_now_us(struct net *net)
{
    return peers_of(net)->now_us;
}

static uint64_t net_random(struct net *net)
{
    struct peers *p = peers_of(net);

    p->random = p->random * 6364136223846793005u + 1442695040888963407u;
    return p->random;
}

void peers_init(struct peers *p, const struct peers_ops *ops)
{
    *p = (struct peers){.net = {.connect = net_connect,
                                .send = net_send,
                                .close = net_close,
                                .now_us = net_now_us,
                                .random = net_random},
                        .ops = ops,
                        .now_us = 1000000,
                        .random = 42};
}

static void cut(struct peers *p, size_t i)
{
    uint64_t connection = p->connections[i];

    if (connection != 0) {
        forget(p, i);
        p->ops->on_close(connection);
    }
}

void peers_cut(struct peers *p, struct feed *f)
{
    cut(p, feed_u8(f) % FEED_PEERS);
}

void peers_cut_all(struct peers *p)
{
    for (size_t i = 0; i < FEED_PEERS; i++) {
        cut(p, i);
    }
}

void peers_fini(struct peers *p)
{
    peers_cut_all(p);
}

/* Gives the machine the frame that is whole. */
static void hand_in(struct peers *p, size_t i)
{
    struct frame_header h = p->readers[i].header;
    struct frame *frame = frame_reader_take(&p->readers[i]);

    p->asked++;
    p->ops->on_frame(p->connections[i], &h, frame);
    frame_put(frame);
}

/* Bytes come on connection i, until the machine or the reader ends it. */
static void receive(struct peers *p, size_t i, const uint8_t *data, size_t size,
                    size_t piece)
{
    size_t at = 0;

    if (p->connections[i] == 0) {
        p->opened++;
        p->connections[i] = p->opened;
        frame_reader_init(&p->readers[i]);
        p->ops->on_open(p->opened);
    }
    while (at < size && p->connections[i] != 0) {
        size_t room;
        uint8_t *to = frame_reader_want(&p->readers[i], &room);
        size_t n = base_min_u64(room, base_min_u64(piece, size - at));
        int rc;

        ASSERT(to != NULL && n > 0);
        memcpy(to, data + at, n);
        at += n;
        rc = frame_reader_got(&p->readers[i], n);
        if (rc == 1) {
            hand_in(p, i);
        } else if (rc != PS_OK) {
            cut(p, i);
        }
    }
}

void peers_raw(struct peers *p, struct feed *f)
{
    size_t i = feed_u8(f) % FEED_PEERS;
    size_t size;
    const uint8_t *data = feed_bytes(f, &size);

    receive(p, i, data, size, SIZE_MAX);
}

void peers_frame(struct peers *p, struct feed *f)
{
    size_t i = feed_u8(f) % FEED_PEERS;
    struct frame_header h = {.type = feed_u8(f)};
    uint8_t how = feed_u8(f);
    size_t piece =
        how >> HOW_PIECE == 0 ? SIZE_MAX : (size_t)1 << (how >> HOW_PIECE);
    const uint8_t *data;
    uint8_t *bytes;
    size_t size;

    h.session = feed_number(f);
    h.lane = feed_number(f);
    h.seq = feed_number(f);
    h.first = feed_number(f);
    h.plan = feed_number(f);
    h.cut = 1;
    h.request = p->asked + 1;
    h.flags = (how & HOW_ANSWER) != 0 ? FRAME_ANSWER : 0;
    data = feed_bytes(f, &size);
    bytes = mem_new(FRAME_HEADER_BYTES + size);
    memcpy(bytes + FRAME_HEADER_BYTES, data, size);
    if (p->ops->patch != NULL) {
        p->ops->patch(h.type, bytes + FRAME_HEADER_BYTES, size);
    }
    h.body_bytes = (uint32_t)size;
    if ((how & HOW_LONG) != 0) {
        h.body_bytes += (uint32_t)size << 11;
    }
    if ((how & (HOW_CHECKSUM | HOW_WRONG_CHECKSUM)) != 0) {
        h.body_checksum = hash_bytes(bytes + FRAME_HEADER_BYTES, size);
        h.body_checksum += (how & HOW_WRONG_CHECKSUM) != 0;
    }
    frame_header_encode(&h, bytes);
    receive(p, i, bytes, FRAME_HEADER_BYTES + size, piece);
    mem_free(bytes);
}
