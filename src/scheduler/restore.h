/* restore.h - rows come back from checkpoints, shared by the scheduler's .c
 * files only.
 *
 *     FINDING --> SETTLING --> RAISING --> PLANNING --> IDLE
 *        |        (no save     (counters   (written      (servers load,
 *        v         is open)     in the      into the      the order is
 *     IDLE: none, or damaged    store)      plan)         answered then)
 *
 * Six jobs, one at a time:
 *     START   a new store and a root with checkpoints: the newest good one is
 *             the model, before anybody serves
 *     LOOK    which checkpoint do parts come from whose server dies?
 *     DEMAND  a client's WIRE_RESTORE: the whole cluster goes back, or some
 *             variables come from there
 *     CONFIRM a shard does not find a file: is it so?
 *     OLDER   a shard cannot load a part: from which one instead?
 *     CONSISTENT  a server died: the whole cluster goes back
 */
#ifndef RESTORE_H
#define RESTORE_H

#include "scheduler/restore_find.h"
#include "scheduler/scheduler_impl.h"

enum {
    RESTORE_ORDERS_MAX = 16, /* that share one restore */
    RESTORE_DONE_MAX = 64,   /* that the plan knows to be done */
    RESTORE_FAILURES_MAX = 16
};

enum restore_phase {
    RESTORE_IDLE,
    RESTORE_FINDING,
    RESTORE_SETTLING,
    RESTORE_RAISING,
    RESTORE_PLANNING
};

enum restore_job {
    RESTORE_JOB_NONE,
    RESTORE_JOB_START,
    RESTORE_JOB_LOOK,
    RESTORE_JOB_DEMAND,
    RESTORE_JOB_BEST, /* of a DEMAND that cannot be done: which one is good? */
    RESTORE_JOB_CONFIRM,
    RESTORE_JOB_OLDER,
    RESTORE_JOB_CONSISTENT
};

/* A checkpoint that parts may come from. */
struct restore_source {
    char folder[CKPT_NAME_MAX + 1]; /* "": none */
    uint64_t cut;
    uint64_t plan;    /* that it was saved under */
    uint64_t restore; /* likewise */
    uint64_t next_variable;
};

/* A folder that some shard cannot load, and what parts of this past come from
 * instead. */
struct restore_failure {
    char folder[CKPT_NAME_MAX + 1];
    struct restore_past past;
    bool is_missing; /* so it says; else it is damaged */
    bool has_instead;
    struct restore_source instead; /* folder "": none is left */
    uint64_t again_us;             /* it was here; looked at again then */
};

/* The one that is looked at now. */
struct restore_failing {
    char folder[CKPT_NAME_MAX + 1];
    struct restore_past past;
    bool is_missing;
    bool is_foreign;
    uint64_t restore;
};

/* What a client asked for last. It asks again until it is answered, by the
 * same nonce; orders for the same share one restore. What is done is in the
 * plan (struct wire_order). */
struct restore_order {
    uint64_t nonces[RESTORE_ORDERS_MAX];
    uint32_t n;
    char name[LIMIT_NAME_BYTES + 1];
    struct arena arena; /* of the renames */
    const struct wire_rename *renames;
    uint32_t n_renames;
    bool is_open;    /* not ended yet */
    bool is_loading; /* the plan is written */
    int status;      /* when it has ended, or is as good as refused */
    uint64_t restore;
    uint64_t plan;
    char folder[CKPT_NAME_MAX + 1];
    char text[640];
};

struct restore {
    enum restore_phase phase;
    enum restore_job job;
    uint64_t retry_us; /* UINT64_MAX: nothing to try */
    struct restore_find find;
    uint64_t heard_us; /* the disk answered, or was asked first */
    uint64_t bad_us;   /* it lists, and fails with a file since; 0: no */
    bool has_looked;   /* START is over, in this process */
    bool knows_newest; /* LOOK is over, in this run */
    bool is_paused;    /* the save machine waits for us */
    struct restore_source newest;
    struct restore_source unread; /* newer than that, without a manifest */

    /* START, DEMAND and CONSISTENT: what is being restored. */
    struct ckpt *source;
    char folder[CKPT_NAME_MAX + 1];
    struct restore_marks marks;
    uint32_t raising; /* which record: restore_raise.c */
    uint64_t raise_serial;
    uint64_t target; /* the plan's restore number when it is written */
    uint64_t old_restore;
    uint64_t planned; /* the number of the plan with it, if it was written */
    struct restore_order order;

    /* CONFIRM, OLDER */
    struct restore_failing failing;
    struct restore_failure failures[RESTORE_FAILURES_MAX];
    uint32_t n_failures;

    /* CONSISTENT: lanes that have ended up to this plan take nobody back with
     * them: there was nothing to go back to. */
    uint64_t accepted;
};

void restore_init(struct restore *v);
void restore_fini(struct restore *v);
/* Before the store's `cluster` is made: true when it may be; else a checkpoint
 * is looked for, and scheduler_go_on is called. */
