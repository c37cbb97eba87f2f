/* The manifests from the folder that is loaded to the whole checkpoint that it
 * builds on, newest first. A manifest names the cut of its base, not its
 * folder: of several folders of that cut the one of the largest term is taken,
 * which is what they were compacted to; those of other clusters are passed
 * over. */
#include "server/shard_load.h"

#include <stdio.h>

#include "base/mem.h"

int shard_loading_begin_chain(struct loading *v)
{
    v->links = mem_try_zero(sizeof(*v->links));
    if (v->links == NULL) {
        return PS_ENOMEM;
    }
    memcpy(v->links[0].folder, v->folder, sizeof(v->folder));
    v->n_links = 1;
    v->base_below = UINT64_MAX;
    shard_loading_read_whole(v, LOADING_STEP_MANIFEST, CKPT_MANIFEST,
                             CKPT_JSON_MAX);
    return PS_OK;
}

void shard_loading_free_chain(struct loading *v)
{
    for (uint32_t i = 0; i < v->n_links; i++) {
        ckpt_free(v->links[i].ckpt);
    }
    mem_free(v->links);
    v->links = NULL;
    v->n_links = 0;
}

static bool is_of_folder(const struct ckpt_manifest *m, const char *folder)
{
    struct ckpt_move move;
    uint64_t cut, term;
    bool is_new;

    if (ckpt_move_parse(folder, &move)) {
        return m->format == CKPT_FORMAT_MOVE && m->plan == move.number &&
               m->term == move.term;
    }
    return m->format == CKPT_FORMAT &&
           ckpt_folder_parse(folder, &cut, &term, &is_new) && m->cut == cut &&
           m->term == term;
}

static int on_manifest(struct loading *v, const struct disk_result *r,
                       struct err *e)
{
    struct loading_link *link = &v->links[v->link];
    struct disk_request list = {.op = DISK_LIST};
    const struct ckpt_manifest *m;
    int rc = ckpt_new(&link->ckpt, r->data, r->size, e);

    if (rc != PS_OK) {
        link->ckpt = NULL;
        return rc;
    }
    m = &link->ckpt->manifest;
    if (!is_of_folder(m, link->folder)) {
        return err_set(e, PS_EDATALOSS,
                       CKPT_MANIFEST ": it is another folder's");
    }
    if (v->link > 0 && !ckpt_is_base(m, &link[-1].ckpt->manifest)) {
        v->base_below = m->term;
        ckpt_free(link->ckpt);
        link->ckpt = NULL;
        v->n_links = v->link--;
    } else if (m->base == 0) {
        v->ckpt = link->ckpt;
        return 1;
    } else {
        v->base_below = UINT64_MAX;
    }
    shard_loading_submit(v, LOADING_STEP_LIST, &list);
    return 0;
}

static int on_list(struct loading *v, const struct disk_result *r,
                   struct err *e)
{
    uint64_t base = v->links[v->link].ckpt->manifest.base;
    const char *names = r->data;
    struct loading_link *more;
    uint64_t best = 0;
    bool is_there = false;

    for (size_t at = 0; at < r->size; at += strlen(names + at) + 1) {
        uint64_t cut, term;
        bool is_new;

        if (ckpt_folder_parse(names + at, &cut, &term, &is_new) && !is_new &&
            cut == base && term < v->base_below) {
            best = base_max_u64(best, term);
            is_there = true;
        }
    }
    if (!is_there) {
        return err_set(e, PS_ENOTFOUND,
                       "cut %llu, which it builds on, is not there",
                       (unsigned long long)base);
    }
    if (v->n_links == LOADING_CHAIN_MAX) {
        return err_set(e, PS_EDATALOSS, "its chain is too long");
    }
    more = mem_try_resize(v->links, (v->n_links + 1) * sizeof(*more));
    if (more == NULL) {
        return err_set(e, PS_ENOMEM, "out of memory");
    }
    v->links = more;
    v->link = v->n_links++;
    v->links[v->link].ckpt = NULL;
    ckpt_folder_name(base, best, false, v->links[v->link].folder);
    shard_loading_read_whole(v, LOADING_STEP_MANIFEST, CKPT_MANIFEST,
                             CKPT_JSON_MAX);
    return 0;
}

int shard_loading_on_chain(struct loading *v, const struct disk_result *r,
                           struct err *e)
{
    return (r->tag & 0xff) == LOADING_STEP_LIST ? on_list(v, r, e)
                                                : on_manifest(v, r, e);
}

bool shard_loading_next_link(struct loading *v)
{
    if (v->link == 0) {
        return false;
    }
    ckpt_free(v->links[v->link].ckpt);
    v->links[v->link].ckpt = NULL;
    v->link--;
    v->ckpt = v->links[v->link].ckpt;
    return true;
}

/* The rows of a part that was served elsewhere have their place, and so have
 * those that this server's same shard held before: parts that had moved to it
 * may have filled it beyond the limit. */
bool shard_loading_has_place(const struct loading *v,
                             const struct shard_part *p)
{
    const struct shard *s = v->shard;
    const struct ckpt_manifest *m = &v->links[0].ckpt->manifest;
    struct ckpt_move move;
    bool is_ours = v->brings_lanes;

    if (ckpt_move_parse(v->folder, &move)) {
        return true;
    }
    for (uint32_t i = 0; i < m->n_parts && is_ours; i++) {
        const struct ckpt_place *o = &m->parts[i];
        const struct wire_ended *e;

        if (o->variable == p->variable && o->begin < p->end &&
            p->begin < o->end) {
            e = plan_ended(s->plan, o->lane);
            is_ours = e != NULL && e->server == s->options.server &&
                      e->shard == s->options.shard;
        }
    }
    return is_ours;
}
