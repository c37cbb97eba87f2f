/* The parameters on ps-plus. This is the file to read to see how the library is
 * used; the rest of the trainer would be the same without it.
 *
 *     <name>.b     dense   1 row of 1      bias
 *     <name>.w     hash64  rows of 1       weight of each key, from 0
 *     <name>.v     hash64  rows of k       factors of each key, normal
 *     <name>.done  hash64  rows of 1       by worker: epochs it has finished;
 *                                          logged where servers have logs
 *     <name>.count hash64  rows of 1       COUNTERS a worker, with --count:
 *                                          each push adds 1 to each
 *
 * A step is two requests, each one ps_submit over all variables: pull the
 * batch's keys, push their gradients. The servers run Adagrad. The finished
 * epochs are assigned, not added, so they may be pushed again where a push was
 * not applied.
 *
 * What may become of a push:
 *     acknowledged    counted;
 *     no answer       ps_resolve() settles it: it was applied after all, or it
 *                     is canceled for good and counts as dropped;
 *     refused because the server that held the rows has died and came back
 *     without them: dropped. Training goes on, one gradient poorer.
 * Everything else ends the program with a message.
 *
 * A checkpoint holds the pushes of before one boundary of each worker's steps
 * and the position of its reader there: what is told with ps_step() after each
 * step.
 *
 * The tally is for tests that kill this program: after every push the file
 * TALLY.<worker>-<process> says how many steps and frames were acknowledged to
 * this life. It is one pwrite, so a killed process leaves the old line or the
 * new one, and what it never wrote down is at most the push in flight.
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "need.h"
#include "trouble.h"

/* A push that ends as not applied is rare, three in a row are no accident. */
#define FINISH_TRIES 3
/* So many that each shard has some, however keys are spread. */
#define COUNTERS 64

struct remote {
    struct store base;
    ps_client *client;
    ps_variable *bias;
    ps_variable *weights;
    ps_variable *factors; /* NULL for logistic regression */
    ps_variable *done;
    ps_variable *counters; /* NULL: not asked for */
    uint64_t counter_keys[COUNTERS];
    float counted_before[COUNTERS]; /* by former lives */
    struct store_counts counts;
    ps_request *save; /* the newest, NULL: none */
    int worker;
    int timeout_ms;
    int tally; /* descriptor, -1: none */
};

static struct remote *remote_of(struct store *s)
{
    return (struct remote *)(void *)s; /* base is its first field */
}

/* Says what failed, and for a deadline what was waited for. */
static int complain(struct remote *r, int rc, const char *what,
                    struct ps_error *e)
{
    char waits_for[160] = "";

    if (rc == PS_ETIMEOUT) {
        ps_client_waits_for(r->client, waits_for, sizeof(waits_for));
    }
    return trouble_set(e, rc, "%s: %s (%s)%s%s", what, ps_status_text(rc),
                       ps_status_name(rc), waits_for[0] != '\0' ? ": " : "",
                       waits_for);
}

static void write_tally(const struct remote *r)
{
    char line[128];

    if (r->tally < 0) {
        return;
    }
    int n = snprintf(line, sizeof(line),
                     "steps %012llu step_frames %012llu frames_acked %012llu\n",
                     (unsigned long long)r->counts.steps,
                     (unsigned long long)r->counts.step_frames,
                     (unsigned long long)r->counts.frames_acked);

    if (pwrite(r->tally, line, (size_t)n, 0) != n) {
        (void)fprintf(stderr, "cannot write the tally: %s\n", strerror(errno));
    }
}

/* Whether training can go on without a push, or a frame of it. */
static int is_bearable(int status)
{
    return status == PS_OK || status == PS_ECANCELED || status == PS_ELANE ||
           status == PS_EDATALOSS || status == PS_EPLAN;
}

/* Counts what was applied of a settled push of status rc. Where rc is PS_OK a
 * frame that is not has been sent again under another number. Returns rc or the
 * status of a frame, whichever training cannot go on with, else PS_OK. */
static int count_frames(struct remote *r, const ps_request *request, int rc,
                        int is_step)
{
    int verdict = is_bearable(rc) ? PS_OK : rc;

    for (size_t i = 0; i < ps_request_frames(request); i++) {
        struct ps_frame_outcome frame;
        int frame_rc = ps_request_frame(request, i, &frame);

        if (frame_rc != PS_OK) {
            return frame_rc;
        }
        if (frame.status == PS_OK) {
            r->counts.frames_acked++;
            r->counts.step_frames += is_step ? 1 : 0;
        } else if (rc != PS_OK && !is_bearable(frame.status)) {
            verdict = frame.status;
        }
    }
    return verdict;
}

