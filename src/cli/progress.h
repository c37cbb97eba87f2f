/* progress.h - how far something is, on stderr: a line that is written over on
 * a terminal, one now and then elsewhere.
 */
#ifndef PROGRESS_H
#define PROGRESS_H

#include "base/base.h"

struct progress {
    uint32_t plain_ms; /* between two lines that are not written over */
    uint64_t start_ms;
    uint64_t last_ms;
    bool is_terminal;
    bool is_shown; /* a line stands on the terminal */
};

void progress_begin(struct progress *p, uint32_t plain_ms);
/* Whether it is time for the next line. */
bool progress_is_due(struct progress *p);
void progress_show(struct progress *p, const char *format, ...)
    PRINTF_LIKE(2, 3);
/* Takes the line away, for other words on stderr. */
void progress_end(struct progress *p);
/* Milliseconds since progress_begin. */
uint64_t progress_ms(const struct progress *p);

#endif
