/* test_frame.c - headers, frames and the reader.
 *
 * The bytes were put together by hand from the table in frame.h with Python's
 * struct ("<IHHIIQQQQQQQQiI"); the checksums are those of its xxhash package
 * (xxh3_64_intdigest). */
#include "net/frame.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"

/* clang-format off */
static const uint8_t full[FRAME_HEADER_BYTES] = {
    0x50, 0x53, 0x50, 0x31, 0x02, 0x01, 0x03, 0x00,
    0x18, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,
    0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21,
    0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01,
    0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x0b, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x4a, 0xc0, 0x76, 0x12, 0xc2, 0x5c, 0x8b, 0x08,
    0xdc, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00,
    0x87, 0x15, 0x30, 0x4e, 0x7f, 0xaf, 0xe1, 0xf4,
};
/* Type 1, request 1, no body. */
static const uint8_t bare[FRAME_HEADER_BYTES] = {
    0x50, 0x53, 0x50, 0x31, 0x01, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xec, 0x25, 0x9b, 0x92, 0x89, 0x1a, 0xa9, 0x4e,
};
/* clang-format on */

static const struct frame_header full_header = {
    .type = 0x0102,
    .flags = FRAME_ANSWER | FRAME_REPEAT,
    .body_bytes = 24,
    .job = 0,
    .status = PS_EGAP,
    .request = 0x1112131415161718,
    .session = 0x2122232425262728,
    .lane = 5,
    .seq = 0x0102030405060708,
    .first = 7,
    .plan = 9,
    .cut = 11,
    .body_checksum = 0x088b5cc21276c04a,
};

/* `full` with 4 bytes of its own at `at`, and the checksum of that. */
static void change(uint8_t out[FRAME_HEADER_BYTES], size_t at, uint32_t v,
                   uint64_t checksum)
{
    memcpy(out, full, FRAME_HEADER_BYTES);
    for (size_t i = 0; i < 4; i++) {
        out[at + i] = (uint8_t)(v >> (8 * i));
    }
    for (size_t i = 0; i < 8; i++) {
        out[88 + i] = (uint8_t)(checksum >> (8 * i));
    }
}

static void expect_full_header(const struct frame_header *h)
{
    assert_int_equal(h->type, 0x0102);
    assert_int_equal(h->flags, 3);
    assert_int_equal(h->body_bytes, 24);
    assert_int_equal(h->job, 0);
    assert_int_equal(h->status, -36);
    assert_int_equal(h->request, 0x1112131415161718);
    assert_int_equal(h->session, 0x2122232425262728);
    assert_int_equal(h->lane, 5);
    assert_int_equal(h->seq, 0x0102030405060708);
    assert_int_equal(h->first, 7);
    assert_int_equal(h->plan, 9);
    assert_int_equal(h->cut, 11);
    assert_int_equal(h->body_checksum, 0x088b5cc21276c04a);
}

static void a_header_becomes_the_bytes_of_the_table(void **state)
{
    uint8_t bytes[FRAME_HEADER_BYTES];

    (void)state;
    memset(bytes, 0xee, sizeof(bytes));
    frame_header_encode(&full_header, bytes);
    assert_memory_equal(bytes, full, FRAME_HEADER_BYTES);
    frame_header_encode(&(struct frame_header){.type = 1, .request = 1}, bytes);
    assert_memory_equal(bytes, bare, FRAME_HEADER_BYTES);
}

static void the_job_is_carried_both_ways(void **state)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    struct frame_header h;

    (void)state;
    frame_header_encode(&(struct frame_header){.job = 0x01020304}, bytes);
    assert_memory_equal(bytes + 12, "\4\3\2\1", 4);
    assert_int_equal(frame_header_decode(bytes, &h), PS_OK);
    assert_int_equal(h.job, 0x01020304);
}

static void the_bytes_of_the_table_become_a_header(void **state)
{
    struct frame_header h;

    (void)state;
    memset(&h, 0xee, sizeof(h));
    assert_int_equal(frame_header_decode(full, &h), PS_OK);
    expect_full_header(&h);
    assert_int_equal(frame_header_decode(bare, &h), PS_OK);
    assert_int_equal(h.type, 1);
    assert_int_equal(h.request, 1);
    assert_int_equal(h.body_bytes, 0);
    assert_int_equal(h.seq, 0);
}

static void any_flipped_bit_of_a_header_is_refused(void **state)
{
    struct frame_header h;

    (void)state;
    for (size_t i = 0; i < FRAME_HEADER_BYTES * 8; i++) {
        uint8_t bytes[FRAME_HEADER_BYTES];

        memcpy(bytes, full, sizeof(bytes));
        bytes[i / 8] ^= (uint8_t)(1u << (i % 8));
        assert_int_equal(frame_header_decode(bytes, &h), PS_EPROTOCOL);
    }
}

