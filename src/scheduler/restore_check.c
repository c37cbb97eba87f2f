/* Every byte of a checkpoint against its checksum, over the disk seam: the
 * indexes first, because they say where all else is; then, lane by lane, the
 * header and the blocks of the rows, that nothing stands behind them, and the
 * state. One block is in memory at a time. */
#include <inttypes.h>
#include <stdio.h>

#include "ckpt/ckpt_state.h"
#include "scheduler/restore_find.h"

enum step {
    STEP_INDEX = RESTORE_TAG | 8,
    STEP_OPEN,
    STEP_HEADER,
    STEP_BLOCK,
    STEP_TAIL,
    STEP_CLOSE,
    STEP_STATE
};

static void submit(struct restore_check *k, enum step step,
                   struct disk_request *r)
{
    r->tag = k->serial << 8 | (uint64_t)step;
    r->file = k->serial;
    k->disk->submit(k->disk, r);
}

static void read_whole(struct restore_check *k, enum step step,
                       enum ckpt_file_kind kind, size_t limit)
{
    struct disk_request r = {.op = DISK_READ_WHOLE, .size = limit};
    char name[CKPT_NAME_MAX + 1];

    ckpt_file_name(k->c->manifest.lanes[k->lane].lane, kind, name);
    snprintf(r.path, sizeof(r.path), "%s/%s", k->folder, name);
    submit(k, step, &r);
}

static void read_at(struct restore_check *k, enum step step, uint64_t offset,
                    size_t size)
{
    struct disk_request r = {.op = DISK_READ, .offset = offset, .size = size};

    submit(k, step, &r);
}

static void close_file(struct restore_check *k)
{
    struct disk_request r = {.op = DISK_CLOSE};

    if (k->is_open) {
        k->is_open = false;
        submit(k, STEP_CLOSE, &r);
    }
}

static const struct ckpt_index *index_of(const struct restore_check *k)
{
    return &k->c->indexes[k->lane];
}

/* Of rows, or of what no server reads. */
static const struct ckpt_file *file_now(const struct restore_check *k)
{
    return &index_of(k)->files[k->file];
}

static bool end(struct restore_check *k, int status)
{
    close_file(k);
    k->status = status;
    return true;
}

void restore_check_stop(struct restore_check *k)
{
    (void)end(k, PS_ECANCELED);
}

static void open_file(struct restore_check *k, uint32_t file)
{
    struct disk_request r = {.op = DISK_OPEN};

    k->file = file;
    k->tensor = 0;
    k->block = 0;
    k->is_open = true; /* or will be: closing what is not does no harm */
    snprintf(r.path, sizeof(r.path), "%s/%s", k->folder, file_now(k)->name);
    submit(k, STEP_OPEN, &r);
}

/* The rows of the next lane; true where there is none. */
static bool open_rows(struct restore_check *k)
{
    if (k->lane == k->c->manifest.n_lanes) {
        return end(k, PS_OK);
    }
    open_file(k, 0);
    return false;
}

static bool read_index(struct restore_check *k)
{
    if (k->lane < k->c->manifest.n_lanes) {
        read_whole(k, STEP_INDEX, CKPT_FILE_INDEX, CKPT_JSON_MAX);
        return false;
    }
    for (uint32_t i = 0; i < k->c->manifest.n_lanes; i++) {
        const struct ckpt_index *x = &k->c->indexes[i];

        for (uint32_t n = 0; n < x->n_files; n++) {
            k->total += x->files[n].size;
        }
    }
    k->lane = 0;
    return open_rows(k);
}

void restore_check_begin(struct restore_check *k, struct disk *disk,
                         uint64_t serial, struct ckpt *c, const char *folder)
{
    memset(k, 0, sizeof(*k));
    k->disk = disk;
    k->serial = serial;
    k->c = c;
    k->folder = folder;
    ASSERT(c->manifest.n_lanes > 0);
    (void)read_index(k);
}

static bool fail(struct restore_check *k, const char *file, const char *why)
{
    return end(k, err_set(&k->e, PS_EDATALOSS, "%s: %s", file, why));
}

static bool on_index(struct restore_check *k, const struct disk_result *r)
{
    int rc = ckpt_add_index(k->c, k->lane, r->data, r->size, &k->e);

    if (rc != PS_OK) {
        return end(k, rc);
    }
    k->lane++;
    return read_index(k);
}

