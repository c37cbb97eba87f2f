/* save_command.c - ps-plus save: a checkpoint of a cluster that trains on. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "cli/cli.h"
#include "client/client_save.h"
#include "coord/coord.h"

enum {
    FOLDER_BYTES = 4096,
    LINE_BYTES = 512,
    WAIT_MAX_S = 7 * 86400,
    ANSWER_MS = 10000, /* of the store and the scheduler */
    LOOK_MS = 100,
    CLOSE_MS = 1000,
    PROGRESS_MS = 200,
    PROGRESS_PLAIN_MS = 1000
};

struct options {
    struct cli_options cli;
    const char *kv_path;
    int64_t wait_s;
    bool waits_not;
    bool cancels;
    bool is_whole;
    bool is_json;
    const char *name; /* "": none */
};
_Static_assert(offsetof(struct options, cli) == 0, "rows of cli.h");

#define AT(field) offsetof(struct options, field)

static const struct opt table[] = {
    {.name = "scheduler_kv_path",
     .brief = "sp",
     .type = OPT_TEXT,
     .flags = OPT_REQUIRED,
     .offset = AT(kv_path),
     .value = "KV",
     .help = "The store where all meet, such as file:///run/ps."},
    {.name = "wait",
     .type = OPT_INT,
     .offset = AT(wait_s),
     .max = WAIT_MAX_S,
     .fallback = "0",
     .value = "SECONDS",
     .help = "How long it waits for the end; the save goes on then, and the "
             "status is 1. 0 is for ever."},
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
    {.name = "json",
     .type = OPT_FLAG,
     .offset = AT(is_json),
     .help = "The end as one object of JSON, for programs."},
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
        "While one save is under way another shares it. Ctrl-C cancels the\n"
        "save, unless another began it; a second one ends at once, and leaves\n"
        "it to go on. What a save that fails or is canceled has written goes.\n"
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

static volatile sig_atomic_t n_interrupts;

static void on_interrupt(int number)
{
    (void)number;
    if (n_interrupts > 0) {
        _exit(CLI_FAILED);
    }
    n_interrupts = n_interrupts + 1;
}

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* One run of this command. */
struct run {
    const struct options *options;
    ps_client *client;
    ps_request *request;
    uint64_t start_ms;
    uint64_t shown_ms;
    uint64_t former; /* ticket of a save that was under way before */
    bool is_terminal;
    bool is_shown; /* a line stands on the terminal */
    bool is_told_to_end;
};

/* Somebody else began it. */
static bool is_shared(const struct run *r)
{
    return r->former != 0 && client_save_ticket(r->request) == r->former;
}

static void end_line(struct run *r)
{
    if (r->is_shown && r->is_terminal) {
        fprintf(stderr, "\r\033[K");
    }
    r->is_shown = false;
}

static void describe(const struct run *r, char *text)
{
    struct ps_save_state s = {0};
    uint64_t ticket = client_save_ticket(r->request);

    (void)ps_save_get(r->client, &s);
    if (ticket == 0 || s.ticket != ticket || s.state == PS_SAVE_NONE) {
        ps_client_waits_for(r->client, text, LINE_BYTES);
    } else if (s.state == PS_SAVE_CLOSED) {
        snprintf(text, LINE_BYTES, "%s: %" PRIu64 " rows, finishing the files",
                 s.folder, s.rows);
    } else if (s.rows_done == s.rows && s.rows > 0) {
        snprintf(text, LINE_BYTES,
                 "%s: %" PRIu64 " rows are out; waits until each worker has "
                 "come to the end of a step",
                 s.folder, s.rows);
    } else {
        snprintf(
            text, LINE_BYTES, "%s: %" PRIu64 " of %" PRIu64 " rows (%.0f %%)",
            s.folder, s.rows_done, s.rows,
            s.rows == 0 ? 0.0 : 100.0 * (double)s.rows_done / (double)s.rows);
    }
    base_one_line(text);
}

static void show_progress(struct run *r)
{
    uint64_t now = now_ms();
    char text[LINE_BYTES];

    if (now - r->shown_ms <
        (uint64_t)(r->is_terminal ? PROGRESS_MS : PROGRESS_PLAIN_MS)) {
        return;
    }
    r->shown_ms = now;
    describe(r, text);
    r->is_shown = true;
    fprintf(stderr, "%s%s, %.1f s%s", r->is_terminal ? "\r\033[K" : "", text,
            (double)(now - r->start_ms) / 1000, r->is_terminal ? "" : "\n");
}

/* Ctrl-C. */
static void interrupt(struct run *r)
{
    struct ps_error error = {0};

    if (r->is_told_to_end) {
        return;
    }
    r->is_told_to_end = true;
    end_line(r);
    if (is_shared(r)) {
        return;
    }
    fprintf(stderr, "canceling; again ends at once\n");
    if (ps_save_cancel(r->client, ANSWER_MS, &error) != PS_OK) {
        fprintf(stderr, "%s\n", error.text);
    }
}

static void print_end(const struct run *r, const struct ps_save_state *s)
{
    const char *state = client_save_word(s->state);
    double seconds = (double)(now_ms() - r->start_ms) / 1000;

    if (r->options->is_json) {
        json_t *root = json_pack(
            "{s:s, s:I, s:I, s:s, s:s, s:I, s:I, s:f, s:b, s:s}", "state",
            state, "ticket", (json_int_t)s->ticket, "cut", (json_int_t)s->cut,
            "name", s->name, "folder", s->folder, "rows", (json_int_t)s->rows,
            "rows_done", (json_int_t)s->rows_done, "seconds", seconds, "shared",
            is_shared(r), "why", s->why);

        json_dumpf(root, stdout, JSON_INDENT(1));
        printf("\n");
        json_decref(root);
    } else if (s->state == PS_SAVE_DONE) {
        printf("saved %s: %" PRIu64 " rows in %.1f s%s\n", s->folder, s->rows,
               seconds, is_shared(r) ? " (begun by another)" : "");
    } else if (s->state == PS_SAVE_OPEN || s->state == PS_SAVE_CLOSED) {
        printf("saving %s: ps-plus status shows how far it is\n", s->folder);
    }
}

/* The cluster has taken the order, and the store says so. */
static bool has_begun(const struct run *r)
{
    struct ps_save_state s = {0};
    uint64_t ticket = client_save_ticket(r->request);

    (void)ps_save_get(r->client, &s);
    return ticket != 0 && s.ticket >= ticket;
}

/* The save has ended as rc, or may go on without us. */
static int judge(struct run *r, int rc, struct err *e)
{
    struct ps_save_state s = {0};

    end_line(r);
    (void)ps_save_get(r->client, &s);
    if (rc == PS_ETIMEOUT && !has_begun(r)) {
        char waits[160];

        ps_client_waits_for(r->client, waits, sizeof(waits));
        return err_set(e, rc, "the save has not begun: %s", waits);
    }
    if (rc == PS_EARGUMENT || rc == PS_ECLIENTDEC) {
        return err_set(e, rc, "%s",
                       s.why[0] != '\0' ? s.why : ps_status_text(rc));
    }
    print_end(r, &s);
    if (rc == PS_OK || (rc == PS_ETIMEOUT && r->options->waits_not)) {
        return PS_OK;
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

static bool is_over(const struct run *r, int rc)
{
    const struct options *o = r->options;

    return rc != PS_ETIMEOUT || (r->is_told_to_end && is_shared(r)) ||
           (o->waits_not && has_begun(r)) ||
           (o->wait_s > 0 &&
            now_ms() >= r->start_ms + (uint64_t)o->wait_s * 1000);
}

static int save(struct run *r, struct err *e)
{
    struct ps_error error = {0};
    int rc = client_save_begin(r->client, r->options->name,
                               r->options->is_whole, &r->request, &error);

    if (rc != PS_OK) {
        return err_set(e, rc, "%s", error.text);
    }
    do {
        if (n_interrupts > 0) {
            interrupt(r);
        }
        show_progress(r);
        rc = ps_wait(r->request, LOOK_MS);
    } while (!is_over(r, rc));
    rc = judge(r, rc, e);
    ps_request_free(r->request);
    return rc;
}

static int cancel(struct run *r, struct err *e)
{
    struct ps_save_state s = {0};
    struct ps_error error = {0};
    int rc = ps_save_cancel(r->client, ANSWER_MS, &error);

    (void)ps_save_get(r->client, &s);
    if (rc == PS_ENOTFOUND) {
        return err_set(e, rc, "no save is under way");
    }
    if (rc != PS_OK) {
        return err_set(e, rc, "%s", error.text);
    }
    if (r->options->is_json) {
        printf("{\"state\": \"canceled\", \"ticket\": %" PRIu64 "}\n",
               s.ticket);
    } else {
        printf("canceled %s\n", s.folder);
    }
    return PS_OK;
}

static int run(const struct options *o, struct err *e)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    struct run r = {.options = o,
                    .start_ms = now_ms(),
                    .shown_ms = now_ms(),
                    .is_terminal = isatty(STDERR_FILENO) == 1};
    struct ps_options options;
    struct ps_error error = {0};
    struct ps_save_state before = {0};
    struct client_guard g;
    int rc;

    ps_options_init(&options);
    options.scheduler = o->kv_path;
    options.worker = -1;
    options.timeout_ms = ANSWER_MS;
    options.quiet = 1;
    rc = ps_open(&r.client, &options, &error);
    if (rc != PS_OK) {
        return err_set(e, rc, "%s", error.text);
    }
    if (o->cancels) {
        rc = cancel(&r, e);
    } else {
        client_enter(r.client, &g);
        rc = client_save_state(r.client, client_deadline(r.client, ANSWER_MS),
                               &before);
        client_leave(r.client, &g);
        if (rc == PS_OK &&
            (before.state == PS_SAVE_OPEN || before.state == PS_SAVE_CLOSED)) {
            r.former = before.ticket;
        }
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        rc = save(&r, e);
    }
    (void)ps_close(r.client, CLOSE_MS); /* nothing else is in flight */
    return rc;
}

/* Whether the words go together. */
static int check(struct options *o, const struct opt_list *rest, char *folder,
                 struct err *e)
{
    o->name = rest->n > 0 ? rest->items[0] : "";
    if (rest->n > 1) {
        return err_set(e, PS_EARGUMENT,
                       "unexpected word \"%.64s\"; a name of several words "
                       "stands in quotes",
                       rest->items[1]);
    }
    if (strlen(o->name) > LIMIT_NAME_BYTES ||
        !wire_is_text(o->name, strlen(o->name))) {
        return err_set(e, PS_EARGUMENT,
                       "the name has to be at most %d bytes of UTF-8 without "
                       "control characters",
                       (int)LIMIT_NAME_BYTES);
    }
    if (o->cancels && (rest->n > 0 || o->waits_not)) {
        return err_set(e, PS_EARGUMENT,
                       "--cancel ends the save that is under way: it takes no "
                       "name and no --no-wait");
    }
    if (o->waits_not && o->wait_s > 0) {
        return err_set(e, PS_EARGUMENT,
                       "--wait and --no-wait contradict each other");
    }
    if (o->kv_path != NULL &&
        coord_path_parse(o->kv_path, folder, FOLDER_BYTES, e) != PS_OK) {
        return err_wrap(e, "option --scheduler_kv_path or -sp");
    }
    return PS_OK;
}

int save_main(int argc, char **argv)
{
    char folder[FOLDER_BYTES];
    struct opt_list rest;
    struct options o;
    struct err e;
    int status;

    if (!cli_parse(&page, argc, argv, &o, &rest, &status)) {
        return status;
    }
    status = CLI_OK;
    if (check(&o, &rest, folder, &e) != PS_OK) {
        status = cli_refuse(&e);
    } else if (!cli_shows_config(&page, &o) &&
               (cli_check_store(o.kv_path, folder, &e) != PS_OK ||
                run(&o, &e) != PS_OK)) {
        status = cli_fail(&e);
    }
    opt_list_free(&rest);
    return status;
}
