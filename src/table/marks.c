/* marks.c - a bit for each row number, in memory that grows without a copy.
 *
 *     part 0   rows 0 to 4,095              512 bytes
 *     part 1   rows 4,096 to 8,191          512 bytes
 *     part 2   rows 8,192 to 16,383         1 KiB
 *     ...
 *     part 20  rows 2^31 to 2^32 - 1        256 MiB
 *
 * Each part doubles the room, so 21 pointers are enough for all numbers, and a
 * bit once placed stays where it is: an array that doubles would stop the shard
 * for its copy. Large parts are pages of the system, which are zero without
 * being written: the marks of 10^8 rows are made in microseconds, which is what
 * lets a snapshot begin at once. The small ones are cleared, 128 KiB in all.
 */
#include "table/marks.h"

#include "base/mem.h"

/* Parts from this size on are pages of their own. */
enum { MAPPED_BYTES = 64 << 10 };

static uint64_t part_rows(uint32_t part)
{
    uint64_t firsts = part == 0 ? 1 : UINT64_C(1) << (part - 1);

    return firsts * MARKS_FIRST_ROWS;
}

static size_t part_bytes(uint32_t part)
{
    return (size_t)(part_rows(part) / 8);
}

void marks_init(struct marks *m, struct table_budget *budget)
{
    *m = (struct marks){.budget = budget};
}

void marks_fini(struct marks *m)
{
    for (uint32_t i = 0; i < m->n_parts; i++) {
        if (part_bytes(i) >= MAPPED_BYTES) {
            mem_unmap(m->parts[i], part_bytes(i));
        } else {
            mem_free(m->parts[i]);
        }
    }
    ASSERT(m->budget->used >= m->bytes);
    m->budget->used -= m->bytes;
    marks_init(m, m->budget);
}

static int add_part(struct marks *m)
{
    struct table_budget *b = m->budget;
    size_t bytes = part_bytes(m->n_parts);
    void *p;

    ASSERT(m->n_parts < MARKS_PARTS);
    if (b->limit != 0 && (b->used > b->limit || bytes > b->limit - b->used)) {
        return PS_ELIMIT;
    }
    p = bytes >= MAPPED_BYTES ? mem_map(bytes, false) : mem_try_zero(bytes);
    if (p == NULL) {
        return PS_ENOMEM;
    }
    b->used += bytes;
    m->bytes += bytes;
    m->room += part_rows(m->n_parts);
    m->parts[m->n_parts] = p;
    m->n_parts++;
    return PS_OK;
}

int marks_reserve(struct marks *m, uint64_t n)
{
    while (m->room < n) {
        int rc = add_part(m);

        if (rc != PS_OK) {
            return rc;
        }
    }
    return PS_OK;
}

/* The newer bits are put into the older ones, whose pages have been written
 * before, and the parts change places. */
void marks_merge(struct marks *to, struct marks *from)
{
    uint64_t both = 0;

    ASSERT(to->n_parts >= from->n_parts);
    for (uint32_t i = 0; i < from->n_parts; i++) {
        uint64_t *newer = to->parts[i];
        uint64_t *older = from->parts[i];

        for (size_t w = 0; w < part_bytes(i) / sizeof(*newer); w++) {
            if (newer[w] == 0) {
                continue;
            }
            if ((newer[w] & older[w]) != 0) {
                both += (uint32_t)__builtin_popcountll(newer[w] & older[w]);
            }
            older[w] |= newer[w];
        }
        to->parts[i] = older;
        from->parts[i] = newer;
    }
    to->n += from->n - both;
}
