/* test_ckpt_state.c - windows and late frames there and back; lies refused. */
#include "ckpt/ckpt_state.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>

#include "base/mem.h"

struct stage {
    struct ckpt_state s;
    struct arena arena;
    struct ckpt_file file;
    struct buf bytes;
};

/* Two lanes, of 2 and 1 windows, 0 and 2 gaps; the second one of two ranges;
 * two late frames; two chains. */
static int set_up(void **state)
{
    static const struct ckpt_window windows[3] = {
        {.session = 3, .next = 9, .floor = 4, .refuse_below = 2},
        {.session = 5, .next = 1, .floor = 1, .has_ended = 1},
        {.session = 6, .next = 300, .floor = 299},
    };
    static const struct ckpt_numbers gaps[2] = {{6, 290, 295}, {6, 297, 297}};
    static const struct ckpt_history histories[3] = {
        {.lane = 7,
         .end = 65536,
         .forgotten = 2,
         .n_windows = 2,
         .windows = windows},
        {.lane = 4,
         .variable = 1,
         .begin = 9,
         .end = 10,
         .n_windows = 1,
         .windows = windows + 2,
         .n_gaps = 2,
         .gaps = gaps},
        {.lane = 4,
         .variable = 2,
         .begin = 3,
         .end = 5,
         .same = 2,
         .n_windows = 1,
         .windows = windows + 2,
         .n_gaps = 2,
         .gaps = gaps},
    };
    static const struct ckpt_late lates[2] = {
        {.session = 3,
         .seq = 8,
         .cut = 11,
         .body = (const uint8_t *)"ab",
         .n_body = 2},
        {.session = 5,
         .seq = 1,
         .cut = 11,
         .body = (const uint8_t *)"cde",
         .n_body = 3},
    };
    static const struct ckpt_chain chains[2] = {{77, "One"}, {78, "Second"}};
    struct stage *x = mem_new(sizeof(*x));

    *x = (struct stage){.s = {3, histories, 2, lates, 2, chains}};
    *state = x;
    return ckpt_state_encode(&x->s, "f", &x->arena, &x->file, &x->bytes);
}

static int tear_down(void **state)
{
    struct stage *x = *state;

    buf_fini(&x->bytes);
    arena_fini(&x->arena);
    mem_free(x);
    return 0;
}

static int decode(struct stage *x, const struct ckpt_file *file,
                  struct ckpt_state *s, struct err *e)
{
    return ckpt_state_decode(x->bytes.data, x->bytes.size, file, &x->arena, s,
                             e);
}

static void pieces_are_all_but_the_bodies(void **state)
{
    const size_t head = CKPT_STATE_BODIES;
    struct stage *x = *state;
    struct ckpt_state_encoder encoder;
    struct ckpt_file file;
    struct buf out;
    uint32_t n = 0;

    buf_init(&out);
    assert_int_equal(
        ckpt_state_begin(&encoder, &x->s, "f", &x->arena, &file, &out), PS_OK);
    assert_int_equal(out.size, head);
    while (ckpt_state_more(&encoder, 1)) {
        n++;
    }
    /* 8 columns of 3 lanes, 7 of 3 windows, 3 of 2 gaps, 4 of 2 frames, 2 of 2
     * chains and the end of each column, then 2 texts. */
    assert_int_equal(n, 24 + 21 + 6 + 8 + 4 + 24 + 2 - 1);
    assert_int_equal(file.size, x->file.size);
    assert_int_equal(out.size + 5, x->bytes.size);
    assert_memory_equal(out.data, x->bytes.data, head);
    assert_memory_equal(x->bytes.data + head, "abcde", 5);
    assert_memory_equal(out.data + head, x->bytes.data + head + 5,
                        out.size - head);
    buf_fini(&out);
}

static void all_comes_back(void **state)
{
    struct stage *x = *state;
    struct ckpt_state s;

    assert_int_equal(decode(x, &x->file, &s, NULL), PS_OK);
    assert_int_equal(s.n_histories, 3);
    assert_int_equal(s.histories[1].lane, 4);
    assert_int_equal(s.histories[1].variable, 1);
    assert_int_equal(s.histories[1].begin, 9);
    assert_int_equal(s.histories[1].n_windows, 1);
    assert_int_equal(s.histories[1].windows[0].session, 6);
    assert_int_equal(s.histories[1].windows[0].floor, 299);
    assert_int_equal(s.histories[0].windows[1].has_ended, 1);
    assert_int_equal(s.histories[0].n_gaps, 0);
    for (uint32_t i = 1; i < 3; i++) {
        assert_int_equal(s.histories[i].same, i == 1 ? 0 : 2);
        assert_int_equal(s.histories[i].n_gaps, 2);
        assert_int_equal(s.histories[i].gaps[0].session, 6);
        assert_int_equal(s.histories[i].gaps[0].last, 295);
        assert_int_equal(s.histories[i].gaps[1].first, 297);
    }
    assert_int_equal(s.histories[2].variable, 2);
    assert_int_equal(s.histories[2].end, 5);
    assert_ptr_equal(s.histories[2].windows, s.histories[1].windows);
    assert_int_equal(s.n_lates, 2);
    assert_int_equal(s.lates[1].n_body, 3);
    assert_memory_equal(s.lates[0].body, "ab", 2);
    assert_memory_equal(s.lates[1].body, "cde", 3);
    assert_int_equal(s.n_chains, 2);
    assert_string_equal(s.chains[0].definition, "One");
    assert_string_equal(s.chains[1].definition, "Second");
    assert_int_equal(s.chains[1].id, 78);
}

