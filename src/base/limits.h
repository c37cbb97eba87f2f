/* limits.h - every limit of ps-plus, with the reason for the number. */
#ifndef LIMITS_H
#define LIMITS_H

#include <stdint.h>

enum {
    /* Buckets of a variable: the unit of placing and of moving. */
    LIMIT_BUCKETS = 65536,
    /* Numbered frames in flight for one (session, lane) (protocol 4.1). */
    LIMIT_WINDOW = 256,
    /* One frame's body; a larger request is several frames (protocol 4.1). */
    LIMIT_FRAME_BYTES = 64 << 20,
    /* What the client aims at when it splits a request: half of the above, so
     * that the answer, which may be larger than the request, fits as well. */
    LIMIT_FRAME_TARGET_BYTES = 32 << 20,
    /* What one of these frames carries where it may be split anywhere: the
     * shard gathers the next one while the client takes this one apart, and
     * both find it in their second-level cache. */
    LIMIT_PIECE_BYTES = 512 << 10,
    /* Operations in one frame: 128 variables of a step, and room. */
    LIMIT_FRAME_OPS = 4096,
    LIMIT_NAME_BYTES = 255,
    LIMIT_DIM = 65536,
    LIMIT_PARAMS = 8,
    /* The plan, which names each with its parts, is 16 MiB at most. */
    LIMIT_VARIABLES = 49152,
    LIMIT_SERVERS = 4096,
    LIMIT_SHARDS = 256, /* of one server */
    /* Chains registered at one shard: above that those go by which no frame
     * has run yet. */
    LIMIT_CHAINS = 1024,
    LIMIT_CHAIN_UDFS = 8,
    /* DECLAREs and DROPs that may wait for the plan, and one's body: two texts
     * of 4 KiB and numbers. They are copied until they are answered. */
    LIMIT_DECLARES = 1024,
    LIMIT_DECLARE_BYTES = 16 << 10,
    /* Updaters of plugins: the table of them is looked through by name. */
    LIMIT_PLUGIN_UDFS = 64,
    /* Open connections of one shard. */
    LIMIT_CONNECTIONS = 16384,
    /* Bytes of answers that may wait on one connection before the shard stops
     * reading from it. */
    LIMIT_SEND_QUEUE_BYTES = 128 << 20,
    /* Bytes of frames of all connections of one shard, those that come in and
     * those that wait to go out: 16 of the largest. */
    LIMIT_LOOP_BYTES = 1 << 30,
    /* A body that does not wait for room behind larger ones: steps of a model
     * are smaller. */
    LIMIT_SMALL_BODY_BYTES = 1 << 20,
    /* A connection's first frame: a HELLO has a name in it and little else. */
    LIMIT_GREETING_BYTES = 4 << 10,
    /* How long it may take to come, and how long a connection may stand still
     * that holds memory which others wait for. */
    LIMIT_GREETING_MS = 10000,
    /* Open files of a process that are not connections of its shards: the
     * store, the log, libraries, the kernel's handles of the main loop. */
    LIMIT_OTHER_FILES = 128,
    /* A reader's position, in ps_step(). */
    LIMIT_POSITION_BYTES = 64 << 10,
    /* Ended lanes whose history the plan keeps; older ones answer UNKNOWN. */
    LIMIT_ENDED_LANES = 4096,
    /* Options of one role: about 30 today. */
    LIMIT_OPTIONS = 64,
    /* One line of the log: longer ones are cut, so that it is one write. */
    LIMIT_LOG_BYTES = 1024,
    /* What an arena keeps for the next request. */
    LIMIT_ARENA_KEEP_BYTES = 1 << 20,
    /* Freed large blocks that a process keeps for their next use, for a second:
     * a few of the largest frames. */
    LIMIT_KEPT_BYTES = 256 << 20,

    /* Lease of the file:// store (architecture 8). */
    LIMIT_LEASE_MS = 3000,
    /* How often a watched key of the store is looked at. */
    LIMIT_WATCH_MS = 100,
    /* How often the scheduler looks at servers and sessions during a save. */
    LIMIT_SAVE_LOOK_MS = 50,
    /* A disk that has not answered the scheduler for this long hangs: what was
     * asked of it has failed. */
    LIMIT_DISK_MS = 60000,
    /* No server has got on with a save for this long. A lane's files are synced
     * and read back within that, and nothing is said meanwhile. */
    LIMIT_SAVE_STILL_MS = 1800000,
    /* How long an ended session stays resolvable (protocol 2.4). */
    LIMIT_ENDED_SESSION_MS = 600000,
    /* A frame unanswered for this long: the connection is taken for dead. */
    LIMIT_ANSWER_MS = 2000,
    /* Pauses between tries: the first, and the longest. */
    LIMIT_RETRY_MS = 5,
    LIMIT_RETRY_MAX_MS = 500
};

_Static_assert(LIMIT_FRAME_TARGET_BYTES <= LIMIT_FRAME_BYTES / 2,
               "an answer may be larger than its request");
_Static_assert(LIMIT_BUCKETS == 1 << 16, "a bucket is 16 bits of a hash");
_Static_assert(LIMIT_WATCH_MS * 4 <= LIMIT_LEASE_MS,
               "an observer looks several times within a lease");

#endif
