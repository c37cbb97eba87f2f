/* Unit tests of the trainer's use of the library, against a library that is
 * played: what the trainer asks of it, and what it makes of each outcome of a
 * push. The played functions take the place of the real ones at link time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "batch.h"
#include "store.h"

#define VARIABLES_MAX 8
#define FRAMES_MAX 4

struct ps_variable {
    char name[64];
    struct ps_declaration what;
};

struct ps_request {
    int settled;
};

/* The script of the play and what was asked of it. */
struct play {
    struct ps_variable variables[VARIABLES_MAX];
    size_t n_variables;
    struct ps_options options;
    struct ps_request request;
    struct ps_op ops[5]; /* of the last submit */
    size_t n_ops;
    size_t n_live; /* requests not freed */
    int submit_rc;
    int wait_rc;
    int resolve_rc;
    int pull_rc;
    int frames[FRAMES_MAX];
    size_t n_frames;
    size_t n_bad; /* so many submits go as wait_rc and frames say */
    size_t n_submits;
    uint64_t first_key; /* of the first operation of the last submit */
    float first_value;
    uint64_t last_count_key; /* of the last operation of it, and the sum */
    float last_count;
    int resolved;
    int closed;
    char position[64];
    char saved[64]; /* the name */
    int n_saves;
    int n_live_saves;
    int save_rc;   /* of a wait for one */
    float counted; /* what a counter says */
    int waits;     /* for which there was a deadline */
    const char *why;
    uint64_t losses;
};

static struct play play;
static int no_logs; /* what a declaration ends as that asks for one */

const char *ps_status_text(int status)
{
    return status == PS_ETIMEOUT ? "deadline reached" : "words";
}

const char *ps_status_name(int status)
{
    return status == PS_ETIMEOUT ? "PS_ETIMEOUT" : "PS_NAME";
}

void ps_options_init(struct ps_options *options)
{
    *options = (struct ps_options){.size = sizeof(*options)};
}

void ps_declaration_init(struct ps_declaration *declaration)
{
    *declaration = (struct ps_declaration){.size = sizeof(*declaration)};
}

int ps_open(ps_client **client, const struct ps_options *options,
            struct ps_error *error)
{
    (void)error;
    play.options = *options;
    *client = (ps_client *)(void *)&play;
    return PS_OK;
}

int ps_close(ps_client *client, int timeout_ms)
{
    (void)client;
    (void)timeout_ms;
    play.closed++;
    return PS_OK;
}

int ps_declare(ps_client *client, const struct ps_declaration *what,
               ps_variable **variable, int timeout_ms, struct ps_error *error)
{
    struct ps_variable *v = &play.variables[play.n_variables];

    (void)client;
    (void)timeout_ms;
    (void)error;
    if (no_logs != PS_OK && what->durability != PS_MEMORY) {
        return no_logs;
    }
    play.n_variables++;
    (void)snprintf(v->name, sizeof(v->name), "%s", what->name);
    v->what = *what;
    *variable = v;
    return PS_OK;
}

int ps_submit(ps_client *client, const struct ps_op *ops, size_t n,
              ps_request **request)
{
    (void)client;
    if (play.submit_rc != PS_OK) {
        return play.submit_rc;
    }
    memcpy(play.ops, ops, n * sizeof(*ops));
    play.first_key = ops[0].n_keys != 0 ? ops[0].keys[0] : 0;
    play.first_value = ops[0].values != NULL ? ops[0].values[0] : 0.0F;
    play.last_count = 0.0F;
    for (size_t i = 0; ops[n - 1].values != NULL && i < ops[n - 1].n_keys;
         i++) {
        play.last_count_key = ops[n - 1].keys[i];
        play.last_count += ops[n - 1].values[i];
    }
    play.n_submits++;
    play.n_ops = n;
    play.n_live++;
    *request = &play.request;
    return PS_OK;
}

/* Not the one of the pushes. */
static struct ps_request save_request;

int ps_step(ps_client *client, const void *position, size_t size)
{
    (void)client;
    assert_true(size < sizeof(play.position));
    memcpy(play.position, position, size);
    play.position[size] = '\0';
    return PS_OK;
}

int ps_save(ps_client *client, const char *name, ps_request **request,
            struct ps_error *error)
{
    (void)client;
    (void)error;
    (void)snprintf(play.saved, sizeof(play.saved), "%s", name);
    play.n_saves++;
    play.n_live_saves++;
    *request = &save_request;
    return PS_OK;
}

