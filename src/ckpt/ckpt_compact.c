/* The chain is links[0], the newest, to links[n - 1], the whole one. Of each
 * key the newest link that names it has the last word, and says either a row or
 * that it was erased; within a link a row goes before what was erased. So
 * only the keys of the increments are held in memory, 10 to 20 bytes each; the
 * base, which may be far larger, streams by: a row of it stays if no increment
 * names its key. A part with more changes than a table of keys should have is
 * done in ranges of buckets, for which all of its rows are read again.
 *
 *     first pass    keys of the increments, newest first; rows are counted
 *     second pass   each row, where its link has the last word, is written
 */
#include "ckpt/ckpt_compact.h"

#include <inttypes.h>

#include "base/hash.h"
#include "base/mem.h"
#include "ckpt/ckpt_folder_impl.h"

enum { LINKS_MAX = 1024, KEYS_MAX = 16 << 20, GONE = UINT16_MAX, FLOATS = 4 };

struct link {
    const struct ckpt_entry *entry;
    struct ckpt *ckpt;
};

/* Which link has the last word on a key: its number + 1, or GONE; 0: a free
 * place. */
struct words {
    uint64_t *keys;
    uint16_t *links;
    size_t room; /* a power of 2 */
    size_t n;
};

struct compacting {
    struct fs *fs;
    const struct ckpt_progress *progress;
    uint64_t done;
    uint64_t total;
    uint64_t keys_max;
    struct link *links;
    uint32_t n;
    struct ckpt_writer *w;
    struct words words;
    struct buf row;
    /* Of the call that is under way. */
    uint32_t link;
    uint32_t part; /* of the lane that is written */
    const struct ckpt_part *shape;
    uint64_t rows;
    int status;
    struct err *e;
};

/* ---- keys --------------------------------------------------------------- */

static size_t place_of(const struct words *w, uint64_t key)
{
    size_t at = (size_t)hash_key(key) & (w->room - 1);

    while (w->links[at] != 0 && w->keys[at] != key) {
        at = (at + 1) & (w->room - 1);
    }
    return at;
}

static void free_words(struct words *w)
{
    mem_free(w->keys);
    mem_free(w->links);
    *w = (struct words){0};
}

static int grow(struct words *w)
{
    struct words more = {.room = w->room == 0 ? 1024 : 2 * w->room, .n = w->n};

    more.keys = mem_try(mem_array(more.room, sizeof(*more.keys)));
    more.links = mem_try_zero(mem_array(more.room, sizeof(*more.links)));
    if (more.keys == NULL || more.links == NULL) {
        free_words(&more);
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < w->room; i++) {
        if (w->links[i] != 0) {
            size_t at = place_of(&more, w->keys[i]);

            more.keys[at] = w->keys[i];
            more.links[at] = w->links[i];
        }
    }
    free_words(w);
    *w = more;
    return PS_OK;
}

/* Unless a newer link has said something. True: it was the last word. */
static int say(struct words *w, uint64_t key, uint16_t word, bool *is_last)
{
    size_t at;
    int rc;

    *is_last = false;
    if (w->n + w->n / 2 >= w->room) {
        rc = grow(w);
        if (rc != PS_OK) {
            return rc;
        }
    }
    at = place_of(w, key);
    if (w->links[at] == 0) {
        w->keys[at] = key;
        w->links[at] = word;
        w->n++;
        *is_last = true;
    }
    return PS_OK;
}

static bool has_last_word(const struct words *w, uint64_t key, uint16_t word,
                          bool is_base)
{
    uint16_t said = w->room == 0 ? 0 : w->links[place_of(w, key)];

    return said == word || (is_base && said == 0);
}

/* ---- the two passes ----------------------------------------------------- */

static bool is_base(const struct compacting *c)
{
    return c->link == c->n - 1;
}

static bool advance(struct compacting *c, const struct ckpt_batch *b)
{
    uint64_t floats =
        b->values == NULL ? 0 : b->part->dim * (1ull + b->part->n_slots);

    c->done += b->n * (sizeof(uint64_t) + floats * FLOATS);
    if (c->progress != NULL &&
        !c->progress->fn(c->progress->context, base_min_u64(c->done, c->total),
                         c->total)) {
        c->status = err_set(c->e, PS_ECANCELED, "stopped");
    }
    return c->status == PS_OK;
}

