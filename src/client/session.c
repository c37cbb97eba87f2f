/* The session as a whole: what the store and the network say goes to the part
 * it concerns. See session.h; the order of things is protocol parts 4 and 6. */
#include "client/session.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/probe.h"
#include "client/session_impl.h"

int session_new(struct session **session, const struct session_options *options,
                struct coord *coord, struct net *net,
                struct session_owner *owner)
{
    struct session *s = mem_try_zero(sizeof(*s));

    if (s == NULL) {
        return PS_ENOMEM;
    }
    s->options = *options;
    s->coord = coord;
    s->net = net;
    s->owner = owner;
    s->kern = kern_choose();
    s->retry_us = UINT64_MAX;
    s->number_retry_us = UINT64_MAX;
    s->next_id = 1;
    s->next_order = 1;
    s->control.retry_us = UINT64_MAX;
    buf_init(&s->step.position);
    buf_init(&s->step.at_cut);
    buf_init(&s->step.record);
    buf_init(&s->rollback.position);
    buf_init(&s->began.position);
    arena_init(&s->arena);
    map_init(&s->links);
    map_init(&s->by_connection);
    *session = s;
    return PS_OK;
}

void session_free(struct session *s)
{
    struct link *l;
    size_t i = 0;

    if (s == NULL) {
        return;
    }
    /* A flight that goes looks through the links that are left. */
    while ((l = map_next(&s->links, &i)) != NULL) {
        (void)map_take(&s->links, l->lane);
        link_free(l);
        i = 0;
    }
    map_fini(&s->links);
    map_fini(&s->by_connection);
    while (s->parked.first != NULL) {
        flight_free(s->parked.first);
    }
    while (s->resolving.first != NULL) {
        flight_free(s->resolving.first);
    }
    while (s->first != NULL) {
        struct request *r = s->first;

        s->first = r->next;
        r->has_settled = true;
        request_free(r);
    }
    if (s->has_lease) {
        lease_fini(&s->lease);
    }
    loss_fini(s);
    plan_free(s->plan);
    buf_fini(&s->step.position);
    buf_fini(&s->step.at_cut);
    buf_fini(&s->step.record);
    buf_fini(&s->rollback.position);
    buf_fini(&s->began.position);
    arena_fini(&s->arena);
    mem_free(s->chains);
    mem_free(s->acked);
    mem_free(s);
}

void session_ask(struct session *s, enum coord_op op, enum session_tag tag,
                 const char *key, uint64_t version, const struct buf *data)
{
    struct coord_request r = {.op = op, .tag = tag, .version = version};

    ASSERT(strlen(key) <= COORD_KEY_MAX);
    memcpy(r.key, key, strlen(key) + 1);
    if (data != NULL) {
        r.data = data->data;
        r.size = data->size;
        r.flags = COORD_DURABLE;
    }
    s->coord->submit(s->coord, &r);
}

void session_seal(const struct session *s, struct frame *frame,
                  struct frame_header *h)
{
    h->body_checksum = s->options.no_checksums ? 0 : frame_checksum(frame);
    frame_seal(frame, h);
}

void session_start(struct session *s)
{
    session_ask(s, COORD_WATCH, TAG_CLUSTER, "cluster", 0, NULL);
}

static void watch_plan(struct session *s)
{
    if (!s->plan_is_watching) {
        s->plan_is_watching = true;
        session_ask(s, COORD_WATCH, TAG_PLAN, "plan", s->plan_version, NULL);
    }
}

void session_want_plan(struct session *s)
{
    if (!s->plan_is_reading) {
        s->plan_is_reading = true;
        session_ask(s, COORD_GET, TAG_PLAN, "plan", 0, NULL);
    }
}

static void on_cluster(struct session *s, const struct coord_result *r)
{
    struct wire_cluster w;

    arena_reset(&s->arena);
    if (r->status != PS_OK ||
        wire_cluster_decode(r->data, r->size, &s->arena, &w) != PS_OK) {
        s->retry_us = session_now(s) + LIMIT_WATCH_MS * 1000;
        return;
    }
    s->length_us = w.lease_ms * 1000;
    watch_plan(s);
    step_start(s);
}

/* Every numbered flight that has lost its lane or its session. */
static void resolve_all(struct session *s)
{
    struct flight *next;

    for (struct flight *f = s->resolving.first; f != NULL; f = next) {
        next = f->next;
        if (f->n_resolves == 0) {
            flight_resolve(s, f);
        }
    }
}

