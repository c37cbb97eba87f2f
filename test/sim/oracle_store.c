/* oracle_store.c - the records as they are written in the store: numbers of
 * lanes and sessions are never given twice, and what has ended stays so. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "oracle.h"
#include "wire/wire.h"

typedef unsigned long long ull;

enum {
    VERSION_SESSIONS,
    VERSION_PLAN,
    VERSION_COUNTERS,
    VERSION_SAVE,
    VERSION_SERVER /* and those behind */
};

enum { LEASE_IS_ENDED = 0 }; /* the state in the record */

struct lane *oracle_lane(const struct sim *s, uint64_t lane)
{
    return lane == 0 ? NULL : map_get(&s->oracle->lanes, lane);
}

struct session_life *oracle_session(const struct sim *s, uint64_t session)
{
    return session == 0 ? NULL : map_get(&s->oracle->sessions, session);
}

struct variable_life *oracle_variable(const struct sim *s, uint32_t id)
{
    return map_get(&s->oracle->variables, id);
}

static void end_lane(struct sim *s, uint64_t number)
{
    struct lane *l = oracle_lane(s, number);

    if (l != NULL && !l->has_ended) {
        l->has_ended = true;
        l->ended_at = s->now;
        trace_note(s, "lane %llu ends in the store", (ull)number);
    }
}

static void on_lane(struct sim *s, const struct wire_lease *lease,
                    const struct wire_server *w, uint32_t shard)
{
    struct oracle *o = s->oracle;
    uint64_t number = w->shards[shard].lane;
    struct lane *l = oracle_lane(s, number);
    int rc;

    if (l == NULL) {
        l = world_take(s, sizeof(*l));
        *l = (struct lane){.number = number,
                           .server = w->id,
                           .shard = shard,
                           .nonce = lease->nonce,
                           .emptied = w->emptied,
                           .restore = o->plan != NULL ? o->plan->w.restore : 0};
        rc = map_put(&o->lanes, number, l);
        ASSERT(rc == PS_OK);
    } else if (l->server != w->id || l->shard != shard ||
               l->nonce != lease->nonce || l->emptied != w->emptied) {
        world_fail(s,
                   "lane %llu is given twice: to server %u shard %u and to "
                   "server %u shard %u",
                   (ull)number, l->server, l->shard, w->id, shard);
    } else if (l->has_ended && !l->was_rolled_back) {
        world_fail(s, "lane %llu has ended and is in the store again",
                   (ull)number);
    }
    l->sessions_seen = w->sessions_seen;
    if (o->live[w->id][shard] != number) {
        /* It takes others while it lives: one cannot write its log. */
        end_lane(s, o->live[w->id][shard]);
    }
    o->live[w->id][shard] = number;
}

/* A new set of lanes for a server: a new life, empty but for the first. */
static void on_life(struct sim *s, const struct wire_lease *lease,
                    const struct wire_server *w)
{
    struct oracle *o = s->oracle;

    if (o->lives[w->id] > 0 && o->life_nonce[w->id] == lease->nonce &&
        o->life_emptied[w->id] == w->emptied) {
        return;
    }
    for (uint32_t i = 0; i < SIM_SHARDS_MAX; i++) {
        end_lane(s, o->live[w->id][i]);
        o->live[w->id][i] = 0;
    }
    o->life_nonce[w->id] = lease->nonce;
    o->life_emptied[w->id] = w->emptied;
    o->lives[w->id]++;
    s->totals.come_backs += o->lives[w->id] > 1;
    if (w->emptied != o->lives[w->id] - 1) {
        world_fail(s,
                   "server %u says that it came back empty %u times, but "
                   "this is its life number %u",
                   w->id, w->emptied, o->lives[w->id]);
    }
}

static void on_server(struct sim *s, uint32_t id, const void *data, size_t size)
{
    struct oracle *o = s->oracle;
    struct wire_lease lease;
    struct wire_server w;

    if (wire_lease_decode(data, size, &o->arena, &lease) != PS_OK ||
        wire_server_decode(lease.body.data, lease.body.size, &o->arena, &w) !=
            PS_OK ||
        w.id != id || w.n_shards > SIM_SHARDS_MAX) {
        world_fail(s, "the record server/%u cannot be read", id);
        return;
    }
    if (lease.state == LEASE_IS_ENDED) {
        for (uint32_t i = 0; i < SIM_SHARDS_MAX; i++) {
            end_lane(s, o->live[id][i]);
            o->live[id][i] = 0;
        }
        return;
    }
    on_life(s, &lease, &w);
    for (uint32_t i = 0; i < w.n_shards && !s->has_failed; i++) {
        on_lane(s, &lease, &w, i);
    }
}

