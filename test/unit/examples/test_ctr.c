/* Unit tests of the click trainer: numbers worked out by hand, or by the
 * plainest double-precision form of a definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "dataset.h"
#include "dice.h"
#include "meeting.h"
#include "metric.h"
#include "model.h"
#include "progress.h"
#include "settings.h"
#include "store.h"
#include "train.h"

static void assert_near(double x, double y, double within)
{
    if (!(fabs(x - y) <= within)) {
        fail_msg("%.9g is not within %g of %.9g", x, within, y);
    }
}

static void auc_counts_pairs_in_order(void **state)
{
    /* Clicks .35 and .8 against misses .1 and .4: three of four in order. */
    const float scores[] = {0.1F, 0.4F, 0.35F, 0.8F};
    const unsigned char labels[] = {0, 0, 1, 1};

    (void)state;
    assert_near(metric_auc(scores, labels, 4), 0.75, 0.0);
}

static void auc_counts_ties_half(void **state)
{
    /* Click 2 beats miss 1 and draws with miss 2; click 3 beats both. */
    const float scores[] = {1.0F, 2.0F, 2.0F, 3.0F};
    const unsigned char labels[] = {0, 1, 0, 1};
    const float equal[] = {7.0F, 7.0F, 7.0F};
    const unsigned char some[] = {1, 0, 0};

    (void)state;
    assert_near(metric_auc(scores, labels, 4), 3.5 / 4.0, 0.0);
    assert_near(metric_auc(equal, some, 3), 0.5, 0.0);
}

static void auc_of_one_class_or_no_rows_is_not_a_number(void **state)
{
    const float scores[] = {1.0F, 2.0F};
    const unsigned char clicks[] = {1, 1};
    const unsigned char misses[] = {0, 0};

    (void)state;
    assert_true(isnan(metric_auc(scores, clicks, 2)));
    assert_true(isnan(metric_auc(scores, misses, 2)));
    assert_true(isnan(metric_auc(scores, misses, 0)));
}

static void auc_of_scores_that_blew_up_is_not_a_number(void **state)
{
    const float scores[] = {1.0F, NAN, 2.0F};
    const unsigned char labels[] = {1, 0, 0};

    (void)state;
    assert_true(isnan(metric_auc(scores, labels, 3)));
}

static void log_loss_is_minus_the_log_of_the_probability(void **state)
{
    /* log 3 is a probability of 3/4; the logs are from tables. */
    const float scores[] = {0.0F, 1.0986123F, 1.0986123F};
    const unsigned char labels[] = {1, 1, 0};

    (void)state;
    assert_near(metric_log_loss_row(scores[0], 1), 0.693147, 1e-6);
    assert_near(metric_log_loss_row(scores[1], 1), 0.287682, 1e-6);
    assert_near(metric_log_loss_row(scores[2], 0), 1.386294, 1e-6);
    assert_near(metric_log_loss(scores, labels, 3),
                (0.693147 + 0.287682 + 1.386294) / 3.0, 1e-6);
}

static void log_loss_of_a_huge_score_does_not_overflow(void **state)
{
    (void)state;
    assert_near(metric_log_loss_row(1000.0F, 0), 1000.0, 0.0);
    assert_near(metric_log_loss_row(-1000.0F, 1), 1000.0, 0.0);
    assert_near(metric_log_loss_row(1000.0F, 1), 0.0, 0.0);
}

static void fill(struct batch *b, const struct dataset *d)
{
    uint32_t rows[16];

    for (uint32_t i = 0; i < d->n_rows; i++) {
        rows[i] = i;
    }
    batch_fill(b, d, rows, d->n_rows);
}

/* Three rows over four keys; the second has a key twice, the third nothing. */
static void make_rows(struct dataset *d)
{
    dataset_init(d);
    dataset_add_feature(d, 10, 1.0F);
    dataset_add_feature(d, 20, -0.5F);
    dataset_add_feature(d, 30, 2.0F);
    dataset_end_row(d, 1);
    dataset_add_feature(d, 20, 1.0F);
    dataset_add_feature(d, 20, 0.75F);
    dataset_add_feature(d, 40, 1.0F);
    dataset_end_row(d, 0);
    dataset_end_row(d, 1);
}

