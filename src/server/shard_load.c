/* Blocks of rows from a checkpoint into tables. See shard_load.h. */
#include "server/shard_load.h"
#include "server/shard_log.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/probe.h"

PLANT_DECLARE(load_not_checked);

/* Rows that one idle moment inserts, and bytes of them: some 50 us. */

/* The high bit of a tag: a load's; a save's is without. */
#define LOAD_TAG (UINT64_C(1) << 63)

void shard_loading_submit(struct loading *v, enum loading_step step,
                          struct disk_request *r)
{
    r->tag = LOAD_TAG | v->serial << 8 | (uint64_t)step;
    r->file = LOAD_TAG | v->serial;
    v->shard->disk->submit(v->shard->disk, r);
}

void shard_loading_close(struct loading *v)
{
    struct disk_request r = {.op = DISK_CLOSE};

    if (v->is_open) {
        v->is_open = false;
        shard_loading_submit(v, LOADING_STEP_CLOSE, &r);
    }
}

static void free_loading(struct loading *v)
{
    for (uint32_t i = 0; i < CKPT_PIECES_MAX; i++) {
        buf_fini(&v->pieces[i]);
        buf_fini(&v->picked[i]);
    }
    buf_fini(&v->state_file);
    shard_loading_free_chain(v);
    arena_fini(&v->arena);
    mem_free(v);
}

void shard_load_abandon(struct shard *s)
{
    if (s->loading != NULL) {
        shard_loading_close(s->loading);
        free_loading(s->loading);
        s->loading = NULL;
    }
}

static void path_of(const struct loading *v, const char *file,
                    char out[DISK_PATH_MAX + 1])
{
    snprintf(out, DISK_PATH_MAX + 1, "%s/%s", v->links[v->link].folder, file);
}

void shard_loading_read_whole(struct loading *v, enum loading_step step,
                              const char *file, uint64_t size)
{
    struct disk_request r = {.op = DISK_READ_WHOLE, .size = (size_t)size};

    path_of(v, file, r.path);
    shard_loading_submit(v, step, &r);
}

/* ---- beginning ---------------------------------------------------------- */

const struct wire_load *shard_loading_load_of(const struct shard *s,
                                              const struct shard_part *p)
{
    struct wire_part w = {.variable = p->variable, .since = p->since};

    return plan_load(s->plan, &w);
}

bool shard_loading_is_of(const struct loading *v, const struct shard_part *p)
{
    const struct wire_load *l;

    if (!p->is_loading || p->awaits_log) {
        return false;
    }
    l = shard_loading_load_of(v->shard, p);
    return l != NULL && strcmp(l->folder, v->folder) == 0;
}

static void begin(struct shard *s, const struct wire_load *l)
{
    struct loading *v = mem_try_zero(sizeof(*v));

    if (v == NULL || strlen(l->folder) > CKPT_NAME_MAX) {
        mem_free(v);
        s->load_again_us = s->net->now_us(s->net) + LOADING_AGAIN_US;
        return;
    }
    v->shard = s;
    v->serial = ++s->n_loadings;
    v->brings_lanes = l->brings_lanes != 0;
    memcpy(v->folder, l->folder, strlen(l->folder) + 1);
    arena_init(&v->arena);
    buf_init(&v->state_file);
    for (uint32_t i = 0; i < CKPT_PIECES_MAX; i++) {
        buf_init(&v->pieces[i]);
        buf_init(&v->picked[i]);
    }
    if (shard_loading_begin_chain(v) != PS_OK) {
        free_loading(v);
        s->load_again_us = s->net->now_us(s->net) + LOADING_AGAIN_US;
        return;
    }
    s->loading = v;
    log_write(LOG_INFO, "shard %u loads %s", s->options.shard, v->folder);
}

