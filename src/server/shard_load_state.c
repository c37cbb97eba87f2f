/* What a lane's state does to the parts that are loaded: its late frames are
 * applied to the rows, as they were at the cut, in their order; its windows
 * become frozen copies beside the parts.
 *
 * A late frame that was applied when others of after the cut had been applied
 * already leaves a gap of numbers that are not in the checkpoint: in the copy
 * these are canceled, which is what they are for whoever asks now. */
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/probe.h"
#include "server/history.h"
#include "server/shard_load.h"
#include "server/shard_log.h"
#include "wire/run.h"

PLANT_DECLARE(late_not_replayed);
PLANT_DECLARE(split_by_part);

/* ---- late frames -------------------------------------------------------- */

static int find_chain(const struct shard *s, const struct ckpt_state *state,
                      uint64_t id, struct chain *chain)
{
    const struct chain *known = map_get(&s->chains, id);

    for (uint32_t i = 0; i < state->n_chains; i++) {
        const struct ckpt_chain *c = &state->chains[i];

        if (c->id != id) {
            continue;
        }
        if (known != NULL && strcmp(known->definition, c->definition) == 0) {
            *chain = *known;
            return PS_OK;
        }
        return chain_parse(c->definition, chain, NULL);
    }
    return PS_EDATALOSS;
}

/* Row numbers of the op's rows that are in the part; `at` says which of the
 * op's they are. */
static int find_rows(struct udf_call *c, const struct run_op *op,
                     const struct wire_variable *v, bool inserts, uint64_t *ids,
                     uint32_t *at, size_t *n)
{
    const struct table_spec *spec = table_spec(c->table);
    uint64_t begin, end;

    *n = 0;
    if (spec->kind != PS_DENSE) {
        for (uint32_t i = 0; i < op->n_keys; i++) {
            uint32_t bucket = hash_bucket(hash_key(op->keys[i]));

            if (bucket >= spec->begin && bucket < spec->end) {
                ids[*n] = op->keys[i];
                at[*n] = i;
                *n += 1;
            }
        }
        if (!inserts) {
            table_find(c->table, ids, *n, c->rows);
            return PS_OK;
        }
        return table_insert(c->table, ids, *n, c->rows, &c->undo);
    }
    plan_dense_rows(v->rows, op->begin, op->end, &begin, &end);
    for (uint64_t row = begin; row < end; row++) {
        if (row >= spec->row_begin && row < spec->row_end) {
            ids[*n] = row;
            at[*n] = (uint32_t)(row - begin);
            c->rows[*n] = (uint32_t)(row - spec->row_begin);
            *n += 1;
        }
    }
    return PS_OK;
}

int shard_replay_op(struct shard *s, const struct chain *chain,
                    const struct run_op *op, const struct wire_variable *v,
                    struct shard_part *p)
{
    struct udf_call c = {
        .table = p->table, .kern = s->options.kern, .arena = &s->arena};
    struct run_op ours = *op;
    size_t room = op->n_keys;
    size_t dim = op->dim;
    uint64_t *ids;
    uint32_t *at;
    float *values;
    int rc;

    if (v->kind == PS_DENSE) {
        uint64_t begin, end;

        plan_dense_rows(v->rows, op->begin, op->end, &begin, &end);
        room = (size_t)(end - begin);
    }
    if (op->dim != table_spec(p->table)->dim ||
        (op->n_values != 0 && op->n_values != room * dim)) {
        return PS_EDATALOSS;
    }
    ids = arena_take(&s->arena, (room + 1) * sizeof(*ids));
    at = arena_take(&s->arena, (room + 1) * sizeof(*at));
    c.rows = arena_take(&s->arena, (room + 1) * sizeof(*c.rows));
    c.undo.rows = arena_take(&s->arena, (room + 1) * sizeof(*c.undo.rows));
    values = arena_take(&s->arena, (op->n_values + 1) * sizeof(*values));
    if (ids == NULL || at == NULL || c.rows == NULL || c.undo.rows == NULL ||
        values == NULL) {
        return PS_ENOMEM;
    }
    rc = find_rows(&c, op, v, (chain->udfs[0]->flags & UDF_WRITES) != 0, ids,
                   at, &c.n_rows);
    if (rc != PS_OK) {
        return rc;
    }
    for (size_t i = 0; i < c.n_rows && op->n_values != 0; i++) {
        memcpy(values + i * dim, op->values + at[i] * dim,
               dim * sizeof(*values));
    }
    ours.keys = ids;
    ours.n_keys = (uint32_t)c.n_rows;
    ours.values = values;
    ours.n_values = op->n_values != 0 ? c.n_rows * dim : 0;
    c.op = &ours;
    for (uint32_t i = 1; i < chain->n && rc == PS_OK; i++) {
        const struct udf *u = chain->udfs[i];

        if ((u->flags & UDF_WRITES) == 0) {
            continue;
        }
        rc = u->prepare(u, &c);
        if (rc == PS_OK && u->apply != NULL) {
            u->apply(u, &c);
        }
    }
    return rc;
}

