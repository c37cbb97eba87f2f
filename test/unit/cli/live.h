/* live.h - a scheduler and a server of one shard, each a process of its own,
 * and clients of them in this one. */
#ifndef LIVE_H
#define LIVE_H

#include <stddef.h>
#include <sys/types.h>

#include "psplus.h"

/* 0 is nobody. */
enum { LIVE_SCHEDULER = 1, LIVE_SERVER, LIVE_CLIENT };

enum { LIVE_WAIT_S = 20, LIVE_WAIT_MS = LIVE_WAIT_S * 1000 };

struct live {
    char dir[256]; /* of this test, with the store and the checkpoints */
    pid_t scheduler;
    pid_t server;
};

extern struct live live;

/* Makes the folder; -1: it could not. */
int live_prepare(void);
/* begin, if it is not NULL, is called in each child first, with its role. */
void live_start(void (*begin)(int role));
/* Both must end in order, without a leak where that is looked for. */
void live_stop(void);
/* The process of a role: what it returns. PS_EUNKNOWN: an error without a
 * text. */
int live_run(int role, const char *at, unsigned wait_s);

int live_open(ps_client **client);
int live_declare(ps_client *client, const char *name, uint32_t dim,
                 ps_variable **variable);

/* How many files a process has open. */
size_t live_files(pid_t process);

#endif
