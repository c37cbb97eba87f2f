/* cores.h - which CPUs the threads of a role are bound to (--bind_cores).
 *
 * The CPUs are those that this process may use: its cpuset and its affinity,
 * so taskset, systemd and containers have the first word. A server has one CPU
 * for each shard, and each of them on a core of its own as long as there are
 * cores: the second hyperthread of a core is used when all have a first one.
 *
 * Servers that share a machine must not all begin with its first core. Each
 * begins where the servers of lower numbers would end, if all of them were here
 * and had as many shards; and it passes over the CPUs that another one has
 * taken, which is told by a name that the process binds (an abstract socket,
 * gone with the process, seen within a network namespace). Where none is left
 * they share, and a warning says so.
 *
 * The scheduler hardly runs: it takes the last core, and nothing from anybody.
 */
#ifndef CORES_H
#define CORES_H

#include "base/err.h"

struct cores_cpu {
    uint32_t cpu;  /* as the kernel counts them */
    uint32_t core; /* from 0, rising from one CPU to the next, without gaps */
};

/* The order in which CPUs are taken: one of each core, beginning with core
 * `start` (modulo their number), then the second of each core. */
void cores_order(const struct cores_cpu *cpus, size_t n, uint32_t start,
                 uint32_t *order);

/* Chooses `want` of them: those that take() says are ours, then, where there
 * are no more, whatever we have used least. Returns how many are shared, with
 * another process or among our own. */
uint32_t cores_choose(const uint32_t *order, size_t n, uint32_t want,
                      bool (*take)(void *context, uint32_t cpu), void *context,
                      uint32_t *chosen);

/* "shards 0-3 on CPUs 4-7, shard 4 on CPU 0": the words for shards from
 * *at on, as many as fit; *at becomes the first that did not. */
void cores_describe(const uint32_t *cpus, uint32_t n, uint32_t *at, char *text,
                    size_t room);

/* One CPU for each shard of a server, taken until this process ends; says in
 * the log which. PS_EIO, PS_ENOMEM. */
int cores_of_server(uint32_t server, uint32_t n_shards, uint32_t *cpus,
                    struct err *e) MUST_USE;
/* Binds this thread to the scheduler's CPU, and says so. */
int cores_bind_scheduler(struct err *e) MUST_USE;

#endif
