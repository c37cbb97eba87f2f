/* session_impl.h - the inside of a session, shared by its .c files only.
 *
 *     request --cut--> flights, one frame each, for one lane
 *
 *     flight   QUEUED in a link -> SENT -> answered: settled
 *                 |                 |  refused for the plan, or resolved as
 *                 |                 |  not applied: cut anew
 *              PARKED <-------------+  (no lane has its part now)
 *
 *     link     one shard's lane: a connection that comes and goes, the writes
 *              in order (numbered first), and what needs no number
 */
#ifndef SESSION_IMPL_H
#define SESSION_IMPL_H

#include "base/arena.h"
#include "base/log.h"
#include "base/map.h"
#include "client/dedup.h"
#include "client/session.h"
#include "client/spans.h"
#include "coord/lease.h"
#include "kern/kern.h"
#include "wire/run.h"

/* ---- flights ------------------------------------------------------------ */

enum flight_kind { FLIGHT_RUN, FLIGHT_RESOLVE, FLIGHT_STATUS, FLIGHT_LOST };

/* The fate of a slice that is being resolved, beside a final status (<= 0). */
enum { FATE_TO_ASK = 1, FATE_ASKED = 2 };

/* One op of a RUN flight. Keys and values lie in the flight's frame. */
struct slice {
    uint32_t op;    /* of the request */
    bool as_pull;   /* only the reading of it is left to do */
    bool is_logged; /* it writes to a variable of durability log or fsync */
    uint32_t variable;
    uint32_t begin; /* bucket range of its part */
    uint32_t end;
    size_t n;              /* keys; dense: rows */
    uint64_t row_begin;    /* dense: first row */
    const uint32_t *place; /* [n] rows of `out`; NULL: 0, 1, 2 ... or dense */
    const uint64_t *keys;
    const float *values;
    int fate; /* a status; PS_OK: nothing is left to do */
};

/* Places rise, so the first and the last one tell whether none is left out. */
static inline bool slice_is_run(const uint32_t *places, size_t n)
{
    return n > 0 && places[n - 1] - places[0] == n - 1;
}

/* A row of a batch that is no run: no call for each of them. */
static inline void slice_copy_row(float *to, const float *from, size_t dim)
{
    while (dim >= 16) {
        memcpy(to, from, 16 * sizeof(*to));
        to += 16;
        from += 16;
        dim -= 16;
    }
    for (size_t i = 0; i < dim; i++) {
        to[i] = from[i];
    }
}

struct flight_list {
    struct flight *first;
    struct flight *last;
};

struct flight {
    struct flight *next;
    struct flight *prev;
    struct flight_list *in;
    struct link *link; /* whose list it is in; NULL: parked, resolving */
    enum flight_kind kind;
    bool is_write;
    struct request *request; /* RESOLVE: NULL */
    struct frame *frame;
    uint64_t id;      /* the header's request */
    uint64_t order;   /* of submission; kept when cut anew */
    uint64_t plan;    /* it was cut for */
    uint64_t session; /* its number, once it has one: seq > 0 */
    uint64_t lane;
    uint64_t seq;
    uint32_t server; /* whose lane gave the number */
    uint32_t shard;
    uint64_t connection;   /* it was sent on last; 0: not sent */
    uint32_t n_resolves;   /* RESOLVE flights that ask for it */
    bool by_user;          /* canceled rather than cut anew */
    struct flight *target; /* RESOLVE: asked for; NULL: settled meanwhile */
    struct loss *loss;     /* LOST: asked for */
    uint32_t chain;        /* highest chain index it needs */
    uint32_t n;
    struct slice slices[]; /* [n], and behind them their places; RESOLVE:
                              copies of its target's, `op` is the index
                              there */
};

/* ---- links -------------------------------------------------------------- */

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_GREETING, LINK_UP };

struct link {
    struct session *session;
    uint64_t lane;
    uint32_t server;
    uint32_t shard;
    char *address;
    enum link_state state;
    uint64_t connection;
    uint64_t retry_us; /* connect again */
    uint64_t pause_ms; /* before the next try */
    struct log_limit hello_log;
    struct flight_list writes; /* numbered by seq, then the rest by order */
    struct flight_list reads;  /* what needs no number, by order */
    uint64_t number_session;   /* next_seq counts for this session */
    uint64_t next_seq;
    uint64_t plan_seen;  /* link_replan was called for */
    uint64_t plan_min;   /* no new numbers before frames of older plans than
                            this are answered and the plan is here */
    uint32_t n_resolves; /* outstanding: no new numbers meanwhile */
    uint64_t hold_us;    /* send again from the first unanswered then; 0 */
    uint64_t hold_ms;    /* the next hold's length */
    uint64_t heard_us;   /* last sign of life, or the first unanswered send */
    uint64_t patience_us;
    uint32_t chains_sent; /* on this connection */
    uint32_t chains_known;
    int *refused; /* [refused_room] what this shard said of each chain */
    uint32_t refused_room;
};

