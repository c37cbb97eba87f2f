/* tape.h - a network for one machine under test: it keeps on tape what the
 * machine does, and has the clock that it sees.
 *
 * Frames are copied when they are sent, so that what is sent again can be
 * compared byte by byte with what was sent first. Nothing is delivered: the
 * test calls the machine's x_on_* itself.
 */
#ifndef TAPE_H
#define TAPE_H

#include "net/net.h"

enum { TAPE_CONNECTS_MAX = 256, TAPE_ADDRESS_BYTES = 32 };

struct tape_frame {
    struct tape_frame *next;
    uint64_t connection;
    struct frame_header h;
    struct frame *frame;
};

struct tape_connect {
    char address[TAPE_ADDRESS_BYTES];
    bool is_closed; /* by the machine */
};

struct tape {
    struct net net;
    uint64_t now_us;
    uint64_t looks;   /* at the clock, so far */
    uint64_t jump_at; /* this look and all later ones see jump_us more */
    uint64_t jump_us;
    uint64_t random;
    struct tape_frame *first; /* not taken yet, oldest first */
    struct tape_frame *last;
    size_t n_sent; /* ever */
    /* Connection i + 1 is connects[i]; those that the test opens as a server
     * have numbers from tape_accept, in the same row. */
    struct tape_connect connects[TAPE_CONNECTS_MAX];
    size_t n_connects;
    bool is_unreachable; /* connect answers 0 */
};

void tape_init(struct tape *t);
void tape_fini(struct tape *t);
/* The oldest frame not taken yet, to be freed by the caller; NULL. */
struct tape_frame *tape_take(struct tape *t);
void tape_free(struct tape_frame *f);
/* Throws away what has not been taken. */
void tape_clear(struct tape *t);
/* A connection that came from outside. */
uint64_t tape_accept(struct tape *t);
/* The newest connection to an address that was not closed; 0. */
uint64_t tape_connected(const struct tape *t, const char *address);
bool tape_is_closed(const struct tape *t, uint64_t connection);

#endif
