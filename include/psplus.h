/* psplus.h - client library of ps-plus, a parameter server for sparse deep
 * learning.
 *
 * A model is a set of named variables. A variable is `dense` (rows 0..N-1, all
 * of them pulled and pushed together) or `hash64` (rows by 64-bit key, created
 * by the first push that names them). A row is `dim` values of float32.
 * Servers hold the rows; a client pulls the rows of a batch and pushes
 * gradients, and the servers run the updater on them.
 *
 * What a push promises: it is applied exactly once, however often the library
 * has to send it again. It ends in one of three ways:
 *     PS_OK       applied;
 *     PS_ETIMEOUT, PS_EUNSURE
 *                 not known (yet): ps_resolve() makes it one of the others;
 *     any other   not applied, with the reason.
 * A push that goes as several frames has one such outcome per frame
 * (ps_request_frame()); its status is the first that is not PS_OK. To be able
 * to resolve, use ps_submit(): ps_push() keeps no request.
 *
 * A deadline ends a wait, never the request: the library goes on with it until
 * it is answered. Free the request only after it has settled, or let
 * ps_request_free() give up the result.
 *
 * Duplicate keys in one push are one gradient: they are added in batch order in
 * float32 before they leave the client (an AssignUpdater takes the last).
 *
 * Threads: every call may be made from any thread at any time, except that a
 * handle must not be used after it was closed or freed. One I/O thread runs for
 * each client; a blocking call does the I/O itself where it can.
 *
 * Memory: every pointer argument is borrowed for the call, with one exception:
 * ps_op.out must stay valid until its request has settled or was freed.
 * Nothing here aborts for want of memory: the call returns PS_ENOMEM.
 *
 * This header is C99 and C++98 clean.
 */
#ifndef PSPLUS_H
#define PSPLUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PS_API __attribute__((visibility("default")))

/* clang-format off */
/* Every status: name, value, words. Values travel on the wire and are never
 * changed: -1 to -19 are the codes of ps-plus, ours begin at -32. */
#define PS_STATUS_MAP(X)                                                      \
    X(PS_OK,           0, "ok")                                               \
    X(PS_EARGUMENT,   -1, "wrong argument")                                   \
    X(PS_EINDEX,      -2, "index out of range")                               \
    X(PS_ENOTFOUND,   -3, "not found")                                        \
    X(PS_EDATALOSS,   -4, "data lost")                                        \
    X(PS_EEXIST,      -5, "already exists")                                   \
    X(PS_ENOTIMPL,    -6, "not implemented")                                  \
    X(PS_ENOUDF,      -7, "UDF not registered")                               \
    X(PS_EVERSION,    -8, "version mismatch")                                 \
    X(PS_ECONCURRENT, -9, "another operation is under way")                   \
    X(PS_ENOTREADY,  -10, "not ready")                                        \
    X(PS_ENETWORK,   -11, "network error")                                    \
    X(PS_ETIMEOUT,   -12, "deadline reached")                                 \
    X(PS_ENOFUNC,    -13, "server function not found")                        \
    X(PS_ESERVERENC, -14, "server could not encode")                          \
    X(PS_ESERVERDEC, -15, "server could not decode")                          \
    X(PS_ECLIENTENC, -16, "client could not encode")                          \
    X(PS_ECLIENTDEC, -17, "client could not decode")                          \
    X(PS_EQUEUEWAIT, -18, "file queue is empty for now")                      \
    X(PS_EUNKNOWN,   -19, "unknown error")                                    \
    X(PS_ENOMEM,     -32, "out of memory")                                    \
    X(PS_EIO,        -33, "input/output error")                               \
    X(PS_EPROTOCOL,  -34, "malformed message")                                \
    X(PS_EBUSY,      -35, "busy, try again")                                  \
    X(PS_EGAP,       -36, "number out of order")                              \
    X(PS_ENOTYET,    -37, "plan not known yet")                               \
    X(PS_EPLAN,      -38, "refused: the plan has changed")                    \
    X(PS_EMOVED,     -39, "row is held elsewhere now")                        \
    X(PS_EEXPIRED,   -40, "session has ended")                                \
    X(PS_ELANE,      -41, "lane has ended")                                   \
    X(PS_ELIMIT,     -42, "memory limit reached")                             \
    X(PS_ECANCELED,  -43, "canceled")                                         \
    X(PS_ECONFLICT,  -44, "conflict")                                         \
    X(PS_EUNSURE,    -45, "outcome not known")                                \
    X(PS_ECLOSED,    -46, "closed")                                           \
    X(PS_EROLLEDBACK, -47, "the cluster went back to a checkpoint")
