/* chain.c - a list of UDFs, registered once, then run by id. */
#include "udf/chain.h"

#include "base/hash.h"
#include "udf/udf_list.h"

uint64_t chain_id(const char *definition)
{
    return hash_bytes(definition, strlen(definition));
}

/* Adds the UDF named by the first n bytes of `name`. */
static int add_udf(struct chain *chain, const char *name, size_t n,
                   struct err *e)
{
    char copy[sizeof(chain->definition)];
    const struct udf *u;

    memcpy(copy, name, n);
    copy[n] = '\0';
    if (n == 0) {
        return err_set(e, PS_EARGUMENT, "chain: UDF %u has no name",
                       chain->n + 1);
    }
    if (chain->n == LIMIT_CHAIN_UDFS) {
        return err_set(e, PS_EARGUMENT, "chain: more than %d UDFs",
                       LIMIT_CHAIN_UDFS);
    }
    u = udf_find(copy);
    if (u == NULL) {
        return err_set(e, PS_ENOUDF, "chain: there is no UDF named %s", copy);
    }
    if (chain->n == 0 && (u->flags & UDF_SLICES) == 0) {
        return err_set(e, PS_EARGUMENT,
                       "chain: %s is first, where a slice builder must be",
                       copy);
    }
    if (chain->n > 0 && (u->flags & UDF_SLICES) != 0) {
        return err_set(e, PS_EARGUMENT, "chain: %s is a second slice builder",
                       copy);
    }
    chain->udfs[chain->n] = u;
    chain->n++;
    chain->flags |= u->flags;
    return PS_OK;
}

int chain_parse(const char *definition, struct chain *chain, struct err *e)
{
    struct chain parsed = {0};
    size_t size = strlen(definition);
    const char *name = definition;

    if (size == 0 || size >= sizeof(parsed.definition)) {
        return err_set(e, PS_EARGUMENT,
                       "chain: a definition has 1 to %zu bytes, not %zu",
                       sizeof(parsed.definition) - 1, size);
    }
    for (;;) {
        size_t n = strcspn(name, ">");
        int rc = add_udf(&parsed, name, n, e);

        if (rc != PS_OK) {
            return rc;
        }
        if (name[n] == '\0') {
            break;
        }
        name += n + 1;
    }
    memcpy(parsed.definition, definition, size + 1);
    parsed.id = chain_id(definition);
    *chain = parsed;
    return PS_OK;
}

/* UDF i as it runs; NULL where it is skipped. A repeat has been applied before:
 * it only reads, so its slice builder looks for the rows and makes none. */
static const struct udf *udf_to_run(const struct chain *chain, uint32_t i,
                                    bool repeat)
{
    const struct udf *u = chain->udfs[i];

    if (!repeat || (u->flags & UDF_WRITES) == 0) {
        return u;
    }
    return u == &udf_hash_slice_insert ? &udf_hash_slice : NULL;
}

static void undo_first(const struct chain *chain, uint32_t n,
                       struct udf_call *c)
{
    for (uint32_t i = n; i > 0; i--) {
        if (chain->udfs[i - 1]->undo != NULL) {
            chain->udfs[i - 1]->undo(c);
        }
    }
}

int chain_prepare(const struct chain *chain, struct udf_call *c, bool repeat)
{
    c->rows = NULL;
    c->n_rows = 0;
    c->undo = (struct table_undo){0};
    c->answer_values = 0;
    c->answer = NULL;
    for (uint32_t i = 0; i < chain->n; i++) {
        const struct udf *u = udf_to_run(chain, i, repeat);
        int rc = u == NULL ? PS_OK : u->prepare(u, c);

        if (rc != PS_OK) {
            undo_first(chain, i, c);
            return rc;
        }
    }
    return PS_OK;
}

void chain_undo(const struct chain *chain, struct udf_call *c)
{
    /* After a repeat c->undo is empty. */
    undo_first(chain, chain->n, c);
}

void chain_apply(const struct chain *chain, struct udf_call *c, bool repeat)
{
    for (uint32_t i = 0; i < chain->n; i++) {
        const struct udf *u = udf_to_run(chain, i, repeat);

        if (u != NULL && u->apply != NULL) {
            u->apply(u, c);
        }
    }
}
