/* ckpt_rows.c - rows of one part become blocks of its tensors.
 *
 *     idle --> filling --> full --> taken --> idle
 *
 * A block's memory is one piece: this struct, then the bytes of each tensor for
 * block_rows rows (or for all rows of the part, if these are fewer).
 */
#include "ckpt/ckpt_rows.h"

#include "base/hash.h"
#include "base/mem.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "numbers go into the file as they are in memory");

enum { MAPPED_BYTES = 256 << 10 };

struct ckpt_rows {
    const struct ckpt_part *part;
    struct ckpt_file *file;
    uint64_t block_rows; /* at most the part's rows */
    size_t block_bytes;  /* of the memory of one block */
    uint64_t added;
    uint32_t n_begun; /* blocks that rows were put into */
    uint32_t n_out;   /* taken and not given back */
    uint32_t n_idle;
    uint32_t n_blocks; /* of memory */
    uint32_t n_pieces; /* of a block */
    size_t row_bytes[CKPT_PIECES_MAX];
    size_t place[CKPT_PIECES_MAX]; /* of a piece in a block's memory */
    struct ckpt_filled *idle;
    struct ckpt_filled *filling;
    struct ckpt_filled *full; /* oldest first */
    struct ckpt_filled **full_end;
    struct ckpt_filled *out; /* given back or freed */
};

static const struct ckpt_tensor *tensor_of(const struct ckpt_rows *w,
                                           uint32_t piece)
{
    return &w->file->tensors[w->part->first_tensor + piece];
}

int ckpt_rows_new(struct ckpt_rows **rows, const struct ckpt_part *part,
                  struct ckpt_file *file)
{
    struct ckpt_rows *w = mem_try_zero(sizeof(*w));
    size_t at = base_align8(sizeof(struct ckpt_filled));

    *rows = w;
    if (w == NULL) {
        return PS_ENOMEM;
    }
    w->part = part;
    w->file = file;
    w->full_end = &w->full;
    w->block_rows = base_min_u64(part->block_rows, part->rows);
    w->n_pieces = part->n_tensors;
    ASSERT(w->n_pieces <= CKPT_PIECES_MAX && part->block_rows > 0);
    for (uint32_t i = 0; i < w->n_pieces; i++) {
        const struct ckpt_tensor *t = tensor_of(w, i);

        ASSERT(t->block_rows == part->block_rows);
        w->row_bytes[i] =
            t->n_shape == 1 ? sizeof(uint64_t) : part->dim * sizeof(float);
        w->place[i] = at;
        at = base_align8(at + w->row_bytes[i] * w->block_rows);
    }
    w->block_bytes = at;
    return PS_OK;
}

/* Blocks are given back one by one while somebody serves: malloc would return
 * the pages of many at once, when it pleases. */
static struct ckpt_filled *new_block(const struct ckpt_rows *w)
{
    return w->block_bytes >= MAPPED_BYTES ? mem_map(w->block_bytes, false)
                                          : mem_try(w->block_bytes);
}

static void free_block(const struct ckpt_rows *w, struct ckpt_filled *b)
{
    if (w->block_bytes >= MAPPED_BYTES) {
        mem_unmap(b, w->block_bytes);
    } else {
        mem_free(b);
    }
}

static bool free_first(struct ckpt_rows *w, struct ckpt_filled **list)
{
    struct ckpt_filled *b = *list;

    if (b != NULL) {
        *list = b->next;
        w->n_blocks--;
        free_block(w, b);
    }
    return b != NULL;
}

bool ckpt_rows_trim(struct ckpt_rows *w)
{
    if (w->added < w->part->rows || !free_first(w, &w->idle)) {
        return false;
    }
    w->n_idle--;
    return true;
}

bool ckpt_rows_drop(struct ckpt_rows *w)
{
    return free_first(w, &w->idle) || free_first(w, &w->filling) ||
           free_first(w, &w->full) || free_first(w, &w->out);
}

void ckpt_rows_free(struct ckpt_rows *w)
{
    while (w != NULL && ckpt_rows_drop(w)) {
    }
    mem_free(w);
}

uint64_t ckpt_rows_room(const struct ckpt_rows *w)
{
    uint64_t room = w->n_idle * w->block_rows;

    if (w->filling != NULL) {
        room += w->block_rows - w->filling->rows;
    }
    return base_min_u64(room, w->part->rows - w->added);
}

uint64_t ckpt_rows_lacks(const struct ckpt_rows *w, uint64_t n)
{
    uint64_t room = ckpt_rows_room(w);

    n = base_min_u64(n, w->part->rows - w->added);
    return n <= room ? 0
                     : (n - room + w->block_rows - 1) / w->block_rows *
                           w->block_bytes;
}

int ckpt_rows_reserve(struct ckpt_rows *w, uint64_t n)
{
    n = base_min_u64(n, w->part->rows - w->added);
    while (ckpt_rows_room(w) < n) {
        struct ckpt_filled *b = new_block(w);

        if (b == NULL) {
            return PS_ENOMEM;
        }
        *b = (struct ckpt_filled){.next = w->idle, .of = w};
        w->idle = b;
        w->n_idle++;
        w->n_blocks++;
    }
    return PS_OK;
}

