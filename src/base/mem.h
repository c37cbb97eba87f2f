/* mem.h - the only door to malloc.
 *
 * mem_new is for start-up and the command line and aborts when there is no
 * memory. mem_try is for whatever a message can reach and for all of libpsplus;
 * it may return NULL. Memory is not cleared unless the name says so.
 * mem_fail_at(n) makes the nth mem_try from now fail (tests; 0 switches off);
 * every mem_try_* and mem_map counts as one. Threads: any.
 */
#ifndef MEM_H
#define MEM_H

#include "base.h"

void *mem_new(size_t bytes);
char *mem_text(const char *text); /* a copy; aborts when out of memory */
void *mem_try(size_t bytes) MUST_USE;
void *mem_try_zero(size_t bytes) MUST_USE;
/* As mem_try_zero, but waits until there is some: for what must neither fail
 * nor be left out, where the thread has nothing better to do. */
void *mem_wait_zero(size_t bytes);
void *mem_try_resize(void *p, size_t bytes) MUST_USE;
void *mem_try_aligned(size_t align, size_t bytes) MUST_USE;
void mem_free(void *p);
/* Freed blocks of 128 KiB and more are kept for their next use. Returns to the
 * system what has not been used for a second; to be called about that often. */
void mem_tidy(uint64_t now_us);
/* Tells that thousands of small blocks have been freed. malloc keeps them for
 * itself, so mem_tidy returns their pages a second later. */
void mem_shrunk(void);
/* For a process of our own, before its threads begin: of each thread's heap no
 * more than 128 KiB stay resident at its end. Never in libpsplus. */
void mem_keep_little(void);
/* n * size, or SIZE_MAX where that overflows (which mem_try then refuses). */
size_t mem_array(size_t n, size_t size);
/* Anonymous pages, aligned to 2 MiB where bytes is at least that, with huge
 * pages asked for when `huge`; a child of fork gets none of those. NULL when
 * there are none. */
void *mem_map(size_t bytes, bool huge) MUST_USE;
void mem_unmap(void *p, size_t bytes);
/* Has the kernel make the pages now, all zero, as it would at the first touch
 * of each. */
void mem_populate(void *p, size_t bytes);
void mem_fail_at(uint64_t n);
/* Calls of mem_try so far, for the tests that fail each in turn. */
uint64_t mem_calls(void);

#endif
