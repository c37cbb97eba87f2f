/* err.h - a failure that a person reads: a status and a sentence.
 *
 * Used where a person waits (start, configure, command line). The data path
 * passes a plain status. Each layer that knows more wraps the text.
 */
#ifndef ERR_H
#define ERR_H

#include "base.h"

struct err {
    int status;
    char text[256];
};

/* Sets e (may be NULL) and returns status, so failing is one statement. */
int err_set(struct err *e, int status, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* Puts "text: " in front of what e says; returns e's status, PS_EUNKNOWN where
 * e is NULL (keep the status where that matters). */
int err_wrap(struct err *e, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
