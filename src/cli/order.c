#include "cli/order.h"

#include <signal.h>
#include <unistd.h>

enum { LOOK_MS = 100, CLOSE_MS = 1000, PLAIN_MS = 1000 };

static volatile sig_atomic_t n_interrupts;

static void on_interrupt(int number)
{
    (void)number;
    if (n_interrupts > 0) {
        _exit(CLI_FAILED);
    }
    n_interrupts = n_interrupts + 1;
}

double order_seconds(const struct order *o)
{
    return (double)progress_ms(&o->progress) / 1000;
}

static void show_progress(struct order *o)
{
    char text[ORDER_LINE_BYTES] = "";
    bool has_begun;

    if (!progress_is_due(&o->progress)) {
        return;
    }
    o->describe(o, text);
    has_begun = text[0] != '\0';
    if (!has_begun) {
        ps_client_waits_for(o->client, text, sizeof(text));
    }
    progress_show(&o->progress, "%s%.400s, %.1f s",
                  has_begun ? "" : "waits: ", text, order_seconds(o));
}

static bool is_over(struct order *o)
{
    return o->is_over != NULL ? o->is_over(o) : o->is_told_to_end;
}

int order_wait(struct order *o)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    uint64_t wait_ms = (uint64_t)o->options->wait_s * 1000;
    int rc;

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    do {
        if (n_interrupts > 0 && !o->is_told_to_end) {
            o->is_told_to_end = true;
            progress_end(&o->progress);
            if (o->interrupt != NULL) {
                o->interrupt(o);
            }
        }
        show_progress(o);
        rc = ps_wait(o->request, LOOK_MS);
    } while (rc == PS_ETIMEOUT && !is_over(o) &&
             (wait_ms == 0 || progress_ms(&o->progress) < wait_ms));
    progress_end(&o->progress);
    return rc;
}

static int run_in_cluster(struct order_options *options,
                          int (*run)(struct order *o, struct err *e),
                          struct err *e)
{
    struct order o = {.options = options};
    int64_t answer_ms = ORDER_ANSWER_MS;
    int rc;

    if (options->wait_s > 0 && options->wait_s * 1000 < answer_ms) {
        answer_ms = options->wait_s * 1000;
    }
    rc = cli_open(&o.client, options->kv_path, answer_ms, e);
    if (rc == PS_OK) {
        progress_begin(&o.progress, PLAIN_MS);
        rc = run(&o, e);
        (void)ps_close(o.client, CLOSE_MS); /* nothing else is in flight */
    }
    return rc;
}

int order_main(const struct cli_page *page, int argc, char **argv,
               struct order_options *options,
               int (*check)(struct order_options *options,
                            const struct opt_list *rest, struct err *e),
               int (*run)(struct order *o, struct err *e))
{
    char folder[CLI_FOLDER_BYTES] = "";
    struct opt_list rest;
    struct err e;
    int status;

    if (!cli_parse(page, argc, argv, options, &rest, &status)) {
        return status;
    }
    status = CLI_OK;
    options->name = rest.n > 0 ? rest.items[0] : "";
    if ((rest.n > 0 && cli_check_name(options->name, &e) != PS_OK) ||
        check(options, &rest, &e) != PS_OK ||
        cli_check_kv(options->kv_path, folder, &e) != PS_OK) {
        status = cli_refuse(&e);
    } else if (!cli_shows_config(page, options) &&
               (cli_check_store(options->kv_path, folder, &e) != PS_OK ||
                run_in_cluster(options, run, &e) != PS_OK)) {
        status = cli_fail(&e);
    }
    opt_list_free(&rest);
    return status;
}
