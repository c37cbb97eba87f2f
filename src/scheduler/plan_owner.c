/* The plan record: read at the start, taken over by raising the term, written
 * anew when servers' lanes change or clients declare variables. Only the
 * holder of the scheduler's lease writes it, and only by compare-and-swap on
 * the version it read: a former scheduler's write fails (protocol 1, 7.3).
 *
 * One write is under way at a time. What it is made from - members' records
 * and pending requests - is looked at anew for every try, so a write whose
 * outcome is not known needs no repair: read again, then go on. One that was
 * not found may still come, and what it orders would be unknown here; so
 * another is written, after which it cannot. */
#include <stdio.h>

#include "base/mem.h"
#include "base/probe.h"
#include "scheduler/lane_end.h"
#include "scheduler/move.h"
#include "scheduler/restore.h"
#include "scheduler/save.h"

enum { LANES_ROOM_BYTES = 1 << 20 };

static void read_plan(struct scheduler *s)
{
    s->plan_in_flight = true;
    s->plan_must_read = true;
    scheduler_ask(s, COORD_GET, TAG_PLAN, "plan", 0, NULL);
}

void plan_owner_start(struct scheduler *s)
{
    if (!s->plan_in_flight) {
        read_plan(s);
    }
}

static void try_later(struct scheduler *s)
{
    s->retry_us = scheduler_now(s) + LIMIT_WATCH_MS * 1000;
}

/* How large a plan may become. Declarations leave room for lanes, which come
 * and go whatever the variables are. */
static size_t room_of(const struct scheduler *s)
{
    for (const struct pending *p = s->first; p != NULL; p = p->next) {
        if (p->in_update && p->header.type == WIRE_DECLARE) {
            return COORD_VALUE_MAX - LANES_ROOM_BYTES;
        }
    }
    return COORD_VALUE_MAX;
}

/* The store would refuse it each time. Without what asks for more it may go. */
static void refuse_plan(struct scheduler *s, size_t size)
{
    char text[160];

    snprintf(text, sizeof(text),
             "the plan would have %zu bytes, and the store takes %d, with %d "
             "left for lanes: fewer variables or fewer shards",
             size, COORD_VALUE_MAX, LANES_ROOM_BYTES);
    if (declare_refuse_update(s, PS_ELIMIT, text)) {
        s->retry_us = 0;
        return;
    }
    if (restore_refuse(s, PS_ELIMIT, text)) {
        return;
    }
    log_limited(&s->size_log, scheduler_now(s), LOG_ERROR, "%s", text);
    for (struct pending *p = s->first; p != NULL; p = p->next) {
        p->in_update = false;
    }
    s->plan_must_read = true;
    try_later(s);
}

/* What nobody could read is not written: it would stop the whole cluster. A
 * server's record that contradicts another's could make such a plan. */
static bool is_readable(struct scheduler *s, const struct buf *b)
{
    struct plan *p;
    int rc = plan_new(&p, b->data, b->size);

    if (rc != PS_OK) {
        log_limited(&s->bad_log, scheduler_now(s), LOG_ERROR,
                    "a plan that cannot be read is not written: %s",
                    ps_status_text(rc));
        return false;
    }
    plan_free(p);
    return true;
}

static void write_plan(struct scheduler *s, struct wire_plan *w)
{
    struct buf b;

    w->nonce = s->nonce;
    w->servers = s->options.servers;
    w->memory_limit = s->options.limits.memory_bytes;
    w->checkpoints = s->options.checkpoints;
    w->tracks_changes = s->options.full_every > 1;
    w->cluster_high = s->cluster_high;
    w->cluster_low = s->cluster_low;
    restore_plan_prune(s, w);
    w->plan++;
    buf_init(&b);
    wire_plan_encode(w, &b);
    if (b.failed) {
        try_later(s);
    } else if (b.size > room_of(s)) {
        refuse_plan(s, b.size);
    } else if (!is_readable(s, &b)) {
        try_later(s);
    } else {
        s->plan_in_flight = true;
        scheduler_ask(s, COORD_CAS, TAG_PLAN, "plan", s->plan_version, &b);
    }
    buf_fini(&b);
}

void plan_owner_take_term(struct scheduler *s)
{
    struct wire_plan w = {.next_variable = 1};

    if (s->plan != NULL) {
        w = s->plan->w;
    }
    w.term++;
    write_plan(s, &w);
}

static void begin_to_run(struct scheduler *s)
{
    s->state = SCHEDULER_RUN;
    s->look_us = 0;
    s->move_number = 0;
    snprintf(s->says, sizeof(s->says), "runs");
    log_write(LOG_INFO, "runs: term %llu, plan %llu",
              (unsigned long long)s->plan->w.term,
              (unsigned long long)s->plan->w.plan);
    if (member_start(s) != PS_OK) {
        try_later(s);
    }
    lane_end_start(s);
    save_start(s);
    restore_start(s);
}

