/* fuzz_scheduler.c - a scheduler over a store in memory, and an input that is
 * a list of steps: frames on several connections, bytes, cuts, time, answers of
 * the store one by one, failures of it, and records that others write there,
 * well-formed or not.
 *
 * Beside not crashing: every answer can be read (feed.c), what it writes is a
 * plan, and memory stays within what its records and connections need.
 */
#include "base/log.h"
#include "base/mem.h"
#include "coord/lease.h"
#include "feed.h"
#include "lib/draft.h"
#include "lib/shelf.h"
#include "plan/plan.h"
#include "scheduler/scheduler.h"

#include <stdio.h>

enum {
    SERVERS = 2,
    SHARDS = 2, /* of each */
    LENGTH_MS = 3000,
    STEP_US = 20000,
    REQUESTS_MOST = 50, /* executed in one step */
    HEAP_BYTES = 16 << 20
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    struct peers peers;
    struct fs *fs;
    struct shelf shelf;
    struct scheduler *scheduler;
    struct buf record;
    struct buf body;
    uint64_t renewal;
    uint64_t lives[SERVERS]; /* whose lanes no other has had */
    uint64_t n_lives;
    bool has_foreign_plan; /* or servers */
} world;

static void ignore_log(enum log_level level, const char *text)
{
    (void)level;
    (void)text;
}

static void deliver(void *context, const struct coord_result *r)
{
    (void)context;
    scheduler_on_coord(world.scheduler, r);
}

static void on_open(uint64_t connection)
{
    scheduler_on_open(world.scheduler, connection);
}

static void on_frame(uint64_t connection, const struct frame_header *h,
                     struct frame *frame)
{
    scheduler_on_frame(world.scheduler, connection, h, frame);
}

static void on_close(uint64_t connection)
{
    scheduler_on_close(world.scheduler, connection);
}

static const struct peers_ops ops = {
    .on_open = on_open, .on_frame = on_frame, .on_close = on_close};

static void run_store(uint32_t most)
{
    for (uint32_t i = 0; i < most; i++) {
        if (!shelf_do_key(&world.shelf, NULL)) {
            return;
        }
    }
}

static void pass(uint64_t us)
{
    world.peers.now_us += us;
    if (scheduler_next(world.scheduler) <= world.peers.now_us) {
        scheduler_tick(world.scheduler);
    }
}

static void fail_next(struct feed *f)
{
    static const int statuses[] = {PS_EIO, PS_EUNSURE, PS_ECONFLICT};
    uint8_t how = feed_u8(f);

    world.shelf.fail_status = statuses[how % ARRAY_LEN(statuses)];
    world.shelf.fail_with_effect =
        how >= 128 && world.shelf.fail_status != PS_ECONFLICT;
    world.shelf.fail_count = how / 8 % 4;
}

/* A taken or ended lease around world.body. */
static void put_leased(const char *key, uint64_t nonce, bool is_taken)
{
    world.renewal++;
    draft_lease(&world.record, nonce, world.renewal,
                is_taken ? LEASE_TAKEN : LEASE_ENDED, &world.body);
    shelf_put(&world.shelf, key, &world.record);
}

/* A server renews, begins a new life, or ends. */
static void put_server(struct feed *f)
{
    uint8_t how = feed_u8(f);
    uint32_t id = how % SERVERS;
    uint64_t *life = &world.lives[id];
    struct wire_shard shards[SHARDS];
    struct wire_server m = {
        .id = id, .sessions_seen = 1, .shards = shards, .n_shards = SHARDS};
    char key[COORD_KEY_MAX + 1];

    if (*life == 0 || (how & 8) != 0) {
        *life = ++world.n_lives;
    }
    m.incarnation = *life;
    for (uint64_t i = 0; i < SHARDS; i++) {
        shards[i] =
            (struct wire_shard){.lane = SHARDS * *life + i, .address = "s:1"};
    }
    buf_clear(&world.body);
    wire_server_encode(&m, &world.body);
    snprintf(key, sizeof(key), "server/%u", id);
    put_leased(key, *life, (how & 4) == 0);
}

static void put_sessions(struct feed *f)
{
    uint64_t open[] = {feed_u8(f), 200};

    draft_sessions(&world.record, 201, open, 2);
    shelf_put(&world.shelf, "sessions", &world.record);
    buf_clear(&world.body);
    put_leased("session/200", 1, true);
}

/* Bytes of the input as a record, or as the body of a leased one. */
static void put_raw(struct feed *f)
{
    static const char *const keys[] = {"cluster",     "plan",     "sessions",
                                       "scheduler",   "server/0", "server/1",
                                       "session/200", "counters"};
    uint8_t how = feed_u8(f);
    const char *key = keys[how % ARRAY_LEN(keys)];
    size_t size;
    const uint8_t *data = feed_bytes(f, &size);

    buf_clear(&world.body);
    ASSERT(buf_append(&world.body, data, size) == PS_OK);
    world.has_foreign_plan =
        world.has_foreign_plan || how % 8 == 1 || how % 8 == 4 || how % 8 == 5;
    if (how >= 128) {
        put_leased(key, how, true);
    } else {
        shelf_put(&world.shelf, key, &world.body);
    }
}

static void step(struct feed *f)
{
    switch (feed_u8(f) % 16) {
    case 8:
        peers_raw(&world.peers, f);
        break;
    case 9:
        peers_cut(&world.peers, f);
        break;
    case 10:
        pass(feed_u8(f) * (uint64_t)STEP_US);
        break;
    case 11:
        run_store(1);
        break;
    case 12:
        run_store(REQUESTS_MOST);
        break;
    case 13:
        fail_next(f);
        break;
    case 14:
        put_server(f);
        break;
    case 15:
        put_raw(f);
        break;
    case 7:
        put_sessions(f);
        break;
    default:
        peers_frame(&world.peers, f);
        break;
    }
}

/* What it wrote must be a plan; what others wrote need not be. */
static void check_plan(void)
{
    struct plan *p;

    if (!world.has_foreign_plan && shelf_get(&world.shelf, "plan") > 0) {
        ASSERT(plan_new(&p, world.shelf.data, world.shelf.size) == PS_OK);
        plan_free(p);
    }
}

static void begin(void)
{
    static const struct scheduler_options options = {
        .servers = SERVERS,
        .limits = {.memory_bytes = 64 << 20},
        .address = "sched:1",
        .lease_ms = LENGTH_MS};

    memset(&world, 0, sizeof(world));
    buf_init(&world.record);
    buf_init(&world.body);
    peers_init(&world.peers, &ops);
    world.fs = fs_memory_new();
    shelf_init(&world.shelf, world.fs, 100, deliver, NULL);
    ASSERT(scheduler_new(&world.scheduler, &options, &world.shelf.coord,
                         &world.peers.net, NULL) == PS_OK);
    scheduler_start(world.scheduler);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, size};
    size_t heap;

    log_set_sink(ignore_log);
    heap = heap_bytes();
    begin();
    while (feed.left > 0) {
        step(&feed);
    }
    peers_cut_all(&world.peers);
    check_plan();
    ASSERT(heap_bytes() < heap + HEAP_BYTES);
    scheduler_free(world.scheduler);
    shelf_fini(&world.shelf);
    fs_memory_free(world.fs);
    peers_fini(&world.peers);
    buf_fini(&world.record);
    buf_fini(&world.body);
    return 0;
}
