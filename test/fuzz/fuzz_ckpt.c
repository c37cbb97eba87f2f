/* fuzz_ckpt.c - every decoder of a checkpoint.
 *
 * The first byte chooses the decoder, the rest is what it gets; a manifest's
 * last line, which is a checksum, is put right here, and so are the checksums
 * of indexes in it. What is accepted must encode to what decodes to the same,
 * and answers every question about itself.
 */
#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "ckpt/ckpt_state.h"

#include <inttypes.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void append_tail(struct buf *b)
{
    char tail[64];
    int n = snprintf(tail, sizeof(tail), ",\n\"xxh3\":\"%016" PRIx64 "\"}\n",
                     hash_bytes(b->data, b->size));

    ASSERT(buf_append(b, tail, (size_t)n) == PS_OK);
}

static void try_manifest(const uint8_t *data, size_t size)
{
    struct ckpt_manifest m;
    struct arena arena;
    struct buf first = {0};
    struct buf again = {0};

    arena_init(&arena);
    ASSERT(buf_append(&first, data, size) == PS_OK);
    append_tail(&first);
    if (ckpt_manifest_decode(first.data, first.size, &arena, &m, NULL) ==
        PS_OK) {
        buf_clear(&first);
        ASSERT(ckpt_manifest_encode(&m, &first) == PS_OK);
        ASSERT(ckpt_manifest_decode(first.data, first.size, &arena, &m, NULL) ==
               PS_OK);
        ASSERT(ckpt_manifest_encode(&m, &again) == PS_OK);
        ASSERT(first.size == again.size &&
               memcmp(first.data, again.data, first.size) == 0);
    }
    buf_fini(&first);
    buf_fini(&again);
    arena_fini(&arena);
}

/* All blocks are within the file and follow one another. */
static void walk_file(const struct ckpt_file *f)
{
    for (uint32_t i = 0; i < f->n_tensors; i++) {
        const struct ckpt_tensor *t = &f->tensors[i];
        uint64_t next = t->offset;

        for (uint32_t k = 0; k < t->n_sums; k++) {
            struct ckpt_block b = ckpt_block(t, k);

            ASSERT(b.offset == next && b.bytes > 0);
            ASSERT(b.bytes <= CKPT_BLOCK_MAX);
            next += b.bytes;
        }
        ASSERT(next == t->offset + t->bytes && next <= f->size);
    }
}

static void try_index(const uint8_t *data, size_t size)
{
    struct ckpt_index x;
    struct arena arena;
    struct buf first = {0};
    struct buf again = {0};

    arena_init(&arena);
    if (ckpt_index_decode(data, size, &arena, &x, NULL) == PS_OK) {
        walk_file(&x.files[0]);
        walk_file(&x.files[1]);
        ASSERT(ckpt_index_encode(&x, &first) == PS_OK);
        ASSERT(ckpt_index_decode(first.data, first.size, &arena, &x, NULL) ==
               PS_OK);
        ASSERT(ckpt_index_encode(&x, &again) == PS_OK);
        ASSERT(first.size == again.size &&
               memcmp(first.data, again.data, first.size) == 0);
    }
    buf_fini(&first);
    buf_fini(&again);
    arena_fini(&arena);
}

static void try_header(const uint8_t *data, size_t size)
{
    struct ckpt_file f;
    struct arena arena;

    arena_init(&arena);
    if (ckpt_header_decode(data, size, size, &arena, &f, NULL) == PS_OK) {
        uint64_t next = f.header_bytes;

        for (uint32_t i = 0; i < f.n_tensors; i++) {
            ASSERT(f.tensors[i].offset >= f.header_bytes);
            next += f.tensors[i].bytes;
        }
        ASSERT(next == size);
    }
    arena_fini(&arena);
}

static void try_state(const uint8_t *data, size_t size)
{
    struct ckpt_state s;
    struct ckpt_file f;
    struct arena arena;
    struct buf first = {0};
    struct buf again = {0};

    arena_init(&arena);
    if (ckpt_state_decode(data, size, NULL, &arena, &s, NULL) == PS_OK) {
        ASSERT(ckpt_state_encode(&s, "state", &arena, &f, &first) == PS_OK);
        ASSERT(ckpt_state_decode(first.data, first.size, &f, &arena, &s,
                                 NULL) == PS_OK);
        walk_file(&f);
        ASSERT(ckpt_state_encode(&s, "state", &arena, &f, &again) == PS_OK);
        ASSERT(first.size == again.size &&
               memcmp(first.data, again.data, first.size) == 0);
    }
    buf_fini(&first);
    buf_fini(&again);
    arena_fini(&arena);
}

static void walk_sources(const struct ckpt *c, uint32_t variable)
{
    static const uint32_t ranges[][2] = {
        {0, LIMIT_BUCKETS}, {0, 1}, {LIMIT_BUCKETS - 1, LIMIT_BUCKETS}};

    for (size_t r = 0; r < ARRAY_LEN(ranges); r++) {
        struct ckpt_source *sources;
        struct arena arena;
        uint32_t n;

        arena_init(&arena);
        ASSERT(ckpt_sources(c, variable, ranges[r][0], ranges[r][1], &arena,
                            &sources, &n) == PS_OK);
        for (uint32_t i = 0; i < n; i++) {
            const struct ckpt_source *s = &sources[i];

            ASSERT(s->part->id == variable);
            for (uint32_t k = s->first_block; k < s->end_block; k++) {
                if (s->keys != NULL) {
                    (void)ckpt_block(s->keys, k);
                }
                if (s->values != NULL) {
                    (void)ckpt_block(s->values, k);
                }
                for (uint32_t m = 0; m < s->part->n_slots; m++) {
                    (void)ckpt_block(s->slots[m], k);
                }
            }
        }
        arena_fini(&arena);
    }
}

/* A manifest (its size in two bytes), then the index of each of its lanes. */
static void try_whole(const uint8_t *data, size_t size)
{
    struct buf text = {0};
    struct ckpt *c;
    size_t n = size < 2 ? 0 : (size_t)data[0] | (size_t)data[1] << 8;
    bool is_whole = size >= 2 && n <= size - 2;

    if (!is_whole) {
        return;
    }
    ASSERT(buf_append(&text, data + 2, n) == PS_OK);
    append_tail(&text);
    data += 2 + n;
    size -= 2 + n;
    if (ckpt_new(&c, text.data, text.size, NULL) == PS_OK) {
        for (uint32_t i = 0; i < c->manifest.n_lanes && is_whole; i++) {
            c->manifest.lanes[i].index_bytes = size;
            c->manifest.lanes[i].index_sum = hash_bytes(data, size);
            is_whole = ckpt_add_index(c, i, data, size, NULL) == PS_OK;
        }
        for (uint32_t i = 0; i < c->manifest.n_variables && is_whole; i++) {
            walk_sources(c, c->manifest.variables[i].id);
        }
        ckpt_free(c);
    }
    buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(const uint8_t *data, size_t size) = {
        try_manifest, try_index, try_header, try_state, try_whole};
    uint8_t *copy;

    if (size == 0) {
        return 0;
    }
    /* Ending where the input ends. */
    copy = mem_new(size - 1);
    memcpy(copy, data + 1, size - 1);
    tries[data[0] % ARRAY_LEN(tries)](copy, size - 1);
    mem_free(copy);
    return 0;
}
