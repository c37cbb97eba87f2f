/* oracle_rows.c - every row is what the clients were told.
 *
 * A frame counts when its client, which lived to the end, was told that it was
 * applied and not that it was lost. Of a client that died or closed nobody can
 * tell; its frames count when a shard applied them in a lane that still lives.
 * The rows of all shards must be the sums of the frames that count: no more,
 * no less, and no row that no such frame names. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "oracle.h"
#include "server/shard.h"

typedef unsigned long long ull;

struct row *oracle_row(struct sim *s, uint32_t variable, uint64_t key)
{
    struct oracle *o = s->oracle;
    uint64_t h = hash_key(key ^ (uint64_t)variable << 56);
    struct row **at = &o->rows[h % ROW_BUCKETS];

    while (*at != NULL && ((*at)->key != key || (*at)->variable != variable)) {
        at = &(*at)->next;
    }
    if (*at == NULL) {
        *at = world_take(s, sizeof(**at));
        (*at)->variable = variable;
        (*at)->key = key;
    }
    return *at;
}

bool oracle_writes(const struct sim *s, const struct run_op *op)
{
    return op->n_values != 0 || op->chain == s->oracle->create_chain;
}

void oracle_each_row(struct sim *s, const struct run_op *ops, uint32_t n_ops,
                     void (*fn)(void *context, uint32_t variable, uint64_t key,
                                const float *values),
                     void *context)
{
    for (uint32_t i = 0; i < n_ops; i++) {
        const struct run_op *op = &ops[i];
        const struct variable_life *v = oracle_variable(s, op->variable);
        uint64_t begin = 0, end = op->n_keys;

        if (v == NULL || op->dim != v->dim) {
            world_fail(s,
                       "a frame names variable %u of dim %u, which is not "
                       "in the store",
                       op->variable, op->dim);
            return;
        }
        if (v->kind == PS_DENSE) {
            plan_dense_rows(v->rows, op->begin, op->end, &begin, &end);
        }
        if (op->n_values != 0 && op->n_values != (end - begin) * v->dim) {
            world_fail(s, "a frame has %llu values for %llu rows of dim %u",
                       (ull)op->n_values, (ull)(end - begin), v->dim);
            return;
        }
        if (!oracle_writes(s, op)) {
            continue;
        }
        for (uint64_t k = begin; k < end; k++) {
            fn(context, op->variable, v->kind == PS_DENSE ? k : op->keys[k],
               op->n_values == 0 ? NULL : op->values + (k - begin) * v->dim);
        }
    }
}

static uint32_t bucket_of(const struct variable_life *v, uint64_t key)
{
    uint64_t rows = (v->rows + LIMIT_BUCKETS - 1) / LIMIT_BUCKETS;

    return v->kind == PS_DENSE ? (uint32_t)(key / base_max_u64(rows, 1))
                               : hash_bucket(hash_key(key));
}

uint64_t oracle_holder(const struct sim *s, uint32_t variable, uint64_t key)
{
    const struct variable_life *v = oracle_variable(s, variable);
    const struct wire_part *p =
        v == NULL || s->oracle->plan == NULL
            ? NULL
            : plan_part(s->oracle->plan, variable, bucket_of(v, key));
    const struct lane *l = p == NULL ? NULL : oracle_lane(s, p->lane);

    return l == NULL || l->has_ended ? 0 : l->number;
}

uint64_t oracle_held_since(const struct sim *s, uint32_t variable, uint64_t key)
{
    const struct variable_life *v = oracle_variable(s, variable);
    const struct wire_part *p =
        v == NULL || s->oracle->plan == NULL
            ? NULL
            : plan_part(s->oracle->plan, variable, bucket_of(v, key));

    return p == NULL ? 0 : p->since;
}

/* ---- requests ---------------------------------------------------------- */

static int compare_pushed(const void *a, const void *b)
{
    const struct pushed *x = a;
    const struct pushed *y = b;

    if (x->variable != y->variable) {
        return x->variable < y->variable ? -1 : 1;
    }
    return (x->key > y->key) - (x->key < y->key);
}

