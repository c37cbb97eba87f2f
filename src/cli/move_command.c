/* move_command.c - ps-plus move: a part of a variable goes to another shard. */
#include <stdio.h>

#include "base/limits.h"
#include "cli/order.h"
#include "client/client_move.h"

enum { TEXT_BYTES = 768 };

struct options {
    struct order_options order;
    const char *to;
    uint32_t bucket;
    uint32_t server;
    uint32_t shard;
};
_Static_assert(offsetof(struct options, order) == 0, "rows of order.h");

static const struct opt table[] = {
    ORDER_OPTIONS("move"),
    {.name = "to",
     .type = OPT_TEXT,
     .flags = OPT_REQUIRED,
     .offset = offsetof(struct options, to),
     .value = "SERVER.SHARD",
     .help = "The server's number (-si) and its shard's, both from 0."},
    CLI_OPTIONS("warning"),
};

static const struct cli_page page = {
    .usage = "ps-plus move -sp KV VARIABLE BUCKET --to SERVER.SHARD "
             "[OPTION...]",
    .about =
        "Gives the part of VARIABLE that has BUCKET (0 to 65535) to another\n"
        "shard, while training goes on. The shard that has it writes it below\n"
        "the folder that the scheduler was given with -cp, and the other one\n"
        "loads it; pushes to this part wait meanwhile, and none is lost or\n"
        "done twice. It may take as long as it gets on; a line says how many\n"
        "rows are written. If nothing of it is written for 30 seconds, or one\n"
        "of the two servers ends, or the disk fails, the part stays, and this\n"
        "ends with status 1. Parts of a variable with a log stay on the disk\n"
        "of their server: they are refused. A move waits for a save that is\n"
        "under way, and for another move.\n"
        "\n"
        "    ps-plus move -sp file:///run/ps user/embedding 0 --to 1.0\n",
    .table = table,
    .n = ARRAY_LEN(table),
};

static void describe(struct order *o, char *text)
{
    client_text(o->request, text, ORDER_LINE_BYTES);
}

static int judge(const struct order *o, int rc, struct err *e)
{
    const struct options *options =
        CONTAINER_OF(o->options, struct options, order);
    char text[TEXT_BYTES] = "";
    int printed = PS_OK;

    if (rc != PS_OK) { /* else it is how far it was */
        client_text(o->request, text, sizeof(text));
    }
    if (text[0] == '\0' && rc == PS_ETIMEOUT) {
        ps_client_waits_for(o->client, text, sizeof(text));
    }
    if (o->options->is_json) {
        printed = cli_print_json(
            json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:f}", "state",
                      rc == PS_OK ? "moved"
                                  : (rc == PS_ETIMEOUT ? "waiting" : "failed"),
                      "variable", o->options->name, "bucket",
                      (json_int_t)options->bucket, "server",
                      (json_int_t)options->server, "shard",
                      (json_int_t)options->shard, "why", text, "seconds",
                      order_seconds(o)),
            e);
    } else if (rc == PS_OK) {
        printf("moved bucket %u of %s to server %u shard %u in %.1f s\n",
               (unsigned)options->bucket, o->options->name,
               (unsigned)options->server, (unsigned)options->shard,
               order_seconds(o));
    }
    if (rc == PS_ETIMEOUT) {
        return err_set(e, rc, "the move has not ended, it goes on: %s", text);
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
    int rc = client_move(o->client, o->options->name, options->bucket,
                         options->server, options->shard, &o->request, &error);

    if (rc != PS_OK) {
        return err_set(e, rc, "%s", error.text);
    }
    o->describe = describe;
    rc = judge(o, order_wait(o), e);
    ps_request_free(o->request);
    return rc;
}

/* Digits up to `end`, to at most `max`. NULL: it is none. */
static const char *take_number(const char *p, char end, uint32_t max,
                               uint32_t *out)
{
    const char *first = p;
    uint64_t n = 0;

    for (; *p >= '0' && *p <= '9' && n <= max; p++) {
        n = 10 * n + (uint64_t)(*p - '0');
    }
    *out = (uint32_t)n;
    return p == first || *p != end || n > max ? NULL : p + 1;
}

static int check(struct order_options *options, const struct opt_list *rest,
                 struct err *e)
{
    struct options *o = CONTAINER_OF(options, struct options, order);
    const char *shard;

    if (rest->n != 2) {
        return err_set(e, PS_EARGUMENT,
                       "VARIABLE and BUCKET are wanted, and nothing else");
    }
    if (take_number(rest->items[1], '\0', LIMIT_BUCKETS - 1, &o->bucket) ==
        NULL) {
        return err_set(e, PS_EARGUMENT,
                       "\"%.64s\" is no bucket: these are 0 to %d",
                       rest->items[1], LIMIT_BUCKETS - 1);
    }
    shard = take_number(o->to, '.', UINT16_MAX, &o->server);
    if (shard == NULL ||
        take_number(shard, '\0', UINT16_MAX, &o->shard) == NULL) {
        return err_set(e, PS_EARGUMENT,
                       "--to %.64s has to be SERVER.SHARD, such as 1.0", o->to);
    }
    return PS_OK;
}

int move_main(int argc, char **argv)
{
    struct options o = {0};

    return order_main(&page, argc, argv, &o.order, check, run);
}
