/* What became of numbers, asked through a save and a load, and another save and
 * load of who loaded: on 1 to 8 shards each time, bit for bit.
 *
 * For each (lane, session) the test keeps an account of its own of each number:
 * in the checkpoint (of before the cut, or late), acknowledged but not in it,
 * or burned. By the protocol, part 6, RESOLVE says of each of them that it is
 * applied or is not and will never be, for the buckets that the lane held; of
 * buckets that another lane held that it is not. LOST is told which of the
 * acknowledged ones are not there, and nothing else. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/probe.h"
#include "save_stage.h"
#include "udf/chain.h"

enum {
    FIRST_LANE = 7,
    FIRST_SESSION = 2, /* which ends before the cut */
    SESSIONS = 4,
    NUMBERS = 700,
    CUT = 2
};

enum what { NEVER_SENT, IN, NOT_IN, BURNED };

/* Of one lane and session. */
struct account {
    uint64_t last;
    uint64_t floor; /* at the cut, as its newest frame said */
    uint8_t what[NUMBERS];
};

static struct save_group from, twin, to, second;
static struct account accounts[SAVE_SHARDS][SESSIONS];

static struct account *account_of(uint32_t lane, uint64_t session)
{
    return &accounts[lane][session - FIRST_SESSION];
}

static void set_sessions(struct save_group *g, uint64_t first)
{
    uint64_t open[SESSIONS];
    uint32_t n = 0;

    for (uint64_t i = first; i < FIRST_SESSION + SESSIONS; i++) {
        open[n++] = i;
    }
    draft_sessions(&g->record, FIRST_SESSION + SESSIONS, open, n);
    for (uint32_t i = 0; i < g->n; i++) {
        assert_int_equal(shard_set_sessions(g->shards[i].shard, 1 + first,
                                            g->record.data, g->record.size),
                         PS_OK);
    }
}

/* Frames of a session to all lanes; the twin gets those that are in, of one
 * session. */
static void push(uint64_t session, uint64_t cut, uint64_t key, float v,
                 enum what what)
{
    uint64_t before[SAVE_SHARDS];

    from.session = session;
    for (uint32_t i = 0; i < from.n; i++) {
        before[i] = account_of(i, session)->last;
        from.shards[i].seq = before[i];
    }
    save_push(&from, cut, key, 200, v);
    for (uint32_t i = 0; i < from.n; i++) {
        struct account *a = account_of(i, session);

        a->last = from.shards[i].seq;
        assert_true(a->last > before[i] && a->last < NUMBERS - 2);
        for (uint64_t n = before[i] + 1; n <= a->last; n++) {
            a->what[n] = (uint8_t)what;
        }
        if (from.cut < CUT) {
            a->floor = a->last - base_min_u64(from.behind, a->last - 1);
        }
    }
    if (what == IN) {
        save_push(&twin, 1, key, 200, v);
    }
}

/* The number is asked for before it came, and will never be applied. */
static void burn(uint64_t session, uint64_t ahead)
{
    from.session = session;
    for (uint32_t i = 0; i < from.n; i++) {
        struct account *a = account_of(i, session);
        uint64_t n = a->last + ahead;

        assert_int_equal(save_resolve(&from, from.shards[i].lane, n,
                                      LIMIT_BUCKETS / from.n * i),
                         PS_ECANCELED);
        a->what[n] = BURNED;
        if (ahead == 1) {
            a->last = n;
        }
    }
}

/* The next frame makes up for the number that was burned ahead of it. */
static void step_over_burned(uint64_t session)
{
    for (uint32_t i = 0; i < from.n; i++) {
        struct account *a = account_of(i, session);

        assert_int_equal(a->what[a->last + 1], BURNED);
        a->last++;
    }
}

/* Session 2 has ended when the cut comes; 3 has late numbers one by one between
 * newer ones; 4 has none; 5 burns some, one of them ahead at the cut, and has
 * a late number so far behind that no window reaches back. */
static void save_on(struct fs *fs, uint32_t n)
{
    memset(accounts, 0, sizeof(accounts));
    save_begin(&twin, fs_memory_new(), n, FIRST_LANE, NULL);
    save_begin(&from, fs, n, FIRST_LANE, NULL);
    set_sessions(&from, 2);
    push(2, 1, 1001, 1, IN);
    push(2, 1, 1000, 2, IN);
    from.behind = 3;
    for (uint64_t i = 0; i < 5; i++) {
        push(3, 1, 2001 + 2 * i, 0.5F, IN);
        push(4, 1, 1501 + 2 * i, 0.25F, IN);
    }
    push(5, 1, 3001, 3, IN);
    burn(5, 1);
    push(5, 1, 3000, 3, IN);
    burn(5, 2);
    set_sessions(&from, 3);
    save_order(&from, CUT, 0, SAVE_OPEN);
    (void)save_step(&from);
    push(3, 2, 2101, 8, NOT_IN);
    push(3, 1, 2003, 0.75F, IN);
    push(3, 2, 2103, 8, NOT_IN);
    push(3, 2, 2105, 8, NOT_IN);
    push(3, 1, 2105, 1.25F, IN);
    push(3, 2, 2105, 8, NOT_IN);
    push(4, 2, 1501, 8, NOT_IN);
    push(5, 1, 3001, 0.5F, IN);
    step_over_burned(5);
    for (uint64_t i = 0; i < 300; i++) {
        push(5, 2, 3001 + 2 * i, 8, NOT_IN);
    }
    push(5, 1, 3051, 0.125F, IN);
    save_run(&from);
    assert_int_equal(save_finish(&from, fs), PS_OK);
}

