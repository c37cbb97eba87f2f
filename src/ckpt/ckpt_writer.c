/* ckpt_writer.c - a whole checkpoint, written by who may wait for the disk.
 *
 * The order is what makes it safe: files, synced; the lane's index, synced; the
 * manifest, synced; the folder's names; then the rename, and the names of the
 * root. Until the rename there is no checkpoint.
 */
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "ckpt/ckpt_folder_impl.h"
#include "ckpt/ckpt_impl.h"
#include "ckpt/ckpt_other.h"

struct ckpt_writer {
    struct fs *fs;
    struct arena arena; /* of the manifest */
    struct ckpt_manifest manifest;
    char folder[CKPT_NAME_MAX + 1];
    bool is_made; /* the folder, or somebody has made it just now */
    bool is_ours; /* it has a file of ours: who makes the first one has it */
    bool has_failed;
    struct buf places; /* struct ckpt_place */
    struct buf lanes;  /* struct ckpt_lane */
    /* Of the lane that is being written. */
    struct arena lane_arena;
    struct ckpt_index index; /* lane 0: none */
    struct ckpt_file files[3];
    struct ckpt_other *other; /* NULL: none */
    struct fs_open_file *open;
    struct ckpt_rows **rows; /* of the parts */
    struct buf text;
};

static int failed(struct ckpt_writer *w, int rc)
{
    w->has_failed = w->has_failed || rc != PS_OK;
    return rc;
}

static bool skip(void *context, const char *name)
{
    (void)context;
    (void)name;
    return false;
}

static int make_folder(struct ckpt_writer *w, struct err *e)
{
    const struct fs_ops *ops = w->fs->ops;
    int rc = ops->list(w->fs, w->folder, skip, NULL, NULL);

    if (rc == PS_OK) {
        return err_set(e, PS_EEXIST,
                       "%s: another program makes it, or was killed over it",
                       w->folder);
    }
    rc = ops->mkdir(w->fs, w->folder, e);
    w->is_made = rc == PS_OK;
    return rc;
}

int ckpt_writer_begin(struct ckpt_writer **writer, struct fs *fs,
                      const struct ckpt_manifest *m, struct err *e)
{
    struct ckpt_writer *w = mem_try_zero(sizeof(*w));
    struct ckpt_manifest bare = *m;
    int rc;

    *writer = w;
    if (w == NULL) {
        return err_set(e, PS_ENOMEM, "out of memory");
    }
    w->fs = fs;
    arena_init(&w->arena);
    arena_init(&w->lane_arena);
    bare.format = CKPT_FORMAT;
    bare.n_parts = 0;
    bare.n_lanes = 0;
    rc = ckpt_manifest_encode(&bare, &w->text);
    if (rc == PS_OK) {
        rc = ckpt_manifest_decode(w->text.data, w->text.size, &w->arena,
                                  &w->manifest, e);
    } else {
        (void)err_set(e, rc, "a manifest that cannot be written");
    }
    if (rc == PS_OK) {
        ckpt_folder_name(m->cut, m->term, true, w->folder);
        rc = make_folder(w, e);
    }
    if (rc != PS_OK) {
        ckpt_writer_free(w);
        *writer = NULL;
    }
    return rc;
}

static int create_file(struct ckpt_writer *w, const char *name, struct err *e)
{
    char path[CKPT_PATH_BYTES];
    int rc;

    ckpt_folder_path(w->folder, name, path);
    rc = w->fs->ops->open(w->fs, path, FS_CREATE, &w->open, e);
    if (rc != PS_OK) {
        w->open = NULL;
    }
    w->is_ours = w->is_ours || rc == PS_OK;
    return rc;
}

