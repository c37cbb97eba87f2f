/* See logfile.h for the drawing. */
#include "server/logfile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/probe.h"

PLANT_DECLARE(log_tail_without_checksum);

#define MAGIC UINT32_C(0x314c5350)

static void put_u32(uint8_t *p, uint32_t x)
{
    for (uint32_t i = 0; i < 4; i++) {
        p[i] = (uint8_t)(x >> (8 * i));
    }
}

static void put_u64(uint8_t *p, uint64_t x)
{
    put_u32(p, (uint32_t)x);
    put_u32(p + 4, (uint32_t)(x >> 32));
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
           (uint32_t)p[3] << 24;
}

static uint64_t get_u64(const uint8_t *p)
{
    return get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

static uint64_t pad(uint64_t n)
{
    return (n + 7) & ~UINT64_C(7);
}

uint64_t logfile_bytes(uint64_t body_bytes)
{
    return LOGFILE_HEADER_BYTES + pad(body_bytes);
}

int logfile_append(struct buf *out, const struct logfile_record *r)
{
    size_t padded = (size_t)pad(r->body_bytes);
    uint8_t *p = buf_extend(out, (size_t)logfile_bytes(r->body_bytes));

    if (p == NULL) {
        return PS_ENOMEM;
    }
    put_u32(p, MAGIC);
    put_u32(p + 4, r->type);
    put_u64(p + 8, r->body_bytes);
    put_u64(p + 16, r->lane);
    put_u64(p + 24, r->segment);
    put_u64(p + 32, r->offset);
    put_u64(p + 40, r->seq);
    put_u64(p + 48, r->stamp);
    put_u64(p + 56, r->plan);
    put_u64(p + 64, r->settled);
    put_u64(p + 72, hash_bytes(r->body, (size_t)r->body_bytes));
    put_u64(p + 80, r->session);
    put_u64(p + 88, r->first);
    put_u64(p + 96, hash_bytes(p, 96));
    if (r->body_bytes > 0) {
        memcpy(p + LOGFILE_HEADER_BYTES, r->body, (size_t)r->body_bytes);
    }
    memset(p + LOGFILE_HEADER_BYTES + r->body_bytes, 0,
           padded - (size_t)r->body_bytes);
    return PS_OK;
}

/* A header that is what it was written as, in its place. */
static bool read_header(const uint8_t *p, uint64_t lane, uint64_t segment,
                        uint64_t offset, struct logfile_record *r)
{
    if (get_u32(p) != MAGIC || get_u64(p + 96) != hash_bytes(p, 96)) {
        return false;
    }
    *r = (struct logfile_record){
        .type = get_u32(p + 4),
        .body_bytes = get_u64(p + 8),
        .lane = get_u64(p + 16),
        .segment = get_u64(p + 24),
        .offset = get_u64(p + 32),
        .session = get_u64(p + 80),
        .seq = get_u64(p + 40),
        .first = get_u64(p + 88),
        .stamp = get_u64(p + 48),
        .plan = get_u64(p + 56),
        .settled = get_u64(p + 64),
        .body = p + LOGFILE_HEADER_BYTES,
    };
    return r->lane == lane && r->segment == segment && r->offset == offset &&
           r->body_bytes <= LIMIT_FRAME_BYTES;
}

static bool is_whole(const uint8_t *p, const struct logfile_record *r)
{
    uint64_t bytes = logfile_bytes(r->body_bytes);

    for (uint64_t i = LOGFILE_HEADER_BYTES + r->body_bytes; i < bytes; i++) {
        if (p[i] != 0) {
            return false;
        }
    }
    return PLANT(log_tail_without_checksum) ||
           get_u64(p + 72) == hash_bytes(r->body, (size_t)r->body_bytes);
}

int logfile_read(const uint8_t *data, uint64_t size, uint64_t lane,
                 uint64_t segment, uint64_t offset, struct logfile_record *r)
{
    *r = (struct logfile_record){.type = 0};
    if (size < LOGFILE_HEADER_BYTES) {
        return PS_EBUSY;
    }
    if (!read_header(data, lane, segment, offset, r)) {
        return PS_ENOTFOUND;
    }
    if (size < logfile_bytes(r->body_bytes)) {
        return PS_EBUSY;
    }
    return is_whole(data, r) ? PS_OK : PS_ENOTFOUND;
}

bool logfile_settles(const uint8_t *data, uint64_t size, uint64_t lane,
                     uint64_t segment, uint64_t at, uint64_t offset)
{
    struct logfile_record r;

    for (uint64_t i = 0; i + LOGFILE_HEADER_BYTES <= size; i += 8) {
        if (read_header(data + i, lane, segment, at + i, &r) &&
            r.settled > offset) {
            return true;
        }
    }
    return false;
}

void logfile_folder(uint64_t cluster_high, uint64_t cluster_low, char *out)
{
    snprintf(out, LOGFILE_NAME_MAX + 1, "%016" PRIx64 "%016" PRIx64,
             cluster_high, cluster_low);
}

void logfile_path(uint64_t cluster_high, uint64_t cluster_low,
                  const struct logfile_name *name, char *out)
{
    snprintf(out, LOGFILE_NAME_MAX + 1,
             "%016" PRIx64 "%016" PRIx64 "/lane-%" PRIu64 "-%012" PRIu64 ".log",
             cluster_high, cluster_low, name->lane, name->segment);
}

bool logfile_parse(const char *name, struct logfile_name *out)
{
    char again[LOGFILE_NAME_MAX + 1];
    char *end;

    if (strncmp(name, "lane-", 5) != 0 || name[5] < '0' || name[5] > '9') {
        return false;
    }
    out->lane = strtoull(name + 5, &end, 10);
    if (*end != '-' || end[1] < '0' || end[1] > '9') {
        return false;
    }
    out->segment = strtoull(end + 1, &end, 10);
    snprintf(again, sizeof(again), "lane-%" PRIu64 "-%012" PRIu64 ".log",
             out->lane, out->segment);
    return strcmp(again, name) == 0;
}
