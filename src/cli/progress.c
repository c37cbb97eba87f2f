#include "cli/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { TERMINAL_MS = 200, LINE_BYTES = 512 };

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void progress_begin(struct progress *p, uint32_t plain_ms)
{
    uint64_t now = now_ms();

    *p = (struct progress){.plain_ms = plain_ms,
                           .start_ms = now,
                           .last_ms = now,
                           .is_terminal = isatty(STDERR_FILENO) == 1};
}

uint64_t progress_ms(const struct progress *p)
{
    return now_ms() - p->start_ms;
}

bool progress_is_due(struct progress *p)
{
    uint64_t now = now_ms();

    if (now - p->last_ms < (p->is_terminal ? TERMINAL_MS : p->plain_ms)) {
        return false;
    }
    p->last_ms = now;
    return true;
}

void progress_show(struct progress *p, const char *format, ...)
{
    char text[LINE_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    base_one_line(text);
    p->is_shown = true;
    fprintf(stderr, "%s%s%s", p->is_terminal ? "\r\033[K" : "", text,
            p->is_terminal ? "" : "\n");
}

void progress_end(struct progress *p)
{
    if (p->is_shown && p->is_terminal) {
        fprintf(stderr, "\r\033[K");
    }
    p->is_shown = false;
}