static void a_right_checksum_does_not_excuse_the_rest(void **state)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    struct frame_header h;

    (void)state;
    change(bytes, 0, 0x31505351, 0x25e3c3326e37a32d);
    assert_int_equal(frame_header_decode(bytes, &h), PS_EPROTOCOL);
    change(bytes, 84, 1, 0xe81b42eeaa781f83);
    assert_int_equal(frame_header_decode(bytes, &h), PS_EPROTOCOL);
    change(bytes, 8, (64 << 20) + 1, 0xdf912ee33f703ea7);
    assert_int_equal(frame_header_decode(bytes, &h), PS_EPROTOCOL);
    change(bytes, 8, 64 << 20, 0x72044c8dddfe062f);
    assert_int_equal(frame_header_decode(bytes, &h), PS_OK);
    assert_int_equal(h.body_bytes, 64 << 20);
}

static void a_frame_is_aligned_counted_and_limited(void **state)
{
    struct frame *f = frame_new(24);

    (void)state;
    assert_non_null(f);
    assert_int_equal(f->refs, 1);
    assert_int_equal(f->body_bytes, 24);
    assert_int_equal(frame_bytes(f), 120);
    assert_int_equal((uintptr_t)f->data % 16, 0);
    assert_int_equal((uintptr_t)frame_body(f) % 16, 0);
    assert_ptr_equal(frame_get(f), f);
    frame_put(f);
    assert_int_equal(f->refs, 1);
    frame_put(f);
    frame_put(NULL);
    assert_null(frame_new((size_t)LIMIT_FRAME_BYTES + 1));
    assert_null(frame_new(SIZE_MAX));
    mem_fail_at(1);
    assert_null(frame_new(8));
    mem_fail_at(0);
}

static void seal_takes_the_body_size_of_the_frame(void **state)
{
    struct frame *f = frame_new(24);
    struct frame_header h = full_header;

    (void)state;
    assert_non_null(f);
    h.body_bytes = 99;
    memset(frame_body(f), 0xab, 24);
    frame_seal(f, &h);
    assert_memory_equal(f->data, full, FRAME_HEADER_BYTES);
    assert_int_equal(f->data[FRAME_HEADER_BYTES], 0xab);
    frame_put(f);
}

/* Feeds bytes, at most `step` at a time, and checks the two kinds of frames
 * that it finds; returns how many, or the status that ended it. */
static int feed(struct frame_reader *r, const uint8_t *bytes, size_t size,
                size_t step)
{
    int n = 0;

    while (size > 0) {
        size_t room;
        uint8_t *to = frame_reader_want(r, &room);
        int rc;

        assert_non_null(to);
        assert_true(room > 0);
        room = base_min_u64(base_min_u64(room, step), size);
        memcpy(to, bytes, room);
        bytes += room;
        size -= room;
        rc = frame_reader_got(r, room);
        if (rc < 0) {
            return rc;
        }
        if (rc == 1) {
            struct frame *f;

            n++;
            if (r->header.type == 1) {
                assert_int_equal(r->header.request, 1);
                f = frame_reader_take(r);
                assert_int_equal(f->body_bytes, 0);
                assert_memory_equal(f->data, bare, FRAME_HEADER_BYTES);
            } else {
                expect_full_header(&r->header);
                f = frame_reader_take(r);
                assert_int_equal(f->body_bytes, 24);
                assert_memory_equal(f->data, full, FRAME_HEADER_BYTES);
                for (size_t i = 0; i < 24; i++) {
                    assert_int_equal(frame_body(f)[i], 'a' + i);
                }
            }
            assert_int_equal(f->refs, 1);
            frame_put(f);
        }
    }
    return n;
}

/* full, its body, bare, full, its body */
static size_t make_stream(uint8_t out[512])
{
    size_t n = 0;

    for (size_t i = 0; i < 3; i++) {
        memcpy(out + n, i == 1 ? bare : full, FRAME_HEADER_BYTES);
        n += FRAME_HEADER_BYTES;
        for (size_t j = 0; j < 24 && i != 1; j++) {
            out[n++] = (uint8_t)('a' + j);
        }
    }
    return n;
}

static void a_stream_in_pieces_of_any_size_gives_the_same_frames(void **state)
{
    uint8_t stream[512];
    size_t size = make_stream(stream);
    struct frame_reader r;

    (void)state;
    assert_int_equal(size, 96 * 3 + 48);
    for (size_t step = 1; step <= size; step++) {
        frame_reader_init(&r);
        assert_int_equal(feed(&r, stream, size, step), 3);
        assert_null(r.frame);
        frame_reader_fini(&r);
    }
}

static void a_reader_that_ends_midway_frees_its_frame(void **state)
{
    uint8_t stream[512];
    size_t size = make_stream(stream);
    struct frame_reader r;

    (void)state;
    for (size_t end = 0; end < size; end++) {
        frame_reader_init(&r);
        assert_in_range(feed(&r, stream, end, 7), 0, 2);
        frame_reader_fini(&r);
        assert_null(r.frame);
    }
}

