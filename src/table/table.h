/* table.h - the rows of one part of one variable, on one shard.
 *
 * A table has one owner thread and no locks. Rows are named by number (32
 * bits); a number stays valid until its row is deleted, a pointer to a row
 * until the next call that inserts or deletes. Row block: dim values, then the
 * slots, dim floats each, in the order of the spec; 16-byte aligned, stride a
 * multiple of 16.
 *
 * Who writes to addresses from table_address has called table_write_begin for
 * these rows before. That is the door of all changes: the cut (a row that the
 * open snapshot has not had is copied out) and the marks of changed rows hang
 * there, delta, log and replica will. A change that does not come through it is
 * a row that a checkpoint gets wrong.
 */
#ifndef TABLE_H
#define TABLE_H

#include "base/base.h"
#include "kern/init.h"

#define TABLE_ABSENT UINT32_MAX
enum {
    TABLE_SLOTS_MAX = 4,
    TABLE_LOAD_KEYS = 1024 /* of one table_load */
};

struct slab_ahead;

/* Memory of all tables of a shard together. One thread. */
struct table_budget {
    uint64_t used;
    uint64_t limit;           /* 0: none */
    struct slab_ahead *ahead; /* large pieces made ready before; NULL: none */
    /* What snapshots take is counted there, so that a full table can be saved;
     * NULL: here. */
    struct table_budget *snapshots;
};

struct table_spec {
    uint32_t variable;
    uint32_t kind; /* enum ps_kind */
    uint32_t dim;
    uint32_t begin; /* buckets [begin, end) of the part */
    uint32_t end;
    uint32_t n_slots;
    uint64_t row_begin; /* dense: rows [row_begin, row_end) of the variable */
    uint64_t row_end;
    bool tracks_changes; /* for snapshots of the changed rows only */
    struct init_spec init;
    float slot_init[TABLE_SLOTS_MAX];
    const char *slot_names[TABLE_SLOTS_MAX]; /* whose they are; static text */
    struct table_budget *budget;             /* outlives the table */
};

struct table;

/* Dense tables get all their rows here, with their initial values.
 * PS_ENOMEM, PS_ELIMIT (the budget), PS_EARGUMENT (a spec that cannot be). */
int table_new(struct table **table, const struct table_spec *spec) MUST_USE;
void table_free(struct table *t);
const struct table_spec *table_spec(const struct table *t);
/* 0 of no table. */
uint64_t table_rows(const struct table *t);
uint64_t table_bytes(const struct table *t);
uint32_t table_stride(const struct table *t);

/* Hash: row numbers of n keys, TABLE_ABSENT where there is none. Pipelined. */
void table_find(const struct table *t, const uint64_t *keys, size_t n,
                uint32_t *rows);

/* What an insert did, so that a refused frame can take it back. A row does not
 * know its key, so this names the keys by their place in the batch. */
struct table_undo {
    const uint64_t *keys; /* the insert's; must live as long as the undo */
    uint32_t *rows;       /* places in keys whose rows were made; the arena's or
                             the caller's room for all of the batch */
    size_t n;
};

/* Hash: as find, and creates the absent rows with initial values and slots.
 * The same key twice is one row. undo->rows must have room for n numbers;
 * undo->keys and undo->n are set. On PS_ENOMEM or PS_ELIMIT no row and no key
 * has changed (memory taken on the way may be kept for the next insert). */
int table_insert(struct table *t, const uint64_t *keys, size_t n,
                 uint32_t *rows, struct table_undo *undo) MUST_USE;
/* Removes the rows that this insert made; they must be unchanged since, and no
 * snapshot begun. */
void table_uninsert(struct table *t, const struct table_undo *undo);
/* Hash: removes the rows of these keys; absent ones are passed over. Where
 * changes are tracked, on PS_ENOMEM or PS_ELIMIT none is gone. */
int table_erase(struct table *t, const uint64_t *keys, size_t n) MUST_USE;

/* About n rows will be loaded: see keymap_expect. */
void table_expect(struct table *t, uint64_t n);
/* Hash: rows of n <= TABLE_LOAD_KEYS keys with this content, n times dim values
 * and the same for each slot; a key that has a row gets a new content, of one
 * named twice the last counts. On PS_ENOMEM or PS_ELIMIT no row has changed. */
int table_load(struct table *t, const uint64_t *keys, size_t n,
               const float *values, const float *const *slots) MUST_USE;
/* Dense: the same for the variable's rows begin..begin + n - 1. PS_EARGUMENT
 * where these are not all of this part. */
int table_load_range(struct table *t, uint64_t begin, size_t n,
                     const float *values, const float *const *slots) MUST_USE;

/* Before the first byte of these rows is changed; absent ones are allowed.
 * Hash: keys[i] is the key of rows[i]; dense: keys is not looked at. */
void table_write_begin(struct table *t, const uint64_t *keys,
                       const uint32_t *rows, size_t n);
/* Rows that were changed so far, one for each row and call. */
uint64_t table_writes(const struct table *t);

/* Addresses of rows; NULL for TABLE_ABSENT. */
void table_address(const struct table *t, const uint32_t *rows, size_t n,
                   uint8_t **out);
/* The values that an absent key has. */
void table_initial(const struct table *t, uint64_t key, float *out);

/* Calls fn for every row, through the index, in an order that depends on the
 * keys only as far as the map's layout does. `key` is the row id for dense. */
void table_walk(const struct table *t,
                void (*fn)(void *context, uint64_t key, const float *values),
                void *context);

#endif
