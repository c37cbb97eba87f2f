/* Blocks of rows from a checkpoint into tables. See shard_load.h. */
#include "server/shard_load.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/probe.h"

PLANT_DECLARE(load_not_checked);

/* Rows that one idle moment inserts: some 50 us. */
enum { STEP_ROWS = 512 };

/* The high bit of a tag: a load's; a save's is without. */
#define LOAD_TAG (UINT64_C(1) << 63)

enum step {
    STEP_MANIFEST = 1,
    STEP_INDEX,
    STEP_OPEN,
    STEP_READ,
    STEP_CLOSE,
    STEP_STATE
};

static void submit(struct loading *v, enum step step, struct disk_request *r)
{
    r->tag = LOAD_TAG | v->serial << 8 | (uint64_t)step;
    r->file = LOAD_TAG | v->serial;
    v->shard->disk->submit(v->shard->disk, r);
}

static void close_file(struct loading *v)
{
    struct disk_request r = {.op = DISK_CLOSE};

    if (v->is_open) {
        v->is_open = false;
        submit(v, STEP_CLOSE, &r);
    }
}

static void free_loading(struct loading *v)
{
    for (uint32_t i = 0; i < CKPT_PIECES_MAX; i++) {
        buf_fini(&v->pieces[i]);
    }
    ckpt_free(v->ckpt);
    arena_fini(&v->arena);
    mem_free(v);
}

void shard_load_abandon(struct shard *s)
{
    if (s->loading != NULL) {
        close_file(s->loading);
        free_loading(s->loading);
        s->loading = NULL;
    }
}

static void fail(struct loading *v, const char *why)
{
    struct shard *s = v->shard;

    close_file(v);
    v->phase = LOADING_FAILED;
    snprintf(v->why, sizeof(v->why), "%s: %.130s", v->folder, why);
    base_one_line(v->why);
    log_write(LOG_ERROR, "shard %u cannot load %s", s->options.shard, v->why);
    s->owner->saved(s->owner, s->options.shard);
}

static void path_of(const struct loading *v, const char *file,
                    char out[DISK_PATH_MAX + 1])
{
    snprintf(out, DISK_PATH_MAX + 1, "%s/%s", v->folder, file);
}

static void read_whole(struct loading *v, enum step step, const char *file,
                       size_t size)
{
    struct disk_request r = {.op = DISK_READ_WHOLE, .size = size};

    path_of(v, file, r.path);
    submit(v, step, &r);
}

/* ---- beginning ---------------------------------------------------------- */

static const struct wire_load *load_of(const struct shard *s,
                                       const struct shard_part *p)
{
    struct wire_part w = {.variable = p->variable, .since = p->since};

    return plan_load(s->plan, &w);
}

bool loading_is_of(const struct loading *v, const struct shard_part *p)
{
    const struct wire_load *l;

    if (!p->is_loading) {
        return false;
    }
    l = load_of(v->shard, p);
    return l != NULL && strcmp(l->folder, v->folder) == 0;
}

static void begin(struct shard *s, const struct wire_load *l)
{
    struct loading *v = mem_try_zero(sizeof(*v));

    if (v == NULL || strlen(l->folder) > CKPT_NAME_MAX) {
        mem_free(v);
        return; /* the next plan, or tick, tries again */
    }
    v->shard = s;
    v->serial = ++s->n_loadings;
    v->brings_lanes = l->brings_lanes != 0;
    memcpy(v->folder, l->folder, strlen(l->folder) + 1);
    arena_init(&v->arena);
    for (uint32_t i = 0; i < CKPT_PIECES_MAX; i++) {
        buf_init(&v->pieces[i]);
    }
    s->loading = v;
    log_write(LOG_INFO, "shard %u loads %s", s->options.shard, v->folder);
    read_whole(v, STEP_MANIFEST, CKPT_MANIFEST, CKPT_JSON_MAX);
}

/* The load of v is still what the plan wants of every part that it was for. */
static bool is_current(const struct loading *v)
{
    const struct shard *s = v->shard;
    size_t n = 0;

    for (size_t i = 0; i < s->n_parts; i++) {
        n += loading_is_of(v, &s->parts[i]);
    }
    return n > 0 && s->plan->w.plan == v->plan;
}

