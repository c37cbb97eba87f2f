/* sim.h - a whole cluster in one thread, on a virtual clock, with faults.
 *
 * A world has places (a scheduler, servers, clients). A place has one life at
 * a time: a process, which is killed and started anew. A process has threads:
 * one for each struct net, that is one for each machine. Everything that
 * happens is an event of one heap, ordered by (time, number); all chance is
 * drawn from one generator. So a seed names a run, to the last byte.
 *
 * What the machines do is judged by the oracle from outside: from the frames
 * they send, the records that are in the store, the rows the shards hold, and
 * what the clients were told.
 *
 * Memory of a run comes from one arena and goes with it.
 */
#ifndef SIM_H
#define SIM_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/probe.h"
#include "coord/coord.h"
#include "fs/disk.h"
#include "fs/fs.h"
#include "net/net.h"

enum {
    SIM_MS = 1000,
    SIM_S = 1000000,
    SIM_SERVERS_MAX = 3,
    SIM_SHARDS_MAX = 3,
    SIM_CLIENTS_MAX = 4,
    SIM_SCHEDULERS_MAX = 2,
    SIM_THREADS_MAX = SIM_SHARDS_MAX + 1,
    SIM_PLACES_MAX = SIM_SCHEDULERS_MAX + SIM_SERVERS_MAX + SIM_CLIENTS_MAX,
    SIM_ADDRESS_BYTES = 32,
    SIM_VARIABLES = 6,
    /* After the faults everything must be done within this time. */
    SIM_LIVENESS_US = 120 * SIM_S,
    /* A run of more events than this turns in a circle. */
    SIM_EVENTS_MAX = 3000000,
    SIM_MILLION = 1000000
};

/* ---- faults ------------------------------------------------------------ */

/* clang-format off */
#define FAULTS_MAP(X)                                                         \
    X(frame_lost,        "a frame is lost, its connection goes on")           \
    X(ack_lost,          "an answer of a shard is lost after the apply")      \
    X(frame_delayed,     "a frame and what is behind it comes late")          \
    X(cut_mid_frame,     "a connection is cut within a frame")                \
    X(old_bytes_late,    "an ended connection's bytes arrive seconds later")  \
    X(stall_one_way,     "one direction of a connection stops for a while")   \
    X(connect_refused,   "a connect is refused")                              \
    X(connect_slow,      "a connect takes long")                              \
    X(kill_server,       "a server is killed and comes back")                 \
    X(kill_client,       "a client is killed, another opens as its worker")   \
    X(kill_scheduler,    "a scheduler is killed and comes back")              \
    X(pause_server,      "a server is stopped and goes on (a zombie)")        \
    X(pause_client,      "a client is stopped and goes on")                   \
    X(pause_scheduler,   "a scheduler is stopped and goes on")                \
    X(stop_in_handler,   "a process is stopped between two looks at the "     \
                         "clock")                                             \
    X(thread_slow,       "one thread of a process is slow to take its mail")  \
    X(clock_jump,        "a process's clock jumps forward")                   \
    X(store_away,        "the store is away for everybody")                   \
    X(store_cut_off,     "one process cannot reach the store")                \
    X(store_full,        "a process can read the store, but not write")       \
    X(store_slow,        "an operation of the store takes seconds")           \
    X(store_read_fails,  "a read of the store fails")                         \
    X(store_write_lied,  "a write took effect, and is answered with EIO")     \
    X(store_write_stuck, "a write takes effect after its answer EIO")         \
    X(store_step_failed, "a step of a store operation fails, undone")         \
    X(store_step_lied,   "a step of a store operation fails, done")           \
    X(store_link_late,   "a link lands after it was given up")                \
    X(store_write_dead,  "a dead process's write takes effect")               \
    X(disk_slow,         "a request to a disk takes seconds")                 \
    X(disk_fails,        "a request to a disk fails, in part done or not")    \
    X(disk_misdirects,   "a write lands elsewhere in its file")               \
    X(disk_torn,         "a process dies when a request is half done")        \
    X(disk_full,         "the storage has no room for a while")               \
    X(disk_flips,        "a bit of a checkpoint turns")                       \
    X(disk_blind,        "a server does not find any checkpoint for a while") \
    X(power_cut,         "the storage and all servers lose their power")      \
    X(power_server,      "a server and its own disk lose their power")        \
    X(log_slow,          "a request to the disk of logs takes seconds")       \
    X(log_fails,         "a request to it fails, in part done or not")        \
    X(log_torn,          "a server dies when a request to it is half done")   \
    X(log_late,          "what a dead server asked of it is done later")      \
    X(log_misdirects,    "a write lands elsewhere in its segment")            \
    X(log_full,          "a server's disk of logs is full for a while")       \
    X(log_flips,         "a bit of a segment turns")                          \
    X(log_removed,       "a stranger removes a segment")
