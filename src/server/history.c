/* See history.h for the drawing. */
#include "server/history.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/probe.h"

PLANT_DECLARE(copies_merged_by_max);
PLANT_DECLARE(copies_merged_by_min);

static int compare_windows(const void *a, const void *b)
{
    const struct ckpt_window *x = a;
    const struct ckpt_window *y = b;

    return x->session < y->session ? -1 : x->session > y->session;
}

struct history_copy *history_copy_new(const struct ckpt_history *from)
{
    size_t n = (size_t)from->n_windows;
    size_t n_gaps = (size_t)from->n_gaps;
    struct history_copy *c =
        mem_try_zero(sizeof(*c) + n * sizeof(c->windows[0]));

    if (c == NULL) {
        return NULL;
    }
    c->lane = from->lane;
    c->forgotten = from->forgotten;
    c->gaps = mem_try(mem_array(n_gaps + 1, sizeof(*c->gaps)));
    if (c->gaps == NULL) {
        mem_free(c);
        return NULL;
    }
    if (n > 0) {
        memcpy(c->windows, from->windows, n * sizeof(c->windows[0]));
        qsort(c->windows, n, sizeof(c->windows[0]), compare_windows);
    }
    if (n_gaps > 0) {
        memcpy(c->gaps, from->gaps, n_gaps * sizeof(c->gaps[0]));
    }
    c->n = n;
    c->n_gaps = n_gaps;
    return c;
}

static void free_copy(struct history_copy *c)
{
    mem_free(c->gaps);
    mem_free(c);
}

static void let_go(struct history_copy *c)
{
    c->refs--;
    if (c->refs > 0) {
        return;
    }
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        c->shard->copies = c->next;
    }
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    free_copy(c);
}

void history_free(struct history *list)
{
    while (list != NULL) {
        struct history *h = list;

        list = h->next;
        let_go(h->copy);
        mem_free(h);
    }
}

/* Drops what is of this lane or, where s is not NULL, of lanes that its plan
 * does not name. */
static void drop(struct history **at, uint64_t lane, const struct shard *s)
{
    while (*at != NULL) {
        struct history *h = *at;

        if (s == NULL ? h->copy->lane == lane
                      : plan_ended(s->plan, h->copy->lane) == NULL &&
                            plan_lane(s->plan, h->copy->lane) == NULL) {
            *at = h->next;
            h->next = NULL;
            history_free(h);
        } else {
            at = &h->next;
        }
    }
}

void history_drop_lane(struct shard_part *p, uint64_t lane)
{
    drop(&p->histories, lane, NULL);
}

const struct history_copy *history_of(const struct shard_part *p, uint64_t lane)
{
    for (const struct history *h = p->histories; h != NULL; h = h->next) {
        if (h->copy->lane == lane) {
            return h->copy;
        }
    }
    return NULL;
}

/* ---- sharing ------------------------------------------------------------ */

static bool is_same_window(const struct ckpt_window *a,
                           const struct ckpt_window *b)
{
    return a->session == b->session && a->next == b->next &&
           a->floor == b->floor && a->refuse_below == b->refuse_below &&
           a->has_ended == b->has_ended &&
           memcmp(a->fate, b->fate, sizeof(a->fate)) == 0 &&
           memcmp(a->canceled, b->canceled, sizeof(a->canceled)) == 0;
}

static bool is_same(const struct history_copy *a, const struct history_copy *b)
{
    size_t i = 0;

    if (a->lane != b->lane || a->forgotten != b->forgotten || a->n != b->n ||
        a->n_gaps != b->n_gaps ||
        memcmp(a->gaps, b->gaps, a->n_gaps * sizeof(*a->gaps)) != 0) {
        return false;
    }
    while (i < a->n && is_same_window(&a->windows[i], &b->windows[i])) {
        i++;
    }
    return i == a->n;
}

static struct ckpt_window *find_window(struct history_copy *c, uint64_t session)
{
    struct ckpt_window key = {.session = session};

