/* coord_record.c - one file of the file:// store. */
#include "coord/coord_record.h"

#include "base/hash.h"

enum {
    FILE_MAGIC = 0x31435350, /* "PSC1" */
    FILE_DURABLE = 1,
    CHECKED_BYTES = COORD_HEADER_BYTES - 8
};

struct header {
    uint64_t magic;
    uint64_t format;
    uint64_t flags;
    uint64_t version;
    uint64_t value_bytes;
    uint64_t value_hash;
    uint64_t header_hash;
};

static void put(uint8_t *p, size_t bytes, uint64_t v)
{
    for (size_t i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}

static uint64_t take(const uint8_t *p, size_t bytes)
{
    uint64_t v = 0;

    for (size_t i = 0; i < bytes; i++) {
        v |= (uint64_t)p[i] << (8 * i);
    }
    return v;
}

int coord_record_encode(struct buf *out, uint64_t version, bool is_durable,
                        const void *value, size_t size)
{
    uint8_t *p = buf_extend(out, COORD_HEADER_BYTES);

    if (p == NULL) {
        return PS_ENOMEM;
    }
    put(p, 4, FILE_MAGIC);
    put(p + 4, 2, COORD_FORMAT);
    put(p + 6, 2, is_durable ? FILE_DURABLE : 0);
    put(p + 8, 8, version);
    put(p + 16, 8, size);
    put(p + 24, 8, hash_bytes(value, size));
    put(p + CHECKED_BYTES, 8, hash_bytes(p, CHECKED_BYTES));
    return buf_append(out, value, size);
}

int coord_record_judge(const uint8_t *data, size_t size, uint64_t version,
                       enum coord_content *content)
{
    struct header h;
    bool is_whole;

    *content = COORD_CONTENT_TORN;
    if (size < COORD_HEADER_BYTES) {
        return PS_OK;
    }
    h = (struct header){
        .magic = take(data, 4),
        .format = take(data + 4, 2),
        .flags = take(data + 6, 2),
        .version = take(data + 8, 8),
        .value_bytes = take(data + 16, 8),
        .value_hash = take(data + 24, 8),
        .header_hash = take(data + CHECKED_BYTES, 8),
    };
    if (h.header_hash != hash_bytes(data, CHECKED_BYTES)) {
        /* Its last bytes were never written; or they were, and then rotted. */
        return h.header_hash == 0 ? PS_OK : PS_EDATALOSS;
    }
    if (h.magic != FILE_MAGIC || h.format != COORD_FORMAT ||
        h.version != version) {
        return PS_EDATALOSS;
    }
    is_whole = h.value_bytes == size - COORD_HEADER_BYTES &&
               h.value_hash == hash_bytes(data + COORD_HEADER_BYTES,
                                          size - COORD_HEADER_BYTES);
    if ((h.flags & FILE_DURABLE) != 0) {
        *content = COORD_CONTENT_DURABLE;
        return is_whole ? PS_OK : PS_EDATALOSS;
    }
    if (is_whole) {
        *content = COORD_CONTENT_VOLATILE;
    }
    return PS_OK;
}
