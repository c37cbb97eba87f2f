/* Parts that have no room where they are: their server is not waited for any
 * more, or its shard has found the rows of their checkpoint to be over the
 * memory limit. Placement goes by the rows that were declared; a variable may
 * have more. So a server that has said that it is full gets nothing for a
 * while, and parts do not go to and fro. Where nobody has room they stay, that
 * is said, and it is tried again with each look: the shard, too, tries again.
 * Parts that are logged stay in any case: their log is on that server's disk.
 */
#include <stdio.h>

#include "base/probe.h"
#include "scheduler/restore.h"

enum { FULL_US = 60000000 };

/* Notes who is full; false: nobody says so now. */
static bool look_for_full(struct scheduler *s)
{
    bool any = false;

    for (uint32_t i = 0; i < s->options.servers; i++) {
        struct member *m = &s->members[i];

        for (uint32_t k = 0; m->has_lanes && k < m->record.n_shards; k++) {
            if (m->record.shards[k].load_failed == LOAD_NO_ROOM) {
                m->full_us = scheduler_now(s) + FULL_US;
                any = true;
            }
        }
    }
    return any;
}

/* Its shard has said so of this very load. */
static bool has_no_room(const struct scheduler *s, const struct wire_part *part)
{
    const struct wire_shard *h = member_shard(s, part->lane);

    return h != NULL && h->load_failed == LOAD_NO_ROOM &&
           !member_has_loaded(s, part) && plan_load(s->plan, part) != NULL;
}

static void say(struct scheduler *s, uint32_t n_placed, uint32_t n_left)
{
    if (n_placed > 0) {
        PROBE(restore_plan_to_successor);
        log_write(LOG_WARNING,
                  "%u parts go to other servers: theirs does not come back, or "
                  "has no room for them",
                  (unsigned)n_placed);
    }
    if (n_left > 0) {
        log_limited(&s->room_log, scheduler_now(s), LOG_ERROR,
                    "%u parts are not served: no server has room for them; "
                    "more memory (-smem), or another server, is needed",
                    (unsigned)n_left);
        snprintf(s->says, sizeof(s->says),
                 "runs; %u parts are not served: no server has room for them",
                 (unsigned)n_left);
    } else if (s->n_without_room > 0) {
        snprintf(s->says, sizeof(s->says), "runs");
    }
    s->n_without_room = n_left;
}

/* w with the lanes of those only that are not full. PS_ENOMEM. */
static int leave_out_full(struct scheduler *s, struct wire_plan *w)
{
    struct wire_lane *lanes =
        arena_take(&s->arena, ((size_t)w->n_lanes + 1) * sizeof(*lanes));
    uint32_t n = 0;

    if (lanes == NULL) {
        return PS_ENOMEM;
    }
    for (uint32_t i = 0; i < w->n_lanes; i++) {
        uint32_t server = w->lanes[i].server;

        if (server >= s->options.servers ||
            scheduler_now(s) >= s->members[server].full_us) {
            lanes[n++] = w->lanes[i];
        }
    }
    w->lanes = lanes;
    w->n_lanes = n;
    return PS_OK;
}

uint32_t restore_room_place(struct scheduler *s, const struct wire_plan *w,
                            bool *wanted, uint64_t *lanes)
{
    bool any_full = look_for_full(s);
    uint32_t n = 0, n_logged = 0, n_placed = 0;
    struct wire_plan rest = *w;
    int rc;

    for (uint32_t i = 0; i < w->n_parts; i++) {
        if (any_full && lanes[i] == 0 && has_no_room(s, &w->parts[i])) {
            bool is_logged = restore_plan_is_logged(w, w->parts[i].variable);

            wanted[i] = !is_logged;
            n_logged += is_logged;
        }
        n += wanted[i];
    }
    rc = n > 0 ? leave_out_full(s, &rest) : PS_OK;
    if (rc == PS_OK && n > 0) {
        rc = place_parts(&rest, wanted, &s->options.limits, declare_slots_of,
                         &s->arena, lanes);
    }
    for (uint32_t i = 0; i < w->n_parts; i++) {
        n_placed += rc == PS_OK && wanted[i] && lanes[i] != 0;
    }
    if (w->n_lanes > 0) {
        say(s, n_placed, n + n_logged - n_placed);
    }
    return n_placed;
}
