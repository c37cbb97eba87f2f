/* save.h - a save as the scheduler drives it, shared by its .c files only.
 *
 *     UNREAD --> IDLE --> CUT -> OPENING --> RAISING --> OPEN --> CLOSING
 *                 ^        ^                                        |
 *                 |        | again, under the next cut              v
 *     DONE, FAILED, CANCELED written <-- ENDING <-- MANIFEST <--- CLOSED
 *
 *     CUT      looks which cuts the root has and decides whether it is an
 *              increment (save_base.c), then reads `sessions` for the newest
 *              cut, once the plan stands still
 *     OPENING  writes the record `save`: the cut, its folder, its plan
 *     RAISING  raises the cut in `sessions`, whose open ones must report
 *     OPEN     waits for their reports, in the bodies of their leases
 *     CLOSED   waits for the shards' files, in the records of their servers
 *     MANIFEST looks whether it sees these files, writes it, gives the folder
 *              its name, reads it back; the plan moves on meanwhile, and a disk
 *              that does not answer ends it
 *
 * A session that ends unreported, or a lane that ends, makes it begin again
 * under the next cut (protocol 8.3). Until the manifest is made no part moves
 * and no variable comes or goes: plan_owner_update asks save_holds_plan. */
#ifndef SAVE_H
#define SAVE_H

#include "ckpt/ckpt.h"
#include "fs/disk.h"
#include "scheduler/scheduler_impl.h"

enum save_phase {
    SAVE_PHASE_UNREAD,
    SAVE_PHASE_IDLE,
    SAVE_PHASE_CUT,
    SAVE_PHASE_OPENING,
    SAVE_PHASE_RAISING,
    SAVE_PHASE_OPEN,
    SAVE_PHASE_CLOSING,
    SAVE_PHASE_CLOSED,
    SAVE_PHASE_MANIFEST,
    SAVE_PHASE_ENDING
};

/* A session that was open at the cut. */
struct save_reporter {
    uint64_t session;
    uint32_t worker;
    bool has_reported;
    bool is_dead; /* it was silent; else, when it is gone, it was closed */
    struct buf position;
};

enum { SAVE_ASKED_MAX = 64, SAVE_WHY_BYTES = 256 };

/* Somebody's order, and how its save stands or has ended: that save's last
 * record. */
struct save_order {
    uint64_t nonce;
    uint64_t ticket;
    uint64_t cut;
    uint64_t rows;
    uint32_t state;
    char folder[CKPT_NAME_MAX + 1];
    char why[SAVE_WHY_BYTES];
};

/* Somebody who asked for a save and is told its ticket when the record has his
 * order: a scheduler that follows this one knows it then. */
struct save_waiter {
    struct save_waiter *next;
    uint64_t nonce; /* 0: of an order that nobody asks again */
    uint64_t ask;   /* the record has it when this many are written */
    uint64_t connection;
    struct frame_header header;
};

/* The last one that is done. */
struct save_last {
    uint64_t cut; /* 0: of none that this scheduler knows */
    char folder[CKPT_NAME_MAX + 1];
    uint64_t restore;
    size_t manifest_bytes;
    uint64_t manifest_sum;
    uint32_t n_increments; /* since a whole one, itself included */
};

struct save_folder {
    uint64_t cut;
    uint64_t term;
    bool is_compacted; /* now, by a tool */
};

struct save_prune {
    struct save_folder *folders; /* newest first; NULL: none is under way */
    size_t n;
    size_t at;
    size_t n_whole;
    uint64_t kept_cut; /* the last that is kept */
    uint64_t base;     /* the oldest that those build on; UINT64_MAX: none */
    uint64_t oldest;
};

/* What a request to the disk is for: the low byte of its tag, above it the
 * try. */
