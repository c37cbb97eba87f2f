/* slow.h - how much a test that goes over everything does in a slow build. */
#ifndef TEST_SLOW_H
#define TEST_SLOW_H

/* TSan costs ten times and more; what has one thread shows nothing new there.
 * So a loop over all bytes takes each SLOW_STRIDEth of them. */
#if defined(__SANITIZE_THREAD__)
enum { SLOW_STRIDE = 23 };
#else
enum { SLOW_STRIDE = 1 };
#endif

#endif
