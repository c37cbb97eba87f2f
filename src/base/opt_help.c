/* opt_help.c - what --help and --print-config print of an option table. */
#include "opt.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    HELP_COLUMN = 32, /* where the sentences begin */
    HELP_WIDTH = 79
};

static bool takes_value(const struct opt *o)
{
    return o->type != OPT_FLAG;
}

/* "  --name, -brief VALUE"; returns its width. */
static int print_names(const struct opt *o, FILE *f)
{
    bool is_optional = (o->flags & OPT_OPTIONAL_VALUE) != 0;
    int width = fprintf(f, "  --%s", o->name);

    if (o->brief != NULL) {
        width += fprintf(f, ", -%s", o->brief);
    }
    if (takes_value(o)) {
        width += fprintf(f, is_optional ? "[=%s]" : " %s",
                         o->value == NULL ? "VALUE" : o->value);
    }
    return width;
}

/* Prints the words of text from column `at` on, in lines that begin at
 * HELP_COLUMN; returns the column where it ends. */
static int print_words(const char *text, int at, FILE *f)
{
    while (*text != '\0') {
        int size = (int)strcspn(text, " ");

        if (at > HELP_COLUMN && at + 1 + size > HELP_WIDTH) {
            fputc('\n', f);
            at = 0;
        }
        if (at < HELP_COLUMN) {
            at += fprintf(f, "%*s", HELP_COLUMN - at, "");
        } else if (at > HELP_COLUMN) {
            at += fprintf(f, " ");
        }
        at += fprintf(f, "%.*s", size, text);
        text += size;
        text += strspn(text, " ");
    }
    return at;
}

void opt_print_help(const struct opt *table, size_t n, void *file)
{
    for (size_t i = 0; i < n; i++) {
        const struct opt *o = &table[i];
        char more[128] = "";
        int at = print_names(o, file);

        if (at >= HELP_COLUMN - 1) {
            fputc('\n', file);
            at = 0;
        }
        if ((o->flags & OPT_REQUIRED) != 0) {
            snprintf(more, sizeof(more), "(required)");
        } else if (o->type == OPT_LIST) {
            snprintf(more, sizeof(more), "(may be given several times)");
        } else if (o->fallback != NULL && o->fallback[0] != '\0') {
            snprintf(more, sizeof(more), "(default %s)", o->fallback);
        }
        at = print_words(o->help, at, file);
        print_words(more, at, file);
        fputc('\n', file);
    }
}

/* A line for each item of a list, and one without a value for an empty one. */
static void print_list(const char *name, const struct opt_list *list, FILE *f)
{
    if (list->n == 0) {
        fprintf(f, "%s =\n", name);
    }
    for (size_t i = 0; i < list->n; i++) {
        fprintf(f, "%s = %s\n", name, list->items[i]);
    }
}

void opt_print_config(const struct opt *table, size_t n, const void *in,
                      void *file)
{
    for (size_t i = 0; i < n; i++) {
        const struct opt *o = &table[i];
        const void *p = (const char *)in + o->offset;

        if ((o->flags & OPT_ALONE) != 0) {
            continue; /* --help is not configuration */
        }
        if (o->type == OPT_LIST) {
            print_list(o->name, p, file);
        } else if (o->type == OPT_INT) {
            fprintf(file, "%s = %" PRId64 "\n", o->name, *(const int64_t *)p);
        } else if (o->type == OPT_TEXT) {
            const char *text = *(const char *const *)p;
            bool is_empty = text == NULL || text[0] == '\0';

            fprintf(file, "%s =%s%s\n", o->name, is_empty ? "" : " ",
                    is_empty ? "" : text);
        } else {
            fprintf(file, "%s = %s\n", o->name,
                    *(const bool *)p ? "true" : "false");
        }
    }
}
