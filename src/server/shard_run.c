/* A data frame, in the order of protocol part 5:
 *
 *     1 bytes      lengths, known chains          bad: the connection ends
 *     2 session    unknown: BUSY; ended: EXPIRED
 *     3 window     a repeat is answered, a gap refused, before anything else
 *     4 plan       ahead: NOT_YET; a part that went: REJECTED(plan)
 *     5 prepare    look up, insert, reserve; may refuse, nothing has changed
 *     6 lease      held: apply, record the number, look again, answer
 *
 * BUSY, GAP and NOT_YET leave the number open; every other refusal burns it,
 * and its repeat gets the same refusal. Frames without a number only read.
 */
#include "base/probe.h"
#include "server/shard_log.h"
#include "server/shard_move.h"
#include "server/shard_save.h"

PLANT_DECLARE(ack_before_refusal);
PLANT_DECLARE(lease_not_checked_after);
PLANT_DECLARE(late_frame_of_closed_session);
PLANT_DECLARE(plan_before_window);
PLANT_DECLARE(later_frame_overtakes);
PLANT_DECLARE(refusal_not_burned);
PLANT_DECLARE(frame_half_applied);

/* One frame on its way. */
struct run {
    const struct frame_header *h;
    struct frame *frame;
    uint64_t connection;
    struct run_op *ops;
    uint32_t n;
    uint32_t flags;      /* of all chains together */
    uint32_t durability; /* the highest of what it writes to */
    struct chain **chains;
    struct udf_call *calls;
    int *status; /* of each op in the answer */
    struct frame *answer;
};

static int parse(struct shard *s, struct run *r, struct frame *frame,
                 const char **why)
{
    int rc = run_decode(frame_body(frame), frame->body_bytes, &s->arena,
                        &r->ops, &r->n);

    if (rc != PS_OK) {
        *why = "a RUN frame that cannot be read";
        return rc;
    }
    r->chains = arena_take(&s->arena, (r->n + 1) * sizeof(*r->chains));
    r->calls = arena_take(&s->arena, (r->n + 1) * sizeof(*r->calls));
    r->status = arena_take(&s->arena, (r->n + 1) * sizeof(*r->status));
    if (r->chains == NULL || r->calls == NULL || r->status == NULL) {
        return PS_ENOMEM;
    }
    memset(r->calls, 0, (r->n + 1) * sizeof(*r->calls));
    for (uint32_t i = 0; i < r->n; i++) {
        r->chains[i] = map_get(&s->chains, r->ops[i].chain);
        r->status[i] = PS_OK;
        if (r->chains[i] == NULL) {
            *why = "a chain that was not registered";
            return PS_EPROTOCOL;
        }
        r->flags |= r->chains[i]->flags;
    }
    if (((r->flags & UDF_WRITES) != 0) != (r->h->seq != 0)) {
        *why = "a writing frame without a number, or a reading one with one";
        return PS_EPROTOCOL;
    }
    return PS_OK;
}

/* Where each op's part is; PS_EPLAN if one is not here, or came later than
 * the frame's plan, PS_ENOUDF if it is one that cannot be served. With `repeat`
 * an absent part only marks its op. */
static int find_parts(struct shard *s, struct run *r, bool repeat)
{
    for (uint32_t i = 0; i < r->n; i++) {
        const struct run_op *op = &r->ops[i];
        struct shard_part *p = shard_part(s, op->variable, op->begin);

        r->calls[i] = (struct udf_call){
            .op = op, .kern = s->options.kern, .arena = &s->arena};
        if (p != NULL && op->begin < op->end && op->end <= p->end &&
            p->since <= r->h->plan) {
            if (p->table == NULL) {
                return PS_ENOUDF;
            }
            if (p->is_loading) {
                PROBE(shard_part_is_loading);
                return PS_EBUSY;
            }
            if (shard_move_holds(s, p, !repeat && r->h->seq != 0)) {
                return PS_EBUSY;
            }
            r->calls[i].table = p->table;
            if ((r->chains[i]->flags & UDF_WRITES) != 0 &&
                p->durability > r->durability) {
                r->durability = p->durability;
            }
        } else if (repeat) {
            PROBE(shard_repeat_of_moved_part);
            r->status[i] = PS_EMOVED;
        } else {
            return PS_EPLAN;
        }
    }
    return PS_OK;
}

