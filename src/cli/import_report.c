/* import_report.c - what there is in a checkpoint of the original, and what
 * became of it.
 */
#include <inttypes.h>
#include <stdio.h>

#include "ckpt/ckpt_json.h"
#include "cli/import_command.h"

enum { SHAPE_BYTES = 256 };

uint32_t import_count(const struct import *x, enum import_fate fate)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < x->n; i++) {
        n += x->variables[i].fate == fate;
    }
    return n;
}

static const char *fate_name(enum import_fate fate)
{
    static const char *const names[] = {
        [IMPORT_SERVED] = "served",
        [IMPORT_KEPT] = "kept",
        [IMPORT_ABSENT] = "absent",
    };

    return names[fate];
}

static void shape_text(const struct original_variable *v, char *out)
{
    size_t n = 0;

    out[n] = '\0';
    for (uint32_t i = 0; i < v->n_dims && n < SHAPE_BYTES - 24; i++) {
        int more = snprintf(out + n, SHAPE_BYTES - n, "%s%" PRId64,
                            i > 0 ? "x" : "", (int64_t)v->dims[i]);

        n += more > 0 ? (size_t)more : 0;
    }
    if (v->n_dims == 0) {
        snprintf(out, SHAPE_BYTES, "scalar");
    }
}

/* Whether a slot goes where the rows go. No push can set one. */
static bool is_taken(const struct import_options *o, const char *folder,
                     const struct import_variable *v, uint32_t slot)
{
    return (o->kv_path == NULL || folder[0] != '\0' ||
            (o->is_dry && !o->without_slots)) &&
           import_serves_slot(v, slot);
}

static json_t *variable_json(const struct import_options *o, const char *folder,
                             const struct import_variable *v)
{
    const struct original_variable *from = v->rows.variable;
    json_t *slots = json_array();
    json_t *shape = json_array();
    json_t *out;

    for (uint32_t i = 0; i < from->n_dims; i++) {
        json_array_append_new(shape, json_integer((json_int_t)from->dims[i]));
    }
    for (uint32_t i = 0; i < v->rows.n_slots; i++) {
        const struct original_slot *s = &v->rows.slots[i];

        json_array_append_new(
            slots, json_pack("{s:s, s:s, s:b, s:b}", "name", s->name, "dtype",
                             original_dtype_name(s->tensor.dtype), "any",
                             s->is_any, "served", is_taken(o, folder, v, i)));
    }
    out =
        json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:s, s:s, s:o}", "name",
                  from->name, "kind", original_kind_name(from->kind), "dtype",
                  original_dtype_name(from->dtype), "shape", shape, "rows",
                  (json_int_t)v->rows.rows, "bytes", (json_int_t)v->rows.bytes,
                  "parts", (json_int_t)v->rows.n_parts, "fate",
                  fate_name(v->fate), "why", v->why, "slots", slots);
    if (v->fate == IMPORT_SERVED) {
        json_t *params = json_array();

        for (int i = 0; i < v->updater.n_params; i++) {
            json_array_append_new(params, json_real(v->updater.params[i]));
        }
        json_object_set_new(out, "updater", json_string(v->updater.name));
        json_object_set_new(out, "params", params);
        json_object_set_new(out, "assumed", json_string(v->assumed));
    }
    return out;
}

static int report_json(const struct import_options *o, const struct import *x,
                       const char *folder, struct err *e)
{
    json_t *variables = json_array();
    json_t *queues = json_array();
    json_t *root;

    for (uint32_t i = 0; i < x->n; i++) {
        json_array_append_new(variables,
                              variable_json(o, folder, &x->variables[i]));
    }
    for (uint32_t i = 0; i < x->original->n_queues; i++) {
        json_array_append_new(queues, json_string(x->original->queues[i]));
    }
    root = json_pack("{s:s, s:s, s:b, s:o, s:o}", "from", x->original->folder,
                     "folder", folder, "dry_run", o->is_dry, "variables",
                     variables, "queues_not_imported", queues);
    if (root != NULL && x->original->has_step) {
        json_object_set_new(root, "xdl_global_step",
                            json_integer((json_int_t)x->original->step));
    }
    return cli_print_json(root, e);
}

