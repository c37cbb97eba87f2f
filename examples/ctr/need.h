/* need.h - memory, or the end of the program.
 *
 * A trainer that cannot hold its data has nothing else to do, so nobody checks
 * for NULL. What was given is given back with free().
 */
#ifndef NEED_H
#define NEED_H

#include <stddef.h>

/* n items of size bytes, all zero. */
void *need_array(size_t n, size_t size);

/* Makes items big enough for one more than n, where *room is how many fit now.
 * Returns the new place of the items. */
void *need_more(void *items, size_t n, size_t size, size_t *room);

#endif