/* The next block, or what would stand behind the last one. */
static bool read_block(struct restore_check *k)
{
    const struct ckpt_file *file = file_now(k);
    struct ckpt_block b;

    while (k->tensor < file->n_tensors &&
           k->block == file->tensors[k->tensor].n_sums) {
        k->tensor++;
        k->block = 0;
    }
    if (k->tensor == file->n_tensors) {
        read_at(k, STEP_TAIL, file->size, 1);
        return false;
    }
    b = ckpt_block(&file->tensors[k->tensor], k->block);
    read_at(k, STEP_BLOCK, b.offset, b.bytes);
    return false;
}

static bool on_header(struct restore_check *k, const struct disk_result *r)
{
    const struct ckpt_file *file = file_now(k);
    int rc;

    if (r->size != file->header_bytes) {
        return fail(k, file->name, "it ends within its header");
    }
    rc = ckpt_header_check(file, r->data, &k->e);
    if (rc != PS_OK) {
        return end(k, rc);
    }
    k->done += r->size;
    return read_block(k);
}

static bool on_block(struct restore_check *k, const struct disk_result *r)
{
    const struct ckpt_file *file = file_now(k);
    const struct ckpt_tensor *t = &file->tensors[k->tensor];
    int rc;

    if (r->size != ckpt_block(t, k->block).bytes) {
        return fail(k, file->name, "it is too short");
    }
    rc = ckpt_block_check(file, t, k->block, r->data, &k->e);
    if (rc != PS_OK) {
        return end(k, rc);
    }
    k->done += r->size;
    k->block++;
    return read_block(k);
}

static bool on_tail(struct restore_check *k, const struct disk_result *r)
{
    const struct ckpt_index *x = index_of(k);

    if (r->size > 0) {
        return fail(k, file_now(k)->name, "it is too long");
    }
    close_file(k);
    if (k->file == 0 && x->n_files > 2) {
        open_file(k, 2);
    } else {
        k->file = 1;
        /* One more: a file that is too long is damage, not trouble. */
        read_whole(k, STEP_STATE, CKPT_FILE_STATE, x->files[1].size + 1);
    }
    return false;
}

static bool on_state(struct restore_check *k, const struct disk_result *r)
{
    const struct ckpt_file *file = &index_of(k)->files[1];
    struct ckpt_state state;
    struct arena arena;
    int rc;

    arena_init(&arena);
    rc = ckpt_state_decode(r->data, r->size, file, &arena, &state, &k->e);
    arena_fini(&arena);
    if (rc != PS_OK) {
        return end(k, rc);
    }
    k->done += r->size;
    k->lane++;
    return open_rows(k);
}

/* The file that a request was for, which could not be read. */
static const char *file_of(const struct restore_check *k, enum step step,
                           char name[CKPT_NAME_MAX + 1])
{
    if (step != STEP_INDEX) {
        return file_now(k)->name;
    }
    ckpt_file_name(k->c->manifest.lanes[k->lane].lane, CKPT_FILE_INDEX, name);
    return name;
}

bool restore_check_on_disk(struct restore_check *k, const struct disk_result *r)
{
    enum step step = (enum step)(r->tag & 0xff);
    char name[CKPT_NAME_MAX + 1];

    if (step == STEP_CLOSE) {
        return false;
    }
    if (r->status != PS_OK && r->status != PS_ENOTFOUND) {
        /* Nothing is said of the checkpoint by that. */
        return end(k, err_set(&k->e, r->status, "%s: %s",
                              file_of(k, step, name), r->why));
    }
    if (r->status != PS_OK) {
        return fail(k, file_of(k, step, name), "it is missing");
    }
    switch (step) {
    case STEP_INDEX:
        return on_index(k, r);
    case STEP_OPEN:
        read_at(k, STEP_HEADER, 0, file_now(k)->header_bytes);
        return false;
    case STEP_HEADER:
        return on_header(k, r);
    case STEP_BLOCK:
        return on_block(k, r);
    case STEP_TAIL:
        return on_tail(k, r);
    case STEP_STATE:
        return on_state(k, r);
    case STEP_CLOSE:
        break;
    }
    return false;
}