static void end_saved(void)
{
    struct fs *fs = twin.shards[0].disk.work.fs;

    save_end(&from);
    save_end(&twin);
    fs_memory_free(fs);
}

static void load_on(struct save_group *g, struct fs *fs, uint32_t n,
                    uint64_t first_lane, const char *folder)
{
    char why[256] = "";

    save_begin(g, fs, n, first_lane, folder);
    set_sessions(g, 3);
    save_run(g);
    (void)save_has_failed_to_load(g, why, sizeof(why));
    assert_string_equal(why, "");
    assert_false(save_is_loading(g));
}

/* ---- asking ------------------------------------------------------------- */

static struct tape_frame *answer_to(struct save_shard *s, struct frame *f)
{
    struct frame_header h;
    struct tape_frame *a;

    assert_int_equal(frame_header_decode(f->data, &h), PS_OK);
    shard_on_frame(s->shard, s->connection, &h, f);
    frame_put(f);
    a = tape_take(&s->net);
    assert_non_null(a);
    return a;
}

/* What the holder of a range says it has of the lane's numbers. */
static void check_lost(struct save_group *g, uint32_t lane, uint64_t session,
                       const struct wire_range *range)
{
    const struct account *account = account_of(lane, session);
    const struct wire_lost m = {.session = session,
                                .lane = FIRST_LANE + lane,
                                .parts = range,
                                .n_parts = 1};
    struct frame_header h = {.type = WIRE_LOST, .plan = g->plan.w.plan};
    uint32_t holder = 0;
    struct tape_frame *a;
    struct wire_kept kept;
    struct arena arena;

    while (shard_part(g->shards[holder].shard, range->variable, range->begin) ==
           NULL) {
        holder++;
    }
    buf_clear(&g->record);
    wire_lost_encode(&m, &g->record);
    h.lane = g->shards[holder].lane;
    a = answer_to(&g->shards[holder],
                  draft_frame(&h, g->record.data, g->record.size));
    assert_int_equal(a->h.status, PS_OK);
    arena_init(&arena);
    assert_int_equal(
        wire_kept_decode(frame_body(a->frame), a->h.body_bytes, &arena, &kept),
        PS_OK);
    assert_int_equal(kept.parts[0].has_moved, 0);
    for (uint64_t n = 1; n <= account->last; n++) {
        bool is_lost = n >= kept.parts[0].below;

        for (uint32_t i = 0; i < kept.parts[0].n_gaps; i++) {
            const struct wire_span *gap = &kept.parts[0].gaps[i];

            is_lost = is_lost || (n >= gap->first && n <= gap->last);
        }
        if (account->what[n] != BURNED &&
            is_lost != (account->what[n] == NOT_IN)) {
            fail_msg("lane %u, session %u, number %u: %s", lane,
                     (unsigned)session, (unsigned)n,
                     is_lost ? "called lost" : "not called lost");
        }
    }
    arena_fini(&arena);
    tape_free(a);
}

static void check_fates(struct save_group *g, uint32_t lane, uint64_t session,
                        uint32_t variable, uint32_t bucket, bool is_its)
{
    const struct account *a = account_of(lane, session);
    /* Older ones are not asked for: they were answered (protocol 4.1). */
    uint64_t n = a->last > 250 ? a->last - 250 : 1;

    g->session = session;
    for (; n < a->last + 3; n++) {
        int want = is_its && a->what[n] == IN ? PS_OK : PS_ECANCELED;

        if (save_resolve_for(g, variable, FIRST_LANE + lane, n, bucket) !=
            want) {
            fail_msg("lane %u, session %u, number %u, variable %u, bucket %u",
                     lane, (unsigned)session, (unsigned)n, variable, bucket);
        }
    }
}

static uint32_t bucket_of(uint32_t i, uint32_t n)
{
    return i == n ? LIMIT_BUCKETS : LIMIT_BUCKETS / n * i;
}

