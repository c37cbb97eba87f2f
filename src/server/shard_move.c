/* See shard_move.h. What is written is a checkpoint of one part: the loader of
 * checkpoints takes it, with the lane's windows as the part's frozen copy
 * (protocol 3.2). The lane goes on with its other parts, so its windows go on
 * too: what they get later does not touch the part that is held. */
#include "server/shard_move.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/probe.h"

PLANT_DECLARE(move_holds_nobody);
PLANT_DECLARE(move_without_windows);

/* A save is in the way: looked at again after this. */
enum { AGAIN_US = 10000 };
/* Pieces of rows, of up to CKPT_BLOCK_BYTES, between two syncs. */
enum { SYNC_STEPS = 64 };

/* What of this lane is to go, unless it has gone in another way. */
static const struct wire_moving *order_of(const struct shard *s,
                                          const struct plan *plan)
{
    for (uint32_t i = 0; plan != NULL && i < plan->w.n_moves; i++) {
        const struct wire_moving *m = &plan->w.moves[i];
        const struct wire_part *p = plan_part(plan, m->variable, m->begin);

        if (m->from == s->lane && p != NULL && p->lane == s->lane &&
            p->begin == m->begin && p->end == m->end && p->since < m->number) {
            return m;
        }
    }
    return NULL;
}

void shard_move_before_plan(struct shard *s, const struct plan *plan)
{
    const struct wire_moving *m = order_of(s, plan);

    if (s->moving != NULL &&
        (m == NULL || m->number != s->moving->move.number)) {
        shard_saving_let_go(s, &s->moving);
    }
}

bool shard_move_holds(const struct shard *s, const struct shard_part *p,
                      bool applies)
{
    const struct wire_moving *m = order_of(s, s->plan);

    if (m == NULL || p->variable != m->variable || p->begin != m->begin) {
        return false;
    }
    if (applies && !PLANT(move_holds_nobody)) {
        PROBE(shard_move_holds_frame);
        return true;
    }
    return !applies && s->moving != NULL && s->moving->phase == SAVING_DONE;
}

static int take(struct saving *v, const struct shard_part *p)
{
    struct ckpt_move name;
    int rc;

    if (p->table == NULL) {
        return PS_ENOUDF;
    }
    if (!ckpt_move_parse(v->folder, &name)) {
        return PS_EPROTOCOL;
    }
    v->index.term = name.term;
    rc = shard_saving_take_cut(v);
    if (rc == PS_OK && PLANT(move_without_windows)) {
        v->histories->n_windows = 0;
    }
    return rc;
}

void shard_move_begin(struct shard *s)
{
    const struct wire_moving *m = order_of(s, s->plan);
    const struct shard_part *p;
    struct saving *v;
    int rc;

    if (m == NULL || s->moving != NULL || s->disk == NULL) {
        return;
    }
    p = shard_part(s, m->variable, m->begin);
    if (p == NULL || p->is_loading || s->tidies ||
        (s->saving != NULL && s->saving->phase <= SAVING_DONE)) {
        s->move_us = s->net->now_us(s->net) + AGAIN_US;
        return;
    }
    v = shard_saving_new(s, s->cut, m->folder);
    if (v == NULL) {
        s->move_us = s->net->now_us(s->net) + AGAIN_US;
        return;
    }
    v->move = *m;
    v->move.folder = NULL; /* the plan's; it is in v */
    s->moving = v;
    s->move_us = 0;
    rc = s->no_place[0] != '\0' ? PS_EIO : take(v, p);
    if (rc == PS_OK) {
        PROBE(shard_move_begins);
        shard_saving_open_files(v);
    } else {
        shard_saving_fail(v, s->no_place[0] != '\0' ? s->no_place
                                                    : ps_status_text(rc));
    }
}

uint64_t shard_move_next(const struct shard *s)
{
    return s->moving == NULL && order_of(s, s->plan) != NULL ? s->move_us
                                                             : UINT64_MAX;
}

bool shard_move_is_written(const struct shard *s)
{
    return s->moving != NULL && s->moving->phase < SAVING_DONE;
}

void shard_move_report(const struct shard *s, struct shard_report *r)
{
    const struct saving *v = s->moving;

    if (v == NULL) {
        return;
    }
    r->moved = v->move.number;
    r->moved_state = v->phase == SAVING_DONE     ? SAVED_DONE
                     : v->phase == SAVING_FAILED ? SAVED_FAILED
                                                 : SAVED_WRITING;
    r->moved_rows = v->rows;
    r->moved_done = shard_saving_rows_done(v);
    r->moved_steps = v->steps;
    if (v->why[0] != '\0' && r->why[0] == '\0') {
        snprintf(r->why, sizeof(r->why), "%s", v->why);
    }
}

