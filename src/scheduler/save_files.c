/* What the scheduler writes of a checkpoint: the manifest, last of all, and the
 * folder's name. The shards' files are durable by then. A folder that has its
 * final name is whole; one of an unfinished save is removed: when it ends, once
 * more when all shards have left it, and by the next one that is done. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "scheduler/restore_past.h"
#include "scheduler/save.h"

static struct disk_request request_of(const struct scheduler *s,
                                      enum disk_op op, enum save_file_step step)
{
    return (struct disk_request){
        .op = op, .tag = s->save->disk_tag << 8 | (uint64_t)step};
}

void save_files_folder(const struct scheduler *s, char *out)
{
    uint64_t cut, term;
    bool is_new;

    out[0] = '\0';
    if (ckpt_folder_parse(s->save->folder, &cut, &term, &is_new)) {
        ckpt_saving_name(cut, term, s->cluster_high, s->cluster_low, out);
    }
}

static void path_of(char out[DISK_PATH_MAX + 1], const char *folder,
                    const char *file)
{
    snprintf(out, DISK_PATH_MAX + 1, "%s/%s", folder, file);
}

/* Fills in what the manifest says of lanes, parts and sessions. */
static int describe(struct scheduler *s, struct ckpt_manifest *m)
{
    const struct wire_plan *w = &s->plan->w;
    const struct save *v = s->save;
    struct arena *a = &s->arena;

    m->variables = arena_take(a, (w->n_variables + 1) * sizeof(*m->variables));
    m->parts = arena_take(a, (w->n_parts + 1) * sizeof(*m->parts));
    m->lanes = arena_take(a, (w->n_lanes + 1) * sizeof(*m->lanes));
    m->sessions = arena_take(a, (v->n_reporters + 1) * sizeof(*m->sessions));
    if (m->variables == NULL || m->parts == NULL || m->lanes == NULL ||
        m->sessions == NULL) {
        return PS_ENOMEM;
    }
    for (uint32_t i = 0; i < w->n_variables; i++) {
        m->variables[m->n_variables++] = w->variables[i];
    }
    for (uint32_t i = 0; i < w->n_parts; i++) {
        const struct wire_part *p = &w->parts[i];

        if (plan_variable(s->plan, p->variable)->no_save != 0) {
            continue;
        }
        m->parts[m->n_parts++] =
            (struct ckpt_place){p->variable, p->begin, p->end, p->lane};
    }
    for (uint32_t i = 0; i < w->n_lanes; i++) {
        const struct wire_shard *h = member_shard(s, w->lanes[i].lane);

        if (h == NULL) {
            return PS_ENOTREADY;
        }
        m->lanes[m->n_lanes++] = (struct ckpt_lane){
            h->lane, h->index_bytes, h->index_checksum, h->rows_done};
    }
    for (uint32_t i = 0; i < v->n_reporters; i++) {
        const struct save_reporter *r = &v->reporters[i];

        m->sessions[m->n_sessions++] = (struct ckpt_session){
            r->session,
            r->worker,
            {r->position.data, (uint32_t)r->position.size},
        };
    }
    return PS_OK;
}

static int compare_lanes(const void *a, const void *b)
{
    const struct ckpt_lane *x = a;
    const struct ckpt_lane *y = b;

    return x->lane < y->lane ? -1 : x->lane > y->lane;
}

/* unseen: without a look at the lanes' files. */
static int make_manifest(struct scheduler *s, bool unseen)
{
    struct save *v = s->save;
    struct ckpt_manifest m = {
        .format = CKPT_FORMAT,
        .cluster_high = s->cluster_high,
        .cluster_low = s->cluster_low,
        .cut = v->cut,
        .base = v->base,
        .plan = v->plan,
        .restore = s->plan->w.restore,
        .name = v->name,
        .time_ms = s->options.wall_ms != NULL ? s->options.wall_ms() : 0,
        .next_variable = s->plan->w.next_variable,
    };
    struct restore_past past;
    uint64_t cut;
    bool is_new;
    int rc;

    if (!ckpt_folder_parse(v->folder, &cut, &m.term, &is_new)) {
        return PS_EUNKNOWN;
    }
    restore_past_of(&s->plan->w, RESTORE_PAST_ALL, &past);
    m.gaps = past.gaps;
    m.n_gaps = past.n;
    arena_reset(&s->arena);
    rc = describe(s, &m);
    if (rc != PS_OK) {
        return rc;
    }
    for (uint32_t i = 0; i < m.n_lanes; i++) {
        m.next_lane = base_max_u64(m.next_lane, m.lanes[i].lane + 1);
    }
    for (uint32_t i = 0; i < s->plan->w.n_ended; i++) {
        m.next_lane = base_max_u64(m.next_lane, s->plan->w.ended[i].lane + 1);
    }
    m.next_session = v->next_session;
    qsort(m.lanes, m.n_lanes, sizeof(*m.lanes), compare_lanes);
    buf_clear(&v->manifest);
    rc = ckpt_manifest_encode(&m, &v->manifest);
    return rc != PS_OK ? rc
                       : save_check_begin(s, m.lanes, unseen ? 0 : m.n_lanes);
}

void save_files_write(struct scheduler *s, bool unseen)
{
    int rc;

    s->save->heard_us = scheduler_now(s);
    rc = make_manifest(s, unseen);
    if (rc != PS_OK) {
        save_files_done(s, rc, ps_status_text(rc));
    }
}

