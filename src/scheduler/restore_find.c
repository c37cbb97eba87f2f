/* See restore_find.h for the drawing. */
#include "scheduler/restore_find.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"

enum step { STEP_LIST = RESTORE_TAG | 1, STEP_MANIFEST, STEP_BASE };

static void submit(struct restore_find *f, enum step step,
                   struct disk_request *r)
{
    r->tag = f->serial << 8 | (uint64_t)step;
    f->disk->submit(f->disk, r);
}

/* What was read of the one that was looked at. */
static void drop(struct restore_find *f)
{
    ckpt_free(f->base);
    f->base = NULL;
    ckpt_free(f->c);
    f->c = NULL;
}

void restore_find_begin(struct restore_find *f, struct disk *disk,
                        const struct restore_wish *wish)
{
    struct disk_request r = {.op = DISK_LIST};

    restore_find_end(f);
    f->disk = disk;
    f->wish = *wish;
    f->is_active = true;
    f->n = 0;
    f->at = 0;
    f->by_folder = false;
    f->n_damaged = 0;
    f->damaged_cut = 0;
    f->marks = (struct restore_marks){.cut = 0};
    f->why[0] = '\0';
    submit(f, STEP_LIST, &r);
}

void restore_find_end(struct restore_find *f)
{
    if (f->is_checking) {
        restore_check_stop(&f->check);
        f->is_checking = false;
    }
    f->serial++;
    f->is_active = false;
    drop(f);
    mem_free(f->folders);
    f->folders = NULL;
}

struct ckpt *restore_find_take(struct restore_find *f)
{
    struct ckpt *c = f->c;

    f->c = NULL;
    return c;
}

static bool end(struct restore_find *f, int status)
{
    f->is_active = false;
    f->status = status;
    ckpt_free(f->base);
    f->base = NULL;
    if (status != PS_OK) {
        drop(f);
    }
    return true;
}

void restore_find_give_up(struct restore_find *f)
{
    if (f->is_checking) {
        restore_check_stop(&f->check);
        f->is_checking = false;
    }
    f->serial++;
    snprintf(f->why, sizeof(f->why),
             "the disk of the checkpoints has not answered the scheduler for "
             "%d s",
             LIMIT_DISK_MS / 1000);
    (void)end(f, PS_EIO);
}

/* ---- the listing -------------------------------------------------------- */

static int compare_folders(const void *a, const void *b)
{
    const struct restore_folder *x = a;
    const struct restore_folder *y = b;

    if (x->cut != y->cut) {
        return x->cut > y->cut ? -1 : 1;
    }
    return x->term > y->term ? -1 : x->term < y->term;
}

static bool is_folder(const struct restore_find *f, uint32_t i,
                      const char *name)
{
    char folder[CKPT_NAME_MAX + 1];

    ckpt_folder_name(f->folders[i].cut, f->folders[i].term, false, folder);
    return strcmp(folder, name) == 0;
}

static void keep_older(struct restore_find *f)
{
    uint64_t cut, term;
    bool is_new, is_ours;

    is_ours = ckpt_folder_parse(f->wish.name, &cut, &term, &is_new);
    for (uint32_t i = 0; i < f->n; i++) {
        f->folders[i].is_meant =
            is_ours && f->folders[i].cut < cut &&
            restore_past_has(&f->wish.past, f->folders[i].cut);
    }
}

/* A folder's name goes before a cut, and both before what users say. */
static void keep_named(struct restore_find *f)
{
    for (int pass = 0; pass < 2 && !f->by_folder; pass++) {
        for (uint32_t i = 0; i < f->n; i++) {
            f->folders[i].is_meant =
                pass == 0 ? is_folder(f, i, f->wish.name)
                          : ckpt_is_cut(f->wish.name, f->folders[i].cut);
            f->by_folder = f->by_folder || f->folders[i].is_meant;
        }
    }
    for (uint32_t i = 0; i < f->n; i++) {
        f->folders[i].is_meant = f->folders[i].is_meant || !f->by_folder;
    }
}

static void read_next(struct restore_find *f)
{
    struct disk_request r = {.op = DISK_READ_WHOLE, .size = CKPT_JSON_MAX};

    ckpt_folder_name(f->folders[f->at].cut, f->folders[f->at].term, false,
                     f->folder);
    snprintf(r.path, sizeof(r.path), "%s/%s", f->folder, CKPT_MANIFEST);
    submit(f, STEP_MANIFEST, &r);
}

/* True where there is none any more. */
static bool go_on(struct restore_find *f)
{
    drop(f);
    while (f->at < f->n && !f->folders[f->at].is_meant) {
        f->at++;
    }
    if (f->at < f->n) {
        read_next(f);
        return false;
    }
    f->folder[0] = '\0';
    return end(f, f->n_damaged > 0 ? PS_EDATALOSS : PS_ENOTFOUND);
}

