/* shard_log.h - the log of a lane, shared by shard*.c only (protocol 10).
 *
 *     frame --> apply --> record --> group --> write [--> sync] --> answer
 *                                     ^
 *                                     | all that comes while the disk is busy
 *
 * A frame that writes to a variable of durability `log` or `fsync` is answered
 * when its record is written. Where the lane has a variable of `fsync` each
 * write is synced, and all these answers wait for that. What waits while the
 * disk is busy goes as one group: one write, one sync. Answers of frames that
 * write to `memory` only do not wait.
 *
 *     OFF -> CREATING -> NAMING -> OPEN -> ENDING -> FAILED
 *              |  ^                  |      (its end goes to the store, then
 *              +--+ tries again      |       the server is asked for a life)
 *                                    +-- a cut: the next segment
 *
 * The file is there before the record log/<lane> is, and that before a frame is
 * taken: a lane without a record has nothing that counts. After an error the
 * lane acknowledges nothing more. Thread: the shard's.
 */
#ifndef SHARD_LOG_H
#define SHARD_LOG_H

#include "ckpt/ckpt.h"
#include "server/logfile.h"
#include "server/shard_impl.h"

enum shard_log_phase {
    SHARD_LOG_CREATING, /* the first segment is being made */
    SHARD_LOG_NAMING,   /* the store is told of it */
    SHARD_LOG_OPEN,
    SHARD_LOG_ENDING, /* the store is told where it ends */
    SHARD_LOG_FAILED
};

/* Records that go with one write. */
struct log_group {
    struct log_group *next;
    uint64_t number;
    uint64_t segment;
    uint64_t offset; /* of its first byte */
    bool begins;     /* the segment */
    bool syncs;
    struct buf bytes;
};

/* An answer that waits. */
struct log_waiter {
    struct log_waiter *next;
    uint64_t written; /* the group that must be done */
    uint64_t connection;
    struct frame_header header;
    struct frame *frame;
};

struct shard_log {
    struct shard_log *next; /* among the remainders */
    struct shard *shard;
    uint64_t serial; /* in the tags of its requests */
    enum shard_log_phase phase;
    bool syncs;        /* the lane has a variable of `fsync` */
    char why[256];     /* CREATING: it could not be done so far, or "" */
    uint64_t again_us; /* CREATING, FAILED: when to try again */

    uint64_t first_segment; /* named by no cut of this lane's own */
    uint64_t segment;       /* records go to it */
    uint64_t end;           /* at this byte */
    uint64_t
        quiet_end; /* nothing but a QUIET record is behind what is settled */
    struct map chains;       /* ids of those that the segment has */
    struct log_group *first; /* not written yet; the first may be at work */
    struct log_group *last;
    bool is_busy; /* the first is at work */
    uint64_t pending_bytes;
    uint64_t n_groups;
    uint64_t last_number; /* the group of the last record */

    bool has_file;
    uint64_t n_files;
    uint32_t n_busy; /* requests that are unanswered */
    uint64_t
        written; /* groups that are done: synced too, where they are to be */
    uint64_t good_segment; /* up to here it may be acknowledged */
    uint64_t good_end;

    struct log_waiter *waiters; /* oldest first */
    struct log_waiter **tail;
    struct log_waiter *spare;
};

/* The plan has, or has no more, variables that are logged. */
void shard_log_on_plan(struct shard *s);
/* The life ends. */
void shard_log_end(struct shard *s);
void shard_log_fini(struct shard *s);
bool shard_log_has_failed(const struct shard *s);
/* Why the log cannot begin, so that nothing is pushed to what is logged; or
 * NULL. */
const char *shard_log_trouble(const struct shard *s);

/* Before a frame is applied that writes to what is logged: room for its record
 * and its answer. PS_EBUSY. */
int shard_log_reserve(struct shard *s, const struct frame *frame,
                      const struct run_op *ops, uint32_t n) MUST_USE;
/* After it was applied; cannot fail. */
void shard_log_append(struct shard *s, const struct frame_header *h,
                      struct frame *frame);
/* Sends an answer when all that was appended so far is written, and synced
 * where the lane syncs; at once at PS_MEMORY. Without memory it is not sent: it
 * is asked for again. */
void shard_log_answer(struct shard *s, uint64_t connection,
                      const struct frame_header *a, struct frame *frame,
                      uint32_t durability);
/* False: its first segment is not there yet; shard_save_on_plan is called when
 * it is. */
bool shard_log_may_cut(const struct shard *s);
/* A new segment begins: before the rows are taken. PS_ENOMEM. */
int shard_log_cut(struct shard *s, uint64_t cut) MUST_USE;
/* Whether the segment of this cut is on the disk. */
bool shard_log_has_cut(const struct shard *s, uint64_t cut);

void shard_log_tick(struct shard *s);
uint64_t shard_log_next(const struct shard *s);

enum { LOG_TAG_WRITER = 1, LOG_TAG_READER, LOG_TAG_TRIM };
static inline uint64_t shard_log_tag(uint64_t kind, uint64_t serial,
                                     uint32_t step)
{
    return kind << 56 | serial << 8 | step;
}

/* ---- shard_log_read.c: what ended lanes of this server have logged ------ */

/* The rows of a part are as its load has them, or, without one, as they begin:
 * decides whether logs are to be replayed over them (p->awaits_log), or it may
 * serve. m: NULL for none. PS_ENOMEM. */
int shard_log_rows_are_in(struct shard *s, struct shard_part *p,
                          const struct wire_load *l,
                          const struct ckpt_manifest *m) MUST_USE;
/* Whether a lane's log will be replayed over the part: then its late frames
 * must not be. */
bool shard_log_replays(const struct shard *s, const struct shard_part *p,
                       uint64_t lane);
/* Begins to read, if all parts that wait are ready for it. */
void shard_log_read(struct shard *s);
void shard_log_read_abandon(struct shard *s);
uint64_t shard_log_read_next(const struct shard *s);
void shard_log_read_work(struct shard *s);
void shard_log_read_on_disk(struct shard *s, const struct disk_result *r);
void shard_log_read_on_record(struct shard *s,
                              const struct shard_log_record *record);
void shard_log_report(const struct shard *s, struct shard_report *r);
void shard_log_free_part(struct shard_part *p);

/* ---- shard_log_trim.c: segments that no kept checkpoint needs ----------- */
void shard_log_trim(struct shard *s, uint64_t oldest);
void shard_log_trim_on_disk(struct shard *s, const struct disk_result *r);

#endif
