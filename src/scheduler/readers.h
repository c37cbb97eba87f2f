/* readers.h - where readers stood in a checkpoint, told to workers. */
#ifndef READERS_H
#define READERS_H

#include "ckpt/ckpt.h"
#include "scheduler/scheduler_impl.h"

/* A wire_restored with the readers of m, or, with NULL, none. */
void readers_encode(struct scheduler *s, const struct ckpt_manifest *m,
                    uint64_t cut, uint64_t restore, const char *folder,
                    struct buf *out);
/* The cluster has begun with this checkpoint, or gone back to it; m: NULL where
 * it is not its own, and has nobody's place in this one's data. The record
 * `readers` comes to say so, some time. */
void readers_note(struct scheduler *s, const struct ckpt_manifest *m,
                  uint64_t cut, uint64_t restore, const char *folder);
/* Goes on with what could not be written. */
void readers_go_on(struct scheduler *s);
/* PS_OK: the record is as it is to be; else PS_ENOTREADY, and why. */
int readers_are_told(const struct scheduler *s, const char **why) MUST_USE;
void readers_on_coord(struct scheduler *s, const struct coord_result *r);

#endif