int ps_request_save(const ps_request *request, struct ps_save_state *state)
{
    assert_ptr_equal(request, &save_request);
    *state = (struct ps_save_state){0};
    (void)snprintf(state->why, sizeof(state->why), "%s",
                   play.why != NULL ? play.why : "");
    return PS_OK;
}

int ps_wait(ps_request *request, int timeout_ms)
{
    if (request == &save_request) {
        play.waits += timeout_ms > 0;
        return play.save_rc;
    }
    return play.n_submits <= play.n_bad ? play.wait_rc : PS_OK;
}

int ps_resolve(ps_request *request, int timeout_ms)
{
    (void)request;
    (void)timeout_ms;
    play.resolved++;
    return play.resolve_rc;
}

void ps_request_free(ps_request *request)
{
    if (request == &save_request) {
        play.n_live_saves--;
    } else if (request != NULL) {
        play.n_live--;
    }
}

size_t ps_request_frames(const ps_request *request)
{
    (void)request;
    return play.n_frames;
}

int ps_request_frame(const ps_request *request, size_t i,
                     struct ps_frame_outcome *outcome)
{
    (void)request;
    *outcome = (struct ps_frame_outcome){
        .status = play.n_submits <= play.n_bad ? play.frames[i] : PS_OK};
    return PS_OK;
}

int ps_pull(ps_variable *variable, const uint64_t *keys, size_t n_keys,
            float *out, int timeout_ms)
{
    int is_count = strstr(variable->name, ".count") != NULL;

    (void)timeout_ms;
    for (size_t i = 0; i < n_keys && play.pull_rc == PS_OK; i++) {
        out[i] = keys[i] == 5 ? 3.0F : 0.0F;
        if (is_count) { /* the last one is one behind */
            out[i] = play.counted - (i + 1 == n_keys ? 1.0F : 0.0F);
        }
    }
    return play.pull_rc;
}

void ps_client_counters(ps_client *client, struct ps_client_counters *counters)
{
    (void)client;
    *counters = (struct ps_client_counters){.losses = play.losses};
}

void ps_client_waits_for(ps_client *client, char *text, size_t size)
{
    (void)client;
    (void)snprintf(text, size, "server 1");
}

/* A store on the play, and a batch of two keys in one row. */
struct stage {
    struct store *store;
    struct dataset d;
    struct batch b;
    struct ps_error e;
};

static void open_stage_as(struct stage *s, size_t k, const char *tally,
                          int durability, int count)
{
    struct store_config config = {.name = "m",
                                  .tally = tally,
                                  .k = k,
                                  .lr = 0.25F,
                                  .sd = 0.5F,
                                  .seed = 9,
                                  .durability = durability,
                                  .count = count,
                                  .worker = 5,
                                  .timeout_ms = 1000};
    const uint32_t row = 0;

    memset(&play, 0, sizeof(play));
    memset(s, 0, sizeof(*s));
    play.n_frames = 2;
    play.n_bad = 100;
    assert_int_equal(store_ps_open(&s->store, &config, &s->e), PS_OK);
    dataset_init(&s->d);
    dataset_add_feature(&s->d, 1, 1.0F);
    dataset_add_feature(&s->d, 2, 1.0F);
    dataset_end_row(&s->d, 1);
    batch_init(&s->b, 1, 2, k);
    batch_fill(&s->b, &s->d, &row, 1);
}

static void open_stage(struct stage *s, size_t k, const char *tally)
{
    open_stage_as(s, k, tally, PS_MEMORY, 0);
}

static void close_stage(struct stage *s)
{
    assert_int_equal(play.n_live, 0);
    s->store->free(s->store);
    assert_int_equal(play.closed, 1);
    batch_fini(&s->b);
    dataset_fini(&s->d);
}

static struct store_counts counts_of(struct stage *s)
{
    struct store_counts counts;

    assert_int_equal(s->store->counts(s->store, &counts, &s->e), PS_OK);
    return counts;
}

