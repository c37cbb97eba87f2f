/* What a lane's state does to the parts that are loaded: its late frames are
 * applied to the rows, as they were at the cut, in their order; its windows
 * become frozen copies beside the parts.
 *
 * A late frame that was applied when others of after the cut had been applied
 * already leaves a gap of numbers that are not in the checkpoint: in the copy
 * these are canceled, which is what they are for whoever asks now. */
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/probe.h"
#include "server/shard_load.h"
#include "server/shard_log.h"
#include "wire/run.h"

PLANT_DECLARE(late_not_replayed);

void shard_history_free(struct shard_history *list)
{
    while (list != NULL) {
        struct shard_history *h = list;

        list = h->next;
        mem_free(h->gaps);
        mem_free(h);
    }
}

static const struct ckpt_window *find_window(const struct shard_history *h,
                                             uint64_t session)
{
    size_t low = 0;
    size_t n = h->n;

    while (low < n) {
        size_t mid = low + (n - low) / 2;

        if (h->windows[mid].session == session) {
            return &h->windows[mid];
        }
        if (h->windows[mid].session < session) {
            low = mid + 1;
        } else {
            n = mid;
        }
    }
    return NULL;
}

int shard_history_fate(const struct shard_part *p, uint64_t lane,
                       uint64_t session, uint64_t seq)
{
    for (const struct shard_history *h = p->histories; h != NULL; h = h->next) {
        const struct ckpt_window *w;

        if (h->lane != lane) {
            continue;
        }
        w = find_window(h, session);
        if (w == NULL) {
            return session <= h->forgotten ? PS_EUNSURE : PS_ECANCELED;
        }
        if (seq >= w->next) {
            return PS_ECANCELED;
        }
        return seq + LIMIT_WINDOW < w->next ? PS_EUNSURE
                                            : w->fate[seq % LIMIT_WINDOW];
    }
    return PS_ECANCELED;
}

int shard_history_keep(const struct shard_part *p, uint64_t lane,
                       uint64_t session, struct arena *arena,
                       struct wire_keep *k)
{
    const struct shard_history *h = p->histories;
    const struct ckpt_window *w;
    struct wire_span *gaps;

    while (h != NULL && h->lane != lane) {
        h = h->next;
    }
    w = h != NULL ? find_window(h, session) : NULL;
    k->below = w != NULL ? w->next : 1;
    k->n_gaps = 0;
    if (w == NULL || h->n_gaps == 0) {
        return PS_OK;
    }
    gaps = arena_take(arena, h->n_gaps * sizeof(*gaps));
    if (gaps == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < h->n_gaps; i++) {
        if (h->gaps[i].session == session) {
            gaps[k->n_gaps++] =
                (struct wire_span){h->gaps[i].first, h->gaps[i].last};
        }
    }
    k->gaps = gaps;
    return PS_OK;
}

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

