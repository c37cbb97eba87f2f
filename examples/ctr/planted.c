/* With F fields, weights of variance a^2 sum to the variance F a^2. The
 * F (F - 1) / 2 pairs each add a product of k pairs of factors: with factors of
 * standard deviation b, a variance of k b^4. So
 *     a = linear / sqrt(F),     b = (cross^2 / (k F (F - 1) / 2))^(1/4).
 */
#include "planted.h"

#include <math.h>

#include "dice.h"

static double normal(const struct planted *p, size_t field, uint64_t id,
                     size_t i)
{
    return dice_normal(dice_mix3(p->seed, dice_mix(field) ^ id, i));
}

double planted_score(const struct planted *p, const uint64_t *ids)
{
    double n = (double)p->fields;
    double pairs = n * (n - 1.0) / 2.0;
    double a = p->linear / sqrt(n);
    double b = 0.0;
    double score = p->bias;

    if (pairs > 0.0 && p->k != 0) {
        b = sqrt(p->cross / sqrt((double)p->k * pairs));
    }
    for (size_t field = 0; field < p->fields; field++) {
        score += a * normal(p, field, ids[field], 0);
    }
    for (size_t f = 0; f < p->k && b > 0.0; f++) {
        double sum = 0.0;
        double squares = 0.0;

        for (size_t field = 0; field < p->fields; field++) {
            double v = b * normal(p, field, ids[field], f + 1);

            sum += v;
            squares += v * v;
        }
        score += (sum * sum - squares) / 2.0;
    }
    return score;
}
