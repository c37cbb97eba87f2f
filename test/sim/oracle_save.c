/* oracle_save.c - what becomes of saves and of their folders.
 *
 * A folder that gets its final name is read with the code that a restore would
 * use; if it is whole, its content must be right (oracle_content.c), and from
 * then on no frame of an older stamp is applied. When the record says DONE the
 * folder must be there, whole, with nothing that a cut of the power could take
 * away; and so it stays until it is removed for newer ones. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "ckpt/ckpt_folder.h"
#include "lib/crashfs_disk.h"
#include "oracle.h"
#include "wire/wire.h"

typedef unsigned long long ull;

/* ---- a folder ---------------------------------------------------------- */

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

uint32_t oracle_save_links(const struct sim *s, const struct saved *f,
                           const struct saved *links[SAVED_LINKS_MAX])
{
    uint32_t n = 0;

    while (f != NULL && n < SAVED_LINKS_MAX) {
        const struct saved *g = s->oracle->saved;

        links[n++] = f;
        if (f->base == 0) {
            return n;
        }
        while (g != NULL && (g->cut != f->base || g->n_places == 0)) {
            g = g->next;
        }
        f = g;
    }
    return 0;
}

/* Whether it builds on something that we damaged. */
static bool rests_on_damage(const struct sim *s, const struct saved *f)
{
    const struct saved *links[SAVED_LINKS_MAX];
    uint32_t n = oracle_save_links(s, f, links);

    for (uint32_t i = 1; i < n; i++) {
        if (links[i]->is_damaged) {
            return true;
        }
    }
    return false;
}

bool oracle_save_is_good(const struct sim *s, const char *folder)
{
    const struct saved *f = oracle_saved(s, folder);

    return f != NULL && f->is_whole && !f->is_damaged && !f->is_going &&
           !rests_on_damage(s, f);
}

static void keep_places(struct sim *s, struct saved *f,
                        const struct ckpt_manifest *m)
{
    f->places = world_take(s, m->n_parts * sizeof(*f->places));
    f->n_places = m->n_parts;
    f->base = m->base;
    s->totals.increments += m->base != 0;
    for (uint32_t i = 0; i < m->n_parts; i++) {
        const struct ckpt_place *p = &m->parts[i];

        f->places[i] =
            (struct saved_place){p->variable, p->begin, p->end, p->lane};
    }
}

/* Whether we damaged it while it was being made. */
static bool was_hit(const struct sim *s, const struct saved *f)
{
    for (const struct saved *h = s->oracle->hit; h != NULL; h = h->next) {
        uint64_t cut, term;
        bool is_new;

        if (ckpt_folder_parse(h->folder, &cut, &term, &is_new) && is_new &&
            cut == f->cut && term == f->term) {
            return true;
        }
    }
    return false;
}

/* Of a damaged one: what is right in it may be loaded. */
static void read_places(struct sim *s, struct saved *f)
{
    struct fs *fs = crashfs_fs(s->storage);
    char path[DISK_PATH_MAX + 1];
    struct ckpt *ckpt;
    struct buf b;

    buf_init(&b);
    snprintf(path, sizeof(path), "%s/" CKPT_MANIFEST, f->folder);
    if (fs->ops->read(fs, path, SIZE_MAX, &b, NULL) == PS_OK &&
        ckpt_new(&ckpt, b.data, b.size, NULL) == PS_OK) {
        keep_places(s, f, &ckpt->manifest);
        ckpt_free(ckpt);
    }
    buf_fini(&b);
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
        f->is_damaged = was_hit(s, f);
        read_places(s, f);
        return;
    }
    f->is_whole = true;
    keep_places(s, f, &ckpt->manifest);
    if (rests_on_damage(s, f)) {
        f->is_damaged = true;
    } else {
        oracle_content_check(s, ckpt, f);
    }
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

/* Whether it counts: a lane that has come too late may have left one. */
static bool is_of(const struct saved *f, const char *file)
{
    bool is = strncmp(file, "lane-", 5) != 0;

    for (uint32_t i = 0; i < f->n_places && !is; i++) {
        is = f->places[i].lane == strtoull(file + 5, NULL, 10);
    }
    return is;
}

