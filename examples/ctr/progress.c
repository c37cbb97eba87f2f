#include "progress.h"

#include "clockwork.h"

#define TERMINAL_EVERY_S 0.2
#define PLAIN_EVERY_S 10.0

void progress_init(struct progress *p, FILE *out, int is_terminal,
                   uint64_t rows_epoch, int first_epoch, int epochs)
{
    int to_go = epochs > first_epoch ? epochs - first_epoch : 0;

    *p = (struct progress){.out = out, .is_terminal = is_terminal};
    p->epochs = epochs;
    p->rows_epoch = rows_epoch;
    p->rows_total = rows_epoch * (uint64_t)to_go;
    p->started = clockwork_now();
    p->next = p->started + (is_terminal ? TERMINAL_EVERY_S : PLAIN_EVERY_S);
}

void progress_text(const struct progress *p, int epoch, double loss, double now,
                   char *text, size_t size)
{
    double seconds = now > p->started ? now - p->started : 1e-9;
    double speed = (double)p->rows_done / seconds;
    double left = (double)(p->rows_total - p->rows_done);
    uint64_t part = p->rows_done % p->rows_epoch;
    double percent = 100.0 * (double)part / (double)p->rows_epoch;
    uint64_t left_s = speed > 0.0 ? (uint64_t)(left / speed + 0.5) : 0;

    (void)snprintf(text, size,
                   "epoch %d/%d %3.0f %%  %.0f rows/s  loss %.4f  "
                   "%llu:%02llu left",
                   epoch + 1, p->epochs, part == 0 ? 100.0 : percent, speed,
                   loss, (unsigned long long)(left_s / 60),
                   (unsigned long long)(left_s % 60));
}

void progress_step(struct progress *p, int epoch, uint64_t rows, double loss)
{
    double now = clockwork_now();
    char text[160];

    p->rows_done += rows;
    if (p->out == NULL || now < p->next) {
        return;
    }
    p->next = now + (p->is_terminal ? TERMINAL_EVERY_S : PLAIN_EVERY_S);
    progress_text(p, epoch, loss, now, text, sizeof(text));
    if (p->is_terminal) {
        /* Back to the start, and clear to the end of the line. */
        (void)fprintf(p->out, "\r%s\033[K", text);
        p->is_drawn = 1;
    } else {
        (void)fprintf(p->out, "%s\n", text);
    }
    (void)fflush(p->out);
}

void progress_clear(struct progress *p)
{
    if (p->is_drawn) {
        (void)fputs("\r\033[K", p->out);
        (void)fflush(p->out);
        p->is_drawn = 0;
    }
}