static struct link *find_dead_link(const struct session *s)
{
    struct link *l;
    size_t i = 0;

    while ((l = map_next(&s->links, &i)) != NULL) {
        if (plan_lane(s->plan, l->lane) == NULL) {
            return l;
        }
    }
    return NULL;
}

/* Not a plain walk: cutting anew may make links. */
static struct link *find_old_link(const struct session *s)
{
    struct link *l;
    size_t i = 0;

    while ((l = map_next(&s->links, &i)) != NULL) {
        if (l->plan_seen < s->plan->w.plan) {
            return l;
        }
    }
    return NULL;
}

static void pump_all(struct session *s)
{
    struct link *l;
    size_t i = 0;

    while ((l = map_next(&s->links, &i)) != NULL) {
        link_pump(l);
    }
}

/* PS_ENOMEM: the plan is not taken, and freed. */
static int adopt(struct session *s, struct plan *plan, uint64_t version)
{
    struct link *l;
    bool goes_back = s->plan != NULL && plan->w.restore > s->plan->w.restore;

    s->former = s->plan;
    s->plan = plan;
    if (loss_on_plan(s) != PS_OK) {
        s->plan = s->former;
        s->former = NULL;
        plan_free(plan);
        return PS_ENOMEM;
    }
    s->plan_version = version;
    if (goes_back) {
        rollback_begin(s, plan->w.restore);
    }
    while ((l = find_dead_link(s)) != NULL) {
        link_end(l);
    }
    if (goes_back) {
        rollback_settle(s);
    }
    plan_free(s->former);
    s->former = NULL;
    loss_ask_all(s);
    while ((l = find_old_link(s)) != NULL) {
        link_replan(l);
    }
    resolve_all(s);
    cut_parked(s);
    control_on_plan(s);
    step_on_plan(s);
    pump_all(s);
    return PS_OK;
}

static void on_plan(struct session *s, const struct coord_result *r)
{
    struct plan *plan;

    if (r->op == COORD_WATCH) {
        s->plan_is_watching = false;
    } else {
        s->plan_is_reading = false;
    }
    if (s->is_over) {
        return;
    }
    if (r->status == PS_OK && r->version != s->plan_version) {
        if (plan_new(&plan, r->data, r->size) != PS_OK) {
            s->retry_us = session_now(s) + LIMIT_WATCH_MS * 1000;
            return;
        }
        if (s->plan != NULL && anew_is_other(s, &plan->w, r->version)) {
            plan_free(plan);
            anew_end(s);
            return;
        }
        if (r->version <= s->plan_version) {
            plan_free(plan);
        } else if (adopt(s, plan, r->version) != PS_OK) {
            s->retry_us = session_now(s) + LIMIT_WATCH_MS * 1000;
            return;
        }
    }
    if (r->status == PS_OK || r->status == PS_ENOTFOUND) {
        watch_plan(s);
    } else {
        s->retry_us = session_now(s) + LIMIT_WATCH_MS * 1000;
    }
}

void session_on_coord(struct session *s, const struct coord_result *r)
{
    switch ((enum session_tag)r->tag) {
    case TAG_CLUSTER:
        on_cluster(s, r);
        break;
    case TAG_PLAN:
        on_plan(s, r);
        break;
    case TAG_SESSIONS:
        session_open_on_sessions(s, r);
        break;
    case TAG_LEASE:
        session_open_on_lease(s, r);
        break;
    case TAG_SCHEDULER:
        control_on_scheduler(s, r);
        break;
    case TAG_SAVE:
        step_on_save(s, r);
        break;
    case TAG_RESTORED:
        rollback_on_restored(s, r);
        break;
    case TAG_READERS:
        rollback_on_readers(s, r);
        break;
    case TAG_FORGET:
        break;
    }
}

void session_expire(struct session *s, uint64_t number)
{
    struct link *l;
    size_t i = 0;

    while ((l = map_next(&s->links, &i)) != NULL) {
        link_expire(l, number);
    }
    if (number == s->number && s->number_state == NUMBER_OPEN) {
        PROBE(session_has_expired);
        log_write(LOG_WARNING, "session %llu was ended; opens another",
                  (unsigned long long)number);
        s->number_state = NUMBER_NONE;
        session_open_begin(s);
    }
    resolve_all(s);
}

void session_on_open(struct session *s, uint64_t connection)
{
    struct link *l = map_get(&s->by_connection, connection);

    if (l != NULL) {
        link_on_open(l);
    } else if (connection == s->control.connection) {
        control_on_open(s);
    }
}

