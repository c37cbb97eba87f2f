/* move.h - parts go from one live shard to another, on request; shared by the
 * scheduler's .c files only.
 *
 *     asked --> the plan orders it --> the shard that has it writes it
 *                 (wire_moving)          |                 |
 *                                        v                 v
 *                              the plan gives it to    it fails, or stands
 *                              the other, to be        still, or a lane of the
 *                              loaded from there       two ends: the plan
 *                                                      orders it no more
 *
 * All of it is in the plan, so a scheduler that starts anew goes on. One at a
 * time, and none while a save or a restore is under way, which wait for its
 * end in turn (plan_owner_what_moves). */
#ifndef MOVE_H
#define MOVE_H

#include "scheduler/scheduler_impl.h"

/* WIRE_MOVE, as declare_apply. Who asked is told each second how far it is, as
 * NOT_READY, and asks again; an end waits two seconds for that. */
bool move_apply(struct scheduler *s, struct pending *p, struct wire_plan *w);
/* The one that is under way ends, or gives the part away, in w. */
bool move_update(struct scheduler *s, struct wire_plan *w);
/* s->plan is about to be followed by this one: folders that nobody needs go. */
void move_before_plan(struct scheduler *s, const struct plan *next);
/* A folder was found that may be one of moves: it goes if nobody needs it. */
void move_on_folder(struct scheduler *s, const char *folder);
/* What it was moved from is not needed any more: a checkpoint has it. */
bool move_is_saved(const struct scheduler *s, const struct wire_plan *w,
                   const struct wire_load *l);

#endif
