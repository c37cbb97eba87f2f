/* reader.h - reads a click log from a text file, libFM or CSV.
 *
 * What a line must look like is said in reader_libfm.c and reader_csv.c. A
 * line that does not is an error that names file, line and what is wrong:
 * silently skipped rows make a model nobody can repeat.
 */
#ifndef READER_H
#define READER_H

#include <stdio.h>

#include "dataset.h"
#include "psplus.h"

/* Which rows to keep: those whose index mod n is i. A worker keeps its share,
 * so W workers need the memory of one. */
struct reader_share {
    uint64_t i;
    uint64_t n;
};

/* A text file, line by line, and a way to complain about the line. */
struct reader {
    const char *path;
    FILE *file;
    char *line; /* the current line, without its end */
    size_t line_room;
    uint64_t line_number;
};

/* Reads the whole file into d, after what d has already. formula is the CSV
 * formula for files that end in .csv, NULL if there is none; every other file
 * is libFM. Errors: PS_EIO, PS_EARGUMENT. */
int reader_load(const char *path, const char *formula,
                struct reader_share share, struct dataset *d,
                struct ps_error *e);

/* For the two formats. reader_line returns 1 and the next line, or 0 at the
 * end, or a status. */
int reader_open(struct reader *r, const char *path, struct ps_error *e);
void reader_close(struct reader *r);
int reader_line(struct reader *r, struct ps_error *e);
__attribute__((format(printf, 3, 4))) int
reader_complain(const struct reader *r, struct ps_error *e, const char *format,
                ...);

/* A label, 1, 0 or -1, as 1 or 0; -1 if it is none of them. */
int reader_label(const char *text);

int reader_libfm(struct reader *r, struct reader_share share, struct dataset *d,
                 struct ps_error *e);
int reader_csv(struct reader *r, const char *formula, struct reader_share share,
               struct dataset *d, struct ps_error *e);

#endif
