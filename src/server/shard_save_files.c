/* A lane's files, in this order: rows, as they come; then, when the record says
 * CLOSED and nothing of before the cut can come any more, the state; both
 * synced, both read back whole against the checksums; then the index. Only with
 * the index durable does the shard say DONE: the manifest builds on that. */
#include <stdio.h>

#include "base/mem.h"
#include "base/probe.h"
#include "server/shard_load.h"
#include "server/shard_log.h"
#include "server/shard_save.h"

PLANT_DECLARE(saved_before_sync);
PLANT_DECLARE(dedup_outside_checkpoint);
PLANT_DECLARE(windows_of_after_cut);
PLANT_DECLARE(save_not_read_back);

/* What a request is for, in the low bits of its tag, behind the blocks. */
enum step {
    STEP_CREATE = SAVING_BLOCKS,
    STEP_HEADER,
    STEP_STATE,
    STEP_SYNC,
    STEP_READ,
    STEP_INDEX,
    STEP_CLOSE
};

enum { FILE_ROWS, FILE_STATE };

static struct disk_request request_of(struct saving *v, enum disk_op op,
                                      enum step step, uint32_t file)
{
    struct disk_request r = {
        .op = op,
        .tag = v->serial << 16 | (uint64_t)step,
        .file = v->serial << 1 | file,
    };

    return r;
}

static void submit(struct saving *v, const struct disk_request *r)
{
    v->n_busy++;
    v->shard->disk->submit(v->shard->disk, r);
}

static void path_of(const struct saving *v, enum ckpt_file_kind kind,
                    char out[DISK_PATH_MAX + 1])
{
    char name[CKPT_NAME_MAX + 1];

    ckpt_file_name(v->index.lane, kind, name);
    snprintf(out, DISK_PATH_MAX + 1, "%s/%s", v->folder, name);
}

static void create(struct saving *v, uint32_t file)
{
    struct disk_request r = request_of(v, DISK_CREATE, STEP_CREATE, file);

    path_of(v, file == FILE_ROWS ? CKPT_FILE_ROWS : CKPT_FILE_STATE, r.path);
    submit(v, &r);
}

static void write_bytes(struct saving *v, enum step step, uint32_t file,
                        const struct buf *b)
{
    struct disk_request r = request_of(v, DISK_WRITE, step, file);

    r.data = b->data;
    r.size = b->size;
    submit(v, &r);
}

void shard_saving_open_rows(struct saving *v)
{
    create(v, FILE_ROWS);
    v->files_open = true;
    write_bytes(v, STEP_HEADER, FILE_ROWS, &v->header);
}

void shard_saving_close(struct saving *v)
{
    for (uint32_t file = FILE_ROWS; v->files_open && file <= FILE_STATE;
         file++) {
        struct disk_request r = request_of(v, DISK_CLOSE, STEP_CLOSE, file);

        submit(v, &r);
    }
    v->files_open = false;
}

/* ---- the state ---------------------------------------------------------- */

static void copy_window(const struct window *from, struct ckpt_window *to)
{
    to->session = from->session;
    to->next = from->next;
    to->floor = from->floor;
    to->refuse_below = from->refuse_below;
    to->has_ended = from->has_ended;
    memcpy(to->fate, from->fate, sizeof(to->fate));
    memcpy(to->canceled, from->canceled, sizeof(to->canceled));
}

int shard_saving_copy_windows(struct saving *v)
{
    const struct windows *ws = &v->shard->windows;
    struct ckpt_window *windows =
        arena_take(&v->arena, (ws->map.n + 1) * sizeof(*windows));
    struct ckpt_history *h = arena_take(&v->arena, sizeof(*h));
    const struct window *w;
    uint64_t n = 0;
    size_t i = 0;

    if (windows == NULL || h == NULL) {
        return PS_ENOMEM;
    }
    while ((w = map_next(&ws->map, &i)) != NULL &&
           !PLANT(dedup_outside_checkpoint)) {
        copy_window(w, &windows[n++]);
    }
    *h = (struct ckpt_history){
        .lane = v->index.lane,
        .end = LIMIT_BUCKETS,
        .forgotten = ws->forgotten,
        .n_windows = n,
        .windows = windows,
    };
    v->histories = h;
    return PS_OK;
}