static void begin_block(struct ckpt_rows *w)
{
    struct ckpt_filled *b = w->idle;

    ASSERT(b != NULL);
    w->idle = b->next;
    w->n_idle--;
    *b = (struct ckpt_filled){
        .of = w, .block = w->n_begun++, .n_pieces = w->n_pieces};
    for (uint32_t i = 0; i < w->n_pieces; i++) {
        b->pieces[i].data = (const uint8_t *)b + w->place[i];
    }
    w->filling = b;
}

/* Of each row the bytes from `at` on, one after another. Pushes wait for this:
 * a call for each of a few lines would take as long as the copy. */
static void copy_columns(uint8_t *to, const uint8_t *const *rows, size_t at,
                         size_t bytes, size_t n)
{
    enum { STEP = 32 };

    for (size_t i = 0; i < n; i++) {
        const uint8_t *from = rows[i] + at;

        if (bytes % STEP != 0) {
            memcpy(to, from, bytes);
        }
        for (size_t k = 0; k < bytes && bytes % STEP == 0; k += STEP) {
            memcpy(to + k, from + k, STEP);
        }
        to += bytes;
    }
}

/* Behind those of a block that has room for them. */
static void fill(struct ckpt_filled *b, const uint64_t *keys,
                 const uint8_t *const *rows, size_t n)
{
    const struct ckpt_rows *w = b->of;
    const struct ckpt_part *p = w->part;
    uint32_t piece = 0;
    size_t at = 0;

    if (p->content == CKPT_ERASED || p->has_keys) {
        memcpy((uint8_t *)b + w->place[0] + b->rows * sizeof(*keys), keys,
               n * sizeof(*keys));
        piece = 1;
    } else {
        ASSERT(keys[0] == p->row_begin + w->added);
    }
    for (; piece < w->n_pieces; piece++) {
        ASSERT(rows != NULL);
        copy_columns((uint8_t *)b + w->place[piece] +
                         b->rows * w->row_bytes[piece],
                     rows, at, w->row_bytes[piece], n);
        at += w->row_bytes[piece];
    }
}

void ckpt_rows_add(struct ckpt_rows *w, const uint64_t *keys,
                   const uint8_t *const *rows, size_t n)
{
    const struct ckpt_part *p = w->part;
    size_t some;

    for (size_t i = 0; i < n; i += some) {
        struct ckpt_filled *b;

        ASSERT(w->added < p->rows);
        if (w->filling == NULL) {
            begin_block(w);
        }
        b = w->filling;
        some = (size_t)base_min_u64(n - i, w->block_rows - b->rows);
        fill(b, keys + i, rows != NULL ? rows + i : NULL, some);
        b->rows += some;
        w->added += some;
        if (b->rows == w->block_rows || w->added == p->rows) {
            *w->full_end = b;
            w->full_end = &b->next;
            w->filling = NULL;
        }
    }
}

struct ckpt_filled *ckpt_rows_take_unsummed(struct ckpt_rows *w)
{
    struct ckpt_filled *b = w->full;

    if (b == NULL) {
        return NULL;
    }
    w->full = b->next;
    if (w->full == NULL) {
        w->full_end = &w->full;
    }
    for (uint32_t i = 0; i < w->n_pieces; i++) {
        const struct ckpt_tensor *t = tensor_of(w, i);
        struct ckpt_block place = ckpt_block(t, b->block);

        ASSERT(place.rows == b->rows);
        b->pieces[i].offset = place.offset;
        b->pieces[i].size = place.bytes;
    }
    b->next = w->out;
    w->out = b;
    w->n_out++;
    return b;
}

void ckpt_rows_sum(const struct ckpt_filled *b, uint32_t piece, uint64_t sum)
{
    tensor_of(b->of, piece)->sums[b->block] = sum;
}

struct ckpt_filled *ckpt_rows_take(struct ckpt_rows *w)
{
    struct ckpt_filled *b = ckpt_rows_take_unsummed(w);

    for (uint32_t i = 0; b != NULL && i < b->n_pieces; i++) {
        ckpt_rows_sum(b, i, hash_bytes(b->pieces[i].data, b->pieces[i].size));
    }
    return b;
}

void ckpt_rows_give(struct ckpt_rows *w, struct ckpt_filled *b)
{
    struct ckpt_filled **at = &w->out;

    ASSERT(b->of == w && w->n_out > 0);
    while (*at != b) {
        ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = b->next;
    w->n_out--;
    if (w->added == w->part->rows) {
        w->n_blocks--;
        free_block(w, b);
        return;
    }
    b->next = w->idle;
    w->idle = b;
    w->n_idle++;
}

uint64_t ckpt_rows_added(const struct ckpt_rows *w)
{
    return w->added;
}

bool ckpt_rows_is_done(const struct ckpt_rows *w)
{
    return w->added == w->part->rows && w->full == NULL;
}

uint64_t ckpt_rows_bytes(const struct ckpt_rows *w)
{
    return sizeof(*w) + (uint64_t)w->n_blocks * w->block_bytes;
}
