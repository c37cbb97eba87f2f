/* wire.h - every message, once: struct, size, encoder, decoder, printer.
 *
 * WIRE_MESSAGES lists the messages; for each, NAME_FIELDS lists its fields:
 *
 *     F(u32, name)  F(u64, name)  F(f64, name)
 *     S(name)                text: const char *name, NUL-terminated, at most
 *                            WIRE_TEXT_MAX bytes
 *     B(name)                bytes: struct wire_bytes
 *     A(type, name)          array of a sub-message: const struct wire_type
 *                            *name, uint32_t n_name
 *
 * On the wire: integers little endian; every field starts at a multiple of 8
 * bytes from the start of the message (an F takes 8 bytes whatever its type);
 * a text is u64 length then its bytes and a NUL, padded to 8; bytes likewise
 * without the NUL; an array is u64 count, then its elements. Padding is zeros,
 * so that a message has one encoding. A count is checked against what is left
 * before any arithmetic, a u32 against its range, a text for UTF-8 and control
 * characters.
 *
 * A decoded message points into the bytes it was decoded from and into the
 * arena (its arrays), and dies with the first of them.
 *
 * The bulk of the data path, RUN and its answer, has its own codec in run.h.
 */
#ifndef WIRE_H
#define WIRE_H

#include "base/arena.h"
#include "base/buf.h"

enum { WIRE_VERSION = 1, WIRE_TEXT_MAX = 4096 };

/* Features of HELLO. A client says which it wants, the answer which of them are
 * in force on this connection. A bit that one side does not know is off. */
enum wire_feature {
    /* Frames have a checksum of their body. A checksum that is there is always
     * checked; this says whether the answers are to have one. */
    WIRE_FEATURE_CHECKSUM = 1
};

/* Types of frames. An answer has the type of its request and FRAME_ANSWER;
 * with a status other than PS_OK its body is a wire_text where there is one. */
enum wire_type {
    WIRE_HELLO = 1,
    WIRE_CHAIN = 2,
    WIRE_RUN = 3,
    WIRE_RESOLVE = 4,
    WIRE_DECLARE = 5,
    WIRE_DROP = 6,
    WIRE_STATUS = 7,
    /* To the scheduler: begin a save, cancel one, restore. */
    WIRE_SAVE = 8,
    WIRE_CANCEL = 9,
    WIRE_RESTORE = 10,
    /* To a shard: what its parts have of a lane that has ended. */
    WIRE_LOST = 11,
    /* To the scheduler: a part goes to another shard. */
    WIRE_MOVE = 12,
    /* To the scheduler, without a body: answered when the record `readers` is
     * of the checkpoint that the cluster comes back from. */
    WIRE_READERS = 13
};

/* State of the record `save`. */
enum wire_save_state {
    SAVE_NONE = 0,
    SAVE_OPEN = 1,   /* clients and shards take the cut, rows are written */
    SAVE_CLOSED = 2, /* every session has reported: shards finish their files */
    SAVE_DONE = 3,   /* the folder is whole */
    SAVE_FAILED = 4, /* `why` says so; tried again under the next cut, or not */
    SAVE_CANCELED = 5
};

/* What a shard says of the save of its `cut`. */
enum wire_saved_state {
    SAVED_NONE = 0,
    SAVED_WRITING = 1,
    SAVED_DONE = 2, /* files and index are durable and were read back */
    SAVED_FAILED = 3,
    SAVED_NEEDS_WHOLE = 4 /* this lane cannot say what changed since the base */
};

/* What a shard says of a load that is not done (load_failed). */
enum wire_load_state {
    LOAD_GOES_ON = 0, /* with `why`: it is tried again, and why */
    LOAD_DAMAGED = 1, /* it has given it up */
    LOAD_MISSING = 2, /* a file is not there, as it sees it; tried again */
    LOAD_NO_ROOM = 3  /* rows are over the memory limit; tried again */
};

struct wire_bytes {
    const uint8_t *data;
    uint32_t size;
};

