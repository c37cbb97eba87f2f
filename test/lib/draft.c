/* draft.c - records of the store and frames, made by hand. */
#include "lib/draft.h"

#include <stdio.h>

#include "base/hash.h"

void draft_init(struct draft *d, uint64_t plan)
{
    *d = (struct draft){.w = {.nonce = 1,
                              .term = 1,
                              .plan = plan,
                              .next_variable = 1,
                              .servers = 1}};
    d->w.variables = d->variables;
    d->w.lanes = d->lanes;
    d->w.parts = d->parts;
    d->w.ended = d->ended;
}

struct wire_variable *draft_variable(struct draft *d, const char *name,
                                     uint32_t kind, uint64_t rows, uint32_t dim)
{
    struct wire_variable *v = &d->variables[d->w.n_variables];
    char *copy = d->names[d->w.n_variables];

    ASSERT(d->w.n_variables < DRAFT_VARIABLES);
    snprintf(copy, sizeof(d->names[0]), "%s", name);
    *v = (struct wire_variable){.id = d->w.next_variable,
                                .name = copy,
                                .kind = kind,
                                .rows = rows,
                                .dim = dim,
                                .init_key = d->w.next_variable,
                                .updater = "AssignAddUpdater"};
    d->w.next_variable++;
    d->w.n_variables++;
    return v;
}

void draft_lane(struct draft *d, uint64_t lane, uint32_t server, uint32_t shard,
                const char *address)
{
    ASSERT(d->w.n_lanes < DRAFT_LANES);
    d->lanes[d->w.n_lanes] = (struct wire_lane){
        .lane = lane, .server = server, .shard = shard, .address = address};
    d->w.n_lanes++;
}

void draft_part(struct draft *d, uint32_t variable, uint32_t begin,
                uint32_t end, uint64_t lane, uint64_t since)
{
    ASSERT(d->w.n_parts < DRAFT_PARTS);
    d->parts[d->w.n_parts] = (struct wire_part){.variable = variable,
                                                .begin = begin,
                                                .end = end,
                                                .lane = lane,
                                                .since = since};
    d->w.n_parts++;
}

void draft_end_lane(struct draft *d, uint64_t lane, uint64_t plan)
{
    uint32_t i = 0;

    while (i < d->w.n_lanes && d->lanes[i].lane != lane) {
        i++;
    }
    ASSERT(i < d->w.n_lanes && d->w.n_ended < DRAFT_LANES);
    d->ended[d->w.n_ended] = (struct wire_ended){.lane = lane,
                                                 .server = d->lanes[i].server,
                                                 .shard = d->lanes[i].shard,
                                                 .plan = plan};
    d->w.n_ended++;
    for (; i + 1 < d->w.n_lanes; i++) {
        d->lanes[i] = d->lanes[i + 1];
    }
    d->w.n_lanes--;
}

void draft_encode(const struct draft *d, struct buf *out)
{
    buf_clear(out);
    wire_plan_encode(&d->w, out);
    ASSERT(!out->failed);
}

void draft_sessions(struct buf *out, uint64_t next, const uint64_t *open,
                    uint32_t n)
{
    struct wire_session list[DRAFT_LANES];
    struct wire_sessions m = {.nonce = 1, .cut = 1, .next = next, .open = list};

    ASSERT(n <= DRAFT_LANES);
    for (uint32_t i = 0; i < n; i++) {
        list[i] = (struct wire_session){
            .session = open[i], .worker = UINT32_MAX, .nonce = 1, .cut = 1};
    }
    m.n_open = n;
    buf_clear(out);
    wire_sessions_encode(&m, out);
    ASSERT(!out->failed);
}

void draft_cluster(struct buf *out, uint64_t lease_ms)
{
    struct wire_cluster m = {
        .format = 1, .id_high = 3, .id_low = 4, .lease_ms = lease_ms};

    buf_clear(out);
    wire_cluster_encode(&m, out);
    ASSERT(!out->failed);
}

void draft_lease(struct buf *out, uint64_t nonce, uint64_t renewal,
                 uint32_t state, const struct buf *body)
{
    struct wire_lease m = {.nonce = nonce, .renewal = renewal, .state = state};

    if (body != NULL) {
        m.body = (struct wire_bytes){body->data, (uint32_t)body->size};
    }
    buf_clear(out);
    wire_lease_encode(&m, out);
    ASSERT(!out->failed);
}

static struct frame *seal(struct frame *f, const struct frame_header *h)
{
    struct frame_header copy = *h;

    copy.body_bytes = f->body_bytes;
    copy.body_checksum =
        f->body_bytes == 0 ? 0 : hash_bytes(frame_body(f), f->body_bytes);
    frame_seal(f, &copy);
    return f;
}

struct frame *draft_frame(const struct frame_header *h, const void *body,
                          size_t size)
{
    struct frame *f = frame_new(size);

    ASSERT(f != NULL);
    if (size > 0) {
        memcpy(frame_body(f), body, size);
    }
    return seal(f, h);
}

struct frame *draft_run(const struct frame_header *h, const struct run_op *ops,
                        size_t n)
{
    struct frame *f = frame_new(run_bytes(ops, n));

    ASSERT(f != NULL);
    run_encode(ops, n, frame_body(f), NULL);
    return seal(f, h);
}

uint64_t draft_key_in(uint32_t begin, uint32_t end, size_t i)
{
    uint64_t key = 0;

    do {
        uint32_t bucket;

        key++;
        bucket = hash_bucket(hash_key(key));
        if (bucket >= begin && bucket < end) {
            if (i == 0) {
                return key;
            }
            i--;
        }
    } while (key < 100000000);
    return 0;
}
