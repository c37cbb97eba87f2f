/* ckpt.h - the format of checkpoints (doc/checkpoint.md), without any file.
 *
 *     manifest.json ---> lane-7.json ----> lane-7.safetensors        rows
 *      (checksum of       (checksums   \-> lane-7.state.safetensors  windows,
 *       each index)        of blocks)                               late frames
 *
 * All here is pure: no file, no clock. Memory comes from an arena of the caller
 * or from mem_try; what cannot be had is PS_ENOMEM. What was read is believed
 * only after its checksum was right, and even then each count, size and offset
 * is checked before use: damage is PS_EDATALOSS with a sentence that says what
 * is wrong, what a newer program wrote is PS_EVERSION. Decoded texts and arrays
 * are copies in the arena: the bytes that were decoded may go at once.
 *
 * Whoever saves a lane:
 *     fill in struct ckpt_part for each part, ckpt_layout, write the header at
 *     0; a ckpt_rows (ckpt_rows.h) for each part makes blocks of its rows;
 *     ckpt_state_encode (ckpt_state.h); sync; ckpt_index_encode.
 * The scheduler: ckpt_manifest_encode. Whoever loads: ckpt_new, ckpt_add_index
 * for the lanes that ckpt_needs names, ckpt_sources, and for each block that it
 * reads ckpt_block_check. Blocking versions over struct fs: ckpt_folder.h.
 */
#ifndef CKPT_H
#define CKPT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "table/table.h"
#include "wire/wire.h"

enum {
    CKPT_FORMAT = 1,
    /* Of the manifest of a part on its way: "move", in ASCII. */
    CKPT_FORMAT_MOVE = 0x6d6f7665,
    /* About so many bytes of one tensor have one checksum. */
    CKPT_BLOCK_BYTES = 1 << 20,
    /* What the safetensors package accepts. */
    CKPT_HEADER_MAX = 100000000,
    /* Larger ones are not read: a million blocks are 24 MB of an index, 65,536
     * variables on 4,096 lanes would be 300 MB of a manifest. */
    CKPT_JSON_MAX = 512 << 20,
    /* Blocks of others may be larger, to this. */
    CKPT_BLOCK_MAX = 16 << 20,
    CKPT_NAME_MAX = 63,                    /* of a folder or a file */
    CKPT_PIECES_MAX = 2 + TABLE_SLOTS_MAX, /* keys, values, slots */
    CKPT_SHAPE_MAX = 8 /* of ours 2; of what was imported more */
};

/* Names of folders and files. `out` has CKPT_NAME_MAX + 1 bytes. */
#define CKPT_MANIFEST "manifest.json"
enum ckpt_file_kind {
    CKPT_FILE_ROWS,
    CKPT_FILE_STATE,
    CKPT_FILE_INDEX,
    CKPT_FILE_OTHER /* ckpt_other.h */
};
/* ckpt-<cut>-<term>, or .new-<cut>-<term> while a tool makes it. */
void ckpt_folder_name(uint64_t cut, uint64_t term, bool is_new, char *out);
/* .new-<cut>-<term>-<cluster>: while a save makes it. Clusters that were given
 * one root do not meet in it, and each knows what is its own. */
void ckpt_saving_name(uint64_t cut, uint64_t term, uint64_t cluster_high,
                      uint64_t cluster_low, char *out);
/* False where it is no name of a folder of ours. */
bool ckpt_folder_parse(const char *name, uint64_t *cut, uint64_t *term,
                       bool *is_new) MUST_USE;
/* Whether a text is this number, in decimal digits and nothing else. */
bool ckpt_is_cut(const char *text, uint64_t cut);
/* The folder of a part that is on its way from one shard to another. */
struct ckpt_move {
    uint64_t number; /* the plan that ordered it */
    uint64_t term;
    uint64_t cluster; /* both halves of its id in one */
};
void ckpt_move_name(const struct ckpt_move *m, char *out);
bool ckpt_move_parse(const char *name, struct ckpt_move *m) MUST_USE;
void ckpt_file_name(uint64_t lane, enum ckpt_file_kind kind, char *out);

enum ckpt_content {
    CKPT_CHANGED, /* rows as they were at the cut: all, or of an increment those
                     that changed */
    CKPT_ERASED   /* only keys: rows of the base that are no more */
};

