/* What a save takes at its cut, and what the next one may build on.
 *
 * An increment of base b is right for a table whose changes since b are known:
 * it was in b, and nothing has made it anew since (`base` of its part); or its
 * variable did not exist at b, and then all that it has are changes. For any
 * other table, of a part that came from elsewhere or was emptied, rows that b
 * has and that are no more would come back: the lane says that it needs a whole
 * one. */
#include "server/shard_save.h"

enum { MIN_BLOCK_BYTES = 64 << 10, TABLE_BLOCKS = 16 };

static void take_rows(struct snapshot_sink *sink, const uint64_t *keys,
                      const uint8_t *const *blocks, size_t n)
{
    struct saving_table *t = CONTAINER_OF(sink, struct saving_table, sink);

    ckpt_rows_add(t->rows, keys, blocks, n);
}

static const char *copy_text(struct arena *a, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = arena_take(a, size);

    return copy != NULL ? memcpy(copy, text, size) : NULL;
}

static bool knows_changes(const struct shard *s, const struct shard_part *p,
                          uint64_t base)
{
    return table_spec(p->table)->tracks_changes &&
           (p->base == base ||
            (s->base == base && p->variable >= s->base_variables));
}

/* A block of a small table is small: its memory is to be a small part of it. 0:
 * the usual. */
static uint64_t block_rows(const struct saving *v, uint64_t rows,
                           uint64_t row_bytes)
{
    uint64_t small = MIN_BLOCK_BYTES / base_max_u64(row_bytes, 8) + 1;
    uint64_t n = base_max_u64(rows / TABLE_BLOCKS, small);

    if (v->shard->options.block_rows != 0) {
        return v->shard->options.block_rows;
    }
    return n < CKPT_BLOCK_BYTES / base_max_u64(row_bytes, 8) ? n : 0;
}

/* Appends to the index what was erased of the table, if anything, and its
 * rows. */
static int describe(struct saving *v, const struct shard_part *from,
                    struct saving_table *t)
{
    const struct table_spec *spec = table_spec(from->table);
    const struct wire_variable *w =
        plan_variable(v->shard->plan, from->variable);
    struct ckpt_part *p = &v->index.parts[v->index.n_parts];

    ASSERT(w != NULL);
    *p = (struct ckpt_part){
        .variable = copy_text(&v->arena, w->name),
        .id = w->id,
        .kind = w->kind,
        .begin = from->begin,
        .end = from->end,
        .content = CKPT_CHANGED,
        .has_keys = true,
        .row_begin = spec->row_begin,
        .rows = snapshot_rows(t->snapshot),
        .dim = spec->dim,
        .n_slots = spec->n_slots,
    };
    p->block_rows = block_rows(v, p->rows, p->dim * sizeof(float));
    if (p->variable == NULL) {
        return PS_ENOMEM;
    }
    for (uint32_t k = 0; k < spec->n_slots; k++) {
        p->slots[k] = spec->slot_names[k];
    }
    v->index.n_parts++;
    v->rows += p->rows;
    t->erased_from = snapshot_erased(t->snapshot);
    if (snapshot_erased_keys(t->snapshot) == 0) {
        t->erased_from = NULL;
        return PS_OK;
    }
    p[1] = p[0];
    p->content = CKPT_ERASED;
    p->n_slots = 0;
    p->rows = snapshot_erased_keys(t->snapshot);
    p->block_rows = block_rows(v, p->rows, sizeof(uint64_t));
    v->index.n_parts++;
    return PS_OK;
}

static int begin_table(struct saving *v, const struct shard_part *from)
{
    struct saving_table *t = &v->tables[v->n_tables];
    int rc;

    if (from->table == NULL) {
        return PS_ENOUDF;
    }
    if (from->is_loading) {
        return PS_ENOTREADY;
    }
    if (v->base != 0 && !knows_changes(v->shard, from, v->base)) {
        v->needs_whole = true;
        return PS_ENOTREADY;
    }
    t->sink.rows = take_rows;
    t->table = from->table;
    rc = snapshot_begin(&t->snapshot, from->table, v->base != 0, &t->sink);
    if (rc != PS_OK) {
        t->snapshot = NULL;
        return rc;
    }
    v->n_tables++;
    return describe(v, from, t);
}