/* Rows, in the first pass. */
static bool count_rows(void *context, const struct ckpt_batch *b)
{
    struct compacting *c = context;
    uint16_t word = (uint16_t)(c->link + 1);

    for (uint64_t i = 0; i < b->n && b->values != NULL; i++) {
        bool is_last = true;

        if (is_base(c)) {
            is_last = has_last_word(&c->words, b->keys[i], word, true);
        } else if (say(&c->words, b->keys[i], word, &is_last) != PS_OK) {
            c->status = err_set(c->e, PS_ENOMEM, "out of memory");
            return false;
        }
        c->rows += is_last;
    }
    return advance(c, b);
}

/* What was erased, after the same link's rows have spoken. */
static bool note_erased(void *context, const struct ckpt_batch *b)
{
    struct compacting *c = context;

    for (uint64_t i = 0; i < b->n && b->values == NULL; i++) {
        bool is_last;

        if (say(&c->words, b->keys[i], GONE, &is_last) != PS_OK) {
            c->status = err_set(c->e, PS_ENOMEM, "out of memory");
            return false;
        }
    }
    return advance(c, b);
}

static bool has_same_slots(const struct ckpt_part *a, const struct ckpt_part *b)
{
    bool is_same = a->n_slots == b->n_slots && a->dim == b->dim;

    for (uint32_t i = 0; is_same && i < a->n_slots; i++) {
        is_same = strcmp(a->slots[i], b->slots[i]) == 0;
    }
    return is_same;
}

static bool write_rows(void *context, const struct ckpt_batch *b)
{
    struct compacting *c = context;
    uint16_t word = (uint16_t)(c->link + 1);
    size_t bytes = b->part->dim * sizeof(float);

    if (b->values != NULL && !has_same_slots(b->part, c->shape)) {
        c->status = err_set(c->e, PS_EDATALOSS,
                            "%s: \"%.100s\" has other "
                            "slots than in what builds on it",
                            c->links[c->link].entry->folder, b->part->variable);
        return false;
    }
    for (uint64_t i = 0; i < b->n && b->values != NULL && c->status == PS_OK;
         i++) {
        if (!has_last_word(&c->words, b->keys[i], word, is_base(c))) {
            continue;
        }
        buf_clear(&c->row);
        (void)buf_append(&c->row, b->values + i * b->part->dim, bytes);
        for (uint32_t k = 0; k < b->part->n_slots; k++) {
            (void)buf_append(&c->row, b->slots[k] + i * b->part->dim, bytes);
        }
        c->status = c->row.failed
                        ? err_set(c->e, PS_ENOMEM, "out of memory")
                        : ckpt_writer_row(
                              c->w, c->part, b->keys[i],
                              (const float *)(const void *)c->row.data, c->e);
    }
    return c->status == PS_OK && advance(c, b);
}

/* The rows of a range of a part in one link. */
static int read_link(struct compacting *c, const struct ckpt_part *p,
                     uint32_t begin, uint32_t end, ckpt_batch_fn *fn)
{
    const struct link *l = &c->links[c->link];
    const struct wire_variable *v = ckpt_variable_by_id(l->ckpt, p->id);
    int rc;

    if (v == NULL) {
        return PS_OK; /* declared after it */
    }
    if (v->kind != p->kind || v->dim != p->dim) {
        return err_set(c->e, PS_EDATALOSS,
                       "%s: \"%.100s\" is another variable than in what builds "
                       "on it",
                       l->entry->folder, p->variable);
    }
    rc = ckpt_read_rows(c->fs, l->entry->folder, l->ckpt, p->id, begin, end, fn,
                        c, c->e);
    if (c->status != PS_OK) {
        return c->status;
    }
    if (rc != PS_OK) {
        err_wrap(c->e, "%s", l->entry->folder);
    }
    return rc;
}