static int replay_in_part(struct loading *v, const struct ckpt_state *state,
                          const struct run_op *op, struct shard_part *p)
{
    const struct wire_variable *w;
    const char *why;
    struct chain chain;
    int rc;

    w = shard_loading_source(v, p, &why);
    if (w == NULL || op->variable != w->id || op->begin >= p->end ||
        op->end <= p->begin) {
        return PS_OK;
    }
    rc = find_chain(v->shard, state, op->chain, &chain);
    if (rc != PS_OK) {
        return rc;
    }
    return (chain.flags & UDF_WRITES) != 0
               ? shard_replay_op(v->shard, &chain, op, w, p)
               : PS_OK;
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

static int compare_windows(const void *a, const void *b)
{
    const struct ckpt_window *x = a;
    const struct ckpt_window *y = b;

    return x->session < y->session ? -1 : x->session > y->session;
}

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

/* One lane's windows with its late numbers, for one part. */
static void add_late(struct shard_history *h, const struct ckpt_late *l)
{
    size_t i = 0;

    while (i < h->n && h->windows[i].session != l->session) {
        i++;
    }
    if (i == h->n) {
        h->windows[i] = (struct ckpt_window){.session = l->session, .next = 1};
        h->n++;
    }
    if (l->seq > h->windows[i].next) {
        h->gaps[h->n_gaps++] =
            (struct history_gap){l->session, h->windows[i].next, l->seq - 1};
    }
    settle_late(&h->windows[i], l->seq);
}

static bool is_same_window(const struct ckpt_window *a,
                           const struct ckpt_window *b)
{
    return a->session == b->session && a->next == b->next &&
           a->floor == b->floor && a->refuse_below == b->refuse_below &&
           a->has_ended == b->has_ended &&
           memcmp(a->fate, b->fate, sizeof(a->fate)) == 0 &&
           memcmp(a->canceled, b->canceled, sizeof(a->canceled)) == 0;
}

/* A part that was split and is one again comes with a copy from each piece:
 * were all kept, they would double with each such load. */
static bool has_same(const struct shard_part *p, const struct shard_history *h)
{
    for (const struct shard_history *o = p->histories; o != NULL; o = o->next) {
        size_t i = 0;

        if (o->lane != h->lane || o->forgotten != h->forgotten ||
            o->n != h->n || o->n_gaps != 0 || h->n_gaps != 0) {
            continue;
        }
        while (i < h->n && is_same_window(&o->windows[i], &h->windows[i])) {
            i++;
        }
        if (i == h->n) {
            return true;
        }
    }
    return false;
}

static int keep_history(struct shard_part *p, const struct ckpt_history *from,
                        const struct ckpt_state *state, bool is_own)
{
    size_t room = (size_t)from->n_windows + (is_own ? state->n_lates : 0);
    struct shard_history *h =
        mem_try_zero(sizeof(*h) + (room + 1) * sizeof(h->windows[0]));

    if (h == NULL) {
        return PS_ENOMEM;
    }
    h->gaps = mem_try((room + 1) * sizeof(*h->gaps));
    if (h->gaps == NULL) {
        mem_free(h);
        return PS_ENOMEM;
    }
    h->lane = from->lane;
    h->begin = p->begin;
    h->end = p->end;
    h->forgotten = from->forgotten;
    h->n = (size_t)from->n_windows;
    if (h->n > 0) {
        memcpy(h->windows, from->windows, h->n * sizeof(h->windows[0]));
    }
    for (uint32_t i = 0; is_own && i < state->n_lates; i++) {
        add_late(h, &state->lates[i]);
    }
    qsort(h->windows, h->n, sizeof(h->windows[0]), compare_windows);
    if (has_same(p, h)) {
        shard_history_free(h);
        return PS_OK;
    }
    h->next = p->histories;
    p->histories = h;
    return PS_OK;
}

static int keep_histories(struct loading *v, const struct ckpt_state *state)
{
    struct shard *s = v->shard;
    uint64_t lane = v->ckpt->manifest.lanes[v->lane].lane;
    int rc = PS_OK;

    for (size_t k = 0; k < s->n_parts && v->brings_lanes; k++) {
        struct shard_part *p = &s->parts[k];
        const struct wire_variable *w;
        const char *why;

        if (!shard_loading_is_of(v, p)) {
            continue;
        }
        w = shard_loading_source(v, p, &why);
        if (w == NULL ||
            !ckpt_needs(v->ckpt, v->lane, w->id, p->begin, p->end)) {
            continue;
        }
        for (uint32_t i = 0; i < state->n_histories && rc == PS_OK; i++) {
            const struct ckpt_history *h = &state->histories[i];
            bool is_own = h->lane == lane;

            if (is_own || (h->variable == w->id && h->begin < p->end &&
                           p->begin < h->end)) {
                rc = keep_history(p, h, state, is_own);
            }
        }
    }
    return rc;
}

int shard_loading_take_state(struct loading *v, const void *data, size_t size,
                             struct err *e)
{
    const struct ckpt_index *x = &v->ckpt->indexes[v->lane];
    struct ckpt_state state;
    int rc;

    arena_reset(&v->arena);
    rc = ckpt_state_decode(data, size, &x->files[1], &v->arena, &state, e);
    for (uint32_t i = 0; i < state.n_lates && rc == PS_OK; i++) {
        if (PLANT(late_not_replayed)) {
            break;
        }
        rc = replay(v, &state, &state.lates[i]);
        if (rc != PS_OK) {
            err_set(e, rc, "a frame of before the cut: %s", ps_status_text(rc));
        }
    }
    if (rc == PS_OK) {
        rc = keep_histories(v, &state);
        if (rc != PS_OK) {
            err_set(e, rc, "out of memory");
        }
    }
    return rc;
}
