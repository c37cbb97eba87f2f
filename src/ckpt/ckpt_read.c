/* ckpt_read.c - bytes of a checkpoint from a file system, each checked. */
#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"
#include "ckpt/ckpt_folder_impl.h"
#include "plan/plan.h"

void ckpt_folder_path(const char *folder, const char *file, char *out)
{
    int n = snprintf(out, CKPT_PATH_BYTES, "%s/%s", folder, file);

    ASSERT(n > 0 && n < CKPT_PATH_BYTES);
}

int ckpt_folder_read(struct fs *fs, const char *folder, const char *name,
                     uint64_t limit, struct buf *out, struct err *e)
{
    char path[CKPT_PATH_BYTES];
    int rc;

    ckpt_folder_path(folder, name, path);
    rc = fs->ops->read(fs, path, limit, out, e);
    return rc == PS_ENOTFOUND
               ? err_set(e, PS_EDATALOSS, "%s: it is missing", name)
               : rc;
}

int ckpt_reader_open(struct ckpt_reader *r, struct fs *fs, const char *folder,
                     const struct ckpt_file *file, struct err *e)
{
    char path[CKPT_PATH_BYTES];
    uint64_t size;
    int rc;

    *r = (struct ckpt_reader){.fs = fs, .file = file};
    ckpt_folder_path(folder, file->name, path);
    rc = fs->ops->open(fs, path, FS_READ, &r->open, e);
    if (rc != PS_OK) {
        r->open = NULL;
        return rc == PS_ENOTFOUND
                   ? err_set(e, PS_EDATALOSS, "%s: it is missing", file->name)
                   : rc;
    }
    rc = fs->ops->file_size(fs, r->open, &size, e);
    if (rc == PS_OK && size != file->size) {
        rc = err_set(e, PS_EDATALOSS,
                     "%s: it has %" PRIu64 " bytes, the index says %" PRIu64,
                     file->name, size, file->size);
    }
    if (rc != PS_OK) {
        ckpt_reader_close(r);
    }
    return rc;
}

void ckpt_reader_close(struct ckpt_reader *r)
{
    if (r->open != NULL) {
        (void)r->fs->ops->close(r->fs, r->open, NULL); /* it was only read */
        r->open = NULL;
    }
}

static int read_piece(struct ckpt_reader *r, uint64_t offset, size_t size,
                      struct buf *out, struct err *e)
{
    size_t got;
    void *data;
    int rc;

    buf_clear(out);
    data = buf_extend(out, size);
    if (data == NULL) {
        return err_set(e, PS_ENOMEM, "%s: out of memory", r->file->name);
    }
    rc = r->fs->ops->read_at(r->fs, r->open, offset, data, size, &got, e);
    if (rc == PS_OK && got != size) {
        rc = err_set(e, PS_EDATALOSS, "%s: it ends at byte %" PRIu64,
                     r->file->name, offset + got);
    }
    return rc;
}

int ckpt_reader_block(struct ckpt_reader *r, const struct ckpt_tensor *t,
                      uint32_t block, struct buf *out, struct err *e)
{
    struct ckpt_block b = ckpt_block(t, block);
    int rc = read_piece(r, b.offset, b.bytes, out, e);

    return rc == PS_OK ? ckpt_block_check(r->file, t, block, out->data, e) : rc;
}

int ckpt_reader_header(struct ckpt_reader *r, struct buf *out, struct err *e)
{
    int rc = read_piece(r, 0, r->file->header_bytes, out, e);

    return rc == PS_OK ? ckpt_header_check(r->file, out->data, e) : rc;
}

/* What the rows of a variable go through on their way out. */
struct rows_reading {
    const struct ckpt_source *source;
    uint32_t begin; /* buckets */
    uint32_t end;
    uint64_t row_begin; /* the same of a dense variable */
    uint64_t row_end;
    struct buf keys;
    struct buf values;
    struct buf slots[TABLE_SLOTS_MAX];
};

static bool is_wanted(const struct rows_reading *r, uint64_t key)
{
    uint32_t bucket = hash_bucket(hash_key(key));

    if (r->source->part->kind == PS_DENSE) {
        return key >= r->row_begin && key < r->row_end;
    }
    return bucket >= r->begin && bucket < r->end;
}

/* Moves a row to the front. */
static void move_row(struct buf *b, uint64_t from, uint64_t to, size_t bytes)
{
    if (b->size > 0) {
        memmove(b->data + to * bytes, b->data + from * bytes, bytes);
    }
}

