/* result.h - what the trainer tells: a line for each epoch, and the result for
 * a person or as one line of JSON. */
#ifndef RESULT_H
#define RESULT_H

#include "train.h"

/* Held-out quality after an epoch of worker 0; silent with --quiet. Goes to
 * stderr where stdout is for the JSON. */
void result_epoch(const struct settings *s, int epoch, double loss,
                  const struct quality *q);

/* The end. With --json one line on stdout, from every worker. */
void result_end(const struct settings *s, const struct train_result *result,
                const struct store_counts *counts);

#endif
