/* actor_client.h - the inside of a client process, shared by actor_client.c
 * (its life) and workload.c (what it asks for). */
#ifndef ACTOR_CLIENT_H
#define ACTOR_CLIENT_H

#include "client/session.h"
#include "oracle.h"
#include "sim.h"

enum {
    CLIENT_OPS_MAX = 4,
    CLIENT_KEYS_MAX = 60,
    CLIENT_SCRATCH = 4, /* the variable that comes and goes */
    CLIENT_WIDE = 5,    /* the one over several shards, in few seeds */
    CLIENT_BURST = 300,
    CLIENT_IN_FLIGHT = 16,
    CLIENT_CANARY = 777
};

/* One step of a client's work; its job's number is above the low byte. */
enum client_step {
    STEP_NEXT,
    STEP_RESOLVE,
    STEP_ABANDON,
    STEP_DECLARE,
    STEP_CLOSE,
    STEP_BOUNDARY,
    STEP_SAVE,
    STEP_CANCEL,
    STEP_LAST_SAVE,
    STEP_RESTORE,
    STEP_MOVE
};

enum save_request {
    ASK_SAVE,
    ASK_CANCEL,
    ASK_LAST_SAVE,
    ASK_RESTORE,
    ASK_MOVE
};

struct client_save {
    struct client_save *next;
    enum save_request what;
    struct request *request;
    uint64_t session; /* that asked, which has steps; 0: none */
    uint64_t step;    /* ... in this one */
    uint64_t restore; /* of its plan then */
};

/* A place's share of the work: outlives its processes. */
struct client_work {
    uint64_t target; /* pushes to submit */
    uint64_t done;   /* submitted */
    uint64_t burst_at;
    uint64_t close_at;
    uint64_t key_space;
    uint64_t pace_us;
    uint64_t step_us; /* between boundaries; 0: it has none */
    uint64_t save_us;
    bool has_wide;
};

struct client_job {
    struct client_job *next;
    struct client_job *prev;
    uint64_t number;
    struct asked asked;
    struct request *request;
    struct session_op ops[CLIENT_OPS_MAX];
    struct oracle_bound *bounds[CLIENT_OPS_MAX];
    uint32_t variables[CLIENT_OPS_MAX]; /* index in the table */
    size_t n_rows[CLIENT_OPS_MAX];
    uint32_t n_ops;
    bool may_cancel; /* resolve was called */
    bool is_dropping;
    bool has_scratch;
    bool is_abandoned;
};

struct client_status {
    struct client_status *next;
    uint64_t lane;
    struct request *request;
};

struct client_actor {
    struct process *process;
    struct thread *thread;
    struct session *session;
    struct session_owner owner;
    struct client_work *work;
    struct session_variable variables[SIM_VARIABLES];
    bool is_declared[SIM_VARIABLES];
    struct request *declaring[SIM_VARIABLES];
    struct request *conflicting; /* a declaration that must be refused */
    int refusal;                 /* ... with this status */
    struct request *dropping;
    struct client_job *jobs; /* in flight */
    struct client_job *abandoned;
    uint64_t n_jobs;
    uint64_t next_job;
    struct request *to_free[8]; /* settled, to be freed after the handler */
    uint32_t n_to_free;
    bool is_working;
    bool is_closing;
    bool has_asked_close;
    uint64_t steps;
    struct client_save *saves;
    bool has_saved;               /* the last one */
    struct client_status *asking; /* status, at the end */
    uint64_t n_asking;
};

struct client_variable {
    const char *name;
    uint32_t kind;
    uint32_t dim;
    uint64_t rows;
};
extern const struct client_variable client_variables[SIM_VARIABLES];

/* actor_client.c */
void client_declare(struct client_actor *a, uint32_t variable);
/* workload.c */
void workload_step(struct client_actor *a, uint64_t value);
/* A job's request has settled. */
void workload_settled(struct client_actor *a, struct client_job *j, int status);

/* workload_save.c */
void workload_save_init(struct sim *s, struct client_work *w);
void workload_save_start(struct client_actor *a);
void workload_save_boundary(struct client_actor *a);
void workload_save_ask(struct client_actor *a);
void workload_save_cancel(struct client_actor *a);
void workload_save_again(struct client_actor *a);
/* The cluster goes back to its newest checkpoint; must: as a way out. */
void workload_save_restore(struct client_actor *a, bool must);
/* Some part goes to some shard. */
void workload_save_move(struct client_actor *a);
/* Takes note of a rollback, if its position is known. */
void workload_save_note(struct client_actor *a);
/* From outside of the client: the save of the end. */
void workload_save_last(struct client_actor *a);
/* False: it is no save's. */
bool workload_save_settled(struct client_actor *a, struct request *r);

#endif