/* clang-format off */
#define WIRE_HELLO_FIELDS(F, S, B, A)                                         \
    F(u32, version) F(u64, features) S(role)
/* server/shard/lane of the shard that answers; zeros from a scheduler */
#define WIRE_HELLO_ANSWER_FIELDS(F, S, B, A)                                  \
    F(u32, version) F(u64, features) F(u32, server) F(u32, shard) F(u64, lane)
/* definition: names of UDFs joined by `>` */
#define WIRE_CHAIN_FIELDS(F, S, B, A)                                         \
    F(u64, chain) S(definition)
#define WIRE_RANGE_FIELDS(F, S, B, A)                                         \
    F(u32, variable) F(u32, begin) F(u32, end)
#define WIRE_RESOLVE_FIELDS(F, S, B, A)                                       \
    F(u64, session) F(u64, lane) F(u64, seq) A(range, parts)
/* status: PS_OK applied, PS_ECANCELED not applied and never will be, PS_EUNSURE
 * not known (the history is gone), PS_EMOVED ask another holder,
 * else: it had been refused for that reason */
#define WIRE_FATE_FIELDS(F, S, B, A)                                          \
    F(u32, status_negated)
#define WIRE_RESOLVE_ANSWER_FIELDS(F, S, B, A)                                \
    A(fate, parts)
#define WIRE_LOST_FIELDS(F, S, B, A)                                          \
    F(u64, session) F(u64, lane) A(range, parts)
#define WIRE_SPAN_FIELDS(F, S, B, A)                                          \
    F(u64, first) F(u64, last)
/* Of one part: the lane's numbers below `below` are in its rows, but for the
 * gaps. has_moved: ask another holder */
#define WIRE_KEEP_FIELDS(F, S, B, A)                                          \
    F(u32, has_moved) F(u64, below) A(span, gaps)
#define WIRE_KEPT_FIELDS(F, S, B, A)                                          \
    A(keep, parts)
/* durability: enum ps_durability; born: the plan that it came with; no_save: 1,
 * checkpoints leave it out */
#define WIRE_VARIABLE_FIELDS(F, S, B, A)                                      \
    F(u32, id) S(name) F(u32, kind) F(u64, rows) F(u32, dim)                  \
    F(u32, init_kind) F(f64, init_a) F(f64, init_b) F(u64, init_seed)         \
    F(u64, init_key) S(updater) F(u32, n_params) F(f64, param0)               \
    F(f64, param1) F(f64, param2) F(f64, param3) F(f64, param4)               \
    F(f64, param5) F(f64, param6) F(f64, param7) F(u64, batch_read)           \
    F(u32, durability) F(u64, born) F(u32, no_save)
#define WIRE_DECLARE_FIELDS(F, S, B, A)                                       \
    A(variable, variables)
#define WIRE_DECLARE_ANSWER_FIELDS(F, S, B, A)                                \
    F(u32, id) F(u64, plan)
#define WIRE_DROP_FIELDS(F, S, B, A)                                          \
    S(name)
/* nonce: of this order, which may be asked again until it is answered; name:
 * what the user calls the checkpoint, or ""; whole: no increment; cut: the
 * caller's last push or step came after this one, so its save has it not */
#define WIRE_SAVE_REQUEST_FIELDS(F, S, B, A)                                  \
    F(u64, nonce) S(name) F(u32, whole) F(u64, cut)
/* ticket: of the save that is under way now */
#define WIRE_TICKET_FIELDS(F, S, B, A)                                        \
    F(u64, ticket)
/* from: a variable of the checkpoint, or all that begin with what stands before
 * a `/` or `*` at its end; to: what takes its place */
#define WIRE_RENAME_FIELDS(F, S, B, A)                                        \
    S(from) S(to)
/* nonce: of this order, which may be asked again until it is answered; name: a
 * folder, a cut or a user's name of a checkpoint; "": the newest good one;
 * renames: only these variables come from it, the rest stays */
#define WIRE_RESTORE_REQUEST_FIELDS(F, S, B, A)                               \
    F(u64, nonce) S(name) A(rename, renames)
