/* See move.h. The folder of a move is what its part comes from until a
 * checkpoint that was begun later is whole: should the shard that got it die
 * before, no more is lost than what it applied itself. */
#include "scheduler/move.h"

#include <stdio.h>

#include "base/probe.h"
#include "scheduler/lane_end.h"
#include "scheduler/restore.h"
#include "scheduler/restore_past.h"
#include "scheduler/save.h"

enum {
    /* A disk that does not answer must not hold the part for ever. */
    STILL_US = 30000000,
    /* No more of it counts between two looks: while the store is away nobody
     * can say that it gets on. */
    LOOK_US = 1000000,
    /* Who asked is told how far it is, and asks again. */
    TELL_US = 1000000,
    /* How long an end waits for that. */
    AGAIN_US = 2000000,
    WHAT_BYTES = 256
};

static const struct wire_lane *find_lane(const struct wire_plan *w,
                                         uint64_t lane)
{
    for (uint32_t i = 0; i < w->n_lanes; i++) {
        if (w->lanes[i].lane == lane) {
            return &w->lanes[i];
        }
    }
    return NULL;
}

static uint32_t part_at(const struct wire_plan *w, uint32_t variable,
                        uint32_t bucket)
{
    uint32_t i = 0;

    while (i < w->n_parts &&
           (w->parts[i].variable != variable || bucket < w->parts[i].begin ||
            bucket >= w->parts[i].end)) {
        i++;
    }
    return i;
}

/* Of a lane that lives, or has ended and still has parts. */
static struct wire_lane place_of(const struct wire_plan *w, uint64_t lane)
{
    const struct wire_lane *l = find_lane(w, lane);
    const struct wire_ended *e = restore_plan_ended(w, lane);

    return l != NULL ? *l
           : e != NULL
               ? (struct wire_lane){.server = e->server, .shard = e->shard}
               : (struct wire_lane){0};
}

/* Such as: "user" buckets 0 to 32767 from server 0 shard 0 to server 1 shard
 * 0. */
static void describe(const struct wire_plan *w, const struct wire_moving *m,
                     char what[WHAT_BYTES])
{
    const struct wire_lane from = place_of(w, m->from);
    const struct wire_lane to = place_of(w, m->to);
    const char *name = "(dropped)";

    for (uint32_t i = 0; i < w->n_variables; i++) {
        if (w->variables[i].id == m->variable) {
            name = w->variables[i].name;
        }
    }
    snprintf(what, WHAT_BYTES,
             "\"%.120s\" buckets %u to %u from server %u shard %u to server %u "
             "shard %u",
             name, (unsigned)m->begin, (unsigned)m->end - 1,
             (unsigned)from.server, (unsigned)from.shard, (unsigned)to.server,
             (unsigned)to.shard);
}

/* ---- beginning ----------------------------------------------------------- */

struct wanted {
    const struct wire_variable *v;
    uint32_t part; /* of the plan */
    const struct wire_lane *to;
};

/* Whether the server of `to` has room for part i, by what is declared. */
static bool has_room(struct scheduler *s, const struct wire_plan *w, uint32_t i,
                     const struct wire_lane *to)
{
    struct wire_plan only = *w;
    struct wire_lane *lanes =
        arena_take(&s->arena, (w->n_lanes + 1) * sizeof(*lanes));
    bool *wanted = arena_take(&s->arena, (size_t)w->n_parts + 1);
    uint64_t *heirs =
        arena_take(&s->arena, ((size_t)w->n_parts + 1) * sizeof(*heirs));

    if (lanes == NULL || wanted == NULL || heirs == NULL) {
        return false;
    }
    only.lanes = lanes;
    only.n_lanes = 0;
    for (uint32_t k = 0; k < w->n_lanes; k++) {
        if (w->lanes[k].server == to->server) {
            lanes[only.n_lanes++] = w->lanes[k];
        }
    }
    memset(wanted, 0, (size_t)w->n_parts + 1);
    memset(heirs, 0, ((size_t)w->n_parts + 1) * sizeof(*heirs));
    /* Within a server nothing changes. */
    wanted[i] = find_lane(&only, w->parts[i].lane) == NULL;
    return !wanted[i] ||
           (place_parts(&only, wanted, &s->options.limits, declare_slots_of,
                        &s->arena, heirs) == PS_OK &&
            heirs[i] != 0);
}

static int check(struct scheduler *s, const struct wire_plan *w,
                 const struct wanted *x, const char **why)
{
    if (s->disk == NULL || s->options.checkpoints == NULL) {
        *why = "parts move through the folder of checkpoints: give the "
               "scheduler -cp URL";
        return PS_EARGUMENT;
    }
    if (x->v->durability != PS_MEMORY) {
        *why = "it is logged on the disk of its server, where its parts stay";
        return PS_EARGUMENT;
    }
    if (!has_room(s, w, x->part, x->to)) {
        *why = "that server has no room for it: raise -smem, -snet and -sqps "
               "of the scheduler, or name another";
        return PS_ELIMIT;
    }
    return PS_OK;
}