/* Copies what the lane is of; all of it lives as long as the lane. */
static int copy_parts(struct ckpt_writer *w, const struct ckpt_part *parts,
                      uint32_t n)
{
    struct arena *a = &w->lane_arena;
    struct ckpt_part *copy = arena_take(a, n * sizeof(*copy));

    w->rows = arena_take(a, n * sizeof(struct ckpt_rows *));
    if (copy == NULL || w->rows == NULL) {
        return PS_ENOMEM;
    }
    memset(w->rows, 0, n * sizeof(struct ckpt_rows *));
    for (uint32_t i = 0; i < n; i++) {
        copy[i] = parts[i];
        copy[i].variable = ckpt_text(a, parts[i].variable);
        if (copy[i].variable == NULL) {
            return PS_ENOMEM;
        }
        for (uint32_t k = 0; k < parts[i].n_slots; k++) {
            copy[i].slots[k] = ckpt_text(a, parts[i].slots[k]);
            if (copy[i].slots[k] == NULL) {
                return PS_ENOMEM;
            }
        }
    }
    w->index.parts = copy;
    w->index.n_parts = n;
    return PS_OK;
}

/* A name of this lane's, in its arena; NULL: out of memory. */
static const char *name_of(struct ckpt_writer *w, enum ckpt_file_kind kind)
{
    char name[CKPT_NAME_MAX + 1];

    ckpt_file_name(w->index.lane, kind, name);
    return ckpt_text(&w->lane_arena, name);
}

static int begin_lane(struct ckpt_writer *w, const struct ckpt_part *parts,
                      uint32_t n, struct err *e)
{
    const char *name = name_of(w, CKPT_FILE_ROWS);
    int rc = name == NULL ? PS_ENOMEM : copy_parts(w, parts, n);

    buf_clear(&w->text);
    if (rc == PS_OK) {
        rc = ckpt_layout(name, w->index.parts, n, &w->lane_arena, &w->files[0],
                         &w->text);
    }
    for (uint32_t i = 0; i < n && rc == PS_OK; i++) {
        rc = ckpt_rows_new(&w->rows[i], &w->index.parts[i], &w->files[0]);
    }
    if (rc != PS_OK) {
        return err_set(e, rc, "a lane that cannot be written");
    }
    rc = create_file(w, name, e);
    return rc == PS_OK ? w->fs->ops->write_at(w->fs, w->open, 0, w->text.data,
                                              w->text.size, e)
                       : rc;
}

int ckpt_writer_lane(struct ckpt_writer *w, uint64_t lane,
                     const struct ckpt_part *parts, uint32_t n, struct err *e)
{
    ASSERT(!w->has_failed && w->index.lane == 0 && lane != 0);
    w->index = (struct ckpt_index){.cut = w->manifest.cut,
                                   .term = w->manifest.term,
                                   .lane = lane,
                                   .n_files = 2,
                                   .files = w->files};
    return failed(w, begin_lane(w, parts, n, e));
}

static int write_blocks(struct ckpt_writer *w, struct ckpt_rows *rows,
                        struct err *e)
{
    struct ckpt_filled *b;
    int rc = PS_OK;

    while (rc == PS_OK && (b = ckpt_rows_take(rows)) != NULL) {
        for (uint32_t i = 0; i < b->n_pieces && rc == PS_OK; i++) {
            rc = w->fs->ops->write_at(w->fs, w->open, b->pieces[i].offset,
                                      b->pieces[i].data, b->pieces[i].size, e);
        }
        ckpt_rows_give(rows, b);
    }
    return rc;
}

int ckpt_writer_row(struct ckpt_writer *w, uint32_t part, uint64_t key,
                    const float *values, struct err *e)
{
    const uint8_t *row = (const uint8_t *)values;
    int rc;

    ASSERT(!w->has_failed && part < w->index.n_parts);
    rc = ckpt_rows_reserve(w->rows[part], 1);
    if (rc != PS_OK) {
        return failed(w, err_set(e, rc, "out of memory"));
    }
    ckpt_rows_add(w->rows[part], &key, &row, 1);
    return failed(w, write_blocks(w, w->rows[part], e));
}

