#include "result.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

/* JSON has no NAN. */
static const char *number(double x, char text[32])
{
    (void)snprintf(text, 32, isfinite(x) ? "%.6f" : "null", x);
    return text;
}

void result_epoch(const struct settings *s, int epoch, double loss,
                  const struct quality *q)
{
    FILE *out = s->json ? stderr : stdout;

    if (s->quiet) {
        return;
    }
    (void)fprintf(out,
                  "epoch %2d/%llu  train loss %.4f  held-out AUC %.4f  "
                  "log loss %.4f\n",
                  epoch + 1, (unsigned long long)s->epochs, loss, q->auc,
                  q->log_loss);
    (void)fflush(out);
}

static void print_quality(const char *what, const struct quality *q)
{
    char auc[32];
    char log_loss[32];

    (void)printf(",\"%s_auc\":%s,\"%s_log_loss\":%s", what, number(q->auc, auc),
                 what, number(q->log_loss, log_loss));
}

static void print_json(const struct settings *s, const struct train_result *r,
                       const struct store_counts *c)
{
    char text[32];

    (void)printf("{\"worker\":%d,\"workers\":%d,\"model\":\"%s\",\"plain\":%s,"
                 "\"k\":%llu,\"lr\":%g,\"seed\":%llu,\"epochs\":%llu",
                 s->worker, s->workers, s->model, s->plain ? "true" : "false",
                 (unsigned long long)s->k, s->lr, (unsigned long long)s->seed,
                 (unsigned long long)s->epochs);
    (void)printf(",\"first_epoch\":%d,\"rows\":%llu,\"seconds\":%.3f,"
                 "\"train_loss\":%s",
                 r->first_epoch, (unsigned long long)r->rows, r->seconds,
                 number(r->loss, text));
    (void)printf(",\"steps\":%llu,\"step_frames\":%llu,\"frames_acked\":%llu,"
                 "\"pushes_dropped\":%llu,\"frames_lost\":%llu",
                 (unsigned long long)c->steps,
                 (unsigned long long)c->step_frames,
                 (unsigned long long)c->frames_acked,
                 (unsigned long long)c->pushes_dropped,
                 (unsigned long long)c->frames_lost);
    if (c->is_counted) {
        (void)printf(",\"counted\":[%llu,%llu]",
                     (unsigned long long)c->counted_least,
                     (unsigned long long)c->counted_most);
    }
    if (r->has_valid) {
        print_quality("valid", &r->valid);
    }
    if (r->has_test) {
        print_quality("test", &r->test);
    }
    if (s->worker == 0) {
        (void)printf(",\"curve\":[");
        for (int i = 0; i < r->n_epochs; i++) {
            const struct quality *q = &r->curve[r->first_epoch + i];
            char log_loss[32];

            (void)printf("%s{\"epoch\":%d,\"auc\":%s,\"log_loss\":%s}",
                         i == 0 ? "" : ",", r->first_epoch + i + 1,
                         number(q->auc, text), number(q->log_loss, log_loss));
        }
        (void)printf("]");
    }
    (void)printf("}\n");
}

static void print_text(const struct settings *s, const struct train_result *r,
                       const struct store_counts *c)
{
    double trained = (double)r->rows * (double)r->n_epochs;

    if (r->has_valid) {
        (void)printf("validation: AUC %.4f, log loss %.4f\n", r->valid.auc,
                     r->valid.log_loss);
    }
    if (r->has_test) {
        (void)printf("test: AUC %.4f, log loss %.4f\n", r->test.auc,
                     r->test.log_loss);
    }
    if (s->eval_only) {
        return;
    }
    (void)printf("worker %d: %llu rows x %d epochs in %.1f s (%.0f rows/s)",
                 s->worker, (unsigned long long)r->rows, r->n_epochs,
                 r->seconds, trained / fmax(r->seconds, 1e-9));
    if (!s->plain) {
        (void)printf(", %llu steps, %llu frames acknowledged",
                     (unsigned long long)c->steps,
                     (unsigned long long)c->frames_acked);
    }
    (void)printf("\n");
    if (c->is_counted) {
        (void)printf("worker %d: the servers have counted %llu to %llu "
                     "pushes\n",
                     s->worker, (unsigned long long)c->counted_least,
                     (unsigned long long)c->counted_most);
    }
    if (c->pushes_dropped != 0 || c->frames_lost != 0) {
        (void)printf("worker %d: %llu pushes were not applied; servers "
                     "that died lost %llu frames that were\n",
                     s->worker, (unsigned long long)c->pushes_dropped,
                     (unsigned long long)c->frames_lost);
    }
}

void result_end(const struct settings *s, const struct train_result *result,
                const struct store_counts *counts)
{
    if (s->json) {
        print_json(s, result, counts);
    } else if (!s->quiet) {
        if (isatty(STDOUT_FILENO)) {
            /* Worker 0's progress may be on the line. */
            (void)fputs("\r\033[K", stdout);
        }
        print_text(s, result, counts);
    }
    (void)fflush(stdout);
}
