/* shard_save.h - what one shard does for a save, shared by shard*.c only.
 *
 *                  the record `save`, or a frame of a newer cut
 *     IDLE --cut--> ROWS --all rows out, record CLOSED--> STATE -> SYNC
 *      ^                                                            |
 *      +--- DONE <--- INDEX <--- VERIFY: reads all of it back <-----+
 *
 * At the cut every table is snapshot and the windows are copied; from then on
 * rows go to the disk in the shard's idle moments and before they are changed.
 * A frame of an older cut that comes later is written (the late list) beside
 * being applied: no list is too long for memory. Nothing here fails a push but
 * want of room: it is put off then.
 *
 * The loop is never held: what takes long is done in pieces (shard_save_work),
 * checksums are made where the disk's work is done. Memory: room_bytes of
 * blocks on their way, LATE_BLOCKS of late frames, some bits a row for the
 * snapshots. None of it counts against the memory limit, so a full table can be
 * saved; and where blocks run out a push waits, and the walk for it, at most
 * ROOM_WAIT_US, before the save is given up.
 *
 * An increment has the rows that changed since its base, and the keys that were
 * erased. So the snapshots live until the record says DONE: only then are these
 * changes forgotten; if the save fails, they count for the next one again. Late
 * frames need no care: they are changes after the cut, so the next increment
 * has their rows, and only the newest one's are applied at a restore.
 *
 * A save that was abandoned, or whose lane has ended, lives on as a remainder
 * until the disk has answered what it borrowed. Thread: the shard's.
 */
#ifndef SHARD_SAVE_H
#define SHARD_SAVE_H

#include "ckpt/ckpt_rows.h"
#include "ckpt/ckpt_state.h"
#include "fs/disk.h"
#include "server/shard_impl.h"
#include "table/snapshot.h"

enum saving_phase {
    SAVING_ROWS,
    SAVING_STATE,
    SAVING_SYNC,
    SAVING_VERIFY,
    SAVING_INDEX,
    SAVING_PLACE, /* of a move: the manifest, read back with the index */
    SAVING_DONE,
    SAVING_FAILED
};

struct saving_table {
    struct snapshot_sink sink;
    struct table *table;
    struct snapshot *snapshot; /* NULL: over */
    struct ckpt_rows *rows;
    struct ckpt_rows *erased; /* of an increment; NULL: none were */
    const struct erased_block *erased_from; /* those that are next */
    uint64_t erased_at;                     /* in that block */
    uint64_t frame_rows; /* shard_save_reserve: of one frame, so far */
};

/* A block of the late frames' bodies. */
struct saving_late {
    struct saving_late *next;
    size_t used;
    uint8_t data[CKPT_BLOCK_BYTES];
};

/* A block on its way to the disk. */
struct saving_block {
    struct ckpt_filled *block; /* NULL: the place is free */
    uint32_t n_left;           /* pieces that are not answered */
};

/* A push that has waited for room. */
struct saving_wait {
    uint64_t since_us; /* 0: none does */
    uint64_t last_us;  /* it was refused */
};

enum { SAVING_BLOCKS = 16 };

struct saving {
    struct saving *next; /* among the remainders */
    struct shard *shard;
    uint64_t serial; /* in the tags of its requests */
    enum saving_phase phase;
    uint64_t cut;
    uint64_t base;           /* 0: whole; else only changes since that cut */
    struct wire_moving move; /* number 0: a save; else of one part: this one */
    uint32_t next_variable;  /* at the cut: those from it on are not in it */
    bool needs_whole;        /* FAILED: there is no way from the base to here */
    char folder[CKPT_NAME_MAX + 1];
    char why[200];
    struct arena arena;
    struct ckpt_index index; /* parts of a table: what was erased, its rows */
    struct ckpt_rows **writers; /* of the index's parts */
    struct saving_table *tables;
    uint32_t n_tables;
    uint32_t at; /* the table that is walked */
    struct saving_wait rows_wait;
    struct saving_wait late_wait;
    uint64_t rows;
    struct buf header;
    struct saving_block blocks[SAVING_BLOCKS];
    uint32_t n_busy; /* requests that are unanswered */
    uint64_t steps;  /* ... and those that were done */
    bool files_open;
    uint64_t room_bytes; /* of blocks of rows */
    uint64_t step_bytes; /* of rows in one piece */
    bool is_full;        /* the walk waits for the disk to give some back */
    struct ckpt_history *histories; /* the lane's own */
    /* Frames of an older cut that were applied after it, without their bodies,
     * which are in these blocks: the first is being filled. */
    struct ckpt_late *lates;
    uint32_t n_lates;
    uint32_t lates_room;
    uint64_t late_bytes;
    struct saving_late *late_filling;
    struct saving_late *late_out; /* at the disk, oldest first */
    uint32_t n_late_blocks;       /* of both */
    struct buf late_sums;         /* uint64_t of each block that was written */
    struct ckpt_state made;       /* from CLOSED on */
    struct ckpt_history *all_histories;
    struct ckpt_state_encoder encoder;
    struct buf state;   /* the file of that name but late bodies */
    bool state_is_made; /* it is at the disk */
    uint32_t sum_tensor;
    uint32_t sum_block;
    uint64_t index_bytes;
    uint64_t index_sum;
    uint32_t check_file;
    uint32_t check_tensor;
    uint32_t check_block;
};

