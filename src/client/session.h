/* session.h - the client's side of the protocol, as a state machine.
 *
 * It opens a session when the first numbered frame needs one, cuts requests
 * into one frame for each lane, numbers them, keeps the window, sends again
 * after a lost connection or a refusal that leaves the number open, resolves
 * what a lane or a session that ended leaves behind, and cuts anew what was
 * not applied. No socket, clock, thread or file inside. Nothing else in
 * libpsplus retries.
 *
 * Thread: one at a time (the client's driver lock).
 */
#ifndef SESSION_H
#define SESSION_H

#include "base/err.h"
#include "coord/coord.h"
#include "net/net.h"
#include "plan/plan.h"

struct session;
struct request;

struct session_owner {
    /* A request has settled: request->status says how. Called at most once for
     * each; the request may be freed inside. */
    void (*settled)(struct session_owner *o, struct request *r);
    void (*lost)(struct session_owner *o, const struct ps_loss *loss);
    /* Each numbered frame with its outcome, before `settled`; may be NULL.
     * For the simulator's oracle: `keys` of op i are ops[i].keys. */
    void (*framed)(struct session_owner *o, const struct ps_frame_outcome *f,
                   const struct request *r, const void *ops, uint32_t n_ops);
};

struct session_options {
    int worker;        /* -1: none */
    bool no_checksums; /* frames have none of their body, answers neither */
};

int session_new(struct session **session, const struct session_options *options,
                struct coord *coord, struct net *net,
                struct session_owner *owner) MUST_USE;
void session_free(struct session *s);
void session_start(struct session *s);
void session_on_open(struct session *s, uint64_t connection);
void session_on_frame(struct session *s, uint64_t connection,
                      const struct frame_header *header, struct frame *frame);
void session_on_close(struct session *s, uint64_t connection);
void session_on_coord(struct session *s, const struct coord_result *result);
void session_tick(struct session *s);
uint64_t session_next(const struct session *s); /* UINT64_MAX: no need */
/* True once cluster and plan are known. */
bool session_is_ready(const struct session *s);
/* Ends the session in the store; session_has_closed says when. */
void session_close(struct session *s);
bool session_has_closed(const struct session *s);
/* True while a request that writes is unsettled, an abandoned one included. */
bool session_has_writes(const struct session *s);
void session_counters(const struct session *s, struct ps_client_counters *c);
/* One line that names what the oldest unsettled request waits for. */
void session_waits_for(const struct session *s, char *text, size_t size);
/* The same of this request, which need not be the oldest. */
void session_request_waits_for(const struct session *s, const struct request *r,
                               char *text, size_t size);
/* The present plan; NULL before session_is_ready. Borrowed until the next
 * call that hands the session something. */
const struct plan *session_plan(const struct session *s);

/* ---- requests ----------------------------------------------------------- */

/* A declared variable, as the client uses it. */
struct session_variable {
    uint32_t id;
    uint32_t kind;
    uint32_t dim;
    uint64_t rows;
    struct ps_updater updater;
};

struct session_op {
    struct session_variable variable;
    int kind; /* enum ps_op_kind */
    const uint64_t *keys;
    size_t n_keys;
    const float *values;
    float *out;
    struct ps_updater updater; /* push; the name must outlive the request */
};

/* Copies what it needs. The request is the session's until `settled`; after
 * that, or session_abandon, the caller's: request_free. */
int session_submit(struct session *s, const struct session_op *ops, size_t n,
                   struct request **request) MUST_USE;
/* DECLARE and DROP: the answer is in request_declared / request_text. */
int session_declare(struct session *s, const struct wire_variable *v,
                    struct request **request) MUST_USE;
/* The part of the variable that has this bucket goes to another shard. PS_EIO:
 * it did not come to that, request_text says why. */
int session_move(struct session *s, const char *name, uint32_t bucket,
                 uint32_t server, uint32_t shard,
                 struct request **request) MUST_USE;
int session_drop(struct session *s, const char *name,
                 struct request **request) MUST_USE;
/* SAVE: settles with the save, see step.c; CANCEL: the save of a ticket. */
int session_save(struct session *s, const char *name,
                 struct request **request) MUST_USE;
/* No increment, whatever the cluster is used to. */
int session_save_whole(struct session *s, const char *name,
                       struct request **request) MUST_USE;
int session_cancel_save(struct session *s, uint64_t ticket,
                        struct request **request) MUST_USE;
/* Settles when the record `readers` may be read. */
int session_readers(struct session *s, struct request **request) MUST_USE;
/* RESTORE: settles when all rows have come from the checkpoint; its folder is
 * in request_text then. n 0: the whole cluster, else these variables. */
int session_restore(struct session *s, const char *name,
                    const struct wire_rename *renames, uint32_t n,
                    struct request **request) MUST_USE;
/* The cluster went back to a checkpoint, and nobody has taken note yet. */
bool rollback_is_on(const struct session *s);
/* Whether the cut's number and the reader's position are known by now. */
bool rollback_knows_position(const struct session *s);
/* *size: of the position; where the store had no room for it that is more. */
const struct buf *rollback_position(const struct session *s, uint64_t *cut,
                                    uint64_t *size);
void rollback_take_note(struct session *s);
/* Where this worker's reader stood in the checkpoint that the cluster began
 * with: asks the store; what it said: PS_EBUSY until it has answered. */
void rollback_look(struct session *s);
int rollback_began(const struct session *s, const struct buf **position,
                   uint64_t *cut, uint64_t *size);
/* A boundary between two steps of the caller's reader, which stands there.
 * PS_ENOMEM: it is none. */
int step_boundary(struct session *s, const void *position,
                  size_t size) MUST_USE;
/* Asks the store now of the save that is under way, and whether it has answered
 * all such calls; the first is made at the beginning. */
void step_save_look(struct session *s);
bool step_save_is_known(const struct session *s);
/* What the store said last of the save that is under way, or was last. */
void step_save_state(const struct session *s, struct ps_save_state *out);
/* STATUS of one lane's shard: the answer is in request_answer. */
int session_status(struct session *s, uint64_t lane,
                   struct request **request) MUST_USE;
/* Settles what can be settled: see ps_resolve. */
void session_resolve(struct session *s, struct request *r);
/* The caller forgets the request: its pushes go on, its buffers are not
 * touched again, `settled` is not called. The session frees it. */
void session_abandon(struct request *r);

void request_free(struct request *r); /* settled ones only; NULL allowed */
int request_status(const struct request *r);
bool request_has_settled(const struct request *r);
const char *request_text(const struct request *r); /* of a refusal, or "" */
/* Of a SAVE: what the scheduler gave it; 0: nothing yet. */
uint64_t request_ticket(const struct request *r);
/* Of a SAVE: as ps_request_save. */
int step_save_of(const struct request *r, struct ps_save_state *out) MUST_USE;
const struct session_variable *request_declared(const struct request *r);
/* Body of a STATUS answer; NULL if none came. */
const uint8_t *request_answer(const struct request *r, size_t *size);
size_t request_frames(const struct request *r);
const struct ps_frame_outcome *request_frame(const struct request *r, size_t i);
/* The owner's pointer, kept for it. */
void request_set_owner(struct request *r, void *owner);
void *request_owner(const struct request *r);

#endif