static void print_fate(const struct import_options *o,
                       const struct import_variable *v)
{
    const char *where = o->kv_path != NULL ? "refused" : "kept, not served";

    if (v->fate == IMPORT_ABSENT) {
        printf("not saved there\n");
    } else if (v->fate == IMPORT_KEPT) {
        printf("%s: %s\n", where, v->why);
    } else {
        printf("%s, %s%s%s%s\n", v->kind == PS_DENSE ? "dense" : "hash64",
               v->updater.name, v->assumed[0] != '\0' ? " (assumed: " : "",
               v->assumed, v->assumed[0] != '\0' ? ")" : "");
    }
}

static void print_variable(const struct import_options *o, const char *folder,
                           const struct import_variable *v)
{
    const struct original_variable *from = v->rows.variable;
    char shape[SHAPE_BYTES];

    shape_text(from, shape);
    printf("%-32s %-7s %-4s %-14s %12" PRIu64 " %5" PRIu32 "  ", from->name,
           original_kind_name(from->kind), original_dtype_name(from->dtype),
           shape, v->rows.rows, v->rows.n_parts);
    print_fate(o, v);
    for (uint32_t i = 0; i < v->rows.n_slots; i++) {
        const struct original_slot *s = &v->rows.slots[i];
        const char *what = "kept, not served";

        if (is_taken(o, folder, v, i)) {
            what = "with the rows";
        } else if (o->kv_path != NULL && import_serves_slot(v, i)) {
            what = "left out: slots cannot be pushed";
        } else if (o->kv_path != NULL && folder[0] == '\0') {
            what = "left out";
        }
        printf("  slot %-25s %-7s %-4s %37s%s\n", s->name,
               s->is_any ? "any-one" : "row",
               original_dtype_name(s->tensor.dtype), "", what);
    }
}

static void print_end(const struct import_options *o, const struct import *x,
                      const char *folder, double seconds)
{
    uint64_t rows = 0;

    for (uint32_t i = 0; i < x->n; i++) {
        if (o->kv_path == NULL || x->variables[i].fate == IMPORT_SERVED) {
            rows += x->variables[i].rows.rows;
        }
    }
    for (uint32_t i = 0; i < x->original->n_queues; i++) {
        printf("file queue \"%s\" is not imported\n", x->original->queues[i]);
    }
    printf("%" PRIu32 " variables are served, %" PRIu32 " are %s, %" PRIu32
           " were not saved\n",
           import_count(x, IMPORT_SERVED), import_count(x, IMPORT_KEPT),
           o->kv_path != NULL ? "refused" : "kept beside them",
           import_count(x, IMPORT_ABSENT));
    if (o->is_dry) {
        printf("nothing was written\n");
    } else if (o->to != NULL) {
        printf("written: %s below %s, %" PRIu64 " rows in %.1f s\n", folder,
               o->to, rows, seconds);
    } else if (folder[0] != '\0') {
        printf("loaded from %s: %" PRIu64 " rows in %.1f s\n", folder, rows,
               seconds);
    } else {
        printf("pushed: %" PRIu64 " rows in %.1f s\n", rows, seconds);
    }
}

int import_report(const struct import_options *o, const struct import *x,
                  const char *folder, double seconds, struct err *e)
{
    const struct original *from = x->original;

    if (o->is_json) {
        return report_json(o, x, folder, e);
    }
    printf("%s%s%" PRIu32 " variables", from->folder,
           from->folder[0] != '\0' ? ": " : "", x->n);
    if (from->has_step) {
        printf(", xdl_global_step %" PRIu64, from->step);
    }
    printf("\n\n%-32s %-7s %-4s %-14s %12s %5s  %s\n", "variable", "kind",
           "type", "shape", "rows", "parts", "becomes");
    for (uint32_t i = 0; i < x->n; i++) {
        print_variable(o, folder, &x->variables[i]);
    }
    printf("\n");
    print_end(o, x, folder, seconds);
    return PS_OK;
}