/* The lane's windows, and those of former lanes that its parts carry: these
 * never change, and parts stay while a cut is open. */
static int list_histories(struct saving *v, struct ckpt_state *state)
{
    const struct shard *s = v->shard;
    struct ckpt_history *all;
    size_t n = 1;

    for (size_t i = 0; i < s->n_parts; i++) {
        const struct shard_history *h = s->parts[i].histories;

        for (; h != NULL; h = h->next) {
            n++;
        }
    }
    all = arena_take(&v->arena, n * sizeof(*all));
    if (all == NULL || n > UINT32_MAX) {
        return PS_ENOMEM;
    }
    all[0] = *v->histories;
    n = 1;
    for (size_t i = 0; i < s->n_parts; i++) {
        const struct shard_history *h = s->parts[i].histories;

        for (; h != NULL; h = h->next) {
            all[n++] = (struct ckpt_history){.lane = h->lane,
                                             .variable = s->parts[i].variable,
                                             .begin = h->begin,
                                             .end = h->end,
                                             .forgotten = h->forgotten,
                                             .n_windows = h->n,
                                             .windows = h->windows};
        }
    }
    state->histories = all;
    state->n_histories = (uint32_t)n;
    return PS_OK;
}

/* All chains that the shard knows: late frames name some of them. */
static int list_chains(struct saving *v, struct ckpt_state *state)
{
    const struct map *m = &v->shard->chains;
    struct ckpt_chain *chains =
        arena_take(&v->arena, (m->n + 1) * sizeof(*chains));
    const struct chain *c;
    size_t i = 0;

    if (chains == NULL) {
        return PS_ENOMEM;
    }
    while (v->n_lates > 0 && (c = map_next(m, &i)) != NULL) {
        chains[state->n_chains++] = (struct ckpt_chain){c->id, c->definition};
    }
    state->chains = chains;
    return PS_OK;
}

static int encode_state(struct saving *v)
{
    struct ckpt_state state = {.n_lates = v->n_lates};
    struct ckpt_late *lates =
        arena_take(&v->arena, ((size_t)v->n_lates + 1) * sizeof(*lates));
    char name[CKPT_NAME_MAX + 1];
    char *copy;
    int rc;

    ckpt_file_name(v->index.lane, CKPT_FILE_STATE, name);
    copy = arena_take(&v->arena, sizeof(name));
    rc = list_chains(v, &state);
    if (rc == PS_OK) {
        rc = list_histories(v, &state);
    }
    if (lates == NULL || copy == NULL || rc != PS_OK) {
        return PS_ENOMEM;
    }
    memcpy(copy, name, sizeof(name));
    for (uint32_t i = 0; i < v->n_lates; i++) {
        const struct saving_late *l = &v->lates[i];

        lates[i] =
            (struct ckpt_late){l->session, l->seq, l->cut, frame_body(l->frame),
                               l->frame->body_bytes};
    }
    state.lates = lates;
    return ckpt_state_encode(&state, copy, &v->arena, &v->index.files[1],
                             &v->state);
}

static void write_state(struct saving *v)
{
    int rc = PLANT(windows_of_after_cut) ? shard_saving_copy_windows(v) : PS_OK;

    if (rc == PS_OK) {
        rc = encode_state(v);
    }

    if (rc != PS_OK) {
        shard_saving_fail(v, ps_status_text(rc));
        return;
    }
    v->phase = SAVING_STATE;
    create(v, FILE_STATE);
    write_bytes(v, STEP_STATE, FILE_STATE, &v->state);
}

/* ---- reading back ------------------------------------------------------- */

/* Asks for the next piece that is to be checked; false: there is none. A
 * file's header counts as its tensor 0. */
static bool read_next(struct saving *v)
{
    while (v->check_file < 2) {
        const struct ckpt_file *file = &v->index.files[v->check_file];
        struct disk_request r =
            request_of(v, DISK_READ, STEP_READ, v->check_file);

        if (v->check_tensor == 0) {
            r.size = (size_t)file->header_bytes;
            submit(v, &r);
            return true;
        }
        if (v->check_tensor > file->n_tensors) {
            r.offset = file->size;
            r.size = 1; /* nothing: it ends here */
            submit(v, &r);
            return true;
        }
        if (v->check_block == file->tensors[v->check_tensor - 1].n_sums) {
            v->check_tensor++;
            v->check_block = 0;
        } else {
            struct ckpt_block b =
                ckpt_block(&file->tensors[v->check_tensor - 1], v->check_block);

            r.offset = b.offset;
            r.size = b.bytes;
            submit(v, &r);
            return true;
        }
    }
    return false;
}

