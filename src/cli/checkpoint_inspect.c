/* checkpoint_inspect.c - ps-plus inspect: what is in a checkpoint, and rows of
 * it.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/limits.h"
#include "ckpt/ckpt_other.h"
#include "cli/checkpoint_command.h"

enum { ROWS_MAX = 1000000000 };

static const struct opt table[] = {
    CHECKPOINT_OPTIONS,
    {.name = "variable",
     .type = OPT_TEXT,
     .offset = offsetof(struct checkpoint_options, variable),
     .value = "NAME",
     .help = "Shows rows of this variable."},
    {.name = "rows",
     .type = OPT_INT,
     .offset = offsetof(struct checkpoint_options, rows),
     .min = 0,
     .max = ROWS_MAX,
     .fallback = "10",
     .value = "N",
     .help = "How many rows, in the order in which they are stored."},
    CLI_OPTIONS("warning"),
};

static const struct cli_page page = {
    .usage = "ps-plus inspect URL [NAME] [OPTION...]",
    .about =
        "Shows what is in a checkpoint: its variables with their rows, and "
        "which\n"
        "lanes saved them; with --variable, rows of one: key, values, slots "
        "of the\n"
        "updater. NAME is a folder, a cut, or the name that was given to "
        "ps-plus\n"
        "save; without it, the newest whole one. Each block that is shown is "
        "compared\n"
        "with its checksum first. Of an increment, the rows that changed.\n"
        "\n"
        "    ps-plus inspect file:///srv/model\n"
        "    ps-plus inspect file:///srv/model 12 --variable user --rows 3\n",
    .table = table,
    .n = ARRAY_LEN(table),
};

/* Rows and slots of a variable, over its parts. */
struct total {
    uint64_t rows;
    uint64_t erased;
    uint32_t parts;
    const struct ckpt_part *one; /* any of them; NULL: none */
};

static struct total count(const struct ckpt *c, uint32_t id)
{
    struct total t = {0};

    for (uint32_t i = 0; i < c->manifest.n_lanes; i++) {
        const struct ckpt_index *x = &c->indexes[i];

        for (uint32_t k = 0; k < x->n_parts; k++) {
            const struct ckpt_part *p = &x->parts[k];

            if (p->id == id && p->content == CKPT_CHANGED) {
                t.rows += p->rows;
                t.parts++;
                t.one = p;
            } else if (p->id == id) {
                t.erased += p->rows;
            }
        }
    }
    return t;
}

static const char *kind_of(const struct wire_variable *v)
{
    return v->kind == PS_DENSE ? "dense" : "hash64";
}

/* Tensors that were imported and that no server reads. */
static void print_others(const struct ckpt *c)
{
    for (uint32_t i = 0; i < c->manifest.n_lanes; i++) {
        const struct ckpt_file *file = ckpt_other_file(c, i);

        for (uint32_t k = 0; file != NULL && k < file->n_tensors; k++) {
            const struct ckpt_tensor *t = &file->tensors[k];

            printf("%s%s %s", k == 0 ? "\nkept, not served:\n" : "", t->name,
                   t->dtype);
            for (uint32_t d = 0; d < t->n_shape; d++) {
                printf("%s%" PRIu64, d == 0 ? " " : "x", t->shape[d]);
            }
            printf("\n");
        }
    }
}

static void print_summary(const struct ckpt_entry *x, const struct ckpt *c)
{
    const struct ckpt_manifest *m = &c->manifest;
    char time[CHECKPOINT_TIME_BYTES];

    checkpoint_time(m->time_ms, time);
    printf("%s: cut %" PRIu64 " of term %" PRIu64 ", %s UTC%s%s\n", x->folder,
           m->cut, m->term, time, m->name[0] == '\0' ? "" : ", named ",
           m->name);
    if (m->base != 0) {
        printf("an increment: what changed since cut %" PRIu64 "\n", m->base);
    }
    printf("cluster %016" PRIx64 "%016" PRIx64 ", plan %" PRIu64 ", %" PRIu32
           " lanes, %" PRIu32 " sessions, %" PRIu64 " rows, %" PRIu64
           " bytes\n\n",
           m->cluster_high, m->cluster_low, m->plan, m->n_lanes, m->n_sessions,
           x->rows, x->bytes);
    printf("%-32s %-7s %6s %12s %6s  %-20s %s\n", "variable", "kind", "dim",
           "rows", "parts", "updater", "slots");
    for (uint32_t i = 0; i < m->n_variables; i++) {
        const struct wire_variable *v = &m->variables[i];
        struct total t = count(c, v->id);

        printf("%-32s %-7s %6" PRIu32 " %12" PRIu64 " %6" PRIu32 "  %-20s",
               v->name, kind_of(v), v->dim, t.rows, t.parts, v->updater);
        for (uint32_t k = 0; t.one != NULL && k < t.one->n_slots; k++) {
            printf(" %s", t.one->slots[k]);
        }
        printf("\n");
    }
    print_others(c);
}

static json_t *others_json(const struct ckpt *c)
{
    json_t *others = json_array();

    for (uint32_t i = 0; i < c->manifest.n_lanes; i++) {
        const struct ckpt_file *file = ckpt_other_file(c, i);

        for (uint32_t k = 0; file != NULL && k < file->n_tensors; k++) {
            const struct ckpt_tensor *t = &file->tensors[k];
            json_t *shape = json_array();

            for (uint32_t d = 0; d < t->n_shape; d++) {
                json_array_append_new(shape,
                                      json_integer((json_int_t)t->shape[d]));
            }
            json_array_append_new(others,
                                  json_pack("{s:s, s:s, s:o}", "name", t->name,
                                            "dtype", t->dtype, "shape", shape));
        }
    }
    return others;
}

