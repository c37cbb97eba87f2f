/* test_place.c - even placement, and the limits of the command line. */
#include "plan/place.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/limits.h"
#include "base/mem.h"

enum { MB = 1 << 20, ROOM = 32 };

/* A cluster that a test builds up; variables are placed into it. */
struct cluster {
    struct wire_plan w;
    struct wire_lane lanes[ROOM];
    struct wire_ended ended[ROOM];
    struct wire_variable variables[ROOM];
    struct wire_part parts[ROOM];
    struct place_limits limits;
    struct arena arena;
    struct err e;
    struct wire_part *got;
    uint32_t n_got;
};

/* As many slots as the variable has parameters. */
static uint32_t slots_of(const struct wire_variable *v)
{
    return v->n_params;
}

static void start(struct cluster *c)
{
    *c = (struct cluster){.w.plan = 6};
    arena_init(&c->arena);
}

static void stop(struct cluster *c)
{
    arena_fini(&c->arena);
}

static void add_lane(struct cluster *c, uint64_t lane, uint32_t server,
                     uint32_t shard)
{
    c->lanes[c->w.n_lanes++] =
        (struct wire_lane){.lane = lane, .server = server, .shard = shard};
    c->w.lanes = c->lanes;
}

/* `servers` servers of `shards` shards; lane 100 is (0, 0), then on by one. */
static void add_servers(struct cluster *c, uint32_t servers, uint32_t shards)
{
    for (uint32_t server = 0; server < servers; server++) {
        for (uint32_t shard = 0; shard < shards; shard++) {
            add_lane(c, 100 + c->w.n_lanes, server, shard);
        }
    }
}

static int place(struct cluster *c, const struct wire_variable *v)
{
    c->got = NULL;
    c->n_got = 0;
    return place_variable(&c->w, v, &c->limits, slots_of, &c->arena, &c->got,
                          &c->n_got, &c->e);
}

/* Places v and makes it part of the plan. */
static void place_and_keep(struct cluster *c, const struct wire_variable *v)
{
    assert_int_equal(place(c, v), PS_OK);
    c->variables[c->w.n_variables++] = *v;
    c->w.variables = c->variables;
    for (uint32_t i = 0; i < c->n_got; i++) {
        c->parts[c->w.n_parts++] = c->got[i];
    }
    c->w.parts = c->parts;
}

static struct wire_variable hash(uint32_t id, uint64_t rows, uint32_t dim,
                                 uint32_t slots)
{
    return (struct wire_variable){.id = id,
                                  .name = "user",
                                  .kind = PS_HASH64,
                                  .rows = rows,
                                  .dim = dim,
                                  .n_params = slots};
}

static struct wire_variable dense(uint32_t id, uint64_t rows, uint32_t dim)
{
    return (struct wire_variable){
        .id = id, .name = "w", .kind = PS_DENSE, .rows = rows, .dim = dim};
}

static void assert_part(const struct cluster *c, uint32_t i, uint64_t lane,
                        uint32_t begin, uint32_t end)
{
    assert_true(i < c->n_got);
    assert_int_equal(c->got[i].lane, lane);
    assert_int_equal(c->got[i].begin, begin);
    assert_int_equal(c->got[i].end, end);
    assert_int_equal(c->got[i].since, 7);
}

static void bytes_are_those_of_rows_slots_and_index(void **state)
{
    struct wire_variable h = hash(1, 1000, 16, 0);
    struct wire_variable d = dense(1, 1000, 16);

    (void)state;
    assert_int_equal(place_bytes(&h, 0), 1000 * (64 + 16));
    assert_int_equal(place_bytes(&h, 2), 1000 * (192 + 16));
    assert_int_equal(place_bytes(&d, 0), 64000);
    assert_int_equal(place_bytes(&d, 1), 128000);
    h.rows = UINT64_MAX;
    assert_int_equal(place_bytes(&h, 0), UINT64_MAX);
    h.rows = 1;
    h.dim = UINT32_MAX;
    assert_int_equal(place_bytes(&h, UINT32_MAX), UINT64_MAX);
}

