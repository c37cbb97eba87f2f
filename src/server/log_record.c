/* See log_record.h. */
#include "server/log_record.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/probe.h"
#include "wire/wire.h"

static void submit(const struct log_record *q, struct coord *coord,
                   uint64_t tag, enum coord_op op, uint64_t version,
                   const struct buf *data)
{
    struct coord_request r = {
        .op = op, .tag = tag | q->serial << 32, .version = version};

    snprintf(r.key, sizeof(r.key), "log/%" PRIu64, q->wanted.lane);
    if (data != NULL) {
        r.data = data->data;
        r.size = data->size;
        r.flags = COORD_DURABLE;
    }
    coord->submit(coord, &r);
}

void log_record_ask(struct log_record *q, struct coord *coord, uint64_t tag,
                    const struct shard_log_record *wanted)
{
    q->wanted = *wanted;
    q->serial = (q->serial + 1) & UINT32_MAX;
    submit(q, coord, tag, COORD_GET, 0, NULL);
}

static bool write_it(struct log_record *q, struct coord *coord, uint64_t tag,
                     uint64_t version)
{
    const struct wire_log w = {.lane = q->wanted.lane,
                               .state = q->wanted.state,
                               .segment = q->wanted.segment,
                               .end = q->wanted.end};
    struct buf b;
    bool is_done;

    buf_init(&b);
    wire_log_encode(&w, &b);
    is_done = !b.failed;
    if (is_done) {
        submit(q, coord, tag, COORD_CAS, version, &b);
    }
    buf_fini(&b);
    return is_done;
}

static bool answer(struct log_record *q, int status,
                   struct shard_log_record *out)
{
    out->lane = q->wanted.lane;
    out->status = status;
    q->wanted.lane = 0;
    return true;
}

/* What was read; goes on with the write where that is wanted and may be. */
static bool on_read(struct log_record *q, struct coord *coord, uint64_t tag,
                    const struct coord_result *r, struct shard_log_record *out)
{
    struct arena arena;
    struct wire_log w = {.state = SHARD_LOG_NONE};
    int rc = r->status;

    arena_init(&arena);
    if (rc == PS_OK) {
        rc = wire_log_decode(r->data, r->size, &arena, &w);
    } else if (rc == PS_ENOTFOUND) {
        rc = PS_OK;
    }
    arena_fini(&arena);
    *out = (struct shard_log_record){
        .state = w.state, .segment = w.segment, .end = w.end};
    if (rc != PS_OK) {
        return answer(q, rc, out);
    }
    if (w.state >= q->wanted.state) {
        if (w.state == SHARD_LOG_ENDED) {
            PROBE(log_record_has_ended);
        }
        return answer(q, PS_OK, out);
    }
    return write_it(q, coord, tag, r->version) ? false
                                               : answer(q, PS_ENOMEM, out);
}

bool log_record_on_coord(struct log_record *q, struct coord *coord,
                         uint64_t tag, const struct coord_result *r,
                         struct shard_log_record *out)
{
    if (q->wanted.lane == 0 || r->tag >> 32 != q->serial) {
        return false; /* nobody waits for it any more */
    }
    if (r->op == COORD_GET) {
        return on_read(q, coord, tag, r, out);
    }
    if (r->status == PS_ECONFLICT || r->status == PS_EUNSURE) {
        submit(q, coord, tag, COORD_GET, 0, NULL);
        return false;
    }
    *out = q->wanted;
    return answer(q, r->status, out);
}