/* NULL: all of it would outlive a cut of the power; else what would not. */
static const char *what_is_not_durable(const struct sim *s,
                                       const struct saved *f)
{
    const char *folder = f->folder;
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

        if (file->at.folder != seen->node || !is_of(f, file->at.name)) {
            continue;
        }
        kept = entry_of(&c->durable, seen->node, file->at.name);
        if (kept == NULL || kept->node != file->node ||
            node->durable.size != node->seen.size ||
            memcmp(node->durable.data, node->seen.data, node->seen.size) != 0) {
            return file->at.name;
        }
    }
    return NULL;
}

static bool is_done(const struct sim *s, const struct saved *f)
{
    return f->is_done && !f->is_going && !f->is_damaged &&
           !rests_on_damage(s, f);
}

static void must_be_whole(struct sim *s, const struct saved *f,
                          const char *when)
{
    const struct saved *links[SAVED_LINKS_MAX];
    uint32_t n = oracle_save_links(s, f, links);
    struct ckpt *ckpt;
    struct err e;

    if (n == 0) {
        world_fail(s, "%s, which is done, has no base %s", f->folder, when);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (verify(s, links[i]->folder, &ckpt, &e) != PS_OK) {
            world_fail(s, "%s, which is done, is not whole %s: %s: %s",
                       f->folder, when, links[i]->folder, e.text);
            return;
        }
        ckpt_free(ckpt);
    }
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
    if (!is_done(s, f)) {
        return;
    }
    must_be_whole(s, f, "now");
    what = what_is_not_durable(s, f);
    if (what != NULL) {
        world_fail(s, "%s is done, but %s would not outlive a power cut",
                   folder, what);
    }
}

/* Whoever is to load it has nothing else. */
void oracle_save_on_moved(struct sim *s, const struct saved *f)
{
    const char *what = what_is_not_durable(s, f);

    for (const struct saved *h = s->oracle->hit; h != NULL; h = h->next) {
        if (strcmp(h->folder, f->folder) == 0) {
            return;
        }
    }
    if (what != NULL) {
        world_fail(s,
                   "a part is given away, but %s of %s would not outlive a "
                   "power cut",
                   what, f->folder);
    }
}

/* What the newest two build on stays. */
static void check_bases(struct sim *s, const struct saved *gone)
{
    const struct saved *links[SAVED_LINKS_MAX];
    uint32_t newest = 0;

    /* The list is by rising age. */
    for (const struct saved *g = s->oracle->saved; g != NULL && newest < 2;
         g = g->next) {
        uint32_t n = is_done(s, g) ? oracle_save_links(s, g, links) : 0;

        newest += n > 0;
        for (uint32_t i = 1; i < n; i++) {
            if (links[i] == gone) {
                world_fail(s, "%s is removed, which %s builds on", gone->folder,
                           g->folder);
            }
        }
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
        /* Damage that came after it was read back is nobody's fault. */
        newer +=
            (g->is_whole || g->is_damaged) && !g->is_going && g->cut > f->cut;
    }
    if (f->is_done && newer < 2) {
        world_fail(s, "%s is removed, with %u newer ones left", f->folder,
                   newer);
    }
    f->is_going = true;
    f->may_stay = false;
    check_bases(s, f);
}

void oracle_save_on_kept(struct sim *s, const char *path)
{
    struct saved *f = oracle_saved(s, path);

    if (f != NULL) {
        f->may_stay = true;
    }
}

/* A lane that came and ended while the save went on has files that the manifest
 * does not list, and nobody reads. */
static bool is_listed(const struct ckpt *c, const char *file)
{
    ull lane;

    if (sscanf(file, "lane-%llu.", &lane) != 1) {
        return true;
    }
    for (uint32_t i = 0; i < c->manifest.n_lanes; i++) {
        if (c->manifest.lanes[i].lane == lane) {
            return true;
        }
    }
    return false;
}

