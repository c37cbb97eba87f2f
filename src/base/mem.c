/* mem.c - the only file that calls malloc.
 *
 * Every call that may fail is numbered, so that a test can run a piece of code
 * once to count its calls, and then once more for each of them with that one
 * failing. The two counters are relaxed atomics: they order nothing, they only
 * must not tear or lose a call.
 */
#include "mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static const size_t huge_bytes = (size_t)2 << 20;

/* Alone on their cache line: shards allocate side by side. */
static struct {
    _Alignas(64) atomic_uint_fast64_t calls; /* [a] relaxed */
    atomic_uint_fast64_t fail_at; /* [a] relaxed; the call to fail, 0: none */
} counts;

/* Counts one call; true if it may go on. */
static bool take_call(size_t bytes)
{
    uint64_t number =
        atomic_fetch_add_explicit(&counts.calls, 1, memory_order_relaxed) + 1;

    /* malloc would refuse such a size too, but a sanitizer's ends the run. */
    return bytes <= PTRDIFF_MAX &&
           number !=
               atomic_load_explicit(&counts.fail_at, memory_order_relaxed);
}

/* malloc(0) may be NULL, which here always means that there is no memory. */
static size_t at_least_1(size_t bytes)
{
    return bytes == 0 ? 1 : bytes;
}

void *mem_new(size_t bytes)
{
    void *p = bytes <= PTRDIFF_MAX ? malloc(at_least_1(bytes)) : NULL;

    if (p == NULL) {
        fprintf(stderr, "out of memory: %zu bytes\n", bytes);
        abort();
    }
    return p;
}

char *mem_text(const char *text)
{
    size_t bytes = strlen(text) + 1;

    return memcpy(mem_new(bytes), text, bytes);
}

void *mem_try(size_t bytes)
{
    return take_call(bytes) ? malloc(at_least_1(bytes)) : NULL;
}

void *mem_try_zero(size_t bytes)
{
    return take_call(bytes) ? calloc(1, at_least_1(bytes)) : NULL;
}

void *mem_try_resize(void *p, size_t bytes)
{
    return take_call(bytes) ? realloc(p, at_least_1(bytes)) : NULL;
}

void *mem_try_aligned(size_t align, size_t bytes)
{
    void *p = NULL;

    ASSERT(align >= sizeof(void *) && (align & (align - 1)) == 0);
    if (!take_call(bytes) ||
        posix_memalign(&p, align, at_least_1(bytes)) != 0) {
        return NULL;
    }
    return p;
}

void mem_free(void *p)
{
    free(p);
}

size_t mem_array(size_t n, size_t size)
{
    size_t bytes;

    return __builtin_mul_overflow(n, size, &bytes) ? SIZE_MAX : bytes;
}

/* Maps 2 MiB too many and gives back what lies outside of the 2 MiB
 * aligned part; `bytes` are whole pages. */
static void *map_aligned(size_t bytes)
{
    char *whole = mmap(NULL, bytes + huge_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t head;

    if (whole == MAP_FAILED) {
        return NULL;
    }
    head = -(uintptr_t)whole & (huge_bytes - 1);
    if (head > 0) {
        munmap(whole, head);
    }
    munmap(whole + head + bytes, huge_bytes - head);
    return whole + head;
}

void *mem_map(size_t bytes, bool huge)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *p;

    ASSERT(bytes > 0);
    if (!take_call(bytes) || bytes > PTRDIFF_MAX - 2 * huge_bytes) {
        return NULL;
    }
    bytes = (bytes + page - 1) & ~(page - 1);
    if (bytes >= huge_bytes) {
        p = map_aligned(bytes);
    } else {
        p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        p = p == MAP_FAILED ? NULL : p;
    }
    if (p != NULL && huge) {
        /* A wish: a kernel without huge pages refuses it, which is fine. */
        (void)madvise(p, bytes, MADV_HUGEPAGE);
    }
    return p;
}

void mem_unmap(void *p, size_t bytes)
{
    if (p != NULL) {
        ASSERT(munmap(p, bytes) == 0);
    }
}

void mem_fail_at(uint64_t n)
{
    uint64_t now = atomic_load_explicit(&counts.calls, memory_order_relaxed);

    atomic_store_explicit(&counts.fail_at, n == 0 ? 0 : now + n,
                          memory_order_relaxed);
}

uint64_t mem_calls(void)
{
    return atomic_load_explicit(&counts.calls, memory_order_relaxed);
}
