/* window.h - which numbers of one (session, lane) have been settled.
 *
 * Numbers are applied in order, so what a shard must remember is small:
 *
 *      settled for good         fates kept           may come
 *     ------------------|------------------------|--------------------->
 *                   next-256                    next          floor+256
 *
 * `floor` is the session's first unanswered number as its frames say it. The
 * client keeps seq < floor + 256 and floor <= next, so every number that it may
 * still ask about has its fate here. A number ahead of next can be canceled
 * (resolve); it is skipped when its turn comes.
 */
#ifndef WINDOW_H
#define WINDOW_H

#include "base/limits.h"
#include "base/base.h"

struct window {
    uint64_t session;
    uint64_t next;         /* the number to be applied next; the first is 1 */
    uint64_t floor;        /* numbers below were answered, the client says */
    uint64_t refuse_below; /* frames of older plans than this are refused
                              (protocol 5.4); 0: none */
    bool has_ended;
    uint64_t ended_us;
    int8_t fate[LIMIT_WINDOW];            /* by seq % LIMIT_WINDOW */
    uint64_t canceled[LIMIT_WINDOW / 64]; /* numbers >= next */
};

enum window_verdict {
    WINDOW_NEXT,   /* its turn */
    WINDOW_REPEAT, /* settled before: see the fate */
    WINDOW_GAP,    /* an earlier number is missing */
    WINDOW_BAD     /* no honest client sends this number */
};

/* Takes note of the session's first unanswered number; one above `next` is not
 * believed: nobody answered what was not settled. */
void window_floor(struct window *w, uint64_t first);
enum window_verdict window_judge(const struct window *w, uint64_t seq,
                                 int *fate);
/* Settles number `next` with a status. */
void window_settle(struct window *w, uint64_t seq, int status);
/* The fate of a number; if it has none yet it is canceled for good. Returns
 * PS_OK (applied), PS_ECANCELED, the reason of a refusal, or PS_EUNSURE. */
int window_resolve(struct window *w, uint64_t seq);

#endif
