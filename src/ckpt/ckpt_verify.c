/* ckpt_verify.c - every byte of a checkpoint against its checksum. */
#include "ckpt/ckpt_folder_impl.h"

struct verifying {
    struct fs *fs;
    const char *folder;
    const struct ckpt_progress *progress;
    struct buf bytes;
    uint64_t done;
    uint64_t total;
    struct err *e;
};

static int advance(struct verifying *v, uint64_t bytes)
{
    v->done += bytes;
    if (v->progress != NULL &&
        !v->progress->fn(v->progress->context, v->done, v->total)) {
        return err_set(v->e, PS_ECANCELED, "stopped");
    }
    return PS_OK;
}

static int verify_file(struct verifying *v, const struct ckpt_file *file)
{
    struct ckpt_reader r;
    int rc = ckpt_reader_open(&r, v->fs, v->folder, file, v->e);

    if (rc != PS_OK) {
        return rc;
    }
    rc = ckpt_reader_header(&r, &v->bytes, v->e);
    if (rc == PS_OK) {
        rc = advance(v, file->header_bytes);
    }
    for (uint32_t i = 0; i < file->n_tensors && rc == PS_OK; i++) {
        const struct ckpt_tensor *t = &file->tensors[i];

        for (uint32_t k = 0; k < t->n_sums && rc == PS_OK; k++) {
            rc = ckpt_reader_block(&r, t, k, &v->bytes, v->e);
            if (rc == PS_OK) {
                rc = advance(v, ckpt_block(t, k).bytes);
            }
        }
    }
    ckpt_reader_close(&r);
    return rc;
}

/* Windows and late frames can be taken apart too. */
static int verify_state(struct verifying *v, const struct ckpt *c, uint32_t i)
{
    struct ckpt_state state;
    struct arena arena;
    int rc;

    arena_init(&arena);
    rc = ckpt_read_state(v->fs, v->folder, c, i, &arena, &v->bytes, &state,
                         v->e);
    if (rc == PS_OK) {
        rc = advance(v, c->indexes[i].files[1].size);
    }
    arena_fini(&arena);
    return rc;
}

/* The indexes that c was made of are bytes of the past: once more. */
static int verify_indexes(struct verifying *v)
{
    struct ckpt *again;
    int rc = ckpt_open(v->fs, v->folder, &again, v->e);

    ckpt_free(again);
    return rc;
}

int ckpt_verify(struct fs *fs, const char *folder, const struct ckpt *c,
                const struct ckpt_progress *progress, struct err *e)
{
    struct verifying v = {
        .fs = fs, .folder = folder, .progress = progress, .e = e};
    int rc;

    for (uint32_t i = 0; i < c->manifest.n_lanes; i++) {
        for (uint32_t k = 0; k < c->indexes[i].n_files; k++) {
            v.total += c->indexes[i].files[k].size;
        }
    }
    rc = verify_indexes(&v);
    for (uint32_t i = 0; i < c->manifest.n_lanes && rc == PS_OK; i++) {
        rc = verify_file(&v, &c->indexes[i].files[0]);
        if (rc == PS_OK) {
            rc = verify_state(&v, c, i);
        }
        if (rc == PS_OK && c->indexes[i].n_files > 2) {
            rc = verify_file(&v, &c->indexes[i].files[2]);
        }
    }
    buf_fini(&v.bytes);
    return rc;
}