/* Of a variable of durability log or fsync: the numbers that wrote to it. */
struct logged {
    struct logged *next;
    uint32_t variable;
    struct spans numbers;
};

/* Acknowledged numbers of one session on one lane, for the loss report. */
struct acked {
    uint64_t session;
    uint64_t lane;
    struct spans numbers; /* refused ones lie between */
    struct logged *logged;
};

struct chain_entry {
    uint64_t id;
    char definition[128];
};

/* ---- requests ----------------------------------------------------------- */

enum request_kind {
    REQUEST_RUN,
    REQUEST_STATUS,
    REQUEST_DECLARE,
    REQUEST_DROP,
    REQUEST_MOVE,
    REQUEST_SAVE,
    REQUEST_CANCEL,
    REQUEST_RESTORE,
    REQUEST_READERS
};

struct request_op {
    struct session_variable variable;
    int kind;
    float *out;
    size_t n_keys;
    struct ps_updater updater;
    uint32_t pull_chain; /* indices of chains; UINT32_MAX: none */
    uint32_t write_chain;
    struct dedup dedup;
};

struct request {
    struct request *next; /* in the session's list, oldest first */
    struct request *prev;
    enum request_kind kind;
    struct session *session;
    void *owner;
    struct arena arena;
    uint64_t cut;     /* its frames are stamped with it, for good */
    uint64_t restore; /* the plan's when it was submitted */
    struct request_op *ops;
    uint32_t n_ops;
    uint32_t n_flights; /* unsettled */
    int status;
    bool has_settled;
    bool is_abandoned;
    struct ps_frame_outcome *outcomes;
    size_t n_outcomes;
    size_t outcomes_room;
    /* DECLARE, DROP, STATUS */
    struct frame *frame;
    uint64_t id;
    bool is_sent;
    uint32_t n_sent;            /* less those that were put off */
    uint64_t plan_wanted;       /* settles when this plan is here */
    uint64_t ticket;            /* SAVE: settles when this one has ended; 0 */
    struct ps_save_state *save; /* SAVE: how that was, in the arena */
    uint64_t retry_us;
    struct session_variable declared;
    char text[768];
    uint8_t *answer;
    size_t answer_size;
};

/* ---- the session -------------------------------------------------------- */

enum number_state {
    NUMBER_NONE,
    NUMBER_READING,
    NUMBER_WRITING,
    NUMBER_LEASING,
    NUMBER_OPEN,
    NUMBER_CLOSING,
    NUMBER_CLOSED
};

/* The connection to the scheduler: there while something is asked of it. */
struct control {
    enum link_state state;
    bool is_reading; /* the store is asked for the address */
    uint64_t connection;
    uint64_t retry_us;
    uint64_t sent_us;
    char address[128];
};

/* The session's part in cuts: step.c. */
struct step {
    uint64_t cut;        /* what is submitted now is stamped with */
    uint64_t wanted;     /* the newest in the store */
    uint64_t plan;       /* it is of: not taken before that is known */
    uint64_t opened;     /* the cut that the session's number was opened at */
    uint64_t gone_on;    /* the cut at the last push or boundary */
    bool has_gone_on;    /* there was one */
    uint64_t reported;   /* in the lease */
    bool has_steps;      /* step_boundary was called */
    bool is_clean;       /* nothing was pushed since the last boundary */
    struct buf position; /* of the last boundary */
    struct buf at_cut;   /* of the one that took `cut` */
    uint64_t version;    /* of the record `save` */
    struct buf record;   /* ... as it was read */
    uint64_t oldest;     /* ... and its cut of the oldest that is kept */
    uint64_t settled;    /* in the lease: loss_settled */
    uint32_t n_reads;    /* gets of it that are unanswered */
    bool is_known;       /* it was read, or is not there */
    bool is_watching;
    uint64_t retry_us; /* 0: nothing to try */
    struct ps_save_state save;
};

/* The cluster went back to a checkpoint: rollback.c. */
struct rollback {
    bool is_on;    /* until the caller has taken note */
    bool is_known; /* cut and position are those of `restore` */
    bool is_reading;
    uint64_t retry_us; /* 0: nothing to try */
    uint64_t restore;
    uint64_t cut;
    struct buf position;
    uint64_t size; /* of it; more than there is: the store had no room */
};

