/* restore_command.c - ps-plus restore: a cluster goes back to a checkpoint. */
#include <stdio.h>

#include "base/limits.h"
#include "cli/order.h"
#include "client/client_restore.h"

enum { TEXT_BYTES = 768, RENAMES_MAX = 64 };

struct options {
    struct order_options order;
    struct wire_rename renames[RENAMES_MAX];
    char froms[RENAMES_MAX][LIMIT_NAME_BYTES + 1];
    uint32_t n_renames;
};
_Static_assert(offsetof(struct options, order) == 0, "rows of order.h");

static const struct opt table[] = {
    ORDER_OPTIONS("restore"),
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
        "Once begun it goes on to its end: Ctrl-C ends the waiting only.\n"
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

static void describe(struct order *o, char *text)
{
    client_text(o->request, text, ORDER_LINE_BYTES);
}

static int judge(const struct order *o, int rc, struct err *e)
{
    char text[TEXT_BYTES];
    int printed = PS_OK;

    client_text(o->request, text, sizeof(text));
    if (o->options->is_json) {
        printed = cli_print_json(
            json_pack("{s:s, s:s, s:s, s:f}", "state",
                      rc == PS_OK ? "restored"
                                  : (rc == PS_ETIMEOUT ? "waiting" : "failed"),
                      "folder", rc == PS_OK ? text : "", "why",
                      rc == PS_OK ? "" : text, "seconds", order_seconds(o)),
            e);
    } else if (rc == PS_OK) {
        printf("restored %s in %.1f s\n", text, order_seconds(o));
    }
    if (rc == PS_ETIMEOUT && text[0] == '\0') {
        ps_client_waits_for(o->client, text, sizeof(text));
        return err_set(
            e, rc, "whether the restore begins is not known (waits: %s)", text);
    }
    if (rc == PS_ETIMEOUT) {
        return err_set(e, rc, "the restore has not ended, it goes on: %s",
                       text);
    }
    return rc == PS_OK ? printed
                       : err_set(e, rc, "%s",
                                 text[0] != '\0' ? text : ps_status_text(rc));
}

static int run(struct order *o, struct err *e)
{
    const struct options *options =
        CONTAINER_OF(o->options, struct options, order);
    struct ps_error error = {0};
    int rc = client_restore(o->client, o->options->name, options->renames,
                            options->n_renames, &o->request, &error);

    if (rc != PS_OK) {
        return err_set(e, rc, "%s", error.text);
    }
    o->describe = describe;
    rc = judge(o, order_wait(o), e);
    ps_request_free(o->request);
    return rc;
}

/* FROM=TO; the last `=`, as a name may have one. */
static int take_rename(struct options *o, const char *word, struct err *e)
{
    const char *equals = strrchr(word, '=');
    size_t n = equals != NULL ? (size_t)(equals - word) : 0;

    if (n == 0 || n > LIMIT_NAME_BYTES || equals[1] == '\0' ||
        cli_check_name(equals + 1, NULL) != PS_OK || !wire_is_text(word, n)) {
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

static int check(struct order_options *options, const struct opt_list *rest,
                 struct err *e)
{
    struct options *o = CONTAINER_OF(options, struct options, order);
    int rc = PS_OK;

    o->n_renames = 0;
    for (size_t i = 1; i < rest->n && rc == PS_OK; i++) {
        rc = take_rename(o, rest->items[i], e);
    }
    return rc;
}

int restore_main(int argc, char **argv)
{
    struct options o = {0};

    return order_main(&page, argc, argv, &o.order, check, run);
}
