/* test_mem.c - allocation, its failures on request, pages. */
#include "base/mem.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void a_size_that_overflows_is_refused(void **state)
{
    size_t half = SIZE_MAX / 2 + 1;

    (void)state;
    assert_int_equal(mem_array(0, 8), 0);
    assert_int_equal(mem_array(3, 8), 24);
    assert_true(mem_array(half, 2) == SIZE_MAX);
    assert_true(mem_array(SIZE_MAX, 1) == SIZE_MAX);
    assert_null(mem_try(mem_array(half, 2)));
    assert_null(mem_try_zero(mem_array(half, 2)));
    assert_null(mem_try_resize(NULL, SIZE_MAX));
    assert_null(mem_try_aligned(64, SIZE_MAX));
    assert_null(mem_map(SIZE_MAX, false));
    assert_null(mem_map(PTRDIFF_MAX, false));
}

static void nothing_is_not_null(void **state)
{
    void *p = mem_try(0);

    (void)state;
    assert_non_null(p);
    p = mem_try_resize(p, 0);
    assert_non_null(p);
    mem_free(p);
    mem_free(NULL);
    p = mem_new(0);
    assert_non_null(p);
    mem_free(p);
}

static void zeroed_memory_is_zero_and_resizing_keeps_what_was(void **state)
{
    uint8_t *p;

    (void)state;
    /* Leaves something behind for a calloc that forgot to clear. */
    p = mem_try(4000);
    assert_non_null(p);
    memset(p, 0xab, 4000);
    mem_free(p);
    p = mem_try_zero(4000);
    assert_non_null(p);
    for (size_t i = 0; i < 4000; i++) {
        assert_int_equal(p[i], 0);
        p[i] = (uint8_t)i;
    }
    p = mem_try_resize(p, 100000);
    assert_non_null(p);
    for (size_t i = 0; i < 4000; i++) {
        assert_int_equal(p[i], (uint8_t)i);
    }
    mem_free(p);
}

static void aligned_memory_is_aligned(void **state)
{
    (void)state;
    for (size_t align = 8; align <= 4096; align *= 2) {
        void *p = mem_try_aligned(align, 100);

        assert_non_null(p);
        assert_int_equal((uintptr_t)p % align, 0);
        memset(p, 1, 100);
        mem_free(p);
    }
}

static void a_copied_text_is_its_own(void **state)
{
    char text[] = "rows";
    char *copy = mem_text(text);

    (void)state;
    text[0] = 'x';
    assert_string_equal(copy, "rows");
    mem_free(copy);
}

static void exactly_the_nth_call_fails(void **state)
{
    (void)state;
    mem_fail_at(3);
    for (int i = 1; i <= 6; i++) {
        void *p = mem_try(8);

        assert_int_equal(p == NULL, i == 3);
        mem_free(p);
    }
    /* A failed resize leaves the old memory alone. */
    char *text = mem_text("still here");

    mem_fail_at(1);
    assert_null(mem_try_resize(text, 1000));
    assert_string_equal(text, "still here");
    mem_free(text);
    /* Each kind counts. */
    mem_fail_at(1);
    assert_null(mem_try_zero(8));
    mem_fail_at(1);
    assert_null(mem_try_aligned(64, 64));
    mem_fail_at(1);
    assert_null(mem_map(4096, false));
}

static void failing_can_be_switched_off(void **state)
{
    void *p;

    (void)state;
    mem_fail_at(1);
    mem_fail_at(0);
    p = mem_try(8);
    assert_non_null(p);
    mem_free(p);
}

static void calls_that_may_fail_are_counted_and_others_are_not(void **state)
{
    uint64_t before = mem_calls();
    void *a = mem_try(1);
    void *b = mem_try_zero(1);
    void *c = mem_new(1);

    (void)state;
    b = mem_try_resize(b, 2);
    assert_int_equal(mem_calls() - before, 3);
    mem_free(a);
    mem_free(b);
    mem_free(c);
}

static void large_maps_are_aligned_to_2_mib(void **state)
{
    const size_t mib = (size_t)1 << 20;
    const size_t sizes[] = {2 * mib, 2 * mib + 1, 3 * mib, 6 * mib};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (int huge = 0; huge < 2; huge++) {
            uint8_t *p = mem_map(sizes[i], huge == 1);

            assert_non_null(p);
            assert_int_equal((uintptr_t)p % (2 * mib), 0);
            assert_int_equal(p[0], 0);
            assert_int_equal(p[sizes[i] - 1], 0);
            memset(p, 0xff, sizes[i]);
            mem_unmap(p, sizes[i]);
        }
    }
}

static void small_maps_are_whole_pages_of_zeros(void **state)
{
    uint8_t *p = mem_map(5000, false);

    (void)state;
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 4096, 0);
    assert_int_equal(p[4999], 0);
    p[8191] = 1;
    mem_unmap(p, 5000);
    mem_unmap(NULL, 5000);
}

