/* oracle_content.c - what is in a checkpoint, against what was pushed.
 *
 * Its rows with its late frames must be the sums of all frames stamped with an
 * older cut that its lanes have applied or loaded; its windows with its late
 * numbers must name the lane's frames of these and no others; a session's
 * reader stands where every frame of before is in and none of after. */
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "ckpt/ckpt_folder.h"
#include "lib/crashfs.h"
#include "oracle.h"

typedef unsigned long long ull;

enum { LEFT_BUCKETS = 4096 };

/* What is left of a row's expected sums when the checkpoint's are taken off. */
struct left {
    struct left *next;
    uint32_t variable;
    uint64_t key;
    double sum[ORACLE_DIM];
    float got[ORACLE_DIM]; /* of the files */
    uint32_t link;         /* that has it, counted from 1 */
    bool must_exist;
    bool is_there;
};

struct check {
    struct sim *s;
    struct arena arena;
    struct left *rows[LEFT_BUCKETS];
    const struct ckpt *ckpt;
    const struct saved *saved;
    const char *folder;
    uint32_t link; /* from 1: the whole one, then its increments */
    double sign;   /* of what is added */
    bool is_late;
};

static struct left *left_of(struct check *c, uint32_t variable, uint64_t key)
{
    uint64_t h = hash_key(key ^ (uint64_t)variable << 56);
    struct left **at = &c->rows[h % LEFT_BUCKETS];

    while (*at != NULL && ((*at)->key != key || (*at)->variable != variable)) {
        at = &(*at)->next;
    }
    if (*at == NULL) {
        *at = arena_take(&c->arena, sizeof(**at));
        ASSERT(*at != NULL);
        **at = (struct left){.variable = variable, .key = key};
    }
    return *at;
}

/* A row of a frame: one that counts, or one of the late list. */
static void take_row(void *context, uint32_t variable, uint64_t key,
                     const float *values)
{
    struct check *c = context;
    const struct wire_variable *v = ckpt_variable_by_id(c->ckpt, variable);
    struct left *r;

    if (v == NULL || v->no_save != 0) {
        return; /* dropped before the cut; left out */
    }
    r = left_of(c, variable, key);
    r->must_exist = r->must_exist || !c->is_late;
    r->is_there = r->is_there || c->is_late;
    for (uint32_t k = 0; values != NULL && k < ORACLE_DIM; k++) {
        r->sum[k] += c->sign * (double)values[k];
    }
}

static void take_pieces(struct check *c, struct arena *arena,
                        const struct run_op *op, const struct stream *t,
                        const struct numbered *n)
{
    uint32_t from = op->begin;
    struct run_op p;

    while (oracle_load_piece(c->s, arena, op, &from, &p)) {
        uint64_t lane = oracle_load_saver(c->saved, p.variable, p.begin);

        if (lane != 0 && oracle_load_has(c->s, lane, c->saved->cut, p.variable,
                                         p.begin, t, n)) {
            oracle_each_row(c->s, &p, 1, take_row, c);
        }
    }
}

/* Takes the parts that are in it; t and n NULL: all of them. */
static void take_frame(struct check *c, const void *body, size_t size,
                       const struct stream *t, const struct numbered *n)
{
    struct arena arena;
    struct run_op *ops;
    uint32_t n_ops = 0;

    arena_init(&arena);
    if (run_decode(body, size, &arena, &ops, &n_ops) != PS_OK) {
        world_fail(c->s, "%s: a frame cannot be read", c->folder);
        n_ops = 0;
    }
    for (uint32_t i = 0; i < n_ops && !c->s->has_failed; i++) {
        if (t == NULL) {
            oracle_each_row(c->s, &ops[i], 1, take_row, c);
        } else {
            take_pieces(c, &arena, &ops[i], t, n);
        }
    }
    arena_fini(&arena);
}