static int check_read(struct saving *v, const struct disk_result *r,
                      struct err *e)
{
    const struct ckpt_file *file = &v->index.files[v->check_file];
    const struct ckpt_tensor *t;

    if (v->check_tensor == 0) {
        if (r->size != file->header_bytes) {
            return err_set(e, PS_EDATALOSS, "%s is short", file->name);
        }
        v->check_tensor = 1;
        return ckpt_header_check(file, r->data, e);
    }
    if (v->check_tensor > file->n_tensors) {
        v->check_file++;
        v->check_tensor = 0;
        v->check_block = 0;
        return r->size == 0
                   ? PS_OK
                   : err_set(e, PS_EDATALOSS, "%s is too long", file->name);
    }
    t = &file->tensors[v->check_tensor - 1];
    if (r->size != ckpt_block(t, v->check_block).bytes) {
        return err_set(e, PS_EDATALOSS, "%s is short", file->name);
    }
    v->check_block++;
    return ckpt_block_check(file, t, v->check_block - 1, r->data, e);
}

static void write_index(struct saving *v)
{
    struct disk_request r = request_of(v, DISK_WRITE_WHOLE, STEP_INDEX, 0);
    int rc;

    v->index.n_files = 2;
    rc = ckpt_index_encode(&v->index, &v->text);
    if (rc != PS_OK) {
        shard_saving_fail(v, ps_status_text(rc));
        return;
    }
    v->phase = SAVING_INDEX;
    shard_saving_close(v);
    path_of(v, CKPT_FILE_INDEX, r.path);
    r.data = v->text.data;
    r.size = v->text.size;
    submit(v, &r);
}

/* ---- one step after another --------------------------------------------- */

static bool rows_are_out(const struct saving *v)
{
    for (uint32_t i = 0; i < v->index.n_parts; i++) {
        if (!ckpt_rows_is_done(v->writers[i])) {
            return false;
        }
    }
    return v->n_busy == 0 && v->at == v->n_tables;
}

void shard_saving_go_on(struct saving *v)
{
    const struct save_order *o = &v->shard->save_order;

    if (v->phase == SAVING_ROWS && rows_are_out(v) && o->cut == v->cut &&
        o->state == SAVE_CLOSED && shard_log_has_cut(v->shard, v->cut)) {
        write_state(v);
    }
}

static void sync_files(struct saving *v)
{
    struct disk_request rows = request_of(v, DISK_SYNC, STEP_SYNC, FILE_ROWS);
    struct disk_request state = request_of(v, DISK_SYNC, STEP_SYNC, FILE_STATE);

    v->phase = SAVING_SYNC;
    if (PLANT(saved_before_sync)) {
        v->phase = SAVING_VERIFY;
        (void)read_next(v);
        return;
    }
    submit(v, &rows);
    submit(v, &state);
}

void shard_saving_on_disk(struct saving *v, const struct disk_result *r)
{
    struct err e;

    if (v->phase == SAVING_ROWS) {
        shard_saving_go_on(v); /* the file is there, its header is written */
    } else if (v->phase == SAVING_STATE && v->n_busy == 0) {
        sync_files(v);
    } else if (v->phase == SAVING_SYNC && v->n_busy == 0 &&
               PLANT(save_not_read_back)) {
        write_index(v);
    } else if (v->phase == SAVING_SYNC && v->n_busy == 0) {
        v->phase = SAVING_VERIFY;
        (void)read_next(v);
    } else if (v->phase == SAVING_VERIFY) {
        if (check_read(v, r, &e) != PS_OK) {
            PROBE(shard_save_read_back_wrong);
            shard_saving_fail(v, e.text);
        } else if (!read_next(v)) {
            write_index(v);
        }
    } else if (v->phase == SAVING_INDEX &&
               (r->tag & 0xffff) == (uint64_t)STEP_INDEX) {
        PROBE(shard_save_is_done);
        v->phase = SAVING_DONE;
        v->shard->owner->saved(v->shard->owner, v->shard->options.shard);
    }
}