void oracle_save_on_flipped(struct sim *s, const char *folder, const char *file)
{
    struct saved *f = oracle_saved(s, folder);
    struct ckpt *ckpt;
    struct err e;

    if (f == NULL) {
        /* One that is being made: found by reading back, or it is too late. */
        f = world_take(s, sizeof(*f));
        snprintf(f->folder, sizeof(f->folder), "%.*s", CKPT_NAME_MAX, folder);
        f->next = s->oracle->hit;
        s->oracle->hit = f;
        return;
    }
    if (is_done(s, f)) {
        if (verify(s, folder, &ckpt, &e) == PS_OK) {
            bool is_read = is_listed(ckpt, file);

            ckpt_free(ckpt);
            if (is_read) {
                world_fail(s, "a bit of %s is turned, and nothing finds it",
                           folder);
            }
            return;
        }
        s->totals.flips_found++;
    }
    f->is_damaged = true;
}

void oracle_save_on_power_cut(struct sim *s)
{
    for (const struct saved *f = s->oracle->saved; f != NULL && !s->has_failed;
         f = f->next) {
        if (is_done(s, f)) {
            must_be_whole(s, f, "after a power cut");
        }
    }
}

/* ---- the record -------------------------------------------------------- */

/* What a save needs beside the rows counts against the limit of memory. */
bool oracle_save_has_no_room(const struct sim *s)
{
    return s->memory_bytes != 0;
}

static bool has_ended(uint32_t state)
{
    return state == SAVE_DONE || state == SAVE_FAILED || state == SAVE_CANCELED;
}

/* A server that died while there were faults takes all back with it, and so
 * does the way out of a log that we damaged. */
static bool is_for_restore(const struct sim *s, const char *why)
{
    return (s->is_consistent || s->has_restores ||
            s->totals.logs_refused > 0) &&
           strstr(why, "is being restored") != NULL;
}

/* In some runs a save does not wait for long (actor_scheduler.c). */
static bool is_short_of_time(const struct sim *s, const char *why)
{
    return s->seed % 4 == 1 && strstr(why, "have not reached the cut") != NULL;
}

bool oracle_save_may_fail(const struct sim *s, const char *why)
{
    return is_for_restore(s, why) || is_short_of_time(s, why);
}

/* The save before this one is over. */
static void note_end(struct sim *s, uint64_t ticket)
{
    struct oracle *o = s->oracle;

    if (ticket > o->save_ticket) {
        struct save_end *e = world_take(s, sizeof(*e));

        *e = (struct save_end){o->save_ends, o->save_ticket, o->save_state};
        o->save_ends = e;
    }
}

bool oracle_save_may_end(const struct sim *s, uint64_t ticket, int status)
{
    const struct save_end *e = s->oracle->save_ends;
    uint32_t state = s->oracle->save_state;

    if (ticket == 0 || ticket > s->oracle->save_ticket) {
        return false;
    }
    while (ticket < s->oracle->save_ticket && e != NULL &&
           e->ticket != ticket) {
        e = e->next;
    }
    if (ticket < s->oracle->save_ticket) {
        state = e != NULL ? e->state : SAVE_NONE;
    }
    return (status == PS_OK && state == SAVE_DONE) ||
           (status == PS_EIO && state == SAVE_FAILED) ||
           (status == PS_ECANCELED && state == SAVE_CANCELED);
}