/* The frame was cut by the parts of its time, which may have been others: what
 * it has of this part its buckets say. */
static bool touches(const struct run_op *op, const struct shard_part *p)
{
    return PLANT(split_by_part) ? op->begin >= p->begin && op->begin < p->end
                                : op->begin < p->end && op->end > p->begin;
}

static int replay_in_part(struct loading *v, const struct ckpt_state *state,
                          const struct run_op *op, struct shard_part *p)
{
    struct shard *s = v->shard;
    uint64_t limit = s->budget.limit;
    const struct wire_variable *w;
    const char *why;
    struct chain chain;
    int rc;

    w = shard_loading_source(v, p, &why);
    if (w == NULL || op->variable != w->id || !touches(op, p)) {
        return PS_OK;
    }
    if (op->begin < p->begin || op->end > p->end) {
        PROBE(shard_late_of_other_parts);
    }
    rc = find_chain(s, state, op->chain, &chain);
    if (rc != PS_OK || (chain.flags & UDF_WRITES) == 0) {
        return rc;
    }
    s->budget.limit = shard_loading_has_place(v, p) ? 0 : limit;
    rc = shard_replay_op(s, &chain, op, w, p);
    s->budget.limit = limit;
    return rc;
}

static int replay(struct loading *v, const struct ckpt_state *state,
                  const struct ckpt_late *late)
{
    struct shard *s = v->shard;
    uint64_t lane = v->ckpt->manifest.lanes[v->lane].lane;
    struct run_op *ops;
    uint8_t *body;
    uint32_t n = 0;
    int rc;

    arena_reset(&s->arena);
    body = arena_take(&s->arena, (size_t)late->n_body + 1);
    if (body == NULL) {
        return PS_ENOMEM;
    }
    memcpy(body, late->body, (size_t)late->n_body); /* aligned now */
    rc = run_decode(body, (size_t)late->n_body, &s->arena, &ops, &n);
    if (rc != PS_OK && rc != PS_ENOMEM) {
        rc = PS_EDATALOSS;
    }
    for (uint32_t i = 0; i < n && rc == PS_OK; i++) {
        for (size_t k = 0; k < s->n_parts && rc == PS_OK; k++) {
            if (shard_loading_is_of(v, &s->parts[k]) &&
                !(v->brings_lanes &&
                  shard_log_replays(s, &s->parts[k], lane))) {
                rc = replay_in_part(v, state, &ops[i], &s->parts[k]);
            }
        }
    }
    PROBE(shard_load_replays_late);
    return rc;
}

/* ---- windows ------------------------------------------------------------ */

/* The number of a late frame: applied; those that it left out are not there. */
static void settle_late(struct ckpt_window *w, uint64_t seq)
{
    if (seq < w->next) {
        w->fate[seq % LIMIT_WINDOW] = PS_OK;
        return;
    }
    if (seq - w->next >= LIMIT_WINDOW) {
        memset(w->fate, PS_ECANCELED, sizeof(w->fate));
    } else {
        for (uint64_t i = w->next; i < seq; i++) {
            w->fate[i % LIMIT_WINDOW] = PS_ECANCELED;
        }
    }
    w->fate[seq % LIMIT_WINDOW] = PS_OK;
    w->next = seq + 1;
}

/* As values of a map, which takes no NULL. */
static void *as_value(uint64_t i)
{
    return (void *)(uintptr_t)(i + 1);
}

static uint64_t index_of(const struct map *m, uint64_t session)
{
    return (uint64_t)(uintptr_t)map_get(m, session) - 1;
}

