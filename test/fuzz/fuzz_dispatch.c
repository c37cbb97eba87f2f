/* fuzz_dispatch.c - a shard with tables, sessions, a plan and a lease, and an
 * input that is a list of steps: frames on several connections, bytes, cuts,
 * time, and what its server tells it.
 *
 * Beside not crashing: a number is applied once and in order, every answer can
 * be read (feed.c), and memory stays within what the plan and the limits
 * allow, however long the input.
 */
#include "base/arena.h"
#include "base/log.h"
#include "base/mem.h"
#include "feed.h"
#include "lib/draft.h"
#include "server/shard.h"
#include "udf/chain.h"

enum {
    LANE = 7,
    OTHER_LANE = 8,
    PLAN = 5,
    MIDDLE = 32768,
    SESSIONS = 64,
    LEASE_US = 10000000,
    STEP_US = 50000,
    MEMORY_BYTES = 4 << 20,
    HEAP_BYTES = 8 << 20,
    VALUES_MOST = 1 << 16 /* of a dense variable in a record of the input */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const chains[] = {
    "BuildHashSlice>TransSlice",
    "BuildHashSlice(insert)>TransSlice",
    "BuildHashSlice(insert)>AssignAddUpdater",
    "BuildHashSlice(insert)>AssignAddUpdater>TransSlice",
    "BuildHashSlice(insert)>AssignUpdater",
    "BuildHashSlice(insert)>MomentumUpdater",
    "BuildHashSlice(insert)>AdagradUpdater",
    "BuildHashSlice(insert)>FtrlUpdater",
    "BuildDenseSlice>TransSlice",
    "BuildDenseSlice>AssignAddUpdater",
    "BuildDenseSlice>AssignUpdater",
    "BuildDenseSlice>AdagradUpdater>TransSlice",
};

/* The world of one input. */
static struct {
    struct peers peers;
    struct shard *shard;
    struct shard_owner owner;
    struct draft plan;
    struct buf record;
    uint64_t lane; /* of the shard; 0: none */
    uint64_t home; /* our lane in the plan */
    uint64_t sessions_version;
    uint64_t applied[SESSIONS]; /* the last number of each session */
    bool has_foreign_plan;      /* whose limit of memory is another */
} world;

static void ignore_log(enum log_level level, const char *text)
{
    (void)level;
    (void)text;
}

static void on_want(struct shard_owner *owner, uint32_t shard,
                    enum shard_want what, uint64_t number)
{
    (void)number;
    ASSERT(owner == &world.owner && shard == 0);
    /* LIFE: a part came back under a newer plan while it was served. */
    ASSERT(what == SHARD_WANT_PLAN || what == SHARD_WANT_SESSIONS ||
           what == SHARD_WANT_LIFE);
}

static void on_applied(struct shard_owner *owner, uint32_t shard,
                       uint64_t session, uint64_t lane, uint64_t seq)
{
    ASSERT(owner == &world.owner && shard == 0);
    ASSERT(lane == world.lane && seq > 0);
    if (session < SESSIONS) {
        ASSERT(seq > world.applied[session]);
        world.applied[session] = seq;
    }
}

static void on_open(uint64_t connection)
{
    shard_on_open(world.shard, connection);
}

static void on_frame(uint64_t connection, const struct frame_header *h,
                     struct frame *frame)
{
    shard_on_frame(world.shard, connection, h, frame);
}

static void on_close(uint64_t connection)
{
    shard_on_close(world.shard, connection);
}

/* A chain of the input is its number in the list; registered with 0. */
static void patch(uint16_t type, uint8_t *body, size_t size)
{
    struct wire_chain m;
    struct arena arena;
    uint64_t id;

    if (type == WIRE_RUN) {
        for (size_t at = 8; at + 48 <= size; at += 48) {
            memcpy(&id, body + at, 8);
            if (id < ARRAY_LEN(chains)) {
                id = chain_id(chains[id]);
                memcpy(body + at, &id, 8);
            }
        }
    } else if (type == WIRE_CHAIN) {
        arena_init(&arena);
        if (wire_chain_decode(body, size, &arena, &m) == PS_OK &&
            m.chain == 0) {
            id = chain_id(m.definition);
            memcpy(body, &id, 8);
        }
        arena_fini(&arena);
    }
}

static const struct peers_ops ops = {
    .on_open = on_open,
    .on_frame = on_frame,
    .on_close = on_close,
    .patch = patch,
};

static void set_plan(void)
{
    int rc;

    draft_encode(&world.plan, &world.record);
    rc = shard_set_plan(world.shard, world.record.data, world.record.size);
    ASSERT(rc == PS_OK || rc == PS_ENOMEM);
}

static void set_sessions(uint8_t mask)
{
    uint64_t open[8];
    uint32_t n = 0;

    for (uint32_t i = 0; i < 8; i++) {
        if ((mask >> i & 1) != 0) {
            open[n++] = 3 + i;
        }
    }
    world.sessions_version++;
    draft_sessions(&world.record, 11, open, n);
    ASSERT(shard_set_sessions(world.shard, world.sessions_version,
                              world.record.data, world.record.size) == PS_OK);
}

static void give_lease(void)
{
    shard_set_lease(world.shard, world.lane, world.peers.now_us + LEASE_US);
}

static void start_lane(uint64_t lane)
{
    world.lane = lane;
    memset(world.applied, 0, sizeof(world.applied));
    shard_start_lane(world.shard, lane, 1);
}

static struct wire_variable *add_variable(const char *name, uint32_t kind,
                                          uint64_t rows, uint32_t dim,
                                          const char *updater)
{
    struct wire_variable *v =
        draft_variable(&world.plan, name, kind, rows, dim);

    v->updater = updater;
    v->init_kind = PS_INIT_TRUNCATED_NORMAL;
    v->init_b = 0.01;
    if (strcmp(updater, "AssignAddUpdater") != 0) {
        v->n_params = 2;
        v->param0 = 0.1;
        v->param1 = 0.1;
    }
    return v;
}

/* Variables 1 and 2 (hash), 3 (dense), 4 (hash, half of it here), 5 (dense),
 * 6 (elsewhere). */
static void make_plan(void)
{
    struct draft *d = &world.plan;

    draft_init(d, PLAN);
    d->w.memory_limit = MEMORY_BYTES;
    draft_lane(d, LANE, 0, 0, "a:1");
    draft_lane(d, OTHER_LANE, 1, 0, "b:1");
    add_variable("sum", PS_HASH64, 0, 2, "AssignAddUpdater");
    add_variable("ada", PS_HASH64, 0, 3, "AdagradUpdater");
    add_variable("dense", PS_DENSE, 5, 2, "AssignAddUpdater");
    add_variable("half", PS_HASH64, 0, 1, "MomentumUpdater");
    add_variable("dense2", PS_DENSE, 3, 4, "AdagradUpdater");
    add_variable("away", PS_HASH64, 0, 1, "AssignAddUpdater");
    for (uint32_t i = 1; i <= 3; i++) {
        draft_part(d, i, 0, LIMIT_BUCKETS, LANE, 1);
    }
    draft_part(d, 4, 0, MIDDLE, LANE, 1);
    draft_part(d, 4, MIDDLE, LIMIT_BUCKETS, OTHER_LANE, 1);
    draft_part(d, 5, 0, LIMIT_BUCKETS, LANE, 1);
    draft_part(d, 6, 0, LIMIT_BUCKETS, OTHER_LANE, 1);
}

/* One part goes to the other lane, or comes back, with a newer plan. */
static void move_part(uint8_t which)
{
    struct draft *d = &world.plan;
    struct wire_part *p = &d->parts[which % d->w.n_parts];

    d->w.plan++;
    p->lane = p->lane == OTHER_LANE ? world.home : OTHER_LANE;
    p->since = d->w.plan;
    if (which >= 128) {
        d->w.plan--; /* the same number with another content is ignored */
    }
    set_plan();
}

/* The server came back: our lane of the plan has ended, another begins. Or it
 * forgets all under the same lane, or has none. */
static void next_lane(uint8_t how)
{
    struct draft *d = &world.plan;
    uint64_t lane = world.home + 2;

    if (how % 4 == 0 || d->w.n_ended + 1 >= DRAFT_LANES) {
        start_lane(how % 8 == 0 ? 0 : world.home);
        set_plan();
        return;
    }
    d->w.plan++;
    draft_end_lane(d, world.home, d->w.plan);
    draft_lane(d, lane, 0, 0, "a:1");
    world.home = lane;
    for (uint32_t i = 0; i < d->w.n_parts; i++) {
        if (d->parts[i].lane != OTHER_LANE) {
            d->parts[i].lane = lane;
            d->parts[i].since = d->w.plan;
        }
    }
    start_lane(lane);
    set_plan();
    give_lease();
}

/* A dense table is filled when it is made; a scheduler has looked whether there
 * is room. */
static bool is_small(const uint8_t *record, size_t size)
{
    struct wire_plan w = {.n_variables = 0};
    struct arena arena;
    bool is_small = true;

    arena_init(&arena);
    if (wire_plan_decode(record, size, &arena, &w) == PS_OK) {
        for (uint32_t i = 0; i < w.n_variables; i++) {
            is_small = is_small && w.variables[i].rows < VALUES_MOST &&
                       w.variables[i].dim < VALUES_MOST &&
                       w.variables[i].rows * w.variables[i].dim < VALUES_MOST;
        }
        is_small = is_small && w.n_parts < 64;
    }
    arena_fini(&arena);
    return is_small;
}

static void raw_record(struct feed *f)
{
    bool is_plan = feed_u8(f) % 2 == 0;
    size_t size;
    const uint8_t *data = feed_bytes(f, &size);
    uint8_t *copy = mem_new(size);
    int rc;

    memcpy(copy, data, size);
    if (!is_plan) {
        rc = shard_set_sessions(world.shard, world.sessions_version + 1, copy,
                                size);
        world.sessions_version += rc == PS_OK;
        ASSERT(rc == PS_OK || rc == PS_EPROTOCOL || rc == PS_ENOMEM);
    } else if (is_small(copy, size)) {
        rc = shard_set_plan(world.shard, copy, size);
        ASSERT(rc <= PS_OK);
        world.has_foreign_plan = world.has_foreign_plan || rc == PS_OK;
    }
    mem_free(copy);
}

static void step(struct feed *f)
{
    uint8_t what = feed_u8(f) % 16;

    switch (what) {
    case 8:
        peers_raw(&world.peers, f);
        break;
    case 9:
        peers_cut(&world.peers, f);
        break;
    case 10:
        world.peers.now_us += feed_u8(f) * (uint64_t)STEP_US;
        break;
    case 11:
        give_lease();
        break;
    case 12:
        move_part(feed_u8(f));
        break;
    case 13:
        set_sessions(feed_u8(f));
        break;
    case 14:
        next_lane(feed_u8(f));
        break;
    case 15:
        raw_record(f);
        break;
    default:
        peers_frame(&world.peers, f);
        break;
    }
}

static void count_rows(void *context, uint32_t variable, uint64_t key,
                       const float *values, uint32_t dim)
{
    uint64_t *bytes = context;

    (void)variable;
    (void)key;
    ASSERT(values != NULL);
    *bytes += dim * sizeof(*values);
}

static void begin(void)
{
    static const struct shard_options options = {
        .server = 0, .shard = 0, .kern = &kern_generic};

    memset(&world, 0, sizeof(world));
    world.owner = (struct shard_owner){.want = on_want, .applied = on_applied};
    buf_init(&world.record);
    peers_init(&world.peers, &ops);
    ASSERT(shard_new(&world.shard, &options, &world.peers.net, NULL,
                     &world.owner) == PS_OK);
    make_plan();
    world.home = LANE;
    start_lane(LANE);
    give_lease();
    set_plan();
    set_sessions(0x0c); /* 5 and 6 */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, size};
    size_t heap = heap_bytes();
    uint64_t bytes = 0;

    log_set_sink(ignore_log);
    begin();
    while (feed.left > 0) {
        step(&feed);
    }
    peers_cut_all(&world.peers);
    ASSERT(shard_stats(world.shard)->connections == 0);
    shard_walk(world.shard, count_rows, &bytes);
    if (!world.has_foreign_plan) {
        ASSERT(heap_bytes() < heap + HEAP_BYTES);
        ASSERT(bytes <= MEMORY_BYTES);
    }
    shard_free(world.shard);
    peers_fini(&world.peers);
    buf_fini(&world.record);
    return 0;
}
