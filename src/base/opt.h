/* opt.h - the option parser, over a table of options.
 *
 * Each option works with one dash or two, with `=` or a space before its
 * value, under its short or its long name, never abbreviated. An unknown
 * option, a value that is missing or out of range, or a required option that
 * is not there is one clear line that says what would be right, and so is an
 * option given twice that is not a list. A value that begins with a dash is
 * taken as such only if it is a number or stands behind `=`.
 */
#ifndef OPT_H
#define OPT_H

#include "err.h"

enum opt_type {
    OPT_TEXT, /* const char *, points into argv */
    OPT_INT,  /* int64_t, min..max */
    OPT_BOOL, /* bool; true or false in any case, 1 or 0 */
    OPT_FLAG, /* bool; no value */
    OPT_LIST  /* struct opt_list, repeatable text */
};

enum opt_flags {
    OPT_REQUIRED = 1,
    /* Without a value a bool is true and anything else is its fallback. A value
     * has to stand behind `=`. */
    OPT_OPTIONAL_VALUE = 2,
    /* Such as --help: where it is given, nothing else is required. */
    OPT_ALONE = 4
};

struct opt_list {
    const char **items; /* mem_new'd by opt_parse; the caller frees it with
                           opt_list_free. The texts point into argv. */
    size_t n;
};

struct opt {
    const char *name;  /* long, without dashes */
    const char *brief; /* short, without dashes, or NULL */
    enum opt_type type;
    uint32_t flags; /* of enum opt_flags */
    size_t offset;  /* into the options struct */
    int64_t min, max;
    const char *fallback; /* default as text, NULL: none */
    const char *help;     /* one sentence */
    const char *value;    /* what to call the value in --help, such as MB */
};

/* Parses argv[0..argc), which is without the program's name, into *out. What is
 * neither given nor has a fallback is NULL, 0, false or an empty list.
 * Positional words (without a dash) go to rest (may be NULL: refused);
 * everything behind a lone `--` too. PS_EARGUMENT with the line to print; all
 * lists are empty then. */
int opt_parse(const struct opt *table, size_t n, int argc, char **argv,
              void *out, struct opt_list *rest, struct err *e) MUST_USE;
void opt_list_free(struct opt_list *list);
/* The list for --help, aligned, on stdout's FILE (void * keeps stdio out). */
void opt_print_help(const struct opt *table, size_t n, void *file);
/* name = value lines of the parsed struct, for --print-config. */
void opt_print_config(const struct opt *table, size_t n, const void *in,
                      void *file);

#endif