static void variables_are_declared_as_the_model_needs_them(void **state)
{
    struct stage s;

    (void)state;
    open_stage(&s, 4, NULL);
    assert_int_equal(play.options.worker, 5);
    assert_int_equal(play.n_variables, 4);
    assert_string_equal(play.variables[0].name, "m.b");
    assert_int_equal(play.variables[0].what.kind, PS_DENSE);
    assert_int_equal(play.variables[0].what.rows, 1);
    assert_string_equal(play.variables[1].name, "m.w");
    assert_int_equal(play.variables[1].what.kind, PS_HASH64);
    assert_int_equal(play.variables[1].what.dim, 1);
    assert_int_equal(play.variables[1].what.init.kind, PS_INIT_CONSTANT);
    assert_string_equal(play.variables[2].name, "m.v");
    assert_int_equal(play.variables[2].what.dim, 4);
    assert_int_equal(play.variables[2].what.init.kind, PS_INIT_NORMAL);
    assert_true(play.variables[2].what.init.b > 0.49F);
    assert_int_equal(play.variables[2].what.init.seed, 9);
    assert_string_equal(play.variables[2].what.updater.name, "AdagradUpdater");
    assert_true(play.variables[2].what.updater.params[0] == 0.25);
    assert_string_equal(play.variables[3].name, "m.done");
    assert_string_equal(play.variables[3].what.updater.name, "AssignUpdater");
    close_stage(&s);
}

/* What a worker that has left cannot say again. */
static void finished_epochs_are_logged_where_servers_have_logs(void **state)
{
    static const int refusals[] = {PS_EARGUMENT, PS_ECONFLICT};
    struct stage s;

    (void)state;
    open_stage(&s, 4, NULL);
    assert_int_equal(play.n_variables, 4);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(play.variables[i].what.durability, PS_MEMORY);
    }
    assert_int_equal(play.variables[3].what.durability, PS_LOG);
    close_stage(&s);
    for (size_t i = 0; i < 2; i++) {
        no_logs = refusals[i];
        open_stage(&s, 4, NULL);
        assert_int_equal(play.n_variables, 4);
        assert_string_equal(play.variables[3].name, "m.done");
        assert_int_equal(play.variables[3].what.durability, PS_MEMORY);
        close_stage(&s);
    }
    no_logs = PS_OK;
}

static void all_variables_are_as_durable_as_is_asked(void **state)
{
    struct stage s;

    (void)state;
    open_stage_as(&s, 4, NULL, PS_FSYNC, 1);
    assert_int_equal(play.n_variables, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(play.variables[i].what.durability, PS_FSYNC);
    }
    close_stage(&s);
}

static void each_push_adds_one_to_the_workers_counters(void **state)
{
    struct stage s;
    struct store_counts now;

    (void)state;
    open_stage_as(&s, 0, NULL, PS_LOG, 1);
    assert_string_equal(play.variables[3].name, "m.count");
    assert_string_equal(play.variables[3].what.updater.name,
                        "AssignAddUpdater");
    assert_int_equal(s.store->push(s.store, &s.b, &s.e), PS_OK);
    assert_int_equal(play.n_ops, 3);
    assert_string_equal(play.ops[2].variable->name, "m.count");
    assert_int_equal(play.ops[2].n_keys, 64);
    assert_int_equal(play.last_count_key, 5 * 64 + 63);
    assert_true(play.last_count == 64.0F);
    /* All counted by this life: the first pull is what was there before. */
    play.counted = 7.0F;
    now = counts_of(&s);
    assert_int_equal(now.is_counted, 1);
    assert_int_equal(now.counted_least, 7);
    assert_int_equal(now.counted_most, 7);
    play.pull_rc = PS_ETIMEOUT;
    assert_int_equal(s.store->counts(s.store, &now, &s.e), PS_ETIMEOUT);
    close_stage(&s);
}

static void a_step_is_one_submit_over_all_variables(void **state)
{
    struct stage s;

    (void)state;
    for (size_t k = 0; k <= 4; k += 4) {
        open_stage(&s, k, NULL);
        assert_int_equal(s.store->pull(s.store, &s.b, &s.e), PS_OK);
        assert_int_equal(play.n_ops, k == 0 ? 2 : 3);
        assert_int_equal(play.ops[1].kind, PS_PULL);
        assert_int_equal(play.ops[1].n_keys, 2);
        assert_ptr_equal(play.ops[1].out, s.b.weights);
        assert_int_equal(s.store->push(s.store, &s.b, &s.e), PS_OK);
        assert_int_equal(play.n_ops, k == 0 ? 2 : 3);
        assert_int_equal(play.ops[0].kind, PS_PUSH);
        assert_int_equal(play.ops[0].n_keys, 0);
        assert_ptr_equal(play.ops[1].values, s.b.weight_grads);
        assert_int_equal(counts_of(&s).steps, 1);
        assert_int_equal(counts_of(&s).step_frames, 2);
        close_stage(&s);
    }
}

