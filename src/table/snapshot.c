/* snapshot.c - the rows of a table as they were at one moment.
 *
 * At the cut nothing is copied and nothing is walked. From then on `done` has a
 * bit for each row number that was in use at the cut, clear at first:
 *
 *     owed(row) = row < limit and not done, and, of an increment, changed
 *
 *     a row is written      owed: it is sent to the sink first, then done
 *     a row is erased       the same; then its number may be used again
 *     a number is taken     done: what has it now was not there at the cut
 *     the walker comes by   owed: sent, done
 *
 * So an owed row has the content and the key of the cut, whoever looks at it.
 *
 * Rows hold no key, so the walker goes through the index, and that changes
 * between its steps: segments grow, split, and are found through a directory
 * that doubles. But a segment is an interval of hash space, [0, 2^48), and a
 * split cuts it in two; intervals are never joined. So the walker is a place in
 * hash space:
 *
 *     0                       at                             2^48
 *     +-----------+-----+-----+-----------+------------------+
 *     |  visited  | and split | the next  |    still to come |
 *     +-----------+-----+-----+-----------+------------------+
 *
 * Behind it every row of the cut was seen, and the segment at it begins there.
 * A segment may be too much for one step, and it may change while half of it
 * was seen: so its (key, row) pairs are taken at once, one pass over 115 KB at
 * most, and their rows follow in slices. A pair whose row is still owed when
 * its turn comes is as good as on the first day; any other is passed over.
 * Pairs of numbers from `limit` on are not taken, so the list needs no more
 * room than the table had rows.
 *
 * Increments. The table marks the rows it changes. The cut takes these marks
 * away and puts clear ones in their place, by pointer; if the save fails they
 * are merged into the new ones, in slices: the marks of 10^8 rows are 12 MB. A
 * row that goes in between loses its mark in both, so that a mark is always one
 * of a row that exists.
 *
 * Invariant: sent + owed == rows, so after the walk sent == rows.
 *
 * Why not the obvious ways. fork(2): the server stands still while the kernel
 * copies all of its page tables, and then each first write copies a page. A
 * version in each row: eight bytes more in each. Two copies: twice the memory.
 */
#include "table/snapshot.h"

#include "base/probe.h"
#include "table/slab.h"
#include "table/table_impl.h"

enum {
    /* Rows that the sink gets at once: their first lines are on their way when
     * it begins, and the list is 4 KiB of the stack. */
    BATCH = 256,
    AHEAD = 16, /* rows whose marks are on their way */
    GIVE_BYTES = 256 << 10
};

enum phase { OPEN, MERGING, GIVING };

PLANT_DECLARE(change_without_copy_out);

struct snapshot {
    struct table *table;
    struct table_budget *budget;
    enum phase phase;
    struct snapshot_sink *sink;
    struct marks done;
    struct marks changed; /* where tracked: until the cut */
    struct erased erased;
    bool only_changed;
    uint32_t limit;  /* the cut's row numbers are below; 0: all are sent */
    uint64_t n_rows; /* to be sent */
    uint64_t n_sent;
    uint64_t at;    /* the walker: in hash space; dense: row number; MERGING:
                       word of `changed` */
    uint64_t *keys; /* pairs of the segment before `at` */
    uint32_t *rows;
    size_t room;
    size_t n_pairs;
    size_t n_seen; /* of the pairs */
};

static bool is_owed(const struct snapshot *s, uint32_t row)
{
    return row < s->limit && !marks_get(&s->done, row) &&
           (!s->only_changed || marks_get(&s->changed, row));
}

static void send(struct snapshot *s, const uint64_t *keys,
                 const uint8_t *const *blocks, size_t n)
{
    if (n > 0) {
        s->n_sent += n;
        s->sink->rows(s->sink, keys, blocks, n);
    }
}

