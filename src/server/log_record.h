/* log_record.h - the records log/<lane> of the store, for one server's shards.
 *
 * A shard asks what the record of a lane says, that its own lane has a log now,
 * or where a log ends. The first end that is written counts for good: whoever
 * asks is told what the record says in the end (protocol 10.1). One question of
 * a shard at a time; a newer one takes the place of an older one. Thread: the
 * server's.
 */
#ifndef LOG_RECORD_H
#define LOG_RECORD_H

#include "coord/coord.h"
#include "server/shard.h"

struct log_record {
    struct shard_log_record wanted; /* lane 0: nothing is asked */
    uint64_t serial;                /* of the question, in the tag */
};

/* tag: of the requests of this shard, with 32 bits free from bit 32 on. */
void log_record_ask(struct log_record *q, struct coord *coord, uint64_t tag,
                    const struct shard_log_record *wanted);
/* True when it is answered: *out is what to tell the shard. */
bool log_record_on_coord(struct log_record *q, struct coord *coord,
                         uint64_t tag, const struct coord_result *r,
                         struct shard_log_record *out) MUST_USE;

#endif
