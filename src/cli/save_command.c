/* save_command.c - ps-plus save: a checkpoint of a cluster that trains on. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/order.h"
#include "client/client_save.h"

struct options {
    struct order_options order;
    bool waits_not;
    bool cancels;
    bool is_whole;
    uint64_t former; /* ticket of a save that was under way before */
};
_Static_assert(offsetof(struct options, order) == 0, "rows of order.h");

#define AT(field) offsetof(struct options, field)

static const struct opt table[] = {
    ORDER_OPTIONS("save"),
    {.name = "no-wait",
     .type = OPT_FLAG,
     .offset = AT(waits_not),
     .help = "Ends when the save has begun."},
    {.name = "cancel",
     .type = OPT_FLAG,
     .offset = AT(cancels),
     .help = "Ends the save that is under way, whoever began it."},
    {.name = "whole",
     .type = OPT_FLAG,
     .offset = AT(is_whole),
     .help = "All rows, where the cluster (--full_every) would save only what "
             "has changed since the last checkpoint."},
    CLI_OPTIONS("warning"),
};

static const struct cli_page page = {
    .usage = "ps-plus save -sp KV [NAME] [OPTION...]",
    .about =
        "Takes a checkpoint of all servers into the folder that the scheduler\n"
        "was given with -cp, while training goes on. It holds exactly the\n"
        "pushes that each worker made before one boundary of its steps, with\n"
        "the position of its reader there. NAME may be any words; without one\n"
        "it is known by its cut. Waits for the end, and shows how far it is.\n"
        "\n"
        "A save of the same NAME that is under way is shared, while a\n"
        "worker has not come to its boundary; after any other this one\n"
        "begins. Ctrl-C or SIGTERM cancels the save, unless another began\n"
        "it; a second one ends at once, and leaves it to go on. What a save\n"
        "that fails or is canceled has written goes.\n"
        "Ends with status 0 only when the checkpoint is whole and was read\n"
        "back.\n"
        "\n"
        "    ps-plus save -sp file:///run/ps monday\n"
        "    ps-plus save -sp file:///run/ps --no-wait\n"
        "    ps-plus status -sp file:///run/ps\n"
        "    ps-plus save -sp file:///run/ps --cancel\n"
        "    ps-plus checkpoints file:///srv/model\n",
    .table = table,
    .n = ARRAY_LEN(table),
};

static struct options *options_of(const struct order *o)
{
    return CONTAINER_OF(o->options, struct options, order);
}

static struct ps_save_state state_of(const struct order *o)
{
    struct ps_save_state s = {0};

    (void)ps_request_save(o->request, &s);
    return s;
}

/* Somebody else began it. */
static bool is_shared(const struct order *o)
{
    uint64_t former = options_of(o)->former;

    return former != 0 && state_of(o).ticket == former;
}

static void describe(struct order *o, char *text)
{
    struct ps_save_state s = state_of(o);

    if (s.state == PS_SAVE_NONE) {
        return;
    }
    if (s.rows_done < s.rows || (s.rows == 0 && s.state != PS_SAVE_CLOSED)) {
        snprintf(text, ORDER_LINE_BYTES,
                 "%s: %" PRIu64 " of %" PRIu64 " rows (%.0f %%)", s.folder,
                 s.rows_done, s.rows,
                 s.rows == 0 ? 0.0
                             : 100.0 * (double)s.rows_done / (double)s.rows);
    } else if (s.state == PS_SAVE_CLOSED) {
        snprintf(text, ORDER_LINE_BYTES,
                 "%s: %" PRIu64 " rows, finishing the files", s.folder, s.rows);
    } else {
        snprintf(text, ORDER_LINE_BYTES,
                 "%s: %" PRIu64 " rows are out; waits until each worker has "
                 "come to the end of a step",
                 s.folder, s.rows);
    }
}

static void interrupt(struct order *o)
{
    struct ps_error error = {0};

    if (is_shared(o)) {
        return;
    }
    fprintf(stderr, "canceling; again ends at once\n");
    if (ps_save_cancel(o->client, ORDER_ANSWER_MS, &error) != PS_OK) {
        fprintf(stderr, "%s\n", error.text);
    }
}

/* The cluster has taken the order, and the store says so. */
static bool has_begun(const struct order *o)
{
    return state_of(o).state != PS_SAVE_NONE;
}

static bool is_over(struct order *o)
{
    return (o->is_told_to_end && is_shared(o)) ||
           (options_of(o)->waits_not && has_begun(o));
}

static int print_end(const struct order *o, const struct ps_save_state *s,
                     struct err *e)
{
    double seconds = order_seconds(o);

