/* Which checkpoints go when a new one is there.
 *
 * The newest `keep` stay, those that parts may come from, and what any of these
 * builds on. A manifest says what it builds on, so the folders are gone through
 * newest first, one manifest after another: the bases of those that stay are
 * older, and all from the oldest of these bases on stays. Of one cut only the
 * largest term's stays: it was compacted to that. One that cannot be read does
 * not count and is not removed. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/probe.h"
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
static bool is_needed(struct scheduler *s, const char *folder)
{
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
    size_t keep = PLANT(prune_keeps_one) ? 1 : base_max_u64(s->options.keep, 2);

    for (; p->at < p->n; p->at++) {
        const struct save_folder *f = &p->folders[p->at];
        char folder[CKPT_NAME_MAX + 1];
        char path[DISK_PATH_MAX + 1];

        ckpt_folder_name(f->cut, f->term, false, folder);
        if (is_needed(s, folder) ||
            (f->cut != p->kept_cut &&
             (p->n_kept < keep || (p->base != 0 && f->cut >= p->base)))) {
            snprintf(path, sizeof(path), "%s/%s", folder, CKPT_MANIFEST);
            submit(s, DISK_READ_WHOLE, SAVE_FILE_PRUNE, path, CKPT_JSON_MAX);
            return;
        }
        submit(s, DISK_REMOVE, SAVE_FILE_REMOVE, folder, 0);
    }
    s->save->oldest = p->oldest;
    save_prune_end(s);
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
    for (size_t at = 0; at < r->size; at += strlen(names + at) + 1) {
        struct save_folder f;
        bool is_new;

        if (!ckpt_folder_parse(names + at, &f.cut, &f.term, &is_new)) {
            continue;
        }
        if (!is_new) {
            p->folders[p->n++] = f;
        } else if (f.cut <= s->save->prune_cut &&
                   !PLANT(prune_keeps_unfinished)) {
            char folder[CKPT_NAME_MAX + 1];

            ckpt_folder_name(f.cut, f.term, true, folder);
            submit(s, DISK_REMOVE, SAVE_FILE_REMOVE, folder, 0);
        }
    }
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
        uint64_t base = c->manifest.base;

        if (base != 0) {
            p->base = p->base == 0 ? base : base_min_u64(p->base, base);
        }
        p->n_kept++;
        p->kept_cut = p->folders[p->at].cut;
        p->oldest = p->folders[p->at].cut;
        ckpt_free(c);
    } else if (rc != PS_EDATALOSS && rc != PS_ENOTFOUND) {
        /* What it builds on is not known: nothing older goes this time. */
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
    } else if (r->status == PS_OK) {
        on_listed(s, r);
    }
}
