/* When an ended lane is forgotten:
 *
 *   - it ended, and sessions that had not said what follows ended, a span of
 *     LIMIT_ENDED_SESSION_MS or more ago;
 *   - every open session has said that it asks nothing more of it: no frame of
 *     its own is without an answer there, and nothing that was kept of it can
 *     be lost any more;
 *   - so all checkpoints that are kept were begun after its end; where there
 *     are logs, after every end of a lane of its server, too: parts that are of
 *     no such checkpoint yet would be made of older logs again;
 *   - no part waits on it, and its server has ended a later one: that a server
 *     was there is read from the list, too.
 *
 * What this scheduler has not seen it takes for unsaid: a new one forgets
 * nothing for a span. Lanes are looked at when others end. */
#include "scheduler/lane_end.h"

#include "base/probe.h"
#include "scheduler/restore.h"
#include "scheduler/save.h"

static void begin_span(struct scheduler *s)
{
    uint64_t ms = s->options.ended_session_ms != 0 ? s->options.ended_session_ms
                                                   : LIMIT_ENDED_SESSION_MS;
    struct lane_end *v = &s->lane_end;

    v->turn_us = scheduler_now(s) + ms * 1000;
    v->plan[1] = v->plan[0];
    v->plan[0] = s->plan->w.plan;
    v->unsaid[1] = v->unsaid[0];
    v->unsaid[0] = UINT64_MAX;
}

void lane_end_start(struct scheduler *s)
{
    s->lane_end = (struct lane_end){.turn_us = 0};
    begin_span(s);
}

void lane_end_tick(struct scheduler *s)
{
    if (scheduler_now(s) >= s->lane_end.turn_us) {
        begin_span(s);
    }
}

void lane_end_on_session(struct scheduler *s, uint64_t settled)
{
    uint64_t *unsaid = &s->lane_end.unsaid[0];

    *unsaid = base_min_u64(*unsaid, settled);
}

uint64_t lane_end_cut(const struct scheduler *s)
{
    const struct save *v = s->save;

    if (v->cut == 0 && v->phase == SAVE_PHASE_UNREAD) {
        return UINT64_MAX;
    }
    return base_max_u64(base_max_u64(v->cut, 1), s->restore->marks.cut);
}

static bool all_have_settled(const struct scheduler *s, uint64_t plan)
{
    const struct lane_end *v = &s->lane_end;
    const struct guest *g;
    size_t i = 0;

    while ((g = map_next(&s->guests, &i)) != NULL) {
        if (g->settled < plan) {
            return false;
        }
    }
    return v->plan[1] >= plan && v->unsaid[0] >= plan && v->unsaid[1] >= plan;
}

/* All that it did and that is left is in whatever rows come from. */
static bool is_behind_all(const struct scheduler *s, const struct wire_plan *w,
                          const struct wire_ended *e)
{
    bool is_logged = false;
    bool is_behind = true;

    for (uint32_t i = 0; i < w->n_variables; i++) {
        is_logged = is_logged || w->variables[i].durability != PS_MEMORY;
    }
    for (uint32_t i = 0; i < w->n_ended && is_logged; i++) {
        is_behind = is_behind && (w->ended[i].server != e->server ||
                                  w->ended[i].cut < s->save->oldest_of_two);
    }
    return is_logged ? is_behind : s->disk == NULL || e->cut < s->save->oldest;
}

bool lane_end_is_over(const struct scheduler *s, const struct wire_plan *w,
                      uint32_t i)
{
    const struct wire_ended *e = &w->ended[i];
    bool is_last = true;

    for (uint32_t k = i + 1; k < w->n_ended && is_last; k++) {
        is_last = w->ended[k].server != e->server;
    }
    if (is_last || !all_have_settled(s, e->plan) || !is_behind_all(s, w, e)) {
        return false;
    }
    for (uint32_t k = 0; k < w->n_parts; k++) {
        if (w->parts[k].lane == e->lane) {
            return false;
        }
    }
    PROBE(lane_end_is_forgotten);
    return true;
}