/* Counts the rows of a range; the words are said then. */
static int first_pass(struct compacting *c, const struct ckpt_part *p,
                      uint32_t begin, uint32_t end)
{
    int rc = PS_OK;

    free_words(&c->words);
    for (c->link = 0; c->link < c->n && rc == PS_OK; c->link++) {
        rc = read_link(c, p, begin, end, count_rows);
        if (rc == PS_OK && !is_base(c)) {
            rc = read_link(c, p, begin, end, note_erased);
        }
    }
    return rc;
}

static int second_pass(struct compacting *c, const struct ckpt_part *p,
                       uint32_t begin, uint32_t end)
{
    int rc = PS_OK;

    c->shape = p;
    for (c->link = 0; c->link < c->n && rc == PS_OK; c->link++) {
        rc = read_link(c, p, begin, end, write_rows);
    }
    return rc;
}

/* In how many ranges of buckets a part is done. */
static uint32_t count_ranges(const struct compacting *c,
                             const struct ckpt_part *p)
{
    uint64_t keys = 0;

    for (uint32_t i = 0; i + 1 < c->n; i++) {
        const struct ckpt *k = c->links[i].ckpt;

        for (uint32_t l = 0; l < k->manifest.n_lanes; l++) {
            for (uint32_t x = 0; x < k->indexes[l].n_parts; x++) {
                const struct ckpt_part *q = &k->indexes[l].parts[x];

                if (q->id == p->id && q->begin < p->end && p->begin < q->end) {
                    keys += q->rows;
                }
            }
        }
    }
    return (uint32_t)base_min_u64(p->end - p->begin, 1 + keys / c->keys_max);
}

static uint32_t range_at(const struct ckpt_part *p, uint32_t i, uint32_t n)
{
    return p->begin + (uint32_t)((uint64_t)(p->end - p->begin) * i / n);
}

/* ---- lanes -------------------------------------------------------------- */

/* The newest's parts of a lane, whole: with the number of their rows. */
static int count_lane(struct compacting *c, const struct ckpt_index *x,
                      struct ckpt_part *parts, uint32_t *n)
{
    int rc = PS_OK;

    *n = 0;
    for (uint32_t i = 0; i < x->n_parts && rc == PS_OK; i++) {
        struct ckpt_part *p = &parts[*n];
        uint32_t n_ranges;

        if (x->parts[i].content != CKPT_CHANGED) {
            continue;
        }
        *p = x->parts[i];
        p->has_keys = true;
        c->rows = 0;
        n_ranges = count_ranges(c, p);
        for (uint32_t k = 0; k < n_ranges && rc == PS_OK; k++) {
            rc = first_pass(c, p, range_at(p, k, n_ranges),
                            range_at(p, k + 1, n_ranges));
        }
        p->rows = c->rows;
        *n += 1;
    }
    return rc;
}

static int write_state(struct compacting *c, uint32_t lane)
{
    struct ckpt_state state;
    struct arena arena;
    struct buf bytes;
    int rc;

    arena_init(&arena);
    buf_init(&bytes);
    rc = ckpt_read_state(c->fs, c->links[0].entry->folder, c->links[0].ckpt,
                         lane, &arena, &bytes, &state, c->e);
    if (rc == PS_OK) {
        rc = ckpt_writer_lane_end(c->w, &state, c->e);
    }
    buf_fini(&bytes);
    arena_fini(&arena);
    return rc;
}

static int write_lane(struct compacting *c, uint32_t lane,
                      struct ckpt_compacted *out)
{
    const struct ckpt_index *x = &c->links[0].ckpt->indexes[lane];
    struct ckpt_part *parts =
        mem_try(mem_array((size_t)x->n_parts + 1, sizeof(*parts)));
    uint32_t n = 0;
    int rc;