static void undo(struct run *r, uint32_t n)
{
    for (uint32_t i = n; i > 0; i--) {
        if (r->status[i - 1] == PS_OK) {
            chain_undo(r->chains[i - 1], &r->calls[i - 1]);
        }
    }
}

static int prepare(struct run *r, bool repeat)
{
    for (uint32_t i = 0; i < r->n; i++) {
        int rc;

        if (r->status[i] != PS_OK) {
            continue;
        }
        rc = chain_prepare(r->chains[i], &r->calls[i], repeat);
        if (rc != PS_OK) {
            undo(r, i);
            return rc;
        }
        if ((r->chains[i]->flags & UDF_ANSWERS) == 0 &&
            PLANT(frame_half_applied)) {
            chain_apply(r->chains[i], &r->calls[i], repeat);
        }
    }
    return PS_OK;
}

/* Makes the answer's frame and tells each call where its values go. */
static int reserve_answer(struct shard *s, struct run *r)
{
    struct run_answer *a = arena_take(&s->arena, (r->n + 1) * sizeof(*a));
    float **places = arena_take(&s->arena, (r->n + 1) * sizeof(*places));

    if (a == NULL || places == NULL) {
        return PS_ENOMEM;
    }
    for (uint32_t i = 0; i < r->n; i++) {
        a[i] = (struct run_answer){
            r->status[i], r->status[i] == PS_OK ? r->calls[i].answer_values : 0,
            NULL};
    }
    if (run_answer_bytes(a, r->n) > LIMIT_FRAME_BYTES) {
        return PS_EARGUMENT;
    }
    r->answer = frame_new(run_answer_bytes(a, r->n));
    if (r->answer == NULL) {
        return PS_ENOMEM;
    }
    run_answer_encode(a, r->n, frame_body(r->answer), places);
    for (uint32_t i = 0; i < r->n; i++) {
        r->calls[i].answer = places[i];
    }
    return PS_OK;
}

static void apply(struct run *r, bool repeat)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->status[i] == PS_OK &&
            ((r->chains[i]->flags & UDF_ANSWERS) != 0 ||
             !PLANT(frame_half_applied))) {
            chain_apply(r->chains[i], &r->calls[i], repeat);
            r->chains[i]->has_run = true;
        }
    }
}

static void send_answer(struct shard *s, struct run *r, uint16_t flags)
{
    struct frame_header a = shard_answer_header(s, r->h, PS_OK);

    a.flags |= flags;
    shard_log_answer(s, r->connection, &a, r->answer, r->durability);
}

static void count_keys(const struct run *r, uint64_t *counter)
{
    for (uint32_t i = 0; i < r->n; i++) {
        *counter += r->calls[i].n_rows;
    }
}

static bool is_put_off(int status)
{
    return status == PS_EBUSY || status == PS_EGAP || status == PS_ENOTYET ||
           status == PS_ENOMEM;
}

/* Leaves the number open; the client sends the same frame again. */
static void put_off(struct shard *s, struct run *r, int status)
{
    if (status == PS_EGAP) {
        s->stats.gaps++;
    } else {
        s->stats.busy++;
    }
    shard_answer(s, r->connection, r->h,
                 status == PS_ENOMEM ? PS_EBUSY : status, NULL);
}

/* A frame that only reads: no session, no window. */
static void run_read(struct shard *s, struct run *r)
{
    int rc = PS_OK;

    if (s->plan == NULL || r->h->plan > s->plan->w.plan) {
        s->owner->want(s->owner, s->options.shard, SHARD_WANT_PLAN, r->h->plan);
        put_off(s, r, PS_ENOTYET);
        return;
    }
    rc = find_parts(s, r, false);
    if (rc == PS_OK) {
        rc = prepare(r, false);
    }
    if (rc == PS_OK) {
        rc = reserve_answer(s, r);
    }
    if (rc == PS_OK) {
        apply(r, false);
        rc = shard_has_lease(s) ? PS_OK : PS_EBUSY;
    }
    if (rc == PS_OK) {
        s->stats.pulls++;
        count_keys(r, &s->stats.pull_keys);
        send_answer(s, r, 0);
    } else if (is_put_off(rc)) {
        put_off(s, r, rc);
    } else {
        shard_answer(s, r->connection, r->h, rc, NULL);
    }
}