/* So that the last sync does not take long: nothing is done meanwhile, and who
 * stands still is given up (decision 13). */
void shard_move_sync(struct saving *v)
{
    struct disk_request r = {.op = DISK_SYNC,
                             .tag = v->serial << 16 | SAVING_STEP_SYNC,
                             .file = v->serial << 1 | SAVING_FILE_ROWS};

    if (v->move.number == 0 || v->phase != SAVING_ROWS ||
        v->steps % SYNC_STEPS != 0) {
        return;
    }
    v->n_busy++;
    v->shard->disk->submit(v->shard->disk, &r);
}

/* ---- the manifest -------------------------------------------------------- */

static int make_manifest(struct saving *v)
{
    const struct shard *s = v->shard;
    const struct wire_plan *w = &s->plan->w;
    struct wire_variable variable = *plan_variable(s->plan, v->move.variable);
    struct ckpt_place part = {v->move.variable, v->move.begin, v->move.end,
                              v->index.lane};
    struct ckpt_lane lane = {v->index.lane, v->index_bytes, v->index_sum,
                             v->rows};
    struct ckpt_manifest m = {
        .format = CKPT_FORMAT_MOVE,
        .cluster_high = w->cluster_high,
        .cluster_low = w->cluster_low,
        .cut = v->cut,
        .term = v->index.term,
        .plan = v->move.number,
        .restore = w->restore,
        .name = "",
        .next_session = s->next_session,
        .next_lane = v->index.lane + 1,
        .next_variable = w->next_variable,
        .n_variables = 1,
        .variables = &variable,
        .n_parts = 1,
        .parts = &part,
        .n_lanes = 1,
        .lanes = &lane,
    };

    variable.no_save = 0; /* it is here */
    buf_clear(&v->header);
    return ckpt_manifest_encode(&m, &v->header);
}

static void submit(struct saving *v, enum saving_step step,
                   struct disk_request *r, const char *file)
{
    r->tag = v->serial << 16 | (uint64_t)step;
    snprintf(r->path, sizeof(r->path), "%s/%s", v->folder, file);
    v->n_busy++;
    v->shard->disk->submit(v->shard->disk, r);
}

void shard_move_place(struct saving *v)
{
    struct disk_request put = {.op = DISK_WRITE_WHOLE};
    struct disk_request index = {.op = DISK_READ_WHOLE};
    struct disk_request manifest = {.op = DISK_READ_WHOLE};
    struct disk_request names = {.op = DISK_SYNC_DIR};
    char name[CKPT_NAME_MAX + 1];

    if (make_manifest(v) != PS_OK) {
        v->header.failed = false;
        shard_saving_fail(v, ps_status_text(PS_ENOMEM));
        return;
    }
    put.data = v->header.data;
    put.size = v->header.size;
    index.size = v->index_bytes + 1;
    manifest.size = v->header.size + 1;
    ckpt_file_name(v->index.lane, CKPT_FILE_INDEX, name);
    submit(v, SAVING_STEP_MANIFEST, &put, CKPT_MANIFEST);
    submit(v, SAVING_STEP_LOOK_INDEX, &index, name);
    submit(v, SAVING_STEP_LOOK_MANIFEST, &manifest, CKPT_MANIFEST);
    names.tag = v->serial << 16 | SAVING_STEP_NAMES;
    v->n_busy++;
    v->shard->disk->submit(v->shard->disk, &names);
}

void shard_move_on_placed(struct saving *v, const struct disk_result *r)
{
    enum saving_step step = (enum saving_step)(r->tag & 0xff);

    if ((step == SAVING_STEP_LOOK_INDEX &&
         (r->size != v->index_bytes ||
          hash_bytes(r->data, r->size) != v->index_sum)) ||
        (step == SAVING_STEP_LOOK_MANIFEST &&
         (r->size != v->header.size ||
          memcmp(r->data, v->header.data, r->size) != 0))) {
        shard_saving_fail(v, "what was written reads back as something else");
    } else if (step == SAVING_STEP_NAMES) {
        PROBE(shard_move_is_written);
        v->phase = SAVING_DONE;
        shard_saving_drop_tables(v, false);
        v->shard->owner->saved(v->shard->owner, v->shard->options.shard);
    }
}