static void batch_numbers_each_key_once(void **state)
{
    const uint32_t slots[] = {0, 1, 2, 1, 1, 3};
    const uint64_t keys[] = {10, 20, 30, 40};
    struct dataset d;
    struct batch b;

    (void)state;
    make_rows(&d);
    batch_init(&b, 3, dataset_widest(&d), 0);
    for (int again = 0; again < 2; again++) {
        fill(&b, &d);
        assert_int_equal(b.n_rows, 3);
        assert_int_equal(b.n_keys, 4);
        assert_memory_equal(b.keys, keys, sizeof(keys));
        assert_memory_equal(b.slots, slots, sizeof(slots));
        assert_int_equal(b.starts[3], 6);
        assert_int_equal(b.starts[2], 6);
    }
    batch_fini(&b);
    dataset_fini(&d);
}

static void score_is_the_factorization_machine(void **state)
{
    /* b + w1 x1 + w2 x2 + <v1, v2> x1 x2 with x = (2, -1):
     * 0.5 + 2 - 2 + (3*4 + 1*5) * -2 = -33.5; without factors 0.5. */
    struct dataset d;
    struct batch b;
    float score;

    (void)state;
    dataset_init(&d);
    dataset_add_feature(&d, 1, 2.0F);
    dataset_add_feature(&d, 2, -1.0F);
    dataset_end_row(&d, 1);
    for (size_t k = 0; k <= 2; k += 2) {
        const float factors[] = {3.0F, 1.0F, 4.0F, 5.0F};

        batch_init(&b, 1, 2, k);
        fill(&b, &d);
        b.bias = 0.5F;
        b.weights[0] = 1.0F;
        b.weights[1] = 2.0F;
        memcpy(b.factors, factors, 2 * k * sizeof(float));
        model_score(&b, &score);
        assert_near((double)score, k == 0 ? 0.5 : -33.5, 0.0);
        batch_fini(&b);
    }
    dataset_fini(&d);
}

/* The loss by the definition, pair by pair, in double; parameter number `which`
 * (bias, weights, factors) is moved by `by`. */
static double plain_loss(const struct batch *b, double l2, size_t which,
                         double by)
{
    double p[64];
    double loss = 0.0;

    p[0] = (double)b->bias;
    for (size_t i = 0; i < b->n_keys; i++) {
        p[1 + i] = (double)b->weights[i];
    }
    for (size_t i = 0; i < b->n_keys * b->k; i++) {
        p[1 + b->n_keys + i] = (double)b->factors[i];
    }
    p[which] += by;

    const double *w = p + 1;
    const double *v = w + b->n_keys;

    for (size_t row = 0; row < b->n_rows; row++) {
        double score = p[0];

        for (size_t i = b->starts[row]; i < b->starts[row + 1]; i++) {
            score += w[b->slots[i]] * (double)b->values[i];
            loss += l2 / 2.0 * w[b->slots[i]] * w[b->slots[i]];
            for (size_t f = 0; f < b->k; f++) {
                double vi = v[b->slots[i] * b->k + f];

                loss += l2 / 2.0 * vi * vi;
                for (size_t j = i + 1; j < b->starts[row + 1]; j++) {
                    score += vi * v[b->slots[j] * b->k + f] *
                             (double)b->values[i] * (double)b->values[j];
                }
            }
        }
        loss += log(1.0 + exp(b->labels[row] != 0 ? -score : score));
    }
    return loss;
}

static double gradient_of(const struct batch *b, size_t which)
{
    if (which == 0) {
        return (double)b->bias_grad;
    }
    if (which <= b->n_keys) {
        return (double)b->weight_grads[which - 1];
    }
    return (double)b->factor_grads[which - 1 - b->n_keys];
}

static void check_gradient(size_t k, float l2)
{
    struct dice dice = {7};
    struct dataset d;
    struct batch b;

    make_rows(&d);
    batch_init(&b, 3, dataset_widest(&d), k);
    fill(&b, &d);
    b.bias = 0.3F;
    for (size_t i = 0; i < b.n_keys; i++) {
        b.weights[i] = (float)dice_normal(dice_next(&dice));
    }
    for (size_t i = 0; i < b.n_keys * k; i++) {
        b.factors[i] = (float)dice_normal(dice_next(&dice));
    }

    double loss = model_gradient(&b, l2);

    assert_near(loss, plain_loss(&b, 0.0, 0, 0.0), 1e-5);
    for (size_t i = 0; i < 1 + b.n_keys * (1 + k); i++) {
        double h = 1e-5;
        double up = plain_loss(&b, (double)l2, i, h);
        double down = plain_loss(&b, (double)l2, i, -h);

        assert_near(gradient_of(&b, i), (up - down) / (2.0 * h), 1e-5);
    }
    batch_fini(&b);
    dataset_fini(&d);
}