/* Dense: keys is NULL. */
static void send_owed(struct snapshot *s, const uint64_t *keys,
                      const uint32_t *rows, size_t n)
{
    uint64_t owed[BATCH];
    const uint8_t *blocks[BATCH];
    size_t n_owed = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t row = rows[i];

        if (i + AHEAD < n && rows[i + AHEAD] < s->limit) {
            PREFETCH(marks_word(&s->done, rows[i + AHEAD]));
        }
        if (!is_owed(s, row)) {
            continue;
        }
        marks_set(&s->done, row);
        owed[n_owed] = keys == NULL ? s->table->spec.row_begin + row : keys[i];
        blocks[n_owed] = rows_address(&s->table->rows, row);
        PREFETCH(blocks[n_owed]);
        n_owed++;
        if (n_owed == BATCH) {
            send(s, owed, blocks, n_owed);
            n_owed = 0;
        }
    }
    send(s, owed, blocks, n_owed);
}

/* Gives back some of what only the walk needs; false: there is no more. */
static bool give_walk(struct snapshot *s, size_t bytes)
{
    s->limit = 0;
    slab_give(s->budget, s->keys, s->room * sizeof(*s->keys));
    slab_give(s->budget, s->rows, s->room * sizeof(*s->rows));
    s->keys = NULL;
    s->rows = NULL;
    s->room = 0;
    return marks_give(&s->done, bytes);
}

/* Some of all its memory; false: that was it. */
static bool give(struct snapshot *s, size_t bytes)
{
    if (give_walk(s, bytes) || marks_give(&s->changed, bytes) ||
        erased_give(&s->erased, 1 + bytes / sizeof(struct erased_block))) {
        return true;
    }
    slab_give(s->budget, s, sizeof(*s));
    return false;
}

/* Room for the pairs of any segment. */
static int take_pairs(struct snapshot *s)
{
    size_t room = base_min_u64(KEYMAP_SEGMENT_KEYS, s->limit);
    void *keys, *rows;
    int rc;

    if (room == 0) {
        return PS_OK;
    }
    rc = slab_take(s->budget, room * sizeof(*s->keys), &keys);
    if (rc != PS_OK) {
        return rc;
    }
    rc = slab_take(s->budget, room * sizeof(*s->rows), &rows);
    if (rc != PS_OK) {
        slab_give(s->budget, keys, room * sizeof(*s->keys));
        return rc;
    }
    s->keys = keys;
    s->rows = rows;
    s->room = room;
    return PS_OK;
}

/* `changed` gets the room of the table's marks, to change places with them. */
static int reserve(struct snapshot *s)
{
    int rc = marks_reserve(&s->done, s->limit);

    if (rc == PS_OK) {
        rc = marks_reserve(&s->changed, s->table->changed.room);
    }
    if (rc == PS_OK && !table_is_dense(s->table)) {
        rc = take_pairs(s);
    }
    return rc;
}

static void swap_changes(struct snapshot *s)
{
    struct table *t = s->table;
    struct marks clear = s->changed;
    struct erased none = s->erased;

    s->changed = t->changed;
    s->erased = t->erased;
    t->changed = clear;
    t->erased = none;
    marks_charge(&s->changed, s->budget);
    marks_charge(&t->changed, t->spec.budget);
}

int snapshot_begin(struct snapshot **snapshot, struct table *t,
                   bool only_changed, struct snapshot_sink *sink)
{
    struct table_budget *budget = t->spec.budget->snapshots != NULL
                                      ? t->spec.budget->snapshots
                                      : t->spec.budget;
    struct snapshot *s;
    void *p;
    int rc;

    while (snapshot_tidy(t, GIVE_BYTES)) {
    }
    ASSERT(t->snapshot == NULL && (!only_changed || t->spec.tracks_changes));
    rc = slab_take(budget, sizeof(*s), &p);
    if (rc != PS_OK) {
        return rc;
    }
    s = p;
    *s = (struct snapshot){
        .table = t,
        .budget = budget,
        .sink = sink,
        .only_changed = only_changed,
        .limit = t->rows.next,
        .n_rows = only_changed ? t->changed.n : t->rows.n,
    };
    marks_init(&s->done, budget);
    marks_init(&s->changed, budget);
    erased_init(&s->erased, t->spec.budget);
    rc = reserve(s);
    if (rc != PS_OK) {
        while (give(s, GIVE_BYTES)) {
        }
        return rc;
    }
    swap_changes(s);
    t->snapshot = s;
    *snapshot = s;
    return PS_OK;
}

