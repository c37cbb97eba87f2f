/* loss_move.c - parts that go from a lane to another: which of a lane's numbers
 * may be in a part. Those that the lane had given before the part came, or gave
 * when it had gone, are of other parts alone: they are not lost with it. */
#include "base/log.h"
#include "base/probe.h"
#include "client/loss_impl.h"

/* The last number that a lane has from a session; 0 for none. A former session
 * gets no more, whatever it had. */
static uint64_t last_number(const struct session *s, uint64_t session,
                            uint64_t lane)
{
    const struct link *l = map_get(&s->links, lane);

    if (l != NULL && l->number_session == session) {
        return l->next_seq - 1;
    }
    return session == s->number ? 0 : SPANS_END;
}

/* A part has left a lane that lives. What the lane had acknowledged is in the
 * part's rows; who holds them may come to begin with an older checkpoint. */
static int note_moved(struct session *s, uint64_t session,
                      const struct wire_part *part)
{
    const struct wire_part *now =
        plan_part(s->plan, part->variable, part->begin);
    const struct wire_load *load = plan_load(s->plan, now);
    const struct wire_lane *lane = plan_lane(s->plan, part->lane);
    struct loss *x = loss_find(s, session, part->lane);
    struct loss_part *p;

    if (x == NULL) {
        x = loss_make(s, session, part->lane, lane->server, lane->shard);
    }
    p = x != NULL ? loss_part_of(x, part->variable, part->begin, part->end)
                  : NULL;
    if (p == NULL) {
        return PS_ENOMEM;
    }
    p->last = last_number(s, session, part->lane);
    p->moved_in =
        load != NULL && strncmp(load->folder, "move-", 5) == 0 ? now->since : 0;
    return PS_OK;
}

/* A part has come to a lane: what was numbered before is of others. */
static int note_arrived(struct session *s, uint64_t session,
                        const struct wire_part *now)
{
    const struct wire_lane *lane = plan_lane(s->plan, now->lane);
    struct loss *x = loss_find(s, session, now->lane);
    uint64_t last = last_number(s, session, now->lane);
    uint64_t first = 1;
    struct loss_part *p;
    uint32_t n;

    if (lane == NULL || last == 0) {
        return PS_OK;
    }
    if (x == NULL) {
        x = loss_make(s, session, now->lane, lane->server, lane->shard);
    }
    n = x != NULL ? x->n_parts : 0;
    p = x != NULL ? loss_part_of(x, now->variable, now->begin, now->end) : NULL;
    if (p == NULL) {
        return PS_ENOMEM;
    }
    if (x->n_parts == n) { /* it was here before */
        first = p->last < SPANS_END ? p->last + 1 : SPANS_END;
    }
    p->last = SPANS_END;
    return first <= last ? spans_add(&p->never, first, last) : PS_OK;
}

static int note_for_all(struct session *s, uint64_t lane,
                        const struct wire_part *part,
                        int (*note)(struct session *s, uint64_t session,
                                    const struct wire_part *part))
{
    int rc = note(s, s->number, part);

    for (size_t i = 0; i < s->n_acked && rc == PS_OK; i++) {
        if (s->acked[i].lane == lane) {
            rc = note(s, s->acked[i].session, part);
        }
    }
    return rc;
}

void loss_on_plan(struct session *s)
{
    const struct wire_plan *w = s->former != NULL ? &s->former->w : NULL;
    int rc = PS_OK;

    for (uint32_t i = 0; w != NULL && i < w->n_parts; i++) {
        const struct wire_part *p = &w->parts[i];
        const struct wire_part *now = plan_part(s->plan, p->variable, p->begin);

        if (now == NULL || now->lane == p->lane || rc != PS_OK) {
            continue;
        }
        rc = note_for_all(s, now->lane, now, note_arrived);
        if (rc == PS_OK && plan_lane(s->plan, p->lane) != NULL) {
            PROBE(loss_part_has_moved);
            rc = note_for_all(s, p->lane, p, note_moved);
        }
    }
    if (rc != PS_OK) {
        log_write(LOG_ERROR, "out of memory: nobody is told if a push is lost "
                             "of a part that has moved");
    }
}