static void begin_next(struct shard *s)
{
    s->load_again_us = 0;
    for (size_t i = 0; i < s->n_parts && s->loading == NULL; i++) {
        const struct wire_load *l;

        if (!s->parts[i].is_loading || s->parts[i].awaits_log) {
            continue;
        }
        l = shard_loading_load_of(s, &s->parts[i]);
        if (l == NULL) {
            if (shard_log_rows_are_in(s, &s->parts[i], NULL, NULL) != PS_OK) {
                s->load_again_us = s->net->now_us(s->net) + LOADING_AGAIN_US;
            }
        } else if (s->disk != NULL) {
            begin(s, l);
        }
    }
    if (s->loading == NULL) {
        shard_log_read(s);
    }
}

void shard_load_on_plan(struct shard *s, const struct shard_part *old)
{
    struct loading *v = s->loading;

    if (v != NULL && v->phase == LOADING_ROWS) {
        /* Parts have come or gone: the same one may stand elsewhere. */
        const struct shard_part *p = shard_part(s, old->variable, old->begin);

        ASSERT(p != NULL);
        v->part = (size_t)(p - s->parts);
    }
    if (v == NULL) {
        begin_next(s);
    }
}

static void try_again(struct shard *s)
{
    if (s->loading != NULL) {
        if (!shard_loading_renew(s)) {
            s->load_again_us = s->net->now_us(s->net) + LOADING_AGAIN_US;
            return;
        }
        PROBE(shard_load_tries_again);
        shard_load_abandon(s);
    }
    begin_next(s);
}

/* ---- rows --------------------------------------------------------------- */

const struct wire_variable *shard_loading_source(const struct loading *v,
                                                 const struct shard_part *p,
                                                 const char **why)
{
    const struct shard *s = v->shard;
    const struct wire_variable *here = plan_variable(s->plan, p->variable);
    const struct wire_load *l = shard_loading_load_of(s, p);
    const struct wire_variable *there;
    const struct ckpt_manifest *m;

    *why = "the plan has no such variable";
    if (here == NULL || l == NULL) {
        return NULL;
    }
    m = &v->links[0].ckpt->manifest;
    there = ckpt_variable(v->links[0].ckpt,
                          l->name[0] != '\0' ? l->name : here->name);
    if (there == NULL ||
        (v->brings_lanes && there->id != here->id && l->name[0] == '\0')) {
        /* Declared after the cut: it begins with initial values. */
        *why = v->brings_lanes && here->id >= m->next_variable
                   ? NULL
                   : "a variable is not in it";
        return NULL;
    }
    if (there->no_save != 0) {
        *why = NULL; /* it was left out: the same */
        return NULL;
    }
    *why = "a variable is there of another kind or shape";
    return there->kind == here->kind && there->dim == here->dim &&
                   (here->kind != PS_DENSE || there->rows == here->rows)
               ? there
               : NULL;
}

/* Which slot of the file is slot k of the table; n_slots: none. */
static uint32_t slot_in_file(const struct ckpt_part *p, const char *name)
{
    uint32_t i = 0;

    while (i < p->n_slots && strcmp(p->slots[i], name) != 0) {
        i++;
    }
    return i;
}

/* The tensor of piece i of a block: keys, values, slots as the table has them;
 * NULL behind the last, or with *is_absent. */
static const struct ckpt_tensor *tensor_of(const struct loading *v,
                                           uint32_t piece, bool *is_absent)
{
    const struct ckpt_source *src = &v->sources[v->source];
    const struct table_spec *spec = table_spec(v->shard->parts[v->part].table);
    uint32_t k;

    *is_absent = false;
    if (piece == 0) {
        *is_absent = src->keys == NULL;
        return src->keys;
    }
    if (piece == 1) {
        return src->values;
    }
    if (piece - 2 >= spec->n_slots || src->values == NULL) {
        return NULL;
    }
    k = slot_in_file(src->part, spec->slot_names[piece - 2]);
    return k < src->part->n_slots ? src->slots[k] : NULL;
}

static bool has_all_slots(const struct loading *v)
{
    const struct ckpt_source *src = &v->sources[v->source];
    const struct table_spec *spec = table_spec(v->shard->parts[v->part].table);

    for (uint32_t i = 0; i < spec->n_slots && src->values != NULL; i++) {
        if (slot_in_file(src->part, spec->slot_names[i]) ==
            src->part->n_slots) {
            return false;
        }
    }
    return true;
}