/* the plan after which everything comes from the checkpoint */
#define WIRE_RESTORE_ANSWER_FIELDS(F, S, B, A)                                \
    F(u64, restore) F(u64, plan) S(folder)
/* The part of the variable that has this bucket. Whoever asks again while it is
 * under way, or when it is there, is answered when it is, or at once. */
#define WIRE_MOVE_FIELDS(F, S, B, A)                                          \
    S(name) F(u32, bucket) F(u32, server) F(u32, shard)
#define WIRE_TEXT_FIELDS(F, S, B, A)                                          \
    S(text)
#define WIRE_COUNTER_FIELDS(F, S, B, A)                                       \
    S(name) F(u64, value)
#define WIRE_TABLE_FIELDS(F, S, B, A)                                         \
    F(u32, variable) F(u64, rows) F(u64, bytes)
/* unserved: parts; why: what of that is not just under way, or "" */
#define WIRE_STATUS_ANSWER_FIELDS(F, S, B, A)                                 \
    F(u32, server) F(u32, shard) F(u64, lane) F(u64, plan) F(u64, term)       \
    F(u32, has_lease) F(u32, emptied) F(u64, sessions)                        \
    A(counter, counters) A(table, tables) F(u64, unserved) S(why)

/* Records of the coordination store. A leased record is a `lease` whose body
 * is its owner's message. */
#define WIRE_CLUSTER_FIELDS(F, S, B, A)                                       \
    F(u64, format) F(u64, id_high) F(u64, id_low) F(u64, lease_ms)
#define WIRE_LEASE_FIELDS(F, S, B, A)                                         \
    F(u64, nonce) F(u64, renewal) F(u32, state) B(body)
#define WIRE_COUNTERS_FIELDS(F, S, B, A)                                      \
    F(u64, nonce) F(u64, next_lane)
#define WIRE_SESSION_FIELDS(F, S, B, A)                                       \
    F(u64, session) F(u32, worker) F(u64, nonce) F(u64, cut)
#define WIRE_SESSIONS_FIELDS(F, S, B, A)                                      \
    F(u64, nonce) F(u64, cut) F(u64, next) A(session, open)
#define WIRE_SCHEDULER_FIELDS(F, S, B, A)                                     \
    S(address)
/* What a client says in the body of its lease: every numbered frame of an older
 * cut than this is answered (0: it has taken none); position: of its reader at
 * that cut. settled: of lanes that had ended by this plan nothing is asked */
#define WIRE_GUEST_FIELDS(F, S, B, A)                                         \
    F(u64, cut) B(position) F(u64, settled)
/* The record `restored`, written before the plan of that restore: where the
 * readers of the cut stood. The record `readers`: the same of the checkpoint
 * that the cluster began with. size: of the position; where it is not here the
 * store has no room for it */
#define WIRE_READER_FIELDS(F, S, B, A)                                        \
    F(u64, session) F(u32, worker) B(position) F(u64, size)
#define WIRE_RESTORED_FIELDS(F, S, B, A)                                      \
    F(u64, restore) F(u64, cut) S(folder) A(reader, readers)
/* An order of a save, the ticket that it got, and the record `save` as it was
 * last of that ticket. */
#define WIRE_ASKED_FIELDS(F, S, B, A)                                         \
    F(u64, nonce) F(u64, ticket) F(u64, cut) F(u32, state) F(u64, rows)       \
    S(folder) S(why)
/* The save that is under way, or the last one. plan: shards must have it before
 * they cut. base: 0, or the cut that this one is an increment of. oldest:
 * all checkpoints that are kept are of this cut or a later one; 0: not known.
 * asked: the last orders, oldest first. */
#define WIRE_SAVE_FIELDS(F, S, B, A)                                          \
    F(u64, nonce) F(u64, term) F(u64, ticket) F(u64, cut) F(u32, state)       \
    F(u64, plan) F(u64, base) S(name) S(folder) S(why)                        \
    F(u64, rows) F(u64, rows_done) F(u64, oldest) A(asked, asked)