/* Where each session's window is, those of late frames behind the others; how
 * many there are. */
static int place_windows(const struct ckpt_state *state,
                         const struct ckpt_history *own, struct map *places,
                         uint64_t *n)
{
    int rc = PS_OK;

    for (*n = 0; *n < own->n_windows && rc == PS_OK; *n += 1) {
        rc = map_put(places, own->windows[*n].session, as_value(*n));
    }
    for (uint32_t i = 0; i < state->n_lates && rc == PS_OK; i++) {
        if (map_get(places, state->lates[i].session) == NULL) {
            rc = map_put(places, state->lates[i].session, as_value(*n));
            *n += 1;
        }
    }
    return rc;
}

/* The lane's own windows with its late numbers. */
static int add_lates(struct arena *arena, const struct ckpt_state *state,
                     const struct ckpt_history *own, const struct map *places,
                     uint64_t n, struct ckpt_history *out)
{
    struct ckpt_window *windows =
        arena_take(arena, (size_t)(n + 1) * sizeof(*windows));
    struct ckpt_numbers *gaps =
        arena_take(arena, ((size_t)state->n_lates + 1) * sizeof(*gaps));

    if (windows == NULL || gaps == NULL) {
        return PS_ENOMEM;
    }
    for (uint64_t i = 0; i < own->n_windows; i++) {
        windows[i] = own->windows[i];
    }
    for (uint64_t i = own->n_windows; i < n; i++) {
        windows[i] = (struct ckpt_window){.next = 1};
    }
    *out = *own;
    out->n_windows = n;
    out->windows = windows;
    out->gaps = gaps;
    out->n_gaps = 0;
    for (uint32_t i = 0; i < state->n_lates; i++) {
        const struct ckpt_late *l = &state->lates[i];
        struct ckpt_window *w = &windows[index_of(places, l->session)];

        w->session = l->session;
        if (l->seq > w->next) {
            gaps[out->n_gaps++] =
                (struct ckpt_numbers){l->session, w->next, l->seq - 1};
        }
        settle_late(w, l->seq);
    }
    return PS_OK;
}

/* What a state knows of a lane, and our copy of it once there is one. */
struct known {
    const struct ckpt_history *history;
    struct history_copy *copy;
};

/* A state's histories, and the first one with the late numbers. */
struct knowledge {
    struct known *of;
    struct known with_lates;
    struct ckpt_history all;
};

static int take_knowledge(struct loading *v, const struct ckpt_state *state,
                          struct knowledge *k)
{
    struct map places;
    uint64_t n;
    int rc;

    k->of = arena_take(&v->arena,
                       ((size_t)state->n_histories + 1) * sizeof(*k->of));
    if (k->of == NULL) {
        return PS_ENOMEM;
    }
    for (uint32_t i = 0; i < state->n_histories; i++) {
        k->of[i] = (struct known){&state->histories[i], NULL};
    }
    k->with_lates = (struct known){&k->all, NULL};
    if (state->n_histories == 0) {
        return PS_OK;
    }
    map_init(&places);
    rc = place_windows(state, &state->histories[0], &places, &n);
    if (rc == PS_OK) {
        rc = add_lates(&v->arena, state, &state->histories[0], &places, n,
                       &k->all);
    }
    map_fini(&places);
    return rc;
}

/* What of buckets [begin, end) is in the part, with what is known of them. */
static int keep_history(struct shard *s, struct shard_part *p, uint64_t begin,
                        uint64_t end, struct known *from)
{
    begin = base_max_u64(begin, p->begin);
    end = base_min_u64(end, p->end);
    if (begin >= end) {
        return PS_OK;
    }
    /* The part was here before. The lane lives, its own windows say more. */
    if (from->history->lane == s->lane) {
        PROBE(shard_load_comes_back);
        return PS_OK;
    }
    if (from->copy == NULL) {
        from->copy = history_copy_new(from->history);
    }
    return from->copy == NULL
               ? PS_ENOMEM
               : history_put(s, p, (uint32_t)begin, (uint32_t)end, &from->copy);
}