static void gradient_is_the_slope_of_the_summed_loss(void **state)
{
    (void)state;
    check_gradient(0, 0.0F);
    check_gradient(3, 0.0F);
    check_gradient(3, 0.125F);
}

static void plain_store_runs_adagrad(void **state)
{
    /* Gradient 1 twice, rate 0.1, accumulator 0.1: -0.1 / sqrt(1.1), then
     * -0.1 / sqrt(2.1) more. */
    struct store_config config = {.k = 2, .lr = 0.1F, .sd = 0.0F, .seed = 1};
    struct ps_error e;
    struct store *s;
    struct dataset d;
    struct batch b;

    (void)state;
    make_rows(&d);
    batch_init(&b, 3, 3, 2);
    fill(&b, &d);
    assert_int_equal(store_plain_open(&s, &config, &e), PS_OK);
    for (int i = 0; i < 2; i++) {
        b.bias_grad = 1.0F;
        b.weight_grads[1] = 1.0F;
        b.factor_grads[3 * 2 + 1] = -1.0F;
        assert_int_equal(s->push(s, &b, &e), PS_OK);
    }
    assert_int_equal(s->pull(s, &b, &e), PS_OK);
    assert_near((double)b.bias, -0.1643529, 1e-6);
    assert_near((double)b.weights[1], -0.1643529, 1e-6);
    assert_near((double)b.weights[0], 0.0, 0.0);
    assert_near((double)b.factors[3 * 2 + 1], 0.1643529, 1e-6);
    assert_near((double)b.factors[3 * 2], 0.0, 0.0);
    s->free(s);
    batch_fini(&b);
    dataset_fini(&d);
}

static void plain_store_keeps_many_keys_apart(void **state)
{
    struct store_config config = {.k = 0, .lr = 0.1F};
    struct ps_error e;
    struct store *s;
    struct dataset d;
    struct batch b;

    (void)state;
    dataset_init(&d);
    for (uint64_t i = 0; i < 5000; i++) {
        dataset_add_feature(&d, i, 1.0F);
    }
    dataset_end_row(&d, 1);
    batch_init(&b, 1, 5000, 0);
    fill(&b, &d);
    assert_int_equal(store_plain_open(&s, &config, &e), PS_OK);
    for (size_t i = 0; i < 5000; i++) {
        b.weight_grads[i] = (float)i;
    }
    b.bias_grad = 0.0F;
    assert_int_equal(s->push(s, &b, &e), PS_OK);
    assert_int_equal(s->pull(s, &b, &e), PS_OK);
    for (size_t i = 0; i < 5000; i++) {
        double g = (double)i;

        assert_near((double)b.weights[i], -0.1 * g / sqrt(0.1 + g * g), 1e-6);
    }
    s->free(s);
    batch_fini(&b);
    dataset_fini(&d);
}

/* A store that is only counters: worker 1 finishes an epoch with each look. */
struct counting {
    struct store base;
    float epochs[STORE_WORKERS_MAX];
    float stops_at;
    int pushes;
    int saves; /* begun while training goes on */
    char position[128];
    char last[16]; /* name of the save that was waited for */
};

static struct counting *counting_of(struct store *s)
{
    return (struct counting *)(void *)s;
}

static int counting_pull(struct store *s, struct batch *b, struct ps_error *e)
{
    (void)s;
    (void)b;
    (void)e;
    return PS_OK;
}

static int counting_push(struct store *s, const struct batch *b,
                         struct ps_error *e)
{
    (void)b;
    (void)e;
    counting_of(s)->pushes++;
    return PS_OK;
}

static int counting_finish(struct store *s, int epochs, struct ps_error *e)
{
    (void)e;
    counting_of(s)->epochs[0] = (float)epochs;
    return PS_OK;
}

static int counting_step(struct store *s, const char *position,
                         struct ps_error *e)
{
    struct counting *c = counting_of(s);

    (void)e;
    (void)snprintf(c->position, sizeof(c->position), "%s", position);
    return PS_OK;
}