/* Drops the rows of a block that are not wanted; how many are left. */
static uint64_t drop_rows(struct rows_reading *r, uint64_t n)
{
    size_t bytes = r->source->part->dim * sizeof(float);
    uint64_t left = 0;

    for (uint64_t i = 0; i < n; i++) {
        uint64_t key;

        memcpy(&key, r->keys.data + i * sizeof(key), sizeof(key));
        if (!is_wanted(r, key)) {
            continue;
        }
        if (left != i) {
            move_row(&r->keys, i, left, sizeof(key));
            move_row(&r->values, i, left, bytes);
            for (uint32_t k = 0; k < r->source->part->n_slots; k++) {
                move_row(&r->slots[k], i, left, bytes);
            }
        }
        left++;
    }
    return left;
}

/* Reads one block of each tensor. */
static int read_block(struct rows_reading *r, struct ckpt_reader *reader,
                      uint32_t block, uint64_t *n, struct err *e)
{
    const struct ckpt_source *s = r->source;
    const struct ckpt_tensor *t = s->keys != NULL ? s->keys : s->values;
    struct ckpt_block b = ckpt_block(t, block);
    int rc = PS_OK;

    *n = b.rows;
    buf_clear(&r->values);
    if (s->keys != NULL) {
        rc = ckpt_reader_block(reader, s->keys, block, &r->keys, e);
    } else {
        buf_clear(&r->keys);
        for (uint64_t i = 0; i < b.rows; i++) {
            uint64_t key = s->part->row_begin + b.first_row + i;

            (void)buf_append(&r->keys, &key, sizeof(key));
        }
        rc = r->keys.failed ? err_set(e, PS_ENOMEM, "out of memory") : PS_OK;
    }
    if (rc == PS_OK && s->values != NULL) {
        rc = ckpt_reader_block(reader, s->values, block, &r->values, e);
    }
    for (uint32_t i = 0; i < s->part->n_slots && rc == PS_OK; i++) {
        rc = ckpt_reader_block(reader, s->slots[i], block, &r->slots[i], e);
    }
    return rc;
}

static int read_source(struct rows_reading *r, struct ckpt_reader *reader,
                       ckpt_batch_fn *fn, void *context, struct err *e)
{
    const struct ckpt_source *s = r->source;
    struct ckpt_batch batch = {.part = s->part};

    for (uint32_t i = s->first_block; i < s->end_block; i++) {
        int rc = read_block(r, reader, i, &batch.n, e);

        if (rc != PS_OK) {
            return rc;
        }
        batch.n = drop_rows(r, batch.n);
        batch.keys = (const void *)r->keys.data;
        batch.values = s->values == NULL ? NULL : (const void *)r->values.data;
        for (uint32_t k = 0; k < s->part->n_slots; k++) {
            batch.slots[k] = (const void *)r->slots[k].data;
        }
        if (batch.n > 0 && !fn(context, &batch)) {
            return err_set(e, PS_ECANCELED, "stopped");
        }
    }
    return PS_OK;
}

int ckpt_read_rows(struct fs *fs, const char *folder, const struct ckpt *c,
                   uint32_t variable, uint32_t begin, uint32_t end,
                   ckpt_batch_fn *fn, void *context, struct err *e)
{
    const struct wire_variable *v = ckpt_variable_by_id(c, variable);
    struct rows_reading r = {.begin = begin, .end = end};
    struct ckpt_source *sources;
    struct arena arena;
    uint32_t n;
    int rc;

    if (v == NULL) {
        return err_set(e, PS_ENOTFOUND, "no variable has id %" PRIu32,
                       variable);
    }
    plan_dense_rows(v->rows, begin, end, &r.row_begin, &r.row_end);
    arena_init(&arena);
    rc = ckpt_sources(c, variable, begin, end, &arena, &sources, &n);
    if (rc != PS_OK) {
        (void)err_set(e, rc, "out of memory");
    }
    for (uint32_t i = 0; i < n && rc == PS_OK; i++) {
        struct ckpt_reader reader;

        r.source = &sources[i];
        rc = ckpt_reader_open(&reader, fs, folder, sources[i].file, e);
        if (rc == PS_OK) {
            rc = read_source(&r, &reader, fn, context, e);
            ckpt_reader_close(&reader);
        }
    }
    buf_fini(&r.keys);
    buf_fini(&r.values);
    for (size_t i = 0; i < TABLE_SLOTS_MAX; i++) {
        buf_fini(&r.slots[i]);
    }
    arena_fini(&arena);
    return rc;
}

int ckpt_read_state(struct fs *fs, const char *folder, const struct ckpt *c,
                    uint32_t i, struct arena *arena, struct buf *bytes,
                    struct ckpt_state *s, struct err *e)
{
    const struct ckpt_file *file = &c->indexes[i].files[1];
    struct ckpt_reader r;
    int rc = ckpt_reader_open(&r, fs, folder, file, e);

    if (rc != PS_OK) {
        return rc;
    }
    rc = read_piece(&r, 0, file->size, bytes, e);
    ckpt_reader_close(&r);
    return rc == PS_OK
               ? ckpt_state_decode(bytes->data, bytes->size, file, arena, s, e)
               : rc;
}
