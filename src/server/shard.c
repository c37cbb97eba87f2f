/* A shard as a whole: connections, its present life, plan and sessions. What it
 * does with data is in shard_run.c. */
#include "server/shard.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/probe.h"
#include "server/history.h"
#include "server/shard_load.h"
#include "server/shard_log.h"
#include "server/shard_move.h"
#include "server/shard_save.h"
#include "table/slab.h"

PLANT_DECLARE(dedup_without_lane);

int shard_new(struct shard **shard, const struct shard_options *options,
              struct net *net, struct disk *disk, struct shard_owner *owner)
{
    struct shard *s = mem_try_zero(sizeof(*s));

    if (s == NULL) {
        return PS_ENOMEM;
    }
    s->options = *options;
    s->net = net;
    s->disk = disk;
    s->cut = SHARD_FIRST_CUT;
    s->owner = owner;
    s->budget.ahead = options->ahead;
    s->budget.snapshots = &s->snapshots;
    map_init(&s->connections);
    map_init(&s->chains);
    windows_init(&s->windows);
    arena_init(&s->arena);
    *shard = s;
    return PS_OK;
}

static void drop_parts(struct shard *s)
{
    for (size_t i = 0; i < s->n_parts; i++) {
        table_free(s->parts[i].table);
        history_free(s->parts[i].histories);
        shard_log_free_part(&s->parts[i]);
    }
    mem_free(s->parts);
    s->parts = NULL;
    s->n_parts = 0;
}

static void end_life(struct shard *s)
{
    shard_save_abandon(s);
    shard_load_abandon(s);
    shard_log_end(s);
    drop_parts(s);
    if (s->options.ahead != NULL) {
        slab_ahead_clear(s->options.ahead);
    }
    plan_free(s->plan);
    s->plan = NULL;
    if (!PLANT(dedup_without_lane)) {
        windows_fini(&s->windows);
        windows_init(&s->windows);
    }
    s->lane = 0;
    s->lease_until_us = 0;
    s->is_over = false;
    s->base = 0;
    s->load_again_us = 0;
    s->load_pause_us = 0;
    s->load_failed = LOAD_GOES_ON;
    s->load_why[0] = '\0';
    s->load_bad_sum = 0;
}

void shard_free(struct shard *s)
{
    void *p;
    size_t i = 0;

    if (s == NULL) {
        return;
    }
    end_life(s);
    shard_save_fini(s);
    shard_log_fini(s);
    while ((p = map_next(&s->connections, &i)) != NULL) {
        mem_free(p);
    }
    i = 0;
    while ((p = map_next(&s->chains, &i)) != NULL) {
        mem_free(p);
    }
    map_fini(&s->connections);
    map_fini(&s->chains);
    arena_fini(&s->arena);
    mem_free(s->open);
    mem_free(s);
}

void shard_on_open(struct shard *s, uint64_t connection)
{
    struct shard_connection *c = mem_try_zero(sizeof(*c));

    if (c == NULL || map_put(&s->connections, connection, c) != PS_OK) {
        mem_free(c);
        s->net->close(s->net, connection);
        return;
    }
    c->number = connection;
    s->stats.connections++;
}

void shard_on_close(struct shard *s, uint64_t connection)
{
    struct shard_connection *c = map_take(&s->connections, connection);

    if (c != NULL) {
        s->stats.connections--;
        mem_free(c);
    }
}

void shard_refuse_connection(struct shard *s, uint64_t connection,
                             const char *why)
{
    s->stats.protocol_errors++;
    log_limited(&s->bad_log, s->net->now_us(s->net), LOG_WARNING,
                "shard %u: the connection from %s ends: %s", s->options.shard,
                net_peer(s->net, connection), why);
    shard_on_close(s, connection);
    s->net->close(s->net, connection);
}

void shard_on_frame(struct shard *s, uint64_t connection,
                    const struct frame_header *header, struct frame *frame)
{
    struct shard_connection *c = map_get(&s->connections, connection);

    if (c == NULL) {
        return;
    }
    if ((header->flags & FRAME_ANSWER) != 0) {
        shard_refuse_connection(s, connection, "an answer was not asked for");
        return;
    }
    if (!c->said_hello && header->type != WIRE_HELLO) {
        shard_refuse_connection(s, connection, "the first frame is no HELLO");
        return;
    }
    arena_reset(&s->arena);
    switch (header->type) {
    case WIRE_HELLO:
        shard_hello(s, c, header, frame);
        break;
    case WIRE_CHAIN:
        shard_chain(s, connection, header, frame);
        break;
    case WIRE_RUN:
        shard_run(s, connection, header, frame);
        break;
    case WIRE_RESOLVE:
        shard_resolve(s, connection, header, frame);
        break;
    case WIRE_LOST:
        shard_lost(s, connection, header, frame);
        break;
    case WIRE_STATUS:
        shard_status(s, connection, header);
        break;
    default:
        shard_refuse_connection(s, connection, "a frame of unknown type");
        break;
    }
}

