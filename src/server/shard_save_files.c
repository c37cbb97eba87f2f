/* A lane's files, in this order: rows, as they come; then, when the record says
 * CLOSED and nothing of before the cut can come any more, the state; both
 * synced, both read back whole against the checksums; then the index. Only with
 * the index durable does the shard say DONE: the manifest builds on that. */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/probe.h"
#include "server/shard_load.h"
#include "server/shard_log.h"
#include "server/shard_move.h"
#include "server/shard_save.h"

PLANT_DECLARE(saved_before_sync);
PLANT_DECLARE(save_not_read_back);

static struct disk_request request_of(struct saving *v, enum disk_op op,
                                      enum saving_step step, uint32_t file)
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
    struct disk_request r =
        request_of(v, DISK_CREATE, SAVING_STEP_CREATE, file);

    path_of(v, file == SAVING_FILE_ROWS ? CKPT_FILE_ROWS : CKPT_FILE_STATE,
            r.path);
    submit(v, &r);
}

void shard_saving_write(struct saving *v, enum saving_step step, uint32_t file,
                        uint64_t offset, const void *data, size_t size)
{
    struct disk_request r = request_of(v, DISK_WRITE, step, file);

    r.offset = offset;
    r.data = data;
    r.size = size;
    r.wants_sum = step != SAVING_STEP_HEADER;
    submit(v, &r);
}

void shard_saving_open_files(struct saving *v)
{
    create(v, SAVING_FILE_ROWS);
    create(v, SAVING_FILE_STATE);
    v->files_open = true;
    shard_saving_write(v, SAVING_STEP_HEADER, SAVING_FILE_ROWS, 0,
                       v->header.data, v->header.size);
}

void shard_saving_close(struct saving *v)
{
    for (uint32_t file = SAVING_FILE_ROWS;
         v->files_open && file <= SAVING_FILE_STATE; file++) {
        struct disk_request r =
            request_of(v, DISK_CLOSE, SAVING_STEP_CLOSE, file);

        submit(v, &r);
    }
    v->files_open = false;
}

/* ---- reading back ------------------------------------------------------- */

static void read_sum(struct saving *v, uint64_t offset, uint64_t size)
{
    struct disk_request r =
        request_of(v, DISK_SUM, SAVING_STEP_READ, v->check_file);

    r.offset = offset;
    r.size = (size_t)size;
    submit(v, &r);
}

/* Asks for the next piece that is to be checked; false: there is none. A
 * file's header counts as its tensor 0, what is behind its end as one more. */
static bool read_next(struct saving *v)
{
    while (v->check_file < 2) {
        const struct ckpt_file *file = &v->index.files[v->check_file];
        const struct ckpt_tensor *t;
        struct ckpt_block b;

        if (v->check_tensor == 0) {
            read_sum(v, 0, file->header_bytes);
            return true;
        }
        if (v->check_tensor > file->n_tensors) {
            read_sum(v, file->size, 1); /* nothing: it ends here */
            return true;
        }
        t = &file->tensors[v->check_tensor - 1];
        if (v->check_block < t->n_sums) {
            b = ckpt_block(t, v->check_block);
            read_sum(v, b.offset, b.bytes);
            return true;
        }
        v->check_tensor++;
        v->check_block = 0;
    }
    return false;
}

static int check_read(struct saving *v, const struct disk_sum *got,
                      struct err *e)
{
    const struct ckpt_file *file = &v->index.files[v->check_file];
    uint64_t offset = 0;
    struct disk_sum want = {file->header_bytes, file->header_sum};

