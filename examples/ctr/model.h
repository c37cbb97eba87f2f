/* model.h - logistic regression and the factorization machine.
 *
 * The score of a row with values x, whose logistic function is the probability
 * of a click:
 *
 *     b + sum_i w_i x_i + 1/2 sum_f ((sum_i v_if x_i)^2 - sum_i v_if^2 x_i^2)
 *
 * Logistic regression is the same without factors (k = 0). The last term is
 * that of S. Rendle, "Factorization Machines", ICDM 2010, lemma 3.1.
 */
#ifndef MODEL_H
#define MODEL_H

#include "batch.h"

/* The score of each row of the batch, from the parameters in it. */
void model_score(const struct batch *b, float *scores);

/* Writes the gradients of the batch's summed log loss, plus l2 times the
 * parameter for each of its occurrences (not for the bias). Returns the summed
 * log loss without the l2 part. */
double model_gradient(struct batch *b, float l2);

#endif
