/* ckpt_state.c - what a shard knew at the cut beside its rows, as tensors.
 *
 * Each member of a struct is a column, a tensor with a row for each of them,
 * behind the bodies of late frames, which are one after another:
 *
 *     late/body
 *     lanes/...    the lane itself, then former lanes; lanes/windows says how
 *                  many of the windows are theirs, one lane's after another's,
 *                  but for those that are the same as an earlier one
 *     windows/...  all windows
 *     gaps/...     likewise, with lanes/gaps
 *     late/...     late frames
 *     chains/...   likewise, with the texts in chains/definition
 */
#include "ckpt/ckpt_state.h"

#include "base/hash.h"
#include "ckpt/ckpt_impl.h"

enum rows_of { HISTORIES, WINDOWS, GAPS, LATES, CHAINS, TABLES };

/* A chain as it is in the file. */
struct chain_row {
    uint64_t id;
    uint64_t n_definition;
};

struct column {
    const char *name;
    enum rows_of table;
    const char *dtype;
    uint32_t width; /* numbers of a row; 0: one, the tensor has one dimension */
    size_t offset;
    size_t bytes; /* of a row */
};

/* clang-format off */
#define U64_COLUMN(title, table, owner, what)                                 \
    {title, table, "U64", 0, offsetof(struct owner, what), sizeof(uint64_t)}

/* Those of 8-byte numbers first, so that they lie at multiples of 8. */
static const struct column columns[] = {
    U64_COLUMN("lanes/lane", HISTORIES, ckpt_history, lane),
    U64_COLUMN("lanes/variable", HISTORIES, ckpt_history, variable),
    U64_COLUMN("lanes/begin", HISTORIES, ckpt_history, begin),
    U64_COLUMN("lanes/end", HISTORIES, ckpt_history, end),
    U64_COLUMN("lanes/forgotten", HISTORIES, ckpt_history, forgotten),
    U64_COLUMN("lanes/same", HISTORIES, ckpt_history, same),
    U64_COLUMN("lanes/windows", HISTORIES, ckpt_history, n_windows),
    U64_COLUMN("lanes/gaps", HISTORIES, ckpt_history, n_gaps),
    U64_COLUMN("windows/session", WINDOWS, ckpt_window, session),
    U64_COLUMN("windows/next", WINDOWS, ckpt_window, next),
    U64_COLUMN("windows/floor", WINDOWS, ckpt_window, floor),
    U64_COLUMN("windows/refuse_below", WINDOWS, ckpt_window, refuse_below),
    {"windows/canceled", WINDOWS, "U64", LIMIT_WINDOW / 64,
     offsetof(struct ckpt_window, canceled), LIMIT_WINDOW / 8},
    U64_COLUMN("gaps/session", GAPS, ckpt_numbers, session),
    U64_COLUMN("gaps/first", GAPS, ckpt_numbers, first),
    U64_COLUMN("gaps/last", GAPS, ckpt_numbers, last),
    U64_COLUMN("late/session", LATES, ckpt_late, session),
    U64_COLUMN("late/seq", LATES, ckpt_late, seq),
    U64_COLUMN("late/cut", LATES, ckpt_late, cut),
    U64_COLUMN("late/bytes", LATES, ckpt_late, n_body),
    U64_COLUMN("chains/id", CHAINS, chain_row, id),
    U64_COLUMN("chains/bytes", CHAINS, chain_row, n_definition),
    {"windows/ended", WINDOWS, "U8", 0, offsetof(struct ckpt_window, has_ended),
     1},
    {"windows/fate", WINDOWS, "I8", LIMIT_WINDOW,
     offsetof(struct ckpt_window, fate), LIMIT_WINDOW},
};
/* clang-format on */

enum { LATE_BODY, COLUMN, CHAIN_TEXT = COLUMN + ARRAY_LEN(columns), TENSORS };

static const size_t row_sizes[TABLES] = {
    [HISTORIES] = sizeof(struct ckpt_history),
    [WINDOWS] = sizeof(struct ckpt_window),
    [GAPS] = sizeof(struct ckpt_numbers),
    [LATES] = sizeof(struct ckpt_late),
    [CHAINS] = sizeof(struct chain_row),
};

