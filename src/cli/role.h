/* role.h - what the command lines of scheduler and server share.
 *
 * The names are those of ps-plus, where each value that asks for something that
 * is not built yet is refused, and each that asks for nothing is accepted.
 */
#ifndef ROLE_H
#define ROLE_H

#include "cli/cli.h"

/* First in the options of each role. */
struct role_options {
    struct cli_options cli;
    const char *role;
    const char *kv_path;
    const char *dense; /* streaming models */
    const char *sparse;
    const char *hash;
    bool binds_cores;
    int64_t port;
    struct opt_list plugins;
    const char *bind;
    const char *advertise;
    int64_t wait_s;
};

/* What a server may be asked for, of the scheduler and of `local`; 0 is what is
 * said of an option that is left out. */
struct role_limits {
    int64_t network_mb;
    int64_t memory_mb;
    int64_t queries;
};

/* Checkpoints, of the scheduler and of `local`. */
struct role_saves {
    const char *path;
    int64_t keep;
    int64_t full_every;
    int64_t wait_s;
    int64_t give_up_s;
    const char *on_failure;
    bool accepts_empty;
};
enum { ROLE_SAVES_WAIT_MAX_S = 7 * 86400 };

/* clang-format off */
#define ROLE_LIMITS(at)                                                       \
    {.name = "server_network_limit", .brief = "snet", .type = OPT_INT,        \
     .offset = (at) + offsetof(struct role_limits, network_mb), .min = 1,     \
     .max = INT32_MAX, .value = "MB/s",                                       \
     .help = "What a server may be asked to send and receive a second, in "   \
             "units of 2^20 bytes. Left out: no limit."},                     \
    {.name = "server_memory_limit", .brief = "smem", .type = OPT_INT,         \
     .offset = (at) + offsetof(struct role_limits, memory_mb), .min = 1,      \
     .max = INT32_MAX, .value = "MB",                                         \
     .help = "What the rows of a server may take, in units of 2^20 bytes. "   \
             "Left out: 80 % of the memory that this process may use, "       \
             "divided by the servers, since all of them may be on this "      \
             "machine."},                                                     \
    {.name = "server_query_limit", .brief = "sqps", .type = OPT_INT,          \
     .offset = (at) + offsetof(struct role_limits, queries), .min = 1,        \
     .max = INT32_MAX, .value = "N",                                          \
     .help = "What a server may be asked a second. Left out: no limit."}

#define ROLE_SAVES(at)                                                        \
    {.name = "checkpoint_path", .brief = "cp", .type = OPT_TEXT,              \
     .offset = (at) + offsetof(struct role_saves, path),                      \
     .fallback = "none://", .value = "URL",                                   \
     .help = "Where checkpoints go: file://DIR or a folder that all servers " \
             "reach under this name; none:// is nowhere."},                   \
    {.name = "keep", .type = OPT_INT,                                         \
     .offset = (at) + offsetof(struct role_saves, keep), .fallback = "3",     \
     .min = 2, .max = CLI_KEEP_MAX, .value = "N",                             \
     .help = "How many whole checkpoints are kept, with the increments on "   \
             "them; older ones are removed after each save."},                \
    {.name = "full_every", .type = OPT_INT,                                   \
     .offset = (at) + offsetof(struct role_saves, full_every),                \
     .fallback = "1", .min = 1, .max = CLI_CHAIN_MAX, .value = "N",           \
     .help = "Each Nth checkpoint is whole, and between them only what "      \
             "changed since the one before is saved. 1: all are whole. More " \
             "than 1 takes some 25 ns more for each row of a push."},         \
    {.name = "save_wait", .type = OPT_INT,                                    \
     .offset = (at) + offsetof(struct role_saves, wait_s),                    \
     .fallback = "600", .max = ROLE_SAVES_WAIT_MAX_S, .value = "SECONDS",     \
     .help = "How long a save waits until all workers have come to a step; "  \
             "then it fails, and names those that have not. 0: for ever."},   \
    {.name = "accept-empty", .type = OPT_FLAG,                                \
     .offset = (at) + offsetof(struct role_saves, accepts_empty),             \
     .help = "A new store begins empty where checkpoints are there but none " \
             "is good; without this the scheduler ends and names them."},     \
    {.name = "give-up-after", .type = OPT_INT,                                \
     .offset = (at) + offsetof(struct role_saves, give_up_s),                 \
     .fallback = "30", .max = ROLE_SAVES_WAIT_MAX_S, .value = "SECONDS",      \
     .help = "A server that is away for so long is not waited for: others "   \
             "that have room take its parts, from the newest checkpoint. 0 "  \
             "is never."},                                                    \
    {.name = "on-failure", .type = OPT_TEXT,                                  \
     .offset = (at) + offsetof(struct role_saves, on_failure),                \
     .fallback = "accept", .value = "HOW",                                    \
     .help = "When a server dies: accept, and only its rows come back from "  \
             "the newest checkpoint, what was lost is reported; or "          \
             "consistent, and the whole cluster goes back to the newest "     \
             "good one, which wants -cp."}

