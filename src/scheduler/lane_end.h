/* lane_end.h - ended lanes in the plan, for as long as anybody asks for them.
 *
 * The plan's list of ended lanes is the history that clients and shards go by:
 * while a lane is in it, parts keep what they know of it (protocol 3.3), and
 * who asks for one that is not is told that nobody knows. */
#ifndef LANE_END_H
#define LANE_END_H

#include "scheduler/scheduler_impl.h"

void lane_end_start(struct scheduler *s);
/* The table of sessions was looked at: time goes by. */
void lane_end_tick(struct scheduler *s);
/* A session has ended, which had said that it asks nothing more of lanes that
 * had ended by plan `settled`. */
void lane_end_on_session(struct scheduler *s, uint64_t settled);
/* What a lane that ends now has in WIRE_ENDED's `cut`. */
uint64_t lane_end_cut(const struct scheduler *s);
/* Whether w->ended[i] can go. */
bool lane_end_is_over(const struct scheduler *s, const struct wire_plan *w,
                      uint32_t i);

#endif
