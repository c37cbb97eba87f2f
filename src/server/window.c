/* See window.h for the drawing. */
#include "server/window.h"

#include "base/mem.h"
#include "base/probe.h"

PLANT_DECLARE(dedup_without_session);
PLANT_DECLARE(floor_early);
PLANT_DECLARE(gap_accepted);

_Static_assert(PS_ECLOSED >= INT8_MIN, "a fate is kept in 8 bits");

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
    if (seq == w->next) {
        window_settle(w, seq, PS_ECANCELED);
    } else {
        w->canceled[i / 64] |= (uint64_t)1 << (i % 64);
    }
    return PS_ECANCELED;
}

void windows_init(struct windows *ws)
{
    map_init(&ws->map);
    ws->forgotten = 0;
}

void windows_fini(struct windows *ws)
{
    struct window *w;
    size_t i = 0;

    while ((w = map_next(&ws->map, &i)) != NULL) {
        mem_free(w);
    }
    map_fini(&ws->map);
}

struct window *windows_get(const struct windows *ws, uint64_t session)
{
    if (PLANT(dedup_without_session)) {
        session = 1;
    }
    return map_get(&ws->map, session);
}

struct window *windows_make(struct windows *ws, uint64_t session)
{
    struct window *w = windows_get(ws, session);

    if (w != NULL) {
        return w;
    }
    w = mem_try_zero(sizeof(*w));
    if (w == NULL) {
        return NULL;
    }
    if (PLANT(dedup_without_session)) {
        session = 1;
    }
    w->session = session;
    w->next = 1;
    if (map_put(&ws->map, session, w) != PS_OK) {
        mem_free(w);
        return NULL;
    }
    return w;
}

static bool is_in(const uint64_t *sorted, size_t n, uint64_t x)
{
    size_t low = 0;

    while (low < n) {
        size_t mid = low + (n - low) / 2;

        if (sorted[mid] == x) {
            return true;
        }
        if (sorted[mid] < x) {
            low = mid + 1;
        } else {
            n = mid;
        }
    }
    return false;
}

void windows_end(struct windows *ws, const uint64_t *open, size_t n,
                 uint64_t next, uint64_t now_us)
{
    struct window *w;
    uint64_t old = 0;
    size_t i = 0;

    while ((w = map_next(&ws->map, &i)) != NULL) {
        if (!w->has_ended && w->session < next && !is_in(open, n, w->session)) {
            w->has_ended = true;
            w->ended_us = now_us;
        }
        if (w->has_ended &&
            now_us - w->ended_us > (uint64_t)LIMIT_ENDED_SESSION_MS * 1000) {
            old = w->session;
        }
    }
    /* One at a time: a map does not change under a walk, and the next call
     * takes the next. */
    if (old != 0) {
        mem_free(map_take(&ws->map, old));
        ws->forgotten = base_max_u64(ws->forgotten, old);
    }
}
