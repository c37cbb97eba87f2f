/* What the root says before a cut is taken. The cut is above all that are
 * there: an import, or a cluster that was given this root by mistake, may have
 * put some. Then, whether it is an increment: of the last one, if that is done
 * and of this scheduler's own run, of the same restore, still there as it was
 * written, and fewer than full_every have come since a whole one. The lanes
 * have the last word: one that cannot say what has changed has the save begin
 * again as a whole one. */
#include <stdio.h>

#include "base/hash.h"
#include "base/probe.h"
#include "scheduler/save.h"

/* Refused twice under one plan, and nothing else will come of a third. */
enum { REFUSALS_MAX = 2 };

static bool wants_increment(const struct scheduler *s)
{
    const struct save *v = s->save;
    const struct save_last *l = &v->last;

    return s->options.full_every > 1 && !v->is_whole_wanted && l->cut != 0 &&
           l->n_increments + 1 < s->options.full_every &&
           l->restore == s->plan->w.restore &&
           (v->n_refused < REFUSALS_MAX || v->refused_plan != s->plan->w.plan);
}

void save_base_look(struct scheduler *s)
{
    struct save *v = s->save;
    struct disk_request r = {.op = DISK_LIST,
                             .tag = v->disk_tag << 8 | SAVE_FILE_ROOT};

    v->base = 0;
    v->root_cut = 0;
    v->base_is_asked = s->disk != NULL && s->plan != NULL;
    if (v->base_is_asked) {
        v->heard_us = scheduler_now(s);
        s->disk->submit(s->disk, &r);
    }
}

static void is_known(struct save *v, uint64_t now_us)
{
    v->base_is_asked = false;
    v->retry_us = now_us;
}

/* What cannot be listed says nothing: a name that is taken is found when the
 * folder is to get it. */
static void on_root(struct scheduler *s, const struct disk_result *r)
{
    struct save *v = s->save;
    struct disk_request read = {.op = DISK_READ_WHOLE,
                                .tag = v->disk_tag << 8 | SAVE_FILE_BASE,
                                .size = v->last.manifest_bytes + 1};
    const char *names = r->data;
    size_t n = r->status == PS_OK ? r->size : 0;

    for (size_t at = 0; at < n; at += strlen(names + at) + 1) {
        uint64_t cut, term;
        bool is_new;

        if (ckpt_folder_parse(names + at, &cut, &term, &is_new) &&
            cut < UINT64_MAX / 2) {
            v->root_cut = base_max_u64(v->root_cut, cut);
        }
    }
    if (!wants_increment(s)) {
        is_known(v, scheduler_now(s));
        return;
    }
    v->heard_us = scheduler_now(s);
    snprintf(read.path, sizeof(read.path), "%s/%s", v->last.folder,
             CKPT_MANIFEST);
    s->disk->submit(s->disk, &read);
}

void save_base_unknown(struct scheduler *s, const char *why)
{
    is_known(s->save, scheduler_now(s));
    log_write(LOG_WARNING, "the next checkpoint is a whole one: %s", why);
}

void save_base_on_disk(struct scheduler *s, const struct disk_result *r)
{
    struct save *v = s->save;

    if (!v->base_is_asked) {
        return;
    }
    if ((r->tag & 0xff) == SAVE_FILE_ROOT) {
        on_root(s, r);
    } else if (r->status == PS_OK && r->size == v->last.manifest_bytes &&
               hash_bytes(r->data, r->size) == v->last.manifest_sum) {
        is_known(v, scheduler_now(s));
        v->base = v->last.cut;
    } else {
        save_base_unknown(s, "the last one is not there as it was saved");
    }
}

void save_base_refused(struct scheduler *s)
{
    struct save *v = s->save;

    v->is_whole_wanted = true;
    v->n_refused = v->refused_plan == s->plan->w.plan ? v->n_refused + 1 : 1;
    v->refused_plan = s->plan->w.plan;
}

void save_base_done(struct scheduler *s)
{
    struct save *v = s->save;
    struct save_last *l = &v->last;

    l->n_increments = v->base != 0 ? l->n_increments + 1 : 0;
    v->n_refused = v->base != 0 ? 0 : v->n_refused;
    l->cut = v->cut;
    l->restore = s->plan->w.restore;
    l->manifest_bytes = v->manifest.size;
    l->manifest_sum = hash_bytes(v->manifest.data, v->manifest.size);
    memcpy(l->folder, v->folder, sizeof(l->folder));
}