/* A number that was settled before. Its reading UDFs run again. */
static void run_repeat(struct shard *s, struct run *r, int fate)
{
    int rc = fate;

    s->stats.repeats_suppressed++;
    if (fate == PS_OK) {
        PROBE(shard_repeat_of_applied);
        rc = find_parts(s, r, true);
        if (rc == PS_OK) {
            rc = prepare(r, true);
        }
        if (rc == PS_OK) {
            rc = reserve_answer(s, r);
        }
        if (rc == PS_OK) {
            apply(r, true);
        } else {
            /* The write is DONE whatever the reads meet now. */
            rc = PS_EBUSY;
        }
    } else {
        PROBE(shard_repeat_of_refused);
    }
    if (!shard_has_lease(s)) {
        rc = PS_EBUSY;
    }
    if (rc == PS_OK) {
        send_answer(s, r, FRAME_REPEAT);
    } else if (rc == PS_EBUSY) {
        put_off(s, r, rc);
    } else {
        shard_answer(s, r->connection, r->h, rc, NULL);
    }
}

/* Refuses for good: the number is burned. */
static void refuse(struct shard *s, struct run *r, struct window *w, int status)
{
    if (status == PS_EPLAN) {
        PROBE(shard_refuses_plan);
        if (!PLANT(later_frame_overtakes)) {
            w->refuse_below = s->plan->w.plan;
        }
    } else if (status == PS_ELIMIT) {
        PROBE(shard_refuses_limit);
        for (uint32_t i = 0; i < r->n; i++) {
            s->stats.keys_refused += r->ops[i].n_keys;
        }
    }
    if (!PLANT(refusal_not_burned)) {
        window_settle(w, r->h->seq, status);
    }
    s->stats.pushes_rejected++;
    shard_answer(s, r->connection, r->h, status, NULL);
}

/* Room for what a save must keep of this frame. */
static int reserve_copies(struct shard *s, const struct run *r)
{
    int rc = shard_save_reserve_late(s, r->h, r->frame);

    if (s->saving == NULL) {
        return rc;
    }
    shard_save_reserve_begin(s);
    for (uint32_t i = 0; i < r->n && rc == PS_OK; i++) {
        const struct table *t = r->calls[i].table;

        if ((r->chains[i]->flags & UDF_WRITES) != 0) {
            rc = shard_save_reserve(s, t,
                                    table_spec(t)->kind == PS_DENSE
                                        ? table_rows(t)
                                        : r->ops[i].n_keys);
        }
    }
    return rc;
}

static int check_plan(struct shard *s, const struct run *r,
                      const struct window *w)
{
    if (s->plan == NULL || r->h->plan > s->plan->w.plan) {
        s->owner->want(s->owner, s->options.shard, SHARD_WANT_PLAN, r->h->plan);
        return PS_ENOTYET;
    }
    if (r->h->plan < w->refuse_below) {
        PROBE(shard_refuses_behind_refused);
        return PS_EPLAN;
    }
    return PS_OK;
}