static json_t *summary_json(const struct ckpt_entry *x, const struct ckpt *c)
{
    const struct ckpt_manifest *m = &c->manifest;
    json_t *variables = json_array();

    for (uint32_t i = 0; i < m->n_variables; i++) {
        const struct wire_variable *v = &m->variables[i];
        struct total t = count(c, v->id);
        json_t *slots = json_array();

        for (uint32_t k = 0; t.one != NULL && k < t.one->n_slots; k++) {
            json_array_append_new(slots, json_string(t.one->slots[k]));
        }
        json_array_append_new(
            variables,
            json_pack("{s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:s, s:o}", "name",
                      v->name, "id", (json_int_t)v->id, "kind", kind_of(v),
                      "dim", (json_int_t)v->dim, "rows", (json_int_t)t.rows,
                      "erased", (json_int_t)t.erased, "parts",
                      (json_int_t)t.parts, "updater", v->updater, "slots",
                      slots));
    }
    return json_pack(
        "{s:s, s:I, s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}",
        "folder", x->folder, "cut", (json_int_t)m->cut, "term",
        (json_int_t)m->term, "base", (json_int_t)m->base, "name", m->name,
        "time_ms", (json_int_t)m->time_ms, "plan", (json_int_t)m->plan, "lanes",
        (json_int_t)m->n_lanes, "sessions", (json_int_t)m->n_sessions, "rows",
        (json_int_t)x->rows, "bytes", (json_int_t)x->bytes, "variables",
        variables, "others", others_json(c));
}

struct showing {
    json_t *rows; /* NULL: for people */
    uint64_t left;
};

static void print_floats(const char *name, const float *values, uint32_t dim)
{
    printf("  %s", name);
    for (uint32_t i = 0; i < dim; i++) {
        printf(" %.9g", (double)values[i]);
    }
}

/* JSON has no number for NaN and the infinities: null stands for them. */
static json_t *floats_json(const float *values, uint32_t dim)
{
    json_t *all = json_array();

    for (uint32_t i = 0; i < dim; i++) {
        double x = (double)values[i];

        json_array_append_new(all, isfinite(x) ? json_real(x) : json_null());
    }
    return all;
}

static void row_json(json_t *rows, const struct ckpt_batch *b, uint64_t i)
{
    const struct ckpt_part *p = b->part;
    char key[24];
    json_t *slots = json_object();
    json_t *row;

    snprintf(key, sizeof(key), "%" PRIu64, b->keys[i]);
    for (uint32_t k = 0; k < p->n_slots; k++) {
        json_object_set_new(slots, p->slots[k],
                            floats_json(b->slots[k] + i * p->dim, p->dim));
    }
    row = json_pack("{s:s, s:o}", "key", key, "slots", slots);
    if (b->values != NULL) {
        json_object_set_new(row, "values",
                            floats_json(b->values + i * p->dim, p->dim));
    } else {
        json_object_set_new(row, "erased", json_true());
    }
    json_array_append_new(rows, row);
}

static bool show_batch(void *context, const struct ckpt_batch *b)
{
    struct showing *s = context;
    const struct ckpt_part *p = b->part;

    for (uint64_t i = 0; i < b->n && s->left > 0; i++, s->left--) {
        if (s->rows != NULL) {
            row_json(s->rows, b, i);
            continue;
        }
        printf("%" PRIu64, b->keys[i]);
        if (b->values == NULL) {
            printf("  erased\n");
            continue;
        }
        print_floats("values", b->values + i * p->dim, p->dim);
        for (uint32_t k = 0; k < p->n_slots; k++) {
            print_floats(p->slots[k], b->slots[k] + i * p->dim, p->dim);
        }
        printf("\n");
    }
    return s->left > 0;
}

static int show_rows(const struct checkpoint_options *o, struct fs *fs,
                     const char *folder, const struct ckpt *c, json_t *root,
                     struct err *e)
{
    const struct wire_variable *v = ckpt_variable(c, o->variable);
    struct showing s = {.left = (uint64_t)o->rows};
    int rc;

    if (v == NULL) {
        return err_set(e, PS_ENOTFOUND,
                       "%s has no variable \"%.80s\"; ps-plus inspect lists "
                       "them",
                       folder, o->variable);
    }
    if (o->is_json) {
        s.rows = json_array();
        json_object_set_new(root, "variable", json_string(v->name));
        json_object_set_new(root, "shown", s.rows);
    } else {
        printf("\n");
    }
    if (s.left == 0) {
        return PS_OK;
    }
    rc = ckpt_read_rows(fs, folder, c, v->id, 0, LIMIT_BUCKETS, show_batch, &s,
                        e);
    return rc == PS_ECANCELED ? PS_OK : rc;
}

static int inspect(const struct checkpoint_options *o, struct fs *fs,
                   const struct ckpt_list *list, struct err *e)
{
    const struct ckpt_entry *x;
    json_t *root = NULL;
    struct ckpt *c = NULL;
    int rc = checkpoint_find(o, list, &x, e);

    if (rc == PS_OK) {
        rc = ckpt_open(fs, x->folder, &c, e);
        if (rc != PS_OK) {
            err_wrap(e, "%s", x->folder);
        }
    }
    if (rc != PS_OK) {
        return rc;
    }
    if (o->is_json) {
        root = summary_json(x, c);
    } else {
        print_summary(x, c);
    }
    if (o->variable != NULL) {
        rc = show_rows(o, fs, x->folder, c, root, e);
    }
    ckpt_free(c);
    if (rc != PS_OK || root == NULL) {
        json_decref(root);
        return rc;
    }
    return cli_print_json(root, e);
}

int checkpoint_inspect_main(int argc, char **argv)
{
    struct checkpoint_options o;

    return checkpoint_run(&page, 2, argc, argv, &o, inspect);
}