struct frame_header shard_answer_header(const struct shard *s,
                                        const struct frame_header *h,
                                        int status)
{
    struct frame_header a = *h;

    a.flags = FRAME_ANSWER;
    a.status = status;
    a.lane = s->lane;
    a.plan = s->plan != NULL ? s->plan->w.plan : 0;
    return a;
}

void shard_send(struct shard *s, uint64_t connection, struct frame_header *a,
                struct frame *frame)
{
    const struct shard_connection *c = map_get(&s->connections, connection);

    a->body_checksum = c != NULL && c->checksums ? frame_checksum(frame) : 0;
    frame_seal(frame, a);
    s->net->send(s->net, connection, frame);
}

static void send_bytes(struct shard *s, uint64_t connection,
                       const struct frame_header *h, int status,
                       const void *data, size_t size)
{
    struct frame_header a = shard_answer_header(s, h, status);
    struct frame *f = frame_new(size);

    if (f == NULL) {
        /* The client asks again when no answer comes. */
        return;
    }
    if (size > 0) {
        memcpy(frame_body(f), data, size);
    }
    shard_send(s, connection, &a, f);
    frame_put(f);
}

void shard_answer(struct shard *s, uint64_t connection,
                  const struct frame_header *h, int status, const char *text)
{
    struct wire_text m = {.text = text};
    struct buf b;

    if (text == NULL) {
        send_bytes(s, connection, h, status, NULL, 0);
        return;
    }
    buf_init(&b);
    wire_text_encode(&m, &b);
    send_bytes(s, connection, h, status, b.data, b.failed ? 0 : b.size);
    buf_fini(&b);
}

void shard_answer_buf(struct shard *s, uint64_t connection,
                      const struct frame_header *h, const struct buf *b)
{
    if (b->failed) {
        send_bytes(s, connection, h, PS_ENOMEM, NULL, 0);
    } else {
        send_bytes(s, connection, h, PS_OK, b->data, b->size);
    }
}

void shard_start_lane(struct shard *s, uint64_t lane, uint32_t emptied)
{
    if (lane == s->lane) {
        return; /* ordered twice: a pong was overtaken by the first order */
    }
    end_life(s);
    s->lane = lane;
    s->emptied = emptied;
}

void shard_set_lease(struct shard *s, uint64_t lane, uint64_t until_us)
{
    if (lane == s->lane) {
        s->lease_until_us = until_us;
    }
}

bool shard_has_lease(const struct shard *s)
{
    return s->lane != 0 && !s->is_over &&
           s->net->now_us(s->net) < s->lease_until_us &&
           !shard_log_has_failed(s);
}

struct shard_part *shard_part(const struct shard *s, uint32_t variable,
                              uint32_t begin)
{
    size_t low = 0;
    size_t n = s->n_parts;

    while (low < n) {
        size_t mid = low + (n - low) / 2;
        struct shard_part *p = &s->parts[mid];

        if (p->variable == variable && p->begin <= begin && begin < p->end) {
            return p;
        }
        if (p->variable < variable ||
            (p->variable == variable && p->begin < begin)) {
            low = mid + 1;
        } else {
            n = mid;
        }
    }
    return NULL;
}

/* Takes over the table of a part that we hold already, or makes a new one: of a
 * part whose load begins again too, because what a late frame has added must
 * not be there when it is added again. One whose updater was not given to this
 * server, which is a matter of its plugins, has none: the other variables must
 * not suffer for that. */