/* clang-format on */

enum ps_status {
#define PS_STATUS_ENUM(name, value, words) name = value,
    PS_STATUS_MAP(PS_STATUS_ENUM)
#undef PS_STATUS_ENUM
        PS_STATUS_FORCE_INT = 0x7fffffff
};

/* The words for a status; never NULL. */
PS_API const char *ps_status_text(int status);
/* The name of a status, such as "PS_ETIMEOUT"; never NULL. */
PS_API const char *ps_status_name(int status);
/* The version of the library, such as "0.1.0". */
PS_API const char *ps_version(void);

/* A client whose store was made anew under it, by another cluster, answers
 * PS_ECLOSED to everything from then on: close it and open one. */
typedef struct ps_client ps_client;
typedef struct ps_variable ps_variable;
typedef struct ps_request ps_request;

/* Where a person reads the failure: a status and a sentence. Any `error`
 * parameter may be NULL. */
struct ps_error {
    int status;
    char text[256];
};

/* Which of the 65,536 buckets a key of a hash variable is in. For good: it is
 * the high 16 bits of a SplitMix64 step of the key. */
PS_API uint32_t ps_bucket(uint64_t key);

/* Acknowledged pushes that a server lost when it died (durability `memory`):
 * numbers first..last of this session on that lane, in the rows of one part of
 * a variable. A lane held many parts: of each it is told in a call of its own,
 * so a number may come in many. A checkpoint that the rows came back from has
 * the others. Of a variable of durability `log` a power cut may cost what was
 * written last, and only of such frames it is told; of `fsync` nothing is lost.
 *
 * A worker may accept that, or push again what is gone: it keeps the keys and
 * gradients of each push, with its frames (ps_request_frame()), until they are
 * in a checkpoint. Of a push that has a frame of this session and lane whose
 * seq is first..last, those rows are lost that are in the part, and these alone
 * may go again; whoever pushes the others too pushes them twice:
 *
 *     for (i = 0; i < n_keys; i++) {
 *         uint32_t bucket = ps_bucket(keys[i]);
 *
 *         if (bucket >= loss.begin && bucket < loss.end) {
 *             lost_keys[n] = keys[i];
 *             memcpy(lost + n * dim, gradients + i * dim, dim * sizeof(*lost));
 *             n++;
 *         }
 *     }
 *     ps_push(variable, lost_keys, n, lost, 0);
 *
 * on a thread of its own: on_loss only notes the loss. Each loss is told once,
 * and only of numbers that the part had; what its checkpoint still had may be
 * lost, and told, later, if that turns out to be damaged when the next server
 * dies. What was pushed again may be lost again, and is kept like the first. A
 * dense variable is pushed as a whole, so what it lost can only be accepted. */
struct ps_loss {
    uint64_t session;
    uint64_t lane;
    uint64_t first;
    uint64_t last;
    uint32_t server;
    uint32_t shard;
    const char *variable; /* valid during the call */
    uint32_t begin;       /* buckets of the part, [begin, end) */
    uint32_t end;
};

struct ps_options {
    size_t size;           /* sizeof(struct ps_options), for the ABI */
    const char *scheduler; /* the coordination store, such as file:///run/ps;
                              NULL: the environment's PS_SCHEDULER_KV_PATH */
    int worker;            /* this worker's number; opening again as the same
                              worker first ends its former session; -1: none */
    int timeout_ms;        /* deadline of ps_open and of calls given 0 */
    int quiet;             /* 1: no messages on stderr while waiting */
    int no_checksums;      /* 1: what is sent has no checksum of its values, and
                              the servers' answers neither; saves some CPU */
    /* Called for every loss, on the thread that does the I/O, which must not
     * call back into the library. NULL: losses are only counted and logged. */
    void (*on_loss)(void *context, const struct ps_loss *loss);
    void *context;
};

/* Defaults: worker from the environment's PS_WORKER_ID or -1, 30 s. */
PS_API void ps_options_init(struct ps_options *options);

/* Connects. A worker may be started before its cluster: this waits until the
 * store exists and a scheduler has come up there, up to the deadline, saying on
 * stderr what it waits for. It never makes the store, which is for scheduler
 * and servers to do, so that a mistyped name leaves nothing behind; the text of
 * PS_ETIMEOUT tells whether a cluster was ever started there. On success
 * *client is the caller's, until ps_close(). Errors: PS_EARGUMENT, PS_ETIMEOUT,
 * PS_EVERSION, PS_EIO, PS_ENOMEM. */
