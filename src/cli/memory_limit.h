/* memory_limit.h - what -smem is where it is left out: a share of the memory
 * that this process may use.
 *
 * The files of the kernel are read below `root`, which is "" but in tests.
 */
#ifndef MEMORY_LIMIT_H
#define MEMORY_LIMIT_H

#include "base/base.h"

/* 80 % of the smaller of the two, divided by the servers. Either may be 0: not
 * known, or no limit; where both are 0 so is the result. */
uint64_t memory_limit_share(uint64_t cgroup_bytes, uint64_t machine_bytes,
                            uint32_t servers);

/* The least memory limit of this process' control group and of those above it,
 * of version 1 or 2; 0 where there is none. */
uint64_t memory_limit_cgroup(const char *root);
/* MemTotal of /proc/meminfo; 0 where it cannot be read. */
uint64_t memory_limit_machine(const char *root);

#endif