bool oracle_has_ended(const struct sim *s, uint64_t session)
{
    const struct session_life *l = oracle_session(s, session);

    return l != NULL && l->ended_version != 0;
}

static void on_session(struct sim *s, const struct wire_sessions *w,
                       const struct wire_session *one, uint64_t version)
{
    struct oracle *o = s->oracle;
    struct session_life *l = oracle_session(s, one->session);
    int rc;

    if (l != NULL) {
        if (l->nonce != one->nonce || l->ended_version != 0) {
            world_fail(s, "session %llu is given twice (version %llu)",
                       (ull)one->session, (ull)version);
        }
        return;
    }
    if (one->session < o->next_session || one->session >= w->next) {
        world_fail(s,
                   "session %llu is given out of turn: the record went from "
                   "next %llu to %llu",
                   (ull)one->session, (ull)o->next_session, (ull)w->next);
    }
    l = world_take(s, sizeof(*l));
    l->number = one->session;
    l->nonce = one->nonce;
    l->next = o->all_sessions;
    o->all_sessions = l;
    s->totals.sessions++;
    rc = map_put(&o->sessions, one->session, l);
    ASSERT(rc == PS_OK);
}

static void on_sessions(struct sim *s, const void *data, size_t size,
                        uint64_t version)
{
    struct oracle *o = s->oracle;
    struct wire_sessions w;

    if (wire_sessions_decode(data, size, &o->arena, &w) != PS_OK) {
        world_fail(s, "the record sessions cannot be read");
        return;
    }
    for (struct session_life *l = o->all_sessions; l != NULL; l = l->next) {
        bool is_open = false;

        for (uint32_t i = 0; i < w.n_open && !is_open; i++) {
            is_open = w.open[i].session == l->number;
        }
        if (!is_open && l->ended_version == 0) {
            l->ended_version = version;
            trace_note(s, "session %llu ends in the store (version %llu)",
                       (ull)l->number, (ull)version);
        }
    }
    if (w.cut < o->raised_cut) {
        world_fail(s, "the cut falls from %llu to %llu", (ull)o->raised_cut,
                   (ull)w.cut);
    }
    for (uint32_t i = 0; i < w.n_open; i++) {
        on_session(s, &w, &w.open[i], version);
        for (uint32_t k = 0; k < i; k++) {
            if (w.open[k].worker == w.open[i].worker) {
                world_fail(s,
                           "sessions %llu and %llu of worker %u are both "
                           "open",
                           (ull)w.open[k].session, (ull)w.open[i].session,
                           w.open[i].worker);
            }
        }
    }
    if (w.next < o->next_session) {
        world_fail(s, "the next session falls from %llu to %llu",
                   (ull)o->next_session, (ull)w.next);
    }
    for (struct session_life *l = o->all_sessions;
         l != NULL && w.cut > o->raised_cut; l = l->next) {
        l->raised_cut = l->ended_version == 0 ? w.cut : l->raised_cut;
    }
    o->next_session = w.next;
    o->raised_cut = w.cut;
}

static void on_variable(struct sim *s, const struct wire_variable *v)
{
    struct oracle *o = s->oracle;
    struct variable_life *l = oracle_variable(s, v->id);
    int rc;

    if (l != NULL) {
        return;
    }
    l = world_take(s, sizeof(*l));
    *l = (struct variable_life){.next = o->all_variables,
                                .id = v->id,
                                .kind = v->kind,
                                .dim = v->dim,
                                .rows = v->rows,
                                .durability = v->durability};
    o->all_variables = l;
    trace_note(s, "variable %u: %s, durability %u", v->id, v->name,
               v->durability);
    rc = map_put(&o->variables, v->id, l);
    ASSERT(rc == PS_OK);
}

