/* patience.h - how long a role waits for others, and what it says meanwhile.
 *
 * A role that waits says what for in the log: at once when that changes, else
 * every 10 s. It gives up at its deadline; once it has been ready it never
 * gives up again. No clock inside.
 */
#ifndef PATIENCE_H
#define PATIENCE_H

#include "base/err.h"

struct patience {
    uint64_t start_us;
    uint64_t give_up_us; /* UINT64_MAX: never */
    uint64_t say_us;
    bool is_ready;
    bool was_ready;
    char said[192];
};

/* wait_s 0: for ever. */
void patience_init(struct patience *p, uint64_t now_us, uint32_t wait_s);
/* PS_ETIMEOUT, with the sentence in e, when the time is over. */
int patience_look(struct patience *p, uint64_t now_us, bool is_ready,
                  const char *says, struct err *e) MUST_USE;
/* When to look again at the latest. */
uint64_t patience_next(const struct patience *p, uint64_t now_us);

#endif
