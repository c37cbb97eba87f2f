/* order.h - what a command has a cluster do and waits for: save, restore, move.
 *
 * The command's own words are in its struct, which begins with a struct
 * order_options; while it waits, a line says how far the cluster is.
 */
#ifndef ORDER_H
#define ORDER_H

#include "cli/cli.h"
#include "cli/progress.h"

enum {
    ORDER_LINE_BYTES = 512,
    ORDER_WAIT_MAX_S = 7 * 86400,
    ORDER_ANSWER_MS = 10000 /* of the store and the scheduler */
};

struct order_options {
    struct cli_options cli;
    const char *kv_path;
    int64_t wait_s;
    bool is_json;
    const char *name; /* of a checkpoint or a variable; "": none */
};
_Static_assert(offsetof(struct order_options, cli) == 0, "rows of cli.h");

/* clang-format off */
#define ORDER_AT(field) offsetof(struct order_options, field)
#define ORDER_OPTIONS(what)                                                   \
    {.name = "scheduler_kv_path", .brief = "sp", .type = OPT_TEXT,            \
     .flags = OPT_REQUIRED, .offset = ORDER_AT(kv_path), .value = "KV",       \
     .help = "The store where all meet, such as file:///run/ps."},            \
    {.name = "wait", .type = OPT_INT, .offset = ORDER_AT(wait_s),             \
     .max = ORDER_WAIT_MAX_S, .fallback = "0", .value = "SECONDS",            \
     .help = "How long it waits for the end; the " what " goes on then, and " \
             "the status is 1. 0 is for ever."},                              \
    {.name = "json", .type = OPT_FLAG, .offset = ORDER_AT(is_json),           \
     .help = "The end as one object of JSON, for programs."}
/* clang-format on */

/* One run of a command. */
struct order {
    struct order_options *options;
    ps_client *client;
    ps_request *request;
    /* How far it is; text has ORDER_LINE_BYTES, and stays "" where it has not
     * begun. */
    void (*describe)(struct order *o, char *text);
    /* The first Ctrl-C; a second one ends the process. NULL: it ends the
     * waiting. */
    void (*interrupt)(struct order *o);
    /* Whether it is over for us though the request is not. NULL: after the
     * first Ctrl-C. */
    bool (*is_over)(struct order *o);
    struct progress progress;
    bool is_told_to_end;
};

/* The whole command: its options; the name, and what `check` finds wrong with
 * the words; then run, with the client of o. Returns the exit status. */
int order_main(const struct cli_page *page, int argc, char **argv,
               struct order_options *options,
               int (*check)(struct order_options *options,
                            const struct opt_list *rest, struct err *e),
               int (*run)(struct order *o, struct err *e));

/* Shows how far o->request is until it ends, or is over, or the time of --wait
 * is: PS_ETIMEOUT. */
int order_wait(struct order *o) MUST_USE;
double order_seconds(const struct order *o);

#endif