static void finished_epochs_are_kept_by_worker(void **state)
{
    float epochs[STORE_WORKERS_MAX];
    struct stage s;

    (void)state;
    open_stage(&s, 4, NULL);
    assert_int_equal(s.store->finish_epoch(s.store, 3, &s.e), PS_OK);
    assert_int_equal(play.n_submits, 1);
    assert_int_equal(play.n_ops, 1);
    assert_string_equal(play.ops[0].variable->name, "m.done");
    assert_int_equal(play.ops[0].n_keys, 1);
    assert_int_equal(play.first_key, 5);
    assert_true(play.first_value == 3.0F);
    assert_int_equal(counts_of(&s).steps, 0);
    assert_int_equal(counts_of(&s).step_frames, 0);
    assert_int_equal(counts_of(&s).frames_acked, 2);
    assert_int_equal(s.store->finished(s.store, epochs, &s.e), PS_OK);
    assert_true(epochs[5] == 3.0F);
    assert_true(epochs[4] == 0.0F && epochs[63] == 0.0F);
    close_stage(&s);
}

static void finished_epochs_are_pushed_until_applied(void **state)
{
    struct stage s;

    (void)state;
    open_stage(&s, 4, NULL);
    play.wait_rc = PS_ECANCELED;
    play.frames[0] = PS_ECANCELED;
    play.n_bad = 1;
    assert_int_equal(s.store->finish_epoch(s.store, 3, &s.e), PS_OK);
    assert_int_equal(play.n_submits, 2);
    play.n_bad = 100;
    assert_int_equal(s.store->finish_epoch(s.store, 3, &s.e), PS_ECANCELED);
    assert_int_equal(play.n_submits, 5);
    close_stage(&s);
}

static void a_push_without_an_answer_is_resolved(void **state)
{
    struct stage s;

    (void)state;
    open_stage(&s, 4, NULL);
    play.wait_rc = PS_ETIMEOUT;
    assert_int_equal(s.store->push(s.store, &s.b, &s.e), PS_OK);
    assert_int_equal(play.resolved, 1);
    assert_int_equal(counts_of(&s).frames_acked, 2);
    play.wait_rc = PS_EUNSURE;
    play.resolve_rc = PS_ETIMEOUT;
    assert_int_equal(s.store->push(s.store, &s.b, &s.e), PS_ETIMEOUT);
    assert_string_equal(s.e.text,
                        "push: deadline reached (PS_ETIMEOUT): server 1");
    assert_int_equal(counts_of(&s).steps, 1);
    close_stage(&s);
}

static void pushes_that_were_not_applied_are_dropped_and_counted(void **state)
{
    const int bearable[] = {PS_ECANCELED, PS_ELANE, PS_EDATALOSS};
    struct stage s;

    (void)state;
    open_stage(&s, 4, NULL);
    for (size_t i = 0; i < 3; i++) {
        play.wait_rc = bearable[i];
        play.frames[1] = bearable[i];
        assert_int_equal(s.store->push(s.store, &s.b, &s.e), PS_OK);
        assert_int_equal(counts_of(&s).steps, i + 1);
        assert_int_equal(counts_of(&s).frames_acked, i + 1);
        assert_int_equal(counts_of(&s).pushes_dropped, i + 1);
    }
    close_stage(&s);
}

static void a_number_that_was_refused_and_redone_is_not_a_loss(void **state)
{
    struct stage s;

    (void)state;
    open_stage(&s, 4, NULL);
    play.n_frames = 3;
    play.frames[0] = PS_EPLAN;
    assert_int_equal(s.store->push(s.store, &s.b, &s.e), PS_OK);
    assert_int_equal(counts_of(&s).pushes_dropped, 0);
    assert_int_equal(counts_of(&s).frames_acked, 2);
    close_stage(&s);
}

static void any_other_failure_ends_training(void **state)
{
    struct stage s;

    (void)state;
    open_stage(&s, 4, NULL);
    play.wait_rc = PS_ELIMIT;
    play.frames[0] = PS_ELIMIT;
    assert_int_equal(s.store->push(s.store, &s.b, &s.e), PS_ELIMIT);
    assert_int_equal(s.store->pull(s.store, &s.b, &s.e), PS_ELIMIT);
    play.frames[0] = PS_OK;
    assert_int_equal(s.store->push(s.store, &s.b, &s.e), PS_ELIMIT);
    play.wait_rc = PS_ECANCELED;
    play.frames[0] = PS_ELIMIT;
    assert_int_equal(s.store->push(s.store, &s.b, &s.e), PS_ELIMIT);
    play.submit_rc = PS_ENOMEM;
    assert_int_equal(s.store->push(s.store, &s.b, &s.e), PS_ENOMEM);
    assert_int_equal(s.store->pull(s.store, &s.b, &s.e), PS_ENOMEM);
    assert_int_equal(s.store->finish_epoch(s.store, 1, &s.e), PS_ENOMEM);
    close_stage(&s);
}

