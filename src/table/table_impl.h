/* table_impl.h - what a table is made of, for the files of this folder. */
#ifndef TABLE_IMPL_H
#define TABLE_IMPL_H

#include "table/erased.h"
#include "table/keymap.h"
#include "table/marks.h"
#include "table/rows.h"
#include "table/snapshot.h"
#include "table/table.h"

struct table {
    struct table_spec spec;
    struct rows rows;
    struct keymap map; /* not of a dense table */
    /* Where changes are tracked: since the last snapshot_begin, with those of
     * the snapshots before it that were not kept. */
    struct marks changed; /* rows in use only; room for all of them */
    struct erased erased;
    struct snapshot *snapshot; /* the open one; NULL */
};

static inline bool table_is_dense(const struct table *t)
{
    return t->spec.kind == PS_DENSE;
}

/* As table_insert, but the new rows have no content yet, and are not announced
 * as written. */
int table_make_rows(struct table *t, const uint64_t *keys, size_t n,
                    uint32_t *rows, struct table_undo *undo) MUST_USE;

#endif