static int open_part(struct shard *s, const struct plan *plan,
                     const struct wire_part *w, struct shard_part *p)
{
    const struct wire_variable *v = plan_variable(plan, w->variable);
    struct shard_part *old = shard_part(s, w->variable, w->begin);
    struct table_spec spec = {
        .variable = v->id,
        .kind = v->kind,
        .dim = v->dim,
        .begin = w->begin,
        .end = w->end,
        .init = {v->init_kind, (float)v->init_a, (float)v->init_b, v->init_seed,
                 v->init_key},
        .tracks_changes = plan->w.tracks_changes != 0 && v->no_save == 0,
        .budget = &s->budget,
    };
    const double params[PS_PARAMS_MAX] = {v->param0, v->param1, v->param2,
                                          v->param3, v->param4, v->param5,
                                          v->param6, v->param7};
    const struct udf *udf;
    struct err e;

    *p = (struct shard_part){.variable = w->variable,
                             .begin = w->begin,
                             .end = w->end,
                             .since = w->since,
                             .durability = v->durability};
    if (old != NULL && old->begin == w->begin && old->end == w->end &&
        old->since == w->since &&
        (!old->is_loading || shard_load_keeps(s, old))) {
        *p = *old;
        return PS_OK;
    }
    if (udf_updater(v->updater, params, v->n_params, &udf, &e) != PS_OK) {
        log_limited(&s->part_log, s->net->now_us(s->net), LOG_ERROR,
                    "shard %u cannot serve \"%.80s\", nor load its rows: %s; "
                    "is a --plugin missing?",
                    s->options.shard, v->name, e.text);
        return PS_OK;
    }
    spec.n_slots = udf_slots(udf, params);
    for (uint32_t i = 0; i < spec.n_slots; i++) {
        int param = udf->slots[i].init_param;

        spec.slot_names[i] = udf->slots[i].name;
        spec.slot_init[i] = param < 0 ? 0.0F : (float)params[param];
    }
    if (v->kind == PS_DENSE) {
        plan_dense_rows(v->rows, w->begin, w->end, &spec.row_begin,
                        &spec.row_end);
    }
    p->is_loading = plan_load(plan, w) != NULL || v->durability != PS_MEMORY;
    return table_new(&p->table, &spec);
}

/* Frees the tables of `parts` that are not among `kept`. */
static void free_parts(struct shard_part *parts, size_t n,
                       const struct shard_part *kept, size_t n_kept)
{
    for (size_t i = 0; i < n; i++) {
        bool is_kept = false;

        for (size_t k = 0; k < n_kept && !is_kept; k++) {
            is_kept = kept[k].table == parts[i].table;
        }
        if (!is_kept) {
            table_free(parts[i].table);
            history_free(parts[i].histories);
            shard_log_free_part(&parts[i]);
        }
    }
    mem_free(parts);
}

static void set_budget(struct shard *s, const struct plan *plan)
{
    uint32_t shards = 0;

    for (uint32_t i = 0; i < plan->w.n_lanes; i++) {
        shards += plan->w.lanes[i].server == s->options.server;
    }
    s->budget.limit =
        shards == 0 ? 0 : plan->w.memory_limit / base_max_u64(shards, 1);
}

/* Each plan ends a save, but not a move: its files are where checkpoints were,
 * and what is then written by name would be elsewhere. */
static int set_place(struct shard *s, const struct plan *plan)
{
    struct shard_owner *o = s->owner;
    struct err e = {.text = ""};
    int rc =
        o->set_place == NULL ? PS_OK : o->set_place(o, plan->w.checkpoints, &e);

    if (rc == PS_ENOMEM) {
        return rc;
    }
    if (s->plan != NULL && s->moving != NULL &&
        strcmp(s->plan->w.checkpoints, plan->w.checkpoints) != 0) {
        shard_saving_fail(s->moving, "the place of checkpoints has changed");
    }
    shard_set_no_place(s, rc == PS_OK ? "" : e.text);
    return PS_OK;
}