static bool take_batch(void *context, const struct ckpt_batch *b)
{
    struct check *c = context;
    const struct ckpt_part *p = b->part;

    for (uint64_t i = 0; i < b->n; i++) {
        struct left *r = left_of(c, p->id, b->keys[i]);
        const float *v = b->values != NULL ? b->values + i * p->dim : NULL;

        c->s->totals.rows_saved++;
        if (v == NULL) {
            r->is_there = false; /* it was erased since the base */
            memset(r->got, 0, sizeof(r->got));
            continue;
        }
        if (r->is_there && r->link == c->link) {
            world_fail(c->s, "%s: variable %u key %llu is there twice",
                       c->folder, p->id, (ull)b->keys[i]);
        }
        r->is_there = true;
        r->link = c->link;
        for (uint32_t k = 0; k < p->dim; k++) {
            if (k < ORACLE_DIM) {
                r->got[k] = v[k];
            } else if (v[k] < v[1] || v[k] > v[1]) {
                world_fail(c->s, "%s: variable %u key %llu is torn", c->folder,
                           p->id, (ull)b->keys[i]);
            }
        }
    }
    return !c->s->has_failed;
}

static const struct ckpt_lane *lane_of(const struct ckpt *ckpt, uint64_t lane)
{
    for (uint32_t i = 0; i < ckpt->manifest.n_lanes; i++) {
        if (ckpt->manifest.lanes[i].lane == lane) {
            return &ckpt->manifest.lanes[i];
        }
    }
    return NULL;
}

/* All frames that must be in it. */
static void expect_frames(struct check *c)
{
    c->sign = 1;
    c->is_late = false;
    for (const struct stream *t = c->s->oracle->all_streams; t != NULL;
         t = t->next) {
        for (size_t i = 0; i < t->n; i++) {
            struct numbered *n = &t->numbers[i];

            n->is_late = false;
            if (n->is_applied && n->cut < c->ckpt->manifest.cut) {
                take_frame(c, frame_body(n->frame), n->frame->body_bytes, t, n);
            }
        }
    }
}

/* ---- windows ----------------------------------------------------------- */

static const struct ckpt_window *window_of(const struct ckpt_history *h,
                                           uint64_t session)
{
    for (uint64_t i = 0; i < h->n_windows; i++) {
        if (h->windows[i].session == session) {
            return &h->windows[i];
        }
    }
    return NULL;
}

/* Whether the window with the late list says that a number was applied. One
 * that is older than the window is known to be answered. */
static bool says_applied(const struct ckpt_window *w, uint64_t seq,
                         const struct numbered *n)
{
    if (w == NULL || seq >= w->next) {
        return n->is_late;
    }
    if (seq + LIMIT_WINDOW < w->next) {
        return n->is_applied;
    }
    return w->fate[seq % LIMIT_WINDOW] == PS_OK;
}

static void check_windows(struct check *c, const struct ckpt_history *h)
{
    for (const struct stream *t = c->s->oracle->all_streams; t != NULL;
         t = t->next) {
        const struct ckpt_window *w;

        if (t->lane != h->lane) {
            continue;
        }
        w = window_of(h, t->session);
        for (size_t i = 0; i < t->n && !c->s->has_failed; i++) {
            const struct numbered *n = &t->numbers[i];
            bool is_in = n->is_applied && n->cut < c->ckpt->manifest.cut;

            if (w == NULL && t->session <= h->forgotten) {
                break;
            }
            if (says_applied(w, i + 1, n) != is_in) {
                world_fail(c->s,
                           "%s says that (%llu, %llu, %zu), stamped %llu, was "
                           "%s; it was %s",
                           c->folder, (ull)t->session, (ull)t->lane, i + 1,
                           (ull)n->cut,
                           is_in ? "not applied before the cut"
                                 : "applied before the cut",
                           is_in ? "applied" : "not");
            }
        }
    }
}

