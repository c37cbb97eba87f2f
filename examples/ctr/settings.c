#include "settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "flags.h"
#include "store.h"
#include "trouble.h"

static const char usage[] =
    "usage: ctr --train FILE --test FILE [OPTION...]\n"
    "\n"
    "Trains a click model whose parameters are on ps-plus. Run it as\n"
    "    ps-plus local --servers 2 --workers 2 -- ctr --train ... --test ...\n"
    "FILE is libFM text, or CSV if its name ends in .csv.\n"
    "\n";

static int set_durability(struct settings *s, const char *text,
                          struct ps_error *e)
{
    static const char *const names[] = {"memory", "log", "fsync"};

    for (int i = PS_MEMORY; i <= PS_FSYNC; i++) {
        if (strcmp(text, names[i]) == 0) {
            s->durability = i;
            return PS_OK;
        }
    }
    return trouble_set(e, PS_EARGUMENT,
                       "--durability must be memory, log or fsync, not '%.60s'",
                       text);
}

/* A worker's number or their count out of the environment. */
static int read_env(const char *name, int otherwise, int max, int *value,
                    struct ps_error *e)
{
    const char *text = getenv(name);
    char *end;

    *value = otherwise;
    if (text == NULL || *text == '\0') {
        return PS_OK;
    }
    errno = 0;

    int64_t n = strtoll(text, &end, 10);

    if (errno != 0 || *end != '\0' || n < 0 || n > max) {
        return trouble_set(e, PS_EARGUMENT,
                           "%s must be a number up to %d, not '%.60s'", name,
                           max, text);
    }
    *value = (int)n;
    return PS_OK;
}

static int check(struct settings *s, struct ps_error *e)
{
    int is_lr = strcmp(s->model, "lr") == 0;

    if (!is_lr && strcmp(s->model, "fm") != 0) {
        return trouble_set(e, PS_EARGUMENT, "--model must be lr or fm, not %s",
                           s->model);
    }
    if (is_lr) {
        s->k = 0;
    } else if (s->k == 0) {
        return trouble_set(e, PS_EARGUMENT, "--k must be 1 or more for fm");
    }
    if (s->train == NULL && !s->eval_only) {
        return trouble_set(e, PS_EARGUMENT, "--train FILE is missing");
    }
    if (s->valid == NULL && s->test == NULL) {
        return trouble_set(e, PS_EARGUMENT,
                           "--test FILE or --valid FILE is missing");
    }

    int rc = read_env("PS_WORKER_NUM", 1, STORE_WORKERS_MAX, &s->workers, e);

    if (rc == PS_OK) {
        rc = read_env("PS_WORKER_ID", 0, STORE_WORKERS_MAX - 1, &s->worker, e);
    }
    if (rc == PS_OK && s->worker >= s->workers) {
        rc = trouble_set(e, PS_EARGUMENT,
                         "PS_WORKER_ID is %d, which must be less than "
                         "PS_WORKER_NUM, %d",
                         s->worker, s->workers);
    }
    if (rc == PS_OK && s->plain && s->workers != 1) {
        rc = trouble_set(e, PS_EARGUMENT, "--plain is for one worker");
    }
    if (rc == PS_OK && s->plain && (s->durability != PS_MEMORY || s->count)) {
        rc = trouble_set(e, PS_EARGUMENT,
                         "--plain has no --durability and nothing to --count");
    }
    if (rc == PS_OK && s->plain && (s->save != NULL || s->save_every != 0)) {
        rc = trouble_set(e, PS_EARGUMENT, "--plain has nothing to --save");
    }
    return rc;
}

static const struct settings usual = {.model = "fm",
                                      .name = "ctr",
                                      .k = 10,
                                      .lr = 0.1,
                                      .sd = 0.01,
                                      .batch = 256,
                                      .epochs = 20,
                                      .start_epoch = SETTINGS_START_STORED,
                                      .seed = 1,
                                      .timeout_s = 60,
                                      .meet_s = 600};