static void on_plan(struct sim *s, const void *data, size_t size)
{
    struct oracle *o = s->oracle;
    struct plan *p;
    bool is_restore;
    int rc = plan_new(&p, data, size);

    if (rc != PS_OK) {
        world_fail(s, "the record plan cannot be read: %s", ps_status_name(rc));
        return;
    }
    if (o->plan != NULL &&
        (p->w.plan <= o->plan->w.plan || p->w.term < o->plan->w.term)) {
        world_fail(s, "plan %llu of term %llu follows plan %llu of term %llu",
                   (ull)p->w.plan, (ull)p->w.term, (ull)o->plan->w.plan,
                   (ull)o->plan->w.term);
    }
    is_restore = o->plan != NULL && p->w.restore > o->plan->w.restore;
    if (is_restore && !s->is_consistent &&
        p->w.n_orders == o->plan->w.n_orders) {
        world_fail(s, "plan %llu goes back, and no new order asks for it",
                   (ull)p->w.plan);
    }
    plan_free(o->plan);
    o->plan = p;
    rc = map_put(&o->terms, p->w.plan,
                 (void *)(uintptr_t)(p->w.restore << 32 | (p->w.term + 1)));
    ASSERT(rc == PS_OK);
    for (uint32_t i = 0; i < p->w.n_variables; i++) {
        on_variable(s, &p->w.variables[i]);
    }
    for (uint32_t i = 0; i < p->w.n_ended; i++) {
        struct lane *l = oracle_lane(s, p->w.ended[i].lane);

        if (l != NULL && l->ended_plan == 0) {
            l->ended_plan = p->w.ended[i].plan;
        }
        if (is_restore && l != NULL && !l->has_ended) {
            end_lane(s, l->number);
            l->was_rolled_back = true;
        }
        if (l == NULL || !l->has_ended) {
            world_fail(s,
                       "plan %llu says that lane %llu has ended, which "
                       "lives",
                       (ull)p->w.plan, (ull)p->w.ended[i].lane);
        }
    }
    oracle_load_on_plan(s, p);
    trace_note(s, "plan %llu of term %llu: %u variables, %u lanes, %u ended",
               (ull)p->w.plan, (ull)p->w.term, p->w.n_variables, p->w.n_lanes,
               p->w.n_ended);
}

static void on_counters(struct sim *s, const void *data, size_t size)
{
    struct oracle *o = s->oracle;
    struct wire_counters w;

    if (wire_counters_decode(data, size, &o->arena, &w) != PS_OK ||
        w.next_lane < o->next_lane) {
        world_fail(s, "the record counters cannot be read, or falls");
        return;
    }
    o->next_lane = w.next_lane;
}

/* Which record a key is, as an index of versions; -1: one that is not looked
 * at. */
static int index_of(const char *key)
{
    if (strcmp(key, "sessions") == 0) {
        return VERSION_SESSIONS;
    }
    if (strcmp(key, "plan") == 0) {
        return VERSION_PLAN;
    }
    if (strcmp(key, "counters") == 0) {
        return VERSION_COUNTERS;
    }
    if (strcmp(key, "save") == 0) {
        return VERSION_SAVE;
    }
    if (strncmp(key, "server/", 7) == 0) {
        return VERSION_SERVER + (int)strtol(key + 7, NULL, 10);
    }
    return -1;
}

static void read_record(struct sim *s, const char *key, struct coord_result *r)
{
    struct coord_request request = {.op = COORD_GET};

    memcpy(request.key, key, strlen(key) + 1);
    coord_file_do(s->oracle->store, &request, &s->oracle->value, r);
}

static void on_log(struct sim *s, const char *key)
{
    struct coord_result r;

    read_record(s, key, &r);
    if (r.status == PS_OK) {
        arena_reset(&s->oracle->arena);
        oracle_log_on_stored(s, r.data, r.size);
    }
}

void oracle_on_stored(struct sim *s, const char *key)
{
    struct oracle *o = s->oracle;
    struct coord_result r;
    int i = index_of(key);

    if (strncmp(key, "log/", 4) == 0 && !s->has_failed) {
        on_log(s, key);
        return;
    }
    if (i < 0 || s->has_failed) {
        return;
    }
    read_record(s, key, &r);
    if (r.status == PS_ENOTFOUND && o->versions[i] == 0) {
        return;
    }
    if (r.status != PS_OK || r.version < o->versions[i]) {
        world_fail(s, "the record %s: %s, version %llu after %llu", key,
                   ps_status_name(r.status), (ull)r.version,
                   (ull)o->versions[i]);
        return;
    }
    if (r.version == o->versions[i]) {
        return;
    }
    o->versions[i] = r.version;
    arena_reset(&o->arena);
    switch (i) {
    case VERSION_SESSIONS:
        on_sessions(s, r.data, r.size, r.version);
        break;
    case VERSION_PLAN:
        on_plan(s, r.data, r.size);
        break;
    case VERSION_COUNTERS:
        on_counters(s, r.data, r.size);
        break;
    case VERSION_SAVE:
        oracle_save_on_record(s, r.data, r.size);
        break;
    default:
        on_server(s, (uint32_t)(i - VERSION_SERVER), r.data, r.size);
        break;
    }
}

void oracle_on_stored_all(struct sim *s)
{
    char key[32];

    oracle_on_stored(s, "sessions");
    oracle_on_stored(s, "plan");
    oracle_on_stored(s, "counters");
    oracle_on_stored(s, "save");
    for (uint64_t lane = 1; lane < s->oracle->next_lane; lane++) {
        snprintf(key, sizeof(key), "log/%llu", (ull)lane);
        oracle_on_stored(s, key);
    }
    for (uint32_t i = 0; i < s->n_servers; i++) {
        snprintf(key, sizeof(key), "server/%u", i);
        oracle_on_stored(s, key);
    }
}