struct pushed *oracle_pushed(const struct asked *a, uint32_t variable,
                             uint64_t key)
{
    struct pushed wanted = {.variable = variable, .key = key};

    return a->n_pushed == 0 ? NULL
                            : bsearch(&wanted, a->pushed, a->n_pushed,
                                      sizeof(wanted), compare_pushed);
}

/* Sorts what is pushed, one entry a row. */
void oracle_asked(struct sim *s, struct asked *a)
{
    size_t n = 0;

    if (a->n_pushed > 0) {
        qsort(a->pushed, a->n_pushed, sizeof(*a->pushed), compare_pushed);
    }
    for (size_t i = 0; i < a->n_pushed; i++) {
        struct pushed *p = &a->pushed[i];

        oracle_row(s, p->variable, p->key)->sent += (uint64_t)p->sum[0];
        if (n > 0 && compare_pushed(&a->pushed[n - 1], p) == 0) {
            for (uint32_t k = 0; k < ORACLE_DIM; k++) {
                a->pushed[n - 1].sum[k] += p->sum[k];
            }
        } else {
            a->pushed[n++] = *p;
        }
    }
    a->n_pushed = n;
}

/* What is missing of a request was in a lane that has ended, and its client had
 * been told so: whoever loads the part next says that it is lost. */
static void take_had(struct sim *s, struct asked *a)
{
    bool is_missing = false;

    for (size_t i = 0; i < a->n_pushed; i++) {
        is_missing = is_missing || a->pushed[i].done[0] < a->pushed[i].sum[0];
    }
    if (!is_missing || a->had == NULL) {
        return;
    }
    for (size_t i = 0; i < a->n_pushed; i++) {
        for (uint32_t k = 0; k < ORACLE_DIM; k++) {
            a->pushed[i].done[k] += a->pushed[i].had[k];
        }
    }
    for (const struct had *h = a->had; h != NULL; h = h->next) {
        oracle_load_keep(s, h->n, &h->op);
    }
}

/* PS_OK: all that was pushed is in frames that were applied. Otherwise none is
 * there more often than it was pushed. */
void oracle_settled(struct sim *s, struct asked *a, int status)
{
    a->is_settled = true;
    if (status == PS_OK) {
        take_had(s, a);
    }
    if ((status == PS_EUNSURE && world_ended_session_ms(s) == 0) ||
        status == PS_ETIMEOUT) {
        world_fail(s, "a request of %s settles as %s", world_name(a->client),
                   ps_status_name(status));
    }
    for (size_t i = 0; i < a->n_pushed; i++) {
        const struct pushed *p = &a->pushed[i];
        /* Of what was found applied nothing is there when it is dropped. */
        bool is_gone = plan_variable(s->oracle->plan, p->variable) == NULL;
        bool whole = true;

        for (uint32_t k = 0; k < ORACLE_DIM && !is_gone; k++) {
            whole = whole && (uint64_t)p->done[k] == (uint64_t)p->sum[k];
        }
        if ((status == PS_OK && !whole) || p->done[0] > p->sum[0]) {
            world_fail(s,
                       "a request of %s settles as %s; of variable %u key "
                       "%llu it pushed (%.0f, %.0f, %.0f), and frames with "
                       "(%.0f, %.0f, %.0f) were applied",
                       world_name(a->client), ps_status_name(status),
                       p->variable, (ull)p->key, p->sum[0], p->sum[1],
                       p->sum[2], p->done[0], p->done[1], p->done[2]);
            return;
        }
    }
}

/* ---- pulls ------------------------------------------------------------- */

void oracle_pull_begin(struct sim *s, uint32_t variable, uint64_t key,
                       struct oracle_bound *b)
{
    const struct row *r = oracle_row(s, variable, key);

    b->lane = oracle_holder(s, variable, key);
    b->since = oracle_held_since(s, variable, key);
    b->low =
        r->acked_lane == b->lane && r->acked_since == b->since ? r->acked : 0;
}