static bool begin(struct scheduler *s, struct wire_plan *w,
                  const struct wire_part *part, const struct wire_lane *to)
{
    struct wire_moving *m = arena_take(&s->arena, sizeof(*m));
    char *folder = arena_take(&s->arena, CKPT_NAME_MAX + 1);
    char what[WHAT_BYTES];
    struct ckpt_move name = {.number = w->plan + 1,
                             .term = w->term,
                             .cluster = s->cluster_high ^ s->cluster_low};

    if (m == NULL || folder == NULL) {
        return false;
    }
    PROBE(move_begins);
    ckpt_move_name(&name, folder);
    *m = (struct wire_moving){.number = name.number,
                              .variable = part->variable,
                              .begin = part->begin,
                              .end = part->end,
                              .from = part->lane,
                              .to = to->lane,
                              .folder = folder};
    w->moves = m;
    w->n_moves = 1;
    describe(w, m, what);
    log_write(LOG_INFO, "moves %s", what);
    return true;
}

/* By a plan that is there, not one that is about to be written. */
static bool is_ordered(const struct plan *plan, const struct wire_part *part,
                       uint64_t to)
{
    const struct wire_moving *m = plan->w.moves;

    return plan->w.n_moves > 0 && m->variable == part->variable &&
           m->begin == part->begin && m->to == to;
}

/* Who asks again has the place of the former request. */
static bool joins_former(struct scheduler *s, struct pending *p)
{
    struct pending *q = s->first;
    size_t size = p->frame->body_bytes;

    while (q != p &&
           (q->connection != 0 || q->header.type != WIRE_MOVE ||
            q->frame->body_bytes != size ||
            memcmp(frame_body(q->frame), frame_body(p->frame), size) != 0)) {
        q = q->next;
    }
    if (q == p || p->connection == 0) {
        return false;
    }
    PROBE(move_is_asked_again);
    q->connection = p->connection;
    q->header = p->header;
    p->connection = 0;
    declare_answer_end(s, p, PS_OK, "");
    return true;
}

/* Before the client takes silence for a dead connection. */
static void tell(struct scheduler *s, struct pending *p, const char *text)
{
    uint64_t now = scheduler_now(s);

    if (p->told_us == 0) {
        p->told_us = now;
    }
    if (p->connection != 0 && now >= p->told_us + TELL_US) {
        declare_answer_text(s, p->connection, &p->header, PS_ENOTREADY, text);
        p->connection = 0;
        p->told_us = now;
    }
}

/* Of the one that is in the plan. */
static void tell_how_far(struct scheduler *s, struct pending *p)
{
    const struct wire_moving *m = s->plan->w.moves;
    const struct wire_lane *l = find_lane(&s->plan->w, m->from);
    const struct wire_shard *h = member_shard(s, m->from);
    const char *what = h == NULL || h->moved != m->number ? "is to write it"
                       : h->moved_done == h->moved_rows   ? "finishes the files"
                                                          : "writes it";
    char text[160];
    int n = snprintf(text, sizeof(text), "server %u shard %u %s",
                     l != NULL ? (unsigned)l->server : 0,
                     l != NULL ? (unsigned)l->shard : 0, what);

    if (h != NULL && h->moved == m->number) {
        snprintf(text + n, sizeof(text) - (size_t)n, ": %llu of %llu rows",
                 (unsigned long long)h->moved_done,
                 (unsigned long long)h->moved_rows);
    }
    tell(s, p, text);
}

/* NULL: it may begin. */
static const char *what_is_in_the_way(const struct scheduler *s)
{
    /* A save that waits for its turn goes first. */
    return s->save->phase != SAVE_PHASE_IDLE ? "a checkpoint is being saved"
           : restore_is_under_way(s) != NULL ? restore_is_under_way(s)
                                             : plan_owner_what_moves(s);
}

/* Which part, and to which shard. False: there is none, which was answered. */
static bool find(struct scheduler *s, struct pending *p,
                 const struct wire_plan *w, const struct wire_move *m,
                 struct wanted *x)
{
    char text[WHAT_BYTES + 128];