bool restore_before_cluster(struct scheduler *s) MUST_USE;
/* The id that a new store takes over; false: a new one. */
bool restore_cluster_id(const struct scheduler *s, uint64_t *high,
                        uint64_t *low) MUST_USE;
/* Before the scheduler runs: likewise, and plan_owner_begin is called. */
bool restore_before_run(struct scheduler *s) MUST_USE;
/* The cluster has checkpoints, and this scheduler was not told where: it does
 * not run, as parts would begin empty for which there are some. */
bool restore_misses_place(struct scheduler *s) MUST_USE;
/* It begins to run, or stops, or stands by. */
void restore_start(struct scheduler *s);
void restore_stop(struct scheduler *s);
/* NULL, or why nothing may be declared, dropped or saved now. */
const char *restore_is_under_way(const struct scheduler *s);
/* A checkpoint is whole. */
void restore_on_saved(struct scheduler *s, const struct restore_source *x);
/* Members were looked at. */
void restore_look(struct scheduler *s);
/* A folder that must stay: it is being looked at. */
bool restore_needs(const struct scheduler *s, const char *folder);
/* A plan was read; s->plan is it. */
void restore_on_plan(struct scheduler *s);
/* The plan that it asks for cannot be written. */
bool restore_refuse(struct scheduler *s, int status, const char *text);
void restore_on_coord(struct scheduler *s, const struct coord_result *r);
void restore_on_disk(struct scheduler *s, const struct disk_result *r);
void restore_tick(struct scheduler *s);
uint64_t restore_next(const struct scheduler *s);
/* restore_order.c: WIRE_RESTORE. */
void restore_on_request(struct scheduler *s, uint64_t connection,
                        const struct frame_header *h, struct frame *frame);
/* Writes into w that it does the order, for all who share it; *changed where
 * that was not there. */
int restore_order_note(struct scheduler *s, struct wire_plan *w,
                       bool *changed) MUST_USE;
/* Of how many of those, oldest first, the plan that was read says so. */
uint32_t restore_order_noted(const struct scheduler *s);

/* restore.c: v->order is to be done. */
void restore_begin_order(struct scheduler *s);
/* Looks for a checkpoint, for this job. */
void restore_search(struct scheduler *s, enum restore_job job,
                    const struct restore_wish *wish);
/* The one that was found is restored when no save is open. */
void restore_settle(struct scheduler *s);
/* The job is over. */
void restore_rest(struct scheduler *s);

/* restore_raise.c: the store's numbers above those of the checkpoint. */
void restore_raise_begin(struct scheduler *s);
void restore_raise_again(struct scheduler *s);
void restore_raise_on_coord(struct scheduler *s, const struct coord_result *r);
/* restore.c: they are. */
void restore_is_raised(struct scheduler *s);

/* restore_whole.c: what the plan says. Each changes w (arrays from the arena of
 * the scheduler) and returns true, or leaves it as it is. */
bool restore_plan_whole(struct scheduler *s, struct wire_plan *w);
/* restore_plan.c. Parts of ended lanes go to lanes that live. */
bool restore_plan_move(struct scheduler *s, struct wire_plan *w);
/* Parts that could not be loaded come from elsewhere. */
bool restore_plan_instead(struct scheduler *s, struct wire_plan *w);
/* Loads that no part has any more. */
void restore_plan_prune(struct scheduler *s, struct wire_plan *w);
/* What w says of a lane that has ended; NULL: it lives. */
const struct wire_ended *restore_plan_ended(const struct wire_plan *w,
                                            uint64_t lane);
/* What it acknowledged is in the log of its server. */
bool restore_plan_is_logged(const struct wire_plan *w, uint32_t variable);
/* Lanes for wanted parts, to which those are added that have no room where they
 * are; how many got one. */
uint32_t restore_room_place(struct scheduler *s, const struct wire_plan *w,
                            bool *wanted, uint64_t *lanes);

/* restore_failed.c. The load of a part that its shard says cannot be done; what
 * it says of a former load is not about this one. NULL: none. */
const struct wire_load *restore_failed_load(const struct scheduler *s,
                                            const struct wire_part *part,
                                            bool *is_missing);
/* Begins with one that nothing is known of. */
void restore_failed_look(struct scheduler *s);
void restore_failed_confirmed(struct scheduler *s);
void restore_failed_found(struct scheduler *s, const struct restore_source *x);
void restore_failed_forget(struct restore *v);

/* restore_consistent.c. Parts of w stay on their ended lanes: all go back. */
bool restore_consistent_holds(const struct scheduler *s,
                              const struct wire_plan *w);
/* Begins if that is so. */
bool restore_consistent_look(struct scheduler *s);
void restore_consistent_found(struct scheduler *s);
/* It cannot be: what a server lost comes back alone. */
void restore_consistent_accept(struct scheduler *s, const char *why);
/* Adds lanes that have ended to those of w: of servers that are away. */
int restore_consistent_lanes(const struct scheduler *s, struct arena *arena,
                             struct wire_plan *w) MUST_USE;
/* The folders that parts come from belong to the timeline. */
void restore_consistent_wish(const struct scheduler *s,
                             struct restore_wish *wish);

#endif
