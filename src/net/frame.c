/* frame.c - headers to bytes and back, frames, and the reader of a stream.
 *
 * Bytes are put together by shifts, so the form does not depend on the host;
 * the compilers make one move of each. A length is believed only once the
 * header's checksum is right and the length is within the limit: only then is
 * memory taken for the body. A body's checksum is looked at here and nowhere
 * else, so nobody sees a body that was changed on its way.
 */
#include "net/frame.h"

#include "base/hash.h"
#include "base/mem.h"

enum { CHECKED_BYTES = FRAME_HEADER_BYTES - 8 };

static void put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static void put_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
}

static void put_u64(uint8_t *p, uint64_t v)
{
    put_u32(p, (uint32_t)v);
    put_u32(p + 4, (uint32_t)(v >> 32));
}

static uint16_t take_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t take_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
           (uint32_t)p[3] << 24;
}

static uint64_t take_u64(const uint8_t *p)
{
    return take_u32(p) | (uint64_t)take_u32(p + 4) << 32;
}

void frame_header_encode(const struct frame_header *h,
                         uint8_t out[FRAME_HEADER_BYTES])
{
    put_u32(out, FRAME_MAGIC);
    put_u16(out + 4, h->type);
    put_u16(out + 6, h->flags);
    put_u32(out + 8, h->body_bytes);
    put_u32(out + 12, h->job);
    put_u64(out + 16, h->request);
    put_u64(out + 24, h->session);
    put_u64(out + 32, h->lane);
    put_u64(out + 40, h->seq);
    put_u64(out + 48, h->first);
    put_u64(out + 56, h->plan);
    put_u64(out + 64, h->cut);
    put_u64(out + 72, h->body_checksum);
    put_u32(out + 80, (uint32_t)h->status);
    put_u32(out + 84, 0);
    put_u64(out + CHECKED_BYTES, hash_bytes(out, CHECKED_BYTES));
}

int frame_header_decode(const uint8_t in[FRAME_HEADER_BYTES],
                        struct frame_header *h)
{
    if (take_u32(in) != FRAME_MAGIC ||
        take_u64(in + CHECKED_BYTES) != hash_bytes(in, CHECKED_BYTES) ||
        take_u32(in + 84) != 0 || take_u32(in + 8) > LIMIT_FRAME_BYTES) {
        return PS_EPROTOCOL;
    }
    *h = (struct frame_header){
        .type = take_u16(in + 4),
        .flags = take_u16(in + 6),
        .body_bytes = take_u32(in + 8),
        .job = take_u32(in + 12),
        .status = (int32_t)take_u32(in + 80),
        .request = take_u64(in + 16),
        .session = take_u64(in + 24),
        .lane = take_u64(in + 32),
        .seq = take_u64(in + 40),
        .first = take_u64(in + 48),
        .plan = take_u64(in + 56),
        .cut = take_u64(in + 64),
        .body_checksum = take_u64(in + 72),
    };
    return PS_OK;
}

struct frame *frame_new(size_t body_bytes)
{
    struct frame *f;

    if (body_bytes > LIMIT_FRAME_BYTES) {
        return NULL;
    }
    /* malloc aligns to 16, as the data must be. */
    f = mem_try(sizeof(*f) + FRAME_HEADER_BYTES + body_bytes);
    if (f == NULL) {
        return NULL;
    }
    f->refs = 1;
    f->body_bytes = (uint32_t)body_bytes;
    return f;
}

struct frame *frame_get(struct frame *f)
{
    ASSERT(f->refs > 0 && f->refs < UINT32_MAX);
    f->refs++;
    return f;
}

void frame_put(struct frame *f)
{
    if (f == NULL) {
        return;
    }
    ASSERT(f->refs > 0);
    if (--f->refs == 0) {
        mem_free(f);
    }
}

/* Never 0, which says that there is none. */
static uint64_t sum_of_body(const struct frame *f)
{
    uint64_t sum = hash_bytes(f->data + FRAME_HEADER_BYTES, f->body_bytes);

    return sum != 0 ? sum : 1;
}

uint64_t frame_checksum(const struct frame *f)
{
    return f->body_bytes == 0 ? 0 : sum_of_body(f);
}

void frame_seal(struct frame *f, const struct frame_header *h)
{
    struct frame_header sealed = *h;

    sealed.body_bytes = f->body_bytes;
    frame_header_encode(&sealed, f->data);
}

void frame_reader_init(struct frame_reader *r)
{
    *r = (struct frame_reader){.frame = NULL};
}

void frame_reader_fini(struct frame_reader *r)
{
    frame_put(r->frame);
    frame_reader_init(r);
}

/* Takes memory for the frame whose header is whole. */
static bool start_frame(struct frame_reader *r)
{
    r->frame = frame_new(r->header.body_bytes);
    if (r->frame == NULL) {
        return false;
    }
    memcpy(r->frame->data, r->head, FRAME_HEADER_BYTES);
    r->filled = 0;
    return true;
}

uint8_t *frame_reader_want(struct frame_reader *r, size_t *room)
{
    if (r->frame == NULL && r->filled < FRAME_HEADER_BYTES) {
        *room = FRAME_HEADER_BYTES - r->filled;
        return r->head + r->filled;
    }
    /* The body's memory is taken here and not with the header's last byte, so
     * that a reader short of memory can come again later. */
    if (r->frame == NULL && !start_frame(r)) {
        *room = 0;
        return NULL;
    }
    ASSERT(r->filled < r->frame->body_bytes); /* a whole one was not taken */
    *room = r->frame->body_bytes - r->filled;
    return frame_body(r->frame) + r->filled;
}

/* The body is whole: is it what was sent? */
static int check_body(struct frame_reader *r)
{
    if (r->header.body_checksum == 0 ||
        r->header.body_checksum == sum_of_body(r->frame)) {
        return 1;
    }
    frame_reader_fini(r);
    return PS_EPROTOCOL;
}

int frame_reader_got(struct frame_reader *r, size_t n)
{
    int rc;

    if (r->frame != NULL) {
        ASSERT(n <= r->frame->body_bytes - r->filled);
        r->filled += n;
        return r->filled == r->frame->body_bytes ? check_body(r) : PS_OK;
    }
    ASSERT(n <= FRAME_HEADER_BYTES - r->filled);
    r->filled += n;
    if (r->filled < FRAME_HEADER_BYTES) {
        return PS_OK;
    }
    rc = frame_header_decode(r->head, &r->header);
    if (rc != PS_OK) {
        r->filled = 0;
        return rc;
    }
    if (r->header.body_bytes > 0) {
        return PS_OK;
    }
    if (!start_frame(r)) {
        r->filled = 0;
        return PS_ENOMEM;
    }
    return check_body(r);
}

struct frame *frame_reader_take(struct frame_reader *r)
{
    struct frame *f = r->frame;

    ASSERT(f != NULL && r->filled == f->body_bytes);
    r->frame = NULL;
    r->filled = 0;
    return f;
}