static bool on_list(struct restore_find *f, const struct disk_result *r)
{
    const char *names = r->data;
    size_t n = 0;

    if (r->status != PS_OK && r->status != PS_ENOTFOUND) {
        snprintf(f->why, sizeof(f->why), "the folder of checkpoints: %s",
                 r->why);
        return end(f, r->status);
    }
    for (size_t i = 0; r->status == PS_OK && i < r->size; i++) {
        n += names[i] == '\0';
    }
    f->folders = mem_try((n + 1) * sizeof(*f->folders));
    if (f->folders == NULL) {
        snprintf(f->why, sizeof(f->why), "out of memory");
        return end(f, PS_ENOMEM);
    }
    for (size_t at = 0; n > 0 && at < r->size; at += strlen(names + at) + 1) {
        struct restore_folder x = {.is_meant = true};
        bool is_new;

        if (!ckpt_folder_parse(names + at, &x.cut, &x.term, &is_new)) {
            continue;
        }
        f->marks.cut = base_max_u64(f->marks.cut, x.cut);
        if (!is_new) {
            f->folders[f->n++] = x;
        }
    }
    qsort(f->folders, f->n, sizeof(*f->folders), compare_folders);
    if (f->wish.kind == RESTORE_NAMED) {
        keep_named(f);
    } else if (f->wish.kind == RESTORE_OLDER) {
        keep_older(f);
    }
    return go_on(f);
}

/* ---- one after another -------------------------------------------------- */

static bool is_damaged(struct restore_find *f, const char *why)
{
    size_t n = strlen(f->why);

    log_write(LOG_ERROR, "checkpoint %s is damaged: %s", f->folder, why);
    if (f->c == NULL && f->wish.kind == RESTORE_NAMED && !f->by_folder &&
        f->wish.name[0] != '\0') {
        f->at++; /* nobody knows what its user called it */
        return go_on(f);
    }
    snprintf(f->why + n, sizeof(f->why) - n, "%s%s: %.160s", n > 0 ? "; " : "",
             f->folder, why);
    base_one_line(f->why);
    if (f->n_damaged++ == 0) {
        f->damaged_cut = f->folders[f->at].cut;
        memcpy(f->damaged, f->folder, sizeof(f->damaged));
    }
    f->at++;
    return go_on(f);
}

/* Nothing is said of the checkpoint by that. */
static bool has_no_memory(struct restore_find *f)
{
    snprintf(f->why, sizeof(f->why), "out of memory");
    return end(f, PS_ENOMEM);
}

static bool cannot_read(struct restore_find *f, int status, const char *why)
{
    if (status == PS_ENOMEM) {
        return has_no_memory(f);
    }
    if (status == PS_EIO && f->wish.gives_up) {
        return is_damaged(f, why);
    }
    snprintf(f->why, sizeof(f->why), "%s cannot be read: %.160s", f->folder,
             why);
    base_one_line(f->why);
    return end(f, status);
}

static bool is_same_cluster(const struct restore_find *f)
{
    const struct ckpt_manifest *m = &f->c->manifest;

    return m->cluster_high == f->wish.cluster_high &&
           m->cluster_low == f->wish.cluster_low;
}

