/* loss_impl.h - what is known of a lane's parts and what they lost, shared by
 * loss*.c only. Thread: the session's. */
#ifndef LOSS_IMPL_H
#define LOSS_IMPL_H

#include "client/session_impl.h"

enum loss_state { PART_TO_ASK, PART_ASKED, PART_TOLD, PART_GONE };

struct loss_part {
    uint32_t variable;
    uint32_t begin;
    uint32_t end;
    enum loss_state state;
    uint64_t lane;       /* of the holder that was asked, or is */
    uint64_t since;      /* ... and the plan that gave it the part */
    uint64_t last;       /* number that may be in it: it was moved then */
    uint64_t moved_in;   /* ... to who got it in this plan, with all it had */
    uint64_t arrived_in; /* the lane got it in this plan ... */
    uint64_t away_from;  /* ... and has given numbers without it since this */
    struct spans never;  /* numbers of other parts alone, as that one knows */
    struct spans lost;   /* what that one does not have */
    struct spans also;   /* of frames that were applied here, not elsewhere */
    struct spans told;   /* never again */
    struct spans fresh;  /* in conclude: what is told now */
    struct spans so_far; /* ... and all that is told with that */
};

struct loss {
    struct loss *next;
    uint64_t session;
    uint64_t lane;
    uint32_t server;
    uint32_t shard;
    struct spans acked;    /* by the lane, so in all of its parts */
    struct logged *logged; /* ... of each variable that is */
    struct spans counted;  /* told of any part */
    uint64_t n_counted;    /* ... and in the counter */
    bool is_over;          /* nobody is told of it any more */
    uint32_t n_flights;    /* that ask for it */
    struct loss_part *parts;
    uint32_t n_parts;
    uint32_t room;
};

struct loss *loss_find(const struct session *s, uint64_t session,
                       uint64_t lane);
/* NULL without memory. */
struct loss *loss_make(struct session *s, uint64_t session, uint64_t lane,
                       uint32_t server, uint32_t shard);
/* The part, made if absent; NULL without memory. */
struct loss_part *loss_part_of(struct loss *x, uint32_t variable,
                               uint32_t begin, uint32_t end);
/* The numbers of a lane that ends become those of its loss, which is there. */
void loss_add(struct session *s, struct acked *acked);
/* All that its lane has by the former plan. PS_ENOMEM. */
int loss_make_parts(const struct session *s, struct loss *x) MUST_USE;

#endif
