/* What a shard answers beside data: HELLO, CHAIN, RESOLVE, STATUS. */
#include <stdio.h>

#include "base/mem.h"
#include "base/probe.h"
#include "server/history.h"
#include "server/shard_load.h"
#include "server/shard_log.h"

void shard_hello(struct shard *s, struct shard_connection *c,
                 const struct frame_header *h, struct frame *frame)
{
    struct wire_hello m;
    struct wire_hello_answer a = {
        .version = WIRE_VERSION,
        .server = s->options.server,
        .shard = s->options.shard,
        .lane = s->lane,
    };
    struct buf b;

    if (wire_hello_decode(frame_body(frame), frame->body_bytes, &s->arena,
                          &m) != PS_OK) {
        shard_refuse_connection(s, c->number, "a HELLO that cannot be read");
        return;
    }
    if (m.version != WIRE_VERSION) {
        shard_answer(s, c->number, h, PS_EVERSION,
                     "this server speaks version 1 of the protocol");
        shard_refuse_connection(s, c->number, "another protocol version");
        return;
    }
    c->said_hello = true;
    a.features = m.features & WIRE_FEATURE_CHECKSUM;
    c->checksums = a.features != 0;
    buf_init(&b);
    wire_hello_answer_encode(&a, &b);
    shard_answer_buf(s, c->number, h, &b);
    buf_fini(&b);
}

/* Whoever misses one is told so by the end of its connection, and registers it
 * again on the next. */
static void drop_unused_chains(struct shard *s)
{
    uint64_t *unused = arena_take(&s->arena, s->chains.n * sizeof(*unused));
    struct chain *c;
    size_t n = 0;
    size_t i = 0;

    while (unused != NULL && (c = map_next(&s->chains, &i)) != NULL) {
        if (!c->has_run) {
            unused[n++] = c->id;
        }
    }
    while (n > 0) {
        mem_free(map_take(&s->chains, unused[--n]));
    }
}

void shard_chain(struct shard *s, uint64_t connection,
                 const struct frame_header *h, struct frame *frame)
{
    struct wire_chain m;
    struct chain *chain, *known;
    struct err e;
    int rc;

    if (wire_chain_decode(frame_body(frame), frame->body_bytes, &s->arena,
                          &m) != PS_OK) {
        shard_refuse_connection(s, connection, "a CHAIN that cannot be read");
        return;
    }
    known = map_get(&s->chains, m.chain);
    if (known != NULL) {
        bool same = strcmp(known->definition, m.definition) == 0;

        shard_answer(s, connection, h, same ? PS_OK : PS_EEXIST,
                     same ? NULL : "another chain has this id");
        return;
    }
    if (s->chains.n >= LIMIT_CHAINS) {
        drop_unused_chains(s);
    }
    if (s->chains.n >= LIMIT_CHAINS) {
        shard_answer(s, connection, h, PS_ELIMIT,
                     "this shard knows as many chains as it may");
        return;
    }
    chain = mem_try_zero(sizeof(*chain));
    if (chain == NULL) {
        shard_answer(s, connection, h, PS_ENOMEM, NULL);
        return;
    }
    rc = chain_parse(m.definition, chain, &e);
    if (rc == PS_OK && chain->id != m.chain) {
        rc = err_set(&e, PS_EARGUMENT, "the id is not that of the chain");
    }
    if (rc == PS_OK) {
        rc = map_put(&s->chains, chain->id, chain);
        e.text[0] = '\0';
    }
    if (rc != PS_OK) {
        mem_free(chain);
    }
    shard_answer(s, connection, h, rc, rc == PS_OK ? NULL : e.text);
}

/* A part whose updater is not here was not loaded: what its rows will have once
 * the server is started with that plugin, nobody knows. */
static bool has_rows(const struct shard_part *p)
{
    return p->table != NULL && !p->is_loading;
}

/* What became of a number on a lane that is not this one: what the part's rows
 * were loaded with says so; what is not in there is not applied, and no copy of
 * it can be (protocol 3.2, 6). A lane that the plan does not name is not
 * known. */
static int fate_on_former_lane(struct shard *s, const struct wire_resolve *m,
                               const struct wire_range *range)
{
    struct shard_part *p = shard_part(s, range->variable, range->begin);

    if (plan_ended(s->plan, m->lane) == NULL) {
        return PS_EUNSURE;
    }
    if (plan_variable(s->plan, range->variable) == NULL) {
        return PS_ECANCELED;
    }
    if (p == NULL) {
        return PS_EMOVED;
    }
    return has_rows(p) ? history_fate(s, p, range, m) : PS_EBUSY;
}