static void take_late(struct check *c, uint64_t lane,
                      const struct ckpt_late *late)
{
    struct numbered *n = oracle_numbered(c->s, late->session, lane, late->seq);

    c->s->totals.lates++;
    if (n == NULL || !n->is_applied || n->is_late || n->cut != late->cut ||
        n->cut >= c->ckpt->manifest.cut ||
        n->frame->body_bytes != late->n_body ||
        memcmp(frame_body(n->frame), late->body, (size_t)late->n_body) != 0) {
        world_fail(c->s,
                   "%s has a late frame (%llu, %llu, %llu), stamped %llu, "
                   "that cannot be",
                   c->folder, (ull)late->session, (ull)lane, (ull)late->seq,
                   (ull)late->cut);
        return;
    }
    n->is_late = true;
    n->late_cut = c->ckpt->manifest.cut;
    c->sign = -1;
    c->is_late = true;
    /* The same bytes, where numbers lie as they must. */
    take_frame(c, frame_body(n->frame), n->frame->body_bytes, NULL, NULL);
}

static void check_state(struct check *c, uint32_t i)
{
    struct fs *fs = crashfs_fs(c->s->storage);
    uint64_t lane = c->ckpt->manifest.lanes[i].lane;
    struct ckpt_state state;
    struct arena arena;
    struct buf bytes;
    struct err e;

    arena_init(&arena);
    buf_init(&bytes);
    if (ckpt_read_state(fs, c->folder, c->ckpt, i, &arena, &bytes, &state,
                        &e) != PS_OK) {
        world_fail(c->s, "%s: %s", c->folder, e.text);
    } else if (state.n_histories == 0 || state.histories[0].lane != lane) {
        world_fail(c->s, "%s: lane %llu has no windows", c->folder, (ull)lane);
    } else {
        for (uint32_t k = 0; k < state.n_lates && !c->s->has_failed; k++) {
            take_late(c, lane, &state.lates[k]);
        }
        check_windows(c, &state.histories[0]);
    }
    buf_fini(&bytes);
    arena_fini(&arena);
}

/* ---- sessions ---------------------------------------------------------- */

void oracle_content_on_asked(struct sim *s, const struct process *client,
                             uint64_t step)
{
    struct split_step *split = world_take(s, sizeof(*split));

    *split = (struct split_step){s->oracle->splits, client, step};
    s->oracle->splits = split;
}

void oracle_content_on_saved(struct sim *s, uint64_t session, uint64_t cut,
                             uint64_t step, uint64_t restore)
{
    for (const struct position *p = s->oracle->positions; p != NULL;
         p = p->next) {
        if (p->session == session && p->cut == cut && p->restore == restore &&
            p->steps < step) {
            world_fail(s,
                       "session %llu asked for a save in its step %llu and got "
                       "cut %llu, which has its step %llu",
                       (ull)session, (ull)step, (ull)cut, (ull)p->steps);
        }
    }
}

static bool is_split(const struct sim *s, const struct process *client,
                     uint64_t step)
{
    const struct split_step *split = s->oracle->splits;

    while (split != NULL && (split->client != client || split->step != step)) {
        split = split->next;
    }
    return split != NULL;
}

/* A rollback gives a reader its old place again: what the lanes of before it
 * were sent beyond that is undone, and may bear any older cut. */
static bool is_undone(const struct sim *s, const struct stream *t,
                      const struct position *p)
{
    const struct lane *l = oracle_lane(s, t->lane);

    return l != NULL && l->restore < p->restore;
}

void oracle_content_on_framed(struct sim *s, const struct stream *t,
                              const struct numbered *n)
{
    for (const struct position *p = s->oracle->positions; p != NULL;
         p = p->next) {
        if (p->session == t->session && n->has_step && !is_undone(s, t, p) &&
            (n->cut < p->cut) != (n->step < p->steps) &&
            (n->step != p->steps || !is_split(s, t->client, n->step))) {
            world_fail(s,
                       "session %llu reported cut %llu at step %llu; a frame "
                       "of its step %llu is stamped %llu",
                       (ull)t->session, (ull)p->cut, (ull)p->steps,
                       (ull)n->step, (ull)n->cut);
            return;
        }
    }
}

