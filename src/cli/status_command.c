/* status_command.c - ps-plus status: what a cluster has and has done. */
#include <jansson.h>
#include <stdio.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "client/status.h"

enum { CLOSE_MS = 1000, WAIT_MAX_S = 86400 };

struct options {
    struct cli_options cli;
    const char *kv_path;
    int64_t wait_s;
    bool is_json;
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
     .min = 1,
     .max = WAIT_MAX_S,
     .fallback = "5",
     .value = "SECONDS",
     .help = "How long it waits for answers."},
    {.name = "json",
     .type = OPT_FLAG,
     .offset = AT(is_json),
     .help = "One object of JSON, for programs."},
    CLI_OPTIONS("warning"),
};

static const struct cli_page page = {
    .usage = "ps-plus status -sp KV [OPTION...]",
    .about =
        "Shows servers and shards, variables with their rows and bytes, and\n"
        "how many pulls and pushes there were. Repeats suppressed are pushes\n"
        "that came again after a lost answer and were not applied again. A\n"
        "server that came back had died, and had lost what is not in a\n"
        "checkpoint or a log. Says where checkpoints go, and how far a save\n"
        "is or how the last ended.\n"
        "Ends with status 1 where there is no cluster, and where no shard\n"
        "answers.\n"
        "\n"
        "For a program:\n"
        "    ps-plus status -sp file:///run/ps --json\n",
    .table = table,
    .n = ARRAY_LEN(table),
};

/* How many shards are in the plan, and how many of them are not silent. */
static void count_shards(const struct buf *text, size_t *n, size_t *n_answered)
{
    json_t *root = json_loadb((const char *)text->data, text->size, 0, NULL);
    const json_t *servers = json_object_get(root, "servers");

    *n = 0;
    *n_answered = 0;
    for (size_t i = 0; i < json_array_size(servers); i++) {
        const json_t *shards =
            json_object_get(json_array_get(servers, i), "shards");

        for (size_t k = 0; k < json_array_size(shards); k++) {
            const char *state = json_string_value(
                json_object_get(json_array_get(shards, k), "state"));

            *n += 1;
            *n_answered += state != NULL && strcmp(state, "silent") != 0;
        }
    }
    json_decref(root);
}

/* Prints the state, whole even where nobody answers: where the shards should
 * be is worth knowing then. */
static int show(ps_client *client, const struct options *o, struct err *e)
{
    struct status *state = NULL;
    struct ps_error error = {0};
    struct buf json;
    struct buf people;
    const struct buf *out;
    size_t n;
    size_t n_answered;
    int rc = status_gather(client, (int)o->wait_s * 1000, &state, &error);

    if (rc != PS_OK) {
        return err_set(e, rc, "%s", error.text);
    }
    buf_init(&json);
    buf_init(&people);
    out = o->is_json ? &json : &people;
    status_json(state, &json);
    status_table(state, &people);
    status_free(state);
    if (json.failed || people.failed) {
        rc = err_set(e, PS_ENOMEM, "out of memory");
    } else {
        fwrite(out->data, 1, out->size, stdout);
        count_shards(&json, &n, &n_answered);
        if (n_answered == 0) {
            rc = err_set(e, PS_ETIMEOUT,
                         "no shard of %s answers; %zu are in the plan",
                         o->kv_path, n);
        }
    }
    buf_fini(&json);
    buf_fini(&people);
    return rc;
}

static int run(const struct options *o, struct err *e)
{
    ps_client *client = NULL;
    int rc = cli_open(&client, o->kv_path, o->wait_s * 1000, e);

    if (rc == PS_OK) {
        rc = show(client, o, e);
        (void)ps_close(client, CLOSE_MS); /* nothing is in flight */
    }
    return rc;
}

int status_main(int argc, char **argv)
{
    char folder[CLI_FOLDER_BYTES];
    struct options o;
    struct err e;
    int status;

    if (!cli_parse(&page, argc, argv, &o, NULL, &status)) {
        return status;
    }
    if (cli_check_kv(o.kv_path, folder, &e) != PS_OK) {
        return cli_refuse(&e);
    }
    if (cli_shows_config(&page, &o)) {
        return CLI_OK;
    }
    if (cli_check_store(o.kv_path, folder, &e) != PS_OK ||
        run(&o, &e) != PS_OK) {
        return cli_fail(&e);
    }
    return CLI_OK;
}