/* What the record `readers` says of this worker: rollback.c. */
struct began {
    bool is_reading;
    int status; /* PS_EBUSY: not read yet */
    uint64_t cut;
    struct buf position;
    uint64_t size;
};

enum session_tag {
    TAG_CLUSTER = 1,
    TAG_PLAN,
    TAG_SESSIONS,
    TAG_LEASE,
    TAG_SCHEDULER,
    TAG_SAVE,
    TAG_RESTORED,
    TAG_READERS,
    TAG_FORGET
};

struct session {
    struct session_options options;
    struct coord *coord;
    struct net *net;
    struct session_owner *owner;
    const struct kern *kern;
    struct arena arena; /* of one event */
    uint64_t length_us; /* of a lease; 0: cluster not known yet */
    uint64_t retry_us;  /* of what failed at the store */

    struct plan *plan;
    uint64_t plan_version;
    bool is_over; /* anew.c: nothing is accepted, nothing asked any more */
    bool plan_is_watching;
    bool plan_is_reading;

    enum number_state number_state;
    uint64_t number; /* of the session */
    uint64_t nonce;
    bool has_lease;
    struct lease lease;
    uint64_t number_retry_us;

    struct map links;         /* struct link by lane */
    struct map by_connection; /* struct link by connection */
    struct flight_list parked;
    struct flight_list resolving; /* numbered, of ended lanes or sessions */
    uint64_t recut_us; /* try parked flights again (out of memory); 0 */
    uint64_t next_id;
    uint64_t next_order;

    struct chain_entry *chains;
    uint32_t n_chains;
    uint32_t chains_room;

    struct acked *acked;
    size_t n_acked;
    size_t acked_room;
    struct loss *losses; /* of ended lanes */
    struct plan *former; /* while a newer one is adopted */

    struct control control;
    struct rollback rollback;
    struct began began;
    struct step step;
    struct request *first; /* unsettled, oldest first */
    struct request *last;
    struct ps_client_counters counters;
};

static inline uint64_t session_now(const struct session *s)
{
    return s->net->now_us(s->net);
}
/* What a HELLO of this session offers. */
static inline uint64_t session_features(const struct session *s)
{
    return s->options.no_checksums ? 0 : WIRE_FEATURE_CHECKSUM;
}
/* Seals a frame whose body is as it will be sent. */
void session_seal(const struct session *s, struct frame *frame,
                  struct frame_header *h);
void session_ask(struct session *s, enum coord_op op, enum session_tag tag,
                 const char *key, uint64_t version, const struct buf *data);
/* A newer plan is wanted now, not at the next look. */
void session_want_plan(struct session *s);
/* The session's number was found to have ended. */
void session_expire(struct session *s, uint64_t number);

/* session_open.c: the session's number */
void session_open_begin(struct session *s);
void session_open_on_sessions(struct session *s, const struct coord_result *r);
void session_open_on_lease(struct session *s, const struct coord_result *r);
void session_open_tick(struct session *s);
uint64_t session_open_next(const struct session *s);

/* link.c */
struct link *link_for(struct session *s, uint64_t lane); /* NULL: not live */
void link_free(struct link *l);
/* The lane has ended: everything that was for it is resolved or cut anew. */
void link_end(struct link *l);
void link_add(struct link *l, struct flight *f);
/* A newer plan is here: what has no number goes by it or is cut anew, and no
 * more numbers are taken while one may be refused for it. So the plans of a
 * lane's numbers rise, and no frame is overtaken (protocol 5.4). */
void link_replan(struct link *l);
void link_pump(struct link *l);
void link_hold(struct link *l);
void link_on_open(struct link *l);
void link_on_close(struct link *l);
void link_on_frame(struct link *l, const struct frame_header *h,
                   struct frame *frame);
void link_tick(struct link *l);
uint64_t link_next(const struct link *l);
/* Takes numbered flights of this session number away, to be resolved. */
void link_expire(struct link *l, uint64_t number);

/* flight.c */
void flight_append(struct flight_list *list, struct flight *f);
void flight_insert(struct flight_list *list, struct flight *f);
void flight_remove(struct flight *f);
void flight_free(struct flight *f);
/* Settles a RUN or STATUS flight, and its request with the last of them. */
void flight_settle(struct session *s, struct flight *f, int status);
void flight_park(struct session *s, struct flight *f);
void flight_on_run(struct session *s, struct flight *f,
                   const struct frame_header *h, struct frame *frame);
void flight_on_resolve(struct session *s, struct flight *f,
                       const struct frame_header *h, struct frame *frame);
void flight_on_status(struct session *s, struct flight *f,
                      const struct frame_header *h, struct frame *frame);
