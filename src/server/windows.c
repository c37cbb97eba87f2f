/* A session's window is made by its first numbered frame and kept for a while
 * after the session's end, so that what became of its numbers can be asked. */
#include "server/windows.h"

#include "base/mem.h"
#include "base/probe.h"

PLANT_DECLARE(dedup_without_session);

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
                 uint64_t next, uint64_t now_us, uint64_t ended_us)
{
    struct window *w;
    uint64_t old[64]; /* a map does not change under a walk */
    size_t n_old = 0;
    size_t i = 0;

    while ((w = map_next(&ws->map, &i)) != NULL) {
        if (!w->has_ended && w->session < next && !is_in(open, n, w->session)) {
            w->has_ended = true;
            w->ended_us = now_us;
        }
        if (w->has_ended && n_old < ARRAY_LEN(old) &&
            now_us - w->ended_us > ended_us) {
            old[n_old++] = w->session;
        }
    }
    /* What is left over goes with the next session that ends. */
    for (i = 0; i < n_old; i++) {
        mem_free(map_take(&ws->map, old[i]));
        ws->forgotten = base_max_u64(ws->forgotten, old[i]);
    }
}
