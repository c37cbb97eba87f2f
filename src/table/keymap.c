/* keymap.c - from a 64-bit key to a row number, one cache line a probe.
 *
 * A line is 64 bytes, and most look-ups see one line only:
 *
 *     +----------------------------------------+--------------------+----+---+
 *     | key 0 | key 1 | key 2 | key 3 | key 4  | row 0 ...    row 4 | ov | m |
 *     +----------------------------------------+--------------------+----+---+
 *     0                                        40                   60   62
 *
 * m says which of the five are in use, so every key may be stored. ov counts
 * the keys whose probe passes this line: a key goes to its home line, and where
 * that is full to the next one, round the end of the segment. A probe that does
 * not find its key in a line ends there if ov is 0. Deleting lowers the counts
 * on the key's path: no tombstones, a map that lives long does not get slower.
 *
 * Lines form segments, and the directory finds the segment (extendible
 * hashing). Of the low 48 bits of the hash, for a directory of depth 2:
 *
 *      47         46                    23                             0
 *     +-------------+------------------+--------------------------------+
 *     | directory   | for later splits | home = (bits * n_lines) >> 24  |
 *     +-------------+------------------+--------------------------------+
 *
 *     directory        segments               chunks of 256 lines
 *     [ 00 ] -------->  depth 2, 5 chunks -->  [    ][    ][    ][    ][    ]
 *     [ 01 ] -------->  depth 2, 4 chunks
 *     [ 10 ] ---+
 *     [ 11 ] ---+---->  depth 1, 7 chunks: the next to split
 *
 * A segment that is 0.8 full gets one chunk more; one that has seven is split
 * by its next bit into two of four. So the load stays between 0.64 and 0.8,
 * which is 16 to 20 bytes a key, where halving alone would let it fall to 0.4,
 * and, as hashing keeps all segments alike, in all of them at the same time.
 * What stops the shard is at most 7,168 keys being moved, about 100 us. The
 * directory doubles when a segment needs a bit that it does not have: a copy of
 * 8 bytes for each 3,500 to 7,000 keys. As home is monotone in the hash, a
 * rebuild reads the old lines and writes the new ones in order.
 *
 * Chunks are all alike: what a rebuild frees, the next one takes, nothing is
 * fragmented, and at most eight lie idle. They are cut from slabs of 2 MiB once
 * the map is large (huge pages are worth 1.7x), smaller ones before. A map
 * begins with 16 lines, which double until they are a chunk.
 *
 * Invariants: each line from a key's home to the one before the key's counts it
 * in ov; the entries of a segment of depth d are 1 << (depth - d) neighbours,
 * and its keys agree in the top d of the 48 bits; n_keys <= 5 * n_lines.
 *
 * A probe stays in its segment, so it is bounded by 1,792 lines; its mean is
 * 1.2. Only keys chosen to collide come near the bound: the hash is no secret.
 * Splitting does not part keys that agree in all 48 bits, so it is not tried
 * without end: the directory stays below 16 entries a segment, or 131,072.
 * Such a segment fills up and then refuses new keys (PS_ELIMIT); the others are
 * untouched.
 *
 * Why not the obvious ways. One array that doubles: seconds for 10^8 keys in
 * which the shard is dead, and three times the memory at that moment. Chaining:
 * two misses where this has one. The key in the row and a 16-bit tag here: half
 * the memory and a good end for this, but then rows hold keys, and a look-up of
 * what is absent touches rows; the plain form came first, to be measured
 * against.
 */
#include "table/keymap.h"

#include "base/hash.h"
#include "table/slab.h"

enum {
    TINY_LINES = 16,
    LINES_MAX = KEYMAP_CHUNKS_MAX * KEYMAP_CHUNK_LINES,
    /* Keys a line above which a segment grows: a load of 0.8. */
    LINE_KEYS_WANTED = 4,
    /* Keys for each chunk of a new half: a load of 0.7 for two equal halves. */
    SPLIT_CHUNK_KEYS = 1024,
    /* Keys for a segment of a map whose size is told: six chunks. */
    EXPECTED_KEYS_MAX = 5800,
    /* Hash bits: the lower half chooses the line, the upper the segment. */
    HASH_BITS = 48,
    HOME_BITS = 24,
    DEPTH_MAX = HASH_BITS - HOME_BITS,
    /* How far the directory may outgrow the segments, and its free start: 1
     * MiB, as a checkpoint's rows come in the order of their hash, and what is
     * loaded first is a clump until the rest is there. */
    DIRECTORY_PER_SEGMENT = 16,
    DIRECTORY_SMALL = 1 << 17,
    /* Keys between the prefetch and the probe; flat from 8 to 32. */
    GROUP = 16,
    LATE = 32
};