void plan_owner_begin(struct scheduler *s)
{
    if (s->state == SCHEDULER_TERM && s->plan != NULL && !s->plan_in_flight &&
        !s->plan_must_read && s->plan->w.nonce == s->nonce &&
        restore_before_run(s)) {
        begin_to_run(s);
    }
}

static void answer_updated(struct scheduler *s)
{
    struct pending *next;

    for (struct pending *p = s->first; p != NULL; p = next) {
        next = p->next;
        if (p->in_update) {
            declare_answer_done(s, p);
        }
    }
}

static void on_read(struct scheduler *s, const struct coord_result *r)
{
    struct plan *plan = NULL;

    if (r->status == PS_ENOTFOUND) {
        plan_free(s->plan);
        s->plan = NULL;
        s->plan_version = 0;
        plan_owner_take_term(s);
        return;
    }
    if (r->status != PS_OK || plan_new(&plan, r->data, r->size) != PS_OK) {
        try_later(s);
        return;
    }
    if (s->state == SCHEDULER_RUN && plan->w.nonce != s->nonce) {
        PROBE(plan_owner_deposed);
        plan_free(plan);
        scheduler_step_down(s);
        return;
    }
    move_before_plan(s, plan);
    plan_free(s->plan);
    s->plan = plan;
    s->plan_version = r->version;
    s->plan_must_read = false;
    if (restore_misses_place(s)) {
        return;
    }
    if (plan->w.nonce != s->nonce) {
        plan_owner_take_term(s);
    } else if (s->state == SCHEDULER_TERM) {
        plan_owner_begin(s);
    } else {
        member_on_plan(s);
        restore_on_plan(s);
        plan_owner_update(s);
    }
}

static void on_written(struct scheduler *s, const struct coord_result *r)
{
    s->plan_is_unsure =
        r->status == PS_EUNSURE ||
        (s->plan_is_unsure && r->status != PS_OK && r->status != PS_ECONFLICT);
    if (r->status != PS_OK) {
        PROBE(plan_owner_write_unsure);
        for (struct pending *p = s->first; p != NULL; p = p->next) {
            p->was_tried = p->was_tried || p->in_update;
            p->in_update = false;
        }
        if (r->status == PS_ECONFLICT || r->status == PS_EUNSURE) {
            read_plan(s);
            return;
        }
        /* A full disk stays full for a while. */
        s->plan_must_read = true;
        try_later(s);
        return;
    }
    answer_updated(s);
    /* The bytes are the store's; read them back rather than keep two forms. */
    read_plan(s);
}

void plan_owner_on_coord(struct scheduler *s, const struct coord_result *r)
{
    s->plan_in_flight = false;
    if (s->state != SCHEDULER_RUN && s->state != SCHEDULER_TERM) {
        return;
    }
    if (r->op == COORD_GET) {
        on_read(s, r);
    } else {
        on_written(s, r);
    }
}

const struct wire_lane *plan_owner_lane_of(const struct wire_plan *w,
                                           uint32_t server, uint32_t shard)
{
    for (uint32_t i = 0; i < w->n_lanes; i++) {
        if (w->lanes[i].server == server && w->lanes[i].shard == shard) {
            return &w->lanes[i];
        }
    }
    return NULL;
}

static bool has_lane(const struct member *m, uint64_t lane)
{
    for (uint32_t i = 0; m->has_lanes && i < m->record.n_shards; i++) {
        if (m->record.shards[i].lane == lane) {
            return true;
        }
    }
    return false;
}

/* Does the plan have exactly the lanes that the members say they live? */
static bool lanes_differ(const struct scheduler *s, const struct wire_plan *w)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < w->n_lanes; i++) {
        uint32_t server = w->lanes[i].server;

        if (server >= s->options.servers || !s->members[server].view.is_known) {
            /* Not looked at yet: a new scheduler ends nobody unseen. */
            n++;
            continue;
        }
        if (!has_lane(&s->members[server], w->lanes[i].lane)) {
            return true;
        }
        n++;
    }
    for (uint32_t i = 0; i < s->options.servers; i++) {
        const struct member *m = &s->members[i];

        for (uint32_t k = 0; m->has_lanes && k < m->record.n_shards; k++) {
            const struct wire_lane *l = plan_owner_lane_of(w, i, k);

            if (l == NULL || l->lane != m->record.shards[k].lane) {
                return true;
            }
        }
    }
    return false;
}

bool plan_owner_lanes_differ(const struct scheduler *s)
{
    return lanes_differ(s, &s->plan->w);
}

