/* base.c - what an assertion does when it fails. */
#include "base.h"

#include <stdio.h>
#include <stdlib.h>

void base_assert_failed(const char *what, const char *file, int line)
{
    /* Straight to stderr: the log may be what is broken. */
    fprintf(stderr, "%s:%d: this must be true and is not: %s\n", file, line,
            what);
    abort();
}

void base_one_line(char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < 0x20 || c == 0x7f) {
            *text = '?';
        }
    }
}