void session_on_close(struct session *s, uint64_t connection)
{
    struct link *l = map_get(&s->by_connection, connection);

    if (l != NULL) {
        link_on_close(l);
    } else if (connection == s->control.connection) {
        control_on_close(s);
    }
}

void session_on_frame(struct session *s, uint64_t connection,
                      const struct frame_header *header, struct frame *frame)
{
    struct link *l = map_get(&s->by_connection, connection);

    if (l != NULL) {
        link_on_frame(l, header, frame);
        /* The frame may have ended sessions or queued flights elsewhere. */
        pump_all(s);
    } else if (connection == s->control.connection) {
        control_on_frame(s, header, frame);
    }
}

void session_tick(struct session *s)
{
    uint64_t now = session_now(s);
    struct link *l;
    size_t i = 0;

    if (now >= s->retry_us) {
        s->retry_us = UINT64_MAX;
        if (s->length_us == 0) {
            session_start(s);
        } else {
            watch_plan(s);
        }
    }
    if (s->recut_us != 0 && now >= s->recut_us && s->plan != NULL) {
        cut_parked(s);
    }
    session_open_tick(s);
    step_tick(s);
    rollback_tick(s);
    step_report(s);
    control_tick(s);
    while ((l = map_next(&s->links, &i)) != NULL) {
        link_tick(l);
    }
}

uint64_t session_next(const struct session *s)
{
    uint64_t next = s->retry_us;
    struct link *l;
    size_t i = 0;

    if (s->recut_us != 0) {
        next = base_min_u64(next, s->recut_us);
    }
    next = base_min_u64(next, session_open_next(s));
    next = base_min_u64(next, step_next(s));
    next = base_min_u64(next, rollback_next(s));
    next = base_min_u64(next, control_next(s));
    while ((l = map_next(&s->links, &i)) != NULL) {
        next = base_min_u64(next, link_next(l));
    }
    return next;
}

bool session_is_ready(const struct session *s)
{
    return s->plan != NULL;
}

const struct plan *session_plan(const struct session *s)
{
    return s->plan;
}

bool session_has_writes(const struct session *s)
{
    for (const struct request *r = s->first; r != NULL; r = r->next) {
        for (uint32_t i = 0; r->kind == REQUEST_RUN && i < r->n_ops; i++) {
            if (r->ops[i].kind != PS_PULL) {
                return true;
            }
        }
    }
    return false;
}

void session_counters(const struct session *s, struct ps_client_counters *c)
{
    *c = s->counters;
    c->session = s->number;
}

static const char *const link_words[] = {"has no connection to it",
                                         "connects to it", "greets it",
                                         "waits for its answer"};

void session_waits_for(const struct session *s, char *text, size_t size)
{
    session_request_waits_for(s, s->first, text, size);
}

void session_request_waits_for(const struct session *s, const struct request *r,
                               char *text, size_t size)
{
    const struct link *l;
    size_t i = 0;

    if (s->length_us == 0) {
        snprintf(text, size, "the store has no cluster yet");
        return;
    }
    if (s->plan == NULL) {
        snprintf(text, size, "no scheduler has written a plan yet");
        return;
    }
    if (r == NULL) {
        snprintf(text, size, "nothing");
        return;
    }
    if (r->kind == REQUEST_SAVE && r->ticket != 0) {
        snprintf(text, size, "the save of cut %llu, %llu of %llu rows",
                 (unsigned long long)s->step.save.cut,
                 (unsigned long long)s->step.save.rows_done,
                 (unsigned long long)s->step.save.rows);
        return;
    }
    if (r->kind != REQUEST_RUN && r->kind != REQUEST_STATUS) {
        snprintf(text, size, "the scheduler%s%s%s",
                 s->control.address[0] != '\0' ? " at " : "",
                 s->control.address, r->text[0] != '\0' ? ": " : "");
        if (r->text[0] != '\0') {
            snprintf(text + strlen(text), size - strlen(text), "%.200s",
                     r->text);
        }
        return;
    }
    while ((l = map_next(&s->links, &i)) != NULL) {
        if (l->writes.first != NULL || l->reads.first != NULL) {
            snprintf(text, size, "server %u shard %u at %s (lane %llu): %s",
                     l->server, l->shard, l->address,
                     (unsigned long long)l->lane,
                     s->number_state != NUMBER_OPEN && l->state == LINK_UP
                         ? "waits for a session number"
                         : link_words[l->state]);
            return;
        }
    }
    snprintf(text, size, "a server that has not come back");
}
