/* See window.h for the drawing. */
#include "server/window.h"

#include "base/probe.h"

PLANT_DECLARE(floor_early);
PLANT_DECLARE(gap_accepted);
PLANT_DECLARE(resolve_without_fence);

_Static_assert(PS_EROLLEDBACK >= INT8_MIN, "a fate is kept in 8 bits");

void window_floor(struct window *w, uint64_t first)
{
    if (PLANT(floor_early)) {
        w->floor = first + 1;
    } else if (first > w->floor && first <= w->next) {
        w->floor = first;
    }
}

static bool is_canceled(const struct window *w, uint64_t seq)
{
    uint64_t i = seq % LIMIT_WINDOW;

    return (w->canceled[i / 64] >> (i % 64) & 1) != 0;
}

enum window_verdict window_judge(const struct window *w, uint64_t seq,
                                 int *fate)
{
    if (seq == 0 || seq >= w->floor + LIMIT_WINDOW) {
        return WINDOW_BAD;
    }
    if (seq < w->floor || seq < w->next) {
        *fate = w->fate[seq % LIMIT_WINDOW];
        if (seq < w->floor) {
            /* The client has its answer; this is an old copy of the frame. */
            PROBE(window_below_floor);
        }
        if (seq + LIMIT_WINDOW < w->next) {
            *fate = PS_EUNSURE;
        }
        return WINDOW_REPEAT;
    }
    if (seq < w->next + LIMIT_WINDOW && is_canceled(w, seq)) {
        PROBE(window_canceled_ahead);
        *fate = PS_ECANCELED;
        return WINDOW_REPEAT;
    }
    if (seq == w->next || PLANT(gap_accepted)) {
        return WINDOW_NEXT;
    }
    return WINDOW_GAP;
}

void window_settle(struct window *w, uint64_t seq, int status)
{
    w->fate[seq % LIMIT_WINDOW] = (int8_t)status;
    w->next = seq + 1;
    while (is_canceled(w, w->next)) {
        uint64_t i = w->next % LIMIT_WINDOW;

        w->canceled[i / 64] &= ~((uint64_t)1 << (i % 64));
        w->fate[i] = PS_ECANCELED;
        w->next++;
    }
}

int window_resolve(struct window *w, uint64_t seq)
{
    uint64_t i = seq % LIMIT_WINDOW;

    if (seq == 0 || seq >= w->next + LIMIT_WINDOW ||
        seq + LIMIT_WINDOW < w->next) {
        return PS_EUNSURE;
    }
    if (seq < w->next) {
        return w->fate[i];
    }
    PROBE(window_resolve_cancels);
    if (PLANT(resolve_without_fence)) {
        return PS_ECANCELED;
    }
    if (seq == w->next) {
        window_settle(w, seq, PS_ECANCELED);
    } else {
        w->canceled[i / 64] |= (uint64_t)1 << (i % 64);
    }
    return PS_ECANCELED;
}
