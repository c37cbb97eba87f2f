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

/* Parts from this size on are pages of their own; from the other on, huge ones:
 * rows come in no order, and each first touch of a page is a fault. */
enum { MAPPED_BYTES = 64 << 10, HUGE_BYTES = 2 << 20 };

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

void marks_charge(struct marks *m, struct table_budget *budget)
{
    m->budget->used -= m->bytes;
    budget->used += m->bytes;
    m->budget = budget;
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
    p = bytes >= MAPPED_BYTES ? mem_map(bytes, bytes >= HUGE_BYTES)
                              : mem_try_zero(bytes);
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

bool marks_merge(struct marks *to, const struct marks *from, uint64_t *at,
                 uint64_t words)
{
    ASSERT(to->n_parts >= from->n_parts);
    while (words > 0 && *at * 64 < from->room) {
        uint32_t row = (uint32_t)(*at * 64);
        uint32_t part = marks_part(row);
        uint64_t in_part = (part_rows(part) - (row - marks_before(part))) / 64;
        uint64_t *newer = marks_word(to, row);
        const uint64_t *older = marks_word(from, row);
        uint64_t n = base_min_u64(words, in_part);

        for (uint64_t w = 0; w < n; w++) {
            if (older[w] != 0) {
                to->n += (uint32_t)__builtin_popcountll(older[w] & ~newer[w]);
                newer[w] |= older[w];
            }
        }
        *at += n;
        words -= n;
    }
    return *at * 64 < from->room;
}

bool marks_give(struct marks *m, size_t bytes)
{
    ASSERT(m->budget->used >= m->bytes);
    while (bytes > 0 && m->n_parts > 0) {
        uint32_t part = m->n_parts - 1;
        size_t left = part_bytes(part) - m->given;
        size_t page = part_bytes(part) < HUGE_BYTES ? MAPPED_BYTES : HUGE_BYTES;
        size_t some = left;

        if (part_bytes(part) < MAPPED_BYTES) {
            mem_free(m->parts[part]);
        } else {
            some = base_min_u64(left, (bytes + page - 1) / page * page);
            mem_unmap((uint8_t *)m->parts[part] + left - some, some);
        }
        m->given += some;
        m->bytes -= some;
        m->budget->used -= some;
        bytes -= base_min_u64(bytes, some);
        if (some == left) {
            m->n_parts--;
            m->given = 0;
        }
    }
    m->room = 0;
    m->n = 0;
    return m->n_parts > 0;
}

void marks_fini(struct marks *m)
{
    while (marks_give(m, SIZE_MAX / 2)) {
    }
    marks_init(m, m->budget);
}