/* clang-format on */

enum fault {
#define FAULT_ENUM(name, text) FAULT_##name,
    FAULTS_MAP(FAULT_ENUM)
#undef FAULT_ENUM
        FAULTS_N
};

/* ---- events ------------------------------------------------------------ */

enum event_kind {
    EVENT_START,   /* a place's process begins */
    EVENT_TICK,    /* a thread's timer */
    EVENT_CONNECT, /* a connect reaches the other side */
    EVENT_DELIVER, /* bytes of a connection */
    EVENT_MAIL,    /* a message between threads of a process */
    EVENT_STORE,   /* the store works on an operation */
    EVENT_ANSWER,  /* the store's answer reaches the process */
    EVENT_LINK,    /* a late link lands */
    EVENT_ACK,     /* the moment an acknowledgement leaves */
    EVENT_FAULT,   /* the next fault of processes or store */
    EVENT_KILL,    /* a scheduler dies, at a moment that tells something */
    EVENT_WORK,    /* a client's next step */
    EVENT_DISK,    /* a disk works on its next request */
    EVENT_DISK_ANSWER,
    EVENT_WATCHDOG /* looks whether all is done */
};

struct sim;
struct thread;
struct process;
struct link;
struct store_op;
struct shard;
struct mail;
struct simdisk;
struct disk_task;
struct crashfs;

struct event {
    uint64_t at;
    uint64_t order;
    enum event_kind kind;
    struct thread *thread; /* whose; NULL: the world's */
    void *object;
    uint64_t value;
};

/* ---- processes --------------------------------------------------------- */

/* What a thread's machine is called with. Each is one handler. */
struct machine {
    void (*on_open)(struct thread *t, uint64_t connection);
    void (*on_frame)(struct thread *t, uint64_t connection,
                     const struct frame_header *h, struct frame *f);
    void (*on_close)(struct thread *t, uint64_t connection);
    void (*on_coord)(struct thread *t, const struct coord_result *r);
    void (*on_mail)(struct thread *t, const struct mail *m);
    void (*on_disk)(struct thread *t, const struct disk_result *r);
    void (*on_log)(struct thread *t, const struct disk_result *r);
    void (*on_work)(struct thread *t, uint64_t value);
    void (*tick)(struct thread *t);
    uint64_t (*next)(struct thread *t); /* on the process's clock */
    /* After every handler, for what the owner of a machine looks at. */
    void (*after)(struct thread *t);
};

/* From a thread to another of its process, in order. */
struct mail {
    struct mail *next;
    uint64_t at;
    uint32_t kind;
    uint32_t shard;
    uint64_t a;
    uint64_t b;
    uint64_t c;
    uint64_t d;
    void *data;
    size_t size;
};

struct thread {
    struct sim *sim;
    struct process *process;
    uint32_t number; /* in its process */
    bool is_dead;
    uint64_t busy_until; /* it takes nothing before */
    uint64_t inside_us;  /* time that went by within this handler */
    int looks_left;      /* looks at the clock before it is stopped; -1 */
    uint64_t stop_us;
    bool stop_is_whole; /* the process, not this thread only */
    uint64_t tick_at;   /* the tick that counts; others are stale */
    struct net net;
    char address[SIM_ADDRESS_BYTES]; /* listens there; "": nowhere */
    const struct machine *machine;
    void *self;
    struct mail *mail;
    struct mail *mail_last;
    uint64_t mail_at; /* of the last one */
};