/* ---- one request after another ------------------------------------------ */

static void go_on(struct loading *v);

static void open_source(struct loading *v)
{
    struct disk_request r = {.op = DISK_OPEN};

    if (!has_all_slots(v)) {
        shard_loading_fail(v, PS_ENOTREADY, "a variable has other slots there");
        return;
    }
    path_of(v, v->sources[v->source].file->name, r.path);
    v->is_open = true;
    v->block = v->sources[v->source].first_block;
    v->piece = 0;
    shard_loading_submit(v, LOADING_STEP_OPEN, &r);
}

/* The rows of the next part of this link; false: there is none. */
static bool begin_part(struct loading *v)
{
    struct shard *s = v->shard;

    for (; v->part < s->n_parts; v->part++) {
        const struct shard_part *p = &s->parts[v->part];
        const struct wire_variable *w;
        const struct wire_variable *then;
        const char *why;

        if (!shard_loading_is_of(v, p)) {
            continue;
        }
        w = shard_loading_source(v, p, &why);
        if (w == NULL && why == NULL) {
            continue;
        }
        if (w == NULL || p->table == NULL) {
            shard_loading_fail(v, w == NULL ? PS_EDATALOSS : PS_ENOTREADY,
                               w == NULL ? why : "its updater is not here");
            return true;
        }
        then = ckpt_variable_by_id(v->ckpt, w->id);
        if (then == NULL) {
            continue; /* declared after this link of the chain */
        }
        if (then->kind != w->kind || then->dim != w->dim ||
            then->rows != w->rows) {
            shard_loading_fail(
                v, PS_EDATALOSS,
                "what it builds on has another variable of this number");
            return true;
        }
        arena_reset(&v->arena);
        if (ckpt_sources(v->ckpt, w->id, p->begin, p->end, &v->arena,
                         &v->sources, &v->n_sources) != PS_OK) {
            shard_loading_fail(v, PS_ENOMEM, "out of memory");
            return true;
        }
        v->source = 0;
        if (v->n_sources > 0) {
            shard_loading_expect(v);
            v->has_place = shard_loading_has_place(v, p);
            open_source(v);
            return true;
        }
    }
    return false;
}

static void next_source(struct loading *v)
{
    shard_loading_close(v);
    v->source++;
    if (v->source < v->n_sources) {
        open_source(v);
    } else {
        v->part++;
        go_on(v);
    }
}

/* The next piece of the block, or the block is here. */
static void read_piece(struct loading *v)
{
    const struct ckpt_source *src = &v->sources[v->source];
    struct disk_request r = {.op = DISK_READ};
    const struct ckpt_tensor *t = NULL;
    struct ckpt_block b;
    bool is_absent = true;

    if (v->block >= src->end_block) {
        next_source(v);
        return;
    }
    while (v->piece < shard_loading_pieces(v) && is_absent) {
        t = tensor_of(v, v->piece, &is_absent);
        v->piece += is_absent;
    }
    if (v->piece >= shard_loading_pieces(v)) {
        t = src->keys != NULL ? src->keys : src->values;
        v->n = (size_t)ckpt_block(t, v->block).rows;
        v->n_in = 0;
        v->is_ready = true;
        return; /* shard_load_work inserts it */
    }
    b = ckpt_block(t, v->block);
    r.offset = b.offset;
    r.size = b.bytes;
    shard_loading_submit(v, LOADING_STEP_READ, &r);
}

static void on_piece(struct loading *v, const struct disk_result *r)
{
    const struct ckpt_source *src = &v->sources[v->source];
    struct buf *piece = &v->pieces[v->piece];
    const struct ckpt_tensor *t;
    bool is_absent;
    struct err e;

    t = tensor_of(v, v->piece, &is_absent);
    ASSERT(t != NULL);
    if (r->size != ckpt_block(t, v->block).bytes) {
        shard_loading_fail(v, PS_EDATALOSS, "a file is short");
        return;
    }
    if (!PLANT(load_not_checked) &&
        ckpt_block_check(src->file, t, v->block, r->data, &e) != PS_OK) {
        PROBE(shard_load_finds_damage);
        shard_loading_fail(v, PS_EDATALOSS, e.text);
        return;
    }
    buf_clear(piece);
    if (buf_append(piece, r->data, r->size) != PS_OK) {
        shard_loading_fail(v, PS_ENOMEM, "out of memory");
        return;
    }
    v->piece++;
    read_piece(v);
}

