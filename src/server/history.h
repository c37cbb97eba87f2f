/* history.h - frozen copies: what a part's rows have of what its former lanes
 * had done (protocol 3.2).
 *
 *     part  [0 ........ 40,000) [40,000 ........ 65,536)
 *     lane 7     copy A               copy B
 *     lane 9               copy C
 *
 * A copy speaks for the buckets that it came with: parts that were held apart
 * and are one now may have come from different checkpoints, so what they know
 * of one lane is not mixed. Where content is one the parts of a shard share it:
 * most parts of a shard have the same former lanes with the same windows. The
 * plan names the lanes that anybody may still ask for; copies of others go.
 * Thread: the shard's. */
#ifndef HISTORY_H
#define HISTORY_H

#include "ckpt/ckpt_state.h"
#include "server/shard_impl.h"

struct history_copy {
    struct history_copy *next; /* of the shard's */
    struct history_copy *prev;
    struct shard *shard; /* NULL: in no list yet */
    uint32_t refs;
    uint64_t ended_us; /* when the last of its sessions was seen to end */
    uint64_t lane;
    uint64_t forgotten;        /* ended sessions up to this one are not known */
    struct ckpt_numbers *gaps; /* numbers below `next` that are not there */
    size_t n_gaps;
    size_t n;
    struct ckpt_window windows[]; /* by rising session */
};

struct history {
    struct history *next;
    uint32_t begin;
    uint32_t end;
    struct history_copy *copy;
};

/* With these windows and gaps, in any order. NULL: no memory. */
struct history_copy *history_copy_new(const struct ckpt_history *from) MUST_USE;
/* Gives it to these buckets of the part. It is the shard's from then on, or is
 * freed; *c is the shard's of this content, to be put again, or NULL.
 * PS_ENOMEM. */
int history_put(struct shard *s, struct shard_part *p, uint32_t begin,
                uint32_t end, struct history_copy **c) MUST_USE;
void history_free(struct history *list);
void history_drop_lane(struct shard_part *p, uint64_t lane);
/* What the part has of a lane; NULL. Of several ranges any. */
const struct history_copy *history_of(const struct shard_part *p,
                                      uint64_t lane);

/* What became of a number of a former lane in this range of the part: as
 * window_resolve, PS_ECANCELED where nothing of it is in the rows, PS_EUNSURE
 * where that differs within the range. */
int history_fate(const struct shard *s, const struct shard_part *p,
                 const struct wire_range *range, const struct wire_resolve *m);
/* What of a session's numbers of a lane is in all of this range. k->gaps is
 * taken from the arena. PS_ENOMEM. */
int history_keep(struct shard *s, const struct shard_part *p,
                 const struct wire_range *range, const struct wire_lost *m,
                 struct wire_keep *k) MUST_USE;

/* Drops copies of lanes that the plan does not name any more. */
void history_on_plan(struct shard *s);
/* Drops sessions that ended a while ago. */
void history_on_sessions(struct shard *s);

#endif
