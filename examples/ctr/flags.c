#include "flags.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trouble.h"

static const struct flag *find(const struct flag *flags, size_t n,
                               const char *name, size_t name_size)
{
    for (size_t i = 0; i < n; i++) {
        if (strlen(flags[i].name) == name_size &&
            memcmp(flags[i].name, name, name_size) == 0) {
            return &flags[i];
        }
    }
    return NULL;
}

static int set_count(const struct flag *f, const char *text, struct ps_error *e)
{
    char *end;

    errno = 0;

    uint64_t value = strtoull(text, &end, 10);

    if (errno != 0 || *end != '\0' || *text < '0' || *text > '9' ||
        (double)value < f->min || (double)value > f->max) {
        return trouble_set(e, PS_EARGUMENT,
                           "--%s must be a whole number from %.0f to %.0f, "
                           "not '%.60s'",
                           f->name, f->min, f->max, text);
    }
    *(uint64_t *)f->place = value;
    return PS_OK;
}

static int set_real(const struct flag *f, const char *text, struct ps_error *e)
{
    char *end;

    errno = 0;

    double value = strtod(text, &end);

    if (errno != 0 || *end != '\0' || end == text ||
        !(value >= f->min && value <= f->max)) {
        return trouble_set(e, PS_EARGUMENT,
                           "--%s must be a number from %g to %g, not '%.60s'",
                           f->name, f->min, f->max, text);
    }
    *(double *)f->place = value;
    return PS_OK;
}

static int set_value(const struct flag *f, const char *text, struct ps_error *e)
{
    switch (f->kind) {
    case FLAG_COUNT:
        return set_count(f, text, e);
    case FLAG_REAL:
        return set_real(f, text, e);
    case FLAG_TEXT:
        *(const char **)f->place = text;
        return PS_OK;
    case FLAG_SWITCH:
    default:
        *(int *)f->place = 1;
        return PS_OK;
    }
}

int flags_parse(const struct flag *flags, size_t n, int argc, char **argv,
                struct ps_error *e)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];

        if (strcmp(word, "--help") == 0) {
            return 1;
        }
        if (strncmp(word, "--", 2) != 0) {
            return trouble_set(e, PS_EARGUMENT,
                               "'%.60s' is not an option; see --help", word);
        }

        const char *name = word + 2;
        const char *value = strchr(name, '=');
        size_t size = value != NULL ? (size_t)(value - name) : strlen(name);
        const struct flag *f = find(flags, n, name, size);

        if (f == NULL) {
            return trouble_set(e, PS_EARGUMENT, "no option '%.60s'; see --help",
                               word);
        }
        if (f->kind == FLAG_SWITCH && value != NULL) {
            return trouble_set(e, PS_EARGUMENT, "--%s takes no value", f->name);
        }
        if (value != NULL) {
            value++;
        } else if (f->kind != FLAG_SWITCH) {
            if (i + 1 == argc) {
                return trouble_set(e, PS_EARGUMENT, "--%s needs a value",
                                   f->name);
            }
            value = argv[++i];
        }

        int rc = set_value(f, value, e);

        if (rc != PS_OK) {
            return rc;
        }
    }
    return PS_OK;
}

void flags_help(const struct flag *flags, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct flag *f = &flags[i];
        char name[40];

        (void)snprintf(name, sizeof(name), "--%s%s", f->name,
                       f->kind == FLAG_SWITCH  ? ""
                       : f->kind == FLAG_TEXT  ? " TEXT"
                       : f->kind == FLAG_COUNT ? " N"
                                               : " X");
        (void)printf("  %-18s %s", name, f->help);
        if (f->kind == FLAG_COUNT) {
            (void)printf(" (%llu)", (unsigned long long)*(uint64_t *)f->place);
        } else if (f->kind == FLAG_REAL) {
            (void)printf(" (%g)", *(double *)f->place);
        } else if (f->kind == FLAG_TEXT && *(const char **)f->place != NULL) {
            (void)printf(" (%s)", *(const char **)f->place);
        }
        (void)printf("\n");
    }
}
