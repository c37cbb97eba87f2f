/* flags.h - command line options as a table: {name, kind, place, limits, help}.
 *
 * An option is written --name VALUE or --name=VALUE, a switch --name. From the
 * table come the parser and --help.
 */
#ifndef FLAGS_H
#define FLAGS_H

#include <stddef.h>

#include "psplus.h"

enum flag_kind {
    FLAG_SWITCH = 0, /* int, set to 1 */
    FLAG_TEXT = 1,   /* const char * */
    FLAG_COUNT = 2,  /* uint64_t between min and max */
    FLAG_REAL = 3    /* double between min and max */
};

struct flag {
    const char *name; /* without the dashes */
    enum flag_kind kind;
    void *place; /* where the value goes; what is there is the default */
    double min;
    double max;
    const char *help;
};

/* Reads the command line into the flags' places. Returns 1 if --help was asked
 * for, PS_OK, or PS_EARGUMENT with a sentence that says what would be right. */
int flags_parse(const struct flag *flags, size_t n, int argc, char **argv,
                struct ps_error *e);

/* Prints the options with their present values, which are the defaults if
 * nothing was parsed yet. */
void flags_help(const struct flag *flags, size_t n);

#endif
