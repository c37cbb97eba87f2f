/* CSV with a header line, and a formula that says what to learn from what:
 *
 *     late~carrier+origin+dest+carrier:dest
 *
 * The target column comes before `~`; its cells are 1, 0 or -1. After it stand
 * the features: a column, or a cross of two to four columns joined with `:`,
 * which is one feature for each combination of their cells (R writes it so
 * too). A cell is text, never a number; an empty cell is a value like any
 * other. Cells may be in double quotes, with "" for a quote inside.
 */
#include "reader.h"

#include <stdio.h>
#include <string.h>

#include "featkey.h"
#include "trouble.h"

#define COLUMNS_MAX 256
#define FEATURES_MAX 128
#define CROSS_MAX 4
#define NAMES_MAX 4096

struct feature {
    size_t n;
    size_t columns[CROSS_MAX];
};

struct table {
    size_t n_columns;
    size_t n_features;
    size_t target;
    struct feature features[FEATURES_MAX];
    const char *names[COLUMNS_MAX]; /* of the columns, into name_text */
    char name_text[NAMES_MAX];
    char formula_text[NAMES_MAX];
};

/* Takes one cell off *rest, unquoting it in place; NULL if a quote is open.
 * *rest is NULL after the last. */
static char *take_cell(char **rest)
{
    char *cell = *rest;
    char *from = cell;
    char *to = cell;

    if (*from != '"') {
        from = strchr(cell, ',');
        *rest = from == NULL ? NULL : from + 1;
        if (from != NULL) {
            *from = '\0';
        }
        return cell;
    }
    from++;
    while (*from != '\0' && (*from != '"' || from[1] == '"')) {
        from += *from == '"' ? 1 : 0;
        *to++ = *from++;
    }
    if (*from != '"' || (from[1] != ',' && from[1] != '\0')) {
        return NULL;
    }
    *rest = from[1] == ',' ? from + 2 : NULL;
    *to = '\0';
    return cell;
}

/* Splits the current line into at most COLUMNS_MAX cells. */
static int split_line(const struct reader *r, const char **cells, size_t *n,
                      struct ps_error *e)
{
    char *rest = r->line;

    *n = 0;
    while (rest != NULL) {
        if (*n == COLUMNS_MAX) {
            return reader_complain(r, e, "more than %d columns", COLUMNS_MAX);
        }
        const char *cell = take_cell(&rest);

        if (cell == NULL) {
            return reader_complain(r, e, "column %zu: a quote is not closed",
                                   *n + 1);
        }
        cells[*n] = cell;
        (*n)++;
    }
    return PS_OK;
}

static int read_header(struct table *t, struct reader *r, struct ps_error *e)
{
    int rc = reader_line(r, e);

    if (rc == 0) {
        return reader_complain(r, e, "the file is empty: no header line");
    }
    if (rc == 1) {
        rc = split_line(r, t->names, &t->n_columns, e);
    }
    if (rc != PS_OK) {
        return rc;
    }

    char *to = t->name_text;
    char *end = t->name_text + sizeof(t->name_text);

    for (size_t i = 0; i < t->n_columns; i++) {
        size_t size = strlen(t->names[i]) + 1;

        if (size > (size_t)(end - to)) {
            return reader_complain(r, e, "the header line is too long");
        }
        memcpy(to, t->names[i], size);
        t->names[i] = to;
        to += size;
    }
    return PS_OK;
}

static int find_column(const struct table *t, const struct reader *r,
                       const char *name, size_t *column, struct ps_error *e)
{
    for (size_t i = 0; i < t->n_columns; i++) {
        if (strcmp(t->names[i], name) == 0) {
            *column = i;
            return PS_OK;
        }
    }
    return reader_complain(r, e,
                           "the formula names a column '%.60s' that "
                           "the header does not have",
                           name);
}