/* One part of one variable as one lane saves it. Tensors, in this order:
 *     <variable>/<begin>-<end>/keys         U64 [rows], if has_keys
 *     <variable>/<begin>-<end>/values       F32 [rows, dim]
 *     <variable>/<begin>-<end>/slot/<name>  F32 [rows, dim], for each slot
 * or, of what was erased, only
 *     <variable>/<begin>-<end>/erased       U64 [rows]
 * Hash kinds have keys. Dense ones may: then a key is a row's number, and rows
 * come in any order and need not be all; without, all rows of the part come in
 * order from row_begin. */
struct ckpt_part {
    const char *variable;
    uint32_t id;    /* of the variable */
    uint32_t kind;  /* enum ps_kind */
    uint32_t begin; /* buckets */
    uint32_t end;
    uint32_t content; /* enum ckpt_content */
    bool has_keys;
    uint64_t row_begin; /* dense */
    uint64_t rows;      /* fixed at the cut */
    uint32_t dim;
    uint32_t n_slots;
    const char *slots[TABLE_SLOTS_MAX];
    /* Set by ckpt_layout and by decoding. */
    uint64_t block_rows;   /* the same rows in each of its tensors; before
                              ckpt_layout 0: as many as are usual */
    uint32_t first_tensor; /* of the file of rows */
    uint32_t n_tensors;
};

struct ckpt_tensor {
    const char *name;
    const char *dtype; /* as in the file, such as "U64" */
    uint32_t n_shape;
    uint64_t shape[CKPT_SHAPE_MAX];
    uint64_t offset; /* in the file */
    uint64_t bytes;
    uint64_t block_rows; /* shape[0] of one block; at least 1 */
    uint32_t n_sums;     /* blocks */
    uint64_t *sums;      /* XXH3-64 of each block */
};

struct ckpt_file {
    const char *name; /* in the folder */
    uint64_t size;
    uint64_t header_bytes; /* where the first tensor begins */
    uint64_t header_sum;   /* XXH3-64 of these bytes */
    uint32_t n_tensors;
    struct ckpt_tensor *tensors;
};

/* The bytes of one block: where they are and what they must sum to. */
struct ckpt_block {
    uint64_t offset;
    size_t bytes;
    uint64_t first_row;
    uint64_t rows;
};
struct ckpt_block ckpt_block(const struct ckpt_tensor *t, uint32_t block);
/* PS_OK, or PS_EDATALOSS naming file, tensor and offset. data: all bytes of the
 * block. */
int ckpt_block_check(const struct ckpt_file *file, const struct ckpt_tensor *t,
                     uint32_t block, const void *data, struct err *e) MUST_USE;

/* Lays out the file of rows: fills in *file (its tensors with room for their
 * sums, all 0), completes parts[n], and appends the file's first bytes to
 * header. `name`, the texts and the parts must live as long as the file.
 * PS_ELIMIT: the header would be larger than readers take; PS_EARGUMENT: a name
 * of a slot has a `/`, or is there twice; PS_ENOMEM. */
int ckpt_layout(const char *name, struct ckpt_part *parts, uint32_t n,
                struct arena *arena, struct ckpt_file *file,
                struct buf *header) MUST_USE;

/* Takes the header of a safetensors file apart; nothing of it is trusted. data:
 * the file's first bytes, at least its header; file_size: of the whole file.
 * Tensors are in the order of their offsets, without sums, block_rows 0. */
int ckpt_header_decode(const void *data, size_t size, uint64_t file_size,
                       struct arena *arena, struct ckpt_file *file,
                       struct err *e) MUST_USE;
/* The same, and that checksum and tensors are those of the index. data: the
 * first header_bytes bytes of the file. */
int ckpt_header_check(const struct ckpt_file *file, const void *data,
                      struct err *e) MUST_USE;

struct ckpt_index {
    uint64_t cut;
    uint64_t term;
    uint64_t lane;
    uint32_t n_parts;
    struct ckpt_part *parts;
    uint32_t n_files;
    struct ckpt_file *files; /* [0] rows, [1] state, [2] others, if any */
};

int ckpt_index_encode(const struct ckpt_index *x, struct buf *out) MUST_USE;
int ckpt_index_decode(const void *data, size_t size, struct arena *arena,
                      struct ckpt_index *x, struct err *e) MUST_USE;

/* Which lane saved a part. */
struct ckpt_place {
    uint32_t variable;
    uint32_t begin;
    uint32_t end;
    uint64_t lane;
};

