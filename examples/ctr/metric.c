#include "metric.h"

#include <math.h>
#include <stdlib.h>

#include "need.h"

struct scored {
    float score;
    int label;
};

static int compare(const void *a, const void *b)
{
    float x = ((const struct scored *)a)->score;
    float y = ((const struct scored *)b)->score;

    return (x > y) - (x < y);
}

/* With the rows sorted by score, a row beats all rows before its group of equal
 * scores and draws with those inside: in each group, clicks in it times (misses
 * before + half the misses in it). */
static double count_wins(const struct scored *rows, size_t n, double *clicks,
                         double *misses)
{
    double wins = 0.0;
    size_t i = 0;

    *clicks = 0.0;
    *misses = 0.0;
    while (i < n) {
        double group_clicks = 0.0;
        double group_misses = 0.0;
        float score = rows[i].score;

        while (i < n && !(rows[i].score > score)) {
            group_clicks += rows[i].label != 0 ? 1.0 : 0.0;
            group_misses += rows[i].label != 0 ? 0.0 : 1.0;
            i++;
        }
        wins += group_clicks * (*misses + 0.5 * group_misses);
        *clicks += group_clicks;
        *misses += group_misses;
    }
    return wins;
}

double metric_auc(const float *scores, const unsigned char *labels, size_t n)
{
    struct scored *rows = need_array(n, sizeof(*rows));
    double clicks;
    double misses;
    double wins;

    for (size_t i = 0; i < n; i++) {
        if (isnan(scores[i])) {
            free(rows);
            return (double)NAN; /* a model that has blown up has no order */
        }
        rows[i].score = scores[i];
        rows[i].label = labels[i];
    }
    qsort(rows, n, sizeof(*rows), compare);
    wins = count_wins(rows, n, &clicks, &misses);
    free(rows);
    if (clicks < 0.5 || misses < 0.5) {
        return (double)NAN;
    }
    return wins / (clicks * misses);
}

double metric_log_loss_row(float score, int label)
{
    double z = label != 0 ? -(double)score : (double)score;

    return z > 0.0 ? z + log1p(exp(-z)) : log1p(exp(z));
}

double metric_log_loss(const float *scores, const unsigned char *labels,
                       size_t n)
{
    double sum = 0.0;

    if (n == 0) {
        return (double)NAN;
    }
    for (size_t i = 0; i < n; i++) {
        sum += metric_log_loss_row(scores[i], labels[i]);
    }
    return sum / (double)n;
}
