/* settings.h - what this run of the trainer shall do: options and environment.
 */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <stdint.h>

#include "psplus.h"

/* Room for the curve of held-out quality, and a bound on nonsense. */
#define SETTINGS_EPOCHS_MAX 1000

struct settings {
    const char *model; /* "lr" or "fm" */
    const char *train;
    const char *valid;
    const char *test;
    const char *csv;
    const char *name;
    const char *scheduler;
    const char *tally;
    const char *save; /* name of the checkpoint at the end; NULL: none */
    uint64_t k;       /* 0 for logistic regression */
    uint64_t batch;
    uint64_t epochs;
    uint64_t start_epoch; /* SETTINGS_START_STORED: ask the servers */
    uint64_t seed;
    uint64_t timeout_s;
    uint64_t meet_s;
    uint64_t save_every; /* steps of worker 0; 0: never */
    double lr;
    double l2;
    double sd;
    int durability; /* enum ps_durability */
    int plain;
    int count;
    int quiet;
    int json;
    int eval_only;
    int worker;  /* PS_WORKER_ID, 0 if there is none */
    int workers; /* PS_WORKER_NUM, 1 if there is none */
};

#define SETTINGS_START_STORED SETTINGS_EPOCHS_MAX

/* Reads command line and environment. Returns 1 after --help has been printed,
 * PS_OK, or PS_EARGUMENT. Texts point into argv. */
int settings_read(struct settings *s, int argc, char **argv,
                  struct ps_error *e);

#endif
