/* restore_command.c - ps-plus restore: a cluster goes back to a checkpoint. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "cli/cli.h"
#include "client/client_restore.h"
#include "coord/coord.h"

enum {
    FOLDER_BYTES = 4096,
    LINE_BYTES = 512,
    TEXT_BYTES = 768,
    WAIT_MAX_S = 7 * 86400,
    ANSWER_MS = 10000, /* of the store and the scheduler */
    LOOK_MS = 100,
    CLOSE_MS = 1000,
    PROGRESS_MS = 200,
    PROGRESS_PLAIN_MS = 1000,
    RENAMES_MAX = 64
};

struct options {
    struct cli_options cli;
    const char *kv_path;
    int64_t wait_s;
    bool is_json;
    const char *name; /* "": the newest good one */
    struct wire_rename renames[RENAMES_MAX];
    char froms[RENAMES_MAX][LIMIT_NAME_BYTES + 1];
    uint32_t n_renames;
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
     .help = "How long it waits for the end; what has begun goes on then, and "
             "the status is 1. 0 is for ever."},
    {.name = "json",
     .type = OPT_FLAG,
     .offset = AT(is_json),
     .help = "The end as one object of JSON, for programs."},
    CLI_OPTIONS("warning"),
};

static const struct cli_page page = {
    .usage = "ps-plus restore -sp KV [NAME [FROM=TO...]] [OPTION...]",
    .about =
        "Has the whole cluster go back to a checkpoint: NAME is its folder, "
        "its\n"
        "cut or what its user called it; without one the newest that is good.\n"
        "It is verified whole before anything is touched; one that is damaged\n"
        "is refused with the file and the newest good one. What was pushed\n"
        "after it is gone, and each worker is told where its reader stood.\n"
        "\n"
        "With FROM=TO only these variables come from it, as TO, which must "
        "not\n"
        "be there yet; the rest stays. FROM and TO may end in / or *, for all\n"
        "that begin so. The checkpoint may be another cluster's.\n"
        "\n"
        "    ps-plus restore -sp file:///run/ps monday\n"
        "    ps-plus restore -sp file:///run/ps 12\n"
        "    ps-plus restore -sp file:///run/ps monday 'user/=old/'\n"
        "    ps-plus checkpoints file:///srv/model\n",
    .table = table,
    .n = ARRAY_LEN(table),
};

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
    bool is_terminal;
    bool is_shown; /* a line stands on the terminal */
};

static void end_line(struct run *r)
{
    if (r->is_shown && r->is_terminal) {
        fprintf(stderr, "\r\033[K");
    }
    r->is_shown = false;
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
    client_restore_text(r->request, text, sizeof(text));
    if (text[0] == '\0') {
        ps_client_waits_for(r->client, text, sizeof(text));
    }
    base_one_line(text);
    r->is_shown = true;
    fprintf(stderr, "%s%s, %.1f s%s", r->is_terminal ? "\r\033[K" : "", text,
            (double)(now - r->start_ms) / 1000, r->is_terminal ? "" : "\n");
}

static int judge(struct run *r, int rc, struct err *e)
{
    double seconds = (double)(now_ms() - r->start_ms) / 1000;
    char text[TEXT_BYTES];

    end_line(r);
    client_restore_text(r->request, text, sizeof(text));
    if (r->options->is_json) {
        json_t *root =
            json_pack("{s:s, s:s, s:s, s:f}", "state",
                      rc == PS_OK ? "restored"
                                  : (rc == PS_ETIMEOUT ? "waiting" : "failed"),
                      "folder", rc == PS_OK ? text : "", "why",
                      rc == PS_OK ? "" : text, "seconds", seconds);

        json_dumpf(root, stdout, JSON_INDENT(1));
        printf("\n");
        json_decref(root);
    } else if (rc == PS_OK) {
        printf("restored %s in %.1f s\n", text, seconds);
    }
    if (rc == PS_ETIMEOUT) {
        return err_set(e, rc, "the restore has not ended: %s", text);
    }
    return rc == PS_OK ? rc
                       : err_set(e, rc, "%s",
                                 text[0] != '\0' ? text : ps_status_text(rc));
}

static int restore(struct run *r, struct err *e)
{
    const struct options *o = r->options;
    struct ps_error error = {0};
    int rc = client_restore(r->client, o->name, o->renames, o->n_renames,
                            &r->request, &error);

    if (rc != PS_OK) {
        return err_set(e, rc, "%s", error.text);
    }
    do {
        show_progress(r);
        rc = ps_wait(r->request, LOOK_MS);
    } while (rc == PS_ETIMEOUT &&
             (o->wait_s == 0 ||
              now_ms() < r->start_ms + (uint64_t)o->wait_s * 1000));
    rc = judge(r, rc, e);
    ps_request_free(r->request);
    return rc;
}

static int run(const struct options *o, struct err *e)
{
    struct run r = {.options = o,
                    .start_ms = now_ms(),
                    .shown_ms = now_ms(),
                    .is_terminal = isatty(STDERR_FILENO) == 1};
    struct ps_options options;
    struct ps_error error = {0};
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
    rc = restore(&r, e);
    (void)ps_close(r.client, CLOSE_MS); /* nothing else is in flight */
    return rc;
}

static bool is_name(const char *text)
{
    return strlen(text) <= LIMIT_NAME_BYTES && wire_is_text(text, strlen(text));
}

/* FROM=TO; the last `=`, as a name may have one. */
static int take_rename(struct options *o, const char *word, struct err *e)
{
    const char *equals = strrchr(word, '=');
    size_t n = equals != NULL ? (size_t)(equals - word) : 0;

    if (n == 0 || n > LIMIT_NAME_BYTES || equals[1] == '\0' ||
        !is_name(equals + 1) || !wire_is_text(word, n)) {
        return err_set(e, PS_EARGUMENT,
                       "\"%.64s\" has to be FROM=TO, each a name of at most %d "
                       "bytes; a name of several words stands in quotes",
                       word, (int)LIMIT_NAME_BYTES);
    }
    if (o->n_renames == RENAMES_MAX) {
        return err_set(e, PS_EARGUMENT, "at most %d FROM=TO", (int)RENAMES_MAX);
    }
    memcpy(o->froms[o->n_renames], word, n);
    o->froms[o->n_renames][n] = '\0';
    o->renames[o->n_renames] =
        (struct wire_rename){o->froms[o->n_renames], equals + 1};
    o->n_renames++;
    return PS_OK;
}

/* Whether the words go together. */
static int check(struct options *o, const struct opt_list *rest, char *folder,
                 struct err *e)
{
    int rc = PS_OK;

    o->n_renames = 0;
    o->name = rest->n > 0 ? rest->items[0] : "";
    if (!is_name(o->name)) {
        return err_set(e, PS_EARGUMENT,
                       "the name has to be at most %d bytes of UTF-8 without "
                       "control characters",
                       (int)LIMIT_NAME_BYTES);
    }
    for (size_t i = 1; i < rest->n && rc == PS_OK; i++) {
        rc = take_rename(o, rest->items[i], e);
    }
    if (rc == PS_OK && o->kv_path != NULL &&
        coord_path_parse(o->kv_path, folder, FOLDER_BYTES, e) != PS_OK) {
        rc = err_wrap(e, "option --scheduler_kv_path or -sp");
    }
    return rc;
}

int restore_main(int argc, char **argv)
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