PS_API int ps_open(ps_client **client, const struct ps_options *options,
                   struct ps_error *error);

/* Waits up to timeout_ms for requests in flight, ends the session, frees the
 * client, its variables and its requests. NULL is allowed. Returns PS_OK or
 * PS_ETIMEOUT where requests were still in flight: their outcome is unknown. */
PS_API int ps_close(ps_client *client, int timeout_ms);

enum ps_kind { PS_DENSE = 0, PS_HASH64 = 2 };

enum ps_init_kind {
    PS_INIT_CONSTANT = 0,        /* a = the value */
    PS_INIT_UNIFORM = 1,         /* a <= x < b */
    PS_INIT_NORMAL = 2,          /* mean a, standard deviation b */
    PS_INIT_TRUNCATED_NORMAL = 3 /* mean a, deviation b, |x - a| < 2 b */
};

/* The initial value of element i of row id is a pure function of
 * (seed, the variable's init key, id, i). */
struct ps_init {
    int kind; /* enum ps_init_kind */
    float a;
    float b;
    uint64_t seed;
};

#define PS_PARAMS_MAX 8

/* An updater by its name in ps-plus, with its hyper-parameters in that order:
 *     "AssignUpdater"     d = g
 *     "AssignAddUpdater"  d += g
 *     "MomentumUpdater"   lr, momentum m (0), nesterov (0 or 1):
 *                         acc = acc * m + g, d -= acc * lr, or with nesterov
 *                         d -= g * lr + acc * m * lr. SGD is m = 0; a variable
 *                         declared so has no acc, and keeps m = 0
 *     "AdagradUpdater"    lr, initial accumulator: acc += g * g,
 *                         d -= lr * g / sqrt(acc)
 *     "FtrlUpdater"       lr, lr_power, initial accumulator, l1, l2:
 *                         n = acc + g * g, p(x) = x ^ -lr_power,
 *                         linear += g - (p(n) - p(acc)) / lr * d,
 *                         d = 0 where |linear| <= l1, else
 *                         (sign(linear) * l1 - linear) / (p(n) / lr + 2 * l2),
 *                         acc = n. lr over 0, lr_power at most 0 (-0.5 is the
 *                         usual, and the fastest), the others at least 0
 * Any other name is that of a plugin's updater (psplus_plugin.h), which the
 * scheduler and all servers must have loaded.
 * The state of an updater (acc, linear) is that of the declared one: a push may
 * name another updater only if that needs no state of its own. */
struct ps_updater {
    const char *name;
    double params[PS_PARAMS_MAX];
    int n_params;
};

/* When a push is acknowledged, and so what may lose it. The last two want
 * servers that were given --log_path. */
enum ps_durability {
    PS_MEMORY = 0, /* applied; lost with the server's process */
    PS_LOG = 1,    /* and written to the server's log: the process may die */
    PS_FSYNC = 2   /* and on its disk: the power may fail */
};

struct ps_declaration {
    size_t size;      /* sizeof(struct ps_declaration), for the ABI */
    const char *name; /* 1 to 255 bytes of UTF-8, no control characters */
    int kind;         /* enum ps_kind */
    uint64_t rows;    /* dense: N; hash64: how many keys are expected, used by
                         placement only, 0 if not known */
    uint32_t dim;     /* float32 values a row, 1 to 65,536 */
    struct ps_init init;
    struct ps_updater updater; /* fixes the row layout; the default of pushes */
    uint64_t batch_read;       /* rows read a step, for placement; 0 unknown */
    int durability;            /* enum ps_durability; 0 is PS_MEMORY */
    int no_save; /* 1: checkpoints leave its rows out: whatever loads them has
                    it with initial values. PS_MEMORY only */
};

PS_API void ps_declaration_init(struct ps_declaration *declaration);

/* Declares a variable, or joins it if it exists as declared here. Waits until
 * enough servers are there and, where it is new, no save or restore is under
 * way. *variable belongs to the client.
 * Errors: PS_ECONFLICT with both sides in the text; PS_ELIMIT where the servers
 * have no room (-smem, -snet, -sqps); PS_EARGUMENT; PS_ETIMEOUT. */
PS_API int ps_declare(ps_client *client, const struct ps_declaration *what,
                      ps_variable **variable, int timeout_ms,
                      struct ps_error *error);

/* Drops a variable and its rows for everybody. Handles of this client answer
 * PS_ENOTFOUND from then on, those of others as soon as they hear of it; a push
 * that is under way meanwhile may be acknowledged, and goes with the rows. */
PS_API int ps_drop(ps_client *client, const char *name, int timeout_ms,
                   struct ps_error *error);

