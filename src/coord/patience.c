/* patience.c - how long a role waits for others, and what it says meanwhile. */
#include "coord/patience.h"

#include <stdio.h>

#include "base/log.h"

enum {
    SAY_US = 10000000,
    LOOK_US = 100000 /* how late a change may be said */
};

void patience_init(struct patience *p, uint64_t now_us, uint32_t wait_s)
{
    *p = (struct patience){
        .start_us = now_us,
        .give_up_us =
            wait_s == 0 ? UINT64_MAX : now_us + (uint64_t)wait_s * 1000000,
    };
}

int patience_look(struct patience *p, uint64_t now_us, bool is_ready,
                  const char *says, struct err *e)
{
    bool has_changed = strcmp(p->said, says) != 0;

    if (has_changed) {
        snprintf(p->said, sizeof(p->said), "%.191s", says);
    }
    p->is_ready = is_ready;
    if (is_ready) {
        p->was_ready = true;
        if (has_changed) {
            log_write(LOG_INFO, "%s", says);
        }
        p->say_us = now_us + SAY_US;
        return PS_OK;
    }
    if (!p->was_ready && now_us >= p->give_up_us) {
        return err_set(e, PS_ETIMEOUT, "gave up after %llu s: %s",
                       (unsigned long long)(now_us - p->start_us) / 1000000,
                       says);
    }
    if (has_changed || now_us >= p->say_us) {
        log_write(LOG_INFO, "%s", says);
        p->say_us = now_us + SAY_US;
    }
    return PS_OK;
}

uint64_t patience_next(const struct patience *p, uint64_t now_us)
{
    return p->is_ready ? UINT64_MAX : now_us + LOOK_US;
}
