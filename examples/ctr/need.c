#include "need.h"

#include <stdio.h>
#include <stdlib.h>

static void end_program(size_t n, size_t size)
{
    (void)fprintf(stderr, "out of memory: %zu items of %zu bytes\n", n, size);
    exit(1);
}

void *need_array(size_t n, size_t size)
{
    void *items = calloc(n == 0 ? 1 : n, size == 0 ? 1 : size);

    if (items == NULL) {
        end_program(n, size);
    }
    return items;
}

void *need_more(void *items, size_t n, size_t size, size_t *room)
{
    if (n < *room) {
        return items;
    }

    size_t wanted = *room < 16 ? 16 : *room * 2;
    void *grown = reallocarray(items, wanted, size);

    if (grown == NULL) {
        end_program(wanted, size);
    }
    *room = wanted;
    return grown;
}
