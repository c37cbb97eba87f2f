/* rows.c - row blocks by number.
 *
 *     slabs -> [ 0 ][ 1 ][ 2 ] ...      row number: | slab | row in slab |
 *                |                                           shift bits
 *                v
 *                +-------+-------+-------+
 *                | block | block | block |   1 << shift blocks of stride bytes,
 *                +-------+-------+-------+   2 to 4 MiB: huge pages
 *
 * A number is the name of a row as long as the row lives: the index, an undo
 * and later the delta hold numbers, four bytes each, never addresses. Finding
 * the address is a shift, a load from a small array that stays in the cache,
 * and a multiplication.
 *
 * A slab is never moved or given back, with one exception: a table with less
 * than a full slab has only slab 0, and that is a copy twice as large each time
 * until it is full size. So 128 small variables cost kilobytes, not 256 MiB;
 * for this alone an address dies with the next insert.
 *
 * Free numbers are a list through the blocks themselves: the first four bytes
 * of a free block are the number of the next one. Giving the highest number
 * back lowers `next` instead, so that taking rows and giving them back in the
 * opposite order leaves the store as it was.
 *
 * Invariant: a number below next is in use or on the free list, and not both;
 * capacity >= next; slab i has min(1 << shift, capacity - (i << shift)) rows.
 *
 * Why not the obvious ways. One array that doubles: stops the shard for the
 * copy. malloc for each row: 16 bytes and a cache miss more a row, and 4K
 * pages, which alone cost 1.7x. The key in the row, or the row in the index:
 * a walk through the index does not need the former, and the latter moves rows
 * whenever the index grows.
 */
#include "table/rows.h"

#include "table/slab.h"

/* The first slab of a table is a page. */
enum { FIRST_BYTES = 4096, FIRST_ROOM = 8 };

/* The smallest power of two, as a shift, of rows that fill `bytes`. */
static uint32_t rows_shift(uint32_t stride, size_t bytes)
{
    uint32_t shift = 0;

    while (((size_t)stride << shift) < bytes) {
        shift++;
    }
    return shift;
}

void rows_init(struct rows *r, uint32_t stride, struct table_budget *budget)
{
    ASSERT(stride >= 16 && stride % 16 == 0);
    *r = (struct rows){
        .stride = stride,
        .shift = rows_shift(stride, SLAB_HUGE_BYTES),
        .free = TABLE_ABSENT,
        .budget = budget,
    };
}

static uint64_t slab_rows(const struct rows *r, uint32_t slab)
{
    uint64_t before = (uint64_t)slab << r->shift;

    return base_min_u64(UINT64_C(1) << r->shift, r->capacity - before);
}

void rows_fini(struct rows *r)
{
    for (uint32_t i = 0; i < r->n_slabs; i++) {
        slab_give(r->budget, r->slabs[i], slab_rows(r, i) * r->stride);
    }
    slab_give(r->budget, r->slabs, r->room * sizeof(*r->slabs));
    rows_init(r, r->stride, r->budget);
}

/* Room for one more pointer in `slabs`. */
static int reserve_pointer(struct rows *r)
{
    uint32_t room = r->room == 0 ? FIRST_ROOM : 2 * r->room;
    void *slabs = r->slabs;
    int rc;

    if (r->n_slabs < r->room) {
        return PS_OK;
    }
    rc = slab_replace(r->budget, &slabs, r->room * sizeof(*r->slabs),
                      room * sizeof(*r->slabs));
    if (rc != PS_OK) {
        return rc;
    }
    r->bytes += (room - r->room) * sizeof(*r->slabs);
    r->slabs = slabs;
    r->room = room;
    return PS_OK;
}

static int add_slab(struct rows *r, uint64_t n)
{
    void *slab;
    int rc = reserve_pointer(r);

    if (rc != PS_OK) {
        return rc;
    }
    rc = slab_take(r->budget, n * r->stride, &slab);
    if (rc != PS_OK) {
        return rc;
    }
    r->slabs[r->n_slabs] = slab;
    r->n_slabs++;
    r->capacity += n;
    r->bytes += n * r->stride;
    return PS_OK;
}

static int grow_first_slab(struct rows *r)
{
    size_t bytes = r->capacity * r->stride;
    void *slab = r->slabs[0];
    int rc = slab_replace(r->budget, &slab, bytes, 2 * bytes);

    if (rc != PS_OK) {
        return rc;
    }
    r->slabs[0] = slab;
    r->capacity *= 2;
    r->bytes += bytes;
    return PS_OK;
}

static int grow(struct rows *r)
{
    uint64_t full = UINT64_C(1) << r->shift;
    uint32_t first = rows_shift(r->stride, FIRST_BYTES);

    if (r->capacity > TABLE_ABSENT - full) {
        return PS_ELIMIT; /* the numbers end */
    }
    if (r->n_slabs == 0) {
        return add_slab(r, UINT64_C(1) << base_min_u64(first, r->shift));
    }
    return r->capacity < full ? grow_first_slab(r) : add_slab(r, full);
}

int rows_take(struct rows *r, uint32_t *row)
{
    if (r->free != TABLE_ABSENT) {
        *row = r->free;
        memcpy(&r->free, rows_address(r, *row), sizeof(r->free));
        ASSERT(r->free == TABLE_ABSENT || r->free < r->next);
        r->n++;
        return PS_OK;
    }
    if (r->next == r->capacity) {
        int rc = grow(r);

        if (rc != PS_OK) {
            return rc;
        }
    }
    *row = r->next;
    r->next++;
    r->n++;
    return PS_OK;
}

int rows_take_all(struct rows *r, uint64_t n)
{
    uint64_t full = UINT64_C(1) << r->shift;

    ASSERT(r->next == 0 && r->capacity == 0);
    if (n >= TABLE_ABSENT) {
        return PS_ELIMIT;
    }
    while (r->capacity < n) {
        int rc = add_slab(r, base_min_u64(full, n - r->capacity));

        if (rc != PS_OK) {
            return rc;
        }
    }
    r->next = (uint32_t)n;
    r->n = n;
    return PS_OK;
}

void rows_give(struct rows *r, uint32_t row)
{
    ASSERT(row < r->next && r->n > 0);
    r->n--;
    if (row == r->next - 1) {
        r->next--;
        return;
    }
    memcpy(rows_address(r, row), &r->free, sizeof(r->free));
    r->free = row;
}

void rows_write_begin(struct rows *r, const uint32_t *rows, size_t n)
{
    uint64_t present = 0;

    for (size_t i = 0; i < n; i++) {
        DEBUG_ASSERT(rows[i] == TABLE_ABSENT || rows[i] < r->next);
        present += rows[i] != TABLE_ABSENT;
    }
    r->writes += present;
}