    if (v->check_tensor > file->n_tensors) {
        v->check_file++;
        v->check_tensor = 0;
        return got->size == 0
                   ? PS_OK
                   : err_set(e, PS_EDATALOSS, "%s is too long", file->name);
    }
    if (v->check_tensor == 0) {
        v->check_tensor = 1;
        v->check_block = 0;
    } else {
        const struct ckpt_tensor *t = &file->tensors[v->check_tensor - 1];
        struct ckpt_block b = ckpt_block(t, v->check_block);

        offset = b.offset;
        want = (struct disk_sum){b.bytes, t->sums[v->check_block]};
        v->check_block++;
    }
    return got->size == want.size && got->sum == want.sum
               ? PS_OK
               : err_set(e, PS_EDATALOSS,
                         "%s: bytes %" PRIu64 " to %" PRIu64
                         " are not those that were written",
                         file->name, offset, offset + want.size - 1);
}

static int make_index(const void *context, struct buf *out)
{
    return ckpt_index_encode(context, out);
}

static void write_index(struct saving *v)
{
    struct disk_request r =
        request_of(v, DISK_WRITE_WHOLE, SAVING_STEP_INDEX, 0);

    v->index.n_files = 2;
    v->phase = SAVING_INDEX;
    shard_saving_close(v);
    path_of(v, CKPT_FILE_INDEX, r.path);
    r.make = make_index;
    r.context = &v->index;
    r.wants_sum = true;
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

    if (v->phase == SAVING_ROWS && rows_are_out(v) &&
        (v->move.number != 0 || (o->cut == v->cut && o->state == SAVE_CLOSED &&
                                 shard_log_has_cut(v->shard, v->cut)))) {
        shard_saving_begin_state(v);
    }
}

static void sync_files(struct saving *v)
{
    struct disk_request rows =
        request_of(v, DISK_SYNC, SAVING_STEP_SYNC, SAVING_FILE_ROWS);
    struct disk_request state =
        request_of(v, DISK_SYNC, SAVING_STEP_SYNC, SAVING_FILE_STATE);

    v->phase = SAVING_SYNC;
    if (PLANT(saved_before_sync)) {
        v->phase = SAVING_VERIFY;
        (void)read_next(v);
        return;
    }
    submit(v, &rows);
    submit(v, &state);
}

static void written(struct saving *v)
{
    if (PLANT(save_not_read_back)) {
        write_index(v);
        return;
    }
    v->phase = SAVING_VERIFY;
    (void)read_next(v);
}

static void read_back(struct saving *v, const struct disk_result *r)
{
    struct disk_sum got;
    struct err e;

    memcpy(&got, r->data, sizeof(got));
    if (check_read(v, &got, &e) != PS_OK) {
        PROBE(shard_save_read_back_wrong);
        shard_saving_fail(v, e.text);
    } else if (!read_next(v)) {
        write_index(v);
    }
}

static void index_written(struct saving *v, const struct disk_result *r)
{
    struct disk_sum sum;

    memcpy(&sum, r->data, sizeof(sum));
    v->index_bytes = sum.size;
    v->index_sum = sum.sum;
    if (v->move.number != 0) {
        v->phase = SAVING_PLACE;
        shard_move_place(v);
        return;
    }
    PROBE(shard_save_is_done);
    v->phase = SAVING_DONE;
    v->shard->owner->saved(v->shard->owner, v->shard->options.shard);
}

void shard_saving_on_disk(struct saving *v, const struct disk_result *r)
{
    enum saving_step step = (enum saving_step)(r->tag & 0xff);

    if (step == SAVING_STEP_LATE) {
        shard_saving_on_late(v, r);
    } else if (step == SAVING_STEP_STATE) {
        shard_saving_on_state(v, r);
    }
    if (v->phase == SAVING_ROWS) {
        shard_saving_go_on(v);
    } else if (v->phase == SAVING_STATE && v->state_is_made && v->n_busy == 0) {
        sync_files(v);
    } else if (v->phase == SAVING_SYNC && v->n_busy == 0) {
        written(v);
    } else if (v->phase == SAVING_VERIFY && step == SAVING_STEP_READ) {
        read_back(v, r);
    } else if (v->phase == SAVING_INDEX && step == SAVING_STEP_INDEX) {
        index_written(v, r);
    } else if (v->phase == SAVING_PLACE) {
        shard_move_on_placed(v, r);
    }
}
