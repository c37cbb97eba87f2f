#include "net/workers.h"

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

/* IS_OVER, and INSIDE for each thread that is inside. Atomic. */
static _Atomic uint32_t gate;

enum { IS_OVER = 1, INSIDE = 2, WAIT_NS = 100 * 1000, WAITS_MAX = 10000 };

bool workers_enter(void)
{
    if ((atomic_fetch_add(&gate, INSIDE) & IS_OVER) != 0) {
        workers_leave();
        return false;
    }
    return true;
}

void workers_leave(void)
{
    atomic_fetch_sub(&gate, INSIDE);
}

/* Before that of libuv, which is a library of ours. In the child of a fork
 * somebody may be inside who is not there: a second is enough. */
__attribute__((destructor)) static void end(void)
{
    const struct timespec wait = {.tv_nsec = WAIT_NS};

    atomic_fetch_or(&gate, IS_OVER);
    for (int i = 0; i < WAITS_MAX && atomic_load(&gate) != IS_OVER; i++) {
        nanosleep(&wait, NULL);
    }
}
