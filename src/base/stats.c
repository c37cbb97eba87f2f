/* stats.c - the rows that describe the counters. */
#include "stats.h"

const struct stats_row stats_rows[] = {
#define STATS_ROW(name, unit, help) {#name, unit, help},
    STATS_MAP(STATS_ROW)
#undef STATS_ROW
};

const size_t stats_n = ARRAY_LEN(stats_rows);

_Static_assert(sizeof(struct stats) == ARRAY_LEN(stats_rows) * sizeof(uint64_t),
               "one row for each counter");
