/* Who is alive: every server's record and every session's lease are looked at
 * several times within a lease's length. Whoever is silent for a whole length
 * is ended by compare-and-swap on the very record it renews, so an end and a
 * renewal cannot both succeed (protocol 7.2). */
#include <stdio.h>

#include "base/mem.h"
#include "base/probe.h"
#include "scheduler/readers.h"
#include "scheduler/restore.h"
#include "scheduler/lane_end.h"
#include "scheduler/save.h"

int member_start(struct scheduler *s)
{
    for (uint32_t i = 0; i < s->options.servers; i++) {
        struct member *m = &s->members[i];
        bool in_flight = m->in_flight;

        memset(m, 0, sizeof(*m));
        m->in_flight = in_flight;
        lease_view_init(&m->view);
        m->gone_us = scheduler_now(s);
        arena_init(&m->arena);
        buf_init(&m->bytes);
    }
    return PS_OK;
}

static void free_guest(struct guest *g)
{
    if (g != NULL) {
        buf_fini(&g->position);
        mem_free(g);
    }
}

void member_free(struct scheduler *s)
{
    struct guest *g;
    size_t i = 0;

    for (uint32_t k = 0; s->members != NULL && k < s->options.servers; k++) {
        arena_fini(&s->members[k].arena);
        buf_fini(&s->members[k].bytes);
        s->members[k].has_lanes = false;
    }
    while ((g = map_next(&s->guests, &i)) != NULL) {
        free_guest(g);
    }
    map_fini(&s->guests);
}

uint32_t member_count(const struct scheduler *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->options.servers; i++) {
        n += s->members[i].has_lanes;
    }
    return n;
}

const struct wire_shard *member_shard(const struct scheduler *s, uint64_t lane)
{
    for (uint32_t i = 0; i < s->options.servers; i++) {
        const struct member *m = &s->members[i];

        for (uint32_t k = 0; m->has_lanes && k < m->record.n_shards; k++) {
            if (m->record.shards[k].lane == lane) {
                return &m->record.shards[k];
            }
        }
    }
    return NULL;
}

bool member_has_loaded(const struct scheduler *s, const struct wire_part *part)
{
    const struct wire_shard *h = member_shard(s, part->lane);
    const struct wire_variable *v = plan_variable(s->plan, part->variable);

    return h != NULL &&
           (v != NULL && v->durability == PS_MEMORY ? h->loaded_unlogged
                                                    : h->loaded) >= part->since;
}

static bool had_parts(const struct scheduler *s, uint32_t id)
{
    for (uint32_t i = 0; i < s->plan->w.n_ended; i++) {
        if (s->plan->w.ended[i].server == id) {
            return true;
        }
    }
    return false;
}

bool member_is_given_up(const struct scheduler *s, uint32_t id)
{
    const struct member *m;

    if (s->options.successor_ms == 0) {
        return false;
    }
    if (id >= s->options.servers) {
        return true; /* there are fewer now */
    }
    m = &s->members[id];
    return !m->has_lanes && s->plan != NULL && had_parts(s, id) &&
           scheduler_now(s) >= m->gone_us + s->options.successor_ms * 1000;
}

bool member_all_there(const struct scheduler *s)
{
    bool any = false;

    for (uint32_t i = 0; i < s->options.servers; i++) {
        any = any || s->members[i].has_lanes;
        if (!s->members[i].has_lanes && !member_is_given_up(s, i)) {
            return false;
        }
    }
    return any;
}

static bool has_ended_lane(const struct scheduler *s, const struct member *m)
{
    for (uint32_t i = 0; i < m->record.n_shards; i++) {
        if (plan_ended(s->plan, m->record.shards[i].lane) != NULL) {
            return true;
        }
    }
    return false;
}

void member_on_plan(struct scheduler *s)
{
    for (uint32_t i = 0; i < s->options.servers; i++) {
        struct member *m = &s->members[i];

        m->has_lanes = m->has_lanes && !has_ended_lane(s, m);
    }
}