static int counting_save(struct store *s, const char *name, int waits,
                         struct ps_error *e)
{
    struct counting *c = counting_of(s);

    (void)e;
    c->saves += !waits;
    (void)snprintf(c->last, sizeof(c->last), "%s", waits ? name : "");
    return PS_OK;
}

static int counting_finished(struct store *s, float epochs[STORE_WORKERS_MAX],
                             struct ps_error *e)
{
    struct counting *c = counting_of(s);

    (void)e;
    memcpy(epochs, c->epochs, sizeof(c->epochs));
    c->epochs[2] = 0.0F; /* its server has died, and had no log */
    if (c->epochs[1] < c->stops_at) {
        c->epochs[1] += 1.0F;
    }
    return PS_OK;
}

static struct counting make_counting(float done, float stops_at)
{
    return (struct counting){.base = {.pull = counting_pull,
                                      .push = counting_push,
                                      .finish_epoch = counting_finish,
                                      .step = counting_step,
                                      .save = counting_save,
                                      .finished = counting_finished},
                             .epochs = {done},
                             .stops_at = stops_at};
}

static void meeting_waits_for_the_last_worker(void **state)
{
    struct counting c = make_counting(3.0F, 3.0F);
    struct ps_error e = {0};

    (void)state;
    assert_int_equal(meeting_wait(&c.base, 2, 3, 60000, &e), PS_OK);
    assert_near((double)c.epochs[1], 3.0, 0.0);
}

static void meeting_remembers_who_has_finished_and_left(void **state)
{
    struct counting c = make_counting(3.0F, 3.0F);
    struct ps_error e = {0};

    (void)state;
    c.epochs[2] = 3.0F;
    assert_int_equal(meeting_wait(&c.base, 3, 3, 200, &e), PS_OK);
    assert_near((double)c.epochs[2], 0.0, 0.0);
}

static void meeting_gives_up_on_a_worker_that_stands_still(void **state)
{
    struct counting c = make_counting(3.0F, 2.0F);
    struct ps_error e = {0};

    (void)state;
    assert_int_equal(meeting_wait(&c.base, 2, 3, 100, &e), PS_ETIMEOUT);
    assert_non_null(strstr(e.text, "worker 1 has finished 2 of 3 epochs"));
}

static void a_restarted_worker_goes_on_with_its_unfinished_epoch(void **state)
{
    struct counting c = make_counting(2.0F, 5.0F);
    struct settings s = {.batch = 2,
                         .epochs = 5,
                         .start_epoch = SETTINGS_START_STORED,
                         .quiet = 1,
                         .meet_s = 60,
                         .workers = 2};
    struct train_result *result = calloc(1, sizeof(*result));
    struct train_data data;
    struct ps_error e = {0};

    (void)state;
    assert_non_null(result);
    make_rows(&data.train);
    dataset_init(&data.valid);
    dataset_init(&data.test);
    assert_int_equal(train_run(&s, &c.base, &data, result, &e), PS_OK);
    assert_int_equal(result->first_epoch, 2);
    assert_int_equal(result->n_epochs, 3);
    assert_int_equal(c.pushes, 3 * 2); /* three rows are two batches */
    assert_near((double)c.epochs[0], 5.0, 0.0);
    assert_near((double)c.epochs[1], 5.0, 0.0); /* it has waited for them */

    s.start_epoch = 4;
    assert_int_equal(train_run(&s, &c.base, &data, result, &e), PS_OK);
    assert_int_equal(result->n_epochs, 1);
    dataset_fini(&data.train);
    dataset_fini(&data.valid);
    dataset_fini(&data.test);
    free(result);
}

static void a_worker_says_where_it_is_and_saves_now_and_then(void **state)
{
    struct counting c = make_counting(0.0F, 0.0F);
    struct settings s = {.batch = 2,
                         .epochs = 3,
                         .start_epoch = SETTINGS_START_STORED,
                         .seed = 9,
                         .train = "clicks",
                         .save = "end",
                         .save_every = 4,
                         .quiet = 1,
                         .meet_s = 60,
                         .workers = 1};
    struct train_result *result = calloc(1, sizeof(*result));
    struct train_data data;
    struct ps_error e = {0};

    (void)state;
    assert_non_null(result);
    make_rows(&data.train);
    dataset_init(&data.valid);
    dataset_init(&data.test);
    assert_int_equal(train_run(&s, &c.base, &data, result, &e), PS_OK);
    /* Three rows are two steps of an epoch, six in all. */
    assert_string_equal(c.position, "epoch 3 row 0 of 3, seed 9, clicks");
    assert_int_equal(c.saves, 1);
    assert_string_equal(c.last, "end");
    dataset_fini(&data.train);
    dataset_fini(&data.valid);
    dataset_fini(&data.test);
    free(result);
}