struct ckpt_lane {
    uint64_t lane;
    uint64_t index_bytes;
    uint64_t index_sum; /* XXH3-64 of lane-<lane>.json */
    uint64_t rows;      /* that the lane saved; for lists only */
};

struct ckpt_session {
    uint64_t session;
    uint32_t worker;
    struct wire_bytes position; /* of its reader at the cut */
};

/* Cuts behind `after`, up to `to`. */
struct ckpt_gap {
    uint64_t after;
    uint64_t to;
};

struct ckpt_manifest {
    uint64_t format;
    uint64_t cluster_high;
    uint64_t cluster_low;
    uint64_t cut;
    uint64_t term;
    uint64_t base; /* 0: whole; else the cut that this is an increment of */
    uint64_t plan;
    uint64_t restore;
    const char *name; /* that the user gave; "" */
    uint64_t time_ms; /* of its making, since 1970 UTC */
    uint64_t next_session;
    uint64_t next_lane;
    uint64_t next_variable;
    /* Those with no_save are listed here and have no parts. */
    uint32_t n_variables;
    struct wire_variable *variables; /* by rising id */
    uint32_t n_parts;
    struct ckpt_place *parts; /* by (variable, begin) */
    uint32_t n_lanes;
    struct ckpt_lane *lanes; /* by rising lane */
    uint32_t n_sessions;
    struct ckpt_session *sessions;
    /* What some part had given up: no rows here come from checkpoints of these
     * cuts. */
    uint32_t n_gaps;
    struct ckpt_gap *gaps;
};

int ckpt_manifest_encode(const struct ckpt_manifest *m,
                         struct buf *out) MUST_USE;
/* Checks the checksum in it first; then, as a plan is checked: variables by
 * rising id with names that differ, the parts of each that has any covering all
 * buckets without overlap, their lanes listed. */
int ckpt_manifest_decode(const void *data, size_t size, struct arena *arena,
                         struct ckpt_manifest *m, struct err *e) MUST_USE;

/* Whether m was made on this base: a cut of the same cluster and restore. The
 * number of a cut alone is also another cluster's, or an import's. */
bool ckpt_is_base(const struct ckpt_manifest *base,
                  const struct ckpt_manifest *m) MUST_USE;

/* A checkpoint as far as it was read: the manifest, and indexes of lanes. */
struct ckpt {
    struct arena arena;
    struct ckpt_manifest manifest;
    struct ckpt_index *indexes; /* of manifest.lanes; lane 0: not added yet */
};

int ckpt_new(struct ckpt **c, const void *manifest, size_t size,
             struct err *e) MUST_USE;
void ckpt_free(struct ckpt *c);
/* The index of manifest.lanes[i]: its size and checksum must be those that the
 * manifest says, its parts those that the manifest gives to the lane. */
int ckpt_add_index(struct ckpt *c, uint32_t i, const void *data, size_t size,
                   struct err *e) MUST_USE;
const struct wire_variable *ckpt_variable(const struct ckpt *c,
                                          const char *name);
const struct wire_variable *ckpt_variable_by_id(const struct ckpt *c,
                                                uint32_t id);
/* Whether manifest.lanes[i] holds something of buckets [begin, end). */
bool ckpt_needs(const struct ckpt *c, uint32_t i, uint32_t variable,
                uint32_t begin, uint32_t end);

/* Where rows of [begin, end) are: blocks [first_block, end_block) of each of
 * the tensors of one part, which begin with row first_row of the part. Of hash
 * kinds a part's rows are in any order, so the reader drops those whose bucket
 * is outside; so it does of dense ones, by the row's number. */
struct ckpt_source {
    uint32_t lane; /* of manifest.lanes */
    const struct ckpt_file *file;
    const struct ckpt_part *part;
    const struct ckpt_tensor *keys;   /* NULL: dense, rows in order */
    const struct ckpt_tensor *values; /* NULL: erased rows */
    const struct ckpt_tensor *slots[TABLE_SLOTS_MAX];
    uint32_t first_block;
    uint32_t end_block;
    uint64_t rows; /* in these blocks */
};

/* The sources of a variable's buckets [begin, end), erased rows first. The
 * indexes of all lanes that ckpt_needs names must have been added (asserted).
 * PS_ENOMEM. */
int ckpt_sources(const struct ckpt *c, uint32_t variable, uint32_t begin,
                 uint32_t end, struct arena *arena,
                 struct ckpt_source **sources, uint32_t *n) MUST_USE;

#endif
