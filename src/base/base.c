/* base.c - what an assertion does when it fails; texts that a person reads. */
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

size_t base_char_bytes(const uint8_t *p, size_t left)
{
    /* What the second byte may be: narrower where a lead byte would otherwise
     * allow a long form, a surrogate, something over U+10FFFF, or a control
     * character of U+0080 to U+009F. */
    static const struct {
        uint8_t first, last;
        uint8_t low, high;
        uint8_t bytes;
    } leads[] = {
        {0xc2, 0xc2, 0xa0, 0xbf, 2}, {0xc3, 0xdf, 0x80, 0xbf, 2},
        {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
        {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    if (p[0] < 0x80) {
        return p[0] >= 0x20 && p[0] != 0x7f ? 1 : 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(leads); i++) {
        if (p[0] < leads[i].first || p[0] > leads[i].last) {
            continue;
        }
        if (leads[i].bytes > left || p[1] < leads[i].low ||
            p[1] > leads[i].high) {
            return 0;
        }
        for (size_t k = 2; k < leads[i].bytes; k++) {
            if ((p[k] & 0xc0) != 0x80) {
                return 0;
            }
        }
        return leads[i].bytes;
    }
    return 0;
}

/* Whether the text ends at p within a character: it was cut there. */
static bool is_cut(const uint8_t *p)
{
    size_t whole = *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
    size_t n = 1;

    if (*p < 0xc2 || *p > 0xf4) {
        return false;
    }
    while ((p[n] & 0xc0) == 0x80) {
        n++;
    }
    return n < whole && p[n] == '\0';
}

void base_one_line(char *text)
{
    size_t left = strlen(text);

    while (left > 0) {
        const uint8_t *p = (const uint8_t *)text;
        size_t n = base_char_bytes(p, left);

        if (n == 0 && is_cut(p)) {
            *text = '\0';
            return;
        }
        if (n == 0) {
            *text = '?';
            n = 1;
        }
        text += n;
        left -= n;
    }
}
