/* oracle.h - what must be true of a run, told from outside of the machines.
 *
 * oracle.c          frames: numbers, acknowledgements, resolve
 * oracle_store.c    records of the store: lanes, sessions, plan
 * oracle_rows.c     rows, pulls, and the end of a run
 * oracle_save.c     saves and their folders
 * oracle_content.c  what is in a checkpoint
 * oracle_load.c     what a part has of one, and of logs
 * oracle_log.c      logs
 *
 * A push of the simulator adds (1, x, x * x) to a row, so the row tells how
 * many pushes it has and, with sum and sum of squares, which: one that was lost
 * and one that came twice do not cancel out.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include "base/map.h"
#include "plan/plan.h"
#include "sim.h"
#include "wire/run.h"

enum { ORACLE_DIM = 3 }; /* count, sum, sum of squares; more repeat the sum */

/* A part of a frame. variable 0: all. */
struct lost_range {
    struct lost_range *next;
    uint32_t variable;
    uint32_t begin;
    uint32_t end;
};

/* What is known of one number of a stream. */
struct numbered {
    struct frame *frame; /* as it was sent first; NULL: not seen */
    uint64_t body_hash;
    uint64_t plan;
    uint64_t cut;        /* its stamp */
    uint64_t applied_in; /* the plan in the store when it was applied */
    uint64_t connection; /* of the last time it was sent */
    uint64_t step;       /* of its client, if has_step */
    bool has_step;
    bool is_late;         /* while a checkpoint is checked: in its late list */
    uint64_t late_cut;    /* of the last one that has it there */
    uint64_t log_write;   /* the write of its lane's log that has it */
    uint64_t log_segment; /* where that is */
    uint64_t log_end;
    bool is_logged; /* its lane's log has it, now that it has ended */
    bool is_applied;
    bool is_acked;           /* a shard said so */
    bool is_refused;         /* a shard said so, for good */
    bool is_canceled;        /* by resolve, on its own lane */
    bool is_told;            /* the client's owner was told */
    struct lost_range *lost; /* ... and later that parts of it were */
    struct lost_range *kept; /* parts that are in a checkpoint */
    int told;
};

/* All frames of a session to a lane. */
struct stream {
    struct stream *next;
    uint64_t session;
    uint64_t lane;
    struct process *client;
    struct numbered *numbers; /* by seq - 1 */
    size_t n;
    size_t room;
    uint64_t refused_plan; /* frames of older plans are refused, too */
    size_t settled; /* numbers 1..settled were applied, refused, canceled */
};

struct lane {
    uint64_t number;
    uint32_t server;
    uint32_t shard;
    uint64_t nonce;
    uint32_t emptied;
    uint64_t sessions_seen;
    uint64_t restore;     /* of the plan when it began */
    bool was_rolled_back; /* it ended by that, and need not know it yet */
    bool has_ended;
    uint64_t ended_at;
    uint64_t ended_plan; /* that says so; 0: none yet */

    /* Its log: oracle_log.c. */
    uint32_t log_state; /* enum shard_log_state */
    uint64_t log_segment;
    uint64_t log_end;
    uint64_t log_written;   /* writes that were done */
    uint64_t log_synced;    /* ... and synced */
    uint64_t log_lost_from; /* a power cut may have cost these; 0: none */
    bool log_has_holes;     /* ... and have left some behind them */
    struct hurt *hurts;
    uint64_t log_read_at; /* first, after it had ended; 0: not yet */
};

struct session_life {
    struct session_life *next;
    uint64_t number;
    uint64_t nonce;
    uint64_t ended_version; /* 0: open */
    uint64_t raised_cut;    /* the newest that was raised while it was open */
};

struct variable_life {
    struct variable_life *next;
    uint32_t id;
    uint32_t kind;
    uint32_t dim;
    uint64_t rows;
    uint32_t durability;
};

struct row {
    struct row *next; /* of the bucket */
    uint32_t variable;
    uint64_t key;
    uint64_t sent;  /* pushes that were submitted */
    uint64_t acked; /* ... and told as applied, by acked_lane */
    uint64_t acked_lane;
    uint64_t acked_since; /* the plan that gave the row to that lane */
    bool must_exist;      /* a frame that counts names it */
    bool was_walked;
    double sum[ORACLE_DIM];
};

