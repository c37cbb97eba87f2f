/* stats.h - the counters of a shard: name, unit, kind and help, once. */
#ifndef STATS_H
#define STATS_H

#include "base.h"

/* clang-format off */
#define STATS_MAP(X)                                                          \
    X(pulls,              "frames",   "frames that only read")                \
    X(pull_keys,          "keys",     "keys read")                            \
    X(pushes_applied,     "frames",   "numbered frames applied")              \
    X(push_keys,          "keys",     "keys of applied frames")               \
    X(pushes_rejected,    "frames",   "numbered frames refused for good")     \
    X(repeats_suppressed, "frames",   "numbered frames that came again")      \
    X(gaps,               "frames",   "frames ahead of their turn")           \
    X(busy,               "frames",   "frames put off: BUSY or NOT_YET")      \
    X(expired,            "frames",   "frames of sessions that have ended")   \
    X(resolves,           "requests", "numbers asked for by resolve")         \
    X(connections,        "number",   "connections open now")                 \
    X(protocol_errors,    "number",   "connections ended for malformed data") \
    X(parts_unserved,     "number",   "parts whose updater is not here")      \
    X(keys_refused,       "keys",     "new keys refused by the memory limit") \
    X(save_hold_us,       "us",       "longest piece of a save, thread time")
/* clang-format on */

struct stats {
#define STATS_FIELD(name, unit, help) uint64_t name;
    STATS_MAP(STATS_FIELD)
#undef STATS_FIELD
};

struct stats_row {
    const char *name;
    const char *unit;
    const char *help;
};

/* One row for each field of struct stats, in order. */
extern const struct stats_row stats_rows[];
extern const size_t stats_n;

#endif
