/* spans.h - a set of numbers, as rising ranges that do not touch.
 *
 * Numbers of a lane are acknowledged, kept and lost in runs, so a set of them
 * is a few ranges, however many numbers it has. */
#ifndef SPANS_H
#define SPANS_H

#include "wire/wire.h"

/* The last number of a range that has no end. */
#define SPANS_END (UINT64_MAX - 1)

struct spans {
    struct wire_span *at;
    uint32_t n;
    uint32_t room;
};

enum spans_op { SPANS_EITHER, SPANS_BOTH, SPANS_WITHOUT };

void spans_fini(struct spans *s);
/* Adds first..last. PS_ENOMEM: nothing has changed. */
int spans_add(struct spans *s, uint64_t first, uint64_t last) MUST_USE;
/* *out, which is none of them and was empty, becomes a with, and or without b.
 * PS_ENOMEM: it is empty. */
int spans_combine(const struct spans *a, enum spans_op op,
                  const struct spans *b, struct spans *out) MUST_USE;
/* *to becomes to with b. */
int spans_join(struct spans *to, const struct spans *b) MUST_USE;
uint64_t spans_count(const struct spans *s);

#endif
