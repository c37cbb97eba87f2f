/* split.h - the keys of a batch, by the part that holds them.
 *
 * order[] is a permutation of 0..n-1 that groups the keys by part and keeps
 * batch order inside a part; counts[] says how many each part got. Two passes
 * and no comparison sort. parts are those of one hash variable.
 */
#ifndef SPLIT_H
#define SPLIT_H

#include "plan/plan.h"

/* order [n], counts [n_parts], part_of [n] scratch. */
void split_keys(const struct wire_part *parts, uint32_t n_parts,
                const uint64_t *keys, size_t n, uint32_t *part_of,
                uint32_t *order, size_t *counts);

#endif