/* Waits for a push until it is settled and counts what became of it. */
static int settle(struct remote *r, ps_request *request, int is_step,
                  struct ps_error *e)
{
    int rc = ps_wait(request, r->timeout_ms);

    if (rc == PS_ETIMEOUT || rc == PS_EUNSURE) {
        rc = ps_resolve(request, r->timeout_ms);
    }
    if (rc == PS_ETIMEOUT || rc == PS_EUNSURE) {
        return complain(r, rc, "push", e);
    }

    int verdict = count_frames(r, request, rc, is_step);

    if (verdict != PS_OK) {
        return complain(r, verdict, "push", e);
    }
    if (rc != PS_OK) {
        r->counts.pushes_dropped++;
        (void)fprintf(stderr, "worker %d: a push was not applied: %s\n",
                      r->worker, ps_status_text(rc));
    }
    r->counts.steps += is_step ? 1 : 0;
    write_tally(r);
    return PS_OK;
}

static int pull(struct store *s, struct batch *b, struct ps_error *e)
{
    struct remote *r = remote_of(s);
    struct ps_op ops[] = {
        {.variable = r->bias, .kind = PS_PULL, .out = &b->bias},
        {.variable = r->weights,
         .kind = PS_PULL,
         .keys = b->keys,
         .n_keys = b->n_keys,
         .out = b->weights},
        {.variable = r->factors,
         .kind = PS_PULL,
         .keys = b->keys,
         .n_keys = b->n_keys,
         .out = b->factors},
    };
    ps_request *request = NULL;
    int rc = ps_submit(r->client, ops, b->k == 0 ? 2 : 3, &request);

    if (rc == PS_OK) {
        rc = ps_wait(request, r->timeout_ms);
    }
    if (rc != PS_OK) {
        rc = complain(r, rc, "pull", e);
    }
    ps_request_free(request);
    return rc;
}

static int push(struct store *s, const struct batch *b, struct ps_error *e)
{
    struct remote *r = remote_of(s);
    struct ps_op ops[] = {
        {.variable = r->bias, .kind = PS_PUSH, .values = &b->bias_grad},
        {.variable = r->weights,
         .kind = PS_PUSH,
         .keys = b->keys,
         .n_keys = b->n_keys,
         .values = b->weight_grads},
        {.variable = r->factors,
         .kind = PS_PUSH,
         .keys = b->keys,
         .n_keys = b->n_keys,
         .values = b->factor_grads},
        {.variable = NULL}, /* the counters, perhaps */
    };
    size_t n = b->k == 0 ? 2 : 3;
    float ones[COUNTERS];
    ps_request *request = NULL;

    if (r->counters != NULL) {
        for (size_t i = 0; i < COUNTERS; i++) {
            ones[i] = 1.0F;
        }
        ops[n++] = (struct ps_op){.variable = r->counters,
                                  .kind = PS_PUSH,
                                  .keys = r->counter_keys,
                                  .n_keys = COUNTERS,
                                  .values = ones};
    }

    int rc = ps_submit(r->client, ops, n, &request);

    if (rc == PS_OK) {
        rc = settle(r, request, 1, e);
    } else {
        rc = complain(r, rc, "push", e);
    }
    ps_request_free(request);
    return rc;
}

static int finish_epoch(struct store *s, int epochs, struct ps_error *e)
{
    struct remote *r = remote_of(s);
    const uint64_t key = (uint64_t)r->worker;
    const float value = (float)epochs;
    struct ps_op op = {.variable = r->done,
                       .kind = PS_PUSH,
                       .keys = &key,
                       .n_keys = 1,
                       .values = &value};

    for (int i = 0; i < FINISH_TRIES; i++) {
        uint64_t dropped = r->counts.pushes_dropped;
        ps_request *request = NULL;
        int rc = ps_submit(r->client, &op, 1, &request);

        if (rc == PS_OK) {
            rc = settle(r, request, 0, e);
        } else {
            rc = complain(r, rc, "push of the finished epochs", e);
        }
        ps_request_free(request);
        if (rc != PS_OK || r->counts.pushes_dropped == dropped) {
            return rc;
        }
    }
    return trouble_set(e, PS_ECANCELED,
                       "the finished epochs were pushed %d times and never "
                       "applied",
                       FINISH_TRIES);
}

