/* base.h - the words that every file uses: attributes, assertions, sizes.
 *
 * ASSERT is always on: it states what must be true of our own code. What comes
 * from outside is never asserted, it is checked and answered with a status.
 */
#ifndef BASE_H
#define BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "psplus.h"

#define MUST_USE __attribute__((warn_unused_result))
#define NORETURN __attribute__((noreturn))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define PREFETCH(p) __builtin_prefetch((p))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
/* clang-format off */
#define CONTAINER_OF(p, type, member) \
    ((type *)(void *)((char *)(p) - offsetof(type, member)))
/* clang-format on */

#define ASSERT(x) ((x) ? (void)0 : base_assert_failed(#x, __FILE__, __LINE__))
#ifdef NDEBUG
#define DEBUG_ASSERT(x) ((void)0)
#else
#define DEBUG_ASSERT(x) ASSERT(x)
#endif

/* Prints what failed and where, then aborts. */
NORETURN void base_assert_failed(const char *what, const char *file, int line);

/* Replaces control characters by '?': what came from outside can neither end
 * the line it is printed in nor reach the terminal. */
void base_one_line(char *text);

static inline uint64_t base_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t base_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline size_t base_align8(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

#endif
