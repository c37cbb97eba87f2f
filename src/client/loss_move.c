/* loss_move.c - parts that go from a lane to another: which of a lane's numbers
 * may be in a part. Those that the lane had given before the part came, or gave
 * when it had gone, are of other parts alone: they are not lost with it. */
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
    if (p->arrived_in != now->since) { /* else it is tried again */
        p->arrived_in = now->since;
        p->away_from =
            x->n_parts > n ? 1 : base_min_u64(p->last, SPANS_END - 1) + 1;
        p->last = SPANS_END;
    }
    return p->away_from <= last ? spans_add(&p->never, p->away_from, last)
                                : PS_OK;
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

static bool ends(const struct session *s, const struct acked *a)
{
    return plan_lane(s->former, a->lane) != NULL &&
           plan_lane(s->plan, a->lane) == NULL;
}

/* Of each lane that ends: then loss_add needs no memory. Nothing of it is
 * asked before the lane has ended but what that one has itself. */
static int make_room(struct session *s)
{
    int rc = PS_OK;

    for (size_t i = 0; i < s->n_acked && rc == PS_OK; i++) {
        const struct acked *a = &s->acked[i];
        const struct wire_lane *lane = plan_lane(s->former, a->lane);
        struct loss *x = loss_find(s, a->session, a->lane);

        if (!ends(s, a)) {
            continue;
        }
        if (x == NULL) {
            x = loss_make(s, a->session, a->lane, lane->server, lane->shard);
        }
        rc = x != NULL ? loss_make_parts(s, x) : PS_ENOMEM;
    }
    return rc;
}

/* What lanes that end have acknowledged is to be asked for. */
static void take_ended(struct session *s)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->n_acked; i++) {
        struct acked a = s->acked[i];

        if (ends(s, &a)) {
            loss_add(s, &a);
            loss_forget(&a);
        } else {
            s->acked[kept++] = a;
        }
    }
    s->n_acked = kept;
}

int loss_on_plan(struct session *s)
{
    const struct wire_plan *w = s->former != NULL ? &s->former->w : NULL;
    bool takes = w != NULL && !s->rollback.is_on;
    int rc = takes ? make_room(s) : PS_OK;

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
    if (takes && rc == PS_OK) {
        take_ended(s);
    }
    return rc;
}