static int fate_on_this_lane(struct shard *s, const struct wire_resolve *m)
{
    struct window *w = windows_get(&s->windows, m->session);

    if (w == NULL) {
        if (!shard_session_is_open(s, m->session)) {
            /* It ended before it sent anything here, and cannot any more; or
             * what it sent is forgotten. */
            return m->session <= s->windows.forgotten ? PS_EUNSURE
                                                      : PS_ECANCELED;
        }
        w = windows_make(&s->windows, m->session);
        if (w == NULL) {
            return PS_EBUSY;
        }
    }
    return window_resolve(w, m->seq);
}

/* Not before the commit of what it reports (protocol 6). */
static void answer_committed(struct shard *s, uint64_t connection,
                             const struct frame_header *h, const struct buf *b)
{
    struct frame_header a = shard_answer_header(s, h, PS_OK);
    struct frame *f = b->failed ? NULL : frame_new(b->size);

    if (f != NULL) {
        memcpy(frame_body(f), b->data, b->size);
        shard_log_answer(s, connection, &a, f, PS_LOG);
        frame_put(f);
    }
}

void shard_resolve(struct shard *s, uint64_t connection,
                   const struct frame_header *h, struct frame *frame)
{
    struct wire_resolve m;
    struct wire_fate *fates;
    struct wire_resolve_answer a;
    struct buf b;
    int live = PS_OK;

    if (wire_resolve_decode(frame_body(frame), frame->body_bytes, &s->arena,
                            &m) != PS_OK ||
        m.n_parts > LIMIT_FRAME_OPS) {
        shard_refuse_connection(s, connection, "a RESOLVE, malformed");
        return;
    }
    if (h->lane != s->lane) {
        shard_answer(s, connection, h, s->lane == 0 ? PS_EBUSY : PS_ELANE,
                     NULL);
        return;
    }
    fates = arena_take(&s->arena, ((size_t)m.n_parts + 1) * sizeof(*fates));
    if (fates == NULL || s->plan == NULL || s->sessions_version == 0 ||
        m.session >= s->next_session || h->plan > s->plan->w.plan ||
        !shard_has_lease(s)) {
        if (s->sessions_version == 0 || m.session >= s->next_session) {
            s->owner->want(s->owner, s->options.shard, SHARD_WANT_SESSIONS,
                           m.session);
        }
        s->owner->want(s->owner, s->options.shard, SHARD_WANT_PLAN, h->plan);
        s->stats.busy++;
        shard_answer(s, connection, h, PS_EBUSY, NULL);
        return;
    }
    s->stats.resolves++;
    if (m.lane == s->lane) {
        PROBE(shard_resolves_own_lane);
        live = fate_on_this_lane(s, &m);
        if (live == PS_EBUSY) {
            shard_answer(s, connection, h, PS_EBUSY, NULL);
            return;
        }
    }
    for (uint32_t i = 0; i < m.n_parts; i++) {
        int fate =
            m.lane == s->lane ? live : fate_on_former_lane(s, &m, &m.parts[i]);

        if (fate == PS_EBUSY) {
            shard_answer(s, connection, h, PS_EBUSY, NULL);
            return;
        }

        fates[i].status_negated = (uint32_t)-fate;
    }
    a = (struct wire_resolve_answer){.parts = fates, .n_parts = m.n_parts};
    buf_init(&b);
    wire_resolve_answer_encode(&a, &b);
    if (m.lane == s->lane && live == PS_OK) {
        answer_committed(s, connection, h, &b);
    } else {
        shard_answer_buf(s, connection, h, &b);
    }
    buf_fini(&b);
}

/* What a part has of a lane's numbers. PS_EBUSY, PS_ENOMEM. */
static int keep_of(struct shard *s, const struct wire_lost *m,
                   const struct wire_range *range, struct wire_keep *k)
{
    const struct shard_part *p = shard_part(s, range->variable, range->begin);

    *k = (struct wire_keep){.below = 1};
    if (p == NULL) {
        k->has_moved = 1;
        return PS_OK;
    }
    if (!has_rows(p)) {
        return PS_EBUSY;
    }
    if (m->lane == s->lane) {
        k->below = UINT64_MAX; /* it has come back, and lives */
        return PS_OK;
    }
    return history_keep(s, p, range, m, k);
}

