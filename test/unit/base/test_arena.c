/* test_arena.c - memory of one request. */
#include "base/arena.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#ifdef UNDER_ASAN
#include <sanitizer/asan_interface.h>
#endif

static void pieces_are_aligned_and_do_not_overlap(void **state)
{
    enum { N = 300 };
    struct arena a;
    uint8_t *p[N];

    (void)state;
    arena_init(&a);
    for (size_t i = 0; i < N; i++) {
        p[i] = arena_take(&a, i * 7);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 16, 0);
        memset(p[i], (int)(i % 251), i * 7);
    }
    for (size_t i = 0; i < N; i++) {
        for (size_t j = 0; j < i * 7; j++) {
            assert_int_equal(p[i][j], i % 251);
        }
    }
    arena_fini(&a);
}

static void a_piece_larger_than_any_block_is_had(void **state)
{
    const size_t size = (size_t)5 << 20;
    struct arena a;
    uint8_t *small;
    uint8_t *large;

    (void)state;
    arena_init(&a);
    small = arena_take(&a, 10);
    large = arena_take(&a, size);
    assert_non_null(small);
    assert_non_null(large);
    memset(small, 1, 10);
    memset(large, 2, size);
    assert_int_equal(small[9], 1);
    arena_fini(&a);
}

static void an_impossible_size_is_refused(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a);
    assert_null(arena_take(&a, SIZE_MAX));
    assert_null(arena_take(&a, SIZE_MAX - 15));
    assert_null(arena_take(&a, PTRDIFF_MAX));
    assert_non_null(arena_take(&a, 1));
    arena_fini(&a);
}

/* Takes n pieces of 1000 bytes; returns the calls of mem_try it needed. */
static uint64_t run_request(struct arena *a, size_t n)
{
    uint64_t before = mem_calls();

    for (size_t i = 0; i < n; i++) {
        assert_non_null(arena_take(a, 1000));
    }
    arena_reset(a);
    return mem_calls() - before;
}

static void the_third_request_of_a_size_allocates_nothing(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a);
    assert_true(run_request(&a, 300) > 1);
    assert_true(run_request(&a, 300) <= 1);
    assert_int_equal(run_request(&a, 300), 0);
    assert_int_equal(run_request(&a, 1), 0);
    assert_int_equal(run_request(&a, 300), 0);
    arena_fini(&a);
}

static void a_block_over_1_mib_is_not_kept(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a);
    assert_non_null(arena_take(&a, LIMIT_ARENA_KEEP_BYTES + 1));
    arena_reset(&a);
    assert_null(a.blocks);
    /* A block of just the limit is. (Under ASan a gap comes on top.) */
    assert_non_null(arena_take(&a, LIMIT_ARENA_KEEP_BYTES - 16));
    arena_reset(&a);
    assert_non_null(a.blocks);
    arena_fini(&a);
    assert_null(a.blocks);
}

static void want_of_memory_is_answered_and_passes(void **state)
{
    struct arena a;
    uint8_t *p;

    (void)state;
    arena_init(&a);
    mem_fail_at(1);
    assert_null(arena_take(&a, 100));
    p = arena_take(&a, 100);
    assert_non_null(p);
    memset(p, 7, 100);
    mem_fail_at(1);
    assert_null(arena_take(&a, 100000));
    /* What was there is untouched, and there is still room in its block. */
    assert_int_equal(p[99], 7);
    assert_non_null(arena_take(&a, 100));
    mem_fail_at(0);
    arena_fini(&a);
}

static void fini_leaves_it_usable_again(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a);
    arena_fini(&a);
    arena_reset(&a);
    assert_non_null(arena_take(&a, 8));
    arena_fini(&a);
}

static void what_is_free_is_poisoned_under_asan(void **state)
{
#ifdef UNDER_ASAN
    struct arena a;
    char *p;

    (void)state;
    arena_init(&a);
    p = arena_take(&a, 21);
    assert_non_null(p);
    assert_null(__asan_region_is_poisoned(p, 21));
    assert_int_equal(__asan_address_is_poisoned(p + 21), 1);
    assert_int_equal(__asan_address_is_poisoned(p + 32), 1);
    /* A gap keeps even pieces of whole 16 bytes apart. */
    p = arena_take(&a, 16);
    assert_non_null(p);
    assert_non_null(arena_take(&a, 16));
    assert_int_equal(__asan_address_is_poisoned(p + 16), 1);
    arena_reset(&a);
    assert_int_equal(__asan_address_is_poisoned(p), 1);
    arena_fini(&a);
#else
    (void)state;
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_do_not_overlap),
        cmocka_unit_test(a_piece_larger_than_any_block_is_had),
        cmocka_unit_test(an_impossible_size_is_refused),
        cmocka_unit_test(the_third_request_of_a_size_allocates_nothing),
        cmocka_unit_test(a_block_over_1_mib_is_not_kept),
        cmocka_unit_test(want_of_memory_is_answered_and_passes),
        cmocka_unit_test(fini_leaves_it_usable_again),
        cmocka_unit_test(what_is_free_is_poisoned_under_asan),
    };

    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
