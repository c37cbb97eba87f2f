/* The same trainer without servers: a table of keys, and one row of numbers for
 * each. It is the yardstick for store_ps.c and has nothing else in it.
 *
 * A row is: weight, its accumulator, k factors, their k accumulators.
 */
#include "store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dice.h"
#include "need.h"
#include "trouble.h"

struct plain {
    struct store base;
    struct store_config config;
    struct store_counts counts;
    float bias;
    float bias_acc;
    float epochs;
    uint64_t *keys; /* [n] */
    float *rows;    /* [n, row_size] */
    size_t row_size;
    size_t n;
    size_t keys_room;
    size_t rows_room;
    uint32_t *index; /* [index_mask + 1] row number + 1, 0 is empty */
    size_t index_mask;
};

static struct plain *plain_of(struct store *s)
{
    return (struct plain *)(void *)s; /* base is its first field */
}

static size_t find_place(const struct plain *p, uint64_t key)
{
    size_t at = (size_t)dice_mix(key) & p->index_mask;

    while (p->index[at] != 0 && p->keys[p->index[at] - 1] != key) {
        at = (at + 1) & p->index_mask;
    }
    return at;
}

static void grow_index(struct plain *p)
{
    size_t size = (p->index_mask + 1) * 2;

    free(p->index);
    p->index = need_array(size, sizeof(*p->index));
    p->index_mask = size - 1;
    for (size_t i = 0; i < p->n; i++) {
        p->index[find_place(p, p->keys[i])] = (uint32_t)(i + 1);
    }
}

static void init_row(const struct plain *p, uint64_t key, float *row)
{
    size_t k = p->config.k;

    row[0] = 0.0F;
    row[1] = STORE_ACCUMULATOR;
    for (size_t f = 0; f < k; f++) {
        double x = dice_normal(dice_mix3(p->config.seed, key, f));

        row[2 + f] = (float)(x * (double)p->config.sd);
        row[2 + k + f] = STORE_ACCUMULATOR;
    }
}

static float *find_row(struct plain *p, uint64_t key)
{
    size_t at = find_place(p, key);

    if (p->index[at] != 0) {
        return p->rows + (p->index[at] - 1) * p->row_size;
    }
    p->keys = need_more(p->keys, p->n, sizeof(*p->keys), &p->keys_room);
    p->rows =
        need_more(p->rows, p->n, p->row_size * sizeof(*p->rows), &p->rows_room);
    p->keys[p->n] = key;

    float *row = p->rows + p->n * p->row_size;

    init_row(p, key, row);
    p->n++;
    p->index[at] = (uint32_t)p->n;
    if (p->n * 2 > p->index_mask) {
        grow_index(p);
    }
    return row;
}

static int pull(struct store *s, struct batch *b, struct ps_error *e)
{
    struct plain *p = plain_of(s);

    (void)e;
    b->bias = p->bias;
    for (size_t i = 0; i < b->n_keys; i++) {
        const float *row = find_row(p, b->keys[i]);

        b->weights[i] = row[0];
        memcpy(b->factors + i * b->k, row + 2, b->k * sizeof(*row));
    }
    return PS_OK;
}

static void adagrad(float lr, float *d, float *acc, const float *g, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        acc[i] += g[i] * g[i];
        d[i] -= lr * g[i] / sqrtf(acc[i]);
    }
}

static int push(struct store *s, const struct batch *b, struct ps_error *e)
{
    struct plain *p = plain_of(s);
    float lr = p->config.lr;

    (void)e;
    adagrad(lr, &p->bias, &p->bias_acc, &b->bias_grad, 1);
    for (size_t i = 0; i < b->n_keys; i++) {
        float *row = find_row(p, b->keys[i]);

        adagrad(lr, row, row + 1, &b->weight_grads[i], 1);
        adagrad(lr, row + 2, row + 2 + b->k, b->factor_grads + i * b->k, b->k);
    }
    p->counts.steps++;
    return PS_OK;
}

static int finish_epoch(struct store *s, int epochs, struct ps_error *e)
{
    (void)e;
    plain_of(s)->epochs = (float)epochs;
    return PS_OK;
}

static int step(struct store *s, const char *position, struct ps_error *e)
{
    (void)s;
    (void)position;
    (void)e;
    return PS_OK;
}

static int save(struct store *s, const char *name, int waits,
                struct ps_error *e)
{
    (void)s;
    (void)name;
    (void)waits;
    return trouble_set(e, PS_EARGUMENT,
                       "plain arrays cannot be saved: leave --plain out");
}

static int finished(struct store *s, float epochs[STORE_WORKERS_MAX],
                    struct ps_error *e)
{
    struct plain *p = plain_of(s);

    (void)e;
    memset(epochs, 0, STORE_WORKERS_MAX * sizeof(*epochs));
    epochs[p->config.worker] = p->epochs;
    return PS_OK;
}

static int counts(struct store *s, struct store_counts *out, struct ps_error *e)
{
    (void)e;
    *out = plain_of(s)->counts;
    return PS_OK;
}

static void free_plain(struct store *s)
{
    struct plain *p = plain_of(s);

    free(p->keys);
    free(p->rows);
    free(p->index);
    free(p);
}

int store_plain_open(struct store **s, const struct store_config *config,
                     struct ps_error *e)
{
    struct plain *p = need_array(1, sizeof(*p));

    (void)e;
    p->base = (struct store){.pull = pull,
                             .push = push,
                             .finish_epoch = finish_epoch,
                             .step = step,
                             .save = save,
                             .finished = finished,
                             .counts = counts,
                             .free = free_plain};
    p->config = *config;
    p->bias_acc = STORE_ACCUMULATOR;
    p->row_size = 2 + 2 * config->k;
    p->index = need_array(1024, sizeof(*p->index));
    p->index_mask = 1023;
    *s = &p->base;
    return PS_OK;
}