/* All numbers of all lanes, of what group g has loaded. */
static void check_numbers(struct save_group *g)
{
    for (uint32_t i = 0; i < from.n; i++) {
        uint32_t begin = bucket_of(i, from.n);
        uint32_t end = bucket_of(i + 1, from.n);

        for (uint64_t s = FIRST_SESSION; s < FIRST_SESSION + SESSIONS; s++) {
            check_fates(g, i, s, HASH, begin, true);
            check_fates(g, i, s, HASH, end - 1, true);
            check_fates(g, i, s, SUMS, begin, true);
            if (from.n > 1) {
                check_fates(g, i, s, HASH, end % LIMIT_BUCKETS, false);
            }
            for (uint32_t k = 0; k < g->n; k++) {
                struct wire_range range = {
                    HASH, (uint32_t)base_max_u64(begin, bucket_of(k, g->n)),
                    (uint32_t)base_min_u64(end, bucket_of(k + 1, g->n))};

                if (range.begin < range.end) {
                    check_lost(g, i, s, &range);
                }
            }
        }
    }
}

/* A lane that has ended takes nothing, not even a repeat, and its numbers are
 * not those of the lanes that follow. */
static void check_pushes(struct save_group *g)
{
    static const char *const chain = "BuildHashSlice(insert)>AdagradUpdater";
    static const double params[] = {0.5, 0.125};
    static const float values[2] = {1, 1};
    const uint64_t key = 900001;
    const struct run_op op = {.chain = chain_id(chain),
                              .variable = HASH,
                              .end = LIMIT_BUCKETS,
                              .dim = 2,
                              .keys = &key,
                              .n_keys = 1,
                              .values = values,
                              .n_values = 2,
                              .params = params,
                              .n_params = 2};
    uint64_t sum = save_sum(g);
    uint64_t count = save_count(g);

    for (uint32_t i = 0; i < from.n; i++) {
        struct frame_header h = {.type = WIRE_RUN,
                                 .session = 3,
                                 .seq = i + 1,
                                 .first = 1,
                                 .lane = FIRST_LANE + i,
                                 .plan = g->plan.w.plan,
                                 .cut = g->cut};
        struct tape_frame *a = answer_to(&g->shards[0], draft_run(&h, &op, 1));

        assert_int_equal(a->h.status, PS_ELANE);
        tape_free(a);
    }
    assert_true(save_sum(g) == sum);
    g->session = 3;
    save_push(g, g->cut, key, 200, 1); /* numbers 1 of new lanes */
    assert_int_equal(save_count(g), count + 200);
}

/* The copies of the file that lane `lane` of a group has saved. */
static void check_floors(struct fs *fs, struct save_group *g)
{
    struct ckpt *c;
    struct err e;
    uint32_t n = 0;

    assert_int_equal(ckpt_open(fs, g->folder, &c, &e), PS_OK);
    for (uint32_t i = 0; i < c->manifest.n_lanes; i++) {
        struct ckpt_state state;
        struct arena arena;
        struct buf bytes;

        arena_init(&arena);
        buf_init(&bytes);
        assert_int_equal(
            ckpt_read_state(fs, g->folder, c, i, &arena, &bytes, &state, &e),
            PS_OK);
        for (uint32_t k = 0; k < state.n_histories; k++) {
            const struct ckpt_history *h = &state.histories[k];

            if (h->lane >= FIRST_LANE + from.n) {
                continue; /* its own */
            }
            for (uint64_t w = 0; w < h->n_windows; w++) {
                const struct account *a = account_of(
                    (uint32_t)(h->lane - FIRST_LANE), h->windows[w].session);

                assert_int_equal(h->windows[w].floor, a->floor);
                n++;
            }
        }
        buf_fini(&bytes);
        arena_fini(&arena);
    }
    ckpt_free(c);
    assert_true(n >= from.n * SESSIONS);
}

/* ---- all pairs ---------------------------------------------------------- */

static void what_n_shards_saved_is_known_on_m_and_after_them(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= SAVE_SHARDS; n++) {
        struct fs *fs = fs_memory_new();
        uint64_t sum;
        struct ckpt *c;
        struct err e;

        save_on(fs, n);
        sum = save_sum(&twin);
        assert_true(save_sum(&from) != sum);
        assert_int_equal(ckpt_open(fs, from.folder, &c, &e), PS_OK);
        assert_int_equal(c->manifest.cut, CUT);
        assert_int_equal(c->manifest.n_lanes, n);
        ckpt_free(c);
        for (uint32_t m = 1; m <= SAVE_SHARDS; m++) {
            load_on(&to, fs, m, 20 + 10 * m, from.folder);
            assert_true(save_sum(&to) == sum);
            check_numbers(&to);
            save_whole(&to, fs, CUT + m, 0);
            check_floors(fs, &to);
            check_pushes(&to);
            load_on(&second, fs, m % SAVE_SHARDS + 1, 120, to.folder);
            assert_true(save_sum(&second) == sum);
            check_numbers(&second);
            check_pushes(&second);
            save_end(&second);
            save_end(&to);
        }
        end_saved();
        fs_memory_free(fs);
    }
}

/* With the name of a planted fault: then a test must fail. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_n_shards_saved_is_known_on_m_and_after_them),
    };

#ifdef PS_TEST_HOOKS
    if (argc > 1 && !probe_plant(argv[1])) {
        return 0; /* not found, then */
    }
#else
    (void)argc;
    (void)argv;
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
