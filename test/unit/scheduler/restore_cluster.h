/* restore_cluster.h - a cluster with a root whose servers come and go, for the
 * tests of what their parts come from. */
#ifndef RESTORE_CLUSTER_H
#define RESTORE_CLUSTER_H

#include "scheduler_stage.h"

/* The root is there, servers run with lanes 11, 12, ..., and "user" and "bias"
 * are declared, as the checkpoints of the stage have them. */
void restore_run_cluster(uint32_t servers);

/* Of a checkpoint that this cluster makes now. */
struct ckpt_manifest restore_own(uint64_t cut);
/* There is one. Returns its folder. */
const char *restore_save(uint64_t cut);
/* One is asked for, and its shard says that it is done; or, of parts that were
 * loaded before, that they are and it is. */
void restore_save_now(uint64_t cut);
void restore_save_loaded(uint64_t cut);
struct ckpt_manifest restore_manifest_of(const char *folder);
void restore_remove_file(const char *folder, const char *file);

/* The load of the variable's first part; NULL. */
const struct wire_load *restore_load_of(const struct wire_plan *w,
                                        uint32_t variable);
/* What a server's shard says of its load: server 0's, that it is damaged. */
void restore_say_failed(const char *folder);
void restore_say_missing(uint32_t server, const char *folder);

#endif