/* The lane's own windows are of all that it held, the others of a range. */
static int keep_histories_of(struct loading *v, const struct ckpt_state *state,
                             struct knowledge *known, struct shard_part *p,
                             const struct wire_variable *w)
{
    const struct ckpt_manifest *m = &v->ckpt->manifest;
    uint64_t lane = m->lanes[v->lane].lane;
    int rc = PS_OK;

    for (uint32_t i = 0; i < state->n_histories && rc == PS_OK; i++) {
        const struct ckpt_history *h = &state->histories[i];

        if (i > 0 && h->variable == w->id) {
            rc = keep_history(v->shard, p, h->begin, h->end,
                              &known->of[h->same != 0 ? h->same - 1 : i]);
        }
        for (uint32_t k = 0; k < m->n_parts && rc == PS_OK && i == 0; k++) {
            const struct ckpt_place *o = &m->parts[k];

            if (o->lane == lane && o->variable == w->id) {
                /* Of late ones that a log has, the log says which are there. */
                rc = keep_history(v->shard, p, o->begin, o->end,
                                  shard_log_replays(v->shard, p, lane)
                                      ? &known->of[0]
                                      : &known->with_lates);
            }
        }
    }
    return rc;
}

static int keep_histories(struct loading *v, const struct ckpt_state *state)
{
    struct shard *s = v->shard;
    struct knowledge known;
    int rc = v->brings_lanes ? take_knowledge(v, state, &known) : PS_OK;

    for (size_t k = 0; k < s->n_parts && v->brings_lanes && rc == PS_OK; k++) {
        struct shard_part *p = &s->parts[k];
        const struct wire_variable *w;
        const char *why;

        if (!shard_loading_is_of(v, p)) {
            continue;
        }
        w = shard_loading_source(v, p, &why);
        if (w != NULL &&
            ckpt_needs(v->ckpt, v->lane, w->id, p->begin, p->end)) {
            rc = keep_histories_of(v, state, &known, p, w);
        }
    }
    history_on_plan(s);
    return rc;
}

int shard_loading_take_state(struct loading *v, const struct disk_result *r)
{
    int rc = PS_OK;

    buf_fini(&v->state_file);
    buf_init(&v->state_file);
    v->has_state = true;
    v->state_is_decoded = false;
    v->check_tensor = 0;
    v->check_block = 0;
    v->late = 0;
    if (r->memory != NULL) {
        v->state_file = *r->memory;
        buf_init(r->memory);
    } else {
        rc = buf_append(&v->state_file, r->data, r->size);
    }
    return rc;
}

/* The file's size and header, then a block each time; 1: all are right. */
static int check_state(struct loading *v, struct err *e)
{
    const struct ckpt_file *file = &v->ckpt->indexes[v->lane].files[1];
    const struct ckpt_tensor *t;

    if (v->check_tensor == 0) {
        v->check_tensor = 1;
        return v->state_file.size == file->size
                   ? ckpt_header_check(file, v->state_file.data, e)
                   : err_set(e, PS_EDATALOSS,
                             "%s is not as long as the index "
                             "says",
                             file->name);
    }
    while (v->check_tensor <= file->n_tensors) {
        t = &file->tensors[v->check_tensor - 1];
        if (v->check_block < t->n_sums) {
            uint32_t k = v->check_block++;

            return ckpt_block_check(
                file, t, k, v->state_file.data + ckpt_block(t, k).offset, e);
        }
        v->check_tensor++;
        v->check_block = 0;
    }
    return 1;
}

int shard_loading_state_work(struct loading *v, struct err *e)
{
    struct buf *file = &v->state_file;
    int rc;

    if (!v->state_is_decoded) {
        rc = check_state(v, e);
        if (rc != 1) {
            return rc;
        }
        arena_reset(&v->arena);
        v->state_is_decoded = true;
        return ckpt_state_decode(file->data, file->size, NULL, &v->arena,
                                 &v->state, e);
    }
    if (v->late < v->state.n_lates && !PLANT(late_not_replayed)) {
        rc = replay(v, &v->state, &v->state.lates[v->late++]);
        return rc == PS_OK ? PS_OK
                           : err_set(e, rc, "a frame of before the cut: %s",
                                     ps_status_text(rc));
    }
    rc = keep_histories(v, &v->state);
    v->has_state = false;
    buf_fini(file);
    buf_init(file);
    return rc == PS_OK ? 1 : err_set(e, rc, "out of memory");
}