/* The header and sums are right, but numbers are not. */
static void numbers_that_cannot_be_are_refused(void **state)
{
    static const struct {
        const char *name;
        size_t at; /* in the tensor, in bytes */
        uint8_t byte;
    } cases[] = {
        {"lanes/windows", 0, 3},
        {"lanes/windows", 8, 0},
        {"lanes/windows", 7, 255},
        {"lanes/gaps", 8, 3},
        {"lanes/gaps", 8, 1},
        {"lanes/gaps", 15, 255},
        {"lanes/same", 0, 1},
        {"lanes/same", 8, 1},  /* of another lane */
        {"lanes/same", 16, 3}, /* itself */
        {"lanes/same", 16, 1},
        {"lanes/same", 23, 255},
        {"lanes/forgotten", 16, 1},
        {"gaps/first", 1, 9},
        {"gaps/last", 15, 128},
        {"lanes/end", 8, 9},
        {"lanes/end", 0, 1},
        {"lanes/variable", 15, 1},
        {"windows/next", 0, 3},
        {"windows/next", 8, 0},
        {"windows/floor", 1, 1},
        {"windows/ended", 0, 2},
        {"windows/fate", 5, 1},
        {"late/bytes", 0, 1},
        {"late/bytes", 8, 4},
        {"late/bytes", 15, 255},
        {"chains/bytes", 0, 4},
        {"chains/bytes", 8, 7},
        {"chains/definition", 1, '\n'},
    };
    struct stage *x = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct ckpt_tensor *t = x->file.tensors;
        struct ckpt_state s;
        struct err e = {0};
        uint8_t *byte;
        uint8_t old;

        while (strcmp(t->name, cases[i].name) != 0) {
            t++;
        }
        byte = x->bytes.data + t->offset + cases[i].at;
        old = *byte;
        *byte = cases[i].byte;
        if (decode(x, NULL, &s, &e) != PS_EDATALOSS) {
            fail_msg("%s at %zu is taken", cases[i].name, cases[i].at);
        }
        assert_int_equal(decode(x, &x->file, &s, &e), PS_EDATALOSS);
        assert_non_null(strstr(e.text, cases[i].name));
        *byte = old;
    }
}

/* 64 parts with the same former lane of 1,000 sessions. A window is 8 numbers
 * of 8 bytes, 256 fates and 1 byte; a part 8 numbers. */
static void what_parts_share_is_written_once(void **state)
{
    enum { PARTS = 64, SESSIONS = 1000, WINDOW = 8 * 8 + 256 + 1 };
    static struct ckpt_window windows[SESSIONS];
    struct ckpt_history h[1 + PARTS] = {{.lane = 8, .end = 65536}};
    size_t sizes[2];

    (void)state;
    for (uint64_t i = 0; i < SESSIONS; i++) {
        windows[i] = (struct ckpt_window){.session = 1 + i, .next = 1};
    }
    for (int is_shared = 0; is_shared < 2; is_shared++) {
        const struct ckpt_state s = {.n_histories = 1 + PARTS, .histories = h};
        struct ckpt_file file;
        struct arena arena;
        struct buf out;

        for (uint32_t i = 1; i <= PARTS; i++) {
            h[i] = (struct ckpt_history){.lane = 7,
                                         .variable = i,
                                         .end = 65536,
                                         .same = is_shared && i > 1 ? 2 : 0,
                                         .n_windows = SESSIONS,
                                         .windows = windows};
        }
        arena_init(&arena);
        buf_init(&out);
        assert_int_equal(ckpt_state_encode(&s, "f", &arena, &file, &out),
                         PS_OK);
        sizes[is_shared] = out.size;
        buf_fini(&out);
        arena_fini(&arena);
    }
    print_message("%zu bytes, and %zu\n", sizes[0], sizes[1]);
    assert_int_equal(sizes[0],
                     CKPT_STATE_BODIES + PARTS * SESSIONS * WINDOW + 65 * 64);
    assert_int_equal(sizes[1], CKPT_STATE_BODIES + SESSIONS * WINDOW + 65 * 64);
}

static void each_failed_allocation_is_said(void **state)
{
    struct stage *x = *state;
    uint64_t start = mem_calls();
    struct arena arena;
    struct ckpt_state s;
    uint64_t n;

    arena_init(&arena);
    assert_int_equal(ckpt_state_decode(x->bytes.data, x->bytes.size, &x->file,
                                       &arena, &s, NULL),
                     PS_OK);
    arena_fini(&arena);
    n = mem_calls() - start;
    for (uint64_t i = 1; i <= n; i++) {
        mem_fail_at(i);
        assert_int_equal(ckpt_state_decode(x->bytes.data, x->bytes.size,
                                           &x->file, &arena, &s, NULL),
                         PS_ENOMEM);
        mem_fail_at(0);
        arena_fini(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pieces_are_all_but_the_bodies, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(all_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(numbers_that_cannot_be_are_refused,
                                        set_up, tear_down),
        cmocka_unit_test(what_parts_share_is_written_once),
        cmocka_unit_test_setup_teardown(each_failed_allocation_is_said, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