int ckpt_writer_other(struct ckpt_writer *w, const struct ckpt_tensor *tensors,
                      uint32_t n, struct err *e)
{
    const char *name = name_of(w, CKPT_FILE_OTHER);

    ASSERT(!w->has_failed && w->index.lane != 0 && w->other == NULL);
    if (name == NULL) {
        return failed(w, err_set(e, PS_ENOMEM, "out of memory"));
    }
    w->files[2] = (struct ckpt_file){.name = name};
    w->index.n_files = 3;
    return failed(w, ckpt_other_new(&w->other, w->fs, w->folder, &w->files[2],
                                    tensors, n, &w->lane_arena, e));
}

int ckpt_writer_other_put(struct ckpt_writer *w, uint32_t tensor,
                          const void *data, size_t size, struct err *e)
{
    ASSERT(!w->has_failed && w->other != NULL);
    return failed(w, ckpt_other_put(w->other, tensor, data, size, e));
}

static int close_file(struct ckpt_writer *w, struct err *e)
{
    struct fs_open_file *file = w->open;
    int rc = w->fs->ops->sync(w->fs, file, e);
    int end;

    w->open = NULL;
    end = w->fs->ops->close(w->fs, file, rc == PS_OK ? e : NULL);
    return rc == PS_OK ? end : rc;
}

static int write_new(struct ckpt_writer *w, const char *name,
                     const struct buf *bytes, struct err *e)
{
    char path[CKPT_PATH_BYTES];
    int rc;

    ckpt_folder_path(w->folder, name, path);
    rc = w->fs->ops->write_new(w->fs, path, bytes->data, bytes->size, true, e);
    w->is_ours = w->is_ours || rc == PS_OK;
    return rc;
}

static int write_state(struct ckpt_writer *w, const struct ckpt_state *state,
                       struct err *e)
{
    static const struct ckpt_state none = {0};
    const char *name = name_of(w, CKPT_FILE_STATE);
    int rc = PS_ENOMEM;

    buf_clear(&w->text);
    if (name != NULL) {
        rc = ckpt_state_encode(state == NULL ? &none : state, name,
                               &w->lane_arena, &w->files[1], &w->text);
    }
    return rc == PS_OK ? write_new(w, name, &w->text, e)
                       : err_set(e, rc, "a state that cannot be written");
}

static int write_index(struct ckpt_writer *w, struct err *e)
{
    const char *name = name_of(w, CKPT_FILE_INDEX);
    struct ckpt_lane lane = {.lane = w->index.lane};
    int rc = PS_ENOMEM;

    buf_clear(&w->text);
    if (name != NULL) {
        rc = ckpt_index_encode(&w->index, &w->text);
    }
    for (uint32_t i = 0; i < w->index.n_parts && rc == PS_OK; i++) {
        const struct ckpt_part *p = &w->index.parts[i];
        struct ckpt_place place = {p->id, p->begin, p->end, lane.lane};

        if (p->content == CKPT_CHANGED) {
            lane.rows += p->rows;
            rc = buf_append(&w->places, &place, sizeof(place));
        }
    }
    if (rc == PS_OK) {
        lane.index_bytes = w->text.size;
        lane.index_sum = hash_bytes(w->text.data, w->text.size);
        rc = buf_append(&w->lanes, &lane, sizeof(lane));
    }
    return rc == PS_OK ? write_new(w, name, &w->text, e)
                       : err_set(e, rc, "an index that cannot be written");
}

static void free_lane(struct ckpt_writer *w)
{
    ckpt_other_free(w->other);
    w->other = NULL;
    for (uint32_t i = 0; i < w->index.n_parts; i++) {
        ckpt_rows_free(w->rows[i]);
    }
    w->index = (struct ckpt_index){0};
    arena_reset(&w->lane_arena);
}

int ckpt_writer_lane_end(struct ckpt_writer *w, const struct ckpt_state *state,
                         struct err *e)
{
    int rc = PS_OK;