    return bsearch(&key, c->windows, c->n, sizeof(key), compare_windows);
}

/* The shard's copy of this content; c itself where there is none. */
static struct history_copy *share(struct shard *s, struct history_copy *c)
{
    struct history_copy *o = c->shard != NULL ? c : s->copies;

    while (o != NULL && !is_same(o, c)) {
        o = o->next;
    }
    if (o != NULL && o != c) {
        free_copy(c);
    }
    if (o != NULL) {
        o->refs++;
        return o;
    }
    c->refs = 1;
    c->shard = s;
    c->next = s->copies;
    if (s->copies != NULL) {
        s->copies->prev = c;
    }
    s->copies = c;
    return c;
}

int history_put(struct shard *s, struct shard_part *p, uint32_t begin,
                uint32_t end, struct history_copy **c)
{
    struct history *h = mem_try_zero(sizeof(*h));

    if (h == NULL) {
        if ((*c)->shard == NULL) {
            free_copy(*c);
            *c = NULL;
        }
        return PS_ENOMEM;
    }
    *c = share(s, *c);
    *h = (struct history){p->histories, begin, end, *c};
    /* A part that was split and is one again is one here, too. */
    for (struct history **at = &h->next; *at != NULL; at = &(*at)->next) {
        struct history *o = *at;

        if (o->copy == h->copy && (o->end == begin || o->begin == end)) {
            h->begin = (uint32_t)base_min_u64(o->begin, begin);
            h->end = (uint32_t)base_max_u64(o->end, end);
            *at = o->next;
            o->next = NULL;
            history_free(o);
            break;
        }
    }
    p->histories = h;
    return PS_OK;
}

/* ---- asking ------------------------------------------------------------- */

/* How many buckets of the range are in h. */
static uint32_t covered(const struct history *h, const struct wire_range *range)
{
    uint64_t begin = base_max_u64(h->begin, range->begin);
    uint64_t end = base_min_u64(h->end, range->end);

    return end > begin ? (uint32_t)(end - begin) : 0;
}

/* Of the range, what the part has. */
static struct wire_range clip(const struct shard_part *p,
                              const struct wire_range *range)
{
    return (struct wire_range){range->variable,
                               (uint32_t)base_max_u64(range->begin, p->begin),
                               (uint32_t)base_min_u64(range->end, p->end)};
}

/* c, but for the planted faults: there it is the one of all of the part that
 * knows most, or least, of a session. */
static struct history_copy *pick(const struct shard_part *p,
                                 struct history_copy *c, uint64_t session)
{
    bool max = PLANT(copies_merged_by_max);

    if (!max && !PLANT(copies_merged_by_min)) {
        return c;
    }
    for (struct history *h = p->histories; h != NULL; h = h->next) {
        const struct ckpt_window *old = find_window(c, session);
        const struct ckpt_window *w = find_window(h->copy, session);

        if (w != NULL && old != NULL && (w->next > old->next) == max) {
            c = h->copy;
        }
    }
    return c;
}

static int fate_in(const struct shard *s, struct history_copy *c,
                   const struct wire_resolve *m)
{
    const struct ckpt_window *w = find_window(c, m->session);

    if (w == NULL) {
        return m->session <= c->forgotten &&
                       !shard_session_is_open(s, m->session)
                   ? PS_EUNSURE
                   : PS_ECANCELED;
    }
    if (m->seq >= w->next) {
        return PS_ECANCELED;
    }
    return m->seq + LIMIT_WINDOW < w->next ? PS_EUNSURE
                                           : w->fate[m->seq % LIMIT_WINDOW];
}

int history_fate(const struct shard *s, const struct shard_part *p,
                 const struct wire_range *range, const struct wire_resolve *m)
{
    struct wire_range ours = clip(p, range);
    uint32_t left = ours.end - ours.begin;
    int fate = 1; /* not known yet */

    for (const struct history *h = p->histories; h != NULL; h = h->next) {
        uint32_t n = h->copy->lane == m->lane ? covered(h, &ours) : 0;

        if (n > 0) {
            int one = fate_in(s, pick(p, h->copy, m->session), m);

            fate = fate > 0 || fate == one ? one : PS_EUNSURE;
            left -= n;
        }
    }
    if (left == 0) {
        return fate;
    }
    return fate > 0 || fate == PS_ECANCELED ? PS_ECANCELED : PS_EUNSURE;
}