static struct process *client_of(const struct sim *s, uint64_t session)
{
    for (const struct stream *t = s->oracle->all_streams; t != NULL;
         t = t->next) {
        if (t->session == session) {
            return t->client;
        }
    }
    return NULL;
}

/* A position is what a client gave at a boundary: see struct place_in_work. */
static void check_session(struct check *c, const struct ckpt_session *one)
{
    struct sim *s = c->s;
    struct oracle *o = s->oracle;
    const struct process *client = client_of(s, one->session);
    struct place_in_work at;
    struct position *p;

    if (oracle_session(s, one->session) == NULL) {
        world_fail(s, "%s lists session %llu, which never was", c->folder,
                   (ull)one->session);
        return;
    }
    if (client == NULL) {
        return; /* it has not pushed */
    }
    if (one->position.size == 0) {
        /* One that has gone back to before its first step stands there. */
        if (client->stepped_at != 0 && client->stepped_at < o->opened_at &&
            c->ckpt->manifest.restore == 0) {
            world_fail(s, "%s has no position of session %llu", c->folder,
                       (ull)one->session);
        }
        return;
    }
    if (one->position.size != sizeof(at)) {
        world_fail(s, "%s: the position of session %llu has %u bytes",
                   c->folder, (ull)one->session, one->position.size);
        return;
    }
    memcpy(&at, one->position.data, sizeof(at));
    if (at.life < client->life && c->ckpt->manifest.restore > 0) {
        return; /* it has gone back to a position of its former life */
    }
    if (at.client != client->place->index || at.life != client->life ||
        at.steps == 0) {
        world_fail(s, "%s: the position of session %llu is another's",
                   c->folder, (ull)one->session);
        return;
    }
    p = world_take(s, sizeof(*p));
    *p = (struct position){o->positions, one->session, c->ckpt->manifest.cut,
                           at.steps, c->ckpt->manifest.restore};
    o->positions = p;
    s->totals.positions++;
    for (const struct stream *t = o->all_streams; t != NULL; t = t->next) {
        for (size_t i = 0; t->session == one->session && i < t->n; i++) {
            oracle_content_on_framed(s, t, &t->numbers[i]);
        }
    }
}

/* No number that it knows of is given again after a restore. */
static void check_counters(struct check *c)
{
    const struct ckpt_manifest *m = &c->ckpt->manifest;
    bool is_right = true;

    for (uint32_t i = 0; i < m->n_variables; i++) {
        is_right = is_right && m->variables[i].id < m->next_variable;
    }
    for (uint32_t i = 0; i < m->n_sessions; i++) {
        is_right = is_right && m->sessions[i].session < m->next_session;
    }
    for (const struct stream *t = c->s->oracle->all_streams; t != NULL;
         t = t->next) {
        bool is_in = lane_of(c->ckpt, t->lane) != NULL;

        is_right = is_right && (!is_in || t->lane < m->next_lane);
        for (size_t i = 0; is_in && i < t->n; i++) {
            is_right = is_right && (!t->numbers[i].is_applied ||
                                    t->numbers[i].cut >= m->cut ||
                                    t->session < m->next_session);
        }
    }
    if (!is_right) {
        world_fail(c->s, "%s: its counters are not above its numbers",
                   c->folder);
    }
}

/* Who was open when the cut was raised is in it. */
static void check_sessions(struct check *c)
{
    const struct ckpt_manifest *m = &c->ckpt->manifest;

    check_counters(c);
    for (uint32_t i = 0; i < m->n_sessions && !c->s->has_failed; i++) {
        check_session(c, &m->sessions[i]);
    }
    for (const struct session_life *l = c->s->oracle->all_sessions; l != NULL;
         l = l->next) {
        bool is_listed = false;

        for (uint32_t i = 0; i < m->n_sessions; i++) {
            is_listed = is_listed || m->sessions[i].session == l->number;
        }
        if (l->raised_cut == m->cut && !is_listed) {
            world_fail(c->s,
                       "%s does not list session %llu, which was open at its "
                       "cut",
                       c->folder, (ull)l->number);
        }
    }
}

