/* windows.h - the windows of one lane, by session. */
#ifndef WINDOWS_H
#define WINDOWS_H

#include "base/map.h"
#include "server/window.h"

/* All windows of a lane, by session. */
struct windows {
    struct map map;
    uint64_t forgotten; /* ended sessions up to this one are not known */
};

void windows_init(struct windows *ws);
void windows_fini(struct windows *ws);
struct window *windows_get(const struct windows *ws, uint64_t session);
/* The window, made if absent; NULL when out of memory. */
struct window *windows_make(struct windows *ws, uint64_t session) MUST_USE;
/* Marks the sessions that are not in open[n] (rising) and below `next` as
 * ended, and forgets those that ended more than ended_us ago. */
void windows_end(struct windows *ws, const uint64_t *open, size_t n,
                 uint64_t next, uint64_t now_us, uint64_t ended_us);

#endif