uint64_t snapshot_rows(const struct snapshot *s)
{
    return s->n_rows;
}

uint64_t snapshot_sent(const struct snapshot *s)
{
    return s->n_sent;
}

const struct erased_block *snapshot_erased(const struct snapshot *s)
{
    return s->only_changed ? s->erased.first : NULL;
}

uint64_t snapshot_erased_keys(const struct snapshot *s)
{
    return s->only_changed ? s->erased.n : 0;
}

/* True at the end of the index. */
static bool walk_index(struct snapshot *s, size_t max_rows)
{
    size_t n;

    if (s->n_seen == s->n_pairs) {
        s->n_seen = 0;
        s->n_pairs = keymap_segment(&s->table->map, &s->at, s->limit, s->keys,
                                    s->rows, s->room);
    }
    n = base_min_u64(s->n_pairs - s->n_seen, max_rows);
    send_owed(s, s->keys + s->n_seen, s->rows + s->n_seen, n);
    s->n_seen += n;
    return s->n_seen == s->n_pairs && s->at == KEYMAP_HASH_END;
}

/* True at the end of the rows. */
static bool walk_dense(struct snapshot *s, size_t max_rows)
{
    uint64_t end = s->at + base_min_u64(s->limit - s->at, max_rows);

    while (s->at < end) {
        uint32_t rows[BATCH];
        size_t n = base_min_u64(end - s->at, BATCH);

        for (size_t i = 0; i < n; i++) {
            rows[i] = (uint32_t)(s->at + i);
        }
        send_owed(s, NULL, rows, n);
        s->at += n;
    }
    return s->at == s->limit;
}

bool snapshot_step(struct snapshot *s, size_t max_rows)
{
    bool at_end;

    ASSERT(max_rows > 0);
    if (s->n_sent < s->n_rows) {
        at_end = table_is_dense(s->table) ? walk_dense(s, max_rows)
                                          : walk_index(s, max_rows);
        ASSERT(!at_end || s->n_sent == s->n_rows);
    }
    if (s->n_sent < s->n_rows) {
        return true;
    }
    return give_walk(s, GIVE_BYTES);
}

void snapshot_end(struct snapshot *s, bool kept)
{
    struct table *t = s->table;

    ASSERT(t->snapshot == s && s->phase == OPEN &&
           (!kept || s->n_sent == s->n_rows));
    s->limit = 0;
    s->at = 0;
    s->phase = kept ? GIVING : MERGING;
}

bool snapshot_tidy(struct table *t, size_t bytes)
{
    struct snapshot *s = t->snapshot;

    if (s == NULL || s->phase == OPEN) {
        return false;
    }
    if (s->phase == MERGING) {
        if (!marks_merge(&t->changed, &s->changed, &s->at,
                         1 + bytes / sizeof(uint64_t)) &&
            !erased_merge(&t->erased, &s->erased,
                          1 + bytes / sizeof(struct erased_block))) {
            s->phase = GIVING;
        }
        return true;
    }
    if (give(s, bytes)) {
        return true;
    }
    t->snapshot = NULL;
    return false;
}

void snapshot_save(struct snapshot *s, const uint64_t *keys,
                   const uint32_t *rows, size_t n)
{
    if (!PLANT(change_without_copy_out)) {
        send_owed(s, keys, rows, n);
    }
}

void snapshot_skip(struct snapshot *s, uint32_t row)
{
    if (row < s->limit) {
        ASSERT(!s->only_changed || !marks_get(&s->changed, row));
        marks_set(&s->done, row);
    }
}

void snapshot_forget(struct snapshot *s, uint32_t row)
{
    ASSERT(!is_owed(s, row));
    marks_clear(&s->changed, row);
}

uint64_t snapshot_bytes(const struct snapshot *s)
{
    return s == NULL ? 0
                     : sizeof(*s) + s->done.bytes + s->changed.bytes +
                           s->erased.bytes +
                           s->room * (sizeof(*s->keys) + sizeof(*s->rows));
}