    if (parts == NULL) {
        return err_set(c->e, PS_ENOMEM, "out of memory");
    }
    rc = count_lane(c, x, parts, &n);
    if (rc == PS_OK) {
        rc = ckpt_writer_lane(c->w, x->lane, parts, n, c->e);
    }
    for (c->part = 0; c->part < n && rc == PS_OK; c->part++) {
        const struct ckpt_part *p = &parts[c->part];
        uint32_t n_ranges = count_ranges(c, p);

        out->rows += p->rows;
        for (uint32_t k = 0; k < n_ranges && rc == PS_OK; k++) {
            uint32_t begin = range_at(p, k, n_ranges);
            uint32_t end = range_at(p, k + 1, n_ranges);

            rc = first_pass(c, p, begin, end);
            if (rc == PS_OK) {
                rc = second_pass(c, p, begin, end);
            }
        }
    }
    mem_free(parts);
    return rc == PS_OK ? write_state(c, lane) : rc;
}

/* ---- the chain ---------------------------------------------------------- */

static int open_chain(struct compacting *c, const struct ckpt_list *list,
                      const struct ckpt_entry *x)
{
    c->links = mem_try_zero(LINKS_MAX * sizeof(*c->links));
    if (c->links == NULL) {
        return err_set(c->e, PS_ENOMEM, "out of memory");
    }
    for (; x != NULL; x = ckpt_list_base(list, x)) {
        struct link *l = &c->links[c->n];
        int rc;

        if (!x->is_whole || c->n == LINKS_MAX) {
            return err_set(c->e, PS_EDATALOSS, "%s: %.150s", x->folder,
                           c->n == LINKS_MAX ? "its chain is too long"
                                             : x->why);
        }
        rc = ckpt_open(c->fs, x->folder, &l->ckpt, c->e);
        if (rc != PS_OK) {
            return err_wrap(c->e, "%s", x->folder);
        }
        l->entry = x;
        c->n++;
        /* Rows are read for counting, for the words and to be written. */
        c->total += 3 * x->bytes;
    }
    return PS_OK;
}

/* The next term of this cut. */
static uint64_t next_term(const struct ckpt_list *list, uint64_t cut)
{
    uint64_t term = 0;

    for (uint32_t i = 0; i < list->n; i++) {
        if (list->entries[i].cut == cut) {
            term = base_max_u64(term, list->entries[i].term);
        }
    }
    return term + 1;
}

static bool has_others(const struct compacting *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        const struct ckpt *k = c->links[i].ckpt;

        for (uint32_t l = 0; l < k->manifest.n_lanes; l++) {
            if (k->indexes[l].n_files > 2) {
                return true;
            }
        }
    }
    return false;
}

static int compact(struct compacting *c, const struct ckpt_list *list,
                   struct ckpt_compacted *out)
{
    struct ckpt_manifest m = c->links[0].ckpt->manifest;
    int rc;

    if (has_others(c)) {
        return err_set(c->e, PS_ENOTIMPL,
                       "the chain has variables that no server holds");
    }
    m.base = 0;
    m.term = next_term(list, m.cut);
    rc = ckpt_writer_begin(&c->w, c->fs, &m, c->e);
    if (rc != PS_OK) {
        return rc;
    }
    for (uint32_t i = 0; i < m.n_lanes && rc == PS_OK; i++) {
        rc = write_lane(c, i, out);
    }
    if (rc != PS_OK) {
        ckpt_writer_free(c->w);
        return rc;
    }
    return ckpt_writer_end(c->w, out->folder, c->e);
}

int ckpt_compact(struct fs *fs, const struct ckpt_list *list,
                 const struct ckpt_entry *x, uint64_t keys_max,
                 const struct ckpt_progress *progress,
                 struct ckpt_compacted *out, struct err *e)
{
    struct compacting c = {.fs = fs,
                           .progress = progress,
                           .keys_max = keys_max != 0 ? keys_max : KEYS_MAX,
                           .e = e};
    int rc;

    *out = (struct ckpt_compacted){.n_links = 0};
    if (x->base == 0) {
        return err_set(e, PS_EARGUMENT, "%s is whole already", x->folder);
    }
    buf_init(&c.row);
    rc = open_chain(&c, list, x);
    if (rc == PS_OK) {
        rc = compact(&c, list, out);
    }
    out->n_links = c.n;
    for (uint32_t i = 0; i < c.n; i++) {
        ckpt_free(c.links[i].ckpt);
    }
    mem_free(c.links);
    free_words(&c.words);
    buf_fini(&c.row);
    return rc;
}