_Static_assert(sizeof(struct keymap_line) == 64, "one cache line");
_Static_assert(sizeof(struct keymap_segment) == 64, "one cache line");
_Static_assert(KEYMAP_CHUNK_LINES * 64 == CHUNK_BYTES, "the pool's pieces");

/* Where a key's probe begins. */
struct probe {
    const struct keymap_segment *segment;
    const struct keymap_line *line;
    uint32_t home;
};

static inline struct keymap_line *line_at(const struct keymap_segment *s,
                                          uint32_t i)
{
    return s->chunks[i / KEYMAP_CHUNK_LINES] + i % KEYMAP_CHUNK_LINES;
}

static inline uint32_t line_after(const struct keymap_segment *s, uint32_t i)
{
    return i + 1 == s->n_lines ? 0 : i + 1;
}

static inline uint32_t home_of(const struct keymap_segment *s, uint64_t hash)
{
    uint64_t bits = hash & ((UINT64_C(1) << HOME_BITS) - 1);

    return (uint32_t)((bits * s->n_lines) >> HOME_BITS);
}

static inline size_t entry_of(const struct keymap *m, uint64_t hash)
{
    uint64_t mask = (UINT64_C(1) << m->depth) - 1;

    return (size_t)((hash >> (HASH_BITS - m->depth)) & mask);
}

/* Bit i is set where key i of the line is this one. */
static inline uint32_t match(const struct keymap_line *l, uint64_t key)
{
    uint32_t hits = (uint32_t)(l->keys[0] == key);

    hits |= (uint32_t)(l->keys[1] == key) << 1;
    hits |= (uint32_t)(l->keys[2] == key) << 2;
    hits |= (uint32_t)(l->keys[3] == key) << 3;
    hits |= (uint32_t)(l->keys[4] == key) << 4;
    return hits & l->mask;
}

static inline bool is_full(const struct keymap_line *l)
{
    return l->mask == (1 << KEYMAP_LINE_KEYS) - 1;
}

static inline struct probe probe_start(const struct keymap *m, uint64_t key)
{
    uint64_t hash = hash_key(key);
    struct probe p;

    p.segment = m->directory[entry_of(m, hash)];
    p.home = home_of(p.segment, hash);
    p.line = line_at(p.segment, p.home);
    PREFETCH(p.line);
    return p;
}

/* The lines behind the home line. Sets *at to the line found. */
static uint32_t probe_on(const struct probe *p, uint64_t key, uint32_t *at)
{
    uint32_t i = p->home;

    for (uint32_t n = 1; n < p->segment->n_lines; n++) {
        const struct keymap_line *l;
        uint32_t hits;

        i = line_after(p->segment, i);
        l = line_at(p->segment, i);
        hits = match(l, key);
        if (hits != 0) {
            *at = i;
            return l->rows[__builtin_ctz(hits)];
        }
        if (l->overflow == 0) {
            break;
        }
    }
    return TABLE_ABSENT;
}

static inline uint32_t probe_end(const struct probe *p, uint64_t key,
                                 uint32_t *at)
{
    uint32_t hits = match(p->line, key);

    *at = p->home;
    if (LIKELY(hits != 0)) {
        return p->line->rows[__builtin_ctz(hits)];
    }
    return p->line->overflow == 0 ? TABLE_ABSENT : probe_on(p, key, at);
}

/* A look-up has three steps, each of which needs what the one before has asked
 * the memory for: the segment's header, the home line, the keys in it. A batch
 * goes through them in groups, so that while one group is probed the lines of
 * the next and the headers of the one after it are on their way. */
struct group {
    uint64_t hashes[GROUP];
    struct probe probes[GROUP];
};

