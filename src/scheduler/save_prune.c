/* Which checkpoints go when a new one is there.
 *
 * The newest `keep` whole ones stay, with the increments on them: each file is
 * there once in a chain, and a chain that is damaged must not be the last. And
 * those stay that parts may come from, that are being compacted, and what any
 * of these builds on. A manifest says what it is, so the folders are gone
 * through newest first, one manifest after another: the bases of those that
 * stay are older, and all from the oldest of these bases on stays. Of one cut
 * only the largest term's stays: it was compacted to that. Another cluster's,
 * and one that cannot be read, does not count and is not removed. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/probe.h"
#include "scheduler/move.h"
#include "scheduler/restore.h"
#include "scheduler/save.h"

PLANT_DECLARE(prune_keeps_one);
PLANT_DECLARE(prune_keeps_unfinished);

static void submit(struct scheduler *s, enum disk_op op,
                   enum save_file_step step, const char *path, size_t size)
{
    struct disk_request r = {.op = op,
                             .tag = s->save->prune_tag << 8 | (uint64_t)step,
                             .size = size};

    snprintf(r.path, sizeof(r.path), "%s", path);
    s->disk->submit(s->disk, &r);
}

void save_prune_stop(struct scheduler *s)
{
    save_prune_end(s);
    s->save->prune_tag++;
}

void save_prune_begin(struct scheduler *s)
{
    save_prune_stop(s);
    /* Not that of a save which has begun meanwhile. */
    s->save->prune_cut = s->save->cut;
    if (s->disk != NULL) {
        submit(s, DISK_LIST, SAVE_FILE_LIST, "", 0);
    }
}

void save_prune_end(struct scheduler *s)
{
    struct save_prune *p = &s->save->prune;

    mem_free(p->folders);
    memset(p, 0, sizeof(*p));
}

/* What is removed when a save ends unsaved is removed too early: a server that
 * has yet to hear of the end makes a file, and the folder with it. */
void save_prune_look(struct scheduler *s)
{
    struct save *v = s->save;

    if (!v->has_leftovers || v->phase != SAVE_PHASE_IDLE || s->disk == NULL) {
        return;
    }
    for (uint32_t i = 0; i < s->plan->w.n_lanes; i++) {
        const struct wire_shard *h = member_shard(s, s->plan->w.lanes[i].lane);

        if (h == NULL || h->cut < v->cut || h->saved != SAVED_NONE) {
            return;
        }
    }
    PROBE(save_leftovers_go);
    v->has_leftovers = false;
    v->prune_cut = v->cut;
    submit(s, DISK_LIST, SAVE_FILE_LEFT, "", 0);
}

static int compare_folders(const void *a, const void *b)
{
    const struct save_folder *x = a;
    const struct save_folder *y = b;

    if (x->cut != y->cut) {
        return x->cut > y->cut ? -1 : 1;
    }
    return x->term > y->term ? -1 : x->term < y->term;
}

/* Somebody may be reading it. */
static bool is_needed(struct scheduler *s, const struct save_folder *f)
{
    char folder[CKPT_NAME_MAX + 1];

    if (f->is_compacted) {
        return true;
    }
    ckpt_folder_name(f->cut, f->term, false, folder);
    for (uint32_t i = 0; i < s->plan->w.n_loads; i++) {
        if (strcmp(s->plan->w.loads[i].folder, folder) == 0) {
            return true;
        }
    }
    return restore_needs(s, folder);
}

static void go_on(struct scheduler *s)
{
    struct save_prune *p = &s->save->prune;

    if (p->at < p->n) {
        const struct save_folder *f = &p->folders[p->at];
        char folder[CKPT_NAME_MAX + 1];
        char path[DISK_PATH_MAX + 1];

        ckpt_folder_name(f->cut, f->term, false, folder);
        snprintf(path, sizeof(path), "%s/%s", folder, CKPT_MANIFEST);
        submit(s, DISK_READ_WHOLE, SAVE_FILE_PRUNE, path, CKPT_JSON_MAX);
        return;
    }
    s->save->oldest = p->oldest;
    s->save->oldest_of_two = p->n_whole > 1 ? p->oldest : 0;
    save_prune_end(s);
}

/* As an unfinished one first: what is half removed does not look damaged, and
 * if it ends here, the next one that is done removes the rest. */