    ASSERT(!w->has_failed && w->index.lane != 0);
    for (uint32_t i = 0; i < w->index.n_parts; i++) {
        if (!ckpt_rows_is_done(w->rows[i])) {
            return failed(w, err_set(e, PS_EARGUMENT,
                                     "rows of \"%.100s\" did not come",
                                     w->index.parts[i].variable));
        }
    }
    rc = close_file(w, e);
    if (rc == PS_OK && w->other != NULL) {
        rc = ckpt_other_end(w->other, e);
    }
    if (rc == PS_OK) {
        rc = write_state(w, state, e);
    }
    if (rc == PS_OK) {
        rc = write_index(w, e);
    }
    if (rc == PS_OK) {
        free_lane(w);
    }
    return failed(w, rc);
}

static int compare_places(const void *a, const void *b)
{
    const struct ckpt_place *x = a;
    const struct ckpt_place *y = b;

    if (x->variable != y->variable) {
        return x->variable < y->variable ? -1 : 1;
    }
    return x->begin == y->begin ? 0 : (x->begin < y->begin ? -1 : 1);
}

static int compare_lanes(const void *a, const void *b)
{
    const struct ckpt_lane *x = a;
    const struct ckpt_lane *y = b;

    return x->lane == y->lane ? 0 : (x->lane < y->lane ? -1 : 1);
}

static int write_manifest(struct ckpt_writer *w, struct err *e)
{
    struct ckpt_manifest *m = &w->manifest;
    int rc;

    m->n_parts = (uint32_t)(w->places.size / sizeof(struct ckpt_place));
    m->parts = (void *)w->places.data;
    m->n_lanes = (uint32_t)(w->lanes.size / sizeof(struct ckpt_lane));
    m->lanes = (void *)w->lanes.data;
    if (m->n_parts > 0) {
        qsort(m->parts, m->n_parts, sizeof(*m->parts), compare_places);
    }
    if (m->n_lanes > 0) {
        qsort(m->lanes, m->n_lanes, sizeof(*m->lanes), compare_lanes);
    }
    buf_clear(&w->text);
    rc = ckpt_manifest_encode(m, &w->text);
    return rc == PS_OK ? write_new(w, CKPT_MANIFEST, &w->text, e)
                       : err_set(e, rc, "a manifest that cannot be written");
}

/* Reads all of it back under its unfinished name, then gives it its own. */
static int finish(struct ckpt_writer *w, const char *folder, struct err *e)
{
    struct ckpt *c = NULL;
    int rc = write_manifest(w, e);

    if (rc == PS_OK) {
        rc = w->fs->ops->sync_dir(w->fs, w->folder, e);
    }
    if (rc == PS_OK) {
        rc = ckpt_open(w->fs, w->folder, &c, e);
    }
    if (rc == PS_OK) {
        rc = ckpt_verify(w->fs, w->folder, c, NULL, e);
        ckpt_free(c);
    }
    if (rc == PS_OK) {
        rc = w->fs->ops->rename(w->fs, w->folder, folder, e);
        w->is_made = rc != PS_OK;
        if (rc == PS_EEXIST) {
            (void)err_set(e, rc, "%s was made meanwhile: begin again", folder);
        }
    }
    return rc == PS_OK ? w->fs->ops->sync_dir(w->fs, ".", e) : rc;
}

int ckpt_writer_end(struct ckpt_writer *w, char *folder, struct err *e)
{
    int rc;

    ASSERT(!w->has_failed && w->index.lane == 0);
    ckpt_folder_name(w->manifest.cut, w->manifest.term, false, folder);
    rc = finish(w, folder, e);
    ckpt_writer_free(w);
    return rc;
}

void ckpt_writer_free(struct ckpt_writer *w)
{
    if (w == NULL) {
        return;
    }
    if (w->open != NULL) {
        (void)w->fs->ops->close(w->fs, w->open, NULL); /* it is given up */
    }
    if (w->is_made) {
        int rc = w->is_ours ? fs_remove_tree(w->fs, w->folder, NULL)
                            : w->fs->ops->rmdir(w->fs, w->folder, NULL);

        (void)rc; /* ckpt_list shows what is left */
    }
    free_lane(w);
    buf_fini(&w->places);
    buf_fini(&w->lanes);
    buf_fini(&w->text);
    arena_fini(&w->arena);
    arena_fini(&w->lane_arena);
    mem_free(w);
}