/* Keys that are not in their home line but may be further on. About one in
 * seven is: to wait for the next line each time would cost as much as all the
 * home lines together, so it is prefetched and looked at later. */
struct late {
    struct probe probes[LATE];
    size_t places[LATE];
    size_t n;
};

static inline void find_segments(const struct keymap *m, const uint64_t *keys,
                                 size_t n, struct group *g)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t hash = hash_key(keys[i]);

        g->hashes[i] = hash;
        g->probes[i].segment = m->directory[entry_of(m, hash)];
        PREFETCH(g->probes[i].segment);
    }
}

static inline void find_lines(size_t n, struct group *g)
{
    for (size_t i = 0; i < n; i++) {
        struct probe *p = &g->probes[i];

        p->home = home_of(p->segment, g->hashes[i]);
        p->line = line_at(p->segment, p->home);
        PREFETCH(p->line);
    }
}

static void probe_late(struct late *late, const uint64_t *keys, uint32_t *rows)
{
    uint32_t at;

    for (size_t i = 0; i < late->n; i++) {
        size_t place = late->places[i];

        rows[place] = probe_on(&late->probes[i], keys[place], &at);
    }
    late->n = 0;
}

/* Looks at the home lines of keys at..at + n. */
static inline void find_keys(const struct group *g, const uint64_t *keys,
                             size_t at, size_t n, uint32_t *rows,
                             struct late *late)
{
    for (size_t i = 0; i < n; i++) {
        const struct probe *p = &g->probes[i];
        uint32_t hits = match(p->line, keys[at + i]);
        uint32_t row = p->line->rows[__builtin_ctz(hits | 1 << 4)];

        /* No branch on a hit: it is taken too often and missed too often. */
        rows[at + i] = hits != 0 ? row : TABLE_ABSENT;
        if (UNLIKELY((hits == 0) & (p->line->overflow != 0))) {
            PREFETCH(line_at(p->segment, line_after(p->segment, p->home)));
            late->probes[late->n] = *p;
            late->places[late->n] = at + i;
            late->n++;
        }
    }
    if (late->n > LATE - GROUP) {
        probe_late(late, keys, rows);
    }
}

void keymap_find(const struct keymap *m, const uint64_t *keys, size_t n,
                 uint32_t *rows)
{
    struct group groups[3];
    struct late late;
    size_t n_groups = (n + GROUP - 1) / GROUP;

    late.n = 0;
    for (size_t i = 0; i < n_groups + 2 && n > 0; i++) {
        size_t at = i * GROUP;

        if (i < n_groups) {
            find_segments(m, keys + at, base_min_u64(GROUP, n - at),
                          &groups[i % 3]);
        }
        if (i >= 1 && i - 1 < n_groups) {
            at = (i - 1) * GROUP;
            find_lines(base_min_u64(GROUP, n - at), &groups[(i - 1) % 3]);
        }
        if (i >= 2) {
            at = (i - 2) * GROUP;
            find_keys(&groups[(i - 2) % 3], keys, at,
                      base_min_u64(GROUP, n - at), rows, &late);
        }
    }
    probe_late(&late, keys, rows);
}

uint32_t keymap_find_one(const struct keymap *m, uint64_t key)
{
    struct probe p = probe_start(m, key);
    uint32_t at;

    return probe_end(&p, key, &at);
}

/* Puts an absent key into a segment that is not full. */
static inline void place(struct keymap_segment *s, uint64_t hash, uint64_t key,
                         uint32_t row)
{
    uint32_t i = home_of(s, hash);
    struct keymap_line *l = line_at(s, i);
    int slot;

    while (is_full(l)) {
        l->overflow++;
        i = line_after(s, i);
        l = line_at(s, i);
    }
    slot = __builtin_ctz(~(uint32_t)l->mask);
    l->keys[slot] = key;
    l->rows[slot] = row;
    l->mask = (uint8_t)(l->mask | 1u << slot);
    s->n_keys++;
}

static void give_lines(struct keymap *m, const struct keymap_segment *s)
{
    if (s->n_lines < KEYMAP_CHUNK_LINES) {
        size_t bytes = s->n_lines * sizeof(struct keymap_line);

        slab_give(m->budget, s->chunks[0], bytes);
        m->bytes -= bytes;
        return;
    }
    for (uint32_t i = 0; i < s->n_lines / KEYMAP_CHUNK_LINES; i++) {
        chunk_give(&m->pool, s->chunks[i]);
    }
}