static struct ckpt_tensor tensor_of(uint32_t i, uint64_t n)
{
    if (i == LATE_BODY || i == CHAIN_TEXT) {
        return (struct ckpt_tensor){
            .name = i == LATE_BODY ? "late/body" : "chains/definition",
            .dtype = "U8",
            .n_shape = 1,
            .shape = {n}};
    }
    i -= COLUMN;
    return (struct ckpt_tensor){.name = columns[i].name,
                                .dtype = columns[i].dtype,
                                .n_shape = columns[i].width > 0 ? 2 : 1,
                                .shape = {n, columns[i].width}};
}

/* How many windows, or gaps, are in the file for it. */
static uint64_t own_rows(const struct ckpt_history *h, enum rows_of table)
{
    return h->same != 0 ? 0 : table == WINDOWS ? h->n_windows : h->n_gaps;
}

/* How many rows each table has, and bytes the two texts. */
static void count(const struct ckpt_state *s, uint64_t *n, uint64_t *late_bytes,
                  uint64_t *chain_bytes)
{
    n[HISTORIES] = s->n_histories;
    n[WINDOWS] = 0;
    n[GAPS] = 0;
    for (uint32_t i = 0; i < s->n_histories; i++) {
        n[WINDOWS] += own_rows(&s->histories[i], WINDOWS);
        n[GAPS] += own_rows(&s->histories[i], GAPS);
    }
    n[LATES] = s->n_lates;
    *late_bytes = 0;
    for (uint32_t i = 0; i < s->n_lates; i++) {
        *late_bytes += s->lates[i].n_body;
    }
    n[CHAINS] = s->n_chains;
    *chain_bytes = 0;
    for (uint32_t i = 0; i < s->n_chains; i++) {
        *chain_bytes += strlen(s->chains[i].definition);
    }
}

static int lay_out(const struct ckpt_state *s, struct arena *arena,
                   struct ckpt_file *file, struct buf *out)
{
    uint64_t n[TABLES];
    uint64_t late_bytes;
    uint64_t chain_bytes;

    file->tensors = arena_take(arena, TENSORS * sizeof(*file->tensors));
    if (file->tensors == NULL) {
        return PS_ENOMEM;
    }
    count(s, n, &late_bytes, &chain_bytes);
    for (uint32_t i = 0; i < TENSORS; i++) {
        struct ckpt_tensor *t = &file->tensors[i];
        size_t bytes = 1;
        int rc;

        if (i == LATE_BODY || i == CHAIN_TEXT) {
            *t = tensor_of(i, i == LATE_BODY ? late_bytes : chain_bytes);
        } else {
            *t = tensor_of(i, n[columns[i - COLUMN].table]);
            bytes = columns[i - COLUMN].bytes;
        }
        rc = ckpt_tensor_sums(t, ckpt_block_rows(bytes), arena);
        if (rc != PS_OK) {
            return rc;
        }
        if (!ckpt_tensor_size(t)) {
            return PS_ELIMIT;
        }
        t->offset = file->size;
        file->size += t->bytes;
        file->n_tensors++;
    }
    file->header_bytes = CKPT_STATE_BODIES; /* at least */
    return ckpt_header_encode(file, out);
}

/* The next row of a table; NULL: there is none. */
static const uint8_t *next_row(struct ckpt_state_encoder *x, enum rows_of table,
                               struct chain_row *chain)
{
    const struct ckpt_state *s = x->state;
    const struct ckpt_history *h = s->histories;

    if (table == HISTORIES) {
        return x->row < s->n_histories ? (const uint8_t *)&h[x->row++] : NULL;
    }
    if (table == LATES) {
        return x->row < s->n_lates ? (const uint8_t *)&s->lates[x->row++]
                                   : NULL;
    }
    if (table == CHAINS) {
        if (x->row == s->n_chains) {
            return NULL;
        }
        chain->id = s->chains[x->row].id;
        chain->n_definition = strlen(s->chains[x->row++].definition);
        return (const uint8_t *)chain;
    }
    while (x->history < s->n_histories &&
           x->row == own_rows(&h[x->history], table)) {
        x->history++;
        x->row = 0;
    }
    if (x->history == s->n_histories) {
        return NULL;
    }
    return table == WINDOWS ? (const uint8_t *)&h[x->history].windows[x->row++]
                            : (const uint8_t *)&h[x->history].gaps[x->row++];
}

