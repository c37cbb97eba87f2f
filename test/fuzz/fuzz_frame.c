/* fuzz_frame.c - the reader of a byte stream, fed in pieces.
 *
 * The first byte says whether headers are put right before they are fed (no
 * fuzzer finds a checksum) and the second how large the pieces are; the rest is
 * the stream. Each frame that comes out must be what lies in the stream where
 * it begins.
 */
#include "net/frame.h"

#include "base/hash.h"
#include "base/mem.h"

enum { BODY_BYTES_MOST = 700 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Makes each header whole, with a body that the stream may have, and the
 * body's checksum right or absent. */
static void put_right(uint8_t *stream, size_t size)
{
    size_t at = 0;

    while (size - at >= FRAME_HEADER_BYTES) {
        static const uint32_t magic = FRAME_MAGIC;
        static const uint32_t reserved = 0;
        uint8_t *h = stream + at;
        uint32_t body_bytes;
        uint64_t sum = 0;

        memcpy(&body_bytes, h + 8, 4);
        body_bytes %= BODY_BYTES_MOST;
        memcpy(h, &magic, 4);
        memcpy(h + 8, &body_bytes, 4);
        memcpy(h + 84, &reserved, 4);
        if (h[72] % 2 == 0 && body_bytes <= size - at - FRAME_HEADER_BYTES) {
            sum = hash_bytes(h + FRAME_HEADER_BYTES, body_bytes);
        }
        memcpy(h + 72, &sum, 8);
        sum = hash_bytes(h, FRAME_HEADER_BYTES - 8);
        memcpy(h + FRAME_HEADER_BYTES - 8, &sum, 8);
        at += FRAME_HEADER_BYTES;
        at += base_min_u64(body_bytes, size - at);
    }
}

/* Checks the frame that began at `at`; returns where the next begins. */
static size_t check_frame(struct frame_reader *r, const uint8_t *stream,
                          size_t at)
{
    uint8_t again[FRAME_HEADER_BYTES];
    struct frame_header h = r->header;
    struct frame *f = frame_reader_take(r);
    size_t bytes = frame_bytes(f);

    ASSERT(h.body_bytes == f->body_bytes);
    ASSERT((uintptr_t)frame_body(f) % 8 == 0);
    ASSERT(memcmp(f->data, stream + at, bytes) == 0);
    frame_header_encode(&h, again);
    ASSERT(memcmp(again, stream + at, sizeof(again)) == 0);
    frame_put(f);
    return at + bytes;
}

static void feed(const uint8_t *stream, size_t size, size_t piece)
{
    struct frame_reader r;
    size_t begin = 0;
    size_t at = 0;

    frame_reader_init(&r);
    while (at < size) {
        size_t room;
        uint8_t *to = frame_reader_want(&r, &room);
        size_t n = base_min_u64(room, base_min_u64(piece, size - at));
        int rc;

        ASSERT(to != NULL && room > 0);
        memcpy(to, stream + at, n);
        at += n;
        rc = frame_reader_got(&r, n);
        if (rc == PS_EPROTOCOL) {
            break;
        }
        ASSERT(rc == PS_OK || rc == 1);
        if (rc == 1) {
            begin = check_frame(&r, stream, begin);
            ASSERT(begin == at);
        }
    }
    frame_reader_fini(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *stream;

    if (size < 2) {
        return 0;
    }
    stream = mem_new(size - 2);
    memcpy(stream, data + 2, size - 2);
    if (data[0] % 4 != 0) {
        put_right(stream, size - 2);
    }
    feed(stream, size - 2, (size_t)data[1] + 1);
    mem_free(stream);
    return 0;
}