    x->v = declare_find(w, m->name);
    x->part = x->v != NULL ? part_at(w, x->v->id, m->bucket) : w->n_parts;
    x->to = plan_owner_lane_of(w, m->server, m->shard);
    if (x->v == NULL) {
        snprintf(text, sizeof(text),
                 "no variable is named \"%.120s\"; ps-plus status lists them",
                 m->name);
    } else if (x->part == w->n_parts) {
        snprintf(text, sizeof(text),
                 "\"%.120s\" has no bucket %u: there are %d, from 0", m->name,
                 (unsigned)m->bucket, LIMIT_BUCKETS);
    } else if (x->to == NULL) {
        snprintf(text, sizeof(text),
                 "\"%.120s\" bucket %u cannot move to server %u shard %u: no "
                 "such shard is there now; ps-plus status lists them",
                 m->name, (unsigned)m->bucket, (unsigned)m->server,
                 (unsigned)m->shard);
    } else {
        return true;
    }
    declare_answer_end(s, p, PS_ENOTFOUND, text);
    return false;
}

/* One is in the plan that w follows, or w orders it. */
static void wait_for_former(struct scheduler *s, struct pending *p,
                            const struct wire_plan *w, const struct wanted *x)
{
    char what[WHAT_BYTES], text[WHAT_BYTES + 64];

    if (is_ordered(s->plan, &w->parts[x->part], x->to->lane)) {
        p->id = 1;
        tell_how_far(s, p);
        return;
    }
    describe(w, w->moves, what);
    snprintf(text, sizeof(text), "another part moves: %s", what);
    tell(s, p, text);
}

static bool refuse(struct scheduler *s, struct pending *p,
                   const struct wire_plan *w, const struct wanted *x,
                   int status, const char *why)
{
    const struct wire_part *part = &w->parts[x->part];
    const struct wire_moving m = {.variable = part->variable,
                                  .begin = part->begin,
                                  .end = part->end,
                                  .from = part->lane,
                                  .to = x->to->lane};
    char what[WHAT_BYTES], text[2 * WHAT_BYTES];

    describe(w, &m, what);
    snprintf(text, sizeof(text), "cannot move %s: %s", what, why);
    declare_answer_end(s, p, status, text);
    return false;
}

bool move_apply(struct scheduler *s, struct pending *p, struct wire_plan *w)
{
    const char *why;
    struct wire_move m;
    struct wanted x;
    int rc;

    if (joins_former(s, p)) {
        return false;
    }
    if (wire_move_decode(frame_body(p->frame), p->frame->body_bytes, &s->arena,
                         &m) != PS_OK) {
        declare_answer_end(s, p, PS_EPROTOCOL, "a MOVE that cannot be read");
        return false;
    }
    if (!find(s, p, w, &m, &x)) {
        return false;
    }
    if (w->n_moves > 0) {
        wait_for_former(s, p, w, &x);
        return false;
    }
    if (w->parts[x.part].lane == x.to->lane) {
        p->id = 0;
        declare_answer_done(s, p);
        return false;
    }
    if (p->id != 0) {
        if (p->connection != 0 || scheduler_now(s) >= p->told_us + AGAIN_US) {
            declare_answer_end(s, p, PS_EIO, s->move_why);
        }
        return false;
    }
    rc = check(s, w, &x, &why);
    if (rc != PS_OK) {
        return refuse(s, p, w, &x, rc, why);
    }
    why = what_is_in_the_way(s);
    if (why != NULL) {
        tell(s, p, why);
        return false;
    }
    /* Without memory another time. */
    return begin(s, w, &w->parts[x.part], x.to);
}

/* ---- ending -------------------------------------------------------------- */

static bool give_up(struct scheduler *s, struct wire_plan *w, const char *why)
{
    char what[WHAT_BYTES];

    PROBE(move_is_given_up);
    describe(w, w->moves, what);
    snprintf(s->move_why, sizeof(s->move_why), "did not move %s: %s", what,
             why);
    log_limited(&s->room_log, scheduler_now(s), LOG_WARNING, "%s", s->move_why);
    w->n_moves = 0;
    return true;
}

static bool hand_over(struct scheduler *s, struct wire_plan *w, uint32_t i)
{
    const struct wire_moving *m = &w->moves[0];
    struct wire_part *parts =
        arena_take(&s->arena, (size_t)w->n_parts * sizeof(*parts));
    struct wire_load *loads =
        arena_take(&s->arena, ((size_t)w->n_loads + 1) * sizeof(*loads));
    uint64_t cut = lane_end_cut(s);
    struct restore_past past;

    /* What its rows come from is what they came from before, and the folder. */
    restore_past_of(w, w->parts[i].since, &past);
    if (parts == NULL || loads == NULL || cut == UINT64_MAX ||
        restore_past_write(&past, s->plan->w.plan + 1, &s->arena, w) != PS_OK) {
        return false;
    }
    PROBE(move_hands_over);
    memcpy(parts, w->parts, w->n_parts * sizeof(*parts));
    if (w->n_loads > 0) {
        memcpy(loads, w->loads, w->n_loads * sizeof(*loads));
    }
    parts[i].lane = m->to;
    parts[i].since = s->plan->w.plan + 1;
    loads[w->n_loads++] = (struct wire_load){.variable = m->variable,
                                             .since = s->plan->w.plan + 1,
                                             .folder = m->folder,
                                             .cut = cut,
                                             .name = "",
                                             .brings_lanes = 1,
                                             .restore = w->restore};
    w->parts = parts;
    w->loads = loads;
    w->n_moves = 0;
    w->term++;
    return true;
}

