/* libFM text, one row a line:
 *
 *     label index:value index:value ...
 *
 * label is 1 or -1 (or 0), index a whole number, value a finite number. Parts
 * are separated by spaces or tabs; an empty line is not a row. An index means
 * the same feature wherever in the line it stands.
 */
#include "reader.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "featkey.h"

/* Parses `index:value`; 0 if it is something else. */
static int parse_feature(const char *text, uint64_t *index, float *value)
{
    char *end;

    if (*text < '0' || *text > '9') {
        return 0;
    }
    errno = 0;
    *index = strtoull(text, &end, 10);
    if (errno != 0 || *end != ':') {
        return 0;
    }
    text = end + 1;
    if (text[0] == '1' && text[1] == '\0') {
        *value = 1.0F; /* nearly all of them */
        return 1;
    }
    *value = strtof(text, &end);
    return end != text && *end == '\0' && isfinite(*value);
}

static int parse_row(struct reader *r, int keep, struct dataset *d,
                     struct ps_error *e)
{
    char *rest;
    char *word = strtok_r(r->line, " \t", &rest);
    int label = reader_label(word);

    if (label < 0) {
        return reader_complain(
            r, e, "the label must be 1, 0 or -1, not '%.40s'", word);
    }
    for (word = strtok_r(NULL, " \t", &rest); word != NULL;
         word = strtok_r(NULL, " \t", &rest)) {
        uint64_t index;
        float value;

        if (!parse_feature(word, &index, &value)) {
            return reader_complain(
                r, e, "a feature must be index:value, not '%.40s'", word);
        }
        if (keep) {
            dataset_add_feature(d, featkey_index(index), value);
        }
    }
    if (keep) {
        dataset_end_row(d, label);
    }
    return PS_OK;
}

int reader_libfm(struct reader *r, struct reader_share share, struct dataset *d,
                 struct ps_error *e)
{
    uint64_t row = 0;
    int rc = reader_line(r, e);

    while (rc == 1) {
        if (r->line[strspn(r->line, " \t")] != '\0') {
            if (d->n_rows == DATASET_ROWS_MAX) {
                return reader_complain(r, e, "too many rows for one worker");
            }
            rc = parse_row(r, row % share.n == share.i, d, e);
            if (rc != PS_OK) {
                return rc;
            }
            row++;
        }
        rc = reader_line(r, e);
    }
    return rc;
}
