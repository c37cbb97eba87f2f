/* places.h - the disk of checkpoints (fs/disk.h), which may come to be
 * elsewhere: with each scheduler that was given another place.
 *
 * A request that names a path goes to the newest place, one of an open file to
 * the place where it was opened. A place that was there before is taken up
 * again. Thread: the loop's, as in ckpt/disk_loop.h.
 */
#ifndef PLACES_H
#define PLACES_H

#include "ckpt/disk_loop.h"

/* How many there may be in the life of a process; and files that are open at
 * once: two of each save, with those whose requests are unanswered. */
enum { PLACES_MAX = 8, PLACES_URL_BYTES = 4096, PLACES_FILES_MAX = 64 };

struct places_file {
    uint64_t number;
    struct disk *disk;
};

struct places {
    struct disk disk;
    struct loop *loop;
    void (*answer)(void *context, const struct disk_result *result);
    void *context;
    uint32_t n;
    uint32_t newest;
    uint32_t n_files;
    struct disk_loop *all[PLACES_MAX];
    char urls[PLACES_MAX][PLACES_URL_BYTES];
    struct places_file files[PLACES_FILES_MAX];
};

/* There is none until places_set: nothing may be submitted before that. */
void places_init(struct places *p, struct loop *loop,
                 void (*answer)(void *context,
                                const struct disk_result *result),
                 void *context);
/* After loop_stop; of zeroes too. */
void places_fini(struct places *p);
/* From now on it is at this URL; "": nowhere. PS_ELIMIT, PS_EARGUMENT,
 * PS_ENOMEM: it stays where it was. */
int places_set(struct places *p, const char *url, struct err *e) MUST_USE;
void places_tick(struct places *p);
uint64_t places_next(const struct places *p); /* UINT64_MAX: no need */

#endif
