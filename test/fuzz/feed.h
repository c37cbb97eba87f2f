/* feed.h - what the stateful fuzz targets share: the input as numbers, and
 * connections that an enemy may open, write to and cut.
 *
 * A frame of the input is short: a byte for each field of the header, which is
 * then put right, checksum and all, because no fuzzer finds a checksum. It goes
 * through a frame_reader in pieces, as from a socket. Whatever the machine
 * under test sends is checked: an answer, to something that was asked, whose
 * body its reader can take apart.
 */
#ifndef FEED_H
#define FEED_H

#include "net/net.h"

enum { FEED_PEERS = 4 };

/* What is left of the input; at its end every number is 0. */
struct feed {
    const uint8_t *data;
    size_t left;
};

uint8_t feed_u8(struct feed *f);
/* A small number as one byte, or one of the edges of 64 bits. */
uint64_t feed_number(struct feed *f);
/* At most the bytes that the next two say. */
const uint8_t *feed_bytes(struct feed *f, size_t *size);

struct peers;

/* The machine under test. */
struct peers_ops {
    void (*on_open)(uint64_t connection);
    void (*on_frame)(uint64_t connection, const struct frame_header *h,
                     struct frame *frame);
    void (*on_close)(uint64_t connection);
    /* Puts right what a fuzzer cannot find in a body; may be NULL. */
    void (*patch)(uint16_t type, uint8_t *body, size_t size);
};

struct peers {
    struct net net; /* of the machine */
    const struct peers_ops *ops;
    uint64_t now_us;
    uint64_t random;
    uint64_t opened;  /* connections so far; the last one's number */
    uint64_t asked;   /* frames that the machine got */
    uint64_t answers; /* and sent */
    uint64_t connections[FEED_PEERS]; /* 0: none */
    struct frame_reader readers[FEED_PEERS];
};

void peers_init(struct peers *p, const struct peers_ops *ops);
void peers_fini(struct peers *p);
/* One frame from the input, or bytes as they are, on the connection that it
 * names; opened where it is not. */
void peers_frame(struct peers *p, struct feed *f);
void peers_raw(struct peers *p, struct feed *f);
/* Cuts one connection, or all. */
void peers_cut(struct peers *p, struct feed *f);
void peers_cut_all(struct peers *p);

/* What this process has from malloc. */
size_t heap_bytes(void);

#endif
