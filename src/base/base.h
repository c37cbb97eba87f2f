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

/* Bytes of the character of UTF-8 at p, which has `left` bytes behind it or of
 * it; 0 where it is malformed or a control character (U+0000 to U+001F, U+007F
 * to U+009F). */
size_t base_char_bytes(const uint8_t *p, size_t left);
/* Replaces what is no such character by '?', byte by byte: what came from
 * outside can neither end the line it is printed in nor reach the terminal. A
 * text that was cut within a character loses the rest of that: so it is always
 * one that a message may carry. */
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
