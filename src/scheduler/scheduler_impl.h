/* scheduler_impl.h - the inside of a scheduler, shared by its .c files only. */
#ifndef SCHEDULER_IMPL_H
#define SCHEDULER_IMPL_H

#include "base/arena.h"
#include "base/log.h"
#include "base/map.h"
#include "coord/lease.h"
#include "scheduler/scheduler.h"

enum scheduler_state {
    SCHEDULER_CLUSTER,
    SCHEDULER_CLAIM,
    SCHEDULER_TERM,
    SCHEDULER_RUN,
    SCHEDULER_STOPPING,
    SCHEDULER_STOPPED
};

/* Tags of what is asked of the store: the low byte says what, the rest which
 * server or session. */
enum scheduler_tag {
    TAG_CLUSTER = 1,
    TAG_LEASE,
    TAG_PLAN,
    TAG_SERVER,
    TAG_SESSIONS,
    TAG_SESSION,
    TAG_SAVE,
    TAG_SAVE_CUT, /* `sessions`, to raise the cut */
    TAG_RESTORE,  /* records whose numbers are raised */
    TAG_READERS,
    TAG_FORGET /* nobody waits for the answer */
};

/* What the scheduler knows of a server: its leased record. */
struct member {
    struct lease_view view;
    bool in_flight;
    bool has_lanes; /* record below is there and its lease is taken */
    struct arena arena;
    struct wire_server record;
    struct buf bytes; /* what record points into */
    uint64_t gone_us; /* when it was last seen to have lanes */
    uint64_t full_us; /* until then it gets no part from elsewhere */
};

struct guest {
    uint64_t session;
    struct lease_view view;
    bool in_flight;
    bool is_dead;     /* to be taken out of the table */
    uint64_t cut;     /* what it says: older frames are all answered */
    uint64_t settled; /* ... and of lanes ended by this plan it asks nothing */
    struct buf position;
};

/* A DECLARE, DROP or MOVE that waits for the plan to be written. */
struct pending {
    struct pending *next;
    uint64_t connection;
    struct frame_header header;
    struct frame *frame;
    bool in_update;   /* answered when the update that is under way is done */
    bool was_tried;   /* an update with it had an unknown outcome */
    uint32_t id;      /* of the declared variable; of a MOVE: it has begun */
    uint64_t told_us; /* of a MOVE: how far it is */
};

struct scheduler_connection {
    bool said_hello;
    bool checksums; /* answers have one of their body */
};

struct save;
struct restore;

/* Which ended lanes nobody asks for any more: lane_end.c. Of two spans of time,
 * this one and the one before. */
struct lane_end {
    uint64_t turn_us;   /* when the next one begins */
    uint64_t plan[2];   /* when it began */
    uint64_t unsaid[2]; /* the least that a session had settled which ended */
};

struct scheduler {
    struct scheduler_options options;
    char *address;
    struct coord *coord;
    struct net *net;
    enum scheduler_state state;
    uint64_t nonce;
    uint64_t length_us; /* of a lease */
    uint64_t cluster_high;
    uint64_t cluster_low;
    struct disk *disk; /* of checkpoints; NULL: none */
    struct save *save;
    struct restore *restore;
    bool has_lease;
    struct lease lease;
    uint64_t retry_us; /* of the state's own request; UINT64_MAX: none */
    uint64_t look_us;  /* when members and guests are looked at again */
    char says[160];
    char refusal[640]; /* why it does not run, ever; "" */

    struct plan *plan; /* as written last */
    uint64_t plan_version;
    bool plan_in_flight;
    bool plan_must_read; /* what is in the store may be another */
    bool plan_is_unsure; /* one that was written may yet be there */
    struct arena arena;  /* of one update or one message */

    struct member *members; /* [options.servers] */

    struct map guests; /* struct guest by session */
    struct lane_end lane_end;
    struct buf readers; /* the record, if it is to be written: readers.c */
    bool readers_in_flight;
    bool readers_are_new; /* since it was last sent */
    bool sessions_in_flight;

    struct map connections;
    struct pending *first;  /* oldest first */
    uint64_t move_number;   /* of the one that is waited for: move.c */
    uint64_t move_steps;    /* that it has done */
    uint64_t move_look_us;  /* it was last looked at */
    uint64_t move_still_us; /* for so long it has not got on */
    char move_why[512];     /* the last one did not succeed */
    struct log_limit bad_log;
    struct log_limit size_log;
    struct log_limit room_log;
    uint32_t n_without_room; /* parts that no server has room for */
};

