/* restore_past.h - which checkpoints a part's rows come from, one on another.
 *
 * A part that is loaded gives up what was made since: the cuts from behind that
 * of its load to the newest that had begun. What its rows do not have its
 * sessions are told to be lost, and whoever replays that must not meet it again
 * in a checkpoint of that time. So the plan keeps these gaps, with the number
 * of the plan in which the part got its rows (WIRE_GAP), and a manifest those
 * of all parts. A checkpoint of the cluster is of a part's past if it is older
 * than what the part comes from, and in no gap. Cuts rise for ever, in the next
 * store of a cluster, too. */
#ifndef RESTORE_PAST_H
#define RESTORE_PAST_H

#include "ckpt/ckpt.h"

enum { RESTORE_GAPS_MAX = 8 };
#define RESTORE_PAST_ALL UINT64_MAX

struct restore_past {
    uint32_t n;
    struct ckpt_gap gaps[RESTORE_GAPS_MAX];
};

/* Of the parts that got their rows in plan `since`, or of all together. */
void restore_past_of(const struct wire_plan *w, uint64_t since,
                     struct restore_past *past);
bool restore_past_is_same(const struct restore_past *a,
                          const struct restore_past *b);
/* Cuts in (after, to] are not of it any more. Where there is no room two gaps
 * become one, with what is between them. */
void restore_past_give_up(struct restore_past *past, uint64_t after,
                          uint64_t to);
bool restore_past_has(const struct restore_past *past, uint64_t cut);
/* It was left for this cut, or for one above it. */
bool restore_past_is_below(const struct restore_past *past, uint64_t cut);
/* Adds them to the gaps of w. PS_ENOMEM. */
int restore_past_write(const struct restore_past *past, uint64_t since,
                       struct arena *arena, struct wire_plan *w) MUST_USE;
#endif
