/* Names of the folders in which a part is on its way from one shard to another:
 * move-<number>-<term>-<cluster>. Such a folder is a checkpoint of one part, so
 * that whoever loads checkpoints can load it; nobody takes it for one, because
 * neither its name nor the format that its manifest says are a checkpoint's. */
#include "ckpt/ckpt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void ckpt_move_name(const struct ckpt_move *m, char *out)
{
    snprintf(out, CKPT_NAME_MAX + 1,
             "move-%012" PRIu64 "-%" PRIu64 "-%016" PRIx64, m->number, m->term,
             m->cluster);
}

bool ckpt_move_parse(const char *name, struct ckpt_move *m)
{
    char again[CKPT_NAME_MAX + 1];
    char *p;

    if (strncmp(name, "move-", 5) != 0) {
        return false;
    }
    m->number = strtoull(name + 5, &p, 10);
    m->term = *p == '-' ? strtoull(p + 1, &p, 10) : 0;
    m->cluster = *p == '-' ? strtoull(p + 1, NULL, 16) : 0;
    ckpt_move_name(m, again);
    return strcmp(name, again) == 0;
}