int shard_set_plan(struct shard *s, const void *record, size_t size)
{
    struct plan *plan;
    struct shard_part *parts;
    struct shard_part loaded = {.variable = 0};
    size_t n = 0;
    int rc = plan_new(&plan, record, size);

    if (rc != PS_OK) {
        return rc;
    }
    if (s->lane == 0 || plan_lane(plan, s->lane) == NULL ||
        (s->plan != NULL &&
         plan->w.plan < s->plan->w.plan + (s->reads_again ? 0 : 1)) ||
        shard_load_is_given_up(s, plan)) {
        plan_free(plan);
        return PS_OK;
    }
    parts = mem_try_zero(
        mem_array((size_t)plan->w.n_parts + 1, sizeof(struct shard_part)));
    if (parts == NULL || set_place(s, plan) != PS_OK) {
        mem_free(parts);
        plan_free(plan);
        return PS_ENOMEM;
    }
    /* Placement has made sure of the room for the tables as they begin; the
     * limit is for what comes into them. */
    s->budget.limit = 0;
    shard_load_before_plan(s, plan);
    for (uint32_t i = 0; i < plan->w.n_parts && rc == PS_OK; i++) {
        const struct wire_part *w = &plan->w.parts[i];

        if (w->lane == s->lane) {
            rc = open_part(s, plan, w, &parts[n]);
            n += rc == PS_OK;
        }
    }
    set_budget(s, plan);
    if (rc != PS_OK) {
        free_parts(parts, n, s->parts, s->n_parts);
        plan_free(plan);
        return rc;
    }
    shard_save_before_plan(s, parts, n);
    shard_move_before_plan(s, plan);
    if (s->loading != NULL && s->loading->phase == LOADING_ROWS) {
        loaded = s->parts[s->loading->part];
    }
    free_parts(s->parts, s->n_parts, parts, n);
    s->parts = parts;
    s->n_parts = n;
    s->stats.parts_unserved = 0;
    for (size_t i = 0; i < n; i++) {
        s->stats.parts_unserved += parts[i].table == NULL;
    }
    plan_free(s->plan);
    s->plan = plan;
    s->reads_again = false;
    history_on_plan(s);
    shard_log_read_abandon(s);
    shard_log_on_plan(s);
    shard_load_on_plan(s, &loaded);
    shard_save_on_plan(s);
    shard_move_begin(s);
    return PS_OK;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

int shard_set_sessions(struct shard *s, uint64_t version, const void *record,
                       size_t size)
{
    struct wire_sessions w;
    uint64_t *open;
    int rc;

    if (version <= s->sessions_version) {
        return PS_OK;
    }
    arena_reset(&s->arena);
    rc = wire_sessions_decode(record, size, &s->arena, &w);
    if (rc != PS_OK) {
        return rc;
    }
    open = mem_try(mem_array((size_t)w.n_open + 1, sizeof(*open)));
    if (open == NULL) {
        return PS_ENOMEM;
    }
    for (uint32_t i = 0; i < w.n_open; i++) {
        open[i] = w.open[i].session;
    }
    qsort(open, w.n_open, sizeof(*open), compare_u64);
    mem_free(s->open);
    s->open = open;
    s->n_open = w.n_open;
    s->next_session = w.next;
    s->sessions_version = version;
    windows_end(&s->windows, open, w.n_open, w.next, s->net->now_us(s->net),
                shard_ended_session_us(s));
    history_on_sessions(s);
    return PS_OK;
}

uint64_t shard_ended_session_us(const struct shard *s)
{
    return 1000 * (s->options.ended_session_ms != 0
                       ? s->options.ended_session_ms
                       : LIMIT_ENDED_SESSION_MS);
}

bool shard_session_is_open(const struct shard *s, uint64_t session)
{
    return s->n_open > 0 && bsearch(&session, s->open, s->n_open,
                                    sizeof(session), compare_u64) != NULL;
}

void shard_tick(struct shard *s)
{
    shard_save_work(s);
    shard_load_work(s);
    shard_log_tick(s);
    if (s->net->now_us(s->net) >= shard_move_next(s)) {
        shard_move_begin(s);
    }
}

uint64_t shard_next(const struct shard *s)
{
    uint64_t next = base_min_u64(shard_save_next(s), shard_load_next(s));

    next = base_min_u64(next, shard_move_next(s));
    return base_min_u64(next, shard_log_next(s));
}

uint64_t shard_lane(const struct shard *s)
{
    return s->lane;
}

uint64_t shard_plan_number(const struct shard *s)
{
    return s->plan != NULL ? s->plan->w.plan : 0;
}

uint64_t shard_sessions_version(const struct shard *s)
{
    return s->sessions_version;
}

const struct stats *shard_stats(const struct shard *s)
{
    return &s->stats;
}

struct walk {
    void (*fn)(void *context, uint32_t variable, uint64_t key,
               const float *values, uint32_t dim);
    void *context;
    const struct table_spec *spec;
};

static void walk_row(void *context, uint64_t key, const float *values)
{
    struct walk *w = context;

    w->fn(w->context, w->spec->variable, key, values, w->spec->dim);
}

void shard_walk(struct shard *s,
                void (*fn)(void *context, uint32_t variable, uint64_t key,
                           const float *values, uint32_t dim),
                void *context)
{
    for (size_t i = 0; i < s->n_parts; i++) {
        struct walk w = {fn, context, NULL};

        if (s->parts[i].table == NULL) {
            continue;
        }
        w.spec = table_spec(s->parts[i].table);
        table_walk(s->parts[i].table, walk_row, &w);
    }
}