/* saved: of the save of `cut`, enum wire_saved_state. loaded: all parts that
 * were to be loaded by this plan are; loaded_unlogged: all of durability
 * memory, which serve while others still read their log. load_failed: enum
 * wire_load_state. why: of what failed. moved: the number of a move,
 * moved_state: how far this lane is with it, enum wire_saved_state; moved_rows:
 * of the part, moved_done: those that were written, moved_steps: what the disk
 * has done for it. */
#define WIRE_SHARD_FIELDS(F, S, B, A)                                         \
    F(u64, lane) S(address) F(u64, cut) F(u32, saved) F(u64, rows)            \
    F(u64, rows_done) F(u64, index_bytes) F(u64, index_checksum)              \
    F(u64, loaded) F(u64, loaded_unlogged) F(u32, load_failed) S(why)          \
    F(u64, moved) F(u32, moved_state) F(u64, moved_rows) F(u64, moved_done)   \
    F(u64, moved_steps)
/* sessions_seen: version of `sessions` that every shard has; emptied: how often
 * this server came back without its rows; has_log: it has a place for logs */
#define WIRE_SERVER_FIELDS(F, S, B, A)                                        \
    F(u32, id) F(u64, incarnation) F(u64, sessions_seen) F(u64, plan_seen)    \
    F(u32, emptied) A(shard, shards) F(u32, has_log)
#define WIRE_LANE_FIELDS(F, S, B, A)                                          \
    F(u64, lane) F(u32, server) F(u32, shard) S(address)
/* [begin, end) buckets; since: the plan in which this lane got the part */
#define WIRE_PART_FIELDS(F, S, B, A)                                          \
    F(u32, variable) F(u32, begin) F(u32, end) F(u64, lane) F(u64, since)
/* Where the rows come from of parts that a lane got in plan `since`: of this
 * variable, or, with 0, of all that no other load names. A part without a load
 * begins with initial values; so does a variable that was declared after the
 * cut. name: what the variable is called there; "": as here. brings_lanes: the
 * numbers in it count, it is this cluster's own; restore: the number that it
 * was saved under. log_from: of what ended lanes have logged since, that of
 * lanes from this one on counts; the others were rolled back. */
#define WIRE_LOAD_FIELDS(F, S, B, A)                                          \
    F(u32, variable) F(u64, since) S(folder) F(u64, cut) S(name)              \
    F(u32, brings_lanes) F(u64, restore) F(u64, log_from)
/* Checkpoints of cuts behind `after` up to `to` are not of the past of parts
 * that got their rows in plan `since`: scheduler/restore_past.h. */
#define WIRE_GAP_FIELDS(F, S, B, A)                                           \
    F(u64, since) F(u64, after) F(u64, to)
/* A part that is to go to another lane, number: of the plan that began it. The
 * lane that has it writes it into the folder; then comes the plan that gives it
 * to the other, with a load, or one in which this is no more: it stays. */
#define WIRE_MOVING_FIELDS(F, S, B, A)                                        \
    F(u64, number) F(u32, variable) F(u32, begin) F(u32, end) F(u64, from)    \
    F(u64, to) S(folder)
/* A lane that has ended, while anybody may still ask for it. plan: in which it
 * is first said; cut: checkpoints of later ones were begun after that */
#define WIRE_ENDED_FIELDS(F, S, B, A)                                         \
    F(u64, lane) F(u32, server) F(u32, shard) F(u64, plan) F(u64, cut)
/* An order of a client that this cluster has done: with the plan that does it,
 * so that it is done once whoever is asked for it again. */
#define WIRE_ORDER_FIELDS(F, S, B, A)                                         \
    F(u64, nonce) F(u64, restore) F(u64, plan) S(folder)
/* The record log/<lane>: the lane has a log (state 1), or it ends at byte `end`
 * of segment `segment`, and what is behind that does not count (state 2). */
#define WIRE_LOG_FIELDS(F, S, B, A)                                           \
    F(u64, lane) F(u32, state) F(u64, segment) F(u64, end)
/* checkpoints: their URL, or ""; tracks_changes: tables note which rows were
 * changed, for increments */
