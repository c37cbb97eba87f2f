/* chain.h - a list of UDFs, registered once, then run by id.
 *
 * Definition: names joined by `>`, the first a slice builder, such as
 * "BuildHashSlice(insert)>AdagradUpdater". Its id is the XXH3-64 of the
 * definition's bytes; a shard keeps the definition, so a collision is found.
 */
#ifndef CHAIN_H
#define CHAIN_H

#include "udf/udf.h"

struct chain {
    uint64_t id;
    uint32_t flags; /* the UDFs' or'ed */
    uint32_t n;
    const struct udf *udfs[LIMIT_CHAIN_UDFS];
    bool has_run; /* whoever keeps it may say so; of a parsed one false */
    char definition[256];
};

uint64_t chain_id(const char *definition);
/* PS_ENOUDF with the name, PS_EARGUMENT for a malformed definition (empty,
 * no slice builder first, a second one, too long). */
int chain_parse(const char *definition, struct chain *chain,
                struct err *e) MUST_USE;

/* Runs prepare of each UDF; on a refusal what was prepared is undone. With
 * `repeat` the writing UDFs after the slice builder are skipped, and the slice
 * builder does not insert. */
int chain_prepare(const struct chain *chain, struct udf_call *c,
                  bool repeat) MUST_USE;
void chain_undo(const struct chain *chain, struct udf_call *c);
void chain_apply(const struct chain *chain, struct udf_call *c, bool repeat);

#endif
