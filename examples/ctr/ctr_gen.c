/* ctr-gen - makes click logs whose best possible quality is known.
 *
 * A row has one id of each field, drawn with a power law, and is clicked with
 * the probability that a planted factorization machine gives it. Nobody can
 * rank the test rows better than those probabilities do, but by luck: their AUC
 * and log loss are printed, for comparison with what a model has learned.
 *
 * Row i is a function of (seed, i). Memory does not grow with the rows to learn
 * from; the test rows cost 16 bytes each, for their AUC.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flags.h"
#include "metric.h"
#include "need.h"
#include "planted.h"
#include "trouble.h"
#include "zipf.h"

/* Test rows are numbered from here, so that their number does not depend on
 * how many rows there are to learn from. */
#define FIRST_TEST_ROW ((uint64_t)1 << 48)

struct generator {
    uint64_t rows;
    uint64_t test_rows;
    uint64_t fields;
    uint64_t ids_per_field;
    uint64_t k;
    uint64_t seed;
    double exponent;
    double bias;
    double linear;
    double cross;
    const char *out_train;
    const char *out_test;
    int json;
    struct zipf zipf;
    struct planted planted;
};

/* Writes one row as libFM: the index of an id is field * ids_per_field + id. */
static double write_row(const struct generator *g, uint64_t row, FILE *out,
                        unsigned char *label)
{
    struct dice d = {dice_mix3(g->seed, 0x726f77, row)};
    uint64_t ids[PLANTED_FIELDS_MAX];

    for (size_t f = 0; f < g->fields; f++) {
        ids[f] = zipf_draw(&g->zipf, &d) - 1;
    }

    double score = planted_score(&g->planted, ids);

    *label = dice_unit(dice_next(&d)) < 1.0 / (1.0 + exp(-score)) ? 1 : 0;
    (void)fputs(*label != 0 ? "1" : "-1", out);
    for (size_t f = 0; f < g->fields; f++) {
        uint64_t index = f * g->ids_per_field + ids[f];

        (void)fprintf(out, " %llu:1", (unsigned long long)index);
    }
    (void)fputc('\n', out);
    return score;
}

/* Writes n rows; scores and labels, if given, are room for them all. */
static int write_file(const struct generator *g, const char *path,
                      uint64_t first, uint64_t n, float *scores,
                      unsigned char *labels, struct ps_error *e)
{
    FILE *out = fopen(path, "we");

    if (out == NULL) {
        return trouble_set(e, PS_EIO, "open %s: %s", path, strerror(errno));
    }
    for (uint64_t i = 0; i < n && !ferror(out); i++) {
        unsigned char label;
        double score = write_row(g, first + i, out, &label);

        if (scores != NULL) {
            scores[i] = (float)score;
            labels[i] = label;
        }
    }

    int failed = ferror(out);

    if (fclose(out) != 0 || failed) {
        return trouble_set(e, PS_EIO, "write %s: %s", path, strerror(errno));
    }
    return PS_OK;
}

static void tell(const struct generator *g, const float *scores,
                 const unsigned char *labels)
{
    size_t n = (size_t)g->test_rows;
    double auc = metric_auc(scores, labels, n);
    double log_loss = metric_log_loss(scores, labels, n);
    uint64_t clicks = 0;

    for (size_t i = 0; i < n; i++) {
        clicks += labels[i];
    }
    if (g->json) {
        (void)printf("{\"rows\":%llu,\"test_rows\":%zu,\"test_clicks\":%llu",
                     (unsigned long long)g->rows, n,
                     (unsigned long long)clicks);
        if (isfinite(auc)) {
            (void)printf(",\"best_auc\":%.6f,\"best_log_loss\":%.6f", auc,
                         log_loss);
        }
        (void)printf("}\n");
        return;
    }
    (void)printf("generated %llu rows to learn from and %zu to test (%llu "
                 "clicks)\n",
                 (unsigned long long)g->rows, n, (unsigned long long)clicks);
    (void)printf("the best possible on these test rows: AUC %.4f, log loss "
                 "%.4f\n",
                 auc, log_loss);
}