static void losses_are_counted(void **state)
{
    struct stage s;

    (void)state;
    open_stage(&s, 4, NULL);
    play.losses = 6;
    assert_int_equal(counts_of(&s).frames_lost, 6);
    close_stage(&s);
}

static void the_tally_says_what_was_acknowledged(void **state)
{
    char line[128] = "";
    char path[64];
    struct stage s;

    (void)state;
    open_stage(&s, 4, "test_ctr_tally");
    assert_int_equal(s.store->push(s.store, &s.b, &s.e), PS_OK);
    assert_int_equal(s.store->push(s.store, &s.b, &s.e), PS_OK);
    assert_int_equal(s.store->finish_epoch(s.store, 1, &s.e), PS_OK);

    (void)snprintf(path, sizeof(path), "test_ctr_tally.5-%d", (int)getpid());

    FILE *f = fopen(path, "re");

    assert_non_null(f);
    assert_non_null(fgets(line, sizeof(line), f));
    assert_int_equal(fclose(f), 0);
    assert_int_equal(unlink(path), 0);
    assert_string_equal(line, "steps 000000000002 step_frames 000000000004 "
                              "frames_acked 000000000006\n");
    close_stage(&s);
}

static void a_checkpoint_is_asked_for_and_goes_on_by_itself(void **state)
{
    struct stage s;

    (void)state;
    open_stage(&s, 4, NULL);
    assert_int_equal(s.store->step(s.store, "epoch 1 row 7", &s.e), PS_OK);
    assert_string_equal(play.position, "epoch 1 row 7");
    play.save_rc = PS_ETIMEOUT;
    assert_int_equal(s.store->save(s.store, "monday", 0, &s.e), PS_OK);
    assert_string_equal(play.saved, "monday");
    /* One that is under way is not asked for again. */
    assert_int_equal(s.store->save(s.store, "tuesday", 0, &s.e), PS_OK);
    assert_int_equal(play.n_saves, 1);
    play.save_rc = PS_EIO; /* it has failed: training goes on */
    play.why = "the disk is full";
    assert_int_equal(s.store->save(s.store, "wednesday", 0, &s.e), PS_OK);
    assert_string_equal(play.saved, "wednesday");
    assert_int_equal(play.waits, 0);
    close_stage(&s);
    assert_int_equal(play.n_live_saves, 0);
}

static void the_last_checkpoint_is_waited_for(void **state)
{
    struct stage s;

    (void)state;
    open_stage(&s, 4, NULL);
    assert_int_equal(s.store->save(s.store, "now and then", 0, &s.e), PS_OK);
    assert_int_equal(s.store->save(s.store, "end", 1, &s.e), PS_OK);
    assert_string_equal(play.saved, "end");
    assert_int_equal(play.waits, 2); /* for the former one first */
    play.save_rc = PS_EIO;
    play.why = "the disk is full";
    assert_int_equal(s.store->save(s.store, "end", 1, &s.e), PS_EIO);
    assert_string_equal(s.e.text, "save: the disk is full");
    close_stage(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variables_are_declared_as_the_model_needs_them),
        cmocka_unit_test(finished_epochs_are_logged_where_servers_have_logs),
        cmocka_unit_test(all_variables_are_as_durable_as_is_asked),
        cmocka_unit_test(each_push_adds_one_to_the_workers_counters),
        cmocka_unit_test(a_step_is_one_submit_over_all_variables),
        cmocka_unit_test(finished_epochs_are_kept_by_worker),
        cmocka_unit_test(finished_epochs_are_pushed_until_applied),
        cmocka_unit_test(a_push_without_an_answer_is_resolved),
        cmocka_unit_test(pushes_that_were_not_applied_are_dropped_and_counted),
        cmocka_unit_test(a_number_that_was_refused_and_redone_is_not_a_loss),
        cmocka_unit_test(any_other_failure_ends_training),
        cmocka_unit_test(losses_are_counted),
        cmocka_unit_test(the_tally_says_what_was_acknowledged),
        cmocka_unit_test(a_checkpoint_is_asked_for_and_goes_on_by_itself),
        cmocka_unit_test(the_last_checkpoint_is_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