/* The writers of the parts, which are two of a table where some were erased. */
static int make_writers(struct saving *v)
{
    uint32_t table = 0;
    int rc = PS_OK;

    for (uint32_t i = 0; i < v->index.n_parts && rc == PS_OK; i++) {
        const struct ckpt_part *p = &v->index.parts[i];

        rc = ckpt_rows_new(&v->writers[i], p, &v->index.files[0]);
        if (rc != PS_OK) {
            v->writers[i] = NULL;
        } else if (p->content == CKPT_ERASED) {
            v->tables[table].erased = v->writers[i];
        } else {
            v->tables[table++].rows = v->writers[i];
        }
    }
    return rc;
}

int shard_saving_take_cut(struct saving *v)
{
    struct shard *s = v->shard;
    size_t n = 2 * s->n_parts + 1;
    char name[CKPT_NAME_MAX + 1];
    const char *file;
    int rc = PS_OK;

    v->next_variable = s->plan->w.next_variable;
    v->tables = arena_take(&v->arena, n * sizeof(*v->tables));
    v->index.parts = arena_take(&v->arena, n * sizeof(*v->index.parts));
    v->index.files = arena_take(&v->arena, 2 * sizeof(*v->index.files));
    v->writers = arena_take(&v->arena, n * sizeof(struct ckpt_rows *));
    ckpt_file_name(s->lane, CKPT_FILE_ROWS, name);
    file = copy_text(&v->arena, name);
    if (v->tables == NULL || v->index.parts == NULL || v->index.files == NULL ||
        v->writers == NULL || file == NULL) {
        v->writers = NULL;
        return PS_ENOMEM;
    }
    memset(v->tables, 0, n * sizeof(*v->tables));
    memset(v->index.files, 0, 2 * sizeof(*v->index.files));
    memset(v->writers, 0, n * sizeof(struct ckpt_rows *));
    for (size_t i = 0; i < s->n_parts && rc == PS_OK; i++) {
        if (shard_saving_has(v, &s->parts[i])) {
            rc = begin_table(v, &s->parts[i]);
        }
    }
    if (rc == PS_OK) {
        rc = ckpt_layout(file, v->index.parts, v->index.n_parts, &v->arena,
                         &v->index.files[0], &v->header);
    }
    if (rc == PS_OK) {
        rc = make_writers(v);
    }
    return rc == PS_OK ? shard_saving_copy_windows(v) : rc;
}

void shard_saving_drop_tables(struct saving *v, bool kept)
{
    for (uint32_t i = 0; i < v->n_tables; i++) {
        struct saving_table *t = &v->tables[i];

        if (t->snapshot != NULL) {
            snapshot_end(t->snapshot, kept);
            t->snapshot = NULL;
            v->shard->tidies = true;
        }
    }
}

void shard_saving_keep_tables(struct saving *v, const struct shard_part *parts,
                              size_t n)
{
    for (uint32_t i = 0; i < v->n_tables; i++) {
        struct saving_table *t = &v->tables[i];
        bool is_kept = false;

        for (size_t k = 0; k < n && !is_kept; k++) {
            is_kept = parts[k].table == t->table;
        }
        if (t->snapshot != NULL && !is_kept) {
            snapshot_end(t->snapshot, false);
            t->snapshot = NULL;
            v->shard->tidies = true;
        }
    }
}

void shard_saving_keep(struct saving *v)
{
    struct shard *s = v->shard;

    for (uint32_t i = 0; i < v->n_tables; i++) {
        const struct saving_table *t = &v->tables[i];

        for (size_t k = 0; t->snapshot != NULL && k < s->n_parts; k++) {
            if (s->parts[k].table == t->table) {
                s->parts[k].base = v->cut;
            }
        }
    }
    s->base = v->cut;
    s->base_variables = v->next_variable;
    shard_saving_drop_tables(v, true);
}