/* A restore has ended its lanes, and it has not taken others yet, but perhaps
 * for a shard that did not wait for that. */
static bool is_to_renew(const struct scheduler *s, uint32_t id)
{
    const struct wire_server *r = &s->members[id].record;
    bool has_ended = false;

    for (uint32_t i = 0; i < r->n_shards; i++) {
        const struct wire_ended *e = plan_ended(s->plan, r->shards[i].lane);

        if (e != NULL && e->server != id) {
            return false;
        }
        has_ended = has_ended || e != NULL;
    }
    return has_ended;
}

/* May silence be held against others? Where the store has not taken our own
 * renewals lately, as on a full disk, it takes those of nobody: it counts as
 * away (protocol 7.2). In half a length we renew twice; nobody can have been
 * silent for a whole one within it. */
static bool store_takes_writes(const struct scheduler *s)
{
    return scheduler_now(s) < s->lease.confirmed_us + s->length_us / 2;
}

/* Ends a silent server's lanes: its record goes to ENDED as it was. */
static void end_server(struct scheduler *s, uint32_t id,
                       const struct wire_lease *w)
{
    struct member *m = &s->members[id];
    struct wire_lease ended = *w;
    char key[COORD_KEY_MAX + 1];
    struct buf b;

    PROBE(member_server_ended);
    log_write(LOG_WARNING, "server %u is silent: its lanes end", id);
    ended.state = LEASE_ENDED;
    ended.renewal++;
    buf_init(&b);
    wire_lease_encode(&ended, &b);
    if (!b.failed) {
        snprintf(key, sizeof(key), "server/%u", id);
        m->in_flight = true;
        scheduler_ask(s, COORD_CAS, TAG_SERVER | (uint64_t)id << 8, key,
                      m->view.version, &b);
    }
    buf_fini(&b);
}

/* Keeps what a server says of itself; its lanes are read from there. Without
 * memory for it the server counts as not looked at: its lanes go on. */
static void keep_record(struct member *m, const struct wire_lease *w)
{
    m->has_lanes = false;
    arena_reset(&m->arena);
    buf_clear(&m->bytes);
    if (buf_append(&m->bytes, w->body.data, w->body.size) == PS_OK &&
        wire_server_decode(m->bytes.data, m->bytes.size, &m->arena,
                           &m->record) == PS_OK) {
        m->has_lanes = true;
    } else {
        m->view.is_known = false;
    }
}

/* Lanes are numbers of their own: not twice in a record, not another server's,
 * not one that has ended. */
static bool is_plausible(const struct scheduler *s, uint32_t id)
{
    const struct wire_server *r = &s->members[id].record;

    for (uint32_t i = 0; i < r->n_shards; i++) {
        uint64_t lane = r->shards[i].lane;

        if (lane == 0 || plan_ended(s->plan, lane) != NULL) {
            return false;
        }
        for (uint32_t k = 0; k < i; k++) {
            if (r->shards[k].lane == lane) {
                return false;
            }
        }
        for (uint32_t k = 0; k < s->plan->w.n_lanes; k++) {
            if (s->plan->w.lanes[k].lane == lane &&
                s->plan->w.lanes[k].server != id) {
                return false;
            }
        }
    }
    return r->n_shards > 0 && r->n_shards <= LIMIT_SHARDS;
}