#define WIRE_PLAN_FIELDS(F, S, B, A)                                          \
    F(u64, nonce) F(u64, term) F(u64, plan) F(u64, restore)                   \
    F(u32, next_variable) F(u32, servers) F(u64, memory_limit)                \
    S(checkpoints) F(u32, tracks_changes)                                     \
    F(u64, cluster_high) F(u64, cluster_low)                                  \
    A(variable, variables) A(lane, lanes) A(part, parts) A(ended, ended)      \
    A(load, loads) A(order, orders) A(gap, gaps) A(moving, moves)

#define WIRE_MESSAGES(X)                                                      \
    X(hello, HELLO) X(hello_answer, HELLO_ANSWER) X(chain, CHAIN)             \
    X(range, RANGE) X(resolve, RESOLVE) X(fate, FATE)                         \
    X(resolve_answer, RESOLVE_ANSWER) X(variable, VARIABLE)                   \
    X(declare, DECLARE) X(declare_answer, DECLARE_ANSWER) X(drop, DROP)       \
    X(text, TEXT) X(counter, COUNTER) X(table, TABLE)                         \
    X(status_answer, STATUS_ANSWER) X(cluster, CLUSTER) X(lease, LEASE)       \
    X(counters, COUNTERS) X(session, SESSION) X(sessions, SESSIONS)           \
    X(scheduler, SCHEDULER) X(shard, SHARD) X(server, SERVER)                 \
    X(lane, LANE) X(part, PART) X(ended, ENDED) X(load, LOAD)                 \
    X(order, ORDER) X(gap, GAP) X(moving, MOVING) X(move, MOVE)               \
    X(plan, PLAN) X(guest, GUEST) X(asked, ASKED)                             \
    X(save, SAVE) X(save_request, SAVE_REQUEST)               \
    X(ticket, TICKET) X(rename, RENAME)                                       \
    X(restore_request, RESTORE_REQUEST)                                       \
    X(restore_answer, RESTORE_ANSWER) X(reader, READER) X(lost, LOST)       \
    X(span, SPAN) X(keep, KEEP) X(kept, KEPT)                       \
    X(restored, RESTORED) X(log, LOG)

typedef uint32_t wire_u32;
typedef uint64_t wire_u64;
typedef double wire_f64;

#define WIRE_STRUCT_F(type, field) wire_##type field;
#define WIRE_STRUCT_S(field) const char *field;
#define WIRE_STRUCT_B(field) struct wire_bytes field;
#define WIRE_STRUCT_A(type, field)                                            \
    const struct wire_##type *field; uint32_t n_##field;
#define WIRE_DECLARE_MESSAGE(name, NAME)                                      \
    struct wire_##name {                                                      \
        WIRE_##NAME##_FIELDS(WIRE_STRUCT_F, WIRE_STRUCT_S, WIRE_STRUCT_B,     \
                             WIRE_STRUCT_A)                                   \
    };                                                                        \
    void wire_##name##_encode(const struct wire_##name *m, struct buf *out);  \
    int wire_##name##_decode(const void *data, size_t size,                   \
                             struct arena *arena, struct wire_##name *m)      \
        MUST_USE;                                                             \
    void wire_##name##_print(const struct wire_##name *m, struct buf *out);
WIRE_MESSAGES(WIRE_DECLARE_MESSAGE)
/* clang-format on */

/* encode appends to out (a failure shows in out->failed; a NULL text is the
 * empty one; a text that wire_is_text refuses is a failure, because its reader
 * would refuse the whole message). decode returns PS_EPROTOCOL for malformed
 * bytes or bytes left over, PS_ENOMEM. print appends `name=value ...` without a
 * line end, for logs and `--json`-less people; NUL-terminated, the NUL not
 * counted. */

/* Whether these bytes may be sent as a text: UTF-8 without control characters
 * (U+0000 to U+001F, U+007F to U+009F), at most WIRE_TEXT_MAX bytes. */
bool wire_is_text(const char *text, size_t size);

#endif
