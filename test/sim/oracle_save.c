/* oracle_save.c - a checkpoint is exactly what the pushes of before its cut
 * make of the rows.
 *
 * A folder that gets its final name is read with the code that a restore would
 * use. Its rows with its late frames must be the sums of all frames stamped
 * with an older cut that its lanes have applied; its windows with its late
 * numbers must name these frames and no others; a session's reader stands where
 * every frame of before is in and none of after. From then on no frame of an
 * older stamp is applied. When the record says DONE the folder must be there,
 * whole, with nothing that a cut of the power could take away; and so it stays
 * until it is removed for newer ones. */
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "ckpt/ckpt_folder.h"
#include "lib/crashfs_disk.h"
#include "oracle.h"
#include "wire/wire.h"

typedef unsigned long long ull;

enum { LEFT_BUCKETS = 4096 };

/* What is left of a row's expected sums when the checkpoint's are taken off. */
struct left {
    struct left *next;
    uint32_t variable;
    uint64_t key;
    double sum[ORACLE_DIM];
    bool must_exist;
    bool is_there;
};

struct check {
    struct sim *s;
    struct arena arena;
    struct left *rows[LEFT_BUCKETS];
    const struct ckpt *ckpt;
    const char *folder;
    double sign; /* of what is added */
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
    struct left *r;

    if (ckpt_variable_by_id(c->ckpt, variable) == NULL) {
        return; /* dropped before the cut */
    }
    r = left_of(c, variable, key);
    r->must_exist = r->must_exist || !c->is_late;
    r->is_there = r->is_there || c->is_late;
    for (uint32_t k = 0; values != NULL && k < ORACLE_DIM; k++) {
        r->sum[k] += c->sign * (double)values[k];
    }
}

static void take_frame(struct check *c, const void *body, size_t size)
{
    struct arena arena;
    struct run_op *ops;
    uint32_t n;

    arena_init(&arena);
    if (run_decode(body, size, &arena, &ops, &n) != PS_OK) {
        world_fail(c->s, "%s: a frame cannot be read", c->folder);
    } else {
        oracle_each_row(c->s, ops, n, take_row, c);
    }
    arena_fini(&arena);
}