void scheduler_ask(struct scheduler *s, enum coord_op op, uint64_t tag,
                   const char *key, uint64_t version, const struct buf *data);
uint64_t scheduler_now(const struct scheduler *s);
/* Another scheduler has the plan: stand by again. */
void scheduler_step_down(struct scheduler *s);
/* A new store's `cluster` may be made now. */
void scheduler_go_on(struct scheduler *s);
/* It cannot run, whatever comes: says so and stops. */
void scheduler_refuse(struct scheduler *s, const char *why);

/* plan_owner.c: the plan record */
void plan_owner_start(struct scheduler *s);
void plan_owner_on_coord(struct scheduler *s, const struct coord_result *r);
/* The plan is this scheduler's: it runs, unless a restore comes first. */
void plan_owner_begin(struct scheduler *s);
/* Writes a new plan if members or requests ask for one. */
void plan_owner_update(struct scheduler *s);
/* Takes the plan over in this scheduler's name. */
void plan_owner_take_term(struct scheduler *s);
/* The plan does not have the lanes that the members say they live. */
bool plan_owner_lanes_differ(const struct scheduler *s);
/* NULL where every part is at rest on a live lane that has its rows; else a
 * sentence. */
const char *plan_owner_what_moves(const struct scheduler *s);
/* The lane that `server` and `shard` have in w; NULL. */
const struct wire_lane *plan_owner_lane_of(const struct wire_plan *w,
                                           uint32_t server, uint32_t shard);

/* member.c: servers and sessions, and when they are dead */
int member_start(struct scheduler *s) MUST_USE;
void member_free(struct scheduler *s);
void member_look(struct scheduler *s);
void member_on_server(struct scheduler *s, const struct coord_result *r);
void member_on_sessions(struct scheduler *s, const struct coord_result *r);
void member_on_session(struct scheduler *s, const struct coord_result *r);
/* A plan was read: lanes that it has ended are nobody's. */
void member_on_plan(struct scheduler *s);
/* A server that had parts, and that nobody waits for any more. */
bool member_is_given_up(const struct scheduler *s, uint32_t id);
/* All servers have lanes, but those that were given up. */
bool member_all_there(const struct scheduler *s);
/* How many servers have lanes now. */
uint32_t member_count(const struct scheduler *s);
/* What a live server says of the shard of a lane; NULL. */
const struct wire_shard *member_shard(const struct scheduler *s, uint64_t lane);
/* Its shard says that this part is loaded, and serves it: a failure that it
 * tells is another part's then. */
bool member_has_loaded(const struct scheduler *s, const struct wire_part *part);

/* declare.c: what clients ask for */
void declare_on_frame(struct scheduler *s, uint64_t connection,
                      const struct frame_header *h, struct frame *frame);
void declare_answer_text(struct scheduler *s, uint64_t connection,
                         const struct frame_header *h, int status,
                         const char *text);
/* b: NULL for no body. */
void declare_answer_body(struct scheduler *s, uint64_t connection,
                         const struct frame_header *h, int status,
                         const struct buf *b);
/* Looks at a pending request against w, which it may extend (arrays are taken
 * from the arena). True when w was changed. Then, and when an earlier request
 * of this update covers it, p->in_update is set and it is answered when the
 * update is written; otherwise it was answered and p is gone. */
bool declare_apply(struct scheduler *s, struct pending *p, struct wire_plan *w);
/* The plan must stand still: what needs another one is asked again later. */
void declare_while_held(struct scheduler *s);
void declare_answer_done(struct scheduler *s, struct pending *p);
/* Answers and forgets it. */
void declare_answer_end(struct scheduler *s, struct pending *p, int status,
                        const char *text);
/* Refuses the declarations of the update that is under way; false if it has
 * none. */
bool declare_refuse_update(struct scheduler *s, int status, const char *text);
void declare_drop_all(struct scheduler *s);
/* The variable of w that has this name; NULL. */
const struct wire_variable *declare_find(const struct wire_plan *w,
                                         const char *name);
/* Whether a variable can be: PS_EARGUMENT with the reason, PS_ENOTIMPL for what
 * is not built yet. */
int declare_check(const struct wire_variable *v, struct err *e) MUST_USE;
/* Of a variable's updater. */
uint32_t declare_slots_of(const struct wire_variable *v);

#endif
