/* fuzz_reader.c - the trainer's readers of click logs.
 *
 * The first byte says libFM or CSV and which share of the rows is kept; of CSV
 * the first line of the input is the formula, the rest is the file.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataset.h"
#include "reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int is_right)
{
    if (!is_right) {
        abort();
    }
}

/* Whatever was read up to the end or the error is whole rows. */
static void check_dataset(const struct dataset *d)
{
    check(dataset_widest(d) <= d->n_features);
    for (size_t i = 0; i < d->n_rows; i++) {
        check(d->labels[i] <= 1);
        check(d->starts[i] <= d->starts[i + 1]);
        check(d->starts[i + 1] <= d->n_features);
    }
}

static void read_file(char *text, size_t size, const char *formula,
                      struct reader_share share, int is_csv)
{
    struct reader r = {.path = "input", .file = fmemopen(text, size, "r")};
    struct ps_error e = {0};
    struct dataset d;
    int rc;

    check(r.file != NULL);
    dataset_init(&d);
    rc = is_csv ? reader_csv(&r, formula, share, &d, &e)
                : reader_libfm(&r, share, &d, &e);
    check(rc == PS_OK || rc == PS_EARGUMENT);
    check(rc == PS_OK || e.text[0] != '\0');
    check_dataset(&d);
    dataset_fini(&d);
    reader_close(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader_share share = {0, 1};
    char *text;
    char *line;

    if (size < 2) {
        return 0;
    }
    share.n += data[0] >> 4;
    share.i = (uint64_t)(data[0] >> 1 & 7) % share.n;
    text = malloc(size);
    check(text != NULL);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    line = memchr(text, '\n', size - 1);
    if (data[0] % 2 == 0) {
        read_file(text, size - 1, NULL, share, 0);
    } else if (line == NULL || line + 1 == text + size - 1) {
        read_file(text, size - 1, NULL, share, 1);
    } else {
        *line = '\0';
        line++;
        read_file(line, size - 1 - (size_t)(line - text), text, share, 1);
    }
    free(text);
    return 0;
}