/* Whether a frame stamped `cut` may go on: PS_OK; PS_ENOTYET where the shard
 * must cut first and cannot yet. May cut. */
int shard_save_meet(struct shard *s, uint64_t cut) MUST_USE;
/* Before rows of a table are changed: room for copies of n more of them than
 * since _begin, with which each frame begins while s->saving is there; and for
 * a frame that is late. PS_EBUSY. */
void shard_save_reserve_begin(struct shard *s);
int shard_save_reserve(struct shard *s, const struct table *t,
                       uint64_t n) MUST_USE;
/* shard_save_state.c */
int shard_save_reserve_late(struct shard *s, const struct frame_header *h,
                            const struct frame *frame) MUST_USE;
/* After a numbered frame was applied. */
void shard_save_applied(struct shard *s, const struct frame_header *h,
                        struct frame *frame);
/* A newer plan comes, with these parts: other tables go, and the plan stands
 * still while a cut is open, so a save that is not done is void. */
void shard_save_before_plan(struct shard *s, const struct shard_part *parts,
                            size_t n);
/* The cut that the shard was waiting for its plan, or its log, with. */
void shard_save_on_plan(struct shard *s);
/* The life ends: tables go. */
void shard_save_abandon(struct shard *s);
void shard_save_fini(struct shard *s);
/* Something is to be done in an idle moment. */
bool shard_save_has_work(const struct shard *s);
uint64_t shard_save_next(const struct shard *s); /* UINT64_MAX: nothing */
void shard_save_work(struct shard *s);

/* shard_save_cut.c: what is taken at the cut. PS_ENOTREADY with needs_whole. */
int shard_saving_take_cut(struct saving *v) MUST_USE;
/* Ends the snapshots; shard_save_work puts them away. */
void shard_saving_drop_tables(struct saving *v, bool kept);
/* Done here, but not yet said to be whole: other tables than these go. */
void shard_saving_keep_tables(struct saving *v, const struct shard_part *parts,
                              size_t n);
/* The checkpoint is whole: the next one may build on it. */
void shard_saving_keep(struct saving *v);

/* shard_save.c */
struct saving *shard_saving_new(struct shard *s, uint64_t cut,
                                const char *folder) MUST_USE;
/* It is over; its memory goes when the disk has given it back. */
void shard_saving_let_go(struct shard *s, struct saving **at);
/* Rows that have gone to the disk. */
uint64_t shard_saving_rows_done(const struct saving *v);
/* Whether the part is among what is saved. */
bool shard_saving_has(const struct saving *v, const struct shard_part *p);

/* shard_save_files.c: from the last row to the index. */
void shard_saving_open_files(struct saving *v);
void shard_saving_go_on(struct saving *v);
void shard_saving_close(struct saving *v);
void shard_saving_on_disk(struct saving *v, const struct disk_result *r);
void shard_saving_fail(struct saving *v, const char *why);

/* shard_save_state.c: what a lane knew beside its rows. */
bool shard_saving_is_late(const struct saving *v, const struct frame_header *h);
/* There is room. */
void shard_saving_add_late(struct saving *v, const struct frame_header *h,
                           struct frame *frame);
/* The rows are out and the record is CLOSED: in pieces from now on. */
void shard_saving_begin_state(struct saving *v);
bool shard_saving_makes_state(const struct saving *v);
void shard_saving_make_state(struct saving *v);
/* One of its writes is answered. */
void shard_saving_on_state(struct saving *v, const struct disk_result *r);
void shard_saving_on_late(struct saving *v, const struct disk_result *r);
/* Frees a block of late frames; false: there is none. */
bool shard_saving_drop_late(struct saving *v);
int shard_saving_copy_windows(struct saving *v) MUST_USE;

/* What a request is for, in the low 8 bits of its tag, behind the blocks; those
 * have the number of the piece in the next 8. */
enum saving_step {
    SAVING_STEP_CREATE = SAVING_BLOCKS,
    SAVING_STEP_HEADER,
    SAVING_STEP_LATE,
    SAVING_STEP_STATE,
    SAVING_STEP_SYNC,
    SAVING_STEP_READ,
    SAVING_STEP_INDEX,
    SAVING_STEP_MANIFEST,
    SAVING_STEP_LOOK_INDEX,
    SAVING_STEP_LOOK_MANIFEST,
    SAVING_STEP_NAMES,
    SAVING_STEP_CLOSE
};
enum { SAVING_FILE_ROWS, SAVING_FILE_STATE };
void shard_saving_write(struct saving *v, enum saving_step step, uint32_t file,
                        uint64_t offset, const void *data, size_t size);
/* A push finds no room: PS_EBUSY, or PS_OK where the save has failed for it. */
int shard_saving_put_off(struct saving *v, struct saving_wait *wait) MUST_USE;

#endif
