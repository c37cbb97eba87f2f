/* shard_log_windows.h - numbers of a log into a part's frozen copies; shared by
 * shard*.c only.
 *
 * Numbers that the log does not have, below one that it has, are canceled:
 * they were refused, or wrote nothing that is logged, or were never
 * acknowledged. Thread: the shard's. */
#ifndef SHARD_LOG_WINDOWS_H
#define SHARD_LOG_WINDOWS_H

#include "server/shard_impl.h"

/* A lane whose log is to be replayed over a part. */
enum { LOG_NEED_FIRST = 0 };
struct shard_log_need {
    uint64_t lane;
    uint64_t from; /* the segment; FIRST: the first, or one from before the
                      variable came */
    struct ckpt_window *windows; /* while it is read */
    size_t n;
    size_t room;
};

/* Begins with the part's copy of the lane, if it has one. PS_ENOMEM. */
int shard_log_windows_begin(struct shard_part *p, uint64_t lane) MUST_USE;
/* An applied number of the lane that is read. PS_ENOMEM. */
int shard_log_windows_settle(struct shard_part *p, uint64_t session,
                             uint64_t seq) MUST_USE;
/* Makes it the part's copy. PS_ENOMEM. */
int shard_log_windows_end(struct shard *s, struct shard_part *p,
                          uint64_t lane) MUST_USE;

#endif