static int generate(struct generator *g, struct ps_error *e)
{
    float *scores = need_array(g->test_rows, sizeof(*scores));
    unsigned char *labels = need_array(g->test_rows, sizeof(*labels));
    int rc = PS_OK;

    zipf_init(&g->zipf, g->ids_per_field, g->exponent);
    g->planted = (struct planted){.seed = g->seed,
                                  .fields = g->fields,
                                  .k = g->k,
                                  .bias = g->bias,
                                  .linear = g->linear,
                                  .cross = g->cross};
    if (g->out_train != NULL) {
        rc = write_file(g, g->out_train, 0, g->rows, NULL, NULL, e);
    }
    if (rc == PS_OK && g->out_test != NULL) {
        rc = write_file(g, g->out_test, FIRST_TEST_ROW, g->test_rows, scores,
                        labels, e);
        if (rc == PS_OK) {
            tell(g, scores, labels);
        }
    }
    free(scores);
    free(labels);
    return rc;
}

static int read_flags(struct generator *g, int argc, char **argv,
                      struct ps_error *e)
{
    const struct flag flags[] = {
        {"rows", FLAG_COUNT, &g->rows, 0, 1e12, "rows to learn from"},
        {"test-rows", FLAG_COUNT, &g->test_rows, 0, 1e9, "rows to test"},
        {"fields", FLAG_COUNT, &g->fields, 1, PLANTED_FIELDS_MAX,
         "ids of a row"},
        {"ids-per-field", FLAG_COUNT, &g->ids_per_field, 1, 1e12,
         "different ids of a field"},
        {"exponent", FLAG_REAL, &g->exponent, 0, 10,
         "power law of the ids: 0 even, 1 as words in a language"},
        {"k", FLAG_COUNT, &g->k, 0, PLANTED_FACTORS_MAX,
         "factors of the planted model"},
        {"bias", FLAG_REAL, &g->bias, -100, 100, "planted bias"},
        {"linear", FLAG_REAL, &g->linear, 0, 100,
         "spread of the planted weights' part of a score"},
        {"cross", FLAG_REAL, &g->cross, 0, 100,
         "spread of the planted factors' part of a score"},
        {"seed", FLAG_COUNT, &g->seed, 0, 1e15, "of everything"},
        {"out-train", FLAG_TEXT, &g->out_train, 0, 0, "file to write"},
        {"out-test", FLAG_TEXT, &g->out_test, 0, 0, "file to write"},
        {"json", FLAG_SWITCH, &g->json, 0, 0, "result as one line of JSON"},
    };
    size_t n = sizeof(flags) / sizeof(flags[0]);

    *g = (struct generator){.rows = 200000,
                            .test_rows = 50000,
                            .fields = 8,
                            .ids_per_field = 2000,
                            .exponent = 1.1,
                            .k = 4,
                            .bias = -1.0,
                            .linear = 1.0,
                            .cross = 1.0,
                            .seed = 1};

    int rc = flags_parse(flags, n, argc, argv, e);

    if (rc == 1) {
        (void)puts("usage: ctr-gen --out-train FILE --out-test FILE "
                   "[OPTION...]\n\nMakes click logs in libFM text whose best "
                   "possible quality is known.\n");
        flags_help(flags, n);
        return rc;
    }
    if (rc == PS_OK && g->out_train == NULL && g->out_test == NULL) {
        rc = trouble_set(e, PS_EARGUMENT,
                         "--out-train FILE and --out-test FILE are missing");
    }
    return rc;
}

int main(int argc, char **argv)
{
    struct generator g;
    struct ps_error e = {0};
    int rc = read_flags(&g, argc, argv, &e);

    if (rc == 1) {
        return 0;
    }
    if (rc != PS_OK) {
        (void)fprintf(stderr, "ctr-gen: %s\n", e.text);
        return 2;
    }
    rc = generate(&g, &e);
    if (rc != PS_OK) {
        (void)fprintf(stderr, "ctr-gen: %s\n", e.text);
        return 1;
    }
    return 0;
}
