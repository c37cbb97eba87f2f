/* frame.h - one message on a byte stream: a fixed header and a body.
 *
 * Header, 96 bytes, little endian:
 *
 *     0  u32 magic "PSP1"          48  u64 first unanswered
 *     4  u16 type                  56  u64 plan
 *     6  u16 flags                 64  u64 cut
 *     8  u32 body bytes            72  u64 XXH3-64 of the body (0: none)
 *    12  u32 job (0)               80  i32 status (answers)
 *    16  u64 request               84  u32 reserved (0)
 *    24  u64 session               88  u64 XXH3-64 of bytes 0..87
 *    32  u64 lane
 *    40  u64 seq
 *
 * The body is padded by its writer to a multiple of 8 bytes, and starts 8-byte
 * aligned in memory. A frame is counted: the client keeps what it may have to
 * send again while the connection still writes it. One thread owns a frame.
 */
#ifndef FRAME_H
#define FRAME_H

#include "base/base.h"
#include "base/limits.h"

enum { FRAME_HEADER_BYTES = 96, FRAME_MAGIC = 0x31505350 };

enum frame_flags {
    FRAME_ANSWER = 1,
    FRAME_REPEAT = 2 /* an answer given from the window, not by applying */
};

struct frame_header {
    uint16_t type;
    uint16_t flags;
    uint32_t body_bytes;
    uint32_t job;
    int32_t status;
    uint64_t request;
    uint64_t session;
    uint64_t lane;
    uint64_t seq;
    uint64_t first;
    uint64_t plan;
    uint64_t cut;
    uint64_t body_checksum;
};

void frame_header_encode(const struct frame_header *h,
                         uint8_t out[FRAME_HEADER_BYTES]);
/* PS_EPROTOCOL: wrong magic or checksum, nonzero reserved bytes, or a body
 * over LIMIT_FRAME_BYTES. */
int frame_header_decode(const uint8_t in[FRAME_HEADER_BYTES],
                        struct frame_header *h) MUST_USE;

struct frame {
    uint32_t refs;
    uint32_t body_bytes;
    _Alignas(16) uint8_t data[]; /* header, then body */
};

/* A frame of one reference with room for a body, neither part cleared; NULL
 * when out of memory or over the limit. */
struct frame *frame_new(size_t body_bytes) MUST_USE;
struct frame *frame_get(struct frame *f);
void frame_put(struct frame *f); /* NULL is allowed */
static inline uint8_t *frame_body(struct frame *f)
{
    return f->data + FRAME_HEADER_BYTES;
}
static inline size_t frame_bytes(const struct frame *f)
{
    return FRAME_HEADER_BYTES + (size_t)f->body_bytes;
}
/* The body_checksum of the body as it is now: 0 of an empty one, which needs
 * none, and of no other. */
uint64_t frame_checksum(const struct frame *f);
/* Writes h (with body_bytes of the frame) into the frame. */
void frame_seal(struct frame *f, const struct frame_header *h);

/* Takes a byte stream apart. A reader asks where the next bytes go
 * (frame_reader_want), is told how many came (frame_reader_got), and says when
 * a frame is whole. So a body is read in place, never copied. */
struct frame_reader {
    struct frame *frame; /* being filled, once the header is known */
    struct frame_header header;
    size_t filled; /* of the header, then of the body */
    uint8_t head[FRAME_HEADER_BYTES];
};

void frame_reader_init(struct frame_reader *r);
void frame_reader_fini(struct frame_reader *r);
/* Where to put the next bytes, and how many fit; NULL when out of memory. */
uint8_t *frame_reader_want(struct frame_reader *r, size_t *room) MUST_USE;
/* PS_OK: more to come. 1: r->header and r->frame are whole, and the body is
 * what its checksum says where it has one; the caller takes the frame with
 * frame_reader_take. PS_EPROTOCOL, or PS_ENOMEM where there is no memory for a
 * frame without a body: end the connection. */
int frame_reader_got(struct frame_reader *r, size_t n) MUST_USE;
struct frame *frame_reader_take(struct frame_reader *r);

#endif
