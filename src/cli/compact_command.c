/* compact_command.c - ps-plus compact: a chain becomes one whole checkpoint. */
#include <inttypes.h>
#include <stdio.h>

#include "ckpt/ckpt_compact.h"
#include "cli/checkpoint_command.h"
#include "cli/progress.h"

enum { PLAIN_MS = 5000 };

static const struct opt table[] = {
    CHECKPOINT_OPTIONS,
    CLI_OPTIONS("warning"),
};

static const struct cli_page page = {
    .usage = "ps-plus compact URL [NAME] [OPTION...]",
    .about =
        "Makes of an increment and all that it builds on one whole checkpoint\n"
        "of the same cut, with the next term in its name. NAME is a folder, a\n"
        "cut, or the name that was given to ps-plus save; without it, the\n"
        "newest. Every byte is checked on the way. The increment goes when\n"
        "the cluster saves again, and what it builds on as any other\n"
        "(--keep). Needs no cluster, and may run beside one, which leaves\n"
        "all of this as it is meanwhile.\n"
        "\n"
        "    ps-plus compact file:///srv/model\n"
        "    ps-plus checkpoints file:///srv/model\n",
    .table = table,
    .n = ARRAY_LEN(table),
};

static bool show(void *context, uint64_t done, uint64_t total)
{
    struct progress *p = context;

    if (progress_is_due(p)) {
        progress_show(p, "%" PRIu64 " of %" PRIu64 " MB", done >> 20,
                      total >> 20);
    }
    return true;
}

static int compact(const struct checkpoint_options *o, struct fs *fs,
                   const struct ckpt_list *list, struct err *e)
{
    struct progress p;
    const struct ckpt_progress progress = {.fn = show, .context = &p};
    struct ckpt_compacted done;
    const struct ckpt_entry *x;
    int rc = checkpoint_find(o, list, &x, e);

    if (rc == PS_OK && !x->is_whole) {
        rc = err_set(e, PS_EDATALOSS, "%s: %.150s", x->folder, x->why);
    }
    progress_begin(&p, PLAIN_MS);
    if (rc == PS_OK) {
        rc = ckpt_compact(fs, list, x, 0, &progress, &done, e);
    }
    progress_end(&p);
    if (rc != PS_OK) {
        return rc;
    }
    if (o->is_json) {
        return cli_print_json(json_pack("{s:s, s:s, s:I, s:I}", "folder",
                                        done.folder, "from", x->folder, "links",
                                        (json_int_t)done.n_links, "rows",
                                        (json_int_t)done.rows),
                              e);
    }
    printf("%s is %s and what it builds on, %" PRIu32
           " checkpoints, in one: %" PRIu64 " rows\n",
           done.folder, x->folder, done.n_links, done.rows);
    return PS_OK;
}

int compact_main(int argc, char **argv)
{
    struct checkpoint_options o;

    return checkpoint_run(&page, 2, argc, argv, &o, compact);
}