enum place_kind { PLACE_SCHEDULER, PLACE_SERVER, PLACE_CLIENT };

struct place {
    struct sim *sim;
    enum place_kind kind;
    uint32_t index; /* of its kind */
    uint32_t lives;
    bool is_starting;        /* EVENT_START is on its way */
    struct process *process; /* NULL: dead */
    void *work;              /* of a client: outlives its processes */
};

struct process {
    struct process *next; /* all there ever were, newest first */
    struct place *place;
    uint32_t life;
    bool is_dead;
    uint64_t died_at;
    struct thread threads[SIM_THREADS_MAX];
    uint32_t n_threads;
    uint64_t clock_us; /* added to the world's time */
    int32_t rate_ppm;
    uint64_t jumped_at;
    struct coord coord;
    struct coord_file *store;
    uint64_t cut_off_until; /* from the store */
    uint64_t stepped_at;    /* a client's first boundary; 0: none yet */
    bool cut_off_first;     /* the first write after that is done, late */
    uint64_t full_until;    /* its writes fail, undone */
    void *self;
};

/* ---- the world --------------------------------------------------------- */

struct sim_rng {
    uint64_t s;
};

struct oracle;
struct simfs;

/* What a run adds up to; summed over seeds by main. */
struct sim_totals {
    uint64_t seeds;
    uint64_t pushes; /* requests with a push */
    uint64_t pushes_acked;
    uint64_t pushes_canceled; /* by resolve */
    uint64_t pushes_gone;     /* their variable was dropped */
    uint64_t pushes_limited;  /* by memory */
    uint64_t pushes_given_up; /* abandoned */
    uint64_t pushes_rolled_back;
    uint64_t pulls_checked; /* rows */
    uint64_t frames;
    uint64_t applied;
    uint64_t losses; /* frames */
    uint64_t come_backs;
    uint64_t sessions;
    uint64_t rows;
    uint64_t saves; /* tickets */
    uint64_t saves_done;
    uint64_t saves_failed;
    uint64_t saves_canceled;
    uint64_t saves_again; /* under a further cut */
    uint64_t folders;     /* that got their final name */
    uint64_t rows_saved;  /* checked */
    uint64_t lates;       /* frames in late lists */
    uint64_t positions;   /* of readers, checked */
    uint64_t flips_found;
    uint64_t rollbacks;    /* that a client took note of */
    uint64_t logged;       /* frames that were found in a log's end */
    uint64_t logged_lost;  /* ... that were not, after a power cut or damage */
    uint64_t logs_refused; /* ... and were said to be damaged */
    uint64_t given_up;     /* seeds: refused, and nothing to go back to */
    uint64_t increments;   /* of the folders */
    uint64_t loads;        /* of parts */
    uint64_t moves;        /* of parts, ordered in the plan */
    uint64_t moves_done;   /* ... and answered so */
    uint64_t kept;         /* frames in part, of ended lanes */
    uint64_t events;
    uint64_t virtual_us;
    uint64_t faults[FAULTS_N];
};

struct sim {
    uint64_t seed;
    struct sim_rng rng;
    uint64_t now;
    uint64_t order;
    struct event *heap;
    size_t n_events;
    size_t events_room;
    struct arena arena;
    bool is_traced;
    bool is_over;
    bool has_failed;
    char why[512];
    uint64_t trace;

    /* What this seed is like. */
    uint32_t n_schedulers;
    uint32_t n_servers;
    uint32_t n_shards;
    bool shards_vary; /* a server may come back with another number of them */
    uint32_t n_clients;
    uint64_t memory_bytes; /* 0: no limit */
    bool is_calm;          /* no process suffers: nothing may be lost */
    uint64_t idle_us;      /* a shard's idle moments are so far apart */
    bool has_restores;     /* clients ask for them */
    uint32_t full_every;   /* of checkpoints; 0: all are whole */
    uint64_t successor_ms; /* 0: parts wait for their server */
    bool is_consistent;    /* all go back when a server dies */
    uint64_t disk_us;      /* most requests to a disk take less */
    bool has_logs;
    uint64_t log_us;                    /* ... to one of logs */
    uint32_t durability[SIM_VARIABLES]; /* enum ps_durability */
    bool no_save[SIM_VARIABLES];
    uint64_t block_rows;      /* of checkpoints; 0: the usual */
    uint32_t save_bytes;      /* of rows that are saved in one of them */
    uint32_t rates[FAULTS_N]; /* in a million, of what they happen to */
    bool faults_on;
    uint64_t healed_at;
    uint64_t last_push_at;

