/* metric.h - how good scores are: area under the ROC curve and log loss. */
#ifndef METRIC_H
#define METRIC_H

#include <stddef.h>

/* The chance that a clicked row, drawn at random, scores higher than one that
 * was not clicked; ties count half. Exact, from the ranks. NAN if the rows are
 * all clicked or none is. */
double metric_auc(const float *scores, const unsigned char *labels, size_t n);

/* log(1 + exp(-score)) for a click, log(1 + exp(score)) for none; no overflow
 * for any finite score. */
double metric_log_loss_row(float score, int label);

/* The mean over the rows, NAN if there are none. */
double metric_log_loss(const float *scores, const unsigned char *labels,
                       size_t n);

#endif