void oracle_save_on_record(struct sim *s, const void *data, size_t size)
{
    struct oracle *o = s->oracle;
    struct wire_save w;
    struct saved *f;
    uint64_t newest;

    if (wire_save_decode(data, size, &o->arena, &w) != PS_OK) {
        world_fail(s, "the record save cannot be read");
        return;
    }
    newest = w.n_asked > 0 ? w.asked[w.n_asked - 1].nonce : 0;
    trace_note(s, "save %llu under cut %llu: state %u, plan %llu %s",
               (ull)w.ticket, (ull)w.cut, w.state, (ull)w.plan, w.why);
    if (w.ticket < o->save_ticket || w.cut < o->save_cut ||
        (w.cut == o->save_cut && w.ticket == o->save_ticket &&
         w.state < o->save_state) ||
        /* One that ends before it has a cut leaves the number as it is. */
        (w.cut == o->save_cut && w.ticket > o->save_ticket &&
         ((w.state != SAVE_FAILED && w.state != SAVE_CANCELED) ||
          oracle_saved(s, w.folder) != NULL)) ||
        (w.ticket == o->save_ticket && has_ended(o->save_state) &&
         (w.state != o->save_state || w.cut != o->save_cut))) {
        world_fail(s,
                   "save %llu under cut %llu in state %u follows save %llu "
                   "under cut %llu in state %u",
                   (ull)w.ticket, (ull)w.cut, w.state, (ull)o->save_ticket,
                   (ull)o->save_cut, o->save_state);
        return;
    }
    /* A restore writes the record of its own accord: of one that is done. */
    if (w.ticket > o->save_ticket && newest == o->save_order &&
        w.state != SAVE_DONE) {
        world_fail(s, "save %llu begins, and no new order asks for it",
                   (ull)w.ticket);
        return;
    }
    o->save_order = newest;
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
            !oracle_save_may_fail(s, w.why) && w.ticket > o->healed_ticket &&
            !oracle_save_has_no_room(s)) {
            world_fail(s, "save %llu fails, though nothing is wrong: %s",
                       (ull)w.ticket, w.why);
        }
    }
    o->opened_at = w.cut > o->save_cut ? s->now : o->opened_at;
    note_end(s, w.ticket);
    o->save_ticket = w.ticket;
    o->save_oldest = base_max_u64(o->save_oldest, w.oldest);
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

/* Nothing was in the way of the last save, nor of what it removes. */
static bool look_at_name(void *context, const char *name)
{
    struct sim *s = context;
    struct ckpt_move move;
    const struct saved *f = oracle_saved(s, name);
    uint64_t cut, term;
    bool is_new;

    if (ckpt_move_parse(name, &move)) {
        for (uint32_t i = 0; i < s->oracle->plan->w.n_loads; i++) {
            if (strcmp(s->oracle->plan->w.loads[i].folder, name) == 0) {
                return true;
            }
        }
        world_fail(s, "%s is still there", name);
        return true;
    }
    if (!ckpt_folder_parse(name, &cut, &term, &is_new)) {
        world_fail(s, "%s is not of ours", name);
    } else if (is_new && cut <= s->oracle->save_cut) {
        world_fail(s, "%s is still there", name);
    }
    for (uint32_t i = 0; i < s->oracle->plan->w.n_loads; i++) {
        if (strcmp(s->oracle->plan->w.loads[i].folder, name) == 0) {
            return true; /* somebody may have to read it */
        }
    }
    /* One that cannot be read is not counted, and stays. */
    s->oracle->n_final += !is_new && (f == NULL || !f->is_damaged);
    return true;
}

static void check_root(struct sim *s)
{
    struct fs *fs = crashfs_fs(s->storage);
    /* A part that came from one has moved since, and needs it no more. */
    uint32_t n_allowed = s->oracle->moves != NULL ? 3 : 2;

    if (s->oracle->save_state != SAVE_DONE) {
        return;
    }
    if (fs->ops->list(fs, ".", look_at_name, s, NULL) != PS_OK ||
        (s->oracle->n_final > n_allowed && s->full_every < 2)) {
        world_fail(s, "%u checkpoints are there, not 2", s->oracle->n_final);
    }
}

void oracle_save_end(struct sim *s)
{
    check_root(s);
    for (const struct saved *f = s->oracle->saved; f != NULL && !s->has_failed;
         f = f->next) {
        if (is_done(s, f)) {
            must_be_whole(s, f, "at the end");
        } else if (f->is_void && !f->may_stay &&
                   entry_of(&s->storage->seen, ROOT, f->folder) != NULL) {
            world_fail(s, "%s is there, though its save was given up",
                       f->folder);
        }
    }
}