    struct place places[SIM_PLACES_MAX];
    uint32_t n_places;
    struct process *processes;
    struct thread *running; /* in whose handler we are; NULL */
    struct link *links;     /* newest first */
    uint64_t n_links;
    struct link **by_number;
    size_t links_room;
    struct fs *memory;
    struct simfs *fs;
    uint64_t away_until;  /* the store, for everybody */
    struct store_op *ops; /* unanswered ones */
    struct store_op *free_ops;
    struct crashfs *storage; /* of checkpoints */
    uint64_t disk_full_until;
    struct crashfs *logs[SIM_SERVERS_MAX]; /* outlive their processes */
    uint64_t log_full_until[SIM_SERVERS_MAX];
    uint64_t refused_at; /* a log was, last */
    uint64_t restore_at; /* then somebody asks for one, as a way out */
    bool cannot_restore;
    bool was_given_up;
    struct simdisk *disks;
    struct disk_task *free_disk_ops;
    struct oracle *oracle;
    uint64_t quiet_since; /* all done since then; 0 */
    bool asked_save;      /* the last one, with all healed */
    bool asked_status;
    struct sim_totals totals;
};

/* world.c */
void world_run(struct sim *s, uint64_t seed, bool is_traced);
void world_fini(struct sim *s);
void world_push(struct sim *s, uint64_t at, enum event_kind kind,
                struct thread *thread, void *object, uint64_t value);
/* Cleared memory of the run. */
void *world_take(struct sim *s, size_t bytes);
/* The first reason is kept, the run ends. */
void world_fail(struct sim *s, const char *format, ...) PRINTF_LIKE(2, 3);
uint64_t world_random(struct sim *s);
uint64_t world_below(struct sim *s, uint64_t n); /* 0 <= x < n */
uint64_t world_between(struct sim *s, uint64_t low, uint64_t high);
bool world_chance(struct sim *s, uint32_t in_a_million);
/* Makes a process with its threads; the place's actor adds the machines. */
struct process *world_process(struct place *p, uint32_t n_threads);
/* After machine, self and address are set. */
void world_thread_start(struct thread *t);
void world_kill(struct process *p);
/* Stops a process, or one thread, from now on. */
void world_pause(struct process *p, uint64_t us);
/* Enters and leaves a handler. */
void world_enter(struct thread *t);
void world_leave(struct thread *t);
uint64_t world_clock(const struct process *p, uint64_t at);
/* When does the process's clock show this? */
uint64_t world_when(const struct process *p, uint64_t clock_us);
void world_mail(struct thread *from, struct thread *to, const struct mail *m);
/* How long an ended session may still ask: 0 is the usual, which no run lasts
 * for. */
static inline uint64_t world_ended_session_ms(const struct sim *s)
{
    return s->seed % 3 == 0 ? 8000 : 0;
}
const char *world_name(const struct process *p); /* static text */

/* simnet.c */
void simnet_init(struct thread *t);
void simnet_on_connect(struct sim *s, struct link *l);
void simnet_on_deliver(struct sim *s, struct link *l, uint32_t side);
void simnet_on_kill(struct process *p);
void simnet_fini(struct sim *s);
/* Ends what stalls there still are. */
void simnet_heal(struct sim *s);

/* simcoord.c */
void simcoord_start(struct process *p);
void simcoord_on_store(struct sim *s, struct store_op *op);
void simcoord_on_answer(struct sim *s, struct store_op *op);
void simcoord_on_kill(struct process *p);
void simcoord_fini(struct sim *s);