void member_on_server(struct scheduler *s, const struct coord_result *r)
{
    uint32_t id = (uint32_t)(r->tag >> 8);
    struct member *m = &s->members[id];
    struct wire_lease w;
    bool is_dead;

    m->in_flight = false;
    if (s->state != SCHEDULER_RUN) {
        return;
    }
    if (r->op == COORD_CAS) {
        /* Whatever came of it, the next look sees it: at once, but where the
         * store is in trouble. */
        if (r->status != PS_EIO) {
            s->look_us = scheduler_now(s);
        }
        return;
    }
    if (r->status == PS_ENOTFOUND) {
        return;
    }
    arena_reset(&s->arena);
    if (r->status != PS_OK || !store_takes_writes(s) ||
        wire_lease_decode(r->data, r->size, &s->arena, &w) != PS_OK) {
        /* The store was away: count a whole length anew. */
        m->view.unchanged_us = 0;
        m->view.looked_us = scheduler_now(s);
        return;
    }
    is_dead = lease_view_look(&m->view, r->version, &w, scheduler_now(s),
                              s->length_us);
    if (w.state == LEASE_ENDED) {
        m->has_lanes = false;
    } else if (is_dead) {
        end_server(s, id, &w);
        return;
    } else {
        keep_record(m, &w);
        if (m->has_lanes && is_to_renew(s, id)) {
            m->has_lanes = false;
        } else if (m->has_lanes && !is_plausible(s, id)) {
            log_limited(&s->bad_log, scheduler_now(s), LOG_ERROR,
                        "server %u: its record names lanes that are not its "
                        "own; they are not used",
                        id);
            m->has_lanes = false;
            m->view.is_known = false;
        }
    }
    if (m->has_lanes) {
        m->gone_us = scheduler_now(s);
    }
    plan_owner_update(s);
    save_look(s);
    restore_look(s);
}

void member_look(struct scheduler *s)
{
    struct guest *g;
    size_t k = 0;
    char key[COORD_KEY_MAX + 1];

    for (uint32_t i = 0; i < s->options.servers; i++) {
        if (!s->members[i].in_flight) {
            s->members[i].in_flight = true;
            snprintf(key, sizeof(key), "server/%u", i);
            scheduler_ask(s, COORD_GET, TAG_SERVER | (uint64_t)i << 8, key, 0,
                          NULL);
        }
    }
    while ((g = map_next(&s->guests, &k)) != NULL) {
        if (!g->in_flight && !g->is_dead) {
            g->in_flight = true;
            snprintf(key, sizeof(key), "session/%llu",
                     (unsigned long long)g->session);
            scheduler_ask(s, COORD_GET, TAG_SESSION | g->session << 8, key, 0,
                          NULL);
        }
    }
    if (!s->sessions_in_flight) {
        s->sessions_in_flight = true;
        scheduler_ask(s, COORD_GET, TAG_SESSIONS, "sessions", 0, NULL);
    }
}

static void create_sessions(struct scheduler *s)
{
    struct wire_sessions w = {.nonce = s->nonce, .cut = 1, .next = 1};
    struct buf b;

    buf_init(&b);
    wire_sessions_encode(&w, &b);
    if (!b.failed) {
        s->sessions_in_flight = true;
        scheduler_ask(s, COORD_CAS, TAG_SESSIONS, "sessions", 0, &b);
    }
    buf_fini(&b);
}

/* Takes the dead out of the table of open sessions. */
static void end_sessions(struct scheduler *s, const struct wire_sessions *old,
                         uint64_t version)
{
    struct wire_session *open =
        arena_take(&s->arena, ((size_t)old->n_open + 1) * sizeof(*open));
    struct wire_sessions w = *old;
    struct buf b;

    if (open == NULL) {
        return;
    }
    w.n_open = 0;
    for (uint32_t i = 0; i < old->n_open; i++) {
        const struct guest *g = map_get(&s->guests, old->open[i].session);

        if (g == NULL || !g->is_dead) {
            open[w.n_open++] = old->open[i];
        } else {
            PROBE(member_session_ended);
            log_write(LOG_WARNING, "session %llu (worker %d) is silent: ends",
                      (unsigned long long)g->session,
                      (int)old->open[i].worker - 1);
        }
    }
    if (w.n_open == old->n_open) {
        return;
    }
    w.open = open;
    w.nonce = s->nonce;
    buf_init(&b);
    wire_sessions_encode(&w, &b);
    if (!b.failed) {
        s->sessions_in_flight = true;
        scheduler_ask(s, COORD_CAS, TAG_SESSIONS, "sessions", version, &b);
    }
    buf_fini(&b);
}

