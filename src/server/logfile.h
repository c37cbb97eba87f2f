/* logfile.h - the bytes of a lane's log: segments of records.
 *
 *     <cluster id>/lane-<lane>-<cut>.log
 *
 *     [BEGIN][CHAIN][FRAME][FRAME]...[CHAIN][FRAME]...
 *
 * A segment begins where the lane takes a cut (its first one with the lane
 * itself): rows of that cut and the records from there on are the rows of now.
 *
 * A record has 104 bytes of header, then its body, padded with zeros to 8. All
 * is little endian:
 *
 *      0  u32 magic "PSL1"      48  u64 cut stamp, or what the type says
 *      4  u32 type              56  u64 plan, or what the type says
 *      8  u64 body bytes        64  u64 settled
 *     16  u64 lane              72  u64 XXH3-64 of the body
 *     24  u64 segment (cut)     80  u64 session
 *     32  u64 its own offset    88  u64 first unanswered
 *     40  u64 seq               96  u64 XXH3-64 of bytes 0..95
 *
 * Lane, segment and offset are in there so that a block which is of another
 * file, of another time or not in its place is found. `settled` says how far
 * the segment had been acknowledged when this record was made: damage below it
 * is damage; damage above it, with nothing behind it that says otherwise, is a
 * write that was under way when its process or the power ended. Pure.
 */
#ifndef LOGFILE_H
#define LOGFILE_H

#include "base/buf.h"
#include "base/err.h"

enum { LOGFILE_HEADER_BYTES = 104, LOGFILE_NAME_MAX = 127 };

enum logfile_type {
    /* stamp: the segment before, 0: none; plan: its end; seq: the plan */
    LOGFILE_BEGIN = 1,
    LOGFILE_CHAIN = 2, /* body: a definition */
    LOGFILE_FRAME = 3, /* body: of a RUN */
    /* 4, rows that went, and 5, keys that were let in, are not made yet */
    LOGFILE_QUIET = 6 /* nothing came for a while: all before is settled */
};

struct logfile_record {
    uint32_t type;
    uint64_t body_bytes;
    uint64_t lane;
    uint64_t segment;
    uint64_t offset;
    uint64_t session;
    uint64_t seq;
    uint64_t first;
    uint64_t stamp;
    uint64_t plan;
    uint64_t settled;
    const uint8_t *body;
};

/* Of a record with so many bytes of body. */
uint64_t logfile_bytes(uint64_t body_bytes);
/* Appends a record; r->body_bytes of r->body. PS_ENOMEM. */
int logfile_append(struct buf *out, const struct logfile_record *r) MUST_USE;

/* The record at `offset` of a segment; data[size] is what is there from that
 * byte on, 8-byte aligned. PS_OK with *r, whose body points into data.
 * PS_EBUSY: r->body_bytes says how much of it there must be, and there is less.
 * PS_ENOTFOUND: no record, or a damaged one. */
int logfile_read(const uint8_t *data, uint64_t size, uint64_t lane,
                 uint64_t segment, uint64_t offset,
                 struct logfile_record *r) MUST_USE;
/* Whether a record in data[size], which is what is at byte `at` of the segment,
 * says that what is at `offset` before it had been acknowledged. */
bool logfile_settles(const uint8_t *data, uint64_t size, uint64_t lane,
                     uint64_t segment, uint64_t at, uint64_t offset);

struct logfile_name {
    uint64_t lane;
    uint64_t segment;
};

/* `out` has LOGFILE_NAME_MAX + 1 bytes; with the folder in front. */
void logfile_folder(uint64_t cluster_high, uint64_t cluster_low, char *out);
void logfile_path(uint64_t cluster_high, uint64_t cluster_low,
                  const struct logfile_name *name, char *out);
/* False where it is no name of a segment (without its folder). */
bool logfile_parse(const char *name, struct logfile_name *out) MUST_USE;

#endif
