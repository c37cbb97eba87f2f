/* cluster.h - the other side of a session's whole life: shards that apply each
 * number once, a scheduler that saves and goes back. Over the session's stage,
 * whose plan it changes; what it does never fails.
 */
#ifndef CLUSTER_H
#define CLUSTER_H

#include "session_stage.h"

enum {
    SUCCESSOR = 9, /* of lane B, where it has lost everything */
    AFTER_A,       /* the lanes of after the restore */
    AFTER_B,
    LANES_END
};

struct cluster {
    uint64_t last[LANES_END]; /* number that was applied, by lane */
    double sum;               /* of all values that were pushed */
    uint64_t kept_below;      /* of lane A, in the part that has moved; 0 */
    uint64_t nonce;           /* of the last save */
    uint64_t ticket;
    uint64_t cut;
    uint64_t restore; /* the nonce of it */
};

extern struct cluster cluster;

/* Nothing has happened yet. */
void cluster_begin(void);
/* Does what a frame asks for; the body of the answer, which is PS_OK. */
void cluster_serve(const struct tape_frame *f, struct buf *body);
/* The save that was asked for last. */
void cluster_put_save(enum wire_save_state state);
/* Whether the session has said that it stood there when it took the cut. */
bool cluster_has_report(const char *position);
/* The lower part of SPLIT goes from A to B with all that it has. */
void cluster_move(void);
/* B ends, and its parts begin with nothing. */
void cluster_end_b(void);

#endif