/* Resolves `a:b:c` into columns. */
static int parse_cross(const struct table *t, const struct reader *r,
                       char *text, struct feature *f, struct ps_error *e)
{
    char *rest;
    char *name = strtok_r(text, ":", &rest);

    f->n = 0;
    while (name != NULL) {
        if (f->n == CROSS_MAX) {
            return reader_complain(
                r, e, "a cross of more than %d columns in the formula",
                CROSS_MAX);
        }

        int rc = find_column(t, r, name, &f->columns[f->n], e);

        if (rc != PS_OK) {
            return rc;
        }
        f->n++;
        name = strtok_r(NULL, ":", &rest);
    }
    return PS_OK;
}

static int parse_formula(struct table *t, const struct reader *r,
                         const char *formula, struct ps_error *e)
{
    if (formula == NULL) {
        return trouble_set(e, PS_EARGUMENT,
                           "%s is CSV: say with --csv what to learn from "
                           "what, such as 'target~column+column:column'",
                           r->path);
    }
    if (strlen(formula) >= sizeof(t->formula_text)) {
        return trouble_set(e, PS_EARGUMENT, "the formula is too long");
    }
    memcpy(t->formula_text, formula, strlen(formula) + 1);

    char *rest;
    char *tilde = strchr(t->formula_text, '~');

    if (tilde == NULL) {
        return trouble_set(e, PS_EARGUMENT,
                           "no '~' in the formula '%.100s': it must be "
                           "target~column+column:column",
                           formula);
    }
    *tilde = '\0';

    int rc = find_column(t, r, t->formula_text, &t->target, e);
    char *word = strtok_r(tilde + 1, "+", &rest);

    while (rc == PS_OK && word != NULL) {
        if (t->n_features == FEATURES_MAX) {
            return trouble_set(e, PS_EARGUMENT,
                               "more than %d features in the formula",
                               FEATURES_MAX);
        }
        rc = parse_cross(t, r, word, &t->features[t->n_features], e);
        t->n_features++;
        word = strtok_r(NULL, "+", &rest);
    }
    if (rc == PS_OK && t->n_features == 0) {
        rc = trouble_set(e, PS_EARGUMENT, "no features in the formula '%.100s'",
                         formula);
    }
    return rc;
}

static uint64_t make_key(const struct table *t, const struct feature *f,
                         const char *const *cells)
{
    uint64_t key = FEATKEY_START;

    for (size_t i = 0; i < f->n; i++) {
        key = featkey_text(key, t->names[f->columns[i]]);
        key = featkey_text(key, cells[f->columns[i]]);
    }
    return featkey_end(key);
}

static int parse_row(const struct table *t, const struct reader *r, int keep,
                     struct dataset *d, struct ps_error *e)
{
    const char *cells[COLUMNS_MAX] = {NULL};
    size_t n;
    int rc = split_line(r, cells, &n, e);

    if (rc != PS_OK) {
        return rc;
    }
    if (n != t->n_columns) {
        return reader_complain(r, e, "%zu columns, where the header has %zu", n,
                               t->n_columns);
    }

    int label = reader_label(cells[t->target]);

    if (label < 0) {
        return reader_complain(r, e, "%.40s must be 1, 0 or -1, not '%.40s'",
                               t->names[t->target], cells[t->target]);
    }
    if (!keep) {
        return PS_OK;
    }
    for (size_t i = 0; i < t->n_features; i++) {
        dataset_add_feature(d, make_key(t, &t->features[i], cells), 1.0F);
    }
    dataset_end_row(d, label);
    return PS_OK;
}

int reader_csv(struct reader *r, const char *formula, struct reader_share share,
               struct dataset *d, struct ps_error *e)
{
    struct table t = {0};
    uint64_t row = 0;
    int rc = read_header(&t, r, e);

    if (rc == PS_OK) {
        rc = parse_formula(&t, r, formula, e);
    }
    if (rc == PS_OK) {
        rc = reader_line(r, e);
    }
    while (rc == 1) {
        if (r->line[0] != '\0') {
            if (d->n_rows == DATASET_ROWS_MAX) {
                return reader_complain(r, e, "too many rows for one worker");
            }
            rc = parse_row(&t, r, row % share.n == share.i, d, e);
            if (rc != PS_OK) {
                return rc;
            }
            row++;
        }
        rc = reader_line(r, e);
    }
    return rc;
}