int settings_read(struct settings *s, int argc, char **argv, struct ps_error *e)
{
    const char *durability = "memory";
    const struct flag flags[] = {
        {"train", FLAG_TEXT, &s->train, 0, 0, "rows to learn from"},
        {"valid", FLAG_TEXT, &s->valid, 0, 0,
         "rows to evaluate on after each epoch; else those of --test"},
        {"test", FLAG_TEXT, &s->test, 0, 0, "rows to evaluate on at the end"},
        {"csv", FLAG_TEXT, &s->csv, 0, 0,
         "formula for CSV, such as 'target~a+b+a:b'"},
        {"model", FLAG_TEXT, &s->model, 0, 0,
         "lr, logistic regression, or fm, factorization machine"},
        {"k", FLAG_COUNT, &s->k, 0, BATCH_FACTORS_MAX, "factors of a feature"},
        {"lr", FLAG_REAL, &s->lr, 0, 1000, "learning rate of Adagrad"},
        {"l2", FLAG_REAL, &s->l2, 0, 1000, "weight of the l2 penalty"},
        {"sd", FLAG_REAL, &s->sd, 0, 1000,
         "standard deviation of initial factors"},
        {"batch", FLAG_COUNT, &s->batch, 1, 65536, "rows of a step"},
        {"epochs", FLAG_COUNT, &s->epochs, 0, SETTINGS_EPOCHS_MAX - 1,
         "times to go through the rows"},
        {"seed", FLAG_COUNT, &s->seed, 0, 1e15, "of shuffling and of factors"},
        {"name", FLAG_TEXT, &s->name, 0, 0,
         "what the model's variables start "
         "with"},
        {"start-epoch", FLAG_COUNT, &s->start_epoch, 0, SETTINGS_EPOCHS_MAX,
         "first epoch; 1000: the first this worker has not finished"},
        {"scheduler", FLAG_TEXT, &s->scheduler, 0, 0,
         "the cluster; else PS_SCHEDULER_KV_PATH"},
        {"timeout", FLAG_COUNT, &s->timeout_s, 1, 86400,
         "seconds to wait for the servers, for each step"},
        {"meet", FLAG_COUNT, &s->meet_s, 1, 86400,
         "seconds to wait for other workers' next epoch"},
        {"tally", FLAG_TEXT, &s->tally, 0, 0,
         "write acknowledged frames to TEXT.<worker>-<pid>"},
        {"save", FLAG_TEXT, &s->save, 0, 0,
         "checkpoint of this name at the end, by worker 0"},
        {"save-every", FLAG_COUNT, &s->save_every, 0, 1e15,
         "checkpoint after so many steps of worker 0, while training goes on"},
        {"durability", FLAG_TEXT, &durability, 0, 0,
         "of the parameters: memory, log (in a server's --log_path) or fsync"},
        {"count", FLAG_SWITCH, &s->count, 0, 0,
         "count on the servers too how many pushes were applied"},
        {"plain", FLAG_SWITCH, &s->plain, 0, 0,
         "train on plain arrays, without servers"},
        {"eval-only", FLAG_SWITCH, &s->eval_only, 0, 0,
         "evaluate what is on the servers"},
        {"json", FLAG_SWITCH, &s->json, 0, 0,
         "result as one line of JSON on stdout"},
        {"quiet", FLAG_SWITCH, &s->quiet, 0, 0, "no progress, no epochs"},
    };
    size_t n = sizeof(flags) / sizeof(flags[0]);

    *s = usual;

    int rc = flags_parse(flags, n, argc, argv, e);

    if (rc == 1) {
        (void)fputs(usage, stdout);
        flags_help(flags, n);
        return 1;
    }
    if (rc == PS_OK) {
        rc = set_durability(s, durability, e);
    }
    return rc == PS_OK ? check(s, e) : rc;
}