/* Whether lane i of the manifest has something for the parts of this load. */
static bool is_needed(const struct loading *v, uint32_t i)
{
    const struct shard *s = v->shard;

    for (size_t k = 0; k < s->n_parts; k++) {
        const struct shard_part *p = &s->parts[k];
        const struct wire_variable *w;
        const char *why;

        if (!shard_loading_is_of(v, p)) {
            continue;
        }
        w = shard_loading_source(v, p, &why);
        if (w != NULL && ckpt_needs(v->ckpt, i, w->id, p->begin, p->end)) {
            return true;
        }
    }
    return false;
}

static void finish(struct loading *v)
{
    struct shard *s = v->shard;

    for (size_t i = 0; i < s->n_parts; i++) {
        struct shard_part *p = &s->parts[i];

        if (shard_loading_is_of(v, p) &&
            shard_log_rows_are_in(s, p, shard_loading_load_of(s, p),
                                  &v->links[0].ckpt->manifest) != PS_OK) {
            shard_loading_fail(v, PS_ENOMEM, "out of memory");
            return;
        }
    }
    PROBE(shard_load_is_done);
    log_write(LOG_INFO, "shard %u has loaded %s", s->options.shard, v->folder);
    s->loading = NULL;
    free_loading(v);
    s->load_pause_us = 0;
    s->load_failed = LOAD_GOES_ON;
    s->load_why[0] = '\0';
    s->load_bad_sum = 0;
    begin_next(s);
    s->owner->saved(s->owner, s->options.shard);
}

/* The next whole file, an index or a state; false: there is none. */
static bool read_next(struct loading *v)
{
    const struct ckpt_manifest *m = &v->ckpt->manifest;
    char name[CKPT_NAME_MAX + 1];

    while (v->lane < m->n_lanes && !is_needed(v, v->lane)) {
        v->lane++;
    }
    if (v->lane == m->n_lanes) {
        return false;
    }
    if (v->phase == LOADING_INDEX) {
        ckpt_file_name(m->lanes[v->lane].lane, CKPT_FILE_INDEX, name);
        shard_loading_read_whole(v, LOADING_STEP_INDEX, name,
                                 m->lanes[v->lane].index_bytes);
    } else {
        ckpt_file_name(m->lanes[v->lane].lane, CKPT_FILE_STATE, name);
        shard_loading_read_whole(v, LOADING_STEP_STATE, name,
                                 v->ckpt->indexes[v->lane].files[1].size);
    }
    return true;
}

/* From one phase to the next, until something is asked of the disk. */
static void go_on(struct loading *v)
{
    bool waits = false;

    while (!waits) {
        if (v->phase == LOADING_INDEX) {
            waits = read_next(v);
            if (!waits) {
                v->phase = LOADING_ROWS;
                v->part = 0;
            }
        } else if (v->phase == LOADING_ROWS) {
            waits = begin_part(v);
            if (!waits) {
                v->lane = 0;
                v->phase =
                    shard_loading_next_link(v) ? LOADING_INDEX : LOADING_STATE;
            }
        } else {
            waits = read_next(v);
            if (!waits) {
                finish(v);
                waits = true;
            }
        }
    }
}

static int on_chain(struct loading *v, const struct disk_result *r,
                    struct err *e)
{
    int rc = shard_loading_on_chain(v, r, e);

    if (rc == 1) {
        v->phase = LOADING_INDEX;
        v->lane = 0;
    }
    return rc < 0 ? rc : PS_OK;
}

