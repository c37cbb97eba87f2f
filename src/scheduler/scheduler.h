/* scheduler.h - who holds what: terms, plan, placement, ends of lanes and
 * sessions.
 *
 * A deterministic state machine. All it knows is in the store, so a scheduler
 * that starts anew continues; servers and clients read the store themselves
 * and do not notice. Only DECLARE, DROP and STATUS come over the network.
 *
 *     CLUSTER   reads `cluster`, creates it in an empty store, after a look
 *               for a checkpoint to begin with (restore.h)
 *     CLAIM     waits for the lease `scheduler` (another scheduler: a standby)
 *     TERM      raises the term in `plan`: an older scheduler's writes fail
 *     RUN       serves
 *     STOPPING  releases the lease, then STOPPED
 */
#ifndef SCHEDULER_H
#define SCHEDULER_H

#include "coord/coord.h"
#include "fs/disk.h"
#include "net/net.h"
#include "plan/place.h"

struct scheduler;

struct scheduler_options {
    uint32_t servers; /* -sn */
    struct place_limits limits;
    const char *address;     /* "host:port", copied */
    uint64_t lease_ms;       /* written to `cluster` when it is created */
    const char *checkpoints; /* their URL; NULL: none. Borrowed for good */
    uint32_t keep;           /* checkpoints that are kept; at least 2 */
    uint32_t full_every;     /* every Nth is whole; 0, 1: all are */
    /* Milliseconds since 1970, for manifests; NULL: 0. */
    uint64_t (*wall_ms)(void);
    /* A new store may begin empty although no checkpoint of those that are
     * there is good. */
    bool accept_empty;
    /* A server that is away for so long is given up: its parts go to others
     * that have room. 0: never. */
    uint64_t successor_ms;
    /* When a server dies the whole cluster goes back to its newest good
     * checkpoint, rather than that server's parts alone. */
    bool consistent;
    /* A save whose sessions have not all reported by then fails. 0: waits. */
    uint64_t save_wait_ms;
    /* How long an ended session may still ask; 0: LIMIT_ENDED_SESSION_MS. */
    uint64_t ended_session_ms;
};

/* disk: of checkpoints; NULL where there is no place for them. */
int scheduler_new(struct scheduler **scheduler,
                  const struct scheduler_options *options, struct coord *coord,
                  struct net *net, struct disk *disk) MUST_USE;
void scheduler_free(struct scheduler *s);
void scheduler_start(struct scheduler *s);
void scheduler_on_open(struct scheduler *s, uint64_t connection);
void scheduler_on_frame(struct scheduler *s, uint64_t connection,
                        const struct frame_header *header, struct frame *frame);
void scheduler_on_close(struct scheduler *s, uint64_t connection);
void scheduler_on_coord(struct scheduler *s, const struct coord_result *result);
void scheduler_on_disk(struct scheduler *s, const struct disk_result *result);
void scheduler_tick(struct scheduler *s);
uint64_t scheduler_next(const struct scheduler *s);
void scheduler_stop(struct scheduler *s);
bool scheduler_has_stopped(const struct scheduler *s);
bool scheduler_is_running(const struct scheduler *s);
/* Another runs; it waits for as long as that is so. */
bool scheduler_stands_by(const struct scheduler *s);
/* NULL, or why it has stopped without having run, and would again. */
const char *scheduler_refusal(const struct scheduler *s);
/* One line: what it does or waits for. */
const char *scheduler_says(const struct scheduler *s);

#endif