static bool stands_still(struct scheduler *s, const struct wire_moving *m,
                         const struct wire_shard *h)
{
    uint64_t now = scheduler_now(s);
    uint64_t steps = h != NULL && h->moved == m->number ? h->moved_steps : 0;

    if (s->move_number != m->number || s->move_steps != steps) {
        s->move_number = m->number;
        s->move_steps = steps;
        s->move_still_us = 0;
    } else {
        s->move_still_us += base_min_u64(now - s->move_look_us, LOOK_US);
    }
    s->move_look_us = now;
    return s->move_still_us >= STILL_US;
}

bool move_update(struct scheduler *s, struct wire_plan *w)
{
    const struct wire_moving *m = w->moves;
    const struct wire_shard *h;
    uint32_t i;

    if (w->n_moves == 0) {
        return false;
    }
    i = part_at(w, m->variable, m->begin);
    if (i == w->n_parts || w->parts[i].lane != m->from ||
        find_lane(w, m->from) == NULL || find_lane(w, m->to) == NULL) {
        return give_up(s, w,
                       "the part or one of the two shards has gone: "
                       "ask again when they are there");
    }
    h = member_shard(s, m->from);
    if (h != NULL && h->moved == m->number && h->moved_state == SAVED_FAILED) {
        PROBE(move_write_failed);
        return give_up(s, w, h->why);
    }
    if (h != NULL && h->moved == m->number && h->moved_state == SAVED_DONE &&
        hand_over(s, w, i)) {
        return true;
    }
    return stands_still(s, m, h) &&
           give_up(s, w,
                   "for 30 s nothing of it was written: see to the disk of "
                   "-cp, and ask again");
}

/* ---- folders ------------------------------------------------------------- */

static bool is_named(const struct wire_plan *w, const char *folder)
{
    for (uint32_t i = 0; i < w->n_loads; i++) {
        if (strcmp(w->loads[i].folder, folder) == 0) {
            return true;
        }
    }
    return w->n_moves > 0 && strcmp(w->moves[0].folder, folder) == 0;
}

static void remove_folder(struct scheduler *s, const char *folder)
{
    struct disk_request r = {.op = DISK_REMOVE, .tag = SAVE_FILE_REMOVE};

    PROBE(move_folder_goes);
    snprintf(r.path, sizeof(r.path), "%s", folder);
    s->disk->submit(s->disk, &r);
}

void move_before_plan(struct scheduler *s, const struct plan *next)
{
    const struct wire_plan *w = s->plan != NULL ? &s->plan->w : NULL;
    struct ckpt_move m;

    if (w == NULL || s->disk == NULL) {
        return;
    }
    for (uint32_t i = 0; i < w->n_loads; i++) {
        if (ckpt_move_parse(w->loads[i].folder, &m) &&
            !is_named(&next->w, w->loads[i].folder)) {
            remove_folder(s, w->loads[i].folder);
        }
    }
    if (w->n_moves > 0 && !is_named(&next->w, w->moves[0].folder)) {
        remove_folder(s, w->moves[0].folder);
    }
}

void move_on_folder(struct scheduler *s, const char *folder)
{
    struct ckpt_move m;

    if (ckpt_move_parse(folder, &m) &&
        m.cluster == (s->cluster_high ^ s->cluster_low) &&
        m.number <= s->plan->w.plan && !is_named(&s->plan->w, folder)) {
        remove_folder(s, folder);
    }
}

bool move_is_saved(const struct scheduler *s, const struct wire_plan *w,
                   const struct wire_load *l)
{
    const struct restore_source *newest = &s->restore->newest;
    struct ckpt_move m;

    if (!ckpt_move_parse(l->folder, &m) || newest->folder[0] == '\0' ||
        newest->plan < l->since || newest->restore != w->restore) {
        return false;
    }
    for (uint32_t i = 0; i < w->n_parts; i++) {
        const struct wire_part *p = &w->parts[i];
        const struct wire_shard *h = member_shard(s, p->lane);

        if (p->since == l->since && p->variable == l->variable) {
            return h != NULL && h->loaded >= p->since;
        }
    }
    return false;
}
