/* coord_record.h - what is in one file of the file:// store: a header, a value.
 *
 * Header, 40 bytes, little endian:
 *
 *     0  u32 magic "PSC1"          16  u64 bytes of the value
 *     4  u16 format                24  u64 XXH3-64 of the value
 *     6  u16 flags, 1: synced      32  u64 XXH3-64 of bytes 0..31
 *     8  u64 version
 */
#ifndef COORD_RECORD_H
#define COORD_RECORD_H

#include "base/buf.h"

enum { COORD_HEADER_BYTES = 40, COORD_FORMAT = 1 };

enum coord_content {
    COORD_CONTENT_DURABLE,  /* whole, and synced before it had its name */
    COORD_CONTENT_VOLATILE, /* whole */
    COORD_CONTENT_TORN      /* as a power loss leaves one not synced */
};

/* Appends header and value; PS_OK or PS_ENOMEM. */
int coord_record_encode(struct buf *out, uint64_t version, bool is_durable,
                        const void *value, size_t size) MUST_USE;
/* Says what a file of that version is; PS_EDATALOSS: none of these, it was
 * whole once and is damaged. */
int coord_record_judge(const uint8_t *data, size_t size, uint64_t version,
                       enum coord_content *content) MUST_USE;

#endif
