/* ckpt_other.c - tensors that no server reads, written side by side.
 *
 * Whoever writes them has a row of each at a time; each tensor has a block in
 * memory that goes to its place when it is full.
 */
#include "ckpt/ckpt_other.h"

#include "base/hash.h"
#include "base/mem.h"
#include "ckpt/ckpt_folder_impl.h"
#include "ckpt/ckpt_impl.h"

struct pile {
    struct buf bytes; /* of the block that is being filled */
    uint32_t block;
};

struct ckpt_other {
    struct fs *fs;
    struct fs_open_file *open;
    struct ckpt_file *file;
    struct pile piles[]; /* of the file's tensors */
};

static int lay_out(struct ckpt_file *file, struct arena *arena)
{
    static const size_t sizes[] = {8, 4, 2, 1};

    for (uint32_t i = 0; i < file->n_tensors; i++) {
        struct ckpt_tensor *t = &file->tensors[i];
        uint64_t rows = t->block_rows;
        uint64_t row_bytes;

        t->name = ckpt_text(arena, t->name);
        if (t->name == NULL) {
            return PS_ENOMEM;
        }
        if (!ckpt_tensor_size(t) || t->n_shape == 0) {
            return PS_ELIMIT;
        }
        row_bytes = t->bytes / base_max_u64(t->shape[0], 1);
        if (rows == 0) {
            rows = ckpt_block_rows(base_max_u64(row_bytes, 1));
        }
        if ((row_bytes == 0 && t->shape[0] > 0) || row_bytes > CKPT_BLOCK_MAX ||
            base_min_u64(rows, t->shape[0]) * row_bytes > CKPT_BLOCK_MAX) {
            return PS_ELIMIT;
        }
        if (ckpt_tensor_sums(t, rows, arena) != PS_OK) {
            return PS_ENOMEM;
        }
    }
    /* The largest numbers first: so each lies at a multiple of its size. */
    for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
        for (uint32_t i = 0; i < file->n_tensors; i++) {
            struct ckpt_tensor *t = &file->tensors[i];

            if (ckpt_dtype_bytes(t->dtype) == sizes[k]) {
                t->offset = file->size;
                if (__builtin_add_overflow(file->size, t->bytes, &file->size) ||
                    file->size > INT64_MAX - 8 - CKPT_HEADER_MAX) {
                    return PS_ELIMIT;
                }
            }
        }
    }
    return PS_OK;
}

static int create(struct ckpt_other *o, const char *folder, struct arena *arena,
                  struct err *e)
{
    char path[CKPT_PATH_BYTES];
    struct buf header = {0};
    int rc = lay_out(o->file, arena);

    if (rc == PS_OK) {
        rc = ckpt_header_encode(o->file, &header);
    }
    if (rc != PS_OK) {
        buf_fini(&header);
        return err_set(e, rc, "%s: tensors that cannot be written: %s",
                       o->file->name, ps_status_text(rc));
    }
    ckpt_folder_path(folder, o->file->name, path);
    rc = o->fs->ops->open(o->fs, path, FS_CREATE, &o->open, e);
    if (rc == PS_OK) {
        rc = o->fs->ops->write_at(o->fs, o->open, 0, header.data, header.size,
                                  e);
    } else {
        o->open = NULL;
    }
    buf_fini(&header);
    return rc;
}

int ckpt_other_new(struct ckpt_other **other, struct fs *fs, const char *folder,
                   struct ckpt_file *file, const struct ckpt_tensor *tensors,
                   uint32_t n, struct arena *arena, struct err *e)
{
    struct ckpt_other *o =
        mem_try_zero(sizeof(*o) + mem_array(n, sizeof(o->piles[0])));
    int rc;

    *other = o;
    file->tensors = arena_take(arena, mem_array(n, sizeof(*tensors)));
    if (o == NULL || file->tensors == NULL) {
        mem_free(o);
        *other = NULL;
        return err_set(e, PS_ENOMEM, "out of memory");
    }
    o->fs = fs;
    o->file = file;
    file->n_tensors = n;
    if (n > 0) {
        memcpy(file->tensors, tensors, n * sizeof(*tensors));
    }
    rc = create(o, folder, arena, e);
    if (rc != PS_OK) {
        ckpt_other_free(o);
        *other = NULL;
    }
    return rc;
}

static int write_block(struct ckpt_other *o, uint32_t tensor, struct err *e)
{
    struct ckpt_tensor *t = &o->file->tensors[tensor];
    struct pile *p = &o->piles[tensor];
    struct ckpt_block b = ckpt_block(t, p->block);

    t->sums[p->block++] = hash_bytes(p->bytes.data, p->bytes.size);
    buf_clear(&p->bytes);
    return o->fs->ops->write_at(o->fs, o->open, b.offset, p->bytes.data,
                                b.bytes, e);
}

int ckpt_other_put(struct ckpt_other *o, uint32_t tensor, const void *data,
                   size_t size, struct err *e)
{
    const struct ckpt_tensor *t = &o->file->tensors[tensor];
    struct pile *p = &o->piles[tensor];
    const uint8_t *at = data;

    while (size > 0) {
        size_t room;
        size_t n;

        ASSERT(p->block < t->n_sums);
        room = ckpt_block(t, p->block).bytes;
        n = base_min_u64(size, room - p->bytes.size);
        if (buf_append(&p->bytes, at, n) != PS_OK) {
            return err_set(e, PS_ENOMEM, "out of memory");
        }
        at += n;
        size -= n;
        if (p->bytes.size == room) {
            int rc = write_block(o, tensor, e);

            if (rc != PS_OK) {
                return rc;
            }
        }
        if (p->block == t->n_sums) {
            buf_fini(&p->bytes);
        }
    }
    return PS_OK;
}

int ckpt_other_end(struct ckpt_other *o, struct err *e)
{
    struct fs_open_file *open = o->open;
    int rc;
    int end;

    for (uint32_t i = 0; i < o->file->n_tensors; i++) {
        const struct ckpt_tensor *t = &o->file->tensors[i];

        if (o->piles[i].block < t->n_sums) {
            return err_set(e, PS_EARGUMENT, "bytes of \"%.100s\" did not come",
                           t->name);
        }
    }
    rc = o->fs->ops->sync(o->fs, open, e);
    o->open = NULL;
    end = o->fs->ops->close(o->fs, open, rc == PS_OK ? e : NULL);
    return rc == PS_OK ? end : rc;
}

void ckpt_other_free(struct ckpt_other *o)
{
    if (o == NULL) {
        return;
    }
    if (o->open != NULL) {
        (void)o->fs->ops->close(o->fs, o->open, NULL); /* it is given up */
    }
    for (uint32_t i = 0; i < o->file->n_tensors; i++) {
        buf_fini(&o->piles[i].bytes);
    }
    mem_free(o);
}

const struct ckpt_file *ckpt_other_file(const struct ckpt *c, uint32_t i)
{
    return c->indexes[i].n_files > 2 ? &c->indexes[i].files[2] : NULL;
}

const struct ckpt_tensor *ckpt_other_find(const struct ckpt *c,
                                          const char *name,
                                          const struct ckpt_file **file)
{
    for (uint32_t i = 0; i < c->manifest.n_lanes; i++) {
        *file = ckpt_other_file(c, i);
        for (uint32_t k = 0; *file != NULL && k < (*file)->n_tensors; k++) {
            if (strcmp((*file)->tensors[k].name, name) == 0) {
                return &(*file)->tensors[k];
            }
        }
    }
    *file = NULL;
    return NULL;
}
