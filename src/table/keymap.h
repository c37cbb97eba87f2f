/* keymap.h - from a 64-bit key to a row number, one cache line a probe.
 *
 * Every key may be stored, 0 and 2^64 - 1 included. The map places a key by the
 * low 48 bits of hash_key: the top 16 are its bucket, and a part of a variable
 * has only some of these. It grows by pieces, see keymap.c. Thread: the table's
 * owner; find and next change nothing.
 */
#ifndef KEYMAP_H
#define KEYMAP_H

#include "base/base.h"
#include "table/chunk.h"
#include "table/table.h"

enum {
    KEYMAP_LINE_KEYS = 5,
    KEYMAP_CHUNK_LINES = 256, /* 16 KiB */
    KEYMAP_CHUNKS_MAX = 7,    /* of a segment */
    KEYMAP_SEGMENT_KEYS =
        KEYMAP_LINE_KEYS * KEYMAP_CHUNK_LINES * KEYMAP_CHUNKS_MAX
};

#define KEYMAP_HASH_END (UINT64_C(1) << 48)

struct keymap_line {
    _Alignas(64) uint64_t keys[KEYMAP_LINE_KEYS];
    uint32_t rows[KEYMAP_LINE_KEYS];
    uint16_t overflow; /* keys that a probe for them passes this line for */
    uint8_t mask;      /* which of the five are in use */
    uint8_t unused;
};

struct keymap_segment {
    struct keymap_line *chunks[KEYMAP_CHUNKS_MAX];
    uint32_t n_keys;
    uint16_t n_lines; /* 16 to 128: part of a chunk; then whole chunks */
    uint16_t depth;   /* how many bits of the hash all its keys share */
};

struct keymap {
    struct keymap_segment **directory; /* 1 << depth entries */
    uint32_t depth;
    uint32_t n_segments;
    uint64_t n_keys;
    uint64_t bytes; /* directory and small segments */
    struct table_budget *budget;
    struct keymap_segment first; /* so that a small map is two pieces */
    struct chunk_pool pool;
    struct keymap_segment *headers; /* the rest of the newest chunk of them */
    uint32_t n_headers;
    /* Of keymap_expect: how deep every segment is to be, and how large. */
    uint32_t expected_depth;
    uint32_t expected_lines;
};

/* PS_ENOMEM, PS_ELIMIT: keymap_fini is not needed then. */
int keymap_init(struct keymap *m, struct table_budget *budget) MUST_USE;
void keymap_fini(struct keymap *m);
/* About n keys will come: from now on a segment that takes a key is made as it
 * will have to be for so many. Keys that come in the order of their hash, as a
 * checkpoint has them, then fill line after line; without, they clump in a map
 * that is always too small, and are moved again and again. Takes no memory. */
void keymap_expect(struct keymap *m, uint64_t n);
/* What it has taken from the budget. */
uint64_t keymap_bytes(const struct keymap *m);

/* The rows of n keys, TABLE_ABSENT where there is none. Pipelined. */
void keymap_find(const struct keymap *m, const uint64_t *keys, size_t n,
                 uint32_t *rows);
uint32_t keymap_find_one(const struct keymap *m, uint64_t key);
/* The key must be absent. PS_ENOMEM, PS_ELIMIT: the key still is, and no other
 * has changed. */
int keymap_insert(struct keymap *m, uint64_t key, uint32_t row) MUST_USE;
/* The row that it had, or TABLE_ABSENT. */
uint32_t keymap_erase(struct keymap *m, uint64_t key);

/* Walks all keys: start with a cleared cursor, end at 0. At most `room` pairs a
 * call, room >= KEYMAP_LINE_KEYS. The map must not change in between. */
struct keymap_cursor {
    uint32_t entry; /* of the directory */
    uint32_t line;  /* of its segment */
};
size_t keymap_next(const struct keymap *m, struct keymap_cursor *at,
                   uint64_t *keys, uint32_t *rows, size_t room);

/* Walks the map while it changes, by segments in the order of their hashes: a
 * key that is there from the first call to the last is met once. *at is 0 at
 * first and KEYMAP_HASH_END at the end; each call takes the pairs of one
 * segment whose row is below `limit`, there are at most `room` of those. */
size_t keymap_segment(const struct keymap *m, uint64_t *at, uint32_t limit,
                      uint64_t *keys, uint32_t *rows, size_t room);

#endif
