/* test_ahead.c - a worker makes pieces, and the loop brings them. */
#include "server/ahead.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/mman.h>

#include "base/mem.h"

enum { PIECE = 2 << 20 };

static const struct loop_handler handler = {.on_tick = NULL};

struct stage {
    struct loop *loop;
    struct ahead ahead;
    struct table_budget budget;
};

static void set_up(struct stage *s)
{
    struct loop_options options = {.handler = &handler};
    struct err e;

    *s = (struct stage){.loop = NULL};
    assert_int_equal(loop_new(&s->loop, &options, &e), PS_OK);
    ahead_init(&s->ahead, s->loop);
    s->budget.ahead = &s->ahead.stock;
}

static void tear_down(struct stage *s)
{
    loop_stop(s->loop);
    ahead_fini(&s->ahead);
    loop_free(s->loop);
}

static bool is_resident(void *p)
{
    unsigned char pages[PIECE / 4096];

    if (mincore(p, PIECE, pages) != 0) {
        return false;
    }
    for (size_t i = 0; i < PIECE / 4096; i++) {
        if ((pages[i] & 1) == 0) {
            return false;
        }
    }
    return true;
}

static void
after_the_first_take_pieces_with_their_pages_are_in_stock(void **state)
{
    struct stage s;
    uint64_t end = loop_now() + 10000000;
    void *p;

    (void)state;
    set_up(&s);
    assert_int_equal(slab_take(&s.budget, PIECE, &p), PS_OK);
    slab_give(&s.budget, p, PIECE);
    while (slab_ahead_short(&s.ahead.stock) != 0 && loop_now() < end) {
        loop_turn(s.loop);
        loop_pause(s.loop, loop_now() + 1000);
    }
    assert_int_equal(s.ahead.stock.stocks[0].n, SLAB_AHEAD_PIECES);
    assert_int_equal(slab_take(&s.budget, PIECE, &p), PS_OK);
    assert_true(is_resident(p));
    slab_give(&s.budget, p, PIECE);
    tear_down(&s);
}

static void a_piece_that_comes_after_the_end_is_given_back(void **state)
{
    struct stage s;
    void *p;

    (void)state;
    set_up(&s);
    assert_int_equal(slab_take(&s.budget, PIECE, &p), PS_OK);
    assert_true(s.ahead.is_busy);
    slab_give(&s.budget, p, PIECE);
    tear_down(&s);
}

static void without_memory_ahead_the_shard_maps_its_own(void **state)
{
    struct stage s;
    void *p;

    (void)state;
    set_up(&s);
    mem_fail_at(1); /* the job's own block */
    assert_int_equal(slab_take(&s.budget, PIECE, &p), PS_OK);
    mem_fail_at(0);
    assert_false(s.ahead.is_busy);
    slab_give(&s.budget, p, PIECE);
    assert_int_equal(slab_take(&s.budget, PIECE, &p), PS_OK);
    assert_true(s.ahead.is_busy);
    slab_give(&s.budget, p, PIECE);
    tear_down(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            after_the_first_take_pieces_with_their_pages_are_in_stock),
        cmocka_unit_test(a_piece_that_comes_after_the_end_is_given_back),
        cmocka_unit_test(without_memory_ahead_the_shard_maps_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