/* What a request pushes to a row, and what of it was applied. */
struct pushed {
    uint32_t variable;
    uint64_t key;
    double sum[ORACLE_DIM];
    double done[ORACLE_DIM];
    double had[ORACLE_DIM]; /* of `had` of its request */
};

/* An op of a frame that is cut anew, whose rows are gone with a lane that had
 * them from the frame's own. The client may have asked that lane in time. */
struct had {
    struct had *next;
    struct numbered *n;
    struct run_op op; /* its variable and buckets */
};

/* A request as its client sees it. */
struct asked {
    struct asked *next;
    struct process *client;
    struct pushed *pushed;
    size_t n_pushed;
    struct had *had;
    uint64_t step;    /* boundaries of its client before it */
    uint64_t restore; /* of its client's plan */
    bool is_push;
    bool is_settled;
    bool is_abandoned;
};

/* What a client gives as the position of its reader. */
struct place_in_work {
    uint32_t client;
    uint32_t life;
    uint64_t steps;
};

/* What a checkpoint says of a session's reader. */
struct position {
    struct position *next;
    uint64_t session;
    uint64_t cut;
    uint64_t steps;
    uint64_t restore; /* that the checkpoint is of */
};

/* A step of a client within which it asked for a save, which is a boundary
 * with the position of before. */
struct split_step {
    struct split_step *next;
    const struct process *client;
    uint64_t step;
};

/* How a save ended that others have followed. */
struct save_end {
    struct save_end *next;
    uint64_t ticket;
    uint32_t state;
};

struct saved_place {
    uint32_t variable;
    uint32_t begin;
    uint32_t end;
    uint64_t lane;
};

/* Where a part's rows come from when a lane gets it. */
struct part_load {
    struct part_load *next;
    uint64_t lane;
    uint64_t since;
    uint32_t variable;
    uint32_t begin;
    uint32_t end;
    uint64_t log_from; /* no logs of lanes before */
    uint64_t born;     /* ... nor of those that ended up to this plan */
    char folder[64];
};

/* A checkpoint's folder that got its final name. */
struct saved {
    struct saved *next;
    char folder[64];
    uint64_t cut;
    uint64_t term;
    uint64_t base; /* the cut that it is an increment of; 0: whole */
    struct saved_place *places;
    uint32_t n_places;
    uint64_t given_in; /* of a part on its way: the plan that gave it away */
    bool is_whole;
    bool is_done;    /* the record said so */
    bool is_void;    /* it said that it failed, or was canceled */
    bool is_damaged; /* by us, when nobody looked at it any more */
    bool is_going;   /* somebody began to remove it */
    bool may_stay;   /* ... which did not work */
};

enum { ROW_BUCKETS = 8192 };

struct oracle {
    struct map streams; /* by session << 32 | lane */
    struct stream *all_streams;
    struct map lanes;
    struct map sessions;
    struct session_life *all_sessions;
    struct map variables;
    struct variable_life *all_variables;
    struct coord_file *store;
    struct buf value;
    struct arena arena;
    uint64_t next_session;
    uint64_t next_lane;
    uint64_t sessions_version;
    uint64_t versions[8 + SIM_SERVERS_MAX]; /* of the records looked at */
    uint32_t lives[SIM_SERVERS_MAX];        /* of a server, as stored */
    uint64_t life_nonce[SIM_SERVERS_MAX];
    uint32_t life_emptied[SIM_SERVERS_MAX];
    uint64_t live[SIM_SERVERS_MAX][SIM_SHARDS_MAX]; /* lanes; 0: none */
    struct plan *plan;
    struct map terms;  /* term of a plan, plus one */
    struct map ackers; /* lane by (term, part) */
    uint64_t applied[SIM_SERVERS_MAX][SIM_SHARDS_MAX]; /* in this life */
    uint32_t applied_life[SIM_SERVERS_MAX];
    struct row *rows[ROW_BUCKETS];
    uint64_t create_chain; /* the id of the one that creates and reads */
    struct saved *saved;
    struct saved *hit;       /* unfinished ones that were damaged */
    struct saved *moves;     /* folders of parts on their way */
    struct part_load *loads; /* newest first */
    struct position *positions;
    struct split_step *splits;
    uint64_t raised_cut; /* in `sessions` */
    uint64_t closed_cut; /* no older frame may be applied */
    uint64_t save_ticket;
    uint64_t save_order; /* nonce of the newest in the record */
    uint64_t save_cut;
    uint32_t save_state;
    struct save_end *save_ends; /* of former tickets */
    uint64_t save_oldest;       /* cut of the oldest checkpoint that is kept */
    uint64_t opened_at;         /* the save of save_cut */
    uint32_t n_final;           /* checkpoints at the end */
    uint64_t healed_ticket;     /* of the last save of before all was healed */
    bool has_saved;