/* Takes over what copy c has not. A session that it has forgotten had ended
 * long before: all that it did is in the rows. */
static void keep_less(const struct shard *s, struct history_copy *c,
                      const struct wire_lost *m, struct wire_span *gaps,
                      struct wire_keep *k)
{
    const struct ckpt_window *w = find_window(c, m->session);

    if (w == NULL && m->session <= c->forgotten &&
        !shard_session_is_open(s, m->session)) {
        return;
    }
    k->below = base_min_u64(k->below, w != NULL ? w->next : 1);
    for (size_t i = 0; i < c->n_gaps; i++) {
        if (c->gaps[i].session == m->session) {
            gaps[k->n_gaps++] =
                (struct wire_span){c->gaps[i].first, c->gaps[i].last};
        }
    }
}

int history_keep(struct shard *s, const struct shard_part *p,
                 const struct wire_range *range, const struct wire_lost *m,
                 struct wire_keep *k)
{
    struct wire_range ours = clip(p, range);
    uint32_t left = ours.end - ours.begin;
    struct wire_span *gaps;
    size_t n_gaps = 0;

    for (const struct history *h = p->histories; h != NULL; h = h->next) {
        n_gaps += h->copy->lane == m->lane ? h->copy->n_gaps : 0;
    }
    gaps = arena_take(&s->arena, (n_gaps + 1) * sizeof(*gaps));
    if (gaps == NULL) {
        return PS_ENOMEM;
    }
    *k = (struct wire_keep){.below = UINT64_MAX, .gaps = gaps};
    if (plan_ended(s->plan, m->lane) == NULL &&
        plan_lane(s->plan, m->lane) == NULL) {
        return PS_OK; /* forgotten: nobody can tell */
    }
    for (const struct history *h = p->histories; h != NULL; h = h->next) {
        uint32_t n = h->copy->lane == m->lane ? covered(h, &ours) : 0;

        if (n > 0) {
            keep_less(s, pick(p, h->copy, m->session), m, gaps, k);
            left -= n;
        }
    }
    if (left > 0) {
        k->below = 1;
    }
    return PS_OK;
}

/* ---- what nobody asks for any more -------------------------------------- */

void history_on_plan(struct shard *s)
{
    for (size_t i = 0; i < s->n_parts; i++) {
        drop(&s->parts[i].histories, 0, s);
    }
}

static void drop_ended(struct history_copy *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n_gaps; i++) {
        const struct ckpt_window *w = find_window(c, c->gaps[i].session);

        if (w == NULL || w->has_ended == 0) {
            c->gaps[n++] = c->gaps[i];
        }
    }
    c->n_gaps = n;
    n = 0;
    for (size_t i = 0; i < c->n; i++) {
        if (c->windows[i].has_ended == 0) {
            c->windows[n++] = c->windows[i];
        } else {
            PROBE(history_drops_session);
            c->forgotten = base_max_u64(c->forgotten, c->windows[i].session);
        }
    }
    c->n = n;
    c->ended_us = 0;
}

void history_on_sessions(struct shard *s)
{
    uint64_t now = s->net->now_us(s->net);

    for (struct history_copy *c = s->copies; c != NULL; c = c->next) {
        if (c->ended_us != 0 && now - c->ended_us > shard_ended_session_us(s)) {
            drop_ended(c);
        }
        for (size_t i = 0; i < c->n; i++) {
            struct ckpt_window *w = &c->windows[i];

            if (w->session < s->next_session &&
                !shard_session_is_open(s, w->session) &&
                (w->has_ended == 0 || c->ended_us == 0)) {
                w->has_ended = 1;
                c->ended_us = now;
            }
        }
    }
}
