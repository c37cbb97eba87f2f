/* import_command.c - ps-plus import: a checkpoint of the original becomes one
 * of ours, or goes into a running cluster.
 */
#include "cli/import_command.h"

#include <inttypes.h>
#include <time.h>

#define AT(field) offsetof(struct import_options, field)

static const struct opt table[] = {
    {.name = "output",
     .brief = "o",
     .type = OPT_TEXT,
     .offset = AT(to),
     .value = "URL",
     .help = "The folder of checkpoints that gets a new one."},
    {.name = "scheduler_kv_path",
     .brief = "sp",
     .type = OPT_TEXT,
     .offset = AT(kv_path),
     .value = "KV",
     .help = "Instead: the store of the cluster that gets the rows, such as "
             "file:///run/ps."},
    {.name = "name",
     .type = OPT_TEXT,
     .offset = AT(name),
     .value = "NAME",
     .help = "What the new checkpoint is called; left out, as the old one."},
    {.name = "without-slots",
     .type = OPT_FLAG,
     .offset = AT(without_slots),
     .help = "With -sp: pushes the values, and leaves the slots out."},
    {.name = "dry-run",
     .type = OPT_FLAG,
     .offset = AT(is_dry),
     .help = "Only reads, and shows what is there and what would become of "
             "it."},
    {.name = "json",
     .type = OPT_FLAG,
     .offset = AT(is_json),
     .help = "One object of JSON, for programs."},
    CLI_OPTIONS("warning"),
};

static const struct cli_page page = {
    .usage = "ps-plus import DIR -o URL [OPTION...]\n"
             "       ps-plus import DIR -sp KV [OPTION...]\n"
             "       ps-plus import DIR --dry-run",
    .about =
        "Reads a checkpoint of the original ps-plus (XDL): the newest that\n"
        "DIR/checkpoints lists, or DIR itself. All of it is checked first;\n"
        "what is damaged ends the import with the file, the place and the\n"
        "reason, and nothing is written.\n"
        "\n"
        "With -o it becomes one checkpoint of ours. Servers can load what is\n"
        "of type float32 and has rows by number or by 64-bit key, with the\n"
        "state of the updater whose slots are there. Anything else is kept in\n"
        "the same checkpoint, where programs find it, and is listed as not\n"
        "served. With -sp it becomes variables of a running cluster, which "
        "must\n"
        "not have them yet: by way of a checkpoint where the scheduler has "
        "its\n"
        "own (-cp); where it has no such place values are pushed, if there "
        "are\n"
        "no slots. What it cannot serve is named, and the status is 1 then.\n"
        "Learning rates and the like are not in the files.\n"
        "\n"
        "    ps-plus import /data/old --dry-run\n"
        "    ps-plus import /data/old -o file:///srv/model\n"
        "    ps-plus verify file:///srv/model\n",
    .table = table,
    .n = ARRAY_LEN(table),
};

bool import_progress_show(void *context, uint64_t done, uint64_t total)
{
    struct progress *p = context;

    if (progress_is_due(p)) {
        progress_show(p, "%" PRIu64 " of %" PRIu64 " rows", done, total);
    }
    return true;
}

static int write_checkpoint(const struct import_options *o,
                            const struct import *x, struct progress *p,
                            char *folder, struct err *e)
{
    struct ckpt_progress progress = {import_progress_show, p};
    struct fs *to;
    int rc = fs_url_open(&to, o->to, e);

    if (rc != PS_OK) {
        return rc;
    }
    rc = import_write(x, to, o->name != NULL ? o->name : x->original->folder,
                      (uint64_t)time(NULL) * 1000, &progress, folder, e);
    progress_end(p);
    fs_url_close(to);
    return rc;
}

static int run(const struct import_options *o, struct err *e)
{
    char folder[CKPT_NAME_MAX + 1] = "";
    struct progress p;
    struct import *x = NULL;
    struct err refused = {0};
    struct fs *from;
    int rc = fs_url_open(&from, o->from, e);

    if (rc != PS_OK) {
        return rc;
    }
    progress_begin(&p, IMPORT_PLAIN_MS);
    rc = import_new(&x, from, e);
    if (rc != PS_OK) {
        fs_url_close(from);
        err_wrap(e, "%.80s", o->from);
        return rc;
    }
    if (!o->is_dry && o->to != NULL) {
        rc = write_checkpoint(o, x, &p, folder, e);
    }
    if (rc == PS_OK && !o->is_dry && o->kv_path != NULL) {
        rc = import_cluster(o, x, folder, &refused);
        if (rc != PS_OK && rc != PS_ENOTIMPL) {
            *e = refused;
        }
    }
    if (rc == PS_OK || rc == PS_ENOTIMPL) {
        rc = import_report(o, x, folder, (double)progress_ms(&p) / 1000, e);
        if (rc == PS_OK && refused.status != PS_OK) {
            *e = refused;
            rc = refused.status;
        }
    }
    import_free(x);
    fs_url_close(from);
    return rc;
}

static int check(struct import_options *o, const struct opt_list *rest,
                 char *folder, struct err *e)
{
    if (rest->n != 1) {
        return err_set(e, PS_EARGUMENT,
                       rest->n == 0 ? "which checkpoint? Wanted is the folder "
                                      "of the original's checkpoints"
                                    : "more than one folder");
    }
    o->from = rest->items[0];
    if (cli_is_empty(o->from) || fs_url_is_none(o->from)) {
        return err_set(e, PS_EARGUMENT, "there is nothing to import from");
    }
    if ((o->to != NULL) == (o->kv_path != NULL) && !o->is_dry) {
        return err_set(e, PS_EARGUMENT,
                       "where to? Wanted is -o URL (a checkpoint), -sp KV (a "
                       "running cluster) or --dry-run");
    }
    if (o->without_slots && o->kv_path == NULL) {
        return err_set(e, PS_EARGUMENT, "--without-slots is for -sp");
    }
    if (o->to != NULL && (o->to[0] == '\0' || fs_url_is_none(o->to))) {
        return err_set(e, PS_EARGUMENT,
                       "option --output or -o: %s keeps no "
                       "checkpoints",
                       o->to[0] == '\0' ? "nothing" : o->to);
    }
    if (o->name != NULL && cli_check_name(o->name, e) != PS_OK) {
        return e->status;
    }
    return cli_check_kv(o->kv_path, folder, e);
}

int import_main(int argc, char **argv)
{
    char folder[CLI_FOLDER_BYTES];
    struct import_options o;
    struct opt_list rest;
    struct err e;
    int status;

    if (!cli_parse(&page, argc, argv, &o, &rest, &status)) {
        return status;
    }
    status = CLI_OK;
    if (cli_shows_config(&page, &o)) {
        opt_list_free(&rest);
        return CLI_OK;
    }
    if (check(&o, &rest, folder, &e) != PS_OK) {
        status = cli_refuse(&e);
    } else if ((o.kv_path != NULL &&
                cli_check_store(o.kv_path, folder, &e) != PS_OK) ||
               run(&o, &e) != PS_OK) {
        status = cli_fail(&e);
    }
    opt_list_free(&rest);
    return status;
}