bool ckpt_state_more(struct ckpt_state_encoder *x, uint64_t n)
{
    const struct ckpt_state *s = x->state;

    for (; n > 0 && x->column < ARRAY_LEN(columns); n--) {
        const struct column *c = &columns[x->column];
        struct chain_row chain;
        const uint8_t *row = next_row(x, c->table, &chain);

        if (row == NULL) {
            x->column++;
            x->history = 0;
            x->row = 0;
        } else {
            (void)buf_append(x->out, row + c->offset, c->bytes);
        }
    }
    for (; n > 0 && x->row < s->n_chains; n--, x->row++) {
        const char *text = s->chains[x->row].definition;

        (void)buf_append(x->out, text, strlen(text));
    }
    return x->column < ARRAY_LEN(columns) || x->row < s->n_chains;
}

int ckpt_state_begin(struct ckpt_state_encoder *x, const struct ckpt_state *s,
                     const char *name, struct arena *arena,
                     struct ckpt_file *file, struct buf *out)
{
    size_t start = out->size;
    int rc;

    *file = (struct ckpt_file){.name = name};
    *x = (struct ckpt_state_encoder){.state = s, .out = out};
    rc = lay_out(s, arena, file, out);
    if (rc != PS_OK) {
        return rc;
    }
    ASSERT(file->header_bytes == CKPT_STATE_BODIES);
    /* Room for what is behind the bodies, so that nothing is moved later. */
    if (buf_extend(out, (size_t)(file->size - file->header_bytes -
                                 file->tensors[LATE_BODY].bytes)) == NULL) {
        return PS_ENOMEM;
    }
    out->size = start + CKPT_STATE_BODIES;
    return PS_OK;
}

int ckpt_state_encode(const struct ckpt_state *s, const char *name,
                      struct arena *arena, struct ckpt_file *file,
                      struct buf *out)
{
    struct ckpt_state_encoder x;
    size_t start = out->size;
    int rc = ckpt_state_begin(&x, s, name, arena, file, out);

    if (rc != PS_OK) {
        return rc;
    }
    for (uint32_t i = 0; i < s->n_lates; i++) {
        (void)buf_append(out, s->lates[i].body, s->lates[i].n_body);
    }
    while (ckpt_state_more(&x, UINT64_MAX)) {
    }
    if (out->failed) {
        return PS_ENOMEM;
    }
    ASSERT(out->size - start == file->size);
    for (uint32_t i = 0; i < TENSORS; i++) {
        struct ckpt_tensor *t = &file->tensors[i];

        for (uint32_t k = 0; k < t->n_sums; k++) {
            struct ckpt_block b = ckpt_block(t, k);

            t->sums[k] = hash_bytes(out->data + start + b.offset, b.bytes);
        }
    }
    return PS_OK;
}

/* What a file is taken apart into. */
struct reading {
    const uint8_t *data;
    struct ckpt_file file;
    struct arena *arena;
    struct err *e;
    uint64_t n[TABLES];
    uint8_t *rows[TABLES];
};

static int refuse(struct reading *r, const char *what)
{
    return err_set(r->e, PS_EDATALOSS, "the state is not right: %s", what);
}

/* The tensor of this name with this type and shape; NULL: there is none. */
static const struct ckpt_tensor *find(const struct reading *r, uint32_t i)
{
    struct ckpt_tensor want = tensor_of(i, 0);

    for (uint32_t k = 0; k < r->file.n_tensors; k++) {
        const struct ckpt_tensor *t = &r->file.tensors[k];

        if (strcmp(t->name, want.name) == 0 &&
            strcmp(t->dtype, want.dtype) == 0 && t->n_shape == want.n_shape &&
            (want.n_shape == 1 || t->shape[1] == want.shape[1])) {
            return t;
        }
    }
    return NULL;
}