/* Guests come and go with the table. */
static void follow_table(struct scheduler *s, const struct wire_sessions *w)
{
    struct guest *g;
    size_t i = 0;
    char key[COORD_KEY_MAX + 1];

    lane_end_tick(s);
    readers_go_on(s);
    for (uint32_t k = 0; k < w->n_open; k++) {
        if (map_get(&s->guests, w->open[k].session) == NULL) {
            g = mem_try_zero(sizeof(*g));
            if (g == NULL || map_put(&s->guests, w->open[k].session, g)) {
                mem_free(g);
                lane_end_on_session(s, 0); /* it says nothing for now */
                return;
            }
            g->session = w->open[k].session;
            buf_init(&g->position);
        }
    }
    while ((g = map_next(&s->guests, &i)) != NULL) {
        bool is_open = false;

        for (uint32_t k = 0; k < w->n_open && !is_open; k++) {
            is_open = w->open[k].session == g->session;
        }
        if (!is_open && !g->in_flight) {
            snprintf(key, sizeof(key), "session/%llu",
                     (unsigned long long)g->session);
            scheduler_ask(s, COORD_DEL, TAG_FORGET, key, 0, NULL);
            lane_end_on_session(s, g->settled);
            free_guest(map_take(&s->guests, g->session));
            i = 0;
        }
    }
}

void member_on_sessions(struct scheduler *s, const struct coord_result *r)
{
    struct wire_sessions w;

    s->sessions_in_flight = false;
    if (s->state != SCHEDULER_RUN || r->op == COORD_CAS) {
        return;
    }
    if (r->status == PS_ENOTFOUND) {
        create_sessions(s);
        return;
    }
    arena_reset(&s->arena);
    if (r->status != PS_OK ||
        wire_sessions_decode(r->data, r->size, &s->arena, &w) != PS_OK) {
        return;
    }
    follow_table(s, &w);
    save_on_table(s, &w);
    if (store_takes_writes(s)) {
        end_sessions(s, &w, r->version);
    }
}

/* What a client says in its lease of its cut and its reader. */
static void keep_report(struct guest *g, const struct wire_lease *w,
                        struct arena *arena)
{
    struct wire_guest m;

    if (w->body.size == 0 ||
        wire_guest_decode(w->body.data, w->body.size, arena, &m) != PS_OK) {
        return;
    }
    g->settled = base_max_u64(g->settled, m.settled);
    if (m.cut <= g->cut) {
        return;
    }
    buf_clear(&g->position);
    if (buf_append(&g->position, m.position.data, m.position.size) == PS_OK) {
        g->cut = m.cut;
    } else {
        buf_fini(&g->position);
        buf_init(&g->position);
    }
}

void member_on_session(struct scheduler *s, const struct coord_result *r)
{
    struct guest *g = map_get(&s->guests, r->tag >> 8);
    struct wire_lease w;
    const struct wire_lease *record = NULL;

    if (g == NULL) {
        return;
    }
    g->in_flight = false;
    if (s->state != SCHEDULER_RUN) {
        return;
    }
    if (!store_takes_writes(s)) {
        g->view.unchanged_us = 0;
        g->view.looked_us = scheduler_now(s);
        return;
    }
    if (r->status == PS_OK) {
        arena_reset(&s->arena);
        if (wire_lease_decode(r->data, r->size, &s->arena, &w) != PS_OK) {
            return;
        }
        record = &w;
        keep_report(g, &w, &s->arena);
    } else if (r->status != PS_ENOTFOUND) {
        g->view.unchanged_us = 0;
        g->view.looked_us = scheduler_now(s);
        return;
    }
    if (lease_view_look(&g->view, r->version, record, scheduler_now(s),
                        s->length_us)) {
        g->is_dead = true;
    }
    save_look(s);
}
