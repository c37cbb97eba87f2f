/* err.c - a failure that a person reads. */
#include "err.h"

#include <stdarg.h>
#include <stdio.h>

int err_set(struct err *e, int status, const char *format, ...)
{
    char text[sizeof(e->text)]; /* the arguments may point into e */
    va_list args;

    if (e == NULL) {
        return status;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    base_one_line(text);
    memcpy(e->text, text, sizeof(text));
    e->status = status;
    return status;
}

/* Puts `more` behind text, as much of it as fits. */
static void append(char *text, size_t room, const char *more)
{
    size_t n = strlen(text);
    size_t size = base_min_u64(strlen(more), room - n - 1);

    memcpy(text + n, more, size);
    text[n + size] = '\0';
}

int err_wrap(struct err *e, const char *format, ...)
{
    char text[sizeof(e->text)];
    va_list args;

    if (e == NULL) {
        return PS_EUNKNOWN;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    append(text, sizeof(text), ": ");
    append(text, sizeof(text), e->text);
    base_one_line(text);
    memcpy(e->text, text, sizeof(text));
    return e->status;
}