static void training_learns_what_one_feature_says(void **state)
{
    struct settings s = {.batch = 4,
                         .epochs = 30,
                         .start_epoch = SETTINGS_START_STORED,
                         .lr = 0.1,
                         .quiet = 1,
                         .meet_s = 60,
                         .workers = 1};
    struct store_config config = {.lr = 0.1F};
    struct train_result *result = calloc(1, sizeof(*result));
    struct train_data data;
    struct ps_error e = {0};
    struct store *store;

    (void)state;
    assert_non_null(result);
    dataset_init(&data.train);
    dataset_init(&data.valid);
    dataset_init(&data.test);
    for (int i = 0; i < 64; i++) {
        dataset_add_feature(&data.train, (uint64_t)i % 2, 1.0F);
        dataset_add_feature(&data.train, 100 + (uint64_t)i, 1.0F);
        dataset_end_row(&data.train, i % 2);
        dataset_add_feature(&data.test, (uint64_t)i % 2, 1.0F);
        dataset_end_row(&data.test, i % 2);
    }
    assert_int_equal(store_plain_open(&store, &config, &e), PS_OK);
    assert_int_equal(train_run(&s, store, &data, result, &e), PS_OK);
    assert_int_equal(result->has_test, 1);
    assert_int_equal(result->has_valid, 0);
    assert_near(result->test.auc, 1.0, 0.0);
    assert_true(result->test.log_loss < 0.2);
    assert_true(result->curve[29].log_loss < result->curve[0].log_loss);
    store->free(store);
    dataset_fini(&data.train);
    dataset_fini(&data.valid);
    dataset_fini(&data.test);
    free(result);
}

static void progress_line_tells_speed_loss_and_time_left(void **state)
{
    struct progress p;
    char text[160];

    (void)state;
    progress_init(&p, NULL, 0, 1000, 0, 4);
    p.started = 100.0;
    p.rows_done = 1500;
    /* 1,500 rows in 3 s: 500 rows/s; 2,500 are left, 5 s. */
    progress_text(&p, 1, 0.25, 103.0, text, sizeof(text));
    assert_string_equal(text,
                        "epoch 2/4  50 %  500 rows/s  loss 0.2500  0:05 left");
    p.rows_done = 10;
    /* 10 rows in 2 s: 5 rows/s; 3,990 are left, 798 s. */
    progress_text(&p, 0, 0.25, 102.0, text, sizeof(text));
    assert_string_equal(text,
                        "epoch 1/4   1 %  5 rows/s  loss 0.2500  13:18 left");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auc_counts_pairs_in_order),
        cmocka_unit_test(auc_counts_ties_half),
        cmocka_unit_test(auc_of_one_class_or_no_rows_is_not_a_number),
        cmocka_unit_test(auc_of_scores_that_blew_up_is_not_a_number),
        cmocka_unit_test(log_loss_is_minus_the_log_of_the_probability),
        cmocka_unit_test(log_loss_of_a_huge_score_does_not_overflow),
        cmocka_unit_test(batch_numbers_each_key_once),
        cmocka_unit_test(score_is_the_factorization_machine),
        cmocka_unit_test(gradient_is_the_slope_of_the_summed_loss),
        cmocka_unit_test(plain_store_runs_adagrad),
        cmocka_unit_test(plain_store_keeps_many_keys_apart),
        cmocka_unit_test(meeting_waits_for_the_last_worker),
        cmocka_unit_test(meeting_remembers_who_has_finished_and_left),
        cmocka_unit_test(meeting_gives_up_on_a_worker_that_stands_still),
        cmocka_unit_test(a_restarted_worker_goes_on_with_its_unfinished_epoch),
        cmocka_unit_test(a_worker_says_where_it_is_and_saves_now_and_then),
        cmocka_unit_test(training_learns_what_one_feature_says),
        cmocka_unit_test(progress_line_tells_speed_loss_and_time_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
