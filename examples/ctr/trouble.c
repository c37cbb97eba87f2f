#include "trouble.h"

#include <stdarg.h>
#include <stdio.h>

int trouble_set(struct ps_error *e, int status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(e->text, sizeof(e->text), format, args);
    va_end(args);
    e->status = status;
    return status;
}