    if (o->options->is_json) {
        return cli_print_json(
            json_pack("{s:s, s:I, s:I, s:s, s:s, s:I, s:I, s:f, s:b, s:s}",
                      "state", client_save_word(s->state), "ticket",
                      (json_int_t)s->ticket, "cut", (json_int_t)s->cut, "name",
                      s->name, "folder", s->folder, "rows", (json_int_t)s->rows,
                      "rows_done", (json_int_t)s->rows_done, "seconds", seconds,
                      "shared", is_shared(o), "why", s->why),
            e);
    }
    if (s->state == PS_SAVE_DONE) {
        printf("saved %s: %" PRIu64 " rows in %.1f s%s\n", s->folder, s->rows,
               seconds, is_shared(o) ? " (begun by another)" : "");
    } else if (s->state == PS_SAVE_OPEN || s->state == PS_SAVE_CLOSED) {
        printf("saving %s: ps-plus status shows how far it is\n", s->folder);
    }
    return PS_OK;
}

/* The save has ended as rc, or may go on without us. */
static int judge(const struct order *o, int rc, struct err *e)
{
    struct ps_save_state s = state_of(o);
    int printed;

    if (rc == PS_ETIMEOUT && !has_begun(o)) {
        char waits[160];

        ps_client_waits_for(o->client, waits, sizeof(waits));
        return err_set(e, rc, "the save has not begun (waits: %s)", waits);
    }
    if (rc == PS_EARGUMENT || rc == PS_ECLIENTDEC) {
        return err_set(e, rc, "%s",
                       s.why[0] != '\0' ? s.why : ps_status_text(rc));
    }
    printed = print_end(o, &s, e);
    if (rc == PS_OK || (rc == PS_ETIMEOUT && options_of(o)->waits_not)) {
        return printed;
    }
    if (rc == PS_ETIMEOUT) {
        return err_set(e, rc, "%s has not ended: it goes on",
                       s.folder[0] != '\0' ? s.folder : "the save");
    }
    if (rc == PS_ECANCELED) {
        return err_set(e, rc, "%s was canceled", s.folder);
    }
    return err_set(e, rc, "%s", s.why[0] != '\0' ? s.why : ps_status_text(rc));
}

static int save(struct order *o, struct err *e)
{
    struct ps_error error = {0};
    struct ps_save_state before = {0};
    struct client_guard g;
    int rc;

    client_enter(o->client, &g);
    rc = client_save_state(
        o->client, client_deadline(o->client, ORDER_ANSWER_MS), &before);
    client_leave(o->client, &g);
    if (rc == PS_OK &&
        (before.state == PS_SAVE_OPEN || before.state == PS_SAVE_CLOSED)) {
        options_of(o)->former = before.ticket;
    }
    rc = client_save_begin(o->client, o->options->name, options_of(o)->is_whole,
                           &o->request, &error);
    if (rc != PS_OK) {
        return err_set(e, rc, "%s", error.text);
    }
    rc = judge(o, order_wait(o), e);
    ps_request_free(o->request);
    return rc;
}

static int cancel(const struct order *o, struct err *e)
{
    struct ps_save_state s = {0};
    struct ps_error error = {0};
    int rc = ps_save_cancel(o->client, ORDER_ANSWER_MS, &error);

    (void)ps_save_get(o->client, &s);
    if (rc == PS_ENOTFOUND) {
        return err_set(e, rc, "no save is under way");
    }
    if (rc != PS_OK) {
        return err_set(e, rc, "%s", error.text);
    }
    if (o->options->is_json) {
        return cli_print_json(json_pack("{s:s, s:I}", "state", "canceled",
                                        "ticket", (json_int_t)s.ticket),
                              e);
    }
    printf("canceled %s\n", s.folder);
    return PS_OK;
}

static int run(struct order *o, struct err *e)
{
    o->describe = describe;
    o->interrupt = interrupt;
    o->is_over = is_over;
    return options_of(o)->cancels ? cancel(o, e) : save(o, e);
}

static int check(struct order_options *options, const struct opt_list *rest,
                 struct err *e)
{
    const struct options *o = CONTAINER_OF(options, struct options, order);

    if (rest->n > 1) {
        return err_set(e, PS_EARGUMENT,
                       "unexpected word \"%.64s\"; a name of several words "
                       "stands in quotes",
                       rest->items[1]);
    }
    if (o->cancels && (rest->n > 0 || o->waits_not)) {
        return err_set(e, PS_EARGUMENT,
                       "--cancel ends the save that is under way: it takes no "
                       "name and no --no-wait");
    }
    if (o->waits_not && options->wait_s > 0) {
        return err_set(e, PS_EARGUMENT,
                       "--wait and --no-wait contradict each other");
    }
    return PS_OK;
}

int save_main(int argc, char **argv)
{
    struct options o = {0};

    return order_main(&page, argc, argv, &o.order, check, run);
}
