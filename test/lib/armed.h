/* armed.h - fails the nth allocation of those calls that a test marks, counted
 * over all of them, so that what a test itself needs does not fail.
 *
 *     for (uint64_t n = 1; armed.has_failed; n++) {
 *         armed_at(n);
 *         ARMED(x_do_something(x));
 *         ...
 *     }
 */
#ifndef ARMED_H
#define ARMED_H

#include "base/mem.h"

struct armed {
    uint64_t left; /* allocations until the failing one; 0: not armed */
    uint64_t before;
    bool has_failed; /* since armed_at; true at the start */
};

static struct armed armed = {.has_failed = true};

static inline void armed_at(uint64_t n)
{
    armed = (struct armed){.left = n};
}

static inline void armed_begin(void)
{
    armed.before = mem_calls();
    mem_fail_at(armed.left);
}

static inline void armed_end(void)
{
    uint64_t used = mem_calls() - armed.before;

    mem_fail_at(0);
    if (armed.left > 0 && used >= armed.left) {
        armed.has_failed = true;
        armed.left = 0;
    }
    armed.left -= armed.left > 0 ? used : 0;
}

#define ARMED(call)    \
    do {               \
        armed_begin(); \
        call;          \
        armed_end();   \
    } while (0)

#endif