void oracle_pull_end(struct sim *s, uint32_t variable, uint64_t key,
                     const struct oracle_bound *b, const float *values)
{
    const struct row *r = oracle_row(s, variable, key);
    uint64_t v[ORACLE_DIM];

    for (uint32_t k = 0; k < ORACLE_DIM; k++) {
        v[k] = (uint64_t)values[k];
    }
    s->totals.pulls_checked++;
    if (v[1] < v[0] || v[2] < v[1] || ((v[1] ^ v[2]) & 1) != 0 ||
        v[1] * v[1] > v[0] * v[2]) {
        world_fail(s,
                   "variable %u key %llu is pulled torn: (%llu, %llu, "
                   "%llu)",
                   variable, (ull)key, (ull)v[0], (ull)v[1], (ull)v[2]);
    }
    if (v[0] > r->sent) {
        world_fail(s,
                   "variable %u key %llu has %llu pushes, but %llu were "
                   "sent",
                   variable, (ull)key, (ull)v[0], (ull)r->sent);
    }
    if (b->lane != 0 && b->lane == oracle_holder(s, variable, key) &&
        b->since == oracle_held_since(s, variable, key) && v[0] < b->low) {
        world_fail(s,
                   "variable %u key %llu has %llu pushes, but %llu were "
                   "acknowledged before the pull",
                   variable, (ull)key, (ull)v[0], (ull)b->low);
    }
}

/* ---- status ------------------------------------------------------------ */

void oracle_status(struct sim *s, uint64_t lane, const void *data, size_t size)
{
    struct oracle *o = s->oracle;
    struct wire_status_answer w;
    const struct lane *l = oracle_lane(s, lane);
    struct process *p;

    arena_reset(&o->arena);
    if (l == NULL || l->has_ended || data == NULL ||
        wire_status_answer_decode(data, size, &o->arena, &w) != PS_OK) {
        world_fail(s, "the status of lane %llu cannot be read", (ull)lane);
        return;
    }
    if (w.lane != lane || w.server != l->server || w.shard != l->shard ||
        w.emptied != o->lives[l->server] - 1) {
        world_fail(s,
                   "status of server %u shard %u lane %llu: lane %llu, "
                   "emptied %u; it came back %u times",
                   l->server, l->shard, (ull)lane, (ull)w.lane, w.emptied,
                   o->lives[l->server] - 1);
        return;
    }
    for (uint32_t i = 0; i < w.n_tables; i++) {
        trace_note(s, "lane %llu: variable %u has %llu rows, %llu bytes",
                   (ull)lane, w.tables[i].variable, (ull)w.tables[i].rows,
                   (ull)w.tables[i].bytes);
    }
    p = s->places[s->n_schedulers + l->server].process;
    for (uint32_t i = 0; i < w.n_counters; i++) {
        uint64_t applied = p->life == o->applied_life[l->server]
                               ? o->applied[l->server][l->shard]
                               : 0;

        if (strcmp(w.counters[i].name, "pushes_applied") == 0 &&
            w.counters[i].value != applied) {
            world_fail(s,
                       "server %u shard %u says that it applied %llu "
                       "frames; it was %llu",
                       l->server, l->shard, (ull)w.counters[i].value,
                       (ull)applied);
        }
    }
}

/* ---- the end ----------------------------------------------------------- */

static void expect_row(void *context, uint32_t variable, uint64_t key,
                       const float *values)
{
    struct sim *s = context;
    struct row *r = oracle_row(s, variable, key);

    r->must_exist = true;
    for (uint32_t k = 0; values != NULL && k < ORACLE_DIM; k++) {
        r->sum[k] += (double)values[k];
    }
}

/* Counts what of a frame is in the rows of now, which must be what its client
 * was told. */
static void expect_frame(struct sim *s, const struct stream *t, size_t at,
                         bool lived)
{
    const struct numbered *n = &t->numbers[at];
    struct arena arena;
    struct run_op *ops;
    uint32_t n_ops = 0;

    arena_init(&arena);
    if (run_decode(frame_body(n->frame), n->frame->body_bytes, &arena, &ops,
                   &n_ops) != PS_OK) {
        n_ops = 0;
    }
    for (uint32_t i = 0; i < n_ops; i++) {
        uint32_t from = ops[i].begin;
        struct run_op op;

        while (!s->has_failed &&
               oracle_load_piece(s, &arena, &ops[i], &from, &op)) {
            bool is_in = oracle_load_has_now(s, &op, t, n);

            if (is_in) {
                oracle_each_row(s, &op, 1, expect_row, s);
            }
            if (lived) {
                oracle_load_check(s, t, at, &op, is_in);
            }
        }
    }
    arena_fini(&arena);
}