enum save_file_step {
    SAVE_FILE_WRITE = 1,
    SAVE_FILE_RENAME,
    SAVE_FILE_READ,
    SAVE_FILE_REMOVE,
    SAVE_FILE_WHOSE,
    SAVE_FILE_ROOT,
    SAVE_FILE_LIST,
    SAVE_FILE_LEFT,
    SAVE_FILE_PRUNE,
    SAVE_FILE_BASE,
    SAVE_FILE_INDEX, /* of a lane, and what it names: save_check.c */
    SAVE_FILE_OPEN,
    SAVE_FILE_HEADER,
    SAVE_FILE_TAIL,
    SAVE_FILE_CLOSE
};

enum save_renaming {
    SAVE_NOT_RENAMED,
    SAVE_RENAME_ASKED, /* nobody can call it back */
    SAVE_RENAMED       /* by us: nothing was there */
};

/* A folder that goes if its manifest is ours. */
struct save_doubt {
    uint64_t tag; /* of the request that reads it; 0: none was made */
    char folder[CKPT_NAME_MAX + 1];
    uint64_t manifest_sum;
};

/* The lanes' files as the scheduler's own disk has them. */
struct save_check {
    struct ckpt_lane *lanes; /* as their servers say; NULL: none is under way */
    uint32_t n;
    uint32_t at;
    uint32_t file; /* of that lane */
    struct arena arena;
    struct ckpt_index index;
};

struct save {
    enum save_phase phase;
    uint64_t version;    /* of the record */
    bool record_is_busy; /* a request for it is unanswered */
    bool cut_is_busy;    /* ... for `sessions` */
    bool must_read;      /* the last write's outcome is not known */
    uint64_t retry_us;   /* of what failed at the store; UINT64_MAX: nothing */
    uint64_t told_us;    /* progress was written */
    uint64_t open_us;    /* sessions were asked to report; 0: not yet */
    uint64_t heard_us;   /* the disk, or a server, got on with it */
    uint32_t tries;
    uint32_t written_state; /* by the last write */
    uint64_t written_cut;

    /* The record as it is, or is to be. */
    uint64_t ticket;
    uint64_t cut;
    uint32_t state; /* enum wire_save_state */
    uint64_t plan;
    uint64_t rows;
    uint64_t rows_done;
    uint64_t progress; /* of the lanes */
    uint64_t oldest;   /* cut of the checkpoints that are kept; 0: not known */
    uint64_t oldest_of_two; /* ... 0, too, where one alone is whole: it may turn
                             * out to be damaged, and then all comes from the
                             * logs */
    char name[LIMIT_NAME_BYTES + 1];
    char folder[CKPT_NAME_MAX + 1]; /* its last name */
    char why[SAVE_WHY_BYTES];

    uint64_t base;        /* what it is an increment of; 0: it is whole */
    bool base_is_asked;   /* the disk, what is there still */
    uint64_t root_cut;    /* the largest of all checkpoints that are there */
    bool is_whole_asked;  /* on request */
    bool is_whole_wanted; /* so, or a lane needs it */
    uint32_t n_refused;   /* increments, one after another, under this plan: */
    uint64_t refused_plan;
    struct save_last last;
    struct save_prune prune;
    uint64_t prune_tag; /* of its own: the next save does not end it */
    uint64_t prune_cut; /* what is unfinished of up to here goes */
    bool has_leftovers; /* a server that was still in it may have made some */

    struct save_reporter *reporters;
    uint32_t n_reporters;
    struct save_waiter *waiters;
    struct save_order asked[SAVE_ASKED_MAX]; /* the last orders, oldest first */
    uint32_t n_asked;
    uint64_t asks; /* orders that this scheduler took */
    uint64_t asks_in_write;
    uint64_t asks_written;
    uint64_t next_session; /* as the table of the cut says */
    struct buf manifest;
    bool manifest_is_lent; /* to a write that is unanswered */
    enum save_renaming renaming;
    struct save_doubt doubt;
    struct save_check check;
    uint64_t disk_tag; /* answers of older tags are of an abandoned try */
};