static int step(struct store *s, const char *position, struct ps_error *e)
{
    struct remote *r = remote_of(s);
    int rc = ps_step(r->client, position, strlen(position));

    return rc == PS_OK ? rc : complain(r, rc, "step", e);
}

/* The end of the newest save, for timeout_ms. */
static int end_save(struct remote *r, int timeout_ms, struct ps_error *e)
{
    struct ps_save_state end;
    int rc = ps_wait(r->save, timeout_ms);

    if (rc == PS_OK || ps_request_save(r->save, &end) != PS_OK ||
        end.why[0] == '\0') {
        return rc == PS_OK ? rc : complain(r, rc, "save", e);
    }
    return trouble_set(e, rc, "save: %s", end.why);
}

static int save(struct store *s, const char *name, int waits,
                struct ps_error *e)
{
    struct remote *r = remote_of(s);

    if (r->save != NULL) {
        /* Not two at once: the second would only wait for the first. */
        int former = end_save(r, waits ? r->timeout_ms : -1, e);

        if (former == PS_ETIMEOUT) {
            return waits ? former : PS_OK; /* not so often, then */
        }
        if (former != PS_OK) {
            (void)fprintf(stderr, "worker %d: %s\n", r->worker, e->text);
        }
        ps_request_free(r->save);
        r->save = NULL;
    }

    int rc = ps_save(r->client, name, &r->save, e);

    return rc == PS_OK && waits ? end_save(r, r->timeout_ms, e) : rc;
}

static int finished(struct store *s, float epochs[STORE_WORKERS_MAX],
                    struct ps_error *e)
{
    struct remote *r = remote_of(s);
    uint64_t keys[STORE_WORKERS_MAX];

    for (size_t i = 0; i < STORE_WORKERS_MAX; i++) {
        keys[i] = i;
    }

    int rc = ps_pull(r->done, keys, STORE_WORKERS_MAX, epochs, r->timeout_ms);

    return rc == PS_OK ? rc : complain(r, rc, "pull of the finished epochs", e);
}

static int pull_counters(struct remote *r, float out[COUNTERS],
                         struct ps_error *e)
{
    int rc =
        ps_pull(r->counters, r->counter_keys, COUNTERS, out, r->timeout_ms);

    return rc == PS_OK ? rc : complain(r, rc, "pull of the counters", e);
}

static int counts(struct store *s, struct store_counts *out, struct ps_error *e)
{
    struct remote *r = remote_of(s);
    struct ps_client_counters c;
    float now[COUNTERS];

    *out = r->counts;
    ps_client_counters(r->client, &c);
    out->frames_lost = c.losses;
    if (r->counters == NULL) {
        return PS_OK;
    }

    int rc = pull_counters(r, now, e);

    if (rc != PS_OK) {
        return rc;
    }
    out->is_counted = 1;
    out->counted_least = UINT64_MAX;
    for (size_t i = 0; i < COUNTERS; i++) {
        uint64_t n = (uint64_t)(now[i] - r->counted_before[i]);

        out->counted_least = n < out->counted_least ? n : out->counted_least;
        out->counted_most = n > out->counted_most ? n : out->counted_most;
    }
    return PS_OK;
}

static void free_remote(struct store *s)
{
    struct remote *r = remote_of(s);

    ps_request_free(r->save);
    (void)ps_close(r->client, r->timeout_ms);
    if (r->tally >= 0) {
        (void)close(r->tally);
    }
    free(r);
}

static int declare(struct remote *r, const struct store_config *config,
                   const char *suffix, struct ps_declaration *what,
                   ps_variable **variable, struct ps_error *e)
{
    char name[256];
    int n = snprintf(name, sizeof(name), "%s.%s", config->name, suffix);

    if (n < 0 || (size_t)n >= sizeof(name)) {
        return trouble_set(e, PS_EARGUMENT, "the model's name is too long");
    }
    what->name = name;

    int rc = ps_declare(r->client, what, variable, r->timeout_ms, e);

    what->name = NULL; /* the text ends with this call */
    return rc;
}

