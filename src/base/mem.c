/* mem.c - the only file that calls malloc.
 *
 * Every call that may fail is numbered, so that a test can run a piece of code
 * once to count its calls, and then once more for each of them with that one
 * failing. The two counters are relaxed atomics: they order nothing, they only
 * must not tear or lose a call.
 *
 * Large blocks. A frame of 10,000 rows is 640 KB. malloc takes a block of that
 * size from the kernel and gives it back, so each request would pay for its
 * pages: a fault and a cleared page for each 4 KiB, which is more than to send
 * them. So freed large blocks are kept for the next one of about their size,
 * and returned to malloc by mem_tidy once they have lain for a while: an idle
 * process keeps none. Sizes are rounded up a little, so that they meet again.
 * Not under ASan, which could not see the use of a freed block.
 */
#include "mem.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "limits.h"

#if defined(__SANITIZE_ADDRESS__)
#define MEM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEM_ASAN 1
#endif
#endif

#ifdef MEM_ASAN
static const size_t large_bytes = SIZE_MAX;
#else
static const size_t large_bytes = (size_t)128 << 10;
#endif

enum { KEPT_MAX = 256, KEPT_US = 1000000 };

static const size_t huge_bytes = (size_t)2 << 20;

/* Large blocks that wait for their next use, oldest first. */
static struct {
    pthread_mutex_t m;
    size_t n;         /* [m] */
    size_t bytes;     /* [m] */
    uint64_t now_us;  /* [m] of the last mem_tidy */
    uint64_t trim_us; /* [m] when malloc is to return pages; 0: not */
    struct {
        void *p;
        size_t size;
        uint64_t since_us;
    } blocks[KEPT_MAX]; /* [m] */
} kept = {.m = PTHREAD_MUTEX_INITIALIZER};

/* Alone on their cache line: shards allocate side by side. */
static struct {
    _Alignas(64) atomic_uint_fast64_t calls; /* [a] relaxed */
    atomic_uint_fast64_t fail_at; /* [a] relaxed; the call to fail, 0: none */
    atomic_bool has_shrunk;       /* [a] relaxed */
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

/* Takes block i out of the kept ones. */
static void *unkeep(size_t i)
{
    void *p = kept.blocks[i].p;

    kept.bytes -= kept.blocks[i].size;
    kept.n--;
    memmove(&kept.blocks[i], &kept.blocks[i + 1],
            (kept.n - i) * sizeof(kept.blocks[0]));
    return p;
}

/* Returns what has lain since before this time. */
static void give_back(uint64_t before_us)
{
    void *old[KEPT_MAX];
    size_t n_old = 0;

    pthread_mutex_lock(&kept.m);
    while (kept.n > 0 && kept.blocks[0].since_us < before_us) {
        old[n_old++] = unkeep(0);
    }
    pthread_mutex_unlock(&kept.m);
    for (size_t i = 0; i < n_old; i++) {
        free(old[i]);
    }
}

/* A large block, kept or new. The newest that fits: it may be in the cache. */
static void *take_large(size_t bytes)
{
    void *p = NULL;
    size_t step = bytes / 8;

    pthread_mutex_lock(&kept.m);
    for (size_t i = kept.n; i > 0 && p == NULL; i--) {
        size_t size = kept.blocks[i - 1].size;

        if (size >= bytes && size - bytes <= bytes) {
            p = unkeep(i - 1);
        }
    }
    pthread_mutex_unlock(&kept.m);
    if (p == NULL) {
        p = malloc(bytes + step);
    }
    if (p == NULL) {
        give_back(UINT64_MAX);
        p = malloc(bytes);
    }
    return p;
}

/* Keeps a freed block, in place of older ones; false: it is not one to keep. */
static bool keep(void *p, size_t size)
{
    void *old[KEPT_MAX];
    size_t n_old = 0;

    if (size > LIMIT_KEPT_BYTES) {
        return false;
    }
    pthread_mutex_lock(&kept.m);
    while (kept.n == KEPT_MAX || kept.bytes + size > LIMIT_KEPT_BYTES) {
        old[n_old++] = unkeep(0);
    }
    kept.blocks[kept.n].p = p;
    kept.blocks[kept.n].size = size;
    kept.blocks[kept.n].since_us = kept.now_us;
    kept.n++;
    kept.bytes += size;
    pthread_mutex_unlock(&kept.m);
    for (size_t i = 0; i < n_old; i++) {
        free(old[i]);
    }
    return true;
}

void mem_shrunk(void)
{
    atomic_store_explicit(&counts.has_shrunk, true, memory_order_relaxed);
}

/* malloc raises this threshold to twice the largest block that it has given
 * back to the system, up to 64 MiB, and malloc_trim leaves the end of a
 * thread's heap as it is. Set by hand it stays; so does the size from which on
 * blocks come from the system, which costs little: those are kept here. */
void mem_keep_little(void)
{
    (void)mallopt(M_TRIM_THRESHOLD, 128 << 10);
}

void mem_tidy(uint64_t now_us)
{
    bool must_trim;

    pthread_mutex_lock(&kept.m);
    kept.now_us = now_us;
    if (atomic_exchange_explicit(&counts.has_shrunk, false,
                                 memory_order_relaxed)) {
        kept.trim_us = now_us + KEPT_US;
    }
    must_trim = kept.trim_us != 0 && now_us >= kept.trim_us;
    if (must_trim) {
        kept.trim_us = 0;
    }
    pthread_mutex_unlock(&kept.m);
    if (now_us > KEPT_US) {
        give_back(now_us - KEPT_US);
    }
    if (must_trim) {
        malloc_trim(0); /* of the large blocks too: malloc may keep them */
    }
}

void *mem_try(size_t bytes)
{
    if (!take_call(bytes)) {
        return NULL;
    }
    return bytes >= large_bytes ? take_large(bytes) : malloc(at_least_1(bytes));
}

void *mem_try_zero(size_t bytes)
{
    return take_call(bytes) ? calloc(1, at_least_1(bytes)) : NULL;
}

void *mem_wait_zero(size_t bytes)
{
    static const struct timespec rest = {.tv_nsec = 1000000};
    void *p;

    while ((p = mem_try_zero(bytes)) == NULL) {
        (void)nanosleep(&rest, NULL);
    }
    return p;
}

void *mem_try_resize(void *p, size_t bytes)
{
    if (p == NULL) {
        return mem_try(bytes); /* one that is kept, it may be */
    }
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
    size_t size = p == NULL ? 0 : malloc_usable_size(p);

    if (size < large_bytes || !keep(p, size)) {
        free(p);
    }
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
    char *aligned;
    size_t head;

    if (whole == MAP_FAILED) {
        return NULL;
    }
    head = -(uintptr_t)whole & (huge_bytes - 1);
    aligned = whole + head;
    if (head > 0) {
        munmap(whole, head);
    }
    munmap(aligned + bytes, huge_bytes - head);
    return aligned;
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
        /* Wishes: a kernel without huge pages refuses, which is fine. A child
         * of fork that lives on would cost a copy of each page that is written,
         * and its huge page split: it gets none of it. */
        (void)madvise(p, bytes, MADV_HUGEPAGE);
        (void)madvise(p, bytes, MADV_DONTFORK);
    }
    return p;
}

void mem_populate(void *p, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    volatile char *at = p;

    /* Linux 5.14; otherwise, and where it fails, by hand. */
    if (madvise(p, bytes, MADV_POPULATE_WRITE) == 0) {
        return;
    }
    for (size_t i = 0; i < bytes; i += page) {
        at[i] = 0;
    }
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