/* Sets *s to an empty segment with lines of its own. */
static int take_lines(struct keymap *m, uint32_t n_lines, uint32_t depth,
                      struct keymap_segment *s)
{
    *s = (struct keymap_segment){.depth = (uint16_t)depth};
    if (n_lines < KEYMAP_CHUNK_LINES) {
        size_t bytes = n_lines * sizeof(struct keymap_line);
        void *lines;
        int rc = slab_take(m->budget, bytes, &lines);

        if (rc != PS_OK) {
            return rc;
        }
        m->bytes += bytes;
        s->chunks[0] = memset(lines, 0, bytes);
        s->n_lines = (uint16_t)n_lines;
        return PS_OK;
    }
    for (uint32_t i = 0; i < n_lines / KEYMAP_CHUNK_LINES; i++) {
        void *chunk;
        int rc = chunk_take(&m->pool, &chunk);

        if (rc != PS_OK) {
            for (uint32_t j = i; j > 0; j--) {
                chunk_give(&m->pool, s->chunks[j - 1]);
            }
            return rc;
        }
        s->chunks[i] = memset(chunk, 0, CHUNK_BYTES);
    }
    s->n_lines = (uint16_t)n_lines;
    return PS_OK;
}

static int take_header(struct keymap *m, struct keymap_segment **s)
{
    if (m->n_headers == 0) {
        void *chunk;
        int rc = chunk_take(&m->pool, &chunk);

        if (rc != PS_OK) {
            return rc;
        }
        m->headers = chunk;
        m->n_headers = CHUNK_BYTES / sizeof(**s);
    }
    *s = m->headers;
    m->headers++;
    m->n_headers--;
    return PS_OK;
}

/* Which half of a segment of this depth the hash belongs to. */
static inline bool is_high(uint64_t hash, uint32_t depth)
{
    return (hash >> (HASH_BITS - 1 - depth) & 1) != 0;
}

/* Puts all keys of `from` into `low` or `high`, which are empty and large
 * enough; they may be the same. */
static void move_keys(const struct keymap_segment *from,
                      struct keymap_segment *low, struct keymap_segment *high)
{
    for (uint32_t i = 0; i < from->n_lines; i++) {
        const struct keymap_line *l = line_at(from, i);

        for (uint32_t left = l->mask; left != 0; left &= left - 1) {
            int slot = __builtin_ctz(left);
            uint64_t hash = hash_key(l->keys[slot]);

            place(is_high(hash, from->depth) ? high : low, hash, l->keys[slot],
                  l->rows[slot]);
        }
    }
}

static int grow(struct keymap *m, struct keymap_segment *s)
{
    uint32_t n_lines = s->n_lines < KEYMAP_CHUNK_LINES
                           ? 2u * s->n_lines
                           : s->n_lines + (uint32_t)KEYMAP_CHUNK_LINES;
    struct keymap_segment larger;
    int rc = take_lines(m, n_lines, s->depth, &larger);

    if (rc != PS_OK) {
        return rc;
    }
    move_keys(s, &larger, &larger);
    ASSERT(larger.n_keys == s->n_keys);
    give_lines(m, s);
    *s = larger;
    return PS_OK;
}

static size_t directory_bytes(uint32_t depth)
{
    return sizeof(struct keymap_segment *) << depth;
}

static int double_directory(struct keymap *m)
{
    struct keymap_segment **wider;
    size_t bytes = directory_bytes(m->depth);
    void *p;
    int rc = slab_take(m->budget, 2 * bytes, &p);

    if (rc != PS_OK) {
        return rc;
    }
    wider = p;
    for (size_t i = 0; i < (size_t)1 << m->depth; i++) {
        wider[2 * i] = m->directory[i];
        wider[2 * i + 1] = m->directory[i];
    }
    slab_give(m->budget, m->directory, bytes);
    m->bytes += bytes;
    m->directory = wider;
    m->depth++;
    return PS_OK;
}

