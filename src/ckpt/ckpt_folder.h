/* ckpt_folder.h - checkpoints in a file system: list, verify, read, write.
 *
 * Blocking, for commands, imports and tests; `fs` is from fs_url_open, its root
 * is the folder of checkpoints (-cp). Status: PS_ENOTFOUND (no such folder, no
 * such checkpoint), PS_EDATALOSS (damage: the file is named), PS_EVERSION (made
 * by a newer program), PS_EIO, PS_ENOMEM. Threads: as the fs.
 */
#ifndef CKPT_FOLDER_H
#define CKPT_FOLDER_H

#include "ckpt/ckpt_rows.h"
#include "ckpt/ckpt_state.h"
#include "fs/fs.h"

/* One folder below the root. */
struct ckpt_entry {
    char folder[CKPT_NAME_MAX + 1];
    uint64_t cut;
    uint64_t term;
    uint64_t base;
    uint64_t cluster_high;
    uint64_t cluster_low;
    uint64_t restore;
    char *name; /* the user's; "" */
    uint64_t time_ms;
    uint64_t rows;
    uint64_t bytes;
    bool is_new;   /* .new-...: never finished, or being made */
    bool is_whole; /* manifest and indexes are right, each file has its size */
    char why[256]; /* if it is not */
};

struct ckpt_list {
    struct ckpt_entry *entries; /* newest (cut, then term) first */
    uint32_t n;
};

/* The folders of ours. A root that is not there is an empty list. */
int ckpt_list(struct fs *fs, struct ckpt_list *list, struct err *e) MUST_USE;
void ckpt_list_free(struct ckpt_list *list);
/* The entry that a name means: a folder's, a cut, or a user's name; of several
 * the newest that is whole, else the newest. NULL or "": the newest whole one.
 * NULL where there is none. */
const struct ckpt_entry *ckpt_list_find(const struct ckpt_list *list,
                                        const char *name);
/* The whole one that an increment builds on; NULL: it has none, or that is not
 * here. */
const struct ckpt_entry *ckpt_list_base(const struct ckpt_list *list,
                                        const struct ckpt_entry *x);

/* Manifest and all indexes, checked. */
int ckpt_open(struct fs *fs, const char *folder, struct ckpt **c,
              struct err *e) MUST_USE;

/* done of total bytes; false stops with PS_ECANCELED. */
struct ckpt_progress {
    bool (*fn)(void *context, uint64_t done, uint64_t total);
    void *context;
};

/* Reads and checks every byte of every file. PS_EDATALOSS names file, tensor
 * and offset. progress may be NULL. */
int ckpt_verify(struct fs *fs, const char *folder, const struct ckpt *c,
                const struct ckpt_progress *progress, struct err *e) MUST_USE;
/* Rows of one block, those outside of the range dropped. Valid during the call.
 * False stops with PS_ECANCELED. */
struct ckpt_batch {
    const struct ckpt_part *part;
    uint64_t n;
    const uint64_t *keys; /* of dense: row numbers */
    const float *values;  /* [n, dim]; NULL: these rows were erased */
    const float *slots[TABLE_SLOTS_MAX];
};
typedef bool ckpt_batch_fn(void *context, const struct ckpt_batch *batch);

/* The rows of a variable's buckets [begin, end), each block checked before it
 * is handed out. */
int ckpt_read_rows(struct fs *fs, const char *folder, const struct ckpt *c,
                   uint32_t variable, uint32_t begin, uint32_t end,
                   ckpt_batch_fn *fn, void *context, struct err *e) MUST_USE;
/* The state of manifest.lanes[i]; bytes must live as long as the state. */
int ckpt_read_state(struct fs *fs, const char *folder, const struct ckpt *c,
                    uint32_t i, struct arena *arena, struct buf *bytes,
                    struct ckpt_state *s, struct err *e) MUST_USE;

/* Writes a whole checkpoint, lane by lane.
 *
 *     ckpt_writer_begin(&w, fs, &manifest, e);   parts, lanes: not yet
 *     ckpt_writer_lane(w, lane, parts, n, e);    for each lane
 *     ckpt_writer_row(w, i, key, values, e);     of parts[i]; all of them
 *     ckpt_writer_lane_end(w, &state, e);
 *     ckpt_writer_end(w, folder, e);             or ckpt_writer_free
 *
 * The manifest's parts and lanes are made of what was written; its variables,
 * sessions and counters are the caller's and are copied. PS_EEXIST where
 * somebody makes one of this cut and term. After a failure only
 * ckpt_writer_free is allowed; nothing is left then but an unfinished folder,
 * which is removed if it can be. */
struct ckpt_writer;
int ckpt_writer_begin(struct ckpt_writer **w, struct fs *fs,
                      const struct ckpt_manifest *m, struct err *e) MUST_USE;
int ckpt_writer_lane(struct ckpt_writer *w, uint64_t lane,
                     const struct ckpt_part *parts, uint32_t n,
                     struct err *e) MUST_USE;
int ckpt_writer_row(struct ckpt_writer *w, uint32_t part, uint64_t key,
                    const float *values, struct err *e) MUST_USE;
/* Tensors of the lane that no server reads (ckpt_other.h), if there are any:
 * their layout, then their bytes, all of each. */
int ckpt_writer_other(struct ckpt_writer *w, const struct ckpt_tensor *tensors,
                      uint32_t n, struct err *e) MUST_USE;
int ckpt_writer_other_put(struct ckpt_writer *w, uint32_t tensor,
                          const void *data, size_t size,
                          struct err *e) MUST_USE;
/* state may be NULL: no windows, no late frames. */
int ckpt_writer_lane_end(struct ckpt_writer *w, const struct ckpt_state *state,
                         struct err *e) MUST_USE;
/* Manifest, rename, sync, read back. folder: CKPT_NAME_MAX + 1 bytes. Frees w
 * whatever it returns. */
int ckpt_writer_end(struct ckpt_writer *w, char *folder,
                    struct err *e) MUST_USE;
void ckpt_writer_free(struct ckpt_writer *w);

#endif