void save_files_put(struct scheduler *s)
{
    struct save *v = s->save;
    struct disk_request r = request_of(s, DISK_WRITE_WHOLE, SAVE_FILE_WRITE);
    char folder[CKPT_NAME_MAX + 1];

    save_files_folder(s, folder);
    path_of(r.path, folder, CKPT_MANIFEST);
    r.data = v->manifest.data;
    r.size = v->manifest.size;
    v->manifest_is_lent = true;
    s->disk->submit(s->disk, &r);
}

static void rename_folder(struct scheduler *s)
{
    struct disk_request r = request_of(s, DISK_RENAME, SAVE_FILE_RENAME);

    save_files_folder(s, r.path);
    snprintf(r.to, sizeof(r.to), "%s", s->save->folder);
    s->save->renaming = SAVE_RENAME_ASKED;
    s->disk->submit(s->disk, &r);
}

static void read_back(struct scheduler *s)
{
    struct disk_request r = request_of(s, DISK_READ_WHOLE, SAVE_FILE_READ);

    path_of(r.path, s->save->folder, CKPT_MANIFEST);
    r.size = s->save->manifest.size + 1;
    s->disk->submit(s->disk, &r);
}

static void remove_path(struct scheduler *s, const char *path)
{
    struct disk_request r = request_of(s, DISK_REMOVE, SAVE_FILE_REMOVE);

    snprintf(r.path, sizeof(r.path), "%s", path);
    s->disk->submit(s->disk, &r);
}

/* Nobody has said whether it was renamed: if not, another may have the name. */
static void look_whose(struct scheduler *s)
{
    struct disk_request r = request_of(s, DISK_READ_WHOLE, SAVE_FILE_WHOSE);
    struct save *v = s->save;

    memcpy(v->doubt.folder, v->folder, sizeof(v->doubt.folder));
    v->doubt.tag = r.tag;
    v->doubt.manifest_sum = hash_bytes(v->manifest.data, v->manifest.size);
    path_of(r.path, v->folder, CKPT_MANIFEST);
    r.size = v->manifest.size;
    s->disk->submit(s->disk, &r);
}

static void on_doubt(struct scheduler *s, const struct disk_result *r)
{
    const struct save_doubt *d = &s->save->doubt;

    if (r->status == PS_OK && hash_bytes(r->data, r->size) == d->manifest_sum) {
        remove_path(s, d->folder);
    }
}

void save_files_remove(struct scheduler *s)
{
    char folder[CKPT_NAME_MAX + 1];

    save_files_folder(s, folder);
    if (s->disk != NULL && folder[0] != '\0') {
        remove_path(s, folder);
    }
    if (s->disk != NULL && s->save->renaming == SAVE_RENAMED) {
        remove_path(s, s->save->folder);
    } else if (s->disk != NULL && s->save->renaming == SAVE_RENAME_ASKED) {
        look_whose(s);
    }
}

static void on_renamed(struct scheduler *s, const struct disk_result *r)
{
    if (r->status == PS_OK) {
        s->save->renaming = SAVE_RENAMED;
        read_back(s);
    } else if (r->status == PS_EEXIST) {
        s->save->renaming = SAVE_NOT_RENAMED;
        save_begin_again(s, true, "another checkpoint has its name");
    } else {
        save_files_done(s, r->status, r->why);
    }
}

static void on_read_back(struct scheduler *s, const struct disk_result *r)
{
    const struct buf *m = &s->save->manifest;

    if (r->size == m->size && memcmp(r->data, m->data, r->size) == 0) {
        save_files_done(s, PS_OK, "");
    } else {
        save_files_done(s, PS_EDATALOSS,
                        "the manifest reads back as something else");
    }
}

void save_on_disk(struct scheduler *s, const struct disk_result *r)
{
    struct save *v = s->save;
    bool is_ours = r->tag >> 8 == v->disk_tag;

    if ((r->tag & 0xff) == SAVE_FILE_WRITE) {
        v->manifest_is_lent = false;
    }
    if ((r->tag & 0xff) == SAVE_FILE_LIST ||
        (r->tag & 0xff) == SAVE_FILE_LEFT ||
        (r->tag & 0xff) == SAVE_FILE_PRUNE) {
        if (r->tag >> 8 == v->prune_tag && s->plan != NULL) {
            save_prune_on_disk(s, r);
        }
        return;
    }
    if (is_ours && ((r->tag & 0xff) == SAVE_FILE_ROOT ||
                    (r->tag & 0xff) == SAVE_FILE_BASE)) {
        save_base_on_disk(s, r);
        return;
    }
    if (r->tag == v->doubt.tag) {
        on_doubt(s, r);
        return;
    }
    if (!is_ours || v->phase != SAVE_PHASE_MANIFEST ||
        (r->tag & 0xff) == SAVE_FILE_REMOVE) {
        return;
    }
    v->heard_us = scheduler_now(s);
    if ((r->tag & 0xff) >= SAVE_FILE_INDEX) {
        save_check_on_disk(s, r);
        return;
    }
    if ((r->tag & 0xff) == SAVE_FILE_RENAME) {
        on_renamed(s, r);
        return;
    }
    if (r->status != PS_OK) {
        save_files_done(s, r->status, r->why);
    } else if ((r->tag & 0xff) == SAVE_FILE_WRITE) {
        rename_folder(s);
    } else if ((r->tag & 0xff) == SAVE_FILE_READ) {
        on_read_back(s, r);
    }
}