static void on_answer(struct loading *v, const struct disk_result *r)
{
    struct err e;
    int rc = PS_OK;

    e.text[0] = '\0';
    switch ((enum loading_step)(r->tag & 0xff)) {
    case LOADING_STEP_MANIFEST:
    case LOADING_STEP_LIST:
        rc = on_chain(v, r, &e);
        break;
    case LOADING_STEP_INDEX:
        rc = ckpt_add_index(v->ckpt, v->lane, r->data, r->size, &e);
        v->lane++;
        break;
    case LOADING_STEP_STATE:
        rc = shard_loading_take_state(v, r);
        if (rc != PS_OK) {
            break;
        }
        return; /* shard_load_work goes through it */
    case LOADING_STEP_OPEN:
        read_piece(v);
        return;
    case LOADING_STEP_READ:
        on_piece(v, r);
        return;
    case LOADING_STEP_CLOSE:
        return;
    }
    if (rc != PS_OK) {
        shard_loading_fail(v, rc, e.text);
    } else if (v->phase != LOADING_MANIFEST) {
        go_on(v);
    }
}

bool shard_load_on_disk(struct shard *s, const struct disk_result *r)
{
    struct loading *v = s->loading;

    if ((r->tag & LOAD_TAG) == 0) {
        return false;
    }
    if (v == NULL || (r->tag & ~LOAD_TAG) >> 8 != v->serial ||
        v->phase == LOADING_FAILED || v->phase == LOADING_WAITING ||
        (r->tag & 0xff) == LOADING_STEP_CLOSE) {
        return true;
    }
    if (r->status != PS_OK) {
        shard_loading_fail(v, r->status, r->why);
    } else {
        on_answer(v, r);
    }
    return true;
}

bool shard_load_has_work(const struct shard *s)
{
    const struct loading *v = s->loading;

    return v != NULL && ((v->phase == LOADING_ROWS && v->is_ready) ||
                         (v->phase == LOADING_STATE && v->has_state));
}

uint64_t shard_load_next(const struct shard *s)
{
    return shard_load_has_work(s)  ? 0
           : s->load_again_us != 0 ? s->load_again_us
                                   : UINT64_MAX;
}

static void state_work(struct loading *v)
{
    struct err e;
    int rc;

    e.text[0] = '\0';
    rc = shard_loading_state_work(v, &e);
    if (rc < 0) {
        shard_loading_fail(v, rc, e.text);
    } else if (rc == 1) {
        v->lane++;
        go_on(v);
    }
}

void shard_load_work(struct shard *s)
{
    struct loading *v;
    int rc = PS_OK;

    if (s->load_again_us != 0 && s->net->now_us(s->net) >= s->load_again_us) {
        try_again(s);
    }
    if (!shard_load_has_work(s)) {
        return;
    }
    v = s->loading;
    if (v->phase == LOADING_STATE) {
        state_work(v);
        return;
    }
    if (v->n_in < v->n) {
        uint64_t limit = s->budget.limit;

        s->budget.limit = v->has_place ? 0 : limit;
        rc = shard_loading_insert(v);
        s->budget.limit = limit;
    }
    if (rc != PS_OK) {
        shard_loading_fail(v, rc,
                           rc == PS_ELIMIT
                               ? "the rows do not fit into the memory limit"
                               : ps_status_text(rc));
        return;
    }
    if (v->n_in == v->n) {
        v->is_ready = false;
        v->block++;
        v->piece = 0;
        read_piece(v);
    }
}

void shard_load_report(const struct shard *s, struct shard_report *r)
{
    r->loaded = shard_plan_number(s);
    r->loaded_unlogged = r->loaded;
    for (size_t i = 0; i < s->n_parts; i++) {
        const struct shard_part *p = &s->parts[i];
        bool is_logged = p->durability != PS_MEMORY;

        if (p->is_loading ||
            (p->table == NULL &&
             (is_logged || shard_loading_load_of(s, p) != NULL))) {
            r->loaded = base_min_u64(r->loaded, p->since - 1);
            r->loaded_unlogged =
                is_logged ? r->loaded_unlogged
                          : base_min_u64(r->loaded_unlogged, p->since - 1);
        }
    }
    r->load_failed = s->load_failed;
    if (s->load_why[0] != '\0') {
        snprintf(r->why, sizeof(r->why), "%s", s->load_why);
    }
    shard_log_report(s, r);
}