    /* The frame that is being handled; NULL. */
    struct thread *handling;
    const struct frame_header *header;
    struct frame *frame;
};

void oracle_init(struct sim *s);
void oracle_fini(struct sim *s);

/* oracle.c */
void oracle_on_sent(struct sim *s, struct thread *from, struct thread *to,
                    uint64_t connection, const struct frame_header *h,
                    struct frame *f);
void oracle_on_handling(struct sim *s, struct thread *to, struct thread *from,
                        const struct frame_header *h, struct frame *f);
void oracle_on_handled(struct sim *s);
void oracle_on_ack(struct sim *s, void *lane);
void oracle_on_applied(struct sim *s, struct thread *t, uint64_t session,
                       uint64_t lane, uint64_t seq);
void oracle_on_framed(struct sim *s, struct process *client,
                      const struct ps_frame_outcome *f, struct asked *a,
                      const struct run_op *ops, uint32_t n_ops);
void oracle_on_lost(struct sim *s, struct process *client,
                    const struct ps_loss *loss);

struct numbered *oracle_numbered(const struct sim *s, uint64_t session,
                                 uint64_t lane, uint64_t seq);

/* oracle_load.c */
void oracle_load_on_plan(struct sim *s, const struct plan *p);
/* The lane that saved a bucket; 0. */
uint64_t oracle_load_saver(const struct saved *f, uint32_t variable,
                           uint32_t bucket);
/* Whether a frame is in the rows that `lane` has of a bucket, as far as they
 * are of before `cut`. */
bool oracle_load_has(const struct sim *s, uint64_t lane, uint64_t cut,
                     uint32_t variable, uint32_t bucket, const struct stream *t,
                     const struct numbered *n);
/* What an op has from *begin on to where a part of another time began: the
 * whole goes back to parts that are dealt anew, whose buckets may fare
 * differently. *begin, first op->begin, is set behind it. False: no more. */
bool oracle_load_piece(const struct sim *s, struct arena *arena,
                       const struct run_op *op, uint32_t *begin,
                       struct run_op *piece);
/* ... in those of the lane that holds them now. */
bool oracle_load_has_now(const struct sim *s, const struct run_op *op,
                         const struct stream *t, const struct numbered *n);
/* ... or in those of a lane that held them, which is not the frame's own. */
bool oracle_load_had(const struct sim *s, const struct run_op *op,
                     const struct stream *t, const struct numbered *n);
bool oracle_load_is_lost(const struct numbered *n, const struct run_op *op);
bool oracle_load_lose(struct sim *s, struct numbered *n,
                      const struct ps_loss *loss);
/* Of a variable that is logged only what wrote to it, and the log has lost. */
bool oracle_load_may_lose(const struct sim *s, const struct lane *l,
                          const struct numbered *n, const struct ps_loss *loss);
void oracle_load_keep(struct sim *s, struct numbered *n,
                      const struct run_op *op);
void oracle_load_check(struct sim *s, const struct stream *t, size_t i,
                       const struct run_op *op, bool is_in);

/* oracle_log.c */
struct disk_request;
/* A write of a lane's log was done, or failed; by: it landed beside. */
void oracle_log_on_written(struct sim *s, uint64_t lane,
                           const struct disk_request *r, int64_t by,
                           bool is_ok);
void oracle_log_on_synced(struct sim *s, uint64_t lane, bool is_ok);
void oracle_log_on_read(struct sim *s, uint64_t lane);
void oracle_log_on_removing(struct sim *s, const char *path);
/* We damage a file from a byte on. */
void oracle_log_on_damage(struct sim *s, const char *name, uint64_t offset);
/* Before it happens. */
void oracle_log_on_power_cut(struct sim *s, uint32_t server);
/* The record log/<lane>. */
void oracle_log_on_stored(struct sim *s, const void *data, size_t size);
/* What is wrong with this acknowledgement; NULL. */
const char *oracle_log_on_acked(const struct sim *s, uint64_t lane,
                                const struct numbered *n);
