/* progress.h - how far training is: rows a second, loss, time left.
 *
 * On a terminal one line is rewritten a few times a second. Elsewhere, such as
 * in a log file, it is a plain line every ten seconds.
 */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdint.h>
#include <stdio.h>

struct progress {
    FILE *out; /* NULL: says nothing */
    int is_terminal;
    int is_drawn; /* the line is on the terminal now */
    int epochs;
    uint64_t rows_epoch; /* rows of an epoch of this worker */
    uint64_t rows_total; /* rows to train in all */
    uint64_t rows_done;
    double started;
    double next; /* when to say something again */
};

/* out is where the lines go; NULL for a worker that stays silent. */
void progress_init(struct progress *p, FILE *out, int is_terminal,
                   uint64_t rows_epoch, int first_epoch, int epochs);

/* After each batch. loss is the mean over the rows of this epoch so far. */
void progress_step(struct progress *p, int epoch, uint64_t rows, double loss);

/* Takes the line off the terminal before something else is printed. */
void progress_clear(struct progress *p);

/* The line itself, for a given moment. */
void progress_text(const struct progress *p, int epoch, double loss, double now,
                   char *text, size_t size);

#endif
