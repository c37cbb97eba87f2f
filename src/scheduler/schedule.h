/* schedule.h - the scheduler process: its loop, store and listening socket. */
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include "base/err.h"
#include "plan/place.h"

struct schedule_options {
    const char *kv_path;
    uint32_t servers; /* -sn */
    struct place_limits limits;
    const char *checkpoints; /* URL, absolute; NULL: no place for them */
    uint32_t keep;           /* how many; at least 2 */
    uint32_t full_every;     /* whole ones; 0, 1: all are */
    bool accept_empty;       /* begins where no checkpoint is good, too */
    uint32_t save_wait_s;    /* for sessions to reach a cut; 0: for ever */
    uint32_t give_up_s;      /* servers that are away for so long; 0: none */
    bool consistent;         /* all go back when a server dies */
    uint64_t lease_ms;       /* 0: LIMIT_LEASE_MS */
    const char *bind;        /* NULL: 127.0.0.1 */
    const char *advertise; /* host that others use; NULL: where it binds, or the
                              host's name where that is everywhere */
    uint16_t port;         /* 0: any free one */
    uint32_t wait_s;       /* gives up if it does not run by then, a standby
                              included; 0: never */
};

/* Serves until SIGTERM or SIGINT, then PS_OK. PS_ETIMEOUT: gave up waiting, e
 * says for what. PS_EDATALOSS: there are checkpoints, and none is good.
 * PS_EARGUMENT, PS_EIO, PS_ENOMEM. Changes this process' log name and its
 * handling of SIGPIPE. */
int schedule_run(const struct schedule_options *options,
                 struct err *e) MUST_USE;

#endif
