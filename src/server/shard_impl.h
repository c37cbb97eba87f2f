/* shard_impl.h - the inside of a shard, shared by shard*.c only. */
#ifndef SHARD_IMPL_H
#define SHARD_IMPL_H

#include "base/arena.h"
#include "base/log.h"
#include "base/map.h"
#include "plan/plan.h"
#include "server/shard.h"
#include "server/windows.h"
#include "ckpt/ckpt.h"
#include "fs/disk.h"
#include "udf/chain.h"

struct shard_connection {
    uint64_t number;
    bool said_hello;
    bool checksums; /* answers have one of their body */
};

struct history;
struct history_copy;
struct shard_log_need;
struct shard_log;
struct log_reading;

/* A part that this shard holds. */
struct shard_part {
    uint32_t variable;
    uint32_t begin;
    uint32_t end;
    uint64_t since;      /* the plan that gave it to us */
    struct table *table; /* NULL: its updater is not here, nothing works */
    bool is_loading;     /* its rows are not all here: it answers BUSY */
    bool awaits_log;     /* ... but for what logs have */
    uint32_t durability; /* enum ps_durability */
    struct shard_log_need *needs; /* logs to be replayed: shard_log.h */
    uint32_t n_needs;
    uint64_t base; /* the cut since which its changes are known; 0: none */
    struct history *histories; /* of former lanes: history.h */
};

struct loading;

/* The cut of a cluster that has never saved: every later one has been in the
 * record `save` before anybody takes it. */
enum { SHARD_FIRST_CUT = 1 };

/* What the store's record `save` says; the newest cut wins. */
struct save_order {
    uint64_t cut;
    uint64_t term;
    uint32_t state; /* enum wire_save_state */
    uint64_t plan;
    uint64_t base;
};

struct saving;

struct shard {
    struct shard_options options;
    struct net *net;
    struct disk *disk; /* of checkpoints; NULL: none */
    struct shard_owner *owner;
    struct map connections; /* struct shard_connection */
    struct map chains;      /* struct chain by id; outlives lanes */
    struct stats stats;
    struct arena arena; /* of one frame */
    struct log_limit bad_log;
    struct log_limit part_log;

    /* One life. */
    uint64_t lane; /* 0: none */
    uint32_t emptied;
    uint64_t lease_until_us;
    struct windows windows;
    struct history_copy *copies; /* that parts share: history.h */
    struct plan *plan;           /* NULL: not known yet */
    struct shard_part *parts;    /* by (variable, begin) */
    size_t n_parts;
    struct table_budget budget;
    struct table_budget snapshots; /* without a limit */

    /* Saves: shard_save.h. */
    uint64_t cut; /* the newest that this life has taken */
    struct save_order save_order;
    struct saving *saving;     /* NULL: none */
    struct saving *moving;     /* a part that goes: shard_move.h; NULL */
    uint64_t move_us;          /* that is looked at again then */
    struct saving *remainders; /* over, but not all put away */
    bool tidies;               /* snapshots have ended that are not put away */
    uint64_t save_work_us;     /* shard_save_work has nothing to do before */
    uint64_t save_frames;      /* that had been served then */
    uint64_t n_savings;
    char no_place[200]; /* why nothing can be saved; "": it can */
    uint64_t base;      /* the newest checkpoint that is whole; 0: none yet */
    uint32_t base_variables; /* ids from here on are not in it */
    struct loading *loading; /* NULL: none */
    uint64_t n_loadings;
    struct shard_log *log;            /* of this life; NULL: none */
    struct shard_log *log_remainders; /* ended, but the disk is at it */
    struct log_reading *log_reading;  /* NULL: none */
    uint64_t n_logs;
    uint64_t log_oldest;    /* cut that logs were trimmed to */
    bool reads_again;       /* logs could not be read: all from the start */
    bool is_over;           /* its lane is to end: shard_load_is_given_up */
    uint64_t load_again_us; /* it is tried again then; 0: nothing is */
    uint64_t load_pause_us; /* the next one; longer each time */
    uint32_t load_failed;   /* enum wire_load_state */
    char load_why[200];     /* a load is not done; "": it goes well */
    uint64_t load_bad_us;   /* since then the disk has failed as this says: */
    uint64_t load_bad_sum;  /* of that text; 0: it has not */
    struct log_limit load_log;

    /* The session table of the store. */
    uint64_t sessions_version; /* 0: not loaded yet */
    uint64_t next_session;
    uint64_t *open; /* rising */
    size_t n_open;
};

/* Ends a connection for malformed bytes. */
void shard_refuse_connection(struct shard *s, uint64_t connection,
                             const char *why);
/* A head for the answer to h. */
struct frame_header shard_answer_header(const struct shard *s,
                                        const struct frame_header *h,
                                        int status);
/* Seals an answer with the header a, and with a checksum where the connection
 * agreed on that, and sends it. */
void shard_send(struct shard *s, uint64_t connection, struct frame_header *a,
                struct frame *frame);
/* Sends an answer without a body, or with a body of wire_text. */
void shard_answer(struct shard *s, uint64_t connection,
                  const struct frame_header *h, int status, const char *text);
/* Sends an answer whose body is in b; b->failed is answered as PS_ENOMEM. */
void shard_answer_buf(struct shard *s, uint64_t connection,
                      const struct frame_header *h, const struct buf *b);
bool shard_has_lease(const struct shard *s);
/* The part of a variable that has bucket `begin`; NULL. */
struct shard_part *shard_part(const struct shard *s, uint32_t variable,
                              uint32_t begin);
bool shard_session_is_open(const struct shard *s, uint64_t session);
/* How long an ended session may still ask. */
uint64_t shard_ended_session_us(const struct shard *s);

/* shard_run.c */
void shard_run(struct shard *s, uint64_t connection,
               const struct frame_header *h, struct frame *frame);
/* shard_admin.c */
void shard_hello(struct shard *s, struct shard_connection *c,
                 const struct frame_header *h, struct frame *frame);
void shard_chain(struct shard *s, uint64_t connection,
                 const struct frame_header *h, struct frame *frame);
void shard_resolve(struct shard *s, uint64_t connection,
                   const struct frame_header *h, struct frame *frame);
void shard_lost(struct shard *s, uint64_t connection,
                const struct frame_header *h, struct frame *frame);
void shard_status(struct shard *s, uint64_t connection,
                  const struct frame_header *h);

#endif