static bool is_also(const struct restore_find *f)
{
    for (uint32_t i = 0; i < f->wish.n_also; i++) {
        if (strcmp(f->folder, f->wish.also[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* The newest come first: what the same life of the cluster made before one that
 * it went back to is in its past, too. */
static bool is_of_timeline(struct restore_find *f)
{
    if (is_also(f)) {
        f->wish.restore = f->c->manifest.restore;
    }
    return f->c->manifest.restore == f->wish.restore;
}

static bool is_wanted(struct restore_find *f)
{
    switch (f->wish.kind) {
    case RESTORE_NEWEST:
        return true;
    case RESTORE_TIMELINE:
        return is_same_cluster(f) && is_of_timeline(f);
    case RESTORE_NAMED:
        return f->by_folder || f->wish.name[0] == '\0' ||
               strcmp(f->c->manifest.name, f->wish.name) == 0;
    case RESTORE_OLDER:
        /* Of another time only if that was gone back to: two schedulers that
         * run with one root know nothing of each other. */
        return is_same_cluster(f) &&
               (f->c->manifest.restore == f->wish.restore ||
                restore_past_is_below(&f->wish.past, f->c->manifest.cut));
    }
    return false;
}

static void note_marks(struct restore_find *f)
{
    const struct ckpt_manifest *m = &f->c->manifest;

    f->marks.restore = base_max_u64(f->marks.restore, m->restore);
    f->marks.next_session =
        base_max_u64(f->marks.next_session, m->next_session);
    f->marks.next_lane = base_max_u64(f->marks.next_lane, m->next_lane);
}

/* The next folder of the cut that c is an increment of. */
static bool try_base(struct restore_find *f, const struct ckpt *c)
{
    struct disk_request r = {.op = DISK_READ_WHOLE, .size = CKPT_JSON_MAX};
    uint32_t i = f->base_at;

    while (i < f->n && f->folders[i].cut != c->manifest.base) {
        i++;
    }
    if (i == f->n) {
        return is_damaged(f, "what it builds on is not there");
    }
    f->base_at = i + 1;
    ckpt_folder_name(f->folders[i].cut, f->folders[i].term, false,
                     f->base_folder);
    snprintf(r.path, sizeof(r.path), "%s/%s", f->base_folder, CKPT_MANIFEST);
    submit(f, STEP_BASE, &r);
    return false;
}

/* The one that c is an increment of: of several folders of a cut the newest
 * term, which is what they were compacted to; those of other clusters are
 * passed over. True where it has ended. */
static bool go_down(struct restore_find *f, const struct ckpt *c)
{
    f->base_at = 0;
    return c->manifest.base == 0 ? end(f, PS_OK) : try_base(f, c);
}

static bool check(struct restore_find *f, struct ckpt *c, const char *folder)
{
    if (!f->wish.verifies || c->manifest.n_lanes == 0) {
        return go_down(f, c);
    }
    f->is_checking = true;
    restore_check_begin(&f->check, f->disk, f->serial, c, folder);
    return false;
}

static bool on_manifest(struct restore_find *f, const struct disk_result *r)
{
    const struct ckpt_manifest *m;
    struct err e;
    int rc;

    e.text[0] = '\0';
    if (r->status != PS_OK && r->status != PS_ENOTFOUND) {
        return cannot_read(f, r->status, r->why);
    }
    if (r->status != PS_OK) {
        return is_damaged(f, r->status == PS_ENOTFOUND ? CKPT_MANIFEST
                                 ": it is missing"
                                                       : r->why);
    }
    rc = ckpt_new(&f->c, r->data, r->size, &e);
    if (rc != PS_OK) {
        f->c = NULL;
        return rc == PS_ENOMEM ? has_no_memory(f) : is_damaged(f, e.text);
    }
    m = &f->c->manifest;
    if (m->cut != f->folders[f->at].cut || m->term != f->folders[f->at].term) {
        return is_damaged(f, CKPT_MANIFEST ": it is another folder's");
    }
    note_marks(f);
    if (!is_wanted(f)) {
        f->at++;
        return go_on(f);
    }
    return check(f, f->c, f->folder);
}

static bool on_base(struct restore_find *f, const struct disk_result *r)
{
    const struct ckpt *above = f->base != NULL ? f->base : f->c;
    struct ckpt *c = NULL;
    struct err e;
    int rc = r->status;

    e.text[0] = '\0';
    if (rc != PS_OK && rc != PS_ENOTFOUND) {
        return cannot_read(f, rc, r->why);
    }
    if (rc == PS_OK) {
        rc = ckpt_new(&c, r->data, r->size, &e);
    }
    if (rc != PS_OK) {
        return rc == PS_ENOMEM
                   ? has_no_memory(f)
                   : is_damaged(f, r->status != PS_OK ? r->why : e.text);
    }
    if (!ckpt_is_base(&c->manifest, &above->manifest)) {
        ckpt_free(c);
        return try_base(f, above);
    }
    ckpt_free(f->base);
    f->base = c;
    return check(f, c, f->base_folder);
}

bool restore_find_on_disk(struct restore_find *f, const struct disk_result *r)
{
    char why[256];

    if (r->tag >> 8 != f->serial || !f->is_active) {
        return false;
    }
    if ((r->tag & 0xff) == STEP_LIST) {
        return on_list(f, r);
    }
    if ((r->tag & 0xff) == STEP_MANIFEST) {
        return on_manifest(f, r);
    }
    if ((r->tag & 0xff) == STEP_BASE) {
        return on_base(f, r);
    }
    if (!f->is_checking || !restore_check_on_disk(&f->check, r)) {
        return false;
    }
    f->is_checking = false;
    if (f->check.status == PS_OK) {
        return go_down(f, f->check.c);
    }
    if (f->check.status != PS_EDATALOSS) {
        return cannot_read(f, f->check.status, f->check.e.text);
    }
    if (f->base != NULL) {
        snprintf(why, sizeof(why), "%s: %.180s", f->base_folder,
                 f->check.e.text);
        return is_damaged(f, why);
    }
    return is_damaged(f, f->check.e.text);
}