/* Asks the holders of its parts what became of a numbered flight. */
void flight_resolve(struct session *s, struct flight *f);
/* A RESOLVE flight that got no use: asks anew, by the present plan. */
void flight_ask_again(struct session *s, struct flight *r);
/* Room for the losses of one more number of each lane. */
int flight_make_acked_room(struct session *s) MUST_USE;
/* Asks what could not be asked for want of memory. */
void flight_ask_pending(struct session *s);

/* cut.c */
/* Cuts slices into flights by the present plan and queues or parks them.
 * PS_ENOMEM: nothing has happened. A variable that has gone settles as
 * PS_ENOTFOUND. */
int cut_slices(struct session *s, struct request *r, const struct slice *slices,
               uint32_t n, uint64_t order) MUST_USE;
/* Cuts a flight's slices with `fate` != PS_OK anew and frees the flight. On
 * PS_ENOMEM it is parked and tried again. What was submitted before the cluster
 * went back to a checkpoint ends instead: as PS_EROLLEDBACK. */
void cut_again(struct session *s, struct flight *f);
void cut_parked(struct session *s);

/* loss.c */
/* A plan is adopted, before anything else: notes whether parts have left lanes
 * that live, and takes the numbers of those that end. PS_ENOMEM: call again. */
int loss_on_plan(struct session *s) MUST_USE;
/* A number that was acknowledged. PS_ENOMEM. */
int loss_note(struct acked *acked, const struct flight *f) MUST_USE;
void loss_forget(struct acked *acked);
/* The slices of a frame of an ended lane that were found applied: they may be
 * lost later. PS_ENOMEM: call again. */
int loss_keep(struct session *s, const struct flight *f) MUST_USE;
/* Nothing is to be asked any more of lanes that had ended by this plan. */
uint64_t loss_settled(const struct session *s);
void loss_ask_all(struct session *s);
void loss_ask_again(struct session *s, struct flight *f);
void loss_on_answer(struct session *s, struct flight *f,
                    const struct frame_header *h, struct frame *frame);
void loss_fini(struct session *s);
/* The cluster has gone back, as a whole: what was to be asked is not. */
void loss_undo_all(struct session *s);

/* anew.c: whether a plan of the store's is of another cluster than ours, and
 * what is to be done then: everything settles as PS_ECLOSED. */
bool anew_is_other(const struct session *s, const struct wire_plan *w,
                   uint64_t version);
void anew_end(struct session *s);

/* rollback.c */
/* A plan of a later restore is here, its lanes not looked at yet. */
void rollback_begin(struct session *s, uint64_t restore);
/* ... and now they are: settles what nobody can know more of. */
void rollback_settle(struct session *s);
void rollback_on_restored(struct session *s, const struct coord_result *r);
void rollback_on_readers(struct session *s, const struct coord_result *r);
void rollback_tick(struct session *s);
uint64_t rollback_next(const struct session *s);

/* step.c */
void step_start(struct session *s);
void step_on_save(struct session *s, const struct coord_result *r);
void step_tick(struct session *s);
uint64_t step_next(const struct session *s);
/* The number was opened at this cut. */
void step_on_opened(struct session *s, uint64_t cut);
/* Stamps a request that writes, before it is cut into frames. */
void step_on_submit(struct session *s, struct request *r);
/* ... and was not refused. */
void step_on_taken(struct session *s, const struct request *r);
/* The cut that the last push or boundary came after; 0: there was none;
 * UINT64_MAX: it is that of the session's next number. */
uint64_t step_gone_on(const struct session *s);
/* Says in the lease that all of before the cut is answered, once it is. */
void step_report(struct session *s);
/* The reader stands here now, and everything of before is over. */
int step_on_rollback(struct session *s, const void *position,
                     size_t size) MUST_USE;
/* A plan was taken up. */
void step_on_plan(struct session *s);
/* The scheduler has given a SAVE its ticket. */
void step_on_ticket(struct session *s, struct request *r, uint64_t ticket);
/* ... or its reason not to, which is the request's text. */
void step_on_refusal(struct session *s, struct request *r);

/* request.c */
struct request *request_new(struct session *s, enum request_kind kind);
void request_settle(struct request *r); /* with r->status */

/* control.c */
void control_tick(struct session *s);
uint64_t control_next(const struct session *s);
void control_on_scheduler(struct session *s, const struct coord_result *r);
void control_on_open(struct session *s);
void control_on_close(struct session *s);
void control_on_frame(struct session *s, const struct frame_header *h,
                      struct frame *frame);
void control_on_plan(struct session *s);

#endif