/* Fills the rows of all tables, column by column. */
static int read_columns(struct reading *r)
{
    const struct ckpt_tensor *found[ARRAY_LEN(columns)];
    bool is_known[TABLES] = {false};

    for (uint32_t i = 0; i < ARRAY_LEN(columns); i++) {
        enum rows_of table = columns[i].table;
        const struct ckpt_tensor *t = find(r, COLUMN + i);

        found[i] = t;
        if (t == NULL || (is_known[table] && r->n[table] != t->shape[0]) ||
            t->shape[0] > UINT32_MAX) {
            return refuse(r, columns[i].name);
        }
        is_known[table] = true;
        r->n[table] = t->shape[0];
    }
    for (size_t i = 0; i < TABLES; i++) {
        r->rows[i] = arena_take(r->arena, r->n[i] * row_sizes[i]);
        if (r->rows[i] == NULL) {
            return err_set(r->e, PS_ENOMEM, "out of memory");
        }
        memset(r->rows[i], 0, r->n[i] * row_sizes[i]);
    }
    for (uint32_t i = 0; i < ARRAY_LEN(columns); i++) {
        const struct column *c = &columns[i];
        const uint8_t *from = r->data + found[i]->offset;

        for (uint64_t k = 0; k < r->n[c->table]; k++) {
            memcpy(r->rows[c->table] + k * row_sizes[c->table] + c->offset,
                   from + k * c->bytes, c->bytes);
        }
    }
    return PS_OK;
}

static int check_windows(struct reading *r)
{
    const struct ckpt_window *windows = (void *)r->rows[WINDOWS];

    for (uint64_t i = 0; i < r->n[WINDOWS]; i++) {
        const struct ckpt_window *w = &windows[i];

        if (w->next == 0 || w->next > INT64_MAX || w->floor > w->next ||
            w->has_ended > 1) {
            return refuse(r, "a window that cannot be");
        }
        for (size_t k = 0; k < LIMIT_WINDOW; k++) {
            if (w->fate[k] > 0) {
                return refuse(r, "a fate that is no status");
            }
        }
    }
    return PS_OK;
}

static int check_gaps(struct reading *r)
{
    const struct ckpt_numbers *gaps = (void *)r->rows[GAPS];

    for (uint64_t i = 0; i < r->n[GAPS]; i++) {
        if (gaps[i].first == 0 || gaps[i].first > gaps[i].last ||
            gaps[i].last > INT64_MAX) {
            return refuse(r, "a gap that cannot be");
        }
    }
    return PS_OK;
}

/* Points to an earlier one, and is it but for the range. */
static bool is_same(const struct ckpt_history *all,
                    const struct ckpt_history *h)
{
    const struct ckpt_history *o;

    if (h->same > (uint64_t)(h - all)) {
        return false;
    }
    o = &all[h->same - 1];
    return o->same == 0 && o->lane == h->lane && o->forgotten == h->forgotten &&
           o->n_windows == h->n_windows && o->n_gaps == h->n_gaps;
}

static int give_windows(struct reading *r)
{
    struct ckpt_history *histories = (void *)r->rows[HISTORIES];
    const struct ckpt_window *windows = (void *)r->rows[WINDOWS];
    const struct ckpt_numbers *gaps = (void *)r->rows[GAPS];
    uint64_t windows_left = r->n[WINDOWS];
    uint64_t gaps_left = r->n[GAPS];
    int rc;

    for (uint64_t i = 0; i < r->n[HISTORIES]; i++) {
        struct ckpt_history *h = &histories[i];

        if (h->begin >= h->end || h->end > LIMIT_BUCKETS ||
            h->variable > UINT32_MAX) {
            return refuse(r, "a lane's range that cannot be");
        }
        if (h->same != 0) {
            if (!is_same(histories, h)) {
                return refuse(r, "lanes/same");
            }
            h->windows = histories[h->same - 1].windows;
            h->gaps = histories[h->same - 1].gaps;
            continue;
        }
        if (h->n_windows > windows_left || h->n_gaps > gaps_left) {
            return refuse(r, "lanes/windows or lanes/gaps");
        }
        h->windows = windows + (r->n[WINDOWS] - windows_left);
        h->gaps = gaps + (r->n[GAPS] - gaps_left);
        windows_left -= h->n_windows;
        gaps_left -= h->n_gaps;
    }
    if (windows_left + gaps_left > 0) {
        return refuse(r, "lanes/windows or lanes/gaps");
    }
    rc = check_windows(r);
    return rc == PS_OK ? check_gaps(r) : rc;
}