static uint32_t count_high(const struct keymap_segment *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->n_lines; i++) {
        const struct keymap_line *l = line_at(s, i);

        for (uint32_t left = l->mask; left != 0; left &= left - 1) {
            n += is_high(hash_key(l->keys[__builtin_ctz(left)]), s->depth);
        }
    }
    return n;
}

/* Lines for n keys, with some room. */
static uint32_t lines_for(uint64_t n)
{
    uint64_t chunks = n / SPLIT_CHUNK_KEYS + 1;

    return (uint32_t)base_min_u64(chunks, KEYMAP_CHUNKS_MAX) *
           KEYMAP_CHUNK_LINES;
}

/* Lines for a half that gets n keys; it need not be anywhere near a half. */
static uint32_t half_lines(const struct keymap *m, uint32_t n, uint32_t depth)
{
    uint32_t lines = lines_for(n);

    return depth == m->expected_depth && lines < m->expected_lines
               ? m->expected_lines
               : lines;
}

void keymap_expect(struct keymap *m, uint64_t n)
{
    uint32_t depth = 0;

    while (depth < DEPTH_MAX && n >> depth > EXPECTED_KEYS_MAX) {
        depth++;
    }
    if (depth > m->expected_depth) {
        m->expected_depth = depth;
        m->expected_lines = lines_for((n >> depth) + (n >> depth) / 32);
    }
}

static bool may_split(const struct keymap *m, const struct keymap_segment *s)
{
    uint64_t allowed = (uint64_t)DIRECTORY_PER_SEGMENT * m->n_segments;

    if (s->depth < m->depth) {
        return true;
    }
    return m->depth < DEPTH_MAX &&
           UINT64_C(2) << m->depth <= base_max_u64(allowed, DIRECTORY_SMALL);
}

/* Splits the segment that `hash` belongs to. */
static int split(struct keymap *m, struct keymap_segment *s, uint64_t hash)
{
    uint32_t n_high = count_high(s);
    struct keymap_segment low, high;
    struct keymap_segment *twin;
    size_t entries, entry;
    int rc = s->depth == m->depth ? double_directory(m) : PS_OK;

    if (rc != PS_OK) {
        return rc;
    }
    rc = take_lines(m, half_lines(m, s->n_keys - n_high, s->depth + 1u),
                    s->depth + 1u, &low);
    if (rc != PS_OK) {
        return rc;
    }
    rc = take_lines(m, half_lines(m, n_high, s->depth + 1u), s->depth + 1u,
                    &high);
    if (rc != PS_OK) {
        give_lines(m, &low);
        return rc;
    }
    rc = take_header(m, &twin);
    if (rc != PS_OK) {
        give_lines(m, &high);
        give_lines(m, &low);
        return rc;
    }
    move_keys(s, &low, &high);
    ASSERT(low.n_keys + high.n_keys == s->n_keys && high.n_keys == n_high);
    give_lines(m, s);
    entries = (size_t)1 << (m->depth - s->depth);
    entry = entry_of(m, hash) & ~(entries - 1);
    *s = low;
    *twin = high;
    for (size_t i = entries / 2; i < entries; i++) {
        ASSERT(m->directory[entry + i] == s);
        m->directory[entry + i] = twin;
    }
    m->n_segments++;
    return PS_OK;
}

/* Makes sure that the segment of `hash` can take one key more. Ends, because
 * each turn makes that segment larger or deeper. */
static int make_room(struct keymap *m, uint64_t hash)
{
    for (;;) {
        struct keymap_segment *s = m->directory[entry_of(m, hash)];
        int rc;

        if (s->depth >= m->expected_depth &&
            s->n_keys < (uint32_t)s->n_lines * LINE_KEYS_WANTED) {
            return PS_OK;
        }
        if (s->depth < m->expected_depth) {
            rc = split(m, s, hash);
        } else if (s->n_lines < LINES_MAX) {
            rc = grow(m, s);
        } else if (may_split(m, s)) {
            rc = split(m, s, hash);
        } else {
            bool is_room = s->n_keys < (uint32_t)s->n_lines * KEYMAP_LINE_KEYS;

            return is_room ? PS_OK : PS_ELIMIT;
        }
        if (rc != PS_OK) {
            return rc;
        }
    }
}

