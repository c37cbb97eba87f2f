/* original.h - checkpoints of the original ps-plus, read.
 *
 *     checkpoints         names of folders, newest last
 *     NAME/__meta__       the variables
 *     NAME/VARIABLE^PART  rows: what server PART had of it
 *     NAME/.meta, NAME/global_queue_meta   of XDL; not always there
 *
 * They have no checksum and no version, so nothing is believed: each count and
 * length is held against what is left of its file before it is used, ids
 * against capacities, keys against each other and against the part that they
 * are in. What is wrong is PS_EDATALOSS (PS_ENOTIMPL where it is something that
 * nobody knows, such as another initializer) with file, offset and reason.
 *
 * Blocking, over struct fs whose root is the folder that the user named. One
 * thread. Memory: names and numbers, and the keys of one part at a time.
 */
#ifndef ORIGINAL_H
#define ORIGINAL_H

#include "base/arena.h"
#include "base/err.h"
#include "fs/fs.h"

enum {
    ORIGINAL_DIMS_MAX = 8,
    ORIGINAL_SLOTS_MAX = 64,
    ORIGINAL_BUCKETS = 65536, /* of its hash variables */
};

enum original_kind {
    ORIGINAL_INDEX = 0,
    ORIGINAL_HASH128 = 1,
    ORIGINAL_HASH64 = 2
};

enum original_dtype {
    ORIGINAL_I8 = 0,
    ORIGINAL_I16 = 1,
    ORIGINAL_I32 = 2,
    ORIGINAL_I64 = 3,
    ORIGINAL_F32 = 4,
    ORIGINAL_F64 = 5
};
/* Bytes of a number, and its name as safetensors has it. dtype: as checked. */
size_t original_dtype_bytes(uint32_t dtype);
const char *original_dtype_name(uint32_t dtype);
const char *original_kind_name(uint32_t kind);

enum original_init_kind {
    ORIGINAL_INIT_NONE,
    ORIGINAL_INIT_CONSTANT,
    ORIGINAL_INIT_TRUNCATED_NORMAL,
    ORIGINAL_INIT_NORMAL,
    ORIGINAL_INIT_ORTHOGONAL,
    ORIGINAL_INIT_UNIFORM_UNIT_SCALING,
    ORIGINAL_INIT_VARIANCE_SCALING
};

struct original_init {
    enum original_init_kind kind;
    int32_t seed;
    double a;       /* constant, mean, gain, factor or scale */
    double b;       /* deviation */
    bool is_normal; /* variance scaling: of a normal distribution */
    double area;    /* uniform unit scaling: product of all dims but the last */
};

struct original_tensor {
    uint32_t dtype;
    uint32_t n_dims;
    uint64_t dims[ORIGINAL_DIMS_MAX];
    struct original_init init;
    uint64_t rows;      /* dims[0]; of a scalar 1 */
    uint64_t row_bytes; /* of the other dims */
    uint64_t offset;    /* of its numbers in the file */
};

struct original_slot {
    const char *name;
    bool is_any; /* one tensor for the whole part, not one row for a row */
    struct original_tensor tensor;
};

/* One file, VARIABLE^PART. */
struct original_part {
    uint64_t begin; /* rows of index, buckets of hash */
    uint64_t end;
    uint64_t n_items; /* keys; of index: rows */
    uint64_t items_offset;
    uint64_t size; /* of the file */
    struct original_tensor data;
    uint32_t n_slots;
    struct original_slot *slots; /* by name */
};

struct original_variable {
    const char *name;
    uint32_t kind;
    uint32_t dtype;
    uint32_t n_dims;
    uint64_t dims[ORIGINAL_DIMS_MAX]; /* of hash [0] is only a guess */
    uint64_t row_elements;            /* of the other dims */
    uint64_t batch_read;              /* 0: not said */
    bool is_not_saved;                /* its argument `save` was false */
    uint32_t n_parts;
    uint64_t *sizes; /* of the parts */
};

struct original {
    struct arena arena;
    char folder[256]; /* below the root; "" is the root itself */
    uint32_t n_variables;
    struct original_variable *variables;
    bool has_step;
    uint64_t step; /* xdl_global_step */
    uint32_t n_queues;
    const char **queues; /* names of its file queues */
};

/* The newest that `checkpoints` lists; without such a file the root itself. */
int original_open(struct original **o, struct fs *fs, struct err *e) MUST_USE;
void original_free(struct original *o);

/* A variable over all of its parts. */
struct original_rows {
    const struct original_variable *variable;
    bool is_absent; /* not saved, and there is no file */
    uint64_t rows;
    uint64_t bytes; /* of all files */
    uint32_t n_parts;
    struct original_part *parts;
    /* Slots of any part: a server that nobody pushed to has none. The tensor is
     * that of the first part that has it. */
    uint32_t n_slots;
    struct original_slot *slots;
};

struct original_row {
    uint64_t key; /* of index its number */
    uint64_t low; /* of hash128: the second word */
    const void *values;
    /* Of rows->slots; NULL: any-one, or a part without it. */
    const void *slots[ORIGINAL_SLOTS_MAX];
};
/* Not PS_OK stops, and is what the caller gets. */
typedef int original_row_fn(void *context, const struct original_row *row,
                            struct err *e);

/* Reads and checks everything but the numbers: layouts, that the parts fit each
 * other, all keys. fn gets each key (may be NULL), without values. */
int original_scan(const struct original *o, struct fs *fs,
                  const struct original_variable *v, struct arena *arena,
                  original_row_fn *fn, void *context,
                  struct original_rows *rows, struct err *e) MUST_USE;
/* All rows with their values, part by part; of index by rising number. */
int original_read(const struct original *o, struct fs *fs,
                  const struct original_rows *rows, original_row_fn *fn,
                  void *context, struct err *e) MUST_USE;
/* The numbers of an any-one slot: of the first part that has it. */
int original_read_any(const struct original *o, struct fs *fs,
                      const struct original_rows *rows, uint32_t slot,
                      struct buf *out, struct err *e) MUST_USE;

/* The bucket of a key in the original: 16 bits. */
uint32_t original_bucket64(uint64_t key);
uint32_t original_bucket128(uint64_t a, uint64_t b);

#endif