static void a_hash_variable_is_dealt_evenly_over_all_shards(void **state)
{
    struct wire_variable v = hash(4, 0, 16, 1);
    struct cluster c;

    (void)state;
    start(&c);
    add_lane(&c, 30, 7, 0); /* the order of the plan's lanes does not matter */
    add_lane(&c, 31, 2, 1);
    add_lane(&c, 99, 2, 0);
    assert_int_equal(place(&c, &v), PS_OK);
    assert_int_equal(c.n_got, 3);
    assert_part(&c, 0, 99, 0, 21846);
    assert_part(&c, 1, 31, 21846, 43691);
    assert_part(&c, 2, 30, 43691, 65536);
    assert_int_equal(c.got[0].variable, 4);
    stop(&c);
}

/* 65,536 / 5 is 13,107.2: ends at 13,107.2, 26,214.4, 39,321.6 and 52,428.8,
 * rounded up. */
static void what_does_not_divide_evenly_differs_by_one(void **state)
{
    struct wire_variable v = hash(4, 0, 16, 1);
    struct cluster c;

    (void)state;
    start(&c);
    add_servers(&c, 5, 1);
    assert_int_equal(place(&c, &v), PS_OK);
    assert_int_equal(c.n_got, 5);
    assert_part(&c, 0, 100, 0, 13108);
    assert_part(&c, 1, 101, 13108, 26215);
    assert_part(&c, 2, 102, 26215, 39322);
    assert_part(&c, 3, 103, 39322, 52429);
    assert_part(&c, 4, 104, 52429, 65536);
    stop(&c);
}

static void any_number_of_shards_gets_even_shares(void **state)
{
    enum { MOST = 700 };
    struct wire_lane *lanes = mem_new(MOST * sizeof(*lanes));
    struct wire_variable v = hash(1, 0, 4, 0);
    struct place_limits none = {0};
    struct wire_plan w = {.lanes = lanes};
    struct arena arena;

    (void)state;
    arena_init(&arena);
    for (uint32_t n = 1; n <= MOST; n++) {
        struct wire_part *parts;
        uint32_t n_parts;
        uint32_t begin = 0;

        lanes[n - 1] = (struct wire_lane){.lane = n, .server = n};
        w.n_lanes = n;
        assert_int_equal(place_variable(&w, &v, &none, slots_of, &arena, &parts,
                                        &n_parts, NULL),
                         PS_OK);
        assert_int_equal(n_parts, n);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t size = parts[i].end - parts[i].begin;

            assert_int_equal(parts[i].begin, begin);
            assert_int_equal(parts[i].lane, i + 1);
            assert_in_range(size, 65536 / n, (65536 + n - 1) / n);
            begin = parts[i].end;
        }
        assert_int_equal(begin, 65536);
        arena_reset(&arena);
    }
    arena_fini(&arena);
    mem_free(lanes);
}

static void more_shards_than_buckets_leave_some_without(void **state)
{
    enum { N = 70000 };
    struct wire_lane *lanes = mem_new(N * sizeof(*lanes));
    struct wire_variable v = hash(1, 0, 4, 0);
    struct place_limits none = {0};
    struct wire_plan w = {.lanes = lanes, .n_lanes = N};
    struct arena arena;
    struct wire_part *parts;
    uint32_t n_parts;

    (void)state;
    arena_init(&arena);
    for (uint32_t i = 0; i < N; i++) {
        lanes[i] =
            (struct wire_lane){.lane = i, .server = i / 256, .shard = i % 256};
    }
    assert_int_equal(
        place_variable(&w, &v, &none, slots_of, &arena, &parts, &n_parts, NULL),
        PS_OK);
    assert_int_equal(n_parts, 65536);
    for (uint32_t i = 0; i < n_parts; i++) {
        assert_int_equal(parts[i].begin, i);
        assert_int_equal(parts[i].end, i + 1);
    }
    arena_fini(&arena);
    mem_free(lanes);
}