static void a_child_of_fork_gets_no_huge_maps(void **state)
{
    const size_t size = (size_t)2 << 20;
    void *huge = mem_map(size, true);
    void *other = mem_map(size, false);
    unsigned char resident[1];
    int status = 0;
    pid_t child;

    (void)state;
    assert_non_null(huge);
    assert_non_null(other);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(mincore(huge, 4096, resident) == 0 ? 1
              : errno != ENOMEM                  ? 2
                                : mincore(other, 4096, resident));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    mem_unmap(huge, size);
    mem_unmap(other, size);
}

/* The number of pages of this process that are mapped: the first number of its
 * statm. */
static int64_t count_mapped(void)
{
    char text[256] = "";
    FILE *f = fopen("/proc/self/statm", "r");

    assert_non_null(f);
    assert_non_null(fgets(text, sizeof(text), f));
    fclose(f);
    return strtoll(text, NULL, 10);
}

static void what_was_mapped_too_much_is_given_back(void **state)
{
    enum { N = 8 };
    const size_t size = (size_t)15 << 19;
    const size_t filler_size = (size_t)3 << 19;
    int64_t pages = (int64_t)(N * (size + 2 * filler_size) / 4096);
    int64_t before = count_mapped();
    void *p[N];
    void *filler[2 * N];

    (void)state;
    for (size_t i = 0; i < N; i++) {
        /* 7.5 MiB, and 1.5 MiB twice before: the kernel puts pages below one
         * another and aligns whole multiples of 2 MiB by itself, so without
         * these it might offer an aligned place each time. */
        filler[2 * i] = mem_map(filler_size, false);
        filler[2 * i + 1] = mem_map(filler_size, false);
        p[i] = mem_map(size, false);
        assert_non_null(p[i]);
    }
    /* At most 1 MiB of something else. */
    assert_in_range(count_mapped() - before, pages, pages + 256);
    for (size_t i = 0; i < N; i++) {
        mem_unmap(p[i], size);
        mem_unmap(filler[2 * i], filler_size);
        mem_unmap(filler[2 * i + 1], filler_size);
    }
    assert_true(count_mapped() - before <= 256);
}

/* Not under ASan, where the second may be anywhere. */
static void
a_freed_large_block_is_used_again_for_one_of_about_its_size(void **state)
{
    uint8_t *first = mem_try(1000000);
    uint8_t *small;
    uint8_t *again;

    (void)state;
    assert_non_null(first);
    memset(first, 1, 1000000);
    mem_free(first);
    small = mem_try(300000); /* less than half of it */
    again = mem_try(900000);
    assert_non_null(small);
    assert_non_null(again);
#if !defined(__SANITIZE_ADDRESS__)
    assert_ptr_not_equal(small, first);
    assert_ptr_equal(again, first);
#endif
    memset(again, 2, 900000);
    mem_free(small);
    mem_free(again);
}

/* A buffer that grows from nothing is such a block too. */
static void a_large_block_that_begins_as_nothing_is_a_kept_one(void **state)
{
    uint8_t *first = mem_try_resize(NULL, 1000000);
    uint8_t *again;

    (void)state;
    assert_non_null(first);
    memset(first, 1, 1000000);
    mem_free(first);
    again = mem_try_resize(NULL, 1000000);
    assert_non_null(again);
#if !defined(__SANITIZE_ADDRESS__)
    assert_ptr_equal(again, first);
#endif
    mem_free(again);
}

static void tidying_twice_leaves_nothing_that_could_be_freed_again(void **state)
{
    (void)state;
    for (int i = 0; i < 40; i++) { /* more than are kept */
        mem_free(mem_try((size_t)200000 + (size_t)i * 300000));
    }
    mem_tidy(1000000);
    mem_tidy(9000000);
    mem_tidy(9000000);
    mem_free(mem_try(200000));
    mem_tidy(99000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_size_that_overflows_is_refused),
        cmocka_unit_test(nothing_is_not_null),
        cmocka_unit_test(zeroed_memory_is_zero_and_resizing_keeps_what_was),
        cmocka_unit_test(aligned_memory_is_aligned),
        cmocka_unit_test(a_copied_text_is_its_own),
        cmocka_unit_test(exactly_the_nth_call_fails),
        cmocka_unit_test(failing_can_be_switched_off),
        cmocka_unit_test(calls_that_may_fail_are_counted_and_others_are_not),
        cmocka_unit_test(large_maps_are_aligned_to_2_mib),
        cmocka_unit_test(small_maps_are_whole_pages_of_zeros),
        cmocka_unit_test(a_child_of_fork_gets_no_huge_maps),
        cmocka_unit_test(what_was_mapped_too_much_is_given_back),
        cmocka_unit_test(
            a_freed_large_block_is_used_again_for_one_of_about_its_size),
        cmocka_unit_test(a_large_block_that_begins_as_nothing_is_a_kept_one),
        cmocka_unit_test(
            tidying_twice_leaves_nothing_that_could_be_freed_again),
    };

    return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