static void begin_next(struct shard *s)
{
    for (size_t i = 0; i < s->n_parts && s->loading == NULL; i++) {
        const struct wire_load *l;

        if (!s->parts[i].is_loading) {
            continue;
        }
        l = load_of(s, &s->parts[i]);
        if (l == NULL || s->disk == NULL) {
            s->parts[i].is_loading = false;
            continue;
        }
        begin(s, l);
        if (s->loading != NULL) {
            s->loading->plan = s->plan->w.plan;
        }
    }
}

void shard_load_on_plan(struct shard *s)
{
    if (s->loading != NULL && !is_current(s->loading)) {
        PROBE(shard_load_begins_again);
        /* Rows that are in already stay: loading them again is the same. */
        shard_load_abandon(s);
    }
    begin_next(s);
}

/* ---- rows --------------------------------------------------------------- */

const struct wire_variable *loading_source(const struct loading *v,
                                           const struct shard_part *p,
                                           const char **why)
{
    const struct shard *s = v->shard;
    const struct wire_variable *here = plan_variable(s->plan, p->variable);
    const struct wire_load *l = load_of(s, p);
    const struct wire_variable *there;

    *why = "the plan has no such variable";
    if (here == NULL || l == NULL) {
        return NULL;
    }
    there = ckpt_variable(v->ckpt, l->name[0] != '\0' ? l->name : here->name);
    if (there == NULL ||
        (v->brings_lanes && there->id != here->id && l->name[0] == '\0')) {
        /* Declared after the cut: it begins with initial values. */
        *why = v->brings_lanes && here->id >= v->ckpt->manifest.next_variable
                   ? NULL
                   : "a variable is not in it";
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

static uint32_t n_pieces(const struct loading *v)
{
    const struct table *t = v->shard->parts[v->part].table;

    return v->sources[v->source].values == NULL ? 1
                                                : 2 + table_spec(t)->n_slots;
}

/* Drops rows of the block that are not of the part; the others move up. */
static void keep_ours(struct loading *v)
{
    const struct ckpt_source *src = &v->sources[v->source];
    const struct shard_part *p = &v->shard->parts[v->part];
    const struct table_spec *spec = table_spec(p->table);
    uint64_t *keys = (uint64_t *)(void *)v->pieces[0].data;
    size_t n = v->pieces[1].size / ((size_t)spec->dim * sizeof(float));
    size_t row_bytes = (size_t)spec->dim * sizeof(float);

    v->n = 0;
    v->at = 0;
    if (src->keys == NULL) {
        v->n = n;
        return;
    }
    if (src->values == NULL) {
        n = v->pieces[0].size / sizeof(*keys);
    }
    for (size_t i = 0; i < n; i++) {
        bool is_ours;

        if (spec->kind == PS_DENSE) {
            is_ours = keys[i] >= spec->row_begin && keys[i] < spec->row_end;
        } else {
            uint32_t bucket = hash_bucket(hash_key(keys[i]));

            is_ours = bucket >= p->begin && bucket < p->end;
        }
        if (!is_ours) {
            continue;
        }
        if (v->n != i) {
            keys[v->n] = keys[i];
            for (uint32_t k = 1; k < n_pieces(v); k++) {
                memmove(v->pieces[k].data + v->n * row_bytes,
                        v->pieces[k].data + i * row_bytes, row_bytes);
            }
        }
        v->n++;
    }
}

/* Rows of a dense part: runs of rows that follow each other. */
static int insert_dense(struct loading *v, size_t n)
{
    const struct ckpt_source *src = &v->sources[v->source];
    struct table *t = v->shard->parts[v->part].table;
    const struct table_spec *spec = table_spec(t);
    const uint64_t *keys = (const uint64_t *)(const void *)v->pieces[0].data;
    const float *slots[TABLE_SLOTS_MAX];
    uint64_t first_row =
        src->part->row_begin + v->block * src->part->block_rows;

    for (size_t i = v->at, run; i < v->at + n; i += run) {
        uint64_t row = src->keys != NULL ? keys[i] : first_row + i;
        const float *values =
            (const float *)(const void *)v->pieces[1].data + i * spec->dim;
        int rc;

        run = 1;
        while (i + run < v->at + n &&
               (src->keys == NULL || keys[i + run] == row + run)) {
            run++;
        }
        if (row < spec->row_begin || row + run > spec->row_end) {
            run = 1; /* only without keys: part of the block is another's */
            if (row < spec->row_begin || row >= spec->row_end) {
                continue;
            }
        }
        for (uint32_t k = 0; k < spec->n_slots; k++) {
            slots[k] = (const float *)(const void *)v->pieces[2 + k].data +
                       i * spec->dim;
        }
        rc = table_load_range(t, row, run, values, slots);
        if (rc != PS_OK) {
            return rc;
        }
    }
    return PS_OK;
}

static int insert_some(struct loading *v)
{
    struct table *t = v->shard->parts[v->part].table;
    const struct table_spec *spec = table_spec(t);
    const uint64_t *keys = (const uint64_t *)(const void *)v->pieces[0].data;
    const float *values = (const float *)(const void *)v->pieces[1].data;
    const float *slots[TABLE_SLOTS_MAX];
    size_t n = base_min_u64(v->n - v->at, STEP_ROWS);
    int rc;

    if (v->sources[v->source].values == NULL) {
        rc = table_erase(t, keys + v->at, n);
    } else if (spec->kind == PS_DENSE) {
        rc = insert_dense(v, n);
    } else {
        for (uint32_t k = 0; k < spec->n_slots; k++) {
            slots[k] = (const float *)(const void *)v->pieces[2 + k].data +
                       v->at * spec->dim;
        }
        rc = table_load(t, keys + v->at, n, values + v->at * spec->dim, slots);
    }
    if (rc == PS_OK) {
        v->at += n;
    }
    return rc;
}

/* ---- one request after another ------------------------------------------ */

static void read_next(struct loading *v);

static void open_source(struct loading *v)
{
    struct disk_request r = {.op = DISK_OPEN};

    if (!has_all_slots(v)) {
        fail(v, "a variable has other slots there");
        return;
    }
    path_of(v, v->sources[v->source].file->name, r.path);
    v->is_open = true;
    v->block = v->sources[v->source].first_block;
    v->piece = 0;
    submit(v, STEP_OPEN, &r);
}

static void begin_part(struct loading *v)
{
    struct shard *s = v->shard;

    for (; v->part < s->n_parts; v->part++) {
        const struct shard_part *p = &s->parts[v->part];
        const struct wire_variable *w;
        const char *why;

        if (!loading_is_of(v, p)) {
            continue;
        }
        w = loading_source(v, p, &why);
        if (w == NULL && why == NULL) {
            PROBE(shard_load_variable_is_newer);
            continue;
        }
        if (w == NULL || p->table == NULL) {
            fail(v, w == NULL ? why : "its updater is not here");
            return;
        }
        arena_reset(&v->arena);
        if (ckpt_sources(v->ckpt, w->id, p->begin, p->end, &v->arena,
                         &v->sources, &v->n_sources) != PS_OK) {
            fail(v, "out of memory");
            return;
        }
        v->source = 0;
        if (v->n_sources > 0) {
            open_source(v);
            return;
        }
    }
    v->phase = LOADING_STATE;
    v->lane = 0;
    read_next(v);
}

static void next_source(struct loading *v)
{
    close_file(v);
    v->source++;
    if (v->source < v->n_sources) {
        open_source(v);
    } else {
        v->part++;
        begin_part(v);
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
    while (v->piece < n_pieces(v) && is_absent) {
        t = tensor_of(v, v->piece, &is_absent);
        v->piece += is_absent;
    }
    if (v->piece >= n_pieces(v)) {
        keep_ours(v);
        v->is_ready = true;
        return; /* shard_load_work inserts it */
    }
    b = ckpt_block(t, v->block);
    r.offset = b.offset;
    r.size = b.bytes;
    submit(v, STEP_READ, &r);
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
        fail(v, "a file is short");
        return;
    }
    if (!PLANT(load_not_checked) &&
        ckpt_block_check(src->file, t, v->block, r->data, &e) != PS_OK) {
        PROBE(shard_load_finds_damage);
        fail(v, e.text);
        return;
    }
    buf_clear(piece);
    if (buf_append(piece, r->data, r->size) != PS_OK) {
        fail(v, "out of memory");
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

        if (!loading_is_of(v, p)) {
            continue;
        }
        w = loading_source(v, p, &why);
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
        if (loading_is_of(v, &s->parts[i])) {
            s->parts[i].is_loading = false;
        }
    }
    PROBE(shard_load_is_done);
    log_write(LOG_INFO, "shard %u has loaded %s", s->options.shard, v->folder);
    s->loading = NULL;
    free_loading(v);
    begin_next(s);
    s->owner->saved(s->owner, s->options.shard);
}

/* The next whole file: an index, or a state. */
static void read_next(struct loading *v)
{
    enum ckpt_file_kind kind =
        v->phase == LOADING_INDEX ? CKPT_FILE_INDEX : CKPT_FILE_STATE;
    const struct ckpt_manifest *m = &v->ckpt->manifest;
    char name[CKPT_NAME_MAX + 1];

    while (v->lane < m->n_lanes && !is_needed(v, v->lane)) {
        v->lane++;
    }
    if (v->lane < m->n_lanes) {
        ckpt_file_name(m->lanes[v->lane].lane, kind, name);
        read_whole(v, v->phase == LOADING_INDEX ? STEP_INDEX : STEP_STATE, name,
                   SIZE_MAX / 2);
    } else if (v->phase == LOADING_INDEX) {
        v->phase = LOADING_ROWS;
        v->part = 0;
        begin_part(v);
    } else {
        finish(v);
    }
}

static void on_answer(struct loading *v, const struct disk_result *r)
{
    struct err e;
    int rc = PS_OK;

    e.text[0] = '\0';
    switch ((enum step)(r->tag & 0xff)) {
    case STEP_MANIFEST:
        rc = ckpt_new(&v->ckpt, r->data, r->size, &e);
        v->phase = LOADING_INDEX;
        break;
    case STEP_INDEX:
        rc = ckpt_add_index(v->ckpt, v->lane, r->data, r->size, &e);
        v->lane++;
        break;
    case STEP_STATE:
        rc = loading_take_state(v, r->data, r->size, &e);
        v->lane++;
        break;
    case STEP_OPEN:
        read_piece(v);
        return;
    case STEP_READ:
        on_piece(v, r);
        return;
    case STEP_CLOSE:
        return;
    }
    if (rc != PS_OK) {
        fail(v, e.text);
    } else {
        read_next(v);
    }
}

bool shard_load_on_disk(struct shard *s, const struct disk_result *r)
{
    struct loading *v = s->loading;

    if ((r->tag & LOAD_TAG) == 0) {
        return false;
    }
    if (v == NULL || (r->tag & ~LOAD_TAG) >> 8 != v->serial ||
        v->phase == LOADING_FAILED || (r->tag & 0xff) == STEP_CLOSE) {
        return true;
    }
    if (r->status != PS_OK) {
        fail(v, r->why);
    } else {
        on_answer(v, r);
    }
    return true;
}

bool shard_load_has_work(const struct shard *s)
{
    return s->loading != NULL && s->loading->is_ready &&
           s->loading->phase == LOADING_ROWS;
}

void shard_load_work(struct shard *s)
{
    struct loading *v = s->loading;
    int rc = PS_OK;

    if (!shard_load_has_work(s)) {
        return;
    }
    if (v->at < v->n) {
        rc = insert_some(v);
    }
    if (rc != PS_OK) {
        fail(v, rc == PS_ELIMIT ? "the rows do not fit into the memory limit"
                                : ps_status_text(rc));
        return;
    }
    if (v->at == v->n) {
        v->is_ready = false;
        v->block++;
        v->piece = 0;
        read_piece(v);
    }
}

void shard_load_report(const struct shard *s, struct shard_report *r)
{
    uint64_t first = UINT64_MAX;

    for (size_t i = 0; i < s->n_parts; i++) {
        if (s->parts[i].is_loading) {
            first = base_min_u64(first, s->parts[i].since);
        }
    }
    r->loaded = first == UINT64_MAX ? shard_plan_number(s) : first - 1;
    if (s->loading != NULL && s->loading->phase == LOADING_FAILED) {
        r->load_failed = true;
        snprintf(r->why, sizeof(r->why), "%s", s->loading->why);
    }
}
