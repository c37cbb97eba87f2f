#include "model.h"

#include <math.h>
#include <string.h>

#include "metric.h"

/* The score of one row; leaves sum_i v_if x_i in sums, for the gradient. */
static float score_row(const struct batch *b, size_t row, float *sums)
{
    float linear = b->bias;
    float squares = 0.0F;
    float cross = 0.0F;

    for (size_t f = 0; f < b->k; f++) {
        sums[f] = 0.0F;
    }
    for (size_t i = b->starts[row]; i < b->starts[row + 1]; i++) {
        const float *v = b->factors + b->slots[i] * b->k;
        float x = b->values[i];

        linear += b->weights[b->slots[i]] * x;
        for (size_t f = 0; f < b->k; f++) {
            float vx = v[f] * x;

            sums[f] += vx;
            squares += vx * vx;
        }
    }
    for (size_t f = 0; f < b->k; f++) {
        cross += sums[f] * sums[f];
    }
    return linear + 0.5F * (cross - squares);
}

void model_score(const struct batch *b, float *scores)
{
    float sums[BATCH_FACTORS_MAX];

    for (size_t row = 0; row < b->n_rows; row++) {
        scores[row] = score_row(b, row, sums);
    }
}

/* Adds what one row contributes; slope is d loss / d score. */
static void add_row(struct batch *b, size_t row, float slope, float l2,
                    const float *sums)
{
    b->bias_grad += slope;
    for (size_t i = b->starts[row]; i < b->starts[row + 1]; i++) {
        size_t key = b->slots[i];
        const float *v = b->factors + key * b->k;
        float *v_grad = b->factor_grads + key * b->k;
        float x = b->values[i];

        b->weight_grads[key] += slope * x + l2 * b->weights[key];
        for (size_t f = 0; f < b->k; f++) {
            v_grad[f] += slope * x * (sums[f] - v[f] * x) + l2 * v[f];
        }
    }
}

double model_gradient(struct batch *b, float l2)
{
    float sums[BATCH_FACTORS_MAX];
    double loss = 0.0;

    b->bias_grad = 0.0F;
    memset(b->weight_grads, 0, b->n_keys * sizeof(*b->weight_grads));
    memset(b->factor_grads, 0, b->n_keys * b->k * sizeof(*b->factor_grads));
    for (size_t row = 0; row < b->n_rows; row++) {
        float score = score_row(b, row, sums);
        float click = 1.0F / (1.0F + expf(-score));
        float slope = click - (float)b->labels[row];

        loss += metric_log_loss_row(score, b->labels[row]);
        add_row(b, row, slope, l2, sums);
    }
    return loss;
}
