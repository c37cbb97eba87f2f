/* coord_loop.h - the coordination store for logic that lives on a loop.
 *
 * Opens the store of a kv path and does its blocking work on a worker thread,
 * one job at a time and in the order of submission. A watch has its first look
 * at once, then all have one every LIMIT_WATCH_MS, by one job. Answers come on
 * the loop.
 *
 * Its owner calls coord_loop_tick when coord_loop_next has come, stops the loop
 * first and frees this afterwards. Thread: the loop's.
 */
#ifndef COORD_LOOP_H
#define COORD_LOOP_H

#include "coord/coord.h"
#include "net/loop.h"

struct coord_loop;

struct coord_loop_options {
    const char *kv_path;
    struct loop *loop;
    /* Called for every answer. The result is borrowed for the call. */
    void (*answer)(void *context, const struct coord_result *result);
    void *context;
    bool joins; /* a store that is there, and makes none */
};

/* Opens (and creates) the store; blocks for the file system. PS_EARGUMENT,
 * PS_EVERSION, PS_EIO, PS_ENOMEM; PS_ENOTFOUND where it joins and there is
 * none. */
int coord_loop_open(struct coord_loop **c,
                    const struct coord_loop_options *options,
                    struct err *e) MUST_USE;
/* After loop_stop; requests that are unanswered are dropped. NULL allowed. */
void coord_loop_close(struct coord_loop *c);
struct coord *coord_loop_coord(struct coord_loop *c);
void coord_loop_tick(struct coord_loop *c);
uint64_t coord_loop_next(const struct coord_loop *c);

#endif
