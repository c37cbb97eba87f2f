/* snapshot.h - the rows of a table as they were at one moment.
 *
 * The table is in use all the time:
 *
 *     snapshot_begin(&s, table, only_changed, sink)       the cut
 *     while (snapshot_step(s, n)) { serve; }              the rest of the rows
 *     snapshot_end(s, kept)
 *     while (snapshot_tidy(table, n)) { serve; }          its memory
 *
 * Between begin and end the sink gets each row that was there at the cut
 * exactly once, with the content of the cut: from snapshot_step, or from a call
 * that is about to change or erase the row. A row that came after the cut is
 * not among them. One at a time for a table, and the table outlives it.
 * Thread: the table's owner.
 */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include "base/base.h"
#include "table/erased.h"
#include "table/table.h"

/* Takes n rows: blocks[i] has the values of keys[i] and its slots behind them,
 * only until the call returns. `key` is the row's id for dense. It must not
 * call the table, and must not fail: a save that cannot go on remembers that
 * and ignores what still comes. */
struct snapshot_sink {
    void (*rows)(struct snapshot_sink *sink, const uint64_t *keys,
                 const uint8_t *const *blocks, size_t n);
};

struct snapshot;

/* The cut. Takes the same time whatever the size of the table, if the one
 * before is tidied up; otherwise does that first. only_changed, of a table that
 * tracks its changes: only the rows that were changed since the last snapshot
 * that was kept. PS_ENOMEM, PS_ELIMIT (of budget->snapshots): nothing has
 * changed. */
int snapshot_begin(struct snapshot **snapshot, struct table *t,
                   bool only_changed, struct snapshot_sink *sink) MUST_USE;
/* How many rows the sink gets in all; known from the cut on. */
uint64_t snapshot_rows(const struct snapshot *s);
/* How many it got so far. */
uint64_t snapshot_sent(const struct snapshot *s);
/* only_changed: the keys erased since the last snapshot that was kept, in a
 * list of blocks, NULL for none, as many as snapshot_erased_keys says. A key
 * that was erased and inserted again is in it, and its row is among the rows:
 * who applies a list of changes erases first. Otherwise none. */
const struct erased_block *snapshot_erased(const struct snapshot *s);
uint64_t snapshot_erased_keys(const struct snapshot *s);
/* Looks at up to max_rows rows and sends those that the sink has not had yet;
 * the first look into a piece of the index (about 5,000 keys) costs some 50 us
 * more, at most one a call. False: the sink has had all of them. */
bool snapshot_step(struct snapshot *s, size_t max_rows) MUST_USE;
/* kept: the rows are safe, which needs all of them to be sent; the changes
 * since the one before are forgotten. Otherwise, at any time, they count as
 * changes for the next one again. The sink gets nothing any more; `s` is the
 * table's from now on. */
void snapshot_end(struct snapshot *s, bool kept);
/* What has ended is put away, about so many bytes of it; false: all is. */
bool snapshot_tidy(struct table *t, size_t bytes) MUST_USE;

/* For the table. Sends those of the rows that the sink has not had: they are
 * about to be changed or erased. Dense: keys is NULL. */
void snapshot_save(struct snapshot *s, const uint64_t *keys,
                   const uint32_t *rows, size_t n);
/* This number is taken now, by a row that was not there at the cut. */
void snapshot_skip(struct snapshot *s, uint32_t row);
/* This number is free now; if it was a row of the cut that row was sent. */
void snapshot_forget(struct snapshot *s, uint32_t row);
/* What it has taken from the budget; 0 of none. */
uint64_t snapshot_bytes(const struct snapshot *s);

#endif