void shard_lost(struct shard *s, uint64_t connection,
                const struct frame_header *h, struct frame *frame)
{
    struct wire_lost m;
    struct wire_keep *keeps;
    struct wire_kept a;
    struct buf b;
    int rc = PS_OK;

    if (wire_lost_decode(frame_body(frame), frame->body_bytes, &s->arena, &m) !=
            PS_OK ||
        m.n_parts > LIMIT_FRAME_OPS) {
        shard_refuse_connection(s, connection, "a LOST that cannot be read");
        return;
    }
    if (h->lane != s->lane) {
        shard_answer(s, connection, h, s->lane == 0 ? PS_EBUSY : PS_ELANE,
                     NULL);
        return;
    }
    keeps = arena_take(&s->arena, ((size_t)m.n_parts + 1) * sizeof(*keeps));
    if (keeps == NULL || s->plan == NULL || h->plan > s->plan->w.plan ||
        !shard_has_lease(s)) {
        s->owner->want(s->owner, s->options.shard, SHARD_WANT_PLAN, h->plan);
        rc = PS_EBUSY;
    }
    for (uint32_t i = 0; i < m.n_parts && rc == PS_OK; i++) {
        rc = keep_of(s, &m, &m.parts[i], &keeps[i]);
    }
    if (rc != PS_OK) {
        s->stats.busy++;
        shard_answer(s, connection, h, PS_EBUSY, NULL);
        return;
    }
    a = (struct wire_kept){.parts = keeps, .n_parts = m.n_parts};
    buf_init(&b);
    wire_kept_encode(&a, &b);
    shard_answer_buf(s, connection, h, &b);
    buf_fini(&b);
}

/* Parts that are not served, or not pushed to, and why where that is not just
 * under way; of several reasons the one that is in the server's record. */
static uint64_t count_unserved(const struct shard *s, char *why, size_t size)
{
    struct shard_report report = {.loaded = 0};
    const char *trouble = shard_log_trouble(s);
    bool lacks_updater = false;
    uint64_t n = 0;

    for (size_t i = 0; i < s->n_parts; i++) {
        const struct shard_part *p = &s->parts[i];

        lacks_updater = lacks_updater || p->table == NULL;
        n += p->is_loading || p->table == NULL ||
             (trouble != NULL && p->durability != PS_MEMORY);
    }
    shard_load_report(s, &report);
    if (report.why[0] != '\0') {
        snprintf(why, size, "%s", report.why);
    } else if (trouble != NULL) {
        snprintf(why, size, "no push is taken, as its log cannot begin: %s",
                 trouble);
    } else {
        snprintf(why, size, "%s",
                 lacks_updater
                     ? "an updater is not here: is a --plugin missing?"
                     : "");
    }
    return n;
}

static uint64_t count_open_windows(const struct shard *s)
{
    const struct window *w;
    uint64_t n = 0;
    size_t i = 0;

    while ((w = map_next(&s->windows.map, &i)) != NULL) {
        n += !w->has_ended;
    }
    return n;
}

void shard_status(struct shard *s, uint64_t connection,
                  const struct frame_header *h)
{
    struct wire_status_answer a = {
        .server = s->options.server,
        .shard = s->options.shard,
        .lane = s->lane,
        .plan = shard_plan_number(s),
        .term = s->plan != NULL ? s->plan->w.term : 0,
        .has_lease = shard_has_lease(s),
        .emptied = s->emptied,
        .sessions = count_open_windows(s),
    };
    struct wire_counter *counters =
        arena_take(&s->arena, stats_n * sizeof(*counters));
    struct wire_table *tables =
        arena_take(&s->arena, (s->n_parts + 1) * sizeof(*tables));
    const uint64_t *values = (const uint64_t *)(const void *)&s->stats;
    char why[512];
    struct buf b;

    if (counters == NULL || tables == NULL) {
        shard_answer(s, connection, h, PS_ENOMEM, NULL);
        return;
    }
    for (size_t i = 0; i < stats_n; i++) {
        counters[i] = (struct wire_counter){stats_rows[i].name, values[i]};
    }
    for (size_t i = 0; i < s->n_parts; i++) {
        tables[i] = (struct wire_table){s->parts[i].variable,
                                        table_rows(s->parts[i].table),
                                        table_bytes(s->parts[i].table)};
    }
    a.unserved = count_unserved(s, why, sizeof(why));
    a.why = why;
    a.counters = counters;
    a.n_counters = (uint32_t)stats_n;
    a.tables = tables;
    a.n_tables = (uint32_t)s->n_parts;
    buf_init(&b);
    wire_status_answer_encode(&a, &b);
    shard_answer_buf(s, connection, h, &b);
    buf_fini(&b);
}
