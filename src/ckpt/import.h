/* import.h - checkpoints of the original become ours.
 *
 *     original --> what becomes of each variable --> one checkpoint of ours
 *
 * Each variable has one of these fates:
 *     SERVED  float32, index or hash64: a variable of ours that servers load.
 *             Its updater is the one whose slots it has, else AssignUpdater;
 *             other slots are kept beside it
 *     KEPT    anything else: its tensors are in the checkpoint's file of what
 *             no server reads (ckpt_other.h)
 *     ABSENT  declared as not saved, and not there
 * Tensors that are kept are
 *     VARIABLE/other/keys         I64 [n] of hash64, [n, 2] of hash128
 *     VARIABLE/other/values       [n, ...]; not of a served variable
 *     VARIABLE/other/slot/SLOT    [n, ...]
 *     VARIABLE/other/any/SLOT     what all rows of a part share, of the first
 *                                 part that has it
 * with row i of each being one row. Blocking. Status as original.h.
 */
#ifndef IMPORT_H
#define IMPORT_H

#include "ckpt/ckpt_folder.h"
#include "ckpt/original.h"

enum import_fate { IMPORT_SERVED, IMPORT_KEPT, IMPORT_ABSENT };

enum {
    /* Parts of a large hash variable, so that a server reads only its own. */
    IMPORT_PARTS = 16,
    IMPORT_SPLIT_ROWS = 1 << 20,
    IMPORT_TENSORS_MAX = 3 + ORIGINAL_SLOTS_MAX
};

struct import_variable {
    struct original_rows rows;
    enum import_fate fate;
    char why[160];     /* KEPT: why it cannot be served */
    char assumed[160]; /* SERVED: what the original's files do not say */
    /* SERVED: */
    uint32_t kind; /* enum ps_kind */
    uint64_t n_rows;
    uint32_t dim;
    struct ps_init init;
    struct ps_updater updater;
    uint32_t n_slots;
    uint32_t
        slots[TABLE_SLOTS_MAX]; /* of rows.slots, as the updater has them */
    uint32_t n_parts;
    uint64_t counts[IMPORT_PARTS]; /* rows of each part */
    /* What is kept: its tensors of the other file. */
    uint32_t n_tensors;
};

struct import {
    struct fs *fs;
    struct original *original;
    struct arena arena;
    uint32_t n;
    struct import_variable *variables;
};

/* Reads and checks all but the numbers. */
int import_new(struct import **x, struct fs *fs, struct err *e) MUST_USE;
void import_free(struct import *x);
/* Writes one checkpoint below `to`, the newest there, called `name`. progress
 * counts rows and may be NULL. folder: CKPT_NAME_MAX + 1 bytes. */
int import_write(const struct import *x, struct fs *to, const char *name,
                 uint64_t time_ms, const struct ckpt_progress *progress,
                 char *folder, struct err *e) MUST_USE;
/* Whether a slot goes into the rows of a served variable. */
bool import_serves_slot(const struct import_variable *v, uint32_t slot);

/* import_plan.c: what becomes of a variable that was scanned. PS_ENOTIMPL:
 * nothing can. */
int import_plan(struct import_variable *v, struct err *e) MUST_USE;
/* The k-th tensor that is kept of a variable: its shape and, unless NULL, its
 * name (PS_ENOMEM), and its slot or IMPORT_KEYS, IMPORT_VALUES. */
enum { IMPORT_KEYS = -1, IMPORT_VALUES = -2 };
int import_tensor(const struct import_variable *v, uint32_t k,
                  struct arena *arena, struct ckpt_tensor *t,
                  int *slot) MUST_USE;

#endif