static bool take_batch(void *context, const struct ckpt_batch *b)
{
    struct check *c = context;
    const struct ckpt_part *p = b->part;

    for (uint64_t i = 0; i < b->n; i++) {
        struct left *r = left_of(c, p->id, b->keys[i]);
        const float *v = b->values + i * p->dim;

        c->s->totals.rows_saved++;
        if (r->is_there) {
            world_fail(c->s, "%s: variable %u key %llu is there twice",
                       c->folder, p->id, (ull)b->keys[i]);
        }
        r->is_there = true;
        for (uint32_t k = 0; k < p->dim; k++) {
            if (k < ORACLE_DIM) {
                r->sum[k] -= (double)v[k];
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
        if (lane_of(c->ckpt, t->lane) == NULL) {
            continue;
        }
        for (size_t i = 0; i < t->n; i++) {
            struct numbered *n = &t->numbers[i];

            n->is_late = false;
            if (n->is_applied && n->cut < c->ckpt->manifest.cut) {
                take_frame(c, frame_body(n->frame), n->frame->body_bytes);
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
                           is_in ? "not applied before" : "applied before",
                           n->is_applied ? "applied" : "not");
            }
        }
    }
}

static void take_late(struct check *c, uint64_t lane,
                      const struct ckpt_late *late)
{
    struct numbered *n =
        oracle_numbered(c->s, late->session, lane, late->seq);

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
    c->sign = -1;
    c->is_late = true;
    take_frame(c, late->body, (size_t)late->n_body);
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

void oracle_save_on_framed(struct sim *s, const struct stream *t,
                           const struct numbered *n)
{
    for (const struct position *p = s->oracle->positions; p != NULL;
         p = p->next) {
        if (p->session == t->session && n->has_step &&
            (n->cut < p->cut) != (n->step < p->steps)) {
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
    if (one->position.size == 0 || client == NULL) {
        return; /* it has not come to a boundary, or not pushed */
    }
    if (one->position.size != sizeof(at)) {
        world_fail(s, "%s: the position of session %llu has %u bytes",
                   c->folder, (ull)one->session, one->position.size);
        return;
    }
    memcpy(&at, one->position.data, sizeof(at));
    if (at.client != client->place->index || at.life != client->life ||
        at.steps == 0) {
        world_fail(s, "%s: the position of session %llu is another's",
                   c->folder, (ull)one->session);
        return;
    }
    p = world_take(s, sizeof(*p));
    *p = (struct position){o->positions, one->session, c->ckpt->manifest.cut,
                           at.steps};
    o->positions = p;
    s->totals.positions++;
    for (const struct stream *t = o->all_streams; t != NULL; t = t->next) {
        for (size_t i = 0; t->session == one->session && i < t->n; i++) {
            oracle_save_on_framed(s, t, &t->numbers[i]);
        }
    }
}

/* Who was open when the cut was raised is in it. */
static void check_sessions(struct check *c)
{
    const struct ckpt_manifest *m = &c->ckpt->manifest;

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

/* ---- a folder ---------------------------------------------------------- */

static void check_rows(struct check *c)
{
    struct fs *fs = crashfs_fs(c->s->storage);
    const struct ckpt_manifest *m = &c->ckpt->manifest;
    struct err e;

    for (uint32_t i = 0; i < m->n_variables && !c->s->has_failed; i++) {
        if (ckpt_read_rows(fs, c->folder, c->ckpt, m->variables[i].id, 0,
                           LIMIT_BUCKETS, take_batch, c, &e) != PS_OK) {
            world_fail(c->s, "%s: %s", c->folder, e.text);
        }
    }
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
                           r->is_there ? "is there" : "is not there",
                           r->sum[0], r->sum[1], r->sum[2]);
                break;
            }
        }
    }
}

static int verify(struct sim *s, const char *folder, struct ckpt **ckpt,
                  struct err *e)
{
    struct fs *fs = crashfs_fs(s->storage);
    int rc = ckpt_open(fs, folder, ckpt, e);

    if (rc == PS_OK) {
        rc = ckpt_verify(fs, folder, *ckpt, NULL, e);
        if (rc != PS_OK) {
            ckpt_free(*ckpt);
        }
    }
    return rc;
}

struct saved *oracle_saved(const struct sim *s, const char *folder)
{
    struct saved *f = s->oracle->saved;

    while (f != NULL && strcmp(f->folder, folder) != 0) {
        f = f->next;
    }
    return f;
}

static void check_content(struct sim *s, const struct ckpt *ckpt,
                          const struct saved *f)
{
    struct check *c = mem_try_zero(sizeof(*c));

    ASSERT(c != NULL);
    c->s = s;
    c->ckpt = ckpt;
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

void oracle_save_on_renamed(struct sim *s, const char *folder)
{
    struct oracle *o = s->oracle;
    struct saved *f = oracle_saved(s, folder);
    struct fs *fs = crashfs_fs(s->storage);
    struct fs_open_file *file;
    struct ckpt *ckpt;
    bool is_new;
    struct err e;
    char path[DISK_PATH_MAX + 1];

    if (f != NULL || s->has_failed) {
        return;
    }
    f = world_take(s, sizeof(*f));
    snprintf(f->folder, sizeof(f->folder), "%.*s", CKPT_NAME_MAX, folder);
    snprintf(path, sizeof(path), "%s/" CKPT_MANIFEST, f->folder);
    if (fs->ops->open(fs, path, FS_READ, &file, NULL) != PS_OK) {
        return; /* it did not come to that, or there is nothing to be read */
    }
    (void)fs->ops->close(fs, file, NULL);
    if (!ckpt_folder_parse(folder, &f->cut, &f->term, &is_new) || is_new) {
        world_fail(s, "%s is no name of a checkpoint", folder);
        return;
    }
    f->next = o->saved;
    o->saved = f;
    s->totals.folders++;
    if (verify(s, f->folder, &ckpt, &e) != PS_OK) {
        trace_note(s, "%s is not whole: %s", f->folder, e.text);
        return;
    }
    f->is_whole = true;
    check_content(s, ckpt, f);
    o->closed_cut = base_max_u64(o->closed_cut, f->cut);
    ckpt_free(ckpt);
}

/* ---- what becomes of it ------------------------------------------------- */

static const struct entry *entry_of(const struct entries *all, int32_t folder,
                                    const char *name)
{
    for (size_t i = 0; i < all->n; i++) {
        if (all->all[i].at.folder == folder &&
            strcmp(all->all[i].at.name, name) == 0) {
            return &all->all[i];
        }
    }
    return NULL;
}

/* NULL: all of it would outlive a cut of the power; else what would not. */
static const char *what_is_not_durable(const struct sim *s, const char *folder)
{
    const struct crashfs *c = s->storage;
    const struct entry *seen = entry_of(&c->seen, ROOT, folder);
    const struct entry *durable = entry_of(&c->durable, ROOT, folder);

    if (seen == NULL || durable == NULL || durable->node != seen->node) {
        return "its name";
    }
    for (size_t i = 0; i < c->seen.n; i++) {
        const struct entry *file = &c->seen.all[i];
        const struct node *node = &c->nodes[file->node];
        const struct entry *kept;

        if (file->at.folder != seen->node) {
            continue;
        }
        kept = entry_of(&c->durable, seen->node, file->at.name);
        if (kept == NULL || kept->node != file->node ||
            node->durable.size != node->seen.size ||
            memcmp(node->durable.data, node->seen.data, node->seen.size) !=
                0) {
            return file->at.name;
        }
    }
    return NULL;
}

static bool is_done(const struct saved *f)
{
    return f->is_done && !f->is_going && !f->is_damaged;
}

static void must_be_whole(struct sim *s, const struct saved *f,
                          const char *when)
{
    struct ckpt *ckpt;
    struct err e;

    if (verify(s, f->folder, &ckpt, &e) != PS_OK) {
        world_fail(s, "%s, which is done, is not whole %s: %s", f->folder, when,
                   e.text);
        return;
    }
    ckpt_free(ckpt);
}

static void on_done(struct sim *s, const char *folder)
{
    struct saved *f = oracle_saved(s, folder);
    const char *what;

    if (f == NULL) {
        world_fail(s, "%s is done, but there is no such folder", folder);
        return;
    }
    f->is_done = true;
    s->totals.saves_done++;
    s->oracle->has_saved = true;
    if (!is_done(f)) {
        return;
    }
    must_be_whole(s, f, "now");
    what = what_is_not_durable(s, folder);
    if (what != NULL) {
        world_fail(s, "%s is done, but %s would not outlive a power cut",
                   folder, what);
    }
}

void oracle_save_on_removing(struct sim *s, const char *path)
{
    struct saved *f = oracle_saved(s, path);
    uint32_t newer = 0;

    if (f == NULL) {
        return;
    }
    for (const struct saved *g = s->oracle->saved; g != NULL; g = g->next) {
        newer += g->is_done && !g->is_going && g->cut > f->cut;
    }
    if (f->is_done && newer < 2) {
        world_fail(s, "%s is removed, with %u newer ones left", f->folder,
                   newer);
    }
    f->is_going = true;
    f->may_stay = false;
}

void oracle_save_on_kept(struct sim *s, const char *path)
{
    struct saved *f = oracle_saved(s, path);

    if (f != NULL) {
        f->is_going = true;
        f->may_stay = true;
    }
}

void oracle_save_on_flipped(struct sim *s, const char *folder)
{
    struct saved *f = oracle_saved(s, folder);
    struct ckpt *ckpt;
    struct err e;

    if (f == NULL) {
        return; /* one that is being made: it must be found by reading back */
    }
    if (is_done(f)) {
        if (verify(s, folder, &ckpt, &e) == PS_OK) {
            ckpt_free(ckpt);
            world_fail(s, "a bit of %s is turned, and nothing finds it",
                       folder);
        }
        s->totals.flips_found++;
    }
    f->is_damaged = true;
}

void oracle_save_on_power_cut(struct sim *s)
{
    for (const struct saved *f = s->oracle->saved;
         f != NULL && !s->has_failed; f = f->next) {
        if (is_done(f)) {
            must_be_whole(s, f, "after a power cut");
        }
    }
}

/* ---- the record -------------------------------------------------------- */

static bool has_ended(uint32_t state)
{
    return state == SAVE_DONE || state == SAVE_FAILED || state == SAVE_CANCELED;
}

void oracle_save_on_record(struct sim *s, const void *data, size_t size)
{
    struct oracle *o = s->oracle;
    struct wire_save w;
    struct saved *f;

    if (wire_save_decode(data, size, &o->arena, &w) != PS_OK) {
        world_fail(s, "the record save cannot be read");
        return;
    }
    trace_note(s, "save %llu under cut %llu: state %u, plan %llu %s",
               (ull)w.ticket, (ull)w.cut, w.state, (ull)w.plan, w.why);
    if (w.ticket < o->save_ticket || w.cut < o->save_cut ||
        (w.cut == o->save_cut && w.state < o->save_state) ||
        (w.ticket == o->save_ticket && has_ended(o->save_state) &&
         (w.state != o->save_state || w.cut != o->save_cut))) {
        world_fail(s,
                   "save %llu under cut %llu in state %u follows save %llu "
                   "under cut %llu in state %u",
                   (ull)w.ticket, (ull)w.cut, w.state, (ull)o->save_ticket,
                   (ull)o->save_cut, o->save_state);
        return;
    }
    s->totals.saves_again +=
        w.ticket == o->save_ticket && w.cut > o->save_cut && o->save_cut != 0;
    if (w.ticket > o->save_ticket || w.state != o->save_state ||
        w.cut != o->save_cut) {
        s->totals.saves += w.ticket > o->save_ticket;
        s->totals.saves_failed += w.state == SAVE_FAILED;
        s->totals.saves_canceled += w.state == SAVE_CANCELED;
        f = oracle_saved(s, w.folder);
        if (w.state == SAVE_DONE) {
            on_done(s, w.folder);
        } else if (has_ended(w.state) && f != NULL) {
            f->is_void = true;
        }
        if (w.state == SAVE_FAILED && !s->faults_on &&
            w.ticket > o->healed_ticket) {
            world_fail(s, "save %llu fails, though nothing is wrong: %s",
                       (ull)w.ticket, w.why);
        }
    }
    o->save_ticket = w.ticket;
    o->save_cut = w.cut;
    o->save_state = w.state;
}

/* A frame is applied: none of before a cut whose folder is whole. */
void oracle_save_on_applied(struct sim *s, const struct stream *t,
                            const struct numbered *n, uint64_t seq)
{
    if (n->cut < s->oracle->closed_cut) {
        world_fail(s,
                   "(%llu, %llu, %llu), stamped %llu, is applied after "
                   "the checkpoint of cut %llu was finished",
                   (ull)t->session, (ull)t->lane, (ull)seq, (ull)n->cut,
                   (ull)s->oracle->closed_cut);
    }
}

void oracle_save_end(struct sim *s)
{
    for (const struct saved *f = s->oracle->saved;
         f != NULL && !s->has_failed; f = f->next) {
        if (is_done(f)) {
            must_be_whole(s, f, "at the end");
        } else if (f->is_void && !f->may_stay &&
                   entry_of(&s->storage->seen, ROOT, f->folder) != NULL) {
            world_fail(s, "%s is there, though its save was given up",
                       f->folder);
        }
    }
}
