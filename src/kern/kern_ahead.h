/* kern_ahead.h - brings rows into the cache before their turn.
 *
 * Only the files of a kern include this. A loop over rows calls
 * kern_ahead_start() before and kern_ahead() in each turn.
 */
#ifndef KERN_AHEAD_H
#define KERN_AHEAD_H

#include "base/base.h"

enum {
    /* Rows between the prefetch and the use: flat from 8 when the rows are far
     * larger than the cache; more helps small tables a little. */
    KERN_AHEAD_ROWS = 16,
    /* What is fetched of one row: the hardware follows the rest, and 16 longer
     * rows would begin to push each other out of the first-level cache. */
    KERN_AHEAD_BYTES = 512,
    KERN_AHEAD_LINE = 64
};

static inline void kern_ahead_row(const uint8_t *row, size_t bytes)
{
    const uint8_t *line;

    if (row == NULL) {
        return;
    }
    /* A row that begins inside a line can end one line further. */
    line = row - ((uintptr_t)row & (KERN_AHEAD_LINE - 1));
    for (; line < row + bytes; line += KERN_AHEAD_LINE) {
        PREFETCH(line);
    }
}

/* Asks for row i + 16; bytes is the size of a row's block. */
static inline void kern_ahead(uint8_t *const *rows, size_t i, size_t n,
                              size_t bytes)
{
    if (i + KERN_AHEAD_ROWS < n) {
        kern_ahead_row(rows[i + KERN_AHEAD_ROWS],
                       base_min_u64(bytes, KERN_AHEAD_BYTES));
    }
}

/* Asks for the first 16 rows. */
static inline void kern_ahead_start(uint8_t *const *rows, size_t n,
                                    size_t bytes)
{
    for (size_t i = 0; i < n && i < KERN_AHEAD_ROWS; i++) {
        kern_ahead_row(rows[i], base_min_u64(bytes, KERN_AHEAD_BYTES));
    }
}

#endif
