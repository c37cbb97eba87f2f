/* save.h - a save as the scheduler drives it, shared by its .c files only.
 *
 *     UNREAD --> IDLE --> CUT -> OPENING --> RAISING --> OPEN --> CLOSING
 *                 ^        ^                                        |
 *                 |        | again, under the next cut              v
 *     DONE, FAILED, CANCELED written <-- ENDING <-- MANIFEST <--- CLOSED
 *
 *     CUT      reads `sessions` for the newest cut, once the plan stands still
 *     OPENING  writes the record `save`: the cut, its folder, its plan
 *     RAISING  raises the cut in `sessions`, whose open ones must report
 *     OPEN     waits for their reports, in the bodies of their leases
 *     CLOSED   waits for the shards' files, in the records of their servers
 *     MANIFEST writes it, gives the folder its name, reads it back
 *
 * A session that ends unreported, or a lane that ends, makes it begin again
 * under the next cut (protocol 8.3). While a cut is open no part moves and no
 * variable comes or goes: plan_owner_update asks save_is_open. */
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
    struct buf position;
};

/* Somebody who asked for a save and is to be told its ticket. */
struct save_waiter {
    struct save_waiter *next;
    uint64_t connection;
    struct frame_header header;
};

struct save {
    enum save_phase phase;
    uint64_t version;    /* of the record */
    bool record_is_busy; /* a request for it is unanswered */
    bool cut_is_busy;    /* ... for `sessions` */
    bool must_read;      /* the last write's outcome is not known */
    uint64_t retry_us;   /* of what failed at the store; UINT64_MAX: nothing */
    uint64_t told_us;    /* progress was written */
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
    char name[LIMIT_NAME_BYTES + 1];
    char folder[CKPT_NAME_MAX + 1]; /* its last name */
    char why[256];

    struct save_reporter *reporters;
    uint32_t n_reporters;
    struct save_waiter *waiters;
    uint64_t next_session; /* as the table of the cut says */
    struct buf manifest;
    bool manifest_is_lent; /* to a write that is unanswered */
    uint64_t disk_tag;     /* answers of older tags are of an abandoned try */
};

void save_init(struct save *v);
void save_fini(struct scheduler *s);
/* The scheduler begins to run, or stops. */
void save_start(struct scheduler *s);
void save_stop(struct scheduler *s);
/* A cut is open: the plan must stand still. */
bool save_is_open(const struct scheduler *s);
/* It cannot become whole any more; begins again under the next cut. */
void save_begin_again(struct scheduler *s, const char *why);
/* Members or guests have been looked at. */
void save_look(struct scheduler *s);
/* The table of open sessions has been read. */
void save_on_table(struct scheduler *s, const struct wire_sessions *w);
void save_on_record(struct scheduler *s, const struct coord_result *r);
void save_on_cut(struct scheduler *s, const struct coord_result *r);
void save_on_disk(struct scheduler *s, const struct disk_result *r);
void save_tick(struct scheduler *s);
uint64_t save_next(const struct scheduler *s);
/* WIRE_SAVE and WIRE_CANCEL. */
void save_on_request(struct scheduler *s, uint64_t connection,
                     const struct frame_header *h, struct frame *frame);
void save_on_cancel(struct scheduler *s, uint64_t connection,
                    const struct frame_header *h, struct frame *frame);

/* save_files.c: manifest, folder, retention */
void save_files_write(struct scheduler *s);
void save_files_remove(struct scheduler *s); /* the unfinished folder */
void save_files_prune(struct scheduler *s);
/* save.c: the files are there, or not. */
void save_files_done(struct scheduler *s, int status, const char *why);

#endif