static void remove_folder(struct scheduler *s, const struct save_folder *f,
                          const char *folder)
{
    struct disk_request r = {.op = DISK_RENAME,
                             .tag = s->save->prune_tag << 8 | SAVE_FILE_REMOVE};

    snprintf(r.path, sizeof(r.path), "%s", folder);
    ckpt_saving_name(f->cut, f->term, s->cluster_high, s->cluster_low, r.to);
    s->disk->submit(s->disk, &r);
    submit(s, DISK_REMOVE, SAVE_FILE_REMOVE, r.to, 0);
}

static void judge(struct scheduler *s, const struct ckpt_manifest *m)
{
    struct save_prune *p = &s->save->prune;
    const struct save_folder *f = &p->folders[p->at];
    size_t keep = PLANT(prune_keeps_one) ? 1 : base_max_u64(s->options.keep, 2);
    bool is_kept = is_needed(s, f);
    char folder[CKPT_NAME_MAX + 1];

    if (m->cluster_high != s->cluster_high ||
        m->cluster_low != s->cluster_low) {
        return;
    }
    if (f->cut != p->kept_cut) {
        is_kept = is_kept || p->n_whole < keep || f->cut >= p->base;
        p->n_whole += m->base == 0;
    }
    if (is_kept) {
        p->base = m->base == 0 ? p->base : base_min_u64(p->base, m->base);
        p->kept_cut = f->cut;
        p->oldest = f->cut;
        return;
    }
    ckpt_folder_name(f->cut, f->term, false, folder);
    remove_folder(s, f, folder);
}

/* Ours are left behind; a tool's is made of those of its cut. */
static void on_unfinished(struct scheduler *s, const char *name,
                          const struct save_folder *f)
{
    struct save_prune *p = &s->save->prune;
    char own[CKPT_NAME_MAX + 1];

    ckpt_saving_name(f->cut, f->term, s->cluster_high, s->cluster_low, own);
    if (strcmp(name, own) != 0) {
        for (size_t i = 0; i < p->n; i++) {
            p->folders[i].is_compacted =
                p->folders[i].is_compacted || p->folders[i].cut == f->cut;
        }
    } else if (f->cut <= s->save->prune_cut && !PLANT(prune_keeps_unfinished)) {
        submit(s, DISK_REMOVE, SAVE_FILE_REMOVE, own, 0);
    }
}

static void take_names(struct scheduler *s, const struct disk_result *r,
                       bool of_unfinished)
{
    struct save_prune *p = &s->save->prune;
    const char *names = r->data;

    for (size_t at = 0; at < r->size; at += strlen(names + at) + 1) {
        struct save_folder f = {0};
        bool is_new;

        if (!ckpt_folder_parse(names + at, &f.cut, &f.term, &is_new) ||
            is_new != of_unfinished) {
            move_on_folder(s, names + at);
            continue;
        }
        if (is_new) {
            on_unfinished(s, names + at, &f);
        } else {
            p->folders[p->n++] = f;
        }
    }
}

static void on_listed(struct scheduler *s, const struct disk_result *r)
{
    struct save_prune *p = &s->save->prune;
    const char *names = r->data;
    size_t n = 0;

    save_prune_end(s);
    for (size_t i = 0; i < r->size; i++) {
        n += names[i] == '\0';
    }
    p->folders = mem_try((n + 1) * sizeof(*p->folders));
    if (p->folders == NULL) {
        return; /* the next save tries again */
    }
    p->base = UINT64_MAX;
    take_names(s, r, false);
    take_names(s, r, true);
    qsort(p->folders, p->n, sizeof(*p->folders), compare_folders);
    go_on(s);
}

static void on_manifest(struct scheduler *s, const struct disk_result *r)
{
    struct save_prune *p = &s->save->prune;
    struct ckpt *c = NULL;
    struct err e;
    int rc = r->status;

    if (p->at >= p->n) {
        return;
    }
    if (rc == PS_OK) {
        rc = ckpt_new(&c, r->data, r->size, &e);
    }
    if (rc == PS_OK) {
        judge(s, &c->manifest);
        ckpt_free(c);
    } else if (rc != PS_EDATALOSS && rc != PS_ENOTFOUND) {
        /* What it is is not known: nothing older goes this time. */
        save_prune_end(s);
        return;
    }
    p->at++;
    go_on(s);
}

void save_prune_on_disk(struct scheduler *s, const struct disk_result *r)
{
    if ((r->tag & 0xff) == SAVE_FILE_PRUNE) {
        on_manifest(s, r);
    } else if (r->status != PS_OK) {
        return; /* the next one that is done sees to it */
    } else if ((r->tag & 0xff) == SAVE_FILE_LEFT) {
        take_names(s, r, true);
    } else {
        on_listed(s, r);
    }
}
