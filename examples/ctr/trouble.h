/* trouble.h - a failure as a status and a sentence, in one statement.
 *
 * The struct is the public header's, so that what the library says and what
 * this program says are handed on the same way.
 */
#ifndef TROUBLE_H
#define TROUBLE_H

#include "psplus.h"

/* Writes the sentence into e and returns the status. */
__attribute__((format(printf, 3, 4))) int
trouble_set(struct ps_error *e, int status, const char *format, ...);

#endif