/* The checksum of the 24 bytes a to x is of Python's xxhash as well. */
static void a_checksum_is_that_of_the_body(void **state)
{
    struct frame *f = frame_new(24);
    struct frame *empty = frame_new(0);

    (void)state;
    assert_non_null(f);
    assert_non_null(empty);
    for (size_t i = 0; i < 24; i++) {
        frame_body(f)[i] = (uint8_t)('a' + i);
    }
    assert_int_equal(frame_checksum(f), full_header.body_checksum);
    assert_int_equal(frame_checksum(empty), 0);
    frame_put(f);
    frame_put(empty);
}

static void any_flipped_bit_of_a_body_ends_the_stream(void **state)
{
    uint8_t stream[512];
    size_t size = make_stream(stream);
    struct frame_reader r;

    (void)state;
    for (size_t i = 0; i < 24 * 8; i++) {
        uint8_t *byte = &stream[FRAME_HEADER_BYTES + i / 8];

        *byte ^= (uint8_t)(1u << (i % 8));
        frame_reader_init(&r);
        assert_int_equal(feed(&r, stream, size, i % 30 + 1), PS_EPROTOCOL);
        assert_null(r.frame);
        frame_reader_fini(&r);
        *byte ^= (uint8_t)(1u << (i % 8));
    }
}

static void a_body_without_a_checksum_is_taken_as_it_is(void **state)
{
    struct frame_header h = full_header;
    struct frame_reader r;
    uint8_t *to;
    size_t room;

    (void)state;
    h.body_checksum = 0;
    frame_reader_init(&r);
    to = frame_reader_want(&r, &room);
    frame_header_encode(&h, to);
    assert_int_equal(frame_reader_got(&r, FRAME_HEADER_BYTES), PS_OK);
    to = frame_reader_want(&r, &room);
    memset(to, 7, 24);
    assert_int_equal(frame_reader_got(&r, 24), 1);
    frame_put(frame_reader_take(&r));
    /* And one of a body that is not there is wrong. */
    h.body_checksum = 7;
    h.body_bytes = 0;
    to = frame_reader_want(&r, &room);
    frame_header_encode(&h, to);
    assert_int_equal(frame_reader_got(&r, FRAME_HEADER_BYTES), PS_EPROTOCOL);
    frame_reader_fini(&r);
}

static void a_wrong_header_takes_no_memory(void **state)
{
    uint8_t bytes[FRAME_HEADER_BYTES];
    struct frame_reader r;
    uint64_t calls = mem_calls();

    (void)state;
    change(bytes, 8, (64 << 20) + 1, 0xdf912ee33f703ea7);
    frame_reader_init(&r);
    assert_int_equal(feed(&r, bytes, sizeof(bytes), 5), PS_EPROTOCOL);
    assert_null(r.frame);
    frame_reader_fini(&r);
    memcpy(bytes, full, sizeof(bytes));
    bytes[11] = 0x7f; /* two GiB, with the checksum of 24 bytes */
    assert_int_equal(feed(&r, bytes, sizeof(bytes), 96), PS_EPROTOCOL);
    frame_reader_fini(&r);
    assert_int_equal(mem_calls(), calls);
}

static void a_reader_without_memory_can_try_again(void **state)
{
    uint8_t stream[512];
    struct frame_reader r;
    uint8_t *to;
    size_t room;

    (void)state;
    make_stream(stream);
    frame_reader_init(&r);
    assert_int_equal(feed(&r, stream, 96, 96), 0);
    mem_fail_at(1);
    assert_null(frame_reader_want(&r, &room));
    assert_int_equal(room, 0);
    mem_fail_at(0);
    assert_int_equal(feed(&r, stream + 96, 24, 24), 1);
    /* A frame without a body has nothing to wait for. */
    to = frame_reader_want(&r, &room);
    assert_int_equal(room, 96);
    memcpy(to, bare, 96);
    mem_fail_at(1);
    assert_int_equal(frame_reader_got(&r, 96), PS_ENOMEM);
    mem_fail_at(0);
    frame_reader_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_becomes_the_bytes_of_the_table),
        cmocka_unit_test(the_job_is_carried_both_ways),
        cmocka_unit_test(the_bytes_of_the_table_become_a_header),
        cmocka_unit_test(any_flipped_bit_of_a_header_is_refused),
        cmocka_unit_test(a_right_checksum_does_not_excuse_the_rest),
        cmocka_unit_test(a_frame_is_aligned_counted_and_limited),
        cmocka_unit_test(seal_takes_the_body_size_of_the_frame),
        cmocka_unit_test(a_stream_in_pieces_of_any_size_gives_the_same_frames),
        cmocka_unit_test(a_reader_that_ends_midway_frees_its_frame),
        cmocka_unit_test(a_checksum_is_that_of_the_body),
        cmocka_unit_test(any_flipped_bit_of_a_body_ends_the_stream),
        cmocka_unit_test(a_body_without_a_checksum_is_taken_as_it_is),
        cmocka_unit_test(a_wrong_header_takes_no_memory),
        cmocka_unit_test(a_reader_without_memory_can_try_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