enum ps_op_kind {
    PS_PULL = 0,        /* reads; an absent key answers its initial value */
    PS_PULL_CREATE = 1, /* reads, creates absent rows; numbered like a push */
    PS_PUSH = 2         /* runs the updater */
};

/* One operation on one variable. For a dense variable keys is NULL, n_keys 0,
 * and values are all N rows, float32 [N, dim]. */
struct ps_op {
    ps_variable *variable;
    int kind;             /* enum ps_op_kind */
    const uint64_t *keys; /* [n_keys], duplicates allowed */
    size_t n_keys;
    const float *values;              /* push: [n_keys, dim] gradients */
    float *out;                       /* pull: [n_keys, dim] results */
    const struct ps_updater *updater; /* push: NULL is the declared one */
};

/* Starts n operations, on any variables, as one frame for each shard they
 * touch, or several where more than 512 KiB go to one. Copies keys and
 * values. */
PS_API int ps_submit(ps_client *client, const struct ps_op *ops, size_t n,
                     ps_request **request);

/* Waits until the request has settled. timeout_ms 0 is the client's default,
 * negative polls. Returns its status, or PS_ETIMEOUT: then the request goes on,
 * and ps_client_waits_for() names what it waits for. */
PS_API int ps_wait(ps_request *request, int timeout_ms);

/* After a deadline: settles the request one way or the other. What the servers
 * have not applied is canceled there for good and ends as PS_ECANCELED. */
PS_API int ps_resolve(ps_request *request, int timeout_ms);

/* Frees the request. If it has not settled its pushes go on without it, and its
 * `out` buffers are not touched after this returns. NULL is allowed. */
PS_API void ps_request_free(ps_request *request);

/* What became of one numbered frame of a settled request. A frame that was
 * refused because the plan had changed, or canceled with its lane, and whose
 * rows then went under a new number, is listed beside its successor. */
struct ps_frame_outcome {
    uint64_t session;
    uint64_t lane;
    uint64_t seq;
    uint32_t server;
    uint32_t shard;
    int status;
};

/* The number of numbered frames of a request, and one of them. */
PS_API size_t ps_request_frames(const ps_request *request);
PS_API int ps_request_frame(const ps_request *request, size_t i,
                            struct ps_frame_outcome *outcome);

/* Blocking forms of the above, for one variable. The request is freed when they
 * return: after PS_ETIMEOUT a push goes on, and cannot be resolved. */
PS_API int ps_pull(ps_variable *variable, const uint64_t *keys, size_t n_keys,
                   float *out, int timeout_ms);
PS_API int ps_push(ps_variable *variable, const uint64_t *keys, size_t n_keys,
                   const float *gradients, int timeout_ms);

/* ---- checkpoints -------------------------------------------------------- */

/* A boundary between two steps of the training loop: everything that was
 * submitted before belongs to `position`, which is what this worker's reader
 * needs to go on from here (any bytes, at most 64 KiB; may be empty). A
 * checkpoint has each worker's position of one such boundary and exactly the
 * pushes of before it, so call this after each step, when the pushes of the
 * step were submitted; they need not have settled. It does not wait. A client
 * that never calls it takes part with each request as a step of its own. */
PS_API int ps_step(ps_client *client, const void *position, size_t size);

enum ps_save_phase {
    PS_SAVE_NONE = 0,
    PS_SAVE_OPEN = 1,   /* workers take the cut, rows are being written */
    PS_SAVE_CLOSED = 2, /* all workers have: the files are being finished */
    PS_SAVE_DONE = 3,
    PS_SAVE_FAILED = 4,
    PS_SAVE_CANCELED = 5
};

/* The save that is under way, or the last one. */
struct ps_save_state {
    int state; /* enum ps_save_phase */
    uint64_t ticket;
    uint64_t cut;
    uint64_t rows;
    uint64_t rows_done; /* written so far */
    char name[256];
    char folder[64];
    char why[256]; /* of one that failed, or that ps_save() was refused for */
};

/* Has the cluster save a checkpoint, which is called `name` (at most 255 bytes,
 * "" or NULL for none; several may share one). Returns at once; ps_wait() waits
 * for its end: PS_OK, PS_EIO with the reason in ps_request_save(),
 * PS_ECANCELED; or PS_EARGUMENT, with the reason there, where the cluster has
 * no place for it. PS_EUNSURE: more than 64 were asked for after it, before
 * this client heard of its end.
 *
 * Of two saves at once the second gets the first one's ticket, and ends with
 * it, if it has the same name, some worker has not come to the first one's cut
 * yet, and this client has come to no other step since it did; else it begins
 * when that has ended. So all that this client pushed before the call is in
 * what it asked for.
 *
 * For this client the call is a boundary like ps_step() with the same
 * position as before. Training goes on meanwhile. */
