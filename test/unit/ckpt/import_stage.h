/* import_stage.h - a small checkpoint of the original, written byte by byte.
 *
 *     a/b   hash64 F32 [9, 2], parts of 40000 and 25536 buckets; keys 5, 39999,
 *           -65536 | -1; slot "adagrad_accumulation" (0.5) only in the first,
 *           any-one slot "beta" of two doubles
 *     p     hash128 F64 [9, 1]; keys (1, 2), (3, -1); row slot "mark" of I16
 *     w     index F32 [3, 2], parts of 1 and 2 rows; slots "accum" (0.1) and
 *           "linear"
 *     gone  not saved, without files
 * Number i of a row of tensor t is stage_old(key, t, i), tensor 0 the values.
 */
#ifndef IMPORT_STAGE_H
#define IMPORT_STAGE_H

#include "base/buf.h"
#include "fs/fs.h"

/* Names of the files below, and how many there are. */
enum { STAGE_FILES = 9 };
extern const char *const stage_files[STAGE_FILES];

double stage_old(int64_t key, int tensor, int i);
/* The bytes of file i. */
void stage_old_file(int i, struct buf *out);
/* A file system with all of it; fs_memory_free. */
struct fs *stage_old_new(void);
void stage_old_put(struct fs *fs, int i, const void *data, size_t size);

#endif