static int give_lates(struct reading *r)
{
    struct ckpt_late *lates = (void *)r->rows[LATES];
    const struct ckpt_tensor *t = find(r, LATE_BODY);
    uint64_t next = 0;

    if (t == NULL) {
        return refuse(r, "late/body");
    }
    for (uint64_t i = 0; i < r->n[LATES]; i++) {
        if (lates[i].n_body > t->bytes - next) {
            return refuse(r, "late/bytes");
        }
        lates[i].body = r->data + t->offset + next;
        next += lates[i].n_body;
    }
    return next == t->bytes ? PS_OK : refuse(r, "late/bytes");
}

static int give_chains(struct reading *r, struct ckpt_state *s)
{
    const struct chain_row *rows = (void *)r->rows[CHAINS];
    const struct ckpt_tensor *t = find(r, CHAIN_TEXT);
    struct ckpt_chain *chains =
        arena_take(r->arena, r->n[CHAINS] * sizeof(*chains));
    uint64_t next = 0;

    if (t == NULL) {
        return refuse(r, "chains/definition");
    }
    for (uint64_t i = 0; i < r->n[CHAINS] && chains != NULL; i++) {
        uint64_t n = rows[i].n_definition;
        char *text;

        if (n > t->bytes - next ||
            !wire_is_text((const char *)r->data + t->offset + next, n)) {
            return refuse(r, "chains/bytes");
        }
        text = arena_take(r->arena, n + 1);
        if (text == NULL) {
            return err_set(r->e, PS_ENOMEM, "out of memory");
        }
        memcpy(text, r->data + t->offset + next, n);
        text[n] = '\0';
        chains[i] = (struct ckpt_chain){.id = rows[i].id, .definition = text};
        next += n;
    }
    if (chains == NULL) {
        return err_set(r->e, PS_ENOMEM, "out of memory");
    }
    s->n_chains = (uint32_t)r->n[CHAINS];
    s->chains = chains;
    return next == t->bytes ? PS_OK : refuse(r, "chains/bytes");
}

/* Every byte against the index. */
static int check_sums(const void *data, size_t size,
                      const struct ckpt_file *file, struct err *e)
{
    int rc;

    if (size != file->size) {
        return err_set(e, PS_EDATALOSS,
                       "%s: it has %zu bytes, the index says %zu", file->name,
                       size, (size_t)file->size);
    }
    rc = ckpt_header_check(file, data, e);
    for (uint32_t i = 0; i < file->n_tensors && rc == PS_OK; i++) {
        const struct ckpt_tensor *t = &file->tensors[i];

        for (uint32_t k = 0; k < t->n_sums && rc == PS_OK; k++) {
            rc = ckpt_block_check(
                file, t, k, (const uint8_t *)data + ckpt_block(t, k).offset, e);
        }
    }
    return rc;
}

int ckpt_state_decode(const void *data, size_t size,
                      const struct ckpt_file *file, struct arena *arena,
                      struct ckpt_state *s, struct err *e)
{
    struct reading r = {.data = data, .arena = arena, .e = e};
    int rc = file == NULL ? PS_OK : check_sums(data, size, file, e);

    *s = (struct ckpt_state){0};
    if (rc == PS_OK) {
        rc = ckpt_header_decode(data, size, size, arena, &r.file, e);
    }
    if (rc == PS_OK) {
        rc = read_columns(&r);
    }
    if (rc == PS_OK) {
        rc = give_windows(&r);
    }
    if (rc == PS_OK) {
        rc = give_lates(&r);
    }
    if (rc == PS_OK) {
        rc = give_chains(&r, s);
    }
    if (rc == PS_OK) {
        s->n_histories = (uint32_t)r.n[HISTORIES];
        s->histories = (void *)r.rows[HISTORIES];
        s->n_lates = (uint32_t)r.n[LATES];
        s->lates = (void *)r.rows[LATES];
    }
    return rc;
}