void save_init(struct save *v);
void save_fini(struct scheduler *s);
/* The scheduler begins to run, or stops. */
void save_start(struct scheduler *s);
void save_stop(struct scheduler *s);
bool save_is_open(const struct scheduler *s);
/* A cut is open and the manifest is not made: the plan must stand still. */
bool save_holds_plan(const struct scheduler *s);
/* What is under way fails. */
void save_abort(struct scheduler *s, const char *why);
/* Has it stand still until save_start; false: it cannot now. */
bool save_pause(struct scheduler *s) MUST_USE;
void save_on_record(struct scheduler *s, const struct coord_result *r);
void save_on_cut(struct scheduler *s, const struct coord_result *r);
void save_on_disk(struct scheduler *s, const struct disk_result *r);
void save_tick(struct scheduler *s);
uint64_t save_next(const struct scheduler *s);
/* NULL where a cut may be opened now, else what it waits for. */
const char *save_what_is_missing(const struct scheduler *s);
/* From IDLE: the next one begins. */
void save_begin(struct scheduler *s, const char *name, bool whole);
/* PS_EEXIST: it is as good as saved. */
int save_cancel(struct scheduler *s) MUST_USE;

/* save.c: the record as the fields say, when it can be written. */
void save_write_record(struct scheduler *s);
/* It cannot become whole any more: begins again under the next cut. counts: as
 * one of the tries that it has. */
void save_begin_again(struct scheduler *s, bool counts, const char *why);
void save_fail(struct scheduler *s, const char *why);
/* The disk hangs. */
void save_fail_silent(struct scheduler *s);

/* save_request.c: WIRE_SAVE and WIRE_CANCEL */
/* The last orders as the record is to have them, and as it has them. */
void save_put_orders(struct save *v, struct wire_save *w,
                     struct wire_asked room[SAVE_ASKED_MAX]);
void save_take_orders(struct save *v, const struct wire_save *w);
/* Those whose orders the record has. */
void save_answer_waiters(struct scheduler *s);
/* The record is another's: does somebody wait who is not in it? */
bool save_has_new_order(const struct scheduler *s);
/* These get the ticket of the save that is under way; the others are told. */
void save_ask_anew(struct scheduler *s);
void save_on_request(struct scheduler *s, uint64_t connection,
                     const struct frame_header *h, struct frame *frame);
void save_on_cancel(struct scheduler *s, uint64_t connection,
                    const struct frame_header *h, struct frame *frame);

/* save_look.c. Members or guests have been looked at. */
void save_look(struct scheduler *s);
/* The table of open sessions has been read. */
void save_on_table(struct scheduler *s, const struct wire_sessions *w);

/* save_base.c: which cuts are taken, and whether it builds on the last one;
 * known when base_is_asked is false */
void save_base_look(struct scheduler *s);
void save_base_on_disk(struct scheduler *s, const struct disk_result *r);
/* It is not known: a whole one, then. */
void save_base_unknown(struct scheduler *s, const char *why);
void save_base_refused(struct scheduler *s);
void save_base_done(struct scheduler *s);

/* save_prune.c: older ones go */
void save_prune_begin(struct scheduler *s);
/* Members have been looked at: when all have left what ended unsaved, its files
 * go for good. */
void save_prune_look(struct scheduler *s);
void save_prune_on_disk(struct scheduler *s, const struct disk_result *r);
void save_prune_end(struct scheduler *s);
/* Answers that are to come are of no use. */
void save_prune_stop(struct scheduler *s);

/* save_check.c: are they where the manifest will say? Goes on with
 * save_files_put, or ends with save_files_done. */
int save_check_begin(struct scheduler *s, const struct ckpt_lane *lanes,
                     uint32_t n) MUST_USE;
void save_check_on_disk(struct scheduler *s, const struct disk_result *r);
void save_check_end(struct scheduler *s);

/* save_files.c: manifest and folder */
/* What it is called until it is renamed; CKPT_NAME_MAX + 1 bytes. */
void save_files_folder(const struct scheduler *s, char *out);
void save_files_write(struct scheduler *s, bool unseen);
void save_files_put(struct scheduler *s); /* the lanes' files were seen */
/* The unfinished folder, and the one that was renamed. */
void save_files_remove(struct scheduler *s);
/* save.c: the files are there, or not. */
void save_files_done(struct scheduler *s, int status, const char *why);

#endif