/* From a checkpoint, or from the log of its server's former lanes. */
static bool is_to_be_loaded(const struct plan *plan,
                            const struct wire_part *part)
{
    return plan_load(plan, part) != NULL ||
           plan_variable(plan, part->variable)->durability != PS_MEMORY;
}

const char *plan_owner_what_moves(const struct scheduler *s)
{
    const struct wire_plan *w = &s->plan->w;

    if (!member_all_there(s) || lanes_differ(s, w)) {
        return "not all servers are there";
    }
    if (w->n_moves > 0) {
        return "a part moves to another shard";
    }
    for (uint32_t i = 0; i < w->n_parts; i++) {
        const struct wire_shard *h = member_shard(s, w->parts[i].lane);

        if (h == NULL) {
            return "a part waits for its server";
        }
        if (is_to_be_loaded(s->plan, &w->parts[i]) &&
            h->loaded < w->parts[i].since) {
            return "parts are being loaded";
        }
    }
    return NULL;
}

/* Makes w's lanes those of the members; the others end. */
static bool take_lanes(struct scheduler *s, struct wire_plan *w)
{
    uint32_t n_lanes = 0, n_ended = 0, room = w->n_lanes;
    uint32_t forget;
    uint64_t cut = lane_end_cut(s);
    struct wire_lane *lanes;
    struct wire_ended *ended;

    for (uint32_t i = 0; i < s->options.servers; i++) {
        room += s->members[i].has_lanes ? s->members[i].record.n_shards : 0;
    }
    lanes = arena_take(&s->arena, ((size_t)room + 1) * sizeof(*lanes));
    ended = arena_take(&s->arena,
                       ((size_t)w->n_ended + w->n_lanes + 1) * sizeof(*ended));
    if (lanes == NULL || ended == NULL) {
        return false;
    }
    forget =
        w->n_ended > LIMIT_ENDED_LANES ? w->n_ended - LIMIT_ENDED_LANES : 0;
    for (uint32_t i = forget; i < w->n_ended; i++) {
        if (!lane_end_is_over(s, w, i)) {
            ended[n_ended++] = w->ended[i];
        }
    }
    for (uint32_t i = 0; i < w->n_lanes; i++) {
        const struct wire_lane *l = &w->lanes[i];
        bool is_known = l->server < s->options.servers &&
                        s->members[l->server].view.is_known;

        if (!is_known) {
            lanes[n_lanes++] = *l;
        } else if (!has_lane(&s->members[l->server], l->lane)) {
            if (cut == UINT64_MAX) {
                return false; /* when the last save is known */
            }
            ended[n_ended++] = (struct wire_ended){l->lane, l->server, l->shard,
                                                   w->plan + 1, cut};
        }
    }
    for (uint32_t i = 0; i < s->options.servers; i++) {
        const struct member *m = &s->members[i];

        for (uint32_t k = 0; m->has_lanes && k < m->record.n_shards; k++) {
            lanes[n_lanes++] = (struct wire_lane){
                m->record.shards[k].lane, i, k, m->record.shards[k].address};
        }
    }
    w->lanes = lanes;
    w->n_lanes = n_lanes;
    w->ended = ended;
    w->n_ended = n_ended;
    return true;
}

void plan_owner_update(struct scheduler *s)
{
    struct wire_plan w;
    struct pending *next;
    bool changed = s->plan_is_unsure;

    if (s->state != SCHEDULER_RUN || s->plan_in_flight || s->plan_must_read ||
        s->plan == NULL) {
        return;
    }
    arena_reset(&s->arena);
    w = s->plan->w;
    if (save_holds_plan(s)) {
        /* Nothing moves while a cut is open, and a lane's end ends that. */
        save_look(s);
        if (save_holds_plan(s)) {
            declare_while_held(s);
            return;
        }
    }
    if (lanes_differ(s, &w)) {
        if (!take_lanes(s, &w)) {
            return;
        }
        w.term++;
        changed = true;
    }
    /* Parts that come from a checkpoint share a plan with nothing else. */
    if (move_update(s, &w) || restore_plan_whole(s, &w) ||
        restore_plan_move(s, &w) || restore_plan_instead(s, &w)) {
        write_plan(s, &w);
        return;
    }
    if (s->state != SCHEDULER_RUN) {
        return;
    }
    if (s->restore->order.is_loading) {
        bool is_new;

        /* Without memory in the next one. */
        changed =
            (restore_order_note(s, &w, &is_new) == PS_OK && is_new) || changed;
    }
    for (struct pending *p = s->first; p != NULL; p = next) {
        next = p->next;
        changed = declare_apply(s, p, &w) || changed;
    }
    if (changed) {
        write_plan(s, &w);
    }
}
