/* lease.h - holding a leased record of the store, and watching one.
 *
 * A leased record is a wire_lease: {nonce, renewal, state, body}. Its holder
 * renews it by compare-and-swap; whoever ends it does so by compare-and-swap on
 * the same record, so of the two one fails (protocol 7.2).
 *
 * The holder counts from the *sending* of the last renewal that was confirmed,
 * and stops acknowledging at 5/6 of the length. An observer must have seen one
 * renewal number unchanged for a whole length on its own clock. What it counts
 * is bounded for each look (an eighth of the length), so that an observer that
 * was stopped, or whose clock jumped, does not take its own pause for the
 * holder's.
 *
 *            claim            free, expired or ours       take
 *     IDLE ---------> READING ------------------> READY --------> TAKING
 *                      ^   | held by another                     |  |
 *                      |   v                            conflict |  | ok
 *                      WAITING                READING <----------+  v
 *                                                         release  HELD
 *                                             IDLE <----- ENDING <--+
 *                                                   ended by another |
 *                                             LOST <-----------------+
 *
 * A state machine without clock or thread: its owner calls lease_tick when
 * lease_next has come and hands it the results whose tag is its own.
 */
#ifndef LEASE_H
#define LEASE_H

#include "coord/coord.h"
#include "wire/wire.h"

enum lease_record_state { LEASE_ENDED = 0, LEASE_TAKEN = 1 };

/* What an observer knows of a record. */
struct lease_view {
    uint64_t version;
    uint64_t nonce;
    uint64_t renewal;
    uint32_t state;
    bool is_known;
    uint64_t looked_us;    /* the last look */
    uint64_t unchanged_us; /* counted so far for this renewal */
};

void lease_view_init(struct lease_view *v);
/* Takes one look into account. True when the holder must be taken for dead:
 * the record is ended, or unchanged for length_us. An absent record is seen as
 * record == NULL and expires likewise. */
bool lease_view_look(struct lease_view *v, uint64_t version,
                     const struct wire_lease *record, uint64_t now_us,
                     uint64_t length_us);

enum lease_state {
    LEASE_IDLE,
    LEASE_READING,
    LEASE_WAITING,
    LEASE_READY,
    LEASE_TAKING,
    LEASE_HELD,
    LEASE_ENDING,
    LEASE_LOST
};

enum lease_event {
    LEASE_NOTHING,
    LEASE_IS_WAITING, /* another holds it: said once, for the log */
    LEASE_IS_READY,   /* set the body, then lease_take; old_body is there */
    LEASE_IS_HELD,    /* first time after a take */
    LEASE_IS_LOST,    /* ended or taken by another */
    LEASE_IS_RELEASED
};

struct lease {
    struct coord *coord;
    uint64_t tag;
    char key[COORD_KEY_MAX + 1];
    uint64_t nonce;
    uint64_t length_us;
    enum lease_state state;
    bool in_flight;         /* a request is unanswered */
    bool body_changed;      /* since the last write */
    bool must_read;         /* the last write's outcome is not known */
    bool first_hold;        /* not held yet since the claim */
    bool wrote_end;         /* the last write was the release */
    uint64_t version;       /* of the record as we know it */
    uint64_t renewal;       /* last number written or tried */
    uint64_t sent_us;       /* when it was sent */
    uint64_t confirmed_us;  /* sending of the last confirmed one; 0 none */
    uint64_t next_us;       /* when lease_tick has something to do */
    struct lease_view view; /* of another holder, while waiting */
    struct buf body;
    struct buf old_body; /* what the record held when it became ready */
    struct buf out;      /* scratch for encoding */
    struct arena arena;  /* scratch for decoding */
};

void lease_init(struct lease *l, struct coord *coord, const char *key,
                uint64_t nonce, uint64_t length_us, uint64_t tag);
void lease_fini(struct lease *l);
void lease_claim(struct lease *l);
/* PS_ENOMEM. While held, the change is written at the next tick. */
int lease_set_body(struct lease *l, const void *data, size_t size) MUST_USE;
void lease_take(struct lease *l, uint64_t now_us);
void lease_release(struct lease *l, uint64_t now_us);
/* Renews when it is time; looks again while waiting. */
void lease_tick(struct lease *l, uint64_t now_us);
enum lease_event lease_on_coord(struct lease *l, const struct coord_result *r,
                                uint64_t now_us);
uint64_t lease_next(const struct lease *l);
/* Until when the holder may acknowledge; 0 when it holds nothing. */
uint64_t lease_until(const struct lease *l);

#endif