/* simfs.c */
enum simfs_fault { SIMFS_FAILS, SIMFS_LIES, SIMFS_LINKS_LATE, SIMFS_DIES };
struct simfs *simfs_new(struct sim *s, struct fs *under);
struct fs *simfs_fs(struct simfs *f);
/* The step-th change of a file from now on goes wrong. */
void simfs_arm(struct simfs *f, enum simfs_fault fault, uint32_t step);
/* False if it did not come to that. */
bool simfs_disarm(struct simfs *f);
void simfs_on_link(struct sim *s, void *late);

/* simdisk.c */
struct disk *simdisk_new(struct thread *t);
/* For the logs of its server; answers come by on_log. */
struct disk *simdisk_new_log(struct thread *t);
void simdisk_on_work(struct sim *s, struct simdisk *d);
void simdisk_on_answer(struct sim *s, struct simdisk *d);
void simdisk_on_kill(struct process *p);
/* What the dead have asked of this one is not done any more. */
void simdisk_forget_late(struct sim *s, const struct crashfs *under);
void simdisk_fini(struct sim *s);

/* damage.c: what happens to files that nobody is at. False where there is
 * nothing to be damaged. */
bool damage_flip(struct sim *s);
/* Of a log, near its end, or anywhere. */
bool damage_flip_log(struct sim *s, uint32_t server, bool is_tail);
bool damage_remove_log(struct sim *s, uint32_t server);
/* Whoever used the storage must be dead. */
void damage_cut_power(struct sim *s);
void damage_cut_power_of(struct sim *s, uint32_t server);

/* oracle_save.c: what happens to the storage */
void oracle_save_on_renamed(struct sim *s, const char *folder);
void oracle_save_on_removing(struct sim *s, const char *path);
void oracle_save_on_kept(struct sim *s, const char *path);
void oracle_save_on_flipped(struct sim *s, const char *folder,
                            const char *file);
void oracle_save_on_power_cut(struct sim *s);

/* actor_*.c: the machines of a place's next life */
void actor_scheduler_start(struct place *p);
void actor_server_start(struct place *p);
void actor_client_start(struct place *p);
void actor_scheduler_kill(struct process *p);
void actor_server_kill(struct process *p);
void actor_client_kill(struct process *p);
void actor_client_init(struct sim *s);
bool actor_scheduler_is_done(const struct process *p);
bool actor_server_is_done(const struct process *p);
bool actor_client_is_done(const struct process *p);
/* Says on `text` what a process waits for. */
void actor_client_says(const struct process *p, char *text, size_t size);
const char *actor_server_says(const struct process *p);
const char *actor_scheduler_says(const struct process *p);
uint64_t actor_client_in_flight(const struct process *p);
/* All pushes of the work are done, whoever did them. */
bool actor_client_work_is_done(const struct sim *s);
void actor_client_ask_status(struct sim *s);
bool actor_client_has_status(const struct sim *s);
/* The save at the end, which nothing disturbs. */
void actor_client_ask_save(struct sim *s);
/* Of the newest checkpoint; where some client can. */
void actor_client_ask_restore(struct sim *s);
bool actor_client_has_saved(const struct sim *s);
/* Why a shard cannot read a log; NULL. */
const char *actor_server_refuses(const struct process *p);
uint32_t actor_server_shards(const struct process *p);
struct shard *actor_server_shard(const struct process *p, uint32_t shard);

/* faults.c */
extern const char *const faults_names[FAULTS_N];
/* More of the faults that show a planted one. */
void faults_for_plant(void);
void faults_init(struct sim *s);
/* Whether this fault happens here; counts it. */
bool faults_draw(struct sim *s, enum fault f);
void faults_count(struct sim *s, enum fault f);
void faults_on_event(struct sim *s);
/* The place comes back after a while. */
void faults_restart(struct place *p);
void faults_kill_scheduler(struct sim *s);

/* trace.c */
void trace_event(struct sim *s, const struct event *e);
void trace_frame(struct sim *s, const struct thread *from, uint64_t connection,
                 const struct frame_header *h, const struct frame *f,
                 const char *what);
void trace_note(struct sim *s, const char *format, ...) PRINTF_LIKE(2, 3);
void trace_mix(struct sim *s, uint64_t a, uint64_t b);

#endif