PS_API int ps_save(ps_client *client, const char *name, ps_request **request,
                   struct ps_error *error);
/* How far it is. Asks nobody. */
PS_API int ps_save_get(ps_client *client, struct ps_save_state *state);
/* How far the save is that `request` asked for, or how it ended, though others
 * may have followed. PS_SAVE_NONE: the cluster has not begun it. */
PS_API int ps_request_save(const ps_request *request,
                           struct ps_save_state *state);
/* Ends the save that is under way; what it has written goes. PS_ENOTFOUND: none
 * is; PS_EEXIST: it is as good as saved. */
PS_API int ps_save_cancel(ps_client *client, int timeout_ms,
                          struct ps_error *error);

/* Has the cluster go back to a checkpoint: `name` is its folder, its cut or
 * what a user called it; "" or NULL is the newest that is good. It is verified
 * whole before anything is touched; what was pushed after its cut is gone, for
 * all workers (ps_rollback()). Returns when all rows are back: PS_OK;
 * PS_ENOTFOUND, no checkpoint has this name, or PS_EDATALOSS, it is damaged,
 * with the file and the newest good one in `error`, or PS_EIO, the disk does
 * not answer: nothing has changed then; PS_ETIMEOUT: it may go on. It is done
 * once, whatever scheduler answers. */
PS_API int ps_restore(ps_client *client, const char *name, int timeout_ms,
                      struct ps_error *error);

/* When the cluster goes back to a checkpoint as a whole (ps_restore(), or a
 * cluster that does so when a server dies), what was pushed after its cut is
 * gone. What this client had under way ends as PS_OK where the checkpoint has
 * it and as PS_EROLLEDBACK where not, and every call that pulls or pushes
 * returns PS_EROLLEDBACK from then on, until this one takes note of it. It
 * gives the reader's position of that cut, as ps_step() had it: go on from
 * there. What was declared after the cut is to be declared again. `position`
 * has room for *size bytes; *size becomes what there is (PS_EINDEX where that
 * is more: call again). A worker that the checkpoint does not know has an empty
 * position. Where all workers together have more than the store holds (16 MiB)
 * the largest are not there: PS_ELIMIT with *size as it is; note is taken, and
 * the position is in the checkpoint's manifest. PS_ENOTFOUND: nothing was
 * rolled back. */
PS_API int ps_rollback(ps_client *client, void *position, size_t *size,
                       uint64_t *cut, int timeout_ms, struct ps_error *error);

/* For a worker that begins anew after the whole cluster was stopped: where the
 * reader of its number (ps_options.worker) stood in the checkpoint that the
 * cluster came back from, as ps_step() had it, which is where to go on from;
 * the rows are those of that cut. That is the newest checkpoint that there was
 * when the present scheduler came up, or the one that was restored since; so a
 * worker that alone was restarted is told of that one, too, and what it pushed
 * after it is still there. It waits for a scheduler that knows. position,
 * *size, PS_EINDEX and PS_ELIMIT as in ps_rollback(); cut may be NULL.
 * PS_ENOTFOUND: there was no checkpoint, or it does not know this worker; begin
 * at the beginning. PS_ETIMEOUT: `error` has what it waits for. */
PS_API int ps_restored(ps_client *client, void *position, size_t *size,
                       uint64_t *cut, int timeout_ms, struct ps_error *error);

/* What has happened to this client so far. */
struct ps_client_counters {
    uint64_t pulls;           /* unnumbered frames answered */
    uint64_t pushes_acked;    /* numbered frames acknowledged as applied */
    uint64_t pushes_rejected; /* numbered frames refused for good */
    uint64_t resends;
    uint64_t reconnects;
    uint64_t losses; /* acknowledged frames that a dead server lost */
    uint64_t session;
};
PS_API void ps_client_counters(ps_client *client,
                               struct ps_client_counters *counters);

/* Writes one line that names what the oldest unsettled request waits for. */
PS_API void ps_client_waits_for(ps_client *client, char *text, size_t size);

/* The state of the cluster as JSON text (the same as `ps-plus status --json`);
 * *json is the caller's, freed with ps_text_free(). */
PS_API int ps_status_json(ps_client *client, char **json, int timeout_ms,
                          struct ps_error *error);
PS_API void ps_text_free(char *text);

#ifdef __cplusplus
}
#endif
#endif
