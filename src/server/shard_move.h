/* shard_move.h - a part that goes to another shard, shared by shard*.c only.
 *
 *     the plan says so (struct wire_moving)
 *          |  nothing writes the part any more: BUSY; it is read all the same
 *          v
 *     rows, windows, copies -> files -> index -> manifest, all durable, all
 *          |  read back: struct saving, as of a save with one part
 *          v
 *     said in the server's record; nobody reads the part here any more
 *          |                                       |
 *          v                                       v
 *     a plan without the part:              a plan without the move:
 *     it is dropped                         it serves again
 *
 * Either plan ends it, whatever has been done; so what the plan gives away was
 * not changed since it was written. Thread: the shard's. */
#ifndef SHARD_MOVE_H
#define SHARD_MOVE_H

#include "server/shard_save.h"

/* Before the tables of a former plan go. */
void shard_move_before_plan(struct shard *s, const struct plan *plan);
/* The shard's plan is new, or time has gone by. */
void shard_move_begin(struct shard *s);
uint64_t shard_move_next(const struct shard *s);
/* Whether a frame with the part must wait: one that is to be applied, whatever
 * it does to this part, because its number is not in the copy; else one that
 * reads. */
bool shard_move_holds(const struct shard *s, const struct shard_part *p,
                      bool applies);
/* Its rows are on their way to the disk. */
bool shard_move_is_written(const struct shard *s);
void shard_move_report(const struct shard *s, struct shard_report *r);

/* A piece of its rows was written: now and then they are synced. */
void shard_move_sync(struct saving *v);
/* From the index to the end. */
void shard_move_place(struct saving *v);
void shard_move_on_placed(struct saving *v, const struct disk_result *r);

#endif
