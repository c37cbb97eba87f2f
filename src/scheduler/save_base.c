/* Whether the next checkpoint is an increment: of the last one, if that is done
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
    struct disk_request r = {.op = DISK_READ_WHOLE,
                             .tag = v->disk_tag << 8 | SAVE_FILE_BASE,
                             .size = v->last.manifest_bytes + 1};

    v->base = 0;
    v->base_is_asked = s->disk != NULL && s->plan != NULL && wants_increment(s);
    if (v->base_is_asked) {
        snprintf(r.path, sizeof(r.path), "%s/%s", v->last.folder,
                 CKPT_MANIFEST);
        s->disk->submit(s->disk, &r);
    }
}

void save_base_on_disk(struct scheduler *s, const struct disk_result *r)
{
    struct save *v = s->save;

    if (!v->base_is_asked) {
        return;
    }
    v->base_is_asked = false;
    v->retry_us = scheduler_now(s);
    if (r->status == PS_OK && r->size == v->last.manifest_bytes &&
        hash_bytes(r->data, r->size) == v->last.manifest_sum) {
        v->base = v->last.cut;
    } else {
        log_write(LOG_WARNING,
                  "%s is not there as it was saved: the next "
                  "checkpoint is a whole one",
                  v->last.folder);
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