static void a_large_dense_variable_has_even_ranges_of_rows(void **state)
{
    static const struct {
        uint64_t rows;
        uint32_t servers;
        uint64_t ends[4]; /* rows */
    } cases[] = {
        {100, 3, {34, 67, 100}},
        {100000, 4, {25000, 50000, 75000, 100000}},
        /* 32,769 buckets of two rows: 16,385 and 16,384 */
        {65537, 2, {32770, 65537}},
        {65536, 2, {32768, 65536}},
        {3, 3, {1, 2, 3}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire_variable v =
            dense(1, cases[i].rows, cases[i].rows <= 100 ? 65536 : 64);
        uint64_t begin = 0;
        uint32_t bucket = 0;
        struct cluster c;

        start(&c);
        add_servers(&c, cases[i].servers, 1);
        assert_int_equal(place(&c, &v), PS_OK);
        assert_int_equal(c.n_got, cases[i].servers);
        for (uint32_t k = 0; k < c.n_got; k++) {
            uint64_t row_begin;
            uint64_t row_end;

            assert_int_equal(c.got[k].begin, bucket);
            bucket = c.got[k].end;
            plan_dense_rows(v.rows, c.got[k].begin, bucket, &row_begin,
                            &row_end);
            assert_int_equal(row_begin, begin);
            assert_int_equal(row_end, cases[i].ends[k]);
            begin = row_end;
        }
        assert_int_equal(bucket, 65536);
        stop(&c);
    }
}

static void a_small_dense_variable_goes_whole_to_the_least_laden(void **state)
{
    struct wire_variable bias = dense(1, 10, 1);
    struct wire_variable wide = dense(2, 2, 65536); /* rows < shards */
    struct wire_variable more = dense(3, 20, 1);
    struct wire_variable last = dense(4, 1, 1);
    struct cluster c;

    (void)state;
    start(&c);
    add_lane(&c, 12, 1, 0);
    add_lane(&c, 11, 0, 1);
    add_lane(&c, 10, 0, 0);
    place_and_keep(&c, &bias);
    assert_int_equal(c.n_got, 1);
    assert_part(&c, 0, 10, 0, 65536);
    place_and_keep(&c, &wide);
    assert_int_equal(c.n_got, 1);
    assert_part(&c, 0, 11, 0, 65536);
    place_and_keep(&c, &more);
    assert_part(&c, 0, 12, 0, 65536);
    place_and_keep(&c, &last); /* 40, 524,288 and 80 bytes by now */
    assert_part(&c, 0, 10, 0, 65536);
    stop(&c);
}

static void small_is_less_than_64_kib_of_values(void **state)
{
    struct wire_variable under = dense(1, 1023, 16);
    struct wire_variable exactly = dense(2, 1024, 16);
    struct cluster c;

    (void)state;
    start(&c);
    add_servers(&c, 2, 1);
    under.n_params = 8; /* slots do not count */
    assert_int_equal(place(&c, &under), PS_OK);
    assert_int_equal(c.n_got, 1);
    assert_int_equal(place(&c, &exactly), PS_OK);
    assert_int_equal(c.n_got, 2);
    assert_part(&c, 0, 100, 0, 512);
    assert_part(&c, 1, 101, 512, 65536);
    stop(&c);
}

/* 2^20 rows of 16 values and one slot: 144 bytes each with the index, so 144 MB
 * and 72 for each of two servers. */
static void memory_is_limited_with_what_is_there_already(void **state)
{
    struct wire_variable first = hash(1, 1 << 20, 16, 1);
    struct wire_variable second = hash(2, 1 << 20, 16, 1);
    struct cluster c;

    (void)state;
    start(&c);
    add_servers(&c, 2, 1);
    c.limits.memory_bytes = (uint64_t)72 * MB - 1;
    assert_int_equal(place(&c, &first), PS_ELIMIT);
    assert_null(c.got);
    c.limits.memory_bytes = (uint64_t)72 * MB;
    place_and_keep(&c, &first);
    c.limits.memory_bytes = (uint64_t)143 * MB;
    assert_int_equal(place(&c, &second), PS_ELIMIT);
    assert_int_equal(c.e.status, PS_ELIMIT);
    assert_string_equal(c.e.text, "cannot place \"user\": server 0 would need "
                                  "144 MB, -smem allows 143 MB");
    c.limits.memory_bytes = (uint64_t)144 * MB;
    assert_int_equal(place(&c, &second), PS_OK);
    stop(&c);
}

/* Three shards: 2,304 bytes a bucket, of which server 0 gets 43,691 buckets,
 * 100,664,064 bytes, and server 1 21,845. */
static void a_server_with_more_shards_gets_more(void **state)
{
    struct wire_variable v = hash(1, 1 << 20, 16, 1);
    struct cluster c;

    (void)state;
    start(&c);
    add_lane(&c, 1, 0, 0);
    add_lane(&c, 2, 0, 1);
    add_lane(&c, 3, 1, 0);
    c.limits.memory_bytes = 100664063;
    assert_int_equal(place(&c, &v), PS_ELIMIT);
    assert_string_equal(c.e.text, "cannot place \"user\": server 0 would need "
                                  "97 MB, -smem allows 96 MB");
    c.limits.memory_bytes = 100664064;
    assert_int_equal(place(&c, &v), PS_OK);
    stop(&c);
}

/* One row of 20 bytes: a third and a bit, 6.67 bytes, for the first server. */
static void shares_are_rounded_up(void **state)
{
    struct wire_variable v = hash(1, 1, 1, 0);
    struct cluster c;

    (void)state;
    start(&c);
    add_servers(&c, 3, 1);
    c.limits.memory_bytes = 6;
    assert_int_equal(place(&c, &v), PS_ELIMIT);
    c.limits.memory_bytes = 7;
    assert_int_equal(place(&c, &v), PS_OK);
    stop(&c);
}

/* 2,410 MB are 19,742,720 rows of 128 bytes: 28 values and the index. */
static void the_line_says_what_is_needed_and_what_there_is(void **state)
{
    struct wire_variable v = hash(1, 19742720, 28, 0);
    struct cluster c;

    (void)state;
    start(&c);
    add_lane(&c, 1, 1, 0);
    c.limits.memory_bytes = (uint64_t)1000 * MB;
    assert_int_equal(place(&c, &v), PS_ELIMIT);
    assert_string_equal(c.e.text, "cannot place \"user\": server 1 would need "
                                  "2,410 MB, -smem allows 1,000 MB");
    stop(&c);
}

/* 2^20 rows of 64 values a step: 256 MB, 128 for each server and 32, a whole
 * frame, for each shard. */
static void network_is_limited_by_what_a_step_reads(void **state)
{
    struct wire_variable v = hash(1, 1 << 30, 64, 0);
    struct wire_variable d = dense(2, 1 << 20, 64);
    struct cluster c;

    (void)state;
    start(&c);
    add_servers(&c, 2, 4);
    c.limits.network_bytes = (uint64_t)127 * MB;
    assert_int_equal(place(&c, &v), PS_OK); /* not known, not counted */
    v.batch_read = 1 << 20;
    assert_int_equal(place(&c, &v), PS_ELIMIT);
    assert_string_equal(c.e.text, "cannot place \"user\": server 0 would send "
                                  "128 MB/s, -snet allows 127 MB/s");
    assert_int_equal(place(&c, &d), PS_ELIMIT); /* dense: all of it */
    c.limits.network_bytes = (uint64_t)128 * MB;
    assert_int_equal(place(&c, &d), PS_OK);
    place_and_keep(&c, &v);
    assert_int_equal(place(&c, &d), PS_ELIMIT);
    c.limits.network_bytes = (uint64_t)256 * MB;
    assert_int_equal(place(&c, &d), PS_OK);
    stop(&c);
}

static void queries_are_limited_by_parts(void **state)
{
    struct wire_variable v = hash(1, 0, 4, 0);
    struct cluster c;

    (void)state;
    start(&c);
    add_servers(&c, 1, 2);
    c.limits.queries = 1;
    assert_int_equal(place(&c, &v), PS_ELIMIT);
    c.limits.queries = 3;
    place_and_keep(&c, &v);
    v.id = 2;
    assert_int_equal(place(&c, &v), PS_ELIMIT);
    assert_string_equal(c.e.text,
                        "cannot place \"user\": server 0 would answer 4 "
                        "queries a second, -sqps allows 3");
    c.limits.queries = 4;
    assert_int_equal(place(&c, &v), PS_OK);
    stop(&c);
}

static void no_limit_is_no_limit(void **state)
{
    struct wire_variable v = hash(1, UINT64_MAX, 65536, 2);
    struct cluster c;

    (void)state;
    start(&c);
    add_servers(&c, 2, 2);
    v.batch_read = UINT64_MAX;
    assert_int_equal(place(&c, &v), PS_OK);
    place_and_keep(&c, &v);
    v.id = 2;
    assert_int_equal(place(&c, &v), PS_OK);
    c.limits.memory_bytes = (uint64_t)1 << 62;
    assert_int_equal(place(&c, &v), PS_ELIMIT);
    stop(&c);
}

/* A server of which one lane has just ended will want its rows back. */
static void parts_of_an_ended_lane_count_for_its_server(void **state)
{
    struct wire_variable v = hash(1, 1 << 20, 16, 1);
    struct cluster c;

    (void)state;
    start(&c);
    add_servers(&c, 2, 1);
    place_and_keep(&c, &v);
    c.lanes[1].lane = 200; /* server 1 has come back under a new lane */
    c.ended[0] = (struct wire_ended){.lane = 101, .server = 1};
    c.w.ended = c.ended;
    c.w.n_ended = 1;
    c.limits.memory_bytes = (uint64_t)143 * MB;
    v.id = 2;
    c.parts[0].lane = 5; /* nobody's: only server 1 has something */
    assert_int_equal(place(&c, &v), PS_ELIMIT);
    assert_string_equal(c.e.text, "cannot place \"user\": server 1 would need "
                                  "144 MB, -smem allows 143 MB");
    c.w.n_ended = 0;
    assert_int_equal(place(&c, &v), PS_OK);
    stop(&c);
}

static void a_server_that_gets_nothing_is_not_held_to_its_limit(void **state)
{
    struct wire_variable large = dense(1, 1, 65536);
    struct wire_variable bias = dense(2, 1, 1);
    struct cluster c;

    (void)state;
    start(&c);
    add_servers(&c, 2, 1);
    place_and_keep(&c, &large);
    assert_part(&c, 0, 100, 0, 65536);
    c.limits.memory_bytes = 1000; /* lowered since */
    assert_int_equal(place(&c, &bias), PS_OK);
    assert_part(&c, 0, 101, 0, 65536);
    stop(&c);
}

static void what_cannot_be_placed_is_refused_with_a_line(void **state)
{
    struct wire_variable v = dense(1, 0, 4);
    struct cluster c;

    (void)state;
    start(&c);
    add_servers(&c, 1, 1);
    assert_int_equal(place(&c, &v), PS_EARGUMENT);
    assert_string_equal(
        c.e.text, "cannot place \"w\": a dense variable has at least one row");
    v.rows = 1;
    v.kind = 1;
    assert_int_equal(place(&c, &v), PS_EARGUMENT);
    v.kind = PS_DENSE;
    c.w.n_lanes = 0;
    assert_int_equal(place(&c, &v), PS_ENOTREADY);
    assert_string_equal(c.e.text, "cannot place \"w\": no servers yet");
    stop(&c);
}

/* A name of 255 bytes must not push the numbers out of the line, nor be cut in
 * the middle of a character: byte 80 is the second of one here. */
static void a_long_name_leaves_room_for_the_numbers(void **state)
{
    char name[256];
    char want[256];
    struct wire_variable v = hash(1, 19742720, 28, 0);
    struct cluster c;

    (void)state;
    start(&c);
    add_lane(&c, 1, 1, 0);
    name[0] = 'n';
    for (size_t i = 1; i < 255; i += 2) {
        memcpy(name + i, "\xc3\xa9", 2);
    }
    name[255] = '\0';
    v.name = name;
    c.limits.memory_bytes = MB;
    assert_int_equal(place(&c, &v), PS_ELIMIT);
    snprintf(want, sizeof(want),
             "cannot place \"%.79s\": server 1 would need 2,410 MB, -smem "
             "allows 1 MB",
             name);
    assert_string_equal(c.e.text, want);
    stop(&c);
}

static void assert_got(const struct cluster *c, uint32_t i, uint32_t begin,
                       uint32_t end, uint64_t lane)
{
    assert_int_equal(c->got[i].begin, begin);
    assert_int_equal(c->got[i].end, end);
    assert_int_equal(c->got[i].lane, lane);
}

/* 32 MB go into a frame: 131,072 rows of 64 values. */
static void a_dense_part_is_no_more_than_a_frame(void **state)
{
    struct wire_variable v = dense(1, 262144, 64);
    struct cluster c;

    (void)state;
    start(&c);
    add_servers(&c, 1, 1);
    assert_int_equal(place(&c, &v), PS_OK);
    assert_int_equal(c.n_got, 2);
    assert_got(&c, 0, 0, 32768, 100);
    assert_got(&c, 1, 32768, 65536, 100);
    add_servers(&c, 1, 1);
    assert_int_equal(place(&c, &v), PS_OK);
    assert_int_equal(c.n_got, 2);
    assert_got(&c, 1, 32768, 65536, 101);
    /* 5 rows in a bucket: 52,430 buckets, 26,215 for a shard; 26,214 fit. */
    v.rows = 262148;
    assert_int_equal(place(&c, &v), PS_OK);
    assert_int_equal(c.n_got, 4);
    assert_got(&c, 0, 0, 13107, 100);
    assert_got(&c, 1, 13107, 26215, 100);
    assert_got(&c, 2, 26215, 39322, 101);
    assert_got(&c, 3, 39322, 65536, 101);
    /* 129 rows in a bucket, where 128 fit. */
    v = dense(1, (1 << 23) + 1, 65536);
    assert_int_equal(place(&c, &v), PS_ELIMIT);
    assert_non_null(strstr(c.e.text, "too large for any number of shards"));
    stop(&c);
}

/* By field: a part has padding. */
static void assert_same_parts(const struct cluster *a, const struct cluster *b)
{
    assert_int_equal(a->n_got, b->n_got);
    for (uint32_t i = 0; i < a->n_got; i++) {
        assert_part(b, i, a->got[i].lane, a->got[i].begin, a->got[i].end);
        assert_int_equal(a->got[i].variable, b->got[i].variable);
    }
}

static void the_same_plan_gives_the_same_parts(void **state)
{
    struct wire_variable v = hash(9, 1000, 8, 0);
    struct wire_variable d = dense(1, 5, 1);
    struct cluster a;
    struct cluster b;

    (void)state;
    start(&a);
    start(&b);
    for (uint32_t i = 0; i < 12; i++) {
        uint32_t k = (i * 5) % 12;

        add_lane(&a, 50 + i, i / 4, i % 4);
        add_lane(&b, 50 + k, k / 4, k % 4);
    }
    for (uint32_t i = 1; i <= 5; i++) {
        d.id = i;
        place_and_keep(&a, &d);
        place_and_keep(&b, &d);
        assert_int_equal(a.n_got, 1);
        assert_same_parts(&a, &b);
    }
    assert_int_equal(place(&a, &v), PS_OK);
    assert_int_equal(place(&b, &v), PS_OK);
    assert_same_parts(&a, &b);
    stop(&a);
    stop(&b);
}

static void without_memory_nothing_is_placed(void **state)
{
    struct wire_variable v = hash(1, 0, 4, 0);
    struct cluster c;

    (void)state;
    start(&c);
    add_servers(&c, 2, 1);
    mem_fail_at(1);
    assert_int_equal(place(&c, &v), PS_ENOMEM);
    mem_fail_at(0);
    assert_null(c.got);
    stop(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_those_of_rows_slots_and_index),
        cmocka_unit_test(a_hash_variable_is_dealt_evenly_over_all_shards),
        cmocka_unit_test(what_does_not_divide_evenly_differs_by_one),
        cmocka_unit_test(any_number_of_shards_gets_even_shares),
        cmocka_unit_test(more_shards_than_buckets_leave_some_without),
        cmocka_unit_test(a_large_dense_variable_has_even_ranges_of_rows),
        cmocka_unit_test(a_small_dense_variable_goes_whole_to_the_least_laden),
        cmocka_unit_test(small_is_less_than_64_kib_of_values),
        cmocka_unit_test(memory_is_limited_with_what_is_there_already),
        cmocka_unit_test(a_server_with_more_shards_gets_more),
        cmocka_unit_test(shares_are_rounded_up),
        cmocka_unit_test(the_line_says_what_is_needed_and_what_there_is),
        cmocka_unit_test(network_is_limited_by_what_a_step_reads),
        cmocka_unit_test(queries_are_limited_by_parts),
        cmocka_unit_test(no_limit_is_no_limit),
        cmocka_unit_test(parts_of_an_ended_lane_count_for_its_server),
        cmocka_unit_test(a_server_that_gets_nothing_is_not_held_to_its_limit),
        cmocka_unit_test(what_cannot_be_placed_is_refused_with_a_line),
        cmocka_unit_test(a_long_name_leaves_room_for_the_numbers),
        cmocka_unit_test(a_dense_part_is_no_more_than_a_frame),
        cmocka_unit_test(the_same_plan_gives_the_same_parts),
        cmocka_unit_test(without_memory_nothing_is_placed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