/* enum ps_durability, of all that a frame writes to. */
uint32_t oracle_log_durability(const struct sim *s, const struct numbered *n);
/* Whether an acknowledged frame may be missing in its lane's log. */
bool oracle_log_may_lose(const struct sim *s, const struct lane *l,
                         const struct numbered *n);
/* Whether a shard may say that it cannot read a log. */
bool oracle_log_may_refuse(const struct sim *s, const char *why);

/* oracle_content.c */
struct ckpt;
void oracle_content_check(struct sim *s, const struct ckpt *ckpt,
                          const struct saved *f);
/* The fate and the step of a frame are told. */
void oracle_content_on_framed(struct sim *s, const struct stream *t,
                              const struct numbered *n);
/* A client asks for a save within a step. */
void oracle_content_on_asked(struct sim *s, const struct process *client,
                             uint64_t step);
/* ... and has the checkpoint of this cut; in its step `step` it had asked, by a
 * plan of this restore. */
void oracle_content_on_saved(struct sim *s, uint64_t session, uint64_t cut,
                             uint64_t step, uint64_t restore);

/* oracle_save.c */
enum { SAVED_LINKS_MAX = 16 };
/* The folder and those that it builds on; returns how many, 0 where one is not
 * there. */
uint32_t oracle_save_links(const struct sim *s, const struct saved *f,
                           const struct saved *links[SAVED_LINKS_MAX]);
void oracle_save_on_record(struct sim *s, const void *data, size_t size);
void oracle_save_on_applied(struct sim *s, const struct stream *t,
                            const struct numbered *n, uint64_t seq);
bool oracle_save_has_no_room(const struct sim *s);
/* A part is given away that was written into this folder. */
void oracle_save_on_moved(struct sim *s, const struct saved *f);
void oracle_save_end(struct sim *s);
/* Whether a client may be told that the save of this ticket has ended so. */
bool oracle_save_may_end(const struct sim *s, uint64_t ticket, int status);
/* Though nothing is wrong. */
bool oracle_save_may_fail(const struct sim *s, const char *why);
/* Nothing is known to be wrong with it, nor with what it builds on. */
bool oracle_save_is_good(const struct sim *s, const char *folder);
struct saved *oracle_saved(const struct sim *s, const char *folder);

/* oracle_store.c */
void oracle_on_stored(struct sim *s, const char *key);
void oracle_on_stored_all(struct sim *s);
struct lane *oracle_lane(const struct sim *s, uint64_t lane);
struct session_life *oracle_session(const struct sim *s, uint64_t session);
/* By the store. How long ago is for each shard's clock to say: these jump. */
bool oracle_has_ended(const struct sim *s, uint64_t session);
struct variable_life *oracle_variable(const struct sim *s, uint32_t id);

/* oracle_rows.c */
struct row *oracle_row(struct sim *s, uint32_t variable, uint64_t key);
/* Calls fn for each row that an op writes or creates. */
void oracle_each_row(struct sim *s, const struct run_op *ops, uint32_t n_ops,
                     void (*fn)(void *context, uint32_t variable, uint64_t key,
                                const float *values),
                     void *context);
/* Whether an op writes, or creates, rows. */
bool oracle_writes(const struct sim *s, const struct run_op *op);
/* The lane that holds a row now, by the newest plan in the store; 0. */
uint64_t oracle_holder(const struct sim *s, uint32_t variable, uint64_t key);
/* Since which plan; 0. */
uint64_t oracle_held_since(const struct sim *s, uint32_t variable,
                           uint64_t key);
/* A request is submitted; its `pushed` are sorted here. */
void oracle_asked(struct sim *s, struct asked *a);
struct pushed *oracle_pushed(const struct asked *a, uint32_t variable,
                             uint64_t key);
void oracle_settled(struct sim *s, struct asked *a, int status);
/* A pull of a row: what it may be at least, and whether its answer is right. */
struct oracle_bound {
    uint64_t low;
    uint64_t lane;
    uint64_t since;
};
void oracle_pull_begin(struct sim *s, uint32_t variable, uint64_t key,
                       struct oracle_bound *b);
void oracle_pull_end(struct sim *s, uint32_t variable, uint64_t key,
                     const struct oracle_bound *b, const float *values);
/* A shard's answer to STATUS. */
void oracle_status(struct sim *s, uint64_t lane, const void *data, size_t size);
void oracle_end(struct sim *s);

#endif