static void expect_stream(struct sim *s, const struct stream *t)
{
    const struct lane *l = oracle_lane(s, t->lane);
    bool lived = !t->client->is_dead;

    if (l == NULL) {
        world_fail(s,
                   "frames were sent to lane %llu, which is not in the "
                   "store",
                   (ull)t->lane);
        return;
    }
    for (size_t i = 0; i < t->n && !s->has_failed; i++) {
        if (lived && !t->numbers[i].is_told) {
            world_fail(s,
                       "%s lives and was never told what became of "
                       "(%llu, %llu, %zu)",
                       world_name(t->client), (ull)t->session, (ull)t->lane,
                       i + 1);
        } else {
            expect_frame(s, t, i, lived);
        }
    }
}

struct walk {
    struct sim *s;
    uint64_t lane;
};

static void check_row(void *context, uint32_t variable, uint64_t key,
                      const float *values, uint32_t dim)
{
    struct walk *w = context;
    struct sim *s = w->s;
    struct row *r = oracle_row(s, variable, key);
    const struct variable_life *v = oracle_variable(s, variable);

    s->totals.rows++;
    if (v == NULL || v->dim != dim ||
        oracle_holder(s, variable, key) != w->lane) {
        world_fail(s, "lane %llu has variable %u key %llu, which is not its",
                   (ull)w->lane, variable, (ull)key);
        return;
    }
    if (r->was_walked) {
        world_fail(s, "variable %u key %llu is there twice", variable,
                   (ull)key);
    }
    r->was_walked = true;
    if (!r->must_exist && v->kind != PS_DENSE) {
        world_fail(s,
                   "variable %u key %llu is there, but no frame that made "
                   "it counts",
                   variable, (ull)key);
    }
    for (uint32_t k = 0; k < dim; k++) {
        double wanted = r->sum[k < ORACLE_DIM ? k : 1];

        if (values[k] < (float)wanted || values[k] > (float)wanted) {
            world_fail(s,
                       "variable %u key %llu is (%.0f, %.0f, %.0f); the "
                       "clients were told (%.0f, %.0f, %.0f)",
                       variable, (ull)key, (double)values[0], (double)values[1],
                       (double)values[2], r->sum[0], r->sum[1], r->sum[2]);
            return;
        }
    }
}

static void check_shards(struct sim *s)
{
    for (uint32_t i = 0; i < s->n_servers; i++) {
        struct process *p = s->places[s->n_schedulers + i].process;

        for (uint32_t k = 0; k < actor_server_shards(p) && !s->has_failed;
             k++) {
            struct shard *shard = actor_server_shard(p, k);
            struct walk w = {s, shard_lane(shard)};
            const struct lane *l = oracle_lane(s, w.lane);

            if (l == NULL || l->has_ended || l->server != i || l->shard != k ||
                plan_lane(s->oracle->plan, w.lane) == NULL) {
                world_fail(s,
                           "server %u shard %u lives in lane %llu, which is "
                           "not in the plan",
                           i, k, (ull)w.lane);
                return;
            }
            shard_walk(shard, check_row, &w);
        }
    }
}

void oracle_end(struct sim *s)
{
    struct oracle *o = s->oracle;

    for (struct stream *t = o->all_streams; t != NULL && !s->has_failed;
         t = t->next) {
        expect_stream(s, t);
    }
    if (!s->has_failed) {
        check_shards(s);
        oracle_save_end(s);
    }
    for (size_t i = 0; i < ROW_BUCKETS && !s->has_failed; i++) {
        for (const struct row *r = o->rows[i]; r != NULL; r = r->next) {
            if (r->must_exist && !r->was_walked &&
                plan_variable(o->plan, r->variable) != NULL) {
                world_fail(s,
                           "variable %u key %llu is gone; the clients were "
                           "told (%.0f, %.0f, %.0f)",
                           r->variable, (ull)r->key, r->sum[0], r->sum[1],
                           r->sum[2]);
                break;
            }
        }
    }
    for (uint32_t i = 0; i < s->n_servers && s->is_calm; i++) {
        if (o->lives[i] != 1) {
            world_fail(s,
                       "server %u lost its rows, though only the store and "
                       "the network were disturbed",
                       i);
        }
    }
}