static int declare_model(struct remote *r, const struct store_config *config,
                         struct ps_error *e)
{
    struct ps_declaration what;

    ps_declaration_init(&what);
    what.durability = config->durability;
    what.updater = (struct ps_updater){
        .name = "AdagradUpdater",
        .params = {(double)config->lr, (double)STORE_ACCUMULATOR},
        .n_params = 2};
    what.kind = PS_DENSE;
    what.rows = 1;
    what.dim = 1;

    int rc = declare(r, config, "b", &what, &r->bias, e);

    what.kind = PS_HASH64;
    what.rows = 0;
    if (rc == PS_OK) {
        rc = declare(r, config, "w", &what, &r->weights, e);
    }
    if (rc == PS_OK && config->k != 0) {
        what.dim = (uint32_t)config->k;
        what.init = (struct ps_init){
            .kind = PS_INIT_NORMAL, .b = config->sd, .seed = config->seed};
        rc = declare(r, config, "v", &what, &r->factors, e);
    }
    return rc;
}

static int declare_done(struct remote *r, const struct store_config *config,
                        struct ps_error *e)
{
    struct ps_declaration what;

    ps_declaration_init(&what);
    what.updater = (struct ps_updater){.name = "AssignUpdater"};
    what.kind = PS_HASH64;
    what.dim = 1;
    what.durability =
        config->durability != PS_MEMORY ? config->durability : PS_LOG;

    int rc = declare(r, config, "done", &what, &r->done, e);

    if ((rc == PS_EARGUMENT || rc == PS_ECONFLICT) &&
        config->durability == PS_MEMORY) {
        /* A server has no log, or had none when the variable was made. */
        what.durability = PS_MEMORY;
        rc = declare(r, config, "done", &what, &r->done, e);
    }
    return rc;
}

static int declare_counters(struct remote *r, const struct store_config *config,
                            struct ps_error *e)
{
    struct ps_declaration what;

    if (!config->count) {
        return PS_OK;
    }
    ps_declaration_init(&what);
    what.durability = config->durability;
    what.updater = (struct ps_updater){.name = "AssignAddUpdater"};
    what.kind = PS_HASH64;
    what.dim = 1;
    for (size_t i = 0; i < COUNTERS; i++) {
        r->counter_keys[i] = (uint64_t)r->worker * COUNTERS + i;
    }

    int rc = declare(r, config, "count", &what, &r->counters, e);

    return rc == PS_OK ? pull_counters(r, r->counted_before, e) : rc;
}

static int open_tally(struct remote *r, const struct store_config *config,
                      struct ps_error *e)
{
    char path[4096];

    if (config->tally == NULL) {
        return PS_OK;
    }

    int n = snprintf(path, sizeof(path), "%s.%d-%d", config->tally,
                     config->worker, (int)getpid());

    if (n < 0 || (size_t)n >= sizeof(path)) {
        return trouble_set(e, PS_EARGUMENT, "the tally's path is too long");
    }
    r->tally = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (r->tally < 0) {
        return trouble_set(e, PS_EIO, "open %s: %s", path, strerror(errno));
    }
    write_tally(r);
    return PS_OK;
}

int store_ps_open(struct store **s, const struct store_config *config,
                  struct ps_error *e)
{
    struct remote *r = need_array(1, sizeof(*r));
    struct ps_options options;

    r->base = (struct store){.pull = pull,
                             .push = push,
                             .finish_epoch = finish_epoch,
                             .step = step,
                             .save = save,
                             .finished = finished,
                             .counts = counts,
                             .free = free_remote};
    r->worker = config->worker;
    r->timeout_ms = config->timeout_ms;
    r->tally = -1;
    ps_options_init(&options);
    options.scheduler = config->scheduler;
    options.worker = config->worker;
    options.timeout_ms = config->timeout_ms;

    int rc = ps_open(&r->client, &options, e);

    if (rc != PS_OK) {
        free(r);
        return rc;
    }
    rc = declare_model(r, config, e);
    if (rc == PS_OK) {
        rc = declare_done(r, config, e);
    }
    if (rc == PS_OK) {
        rc = declare_counters(r, config, e);
    }
    if (rc == PS_OK) {
        rc = open_tally(r, config, e);
    }
    if (rc != PS_OK) {
        free_remote(&r->base);
        return rc;
    }
    *s = &r->base;
    return PS_OK;
}