/* A number whose turn it is. */
static void run_next(struct shard *s, struct run *r, struct window *w)
{
    int rc = check_plan(s, r, w);

    if (rc == PS_OK) {
        rc = shard_save_meet(s, r->h->cut);
    }
    if (rc == PS_OK) {
        rc = find_parts(s, r, false);
    }
    if (rc == PS_OK) {
        rc = reserve_copies(s, r);
    }
    if (rc == PS_OK && r->durability != PS_MEMORY) {
        rc = shard_log_reserve(s, r->frame, r->ops, r->n);
    }
    if (PLANT(ack_before_refusal) && rc == PS_OK) {
        shard_answer(s, r->connection, r->h, PS_OK, NULL);
    }
    if (rc == PS_OK) {
        rc = prepare(r, false);
    }
    if (rc == PS_OK) {
        rc = reserve_answer(s, r);
        if (rc == PS_OK && !shard_has_lease(s)) {
            rc = PS_EBUSY;
        }
        if (rc != PS_OK) {
            undo(r, r->n);
        }
    }
    if (is_put_off(rc)) {
        put_off(s, r, rc);
        return;
    }
    if (rc != PS_OK) {
        if (shard_has_lease(s)) {
            refuse(s, r, w, rc);
        } else {
            put_off(s, r, PS_EBUSY);
        }
        return;
    }
    apply(r, false);
    window_settle(w, r->h->seq, PS_OK);
    shard_save_applied(s, r->h, r->frame);
    if (r->durability != PS_MEMORY) {
        shard_log_append(s, r->h, r->frame);
    }
    s->stats.pushes_applied++;
    count_keys(r, &s->stats.push_keys);
    if (s->owner->applied != NULL) {
        s->owner->applied(s->owner, s->options.shard, r->h->session, s->lane,
                          r->h->seq);
    }
    if (shard_has_lease(s) || PLANT(lease_not_checked_after)) {
        send_answer(s, r, 0);
    } else {
        /* Applied, but no longer ours to acknowledge. If the lane goes on,
         * the client's repeat is answered from the window. */
        PROBE(shard_lease_lost_after_apply);
    }
}

static void run_write(struct shard *s, struct run *r)
{
    const struct frame_header *h = r->h;
    struct window *w;
    int fate = PS_OK;

    if (s->sessions_version == 0 || h->session >= s->next_session) {
        PROBE(shard_session_not_known_yet);
        s->owner->want(s->owner, s->options.shard, SHARD_WANT_SESSIONS,
                       h->session);
        put_off(s, r, PS_EBUSY);
        return;
    }
    w = windows_get(&s->windows, h->session);
    if ((!shard_session_is_open(s, h->session) ||
         (w != NULL && w->has_ended)) &&
        !PLANT(late_frame_of_closed_session)) {
        PROBE(shard_session_expired);
        s->stats.expired++;
        shard_answer(s, r->connection, h, PS_EEXPIRED, NULL);
        return;
    }
    w = windows_make(&s->windows, h->session);
    if (w == NULL) {
        put_off(s, r, PS_EBUSY);
        return;
    }
    window_floor(w, h->first);
    if (PLANT(plan_before_window) && find_parts(s, r, false) == PS_EPLAN &&
        s->plan != NULL && h->plan <= s->plan->w.plan) {
        refuse(s, r, w, PS_EPLAN);
        return;
    }
    switch (window_judge(w, h->seq, &fate)) {
    case WINDOW_NEXT:
        run_next(s, r, w);
        break;
    case WINDOW_REPEAT:
        run_repeat(s, r, fate);
        break;
    case WINDOW_GAP:
        PROBE(shard_gap);
        put_off(s, r, PS_EGAP);
        break;
    case WINDOW_BAD:
        shard_refuse_connection(s, r->connection,
                                "a number outside of the window");
        break;
    }
}

void shard_run(struct shard *s, uint64_t connection,
               const struct frame_header *h, struct frame *frame)
{
    struct run r = {.h = h, .frame = frame, .connection = connection};
    const char *why = "";
    int rc = parse(s, &r, frame, &why);

    if (rc == PS_EPROTOCOL) {
        shard_refuse_connection(s, connection, why);
    } else if (rc != PS_OK) {
        put_off(s, &r, PS_EBUSY);
    } else if (s->lane == 0 || h->lane > s->lane) {
        put_off(s, &r, PS_EBUSY);
    } else if (h->lane < s->lane) {
        PROBE(shard_frame_of_former_lane);
        shard_answer(s, connection, h, PS_ELANE, NULL);
    } else if (h->seq == 0) {
        run_read(s, &r);
    } else {
        run_write(s, &r);
    }
    frame_put(r.answer);
}
