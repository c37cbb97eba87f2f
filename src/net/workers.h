/* workers.h - whether libuv's worker threads still take work. They end inside
 * exit(), while threads of ours that nobody has ended go on: libuv then aborts
 * the process of whoever asks for one more. */
#ifndef NET_WORKERS_H
#define NET_WORKERS_H

#include <stdbool.h>

/* Around each call of libuv that uses the workers; they stay until it leaves.
 * false: the process ends, and nothing is to be left. Threads: any. */
bool workers_enter(void);
void workers_leave(void);

#endif
