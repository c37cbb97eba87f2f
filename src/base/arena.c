/* arena.c - memory of one request.
 *
 *     blocks -> [ newest ] -> [ older ] -> [ oldest ]
 *               used|free      full         full
 *
 * Each new block is twice the last one, so a request that takes much memory
 * makes few blocks. arena_reset keeps the largest block that is not over the
 * limit and frees the others: after two requests of a size the third finds all
 * it needs in one block.
 *
 * Under ASan what is free is poisoned and a gap is left behind each piece, so
 * that reading past a piece or after the reset is found as it is with malloc.
 */
#include "arena.h"

#include "limits.h"
#include "mem.h"

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
enum { ARENA_GAP = 16 };
#else
#define ASAN_POISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
enum { ARENA_GAP = 0 };
#endif

enum { ARENA_FIRST_BYTES = 4096, ARENA_ALIGN = 16 };

struct arena_block {
    struct arena_block *older;
    size_t size; /* of data */
    _Alignas(ARENA_ALIGN) unsigned char data[];
};

void arena_init(struct arena *a)
{
    *a = (struct arena){0};
}

static void free_block(struct arena_block *b)
{
    ASAN_UNPOISON_MEMORY_REGION(b->data, b->size);
    mem_free(b);
}

void arena_fini(struct arena *a)
{
    while (a->blocks != NULL) {
        struct arena_block *b = a->blocks;

        a->blocks = b->older;
        free_block(b);
    }
    a->used = 0;
}

/* Puts a block with room for `bytes` in front; false: no memory. */
static bool add_block(struct arena *a, size_t bytes)
{
    size_t size = ARENA_FIRST_BYTES;
    struct arena_block *b;

    if (a->blocks != NULL) {
        size = base_min_u64(a->blocks->size * 2, LIMIT_ARENA_KEEP_BYTES);
    }
    size = base_max_u64(size, bytes);
    b = mem_try(sizeof(*b) + size);
    if (b == NULL) {
        return false;
    }
    b->older = a->blocks;
    b->size = size;
    ASAN_POISON_MEMORY_REGION(b->data, b->size);
    a->blocks = b;
    a->used = 0;
    return true;
}

void *arena_take(struct arena *a, size_t bytes)
{
    size_t whole;
    void *p;

    if (bytes > PTRDIFF_MAX - 2 * LIMIT_ARENA_KEEP_BYTES) {
        return NULL;
    }
    whole = (bytes + ARENA_GAP + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (a->blocks == NULL || whole > a->blocks->size - a->used) {
        if (!add_block(a, whole)) {
            return NULL;
        }
    }
    p = a->blocks->data + a->used;
    a->used += whole;
    ASAN_UNPOISON_MEMORY_REGION(p, bytes);
    return p;
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = NULL;
    struct arena_block *b = a->blocks;

    while (b != NULL) {
        struct arena_block *older = b->older;

        if (b->size <= LIMIT_ARENA_KEEP_BYTES &&
            (keep == NULL || b->size > keep->size)) {
            struct arena_block *smaller = keep;

            keep = b;
            b = smaller;
        }
        if (b != NULL) {
            free_block(b);
        }
        b = older;
    }
    if (keep != NULL) {
        keep->older = NULL;
        ASAN_POISON_MEMORY_REGION(keep->data, keep->size);
    }
    a->blocks = keep;
    a->used = 0;
}
