/* save_stage.h - a few shards on one disk: they save, others load.
 *
 * There is no scheduler: the stage writes the records `plan` and `save`, the
 * manifest, and gives the folder its name, as it would. A group of shards has
 * the lanes first_lane, first_lane + 1 ..., the buckets in equal parts, and
 * three variables:
 *
 *     HASH   hash64, dim 2, Adagrad: a slot
 *     SUMS   dense, SUMS_ROWS rows, dim 3, added to
 *     LATER  hash64, dim 1, added to; only from plan stage_later on
 *
 * One session, 5, unless the test says another; each shard has its own numbers.
 * What a group holds is compared by save_sum: of all rows, whatever their
 * order. The disk does one request at a time: in save_step, and in save_run
 * until there is no more.
 */
#ifndef SAVE_STAGE_H
#define SAVE_STAGE_H

#include "ckpt/ckpt_folder.h"
#include "fs/disk_work.h"
#include "lib/crashfs.h"
#include "lib/draft.h"
#include "lib/tape.h"
#include "server/shard_impl.h"

enum {
    HASH = 1,
    SUMS = 2,
    LATER = 3,
    SUMS_ROWS = 3000,
    SAVE_SHARDS = 8,
    SAVE_SESSION = 5,
    SAVE_QUEUE = 256
};

struct save_disk {
    struct disk disk;
    struct disk_work work;
    struct disk_request queue[SAVE_QUEUE];
    size_t n;
};

struct save_shard {
    struct tape net;
    struct shard_owner owner;
    struct shard *shard;
    struct save_disk disk;
    struct save_disk log;
    uint64_t lane;
    uint64_t connection;
    uint64_t seq;   /* the last number */
    bool has_asked; /* for log/<asked_lane> */
    uint64_t asked_lane;
};

struct save_group {
    uint32_t n;
    struct save_shard shards[SAVE_SHARDS];
    struct draft plan;
    struct buf record;
    struct wire_load load;
    uint64_t session; /* that pushes and asks */
    uint64_t behind;  /* so many numbers before each are not answered */
    uint64_t cut;
    uint64_t base;   /* of the save that is under way */
    uint64_t oldest; /* kept cut: logs before it may go */
    /* All stands still when it has failed, and pushes may have no answer. */
    const struct crashfs *power;
    char folder[CKPT_NAME_MAX + 1];
    char why[200];   /* it could not be saved */
    bool disk_hangs; /* it answers nothing; save_step lets 50 ms go by */
};

/* Shards of lanes first_lane..., plan 1 (with `folder`: which comes from there,
 * brings_lanes); lanes 7 to 14, if they are older, have ended. */
void save_begin(struct save_group *g, struct fs *fs, uint32_t n,
                uint64_t first_lane, const char *folder);
/* The same with LATER from the beginning. */
void save_begin_with_later(struct save_group *g, struct fs *fs, uint32_t n,
                           uint64_t first_lane, const char *folder);
/* The same, and LATER is of durability `fsync`: its log is on the same disk.
 * What the store has of logs outlives the group, so the next one, of lanes that
 * are greater by more than 50, knows which have ended; plan: first_lane. */
void save_begin_with_logs(struct save_group *g, struct fs *fs, uint32_t n,
                          uint64_t first_lane, const char *folder);
void save_forget_logs(void);
void save_end(struct save_group *g);
/* The next plan, as the draft now says it. */
void save_plan(struct save_group *g);
/* Declares LATER and gives out its parts. */
void save_declare_later(struct save_group *g);
/* Pushes v to rows [first, first + n) of HASH and, where first + n is even, to
 * SUMS, by frames stamped `cut`. */
void save_push(struct save_group *g, uint64_t cut, uint64_t first, size_t n,
               float v);
/* Whether it was acknowledged. */
bool save_push_later(struct save_group *g, uint64_t cut, uint64_t key, float v);
/* Erases keys of HASH, as no message can yet. */
void save_erase(struct save_group *g, uint64_t first, size_t n);
/* One request of the disk, or one idle moment, of one of the shards; false:
 * there is none. */
bool save_step(struct save_group *g);
void save_run(struct save_group *g);
/* The record `save`. */
void save_order(struct save_group *g, uint64_t cut, uint64_t base,
                enum wire_save_state state);
/* CLOSED, the files, the manifest, the final name; then the record DONE. The
 * status of what failed first: PS_ENOTREADY, with g->why, a shard; PS_EPLAN, it
 * needs a whole one. */
int save_close(struct save_group *g, struct fs *fs);
int save_finish(struct save_group *g, struct fs *fs);
/* From OPEN to DONE. */
void save_whole(struct save_group *g, struct fs *fs, uint64_t cut,
                uint64_t base);
bool save_is_loading(const struct save_group *g);
bool save_has_failed_to_load(struct save_group *g, char *why, size_t size);
void save_walk(struct save_group *g,
               void (*fn)(void *context, uint32_t variable, uint64_t key,
                          const float *values, uint32_t dim),
               void *context);
uint64_t save_sum(struct save_group *g);
uint64_t save_count(struct save_group *g);
/* What has become of a number for the part of HASH, or of another variable,
 * that has the bucket. */
int save_resolve(struct save_group *g, uint64_t lane, uint64_t seq,
                 uint32_t bucket);
int save_resolve_for(struct save_group *g, uint32_t variable, uint64_t lane,
                     uint64_t seq, uint32_t bucket);

#endif