int keymap_init(struct keymap *m, struct table_budget *budget)
{
    void *directory;
    int rc;

    *m = (struct keymap){.budget = budget};
    chunk_init(&m->pool, budget);
    rc = slab_take(budget, directory_bytes(0), &directory);
    if (rc != PS_OK) {
        return rc;
    }
    rc = take_lines(m, TINY_LINES, 0, &m->first);
    if (rc != PS_OK) {
        slab_give(budget, directory, directory_bytes(0));
        return rc;
    }
    m->directory = directory;
    m->directory[0] = &m->first;
    m->bytes += directory_bytes(0);
    m->n_segments = 1;
    return PS_OK;
}

uint64_t keymap_bytes(const struct keymap *m)
{
    return m->bytes + m->pool.bytes;
}

void keymap_fini(struct keymap *m)
{
    if (m->first.n_lines < KEYMAP_CHUNK_LINES) {
        give_lines(m, &m->first);
    }
    chunk_fini(&m->pool);
    slab_give(m->budget, m->directory, directory_bytes(m->depth));
    *m = (struct keymap){.budget = m->budget};
}

int keymap_insert(struct keymap *m, uint64_t key, uint32_t row)
{
    uint64_t hash = hash_key(key);
    int rc = make_room(m, hash);

    ASSERT(row != TABLE_ABSENT);
    if (rc != PS_OK) {
        return rc;
    }
    place(m->directory[entry_of(m, hash)], hash, key, row);
    m->n_keys++;
    return PS_OK;
}

uint32_t keymap_erase(struct keymap *m, uint64_t key)
{
    struct keymap_segment *s = m->directory[entry_of(m, hash_key(key))];
    struct probe p = probe_start(m, key);
    uint32_t at;
    uint32_t row = probe_end(&p, key, &at);
    struct keymap_line *l;

    if (row == TABLE_ABSENT) {
        return TABLE_ABSENT;
    }
    for (uint32_t i = p.home; i != at; i = line_after(s, i)) {
        ASSERT(line_at(s, i)->overflow > 0);
        line_at(s, i)->overflow--;
    }
    l = line_at(s, at);
    l->mask = (uint8_t)(l->mask & ~match(l, key));
    s->n_keys--;
    m->n_keys--;
    return row;
}

size_t keymap_next(const struct keymap *m, struct keymap_cursor *at,
                   uint64_t *keys, uint32_t *rows, size_t room)
{
    size_t n = 0;

    ASSERT(room >= KEYMAP_LINE_KEYS);
    while (at->entry < (uint64_t)1 << m->depth) {
        const struct keymap_segment *s = m->directory[at->entry];

        for (; at->line < s->n_lines; at->line++) {
            const struct keymap_line *l = line_at(s, at->line);

            if (n + KEYMAP_LINE_KEYS > room) {
                return n;
            }
            for (uint32_t left = l->mask; left != 0; left &= left - 1) {
                keys[n] = l->keys[__builtin_ctz(left)];
                rows[n] = l->rows[__builtin_ctz(left)];
                n++;
            }
        }
        at->line = 0;
        at->entry += UINT32_C(1) << (m->depth - s->depth);
    }
    return n;
}

size_t keymap_segment(const struct keymap *m, uint64_t *at, uint32_t limit,
                      uint64_t *keys, uint32_t *rows, size_t room)
{
    const struct keymap_segment *s;
    uint64_t hashes;
    size_t n = 0;

    ASSERT(*at < KEYMAP_HASH_END);
    s = m->directory[entry_of(m, *at)];
    hashes = KEYMAP_HASH_END >> s->depth;
    /* Segments are split and never joined, so one begins where one ended. */
    ASSERT(*at % hashes == 0);
    *at += hashes;
    for (uint32_t i = 0; i < s->n_lines; i++) {
        const struct keymap_line *l = line_at(s, i);

        for (uint32_t left = l->mask; left != 0; left &= left - 1) {
            int slot = __builtin_ctz(left);

            if (l->rows[slot] < limit) {
                ASSERT(n < room);
                keys[n] = l->keys[slot];
                rows[n] = l->rows[slot];
                n++;
            }
        }
    }
    return n;
}