#define ROLE_AT(field) offsetof(struct role_options, field)
#define ROLE_FIRST_OPTIONS                                                    \
    {.name = "role", .brief = "r", .type = OPT_TEXT, .flags = OPT_REQUIRED,   \
     .offset = ROLE_AT(role), .value = "ROLE",                                \
     .help = "scheduler or server."},                                         \
    {.name = "scheduler_kv_path", .brief = "sp", .type = OPT_TEXT,            \
     .flags = OPT_REQUIRED, .offset = ROLE_AT(kv_path), .value = "KV",        \
     .help = "The store where all meet, such as file:///run/ps."}
#define ROLE_OPTIONS                                                          \
    {.name = "streaming_model_dense", .brief = "smdense", .type = OPT_TEXT,   \
     .offset = ROLE_AT(dense), .value = "URL",                                \
     .help = "Where dense deltas go. Not built yet: leave it out."},          \
    {.name = "streaming_model_sparse", .brief = "smsparse",                   \
     .type = OPT_TEXT, .offset = ROLE_AT(sparse), .value = "URL",             \
     .help = "Where sparse deltas go. Not built yet: leave it out."},         \
    {.name = "streaming_model_hash", .brief = "smhash", .type = OPT_TEXT,     \
     .offset = ROLE_AT(hash), .value = "URL",                                 \
     .help = "Where deltas of hash variables go. Not built yet: leave it "    \
             "out."},                                                         \
    {.name = "bind_cores", .brief = "bc", .type = OPT_BOOL,                   \
     .offset = ROLE_AT(binds_cores), .fallback = "false", .value = "BOOL",    \
     .help = "Binds each shard's thread, and the scheduler's, to a core of "  \
             "its own, among those that this process may use."},              \
    {.name = "port", .brief = "p", .type = OPT_INT,                           \
     .offset = ROLE_AT(port), .max = UINT16_MAX, .fallback = "0",             \
     .value = "PORT",                                                         \
     .help = "Where it listens; shard i of a server listens on PORT + i. 0 "  \
             "is any free one."},                                             \
    {.name = "plugin", .type = OPT_LIST, .offset = ROLE_AT(plugins),          \
     .value = "LIB.so",                                                       \
     .help = "Loads a plugin with updaters; scheduler and servers all need "  \
             "it."},                                                          \
    {.name = "bind", .type = OPT_TEXT, .offset = ROLE_AT(bind),               \
     .fallback = "127.0.0.1", .value = "ADDR",                                \
     .help = "The address it listens on. There is no token and no TLS yet: "  \
             "keep it away from the public."},                                \
    {.name = "advertise", .type = OPT_TEXT, .offset = ROLE_AT(advertise),     \
     .value = "ADDR",                                                         \
     .help = "The host under which others reach it. Left out: that of "       \
             "--bind, or this host's name where that is everywhere."},        \
    {.name = "wait", .type = OPT_INT, .offset = ROLE_AT(wait_s),              \
     .max = INT32_MAX, .fallback = "300", .value = "SECONDS",                 \
     .help = "How long it waits at its start for what it needs of others; "   \
             "0 is for ever."},                                               \
    CLI_OPTIONS("info")
/* clang-format on */

/* Whether each value that was given can be had. PS_EARGUMENT with the line. */
int role_check(const struct role_options *o, struct err *e) MUST_USE;

/* "option --NAME or -BRIEF: FEATURE not built yet; RIGHT", PS_EARGUMENT, where
 * the text asks for something. */
int role_refuse_text(const char *text, const char *option, const char *feature,
                     const char *right, struct err *e) MUST_USE;

/* Whether a host may be reached from other hosts: any address but those of
 * loopback, and any name but localhost, which may stand for one. */
bool role_is_exposed(const char *host);
/* The last before a role runs. PS_EARGUMENT where --bind is no address of this
 * host; a warning where it is exposed. Lets this process have as many files
 * open as it may: a shard has one for each connection, and the usual limit is
 * meant for programs with few. */
int role_begin(const struct role_options *o, struct err *e) MUST_USE;

/* How many parameter servers "4" and "4,0" say. PS_EARGUMENT for what is no
 * number, for 0, for too many, and for model servers. */
int role_server_count(const char *text, uint32_t *servers,
                      struct err *e) MUST_USE;

int role_scheduler_main(int argc, char **argv);
int role_server_main(int argc, char **argv);

/* Whether these can be had; place: where checkpoints go, absolute, as servers
 * read the URL in other folders, and "" for none://. It has ROLE_PLACE_BYTES.
 * PS_EARGUMENT, PS_EIO. */
enum { ROLE_PLACE_BYTES = 4096 };
int role_saves_check(const struct role_saves *s, char *place,
                     struct err *e) MUST_USE;
/* Logs are for a disk: PS_EARGUMENT for another kind of place. NULL is none. */
int role_log_check(const char *path, struct err *e) MUST_USE;

#endif
