/* import_command.h - what import_command.c, import_report.c, import_cluster.c
 * and import_load.c share.
 */
#ifndef IMPORT_COMMAND_H
#define IMPORT_COMMAND_H

#include "ckpt/import.h"
#include "cli/cli.h"
#include "cli/progress.h"

struct import_options {
    struct cli_options cli;
    const char *from;
    const char *to;      /* our checkpoints; NULL: none */
    const char *kv_path; /* a cluster; NULL: none */
    const char *name;
    bool without_slots;
    bool is_dry;
    bool is_json;
};
_Static_assert(offsetof(struct import_options, cli) == 0, "rows of cli.h");

enum { IMPORT_PLAIN_MS = 5000, IMPORT_ANSWER_MS = 60000 };
/* Fits struct ckpt_progress; context: a struct progress. */
bool import_progress_show(void *context, uint64_t done, uint64_t total);

/* What became of it, or will; folder: of ours, "" where none was written: then
 * a cluster has no slots of it. */
int import_report(const struct import_options *o, const struct import *x,
                  const char *folder, double seconds, struct err *e) MUST_USE;

/* What a cluster can serve of it becomes its own, by way of a checkpoint,
 * `folder` below its place for them; where it has none the variables are
 * declared and their rows pushed, if there are no slots, or shall not be.
 * PS_ENOTIMPL, when all of that is done, where something cannot be. */
int import_cluster(const struct import_options *o, const struct import *x,
                   char *folder, struct err *e) MUST_USE;
/* By way of a checkpoint below `place`. Variables are not there yet, or it is
 * refused. folder: CKPT_NAME_MAX + 1 bytes. */
int import_load(const struct import *x, ps_client *client, const char *place,
                const char *name, char *folder, struct err *e) MUST_USE;
/* How many variables have this fate. */
uint32_t import_count(const struct import *x, enum import_fate fate);

#endif