/* ---- all of it ----------------------------------------------------------- */

/* Rows of one folder, over those of what it builds on. */
static void read_link(struct check *c, const struct saved *link)
{
    struct fs *fs = crashfs_fs(c->s->storage);
    const struct ckpt_manifest *m = &c->ckpt->manifest;
    struct ckpt *ckpt;
    struct err e;

    c->link++;
    if (ckpt_open(fs, link->folder, &ckpt, &e) != PS_OK) {
        world_fail(c->s, "%s: %s", c->folder, e.text);
        return;
    }
    for (uint32_t i = 0; i < m->n_variables && !c->s->has_failed; i++) {
        uint32_t id = m->variables[i].id;

        if (ckpt_variable_by_id(ckpt, id) != NULL &&
            ckpt_read_rows(fs, link->folder, ckpt, id, 0, LIMIT_BUCKETS,
                           take_batch, c, &e) != PS_OK) {
            world_fail(c->s, "%s: %s", c->folder, e.text);
        }
    }
    ckpt_free(ckpt);
}

static void read_links(struct check *c)
{
    const struct saved *links[SAVED_LINKS_MAX];
    uint32_t n = oracle_save_links(c->s, c->saved, links);

    if (n == 0) {
        world_fail(c->s, "%s builds on what is not there", c->folder);
    }
    while (n > 0 && !c->s->has_failed) {
        read_link(c, links[--n]);
    }
    for (size_t i = 0; i < LEFT_BUCKETS; i++) {
        for (struct left *r = c->rows[i]; r != NULL; r = r->next) {
            for (uint32_t k = 0; k < ORACLE_DIM; k++) {
                r->sum[k] -= (double)r->got[k];
            }
        }
    }
}

static void check_rows(struct check *c)
{
    const struct ckpt_manifest *m = &c->ckpt->manifest;

    read_links(c);
    for (uint32_t i = 0; i < m->n_lanes && !c->s->has_failed; i++) {
        check_state(c, i);
    }
    for (size_t i = 0; i < LEFT_BUCKETS && !c->s->has_failed; i++) {
        for (const struct left *r = c->rows[i]; r != NULL; r = r->next) {
            const struct wire_variable *v =
                ckpt_variable_by_id(c->ckpt, r->variable);
            bool is_right = v->kind == PS_DENSE || r->must_exist == r->is_there;

            for (uint32_t k = 0; k < ORACLE_DIM; k++) {
                is_right = is_right && !(r->sum[k] < 0) && !(r->sum[k] > 0);
            }
            if (!is_right) {
                world_fail(c->s,
                           "%s: variable %u key %llu %s; (%.0f, %.0f, %.0f) is "
                           "missing of what was pushed before the cut",
                           c->folder, r->variable, (ull)r->key,
                           r->is_there ? "is there" : "is not there", r->sum[0],
                           r->sum[1], r->sum[2]);
                break;
            }
        }
    }
}

void oracle_content_check(struct sim *s, const struct ckpt *ckpt,
                          const struct saved *f)
{
    struct check *c = mem_try_zero(sizeof(*c));

    ASSERT(c != NULL);
    c->s = s;
    c->ckpt = ckpt;
    c->saved = f;
    c->folder = f->folder;
    arena_init(&c->arena);
    if (ckpt->manifest.cut != f->cut || ckpt->manifest.term != f->term) {
        world_fail(s, "%s: its manifest is of cut %llu term %llu", f->folder,
                   (ull)ckpt->manifest.cut, (ull)ckpt->manifest.term);
    }
    expect_frames(c);
    check_rows(c);
    check_sessions(c);
    arena_fini(&c->arena);
    mem_free(c);
}
