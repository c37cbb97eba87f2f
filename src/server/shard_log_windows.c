/* See shard_log_windows.h. Here is also which lanes a part needs. */
#include "server/shard_log_windows.h"

#include "base/mem.h"
#include "base/probe.h"
#include "server/history.h"
#include "server/shard_load.h"
#include "server/shard_log.h"

static bool is_candidate(const struct shard *s, const struct shard_part *p,
                         const struct wire_load *l, const struct wire_ended *e)
{
    const struct wire_variable *v = plan_variable(s->plan, p->variable);

    return e->server == s->options.server && e->plan > v->born &&
           (l == NULL || e->lane >= l->log_from);
}

bool shard_log_replays(const struct shard *s, const struct shard_part *p,
                       uint64_t lane)
{
    const struct wire_part w = {.variable = p->variable, .since = p->since};
    const struct wire_ended *e = plan_ended(s->plan, lane);

    return p->durability != PS_MEMORY && s->options.log != NULL && e != NULL &&
           is_candidate(s, p, plan_load(s->plan, &w), e);
}

static bool has_lane(const struct ckpt_manifest *m, uint64_t lane)
{
    for (uint32_t i = 0; i < m->n_lanes; i++) {
        if (m->lanes[i].lane == lane) {
            return true;
        }
    }
    return false;
}

void shard_log_free_part(struct shard_part *p)
{
    for (uint32_t i = 0; i < p->n_needs; i++) {
        mem_free(p->needs[i].windows);
    }
    mem_free(p->needs);
    p->needs = NULL;
    p->n_needs = 0;
}

int shard_log_rows_are_in(struct shard *s, struct shard_part *p,
                          const struct wire_load *l,
                          const struct ckpt_manifest *m)
{
    const struct wire_plan *w = &s->plan->w;

    if (p->durability == PS_MEMORY) {
        p->is_loading = false;
        return PS_OK;
    }
    shard_log_free_part(p);
    p->needs =
        mem_try_zero(mem_array((size_t)w->n_ended + 1, sizeof(*p->needs)));
    if (p->needs == NULL) {
        return PS_ENOMEM;
    }
    for (uint32_t i = 0; i < w->n_ended; i++) {
        const struct wire_ended *e = &w->ended[i];
        uint64_t from = LOG_NEED_FIRST;

        if (!is_candidate(s, p, l, e)) {
            continue;
        }
        if (m != NULL && l->brings_lanes != 0 && e->plan <= m->plan) {
            continue; /* all that it did is in the rows */
        }
        if (m != NULL && l->brings_lanes != 0 && has_lane(m, e->lane)) {
            from = m->cut;
        }
        p->needs[p->n_needs++] =
            (struct shard_log_need){e->lane, from, NULL, 0, 0};
    }
    if (s->options.log == NULL) {
        log_limited(&s->part_log, s->net->now_us(s->net), LOG_ERROR,
                    "shard %u cannot serve what is to be logged: this server "
                    "was started without --log_path",
                    s->options.shard);
    }
    p->awaits_log = p->n_needs > 0 || s->options.log == NULL;
    p->is_loading = p->awaits_log;
    return PS_OK;
}

static struct shard_log_need *find(struct shard_part *p, uint64_t lane)
{
    for (uint32_t i = 0; i < p->n_needs; i++) {
        if (p->needs[i].lane == lane) {
            return &p->needs[i];
        }
    }
    return NULL;
}

int shard_log_windows_begin(struct shard_part *p, uint64_t lane)
{
    struct shard_log_need *need = find(p, lane);
    const struct history_copy *h = history_of(p, lane);

    ASSERT(need != NULL);
    mem_free(need->windows);
    need->n = h != NULL ? h->n : 0;
    need->room = need->n + 8;
    need->windows = mem_try(mem_array(need->room, sizeof(*need->windows)));
    if (need->windows == NULL) {
        return PS_ENOMEM;
    }
    if (need->n > 0) {
        memcpy(need->windows, h->windows, need->n * sizeof(*need->windows));
    }
    return PS_OK;
}

static struct ckpt_window *window_of(struct shard_log_need *need,
                                     uint64_t session)
{
    struct ckpt_window *w;

    for (size_t i = need->n; i > 0; i--) {
        if (need->windows[i - 1].session == session) {
            return &need->windows[i - 1];
        }
    }
    if (need->n == need->room) {
        w = mem_try_resize(need->windows,
                           mem_array(2 * need->room, sizeof(*w)));
        if (w == NULL) {
            return NULL;
        }
        need->windows = w;
        need->room *= 2;
    }
    w = &need->windows[need->n++];
    *w = (struct ckpt_window){.session = session, .next = 1};
    return w;
}

/* Only one lane of a part is read at a time: it is the one with windows. */
int shard_log_windows_settle(struct shard_part *p, uint64_t session,
                             uint64_t seq)
{
    struct shard_log_need *need = NULL;
    struct ckpt_window *w;

    for (uint32_t i = 0; i < p->n_needs && need == NULL; i++) {
        need = p->needs[i].windows != NULL ? &p->needs[i] : NULL;
    }
    ASSERT(need != NULL);
    w = window_of(need, session);
    if (w == NULL) {
        return PS_ENOMEM;
    }
    if (seq + LIMIT_WINDOW < w->next) {
        return PS_OK; /* a late frame, forgotten already */
    }
    if (seq >= w->next + LIMIT_WINDOW) {
        memset(w->fate, PS_ECANCELED, sizeof(w->fate));
        w->next = seq;
    }
    for (; w->next < seq; w->next++) {
        w->fate[w->next % LIMIT_WINDOW] = PS_ECANCELED;
    }
    w->fate[seq % LIMIT_WINDOW] = PS_OK;
    w->next = base_max_u64(w->next, seq + 1);
    return PS_OK;
}

int shard_log_windows_end(struct shard *s, struct shard_part *p, uint64_t lane)
{
    struct shard_log_need *need = find(p, lane);
    const struct history_copy *old = history_of(p, lane);
    struct ckpt_history all = {.lane = lane,
                               .forgotten = old != NULL ? old->forgotten : 0};
    struct history_copy *c;

    ASSERT(need != NULL);
    all.n_windows = need->n;
    all.windows = need->windows;
    c = history_copy_new(&all);
    if (c == NULL) {
        return PS_ENOMEM;
    }
    mem_free(need->windows);
    need->windows = NULL;
    history_drop_lane(p, lane);
    return history_put(s, p, p->begin, p->end, &c);
}
