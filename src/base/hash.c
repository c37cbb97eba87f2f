/* hash.c - checksums; the key hash is in the header, it is on the hot path.
 *
 * xxHash is compiled into this file: no shared library of it is needed, and its
 * header is included nowhere else.
 */
#include "hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t hash_bytes(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}
